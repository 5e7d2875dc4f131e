/* SPDX-License-Identifier: MIT */
/*
 * rings: the submission ring, on which a parent's tasks go to the workers, and the completion
 * stack, on which they come back.
 *
 * A task lies in a slot from its submission to its completion. Rings and stack hand slots on by
 * their index; tasks end in any order, and the parent takes any free slot for the next.
 *
 * Submission ring. Positions count up; position p is word p mod words. A word has the index of a
 * slot, and the number of the lap in which it was written, and so says whether the position is
 * published. Any worker claims the oldest task by moving the head over it. A task's own children
 * are queued in the same way, but their parent, a worker, also takes the newest back, by moving the
 * tail down. There is a word for every slot, so the ring is never full.
 *
 * Algorithm: claim and take are steal and pop of Chase and Lev's deque ("Dynamic Circular
 * Work-Stealing Deque", 2005). That a place says by itself whether it is taken is Giacomoni,
 * Moseley and Vachharajani's FastForward (PPoPP 2008).
 *
 * Invariants
 *   head <= tail <= head + words
 *   word p is of p's lap  <=>  position p is published, or head > p
 *   a slot is written for another task only once its task has completed and whoever claimed it has
 *   reported
 *
 * Completion stack. One word names the slot that was reported last, and counts reports; each slot's
 * link names the one before. Workers push slots (Treiber, "Systems Programming: Coping with
 * Parallelism", 1986). Nothing is popped: the parent knows how many it has seen, and follows the
 * links for the rest, so that workers alone write the word, and nothing is taken from under one.
 * The links lie side by side: one line tells of 32 of them.
 *
 * Progress: to submit and to read the reports is wait-free; claim, take and report are lock-free; a
 * worker that is stopped anywhere holds up nobody.
 */
#ifndef STRAIT_POOL_RINGS_H
#define STRAIT_POOL_RINGS_H

#include "strait/pool.h"

/* In its first 64 bytes lies all that a small task needs on its way to the worker and back. */
struct strait_p_slot {
    STRAIT_LINE_ALIGNED uint64_t serial; /* of the task among the parent's; it writes */
    uint32_t position; /* in its ring, as far as 32 bits tell; of a free slot how many slots lie
                          between it and the next free one, likewise; the parent writes */
    uint32_t cancel;   /* 0, or its verdict as it is not wanted any more; the parent writes,
                          whoever runs the task polls */
    uint32_t index;    /* of the slot; the parent writes, always the same */
    uint8_t state;     /* STRAIT_P_OWED and the like; the parent's own */
    uint8_t priority;  /* which of the parent's rings this is in; it writes */
    bool planned;      /* its plan says something about this task; the parent writes */
    uint8_t verdict;   /* the status to be, and STARTED; the worker writes, before its report */
    struct strait_task task;
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_p_slot) == STRAIT_LINE, "slots share no line");
STRAIT_STATIC_ASSERT(offsetof(struct strait_p_slot, task.data) + 16 <= 64, "small tasks");

/* The state of a slot is what is still to come. The slot is free once none of the first three is.
 */
#define STRAIT_P_OWED 1u   /* its completion */
#define STRAIT_P_ENDING 2u /* the end of its completion, which has begun: it has no id any more */
#define STRAIT_P_OUT 4u    /* a report, from whoever claims it */
#define STRAIT_P_WITHDRAWN 8u /* and this says nothing: the parent completes the task itself */

#define STRAIT_P_IN_USE (STRAIT_P_OWED | STRAIT_P_ENDING | STRAIT_P_OUT)

#define STRAIT_P_STARTED 8u /* in a verdict: it has run, and task.code says what that returned */
#define STRAIT_P_DONE (STRAIT_P_STARTED | STRAIT_TASK_DONE)

/* What few tasks have, in an array that ends where that of the slots begins: the first is the last.
 * The parent writes it before it publishes the slot; after that others write what is said so. */
struct strait_p_plan {
    int64_t start_by;  /* STRAIT_FOREVER: none */
    int64_t finish_by; /* likewise */
    struct strait_group *group;
    struct strait_p_slot *next; /* whose completion is due after this one's, of a task that never
                                   ran; its parent writes. Or see pool_worker.innermost */
    uint64_t submitted_at;      /* ns; if the pool is timed, as the last two */
    uintptr_t floor;            /* the runner's tail when it started; it writes, before `runner` */
    uint32_t runner;    /* 1 + the number of the other worker that runs it; it writes, 0 at the
                           end */
    uint64_t waited_ns; /* the worker writes, before its report */
    uint64_t ran_ns;    /* likewise */
};

