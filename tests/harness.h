/* SPDX-License-Identifier: MIT */
/*
 * harness: what all tests share. A test is a function that is declared by one of these, and runs in
 * each program that it is compiled into; no two tests have one name.
 *
 *   TEST(defaults) {...}                    once
 *   TEST_EACH_VARIANT(message_sizes) {...}  for each ring of the table, which is in `test`
 *   TEST_EACH_MODE(senders_open) {...}      for each ring and wait mode, the same on both sides
 *   TEST_EACH_PAIR(walk) {...}              for each ring and pair of wait modes
 *
 *   STRAIT_TEST="walk *"   runs the tests of these names alone: "name", or "name ring modes"
 *   STRAIT_SEED=n          where random numbers start
 *   STRAIT_STRESS=n        n times as many iterations
 *   STRAIT_WATCHDOG=n      seconds in which nothing may move and no test end (60; 0: no watchdog)
 *
 * A test ends with the threads and descriptors with which it began, and with no EXPECT that failed.
 * cmocka's assertions work on the main thread alone: other threads use EXPECT.
 */
#ifndef STRAIT_TESTS_HARNESS_H
#define STRAIT_TESTS_HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

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

#if !defined(__has_feature)
#define TEST_HAS(sanitizer) 0
#else
#define TEST_HAS(sanitizer) __has_feature(sanitizer)
#endif
#if defined(__SANITIZE_THREAD__) || TEST_HAS(thread_sanitizer)
#define TEST_TSAN 1
#else
#define TEST_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__) || TEST_HAS(address_sanitizer)
#define TEST_ASAN 1
#else
#define TEST_ASAN 0
#endif

/* In qemu's user mode, see tests/consumers. A thread that was joined lives on there for a moment.
 * In a child of a process with several threads, none can be started: qemu ends itself with "ERROR:
 * plugins/core.c: qemu_plugin_vcpu_init_hook: assertion failed", for it numbers threads anew. */
#ifndef TEST_QEMU
#define TEST_QEMU 0
#endif

/* A callback need not use all that it is told. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- tests ---- */

struct test_case {
    const struct test *test;
    const struct strait_variant *variant;
    enum strait_wait sender;
    enum strait_wait receiver;
    char name[96];
};

enum test_per { PER_PROGRAM, PER_VARIANT, PER_MODE, PER_PAIR };

struct test {
    const char *name;
    enum test_per per;
    void (*once)(void);
    void (*each)(const struct test_case *test);
    struct test *next;
};

void test_add(struct test *test);

#define TEST_DECLARED(NAME, PER, MEMBER, ...)                                                      \
    static void NAME(__VA_ARGS__);                                                                 \
    __attribute__((constructor)) static void NAME##_add(void)                                      \
    {                                                                                              \
        static struct test own = {.name = #NAME, .per = PER, .MEMBER = NAME};                      \
        test_add(&own);                                                                            \
    }                                                                                              \
    static void NAME(__VA_ARGS__)

#define TEST(NAME) TEST_DECLARED(NAME, PER_PROGRAM, once, void)
#define TEST_EACH(NAME, PER) TEST_DECLARED(NAME, PER, each, const struct test_case *test)
#define TEST_EACH_VARIANT(NAME) TEST_EACH(NAME, PER_VARIANT)
#define TEST_EACH_MODE(NAME) TEST_EACH(NAME, PER_MODE)
#define TEST_EACH_PAIR(NAME) TEST_EACH(NAME, PER_PAIR)

/* For a main() of its own: starts the watchdog, runs the tests, returns how many failed. A program
 * that has none does only this. */
int tests_run(void);

/* Tells the watchdog that something has moved: any thread. */
void progress_made(void);

/* ---- assertions ---- */

/* Any thread: a condition that fails is printed, and fails the test when it ends. Where all is well
 * it orders nothing: an order made here would hide one that the library fails to make. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fault(__FILE__, __LINE__, #condition);                                                 \
        }                                                                                          \
    } while (0)

void fault(const char *file, int line, const char *what);
unsigned faults_seen(void);
void assert_no_faults(void); /* the end of a test does it, too */

/* No call may touch errno. */
#define ERRNO_MARK 4242

/* Any thread: has errno been left alone since the last question? */
bool errno_kept(void);

/* The main thread: what a call returns, and errno as it was. */
#define assert_returns(call, expected)                                                             \
    do {                                                                                           \
        errno = ERRNO_MARK;                                                                        \
        long long result_ = (long long)(call);                                                     \
        assert_int_equal(errno, ERRNO_MARK);                                                       \
        assert_int_equal(result_, (long long)(expected));                                          \
    } while (0)

/* ---- how much, and at random ---- */

/* An iteration count: times STRAIT_STRESS for a soak, a tenth under ThreadSanitizer. */
size_t scaled(size_t n);

uint64_t first_seed(uint64_t otherwise);
uint64_t mix(uint64_t x); /* splitmix64 */
uint64_t draw(uint64_t *seed);
size_t draw_below(uint64_t *seed, size_t n); /* 0 to n-1 */

/* ---- threads ---- */

void thread_start(pthread_t *thread, void *(*body)(void *), void *context);
void thread_join(pthread_t thread);
int32_t thread_number(void); /* the kernel's */
int64_t thread_cpu_ns(void);

void sleep_ns(long ns);
void dawdle(size_t turns); /* busy for about as many nanoseconds */

/* Until another thread has set the word to `value` at least. Yields. */
void await(const _Atomic unsigned *word, unsigned value);

/* Threads that pass together. Yields, so that they really do. */
void gate_pass(_Atomic unsigned *gate, unsigned threads);

/* Holds threads until it opens, and counts who has come. Sleeps, so that threads of the lowest
 * scheduling class get the CPU. */
struct gate {
    _Atomic unsigned arrived;
    _Atomic unsigned open;
};

#define GATE_NAP_NS 20000

void gate_wait(struct gate *gate);
void gate_await(const struct gate *gate, unsigned arrivals);
void gate_open(struct gate *gate);

/* ---- the process ---- */

struct census {
    unsigned threads;
    unsigned fds;
};

struct census census_take(void);
void assert_census(struct census before);

bool thread_lives(const char *tid);

bool readable(int fd, int milliseconds);

/* Runs `body` in a child without a core file, whose stderr goes to `said`: the wait status, which
 * is 0 if no EXPECT failed there. Two minutes end it. Under ThreadSanitizer and in qemu a
 * child can start threads only where the parent has none: no watchdog. */
int in_child(void (*body)(void *context), void *context, char *said, size_t size);

/* The same: it says nothing, and its status is 0. */
void assert_well_in_child(void (*body)(void *context), void *context);

/* The same: it aborts, and says each of these words (the last is NULL). */
void assert_abort_in_child(void (*body)(void *context), void *context, const char *const *words);

#endif /* STRAIT_TESTS_HARNESS_H */
