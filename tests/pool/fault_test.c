/* SPDX-License-Identifier: MIT */
/* A pool where the system says no. */
#include "faults.h"
#include "fixture.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>

/* Its first submit makes the worker a parent. */
static int submits(struct strait_task *task)
{
    struct strait_task child = {.run = nothing};
    struct strait_parent *self = strait_parent_current();
    return self ? strait_task_submit(self, &child, NULL, NULL) : -ENOMEM;
}

static void notes_code(struct strait_task *task)
{
    *(int *)task->context = task->code;
}

/* All that a pool and a parent ask the system for, and the first thing that was refused. */
static int create_pool(void)
{
    int cpu = sched_getcpu();
    int nested = 0;
    struct strait_pool *pool = NULL;
    struct strait_parent *parent = NULL;
    struct strait_pool_options options = {.workers = 2,
                                          .queue_limit = 4,
                                          .schedule = STRAIT_SCHEDULE_BATCH,
                                          .nice = 1,
                                          .stack_size = STACK_BYTES,
                                          .pin = STRAIT_PIN_SET,
                                          .cpus = &cpu,
                                          .cpu_count = 1};
    struct strait_task task = {.run = submits, .done = notes_code, .context = &nested};
    struct strait_submit_options high = {.priority = STRAIT_PRIORITY_HIGH};
    int error = strait_pool_create(&pool, &options);
    if (error) {
        return error;
    }
    error = strait_pool_attach(pool, &parent, NULL);
    if (!error) {
        error = strait_task_submit(parent, &task, &high, NULL);
        EXPECT(strait_parent_wait_all(parent, STRAIT_FOREVER) == 0);
    }
    int resized = strait_pool_resize(pool, 3, STRAIT_FOREVER);
    EXPECT(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0);
    return error ? error : nested ? nested : resized;
}

TEST(a_pool_fails_cleanly)
{
    static const unsigned at_least[FUNCTIONS] = {[POSIX_MEMALIGN] = 2,
                                                 [EVENTFD] = 1,
                                                 [TIMERFD_CREATE] = 1,
                                                 [EPOLL_CREATE] = 1,
                                                 [EPOLL_CTL] = 2,
                                                 [PTHREAD_CREATE] = 3,
                                                 [PTHREAD_ATTR_INIT] = 3,
                                                 [SCHED_SETAFFINITY] = 3,
                                                 [PTHREAD_ATTR_SETSTACKSIZE] = 3,
                                                 [PTHREAD_SETNAME] = 1,
                                                 [SCHED_SETSCHEDULER] = 3,
                                                 [SETPRIORITY] = 3};
    fail_everything(create_pool, at_least, PTHREAD_SETNAME);
}

/* Tasks one by one, each of which must wake a worker, and its completion the parent. */
static void few_tasks(unsigned count)
{
    OPEN(.workers = 2);
    for (unsigned i = 0; i < count; i++) {
        if (i % 10 == 0) {
            sleep_ns(MS); /* until the workers sleep, too */
        }
        submit(runs, i, NULL);
        settle();
    }
    assert_ended(0, count, STRAIT_TASK_DONE, 1);
    close_pool();
}

TEST(submits_allocate_nothing)
{
    struct strait_submit_options how = {.priority = STRAIT_PRIORITY_HIGH};
    OPEN(.workers = 2, .queue_limit = 100);
    submit(runs, 0, &how);
    unsigned before = counts.allocations;
    while (pool_stats().done < scaled(10000)) {
        strait_task_id id = 0;
        struct strait_task task = {.run = nothing};
        for (unsigned i = 0; i < 10; i++) {
            how.priority = (enum strait_priority)(i % 2);
            how.start_by = i % 3 ? 0 : strait_deadline(MS);
            int error = strait_task_submit(here.parent, &task, &how, &id);
            assert_true(error == 0 || error == -EAGAIN);
        }
        strait_task_cancel(here.parent, id);
        assert_true(strait_parent_poll(here.parent, 0) >= 0);
        progress_made();
    }
    settle();
    assert_int_equal(counts.allocations, before);
    close_pool();
}

/* Where a worker stands that makes an fd readable, while the first gate is shut. */
static struct gate in_report;
static _Atomic bool stops_in_report;

ssize_t __real_write(int fd, const void *bytes, size_t count);
ssize_t __wrap_write(int fd, const void *bytes, size_t count);
ssize_t __wrap_write(int fd, const void *bytes, size_t count)
{
    if (atomic_exchange(&stops_in_report, false)) {
        gate_wait(&in_report);
    }
    return __real_write(fd, bytes, count);
}

