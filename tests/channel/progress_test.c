/* SPDX-License-Identifier: MIT */
/* What a thread that stops in the middle holds up, and what it does not: the "Progress" paragraph
 * of each variant, proved by stopping one. */
#include "channel/fixture.h"

#define CAPACITY 8
#define SIZE 12

/* A thread that stops between reserve and commit, or between peek and release. */
struct stopped {
    struct strait_sender sender;
    struct strait_receiver *receiver; /* NULL: it sends */
    unsigned number;
    size_t wanted;
    struct strait_span span;
    _Atomic unsigned stopped;
    _Atomic unsigned go_on;
    pthread_t thread;
};

static void *stopped_body(void *context)
{
    struct stopped *self = context;
    struct strait_span *span = &self->span;
    if (self->receiver) {
        strait_receiver_adopt(self->receiver);
        EXPECT(strait_peek(self->receiver, self->wanted, span) == (ptrdiff_t)self->wanted);
    } else {
        strait_sender_adopt(&self->sender);
        EXPECT(strait_reserve(&self->sender, self->wanted, span) == (ptrdiff_t)self->wanted);
        messages_write(span->messages, span->count, SIZE, self->number, 0);
    }
    atomic_store(&self->stopped, 1);
    await(&self->go_on, 1);
    if (self->receiver) {
        strait_release(self->receiver, span);
    } else {
        strait_commit(&self->sender, span);
    }
    return NULL;
}

static void stop(struct stopped *stopped)
{
    thread_start(&stopped->thread, stopped_body, stopped);
    await(&stopped->stopped, 1);
    assert_no_faults();
}

static void stop_sender(struct stopped *stopped, struct strait_channel *channel, unsigned number,
                        size_t n)
{
    memset(stopped, 0, sizeof(*stopped));
    stopped->number = number;
    stopped->wanted = n;
    assert_returns(strait_sender_open(&stopped->sender, channel), 0);
    stop(stopped);
}

static void go_on(struct stopped *stopped)
{
    atomic_store(&stopped->go_on, 1);
    thread_join(stopped->thread);
}

/* A channel, its receiver, and the sender that does not stop: number 1. */
struct others {
    struct strait_channel *channel;
    struct strait_sender sender;
    struct strait_receiver receiver;
    uint64_t sent;
    struct tally tally;
};

static void others_open(struct others *others, const struct test_case *test, bool sends)
{
    memset(others, 0, sizeof(*others));
    others->channel = case_channel(test, CAPACITY, SIZE);
    assert_returns(strait_receiver_open(&others->receiver, others->channel), 0);
    if (sends) {
        assert_returns(strait_sender_open(&others->sender, others->channel), 0);
    }
}

/* Sends one by one until there are n, or no more room: `expected` of them. */
static void others_send(struct others *others, size_t n, size_t expected)
{
    unsigned char message[SIZE];
    size_t sent = 0;
    for (; sent < n; sent++, others->sent++) {
        messages_write(message, 1, SIZE, 1, others->sent);
        if (strait_try_send(&others->sender, message, 1) != 1) {
            break;
        }
    }
    assert_int_equal(sent, expected);
}

static void others_receive(struct others *others, size_t expected)
{
    unsigned char message[SIZE];
    size_t received = 0;
    while (strait_try_receive(&others->receiver, message, 1) == 1) {
        tally_messages(&others->tally, message, 1, SIZE);
        received++;
    }
    assert_int_equal(received, expected);
    assert_int_equal(others->tally.wrong, 0);
}

/* A sender stopped in the middle holds up its own messages, and of the others': nothing where each
 * has its place; where they share one, those claimed after its own, until it goes on. In neither
 * case the sending. */
static void stopped_sender_and_others(const struct test_case *test)
{
    bool own = case_has(test, STRAIT_SENDERS_REGISTERED);
    if (case_has(test, STRAIT_SENDERS_ONE)) {
        skip();
    }
    for (size_t before = 0; before <= CAPACITY - 2; before++) {
        struct others others;
        struct stopped stopped;
        others_open(&others, test, true);
        others_send(&others, before, before);
        stop_sender(&stopped, others.channel, 0, 2);
        size_t room = CAPACITY - before - (own ? 0 : 2);
        others_send(&others, CAPACITY, room);
        others_receive(&others, own ? before + room : before);
        assert_int_equal(others.tally.next[0], 0);
        others_send(&others, CAPACITY, own ? CAPACITY : before);
        go_on(&stopped);
        others_receive(&others, 2 + (own ? CAPACITY : room + before));
        assert_int_equal(others.tally.next[0], 2);
        strait_channel_destroy(others.channel, NULL, NULL);
    }
}

/* The receiver is told -EAGAIN, and its waits time out. */
static void stopped_sender_and_receiver(const struct test_case *test)
{
    struct others others;
    struct stopped stopped;
    unsigned char message[SIZE];
    others_open(&others, test, false);
    stop_sender(&stopped, others.channel, 0, 3);
    assert_returns(strait_try_receive(&others.receiver, message, 1), -EAGAIN);
    assert_returns(strait_receive(&others.receiver, message, 1, strait_deadline(100000)),
                   -ETIMEDOUT);
    go_on(&stopped);
    others_receive(&others, 3);
    strait_channel_destroy(others.channel, NULL, NULL);
}

/* Two stopped at once go on in the other order: what comes after is there when both have. */
static void two_stopped_senders(const struct test_case *test)
{
    bool own = case_has(test, STRAIT_SENDERS_REGISTERED);
    struct others others;
    struct stopped first;
    struct stopped second;
    if (case_has(test, STRAIT_SENDERS_ONE)) {
        skip();
    }
    others_open(&others, test, true);
    stop_sender(&first, others.channel, 0, 2);
    stop_sender(&second, others.channel, 2, 3);
    others_send(&others, 3, 3);
    others_receive(&others, own ? 3 : 0);
    go_on(&second);
    others_receive(&others, own ? 3 : 0);
    go_on(&first);
    others_receive(&others, own ? 2 : 8);
    assert_int_equal(others.tally.next[0], 2);
    assert_int_equal(others.tally.next[1], 3);
    assert_int_equal(others.tally.next[2], 3);
    strait_channel_destroy(others.channel, NULL, NULL);
}

/* It holds up nothing until the ring is full; then exactly what it released fits. */
static void stopped_receiver(const struct test_case *test)
{
    struct others others;
    others_open(&others, test, true);
    struct stopped stopped = {.receiver = &others.receiver, .wanted = 2};
    others_send(&others, 3, 3);
    stop(&stopped);
    others_send(&others, CAPACITY, CAPACITY - 3);
    assert_returns(strait_send_wait(&others.sender, strait_deadline(100000)), -ETIMEDOUT);
    go_on(&stopped);
    others_send(&others, CAPACITY, 2);
    strait_receiver_adopt(&others.receiver);
    others.tally.next[1] = 2;
    others_receive(&others, CAPACITY);
    strait_channel_destroy(others.channel, NULL, NULL);
}

TESTS(EACH_VARIANT(stopped_sender_and_others), EACH_MODE(stopped_sender_and_receiver),
      EACH_VARIANT(two_stopped_senders), EACH_MODE(stopped_receiver))
