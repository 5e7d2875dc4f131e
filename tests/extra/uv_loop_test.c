/* SPDX-License-Identifier: MIT */
/* uv: a worker's own loop takes its parent's messages. */
#include "extra/uv_fixture.h"

#include <sys/socket.h>

/* The worker's, while it lives. */
static uv_loop_t loop;
static struct strait_uv_handle handle;
static struct metronome metronome;
static struct gate gate;
static int answer; /* of the handler, for the message 4 */
static int status; /* of the handle, in the end */
static strait_message_fn *handler;

/* Its memory is ours again. */
static void forget(struct strait_uv_handle *closed)
{
    count_close(closed);
    status = closed->status;
    memset(closed, 0xa5, sizeof(*closed));
}

static void close_handle(struct strait_uv_handle *ended)
{
    EXPECT(!strait_uv_is_active(ended));
    EXPECT(strait_uv_close(ended, forget) == 0);
}

static void close_all(struct strait_uv_handle *ended)
{
    metronome_stop(&metronome);
    close_handle(ended);
}

static void loop_start(struct strait_isolate *isolate, strait_uv_fn *ended)
{
    EXPECT(uv_loop_init(&loop) == 0);
    EXPECT(strait_uv_isolate_start(&loop, &handle, isolate, handler, NULL, ended) == 0);
    strait_uv_unref(&handle);
    EXPECT(!uv_loop_alive(&loop)); /* nor does anything else of it keep a loop */
    strait_uv_ref(&handle);
}

/* The entry: beside the messages a handle that never stops by itself. */
ENTRY(ticking_entry)
{
    gate_wait(&gate);
    loop_start(isolate, close_all);
    metronome_start(&metronome, &loop);
    loop_finish(&loop);
    EXPECT(closes == 1);
    return status;
}

/* Waits at its gate, if it has one. */
static struct tenant loop_spawn(strait_isolate_fn *entry, strait_message_fn *message)
{
    diary[0] = 0;
    memset(&gate, 0, sizeof(gate));
    closes = 0;
    handler = message;
    return (struct tenant){
        .inner = {.entry = entry},
        .outer = {.to_worker = {.receiver = STRAIT_WAIT_FD, .capacity = 1 << 16}},
    };
}

HANDLER(answers_four)
{
    EXPECT(note_message(isolate, message, NULL) == 0);
    return number_of(message) == 4 ? answer : 0;
}

TEST(a_loop_ends_with_its_parent_a_handler_or_a_stop)
{
    static const struct {
        uint64_t messages;
        int answer;
        bool stopped;
        int code;
        const char *text;
    } cases[] = {
        {3, 0, false, 0, "m0 u0 m1 u1 m2 u2"},
        {8, 23, false, 23, "m0 u0 m1 u1 m2 u2 m3 u3 m4 u4"},
        {8, 0, true, -ECANCELED, ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tenant tenant = loop_spawn(ticking_entry, answers_four);
        answer = cases[i].answer;
        tenant_spawn(&tenant);
        tenant_post(&tenant, 0, cases[i].messages);
        tenant_close(&tenant);
        if (cases[i].stopped) {
            strait_worker_stop(tenant.worker);
        }
        gate_open(&gate);
        tenant_end(&tenant);
        assert_string_equal(diary, cases[i].text);
        assert_int_equal(tenant.log.exit.code, cases[i].code);
    }
}

ISOLATE_TEST(a_receiver_that_parks_is_refused, .heap_limit = 0)
{
    EXPECT(uv_loop_init(&loop) == 0);
    EXPECT(strait_uv_isolate_start(&loop, &handle, isolate, ignore, NULL, NULL) == -EINVAL);
    EXPECT(uv_loop_close(&loop) == 0);
    return 0;
}

/* ---- sleep ---- */

static int sockets[2]; /* the parent's, the worker's */
static uv_poll_t socket_poll;
static struct gate at_work[3]; /* a message, and two bytes from the socket */
static unsigned works;

HANDLER(work_message)
{
    gate_wait(&at_work[works++]);
    return 0;
}

static void work_socket(uv_poll_t *ready, int status, int events)
{
    char byte;
    EXPECT(status == 0 && read(sockets[1], &byte, 1) == 1);
    gate_wait(&at_work[works++]);
    if (works == COUNT(at_work)) {
        uv_close((uv_handle_t *)ready, NULL);
        EXPECT(strait_uv_close(&handle, forget) == 0);
    }
}

ENTRY(working_entry)
{
    loop_start(isolate, close_handle);
    EXPECT(uv_poll_init(&loop, &socket_poll, sockets[1]) == 0);
    EXPECT(uv_poll_start(&socket_poll, UV_READABLE, work_socket) == 0);
    loop_finish(&loop);
    return 0;
}

/* What a worker has done while its parent slept for 2 ms. */
static struct strait_usage usage_of_a_while(const struct tenant *tenant)
{
    struct strait_usage before = usage_of(tenant);
    sleep_ns(2000000);
    struct strait_usage after = usage_of(tenant);
    after.online_ns -= before.online_ns;
    after.idle_ns -= before.idle_ns;
    return after;
}

/* Asleep in uv_run, it is idle all the time, once it has come there. */
static void await_idleness(const struct tenant *tenant)
{
    struct strait_usage usage;
    do {
        usage = usage_of_a_while(tenant);
    } while (usage.idle_ns != usage.online_ns);
    progress_made();
}

/* In a message's handler it is active; so it is in the callback of another handle, which is known
 * when that has returned. */
TEST(a_loop_that_sleeps_is_idle)
{
    struct tenant tenant = loop_spawn(working_entry, work_message);
    int64_t held = 0;
    memset(at_work, 0, sizeof(at_work));
    works = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    tenant_spawn(&tenant);
    for (size_t i = 0; i < COUNT(at_work); i++) {
        await_idleness(&tenant);
        if (i == 0) {
            tenant_post(&tenant, 0, 1);
        } else {
            assert_int_equal(write(sockets[0], "", 1), 1);
        }
        gate_await(&at_work[i], 1);
        struct strait_usage usage = usage_of_a_while(&tenant);
        assert_true(i > 0 || usage.idle_ns == 0);
        held += usage.online_ns;
        gate_open(&at_work[i]);
    }
    dispatch_to_exit(tenant.worker);
    struct strait_usage usage = usage_of(&tenant);
    assert_true(usage.online_ns - usage.idle_ns >= held);
    assert_true(usage.idle_ns > 0);
    tenant_free(&tenant);
    close(sockets[0]);
    close(sockets[1]);
}
