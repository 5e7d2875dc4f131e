/* SPDX-License-Identifier: MIT */
/* parent: what happens on a parent's thread: it attaches, submits, cancels, completes, waits,
 * leaves. See shared.h for what it shares with workers. */
#include "shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../channel/private.h"

#define SPARE_SLOTS (64 + STRAIT_POOL_WORKERS_MAX) /* for what runs, and some that have ended */
#define LEAVE_TRIES 100

/* How completions are gathered: see shared.h. None is to wait for more than 100 us, and a loop
 * comes a little after its clock. */
#define GATHER_NS 90000
#define GATHER_IN_WAIT_NS 500000 /* how often a wait, which sleeps for its own, looks around */
#define ROUND_NS 20000           /* about what it takes a loop to come round */
/* A longer pause between completions says no more than this; at half of it the loop is quiet. */
#define PACE_MOST_NS 4000000
/* More than can come: something else is to wake the parent. */
#define REPORTS_NEVER (STRAIT_P_INDEX_MASK / 2)

#ifdef STRAIT_CHECKED
static void check_parent(struct strait_parent *parent)
{
    int32_t self = (int32_t)syscall(SYS_gettid);
    if (parent->user && parent->user != self && !strait_p_thread_gone(parent->user)) {
        fprintf(stderr,
                "strait: a parent is used by one thread at a time: parent %p, of thread "
                "%d, used by thread %d\n",
                (void *)parent, (int)parent->user, (int)self);
        abort();
    }
    parent->user = self;
}
#else
#define check_parent(parent) ((void)0)
#endif

/* ---- completing ---- */

/* The slot no longer waits for what has come; one that waits for nothing is free. */
static void slot_settle(struct strait_parent *parent, struct strait_p_slot *slot, unsigned come)
{
    if (come & STRAIT_P_OUT && slot->state & STRAIT_P_WITHDRAWN) {
        struct strait_p_submission_ring *ring = &parent->rings[slot->priority];
        uintptr_t seen = parent->head_seen[slot->priority];
        ring->dead--;
        ring->ahead -= slot->position - (uint32_t)seen <= ring->tail - seen;
        come |= STRAIT_P_WITHDRAWN;
    }
    slot->state &= (uint8_t)~come;
    if (!(slot->state & STRAIT_P_IN_USE)) {
        slot->position = parent->vacant - slot->index - 1;
        parent->vacant = slot->index;
    }
}

/* Tells of what became of it. Not inside a completion: those neither run tasks in place nor wait.
 */
static void call_done(struct strait_parent *parent, struct strait_task *task, unsigned verdict)
{
    task->status = (enum strait_task_status)(verdict & ~STRAIT_P_STARTED);
    if (task->status == STRAIT_TASK_DONE) {
        task->code = 0;
    } else if (!(verdict & STRAIT_P_STARTED)) {
        task->code = task->status == STRAIT_TASK_EXPIRED ? -ETIMEDOUT : -ECANCELED;
    }
    if (task->done) {
        parent->callback = STRAIT_FRAME;
        task->done(task);
        parent->callback = NULL;
    }
}

/* When `done` begins, the task's id names nothing any more, and its group may be used anew. The
 * slot stays in use until `done` has ended. */
STRAIT_PRIVATE size_t strait_p_complete(struct strait_parent *parent, struct strait_p_slot *slot,
                                        bool reported)
{
    const struct strait_p_submission_ring *ring = &parent->rings[slot->priority];
    uintptr_t *seen = &parent->head_seen[slot->priority];
    uint32_t more = slot->position + 1 - (uint32_t)*seen;
    /* The workers have come as far as that slot: no need to read their line. A worker's own does
     * not say so, which may be taken back; and withdrawn tasks are counted one by one. */
    if (reported && !parent->worker && !ring->ahead && more <= ring->tail - *seen) {
        *seen += more;
    }
    if (STRAIT_UNLIKELY(reported && slot->state & STRAIT_P_WITHDRAWN)) {
        slot_settle(parent, slot, STRAIT_P_OUT);
        return 0;
    }
    unsigned verdict = reported ? slot->verdict : slot->cancel;
    struct strait_group *group = slot->planned ? strait_p_plan_of(slot)->group : NULL;
    slot->state ^= STRAIT_P_OWED | STRAIT_P_ENDING;
    if (verdict & STRAIT_P_STARTED) {
        strait_p_count(&parent->counters.finished);
    }
    parent->owed--;
    if (group) {
        group->pending--;
    }
    strait_p_count(&parent->counters.completed[verdict & ~STRAIT_P_STARTED]);
    call_done(parent, &slot->task, verdict);
    slot_settle(parent, slot, STRAIT_P_ENDING | (reported ? STRAIT_P_OUT : 0));
    return 1;
}

/* ---- reports ---- */

/* The slot of the oldest report; NULL: none is there. Once the parent has completed all that it has
 * read of, it reads the links of what workers have reported since, and turns them round. */
static struct strait_p_slot *next_report(struct strait_parent *parent)
{
    if (parent->reported == STRAIT_P_NONE) {
        /* completion.receive: pairs with completion.report; all that the workers did to the slots,
         * and the links; without it a completion sees half a result */
        uintptr_t top = strait_word_load_acquire(&parent->stack);
        uint32_t at = (uint32_t)(top & STRAIT_P_INDEX_MASK);
        uint32_t newer = STRAIT_P_NONE;
        for (size_t left = (top - parent->seen) / STRAIT_P_REPORT; left > 0; left--) {
            uint32_t older = strait_load_relaxed(&parent->links[at]);
            strait_prefetch_read(&parent->slots[at]); /* a worker had it last */
            parent->links[at] = newer;
            newer = at;
            at = older;
        }
        parent->seen = top & ~STRAIT_P_INDEX_MASK;
        parent->reported = newer;
    }
    uint32_t oldest = parent->reported;
    if (oldest == STRAIT_P_NONE) {
        return NULL;
    }
    parent->reported = parent->links[oldest];
    return &parent->slots[oldest];
}

