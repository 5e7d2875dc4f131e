/* SPDX-License-Identifier: MIT */
/* pool_close: how a pool ends, how parents leave it, and that no completion is lost either way. */
#include "life.h"

#include <sys/wait.h>

#define MS 1000000

/* ---- a harness: tasks that know their number, and what became of them ---- */

#define TASKS_MOST 64

static struct gate gate;
static struct {
    _Atomic unsigned runs[TASKS_MOST];
    _Atomic unsigned completions[TASKS_MOST];
    enum strait_task_status status[TASKS_MOST];
    int32_t thread[TASKS_MOST]; /* that `done` ran on */
    char name[TASKS_MOST][16];  /* of that thread */
    _Atomic unsigned completed;
} tasks;

static unsigned number_of(const struct strait_task *task)
{
    unsigned number;
    memcpy(&number, task->data, sizeof(number));
    return number;
}

static void note_done(struct strait_task *task)
{
    unsigned number = number_of(task);
    atomic_fetch_add(&tasks.completions[number], 1);
    tasks.status[number] = task->status;
    tasks.thread[number] = thread_number();
    EXPECT(pthread_getname_np(pthread_self(), tasks.name[number], 16) == 0);
    atomic_fetch_add(&tasks.completed, 1);
    progress_made();
}

static int run_quick(struct strait_task *task)
{
    atomic_fetch_add(&tasks.runs[number_of(task)], 1);
    return 0;
}

static int run_gate(struct strait_task *task)
{
    run_quick(task);
    gate_wait(&gate);
    return 0;
}

static int run_until_unwanted(struct strait_task *task)
{
    run_quick(task);
    atomic_fetch_add(&gate.arrived, 1);
    while (!strait_task_cancelled(task)) {
        sleep_ns(GATE_NAP_NS);
    }
    return -ECANCELED;
}

static struct strait_task numbered(strait_run_fn *run, unsigned number)
{
    struct strait_task task = {.run = run, .done = note_done};
    memcpy(task.data, &number, sizeof(number));
    return task;
}

static struct strait_pool *pool_open(struct strait_pool_options options)
{
    struct strait_pool *pool = NULL;
    options.schedule = STRAIT_SCHEDULE_NORMAL;
    options.name = "crew";
    memset(&gate, 0, sizeof(gate));
    memset(&tasks, 0, sizeof(tasks));
    assert_returns(strait_pool_create(&pool, &options), 0);
    return pool;
}

static struct strait_pool *pool_of(unsigned workers)
{
    return pool_open((struct strait_pool_options){.workers = workers});
}

static struct strait_parent *attach(struct strait_pool *pool)
{
    struct strait_parent *parent = NULL;
    assert_returns(strait_pool_attach(pool, &parent, NULL), 0);
    return parent;
}

static struct strait_parent *attach_parked(struct strait_pool *pool)
{
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    struct strait_parent *parent = NULL;
    assert_returns(strait_pool_attach(pool, &parent, &options), 0);
    return parent;
}

static void submit(struct strait_parent *parent, strait_run_fn *run, unsigned number)
{
    struct strait_task task = numbered(run, number);
    assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
}

static void submit_from(struct strait_parent *parent, strait_run_fn *run, unsigned first,
                        unsigned end)
{
    for (unsigned i = first; i < end; i++) {
        submit(parent, run, i);
    }
}

static void pool_end(struct strait_pool *pool)
{
    gate_open(&gate);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_pool_destroy(pool), 0);
    assert_no_faults();
}

static void leave_and_end(struct strait_pool *pool, struct strait_parent *parent)
{
    gate_open(&gate);
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    pool_end(pool);
}

static void assert_ended(unsigned first, unsigned end, enum strait_task_status status,
                         unsigned runs)
{
    for (unsigned i = first; i < end; i++) {
        assert_int_equal(atomic_load(&tasks.completions[i]), 1);
        assert_int_equal(tasks.status[i], status);
        assert_int_equal(atomic_load(&tasks.runs[i]), runs);
    }
}

static void await_completed(unsigned n)
{
    while (atomic_load(&tasks.completed) < n) {
        sleep_ns(GATE_NAP_NS);
    }
}

/* Until a close has begun, as a parent sees it. */
static void await_closing(struct strait_pool *pool)
{
    struct strait_parent *parent;
    while (strait_pool_attach(pool, &parent, NULL) != -EPIPE) {
        strait_parent_detach(parent, 0);
        sleep_ns(GATE_NAP_NS);
    }
}

static void await_parents(struct strait_pool *pool, uint64_t parents)
{
    struct strait_pool_stats stats;
    do {
        sleep_ns(GATE_NAP_NS);
        strait_pool_stats(pool, &stats);
    } while (stats.parents != parents);
}

struct closer {
    struct strait_pool *pool;
    enum strait_close mode;
    pthread_t thread;
    int result;
};

static void *close_it(void *context)
{
    struct closer *closer = context;
    closer->result = strait_pool_close(closer->pool, closer->mode, STRAIT_FOREVER, NULL);
    return NULL;
}

