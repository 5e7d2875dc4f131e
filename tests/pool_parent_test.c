/* SPDX-License-Identifier: MIT */
/* pool_parent_test: what parents may ask of a pool: turns, priorities, given workers, batches,
 * waits, groups, deadlines, tasks within tasks; and how they leave. */
#include <malloc.h>

#include "life.h"

static struct strait_pool *pool_new(const struct strait_pool_options *options)
{
    struct strait_pool *pool = NULL;
    assert_returns(strait_pool_create(&pool, options), 0);
    return pool;
}

static struct strait_pool *pool_of(unsigned workers, size_t queue_limit)
{
    struct strait_pool_options options = {
        .workers = workers, .queue_limit = queue_limit, .schedule = STRAIT_SCHEDULE_NORMAL};
    return pool_new(&options);
}

static struct strait_parent *parent_of(struct strait_pool *pool, enum strait_wait wait)
{
    struct strait_parent *parent = NULL;
    struct strait_parent_options options = {.wait = wait};
    assert_returns(strait_pool_attach(pool, &parent, &options), 0);
    return parent;
}

static void pool_end(struct strait_pool *pool)
{
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_pool_destroy(pool), 0);
    assert_no_faults();
    progress_made();
}

static void leave_and_end(struct strait_parent *parent, struct strait_pool *pool)
{
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    pool_end(pool);
}

/* ---- tasks that note the order of their starts ---- */

#define STARTS_MOST 4096

static unsigned starts[STARTS_MOST];
static _Atomic unsigned started;

static void starts_clear(void)
{
    atomic_store(&started, 0);
}

static int notes_start(struct strait_task *task)
{
    starts[atomic_fetch_add(&started, 1)] = (unsigned)(uintptr_t)task->context;
    return 0;
}

static int nothing(struct strait_task *task)
{
    (void)task;
    return 0;
}

static int until_cancelled(struct strait_task *task)
{
    struct gate *gate = task->context;
    atomic_fetch_add(&gate->arrived, 1);
    while (!strait_task_cancelled(task)) {
        sleep_ns(GATE_NAP_NS);
    }
    return -ECANCELED;
}

static strait_task_id submit(struct strait_parent *parent, strait_run_fn *run, void *context,
                             const struct strait_submit_options *how)
{
    struct strait_task task = {.run = run, .context = context};
    strait_task_id id = 0;
    assert_returns(strait_task_submit(parent, &task, how, &id), 0);
    return id;
}

static void *number(unsigned n)
{
    return (void *)(uintptr_t)n;
}

/* ---- turns ---- */

#define FOUR 4
#define EACH 100

struct quarter {
    struct strait_pool *pool;
    struct gate *ready;
    unsigned number;
};

static void *submit_quarter(void *context)
{
    struct quarter *quarter = context;
    struct strait_parent *parent;
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    EXPECT(strait_pool_attach(quarter->pool, &parent, &options) == 0);
    for (unsigned i = 0; i < EACH; i++) {
        struct strait_task task = {.run = notes_start,
                                   .context = number(quarter->number * EACH + i)};
        EXPECT(strait_task_submit(parent, &task, &how, NULL) == 0);
    }
    atomic_fetch_add(&quarter->ready->arrived, 1);
    EXPECT(strait_group_wait(parent, &group, STRAIT_FOREVER) == 0);
    EXPECT(strait_parent_detach(parent, STRAIT_FOREVER) == 0);
    return NULL;
}

/* With equal tasks the wait is the number of tasks that start before: for the k-th task of a parent
 * it is 4 k to 4 k + 3, whichever parent it is. */
