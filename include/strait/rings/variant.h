/* SPDX-License-Identifier: MIT */
/*
 * variant: what every ring has in common, and the interface through which a channel drives it.
 *
 * A ring is bare: it neither waits nor closes nor knows its threads; a channel (channel.h) adds
 * that. It lives in one block of memory without a pointer into itself. A variant is one header
 * that defines, for a ring `struct strait_<name>` and a sender's end of it,
 *
 *   size_t strait_<name>_size(shape)              bytes of the block
 *   void   strait_<name>_init(ring, shape)        empty, every index at STRAIT_FIRST_INDEX
 *   end   *strait_<name>_attach(ring)             a sender's end, NULL when all are taken
 *   void   strait_<name>_detach(end)              gives it back
 *   bool   strait_<name>_has_room(end)            would a reserve succeed now?
 *   bool   strait_<name>_has_message(ring)        would a peek?
 *   size_t strait_<name>_reserve(end, n, span)    room for up to n messages, in place
 *   void   strait_<name>_commit(end, span)        publishes all that was reserved
 *   size_t strait_<name>_peek(ring, n, span)      up to n messages, in place
 *   void   strait_<name>_release(ring, span)      gives the slots of all or the first of them back
 *   size_t strait_<name>_send(end, messages, n, size)
 *   size_t strait_<name>_receive(ring, messages, n, size)
 *                                                 the same by copy: STRAIT_DEFINE_COPYING writes
 *                                                 both. `size` is that of a message, in bytes,
 * where the caller knows it as a constant, or 0
 *
 * ends with STRAIT_DEFINE_VARIANT, which makes a descriptor of these, and is one line of the table
 * in strait/ring.h. Used by name a ring inlines into its user:
 *
 *   STRAIT_RING_TYPED(orders, strait_spsc, struct order)
 *
 * defines orders_try_send and orders_try_receive for a ring of such messages. The size of a message
 * is a constant there, and a message of another type is a compile error.
 */
#ifndef STRAIT_RINGS_VARIANT_H
#define STRAIT_RINGS_VARIANT_H

#include "strait/base.h"
#include "strait/sync.h"

/* Indices run free and are compared by difference. They start shortly before 2^32, so that every
 * program sees them come round, not just the one that has run for a day. */
#define STRAIT_FIRST_INDEX ((uint32_t)-64)

#define STRAIT_CAPACITY_MAX ((size_t)1 << 30)     /* messages */
#define STRAIT_MESSAGE_SIZE_MAX ((size_t)1 << 24) /* bytes */
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
    void *(*attach)(void *ring);
    void (*detach)(void *end);
    bool (*has_room)(void *end);
    bool (*has_message)(void *ring);
    size_t (*reserve)(void *end, size_t n, struct strait_span *span);
    void (*commit)(void *end, const struct strait_span *span);
    size_t (*try_send)(void *end, const void *messages, size_t n);
    size_t (*peek)(void *ring, size_t n, struct strait_span *span);
    void (*release)(void *ring, const struct strait_span *span);
    size_t (*try_receive)(void *ring, void *messages, size_t n);
};

#ifdef __cplusplus
extern "C" {
#endif

/* The i-th variant of the table, NULL past the last. Any thread. */
STRAIT_API const struct strait_variant *strait_variant_at(size_t i);

/* The variant of that name, or NULL. Any thread. */
STRAIT_API const struct strait_variant *strait_variant_find(const char *name);

#ifdef __cplusplus
}
#endif

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

/* Messages up to so many bytes are copied without a call. */
#define STRAIT_P_COPY_INLINE 512

/* Where sizes are known at run time alone, gcc warns of those that never occur with the object that
 * it sees. So it does not see it. */
#define STRAIT_P_HIDE(POINTER) __asm__("" : "+r"(POINTER))

/* Word by word, as the sender has often just written its message: a wider load would wait until
 * those words have left the store buffer. One thread that sends and receives 64 bytes takes 8.8 ns
 * with this and 11.2 with memcpy, 16 bytes 3.1 and 7.7 (gcc 12 -O3, AMD EPYC; clang 14 alike). */
STRAIT_INLINE void strait_p_copy_words(void *to, const void *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, (const char *)from + at, sizeof(word));
        __asm__("" : "+r"(word)); /* or the compiler joins several of them */
        memcpy((char *)to + at, &word, sizeof(word));
    }
}

/* As wide as may be: the receiver will load words of it at once, or more than a word. 64 bytes of a
 * size known at run time: 9.5 ns with this, 12.0 with memcpy, which is a call there. */
