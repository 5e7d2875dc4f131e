/* SPDX-License-Identifier: MIT */
/*
 * Gearman in one translation unit, on the public API of the core alone. To vendor it, compile this
 * file besides src/strait.c; what its files share is static here:
 *
 *   cc app.c src/strait.c src/strait_gearman.c -Iinclude $(pkg-config --cflags --libs ck) -pthread
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "gearman/packet.c"
#include "gearman/remote.c"
#include "gearman/serve.c"
