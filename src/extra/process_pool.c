/* SPDX-License-Identifier: MIT */
/*
 * process_pool: a parent's tasks, run by workers that are processes.
 *
 * A slot holds a task from its submit to its completion. It is in one list at any time, which says
 * how far its task is. A worker has one task at a time, so that it is known whose fault its death
 * is; the parent keeps its own copy, so that the task can run again. What ends a task is one of
 * three: its answer, its worker's exit event, or, before it runs, a cancel or its deadline. A
 * worker that is being killed gets no further task.
 */
#include <linux/filter.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "memory.h"
#include "process_port.h"

/* A worker that could not be spawned, or died before it was online, is tried again after this, then
 * after twice as long, and so on. */
#define RETRY_NS 20000000
#define RETRY_NS_MOST (32 * (int64_t)RETRY_NS)
/* A task that its worker had not taken when it died goes to the next one, unless it was given away
 * so often: a worker may forge that, or all of them die so. */
#define GIVEN_MOST 16
#define NEWS_MOST 64
#define TIMER UINT32_MAX

enum slot_state { UNUSED, WAITING, RUNNING, ENDED, COMPLETING, STATES };

struct slot {
    struct strait_process_task task;
    char name[STRAIT_PROCESS_NAME]; /* its own */
    int64_t finish_by;
    unsigned retries;
    uint32_t generation; /* of the slot's tasks */
    enum slot_state state;
    struct worker *worker; /* RUNNING: who runs it */
    bool killed;           /* that worker is, for the status and code that the task has already */
    struct slot *next;     /* in its list */
    struct slot **at;      /* what points to it */
};

struct slot_list {
    struct slot *first;
    struct slot **end; /* where the next one is put */
    size_t count;
};

enum worker_state {
    ABSENT,   /* there is no process */
    STARTING, /* it is not online */
    READY,
    DYING, /* it has been killed */
    DEAD,  /* its exit event has come */
};

struct worker {
    struct strait_process_pool *pool;
    struct strait_process *process;
    enum worker_state state;
    struct slot *running;
    int64_t spawn_at; /* not before */
    int64_t pause;    /* from the last attempt that did not bring it online until then */
};

struct strait_process_pool {
    struct strait_process_pool_options options;
    pid_t owner; /* whose pool it is: a fork's child of that is another process */
    size_t slot_count;
    struct slot *slots;
    char *payloads;                 /* payload_max bytes for each slot */
    struct slot_list lists[STATES]; /* WAITING: in the order in which they are to start */
    int epoll;                      /* of the workers' fds, and of the timer */
    int timer;
    int64_t timer_at;     /* when it is due; STRAIT_FOREVER: it is not set */
    const void *callback; /* the frame that calls `done` */
    bool closing;
    struct worker workers[STRAIT_PROCESS_POOL_WORKERS_MAX];
};

/* ---- the timer ---- */

/* Makes the fd readable at `when`, or earlier. */
static void wake_at(struct strait_process_pool *pool, int64_t when)
{
    if (when < pool->timer_at) {
        struct itimerspec due = {.it_value = strait_p_extra_timespec(when)};
        pool->timer_at = when;
        timerfd_settime(pool->timer, TFD_TIMER_ABSTIME, &due, NULL);
    }
}

static void wake_now(struct strait_process_pool *pool)
{
    wake_at(pool, 1);
}

/* ---- slots and their lists: musl has no <sys/queue.h> ---- */

static void slot_add(struct slot_list *list, struct slot *slot, bool first)
{
    slot->at = first ? &list->first : list->end;
    slot->next = *slot->at;
    *slot->at = slot;
    *(slot->next ? &slot->next->at : &list->end) = &slot->next;
    list->count++;
}

static void slot_move(struct strait_process_pool *pool, struct slot *slot, enum slot_state to,
                      bool first)
{
    struct slot_list *from = &pool->lists[slot->state];
    *slot->at = slot->next;
    *(slot->next ? &slot->next->at : &from->end) = slot->at;
    from->count--;
    slot->state = to;
    slot_add(&pool->lists[to], slot, first);
}

static char *payload_of(const struct strait_process_pool *pool, const struct slot *slot)
{
    return pool->payloads + (size_t)(slot - pool->slots) * pool->options.payload_max;
}

