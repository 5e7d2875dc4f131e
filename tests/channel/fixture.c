/* SPDX-License-Identifier: MIT */
#include "channel/fixture.h"

/* ---- messages ---- */

/* The first byte holds the sender and the low bits of the sequence number, the others a hash of
 * both: a message of any size shows whose it is, and is the one expected or not. */
static void message_write(unsigned char *to, size_t size, unsigned sender, uint64_t sequence)
{
    uint64_t hash = 0;
    to[0] = (unsigned char)(sender << 6 | (sequence & 63));
    for (size_t i = 1; i < size; i++) {
        hash =
            (i - 1) % 8 ? hash >> 8 : mix(sequence * SENDERS_MOST + sender + ((uint64_t)i << 56));
        to[i] = (unsigned char)hash;
    }
}

void messages_write(void *messages, size_t n, size_t size, unsigned sender, uint64_t sequence)
{
    for (size_t i = 0; i < n; i++) {
        message_write((unsigned char *)messages + i * size, size, sender, sequence + i);
    }
}

unsigned message_sender(const void *message)
{
    return *(const unsigned char *)message >> 6;
}

void tally_messages(struct tally *tally, const void *messages, size_t n, size_t size)
{
    unsigned char expected[MESSAGE_MOST];
    for (size_t i = 0; i < n; i++) {
        const char *message = (const char *)messages + i * size;
        unsigned sender = message_sender(message);
        message_write(expected, size, sender, tally->next[sender]++);
        tally->wrong += memcmp(expected, message, size) != 0;
    }
}

void tally_drop(void *message, void *context)
{
    struct drop_tally *drops = context;
    tally_messages(drops->tally, message, 1, drops->message_size);
    drops->dropped++;
}

/* ---- channels ---- */

bool case_has(const struct test_case *test, enum strait_senders senders)
{
    return test->variant->senders == senders;
}

unsigned case_senders(const struct test_case *test)
{
    bool one = case_has(test, STRAIT_SENDERS_ONE) || test->sender == STRAIT_WAIT_FD;
    return one ? 1 : SENDERS_MOST;
}

struct strait_channel_options case_options(const struct test_case *test, size_t capacity,
                                           size_t message_size)
{
    struct strait_channel_options options = {
        .size = sizeof(options),
        .variant = test->variant->name,
        .capacity = capacity,
        .message_size = message_size,
        .senders = case_has(test, STRAIT_SENDERS_REGISTERED) ? SENDERS_MOST : 1,
        .sender = test->sender,
        .receiver = test->receiver,
    };
    return options;
}

static struct strait_channel *create(const struct strait_channel_options *options)
{
    struct strait_channel *channel = NULL;
    assert_returns(strait_channel_create(&channel, options), 0);
    assert_non_null(channel);
    return channel;
}

struct strait_channel *case_channel(const struct test_case *test, size_t capacity,
                                    size_t message_size)
{
    struct strait_channel_options options = case_options(test, capacity, message_size);
    return create(&options);
}

void ends_open_as(struct ends *ends, const struct strait_channel_options *options)
{
    memset(ends, 0, sizeof(*ends));
    ends->size = options->message_size;
    ends->channel = create(options);
    assert_returns(strait_sender_open(&ends->sender, ends->channel), 0);
    assert_returns(strait_receiver_open(&ends->receiver, ends->channel), 0);
}

void ends_open(struct ends *ends, const struct test_case *test, size_t capacity, size_t size)
{
    struct strait_channel_options options = case_options(test, capacity, size);
    ends_open_as(ends, &options);
}

void ends_send(struct ends *ends, size_t n, ptrdiff_t expected)
{
    unsigned char *messages = malloc(n * ends->size + 1);
    assert_non_null(messages);
    messages_write(messages, n, ends->size, 0, ends->sent);
    assert_returns(strait_try_send(&ends->sender, messages, n), expected);
    ends->sent += expected > 0 ? (uint64_t)expected : 0;
    free(messages);
}

void ends_receive(struct ends *ends, size_t n, ptrdiff_t expected)
{
    unsigned char *messages = malloc(n * ends->size + 1);
    assert_non_null(messages);
    assert_returns(strait_try_receive(&ends->receiver, messages, n), expected);
    tally_messages(&ends->tally, messages, expected > 0 ? (size_t)expected : 0, ends->size);
    assert_int_equal(ends->tally.wrong, 0);
    free(messages);
}

void ends_close(struct ends *ends, uint64_t expected)
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

/* ---- there and back ---- */

struct echo {
    struct ends out;
    struct ends home;
};

static void pause_at_random(uint64_t *seed)
{
    size_t kind = draw_below(seed, 64);
    if (kind == 0) {
        sleep_ns(100000);
    } else if (kind < 4) {
        sched_yield();
    } else if (kind < 32) {
        dawdle(draw_below(seed, kind < 12 ? 20000 : 500));
    }
}

static void *echo_body(void *context)
{
    struct echo *echo = context;
    uint64_t seed = 11;
    uint64_t number;
    strait_receiver_adopt(&echo->out.receiver);
    strait_sender_adopt(&echo->home.sender);
    errno = ERRNO_MARK;
    while (strait_receive(&echo->out.receiver, &number, 1, STRAIT_FOREVER) == 1) {
        EXPECT(errno_kept());
        pause_at_random(&seed);
        errno = ERRNO_MARK;
        EXPECT(strait_send(&echo->home.sender, &number, 1, STRAIT_FOREVER) == 1);
    }
    EXPECT(errno_kept());
    return NULL;
}

void echo_run(const struct strait_channel_options *options, uint64_t rounds)
{
    struct echo echo;
    pthread_t thread;
    uint64_t seed = 13;
    ends_open_as(&echo.out, options);
    ends_open_as(&echo.home, options);
    thread_start(&thread, echo_body, &echo);
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t answer = 0;
        assert_returns(strait_send(&echo.out.sender, &i, 1, STRAIT_FOREVER), 1);
        pause_at_random(&seed);
        assert_returns(strait_receive(&echo.home.receiver, &answer, 1, STRAIT_FOREVER), 1);
        assert_int_equal(answer, i);
        progress_made();
    }
    strait_sender_close(&echo.out.sender);
    thread_join(thread);
    strait_channel_destroy(echo.out.channel, NULL, NULL);
    strait_channel_destroy(echo.home.channel, NULL, NULL);
}
