/* SPDX-License-Identifier: MIT */
/*
 * line: one sender, one receiver, message and flag in one cache line.
 *
 * Algorithm: FastForward's (Giacomoni, Moseley, Vachharajani, 2008): the receiver polls the very
 * slot where the next message will be, so that a hand-over takes one line from core to core where
 * an index and a message take two. As in cells (cells.h) the flag is a stamp, and the receiver's
 * head, not the stamps, says which slots are free: every capacity is exact, and the sender looks at
 * no line of the receiver's until it knows of too little room. Take it for round trips, where a
 * core waits for each message; a stream is faster through spsc, where a line holds many small ones.
 *
 * It is an spsc ring (spsc.h), but for the tail, which nobody uses, and for the slots: a message,
 * and in the last 4 bytes the stamp.
 *
 * A slot has whole lines of 64 bytes, or a part of one that is a power of two: up to 4 messages of
 * 8 bytes share a line, one of up to 60 bytes lies in one. Between two messages there is a stamp,
 * so in place there is one at a time. A sender asks for both ends of the slot that it is about to
 * write, which its stores would do one after the other; and when it has found room, for the first
 * KiB of it.
 *
 * Both sides keep their distance (lines.h). A receiver that has found one message looks whether the
 * last of those that are enough is there, too; if not, whether one half as far is, and so on, as
 * B-Queue's does (Wang, Zhang, Tang, Hua, 2012). One sender writes the stamps in order, so all
 * before a message that is there are there. It may find half of what is there; a closer look would
 * take away lines that the sender is writing. The others it was the last to use: a look there costs
 * the sender nothing.
 *
 * Invariants, in free-running 32-bit indices: those of spsc, but for the tail, and
 *   message i is published  <=>  stamp[i mod slots] == i + 1; else the stamp is of the lap before
 *   the messages from receiver.index to just before receiver.end are published
 *
 * Who may call what at the same time, and progress: as in spsc.h.
 */
#ifndef STRAIT_RINGS_LINE_H
#define STRAIT_RINGS_LINE_H

#include "strait/rings/spsc.h"

STRAIT_C_BEGIN

/* A type of its own: the compiler tells of a call of spsc that is given such a ring. */
struct strait_line {
    struct strait_spsc spsc;
};

/* A slot is so many bytes, or a multiple, or a half, a quarter, ... of them. */
#define STRAIT_LINE_SLOT 64u

static inline size_t strait_p_line_slot_size(const struct strait_shape *shape)
{
    size_t needed = shape->message_size + sizeof(uint32_t);
    return needed < STRAIT_LINE_SLOT ? strait_slots(needed)
                                     : strait_round_up(needed, STRAIT_LINE_SLOT);
}

static inline size_t strait_line_size(const struct strait_shape *shape)
{
    return strait_p_spsc_size(shape, strait_p_line_slot_size(shape));
}

STRAIT_INLINE uint32_t *strait_p_line_stamp(const struct strait_spsc_side *side, char *slot)
{
    return (uint32_t *)(void *)(slot + side->slot_size - sizeof(uint32_t));
}

static inline void strait_line_init(struct strait_line *ring, const struct strait_shape *shape)
{
    strait_p_spsc_init(&ring->spsc, shape, strait_p_line_slot_size(shape));
    const struct strait_spsc_side *side = &ring->spsc.sender;
    for (uint32_t i = side->index; i - side->index <= side->mask; i++) {
        *strait_p_line_stamp(side, strait_p_spsc_slot(&ring->spsc, side, i)) = i - side->mask;
    }
}

static inline bool strait_line_fits(const struct strait_line *ring,
                                    const struct strait_shape *shape)
{
    return strait_p_spsc_fits(&ring->spsc, shape, strait_p_line_slot_size(shape));
}

static inline struct strait_line *strait_line_attach(struct strait_line *ring)
{
    return strait_spsc_attach(&ring->spsc) ? ring : NULL;
}

static inline void strait_line_detach(struct strait_line *ring)
{
    strait_spsc_detach(&ring->spsc);
}

static inline bool strait_line_has_room(struct strait_line *ring)
{
    return strait_spsc_has_room(&ring->spsc);
}

/* A span of one slot, or of none. */
STRAIT_INLINE size_t strait_p_line_span(struct strait_span *span,
                                        const struct strait_spsc_side *side, char *slot, bool there,
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
    struct strait_spsc_side *own = &ring->spsc.sender;
    size_t room = own->end - own->index;
    if (STRAIT_UNLIKELY(room < n)) {
        if (room > 0) { /* a batch goes on: it has asked for its lines */
            strait_p_spsc_look_for_room(&ring->spsc);
        } else {
            strait_p_spsc_await_more(&ring->spsc, own, strait_p_spsc_look_for_room);
        }
        room = own->end - own->index;
    }
    size_t wanted = strait_min(n, room);
    char *slot = strait_p_spsc_slot(&ring->spsc, own, own->index);
    STRAIT_P_HIDE(slot); /* gcc takes it for a part of the struct, and warns of its end */
    strait_prefetch_write(slot);
    strait_prefetch_write(strait_p_line_stamp(own, slot));
    return strait_p_line_span(span, own, slot, wanted > 0, wanted > 1);
}