static void four_parents_take_turns(void **state)
{
    struct strait_pool *pool = pool_of(1, EACH);
    struct strait_parent *main_parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct gate gate = {0};
    struct gate ready = {0};
    struct quarter quarters[FOUR];
    pthread_t threads[FOUR];
    (void)state;
    starts_clear();
    submit(main_parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    for (unsigned i = 0; i < FOUR; i++) {
        quarters[i] = (struct quarter){pool, &ready, i};
        thread_start(&threads[i], submit_quarter, &quarters[i]);
    }
    gate_await(&ready, FOUR);
    gate_open(&gate);
    for (unsigned i = 0; i < FOUR; i++) {
        thread_join(threads[i]);
    }
    assert_int_equal(started, FOUR * EACH);
    for (unsigned i = 0; i < FOUR * EACH; i++) {
        assert_int_equal(starts[i] % EACH, i / FOUR);
    }
    leave_and_end(main_parent, pool);
}

static void *submit_one(void *context)
{
    struct strait_pool *pool = context;
    struct strait_parent *parent;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    struct strait_task task = {.run = notes_start, .context = number(9999)};
    EXPECT(strait_pool_attach(pool, &parent, &options) == 0);
    EXPECT(strait_task_submit(parent, &task, NULL, NULL) == 0);
    strait_parent_detach(parent, 0); /* abandons it, if it has not started */
    return NULL;
}

static void *submit_one_and_wait(void *context)
{
    struct quarter *late = context;
    struct strait_parent *parent;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    struct strait_task task = {.run = notes_start, .context = number(9999)};
    strait_task_id id;
    EXPECT(strait_pool_attach(late->pool, &parent, &options) == 0);
    EXPECT(strait_task_submit(parent, &task, NULL, &id) == 0);
    atomic_fetch_add(&late->ready->arrived, 1);
    EXPECT(strait_task_wait(parent, id, STRAIT_FOREVER) == 0);
    EXPECT(strait_parent_detach(parent, STRAIT_FOREVER) == 0);
    return NULL;
}

static void a_latecomer_does_not_wait_behind_a_queue(void **state)
{
    struct strait_pool *pool = pool_of(1, 1000);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct gate gate = {0};
    struct gate ready = {0};
    struct quarter late = {pool, &ready, 0};
    pthread_t thread;
    (void)state;
    starts_clear();
    submit(parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    for (unsigned i = 0; i < 1000; i++) {
        submit(parent, notes_start, number(i), NULL);
    }
    thread_start(&thread, submit_one_and_wait, &late);
    gate_await(&ready, 1);
    gate_open(&gate);
    thread_join(thread);
    assert_true(starts[0] == 9999 || starts[1] == 9999);
    leave_and_end(parent, pool);
}

/* ---- priorities ---- */

static void priorities_start_in_order(void **state)
{
    static const enum strait_priority order[] = {STRAIT_PRIORITY_HIGH, STRAIT_PRIORITY_NORMAL,
                                                 STRAIT_PRIORITY_LOW};
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct gate gate = {0};
    struct strait_group group = {0};
    (void)state;
    starts_clear();
    submit(parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    for (unsigned i = 0; i < 30; i++) { /* low, normal and high ones in turn */
        unsigned place = 2 - i % 3;
        struct strait_submit_options how = {.priority = order[place], .group = &group};
        submit(parent, notes_start, number(place * 10 + i / 3), &how);
    }
    gate_open(&gate);
    assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(starts[i], i);
    }
    leave_and_end(parent, pool);
}

static void low_tasks_leave_workers_for_others(void **state)
{
    struct strait_pool_options options = {
        .workers = 4, .low_limit = 3, .schedule = STRAIT_SCHEDULE_NORMAL};
    (void)state;
    for (unsigned limit = 3; limit > 0; limit--) {
        options.low_limit = limit == 2 ? 0 : limit; /* 0: half of them */
        struct strait_pool *pool = pool_new(&options);
        struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
        struct gate gate = {0};
        struct strait_group low_group = {0};
        struct strait_submit_options low = {.priority = STRAIT_PRIORITY_LOW, .group = &low_group};
        for (unsigned i = 0; i < 8; i++) {
            submit(parent, waits_at_gate, &gate, &low);
        }
        gate_await(&gate, limit);
        for (unsigned i = 0; i < 50; i++) {
            strait_task_id id = submit(parent, nothing, NULL, NULL);
            assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
        }
        assert_int_equal(gate.arrived, limit);
        gate_open(&gate);
        assert_returns(strait_group_wait(parent, &low_group, STRAIT_FOREVER), 0);
        leave_and_end(parent, pool);
    }
}

static void a_priority_must_be_one(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    const struct strait_submit_options bad[] = {
        {.priority = (enum strait_priority)3},
        {.worker = 2},
        {.start_by = -1},
        {.finish_by = -1},
    };
    struct strait_task task = {.run = nothing};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_returns(strait_task_submit(parent, &task, &bad[i], NULL), -EINVAL);
    }
    assert_int_equal(strait_parent_owed(parent), 0);
    leave_and_end(parent, pool);
}

/* ---- tasks for a given worker ---- */

static int notes_thread(struct strait_task *task)
{
    int32_t *thread = task->context;
    *thread = thread_number();
    return 0;
}

static void a_given_worker_runs_the_task(void **state)
{
    struct strait_pool *pool = pool_of(3, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    (void)state;
    for (unsigned i = 0; i < 90; i++) {
        struct strait_pool_worker_stats worker;
        struct strait_submit_options how = {.worker = 1 + i % 3,
                                            .priority = (enum strait_priority)(i / 3 % 3)};
        int32_t thread = 0;
        strait_task_id id = submit(parent, notes_thread, &thread, &how);
        assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
        assert_returns(strait_pool_worker_stats(pool, i % 3, &worker), 0);
        assert_int_equal(thread, worker.thread);
    }
    leave_and_end(parent, pool);
}

/* It waits for its worker, though others are idle, and holds up none. */
static void a_given_worker_is_waited_for(void **state)
{
    struct strait_pool *pool = pool_of(2, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct gate gate = {0};
    struct strait_submit_options first = {.worker = 1};
    int32_t thread = 0;
    (void)state;
    submit(parent, waits_at_gate, &gate, &first);
    gate_await(&gate, 1);
    strait_task_id id = submit(parent, notes_thread, &thread, &first);
    for (unsigned i = 0; i < 20; i++) {
        strait_task_id other = submit(parent, nothing, NULL, NULL);
        assert_returns(strait_task_wait(parent, other, STRAIT_FOREVER), 0);
    }
    assert_returns(strait_task_wait(parent, id, strait_deadline(1000000)), -ETIMEDOUT);
    assert_int_equal(thread, 0);
    gate_open(&gate);
    assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
    assert_true(thread != 0);
    leave_and_end(parent, pool);
}

/* ---- batches, and waiting for room ---- */

static void a_batch_is_taken_in_order(void **state)
{
    struct strait_pool *pool = pool_of(1, 10);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct gate gate = {0};
    struct strait_task tasks[16];
    strait_task_id ids[16] = {0};
    struct strait_pool_stats stats;
    (void)state;
    starts_clear();
    for (unsigned i = 0; i < 16; i++) {
        tasks[i] = (struct strait_task){.run = notes_start, .context = number(i)};
    }
    submit(parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    assert_returns(strait_task_submit_many(parent, tasks, 0, NULL, NULL), 0);
    assert_returns(strait_task_submit_many(parent, tasks, 4, NULL, NULL), 4);
    assert_returns(strait_task_submit_many(parent, tasks + 4, 12, NULL, ids), 6);
    assert_returns(strait_task_submit_many(parent, tasks + 10, 6, NULL, NULL), -EAGAIN);
    assert_true(ids[5] != 0 && ids[6] == 0);
    gate_open(&gate);
    assert_returns(strait_task_wait(parent, ids[5], STRAIT_FOREVER), 0);
    assert_int_equal(started, 10);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(starts[i], i);
    }
    tasks[1].run = NULL;
    strait_pool_stats(pool, &stats);
    uint64_t refused = stats.refused;
    assert_returns(strait_task_submit_many(parent, tasks, 2, NULL, NULL), 1);
    strait_pool_stats(pool, &stats);
    assert_int_equal(stats.refused, refused); /* not for want of room */
    assert_returns(strait_task_submit_many(parent, tasks + 1, 1, NULL, NULL), -EINVAL);
    leave_and_end(parent, pool);
}

static unsigned completed;

static void counts(struct strait_task *task)
{
    (void)task;
    completed++;
}

static void submit_wait_waits_for_room(void **state)
{
    static const enum strait_wait modes[] = {STRAIT_WAIT_PARK, STRAIT_WAIT_SPIN, STRAIT_WAIT_FD};
    (void)state;
    for (unsigned mode = 0; mode < 3; mode++) {
        struct strait_pool *pool = pool_of(1, 2);
        struct strait_parent *parent = parent_of(pool, modes[mode]);
        struct gate gate = {0};
        struct strait_task task = {.run = nothing, .done = counts};
        completed = 0;
        submit(parent, waits_at_gate, &gate, NULL);
        gate_await(&gate, 1);
        for (unsigned i = 0; i < 2; i++) {
            assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
        }
        assert_returns(strait_task_submit_wait(parent, &task, NULL, NULL, strait_deadline(1000000)),
                       -ETIMEDOUT);
        assert_returns(strait_task_submit_wait(parent, &task, NULL, NULL, 0), -ETIMEDOUT);
        assert_int_equal(strait_parent_owed(parent), 3);
        gate_open(&gate);
        for (unsigned i = 0; i < 500; i++) {
            assert_returns(strait_task_submit_wait(parent, &task, NULL, NULL, STRAIT_FOREVER), 0);
        }
        assert_true(completed > 400);
        assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
        assert_int_equal(completed, 502);
        pool_end(pool);
    }
}

/* ---- waiting for tasks and groups ---- */

static void waits_in_each_mode(void **state)
{
    static const enum strait_wait modes[] = {STRAIT_WAIT_PARK, STRAIT_WAIT_SPIN, STRAIT_WAIT_FD};
    (void)state;
    for (unsigned mode = 0; mode < 3; mode++) {
        struct strait_pool *pool = pool_of(2, 0);
        struct strait_parent *parent = parent_of(pool, modes[mode]);
        struct strait_group group = {0};
        struct strait_submit_options how = {.group = &group};
        struct gate gate = {0};
        assert_returns(strait_group_wait(parent, &group, 0), 0); /* of nothing */
        strait_task_id id = submit(parent, waits_at_gate, &gate, &how);
        submit(parent, nothing, NULL, &how);
        assert_int_equal(group.pending, 2);
        assert_returns(strait_task_wait(parent, id, strait_deadline(2000000)), -ETIMEDOUT);
        assert_returns(strait_group_wait(parent, &group, strait_deadline(2000000)), -ETIMEDOUT);
        assert_returns(strait_group_wait(parent, &group, 0), -ETIMEDOUT);
        gate_open(&gate);
        assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
        assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
        assert_int_equal(group.pending, 0);
        assert_returns(strait_task_wait(parent, id, 0), 0); /* it has completed */
        leave_and_end(parent, pool);
    }
}

static struct strait_parent *chain_parent;
static bool chain_over;

static void submits_the_next(struct strait_task *task)
{
    struct strait_task next = {.run = nothing, .done = submits_the_next};
    (void)task;
    for (unsigned i = 0; i < 50; i++) { /* slower than the worker */
        strait_pause();
    }
    if (!chain_over) {
        assert_returns(strait_task_submit(chain_parent, &next, NULL, NULL), 0);
    }
}

/* Enough of them that some have always completed. */
static void a_wait_ends_in_time_whatever_completes(void **state)
{
    struct strait_pool *pool = pool_of(2, 1024);
    struct strait_task link = {.run = nothing, .done = submits_the_next};
    struct gate gate = {0};
    (void)state;
    chain_parent = parent_of(pool, STRAIT_WAIT_PARK);
    chain_over = false;
    strait_task_id id = submit(chain_parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    for (unsigned i = 0; i < 1000; i++) {
        assert_returns(strait_task_submit(chain_parent, &link, NULL, NULL), 0);
    }
    assert_returns(strait_task_wait(chain_parent, id, strait_deadline(5000000)), -ETIMEDOUT);
    chain_over = true;
    gate_open(&gate);
    leave_and_end(chain_parent, pool);
}

static void cancelling_a_group_harms_no_other(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct strait_group doomed = {0};
    struct strait_group spared = {0};
    struct strait_submit_options first = {.group = &doomed};
    struct strait_submit_options second = {.group = &spared};
    struct gate gate = {0};
    (void)state;
    starts_clear();
    submit(parent, until_cancelled, &gate, &first);
    gate_await(&gate, 1);
    for (unsigned i = 0; i < 20; i++) {
        submit(parent, notes_start, number(i), i % 2 ? &first : &second);
    }
    assert_int_equal(strait_group_cancel(parent, &doomed), 10); /* and the one that runs is told */
    assert_int_equal(doomed.pending, 11);
    assert_returns(strait_group_wait(parent, &doomed, STRAIT_FOREVER), 0);
    assert_returns(strait_group_wait(parent, &spared, STRAIT_FOREVER), 0);
    assert_int_equal(started, 10);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(starts[i], 2 * i);
    }
    assert_int_equal(strait_group_cancel(parent, &doomed), 0);
    leave_and_end(parent, pool);
}

/* ---- room ---- */

static unsigned told_of_room;

static void notes_room(struct strait_parent *parent, void *context)
{
    (void)parent;
    (void)context;
    told_of_room++;
}

/* A parent with a queue of four, whose one worker waits at another parent's gate. */
struct queue {
    struct strait_pool *pool;
    struct strait_parent *other;
    struct strait_parent *parent;
    struct gate gate;
};

static void queue_init(struct queue *queue, size_t low_water)
{
    struct strait_parent_options options = {.room = notes_room, .low_water = low_water};
    *queue = (struct queue){.pool = pool_of(1, 4)};
    queue->other = parent_of(queue->pool, STRAIT_WAIT_PARK);
    assert_returns(strait_pool_attach(queue->pool, &queue->parent, &options), 0);
    told_of_room = 0;
    submit(queue->other, waits_at_gate, &queue->gate, NULL);
    gate_await(&queue->gate, 1);
}

static void queue_end(struct queue *queue)
{
    assert_returns(strait_parent_detach(queue->other, STRAIT_FOREVER), 0);
    leave_and_end(queue->parent, queue->pool);
}

static void fill(struct strait_parent *parent)
{
    struct strait_task task = {.run = nothing};
    while (strait_task_submit(parent, &task, NULL, NULL) == 0) {
    }
}

/* When a worker takes a task, not when it is done with it, whatever was cancelled meanwhile. */
static void room_is_told_as_soon_as_there_is_some(void **state)
{
    struct queue queue;
    struct gate gate = {0};
    (void)state;
    queue_init(&queue, 3);
    submit(queue.parent, waits_at_gate, &gate, NULL);
    for (unsigned i = 0; i < 2; i++) {
        strait_task_id id = submit(queue.parent, nothing, NULL, NULL);
        assert_returns(strait_task_cancel(queue.parent, id), 0);
    }
    fill(queue.parent);
    assert_returns(strait_parent_dispatch(queue.parent, 0), 2);
    assert_int_equal(told_of_room, 0);
    gate_open(&queue.gate);
    while (told_of_room == 0) {
        assert_true(readable(strait_parent_fd(queue.parent), 20000));
        assert_returns(strait_parent_dispatch(queue.parent, 0), 0);
    }
    gate_open(&gate);
    queue_end(&queue);
}

/* Whoever waits for room by itself has not asked to be told of it, nor changed what it has asked.
 */
static void waiting_for_room_asks_for_no_telling(void **state)
{
    struct strait_task task = {.run = nothing};
    (void)state;
    for (unsigned refused = 0; refused < 2; refused++) {
        struct queue queue;
        struct gate gates[4] = {0};
        queue_init(&queue, 1);
        for (unsigned i = 0; i < 4; i++) {
            submit(queue.parent, waits_at_gate, &gates[i], NULL);
        }
        if (refused) {
            assert_returns(strait_task_submit(queue.parent, &task, NULL, NULL), -EAGAIN);
        }
        assert_returns(
            strait_task_submit_wait(queue.parent, &task, NULL, NULL, strait_deadline(1000000)),
            -ETIMEDOUT);
        gate_open(&queue.gate);
        for (unsigned i = 0; i < 4; i++) { /* so many have been claimed, and one more */
            gate_await(&gates[i], 1);
            assert_true(strait_parent_dispatch(queue.parent, 0) >= 0);
            assert_int_equal(told_of_room, refused && i >= 2);
            gate_open(&gates[i]);
        }
        queue_end(&queue);
    }
}

/* Long tasks hold slots in the midst of the ring; the rest is filled with cancelled ones. */
static void waiting_ends_in_time_when_no_slot_can_be_reached(void **state)
{
    struct strait_pool *pool = pool_of(3, 41); /* its slots are 127, the ring's 128 */
    struct strait_parent *other = parent_of(pool, STRAIT_WAIT_PARK);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct strait_task task = {.run = nothing};
    struct gate first = {0};
    struct gate gate = {0};
    strait_task_id id;
    (void)state;
    submit(parent, waits_at_gate, &first, NULL);
    gate_await(&first, 1);
    for (unsigned i = 0; i < 10; i++) {
        id = submit(parent, nothing, NULL, NULL);
        assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        submit(other, waits_at_gate, &gate, NULL);
    }
    gate_await(&gate, 2);
    submit(other, waits_at_gate, &gate, NULL);
    for (unsigned round = 0; round < 2; round++) {
        while (strait_task_submit(parent, &task, NULL, &id) == 0) {
            assert_returns(strait_task_cancel(parent, id), 0);
        }
        if (round == 0) {
            gate_open(&first);
            gate_await(&gate, 3);
        }
        while (strait_parent_owed(parent) > 0) {
            assert_true(strait_parent_poll(parent, 0) >= 0);
        }
    }
    assert_returns(strait_task_submit_wait(parent, &task, NULL, &id, strait_deadline(1000000)),
                   -ETIMEDOUT);
    gate_open(&gate);
    assert_returns(strait_task_submit_wait(parent, &task, NULL, &id, STRAIT_FOREVER), 0);
    assert_returns(strait_parent_detach(other, STRAIT_FOREVER), 0);
    leave_and_end(parent, pool);
}

static void a_dispatch_does_not_wait_for_a_pool_that_drains(void **state)
{
    struct queue queue;
    (void)state;
    queue_init(&queue, 3);
    fill(queue.parent);
    assert_returns(strait_pool_close(queue.pool, STRAIT_CLOSE_DRAIN, 0, NULL), -ETIMEDOUT);
    assert_returns(strait_parent_dispatch(queue.parent, 0), 0);
    assert_int_equal(told_of_room, 0);
    gate_open(&queue.gate);
    queue_end(&queue);
}

/* ---- deadlines ---- */

static enum strait_task_status last_status;
static int last_code;

static void notes_status(struct strait_task *task)
{
    last_status = task->status;
    last_code = task->code;
    completed++;
}

static strait_task_id submit_dated(struct strait_parent *parent, strait_run_fn *run, void *context,
                                   int64_t start_by, int64_t finish_by)
{
    struct strait_task task = {.run = run, .done = notes_status, .context = context};
    struct strait_submit_options how = {.start_by = start_by, .finish_by = finish_by};
    strait_task_id id;
    assert_returns(strait_task_submit(parent, &task, &how, &id), 0);
    return id;
}

static void a_task_that_is_too_late_does_not_run(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    (void)state;
    starts_clear();
    for (unsigned i = 0; i < 2; i++) {
        strait_task_id id = submit_dated(parent, notes_start, NULL, i ? 1 : 0, i ? 0 : 1);
        assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
        assert_int_equal(last_status, STRAIT_TASK_EXPIRED);
        assert_int_equal(last_code, -ETIMEDOUT);
    }
    assert_int_equal(started, 0);
    leave_and_end(parent, pool);
}

static void dispatch_until_told(struct strait_parent *parent)
{
    while (completed == 0) {
        assert_true(readable(strait_parent_fd(parent), 20000));
        assert_true(strait_parent_dispatch(parent, 0) >= 0);
    }
    assert_int_equal(last_status, STRAIT_TASK_EXPIRED);
}

/* The loop hears of it when it happens, not when the worker is free again. */
static void a_waiting_task_expires_on_time(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_FD);
    struct gate gate = {0};
    (void)state;
    starts_clear();
    completed = 0;
    submit(parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    int64_t due = strait_deadline(3000000);
    submit_dated(parent, notes_start, NULL, due, 0);
    dispatch_until_told(parent);
    assert_true(strait_now() >= due);
    gate_open(&gate);
    leave_and_end(parent, pool);
    assert_int_equal(started, 0);
}

/* Whatever the loop was waiting for before. */
static void a_task_late_from_the_start_is_told_at_once(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_FD);
    struct gate gate = {0};
    (void)state;
    starts_clear();
    submit(parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    submit_dated(parent, notes_start, NULL, strait_deadline(INT64_C(3600000000000)), 0);
    for (unsigned i = 0; i < 2; i++) {
        completed = 0;
        submit_dated(parent, notes_start, NULL, 1, 0);
        dispatch_until_told(parent);
    }
    gate_open(&gate);
    leave_and_end(parent, pool);
}

static int64_t busy_until;

static void stays_busy(struct strait_task *task)
{
    (void)task;
    while (strait_now() < busy_until) {
    }
}

/* It is in a completion when the deadline passes that the keeper waits for. */
static void a_deadline_that_passes_unheard_hides_no_later_one(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_FD);
    struct gate gate = {0};
    int64_t now = strait_now();
    struct strait_task met = {.run = nothing, .done = stays_busy};
    struct strait_submit_options how = {.start_by = now + 50000000};
    (void)state;
    completed = 0;
    busy_until = how.start_by + 5000000;
    assert_returns(strait_task_submit(parent, &met, &how, NULL), 0);
    submit(parent, waits_at_gate, &gate, NULL);
    submit_dated(parent, nothing, NULL, busy_until + 10000000, 0);
    dispatch_until_told(parent);
    gate_open(&gate);
    leave_and_end(parent, pool);
}

static void a_parent_knows_nothing_of_deadlines_before_it(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *before = parent_of(pool, STRAIT_WAIT_FD);
    struct gate gate = {0};
    int64_t due = strait_deadline(10000000);
    (void)state;
    strait_task_id id = submit_dated(before, nothing, NULL, due, 0);
    assert_returns(strait_task_wait(before, id, STRAIT_FOREVER), 0);
    assert_returns(strait_parent_detach(before, STRAIT_FOREVER), 0);
    sleep_ns(20000000);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_FD);
    assert_ptr_equal(parent, before);
    completed = 0;
    submit(parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    submit_dated(parent, nothing, NULL, strait_deadline(3000000), 0);
    dispatch_until_told(parent);
    gate_open(&gate);
    leave_and_end(parent, pool);
}

/* The loop dispatches before the keeper has rung. */
static void a_budget_leaves_an_expired_task_to_the_fd(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_FD);
    struct gate gate = {0};
    (void)state;
    completed = 0;
    submit(parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    for (unsigned i = 0; i < 20; i++) {
        int64_t due = strait_deadline(1000000);
        submit_dated(parent, nothing, NULL, due, 0);
        submit_dated(parent, nothing, NULL, due, 0);
        while (strait_now() < due) {
        }
        while (strait_parent_owed(parent) > 1) {
            assert_true(strait_parent_dispatch(parent, 1) >= 0);
            assert_true(readable(strait_parent_fd(parent), 20000));
        }
    }
    assert_int_equal(completed, 40);
    gate_open(&gate);
    leave_and_end(parent, pool);
}

static void a_running_task_is_told_that_its_time_is_over(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_FD);
    struct gate gate = {0};
    (void)state;
    completed = 0;
    submit_dated(parent, until_cancelled, &gate, 0, strait_deadline(3000000));
    dispatch_until_told(parent);
    assert_true(gate.arrived == 1 ? last_code == -ECANCELED : last_code == -ETIMEDOUT);
    leave_and_end(parent, pool);
}

static int until_told_but_succeeds(struct strait_task *task)
{
    until_cancelled(task);
    return 0;
}

static void a_late_result_counts(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct gate gate = {0};
    (void)state;
    do { /* unless it was so late that it never ran */
        strait_task_id id =
            submit_dated(parent, until_told_but_succeeds, &gate, 0, strait_deadline(20000000));
        assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
    } while (gate.arrived == 0);
    assert_int_equal(last_status, STRAIT_TASK_DONE);
    leave_and_end(parent, pool);
}

static void a_task_in_time_is_left_alone(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct gate gate = {0};
    int64_t due = strait_deadline(50000000);
    (void)state;
    strait_task_id id = submit_dated(parent, waits_at_gate, &gate, due, 0);
    gate_await(&gate, 1);
    while (strait_now() < due + 2000000) {
        assert_returns(strait_parent_poll(parent, 0), 0);
        sleep_ns(1000000);
    }
    gate_open(&gate);
    assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
    assert_int_equal(last_status, STRAIT_TASK_DONE);
    leave_and_end(parent, pool);
}

/* ---- tasks within tasks ---- */

static int fibonacci(struct strait_task *task)
{
    unsigned n;
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    struct strait_parent *self = strait_parent_current();
    unsigned results[2] = {0, 0};
    memcpy(&n, task->data, sizeof(n));
    unsigned *result = task->context;
    if (n < 2) {
        *result = n;
        return 0;
    }
    EXPECT(self != NULL && self == strait_parent_current());
    for (unsigned i = 0; i < 2; i++) {
        struct strait_task child = {.run = fibonacci, .context = &results[i]};
        unsigned m = n - 1 - i;
        memcpy(child.data, &m, sizeof(m));
        EXPECT(strait_task_submit(self, &child, &how, NULL) == 0);
    }
    int64_t never = strait_deadline(INT64_C(3600000000000)); /* it helps all the same */
    EXPECT(strait_group_wait(self, &group, n % 2 ? never : STRAIT_FOREVER) == 0);
    *result = results[0] + results[1];
    return 0;
}

static void tasks_may_wait_for_their_own(void **state)
{
    (void)state;
    assert_null(strait_parent_current());
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct strait_pool *pool = pool_of(workers, 0);
        struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
        unsigned result = 0;
        unsigned n = 12;
        struct strait_task task = {.run = fibonacci, .context = &result};
        strait_task_id id;
        memcpy(task.data, &n, sizeof(n));
        assert_returns(strait_task_submit(parent, &task, NULL, &id), 0);
        assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
        assert_int_equal(result, 144);
        leave_and_end(parent, pool);
    }
}

