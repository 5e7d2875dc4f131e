/* SPDX-License-Identifier: MIT */
/* What the channel's tests share: messages that tell what became of them, and channels of a test's
 * ring and wait modes. */
#ifndef STRAIT_TESTS_CHANNEL_FIXTURE_H
#define STRAIT_TESTS_CHANNEL_FIXTURE_H

#include "harness.h"

/* ---- messages: they say who sent them, when, and whether they arrived whole ---- */

#define SENDERS_MOST 4
#define MESSAGE_MOST 256

void messages_write(void *messages, size_t n, size_t size, unsigned sender, uint64_t sequence);
unsigned message_sender(const void *message);

/* What a receiver expects next of each sender. */
struct tally {
    uint64_t next[SENDERS_MOST];
    uint64_t wrong; /* lost, doubled, out of order or damaged */
};

void tally_messages(struct tally *tally, const void *messages, size_t n, size_t size);

struct drop_tally {
    struct tally *tally;
    size_t message_size;
    uint64_t dropped;
};

/* A strait_drop_fn: what is dropped goes on where what was received has ended. */
void tally_drop(void *message, void *context);

/* ---- channels ---- */

struct strait_channel_options case_options(const struct test_case *test, size_t capacity,
                                           size_t message_size);
struct strait_channel *case_channel(const struct test_case *test, size_t capacity,
                                    size_t message_size);

/* How many senders a test may have: an fd serves one. */
unsigned case_senders(const struct test_case *test);

bool case_has(const struct test_case *test, enum strait_senders senders);

/* A channel with a handle on each side, used by one thread. */
struct ends {
    struct strait_channel *channel;
    struct strait_sender sender;
    struct strait_receiver receiver;
    size_t size; /* of a message */
    uint64_t sent;
    struct tally tally;
};

void ends_open(struct ends *ends, const struct test_case *test, size_t capacity, size_t size);
void ends_open_as(struct ends *ends, const struct strait_channel_options *options);

/* Copies n messages in or out, and asserts what the call answers. */
void ends_send(struct ends *ends, size_t n, ptrdiff_t expected);
void ends_receive(struct ends *ends, size_t n, ptrdiff_t expected);

/* Drops what is left, which must be `expected` messages. */
void ends_close(struct ends *ends, uint64_t expected);

/* Numbers there and back, through a thread of its own; each is waited for, with pauses on both
 * sides in which the other falls asleep, or does not. A wake-up that is lost is a standstill. */
void echo_run(const struct strait_channel_options *options, uint64_t rounds);

#endif /* STRAIT_TESTS_CHANNEL_FIXTURE_H */
