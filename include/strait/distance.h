/* SPDX-License-Identifier: MIT */
/*
 * distance: how one side of a ring stays some way behind the other when both are in full flow.
 *
 * A receiver that polls right behind its sender takes away, message by message, the lines that the
 * sender is about to write; so does a sender that fills slot by slot what its receiver frees.
 * Whoever finds a few messages, or a little room, where much may be on its way, does better to wait
 * a little and then to have it all at once. Where waiting brings nothing (a message now and then, a
 * round trip) it learns to leave it: it passes by the next 1, 3, 7, ... chances.
 *
 * One for each side. The wait is bounded and short: at most STRAIT_DISTANCE_LOOKS times
 * STRAIT_DISTANCE_PAUSES pauses (some 27 ns each on AMD's Zen 3).
 */
#ifndef STRAIT_DISTANCE_H
#define STRAIT_DISTANCE_H

#include "strait/base.h"
#include "strait/sync.h"

struct strait_distance {
    uint32_t enough;  /* slots with which a side goes on at once */
    uint32_t skip;    /* chances to wait yet to be passed by */
    uint32_t skipped; /* how many it passed by after the last wait that brought nothing */
};

/* `enough` is an eighth of the capacity, so that the other side does not run into its end, or this.
 */
#define STRAIT_DISTANCE_ENOUGH 128u
#define STRAIT_DISTANCE_LOOKS 3
#define STRAIT_DISTANCE_PAUSES 8
/* A wait was worth it if it brought so many slots. */
#define STRAIT_DISTANCE_GAIN 4u
#define STRAIT_DISTANCE_SKIPPED_MAX 511u

static inline void strait_distance_init(struct strait_distance *distance, size_t capacity)
{
    distance->enough = (uint32_t)strait_min(capacity / 8, STRAIT_DISTANCE_ENOUGH);
    distance->skip = 0;
    distance->skipped = 0;
}

/* Waits before another look, unless experience speaks against it: then false, at once. */
static inline bool strait_distance_wait(struct strait_distance *distance)
{
    if (distance->skip > 0) {
        distance->skip--;
        return false;
    }
    for (int i = 0; i < STRAIT_DISTANCE_PAUSES; i++) {
        strait_pause();
    }
    return true;
}

/* What the look after the wait found: slots that had not been there before. */
static inline void strait_distance_learn(struct strait_distance *distance, size_t gain)
{
    if (gain >= STRAIT_DISTANCE_GAIN) {
        distance->skipped = 0;
    } else if (distance->skipped < STRAIT_DISTANCE_SKIPPED_MAX) {
        distance->skipped = 2 * distance->skipped + 1;
    }
    distance->skip = distance->skipped;
}

#endif /* STRAIT_DISTANCE_H */
