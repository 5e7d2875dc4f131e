/* SPDX-License-Identifier: MIT */
/* complete: the workers' reports, and the completions that follow from them. On the parent's
 * thread, or on the keeper's once that has left. */
#include "parent.h"

#define REPORTS_AT_ONCE 32

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
    struct strait_plan *plan = strait_slot_plan(parent, slot);
    if (plan->timer.armed) {
        strait_p_timers_remove(&parent->deadlines, &plan->timer);
    }
    if (plan->group) {
        plan->group->pending--;
    }
}

static void slot_give(struct strait_parent *parent, struct strait_slot *slot)
{
    slot->state = STRAIT_SLOT_FREE;
    parent->in_use--;
}

/* The task's id names nothing from here on, and what the group's owner does with the group is its
 * own affair. */
static void complete(struct strait_parent *parent, struct strait_slot *slot,
                     enum strait_task_status status)
{
    slot->state = STRAIT_SLOT_GONE;
    slot->task.status = parent->left ? STRAIT_TASK_ABANDONED : status;
    parent->owed--;
    if (slot->planned) {
        plan_end(parent, slot);
    }
    strait_count(&parent->completed[slot->task.status]);
    if (slot->task.done) {
        slot->task.done(&slot->task);
    }
}

static void complete_run(struct strait_parent *parent, struct strait_slot *slot, int code)
{
    slot->task.code = code;
    strait_count(&parent->finished);
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
    bool back = slot->state == STRAIT_SLOT_DUE_BACK;
    parent->due = strait_slot_plan(parent, slot)->next;
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
        status = status_of_unwanted(slot->cancel);
    } else if (verdict == STRAIT_POOL_CANCELLED) {
        status = STRAIT_TASK_ABANDONED;
    }
    complete_unrun(parent, slot, status);
    slot_give(parent, slot);
}

/* ---- reports ---- */

/* With a report the slot is the parent's again. Returns how many completions that was. */
static size_t take_back(struct strait_parent *parent, uintptr_t report)
{
    struct strait_slot *slot = strait_report_slot(report);
    enum strait_verdict verdict = strait_report_verdict(report);
    /* the workers have come at least so far: no need to read their line */
    strait_parent_passed(parent, strait_parent_lane(parent, slot->lane), slot->turn);
    if (STRAIT_LIKELY(verdict <= STRAIT_RAN_TO_CODE)) {
        complete_run(parent, slot, verdict == STRAIT_RAN ? 0 : slot->code);
        return 1;
    }
    if (slot->state == STRAIT_SLOT_TAKEN) {
        complete_refused(parent, slot, verdict);
        return 1;
    }
    if (slot->state == STRAIT_SLOT_DUE) {
        slot->state = STRAIT_SLOT_DUE_BACK;
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

/* There is room, or there will never be again. */
static void tell_of_room(struct strait_parent *parent)
{
    bool closing = strait_pool_closing(parent->pool);
    if (!closing && !strait_parent_has_room(parent, parent->options.low_water)) {
        return;
    }
    /* the parent alone writes it */
    strait_store_relaxed(&parent->wants_room, 0);
    parent->refusing = false;
    if (parent->options.room && !parent->left && !closing) {
        parent->options.room(parent, parent->options.context);
    }
}

size_t strait_parent_collect(struct strait_parent *parent, size_t budget)
{
    size_t completed = 0;
    size_t received = 1;
    parent->dispatching = true;
    strait_parent_expire(parent);
    while (completed < budget && (received || parent->due)) {
        while (parent->due && completed < budget) {
            complete_due(parent);
            completed++;
        }
        received =
            parent->in_use && completed < budget ? receive_some(parent, budget, &completed) : 0;
    }
    if (STRAIT_UNLIKELY(parent->refusing)) {
        tell_of_room(parent);
    }
    parent->dispatching = false;
    return completed;
}

void strait_parent_catch_up(struct strait_parent *parent)
{
    strait_parent_collect(parent, parent->owed + 1);
}

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
    int64_t due = strait_alarm_due(parent); /* never later than a deadline, and rung but once */
    return parent->due || reports_ready(parent) ||
           (parent->wants_room && (strait_pool_closing(parent->pool) ||
                                   strait_parent_has_room(parent, parent->wants_room - 1))) ||
           (due != STRAIT_FOREVER && strait_now() >= due);
}