/* ---- close ---- */

static void a_pool_that_did_nothing_closes(void **state)
{
    (void)state;
    for (int mode = STRAIT_CLOSE_DRAIN; mode <= STRAIT_CLOSE_CANCEL; mode++) {
        struct census before = census_take();
        struct strait_pool *pool = pool_of(3);
        struct strait_pool_worker_stats stuck = {.run = run_gate};
        assert_returns(strait_pool_close(pool, (enum strait_close)mode, STRAIT_FOREVER, &stuck), 0);
        assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, 0, NULL), 0); /* and again */
        assert_returns(strait_pool_destroy(pool), 0);
        assert_census(before);
    }
    assert_returns(strait_pool_destroy(NULL), 0);
}

static void a_close_of_no_kind_is_refused(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parent = attach(pool);
    assert_returns(strait_pool_close(pool, (enum strait_close)2, STRAIT_FOREVER, NULL), -EINVAL);
    submit(parent, run_quick, 0);
    assert_returns(strait_pool_destroy(pool), -EBUSY);
    leave_and_end(pool, parent);
}

static void drain_finishes_every_task(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2);
    struct strait_parent *parent = attach(pool);
    submit_from(parent, run_quick, 0, TASKS_MOST);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_int_equal(strait_parent_owed(parent), TASKS_MOST);
    while (strait_parent_owed(parent)) { /* the fd says so still */
        assert_true(readable(strait_parent_fd(parent), -1));
        assert_true(strait_parent_dispatch(parent, 10) > 0);
    }
    assert_ended(0, TASKS_MOST, STRAIT_TASK_DONE, 1);
    leave_and_end(pool, parent);
}

static void cancel_finishes_what_runs_and_abandons_the_rest(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2);
    struct strait_parent *parent = attach(pool);
    struct strait_submit_options named = {.worker = 1};
    struct strait_submit_options low = {.priority = STRAIT_PRIORITY_LOW};
    submit_from(parent, run_gate, 0, 2);
    gate_await(&gate, 2);
    submit_from(parent, run_quick, 2, 20);
    struct strait_task task = numbered(run_quick, 20);
    assert_returns(strait_task_submit(parent, &task, &named, NULL), 0);
    task = numbered(run_quick, 21);
    assert_returns(strait_task_submit(parent, &task, &low, NULL), 0);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, 0, NULL), -ETIMEDOUT);
    while (strait_parent_owed(parent) > 2) { /* they need not wait for what runs */
        assert_true(readable(strait_parent_fd(parent), -1));
        assert_true(strait_parent_dispatch(parent, 0) >= 0);
    }
    assert_ended(2, 22, STRAIT_TASK_ABANDONED, 0);
    gate_open(&gate);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_parent_dispatch(parent, 0), 2);
    assert_ended(0, 2, STRAIT_TASK_DONE, 1);
    leave_and_end(pool, parent);
}

static void a_closing_pool_takes_nothing(void **state)
{
    (void)state;
    struct strait_parent *late = NULL;
    struct strait_task task = numbered(run_quick, 1);
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parent = attach(pool);
    submit(parent, run_gate, 0);
    gate_await(&gate, 1);
    for (int closed = 0; closed < 2; closed++) {
        int64_t until = closed ? STRAIT_FOREVER : 0;
        strait_task_id id;
        assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, until, NULL),
                       closed ? 0 : -ETIMEDOUT);
        assert_returns(strait_task_submit(parent, &task, NULL, NULL), -EPIPE);
        assert_returns(strait_task_submit_many(parent, &task, 1, NULL, &id), -EPIPE);
        assert_returns(strait_task_submit_wait(parent, &task, NULL, &id, STRAIT_FOREVER), -EPIPE);
        assert_returns(strait_pool_attach(pool, &late, NULL), -EPIPE);
        assert_null(late);
        gate_open(&gate);
    }
    assert_int_equal(strait_parent_owed(parent), 1);
    leave_and_end(pool, parent);
    assert_int_equal(atomic_load(&tasks.completions[1]), 0);
}

static void a_close_names_the_task_that_is_stuck(void **state)
{
    (void)state;
    struct strait_pool_worker_stats stuck = {.run = NULL};
    struct strait_submit_options how = {.worker = 2};
    struct strait_pool *pool = pool_of(3);
    struct strait_parent *parent = attach(pool);
    struct strait_task task = numbered(run_gate, 0);
    assert_returns(strait_task_submit(parent, &task, &how, NULL), 0);
    gate_await(&gate, 1);
    int64_t deadline = strait_deadline(5 * MS);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, deadline, &stuck), -ETIMEDOUT);
    assert_true(strait_now() >= deadline);
    assert_true(stuck.run == run_gate);
    assert_int_equal(stuck.number, 1);
    assert_true(stuck.online);
    assert_true(stuck.thread > 0);
    assert_true(stuck.running_ns >= 5 * MS);
    assert_returns(strait_pool_destroy(pool), -EBUSY);
    gate_open(&gate);
    leave_and_end(pool, parent);
    assert_ended(0, 1, STRAIT_TASK_DONE, 1);
}

