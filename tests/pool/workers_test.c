/* SPDX-License-Identifier: MIT */
/* A pool's workers: what they are, how many there are, where they run, and that they rest. */
#include "fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NEVER (1000 * 1000 * (int64_t)MS)

static void await_workers(unsigned count)
{
    while (pool_stats().workers != count) {
        sleep_ns(MS);
    }
    progress_made();
}

/* ---- init, fini, data ---- */

struct lives {
    _Atomic unsigned inits;
    _Atomic unsigned finis;
    unsigned fails; /* the number of the worker whose init fails */
    int with;
    int32_t threads[8];
};

static int begins(unsigned worker, void **data, void *context)
{
    struct lives *lives = context;
    atomic_fetch_add(&lives->inits, 1);
    lives->threads[worker] = thread_number();
    *data = &lives->threads[worker];
    EXPECT(!strait_pool_data() || strait_pool_data() == *data);
    return worker == lives->fails ? lives->with : 0;
}

static void ends(unsigned worker, void *data, void *context)
{
    struct lives *lives = context;
    EXPECT(data == &lives->threads[worker] && lives->threads[worker] == thread_number());
    atomic_fetch_add(&lives->finis, 1);
}

static int finds_its_data(struct strait_task *task)
{
    const int32_t *thread = strait_pool_data();
    EXPECT(thread && *thread == thread_number());
    return runs_at_gate(task);
}

TEST(each_worker_begins_and_ends)
{
    struct lives lives = {.fails = 99};
    OPEN(.workers = 2, .init = begins, .fini = ends, .context = &lives);
    assert_int_equal(atomic_load(&lives.inits), 2);
    assert_null(strait_pool_data());
    assert_returns(strait_pool_resize(here.pool, 4, STRAIT_FOREVER), 0);
    assert_int_equal(atomic_load(&lives.inits), 4);
    submit_some(finds_its_data, 0, 4, NULL);
    await_arrivals(4);
    assert_int_equal(atomic_load(&lives.finis), 0);
    close_pool();
    assert_int_equal(atomic_load(&lives.finis), 4);
}

/* What was not begun is not ended. */
TEST(an_init_that_fails_leaves_nothing)
{
    static const int results[][2] = {{-EIO, -EIO}, {5, -ECANCELED}};
    for (unsigned k = 0; k < 6; k++) {
        struct lives lives = {.fails = k / 2, .with = results[k % 2][0]};
        struct strait_pool *pool = NULL;
        struct strait_pool_options options = {
            .workers = 3, .init = begins, .fini = ends, .context = &lives};
        assert_returns(strait_pool_create(&pool, &options), results[k % 2][1]);
        assert_null(pool);
        assert_int_equal(atomic_load(&lives.finis), atomic_load(&lives.inits) - 1);
    }
    struct lives lives = {.fails = 2, .with = -EIO};
    OPEN(.workers = 1, .init = begins, .fini = ends, .context = &lives);
    assert_returns(strait_pool_resize(here.pool, 4, STRAIT_FOREVER), -EIO);
    assert_true(pool_stats().workers >= 2); /* as many as could be started */
    hold(2);
    close_pool();
    assert_int_equal(atomic_load(&lives.finis), atomic_load(&lives.inits) - 1);
}

/* ---- names, classes, signals ---- */

static int looks_at_itself(struct strait_task *task)
{
    sigset_t blocked;
    char name[16];
    pthread_getname_np(pthread_self(), name, sizeof(name));
    EXPECT(strcmp(name, "crew-0") == 0);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    EXPECT(sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGALRM));
    EXPECT(!sigismember(&blocked, SIGSEGV) && !sigismember(&blocked, SIGABRT));
    return runs(task);
}

static unsigned cpus_of(int32_t thread)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(thread, sizeof(set), &set), 0);
    return (unsigned)CPU_COUNT(&set);
}

/* Of a thread, in ns; 0: the kernel has none, or does not say. */
static uint64_t slice_of(int32_t thread)
{
    struct {
        uint32_t size_and_policy[2];
        uint64_t flags;
        uint32_t nice_and_priority[2];
        uint64_t slice_ns;
        uint64_t others[2];
    } attributes = {.slice_ns = 0};
    long failed = syscall(SYS_sched_getattr, thread, &attributes, sizeof(attributes), 0);
    return failed ? 0 : attributes.slice_ns;
}

/* Where the workers fill the machine they are nicer, and yield sooner; who asks for a class gets
 * it.
 */
