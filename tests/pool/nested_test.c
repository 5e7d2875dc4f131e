/* SPDX-License-Identifier: MIT */
/* Tasks that submit tasks: trees of them, what a waiting task runs meanwhile, tasks in place. */
#include "fixture.h"

#include <sys/wait.h>

/* On a worker: a child of the task that runs. */
static strait_task_id child_of(const struct strait_task *child)
{
    strait_task_id id = 0;
    EXPECT(strait_task_submit(strait_parent_current(), child, NULL, &id) == 0);
    return id;
}

static void wait_for(strait_task_id id)
{
    EXPECT(strait_task_wait(strait_parent_current(), id, STRAIT_FOREVER) == 0);
}

/* With one worker, and none of the tasks that it is inside of. */
static void wait_for_all(void)
{
    EXPECT(strait_parent_wait_all(strait_parent_current(), STRAIT_FOREVER) == 0);
    EXPECT(strait_parent_wait_any(strait_parent_current(), STRAIT_FOREVER) == 0);
}

/* ---- trees ---- */

/* Nodes are numbered as in a heap: node n has 2n and 2n + 1. */
struct node {
    uint64_t number;
    unsigned depth; /* below it */
    unsigned *sum;  /* where its parent, or the test, wants the number of nodes */
};

static __thread uint64_t innermost; /* the node that this worker is in; 0: none */

static bool descends(uint64_t node, uint64_t from)
{
    while (node > from) {
        node /= 2;
    }
    return node == from;
}

static int walk(struct strait_task *task);

static struct strait_task task_of(struct node node)
{
    struct strait_task task = {.run = walk};
    memcpy(task.data, &node, sizeof(node));
    return task;
}

/* Frames as a walk through directories has them. What runs on top of a waiting node descends from
 * it: the stack is no deeper than the tree. */
static int walk(struct strait_task *task)
{
    volatile unsigned char frame[8192];
    struct node node;
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group, .in_place = true};
    unsigned sums[2] = {0, 0};
    uint64_t below = innermost;
    memcpy(&node, task->data, sizeof(node));
    EXPECT(!below || (node.number > below && descends(node.number, below)));
    innermost = node.number;
    for (size_t i = 0; i < sizeof(frame); i += 512) {
        frame[i] = (unsigned char)node.depth;
    }
    for (unsigned i = 0; node.depth && i < 2; i++) {
        struct strait_task child =
            task_of((struct node){2 * node.number + i, node.depth - 1, &sums[i]});
        EXPECT(strait_task_submit(strait_parent_current(), &child, &how, NULL) == 0);
    }
    EXPECT(strait_group_wait(strait_parent_current(), &group, STRAIT_FOREVER) == 0);
    for (size_t i = 0; i < sizeof(frame); i += 512) {
        EXPECT(frame[i] == (unsigned char)node.depth);
    }
    innermost = below;
    *node.sum = 1 + sums[0] + sums[1];
    return 0;
}

static void walk_tree(const struct strait_pool_options *options, unsigned depth)
{
    unsigned sum = 0;
    struct strait_task root = task_of((struct node){1, depth, &sum});
    open_pool(options, NULL);
    assert_returns(strait_task_wait(here.parent, submit_task(&root, NULL), STRAIT_FOREVER), 0);
    assert_int_equal(sum, (1u << (depth + 1)) - 1);
    struct strait_pool_stats stats = pool_stats();
    assert_int_equal(stats.submitted + stats.in_place, sum);
    assert_int_equal(stats.done, stats.submitted);
    assert_int_equal(stats.running + stats.queued, 0);
    close_pool();
}

TEST(trees_need_the_stack_of_their_depth)
{
    static const struct {
        struct strait_pool_options options;
        unsigned depth;
        unsigned rounds;
    } pools[] = {
        {{0}, TEST_TSAN ? 11 : 16, 1},
        {{.workers = 1}, 9, 5},
        {{.workers = 1, .queue_limit = 1}, 9, 5}, /* most of it in place */
        {{.workers = 3, .queue_limit = 2}, 9, 5},
        {{.workers = 8}, 9, 5},
        {{.workers = 2, .wait = STRAIT_WAIT_SPIN}, 9, 5},
        {{.workers = 1, .workers_max = 4, .idle_timeout = 100000}, 9, 5},
    };
    for (size_t i = 0; i < COUNT(pools); i++) {
        for (unsigned round = 0; round < pools[i].rounds; round++) {
            walk_tree(&pools[i].options, pools[i].depth);
            progress_made();
        }
    }
}

/* ---- what a waiting task runs ---- */

static struct gate childs; /* a child waits at it */
static _Atomic unsigned counted;
static int32_t waiting; /* the thread of the task that waits */

static int waits_for_child_elsewhere(struct strait_task *task)
{
    struct strait_task child = numbered(runs_at_gate, 2, &childs);
    child.done = NULL;
    strait_task_id id = child_of(&child);
    gate_await(&childs, 1); /* the other worker has it */
    release();
    EXPECT(strait_task_wait(strait_parent_current(), id, strait_deadline(5 * MS)) == -ETIMEDOUT);
    atomic_store(&counted, 1);
    wait_for(id);
    return nothing(task);
}

