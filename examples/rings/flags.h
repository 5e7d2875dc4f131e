/* SPDX-License-Identifier: MIT */
/*
 * flags: one sender, one receiver; a ring to start your own from (see CONTRIBUTING.md).
 *
 * Algorithm: no index is shared. A flag for each slot says whose turn it is, after FastForward
 * (Giacomoni, Moseley, Vachharajani, 2008), where the message itself is the flag.
 *
 *   line 0  geometry                     nobody writes after init
 *   line 1  sender's slot, attached      sender writes
 *   line 2  receiver's slot              receiver writes
 *   then    the flags, 4 bytes a slot    sender sets, receiver clears
 *   then    the messages
 *
 * Invariant: there are as many slots as the capacity says; the flags that are set are those from
 * the receiver's slot to the one before the sender's.
 *
 * Who may call what at the same time: one sender, one receiver; attach and detach as spsc's.
 *
 * Progress: every operation is wait-free.
 */
#ifndef STRAIT_RINGS_FLAGS_H
#define STRAIT_RINGS_FLAGS_H

#include "strait/rings/variant.h"

STRAIT_C_BEGIN

struct strait_flags {
    /* line 0: set once, by init */
    STRAIT_LINE_ALIGNED uint32_t capacity;
    size_t message_size;
    size_t messages; /* offset of the messages from the end of this struct */
    /* line 1: sender writes */
    STRAIT_LINE_ALIGNED uint32_t sender;
    uint32_t attached; /* 1 while there is a sender */
    /* line 2: receiver writes */
    STRAIT_LINE_ALIGNED uint32_t receiver;
};

static inline size_t strait_flags_messages(const struct strait_shape *shape)
{
    return strait_round_up(shape->capacity * sizeof(uint32_t), STRAIT_LINE);
}

static inline size_t strait_flags_size(const struct strait_shape *shape)
{
    return sizeof(struct strait_flags) + strait_flags_messages(shape) +
           strait_round_up(shape->capacity * shape->message_size, STRAIT_LINE);
}

static inline void strait_flags_init(struct strait_flags *ring, const struct strait_shape *shape)
{
    memset(ring, 0, sizeof(*ring) + strait_flags_messages(shape));
    ring->capacity = (uint32_t)shape->capacity;
    ring->message_size = shape->message_size;
    ring->messages = strait_flags_messages(shape);
}

static inline bool strait_flags_fits(const struct strait_flags *ring,
                                     const struct strait_shape *shape)
{
    return ring->capacity == shape->capacity && ring->message_size == shape->message_size &&
           ring->messages == strait_flags_messages(shape);
}

static inline struct strait_flags *strait_flags_attach(struct strait_flags *ring)
{
    uint32_t expected = 0;
    /* flags.attach: pairs with flags.detach; the slot where the sender before stopped; without it
     * this one goes on from a slot of the past */
    return strait_cas_acq_rel(&ring->attached, &expected, 1) ? ring : NULL;
}

static inline void strait_flags_detach(struct strait_flags *ring)
{
    /* flags.detach: pairs with flags.attach; the slot where this sender stopped; without it the
     * next one goes on from a slot of the past */
    strait_store_release(&ring->attached, 0);
}

/* The i-th slot from `slot` on. */
static inline uint32_t strait_flags_slot(const struct strait_flags *ring, uint32_t slot, size_t i)
{
    size_t at = slot + i;
    return (uint32_t)(at < ring->capacity ? at : at - ring->capacity);
}

static inline uint32_t *strait_flags_flag(struct strait_flags *ring, uint32_t slot)
{
    return (uint32_t *)(void *)(ring + 1) + slot;
}

/* The run of up to n slots from `slot` on whose flag is `flag`, cut where the memory ends. */
static inline size_t strait_flags_run(struct strait_flags *ring, uint32_t slot, size_t n,
                                      uint32_t flag, struct strait_span *span)
{
    slot = (uint32_t)strait_min(slot, ring->capacity - 1); /* a peer may have written anything */
    size_t most = strait_min(n, ring->capacity);
    size_t ready = 0;
    while (ready < most) {
        uint32_t *next = strait_flags_flag(ring, strait_flags_slot(ring, slot, ready));
        /* flags.look: pairs with flags.give; what the other side did to the slot's message; without
         * it this side may use the slot before the other is done with it */
        if (strait_load_acquire(next) != flag) {
            break;
        }
        ready++;
    }
    size_t to_end = ring->capacity - slot;
    span->messages = (char *)(ring + 1) + ring->messages + slot * ring->message_size;
    span->message_size = ring->message_size;
    span->position = slot;
    span->count = strait_min(ready, to_end);
    span->more = ready > to_end;
    return span->count;
}

/* Gives a run of slots to the other side; returns the slot behind it. */
static inline uint32_t strait_flags_give(struct strait_flags *ring, const struct strait_span *span,
                                         uint32_t flag)
{
    uint32_t slot = (uint32_t)span->position;
    for (size_t i = 0; i < span->count; i++) {
        /* flags.give: pairs with flags.look; what this side did to the slot's message; without it
         * the other side may see the flag before the message is written or read */
        strait_store_release(strait_flags_flag(ring, slot + (uint32_t)i), flag);
    }
    return strait_flags_slot(ring, slot, span->count);
}

static inline size_t strait_flags_reserve(struct strait_flags *ring, size_t n,
                                          struct strait_span *span)
{
    return strait_flags_run(ring, ring->sender, n, 0, span);
}

static inline bool strait_flags_has_room(struct strait_flags *ring)
{
    struct strait_span span;
    return strait_flags_reserve(ring, 1, &span) > 0;
}

static inline void strait_flags_commit(struct strait_flags *ring, const struct strait_span *span)
{
    ring->sender = strait_flags_give(ring, span, 1);
}

static inline size_t strait_flags_peek(struct strait_flags *ring, size_t n,
                                       struct strait_span *span)
{
    return strait_flags_run(ring, ring->receiver, n, 1, span);
}

static inline void strait_flags_release(struct strait_flags *ring, const struct strait_span *span)
{
    ring->receiver = strait_flags_give(ring, span, 0);
}

STRAIT_DEFINE_COPYING(strait_flags, struct strait_flags, struct strait_flags)
STRAIT_DEFINE_VARIANT(strait_flags, struct strait_flags, struct strait_flags, "flags",
                      STRAIT_SENDERS_ONE, STRAIT_DIRECT_NONE);

STRAIT_C_END

#endif /* STRAIT_RINGS_FLAGS_H */