TEST(workers_are_of_the_class_they_were_given)
{
    unsigned cpus = cpus_of(0);
    const struct {
        struct strait_pool_options options;
        int class;
        int nice;
    } given[] = {
        {{.workers = 1}, cpus == 1 ? SCHED_BATCH : SCHED_OTHER, cpus == 1 ? 10 : 0},
        {{.workers = cpus}, SCHED_BATCH, 10},
        {{.workers = cpus, .nice = 3}, SCHED_OTHER, 3},
        {{.workers = 1, .workers_max = cpus, .idle_timeout = NEVER}, SCHED_BATCH, 10},
        {{.workers = cpus, .schedule = STRAIT_SCHEDULE_NORMAL}, SCHED_OTHER, 0},
        {{.workers = 1, .schedule = STRAIT_SCHEDULE_BATCH, .nice = 2}, SCHED_BATCH, 2},
        {{.workers = 2, .schedule = STRAIT_SCHEDULE_IDLE}, SCHED_IDLE, 0},
    };
    int own = getpriority(PRIO_PROCESS, 0);
    for (size_t i = 0; i < COUNT(given); i++) {
        struct strait_pool_options options = given[i].options;
        options.name = "crew";
        open_as_it_is(&options, NULL);
        struct strait_pool_worker_stats stats = worker_of(0);
        int nice = own + given[i].nice > 19 ? 19 : own + given[i].nice;
        assert_int_equal(sched_getscheduler(stats.thread), given[i].class);
        assert_int_equal(getpriority(PRIO_PROCESS, (id_t)stats.thread), nice);
        assert_int_equal(stats.nice, nice);
        if (slice_of(0) > 0 && given[i].class != SCHED_IDLE) { /* since Linux 6.12 */
            assert_int_equal(slice_of(stats.thread), given[i].nice == 10 ? 100000 : slice_of(0));
        }
        assert_true(stats.schedule != STRAIT_SCHEDULE_DEFAULT && strlen(stats.reason) > 8);
        if (options.workers == 1) {
            submit(looks_at_itself, 0, NULL);
        }
        close_pool();
    }
}

/* ---- placement ---- */

static int tells_its_cpu(struct strait_task *task)
{
    atomic_store((_Atomic int *)task->context, sched_getcpu());
    return 0;
}

/* A parent that goes on after its submit leaves no CPU to the worker that shares its own. On a busy
 * machine that worker may be the sooner one still, now and then. */
TEST(a_task_goes_to_another_cpu_than_its_parents)
{
    unsigned cpus = cpus_of(0);
    cpu_set_t before;
    cpu_set_t one;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    for (int normal = 0; normal < 2 && cpus > 1; normal++) {
        struct strait_pool_options options = {
            .workers = cpus,
            .schedule = normal ? STRAIT_SCHEDULE_NORMAL : STRAIT_SCHEDULE_DEFAULT,
        };
        open_as_it_is(&options, NULL);
        int beside = worker_of(0).cpu;
        assert_true(beside >= 0);
        CPU_ZERO(&one);
        CPU_SET((size_t)beside, &one);
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
        int ran = beside;
        for (unsigned i = 0; i < 100 && ran == beside; i++) {
            _Atomic int cpu = -1;
            struct strait_task task = {.run = tells_its_cpu, .context = &cpu};
            sleep_ns(MS); /* so that the workers sleep */
            submit_task(&task, NULL);
            while (atomic_load(&cpu) < 0) { /* without a yield: it goes on */
            }
            settle();
            ran = cpu;
        }
        assert_int_not_equal(ran, beside);
        assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
        close_pool();
    }
}

