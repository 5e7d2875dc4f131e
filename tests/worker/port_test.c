/* SPDX-License-Identifier: MIT */
/* port: two-way links, their halves, what becomes of what nobody received, and what says -EDEADLK.
 */
#include "worker/fixture.h"

/* What the calls that may wait, a little, say of both halves. */
static void expect_waits(struct strait_port *port, int64_t deadline, int answer)
{
    uint64_t number = 0;
    assert_returns(strait_send(&port->sender, &number, 1, deadline), answer);
    assert_returns(strait_send_wait(&port->sender, deadline), answer);
    assert_returns(strait_receive(&port->receiver, &number, 1, deadline), answer);
    assert_returns(strait_receive_wait(&port->receiver, deadline), answer);
}

/* ---- options ---- */

TEST(directions_have_options_of_their_own)
{
    struct strait_port a;
    struct strait_port b;
    struct strait_port_options options = {
        .forth = {.variant = "cells", .capacity = 3, .message_size = 5},
        .back = {.variant = "lanes", .senders = 2, .receiver = STRAIT_WAIT_FD, .message_size = 9},
    };
    char message[16] = "abcdefgh";
    char received[16] = {0};
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    assert_returns(strait_try_send(&a.sender, message, 1), 1);
    assert_returns(strait_try_receive(&b.receiver, received, 1), 1);
    assert_memory_equal(received, "abcde\0", 6);
    assert_returns(strait_try_send(&b.sender, message, 1), 1);
    assert_returns(strait_try_receive(&a.receiver, received, 1), 1);
    assert_memory_equal(received, message, 9);
    assert_returns(strait_receiver_fd(&b.receiver), -EINVAL);
    assert_true(strait_receiver_fd(&a.receiver) >= 0);
    /* where a channel may have more senders than the end's, they may send: this is no deadlock */
    assert_returns(strait_receive(&a.receiver, received, 1, strait_deadline(1000)), -ETIMEDOUT);
    assert_returns(strait_receive(&b.receiver, received, 1, strait_deadline(1000)), -ETIMEDOUT);
    strait_port_close(&b);
    strait_port_close(&a);
}

/* None at all, and all zero in a newer struct: 1024 pointers. What is refused pool/misuse_test
 * tells.
 */
TEST(a_port_needs_no_options)
{
    struct strait_port a;
    struct strait_port b;
    void *message = &a;
    struct {
        struct strait_port_options options;
        char tail[16];
    } newer = {.options = {.size = sizeof(newer)}, .tail = {0}};
    for (int i = 0; i < 2; i++) {
        assert_returns(strait_port_pair(&a, &b, i ? &newer.options : NULL), 0);
        for (int sent = 0; sent < 1024; sent++) {
            assert_returns(strait_try_send(&a.sender, &message, 1), 1);
        }
        assert_returns(strait_try_send(&a.sender, &message, 1), -EAGAIN);
        strait_port_close(&a);
        strait_port_close(&b);
    }
}

/* ---- closing ---- */

#define BATCH 3

/* One direction, as a test expects it to be. */
struct direction {
    struct strait_sender *sender;
    struct strait_receiver *receiver;
    bool sending;
    bool receiving;
    uint64_t next;    /* of the messages sent */
    uint64_t queued;  /* of them, not received */
    unsigned dropped; /* of them, never to be received */
    uint64_t sum;     /* of the numbers dropped */
};

static void expect_answers(struct direction *way)
{
    uint64_t number = 0;
    struct strait_span span;
    ptrdiff_t sent = strait_try_send(way->sender, &way->next, 1);
    assert_int_equal(sent, way->sending && way->receiving ? 1 : -EPIPE);
    way->next += sent == 1;
    way->queued += sent == 1;
    if (!way->receiving) {
        assert_int_equal(strait_try_receive(way->receiver, &number, 1), -EPIPE);
        assert_int_equal(strait_send(way->sender, &number, 1, STRAIT_FOREVER), -EPIPE);
        return;
    }
    if (way->queued) {
        assert_int_equal(strait_receive(way->receiver, &number, 1, STRAIT_FOREVER), 1);
        assert_int_equal(number, way->next - way->queued);
        way->queued--;
    }
    if (!way->sending) {
        assert_int_equal(strait_peek(way->receiver, 1, &span), way->queued ? 1 : -EPIPE);
    }
}

