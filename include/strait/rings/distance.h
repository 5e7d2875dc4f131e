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
 * A wait that brings little, but was worth it, doubles the next one, up to
 * STRAIT_DISTANCE_PAUSES_MAX pauses: each look takes a line away, and one long wait costs fewer
 * looks than many short ones. A wait that brings more than enough halves it.
 *
 * One for each side. The wait is bounded: at most STRAIT_DISTANCE_LOOKS times
 * STRAIT_DISTANCE_PAUSES_MAX pauses (some 27 ns each on AMD's Zen 3), and that long only while a
 * message comes every 54 ns or faster.
 */
#ifndef STRAIT_RINGS_DISTANCE_H
#define STRAIT_RINGS_DISTANCE_H

#include "strait/base.h"
#include "strait/sync.h"

struct strait_distance {
    uint32_t enough;  /* slots with which a side goes on at once */
    uint32_t pauses;  /* how long the next wait is: a power of two */
    uint32_t skip;    /* chances to wait yet to be passed by */
    uint32_t skipped; /* how many it passed by after the last wait that brought nothing */
};

/* `enough` is an eighth of the capacity, so that the other side does not run into its end, or this.
 */
#define STRAIT_DISTANCE_ENOUGH 128u
#define STRAIT_DISTANCE_LOOKS 3
#define STRAIT_DISTANCE_PAUSES 8u
#define STRAIT_DISTANCE_PAUSES_MAX 64u
/* A wait was worth it if it brought a slot for so many pauses. */
#define STRAIT_DISTANCE_PAUSES_A_SLOT 2u
#define STRAIT_DISTANCE_SKIPPED_MAX 511u

static inline void strait_distance_init(struct strait_distance *distance, size_t capacity)
{
    distance->enough = (uint32_t)strait_min(capacity / 8, STRAIT_DISTANCE_ENOUGH);
    distance->pauses = STRAIT_DISTANCE_PAUSES;
    distance->skip = 0;
    distance->skipped = 0;
}

/* Passes a chance by, if experience speaks against waiting. */
static inline bool strait_distance_skip(struct strait_distance *distance)
{
    if (distance->skip > 0) {
        distance->skip--;
        return true;
    }
    return false;
}

/* Waits before another look. */
static inline void strait_distance_wait(const struct strait_distance *distance)
{
    for (uint32_t i = 0; i < distance->pauses; i++) {
        strait_pause();
    }
}

/* What the look after the wait found: slots that had not been there before. Is it worth another?
 */
static inline bool strait_distance_learn(struct strait_distance *distance, size_t gain)
{
    if (gain == 0 || gain * STRAIT_DISTANCE_PAUSES_A_SLOT < distance->pauses) {
        distance->pauses = STRAIT_DISTANCE_PAUSES;
        distance->skipped =
            (uint32_t)strait_min(2 * (size_t)distance->skipped + 1, STRAIT_DISTANCE_SKIPPED_MAX);
        distance->skip = distance->skipped;
        return false;
    }
    if (2 * gain < distance->enough && distance->pauses < STRAIT_DISTANCE_PAUSES_MAX) {
        distance->pauses *= 2;
    } else if (gain > distance->enough && distance->pauses > 1) {
        distance->pauses /= 2;
    }
    distance->skipped = 0;
    return true;
}

#endif /* STRAIT_RINGS_DISTANCE_H */
