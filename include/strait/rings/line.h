/* SPDX-License-Identifier: MIT */
/*
 * line: one sender, one receiver, message and flag in one cache line.
 *
 * Algorithm: FastForward's (Giacomoni, Moseley, Vachharajani, 2008): the receiver polls the very
 * slot where the next message will be, so that a hand-over takes one line from core to core where
 * an index and a message take two. As in cells (cells.h) the flag is a stamp, and the receiver's
 * head, not the stamps, says which slots are free: every capacity is exact, and the sender looks at
 * no line of the receiver's until the ring seems full. Take it for round trips, where a core waits
 * for each message; a stream is faster through spsc, where a line holds many small ones.
 *
 *   line 0  sender's own     index, end, geometry               sender writes
 *   line 1  head             messages released                  receiver writes, sender reads
 *   line 2  receiver's own   index, geometry                    receiver writes
 *   then    the slots: the message, and in the last 4 bytes the stamp
 *
 * A slot has whole lines of 64 bytes, or a part of one that is a power of two: up to 4 messages of
 * 8 bytes share a line, one of up to 60 bytes lies in one. Between two messages there is a stamp,
 * so in place there is one at a time. Nobody prefetches: a line is best where it was last.
 *
 * Invariants, in free-running 32-bit indices:
 *   sender.index - head <= capacity <= slots <= 2^30
 *   sender.end is a head of the past plus the capacity
 *   message i is published  <=>  stamp[i mod slots] == i + 1; else the stamp is of the lap before
 *   receiver.index == head between operations
 *
 * Who may call what at the same time: as in spsc.h.
 *
 * Progress: every operation is wait-free. Who is stopped in the middle holds up what it does in
 * spsc.
 */
#ifndef STRAIT_RINGS_LINE_H
#define STRAIT_RINGS_LINE_H

#include "strait/rings/lines.h"

STRAIT_C_BEGIN

/* A slot is so many bytes, or a multiple, or a half, a quarter, ... of them. */
#define STRAIT_LINE_SLOT 64u

/* What one side works with; nobody else loads it. */
struct strait_line_side {
    uint32_t index; /* next to reserve, or to peek */
    uint32_t end;   /* sender's: the first slot that is not free, as far as it knows */
    uint32_t mask;  /* the rest is set once, by init */
    uint32_t capacity;
    size_t message_size;
    size_t slot_size;
    uint32_t attached; /* sender's side only: 1 while a sender has this end */
};

struct strait_line {
    STRAIT_LINE_ALIGNED struct strait_line_side sender;   /* line 0: sender writes */
    STRAIT_LINE_ALIGNED uint32_t head;                    /* line 1: receiver writes */
    STRAIT_LINE_ALIGNED struct strait_line_side receiver; /* line 2: receiver writes */
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_line, sender) == 0 * STRAIT_LINE, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_line, head) == 1 * STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_line, receiver) == 2 * STRAIT_LINE, "line 2");
STRAIT_STATIC_ASSERT(sizeof(struct strait_line) == 3 * STRAIT_LINE, "the slots follow line 2");

static inline size_t strait_p_line_slot_size(const struct strait_shape *shape)
{
    size_t needed = shape->message_size + sizeof(uint32_t);
    return needed < STRAIT_LINE_SLOT ? strait_slots(needed)
                                     : strait_round_up(needed, STRAIT_LINE_SLOT);
}

static inline size_t strait_line_size(const struct strait_shape *shape)
{
    size_t slots = strait_slots(shape->capacity);
    return sizeof(struct strait_line) +
           strait_round_up(slots * strait_p_line_slot_size(shape), STRAIT_LINE);
}

STRAIT_INLINE char *strait_p_line_slot(struct strait_line *ring,
                                       const struct strait_line_side *side, uint32_t index)
{
    return (char *)(ring + 1) + (index & side->mask) * side->slot_size;
}

STRAIT_INLINE uint32_t *strait_p_line_stamp(const struct strait_line_side *side, char *slot)
{
    return (uint32_t *)(void *)(slot + side->slot_size - sizeof(uint32_t));
}

static inline void strait_line_init(struct strait_line *ring, const struct strait_shape *shape)
{
    struct strait_line_side side;
    memset(&side, 0, sizeof(side));
    side.index = STRAIT_FIRST_INDEX;
    side.end = side.index + (uint32_t)shape->capacity;
    side.mask = strait_slots(shape->capacity) - 1;
    side.capacity = (uint32_t)shape->capacity;
    side.message_size = shape->message_size;
    side.slot_size = strait_p_line_slot_size(shape);
    ring->sender = side;
    ring->receiver = side;
    ring->head = side.index;
    for (uint32_t i = side.index; i - side.index <= side.mask; i++) {
        *strait_p_line_stamp(&side, strait_p_line_slot(ring, &side, i)) = i - side.mask;
    }
}