static strait_task_id id_of(const struct strait_process_pool *pool, const struct slot *slot)
{
    return ((strait_task_id)slot->generation << 32) | (uint64_t)(slot - pool->slots + 1);
}

/* ---- how a task ends ---- */

/* One that waits no more, or does not run any more. */
static void end_task(struct strait_process_pool *pool, struct slot *slot,
                     enum strait_task_status status, int code)
{
    slot->task.task.status = status;
    slot->task.task.code = code;
    slot_move(pool, slot, ENDED, false);
}

/* Completes the first of those that have ended. */
static void complete(struct strait_process_pool *pool)
{
    struct slot *slot = pool->lists[ENDED].first;
    slot_move(pool, slot, COMPLETING, false);
    if (slot->task.task.done) {
        pool->callback = STRAIT_FRAME;
        slot->task.task.done(&slot->task.task);
        pool->callback = NULL;
    }
    slot->generation++;
    slot_move(pool, slot, UNUSED, true);
}

static void kill_worker(struct worker *worker)
{
    worker->state = DYING;
    strait_process_kill(worker->process, SIGKILL);
}

/* Ends a task that waits; or one that runs, with its worker. */
static void give_up_task(struct strait_process_pool *pool, struct slot *slot,
                         enum strait_task_status status, int code)
{
    if (slot->state == WAITING) {
        end_task(pool, slot, status, code);
    } else {
        slot->killed = true;
        slot->task.task.status = status;
        slot->task.task.code = code;
        kill_worker(slot->worker);
    }
}

/* ---- giving tasks to workers ---- */

/* Writes the call into the ring, which has room for it, or the worker has scribbled there. */
static void give(struct strait_process_pool *pool, struct worker *worker, struct slot *slot)
{
    struct strait_process_port *port = strait_process_port(worker->process);
    struct strait_span span;
    if (!port->ring->reserve(port->out, 1, &span)) {
        kill_worker(worker);
        return;
    }
    const struct strait_process_task *task = &slot->task;
    struct strait_p_process_call call = {.id = id_of(pool, slot),
                                         .payload_size = (uint32_t)task->payload_size};
    memcpy(call.name, slot->name, sizeof(call.name));
    memcpy(call.data, task->task.data, sizeof(call.data));
    memcpy(span.messages, &call, sizeof(call));
    memcpy((char *)span.messages + sizeof(call), payload_of(pool, slot), task->payload_size);
    port->ring->commit(port->out, &span);
    strait_p_process_notify(port);
    slot_move(pool, slot, RUNNING, false);
    slot->task.runs++;
    slot->worker = worker;
    worker->running = slot;
}

/* The first task that waits and is not too late. */
static struct slot *next_task(struct strait_process_pool *pool)
{
    struct slot_list *waiting = &pool->lists[WAITING];
    while (waiting->first && waiting->first->finish_by &&
           strait_now() >= waiting->first->finish_by) {
        give_up_task(pool, waiting->first, STRAIT_TASK_EXPIRED, -ETIMEDOUT);
        wake_now(pool);
    }
    return waiting->first;
}

static void feed(struct strait_process_pool *pool)
{
    for (unsigned n = 0; n < pool->options.workers && pool->lists[WAITING].count > 0; n++) {
        struct worker *worker = &pool->workers[n];
        struct slot *slot = worker->state == READY && !worker->running ? next_task(pool) : NULL;
        if (slot) {
            give(pool, worker, slot);
        }
    }
}

/* ---- what workers tell ---- */

/* The answer is copied before it is looked at: a hostile worker may write it meanwhile. One that
 * cannot be is the last of that worker. */
static void take_answer(struct worker *worker, const struct strait_p_process_call *in_ring)
{
    struct strait_process_pool *pool = worker->pool;
    struct slot *slot = worker->running;
    struct strait_p_process_call call;
    memcpy(&call, in_ring, sizeof(call));
    if (!slot || call.id != id_of(pool, slot) || call.payload_size > pool->options.payload_max) {
        kill_worker(worker);
        return;
    }
    worker->running = NULL;
    memcpy(slot->task.task.data, call.data, sizeof(call.data));
    memcpy(payload_of(pool, slot), in_ring + 1, call.payload_size);
    slot->task.payload_size = call.payload_size;
    end_task(pool, slot,
             call.code == 0            ? STRAIT_TASK_DONE
             : call.code == -ECANCELED ? STRAIT_TASK_CANCELLED
                                       : STRAIT_TASK_FAILED,
             call.code);
}