static void closing_again_turns_drain_to_cancel(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parent = attach(pool);
    submit(parent, run_gate, 0);
    gate_await(&gate, 1);
    submit_from(parent, run_quick, 1, 10);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, 0, NULL), -ETIMEDOUT);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, 0, NULL), -ETIMEDOUT);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, 0, NULL),
                   -ETIMEDOUT); /* no way back */
    gate_open(&gate);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    leave_and_end(pool, parent);
    assert_ended(0, 1, STRAIT_TASK_DONE, 1);
    assert_ended(1, 10, STRAIT_TASK_ABANDONED, 0);
}

static void a_second_closer_is_told_so(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parent = attach(pool);
    struct closer closer = {.pool = pool, .result = 1};
    submit(parent, run_gate, 0);
    gate_await(&gate, 1);
    thread_start(&closer.thread, close_it, &closer);
    await_closing(pool);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER, NULL), -EBUSY);
    assert_returns(strait_pool_destroy(pool), -EBUSY);
    gate_open(&gate);
    thread_join(closer.thread);
    assert_int_equal(closer.result, 0);
    leave_and_end(pool, parent);
}

/* Under the sanitizers: what the closer does last must not touch a pool that is gone. */
static void a_pool_is_destroyed_only_when_its_closer_has_left(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        struct closer closer = {.pool = pool_of(1), .result = 1};
        thread_start(&closer.thread, close_it, &closer);
        int result;
        while ((result = strait_pool_destroy(closer.pool)) == -EBUSY) {
            sched_yield();
        }
        assert_int_equal(result, 0);
        thread_join(closer.thread);
        assert_int_equal(closer.result, 0);
        progress_made();
    }
}

static void a_pool_with_parents_is_not_destroyed(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parents[2] = {attach(pool), attach_parked(pool)};
    submit(parents[1], run_quick, 0);
    assert_returns(strait_pool_destroy(pool), -EBUSY);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_returns(strait_pool_destroy(pool), -EBUSY);
        assert_returns(strait_parent_detach(parents[i], STRAIT_FOREVER), 0);
    }
    pool_end(pool);
    assert_ended(0, 1, STRAIT_TASK_DONE, 1);
}

static int run_close(struct strait_task *task)
{
    struct strait_pool *pool = task->context;
    run_quick(task);
    for (int mode = STRAIT_CLOSE_DRAIN; mode <= STRAIT_CLOSE_CANCEL; mode++) {
        EXPECT(strait_pool_close(pool, (enum strait_close)mode, STRAIT_FOREVER, NULL) == -EDEADLK);
    }
    EXPECT(strait_parent_detach(strait_parent_current(), 0) == -EDEADLK);
    EXPECT(strait_pool_destroy(pool) == -EBUSY);
    return 0;
}

static void a_task_may_not_close_its_pool(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parent = attach(pool);
    struct strait_task task = numbered(run_close, 0);
    task.context = pool;
    strait_task_id id;
    assert_returns(strait_task_submit(parent, &task, NULL, &id), 0);
    assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
    submit(parent, run_quick, 1); /* it is still open */
    leave_and_end(pool, parent);
}

static int run_close_other(struct strait_task *task)
{
    struct strait_pool *other = task->context;
    EXPECT(strait_pool_close(other, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL) == 0);
    return run_quick(task);
}

static void a_task_may_close_another_pool(void **state)
{
    (void)state;
    struct strait_pool *other = pool_of(1);
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parent = attach(pool);
    struct strait_task task = numbered(run_close_other, 0);
    strait_task_id id;
    task.context = other;
    assert_returns(strait_task_submit(parent, &task, NULL, &id), 0);
    assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_destroy(other), 0);
    leave_and_end(pool, parent);
}

static int64_t process_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000 * MS + now.tv_nsec;
}

/* The keeper sleeps through it, whatever it would do were the pool open. */
static void a_drain_burns_no_cpu(void **state)
{
    (void)state;
    bool asleep = false;
    struct strait_pool *pool =
        pool_open((struct strait_pool_options){.workers = 1, .workers_max = 2});
    struct strait_parent *parent = attach(pool);
    submit(parent, run_gate, 0);
    gate_await(&gate, 1);
    submit(parent, run_quick, 1); /* before it is long enough for another worker */
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, 0, NULL), -ETIMEDOUT);
    for (int attempt = 0; attempt < 20 && !asleep; attempt++) {
        int64_t before = process_cpu_ns();
        sleep_ns(100 * MS);
        asleep = process_cpu_ns() - before < 50 * MS;
    }
    assert_true(asleep);
    leave_and_end(pool, parent);
}

/* ---- parents that wait meanwhile ---- */

struct waiter {
    struct strait_pool *pool;
    pthread_t thread;
    enum { WAIT_TASK, WAIT_GROUP, WAIT_ROOM } what;
    _Atomic unsigned ready;
    _Atomic unsigned over;
    unsigned first; /* of its numbers */
    int result;
};

