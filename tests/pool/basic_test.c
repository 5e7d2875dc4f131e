/* SPDX-License-Identifier: MIT */
/* The pool from the outside: options, results, the order of starts, room, completions. */
#include "fixture.h"

/* Of the options misuse_test tells. */
TEST(calls_that_cannot_be_change_nothing)
{
    const enum strait_close no_mode = (enum strait_close)2;
    OPEN(.workers = 1);
    assert_returns(try_submit(NULL, 0, NULL), -EINVAL);
    assert_int_equal(strait_parent_owed(here.parent), 0);
    assert_int_equal(pool_stats().submitted, 0);
    assert_returns(strait_pool_resize(here.pool, 0, 0), -EINVAL);
    assert_returns(strait_pool_resize(here.pool, STRAIT_POOL_WORKERS_MAX + 1, 0), -EINVAL);
    assert_returns(strait_parent_detach(here.parent, no_mode, 0), -EINVAL);
    assert_returns(strait_parent_detach(NULL, STRAIT_CLOSE_DRAIN, 0), 0);
    assert_returns(strait_pool_finish(here.pool, here.parent, no_mode, 0), -EINVAL);
    close_with(no_mode, 0, -EINVAL);
    assert_returns(strait_pool_destroy(NULL), 0);
    close_pool();
}

/* ---- what a task leaves ---- */

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

TEST(the_result_becomes_the_status)
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

