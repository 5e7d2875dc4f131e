/* SPDX-License-Identifier: MIT */
/* spawn: what a worker is, as its options say and once spawn has returned, what it is given, and
 * what is left of one that cannot be. */
#include "worker/fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* ---- what a worker is, seen from outside ---- */

struct portrait {
    struct strait_status status;
    char name[32];
    cpu_set_t cpus;
    int class;
    int nice;
    uint64_t blocked; /* signals, the first one in bit 0 */
};

/* The rest of the line that begins so, of a file of the thread's in /proc. */
static void proc_line(int32_t thread, const char *file, const char *key, char *rest, int size)
{
    char path[64];
    char line[256] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", thread, file);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in) && strncmp(line, key, strlen(key)) != 0) {
    }
    fclose(in);
    snprintf(rest, (size_t)size, "%s", line + strlen(key));
    rest[strcspn(rest, "\n")] = 0;
}

static struct portrait portrait_of(struct strait_worker_options options)
{
    struct portrait seen;
    struct gate gate = {0};
    char mask[32];
    options.entry = gate_entry;
    options.data = &gate;
    struct strait_worker *worker = spawn(&options);
    seen.status = status_of(worker);
    int32_t thread = seen.status.thread;
    proc_line(thread, "comm", "", seen.name, sizeof(seen.name));
    proc_line(thread, "status", "SigBlk:\t", mask, sizeof(mask));
    seen.blocked = strtoull(mask, NULL, 16);
    assert_int_equal(sched_getaffinity(thread, sizeof(seen.cpus), &seen.cpus), 0);
    seen.class = sched_getscheduler(thread);
    seen.nice = getpriority(PRIO_PROCESS, (id_t)thread);
    gate_open(&gate);
    join_and_destroy(worker);
    assert_string_equal(seen.status.name, seen.name);
    int cpu = 0;
    while (!CPU_ISSET((size_t)cpu, &seen.cpus)) {
        cpu++;
    }
    assert_int_equal(seen.status.cpu, CPU_COUNT(&seen.cpus) == 1 ? cpu : -1);
    return seen;
}

TEST(a_worker_is_what_its_options_say)
{
    const int parents = sched_getscheduler(0);
    const int nice = getpriority(PRIO_PROCESS, 0);
    const struct {
        struct strait_worker_options options;
        const char *name;
        int class;
    } cases[] = {
        {{.name = "fifteen_bytes__"}, "fifteen_bytes__", parents},
        {{.name = ""}, "", parents},
        {{.name = NULL, .nice = 1}, "strait", parents},
        {{.schedule = STRAIT_SCHEDULE_NORMAL, .nice = 2}, "strait", SCHED_OTHER},
        {{.schedule = STRAIT_SCHEDULE_BATCH}, "strait", SCHED_BATCH},
        {{.schedule = STRAIT_SCHEDULE_BATCH, .nice = 3}, "strait", SCHED_BATCH},
        {{.schedule = STRAIT_SCHEDULE_IDLE, .nice = 4}, "strait", SCHED_IDLE},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct portrait seen = portrait_of(cases[i].options);
        assert_string_equal(seen.name, cases[i].name);
        assert_int_equal(seen.class, cases[i].class);
        assert_int_equal(seen.nice,
                         nice + cases[i].options.nice > 19 ? 19 : nice + cases[i].options.nice);
    }
    assert_int_equal(sched_getscheduler(0), parents);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), nice);
}

TEST(asynchronous_signals_are_blocked_in_a_worker)
{
    static const int own[] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE, SIGTRAP,
                              SIGSYS,  SIGABRT, SIGKILL, SIGSTOP};
    uint64_t open = UINT64_C(3) << 31; /* 32 and 33 are the C library's */
    uint64_t before = 0;
    uint64_t after = 0;
    for (size_t i = 0; i < COUNT(own); i++) {
        open |= UINT64_C(1) << (own[i] - 1);
    }
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &before, 8);
    struct portrait seen = portrait_of((struct strait_worker_options){.nice = 0});
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &after, 8);
    assert_int_equal(seen.blocked | UINT64_C(3) << 31, ~open | UINT64_C(3) << 31);
    assert_int_equal(before, after);
    assert_int_equal(after & UINT64_C(1) << (SIGTERM - 1), 0); /* nor blocked by earlier spawns */
}

