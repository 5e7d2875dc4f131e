/* SPDX-License-Identifier: MIT */
/*
 * node: what a program that knows worker_threads relies on, scenario by scenario, in strait's
 * terms. The comment before a test says which promise it keeps; where strait promises something
 * else, it says what instead. Nothing here is known but the public headers.
 */
#include "tenant.h"

#define MESSAGES 10

/* ---- helpers ---- */

static uint64_t number_of(const void *message)
{
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    return number;
}

/* For any thread. */
static void post(struct strait_port *port, uint64_t number)
{
    EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
}

static void post_range(struct strait_port *port, uint64_t from, uint64_t to)
{
    for (uint64_t number = from; number < to; number++) {
        post(port, number);
    }
}

/* Sends one end of a pair to whoever listens at `to`, which takes it over. */
static void post_port(struct strait_port *to, struct strait_port *end)
{
    strait_port_give(end);
    EXPECT(strait_send(&to->sender, &end, 1, STRAIT_FOREVER) == 1);
}

/* The parent has nothing more to say: what an unref of its port is for a worker. */
static void say_no_more(struct strait_worker *worker)
{
    strait_sender_close(&strait_worker_port(worker)->sender);
}

/* Posts back what it gets. */
static int echo(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)context;
    post(strait_isolate_port(isolate), number_of(message));
    return 0;
}

/* Does its work until it is asked to stop, and says so, as the blocking calls do. */
static int compute_entry(struct strait_isolate *isolate)
{
    (void)isolate;
    while (!strait_worker_stopping(strait_worker_current())) {
        sched_yield();
    }
    return -ECANCELED;
}

static void count_drop(void *message, void *context)
{
    size_t *dropped = context;
    (void)message;
    (*dropped)++;
}

/* What dispatch_to_exit does, on any thread, and as an event loop does it: watching the fd that it
 * was given at the start. */
static void dispatch_from(int fd, struct strait_worker *worker)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    ptrdiff_t told;
    do {
        poll(&poll_fd, 1, -1);
        while ((told = strait_worker_dispatch(worker, 0)) > 0) {
        }
    } while (told == 0);
    EXPECT(told == -EPIPE);
}

