/* SPDX-License-Identifier: MIT */
/* isolate: the struct, for isolate.c and the worker that owns it. */
#ifndef STRAIT_ISOLATE_PRIVATE_H
#define STRAIT_ISOLATE_PRIVATE_H

#include "heap.h"
#include "strait/extra/isolate.h"
#include "timers.h"
#include "../channel/wait.h"

struct strait_usage;

struct microtask {
    strait_microtask_fn *run;
    void *argument;
};

/* Only the worker writes; *stop is others' to set. */
struct strait_isolate {
    /* line 0: read by whoever asks for the usage; the limit by the parent */
    STRAIT_LINE_ALIGNED struct strait_idle idle;
    uint64_t online_at; /* CLOCK_MONOTONIC */
    uint64_t ended_at;  /* 0: not yet */
    uint64_t messages;
    uint64_t microtasks_run;
    uint64_t timers_run;
    uint32_t limit_refused; /* the parent has been woken for it */
    /* line 1 and on: the worker's alone, but for three words of the heap, read for the usage */
    STRAIT_LINE_ALIGNED struct strait_p_heap heap;
    struct microtask *microtasks; /* a ring in the heap */
    size_t microtask_slots;       /* a power of two, or 0 */
    size_t microtask_first;
    size_t microtask_count;
    size_t microtask_limit; /* in one round */
    size_t budget;          /* messages between two looks at the timers */
    struct strait_timers timers;
    struct strait_port *port;
    struct strait_channel *to_parent; /* woken for the heap's limit; NULL: nobody */
    const uint32_t *stop;
    void *data;
    int result; /* of the last handler that strait_isolate_dispatch ended with */
    bool busy;  /* in a handler, a timer, a task or a microtask */
    bool failed;
    int fail_code;
    const char *fail_text;
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_isolate, idle) == 0, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_isolate, heap) == STRAIT_LINE, "line 1");

void strait_isolate_init(struct strait_isolate *isolate, struct strait_port *port,
                         const uint32_t *stop, size_t heap_limit);

/* The worker is done: all memory goes back, the usage stays. */
void strait_isolate_release(struct strait_isolate *isolate);

/* Makes the isolate the calling thread's; NULL: none any more. */
void strait_isolate_enter(struct strait_isolate *isolate);

/* Runs what microtasks are left, unless the worker was asked to stop. */
void strait_isolate_finish(struct strait_isolate *isolate);

/* A checked build: is this the isolate's thread? */
void strait_isolate_check(const struct strait_isolate *isolate);

/* The heap has refused something: tells the parent, the first time that its limit was the reason.
 */
void strait_isolate_refused(struct strait_isolate *isolate);

/* Any thread: has it? */
bool strait_isolate_limited(const struct strait_isolate *isolate);

/* Any thread. */
void strait_isolate_usage(const struct strait_isolate *isolate, struct strait_usage *usage);

#endif /* STRAIT_ISOLATE_PRIVATE_H */
