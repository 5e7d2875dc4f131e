/* SPDX-License-Identifier: MIT */
/* parent: all that a pool's parent does on its own thread: submit, cancel, complete, wait. */
#include "options.h"
#include "pool.h"
#include "probe.h"

#define REPORTS_AT_ONCE 32

enum slot_state {
    SLOT_FREE,
    SLOT_TAKEN,    /* submitted; a report will say how it ended */
    SLOT_DUE,      /* withdrawn: its completion is due, and a report to come */
    SLOT_DUE_BACK, /* likewise, and the report has come */
    SLOT_GONE,     /* completed, and a report to come */
};

/* An id is its lane's number below its position plus 1. */
#define LANE_BITS 10
#define LANES_MAX (STRAIT_SHARED_LANES + STRAIT_POOL_WORKERS_MAX)

STRAIT_STATIC_ASSERT(LANES_MAX <= 1u << LANE_BITS, "a lane's number fits in an id");

static void check_parent(struct strait_parent *parent)
{
    strait_check_owner(&parent->handle, "a parent is used by one thread at a time");
}

/* ---- lanes, slots and ids ---- */

static unsigned lane_count(const struct strait_parent *parent)
{
    return STRAIT_SHARED_LANES + parent->pool->options.workers_max;
}

static uintptr_t *lane_word(struct strait_parent *parent, unsigned lane)
{
    return lane < STRAIT_SHARED_LANES ? &parent->lanes[lane]
                                      : &parent->own_lanes[lane - STRAIT_SHARED_LANES];
}

static struct strait_taskring *lane_ring(struct strait_parent *parent, unsigned lane)
{
    return strait_lane(lane_word(parent, lane));
}

static struct strait_plan *plan_of(struct strait_parent *parent, const struct strait_slot *slot)
{
    return strait_taskring_plan(lane_ring(parent, slot->lane), slot);
}

static strait_task_id slot_id(const struct strait_slot *slot)
{
    return (strait_task_id)slot->turn << LANE_BITS | slot->lane;
}

static bool slot_owed(const struct strait_slot *slot)
{
    return slot->state == SLOT_TAKEN || slot->state == SLOT_DUE || slot->state == SLOT_DUE_BACK;
}

/* NULL: it has completed, or is none of this parent's. */
static struct strait_slot *slot_of(struct strait_parent *parent, strait_task_id id)
{
    unsigned lane = (unsigned)(id & ((1u << LANE_BITS) - 1));
    uintptr_t turn = (uintptr_t)(id >> LANE_BITS);
    struct strait_taskring *ring = lane < lane_count(parent) ? lane_ring(parent, lane) : NULL;
    if (!ring || turn == 0) {
        return NULL;
    }
    struct strait_slot *slot = strait_taskring_at(ring, turn - 1);
    return slot->turn == turn && slot_owed(slot) ? slot : NULL;
}

static void slot_give(struct strait_parent *parent, struct strait_slot *slot)
{
    slot->state = SLOT_FREE;
    parent->in_use--;
}

/* Calls `step` for each slot whose completion is owed, in the order of submission in each lane. */
typedef void slot_step_fn(struct strait_parent *parent, struct strait_slot *slot, void *argument);

static void each_owed(struct strait_parent *parent, slot_step_fn *step, void *argument)
{
    for (unsigned lane = 0; lane < lane_count(parent); lane++) {
        struct strait_taskring *ring = lane_ring(parent, lane);
        uintptr_t slots = ring ? ring->mask + 1 : 0;
        uintptr_t at = ring && ring->tail > slots ? ring->tail - slots : 0;
        for (; ring && at < ring->tail; at++) {
            struct strait_slot *slot = strait_taskring_at(ring, at);
            if (slot->turn == at + 1 && slot_owed(slot)) {
                step(parent, slot, argument);
            }
        }
    }
}

/* ---- counters: the parent alone writes them; see pool_stats.c for the order ---- */

static void count(uintptr_t *counter)
{
    /* stats.count: pairs with stats.read; what was counted before */
    strait_word_store_release(counter, *counter + 1);
}

