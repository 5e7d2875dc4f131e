/* SPDX-License-Identifier: MIT */
/* submit: how a parent's task gets to the workers. On the parent's thread. */
#include "../channel/options.h"
#include "parent.h"
#include "probe.h"

/* ---- how many wait ---- */

/* Positions between the head seen last and this one that held nothing to run. */
static size_t dead_before(const struct strait_taskring *ring, uintptr_t head)
{
    size_t dead = 0;
    for (uintptr_t at = ring->head_seen; at != head; at++) {
        const struct strait_slot *slot = strait_taskring_at(ring, at);
        dead += slot->turn != at + 1 || slot->state != STRAIT_SLOT_TAKEN;
    }
    return dead;
}

void strait_parent_passed(struct strait_parent *parent, struct strait_taskring *ring,
                          uintptr_t head)
{
    if ((intptr_t)(head - ring->head_seen) <= 0) {
        return;
    }
    size_t dead = STRAIT_UNLIKELY(parent->dead) ? dead_before(ring, head) : 0;
    parent->unclaimed -= head - ring->head_seen - dead;
    parent->dead -= dead;
    ring->head_seen = head;
}

static void look_at_heads(struct strait_parent *parent)
{
    for (unsigned lane = 0; lane < strait_parent_lanes(parent); lane++) {
        struct strait_taskring *ring = strait_parent_lane(parent, lane);
        if (ring) {
            strait_parent_passed(parent, ring, strait_taskring_head(ring));
        }
    }
}

/* Tasks that wait: an upper bound, and exact if that is not below `enough`. */
static size_t waiting(struct strait_parent *parent, size_t enough)
{
    if (parent->unclaimed >= enough) {
        look_at_heads(parent);
    }
    return parent->unclaimed;
}

/* Is the ring's tail a lap ahead of its head? */
static bool ring_full(struct strait_parent *parent, struct strait_taskring *ring)
{
    if (STRAIT_LIKELY(ring->tail - ring->head_seen <= ring->mask)) {
        return false;
    }
    strait_taskring_pass(ring);
    strait_parent_passed(parent, ring, strait_taskring_head(ring));
    return ring->tail - ring->head_seen > ring->mask;
}

bool strait_parent_has_room(struct strait_parent *parent, size_t most)
{
    return parent->in_use < parent->slot_limit && waiting(parent, most + 1) <= most &&
           !(parent->full && ring_full(parent, parent->full));
}

/* The workers tell of each claim; what they claimed before they could see that, the parent sees
 * now. */
void strait_parent_want_room(struct strait_parent *parent, size_t most)
{
    /* the parent alone writes it */
    strait_store_relaxed(&parent->wants_room, 1 + (uint32_t)most);
    /* parent.starved: pairs with taskring.claimed; that room is wanted, or else what was claimed */
    strait_full_fence();
    if (strait_parent_has_room(parent, most)) {
        strait_parent_tell_loop(parent);
    }
}

void strait_parent_room_done(struct strait_parent *parent)
{
    if (parent->refusing) {
        strait_parent_want_room(parent, parent->options.low_water);
    } else {
        /* the parent alone writes it */
        strait_store_relaxed(&parent->wants_room, 0);
    }
}

/* Room for another task, and the number of those that wait with it; 0: none. */
static size_t room_for_one(struct strait_parent *parent)
{
    size_t limit = parent->pool->options.queue_limit;
    size_t matters = strait_min(limit, (size_t)parent->queued_max);
    size_t length = waiting(parent, matters);
    return length < limit ? length + 1 : 0;
}

/* ---- options ---- */

static bool options_valid(const struct strait_parent *parent,
                          const struct strait_submit_options *how)
{
    return (unsigned)how->priority < STRAIT_SHARED_LANES && how->start_by >= 0 &&
           how->finish_by >= 0 && how->worker <= parent->pool->options.workers;
}

static int options_resolve(struct strait_parent *parent, struct strait_submit_options *options,
                           const struct strait_submit_options *how)
{
    int error = strait_options_copy(options, sizeof(*options), how);
    if (!error && !options_valid(parent, options)) {
        error = -EINVAL;
    }
    options->start_by = options->start_by ? options->start_by : STRAIT_FOREVER;
    options->finish_by = options->finish_by ? options->finish_by : STRAIT_FOREVER;
    return error;
}

static bool needs_plan(const struct strait_submit_options *how)
{
    return how->group || how->start_by != STRAIT_FOREVER || how->finish_by != STRAIT_FOREVER;
}

