/* SPDX-License-Identifier: MIT */
/* worker: a thread with a port, from spawn to join, and what its parent sees of it. */
#include "strait/worker.h"

#include <sched.h>
#include <stdlib.h>

#include "../channel/memory.h"
#include "../channel/options.h"
#include "../channel/wait.h"
#include "cpu.h"
#include "port.h"
#include "thread.h"

/* What the worker says of itself; `said` is written last. */
struct worker_word {
    const char *text;
    int code;
    uint32_t said;
};

struct strait_worker {
    /* line 0: spawn writes, both read */
    STRAIT_LINE_ALIGNED struct strait_worker_options options;
    void *data;
    struct strait_link *link; /* held until the destroy */
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
    int code; /* of the entry */
    bool returned;
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
    if (!worker->options.init) {
        return 0;
    }
    int result = worker->options.init(&worker->port, worker->data);
    return result > 0 ? -ECANCELED : result;
}

/* Once, though it ends its thread, too. */
static void run_fini(void *argument)
{
    struct strait_worker *worker = argument;
    if (worker->options.fini && !worker->finished) {
        worker->finished = true;
        worker->options.fini(&worker->port, worker->data);
    }
}

static void worker_run(void *argument)
{
    struct strait_worker *worker = argument;
    pthread_cleanup_push(run_fini, worker);
    worker->code = worker->options.entry(&worker->port, worker->data);
    worker->returned = true;
    pthread_cleanup_pop(1);
}

