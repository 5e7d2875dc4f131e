/* SPDX-License-Identifier: MIT */
/* The pool from the outside: options, submitting, the order of starts, completions, room. */
#include "fixture.h"

/* ---- options ---- */

static void bad_pool_options_leave_nothing(void)
{
    static const int wrong[] = {-1, CPU_SETSIZE, INT32_MAX};
    int cpu = sched_getcpu();
    struct {
        struct strait_pool_options options;
        char tail[16];
    } newer = {.options = {.size = sizeof(newer)}, .tail = {0, 0, 1}};
    const struct strait_pool_options bad[] = {
        {.workers = STRAIT_POOL_WORKERS_MAX + 1},
        {.workers = 3, .workers_max = 2},
        {.workers_max = STRAIT_POOL_WORKERS_MAX + 1},
        {.workers_max = 2, .idle_timeout = -1},
        {.queue_limit = STRAIT_QUEUE_LIMIT_MAX + 1},
        {.wait = STRAIT_WAIT_FD},
        {.wait = (enum strait_wait)99},
        {.nice = 20},
        {.nice = -1},
        {.schedule = (enum strait_schedule)99},
        {.pin = (enum strait_pin)99},
        {.name = "a name too long for it"},
        {.stack_size = 1},
        {.cpus = &cpu},
        {.cpu_count = 1},
        {.pin = STRAIT_PIN_CPU},
        {.pin = STRAIT_PIN_SET},
        {.pin = STRAIT_PIN_CPU, .cpus = &wrong[0], .cpu_count = 1},
        {.pin = STRAIT_PIN_CPU, .cpus = &wrong[1], .cpu_count = 1},
        {.pin = STRAIT_PIN_SET, .cpus = &wrong[2], .cpu_count = 1},
    };
    struct strait_pool *pool = NULL;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_returns(strait_pool_create(&pool, &bad[i]), -EINVAL);
    }
    assert_returns(strait_pool_create(&pool, &newer.options), -EINVAL);
    assert_null(pool);
}

static void bad_submits_take_nothing(void)
{
    const struct strait_submit_options bad[] = {
        {.priority = (enum strait_priority)2}, {.start_by = -1}, {.finish_by = -1}};
    OPEN(.workers = 1);
    assert_int_equal(try_submit(NULL, 0, NULL), -EINVAL);
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(try_submit(runs, 0, &bad[i]), -EINVAL);
    }
    assert_int_equal(strait_parent_owed(here.parent), 0);
    assert_int_equal(pool_stats().submitted, 0);
    close_pool();
}

/* ---- each task completes once ---- */

static void complete_all(unsigned workers, enum strait_wait wait, enum strait_wait parent)
{
    open_pool(&(struct strait_pool_options){.workers = workers, .wait = wait},
              &(struct strait_parent_options){.wait = parent});
    for (unsigned i = 0; i < 1500; i++) {
        while (try_submit(runs, i, NULL) == -EAGAIN) {
            collect();
        }
    }
    settle();
    assert_ended(0, 1500, STRAIT_TASK_DONE, 1);
    if (workers == 1) {
        assert_started_in_order(0, 1500);
    }
    close_pool();
}

static void any_number_of_workers_completes_each_task_once(void)
{
    complete_all(1, STRAIT_WAIT_PARK, STRAIT_WAIT_PARK);
    complete_all(2, STRAIT_WAIT_PARK, STRAIT_WAIT_FD);
    complete_all(2, STRAIT_WAIT_SPIN, STRAIT_WAIT_SPIN);
    complete_all(8, STRAIT_WAIT_PARK, STRAIT_WAIT_DEFAULT);
    complete_all(70, STRAIT_WAIT_PARK, STRAIT_WAIT_FD);
}

static int32_t main_thread;

static void done_on_main(struct strait_task *task)
{
    EXPECT(thread_number() == main_thread);
    note_done(task);
}

static void completions_run_when_the_parent_lets_them(void)
{
    OPEN(.workers = 2);
    main_thread = thread_number();
    for (unsigned i = 0; i < 50; i++) {
        struct strait_task task = numbered(runs, i, NULL);
        task.done = i % 5 ? done_on_main : NULL;
        submit_task(&task, NULL);
    }
    await_starts(50);
    assert_int_equal(seen.ends, 0);
    assert_int_equal(strait_parent_owed(here.parent), 50);
    close_pool();
    assert_int_equal(seen.ends, 40);
}

/* ---- what a task brings and leaves ---- */

static int turns_data_round(struct strait_task *task)
{
    for (unsigned i = 0; i < STRAIT_TASK_DATA; i++) {
        task->data[i] ^= 0xff;
    }
    return 0;
}