TEST(ids_name_one_task_for_ever)
{
    enum { IDS = 200 };
    static strait_task_id ids[IDS];
    OPEN(.workers = 1, .queue_limit = 2);
    for (unsigned i = 0; i < IDS; i++) { /* few places: each is used again and again */
        ids[i] = submit(runs, i, i % 2 ? &high : NULL);
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
TEST(high_tasks_start_before_normal_ones)
{
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
TEST(parents_take_turns)
{
    enum { EACH = 200 };
    struct strait_parent *parents[4];
    OPEN(.workers = 1);
    hold(1);
    for (unsigned p = 0; p < 4; p++) {
        parents[p] = attach(STRAIT_WAIT_DEFAULT);
        for (unsigned i = 0; i < EACH; i++) {
            struct strait_task task = numbered(runs, p * EACH + i, NULL);
            submit_to(parents[p], &task, NULL);
        }
    }
    release();
    for (unsigned p = 0; p < 4; p++) {
        leave(parents[p]);
        for (unsigned i = 0; i < EACH; i++) {
            assert_int_equal((seen.started[p * EACH + i] - 1) / 4, i);
        }
    }
    close_pool();
}

/* A task never waits while a worker is idle: a burst needs every worker, each time anew, submitted
 * one by one or at once. Short tasks before it wake some that come too late. */
TEST(a_burst_starts_on_every_worker)
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
        unsigned workers = bursts[k].workers;
        OPEN(.workers = workers, .schedule = bursts[k].schedule);
        for (unsigned i = 0; i < workers; i++) {
            tasks[i] = numbered(runs_at_gate, i, &here.gate);
        }
        for (unsigned round = 0; round < scaled(bursts[k].rounds); round++) {
            submit_some(runs, 100, round % 5, NULL);
            settle();
            hold(workers);
            release();
            settle();
            shut_gate();
            assert_returns(strait_task_submit_many(here.parent, tasks, workers, NULL, NULL),
                           workers);
            await_arrivals(workers);
            release();
            settle();
        }
        close_pool();
    }
}

/* ---- room ---- */

/* To the last place: at first, and again when all in the queue has been cancelled, however often
 * and whether or not the completions have run. The workers are held all the while. */
TEST(the_queue_limit_is_exact)
{
    static const unsigned limits[] = {1, 2, 3, 64, 100};
    for (unsigned k = 0; k < 2 * COUNT(limits); k++) {
        unsigned workers = 1 + k % 2;
        unsigned limit = limits[k / 2];
        strait_task_id ids[100];
        OPEN(.workers = workers, .queue_limit = limit);
        hold(workers);
        for (unsigned round = 0; round < 20; round++) {
            unsigned completed = seen.ends;
            for (unsigned i = 0; i < limit; i++) {
                ids[i] = submit(runs, i, NULL);
                assert_int_equal(pool_stats().queued, (round % 2 ? limit : 0) + i + 1);
            }
            assert_int_equal(try_submit(runs, 0, NULL), -EAGAIN);
            for (unsigned i = 0; i < limit; i++) {
                assert_returns(strait_task_cancel(here.parent, ids[i]), 0);
            }
            if (round % 2) {
                assert_returns(strait_parent_poll(here.parent, SIZE_MAX), 2 * limit);
                assert_int_equal(seen.ends - completed, 2 * limit);
            }
        }
        memset(&seen, 0, sizeof(seen));
        submit_some(runs, 0, limit, NULL);
        assert_int_equal(try_submit(runs, 0, NULL), -EAGAIN);
        struct strait_pool_stats stats = pool_stats();
        assert_int_equal(stats.refused, 21);
        assert_int_equal(stats.queued_max, limit);
        assert_int_equal(stats.queue_limit, limit);
        assert_int_equal(stats.running, workers);
        close_pool();
        assert_ended(0, limit, STRAIT_TASK_DONE, 1);
    }
}

/* Cancelled tasks between others count no more than those at the head, and a worker that comes by
 * one gives its slot back: all that a queue holds can be submitted again and again. */
TEST(cancelled_tasks_leave_their_room)
{
    enum { LIMIT = 50 };
    OPEN(.workers = 1, .queue_limit = LIMIT);
    for (unsigned round = 0; round < 100; round++) {
        strait_task_id ids[LIMIT];
        memset(&seen, 0, sizeof(seen));
        hold(1);
        for (unsigned i = 0; i < LIMIT; i++) {
            ids[i] = submit(runs, i, NULL);
        }
        for (unsigned i = round % 3; i < LIMIT; i += 2) {
            assert_returns(strait_task_cancel(here.parent, ids[i]), 0);
        }
        unsigned cancelled = (LIMIT - round % 3 + 1) / 2;
        for (unsigned left = round % 2 ? cancelled : 0; left > 0; left -= left < 2 ? 1 : 2) {
            assert_true(readable(strait_parent_fd(here.parent), 0));
            assert_returns(strait_parent_dispatch(here.parent, 2), left < 2 ? 1 : 2);
        }
        assert_int_equal(seen.ends, round % 2 ? cancelled : 0);
        submit_some(runs, LIMIT, cancelled, NULL);
        assert_int_equal(try_submit(runs, 0, NULL), -EAGAIN);
        release();
        settle();
        for (unsigned i = 0; i < LIMIT; i++) {
            bool gone = i >= round % 3 && i % 2 == round % 3 % 2;
            assert_ended(i, 1, gone ? STRAIT_TASK_CANCELLED : STRAIT_TASK_DONE, !gone);
        }
        assert_ended(LIMIT, cancelled, STRAIT_TASK_DONE, 1);
    }
    close_pool();
}

TEST(completions_that_nobody_takes_refuse_more)
{
    unsigned taken = 0;
    bool all_ran = false;
    OPEN(.workers = 1, .queue_limit = 4);
    for (int error = 0; taken < NUMBERS && !(error && all_ran);) {
        all_ran = atomic_load(&seen.starts) == taken; /* then no task is in the way of another */
        error = try_submit(runs, taken, NULL);
        taken += !error;
        if (error) {
            sleep_ns(GATE_NAP_NS);
        }
    }
    close_pool();
    assert_ended(0, taken, STRAIT_TASK_DONE, 1);
    assert_true(taken >= 320 && taken < NUMBERS);
}

TEST(a_batch_is_taken_in_order)
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

TEST(submit_wait_waits_for_room)
{
    for (int mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
        struct strait_parent_options parent = {.wait = (enum strait_wait)mode};
        struct strait_task task = numbered(runs, 500, NULL);
        open_pool(&(struct strait_pool_options){.workers = 1, .queue_limit = 2}, &parent);
        hold(1);
        submit_some(runs, 501, 2, NULL);
        for (int k = 0; k < 2; k++) {
            int64_t deadline = k ? strait_deadline(MS) : 0;
            assert_returns(strait_task_submit_wait(here.parent, &task, NULL, NULL, deadline),
                           -ETIMEDOUT);
        }
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

static strait_task_id own_id;

static void tries_what_it_may_not(struct strait_task *task)
{
    struct strait_group nobody = {0};
    struct strait_parent *parent = here.parent;
    struct strait_task more = numbered(runs, 9, NULL);
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

/* And it runs when the parent lets it, not before. */
TEST(a_completion_may_not_wait_nor_end_things)
{
    struct strait_task task = numbered(runs, 0, NULL);
    OPEN(.workers = 1, .queue_limit = 1);
    task.done = tries_what_it_may_not;
    own_id = submit_task(&task, NULL);
    await_starts(1);
    hold(1);
    submit(runs, 1, NULL); /* the queue is full */
    assert_int_equal(seen.ends, 0);
    settle_to(2);
    close_pool();
    assert_ended(0, 2, STRAIT_TASK_DONE, 1);
    assert_int_equal(seen.completions[9], 0);
}