/* A task that descends from nobody waits for a worker that is free, though one only waits. */
TEST(a_waiting_task_runs_no_stranger)
{
    memset(&childs, 0, sizeof(childs));
    atomic_store(&counted, 0);
    OPEN(.workers = 2);
    submit(waits_for_child_elsewhere, 3, NULL);
    gate_wait(&here.gate);
    submit(runs, 0, NULL);
    submit(runs, 1, &high);
    await(&counted, 1);
    sleep_ns(30 * MS);
    assert_int_equal(atomic_load(&seen.starts), 1); /* the child */
    gate_open(&childs);
    close_pool();
    assert_ended(0, 2, STRAIT_TASK_DONE, 1);
}

static int is_counted(struct strait_task *task)
{
    EXPECT(thread_number() == waiting);
    atomic_fetch_add(&counted, 1);
    return nothing(task);
}

/* It is busy until its children have run: its own worker cannot be what runs them. */
static int has_children_run(struct strait_task *task)
{
    struct strait_task grandchild = {.run = is_counted};
    atomic_fetch_add(&childs.arrived, 1);
    for (unsigned i = 0; i < 20; i++) {
        child_of(&grandchild);
    }
    await(&counted, 20);
    wait_for_all();
    return nothing(task);
}

static int waits_for_one_taken(struct strait_task *task)
{
    struct strait_task child = {.run = has_children_run};
    waiting = thread_number();
    strait_task_id id = child_of(&child);
    gate_await(&childs, 1);
    wait_for(id);
    return nothing(task);
}

/* Whoever waits for a task helps the worker that has taken it. */
TEST(a_waiting_task_helps_who_took_its_child)
{
    OPEN(.workers = 2);
    for (size_t round = 0; round < scaled(50); round++) {
        memset(&childs, 0, sizeof(childs));
        atomic_store(&counted, 0);
        submit(waits_for_one_taken, 0, NULL);
        settle();
        assert_int_equal(atomic_load(&counted), 20);
    }
    close_pool();
}

/* ---- room, and all that is owed ---- */

static int fills_the_queue(struct strait_task *task)
{
    struct strait_task child = {.run = is_counted};
    waiting = thread_number();
    for (unsigned i = 0; i < 3; i++) {
        child_of(&child);
    }
    EXPECT(strait_task_submit(strait_parent_current(), &child, NULL, NULL) == -EAGAIN);
    return nothing(task);
}

static int has_more_than_places(struct strait_task *task)
{
    struct strait_parent *self = strait_parent_current();
    struct strait_task child = {.run = is_counted};
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    waiting = thread_number();
    for (unsigned i = 0; i < 100; i++) {
        EXPECT(strait_task_submit_wait(self, &child, &how, NULL, STRAIT_FOREVER) == 0);
    }
    EXPECT(strait_group_wait(self, &group, STRAIT_FOREVER) == 0);
    return nothing(task);
}

/* What fills the queue is another task's at first, and there is nobody else to make room: children
 * of the waiting task then lie where those lay. */
TEST(a_task_that_waits_for_room_makes_it)
{
    atomic_store(&counted, 0);
    OPEN(.workers = 1, .queue_limit = 3);
    hold(1);
    submit(fills_the_queue, 0, &high); /* both come before children */
    submit(has_more_than_places, 0, &high);
    release();
    settle();
    await(&counted, 103); /* nobody waits for the first three */
    close_pool();
}

/* A chain of tasks, each in the wait of the one before: for it, or for all. */
static int waits_for_the_next(struct strait_task *task)
{
    unsigned next = number_of(task) + 1;
    struct strait_task child = numbered(next < 50 ? waits_for_the_next : runs, next, task->context);
    strait_task_id id = child_of(&child);
    if (task->context) {
        wait_for(id);
    } else {
        wait_for_all();
    }
    return runs(task);
}

TEST(a_task_does_not_wait_for_itself)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        OPEN(.workers = workers, .queue_limit = 2);
        struct strait_task task = numbered(waits_for_the_next, 0, workers > 1 ? &here : NULL);
        submit_task(&task, NULL);
        close_pool();
        assert_ended(0, 51, STRAIT_TASK_DONE, 1);
    }
}

/* ---- children that nobody waits for ---- */

static void completes_at_home(struct strait_task *task)
{
    EXPECT(thread_number() == waiting);
    EXPECT(strait_parent_wait_all(strait_parent_current(), 0) == -EDEADLK);
    note_done(task);
}

