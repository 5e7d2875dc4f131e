/* SPDX-License-Identifier: MIT */
/* Threads that end before their time: what they had is finished by others. */
#include "pool/fixture.h"

/* ---- a worker whose init ends its thread ---- */

static _Atomic unsigned inits;
static unsigned first_that_ends;

static int ends_its_thread(unsigned worker, void **data, void *context)
{
    if (atomic_fetch_add(&inits, 1) >= first_that_ends) {
        pthread_exit(NULL);
    }
    return 0;
}

TEST(an_init_that_ends_its_thread_fails_the_create)
{
    struct strait_pool_options options = {.workers = 3, .init = ends_its_thread};
    struct strait_pool *pool = NULL;
    for (first_that_ends = 0; first_that_ends < 3; first_that_ends++) {
        atomic_store(&inits, 0);
        assert_returns(strait_pool_create(&pool, &options), -EINTR);
        assert_null(pool);
    }
}

TEST(an_init_that_ends_its_thread_fails_a_growth)
{
    first_that_ends = 1;
    atomic_store(&inits, 0);
    OPEN(.workers = 1, .workers_max = 2, .init = ends_its_thread);
    hold(1);
    submit(runs, 0, NULL); /* nobody is idle: it starts one more */
    await(&inits, 2);
    release();
    settle();
    assert_ended(0, 1, STRAIT_TASK_DONE, 1);
    while (pool_stats().workers > 1) { /* what follows init counts it out */
        sched_yield();
    }
    assert_int_equal(pool_stats().workers, 1);
    close_pool();
}

/* ---- a task that ends its thread ---- */

static int exits(struct strait_task *task)
{
    pthread_exit(NULL);
}

static int is_cancelled(struct strait_task *task)
{
    pthread_cancel(pthread_self());
    pthread_testcancel();
    return 0;
}

static int waits_for_a_child_that_exits(struct strait_task *task)
{
    bool exit = TEST_ASAN || number_of(task) % 4 == 1; /* see below */
    struct strait_task child = {.run = exit ? exits : is_cancelled};
    strait_task_id id;
    EXPECT(strait_task_submit(strait_parent_current(), &child, NULL, &id) == 0);
    return strait_task_wait(strait_parent_current(), id, STRAIT_FOREVER);
}

static void has_two(strait_run_fn *run, strait_done_fn *done)
{
    for (unsigned i = 0; i < 2; i++) {
        struct strait_task child = numbered(run, 100 + i, NULL);
        child.done = done;
        EXPECT(strait_task_submit(strait_parent_current(), &child, NULL, NULL) == 0);
    }
}

/* The two that it waits for none of are run though it has ended its thread. */
static int leaves_two(struct strait_task *task, strait_run_fn *run)
{
    has_two(run, note_done);
    return exits(task);
}

static int leaves_children(struct strait_task *task)
{
    return leaves_two(task, runs);
}

static int leaves_children_that_exit(struct strait_task *task)
{
    return leaves_two(task, exits);
}

static void completes_and_exits(struct strait_task *task)
{
    note_done(task);
    pthread_exit(NULL);
}

/* Each completion is the last thing that a thread does. */
static int waits_for_completions_that_exit(struct strait_task *task)
{
    has_two(runs, completes_and_exits);
    return strait_parent_wait_all(strait_parent_current(), STRAIT_FOREVER);
}

static _Atomic unsigned finis;

static void counts_fini(unsigned worker, void *data, void *context)
{
    atomic_fetch_add(&finis, 1);
}

static void exits_fini(unsigned worker, void *data, void *context)
{
    counts_fini(worker, data, context);
    pthread_exit(NULL);
}

