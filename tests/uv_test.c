/* SPDX-License-Identifier: MIT */
/* uv: workers, pools and receivers on libuv loops, the parent's and the worker's own. */
#include "tenant.h"

#include "strait_uv.h"

/* ---- loops ---- */

static void loop_open(uv_loop_t *loop)
{
    assert_int_equal(uv_loop_init(loop), 0);
}

/* Only if every handle was closed. */
static void loop_close(uv_loop_t *loop)
{
    assert_int_equal(uv_run(loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(loop), 0);
    assert_no_faults();
}

static void close_at_end(struct strait_uv_handle *handle)
{
    EXPECT(!strait_uv_is_active(handle));
    EXPECT(strait_uv_close(handle, NULL) == 0);
}

static unsigned closes;

static void count_close(struct strait_uv_handle *handle)
{
    (void)handle;
    closes++;
}

/* Soon nothing that the loop polls is ready, so that it would sleep: seen after two turns on end,
 * since what one has changed is polled by the next. */
static void falls_asleep(uv_loop_t *loop)
{
    unsigned quiet = 0;
    for (unsigned turns = 0; turns < 20 && quiet < 2; turns++) {
        uv_run(loop, UV_RUN_NOWAIT);
        quiet = readable(uv_backend_fd(loop), 0) ? 0 : quiet + 1;
    }
    EXPECT(quiet == 2);
}

/* Until something comes, or forever. */
static void sleeps_until_woken(uv_loop_t *loop)
{
    EXPECT(readable(uv_backend_fd(loop), -1));
}

/* A timer that runs once in each turn of a loop, and what came between two of its runs. */
struct metronome {
    uv_timer_t timer;
    uv_check_t again;
    unsigned turns;
    size_t since;
    size_t most;
};

static void metronome_tick(uv_timer_t *timer)
{
    struct metronome *metronome = timer->data;
    metronome->turns++;
    metronome->since = 0;
}

static void metronome_wind(uv_check_t *again)
{
    struct metronome *metronome = again->data;
    EXPECT(uv_timer_start(&metronome->timer, metronome_tick, 0, 0) == 0);
}

static void metronome_start(struct metronome *metronome, uv_loop_t *loop)
{
    memset(metronome, 0, sizeof(*metronome));
    EXPECT(uv_timer_init(loop, &metronome->timer) == 0);
    EXPECT(uv_check_init(loop, &metronome->again) == 0);
    metronome->timer.data = metronome;
    metronome->again.data = metronome;
    EXPECT(uv_check_start(&metronome->again, metronome_wind) == 0);
    metronome_wind(&metronome->again);
}

static void metronome_note(struct metronome *metronome)
{
    metronome->since++;
    metronome->most = metronome->since > metronome->most ? metronome->since : metronome->most;
}

static void metronome_stop(struct metronome *metronome)
{
    uv_close((uv_handle_t *)&metronome->timer, NULL);
    uv_close((uv_handle_t *)&metronome->again, NULL);
}

/* ---- a worker, seen by its parent ---- */

struct numbers {
    uint64_t count;
    int code;
};

static int numbers_entry(struct strait_isolate *isolate)
{
    const struct numbers *numbers = strait_isolate_data(isolate);
    struct strait_sender *sender = &strait_isolate_port(isolate)->sender;
    for (uint64_t i = 0; i < numbers->count; i++) {
        EXPECT(strait_send(sender, &i, 1, STRAIT_FOREVER) == 1);
    }
    return numbers->code;
}

static void join_at_close(struct strait_uv_handle *handle)
{
    struct strait_worker *worker = handle->data;
    EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(worker) == 0);
    count_close(handle);
}

static void worker_at_end(struct strait_uv_handle *handle)
{
    EXPECT(handle->status == 0);
    EXPECT(strait_uv_close(handle, join_at_close) == 0);
}

/* The whole life of a worker in a loop; the log tells what the parent saw. */
static void live_on_loop(struct tenant_options *options, struct event_log *log, size_t budget)
{
    struct census before = census_take();
    struct strait_uv_handle handle;
    uv_loop_t loop;
    loop_open(&loop);
    memset(log, 0, sizeof(*log));
    options->event = log_event;
    options->context = log;
    handle.data = spawn_tenant(options);
    closes = 0;
    assert_int_equal(strait_uv_worker_start(&loop, &handle, handle.data, worker_at_end), 0);
    if (budget) {
        handle.budget = budget;
    }
    assert_true(strait_uv_is_active(&handle));
    loop_close(&loop);
    assert_int_equal(closes, 1);
    assert_census(before);
}

static void all_messages_come_before_the_exit(void **state)
{
    (void)state;
    struct event_log log;
    struct numbers numbers = {.count = 20000};
    struct tenant_options options = {
        .entry = numbers_entry,
        .data = &numbers,
        .to_parent = {.message_size = 8},
    };
    live_on_loop(&options, &log, 0);
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.messages, 20000);
    assert_int_equal(log.thread, thread_number());
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
}

/* Wherever the budget ends, even with the exit event. */
static void any_budget_sees_the_end(void **state)
{
    (void)state;
    struct numbers numbers = {.count = 3, .code = 7};
    struct tenant_options options = {.entry = numbers_entry, .data = &numbers};
    for (size_t budget = 1; budget <= 8; budget++) {
        struct event_log log;
        live_on_loop(&options, &log, budget);
        assert_string_equal(log.events, "omex");
        assert_int_equal(log.messages, 3);
        assert_int_equal(log.exit.code, 7);
    }
}

#define BACKLOG 50000

static struct metronome parents;

static void backlog_event(struct strait_worker *worker, const struct strait_event *event,
                          void *context)
{
    (void)worker;
    (void)context;
    metronome_note(&parents);
    if (event->type == STRAIT_EXIT) {
        metronome_stop(&parents);
    }
    progress_made();
}

static void a_backlog_leaves_the_timers_running(void **state)
{
    (void)state;
    struct numbers numbers = {.count = BACKLOG};
    struct tenant_options options = {
        .entry = numbers_entry,
        .data = &numbers,
        .to_parent = {.capacity = BACKLOG},
        .event = backlog_event,
    };
    struct strait_uv_handle handle;
    uv_loop_t loop;
    loop_open(&loop);
    struct strait_worker *worker = spawn_tenant(&options);
    handle.data = worker;
    assert_int_equal(strait_worker_join(worker, STRAIT_FOREVER), 0); /* all of it is waiting */
    assert_int_equal(strait_uv_worker_start(&loop, &handle, worker, worker_at_end), 0);
    metronome_start(&parents, &loop);
    loop_close(&loop);
    assert_in_range(parents.turns, BACKLOG / STRAIT_BUDGET, BACKLOG);
    assert_int_equal(parents.most, STRAIT_BUDGET);
}

