/* SPDX-License-Identifier: MIT */
/* isolate: the heap's owner, the microtask queue, the message loop, and what it has done so far. */
#include "isolate.h"

#include "strait/worker.h"

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
    strait_p_heap_init(&isolate->heap, heap_limit);
}

void strait_isolate_release(struct strait_isolate *isolate)
{
    strait_p_heap_release(&isolate->heap);
    isolate->microtasks = NULL;
    isolate->microtask_slots = 0;
    isolate->microtask_count = 0;
    /* the worker writes it */
    strait_wide_store_relaxed(&isolate->ended_at, (uint64_t)strait_now());
}

void strait_isolate_enter(struct strait_isolate *isolate)
{
    current = isolate;
    strait_idle_keep(isolate ? &isolate->idle : NULL);
    if (isolate) {
        /* the worker writes it, before anybody can ask */
        strait_wide_store_relaxed(&isolate->online_at, (uint64_t)strait_now());
    }
}

struct strait_isolate *strait_isolate_current(void)
{
    return current;
}

void strait_isolate_check(const struct strait_isolate *isolate)
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
    strait_isolate_check(isolate);
    return isolate->port;
}

void *strait_isolate_data(struct strait_isolate *isolate)
{
    strait_isolate_check(isolate);
    return isolate->data;
}

bool strait_isolate_stopping(const struct strait_isolate *isolate)
{
    /* whoever calls strait_worker_stop writes it; the flag itself is all that is read */
    return strait_load_relaxed(isolate->stop) != 0;
}

void strait_isolate_fail(struct strait_isolate *isolate, int code, const char *text)
{
    strait_isolate_check(isolate);
    if (!isolate->failed) {
        isolate->failed = true;
        isolate->fail_code = code;
        isolate->fail_text = text;
    }
}

/* ---- heap ---- */

void strait_isolate_refused(struct strait_isolate *isolate)
{
    if (isolate->limit_refused || !isolate->heap.limit_hit) {
        return;
    }
    /* isolate.refused: pairs with isolate.limited; all that the worker did before */
    strait_store_release(&isolate->limit_refused, 1);
    if (isolate->to_parent) {
        strait_channel_wake(isolate->to_parent);
    }
}

bool strait_isolate_limited(const struct strait_isolate *isolate)
{
    /* isolate.limited: pairs with isolate.refused; all that the worker did before */
    return strait_load_acquire(&isolate->limit_refused) != 0;
}

void *strait_heap_alloc(struct strait_isolate *isolate, size_t bytes)
{
    strait_isolate_check(isolate);
    void *memory = strait_p_heap_take(&isolate->heap, bytes);
    if (STRAIT_UNLIKELY(!memory)) {
        strait_isolate_refused(isolate);
    }
    return memory;
}

void *strait_heap_resize(struct strait_isolate *isolate, void *memory, size_t bytes)
{
    strait_isolate_check(isolate);
    void *resized = strait_p_heap_change(&isolate->heap, memory, bytes);
    if (STRAIT_UNLIKELY(!resized)) {
        strait_isolate_refused(isolate);
    }
    return resized;
}

void strait_heap_free(struct strait_isolate *isolate, void *memory)
{
    strait_isolate_check(isolate);
    strait_p_heap_give(&isolate->heap, memory);
}

size_t strait_heap_used(struct strait_isolate *isolate)
{
    strait_isolate_check(isolate);
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
    struct microtask *grown = strait_p_heap_take(&isolate->heap, slots * sizeof(*grown));
    if (!grown) {
        return false;
    }
    for (size_t i = 0; i < isolate->microtask_count; i++) {
        grown[i] = *microtask_slot(isolate, i);
    }
    strait_p_heap_give(&isolate->heap, isolate->microtasks);
    isolate->microtasks = grown;
    isolate->microtask_slots = slots;
    isolate->microtask_first = 0;
    return true;
}

int strait_microtask(struct strait_isolate *isolate, strait_microtask_fn *run, void *argument)
{
    strait_isolate_check(isolate);
    if (isolate->microtask_count == isolate->microtask_slots && !microtasks_grow(isolate)) {
        strait_isolate_refused(isolate);
        return -ENOMEM;
    }
    struct microtask *last = microtask_slot(isolate, isolate->microtask_count);
    last->run = run;
    last->argument = argument;
    isolate->microtask_count++;
    return 0;
}

/* What others may see a little late. */
static void count_more(uint64_t *number, uint64_t more)
{
    /* the worker writes it */
    strait_wide_store_relaxed(number, *number + more);
}

