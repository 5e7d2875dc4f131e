/* SPDX-License-Identifier: MIT */
/* pool_elastic: how many workers a pool has and what they are; what its threads do while there is
 * nothing to do; and the keeper's watch for tasks that stall. */
#include "life.h"

#define MS 1000000
#define NEVER ((int64_t)3600 * 1000 * MS)

/* ---- a harness ---- */

static struct gate gate;
static _Atomic unsigned runs;
static unsigned completions; /* main's */

static void note_done(struct strait_task *task)
{
    assert_int_equal(task->status, STRAIT_TASK_DONE);
    completions++;
    progress_made();
}

static int run_quick(struct strait_task *task)
{
    (void)task;
    atomic_fetch_add(&runs, 1);
    return 0;
}

static int run_gate(struct strait_task *task)
{
    (void)task;
    gate_wait(&gate);
    return 0;
}

static void gate_close(void)
{
    atomic_store(&gate.arrived, 0);
    atomic_store(&gate.open, 0);
}

struct fixture {
    struct strait_pool *pool;
    struct strait_parent *parent;
};

/* The workers are to get the CPU as others do, unless the test is about that. */
static struct fixture fixture_open(struct strait_pool_options options)
{
    struct fixture fixture = {NULL, NULL};
    if (options.schedule == STRAIT_SCHEDULE_DEFAULT) {
        options.schedule = STRAIT_SCHEDULE_NORMAL;
    }
    gate_close();
    atomic_store(&runs, 0);
    completions = 0;
    assert_returns(strait_pool_create(&fixture.pool, &options), 0);
    assert_returns(strait_pool_attach(fixture.pool, &fixture.parent, NULL), 0);
    return fixture;
}

static void fixture_close(struct fixture *fixture)
{
    gate_open(&gate);
    assert_returns(strait_pool_close(fixture->pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_parent_detach(fixture->parent, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_destroy(fixture->pool), 0);
    assert_no_faults();
}

static struct strait_pool_worker_stats worker_of(const struct fixture *fixture, unsigned number)
{
    struct strait_pool_worker_stats stats;
    assert_returns(strait_pool_worker_stats(fixture->pool, number, &stats), 0);
    return stats;
}

static uint64_t workers_of(const struct fixture *fixture)
{
    struct strait_pool_stats stats;
    strait_pool_stats(fixture->pool, &stats);
    return stats.workers;
}

static void await_workers(const struct fixture *fixture, uint64_t workers)
{
    while (workers_of(fixture) != workers) {
        sleep_ns(GATE_NAP_NS);
    }
    progress_made();
}

/* Until no worker is in a task. */
static void await_idle(const struct fixture *fixture)
{
    struct strait_pool_stats stats;
    do {
        strait_pool_stats(fixture->pool, &stats);
    } while (stats.idle != stats.workers && sched_yield() == 0);
}

static void submit_as(struct fixture *fixture, strait_run_fn *run, unsigned n,
                      struct strait_submit_options how)
{
    struct strait_task tasks[64];
    assert_true(n <= 64);
    for (unsigned i = 0; i < n; i++) {
        tasks[i] = (struct strait_task){.run = run, .done = note_done};
    }
    assert_returns(strait_task_submit_many(fixture->parent, tasks, n, &how, NULL), n);
}

static void submit(struct fixture *fixture, strait_run_fn *run, unsigned n)
{
    submit_as(fixture, run, n, (struct strait_submit_options){0});
}

static void await_completions(struct fixture *fixture, unsigned n)
{
    while (completions < n) {
        readable(strait_parent_fd(fixture->parent), 1000);
        assert_true(strait_parent_dispatch(fixture->parent, 0) >= 0);
    }
}

/* So many tasks run at once, then all end. */
static void run_at_once(struct fixture *fixture, unsigned n)
{
    unsigned before = completions;
    gate_close();
    submit(fixture, run_gate, n);
    gate_await(&gate, n);
    gate_open(&gate);
    await_completions(fixture, before + n);
}

/* ---- growing ---- */

static void a_pool_begins_with_its_workers(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 2, .workers_max = 5, .idle_timeout = NEVER});
    assert_int_equal(workers_of(&fixture), 2);
    for (unsigned i = 0; i < 5; i++) {
        struct strait_pool_worker_stats worker = worker_of(&fixture, i);
        assert_int_equal(worker.number, i);
        assert_int_equal(worker.online, i < 2);
        assert_int_equal(worker.online_ns > 0, i < 2);
        assert_true(worker.online || worker.thread == 0);
    }
    struct strait_pool_worker_stats none;
    assert_returns(strait_pool_worker_stats(fixture.pool, 5, &none), -EINVAL);
    fixture_close(&fixture);
}

static void a_pool_grows_while_tasks_wait(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 1, .workers_max = 4, .idle_timeout = NEVER});
    submit(&fixture, run_gate, 4);
    gate_await(&gate, 4);
    await_workers(&fixture, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(worker_of(&fixture, i).run == run_gate);
        assert_true(worker_of(&fixture, i).thread > 0);
    }
    fixture_close(&fixture);
}

static void a_pool_grows_no_further_than_its_most(void **state)
{
    (void)state;
    struct strait_pool_stats stats;
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 1, .workers_max = 3, .idle_timeout = NEVER});
    struct census before = census_take();
    submit(&fixture, run_gate, 8);
    gate_await(&gate, 3);
    sleep_ns(20 * MS); /* for the fourth, who must not come */
    strait_pool_stats(fixture.pool, &stats);
    assert_int_equal(stats.workers, 3);
    assert_int_equal(stats.running, 3);
    assert_int_equal(stats.queued, 5);
    assert_int_equal(stats.idle, 0);
    assert_int_equal(census_take().threads, before.threads + 2);
    fixture_close(&fixture);
}