struct relay {
    int32_t thread;
    _Atomic unsigned left;
};

static void passes_on(struct strait_task *task)
{
    struct relay *relay = task->context;
    EXPECT(thread_number() == relay->thread);
    if (atomic_fetch_sub(&relay->left, 1) > 1) {
        struct strait_task next = {.run = nothing, .done = passes_on, .context = relay};
        EXPECT(strait_task_submit(strait_parent_current(), &next, NULL, NULL) == 0);
        EXPECT(strait_task_wait(strait_parent_current(), 1, 0) == -EDEADLK);
    }
}

/* Does not wait for them: they go on when it has ended. */
static int starts_relay(struct strait_task *task)
{
    struct relay *relay = task->context;
    struct strait_task first = {.run = nothing, .done = passes_on, .context = relay};
    relay->thread = thread_number();
    EXPECT(strait_task_submit(strait_parent_current(), &first, NULL, NULL) == 0);
    return 0;
}

static void completions_run_on_the_worker_that_submitted(void **state)
{
    struct strait_pool *pool = pool_of(2, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct relay relay = {.left = 300};
    (void)state;
    submit(parent, starts_relay, &relay, NULL);
    while (atomic_load(&relay.left) > 0) {
        sleep_ns(GATE_NAP_NS);
    }
    leave_and_end(parent, pool);
}

/* ---- attach and detach ---- */

static void a_parent_says_what_it_is(void **state)
{
    struct strait_pool *pool = pool_of(1, 4);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct strait_parent *other = NULL;
    const struct strait_parent_options bad[] = {
        {.wait = (enum strait_wait)9}, {.low_water = 4}, {.low_water = SIZE_MAX}};
    (void)state;
    assert_returns(strait_parent_fd(parent), -EINVAL);
    assert_int_equal(strait_parent_owed(parent), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_returns(strait_pool_attach(pool, &other, &bad[i]), -EINVAL);
    }
    assert_returns(strait_parent_detach(NULL, 0), 0);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_pool_attach(pool, &other, NULL), -EPIPE);
    assert_returns(strait_pool_destroy(pool), -EBUSY);
    assert_returns(strait_parent_detach(parent, 0), 0);
    assert_returns(strait_pool_destroy(pool), 0);
}

