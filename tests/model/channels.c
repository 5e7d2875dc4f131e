/* SPDX-License-Identifier: MIT */
/* Channels as they ship, waiting and closing included: wait.c and channel.c, with the kernel
 * replaced by the checker's. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "strait/sync.h"

#define STRAIT_PRIVATE /* waiting.c has what they stand on */
#define memcpy model_copy

#include "strait/channel.h"

#include "channel/channel.c"
#include "channel/endpoint.c"

/* ---- the tests' own ---- */

#define SENDERS 2
#define IDLE_MAX 3

/* What a channel is beyond its plan; its sides park but for FD. */
enum how {
    FD = 1,
    FENCED = 2, /* as if it had been opened where there is no membarrier */
    FULL = 4,   /* so that no sender finds room */
    CANCEL = 8, /* all wait with a cancel flag */
    TOLD = 16,  /* the receiver is told, by a mark in a channel of its own, as one of a set is */
};

static STRAIT_LINE_ALIGNED char block[32 * STRAIT_LINE];
static STRAIT_LINE_ALIGNED char marks_block[16 * STRAIT_LINE];
static struct strait_channel *marks; /* of one message: it is marked once at a time */
static struct strait_sender marker;
static struct strait_receiver marked;
static struct strait_channel *channel;
static struct strait_sender sender[SENDERS];
static struct strait_receiver receiver;
static struct strait_variant spied; /* the channel's variant, with blind spots */
static uint32_t sent[SENDERS];      /* what was accepted */
static uint32_t cancel;
static uint64_t note; /* plain memory, written before the flag is set */

static size_t spied_peek(void *ring, size_t n, struct strait_span *span)
{
    return waiting_looks_away() ? 0 : strait_variant_at(channel->variant)->peek(ring, n, span);
}

static bool spied_has_room(void *end)
{
    return !waiting_looks_away() && strait_variant_at(channel->variant)->has_room(end);
}

static void spy(struct strait_p_handle *handle)
{
    spied = *handle->variant;
    spied.peek = spied_peek;
    spied.has_room = spied_has_room;
    handle->variant = &spied;
    handle->spin_ns = 0; /* sleeps at once */
}

static void open_sender(int i)
{
    model_assert(strait_sender_open(&sender[i], channel) == 0);
    spy(&sender[i].handle);
}

static void use_fences(void)
{
    channel->between = STRAIT_P_FENCES;
    for (int i = 0; i < SENDERS; i++) {
        sender[i].handle.between = STRAIT_P_FENCES;
        sender[i].handle.direct = NULL;
    }
    receiver.handle.between = STRAIT_P_FENCES;
    receiver.handle.direct = NULL;
}

static void mark(void *context)
{
    uint64_t nothing = 0;
    (void)context;
    model_assert(strait_try_send(&marker, &nothing, 1) == 1);
}

static void open_marks(void)
{
    const struct strait_channel_options options = {.variant = "cells", .capacity = 1};
    memset(marks_block, 0, sizeof(marks_block));
    model_assert(strait_channel_init(&marks, marks_block, sizeof(marks_block), &options) == 0);
    model_assert(strait_sender_open(&marker, marks) == 0);
    model_assert(strait_receiver_open(&marked, marks) == 0);
    marked.handle.spin_ns = 0;
    model_assert(strait_receiver_on_ready(&receiver, mark, NULL) == 0);
}

/* The channel of the plan, with its senders open and the receiver. */
static void init(void)
{
    const struct model_plan *plan = model_plan();
    enum strait_wait wait = plan->how & FD ? STRAIT_WAIT_FD : STRAIT_WAIT_PARK;
    struct strait_channel_options options = {
        .variant = plan->variant,
        .capacity = plan->capacity,
        .senders = strcmp(plan->variant, "lanes") == 0 ? SENDERS : 1,
        .sender = wait,
        .receiver = wait,
    };
    memset(block, 0, sizeof(block));
    waiting_begin();
    memset(sent, 0, sizeof(sent));
    forget_received();
    cancel = 0;
    note = 0;
    model_assert(strait_channel_init(&channel, block, sizeof(block), &options) == 0);
    for (int i = 0; i < (int)plan->senders; i++) {
        open_sender(i);
    }
    model_assert(strait_receiver_open(&receiver, channel) == 0);
    spy(&receiver.handle);
    if (plan->how & FENCED) {
        use_fences();
    }
    if (plan->how & CANCEL) {
        strait_receiver_cancel_on(&receiver, &cancel);
        strait_sender_cancel_on(&sender[0], &cancel);
        strait_sender_cancel_on(&sender[1], &cancel);
    }
    if (plan->how & TOLD) {
        open_marks();
    }
    if (plan->how & FULL) {
        uint64_t m = message(0, sent[0]++);
        model_assert(strait_try_send(&sender[0], &m, 1) == 1);
    }
}

