/* SPDX-License-Identifier: MIT */
/* pool: what becomes of tasks, in which order, how many, and how it ends. */
#include "life.h"

/* ---- a harness: tasks that know their number, and completions that are counted ---- */

#define TASKS_MOST 20000

struct tasks {
    struct strait_pool *pool;
    struct gate *gate; /* of the tasks that wait */
    _Atomic unsigned runs[TASKS_MOST];
    _Atomic unsigned started; /* how many have, so far */
    unsigned completions[TASKS_MOST];
    enum strait_task_status status[TASKS_MOST];
    int code[TASKS_MOST];
    unsigned order[TASKS_MOST]; /* the number of the n-th that completed */
    unsigned completed;
    unsigned rooms;
    struct strait_parent *parent; /* of the pool_* below: the main thread's */
    int32_t thread;
};

static struct tasks tasks;

static unsigned number_of(const struct strait_task *task)
{
    unsigned number;
    memcpy(&number, task->data, sizeof(number));
    return number;
}

static void note_run(const struct strait_task *task)
{
    atomic_fetch_add(&tasks.runs[number_of(task)], 1);
    atomic_fetch_add(&tasks.started, 1);
    EXPECT(thread_number() != tasks.thread);
}

static int run_quick(struct strait_task *task)
{
    note_run(task);
    return 0;
}

static int run_code(struct strait_task *task)
{
    note_run(task);
    return task->code;
}

static int run_gate(struct strait_task *task)
{
    note_run(task);
    gate_wait(tasks.gate);
    return 0;
}

static int run_until_cancelled(struct strait_task *task)
{
    note_run(task);
    atomic_fetch_add(&tasks.gate->arrived, 1);
    while (!strait_task_cancelled(task)) {
        sleep_ns(GATE_NAP_NS);
    }
    return -ECANCELED;
}

static void note_done(struct strait_task *task)
{
    unsigned number = number_of(task);
    assert_int_equal(thread_number(), tasks.thread);
    tasks.completions[number]++;
    tasks.status[number] = task->status;
    tasks.code[number] = task->code;
    tasks.order[tasks.completed++] = number;
    progress_made();
}

static struct strait_task numbered(strait_run_fn *run, unsigned number)
{
    struct strait_task task = {.run = run, .done = note_done};
    memcpy(task.data, &number, sizeof(number));
    return task;
}

static struct strait_pool *pool_open_as(const struct strait_pool_options *options,
                                        const struct strait_parent_options *parent)
{
    struct strait_pool *pool = NULL;
    memset(&tasks, 0, sizeof(tasks));
    tasks.thread = thread_number();
    assert_returns(strait_pool_create(&pool, options), 0);
    assert_non_null(pool);
    assert_returns(strait_pool_attach(pool, &tasks.parent, parent), 0);
    tasks.pool = pool;
    return pool;
}

static struct strait_pool *pool_open(const struct strait_pool_options *options)
{
    return pool_open_as(options, NULL);
}

/* Most tests want workers that get the CPU as others do. */
static struct strait_pool *pool_of(unsigned workers, size_t queue_limit)
{
    struct strait_pool_options options = {
        .size = sizeof(options),
        .workers = workers,
        .queue_limit = queue_limit,
        .schedule = STRAIT_SCHEDULE_NORMAL,
    };
    return pool_open(&options);
}

static strait_task_id submit(strait_run_fn *run, unsigned number)
{
    struct strait_task task = numbered(run, number);
    strait_task_id id = 0;
    assert_returns(strait_task_submit(tasks.parent, &task, NULL, &id), 0);
    assert_true(id != 0);
    return id;
}

static int try_submit(strait_run_fn *run, unsigned number)
{
    struct strait_task task = numbered(run, number);
    return strait_task_submit(tasks.parent, &task, NULL, NULL);
}

static struct strait_pool_stats stats_of(void)
{
    struct strait_pool_stats stats;
    strait_pool_stats(tasks.pool, &stats);
    assert_true(stats.submitted == stats.done + stats.failed + stats.cancelled + stats.expired +
                                       stats.abandoned + stats.queued + stats.running);
    assert_true(stats.queued_max <= stats.queue_limit);
    assert_true(stats.running <= stats.submitted);
    return stats;
}

/* As an event loop does it: wait for the fd, dispatch. */
static void pump(unsigned completed)
{
    while (tasks.completed < completed) {
        struct pollfd poll_fd = {.fd = strait_parent_fd(tasks.parent), .events = POLLIN};
        poll(&poll_fd, 1, -1);
        assert_true(strait_parent_dispatch(tasks.parent, 0) >= 0);
        stats_of();
    }
}

/* Drains the pool, and runs what completions are left. */
static void pool_end(struct strait_pool *pool)
{
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    while (strait_parent_owed(tasks.parent) > 0) {
        assert_true(strait_parent_poll(tasks.parent, 0) >= 0);
    }
    struct strait_pool_stats stats = stats_of();
    assert_int_equal(stats.queued + stats.running, 0);
    assert_int_equal(stats.submitted, tasks.completed);
    assert_returns(strait_pool_destroy(pool), -EBUSY);
    assert_returns(strait_parent_detach(tasks.parent, 0), 0);
    assert_returns(strait_pool_destroy(pool), 0);
    assert_no_faults();
    progress_made();
}

/* Sends as many tasks as there are workers to a gate, and returns when all of them wait there. */
static void occupy(struct gate *gate, unsigned workers, unsigned first)
{
    tasks.gate = gate;
    for (unsigned i = 0; i < workers; i++) {
        submit(run_gate, first + i);
    }
    gate_await(gate, workers);
}

