/* SPDX-License-Identifier: MIT */
/* worker: spawn, what it finds itself to be, its events, stop, join, and what is left behind. */
#include "life.h"

#include <sys/wait.h>

/* ---- what a worker finds ---- */

struct portrait {
    char name[16];
    int cpu;
    int cpus;
    int class;
    int nice;
    size_t stack;
    int32_t thread;
};

static int count_blocked(void)
{
    sigset_t mask;
    int blocked = 0;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (int number = 1; number < 32; number++) {
        blocked += number != SIGKILL && number != SIGSTOP && sigismember(&mask, number) == 1;
    }
    return blocked;
}

static int portrait_entry(struct strait_port *port, void *data)
{
    struct portrait *portrait = data;
    cpu_set_t cpus;
    pthread_attr_t attributes;
    char path[64];
    (void)port;
    portrait->thread = thread_number();
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", portrait->thread);
    FILE *file = fopen(path, "r");
    EXPECT(file && fgets(portrait->name, sizeof(portrait->name), file));
    if (file) {
        fclose(file);
    }
    portrait->name[strcspn(portrait->name, "\n")] = 0;
    EXPECT(pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus) == 0);
    portrait->cpus = CPU_COUNT(&cpus);
    portrait->cpu = sched_getcpu();
    EXPECT(CPU_ISSET((size_t)portrait->cpu, &cpus));
    portrait->class = sched_getscheduler(0);
    portrait->nice = getpriority(PRIO_PROCESS, (id_t)portrait->thread);
    EXPECT(pthread_getattr_np(pthread_self(), &attributes) == 0);
    EXPECT(pthread_attr_getstacksize(&attributes, &portrait->stack) == 0);
    pthread_attr_destroy(&attributes);
    return 0;
}

static struct portrait portrait_of(struct strait_worker_options options)
{
    struct portrait portrait = {.cpu = -1};
    options.entry = portrait_entry;
    options.data = &portrait;
    join_and_destroy(spawn(&options));
    assert_no_faults();
    return portrait;
}

static cpu_set_t allowed_cpus(void)
{
    cpu_set_t cpus;
    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    return cpus;
}

static void a_worker_has_its_name(void **state)
{
    (void)state;
    struct strait_worker_options options = {.name = "fifteen_bytes__"};
    assert_string_equal(portrait_of(options).name, "fifteen_bytes__");
    options.name = "";
    assert_string_equal(portrait_of(options).name, "");
    options.name = NULL;
    assert_string_equal(portrait_of(options).name, "strait");
}

static void a_worker_is_pinned_to_the_cpu_it_was_given(void **state)
{
    (void)state;
    cpu_set_t cpus = allowed_cpus();
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET((size_t)cpu, &cpus)) {
            struct portrait seen =
                portrait_of((struct strait_worker_options){.pin = STRAIT_PIN_CPU, .cpu = cpu});
            assert_int_equal(seen.cpu, cpu);
            assert_int_equal(seen.cpus, 1);
        }
    }
}

static void an_unpinned_worker_has_all_cpus(void **state)
{
    (void)state;
    cpu_set_t cpus = allowed_cpus();
    struct portrait seen = portrait_of((struct strait_worker_options){.pin = STRAIT_PIN_NONE});
    assert_int_equal(seen.cpus, CPU_COUNT(&cpus));
}

/* The parent pins itself for the test, so that it is known where it runs. */
static void a_chosen_cpu_is_not_the_parents(void **state)
{
    (void)state;
    cpu_set_t cpus = allowed_cpus();
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &cpus)) {
            continue;
        }
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
        for (int i = 0; i < 6; i++) {
            struct portrait seen = portrait_of((struct strait_worker_options){.nice = 0});
            assert_int_equal(seen.cpus, 1);
            assert_true(CPU_ISSET((size_t)seen.cpu, &cpus));
            assert_true(seen.cpu != cpu || CPU_COUNT(&cpus) == 1);
        }
        struct portrait free = portrait_of((struct strait_worker_options){.pin = STRAIT_PIN_NONE});
        assert_int_equal(free.cpus, CPU_COUNT(&cpus)); /* the parent's pin is not inherited */
        assert_int_equal(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
    }
}

static void a_worker_has_its_scheduling_class(void **state)
{
    (void)state;
    static const int classes[] = {
        [STRAIT_SCHEDULE_NORMAL] = SCHED_OTHER,
        [STRAIT_SCHEDULE_BATCH] = SCHED_BATCH,
        [STRAIT_SCHEDULE_IDLE] = SCHED_IDLE,
    };
    int parents = sched_getscheduler(0);
    int nice = getpriority(PRIO_PROCESS, 0);
    struct portrait seen = portrait_of((struct strait_worker_options){.nice = 0});
    assert_int_equal(seen.class, parents);
    assert_int_equal(seen.nice, nice);
    for (int i = STRAIT_SCHEDULE_NORMAL; i <= STRAIT_SCHEDULE_IDLE; i++) {
        struct strait_worker_options options = {.schedule = (enum strait_schedule)i, .nice = i};
        seen = portrait_of(options);
        assert_int_equal(seen.class, classes[i]);
        assert_int_equal(seen.nice, nice + i);
    }
    assert_int_equal(sched_getscheduler(0), parents);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), nice);
}

/* At least: the C library hands out a larger one if it has it at hand. */
static void a_worker_has_the_stack_it_was_given(void **state)
{
    (void)state;
    for (size_t size = (size_t)1 << 20; size <= (size_t)32 << 20; size *= 2) {
        struct portrait seen = portrait_of((struct strait_worker_options){.stack_size = size});
        assert_true(seen.stack >= size);
    }
}

/* Is there a mapping that ends at `end`, and that nobody may touch? */
static bool guarded_below(uintptr_t end)
{
    char line[512];
    bool found = false;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file && fgets(line, sizeof(line), file)) {
        unsigned long from = 0;
        unsigned long to = 0;
        char rights[5] = "";
        sscanf(line, "%lx-%lx %4s", &from, &to, rights);
        found = found || (to == end && strcmp(rights, "---p") == 0);
    }
    if (file) {
        fclose(file);
    }
    return found;
}

static int guard_entry(struct strait_port *port, void *data)
{
    pthread_attr_t attributes;
    void *stack = NULL;
    size_t bytes = 0;
    size_t guard = 0;
    (void)port;
    (void)data;
    EXPECT(pthread_getattr_np(pthread_self(), &attributes) == 0);
    EXPECT(pthread_attr_getstack(&attributes, &stack, &bytes) == 0);
    EXPECT(pthread_attr_getguardsize(&attributes, &guard) == 0);
    pthread_attr_destroy(&attributes);
    EXPECT(guard >= (size_t)sysconf(_SC_PAGESIZE));
    EXPECT((uintptr_t)&bytes - (uintptr_t)stack < bytes ||
           TEST_ASAN); /* which has its own frames */
    EXPECT(guarded_below((uintptr_t)stack));
    return 0;
}

static void a_guard_page_ends_the_stack(void **state)
{
    (void)state;
    const size_t sizes[] = {0, (size_t)1 << 20, (size_t)5 << 20};
    for (size_t i = 0; i < 3; i++) {
        struct strait_worker_options options = {.entry = guard_entry, .stack_size = sizes[i]};
        join_and_destroy(spawn(&options));
    }
    assert_no_faults();
}

struct outside {
    char name[32];
    long nice;
    unsigned long class;
};

/* What any other program could see of the thread. */
static struct outside seen_from_outside(int32_t thread)
{
    struct outside seen = {.name = "", .nice = -100, .class = 100};
    char path[64];
    char line[1024] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", thread);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(seen.name, sizeof(seen.name), file));
    fclose(file);
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof(line), file));
    fclose(file);
    char *rest = strrchr(line, ')') + 1;
    char *word = strtok(rest, " ");
    for (int field = 3; word; field++, word = strtok(NULL, " ")) {
        seen.nice = field == 19 ? strtol(word, NULL, 10) : seen.nice;
        seen.class = field == 41 ? strtoul(word, NULL, 10) : seen.class;
    }
    return seen;
}

static int gated_entry(struct strait_port *port, void *data)
{
    (void)port;
    gate_wait(data);
    return 0;
}

/* As soon as spawn has returned. */
static void name_and_schedule_are_seen_from_outside(void **state)
{
    (void)state;
    long nice = getpriority(PRIO_PROCESS, 0);
    static const unsigned long classes[] = {SCHED_OTHER, SCHED_BATCH, SCHED_IDLE};
    for (int i = 0; i < 3; i++) {
        struct gate gate = {0};
        struct strait_status status;
        struct strait_worker_options options = {
            .entry = gated_entry,
            .data = &gate,
            .name = "seen outside",
            .schedule = (enum strait_schedule)(STRAIT_SCHEDULE_NORMAL + i),
            .nice = 2 + i,
        };
        struct strait_worker *worker = spawn(&options);
        strait_worker_status(worker, &status);
        struct outside seen = seen_from_outside(status.thread);
        gate_open(&gate);
        join_and_destroy(worker);
        assert_string_equal(seen.name, "seen outside\n");
        assert_int_equal(seen.nice, nice + 2 + i);
        assert_int_equal(seen.class, classes[i]);
    }
}