static int paused_entry(struct strait_isolate *isolate)
{
    struct gate *gates = strait_isolate_data(isolate);
    struct strait_sender *sender = &strait_isolate_port(isolate)->sender;
    for (uint64_t i = 0; i < 20; i++) {
        gate_wait(&gates[i]);
        EXPECT(strait_send(sender, &i, 1, STRAIT_FOREVER) == 1);
    }
    return 0;
}

static void a_parent_sleeps_when_nothing_happens(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    static struct gate gates[20];
    struct tenant_options options = {
        .entry = paused_entry,
        .data = gates,
        .event = log_event,
        .context = &log,
    };
    struct strait_uv_handle handle;
    uv_loop_t loop;
    loop_open(&loop);
    memset(gates, 0, sizeof(gates));
    struct strait_worker *worker = spawn_tenant(&options);
    handle.data = worker;
    assert_int_equal(strait_uv_worker_start(&loop, &handle, worker, worker_at_end), 0);
    for (size_t i = 0; i < 20; i++) {
        gate_await(&gates[i], 1); /* its last message is sent */
        falls_asleep(&loop);
        assert_int_equal(log.messages, i);
        assert_false(readable(strait_worker_fd(worker), 0));
        gate_open(&gates[i]);
        sleeps_until_woken(&loop);
    }
    loop_close(&loop);
    assert_string_equal(log.events, "omx");
}

/* Closes its handle at one event, and counts what comes thereafter. */
struct closer {
    struct strait_uv_handle handle;
    struct event_log log;
    enum strait_event_type at;
    uint64_t message;
    bool closed;
    unsigned after;
};

static void closer_event(struct strait_worker *worker, const struct strait_event *event,
                         void *context)
{
    struct closer *closer = context;
    uint64_t number = 0;
    log_event(worker, event, &closer->log);
    if (event->type == STRAIT_MESSAGE) {
        memcpy(&number, event->message, sizeof(number));
    }
    closer->after += closer->closed;
    if (event->type == closer->at && number == closer->message && !closer->closed) {
        EXPECT(strait_uv_close(&closer->handle, count_close) == 0);
        EXPECT(strait_uv_close(&closer->handle, count_close) == -EALREADY);
        EXPECT(strait_uv_is_closing(&closer->handle));
        closer->closed = true;
    }
}

static void never(struct strait_uv_handle *handle)
{
    bool ended_after_its_close = handle != NULL;
    EXPECT(!ended_after_its_close);
}

/* What was not delivered is: by a second handle. */
static void close_at(enum strait_event_type at, uint64_t message)
{
    struct closer closer = {.at = at, .message = message};
    struct numbers numbers = {.count = 10};
    struct tenant_options options = {
        .entry = numbers_entry,
        .data = &numbers,
        .event = closer_event,
        .context = &closer,
    };
    uv_loop_t loop;
    loop_open(&loop);
    struct strait_worker *worker = spawn_tenant(&options);
    closes = 0;
    assert_int_equal(strait_uv_worker_start(&loop, &closer.handle, worker, never), 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(closer.after, 0);
    assert_int_equal(closes, 1);
    assert_int_equal(strait_uv_close(&closer.handle, count_close), -EALREADY);
    struct strait_uv_handle second;
    second.data = worker;
    assert_int_equal(strait_uv_worker_start(&loop, &second, worker, worker_at_end), 0);
    loop_close(&loop);
    assert_int_equal(closes, 2);
    assert_string_equal(closer.log.events, "omx");
    assert_int_equal(closer.log.messages, 10);
}

static void a_close_in_a_callback_is_the_last_one(void **state)
{
    (void)state;
    close_at(STRAIT_ONLINE, 0);
    close_at(STRAIT_MESSAGE, 0);
    close_at(STRAIT_MESSAGE, 4);
    close_at(STRAIT_MESSAGE, 9);
    close_at(STRAIT_EXIT, 0);
}

/* ---- references ---- */

static int echo_message(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)context;
    EXPECT(strait_send(&strait_isolate_port(isolate)->sender, message, 1, STRAIT_FOREVER) == 1);
    return 0;
}

static void an_unreferenced_handle_keeps_no_loop(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options options = {
        .message = echo_message,
        .event = log_event,
        .context = &log,
    };
    struct strait_uv_handle handle;
    uv_loop_t loop;
    loop_open(&loop);
    struct strait_worker *worker = spawn_tenant(&options);
    handle.data = worker;
    assert_int_equal(strait_uv_worker_start(&loop, &handle, worker, worker_at_end), 0);
    assert_true(strait_uv_has_ref(&handle));
    strait_uv_unref(&handle);
    assert_false(strait_uv_has_ref(&handle));
    assert_true(strait_uv_is_active(&handle));
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* returns, though the worker lives */
    assert_int_equal(log.exit.type, 0);
    strait_uv_ref(&handle);
    assert_int_not_equal(uv_loop_alive(&loop), 0);
    strait_sender_close(&strait_worker_port(worker)->sender);
    loop_close(&loop);
    assert_string_equal(log.events, "ox");
}

static void what_cannot_be_watched_is_refused(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options parks = {
        .message = echo_message,
        .to_parent = {.receiver = STRAIT_WAIT_PARK},
    };
    struct tenant_options polls = {.message = echo_message};
    struct strait_uv_handle first;
    struct strait_uv_handle second;
    uv_loop_t loop;
    loop_open(&loop);
    struct strait_worker *worker = spawn_tenant(&parks);
    assert_int_equal(strait_uv_worker_start(&loop, &first, worker, NULL), -EINVAL);
    strait_worker_stop(worker);
    join_and_destroy(worker);
    worker = spawn_tenant(&polls);
    assert_int_equal(strait_uv_worker_start(&loop, &first, worker, close_at_end), 0);
    assert_int_equal(strait_uv_worker_start(&loop, &second, worker, NULL), -EEXIST);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(first.status, -EINVAL); /* nobody to tell the events to */
    strait_worker_stop(worker);
    join_and_destroy(worker);
    loop_close(&loop);
    (void)log;
}

/* ---- pools ---- */

#define TASKS 500