/* ---- where it may run ---- */

static cpu_set_t set_of(const int *cpus, size_t count)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t i = 0; i < count; i++) {
        CPU_SET((size_t)cpus[i], &set);
    }
    return set;
}

static void expect_cpus(struct strait_worker_options options, cpu_set_t expected)
{
    struct portrait seen = portrait_of(options);
    assert_true(CPU_EQUAL(&seen.cpus, &expected));
}

/* Whatever its parent is pinned to. */
TEST(a_worker_runs_where_it_was_told)
{
    const cpu_set_t allowed = own_cpus();
    int cpus[CPU_SETSIZE + 1];
    size_t count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &allowed)) {
            continue;
        }
        cpu_set_t one = set_of(&cpu, 1);
        cpus[count++] = cpu;
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
        for (int i = 0; i < 6; i++) {
            struct portrait seen = portrait_of((struct strait_worker_options){.nice = 0});
            assert_int_equal(CPU_COUNT(&seen.cpus), 1);
            assert_true(CPU_ISSET((size_t)seen.status.cpu, &allowed));
            assert_true(seen.status.cpu != cpu || CPU_COUNT(&allowed) == 1);
        }
        expect_cpus((struct strait_worker_options){.pin = STRAIT_PIN_NONE}, allowed);
        expect_cpus((struct strait_worker_options){.pin = STRAIT_PIN_CPU, .cpu = cpu}, one);
        cpus[count] = cpu; /* said twice */
        expect_cpus((struct strait_worker_options){.pin = STRAIT_PIN_SET,
                                                   .cpus = cpus,
                                                   .cpu_count = count + 1},
                    set_of(cpus, count));
        assert_int_equal(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
    }
}

/* ---- its stack ---- */

/* Is there a mapping that ends at `end`, and that nobody may touch? */
static bool guarded_below(uintptr_t end)
{
    char line[512];
    bool found = false;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file && fgets(line, sizeof(line), file)) {
        unsigned long to = 0;
        char rights[5] = "";
        sscanf(line, "%*x-%lx %4s", &to, rights);
        found = found || (to == end && strcmp(rights, "---p") == 0);
    }
    if (file) {
        fclose(file);
    }
    return found;
}

/* At least as large as asked for: the C library hands out a larger one if it has it at hand. */
static int stack_entry(struct strait_port *port, void *data)
{
    const size_t *least = data;
    pthread_attr_t attributes;
    void *stack = NULL;
    size_t bytes = 0;
    EXPECT(pthread_getattr_np(pthread_self(), &attributes) == 0);
    EXPECT(pthread_attr_getstack(&attributes, &stack, &bytes) == 0);
    pthread_attr_destroy(&attributes);
    EXPECT(bytes >= *least);
    EXPECT((uintptr_t)&bytes - (uintptr_t)stack < bytes || TEST_ASAN); /* it has its own frames */
    EXPECT(guarded_below((uintptr_t)stack));
    return 0;
}

TEST(a_worker_has_the_stack_it_was_given)
{
    for (size_t size = 0; size <= (size_t)32 << 20; size = size ? 2 * size : (size_t)1 << 20) {
        struct strait_worker_options options = {
            .entry = stack_entry, .data = &size, .stack_size = size};
        join_and_destroy(spawn(&options));
    }
}

/* ---- its data ---- */

struct start_up {
    struct gate *gate;
    char bytes[1000];
    int number;
};

static int data_entry(struct strait_port *port, void *data)
{
    struct start_up *start_up = data;
    EXPECT((uintptr_t)data % 16 == 0);
    gate_wait(start_up->gate);
    return start_up->number++;
}