/* Of all tasks, those that a worker has started, or refused of its own accord. */
static uintptr_t taken(const struct strait_parent *parent)
{
    uintptr_t sum = 0;
    for (unsigned i = 0; i <= parent->pool->options.workers_max; i++) {
        /* the worker alone writes both */
        sum += strait_word_load_relaxed(&parent->links[i].started);
        sum += strait_word_load_relaxed(&parent->links[i].refused);
    }
    return sum;
}

static size_t unclaimed(struct strait_parent *parent)
{
    size_t sum = 0;
    for (unsigned lane = 0; lane < lane_count(parent); lane++) {
        struct strait_taskring *ring = lane_ring(parent, lane);
        if (ring) {
            strait_taskring_refresh(ring);
            sum += ring->tail - ring->head_seen;
        }
    }
    return sum;
}

/* Tasks that wait: an upper bound, and exact if that is not below `enough`. */
static size_t waiting(struct strait_parent *parent, size_t enough)
{
    if (parent->unclaimed >= enough) {
        parent->unclaimed = unclaimed(parent);
    }
    if (parent->unclaimed < enough) {
        return parent->unclaimed;
    }
    size_t exact = parent->submitted - parent->withdrawn - taken(parent);
    return strait_min(exact, parent->unclaimed);
}

/* ---- taking a task back ---- */

/* Has no worker claimed the task, and will the one that does see why it is not wanted? */
static bool withdraw(struct strait_parent *parent, struct strait_slot *slot,
                     enum strait_cancel reason)
{
    if (!strait_taskring_withdraw(lane_ring(parent, slot->lane), slot, reason)) {
        return false;
    }
    slot->state = SLOT_DUE;
    parent->withdrawn++;
    return true;
}

/* Its completion comes with the next dispatch. */
static void make_due(struct strait_parent *parent, struct strait_slot *slot)
{
    bool first = !parent->due;
    plan_of(parent, slot)->next = NULL;
    *parent->due_end = slot;
    parent->due_end = &plan_of(parent, slot)->next;
    if (first && !parent->dispatching) {
        strait_parent_ring(parent);
    }
}

static int cancel_slot(struct strait_parent *parent, struct strait_slot *slot,
                       enum strait_cancel reason)
{
    if (slot->state != SLOT_TAKEN || slot->cancel != STRAIT_WANTED) {
        return -EALREADY;
    }
    if (!withdraw(parent, slot, reason)) {
        return -EINPROGRESS;
    }
    make_due(parent, slot);
    return 0;
}

static void abandon(struct strait_parent *parent, struct strait_slot *slot, void *argument)
{
    (void)argument;
    cancel_slot(parent, slot, STRAIT_UNWANTED_ABANDONED);
}

/* ---- submit ---- */

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

/* The lane for such tasks, made if it is missing. */
static int lane_for(struct strait_parent *parent, const struct strait_submit_options *how,
                    unsigned *lane)
{
    *lane = how->worker ? STRAIT_SHARED_LANES + how->worker - 1 : (unsigned)how->priority;
    uintptr_t *word = lane_word(parent, *lane);
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
        if (STRAIT_UNLIKELY(ring->tail - ring->head_seen > ring->mask)) {
            strait_taskring_refresh(ring);
            if (ring->tail - ring->head_seen > ring->mask) {
                return NULL;
            }
        }
        struct strait_slot *slot = strait_taskring_at(ring, ring->tail);
        if (STRAIT_LIKELY(slot->state == SLOT_FREE)) {
            return slot;
        }
        strait_taskring_skip(ring, slot);
        parent->unclaimed++;
    }
}

/* Is there room, with no more than so many tasks that wait? */
static bool has_room(struct strait_parent *parent, size_t most)
{
    return parent->in_use < parent->slot_limit && waiting(parent, most + 1) <= most;
}

/* Asks the workers to say when no more than so many tasks wait. They look after each claim; what
 * they claimed before they could see that, the parent sees now. */