/* Of the reports that the parent has not read of: are there as many as are to wake it, or is there
 * that of the slot that it awaits? */
static bool is_called(const struct strait_parent *parent)
{
    /* completion.look: pairs with completion.report; the links; without it the parent follows one
     * that is not written yet */
    uintptr_t top = strait_word_load_acquire(&parent->stack);
    bool called = strait_p_goal_left(parent->goal, top) <= 0;
    size_t left =
        parent->awaited_slot == STRAIT_P_NONE ? 0 : (top - parent->seen) / STRAIT_P_REPORT;
    for (uint32_t at = (uint32_t)(top & STRAIT_P_INDEX_MASK); left > 0 && !called; left--) {
        called = at == parent->awaited_slot;
        at = strait_load_relaxed(&parent->links[at]);
    }
    return called;
}

/* ---- room ---- */

/* Moves the heads over withdrawn tasks, which no worker needs to see. */
static STRAIT_P_ONE_COPY STRAIT_P_COLD void pass_dead(struct strait_parent *parent)
{
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        struct strait_p_submission_ring *ring = &parent->rings[i];
        uintptr_t head = strait_word_load_relaxed(&ring->head);
        while (ring->dead > 0 && head != ring->tail) {
            struct strait_p_slot *slot = strait_p_ring_pushed(ring, head);
            if (!(slot->state & STRAIT_P_WITHDRAWN)) {
                break;
            }
            if (strait_word_cas_relaxed(&ring->head, &head, head + 1)) {
                head++;
                slot_settle(parent, slot, STRAIT_P_OUT);
            }
        }
    }
}

/* How many tasks wait; SIZE_MAX: no slot is free. While withdrawn ones are among them, it looks at
 * each that the head has passed, once. */
static size_t waiting(struct strait_parent *parent, unsigned priority)
{
    struct strait_p_submission_ring *ring = &parent->rings[priority];
    if (parent->vacant == parent->slot_count) {
        pass_dead(parent);
    }
    uintptr_t head = strait_word_load_relaxed(&ring->head);
    for (uintptr_t at = parent->head_seen[priority]; ring->ahead > 0 && at != head; at++) {
        const struct strait_p_slot *slot = strait_p_ring_pushed(ring, at);
        ring->ahead -= slot->state & STRAIT_P_WITHDRAWN && slot->priority == priority &&
                       slot->position == (uint32_t)at;
    }
    parent->head_seen[priority] = head;
    return parent->vacant == parent->slot_count ? SIZE_MAX : ring->tail - head - ring->ahead;
}

/* Can this parent submit no more? While a pool drains, its own tasks can. */
static bool is_closed(const struct strait_parent *parent)
{
    uint32_t closing = strait_load_relaxed(&parent->pool->closing);
    return closing && !(parent->worker && closing == 1 + STRAIT_CLOSE_DRAIN);
}

/* Is there the room that the parent wants, if it does, or will there never be any? */
static bool room_made(struct strait_parent *parent, unsigned priority)
{
    uintptr_t room_at = parent->room_at[priority];
    return room_at && (is_closed(parent) ||
                       waiting(parent, priority) <= parent->rings[priority].tail - room_at);
}

/* Has the workers tell when no more than so many of the tasks wait that there are now. What they
 * claimed before they could see that, the parent sees behind this. */
static STRAIT_P_ONE_COPY STRAIT_P_COLD void want_room(struct strait_parent *parent,
                                                      unsigned priority, size_t most)
{
    uintptr_t room_at = parent->rings[priority].tail - most;
    strait_word_store_relaxed(&parent->room_at[priority], room_at ? room_at : room_at - 1);
    /* parent.starved: pairs with submission.claimed; that room is wanted, or else what was claimed;
     * without it nobody tells the parent of room */
    strait_full_fence();
}

static void tell_of_room(struct strait_parent *parent)
{
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        if (room_made(parent, i)) {
            strait_word_store_relaxed(&parent->room_at[i], 0);
            if (!is_closed(parent)) {
                parent->callback = STRAIT_FRAME;
                parent->options.room(parent, parent->options.context);
                parent->callback = NULL;
            }
        }
    }
}

/* ---- the fd ---- */

STRAIT_PRIVATE bool strait_p_collectable(const struct strait_parent *parent)
{
    return parent->due || parent->reported != STRAIT_P_NONE ||
           strait_word_load_relaxed(&parent->stack) - parent->seen >= STRAIT_P_REPORT;
}

static bool parent_ready(void *side)
{
    struct strait_parent *parent = side;
    return parent->due || parent->reported != STRAIT_P_NONE || is_called(parent) ||
           room_made(parent, STRAIT_PRIORITY_NORMAL) || room_made(parent, STRAIT_PRIORITY_HIGH) ||
           (parent->help && parent->help(parent, false));
}

/* Whoever makes a thread's parent ready has passed a full fence by then, and needs no membarrier.
 */
static struct strait_p_waiter parent_waiter(struct strait_parent *parent)
{
    struct strait_p_waiter waiter = {
        .own = parent->event,
        .peer = parent->peer,
        .ready = parent_ready,
        .side = parent,
        .spin_ns = &parent->spin_ns,
        .mode = parent->options.wait,
        .sole = true,
        .between = !parent->worker || parent->pool->fenced ? STRAIT_P_FENCES : STRAIT_P_BARRIER,
    };
    return waiter;
}

/* Has the workers wake it with so many reports, from what it has seen on, or with that of a slot;
 * or has the first of them start the clock, that is, `gathers`. */
