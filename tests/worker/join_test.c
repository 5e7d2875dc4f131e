/* SPDX-License-Identifier: MIT */
/* join: its deadline is kept, whatever way the worker's thread ends; what that way was is told,
 * also by the status; and a fork's child has none of the workers. */
#include "worker/fixture.h"

/* ---- deadlines ---- */

static void expect_not_joined(struct strait_worker *worker)
{
    const int64_t past[] = {0, -1, INT64_MIN, strait_now()};
    for (size_t i = 0; i < COUNT(past); i++) {
        assert_returns(strait_worker_join(worker, past[i]), -ETIMEDOUT);
    }
    int64_t deadline = strait_deadline(10000000);
    assert_returns(strait_worker_join(worker, deadline), -ETIMEDOUT);
    assert_true(strait_now() >= deadline);
    assert_returns(strait_worker_destroy(worker), -EBUSY);
}

static pthread_key_t slow_key;

static void slow_destructor(void *gate)
{
    EXPECT(!strait_worker_current());
    gate_wait(gate);
}

/* A destructor of the thread's that takes its time comes after the end and before the join. */
static int slow_to_go_entry(struct strait_port *port, void *gate)
{
    EXPECT(pthread_setspecific(slow_key, gate) == 0);
    return 0;
}

static struct strait_worker *_Atomic itself;

static int joins_itself_entry(struct strait_port *port, void *gate)
{
    gate_wait(gate);
    EXPECT(strait_worker_current() == itself);
    EXPECT(strait_worker_join(itself, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_worker_join(itself, 0) == -EDEADLK);
    return 0;
}

TEST(join_keeps_its_deadline)
{
    strait_entry_fn *const entries[] = {joins_itself_entry, slow_to_go_entry};
    static const enum strait_worker_state states[] = {STRAIT_WORKER_ONLINE, STRAIT_WORKER_ENDED};
    assert_int_equal(pthread_key_create(&slow_key, slow_destructor), 0);
    for (size_t i = 0; i < COUNT(entries); i++) {
        struct gate gate = {0};
        char thread[16];
        struct strait_worker *worker = spawn_entry(entries[i], &gate);
        itself = worker;
        gate_await(&gate, 1);
        struct strait_status before = status_of(worker);
        snprintf(thread, sizeof(thread), "%d", before.thread);
        assert_true(before.thread != thread_number() && thread_lives(thread));
        assert_int_equal(before.state, states[i]);
        assert_false(before.stopping);
        expect_not_joined(worker);
        strait_worker_stop(worker);
        expect_not_joined(worker);
        assert_true(status_of(worker).stopping);
        assert_int_equal(status_of(worker).state, states[i]);
        gate_open(&gate);
        if (i == 0) {
            assert_returns(strait_worker_join(worker, strait_deadline(INT64_MAX / 2)), 0);
        }
        while (strait_worker_join(worker, -1) != 0) { /* whoever is gone is joined all the same */
            sleep_ns(GATE_NAP_NS);
        }
        assert_returns(strait_worker_join(worker, 0), 0); /* again */
        assert_int_equal(status_of(worker).state, STRAIT_WORKER_ENDED);
        assert_int_equal(status_of(worker).thread, before.thread);
        assert_false(thread_lives(thread));
        join_and_destroy(worker);
    }
    assert_returns(strait_worker_destroy(NULL), 0);
    pthread_key_delete(slow_key);
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

static _Atomic unsigned finished;

static void counts_fini(struct strait_port *port, void *data)
{
    atomic_fetch_add(&finished, 1);
}

static void exits_fini(struct strait_port *port, void *data)
{
    counts_fini(port, data);
    pthread_exit(NULL);
}

static int fails_entry(struct strait_port *port, void *data)
{
    three_entry(port, data);
    return 7;
}

static const struct {
    strait_entry_fn *entry;
    strait_fini_fn *fini;
    bool cancelled;
    int code;
    enum strait_exit_reason reason;
} endings[] = {
    {three_entry, counts_fini, false, 0, STRAIT_EXIT_RETURNED},
    {three_entry, exits_fini, false, 0, STRAIT_EXIT_RETURNED},
    {fails_entry, counts_fini, false, 7, STRAIT_EXIT_FAILED},
    {exits_entry, counts_fini, false, -EINTR, STRAIT_EXIT_FAILED},
    {exits_entry, exits_fini, false, -EINTR, STRAIT_EXIT_FAILED},
    {cancelled_entry, counts_fini, true, -EINTR, STRAIT_EXIT_FAILED},
    {cancelled_asleep_entry, exits_fini, true, -EINTR, STRAIT_EXIT_FAILED},
};

TEST(the_end_of_a_thread_is_told)
{
    for (size_t i = 0; i < COUNT(endings); i++) {
        struct event_log log;
        struct strait_worker_options options = logged(&log, endings[i].entry);
        if (endings[i].cancelled && TEST_ASAN) {
            continue; /* it does not follow a cancellation up the stack */
        }
        options.to_worker.receiver = STRAIT_WAIT_FD;
        options.fini = endings[i].fini;
        finished = 0;
        struct strait_worker *worker = spawn(&options);
        dispatch_to_exit(worker);
        join_and_destroy(worker);
        assert_string_equal(log.events, endings[i].reason == STRAIT_EXIT_FAILED ? "omex" : "omx");
        assert_int_equal(log.messages, 3);
        assert_int_equal(log.error.code, endings[i].code);
        assert_int_equal(log.exit.code, endings[i].code);
        assert_int_equal(log.exit.reason, endings[i].reason);
        assert_int_equal(finished, 1);
    }
}

/* ---- fork ---- */

/* In the child, where no assertion may be. */
static void use_inherited(void *context)
{
    struct strait_worker *worker = context;
    struct strait_worker *own = NULL;
    struct strait_worker_options options = {.entry = nothing_entry};
    strait_worker_stop(worker);
    EXPECT(!strait_worker_stopping(worker));
    EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == -EOWNERDEAD);
    EXPECT(strait_worker_destroy(worker) == -EOWNERDEAD);
    EXPECT(strait_worker_spawn(&own, &options) == 0);
    EXPECT(strait_worker_join(own, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(own) == 0);
}

static void closes_the_copy(void *port)
{
    strait_port_wake(port);
    strait_port_close(port);
    strait_port_close(port);
}

TEST(a_forks_child_leaves_the_worker_alone)
{
    struct event_log log;
    if (TEST_TSAN) {
        skip(); /* it starts no thread in the child of a process with several */
    }
    for (int joined = 0; joined < 2; joined++) {
        struct strait_worker *worker = spawn_logged(&log, echo_entry, NULL);
        while (strait_worker_dispatch(worker, 0) > 0) { /* its fd is unreadable */
        }
        if (joined) {
            send_number(worker, 0);
            strait_sender_close(&strait_worker_port(worker)->sender);
            dispatch_to_exit(worker);
            assert_string_equal(log.events, "omx");
            assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
        }
        bool before = readable(strait_worker_fd(worker), 0);
        assert_well_in_child(use_inherited, worker);
        assert_int_equal(readable(strait_worker_fd(worker), 0), before);
        if (!joined) {
            assert_well_in_child(closes_the_copy, strait_worker_port(worker));
            send_number(worker, 0);
            dispatch_until(worker, &log, 1);
        }
        strait_worker_stop(worker);
        join_and_destroy(worker);
    }
}
