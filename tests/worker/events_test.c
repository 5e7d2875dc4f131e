/* SPDX-License-Identifier: MIT */
/* events: what a parent is told of its worker, in which order, when, and what it may do meanwhile.
 */
#include "worker/fixture.h"

/* ---- what is told ---- */

struct script {
    unsigned sends;
    int warns; /* with a second warning after it; 0: none */
    int fails; /* likewise */
    int result;
    struct gate *gate; /* before all that, if not NULL */
};

static int script_entry(struct strait_port *port, void *data)
{
    const struct script *script = data;
    if (script->gate) {
        gate_wait(script->gate);
    }
    for (uint64_t i = 0; i < script->sends; i++) {
        EXPECT(strait_send(&port->sender, &i, 1, STRAIT_FOREVER) == 1);
    }
    if (script->warns) {
        strait_worker_warn(script->warns, "the first warning");
        strait_worker_warn(-EIO, "another");
    }
    if (script->fails) {
        strait_worker_fail(script->fails, "the first reason");
        strait_worker_fail(43, "another");
    }
    return script->result;
}

static const struct told {
    struct script script;
    const char *events;
    enum strait_exit_reason reason;
    int error;
} tellings[] = {
    {{0, 0, 0, 0, NULL}, "ox", STRAIT_EXIT_RETURNED, 0},
    {{3, 0, 0, 0, NULL}, "omx", STRAIT_EXIT_RETURNED, 0},
    {{0, 0, 0, 7, NULL}, "oex", STRAIT_EXIT_FAILED, 7},
    {{3, 0, 42, 9, NULL}, "omex", STRAIT_EXIT_FAILED, 42},
    {{0, 0, -5, 0, NULL}, "oex", STRAIT_EXIT_FAILED, -5},
    {{0, 0, -5, -ECANCELED, NULL}, "oex", STRAIT_EXIT_FAILED, -5},
    {{0, 0, 0, -ECANCELED, NULL}, "ox", STRAIT_EXIT_STOPPED, 0},
    {{0, -ENOMEM, 0, 0, NULL}, "owx", STRAIT_EXIT_RETURNED, 0},
    {{0, -ENOMEM, 0, 3, NULL}, "owex", STRAIT_EXIT_FAILED, 3},
    {{0, -ENOMEM, 5, 3, NULL}, "owex", STRAIT_EXIT_FAILED, 5},
};

static void expect_told(const struct told *told, const struct event_log *log)
{
    assert_string_equal(log->events, told->events);
    assert_int_equal(log->messages, told->script.sends);
    assert_int_equal(log->warning.code, told->script.warns);
    assert_int_equal(log->exit.code, told->script.result);
    assert_int_equal(log->exit.reason, told->reason);
    assert_int_equal(log->exit.warning, told->script.warns);
    if (told->script.warns) {
        assert_string_equal(log->warning.text, "the first warning");
    }
    if (told->error) {
        assert_int_equal(log->error.code, told->error);
        assert_int_equal(log->error.reason, told->reason);
        assert_int_equal(log->error.warning, told->script.warns);
        assert_true(told->script.fails ? strcmp(log->error.text, "the first reason") == 0
                                       : !log->error.text);
    }
}

/* Beside a worker that goes on all the time. */
TEST(a_worker_s_life_is_told)
{
    struct event_log others;
    struct strait_worker *other = spawn_logged(&others, echo_entry, NULL);
    for (size_t i = 0; i < COUNT(tellings); i++) {
        struct event_log log;
        struct script script = tellings[i].script;
        send_number(other, i); /* on its way meanwhile */
        struct strait_worker *worker = spawn_logged(&log, script_entry, &script);
        dispatch_to_exit(worker);
        assert_int_equal(log.thread, thread_number());
        assert_ptr_equal(log.worker, worker);
        assert_returns(strait_worker_dispatch(worker, 0), -EPIPE);
        join_and_destroy(worker);
        expect_told(&tellings[i], &log);
    }
    end_and_destroy(other);
    assert_string_equal(others.events, "omx");
    assert_int_equal(others.messages, COUNT(tellings)); /* it handled everything first */
    assert_int_equal(others.exit.code, 0);
    assert_int_equal(others.exit.reason, STRAIT_EXIT_RETURNED);
}

TEST(a_thread_that_is_no_worker_has_nothing_to_say)
{
    errno = ERRNO_MARK;
    assert_null(strait_worker_current());
    assert_false(strait_worker_stopping(NULL));
    strait_worker_fail(1, "nothing");
    strait_worker_warn(1, "nothing");
    assert_true(errno_kept());
}

/* ---- when ---- */

/* At once: while the worker goes on, on a sleeping parent. */
static int warns_and_waits_entry(struct strait_port *port, void *data)
{
    gate_wait(data);
    strait_worker_warn(-ENOMEM, NULL);
    return echo_entry(port, NULL);
}