static void await_reports(struct strait_parent *parent, size_t reports, uint32_t slot, bool gathers)
{
    size_t first = gathers ? 1 : reports;
    strait_word_store_relaxed(&parent->goal,
                              parent->seen + first * STRAIT_P_REPORT + (reports - first));
    strait_store_relaxed(&parent->awaited_slot, slot);
}

/* Has the timer run off at a time; 0: not at all. */
static void timer_set(struct strait_parent *parent, int64_t at)
{
    int saved = errno;
    struct itimerspec when = {.it_value = strait_p_timespec(at)};
    timerfd_settime(parent->timer, TFD_TIMER_ABSTIME, &when, NULL);
    errno = saved;
}

STRAIT_PRIVATE void strait_p_parent_start_clock(struct strait_parent *parent)
{
    timer_set(parent, strait_deadline(GATHER_NS));
}

/* Has the fd become readable. It is so already unless the parent is armed. */
static void tell_loop(struct strait_parent *parent)
{
    strait_p_notify(parent->event, STRAIT_P_BARRIER);
}

/* How many parents have tasks that wait, about: at least 1. */
static int64_t parents_busy(const struct strait_pool *pool)
{
    uintptr_t raised = strait_word_load_relaxed(&pool->raised) % STRAIT_P_RAISED(1);
    return raised > 0 ? (int64_t)raised : 1;
}

/* True: the fd becomes readable with so many reports, or when a worker is to be started; if that is
 * more than one report, also when the clock has run down that starts now, or with the first where
 * other parents have tasks, too. False: there is something to do at once, and it is readable. */
static bool fd_arm(struct strait_parent *parent, size_t reports)
{
    struct strait_p_waiter waiter = parent_waiter(parent);
    bool gathers = reports > 1;
    bool now = gathers && parents_busy(parent->pool) == 1;
    int64_t at = now ? strait_deadline(GATHER_NS)
                     : (int64_t)strait_wide_load_relaxed(&parent->pool->grow_at);
    if (at || parent->clocked) {
        timer_set(parent, at);
    }
    parent->clocked = at || gathers;
    await_reports(parent, reports, STRAIT_P_NONE, gathers && !now);
    bool armed = strait_p_arm(&waiter) == 1;
    if (gathers && !now && armed && strait_p_collectable(parent)) {
        strait_p_parent_start_clock(parent); /* whoever reported before could not see that */
    }
    return armed;
}

static uintptr_t completed_by(const struct strait_parent *parent)
{
    return parent->counters.submitted - parent->owed;
}

/* With how many reports the parent is to wake: the next, or, where completions come fast, so many
 * that those left keep the workers busy until it has come round. Where other parents have tasks,
 * too, each wake-up keeps the workers from those: even slower ones are gathered. */
static STRAIT_P_ONE_COPY STRAIT_P_COLD size_t reports_to_gather(struct strait_parent *parent)
{
    size_t completed = completed_by(parent) - parent->paced;
    if (completed == 0) {
        parent->clocked = true; /* one may have started late, which keeps waking it for nothing */
        return 1;
    }
    int64_t now = strait_now();
    int64_t each = (now - parent->busy_at) / (int64_t)completed;
    parent->pace += ((each < PACE_MOST_NS ? each : PACE_MOST_NS) - parent->pace) / 4;
    parent->busy_at = now;
    parent->paced += completed;
    size_t few = 2 * (size_t)strait_load_relaxed(&parent->pool->online) +
                 (size_t)(ROUND_NS / (parent->pace + 1));
    size_t unread = (strait_word_load_relaxed(&parent->stack) - parent->seen) / STRAIT_P_REPORT;
    bool fast = parent->pace < PACE_MOST_NS / 2 && parent->owed > unread + few &&
                parent->pace < GATHER_NS / 2 * parents_busy(parent->pool);
    return fast ? parent->owed - few : 1;
}

/* ---- cancelling ---- */

/* The task's number, and the slot's index. */
static strait_task_id id_of(const struct strait_parent *parent, const struct strait_p_slot *slot)
{
    return slot->serial * (parent->rings[0].mask + 1) + slot->index;
}

/* NULL: it has completed, or is none of this parent's. */
static struct strait_p_slot *find(const struct strait_parent *parent, strait_task_id id)
{
    uint64_t index = id & parent->rings[0].mask;
    struct strait_p_slot *slot = index < parent->fresh ? &parent->slots[index] : NULL;
    return slot && slot->state & STRAIT_P_OWED && id_of(parent, slot) == id ? slot : NULL;
}

/* As strait_task_cancel. */
static STRAIT_P_ONE_COPY int cancel(struct strait_parent *parent, struct strait_p_slot *slot,
                                    enum strait_task_status reason)
{
    if (slot->cancel) {
        return -EALREADY;
    }
    if (!strait_p_ring_withdraw(&parent->rings[slot->priority], slot, reason)) {
        return -EINPROGRESS;
    }
    strait_p_plan_of(slot)->next = NULL;
    *parent->due_end = slot;
    parent->due_end = &strait_p_plan_of(slot)->next;
    tell_loop(parent);
    return 0;
}

int strait_task_cancel(struct strait_parent *parent, strait_task_id id)
{
    check_parent(parent);
    struct strait_p_slot *slot = find(parent, id);
    return slot ? cancel(parent, slot, STRAIT_TASK_CANCELLED) : -ENOENT;
}

/* Is the parent owed its completion, and is it of the group, if that is not NULL? */
static bool is_owed(const struct strait_p_slot *slot, const struct strait_group *group)
{
    return slot->state & STRAIT_P_OWED &&
           (!group || (slot->planned && strait_p_plan_of(slot)->group == group));
}

/* Cancels what waits from a position on, in the order of submission: those of a group, if it is not
 * NULL. Returns how many there were. */