/* Each of several workers loses its thread, some more than once, while tasks wait. */
TEST(a_task_that_ends_its_thread_has_failed)
{
    static const struct {
        strait_run_fn *run;
        bool cancelled;
        enum strait_task_status children;
    } ways[] = {
        {exits, false, STRAIT_TASK_DONE},
        {is_cancelled, true, STRAIT_TASK_DONE},
        {waits_for_a_child_that_exits, false, STRAIT_TASK_DONE},
        {leaves_children, false, STRAIT_TASK_DONE},
        {leaves_children_that_exit, false, STRAIT_TASK_FAILED},
        {waits_for_completions_that_exit, false, STRAIT_TASK_DONE},
    };
    for (size_t i = 0; i < COUNT(ways); i++) {
        for (unsigned workers = 1; workers <= 2; workers++) {
            bool children = i >= 3;
            if (ways[i].cancelled && TEST_ASAN) {
                continue; /* it does not follow a cancellation up the stack */
            }
            if (ways[i].run == waits_for_a_child_that_exits && workers > 1) {
                continue; /* the other worker may take the child, and lose its thread instead */
            }
            finis = 0;
            OPEN(.workers = workers, .fini = i % 2 ? exits_fini : counts_fini);
            hold(workers);
            for (unsigned task = 0; task < 8; task++) {
                submit(runs, 2 * task, NULL);
                if (task == 0 || !children) {
                    submit(ways[i].run, 2 * task + 1, NULL);
                }
            }
            release();
            settle();
            for (unsigned task = 0; task < 8; task++) {
                assert_ended(2 * task, 1, STRAIT_TASK_DONE, 1);
                if (task == 0 || !children) {
                    assert_int_equal(seen.completions[2 * task + 1], 1);
                    assert_int_equal(seen.status[2 * task + 1], STRAIT_TASK_FAILED);
                    assert_int_equal(seen.code[2 * task + 1], -EINTR);
                }
            }
            submit(runs, 50, NULL); /* somebody is there */
            settle();
            assert_ended(50, 1, STRAIT_TASK_DONE, 1);
            while (pool_stats().workers > workers) { /* some may be on their way */
                sched_yield();
            }
            close_pool();
            for (unsigned child = 100; children && child < 102; child++) {
                assert_int_equal(seen.completions[child], 1);
                assert_int_equal(seen.status[child], ways[i].children);
            }
            /* what was started for a task that somebody else took goes at the end */
            assert_in_range(finis, children ? 1 : 8, workers + (children ? 3 : 8));
        }
    }
}

/* The last worker, too. */
TEST(a_pool_ends_though_its_tasks_end_its_threads)
{
    static const enum strait_close modes[] = {STRAIT_CLOSE_DRAIN, STRAIT_CLOSE_CANCEL};
    for (size_t round = 0; round < scaled(200); round++) {
        OPEN(.workers = 1 + round / 2 % 2);
        for (unsigned task = 0; task < 8; task++) {
            submit(task % 2 ? exits : runs, task, NULL);
        }
        assert_returns(strait_pool_finish(here.pool, here.parent, modes[round % 2], STRAIT_FOREVER),
                       0);
        for (unsigned task = 0; task < 8; task++) {
            assert_int_equal(seen.completions[task], 1);
            assert_true(round % 2 == 1 || seen.code[task] == (task % 2 ? -EINTR : 0));
        }
    }
}

/* ---- a worker that is long about its end ---- */

static pthread_key_t slow_key;
static struct gate slow;

static void slow_destructor(void *value)
{
    gate_wait(&slow);
}

static int will_be_slow_to_go(struct strait_task *task)
{
    EXPECT(pthread_setspecific(slow_key, &slow) == 0);
    return runs_at_gate(task);
}

/* One that has ended for want of work, but for what its thread does last, is in nobody's way. */
TEST(a_worker_that_is_slow_to_go_keeps_no_other_from_coming)
{
    memset(&slow, 0, sizeof(slow));
    assert_int_equal(pthread_key_create(&slow_key, slow_destructor), 0);
    OPEN(.workers = 1, .workers_max = 2, .idle_timeout = 1);
    submit(will_be_slow_to_go, 0, NULL);
    submit(will_be_slow_to_go, 1, NULL);
    await_arrivals(2);
    release();
    settle();
    gate_await(&slow, 1); /* one has gone, as far as it can */
    assert_int_equal(pool_stats().workers, 1);
    shut_gate();
    hold(1);
    submit(runs, 2, NULL);
    await_starts(3);
    release();
    settle();
    assert_ended(0, 3, STRAIT_TASK_DONE, 1);
    gate_open(&slow);
    close_pool();
    pthread_key_delete(slow_key);
}

/* ---- a parent whose thread has ended ---- */