/* A worker is in its report to a parent that has it already, and leaves. What the parent had stays
 * as long, and no longer, and the next but one is in its place. */
TEST(a_parent_leaves_during_a_report)
{
    OPEN(.workers = 1);
    for (unsigned round = 0; round < 3; round++) {
        struct census before = census_take();
        struct strait_parent *parent = attach(STRAIT_WAIT_FD);
        struct strait_task task = numbered(runs, round, NULL);
        memset(&in_report, 0, sizeof(in_report));
        atomic_store(&stops_in_report, true);
        submit_to(parent, &task, NULL);
        gate_await(&in_report, 1);
        assert_returns(strait_parent_poll(parent, 0), 1);
        leave(parent);
        struct strait_parent *next = attach(STRAIT_WAIT_PARK);
        assert_true(next != parent);
        assert_true(census_take().fds > before.fds);
        gate_open(&in_report);
        submit(runs, 10 + round, NULL);
        settle(); /* the worker is done with the report */
        leave(next);
        assert_census(before);
        next = attach(STRAIT_WAIT_PARK);
        assert_true(next == parent);
        leave(next);
    }
    close_pool();
    assert_ended(0, 3, STRAIT_TASK_DONE, 1);
    assert_ended(10, 3, STRAIT_TASK_DONE, 1);
}

static int exits(struct strait_task *task)
{
    pthread_exit(NULL);
}

/* A thread that a task has ended goes on where no other can be had. */
TEST(the_last_worker_stays_where_no_other_can_be_had)
{
    OPEN(.workers = 2);
    hold(2); /* until all are there */
    arm_fault(PTHREAD_CREATE, EVERY);
    for (unsigned task = 0; task < 100; task++) {
        submit(task % 2 ? exits : runs, task, NULL);
    }
    release();
    settle();
    assert_true(counts.hits > 0);
    arm_fault(PTHREAD_CREATE, 0);
    for (unsigned task = 0; task < 100; task++) {
        assert_ended(task, 1, task % 2 ? STRAIT_TASK_FAILED : STRAIT_TASK_DONE, task % 2 == 0);
    }
    close_pool();
}

/* Workers that cannot be started cost little, and are started when that can be, though the parent
 * sits in an event loop, where nothing else happens. */
TEST(a_pool_goes_on_where_it_cannot_grow)
{
    struct strait_task task = {.run = nothing};
    OPEN(.workers = 1, .workers_max = 3, .idle_timeout = 1000 * (int64_t)(1000 * MS));
    hold(1);
    arm_fault(PTHREAD_CREATE, EVERY);
    clock_t before = clock();
    for (int64_t until = strait_deadline(300 * MS); strait_now() < until;) {
        submit_task(&task, NULL);
        sleep_ns(MS);
    }
    assert_true(counts.hits > 0 && counts.hits < 100);
    assert_true(clock() - before < CLOCKS_PER_SEC / 5);
    arm_fault(FUNCTIONS, 0);
    settle_to(1);
    assert_true(pool_stats().workers > 1);
    close_pool();
}

TEST(tasks_wake_without_membarrier)
{
    if (!alone(__func__, NULL)) {
        return;
    }
    refuse_membarrier(~0u, ENOSYS);
    few_tasks(500);
    assert_int_equal(counts.hits, 1); /* asked once, and never again */
    assert_int_equal(counts.naps, 0);
}

TEST(tasks_wake_where_membarrier_fails_later)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) <= 0) {
        skip(); /* the kernel has none */
    }
    if (!alone(__func__, NULL)) {
        return;
    }
    few_tasks(1); /* asks whether there is one */
    refuse_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, ENOMEM);
    few_tasks(50);
    assert_true(counts.hits > 0);
    refuse_membarrier(~0u, EPERM);
    few_tasks(50);
    assert_true(counts.hits > 0);
    assert_int_equal(counts.naps * 2, counts.hits);
}

TEST(tasks_wake_where_futexes_answer_early)
{
    static const int answers[] = {EINTR, EAGAIN};
    for (size_t i = 0; i < COUNT(answers); i++) {
        answer_futexes(answers[i]);
        few_tasks(500);
        assert_true(counts.futex_waits >= 10);
        answer_futexes(0);
    }
}

TEST(workers_share_cpu_0_where_the_affinity_is_unknown)
{
    cpu_set_t cpus;
    if (!getenv(NO_AFFINITY) &&
        (sched_getaffinity(0, sizeof(cpus), &cpus) != 0 || !CPU_ISSET(0, &cpus))) {
        skip();
    }
    if (alone(__func__, NO_AFFINITY)) {
        few_tasks(500);
    }
}