static int signals_entry(struct strait_port *port, void *data)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t mask;
    (void)port;
    (void)data;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        EXPECT(sigismember(&mask, own[i]) == 0);
    }
    EXPECT(sigismember(&mask, SIGRTMIN) == 1);
    EXPECT(sigismember(&mask, SIGRTMAX) == 1);
    return count_blocked();
}

static void asynchronous_signals_are_blocked_in_a_worker(void **state)
{
    (void)state;
    int before = count_blocked();
    struct event_log log = {.count = 0};
    struct strait_worker_options options = {
        .entry = signals_entry, .event = log_event, .context = &log};
    struct strait_worker *worker = spawn(&options);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_no_faults();
    assert_int_equal(log.exit.code, 29 - 7);
    assert_int_equal(count_blocked(), before); /* the parent's mask is as it was */
    assert_true(before < 22);                  /* nor had the spawns before this one changed it */
}

static int pointer_entry(struct strait_port *port, void *start_up)
{
    int *data = start_up;
    (void)port;
    *data = 77;
    return 0;
}

static void start_up_data_without_a_size_is_the_pointer(void **state)
{
    (void)state;
    int data = 1;
    struct strait_worker_options options = {.entry = pointer_entry, .data = &data};
    join_and_destroy(spawn(&options));
    assert_no_faults();
    assert_int_equal(data, 77);
}

struct copied {
    struct gate *gate;
    char bytes[1000];
};

static int copy_entry(struct strait_port *port, void *copy)
{
    struct copied *data = copy;
    (void)port;
    EXPECT((uintptr_t)copy % 16 == 0);
    gate_wait(data->gate);
    for (size_t i = 0; i < sizeof(data->bytes); i++) {
        EXPECT(data->bytes[i] == (char)i);
    }
    memset(data, 0, sizeof(*data)); /* the worker's own */
    return 0;
}

static void start_up_data_with_a_size_is_copied(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct copied data = {.gate = &gate};
    for (size_t i = 0; i < sizeof(data.bytes); i++) {
        data.bytes[i] = (char)i;
    }
    struct strait_worker_options options = {
        .entry = copy_entry,
        .data = &data,
        .data_size = sizeof(data),
    };
    struct strait_worker *worker = spawn(&options);
    memset(data.bytes, 0x7f, sizeof(data.bytes));
    gate_open(&gate);
    join_and_destroy(worker);
    assert_no_faults();
    assert_int_equal(data.bytes[0], 0x7f);
}

/* ---- spawn says no ---- */

static int nothing_entry(struct strait_port *port, void *data)
{
    (void)port;
    (void)data;
    return 0;
}

static void bad_options_leave_nothing_behind(void **state)
{
    (void)state;
    struct census before = census_take();
    int data = 0;
    const struct strait_worker_options bad[] = {
        {.entry = NULL},
        {.entry = nothing_entry, .name = "sixteen_bytes___"},
        {.entry = nothing_entry, .pin = STRAIT_PIN_CPU, .cpu = -1},
        {.entry = nothing_entry, .pin = STRAIT_PIN_CPU, .cpu = CPU_SETSIZE},
        {.entry = nothing_entry, .pin = STRAIT_PIN_CPU, .cpu = CPU_SETSIZE - 1},
        {.entry = nothing_entry, .pin = (enum strait_pin)7},
        {.entry = nothing_entry, .schedule = (enum strait_schedule)7},
        {.entry = nothing_entry, .nice = -1},
        {.entry = nothing_entry, .nice = 20},
        {.entry = nothing_entry, .stack_size = 1},
        {.entry = nothing_entry, .data_size = 8},
        {.entry = nothing_entry, .to_worker = {.variant = "no such"}},
        {.entry = nothing_entry, .to_parent = {.capacity = STRAIT_CAPACITY_MAX + 1}},
    };
    struct strait_worker *worker = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_returns(strait_worker_spawn(&worker, &bad[i]), -EINVAL);
    }
    assert_returns(strait_worker_spawn(&worker, NULL), -EINVAL);
    struct strait_worker_options tight = {
        .entry = nothing_entry, .data = &data, .data_size = SIZE_MAX};
    assert_returns(strait_worker_spawn(&worker, &tight), -ENOMEM);
    assert_null(worker);
    assert_census(before);
}

static void newer_options_are_taken_if_their_tail_is_zero(void **state)
{
    (void)state;
    struct {
        struct strait_worker_options options;
        char tail[16];
    } newer = {.options = {.size = sizeof(newer), .entry = nothing_entry}, .tail = {0}};
    struct strait_worker *worker = NULL;
    join_and_destroy(spawn(&newer.options));
    newer.tail[15] = 1;
    assert_returns(strait_worker_spawn(&worker, &newer.options), -EINVAL);
}

/* More than there is address space for: the system says no, and errno stays as it was. */
static void a_thread_that_cannot_be_had_leaves_nothing(void **state)
{
    (void)state;
    if (TEST_TSAN || TEST_ASAN) {
        skip(); /* their own thread creation ends the program */
    }
    struct census before = census_take();
    struct strait_worker_options options = {
        .entry = nothing_entry,
        .stack_size = (size_t)1 << (sizeof(size_t) * 8 - 3),
        .to_worker = {.sender = STRAIT_WAIT_FD},
    };
    struct strait_worker *worker = NULL;
    errno = ERRNO_MARK;
    int error = strait_worker_spawn(&worker, &options);
    int after = errno;
    assert_true(error == -EAGAIN || error == -ENOMEM);
    assert_census(before);
    assert_int_equal(after, ERRNO_MARK);
}

/* ---- events ---- */

static struct strait_worker_options logged(struct event_log *log, strait_entry_fn *entry)
{
    struct strait_worker_options options = {
        .size = sizeof(options),
        .entry = entry,
        .to_worker = {.message_size = sizeof(uint64_t)},
        .to_parent = {.message_size = sizeof(uint64_t)},
        .event = log_event,
        .context = log,
    };
    return options;
}

static void events_of(struct event_log *log, const struct strait_worker_options *options)
{
    memset(log, 0, sizeof(*log));
    struct strait_worker *worker = spawn(options);
    dispatch_to_exit(worker);
    assert_int_equal(log->thread, thread_number());
    assert_returns(strait_worker_dispatch(worker, 0), -EPIPE);
    join_and_destroy(worker);
    assert_no_faults();
}

static int echo_entry(struct strait_port *port, void *data)
{
    uint64_t number;
    ptrdiff_t received;
    (void)data;
    while ((received = strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER)) == 1) {
        EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
    }
    return received == -EPIPE ? 0 : (int)received;
}

static struct strait_worker *spawn_echo(struct event_log *log)
{
    struct strait_worker_options options = logged(log, echo_entry);
    return spawn(&options);
}

static void send_number(struct strait_worker *worker, uint64_t number)
{
    struct strait_port *port = strait_worker_port(worker);
    assert_int_equal(strait_send(&port->sender, &number, 1, STRAIT_FOREVER), 1);
}

static void end_of_input(struct strait_worker *worker)
{
    strait_sender_close(&strait_worker_port(worker)->sender);
}

static _Atomic unsigned ended; /* calls of fini */

static int three_entry(struct strait_port *port, void *data)
{
    (void)data;
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT(strait_send(&port->sender, &i, 1, STRAIT_FOREVER) == 1);
    }
    return 0;
}

static void events_come_online_messages_exit(void **state)
{
    (void)state;
    struct event_log log;
    struct strait_worker_options options = logged(&log, three_entry);
    events_of(&log, &options);
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.messages, 3);
    assert_int_equal(log.exit.code, 0);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
    options.entry = nothing_entry;
    events_of(&log, &options);
    assert_string_equal(log.events, "ox");
}

static int fails_entry(struct strait_port *port, void *data)
{
    three_entry(port, data);
    strait_worker_fail(42, "the first reason");
    strait_worker_fail(43, "another");
    return 9;
}

static void the_first_failure_is_the_one_error(void **state)
{
    (void)state;
    struct event_log log;
    struct strait_worker_options options = logged(&log, fails_entry);
    events_of(&log, &options);
    assert_string_equal(log.events, "omex");
    assert_int_equal(log.error.code, 42);
    assert_string_equal(log.error.text, "the first reason");
    assert_int_equal(log.error.reason, STRAIT_EXIT_FAILED);
    assert_int_equal(log.exit.code, 9);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
}

static int fails_but_returns_0_entry(struct strait_port *port, void *data)
{
    (void)port;
    (void)data;
    strait_worker_fail(-5, NULL);
    return 0;
}

static void a_failure_counts_although_the_entry_returns_0(void **state)
{
    (void)state;
    struct event_log log;
    struct strait_worker_options options = logged(&log, fails_but_returns_0_entry);
    events_of(&log, &options);
    assert_string_equal(log.events, "oex");
    assert_int_equal(log.error.code, -5);
    assert_null(log.error.text);
    assert_int_equal(log.exit.code, 0);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
}

static int returns_7_entry(struct strait_port *port, void *data)
{
    (void)port;
    (void)data;
    return 7;
}

static void a_result_other_than_0_is_an_error(void **state)
{
    (void)state;
    struct event_log log;
    struct strait_worker_options options = logged(&log, returns_7_entry);
    events_of(&log, &options);
    assert_string_equal(log.events, "oex");
    assert_int_equal(log.error.code, 7);
    assert_null(log.error.text);
    assert_int_equal(log.exit.code, 7);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
}

