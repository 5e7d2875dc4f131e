/* SPDX-License-Identifier: MIT */
/*
 * variant: what every ring has in common, and the interface through which a channel drives it.
 *
 * A ring is bare: it neither waits nor closes nor knows its threads; a channel (channel.h) adds
 * that. It lives in one block of memory without a pointer into itself. A variant is one header
 * that defines, for a ring (a struct of its own) and a sender's end of it,
 *
 *   size_t strait_<name>_size(shape)              bytes of the block
 *   void   strait_<name>_init(ring, shape)        empty, every free-running index at
 *                                                 STRAIT_FIRST_INDEX
 *   bool   strait_<name>_fits(ring, shape)        is all that init has set once as it set it?
 *   end   *strait_<name>_attach(ring)             a sender's end, NULL when all are taken
 *   void   strait_<name>_detach(end)              gives it back
 *   bool   strait_<name>_has_room(end)            would a reserve succeed now?
 *   size_t strait_<name>_reserve(end, n, span)    room for up to n messages, in place
 *   void   strait_<name>_commit(end, span)        publishes all that was reserved
 *   size_t strait_<name>_peek(ring, n, span)      up to n messages, in place
 *   void   strait_<name>_release(ring, span)      gives the slots of all or the first of them back
 *   size_t strait_<name>_send(end, messages, n, size)
 *   size_t strait_<name>_receive(ring, messages, n, size)
 *                                                 the same by copy: STRAIT_DEFINE_COPYING writes
 *                                                 both. `size`: of a message, in bytes, where the
 *                                                 caller knows it as a constant, or 0
 *
 * where reserve and peek set every field of the span, and return its count, 0 too; called again
 * before a commit or a release, they give the same run again. No call waits for another
 * thread, which may have been stopped inside one. A block may be shared with a process that writes
 * nonsense where both sides write: a ring waits for no word there, and bounds each index that it
 * reads. The header ends with STRAIT_DEFINE_VARIANT, which makes a descriptor of these, and is one
 * line of the table in strait/ring.h. Used by name a ring inlines into its user:
 *
 *   STRAIT_RING_TYPED(orders, strait_spsc, struct order);
 *
 * defines orders_try_send and orders_try_receive for a ring of such messages. The size of a message
 * is a constant there, and a message of another type is a compile error.
 */
#ifndef STRAIT_RINGS_VARIANT_H
#define STRAIT_RINGS_VARIANT_H

#include "strait/base.h"
#include "strait/sync.h"

STRAIT_C_BEGIN

/* Indices run free and are compared by difference. They start shortly before 2^32, so that every
 * program sees them come round, not just the one that has run for a day. */
#define STRAIT_FIRST_INDEX (UINT32_MAX - 63)

#define STRAIT_CAPACITY_MAX (1u << 30)     /* messages */
#define STRAIT_MESSAGE_SIZE_MAX (1u << 24) /* bytes */
#define STRAIT_SENDERS_MAX 1024u

/* What a ring is made for; a channel checks it before a variant sees it. */
struct strait_shape {
    size_t capacity;     /* messages, 1 to STRAIT_CAPACITY_MAX */
    size_t message_size; /* bytes, 1 to STRAIT_MESSAGE_SIZE_MAX */
    uint32_t senders;    /* that can be attached at once, 1 to STRAIT_SENDERS_MAX */
};

/* Messages in place: `count` of them, next to each other, starting at `messages`. Fewer than asked
 * for where the ring's memory ends; `more` says that another call may have the rest. */
struct strait_span {
    void *messages;
    size_t count;
    size_t message_size;
    uintptr_t position; /* the variant's own */
    bool more;
};

enum strait_senders {
    STRAIT_SENDERS_ONE,        /* one attached sender */
    STRAIT_SENDERS_REGISTERED, /* as many attached senders as the shape says, one thread each */
    STRAIT_SENDERS_ANY,        /* one end, any number of threads */
};

/* What of a ring a channel may use as a struct strait_spsc, inline and without a call. */
enum strait_direct {
    STRAIT_DIRECT_NONE,
    STRAIT_DIRECT_SENDERS, /* each sender's end */
    STRAIT_DIRECT_BOTH,    /* and the ring itself, on the receiver's side */
};

