/* SPDX-License-Identifier: MIT */
/* isolate: the heap's owner, the microtask queue and the message loop. */
#include "isolate.h"

#include <stdio.h>
#include <stdlib.h>

#define MICROTASKS_FIRST 16

static __thread struct strait_isolate *current;

void strait_isolate_init(struct strait_isolate *isolate, struct strait_port *port,
                         const uint32_t *stop, size_t heap_limit)
{
    memset(isolate, 0, sizeof(*isolate));
    isolate->port = port;
    isolate->stop = stop;
    strait_heap_init(&isolate->heap, heap_limit);
}

void strait_isolate_release(struct strait_isolate *isolate)
{
    strait_heap_release(&isolate->heap);
    isolate->microtasks = NULL;
    isolate->microtask_slots = 0;
    isolate->microtask_count = 0;
}

void strait_isolate_enter(struct strait_isolate *isolate)
{
    current = isolate;
}

struct strait_isolate *strait_isolate_current(void)
{
    return current;
}

static void check_owner(const struct strait_isolate *isolate)
{
#ifdef STRAIT_CHECKED
    if (isolate != current) {
        fprintf(stderr,
                "strait: an isolate is used by its own worker only: isolate %p used by the thread "
                "of isolate %p\n",
                (const void *)isolate, (void *)current);
        abort();
    }
#else
    (void)isolate;
#endif
}

struct strait_port *strait_isolate_port(struct strait_isolate *isolate)
{
    return isolate->port;
}

void *strait_isolate_data(struct strait_isolate *isolate)
{
    return isolate->data;
}

bool strait_isolate_stopping(const struct strait_isolate *isolate)
{
    /* whoever calls strait_worker_stop writes it; the flag itself is all that is read */
    return strait_load_relaxed(isolate->stop) != 0;
}

void strait_isolate_fail(struct strait_isolate *isolate, int code, const char *text)
{
    check_owner(isolate);
    if (!isolate->failed) {
        isolate->failed = true;
        isolate->fail_code = code;
        isolate->fail_text = text;
    }
}

/* ---- heap ---- */

void *strait_heap_alloc(struct strait_isolate *isolate, size_t bytes)
{
    check_owner(isolate);
    return strait_heap_take(&isolate->heap, bytes);
}

void *strait_heap_resize(struct strait_isolate *isolate, void *memory, size_t bytes)
{
    check_owner(isolate);
    return strait_heap_change(&isolate->heap, memory, bytes);
}

void strait_heap_free(struct strait_isolate *isolate, void *memory)
{
    check_owner(isolate);
    strait_heap_give(&isolate->heap, memory);
}

size_t strait_heap_used(const struct strait_isolate *isolate)
{
    check_owner(isolate);
    return isolate->heap.used;
}

/* ---- microtasks ---- */

static struct microtask *microtask_slot(struct strait_isolate *isolate, size_t i)
{
    return &isolate->microtasks[(isolate->microtask_first + i) & (isolate->microtask_slots - 1)];
}

/* Twice the ring, its content moved to the front. */
static bool microtasks_grow(struct strait_isolate *isolate)
{
    size_t slots = isolate->microtask_slots ? 2 * isolate->microtask_slots : MICROTASKS_FIRST;
    struct microtask *grown = strait_heap_take(&isolate->heap, slots * sizeof(*grown));
    if (!grown) {
        return false;
    }
    for (size_t i = 0; i < isolate->microtask_count; i++) {
        grown[i] = *microtask_slot(isolate, i);
    }
    strait_heap_give(&isolate->heap, isolate->microtasks);
    isolate->microtasks = grown;
    isolate->microtask_slots = slots;
    isolate->microtask_first = 0;
    return true;
}

int strait_microtask(struct strait_isolate *isolate, strait_microtask_fn *run, void *argument)
{
    check_owner(isolate);
    if (isolate->microtask_count == isolate->microtask_slots && !microtasks_grow(isolate)) {
        return -ENOMEM;
    }
    struct microtask *last = microtask_slot(isolate, isolate->microtask_count);
    last->run = run;
    last->argument = argument;
    isolate->microtask_count++;
    return 0;
}

void strait_isolate_settle(struct strait_isolate *isolate)
{
    bool busy = isolate->busy;
    isolate->busy = true;
    while (isolate->microtask_count > 0) {
        struct microtask first = *microtask_slot(isolate, 0);
        isolate->microtask_first++;
        isolate->microtask_count--;
        first.run(isolate, first.argument);
    }
    isolate->busy = busy;
}

/* ---- messages ---- */

static int handle_next(struct strait_isolate *isolate, struct strait_receiver *receiver,
                       strait_message_fn *handle, void *context)
{
    struct strait_span span;
    if (strait_peek(receiver, 1, &span) != 1) {
        return 0;
    }
    isolate->busy = true;
    int result = handle(isolate, span.messages, context);
    strait_isolate_settle(isolate);
    isolate->busy = false;
    strait_release(receiver, &span);
    return result;
}

/* A handler has closed the port that the loop receives from. */
static bool closed_meanwhile(const struct strait_isolate *isolate,
                             const struct strait_receiver *receiver)
{
    return isolate->port->receiver.handle.channel != receiver->handle.channel;
}

static int run_loop(struct strait_isolate *isolate, struct strait_receiver *receiver,
                    strait_message_fn *handle, void *context)
{
    strait_isolate_settle(isolate);
    int result = 0;
    while (result == 0 && !strait_isolate_stopping(isolate)) {
        int waited = closed_meanwhile(isolate, receiver)
                         ? -EPIPE
                         : strait_receive_wait(receiver, STRAIT_FOREVER);
        if (waited) {
            return waited == -EPIPE ? 0 : waited;
        }
        result = handle_next(isolate, receiver, handle, context);
    }
    return result ? result : -ECANCELED;
}

int strait_isolate_run(struct strait_isolate *isolate, strait_message_fn *handle, void *context)
{
    check_owner(isolate);
    if (isolate->busy) {
        return -EDEADLK;
    }
    struct strait_receiver receiver;
    strait_receiver_hold(&isolate->port->receiver, &receiver);
    int result = run_loop(isolate, &receiver, handle, context);
    strait_receiver_resume(&isolate->port->receiver, &receiver);
    return result;
}