static void see_to_exit(struct strait_worker *worker)
{
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- threads and their start-up data ---- */

static int not_the_main_thread(struct strait_isolate *isolate)
{
    EXPECT(strait_isolate_current() == isolate);
    EXPECT(thread_number() != getpid());
    return 0;
}

/* isMainThread: a thread can tell whether it is a worker. */
static void a_thread_knows_whether_it_is_a_worker(void **state)
{
    (void)state;
    assert_null(strait_isolate_current());
    in_worker(not_the_main_thread, NULL, 0);
}

struct start {
    struct gate gate;
    uint64_t number;
};

struct copied {
    struct gate *gate;
    uint64_t number;
};

static int copied_data_entry(struct strait_isolate *isolate)
{
    const struct copied *copy = strait_isolate_data(isolate);
    gate_wait(copy->gate);
    EXPECT(copy->number == 42);
    return 0;
}

/* workerData is cloned when the worker is made: later changes of the parent's do not show. */
static void start_up_data_is_the_parents_at_the_spawn(void **state)
{
    (void)state;
    struct gate gate = {.open = 0};
    struct copied start = {&gate, 42};
    struct tenant_options options = {
        .entry = copied_data_entry,
        .data = &start,
        .data_size = sizeof(start),
    };
    struct strait_worker *worker = spawn_tenant(&options);
    gate_await(&gate, 1);
    start.number = 0;
    gate_open(&gate);
    join_and_destroy(worker);
    assert_no_faults();
}

struct counter {
    struct gate gate;
    _Atomic unsigned count;
};

#define INCREMENTS 10000u

static int increment_entry(struct strait_isolate *isolate)
{
    struct counter *shared = strait_isolate_data(isolate);
    gate_wait(&shared->gate);
    for (unsigned i = 0; i < INCREMENTS; i++) {
        atomic_fetch_add(&shared->count, 1);
    }
    return 0;
}

/* SharedArrayBuffer and Atomics: memory that is handed over by pointer is shared. */
static void memory_given_by_pointer_is_shared(void **state)
{
    (void)state;
    struct counter shared = {.count = 0};
    struct tenant_options options = {.entry = increment_entry, .data = &shared};
    struct strait_worker *first = spawn_tenant(&options);
    struct strait_worker *second = spawn_tenant(&options);
    gate_await(&shared.gate, 2);
    gate_open(&shared.gate);
    join_and_destroy(first);
    join_and_destroy(second);
    assert_int_equal(atomic_load(&shared.count), 2 * INCREMENTS);
}

/* The constructor without a file to run: refused, and nothing left. */
static void a_worker_needs_something_to_run(void **state)
{
    (void)state;
    struct census before = census_take();
    struct tenant_options options = {.name = "idle"};
    struct strait_worker *worker = NULL;
    assert_returns(tenant_spawn(&worker, &options), -EINVAL);
    assert_census(before);
}

/* ERR_WORKER_INIT_FAILED where the process is out of descriptors: an error, and the parent goes on
 * as if nothing had happened. */
static void a_spawn_without_descriptors_fails_and_the_parent_goes_on(void **state)
{
    (void)state;
    struct tenant_options options = {.entry = compute_entry};
    struct strait_worker *worker = NULL;
    struct census before = census_take();
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int lowest = dup(STDERR_FILENO);
    assert_true(lowest >= 0);
    close(lowest);
    struct rlimit none = {(rlim_t)lowest, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int refused = tenant_spawn(&worker, &options);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(refused, -EMFILE);
    assert_census(before);
    worker = spawn_tenant(&options);
    strait_worker_stop(worker);
    join_and_destroy(worker);
    assert_census(before);
}

/* ---- messages between parent and worker ---- */

/* postMessage both ways, in order; online first, exit last; a worker whose parent has nothing more
 * to say ends by itself, with 0. */
static void messages_are_echoed_in_order_between_online_and_exit(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options options = {.message = echo, .event = log_event, .context = &log};
    struct strait_worker *worker = spawn_tenant(&options);
    post_range(strait_worker_port(worker), 0, MESSAGES);
    say_no_more(worker);
    see_to_exit(worker);
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.messages, MESSAGES);
    assert_int_equal(log.exit.code, 0);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
}

static int late_listener_entry(struct strait_isolate *isolate)
{
    struct start *start = strait_isolate_data(isolate);
    gate_wait(&start->gate);
    return strait_isolate_run(isolate, echo, NULL);
}

/* Messages that were posted before the port was started wait for the listener. */
static void messages_wait_until_somebody_listens(void **state)
{
    (void)state;
    struct start start = {.number = 0};
    struct event_log log = {.count = 0};
    struct tenant_options options = {
        .entry = late_listener_entry,
        .data = &start,
        .event = log_event,
        .context = &log,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    gate_await(&start.gate, 1);
    post_range(strait_worker_port(worker), 0, MESSAGES);
    say_no_more(worker);
    gate_open(&start.gate);
    see_to_exit(worker);
    assert_int_equal(log.messages, MESSAGES);
}

#define MANY 20000

static int post_many_entry(struct strait_isolate *isolate)
{
    post_range(strait_isolate_port(isolate), 0, MANY);
    return 0;
}

static void receive_many(size_t capacity, bool joined_first)
{
    struct event_log log = {.count = 0};
    struct tenant_options options = {
        .entry = post_many_entry,
        .to_parent = {.capacity = capacity},
        .event = log_event,
        .context = &log,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    if (joined_first) {
        assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    }
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_no_faults();
    assert_int_equal(log.messages, MANY);
    assert_string_equal(log.events, "omx");
}

/* What was posted just before the exit is delivered before the exit event, in a channel that holds
 * it all while the worker is long gone, and in one that fills again and again. */
static void twenty_thousand_messages_before_the_exit_arrive(void **state)
{
    (void)state;
    receive_many(MANY, true);
    receive_many(64, false);
}

static int post_until_refused_entry(struct strait_isolate *isolate)
{
    uint64_t *accepted = strait_isolate_data(isolate);
    struct strait_port *port = strait_isolate_port(isolate);
    while (strait_send(&port->sender, accepted, 1, STRAIT_FOREVER) == 1) {
        (*accepted)++;
    }
    return 0;
}

struct closing_parent {
    size_t dropped; /* first: what count_drop gets */
    size_t messages;
    size_t exits;
};

static void close_at_the_first_message(struct strait_worker *worker,
                                       const struct strait_event *event, void *context)
{
    struct closing_parent *parent = context;
    EXPECT(parent->exits == 0);
    parent->exits += event->type == STRAIT_EXIT;
    if (event->type == STRAIT_MESSAGE) {
        parent->messages++;
        strait_receiver_close(&strait_worker_port(worker)->receiver);
    }
}

/* close() in the message handler: not one message more, although there are some. Node loses them;
 * here each goes to the drop callback once. */
static void no_message_comes_after_close_in_its_handler(void **state)
{
    (void)state;
    uint64_t accepted = 0;
    struct closing_parent parent = {.dropped = 0};
    struct tenant_options options = {
        .entry = post_until_refused_entry,
        .data = &accepted,
        .to_parent = {.capacity = 64},
        .drop_to_parent = count_drop,
        .event = close_at_the_first_message,
        .context = &parent,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    dispatch_from(strait_worker_fd(worker), worker);
    join_and_destroy(worker);
    assert_no_faults();
    assert_int_equal(parent.messages, 1);
    assert_int_equal(parent.exits, 1);
    assert_int_equal(parent.messages + parent.dropped, accepted);
}

static int quit_at_three(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)isolate;
    (void)context;
    return number_of(message) == 3 ? 7 : 0;
}

/* process.exit(7) in a message handler: the exit code is 7, and no further message is handled. The
 * rest is dropped once each. */
static void a_handler_may_end_the_worker(void **state)
{
    (void)state;
    size_t dropped = 0;
    struct tenant_options options = {
        .message = quit_at_three,
        .drop_to_worker = count_drop,
        .context = &dropped,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    ptrdiff_t sent = 0;
    for (uint64_t number = 0; number < 100; number++) {
        sent += strait_try_send(&strait_worker_port(worker)->sender, &number, 1) == 1;
    }
    join_and_destroy(worker);
    assert_int_equal(sent, 4 + dropped);
}

/* postMessage to a worker that has ended is silently lost in Node: here the sender is told, and
 * keeps the message. */
static void a_message_to_a_worker_that_has_ended_is_refused(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options options = {
        .entry = not_the_main_thread,
        .event = log_event,
        .context = &log,
    };
    uint64_t number = 1;
    struct strait_worker *worker = spawn_tenant(&options);
    dispatch_to_exit(worker);
    assert_returns(strait_try_send(&strait_worker_port(worker)->sender, &number, 1), -EPIPE);
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- one loop and its workers ---- */

static void answer_forever(struct strait_worker *worker, const struct strait_event *event,
                           void *context)
{
    size_t *exchanges = context;
    if (event->type == STRAIT_MESSAGE) {
        (*exchanges)++;
        /* once the worker has been asked to stop it may be gone */
        strait_try_send(&strait_worker_port(worker)->sender, event->message, 1);
    }
}

/* An exchange of messages that never ends does not hold up whatever else the loop has to do: a
 * dispatch delivers no more than its budget. */
static void an_endless_exchange_does_not_hold_up_the_loop(void **state)
{
    (void)state;
    size_t exchanges = 0;
    struct tenant_options options = {
        .message = echo,
        .event = answer_forever,
        .context = &exchanges,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    post_range(strait_worker_port(worker), 0, 512);
    for (int turn = 0; turn < 50; turn++) {
        assert_true(readable(strait_worker_fd(worker), -1));
        size_t before = exchanges;
        ptrdiff_t told = strait_worker_dispatch(worker, 0);
        assert_in_range(told, 0, STRAIT_BUDGET);
        assert_true(exchanges - before <= STRAIT_BUDGET);
    }
    assert_true(exchanges > 0);
    strait_worker_stop(worker);
    see_to_exit(worker);
}

#define CROWD 16

static int post_its_number_entry(struct strait_isolate *isolate)
{
    const struct start *start = strait_isolate_data(isolate);
    post(strait_isolate_port(isolate), start->number);
    return 0;
}

struct crowd {
    uint64_t sum;
    size_t exits;
};

static void sum_event(struct strait_worker *worker, const struct strait_event *event, void *context)
{
    struct crowd *crowd = context;
    (void)worker;
    crowd->sum += event->type == STRAIT_MESSAGE ? number_of(event->message) : 0;
    crowd->exits += event->type == STRAIT_EXIT;
}

/* Any number of workers report to the one event loop of their parent. */
static void one_loop_serves_many_workers(void **state)
{
    (void)state;
    struct crowd crowd = {0, 0};
    struct strait_worker *workers[CROWD];
    struct pollfd fds[CROWD];
    for (size_t i = 0; i < CROWD; i++) {
        struct start start = {.number = i};
        struct tenant_options options = {
            .entry = post_its_number_entry,
            .data = &start,
            .data_size = sizeof(start),
            .event = sum_event,
            .context = &crowd,
        };
        workers[i] = spawn_tenant(&options);
        fds[i] = (struct pollfd){.fd = strait_worker_fd(workers[i]), .events = POLLIN};
    }
    while (crowd.exits < CROWD) {
        assert_true(poll(fds, CROWD, -1) > 0);
        for (size_t i = 0; i < CROWD; i++) {
            if (fds[i].revents && strait_worker_dispatch(workers[i], 0) == -EPIPE) {
                fds[i].fd = -1; /* poll passes it over */
            }
        }
    }
    for (size_t i = 0; i < CROWD; i++) {
        join_and_destroy(workers[i]);
    }
    assert_int_equal(crowd.sum, CROWD * (CROWD - 1) / 2);
    assert_no_faults();
}

/* ---- microtasks ---- */

struct diary {
    char text[64];
    size_t length;
    struct gate gate;
};

static void diary_write(struct diary *diary, char what, uint64_t number)
{
    EXPECT(diary->length + 2 < sizeof(diary->text));
    diary->text[diary->length++] = what;
    diary->text[diary->length++] = (char)('0' + number);
}

static struct diary *diary_of(struct strait_isolate *isolate)
{
    return strait_isolate_data(isolate);
}

static void write_later(struct strait_isolate *isolate, void *argument)
{
    diary_write(diary_of(isolate), 'l', (uint64_t)(uintptr_t)argument);
}

static void write_micro(struct strait_isolate *isolate, void *argument)
{
    diary_write(diary_of(isolate), 'u', (uint64_t)(uintptr_t)argument);
    EXPECT(strait_microtask(isolate, write_later, argument) == 0);
}

static int write_message(struct strait_isolate *isolate, const void *message, void *context)
{
    uint64_t number = number_of(message);
    (void)context;
    EXPECT(strait_microtask(isolate, write_micro, (void *)(uintptr_t)number) == 0);
    diary_write(diary_of(isolate), 'm', number);
    return 0;
}

/* All messages are there before the first is handled. */
static int diary_entry(struct strait_isolate *isolate)
{
    gate_wait(&diary_of(isolate)->gate);
    return strait_isolate_run(isolate, write_message, NULL);
}

/* Each message event is followed by its microtasks, those that they queue among them, before the
 * next message event: msg1 micro1 msg2 micro2 msg3 micro3. */
static void microtasks_run_before_the_next_message(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {.entry = diary_entry, .data = &diary};
    struct strait_worker *worker = spawn_tenant(&options);
    gate_await(&diary.gate, 1);
    post_range(strait_worker_port(worker), 1, 4);
    say_no_more(worker);
    gate_open(&diary.gate);
    join_and_destroy(worker);
    assert_no_faults();
    assert_string_equal(diary.text, "m1u1l1m2u2l2m3u3l3");
}

struct loop {
    _Atomic unsigned turns;
};

static void turn_again(struct strait_isolate *isolate, void *argument)
{
    struct loop *loop = argument;
    atomic_fetch_add(&loop->turns, 1);
    if (!strait_worker_stopping(strait_worker_current())) {
        EXPECT(strait_microtask(isolate, turn_again, loop) == 0);
    }
}

static int turn_message(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)message;
    turn_again(isolate, context);
    return 0;
}

/* terminate() ends a worker whose microtasks never end: here they ask whether they should. */
static void an_endless_microtask_loop_can_be_stopped(void **state)
{
    (void)state;
    struct loop loop = {0};
    struct tenant_options options = {.message = turn_message, .context = &loop};
    struct strait_worker *worker = spawn_tenant(&options);
    post(strait_worker_port(worker), 0);
    await(&loop.turns, 1000);
    strait_worker_stop(worker);
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- exits and errors ---- */

static int result_entry(struct strait_isolate *isolate)
{
    const int *result = strait_isolate_data(isolate);
    return *result;
}

static struct event_log log_of(strait_isolate_fn *entry, void *data, size_t heap_limit)
{
    struct event_log log = {.count = 0};
    struct tenant_options options = {
        .entry = entry,
        .data = data,
        .heap_limit = heap_limit,
        .event = log_event,
        .context = &log,
    };
    see_to_exit(spawn_tenant(&options));
    return log;
}

/* The exit event bears the exit code. */
static void the_exit_event_has_the_exit_code(void **state)
{
    (void)state;
    static const int codes[] = {0, 1, 42, -5, INT32_MAX};
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        int code = codes[i];
        struct event_log log = log_of(result_entry, &code, 0);
        assert_int_equal(log.events[log.count - 1], 'x');
        assert_int_equal(log.exit.code, code);
        assert_int_equal(log.exit.reason, code ? STRAIT_EXIT_FAILED : STRAIT_EXIT_RETURNED);
    }
}

static int failing_entry(struct strait_isolate *isolate)
{
    post(strait_isolate_port(isolate), 0);
    strait_worker_fail(5, "no such table");
    strait_worker_fail(6, "and another thing");
    return 1;
}

static void assert_still_echoes(struct strait_worker *worker, struct event_log *log)
{
    post(strait_worker_port(worker), log->next);
    for (size_t before = log->messages; log->messages == before;) {
        assert_true(readable(strait_worker_fd(worker), -1));
        assert_true(strait_worker_dispatch(worker, 0) >= 0);
    }
}

/* An uncaught exception: what was posted before it, then the error, once, then the exit. The parent
 * and the other workers go on. */
static void an_error_comes_before_the_exit_and_ends_nobody_else(void **state)
{
    (void)state;
    struct event_log others = {.count = 0};
    struct tenant_options options = {.message = echo, .event = log_event, .context = &others};
    struct strait_worker *other = spawn_tenant(&options);
    assert_still_echoes(other, &others);
    struct event_log log = log_of(failing_entry, NULL, 0);
    assert_string_equal(log.events, "omex");
    assert_int_equal(log.error.code, 5);
    assert_string_equal(log.error.text, "no such table");
    assert_int_equal(log.exit.code, 1);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
    assert_still_echoes(other, &others);
    say_no_more(other);
    see_to_exit(other);
    assert_string_equal(others.events, "omx");
}

#define HEAP_LIMIT ((size_t)1 << 20)

/* Fills its heap; the result is what becomes of the worker. */
static int fill_heap_entry(struct strait_isolate *isolate)
{
    const int *result = strait_isolate_data(isolate);
    while (strait_heap_alloc(isolate, 1000)) {
        EXPECT(strait_heap_used(isolate) <= HEAP_LIMIT);
    }
    return *result;
}

/* resourceLimits: ERR_WORKER_OUT_OF_MEMORY ends one worker and no other. Here the allocation fails
 * first, and the worker that knows what to do then goes on. */
static void a_heap_limit_is_the_workers_own(void **state)
{
    (void)state;
    struct event_log others = {.count = 0};
    struct tenant_options options = {.message = echo, .event = log_event, .context = &others};
    struct strait_worker *other = spawn_tenant(&options);
    int result = -ENOMEM;
    struct event_log log = log_of(fill_heap_entry, &result, HEAP_LIMIT);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
    assert_int_equal(log.exit.warning, -ENOMEM);
    assert_int_equal(log.exit.code, -ENOMEM);
    result = 0;
    log = log_of(fill_heap_entry, &result, HEAP_LIMIT);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
    assert_still_echoes(other, &others);
    say_no_more(other);
    see_to_exit(other);
}

/* ---- stopping: Node's terminate ---- */

/* terminate() ends a computation, without an error event: here one that asks. */
static void a_stopped_computation_ends_without_an_error(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options options = {
        .entry = compute_entry,
        .event = log_event,
        .context = &log,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    strait_worker_stop(worker);
    see_to_exit(worker);
    assert_string_equal(log.events, "ox");
    assert_int_equal(log.exit.reason, STRAIT_EXIT_STOPPED);
}

/* terminate() before the worker's first message: its loop ends. terminate() again, during and after
 * the exit, does nothing, and the worker's port and fd can still be asked for. */
static void stopping_again_does_nothing(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options options = {.message = echo, .event = log_event, .context = &log};
    struct strait_worker *worker = spawn_tenant(&options);
    strait_worker_stop(worker);
    strait_worker_stop(worker);
    dispatch_to_exit(worker);
    assert_string_equal(log.events, "ox");
    assert_int_equal(log.exit.reason, STRAIT_EXIT_STOPPED);
    assert_non_null(strait_worker_port(worker));
    assert_true(strait_worker_fd(worker) >= 0);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    strait_worker_stop(worker);
    assert_returns(strait_worker_dispatch(worker, 0), -EPIPE);
    assert_string_equal(log.events, "ox");
    assert_returns(strait_worker_destroy(worker), 0);
}

static void stop_at_the_first_message(struct strait_worker *worker,
                                      const struct strait_event *event, void *context)
{
    struct closing_parent *parent = context;
    EXPECT(parent->exits == 0); /* nothing after the exit */
    parent->exits += event->type == STRAIT_EXIT;
    if (event->type == STRAIT_MESSAGE) {
        strait_worker_stop(worker);
    }
}

/* terminate() in the message handler, while the worker posts on and on. */
static void a_message_event_may_stop_the_worker(void **state)
{
    (void)state;
    uint64_t accepted = 0;
    struct closing_parent parent = {.dropped = 0};
    struct tenant_options options = {
        .entry = post_until_refused_entry,
        .data = &accepted,
        .to_parent = {.capacity = 64},
        .event = stop_at_the_first_message,
        .context = &parent,
    };
    see_to_exit(spawn_tenant(&options));
    assert_int_equal(parent.exits, 1);
    assert_true(accepted > 0);
}

static int blocked_entry(struct strait_isolate *isolate)
{
    struct strait_receiver *receiver = &strait_isolate_port(isolate)->receiver;
    uint64_t number;
    EXPECT(strait_receive(receiver, &number, 1, strait_deadline(1)) == -ETIMEDOUT);
    EXPECT(strait_receive(receiver, &number, 1, STRAIT_FOREVER) == -ECANCELED);
    return 0;
}

/* Atomics.wait: with a time limit, timed out; without one, ended by terminate(). */
static void a_wait_ends_in_time_or_by_a_stop(void **state)
{
    (void)state;
    struct tenant_options options = {.entry = blocked_entry};
    struct strait_worker *worker = spawn_tenant(&options);
    assert_returns(strait_worker_join(worker, strait_deadline(20000000)), -ETIMEDOUT);
    strait_worker_stop(worker);
    join_and_destroy(worker);
    assert_no_faults();
}

static int deaf_entry(struct strait_isolate *isolate)
{
    struct start *start = strait_isolate_data(isolate);
    gate_wait(&start->gate);
    EXPECT(strait_worker_stopping(strait_worker_current()));
    return 0;
}

/* terminate() kills; nothing here does. A worker that does not listen is named by the join's
 * deadline, and nothing is taken from under it. */
static void a_worker_that_does_not_stop_is_not_killed(void **state)
{
    (void)state;
    struct start start = {.number = 0};
    struct tenant_options options = {.entry = deaf_entry, .data = &start};
    struct strait_worker *worker = spawn_tenant(&options);
    strait_worker_stop(worker);
    assert_returns(strait_worker_join(worker, strait_deadline(1000000)), -ETIMEDOUT);
    assert_returns(strait_worker_destroy(worker), -EBUSY);
    gate_open(&start.gate);
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- nested workers ---- */

struct family {
    uint64_t inherited; /* for all who come after */
    struct gate gate;
};

static int heir_entry(struct strait_isolate *isolate)
{
    const struct family *family = strait_isolate_data(isolate);
    post(strait_isolate_port(isolate), family->inherited);
    strait_worker_fail(9, "the heir's own trouble");
    return 9;
}

struct witness {
    char events[8];
    size_t count;
    uint64_t number;
};

static char letter_of(enum strait_event_type type)
{
    switch (type) {
    case STRAIT_ONLINE:
        return 'o';
    case STRAIT_MESSAGE:
        return 'm';
    case STRAIT_ERROR:
        return 'e';
    case STRAIT_EXIT:
        return 'x';
    default:
        return '?';
    }
}

static void witness_event(struct strait_worker *worker, const struct strait_event *event,
                          void *context)
{
    struct witness *witness = context;
    (void)worker;
    EXPECT(witness->count < sizeof(witness->events) - 1);
    witness->events[witness->count++] = letter_of(event->type);
    if (event->type == STRAIT_MESSAGE) {
        witness->number = number_of(event->message);
    }
}

static int middle_entry(struct strait_isolate *isolate)
{
    struct witness witness = {.count = 0};
    struct strait_worker *heir = NULL;
    struct tenant_options options = {
        .entry = heir_entry,
        .data = strait_isolate_data(isolate), /* passed on */
        .event = witness_event,
        .context = &witness,
    };
    EXPECT(tenant_spawn(&heir, &options) == 0);
    dispatch_from(strait_worker_fd(heir), heir);
    EXPECT(strait_worker_join(heir, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(heir) == 0);
    EXPECT(strcmp(witness.events, "omex") == 0);
    EXPECT(witness.number == 42);
    return 0;
}

/* A worker may have workers: their events come to it alone, and their errors end neither it nor its
 * parent. Environment data: a pointer that each parent passes on. */
static void a_nested_workers_error_is_its_parents_alone(void **state)
{
    (void)state;
    struct family family = {.inherited = 42};
    struct event_log log = log_of(middle_entry, &family, 0);
    assert_string_equal(log.events, "ox");
    assert_int_equal(log.exit.code, 0);
}

static int deep_entry(struct strait_isolate *isolate)
{
    struct family *family = strait_isolate_data(isolate);
    atomic_fetch_add(&family->gate.arrived, 1);
    return compute_entry(isolate);
}

static int stopping_parent_entry(struct strait_isolate *isolate)
{
    struct strait_worker *child = NULL;
    struct tenant_options options = {
        .entry = deep_entry,
        .data = strait_isolate_data(isolate),
    };
    EXPECT(tenant_spawn(&child, &options) == 0);
    EXPECT(strait_isolate_run(isolate, echo, NULL) == -ECANCELED);
    strait_worker_stop(child);
    EXPECT(strait_worker_join(child, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(child) == 0);
    return 0;
}

/* terminate() of a worker ends those that it spawned: here it stops them itself before it ends. */
static void a_stop_reaches_nested_workers_through_their_parent(void **state)
{
    (void)state;
    struct family family = {.inherited = 0};
    struct census before = census_take();
    struct tenant_options options = {.entry = stopping_parent_entry, .data = &family};
    struct strait_worker *worker = spawn_tenant(&options);
    gate_await(&family.gate, 1);
    strait_worker_stop(worker);
    join_and_destroy(worker);
    assert_no_faults();
    assert_census(before);
}

/* ---- message channels ---- */

struct wide {
    char text[60];
    uint32_t number;
};

/* postMessage clones: what the sender does to its object afterwards does not show. */
static void a_message_is_a_copy(void **state)
{
    (void)state;
    struct strait_port_options options = {.forth = {.message_size = sizeof(struct wide)}};
    struct strait_port a;
    struct strait_port b;
    struct wide mine = {"before", 1};
    struct wide theirs = {"", 0};
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    assert_returns(strait_try_send(&a.sender, &mine, 1), 1);
    strcpy(mine.text, "after");
    mine.number = 2;
    assert_returns(strait_try_receive(&b.receiver, &theirs, 1), 1);
    assert_string_equal(theirs.text, "before");
    assert_int_equal(theirs.number, 1);
    strait_port_close(&a);
    strait_port_close(&b);
}

/* receiveMessageOnPort: one message, without any loop; nothing there is an answer, and so is an end
 * at which nothing more can come. */
static void messages_can_be_taken_one_by_one(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    uint64_t number = 99;
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    assert_returns(strait_try_receive(&b.receiver, &number, 1), -EAGAIN);
    post_range(&a, 0, 3);
    for (uint64_t expected = 0; expected < 3; expected++) {
        assert_returns(strait_try_receive(&b.receiver, &number, 1), 1);
        assert_int_equal(number, expected);
    }
    assert_returns(strait_try_receive(&b.receiver, &number, 1), -EAGAIN);
    post(&a, 3);
    strait_port_close(&a);
    assert_returns(strait_try_receive(&b.receiver, &number, 1), 1);
    assert_int_equal(number, 3);
    assert_returns(strait_try_receive(&b.receiver, &number, 1), -EPIPE);
    strait_port_close(&b);
    assert_no_faults();
}

/* The close event: closing one end ends both, whichever way they look; closing again does nothing.
 */
static void closing_one_end_is_seen_at_the_other(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    uint64_t number = 1;
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    strait_port_close(&a);
    strait_port_close(&a);
    assert_returns(strait_try_send(&b.sender, &number, 1), -EPIPE);
    assert_returns(strait_try_receive(&b.receiver, &number, 1), -EPIPE);
    assert_returns(strait_receive(&b.receiver, &number, 1, STRAIT_FOREVER), -EPIPE);
    strait_port_close(&b);
}

/* A handler that gets a port: forwards to the parent what comes there, until its end. */
static int forward(struct strait_isolate *isolate, const void *message, void *context)
{
    struct strait_port *port;
    uint64_t number;
    (void)context;
    memcpy(&port, message, sizeof(port));
    strait_port_adopt(port);
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        post(strait_isolate_port(isolate), number);
    }
    strait_port_close(port);
    return 0;
}

/* A transferred port brings what was queued in it, and what is posted later; a port that closes is
 * drained first. */
static void a_transferred_port_brings_its_messages(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options options = {
        .message = forward,
        .event = log_event,
        .context = &log,
    };
    struct strait_port a;
    struct strait_port b;
    struct strait_worker *worker = spawn_tenant(&options);
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    post_range(&a, 0, MESSAGES / 2);
    post_port(strait_worker_port(worker), &b);
    post_range(&a, MESSAGES / 2, MESSAGES);
    strait_port_close(&a);
    say_no_more(worker);
    see_to_exit(worker);
    assert_int_equal(log.messages, MESSAGES);
}

/* A handler that gets a port: posts there, and closes it. */
static int post_there(struct strait_isolate *isolate, const void *message, void *context)
{
    struct strait_port *port;
    (void)isolate;
    (void)context;
    memcpy(&port, message, sizeof(port));
    strait_port_adopt(port);
    post_range(port, 0, MESSAGES);
    strait_port_close(port);
    return 0;
}

/* The documentation's example of a MessageChannel: one end for each of two workers, which then talk
 * without their parent. */
static void two_workers_talk_past_their_parent(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options listens = {
        .message = forward,
        .event = log_event,
        .context = &log,
    };
    struct tenant_options talks = {.message = post_there};
    struct strait_port a;
    struct strait_port b;
    struct strait_worker *listener = spawn_tenant(&listens);
    struct strait_worker *talker = spawn_tenant(&talks);
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    post_port(strait_worker_port(listener), &a);
    post_port(strait_worker_port(talker), &b);
    say_no_more(talker);
    say_no_more(listener);
    see_to_exit(listener);
    join_and_destroy(talker);
    assert_int_equal(log.messages, MESSAGES);
}

static void close_dropped_port(void *message, void *context)
{
    struct strait_port *port;
    size_t *closed = context;
    memcpy(&port, message, sizeof(port));
    strait_port_close(port);
    (*closed)++;
}

/* A port on its way to a worker that ends before it takes it is closed, and its peer sees that. */
static void a_port_that_did_not_arrive_is_closed(void **state)
{
    (void)state;
    struct start start = {.number = 0};
    size_t closed = 0;
    struct tenant_options options = {
        .entry = deaf_entry,
        .data = &start,
        .drop_to_worker = close_dropped_port,
        .context = &closed,
    };
    struct strait_port a;
    struct strait_port b;
    uint64_t number = 1;
    struct strait_worker *worker = spawn_tenant(&options);
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    post_port(strait_worker_port(worker), &b);
    assert_returns(strait_try_send(&a.sender, &number, 1), 1);
    strait_worker_stop(worker);
    gate_open(&start.gate);
    join_and_destroy(worker);
    assert_int_equal(closed, 1);
    assert_returns(strait_try_send(&a.sender, &number, 1), -EPIPE);
    assert_returns(strait_try_receive(&a.receiver, &number, 1), -EPIPE);
    strait_port_close(&a);
    assert_no_faults();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(a_thread_knows_whether_it_is_a_worker),
        life_test(start_up_data_is_the_parents_at_the_spawn),
        life_test(memory_given_by_pointer_is_shared),
        life_test(a_worker_needs_something_to_run),
        life_test(a_spawn_without_descriptors_fails_and_the_parent_goes_on),
        life_test(messages_are_echoed_in_order_between_online_and_exit),
        life_test(messages_wait_until_somebody_listens),
        life_test(twenty_thousand_messages_before_the_exit_arrive),
        life_test(no_message_comes_after_close_in_its_handler),
        life_test(a_handler_may_end_the_worker),
        life_test(a_message_to_a_worker_that_has_ended_is_refused),
        life_test(an_endless_exchange_does_not_hold_up_the_loop),
        life_test(one_loop_serves_many_workers),
        life_test(microtasks_run_before_the_next_message),
        life_test(an_endless_microtask_loop_can_be_stopped),
        life_test(the_exit_event_has_the_exit_code),
        life_test(an_error_comes_before_the_exit_and_ends_nobody_else),
        life_test(a_heap_limit_is_the_workers_own),
        life_test(a_stopped_computation_ends_without_an_error),
        life_test(stopping_again_does_nothing),
        life_test(a_message_event_may_stop_the_worker),
        life_test(a_wait_ends_in_time_or_by_a_stop),
        life_test(a_worker_that_does_not_stop_is_not_killed),
        life_test(a_nested_workers_error_is_its_parents_alone),
        life_test(a_stop_reaches_nested_workers_through_their_parent),
        life_test(a_message_is_a_copy),
        life_test(messages_can_be_taken_one_by_one),
        life_test(closing_one_end_is_seen_at_the_other),
        life_test(a_transferred_port_brings_its_messages),
        life_test(two_workers_talk_past_their_parent),
        life_test(a_port_that_did_not_arrive_is_closed),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
