/* SPDX-License-Identifier: MIT */
/*
 * The core in one translation unit: channels, workers, pool. To vendor it, copy include/ and src/
 * and compile this file:
 *
 *   cc app.c src/strait.c -Iinclude $(pkg-config --cflags --libs ck) -pthread
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "strait.h"

#include "strait_channel.c"

#include "worker/port.c"
#include "worker/topology.c"
#include "worker/cpu.c"
#include "worker/thread.c"
#include "worker/worker.c"

#include "extra/timers.c" /* these two only for the pool */
#include "extra/histogram.c"

#include "pool/ticks.c"
#include "pool/pool.c"
#include "pool/submit.c"
#include "pool/cancel.c"
#include "pool/complete.c"
#include "pool/parent.c"
#include "pool/crew.c"
#include "pool/keeper.c"
#include "pool/pool_stats.c"