static void *wait_for_it(void *context)
{
    struct waiter *waiter = context;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    struct strait_parent *parent;
    strait_task_id id = 0;
    EXPECT(strait_pool_attach(waiter->pool, &parent, &options) == 0);
    for (unsigned i = 0; i < 4; i++) { /* as many as there is room for */
        struct strait_task task = numbered(run_quick, waiter->first + i);
        EXPECT(strait_task_submit(parent, &task, &how, &id) == 0);
    }
    atomic_store(&waiter->ready, 1);
    struct strait_task more = numbered(run_quick, TASKS_MOST - 1);
    if (waiter->what == WAIT_TASK) {
        waiter->result = strait_task_wait(parent, id, STRAIT_FOREVER);
    } else if (waiter->what == WAIT_GROUP) {
        waiter->result = strait_group_wait(parent, &group, STRAIT_FOREVER);
    } else {
        waiter->result = strait_task_submit_wait(parent, &more, NULL, NULL, STRAIT_FOREVER);
    }
    atomic_store(&waiter->over, 1);
    EXPECT(strait_parent_detach(parent, STRAIT_FOREVER) == 0);
    return NULL;
}

static void wait_through_a_close(enum strait_close mode)
{
    struct waiter waiters[3];
    struct strait_pool *pool =
        pool_open((struct strait_pool_options){.workers = 1, .queue_limit = 4});
    struct strait_parent *parent = attach(pool);
    submit(parent, run_gate, 0);
    gate_await(&gate, 1);
    for (unsigned i = 0; i < 3; i++) {
        waiters[i] = (struct waiter){.pool = pool, .what = i, .first = 1 + 4 * i};
        thread_start(&waiters[i].thread, wait_for_it, &waiters[i]);
        await(&waiters[i].ready, 1);
    }
    sleep_ns(2 * MS); /* so that some are asleep by now */
    assert_returns(strait_pool_close(pool, mode, 0, NULL), -ETIMEDOUT);
    await(&waiters[WAIT_ROOM].over, 1); /* while the worker is still held */
    if (mode == STRAIT_CLOSE_CANCEL) {
        await(&waiters[WAIT_TASK].over, 1);
        await(&waiters[WAIT_GROUP].over, 1);
    }
    gate_open(&gate);
    for (unsigned i = 0; i < 3; i++) {
        thread_join(waiters[i].thread);
        assert_int_equal(waiters[i].result, waiters[i].what == WAIT_ROOM ? -EPIPE : 0);
    }
    leave_and_end(pool, parent);
    bool drained = mode == STRAIT_CLOSE_DRAIN;
    assert_ended(1, 9, drained ? STRAIT_TASK_DONE : STRAIT_TASK_ABANDONED, drained);
    for (unsigned i = 9; i < 13; i++) { /* that one leaves at once */
        assert_int_equal(atomic_load(&tasks.completions[i]), 1);
    }
    assert_int_equal(atomic_load(&tasks.completions[TASKS_MOST - 1]), 0);
}

static void waits_end_while_a_pool_drains(void **state)
{
    (void)state;
    wait_through_a_close(STRAIT_CLOSE_DRAIN);
}

static void waits_end_while_a_pool_cancels(void **state)
{
    (void)state;
    wait_through_a_close(STRAIT_CLOSE_CANCEL);
}

/* ---- workers that are parents ---- */

#define CHILDREN 5

/* Submits to its own worker, so that nobody else takes them, and is held. */
static int run_family(struct strait_task *task)
{
    struct strait_parent *self = strait_parent_current();
    struct strait_submit_options how = {.worker = 1};
    for (unsigned i = 1; i <= CHILDREN; i++) {
        struct strait_task child = numbered(run_quick, i);
        EXPECT(strait_task_submit(self, &child, &how, NULL) == 0);
    }
    run_gate(task);
    struct strait_task late = numbered(run_quick, CHILDREN + 1);
    EXPECT(strait_task_submit(self, &late, &how, NULL) == -EPIPE);
    return 0;
}

static void close_over_a_family(enum strait_close mode)
{
    struct strait_pool_worker_stats worker;
    struct strait_pool *pool = pool_of(2);
    struct strait_parent *parent = attach(pool);
    struct strait_submit_options how = {.worker = 1};
    struct strait_task task = numbered(run_family, 0);
    assert_returns(strait_task_submit(parent, &task, &how, NULL), 0);
    gate_await(&gate, 1);
    assert_returns(strait_pool_worker_stats(pool, 0, &worker), 0);
    assert_returns(strait_pool_close(pool, mode, 0, NULL), -ETIMEDOUT);
    gate_open(&gate);
    assert_returns(strait_pool_close(pool, mode, STRAIT_FOREVER, NULL), 0);
    bool drained = mode == STRAIT_CLOSE_DRAIN;
    assert_ended(1, CHILDREN + 1, drained ? STRAIT_TASK_DONE : STRAIT_TASK_ABANDONED, drained);
    for (unsigned i = 1; i <= CHILDREN; i++) {
        assert_int_equal(tasks.thread[i], worker.thread);
    }
    assert_int_equal(atomic_load(&tasks.completions[CHILDREN + 1]), 0);
    leave_and_end(pool, parent);
    assert_ended(0, 1, STRAIT_TASK_DONE, 1);
}