/* ---- lanes and slots ---- */

/* The lane for such tasks, made if it is missing. */
static int lane_for(struct strait_parent *parent, const struct strait_submit_options *how,
                    unsigned *lane)
{
    *lane = how->worker ? STRAIT_SHARED_LANES + how->worker - 1 : (unsigned)how->priority;
    uintptr_t *word = strait_parent_lane_word(parent, *lane);
    unsigned kind = how->worker ? STRAIT_SHARED_LANES : *lane;
    return *word ? 0 : strait_lane_create(parent, word, kind);
}

/* A free slot at the ring's tail; NULL: none. */
static struct strait_slot *ring_slot(struct strait_parent *parent, struct strait_taskring *ring)
{
    if (parent->in_use >= parent->slot_limit) {
        return NULL;
    }
    for (;;) {
        if (STRAIT_UNLIKELY(ring_full(parent, ring))) {
            return NULL;
        }
        struct strait_slot *slot = strait_taskring_at(ring, ring->tail);
        if (STRAIT_LIKELY(slot->state == STRAIT_SLOT_FREE)) {
            return slot;
        }
        strait_taskring_skip(ring, slot);
        parent->dead++;
    }
}

static strait_task_id slot_id(const struct strait_slot *slot)
{
    return (strait_task_id)slot->turn << STRAIT_LANE_BITS | slot->lane;
}

static void plan_make(struct strait_parent *parent, struct strait_taskring *ring,
                      struct strait_slot *slot, const struct strait_submit_options *how)
{
    struct strait_plan *plan = strait_taskring_plan(ring, slot);
    memset(plan, 0, sizeof(*plan));
    plan->start_by = how->start_by;
    plan->finish_by = how->finish_by;
    plan->group = how->group;
    plan->slot = slot;
    if (how->group) {
        how->group->pending++;
    }
    int64_t due = how->start_by < how->finish_by ? how->start_by : how->finish_by;
    if (due != STRAIT_FOREVER) {
        strait_deadline_add(parent, plan, due);
    }
}

/* ---- submit ---- */

/* What all tasks of one submit have in common. */
struct submission {
    const struct strait_submit_options *how;
    struct strait_taskring *ring;
    uint64_t at; /* in ticks; 0: not known yet, or untimed */
    unsigned lane;
    bool planned;
};

/* Once for all tasks of a submit, and behind the first: nobody waits for the clock, and what the
 * slot still gets goes with it while its line is on its way to the worker. */
static void look_at_clock(const struct strait_parent *parent, struct strait_slot *slot,
                          struct submission *submission)
{
    const struct strait_ticks *ticks = parent->pool->ticks;
    if (!ticks || submission->at) {
        return;
    }
    submission->at = strait_ticks_now(ticks);
    /* the parent alone writes it */
    strait_wide_store_relaxed(&slot->submitted_at, submission->at);
}

static int submit_one(struct strait_parent *parent, const struct strait_task *task,
                      struct submission *submission, strait_task_id *id)
{
    if (STRAIT_UNLIKELY(!task->run)) {
        return -EINVAL;
    }
    size_t length = room_for_one(parent);
    struct strait_slot *slot = length ? ring_slot(parent, submission->ring) : NULL;
    if (STRAIT_UNLIKELY(!slot)) {
        parent->full = ring_full(parent, submission->ring) ? submission->ring : NULL;
        return -EAGAIN;
    }
    slot->task = *task;
    /* the parent alone writes it */
    strait_wide_store_relaxed(&slot->submitted_at, submission->at);
    /* the parent alone writes it; what lies here is not published */
    strait_store_relaxed(&slot->cancel, STRAIT_WANTED);
    slot->lane = (uint16_t)submission->lane;
    slot->state = STRAIT_SLOT_TAKEN;
    slot->planned = submission->planned;
    if (submission->planned) {
        plan_make(parent, submission->ring, slot, submission->how);
    }
    if (length > parent->queued_max) {
        /* the parent alone writes it */
        strait_word_store_relaxed(&parent->queued_max, length);
    }
    parent->in_use++;
    parent->owed++;
    parent->unclaimed++;
    strait_count(&parent->submitted);
    strait_probe_submit(parent, slot);
    strait_taskring_push(submission->ring, slot);
    look_at_clock(parent, slot, submission);
    if (parent->owed >= STRAIT_TASKRING_AHEAD) {
        strait_taskring_ask(submission->ring);
    }
    if (id) {
        *id = slot_id(slot);
    }
    return 0;
}