struct crowd {
    struct strait_uv_handle handle;
    struct strait_pool *pool;
    struct strait_parent *parent;
    struct gate gate;
    unsigned done;
    unsigned abandoned;
    unsigned last; /* at this completion, shut down */
    enum strait_close mode;
    unsigned after; /* completions after the handle's close */
};

static int square(struct strait_task *task)
{
    uint64_t number;
    memcpy(&number, task->data, sizeof(number));
    number *= number;
    memcpy(task->data, &number, sizeof(number));
    return 0;
}

static int hold(struct strait_task *task)
{
    struct crowd *crowd = task->context;
    gate_wait(&crowd->gate);
    return 0;
}

static void crowd_done(struct strait_task *task)
{
    struct crowd *crowd = task->context;
    crowd->done += task->status == STRAIT_TASK_DONE;
    crowd->abandoned += task->status == STRAIT_TASK_ABANDONED;
    crowd->after += strait_uv_is_closing(&crowd->handle);
    if (crowd->done + crowd->abandoned == crowd->last) {
        EXPECT(strait_uv_pool_shutdown(&crowd->handle, crowd->mode) == 0);
    }
    progress_made();
}

static void crowd_submit(struct crowd *crowd, strait_run_fn *run, unsigned count)
{
    struct strait_task task = {.run = run, .done = crowd_done, .context = crowd};
    for (uint64_t i = 0; i < count; i++) {
        memcpy(task.data, &i, sizeof(i));
        assert_int_equal(strait_task_submit(crowd->parent, &task, NULL, NULL), 0);
    }
}

static void crowd_ended(struct strait_uv_handle *handle)
{
    struct crowd *crowd = handle->data;
    EXPECT(handle->status == 0);
    EXPECT(strait_uv_pool_shutdown(handle, STRAIT_CLOSE_DRAIN) == -EALREADY);
    EXPECT(strait_uv_close(handle, count_close) == 0);
    EXPECT(strait_pool_destroy(crowd->pool) == 0);
}

static void crowd_start(struct crowd *crowd, uv_loop_t *loop, strait_uv_fn *ended)
{
    struct strait_pool_options options = {.workers = 2};
    memset(crowd, 0, sizeof(*crowd));
    closes = 0;
    loop_open(loop);
    assert_int_equal(strait_pool_create(&crowd->pool, &options), 0);
    crowd->handle.data = crowd;
    assert_int_equal(strait_pool_attach(crowd->pool, &crowd->parent, NULL), 0);
    assert_int_equal(strait_uv_pool_start(loop, &crowd->handle, crowd->pool, crowd->parent, ended),
                     0);
}

static void completions_run_in_the_loop(void **state)
{
    (void)state;
    struct census before = census_take();
    struct crowd crowd;
    uv_loop_t loop;
    crowd_start(&crowd, &loop, crowd_ended);
    crowd.last = TASKS;
    crowd.mode = STRAIT_CLOSE_DRAIN;
    crowd_submit(&crowd, square, TASKS);
    loop_close(&loop);
    assert_int_equal(crowd.done, TASKS);
    assert_int_equal(closes, 1);
    assert_census(before);
}

static void an_idle_pool_is_shut_down(void **state)
{
    (void)state;
    for (int mode = STRAIT_CLOSE_DRAIN; mode <= STRAIT_CLOSE_CANCEL; mode++) {
        struct crowd crowd;
        uv_loop_t loop;
        crowd_start(&crowd, &loop, crowd_ended);
        assert_int_equal(strait_uv_pool_shutdown(&crowd.handle, (enum strait_close)mode), 0);
        assert_int_equal(closes, 0);
        loop_close(&loop);
        assert_int_equal(closes, 1);
    }
}

/* First a drain, which the held tasks keep from going on, then a cancel: what waits is abandoned,
 * what runs is finished, and only then the handle ends. */
static void a_drain_turns_into_a_cancel(void **state)
{
    (void)state;
    struct crowd crowd;
    uv_loop_t loop;
    crowd_start(&crowd, &loop, crowd_ended);
    crowd_submit(&crowd, hold, 2);
    gate_await(&crowd.gate, 2);
    crowd_submit(&crowd, square, TASKS);
    assert_int_equal(strait_uv_pool_shutdown(&crowd.handle, STRAIT_CLOSE_DRAIN), 0);
    uv_run(&loop, UV_RUN_NOWAIT);
    struct strait_task late = {.run = square};
    assert_int_equal(strait_task_submit(crowd.parent, &late, NULL, NULL), -EPIPE);
    assert_int_equal(crowd.done + crowd.abandoned, 0);
    assert_int_equal(strait_uv_pool_shutdown(&crowd.handle, STRAIT_CLOSE_CANCEL), 0);
    while (crowd.abandoned < TASKS) {
        assert_int_not_equal(uv_run(&loop, UV_RUN_ONCE), 0);
    }
    assert_int_equal(crowd.done, 0);
    gate_open(&crowd.gate);
    loop_close(&loop);
    assert_int_equal(crowd.done, 2);
    assert_int_equal(crowd.abandoned, TASKS);
    assert_int_equal(closes, 1);
}

static void close_handle(struct strait_task *task)
{
    struct crowd *crowd = task->context;
    crowd_done(task);
    EXPECT(strait_uv_close(&crowd->handle, count_close) == 0);
}