static void a_workers_own_tasks_are_drained(void **state)
{
    (void)state;
    close_over_a_family(STRAIT_CLOSE_DRAIN);
}

static void a_workers_own_tasks_are_abandoned_on_it(void **state)
{
    (void)state;
    close_over_a_family(STRAIT_CLOSE_CANCEL);
}

/* Has another worker run its child, and does not wait for it. */
static int run_mother(struct strait_task *task)
{
    struct strait_task child = numbered(run_gate, 1);
    struct strait_submit_options how = {.worker = 1};
    EXPECT(strait_task_submit(strait_parent_current(), &child, &how, NULL) == 0);
    gate_await(&gate, 1);
    tasks.thread[2] = thread_number();
    return run_quick(task);
}

static void a_worker_stays_for_a_child_elsewhere(void **state)
{
    (void)state;
    struct strait_submit_options how = {.worker = 2};
    for (int mode = STRAIT_CLOSE_DRAIN; mode <= STRAIT_CLOSE_CANCEL; mode++) {
        struct strait_pool *pool = pool_of(2);
        struct strait_parent *parent = attach(pool);
        struct strait_task task = numbered(run_mother, 0);
        strait_task_id id;
        assert_returns(strait_task_submit(parent, &task, &how, &id), 0);
        assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
        assert_returns(strait_pool_close(pool, (enum strait_close)mode, 0, NULL), -ETIMEDOUT);
        sleep_ns(2 * MS); /* for it to go, which it must not */
        gate_open(&gate);
        assert_returns(strait_pool_close(pool, (enum strait_close)mode, STRAIT_FOREVER, NULL), 0);
        assert_ended(0, 2, STRAIT_TASK_DONE, 1);
        assert_int_equal(tasks.thread[1], tasks.thread[2]);
        leave_and_end(pool, parent);
    }
}

/* Its child waits behind what the other worker is held by. */
static int run_foster_mother(struct strait_task *task)
{
    struct strait_task child = numbered(run_quick, 1);
    struct strait_submit_options how = {.worker = 1};
    EXPECT(strait_task_submit(strait_parent_current(), &child, &how, NULL) == 0);
    tasks.thread[2] = thread_number();
    return run_quick(task);
}

/* Longer than its idle timeout. */
static void an_extra_worker_stays_for_a_child_elsewhere(void **state)
{
    (void)state;
    struct strait_pool_worker_stats worker;
    struct strait_pool *pool =
        pool_open((struct strait_pool_options){.workers = 1, .workers_max = 2, .idle_timeout = MS});
    struct strait_parent *parent = attach(pool);
    submit(parent, run_gate, 3);
    gate_await(&gate, 1);
    struct strait_task task = numbered(run_foster_mother, 0);
    strait_task_id id;
    assert_returns(strait_task_submit(parent, &task, NULL, &id), 0);
    assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
    sleep_ns(10 * MS); /* for it to go, which it must not */
    assert_returns(strait_pool_worker_stats(pool, 1, &worker), 0);
    assert_int_equal(worker.thread, tasks.thread[2]);
    gate_open(&gate);
    while (atomic_load(&tasks.completed) < 3) {
        readable(strait_parent_fd(parent), 1);
        assert_true(strait_parent_dispatch(parent, 0) >= 0);
    }
    assert_int_equal(tasks.thread[1], tasks.thread[2]);
    do {
        sleep_ns(GATE_NAP_NS);
        assert_returns(strait_pool_worker_stats(pool, 1, &worker), 0);
    } while (worker.online);
    leave_and_end(pool, parent);
}

/* ---- detach ---- */

static void detach_abandons_what_waits(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *holder = attach(pool);
    struct strait_parent *parent = attach(pool);
    submit(holder, run_gate, 0);
    gate_await(&gate, 1);
    submit_from(parent, run_quick, 1, 20);
    assert_returns(strait_parent_detach(parent, 0), 0); /* none of them needs a worker */
    assert_ended(1, 20, STRAIT_TASK_ABANDONED, 0);
    for (unsigned i = 1; i < 20; i++) {
        assert_int_equal(tasks.thread[i], thread_number());
    }
    leave_and_end(pool, holder);
}

static void detach_tells_what_runs_and_waits_for_it(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2);
    struct strait_parent *parent = attach(pool);
    submit_from(parent, run_until_unwanted, 0, 2);
    gate_await(&gate, 2);
    submit_from(parent, run_quick, 2, 10);
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    assert_ended(0, 2, STRAIT_TASK_CANCELLED, 1); /* it was still there to see it */
    for (unsigned i = 2; i < 10; i++) { /* a worker that got free in time may have had one more */
        bool ran = atomic_load(&tasks.runs[i]) > 0;
        assert_ended(i, i + 1, ran ? STRAIT_TASK_DONE : STRAIT_TASK_ABANDONED, ran);
    }
    pool_end(pool);
}

