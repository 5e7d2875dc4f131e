/* SPDX-License-Identifier: MIT */
/*
 * cells: any thread may send, one receiver.
 *
 * Algorithm: senders claim slots by a compare-and-swap on a common tail and hand each one over by
 * a stamp of its own, after Vyukov's bounded queue (1024cores.net, 2010). Here the receiver's head,
 * not the stamps, says which slots are free, which makes every capacity exact and lets a sender
 * claim n at a time; a stamp only says "message i is here".
 *
 *   line 0  geometry                                       nobody writes after init
 *   line 1  tail, seen  messages claimed; a past head      senders write
 *   line 2  head        messages released                  receiver writes, senders read
 *   line 3  receiver's  index, messages known to be there  receiver writes
 *   then    the stamps, 4 bytes a slot; then the messages
 *
 * Invariants:
 *   tail - head <= capacity <= slots
 *   seen is a head of the past: unless it is negative, capacity - (tail - seen) is a lower bound of
 *   the free slots
 *   message i is published  <=>  stamp[i mod slots] == (uint32_t)(i + 1)
 *   the stamp of a claimed or free slot is that of the lap before: a slot has one claimant
 *   receiver.index == head between operations; known <= tail - index, and all of it is published
 *
 * tail, seen and head are words: on 64-bit machines a sender that sleeps between its load and its
 * compare-and-swap, or its store of seen, would have to miss 2^64 messages to fool anybody. On
 * 32-bit machines it is 2^32.
 *
 * Who may call what at the same time: any number of senders; one receiver.
 *
 * Progress: reserve is lock-free, everything else wait-free. A sender stopped between reserve and
 * commit holds up the messages claimed after its own until it goes on, but no other sender: they
 * claim and commit until the ring is full.
 */
#ifndef STRAIT_RINGS_CELLS_H
#define STRAIT_RINGS_CELLS_H

#include "strait/rings/lines.h"

STRAIT_C_BEGIN

struct strait_cells {
    /* line 0: set once, by init */
    STRAIT_LINE_ALIGNED uint32_t mask;
    uint32_t capacity;
    size_t message_size;
    struct strait_prefetch prefetch;
    size_t messages; /* offset of the messages from the end of this struct */
    /* line 1: senders write */
    STRAIT_LINE_ALIGNED uintptr_t tail;
    uintptr_t seen;
    /* line 2: receiver writes */
    STRAIT_LINE_ALIGNED uintptr_t head;
    /* line 3: receiver writes */
    STRAIT_LINE_ALIGNED uintptr_t index;
    struct strait_distance distance;
    size_t known; /* not beside index: gcc would load both as one, and wait for the store of each */
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_cells) == 4 * STRAIT_LINE, "the stamps follow line 3");

static inline size_t strait_p_cells_stamps_size(const struct strait_shape *shape)
{
    return strait_round_up(strait_slots(shape->capacity) * sizeof(uint32_t), STRAIT_LINE);
}

static inline size_t strait_cells_size(const struct strait_shape *shape)
{
    return sizeof(struct strait_cells) + strait_p_cells_stamps_size(shape) +
           strait_round_up(strait_slots(shape->capacity) * shape->message_size, STRAIT_LINE);
}

static inline uint32_t *strait_p_cells_stamp(struct strait_cells *ring, uintptr_t index)
{
    return (uint32_t *)(void *)(ring + 1) + (index & ring->mask);
}

static inline void strait_cells_init(struct strait_cells *ring, const struct strait_shape *shape)
{
    uintptr_t first = STRAIT_FIRST_INDEX;
    ring->mask = strait_slots(shape->capacity) - 1;
    ring->capacity = (uint32_t)shape->capacity;
    ring->message_size = shape->message_size;
    strait_prefetch_init(&ring->prefetch, shape->capacity, shape->message_size);
    ring->messages = strait_p_cells_stamps_size(shape);
    ring->tail = first;
    ring->seen = first;
    ring->head = first;
    ring->index = first;
    strait_distance_init(&ring->distance, shape, STRAIT_DISTANCE_A_SLOT_CLAIMED);
    ring->known = 0;
    for (uintptr_t i = first; i - first <= ring->mask; i++) {
        *strait_p_cells_stamp(ring, i) = (uint32_t)(i - ring->mask); /* the lap before */
    }
}

