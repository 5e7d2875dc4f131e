/* SPDX-License-Identifier: MIT */
/*
 * support: what the channel's tests share.
 *
 *   suite     a table of cmocka tests, filled at run time from the table of variants, so that a new
 *             variant is in every test by its one line in strait/ring.h
 *   message   bytes that say who sent them, when, and whether they arrived whole
 *   watchdog  ends a test program in which nothing moves any more. It measures progress, not the
 *             clock: a slow machine is not a failure
 *
 * cmocka's assertions work on the main thread alone. Other threads count what went wrong in an
 * atomic, which the main thread asserts.
 */
#ifndef STRAIT_TESTS_SUPPORT_H
#define STRAIT_TESTS_SUPPORT_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "strait/channel.h"

#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif
#ifndef TEST_TSAN
#define TEST_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif
#ifndef TEST_ASAN
#define TEST_ASAN 0
#endif

/* ---- how much ---- */

static inline unsigned long environment(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : otherwise;
}

/* An iteration count: times STRAIT_STRESS for a soak, a tenth under ThreadSanitizer. */
static inline size_t scaled(size_t n)
{
    size_t times = environment("STRAIT_STRESS", 1);
    size_t all = n * (times ? times : 1);
    return TEST_TSAN ? all / 10 + 1 : all;
}

/* ---- errno: no call may touch it ---- */

#define ERRNO_MARK 4242

/* For any thread: has errno been left alone since the last question? */
static inline bool errno_kept(void)
{
    bool kept = errno == ERRNO_MARK;
    errno = ERRNO_MARK;
    return kept;
}

/* For the main thread: the call's result, and errno as it was. */
#define assert_returns(call, expected)                                                             \
    do {                                                                                           \
        errno = ERRNO_MARK;                                                                        \
        long long result_ = (long long)(call);                                                     \
        assert_int_equal(errno, ERRNO_MARK);                                                       \
        assert_int_equal(result_, (long long)(expected));                                          \
    } while (0)

/* ---- random numbers: splitmix64 ---- */

static inline uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t draw(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15u;
    return mix(*seed);
}

/* 0 to n-1. */
static inline size_t draw_below(uint64_t *seed, size_t n)
{
    return (size_t)(draw(seed) % n);
}

static inline uint64_t first_seed(uint64_t otherwise)
{
    return environment("STRAIT_SEED", otherwise);
}

/* ---- messages ---- */

#define SENDERS_MOST 4
#define MESSAGE_MOST 256

/* The first byte holds the sender and the low bits of the sequence number, the others a hash of
 * both: a message of any size shows whose it is, and is the one expected or not. */
static inline void message_write(void *message, size_t size, unsigned sender, uint64_t sequence)
{
    unsigned char *to = message;
    uint64_t hash = 0;
    to[0] = (unsigned char)(sender << 6 | (sequence & 63));
    for (size_t i = 1; i < size; i++) {
        hash = (i - 1) % 8 ? hash >> 8 : mix(sequence * SENDERS_MOST + sender + (i << 56));
        to[i] = (unsigned char)hash;
    }
}

static inline void messages_write(void *messages, size_t n, size_t size, unsigned sender,
                                  uint64_t sequence)
{
    for (size_t i = 0; i < n; i++) {
        message_write((char *)messages + i * size, size, sender, sequence + i);
    }
}

static inline unsigned message_sender(const void *message)
{
    return *(const unsigned char *)message >> 6;
}

/* What a receiver expects next of each sender. */
struct tally {
    uint64_t next[SENDERS_MOST];
    uint64_t wrong; /* lost, doubled, out of order or damaged */
};

static inline void tally_message(struct tally *tally, const void *message, size_t size)
{
    unsigned char expected[MESSAGE_MOST];
    unsigned sender = message_sender(message);
    message_write(expected, size, sender, tally->next[sender]);
    tally->wrong += memcmp(expected, message, size) != 0;
    tally->next[sender]++;
}

static inline void tally_messages(struct tally *tally, const void *messages, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        tally_message(tally, (const char *)messages + i * size, size);
    }
}

struct drop_tally {
    struct tally *tally;
    size_t message_size;
    uint64_t dropped;
};

/* A strait_drop_fn: what is dropped goes on where what was received has ended. */
static inline void tally_drop(void *message, void *context)
{
    struct drop_tally *drops = context;
    tally_message(drops->tally, message, drops->message_size);
    drops->dropped++;
}

/* ---- threads ---- */

/* Counts what went wrong, for the main thread. Relaxed, and nothing at all where all is well: an
 * order made here would hide one that the library fails to make. */
static inline void error_if(_Atomic unsigned long *errors, bool wrong)
{
    if (wrong) {
        atomic_fetch_add_explicit(errors, 1, memory_order_relaxed);
    }
}

static inline void thread_start(pthread_t *thread, void *(*body)(void *), void *context)
{
    assert_int_equal(pthread_create(thread, NULL, body, context), 0);
}

