/* SPDX-License-Identifier: MIT */
/* worker: a thread with a port, from spawn to join, and what its parent sees of it. */
#include "strait/worker.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../channel/memory.h"
#include "../channel/options.h"
#include "../channel/wait.h"
#include "port.h"
#include "thread.h"

#define NICE_MOST 19

/* What the worker says of itself; `said` is written last. */
struct worker_word {
    const char *text;
    int code;
    uint32_t said;
};

struct strait_worker {
    /* line 0: spawn writes, both read */
    STRAIT_LINE_ALIGNED struct strait_worker_options options;
    struct strait_port holder; /* keeps the link, whatever the two ends do, until the destroy */
    struct strait_channel *to_parent;
    int fd; /* of to_parent's receiver, which the parent may close before the exit; or -EINVAL */
    struct strait_p_thread thread;
    /* line 1: the parent writes */
    STRAIT_LINE_ALIGNED struct strait_port parent;
    void *message; /* the one that is told */
    bool dispatching;
    unsigned told; /* events of these types, a bit each */
    /* line 2: the worker writes; the parent reads `warning` once it is said, and the rest once the
     * worker has ended */
    STRAIT_LINE_ALIGNED struct strait_port port;
    struct worker_word failure;
    struct worker_word warning;
    int code;       /* of the entry */
    bool finished;  /* fini was called */
    uint32_t ended; /* all of this is complete */
    /* line 3: whoever stops the worker writes, the worker polls */
    STRAIT_LINE_ALIGNED uint32_t stop;
    /* line 4: the worker writes when it goes to sleep, whoever stops it locks it */
    STRAIT_LINE_ALIGNED struct strait_p_berth berth;
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_worker, parent) % STRAIT_LINE == 0, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_worker, port) % STRAIT_LINE == 0, "line 2");
STRAIT_STATIC_ASSERT(offsetof(struct strait_worker, stop) % STRAIT_LINE == 0, "line 3");
STRAIT_STATIC_ASSERT(offsetof(struct strait_worker, berth) % STRAIT_LINE == 0, "line 4");

/* ---- on the worker ---- */

static __thread struct strait_worker *own_worker;

struct strait_worker *strait_worker_current(void)
{
    return own_worker;
}

bool strait_worker_stopping(const struct strait_worker *worker)
{
    return worker && strait_load_relaxed(&worker->stop) != 0;
}

static void say_word(struct worker_word *word, int code, const char *text)
{
    word->code = code;
    word->text = text;
    /* worker.say: pairs with worker.said; code and text, and all that the worker did before;
     * without it the parent tells of a failure whose text is not there yet */
    strait_store_release(&word->said, 1);
}

void strait_worker_fail(int code, const char *text)
{
    if (own_worker && !own_worker->failure.said) {
        say_word(&own_worker->failure, code, text);
    }
}

void strait_worker_warn(int code, const char *text)
{
    if (own_worker && !own_worker->warning.said) {
        say_word(&own_worker->warning, code, text);
        strait_p_wake(&own_worker->to_parent->receiver);
    }
}

static int worker_set_up(void *argument)
{
    struct strait_worker *worker = argument;
    own_worker = worker;
    strait_port_adopt(&worker->port);
    strait_p_berth_enter(&worker->berth);
    int result =
        worker->options.init ? worker->options.init(&worker->port, worker->options.data) : 0;
    return result > 0 ? -ECANCELED : result;
}

/* Once, though it ends its thread, too. */
static void run_fini(void *argument)
{
    struct strait_worker *worker = argument;
    if (worker->options.fini && !worker->finished) {
        worker->finished = true;
        worker->options.fini(&worker->port, worker->options.data);
    }
}

static void worker_run(void *argument)
{
    struct strait_worker *worker = argument;
    worker->code = -EINTR; /* unless the entry returns */
    pthread_cleanup_push(run_fini, worker);
    worker->code = worker->options.entry(&worker->port, worker->options.data);
    pthread_cleanup_pop(1);
}

static void worker_ended(void *argument)
{
    struct strait_worker *worker = argument;
    own_worker = NULL;
    strait_p_berth_enter(NULL);
    /* worker.end: pairs with worker.ended; the exit record, and all that the worker did; without it
     * the parent tells of an exit with the code of nobody */
    strait_store_release(&worker->ended, 1);
    strait_port_close(&worker->port);
    /* the entry may have closed its port long before */
    strait_p_wake(&worker->to_parent->receiver);
}