/* ---- options ---- */

static void bad_options_leave_nothing_behind(void **state)
{
    (void)state;
    struct census before = census_take();
    struct {
        struct strait_pool_options options;
        char tail[16];
    } newer = {.options = {.size = sizeof(newer)}, .tail = {0, 0, 1}};
    const struct strait_pool_options bad[] = {
        {.workers = STRAIT_POOL_WORKERS_MAX + 1},
        {.queue_limit = STRAIT_QUEUE_LIMIT_MAX + 1},
        {.wait = STRAIT_WAIT_FD},
        {.nice = 20},
        {.nice = -1},
        {.schedule = (enum strait_schedule)99},
        {.name = "a name too long for it"},
        {.name = "fourteen_bytes"},
        {.stack_size = 1},
        {.workers = 2, .workers_max = 1},
        {.workers_max = STRAIT_POOL_WORKERS_MAX + 1},
        {.idle_timeout = -1},
        {.stall_ns = 1},
        {.stall_ns = -1},
    };
    struct strait_pool *pool = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_returns(strait_pool_create(&pool, &bad[i]), -EINVAL);
    }
    assert_returns(strait_pool_create(&pool, &newer.options), -EINVAL);
    assert_null(pool);
    assert_census(before);
}

static void defaults_make_a_worker_for_each_cpu(void **state)
{
    (void)state;
    cpu_set_t cpus;
    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    struct strait_pool *pool = pool_open(NULL);
    struct strait_pool_stats stats = stats_of();
    int count = CPU_COUNT(&cpus);
    assert_int_equal(stats.workers, count < 4 ? count : count - 1); /* less the creator's */
    assert_int_equal(stats.queue_limit, 1024);
    assert_int_equal(stats.submitted, 0);
    submit(run_quick, 0);
    pump(1);
    pool_end(pool);
}

struct seen {
    char name[16];
    int class;
    int nice;
};

static int look_at_self(struct strait_task *task)
{
    struct seen *seen = task->context;
    pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
    seen->class = sched_getscheduler(0);
    seen->nice = getpriority(PRIO_PROCESS, (id_t)thread_number());
    return 0;
}

static void workers_have_names_and_classes(void **state)
{
    (void)state;
    struct strait_pool_options options = {
        .workers = 1,
        .name = "thirteen_byte",
        .schedule = STRAIT_SCHEDULE_BATCH,
        .nice = 3,
        .stack_size = 128 * 1024,
    };
    struct seen seen = {.class = -1};
    struct strait_pool *pool = pool_open(&options);
    struct strait_task task = numbered(look_at_self, 0);
    task.context = &seen;
    assert_returns(strait_task_submit(tasks.parent, &task, NULL, NULL), 0);
    pump(1);
    assert_string_equal(seen.name, "thirteen_byte-0");
    assert_int_equal(seen.class, SCHED_BATCH);
    assert_int_equal(seen.nice, getpriority(PRIO_PROCESS, 0) + 3);
    pool_end(pool);
}

static int look_at_class(struct strait_task *task)
{
    int class = sched_getscheduler(0);
    memcpy(task->data + sizeof(unsigned), &class, sizeof(class));
    return 0;
}

static void done_with_class(struct strait_task *task)
{
    int *class = task->context;
    memcpy(class, task->data + sizeof(unsigned), sizeof(*class));
    note_done(task);
}

/* As many workers as CPUs: they share the parent's, and yield to it. */
static void a_pool_that_fills_the_machine_is_idle_class(void **state)
{
    (void)state;
    int class = -1;
    struct strait_pool *pool = pool_open(NULL);
    struct strait_task task = numbered(look_at_class, 0);
    task.done = done_with_class;
    task.context = &class;
    assert_returns(strait_task_submit(tasks.parent, &task, NULL, NULL), 0);
    pump(1);
    assert_int_equal(class, SCHED_IDLE);
    pool_end(pool);
}

/* ---- submit, run, complete ---- */

static void each_task_completes_once(unsigned workers, enum strait_wait wait, unsigned count)
{
    struct strait_pool_options options = {
        .workers = workers,
        .queue_limit = count,
        .schedule = STRAIT_SCHEDULE_NORMAL,
        .wait = wait,
    };
    struct strait_pool *pool = pool_open(&options);
    for (unsigned i = 0; i < count; i++) {
        submit(run_quick, i);
    }
    pump(count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(tasks.runs[i], 1);
        assert_int_equal(tasks.completions[i], 1);
        assert_int_equal(tasks.status[i], STRAIT_TASK_DONE);
    }
    assert_int_equal(stats_of().done, count);
    pool_end(pool);
}

static void one_worker_completes_each_task_once(void **state)
{
    (void)state;
    each_task_completes_once(1, STRAIT_WAIT_PARK, 5000);
}

static void two_workers_complete_each_task_once(void **state)
{
    (void)state;
    each_task_completes_once(2, STRAIT_WAIT_PARK, 5000);
}

static void eight_workers_complete_each_task_once(void **state)
{
    (void)state;
    each_task_completes_once(8, STRAIT_WAIT_PARK, 5000);
}

/* More than one word of idle bits. */
static void many_workers_complete_each_task_once(void **state)
{
    (void)state;
    each_task_completes_once(70, STRAIT_WAIT_PARK, 500);
}

static void spinning_workers_complete_each_task_once(void **state)
{
    (void)state;
    each_task_completes_once(2, STRAIT_WAIT_SPIN, 1000);
}

