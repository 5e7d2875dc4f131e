/* SPDX-License-Identifier: MIT */
/*
 * rings: the submission ring, on which a parent's tasks go to the workers, and the completion ring,
 * on which one worker tells one parent which of its tasks it is done with.
 *
 * Submission ring. A task lies in its slot from its submission to its completion. Positions count
 * up; position p is slot p mod slots. Any worker claims the oldest task by moving the head over it.
 * A task's own children are queued in the same way, but their parent, a worker, also takes the
 * newest back, by moving the tail down. Tasks end in any order, so the parent may come round to a
 * slot that is still in use: it marks that position as skipped and goes on.
 *
 * Algorithm: claim and take are steal and pop of Chase and Lev's deque ("Dynamic Circular
 * Work-Stealing Deque", 2005). That a slot says by itself whether its position is published is
 * Vyukov's bounded queue's (1024cores.net, 2010): the worker that polls the slot at the head has
 * the task with the same line that tells it of the task.
 *
 *   line 0  geometry        set once
 *   line 1  tail            the parent writes
 *   line 2  head            whoever claims compares and swaps it
 *   slots   one line each   the parent writes; while it runs the task, the worker
 *   plans   one each        before the slots, growing downwards: what few tasks have
 *
 * Invariants
 *   head <= tail <= head + slots
 *   slot.turn    == p + 1  <=>  position p is published, and nobody has taken it back
 *   slot.skipped == p + 1  <=>  position p has no task; 32 bits of it are enough, since whatever
 *                               comes next to the slot overwrites it
 *   a slot is written for another position only once its task has completed and whoever claimed it
 *   has reported
 *
 * Completion ring. Words, written by one worker and read by one parent. A word has the slot's index
 * and what became of the task, and a bit that changes from lap to lap and so tells whether the word
 * is new: one line tells the parent of up to 32 reports. There is a word for every slot, so the
 * ring is never full. That places say by themselves whether they are taken is Giacomoni, Moseley
 * and Vachharajani's FastForward (PPoPP 2008).
 *
 * Progress: push is wait-free (it passes over each slot in use once a lap), claim and take are
 * lock-free, send and receive wait-free; a worker that is stopped anywhere holds up nobody.
 */
#ifndef STRAIT_POOL_RINGS_H
#define STRAIT_POOL_RINGS_H

#include "strait/pool.h"

/* In its first 64 bytes lies all that a small task needs on its way to the worker and back. */
struct strait_p_slot {
    STRAIT_LINE_ALIGNED uintptr_t turn; /* the parent writes */
    uint32_t skipped;                   /* the parent writes, also while a worker runs the task */
    uint32_t cancel;  /* enum strait_p_cancel, and STRAIT_P_AWAITED; the parent writes, whoever
                         runs the task polls */
    uint32_t index;   /* of the slot; the parent writes, always the same */
    uint8_t state;    /* enum strait_p_state; the parent's own */
    uint8_t priority; /* which of the parent's rings this is in */
    bool planned;     /* its plan says something about this task */
    bool named;       /* its submitter knows its id; the parent's own */
    struct strait_task task;
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_p_slot) == STRAIT_LINE, "slots share no line");
STRAIT_STATIC_ASSERT(offsetof(struct strait_p_slot, task.data) + 16 <= 64, "small tasks");

enum strait_p_state {
    STRAIT_P_FREE,
    STRAIT_P_QUEUED,   /* submitted; a report will say how it ended */
    STRAIT_P_DUE,      /* withdrawn: its completion is due, and a report to come */
    STRAIT_P_DUE_BACK, /* likewise, and the report has come */
    STRAIT_P_GONE,     /* completed, and a report to come */
};

/* Why a task is not wanted any more. */
enum strait_p_cancel {
    STRAIT_P_WANTED,
    STRAIT_P_CANCELLED,
    STRAIT_P_ABANDONED,
};
#define STRAIT_P_AWAITED 0x100u /* the parent sleeps until this task has ended */

