/* SPDX-License-Identifier: MIT */
/* Tasks that are no longer wanted: cancelled, or too late. */
#include "fixture.h"

#define LONG (1000 * 200 * (int64_t)MS)

static int cancel(strait_task_id id)
{
    return strait_task_cancel(here.parent, id);
}

/* ---- one task ---- */

TEST(a_waiting_task_is_cancelled_for_certain)
{
    OPEN(.workers = 1);
    hold(1);
    submit(runs, 1, NULL);
    strait_task_id id = submit(runs, 2, NULL);
    submit(runs, 3, NULL);
    assert_returns(cancel(id), 0);
    assert_int_equal(seen.ends, 0); /* not inside the cancel */
    assert_returns(cancel(id), -EALREADY);
    assert_int_equal(pool_stats().queued, 3);
    assert_true(readable(strait_parent_fd(here.parent), -1));
    assert_returns(strait_parent_dispatch(here.parent, 0), 1);
    assert_ended(2, 1, STRAIT_TASK_CANCELLED, 0);
    assert_int_equal(seen.code[2], -ECANCELED);
    assert_returns(cancel(id), -ENOENT);
    assert_int_equal(pool_stats().queued, 2);
    assert_false(readable(strait_parent_fd(here.parent), 0));
    close_pool();
    assert_ended(1, 1, STRAIT_TASK_DONE, 1);
    assert_ended(2, 1, STRAIT_TASK_CANCELLED, 0);
    assert_ended(3, 1, STRAIT_TASK_DONE, 1);
}

/* However many wait behind it, one submit costs what another does: else this takes minutes. */
TEST(a_cancelled_task_is_in_nobodys_way)
{
    const struct strait_task task = {.run = nothing};
    const unsigned many = 1u << 17;
    strait_task_id id = 0;
    OPEN(.workers = 1, .queue_limit = 2 * many);
    hold(1);
    for (unsigned i = 0; i < 2 * many; i++) {
        if (i == many) {
            assert_returns(cancel(id), 0);
        }
        id = submit_task(&task, NULL);
    }
    submit_task(&task, NULL); /* in the place of the one that was cancelled */
    assert_returns(try_submit(runs, 1, NULL), -EAGAIN);
    close_pool();
}

static int expects_no_cancel(struct strait_task *task)
{
    EXPECT(!strait_task_cancelled(task));
    return runs(task);
}

/* It alone: neither what runs beside it, nor the next task in its slot. */
TEST(a_running_task_is_told_of_its_cancel)
{
    OPEN(.workers = 2, .queue_limit = 1);
    strait_task_id deaf = submit(runs_at_gate, 100, NULL);
    await_arrivals(1);
    for (unsigned i = 0; i < 40; i += 2) {
        strait_task_id id = submit(runs_until_cancelled, i, NULL);
        await_arrivals(1);
        assert_returns(cancel(id), -EINPROGRESS);
        assert_returns(strait_task_wait(here.parent, id, STRAIT_FOREVER), 0);
        assert_ended(i, 1, STRAIT_TASK_CANCELLED, 1);
        assert_returns(cancel(id), -ENOENT);
        assert_int_equal(pool_stats().running, 1);
        submit(expects_no_cancel, i + 1, NULL);
        settle_to(1);
        assert_ended(i + 1, 1, STRAIT_TASK_DONE, 1);
    }
    assert_returns(cancel(deaf), -EINPROGRESS);
    assert_returns(cancel(deaf), -EALREADY);
    close_pool();
    assert_ended(100, 1, STRAIT_TASK_DONE, 1); /* it has not looked, and its result counts */
}

/* ---- from a completion ---- */

static strait_task_id victim;
static struct strait_group victims;
static struct gate lets_go;

static void cancels_what_is_claimed_next(struct strait_task *task)
{
    note_done(task);
    unsigned before = seen.ends;
    if (number_of(task) % 8 == 1) {
        EXPECT(cancel(victim) == 0);
    } else {
        EXPECT(strait_group_cancel(here.parent, &victims) == 1);
    }
    gate_open(&lets_go);
    sleep_ns(2 * MS);
    EXPECT(seen.ends == before); /* not inside the cancel, nor inside this */
}

/* The worker that is let go comes to the victim before its completion is dispatched. */
TEST(what_a_completion_cancels_is_run_by_nobody)
{
    struct strait_submit_options how = {.group = &victims};
    OPEN(.workers = 2, .queue_limit = 8);
    for (unsigned i = 0; i < 160; i += 4) {
        struct strait_task task = numbered(runs_at_gate, i, &lets_go);
        memset(&lets_go, 0, sizeof(lets_go));
        shut_gate();
        submit_task(&task, NULL);
        gate_await(&lets_go, 1);
        task = numbered(runs, i + 1, NULL);
        task.done = cancels_what_is_claimed_next;
        submit_task(&task, NULL);
        hold(1);
        victim = submit(runs, i + 2, &how);
        settle_to(1);
        assert_ended(i + 2, 1, STRAIT_TASK_CANCELLED, 0);
        release();
        settle();
    }
    hold(2);
    submit_some(runs, 200, 8, NULL); /* each place came back */
    assert_int_equal(try_submit(runs, 0, NULL), -EAGAIN);
    close_pool();
}

