/* SPDX-License-Identifier: MIT */
/* What a thread that stops in the middle holds up, and what it does not: the "Progress" paragraph
 * of each variant, proved by stopping one. */
#include "support.h"

#define CAPACITY 8

/* A sender that stops between reserve and commit until it is told to go on. */
struct stopped {
    struct strait_sender sender;
    struct strait_channel *channel;
    unsigned number;
    uint64_t first;
    size_t wanted;
    size_t reserved;
    _Atomic unsigned stopped;
    _Atomic unsigned go_on;
    pthread_t thread;
};

static void *stopped_body(void *context)
{
    struct stopped *self = context;
    struct strait_span span;
    strait_sender_adopt(&self->sender);
    if (strait_reserve(&self->sender, self->wanted, &span) > 0) {
        self->reserved = span.count;
        messages_write(span.messages, span.count, span.message_size, self->number, self->first);
    }
    atomic_store(&self->stopped, 1);
    await(&self->go_on, 1);
    if (self->reserved) {
        strait_commit(&self->sender, &span);
    }
    return NULL;
}

static void stop_in_reserve(struct stopped *stopped, unsigned number, uint64_t first, size_t n)
{
    stopped->number = number;
    stopped->first = first;
    stopped->wanted = n;
    assert_returns(strait_sender_open(&stopped->sender, stopped->channel), 0);
    thread_start(&stopped->thread, stopped_body, stopped);
    await(&stopped->stopped, 1);
    assert_int_equal(stopped->reserved, n);
}

static void go_on(struct stopped *stopped)
{
    atomic_store(&stopped->go_on, 1);
    thread_join(stopped->thread);
}

static size_t send_upto(struct strait_sender *sender, unsigned number, uint64_t first, size_t n)
{
    unsigned char message[12];
    size_t sent = 0;
    while (sent < n) {
        message_write(message, sizeof(message), number, first + sent);
        if (strait_try_send(sender, message, 1) != 1) {
            break;
        }
        sent++;
    }
    return sent;
}

static size_t receive_upto(struct strait_receiver *receiver, struct tally *tally, size_t n)
{
    unsigned char message[12];
    size_t received = 0;
    while (received < n && strait_try_receive(receiver, message, 1) == 1) {
        tally_message(tally, message, sizeof(message));
        received++;
    }
    return received;
}

/* A sender stopped in the middle holds up its own messages, and of the others': nothing where each
 * has its place; where they share one, those claimed after its own, until it goes on. In neither
 * case the sending. */
static void check_stopped_sender(const struct test_case *test, size_t before)
{
    struct strait_channel *channel = case_channel(test, CAPACITY, 12);
    struct stopped stopped = {.channel = channel};
    struct strait_sender other;
    struct strait_receiver receiver;
    struct tally tally = {.wrong = 0};
    bool registered = test->variant->senders == STRAIT_SENDERS_REGISTERED;
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    assert_returns(strait_sender_open(&other, channel), 0);
    assert_int_equal(send_upto(&other, 1, 0, before), before);
    stop_in_reserve(&stopped, 0, 0, 2);
    size_t room = CAPACITY - before - (registered ? 0 : 2);
    assert_int_equal(send_upto(&other, 1, before, CAPACITY), room);
    size_t seen = registered ? before + room : before;
    assert_int_equal(receive_upto(&receiver, &tally, CAPACITY), seen);
    assert_int_equal(tally.next[0], 0);
    assert_int_equal(send_upto(&other, 1, before + room, CAPACITY), registered ? CAPACITY : before);
    go_on(&stopped);
    size_t rest = 2 + (registered ? CAPACITY : room + before);
    assert_int_equal(receive_upto(&receiver, &tally, 3 * CAPACITY), rest);
    assert_int_equal(tally.next[0], 2);
    assert_int_equal(tally.wrong, 0);
    strait_channel_destroy(channel, NULL, NULL);
}

static void test_stopped_sender_and_others(void **state)
{
    const struct test_case *test = *state;
    if (test->variant->senders == STRAIT_SENDERS_ONE) {
        skip();
    }
    for (size_t before = 0; before <= CAPACITY - 2; before++) {
        check_stopped_sender(test, before);
    }
}

