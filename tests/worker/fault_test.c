/* SPDX-License-Identifier: MIT */
/* Workers where the system says no. */
#include "faults.h"
#include "worker/fixture.h"

/* Both directions of its port with all the descriptors that there may be. */
static int create_worker(void)
{
    char data[100] = {0};
    struct strait_worker *worker = NULL;
    const struct strait_channel_options fds = {.sender = STRAIT_WAIT_FD,
                                               .receiver = STRAIT_WAIT_FD};
    struct strait_worker_options options = {
        .entry = nothing_entry,
        .data = data,
        .data_size = sizeof(data),
        .to_worker = fds,
        .to_parent = fds,
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

TEST(a_worker_fails_cleanly)
{
    static const unsigned at_least[FUNCTIONS] = {
        [POSIX_MEMALIGN] = 5,     [EVENTFD] = 4,           [PTHREAD_CREATE] = 1,
        [PTHREAD_ATTR_INIT] = 1,  [SCHED_SETAFFINITY] = 1, [PTHREAD_ATTR_SETSTACKSIZE] = 1,
        [SCHED_SETSCHEDULER] = 1, [SETPRIORITY] = 1};
    fail_everything(create_worker, at_least, PTHREAD_SETNAME);
}

TEST(what_was_not_asked_for_is_done_without)
{
    static const enum function functions[] = {SCHED_SETAFFINITY, PTHREAD_SETNAME};
    static const enum strait_pin pins[] = {STRAIT_PIN_CHOOSE, STRAIT_PIN_NONE};
    for (size_t i = 0; i < 4; i++) {
        struct strait_worker_options options = {.entry = nothing_entry, .pin = pins[i % 2]};
        arm_fault(functions[i / 2], 1);
        struct strait_worker *worker = spawn(&options);
        assert_int_equal(counts.hits, 1);
        assert_true(i >= 2 || status_of(worker).cpu == -1); /* where it is not pinned, it says so */
        assert_string_equal(status_of(worker).name, "strait");
        join_and_destroy(worker);
    }
}

/* A wait that a signal interrupted, or that came too late for its word, is a wait all the same. */
TEST(a_spawn_and_a_join_may_be_interrupted)
{
    static const int answers[] = {EINTR, EAGAIN};
    for (size_t i = 0; i < COUNT(answers); i++) {
        answer_futexes(answers[i]);
        /* A spawn whose worker is online at once does not wait: until enough have. */
        for (int n = 0; n < 20 || counts.futex_waits < 5; n++) {
            struct gate gate = {0};
            struct strait_worker *worker = spawn_entry(gate_entry, &gate);
            assert_returns(strait_worker_join(worker, strait_now() + 1000), -ETIMEDOUT);
            gate_open(&gate);
            join_and_destroy(worker);
        }
        answer_futexes(0);
    }
}

/* ---- what comes just before an fd is cleared is told, though the fd is silent then ---- */

static pthread_key_t last_key;

static void last_gate(void *gate)
{
    gate_wait(gate);
}

struct late {
    bool closes; /* its sender, long before */
    bool warns;  /* else it fails, and ends */
    const char *events;
};

static int late_entry(struct strait_port *port, void *data)
{
    const struct late *late = data;
    if (late->closes) {
        strait_sender_close(&port->sender);
    }
    gate_wait(&before_clear[0]);
    if (late->warns) {
        strait_worker_warn(-ENOMEM, NULL);
        gate_wait(&before_clear[1]);
        return 0;
    }
    EXPECT(pthread_setspecific(last_key, &before_clear[1]) == 0);
    return 1;
}

TEST(what_comes_before_the_clear_is_told)
{
    static const struct late cases[] = {
        {true, true, "ow"}, {false, true, "ow"}, {true, false, "oe"}};
    assert_int_equal(pthread_key_create(&last_key, last_gate), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct event_log log;
        struct late late = cases[i];
        memset(before_clear, 0, sizeof(before_clear));
        struct strait_worker *worker = spawn_logged(&log, late_entry, &late);
        gate_await(&before_clear[0], 1);
        assert_int_equal(strait_worker_dispatch(worker, 1), 1);
        catch_clear(strait_worker_fd(worker));
        assert_int_equal(strait_worker_dispatch(worker, 1), 1);
        assert_string_equal(log.events, cases[i].events);
        assert_true(late.warns || readable(strait_worker_fd(worker), 0)); /* the exit is left */
        gate_open(&before_clear[1]);
        end_and_destroy(worker);
        assert_int_equal(log.exit.reason, late.warns ? STRAIT_EXIT_RETURNED : STRAIT_EXIT_FAILED);
    }
    pthread_key_delete(last_key);
}
