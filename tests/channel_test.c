/* SPDX-License-Identifier: MIT */
/* What each call answers, in one thread: options, capacity, order, closing, dropping; and a random
 * walk against a plain queue. */
#include "support.h"

/* ---- options ---- */

static void test_defaults(void **state)
{
    struct strait_channel *channel = NULL;
    struct strait_sender sender;
    struct strait_receiver receiver;
    void *message = &channel;
    (void)state;
    assert_returns(strait_channel_create(&channel, NULL), 0);
    assert_returns(strait_sender_open(&sender, channel), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    for (size_t i = 0; i < 1024; i++) {
        assert_returns(strait_try_send(&sender, &message, 1), 1);
    }
    assert_returns(strait_try_send(&sender, &message, 1), -EAGAIN);
    void *received = NULL;
    assert_returns(strait_receive(&receiver, &received, 1, STRAIT_FOREVER), 1);
    assert_ptr_equal(received, message);
    strait_sender_close(&sender);
    strait_receiver_close(&receiver);
    strait_channel_destroy(channel, NULL, NULL);
    strait_channel_destroy(NULL, NULL, NULL);
}

static void expect_options(const struct strait_channel_options *options, int expected)
{
    size_t size = 12345;
    assert_returns(strait_channel_size(options, &size), expected);
    if (expected) {
        struct strait_channel *channel = NULL;
        assert_int_equal(size, 12345);
        assert_returns(strait_channel_create(&channel, options), expected);
        assert_null(channel);
    }
}

static void test_wrong_options(void **state)
{
    const struct strait_channel_options wrong[] = {
        {.variant = "no such variant"},
        {.variant = ""},
        {.capacity = STRAIT_CAPACITY_MAX + 1},
        {.capacity = SIZE_MAX},
        {.message_size = STRAIT_MESSAGE_SIZE_MAX + 1},
        {.message_size = SIZE_MAX},
        {.sender = (enum strait_wait)(STRAIT_WAIT_FD + 1)},
        {.receiver = (enum strait_wait)(STRAIT_WAIT_FD + 1)},
        {.receiver = (enum strait_wait)INT32_MAX},
        {.shared = 2},
        {.shared = 1, .sender = STRAIT_WAIT_FD},
        {.shared = 1, .receiver = STRAIT_WAIT_FD},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        expect_options(&wrong[i], -EINVAL);
    }
}

static void test_number_of_senders(void **state)
{
    const struct test_case *test = *state;
    bool registered = test->variant->senders == STRAIT_SENDERS_REGISTERED;
    struct strait_channel_options options = {.variant = test->variant->name, .capacity = 4};
    expect_options(&options, 0);
    options.senders = 1;
    expect_options(&options, 0);
    options.senders = 2;
    expect_options(&options, registered ? 0 : -EINVAL);
    options.senders = STRAIT_SENDERS_MAX;
    expect_options(&options, registered ? 0 : -EINVAL);
    options.senders = STRAIT_SENDERS_MAX + 1;
    expect_options(&options, -EINVAL);
    options.senders = UINT32_MAX;
    expect_options(&options, -EINVAL);
}

/* No product wraps: what is granted is at least what the messages need. */
static void test_sizes_do_not_overflow(void **state)
{
    const struct test_case *test = *state;
    bool registered = test->variant->senders == STRAIT_SENDERS_REGISTERED;
    for (size_t capacity = 1; capacity <= STRAIT_CAPACITY_MAX; capacity *= 2) {
        for (size_t bytes = 1; bytes <= STRAIT_MESSAGE_SIZE_MAX; bytes *= 2) {
            uint32_t senders = registered ? STRAIT_SENDERS_MAX : 1;
            struct strait_channel_options options = {
                .variant = test->variant->name,
                .capacity = capacity,
                .message_size = bytes,
                .senders = senders,
            };
            size_t size = 0;
            int error = strait_channel_size(&options, &size);
            double needed = (double)capacity * (double)bytes * senders;
            assert_true(error ? error == -EINVAL && needed > (double)SIZE_MAX / 4
                              : (double)size >= needed);
        }
    }
}

/* An options struct of a version that has more to say. */
struct newer_options {
    struct strait_channel_options known;
    char tail[40];
};

static void test_size_of_options(void **state)
{
    struct newer_options newer = {.known = {.size = sizeof(newer), .capacity = 3}};
    (void)state;
    expect_options(&newer.known, 0);
    for (size_t i = 0; i < sizeof(newer.tail); i++) {
        newer.tail[i] = 1;
        expect_options(&newer.known, -EINVAL);
        newer.tail[i] = 0;
    }
    newer.tail[sizeof(newer.tail) - 1] = 1;
    newer.known.size = 0; /* ours: there is no tail */
    expect_options(&newer.known, 0);
    newer.known.size = sizeof(struct strait_channel_options);
    expect_options(&newer.known, 0);
}

/* What an older caller's struct does not have counts as zero, whatever stands there. */
static void test_older_options(void **state)
{
    struct strait_channel_options options = {
        .size = offsetof(struct strait_channel_options, message_size),
        .capacity = 3,
        .message_size = SIZE_MAX,
        .senders = 99999,
        .shared = 7,
    };
    (void)state;
    expect_options(&options, 0);
}

static void test_no_memory(void **state)
{
    struct strait_channel_options options = {.capacity = STRAIT_CAPACITY_MAX,
                                             .message_size = STRAIT_MESSAGE_SIZE_MAX};
    struct strait_channel *channel = NULL;
    (void)state;
    if (TEST_TSAN || TEST_ASAN || SIZE_MAX == UINT32_MAX) {
        skip(); /* their allocators end the program; a small address space: -EINVAL already */
    }
    assert_returns(strait_channel_create(&channel, &options), -ENOMEM);
    assert_null(channel);
}

/* ---- a channel with its handles ---- */

struct ends {
    struct strait_channel *channel;
    struct strait_sender sender;
    struct strait_receiver receiver;
    size_t size; /* of a message */
    uint64_t sent;
    struct tally tally;
};

static void ends_open(struct ends *ends, const struct test_case *test, size_t capacity, size_t size)
{
    memset(ends, 0, sizeof(*ends));
    ends->size = size;
    ends->channel = case_channel(test, capacity, size);
    assert_returns(strait_sender_open(&ends->sender, ends->channel), 0);
    assert_returns(strait_receiver_open(&ends->receiver, ends->channel), 0);
}

/* Drops what is left, which must be `expected` messages. */
static void ends_close(struct ends *ends, uint64_t expected)
{
    struct drop_tally drops = {.tally = &ends->tally, .message_size = ends->size};
    errno = ERRNO_MARK;
    strait_sender_close(&ends->sender);
    strait_receiver_close(&ends->receiver);
    strait_channel_destroy(ends->channel, tally_drop, &drops);
    assert_true(errno_kept());
    assert_int_equal(drops.dropped, expected);
    assert_int_equal(ends->tally.wrong, 0);
    assert_int_equal(ends->tally.next[0], ends->sent);
}

/* Sends n by copy, of which `expected` must be accepted. */
static void ends_send(struct ends *ends, size_t n, ptrdiff_t expected)
{
    unsigned char *messages = malloc(n * ends->size + 1);
    assert_non_null(messages);
    messages_write(messages, n, ends->size, 0, ends->sent);
    assert_returns(strait_try_send(&ends->sender, messages, n), expected);
    ends->sent += expected > 0 ? (uint64_t)expected : 0;
    free(messages);
}

static void ends_receive(struct ends *ends, size_t n, ptrdiff_t expected)
{
    unsigned char *messages = malloc(n * ends->size + 1);
    assert_non_null(messages);
    assert_returns(strait_try_receive(&ends->receiver, messages, n), expected);
    tally_messages(&ends->tally, messages, expected > 0 ? (size_t)expected : 0, ends->size);
    assert_int_equal(ends->tally.wrong, 0);
    free(messages);
}

/* ---- capacity ---- */

static const size_t capacities[] = {1,  2,  3,  4,   5,   7,    8,    9,    31,
                                    63, 64, 65, 100, 127, 1000, 1023, 1024, 1025};
#define CAPACITIES (sizeof(capacities) / sizeof(capacities[0]))

/* Full at n, and room for exactly one more for each one taken, three times round the memory. */
static void check_capacity(const struct test_case *test, size_t n)
{
    struct ends ends;
    ends_open(&ends, test, n, 12);
    for (size_t i = 0; i < n; i++) {
        ends_send(&ends, 1, 1);
    }
    ends_send(&ends, 1, -EAGAIN);
    for (size_t i = 0; i < 3 * n + 200; i++) {
        ends_receive(&ends, 1, 1);
        ends_send(&ends, 1, 1);
        ends_send(&ends, 1, -EAGAIN);
    }
    ends_receive(&ends, n + 1, (ptrdiff_t)n);
    ends_receive(&ends, 1, -EAGAIN);
    ends_close(&ends, 0);
}

static void test_capacity_is_exact(void **state)
{
    for (size_t i = 0; i < CAPACITIES; i++) {
        check_capacity(*state, capacities[i]);
    }
}

/* One call fills a channel to the brim and one empties it, wherever its memory ends. */
static void test_batches_are_exact(void **state)
{
    for (size_t i = 0; i < CAPACITIES; i++) {
        size_t n = capacities[i];
        struct ends ends;
        ends_open(&ends, *state, n, 3);
        for (size_t step = 0; step < 150; step++) {
            ends_send(&ends, step % n, step % n ? (ptrdiff_t)(step % n) : 0);
            ends_send(&ends, 2 * n, (ptrdiff_t)(n - step % n));
            ends_send(&ends, n, -EAGAIN);
            ends_receive(&ends, step % (n + 1), (ptrdiff_t)(step % (n + 1)));
            ends_receive(&ends, 2 * n + 1,
                         step % (n + 1) == n ? -EAGAIN : (ptrdiff_t)(n - step % (n + 1)));
        }
        ends_close(&ends, 0);
    }
}

/* The largest channel is really as large as it says. */
static void test_large_capacity(void **state)
{
    const size_t n = ((size_t)1 << 18) + 1;
    struct ends ends;
    ends_open(&ends, *state, n, 1);
    for (int lap = 0; lap < 3; lap++) {
        ends_send(&ends, n + 5, (ptrdiff_t)n);
        ends_receive(&ends, n / 2, (ptrdiff_t)(n / 2));
        ends_send(&ends, n, (ptrdiff_t)(n / 2));
        ends_receive(&ends, n + 5, (ptrdiff_t)n);
    }
    ends_close(&ends, 0);
}

static void test_message_sizes(void **state)
{
    for (size_t size = 1; size <= 130; size++) {
        struct ends ends;
        ends_open(&ends, *state, 5, size);
        for (size_t i = 0; i < 40; i++) {
            ends_send(&ends, 3, 3);
            ends_receive(&ends, 3, 3);
        }
        ends_send(&ends, 4, 4);
        ends_close(&ends, 4);
    }
}

/* Nobody wrote beyond a message, or beyond the n that were asked for. */
static void test_no_byte_too_many(void **state)
{
    struct ends ends;
    unsigned char buffer[7 * 3 + 8];
    ends_open(&ends, *state, 4, 7);
    for (size_t i = 0; i < 200; i++) {
        memset(buffer, 0xee, sizeof(buffer));
        ends_send(&ends, 3, 3);
        assert_returns(strait_try_receive(&ends.receiver, buffer, 3), 3);
        tally_messages(&ends.tally, buffer, 3, 7);
        for (size_t byte = 21; byte < sizeof(buffer); byte++) {
            assert_int_equal(buffer[byte], 0xee);
        }
    }
    ends_close(&ends, 0);
}

/* ---- answers ---- */

static void test_nothing_of_nothing(void **state)
{
    struct ends ends;
    struct strait_span span;
    ends_open(&ends, *state, 2, 8);
    for (int full = 0; full < 2; full++) {
        ends_send(&ends, 0, 0);
        ends_receive(&ends, 0, 0);
        assert_returns(strait_send(&ends.sender, NULL, 0, 0), 0);
        assert_returns(strait_receive(&ends.receiver, NULL, 0, 0), 0);
        assert_returns(strait_reserve(&ends.sender, 0, &span), 0);
        assert_int_equal(span.count, 0);
        strait_commit(&ends.sender, &span);
        assert_returns(strait_peek(&ends.receiver, 0, &span), 0);
        assert_int_equal(span.count, 0);
        strait_release(&ends.receiver, &span);
        if (!full) {
            ends_send(&ends, 2, 2);
        }
    }
    ends_close(&ends, 2);
}

static void test_full_and_empty(void **state)
{
    struct ends ends;
    struct strait_span span;
    uint64_t message = 0;
    ends_open(&ends, *state, 3, 8);
    assert_returns(strait_peek(&ends.receiver, 1, &span), -EAGAIN);
    ends_receive(&ends, 1, -EAGAIN);
    assert_returns(strait_receive(&ends.receiver, &message, 1, strait_now()), -ETIMEDOUT);
    assert_returns(strait_receive_wait(&ends.receiver, 0), -ETIMEDOUT);
    assert_returns(strait_send_wait(&ends.sender, 0), 0);
    ends_send(&ends, 3, 3);
    assert_returns(strait_reserve(&ends.sender, 1, &span), -EAGAIN);
    ends_send(&ends, 1, -EAGAIN);
    assert_returns(strait_send(&ends.sender, &message, 1, strait_now()), -ETIMEDOUT);
    assert_returns(strait_send_wait(&ends.sender, INT64_MIN), -ETIMEDOUT);
    assert_returns(strait_receive_wait(&ends.receiver, 0), 0);
    ends_close(&ends, 3);
}

/* A deadline in the past still takes what is there, and says how much. */
static void test_part_before_timeout(void **state)
{
    struct ends ends;
    unsigned char messages[8 * 8];
    ends_open(&ends, *state, 5, 8);
    messages_write(messages, 8, 8, 0, 0);
    assert_returns(strait_send(&ends.sender, messages, 8, 0), 5);
    ends.sent = 5;
    assert_returns(strait_receive(&ends.receiver, messages, 8, 0), 5);
    tally_messages(&ends.tally, messages, 5, 8);
    assert_returns(strait_receive(&ends.receiver, messages, 8, 0), -ETIMEDOUT);
    ends_close(&ends, 0);
}

static void test_sender_closes(void **state)
{
    struct ends ends;
    struct strait_span span;
    struct strait_sender late;
    uint64_t message;
    ends_open(&ends, *state, 8, 8);
    ends_send(&ends, 5, 5);
    strait_sender_close(&ends.sender);
    assert_returns(strait_sender_open(&late, ends.channel), -EPIPE);
    assert_returns(strait_receive_wait(&ends.receiver, 0), 0);
    ends_receive(&ends, 3, 3);
    ends_receive(&ends, 3, 2);
    ends_receive(&ends, 1, -EPIPE);
    assert_returns(strait_peek(&ends.receiver, 1, &span), -EPIPE);
    assert_returns(strait_receive(&ends.receiver, &message, 1, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_receive_wait(&ends.receiver, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_receive_wait(&ends.receiver, 0), -EPIPE);
    ends_close(&ends, 0);
}

static void test_receiver_closes(void **state)
{
    struct ends ends;
    struct strait_span span;
    uint64_t message = 0;
    ends_open(&ends, *state, 8, 8);
    ends_send(&ends, 5, 5);
    ends_receive(&ends, 2, 2);
    strait_receiver_close(&ends.receiver);
    ends_send(&ends, 1, -EPIPE);
    assert_returns(strait_reserve(&ends.sender, 1, &span), -EPIPE);
    assert_returns(strait_send(&ends.sender, &message, 1, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_send_wait(&ends.sender, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_send_wait(&ends.sender, 0), -EPIPE);
    ends_close(&ends, 3);
}

/* What was reserved when the receiver closed is committed, and dropped. */
static void test_receiver_closes_before_commit(void **state)
{
    struct ends ends;
    struct strait_span span;
    ends_open(&ends, *state, 8, 8);
    assert_returns(strait_reserve(&ends.sender, 3, &span), 3);
    messages_write(span.messages, 3, 8, 0, 0);
    strait_receiver_close(&ends.receiver);
    strait_commit(&ends.sender, &span);
    ends.sent = 3;
    ends_close(&ends, 3);
}

/* A closed handle answers -EPIPE, waits for nothing, and closes twice without harm. */
static void test_closed_handles(void **state)
{
    struct ends ends;
    struct strait_span span;
    uint64_t message = 0;
    ends_open(&ends, *state, 8, 8);
    ends_send(&ends, 2, 2);
    strait_sender_close(&ends.sender);
    strait_sender_close(&ends.sender);
    ends_send(&ends, 1, -EPIPE);
    assert_returns(strait_send(&ends.sender, &message, 1, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_send_wait(&ends.sender, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_reserve(&ends.sender, 1, &span), -EPIPE);
    assert_returns(strait_sender_fd(&ends.sender), -EINVAL);
    assert_returns(strait_sender_arm(&ends.sender), -EINVAL);
    strait_receiver_close(&ends.receiver);
    strait_receiver_close(&ends.receiver);
    ends_receive(&ends, 1, -EPIPE);
    assert_returns(strait_receive(&ends.receiver, &message, 1, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_receive_wait(&ends.receiver, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_peek(&ends.receiver, 1, &span), -EPIPE);
    assert_returns(strait_receiver_fd(&ends.receiver), -EINVAL);
    assert_returns(strait_receiver_arm(&ends.receiver), -EINVAL);
    ends_close(&ends, 2);
}

/* Closing one channel's handles leaves those of another alone. */
static void test_closed_handles_of_two_channels(void **state)
{
    struct ends closed;
    struct ends open;
    ends_open(&closed, *state, 2, 8);
    ends_open(&open, *state, 2, 8);
    strait_receiver_close(&closed.receiver);
    ends_send(&closed, 1, -EPIPE);
    ends_send(&open, 2, 2);
    ends_receive(&open, 1, 1);
    ends_close(&closed, 0);
    ends_close(&open, 1);
}

/* ---- in place ---- */

/* The run to the end of the memory, then the rest; `more` says that there is one. */
static void reserve_all(struct ends *ends, size_t n)
{
    struct strait_span span;
    size_t left = n;
    do {
        ptrdiff_t count = strait_reserve(&ends->sender, left, &span);
        assert_true(count > 0 && (size_t)count <= left);
        assert_int_equal(span.count, count);
        assert_int_equal(span.message_size, ends->size);
        assert_int_equal(span.more, span.count < left);
        messages_write(span.messages, span.count, ends->size, 0, ends->sent);
        ends->sent += span.count;
        left -= span.count;
        strait_commit(&ends->sender, &span);
    } while (left);
}

static void test_in_place(void **state)
{
    struct ends ends;
    struct strait_span span;
    ends_open(&ends, *state, 11, 12);
    for (size_t i = 0; i < 300; i++) {
        reserve_all(&ends, 11);
        assert_returns(strait_reserve(&ends.sender, 1, &span), -EAGAIN);
        for (size_t left = 11; left;) {
            size_t wanted = 1 + i % 11;
            ptrdiff_t count = strait_peek(&ends.receiver, wanted, &span);
            assert_true(count > 0 && span.count == (size_t)count && span.count <= wanted);
            span.count -= i % span.count; /* one message at least */
            tally_messages(&ends.tally, span.messages, span.count, 12);
            strait_release(&ends.receiver, &span);
            left -= span.count;
        }
        assert_returns(strait_peek(&ends.receiver, 1, &span), -EAGAIN);
    }
    ends_close(&ends, 0);
}

/* Looking twice shows the same, and taking nothing takes nothing. */
static void test_peek_takes_nothing(void **state)
{
    struct ends ends;
    struct strait_span first;
    struct strait_span second;
    ends_open(&ends, *state, 16, 8);
    ends_send(&ends, 6, 6);
    for (size_t i = 1; i <= 6; i++) {
        assert_returns(strait_peek(&ends.receiver, i, &first), i);
        assert_returns(strait_receive_wait(&ends.receiver, 0), 0);
        assert_returns(strait_peek(&ends.receiver, i, &second), i);
        assert_ptr_equal(first.messages, second.messages);
        assert_returns(strait_peek(&ends.receiver, 0, &second), 0);
        second.count = 0;
        strait_release(&ends.receiver, &second);
    }
    tally_messages(&ends.tally, first.messages, first.count, ends.size);
    strait_release(&ends.receiver, &first); /* of the lane it was seen in, in "lanes" */
    ends_send(&ends, 17, 16);
    ends_receive(&ends, 16, 16);
    ends_close(&ends, 0);
}

/* ---- several senders ---- */

/* How many may be open at once, and what the next one is told. */
static void test_senders_open(void **state)
{
    const struct test_case *test = *state;
    struct strait_channel *channel = case_channel(test, 2, 8);
    struct strait_sender senders[SENDERS_MOST + 1];
    unsigned most = case_senders(test);
    bool any = test->variant->senders == STRAIT_SENDERS_ANY;
    for (unsigned i = 0; i < most; i++) {
        assert_returns(strait_sender_open(&senders[i], channel), 0);
    }
    assert_returns(strait_sender_open(&senders[most], channel), any ? 0 : -EBUSY);
    uint64_t message = 1;
    assert_returns(strait_try_send(&senders[most], &message, 1), any ? 1 : -EPIPE);
    strait_sender_close(&senders[most]);
    strait_sender_close(&senders[0]);
    int again = strait_sender_open(&senders[0], channel);
    assert_int_equal(again, most == 1 ? -EPIPE : 0);
    strait_channel_destroy(channel, NULL, NULL);
}

/* As with a pipe: closed once, by the last one, and for good. */
static void test_last_sender_closes(void **state)
{
    const struct test_case *test = *state;
    struct ends ends;
    struct strait_sender others[SENDERS_MOST];
    unsigned more = case_senders(test) - 1;
    uint64_t message;
    ends_open(&ends, test, 4, 8);
    for (unsigned i = 0; i < more; i++) {
        assert_returns(strait_sender_open(&others[i], ends.channel), 0);
    }
    ends_send(&ends, 1, 1);
    strait_sender_close(&ends.sender);
    ends_receive(&ends, 1, 1);
    for (unsigned i = 0; i < more; i++) {
        ends_receive(&ends, 1, -EAGAIN);
        assert_returns(strait_receive(&ends.receiver, &message, 1, 0), -ETIMEDOUT);
        strait_sender_close(&others[i]);
    }
    ends_receive(&ends, 1, -EPIPE);
    assert_returns(strait_sender_open(&ends.sender, ends.channel), -EPIPE);
    ends_receive(&ends, 1, -EPIPE);
    ends_close(&ends, 0);
}

/* A place given back with messages in it goes on behind them. */
static void test_next_sender_goes_on(void **state)
{
    const struct test_case *test = *state;
    struct ends ends;
    struct strait_sender keeper;
    if (test->variant->senders == STRAIT_SENDERS_ONE) {
        skip();
    }
    ends_open(&ends, test, 7, 8);
    assert_returns(strait_sender_open(&keeper, ends.channel), 0);
    for (size_t i = 0; i < 200; i++) {
        ends_send(&ends, 2, 2);
        strait_sender_close(&ends.sender);
        assert_returns(strait_sender_open(&ends.sender, ends.channel), 0);
        ends_send(&ends, 3, 3);
        ends_receive(&ends, 5, 5);
    }
    ends_send(&ends, 2, 2);
    strait_sender_close(&keeper);
    ends_close(&ends, 2);
}

/* The capacity is each registered sender's own, and the channel's otherwise. */
static void test_capacity_of_each_sender(void **state)
{
    const struct test_case *test = *state;
    struct strait_channel *channel = case_channel(test, 3, 8);
    struct strait_sender senders[SENDERS_MOST];
    struct strait_receiver receiver;
    unsigned count = case_senders(test);
    unsigned char messages[8 * 4 * SENDERS_MOST];
    size_t queued = 0;
    bool registered = test->variant->senders == STRAIT_SENDERS_REGISTERED;
    for (unsigned i = 0; i < count; i++) {
        assert_returns(strait_sender_open(&senders[i], channel), 0);
        messages_write(messages, 4, 8, i, 0);
        bool room = registered || i == 0;
        assert_returns(strait_try_send(&senders[i], messages, 4), room ? 3 : -EAGAIN);
        queued += room ? 3 : 0;
    }
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    struct tally tally = {.wrong = 0};
    assert_returns(strait_try_receive(&receiver, messages, 4 * SENDERS_MOST), queued);
    tally_messages(&tally, messages, queued, 8);
    assert_int_equal(tally.wrong, 0);
    strait_channel_destroy(channel, NULL, NULL);
}

/* Takes one message, having looked at n: a receiver that looks far ahead is fair all the same. */
static unsigned take_one_of(struct strait_receiver *receiver, size_t n)
{
    struct strait_span span;
    assert_true(strait_peek(receiver, n, &span) > 0);
    unsigned sender = message_sender(span.messages);
    span.count = 1;
    strait_release(receiver, &span);
    return sender;
}

/* A sender that keeps its place full does not keep another's message from its turn, which comes
 * after a capacity's worth of each other sender at most. */
static void check_fairness(const struct test_case *test, size_t ahead)
{
    const size_t capacity = 4;
    struct strait_channel *channel = case_channel(test, capacity, 8);
    struct strait_sender senders[SENDERS_MOST];
    struct strait_receiver receiver;
    unsigned count = case_senders(test);
    uint64_t sent[SENDERS_MOST] = {0};
    unsigned char message[8];
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    for (unsigned i = 0; i < count; i++) {
        assert_returns(strait_sender_open(&senders[i], channel), 0);
    }
    size_t since[SENDERS_MOST] = {0};
    for (size_t step = 0; step < 2000; step++) {
        for (unsigned k = 0; k < count; k++) {
            unsigned i = (unsigned)(step + k) % count; /* where they share the room: in turn */
            message_write(message, 8, i, sent[i]);
            sent[i] += strait_try_send(&senders[i], message, 1) == 1;
            since[i]++;
        }
        since[take_one_of(&receiver, ahead)] = 0;
        for (unsigned i = 0; i < count; i++) {
            assert_true(since[i] <= 2 * count * capacity);
        }
    }
    strait_channel_destroy(channel, NULL, NULL);
}

static void test_fair_to_each_sender(void **state)
{
    for (size_t ahead = 1; ahead <= 5; ahead++) {
        check_fairness(*state, ahead);
    }
}

/* ---- dropping ---- */

static void test_drop(void **state)
{
    const struct test_case *test = *state;
    for (size_t taken = 0; taken <= 100; taken += 7) {
        struct strait_sender senders[SENDERS_MOST];
        struct strait_receiver receiver;
        struct tally tally = {.wrong = 0};
        struct drop_tally drops = {.tally = &tally, .message_size = 12};
        unsigned char messages[100 * 12];
        struct strait_channel *channel = case_channel(test, 100, 12);
        unsigned count = case_senders(test);
        for (unsigned i = 0; i < count; i++) {
            assert_returns(strait_sender_open(&senders[i], channel), 0);
            messages_write(messages, 25, 12, i, 0);
            assert_returns(strait_try_send(&senders[i], messages, 25), 25);
        }
        assert_returns(strait_receiver_open(&receiver, channel), 0);
        size_t all = 25 * (size_t)count;
        size_t received = taken < all ? taken : all;
        ptrdiff_t expected = received || !taken ? (ptrdiff_t)received : -EAGAIN;
        assert_returns(strait_try_receive(&receiver, messages, received), expected);
        tally_messages(&tally, messages, received, 12);
        strait_channel_destroy(channel, tally_drop, &drops);
        assert_int_equal(drops.dropped, all - received);
        assert_int_equal(tally.wrong, 0);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(tally.next[i], 25);
        }
    }
}

/* What was seen but not released still is the channel's. */
static void test_drop_after_peek(void **state)
{
    struct ends ends;
    struct strait_span span;
    ends_open(&ends, *state, 9, 8);
    ends_send(&ends, 9, 9);
    assert_returns(strait_peek(&ends.receiver, 6, &span), 6);
    span.count = 2;
    tally_messages(&ends.tally, span.messages, 2, 8);
    strait_release(&ends.receiver, &span);
    assert_returns(strait_peek(&ends.receiver, 6, &span), 6);
    ends_close(&ends, 7);
}

int main(void)
{
    static struct suite suite;
    watchdog_start();
    suite_once(&suite, "defaults", test_defaults);
    suite_once(&suite, "wrong options", test_wrong_options);
    suite_once(&suite, "size of options", test_size_of_options);
    suite_once(&suite, "older options", test_older_options);
    suite_once(&suite, "no memory", test_no_memory);
    suite_variants(&suite, "number of senders", test_number_of_senders);
    suite_variants(&suite, "sizes do not overflow", test_sizes_do_not_overflow);
    suite_variants(&suite, "capacity is exact", test_capacity_is_exact);
    suite_variants(&suite, "batches are exact", test_batches_are_exact);
    suite_variants(&suite, "large capacity", test_large_capacity);
    suite_variants(&suite, "message sizes", test_message_sizes);
    suite_variants(&suite, "no byte too many", test_no_byte_too_many);
    suite_modes(&suite, "nothing of nothing", test_nothing_of_nothing);
    suite_modes(&suite, "full and empty", test_full_and_empty);
    suite_modes(&suite, "part before timeout", test_part_before_timeout);
    suite_modes(&suite, "sender closes", test_sender_closes);
    suite_modes(&suite, "receiver closes", test_receiver_closes);
    suite_modes(&suite, "receiver closes before commit", test_receiver_closes_before_commit);
    suite_modes(&suite, "closed handles", test_closed_handles);
    suite_variants(&suite, "closed handles of two channels", test_closed_handles_of_two_channels);
    suite_variants(&suite, "in place", test_in_place);
    suite_variants(&suite, "peek takes nothing", test_peek_takes_nothing);
    suite_variants(&suite, "senders open", test_senders_open);
    suite_variants(&suite, "last sender closes", test_last_sender_closes);
    suite_variants(&suite, "next sender goes on", test_next_sender_goes_on);
    suite_variants(&suite, "capacity of each sender", test_capacity_of_each_sender);
    suite_variants(&suite, "fair to each sender", test_fair_to_each_sender);
    suite_modes(&suite, "drop", test_drop);
    suite_variants(&suite, "drop after peek", test_drop_after_peek);
    return suite_run(&suite, "channel");
}