static STRAIT_P_ONE_COPY STRAIT_P_COLD size_t cancel_from(struct strait_parent *parent,
                                                          unsigned priority, uintptr_t from,
                                                          const struct strait_group *group,
                                                          enum strait_task_status reason)
{
    const struct strait_p_submission_ring *ring = &parent->rings[priority];
    size_t withdrawn = 0;
    for (; (intptr_t)(ring->tail - from) > 0; from++) {
        struct strait_p_slot *slot = strait_p_ring_pushed(ring, from);
        if (slot->position == (uint32_t)from && is_owed(slot, group)) {
            withdrawn += cancel(parent, slot, reason) == 0;
        }
    }
    return withdrawn;
}

/* The same of all that wait. `told`: those that have been claimed see that they are not wanted. */
static STRAIT_P_ONE_COPY STRAIT_P_COLD size_t cancel_all(struct strait_parent *parent,
                                                         const struct strait_group *group,
                                                         enum strait_task_status reason, bool told)
{
    size_t withdrawn = 0;
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        uintptr_t head = strait_word_load_relaxed(&parent->rings[i].head);
        withdrawn += cancel_from(parent, i, head, group, reason);
    }
    for (size_t i = 0; told && i < parent->fresh; i++) {
        if (is_owed(&parent->slots[i], group)) {
            cancel(parent, &parent->slots[i], reason);
        }
    }
    return withdrawn;
}

size_t strait_group_cancel(struct strait_parent *parent, struct strait_group *group)
{
    check_parent(parent);
    return group->pending > 0 ? cancel_all(parent, group, STRAIT_TASK_CANCELLED, true) : 0;
}

bool strait_task_cancelled(const struct strait_task *task)
{
    const struct strait_p_slot *slot = strait_p_slot_of(task);
    return strait_load_relaxed(&slot->cancel) || (slot->planned && strait_p_late(slot, true));
}

int64_t strait_task_waited_ns(const struct strait_task *task)
{
    return (int64_t)strait_p_plan_of(strait_p_slot_of(task))->waited_ns;
}

int64_t strait_task_ran_ns(const struct strait_task *task)
{
    return (int64_t)strait_p_plan_of(strait_p_slot_of(task))->ran_ns;
}

/* ---- dispatching ---- */

STRAIT_PRIVATE size_t strait_p_collect(struct strait_parent *parent, size_t budget)
{
    size_t completed = 0;
    if (STRAIT_UNLIKELY(strait_load_relaxed(&parent->pool->closing) == 1 + STRAIT_CLOSE_CANCEL) &&
        !parent->leaving) {
        parent->leaving = true;
        cancel_all(parent, NULL, STRAIT_TASK_ABANDONED, false); /* what runs goes on */
    }
    while (completed < budget) {
        struct strait_p_slot *slot = parent->due;
        bool reported = !slot;
        if (!reported) {
            parent->due = strait_p_plan_of(slot)->next;
            parent->due_end = parent->due ? parent->due_end : &parent->due;
        } else if ((slot = next_report(parent)) == NULL) {
            break;
        }
        completed += strait_p_complete(parent, slot, reported);
    }
    if (STRAIT_UNLIKELY(parent->room_at[0] || parent->room_at[1])) {
        tell_of_room(parent);
    }
    if (STRAIT_UNLIKELY(strait_wide_load_relaxed(&parent->pool->grow_at))) {
        parent->pool->grow(parent->pool);
    }
    return completed;
}

int strait_parent_fd(const struct strait_parent *parent)
{
    return parent->epoll >= 0 ? parent->epoll : -EINVAL;
}

size_t strait_parent_owed(const struct strait_parent *parent)
{
    return parent->owed;
}

ptrdiff_t strait_parent_poll(struct strait_parent *parent, size_t budget)
{
    check_parent(parent);
    if (strait_inside(parent->callback)) {
        return -EDEADLK;
    }
    return (ptrdiff_t)strait_p_collect(parent, budget ? budget : STRAIT_BUDGET);
}

ptrdiff_t strait_parent_dispatch(struct strait_parent *parent, size_t budget)
{
    size_t most = budget ? budget : STRAIT_BUDGET;
    size_t completed = 0;
    check_parent(parent);
    if (STRAIT_UNLIKELY(parent->callback) && strait_inside(parent->callback)) {
        return -EDEADLK;
    }
    do {
        completed += strait_p_collect(parent, most - completed);
    } while (completed < most && parent->epoll >= 0 && !fd_arm(parent, reports_to_gather(parent)));
    if (completed == most) {
        tell_loop(parent);
    }
    return (ptrdiff_t)completed;
}

/* ---- submitting ---- */

/* What all tasks of one submit have in common. */
struct submission {
    struct strait_p_plan plan;
    bool planned;
    bool in_place;
    unsigned priority;
};

static unsigned priority_of(const struct strait_parent *parent,
                            const struct strait_submit_options *how)
{
    return how && !parent->worker ? how->priority : STRAIT_PRIORITY_NORMAL;
}

static int resolve_how(const struct strait_parent *parent, const struct strait_submit_options *how,
                       struct submission *submission)
{
    struct strait_submit_options options;
    int error = strait_options_copy(&options, sizeof(options), how, "submit");
    if (error ||
        !STRAIT_P_VALID(submit, priority, (unsigned)options.priority < STRAIT_P_PRIORITIES) ||
        !STRAIT_P_VALID(submit, start_by, options.start_by >= 0) ||
        !STRAIT_P_VALID(submit, finish_by, options.finish_by >= 0)) {
        return -EINVAL;
    }
    strait_p_check_deadline(options.start_by);
    strait_p_check_deadline(options.finish_by);
    submission->planned = options.group || options.start_by || options.finish_by;
    submission->plan.start_by = options.start_by ? options.start_by : STRAIT_FOREVER;
    submission->plan.finish_by = options.finish_by ? options.finish_by : STRAIT_FOREVER;
    submission->plan.group = options.group;
    submission->in_place = options.in_place;
    submission->priority = priority_of(parent, &options);
    return 0;
}