/* What was pushed from this position on. */
static void abandon_from(struct strait_parent *parent, const struct strait_taskring *ring,
                         uintptr_t from)
{
    for (; from < ring->tail; from++) {
        struct strait_slot *slot = strait_taskring_at(ring, from);
        if (slot->turn == from + 1) {
            strait_slot_cancel(parent, slot, STRAIT_UNWANTED_ABANDONED);
        }
    }
}

/* There may be more workers, and none is idle. One that has just begun to run a task looks by
 * itself. */
static void call_for_worker(struct strait_pool *pool)
{
    /* pool.seen: pairs with pool.busy; that no worker is idle, or else what was pushed */
    strait_full_fence();
    if (!strait_crew_any_idle(pool)) {
        strait_keeper_look(pool, STRAIT_WATCH_GROWTH);
    }
}

/* Whoever runs what was just pushed is told of it. A pool that began to close in the meantime may
 * have no worker left to come by: what the barriers of both wake-ups above give is that either its
 * workers see the task, or this thread sees the closing. */
static void submitted(struct strait_parent *parent, const struct submission *submission,
                      uintptr_t from)
{
    const struct strait_submit_options *how = submission->how;
    struct strait_pool *pool = parent->pool;
    if (how->worker) {
        strait_crew_wake_worker(&pool->workers[how->worker - 1]);
    } else {
        strait_crew_wake(pool);
    }
    if (STRAIT_UNLIKELY(pool->watched) && strait_crew_may_grow(pool)) {
        call_for_worker(pool);
    }
    /* parent.late: pairs with pool.close; that the pool is closing, or else what was pushed */
    if (STRAIT_UNLIKELY(strait_load_acquire(&pool->closing))) {
        abandon_from(parent, submission->ring, from);
    }
}

static ptrdiff_t submit_all(struct strait_parent *parent, const struct strait_task *tasks, size_t n,
                            const struct strait_submit_options *how, strait_task_id *ids)
{
    struct submission submission = {.how = how, .planned = needs_plan(how)};
    int error = lane_for(parent, how, &submission.lane);
    if (error) {
        return error;
    }
    submission.ring = strait_parent_lane(parent, submission.lane);
    uintptr_t from = submission.ring->tail;
    size_t done = 0;
    while (done < n && !error) {
        error = submit_one(parent, &tasks[done], &submission, ids ? &ids[done] : NULL);
        done += !error;
    }
    if (done > 0) {
        submitted(parent, &submission, from);
    }
    return done > 0 ? (ptrdiff_t)done : error;
}

/* The same, with the caller's options. */
ptrdiff_t strait_parent_submit(struct strait_parent *parent, const struct strait_task *tasks,
                               size_t n, const struct strait_submit_options *how,
                               strait_task_id *ids)
{
    static const struct strait_submit_options plain = {.start_by = STRAIT_FOREVER,
                                                       .finish_by = STRAIT_FOREVER};
    struct strait_submit_options options;
    strait_parent_check(parent);
    if (how) {
        int error = options_resolve(parent, &options, how);
        if (error) {
            return error;
        }
    }
    if (STRAIT_UNLIKELY(strait_pool_closing(parent->pool))) {
        return -EPIPE;
    }
    return submit_all(parent, tasks, n, how ? &options : &plain, ids);
}

/* Was it for want of room that not all were taken? */
static bool was_refused(ptrdiff_t result, const struct strait_task *tasks, size_t n)
{
    return result == -EAGAIN || (result >= 0 && (size_t)result < n && tasks[result].run);
}

ptrdiff_t strait_task_submit_many(struct strait_parent *parent, const struct strait_task *tasks,
                                  size_t n, const struct strait_submit_options *how,
                                  strait_task_id *ids)
{
    ptrdiff_t result = strait_parent_submit(parent, tasks, n, how, ids);
    if (STRAIT_UNLIKELY(was_refused(result, tasks, n))) {
        strait_count(&parent->refused);
        parent->refusing = true;
        strait_parent_want_room(parent, parent->options.low_water);
    }
    return result;
}

int strait_task_submit(struct strait_parent *parent, const struct strait_task *task,
                       const struct strait_submit_options *how, strait_task_id *id)
{
    ptrdiff_t result = strait_task_submit_many(parent, task, 1, how, id);
    return result < 0 ? (int)result : 0;
}
