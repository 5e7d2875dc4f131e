/* SPDX-License-Identifier: MIT */
/* isolate: the heap's owner, the microtask queue, the message loop, and what it has done so far. */
#include "strait/extra/isolate.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "heap.h"
#include "memory.h"
#include "timers.h"

#define MICROTASKS_FIRST 16

struct microtask {
    strait_microtask_fn *run;
    void *argument;
};

struct strait_isolate {
    /* line 0: the isolate's thread writes, whoever asks for the usage reads */
    STRAIT_LINE_ALIGNED uint64_t idle; /* a stopwatch; the thread writes */
    uint64_t online_at;                /* CLOCK_MONOTONIC, 0: not yet; the thread writes */
    uint64_t ended_at;                 /* likewise; the thread writes */
    uint64_t messages;                 /* handled; the thread writes */
    uint64_t microtasks_run;           /* the thread writes */
    uint64_t timers_run;               /* the thread writes */
    /* line 1 and on: the thread's alone, but for two words of the heap, read for the usage */
    STRAIT_LINE_ALIGNED struct strait_p_heap heap;
    struct strait_isolate_options options;
    struct microtask *microtasks; /* a ring in the heap */
    size_t microtask_slots;       /* a power of two, or 0 */
    size_t microtask_first;
    size_t microtask_count;
    struct strait_p_timers timers;
    struct strait_worker *worker; /* NULL: the thread is none */
    struct strait_port *port;
    void *message;        /* the one that is handled */
    int result;           /* of the last handler that strait_isolate_dispatch ended with */
    const void *callback; /* the frame that calls a handler, a timer or a microtask */
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_isolate, idle) == 0, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_isolate, heap) == STRAIT_LINE, "line 1");

static __thread struct strait_isolate *own_isolate;

struct strait_isolate *strait_isolate_current(void)
{
    return own_isolate;
}

/* A checked build: is this the isolate's thread? */
static void check_isolate(const struct strait_isolate *isolate)
{
#ifdef STRAIT_CHECKED
    if (isolate != own_isolate) {
        fprintf(stderr,
                "strait: an isolate is used by its own worker only: isolate %p used by the thread "
                "of isolate %p\n",
                (const void *)isolate, (void *)own_isolate);
        abort();
    }
#else
    (void)isolate;
#endif
}

struct strait_port *strait_isolate_port(struct strait_isolate *isolate)
{
    check_isolate(isolate);
    return isolate->port;
}

void *strait_isolate_data(struct strait_isolate *isolate)
{
    check_isolate(isolate);
    return isolate->options.data;
}

static bool isolate_stopping(const struct strait_isolate *isolate)
{
    return strait_worker_stopping(isolate->worker);
}

/* ---- heap ---- */

/* What a refused allocation says, if the limit was the reason. */
static void *refused(const struct strait_isolate *isolate)
{
    if (isolate->heap.limit_hit) {
        strait_worker_warn(-ENOMEM, "the heap has reached its limit");
    }
    return NULL;
}

void *strait_heap_alloc(struct strait_isolate *isolate, size_t bytes)
{
    check_isolate(isolate);
    void *memory = strait_p_heap_take(&isolate->heap, bytes);
    return STRAIT_LIKELY(memory) ? memory : refused(isolate);
}

void *strait_heap_resize(struct strait_isolate *isolate, void *memory, size_t bytes)
{
    check_isolate(isolate);
    void *resized = strait_p_heap_change(&isolate->heap, memory, bytes);
    return STRAIT_LIKELY(resized) ? resized : refused(isolate);
}

void strait_heap_free(struct strait_isolate *isolate, void *memory)
{
    check_isolate(isolate);
    strait_p_heap_give(&isolate->heap, memory);
}