/* ---- spawn ---- */

/* All but its thread. Behind the worker lies its copy of the start-up data. */
static int worker_init(struct strait_worker *worker, const struct strait_worker_options *options)
{
    memset(worker, 0, sizeof(*worker));
    worker->options = *options;
    if (options->data_size) {
        worker->options.data = worker + 1;
        memcpy(worker->options.data, options->data, options->data_size);
    }
    strait_p_berth_init(&worker->berth, &worker->stop);
    struct strait_port_options port = {
        .forth = options->to_worker,
        .back = options->to_parent,
        .drop_forth = options->drop_to_worker,
        .drop_back = options->drop_to_parent,
        .context = options->context,
    };
    if (port.back.receiver == STRAIT_WAIT_DEFAULT) {
        port.back.receiver = STRAIT_WAIT_FD;
    }
    int error = strait_port_pair(&worker->parent, &worker->port, &port);
    if (error) {
        return error;
    }
    strait_p_port_hold(&worker->holder, &worker->parent);
    strait_port_give(&worker->port);
    worker->to_parent = worker->parent.receiver.handle.channel;
    worker->fd = strait_receiver_fd(&worker->parent.receiver);
    worker->message = strait_line_alloc(worker->to_parent->message_size);
    return worker->message ? 0 : -ENOMEM;
}

static void worker_free(struct strait_worker *worker)
{
    strait_port_close(&worker->port);
    strait_port_close(&worker->parent);
    strait_port_close(&worker->holder);
    free(worker->message);
    free(worker);
}

int strait_worker_spawn(struct strait_worker **out, const struct strait_worker_options *given)
{
    struct strait_worker_options options;
    int error = strait_options_copy(&options, sizeof(options), given);
    if (error || !options.entry || (!options.data && options.data_size) || options.nice < 0 ||
        options.nice > NICE_MOST) {
        return -EINVAL;
    }
    bool one = options.pin == STRAIT_PIN_CPU;
    bool set = options.pin == STRAIT_PIN_SET;
    struct strait_p_thread_options thread = {
        .name = options.name ? options.name : "strait",
        .placement = {.pin = options.pin,
                      .cpus = one   ? &options.cpu
                              : set ? options.cpus
                                    : NULL,
                      .cpu_count = one   ? 1
                                   : set ? options.cpu_count
                                         : 0,
                      .home = sched_getcpu()},
        .pinned = one || set,
        .schedule = options.schedule,
        .nice = getpriority(PRIO_PROCESS, 0) + options.nice,
        .scheduled = true,
        .stack_size = options.stack_size,
        .set_up = worker_set_up,
        .run = worker_run,
        .ended = worker_ended,
    };
    struct strait_worker *worker = options.data_size < SIZE_MAX / 2
                                       ? strait_line_alloc(sizeof(*worker) + options.data_size)
                                       : NULL;
    if (!worker) {
        return -ENOMEM;
    }
    thread.argument = worker;
    error = worker_init(worker, &options);
    error = error ? error : strait_p_thread_launch(&worker->thread, &thread);
    error = error ? error : strait_p_thread_online(&worker->thread);
    if (error) {
        worker_free(worker);
        return error;
    }
    strait_p_wake(&worker->to_parent->receiver); /* the online event waits for its dispatch */
    *out = worker;
    return 0;
}

/* ---- events, on the parent's thread ---- */

struct strait_port *strait_worker_port(struct strait_worker *worker)
{
    return &worker->parent;
}

int strait_worker_fd(const struct strait_worker *worker)
{
    return worker->fd;
}

static bool has_ended(const struct strait_worker *worker)
{
    /* worker.ended: pairs with worker.end; the exit record; without it the parent reads it from
     * before it was complete */
    return strait_load_acquire(&worker->ended) != 0;
}

static bool has_warning(const struct strait_worker *worker)
{
    /* worker.said: pairs with worker.say; code and text; without it the parent reads them from
     * before they were written */
    return !(worker->told & 1u << STRAIT_WARNING) && strait_load_acquire(&worker->warning.said);
}

/* The error, if there is one, and the next time the exit. */
static void find_end(struct strait_worker *worker, struct strait_event *event)
{
    const struct worker_word *failure = &worker->failure;
    bool failed = failure->said || (worker->code && worker->code != -ECANCELED);
    event->type = STRAIT_EXIT;
    event->code = worker->code;
    event->reason = failed         ? STRAIT_EXIT_FAILED
                    : worker->code ? STRAIT_EXIT_STOPPED
                                   : STRAIT_EXIT_RETURNED;
    event->warning = worker->warning.code;
    if (failed && !(worker->told & 1u << STRAIT_ERROR)) {
        event->type = STRAIT_ERROR;
        event->code = failure->said ? failure->code : worker->code;
        event->text = failure->text;
    } else if (worker->fd >= 0) {
        strait_p_fd_clear(worker->fd);
    }
}

