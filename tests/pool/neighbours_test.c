/* SPDX-License-Identifier: MIT */
/* What a pool's workers take from others: memory, rest, and the CPUs beside other programs. */
#include "fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- rest ---- */

/* Of anonymous pages. */
static long resident_kib(void)
{
    char line[256];
    long kib;
    long sum = 0;
    FILE *file = fopen("/proc/self/smaps", "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        sum += sscanf(line, "Anonymous: %ld", &kib) == 1 ? kib : 0;
    }
    fclose(file);
    return sum;
}

TEST(a_worker_takes_few_pages)
{
    enum { WORKERS = 32, KIB_MOST = 16 };
    resident_kib(); /* touches what it needs itself */
    long before = resident_kib();
    OPEN(.workers = WORKERS);
    hold(WORKERS);
    long each = (resident_kib() - before) / WORKERS;
    print_message("a worker: %ld KiB\n", each);
    if (!TEST_ASAN && !TEST_TSAN) { /* whose shadow is resident, too */
        assert_true(each < KIB_MOST);
    }
    close_pool();
}

/* How often the workers ran, and for how long, in one number. */
static long long activity(void)
{
    struct strait_pool_worker_stats stats;
    long long sum = 0;
    for (unsigned i = 0; strait_pool_worker_stats(here.pool, i, &stats) == 0; i++) {
        char path[64];
        long long ran = 0;
        long long times = 0;
        snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)stats.thread);
        FILE *file = stats.online ? fopen(path, "r") : NULL;
        if (file) {
            assert_int_equal(fscanf(file, "%lld %*d %lld", &ran, &times), 2);
            fclose(file);
        }
        sum += ran + times;
    }
    return sum;
}

/* On a busy machine the workers may take a while to fall asleep; then they stay so. */
TEST(idle_workers_are_woken_by_nobody)
{
    static const struct strait_pool_options pools[] = {
        {.workers = 4},
        {.workers = 64},
        {.workers = 1, .workers_max = 3, .idle_timeout = MS},
        {.workers = 1, .workers_max = 3, .idle_timeout = STRAIT_FOREVER},
    };
    for (size_t i = 0; i < COUNT(pools); i++) {
        bool idle = false;
        struct strait_submit_options soon = {.start_by = strait_deadline(400 * (int64_t)MS)};
        open_pool(&pools[i], NULL);
        submit_some(runs, 0, 100, &soon); /* a deadline that was met keeps no clock going */
        settle();
        hold(pools[i].workers_max ? pools[i].workers_max : pools[i].workers);
        release();
        settle();
        for (int attempt = 0; attempt < 100 && !idle; attempt++) {
            long long before = activity();
            sleep_ns(300 * MS);
            struct strait_pool_stats now = pool_stats();
            idle = activity() == before && now.idle == now.workers;
            assert_true(before > 0);
        }
        assert_true(idle);
        close_pool();
    }
}

/* ---- beside others ---- */

static pthread_mutex_t shared = PTHREAD_MUTEX_INITIALIZER;

static void burn(int64_t ns)
{
    for (int64_t until = thread_cpu_ns() + ns; thread_cpu_ns() < until;) {
    }
}

/* Ten times the mutex, for half of its time. */
static int works_a_millisecond(struct strait_task *task)
{
    for (int i = 0; i < 10; i++) {
        pthread_mutex_lock(&shared);
        burn(MS / 20);
        pthread_mutex_unlock(&shared);
        burn(MS / 20);
    }
    return runs(task);
}

#define HOGS 3

/* What they have had of the CPUs, in ns. */
static int64_t had_by(const pid_t *hogs)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < HOGS; i++) {
        clockid_t clock;
        struct timespec t;
        assert_int_equal(clock_getcpuclockid(hogs[i], &clock), 0);
        assert_int_equal(clock_gettime(clock, &t), 0);
        sum += (int64_t)t.tv_sec * 1000 * MS + t.tv_nsec;
    }
    return sum;
}

/* Two foreign processes want all of the CPU, and a third one, as nice as the workers. Do these get
 * about what that gets? A loop needs a mutex of theirs now and then: whoever has it gets on while
 * the three get a tenth of a second at most. Other load takes from them, too, and makes that no
 * more. */
static bool workers_get_their_share(void)
{
    pid_t hogs[HOGS];
    struct rusage nice_one;
    unsigned number = 0;
    int64_t most = 0;
    open_as_it_is(&(struct strait_pool_options){.workers = strait_cpu_count()}, NULL);
    for (unsigned i = 0; i < HOGS; i++) {
        hogs[i] = fork();
        for (bool first = true; hogs[i] == 0; first = false) {
            EXPECT(!first || i < 2 || nice(10) != -1);
        }
    }
    for (int64_t until = strait_deadline(1000 * MS); strait_now() < until;) {
        while (strait_parent_owed(here.parent) < 8 && number < NUMBERS) {
            submit(works_a_millisecond, number++, NULL);
        }
        sleep_ns(MS);
        int64_t before = had_by(hogs);
        pthread_mutex_lock(&shared);
        pthread_mutex_unlock(&shared);
        int64_t had = had_by(hogs) - before;
        most = had > most ? had : most;
        progress_made();
        assert_true(strait_parent_dispatch(here.parent, 0) >= 0);
    }
    long ended = (long)seen.ends;
    for (unsigned i = 0; i < HOGS; i++) {
        kill(hogs[i], SIGKILL);
        wait4(hogs[i], NULL, 0, &nice_one);
    }
    close_pool();
    long ms = nice_one.ru_utime.tv_sec * 1000 + nice_one.ru_utime.tv_usec / 1000;
    return ended > ms / 4 && most < 100 * MS;
}

/* In the lowest class they would get a thirtieth, and the loop would wait for seconds. Who stops
 * the loop alone for a while disturbs that: it is tried again. */
TEST(a_busy_machine_starves_nobody)
{
    bool fair = false;
    for (int attempt = 0; attempt < 10 && !fair; attempt++) {
        fair = workers_get_their_share();
    }
    assert_true(fair);
}
