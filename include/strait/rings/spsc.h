/* SPDX-License-Identifier: MIT */
/*
 * spsc: one sender, one receiver.
 *
 * Algorithm: Lamport's ring ("Specifying Concurrent Program Modules", 1983) with each side keeping
 * what it knows of the other side's index and looking again only when that says full or empty (Lee,
 * Bu, Chandranmenon, "A lock-free, cache-efficient shared ring buffer", 2010), and with each index
 * alone on its line: a published line holds nothing that its owner loads, so that the other side's
 * polling never takes away what the next operation needs. Both sides prefetch (prefetch.h), and the
 * receiver keeps its distance (distance.h).
 *
 *   line 0  sender's own     index, end, geometry               sender writes
 *   line 1  tail             messages committed                 sender writes, receiver polls
 *   line 2  head             messages released                  receiver writes, sender polls
 *   line 3  receiver's own   index, end, geometry               receiver writes
 *   then    the slots
 *
 * Invariants, in free-running 32-bit indices:
 *   tail - head <= capacity <= slots <= 2^30
 *   sender.index == tail, receiver.index == head between operations
 *   sender.end is a head of the past plus the capacity: the sender has at least end - index slots
 *   receiver.end is a tail of the past: the receiver has at least end - index messages
 *
 * Who may call what at the same time (x: needs the caller's exclusion)
 *                              reserve commit has_room | peek release (1) | attach
 *   reserve, commit, has_room  x                       | yes          | -
 *   peek, release              yes                     | x            | yes
 *   attach, detach             of an end nobody sends through         | yes
 *
 * Progress: every operation is wait-free. A sender stopped between reserve and commit holds up
 * nothing but the messages it has not committed; a receiver stopped between peek and release holds
 * up nothing until the ring is full.
 */
#ifndef STRAIT_RINGS_SPSC_H
#define STRAIT_RINGS_SPSC_H

#include "strait/rings/distance.h"
#include "strait/rings/prefetch.h"

/* What one side works with; nobody else loads it. */
struct strait_spsc_side {
    uint32_t index;    /* next to reserve, or to peek */
    uint32_t end;      /* the first slot that is not this side's, as far as it knows */
    uint32_t capacity; /* the rest is set once, by init */
    uint32_t mask;
    size_t message_size;
    struct strait_prefetch prefetch;
    uint32_t attached; /* sender's side only: 1 while a sender has this end */
    struct strait_distance distance;
};

struct strait_spsc {
    STRAIT_LINE_ALIGNED struct strait_spsc_side sender;   /* line 0: sender writes */
    STRAIT_LINE_ALIGNED uint32_t tail;                    /* line 1: sender writes */
    STRAIT_LINE_ALIGNED uint32_t head;                    /* line 2: receiver writes */
    STRAIT_LINE_ALIGNED struct strait_spsc_side receiver; /* line 3: receiver writes */
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_spsc, sender) == 0 * STRAIT_LINE, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_spsc, tail) == 1 * STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_spsc, head) == 2 * STRAIT_LINE, "line 2");
STRAIT_STATIC_ASSERT(offsetof(struct strait_spsc, receiver) == 3 * STRAIT_LINE, "line 3");
STRAIT_STATIC_ASSERT(sizeof(struct strait_spsc) == 4 * STRAIT_LINE, "the slots follow line 3");

static inline size_t strait_spsc_size(const struct strait_shape *shape)
{
    size_t slots = strait_slots(shape->capacity);
    return sizeof(struct strait_spsc) + strait_round_up(slots * shape->message_size, STRAIT_LINE);
}

static inline void strait_spsc_init(struct strait_spsc *ring, const struct strait_shape *shape)
{
    struct strait_spsc_side side;
    side.index = STRAIT_FIRST_INDEX;
    side.end = STRAIT_FIRST_INDEX;
    side.capacity = (uint32_t)shape->capacity;
    side.mask = strait_slots(shape->capacity) - 1;
    side.message_size = shape->message_size;
    strait_prefetch_init(&side.prefetch, shape);
    side.attached = 0;
    strait_distance_init(&side.distance, shape->capacity);
    ring->receiver = side;
    side.end += side.capacity;
    ring->sender = side;
    ring->tail = STRAIT_FIRST_INDEX;
    ring->head = STRAIT_FIRST_INDEX;
}

static inline struct strait_spsc *strait_spsc_attach(struct strait_spsc *ring)
{
    uint32_t expected = 0;
    /* spsc.attach: pairs with spsc.detach; line 0 as the sender before left it; without it a new
     * sender goes on from an index of the past */
    return strait_cas_acq_rel(&ring->sender.attached, &expected, 1) ? ring : NULL;
}

static inline void strait_spsc_detach(struct strait_spsc *ring)
{
    /* spsc.detach: pairs with spsc.attach; line 0 as this sender leaves it; without it the next
     * sender goes on from an index of the past */
    strait_store_release(&ring->sender.attached, 0);
}

static inline char *strait_p_spsc_slots(struct strait_spsc *ring)
{
    return (char *)(ring + 1);
}