TEST(workers_run_where_they_are_told)
{
    int cpus[CPU_SETSIZE];
    unsigned count = 0;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET((size_t)i, &set)) {
            cpus[count++] = i;
        }
    }
    const struct {
        struct strait_pool_options options;
        unsigned allowed; /* CPUs of each worker */
    } placed[] = {
        {{.workers = 3, .pin = STRAIT_PIN_CPU, .cpus = cpus, .cpu_count = count}, 1},
        {{.workers = 3, .cpus = cpus, .cpu_count = count}, 1},
        {{.workers = 3, .pin = STRAIT_PIN_SET, .cpus = cpus, .cpu_count = count}, count},
        {{.workers = 3, .pin = STRAIT_PIN_SET, .cpus = cpus, .cpu_count = 1}, 1},
        {{.workers = 3, .pin = STRAIT_PIN_NONE}, count},
        {{.workers = count}, 1},              /* one of its own */
        {{.workers = 1}, count == 1 ? 1 : 0}, /* free: two such pools pile up nowhere */
        {{.workers = 1, .workers_max = count}, count == 1 ? 1 : 0}, /* likewise */
    };
    for (size_t i = 0; i < COUNT(placed); i++) {
        open_pool(&placed[i].options, NULL);
        for (unsigned w = 0; w < placed[i].options.workers; w++) {
            struct strait_pool_worker_stats stats = worker_of(w);
            unsigned allowed = cpus_of(stats.thread);
            assert_true(!placed[i].allowed || allowed == placed[i].allowed);
            assert_int_equal(stats.cpu >= 0, allowed == 1);
            bool named = placed[i].options.cpus && placed[i].options.pin != STRAIT_PIN_SET;
            assert_true(!named || stats.cpu == cpus[w % count]);
        }
        close_pool();
    }
}

/* Pools that know nothing of each other want one CPU for each worker. */
TEST(pools_take_different_cpus)
{
    static const struct strait_pool_options options = {.workers = 1, .pin = STRAIT_PIN_CPU};
    struct strait_pool *pools[3];
    struct strait_pool_worker_stats stats[3];
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(strait_pool_create(&pools[i], &options), 0);
        assert_int_equal(strait_pool_worker_stats(pools[i], 0, &stats[i]), 0);
        assert_int_equal(cpus_of(stats[i].thread), 1);
        if (i == 1) { /* the third takes what the first had */
            assert_true(stats[0].cpu != stats[1].cpu || cpus_of(0) == 1);
            assert_int_equal(
                strait_pool_finish(pools[0], NULL, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER), 0);
        }
    }
    assert_true(stats[2].cpu != stats[1].cpu || cpus_of(0) == 1);
    assert_int_equal(strait_pool_finish(pools[1], NULL, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER), 0);
    assert_int_equal(strait_pool_finish(pools[2], NULL, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER), 0);
}

static int burns(struct strait_task *task)
{
    for (int64_t until = thread_cpu_ns() + MS; thread_cpu_ns() < until;) {
    }
    return 0;
}

/* A default pool that does some work. Returns 0 if its workers are not confined to fewer CPUs than
 * they could have. */
static int work_as_neighbour(void)
{
    static const struct strait_parent_options park = {.wait = STRAIT_WAIT_PARK};
    struct strait_task task = {.run = burns};
    struct strait_pool_worker_stats stats;
    struct strait_pool *pool;
    struct strait_parent *parent;
    cpu_set_t pinned;
    int error = strait_pool_create(&pool, NULL);
    error = error ? error : strait_pool_attach(pool, &parent, &park);
    for (int i = 0; !error && i < 20; i++) {
        error = strait_task_submit(parent, &task, NULL, NULL);
    }
    CPU_ZERO(&pinned);
    for (unsigned i = 0; !error && strait_pool_worker_stats(pool, i, &stats) == 0; i++) {
        error = stats.cpu >= 0 && CPU_ISSET((size_t)stats.cpu, &pinned) ? -EBUSY : 0;
        if (stats.cpu >= 0) {
            CPU_SET((size_t)stats.cpu, &pinned);
        }
    }
    return error ? error : strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
}

static void *neighbour_main(void *error)
{
    *(int *)error = work_as_neighbour();
    return NULL;
}

/* Eight processes, and four threads of this one, with a default pool each. */
TEST(neighbours_share_the_cpus)
{
    const size_t count = TEST_TSAN ? 0 : 8; /* it follows no thread that a fork's child starts */
    pid_t processes[8];
    pthread_t threads[4];
    int errors[4];
    for (size_t i = 0; i < count; i++) {
        processes[i] = fork();
        if (processes[i] == 0) {
            _exit(work_as_neighbour() != 0);
        }
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, neighbour_main, &errors[i]), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(errors[i], 0);
        progress_made();
    }
    for (size_t i = 0; i < count; i++) {
        int status;
        assert_int_equal(waitpid(processes[i], &status, 0), processes[i]);
        assert_int_equal(status, 0);
        progress_made();
    }
}

/* ---- a number that follows a call ---- */