static _Atomic unsigned next_start;

static int run_in_order(struct strait_task *task)
{
    note_run(task);
    EXPECT(atomic_fetch_add(&next_start, 1) == number_of(task));
    return 0;
}

static void one_worker_starts_tasks_in_order(void **state)
{
    (void)state;
    atomic_store(&next_start, 0);
    struct strait_pool *pool = pool_of(1, 0);
    for (unsigned i = 0; i < 1000; i++) {
        submit(run_in_order, i);
    }
    pump(1000);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(tasks.order[i], i);
    }
    pool_end(pool);
}

static int run_invert(struct strait_task *task)
{
    for (size_t i = 0; i < STRAIT_TASK_DATA; i++) {
        EXPECT(task->data[i] == (unsigned char)(i * 3));
        task->data[i] = (unsigned char)~task->data[i];
    }
    return 0;
}

static void done_invert(struct strait_task *task)
{
    for (size_t i = 0; i < STRAIT_TASK_DATA; i++) {
        assert_int_equal(task->data[i], (unsigned char)~(i * 3));
    }
    assert_ptr_equal(task->context, &tasks);
    tasks.completed++;
}

static void data_travels_in_and_out(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2, 0);
    struct strait_task task = {.run = run_invert, .done = done_invert, .context = &tasks};
    for (size_t i = 0; i < STRAIT_TASK_DATA; i++) {
        task.data[i] = (unsigned char)(i * 3);
    }
    for (unsigned i = 0; i < 200; i++) {
        assert_returns(strait_task_submit(tasks.parent, &task, NULL, NULL), 0);
    }
    memset(&task, 0xff, sizeof(task)); /* the pool has copies */
    pump(200);
    pool_end(pool);
}

static void the_result_becomes_the_status(void **state)
{
    (void)state;
    static const struct {
        int code;
        enum strait_task_status status;
    } cases[] = {
        {0, STRAIT_TASK_DONE},
        {7, STRAIT_TASK_FAILED},
        {-EIO, STRAIT_TASK_FAILED},
        {-ECANCELED, STRAIT_TASK_CANCELLED},
    };
    struct strait_pool *pool = pool_of(1, 0);
    for (unsigned i = 0; i < 4; i++) {
        struct strait_task task = numbered(run_code, i);
        task.code = cases[i].code;
        assert_returns(strait_task_submit(tasks.parent, &task, NULL, NULL), 0);
    }
    pump(4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(tasks.status[i], cases[i].status);
        assert_int_equal(tasks.code[i], cases[i].code);
    }
    struct strait_pool_stats stats = stats_of();
    assert_int_equal(stats.done, 1);
    assert_int_equal(stats.failed, 2);
    assert_int_equal(stats.cancelled, 1);
    pool_end(pool);
}

static void a_task_needs_a_run_but_no_done(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_task task = numbered(NULL, 0);
    assert_returns(strait_task_submit(tasks.parent, &task, NULL, NULL), -EINVAL);
    assert_int_equal(stats_of().submitted, 0);
    task.run = run_quick;
    task.done = NULL;
    assert_returns(strait_task_submit(tasks.parent, &task, NULL, NULL), 0);
    while (stats_of().done == 0) {
        assert_true(readable(strait_parent_fd(tasks.parent), -1));
        strait_parent_dispatch(tasks.parent, 0);
    }
    tasks.completed++; /* nobody told us */
    pool_end(pool);
}

static void completions_run_in_dispatch_only(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1, 0);
    submit(run_quick, 0);
    while (atomic_load(&tasks.started) < 1) {
        sleep_ns(GATE_NAP_NS);
    }
    submit(run_quick, 1);
    assert_int_equal(tasks.completed, 0);
    pump(2);
    pool_end(pool);
}

/* ---- nothing waits behind a long task ---- */

static void short_tasks_pass_long_ones(void **state)
{
    (void)state;
    for (unsigned workers = 2; workers <= 8; workers += 3) {
        struct gate gate = {0};
        struct strait_pool *pool = pool_of(workers, 0);
        occupy(&gate, workers - 1, 0);
        for (unsigned i = 0; i < 300; i++) {
            submit(run_quick, workers + i);
            if (i % 7 == 0) {
                pump(i + 1);
            }
        }
        pump(300);
        gate_open(&gate);
        pump(300 + workers - 1);
        pool_end(pool);
    }
}

static void settle(size_t pattern)
{
    if (pattern % 3 == 1) {
        dawdle(pattern * 977 % 30000); /* they still spin */
    } else if (pattern % 3 == 2) {
        sleep_ns((long)(pattern * 7919 % 400000)); /* they sleep, or are about to */
    }
}

/* As many tasks as workers, none of which ends before all have started: every one of them must
 * wake a worker, although the first ones never finish. */
static void burst_starts_everywhere(unsigned workers, enum strait_schedule schedule, size_t rounds)
{
    struct strait_pool_options options = {
        .workers = workers, .queue_limit = 100, .schedule = schedule};
    struct strait_pool *pool = pool_open(&options);
    for (size_t round = 0; round < rounds; round++) {
        struct gate gate = {0};
        tasks.completed = 0;
        tasks.gate = &gate;
        settle(round);
        for (unsigned i = 0; i < workers; i++) {
            submit(run_gate, i);
            if (round % 2) {
                settle(round + i);
            }
        }
        gate_await(&gate, workers);
        gate_open(&gate);
        pump(workers);
    }
    tasks.completed = (unsigned)stats_of().submitted;
    pool_end(pool);
}

