/* SPDX-License-Identifier: MIT */
/* Waiting for one task, a group, any completion or all of them. */
#include "fixture.h"

#include <sys/resource.h>

static void open_with(unsigned workers, unsigned mode)
{
    open_pool(&(struct strait_pool_options){.workers = workers, .queue_limit = 32768},
              &(struct strait_parent_options){.wait = (enum strait_wait)mode});
}

/* ---- what ends a wait ---- */

static strait_task_id awaited_id;
static struct strait_group awaited;

static ptrdiff_t wait_one(int64_t deadline)
{
    return strait_task_wait(here.parent, awaited_id, deadline);
}

static ptrdiff_t wait_group(int64_t deadline)
{
    return strait_group_wait(here.parent, &awaited, deadline);
}

static ptrdiff_t wait_all(int64_t deadline)
{
    return strait_parent_wait_all(here.parent, deadline);
}

static ptrdiff_t wait_any(int64_t deadline)
{
    ptrdiff_t n = strait_parent_wait_any(here.parent, deadline);
    return n > 0 ? 0 : n;
}

static ptrdiff_t (*const waits[])(int64_t) = {wait_one, wait_group, wait_all, wait_any};

TEST(a_wait_ends_with_what_it_waits_for)
{
    for (unsigned k = 0; k < 3 * COUNT(waits); k++) {
        ptrdiff_t (*wait)(int64_t) = waits[k / 3];
        struct strait_submit_options how = {.group = &awaited};
        memset(&awaited, 0, sizeof(awaited));
        open_with(1, STRAIT_WAIT_PARK + k % 3);
        awaited_id = submit(runs_at_gate, 0, &how);
        await_arrivals(1);
        assert_returns(wait(0), -ETIMEDOUT);
        int64_t before = strait_now();
        assert_returns(wait(strait_deadline(MS)), -ETIMEDOUT);
        assert_true(strait_now() - before >= MS);
        assert_int_equal(awaited.pending, 1);
        release();
        assert_returns(wait(STRAIT_FOREVER), 0);
        assert_ended(0, 1, STRAIT_TASK_DONE, 1);
        assert_int_equal(awaited.pending, 0);
        assert_returns(wait(0), 0); /* it is over, and stays so */
        close_pool();
    }
}

TEST(wait_any_says_how_many)
{
    ptrdiff_t ran = 0;
    OPEN(.workers = 2);
    submit_some(runs, 0, 100, NULL);
    while (ran < 100) {
        ptrdiff_t more = strait_parent_wait_any(here.parent, STRAIT_FOREVER);
        assert_true(more > 0);
        ran += more;
        assert_int_equal(seen.ends, ran);
    }
    assert_returns(strait_parent_wait_any(here.parent, STRAIT_FOREVER), 0); /* none is owed */
    close_pool();
}

/* ---- others meanwhile ---- */

static void opens_the_gate(struct strait_task *task)
{
    note_done(task);
    release();
}

/* What is awaited ends only once another's completion has run. */
TEST(others_complete_during_a_wait)
{
    for (unsigned mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
        struct strait_task opener = numbered(runs, 1, NULL);
        opener.done = opens_the_gate;
        open_with(2, mode);
        strait_task_id id = submit(runs_at_gate, 0, NULL);
        await_arrivals(1);
        submit_task(&opener, NULL);
        assert_returns(strait_task_wait(here.parent, id, STRAIT_FOREVER), 0);
        assert_int_equal(seen.completions[1], 1);
        close_pool();
    }
}

static void goes_on(struct strait_task *task)
{
    struct strait_task next = {.run = task->run, .done = goes_on};
    if (!atomic_load(&here.gate.open)) {
        EXPECT(strait_task_submit(here.parent, &next, NULL, NULL) == 0);
    }
}

/* Something has always completed, and yet the deadline is kept: the watchdog would tell. */
TEST(a_wait_ends_in_time_whatever_completes)
{
    struct strait_task task = {.run = nothing, .done = goes_on};
    OPEN(.workers = 2);
    strait_task_id id = submit(runs_at_gate, 0, NULL);
    await_arrivals(1);
    submit_task(&task, NULL);
    assert_returns(strait_task_wait(here.parent, id, strait_deadline(20 * MS)), -ETIMEDOUT);
    assert_returns(strait_parent_wait_all(here.parent, strait_deadline(20 * MS)), -ETIMEDOUT);
    close_pool();
}

/* ---- what it costs ---- */

static int some_work(struct strait_task *task)
{
    dawdle(1000);
    return nothing(task);
}

/* The waiting thread sleeps until the last of many: it looks at others once a millisecond at most,
 * and spends next to nothing. */