static inline bool strait_p_line_side_fits(const struct strait_line_side *side,
                                           const struct strait_shape *shape)
{
    return side->mask == strait_slots(shape->capacity) - 1 && side->capacity == shape->capacity &&
           side->message_size == shape->message_size &&
           side->slot_size == strait_p_line_slot_size(shape);
}

static inline bool strait_line_fits(const struct strait_line *ring,
                                    const struct strait_shape *shape)
{
    return strait_p_line_side_fits(&ring->sender, shape) &&
           strait_p_line_side_fits(&ring->receiver, shape);
}

static inline struct strait_line *strait_line_attach(struct strait_line *ring)
{
    uint32_t expected = 0;
    /* line.attach: pairs with line.detach; line 0 as the sender before left it; without it a new
     * sender goes on from an index of the past */
    return strait_cas_acq_rel(&ring->sender.attached, &expected, 1) ? ring : NULL;
}

static inline void strait_line_detach(struct strait_line *ring)
{
    /* line.detach: pairs with line.attach; line 0 as this sender leaves it; without it the next
     * sender goes on from an index of the past */
    strait_store_release(&ring->sender.attached, 0);
}

/* Free slots: exact if the answer is below n. */
STRAIT_INLINE uint32_t strait_p_line_room(struct strait_line *ring, size_t n)
{
    struct strait_line_side *own = &ring->sender;
    if (STRAIT_UNLIKELY(own->end - own->index < n)) {
        /* line.reserve: pairs with line.release; the receiver is done with the slots below head;
         * without it the sender may overwrite a message that is still being read */
        own->end = strait_load_acquire(&ring->head) + own->capacity;
    }
    return own->end - own->index;
}

static inline bool strait_line_has_room(struct strait_line *ring)
{
    return strait_p_line_room(ring, 1) > 0;
}

/* A span of one slot, or of none. */
STRAIT_INLINE size_t strait_p_line_span(struct strait_span *span,
                                        const struct strait_line_side *side, char *slot, bool there,
                                        bool more)
{
    span->messages = slot;
    span->message_size = side->message_size;
    span->position = side->index;
    span->count = there;
    span->more = more;
    return there;
}

STRAIT_INLINE size_t strait_line_reserve(struct strait_line *ring, size_t n,
                                         struct strait_span *span)
{
    struct strait_line_side *own = &ring->sender;
    size_t wanted = strait_min(n, strait_p_line_room(ring, n));
    return strait_p_line_span(span, own, strait_p_line_slot(ring, own, own->index), wanted > 0,
                              wanted > 1);
}

STRAIT_INLINE void strait_line_commit(struct strait_line *ring, const struct strait_span *span)
{
    struct strait_line_side *own = &ring->sender;
    if (STRAIT_LIKELY(span->count > 0)) {
        uint32_t *stamp = strait_p_line_stamp(own, (char *)span->messages);
        /* line.commit: pairs with line.peek; the bytes of the message; without it the receiver may
         * see the stamp before the message */
        strait_store_release(stamp, own->index + 1);
        own->index++;
    }
}

STRAIT_INLINE size_t strait_line_peek(struct strait_line *ring, size_t n, struct strait_span *span)
{
    struct strait_line_side *own = &ring->receiver;
    char *slot = strait_p_line_slot(ring, own, own->index);
    if (own->slot_size == 2 * STRAIT_LINE_SLOT) {
        strait_prefetch_read(slot); /* to come beside the stamp's line, and not after it */
    }
    /* line.peek: pairs with line.commit; the bytes of the message; without it the receiver may read
     * a slot from before the message was written */
    uint32_t stamp = strait_load_acquire(strait_p_line_stamp(own, slot));
    bool there = n > 0 && stamp == own->index + 1;
    return strait_p_line_span(span, own, slot, there, there && n > 1);
}

STRAIT_INLINE void strait_line_release(struct strait_line *ring, const struct strait_span *span)
{
    ring->receiver.index += (uint32_t)span->count;
    /* line.release: pairs with line.reserve; the receiver is done with the slots below head;
     * without it the sender may write a slot before the receiver has read it */
    strait_store_release(&ring->head, ring->receiver.index);
}

STRAIT_DEFINE_COPYING(strait_line, struct strait_line, struct strait_line)
STRAIT_DEFINE_VARIANT(strait_line, struct strait_line, struct strait_line, "line",
                      STRAIT_SENDERS_ONE, STRAIT_DIRECT_NONE);

STRAIT_C_END

#endif /* STRAIT_RINGS_LINE_H */
