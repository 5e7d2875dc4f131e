/* SPDX-License-Identifier: MIT */
/* What a pool tells of itself, to any thread and at any time. */
#include "fixture.h"

static int fails(struct strait_task *task)
{
    runs(task);
    return -EIO;
}

TEST(each_fate_is_counted)
{
    OPEN(.workers = 2, .queue_limit = 8);
    hold(2);
    strait_task_id id = submit(runs, 0, NULL);
    submit(runs, 1, &late);
    submit_some(fails, 2, 3, NULL);
    submit_some(runs, 5, 3, NULL);
    assert_int_equal(try_submit(runs, 9, NULL), -EAGAIN);
    assert_int_equal(try_submit(runs, 9, &in_place), 0);
    assert_returns(strait_task_cancel(here.parent, id), 0);
    struct strait_pool_stats stats = pool_stats();
    assert_int_equal(stats.submitted, 10);
    assert_int_equal(stats.queued, 8); /* the cancelled one has not completed yet */
    assert_int_equal(stats.running, 2);
    assert_int_equal(stats.in_place, 1);
    assert_true(stats.refused >= 1);
    assert_int_equal(stats.queued_max, 8);
    assert_int_equal(stats.workers, 2);
    assert_int_equal(stats.idle, 0);
    assert_int_equal(stats.parents, 1);
    release();
    settle();
    leave(here.parent);
    here.parent = attach(STRAIT_WAIT_PARK); /* a sum over both */
    submit(runs, 9, NULL);
    settle();
    stats = pool_stats();
    assert_int_equal(stats.done, 6);
    assert_int_equal(stats.failed, 3);
    assert_int_equal(stats.cancelled, 1);
    assert_int_equal(stats.expired, 1);
    assert_int_equal(stats.abandoned + stats.queued + stats.running, 0);
    assert_int_equal(stats.submitted, 6 + 3 + 1 + 1);
    close_pool();
}

static _Atomic unsigned over;

/* ---- one worker's ---- */

TEST(a_worker_is_seen_at_work)
{
    struct strait_pool_worker_stats stats;
    for (unsigned timed = 0; timed < 2; timed++) {
        OPEN(.workers = 1, .timed = timed);
        struct strait_task task = numbered(runs_at_gate, 0, &here.gate);
        task.name = "waits";
        submit_task(&task, NULL);
        await_arrivals(1);
        sleep_ns(2 * MS);
        stats = worker_of(0);
        assert_true(stats.run == runs_at_gate && strcmp(stats.name, "waits") == 0);
        assert_true(stats.online && stats.number == 0 && stats.tasks == 1);
        assert_true(timed ? stats.running_ns >= 2 * MS && stats.busy_ns >= 2 * MS
                          : stats.running_ns == 0 && stats.busy_ns == 0);
        assert_true(stats.online_ns >= stats.busy_ns);
        release();
        settle();
        while (pool_stats().idle < 1) {
            sleep_ns(GATE_NAP_NS);
        }
        stats = worker_of(0);
        assert_true(stats.thread == seen.thread[0]);
        assert_true(!stats.run && !stats.name && stats.running_ns == 0);
        assert_true(timed ? stats.busy_ns >= 2 * MS : stats.busy_ns == 0);
        assert_returns(strait_pool_worker_stats(here.pool, 1, &stats), -EINVAL);
        assert_returns(strait_pool_worker_stats(here.pool, UINT32_MAX, &stats), -EINVAL);
        close_with(STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, 0);
        stats = worker_of(0); /* the last one's */
        assert_true(!stats.online && stats.thread == 0 && stats.tasks == 1);
        close_pool();
    }
}

static int waits_for_a_child(struct strait_task *task)
{
    const struct strait_task child = {.run = runs_at_gate, .context = task->context};
    strait_task_id id = 0;
    sleep_ns(5 * MS);
    EXPECT(strait_task_submit(strait_parent_current(), &child, NULL, &id) == 0);
    EXPECT(strait_task_wait(strait_parent_current(), id, STRAIT_FOREVER) == 0);
    return 0;
}