static void a_burst_starts_on_every_worker(void **state)
{
    (void)state;
    burst_starts_everywhere(2, STRAIT_SCHEDULE_NORMAL, scaled(500));
    burst_starts_everywhere(3, STRAIT_SCHEDULE_NORMAL, scaled(300));
    burst_starts_everywhere(8, STRAIT_SCHEDULE_NORMAL, scaled(200));
    burst_starts_everywhere(70, STRAIT_SCHEDULE_NORMAL, scaled(10)); /* two words of idle bits */
}

static void a_burst_starts_on_every_idle_class_worker(void **state)
{
    (void)state;
    burst_starts_everywhere(2, STRAIT_SCHEDULE_IDLE, scaled(100));
}

/* A worker that was woken for a task that another one took goes back to sleep. It must be as easy
 * to wake as before: short tasks provoke that, then a burst needs every worker. */
static void a_worker_that_came_too_late_is_woken_again(void **state)
{
    (void)state;
    enum { WORKERS = 4 };
    struct strait_pool *pool = pool_of(WORKERS, 1000);
    for (size_t round = 0; round < scaled(300); round++) {
        struct gate gate = {0};
        tasks.completed = 0;
        for (unsigned i = 0; i < WORKERS + round % 5; i++) {
            submit(run_quick, i);
        }
        pump(WORKERS + (unsigned)(round % 5));
        settle(round);
        tasks.completed = 0;
        occupy(&gate, WORKERS, 0);
        gate_open(&gate);
        pump(WORKERS);
    }
    tasks.completed = (unsigned)stats_of().submitted;
    pool_end(pool);
}

/* ---- cancel ---- */

static void a_waiting_task_is_cancelled_for_certain(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_of(1, 0);
    occupy(&gate, 1, 0);
    strait_task_id before = submit(run_quick, 1);
    strait_task_id id = submit(run_quick, 2);
    strait_task_id after = submit(run_quick, 3);
    assert_returns(strait_task_cancel(tasks.parent, id), 0);
    assert_int_equal(tasks.completed, 0); /* not inside the cancel */
    assert_returns(strait_task_cancel(tasks.parent, id), -EALREADY);
    assert_true(readable(strait_parent_fd(tasks.parent), -1));
    assert_returns(strait_parent_dispatch(tasks.parent, 0), 1);
    assert_int_equal(tasks.status[2], STRAIT_TASK_CANCELLED);
    assert_int_equal(tasks.code[2], -ECANCELED);
    assert_returns(strait_task_cancel(tasks.parent, id), -ENOENT);
    gate_open(&gate);
    pump(4);
    assert_int_equal(tasks.runs[2], 0);
    assert_int_equal(tasks.status[1], STRAIT_TASK_DONE);
    assert_int_equal(tasks.status[3], STRAIT_TASK_DONE);
    assert_returns(strait_task_cancel(tasks.parent, before), -ENOENT);
    assert_returns(strait_task_cancel(tasks.parent, after), -ENOENT);
    pool_end(pool);
}

static void a_running_task_sees_its_cancel(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_of(2, 0);
    tasks.gate = &gate;
    strait_task_id first = submit(run_until_cancelled, 0);
    strait_task_id second = submit(run_until_cancelled, 1);
    gate_await(&gate, 2);
    assert_returns(strait_task_cancel(tasks.parent, first), -EINPROGRESS);
    pump(1);
    assert_int_equal(tasks.order[0], 0); /* the other one was not meant, and runs on */
    assert_int_equal(tasks.status[0], STRAIT_TASK_CANCELLED);
    assert_returns(strait_task_cancel(tasks.parent, first), -ENOENT);
    assert_int_equal(stats_of().running, 1);
    assert_returns(strait_task_cancel(tasks.parent, second), -EINPROGRESS);
    pump(2);
    pool_end(pool);
}

static int run_not_cancelled(struct strait_task *task)
{
    note_run(task);
    EXPECT(!strait_task_cancelled(task));
    return 0;
}

/* The flag belongs to one submission, not to the slot. */
static void a_cancel_flag_does_not_outlive_its_task(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_of(1, 1);
    tasks.gate = &gate;
    for (unsigned i = 0; i < 20; i += 2) {
        strait_task_id id = submit(run_until_cancelled, i);
        gate_await(&gate, i / 2 + 1);
        assert_returns(strait_task_cancel(tasks.parent, id), -EINPROGRESS);
        pump(i + 1);
        submit(run_not_cancelled, i + 1);
        pump(i + 2);
    }
    pool_end(pool);
}

static void stale_ids_name_nothing(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    static strait_task_id ids[COUNT];
    struct gate gate = {0};
    struct strait_pool *pool = pool_of(1, 2);
    assert_returns(strait_task_cancel(tasks.parent, 0), -ENOENT);
    assert_returns(strait_task_cancel(tasks.parent, UINT64_MAX), -ENOENT);
    for (unsigned i = 0; i < COUNT; i++) { /* few slots: each is used again and again */
        ids[i] = submit(run_quick, i);
        pump(i + 1);
        for (unsigned j = 0; j < i; j++) {
            assert_true(ids[i] != ids[j]);
        }
    }
    occupy(&gate, 1, COUNT);
    submit(run_quick, COUNT + 1);
    submit(run_quick, COUNT + 2);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_returns(strait_task_cancel(tasks.parent, ids[i]), -ENOENT);
    }
    assert_returns(strait_task_cancel(tasks.parent, 0), -ENOENT);
    gate_open(&gate);
    pump(COUNT + 3);
    assert_int_equal(tasks.status[COUNT + 1], STRAIT_TASK_DONE);
    assert_int_equal(tasks.status[COUNT + 2], STRAIT_TASK_DONE);
    pool_end(pool);
}