static int submit_one(struct strait_parent *parent, const struct strait_task *task,
                      const struct submission *submission, strait_task_id *id)
{
    if (STRAIT_UNLIKELY(!task->run)) {
        return -EINVAL;
    }
    struct strait_p_submission_ring *ring = &parent->rings[submission->priority];
    size_t count = (size_t)(ring->tail - parent->head_seen[submission->priority]);
    if (STRAIT_UNLIKELY(count >= parent->waiting_max || parent->vacant == parent->slot_count)) {
        count = waiting(parent, submission->priority); /* it has been at most that */
        if (count >= parent->pool->options.queue_limit) {
            return -EAGAIN;
        }
        if (count >= parent->waiting_max) {
            strait_word_store_relaxed(&parent->waiting_max, count + 1);
        }
    }
    struct strait_p_slot *slot = &parent->slots[parent->vacant];
    if (STRAIT_UNLIKELY(parent->vacant == parent->fresh)) {
        slot->index = (uint32_t)parent->fresh++;
    }
    parent->vacant = slot->index + 1 + slot->position;     /* never used: the one beside it */
    strait_prefetch_write(&parent->slots[parent->vacant]); /* a worker had it last */
    slot->task = *task;
    strait_store_relaxed(&slot->cancel, 0);
    slot->serial = ++parent->serial;
    slot->priority = (uint8_t)submission->priority;
    slot->state = STRAIT_P_OWED | STRAIT_P_OUT;
    slot->planned = submission->planned;
    if (submission->planned || STRAIT_UNLIKELY(parent->pool->options.timed)) {
        *strait_p_plan_of(slot) = submission->plan;
    }
    if (submission->plan.group) {
        submission->plan.group->pending++;
    }
    parent->owed++;
    strait_p_count(&parent->counters.submitted);
    DTRACE_PROBE3(strait, task__submit, parent, slot, slot->task.run);
    strait_p_ring_push(ring, slot);
    if (id) {
        *id = id_of(parent, slot);
    }
    return 0;
}

/* Runs a task that finds no room, and completes it. */
static STRAIT_P_ONE_COPY STRAIT_P_COLD void run_in_place(struct strait_parent *parent,
                                                         const struct strait_task *task,
                                                         const struct submission *submission)
{
    struct {
        unsigned char before[STRAIT_LINE - sizeof(struct strait_p_plan)];
        struct strait_p_plan plan;
        struct strait_p_slot slot;
    } STRAIT_LINE_ALIGNED place = {.plan = submission->plan, .slot = {.task = *task}};
    STRAIT_STATIC_ASSERT(sizeof(place) == 2 * STRAIT_LINE, "the plan ends where the slot begins");
    place.slot.planned = submission->planned;
    uintptr_t floor = parent->floor;
    parent->floor = parent->rings[STRAIT_PRIORITY_NORMAL].tail;
    uint8_t verdict = STRAIT_TASK_EXPIRED;
    if (!submission->planned || !strait_p_late(&place.slot, false)) {
        int code = task->run(&place.slot.task);
        verdict = code ? strait_p_failed(&place.slot, code) : STRAIT_P_DONE;
    }
    parent->floor = floor;
    strait_p_count(&parent->counters.in_place);
    call_done(parent, &place.slot.task, verdict);
}

/* Sees to it that somebody comes for what was just pushed. A pool that began to close in the
 * meantime may have no worker left to come by: either its workers see the task, or this thread sees
 * that it closes. */
static void announce(struct strait_parent *parent, unsigned priority, uintptr_t from)
{
    struct strait_pool *pool = parent->pool;
    if (STRAIT_UNLIKELY(pool->fenced)) {
        /* pool.fence: pairs with event.prepare; what was pushed, or else that a bit is down, a
         * worker idle, the pool closing; without it the loads below overtake the push */
        strait_full_fence();
    }
    /* pool.announce: pairs with event.prepare; what was pushed, or else that a bit is down, a
     * worker idle, the pool closing; without it the compiler moves the loads below up */
    strait_light_barrier();
    if (STRAIT_UNLIKELY(strait_p_bit_set(pool->bits[priority], parent->place, true, &pool->raised,
                                         STRAIT_P_RAISED(priority)))) {
        /* pool.fence: the same, of the bit that is up again, or else that its word's is down; where
         * there is a membarrier, too: the barrier above came before */
        strait_fence_after_cas();
        if (strait_p_bit_set(pool->filled[priority], parent->place / STRAIT_P_BITS, true, NULL,
                             0)) {
            /* pool.fence: the same, of the word's bit */
            strait_fence_after_cas();
        }
    }
    bool lone = parent->owed == 1 && !parent->worker;
    parent->lone = lone ? parent->lone + (parent->lone < STRAIT_P_LONE) : 0;
    struct strait_p_event_count *woken = strait_p_wake_idle(pool, lone ? &parent->lone : NULL);
    parent->peer = woken ? woken : parent->peer;
    if (!woken && STRAIT_UNLIKELY(strait_load_relaxed(&pool->growable))) {
        pool->grow(pool);
    }
    if (parent->worker && parent->worker->lender) {
        strait_p_notify(parent->worker->lender, STRAIT_P_BARRIER); /* behind the fence above */
    }
    if (STRAIT_UNLIKELY(is_closed(parent))) {
        cancel_from(parent, priority, from, NULL, STRAIT_TASK_ABANDONED);
    }
}

/* A submit has found no room: `room` is to follow. */
static void refuse(struct strait_parent *parent, unsigned priority)
{
    strait_p_count(&parent->counters.refused);
    if (parent->options.room) {
        want_room(parent, priority, parent->pool->options.queue_limit / 2);
        if (room_made(parent, priority)) {
            tell_loop(parent);
        }
    }
}