static void detach_runs_what_had_completed_before(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parent = attach(pool);
    struct strait_pool_stats stats;
    submit_from(parent, run_quick, 0, 10);
    for (unsigned i = 0; i < 10; i++) {
        await(&tasks.runs[i], 1);
    }
    do { /* until the last has been reported, too */
        sleep_ns(GATE_NAP_NS);
        strait_pool_stats(pool, &stats);
    } while (stats.idle == 0);
    assert_returns(strait_parent_detach(parent, 0), 0);
    assert_ended(0, 10, STRAIT_TASK_DONE, 1);
    pool_end(pool);
}

/* Whoever closes the pool does not have to wait for a parent's sake, nor is anything lost. */
static void what_is_owed_to_a_parent_that_left_is_the_keepers(void **state)
{
    (void)state;
    struct strait_pool_stats stats;
    struct strait_pool *pool = pool_of(2);
    struct strait_parent *parent = attach(pool);
    submit_from(parent, run_gate, 0, 2);
    gate_await(&gate, 2);
    submit_from(parent, run_quick, 2, 10);
    assert_returns(strait_parent_detach(parent, strait_deadline(MS)), 2);
    assert_ended(2, 10, STRAIT_TASK_ABANDONED, 0);
    strait_pool_stats(pool, &stats);
    assert_int_equal(stats.parents, 0);
    assert_int_equal(stats.running, 2);
    assert_int_equal(stats.abandoned, 8);
    gate_open(&gate);
    await_completed(10);
    assert_ended(0, 2, STRAIT_TASK_ABANDONED, 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_string_equal(tasks.name[i], "crew-keeper");
    }
    strait_pool_stats(pool, &stats);
    assert_int_equal(stats.abandoned, 10);
    assert_int_equal(stats.running, 0);
    pool_end(pool);
}

static void a_group_is_its_parents_own_again_once_that_has_left(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parent = attach(pool);
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    struct strait_task task = numbered(run_gate, 0);
    assert_returns(strait_task_submit(parent, &task, &how, NULL), 0);
    gate_await(&gate, 1);
    assert_returns(strait_parent_detach(parent, 0), 1);
    memset(&group, 0x55, sizeof(group));
    gate_open(&gate);
    await_completed(1);
    pool_end(pool);
    struct strait_group marked;
    memset(&marked, 0x55, sizeof(marked));
    assert_memory_equal(&group, &marked, sizeof(group));
}

static void done_close(struct strait_task *task)
{
    EXPECT(strait_pool_close(task->context, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER, NULL) == -EDEADLK);
    note_done(task);
}

static void a_completion_on_the_keeper_may_not_close(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_parent *parent = attach(pool);
    struct strait_task task = numbered(run_gate, 0);
    task.done = done_close;
    task.context = pool;
    assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
    gate_await(&gate, 1);
    assert_returns(strait_parent_detach(parent, 0), 1);
    gate_open(&gate);
    await_completed(1);
    pool_end(pool);
}

/* The pool's end waits for what a parent that has left is owed. */
static void a_close_waits_for_the_completions_of_those_who_left(void **state)
{
    (void)state;
    for (int mode = STRAIT_CLOSE_DRAIN; mode <= STRAIT_CLOSE_CANCEL; mode++) {
        struct strait_pool *pool = pool_of(1);
        struct strait_parent *parent = attach(pool);
        submit(parent, run_gate, 0);
        gate_await(&gate, 1);
        assert_returns(strait_parent_detach(parent, 0), 1);
        assert_returns(strait_pool_close(pool, (enum strait_close)mode, 0, NULL), -ETIMEDOUT);
        gate_open(&gate);
        assert_returns(strait_pool_close(pool, (enum strait_close)mode, STRAIT_FOREVER, NULL), 0);
        assert_ended(0, 1, STRAIT_TASK_ABANDONED, 1);
        assert_returns(strait_pool_destroy(pool), 0);
    }
}

static struct strait_parent *leaving;

static void done_detach(struct strait_task *task)
{
    assert_returns(strait_parent_detach(leaving, STRAIT_FOREVER), -EDEADLK);
    note_done(task);
}

static void a_completion_may_not_detach_its_parent(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1);
    struct strait_task task = numbered(run_quick, 0);
    strait_task_id id;
    leaving = attach(pool);
    task.done = done_detach;
    assert_returns(strait_task_submit(leaving, &task, NULL, &id), 0);
    assert_returns(strait_task_wait(leaving, id, STRAIT_FOREVER), 0);
    submit(leaving, run_quick, 1); /* the handle is as good as before */
    assert_returns(strait_parent_detach(NULL, 0), 0);
    leave_and_end(pool, leaving);
}