/* A cancelled task's slot must not be used again before its number has left the queue. */
static void cancelled_numbers_in_the_queue_run_nothing(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_of(1, 4);
    occupy(&gate, 1, 0);
    for (unsigned i = 1; i <= 4; i++) {
        assert_returns(strait_task_cancel(tasks.parent, submit(run_quick, i)), 0);
    }
    assert_returns(strait_parent_dispatch(tasks.parent, 0), 4);
    for (unsigned i = 5; i <= 8; i++) {
        submit(run_quick, i);
    }
    gate_open(&gate);
    pump(9);
    for (unsigned i = 0; i <= 8; i++) {
        assert_int_equal(tasks.completions[i], 1);
        assert_int_equal(tasks.runs[i], i == 0 || i > 4);
    }
    pool_end(pool);
}

/* ---- the limit ---- */

static void the_queue_limit_is_exact(void **state)
{
    (void)state;
    static const size_t limits[] = {1, 2, 3, 64, 100};
    for (unsigned workers = 1; workers <= 3; workers++) {
        for (size_t k = 0; k < 5; k++) {
            struct gate gate = {0};
            unsigned limit = (unsigned)limits[k];
            struct strait_pool *pool = pool_of(workers, limit);
            for (unsigned i = 0; i < workers; i++) { /* one by one: the limit may be 1 */
                tasks.gate = &gate;
                submit(run_gate, i);
                gate_await(&gate, i + 1);
            }
            for (unsigned i = 0; i < limit; i++) {
                submit(run_quick, workers + i);
                assert_int_equal(stats_of().queued, i + 1);
            }
            assert_returns(try_submit(run_quick, 0), -EAGAIN);
            assert_returns(try_submit(run_quick, 0), -EAGAIN);
            struct strait_pool_stats stats = stats_of();
            assert_int_equal(stats.refused, 2);
            assert_int_equal(stats.queued_max, limit);
            assert_int_equal(stats.running, workers);
            gate_open(&gate);
            pump(workers + limit);
            pool_end(pool);
        }
    }
}

static void cancelling_a_waiting_task_makes_room_at_once(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_of(1, 3);
    strait_task_id ids[3];
    occupy(&gate, 1, 0);
    for (unsigned i = 0; i < 3; i++) {
        ids[i] = submit(run_quick, 1 + i);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_returns(try_submit(run_quick, 0), -EAGAIN);
        assert_returns(strait_task_cancel(tasks.parent, ids[i]), 0);
        submit(run_quick, 4 + i);
    }
    assert_returns(try_submit(run_quick, 0), -EAGAIN);
    gate_open(&gate);
    pump(7);
    pool_end(pool);
}

/* Cancelled tasks whose numbers a worker has passed by made room when they were cancelled; that
 * they have left the queue must not make room a second time. */
static void the_limit_holds_while_cancelled_tasks_come_back(void **state)
{
    (void)state;
    enum { LIMIT = 100, CANCELLED = 40 };
    struct gate first = {0};
    struct gate second = {0};
    struct strait_pool *pool = pool_of(1, LIMIT);
    occupy(&first, 1, 0);
    for (unsigned i = 1; i <= CANCELLED; i++) {
        assert_returns(strait_task_cancel(tasks.parent, submit(run_quick, i)), 0);
    }
    tasks.gate = &second;
    submit(run_gate, CANCELLED + 1);
    gate_open(&first);
    gate_await(&second, 1); /* it has passed them, and nothing was dispatched */
    unsigned accepted = 0;
    while (accepted < 2 * LIMIT && try_submit(run_quick, CANCELLED + 2 + accepted) == 0) {
        accepted++;
    }
    gate_open(&second);
    pump(CANCELLED + 2 + accepted);
    pool_end(pool);
    assert_int_equal(accepted, LIMIT);
}

static void count_room(struct strait_parent *parent, void *context)
{
    struct tasks *all = context;
    assert_ptr_equal(parent, all->parent);
    all->rooms++;
}

static struct strait_pool *pool_with_room(unsigned workers, size_t limit, size_t low_water,
                                          void (*room)(struct strait_parent *, void *))
{
    struct strait_pool_options options = {
        .workers = workers, .queue_limit = limit, .schedule = STRAIT_SCHEDULE_NORMAL};
    struct strait_parent_options parent = {.room = room, .context = &tasks, .low_water = low_water};
    return pool_open_as(&options, &parent);
}

static void room_is_told_after_a_refusal_only(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_with_room(1, 2, 0, count_room);
    occupy(&gate, 1, 0);
    submit(run_quick, 1);
    submit(run_quick, 2);
    strait_parent_dispatch(tasks.parent, 0);
    assert_int_equal(tasks.rooms, 0);
    assert_returns(try_submit(run_quick, 0), -EAGAIN);
    strait_parent_dispatch(tasks.parent, 0);
    assert_int_equal(tasks.rooms, 0); /* still full */
    gate_open(&gate);
    pump(3);
    assert_int_equal(tasks.rooms, 1);
    submit(run_quick, 3);
    pump(4);
    assert_int_equal(tasks.rooms, 1); /* nothing was refused since */
    pool_end(pool);
}

static void fill_again(struct strait_parent *parent, void *context)
{
    struct tasks *all = context;
    assert_ptr_equal(parent, all->parent);
    all->rooms++;
    EXPECT(try_submit(run_quick, 100 + all->rooms) == 0);
}