static int leaves_children(struct strait_task *task)
{
    struct strait_parent *self = strait_parent_current();
    waiting = thread_number();
    EXPECT(self && self == strait_parent_current());
    EXPECT(strait_parent_fd(self) == -EINVAL);
    EXPECT(strait_parent_detach(self, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == -EDEADLK);
    for (unsigned i = 0; i < 5; i++) {
        struct strait_task child = numbered(runs, 10 + i, NULL);
        child.done = completes_at_home;
        child_of(&child);
    }
    return runs(task);
}

static struct gate last_child;

static int has_very_many_children(struct strait_task *task)
{
    struct strait_parent *self = strait_parent_current();
    struct strait_task child = numbered(runs, 2, NULL);
    child.done = NULL;
    for (unsigned sum = 0; sum < 40000; sum += 500) {
        for (unsigned i = 0; i < 500; i++) {
            child_of(&child);
        }
        await_starts(sum + 500);
        EXPECT(strait_parent_poll(self, 500) <= 500);
    }
    child = numbered(runs_at_gate, 1, &last_child);
    child_of(&child);
    gate_await(&last_child, 1);
    return runs(task);
}

/* More than what half a word of 32 bits counts: the last one wakes it, too. */
TEST(a_sleeping_worker_is_woken_by_any_child)
{
    OPEN(.workers = 2);
    submit(has_very_many_children, 0, NULL);
    settle();
    sleep_ns(20000000);
    gate_open(&last_child);
    await(&seen.ends, 2);
    close_pool();
    assert_ended(0, 2, STRAIT_TASK_DONE, 1);
}

/* Their completions run on the worker that submitted them, wherever they ran. They start after high
 * tasks, and take turns with a parent's normal ones. */
TEST(children_are_as_tasks_of_a_parent)
{
    for (unsigned workers = 1; workers <= 3; workers += 2) {
        OPEN(.workers = workers);
        assert_null(strait_parent_current());
        hold(workers);
        submit(leaves_children, 0, &high);
        submit(runs, 1, &high);
        submit_some(runs, 20, 5, NULL);
        close_pool(); /* the pool drains them */
        assert_ended(10, 5, STRAIT_TASK_DONE, 1);
        for (unsigned i = 0; i < 5 && workers == 1; i++) {
            assert_int_equal((seen.started[10 + i] - 3) / 2, i);
            assert_int_equal((seen.started[20 + i] - 3) / 2, i);
        }
    }
}

static int takes_children_back(struct strait_task *task)
{
    struct strait_parent *self = strait_parent_current();
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    strait_task_id id = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct strait_task child = numbered(runs, 10 + i, NULL);
        how.start_by = i == 3;
        EXPECT(strait_task_submit(self, &child, &how, i == 0 ? &id : NULL) == 0);
    }
    EXPECT(strait_task_cancel(self, id) == 0);
    EXPECT(strait_task_cancel(self, id) == -EALREADY);
    EXPECT(number_of(task) == 0 || strait_group_cancel(self, &group) == 3);
    EXPECT(strait_group_wait(self, &group, STRAIT_FOREVER) == 0);
    EXPECT(strait_task_cancel(self, id) == -ENOENT);
    EXPECT(group.pending == 0 && strait_parent_owed(self) == 0);
    return 0;
}

TEST(children_are_cancelled_and_expire_as_others)
{
    for (unsigned all = 0; all < 2; all++) {
        OPEN(.workers = 1);
        submit(takes_children_back, all, NULL);
        close_pool();
        assert_ended(10, 1, STRAIT_TASK_CANCELLED, 0);
        assert_ended(11, 2, all ? STRAIT_TASK_CANCELLED : STRAIT_TASK_DONE, !all);
        assert_ended(13, 1, all ? STRAIT_TASK_CANCELLED : STRAIT_TASK_EXPIRED, 0);
    }
}

/* ---- in place ---- */

static int returns_seven(struct strait_task *task)
{
    runs(task);
    return 7;
}

TEST(a_full_queue_runs_the_task_in_place)
{
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group, .in_place = true};
    OPEN(.workers = 1, .queue_limit = 1);
    hold(1);
    assert_true(submit(runs, 1, &how) != 0); /* there is room */
    assert_int_equal(seen.runs[1], 0);
    assert_int_equal(submit(runs, 2, &how), 0);
    assert_ended(2, 1, STRAIT_TASK_DONE, 1);
    assert_int_equal(seen.thread[2], thread_number());
    assert_int_equal(group.pending, 1);
    assert_int_equal(submit(returns_seven, 3, &how), 0);
    assert_ended(3, 1, STRAIT_TASK_FAILED, 1);
    assert_int_equal(pool_stats().submitted, 2);
    close_pool();
    assert_int_equal(group.pending, 0);
}

/* ---- stacks ---- */

static void nests_on_a_small_stack(void *size)
{
    OPEN(.workers = 1, .stack_size = *(size_t *)size);
    submit(has_more_than_places, 0, NULL);
    close_pool();
}

/* The smallest stack that a create accepts is enough for the library's own needs. */
TEST(the_smallest_stack_suffices)
{
    struct strait_pool *pool = NULL;
    size_t size = 0;
    char said[256];
    if (TEST_TSAN || TEST_ASAN) {
        skip();
    }
    while (!pool) {
        size += 4096;
        struct strait_pool_options options = {.workers = 1, .stack_size = size};
        assert_true(strait_pool_create(&pool, &options) == 0 || size < (1u << 20));
    }
    assert_returns(strait_pool_finish(pool, NULL, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    int status = in_child(nests_on_a_small_stack, &size, said, sizeof(said));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