static void worker_ended(void *argument)
{
    struct strait_worker *worker = argument;
    if (!worker->returned) {
        worker->code = -EINTR;
    }
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

/* Workers of one process take the CPUs in turn. */
static int next_cpu(void)
{
    static uint32_t turn;
    /* turn.next: pairs with turn.next; nothing but the number; without it two workers get the
     * same turn */
    return strait_p_cpu_choose(sched_getcpu(), strait_add_acq_rel(&turn, 1));
}

/* Where the thread is to run; false: a CPU that the process may not use, or none at all. */
static bool find_cpus(struct strait_p_thread_options *thread, struct strait_worker_options *options)
{
    size_t valid = 0;
    thread->cpus = &options->cpu;
    thread->cpu_count = 1;
    thread->pinned = options->pin == STRAIT_PIN_CPU || options->pin == STRAIT_PIN_SET;
    if (options->pin == STRAIT_PIN_CHOOSE) {
        options->cpu = next_cpu();
    } else if (options->pin == STRAIT_PIN_NONE) {
        thread->cpus = strait_p_cpu_numbers();
        thread->cpu_count = strait_p_cpu_count();
    } else if (options->pin == STRAIT_PIN_SET) {
        thread->cpus = options->cpus;
        thread->cpu_count = options->cpus ? options->cpu_count : 0;
    } else if (options->pin != STRAIT_PIN_CPU) {
        return false;
    }
    while (valid < thread->cpu_count && strait_p_cpu_allowed(thread->cpus[valid])) {
        valid++;
    }
    return valid > 0 && valid == thread->cpu_count;
}

/* The worker, and behind it its copy of the start-up data. */
static int worker_alloc(struct strait_worker **out, const struct strait_worker_options *options)
{
    size_t bytes = options->data_size;
    struct strait_worker *worker =
        bytes < SIZE_MAX / 2 ? strait_line_alloc(sizeof(*worker) + bytes) : NULL;
    if (!worker) {
        return -ENOMEM;
    }
    memset(worker, 0, sizeof(*worker));
    worker->options = *options;
    worker->data = bytes ? memcpy(worker + 1, options->data, bytes) : options->data;
    strait_p_berth_init(&worker->berth, &worker->stop);
    *out = worker;
    return 0;
}

static int open_ports(struct strait_worker *worker)
{
    const struct strait_worker_options *options = &worker->options;
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
    worker->link = strait_p_link_hold(&worker->parent);
    worker->to_parent = worker->parent.receiver.handle.channel;
    worker->fd = strait_receiver_fd(&worker->parent.receiver);
    strait_port_give(&worker->port);
    worker->message = strait_line_alloc(worker->to_parent->message_size);
    return worker->message ? 0 : -ENOMEM;
}

/* Nobody uses it any more. */
static void worker_free(struct strait_worker *worker)
{
    strait_port_close(&worker->port);
    strait_port_close(&worker->parent);
    if (worker->link) {
        strait_p_link_drop(worker->link);
    }
    free(worker->message);
    free(worker);
}

int strait_worker_spawn(struct strait_worker **out, const struct strait_worker_options *given)
{
    struct strait_worker_options options;
    struct strait_worker *worker;
    int error = strait_options_copy(&options, sizeof(options), given);
    struct strait_p_thread_options thread = {
        .name = options.name ? options.name : "strait",
        .schedule = options.schedule,
        .nice = options.nice,
        .scheduled = true,
        .stack_size = options.stack_size,
        .set_up = worker_set_up,
        .run = worker_run,
        .ended = worker_ended,
    };
    if (error || !options.entry || (!options.data && options.data_size) ||
        !find_cpus(&thread, &options)) {
        return -EINVAL;
    }
    error = worker_alloc(&worker, &options);
    if (error) {
        return error;
    }
    thread.argument = worker;
    error = open_ports(worker);
    error = error ? error : strait_p_thread_start(&worker->thread, &thread);
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

static bool has_said(const struct worker_word *word)
{
    /* worker.said: pairs with worker.say; code and text; without it the parent reads them from
     * before they were written */
    return strait_load_acquire(&word->said) != 0;
}

static bool has_ended(const struct strait_worker *worker)
{
    /* worker.ended: pairs with worker.end; the exit record; without it the parent reads it from
     * before it was complete */
    return strait_load_acquire(&worker->ended) != 0;
}

static bool was_told(const struct strait_worker *worker, enum strait_event_type type)
{
    return worker->told & 1u << type;
}

static bool tell(struct strait_worker *worker, const struct strait_event *event)
{
    worker->told |= 1u << event->type;
    worker->options.event(worker, event, worker->options.context);
    return true;
}

static bool has_warning(const struct strait_worker *worker)
{
    return !was_told(worker, STRAIT_WARNING) && has_said(&worker->warning);
}

static bool tell_warning(struct strait_worker *worker)
{
    const struct worker_word *word = &worker->warning;
    return tell(worker, &(struct strait_event){
                            .type = STRAIT_WARNING, .code = word->code, .text = word->text});
}

/* The error, if there is one, and the next time the exit. */
static bool tell_ended(struct strait_worker *worker)
{
    const struct worker_word *failure = &worker->failure;
    struct strait_event event = {
        .type = STRAIT_EXIT,
        .code = worker->code,
        .reason = STRAIT_EXIT_FAILED,
        .warning = worker->warning.code,
    };
    if (worker->returned && !failure->said && (worker->code == 0 || worker->code == -ECANCELED)) {
        event.reason = worker->code ? STRAIT_EXIT_STOPPED : STRAIT_EXIT_RETURNED;
    } else if (!was_told(worker, STRAIT_ERROR)) {
        event.type = STRAIT_ERROR;
        event.code = failure->said ? failure->code : worker->code;
        event.text = failure->text;
        return tell(worker, &event);
    }
    if (worker->fd >= 0) {
        strait_p_fd_clear(worker->fd);
    }
    return tell(worker, &event);
}

/* The link is closed, which either side may have done while the worker lives. The fd is cleared
 * before the last look at how the worker is: what comes later makes it readable again. */
static bool tell_end(struct strait_worker *worker)
{
    bool ended = has_ended(worker);
    if (!ended) {
        if (worker->fd >= 0) {
            strait_p_fd_clear(worker->fd);
        }
        ended = has_ended(worker);
        if (ended) {
            strait_p_wake(&worker->to_parent->receiver); /* more to tell than the next event */
        }
    }
    return has_warning(worker) ? tell_warning(worker) : ended && tell_ended(worker);
}

/* The next event; false: there is none yet, and the fd waits for it. */
static bool tell_next(struct strait_worker *worker)
{
    struct strait_receiver *receiver = &worker->parent.receiver;
    if (!was_told(worker, STRAIT_ONLINE)) {
        return tell(worker, &(struct strait_event){.type = STRAIT_ONLINE});
    }
    for (;;) {
        if (has_warning(worker)) {
            return tell_warning(worker);
        }
        ptrdiff_t received = strait_try_receive(receiver, worker->message, 1);
        if (received == 1) {
            return tell(worker,
                        &(struct strait_event){.type = STRAIT_MESSAGE, .message = worker->message});
        }
        if (received == -EPIPE) {
            return tell_end(worker);
        }
        if (strait_receiver_arm(receiver) != 0 && !has_warning(worker)) {
            return false; /* armed, or not in fd mode; a warning is looked for behind the arming */
        }
    }
}

ptrdiff_t strait_worker_dispatch(struct strait_worker *worker, size_t budget)
{
    size_t told = 0;
    if (worker->dispatching) {
        return -EDEADLK;
    }
    if (!worker->options.event) {
        return -EINVAL;
    }
    if (was_told(worker, STRAIT_EXIT)) {
        return -EPIPE;
    }
    worker->dispatching = true;
    for (size_t most = budget ? budget : STRAIT_BUDGET; told < most; told++) {
        if (was_told(worker, STRAIT_EXIT) || !tell_next(worker)) {
            break;
        }
    }
    worker->dispatching = false;
    return (ptrdiff_t)told;
}

/* ---- stop, join, destroy, status ---- */

void strait_worker_stop(struct strait_worker *worker)
{
    /* worker.stop: pairs with wait.cancelled; all that whoever stops the worker did before; without
     * it the worker ends its wait and does not see why */
    strait_store_release(&worker->stop, 1);
    strait_p_berth_wake(&worker->berth);
    strait_p_link_wake(worker->link);
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
    if (strait_p_thread_inherited(&worker->thread)) {
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
    status->state = strait_p_thread_life(&worker->thread) == STRAIT_P_ONLINE ? STRAIT_WORKER_ONLINE
                                                                             : STRAIT_WORKER_ENDED;
    status->stopping = strait_worker_stopping(worker);
}