/* As strait_task_submit_many; a caller that waits for room is not told of it by `room`. */
static ptrdiff_t submit_tasks(struct strait_parent *parent, const struct strait_task *tasks,
                              size_t n, const struct strait_submit_options *how,
                              strait_task_id *ids, bool waits)
{
    struct submission submission = {.planned = false};
    check_parent(parent);
    int error = is_closed(parent) || parent->leaving ? -EPIPE : 0;
    if (!error && how) {
        error = resolve_how(parent, how, &submission);
    }
    if (error) {
        return error;
    }
    if (STRAIT_UNLIKELY(parent->pool->options.timed)) {
        submission.plan.submitted_at = (uint64_t)strait_now();
    }
    const struct strait_p_submission_ring *ring = &parent->rings[submission.priority];
    size_t done = 0;
    for (;;) {
        uintptr_t from = ring->tail;
        if (STRAIT_UNLIKELY((intptr_t)(parent->floor - from) > 0)) {
            parent->floor = from; /* a wait for room has taken back what lay below */
        }
        while (done < n && !error) {
            error = submit_one(parent, &tasks[done], &submission, ids ? &ids[done] : NULL);
            done += !error;
        }
        if (ring->tail != from) {
            announce(parent, submission.priority, from);
        }
        if (STRAIT_LIKELY(error != -EAGAIN) || !submission.in_place || parent->callback) {
            break;
        }
        run_in_place(parent, &tasks[done], &submission);
        if (ids) {
            ids[done] = 0;
        }
        done++;
        error = 0;
    }
    if (STRAIT_UNLIKELY(error == -EAGAIN) && !waits) {
        refuse(parent, submission.priority);
    }
    return done > 0 ? (ptrdiff_t)done : error;
}

ptrdiff_t strait_task_submit_many(struct strait_parent *parent, const struct strait_task *tasks,
                                  size_t n, const struct strait_submit_options *how,
                                  strait_task_id *ids)
{
    return submit_tasks(parent, tasks, n, how, ids, false);
}

int strait_task_submit(struct strait_parent *parent, const struct strait_task *task,
                       const struct strait_submit_options *how, strait_task_id *id)
{
    ptrdiff_t result = submit_tasks(parent, task, 1, how, id, false);
    return result < 0 ? (int)result : 0;
}

/* ---- waiting ---- */

enum subject { FOR_TASK, FOR_GROUP, FOR_ALL, FOR_ANY, FOR_ROOM };

/* What a wait is for. */
struct wait {
    enum subject subject;
    unsigned priority;                /* FOR_ROOM */
    strait_task_id id;                /* FOR_TASK */
    const struct strait_group *group; /* FOR_GROUP */
    uintptr_t before;                 /* FOR_ANY: what had completed */
};

/* How many reports must come, at least, before it has happened; 0: it has, or never can. */
static size_t still_to_come(struct strait_parent *parent, const struct wait *wait)
{
    size_t owed = parent->owed - parent->inside;
    switch (wait->subject) {
    case FOR_TASK:
        return find(parent, wait->id) != NULL;
    case FOR_GROUP:
        return wait->group->pending;
    case FOR_ALL:
        return owed;
    case FOR_ANY:
        return owed > 0 && completed_by(parent) == wait->before;
    default:
        return !is_closed(parent) &&
               waiting(parent, wait->priority) >= parent->pool->options.queue_limit;
    }
}

/* Sleeps until what is waited for may have happened, or for a short time where it may take long,
 * and others complete meanwhile. -ECANCELED; otherwise look again. */
static int wait_sleep(struct strait_parent *parent, const struct wait *wait, size_t least,
                      int64_t deadline)
{
    const struct strait_p_slot *slot = wait->subject == FOR_TASK ? find(parent, wait->id) : NULL;
    bool any = wait->subject == FOR_ANY;
    size_t reports = slot ? REPORTS_NEVER : any ? reports_to_gather(parent) : least;
    if (parent->worker || parent->options.wait == STRAIT_WAIT_SPIN) {
        reports = 1;
    }
    if (reports > 1 && (any || parent->owed > least)) {
        int64_t until = strait_deadline(any ? GATHER_NS : GATHER_IN_WAIT_NS);
        deadline = until < deadline ? until : deadline;
    }
    int64_t grow_at = (int64_t)strait_wide_load_relaxed(&parent->pool->grow_at);
    deadline = grow_at && grow_at < deadline ? grow_at : deadline;
    /* `room` may be still to follow, for what was refused before */
    uintptr_t room_at = parent->room_at[wait->priority];
    if (wait->subject == FOR_ROOM) {
        want_room(parent, wait->priority, parent->pool->options.queue_limit - 1);
    }
    await_reports(parent, reports, slot ? slot->index : STRAIT_P_NONE, false);
    struct strait_p_waiter waiter = parent_waiter(parent);
    int error = strait_p_park(&waiter, deadline);
    strait_word_store_relaxed(&parent->room_at[wait->priority], room_at);
    return error == -ETIMEDOUT ? 0 : error;
}

static int wait_until(struct strait_parent *parent, const struct wait *wait, int64_t deadline)
{
    check_parent(parent);
    strait_p_check_deadline(deadline);
    if (strait_inside(parent->callback)) {
        return -EDEADLK;
    }
    int error = 0;
    size_t least;
    for (;;) {
        strait_p_collect(parent, parent->owed + 1); /* not for ever more that completions submit */
        least = still_to_come(parent, wait);
        if (!least || error) {
            break;
        }
        if (deadline != STRAIT_FOREVER && strait_now() >= deadline) {
            error = -ETIMEDOUT;
        } else if (!parent->help || !parent->help(parent, true)) {
            error = wait_sleep(parent, wait, least, deadline);
        }
    }
    if (parent->epoll >= 0) {
        fd_arm(parent, 1);
    }
    return least ? error : 0;
}

