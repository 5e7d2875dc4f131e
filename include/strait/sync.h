/* SPDX-License-Identifier: MIT */
/*
 * sync: the named memory orders, and the only place that names ck_pr or a fence.
 *
 * Everything else in strait calls these helpers. They have three bodies, so that what is checked is
 * the algorithm that ships:
 *
 *   ships        Concurrency Kit's ck_pr
 *   TSan         C11's orders on the __atomic builtins: ThreadSanitizer cannot see through
 *                ck_pr's inline assembly (STRAIT_SYNC_C11, set by itself under -fsanitize=thread)
 *   STRAIT_SYNC_HEADER
 *                a header of yours that defines the same helpers: a model checker, random delays
 *
 * Two widths: uint32_t, and uintptr_t ("word") where a counter must not come round again while a
 * thread is stopped between its load and its compare-and-swap. For statistics, uint64_t ("wide") is
 * loaded and stored, relaxed and in one piece, and that is all that can be done to it.
 *
 * Each call of a helper that is not relaxed carries a label, `name.op: pairs with other.op; what
 * becomes visible; without it what breaks`, and who writes a field is said where it is declared.
 * tests/labels checks both, and that every label has its partner.
 */
#ifndef STRAIT_SYNC_H
#define STRAIT_SYNC_H

#include "strait/base.h"

#if defined(__SANITIZE_THREAD__)
#define STRAIT_SYNC_C11 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STRAIT_SYNC_C11 1
#endif
#endif

#if defined(STRAIT_SYNC_HEADER)
#include STRAIT_SYNC_HEADER
#else

/* Always from the system's folder: the warnings of Concurrency Kit's headers are not ours. */
#include <ck_pr.h>

#if (defined(__x86_64__) || defined(__i386__) || defined(__sparc__)) != defined(CK_MD_TSO)
#error "ck_md.h was made for another architecture: its fences would be wrong here"
#endif

STRAIT_C_BEGIN

/* What the two bodies are made of: an order for C11, a fence beside it for ck_pr. */
#if defined(STRAIT_SYNC_C11)
#define STRAIT_SYNC_LOAD(WIDTH, p, ORDER) __atomic_load_n(p, ORDER)
#define STRAIT_SYNC_STORE(WIDTH, p, v, ORDER) __atomic_store_n(p, v, ORDER)
#define STRAIT_SYNC_CAS(WIDTH, p, expected, v, ORDER, FAILED)                                      \
    __atomic_compare_exchange_n(p, expected, v, false, ORDER, FAILED)
#define STRAIT_SYNC_ADD(WIDTH, p, v, ORDER) __atomic_fetch_add(p, v, ORDER)
#define STRAIT_SYNC_FENCE(KIND) ((void)0)
#else
#define STRAIT_SYNC_LOAD(WIDTH, p, ORDER) ck_pr_load_##WIDTH(p)
#define STRAIT_SYNC_STORE(WIDTH, p, v, ORDER) ck_pr_store_##WIDTH(p, v)
#define STRAIT_SYNC_CAS(WIDTH, p, expected, v, ORDER, FAILED)                                      \
    ck_pr_cas_##WIDTH##_value(p, *(expected), v, expected)
#define STRAIT_SYNC_ADD(WIDTH, p, v, ORDER) ck_pr_faa_##WIDTH(p, v)
#define STRAIT_SYNC_FENCE(KIND) ck_pr_fence_##KIND()
#endif