/* The receiver gets what was committed before, is told -EAGAIN, and its waits time out. */
static void test_stopped_sender_and_receiver(void **state)
{
    const struct test_case *test = *state;
    struct strait_channel *channel = case_channel(test, CAPACITY, 12);
    struct stopped stopped = {.channel = channel};
    struct strait_receiver receiver;
    struct tally tally = {.wrong = 0};
    unsigned char message[12];
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    stop_in_reserve(&stopped, 0, 0, 3);
    assert_returns(strait_try_receive(&receiver, message, 1), -EAGAIN);
    assert_returns(strait_receive(&receiver, message, 1, strait_deadline(100000)), -ETIMEDOUT);
    go_on(&stopped);
    assert_int_equal(receive_upto(&receiver, &tally, 4), 3);
    assert_int_equal(tally.wrong, 0);
    strait_channel_destroy(channel, NULL, NULL);
}

/* Two stopped at once go on in the other order: what comes after is there when both have. */
static void test_two_stopped_senders(void **state)
{
    const struct test_case *test = *state;
    bool registered = test->variant->senders == STRAIT_SENDERS_REGISTERED;
    if (test->variant->senders == STRAIT_SENDERS_ONE) {
        skip();
    }
    struct strait_channel *channel = case_channel(test, CAPACITY, 12);
    struct stopped first = {.channel = channel};
    struct stopped second = {.channel = channel};
    struct strait_sender third;
    struct strait_receiver receiver;
    struct tally tally = {.wrong = 0};
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    assert_returns(strait_sender_open(&third, channel), 0);
    stop_in_reserve(&first, 0, 0, 2);
    stop_in_reserve(&second, 1, 0, 3);
    assert_int_equal(send_upto(&third, 2, 0, 3), 3);
    assert_int_equal(receive_upto(&receiver, &tally, CAPACITY), registered ? 3 : 0);
    go_on(&second);
    assert_int_equal(receive_upto(&receiver, &tally, CAPACITY), registered ? 3 : 0);
    go_on(&first);
    assert_int_equal(receive_upto(&receiver, &tally, CAPACITY), registered ? 2 : 8);
    assert_int_equal(tally.next[0], 2);
    assert_int_equal(tally.next[1], 3);
    assert_int_equal(tally.next[2], 3);
    assert_int_equal(tally.wrong, 0);
    strait_channel_destroy(channel, NULL, NULL);
}

/* A receiver that stops between peek and release. */
struct reader {
    struct strait_receiver receiver;
    size_t shown;
    _Atomic unsigned stopped;
    _Atomic unsigned go_on;
};

static void *reader_body(void *context)
{
    struct reader *self = context;
    struct strait_span span;
    strait_receiver_adopt(&self->receiver);
    if (strait_peek(&self->receiver, 2, &span) > 0) {
        self->shown = span.count;
    }
    atomic_store(&self->stopped, 1);
    await(&self->go_on, 1);
    strait_release(&self->receiver, &span);
    return NULL;
}

/* It holds up nothing until the ring is full; then exactly what it released fits. */
static void test_stopped_receiver(void **state)
{
    const struct test_case *test = *state;
    struct strait_channel *channel = case_channel(test, CAPACITY, 12);
    struct reader reader = {.shown = 0};
    struct strait_sender sender;
    pthread_t thread;
    assert_returns(strait_sender_open(&sender, channel), 0);
    assert_returns(strait_receiver_open(&reader.receiver, channel), 0);
    assert_int_equal(send_upto(&sender, 0, 0, 3), 3);
    thread_start(&thread, reader_body, &reader);
    await(&reader.stopped, 1);
    assert_int_equal(reader.shown, 2);
    assert_int_equal(send_upto(&sender, 0, 3, CAPACITY), CAPACITY - 3);
    assert_returns(strait_send_wait(&sender, strait_deadline(100000)), -ETIMEDOUT);
    atomic_store(&reader.go_on, 1);
    thread_join(thread);
    assert_int_equal(send_upto(&sender, 0, CAPACITY, CAPACITY), 2);
    strait_receiver_adopt(&reader.receiver);
    struct tally tally = {.next = {2}};
    assert_int_equal(receive_upto(&reader.receiver, &tally, 2 * CAPACITY), CAPACITY);
    assert_int_equal(tally.wrong, 0);
    strait_channel_destroy(channel, NULL, NULL);
}

int main(void)
{
    static struct suite suite;
    watchdog_start();
    suite_variants(&suite, "stopped sender and others", test_stopped_sender_and_others);
    suite_modes(&suite, "stopped sender and receiver", test_stopped_sender_and_receiver);
    suite_variants(&suite, "two stopped senders", test_two_stopped_senders);
    suite_modes(&suite, "stopped receiver", test_stopped_receiver);
    return suite_run(&suite, "channel_progress");
}