/* The other completions run when the parent is detached. */
static void a_pool_outlives_its_handle(void **state)
{
    (void)state;
    struct crowd crowd;
    uv_loop_t loop;
    crowd_start(&crowd, &loop, NULL);
    struct strait_task closer = {.run = square, .done = close_handle, .context = &crowd};
    assert_int_equal(strait_task_submit(crowd.parent, &closer, NULL, NULL), 0);
    crowd_submit(&crowd, square, TASKS);
    while (readable(strait_parent_fd(crowd.parent), 0) == 0) {
        sched_yield();
    }
    loop_close(&loop);
    assert_int_equal(closes, 1);
    unsigned before = crowd.done;
    assert_int_equal(crowd.after, 0);
    assert_int_equal(strait_pool_close(crowd.pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_int_equal(strait_parent_detach(crowd.parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_int_equal(crowd.done, TASKS + 1);
    assert_true(before >= 1);
    assert_int_equal(strait_pool_destroy(crowd.pool), 0);
}

static void an_unreferenced_pool_keeps_no_loop(void **state)
{
    (void)state;
    struct crowd crowd;
    uv_loop_t loop;
    crowd_start(&crowd, &loop, crowd_ended);
    strait_uv_unref(&crowd.handle);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    strait_uv_ref(&crowd.handle);
    assert_int_equal(strait_uv_pool_shutdown(&crowd.handle, STRAIT_CLOSE_DRAIN), 0);
    loop_close(&loop);
    assert_int_equal(closes, 1);
}

static void a_pools_parent_sleeps_when_no_task_is_done(void **state)
{
    (void)state;
    struct crowd crowd;
    uv_loop_t loop;
    crowd_start(&crowd, &loop, crowd_ended);
    for (unsigned i = 0; i < 20; i++) {
        unsigned before = crowd.done;
        crowd_submit(&crowd, hold, 1);
        gate_await(&crowd.gate, 1);
        falls_asleep(&loop);
        assert_false(readable(strait_parent_fd(crowd.parent), 0));
        gate_open(&crowd.gate);
        while (crowd.done == before) {
            sleeps_until_woken(&loop);
            uv_run(&loop, UV_RUN_NOWAIT);
        }
        memset(&crowd.gate, 0, sizeof(crowd.gate));
        falls_asleep(&loop);
    }
    assert_int_equal(strait_uv_pool_shutdown(&crowd.handle, STRAIT_CLOSE_DRAIN), 0);
    loop_close(&loop);
    assert_int_equal(crowd.done, 20);
}

/* ---- receivers ---- */

struct stream {
    struct strait_port a;
    struct strait_port b;
    struct strait_uv_handle handle;
    uint64_t count; /* what the other thread sends */
    uint64_t next;
    uint64_t close_at;
    void *closing; /* what is closed then */
    uint64_t dropped;
    unsigned ended;
};

static void count_drop(void *message, void *context)
{
    struct stream *stream = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    EXPECT(number == stream->close_at + 1 + stream->dropped);
    stream->dropped++;
}

static void *stream_send(void *context)
{
    struct stream *stream = context;
    strait_port_adopt(&stream->b);
    for (uint64_t i = 0; i < stream->count; i++) {
        EXPECT(strait_send(&stream->b.sender, &i, 1, STRAIT_FOREVER) == 1);
    }
    strait_port_close(&stream->b);
    return NULL;
}

static void stream_message(struct strait_uv_handle *handle, const void *message)
{
    struct stream *stream = handle->data;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    EXPECT(number == stream->next);
    EXPECT(!strait_uv_is_closing(handle));
    stream->next++;
    if (number == stream->close_at) {
        EXPECT(strait_uv_close(handle, count_close) == 0);
    }
    progress_made();
}

static void stream_close(struct strait_uv_handle *handle)
{
    struct stream *stream = handle->data;
    strait_port_close(&stream->a);
    count_close(handle);
}

static void stream_ended(struct strait_uv_handle *handle)
{
    struct stream *stream = handle->data;
    EXPECT(handle->status == 0);
    stream->ended++;
    EXPECT(strait_uv_close(handle, stream_close) == 0);
}

static void stream_start(struct stream *stream, uv_loop_t *loop, strait_uv_message_fn *message)
{
    struct strait_port_options options = {
        .back = {.message_size = 8, .capacity = 64, .receiver = STRAIT_WAIT_FD},
        .drop_back = count_drop,
        .context = stream,
    };
    closes = 0;
    loop_open(loop);
    assert_int_equal(strait_port_pair(&stream->a, &stream->b, &options), 0);
    strait_port_give(&stream->b);
    stream->handle.data = stream;
    assert_int_equal(
        strait_uv_receiver_start(loop, &stream->handle, &stream->a.receiver, message, stream_ended),
        0);
}

static void a_port_is_read_to_its_end(void **state)
{
    (void)state;
    struct stream stream = {.count = scaled(100000), .close_at = UINT64_MAX};
    pthread_t thread;
    uv_loop_t loop;
    stream_start(&stream, &loop, stream_message);
    thread_start(&thread, stream_send, &stream);
    loop_close(&loop);
    thread_join(thread);
    assert_int_equal(stream.next, stream.count);
    assert_int_equal(stream.ended, 1);
    assert_int_equal(closes, 1);
}

static void a_receiver_outlives_its_handle(void **state)
{
    (void)state;
    struct stream stream = {.count = 50, .close_at = 20};
    uv_loop_t loop;
    uint64_t number;
    stream_start(&stream, &loop, stream_message);
    stream_send(&stream);
    loop_close(&loop);
    assert_int_equal(closes, 1);
    assert_int_equal(stream.ended, 0);
    for (uint64_t i = 21; i < 50; i++) {
        assert_int_equal(strait_try_receive(&stream.a.receiver, &number, 1), 1);
        assert_int_equal(number, i);
    }
    assert_int_equal(strait_try_receive(&stream.a.receiver, &number, 1), -EPIPE);
    strait_port_close(&stream.a);
}

static void a_receiver_that_parks_is_refused(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    struct strait_uv_handle handle;
    uv_loop_t loop;
    loop_open(&loop);
    assert_int_equal(strait_port_pair(&a, &b, NULL), 0);
    assert_int_equal(strait_uv_receiver_start(&loop, &handle, &a.receiver, stream_message, NULL),
                     -EINVAL);
    strait_port_close(&a);
    strait_port_close(&b);
    loop_close(&loop);
}

/* At its `close_at` it closes what `closing` says, and takes every second message by itself until
 * then. */
static void greedy_message(struct strait_uv_handle *handle, const void *message)
{
    struct stream *stream = handle->data;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    EXPECT(number == stream->next);
    stream->next++;
    if (number != stream->close_at) {
        uint64_t next;
        EXPECT(strait_try_receive(&stream->a.receiver, &next, 1) == 1);
        EXPECT(next == stream->next++);
        EXPECT(memcmp(message, &number, sizeof(number)) == 0); /* it is still there */
        return;
    }
    if (stream->closing == &stream->handle) {
        EXPECT(strait_uv_close(handle, count_close) == 0);
    } else {
        uint64_t none;
        strait_receiver_close(stream->closing);
        EXPECT(strait_try_receive(stream->closing, &none, 1) == -EPIPE);
    }
    EXPECT(memcmp(message, &number, sizeof(number)) == 0); /* it is still there */
}

static void a_handler_may_receive_the_next_message(void **state)
{
    (void)state;
    struct stream stream = {.count = 50, .close_at = UINT64_MAX};
    uv_loop_t loop;
    stream_start(&stream, &loop, greedy_message);
    stream_send(&stream);
    loop_close(&loop);
    assert_int_equal(stream.next, 50);
    assert_int_equal(stream.ended, 1);
    assert_int_equal(closes, 1);
}

static void a_handler_closes_its_handle(void **state)
{
    (void)state;
    struct stream stream = {.count = 50, .close_at = 20, .closing = &stream.handle};
    uv_loop_t loop;
    uint64_t number;
    stream_start(&stream, &loop, greedy_message);
    stream_send(&stream);
    loop_close(&loop);
    assert_int_equal(stream.ended, 0);
    assert_int_equal(closes, 1);
    assert_int_equal(strait_try_receive(&stream.a.receiver, &number, 1), 1);
    assert_int_equal(number, 21);
    stream.close_at = 21;
    strait_port_close(&stream.a);
    assert_int_equal(stream.dropped, 50 - 22);
    assert_no_faults();
}

/* Each of the messages is handled or dropped, none both. */
static void a_handler_closes_its_receiver(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 50; at += 8) {
        struct stream stream = {.count = 50, .close_at = at, .closing = &stream.a.receiver};
        uv_loop_t loop;
        stream_start(&stream, &loop, greedy_message);
        stream_send(&stream);
        loop_close(&loop);
        assert_int_equal(stream.next, at + 1);
        assert_int_equal(stream.ended, 1);
        assert_int_equal(closes, 1);
        assert_int_equal(stream.dropped, 50 - (at + 1));
    }
}

static void a_receiver_sleeps_when_it_has_nothing(void **state)
{
    (void)state;
    struct stream stream = {.close_at = UINT64_MAX};
    uv_loop_t loop;
    stream_start(&stream, &loop, stream_message);
    strait_port_adopt(&stream.b);
    falls_asleep(&loop);
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(strait_try_send(&stream.b.sender, &i, 1), 1);
        sleeps_until_woken(&loop);
        falls_asleep(&loop);
        assert_int_equal(stream.next, i + 1);
        assert_false(readable(strait_receiver_fd(&stream.a.receiver), 0));
    }
    strait_port_close(&stream.b);
    loop_close(&loop);
    assert_int_equal(stream.ended, 1);
}

/* ---- a worker's own loop ---- */

struct inner {
    uv_loop_t loop;
    struct strait_uv_handle handle;
    struct metronome metronome;
    struct gate gate;
    char diary[256];
    uint64_t handled;
    int answer; /* what the handler returns for the message 5 */
    unsigned closed;
};

static void inner_closed(struct strait_uv_handle *handle)
{
    struct inner *inner = handle->data;
    inner->closed++;
}

static void inner_ended(struct strait_uv_handle *handle)
{
    struct inner *inner = handle->data;
    EXPECT(!strait_uv_is_active(handle));
    metronome_stop(&inner->metronome);
    EXPECT(strait_uv_close(handle, inner_closed) == 0);
}

/* The entry: a loop with a timer that never stops by itself, and the parent's messages. */
static int inner_run(struct strait_isolate *isolate, strait_message_fn *message)
{
    struct inner *inner = strait_isolate_data(isolate);
    EXPECT(uv_loop_init(&inner->loop) == 0);
    inner->handle.data = inner;
    EXPECT(strait_uv_isolate_start(&inner->loop, &inner->handle, isolate, message, inner,
                                   inner_ended) == 0);
    metronome_start(&inner->metronome, &inner->loop);
    EXPECT(uv_run(&inner->loop, UV_RUN_DEFAULT) == 0);
    EXPECT(inner->closed == 1);
    EXPECT(uv_loop_close(&inner->loop) == 0);
    return inner->handle.status;
}

static void diary_microtask(struct strait_isolate *isolate, void *argument)
{
    struct inner *inner = argument;
    char *end = inner->diary + strlen(inner->diary);
    EXPECT(strait_isolate_settle(isolate) == -EDEADLK);
    snprintf(end, 16, " micro%u", (unsigned)inner->handled);
}

static int diary_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct inner *inner = context;
    char *end = inner->diary + strlen(inner->diary);
    (void)message;
    inner->handled++;
    snprintf(end, 16, " msg%u", (unsigned)inner->handled);
    EXPECT(strait_microtask(isolate, diary_microtask, inner) == 0);
    return inner->handled == 5 ? inner->answer : 0;
}

static int diary_entry(struct strait_isolate *isolate)
{
    return inner_run(isolate, diary_message);
}

static struct tenant_options inner_options(struct inner *inner, strait_isolate_fn *entry,
                                           struct event_log *log)
{
    struct tenant_options options = {
        .entry = entry,
        .data = inner,
        .to_worker = {.receiver = STRAIT_WAIT_FD, .capacity = BACKLOG},
        .event = log_event,
        .context = log,
    };
    return options;
}

static void send_numbers(struct strait_worker *worker, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(strait_send(&strait_worker_port(worker)->sender, &i, 1, STRAIT_FOREVER),
                         1);
    }
}