size_t strait_heap_used(struct strait_isolate *isolate)
{
    check_isolate(isolate);
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
    struct microtask *grown = strait_heap_alloc(isolate, slots * sizeof(*grown));
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
    check_isolate(isolate);
    if (isolate->microtask_count == isolate->microtask_slots && !microtasks_grow(isolate)) {
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
    strait_wide_store_relaxed(number, *number + more);
}

/* One round; how many are left. */
static size_t run_microtasks(struct strait_isolate *isolate)
{
    size_t ran = 0;
    isolate->callback = STRAIT_FRAME;
    while (isolate->microtask_count > 0 && ran < isolate->options.microtask_limit) {
        struct microtask first = *microtask_slot(isolate, 0);
        isolate->microtask_first++;
        isolate->microtask_count--;
        ran++;
        first.run(isolate, first.argument);
    }
    isolate->callback = NULL;
    count_more(&isolate->microtasks_run, ran);
    return isolate->microtask_count;
}

int strait_isolate_settle(struct strait_isolate *isolate)
{
    check_isolate(isolate);
    if (strait_inside(isolate->callback)) {
        return -EDEADLK;
    }
    return isolate->microtask_count > 0 && run_microtasks(isolate) > 0;
}

/* ---- timers ---- */

int strait_timer_start(struct strait_isolate *isolate, struct strait_timer *timer, int64_t due,
                       int64_t period)
{
    check_isolate(isolate);
    if (!timer->run || period < 0) {
        return -EINVAL;
    }
    strait_timer_stop(isolate, timer);
    timer->due = due > 0 ? due : 0;
    timer->period = period;
    strait_p_timers_insert(&isolate->timers, timer);
    return 0;
}

void strait_timer_stop(struct strait_isolate *isolate, struct strait_timer *timer)
{
    check_isolate(isolate);
    if (timer->armed) {
        strait_p_timers_remove(&isolate->timers, timer);
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
        strait_p_timers_insert(&isolate->timers, timer);
    }
    isolate->callback = STRAIT_FRAME;
    timer->run(isolate, timer);
    isolate->callback = NULL;
    count_more(&isolate->timers_run, 1);
    strait_isolate_settle(isolate);
}

/* Those that are due. The clock is read only if there are any at all. */
static void run_timers(struct strait_isolate *isolate)
{
    struct strait_p_timers *timers = &isolate->timers;
    struct strait_timer *timer;
    if (!timers->first) {
        return;
    }
    int64_t now = strait_now();
    strait_p_timers_begin(timers);
    while (!isolate_stopping(isolate) && (timer = strait_p_timers_pop(timers, now))) {
        run_timer(isolate, timer, now);
    }
    strait_p_timers_end(timers);
}

/* ---- messages ---- */

/* Handles up to `most` messages, one at least, unless there is none by the deadline. How many; a
 * receive's error if there was none; -EINTR: a handler has returned something else than 0. */
static ptrdiff_t handle_messages(struct strait_isolate *isolate, strait_message_fn *handle,
                                 void *context, size_t most, int64_t deadline)
{
    struct strait_receiver *receiver = &isolate->port->receiver;
    size_t handled = 0;
    ptrdiff_t got = strait_receive(receiver, isolate->message, 1, deadline);
    while (got == 1) {
        handled++;
        isolate->callback = STRAIT_FRAME;
        isolate->result = handle(isolate, isolate->message, context);
        isolate->callback = NULL;
        count_more(&isolate->messages, 1);
        strait_isolate_settle(isolate);
        if (isolate->result) {
            return -EINTR;
        }
        bool more = handled < most && !isolate_stopping(isolate);
        got = more ? strait_try_receive(receiver, isolate->message, 1) : 0;
    }
    return handled ? (ptrdiff_t)handled : got;
}

int strait_isolate_run(struct strait_isolate *isolate, strait_message_fn *handle, void *context)
{
    size_t budget = isolate->options.budget;
    int64_t deadline = 0; /* do not sleep */
    check_isolate(isolate);
    if (strait_inside(isolate->callback)) {
        return -EDEADLK;
    }
    strait_isolate_settle(isolate);
    while (!isolate_stopping(isolate)) {
        ptrdiff_t handled = handle_messages(isolate, handle, context, budget, deadline);
        if (handled == -EINTR) {
            return isolate->result;
        }
        run_timers(isolate);
        deadline = 0;
        if ((size_t)handled == budget || isolate_stopping(isolate)) {
            continue;
        }
        if (isolate->microtask_count > 0) { /* those that the limit has left */
            run_microtasks(isolate);
        } else if (handled >= 0 || handled == -ETIMEDOUT) {
            deadline = strait_p_timers_due(&isolate->timers);
        } else {
            return handled == -EPIPE ? 0 : (int)handled;
        }
    }
    return -ECANCELED;
}

ptrdiff_t strait_isolate_dispatch(struct strait_isolate *isolate, strait_message_fn *handle,
                                  void *context, size_t budget)
{
    struct strait_receiver *receiver = &isolate->port->receiver;
    size_t most = budget ? budget : isolate->options.budget;
    size_t handled = 0;
    bool armed = false;
    check_isolate(isolate);
    if (strait_inside(isolate->callback)) {
        return -EDEADLK;
    }
    strait_isolate_settle(isolate);
    while (handled < most && !armed && !isolate_stopping(isolate)) {
        ptrdiff_t more = handle_messages(isolate, handle, context, most - handled, 0);
        if (more > 0) {
            handled += (size_t)more;
        } else if (more == -EINTR) {
            return -EINTR;
        } else if (more == -EPIPE) {
            return handled ? (ptrdiff_t)handled : -EPIPE;
        } else if (isolate->microtask_count > 0) {
            strait_channel_wake(receiver->handle.channel); /* to be called again for these */
            break;
        } else {
            armed = strait_receiver_arm(receiver) != 0;
        }
    }
    return isolate_stopping(isolate) ? -ECANCELED : (ptrdiff_t)handled; /* once the fd is cleared */
}

int strait_isolate_result(const struct strait_isolate *isolate)
{
    check_isolate(isolate);
    return isolate->result;
}

/* ---- usage ---- */

void strait_isolate_idle(struct strait_isolate *isolate, bool idle)
{
    check_isolate(isolate);
    strait_stopwatch_set(&isolate->idle, strait_now(), idle);
}

void strait_isolate_woke(struct strait_isolate *isolate, int64_t time)
{
    check_isolate(isolate);
    strait_stopwatch_set(&isolate->idle, time, false);
}

void strait_isolate_usage(const struct strait_isolate *isolate, struct strait_usage *usage)
{
    int64_t now;
    usage->idle_ns = strait_stopwatch_read(&isolate->idle, &now);
    int64_t ended_at = (int64_t)strait_wide_load_relaxed(&isolate->ended_at);
    int64_t online_at = (int64_t)strait_wide_load_relaxed(&isolate->online_at);
    int64_t until = ended_at ? ended_at : now;
    usage->online_ns = online_at && until > online_at ? until - online_at : 0;
    if (usage->idle_ns > usage->online_ns) {
        usage->idle_ns = usage->online_ns;
    }
    usage->messages = strait_wide_load_relaxed(&isolate->messages);
    usage->microtasks = strait_wide_load_relaxed(&isolate->microtasks_run);
    usage->timers = strait_wide_load_relaxed(&isolate->timers_run);
    usage->heap_used = strait_word_load_relaxed(&isolate->heap.used);
    usage->heap_highest = strait_word_load_relaxed(&isolate->heap.highest);
}

/* ---- its life ---- */

static int read_options(struct strait_isolate_options *options,
                        const struct strait_isolate_options *given)
{
    int error = strait_p_extra_options(options, sizeof(*options), given);
    options->budget = options->budget ? options->budget : STRAIT_BUDGET;
    options->microtask_limit = options->microtask_limit ? options->microtask_limit : SIZE_MAX;
    return !error && (options->entry || options->message) ? 0 : -EINVAL;
}

int strait_isolate_create(struct strait_isolate **out, const struct strait_isolate_options *given)
{
    struct strait_isolate_options options;
    int error = read_options(&options, given);
    if (error) {
        return error;
    }
    struct strait_isolate *isolate = strait_p_extra_alloc(STRAIT_LINE, sizeof(*isolate));
    if (!isolate) {
        return -ENOMEM;
    }
    memset(isolate, 0, sizeof(*isolate));
    isolate->options = options;
    strait_p_heap_init(&isolate->heap, options.heap_limit);
    *out = isolate;
    return 0;
}

static int enter(struct strait_isolate *isolate, struct strait_port *port)
{
    size_t message_size = strait_receiver_message_size(&port->receiver);
    if (own_isolate || isolate->online_at) {
        return -EINVAL;
    }
    isolate->message = strait_p_extra_alloc(STRAIT_LINE, message_size);
    if (!isolate->message) {
        return -ENOMEM;
    }
    isolate->port = port;
    isolate->worker = strait_worker_current();
    own_isolate = isolate;
    strait_idle_watch(&isolate->idle);
    strait_wide_store_relaxed(&isolate->online_at, (uint64_t)strait_now());
    return 0;
}

/* However main ended. The usage stays. */
static void leave(void *argument)
{
    struct strait_isolate *isolate = argument;
    strait_p_heap_release(&isolate->heap);
    isolate->microtasks = NULL;
    isolate->microtask_slots = 0;
    isolate->microtask_count = 0;
    free(isolate->message);
    isolate->message = NULL;
    strait_wide_store_relaxed(&isolate->ended_at, (uint64_t)strait_now());
    strait_idle_watch(NULL);
    own_isolate = NULL;
}

int strait_isolate_main(struct strait_port *port, void *data)
{
    struct strait_isolate *isolate = data;
    const struct strait_isolate_options *options = &isolate->options;
    int code = enter(isolate, port);
    if (code) {
        return code;
    }
    pthread_cleanup_push(leave, isolate);
    code = options->entry ? options->entry(isolate)
                          : strait_isolate_run(isolate, options->message, options->context);
    while (isolate->microtask_count > 0 && !isolate_stopping(isolate)) {
        run_microtasks(isolate);
    }
    pthread_cleanup_pop(1);
    return code;
}

void strait_isolate_destroy(struct strait_isolate *isolate)
{
    free(isolate);
}