/* A variant as the table holds it. */
struct strait_variant {
    const char *name;
    enum strait_senders senders;
    enum strait_direct direct;
    size_t (*size)(const struct strait_shape *shape);
    void (*init)(void *ring, const struct strait_shape *shape);
    bool (*fits)(void *ring, const struct strait_shape *shape);
    void *(*attach)(void *ring);
    void (*detach)(void *end);
    bool (*has_room)(void *end);
    size_t (*reserve)(void *end, size_t n, struct strait_span *span);
    void (*commit)(void *end, const struct strait_span *span);
    size_t (*try_send)(void *end, const void *messages, size_t n);
    size_t (*peek)(void *ring, size_t n, struct strait_span *span);
    void (*release)(void *ring, const struct strait_span *span);
    size_t (*try_receive)(void *ring, void *messages, size_t n);
};

/* Sets the number of messages in a span that starts at `position`: up to n of those that are there,
 * cut where the ring's memory ends. Returns it. */
STRAIT_INLINE size_t strait_p_span_cut(struct strait_span *span, size_t n, size_t there,
                                       size_t mask)
{
    size_t wanted = strait_min(n, there);
    size_t to_end = n == 1 ? 1 : mask + 1 - (span->position & mask); /* one always fits */
    span->count = strait_min(wanted, to_end);
    span->more = wanted > to_end;
    return span->count;
}

/* The number of slots behind a capacity: the next power of two, so that a free-running index
 * masks to a slot. The capacity itself stays exact. */
static inline uint32_t strait_slots(size_t capacity)
{
    uint32_t slots = 1;
    while (slots < capacity) {
        slots <<= 1;
    }
    return slots;
}

/* ---- copying ---- */

/* Up to so many bytes are copied by code of our own; so many at a time, unrolled; and so many in
 * the code of whoever sends one message of a size that is a constant. */
#define STRAIT_P_COPY_INLINE 512
#define STRAIT_P_COPY_LINE 64
#define STRAIT_P_COPY_UNROLLED 128

/* Keeps from the compiler what a pointer leads to, or what a size is a multiple of. gcc warns of
 * sizes that never occur with the object that it sees, and makes a slow string instruction of a
 * memcpy of whole words. */
#define STRAIT_P_HIDE(VALUE) __asm__("" : "+r"(VALUE))

/* Word by word, as the sender has often just written its message: a wider load would wait until
 * those words have left the store buffer. One thread that sends and receives 64 bytes takes 8.8 ns
 * with this and 11.2 with memcpy, 16 bytes 3.1 and 7.7 (gcc 12 -O3, AMD EPYC; clang 14 alike). */
STRAIT_INLINE void strait_p_copy_words(char *to, const char *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, from + at, sizeof(word));
        STRAIT_P_HIDE(word); /* or the compiler joins several of them */
        memcpy(to + at, &word, sizeof(word));
    }
}

/* What is long, or not one message of a size that is a constant. */
STRAIT_INLINE void strait_p_copy_run(char *to, const char *from, size_t bytes, bool wide)
{
    STRAIT_P_HIDE(bytes);
    if (bytes > STRAIT_P_COPY_INLINE || bytes % sizeof(uint64_t) != 0) {
        memcpy(to, from, bytes);
        return;
    }
    for (; bytes >= STRAIT_P_COPY_LINE; bytes -= STRAIT_P_COPY_LINE) {
        if (wide) {
            memcpy(to, from, STRAIT_P_COPY_LINE);
        } else {
            strait_p_copy_words(to, from, STRAIT_P_COPY_LINE);
        }
        to += STRAIT_P_COPY_LINE;
        from += STRAIT_P_COPY_LINE;
    }
    strait_p_copy_words(to, from, bytes);
}

/* One loop for all users, which starts at a cache line. Unrolled into its user, a copy of 256 bytes
 * makes a message take 13 to 17 ns or 25, as the user's code happens to lie (gcc 12, Intel's
 * Granite Rapids). */
static __attribute__((noinline, aligned(64), unused)) void
strait_p_copy_long(char *to, const char *from, size_t bytes)
{
    strait_p_copy_run(to, from, bytes, false);
}

/* From the sender into slots. `size`: as in `send`. */
STRAIT_INLINE void strait_p_copy_in(char *to, const char *from, size_t bytes, size_t size)
{
    bool single = size && bytes == size;
    if (single && size <= STRAIT_P_COPY_UNROLLED && size % sizeof(uint64_t) == 0) {
        strait_p_copy_words(to, from, size);
    } else if (single && size > STRAIT_P_COPY_UNROLLED) {
        strait_p_copy_long(to, from, size);
    } else {
        STRAIT_P_HIDE(from);
        strait_p_copy_run(to, from, bytes, false);
    }
}