static inline bool strait_cells_fits(const struct strait_cells *ring,
                                     const struct strait_shape *shape)
{
    return ring->mask == strait_slots(shape->capacity) - 1 && ring->capacity == shape->capacity &&
           ring->message_size == shape->message_size &&
           ring->messages == strait_p_cells_stamps_size(shape) &&
           strait_prefetch_fits(&ring->prefetch, shape->capacity, shape->message_size) &&
           strait_distance_fits(&ring->distance, shape, STRAIT_DISTANCE_A_SLOT_CLAIMED);
}

/* There is one end, the ring itself, and every thread may have it. */
static inline struct strait_cells *strait_cells_attach(struct strait_cells *ring)
{
    return ring;
}

static inline void strait_cells_detach(struct strait_cells *ring)
{
    (void)ring;
}

static inline char *strait_p_cells_slot(struct strait_cells *ring, uintptr_t index)
{
    return (char *)(ring + 1) + ring->messages + (index & ring->mask) * ring->message_size;
}

/* Where `seen` says that there is too little room: looks at the head. Of the first of the slots
 * that are free now nothing was asked for before: now for all at once, where they are a good part
 * of the ring. Of few, the receiver still reads in the same lines. */
static __attribute__((noinline, unused)) size_t
strait_p_cells_look_for_room(struct strait_cells *ring, uintptr_t tail, uintptr_t seen)
{
    /* cells.reserve: pairs with cells.release; the receiver is done with the slots below head;
     * without it a sender may overwrite a message that is still being read */
    uintptr_t head = strait_word_load_acquire(&ring->head);
    size_t room = ring->capacity - (tail - head);
    if (head != seen) {
        /* cells.remember: pairs with cells.seen; the receiver is done with the slots below seen;
         * without it another sender may overwrite a message that is still being read */
        strait_word_store_release(&ring->seen, head);
    }
    if (room > ring->capacity / 4) {
        size_t first = ring->prefetch.ahead;
        strait_prefetch_slots((char *)strait_p_cells_stamp(ring, tail), first * sizeof(uint32_t),
                              true);
        strait_prefetch_slots(strait_p_cells_slot(ring, tail), first * ring->message_size, true);
    }
    return room;
}

/* Free slots, exact if the answer is below n, and the tail they start at. Where other senders have
 * moved the tail in between, the answer is too large, and the claim that relies on it fails. */
STRAIT_INLINE size_t strait_p_cells_room(struct strait_cells *ring, size_t n, uintptr_t *tail)
{
    /* cells.tail: pairs with cells.claim; a head at least as new as the one that allowed tail;
     * without it the room is computed from a head of the past and a claim overruns */
    *tail = strait_word_load_acquire(&ring->tail);
    /* cells.seen: pairs with cells.remember; the receiver is done with the slots below seen;
     * without it a sender may overwrite a message that is still being read */
    uintptr_t seen = strait_word_load_acquire(&ring->seen);
    /* more than the capacity where the sender that stored `seen`, or this one just now, was slow */
    uintptr_t used = *tail - seen;
    if (STRAIT_LIKELY(used < ring->capacity && ring->capacity - used >= n)) {
        return ring->capacity - used;
    }
    return strait_p_cells_look_for_room(ring, *tail, seen);
}

static inline bool strait_cells_has_room(struct strait_cells *ring)
{
    uintptr_t tail;
    return strait_p_cells_room(ring, 1, &tail) > 0;
}

/* The run from an index: up to n of the messages that are there. */
STRAIT_INLINE size_t strait_p_cells_run(struct strait_cells *ring, uintptr_t index, size_t n,
                                        size_t there, struct strait_span *span)
{
    span->messages = strait_p_cells_slot(ring, index);
    span->message_size = ring->message_size;
    span->position = index;
    return strait_p_span_cut(span, n, there, ring->mask);
}

STRAIT_INLINE size_t strait_cells_reserve(struct strait_cells *ring, size_t n,
                                          struct strait_span *span)
{
    uintptr_t tail;
    do {
        size_t room = strait_p_cells_room(ring, n, &tail);
        if (strait_p_cells_run(ring, tail, n, room, span) == 0) {
            return 0;
        }
        /* cells.claim: pairs with cells.tail; a head at least as new as the one that allowed tail;
         * without it the next claimer may count room from a head of the past */
    } while (!strait_word_cas_acq_rel(&ring->tail, &tail, tail + span->count));
    return span->count;
}