/* Whoever is told that there is room finds it, even if nothing but cancelled tasks is left. */
static void room_means_that_a_submit_succeeds(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_with_room(1, 2, 1, fill_again);
    unsigned number = 1;
    occupy(&gate, 1, 0);
    while (number < 50) {
        struct strait_task task = numbered(run_quick, number);
        strait_task_id id;
        if (strait_task_submit(tasks.parent, &task, NULL, &id) == -EAGAIN) {
            break;
        }
        assert_returns(strait_task_cancel(tasks.parent, id), 0);
        number++;
    }
    strait_parent_dispatch(tasks.parent, 0);
    gate_open(&gate);
    pump(number);
    pool_end(pool);
}

/* ---- the fd and the budget ---- */

/* Without a dispatch before: this is how an event loop begins. */
static void the_first_completion_makes_the_fd_readable(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1, 0);
    submit(run_quick, 0);
    bool told = readable(strait_parent_fd(tasks.parent), 10000);
    while (tasks.completed < 1) {
        strait_parent_dispatch(tasks.parent, 0);
    }
    pool_end(pool);
    assert_true(told);
}

static void the_fd_is_readable_until_drained(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2, 0);
    strait_parent_dispatch(tasks.parent, 0);
    assert_false(readable(strait_parent_fd(tasks.parent), 0));
    for (unsigned round = 0; round < 100; round++) {
        submit(run_quick, round);
        while (tasks.completed <= round) {
            assert_true(readable(strait_parent_fd(tasks.parent), -1));
            strait_parent_dispatch(tasks.parent, 0);
        }
        assert_false(readable(strait_parent_fd(tasks.parent), 0));
        assert_returns(strait_parent_dispatch(tasks.parent, 0), 0);
    }
    pool_end(pool);
}

static void await_started(unsigned count)
{
    while (atomic_load(&tasks.started) < count) {
        sleep_ns(GATE_NAP_NS);
    }
}

static void a_budget_leaves_the_fd_readable(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1, 0);
    strait_parent_dispatch(tasks.parent, 0);
    for (unsigned i = 0; i < 600; i++) {
        submit(run_quick, i);
    }
    await_started(600);
    while (tasks.completed < 10) {
        assert_true(readable(strait_parent_fd(tasks.parent), -1));
        ptrdiff_t ran = strait_parent_dispatch(tasks.parent, 1);
        assert_true(ran == 0 || ran == 1);
    }
    assert_true(readable(strait_parent_fd(tasks.parent), -1));
    ptrdiff_t most = strait_parent_dispatch(tasks.parent, 0);
    assert_true(most <= STRAIT_BUDGET);
    assert_true(readable(strait_parent_fd(tasks.parent), -1));
    pump(600);
    assert_false(readable(strait_parent_fd(tasks.parent), 0));
    pool_end(pool);
}

static void a_budget_holds_for_cancelled_tasks_too(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_of(1, 100);
    occupy(&gate, 1, 0);
    for (unsigned i = 1; i <= 50; i++) {
        assert_returns(strait_task_cancel(tasks.parent, submit(run_quick, i)), 0);
    }
    for (unsigned i = 0; i < 25; i++) {
        assert_true(readable(strait_parent_fd(tasks.parent), 0));
        assert_returns(strait_parent_dispatch(tasks.parent, 2), 2);
    }
    assert_returns(strait_parent_dispatch(tasks.parent, 2), 0);
    assert_false(readable(strait_parent_fd(tasks.parent), 0));
    gate_open(&gate);
    pump(51);
    pool_end(pool);
}

/* ---- calls from inside a completion, and from inside a task ---- */

static unsigned chain_left;

static void done_submits(struct strait_task *task)
{
    note_done(task);
    if (chain_left > 0) {
        chain_left--;
        submit(run_quick, number_of(task) + 1);
        tasks.rooms += tasks.completions[number_of(task) + 1]; /* not inside the submit */
    }
}

static void a_completion_may_submit(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2, 1);
    for (unsigned i = 0; i < 200; i++) {
        struct strait_task task = numbered(run_quick, 2 * i);
        task.done = done_submits;
        chain_left = 1;
        assert_returns(strait_task_submit(tasks.parent, &task, NULL, NULL), 0);
        pump(2 * i + 2);
    }
    assert_int_equal(tasks.rooms, 0);
    pool_end(pool);
}

static strait_task_id victims[3];

static void done_cancels(struct strait_task *task)
{
    note_done(task);
    for (int i = 0; i < 3; i++) {
        assert_returns(strait_task_cancel(tasks.parent, victims[i]), i < 2 ? 0 : -EINPROGRESS);
    }
    assert_int_equal(tasks.completed, 1); /* not inside the cancel */
}

static void a_completion_may_cancel(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_of(2, 0);
    tasks.gate = &gate;
    victims[2] = submit(run_until_cancelled, 3);
    gate_await(&gate, 1);
    struct strait_task task = numbered(run_quick, 0);
    task.done = done_cancels;
    assert_returns(strait_task_submit(tasks.parent, &task, NULL, NULL), 0);
    while (atomic_load(&tasks.runs[0]) == 0) {
        sleep_ns(GATE_NAP_NS);
    }
    submit(run_gate, 4);
    gate_await(&gate, 2); /* both are busy */
    victims[0] = submit(run_quick, 1);
    victims[1] = submit(run_quick, 2);
    pump(4);
    assert_int_equal(tasks.runs[1] + tasks.runs[2], 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(tasks.status[i], STRAIT_TASK_CANCELLED);
    }
    gate_open(&gate);
    pump(5);
    pool_end(pool);
}

