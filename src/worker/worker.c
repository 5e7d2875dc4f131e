/* SPDX-License-Identifier: MIT */
/* worker: the life of a thread, from spawn to join, and what its parent sees of it. */
#include "strait/worker.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu.h"
#include "fork.h"
#include "../extra/isolate.h"
#include "../channel/memory.h"
#include "../channel/options.h"
#include "../channel/wait.h"

#define NAME_MAX_BYTES 15

/* The word that spawn and join sleep on. */
enum life {
    STARTING,
    ONLINE,
    ENDED,   /* the entry has returned; the exit record is complete */
    EXITED,  /* the thread touches nothing any more */
    REFUSED, /* the thread could not set itself up; `error` says why */
};

struct strait_worker {
    /* line 0: set by spawn, read by both */
    STRAIT_LINE_ALIGNED struct strait_worker_options options;
    struct strait_channel *to_parent;
    int fd; /* of to_parent's receiver, which the parent may close before the exit; or -EINVAL */
    uint32_t generation;
    int cpu;
    char name[NAME_MAX_BYTES + 1];
    /* line 1: the parent's */
    STRAIT_LINE_ALIGNED struct strait_port parent;
    pthread_t thread;
    bool joined;
    bool dispatching;
    bool said_online;
    bool said_limit;
    bool said_error;
    bool said_exit;
    /* line 2: the worker's; the exit record is the parent's to read once it sees ENDED */
    STRAIT_LINE_ALIGNED struct strait_port port;
    struct strait_isolate isolate;
    int32_t number; /* the kernel's, anybody's to read once the worker is online */
    int error;
    int code;
    enum strait_exit_reason reason;
    /* line 3: whoever stops the worker writes, the worker polls */
    STRAIT_LINE_ALIGNED uint32_t stop;
    /* line 4: the worker writes when it goes to sleep, whoever stops it locks it */
    STRAIT_LINE_ALIGNED struct strait_p_berth berth;
    /* line 5: the worker writes, spawn and join sleep on it */
    STRAIT_LINE_ALIGNED uint32_t life;
};

/* ---- on the worker's thread ---- */

static void live(struct strait_worker *worker, enum life life)
{
    /* worker.live: pairs with worker.seen, worker.ended, worker.status; the error, or all the
     * worker did */
    strait_store_release(&worker->life, life);
    strait_p_futex_wake(&worker->life, INT_MAX, false);
}

static int set_schedule(const struct strait_worker_options *options)
{
    static const int classes[] = {
        [STRAIT_SCHEDULE_NORMAL] = SCHED_OTHER,
        [STRAIT_SCHEDULE_BATCH] = SCHED_BATCH,
        [STRAIT_SCHEDULE_IDLE] = SCHED_IDLE,
    };
    struct sched_param none = {.sched_priority = 0};
    if (options->schedule != STRAIT_SCHEDULE_DEFAULT &&
        sched_setscheduler(0, classes[options->schedule], &none) != 0) {
        return -errno;
    }
    if (options->nice) {
        id_t self = (id_t)syscall(SYS_gettid);
        int nice = getpriority(PRIO_PROCESS, self) + options->nice;
        if (setpriority(PRIO_PROCESS, self, nice) != 0) {
            return -errno;
        }
    }
    return 0;
}

/* Into the isolate's heap, where it counts against the limit. */
static int copy_data(struct strait_worker *worker)
{
    const struct strait_worker_options *options = &worker->options;
    worker->isolate.data = options->data;
    if (options->data_size == 0) {
        return 0;
    }
    worker->isolate.data = strait_p_heap_take(&worker->isolate.heap, options->data_size);
    if (!worker->isolate.data) {
        return -ENOMEM;
    }
    memcpy(worker->isolate.data, options->data, options->data_size);
    return 0;
}

static int run_init(struct strait_worker *worker)
{
    if (!worker->options.init) {
        return 0;
    }
    int result = worker->options.init(&worker->isolate);
    return result > 0 ? -ECANCELED : result;
}

