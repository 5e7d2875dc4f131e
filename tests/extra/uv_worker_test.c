/* SPDX-License-Identifier: MIT */
/* uv: workers and receivers on their parent's loop. */
#include "extra/uv_fixture.h"

static uv_loop_t loop;
static struct strait_uv_handle handle;

/* ---- a worker's events ---- */

static struct tenant tenant;
static uint64_t numbers; /* that it sends */
static int code;         /* and its result */

ENTRY(sends_numbers)
{
    for (uint64_t i = 0; i < numbers; i++) {
        post(strait_isolate_port(isolate), i);
    }
    return code;
}

static void tenant_at_close(struct strait_uv_handle *closed)
{
    tenant_free(closed->data);
    count_close(closed);
}

static void close_at_end(struct strait_uv_handle *ended)
{
    EXPECT(!strait_uv_is_active(ended));
    EXPECT(ended->status == 0);
    EXPECT(strait_uv_close(ended, tenant_at_close) == 0);
}

static void worker_spawn(strait_isolate_fn *entry, uint64_t count)
{
    tenant = (struct tenant){.inner = {.entry = entry},
                             .outer = {.to_parent = {.capacity = (size_t)count + 1}}};
    numbers = count;
    code = 0;
    closes = 0;
    handle.data = &tenant;
    assert_int_equal(uv_loop_init(&loop), 0);
}

static void worker_watch(struct strait_uv_handle *by, strait_uv_fn *ended)
{
    assert_int_equal(strait_uv_worker_start(&loop, by, tenant.worker, ended), 0);
    assert_true(strait_uv_is_active(by));
}

static struct metronome metronome;

static void note_event(struct strait_worker *worker, const struct strait_event *event,
                       void *context)
{
    log_event(worker, event, context);
    metronome_note(&metronome);
    if (event->type == STRAIT_EXIT) {
        metronome_stop(&metronome);
    }
}

/* All comes before the exit, wherever the budget ends, even with the exit event. A backlog leaves
 * the loop its turns. */
TEST(a_budget_bounds_what_comes_in_one_turn)
{
    for (size_t budget = 0; budget <= 8; budget++) {
        worker_spawn(sends_numbers, budget ? 3 : 20000);
        tenant.outer.event = note_event;
        code = budget ? 7 : 0;
        tenant_spawn(&tenant);
        assert_int_equal(strait_worker_join(tenant.worker, STRAIT_FOREVER), 0); /* all is waiting */
        worker_watch(&handle, close_at_end);
        handle.budget = budget ? budget : handle.budget;
        metronome_start(&metronome, &loop);
        loop_finish(&loop);
        assert_int_equal(closes, 1);
        assert_int_equal(tenant.log.messages, numbers);
        assert_string_equal(tenant.log.events, code ? "omex" : "omx");
        assert_int_equal(tenant.log.exit.code, code);
        assert_int_equal(tenant.log.thread, thread_number());
        assert_int_equal(metronome.most, strait_min(handle.budget, code ? 6 : 20002));
    }
}

/* And an unreferenced handle keeps no loop. */
TEST(a_parent_sleeps_when_nothing_happens)
{
    worker_spawn(NULL, 0);
    tenant.inner.message = echo;
    tenant_spawn(&tenant);
    worker_watch(&handle, close_at_end);
    for (uint64_t i = 0; i < 20; i++) {
        loop_falls_asleep(&loop);
        assert_int_equal(tenant.log.messages, i);
        assert_false(readable(strait_worker_fd(tenant.worker), 0));
        tenant_post(&tenant, i, i + 1);
        loop_sleeps(&loop);
    }
    assert_true(strait_uv_has_ref(&handle));
    strait_uv_unref(&handle);
    assert_false(strait_uv_has_ref(&handle));
    assert_true(strait_uv_is_active(&handle));
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* returns, though the worker lives */
    assert_string_equal(tenant.log.events, "om");
    strait_uv_ref(&handle);
    assert_int_not_equal(uv_loop_alive(&loop), 0);
    tenant_close(&tenant);
    loop_finish(&loop);
    assert_string_equal(tenant.log.events, "omx");
}

static size_t close_at; /* the number of the event: online, ten messages, exit */
static size_t event;

static void close_event(struct strait_worker *worker, const struct strait_event *what,
                        void *context)
{
    log_event(worker, what, context);
    EXPECT(event != close_at + 1 || closes == 1);
    if (event == close_at) {
        EXPECT(strait_uv_close(&handle, count_close) == 0);
        EXPECT(strait_uv_close(&handle, count_close) == -EALREADY);
        EXPECT(strait_uv_is_closing(&handle));
    }
    event++;
}

static void never(struct strait_uv_handle *ended)
{
    EXPECT(ended == NULL);
}