STRAIT_INLINE void strait_line_commit(struct strait_line *ring, const struct strait_span *span)
{
    struct strait_spsc_side *own = &ring->spsc.sender;
    if (STRAIT_LIKELY(span->count > 0)) {
        uint32_t *stamp = strait_p_line_stamp(own, (char *)span->messages);
        /* line.commit: pairs with line.peek; the bytes of the message, and of those before it;
         * without it the receiver may see the stamp before the message */
        strait_store_release(stamp, own->index + 1);
        own->index++;
    }
}

/* Is message `index` there? */
STRAIT_INLINE bool strait_p_line_there(struct strait_spsc *ring, const struct strait_spsc_side *own,
                                       uint32_t index)
{
    char *slot = strait_p_spsc_slot(ring, own, index);
    /* line.peek: pairs with line.commit; the bytes of the message, and of those before it; without
     * it the receiver may read a slot from before the message was written */
    return strait_load_acquire(strait_p_line_stamp(own, slot)) == index + 1;
}

/* Looks for as many as are enough, for half of that, and so on; how many the receiver knows of now,
 * maybe fewer than there are. In a ring of 64 small messages it finds too few for a wait to be
 * worth it (lines.h): there the receiver takes what is there and does not wait, which is twice as
 * fast. */
static __attribute__((noinline, unused)) size_t strait_p_line_look(void *spsc)
{
    struct strait_spsc *ring = (struct strait_spsc *)spsc;
    struct strait_spsc_side *own = &ring->receiver;
    uint32_t known = own->end - own->index;
    uint32_t n = own->distance.enough;
    while (n > known && !strait_p_line_there(ring, own, own->index + n - 1)) {
        n /= 2;
    }
    if (n > known) {
        own->end = own->index + n;
    }
    return own->end - own->index;
}

/* What follows a message that was found: a look for more. */
static __attribute__((noinline, unused)) void strait_p_line_gather(struct strait_spsc *ring)
{
    strait_distance_linger(&ring->receiver.distance, strait_p_line_look(ring), strait_p_line_look,
                           ring);
}

/* For a receiver that knows of no message: looks for the next one. */
STRAIT_INLINE void strait_p_line_await(struct strait_spsc *ring, struct strait_spsc_side *own)
{
    if (own->slot_size == 2 * STRAIT_LINE_SLOT) {
        /* to come beside the stamp's line, and not after it */
        strait_prefetch_read(strait_p_spsc_slot(ring, own, own->index));
    }
    if (strait_p_line_there(ring, own, own->index)) {
        own->end = own->index + 1;
        if (own->distance.skip > 0) {
            own->distance.skip--;
        } else {
            strait_p_line_gather(ring);
        }
    }
}

STRAIT_INLINE size_t strait_line_peek(struct strait_line *ring, size_t n, struct strait_span *span)
{
    struct strait_spsc_side *own = &ring->spsc.receiver;
    if (own->end == own->index && n > 0) {
        strait_p_line_await(&ring->spsc, own);
    }
    bool there = n > 0 && own->end != own->index;
    char *slot = strait_p_spsc_slot(&ring->spsc, own, own->index);
    return strait_p_line_span(span, own, slot, there, there && n > 1);
}

STRAIT_INLINE void strait_line_release(struct strait_line *ring, const struct strait_span *span)
{
    ring->spsc.receiver.index += (uint32_t)span->count;
    /* line.release: pairs with spsc.reserve; the receiver is done with the slots below head;
     * without it the sender may write a slot before the receiver has read it */
    strait_store_release(&ring->spsc.head, ring->spsc.receiver.index);
}

/* ---- by copy ---- */

STRAIT_P_DEFINE_COPY(strait_p_line_send_any, struct strait_line, const, strait_line_reserve,
                     strait_p_copy_in, strait_line_commit)
STRAIT_P_DEFINE_COPY(strait_p_line_receive_any, struct strait_line, , strait_line_peek,
                     strait_p_copy_out, strait_line_release)
STRAIT_P_DEFINE_WORDS(strait_line_send, strait_p_line_send_any, struct strait_line, const,
                      ring->spsc.sender.message_size == sizeof(uint64_t))
STRAIT_P_DEFINE_WORDS(strait_line_receive, strait_p_line_receive_any, struct strait_line, ,
                      ring->spsc.receiver.message_size == sizeof(uint64_t))
STRAIT_DEFINE_VARIANT(strait_line, struct strait_line, struct strait_line, "line",
                      STRAIT_SENDERS_ONE, STRAIT_DIRECT_NONE);

STRAIT_C_END

#endif /* STRAIT_RINGS_LINE_H */