int strait_task_wait(struct strait_parent *parent, strait_task_id id, int64_t deadline)
{
    return wait_until(parent, &(struct wait){.subject = FOR_TASK, .id = id}, deadline);
}

int strait_group_wait(struct strait_parent *parent, const struct strait_group *group,
                      int64_t deadline)
{
    return wait_until(parent, &(struct wait){.subject = FOR_GROUP, .group = group}, deadline);
}

int strait_parent_wait_all(struct strait_parent *parent, int64_t deadline)
{
    return wait_until(parent, &(struct wait){.subject = FOR_ALL}, deadline);
}

ptrdiff_t strait_parent_wait_any(struct strait_parent *parent, int64_t deadline)
{
    struct wait wait = {.subject = FOR_ANY, .before = completed_by(parent)};
    int error = wait_until(parent, &wait, deadline);
    return error ? error : (ptrdiff_t)(completed_by(parent) - wait.before);
}

int strait_task_submit_wait(struct strait_parent *parent, const struct strait_task *task,
                            const struct strait_submit_options *how, strait_task_id *id,
                            int64_t deadline)
{
    struct wait wait = {.subject = FOR_ROOM, .priority = priority_of(parent, how)};
    int error = 0;
    ptrdiff_t result;
    while ((result = submit_tasks(parent, task, 1, how, id, true)) == -EAGAIN && !error) {
        uintptr_t floor = parent->floor;
        /* on a worker there may be nobody else who takes what fills the queue */
        parent->floor = strait_word_load_relaxed(&parent->rings[wait.priority].head);
        error = wait_until(parent, &wait, deadline);
        parent->floor = floor;
    }
    return result == -EAGAIN ? error : result < 0 ? (int)result : 0;
}

/* ---- memory ---- */

STRAIT_PRIVATE void *strait_p_pages(size_t bytes)
{
    int saved = errno;
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    strait_errno_restore(saved);
    return pages == MAP_FAILED ? NULL : pages;
}

/* Slots, plans, links and words. */
static int slots_create(struct strait_parent *parent)
{
    size_t limit = parent->pool->options.queue_limit;
    /* as many as wait at most, and half as many again that were cancelled or have ended */
    size_t slots = STRAIT_P_PRIORITIES * (limit + limit / 2) + SPARE_SLOTS;
    unsigned shift = 0;
    while ((size_t)1 << shift < slots) {
        shift++;
    }
    size_t words = (size_t)1 << shift;
    size_t plans = strait_round_up(slots * sizeof(struct strait_p_plan), STRAIT_LINE);
    parent->bytes = plans + slots * (sizeof(struct strait_p_slot) + sizeof(uint32_t)) +
                    STRAIT_P_PRIORITIES * words * sizeof(uint32_t);
    parent->block = strait_p_pages(parent->bytes);
    if (!parent->block) {
        return -ENOMEM;
    }
    parent->slots = (struct strait_p_slot *)((uintptr_t)parent->block + plans);
    parent->slot_count = slots;
    parent->links = (uint32_t *)(parent->slots + slots);
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        parent->rings[i].slots = parent->slots;
        parent->rings[i].words = parent->links + slots + i * words;
        parent->rings[i].mask = words - 1;
        parent->rings[i].lap_shift = shift;
        parent->rings[i].two_ended = parent->worker != NULL;
    }
    return 0;
}

static STRAIT_P_COLD void fds_close(struct strait_parent *parent)
{
    strait_p_fd_close(parent->epoll);
    strait_p_fd_close(parent->timer);
    strait_p_fd_close(parent->own.fd);
    parent->epoll = -1;
    parent->timer = -1;
    parent->own.fd = -1;
}

/* An eventfd that workers make readable, a timer of the parent's, and an epoll set of both. */
static int fds_open(struct strait_parent *parent)
{
    struct epoll_event event = {.events = EPOLLIN};
    int saved = errno;
    int error = strait_p_fd_open(&parent->own.fd);
    parent->timer = error ? -1 : timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    parent->epoll = parent->timer < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    if (!error && (parent->epoll < 0 ||
                   epoll_ctl(parent->epoll, EPOLL_CTL_ADD, parent->own.fd, &event) != 0 ||
                   epoll_ctl(parent->epoll, EPOLL_CTL_ADD, parent->timer, &event) != 0)) {
        error = -errno;
    }
    if (error) {
        fds_close(parent);
    }
    strait_errno_restore(saved);
    return error;
}

/* ---- attaching ---- */

static struct strait_parent *parent_create(struct strait_pool *pool,
                                           struct strait_p_pool_worker *worker)
{
    struct strait_parent *parent = strait_line_alloc(sizeof(*parent));
    if (!parent) {
        return NULL;
    }
    memset(parent, 0, sizeof(*parent));
    parent->pool = pool;
    parent->worker = worker;
    parent->place = pool->places;
    parent->event = worker ? &worker->event : &parent->own;
    parent->due_end = &parent->due;
    parent->epoll = -1;
    parent->timer = -1;
    parent->awaited_slot = STRAIT_P_NONE;
    parent->reported = STRAIT_P_NONE;
    strait_p_event_count_init(&parent->own, -1);
    if (slots_create(parent) != 0) {
        free(parent);
        return NULL;
    }
    return parent;
}

STRAIT_PRIVATE void strait_p_parents_free(struct strait_pool *pool)
{
    for (uint32_t place = 0; place < pool->places; place++) {
        struct strait_parent *parent = pool->parents[place];
        munmap(parent->block, parent->bytes);
        fds_close(parent);
        free(parent);
    }
}