static void *attaches_and_ends(void *context)
{
    struct strait_parent **parent = context;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    EXPECT(strait_pool_attach(here.pool, parent, &options) == 0);
    for (unsigned i = 1; i <= 10; i++) {
        struct strait_task task = numbered(runs, i, NULL);
        task.done = note_done;
        EXPECT(strait_task_submit(*parent, &task, NULL, NULL) == 0);
    }
    return NULL;
}

TEST(a_parent_is_finished_by_who_has_joined_its_thread)
{
    struct strait_parent *left = NULL;
    pthread_t thread;
    OPEN(.workers = 1);
    thread_start(&thread, attaches_and_ends, &left);
    thread_join(thread);
    assert_returns(strait_parent_detach(left, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_ended(1, 10, STRAIT_TASK_DONE, 1);
    close_pool();
}

/* ---- a task in place that ends the thread ---- */

static void is_left(struct strait_task *task)
{
    EXPECT(false);
}

static int returns(struct strait_task *task)
{
    return 0;
}

static void ends_in_place(struct strait_parent *parent)
{
    struct strait_submit_options in_place = {.in_place = true};
    struct strait_task task = {.run = returns};
    struct strait_task child = {.run = exits, .done = is_left};
    while (strait_task_submit(parent, &task, NULL, NULL) == 0) {
    }
    strait_task_submit(parent, &child, &in_place, NULL);
    EXPECT(false);
}

static int ends_in_place_of_a_task(struct strait_task *task)
{
    ends_in_place(strait_parent_current());
    return 0;
}

static void *attaches_and_ends_in_place(void *context)
{
    struct strait_parent **parent = context;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    EXPECT(strait_pool_attach(here.pool, parent, &options) == 0);
    ends_in_place(*parent);
    return NULL;
}

/* It is part of a submit that never returns, on a worker and on a parent of its own. */
TEST(a_task_that_ends_its_thread_in_place_was_never_submitted)
{
    struct strait_parent *left = NULL;
    pthread_t thread;
    OPEN(.workers = 1, .queue_limit = 2);
    submit(ends_in_place_of_a_task, 0, NULL);
    settle();
    assert_int_equal(seen.code[0], -EINTR);
    hold(1);
    thread_start(&thread, attaches_and_ends_in_place, &left);
    thread_join(thread);
    assert_int_equal(strait_parent_owed(left), 2);
    release();
    assert_returns(strait_parent_detach(left, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    submit(runs, 1, NULL);
    settle();
    assert_ended(1, 1, STRAIT_TASK_DONE, 1);
    close_pool();
}

/* ---- the ends of a channel and of a port ---- */

static struct strait_sender sender;
static struct strait_port port;

static void *sends_and_ends(void *channel)
{
    void *message = NULL;
    EXPECT(strait_sender_open(&sender, channel) == 0);
    EXPECT(strait_try_send(&sender, &message, 1) == 1);
    strait_port_adopt(&port);
    EXPECT(strait_try_send(&port.sender, &message, 1) == 1);
    return NULL;
}

TEST(an_end_is_finished_by_who_has_joined_its_thread)
{
    struct strait_channel *channel;
    struct strait_receiver receiver;
    struct strait_port other;
    void *message = NULL;
    pthread_t thread;
    assert_returns(strait_channel_create(&channel, NULL), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    assert_returns(strait_port_pair(&port, &other, NULL), 0);
    strait_port_give(&port);
    thread_start(&thread, sends_and_ends, channel);
    thread_join(thread);
    strait_sender_adopt(&sender);
    strait_port_adopt(&port);
    assert_returns(strait_try_send(&sender, &message, 1), 1);
    assert_returns(strait_try_send(&port.sender, &message, 1), 1);
    strait_sender_close(&sender);
    strait_port_close(&port);
    for (int i = 0; i < 2; i++) {
        assert_returns(strait_try_receive(&receiver, &message, 1), 1);
        assert_returns(strait_try_receive(&other.receiver, &message, 1), 1);
    }
    assert_returns(strait_try_receive(&receiver, &message, 1), -EPIPE);
    assert_returns(strait_try_receive(&other.receiver, &message, 1), -EPIPE);
    strait_port_close(&other);
    strait_channel_destroy(channel, NULL, NULL);
}
