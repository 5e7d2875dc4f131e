/* SPDX-License-Identifier: MIT */
/*
 * spsc: one sender, one receiver.
 *
 * Algorithm: Lamport's ring ("Specifying Concurrent Program Modules", 1983) with each side keeping
 * what it knows of the other side's index and looking again only when that says full or empty (Lee,
 * Bu, Chandranmenon, "A lock-free, cache-efficient shared ring buffer", 2010), and with each index
 * alone on its line: a published line holds nothing that its owner loads, so that the other side's
 * polling never takes away what the next operation needs. Both sides prefetch and keep their
 * distance (lines.h).
 *
 *   line 0  sender's own     index, end, geometry               sender writes
 *   line 1  receiver's own   index, end, geometry               receiver writes
 *   line 2  tail             messages committed                 sender writes, receiver polls
 *   line 3  head             messages released                  receiver writes, sender polls
 *   then    the slots
 *
 * What a side goes by when it finds a slot lies before what both sides see. So two processes may
 * map the first two lines each for itself, and then neither can make the other leave the slots.
 *
 * Invariants, in free-running 32-bit indices:
 *   tail - head <= capacity <= slots <= 2^30
 *   sender.index == tail, receiver.index == head between operations
 *   sender.end is a head of the past plus the capacity: the sender has at least end - index slots
 *   receiver.end is a tail of the past: the receiver has at least end - index messages
 *
 * Who may call what at the same time: one sender (reserve, commit, has_room), one receiver (peek,
 * release); attach and detach beside the receiver, not beside a sender of the same end.
 *
 * Progress: every operation is wait-free. A sender stopped between reserve and commit holds up
 * nothing but the messages it has not committed; a receiver stopped between peek and release holds
 * up nothing until the ring is full.
 */
#ifndef STRAIT_RINGS_SPSC_H
#define STRAIT_RINGS_SPSC_H

#include "strait/rings/lines.h"

STRAIT_C_BEGIN

/* What one side works with; nobody else loads it. */
struct strait_spsc_side {
    uint32_t index;    /* next to reserve, or to peek */
    uint32_t end;      /* the first slot that is not this side's, as far as it knows */
    uint32_t capacity; /* the rest is set once, by init */
    uint32_t mask;
    size_t message_size;
    size_t slot_size; /* a message, and in line.h a stamp */
    struct strait_prefetch prefetch;
    uint32_t attached; /* sender's side only: 1 while a sender has this end */
    struct strait_distance distance;
};

struct strait_spsc {
    STRAIT_LINE_ALIGNED struct strait_spsc_side sender;   /* line 0: sender writes */
    STRAIT_LINE_ALIGNED struct strait_spsc_side receiver; /* line 1: receiver writes */
    STRAIT_LINE_ALIGNED uint32_t tail;                    /* line 2: sender writes */
    STRAIT_LINE_ALIGNED uint32_t head;                    /* line 3: receiver writes */
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_spsc) == 4 * STRAIT_LINE, "the slots follow line 3");

/* ---- how it is made, with slots of any size: line.h makes one, too ---- */

static inline size_t strait_p_spsc_size(const struct strait_shape *shape, size_t slot_size)
{
    size_t slots = strait_slots(shape->capacity);
    return sizeof(struct strait_spsc) + strait_round_up(slots * slot_size, STRAIT_LINE);
}

static inline void strait_p_spsc_init(struct strait_spsc *ring, const struct strait_shape *shape,
                                      size_t slot_size)
{
    struct strait_spsc_side side;
    side.index = STRAIT_FIRST_INDEX;
    side.end = STRAIT_FIRST_INDEX;
    side.capacity = (uint32_t)shape->capacity;
    side.mask = strait_slots(shape->capacity) - 1;
    side.message_size = shape->message_size;
    side.slot_size = slot_size;
    strait_prefetch_init(&side.prefetch, shape->capacity, slot_size);
    side.attached = 0;
    strait_distance_init(&side.distance, shape, STRAIT_DISTANCE_A_SLOT_ALONE);
    ring->receiver = side;
    side.end += side.capacity;
    ring->sender = side;
    ring->tail = STRAIT_FIRST_INDEX;
    ring->head = STRAIT_FIRST_INDEX;
}

static inline bool strait_p_spsc_side_fits(const struct strait_spsc_side *side,
                                           const struct strait_shape *shape, size_t slot_size)
{
    return side->capacity == shape->capacity && side->mask == strait_slots(shape->capacity) - 1 &&
           side->message_size == shape->message_size && side->slot_size == slot_size &&
           strait_prefetch_fits(&side->prefetch, shape->capacity, slot_size) &&
           strait_distance_fits(&side->distance, shape, STRAIT_DISTANCE_A_SLOT_ALONE);
}

static inline bool strait_p_spsc_fits(const struct strait_spsc *ring,
                                      const struct strait_shape *shape, size_t slot_size)
{
    return strait_p_spsc_side_fits(&ring->sender, shape, slot_size) &&
           strait_p_spsc_side_fits(&ring->receiver, shape, slot_size);
}