static void want_room(struct strait_parent *parent, size_t most)
{
    /* the parent alone writes it */
    strait_store_relaxed(&parent->wants_room, 1 + (uint32_t)most);
    /* parent.starved: pairs with taskring.claimed; that room is wanted, or else what was claimed */
    strait_full_fence();
    if (has_room(parent, most)) {
        strait_parent_ring(parent);
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

/* Tells the keeper of a deadline that is sooner than what it waits for. */
static void alarm_set(struct strait_parent *parent, int64_t due)
{
    uint64_t changed = ~parent->alarm & 1;
    /* the parent alone writes it */
    strait_wide_store_relaxed(&parent->alarm,
                              due == STRAIT_FOREVER ? 0 : ((uint64_t)due & ~(uint64_t)1) | changed);
    if (due != STRAIT_FOREVER) {
        strait_keeper_call(parent->pool);
    }
}

static int64_t alarm_due(const struct strait_parent *parent)
{
    return parent->alarm ? (int64_t)parent->alarm : STRAIT_FOREVER;
}

static void deadline_add(struct strait_parent *parent, struct strait_plan *plan, int64_t due)
{
    plan->timer.due = due;
    strait_timers_insert(&parent->deadlines, &plan->timer);
    if (due < alarm_due(parent)) {
        alarm_set(parent, due);
    }
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
        deadline_add(parent, plan, due);
    }
}

/* What all tasks of one submit have in common. */
struct submission {
    const struct strait_submit_options *how;
    struct strait_taskring *ring;
    uint64_t at;
    unsigned lane;
    bool planned;
};

static int submit_one(struct strait_parent *parent, const struct strait_task *task,
                      const struct submission *submission, strait_task_id *id)
{
    if (STRAIT_UNLIKELY(!task->run)) {
        return -EINVAL;
    }
    size_t length = room_for_one(parent);
    struct strait_slot *slot = length ? ring_slot(parent, submission->ring) : NULL;
    if (STRAIT_UNLIKELY(!slot)) {
        return -EAGAIN;
    }
    slot->task = *task;
    slot->submitted_at = submission->at;
    /* the parent alone writes it; what lies here is not published */
    strait_store_relaxed(&slot->cancel, STRAIT_WANTED);
    slot->lane = (uint16_t)submission->lane;
    slot->state = SLOT_TAKEN;
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
    count(&parent->submitted);
    strait_probe_submit(parent, slot);
    strait_taskring_push(submission->ring, slot);
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
            cancel_slot(parent, slot, STRAIT_UNWANTED_ABANDONED);
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
        strait_keeper_look(pool);
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
    const struct strait_ticks *ticks = parent->pool->ticks;
    struct submission submission = {.how = how, .planned = needs_plan(how)};
    int error = lane_for(parent, how, &submission.lane);
    if (error) {
        return error;
    }
    submission.ring = lane_ring(parent, submission.lane);
    uintptr_t from = submission.ring->tail;
    submission.at = ticks ? strait_ticks_now(ticks) : 0;
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
static ptrdiff_t submit_as(struct strait_parent *parent, const struct strait_task *tasks, size_t n,
                           const struct strait_submit_options *how, strait_task_id *ids)
{
    static const struct strait_submit_options plain = {.start_by = STRAIT_FOREVER,
                                                       .finish_by = STRAIT_FOREVER};
    struct strait_submit_options options;
    check_parent(parent);
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

ptrdiff_t strait_task_submit_many(struct strait_parent *parent, const struct strait_task *tasks,
                                  size_t n, const struct strait_submit_options *how,
                                  strait_task_id *ids)
{
    ptrdiff_t result = submit_as(parent, tasks, n, how, ids);
    if (STRAIT_UNLIKELY(result == -EAGAIN || (result >= 0 && (size_t)result < n))) {
        count(&parent->refused);
        want_room(parent, parent->options.low_water);
    }
    return result;
}

int strait_task_submit(struct strait_parent *parent, const struct strait_task *task,
                       const struct strait_submit_options *how, strait_task_id *id)
{
    ptrdiff_t result = strait_task_submit_many(parent, task, 1, how, id);
    return result < 0 ? (int)result : 0;
}

/* ---- cancel and expire ---- */

int strait_task_cancel(struct strait_parent *parent, strait_task_id id)
{
    check_parent(parent);
    struct strait_slot *slot = slot_of(parent, id);
    return slot ? cancel_slot(parent, slot, STRAIT_UNWANTED_CANCELLED) : -ENOENT;
}

struct group_cancel {
    const struct strait_group *group;
    size_t withdrawn;
};

static void cancel_member(struct strait_parent *parent, struct strait_slot *slot, void *argument)
{
    struct group_cancel *cancel = argument;
    if (slot->planned && plan_of(parent, slot)->group == cancel->group) {
        cancel->withdrawn += cancel_slot(parent, slot, STRAIT_UNWANTED_CANCELLED) == 0;
    }
}

size_t strait_group_cancel(struct strait_parent *parent, struct strait_group *group)
{
    struct group_cancel cancel = {.group = group};
    check_parent(parent);
    each_owed(parent, cancel_member, &cancel);
    return cancel.withdrawn;
}

bool strait_task_cancelled(const struct strait_task *task)
{
    const char *slot = (const char *)task - offsetof(struct strait_slot, task);
    const void *cancel = slot + offsetof(struct strait_slot, cancel);
    /* the parent alone writes it; the flag itself is all that is read */
    return strait_load_relaxed(cancel) != STRAIT_WANTED;
}

static bool claimed(struct strait_parent *parent, const struct strait_slot *slot)
{
    /* workers write it */
    uintptr_t head = strait_word_load_relaxed(&lane_ring(parent, slot->lane)->head);
    return (intptr_t)(head - slot->turn) >= 0;
}

/* A deadline of a task that has not completed has passed. One that was claimed in the same moment
 * is the worker's to judge, by the same clock. */
static void expire_one(struct strait_parent *parent, struct strait_plan *plan, int64_t now)
{
    struct strait_slot *slot = plan->slot;
    if (slot->state != SLOT_TAKEN || slot->cancel != STRAIT_WANTED) {
        return;
    }
    if (!claimed(parent, slot) && withdraw(parent, slot, STRAIT_UNWANTED_EXPIRED)) {
        make_due(parent, slot);
        return;
    }
    bool over = now >= plan->finish_by;
    /* the parent alone writes it */
    strait_store_relaxed(&slot->cancel, over ? STRAIT_UNWANTED_EXPIRED : STRAIT_WANTED);
    if (!over && plan->finish_by != STRAIT_FOREVER) {
        deadline_add(parent, plan, plan->finish_by);
    }
}

static struct strait_plan *plan_of_timer(struct strait_timer *timer)
{
    return (struct strait_plan *)(void *)((char *)timer - offsetof(struct strait_plan, timer));
}

/* Takes back the alarm of a deadline that was met, too, once it has passed: until then it stands in
 * for later ones. */
static void expire(struct strait_parent *parent)
{
    if (strait_timers_due(&parent->deadlines) == STRAIT_FOREVER && !parent->alarm) {
        return;
    }
    int64_t now = strait_now();
    struct strait_timer *timer;
    strait_timers_begin(&parent->deadlines);
    while ((timer = strait_timers_pop(&parent->deadlines, now)) != NULL) {
        expire_one(parent, plan_of_timer(timer), now);
    }
    strait_timers_end(&parent->deadlines);
    if (alarm_due(parent) <= now) {
        alarm_set(parent, strait_timers_due(&parent->deadlines));
    }
}

/* ---- completions ---- */

static enum strait_task_status status_of_unwanted(uint32_t reason)
{
    switch (reason) {
    case STRAIT_UNWANTED_CANCELLED:
        return STRAIT_TASK_CANCELLED;
    case STRAIT_UNWANTED_ABANDONED:
        return STRAIT_TASK_ABANDONED;
    default:
        return STRAIT_TASK_EXPIRED;
    }
}

static enum strait_task_status status_of_run(const struct strait_slot *slot, int code)
{
    if (code == 0) {
        return STRAIT_TASK_DONE;
    }
    if (slot->cancel == STRAIT_UNWANTED_EXPIRED) {
        return STRAIT_TASK_EXPIRED;
    }
    return code == -ECANCELED ? STRAIT_TASK_CANCELLED : STRAIT_TASK_FAILED;
}

static void plan_end(struct strait_parent *parent, struct strait_slot *slot)
{
    struct strait_plan *plan = plan_of(parent, slot);
    if (plan->timer.armed) {
        strait_timers_remove(&parent->deadlines, &plan->timer);
    }
    if (plan->group) {
        plan->group->pending--;
    }
}

/* The task's id names nothing from here on, and what the group's owner does with the group is its
 * own affair. */
static void complete(struct strait_parent *parent, struct strait_slot *slot,
                     enum strait_task_status status)
{
    slot->state = SLOT_GONE;
    slot->task.status = parent->left ? STRAIT_TASK_ABANDONED : status;
    parent->owed--;
    if (slot->planned) {
        plan_end(parent, slot);
    }
    count(&parent->completed[slot->task.status]);
    if (slot->task.done) {
        slot->task.done(&slot->task);
    }
}

static void complete_run(struct strait_parent *parent, struct strait_slot *slot, int code)
{
    slot->task.code = code;
    count(&parent->finished);
    complete(parent, slot, status_of_run(slot, code));
    slot_give(parent, slot);
}

static void complete_unrun(struct strait_parent *parent, struct strait_slot *slot,
                           enum strait_task_status status)
{
    slot->task.code = status == STRAIT_TASK_EXPIRED ? -ETIMEDOUT : -ECANCELED;
    complete(parent, slot, status);
}

/* The first of those whose completion needs no report. */
static void complete_due(struct strait_parent *parent)
{
    struct strait_slot *slot = parent->due;
    bool back = slot->state == SLOT_DUE_BACK;
    parent->due = plan_of(parent, slot)->next;
    if (!parent->due) {
        parent->due_end = &parent->due;
    }
    complete_unrun(parent, slot, status_of_unwanted(slot->cancel));
    if (back) {
        slot_give(parent, slot);
    }
}

/* The report on a task that did not run, though nobody had withdrawn it for certain. */
static void complete_refused(struct strait_parent *parent, struct strait_slot *slot,
                             enum strait_verdict verdict)
{
    enum strait_task_status status = STRAIT_TASK_EXPIRED;
    if (verdict == STRAIT_NOT_WANTED) {
        parent->withdrawn++;
        status = status_of_unwanted(slot->cancel);
    } else if (verdict == STRAIT_POOL_CANCELLED) {
        status = STRAIT_TASK_ABANDONED;
    }
    complete_unrun(parent, slot, status);
    slot_give(parent, slot);
}

/* The workers have come at least as far as the task they report on: no need to read their line. */
static void note_head(struct strait_parent *parent, const struct strait_slot *slot)
{
    struct strait_taskring *ring = lane_ring(parent, slot->lane);
    intptr_t ahead = (intptr_t)(slot->turn - ring->head_seen);
    if (ahead > 0) {
        ring->head_seen = slot->turn;
        parent->unclaimed -= strait_min((size_t)ahead, parent->unclaimed);
    }
}

/* With a report the slot is the parent's again. Returns how many completions that was. */
static size_t take_back(struct strait_parent *parent, uintptr_t report)
{
    struct strait_slot *slot = strait_report_slot(report);
    enum strait_verdict verdict = strait_report_verdict(report);
    note_head(parent, slot);
    if (STRAIT_LIKELY(verdict <= STRAIT_RAN_TO_CODE)) {
        complete_run(parent, slot, verdict == STRAIT_RAN ? 0 : slot->code);
        return 1;
    }
    if (slot->state == SLOT_TAKEN) {
        complete_refused(parent, slot, verdict);
        return 1;
    }
    if (slot->state == SLOT_DUE) {
        slot->state = SLOT_DUE_BACK;
    } else {
        slot_give(parent, slot);
    }
    return 0;
}

/* Of one worker's reports as many as the budget allows. Returns how many there were. */
static size_t receive_from(struct strait_parent *parent, struct strait_reports *end, size_t budget,
                           size_t *completed)
{
    uintptr_t reports[REPORTS_AT_ONCE];
    size_t wanted = strait_min(budget - *completed, REPORTS_AT_ONCE);
    size_t received = strait_reports_receive(end, reports, wanted);
    for (size_t i = 0; i < received; i++) {
        strait_prefetch_read(strait_report_slot(reports[i]));
    }
    for (size_t i = 0; i < received; i++) {
        *completed += take_back(parent, reports[i]);
    }
    return received;
}

/* Some of each worker's in turn. 0: nothing there. */
static size_t receive_some(struct strait_parent *parent, size_t budget, size_t *completed)
{
    unsigned links = parent->pool->options.workers_max + 1;
    size_t received = 0;
    for (unsigned i = 0; i < links && *completed < budget; i++) {
        parent->turn = parent->turn + 1 < links ? parent->turn + 1 : 0;
        received += receive_from(parent, &parent->reports[parent->turn], budget, completed);
    }
    return received;
}

static void tell_of_room(struct strait_parent *parent)
{
    /* the parent alone writes it */
    uint32_t wanted = parent->wants_room;
    if (STRAIT_LIKELY(!wanted) || !has_room(parent, wanted - 1)) {
        return;
    }
    /* the parent alone writes it */
    strait_store_relaxed(&parent->wants_room, 0);
    if (parent->options.room && !parent->left && !strait_pool_closing(parent->pool)) {
        parent->options.room(parent, parent->options.context);
    }
}

size_t strait_parent_collect(struct strait_parent *parent, size_t budget)
{
    size_t completed = 0;
    size_t received = 1;
    parent->dispatching = true;
    expire(parent);
    while (completed < budget && (received || parent->due)) {
        while (parent->due && completed < budget) {
            complete_due(parent);
            completed++;
        }
        received =
            parent->in_use && completed < budget ? receive_some(parent, budget, &completed) : 0;
    }
    tell_of_room(parent);
    parent->dispatching = false;
    return completed;
}

/* ---- waiting ---- */

static bool reports_ready(const struct strait_parent *parent)
{
    for (unsigned i = 0; parent->in_use && i <= parent->pool->options.workers_max; i++) {
        if (strait_reports_ready(&parent->reports[i])) {
            return true;
        }
    }
    return false;
}

bool strait_parent_ready(struct strait_parent *parent)
{
    int64_t due = strait_timers_due(&parent->deadlines);
    return parent->due || reports_ready(parent) ||
           (parent->wants_room &&
            (strait_pool_closing(parent->pool) || has_room(parent, parent->wants_room - 1))) ||
           (due != STRAIT_FOREVER && strait_now() >= due);
}

static bool parent_side_ready(void *side)
{
    return strait_parent_ready(side);
}

/* A worker sleeps where it always does, and is woken there. */
static struct strait_waiter parent_waiter(struct strait_parent *parent)
{
    struct strait_waiter waiter = {
        .own = parent->worker ? &parent->worker->signal : &parent->signal,
        .ready = parent_side_ready,
        .side = parent,
        .spin_ns = &parent->spin_ns,
        .mode = parent->options.wait,
        .fd = parent->fd,
        .sole = true,
        .fenced = parent->fenced,
    };
    return waiter;
}

/* Until there is something to collect. 0, -ETIMEDOUT or -ECANCELED. */
static int parent_wait(struct strait_parent *parent, int64_t deadline)
{
    struct strait_waiter waiter = parent_waiter(parent);
    return strait_wait(&waiter, deadline);
}

/* Has its fd say when there is something to do. True: there is, and the fd says so. */
static bool parent_arm(struct strait_parent *parent)
{
    struct strait_waiter waiter = parent_waiter(parent);
    return strait_arm(&waiter) == 0;
}

void strait_parent_watch(struct strait_parent *parent)
{
    if (parent->fd >= 0) {
        parent_arm(parent);
    }
}

int strait_parent_fd(const struct strait_parent *parent)
{
    return parent->fd >= 0 ? parent->fd : -EINVAL;
}

size_t strait_parent_owed(const struct strait_parent *parent)
{
    return parent->owed;
}

ptrdiff_t strait_parent_poll(struct strait_parent *parent, size_t budget)
{
    check_parent(parent);
    if (parent->dispatching) {
        return -EDEADLK;
    }
    return (ptrdiff_t)strait_parent_collect(parent, budget ? budget : STRAIT_BUDGET);
}

ptrdiff_t strait_parent_dispatch(struct strait_parent *parent, size_t budget)
{
    size_t most = budget ? budget : STRAIT_BUDGET;
    size_t completed = 0;
    check_parent(parent);
    if (parent->dispatching) {
        return -EDEADLK;
    }
    do {
        completed += strait_parent_collect(parent, most - completed);
    } while (completed < most && parent->fd >= 0 && parent_arm(parent));
    return (ptrdiff_t)completed;
}

/* What a wait is for. */
struct subject {
    bool (*over)(struct strait_parent *parent, const struct subject *subject);
    strait_task_id id;
    const struct strait_group *group;
};

static bool task_over(struct strait_parent *parent, const struct subject *subject)
{
    return slot_of(parent, subject->id) == NULL;
}

static bool group_over(struct strait_parent *parent, const struct subject *subject)
{
    (void)parent;
    return subject->group->pending == 0;
}

static bool nothing_owed(struct strait_parent *parent, const struct subject *subject)
{
    (void)subject;
    return parent->owed == 0;
}

/* One step towards what is waited for: completions, a task of the waiting worker's own, or a sleep.
 * 0, -ETIMEDOUT or -ECANCELED. */
static int wait_step(struct strait_parent *parent, int64_t deadline)
{
    if (parent->worker && (deadline == STRAIT_FOREVER || strait_now() < deadline) &&
        strait_crew_help(parent->worker, parent)) {
        return 0;
    }
    int64_t due = strait_timers_due(&parent->deadlines);
    int error = parent_wait(parent, due < deadline ? due : deadline);
    return error == -ETIMEDOUT && due < deadline ? 0 : error;
}

static int wait_until(struct strait_parent *parent, const struct subject *subject, int64_t deadline)
{
    check_parent(parent);
    if (parent->dispatching) {
        return -EDEADLK;
    }
    for (;;) {
        strait_parent_collect(parent, SIZE_MAX);
        if (subject->over(parent, subject)) {
            return 0;
        }
        int error = wait_step(parent, deadline);
        if (error) {
            return error;
        }
    }
}

int strait_task_wait(struct strait_parent *parent, strait_task_id id, int64_t deadline)
{
    struct subject subject = {.over = task_over, .id = id};
    return wait_until(parent, &subject, deadline);
}

int strait_group_wait(struct strait_parent *parent, const struct strait_group *group,
                      int64_t deadline)
{
    struct subject subject = {.over = group_over, .group = group};
    return wait_until(parent, &subject, deadline);
}

int strait_task_submit_wait(struct strait_parent *parent, const struct strait_task *task,
                            const struct strait_submit_options *how, strait_task_id *id,
                            int64_t deadline)
{
    for (;;) {
        ptrdiff_t result = submit_as(parent, task, 1, how, id);
        if (result != -EAGAIN) {
            return result < 0 ? (int)result : 0;
        }
        if (parent->dispatching) {
            return -EDEADLK;
        }
        want_room(parent, parent->pool->options.queue_limit - 1);
        int error = wait_step(parent, deadline);
        if (error) {
            return error;
        }
        strait_parent_collect(parent, SIZE_MAX);
    }
}

/* ---- detach ---- */

ptrdiff_t strait_parent_detach(struct strait_parent *parent, int64_t deadline)
{
    struct subject subject = {.over = nothing_owed};
    if (!parent) {
        return 0;
    }
    check_parent(parent);
    if (parent->dispatching || parent->worker) {
        return -EDEADLK;
    }
    each_owed(parent, abandon, NULL);
    struct strait_berth *own = strait_berth_enter(NULL); /* the deadline alone ends this wait */
    wait_until(parent, &subject, deadline);
    strait_berth_enter(own);
    return strait_parent_leave(parent);
}
