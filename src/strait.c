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

#include "version.c"

#include "strait_channel.c"

#include "worker/cpu.c"
#include "worker/thread.c"
#include "worker/worker.c"

#include "pool/parent.c"
#include "pool/worker.c"
#include "pool/pool.c"