static int warns_entry(struct strait_port *port, void *data)
{
    (void)port;
    (void)data;
    strait_worker_warn(-ENOMEM, "the first warning");
    strait_worker_warn(-EIO, "another");
    return 3;
}

static int warns_and_returns_0_entry(struct strait_port *port, void *data)
{
    warns_entry(port, data);
    return 0;
}

static void a_warning_is_told_once_and_noted(void **state)
{
    (void)state;
    struct event_log log;
    struct strait_worker_options options = logged(&log, warns_entry);
    events_of(&log, &options);
    assert_string_equal(log.events, "owex");
    assert_int_equal(log.warning.code, -ENOMEM);
    assert_string_equal(log.warning.text, "the first warning");
    assert_int_equal(log.error.warning, -ENOMEM);
    assert_int_equal(log.error.code, 3);
    assert_null(log.error.text);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
    assert_int_equal(log.exit.warning, -ENOMEM);
    options.entry = warns_and_returns_0_entry;
    events_of(&log, &options);
    assert_string_equal(log.events, "owx");
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
    assert_int_equal(log.exit.warning, -ENOMEM);
    options.entry = fails_entry;
    events_of(&log, &options);
    assert_int_equal(log.exit.warning, 0);
}

/* At once: while the worker goes on, on a sleeping parent. */
static int warns_and_waits_entry(struct strait_port *port, void *data)
{
    gate_wait(data);
    warns_entry(port, NULL);
    return strait_receive(&port->receiver, &(uint64_t){0}, 1, STRAIT_FOREVER) == -EPIPE ? 0 : 1;
}

static void a_warning_wakes_the_parent(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct gate gate = {0};
    struct strait_worker_options options = logged(&log, warns_and_waits_entry);
    options.data = &gate;
    struct strait_worker *worker = spawn(&options);
    while (strait_worker_dispatch(worker, 0) > 0) {
    }
    assert_false(readable(strait_worker_fd(worker), 0));
    gate_open(&gate);
    assert_true(readable(strait_worker_fd(worker), -1));
    assert_returns(strait_worker_dispatch(worker, 0), 1);
    assert_string_equal(log.events, "ow");
    end_of_input(worker);
    dispatch_to_exit(worker);
    assert_string_equal(log.events, "owx");
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- ends that are no return ---- */

static int exits_entry(struct strait_port *port, void *data)
{
    three_entry(port, data);
    pthread_exit(NULL);
}

static int cancelled_entry(struct strait_port *port, void *data)
{
    three_entry(port, data);
    pthread_cancel(pthread_self());
    pthread_testcancel();
    return 0;
}

/* In a sleep of the library's, on an fd. */
static int cancelled_asleep_entry(struct strait_port *port, void *data)
{
    uint64_t number;
    three_entry(port, data);
    pthread_cancel(pthread_self());
    return (int)strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER);
}

static void exits_in_fini(struct strait_port *port, void *data)
{
    (void)port;
    (void)data;
    atomic_fetch_add(&ended, 1);
    pthread_exit(NULL);
}

static void the_end_of_a_thread_is_told(void **state)
{
    (void)state;
    strait_entry_fn *const entries[] = {exits_entry, cancelled_entry, cancelled_asleep_entry};
    struct census before = census_take();
    size_t count = TEST_ASAN ? 1 : 3; /* it does not follow a cancellation up the stack */
    for (size_t i = 0; i < count; i++) {
        struct event_log log;
        struct strait_worker_options options = logged(&log, entries[i]);
        options.to_worker.receiver = STRAIT_WAIT_FD;
        options.fini = i ? NULL : exits_in_fini;
        ended = 0;
        events_of(&log, &options);
        assert_string_equal(log.events, "omex");
        assert_int_equal(log.messages, 3);
        assert_int_equal(log.error.code, -EINTR);
        assert_int_equal(log.exit.code, -EINTR);
        assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
        assert_int_equal(ended, i ? 0 : 1);
    }
    struct event_log log;
    struct strait_worker_options options = logged(&log, three_entry);
    options.fini = exits_in_fini; /* after the entry has returned */
    ended = 0;
    events_of(&log, &options);
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
    assert_int_equal(ended, 1);
    assert_census(before);
}

static int init_exits(struct strait_port *port, void *data)
{
    (void)port;
    (void)data;
    pthread_exit(NULL);
}

static void an_init_that_ends_its_thread_is_an_error(void **state)
{
    (void)state;
    struct census before = census_take();
    struct strait_worker_options options = {.entry = nothing_entry, .init = init_exits};
    struct strait_worker *worker = NULL;
    assert_returns(strait_worker_spawn(&worker, &options), -EINTR);
    assert_null(worker);
    assert_census(before);
}

#define LAST_WORDS 20000

static int last_words_entry(struct strait_port *port, void *data)
{
    (void)data;
    for (uint64_t i = 0; i < LAST_WORDS; i++) {
        EXPECT(strait_send(&port->sender, &i, 1, STRAIT_FOREVER) == 1);
    }
    strait_worker_fail(1, "done");
    return 1;
}

/* With room for all (the worker is gone before the parent looks), and with room for few. */
static void nothing_sent_before_the_exit_is_lost(void **state)
{
    (void)state;
    for (size_t capacity = 1; capacity <= LAST_WORDS; capacity *= LAST_WORDS / 4) {
        struct event_log log = {.count = 0};
        struct strait_worker_options options = logged(&log, last_words_entry);
        options.to_parent.capacity = capacity * 4;
        struct strait_worker *worker = spawn(&options);
        if (capacity > 1) {
            assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
        }
        dispatch_to_exit(worker);
        assert_string_equal(log.events, "omex");
        assert_int_equal(log.messages, LAST_WORDS);
        assert_int_equal(log.next, LAST_WORDS);
        join_and_destroy(worker);
    }
    assert_no_faults();
}

static void events_wait_for_their_dispatch(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker_options options = logged(&log, three_entry);
    struct strait_worker *worker = spawn(&options);
    assert_true(readable(strait_worker_fd(worker), 0)); /* the online event, at least */
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    assert_string_equal(log.events, "");
    static const char *const seen[] = {"o", "om", "om", "om", "omx"};
    for (int i = 0; i < 5; i++) {
        assert_true(readable(strait_worker_fd(worker), 0));
        assert_returns(strait_worker_dispatch(worker, 1), 1);
        assert_string_equal(log.events, seen[i]);
    }
    assert_false(readable(strait_worker_fd(worker), 0));
    assert_returns(strait_worker_dispatch(worker, 1), -EPIPE);
    join_and_destroy(worker);
    assert_no_faults();
}

static void the_fd_is_readable_until_drained(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker *worker = spawn_echo(&log);
    int fd = strait_worker_fd(worker);
    assert_true(readable(fd, 0)); /* the online event */
    assert_returns(strait_worker_dispatch(worker, 0), 1);
    assert_false(readable(fd, 0));
    for (uint64_t i = 0; i < 200; i++) {
        send_number(worker, i);
        while (log.messages <= i) {
            assert_true(readable(fd, -1));
            strait_worker_dispatch(worker, 0);
        }
        assert_false(readable(fd, 0));
        assert_returns(strait_worker_dispatch(worker, 0), 0);
    }
    end_of_input(worker);
    dispatch_to_exit(worker);
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
    join_and_destroy(worker);
    assert_no_faults();
}

static void the_fd_stays_after_the_parent_stops_receiving(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker *worker = spawn_echo(&log);
    int fd = strait_worker_fd(worker);
    assert_returns(strait_worker_dispatch(worker, 0), 1);
    strait_receiver_close(&strait_worker_port(worker)->receiver);
    assert_returns(strait_worker_fd(worker), fd);
    strait_worker_dispatch(worker, 0);
    assert_false(readable(fd, 0)); /* nothing but the exit is to come, and has not */
    end_of_input(worker);
    assert_true(readable(fd, -1));
    dispatch_to_exit(worker);
    assert_string_equal(log.events, "ox");
    join_and_destroy(worker);
    assert_no_faults();
}

static void a_budget_leaves_the_fd_readable(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker *worker = spawn_echo(&log);
    int fd = strait_worker_fd(worker);
    for (uint64_t i = 0; i < 1000; i++) {
        send_number(worker, i);
    }
    end_of_input(worker);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    assert_returns(strait_worker_dispatch(worker, 10), 10);
    assert_int_equal(log.messages, 9);
    assert_true(readable(fd, 0));
    assert_returns(strait_worker_dispatch(worker, 0), STRAIT_BUDGET);
    assert_true(readable(fd, 0));
    assert_returns(strait_worker_dispatch(worker, 1000), 1002 - 10 - STRAIT_BUDGET);
    assert_false(readable(fd, 0));
    join_and_destroy(worker);
    assert_no_faults();
}

/* The error is not the end, whatever the budget. */
static void a_budget_of_one_comes_to_the_exit(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker_options options = logged(&log, fails_entry);
    struct strait_worker *worker = spawn(&options);
    bool told = true;
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    for (int i = 0; i < 6; i++) {
        told = told && readable(strait_worker_fd(worker), 0);
        assert_returns(strait_worker_dispatch(worker, 1), 1);
    }
    assert_string_equal(log.events, "omex");
    assert_returns(strait_worker_dispatch(worker, 1), -EPIPE);
    join_and_destroy(worker);
    assert_true(told);
    assert_no_faults();
}