static void close_in_order(const unsigned *order)
{
    struct pair pair;
    pair_open(&pair, 16, STRAIT_WAIT_DEFAULT);
    struct direction ways[2] = {
        {&pair.a.sender, &pair.b.receiver, true, true, BATCH, BATCH, 0, 0},
        {&pair.b.sender, &pair.a.receiver, true, true, BATCH, BATCH, 0, 0},
    };
    send_numbers(&pair.a, 0, BATCH);
    send_numbers(&pair.b, 0, BATCH);
    for (unsigned i = 0; i < 4; i++) {
        struct direction *way = &ways[order[i] / 2];
        if (order[i] % 2) {
            strait_sender_close(way->sender);
            way->sending = false;
        } else {
            strait_receiver_close(way->receiver);
            way->receiving = false;
            way->dropped = (unsigned)way->queued;
            way->sum = way->queued * way->next - way->queued * (way->queued + 1) / 2;
        }
        expect_answers(&ways[0]);
        expect_answers(&ways[1]);
    }
    assert_int_equal(pair.forth + pair.back, 0);
    pair_close(&pair, order[0] % 2, ways[0].dropped, ways[1].dropped);
    assert_int_equal(pair.sum, ways[0].sum + ways[1].sum);
}

TEST(halves_close_in_every_order)
{
    for (unsigned i = 0; i < 256; i++) {
        const unsigned order[4] = {i & 3, i >> 2 & 3, i >> 4 & 3, i >> 6 & 3};
        if ((1u << order[0] | 1u << order[1] | 1u << order[2] | 1u << order[3]) == 15) {
            close_in_order(order);
        }
    }
}

/* ---- closing across threads ---- */

struct errand {
    struct pair pair; /* the other thread has b */
    _Atomic unsigned arrived;
    uint32_t cancel; /* the other thread's calls */
    ptrdiff_t result;
};

static void take_b(struct errand *errand)
{
    strait_port_adopt(&errand->pair.b);
    strait_sender_cancel_on(&errand->pair.b.sender, &errand->cancel);
    strait_receiver_cancel_on(&errand->pair.b.receiver, &errand->cancel);
}

static void *blocked_receive(void *context)
{
    struct errand *errand = context;
    uint64_t number;
    take_b(errand);
    atomic_fetch_add(&errand->arrived, 1);
    errand->result = strait_receive(&errand->pair.b.receiver, &number, 1, STRAIT_FOREVER);
    return NULL;
}

static void *blocked_send(void *context)
{
    struct errand *errand = context;
    const uint64_t numbers[4] = {0};
    take_b(errand);
    EXPECT(strait_send(&errand->pair.b.sender, numbers, 4, STRAIT_FOREVER) == 4);
    atomic_fetch_add(&errand->arrived, 1);
    errand->result = strait_send(&errand->pair.b.sender, numbers, 1, STRAIT_FOREVER);
    return NULL;
}

static void *send_and_close(void *context)
{
    struct errand *errand = context;
    const uint64_t numbers[3] = {1, 2, 3};
    take_b(errand);
    EXPECT(strait_try_send(&errand->pair.b.sender, numbers, 3) == 3);
    gate_pass(&errand->arrived, 2);
    strait_port_close(&errand->pair.b);
    errand->result = -EPIPE;
    return NULL;
}

enum deed { CLOSE, CLOSE_SENDER, CLOSE_RECEIVER, CANCEL };

/* What one thread does while the other has the other end. */
static const struct meeting {
    void *(*body)(void *);
    enum deed deed;
    ptrdiff_t result;
    unsigned forth; /* dropped in the end */
    unsigned back;
} meetings[] = {
    {blocked_receive, CLOSE, -EPIPE, 0, 0},       {blocked_receive, CLOSE_SENDER, -EPIPE, 0, 0},
    {blocked_receive, CANCEL, -ECANCELED, 0, 0},  {blocked_send, CLOSE, -EPIPE, 0, 4},
    {blocked_send, CLOSE_RECEIVER, -EPIPE, 1, 4}, {blocked_send, CANCEL, -ECANCELED, 0, 4},
    {send_and_close, CLOSE, -EPIPE, 0, 3}, /* one of the two drops and frees */
};

