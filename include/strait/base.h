/* SPDX-License-Identifier: MIT */
/* base: what every other header needs of the language. */
#ifndef STRAIT_BASE_H
#define STRAIT_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef STRAIT_CHECKED
#include <stdio.h>
#include <stdlib.h>
#endif

#define STRAIT_API __attribute__((visibility("default")))

/* Of every callback's type: what leaves one by an exception would leave half a call behind. */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define STRAIT_NOEXCEPT noexcept
#else
#define STRAIT_NOEXCEPT
#endif

/* Around what a header declares. It is C: a C++ consumer's warnings of casts, and of functions and
 * structs of one name, are not for it. */
#if defined(__cplusplus)
#define STRAIT_C_BEGIN                                                                             \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wold-style-cast\"")          \
        _Pragma("GCC diagnostic ignored \"-Wshadow\"") extern "C"                                  \
    {
#define STRAIT_C_END                                                                               \
    }                                                                                              \
    _Pragma("GCC diagnostic pop")
#else
#define STRAIT_C_BEGIN
#define STRAIT_C_END
#endif

#define STRAIT_STATIC_ASSERT(condition, message) static_assert(condition, message)

/* Two 64-byte lines: the prefetcher of current x86 cores fetches them in pairs. */
#define STRAIT_LINE 128
#define STRAIT_LINE_ALIGNED __attribute__((aligned(STRAIT_LINE)))

/* How many messages, events or completions are handled in one go where no other number is given. */
#define STRAIT_BUDGET 256

#define STRAIT_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define STRAIT_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* For what must not become a call, however much of it there is: a message's way by name. */
#define STRAIT_INLINE static inline __attribute__((always_inline, unused))

/* For what runs once in the life of what it is for: its code is to be small. clang must be told. */
#if defined(__clang__)
#define STRAIT_P_COLD __attribute__((cold, noinline, minsize))
#else
#define STRAIT_P_COLD __attribute__((cold, noinline))
#endif

/* Tells the compiler what it cannot see. */
#define STRAIT_ASSUME(condition) ((condition) ? (void)0 : __builtin_unreachable())

/* What an object keeps while it calls a callback, NULL otherwise: the frame that calls it. */
#ifdef STRAIT_CHECKED
#define STRAIT_FRAME __builtin_frame_address(0)
#else
#define STRAIT_FRAME "" /* anything: only the check asks which */
#endif

/* Is a call made inside the callback, whose frame is given? STRAIT_CHECKED: where the call's own
 * frame does not lie below that one in the stack, the callback has been left, by longjmp, by an
 * exception or with its thread; what called it is half done for ever, and the program ends. */
STRAIT_INLINE bool strait_inside(const void *frame)
{
#ifdef STRAIT_CHECKED
    if (frame && (uintptr_t)__builtin_frame_address(0) >= (uintptr_t)frame) {
        fprintf(stderr, "strait: a callback returns to who called it: one was left by longjmp, by "
                        "an exception, or by the end of its thread\n");
        abort();
    }
#endif
    return frame != NULL;
}

static inline size_t strait_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t strait_round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

#endif /* STRAIT_BASE_H */
