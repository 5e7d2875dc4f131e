/* SPDX-License-Identifier: MIT */
/*
 * taskring: a queue of tasks from one parent to many workers, which holds the tasks themselves.
 *
 * A task lies in its slot from its submission to its completion. Positions count up for ever;
 * position p is slot p mod slots, and a worker claims it by moving the head over it. Tasks end in
 * any order, so the parent may come round to a slot that is still in use: it marks that position as
 * skipped and goes on.
 *
 * Algorithm: the claim is the steal side of Chase and Lev's deque ("Dynamic Circular Work-Stealing
 * Deque", 2005), with every claimer a thief; that a slot says by itself whether its position is
 * published is Vyukov's bounded queue's (1024cores.net, 2010). So a worker that polls the slot at
 * the head has the task with the same line that tells it of the task.
 *
 *   line 0  geometry        set once
 *   line 1  tail            the parent writes
 *   line 2  head            workers compare-and-swap, past positions without a task the parent too
 *   slots   one line each   the parent writes; while it runs the task, the worker
 *
 * Invariants
 *   tail - head <= slots
 *   slot.turn    == p + 1  <=>  position p is published, and its task has not left the slot
 *   slot.skipped == p + 1  <=>  position p has no task; 32 bits of it are enough, since whatever
 *                               comes next to the slot overwrites it
 *   a slot is written for another position only once its task has completed and its claimer has
 *   said that it is done with it
 *
 * Progress: push is wait-free (it passes over each slot in use once a lap), claim lock-free; a
 * worker that is stopped anywhere holds up nobody.
 */
#ifndef STRAIT_TASKRING_H
#define STRAIT_TASKRING_H

#include "strait/pool.h"
#include "strait/rings/variant.h"
#include "../extra/timers.h"

/* In its first 64 bytes lies all that a small task needs on its way to the worker and back. */
struct strait_slot {
    uintptr_t turn;        /* the parent writes */
    uint64_t submitted_at; /* in ticks; the parent writes, the first of a batch's just behind it; 0:
                              untimed, or the worker was sooner */
    uint32_t skipped;      /* the parent writes, also while a worker runs the task */
    uint32_t cancel;       /* enum strait_cancel; the parent writes, the task polls */
    int32_t code;          /* the worker writes: what run returned, if not 0 */
    uint16_t lane;         /* which of the parent's rings this is */
    bool planned;          /* there is a plan */
    uint8_t state;         /* the parent's own */
    struct strait_task task;
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_slot) == STRAIT_LINE, "slots share no line");
STRAIT_STATIC_ASSERT(offsetof(struct strait_slot, task.data) + 16 == 64, "small tasks");

/* Slots ahead that are asked for: by the parent to write, by a worker to read. */
#define STRAIT_TASKRING_AHEAD 8

/* What few tasks have. The parent writes it before it publishes the slot; workers read start_by. */
struct strait_plan {
    int64_t start_by;  /* STRAIT_FOREVER: none */
    int64_t finish_by; /* likewise */
    struct strait_group *group;
    struct strait_slot *slot;
    struct strait_slot *next; /* whose completion is due; there for every slot */
    struct strait_timer timer;
};

struct strait_taskring {
    /* line 0: set once; a worker reads it at each look */
    STRAIT_LINE_ALIGNED uintptr_t mask;
    struct strait_slot *slots;
    struct strait_plan *plans;
    void *block; /* all of this lies in; to be freed */
    /* line 1: the parent writes; `tail` is read as a hint */
    STRAIT_LINE_ALIGNED uintptr_t tail;
    uintptr_t head_seen; /* a past head */
    /* line 2: workers write */
    STRAIT_LINE_ALIGNED uintptr_t head;
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_taskring, mask) == 0 * STRAIT_LINE, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_taskring, tail) == 1 * STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_taskring, head) == 2 * STRAIT_LINE, "line 2");

static inline struct strait_slot *strait_taskring_at(const struct strait_taskring *ring,
                                                     uintptr_t position)
{
    return &ring->slots[position & ring->mask];
}

static inline struct strait_plan *strait_taskring_plan(const struct strait_taskring *ring,
                                                       const struct strait_slot *slot)
{
    return &ring->plans[slot - ring->slots];
}

/* How far the workers have come, and it may be further. Any thread. */
static inline uintptr_t strait_taskring_head(const struct strait_taskring *ring)
{
    /* workers write it; slots are given back by other means */
    return strait_word_load_relaxed(&ring->head);
}

/* Publishes the slot at the tail. Parent only. */
static inline void strait_taskring_push(struct strait_taskring *ring, struct strait_slot *slot)
{
    /* the parent alone writes it */
    strait_store_relaxed(&slot->skipped, (uint32_t)ring->tail);
    /* taskring.push: pairs with taskring.claim; the task, and its plan */
    strait_word_store_release(&slot->turn, ring->tail + 1);
    /* the parent alone writes it */
    strait_word_store_relaxed(&ring->tail, ring->tail + 1);
}

