/* SPDX-License-Identifier: MIT */
/* A pool in ten steps: the first things that it must do, in each way in which a parent waits. */
#include "harness.h"

#include <poll.h>

#include "strait/pool.h"

#define TASKS 10

struct crowd {
    atomic_uint ran;
    unsigned done[STRAIT_TASK_ABANDONED + 1];
};

static int run(struct strait_task *task)
{
    struct crowd *crowd = task->context;
    atomic_fetch_add(&crowd->ran, 1);
    progress_made();
    return 0;
}

static void done(struct strait_task *task)
{
    struct crowd *crowd = task->context;
    crowd->done[task->status]++;
}

static void ten_tasks(enum strait_wait wait)
{
    struct crowd crowd = {.ran = 0};
    struct strait_parent_options attach = {.wait = wait};
    struct strait_task task = {.run = run, .done = done, .context = &crowd, .name = "one of ten"};
    struct strait_pool *pool;
    struct strait_parent *parent;
    assert_returns(strait_pool_create(&pool, NULL), 0);
    assert_returns(strait_pool_attach(pool, &parent, &attach), 0);
    for (int i = 0; i < TASKS; i++) {
        assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
    }
    assert_int_equal(strait_parent_owed(parent), TASKS);
    if (wait == STRAIT_WAIT_FD) {
        struct pollfd loop = {.fd = strait_parent_fd(parent), .events = POLLIN};
        while (strait_parent_owed(parent) > 0) {
            assert_int_equal(poll(&loop, 1, -1), 1);
            assert_true(strait_parent_dispatch(parent, 0) >= 0);
        }
    }
    assert_returns(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_int_equal(atomic_load(&crowd.ran), TASKS);
    assert_int_equal(crowd.done[STRAIT_TASK_DONE], TASKS);
}

static void ten_tasks_in_a_loop(void)
{
    ten_tasks(STRAIT_WAIT_FD);
}

static void ten_tasks_without_a_loop(void)
{
    ten_tasks(STRAIT_WAIT_PARK);
    ten_tasks(STRAIT_WAIT_SPIN);
}

/* fib(15) by tasks of tasks: 1973 of them. */
static int fib(struct strait_task *task)
{
    struct strait_parent *self = strait_parent_current();
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group, .in_place = true};
    struct strait_task child = {.run = fib, .context = task->context};
    atomic_fetch_add((atomic_uint *)task->context, 1);
    for (unsigned char n = 1; n <= 2 && task->data[0] >= 2; n++) {
        child.data[0] = (unsigned char)(task->data[0] - n);
        EXPECT(strait_task_submit(self, &child, &how, NULL) == 0);
    }
    EXPECT(strait_group_wait(self, &group, STRAIT_FOREVER) == 0);
    progress_made();
    return 0;
}

static void tasks_of_tasks(void)
{
    atomic_uint count = 0;
    struct strait_pool_options options = {.workers = 2};
    struct strait_task task = {.run = fib, .context = &count, .data = {15}};
    struct strait_pool *pool;
    struct strait_parent *parent;
    strait_task_id id;
    assert_returns(strait_pool_create(&pool, &options), 0);
    assert_returns(strait_pool_attach(pool, &parent, NULL), 0);
    assert_returns(strait_task_submit(parent, &task, NULL, &id), 0);
    assert_returns(strait_task_wait(parent, id, STRAIT_FOREVER), 0);
    assert_int_equal(atomic_load(&count), 1973);
    assert_returns(strait_pool_resize(pool, 4, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_resize(pool, 1, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
}

int main(void)
{
    static const struct test tests[] = {
        ONCE(ten_tasks_in_a_loop),
        ONCE(ten_tasks_without_a_loop),
        ONCE(tasks_of_tasks),
    };
    return RUN_TABLE("pool_smoke", tests);
}