/* The second is submitted while the only worker, on its way to the first, still counts as idle:
 * nobody but that worker can notice then that another is needed. */
static void two_tasks_at_once_make_it_grow_each_time(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 1, .workers_max = 2, .idle_timeout = 1});
    for (unsigned i = 0; i < scaled(100); i++) {
        run_at_once(&fixture, 2);
        if (i % 2) {
            await_workers(&fixture, 1);
        }
    }
    fixture_close(&fixture);
}

static int run_parent_of_one(struct strait_task *task)
{
    struct strait_task inner = {.run = run_quick};
    (void)task;
    EXPECT(strait_task_submit(strait_parent_current(), &inner, NULL, NULL) == 0);
    gate_wait(&gate);
    return 0;
}

static void a_task_from_a_task_makes_it_grow(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 1, .workers_max = 2, .idle_timeout = NEVER});
    submit(&fixture, run_parent_of_one, 1);
    await(&runs, 1);
    await_workers(&fixture, 2);
    fixture_close(&fixture);
}

/* A task of a worker's own, and what the worker does when that is done. */
static int submit_own(strait_run_fn *run, strait_done_fn *done, unsigned worker, void *context)
{
    struct strait_task task = {.run = run, .done = done, .context = context};
    struct strait_submit_options how = {.worker = worker};
    return strait_task_submit(strait_parent_current(), &task, &how, NULL);
}

static void done_at_gate(struct strait_task *task)
{
    (void)task;
    gate_wait(&gate);
}

static int run_family_of_one(struct strait_task *task)
{
    (void)task;
    return submit_own(run_quick, done_at_gate, 0, NULL);
}

static void a_worker_in_a_completion_makes_it_grow(void **state)
{
    struct fixture fixture =
        fixture_open((struct strait_pool_options){.workers = 1, .workers_max = 2});
    (void)state;
    submit(&fixture, run_family_of_one, 1);
    gate_await(&gate, 1);
    submit(&fixture, run_gate, 1);
    gate_await(&gate, 2);
    gate_open(&gate);
    await_completions(&fixture, 2);
    fixture_close(&fixture);
}

/* The rounds in which they ran. */
static _Atomic uintptr_t child_ran;
static _Atomic uintptr_t other_ran;

static void await_other(const struct strait_task *task)
{
    while (atomic_load(&other_ran) < (uintptr_t)task->context) {
        sched_yield();
    }
}

static void done_after_other(struct strait_task *task)
{
    await_other(task);
}

static int run_child(struct strait_task *task)
{
    atomic_store(&child_ran, (uintptr_t)task->context);
    return 0;
}

static int run_after_other(struct strait_task *task)
{
    await_other(task);
    return 0;
}

static int run_other(struct strait_task *task)
{
    atomic_store(&other_ran, (uintptr_t)task->context);
    return 0;
}

static int run_family_of_two(struct strait_task *task)
{
    return submit_own(run_child, done_after_other, 2, task->context) ||
           submit_own(run_after_other, NULL, 2, task->context);
}

static void submit_round(struct fixture *fixture, strait_run_fn *run, unsigned worker,
                         uintptr_t round)
{
    struct strait_task task = {.run = run, .done = note_done, .context = (void *)round};
    struct strait_submit_options how = {.worker = worker};
    assert_returns(strait_task_submit(fixture->parent, &task, &how, NULL), 0);
}

/* It comes while one worker wakes for a completion, one is busy, and one sleeps. */
static void no_task_waits_behind_a_completion(void **state)
{
    struct fixture fixture = fixture_open((struct strait_pool_options){.workers = 3});
    (void)state;
    for (unsigned i = 1; i <= 300; i++) {
        submit_round(&fixture, run_family_of_two, 1, i);
        while (atomic_load(&child_ran) < i) {
        }
        int64_t until = strait_now() + i % 40 * 2000;
        while (strait_now() < until) {
        }
        submit_round(&fixture, run_other, 0, i);
        await_completions(&fixture, 2 * i);
    }
    fixture_close(&fixture);
}

static void low_tasks_make_it_grow_up_to_their_limit(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open((struct strait_pool_options){
        .workers = 1, .workers_max = 4, .idle_timeout = NEVER, .low_limit = 2});
    submit_as(&fixture, run_gate, 4,
              (struct strait_submit_options){.priority = STRAIT_PRIORITY_LOW});
    gate_await(&gate, 2);
    sleep_ns(20 * MS); /* for the third, who must not come */
    assert_int_equal(atomic_load(&gate.arrived), 2);
    assert_int_equal(workers_of(&fixture), 2);
    submit(&fixture, run_quick, 1);
    await(&runs, 1);
    await_workers(&fixture, 3);
    fixture_close(&fixture);
}

static void tasks_are_given_to_the_fixed_workers_alone(void **state)
{
    (void)state;
    struct strait_task task = {.run = run_quick, .done = note_done};
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 2, .workers_max = 4, .idle_timeout = NEVER});
    run_at_once(&fixture, 4); /* now there are four */
    for (unsigned n = 3; n < 6; n++) {
        struct strait_submit_options how = {.worker = n};
        assert_returns(strait_task_submit(fixture.parent, &task, &how, NULL), -EINVAL);
    }
    for (unsigned n = 1; n < 3; n++) {
        uint64_t before = worker_of(&fixture, n - 1).tasks;
        submit_as(&fixture, run_quick, 8, (struct strait_submit_options){.worker = n});
        await_completions(&fixture, 4 + 8 * n);
        assert_int_equal(worker_of(&fixture, n - 1).tasks, before + 8);
    }
    fixture_close(&fixture);
}