struct misuse {
    struct event_log log;
    int wrong;
};

static void misusing_event(struct strait_worker *worker, const struct strait_event *event,
                           void *context)
{
    struct misuse *misuse = context;
    misuse->wrong += strait_worker_dispatch(worker, 0) != -EDEADLK;
    misuse->wrong += strait_worker_destroy(worker) != -EDEADLK;
    log_event(worker, event, &misuse->log);
}

static void an_event_callback_may_not_dispatch_or_destroy(void **state)
{
    (void)state;
    struct misuse misuse = {.wrong = 0};
    struct strait_worker_options options = logged(&misuse.log, fails_entry);
    options.event = misusing_event;
    options.context = &misuse;
    struct strait_worker *worker = spawn(&options);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    dispatch_to_exit(worker);
    assert_int_equal(misuse.wrong, 0);
    assert_string_equal(misuse.log.events, "omex");
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- without events: the parent receives from the port ---- */

static void a_parent_may_receive_by_itself(void **state)
{
    (void)state;
    struct strait_worker_options options = {
        .entry = three_entry,
        .to_parent = {.receiver = STRAIT_WAIT_PARK},
    };
    struct strait_worker *worker = spawn(&options);
    struct strait_port *port = strait_worker_port(worker);
    uint64_t number;
    assert_returns(strait_worker_fd(worker), -EINVAL);
    assert_returns(strait_worker_dispatch(worker, 0), -EINVAL);
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER), 1);
        assert_int_equal(number, i);
    }
    assert_int_equal(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER), -EPIPE);
    join_and_destroy(worker);
    assert_no_faults();
}

/* Dispatch without an fd: for parents that call it now and then. */
static void dispatch_works_without_an_fd(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker_options options = logged(&log, three_entry);
    options.to_parent.receiver = STRAIT_WAIT_PARK;
    struct strait_worker *worker = spawn(&options);
    while (strait_worker_dispatch(worker, 0) != -EPIPE) {
        sleep_ns(GATE_NAP_NS);
    }
    assert_string_equal(log.events, "omx");
    join_and_destroy(worker);
}

/* The worker says that nothing more will come, and lives on. A dispatch does not wait for it. */
static int half_close_entry(struct strait_port *port, void *gate)
{
    three_entry(port, NULL);
    strait_sender_close(&port->sender);
    gate_wait(gate);
    return 0;
}

static void *open_later(void *context)
{
    struct gate *gate = context;
    for (int naps = 0; naps < 200 && !atomic_load(&gate->open); naps++) {
        sleep_ns(10000000);
    }
    gate_open(gate);
    return NULL;
}

static void dispatch_does_not_block_when_the_worker_half_closes(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct gate gate = {0};
    pthread_t thread;
    struct strait_worker_options options = logged(&log, half_close_entry);
    options.data = &gate;
    struct strait_worker *worker = spawn(&options);
    gate_await(&gate, 1);
    thread_start(&thread, open_later, &gate); /* or else a dispatch that waits never returns */
    strait_worker_dispatch(worker, 0);
    assert_returns(strait_worker_dispatch(worker, 0), 0);
    assert_int_equal(atomic_load(&gate.open), 0);
    assert_string_equal(log.events, "om");
    gate_open(&gate);
    dispatch_to_exit(worker);
    assert_string_equal(log.events, "omx");
    thread_join(thread);
    join_and_destroy(worker);
    assert_no_faults();
}

/* The same with the whole port: the exit comes all the same, and the fd says so. */
static int closes_port_entry(struct strait_port *port, void *gate)
{
    three_entry(port, NULL);
    strait_port_close(port);
    gate_wait(gate);
    return 0;
}

static void the_exit_is_told_when_the_worker_closed_its_port(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct gate gate = {0};
    struct strait_worker_options options = logged(&log, closes_port_entry);
    options.data = &gate;
    struct strait_worker *worker = spawn(&options);
    gate_await(&gate, 1);
    while (strait_worker_dispatch(worker, 0) > 0) {
    }
    assert_string_equal(log.events, "om");
    gate_open(&gate);
    bool told = readable(strait_worker_fd(worker), 5000);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    strait_worker_dispatch(worker, 0);
    assert_string_equal(log.events, "omx");
    join_and_destroy(worker);
    assert_true(told);
    assert_no_faults();
}

/* The parent may close its port at any time; the exit comes all the same. */
static void a_parent_may_close_its_port(void **state)
{
    (void)state;
    for (int both = 0; both < 2; both++) {
        struct event_log log = {.count = 0};
        struct gate gate = {0};
        struct strait_worker_options options = logged(&log, both ? closes_port_entry : gated_entry);
        options.data = &gate;
        struct strait_worker *worker = spawn(&options);
        gate_await(&gate, 1);
        strait_port_close(strait_worker_port(worker));
        strait_worker_stop(worker);
        assert_returns(strait_worker_dispatch(worker, 0), 1);
        assert_returns(strait_worker_dispatch(worker, 0), 0);
        gate_open(&gate);
        dispatch_to_exit(worker);
        assert_string_equal(log.events, "ox");
        join_and_destroy(worker);
    }
    assert_no_faults();
}

/* ---- the end of input, stop, join ---- */

static void closing_the_parents_sender_ends_the_loop_with_0(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker *worker = spawn_echo(&log);
    for (uint64_t i = 0; i < 100; i++) {
        send_number(worker, i);
    }
    end_of_input(worker);
    dispatch_to_exit(worker);
    assert_int_equal(log.messages, 100); /* it handled everything first */
    assert_int_equal(log.exit.code, 0);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
    join_and_destroy(worker);
    assert_no_faults();
}

struct blocked {
    struct gate gate;
    ptrdiff_t result;
    bool stopping;
    int errors;
};

static int receiving_entry(struct strait_port *port, void *data)
{
    struct blocked *blocked = data;
    uint64_t number;
    errno_kept();
    atomic_fetch_add(&blocked->gate.arrived, 1);
    blocked->result = strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER);
    blocked->errors += !errno_kept();
    blocked->stopping = strait_worker_stopping(strait_worker_current());
    EXPECT(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == -ECANCELED);
    return (int)blocked->result;
}

static int sending_entry(struct strait_port *port, void *data)
{
    struct blocked *blocked = data;
    uint64_t number = 0;
    while (strait_try_send(&port->sender, &number, 1) == 1) {
        number++;
    }
    errno_kept();
    atomic_fetch_add(&blocked->gate.arrived, 1);
    blocked->result = strait_send(&port->sender, &number, 1, STRAIT_FOREVER);
    blocked->errors += !errno_kept();
    blocked->stopping = strait_worker_stopping(strait_worker_current());
    return (int)blocked->result;
}

static int waiting_to_receive_entry(struct strait_port *port, void *data)
{
    struct blocked *blocked = data;
    errno_kept();
    atomic_fetch_add(&blocked->gate.arrived, 1);
    blocked->result = strait_receive_wait(&port->receiver, STRAIT_FOREVER);
    blocked->stopping = strait_worker_stopping(strait_worker_current());
    EXPECT(strait_receive_wait(&port->receiver, STRAIT_FOREVER) == -ECANCELED);
    EXPECT(strait_receive_wait(&port->receiver, 0) == -ECANCELED);
    EXPECT(strait_send_wait(&port->sender, STRAIT_FOREVER) == 0); /* there is room */
    blocked->errors += !errno_kept();
    return (int)blocked->result;
}

static int waiting_to_send_entry(struct strait_port *port, void *data)
{
    struct blocked *blocked = data;
    uint64_t number = 0;
    while (strait_try_send(&port->sender, &number, 1) == 1) {
        number++;
    }
    errno_kept();
    atomic_fetch_add(&blocked->gate.arrived, 1);
    blocked->result = strait_send_wait(&port->sender, STRAIT_FOREVER);
    blocked->stopping = strait_worker_stopping(strait_worker_current());
    EXPECT(strait_send_wait(&port->sender, STRAIT_FOREVER) == -ECANCELED);
    EXPECT(strait_send_wait(&port->sender, 0) == -ECANCELED);
    blocked->errors += !errno_kept();
    return (int)blocked->result;
}

static void stop_ends_a_wait(strait_entry_fn *entry, enum strait_wait mode)
{
    for (size_t i = 0; i < scaled(100); i++) {
        struct event_log log = {.count = 0};
        struct blocked blocked = {.result = 0};
        struct strait_worker_options options = logged(&log, entry);
        options.data = &blocked;
        options.to_parent.capacity = 4;
        options.to_parent.sender = mode;
        options.to_worker.receiver = mode;
        struct strait_worker *worker = spawn(&options);
        gate_await(&blocked.gate, 1);
        dawdle(i % 5 * 5000);
        if (i % 10 == 0) {
            sleep_ns(500000); /* asleep by now */
        }
        strait_worker_stop(worker);
        strait_worker_stop(worker);
        assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
        assert_int_equal(blocked.result, -ECANCELED);
        assert_true(blocked.stopping);
        assert_int_equal(blocked.errors, 0);
        dispatch_to_exit(worker);
        assert_int_equal(log.exit.reason, STRAIT_EXIT_STOPPED);
        assert_int_equal(log.exit.code, -ECANCELED);
        assert_null(strchr(log.events, 'e'));
        join_and_destroy(worker);
    }
    assert_no_faults();
}