static void microtasks_follow_their_message(void **state)
{
    (void)state;
    static struct inner inner;
    struct event_log log = {.count = 0};
    memset(&inner, 0, sizeof(inner));
    struct tenant_options options = inner_options(&inner, diary_entry, &log);
    struct strait_worker *worker = spawn_tenant(&options);
    send_numbers(worker, 3);
    strait_sender_close(&strait_worker_port(worker)->sender);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_no_faults();
    assert_string_equal(inner.diary, " msg1 micro1 msg2 micro2 msg3 micro3");
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
}

static void a_handler_ends_its_loop(void **state)
{
    (void)state;
    static struct inner inner;
    struct event_log log = {.count = 0};
    memset(&inner, 0, sizeof(inner));
    inner.answer = 23;
    struct tenant_options options = inner_options(&inner, diary_entry, &log);
    struct strait_worker *worker = spawn_tenant(&options);
    send_numbers(worker, 8);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_no_faults();
    assert_int_equal(inner.handled, 5);
    assert_int_equal(log.exit.code, 23);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
}

static void a_worker_in_its_loop_is_stopped(void **state)
{
    (void)state;
    static struct inner inner;
    struct event_log log = {.count = 0};
    memset(&inner, 0, sizeof(inner));
    struct tenant_options options = inner_options(&inner, diary_entry, &log);
    struct strait_worker *worker = spawn_tenant(&options);
    strait_worker_stop(worker);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_no_faults();
    assert_string_equal(log.events, "ox");
    assert_int_equal(log.exit.reason, STRAIT_EXIT_STOPPED);
}

static int asleep_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct inner *inner = context;
    (void)message;
    metronome_stop(&inner->metronome);
    gate_open(&inner->gate);
    (void)isolate;
    return 0;
}

static void asleep_ended(struct strait_uv_handle *handle)
{
    EXPECT(strait_uv_close(handle, inner_closed) == 0);
}