static int set_up(struct strait_worker *worker)
{
    worker->number = (int32_t)syscall(SYS_gettid);
    int error = -pthread_setname_np(pthread_self(), worker->name);
    if (!error) {
        error = set_schedule(&worker->options);
    }
    if (!error) {
        error = copy_data(worker);
    }
    if (!error) {
        strait_port_adopt(&worker->port);
        strait_p_berth_enter(&worker->berth);
        error = run_init(worker);
    }
    return error;
}

static int run_entry(struct strait_worker *worker)
{
    const struct strait_worker_options *options = &worker->options;
    int code = options->entry
                   ? options->entry(&worker->isolate)
                   : strait_isolate_run(&worker->isolate, options->message, options->context);
    strait_isolate_finish(&worker->isolate);
    if (options->fini) {
        options->fini(&worker->isolate);
    }
    return code;
}

static enum strait_exit_reason exit_reason(const struct strait_isolate *isolate, int code)
{
    if (isolate->failed || (code != 0 && code != -ECANCELED)) {
        return isolate->heap.limit_hit ? STRAIT_EXIT_HEAP_LIMIT : STRAIT_EXIT_FAILED;
    }
    return code == 0 ? STRAIT_EXIT_RETURNED : STRAIT_EXIT_STOPPED;
}

static void *thread_main(void *argument)
{
    struct strait_worker *worker = argument;
    struct strait_isolate *isolate = &worker->isolate;
    strait_isolate_enter(isolate);
    worker->error = set_up(worker);
    if (worker->error) {
        strait_isolate_release(isolate);
        strait_port_close(&worker->port);
        live(worker, REFUSED);
        return NULL;
    }
    live(worker, ONLINE);
    worker->code = run_entry(worker);
    worker->reason = exit_reason(isolate, worker->code);
    strait_isolate_release(isolate);
    strait_isolate_enter(NULL);
    strait_p_berth_enter(NULL);
    live(worker, ENDED);
    strait_channel_wake(worker->to_parent); /* the entry may have closed its port long before */
    strait_port_close(&worker->port);
    live(worker, EXITED);
    return NULL;
}

/* ---- spawn, on the parent's thread ---- */

static bool cpus_valid(const struct strait_worker_options *options)
{
    size_t allowed = 0;
    if (options->pin == STRAIT_PIN_CPU) {
        return strait_cpu_allowed(options->cpu);
    }
    if (options->pin != STRAIT_PIN_SET) {
        return (unsigned)options->pin < STRAIT_PIN_SET;
    }
    while (options->cpus && allowed < options->cpu_count &&
           strait_cpu_allowed(options->cpus[allowed])) {
        allowed++;
    }
    return allowed > 0 && allowed == options->cpu_count;
}

static bool worker_options_valid(const struct strait_worker_options *options)
{
    bool named = !options->name || strlen(options->name) <= NAME_MAX_BYTES;
    bool scheduled = (unsigned)options->schedule <= STRAIT_SCHEDULE_IDLE && options->nice >= 0 &&
                     options->nice <= 19;
    bool runs = options->entry || options->message;
    bool starts = options->data || options->data_size == 0;
    return named && cpus_valid(options) && scheduled && runs && starts;
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
    if (!error) {
        worker->to_parent = worker->parent.receiver.handle.channel;
        worker->fd = strait_receiver_fd(&worker->parent.receiver);
        strait_port_give(&worker->port);
        worker->isolate.to_parent = worker->to_parent;
        strait_sender_cancel_on(&worker->port.sender, &worker->stop);
        strait_receiver_cancel_on(&worker->port.receiver, &worker->stop);
    }
    return error;
}

/* Workers of one process take the CPUs in turn. */
static unsigned next_turn(void)
{
    static uint32_t turn;
    /* turn.next: pairs with turn.next; nothing but the number */
    return strait_add_acq_rel(&turn, 1);
}

/* The one CPU that was asked for or chosen, or -1. */
static int chosen_cpu(const struct strait_worker_options *options)
{
    if (options->pin == STRAIT_PIN_CHOOSE) {
        return strait_cpu_choose(sched_getcpu(), next_turn(), false);
    }
    return options->pin == STRAIT_PIN_CPU ? options->cpu : -1;
}