/* One round; how many are left. */
static size_t run_microtasks(struct strait_isolate *isolate)
{
    size_t ran = 0;
    isolate->busy = true;
    while (isolate->microtask_count > 0 && ran < isolate->microtask_limit) {
        struct microtask first = *microtask_slot(isolate, 0);
        isolate->microtask_first++;
        isolate->microtask_count--;
        ran++;
        first.run(isolate, first.argument);
    }
    isolate->busy = false;
    count_more(&isolate->microtasks_run, ran);
    return isolate->microtask_count;
}

int strait_isolate_settle(struct strait_isolate *isolate)
{
    strait_isolate_check(isolate);
    if (isolate->busy) {
        return -EDEADLK;
    }
    return isolate->microtask_count > 0 && run_microtasks(isolate) > 0;
}

void strait_isolate_finish(struct strait_isolate *isolate)
{
    while (isolate->microtask_count > 0 && !strait_isolate_stopping(isolate)) {
        run_microtasks(isolate);
    }
}

/* ---- timers ---- */

int strait_timer_start(struct strait_isolate *isolate, struct strait_timer *timer, int64_t due,
                       int64_t period)
{
    strait_isolate_check(isolate);
    if (!timer->run || period < 0) {
        return -EINVAL;
    }
    strait_timer_stop(isolate, timer);
    timer->due = due > 0 ? due : 0;
    timer->period = period;
    strait_timers_insert(&isolate->timers, timer);
    return 0;
}

void strait_timer_stop(struct strait_isolate *isolate, struct strait_timer *timer)
{
    strait_isolate_check(isolate);
    if (timer->armed) {
        strait_timers_remove(&isolate->timers, timer);
    }
}

/* The first time on the timer's grid that is still to come. */
static int64_t next_due(const struct strait_timer *timer, int64_t now)
{
    int64_t ahead = timer->period - (now - timer->due) % timer->period;
    return ahead < STRAIT_FOREVER - now ? now + ahead : STRAIT_FOREVER;
}

/* The timer may be gone when its function has returned. */
static void run_timer(struct strait_isolate *isolate, struct strait_timer *timer, int64_t now)
{
    if (timer->period) {
        timer->due = next_due(timer, now);
        strait_timers_insert(&isolate->timers, timer);
    }
    isolate->busy = true;
    timer->run(isolate, timer);
    isolate->busy = false;
    count_more(&isolate->timers_run, 1);
    strait_isolate_settle(isolate);
}

/* Those that are due. The clock is read only if there are any at all. */
static void run_timers(struct strait_isolate *isolate)
{
    struct strait_timers *timers = &isolate->timers;
    struct strait_timer *timer;
    if (!timers->first) {
        return;
    }
    int64_t now = strait_now();
    strait_timers_begin(timers);
    while (!strait_isolate_stopping(isolate) && (timer = strait_timers_pop(timers, now))) {
        run_timer(isolate, timer, now);
    }
    strait_timers_end(timers);
}

/* ---- messages ---- */

/* A handler has closed the port that the loop receives from. */
static bool closed_meanwhile(const struct strait_isolate *isolate,
                             const struct strait_receiver *receiver)
{
    return isolate->port->receiver.handle.channel != receiver->handle.channel;
}

/* The next one in place, if the loop is to go on. */
static bool see_message(struct strait_isolate *isolate, struct strait_receiver *receiver,
                        struct strait_span *span)
{
    return !strait_isolate_stopping(isolate) && !closed_meanwhile(isolate, receiver) &&
           strait_peek(receiver, 1, span) == 1;
}

/* Until the budget is used up, none is left, one's handler returned something, which *result is
 * then, or the worker is to stop. How many. */
static size_t handle_some(struct strait_isolate *isolate, struct strait_receiver *receiver,
                          strait_message_fn *handle, void *context, size_t budget, int *result)
{
    struct strait_span span;
    size_t handled = 0;
    *result = 0;
    while (handled < budget && *result == 0 && see_message(isolate, receiver, &span)) {
        isolate->busy = true;
        *result = handle(isolate, span.messages, context);
        isolate->busy = false;
        handled++;
        count_more(&isolate->messages, 1);
        strait_isolate_settle(isolate);
        strait_release(receiver, &span);
    }
    return handled;
}

/* Until a message or a timer, or a round of the microtasks that are left. 0: go on. */
static int wait_for_more(struct strait_isolate *isolate, struct strait_receiver *receiver)
{
    if (isolate->microtask_count > 0) {
        run_microtasks(isolate);
        return 0;
    }
    if (closed_meanwhile(isolate, receiver)) {
        return -EPIPE;
    }
    int waited = strait_receive_wait(receiver, strait_timers_due(&isolate->timers));
    return waited == -ETIMEDOUT ? 0 : waited;
}