STRAIT_INLINE void strait_p_copy_wide(void *to, const void *from, size_t bytes)
{
    enum { WIDE = 2 * sizeof(uint64_t) };
    for (size_t at = 0; at < bytes; at += WIDE) {
        memcpy((char *)to + at, (const char *)from + at, WIDE);
        __asm__("" : "+r"(at)); /* or the compiler makes a call of the loop */
    }
}

/* From the sender into slots. `size`: as in `send`. */
STRAIT_INLINE void strait_p_copy_in(void *to, const void *messages, size_t bytes, size_t size)
{
    if (size && bytes == size && size <= STRAIT_P_COPY_INLINE && size % sizeof(uint64_t) == 0) {
        strait_p_copy_words(to, messages, size);
        return;
    }
    STRAIT_P_HIDE(messages);
    if (STRAIT_LIKELY(bytes == sizeof(uint64_t))) {
        memcpy(to, messages, sizeof(uint64_t));
    } else if (bytes <= STRAIT_P_COPY_INLINE && bytes % sizeof(uint64_t) == 0) {
        strait_p_copy_words(to, messages, bytes);
    } else {
        memcpy(to, messages, bytes);
    }
}

/* To the receiver, likewise. */
STRAIT_INLINE void strait_p_copy_out(void *messages, const void *from, size_t bytes, size_t size)
{
    if (size && bytes == size) {
        memcpy(messages, from, size);
        return;
    }
    STRAIT_P_HIDE(messages);
    if (STRAIT_LIKELY(bytes == sizeof(uint64_t))) {
        memcpy(messages, from, sizeof(uint64_t));
    } else if (bytes <= STRAIT_P_COPY_INLINE / 4 && bytes % (2 * sizeof(uint64_t)) == 0) {
        strait_p_copy_wide(messages, from, bytes);
    } else {
        memcpy(messages, from, bytes);
    }
}

/* The copying operations, written once for every variant. Messages whose slots go round the end of
 * the ring's memory take two spans; a second span is looked for only then, as each look costs a
 * load of the other side's index. */