/* Nothing but the parent can wake this one. */
static int asleep_entry(struct strait_isolate *isolate)
{
    struct inner *inner = strait_isolate_data(isolate);
    EXPECT(uv_loop_init(&inner->loop) == 0);
    inner->handle.data = inner;
    EXPECT(strait_uv_isolate_start(&inner->loop, &inner->handle, isolate, asleep_message, inner,
                                   asleep_ended) == 0);
    metronome_start(&inner->metronome, &inner->loop);
    EXPECT(uv_run(&inner->loop, UV_RUN_DEFAULT) == 0);
    EXPECT(uv_loop_close(&inner->loop) == 0);
    return inner->handle.status;
}

static void a_worker_that_sleeps_in_its_loop_is_stopped(void **state)
{
    (void)state;
    static struct inner inner;
    struct event_log log = {.count = 0};
    for (unsigned round = 0; round < scaled(100); round++) {
        memset(&inner, 0, sizeof(inner));
        struct tenant_options options = inner_options(&inner, asleep_entry, &log);
        struct strait_worker *worker = spawn_tenant(&options);
        send_numbers(worker, 1);
        while (!atomic_load(&inner.gate.open)) {
            sleep_ns(GATE_NAP_NS);
        }
        dawdle(round * 500); /* before, while and after it goes to sleep */
        strait_worker_stop(worker);
        join_and_destroy(worker);
        assert_int_equal(inner.handle.status, -ECANCELED);
    }
    assert_no_faults();
}

static int backlog_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct inner *inner = context;
    uint64_t number;
    (void)isolate;
    memcpy(&number, message, sizeof(number));
    EXPECT(number == inner->handled);
    inner->handled++;
    metronome_note(&inner->metronome);
    return 0;
}

static int backlog_entry(struct strait_isolate *isolate)
{
    struct inner *inner = strait_isolate_data(isolate);
    gate_wait(&inner->gate);
    return inner_run(isolate, backlog_message);
}

static void a_backlog_leaves_the_workers_timers_running(void **state)
{
    (void)state;
    static struct inner inner;
    struct event_log log = {.count = 0};
    memset(&inner, 0, sizeof(inner));
    struct tenant_options options = inner_options(&inner, backlog_entry, &log);
    struct strait_worker *worker = spawn_tenant(&options);
    send_numbers(worker, BACKLOG);
    strait_sender_close(&strait_worker_port(worker)->sender);
    gate_open(&inner.gate);
    join_and_destroy(worker);
    assert_no_faults();
    assert_int_equal(inner.handled, BACKLOG);
    assert_in_range(inner.metronome.turns, BACKLOG / STRAIT_BUDGET, BACKLOG);
    assert_int_equal(inner.metronome.most, STRAIT_BUDGET);
}

#define WAKES 20

struct sleeper {
    uv_loop_t loop;
    struct strait_uv_handle handle;
    struct gate gates[WAKES];
    uv_async_t async;
    struct gate at_work[2]; /* in a callback that is not the handle's; the second closes both */
    unsigned asyncs;
    uint64_t handled;
    uint64_t hold_at; /* this message's handler waits at its gate */
};

static int sleeper_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct sleeper *sleeper = context;
    uint64_t number;
    (void)isolate;
    memcpy(&number, message, sizeof(number));
    EXPECT(number == sleeper->handled);
    sleeper->handled++;
    if (number == sleeper->hold_at) {
        gate_wait(&sleeper->gates[0]);
    }
    return 0;
}

static void sleeper_ended(struct strait_uv_handle *handle)
{
    EXPECT(strait_uv_close(handle, NULL) == 0);
}

static void sleeper_start(struct sleeper *sleeper, struct strait_isolate *isolate)
{
    EXPECT(uv_loop_init(&sleeper->loop) == 0);
    EXPECT(strait_uv_isolate_start(&sleeper->loop, &sleeper->handle, isolate, sleeper_message,
                                   sleeper, sleeper_ended) == 0);
    strait_uv_unref(&sleeper->handle);
    EXPECT(!uv_loop_alive(&sleeper->loop)); /* nor does anything else of it keep a loop */
    strait_uv_ref(&sleeper->handle);
}

static int sleeper_end(struct sleeper *sleeper)
{
    EXPECT(uv_run(&sleeper->loop, UV_RUN_DEFAULT) == 0);
    EXPECT(uv_loop_close(&sleeper->loop) == 0);
    return sleeper->handle.status;
}

static int naps_entry(struct strait_isolate *isolate)
{
    struct sleeper *sleeper = strait_isolate_data(isolate);
    int fd = strait_receiver_fd(&strait_isolate_port(isolate)->receiver);
    sleeper_start(sleeper, isolate);
    for (uint64_t i = 0; i < WAKES; i++) {
        falls_asleep(&sleeper->loop);
        EXPECT(!readable(fd, 0));
        EXPECT(sleeper->handled == i);
        gate_wait(&sleeper->gates[i]); /* one more has been sent */
        sleeps_until_woken(&sleeper->loop);
    }
    return sleeper_end(sleeper);
}

static void a_worker_sleeps_when_it_has_nothing(void **state)
{
    (void)state;
    static struct sleeper sleeper;
    struct event_log log = {.count = 0};
    struct tenant_options options = inner_options(NULL, naps_entry, &log);
    memset(&sleeper, 0, sizeof(sleeper));
    sleeper.hold_at = UINT64_MAX;
    options.data = &sleeper;
    struct strait_worker *worker = spawn_tenant(&options);
    for (uint64_t i = 0; i < WAKES; i++) {
        gate_await(&sleeper.gates[i], 1);
        assert_int_equal(strait_send(&strait_worker_port(worker)->sender, &i, 1, STRAIT_FOREVER),
                         1);
        gate_open(&sleeper.gates[i]);
    }
    strait_sender_close(&strait_worker_port(worker)->sender);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_no_faults();
    assert_int_equal(sleeper.handled, WAKES);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_RETURNED);
}

static void sleeper_async(uv_async_t *async)
{
    struct sleeper *sleeper = async->data;
    gate_wait(&sleeper->at_work[sleeper->asyncs]);
    sleeper->asyncs++;
    if (sleeper->asyncs == 2) {
        uv_close((uv_handle_t *)async, NULL);
        EXPECT(strait_uv_close(&sleeper->handle, NULL) == 0);
    }
}

