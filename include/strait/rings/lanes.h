/* SPDX-License-Identifier: MIT */
/*
 * lanes: many registered senders, one receiver.
 *
 * Algorithm: one spsc ring (spsc.h), a lane, for each sender that is attached. The receiver takes
 * what it found in one lane, at most its capacity, then looks at the others in turn, at a few
 * between two looks at the one that was busy last. What it will look at next it asks for before, so
 * that a look at an empty lane costs little, and a thousand of them do not slow down the busy one.
 * Senders share nothing, so that none of them can hold up another, and a sender costs what an spsc
 * sender costs: a mark of lanes that have something would cost it a load at each send.
 *
 *   line 0  rotation   the current lane, geometry        receiver writes
 *   line 1  reached    lanes ever attached               senders write, when they attach
 *   then    the lanes, each a strait_spsc
 *
 * The capacity is each lane's own: n senders have n times the shape's capacity between them.
 *
 * Invariants: those of each lane; `reached` only grows; a lane given back is handed to the next
 * sender with its messages still in it, so order holds per sender and nothing waits for a drain.
 *
 * Who may call what at the same time: per lane as in spsc.h; attach may run beside everything.
 *
 * Progress: attach is lock-free, every other operation wait-free (peek looks at each lane once,
 * and in between at the current one). A stopped sender holds up its own uncommitted messages, and
 * nothing of anybody else's. A lane with messages is served after reached / STRAIT_LANES_GLANCE
 * turns at most.
 */
#ifndef STRAIT_RINGS_LANES_H
#define STRAIT_RINGS_LANES_H

#include "strait/rings/spsc.h"

STRAIT_C_BEGIN

/* Lanes that the receiver looks at before it comes back to the current one. With 4, and asking
 * ahead, a round trip through one busy lane of 1024 takes as long as through the only one; with 16,
 * and without, 15 times as long (AMD EPYC, cores that share a cache). */
#define STRAIT_LANES_GLANCE 4u

struct strait_lanes {
    /* line 0: receiver writes `current` and `cursor`; the rest is set once, by init */
    STRAIT_LINE_ALIGNED uint32_t current; /* the lane whose messages are being taken */
    uint32_t cursor;                      /* the lane that was looked at last, in turn */
    uint32_t senders;
    size_t lane_size;
    /* line 1: senders write when they attach; the receiver reads */
    STRAIT_LINE_ALIGNED uint32_t reached;
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_lanes) == 2 * STRAIT_LINE, "the lanes follow line 1");

static inline size_t strait_lanes_size(const struct strait_shape *shape)
{
    return sizeof(struct strait_lanes) + shape->senders * strait_spsc_size(shape);
}

static inline struct strait_spsc *strait_p_lanes_lane(struct strait_lanes *ring, uint32_t lane)
{
    return (struct strait_spsc *)(void *)((char *)(ring + 1) + lane * ring->lane_size);
}

static inline void strait_lanes_init(struct strait_lanes *ring, const struct strait_shape *shape)
{
    memset(ring, 0, sizeof(*ring));
    ring->senders = shape->senders;
    ring->lane_size = strait_spsc_size(shape);
    for (uint32_t lane = 0; lane < shape->senders; lane++) {
        strait_spsc_init(strait_p_lanes_lane(ring, lane), shape);
    }
}

static inline bool strait_lanes_fits(struct strait_lanes *ring, const struct strait_shape *shape)
{
    bool fits = ring->senders == shape->senders && ring->lane_size == strait_spsc_size(shape) &&
                ring->current < shape->senders && ring->cursor < shape->senders;
    for (uint32_t lane = 0; fits && lane < shape->senders; lane++) {
        fits = strait_spsc_fits(strait_p_lanes_lane(ring, lane), shape);
    }
    return fits;
}

static inline struct strait_spsc *strait_lanes_attach(struct strait_lanes *ring)
{
    for (uint32_t lane = 0; lane < ring->senders; lane++) {
        struct strait_spsc *end = strait_spsc_attach(strait_p_lanes_lane(ring, lane));
        if (end) {
            uint32_t reached = strait_load_relaxed(&ring->reached);
            while (reached <= lane && !strait_cas_relaxed(&ring->reached, &reached, lane + 1)) {
            }
            return end;
        }
    }
    return NULL;
}

/* A sender's end is a lane: what is done through it is what is done to an spsc ring. */
#define strait_lanes_detach strait_spsc_detach
#define strait_lanes_has_room strait_spsc_has_room
#define strait_lanes_reserve strait_spsc_reserve
#define strait_lanes_commit strait_spsc_commit
#define strait_lanes_send strait_spsc_send