static void take_exit(struct worker *worker, const struct strait_process_event *event)
{
    struct strait_process_pool *pool = worker->pool;
    struct slot *slot = worker->running;
    worker->running = NULL;
    worker->state = DEAD;
    if (!slot) {
        return;
    }
    bool begun = strait_p_process_untaken(strait_process_port(worker->process)) == 0 ||
                 slot->task.runs >= GIVEN_MOST;
    if (slot->killed) {
        end_task(pool, slot, slot->task.task.status, slot->task.task.code);
    } else if (!begun || slot->retries > 0) {
        slot->retries -= begun;
        slot_move(pool, slot, WAITING, true);
    } else {
        slot->task.signal = event->signal;
        end_task(pool, slot, STRAIT_TASK_FAILED, event->code ? event->code : -EPIPE);
    }
}

static void worker_event(struct strait_process *process, const struct strait_process_event *event,
                         void *context)
{
    struct worker *worker = context;
    (void)process;
    if (event->type == STRAIT_ONLINE) {
        worker->state = worker->state == STARTING ? READY : worker->state;
        worker->spawn_at = 0;
        worker->pause = 0;
    } else if (event->type == STRAIT_MESSAGE) {
        take_answer(worker, event->message);
    } else {
        take_exit(worker, event);
    }
}

/* ---- workers come and go ---- */

static int spawn_worker(struct strait_process_pool *pool, struct worker *worker)
{
    size_t size = sizeof(struct strait_p_process_call) + pool->options.payload_max;
    struct strait_process_options options = {.program = pool->options.program,
                                             .function = "",
                                             .to_worker_capacity = 1,
                                             .to_worker_size = size,
                                             .to_parent_capacity = 1,
                                             .to_parent_size = size,
                                             .event = worker_event,
                                             .context = worker,
                                             .limits = pool->options.limits};
    worker->pool = pool;
    worker->pause = worker->pause ? 2 * worker->pause : RETRY_NS;
    worker->pause = worker->pause < RETRY_NS_MOST ? worker->pause : RETRY_NS_MOST;
    worker->spawn_at = strait_now() + worker->pause;
    int error = strait_p_process_spawn(&worker->process, &options);
    if (error) {
        return error;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)(worker - pool->workers)};
    if (epoll_ctl(pool->epoll, EPOLL_CTL_ADD, strait_process_fd(worker->process), &event) != 0) {
        error = -errno;
        strait_process_destroy(worker->process);
        return error;
    }
    worker->state = STARTING;
    return 0;
}

static void remove_worker(struct worker *worker)
{
    if (worker->state != ABSENT) {
        worker->state = ABSENT;
        strait_process_destroy(worker->process);
    }
}

/* Spawns another one when it is time. */
static void replace(struct strait_process_pool *pool, struct worker *worker)
{
    remove_worker(worker);
    if (worker->spawn_at > strait_now() || spawn_worker(pool, worker) != 0) {
        wake_at(pool, worker->spawn_at);
    }
}

/* What is due of those in a list; *next is when the next one is. */
static void expire(struct strait_process_pool *pool, enum slot_state state, int64_t *next)
{
    struct slot *following;
    for (struct slot *slot = pool->lists[state].first; slot; slot = following) {
        following = slot->next;
        if (!slot->finish_by || slot->killed) {
            continue;
        }
        if (slot->finish_by <= strait_now()) {
            give_up_task(pool, slot, STRAIT_TASK_EXPIRED, -ETIMEDOUT);
        } else if (slot->finish_by < *next) {
            *next = slot->finish_by;
        }
    }
}

/* What is due: tasks that are too late, and workers that are to be spawned. */
static void take_time(struct strait_process_pool *pool)
{
    uint64_t ignored;
    ssize_t result = read(pool->timer, &ignored, sizeof(ignored));
    (void)result;
    int64_t next = STRAIT_FOREVER;
    pool->timer_at = STRAIT_FOREVER;
    expire(pool, WAITING, &next);
    expire(pool, RUNNING, &next);
    wake_at(pool, next);
    for (unsigned n = 0; n < pool->options.workers; n++) {
        if (pool->workers[n].state == ABSENT) {
            replace(pool, &pool->workers[n]);
        }
    }
}