static _Atomic unsigned abandoned;
static _Atomic int32_t abandoned_on;

static void notes_abandoned(struct strait_task *task)
{
    EXPECT(task->status == STRAIT_TASK_ABANDONED);
    atomic_store(&abandoned_on, thread_number());
    atomic_fetch_add(&abandoned, 1);
}

/* What waits is abandoned at once; what runs completes on the pool's own thread. */
static void completions_of_a_parent_that_left_are_released(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_FD);
    struct gate gate = {0};
    struct strait_task task = {.run = waits_at_gate, .done = notes_abandoned, .context = &gate};
    (void)state;
    atomic_store(&abandoned, 0);
    starts_clear();
    assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
    gate_await(&gate, 1);
    task.run = notes_start;
    for (unsigned i = 0; i < 5; i++) {
        assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
    }
    assert_returns(strait_parent_detach(parent, strait_deadline(1000000)), 1);
    assert_int_equal(abandoned, 5);
    assert_int_equal(abandoned_on, thread_number());
    gate_open(&gate);
    while (atomic_load(&abandoned) < 6) {
        sleep_ns(GATE_NAP_NS);
    }
    assert_true(abandoned_on != thread_number());
    assert_int_equal(started, 0);
    pool_end(pool);
}

/* Also one around which the others have gone several times. */
static void a_parent_that_leaves_tells_old_tasks(void **state)
{
    struct strait_pool *pool = pool_of(2, 4);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct gate gate = {0};
    (void)state;
    submit(parent, until_cancelled, &gate, NULL);
    gate_await(&gate, 1);
    for (unsigned i = 0; i < 1000; i++) {
        strait_task_id id = submit(parent, nothing, NULL, NULL);
        assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
    }
    leave_and_end(parent, pool);
}

