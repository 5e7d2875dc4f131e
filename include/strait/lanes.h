/* SPDX-License-Identifier: MIT */
/*
 * lanes: many registered senders, one receiver.
 *
 * Algorithm: one spsc ring (spsc.h), a lane, for each sender that is attached; the receiver takes
 * what one lane has, at most its capacity in a row, then turns to the next. Senders share nothing,
 * so that none of them can hold up another, and a sender costs what an spsc sender costs.
 *
 *   line 0  rotation   lane to look at next, geometry    receiver writes
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
 * Progress: attach is lock-free, every other operation wait-free (peek looks at each lane once).
 * A stopped sender holds up its own uncommitted messages, and nothing of anybody else's.
 */
#ifndef STRAIT_LANES_H
#define STRAIT_LANES_H

#include "strait/spsc.h"

struct strait_lanes {
    /* line 0: receiver writes `current` and `quota`; the rest is set once, by init */
    STRAIT_LINE_ALIGNED uint32_t current;
    uint32_t quota; /* messages that the current lane may still yield in a row */
    uint32_t capacity;
    uint32_t senders;
    size_t lane_size;
    /* line 1: senders write when they attach; the receiver reads */
    STRAIT_LINE_ALIGNED uint32_t reached;
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_lanes, current) == 0 * STRAIT_LINE, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_lanes, reached) == 1 * STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(sizeof(struct strait_lanes) == 2 * STRAIT_LINE, "the lanes follow line 1");

static inline size_t strait_lanes_size(const struct strait_shape *shape)
{
    return sizeof(struct strait_lanes) + shape->senders * strait_spsc_size(shape);
}

static inline struct strait_spsc *strait_lanes_lane(struct strait_lanes *ring, uint32_t lane)
{
    return (struct strait_spsc *)(void *)((char *)(ring + 1) + lane * ring->lane_size);
}

static inline void strait_lanes_init(struct strait_lanes *ring, const struct strait_shape *shape)
{
    ring->current = 0;
    ring->capacity = (uint32_t)shape->capacity;
    ring->quota = ring->capacity;
    ring->senders = shape->senders;
    ring->lane_size = strait_spsc_size(shape);
    ring->reached = 0;
    for (uint32_t lane = 0; lane < shape->senders; lane++) {
        strait_spsc_init(strait_lanes_lane(ring, lane), shape);
    }
}

/* Tells the receiver to look at the first n lanes. */
static inline void strait_lanes_reach(struct strait_lanes *ring, uint32_t n)
{
    /* senders alone write it, and it only grows */
    uint32_t reached = strait_load_relaxed(&ring->reached);
    while (reached < n && !strait_cas_relaxed(&ring->reached, &reached, n)) {
    }
}

static inline struct strait_spsc *strait_lanes_attach(struct strait_lanes *ring)
{
    for (uint32_t lane = 0; lane < ring->senders; lane++) {
        struct strait_spsc *end = strait_spsc_attach(strait_lanes_lane(ring, lane));
        if (end) {
            strait_lanes_reach(ring, lane + 1);
            return end;
        }
    }
    return NULL;
}

static inline void strait_lanes_detach(struct strait_spsc *lane)
{
    strait_spsc_detach(lane);
}

static inline bool strait_lanes_has_room(struct strait_spsc *lane)
{
    return strait_spsc_has_room(lane);
}

static inline size_t strait_lanes_reserve(struct strait_spsc *lane, size_t n,
                                          struct strait_span *span)
{
    return strait_spsc_reserve(lane, n, span);
}

static inline void strait_lanes_commit(struct strait_spsc *lane, const struct strait_span *span)
{
    strait_spsc_commit(lane, span);
}

static inline void strait_lanes_turn(struct strait_lanes *ring)
{
    ring->current++;
    ring->quota = ring->capacity;
}

/* From the first lane, counted from the current one, that has anything. */
static inline size_t strait_lanes_peek(struct strait_lanes *ring, size_t n,
                                       struct strait_span *span)
{
    /* senders alone write it; a lane that is seen late has been seen empty */
    uint32_t reached = strait_load_relaxed(&ring->reached);
    for (uint32_t i = 0; n > 0 && i < reached; i++) {
        if (ring->current >= reached) {
            ring->current = 0;
        }
        struct strait_spsc *lane = strait_lanes_lane(ring, ring->current);
        if (strait_spsc_peek(lane, strait_min(n, ring->quota), span)) {
            span->more = span->count < n;
            return span->count;
        }
        strait_lanes_turn(ring);
    }
    span->count = 0;
    span->more = false;
    return 0;
}

/* Of the current lane; turns to the next when this one is empty or has had its share. */
static inline void strait_lanes_release(struct strait_lanes *ring, const struct strait_span *span)
{
    struct strait_spsc *lane = strait_lanes_lane(ring, ring->current);
    if (STRAIT_UNLIKELY(span->count == 0)) {
        return; /* it may be no lane's */
    }
    strait_spsc_release(lane, span);
    ring->quota -= (uint32_t)span->count;
    if (ring->quota == 0 || lane->receiver.index == lane->receiver.other) {
        strait_lanes_turn(ring);
    }
}

STRAIT_DEFINE_TRY(strait_lanes, struct strait_spsc, struct strait_lanes)
STRAIT_DEFINE_VARIANT(strait_lanes, struct strait_spsc, struct strait_lanes, "lanes",
                      STRAIT_SENDERS_REGISTERED);

#endif /* STRAIT_LANES_H */