/* What few tasks have. The parent writes the first five before it publishes the slot. */
struct strait_p_plan {
    int64_t start_by;  /* STRAIT_FOREVER: none */
    int64_t finish_by; /* likewise */
    struct strait_group *group;
    struct strait_p_slot *next; /* the parent's own: whose completion is due after this one's */
    uint64_t serial;            /* the parent's own: what its id begins with in a two-ended ring */
    uintptr_t floor;            /* the runner's tail when it started; it writes, before `runner` */
    uint32_t runner;       /* 1 + the number of the worker that runs it; it writes, 0 at the end */
    uint64_t submitted_at; /* ns; the parent writes, behind the push; 0: not yet. This and what
                              follows: if the pool is timed */
    uint64_t waited_ns;    /* the worker writes, before its report */
    uint64_t ran_ns;       /* likewise */
};

struct strait_p_submission_ring {
    /* line 0: set once */
    STRAIT_LINE_ALIGNED uintptr_t mask;
    struct strait_p_slot *slots;
    void *block;    /* that they lie in */
    bool two_ended; /* a worker's: the newest is taken back */
    uint8_t priority;
    /* line 1: the parent writes */
    STRAIT_LINE_ALIGNED uintptr_t tail;
    uintptr_t head_seen; /* a past head */
    size_t waiting;      /* tasks, as of that head */
    size_t dead;         /* positions from there on that have nothing to run */
    size_t waiting_max;  /* others read it */
    size_t in_use;       /* slots */
    /* line 2: whoever claims writes */
    STRAIT_LINE_ALIGNED uintptr_t head;
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_p_submission_ring, mask) == 0, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_p_submission_ring, tail) == STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_p_submission_ring, head) == 2 * STRAIT_LINE, "line 2");

/* ---- places ---- */

static inline struct strait_p_slot *strait_p_slot_at(const struct strait_p_submission_ring *ring,
                                                     uintptr_t position)
{
    return &ring->slots[position & ring->mask];
}

static inline struct strait_p_plan *strait_p_plan_of(const struct strait_p_slot *slot)
{
    const struct strait_p_slot *slots = slot - slot->index;
    return (struct strait_p_plan *)(uintptr_t)slots - 1 - slot->index;
}

static inline struct strait_p_slot *strait_p_slot_of(const struct strait_task *task)
{
    return (struct strait_p_slot *)((uintptr_t)task - offsetof(struct strait_p_slot, task));
}

/* Set in a turn: its parent has taken the task back. Where words have 32 bits, it is a turn's own
 * bit once a worker's tasks have submitted 2^31: a limit there. */
#define STRAIT_P_TAKEN_BACK (~(UINTPTR_MAX >> 1))

/* How far tasks have been claimed, and it may be further. Any thread. */
static inline uintptr_t strait_p_ring_head(const struct strait_p_submission_ring *ring)
{
    return strait_word_load_relaxed(&ring->head);
}

/* ---- the parent's end ---- */

/* Takes note of how far the workers have come. Parent only, before it gives back a slot that they
 * have passed. */
static inline void strait_p_ring_passed(struct strait_p_submission_ring *ring, uintptr_t head)
{
    if ((intptr_t)(head - ring->head_seen) <= 0) {
        return;
    }
    size_t dead = 0;
    for (uintptr_t at = ring->head_seen; ring->dead > 0 && at != head; at++) {
        const struct strait_p_slot *slot = strait_p_slot_at(ring, at);
        dead += slot->turn != at + 1 || slot->state != STRAIT_P_QUEUED;
    }
    ring->waiting -= head - ring->head_seen - dead;
    ring->dead -= dead;
    ring->head_seen = head;
}

