/* SPDX-License-Identifier: MIT */
/* Ports, workers and isolates where the system says no. */
#include "faults.h"
#include "life.h"

#include "strait/extra/isolate.h"

/* ---- what is created ---- */

static int create_port_pair(void)
{
    struct strait_port a;
    struct strait_port b;
    struct strait_port_options options = {
        .forth = {.sender = STRAIT_WAIT_FD, .receiver = STRAIT_WAIT_FD},
        .back = {.sender = STRAIT_WAIT_FD, .receiver = STRAIT_WAIT_FD},
    };
    int error = strait_port_pair(&a, &b, &options);
    if (!error) {
        strait_port_close(&a);
        strait_port_close(&b);
    }
    return error;
}

static void a_port_pair_fails_cleanly(void)
{
    static const unsigned at_least[FUNCTIONS] = {[POSIX_MEMALIGN] = 3, [EVENTFD] = 4};
    fail_everything(create_port_pair, at_least, FUNCTIONS);
}

static int nothing(struct strait_port *port, void *data)
{
    (void)port;
    (void)data;
    return 0;
}

static int create_worker(void)
{
    char data[100] = {0};
    struct strait_worker *worker = NULL;
    struct strait_worker_options options = {
        .entry = nothing,
        .data = data,
        .data_size = sizeof(data),
        .pin = STRAIT_PIN_CPU,
        .cpu = sched_getcpu(),
        .schedule = STRAIT_SCHEDULE_BATCH,
        .nice = 1,
        .stack_size = STACK_BYTES,
    };
    int error = strait_worker_spawn(&worker, &options);
    if (!error) {
        error = strait_worker_join(worker, STRAIT_FOREVER);
        error = error ? error : strait_worker_destroy(worker);
    }
    return error;
}

static void a_worker_fails_cleanly(void)
{
    static const unsigned at_least[FUNCTIONS] = {
        [POSIX_MEMALIGN] = 5,     [EVENTFD] = 1,           [PTHREAD_CREATE] = 1,
        [PTHREAD_ATTR_INIT] = 1,  [SCHED_SETAFFINITY] = 1, [PTHREAD_ATTR_SETSTACKSIZE] = 1,
        [SCHED_SETSCHEDULER] = 1, [SETPRIORITY] = 1};
    fail_everything(create_worker, at_least, PTHREAD_SETNAME);
}

static void what_was_not_asked_for_is_done_without(void)
{
    static const enum function functions[] = {SCHED_SETAFFINITY, PTHREAD_SETNAME};
    static const enum strait_pin pins[] = {STRAIT_PIN_CHOOSE, STRAIT_PIN_NONE};
    for (size_t i = 0; i < 4; i++) {
        struct strait_status status;
        struct strait_worker_options options = {.entry = nothing, .pin = pins[i % 2]};
        struct strait_worker *worker = NULL;
        arm_fault(functions[i / 2], 1);
        assert_returns(strait_worker_spawn(&worker, &options), 0);
        assert_int_equal(counts.hits, 1);
        strait_worker_status(worker, &status);
        assert_true(i >= 2 || status.cpu == -1); /* where it is not pinned, it says so */
        assert_string_equal(status.name, "strait");
        join_and_destroy(worker);
    }
}

/* ---- a worker that runs ---- */

static int echo_entry(struct strait_port *port, void *data)
{
    uint64_t number;
    (void)data;
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
    }
    return 0;
}

static const struct strait_worker_options echo_options = {
    .entry = echo_entry,
    .to_parent = {.receiver = STRAIT_WAIT_PARK},
};

static void ping_pong(struct strait_worker *worker, size_t rounds)
{
    struct strait_port *port = strait_worker_port(worker);
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t answer = 0;
        assert_int_equal(strait_send(&port->sender, &i, 1, STRAIT_FOREVER), 1);
        assert_int_equal(strait_receive(&port->receiver, &answer, 1, STRAIT_FOREVER), 1);
        assert_int_equal(answer, i);
        progress_made();
    }
}

static void end_echo(struct strait_worker *worker)
{
    strait_sender_close(&strait_worker_port(worker)->sender);
    join_and_destroy(worker);
}

static int gate_entry(struct strait_port *port, void *gate)
{
    (void)port;
    gate_wait(gate);
    return 0;
}

/* A wait that a signal interrupted, or that came too late for its word, is a wait all the same. */
static void a_join_may_be_interrupted(void)
{
    static const int answers[] = {EINTR, EAGAIN};
    for (size_t i = 0; i < COUNT(answers); i++) {
        answer_futexes(answers[i]);
        for (int n = 0; n < 20; n++) {
            struct gate gate = {0};
            struct strait_worker_options options = {.entry = gate_entry, .data = &gate};
            struct strait_worker *worker = spawn(&options);
            assert_returns(strait_worker_join(worker, strait_now() + 1000), -ETIMEDOUT);
            gate_open(&gate);
            join_and_destroy(worker);
        }
        assert_true(counts.futex_waits >= 20);
        answer_futexes(0);
    }
}

