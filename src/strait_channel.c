/* SPDX-License-Identifier: MIT */
/*
 * The channels alone, in one translation unit: rings, waiting, channels. To vendor them, copy the
 * files that this one includes and compile it:
 *
 *   cc app.c src/strait_channel.c -Iinclude $(pkg-config --cflags --libs ck) -pthread
 *
 * A program that also has workers or a pool compiles src/strait.c instead, which holds all of this.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "strait/channel.h"

#include "channel/wait.c"
#include "channel/channel.c"
#include "channel/endpoint.c"