static void stop_ends_a_blocked_receive(void **state)
{
    (void)state;
    stop_ends_a_wait(receiving_entry, STRAIT_WAIT_DEFAULT);
}

static void stop_ends_a_blocked_send(void **state)
{
    (void)state;
    stop_ends_a_wait(sending_entry, STRAIT_WAIT_DEFAULT);
}

static void stop_ends_receive_wait_and_send_wait(void **state)
{
    (void)state;
    for (int mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
        stop_ends_a_wait(waiting_to_receive_entry, (enum strait_wait)mode);
        stop_ends_a_wait(waiting_to_send_entry, (enum strait_wait)mode);
    }
}

static int computing_entry(struct strait_port *port, void *data)
{
    struct blocked *blocked = data;
    (void)port;
    atomic_fetch_add(&blocked->gate.arrived, 1);
    while (!strait_worker_stopping(strait_worker_current())) {
        sched_yield();
    }
    return 0;
}

static void a_computation_sees_the_stop(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct blocked blocked = {.result = 0};
    struct strait_worker_options options = logged(&log, computing_entry);
    options.data = &blocked;
    struct strait_worker *worker = spawn(&options);
    gate_await(&blocked.gate, 1);
    assert_returns(strait_worker_join(worker, strait_deadline(1000000)), -ETIMEDOUT);
    strait_worker_stop(worker);
    join_and_destroy(worker);
    assert_no_faults();
}

static void join_has_a_deadline(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_worker_options options = {.entry = gated_entry, .data = &gate};
    struct strait_worker *worker = spawn(&options);
    assert_returns(strait_worker_join(worker, 0), -ETIMEDOUT);
    assert_returns(strait_worker_join(worker, strait_now()), -ETIMEDOUT);
    assert_returns(strait_worker_join(worker, strait_deadline(1000000)), -ETIMEDOUT);
    assert_returns(strait_worker_destroy(worker), -EBUSY);
    strait_worker_stop(worker);
    assert_returns(strait_worker_join(worker, strait_deadline(1000000)), -ETIMEDOUT);
    assert_returns(strait_worker_destroy(worker), -EBUSY);
    gate_open(&gate);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    assert_returns(strait_worker_join(worker, 0), 0);
    assert_returns(strait_worker_destroy(worker), 0);
    assert_returns(strait_worker_destroy(NULL), 0);
}

/* A destructor of the thread's that takes its time is behind `ended`, and before the join. */
static pthread_key_t slow_key;

static void slow_destructor(void *value)
{
    gate_wait(value);
}

static int slow_to_go_entry(struct strait_port *port, void *data)
{
    (void)port;
    EXPECT(pthread_setspecific(slow_key, data) == 0);
    return 0;
}

static void join_keeps_its_deadline_whatever_destructors_do(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_status status;
    struct strait_worker_options options = {.entry = slow_to_go_entry, .data = &gate};
    assert_int_equal(pthread_key_create(&slow_key, slow_destructor), 0);
    struct strait_worker *worker = spawn(&options);
    gate_await(&gate, 1);
    strait_worker_status(worker, &status);
    assert_int_equal(status.state, STRAIT_WORKER_ENDED);
    assert_returns(strait_worker_join(worker, 0), -ETIMEDOUT);
    int64_t deadline = strait_deadline(20000000);
    assert_returns(strait_worker_join(worker, deadline), -ETIMEDOUT);
    assert_true(strait_now() >= deadline);
    assert_returns(strait_worker_destroy(worker), -EBUSY);
    gate_open(&gate);
    assert_returns(strait_worker_join(worker, strait_deadline(INT64_MAX / 2)), 0);
    join_and_destroy(worker); /* again */
    pthread_key_delete(slow_key);
    assert_no_faults();
}

static void a_negative_deadline_is_in_the_past(void **state)
{
    (void)state;
    struct gate gate = {0};
    pthread_t thread;
    struct strait_worker_options options = {.entry = gated_entry, .data = &gate};
    struct strait_worker *worker = spawn(&options);
    thread_start(&thread, open_later, &gate); /* or else a join that waits never returns */
    assert_returns(strait_worker_join(worker, -1), -ETIMEDOUT);
    assert_returns(strait_worker_join(worker, INT64_MIN), -ETIMEDOUT);
    gate_open(&gate);
    thread_join(thread);
    join_and_destroy(worker);
}

struct self {
    struct gate gate;
    struct strait_worker *worker;
};

static int joins_itself_entry(struct strait_port *port, void *data)
{
    struct self *self = data;
    (void)port;
    gate_wait(&self->gate);
    EXPECT(strait_worker_join(self->worker, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_worker_join(self->worker, 0) == -EDEADLK);
    return 0;
}

static void a_worker_cannot_join_itself(void **state)
{
    (void)state;
    struct self self = {.worker = NULL};
    struct strait_worker_options options = {.entry = joins_itself_entry, .data = &self};
    self.worker = spawn(&options);
    gate_open(&self.gate);
    join_and_destroy(self.worker);
    assert_no_faults();
}

/* ---- what nobody received ---- */

struct drops {
    _Atomic unsigned to_worker[100];
    _Atomic unsigned to_parent[100];
    _Atomic unsigned received[100];
};

static void drop_to_worker(void *message, void *context)
{
    struct drops *drops = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    atomic_fetch_add(&drops->to_worker[number], 1);
}

static void drop_to_parent(void *message, void *context)
{
    struct drops *drops = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    atomic_fetch_add(&drops->to_parent[number], 1);
}

static int takes_some_entry(struct strait_port *port, void *data)
{
    uint64_t number;
    (void)data;
    for (uint64_t i = 0; i < 10; i++) {
        EXPECT(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1);
        EXPECT(number == i);
    }
    for (uint64_t i = 0; i < 100; i++) {
        EXPECT(strait_try_send(&port->sender, &i, 1) == 1);
    }
    return 0;
}

static struct strait_worker *spawn_dropping(struct drops *drops)
{
    struct strait_worker_options options = {
        .entry = takes_some_entry,
        .drop_to_worker = drop_to_worker,
        .drop_to_parent = drop_to_parent,
        .context = drops,
    };
    struct strait_worker *worker = spawn(&options);
    for (uint64_t i = 0; i < 50; i++) { /* the worker takes 10, and may be gone before the rest */
        ptrdiff_t sent = strait_try_send(&strait_worker_port(worker)->sender, &i, 1);
        assert_true(sent == 1 || (sent == -EPIPE && i >= 10));
        atomic_fetch_add(&drops->received[i], sent == -EPIPE);
    }
    return worker;
}

static void leftovers_both_ways_are_dropped_once(void **state)
{
    (void)state;
    struct drops drops = {0};
    struct strait_worker *worker = spawn_dropping(&drops);
    uint64_t number;
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    for (unsigned i = 0; i < 20; i++) {
        struct strait_port *port = strait_worker_port(worker);
        assert_returns(strait_try_receive(&port->receiver, &number, 1), 1);
        assert_int_equal(number, i);
    }
    assert_int_equal(drops.to_worker[49] + drops.to_parent[99], 0);
    join_and_destroy(worker);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(drops.to_parent[i], i >= 20);
        assert_int_equal(drops.to_worker[i] + drops.received[i], i >= 10 && i < 50);
    }
    assert_no_faults();
}

static void closing_event(struct strait_worker *worker, const struct strait_event *event,
                          void *context)
{
    struct drops *drops = context;
    if (event->type == STRAIT_MESSAGE) {
        uint64_t number;
        memcpy(&number, event->message, sizeof(number));
        atomic_fetch_add(&drops->received[number], 1);
        if (number == 5) {
            strait_receiver_close(&strait_worker_port(worker)->receiver);
        }
    }
}

static int hundred_entry(struct strait_port *port, void *data)
{
    (void)data;
    for (uint64_t i = 0; i < 100; i++) {
        EXPECT(strait_try_send(&port->sender, &i, 1) == 1);
    }
    return 0;
}

/* The parent has seen enough. What it has seen is not dropped as well. */
static void a_parent_may_close_its_receiver_in_an_event(void **state)
{
    (void)state;
    struct drops drops = {0};
    struct strait_worker_options options = {
        .entry = hundred_entry,
        .event = closing_event,
        .drop_to_parent = drop_to_parent,
        .context = &drops,
    };
    struct strait_worker *worker = spawn(&options);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    strait_worker_dispatch(worker, 0);
    join_and_destroy(worker);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(drops.received[i] + drops.to_parent[i], 1);
    }
    assert_no_faults();
}

/* ---- many workers, nested workers ---- */

static void workers_leave_nothing_behind(void **state)
{
    (void)state;
    struct census before = census_take();
    for (size_t i = 0; i < scaled(50); i++) {
        struct event_log log;
        struct strait_worker_options options = logged(&log, i % 2 ? three_entry : fails_entry);
        events_of(&log, &options);
    }
    assert_census(before);
}

