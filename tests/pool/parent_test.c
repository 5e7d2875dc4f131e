/* SPDX-License-Identifier: MIT */
/* Parents: their fd and how completions are gathered, room, coming and leaving. */
#include "fixture.h"

#include <signal.h>
#include <sys/wait.h>

static const struct strait_parent_options park = {.wait = STRAIT_WAIT_PARK};

static void bad_parent_options_are_refused(void)
{
    struct strait_parent *parent = NULL;
    struct {
        struct strait_parent_options options;
        char tail[16];
    } newer = {.options = {.size = sizeof(newer)}, .tail = {0, 0, 1}};
    struct strait_parent_options wrong = {.wait = (enum strait_wait)99};
    struct strait_parent_options high = {.low_water = 1025};
    OPEN(.workers = 1);
    assert_returns(strait_pool_attach(here.pool, &parent, &newer.options), -EINVAL);
    assert_returns(strait_pool_attach(here.pool, &parent, &wrong), -EINVAL);
    assert_returns(strait_pool_attach(here.pool, &parent, &high), -EINVAL);
    assert_null(parent);
    assert_returns(strait_parent_detach(here.parent, (enum strait_close)2, 0), -EINVAL);
    assert_returns(strait_parent_detach(NULL, STRAIT_CLOSE_DRAIN, 0), 0);
    close_pool();
}

/* ---- the fd ---- */

/* Without a dispatch before, for this is how a loop begins; and where another parent had the place.
 */
static void the_fd_is_readable_while_there_is_something_to_do(void)
{
    OPEN(.workers = 1);
    for (unsigned i = 0; i < 60; i++) {
        if (i % 20 == 0) {
            leave(here.parent);
            assert_returns(strait_pool_attach(here.pool, &here.parent, NULL), 0);
        }
        submit(runs, i, NULL);
        while (seen.ends <= i) {
            assert_true(readable(strait_parent_fd(here.parent), -1));
            assert_true(strait_parent_dispatch(here.parent, 0) >= 0);
        }
        assert_false(readable(strait_parent_fd(here.parent), 0));
        assert_returns(strait_parent_dispatch(here.parent, 0), 0);
    }
    close_pool();
    open_pool(&(struct strait_pool_options){.workers = 1}, &park);
    assert_returns(strait_parent_fd(here.parent), -EINVAL);
    close_pool();
}

static void a_budget_leaves_the_fd_readable(void)
{
    OPEN(.workers = 1);
    submit_some(runs, 0, 600, NULL);
    while (pool_stats().queued) {
        sleep_ns(GATE_NAP_NS);
    }
    while (seen.ends < 10) {
        assert_true(readable(strait_parent_fd(here.parent), -1));
        ptrdiff_t ran = strait_parent_dispatch(here.parent, 1);
        assert_true(ran == 0 || ran == 1);
    }
    assert_true(readable(strait_parent_fd(here.parent), -1));
    assert_true(strait_parent_dispatch(here.parent, 0) <= STRAIT_BUDGET);
    assert_true(readable(strait_parent_fd(here.parent), -1));
    assert_true(strait_parent_poll(here.parent, 3) <= 3);
    settle();
    assert_false(readable(strait_parent_fd(here.parent), 0));
    close_pool();
}

/* The long task ends only when the loop has been told of all that went before: it may gather them,
 * but not until a worker is done with it. After a quiet time, and while they come fast. */
static void no_completion_waits_for_a_long_task(void)
{
    OPEN(.workers = 1);
    for (unsigned round = 0; round < 40; round++) {
        unsigned burst = round % 4 * 100 + 1;
        for (unsigned i = 0; i < burst; i++) {
            submit(runs, i, NULL);
            if (round % 2 && i % 8 == 0) {
                collect();
            }
        }
        shut_gate();
        submit(runs_at_gate, burst, NULL);
        while (strait_parent_owed(here.parent) > 1) {
            collect(); /* by its fd */
        }
        release();
        settle();
    }
    close_pool();
}

/* ---- room ---- */

static unsigned rooms;

static void fills_again(struct strait_parent *parent, void *context)
{
    EXPECT(parent == here.parent && context == &rooms);
    rooms++;
    EXPECT(strait_parent_owed(parent) <= 4);
    EXPECT(try_submit(runs, 100 + rooms, NULL) == 0);
}