struct strait_p_submission_ring {
    /* line 0: set once */
    STRAIT_LINE_ALIGNED uint32_t *words; /* the parent writes */
    struct strait_p_slot *slots;         /* the parent's */
    uintptr_t mask;
    unsigned lap_shift; /* of a position, to get the number of its lap */
    bool two_ended;     /* a worker's: the newest is taken back */
    /* line 1: the parent writes */
    STRAIT_LINE_ALIGNED uintptr_t tail;
    size_t dead;  /* slots whose report does not matter; its own */
    size_t ahead; /* of them, those that the head had not passed when it looked; its own */
    /* line 2: whoever claims writes */
    STRAIT_LINE_ALIGNED uintptr_t head;
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_p_submission_ring, words) == 0, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_p_submission_ring, tail) == STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_p_submission_ring, head) == 2 * STRAIT_LINE, "line 2");

static inline struct strait_p_plan *strait_p_plan_of(const struct strait_p_slot *slot)
{
    const struct strait_p_slot *slots = slot - slot->index;
    return (struct strait_p_plan *)(uintptr_t)slots - 1 - slot->index;
}

static inline struct strait_p_slot *strait_p_slot_of(const struct strait_task *task)
{
    return (struct strait_p_slot *)((uintptr_t)task - offsetof(struct strait_p_slot, task));
}

/* ---- submission rings ---- */

#define STRAIT_P_NONE UINT32_MAX /* no slot's index */

/* A word: the slot's index, and above it the end of the lap's number and a bit that is always set:
 * 0 is no word of any lap. */
#define STRAIT_P_WORD_INDEX_BITS 24
#define STRAIT_P_WORD_INDEX ((1u << STRAIT_P_WORD_INDEX_BITS) - 1)
#define STRAIT_P_WORD_ALWAYS 0x80u /* beside the lap */

STRAIT_STATIC_ASSERT(STRAIT_QUEUE_LIMIT_MAX * 4 <= STRAIT_P_WORD_INDEX + 1,
                     "a word has room for the index of any slot");

/* The slot at a position that was pushed. Parent only. */
static inline struct strait_p_slot *
strait_p_ring_pushed(const struct strait_p_submission_ring *ring, uintptr_t position)
{
    return &ring->slots[ring->words[position & ring->mask] & STRAIT_P_WORD_INDEX];
}

/* Publishes a slot at the tail. Parent only. */
static inline void strait_p_ring_push(struct strait_p_submission_ring *ring,
                                      struct strait_p_slot *slot)
{
    uintptr_t tail = ring->tail;
    uint32_t lap = (uint32_t)(tail >> ring->lap_shift) | STRAIT_P_WORD_ALWAYS;
    uint32_t word = slot->index | lap << STRAIT_P_WORD_INDEX_BITS;
    slot->position = (uint32_t)tail;
    /* submission.push: pairs with submission.claim; the task and its plan; without it a worker runs
     * what was in the slot before */
    strait_store_release(&ring->words[tail & ring->mask], word);
    strait_word_store_relaxed(&ring->tail, tail + 1);
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
    /* Is it in the ring? A slot that ran for 2^32 positions is not, though its number comes again.
     */
    uintptr_t head = strait_word_load_relaxed(&ring->head);
    uint32_t ahead = slot->position - (uint32_t)head;
    if (ahead >= ring->tail - head || strait_p_ring_pushed(ring, head + ahead) != slot) {
        return false;
    }
    slot->state |= STRAIT_P_WITHDRAWN;
    ring->dead++;
    ring->ahead++;
    return true;
}

/* Takes the newest task back, at `floor` or above. NULL: others have claimed all of them. Parent of
 * a two-ended ring only. */
static inline struct strait_p_slot *strait_p_ring_take(struct strait_p_submission_ring *ring,
                                                       uintptr_t floor)
{
    uintptr_t at = ring->tail - 1;
    if ((intptr_t)(at - floor) < 0) {
        return NULL;
    }
    uint32_t *word = &ring->words[at & ring->mask];
    uint32_t published = *word;
    struct strait_p_slot *slot = strait_p_ring_pushed(ring, at);
    strait_store_relaxed(word, 0);
    strait_word_store_relaxed(&ring->tail, at);
    /* submission.take: pairs with submission.look, submission.claimed; that the position is the
     * parent's, or else the claim; without it a task runs twice */
    strait_full_fence();
    uintptr_t head = strait_word_load_relaxed(&ring->head);
    if ((intptr_t)(head - at) < 0) {
        return slot;
    }
    /* The last task is for whoever moves the head over it. */
    bool taken = head == at && strait_word_cas_relaxed(&ring->head, &head, at + 1);
    strait_store_relaxed(word, published); /* for whoever looks where its children are */
    strait_word_store_relaxed(&ring->tail, at + 1);
    return taken ? slot : NULL;
}