static void many_workers_live_at_once(void **state)
{
    (void)state;
    enum { WORKERS = 16, NUMBERS = 500 };
    struct census before = census_take();
    static struct event_log logs[WORKERS];
    struct strait_worker *workers[WORKERS];
    memset(logs, 0, sizeof(logs));
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = spawn_echo(&logs[i]);
    }
    for (uint64_t number = 0; number < NUMBERS; number++) {
        for (int i = 0; i < WORKERS; i++) {
            send_number(workers[i], number);
        }
        for (int i = 0; i < WORKERS; i++) {
            assert_true(strait_worker_dispatch(workers[i], 0) >= 0);
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        end_of_input(workers[i]);
        dispatch_to_exit(workers[i]);
        assert_int_equal(logs[i].messages, NUMBERS);
        assert_string_equal(logs[i].events, "omx");
        join_and_destroy(workers[i]);
    }
    assert_no_faults();
    assert_census(before);
}

static int nesting_entry(struct strait_port *port, void *data)
{
    struct event_log *log = data;
    struct strait_worker *self = strait_worker_current();
    (void)port;
    struct strait_worker_options options = logged(log, three_entry);
    struct strait_worker *worker = NULL;
    EXPECT(strait_worker_spawn(&worker, &options) == 0);
    if (worker) {
        struct pollfd poll_fd = {.fd = strait_worker_fd(worker), .events = POLLIN};
        while (strait_worker_dispatch(worker, 0) != -EPIPE && poll(&poll_fd, 1, 1) >= 0) {
        }
        EXPECT(log->thread == thread_number());
        EXPECT(self && strait_worker_current() == self);
        EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == 0);
        EXPECT(strait_worker_destroy(worker) == 0);
    }
    return 0;
}

static void a_worker_may_be_a_parent(void **state)
{
    (void)state;
    struct census before = census_take();
    struct event_log log = {.count = 0};
    struct strait_worker_options options = {.entry = nesting_entry, .data = &log};
    join_and_destroy(spawn(&options));
    assert_no_faults();
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.messages, 3);
    assert_census(before);
}

#define LEVELS 3

/* Numbers go down through all the levels, and come back with one added at each. */
struct level {
    unsigned depth;
    bool by_events;
    _Atomic unsigned *begun;
};

static void pass_up(struct strait_worker *worker, const struct strait_event *event, void *context)
{
    struct strait_port *port = context;
    uint64_t number;
    (void)worker;
    if (event->type == STRAIT_MESSAGE) {
        memcpy(&number, event->message, sizeof(number));
        number++;
        EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
    }
    EXPECT(event->type != STRAIT_ERROR);
}

/* One loop on two descriptors: from above, and from below. */
static void relay_by_events(struct strait_port *above, struct strait_worker *below)
{
    struct strait_receiver *receiver = &above->receiver;
    struct strait_sender *sender = &strait_worker_port(below)->sender;
    ptrdiff_t told = 0;
    ptrdiff_t taken = 0;
    uint64_t number;
    while (told != -EPIPE) {
        struct pollfd fds[] = {
            {.fd = strait_worker_fd(below), .events = POLLIN},
            {.fd = taken == -EPIPE ? -1 : strait_receiver_fd(receiver), .events = POLLIN},
        };
        while (taken != -EPIPE && (taken = strait_try_receive(receiver, &number, 1)) == 1) {
            EXPECT(strait_send(sender, &number, 1, STRAIT_FOREVER) == 1);
        }
        if (taken == -EPIPE && fds[1].fd >= 0) {
            strait_sender_close(sender);
        }
        told = strait_worker_dispatch(below, 0);
        if (told == 0 && (taken == -EPIPE || strait_receiver_arm(receiver) == 1)) {
            poll(fds, 2, -1);
        }
    }
}

static void relay_by_waiting(struct strait_port *above, struct strait_worker *below)
{
    struct strait_port *port = strait_worker_port(below);
    uint64_t number;
    while (strait_receive(&above->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
        EXPECT(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1);
        number++;
        EXPECT(strait_send(&above->sender, &number, 1, STRAIT_FOREVER) == 1);
    }
    strait_sender_close(&port->sender);
    EXPECT(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == -EPIPE);
}

static int level_entry(struct strait_port *port, void *data);

static struct strait_worker_options level_options(const struct level *level)
{
    struct strait_worker_options options = {
        .entry = level->depth ? level_entry : echo_entry,
        .data = (void *)(uintptr_t)level,
        .data_size = sizeof(*level),
        .to_worker = {.receiver = level->by_events ? STRAIT_WAIT_FD : STRAIT_WAIT_PARK},
        .to_parent = {.receiver = level->by_events ? STRAIT_WAIT_FD : STRAIT_WAIT_PARK},
    };
    return options;
}

static int level_entry(struct strait_port *port, void *data)
{
    struct level below = *(const struct level *)data;
    struct strait_worker *worker = NULL;
    below.depth--;
    struct strait_worker_options options = level_options(&below);
    if (below.by_events) {
        options.event = pass_up;
        options.context = port;
    }
    EXPECT(strait_worker_spawn(&worker, &options) == 0);
    if (!worker) {
        return -1;
    }
    atomic_fetch_add(below.begun, 1);
    if (below.by_events) {
        relay_by_events(port, worker);
    } else {
        relay_by_waiting(port, worker);
    }
    EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(worker) == 0);
    return 0;
}

static void three_levels(bool by_events)
{
    struct census before = census_take();
    _Atomic unsigned begun = 0;
    struct level top = {.depth = LEVELS, .by_events = by_events, .begun = &begun};
    struct strait_worker_options options = level_options(&top);
    options.to_parent.receiver = STRAIT_WAIT_PARK;
    struct strait_worker *worker = spawn(&options);
    struct strait_port *port = strait_worker_port(worker);
    uint64_t answer = 0;
    for (uint64_t number = 0; number < scaled(300); number++) {
        send_number(worker, number);
        assert_int_equal(strait_receive(&port->receiver, &answer, 1, STRAIT_FOREVER), 1);
        assert_int_equal(answer, number + LEVELS);
    }
    assert_int_equal(begun, LEVELS);
    assert_int_equal(census_take().threads, before.threads + LEVELS + 1);
    end_of_input(worker);
    assert_int_equal(strait_receive(&port->receiver, &answer, 1, STRAIT_FOREVER), -EPIPE);
    join_and_destroy(worker);
    assert_no_faults();
    assert_census(before);
}

static void workers_nest_three_levels_by_events(void **state)
{
    (void)state;
    three_levels(true);
}

static void workers_nest_three_levels_by_waiting(void **state)
{
    (void)state;
    three_levels(false);
}

/* A worker that goes on all the time, one that fails beside it, and one after that. */
static void the_others_go_on_after_a_failure(void **state)
{
    (void)state;
    static const struct {
        strait_entry_fn *entry;
        const char *events;
        enum strait_exit_reason reason;
    } failures[] = {
        {returns_7_entry, "oex", STRAIT_EXIT_FAILED},
        {fails_entry, "omex", STRAIT_EXIT_FAILED},
        {warns_entry, "owex", STRAIT_EXIT_FAILED},
    };
    static struct event_log others;
    memset(&others, 0, sizeof(others));
    struct strait_worker *other = spawn_echo(&others);
    for (size_t i = 0; i < 3; i++) {
        struct census before = census_take();
        struct event_log log;
        struct strait_worker_options options = logged(&log, failures[i].entry);
        send_number(other, 2 * i); /* on its way meanwhile */
        events_of(&log, &options);
        assert_string_equal(log.events, failures[i].events);
        assert_int_equal(log.exit.reason, failures[i].reason);
        send_number(other, 2 * i + 1);
        while (others.messages < 2 * i + 2) {
            assert_true(readable(strait_worker_fd(other), -1));
            strait_worker_dispatch(other, 0);
        }
        options = logged(&log, three_entry);
        events_of(&log, &options);
        assert_string_equal(log.events, "omx");
        assert_census(before);
    }
    end_of_input(other);
    dispatch_to_exit(other);
    assert_string_equal(others.events, "omx");
    assert_int_equal(others.exit.reason, STRAIT_EXIT_RETURNED);
    join_and_destroy(other);
    assert_no_faults();
}

/* ---- init, fini, CPU sets ---- */

static int init_result;

static int sending_init(struct strait_port *port, void *data)
{
    (void)data;
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT(strait_try_send(&port->sender, &i, 1) == 1);
    }
    EXPECT(strait_worker_current() != NULL);
    return init_result;
}

static void sending_fini(struct strait_port *port, void *data)
{
    uint64_t last = 6;
    (void)data;
    EXPECT(strait_worker_current() != NULL);
    EXPECT(strait_try_send(&port->sender, &last, 1) == 1);
    atomic_fetch_add(&ended, 1);
}

static int next_three_entry(struct strait_port *port, void *data)
{
    (void)data;
    for (uint64_t i = 3; i < 6; i++) {
        EXPECT(strait_send(&port->sender, &i, 1, STRAIT_FOREVER) == 1);
    }
    return strait_worker_stopping(strait_worker_current()) ? -ECANCELED : 0;
}

static void init_and_fini_stand_around_the_entry(void **state)
{
    (void)state;
    struct event_log log;
    struct strait_worker_options options = logged(&log, next_three_entry);
    options.init = sending_init;
    options.fini = sending_fini;
    init_result = 0;
    ended = 0;
    events_of(&log, &options);
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.messages, 7);
    assert_int_equal(ended, 1);
}