/* Makes it the current lane if there is anything in it. */
static inline bool strait_p_lanes_look(struct strait_lanes *ring, uint32_t number)
{
    struct strait_spsc *lane = strait_p_lanes_lane(ring, number);
    /* the current one again: no other had any, so it has the receiver to itself and may wait */
    bool found = number == ring->current
                     ? strait_p_spsc_await(lane, &lane->receiver, strait_p_spsc_look)
                     : strait_p_spsc_look(lane) > 0;
    ring->current = found ? number : ring->current;
    return found;
}

/* Asks for what a look at the lane will read. Its number may be past the last one. */
static inline void strait_p_lanes_ask(struct strait_lanes *ring, uint32_t number)
{
    struct strait_spsc *lane = strait_p_lanes_lane(ring, number);
    strait_prefetch_read(&lane->tail);
    strait_prefetch_read(&lane->receiver);
}

/* Finds a lane with messages for an empty current one, which stays if all were seen empty. */
static __attribute__((noinline, unused)) bool strait_p_lanes_turn(struct strait_lanes *ring)
{
    /* a lane that is seen late has been seen empty; senders of other processes write this word */
    uint32_t reached = strait_load_relaxed(&ring->reached);
    reached = reached < ring->senders ? reached : ring->senders;
    bool found = false;
    for (uint32_t i = 0; !found && i < reached; i++) {
        if (i > 0 && i % STRAIT_LANES_GLANCE == 0 && strait_p_lanes_look(ring, ring->current)) {
            return true;
        }
        ring->cursor = ring->cursor + 1 < reached ? ring->cursor + 1 : 0;
        strait_p_lanes_ask(ring, ring->cursor + STRAIT_LANES_GLANCE);
        found = strait_p_lanes_look(ring, ring->cursor);
    }
    return found;
}

/* A lane with messages, if there is one. */
STRAIT_INLINE struct strait_spsc *strait_p_lanes_busy(struct strait_lanes *ring)
{
    struct strait_spsc *lane = strait_p_lanes_lane(ring, ring->current);
    if (STRAIT_UNLIKELY(lane->receiver.end == lane->receiver.index)) {
        strait_p_lanes_turn(ring);
        lane = strait_p_lanes_lane(ring, ring->current);
    }
    return lane;
}

STRAIT_INLINE size_t strait_lanes_peek(struct strait_lanes *ring, size_t n,
                                       struct strait_span *span)
{
    struct strait_spsc *lane = strait_p_lanes_busy(ring);
    size_t count = strait_p_spsc_run(lane, &lane->receiver, n, span);
    span->more = count > 0 && count < n; /* another lane may have the rest */
    return count;
}

/* Of the current lane: nothing but a peek that found it empty turns to another. */
STRAIT_INLINE void strait_lanes_release(struct strait_lanes *ring, const struct strait_span *span)
{
    strait_spsc_release(strait_p_lanes_lane(ring, ring->current), span);
}

STRAIT_P_DEFINE_COPY(strait_p_lanes_receive_run, struct strait_lanes, , strait_lanes_peek,
                     strait_p_copy_out, strait_lanes_release)

/* Is there a message in the current lane, and is it a word? */
STRAIT_INLINE bool strait_p_lanes_has_word(struct strait_lanes *ring)
{
    const struct strait_spsc_side *own = &strait_p_lanes_lane(ring, ring->current)->receiver;
    return own->message_size == sizeof(uint64_t) && STRAIT_LIKELY(own->end != own->index);
}

STRAIT_INLINE size_t strait_p_lanes_receive_any(struct strait_lanes *ring, void *messages, size_t n,
                                                size_t size)
{
    if (!STRAIT_P_IS_ONE(n, size)) {
        return strait_p_lanes_receive_run(ring, messages, n, size);
    }
    struct strait_spsc *lane;
    do {
        lane = strait_p_lanes_lane(ring, ring->current);
        if (STRAIT_LIKELY(lane->receiver.end != lane->receiver.index)) {
            return strait_spsc_receive(lane, messages, 1, size);
        }
    } while (strait_p_lanes_turn(ring));
    return 0;
}

STRAIT_P_DEFINE_WORDS(strait_lanes_receive, strait_p_lanes_receive_any, struct strait_lanes, ,
                      strait_p_lanes_has_word(ring))

STRAIT_P_DEFINE_VARIANT(strait_lanes, strait_spsc, struct strait_spsc, struct strait_lanes, "lanes",
                        STRAIT_SENDERS_REGISTERED, STRAIT_DIRECT_SENDERS);

STRAIT_C_END

#endif /* STRAIT_RINGS_LANES_H */
