/* SPDX-License-Identifier: MIT */
/* One thread: options, capacity, fairness, wake-ups. What each call answers in each state is
 * model_test's. */
#include "channel/fixture.h"

/* ---- options ---- */

TEST(defaults)
{
    struct strait_channel *channel = NULL;
    struct strait_sender sender;
    struct strait_receiver receiver;
    void *message = &channel;
    void *received = NULL;
    assert_returns(strait_channel_create(&channel, NULL), 0);
    assert_returns(strait_sender_open(&sender, channel), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    for (size_t i = 0; i < 1024; i++) {
        assert_returns(strait_try_send(&sender, &message, 1), 1);
    }
    assert_returns(strait_try_send(&sender, &message, 1), -EAGAIN);
    assert_returns(strait_receive(&receiver, &received, 1, STRAIT_FOREVER), 1);
    assert_ptr_equal(received, message);
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

TEST(wrong_options)
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
    for (size_t i = 0; i < COUNT(wrong); i++) {
        expect_options(&wrong[i], -EINVAL);
    }
}

TEST_EACH_VARIANT(number_of_senders)
{
    static const uint32_t numbers[] = {0,         1, 2, STRAIT_SENDERS_MAX, STRAIT_SENDERS_MAX + 1,
                                       UINT32_MAX};
    const uint32_t most = case_has(test, STRAIT_SENDERS_REGISTERED) ? STRAIT_SENDERS_MAX : 1;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        struct strait_channel_options options = case_options(test, 4, 8);
        options.senders = numbers[i];
        expect_options(&options, numbers[i] <= most ? 0 : -EINVAL);
    }
}

/* No product wraps: what is granted is at least what the messages need. */
TEST_EACH_VARIANT(sizes_do_not_overflow)
{
    for (size_t capacity = 1; capacity <= STRAIT_CAPACITY_MAX; capacity *= 2) {
        for (size_t bytes = 1; bytes <= STRAIT_MESSAGE_SIZE_MAX; bytes *= 2) {
            struct strait_channel_options options = case_options(test, capacity, bytes);
            size_t size = 0;
            options.senders = options.senders > 1 ? STRAIT_SENDERS_MAX : 1;
            int error = strait_channel_size(&options, &size);
            double slots = (double)capacity * options.senders;
            double needed = slots * (double)bytes;
            double stamped = needed + slots * sizeof(uint32_t);
            assert_true(error ? error == -EINVAL && stamped > (double)SIZE_MAX / 4
                              : (double)size >= needed);
        }
    }
}

/* An options struct of a version that has more to say, of ours, and of one that had less to say:
 * what that does not have counts as zero, whatever stands there. */
TEST(options_of_another_size)
{
    struct {
        struct strait_channel_options known;
        char tail[40];
    } newer = {.known = {.size = sizeof(newer), .capacity = 3}};
    expect_options(&newer.known, 0);
    for (size_t i = 0; i < sizeof(newer.tail); i++) {
        newer.tail[i] = 1;
        expect_options(&newer.known, -EINVAL);
        newer.tail[i] = 0;
    }
    newer.tail[sizeof(newer.tail) - 1] = 1;
    newer.known.size = 0;
    expect_options(&newer.known, 0);
    newer.known.size = sizeof(struct strait_channel_options);
    expect_options(&newer.known, 0);
    newer.known.message_size = SIZE_MAX;
    newer.known.senders = 99999;
    newer.known.shared = 7;
    expect_options(&newer.known, -EINVAL);
    newer.known.size = offsetof(struct strait_channel_options, message_size);
    expect_options(&newer.known, 0);
}

/* ---- capacity ---- */

#define LARGE (((size_t)1 << 18) + 1)

static const size_t capacities[] = {1,  2,  3,   4,   5,    7,    8,    9,    31,   63,
                                    64, 65, 100, 127, 1000, 1023, 1024, 1025, LARGE};

/* Full at n, and room for exactly one more for each one taken, three times round the memory; and
 * one call fills a channel to the brim and one empties it, wherever its memory ends. */
TEST_EACH_VARIANT(capacity_is_exact)
{
    for (size_t i = 0; i < COUNT(capacities); i++) {
        size_t n = capacities[i];
        struct ends ends;
        ends_open(&ends, test, n, 3);
        for (size_t sent = 0; sent < n; sent++) {
            ends_send(&ends, 1, 1);
        }
        for (size_t step = 0; step < (n < LARGE ? 3 * n + 200 : 0); step++) {
            ends_send(&ends, 1, -EAGAIN);
            ends_receive(&ends, 1, 1);
            ends_send(&ends, 1, 1);
        }
        ends_receive(&ends, n + 1, (ptrdiff_t)n);
        for (size_t step = 0; step < (n < LARGE ? 150 : 3); step++) {
            size_t in = step % n;
            size_t out = step % (n + 1);
            ends_send(&ends, in, (ptrdiff_t)in);
            ends_send(&ends, 2 * n, (ptrdiff_t)(n - in));
            ends_send(&ends, n, -EAGAIN);
            ends_receive(&ends, out, (ptrdiff_t)out);
            ends_receive(&ends, 2 * n + 1, out == n ? -EAGAIN : (ptrdiff_t)(n - out));
        }
        ends_close(&ends, 0);
    }
}