static inline size_t strait_spsc_size(const struct strait_shape *shape)
{
    return strait_p_spsc_size(shape, shape->message_size);
}

static inline void strait_spsc_init(struct strait_spsc *ring, const struct strait_shape *shape)
{
    strait_p_spsc_init(ring, shape, shape->message_size);
}

static inline bool strait_spsc_fits(const struct strait_spsc *ring,
                                    const struct strait_shape *shape)
{
    return strait_p_spsc_fits(ring, shape, shape->message_size);
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

static inline char *strait_p_spsc_slot(struct strait_spsc *ring,
                                       const struct strait_spsc_side *side, uint32_t index)
{
    return (char *)(ring + 1) + (index & side->mask) * side->slot_size;
}

/* ---- each side's look at the other: slots that it has now ---- */

static inline size_t strait_p_spsc_look_for_room(void *spsc)
{
    struct strait_spsc *ring = (struct strait_spsc *)spsc;
    /* spsc.reserve: pairs with spsc.release, line.release; the receiver is done with the slots
     * below head; without it the sender may overwrite a message that is still being read */
    ring->sender.end = strait_load_acquire(&ring->head) + ring->sender.capacity;
    return ring->sender.end - ring->sender.index;
}

static inline size_t strait_p_spsc_look(void *spsc)
{
    struct strait_spsc *ring = (struct strait_spsc *)spsc;
    /* spsc.peek: pairs with spsc.commit; the bytes of the messages below tail; without it the
     * receiver may read a slot from before the message was written */
    ring->receiver.end = strait_load_acquire(&ring->tail);
    return ring->receiver.end - ring->receiver.index;
}

/* What follows a look that has found slots: a wait for more where that is worth it. Of the first of
 * these slots nothing was asked for before: now for all at once. A receiver, who is about to read
 * them, asks for no more lines than are fetched at the same time: 4 KiB there and back take 1.70 us
 * where it asks for all of them, and 1.53 where it asks for 1 KiB (Intel's Granite Rapids). */
static __attribute__((noinline, unused)) void strait_p_spsc_settle(struct strait_spsc *ring,
                                                                   struct strait_spsc_side *own,
                                                                   size_t there,
                                                                   size_t (*look)(void *ring))
{
    strait_distance_linger(&own->distance, there, look, ring);
    bool sends = own == &ring->sender;
    size_t first = strait_min(own->end - own->index, own->prefetch.ahead) * own->slot_size;
    strait_prefetch_slots(strait_p_spsc_slot(ring, own, own->index),
                          sends ? first : strait_min(first, STRAIT_PREFETCH_AHEAD), sends);
}

/* For a side that knows of no slot, or of too few. Is there one now? A receiver asks for where the
 * next message will be: it then comes with the tail, and not after it. Nothing else is to be done
 * for a single small message where no wait is due: it is about to be read, and a call would cost
 * more. */
STRAIT_INLINE bool strait_p_spsc_await(struct strait_spsc *ring, struct strait_spsc_side *own,
                                       size_t (*look)(void *ring))
{
    size_t there = look(ring);
    bool single = there == 1 && own->message_size <= STRAIT_PREFETCH_LINE;
    if (there > 0 && !(single && own->distance.skip > 0)) {
        strait_p_spsc_settle(ring, own, there, look);
        return true;
    }
    if (own == &ring->receiver && own->message_size <= STRAIT_PREFETCH_LINE) {
        strait_prefetch_read((char *)(ring + 1) + (own->index & own->mask) * own->slot_size);
    }
    own->distance.skip -= (uint32_t)there;
    return there > 0;
}

/* The same for whoever wants a span, and looks at `end` afterwards. Not inline: it is one in a
 * batch, and the text stays small. */
static __attribute__((noinline, unused)) void strait_p_spsc_await_more(struct strait_spsc *ring,
                                                                       struct strait_spsc_side *own,
                                                                       size_t (*look)(void *ring))
{
    strait_p_spsc_await(ring, own, look);
}

/* ---- publishing slots, and asking for those that come ---- */

STRAIT_INLINE void strait_p_spsc_prefetch(struct strait_spsc *ring,
                                          const struct strait_spsc_side *side, uint32_t index,
                                          uint32_t count, bool sender)
{
    if (STRAIT_UNLIKELY(((index ^ (index + count)) & side->prefetch.line) != 0)) {
        uint32_t from = strait_prefetch_from(&side->prefetch, count, side->end - index);
        if (from > 0) {
            strait_prefetch_slots(strait_p_spsc_slot(ring, side, index + from),
                                  count * side->message_size, sender);
        }
    }
}

STRAIT_INLINE void strait_p_spsc_publish(struct strait_spsc *ring, uint32_t index, uint32_t count)
{
    ring->sender.index = index + count;
    /* spsc.commit: pairs with spsc.peek; the bytes of the messages below tail; without it the
     * receiver may see the tail before the message */
    strait_store_release(&ring->tail, index + count);
    strait_p_spsc_prefetch(ring, &ring->sender, index, count, true);
}

STRAIT_INLINE void strait_p_spsc_give_back(struct strait_spsc *ring, uint32_t index, uint32_t count)
{
    ring->receiver.index = index + count;
    /* spsc.release: pairs with spsc.reserve; the receiver is done with the slots below head;
     * without it the sender may write a slot before the receiver has read it */
    strait_store_release(&ring->head, index + count);
    strait_p_spsc_prefetch(ring, &ring->receiver, index, count, false);
}

/* ---- in place ---- */

/* The run that starts at a side's index: at most n, at most what is known. */
STRAIT_INLINE size_t strait_p_spsc_run(struct strait_spsc *ring,
                                       const struct strait_spsc_side *side, size_t n,
                                       struct strait_span *span)
{
    span->messages = strait_p_spsc_slot(ring, side, side->index);
    span->message_size = side->message_size;
    span->position = side->index;
    return strait_p_span_cut(span, n, side->end - side->index, side->mask);
}

static inline bool strait_spsc_has_room(struct strait_spsc *ring)
{
    return ring->sender.end != ring->sender.index || strait_p_spsc_look_for_room(ring) > 0;
}

STRAIT_INLINE size_t strait_spsc_reserve(struct strait_spsc *ring, size_t n,
                                         struct strait_span *span)
{
    struct strait_spsc_side *own = &ring->sender;
    if (STRAIT_UNLIKELY(own->end - own->index < n)) {
        strait_p_spsc_await_more(ring, own, strait_p_spsc_look_for_room);
    }
    return strait_p_spsc_run(ring, own, n, span);
}

STRAIT_INLINE void strait_spsc_commit(struct strait_spsc *ring, const struct strait_span *span)
{
    strait_p_spsc_publish(ring, (uint32_t)span->position, (uint32_t)span->count);
}

STRAIT_INLINE size_t strait_spsc_peek(struct strait_spsc *ring, size_t n, struct strait_span *span)
{
    struct strait_spsc_side *own = &ring->receiver;
    if (STRAIT_UNLIKELY(own->end - own->index < n)) {
        strait_p_spsc_await_more(ring, own, strait_p_spsc_look);
    }
    return strait_p_spsc_run(ring, own, n, span);
}

STRAIT_INLINE void strait_spsc_release(struct strait_spsc *ring, const struct strait_span *span)
{
    strait_p_spsc_give_back(ring, (uint32_t)span->position, (uint32_t)span->count);
}

/* ---- by copy: several messages with a span, one without ---- */

STRAIT_P_DEFINE_COPY(strait_p_spsc_send_run, struct strait_spsc, const, strait_spsc_reserve,
                     strait_p_copy_in, strait_spsc_commit)
STRAIT_P_DEFINE_COPY(strait_p_spsc_receive_run, struct strait_spsc, , strait_spsc_peek,
                     strait_p_copy_out, strait_spsc_release)

STRAIT_INLINE size_t strait_spsc_send(struct strait_spsc *ring, const void *messages, size_t n,
                                      size_t size)
{
    struct strait_spsc_side *own = &ring->sender;
    if (!STRAIT_P_IS_ONE(n, size)) {
        return strait_p_spsc_send_run(ring, messages, n, size);
    }
    if (STRAIT_UNLIKELY(own->end == own->index) &&
        !strait_p_spsc_await(ring, own, strait_p_spsc_look_for_room)) {
        return 0;
    }
    uint32_t index = own->index;
    size_t bytes = size ? size : own->message_size;
    char *slot = (char *)(ring + 1) + (index & own->mask) * bytes;
    /* A receiver that polls has both lines that a message is written to. The sender asks for both
     * at once: its stores would ask for one after the other, and the receiver would have the first
     * line back before the second one has come. Where several lines are to be written before the
     * tail, it would be the tail that is gone again. */
    if (bytes <= STRAIT_PREFETCH_LINE) {
        strait_prefetch_write(&ring->tail);
        strait_prefetch_write(slot);
    }
    if (STRAIT_LIKELY(bytes == sizeof(uint64_t))) {
        if (!size) {
            STRAIT_P_HIDE(messages);
        }
        memcpy(slot, messages, sizeof(uint64_t));
    } else {
        strait_p_copy_in(slot, (const char *)messages, bytes, size);
    }
    strait_p_spsc_publish(ring, index, 1);
    return 1;
}

STRAIT_INLINE size_t strait_spsc_receive(struct strait_spsc *ring, void *messages, size_t n,
                                         size_t size)
{
    struct strait_spsc_side *own = &ring->receiver;
    if (!STRAIT_P_IS_ONE(n, size)) {
        return strait_p_spsc_receive_run(ring, messages, n, size);
    }
    if (STRAIT_UNLIKELY(own->end == own->index) &&
        !strait_p_spsc_await(ring, own, strait_p_spsc_look)) {
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
        strait_p_copy_out(slot, (char *)messages, bytes, size);
    }
    strait_p_spsc_give_back(ring, index, 1);
    return 1;
}

STRAIT_DEFINE_VARIANT(strait_spsc, struct strait_spsc, struct strait_spsc, "spsc",
                      STRAIT_SENDERS_ONE, STRAIT_DIRECT_BOTH);

STRAIT_C_END

#endif /* STRAIT_RINGS_SPSC_H */