static void a_parent_that_leaves_tells_its_tasks(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct gate gate = {0};
    (void)state;
    submit(parent, until_cancelled, &gate, NULL);
    gate_await(&gate, 1);
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    pool_end(pool);
}

static void parents_come_and_go(void **state)
{
    struct strait_pool *pool = pool_of(1, 1);
    struct strait_parent *parents[STRAIT_PARENTS_MAX];
    struct strait_parent *one_more = NULL;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    struct strait_pool_stats stats;
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < STRAIT_PARENTS_MAX; i++) {
            parents[i] = parent_of(pool, STRAIT_WAIT_PARK);
        }
        assert_returns(strait_pool_attach(pool, &one_more, &options), -EUSERS);
        strait_pool_stats(pool, &stats);
        assert_int_equal(stats.parents, STRAIT_PARENTS_MAX);
        strait_task_id id = submit(parents[round * 100], nothing, NULL, NULL);
        assert_returns(strait_task_wait(parents[round * 100], id, STRAIT_FOREVER), 0);
        for (unsigned i = 0; i < STRAIT_PARENTS_MAX; i++) {
            assert_returns(strait_parent_detach(parents[i], STRAIT_FOREVER), 0);
        }
    }
    pool_end(pool);
}

/* A loop may watch the fd before it ever dispatches, also where another had the place before. */
static void a_reused_parents_fd_tells(void **state)
{
    struct strait_pool *pool = pool_of(1, 0);
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_FD);
        assert_false(readable(strait_parent_fd(parent), 0));
        submit(parent, nothing, NULL, NULL);
        assert_true(readable(strait_parent_fd(parent), 20000));
        if (i % 2) {
            assert_returns(strait_parent_dispatch(parent, 0), 1);
        }
        assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    }
    pool_end(pool);
}