/* Is a worker about to report to it, or in a report? */
static STRAIT_P_COLD bool is_needed(struct strait_parent *parent)
{
    struct strait_pool *pool = parent->pool;
    struct strait_p_slot *slot;
    while ((slot = next_report(parent)) != NULL) {
        strait_p_complete(parent, slot, true); /* it has withdrawn it: nothing is owed */
    }
    bool needed =
        parent->rings[STRAIT_PRIORITY_NORMAL].dead + parent->rings[STRAIT_PRIORITY_HIGH].dead > 0;
    uint32_t numbers = strait_load_relaxed(&pool->numbers);
    for (uint32_t number = 0; number < numbers && !needed; number++) {
        /* parent.leave: pairs with worker.reported; all that the worker did with the parent;
         * without it a worker makes a descriptor readable that is somebody else's by now */
        needed = strait_word_load_acquire(&pool->workers[number].reporting) == (uintptr_t)parent;
    }
    return needed;
}

/* Gives back what parents that have left had, as far as no worker needs it: all slots are free, the
 * rings empty. To a worker that is late, pages of zeros are an empty ring. Under the lock. */
static STRAIT_P_COLD void sweep(struct strait_pool *pool)
{
    int saved = errno;
    for (uint32_t place = 0; place < pool->places; place++) {
        struct strait_parent *parent = pool->parents[place];
        if (parent->leftover && !is_needed(parent)) {
            if (madvise(parent->block, parent->bytes, MADV_DONTNEED) == 0) {
                parent->fresh = 0; /* else the pages are as they were, and all slots on the list */
                parent->vacant = 0;
            }
            fds_close(parent);
            parent->leftover = false;
        }
    }
    strait_errno_restore(saved);
}

STRAIT_PRIVATE STRAIT_P_COLD int strait_p_parent_attach(struct strait_pool *pool,
                                                        struct strait_parent **out,
                                                        const struct strait_parent_options *options,
                                                        struct strait_p_pool_worker *worker)
{
    uint32_t place = worker ? pool->places : 0;
    sweep(pool);
    while (place < pool->places &&
           (pool->parents[place]->attached || pool->parents[place]->leftover)) {
        place++;
    }
    if (!worker && pool->attached == STRAIT_PARENTS_MAX) {
        return -EUSERS;
    }
    if (place == pool->places) {
        pool->parents[place] = parent_create(pool, worker);
        if (!pool->parents[place]) {
            return -ENOMEM;
        }
        /* parent.place: pairs with pool.places; the parent; without it a worker reads what was
         * there before it was made */
        strait_store_release(&pool->places, place + 1);
    }
    struct strait_parent *parent = pool->parents[place];
    int error = options->wait == STRAIT_WAIT_FD ? fds_open(parent) : 0;
    if (error) {
        return error;
    }
    parent->options = *options;
    parent->spin_ns = STRAIT_P_SPIN_NS;
    parent->user = 0;
    parent->busy_at = 0;
    parent->pace = PACE_MOST_NS;
    parent->lone = 0;
    parent->attached = true;
    pool->attached += !worker;
    *out = parent;
    return 0;
}

STRAIT_P_COLD int strait_pool_attach(struct strait_pool *pool, struct strait_parent **parent,
                                     const struct strait_parent_options *given)
{
    struct strait_parent_options options;
    int error = strait_options_copy(&options, sizeof(options), given, "parent");
    if (error || !STRAIT_P_VALID(parent, wait, (unsigned)options.wait <= STRAIT_WAIT_FD)) {
        return -EINVAL;
    }
    options.wait = options.wait == STRAIT_WAIT_DEFAULT ? STRAIT_WAIT_FD : options.wait;
    if (pool->process != getpid()) {
        return -EOWNERDEAD;
    }
    pthread_mutex_lock(&pool->lock);
    error = strait_load_relaxed(&pool->closing)
                ? -EPIPE
                : strait_p_parent_attach(pool, parent, &options, NULL);
    pthread_mutex_unlock(&pool->lock);
    if (!error && options.wait == STRAIT_WAIT_FD) {
        fd_arm(*parent, 1); /* a loop may watch it before it dispatches */
    }
    return error;
}

STRAIT_PRIVATE void strait_p_parents_wake(struct strait_pool *pool)
{
    for (uint32_t place = 0; place < pool->places; place++) {
        strait_p_wake(pool->parents[place]->event, STRAIT_P_BARRIER);
    }
}

/* ---- leaving ---- */

STRAIT_PRIVATE STRAIT_P_COLD int strait_p_parent_settle(struct strait_parent *parent,
                                                        enum strait_close mode, int64_t deadline)
{
    check_parent(parent);
    if (strait_inside(parent->callback) || parent->worker) {
        return -EDEADLK;
    }
    if ((unsigned)mode > STRAIT_CLOSE_CANCEL) {
        return -EINVAL;
    }
    if (mode == STRAIT_CLOSE_CANCEL) {
        parent->leaving = true;
        cancel_all(parent, NULL, STRAIT_TASK_ABANDONED, true);
    }
    struct strait_p_berth *own = strait_p_berth_enter(NULL); /* the deadline alone ends this wait */
    int error = strait_parent_wait_all(parent, deadline);
    strait_p_berth_enter(own);
    parent->leaving = false;
    return error;
}

STRAIT_P_COLD int strait_parent_detach(struct strait_parent *parent, enum strait_close mode,
                                       int64_t deadline)
{
    if (!parent) {
        return 0;
    }
    struct strait_pool *pool = parent->pool;
    if (pool->process != getpid()) {
        return -EOWNERDEAD;
    }
    int error = strait_p_parent_settle(parent, mode, deadline);
    if (error) {
        return error;
    }
    /* It is owed nothing. What it has goes back now, or, where a worker is just leaving it, soon.
     */
    pass_dead(parent);
    for (int tries = 0; is_needed(parent) && tries < LEAVE_TRIES; tries++) {
        sched_yield();
    }
    pthread_mutex_lock(&pool->lock);
    parent->attached = false;
    parent->leftover = true;
    pool->attached--;
    sweep(pool);
    pthread_mutex_unlock(&pool->lock);
    return 0;
}