/* ---- groups ---- */

static int tells_at_gate(struct strait_task *task)
{
    runs_at_gate(task);
    return strait_task_cancelled(task) ? -ECANCELED : 0;
}

TEST(cancelling_a_group_harms_no_other)
{
    struct strait_group group = {0};
    struct strait_group other = {0};
    struct strait_submit_options how = {.group = &group};
    struct strait_submit_options high_too = {.group = &group, .priority = STRAIT_PRIORITY_HIGH};
    struct strait_submit_options others = {.group = &other};
    OPEN(.workers = 2);
    submit(tells_at_gate, 0, &how);
    submit(tells_at_gate, 1, &others);
    await_arrivals(2);
    for (unsigned i = 0; i < 10; i++) {
        submit(runs, 10 + i, &how);
        submit(runs, 20 + i, &high_too);
        submit(runs, 30 + i, &others);
        submit(runs, 40 + i, NULL);
    }
    assert_int_equal(strait_group_cancel(here.parent, &group), 20);
    assert_int_equal(strait_group_cancel(here.parent, &group), 0);
    settle_to(22);
    assert_ended(10, 20, STRAIT_TASK_CANCELLED, 0);
    release();
    settle();
    assert_ended(0, 1, STRAIT_TASK_CANCELLED, 1);
    assert_ended(1, 1, STRAIT_TASK_DONE, 1);
    assert_ended(30, 20, STRAIT_TASK_DONE, 1);
    assert_int_equal(group.pending + other.pending, 0);
    close_pool();
}

/* ---- deadlines ---- */

TEST(a_task_that_starts_too_late_expires)
{
    OPEN(.workers = 1);
    struct strait_submit_options options[] = {
        {.start_by = 1},                    /* long past */
        {.finish_by = 1},                   /* likewise */
        {.start_by = strait_deadline(MS)},  /* not yet */
        {.finish_by = strait_deadline(MS)}, /* likewise */
        {.start_by = strait_deadline(LONG), .finish_by = strait_deadline(LONG)},
        {.start_by = STRAIT_FOREVER, .finish_by = STRAIT_FOREVER},
    };
    hold(1);
    for (unsigned i = 0; i < COUNT(options); i++) {
        submit(expects_no_cancel, i, &options[i]);
        options[i].priority = STRAIT_PRIORITY_HIGH;
        submit(expects_no_cancel, 10 + i, &options[i]);
    }
    assert_returns(cancel(submit(runs, 20, &late)), 0); /* it cannot be both */
    sleep_ns(5 * MS);
    close_pool();
    for (unsigned i = 0; i < 20; i += 10) {
        assert_ended(i, 4, STRAIT_TASK_EXPIRED, 0);
        assert_ended(i + 4, 2, STRAIT_TASK_DONE, 1);
    }
    assert_ended(20, 1, STRAIT_TASK_CANCELLED, 0);
    assert_int_equal(seen.code[0], -ETIMEDOUT);
}

static int past_its_time(struct strait_task *task)
{
    (void)runs_until_cancelled(task);
    return number_of(task) == 0 ? 0 : 7;
}

/* By itself: nobody cancels it. A late result counts, a late failure is an expiry. */
TEST(a_running_task_is_told_that_its_time_is_over)
{
    OPEN(.workers = 1);
    for (unsigned i = 0; i < 2; i++) {
        struct strait_submit_options how = {.finish_by = strait_deadline(50 * MS)};
        submit(past_its_time, i, &how);
        settle();
        assert_true(strait_now() >= how.finish_by);
        if (seen.runs[i]) { /* a worker came in time */
            assert_ended(i, 1, i ? STRAIT_TASK_EXPIRED : STRAIT_TASK_DONE, 1);
            assert_int_equal(seen.code[i], i ? 7 : 0);
        }
    }
    close_pool();
}

static int fails_at_once(struct strait_task *task)
{
    runs(task);
    return 7;
}

/* What counts is when `run` has returned, not when the parent comes to know. On a busy machine the
 * worker may come too late. */
TEST(a_failure_in_time_is_no_expiry)
{
    OPEN(.workers = 1);
    struct strait_submit_options how = {.finish_by = strait_deadline(200 * (int64_t)MS)};
    submit(fails_at_once, 0, &how);
    while (!readable(strait_parent_fd(here.parent), -1)) {
    }
    bool in_time = strait_now() < how.finish_by;
    while (strait_now() < how.finish_by) {
        sleep_ns(10 * MS);
    }
    settle();
    assert_ended(0, 1, in_time ? STRAIT_TASK_FAILED : seen.status[0], seen.runs[0]);
    close_pool();
}