/* ---- shrinking ---- */

static void a_pool_shrinks_when_it_is_idle(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 2, .workers_max = 6, .idle_timeout = 10 * MS});
    struct census before = census_take();
    run_at_once(&fixture, 6);
    await_workers(&fixture, 2);
    assert_census(before);
    for (unsigned i = 0; i < 6; i++) {
        struct strait_pool_worker_stats worker = worker_of(&fixture, i);
        assert_int_equal(worker.online, i < 2);
        assert_int_equal(worker.thread > 0, i < 2);
        assert_true(worker.online_ns > 0); /* what the last that had the number was */
        assert_true(i < 2 || worker.online_ns >= 10 * MS);
        assert_true(i < 2 || worker_of(&fixture, i).online_ns == worker.online_ns);
        assert_true(worker.tasks >= 1);
        assert_null(worker.run);
    }
    fixture_close(&fixture);
}

static void a_spinning_pool_shrinks_too(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open((struct strait_pool_options){
        .workers = 1, .workers_max = 3, .idle_timeout = 10 * MS, .wait = STRAIT_WAIT_SPIN});
    run_at_once(&fixture, 3);
    await_workers(&fixture, 1);
    run_at_once(&fixture, 3);
    fixture_close(&fixture);
}

/* One at a time: there never is a task that waits while no worker is idle. */
static void a_trickle_starts_no_further_worker(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 1, .workers_max = 4, .idle_timeout = MS});
    for (unsigned i = 0; i < scaled(2000); i++) {
        submit(&fixture, run_quick, 1);
        await_completions(&fixture, i + 1);
        await_idle(&fixture);
    }
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(worker_of(&fixture, i).online_ns, 0);
        assert_int_equal(worker_of(&fixture, i).tasks, 0);
    }
    fixture_close(&fixture);
}

/* Submits to the second worker, the first being held, at intervals far shorter than its timeout;
 * returns the longest. */
static int64_t keep_in_use(struct fixture *fixture, int64_t timeout)
{
    int64_t longest = 0;
    int64_t last = strait_now();
    int64_t end = last + 3 * timeout;
    while (last < end) {
        sleep_ns(timeout / 50);
        submit(fixture, run_quick, 1);
        await_completions(fixture, completions + 1);
        int64_t now = strait_now();
        longest = now - last > longest ? now - last : longest;
        last = now;
    }
    return longest;
}

static void a_worker_that_is_used_stays(void **state)
{
    (void)state;
    int64_t timeout = 250 * MS;
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 1, .workers_max = 3, .idle_timeout = timeout});
    submit_as(&fixture, run_gate, 1, (struct strait_submit_options){.worker = 1});
    gate_await(&gate, 1);
    for (bool kept = false; !kept;) {
        submit(&fixture, run_quick, 1);
        await_completions(&fixture, completions + 1);
        struct strait_pool_worker_stats before = worker_of(&fixture, 1);
        kept = keep_in_use(&fixture, timeout) < timeout / 2; /* else the machine had other things
                                                                to do: that was no trickle */
        struct strait_pool_worker_stats after = worker_of(&fixture, 1);
        assert_true(!kept || (before.online && after.thread == before.thread));
    }
    fixture_close(&fixture);
}

/* ---- growing and shrinking under load ---- */

#define CHILDREN 3

static _Atomic unsigned inner_completions;

static void note_inner(struct strait_task *task)
{
    int32_t submitter;
    memcpy(&submitter, task->data, sizeof(submitter));
    EXPECT(thread_number() == submitter);
    EXPECT(task->status == STRAIT_TASK_DONE);
    atomic_fetch_add(&inner_completions, 1);
}

/* Leaves some tasks of the worker's own behind, sometimes to one that is about to go. */
static int run_parent_of_many(struct strait_task *task)
{
    struct strait_task inner = {.run = run_quick, .done = note_inner};
    int32_t self = thread_number();
    memcpy(inner.data, &self, sizeof(self));
    (void)task;
    for (int i = 0; i < CHILDREN; i++) {
        EXPECT(strait_task_submit_wait(strait_parent_current(), &inner, NULL, NULL,
                                       STRAIT_FOREVER) == 0);
    }
    return run_quick(task);
}

/* Long enough for what waits behind it to want another worker. */
static int run_nap(struct strait_task *task)
{
    sleep_ns(3 * MS);
    return run_quick(task);
}

static strait_run_fn *draw_run(uint64_t *seed)
{
    size_t drawn = draw_below(seed, 48);
    return drawn == 0 ? run_nap : drawn < 6 ? run_parent_of_many : run_quick;
}

struct loader {
    struct strait_pool *pool;
    pthread_t thread;
    uint64_t seed;
    unsigned submitted;
    unsigned completed;
};

static void count_done(struct strait_task *task)
{
    unsigned *completed = task->context;
    EXPECT(task->status == STRAIT_TASK_DONE);
    ++*completed;
    progress_made();
}

/* Bursts, and pauses of about the idle timeout in between. */
static void *load(void *context)
{
    struct loader *loader = context;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    struct strait_parent *parent;
    EXPECT(strait_pool_attach(loader->pool, &parent, &options) == 0);
    for (size_t cycle = 0; cycle < scaled(300); cycle++) {
        struct strait_task task = {.run = run_quick, .done = count_done};
        size_t burst = draw_below(&loader->seed, 60);
        task.context = &loader->completed;
        for (size_t i = 0; i < burst; i++) {
            task.run = draw_run(&loader->seed);
            EXPECT(strait_task_submit_wait(parent, &task, NULL, NULL, STRAIT_FOREVER) == 0);
            loader->submitted++;
        }
        strait_parent_poll(parent, 0);
        sleep_ns((long)draw_below(&loader->seed, 4) * MS / 2);
    }
    while (strait_parent_owed(parent)) {
        strait_parent_poll(parent, 0);
        sleep_ns(GATE_NAP_NS);
    }
    EXPECT(strait_parent_detach(parent, STRAIT_FOREVER) == 0);
    return NULL;
}

