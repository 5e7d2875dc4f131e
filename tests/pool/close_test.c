/* SPDX-License-Identifier: MIT */
/* The end of a pool: close, finish, destroy; at exit. */
#include "fixture.h"

#include <sys/wait.h>

#define closes(mode, deadline) strait_pool_close(here.pool, mode, deadline, NULL)
#define finishes(mode, deadline) strait_pool_finish(here.pool, here.parent, mode, deadline)

/* ---- close ---- */

TEST(a_pool_that_did_nothing_closes)
{
    for (unsigned workers = 1; workers <= 64; workers *= 8) {
        for (unsigned mode = 0; mode < 2; mode++) {
            OPEN(.workers = workers, .workers_max = 70);
            leave(here.parent);
            assert_returns(strait_pool_destroy(here.pool), -EBUSY);
            close_with((enum strait_close)mode, STRAIT_FOREVER, 0);
            close_with(STRAIT_CLOSE_DRAIN, 0, 0);
            assert_returns(strait_pool_destroy(here.pool), 0);
        }
    }
}

static int is_never_told(struct strait_task *task)
{
    runs_at_gate(task);
    EXPECT(!strait_task_cancelled(task));
    return 0;
}

/* Or drains at first, and then cancels: what has begun is finished all the same, for to tell it is
 * its parent's affair. The loop is told of what is left for it. */
TEST(a_close_drains_or_cancels)
{
    for (unsigned cancels = 0; cancels < 2; cancels++) {
        enum strait_close mode = cancels ? STRAIT_CLOSE_CANCEL : STRAIT_CLOSE_DRAIN;
        OPEN(.workers = 1);
        submit(is_never_told, 0, NULL);
        await_arrivals(1);
        submit_some(runs, 1, 20, NULL);
        close_with(STRAIT_CLOSE_DRAIN, 0, -ETIMEDOUT);
        close_with(mode, 0, -ETIMEDOUT);
        assert_int_equal(try_submit(runs, 99, NULL), -EPIPE);
        assert_returns(strait_pool_attach(here.pool, &(struct strait_parent *){NULL}, NULL),
                       -EPIPE);
        assert_returns(strait_pool_resize(here.pool, 5, 0), -EPIPE);
        release();
        close_with(mode, STRAIT_FOREVER, 0);
        assert_int_equal(pool_stats().workers, 0);
        assert_int_equal(seen.ends, 0); /* the parent is still owed them */
        assert_returns(strait_pool_destroy(here.pool), -EBUSY);
        assert_true(readable(strait_parent_fd(here.parent), -1));
        assert_true(strait_parent_dispatch(here.parent, 1) == 1);
        leave(here.parent);
        assert_ended(0, 1, STRAIT_TASK_DONE, 1);
        assert_ended(1, 20, cancels ? STRAIT_TASK_ABANDONED : STRAIT_TASK_DONE, !cancels);
        assert_int_equal(seen.code[1], cancels ? -ECANCELED : 0);
        assert_returns(strait_pool_destroy(here.pool), 0);
    }
}

static int takes_a_while(struct strait_task *task)
{
    sleep_ns(2 * MS);
    return runs(task);
}

/* By the task that has held it up longest, not by the first that is busy, once that is done with
 * what it was at. */
TEST(a_close_names_what_holds_it_up)
{
    struct strait_pool_worker_stats stuck;
    struct strait_task culprit = numbered(runs_at_gate, 0, &here.gate);
    culprit.name = "the culprit";
    for (unsigned round = 0; round < 4; round++) {
        OPEN(.workers = 2, .timed = round % 2);
        submit_task(&culprit, NULL);
        await_arrivals(1);
        submit_some(takes_a_while, 1, 29, NULL);
        close_with(STRAIT_CLOSE_DRAIN, 0, -ETIMEDOUT);
        unsigned starts = atomic_load(&seen.starts);
        unsigned enough = starts + 2 < 30 ? starts + 2 : 30;
        do {
            int64_t deadline = strait_deadline(20 * MS);
            assert_returns(strait_pool_close(here.pool, STRAIT_CLOSE_DRAIN, deadline, &stuck),
                           -ETIMEDOUT);
        } while (atomic_load(&seen.starts) < enough);
        assert_true(stuck.run == runs_at_gate && strcmp(stuck.name, "the culprit") == 0);
        assert_true(stuck.online && stuck.number < 2);
        assert_true((stuck.running_ns >= 20 * MS) == (round % 2 == 1));
        close_pool();
    }
}

static void *closes_for_ever(void *context)
{
    EXPECT(strait_pool_close(context, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL) == 0);
    return NULL;
}

TEST(a_second_closer_is_told_so)
{
    pthread_t closer;
    OPEN(.workers = 1);
    hold(1);
    thread_start(&closer, closes_for_ever, here.pool);
    while (try_submit(runs, 0, NULL) != -EPIPE) {
        collect();
    }
    close_with(STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, -EBUSY);
    assert_returns(finishes(STRAIT_CLOSE_CANCEL, 0), -EBUSY);
    assert_returns(strait_pool_resize(here.pool, 2, 0), -EBUSY);
    assert_returns(strait_pool_destroy(here.pool), -EBUSY);
    release();
    thread_join(closer);
    close_pool();
}

/* What a closer does last touches no pool that is gone: the sanitizers would tell. */
TEST(a_pool_is_destroyed_when_its_closer_has_left)
{
    for (size_t i = 0; i < scaled(200); i++) {
        struct strait_pool *pool;
        pthread_t closer;
        assert_returns(strait_pool_create(&pool, &(struct strait_pool_options){.workers = 1}), 0);
        thread_start(&closer, closes_for_ever, pool);
        while (strait_pool_destroy(pool) == -EBUSY) {
            sched_yield();
        }
        thread_join(closer);
        progress_made();
    }
}