/* Asks for the slots that are written next, for a parent in full flow: for one that waits after
 * each task it would only be in the way. Parent only. */
static inline void strait_taskring_ask(const struct strait_taskring *ring)
{
    strait_prefetch_write(strait_taskring_at(ring, ring->tail + STRAIT_TASKRING_AHEAD));
}

/* The same for those that are claimed next. A worker that has just caught up must not: the parent
 * is about to write them. Any thread. */
static inline void strait_taskring_expect(const struct strait_taskring *ring,
                                          const struct strait_slot *slot)
{
    strait_prefetch_read(strait_taskring_at(ring, slot->turn - 1 + STRAIT_TASKRING_AHEAD));
}

/* Passes over the slot at the tail, which is in use. Parent only. */
static inline void strait_taskring_skip(struct strait_taskring *ring, struct strait_slot *slot)
{
    /* the parent alone writes it */
    strait_store_relaxed(&slot->skipped, (uint32_t)(ring->tail + 1));
    /* the parent alone writes it */
    strait_word_store_relaxed(&ring->tail, ring->tail + 1);
}

/* Moves the head over positions without a task, as a claimer would: for a parent that has come
 * round to them while no worker does. Parent only. */
static inline void strait_taskring_pass(struct strait_taskring *ring)
{
    /* workers write it */
    uintptr_t head = strait_word_load_relaxed(&ring->head);
    while (strait_taskring_at(ring, head)->skipped == (uint32_t)(head + 1)) {
        /* workers write it, and only so; a position without a task is nobody's */
        if (strait_word_cas_relaxed(&ring->head, &head, head + 1)) {
            head++;
        }
    }
}

/* Is there anything to claim? Never false while what was pushed before lies there. Any thread. */
static inline bool strait_taskring_ready(const struct strait_taskring *ring)
{
    /* workers write it */
    uintptr_t head = strait_word_load_relaxed(&ring->head);
    for (;;) {
        const struct strait_slot *slot = strait_taskring_at(ring, head);
        /* the parent alone writes both */
        if (strait_word_load_relaxed(&slot->turn) == head + 1 ||
            strait_load_relaxed(&slot->skipped) == (uint32_t)(head + 1)) {
            return true;
        }
        uintptr_t before = head;
        /* workers write it */
        head = strait_word_load_relaxed(&ring->head);
        if (head == before) {
            return false;
        }
    }
}

/* Claims the first task; NULL: there is none. Behind it stands a full fence: who cancels the task
 * and then finds that the head has not passed it knows that its claimer will see so. Any thread. */
static inline struct strait_slot *strait_taskring_claim(struct strait_taskring *ring)
{
    /* workers write it; a stale one makes the claim fail */
    uintptr_t head = strait_word_load_relaxed(&ring->head);
    for (;;) {
        struct strait_slot *slot = strait_taskring_at(ring, head);
        /* taskring.claim: pairs with taskring.push; the task, and its plan */
        bool published = strait_word_load_acquire(&slot->turn) == head + 1;
        /* the parent alone writes it */
        if (!published && strait_load_relaxed(&slot->skipped) != (uint32_t)(head + 1)) {
            uintptr_t before = head;
            /* workers write it */
            head = strait_word_load_relaxed(&ring->head);
            if (head == before) {
                return NULL;
            }
            continue;
        }
        /* workers write it, and only so; who was first is all that counts */
        if (!strait_word_cas_relaxed(&ring->head, &head, head + 1)) {
            continue;
        }
        if (published) {
            /* taskring.claimed: pairs with taskring.cancel, parent.starved; that the task is
             * claimed, or else that it is cancelled, that room is wanted */
            strait_fence_after_cas();
            return slot;
        }
        head++;
    }
}

/* Takes a task back, for a reason that is not 0. True: nobody has claimed it, and whoever will sees
 * the reason. Parent only. */
static inline bool strait_taskring_withdraw(const struct strait_taskring *ring,
                                            struct strait_slot *slot, uint32_t reason)
{
    /* the parent alone writes it */
    strait_store_relaxed(&slot->cancel, reason);
    /* taskring.cancel: pairs with taskring.claimed; that it is cancelled, or else the claim */
    strait_full_fence();
    /* workers write it */
    return (intptr_t)(strait_word_load_relaxed(&ring->head) - slot->turn) < 0;
}

/* Why the task is not wanted any more; 0: it is. Whoever has claimed it, or runs it. */
static inline uint32_t strait_taskring_unwanted(const struct strait_slot *slot)
{
    /* the parent alone writes it; see taskring.cancel */
    return strait_load_relaxed(&slot->cancel);
}

#endif /* STRAIT_TASKRING_H */