static void done_misuses(struct strait_task *task)
{
    struct strait_group nobody = {0};
    note_done(task);
    assert_returns(strait_parent_dispatch(tasks.parent, 0), -EDEADLK);
    assert_returns(strait_parent_poll(tasks.parent, 0), -EDEADLK);
    assert_returns(strait_task_wait(tasks.parent, victims[0], STRAIT_FOREVER), -EDEADLK);
    assert_returns(strait_group_wait(tasks.parent, &nobody, STRAIT_FOREVER), -EDEADLK);
    assert_returns(strait_parent_detach(tasks.parent, STRAIT_FOREVER), -EDEADLK);
    assert_returns(strait_pool_destroy(tasks.pool), -EBUSY);
    assert_int_equal(strait_task_cancel(tasks.parent, victims[0]), -ENOENT); /* itself: is gone */
}

static void a_completion_may_not_dispatch_wait_or_detach(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_task task = numbered(run_quick, 0);
    task.done = done_misuses;
    assert_returns(strait_task_submit(tasks.parent, &task, NULL, &victims[0]), 0);
    pump(1);
    submit(run_quick, 1); /* and the pool is none the worse for it */
    pump(2);
    pool_end(pool);
}

static int run_closes(struct strait_task *task)
{
    (void)task;
    EXPECT(strait_pool_close(tasks.pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL) == -EDEADLK);
    EXPECT(strait_pool_close(tasks.pool, STRAIT_CLOSE_CANCEL, 0, NULL) == -EDEADLK);
    return 0;
}

static void a_task_may_not_close_its_pool(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2, 0);
    for (unsigned i = 0; i < 4; i++) {
        submit(run_closes, i);
        pump(i + 1);
    }
    submit(run_quick, 4);
    pump(5);
    pool_end(pool);
}

/* ---- close ---- */

static void drain_finishes_every_task(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2, 5000);
    for (unsigned i = 0; i < 5000; i++) {
        submit(run_quick, i);
    }
    pool_end(pool);
    assert_int_equal(tasks.completed, 5000);
    for (unsigned i = 0; i < 5000; i++) {
        assert_int_equal(tasks.runs[i], 1);
        assert_int_equal(tasks.status[i], STRAIT_TASK_DONE);
    }
}

/* The worker is about to look at its queue for the last time when the task and the close come. */
static void the_last_task_before_a_close_is_done(void **state)
{
    (void)state;
    for (size_t i = 0; i < scaled(1500); i++) {
        struct strait_pool *pool = pool_of(1, 4);
        submit(run_quick, 0);
        while (i % 2 && atomic_load(&tasks.started) == 0) {
            sched_yield();
        }
        dawdle(i % 61 * 11);
        submit(run_quick, 1);
        pool_end(pool);
        assert_int_equal(tasks.completed, 2);
    }
}

static int run_nap(struct strait_task *task)
{
    note_run(task);
    sleep_ns(1000000);
    return 0;
}

static void cancel_finishes_what_runs(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2, 100);
    submit(run_nap, 0);
    submit(run_nap, 1);
    await_started(2);
    for (unsigned i = 2; i < 100; i++) {
        submit(run_nap, i);
    }
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER, NULL), 0);
    pump(100);
    assert_int_equal(tasks.status[0], STRAIT_TASK_DONE);
    assert_int_equal(tasks.status[1], STRAIT_TASK_DONE);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(tasks.completions[i], 1);
        assert_int_equal(tasks.runs[i], tasks.status[i] == STRAIT_TASK_DONE);
        assert_true(tasks.runs[i] || tasks.status[i] == STRAIT_TASK_ABANDONED);
    }
    pool_end(pool);
}

static void a_stuck_task_times_the_close_out(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool_worker_stats stuck = {.number = 99};
    struct strait_pool *pool = pool_of(1, 10);
    occupy(&gate, 1, 0);
    submit(run_quick, 1);
    strait_task_id id = submit(run_quick, 2);
    assert_returns(strait_pool_destroy(pool), -EBUSY);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, 0, &stuck), -ETIMEDOUT);
    assert_int_equal(stuck.number, 0);
    assert_ptr_equal(stuck.run, run_gate);
    assert_true(stuck.thread > 0);
    assert_returns(try_submit(run_quick, 3), -EPIPE);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, strait_deadline(2000000), NULL),
                   -ETIMEDOUT);
    assert_returns(strait_task_cancel(tasks.parent, id), 0);
    assert_returns(strait_parent_dispatch(tasks.parent, 0), 1);
    assert_returns(strait_pool_destroy(pool), -EBUSY);
    /* from drain to cancel */
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, strait_deadline(2000000), NULL),
                   -ETIMEDOUT);
    pump(2);
    assert_int_equal(tasks.status[1], STRAIT_TASK_ABANDONED);
    gate_open(&gate);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    pump(3);
    assert_int_equal(tasks.runs[1] + tasks.runs[2], 0);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, 0, NULL), 0);
    assert_returns(try_submit(run_quick, 3), -EPIPE);
    pool_end(pool);
}

/* The parent goes on with its event loop: the fd must tell it. */
static void after_a_timed_out_close_the_fd_still_tells(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_pool *pool = pool_of(1, 10);
    occupy(&gate, 1, 0);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, strait_deadline(20000000), NULL),
                   -ETIMEDOUT);
    gate_open(&gate);
    bool told = readable(strait_parent_fd(tasks.parent), 10000);
    pool_end(pool);
    assert_true(told);
}

