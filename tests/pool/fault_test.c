/* SPDX-License-Identifier: MIT */
/* A pool where the system says no. */
#include "faults.h"

#include "strait/pool.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>

static int create_pool(void)
{
    int cpu = sched_getcpu(); /* by name, so that it may not be refused */
    struct strait_pool *pool = NULL;
    struct strait_pool_options options = {
        .workers = 3,
        .queue_limit = 4,
        .schedule = STRAIT_SCHEDULE_BATCH,
        .nice = 1,
        .stack_size = STACK_BYTES,
        .pin = STRAIT_PIN_CPU,
        .cpus = &cpu,
        .cpu_count = 1,
    };
    struct strait_parent *parent = NULL;
    int error = strait_pool_create(&pool, &options);
    if (!error) {
        int attached = strait_pool_attach(pool, &parent, NULL);
        strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
        error = strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL);
        error = error ? error : strait_pool_destroy(pool);
        error = error ? error : attached;
    }
    return error;
}

static void a_pool_fails_cleanly(void)
{
    static const unsigned at_least[FUNCTIONS] = {
        [POSIX_MEMALIGN] = 3,    [EVENTFD] = 1,
        [PTHREAD_CREATE] = 3,    [PTHREAD_ATTR_INIT] = 3,
        [SCHED_SETAFFINITY] = 3, [PTHREAD_ATTR_SETSTACKSIZE] = 3,
        [PTHREAD_SETNAME] = 1,   [SCHED_SETSCHEDULER] = 3,
        [SETPRIORITY] = 3};
    fail_everything(create_pool, at_least, PTHREAD_SETNAME);
}

static int quick(struct strait_task *task)
{
    (void)task;
    return 0;
}

/* Tasks one by one, each of which must wake a worker, and its completion the parent. */
static void few_tasks(uint64_t count)
{
    struct strait_pool *pool = NULL;
    struct strait_task task = {.run = quick};
    struct strait_pool_options options = {.workers = 2, .schedule = STRAIT_SCHEDULE_NORMAL};
    struct strait_parent *parent = NULL;
    assert_returns(strait_pool_create(&pool, &options), 0);
    assert_returns(strait_pool_attach(pool, &parent, NULL), 0);
    while (count) {
        if (count % 50 == 0) {
            sleep_ns(1000000); /* until the workers sleep, too */
        }
        assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
        assert_true(readable(strait_parent_fd(parent), -1));
        count -= strait_parent_dispatch(parent, 0) > 0;
        progress_made();
    }
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_destroy(pool), 0);
}

static void submits_allocate_nothing(void)
{
    struct strait_pool *pool = NULL;
    struct strait_pool_options options = {
        .workers = 2,
        .queue_limit = 100,
        .schedule = STRAIT_SCHEDULE_NORMAL,
    };
    struct strait_task task = {.run = quick};
    struct strait_pool_stats stats = {0};
    struct strait_parent *parent = NULL;
    assert_returns(strait_pool_create(&pool, &options), 0);
    assert_returns(strait_pool_attach(pool, &parent, NULL), 0);
    unsigned before = counts.allocations;
    while (stats.done < scaled(10000)) {
        strait_task_id id;
        for (int i = 0; i < 10; i++) {
            int error = strait_task_submit(parent, &task, NULL, &id);
            assert_true(error == 0 || error == -EAGAIN);
        }
        strait_task_cancel(parent, id);
        strait_parent_dispatch(parent, 0);
        strait_pool_stats(pool, &stats);
        progress_made();
    }
    assert_int_equal(counts.allocations, before);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_int_equal(counts.allocations, before);
    assert_returns(strait_pool_destroy(pool), 0);
}

static void tasks_wake_without_membarrier(void)
{
    if (!alone(__func__, NULL)) {
        return;
    }
    refuse_membarrier(~0u, ENOSYS);
    few_tasks(500);
    assert_int_equal(counts.hits, 1); /* asked once, and never again */
    assert_int_equal(counts.naps, 0);
}

static void tasks_wake_where_membarrier_fails_later(void)
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

static void tasks_wake_where_futexes_answer_early(void)
{
    static const int answers[] = {EINTR, EAGAIN};
    for (size_t i = 0; i < COUNT(answers); i++) {
        answer_futexes(answers[i]);
        few_tasks(500);
        assert_true(counts.futex_waits >= 10);
        answer_futexes(0);
    }
}

static void workers_share_cpu_0_where_the_affinity_is_unknown(void)
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

static void one_task(void)
{
    arm_fault(FUNCTIONS, 0);
    few_tasks(1);
}

static void a_pool_fails_cleanly_inside_the_c_library(void)
{
    if (RUNTIME_INTERFERES) {
        skip(); /* a sanitizer's runtime ends the program when it gets no memory or no thread */
    }
    if (alone(__func__, NULL)) {
        refuse_everything(create_pool, one_task, 3);
    }
}

int main(void)
{
    static const struct test tests[] = {
        ONCE(a_pool_fails_cleanly),
        ONCE(submits_allocate_nothing),
        ONCE(tasks_wake_without_membarrier),
        ONCE(tasks_wake_where_membarrier_fails_later),
        ONCE(tasks_wake_where_futexes_answer_early),
        ONCE(workers_share_cpu_0_where_the_affinity_is_unknown),
        ONCE(a_pool_fails_cleanly_inside_the_c_library),
    };
    return RUN_TABLE("pool_fault", tests);
}