static void finds_data_turned_round(struct strait_task *task)
{
    unsigned *round = task->context;
    for (unsigned i = 0; i < STRAIT_TASK_DATA; i++) {
        EXPECT((task->data[i] ^ 0xff) == (unsigned char)(*round + i * 7));
    }
    EXPECT(((uintptr_t)task->data & 7) == 0 && strcmp(task->name, "data") == 0);
    (*round)++;
}

static void data_travels_in_and_out(void)
{
    unsigned round = 0;
    OPEN(.workers = 1, .queue_limit = 3);
    for (unsigned n = 1; n < 300; n++) {
        struct strait_task task = {.run = turns_data_round,
                                   .done = finds_data_turned_round,
                                   .context = &round,
                                   .name = "data"};
        for (unsigned i = 0; i < STRAIT_TASK_DATA; i++) {
            task.data[i] = (unsigned char)(round + i * 7);
        }
        submit_task(&task, NULL);
        memset(&task, 0xee, sizeof(task)); /* the pool has a copy */
        settle();
        assert_int_equal(round, n);
    }
    close_pool();
}

static const struct {
    int returned;
    enum strait_task_status status;
} results[] = {
    {0, STRAIT_TASK_DONE},
    {1, STRAIT_TASK_FAILED},
    {INT32_MIN, STRAIT_TASK_FAILED},
    {-ETIMEDOUT, STRAIT_TASK_FAILED},
    {-ECANCELED, STRAIT_TASK_CANCELLED},
};

static int returns_its_result(struct strait_task *task)
{
    runs(task);
    return results[number_of(task)].returned;
}

static void the_result_becomes_the_status(void)
{
    OPEN(.workers = 1);
    submit_some(returns_its_result, 0, COUNT(results), NULL);
    settle();
    for (unsigned i = 0; i < COUNT(results); i++) {
        assert_ended(i, 1, results[i].status, 1);
        assert_int_equal(seen.code[i], results[i].returned);
    }
    close_pool();
}

static void ids_name_one_task_for_ever(void)
{
    enum { IDS = 200 };
    static strait_task_id ids[IDS];
    OPEN(.workers = 1, .queue_limit = 2);
    for (unsigned i = 0; i < IDS; i++) { /* few places: each is used again and again */
        struct strait_submit_options how = {.priority = (enum strait_priority)(i % 2)};
        ids[i] = submit(runs, i, &how);
        settle();
        assert_true(ids[i] != 0);
        for (unsigned j = 0; j < i; j++) {
            assert_true(ids[i] != ids[j]);
            assert_int_equal(strait_task_cancel(here.parent, ids[j]), -ENOENT);
        }
    }
    assert_returns(strait_task_cancel(here.parent, 0), -ENOENT);
    assert_returns(strait_task_cancel(here.parent, UINT64_MAX), -ENOENT);
    close_pool();
}

/* ---- which starts next, and where ---- */

/* Each priority has a queue of its own, and a limit. */
static void high_tasks_start_before_normal_ones(void)
{
    struct strait_submit_options high = {.priority = STRAIT_PRIORITY_HIGH};
    OPEN(.workers = 1, .queue_limit = 20);
    hold(1);
    for (unsigned i = 0; i < 20; i++) {
        submit(runs, 20 + i, NULL);
        submit(runs, i, &high);
    }
    assert_int_equal(try_submit(runs, 99, &high), -EAGAIN);
    assert_int_equal(try_submit(runs, 99, NULL), -EAGAIN);
    close_pool();
    assert_started_in_order(0, 40);
}

/* The k-th task of each parent is among the k-th four that start. */
static void parents_take_turns(void)
{
    enum { EACH = 200 };
    struct strait_parent *parents[4];
    OPEN(.workers = 1);
    hold(1);
    for (unsigned p = 0; p < 4; p++) {
        assert_returns(strait_pool_attach(here.pool, &parents[p], NULL), 0);
        for (unsigned i = 0; i < EACH; i++) {
            struct strait_task task = numbered(runs, p * EACH + i, NULL);
            assert_returns(strait_task_submit(parents[p], &task, NULL, NULL), 0);
        }
    }
    release();
    for (unsigned p = 0; p < 4; p++) {
        leave(parents[p]);
        for (unsigned i = 0; i < EACH; i++) {
            unsigned start = seen.started[p * EACH + i] - 1;
            assert_true(start >= 4 * i && start < 4 * i + 4);
        }
    }
    close_pool();
}