static void take_pool_news(struct strait_process_pool *pool)
{
    struct epoll_event news[NEWS_MOST];
    int count = epoll_wait(pool->epoll, news, NEWS_MOST, 0);
    for (int i = 0; i < count; i++) {
        if (news[i].data.u32 == TIMER) {
            take_time(pool);
            continue;
        }
        struct worker *worker = &pool->workers[news[i].data.u32];
        if (worker->state != ABSENT) {
            strait_process_dispatch(worker->process, 0);
        }
        if (worker->state == DEAD) {
            replace(pool, worker);
        }
    }
}

/* ---- create, destroy ---- */

static int pool_open(struct strait_process_pool *pool)
{
    size_t n = pool->slot_count;
    pool->slots = strait_p_extra_alloc(STRAIT_LINE, n * sizeof(*pool->slots));
    if (pool->options.payload_max < SIZE_MAX / n) {
        pool->payloads = strait_p_extra_alloc(STRAIT_LINE, n * pool->options.payload_max + 1);
    }
    if (!pool->slots || !pool->payloads) {
        return -ENOMEM;
    }
    memset(pool->slots, 0, n * sizeof(*pool->slots));
    for (size_t i = n; i > 0; i--) {
        slot_add(&pool->lists[UNUSED], &pool->slots[i - 1], true);
    }
    pool->epoll = epoll_create1(EPOLL_CLOEXEC);
    pool->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = TIMER};
    if (pool->epoll < 0 || pool->timer < 0 ||
        epoll_ctl(pool->epoll, EPOLL_CTL_ADD, pool->timer, &event) != 0) {
        return -errno;
    }
    int error = 0;
    for (unsigned i = 0; i < pool->options.workers && !error; i++) {
        error = spawn_worker(pool, &pool->workers[i]);
    }
    return error;
}

int strait_process_pool_create(struct strait_process_pool **out,
                               const struct strait_process_pool_options *given)
{
    struct strait_process_pool_options options;
    int error = strait_p_extra_options(&options, sizeof(options), given);
    if (options.workers == 0) {
        options.workers = (unsigned)strait_min(strait_cpu_count(), STRAIT_PROCESS_POOL_WORKERS_MAX);
    }
    options.queue_limit = options.queue_limit ? options.queue_limit : 1024;
    if (error || options.workers > STRAIT_PROCESS_POOL_WORKERS_MAX ||
        options.queue_limit > STRAIT_QUEUE_LIMIT_MAX ||
        options.payload_max > STRAIT_PROCESS_PAYLOAD_MAX) {
        return -EINVAL;
    }
    struct strait_process_pool *pool = strait_p_extra_alloc(STRAIT_LINE, sizeof(*pool));
    if (!pool) {
        return -ENOMEM;
    }
    memset(pool, 0, sizeof(*pool));
    pool->options = options;
    pool->owner = getpid();
    pool->slot_count = 2 * options.queue_limit + options.workers;
    for (size_t i = 0; i < STATES; i++) {
        pool->lists[i].end = &pool->lists[i].first;
    }
    pool->epoll = -1;
    pool->timer = -1;
    pool->timer_at = STRAIT_FOREVER;
    int saved = errno;
    error = pool_open(pool);
    if (error) {
        strait_process_pool_destroy(pool);
    } else {
        *out = pool;
    }
    errno = saved;
    return error;
}

int strait_process_pool_destroy(struct strait_process_pool *pool)
{
    if (!pool) {
        return 0;
    }
    if (pool->owner != getpid()) {
        return -EOWNERDEAD;
    }
    if (strait_inside(pool->callback)) {
        return -EDEADLK;
    }
    int saved = errno;
    pool->closing = true;
    for (unsigned n = 0; n < pool->options.workers; n++) {
        remove_worker(&pool->workers[n]);
    }
    for (enum slot_state state = RUNNING; state >= WAITING; state--) {
        while (pool->lists[state].first) {
            end_task(pool, pool->lists[state].first, STRAIT_TASK_ABANDONED, -ECANCELED);
        }
    }
    while (pool->lists[ENDED].first) {
        complete(pool);
    }
    if (pool->timer >= 0) {
        close(pool->timer);
    }
    if (pool->epoll >= 0) {
        close(pool->epoll);
    }
    free(pool->payloads);
    free(pool->slots);
    free(pool);
    errno = saved;
    return 0;
}