/* For whichever sender comes to these slots: with several, the line may go to the wrong one, but
 * comes from another sender then and not from the receiver. */
STRAIT_INLINE void strait_p_cells_prefetch(struct strait_cells *ring, uintptr_t index, size_t count)
{
    if (STRAIT_UNLIKELY(((index ^ (index + count)) & ring->prefetch.line) != 0)) {
        /* a hint: which slots are free */
        uintptr_t known = ring->capacity - (index - strait_word_load_relaxed(&ring->seen));
        uint32_t from = strait_prefetch_from(&ring->prefetch, (uint32_t)count, (uint32_t)known);
        if (from > 0) {
            strait_prefetch_write(strait_p_cells_stamp(ring, index + from));
            strait_prefetch_slots(strait_p_cells_slot(ring, index + from),
                                  count * ring->message_size, true);
        }
    }
}

STRAIT_INLINE void strait_cells_commit(struct strait_cells *ring, const struct strait_span *span)
{
    for (uintptr_t i = span->position; i != span->position + span->count; i++) {
        /* cells.commit: pairs with cells.peek; the bytes of message i; without it the receiver may
         * see the stamp before the message */
        strait_store_release(strait_p_cells_stamp(ring, i), (uint32_t)(i + 1));
    }
    strait_p_cells_prefetch(ring, span->position, span->count);
}

/* Looks for messages behind those that are known, up to n in all; how many there are now. */
static inline size_t strait_p_cells_look_for(struct strait_cells *ring, size_t n)
{
    size_t known = ring->known;
    for (; known < n; known++) {
        uintptr_t next = ring->index + known;
        /* cells.peek: pairs with cells.commit; the bytes of message `next`; without it the receiver
         * may read a slot from before the message was written */
        if (strait_load_acquire(strait_p_cells_stamp(ring, next)) != (uint32_t)(next + 1)) {
            break;
        }
    }
    ring->known = known;
    return known;
}

static inline size_t strait_p_cells_look(void *cells)
{
    struct strait_cells *ring = (struct strait_cells *)cells;
    return strait_p_cells_look_for(ring, ring->distance.enough);
}

/* Where n are not known: looks for n, and for as many more as keep the receiver at a distance. In
 * full flow it waits before it looks: a sender whose line is taken away pays twice, as its next
 * claim waits for it, too. Where messages fill their lines that is worth less than the time it
 * takes. Where there is no message, it asks for where the next one will be: it then comes with its
 * stamp, and not after it. Of a message of several lines it would take the first one from a sender
 * that still writes. */
static __attribute__((noinline, unused)) void strait_p_cells_gather(struct strait_cells *ring,
                                                                    size_t n)
{
    struct strait_distance *distance = &ring->distance;
    bool several = ring->message_size <= STRAIT_PREFETCH_LINE / 2; /* messages in a line */
    bool waited = several && ring->known == 0 && strait_distance_linger_ahead(distance);
    size_t there = strait_p_cells_look_for(ring, n > distance->enough ? n : distance->enough);
    if (there == 0 && ring->message_size <= STRAIT_PREFETCH_LINE) {
        strait_prefetch_read(strait_p_cells_slot(ring, ring->index));
    }
    if (waited) {
        strait_distance_adjust(distance, there);
    } else {
        strait_distance_linger(distance, there, strait_p_cells_look, ring);
    }
}

STRAIT_INLINE size_t strait_cells_peek(struct strait_cells *ring, size_t n,
                                       struct strait_span *span)
{
    if (STRAIT_UNLIKELY(ring->known < n)) {
        strait_p_cells_gather(ring, n);
    }
    return strait_p_cells_run(ring, ring->index, n, ring->known, span);
}

STRAIT_INLINE void strait_cells_release(struct strait_cells *ring, const struct strait_span *span)
{
    ring->index += span->count;
    ring->known -= span->count;
    /* cells.release: pairs with cells.reserve; the receiver is done with the slots below head;
     * without it a sender may write a slot before the receiver has read it */
    strait_word_store_release(&ring->head, ring->index);
}

STRAIT_DEFINE_COPYING(strait_cells, struct strait_cells, struct strait_cells)
STRAIT_DEFINE_VARIANT(strait_cells, struct strait_cells, struct strait_cells, "cells",
                      STRAIT_SENDERS_ANY, STRAIT_DIRECT_NONE);

STRAIT_C_END

#endif /* STRAIT_RINGS_CELLS_H */