/* A task never waits while a worker is idle: a burst needs every worker, each time anew, submitted
 * one by one or at once. Short tasks before it wake some that come too late. */
static void a_burst_starts_on_every_worker(void)
{
    static const struct {
        unsigned workers;
        size_t rounds;
        enum strait_schedule schedule;
    } bursts[] = {{2, 300, STRAIT_SCHEDULE_NORMAL},
                  {8, 100, STRAIT_SCHEDULE_NORMAL},
                  {70, 10, STRAIT_SCHEDULE_NORMAL}, /* more than one word has bits */
                  {4, 30, STRAIT_SCHEDULE_IDLE}};
    struct strait_task tasks[70];
    for (size_t k = 0; k < COUNT(bursts); k++) {
        OPEN(.workers = bursts[k].workers, .schedule = bursts[k].schedule);
        for (unsigned i = 0; i < bursts[k].workers; i++) {
            tasks[i] = numbered(runs_at_gate, i, &here.gate);
        }
        for (unsigned round = 0; round < scaled(bursts[k].rounds); round++) {
            submit_some(runs, 100, round % 5, NULL);
            settle();
            hold(bursts[k].workers);
            release();
            settle();
            shut_gate();
            assert_int_equal(
                strait_task_submit_many(here.parent, tasks, bursts[k].workers, NULL, NULL),
                bursts[k].workers);
            gate_await(&here.gate, bursts[k].workers);
            release();
            settle();
        }
        close_pool();
    }
}

/* ---- room ---- */

static void the_queue_limit_is_exact(void)
{
    static const unsigned limits[] = {1, 2, 3, 64, 100};
    for (unsigned k = 0; k < 2 * COUNT(limits); k++) {
        unsigned workers = 1 + k % 2;
        unsigned limit = limits[k / 2];
        OPEN(.workers = workers, .queue_limit = limit);
        hold(workers);
        for (unsigned i = 0; i < limit; i++) {
            submit(runs, i, NULL);
            assert_int_equal(pool_stats().queued, i + 1);
        }
        assert_int_equal(try_submit(runs, 0, NULL), -EAGAIN);
        struct strait_pool_stats stats = pool_stats();
        assert_int_equal(stats.refused, 1);
        assert_int_equal(stats.queued_max, limit);
        assert_int_equal(stats.queue_limit, limit);
        assert_int_equal(stats.running, workers);
        close_pool();
        assert_ended(0, limit, STRAIT_TASK_DONE, 1);
    }
}

static void completions_that_nobody_takes_refuse_more(void)
{
    unsigned taken = 0;
    OPEN(.workers = 1, .queue_limit = 4);
    for (int patience = 0; patience < 100 && taken < NUMBERS; patience++) {
        while (taken < NUMBERS && try_submit(runs, taken, NULL) == 0) {
            taken++;
            patience = 0;
        }
        sleep_ns(MS / 10);
    }
    close_pool();
    assert_ended(0, taken, STRAIT_TASK_DONE, 1);
    assert_true(taken >= 320 && taken < NUMBERS);
}

static void a_batch_is_taken_in_order(void)
{
    struct strait_task tasks[16];
    strait_task_id ids[16] = {0};
    OPEN(.workers = 1, .queue_limit = 10);
    for (unsigned i = 0; i < 16; i++) {
        tasks[i] = numbered(runs, i, NULL);
    }
    hold(1);
    assert_returns(strait_task_submit_many(here.parent, tasks, 0, NULL, NULL), 0);
    assert_returns(strait_task_submit_many(here.parent, tasks, 4, NULL, NULL), 4);
    assert_returns(strait_task_submit_many(here.parent, tasks + 4, 12, NULL, ids), 6);
    assert_returns(strait_task_submit_many(here.parent, tasks + 10, 6, NULL, NULL), -EAGAIN);
    assert_true(ids[5] != 0 && ids[5] != ids[4] && ids[6] == 0);
    release();
    assert_returns(strait_task_wait(here.parent, ids[5], STRAIT_FOREVER), 0);
    assert_ended(0, 10, STRAIT_TASK_DONE, 1);
    assert_started_in_order(0, 10);
    settle();
    tasks[11].run = NULL;
    uint64_t refused = pool_stats().refused;
    assert_returns(strait_task_submit_many(here.parent, tasks + 10, 2, NULL, NULL), 1);
    assert_returns(strait_task_submit_many(here.parent, tasks + 11, 1, NULL, NULL), -EINVAL);
    assert_int_equal(pool_stats().refused, refused); /* not for want of room */
    close_pool();
}