TEST(a_warning_wakes_the_parent)
{
    struct event_log log;
    struct gate gate = {0};
    struct strait_worker *worker = spawn_logged(&log, warns_and_waits_entry, &gate);
    while (strait_worker_dispatch(worker, 0) > 0) {
    }
    assert_false(readable(strait_worker_fd(worker), 0));
    gate_open(&gate);
    assert_true(readable(strait_worker_fd(worker), -1));
    assert_returns(strait_worker_dispatch(worker, 0), 1);
    assert_string_equal(log.events, "ow");
    end_and_destroy(worker);
    assert_string_equal(log.events, "owx");
}

/* The error is not the end, whatever the budget. */
TEST(the_fd_is_readable_until_all_is_told)
{
    static const ptrdiff_t budgets[] = {1, 10, STRAIT_BUDGET, 2000};
    for (size_t i = 0; i < COUNT(budgets); i++) {
        struct event_log log;
        struct script script = {1000, 0, 42, 0, NULL};
        ptrdiff_t left = 1003;
        struct strait_worker *worker = spawn_logged(&log, script_entry, &script);
        assert_true(readable(strait_worker_fd(worker), 0)); /* the online event, at least */
        assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
        assert_string_equal(log.events, "");
        while (left > 0) {
            size_t budget = budgets[i] == STRAIT_BUDGET ? 0 : (size_t)budgets[i];
            ptrdiff_t told = left < budgets[i] ? left : budgets[i];
            assert_true(readable(strait_worker_fd(worker), 0));
            assert_returns(strait_worker_dispatch(worker, budget), told);
            left -= told;
        }
        assert_string_equal(log.events, "omex");
        assert_false(readable(strait_worker_fd(worker), 0));
        assert_returns(strait_worker_dispatch(worker, 1), -EPIPE);
        join_and_destroy(worker);
    }
}

/* A worker that waits for room ends all the same; and the fd follows each message. */
TEST(the_fd_is_silent_where_nothing_is_to_be_told)
{
    struct event_log log;
    struct strait_worker_options options = logged(&log, echo_entry);
    options.to_parent.capacity = 4;
    struct strait_worker *worker = spawn(&options);
    assert_returns(strait_worker_dispatch(worker, 0), 1);
    for (uint64_t i = 0; i < 200; i++) {
        assert_false(readable(strait_worker_fd(worker), 0));
        assert_returns(strait_worker_dispatch(worker, 0), 0);
        send_number(worker, i);
        assert_true(readable(strait_worker_fd(worker), -1)); /* else the wake-up may come later */
        dispatch_until(worker, &log, i + 1);
    }
    for (uint64_t i = 200; i < 300; i++) {
        send_number(worker, i);
    }
    end_and_destroy(worker);
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.messages, 300);
}

/* ---- who closes what ---- */

enum closes { CLOSE_NOTHING, CLOSE_SENDER, CLOSE_RECEIVER, CLOSE_PORT, CLOSES };

static int close_some(struct strait_port *port, enum closes closes)
{
    if (closes == CLOSE_SENDER) {
        strait_sender_close(&port->sender);
    } else if (closes == CLOSE_RECEIVER) {
        strait_receiver_close(&port->receiver);
    } else if (closes == CLOSE_PORT) {
        return strait_port_close(port);
    }
    return 0;
}

struct closing {
    struct gate gate;
    enum closes closes;
};

static int closing_entry(struct strait_port *port, void *data)
{
    struct closing *closing = data;
    three_entry(port, NULL);
    EXPECT(close_some(port, closing->closes) == 0);
    gate_wait(&closing->gate);
    return 0;
}

/* Whatever halves both sides have closed: a dispatch does not wait, and the exit is told. The
 * parent is refused to close both at once: the destroy does so. */
TEST(closing_any_half_keeps_the_exit)
{
    for (int i = 0; i < CLOSES * CLOSES; i++) {
        struct event_log log;
        struct closing closing = {.closes = (enum closes)(i % CLOSES)};
        enum closes parents = (enum closes)(i / CLOSES);
        bool deaf = parents == CLOSE_RECEIVER;
        struct strait_worker *worker = spawn_logged(&log, closing_entry, &closing);
        int fd = strait_worker_fd(worker);
        gate_await(&closing.gate, 1);
        assert_returns(close_some(strait_worker_port(worker), parents),
                       parents == CLOSE_PORT ? -EBUSY : 0);
        while (strait_worker_dispatch(worker, 2) > 0) {
        }
        assert_string_equal(log.events, deaf ? "o" : "om");
        assert_returns(strait_worker_dispatch(worker, 0), 0);
        assert_returns(strait_worker_fd(worker), fd);
        assert_false(readable(fd, 0));
        gate_open(&closing.gate);
        assert_true(readable(fd, -1));
        end_and_destroy(worker);
        assert_string_equal(log.events, deaf ? "ox" : "omx");
    }
}

/* ---- without events, or without an fd ---- */