static void a_parent_may_leave_with_its_queue_full(void **state)
{
    (void)state;
    struct strait_pool *pool =
        pool_open((struct strait_pool_options){.workers = 1, .queue_limit = 16});
    struct strait_parent *holder = attach(pool);
    struct strait_task task = numbered(run_quick, 63);
    submit(holder, run_gate, 0);
    gate_await(&gate, 1);
    for (unsigned round = 0; round < 2; round++) {
        struct strait_parent *parent = attach(pool);
        unsigned first = 1 + 16 * round;
        submit_from(parent, run_quick, first, first + 16);
        assert_returns(strait_task_submit(parent, &task, NULL, NULL), -EAGAIN);
        assert_returns(strait_parent_detach(parent, 0), 0);
        assert_ended(first, first + 16, STRAIT_TASK_ABANDONED, 0);
    }
    leave_and_end(pool, holder);
    assert_int_equal(atomic_load(&tasks.completions[63]), 0);
}

/* ---- the table of parents ---- */

static void places_are_used_again(void **state)
{
    (void)state;
    struct strait_pool *pool =
        pool_open((struct strait_pool_options){.workers = 1, .queue_limit = 4});
    for (unsigned i = 0; i < 3 * STRAIT_PARENTS_MAX; i++) {
        struct strait_parent *parent = i % 2 ? attach(pool) : attach_parked(pool);
        submit_from(parent, run_quick, 0, i % 5);
        ptrdiff_t owed = strait_parent_detach(parent, i % 3 ? STRAIT_FOREVER : 0);
        assert_true(owed >= 0 && owed <= 1);
        assert_true(owed == 0 || i % 3 == 0);
        await_completed(i % 5);
        assert_int_equal(atomic_load(&tasks.completed), i % 5);
        atomic_store(&tasks.completed, 0);
        await_parents(pool, 0);
    }
    pool_end(pool);
}

static void a_new_parent_finds_a_place_that_is_like_new(void **state)
{
    (void)state;
    struct strait_task extra = numbered(run_quick, 63);
    struct strait_pool *pool =
        pool_open((struct strait_pool_options){.workers = 1, .queue_limit = 8});
    for (unsigned round = 0; round < 50; round++) {
        struct strait_parent *parent = attach(pool);
        assert_int_equal(strait_parent_owed(parent), 0);
        assert_false(readable(strait_parent_fd(parent), 0));
        assert_returns(strait_parent_dispatch(parent, 0), 0);
        atomic_store(&gate.open, 0);
        atomic_store(&gate.arrived, 0);
        submit(parent, run_gate, 0);
        gate_await(&gate, 1);
        submit_from(parent, run_quick, 1, 9);
        assert_returns(strait_task_submit(parent, &extra, NULL, NULL), -EAGAIN);
        gate_open(&gate);
        assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    }
    pool_end(pool);
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(atomic_load(&tasks.completions[i]), 50);
    }
}

static void there_may_be_so_many_parents_at_one_time(void **state)
{
    (void)state;
    static struct strait_parent *parents[STRAIT_PARENTS_MAX];
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    struct strait_parent *more = NULL;
    struct strait_pool_stats stats;
    struct strait_pool *pool =
        pool_open((struct strait_pool_options){.workers = 1, .queue_limit = 1});
    for (unsigned i = 0; i < STRAIT_PARENTS_MAX; i++) {
        parents[i] = attach_parked(pool);
    }
    for (unsigned i = 0; i < STRAIT_PARENTS_MAX; i += 37) {
        strait_pool_stats(pool, &stats);
        assert_int_equal(stats.parents, STRAIT_PARENTS_MAX);
        assert_returns(strait_pool_attach(pool, &more, &options), -EUSERS);
        assert_null(more);
        assert_returns(strait_parent_detach(parents[i], STRAIT_FOREVER), 0);
        parents[i] = attach_parked(pool);
        submit(parents[i], run_quick, 0);
    }
    for (unsigned i = 0; i < STRAIT_PARENTS_MAX; i++) {
        assert_returns(strait_parent_detach(parents[i], STRAIT_FOREVER), 0);
    }
    pool_end(pool);
}

/* ---- all at once ---- */

#define LEAVERS 4
#define EACH 3

static int run_a_while(struct strait_task *task)
{
    dawdle(30000);
    return run_quick(task);
}

struct leaver {
    struct strait_pool *pool;
    pthread_t thread;
    unsigned number;
    size_t pause;
    int64_t patience;
    _Atomic unsigned *start;
};

static void *leave(void *context)
{
    struct leaver *leaver = context;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    struct strait_parent *parent;
    EXPECT(strait_pool_attach(leaver->pool, &parent, &options) == 0);
    gate_pass(leaver->start, LEAVERS + 1);
    for (unsigned i = 0; i < EACH; i++) {
        struct strait_task task = numbered(run_a_while, leaver->number * EACH + i);
        int error = strait_task_submit(parent, &task, NULL, NULL);
        EXPECT(error == 0 || error == -EPIPE);
        if (error) {
            note_done(&task); /* counts as well */
        }
    }
    dawdle(leaver->pause);
    EXPECT(strait_parent_detach(parent, leaver->patience) >= 0);
    return NULL;
}