TEST(a_wait_costs_the_waiter_little)
{
    enum { MANY = 20000 };
    struct strait_task *many = calloc(MANY, sizeof(*many));
    assert_non_null(many);
    for (size_t i = 0; i < MANY; i++) {
        many[i].run = some_work;
    }
    for (unsigned mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode += 2) {
        struct strait_group group = {0};
        struct strait_submit_options how = {.group = &group};
        struct rusage before;
        struct rusage after;
        open_with(2, mode);
        assert_returns(strait_task_submit_many(here.parent, many, MANY, &how, NULL), MANY);
        int64_t cpu = thread_cpu_ns();
        int64_t began = strait_now();
        getrusage(RUSAGE_THREAD, &before);
        assert_returns(strait_group_wait(here.parent, &group, STRAIT_FOREVER), 0);
        getrusage(RUSAGE_THREAD, &after);
        cpu = thread_cpu_ns() - cpu;
        assert_true(after.ru_nvcsw - before.ru_nvcsw <= 20 + 2 * (strait_now() - began) / MS);
        assert_true(cpu < 25 * MS || TEST_TSAN || TEST_ASAN);
        close_pool();
    }
    free(many);
}

/* ---- a group's memory ---- */

/* Once nothing is pending the group's memory is the caller's: nobody writes to it, ever. */
TEST(nobody_touches_a_group_after_its_wait)
{
    static struct strait_group groups[64];
    unsigned char scribbled[sizeof(groups)];
    memset(scribbled, 0xa5, sizeof(scribbled));
    memset(groups, 0xa5, sizeof(groups));
    for (unsigned mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
        open_with(2, mode);
        for (unsigned round = 0; round < scaled(5000); round++) {
            struct strait_group *group = &groups[round % COUNT(groups)];
            struct strait_submit_options how = {.group = group};
            assert_memory_equal(group, scribbled, sizeof(*group));
            memset(group, 0, sizeof(*group));
            submit_some(runs, 0, round % 3, &how);
            if (strait_task_cancel(here.parent, submit(runs, 3, &how)) == 0 && round % 2) {
                settle();
            }
            assert_returns(strait_group_wait(here.parent, group, STRAIT_FOREVER), 0);
            memset(group, 0xa5, sizeof(*group));
            progress_made();
        }
        close_pool();
        assert_memory_equal(groups, scribbled, sizeof(groups));
    }
}

/* ---- a pool that closes, a worker that is stopped ---- */

static void *closes(void *mode)
{
    sleep_ns(5 * MS);
    EXPECT(strait_pool_close(here.pool, *(enum strait_close *)mode, 0, NULL) == -ETIMEDOUT);
    release();
    return NULL;
}

TEST(a_wait_ends_when_the_pool_closes)
{
    for (unsigned k = 0; k < 6; k++) {
        pthread_t closer;
        enum strait_close mode = k % 2 ? STRAIT_CLOSE_DRAIN : STRAIT_CLOSE_CANCEL;
        open_with(1, STRAIT_WAIT_PARK + k / 2);
        hold(1);
        submit(runs, 0, NULL);
        strait_task_id id = submit(runs, 1, NULL);
        thread_start(&closer, closes, &mode);
        assert_returns(strait_task_wait(here.parent, id, STRAIT_FOREVER), 0);
        assert_ended(1, 1, k % 2 ? STRAIT_TASK_DONE : STRAIT_TASK_ABANDONED, k % 2);
        thread_join(closer);
        close_pool();
    }
}

static int waits_for_a_task(struct strait_port *port, void *data)
{
    struct strait_task task = numbered(runs_at_gate, 0, &here.gate);
    strait_task_id id = 0;
    EXPECT(strait_pool_attach(here.pool, &here.parent, NULL) == 0);
    EXPECT(strait_task_submit(here.parent, &task, NULL, &id) == 0);
    EXPECT(strait_task_wait(here.parent, id, STRAIT_FOREVER) == -ECANCELED);
    EXPECT(strait_parent_owed(here.parent) == 1);
    release();
    EXPECT(strait_parent_detach(here.parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0);
    return -ECANCELED;
}

TEST(a_worker_that_is_stopped_waits_no_longer)
{
    struct strait_worker *worker = NULL;
    struct strait_worker_options options = {.entry = waits_for_a_task};
    OPEN(.workers = 1);
    leave(here.parent);
    assert_returns(strait_worker_spawn(&worker, &options), 0);
    gate_await(&here.gate, 1);
    strait_worker_stop(worker);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    assert_returns(strait_worker_destroy(worker), 0);
    end_pool();
}