static void room_is_told_after_a_refusal_only(void)
{
    struct strait_pool_options options = {.workers = 1, .queue_limit = 3};
    struct strait_parent_options parent = {.room = fills_again, .context = &rooms, .low_water = 1};
    open_pool(&options, &parent);
    rooms = 0;
    hold(1);
    submit_some(runs, 0, 3, NULL);
    assert_returns(strait_parent_dispatch(here.parent, 0), 0);
    assert_int_equal(rooms, 0);
    struct strait_task more = numbered(runs, 9, NULL);
    assert_returns(strait_task_submit_wait(here.parent, &more, NULL, NULL, 0), -ETIMEDOUT);
    release();
    settle();
    assert_int_equal(rooms, 0); /* who waited by himself has asked for no telling */
    hold(1);
    submit_some(runs, 10, 2, NULL);
    strait_task_id id = submit(runs, 12, NULL);
    assert_int_equal(try_submit(runs, 9, NULL), -EAGAIN);
    assert_returns(strait_parent_dispatch(here.parent, 0), 0);
    assert_int_equal(rooms, 0); /* still full */
    release();
    assert_returns(strait_task_wait(here.parent, id, STRAIT_FOREVER), 0);
    settle();
    assert_int_equal(rooms, 1);
    assert_ended(101, 1, STRAIT_TASK_DONE, 1);
    close_pool();
    assert_int_equal(rooms, 1); /* nothing was refused since */
}

/* When a worker takes the task that was in the way, not when it is done with it. */
static void room_is_told_when_there_is_some(void)
{
    struct strait_pool_options options = {.workers = 1, .queue_limit = 1};
    struct strait_parent_options parent = {.room = fills_again, .context = &rooms};
    struct gate second = {0};
    struct strait_task task = numbered(runs_at_gate, 0, &second);
    open_pool(&options, &parent);
    rooms = 0;
    hold(1);
    submit_task(&task, NULL);
    assert_int_equal(try_submit(runs, 1, NULL), -EAGAIN);
    release();
    while (rooms == 0) {
        collect(); /* the fd says so while the second still runs */
    }
    gate_open(&second);
    close_pool();
}

static void counts_room(struct strait_parent *parent, void *context)
{
    (void)parent;
    ++*(unsigned *)context;
}

/* Of one priority while the queue of the other is full still. */
static void room_is_told_for_each_priority(void)
{
    struct strait_pool_options options = {.workers = 1, .queue_limit = 1};
    struct strait_parent_options parent = {.room = counts_room, .context = &rooms};
    struct strait_submit_options high = {.priority = STRAIT_PRIORITY_HIGH};
    struct gate second = {0};
    struct strait_task task = numbered(runs_at_gate, 0, &second);
    open_pool(&options, &parent);
    rooms = 0;
    hold(1);
    submit_task(&task, &high);
    assert_int_equal(try_submit(runs, 1, &high), -EAGAIN);
    submit(runs, 2, NULL);
    assert_int_equal(try_submit(runs, 3, NULL), -EAGAIN);
    release();
    while (rooms == 0) {
        collect(); /* it is in the task of high priority */
    }
    assert_int_equal(seen.runs[2], 0);
    gate_open(&second);
    settle();
    assert_int_equal(rooms, 2);
    close_pool();
}

/* ---- leaving ---- */

static void leaving_drains_or_cancels(void)
{
    for (unsigned cancels = 0; cancels < 2; cancels++) {
        enum strait_close mode = cancels ? STRAIT_CLOSE_CANCEL : STRAIT_CLOSE_DRAIN;
        struct strait_group group = {0};
        struct strait_submit_options how = {.group = &group};
        OPEN(.workers = 2, .queue_limit = 50);
        hold(1);
        submit(cancels ? runs_until_cancelled : runs_at_gate, 0, &how);
        await_arrivals(1);
        submit_some(runs, 1, 50, &how); /* the queue is full */
        assert_returns(strait_parent_detach(here.parent, STRAIT_CLOSE_DRAIN, 0), -ETIMEDOUT);
        assert_returns(strait_parent_detach(here.parent, mode, strait_deadline(5 * MS)),
                       -ETIMEDOUT);
        if (!cancels) { /* the handle goes on */
            assert_int_equal(strait_parent_owed(here.parent), 52);
            assert_int_equal(try_submit(runs, 99, NULL), -EAGAIN);
            assert_returns(strait_parent_poll(here.parent, 0), 0);
        }
        release();
        assert_returns(strait_parent_detach(here.parent, mode, STRAIT_FOREVER), 0);
        assert_ended(0, 1, cancels ? STRAIT_TASK_CANCELLED : STRAIT_TASK_DONE, 1);
        assert_ended(1, 50, cancels ? STRAIT_TASK_ABANDONED : STRAIT_TASK_DONE, !cancels);
        assert_int_equal(pool_stats().abandoned, cancels ? 50 : 0);
        assert_int_equal(pool_stats().parents, 0);
        assert_int_equal(group.pending, 0);
        end_pool();
    }
}

/* ---- how many there may be ---- */

static struct strait_parent *attach(const struct strait_parent_options *options)
{
    struct strait_parent *parent = NULL;
    assert_returns(strait_pool_attach(here.pool, &parent, options), 0);
    return parent;
}