static void fini_runs_however_the_entry_ended(void **state)
{
    (void)state;
    strait_entry_fn *const entries[] = {returns_7_entry, fails_entry, warns_entry};
    for (size_t i = 0; i < 3; i++) {
        struct strait_worker_options options = {
            .entry = entries[i], .init = sending_init, .fini = sending_fini};
        ended = 0;
        join_and_destroy(spawn(&options));
        assert_int_equal(ended, 1);
    }
    struct strait_worker_options looping = {
        .entry = echo_entry, .init = sending_init, .fini = sending_fini};
    struct strait_worker *worker = spawn(&looping);
    strait_worker_stop(worker);
    join_and_destroy(worker);
    assert_int_equal(ended, 2);
    assert_no_faults();
}

static void count_init_drop(void *message, void *context)
{
    (void)message;
    atomic_fetch_add((_Atomic unsigned *)context, 1);
}

/* Beside a worker that goes on. */
static void a_failed_init_leaves_nothing_behind(void **state)
{
    (void)state;
    static const int results[][2] = {{-EIO, -EIO}, {-1, -1}, {5, -ECANCELED}};
    struct event_log log = {.count = 0};
    struct strait_worker *other = spawn_echo(&log);
    struct census before = census_take();
    for (size_t i = 0; i < 3; i++) {
        _Atomic unsigned dropped = 0;
        struct strait_worker *worker = NULL;
        struct strait_worker_options options = {
            .entry = nothing_entry,
            .init = sending_init,
            .fini = sending_fini,
            .drop_to_parent = count_init_drop,
            .context = &dropped,
        };
        init_result = results[i][0];
        ended = 0;
        assert_returns(strait_worker_spawn(&worker, &options), results[i][1]);
        assert_null(worker);
        assert_int_equal(dropped, 3);
        assert_int_equal(ended, 0);
        assert_census(before);
    }
    init_result = 0;
    send_number(other, 0);
    end_of_input(other);
    dispatch_to_exit(other);
    assert_int_equal(log.messages, 1);
    join_and_destroy(other);
    assert_no_faults();
}

static int status_cpu(const struct strait_worker_options *options)
{
    struct strait_status status;
    struct strait_worker *worker = spawn(options);
    strait_worker_status(worker, &status);
    join_and_destroy(worker);
    return status.cpu;
}

static void a_set_of_one_cpu_pins(void **state)
{
    (void)state;
    cpu_set_t allowed = allowed_cpus();
    int cpus[2];
    struct strait_worker_options options = {
        .entry = nothing_entry, .pin = STRAIT_PIN_SET, .cpus = cpus, .cpu_count = 1};
    for (cpus[0] = 0; !CPU_ISSET((size_t)cpus[0], &allowed); cpus[0]++) {
    }
    assert_int_equal(status_cpu(&options), cpus[0]);
    cpus[1] = cpus[0]; /* said twice */
    options.cpu_count = 2;
    assert_int_equal(status_cpu(&options), cpus[0]);
    options.pin = STRAIT_PIN_NONE;
    assert_true((status_cpu(&options) == -1) == (CPU_COUNT(&allowed) > 1));
}

static void a_worker_may_have_a_set_of_cpus(void **state)
{
    (void)state;
    cpu_set_t allowed = allowed_cpus();
    int cpus[CPU_SETSIZE + 1];
    size_t count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET((size_t)cpu, &allowed)) {
            cpus[count++] = cpu;
            struct strait_worker_options options = {
                .pin = STRAIT_PIN_SET, .cpus = cpus, .cpu_count = count};
            assert_int_equal(portrait_of(options).cpus, count);
        }
    }
    struct strait_worker *worker = NULL;
    struct strait_worker_options bad = {.entry = nothing_entry, .pin = STRAIT_PIN_SET};
    assert_returns(strait_worker_spawn(&worker, &bad), -EINVAL);
    bad.cpus = cpus;
    assert_returns(strait_worker_spawn(&worker, &bad), -EINVAL);
    cpus[count] = CPU_SETSIZE - 1;
    bad.cpu_count = count + 1;
    assert_returns(strait_worker_spawn(&worker, &bad), -EINVAL);
}

/* ---- a worker that was asked to stop cleans up ---- */

static int waiting_entry(struct strait_port *port, void *data)
{
    uint64_t number;
    (void)data;
    return (int)strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER);
}

static int napping_task(struct strait_task *task)
{
    (void)task;
    sleep_ns(20000000);
    return 0;
}

/* Returns when it was asked to. */
static void wait_for_stop(struct strait_port *port)
{
    uint64_t number = 0;
    EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
    EXPECT(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == -ECANCELED);
}

static int stopped_pool_entry(struct strait_port *port, void *data)
{
    (void)data;
    struct strait_pool *pool = NULL;
    struct strait_task task = {.run = napping_task};
    struct strait_pool_options options = {.workers = 1, .schedule = STRAIT_SCHEDULE_NORMAL};
    struct strait_pool_stats stats;
    struct strait_parent *parent = NULL;
    EXPECT(strait_pool_create(&pool, &options) == 0);
    EXPECT(strait_pool_attach(pool, &parent, NULL) == 0);
    wait_for_stop(port);
    EXPECT(strait_task_submit(parent, &task, NULL, NULL) == 0);
    EXPECT(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL) == 0);
    EXPECT(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0);
    strait_pool_stats(pool, &stats);
    EXPECT(stats.done == 1);
    EXPECT(strait_pool_destroy(pool) == 0);
    return -ECANCELED;
}

static int stopped_parent_entry(struct strait_port *port, void *data)
{
    (void)data;
    struct strait_worker *child = NULL;
    struct strait_worker_options options = {.entry = waiting_entry};
    EXPECT(strait_worker_spawn(&child, &options) == 0);
    wait_for_stop(port);
    EXPECT(strait_worker_join(child, strait_deadline(1000000)) == -ETIMEDOUT);
    strait_worker_stop(child);
    EXPECT(strait_worker_join(child, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(child) == 0);
    return -ECANCELED;
}

static void stop_and_join(strait_entry_fn *entry)
{
    uint64_t number;
    struct strait_worker_options options = {
        .entry = entry,
        .to_parent = {.receiver = STRAIT_WAIT_PARK},
    };
    struct strait_worker *worker = spawn(&options);
    struct strait_port *port = strait_worker_port(worker);
    assert_int_equal(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER), 1);
    strait_worker_stop(worker);
    join_and_destroy(worker);
    assert_no_faults();
}

static void a_worker_that_stops_can_join_its_own(void **state)
{
    (void)state;
    stop_and_join(stopped_parent_entry);
}

static void a_worker_that_stops_can_close_its_pool(void **state)
{
    (void)state;
    stop_and_join(stopped_pool_entry);
}

static int nth_cpu(const cpu_set_t *cpus, int n)
{
    int cpu = -1;
    while (n >= 0) {
        n -= CPU_ISSET((size_t)++cpu, cpus);
    }
    return cpu;
}

/* In a process that was started with the one CPU `own`, while `other` exists. */
static void with_one_cpu(int own, int other)
{
    const int both[] = {own, other};
    const struct strait_worker_options bad[] = {
        {.entry = nothing_entry, .pin = STRAIT_PIN_CPU, .cpu = other},
        {.entry = nothing_entry, .pin = STRAIT_PIN_SET, .cpus = both, .cpu_count = 2},
        {.entry = nothing_entry, .pin = STRAIT_PIN_SET, .cpus = &both[1], .cpu_count = 1},
    };
    const struct strait_worker_options good[] = {
        {.pin = STRAIT_PIN_CHOOSE},
        {.pin = STRAIT_PIN_CPU, .cpu = own},
        {.pin = STRAIT_PIN_SET, .cpus = both, .cpu_count = 1},
        {.pin = STRAIT_PIN_NONE},
    };
    struct census before = census_take();
    for (int i = 0; i < 3; i++) {
        struct strait_worker *worker = NULL;
        assert_returns(strait_worker_spawn(&worker, &bad[i]), -EINVAL);
        assert_null(worker);
    }
    for (int i = 0; i < 4; i++) {
        struct portrait seen = portrait_of(good[i]);
        assert_int_equal(seen.cpu, own);
        assert_int_equal(seen.cpus, 1);
    }
    assert_census(before);
}

static int narrowed_own;
static int narrowed_other;

static void a_narrowed_process_has_one_cpu(void **state)
{
    (void)state;
    with_one_cpu(narrowed_own, narrowed_other);
}