static int usage_entry(struct strait_isolate *isolate)
{
    struct sleeper *sleeper = strait_isolate_data(isolate);
    sleeper_start(sleeper, isolate);
    EXPECT(uv_async_init(&sleeper->loop, &sleeper->async, sleeper_async) == 0);
    sleeper->async.data = sleeper;
    return sleeper_end(sleeper);
}

/* What a worker has done while its parent slept for 2 ms. */
static struct strait_usage usage_of_a_while(const struct strait_worker *worker)
{
    struct strait_usage before;
    struct strait_usage after;
    strait_isolate_usage(isolate_of(worker), &before);
    sleep_ns(2000000);
    strait_isolate_usage(isolate_of(worker), &after);
    after.online_ns -= before.online_ns;
    after.idle_ns -= before.idle_ns;
    return after;
}

/* Asleep in uv_run, it is idle all the time, once it has come there. */
static void await_idleness(const struct strait_worker *worker)
{
    struct strait_usage usage;
    unsigned looks = 0;
    do {
        usage = usage_of_a_while(worker);
        looks++;
    } while (usage.idle_ns != usage.online_ns && looks < 2000);
    assert_int_equal(usage.idle_ns, usage.online_ns);
    progress_made();
}

/* In a message's handler it is active; so it is in the callback of another handle, which is known
 * when that has returned. */
static void a_loop_that_sleeps_is_idle(void **state)
{
    (void)state;
    static struct sleeper sleeper;
    struct event_log log = {.count = 0};
    struct strait_usage usage;
    uint64_t number = 0;
    struct tenant_options options = inner_options(NULL, usage_entry, &log);
    memset(&sleeper, 0, sizeof(sleeper));
    options.data = &sleeper;
    struct strait_worker *worker = spawn_tenant(&options);
    await_idleness(worker);
    assert_int_equal(strait_send(&strait_worker_port(worker)->sender, &number, 1, STRAIT_FOREVER),
                     1);
    gate_await(&sleeper.gates[0], 1);
    int64_t held = 0;
    usage = usage_of_a_while(worker);
    assert_int_equal(usage.idle_ns, 0);
    held += usage.online_ns;
    gate_open(&sleeper.gates[0]);
    for (unsigned i = 0; i < 2; i++) {
        await_idleness(worker);
        assert_int_equal(uv_async_send(&sleeper.async), 0);
        gate_await(&sleeper.at_work[i], 1);
        held += usage_of_a_while(worker).online_ns;
        gate_open(&sleeper.at_work[i]);
    }
    dispatch_to_exit(worker);
    strait_isolate_usage(isolate_of(worker), &usage);
    assert_true(usage.online_ns - usage.idle_ns >= held);
    assert_true(usage.idle_ns > 0);
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- TCP, timers and messages together: an echo server in one loop, its client in the other ----
 */

#define ECHOES 200
#define PINGS 2000

struct echo {
    uv_tcp_t listener;
    uv_tcp_t peer; /* the one connection */
    uv_write_t write;
    char bytes[64];
    unsigned echoed;
};

static void echo_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct echo *echo = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(echo->bytes, sizeof(echo->bytes));
}

static void echo_wrote(uv_write_t *write, int status)
{
    (void)write;
    EXPECT(status == 0);
}

/* The client sends one byte and waits for it, so that one buffer and one request are enough. */
static void echo_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct echo *echo = stream->data;
    if (count < 0) {
        EXPECT(count == UV_EOF);
        uv_close((uv_handle_t *)stream, NULL);
        uv_close((uv_handle_t *)&echo->listener, NULL);
        return;
    }
    uv_buf_t answer = uv_buf_init(buffer->base, (unsigned)count);
    echo->echoed += (unsigned)count;
    EXPECT(uv_write(&echo->write, stream, &answer, 1, echo_wrote) == 0);
}

static void echo_connection(uv_stream_t *listener, int status)
{
    struct echo *echo = listener->data;
    EXPECT(status == 0);
    EXPECT(uv_tcp_init(listener->loop, &echo->peer) == 0);
    echo->peer.data = echo;
    EXPECT(uv_accept(listener, (uv_stream_t *)&echo->peer) == 0);
    EXPECT(uv_read_start((uv_stream_t *)&echo->peer, echo_alloc, echo_read) == 0);
}

/* The port that it listens on. */
static int echo_listen(struct echo *echo, uv_loop_t *loop)
{
    struct sockaddr_in address;
    int length = sizeof(address);
    EXPECT(uv_ip4_addr("127.0.0.1", 0, &address) == 0);
    EXPECT(uv_tcp_init(loop, &echo->listener) == 0);
    echo->listener.data = echo;
    EXPECT(uv_tcp_bind(&echo->listener, (const struct sockaddr *)&address, 0) == 0);
    EXPECT(uv_listen((uv_stream_t *)&echo->listener, 1, echo_connection) == 0);
    EXPECT(uv_tcp_getsockname(&echo->listener, (struct sockaddr *)&address, &length) == 0);
    return ntohs(address.sin_port);
}

/* The client; when its echoes are back, it calls `done`. */
struct caller {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    char byte;
    char answer[64];
    unsigned heard;
    void (*done)(struct caller *caller);
};

static void caller_speak(struct caller *caller)
{
    uv_buf_t buffer = uv_buf_init(&caller->byte, 1);
    caller->byte = (char)('a' + caller->heard % 26);
    EXPECT(uv_write(&caller->write, (uv_stream_t *)&caller->tcp, &buffer, 1, echo_wrote) == 0);
}

static void caller_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct caller *caller = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(caller->answer, sizeof(caller->answer));
}

static void caller_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct caller *caller = stream->data;
    if (count == 0) {
        return;
    }
    EXPECT(count == 1);
    EXPECT(buffer->base[0] == caller->byte);
    caller->heard++;
    progress_made();
    if (caller->heard < ECHOES) {
        caller_speak(caller);
    } else {
        uv_close((uv_handle_t *)&caller->tcp, NULL);
        caller->done(caller);
    }
}

static void caller_connected(uv_connect_t *connect, int status)
{
    struct caller *caller = connect->data;
    EXPECT(status == 0);
    EXPECT(uv_read_start((uv_stream_t *)&caller->tcp, caller_alloc, caller_read) == 0);
    caller_speak(caller);
}

static void caller_start(struct caller *caller, uv_loop_t *loop, int port)
{
    struct sockaddr_in address;
    EXPECT(uv_ip4_addr("127.0.0.1", port, &address) == 0);
    EXPECT(uv_tcp_init(loop, &caller->tcp) == 0);
    caller->tcp.data = caller;
    caller->connect.data = caller;
    EXPECT(uv_tcp_connect(&caller->connect, &caller->tcp, (const struct sockaddr *)&address,
                          caller_connected) == 0);
}