/* To the receiver, who will load words of it at once, or more than a word: as wide as may be. Of
 * more than STRAIT_P_COPY_INLINE bytes gcc would make a slow string instruction here, too. */
STRAIT_INLINE void strait_p_copy_out(const char *from, char *to, size_t bytes, size_t size)
{
    if (size && size <= STRAIT_P_COPY_INLINE && bytes == size) {
        memcpy(to, from, size);
    } else {
        STRAIT_P_HIDE(to);
        strait_p_copy_run(to, from, bytes, true);
    }
}

/* The copying operations, written once for every variant. Messages whose slots go round the end of
 * the ring's memory take two spans; a second span is looked for only then, as each look costs a
 * load of the other side's index. */
#define STRAIT_DEFINE_COPYING(VARIANT, END, RING)                                                  \
    STRAIT_P_DEFINE_COPY(VARIANT##_send, END, const, VARIANT##_reserve, strait_p_copy_in,          \
                         VARIANT##_commit)                                                         \
    STRAIT_P_DEFINE_COPY(VARIANT##_receive, RING, , VARIANT##_peek, strait_p_copy_out,             \
                         VARIANT##_release)

/* One of them: finds slots, copies to or from them, publishes them. */
#define STRAIT_P_DEFINE_COPY(NAME, RING, CONST, FIND, COPY, PUBLISH)                               \
    STRAIT_INLINE size_t NAME(RING *ring, CONST void *messages, size_t n, size_t size)             \
    {                                                                                              \
        CONST char *at = (CONST char *)messages;                                                   \
        size_t done = 0;                                                                           \
        struct strait_span span;                                                                   \
        do {                                                                                       \
            if (!FIND(ring, n - done, &span)) {                                                    \
                break;                                                                             \
            }                                                                                      \
            size_t bytes = span.count * (size ? size : span.message_size);                         \
            COPY((char *)span.messages, at, bytes, size);                                          \
            PUBLISH(ring, &span);                                                                  \
            at += bytes;                                                                           \
            done += span.count;                                                                    \
        } while (STRAIT_UNLIKELY(span.more) && done < n);                                          \
        return done;                                                                               \
    }

/* Is it one message? At run time (size 0) only where the compiler sees that: what serves several
 * need not have code for one. Without optimization it sees nothing. */
#ifdef __OPTIMIZE__
#define STRAIT_P_IS_ONE(n, size) (((size) || __builtin_constant_p(n)) && (n) == 1)
#else
#define STRAIT_P_IS_ONE(n, size) ((void)(size), (n) == 1)
#endif

/* An operation whose users at run time copy one word, for the most part: it has code of its own,
 * without the registers that a message of another size needs. ANY: the same for all; IS_WORD:
 * whether the next message of `ring` is a word. */
#define STRAIT_P_DEFINE_WORDS(NAME, ANY, RING, CONST, IS_WORD)                                     \
    static __attribute__((noinline, unused))                                                       \
    size_t NAME##_no_word(RING *ring, CONST void *messages)                                        \
    {                                                                                              \
        return ANY(ring, messages, 1, 0);                                                          \
    }                                                                                              \
    STRAIT_INLINE size_t NAME(RING *ring, CONST void *messages, size_t n, size_t size)             \
    {                                                                                              \
        if (size || !STRAIT_P_IS_ONE(n, size)) {                                                   \
            return ANY(ring, messages, n, size);                                                   \
        }                                                                                          \
        if (STRAIT_LIKELY(IS_WORD)) {                                                              \
            STRAIT_P_HIDE(messages);                                                               \
            return ANY(ring, messages, 1, sizeof(uint64_t));                                       \
        }                                                                                          \
        return NAME##_no_word(ring, messages);                                                     \
    }

/* A ring by name, for messages of one type: see the head of this file. */
#define STRAIT_RING_TYPED(PREFIX, VARIANT, TYPE)                                                   \
    STRAIT_INLINE size_t PREFIX##_try_send(VARIANT##_end *end, const TYPE *messages, size_t n)     \
    {                                                                                              \
        return VARIANT##_send(end, messages, n, sizeof(TYPE));                                     \
    }                                                                                              \
    STRAIT_INLINE size_t PREFIX##_try_receive(VARIANT##_ring *ring, TYPE *messages, size_t n)      \
    {                                                                                              \
        return VARIANT##_receive(ring, messages, n, sizeof(TYPE));                                 \
    }                                                                                              \
    struct PREFIX##_typed /* for the semicolon behind the macro */

/* An operation of a descriptor: the ring's own behind a void pointer. */
#define STRAIT_P_THUNK(RESULT, NAME, PARAMETERS, CALL)                                             \
    static __attribute__((unused)) RESULT NAME PARAMETERS                                          \
    {                                                                                              \
        CALL;                                                                                      \
    }

/* By copy. Single messages have code of their own, without the registers that several need. */
#define STRAIT_P_COPY_THUNKS(NAME, CONST, OPERATION, RING)                                         \
    STRAIT_P_THUNK(__attribute__((noinline)) size_t, NAME##_many,                                  \
                   (void *ring, CONST void *messages, size_t n),                                   \
                   return OPERATION((RING *)ring, messages, n, 0))                                 \
    STRAIT_P_THUNK(size_t, NAME, (void *ring, CONST void *messages, size_t n),                     \
                   return n == 1 ? OPERATION((RING *)ring, messages, 1, 0)                         \
                                 : NAME##_many(ring, messages, n))

/* What a descriptor has of a sender's end. */
#define STRAIT_P_SENDER_THUNKS(VARIANT, END)                                                       \
    STRAIT_P_THUNK(STRAIT_P_COLD void, VARIANT##_v_detach, (void *end),                            \
                   VARIANT##_detach((END *)end))                                                   \
    STRAIT_P_THUNK(bool, VARIANT##_v_has_room, (void *end), return VARIANT##_has_room((END *)end)) \
    STRAIT_P_THUNK(size_t, VARIANT##_v_reserve, (void *end, size_t n, struct strait_span *span),   \
                   return VARIANT##_reserve((END *)end, n, span))                                  \
    STRAIT_P_THUNK(void, VARIANT##_v_commit, (void *end, const struct strait_span *span),          \
                   VARIANT##_commit((END *)end, span))                                             \
    STRAIT_P_COPY_THUNKS(VARIANT##_v_send, const, VARIANT##_send, END)

/* The rest, and the descriptor; SENDER: the variant that the senders' ends are of. */
#define STRAIT_P_DEFINE_VARIANT(VARIANT, SENDER, END, RING, NAME, SENDERS, DIRECT)                 \
    typedef END VARIANT##_end;                                                                     \
    typedef RING VARIANT##_ring;                                                                   \
    STRAIT_P_THUNK(STRAIT_P_COLD void, VARIANT##_v_init,                                           \
                   (void *ring, const struct strait_shape *shape),                                 \
                   VARIANT##_init((RING *)ring, shape))                                            \
    STRAIT_P_THUNK(STRAIT_P_COLD bool, VARIANT##_v_fits,                                           \
                   (void *ring, const struct strait_shape *shape),                                 \
                   return VARIANT##_fits((RING *)ring, shape))                                     \
    STRAIT_P_THUNK(STRAIT_P_COLD void *, VARIANT##_v_attach, (void *ring),                         \
                   return VARIANT##_attach((RING *)ring))                                          \
    STRAIT_P_THUNK(size_t, VARIANT##_v_peek, (void *ring, size_t n, struct strait_span *span),     \
                   return VARIANT##_peek((RING *)ring, n, span))                                   \
    STRAIT_P_THUNK(void, VARIANT##_v_release, (void *ring, const struct strait_span *span),        \
                   VARIANT##_release((RING *)ring, span))                                          \
    STRAIT_P_COPY_THUNKS(VARIANT##_v_receive, , VARIANT##_receive, RING)                           \
    static __attribute__((unused)) const struct strait_variant VARIANT##_variant = {               \
        NAME, SENDERS, DIRECT, STRAIT_P_OPERATIONS(VARIANT, SENDER)}

/* In the order of struct strait_variant. */
#define STRAIT_P_OPERATIONS(VARIANT, SENDER)                                                       \
    VARIANT##_size, VARIANT##_v_init, VARIANT##_v_fits, VARIANT##_v_attach, SENDER##_v_detach,     \
        SENDER##_v_has_room, SENDER##_v_reserve, SENDER##_v_commit, SENDER##_v_send,               \
        VARIANT##_v_peek, VARIANT##_v_release, VARIANT##_v_receive

/* The descriptor VARIANT##_variant. */
#define STRAIT_DEFINE_VARIANT(VARIANT, END, RING, NAME, SENDERS, DIRECT)                           \
    STRAIT_P_SENDER_THUNKS(VARIANT, END)                                                           \
    STRAIT_P_DEFINE_VARIANT(VARIANT, VARIANT, END, RING, NAME, SENDERS, DIRECT)

STRAIT_C_END

#endif /* STRAIT_RINGS_VARIANT_H */