/* Parents that leave without patience while the pool closes: whoever comes last takes care. */
static void leaving_and_closing_lose_nothing(void **state)
{
    (void)state;
    uint64_t seed = first_seed(5);
    for (size_t round = 0; round < scaled(1500); round++) {
        struct leaver leavers[LEAVERS];
        _Atomic unsigned start = 0;
        struct strait_pool *pool = pool_of(1 + (unsigned)draw_below(&seed, 2));
        for (unsigned i = 0; i < LEAVERS; i++) {
            leavers[i] = (struct leaver){.pool = pool,
                                         .number = i,
                                         .pause = draw_below(&seed, 60000),
                                         .patience = draw_below(&seed, 4) ? 0 : STRAIT_FOREVER,
                                         .start = &start};
            thread_start(&leavers[i].thread, leave, &leavers[i]);
        }
        gate_pass(&start, LEAVERS + 1);
        enum strait_close mode = (enum strait_close)draw_below(&seed, 2);
        assert_int_equal(strait_pool_close(pool, mode, STRAIT_FOREVER, NULL), 0);
        for (unsigned i = 0; i < LEAVERS; i++) {
            thread_join(leavers[i].thread);
        }
        assert_int_equal(atomic_load(&tasks.completed), LEAVERS * EACH);
        for (unsigned i = 0; i < LEAVERS * EACH; i++) {
            assert_int_equal(atomic_load(&tasks.completions[i]), 1);
        }
        assert_returns(strait_pool_destroy(pool), 0);
    }
    assert_no_faults();
}

/* ---- fork ---- */

static int use_inherited(struct strait_pool *pool)
{
    alarm(60);
    if (strait_pool_close(pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER, NULL) != -EOWNERDEAD) {
        return 1;
    }
    return strait_pool_destroy(pool) != -EOWNERDEAD ? 2 : 0;
}

static void a_forks_child_leaves_the_pool_alone(void **state)
{
    (void)state;
    int status = -1;
    struct strait_pool *pool = pool_of(2);
    struct strait_parent *parent = attach(pool);
    submit_from(parent, run_gate, 0, 2);
    gate_await(&gate, 2);
    submit_from(parent, run_quick, 2, 10);
    pid_t child = fork();
    if (child == 0) {
        _exit(use_inherited(pool));
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    gate_open(&gate);
    while (strait_parent_owed(parent)) {
        readable(strait_parent_fd(parent), 1000);
        assert_true(strait_parent_dispatch(parent, 0) >= 0);
    }
    assert_ended(0, 10, STRAIT_TASK_DONE, 1);
    leave_and_end(pool, parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(a_pool_that_did_nothing_closes),
        life_test(a_close_of_no_kind_is_refused),
        life_test(drain_finishes_every_task),
        life_test(cancel_finishes_what_runs_and_abandons_the_rest),
        life_test(a_closing_pool_takes_nothing),
        life_test(a_close_names_the_task_that_is_stuck),
        life_test(closing_again_turns_drain_to_cancel),
        life_test(a_second_closer_is_told_so),
        life_test(a_pool_is_destroyed_only_when_its_closer_has_left),
        life_test(a_pool_with_parents_is_not_destroyed),
        life_test(a_task_may_not_close_its_pool),
        life_test(a_task_may_close_another_pool),
        life_test(a_drain_burns_no_cpu),
        life_test(waits_end_while_a_pool_drains),
        life_test(waits_end_while_a_pool_cancels),
        life_test(a_workers_own_tasks_are_drained),
        life_test(a_workers_own_tasks_are_abandoned_on_it),
        life_test(a_worker_stays_for_a_child_elsewhere),
        life_test(an_extra_worker_stays_for_a_child_elsewhere),
        life_test(detach_abandons_what_waits),
        life_test(detach_tells_what_runs_and_waits_for_it),
        life_test(detach_runs_what_had_completed_before),
        life_test(what_is_owed_to_a_parent_that_left_is_the_keepers),
        life_test(a_group_is_its_parents_own_again_once_that_has_left),
        life_test(a_completion_on_the_keeper_may_not_close),
        life_test(a_close_waits_for_the_completions_of_those_who_left),
        life_test(a_completion_may_not_detach_its_parent),
        life_test(a_parent_may_leave_with_its_queue_full),
        life_test(places_are_used_again),
        life_test(a_new_parent_finds_a_place_that_is_like_new),
        life_test(there_may_be_so_many_parents_at_one_time),
        life_test(leaving_and_closing_lose_nothing),
        life_test(a_forks_child_leaves_the_pool_alone),
    };
    watchdog_start();
    cmocka_set_test_filter(getenv("STRAIT_TEST"));
    return cmocka_run_group_tests_name("pool_close", tests, NULL, NULL);
}
