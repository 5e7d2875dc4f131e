/* SPDX-License-Identifier: MIT */
/*
 * timers: those of one thread that are armed, first the one that is due first.
 *
 * A pairing heap whose nodes are the callers' own timers: nothing is allocated, a start takes a
 * constant number of steps, a stop O(log n) on average over its life. What is started while a round
 * runs waits in a second heap for the end of it: a timer that is due at once, again and again, is
 * run once a round.
 */
#ifndef STRAIT_TIMERS_H
#define STRAIT_TIMERS_H

#include "strait/extra/isolate.h"

struct strait_p_timers {
    struct strait_timer *first;
    struct strait_timer *fresh; /* started in the running round */
    uint64_t started;           /* how many so far: the order among those due at the same time */
    bool in_round;
};

static void strait_p_timers_insert(struct strait_p_timers *timers, struct strait_timer *timer);
static void strait_p_timers_remove(struct strait_p_timers *timers, struct strait_timer *timer);

/* Between these two, strait_p_timers_pop gives the timers that were due by `now` when the round
 * began, one after another, then NULL. */
static void strait_p_timers_begin(struct strait_p_timers *timers);
static struct strait_timer *strait_p_timers_pop(struct strait_p_timers *timers, int64_t now);
static void strait_p_timers_end(struct strait_p_timers *timers);

/* Outside a round: when the first is due; STRAIT_FOREVER if there is none. */
static inline int64_t strait_p_timers_due(const struct strait_p_timers *timers)
{
    return timers->first ? timers->first->due : STRAIT_FOREVER;
}

#endif /* STRAIT_TIMERS_H */