/* The next event; false: there is none yet, and the fd waits for it. */
static bool find_event(struct strait_worker *worker, struct strait_event *event)
{
    struct strait_receiver *receiver = &worker->parent.receiver;
    memset(event, 0, sizeof(*event));
    event->type = STRAIT_ONLINE;
    if (!worker->told) {
        return true;
    }
    for (;;) {
        bool ended = has_ended(worker); /* before the looks for what it said until then */
        if (has_warning(worker)) {
            event->type = STRAIT_WARNING;
            event->code = worker->warning.code;
            event->text = worker->warning.text;
            return true;
        }
        ptrdiff_t received = strait_try_receive(receiver, worker->message, 1);
        if (received == 1) {
            event->type = STRAIT_MESSAGE;
            event->message = worker->message;
            return true;
        }
        if (received == -EPIPE && ended) {
            find_end(worker, event);
            return true;
        }
        /* First the fd becomes unreadable, then comes a last look: whatever is later makes it
         * readable. Either side may have closed the link while the worker lives. */
        bool quiet = true;
        if (received == -EAGAIN) {
            quiet = strait_receiver_arm(receiver) != 0; /* or it is not in fd mode */
        } else if (worker->fd >= 0) {
            strait_p_fd_clear(worker->fd);
        }
        if (quiet && !has_warning(worker) && has_ended(worker) == ended) {
            return false;
        }
        strait_p_wake(&worker->to_parent->receiver); /* more to tell than the next event */
    }
}

ptrdiff_t strait_worker_dispatch(struct strait_worker *worker, size_t budget)
{
    const unsigned exited = 1u << STRAIT_EXIT;
    struct strait_event event;
    ptrdiff_t told = 0;
    if (worker->dispatching) {
        return -EDEADLK;
    }
    if (!worker->options.event) {
        return -EINVAL;
    }
    if (worker->told & exited) {
        return -EPIPE;
    }
    worker->dispatching = true;
    for (size_t left = budget ? budget : STRAIT_BUDGET;
         left > 0 && !(worker->told & exited) && find_event(worker, &event); left--) {
        worker->told |= 1u << event.type;
        worker->options.event(worker, &event, worker->options.context);
        told++;
    }
    worker->dispatching = false;
    return told;
}

/* ---- stop, join, destroy, status ---- */

void strait_worker_stop(struct strait_worker *worker)
{
    /* worker.stop: pairs with wait.cancelled; all that whoever stops the worker did before; without
     * it the worker ends its wait and does not see why */
    strait_store_release(&worker->stop, 1);
    strait_p_berth_wake(&worker->berth);
    strait_port_wake(&worker->holder);
}

int strait_worker_join(struct strait_worker *worker, int64_t deadline)
{
    return strait_p_thread_join(&worker->thread, deadline);
}

int strait_workers_join(struct strait_worker *const *workers, size_t count, int64_t deadline,
                        struct strait_worker **stuck)
{
    struct strait_worker *first = NULL;
    int first_error = 0;
    for (size_t i = 0; i < count; i++) {
        int error = strait_worker_join(workers[i], deadline);
        if (error && !first) {
            first = workers[i];
            first_error = error;
        }
    }
    if (stuck) {
        *stuck = first;
    }
    return first_error;
}

int strait_worker_destroy(struct strait_worker *worker)
{
    if (!worker) {
        return 0;
    }
    if (worker->thread.process != getpid()) {
        return -EOWNERDEAD;
    }
    if (worker->dispatching) {
        return -EDEADLK;
    }
    if (!worker->thread.joined) {
        return -EBUSY;
    }
    worker_free(worker);
    return 0;
}

void strait_worker_status(const struct strait_worker *worker, struct strait_status *status)
{
    memcpy(status->name, worker->thread.name, sizeof(status->name));
    status->thread = worker->thread.number;
    status->cpu = worker->thread.cpu;
    status->state = has_ended(worker) ? STRAIT_WORKER_ENDED : STRAIT_WORKER_ONLINE;
    status->stopping = strait_worker_stopping(worker);
}