static inline char *strait_p_spsc_slot(struct strait_spsc *ring,
                                       const struct strait_spsc_side *side, uint32_t index)
{
    return strait_p_spsc_slots(ring) + (index & side->mask) * side->message_size;
}

/* Slots that are this side's, as far as it knows. */
static inline uint32_t strait_p_spsc_known(const struct strait_spsc_side *side)
{
    return side->end - side->index;
}

/* ---- each side's look at the other: slots that it has now ---- */

static inline uint32_t strait_p_spsc_look_for_room(struct strait_spsc *ring)
{
    struct strait_spsc_side *own = &ring->sender;
    /* spsc.reserve: pairs with spsc.release; the receiver is done with the slots below head;
     * without it the sender may overwrite a message that is still being read */
    own->end = strait_load_acquire(&ring->head) + own->capacity;
    return own->end - own->index;
}

static inline uint32_t strait_p_spsc_look(struct strait_spsc *ring)
{
    struct strait_spsc_side *own = &ring->receiver;
    /* spsc.peek: pairs with spsc.commit; the bytes of the messages below tail; without it the
     * receiver may read a slot from before the message was written */
    own->end = strait_load_acquire(&ring->tail);
    return own->end - own->index;
}

/* Waits for more than a few (distance.h), and learns from what it brought. */
static __attribute__((noinline, unused)) void
strait_p_spsc_linger(struct strait_spsc *ring, struct strait_distance *distance,
                     uint32_t (*look)(struct strait_spsc *ring), uint32_t few)
{
    bool worth = true;
    for (int i = 0; worth && i < STRAIT_DISTANCE_LOOKS && few < distance->enough; i++) {
        uint32_t before = few;
        strait_distance_wait(distance);
        few = look(ring);
        worth = strait_distance_learn(distance, few - before);
    }
}

/* A look, and a wait for more where that is worth it. Is there anything? */

static inline bool strait_p_spsc_await_room(struct strait_spsc *ring)
{
    struct strait_distance *distance = &ring->sender.distance;
    uint32_t room = strait_p_spsc_look_for_room(ring);
    if (room > 0 && room < distance->enough && !strait_distance_skip(distance)) {
        strait_p_spsc_linger(ring, distance, strait_p_spsc_look_for_room, room);
    }
    return room > 0;
}

static inline bool strait_p_spsc_await(struct strait_spsc *ring)
{
    struct strait_distance *distance = &ring->receiver.distance;
    uint32_t there = strait_p_spsc_look(ring);
    if (there > 0 && there < distance->enough && !strait_distance_skip(distance)) {
        strait_p_spsc_linger(ring, distance, strait_p_spsc_look, there);
    }
    return there > 0;
}

/* ---- publishing, and what is asked for behind it (prefetch.h) ---- */

STRAIT_INLINE void strait_p_spsc_publish(struct strait_spsc *ring, uint32_t tail)
{
    ring->sender.index = tail;
    /* spsc.commit: pairs with spsc.peek; the bytes of the messages below tail; without it the
     * receiver may see the tail before the message */
    strait_store_release(&ring->tail, tail);
}

STRAIT_INLINE void strait_p_spsc_give_back(struct strait_spsc *ring, uint32_t head)
{
    ring->receiver.index = head;
    /* spsc.release: pairs with spsc.reserve; the receiver is done with the slots below head;
     * without it the sender may write a slot before the receiver has read it */
    strait_store_release(&ring->head, head);
}

/* Behind one message. */
STRAIT_INLINE void strait_p_spsc_prefetch_one(struct strait_spsc *ring,
                                              const struct strait_spsc_side *side, uint32_t index,
                                              bool sender)
{
    const struct strait_prefetch *prefetch = &side->prefetch;
    if (STRAIT_UNLIKELY(((index ^ (index + 1)) & prefetch->line) != 0) &&
        side->end - index > prefetch->ahead) {
        strait_prefetch_slots(strait_p_spsc_slot(ring, side, index + prefetch->ahead),
                              side->message_size, sender);
    }
}

/* Behind a span. */
STRAIT_INLINE void strait_p_spsc_prefetch(struct strait_spsc *ring,
                                          const struct strait_spsc_side *side,
                                          const struct strait_span *span, bool sender)
{
    const struct strait_prefetch *prefetch = &side->prefetch;
    uint32_t position = (uint32_t)span->position;
    if (span->count == 1) {
        strait_p_spsc_prefetch_one(ring, side, position, sender);
    } else if (STRAIT_UNLIKELY(strait_prefetch_due(prefetch, span)) &&
               strait_prefetch_known(prefetch, span, side->end - position)) {
        size_t from = position + strait_prefetch_from(prefetch, span);
        strait_prefetch_slots(strait_p_spsc_slot(ring, side, (uint32_t)from),
                              span->count * span->message_size, sender);
    }
}

/* ---- several messages, in place ---- */

/* The run that starts at a side's index: at most n, at most what is known, and not past the end of
 * the memory. */