/* A pool of n workers has n threads, and can hold n tasks at once. */
TEST(a_resize_starts_and_ends_workers)
{
    static const unsigned sizes[] = {3, 4, 1, 70, 3, 3, 1, 2};
    unsigned threads = census_take().threads;
    OPEN(.workers = 3);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        assert_returns(i == 0 ? 0 : strait_pool_resize(here.pool, sizes[i], STRAIT_FOREVER), 0);
        assert_int_equal(pool_stats().workers, sizes[i]);
        assert_int_equal(census_take().threads, threads + sizes[i]);
        hold(sizes[i]);
        assert_int_equal(census_take().threads, threads + sizes[i]);
        release();
        settle();
    }
    close_pool();
}

/* A worker in a task goes when it is done with it: wait again, or think better of it. */
TEST(a_resize_waits_for_tasks_no_longer_than_told)
{
    OPEN(.workers = 4);
    hold(4);
    submit(runs, 0, NULL);
    assert_returns(strait_pool_resize(here.pool, 1, strait_deadline(MS)), -ETIMEDOUT);
    assert_returns(strait_pool_resize(here.pool, 4, strait_deadline(MS)), 0); /* they stay */
    release();
    settle();
    hold(4);
    assert_returns(strait_pool_resize(here.pool, 2, 0), -ETIMEDOUT);
    release();
    assert_returns(strait_pool_resize(here.pool, 2, STRAIT_FOREVER), 0);
    assert_int_equal(pool_stats().workers, 2);
    close_pool();
    assert_ended(0, 1, STRAIT_TASK_DONE, 1);
}

static int32_t mother;

static void is_told_at_home(struct strait_task *task)
{
    EXPECT(thread_number() == mother);
    note_done(task);
}

static int leaves_a_child_elsewhere(struct strait_task *task)
{
    struct strait_task child = numbered(runs_at_gate, 1, &here.gate);
    child.done = is_told_at_home;
    mother = thread_number();
    EXPECT(strait_task_submit(strait_parent_current(), &child, NULL, NULL) == 0);
    gate_await(&here.gate, 2); /* another worker has it */
    return runs(task);
}

/* By a call, or by itself after its time: not before it has been told of its child. */
TEST(a_worker_stays_until_it_is_owed_nothing)
{
    for (unsigned elastic = 0; elastic < 2; elastic++) {
        OPEN(.workers = elastic ? 1 : 3, .workers_max = 3, .idle_timeout = 1);
        hold(1);
        submit(leaves_a_child_elsewhere, 0, NULL);
        settle_to(1);
        if (!elastic) {
            assert_returns(strait_pool_resize(here.pool, 1, strait_deadline(5 * MS)), -ETIMEDOUT);
        }
        sleep_ns(5 * MS);
        release();
        await_workers(1);
        close_pool();
        assert_ended(1, 1, STRAIT_TASK_DONE, 1);
    }
}

/* ---- a number that follows demand ---- */

TEST(a_pool_grows_with_demand_and_shrinks_without)
{
    unsigned threads = census_take().threads;
    for (int wait = STRAIT_WAIT_PARK; wait <= STRAIT_WAIT_SPIN; wait++) {
        OPEN(.workers = 1, .workers_max = 4, .idle_timeout = 20 * MS,
             .wait = (enum strait_wait)wait);
        for (unsigned i = 0; i < 50; i++) { /* one at a time: there always is an idle worker */
            while (pool_stats().idle < 1) {
                sleep_ns(GATE_NAP_NS);
            }
            submit(nothing, 1, NULL);
            settle();
        }
        assert_int_equal(pool_stats().workers, 1);
        for (unsigned n = 1; n <= 4; n++) {
            hold(1);
            assert_int_equal(pool_stats().workers, n);
        }
        submit(runs, 0, NULL);
        sleep_ns(5 * MS);
        assert_int_equal(pool_stats().workers, 4);
        assert_int_equal(seen.runs[0], 0);
        release();
        settle();
        await_workers(1);
        hold(4); /* all at once, and from shrunk */
        release();
        settle();
        assert_returns(strait_pool_resize(here.pool, 6, STRAIT_FOREVER), 0); /* so many stay */
        sleep_ns(50 * MS);
        assert_int_equal(pool_stats().workers, 6);
        while (census_take().threads != threads + 6) { /* what has left may be about its end */
            sleep_ns(MS);
        }
        assert_returns(strait_pool_resize(here.pool, 1, STRAIT_FOREVER), 0); /* demand goes on */
        await_workers(1);
        hold(6);
        release();
        settle();
        close_pool();
    }
}
