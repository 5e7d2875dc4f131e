/* SPDX-License-Identifier: MIT */
/*
 * The extras in one translation unit, each of them on the core's public API alone. To vendor them,
 * compile this file besides src/strait.c; what its files share is static here:
 *
 *   cc app.c src/strait.c src/extra/strait_extra.c -Iinclude $(pkg-config --cflags --libs ck)
 *     -pthread
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "broadcast.c"
#include "child.c"
#include "heap.c"
#include "timers.c"
#include "isolate.c"
#include "process_port.c"
#include "process.c"
#include "process_main.c"
#include "process_pool.c"
#include "set.c"
#include "stats.c"
#include "dump.c"