/* Publishes the slot at the tail. Parent only. */
static inline void strait_p_ring_push(struct strait_p_submission_ring *ring,
                                      struct strait_p_slot *slot)
{
    strait_store_relaxed(&slot->skipped, (uint32_t)ring->tail);
    /* submission.push: pairs with submission.claim; the task and its plan; without it a worker runs
     * what was in the slot before */
    strait_word_store_release(&slot->turn, ring->tail + 1);
    strait_word_store_relaxed(&ring->tail, ring->tail + 1);
    ring->waiting++;
    ring->in_use++;
}

/* Passes over the slot at the tail, which is in use. Parent only. */
static inline void strait_p_ring_skip(struct strait_p_submission_ring *ring,
                                      struct strait_p_slot *slot)
{
    strait_store_relaxed(&slot->skipped, (uint32_t)(ring->tail + 1));
    strait_word_store_relaxed(&ring->tail, ring->tail + 1);
    ring->dead++;
}

/* Withdraws a task, for a reason that is not 0. True: nobody has claimed it, and whoever does will
 * see the reason. Parent only. */
static inline bool strait_p_ring_withdraw(struct strait_p_submission_ring *ring,
                                          struct strait_p_slot *slot, uint32_t reason)
{
    strait_store_relaxed(&slot->cancel, reason);
    /* submission.withdraw: pairs with submission.claimed; that the task is cancelled, or else the
     * claim; without it a task runs that was said never to start */
    strait_full_fence();
    if (slot->turn & STRAIT_P_TAKEN_BACK ||
        (intptr_t)(strait_p_ring_head(ring) - slot->turn) >= 0) {
        return false;
    }
    slot->state = STRAIT_P_DUE;
    ring->waiting--;
    ring->dead++;
    return true;
}

/* Takes the newest task back, at `floor` or above; NULL: others have claimed all of them. Positions
 * above it that have no task go with it. Parent of a two-ended ring only. */
static inline struct strait_p_slot *strait_p_ring_take(struct strait_p_submission_ring *ring,
                                                       uintptr_t floor)
{
    uintptr_t tail = ring->tail;
    uintptr_t at = tail;
    struct strait_p_slot *slot;
    do {
        if ((intptr_t)(at - floor) <= 0) {
            return NULL; /* what was skipped stays where it is */
        }
        slot = strait_p_slot_at(ring, --at);
    } while (slot->turn != at + 1);
    for (uintptr_t dead = at + 1; dead != tail; dead++) {
        strait_store_relaxed(&strait_p_slot_at(ring, dead)->skipped, (uint32_t)dead);
    }
    strait_word_store_relaxed(&slot->turn, (at + 1) | STRAIT_P_TAKEN_BACK);
    strait_word_store_relaxed(&ring->tail, at);
    /* submission.take: pairs with submission.look, submission.claimed; that the position is the
     * parent's, or else the claim; without it a task runs twice */
    strait_full_fence();
    uintptr_t head = strait_p_ring_head(ring);
    if ((intptr_t)(head - at) < 0) {
        ring->dead -= tail - at - 1;
        ring->waiting -= slot->state == STRAIT_P_QUEUED;
        ring->dead -= slot->state != STRAIT_P_QUEUED;
        return slot;
    }
    /* The last task is for whoever moves the head over it. What lies above was skipped, and stays:
     * somebody may be about to pass over it. */
    bool taken = head == at && strait_word_cas_relaxed(&ring->head, &head, at + 1);
    for (uintptr_t dead = at + 1; dead != tail; dead++) {
        strait_store_relaxed(&strait_p_slot_at(ring, dead)->skipped, (uint32_t)(dead + 1));
    }
    strait_word_store_relaxed(&slot->turn, at + 1);
    strait_word_store_relaxed(&ring->tail, tail);
    strait_p_ring_passed(ring, taken ? at + 1 : head);
    if (!taken) {
        return NULL;
    }
    strait_word_store_relaxed(&slot->turn, (at + 1) | STRAIT_P_TAKEN_BACK);
    return slot;
}

/* ---- the workers' end ---- */