/* The oldest task: claims it, or only looks whether it is there. Never NULL while what was pushed
 * before lies there.
 *
 * `child`, of a worker's ring: a task that this worker runs, or NULL if what is there does not
 * descend from it. What lies at the head stays there until the head moves: it was pushed while the
 * child ran, if it is not below the floor that the runner had at the child's start, the child runs
 * now, and the head has not moved after this.
 *
 * Behind a claim stands a full fence: a parent that withdraws the task and then finds that the head
 * has not passed it knows that its claimer will see so. Any thread. */
static inline struct strait_p_slot *strait_p_ring_oldest(struct strait_p_submission_ring *ring,
                                                         bool claim,
                                                         const struct strait_p_plan *child,
                                                         uint32_t runner)
{
    uintptr_t head = strait_word_load_relaxed(&ring->head);
    for (;;) {
        if (claim && ring->two_ended) {
            /* submission.look: pairs with submission.take; how far the head is, before whether the
             * task there was taken back; without it a task runs twice */
            strait_full_fence();
        }
        uintptr_t before = head;
        uint32_t lap = (uint32_t)(head >> ring->lap_shift) | STRAIT_P_WORD_ALWAYS;
        /* submission.claim: pairs with submission.push; the task and its plan; without it the
         * worker runs what was in the slot before */
        uint32_t word = strait_load_acquire(&ring->words[head & ring->mask]);
        uint32_t index = word ^ lap << STRAIT_P_WORD_INDEX_BITS;
        if (child && ((intptr_t)(head - strait_word_load_relaxed(&child->floor)) < 0 ||
                      strait_load_relaxed(&child->runner) != runner)) {
            return NULL;
        }
        if (index > STRAIT_P_WORD_INDEX) { /* it is of another lap */
            head = strait_word_load_relaxed(&ring->head);
            if (head == before) {
                return NULL;
            }
        } else if (!claim) {
            return &ring->slots[index];
        } else if (strait_word_cas_relaxed(&ring->head, &head, head + 1)) {
            /* submission.claimed: pairs with submission.withdraw, submission.take, parent.starved;
             * that the task is claimed, or else that it is withdrawn, or that room is wanted;
             * without it a task runs that its parent was told would not */
            strait_fence_after_cas();
            return &ring->slots[index];
        }
    }
}

static inline bool strait_p_ring_ready(struct strait_p_submission_ring *ring)
{
    return strait_p_ring_oldest(ring, false, NULL, 0) != NULL;
}

/* ---- completion stacks ---- */

/* Is the time of a task with a plan over, to start it or to go on with it? */
static inline bool strait_p_late(const struct strait_p_slot *slot, bool started)
{
    const struct strait_p_plan *plan = strait_p_plan_of(slot);
    int64_t by = started || plan->finish_by < plan->start_by ? plan->finish_by : plan->start_by;
    return by != STRAIT_FOREVER && strait_now() >= by;
}

/* `run` has returned a code that is not 0: the verdict. */
static inline uint8_t strait_p_failed(struct strait_p_slot *slot, int code)
{
    slot->task.code = code;
    return STRAIT_P_STARTED | (slot->planned && strait_p_late(slot, true) ? STRAIT_TASK_EXPIRED
                               : code == -ECANCELED                       ? STRAIT_TASK_CANCELLED
                                                                          : STRAIT_TASK_FAILED);
}

/* The stack's word: the index of the slot reported last, and above it the number of reports. */
#define STRAIT_P_INDEX_BITS ((unsigned)(4 * sizeof(uintptr_t)))
#define STRAIT_P_REPORT ((uintptr_t)1 << STRAIT_P_INDEX_BITS) /* one report, in the word */
#define STRAIT_P_INDEX_MASK (STRAIT_P_REPORT - 1)

STRAIT_STATIC_ASSERT(STRAIT_QUEUE_LIMIT_MAX * 4 <= STRAIT_P_INDEX_MASK,
                     "half a word has room for the index of any slot, and for the number of all");

/* Says that the slot is the parent's again. Returns the stack's word, and passes a full fence: the
 * parent, which announces itself and then looks, sees the report, or the worker sees the
 * announcement. A worker only. */
static inline uintptr_t strait_p_report(uintptr_t *stack, uint32_t *links,
                                        const struct strait_p_slot *slot)
{
    uintptr_t before = strait_word_load_relaxed(stack);
    uintptr_t top;
    do {
        top = ((before & ~STRAIT_P_INDEX_MASK) + STRAIT_P_REPORT) | slot->index;
        strait_store_relaxed(&links[slot->index], (uint32_t)(before & STRAIT_P_INDEX_MASK));
        /* completion.report: pairs with completion.receive, completion.look; all that the worker
         * did to the slot, and its link; without it a completion sees half a result */
    } while (!strait_word_cas_acq_rel(stack, &before, top));
    /* completion.reported: pairs with event.prepare; the report, or else that the parent waits, and
     * for what; without it the parent sleeps on */
    strait_fence_after_cas();
    return top;
}

#endif /* STRAIT_POOL_RINGS_H */
