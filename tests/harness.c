/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static unsigned long environment(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : otherwise;
}

/* ---- assertions ---- */

static _Atomic unsigned faults;

void fault(const char *file, int line, const char *what)
{
    if (atomic_fetch_add(&faults, 1) < 10) {
        fprintf(stderr, "%s:%d: %s\n", file, line, what);
    }
}

unsigned faults_seen(void)
{
    return atomic_load(&faults);
}

void assert_no_faults(void)
{
    assert_int_equal(atomic_exchange(&faults, 0), 0);
}

bool errno_kept(void)
{
    bool kept = errno == ERRNO_MARK;
    errno = ERRNO_MARK;
    return kept;
}

/* ---- the watchdog ---- */

static _Atomic unsigned long progress;
static const char *_Atomic running = "the start";

void progress_made(void)
{
    atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
}

/* It measures progress, not the clock: a slow machine is not a failure. */
static void *watchdog(void *context)
{
    unsigned long limit = (unsigned long)(uintptr_t)context;
    unsigned long seen = 0;
    for (unsigned long still = 0; still < limit * 10; still++) {
        sleep_ns(100000000);
        unsigned long now = atomic_load_explicit(&progress, memory_order_relaxed);
        still = now == seen ? still : 0;
        seen = now;
    }
    fprintf(stderr, "watchdog: nothing has moved for %lu s in \"%s\"\n", limit,
            atomic_load(&running));
    _exit(3);
}

static void watchdog_start(void)
{
    unsigned long limit = environment("STRAIT_WATCHDOG", 60);
    pthread_t thread;
    if (limit && pthread_create(&thread, NULL, watchdog, (void *)(uintptr_t)limit) == 0) {
        pthread_detach(thread);
    }
}

/* ---- tests ---- */

#define CASES_MOST 1000

static struct test_case cases[CASES_MOST];
static struct CMUnitTest entries[CASES_MOST];
static size_t case_count;

static void run_case(void **state)
{
    const struct test_case *test = *state;
    struct census before = census_take();
    atomic_store(&faults, 0);
    atomic_store(&running, test->name);
    progress_made();
    if (test->test->once) {
        test->test->once();
    } else {
        test->test->each(test);
    }
    assert_no_faults();
    assert_census(before);
}

static void add_case(struct test_case test)
{
    static const char *const modes[] = {"default", "park", "spin", "fd"};
    if (case_count == CASES_MOST) {
        abort();
    }
    snprintf(test.name, sizeof(test.name), "%s", test.test->name);
    if (test.variant) {
        snprintf(test.name, sizeof(test.name), "%s %s %s-%s", test.test->name, test.variant->name,
                 modes[test.sender], modes[test.receiver]);
    }
    struct test_case *at = &cases[case_count];
    *at = test;
    entries[case_count++] =
        (struct CMUnitTest){.name = at->name, .test_func = run_case, .initial_state = at};
}

static void add_modes(const struct test *test, const struct strait_variant *variant)
{
    if (test->per == PER_VARIANT) {
        add_case((struct test_case){.test = test, .variant = variant});
        return;
    }
    for (int pair = 0; pair < 9; pair++) {
        enum strait_wait sender = (enum strait_wait)(STRAIT_WAIT_PARK + pair / 3);
        enum strait_wait receiver = (enum strait_wait)(STRAIT_WAIT_PARK + pair % 3);
        if (test->per == PER_PAIR || sender == receiver) {
            add_case((struct test_case){test, variant, sender, receiver, ""});
        }
    }
}

static struct test *first_test;
static struct test **next_test = &first_test;

void test_add(struct test *test)
{
    *next_test = test;
    next_test = &test->next;
}

int tests_run(void)
{
    for (const struct test *test = first_test; test; test = test->next) {
        if (test->per == PER_PROGRAM) {
            add_case((struct test_case){.test = test});
        }
        for (size_t v = 0; test->per != PER_PROGRAM && strait_variant_at(v); v++) {
            add_modes(test, strait_variant_at(v));
        }
    }
    watchdog_start();
    cmocka_set_test_filter(getenv("STRAIT_TEST"));
    return _cmocka_run_group_tests(program_invocation_short_name, entries, case_count, NULL, NULL);
}

__attribute__((weak)) int main(void)
{
    return tests_run();
}

/* ---- how much, and at random ---- */

size_t scaled(size_t n)
{
    size_t times = environment("STRAIT_STRESS", 1);
    size_t all = n * (times ? times : 1);
    return TEST_TSAN ? all / 10 + 1 : all;
}