#define STRAIT_DEFINE_COPYING(VARIANT, END, RING)                                                  \
    STRAIT_P_DEFINE_COPYING(VARIANT, END, RING, VARIANT##_send, VARIANT##_receive)

/* The same under other names, for a variant that has a shorter way for some cases. */
#define STRAIT_P_DEFINE_COPYING(VARIANT, END, RING, SEND, RECEIVE)                                 \
    STRAIT_INLINE size_t SEND(END *end, const void *messages, size_t n, size_t size)               \
    {                                                                                              \
        struct strait_span span;                                                                   \
        const char *from = (const char *)messages;                                                 \
        size_t sent = 0;                                                                           \
        do {                                                                                       \
            if (!VARIANT##_reserve(end, n - sent, &span)) {                                        \
                break;                                                                             \
            }                                                                                      \
            size_t bytes = span.count * (size ? size : span.message_size);                         \
            strait_p_copy_in(span.messages, from, bytes, size);                                    \
            VARIANT##_commit(end, &span);                                                          \
            from += bytes;                                                                         \
            sent += span.count;                                                                    \
        } while (STRAIT_UNLIKELY(span.more) && sent < n);                                          \
        return sent;                                                                               \
    }                                                                                              \
    STRAIT_INLINE size_t RECEIVE(RING *ring, void *messages, size_t n, size_t size)                \
    {                                                                                              \
        struct strait_span span;                                                                   \
        char *to = (char *)messages;                                                               \
        size_t received = 0;                                                                       \
        do {                                                                                       \
            if (!VARIANT##_peek(ring, n - received, &span)) {                                      \
                break;                                                                             \
            }                                                                                      \
            size_t bytes = span.count * (size ? size : span.message_size);                         \
            strait_p_copy_out(to, span.messages, bytes, size);                                     \
            VARIANT##_release(ring, &span);                                                        \
            to += bytes;                                                                           \
            received += span.count;                                                                \
        } while (STRAIT_UNLIKELY(span.more) && received < n);                                      \
        return received;                                                                           \
    }

/* A ring by name, for messages of one type: see the head of this file. Made with the shape of
 * PREFIX##_shape(capacity, senders). */
#define STRAIT_RING_TYPED(PREFIX, VARIANT, TYPE)                                                   \
    STRAIT_INLINE struct strait_shape PREFIX##_shape(size_t capacity, uint32_t senders)            \
    {                                                                                              \
        struct strait_shape shape = {capacity, sizeof(TYPE), senders};                             \
        return shape;                                                                              \
    }                                                                                              \
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
    static inline RESULT NAME PARAMETERS                                                           \
    {                                                                                              \
        CALL;                                                                                      \
    }

/* The descriptor VARIANT##_variant, and VARIANT##_try_send and _try_receive for messages of a size
 * that is known at run time. In the descriptor single messages have code of their own, without what
 * several need: not even their registers. */
#define STRAIT_DEFINE_VARIANT(VARIANT, END, RING, NAME, SENDERS, DIRECT)                           \
    typedef END VARIANT##_end;                                                                     \
    typedef RING VARIANT##_ring;                                                                   \
    STRAIT_INLINE size_t VARIANT##_try_send(END *end, const void *messages, size_t n)              \
    {                                                                                              \
        return VARIANT##_send(end, messages, n, 0);                                                \
    }                                                                                              \
    STRAIT_INLINE size_t VARIANT##_try_receive(RING *ring, void *messages, size_t n)               \
    {                                                                                              \
        return VARIANT##_receive(ring, messages, n, 0);                                            \
    }                                                                                              \
    static __attribute__((noinline))                                                               \
    size_t VARIANT##_v_send_many(void *end, const void *messages, size_t n)                        \
    {                                                                                              \
        return VARIANT##_try_send((END *)end, messages, n);                                        \
    }                                                                                              \
    static __attribute__((noinline))                                                               \
    size_t VARIANT##_v_receive_many(void *ring, void *messages, size_t n)                          \
    {                                                                                              \
        return VARIANT##_try_receive((RING *)ring, messages, n);                                   \
    }                                                                                              \
    STRAIT_P_THUNK(void, VARIANT##_v_init, (void *ring, const struct strait_shape *shape),         \
                   VARIANT##_init((RING *)ring, shape))                                            \
    STRAIT_P_THUNK(void *, VARIANT##_v_attach, (void *ring),                                       \
                   return VARIANT##_attach((RING *)ring))                                          \
    STRAIT_P_THUNK(void, VARIANT##_v_detach, (void *end), VARIANT##_detach((END *)end))            \
    STRAIT_P_THUNK(bool, VARIANT##_v_has_room, (void *end), return VARIANT##_has_room((END *)end)) \
    STRAIT_P_THUNK(bool, VARIANT##_v_has_message, (void *ring),                                    \
                   return VARIANT##_has_message((RING *)ring))                                     \
    STRAIT_P_THUNK(size_t, VARIANT##_v_reserve, (void *end, size_t n, struct strait_span *span),   \
                   return VARIANT##_reserve((END *)end, n, span))                                  \
    STRAIT_P_THUNK(void, VARIANT##_v_commit, (void *end, const struct strait_span *span),          \
                   VARIANT##_commit((END *)end, span))                                             \
    STRAIT_P_THUNK(size_t, VARIANT##_v_send, (void *end, const void *messages, size_t n),          \
                   return n == 1 ? VARIANT##_try_send((END *)end, messages, 1)                     \
                                 : VARIANT##_v_send_many(end, messages, n))                        \
    STRAIT_P_THUNK(size_t, VARIANT##_v_peek, (void *ring, size_t n, struct strait_span *span),     \
                   return VARIANT##_peek((RING *)ring, n, span))                                   \
    STRAIT_P_THUNK(void, VARIANT##_v_release, (void *ring, const struct strait_span *span),        \
                   VARIANT##_release((RING *)ring, span))                                          \
    STRAIT_P_THUNK(size_t, VARIANT##_v_receive, (void *ring, void *messages, size_t n),            \
                   return n == 1 ? VARIANT##_try_receive((RING *)ring, messages, 1)                \
                                 : VARIANT##_v_receive_many(ring, messages, n))                    \
    static const struct strait_variant VARIANT##_variant                                           \
        __attribute__((unused)) = {NAME,                                                           \
                                   SENDERS,                                                        \
                                   DIRECT,                                                         \
                                   VARIANT##_size,                                                 \
                                   VARIANT##_v_init,                                               \
                                   VARIANT##_v_attach,                                             \
                                   VARIANT##_v_detach,                                             \
                                   VARIANT##_v_has_room,                                           \
                                   VARIANT##_v_has_message,                                        \
                                   VARIANT##_v_reserve,                                            \
                                   VARIANT##_v_commit,                                             \
                                   VARIANT##_v_send,                                               \
                                   VARIANT##_v_peek,                                               \
                                   VARIANT##_v_release,                                            \
                                   VARIANT##_v_receive}

#endif /* STRAIT_RINGS_VARIANT_H */