/* ---- threads ---- */

/* Thread i is sender i: sends all, until closed. */
static void send(void)
{
    int self = model_self();
    while (sent[self] < model_plan()->messages) {
        uint64_t m = message(self, sent[self]);
        ptrdiff_t n = strait_send(&sender[self], &m, 1, STRAIT_FOREVER);
        if (n < 0) {
            model_assert(n == -EPIPE || n == -ECANCELED);
            return;
        }
        sent[self]++;
    }
}

static void send_close(void)
{
    send();
    strait_sender_close(&sender[model_self()]);
}

/* Receives so many at most. What else ended it, or 0. */
static int receive(uint32_t most, int64_t deadline)
{
    while (messages_received() < most) {
        uint64_t m;
        ptrdiff_t n = strait_receive(&receiver, &m, 1, deadline);
        if (n < 0) {
            return (int)n;
        }
        receive_message(m);
    }
    return 0;
}

static void receive_all(void)
{
    model_assert(receive(MESSAGES_MOST, STRAIT_FOREVER) == -EPIPE);
}

/* Never sleeps. */
static void poll_all(void)
{
    for (;;) {
        uint64_t m;
        ptrdiff_t n = strait_try_receive(&receiver, &m, 1);
        if (n == -EPIPE) {
            return;
        }
        if (n > 0) {
            receive_message(m);
        } else {
            model_pause_unless_news();
        }
    }
}

static void receive_one(void)
{
    receive(1, STRAIT_FOREVER);
    strait_receiver_close(&receiver);
}

static void close_now(void)
{
    strait_receiver_close(&receiver);
}

static void until_deadline(void)
{
    int error = receive(MESSAGES_MOST, 1000000000000);
    model_assert(error == -EPIPE || error == -ETIMEDOUT);
    strait_receiver_close(&receiver);
}

static void until_cancelled(void)
{
    model_assert(receive(MESSAGES_MOST, STRAIT_FOREVER) == -ECANCELED);
    model_plain_read(&note, sizeof(note));
}

static void cancel_all(void)
{
    model_plain_write(&note, sizeof(note));
    strait_store_release(&cancel, 1);
    strait_channel_wake(channel);
}

/* An event loop: drains, arms, polls. The poll may return for nothing once for each write to the
 * fd that came late, and no more: an fd that stays readable burns the CPU. */
static void loop(void)
{
    uint32_t before = 0;
    for (int idle = 0;; idle++) {
        uint64_t m;
        ptrdiff_t n;
        while ((n = strait_try_receive(&receiver, &m, 1)) > 0) {
            receive_message(m);
        }
        if (n == -EPIPE) {
            return;
        }
        idle = messages_received() > before ? 0 : idle;
        before = messages_received();
        model_assert(idle <= IDLE_MAX);
        if (strait_receiver_arm(&receiver) == 1) {
            waiting_poll(strait_receiver_fd(&receiver));
        }
    }
}

/* A set of one member, that sleeps where its marks are. */
static void receive_told(void)
{
    struct strait_receiver *const one = &receiver;
    for (;;) {
        uint64_t m;
        bool armed = false;
        ptrdiff_t n;
        while ((n = strait_try_receive(&receiver, &m, 1)) > 0) {
            receive_message(m);
        }
        if (n == -EPIPE) {
            return;
        }
        strait_receivers_arm(&one, 1, &armed);
        if (armed) {
            model_assert(strait_receive(&marked, &m, 1, STRAIT_FOREVER) == 1);
        }
    }
}