/* ---- submit, cancel, dispatch ---- */

int strait_process_submit(struct strait_process_pool *pool, const struct strait_process_task *task,
                          const struct strait_process_submit_options *given, strait_task_id *id)
{
    struct strait_process_submit_options how;
    struct slot *slot = pool->lists[UNUSED].first;
    int error = strait_p_extra_options(&how, sizeof(how), given);
    if (error || !task->task.name || strlen(task->task.name) >= STRAIT_PROCESS_NAME) {
        return -EINVAL;
    }
    if (task->payload_size > pool->options.payload_max) {
        return -ENOSPC;
    }
    if (pool->closing || !slot || pool->lists[WAITING].count >= pool->options.queue_limit) {
        return pool->closing ? -EPIPE : -EAGAIN;
    }
    int saved = errno;
    slot->task = *task;
    strcpy(slot->name, task->task.name);
    slot->task.task.name = slot->name;
    slot->task.payload = payload_of(pool, slot);
    slot->task.signal = 0;
    slot->task.runs = 0;
    slot->finish_by = how.finish_by;
    slot->retries = how.retries;
    slot->killed = false;
    if (task->payload_size) {
        memcpy(slot->task.payload, task->payload, task->payload_size);
    }
    slot_move(pool, slot, WAITING, false);
    if (id) {
        *id = id_of(pool, slot);
    }
    if (how.finish_by) {
        wake_at(pool, how.finish_by > 0 ? how.finish_by : 1);
    }
    feed(pool);
    errno = saved;
    return 0;
}

int strait_process_cancel(struct strait_process_pool *pool, strait_task_id id)
{
    size_t i = (size_t)(id & UINT32_MAX) - 1;
    struct slot *slot = i < pool->slot_count ? &pool->slots[i] : NULL;
    if (!slot || id != id_of(pool, slot) || slot->state == UNUSED) {
        return -ENOENT;
    }
    if (slot->state >= ENDED) {
        return slot->task.task.status > STRAIT_TASK_FAILED ? -EALREADY : -ENOENT;
    }
    if (slot->killed) {
        return -EALREADY;
    }
    int saved = errno;
    bool running = slot->state == RUNNING;
    give_up_task(pool, slot, STRAIT_TASK_CANCELLED, -ECANCELED);
    wake_now(pool);
    errno = saved;
    return running ? -EINPROGRESS : 0;
}

ptrdiff_t strait_process_pool_dispatch(struct strait_process_pool *pool, size_t budget)
{
    if (strait_inside(pool->callback)) {
        return -EDEADLK;
    }
    int saved = errno;
    size_t most = budget ? budget : STRAIT_BUDGET;
    size_t completions = 0;
    take_pool_news(pool);
    feed(pool);
    while (completions < most && pool->lists[ENDED].first) {
        complete(pool);
        completions++;
    }
    if (pool->lists[ENDED].first) {
        wake_now(pool);
    }
    errno = saved;
    return (ptrdiff_t)completions;
}

int strait_process_pool_drain(struct strait_process_pool *pool, int64_t deadline)
{
    if (pool->owner != getpid()) {
        return -EOWNERDEAD;
    }
    int saved = errno;
    ptrdiff_t result = 0;
    while (strait_process_pool_owed(pool) > 0 && result >= 0) {
        result = strait_process_pool_dispatch(pool, 0);
        if (result >= 0 && strait_process_pool_owed(pool) > 0) {
            strait_p_process_poll(pool->epoll, deadline);
            result = strait_now() < deadline ? 0 : -ETIMEDOUT;
        }
    }
    errno = saved;
    return result < 0 ? (int)result : 0;
}

int strait_process_pool_fd(const struct strait_process_pool *pool)
{
    return pool->epoll;
}

size_t strait_process_pool_owed(const struct strait_process_pool *pool)
{
    return pool->slot_count - pool->lists[UNUSED].count - pool->lists[COMPLETING].count;
}

int32_t strait_process_pool_pid(const struct strait_process_pool *pool, unsigned n)
{
    bool there = n < pool->options.workers && pool->workers[n].state != ABSENT;
    return there ? strait_process_pid(pool->workers[n].process) : 0;
}