static void cpu_0_does_where_the_affinity_is_unknown(void)
{
    struct strait_worker *worker = NULL;
    struct strait_worker_options options = {.entry = nothing, .pin = STRAIT_PIN_CPU, .cpu = 1};
    cpu_set_t cpus;
    if (!getenv(NO_AFFINITY) &&
        (sched_getaffinity(0, sizeof(cpus), &cpus) != 0 || !CPU_ISSET(0, &cpus))) {
        skip();
    }
    if (!alone(__func__, NO_AFFINITY)) {
        return;
    }
    assert_returns(strait_worker_spawn(&worker, &options), -EINVAL);
    worker = spawn(&echo_options);
    ping_pong(worker, scaled(5000));
    end_echo(worker);
}

static struct strait_worker *other;

static void other_still_answers(void)
{
    ping_pong(other, 1);
}

static void a_spawn_fails_cleanly_inside_the_c_library(void)
{
    if (RUNTIME_INTERFERES) {
        skip(); /* a sanitizer's runtime ends the program when it gets no memory or no thread */
    }
    if (alone(__func__, NULL)) {
        other = spawn(&echo_options);
        refuse_everything(create_worker, other_still_answers, 1);
    }
}

/* ---- what comes just before an fd is cleared is seen just after ---- */

static int late_warning_entry(struct strait_port *port, void *data)
{
    (void)data;
    strait_sender_close(&port->sender);
    gate_wait(&before_clear[0]);
    strait_worker_warn(-ENOMEM, NULL);
    gate_wait(&before_clear[1]);
    return 0;
}

static void a_warning_is_told_where_the_link_is_closed(void)
{
    struct event_log log = {.count = 0};
    struct strait_worker_options options = {
        .entry = late_warning_entry, .event = log_event, .context = &log};
    struct strait_worker *worker = spawn(&options);
    gate_await(&before_clear[0], 1);
    assert_int_equal(strait_worker_dispatch(worker, 1), 1);
    catch_clear(strait_worker_fd(worker));
    assert_int_equal(strait_worker_dispatch(worker, 0), 1);
    assert_string_equal(log.events, "ow");
    gate_open(&before_clear[1]);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_string_equal(log.events, "owx");
}

/* ---- isolates ---- */

static int system_memory_entry(struct strait_isolate *isolate)
{
    void *small = strait_heap_alloc(isolate, 100);
    EXPECT(small != NULL);
    size_t used = strait_heap_used(isolate);
    errno = ERRNO_MARK;
    arm_fault(POSIX_MEMALIGN, 1);
    EXPECT(strait_heap_alloc(isolate, 100000) == NULL);
    arm_fault(POSIX_MEMALIGN, 1);
    EXPECT(strait_heap_resize(isolate, small, 100000) == NULL);
    EXPECT(errno_kept());
    EXPECT(strait_heap_used(isolate) == used);
    arm_fault(POSIX_MEMALIGN, 1);
    for (int i = 0; i < 20 && counts.hits == 0; i++) {
        strait_heap_alloc(isolate, 8000); /* until a region is needed */
    }
    EXPECT(counts.hits == 1);
    EXPECT(strait_heap_alloc(isolate, 100000) != NULL);
    return 5;
}

/* The isolate lives until both are gone. */
static void isolate_life(const struct strait_isolate_options *options, struct event_log *log)
{
    struct strait_isolate *isolate = NULL;
    assert_returns(strait_isolate_create(&isolate, options), 0);
    struct strait_worker_options worker = {
        .entry = strait_isolate_main, .data = isolate, .event = log_event, .context = log};
    struct strait_worker *spawned = spawn(&worker);
    dispatch_to_exit(spawned);
    join_and_destroy(spawned);
    strait_isolate_destroy(isolate);
}

/* No memory to be had is not the heap's limit. */
static void a_heap_survives_the_lack_of_memory(void)
{
    int live = counts.live;
    struct event_log log = {.count = 0};
    struct strait_isolate_options options = {.entry = system_memory_entry};
    isolate_life(&options, &log);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
    assert_int_equal(log.exit.warning, 0);
    assert_int_equal(counts.live, live);
}

static int nothing_in_isolate(struct strait_isolate *isolate)
{
    (void)isolate;
    return 0;
}

static void an_isolate_says_that_there_is_no_memory(void)
{
    int live = counts.live;
    struct event_log log = {.count = 0};
    struct strait_isolate *isolate = NULL;
    struct strait_isolate_options options = {.entry = nothing_in_isolate};
    arm_fault(POSIX_MEMALIGN, 1);
    assert_returns(strait_isolate_create(&isolate, &options), -ENOMEM);
    assert_null(isolate);
    arm_fault(POSIX_MEMALIGN, 7); /* the isolate, five of the worker's, the message */
    isolate_life(&options, &log);
    assert_int_equal(log.exit.code, -ENOMEM);
    assert_int_equal(counts.live, live);
}

int main(void)
{
    static const struct test tests[] = {
        ONCE(a_port_pair_fails_cleanly),
        ONCE(a_worker_fails_cleanly),
        ONCE(what_was_not_asked_for_is_done_without),
        ONCE(a_join_may_be_interrupted),
        ONCE(cpu_0_does_where_the_affinity_is_unknown),
        ONCE(a_spawn_fails_cleanly_inside_the_c_library),
        ONCE(a_warning_is_told_where_the_link_is_closed),
        ONCE(a_heap_survives_the_lack_of_memory),
        ONCE(an_isolate_says_that_there_is_no_memory),
    };
    return RUN_TABLE("worker_fault", tests);
}