/* The same for a sender. */
static void send_loop(void)
{
    while (sent[0] < model_plan()->messages) {
        uint64_t m = message(0, sent[0]);
        if (strait_try_send(&sender[0], &m, 1) > 0) {
            sent[0]++;
        } else if (strait_sender_arm(&sender[0]) == 1) {
            waiting_poll(strait_sender_fd(&sender[0]));
        }
    }
    strait_sender_close(&sender[0]);
}

/* Opens while the other sender may be closing the side. */
static void open_late(void)
{
    int self = model_self();
    int error = strait_sender_open(&sender[self], channel);
    if (error) {
        model_assert(error == -EPIPE);
        return;
    }
    spy(&sender[self].handle);
    send_close();
}

/* ---- what must hold at the end ---- */

static void drop(void *m, void *context)
{
    (void)context;
    uint64_t value;
    memmove(&value, m, sizeof(value));
    receive_message(value);
}

/* Each message accepted was received or dropped. */
static void check(void)
{
    strait_channel_destroy(channel, drop, NULL);
    check_received(sent, SENDERS);
}

/* The receiver was told that nothing is left: so nothing is. */
static void drained(void)
{
    uint32_t before = messages_received();
    check();
    model_assert(messages_received() == before);
}

/* Threads; the plans: variant, capacity, senders, messages of each, how. */
#define TWO(NAME, A, B, CHECK, SWITCHES, STALE, ...)                                               \
    {                                                                                              \
        NAME, init, {A, B}, CHECK, SWITCHES, STALE,                                                \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define THREE(NAME, A, B, C, CHECK, ...)                                                           \
    {                                                                                              \
        NAME, init, {A, B, C}, CHECK, 2, 1,                                                        \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

const struct model_test channel_tests[] = {
    TWO("park", send_close, receive_all, drained, 2, 2, "spsc", 1, 1, 2),
    TWO("park, fenced", send_close, receive_all, drained, 2, 2, "spsc", 1, 1, 2, FENCED),
    TWO("park, capacity 2", send_close, receive_all, drained, 2, 1, "spsc", 2, 1, 3),
    TWO("park, closed at once", send_close, close_now, check, 0, 0, "spsc", 1, 1, 2),
    TWO("park, closed", send_close, receive_one, check, 2, 2, "spsc", 1, 1, 2),
    THREE("park, cancel", send, until_cancelled, cancel_all, check, "spsc", 1, 1, 1, CANCEL),
    THREE("cells, full, closed", send, send, close_now, check, "cells", 1, 2, 2, FULL),
    THREE("cells, full, cancelled", send, send, cancel_all, check, "cells", 1, 2, 2, FULL | CANCEL),
    THREE("lanes, two close", send_close, send_close, poll_all, drained, "lanes", 1, 2, 1),
    TWO("fd", send_close, receive_all, drained, 2, 2, "spsc", 1, 1, 2, FD),
    TWO("fd, loop", send_close, loop, drained, 3, 2, "spsc", 1, 1, 1, FD),
    TWO("fd, loops", send_loop, loop, drained, 2, 2, "spsc", 1, 1, 2, FD),
    TWO("fd, loops, fenced", send_loop, loop, drained, 2, 2, "spsc", 1, 1, 2, FD | FENCED),
    TWO("park, polled", send_close, poll_all, drained, 2, 1, "spsc", 1, 1, 2),
    TWO("park, deadline", send_close, until_deadline, check, 2, 1, "spsc", 1, 1, 2),
    THREE("cells, closed", send_close, send_close, receive_one, check, "cells", 1, 2, 1),
    TWO("line, park", send_close, receive_all, drained, 2, 2, "line", 2, 1, 3),
    THREE("lanes, park", send_close, send_close, receive_all, drained, "lanes", 1, 2, 1),
    THREE("lanes, late", send_close, open_late, poll_all, drained, "lanes", 1, 1, 1),
    TWO("told", send_close, receive_told, drained, 2, 2, "spsc", 1, 1, 2, TOLD),
    TWO("told, fenced", send_close, receive_told, drained, 2, 1, "spsc", 1, 1, 2, TOLD | FENCED),
    THREE("told, lanes", send_close, send_close, receive_told, drained, "lanes", 1, 2, 1, TOLD),
    THREE("told, cells", send_close, send_close, receive_told, drained, "cells", 1, 2, 1, TOLD),
    THREE("cells, park", send_close, send_close, receive_all, drained, "cells", 1, 2, 1),
    {0},
};
