/* SPDX-License-Identifier: MIT */
/*
 * strait in one translation unit, layer by layer. To vendor it, copy include/ and src/ and compile
 * this file:
 *
 *   cc app.c src/strait.c -Iinclude $(pkg-config --cflags --libs ck) -pthread
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "strait.h"

#include "variants.c"
#include "wait.c"

#include "channel.c"
#include "handle.c"

#include "broadcast.c"

#include "port.c"

#include "heap.c"
#include "holdings.c"
#include "timers.c"
#include "isolate.c"

#include "topology.c"
#include "cpu.c"
#include "fork.c"
#include "worker.c"

#include "histogram.c"

#include "ticks.c"
#include "pool.c"
#include "submit.c"
#include "cancel.c"
#include "complete.c"
#include "parent.c"
#include "crew.c"
#include "keeper.c"
#include "pool_stats.c"