static void there_may_be_so_many_parents_at_one_time(void)
{
    static struct strait_parent *parents[STRAIT_PARENTS_MAX];
    struct strait_task task = {.run = nothing};
    OPEN(.workers = 1); /* it has one already */
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 1; i < STRAIT_PARENTS_MAX; i++) {
            parents[i] = attach(&park);
        }
        assert_returns(strait_pool_attach(here.pool, &parents[0], NULL), -EUSERS);
        assert_int_equal(pool_stats().parents, STRAIT_PARENTS_MAX);
        for (unsigned i = 1; i < STRAIT_PARENTS_MAX; i++) {
            assert_returns(strait_task_submit(parents[i], &task, NULL, NULL), 0);
            leave(parents[i]);
        }
        progress_made();
        leave(attach(NULL)); /* of another wait mode */
    }
    close_pool();
}

/* One worker is in a long task all the while. */
static void parents_that_left_leave_their_places(void)
{
    OPEN(.workers = 1);
    hold(1);
    struct census before = census_take();
    for (size_t i = 0; i < scaled(6000); i++) {
        struct strait_parent_options options = {.wait = (enum strait_wait)(i % 4)};
        struct strait_parent *parent = attach(&options);
        for (unsigned k = 0; k < i % 3; k++) {
            struct strait_submit_options how = {.priority = (enum strait_priority)(k % 2)};
            struct strait_task task = numbered(runs, 1 + k, NULL);
            assert_returns(strait_task_submit(parent, &task, &how, NULL), 0);
        }
        assert_returns(strait_parent_detach(parent, STRAIT_CLOSE_CANCEL, 0), 0);
        progress_made();
    }
    assert_census(before);
    assert_int_equal(pool_stats().queued, 0);
    close_pool();
    assert_int_equal(seen.runs[1] + seen.runs[2], 0);
}

static void *submits_for_main(void *nobody)
{
    try_submit(runs, 1, NULL);
    return nobody;
}

static void uses_a_parent_of_another_thread(void *nobody)
{
    pthread_t other;
    (void)nobody;
    OPEN(.workers = 1);
    submit(runs, 0, NULL);
    pthread_create(&other, NULL, submits_for_main, NULL);
    pthread_join(other, NULL);
}

/* Under ThreadSanitizer the child can start no threads: see in_child. */
static void a_parent_is_one_thread(void)
{
#if defined(STRAIT_CHECKED) && !TEST_TSAN
    char said[512];
    int status = in_child(uses_a_parent_of_another_thread, NULL, said, sizeof(said));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "a parent is used by one thread"));
#else
    (void)uses_a_parent_of_another_thread;
#endif
}

/* ---- what idle parents cost ---- */

/* The best of a few, in nanoseconds for 2,000 tasks. */
static int64_t busy_time(void)
{
    int64_t best = STRAIT_FOREVER;
    for (unsigned round = 0; round < 30; round++) {
        int64_t began = strait_now();
        for (unsigned i = 0; i < 2000; i++) {
            while (strait_parent_owed(here.parent) >= 64) {
                collect();
            }
            submit(runs, i, NULL);
        }
        settle();
        int64_t took = strait_now() - began;
        best = took < best ? took : best;
    }
    return best;
}

/* Idle ones, and those that have left. They slowed the busy one down by twenty, once. */
static void idle_parents_cost_a_busy_one_nothing(void)
{
    static struct strait_parent *idle[500];
    struct strait_task task = {.run = nothing};
    open_pool(&(struct strait_pool_options){.workers = 1}, &park);
    int64_t alone = busy_time();
    for (unsigned i = 0; i < COUNT(idle); i++) {
        idle[i] = attach(&park);
        assert_returns(strait_task_submit(idle[i], &task, NULL, NULL), 0);
        assert_returns(strait_parent_wait_all(idle[i], STRAIT_FOREVER), 0);
    }
    assert_true(busy_time() < 8 * alone);
    for (unsigned i = 0; i < COUNT(idle); i++) {
        leave(idle[i]);
    }
    assert_true(busy_time() < 8 * alone);
    close_pool();
}

static const struct test tests[] = {
    ONCE(a_parent_is_one_thread),
    ONCE(bad_parent_options_are_refused),
    ONCE(the_fd_is_readable_while_there_is_something_to_do),
    ONCE(a_budget_leaves_the_fd_readable),
    ONCE(no_completion_waits_for_a_long_task),
    ONCE(room_is_told_after_a_refusal_only),
    ONCE(room_is_told_when_there_is_some),
    ONCE(room_is_told_for_each_priority),
    ONCE(leaving_drains_or_cancels),
    ONCE(there_may_be_so_many_parents_at_one_time),
    ONCE(parents_that_left_leave_their_places),
    ONCE(idle_parents_cost_a_busy_one_nothing),
};

int main(void)
{
    return RUN_TABLE("pool_parent", tests);
}