/* Of a task that waits, too; and of the last that had the number, not of those before. */
TEST(busy_time_is_that_of_the_thread)
{
    OPEN(.workers = 1, .timed = true);
    submit(waits_for_a_child, 0, NULL);
    await_arrivals(1);
    assert_true(worker_of(0).busy_ns >= 5 * MS);
    release();
    settle();
    for (unsigned workers = 2; workers >= 1; workers--) {
        assert_returns(strait_pool_resize(here.pool, workers, STRAIT_FOREVER), 0);
        shut_gate();
        hold(workers);
        sleep_ns(5 * MS);
        release();
        settle();
    }
    assert_returns(strait_pool_resize(here.pool, 2, STRAIT_FOREVER), 0);
    struct strait_pool_worker_stats stats = worker_of(1);
    assert_true(stats.busy_ns <= stats.online_ns);
    close_pool();
}

static int64_t last_end;          /* of a task; the worker's own */
static _Atomic int64_t known_end; /* the same, as it was when the task began that runs now */

static int ends_now(struct strait_task *task)
{
    atomic_store(&known_end, last_end);
    dawdle(task->name[0] == 'a' ? 100 : 1000);
    last_end = strait_now();
    return 0;
}

static int ends_now_too(struct strait_task *task)
{
    return ends_now(task);
}

/* The one worker runs one task at a time: what it is seen to run has started after the last end
 * that was known to it. */
static void *looks_closely(void *nothing_else)
{
    while (!atomic_load(&over)) {
        struct strait_pool_worker_stats stats;
        int64_t end = atomic_load(&known_end);
        EXPECT(strait_pool_worker_stats(here.pool, 0, &stats) == 0);
        int64_t now = strait_now();
        EXPECT(!stats.run == !stats.name);
        EXPECT(!stats.run || (stats.run == ends_now) == (stats.name[0] == 'a'));
        EXPECT(stats.running_ns >= 0 && (!end || stats.running_ns <= now - end + 100000));
        EXPECT(stats.run || stats.running_ns == 0);
    }
    return nothing_else;
}

TEST(function_name_and_start_are_of_one_task)
{
    atomic_store(&over, 0);
    pthread_t observer;
    OPEN(.workers = 1, .timed = true);
    thread_start(&observer, looks_closely, NULL);
    for (unsigned i = 0; i < scaled(100000); i++) {
        struct strait_task task = {.run = i % 2 ? ends_now : ends_now_too,
                                   .name = i % 2 ? "a" : "b"};
        assert_returns(strait_task_submit_wait(here.parent, &task, NULL, NULL, STRAIT_FOREVER), 0);
        progress_made();
    }
    settle();
    atomic_store(&over, 1);
    thread_join(observer);
    close_pool();
}

/* ---- times ---- */

static int64_t waited[3];
static int64_t ran[3];

static void notes_times(struct strait_task *task)
{
    waited[number_of(task)] = strait_task_waited_ns(task);
    ran[number_of(task)] = strait_task_ran_ns(task);
}

static int sleeps_shortly(struct strait_task *task)
{
    sleep_ns(3 * MS);
    return nothing(task);
}

/* One worker: the second waits for at least as long as the first runs, and neither for longer than
 * it all takes. */
TEST(waits_and_runs_are_told_apart)
{
    for (unsigned timed = 0; timed < 2; timed++) {
        OPEN(.workers = 1, .timed = timed);
        int64_t began = strait_now();
        hold(1); /* all three wait before the first runs */
        for (unsigned i = 0; i < 3; i++) {
            struct strait_task task = numbered(sleeps_shortly, i, NULL);
            task.done = notes_times;
            submit_task(&task, i == 2 ? &late : NULL);
        }
        release();
        settle();
        int64_t took = strait_now() - began;
        if (timed) {
            assert_true(ran[0] >= 3 * MS && ran[1] >= 3 * MS && waited[1] >= 2 * MS);
            assert_true(ran[0] + ran[1] <= took && waited[1] + ran[1] <= took);
        } else {
            assert_int_equal(ran[0] + ran[1] + waited[0] + waited[1], 0);
        }
        assert_int_equal(ran[2], 0);
        close_pool();
    }
}