/* Some rounds find the other side on its way to sleep, some asleep. */
static void close_meets(const struct meeting *meeting, size_t round)
{
    struct errand errand = {.cancel = 0};
    struct strait_port *a = &errand.pair.a;
    uint64_t number = 0;
    pthread_t thread;
    pair_open(&errand.pair, 4, STRAIT_WAIT_DEFAULT);
    strait_port_give(&errand.pair.b);
    thread_start(&thread, meeting->body, &errand);
    gate_pass(&errand.arrived, 2);
    dawdle(meeting->body == send_and_close ? 0 : round % 4 * 10000);
    if (meeting->deed == CLOSE) {
        strait_port_close(a);
    } else if (meeting->deed == CLOSE_SENDER) { /* the other direction is as it was */
        strait_sender_close(&a->sender);
        assert_int_equal(strait_try_receive(&a->receiver, &number, 1), -EAGAIN);
    } else if (meeting->deed == CLOSE_RECEIVER) {
        strait_receiver_close(&a->receiver);
        assert_int_equal(strait_try_send(&a->sender, &number, 1), 1);
    } else {
        __atomic_store_n(&errand.cancel, 1, __ATOMIC_RELEASE);
        strait_port_wake(a);
    }
    thread_join(thread);
    assert_int_equal(errand.result, meeting->result);
    pair_close(&errand.pair, round % 2, meeting->forth, meeting->back);
    progress_made();
}

TEST(a_close_or_a_wake_meets_a_wait_or_another_close)
{
    for (size_t i = 0; i < scaled(200); i++) {
        for (size_t meeting = 0; meeting < COUNT(meetings); meeting++) {
            close_meets(&meetings[meeting], i);
        }
    }
}

/* ---- nobody waits for himself ---- */

/* Once the other end is given away, somebody else may help. */
TEST(both_ends_on_one_thread_do_not_wait_for_each_other)
{
    const uint64_t numbers[6] = {0, 1, 2, 3, 4, 5};
    const uint32_t cancel = 1;
    uint64_t number;
    for (int i = 0; i < 8; i++) {
        struct pair pair;
        struct strait_port *full = i % 2 ? &pair.b : &pair.a;
        struct strait_port *other = i % 2 ? &pair.a : &pair.b;
        pair_open(&pair, 4, (enum strait_wait)(i / 2));
        assert_returns(strait_send(&full->sender, numbers, 6, STRAIT_FOREVER), 4);
        expect_waits(full, STRAIT_FOREVER, -EDEADLK);
        expect_waits(full, strait_deadline(1000000000), -EDEADLK);
        expect_waits(full, 0, -ETIMEDOUT);
        assert_returns(strait_try_receive(&full->receiver, &number, 1), -EAGAIN);
        assert_returns(strait_try_send(&full->sender, numbers, 1), -EAGAIN);
        strait_port_give(other);
        expect_waits(full, strait_deadline(1000), -ETIMEDOUT);
        strait_sender_cancel_on(&full->sender, &cancel);
        strait_receiver_cancel_on(&full->receiver, &cancel);
        expect_waits(full, STRAIT_FOREVER, -ECANCELED);
        strait_port_give(full); /* which forgets the flags */
        strait_port_adopt(full);
        expect_waits(full, strait_deadline(1000), -ETIMEDOUT);
        strait_port_adopt(other);
        expect_waits(full, STRAIT_FOREVER, -EDEADLK);
        expect_numbers(other, 0, 4);
        assert_returns(strait_send(&full->sender, numbers, 1, STRAIT_FOREVER), 1);
        strait_receiver_close(&other->receiver);
        assert_returns(strait_send(&full->sender, numbers, 1, STRAIT_FOREVER), -EPIPE);
        strait_port_close(other);
        expect_waits(full, STRAIT_FOREVER, -EPIPE);
        pair_close(&pair, true, i % 2 ? 0 : 1, i % 2 ? 1 : 0);
    }
}