/* The one CPU in the set, or -1. */
static int only_cpu(const cpu_set_t *cpus)
{
    int cpu = 0;
    while (!CPU_ISSET((size_t)cpu, cpus)) {
        cpu++;
    }
    return CPU_COUNT(cpus) == 1 ? cpu : -1;
}

static int set_cpus(struct strait_worker *worker, pthread_attr_t *attributes)
{
    const struct strait_worker_options *options = &worker->options;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    int one = chosen_cpu(options);
    if (one >= 0) {
        CPU_SET((size_t)one, &cpus);
    }
    for (size_t i = 0; options->pin == STRAIT_PIN_SET && i < options->cpu_count; i++) {
        CPU_SET((size_t)options->cpus[i], &cpus);
    }
    for (int cpu = 0; options->pin == STRAIT_PIN_NONE && cpu < CPU_SETSIZE; cpu++) {
        if (strait_cpu_allowed(cpu)) {
            CPU_SET((size_t)cpu, &cpus);
        }
    }
    worker->cpu = only_cpu(&cpus);
    return -pthread_attr_setaffinity_np(attributes, sizeof(cpus), &cpus);
}

static int start_thread(struct strait_worker *worker, pthread_attr_t *attributes)
{
    int error = set_cpus(worker, attributes);
    if (!error && worker->options.stack_size) {
        error = -pthread_attr_setstacksize(attributes, worker->options.stack_size);
    }
    if (error) {
        return error;
    }
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = -pthread_create(&worker->thread, attributes, thread_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* Sleeps until the worker has passed `life`; where it stands then, or -ETIMEDOUT. */
static int await(struct strait_worker *worker, enum life life, int64_t deadline)
{
    for (;;) {
        /* worker.seen: pairs with worker.live; the error, or all the worker did */
        uint32_t now = strait_load_acquire(&worker->life);
        if (now > life) {
            return (int)now;
        }
        if (strait_p_futex_wait(&worker->life, now, deadline, false) == -ETIMEDOUT) {
            return -ETIMEDOUT;
        }
    }
}

static int start(struct strait_worker *worker)
{
    pthread_attr_t attributes;
    int error = -pthread_attr_init(&attributes);
    if (error) {
        return error;
    }
    error = start_thread(worker, &attributes);
    pthread_attr_destroy(&attributes);
    if (error) {
        return error;
    }
    if (await(worker, STARTING, STRAIT_FOREVER) == REFUSED) {
        pthread_join(worker->thread, NULL);
        return worker->error;
    }
    return 0;
}

static int worker_alloc(struct strait_worker **worker)
{
    void *memory = strait_line_alloc(sizeof(**worker));
    if (!memory) {
        return -ENOMEM;
    }
    *worker = memset(memory, 0, sizeof(**worker));
    return 0;
}

static void init_isolate(struct strait_worker *worker)
{
    const struct strait_worker_options *options = &worker->options;
    struct strait_isolate *isolate = &worker->isolate;
    strait_isolate_init(isolate, &worker->port, &worker->stop, options->heap_limit);
    isolate->budget = options->budget ? options->budget : STRAIT_BUDGET;
    isolate->microtask_limit = options->microtask_limit ? options->microtask_limit : SIZE_MAX;
}

static int spawn(struct strait_worker *worker)
{
    const char *name = worker->options.name;
    strcpy(worker->name, name ? name : "strait"); /* of a length that was looked at */
    worker->generation = strait_fork_generation();
    init_isolate(worker);
    strait_p_berth_init(&worker->berth, &worker->stop);
    int error = open_ports(worker);
    if (error) {
        return error;
    }
    error = start(worker);
    if (error) {
        strait_port_close(&worker->port);
        strait_port_close(&worker->parent);
        return error;
    }
    /* The online event waits for its dispatch. */
    strait_channel_wake(worker->to_parent);
    return 0;
}

int strait_worker_spawn(struct strait_worker **out, const struct strait_worker_options *given)
{
    struct strait_worker_options options;
    struct strait_worker *worker = NULL;
    int saved = errno;
    int error = strait_options_copy(&options, sizeof(options), given);
    if (!error && !worker_options_valid(&options)) {
        error = -EINVAL;
    }
    if (!error) {
        error = strait_fork_watch();
    }
    if (!error) {
        error = worker_alloc(&worker);
    }
    if (!error) {
        worker->options = options;
        error = spawn(worker);
    }
    if (error) {
        free(worker);
    } else {
        *out = worker;
    }
    errno = saved;
    return error;
}

/* A fork's child has no such thread, and its descriptors are the parent's. */
static bool inherited(const struct strait_worker *worker)
{
    return worker->generation != strait_fork_generation();
}

/* ---- events, on the parent's thread ---- */

struct strait_port *strait_worker_port(struct strait_worker *worker)
{
    return inherited(worker) ? NULL : &worker->parent;
}

int strait_worker_fd(const struct strait_worker *worker)
{
    return inherited(worker) ? -EOWNERDEAD : worker->fd;
}

static void tell(struct strait_worker *worker, const struct strait_event *event)
{
    worker->options.event(worker, event, worker->options.context);
}

static ptrdiff_t tell_online(struct strait_worker *worker)
{
    struct strait_event event = {.type = STRAIT_ONLINE};
    worker->said_online = true;
    tell(worker, &event);
    return 1;
}

/* The callback may close the receiver: what it was told is received all the same, the rest is not.
 * It may not receive by itself. */
static ptrdiff_t tell_messages(struct strait_worker *worker, struct strait_span *span)
{
    struct strait_receiver receiver;
    struct strait_event event = {.type = STRAIT_MESSAGE};
    size_t told = 0;
    strait_receiver_hold(&worker->parent.receiver, &receiver);
    while (told < span->count &&
           worker->parent.receiver.handle.channel == receiver.handle.channel) {
        event.message = (const char *)span->messages + told * span->message_size;
        told++;
        tell(worker, &event);
    }
    strait_receiver_resume(&worker->parent.receiver, &receiver);
    span->count = told;
    strait_release(&receiver, span);
    return (ptrdiff_t)told;
}

static bool limit_untold(const struct strait_worker *worker)
{
    return !worker->said_limit && strait_isolate_limited(&worker->isolate);
}

static ptrdiff_t tell_limit(struct strait_worker *worker)
{
    struct strait_event event = {.type = STRAIT_HEAP_LIMIT};
    worker->said_limit = true;
    tell(worker, &event);
    return 1;
}

static ptrdiff_t tell_error(struct strait_worker *worker)
{
    const struct strait_isolate *isolate = &worker->isolate;
    struct strait_event event = {
        .type = STRAIT_ERROR,
        .code = isolate->failed ? isolate->fail_code : worker->code,
        .reason = worker->reason,
        .text = isolate->failed ? isolate->fail_text : NULL,
    };
    worker->said_error = true;
    tell(worker, &event);
    return 1;
}

static void clear_fd(struct strait_worker *worker)
{
    if (worker->fd >= 0) {
        strait_p_fd_clear(worker->fd);
    }
}

static ptrdiff_t tell_exit(struct strait_worker *worker)
{
    struct strait_event event = {
        .type = STRAIT_EXIT,
        .code = worker->code,
        .reason = worker->reason,
    };
    worker->said_exit = true;
    tell(worker, &event);
    clear_fd(worker);
    return 1;
}

static bool has_ended(const struct strait_worker *worker)
{
    /* worker.ended: pairs with worker.live; the exit record */
    return strait_load_acquire(&worker->life) >= ENDED;
}

/* If not, the fd is unreadable until it does: cleared before the second look, and made readable
 * again if that was too late. */
static bool await_end(struct strait_worker *worker)
{
    if (has_ended(worker)) {
        return true;
    }
    clear_fd(worker);
    if (!has_ended(worker)) {
        return false;
    }
    strait_channel_wake(worker->to_parent);
    return true;
}

/* The link is closed, which either side may have done while the worker lives: -EPIPE. */
static ptrdiff_t tell_end(struct strait_worker *worker)
{
    bool ended = await_end(worker);
    if (limit_untold(worker)) { /* looked at once the fd is cleared */
        return tell_limit(worker);
    }
    if (!ended) {
        return -EPIPE;
    }
    bool failed = worker->reason == STRAIT_EXIT_FAILED || worker->reason == STRAIT_EXIT_HEAP_LIMIT;
    return failed && !worker->said_error ? tell_error(worker) : tell_exit(worker);
}

/* One step of a dispatch: how many events, at most `budget`; 0: none left; -EPIPE: none to come but
 * the end. */
static ptrdiff_t tell_some(struct strait_worker *worker, size_t budget)
{
    struct strait_span span;
    if (!worker->said_online) {
        return tell_online(worker);
    }
    if (limit_untold(worker)) {
        return tell_limit(worker);
    }
    ptrdiff_t seen = strait_peek(&worker->parent.receiver, budget, &span);
    if (seen > 0) {
        return tell_messages(worker, &span);
    }
    return seen == -EPIPE ? tell_end(worker) : 0;
}

static size_t tell_all(struct strait_worker *worker, size_t budget)
{
    size_t told = 0;
    while (told < budget && !worker->said_exit) {
        ptrdiff_t some = tell_some(worker, budget - told);
        if (some < 0) {
            break;
        }
        told += (size_t)some;
        if (some == 0 && strait_receiver_arm(&worker->parent.receiver) != 0 &&
            !limit_untold(worker)) {
            break; /* armed, or not in fd mode; the limit is looked at once the fd is cleared */
        }
    }
    return told;
}

ptrdiff_t strait_worker_dispatch(struct strait_worker *worker, size_t budget)
{
    if (inherited(worker)) {
        return -EOWNERDEAD;
    }
    if (worker->dispatching) {
        return -EDEADLK;
    }
    if (!worker->options.event) {
        return -EINVAL;
    }
    if (worker->said_exit) {
        return -EPIPE;
    }
    worker->dispatching = true;
    size_t told = tell_all(worker, budget ? budget : STRAIT_BUDGET);
    worker->dispatching = false;
    return (ptrdiff_t)told;
}

/* ---- usage, stop and join ---- */

int strait_worker_usage(const struct strait_worker *worker, struct strait_usage *usage)
{
    if (inherited(worker)) {
        return -EOWNERDEAD;
    }
    strait_isolate_usage(&worker->isolate, usage);
    return 0;
}

void strait_worker_stop(struct strait_worker *worker)
{
    if (inherited(worker)) {
        return;
    }
    /* worker.stop: pairs with wait.cancelled; all that whoever stops the worker did before */
    strait_store_release(&worker->stop, 1);
    strait_p_berth_wake(&worker->berth);
    strait_port_wake(&worker->parent);
}

int strait_worker_join(struct strait_worker *worker, int64_t deadline)
{
    if (inherited(worker)) {
        return -EOWNERDEAD;
    }
    if (worker->joined) {
        return 0;
    }
    if (strait_isolate_current() == &worker->isolate) {
        return -EDEADLK;
    }
    if (await(worker, ENDED, deadline) == -ETIMEDOUT) {
        return -ETIMEDOUT;
    }
    pthread_join(worker->thread, NULL);
    worker->joined = true;
    return 0;
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

int strait_worker_status(const struct strait_worker *worker, struct strait_worker_status *status)
{
    static const enum strait_worker_state states[] = {
        [ONLINE] = STRAIT_WORKER_ONLINE,
        [ENDED] = STRAIT_WORKER_ENDED,
        [EXITED] = STRAIT_WORKER_EXITED,
    };
    if (inherited(worker)) {
        return -EOWNERDEAD;
    }
    memcpy(status->name, worker->name, sizeof(status->name));
    status->thread = worker->number;
    status->cpu = worker->cpu;
    /* worker.status: pairs with worker.live; nothing but the state */
    status->state = states[strait_load_acquire(&worker->life)];
    status->stopping = strait_isolate_stopping(&worker->isolate);
    return 0;
}

int strait_worker_destroy(struct strait_worker *worker)
{
    if (!worker) {
        return 0;
    }
    if (inherited(worker)) {
        return -EOWNERDEAD;
    }
    if (worker->dispatching) {
        return -EDEADLK;
    }
    if (!worker->joined) {
        return -EBUSY;
    }
    strait_port_close(&worker->parent);
    free(worker);
    return 0;
}