/* Nobody writes beyond a message, or beyond the three that were asked for. */
TEST_EACH_VARIANT(message_sizes)
{
    for (size_t size = 1; size <= 130; size++) {
        unsigned char buffer[3 * 130 + 8];
        struct ends ends;
        ends_open(&ends, test, 5, size);
        for (size_t i = 0; i < 40; i++) {
            memset(buffer, 0xee, sizeof(buffer));
            ends_send(&ends, 3, 3);
            assert_returns(strait_try_receive(&ends.receiver, buffer, 3), 3);
            tally_messages(&ends.tally, buffer, 3, size);
            for (size_t byte = 3 * size; byte < 3 * size + 8; byte++) {
                assert_int_equal(buffer[byte], 0xee);
            }
        }
        ends_send(&ends, 4, 4);
        ends_close(&ends, 4);
    }
}

/* ---- several senders ---- */

/* How many may be open at once, one with an fd, and what the next one is told. */
TEST_EACH_MODE(senders_open)
{
    struct strait_channel *channel = case_channel(test, 2, 8);
    struct strait_sender senders[SENDERS_MOST + 1];
    unsigned most = case_senders(test);
    bool any = case_has(test, STRAIT_SENDERS_ANY) && test->sender != STRAIT_WAIT_FD;
    uint64_t message = 1;
    for (unsigned i = 0; i < most; i++) {
        assert_returns(strait_sender_open(&senders[i], channel), 0);
    }
    assert_returns(strait_sender_open(&senders[most], channel), any ? 0 : -EBUSY);
    assert_returns(strait_try_send(&senders[most], &message, 1), any ? 1 : -EPIPE);
    strait_sender_close(&senders[most]);
    strait_sender_close(&senders[0]);
    assert_returns(strait_sender_open(&senders[0], channel), most == 1 ? -EPIPE : 0);
    strait_channel_destroy(channel, NULL, NULL);
}

/* A sender that keeps its place full does not keep another's message from its turn, which comes
 * after a capacity's worth of each other sender at most, however far the receiver looks ahead. */
static void check_fairness(const struct test_case *test, size_t ahead)
{
    const size_t capacity = 4;
    struct strait_channel *channel = case_channel(test, capacity, 8);
    struct strait_sender senders[SENDERS_MOST];
    struct strait_receiver receiver;
    struct strait_span span;
    unsigned count = case_senders(test);
    uint64_t sent[SENDERS_MOST] = {0};
    size_t since[SENDERS_MOST] = {0};
    unsigned char message[8];
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    for (unsigned i = 0; i < count; i++) {
        assert_returns(strait_sender_open(&senders[i], channel), 0);
    }
    for (size_t step = 0; step < 2000; step++) {
        for (unsigned k = 0; k < count; k++) {
            unsigned i = (unsigned)(step + k) % count; /* where they share the room: in turn */
            messages_write(message, 1, 8, i, sent[i]);
            sent[i] += strait_try_send(&senders[i], message, 1) == 1;
            since[i]++;
        }
        assert_true(strait_peek(&receiver, ahead, &span) > 0);
        since[message_sender(span.messages)] = 0;
        span.count = 1;
        strait_release(&receiver, &span);
        for (unsigned i = 0; i < count; i++) {
            assert_true(since[i] <= 2 * count * capacity);
        }
    }
    strait_channel_destroy(channel, NULL, NULL);
}

TEST_EACH_VARIANT(fair_to_each_sender)
{
    for (size_t ahead = 1; ahead <= 5; ahead++) {
        check_fairness(test, ahead);
    }
}

/* ---- wake-ups ---- */

/* How often the eventfd was written since it was last cleared, without clearing it. */
static unsigned long written(int fd)
{
    char path[64];
    char line[128];
    unsigned long count = ~0ul;
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        sscanf(line, "eventfd-count: %lx", &count);
    }
    fclose(file);
    return count;
}

static int arm(struct ends *ends, bool sends)
{
    return sends ? strait_sender_arm(&ends->sender) : strait_receiver_arm(&ends->receiver);
}

/* Many messages to one armed receiver, or places to one armed sender, are one write to its eventfd;
 * none if it is not armed. */
static void check_coalescing(const struct test_case *test, bool sends)
{
    struct ends ends;
    void (*make)(struct ends *, size_t, ptrdiff_t) = sends ? ends_receive : ends_send;
    void (*use)(struct ends *, size_t, ptrdiff_t) = sends ? ends_send : ends_receive;
    ends_open(&ends, test, 8, 8);
    int fd = sends ? strait_sender_fd(&ends.sender) : strait_receiver_fd(&ends.receiver);
    if (sends) {
        ends_send(&ends, 8, 8);
    }
    for (int lap = 0; lap < 3; lap++) {
        assert_returns(arm(&ends, sends), 1);
        assert_int_equal(written(fd), 0);
        for (int i = 0; i < 8; i++) {
            make(&ends, 1, 1);
        }
        assert_int_equal(written(fd), 1);
        use(&ends, 8, 8);
        assert_int_equal(written(fd), 1);
    }
    make(&ends, 1, 1);
    assert_returns(arm(&ends, sends), 0);
    unsigned long before = written(fd);
    make(&ends, 4, 4);
    assert_int_equal(written(fd), before);
    use(&ends, 5, 5);
    ends_close(&ends, sends ? 8 : 0);
}

TEST_EACH_MODE(wake_ups_coalesce)
{
    if (test->sender != STRAIT_WAIT_FD) {
        skip();
    }
    check_coalescing(test, false);
    if (case_has(test, STRAIT_SENDERS_ONE)) { /* several senders are each told */
        check_coalescing(test, true);
    }
}