TEST(start_up_data_is_handed_over_or_copied)
{
    for (int copied = 0; copied < 2; copied++) {
        struct event_log log;
        struct gate gate = {0};
        _Alignas(16) struct start_up data = {.gate = &gate, .number = 42};
        struct strait_worker_options options = logged(&log, data_entry);
        options.data = &data;
        options.data_size = copied ? sizeof(data) : 0;
        struct strait_worker *worker = spawn(&options);
        data.number = 77;
        gate_open(&gate);
        end_and_destroy(worker);
        assert_int_equal(log.exit.code, copied ? 42 : 77);
        assert_int_equal(data.number, copied ? 77 : 78);
    }
}

/* ---- spawn says no ---- */

/* What else is refused pool/misuse_test tells. */
TEST(what_a_worker_does_not_know_it_ignores_if_it_is_zero)
{
    struct strait_worker *worker = NULL;
    struct {
        struct strait_worker_options options;
        char tail[16];
    } newer = {.options = {.size = sizeof(newer), .entry = nothing_entry}, .tail = {0}};
    const struct strait_worker_options large = {
        .entry = nothing_entry, .data = &newer, .data_size = SIZE_MAX};
    join_and_destroy(spawn(&newer.options));
    assert_returns(strait_worker_spawn(&worker, &large), -ENOMEM);
    assert_null(worker);
}

/* ---- init and fini ---- */

struct beginning {
    int result;
    bool exits;
    int answer; /* of the spawn */
};

/* Sends 0 to 2. */
static int sending_init(struct strait_port *port, void *data)
{
    const struct beginning *beginning = data;
    EXPECT(strait_worker_current() != NULL);
    three_entry(port, NULL);
    if (beginning->exits) {
        pthread_exit(NULL);
    }
    return beginning->result;
}

static int next_three_entry(struct strait_port *port, void *data)
{
    const uint64_t numbers[] = {3, 4, 5};
    EXPECT(strait_try_send(&port->sender, numbers, 3) == 3);
    return 0;
}

static void sending_fini(struct strait_port *port, void *data)
{
    const struct beginning *beginning = data;
    uint64_t last = 6;
    EXPECT(beginning->answer == 0);
    EXPECT(strait_worker_current() != NULL);
    EXPECT(strait_try_send(&port->sender, &last, 1) == 1);
    strait_worker_fail(8, "in fini");
}

static struct strait_worker_options framed(struct event_log *log, struct beginning *beginning)
{
    struct strait_worker_options options = logged(log, next_three_entry);
    options.data = beginning;
    options.init = sending_init;
    options.fini = sending_fini;
    options.drop_to_parent = log_drop;
    return options;
}

TEST(init_and_fini_stand_around_the_entry)
{
    struct event_log log;
    struct beginning beginning = {0, false, 0};
    struct strait_worker_options options = framed(&log, &beginning);
    end_and_destroy(spawn(&options));
    assert_string_equal(log.events, "omex");
    assert_int_equal(log.messages, 7);
    assert_int_equal(log.error.code, 8);
    assert_int_equal(log.exit.code, 0);
}

/* Beside a worker that goes on. */
TEST(a_failed_init_leaves_nothing_behind)
{
    static const struct beginning beginnings[] = {
        {-EIO, false, -EIO}, {-1, false, -1}, {5, false, -ECANCELED}, {0, true, -EINTR}};
    struct event_log others;
    struct strait_worker *other = spawn_logged(&others, echo_entry, NULL);
    struct census before = census_take();
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        struct event_log log;
        struct beginning beginning = beginnings[i];
        struct strait_worker *worker = NULL;
        struct strait_worker_options options = framed(&log, &beginning);
        assert_returns(strait_worker_spawn(&worker, &options), beginning.answer);
        assert_null(worker);
        assert_int_equal(log.dropped, 3);
        assert_census(before);
    }
    send_number(other, 0);
    end_and_destroy(other);
    assert_int_equal(others.messages, 1);
}