static inline bool strait_p_slot_skipped(const struct strait_p_slot *slot, uintptr_t position)
{
    return strait_load_relaxed(&slot->skipped) == (uint32_t)(position + 1);
}

/* Is there anything to claim? Never false while what was pushed before lies there. Any thread. */
static inline bool strait_p_ring_ready(const struct strait_p_submission_ring *ring)
{
    uintptr_t head = strait_p_ring_head(ring);
    for (;;) {
        const struct strait_p_slot *slot = strait_p_slot_at(ring, head);
        if (strait_word_load_relaxed(&slot->turn) == head + 1 ||
            strait_p_slot_skipped(slot, head)) {
            return true;
        }
        uintptr_t before = head;
        head = strait_p_ring_head(ring);
        if (head == before) {
            return false;
        }
    }
}

/* Are fewer than n tasks waiting? A guess: what it looks at may move. Any thread. */
static inline bool strait_p_ring_short(const struct strait_p_submission_ring *ring, uintptr_t n)
{
    uintptr_t at = strait_p_ring_head(ring) + n - 1;
    const struct strait_p_slot *slot = strait_p_slot_at(ring, at);
    return strait_word_load_relaxed(&slot->turn) != at + 1 && !strait_p_slot_skipped(slot, at);
}

/* Claims the oldest task; NULL: there is none. Behind it stands a full fence: a parent that
 * withdraws the task and then finds that the head has not passed it knows that its claimer will see
 * so. Any thread. */
static inline struct strait_p_slot *strait_p_ring_claim(struct strait_p_submission_ring *ring)
{
    uintptr_t head = strait_p_ring_head(ring);
    for (;;) {
        if (ring->two_ended) {
            /* submission.look: pairs with submission.take; how far the head is, before whether the
             * task there was taken back; without it a task runs twice */
            strait_full_fence();
        }
        struct strait_p_slot *slot = strait_p_slot_at(ring, head);
        /* submission.claim: pairs with submission.push; the task and its plan; without it the
         * worker runs what was in the slot before */
        bool published = strait_word_load_acquire(&slot->turn) == head + 1;
        if (!published && !strait_p_slot_skipped(slot, head)) {
            uintptr_t before = head;
            head = strait_p_ring_head(ring);
            if (head == before) {
                return NULL;
            }
            continue;
        }
        if (!strait_word_cas_relaxed(&ring->head, &head, head + 1)) {
            continue;
        }
        if (published) {
            /* submission.claimed: pairs with submission.withdraw, submission.take, parent.starved;
             * that the task is claimed, or else that it is withdrawn, or that room is wanted;
             * without it a task runs that its parent was told would not */
            strait_fence_after_cas();
            return slot;
        }
        head++;
    }
}

/* Does the oldest task look as if it descended from `child`: does it lie at the floor that the
 * child's runner had when it started, or above? Any thread. */
static inline bool strait_p_ring_leapable(const struct strait_p_submission_ring *ring,
                                          const struct strait_p_plan *child)
{
    uintptr_t head = strait_p_ring_head(ring);
    return (intptr_t)(head - strait_word_load_relaxed(&child->floor)) >= 0 &&
           strait_word_load_relaxed(&strait_p_slot_at(ring, head)->turn) == head + 1;
}

/* Claims it, if it does, and `runner` runs the child still. Any thread. */
static inline struct strait_p_slot *strait_p_ring_leap(struct strait_p_submission_ring *ring,
                                                       const struct strait_p_plan *child,
                                                       uint32_t runner)
{
    uintptr_t head = strait_p_ring_head(ring);
    /* submission.look: the same */
    strait_full_fence();
    struct strait_p_slot *slot = strait_p_slot_at(ring, head);
    /* submission.claim: the same */
    bool published = strait_word_load_acquire(&slot->turn) == head + 1;
    bool above = (intptr_t)(head - strait_word_load_relaxed(&child->floor)) >= 0;
    /* What lies at the head stays there until the head moves: so it was pushed while the child ran,
     * if the child runs now and the head has not moved after this. */
    if (!published || !above || strait_load_relaxed(&child->runner) != runner ||
        !strait_word_cas_relaxed(&ring->head, &head, head + 1)) {
        return NULL;
    }
    /* submission.claimed: the same */
    strait_fence_after_cas();
    return slot;
}