STRAIT_INLINE size_t strait_p_spsc_run(struct strait_spsc *ring,
                                       const struct strait_spsc_side *side, size_t n,
                                       struct strait_span *span)
{
    size_t wanted = strait_min(n, strait_p_spsc_known(side));
    size_t to_end = (size_t)side->mask + 1 - (side->index & side->mask);
    span->messages = strait_p_spsc_slot(ring, side, side->index);
    span->message_size = side->message_size;
    span->position = side->index;
    if (n == 1) { /* always fits: said for the compiler */
        to_end = 1;
    }
    span->count = strait_min(wanted, to_end);
    span->more = wanted > to_end;
    return span->count;
}

static inline bool strait_spsc_has_room(struct strait_spsc *ring)
{
    return strait_p_spsc_known(&ring->sender) > 0 || strait_p_spsc_look_for_room(ring) > 0;
}

static inline bool strait_spsc_has_message(struct strait_spsc *ring)
{
    const struct strait_spsc_side *own = &ring->receiver;
    return own->end != own->index || strait_p_spsc_await(ring);
}

STRAIT_INLINE size_t strait_spsc_reserve(struct strait_spsc *ring, size_t n,
                                         struct strait_span *span)
{
    if (STRAIT_UNLIKELY(strait_p_spsc_known(&ring->sender) < n)) {
        strait_p_spsc_await_room(ring);
    }
    return strait_p_spsc_run(ring, &ring->sender, n, span);
}

STRAIT_INLINE void strait_spsc_commit(struct strait_spsc *ring, const struct strait_span *span)
{
    strait_p_spsc_publish(ring, (uint32_t)(span->position + span->count));
    strait_p_spsc_prefetch(ring, &ring->sender, span, true);
}

STRAIT_INLINE size_t strait_spsc_peek(struct strait_spsc *ring, size_t n, struct strait_span *span)
{
    if (STRAIT_UNLIKELY(strait_p_spsc_known(&ring->receiver) < n)) {
        strait_p_spsc_await(ring);
    }
    return strait_p_spsc_run(ring, &ring->receiver, n, span);
}

STRAIT_INLINE void strait_spsc_release(struct strait_spsc *ring, const struct strait_span *span)
{
    strait_p_spsc_give_back(ring, (uint32_t)(span->position + span->count));
    strait_p_spsc_prefetch(ring, &ring->receiver, span, false);
}

/* ---- by copy: one message without a span, several with ---- */

STRAIT_P_DEFINE_COPYING(strait_spsc, struct strait_spsc, struct strait_spsc, strait_p_spsc_send_run,
                        strait_p_spsc_receive_run)

STRAIT_INLINE size_t strait_spsc_send(struct strait_spsc *ring, const void *messages, size_t n,
                                      size_t size)
{
    const struct strait_spsc_side *own = &ring->sender;
    if (n != 1) {
        return strait_p_spsc_send_run(ring, messages, n, size);
    }
    if (STRAIT_UNLIKELY(own->end == own->index) && !strait_p_spsc_await_room(ring)) {
        return 0;
    }
    uint32_t index = own->index;
    size_t bytes = size ? size : own->message_size;
    char *slot = (char *)(ring + 1) + (index & own->mask) * bytes;
    if (STRAIT_LIKELY(bytes == sizeof(uint64_t))) {
        if (!size) {
            STRAIT_P_HIDE(messages);
        }
        memcpy(slot, messages, sizeof(uint64_t));
    } else {
        strait_p_copy_in(slot, messages, bytes, size);
    }
    strait_p_spsc_publish(ring, index + 1);
    strait_p_spsc_prefetch_one(ring, own, index, true);
    return 1;
}

STRAIT_INLINE size_t strait_spsc_receive(struct strait_spsc *ring, void *messages, size_t n,
                                         size_t size)
{
    const struct strait_spsc_side *own = &ring->receiver;
    if (n != 1) {
        return strait_p_spsc_receive_run(ring, messages, n, size);
    }
    if (STRAIT_UNLIKELY(own->end == own->index) && !strait_p_spsc_await(ring)) {
        return 0;
    }
    uint32_t index = own->index;
    size_t bytes = size ? size : own->message_size;
    const char *slot = (const char *)(ring + 1) + (index & own->mask) * bytes;
    if (STRAIT_LIKELY(bytes == sizeof(uint64_t))) {
        if (!size) {
            STRAIT_P_HIDE(messages);
        }
        memcpy(messages, slot, sizeof(uint64_t));
    } else {
        strait_p_copy_out(messages, slot, bytes, size);
    }
    strait_p_spsc_give_back(ring, index + 1);
    strait_p_spsc_prefetch_one(ring, own, index, false);
    return 1;
}

STRAIT_DEFINE_VARIANT(strait_spsc, struct strait_spsc, struct strait_spsc, "spsc",
                      STRAIT_SENDERS_ONE, STRAIT_DIRECT_BOTH);

#endif /* STRAIT_RINGS_SPSC_H */