/* A close that only starts, then dispatches until all is done, then a close that ends. */
static void a_close_can_be_dispatched_to_its_end(void **state)
{
    (void)state;
    struct strait_pool *pool = pool_of(2, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        submit(run_quick, i);
    }
    int closed = strait_pool_close(pool, STRAIT_CLOSE_DRAIN, 0, NULL);
    assert_true(closed == 0 || closed == -ETIMEDOUT);
    pump(1000);
    pool_end(pool);
}

static void a_pool_that_did_nothing_closes(void **state)
{
    (void)state;
    struct census before = census_take();
    for (unsigned workers = 1; workers <= 64; workers *= 2) {
        pool_end(pool_of(workers, 1));
        struct strait_pool *pool = pool_of(workers, 1);
        assert_returns(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER, NULL), 0);
        pool_end(pool);
    }
    assert_returns(strait_pool_destroy(NULL), 0);
    assert_census(before);
}

/* ---- idleness ---- */

/* Context switches of the pool's workers, of both kinds, and the time they have run. */
struct activity {
    long switches;
    long long run_ns;
};

static bool is_pools(const char *tid)
{
    char path[300];
    char name[32] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%s/comm", tid);
    FILE *file = fopen(path, "r");
    bool read = file && fgets(name, sizeof(name), file);
    if (file) {
        fclose(file);
    }
    return read && strncmp(name, "idlers-", 7) == 0;
}

static long long run_time(const char *tid)
{
    char path[300];
    char line[128] = "0";
    snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", tid);
    FILE *file = fopen(path, "r");
    bool read = file && fgets(line, sizeof(line), file);
    if (file) {
        fclose(file);
    }
    return read ? strtoll(line, NULL, 10) : 0;
}

static struct activity pools_activity(void)
{
    struct activity activity = {0, 0};
    DIR *directory = opendir("/proc/self/task");
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (is_pools(entry->d_name)) {
            activity.switches += status_number(entry->d_name, "voluntary_ctxt_switches:");
            activity.switches += status_number(entry->d_name, "nonvoluntary_ctxt_switches:");
            activity.run_ns += run_time(entry->d_name);
        }
    }
    closedir(directory);
    return activity;
}

/* On a busy machine the workers may take a while to fall asleep; then they stay so. */
static void an_idle_pool_wakes_nobody(void **state)
{
    (void)state;
    struct strait_pool_options options = {
        .workers = 4, .name = "idlers", .schedule = STRAIT_SCHEDULE_NORMAL};
    struct strait_pool *pool = pool_open(&options);
    bool idle = false;
    for (unsigned i = 0; i < 100; i++) {
        submit(run_quick, i);
    }
    pump(100);
    for (int attempt = 0; attempt < 20 && !idle; attempt++) {
        struct activity before = pools_activity();
        sleep_ns(300000000);
        struct activity after = pools_activity();
        assert_true(before.switches > 0);
        idle = after.switches == before.switches && after.run_ns == before.run_ns;
    }
    assert_true(idle);
    pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(bad_options_leave_nothing_behind),
        life_test(defaults_make_a_worker_for_each_cpu),
        life_test(workers_have_names_and_classes),
        life_test(a_pool_that_fills_the_machine_is_idle_class),
        life_test(one_worker_completes_each_task_once),
        life_test(two_workers_complete_each_task_once),
        life_test(eight_workers_complete_each_task_once),
        life_test(many_workers_complete_each_task_once),
        life_test(spinning_workers_complete_each_task_once),
        life_test(one_worker_starts_tasks_in_order),
        life_test(data_travels_in_and_out),
        life_test(the_result_becomes_the_status),
        life_test(a_task_needs_a_run_but_no_done),
        life_test(completions_run_in_dispatch_only),
        life_test(short_tasks_pass_long_ones),
        life_test(a_burst_starts_on_every_worker),
        life_test(a_burst_starts_on_every_idle_class_worker),
        life_test(a_worker_that_came_too_late_is_woken_again),
        life_test(a_waiting_task_is_cancelled_for_certain),
        life_test(a_running_task_sees_its_cancel),
        life_test(a_cancel_flag_does_not_outlive_its_task),
        life_test(stale_ids_name_nothing),
        life_test(cancelled_numbers_in_the_queue_run_nothing),
        life_test(the_queue_limit_is_exact),
        life_test(cancelling_a_waiting_task_makes_room_at_once),
        life_test(the_limit_holds_while_cancelled_tasks_come_back),
        life_test(room_is_told_after_a_refusal_only),
        life_test(room_means_that_a_submit_succeeds),
        life_test(the_first_completion_makes_the_fd_readable),
        life_test(the_fd_is_readable_until_drained),
        life_test(a_budget_leaves_the_fd_readable),
        life_test(a_budget_holds_for_cancelled_tasks_too),
        life_test(a_completion_may_submit),
        life_test(a_completion_may_cancel),
        life_test(a_completion_may_not_dispatch_wait_or_detach),
        life_test(a_task_may_not_close_its_pool),
        life_test(drain_finishes_every_task),
        life_test(the_last_task_before_a_close_is_done),
        life_test(cancel_finishes_what_runs),
        life_test(a_stuck_task_times_the_close_out),
        life_test(after_a_timed_out_close_the_fd_still_tells),
        life_test(a_close_can_be_dispatched_to_its_end),
        life_test(a_pool_that_did_nothing_closes),
        life_test(an_idle_pool_wakes_nobody),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
