/* SPDX-License-Identifier: MIT */
/* isolate: the struct, for isolate.c and the worker that owns it. */
#ifndef STRAIT_ISOLATE_PRIVATE_H
#define STRAIT_ISOLATE_PRIVATE_H

#include "heap.h"
#include "strait/isolate.h"

struct microtask {
    strait_microtask_fn *run;
    void *argument;
};

/* Everything here is the worker's own, but for *stop, which others set. */
struct strait_isolate {
    struct strait_heap heap;
    struct microtask *microtasks; /* a ring in the heap */
    size_t microtask_slots;       /* a power of two, or 0 */
    size_t microtask_first;
    size_t microtask_count;
    struct strait_port *port;
    const uint32_t *stop;
    void *data;
    bool busy; /* in a handler, a task or a microtask */
    bool failed;
    int fail_code;
    const char *fail_text;
};

void strait_isolate_init(struct strait_isolate *isolate, struct strait_port *port,
                         const uint32_t *stop, size_t heap_limit);
void strait_isolate_release(struct strait_isolate *isolate);

/* Makes the isolate the calling thread's; NULL: none any more. */
void strait_isolate_enter(struct strait_isolate *isolate);

/* Runs microtasks until none is left. */
void strait_isolate_settle(struct strait_isolate *isolate);

#endif /* STRAIT_ISOLATE_PRIVATE_H */