static void a_thread_may_leave_at_once(void **state)
{
    struct strait_pool *pool = pool_of(2, 0);
    (void)state;
    starts_clear();
    for (unsigned i = 0; i < 100; i++) {
        pthread_t thread;
        thread_start(&thread, submit_one, pool);
        thread_join(thread);
    }
    pool_end(pool);
    assert_true(started <= 100);
}

/* ---- memory ---- */

#if TEST_ASAN || TEST_TSAN
static size_t memory_in_use(void)
{
    return 0;
}
#else
static size_t memory_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
#endif

static void tasks_allocate_nothing(void **state)
{
    struct strait_pool *pool = pool_of(2, 64);
    struct strait_parent *parent = parent_of(pool, STRAIT_WAIT_PARK);
    struct strait_group group = {0};
    size_t before = 0;
    (void)state;
    for (unsigned i = 0; i < 5000; i++) {
        struct strait_submit_options how = {.group = &group,
                                            .priority = (enum strait_priority)(i % 3),
                                            .worker = i % 5 < 3 ? i % 5 : 0,
                                            .finish_by = i % 7 ? 0 : strait_deadline(100000)};
        struct strait_task task = {.run = nothing};
        assert_returns(strait_task_submit_wait(parent, &task, &how, NULL, STRAIT_FOREVER), 0);
        if (i == 1000) {
            before = memory_in_use();
        }
    }
    assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
    assert_int_equal(memory_in_use(), before);
    leave_and_end(parent, pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(four_parents_take_turns),
        life_test(a_latecomer_does_not_wait_behind_a_queue),
        life_test(priorities_start_in_order),
        life_test(low_tasks_leave_workers_for_others),
        life_test(a_priority_must_be_one),
        life_test(a_given_worker_runs_the_task),
        life_test(a_given_worker_is_waited_for),
        life_test(a_batch_is_taken_in_order),
        life_test(submit_wait_waits_for_room),
        life_test(waits_in_each_mode),
        life_test(a_wait_ends_in_time_whatever_completes),
        life_test(cancelling_a_group_harms_no_other),
        life_test(room_is_told_as_soon_as_there_is_some),
        life_test(waiting_for_room_asks_for_no_telling),
        life_test(waiting_ends_in_time_when_no_slot_can_be_reached),
        life_test(a_dispatch_does_not_wait_for_a_pool_that_drains),
        life_test(a_task_that_is_too_late_does_not_run),
        life_test(a_waiting_task_expires_on_time),
        life_test(a_task_late_from_the_start_is_told_at_once),
        life_test(a_deadline_that_passes_unheard_hides_no_later_one),
        life_test(a_parent_knows_nothing_of_deadlines_before_it),
        life_test(a_budget_leaves_an_expired_task_to_the_fd),
        life_test(a_running_task_is_told_that_its_time_is_over),
        life_test(a_late_result_counts),
        life_test(a_task_in_time_is_left_alone),
        life_test(tasks_may_wait_for_their_own),
        life_test(completions_run_on_the_worker_that_submitted),
        life_test(a_parent_says_what_it_is),
        life_test(completions_of_a_parent_that_left_are_released),
        life_test(a_parent_that_leaves_tells_its_tasks),
        life_test(a_parent_that_leaves_tells_old_tasks),
        life_test(parents_come_and_go),
        life_test(a_reused_parents_fd_tells),
        life_test(a_thread_may_leave_at_once),
        life_test(tasks_allocate_nothing),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("pool_parent", tests, NULL, NULL);
}