static void submit_wait_waits_for_room(void)
{
    for (int mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
        struct strait_parent_options parent = {.wait = (enum strait_wait)mode};
        struct strait_task task = numbered(runs, 500, NULL);
        open_pool(&(struct strait_pool_options){.workers = 1, .queue_limit = 2}, &parent);
        hold(1);
        submit_some(runs, 501, 2, NULL);
        assert_returns(strait_task_submit_wait(here.parent, &task, NULL, NULL, strait_deadline(MS)),
                       -ETIMEDOUT);
        assert_returns(strait_task_submit_wait(here.parent, &task, NULL, NULL, 0), -ETIMEDOUT);
        assert_int_equal(strait_parent_owed(here.parent), 3);
        release();
        for (unsigned i = 0; i < 500; i++) {
            task = numbered(runs, i, NULL);
            assert_returns(strait_task_submit_wait(here.parent, &task, NULL, NULL, STRAIT_FOREVER),
                           0);
        }
        close_pool();
        assert_ended(0, 500, STRAIT_TASK_DONE, 1);
        assert_int_equal(seen.completions[500], 0);
    }
}

/* ---- calls from inside a completion ---- */

static void submits_the_next(struct strait_task *task)
{
    unsigned number = number_of(task);
    note_done(task);
    if (number < 999) {
        struct strait_task next = numbered(runs, number + 1, NULL);
        next.done = submits_the_next;
        submit_task(&next, NULL);
        EXPECT(seen.completions[number + 1] == 0); /* never inside the submit */
    }
}

/* Through a queue of one; the stack does not grow. */
static void a_completion_may_submit(void)
{
    struct strait_task task = numbered(runs, 0, NULL);
    OPEN(.workers = 1, .queue_limit = 1);
    task.done = submits_the_next;
    submit_task(&task, NULL);
    close_pool();
    assert_ended(0, 1000, STRAIT_TASK_DONE, 1);
}

static strait_task_id own_id;

static void tries_what_it_may_not(struct strait_task *task)
{
    struct strait_group nobody = {0};
    struct strait_parent *parent = here.parent;
    struct strait_task more = numbered(runs, 9, NULL);
    struct strait_submit_options in_place = {.in_place = true};
    note_done(task);
    EXPECT(strait_parent_dispatch(parent, 0) == -EDEADLK);
    EXPECT(strait_parent_poll(parent, 0) == -EDEADLK);
    EXPECT(strait_task_wait(parent, own_id, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_group_wait(parent, &nobody, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_parent_wait_any(parent, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_parent_wait_all(parent, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_pool_finish(here.pool, parent, STRAIT_CLOSE_DRAIN, 0) == -EDEADLK);
    EXPECT(strait_pool_destroy(here.pool) == -EBUSY);
    EXPECT(strait_task_cancel(parent, own_id) == -ENOENT); /* it is gone */
    EXPECT(strait_task_submit(parent, &more, NULL, NULL) == -EAGAIN);
    EXPECT(strait_task_submit(parent, &more, &in_place, NULL) == -EAGAIN);
    EXPECT(strait_task_submit_wait(parent, &more, NULL, NULL, STRAIT_FOREVER) == -EDEADLK);
}

static void a_completion_may_not_wait_nor_end_things(void)
{
    struct strait_task task = numbered(runs, 0, NULL);
    OPEN(.workers = 1, .queue_limit = 1);
    task.done = tries_what_it_may_not;
    own_id = submit_task(&task, NULL);
    await_starts(1);
    hold(1);
    submit(runs, 1, NULL); /* the queue is full */
    settle_to(2);
    close_pool();
    assert_ended(0, 2, STRAIT_TASK_DONE, 1);
    assert_int_equal(seen.completions[9], 0);
}

static const struct test tests[] = {
    ONCE(bad_pool_options_leave_nothing),
    ONCE(bad_submits_take_nothing),
    ONCE(any_number_of_workers_completes_each_task_once),
    ONCE(completions_run_when_the_parent_lets_them),
    ONCE(data_travels_in_and_out),
    ONCE(the_result_becomes_the_status),
    ONCE(ids_name_one_task_for_ever),
    ONCE(high_tasks_start_before_normal_ones),
    ONCE(parents_take_turns),
    ONCE(a_burst_starts_on_every_worker),
    ONCE(the_queue_limit_is_exact),
    ONCE(completions_that_nobody_takes_refuse_more),
    ONCE(a_batch_is_taken_in_order),
    ONCE(submit_wait_waits_for_room),
    ONCE(a_completion_may_submit),
    ONCE(a_completion_may_not_wait_nor_end_things),
};

int main(void)
{
    return RUN_TABLE("pool_basic", tests);
}
