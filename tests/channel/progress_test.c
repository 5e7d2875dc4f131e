/* SPDX-License-Identifier: MIT */
/* What a thread that stops in the middle holds up, and what it does not: the "Progress" paragraph
 * of each variant, proved by stopping one. */
#include "channel/fixture.h"

#define CAPACITY 8
#define SIZE 12

/* How many of n messages a variant has next to each other in place. */
static size_t in_place(const struct test_case *test, size_t n)
{
    return strcmp(test->variant->name, "line") == 0 ? 1 : n;
}

/* A thread that stops between reserve and commit, or between peek and release. */
struct stopped {
    struct strait_sender *sender;
    struct strait_receiver *receiver; /* NULL: it sends */
    unsigned number;                  /* of the sender: the one of `ends` is 0 */
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
        strait_sender_adopt(self->sender);
        EXPECT(strait_reserve(self->sender, self->wanted, span) == (ptrdiff_t)self->wanted);
        messages_write(span->messages, span->count, SIZE, self->number, 0);
    }
    atomic_store(&self->stopped, 1);
    await(&self->go_on, 1);
    if (self->receiver) {
        strait_release(self->receiver, span);
    } else {
        strait_commit(self->sender, span);
    }
    return NULL;
}

static void stop(struct stopped *stopped)
{
    thread_start(&stopped->thread, stopped_body, stopped);
    await(&stopped->stopped, 1);
    assert_no_faults();
}

static void go_on(struct stopped *stopped)
{
    atomic_store(&stopped->go_on, 1);
    thread_join(stopped->thread);
}

/* All there is, which takes several calls where it lies in several places. */
static void receive_all(struct ends *ends, size_t expected)
{
    unsigned char message[SIZE];
    size_t received = 0;
    while (strait_try_receive(&ends->receiver, message, 1) == 1) {
        tally_messages(&ends->tally, message, 1, SIZE);
        received++;
    }
    assert_int_equal(received, expected);
    assert_int_equal(ends->tally.wrong, 0);
}

/* Sends as many as there is room for. */
static void fill(struct ends *ends, size_t room)
{
    ends_send(ends, CAPACITY + 1, room ? (ptrdiff_t)room : -EAGAIN);
}

/* A sender stopped in the middle holds up its own messages, and of the others': nothing where each
 * has its place; where they share one, those claimed after its own, until it goes on. In neither
 * case the sending. */
TEST_EACH_VARIANT(stopped_sender_and_others)
{
    bool own = case_has(test, STRAIT_SENDERS_REGISTERED);
    if (case_has(test, STRAIT_SENDERS_ONE)) {
        skip();
    }
    for (size_t before = 0; before <= CAPACITY - 2; before++) {
        struct ends ends;
        struct strait_sender sender;
        struct stopped stopped = {.sender = &sender, .number = 1, .wanted = 2};
        ends_open(&ends, test, CAPACITY, SIZE);
        assert_returns(strait_sender_open(&sender, ends.channel), 0);
        ends_send(&ends, before, (ptrdiff_t)before);
        stop(&stopped);
        size_t room = CAPACITY - before - (own ? 0 : 2);
        fill(&ends, room);
        receive_all(&ends, own ? before + room : before);
        assert_int_equal(ends.tally.next[1], 0);
        fill(&ends, own ? CAPACITY : before);
        go_on(&stopped);
        receive_all(&ends, 2 + (own ? CAPACITY : room + before));
        assert_int_equal(ends.tally.next[1], 2);
        ends_close(&ends, 0);
    }
}

/* The receiver is told -EAGAIN, and its waits time out. */
TEST_EACH_MODE(stopped_sender_and_receiver)
{
    struct ends ends;
    struct stopped stopped = {.sender = &ends.sender, .wanted = in_place(test, 3)};
    unsigned char message[SIZE];
    ends_open(&ends, test, CAPACITY, SIZE);
    stop(&stopped);
    ends_receive(&ends, 1, -EAGAIN);
    assert_returns(strait_receive(&ends.receiver, message, 1, strait_deadline(100000)), -ETIMEDOUT);
    go_on(&stopped);
    ends.sent = stopped.wanted;
    receive_all(&ends, stopped.wanted);
    ends_close(&ends, 0);
}

/* Two stopped at once go on in the other order: what comes after is there when both have. */
TEST_EACH_VARIANT(two_stopped_senders)
{
    bool own = case_has(test, STRAIT_SENDERS_REGISTERED);
    struct ends ends;
    struct strait_sender senders[2];
    struct stopped first = {.sender = &senders[0], .number = 1, .wanted = 2};
    struct stopped second = {.sender = &senders[1], .number = 2, .wanted = 3};
    if (case_has(test, STRAIT_SENDERS_ONE)) {
        skip();
    }
    ends_open(&ends, test, CAPACITY, SIZE);
    assert_returns(strait_sender_open(&senders[0], ends.channel), 0);
    assert_returns(strait_sender_open(&senders[1], ends.channel), 0);
    stop(&first);
    stop(&second);
    ends_send(&ends, 3, 3);
    receive_all(&ends, own ? 3 : 0);
    go_on(&second);
    receive_all(&ends, own ? 3 : 0);
    go_on(&first);
    receive_all(&ends, own ? 2 : 8);
    assert_int_equal(ends.tally.next[1], 2);
    assert_int_equal(ends.tally.next[2], 3);
    ends_close(&ends, 0);
}

/* It holds up nothing until the ring is full; then exactly what it released fits. */
TEST_EACH_MODE(stopped_receiver)
{
    struct ends ends;
    struct stopped stopped = {.receiver = &ends.receiver, .wanted = in_place(test, 2)};
    ends_open(&ends, test, CAPACITY, SIZE);
    ends_send(&ends, 3, 3);
    stop(&stopped);
    fill(&ends, CAPACITY - 3);
    assert_returns(strait_send_wait(&ends.sender, strait_deadline(100000)), -ETIMEDOUT);
    go_on(&stopped);
    fill(&ends, stopped.wanted);
    strait_receiver_adopt(&ends.receiver);
    ends.tally.next[0] = stopped.wanted;
    receive_all(&ends, CAPACITY);
    ends_close(&ends, 0);
}
