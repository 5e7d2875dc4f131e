/* SPDX-License-Identifier: MIT */
/*
 * ring: the table of rings. A new one is its header (see strait/rings/variant.h) and one line here,
 * and is then a channel's by its name, in every conformance test and in every benchmark.
 */
#ifndef STRAIT_RING_H
#define STRAIT_RING_H

#include "strait/rings/cells.h"
#include "strait/rings/lanes.h"
#include "strait/rings/line.h"
#include "strait/rings/spsc.h"

/* clang-format off */
/* X(name) of each ring strait_<name>. A shared block knows its variant by the place here: a new
 * one goes to the end. */
#define STRAIT_VARIANTS(X) \
    X(spsc) \
    X(lanes) \
    X(cells) \
    X(line)
/* clang-format on */

#endif /* STRAIT_RING_H */