/* Both loops serve one connection and make another. The worker's first message is the port that it
 * listens on; then every message is answered with the same. */
struct town {
    struct echo echo;
    struct caller caller;
    struct metronome metronome;
    struct strait_uv_handle handle;
    struct strait_worker *worker; /* the parent's */
    struct strait_isolate *isolate;
    uint64_t pings;
    uv_loop_t loop;
    int listens; /* the worker's: where its parent does */
    bool called;
};

static void parent_may_close(struct town *town)
{
    if (town->called && town->pings == PINGS) {
        strait_sender_close(&strait_worker_port(town->worker)->sender);
    }
}

static void parent_called(struct caller *caller)
{
    struct town *town = (struct town *)(void *)((char *)caller - offsetof(struct town, caller));
    town->called = true;
    parent_may_close(town);
}

static void parent_event(struct strait_worker *worker, const struct strait_event *event,
                         void *context)
{
    struct town *town = context;
    uint64_t number;
    if (event->type == STRAIT_EXIT) {
        EXPECT(event->reason == STRAIT_EXIT_RETURNED);
        metronome_stop(&town->metronome);
    }
    if (event->type != STRAIT_MESSAGE) {
        return;
    }
    memcpy(&number, event->message, sizeof(number));
    if (town->pings == 0) {
        caller_start(&town->caller, &town->loop, (int)number);
        number = 0;
    }
    EXPECT(number == town->pings);
    town->pings++;
    if (town->pings < PINGS) {
        EXPECT(strait_send(&strait_worker_port(worker)->sender, &town->pings, 1, STRAIT_FOREVER) ==
               1);
    } else {
        parent_may_close(town);
    }
    progress_made();
}

static void worker_called(struct caller *caller)
{
    struct town *town = (struct town *)(void *)((char *)caller - offsetof(struct town, caller));
    town->called = true;
}

static void worker_ended(struct strait_uv_handle *handle)
{
    struct town *town = handle->data;
    metronome_stop(&town->metronome);
    EXPECT(strait_uv_close(handle, NULL) == 0);
}

static int worker_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct town *town = context;
    town->pings++;
    return echo_message(isolate, message, NULL) + 0 * (int)town->pings;
}

static int town_entry(struct strait_isolate *isolate)
{
    static struct town town;
    memset(&town, 0, sizeof(town));
    town.listens = *(const int *)strait_isolate_data(isolate);
    EXPECT(uv_loop_init(&town.loop) == 0);
    uint64_t port = (uint64_t)echo_listen(&town.echo, &town.loop);
    town.handle.data = &town;
    town.caller.done = worker_called;
    EXPECT(strait_uv_isolate_start(&town.loop, &town.handle, isolate, worker_message, &town,
                                   worker_ended) == 0);
    caller_start(&town.caller, &town.loop, town.listens);
    metronome_start(&town.metronome, &town.loop);
    EXPECT(strait_send(&strait_isolate_port(isolate)->sender, &port, 1, STRAIT_FOREVER) == 1);
    EXPECT(uv_run(&town.loop, UV_RUN_DEFAULT) == 0);
    EXPECT(uv_loop_close(&town.loop) == 0);
    EXPECT(town.called);
    EXPECT(town.echo.echoed == ECHOES);
    EXPECT(town.pings == PINGS - 1);
    EXPECT(town.metronome.turns > 0);
    return town.handle.status;
}

static void tcp_timers_and_messages_share_both_loops(void **state)
{
    (void)state;
    static struct town town;
    struct census before = census_take();
    memset(&town, 0, sizeof(town));
    loop_open(&town.loop);
    int port = echo_listen(&town.echo, &town.loop);
    struct tenant_options options = {
        .entry = town_entry,
        .data = &port,
        .data_size = sizeof(port),
        .to_worker = {.receiver = STRAIT_WAIT_FD},
        .event = parent_event,
        .context = &town,
    };
    town.worker = spawn_tenant(&options);
    town.handle.data = town.worker;
    town.caller.done = parent_called;
    closes = 0;
    assert_int_equal(strait_uv_worker_start(&town.loop, &town.handle, town.worker, worker_at_end),
                     0);
    metronome_start(&town.metronome, &town.loop);
    loop_close(&town.loop);
    assert_int_equal(closes, 1);
    assert_int_equal(town.pings, PINGS);
    assert_int_equal(town.caller.heard, ECHOES);
    assert_int_equal(town.echo.echoed, ECHOES);
    assert_true(town.metronome.turns > 0);
    assert_census(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(all_messages_come_before_the_exit),
        life_test(any_budget_sees_the_end),
        life_test(a_backlog_leaves_the_timers_running),
        life_test(a_parent_sleeps_when_nothing_happens),
        life_test(a_close_in_a_callback_is_the_last_one),
        life_test(an_unreferenced_handle_keeps_no_loop),
        life_test(what_cannot_be_watched_is_refused),
        life_test(completions_run_in_the_loop),
        life_test(an_idle_pool_is_shut_down),
        life_test(a_drain_turns_into_a_cancel),
        life_test(a_pool_outlives_its_handle),
        life_test(an_unreferenced_pool_keeps_no_loop),
        life_test(a_pools_parent_sleeps_when_no_task_is_done),
        life_test(a_port_is_read_to_its_end),
        life_test(a_receiver_outlives_its_handle),
        life_test(a_receiver_that_parks_is_refused),
        life_test(a_handler_may_receive_the_next_message),
        life_test(a_handler_closes_its_handle),
        life_test(a_handler_closes_its_receiver),
        life_test(a_receiver_sleeps_when_it_has_nothing),
        life_test(microtasks_follow_their_message),
        life_test(a_handler_ends_its_loop),
        life_test(a_worker_in_its_loop_is_stopped),
        life_test(a_worker_that_sleeps_in_its_loop_is_stopped),
        life_test(a_backlog_leaves_the_workers_timers_running),
        life_test(a_worker_sleeps_when_it_has_nothing),
        life_test(a_loop_that_sleeps_is_idle),
        life_test(tcp_timers_and_messages_share_both_loops),
    };
    uv_loop_t first; /* opens what libuv keeps open */
    if (uv_loop_init(&first) != 0 || uv_loop_close(&first) != 0) {
        return EXIT_FAILURE;
    }
    watchdog_start();
    return cmocka_run_group_tests_name("uv", tests, NULL, NULL);
}