/* What was not delivered is: by a second handle. */
TEST(a_close_in_a_callback_is_the_last_one)
{
    for (close_at = 0; close_at < 12; close_at++) {
        struct strait_uv_handle second = {.data = &tenant};
        worker_spawn(sends_numbers, 10);
        tenant.outer.event = close_event;
        event = 0;
        tenant_spawn(&tenant);
        worker_watch(&handle, never);
        assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
        assert_int_equal(event, close_at + 1);
        assert_int_equal(closes, 1);
        assert_int_equal(strait_uv_close(&handle, count_close), -EALREADY);
        worker_watch(&second, close_at_end);
        loop_finish(&loop);
        assert_int_equal(closes, 2);
        assert_string_equal(tenant.log.events, "omx");
        assert_int_equal(tenant.log.messages, 10);
    }
}

static void ends_without_events(struct strait_uv_handle *ended)
{
    EXPECT(ended->status == -EINVAL);
    EXPECT(strait_uv_close(ended, NULL) == 0);
}

TEST(what_cannot_be_watched_is_refused)
{
    struct strait_worker_options parking = {.entry = nothing_entry,
                                            .to_parent = {.receiver = STRAIT_WAIT_PARK}};
    struct strait_worker *parks = spawn(&parking);
    struct strait_worker *polls = spawn_entry(nothing_entry, NULL);
    struct strait_receiver *receiver = &strait_worker_port(parks)->receiver;
    struct strait_uv_handle second;
    worker_spawn(NULL, 0);
    assert_int_equal(strait_uv_worker_start(&loop, &handle, parks, NULL), -EINVAL);
    assert_int_equal(strait_uv_receiver_start(&loop, &handle, receiver, NULL, NULL), -EINVAL);
    assert_int_equal(strait_uv_worker_start(&loop, &handle, polls, ends_without_events), 0);
    assert_int_equal(strait_uv_worker_start(&loop, &second, polls, NULL), -EEXIST);
    loop_finish(&loop);
    join_and_destroy(parks);
    join_and_destroy(polls);
}

/* ---- a port's receiver ---- */

enum closing { NOTHING, HANDLE, RECEIVER };

static struct strait_port a;
static struct strait_port b;
static uint64_t next;
static unsigned ended;

static void end_stream(struct strait_uv_handle *stream)
{
    EXPECT(stream->status == 0);
    ended++;
    EXPECT(strait_uv_close(stream, count_close) == 0);
}

static void take_next(struct strait_uv_handle *stream, const void *message)
{
    EXPECT(number_of(message) == next);
    EXPECT(!strait_uv_is_closing(stream));
    next++;
    progress_made();
}

static void stream_start(strait_uv_message_fn *message)
{
    const struct strait_port_options options = {
        .back = {.capacity = 64, .receiver = STRAIT_WAIT_FD},
        .drop_back = log_drop,
        .context = &tenant.log,
    };
    closes = 0;
    ended = 0;
    next = 0;
    tenant.log.dropped = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(strait_port_pair(&a, &b, &options), 0);
    assert_int_equal(strait_uv_receiver_start(&loop, &handle, &a.receiver, message, end_stream), 0);
}

static enum closing closing; /* at the message `close_at` */

/* Takes every second message by itself until then. */
static void take_two(struct strait_uv_handle *stream, const void *message)
{
    uint64_t number = next;
    take_next(stream, message);
    if (number != close_at) {
        EXPECT(strait_try_receive(&a.receiver, &number, 1) == 1);
        EXPECT(number == next);
        next++;
    } else if (closing == HANDLE) {
        EXPECT(strait_uv_close(stream, count_close) == 0);
    } else {
        strait_receiver_close(&a.receiver);
        EXPECT(strait_try_receive(&a.receiver, &number, 1) == -EPIPE);
    }
    EXPECT(number_of(message) == (next - 1) / 2 * 2); /* it is still there */
}

/* 50 messages, of which so many are `handled`; is another left to be received? */
static void handle_and_close(enum closing what, uint64_t at, uint64_t handled, bool another)
{
    const uint64_t count = 50;
    uint64_t number;
    closing = what;
    close_at = at;
    stream_start(take_two);
    for (uint64_t i = 0; i < count; i++) {
        post(&b, i);
    }
    strait_port_close(&b);
    loop_finish(&loop);
    assert_int_equal(next, handled);
    assert_int_equal(closes, 1);
    assert_int_equal(ended, what != HANDLE);
    assert_int_equal(strait_try_receive(&a.receiver, &number, 1), another ? 1 : -EPIPE);
    strait_port_close(&a);
    assert_int_equal(tenant.log.dropped, count - handled - another);
}

TEST(a_handler_may_receive_and_close)
{
    handle_and_close(NOTHING, 50, 50, false);
    for (uint64_t at = 0; at < 50; at += 8) {
        handle_and_close(HANDLE, at, at + 1, true);
        handle_and_close(RECEIVER, at, at + 1, false);
    }
}

TEST(a_receiver_sleeps_when_it_has_nothing)
{
    stream_start(take_next);
    loop_falls_asleep(&loop);
    for (uint64_t i = 0; i < 20; i++) {
        post(&b, i);
        loop_sleeps(&loop);
        loop_falls_asleep(&loop);
        assert_int_equal(next, i + 1);
        assert_false(readable(strait_receiver_fd(&a.receiver), 0));
    }
    strait_port_close(&b);
    loop_finish(&loop);
    assert_int_equal(ended, 1);
    strait_port_close(&a);
}