static struct strait_pool *other_pool;

static int tries_to_end_its_own(struct strait_task *task)
{
    EXPECT(closes(STRAIT_CLOSE_CANCEL, 0) == -EDEADLK);
    EXPECT(finishes(STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_pool_resize(here.pool, 3, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_pool_finish(other_pool, NULL, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0);
    return runs(task);
}

TEST(a_task_may_close_another_pool_only)
{
    OPEN(.workers = 1);
    assert_returns(strait_pool_create(&other_pool, NULL), 0);
    submit(tries_to_end_its_own, 0, NULL);
    close_pool();
    assert_ended(0, 1, STRAIT_TASK_DONE, 1);
}

/* The worker is about to look for the last time when the task and the close come. */
TEST(the_last_task_before_a_close_is_done)
{
    for (unsigned i = 0; i < scaled(1000); i++) {
        OPEN(.workers = 1 + i % 2);
        dawdle(i % 97 * 50);
        submit(runs, 0, NULL);
        close_with(STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, 0);
        assert_returns(strait_parent_detach(here.parent, STRAIT_CLOSE_DRAIN, 0), 0);
        assert_ended(0, 1, STRAIT_TASK_DONE, 1);
        assert_returns(strait_pool_destroy(here.pool), 0);
        progress_made();
    }
}

/* ---- tasks of tasks ---- */

static int has_children_late(struct strait_task *task)
{
    struct strait_parent *self = strait_parent_current();
    gate_wait(task->context);
    for (unsigned i = 1; self && i <= 5; i++) {
        struct strait_task child = numbered(runs, i, NULL);
        int error = strait_task_submit_wait(self, &child, NULL, NULL, STRAIT_FOREVER);
        EXPECT(error == 0 || error == -EPIPE);
    }
    return runs(task);
}

/* While a pool drains a task may still submit, and wait for room; what is cancelled completes on
 * its worker, too. */
TEST(a_workers_own_tasks_end_with_the_pool)
{
    for (unsigned cancels = 0; cancels < 2; cancels++) {
        enum strait_close mode = cancels ? STRAIT_CLOSE_CANCEL : STRAIT_CLOSE_DRAIN;
        OPEN(.workers = 1, .queue_limit = 2);
        submit(has_children_late, 0, NULL);
        await_arrivals(1);
        close_with(mode, 0, -ETIMEDOUT);
        release();
        close_with(mode, STRAIT_FOREVER, 0);
        settle();
        assert_ended(0, 1, STRAIT_TASK_DONE, 1);
        if (!cancels) {
            assert_ended(1, 5, STRAIT_TASK_DONE, 1);
        }
        struct strait_pool_stats stats = pool_stats();
        assert_int_equal(stats.submitted, stats.done + stats.abandoned);
        close_pool();
    }
}

/* ---- finish ---- */

TEST(finish_leaves_other_parents_alone)
{
    OPEN(.workers = 1);
    struct strait_parent *other = attach(STRAIT_WAIT_FD);
    submit(runs, 0, NULL);
    assert_returns(finishes(STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), -EBUSY);
    assert_returns(strait_pool_finish(here.pool, NULL, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), -EBUSY);
    submit_some(runs, 1, 10, NULL); /* nothing has happened */
    leave(other);
    assert_returns(finishes(STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_ended(0, 11, STRAIT_TASK_DONE, 1);
}

/* ---- what a thread and a process do at their end; of forks see extra/fork_test ---- */

static pthread_key_t key;
static pthread_mutex_t last = PTHREAD_MUTEX_INITIALIZER;

static void ends_slowly(void *value)
{
    pthread_mutex_lock(&last);
    pthread_mutex_unlock(&last);
    sleep_ns(400 * MS);
}

static int leaves_a_slow_destructor(struct strait_task *task)
{
    EXPECT(pthread_setspecific(key, &key) == 0);
    return runs(task);
}

/* And who waits for the rest burns no CPU. */
TEST(a_close_keeps_its_deadline_whatever_threads_do_last)
{
    struct strait_pool_worker_stats stuck;
    assert_int_equal(pthread_key_create(&key, ends_slowly), 0);
    OPEN(.workers = 3, .workers_max = 5);
    submit(leaves_a_slow_destructor, 0, NULL);
    settle();
    pthread_mutex_lock(&last); /* for ever, if the close does not keep its deadline */
    clock_t cpu = clock();
    assert_returns(
        strait_pool_close(here.pool, STRAIT_CLOSE_DRAIN, strait_deadline(20 * MS), &stuck),
        -ETIMEDOUT);
    assert_null(stuck.run); /* no task runs */
    pthread_mutex_unlock(&last);
    close_pool();
    assert_true(clock() - cpu < CLOCKS_PER_SEC / 20);
    assert_int_equal(pthread_key_delete(key), 0);
}

static int works_for_ever(struct strait_task *task)
{
    while (task) {
        dawdle(1000);
    }
    return 0;
}

static void exits_in_the_middle(void *context)
{
    OPEN(.workers = 2);
    submit(works_for_ever, 0, NULL);
    submit(works_for_ever, 1, NULL);
    submit(runs, 2, NULL);
    sleep_ns(5 * MS);
    fflush(NULL);
    exit(0);
}

TEST(a_process_may_exit_while_its_pool_works)
{
    char said[1024];
    if (TEST_TSAN || TEST_ASAN) {
        skip();
    }
    int status = in_child(exits_in_the_middle, NULL, said, sizeof(said));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(said, "");
}