TEST(a_parent_may_receive_by_itself)
{
    struct event_log log;
    for (int dispatches = 0; dispatches < 2; dispatches++) {
        struct strait_worker_options options = logged(&log, three_entry);
        uint64_t number = 0;
        options.to_parent.receiver = STRAIT_WAIT_PARK;
        options.event = dispatches ? log_event : NULL;
        struct strait_worker *worker = spawn(&options);
        struct strait_receiver *receiver = &strait_worker_port(worker)->receiver;
        assert_returns(strait_worker_fd(worker), -EINVAL);
        if (dispatches) { /* now and then */
            while (strait_worker_dispatch(worker, 0) != -EPIPE) {
                sleep_ns(GATE_NAP_NS);
            }
            assert_string_equal(log.events, "omx");
        } else {
            assert_returns(strait_worker_dispatch(worker, 0), -EINVAL);
            for (uint64_t i = 0; i < 3; i++) {
                assert_int_equal(strait_receive(receiver, &number, 1, STRAIT_FOREVER), 1);
                assert_int_equal(number, i);
            }
            assert_int_equal(strait_receive(receiver, &number, 1, STRAIT_FOREVER), -EPIPE);
        }
        join_and_destroy(worker);
    }
}

/* ---- inside a callback ---- */

#define HUNDRED 100

/* What became of each message. */
struct fates {
    unsigned told[HUNDRED];
    unsigned received[HUNDRED];
    unsigned dropped[HUNDRED];
    unsigned untaken; /* by the worker */
    unsigned wrong;
};

/* Tries what it may not do, takes every second message by itself, and has enough in the end. */
static void busy_event(struct strait_worker *worker, const struct strait_event *event,
                       void *context)
{
    struct fates *fates = context;
    struct strait_receiver *receiver = &strait_worker_port(worker)->receiver;
    uint64_t number;
    fates->wrong += strait_worker_dispatch(worker, 0) != -EDEADLK;
    fates->wrong += strait_worker_destroy(worker) != -EDEADLK;
    if (event->type == STRAIT_MESSAGE) {
        if (strait_receive(receiver, &number, 1, STRAIT_FOREVER) == 1) {
            fates->received[number]++;
            fates->wrong += memcmp(event->message, &(uint64_t){number - 1}, sizeof(number)) != 0;
        }
        memcpy(&number, event->message, sizeof(number));
        fates->told[number]++;
        if (number == HUNDRED / 2) {
            strait_receiver_close(receiver);
        }
    }
}

static void drop_fate(void *message, void *context)
{
    struct fates *fates = context;
    fates->dropped[*(uint64_t *)message]++;
}

static void count_untaken(void *message, void *context)
{
    ((struct fates *)context)->untaken++;
}

TEST(a_callback_may_receive_and_close_but_not_dispatch)
{
    struct fates fates = {.wrong = 0};
    struct gate gate = {0};
    struct script script = {HUNDRED, 0, 0, 0, &gate};
    struct strait_worker_options options = {
        .entry = script_entry,
        .data = &script,
        .event = busy_event,
        .drop_to_parent = drop_fate,
        .drop_to_worker = count_untaken,
        .to_worker = {.message_size = sizeof(uint64_t)},
        .to_parent = {.message_size = sizeof(uint64_t)},
        .context = &fates,
    };
    struct strait_worker *worker = spawn(&options);
    send_number(worker, 0);
    send_number(worker, 1);
    gate_open(&gate);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    dispatch_to_exit(worker);
    assert_int_equal(fates.wrong, 0);
    assert_int_equal(fates.untaken, 0);
    for (unsigned i = 0; i < HUNDRED; i++) {
        assert_int_equal(fates.told[i], i <= HUNDRED / 2 && i % 2 == 0);
        assert_int_equal(fates.received[i], i <= HUNDRED / 2 + 1 && i % 2 == 1);
        assert_int_equal(fates.dropped[i], 0);
    }
    join_and_destroy(worker);
    for (unsigned i = 0; i < HUNDRED; i++) {
        assert_int_equal(fates.told[i] + fates.received[i] + fates.dropped[i], 1);
    }
    assert_int_equal(fates.untaken, 2);
}

/* ---- another parent ---- */

static void *new_parent(void *context)
{
    struct strait_worker *worker = context;
    strait_port_adopt(strait_worker_port(worker));
    dispatch_to_exit(worker);
    EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == 0);
    strait_port_give(strait_worker_port(worker));
    return NULL;
}

TEST(another_thread_can_become_the_parent)
{
    struct event_log log;
    struct strait_worker *worker = spawn_logged(&log, three_entry, NULL);
    pthread_t thread;
    assert_returns(strait_worker_dispatch(worker, 1), 1);
    strait_port_give(strait_worker_port(worker));
    thread_start(&thread, new_parent, worker);
    thread_join(thread);
    strait_port_adopt(strait_worker_port(worker));
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.messages, 3);
    join_and_destroy(worker);
}