static int run_loop(struct strait_isolate *isolate, struct strait_receiver *receiver,
                    strait_message_fn *handle, void *context)
{
    while (!strait_isolate_stopping(isolate)) {
        int result;
        size_t handled = handle_some(isolate, receiver, handle, context, isolate->budget, &result);
        if (result) {
            return result;
        }
        run_timers(isolate);
        int waited = handled < isolate->budget ? wait_for_more(isolate, receiver) : 0;
        if (waited) {
            return waited == -EPIPE ? 0 : waited;
        }
    }
    return -ECANCELED;
}

int strait_isolate_run(struct strait_isolate *isolate, strait_message_fn *handle, void *context)
{
    struct strait_receiver receiver;
    if (strait_isolate_settle(isolate) == -EDEADLK) {
        return -EDEADLK;
    }
    strait_receiver_hold(&isolate->port->receiver, &receiver);
    int result = run_loop(isolate, &receiver, handle, context);
    strait_receiver_resume(&isolate->port->receiver, &receiver);
    return result;
}

/* No message is left: 0, or -EPIPE if none can come, or -EAGAIN if one has come meanwhile. */
static int arm_port(struct strait_isolate *isolate, struct strait_receiver *receiver)
{
    struct strait_span span;
    if (closed_meanwhile(isolate, receiver)) {
        return -EPIPE;
    }
    ptrdiff_t seen = strait_peek(receiver, 1, &span);
    if (seen != -EAGAIN) {
        return seen > 0 ? -EAGAIN : (int)seen;
    }
    if (isolate->microtask_count > 0) {
        strait_channel_wake(receiver->handle.channel); /* to be called again for these */
        return 0;
    }
    return strait_receiver_arm(receiver) == 0 ? -EAGAIN : 0;
}

static ptrdiff_t dispatch(struct strait_isolate *isolate, struct strait_receiver *receiver,
                          strait_message_fn *handle, void *context, size_t budget)
{
    size_t handled = 0;
    int armed = -EAGAIN;
    while (armed == -EAGAIN && handled < budget && !strait_isolate_stopping(isolate)) {
        int result;
        handled += handle_some(isolate, receiver, handle, context, budget - handled, &result);
        if (result) {
            isolate->result = result;
            return -EINTR;
        }
        armed = handled < budget ? arm_port(isolate, receiver) : -EAGAIN;
    }
    if (strait_isolate_stopping(isolate)) { /* looked at after the fd was cleared */
        return -ECANCELED;
    }
    return armed == -EPIPE && handled == 0 ? -EPIPE : (ptrdiff_t)handled;
}

ptrdiff_t strait_isolate_dispatch(struct strait_isolate *isolate, strait_message_fn *handle,
                                  void *context, size_t budget)
{
    struct strait_receiver receiver;
    if (strait_isolate_settle(isolate) == -EDEADLK) {
        return -EDEADLK;
    }
    strait_receiver_hold(&isolate->port->receiver, &receiver);
    ptrdiff_t handled =
        dispatch(isolate, &receiver, handle, context, budget ? budget : isolate->budget);
    strait_receiver_resume(&isolate->port->receiver, &receiver);
    return handled;
}

int strait_isolate_result(const struct strait_isolate *isolate)
{
    strait_isolate_check(isolate);
    return isolate->result;
}

/* ---- usage ---- */

void strait_isolate_idle(struct strait_isolate *isolate, bool idle)
{
    if (!idle) {
        strait_isolate_woke(isolate, strait_now());
        return;
    }
    strait_isolate_check(isolate);
    strait_idle_note(strait_now());
}

void strait_isolate_woke(struct strait_isolate *isolate, int64_t time)
{
    strait_isolate_check(isolate);
    strait_idle_note(time); /* no time, if it was not asleep */
    strait_idle_over();
}

static void usage_times(const struct strait_isolate *isolate, struct strait_usage *usage)
{
    int64_t now;
    usage->idle_ns = strait_idle_read(&isolate->idle, &now);
    uint64_t ended_at = strait_wide_load_relaxed(&isolate->ended_at);
    now = ended_at ? (int64_t)ended_at : now;
    usage->online_ns = now - (int64_t)strait_wide_load_relaxed(&isolate->online_at);
    if (usage->idle_ns > usage->online_ns) {
        usage->idle_ns = usage->online_ns;
    }
}

void strait_isolate_usage(const struct strait_isolate *isolate, struct strait_usage *usage)
{
    const struct strait_p_heap *heap = &isolate->heap;
    usage_times(isolate, usage);
    /* the worker writes them */
    usage->messages = strait_wide_load_relaxed(&isolate->messages);
    usage->microtasks = strait_wide_load_relaxed(&isolate->microtasks_run);
    usage->timers = strait_wide_load_relaxed(&isolate->timers_run);
    /* the worker writes them */
    usage->heap_used = strait_word_load_relaxed(&heap->used);
    usage->heap_highest = strait_word_load_relaxed(&heap->highest);
}
