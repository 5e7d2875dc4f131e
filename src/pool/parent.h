/* SPDX-License-Identifier: MIT */
/*
 * parent: what the files share whose code runs on a parent's thread:
 *
 *   submit.c     room, slots, and how a task gets to the workers
 *   cancel.c     tasks that are not wanted any more: cancelled, past a deadline, abandoned
 *   complete.c   reports and completions
 *   parent.c     dispatch, wait, detach
 */
#ifndef STRAIT_PARENT_PRIVATE_H
#define STRAIT_PARENT_PRIVATE_H

#include "pool.h"

enum strait_slot_state {
    STRAIT_SLOT_FREE,
    STRAIT_SLOT_TAKEN,    /* submitted; a report will say how it ended */
    STRAIT_SLOT_DUE,      /* withdrawn: its completion is due, and a report to come */
    STRAIT_SLOT_DUE_BACK, /* likewise, and the report has come */
    STRAIT_SLOT_GONE,     /* completed, and a report to come */
};

/* An id is its lane's number below its position plus 1. */
#define STRAIT_LANE_BITS 10

STRAIT_STATIC_ASSERT(STRAIT_SHARED_LANES + STRAIT_POOL_WORKERS_MAX <= 1u << STRAIT_LANE_BITS,
                     "a lane's number fits in an id");

static inline void strait_parent_check(struct strait_parent *parent)
{
#ifdef STRAIT_CHECKED
    strait_p_check_owner(&parent->handle, "a parent is used by one thread at a time");
#else
    (void)parent;
#endif
}

static inline unsigned strait_parent_lanes(const struct strait_parent *parent)
{
    return STRAIT_SHARED_LANES + parent->pool->options.workers_max;
}

static inline uintptr_t *strait_parent_lane_word(struct strait_parent *parent, unsigned lane)
{
    return lane < STRAIT_SHARED_LANES ? &parent->lanes[lane]
                                      : &parent->own_lanes[lane - STRAIT_SHARED_LANES];
}

static inline struct strait_taskring *strait_parent_lane(struct strait_parent *parent,
                                                         unsigned lane)
{
    return strait_lane(strait_parent_lane_word(parent, lane));
}

static inline struct strait_plan *strait_slot_plan(struct strait_parent *parent,
                                                   const struct strait_slot *slot)
{
    return strait_taskring_plan(strait_parent_lane(parent, slot->lane), slot);
}

static inline bool strait_slot_owed(const struct strait_slot *slot)
{
    return slot->state == STRAIT_SLOT_TAKEN || slot->state == STRAIT_SLOT_DUE ||
           slot->state == STRAIT_SLOT_DUE_BACK;
}

/* NULL: it has completed, or is none of this parent's. */
static inline struct strait_slot *strait_slot_find(struct strait_parent *parent, strait_task_id id)
{
    unsigned lane = (unsigned)(id & ((1u << STRAIT_LANE_BITS) - 1));
    uintptr_t turn = (uintptr_t)(id >> STRAIT_LANE_BITS);
    struct strait_taskring *ring =
        lane < strait_parent_lanes(parent) ? strait_parent_lane(parent, lane) : NULL;
    if (!ring || turn == 0) {
        return NULL;
    }
    struct strait_slot *slot = strait_taskring_at(ring, turn - 1);
    return slot->turn == turn && strait_slot_owed(slot) ? slot : NULL;
}

/* Counts one more; the parent alone writes it. See pool_stats.c for the order. */
static inline void strait_count(uintptr_t *counter)
{
    /* stats.count: pairs with stats.read; what was counted before */
    strait_word_store_release(counter, *counter + 1);
}

/* ---- submit.c ---- */

/* As strait_task_submit_many, but a lack of room is not counted, nor does `room` follow. Parent
 * only. */
ptrdiff_t strait_parent_submit(struct strait_parent *parent, const struct strait_task *tasks,
                               size_t n, const struct strait_submit_options *how,
                               strait_task_id *ids);

/* Takes note of how far the workers have come in one of its lanes. Parent only. */
void strait_parent_passed(struct strait_parent *parent, struct strait_taskring *ring,
                          uintptr_t head);

/* Is there room, with no more than so many tasks that wait? Parent only. */
bool strait_parent_has_room(struct strait_parent *parent, size_t most);

/* Asks for a look when no more than so many tasks wait. Parent only. */
void strait_parent_want_room(struct strait_parent *parent, size_t most);

/* It does not wait for room any more; but `room` may still be to follow. Parent only. */
void strait_parent_room_done(struct strait_parent *parent);

/* ---- cancel.c ---- */

/* Takes a task back for that reason; returns as strait_task_cancel. Parent only. */
int strait_slot_cancel(struct strait_parent *parent, struct strait_slot *slot,
                       enum strait_cancel reason);

/* Abandons all that waits, and tells what runs. Parent only. */
void strait_parent_abandon(struct strait_parent *parent);

/* Forgets the groups of all that is owed: they are the memory of one that leaves. Parent only. */
void strait_parent_disown(struct strait_parent *parent);

/* When the keeper is to wake the parent: never later than a deadline; STRAIT_FOREVER: not. Parent
 * only. */
int64_t strait_alarm_due(const struct strait_parent *parent);
void strait_alarm_set(struct strait_parent *parent, int64_t due);

/* Has the parent look at a task at that time. Parent only. */
void strait_deadline_add(struct strait_parent *parent, struct strait_plan *plan, int64_t due);

/* Sees to the deadlines that have passed. The parent's thread, or the keeper in its place. */
void strait_parent_expire(struct strait_parent *parent);

/* ---- parent.c ---- */

/* Makes the fd, if there is one, readable on the parent's own behalf. Parent only. */
void strait_parent_tell_loop(struct strait_parent *parent);

#endif /* STRAIT_PARENT_PRIVATE_H */
