/* SPDX-License-Identifier: MIT */
/*
 * What the tests use of cmocka, for machines and C libraries that have none. A program has one
 * source with tests, and a harness: the state is the process's.
 */
#ifndef STRAIT_TESTS_ELSEWHERE_CMOCKA_H
#define STRAIT_TESTS_ELSEWHERE_CMOCKA_H

#include <fnmatch.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
    void *initial_state;
};

/* How a test ends before its end: longjmp with one of these. Weak: every source has them. */
enum { CMOCKA_FAILED = 1, CMOCKA_SKIPPED };
__attribute__((weak)) jmp_buf cmocka_end;
__attribute__((weak)) const char *cmocka_filter;

static inline void cmocka_set_test_filter(const char *pattern)
{
    cmocka_filter = pattern;
}

static inline void skip(void)
{
    longjmp(cmocka_end, CMOCKA_SKIPPED);
}

#define print_message(...) printf(__VA_ARGS__)
#define fail_msg(...) (fprintf(stderr, __VA_ARGS__), cmocka_failed(__FILE__, __LINE__, "fail_msg"))

static inline void cmocka_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    longjmp(cmocka_end, CMOCKA_FAILED);
}

#define CMOCKA_HOLDS(condition, what)                                                              \
    ((condition) ? (void)0 : cmocka_failed(__FILE__, __LINE__, what))

#define assert_true(x) CMOCKA_HOLDS(x, #x)
#define assert_false(x) CMOCKA_HOLDS(!(x), "not " #x)
#define assert_null(x) CMOCKA_HOLDS((x) == NULL, #x " is NULL")
#define assert_non_null(x) CMOCKA_HOLDS((x) != NULL, #x " is not NULL")
#define assert_ptr_equal(a, b) CMOCKA_HOLDS((a) == (b), #a " is " #b)
#define assert_string_equal(a, b) CMOCKA_HOLDS(strcmp(a, b) == 0, #a " is " #b)
#define assert_string_not_equal(a, b) CMOCKA_HOLDS(strcmp(a, b) != 0, #a " is not " #b)
#define assert_memory_equal(a, b, size) CMOCKA_HOLDS(memcmp(a, b, size) == 0, #a " is " #b)
#define assert_in_range(x, least, most)                                                            \
    CMOCKA_HOLDS((x) >= (least) && (x) <= (most), #x " is in range")
#define assert_int_equal(a, b)                                                                     \
    cmocka_equal(__FILE__, __LINE__, #a " is " #b, (long long)(a), (long long)(b))

static inline void cmocka_equal(const char *file, int line, const char *what, long long a,
                                long long b)
{
    if (a != b) {
        fprintf(stderr, "%lld, not %lld\n", a, b);
        cmocka_failed(file, line, what);
    }
}

/* How many have failed. */
static inline int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests,
                                          size_t count, void *setup, void *teardown)
{
    static int counts[CMOCKA_SKIPPED + 1];
    (void)setup;
    (void)teardown;
    for (size_t i = 0; i < count; i++) {
        if (cmocka_filter && fnmatch(cmocka_filter, tests[i].name, 0) != 0) {
            continue;
        }
        void *state = tests[i].initial_state;
        int end = setjmp(cmocka_end);
        if (end == 0) {
            tests[i].test_func(&state);
        } else if (end == CMOCKA_FAILED) {
            fprintf(stderr, "failed: %s\n", tests[i].name);
        }
        counts[end]++;
    }
    printf("%s: %d passed, %d skipped, %d failed\n", group, counts[0], counts[CMOCKA_SKIPPED],
           counts[CMOCKA_FAILED]);
    return counts[CMOCKA_FAILED];
}

#endif /* STRAIT_TESTS_ELSEWHERE_CMOCKA_H */