uint64_t first_seed(uint64_t otherwise)
{
    return environment("STRAIT_SEED", otherwise);
}

uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t draw(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15u;
    return mix(*seed);
}

size_t draw_below(uint64_t *seed, size_t n)
{
    return (size_t)(draw(seed) % n);
}

/* ---- threads ---- */

void thread_start(pthread_t *thread, void *(*body)(void *), void *context)
{
    assert_int_equal(pthread_create(thread, NULL, body, context), 0);
}

void thread_join(pthread_t thread)
{
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int32_t thread_number(void)
{
    return (int32_t)syscall(SYS_gettid);
}

int64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void sleep_ns(long ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    nanosleep(&t, NULL);
}

void dawdle(size_t turns)
{
    for (volatile size_t i = 0; i < turns; i++) {
    }
}

void await(const _Atomic unsigned *word, unsigned value)
{
    while (atomic_load(word) < value) {
        sched_yield();
    }
}

void gate_pass(_Atomic unsigned *gate, unsigned threads)
{
    atomic_fetch_add(gate, 1);
    await(gate, threads);
}

void gate_wait(struct gate *gate)
{
    atomic_fetch_add(&gate->arrived, 1);
    while (!atomic_load(&gate->open)) {
        sleep_ns(GATE_NAP_NS);
    }
}

void gate_await(const struct gate *gate, unsigned arrivals)
{
    while (atomic_load(&gate->arrived) < arrivals) {
        sleep_ns(GATE_NAP_NS);
    }
    progress_made();
}

void gate_open(struct gate *gate)
{
    atomic_store(&gate->open, 1);
}

/* ---- the process ---- */

/* PF_EXITING of the kernel: set before the thread's join can return, so that a thread that was
   joined never counts, although /proc lists it for a moment longer. */
#define EXITING 0x4u

bool thread_lives(const char *tid)
{
    char path[300];
    char line[512] = "";
    unsigned flags = EXITING;
    snprintf(path, sizeof(path), "/proc/self/task/%s/stat", tid);
    FILE *file = fopen(path, "r");
    if (file) {
        const char *name_end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
        if (name_end) {
            sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %u", &flags);
        }
        fclose(file);
    }
    return !(flags & EXITING);
}

/* How many entries of a directory count. */
static unsigned entries_of(const char *path, bool (*counts)(const char *name))
{
    unsigned count = 0;
    const struct dirent *entry;
    DIR *directory = opendir(path);
    while (directory && (entry = readdir(directory))) {
        count += entry->d_name[0] != '.' && (!counts || counts(entry->d_name));
    }
    if (directory) {
        closedir(directory);
    }
    return count;
}

struct census census_take(void)
{
    struct census census = {entries_of("/proc/self/task", thread_lives),
                            entries_of("/proc/self/fd", NULL)};
    return census;
}

void assert_census(struct census before)
{
    struct census now = census_take();
    for (int ms = 0; TEST_QEMU && now.threads != before.threads && ms < 10000; ms++) {
        sleep_ns(1000000);
        now = census_take();
    }
    assert_int_equal(now.threads, before.threads);
    assert_int_equal(now.fds, before.fds);
}

bool readable(int fd, int milliseconds)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    struct timespec t = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    return ppoll(&poll_fd, 1, milliseconds < 0 ? NULL : &t, NULL) == 1 &&
           (poll_fd.revents & POLLIN);
}

int in_child(void (*body)(void *context), void *context, char *said, size_t size)
{
    const struct rlimit none = {0, 0};
    int pipe_fds[2];
    int status = 0;
    size_t length = 0;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &none);
        dup2(pipe_fds[1], STDERR_FILENO);
        alarm(120);
        body(context);
        _exit(faults_seen() ? 1 : 0);
    }
    close(pipe_fds[1]);
    for (ssize_t n = 1; n > 0 && length + 1 < size; length += n > 0 ? (size_t)n : 0) {
        n = read(pipe_fds[0], said + length, size - 1 - length);
    }
    said[length] = '\0';
    close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    progress_made();
    return status;
}

void assert_well_in_child(void (*body)(void *context), void *context)
{
    char said[4096];
    int status = in_child(body, context, said, sizeof(said));
    assert_string_equal(said, "");
    assert_int_equal(status, 0);
}

void assert_abort_in_child(void (*body)(void *context), void *context, const char *const *words)
{
    char said[4096];
    int status = in_child(body, context, said, sizeof(said));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    for (; *words; words++) {
        assert_non_null(strstr(said, *words));
    }
}
