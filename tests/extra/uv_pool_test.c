/* SPDX-License-Identifier: MIT */
/* uv: a pool's completions on its parent's loop. */
#include "extra/uv_fixture.h"

#define TASKS 500

static uv_loop_t loop;
static struct strait_uv_handle handle;
static struct strait_pool *pool;
static struct strait_parent *parent;
static struct gate gate;
static unsigned statuses[STRAIT_TASK_ABANDONED + 1];
static unsigned last; /* the completion at which it drains */

static int nothing(struct strait_task *task)
{
    return 0;
}

static void complete(struct strait_task *task)
{
    statuses[task->status]++;
    EXPECT(!strait_uv_is_closing(&handle));
    if (statuses[STRAIT_TASK_DONE] == last) {
        EXPECT(strait_uv_pool_shutdown(&handle, STRAIT_CLOSE_DRAIN) == 0);
    }
    progress_made();
}

static void submit(strait_run_fn *run, strait_done_fn *done, unsigned count)
{
    const struct strait_task task = {.run = run, .done = done, .context = &gate};
    while (count > 0) {
        assert_int_equal(strait_task_submit(parent, &task, NULL, NULL), 0);
        count--;
    }
}

static void pool_ended(struct strait_uv_handle *ended)
{
    EXPECT(ended->status == 0);
    EXPECT(strait_uv_pool_shutdown(ended, STRAIT_CLOSE_DRAIN) == -EALREADY);
    EXPECT(strait_uv_close(ended, count_close) == 0);
    EXPECT(strait_pool_destroy(pool) == 0);
}

static void pool_start(void)
{
    const struct strait_pool_options options = {.workers = 2};
    memset(statuses, 0, sizeof(statuses));
    memset(&gate, 0, sizeof(gate));
    closes = 0;
    last = UINT32_MAX;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(strait_pool_create(&pool, &options), 0);
    assert_int_equal(strait_pool_attach(pool, &parent, NULL), 0);
    assert_int_equal(strait_uv_pool_start(&loop, &handle, pool, parent, pool_ended), 0);
}

static void pool_finish(unsigned done, unsigned abandoned)
{
    loop_finish(&loop);
    assert_int_equal(closes, 1);
    assert_int_equal(statuses[STRAIT_TASK_DONE], done);
    assert_int_equal(statuses[STRAIT_TASK_ABANDONED], abandoned);
}

TEST(completions_run_in_the_loop)
{
    pool_start();
    last = TASKS;
    submit(nothing, complete, TASKS);
    pool_finish(TASKS, 0);
}

TEST(an_idle_pool_is_shut_down)
{
    for (int mode = STRAIT_CLOSE_DRAIN; mode <= STRAIT_CLOSE_CANCEL; mode++) {
        pool_start();
        uv_run(&loop, UV_RUN_NOWAIT); /* there is nothing to complete, and that is no end */
        assert_true(strait_uv_is_active(&handle));
        strait_uv_unref(&handle); /* keeps no loop */
        assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
        strait_uv_ref(&handle);
        assert_int_equal(strait_uv_pool_shutdown(&handle, (enum strait_close)7), -EINVAL);
        assert_int_equal(strait_uv_pool_shutdown(&handle, (enum strait_close)mode), 0);
        assert_int_equal(closes, 0);
        pool_finish(0, 0);
    }
}

/* The drain cannot go on, since tasks are held: they are finished, what waits is abandoned, and
 * only then the handle ends. */
TEST(a_drain_turns_into_a_cancel)
{
    const struct strait_task late = {.run = nothing};
    pool_start();
    submit(hold, complete, 2);
    gate_await(&gate, 2);
    submit(nothing, complete, TASKS);
    assert_int_equal(strait_uv_pool_shutdown(&handle, STRAIT_CLOSE_DRAIN), 0);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(strait_task_submit(parent, &late, NULL, NULL), -EPIPE);
    assert_int_equal(strait_uv_pool_shutdown(&handle, STRAIT_CLOSE_CANCEL), 0);
    while (statuses[STRAIT_TASK_ABANDONED] < TASKS) {
        assert_int_not_equal(uv_run(&loop, UV_RUN_ONCE), 0);
    }
    assert_int_equal(statuses[STRAIT_TASK_DONE], 0);
    gate_open(&gate);
    pool_finish(2, TASKS);
}

static void close_handle(struct strait_task *task)
{
    complete(task);
    EXPECT(strait_uv_close(&handle, count_close) == 0);
    EXPECT(strait_uv_pool_shutdown(&handle, STRAIT_CLOSE_DRAIN) == -EALREADY);
}

static void count_done(struct strait_task *task)
{
    statuses[task->status]++;
}

/* The other completions run when the parent is detached. */
TEST(a_pool_outlives_its_handle)
{
    pool_start();
    submit(nothing, close_handle, 1);
    submit(nothing, count_done, TASKS);
    loop_finish(&loop);
    assert_int_equal(closes, 1);
    assert_int_equal(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_int_equal(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_int_equal(statuses[STRAIT_TASK_DONE], TASKS + 1);
    assert_int_equal(strait_pool_destroy(pool), 0);
}
