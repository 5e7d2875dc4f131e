/* SPDX-License-Identifier: MIT */
/* cancel: tasks that are not wanted any more: cancelled, past a deadline, abandoned. On the
 * parent's thread. */
#include "parent.h"

/* ---- taking a task back ---- */

/* Has no worker claimed the task, and will the one that does see why it is not wanted? */
static bool withdraw(struct strait_parent *parent, struct strait_slot *slot,
                     enum strait_cancel reason)
{
    if (!strait_taskring_withdraw(strait_parent_lane(parent, slot->lane), slot, reason)) {
        return false;
    }
    slot->state = STRAIT_SLOT_DUE;
    parent->unclaimed--;
    parent->dead++;
    return true;
}

/* Its completion comes with the next dispatch. */
static void make_due(struct strait_parent *parent, struct strait_slot *slot)
{
    bool first = !parent->due;
    strait_slot_plan(parent, slot)->next = NULL;
    *parent->due_end = slot;
    parent->due_end = &strait_slot_plan(parent, slot)->next;
    if (first) {
        strait_parent_tell_loop(parent);
    }
}

int strait_slot_cancel(struct strait_parent *parent, struct strait_slot *slot,
                       enum strait_cancel reason)
{
    if (slot->state != STRAIT_SLOT_TAKEN || slot->cancel != STRAIT_WANTED) {
        return -EALREADY;
    }
    if (!withdraw(parent, slot, reason)) {
        return -EINPROGRESS;
    }
    make_due(parent, slot);
    return 0;
}

/* ---- cancel ---- */

int strait_task_cancel(struct strait_parent *parent, strait_task_id id)
{
    strait_parent_check(parent);
    struct strait_slot *slot = strait_slot_find(parent, id);
    return slot ? strait_slot_cancel(parent, slot, STRAIT_UNWANTED_CANCELLED) : -ENOENT;
}

/* Calls `step` for each slot whose completion is owed; those that wait in a lane in the order of
 * their submission. */
typedef void slot_step_fn(struct strait_parent *parent, struct strait_slot *slot, void *argument);

static void each_owed(struct strait_parent *parent, slot_step_fn *step, void *argument)
{
    for (unsigned lane = 0; lane < strait_parent_lanes(parent); lane++) {
        struct strait_taskring *ring = strait_parent_lane(parent, lane);
        uintptr_t slots = ring ? ring->mask + 1 : 0;
        uintptr_t at = ring && ring->tail > slots ? ring->tail - slots : 0;
        for (; ring && at < ring->tail; at++) {
            struct strait_slot *slot = strait_taskring_at(ring, at);
            if (strait_slot_owed(slot)) { /* its turn may have been laps ago */
                step(parent, slot, argument);
            }
        }
    }
}

struct group_cancel {
    const struct strait_group *group;
    size_t withdrawn;
};

static void cancel_member(struct strait_parent *parent, struct strait_slot *slot, void *argument)
{
    struct group_cancel *cancel = argument;
    if (slot->planned && strait_slot_plan(parent, slot)->group == cancel->group) {
        cancel->withdrawn += strait_slot_cancel(parent, slot, STRAIT_UNWANTED_CANCELLED) == 0;
    }
}

size_t strait_group_cancel(struct strait_parent *parent, struct strait_group *group)
{
    struct group_cancel cancel = {.group = group};
    strait_parent_check(parent);
    each_owed(parent, cancel_member, &cancel);
    return cancel.withdrawn;
}

static void abandon(struct strait_parent *parent, struct strait_slot *slot, void *argument)
{
    (void)argument;
    strait_slot_cancel(parent, slot, STRAIT_UNWANTED_ABANDONED);
}

void strait_parent_abandon(struct strait_parent *parent)
{
    each_owed(parent, abandon, NULL);
}

static void disown(struct strait_parent *parent, struct strait_slot *slot, void *argument)
{
    (void)argument;
    if (slot->planned) {
        strait_slot_plan(parent, slot)->group = NULL;
    }
}

void strait_parent_disown(struct strait_parent *parent)
{
    each_owed(parent, disown, NULL);
}

bool strait_task_cancelled(const struct strait_task *task)
{
    const char *slot = (const char *)task - offsetof(struct strait_slot, task);
    const void *cancel = slot + offsetof(struct strait_slot, cancel);
    /* the parent alone writes it; the flag itself is all that is read */
    return strait_load_relaxed(cancel) > STRAIT_UNWANTED_LATE;
}

/* ---- deadlines ---- */

void strait_alarm_set(struct strait_parent *parent, int64_t due)
{
    bool any = due != STRAIT_FOREVER;
    /* the parent alone writes it */
    strait_wide_store_relaxed(&parent->alarm, any ? (uint64_t)due : 0);
    /* parent.alarm: pairs with keeper.alarm; when it is to be woken */
    strait_store_release(&parent->alarms, parent->alarms + 1);
    if (any) {
        strait_keeper_call(parent->pool);
    }
}

int64_t strait_alarm_due(const struct strait_parent *parent)
{
    return parent->alarm ? (int64_t)parent->alarm : STRAIT_FOREVER;
}

void strait_deadline_add(struct strait_parent *parent, struct strait_plan *plan, int64_t due)
{
    plan->timer.due = due;
    strait_p_timers_insert(&parent->deadlines, &plan->timer);
    if (due < strait_alarm_due(parent)) {
        strait_alarm_set(parent, due);
    }
}

static bool claimed(struct strait_parent *parent, const struct strait_slot *slot)
{
    uintptr_t head = strait_taskring_head(strait_parent_lane(parent, slot->lane));
    return (intptr_t)(head - slot->turn) >= 0;
}

/* A deadline of a task that has not completed has passed. One that was claimed in the same moment
 * is the worker's to judge, by the same clock. */
static void expire_one(struct strait_parent *parent, struct strait_plan *plan, int64_t now)
{
    struct strait_slot *slot = plan->slot;
    if (slot->state != STRAIT_SLOT_TAKEN || slot->cancel != STRAIT_WANTED) {
        return;
    }
    bool over = now >= plan->finish_by;
    if (!claimed(parent, slot) &&
        withdraw(parent, slot, over ? STRAIT_UNWANTED_EXPIRED : STRAIT_UNWANTED_LATE)) {
        make_due(parent, slot);
        return;
    }
    /* the parent alone writes it */
    strait_store_relaxed(&slot->cancel, over ? STRAIT_UNWANTED_EXPIRED : STRAIT_WANTED);
    if (!over && plan->finish_by != STRAIT_FOREVER) {
        strait_deadline_add(parent, plan, plan->finish_by);
    }
}

static struct strait_plan *plan_of_timer(struct strait_timer *timer)
{
    return (struct strait_plan *)(void *)((char *)timer - offsetof(struct strait_plan, timer));
}

/* Takes back the alarm of a deadline that was met, too, once it has passed: until then it stands in
 * for later ones. */
void strait_parent_expire(struct strait_parent *parent)
{
    if (strait_p_timers_due(&parent->deadlines) == STRAIT_FOREVER && !parent->alarm) {
        return;
    }
    int64_t now = strait_now();
    struct strait_timer *timer;
    strait_p_timers_begin(&parent->deadlines);
    while ((timer = strait_p_timers_pop(&parent->deadlines, now)) != NULL) {
        expire_one(parent, plan_of_timer(timer), now);
    }
    strait_p_timers_end(&parent->deadlines);
    if (strait_alarm_due(parent) <= now) {
        strait_alarm_set(parent, strait_p_timers_due(&parent->deadlines));
    }
}