/* ---- completion rings ---- */

enum strait_p_verdict {
    STRAIT_P_RAN,         /* and returned 0 */
    STRAIT_P_RAN_TO_CODE, /* and returned task.code */
    STRAIT_P_RAN_LATE,    /* likewise, after its finish_by; up to here it has run */
    STRAIT_P_NOT_WANTED,  /* slot.cancel says why */
    STRAIT_P_TOO_LATE,    /* past start_by or finish_by */
    STRAIT_P_POOL_CLOSED, /* by cancelling */
};

/* Is the task's time over, to start it or to go on with it? */
static inline bool strait_p_late(const struct strait_p_slot *slot, bool started)
{
    if (!slot->planned) {
        return false;
    }
    const struct strait_p_plan *plan = strait_p_plan_of(slot);
    int64_t by = started || plan->finish_by < plan->start_by ? plan->finish_by : plan->start_by;
    return by != STRAIT_FOREVER && strait_now() >= by;
}

/* It has run, and `run` has returned the code. */
static inline enum strait_p_verdict strait_p_ran(struct strait_p_slot *slot, int code)
{
    if (STRAIT_LIKELY(!code)) {
        return STRAIT_P_RAN;
    }
    slot->task.code = code;
    return strait_p_late(slot, true) ? STRAIT_P_RAN_LATE : STRAIT_P_RAN_TO_CODE;
}

/* A word: bit 0 the lap's; 1 to 3 the verdict; 4 the priority; from 5 on the slot's index. */
#define STRAIT_P_WORD_VERDICT 1
#define STRAIT_P_WORD_PRIORITY 4
#define STRAIT_P_WORD_INDEX 5

STRAIT_STATIC_ASSERT(STRAIT_QUEUE_LIMIT_MAX * 2 <= (UINT32_MAX >> STRAIT_P_WORD_INDEX),
                     "a word has room for the index of any slot");

/* One end of a ring. All that the ends share are the words: the worker writes them. */
struct strait_p_completion_ring {
    uint32_t *words;
    uintptr_t mask;
    uintptr_t position; /* of the next word; this end's own */
};

/* What bit 0 of a word is in this lap. Memory that was never written is of no lap yet. */
static inline uint32_t strait_p_lap(const struct strait_p_completion_ring *end, uintptr_t position)
{
    return position & (end->mask + 1) ? 0 : 1;
}

/* Says that the slot is the parent's again. The worker only. */
static inline void strait_p_report(struct strait_p_completion_ring *end,
                                   const struct strait_p_slot *slot, enum strait_p_verdict verdict)
{
    uint32_t word = strait_p_lap(end, end->position) | (uint32_t)verdict << STRAIT_P_WORD_VERDICT |
                    (uint32_t)slot->priority << STRAIT_P_WORD_PRIORITY |
                    slot->index << STRAIT_P_WORD_INDEX;
    /* completion.report: pairs with completion.receive; all that the worker did to the slot, and to
     * the group; without it a completion sees half a result */
    strait_store_release(&end->words[end->position & end->mask], word);
    end->position++;
}

/* The word that is `ahead` of the next one; false: not there yet. The parent only. */
static inline bool strait_p_report_at(const struct strait_p_completion_ring *end, uintptr_t ahead,
                                      uint32_t *word)
{
    uintptr_t position = end->position + ahead;
    /* completion.receive: pairs with completion.report; all that the worker did to the slot, and to
     * the group; without it a completion sees half a result */
    *word = strait_load_acquire(&end->words[position & end->mask]);
    return (*word & 1) == strait_p_lap(end, position);
}

#endif /* STRAIT_POOL_RINGS_H */