/* What a process may use is what it could use when it started: this program again, with less. */
static void a_cpu_outside_the_mask_is_invalid(void **state)
{
    (void)state;
    cpu_set_t cpus = allowed_cpus();
    if (CPU_COUNT(&cpus) < 2) {
        skip(); /* none to be kept from */
    }
    for (int i = 0; i < 2; i++) {
        int status = -1;
        char own[16];
        char other[16];
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)nth_cpu(&cpus, i), &one);
        snprintf(own, sizeof(own), "%d", nth_cpu(&cpus, i));
        snprintf(other, sizeof(other), "%d", nth_cpu(&cpus, 1 - i));
        pid_t child = fork();
        if (child == 0) {
            if (sched_setaffinity(0, sizeof(one), &one) == 0) {
                execl("/proc/self/exe", "worker_test", own, other, (char *)NULL);
            }
            _exit(99);
        }
        assert_true(child > 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

/* ---- status, and joining several ---- */

static void a_stuck_worker_is_named(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct strait_worker *stuck = NULL;
    struct strait_status status;
    struct strait_worker_options quick = {.entry = nothing_entry, .name = "quick"};
    struct strait_worker_options slow = {
        .entry = gated_entry, .data = &gate, .name = "slow", .pin = STRAIT_PIN_NONE};
    struct strait_worker *workers[] = {spawn(&quick), spawn(&slow), spawn(&slow), spawn(&quick)};
    assert_returns(strait_worker_join(workers[0], STRAIT_FOREVER), 0);
    do {
        strait_worker_status(workers[3], &status);
        sleep_ns(GATE_NAP_NS);
    } while (status.state != STRAIT_WORKER_ENDED);
    strait_worker_stop(workers[1]);
    assert_returns(strait_workers_join(workers, 4, strait_deadline(1000000), &stuck), -ETIMEDOUT);
    assert_ptr_equal(stuck, workers[1]);
    assert_returns(strait_worker_destroy(workers[3]), 0); /* it was joined, behind the stuck ones */
    strait_worker_status(stuck, &status);
    assert_string_equal(status.name, "slow");
    assert_int_equal(status.state, STRAIT_WORKER_ONLINE);
    assert_true(status.stopping);
    assert_int_equal(status.cpu, -1);
    char tid[16];
    snprintf(tid, sizeof(tid), "%d", status.thread);
    assert_true(thread_lives(tid));
    assert_true(status.thread != thread_number());
    strait_worker_status(workers[2], &status);
    assert_false(status.stopping);
    gate_open(&gate);
    assert_returns(strait_workers_join(workers, 3, STRAIT_FOREVER, &stuck), 0);
    assert_null(stuck);
    for (int i = 0; i < 3; i++) {
        strait_worker_status(workers[i], &status);
        assert_int_equal(status.state, STRAIT_WORKER_ENDED);
        join_and_destroy(workers[i]);
    }
    assert_returns(strait_workers_join(NULL, 0, 0, NULL), 0);
    assert_no_faults();
}

/* ---- fork ---- */

/* In the child, where no assertion may be: which line went wrong, or 0. */
#define CHILD_EXPECT(condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            return __LINE__ % 255 + 1;                                                             \
        }                                                                                          \
    } while (0)

static int use_inherited(struct strait_worker *worker)
{
    struct strait_worker *stuck = NULL;
    struct strait_worker *own = NULL;
    struct strait_worker_options options = {.entry = nothing_entry};
    alarm(60);
    CHILD_EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == -EOWNERDEAD);
    CHILD_EXPECT(strait_workers_join(&worker, 1, STRAIT_FOREVER, &stuck) == -EOWNERDEAD);
    CHILD_EXPECT(stuck == worker);
    CHILD_EXPECT(strait_worker_destroy(worker) == -EOWNERDEAD);
    CHILD_EXPECT(strait_worker_spawn(&own, &options) == 0);
    CHILD_EXPECT(strait_worker_join(own, STRAIT_FOREVER) == 0);
    CHILD_EXPECT(strait_worker_destroy(own) == 0);
    return 0;
}

static void a_forks_child_leaves_the_worker_alone(void **state)
{
    (void)state;
    if (TEST_TSAN) {
        skip(); /* it starts no thread in the child of a process with several */
    }
    struct event_log log = {.count = 0};
    struct strait_worker *worker = spawn_echo(&log);
    while (strait_worker_dispatch(worker, 0) > 0) { /* its fd is unreadable */
    }
    pid_t child = fork();
    if (child == 0) {
        _exit(use_inherited(worker));
    }
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(readable(strait_worker_fd(worker), 0));
    send_number(worker, 0);
    end_of_input(worker);
    dispatch_to_exit(worker);
    assert_string_equal(log.events, "omx");
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- idleness ---- */

struct idler {
    _Atomic int64_t cpu_ns;
    _Atomic long switches;
    _Atomic unsigned asked;
};

static int idle_entry(struct strait_port *port, void *data)
{
    struct idler *idler = data;
    uint64_t number;
    char tid[16];
    snprintf(tid, sizeof(tid), "%d", thread_number());
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        atomic_store(&idler->cpu_ns, thread_cpu_ns());
        atomic_store(&idler->switches, status_number(tid, "voluntary_ctxt_switches:"));
        atomic_fetch_add(&idler->asked, 1);
    }
    return 0;
}

static void an_idle_worker_burns_no_cpu(void **state)
{
    (void)state;
    struct idler idler = {0};
    struct strait_worker_options options = {.entry = idle_entry, .data = &idler};
    struct strait_worker *worker = spawn(&options);
    send_number(worker, 1);
    await(&idler.asked, 1);
    int64_t cpu_ns = idler.cpu_ns;
    long switches = idler.switches;
    sleep_ns(300000000);
    send_number(worker, 2);
    await(&idler.asked, 2);
    assert_true(idler.cpu_ns - cpu_ns < 50000000);
    assert_in_range(idler.switches - switches, 0, 5);
    end_of_input(worker);
    join_and_destroy(worker);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest narrowed[] = {life_test(a_narrowed_process_has_one_cpu)};
    const struct CMUnitTest tests[] = {
        life_test(a_worker_has_its_name),
        life_test(a_worker_is_pinned_to_the_cpu_it_was_given),
        life_test(an_unpinned_worker_has_all_cpus),
        life_test(a_chosen_cpu_is_not_the_parents),
        life_test(a_worker_has_its_scheduling_class),
        life_test(a_worker_has_the_stack_it_was_given),
        life_test(a_guard_page_ends_the_stack),
        life_test(name_and_schedule_are_seen_from_outside),
        life_test(asynchronous_signals_are_blocked_in_a_worker),
        life_test(start_up_data_without_a_size_is_the_pointer),
        life_test(start_up_data_with_a_size_is_copied),
        life_test(bad_options_leave_nothing_behind),
        life_test(newer_options_are_taken_if_their_tail_is_zero),
        life_test(a_thread_that_cannot_be_had_leaves_nothing),
        life_test(events_come_online_messages_exit),
        life_test(the_first_failure_is_the_one_error),
        life_test(a_failure_counts_although_the_entry_returns_0),
        life_test(a_result_other_than_0_is_an_error),
        life_test(a_warning_is_told_once_and_noted),
        life_test(a_warning_wakes_the_parent),
        life_test(the_end_of_a_thread_is_told),
        life_test(an_init_that_ends_its_thread_is_an_error),
        life_test(nothing_sent_before_the_exit_is_lost),
        life_test(events_wait_for_their_dispatch),
        life_test(the_fd_is_readable_until_drained),
        life_test(the_fd_stays_after_the_parent_stops_receiving),
        life_test(a_budget_leaves_the_fd_readable),
        life_test(a_budget_of_one_comes_to_the_exit),
        life_test(an_event_callback_may_not_dispatch_or_destroy),
        life_test(a_parent_may_receive_by_itself),
        life_test(dispatch_works_without_an_fd),
        life_test(dispatch_does_not_block_when_the_worker_half_closes),
        life_test(the_exit_is_told_when_the_worker_closed_its_port),
        life_test(a_parent_may_close_its_port),
        life_test(closing_the_parents_sender_ends_the_loop_with_0),
        life_test(stop_ends_a_blocked_receive),
        life_test(stop_ends_a_blocked_send),
        life_test(stop_ends_receive_wait_and_send_wait),
        life_test(a_computation_sees_the_stop),
        life_test(join_has_a_deadline),
        life_test(join_keeps_its_deadline_whatever_destructors_do),
        life_test(a_negative_deadline_is_in_the_past),
        life_test(a_worker_cannot_join_itself),
        life_test(leftovers_both_ways_are_dropped_once),
        life_test(a_parent_may_close_its_receiver_in_an_event),
        life_test(workers_leave_nothing_behind),
        life_test(many_workers_live_at_once),
        life_test(a_worker_may_be_a_parent),
        life_test(workers_nest_three_levels_by_events),
        life_test(workers_nest_three_levels_by_waiting),
        life_test(the_others_go_on_after_a_failure),
        life_test(init_and_fini_stand_around_the_entry),
        life_test(fini_runs_however_the_entry_ended),
        life_test(a_failed_init_leaves_nothing_behind),
        life_test(a_worker_may_have_a_set_of_cpus),
        life_test(a_set_of_one_cpu_pins),
        life_test(a_worker_that_stops_can_join_its_own),
        life_test(a_worker_that_stops_can_close_its_pool),
        life_test(a_cpu_outside_the_mask_is_invalid),
        life_test(a_stuck_worker_is_named),
        life_test(a_forks_child_leaves_the_worker_alone),
        life_test(an_idle_worker_burns_no_cpu),
    };
    watchdog_start();
    if (argc == 3) {
        narrowed_own = (int)strtol(argv[1], NULL, 10);
        narrowed_other = (int)strtol(argv[2], NULL, 10);
        return cmocka_run_group_tests_name("narrowed", narrowed, NULL, NULL);
    }
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