static void nothing_is_lost_while_workers_come_and_go(void **state)
{
    (void)state;
    struct loader loaders[2];
    struct strait_pool_stats stats;
    uint64_t started = 0;
    unsigned submitted = 0;
    struct fixture fixture = fixture_open((struct strait_pool_options){
        .workers = 1, .workers_max = 5, .idle_timeout = MS / 4, .queue_limit = 16});
    atomic_store(&inner_completions, 0);
    for (unsigned i = 0; i < 2; i++) {
        loaders[i] = (struct loader){.pool = fixture.pool, .seed = first_seed(11) + i};
        thread_start(&loaders[i].thread, load, &loaders[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        thread_join(loaders[i].thread);
        assert_int_equal(loaders[i].completed, loaders[i].submitted);
        submitted += loaders[i].submitted;
    }
    await_workers(&fixture, 1); /* which stay until their own have completed */
    await_idle(&fixture);
    assert_returns(strait_pool_close(fixture.pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    strait_pool_stats(fixture.pool, &stats);
    for (unsigned i = 0; i < 5; i++) {
        started += worker_of(&fixture, i).tasks;
    }
    assert_true(worker_of(&fixture, 1).tasks > 0);
    assert_int_equal(stats.submitted, submitted + atomic_load(&inner_completions));
    assert_int_equal(stats.done, stats.submitted);
    assert_int_equal(started, stats.submitted);
    assert_int_equal(atomic_load(&runs), stats.submitted);
    fixture_close(&fixture);
}

/* ---- idleness ---- */

#define IDLERS "idlers-"

static bool is_idler(const char *tid)
{
    char path[300];
    char name[32] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%s/comm", tid);
    FILE *file = fopen(path, "r");
    bool is = file && fgets(name, sizeof(name), file) && strncmp(name, IDLERS, strlen(IDLERS)) == 0;
    if (file) {
        fclose(file);
    }
    return is;
}

/* Of all workers and the keeper together. */
struct activity {
    long threads;
    long switches;
};

static struct activity idlers_activity(void)
{
    struct activity activity = {0, 0};
    const struct dirent *entry;
    DIR *directory = opendir("/proc/self/task");
    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        if (is_idler(entry->d_name)) {
            activity.threads++;
            activity.switches += status_number(entry->d_name, "voluntary_ctxt_switches:");
            activity.switches += status_number(entry->d_name, "nonvoluntary_ctxt_switches:");
        }
    }
    closedir(directory);
    return activity;
}

/* On a busy machine they may take a while to fall asleep; then they stay so. */
static void assert_falls_asleep(unsigned workers)
{
    bool idle = false;
    for (int attempt = 0; attempt < 20 && !idle; attempt++) {
        struct activity before = idlers_activity();
        sleep_ns(300 * MS);
        struct activity after = idlers_activity();
        assert_int_equal(after.threads, workers + 1);
        assert_true(before.switches > 0);
        idle = after.switches == before.switches;
    }
    assert_true(idle);
}

static void stalls_expected(struct strait_pool *pool, const struct strait_pool_stall *stall,
                            void *context)
{
    (void)pool;
    (void)stall;
    (void)context;
}

static void an_idle_pool_of_64_wakes_nobody(void **state)
{
    (void)state;
    struct fixture fixture =
        fixture_open((struct strait_pool_options){.workers = 64, .name = "idlers"});
    assert_falls_asleep(64);
    run_at_once(&fixture, 64);
    for (unsigned i = 0; i < 100; i++) {
        submit(&fixture, run_quick, 2);
        await_completions(&fixture, 64 + 2 * (i + 1));
    }
    assert_falls_asleep(64);
    fixture_close(&fixture);
}

static void an_elastic_pool_that_has_shrunk_wakes_nobody(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open((struct strait_pool_options){
        .workers = 8, .workers_max = 64, .idle_timeout = MS, .name = "idlers"});
    run_at_once(&fixture, 64);
    await_workers(&fixture, 8);
    assert_falls_asleep(8);
    fixture_close(&fixture);
}

static void a_watched_pool_that_is_idle_wakes_nobody(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open((struct strait_pool_options){
        .workers = 16, .stall_ns = 2 * MS, .stalled = stalls_expected, .name = "idlers"});
    assert_falls_asleep(16);
    run_at_once(&fixture, 16);
    await_idle(&fixture);
    assert_falls_asleep(16);
    fixture_close(&fixture);
}

/* A deadline that did not matter in the end leaves no clock ticking. */
static void deadlines_that_were_met_wake_nobody_later(void **state)
{
    (void)state;
    struct fixture fixture =
        fixture_open((struct strait_pool_options){.workers = 4, .name = "idlers"});
    for (unsigned i = 0; i < 50; i++) {
        submit_as(&fixture, run_quick, 1,
                  (struct strait_submit_options){.finish_by = strait_deadline(NEVER)});
    }
    await_completions(&fixture, 50);
    assert_falls_asleep(4);
    fixture_close(&fixture);
}

static void note_any(struct strait_task *task)
{
    completions += task->status == STRAIT_TASK_DONE || task->status == STRAIT_TASK_EXPIRED;
}

static void submit_until(struct fixture *fixture, int64_t start_by)
{
    struct strait_task task = {.run = run_quick, .done = note_any};
    struct strait_submit_options how = {.start_by = start_by};
    assert_returns(strait_task_submit(fixture->parent, &task, &how, NULL), 0);
}

/* The keeper still has that one in mind when it passes; then it has to think of the next. */
static void a_deadline_after_one_that_was_met_is_told(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open((struct strait_pool_options){.workers = 1});
    for (unsigned round = 0; round < 4; round++) {
        gate_close();
        submit_until(&fixture, strait_deadline(5 * MS));
        await_completions(&fixture, 3 * round + 1);
        sleep_ns(10 * MS);
        assert_returns(strait_parent_dispatch(fixture.parent, 0), 0);
        submit(&fixture, run_gate, 1);
        gate_await(&gate, 1);
        submit_until(&fixture, strait_deadline(5 * MS));
        while (completions < 3 * round + 2) { /* the loop sleeps until the fd says so */
            assert_true(readable(strait_parent_fd(fixture.parent), -1));
            assert_true(strait_parent_dispatch(fixture.parent, 0) >= 0);
        }
        gate_open(&gate);
        await_completions(&fixture, 3 * round + 3);
    }
    fixture_close(&fixture);
}

/* ---- stalls ---- */

#define STALL_NS (30 * MS)
#define STALLS_MOST 64

static struct {
    _Atomic unsigned count;
    struct strait_pool_stall told[STALLS_MOST];
    int64_t at[STALLS_MOST];
    int32_t thread;
    struct gate *held; /* holds the keeper in its first */
} stalls;

static void note_stall(struct strait_pool *pool, const struct strait_pool_stall *stall,
                       void *context)
{
    unsigned n = atomic_load(&stalls.count);
    EXPECT(context == &stalls);
    EXPECT(pool != NULL);
    EXPECT(n < STALLS_MOST);
    stalls.thread = thread_number();
    stalls.told[n % STALLS_MOST] = *stall;
    stalls.at[n % STALLS_MOST] = strait_now();
    atomic_store(&stalls.count, n + 1);
    if (stalls.held && n == 0) {
        gate_wait(stalls.held);
    }
}

static struct fixture watched_open(struct strait_pool_options options)
{
    memset(&stalls, 0, sizeof(stalls));
    options.stall_ns = STALL_NS;
    options.stalled = note_stall;
    options.context = &stalls;
    return fixture_open(options);
}

static void await_stalls(unsigned n)
{
    while (atomic_load(&stalls.count) < n) {
        sleep_ns(GATE_NAP_NS);
    }
    progress_made();
}

/* A second function, to tell apart. */
static int run_other_gate(struct strait_task *task)
{
    return run_gate(task);
}

static void a_task_that_stalls_is_told_once(void **state)
{
    (void)state;
    struct fixture fixture = watched_open((struct strait_pool_options){.workers = 3});
    submit_as(&fixture, run_gate, 1, (struct strait_submit_options){.worker = 2});
    await_stalls(1);
    assert_true(stalls.told[0].run == run_gate);
    assert_int_equal(stalls.told[0].worker, 1);
    assert_true(stalls.told[0].running_ns >= STALL_NS);
    assert_true(stalls.thread != thread_number());
    for (unsigned i = 0; i < 3; i++) {
        assert_true(stalls.thread != worker_of(&fixture, i).thread);
    }
    sleep_ns(3 * STALL_NS); /* for another word of it */
    assert_int_equal(atomic_load(&stalls.count), 1);
    fixture_close(&fixture);
    assert_int_equal(atomic_load(&stalls.count), 1);
}

static void each_that_stalls_is_told(void **state)
{
    (void)state;
    struct fixture fixture = watched_open((struct strait_pool_options){.workers = 3});
    submit_as(&fixture, run_gate, 1, (struct strait_submit_options){.worker = 1});
    submit_as(&fixture, run_other_gate, 1, (struct strait_submit_options){.worker = 2});
    submit_as(&fixture, run_gate, 1, (struct strait_submit_options){.worker = 3});
    await_stalls(3);
    bool seen[3] = {false};
    for (unsigned i = 0; i < 3; i++) {
        unsigned worker = stalls.told[i].worker;
        assert_true(worker < 3 && !seen[worker]);
        assert_true(stalls.told[i].run == (worker == 1 ? run_other_gate : run_gate));
        seen[worker] = true;
    }
    fixture_close(&fixture);
    assert_int_equal(atomic_load(&stalls.count), 3);
}

/* Stalls, waits for one of its own that may stall too, and stalls again. */
static int run_in_three_parts(struct strait_task *task)
{
    struct gate *parts = task->context;
    struct strait_task inner = {.run = waits_at_gate, .context = &parts[1]};
    struct strait_parent *self = strait_parent_current();
    strait_task_id id;
    gate_wait(&parts[0]);
    EXPECT(strait_task_submit(self, &inner, NULL, &id) == 0);
    EXPECT(strait_task_wait(self, id, STRAIT_FOREVER) == 0);
    gate_wait(&parts[2]);
    return 0;
}

static void an_interrupted_task(bool inner_stalls, bool untimed)
{
    struct gate parts[3] = {0};
    struct strait_task task = {.run = run_in_three_parts, .context = parts, .done = note_done};
    struct fixture fixture =
        watched_open((struct strait_pool_options){.workers = 1, .untimed = untimed});
    assert_returns(strait_task_submit(fixture.parent, &task, NULL, NULL), 0);
    await_stalls(1);
    assert_true(stalls.told[0].run == run_in_three_parts);
    gate_open(&parts[0]);
    gate_await(&parts[1], 1);
    if (inner_stalls) {
        await_stalls(2);
        assert_true(stalls.told[1].run == waits_at_gate);
    }
    gate_open(&parts[1]);
    gate_await(&parts[2], 1);
    sleep_ns(3 * STALL_NS); /* for another word of it */
    gate_open(&parts[2]);
    await_completions(&fixture, 1);
    fixture_close(&fixture);
    for (unsigned i = 1; i < atomic_load(&stalls.count); i++) { /* it may have, by accident */
        assert_true(stalls.told[i].run == waits_at_gate);
    }
}

static void a_task_that_is_interrupted_is_told_once(void **state)
{
    (void)state;
    an_interrupted_task(false, false);
    an_interrupted_task(true, false);
    an_interrupted_task(true, true);
}

static void stall_twice_in_a_row(bool untimed)
{
    unsigned submitted = 0;
    struct fixture fixture =
        watched_open((struct strait_pool_options){.workers = 1, .untimed = untimed});
    for (unsigned i = 0; i < 4; i++) {
        gate_close();
        submit(&fixture, run_gate, 1);
        await_stalls(i + 1);
        if (i % 2) { /* sometimes with a short one in between */
            submit(&fixture, run_quick, 1);
        }
        gate_open(&gate);
        submitted += 1 + i % 2;
        await_completions(&fixture, submitted);
    }
    assert_true(stalls.told[3].run == run_gate);
    fixture_close(&fixture);
    assert_int_equal(atomic_load(&stalls.count), 4);
}

static void two_of_the_same_kind_are_told_twice(void **state)
{
    (void)state;
    stall_twice_in_a_row(false);
    stall_twice_in_a_row(true);
}

/* Whatever the machine does to them meanwhile: none that is told ran for less. */
static _Atomic int64_t longest_quick;

static int run_measured(struct strait_task *task)
{
    int64_t start = strait_now();
    dawdle(10000);
    int64_t ran = strait_now() - start;
    int64_t longest = atomic_load(&longest_quick);
    while (ran > longest && !atomic_compare_exchange_weak(&longest_quick, &longest, ran)) {
    }
    return run_quick(task);
}

static void short_tasks_are_never_told(void **state)
{
    (void)state;
    struct fixture fixture = watched_open((struct strait_pool_options){.workers = 2});
    int64_t end = strait_deadline(10 * STALL_NS);
    unsigned submitted = 0;
    atomic_store(&longest_quick, 0);
    while (strait_now() < end) { /* the workers are hardly ever without one */
        submit(&fixture, run_measured, 64);
        submitted += 64;
        await_completions(&fixture, submitted);
    }
    assert_true(atomic_load(&stalls.count) == 0 || atomic_load(&longest_quick) > STALL_NS / 2);
    fixture_close(&fixture);
}

/* While the keeper is still telling of one, another begins: it has not run for as long as the
 * keeper has not looked. */
static struct {
    _Atomic int64_t started;
    struct gate gate;
} late;

static int run_late(struct strait_task *task)
{
    (void)task;
    atomic_store(&late.started, strait_now());
    gate_wait(&late.gate);
    return 0;
}

static void a_watch_for_stalls_holds_up_no_growth(void **state)
{
    struct fixture fixture = fixture_open((struct strait_pool_options){
        .workers = 1, .workers_max = 2, .stall_ns = NEVER, .stalled = stalls_expected});
    (void)state;
    submit(&fixture, run_gate, 1);
    gate_await(&gate, 1);
    sleep_ns(5 * MS);
    submit(&fixture, run_gate, 1);
    gate_await(&gate, 2);
    gate_open(&gate);
    await_completions(&fixture, 2);
    fixture_close(&fixture);
}

static void a_keeper_that_was_busy_tells_nothing_false(void **state)
{
    (void)state;
    static struct gate held;
    memset(&held, 0, sizeof(held));
    memset(&late, 0, sizeof(late));
    struct fixture fixture = watched_open((struct strait_pool_options){.workers = 2});
    stalls.held = &held;
    submit_as(&fixture, run_gate, 1, (struct strait_submit_options){.worker = 1});
    gate_await(&held, 1);
    sleep_ns(2 * STALL_NS);
    submit_as(&fixture, run_late, 1, (struct strait_submit_options){.worker = 2});
    gate_await(&late.gate, 1);
    gate_open(&held);
    await_stalls(2);
    assert_true(stalls.told[1].run == run_late);
    assert_true(stalls.at[1] - atomic_load(&late.started) >= STALL_NS / 2);
    gate_open(&late.gate);
    fixture_close(&fixture);
    assert_int_equal(atomic_load(&stalls.count), 2);
}

/* What it runs while it waits for its own is not itself. */
static int run_outer(struct strait_task *task)
{
    struct strait_task inner = {.run = run_quick};
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    gate_wait(task->context);
    EXPECT(strait_task_submit(strait_parent_current(), &inner, &how, NULL) == 0);
    EXPECT(strait_group_wait(strait_parent_current(), &group, STRAIT_FOREVER) == 0);
    return run_gate(task);
}

static void a_task_that_waits_for_its_own_is_told_once(void **state)
{
    (void)state;
    static struct gate first;
    for (int untimed = 0; untimed < 2; untimed++) {
        memset(&first, 0, sizeof(first));
        struct fixture fixture =
            watched_open((struct strait_pool_options){.workers = 1, .untimed = untimed});
        struct strait_task task = {.run = run_outer, .context = &first, .done = note_done};
        assert_returns(strait_task_submit(fixture.parent, &task, NULL, NULL), 0);
        await_stalls(1);
        assert_true(stalls.told[0].run == run_outer);
        gate_open(&first);
        gate_await(&gate, 1);
        sleep_ns(4 * STALL_NS); /* for another word of it */
        fixture_close(&fixture);
        assert_int_equal(atomic_load(&stalls.count), 1);
    }
}

/* The keeper, called by the submit, often looks before the worker has the task. */
static void a_stall_is_told_however_the_keeper_looks(void **state)
{
    (void)state;
    memset(&stalls, 0, sizeof(stalls));
    struct fixture fixture = fixture_open((struct strait_pool_options){
        .workers = 2, .stall_ns = MS, .stalled = note_stall, .context = &stalls});
    for (unsigned i = 0; i < STALLS_MOST - 4; i++) {
        unsigned before = atomic_load(&stalls.count);
        gate_close();
        await_idle(&fixture);
        sleep_ns(3 * MS); /* the keeper sleeps */
        submit_as(&fixture, run_gate, 1, (struct strait_submit_options){.worker = 1 + i % 2});
        await_stalls(before + 1);
        gate_open(&gate);
        await_completions(&fixture, i + 1);
    }
    fixture_close(&fixture);
}

static struct {
    int close;
    _Atomic unsigned told;
} closing;

static void close_in_stall(struct strait_pool *pool, const struct strait_pool_stall *stall,
                           void *context)
{
    (void)stall;
    (void)context;
    closing.close = strait_pool_close(pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER, NULL);
    atomic_store(&closing.told, 1);
}

static void the_keeper_may_not_close_the_pool(void **state)
{
    (void)state;
    struct fixture fixture = fixture_open(
        (struct strait_pool_options){.workers = 1, .stall_ns = MS, .stalled = close_in_stall});
    submit(&fixture, run_gate, 1);
    await(&closing.told, 1);
    assert_int_equal(closing.close, -EDEADLK);
    submit(&fixture, run_quick, 1); /* it is still open */
    fixture_close(&fixture);
}

/* ---- where the workers run, and how ---- */

struct portrait {
    char name[16];
    int cpu;
    int cpus;
    int class;
    int nice;
};

static int run_portrait(struct strait_task *task)
{
    struct portrait *portrait = task->context;
    cpu_set_t cpus;
    EXPECT(pthread_getname_np(pthread_self(), portrait->name, sizeof(portrait->name)) == 0);
    EXPECT(pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus) == 0);
    portrait->cpus = CPU_COUNT(&cpus);
    portrait->cpu = sched_getcpu();
    portrait->class = sched_getscheduler(0);
    portrait->nice = getpriority(PRIO_PROCESS, (id_t)thread_number());
    gate_wait(&gate);
    return 0;
}

#define SITTERS 5

/* All workers of a pool, by the number in their name. */
static void portraits_of(struct strait_pool_options options, struct portrait *portraits,
                         unsigned count)
{
    struct portrait seen[SITTERS];
    struct fixture fixture = {NULL, NULL};
    gate_close();
    completions = 0;
    options.name = "sitter";
    assert_returns(strait_pool_create(&fixture.pool, &options), 0);
    assert_returns(strait_pool_attach(fixture.pool, &fixture.parent, NULL), 0);
    for (unsigned i = 0; i < count; i++) {
        struct strait_task task = {.run = run_portrait, .context = &seen[i]};
        assert_returns(strait_task_submit(fixture.parent, &task, NULL, NULL), 0);
    }
    gate_await(&gate, count);
    for (unsigned i = 0; i < count; i++) {
        unsigned number = count;
        assert_int_equal(sscanf(seen[i].name, "sitter-%u", &number), 1);
        assert_true(number < count);
        portraits[number] = seen[i];
        assert_int_equal(worker_of(&fixture, number).cpu, seen[i].cpu);
    }
    fixture_close(&fixture);
}

static unsigned allowed_cpus(int *list, unsigned most)
{
    cpu_set_t cpus;
    unsigned count = 0;
    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && count < most; cpu++) {
        if (CPU_ISSET((size_t)cpu, &cpus)) {
            list[count++] = cpu;
        }
    }
    return count;
}

static void workers_take_the_given_cpus_in_turn(void **state)
{
    (void)state;
    struct portrait seen[SITTERS];
    int all[CPU_SETSIZE];
    unsigned count = allowed_cpus(all, CPU_SETSIZE);
    int cpus[2] = {all[count - 1], all[0]};
    struct strait_pool_options options = {.workers = 3,
                                          .workers_max = SITTERS, /* of those that come later */
                                          .idle_timeout = NEVER,
                                          .cpus = cpus,
                                          .cpu_count = 2,
                                          .schedule = STRAIT_SCHEDULE_NORMAL};
    portraits_of(options, seen, SITTERS);
    for (unsigned i = 0; i < SITTERS; i++) {
        assert_int_equal(seen[i].cpus, 1);
        assert_int_equal(seen[i].cpu, cpus[i % 2]);
    }
}

static void a_list_of_no_cpus_is_refused(void **state)
{
    (void)state;
    static const int wrong[] = {-1, CPU_SETSIZE, INT32_MAX};
    struct strait_pool *pool = NULL;
    int cpu;
    allowed_cpus(&cpu, 1);
    struct strait_pool_options options = {.workers = 1, .cpus = &cpu};
    assert_returns(strait_pool_create(&pool, &options), -EINVAL);
    options = (struct strait_pool_options){.workers = 1, .cpu_count = 1};
    assert_returns(strait_pool_create(&pool, &options), -EINVAL);
    for (unsigned i = 0; i < 3; i++) {
        int cpus[2] = {cpu, wrong[i]};
        options = (struct strait_pool_options){.workers = 1, .cpus = cpus, .cpu_count = 2};
        assert_returns(strait_pool_create(&pool, &options), -EINVAL);
    }
    assert_null(pool);
}

static void bad_numbers_of_workers_are_refused(void **state)
{
    (void)state;
    static const struct strait_pool_options bad[] = {
        {.workers = STRAIT_POOL_WORKERS_MAX + 1},
        {.workers = 1, .workers_max = STRAIT_POOL_WORKERS_MAX + 1},
        {.workers = 3, .workers_max = 2},
        {.workers = 1, .workers_max = 2, .idle_timeout = -1},
        {.workers = 1, .stall_ns = -1, .stalled = stalls_expected},
        {.workers = 1, .stall_ns = 1},
        {.workers = 1, .wait = STRAIT_WAIT_FD},
        {.workers = 1, .queue_limit = STRAIT_QUEUE_LIMIT_MAX + 1},
    };
    struct census before = census_take();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct strait_pool *pool = NULL;
        assert_returns(strait_pool_create(&pool, &bad[i]), -EINVAL);
        assert_null(pool);
    }
    assert_census(before);
}