#define STRAIT_SYNC_OPERATIONS(NAME, TYPE, WIDTH)                                                  \
    static inline TYPE NAME##load_relaxed(const TYPE *p)                                           \
    {                                                                                              \
        return STRAIT_SYNC_LOAD(WIDTH, p, __ATOMIC_RELAXED);                                       \
    }                                                                                              \
    static inline TYPE NAME##load_acquire(const TYPE *p)                                           \
    {                                                                                              \
        TYPE v = STRAIT_SYNC_LOAD(WIDTH, p, __ATOMIC_ACQUIRE);                                     \
        STRAIT_SYNC_FENCE(acquire);                                                                \
        return v;                                                                                  \
    }                                                                                              \
    static inline void NAME##store_relaxed(TYPE *p, TYPE v)                                        \
    {                                                                                              \
        STRAIT_SYNC_STORE(WIDTH, p, v, __ATOMIC_RELAXED);                                          \
    }                                                                                              \
    static inline void NAME##store_release(TYPE *p, TYPE v)                                        \
    {                                                                                              \
        STRAIT_SYNC_FENCE(release);                                                                \
        STRAIT_SYNC_STORE(WIDTH, p, v, __ATOMIC_RELEASE);                                          \
    }                                                                                              \
    static inline bool NAME##cas_relaxed(TYPE *p, TYPE *expected, TYPE v)                          \
    {                                                                                              \
        return STRAIT_SYNC_CAS(WIDTH, p, expected, v, __ATOMIC_RELAXED, __ATOMIC_RELAXED);         \
    }                                                                                              \
    static inline bool NAME##cas_acq_rel(TYPE *p, TYPE *expected, TYPE v)                          \
    {                                                                                              \
        STRAIT_SYNC_FENCE(acqrel);                                                                 \
        bool swapped = STRAIT_SYNC_CAS(WIDTH, p, expected, v, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); \
        STRAIT_SYNC_FENCE(acqrel);                                                                 \
        return swapped;                                                                            \
    }                                                                                              \
    static inline TYPE NAME##add_acq_rel(TYPE *p, TYPE v)                                          \
    {                                                                                              \
        STRAIT_SYNC_FENCE(acqrel);                                                                 \
        TYPE before = STRAIT_SYNC_ADD(WIDTH, p, v, __ATOMIC_ACQ_REL);                              \
        STRAIT_SYNC_FENCE(acqrel);                                                                 \
        return before;                                                                             \
    }

STRAIT_SYNC_OPERATIONS(strait_, uint32_t, 32)
#if UINTPTR_MAX > UINT32_MAX
STRAIT_SYNC_OPERATIONS(strait_word_, uintptr_t, 64)
#else
STRAIT_SYNC_OPERATIONS(strait_word_, uintptr_t, 32)
#endif
#undef STRAIT_SYNC_OPERATIONS

/* One instruction wherever the machine has one, and the same in both bodies. */
static inline uint64_t strait_wide_load_relaxed(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void strait_wide_store_relaxed(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

/* Store-load order. The sleeper's side of an asymmetric pair uses strait_p_heavy_barrier (wait.c)
 * instead, so that the other side gets away with strait_light_barrier. On x86 any locked
 * instruction gives it, on a word of one's own too, and sooner than mfence does. */
static inline void strait_full_fence(void)
{
#if defined(__x86_64__) || defined(__i386__)
    uint32_t own = 0;
    ck_pr_fas_32(&own, 1);
    ck_pr_barrier();
#else
    ck_pr_fence_memory();
#endif
}

/* The same directly behind a compare-and-swap that has succeeded: x86 gives it by itself there. */
static inline void strait_fence_after_cas(void)
{
#if defined(__x86_64__) || defined(__i386__)
    ck_pr_barrier();
#else
    ck_pr_fence_memory();
#endif
}

/* Holds the compiler back, costs the processor nothing. */
static inline void strait_light_barrier(void)
{
    ck_pr_barrier();
}

/* Says to the core that this is a polling loop. */
static inline void strait_pause(void)
{
    ck_pr_stall();
}

/* Pauses for so many times about 25 ns. The time stamp counter tells where there is one: a pause
 * takes 10 ns on one processor (Intel's Granite Rapids), 27 on another (AMD's Zen 3). */
static inline void strait_pause_for(uint32_t times)
{
#if defined(__x86_64__) || defined(__i386__)
    uint64_t start = __builtin_ia32_rdtsc();
    do {
        strait_pause();
    } while (__builtin_ia32_rdtsc() - start < (uint64_t)times * 64);
#else
    for (uint32_t i = 0; i < times; i++) {
        strait_pause();
    }
#endif
}

/* Asks for a line that is soon to be read, or to be written: without waiting, without effect on
 * what any thread sees, and for any address. */
static inline void strait_prefetch_read(const void *line)
{
    __builtin_prefetch(line, 0);
}

static inline void strait_prefetch_write(const void *line)
{
#if defined(__x86_64__)
    /* The builtin gives this one only to compilers told that the machine has it. Those that do not
     * have it take it for a nop. */
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)line));
#else
    __builtin_prefetch(line, 1);
#endif
}

STRAIT_C_END

#endif /* STRAIT_SYNC_HEADER */
#endif /* STRAIT_SYNC_H */