static inline void thread_join(pthread_t thread)
{
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static inline void sleep_ns(long ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    nanosleep(&t, NULL);
}

/* Keeps the CPU busy for about `turns` nanoseconds. */
static inline void dawdle(size_t turns)
{
    for (volatile size_t i = 0; i < turns; i++) {
    }
}

static inline int64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A gate that threads pass together; a spinning one, so that they really do. */
static inline void gate_pass(_Atomic unsigned *gate, unsigned threads)
{
    atomic_fetch_add(gate, 1);
    while (atomic_load(gate) < threads) {
        sched_yield();
    }
}

/* Waits for a word that another thread sets. */
static inline void await(const _Atomic unsigned *word, unsigned value)
{
    while (atomic_load(word) < value) {
        sched_yield();
    }
}

/* ---- the watchdog ---- */

static _Atomic unsigned long progress;
static const char *_Atomic running = "the start";

static inline void progress_made(void)
{
    atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
}

/* Seconds in which not one message may move, and not one test end. */
#define WATCHDOG_S 60

static inline void *watchdog(void *context)
{
    unsigned long limit = environment("STRAIT_WATCHDOG", WATCHDOG_S);
    unsigned long seen = 0;
    for (unsigned long still = 0; still < limit * 10; still++) {
        sleep_ns(100000000);
        unsigned long now = atomic_load_explicit(&progress, memory_order_relaxed);
        still = now == seen ? still : 0;
        seen = now;
    }
    fprintf(stderr, "watchdog: nothing has moved for %lu s in \"%s\"\n", limit,
            atomic_load(&running));
    (void)context;
    _exit(3);
}

/* ---- suites ---- */

struct test_case {
    const struct strait_variant *variant;
    enum strait_wait sender;
    enum strait_wait receiver;
    char name[96];
};

#define SUITE_MOST 512

struct suite {
    struct CMUnitTest tests[SUITE_MOST];
    struct test_case cases[SUITE_MOST];
    size_t count;
};

static inline const char *wait_name(enum strait_wait mode)
{
    static const char *const names[] = {"default", "park", "spin", "fd"};
    return names[mode];
}

static inline int case_begin(void **state)
{
    const struct test_case *test = *state;
    atomic_store(&running, test->name);
    return 0;
}

static inline int case_end(void **state)
{
    (void)state;
    progress_made();
    return 0;
}

static inline struct test_case *suite_add(struct suite *suite, CMUnitTestFunction body)
{
    if (suite->count == SUITE_MOST) {
        abort();
    }
    struct test_case *test = &suite->cases[suite->count];
    struct CMUnitTest *entry = &suite->tests[suite->count++];
    entry->name = test->name;
    entry->test_func = body;
    entry->setup_func = case_begin;
    entry->teardown_func = case_end;
    entry->initial_state = test;
    return test;
}

static inline void suite_once(struct suite *suite, const char *name, CMUnitTestFunction body)
{
    struct test_case *test = suite_add(suite, body);
    snprintf(test->name, sizeof(test->name), "%s", name);
}

static inline void suite_pair(struct suite *suite, const char *name, CMUnitTestFunction body,
                              const struct strait_variant *variant, enum strait_wait sender,
                              enum strait_wait receiver)
{
    struct test_case *test = suite_add(suite, body);
    test->variant = variant;
    test->sender = sender;
    test->receiver = receiver;
    snprintf(test->name, sizeof(test->name), "%s %s %s-%s", name, variant->name, wait_name(sender),
             wait_name(receiver));
}

/* Once for each variant. */
static inline void suite_variants(struct suite *suite, const char *name, CMUnitTestFunction body)
{
    for (size_t i = 0; strait_variant_at(i); i++) {
        suite_pair(suite, name, body, strait_variant_at(i), STRAIT_WAIT_DEFAULT,
                   STRAIT_WAIT_DEFAULT);
    }
}

/* Once for each variant and wait mode, the same on both sides. */
static inline void suite_modes(struct suite *suite, const char *name, CMUnitTestFunction body)
{
    for (size_t i = 0; strait_variant_at(i); i++) {
        for (int mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
            suite_pair(suite, name, body, strait_variant_at(i), (enum strait_wait)mode,
                       (enum strait_wait)mode);
        }
    }
}

/* Once for each variant and each pair of wait modes. */
static inline void suite_mode_pairs(struct suite *suite, const char *name, CMUnitTestFunction body)
{
    for (size_t i = 0; strait_variant_at(i); i++) {
        for (int pair = 0; pair < 9; pair++) {
            suite_pair(suite, name, body, strait_variant_at(i), (enum strait_wait)(1 + pair / 3),
                       (enum strait_wait)(1 + pair % 3));
        }
    }
}

static inline void watchdog_start(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, watchdog, NULL) == 0) {
        pthread_detach(thread);
    }
}

/* STRAIT_TEST="walk *" runs those alone. */
static inline int suite_run(struct suite *suite, const char *name)
{
    cmocka_set_test_filter(getenv("STRAIT_TEST"));
    return _cmocka_run_group_tests(name, suite->tests, suite->count, NULL, NULL);
}

/* ---- channels ---- */

static inline struct strait_channel_options case_options(const struct test_case *test,
                                                         size_t capacity, size_t message_size)
{
    /* an fd serves one sending thread: where there may be more, senders park */
    bool parks = test->sender == STRAIT_WAIT_FD && test->variant->senders != STRAIT_SENDERS_ONE;
    struct strait_channel_options options = {
        .size = sizeof(options),
        .variant = test->variant->name,
        .capacity = capacity,
        .message_size = message_size,
        .senders = test->variant->senders == STRAIT_SENDERS_REGISTERED ? SENDERS_MOST : 1,
        .sender = parks ? STRAIT_WAIT_PARK : test->sender,
        .receiver = test->receiver,
    };
    return options;
}

static inline struct strait_channel *case_channel(const struct test_case *test, size_t capacity,
                                                  size_t message_size)
{
    struct strait_channel_options options = case_options(test, capacity, message_size);
    struct strait_channel *channel = NULL;
    assert_returns(strait_channel_create(&channel, &options), 0);
    assert_non_null(channel);
    return channel;
}

/* How many senders a test may have: an fd serves one. */
static inline unsigned case_senders(const struct test_case *test)
{
    bool one = test->variant->senders == STRAIT_SENDERS_ONE || test->sender == STRAIT_WAIT_FD;
    return one ? 1 : SENDERS_MOST;
}

#endif /* STRAIT_TESTS_SUPPORT_H */