static void chosen_cpus_are_single_and_allowed(void **state)
{
    (void)state;
    struct portrait seen[SITTERS];
    int all[CPU_SETSIZE];
    unsigned count = allowed_cpus(all, CPU_SETSIZE);
    portraits_of((struct strait_pool_options){.workers = 3}, seen, 3);
    for (unsigned i = 0; i < 3; i++) {
        bool allowed = false;
        for (unsigned at = 0; at < count; at++) {
            allowed = allowed || all[at] == seen[i].cpu;
        }
        assert_int_equal(seen[i].cpus, 1);
        assert_true(allowed);
    }
}

static void workers_have_the_class_and_nice_they_were_given(void **state)
{
    (void)state;
    struct portrait seen[SITTERS];
    int nice = getpriority(PRIO_PROCESS, 0);
    struct strait_pool_options options = {
        .workers = 1, .workers_max = 2, .idle_timeout = NEVER, .nice = 3};
    options.schedule = STRAIT_SCHEDULE_BATCH;
    portraits_of(options, seen, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(seen[i].class, SCHED_BATCH);
        assert_int_equal(seen[i].nice, nice + 3 > 19 ? 19 : nice + 3);
    }
}

/* Where the creator has to share a CPU with a worker, it comes first. */
static void a_pool_that_fills_the_machine_is_of_the_idle_class(void **state)
{
    (void)state;
    struct portrait seen[SITTERS];
    int all[CPU_SETSIZE];
    unsigned count = allowed_cpus(all, CPU_SETSIZE);
    if (count > SITTERS) {
        skip();
    }
    portraits_of((struct strait_pool_options){.workers = count}, seen, count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(seen[i].class, SCHED_IDLE);
    }
    if (count > 1) {
        portraits_of((struct strait_pool_options){.workers = count - 1}, seen, count - 1);
        assert_int_equal(seen[0].class, sched_getscheduler(0));
        struct strait_pool_options elastic = {.workers = 1, .workers_max = count};
        portraits_of(elastic, seen, 1); /* the most that there may be is what counts */
        assert_int_equal(seen[0].class, SCHED_IDLE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(a_pool_begins_with_its_workers),
        life_test(a_pool_grows_while_tasks_wait),
        life_test(a_pool_grows_no_further_than_its_most),
        life_test(two_tasks_at_once_make_it_grow_each_time),
        life_test(a_task_from_a_task_makes_it_grow),
        life_test(a_worker_in_a_completion_makes_it_grow),
        life_test(no_task_waits_behind_a_completion),
        life_test(low_tasks_make_it_grow_up_to_their_limit),
        life_test(tasks_are_given_to_the_fixed_workers_alone),
        life_test(a_pool_shrinks_when_it_is_idle),
        life_test(a_spinning_pool_shrinks_too),
        life_test(a_trickle_starts_no_further_worker),
        life_test(a_worker_that_is_used_stays),
        life_test(nothing_is_lost_while_workers_come_and_go),
        life_test(an_idle_pool_of_64_wakes_nobody),
        life_test(an_elastic_pool_that_has_shrunk_wakes_nobody),
        life_test(a_watched_pool_that_is_idle_wakes_nobody),
        life_test(deadlines_that_were_met_wake_nobody_later),
        life_test(a_deadline_after_one_that_was_met_is_told),
        life_test(a_task_that_stalls_is_told_once),
        life_test(each_that_stalls_is_told),
        life_test(a_task_that_is_interrupted_is_told_once),
        life_test(two_of_the_same_kind_are_told_twice),
        life_test(short_tasks_are_never_told),
        life_test(a_watch_for_stalls_holds_up_no_growth),
        life_test(a_keeper_that_was_busy_tells_nothing_false),
        life_test(a_task_that_waits_for_its_own_is_told_once),
        life_test(a_stall_is_told_however_the_keeper_looks),
        life_test(the_keeper_may_not_close_the_pool),
        life_test(workers_take_the_given_cpus_in_turn),
        life_test(a_list_of_no_cpus_is_refused),
        life_test(bad_numbers_of_workers_are_refused),
        life_test(chosen_cpus_are_single_and_allowed),
        life_test(workers_have_the_class_and_nice_they_were_given),
        life_test(a_pool_that_fills_the_machine_is_of_the_idle_class),
    };
    watchdog_start();
    cmocka_set_test_filter(getenv("STRAIT_TEST"));
    return cmocka_run_group_tests_name("pool_elastic", tests, NULL, NULL);
}
