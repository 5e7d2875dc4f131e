/* SPDX-License-Identifier: MIT */
/*
 * private: what several files of the library share and nobody else sees.
 *
 * Each compile unit includes its sources, so these functions are static there and no program that
 * links the library can collide with them or call them. A test that compiles one of the sources by
 * itself defines STRAIT_PRIVATE to nothing.
 */
#ifndef STRAIT_PRIVATE_H
#define STRAIT_PRIVATE_H

#ifndef STRAIT_PRIVATE
#define STRAIT_PRIVATE static __attribute__((unused))
#endif

#endif /* STRAIT_PRIVATE_H */
