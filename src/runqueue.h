/* SPDX-License-Identifier: MIT */
/*
 * runqueue: a pool's queue of task numbers: the parent pushes, every worker pops.
 *
 * Algorithm: the steal side of Chase and Lev's deque ("Dynamic Circular Work-Stealing Deque", 2005)
 * over a fixed array, with every popper a thief: it reads the entry first and then claims it by
 * moving the head, so that nothing is left to do after the claim, and a popper that is stopped at
 * any point holds up nobody.
 *
 *   line 0  tail, copy of head    the parent writes, workers read `tail`
 *   line 1  head                  workers compare-and-swap
 *
 * Invariant: tail - head <= slots; an entry is overwritten only once head has passed it, and then
 * the claim of whoever has read the old value fails. Both are words: on 64-bit machines they never
 * come round.
 *
 * Progress: push is wait-free, pop lock-free.
 */
#ifndef STRAIT_RUNQUEUE_H
#define STRAIT_RUNQUEUE_H

#include "strait/variant.h"

struct strait_runqueue {
    /* line 0: the parent writes */
    STRAIT_LINE_ALIGNED uintptr_t tail;
    uintptr_t head_seen;
    uint32_t mask;
    uint32_t *entries;
    /* line 1: workers write */
    STRAIT_LINE_ALIGNED uintptr_t head;
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_runqueue, tail) == 0 * STRAIT_LINE, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_runqueue, head) == 1 * STRAIT_LINE, "line 1");

/* `entries` has `slots` places, a power of two. */
static inline void strait_runqueue_init(struct strait_runqueue *queue, uint32_t *entries,
                                        uint32_t slots)
{
    queue->tail = STRAIT_FIRST_INDEX;
    queue->head_seen = STRAIT_FIRST_INDEX;
    queue->head = STRAIT_FIRST_INDEX;
    queue->mask = slots - 1;
    queue->entries = entries;
}

/* Entries in the queue: exact if that is below `enough`, else an upper bound. Parent only. */
static inline size_t strait_runqueue_count(struct strait_runqueue *queue, size_t enough)
{
    if (queue->tail - queue->head_seen >= enough) {
        /* runqueue.room: pairs with runqueue.take; the poppers are done with what is below head */
        queue->head_seen = strait_word_load_acquire(&queue->head);
    }
    return queue->tail - queue->head_seen;
}

/* The caller has seen that there is room. Parent only. */
static inline void strait_runqueue_push(struct strait_runqueue *queue, uint32_t entry)
{
    /* the parent alone writes it */
    strait_store_relaxed(&queue->entries[queue->tail & queue->mask], entry);
    /* runqueue.push: pairs with runqueue.pop; the entry, and the task it names */
    strait_word_store_release(&queue->tail, queue->tail + 1);
}

/* Is there anything? A hint, but never false while what was pushed before lies there. */
static inline bool strait_runqueue_empty(const struct strait_runqueue *queue)
{
    /* workers write it; head is read first: tail is at least as new */
    uintptr_t head = strait_word_load_relaxed(&queue->head);
    /* the parent writes it */
    return (intptr_t)(strait_word_load_relaxed(&queue->tail) - head) <= 0;
}

/* False: empty. Any worker. */
static inline bool strait_runqueue_pop(struct strait_runqueue *queue, uint32_t *entry)
{
    /* workers write it; a stale one makes the claim fail */
    uintptr_t head = strait_word_load_relaxed(&queue->head);
    do {
        /* runqueue.pop: pairs with runqueue.push; the entries below tail, and their tasks */
        uintptr_t tail = strait_word_load_acquire(&queue->tail);
        if ((intptr_t)(tail - head) <= 0) {
            return false;
        }
        /* the parent writes it */
        *entry = strait_load_relaxed(&queue->entries[head & queue->mask]);
        /* runqueue.take: pairs with runqueue.room; this popper is done with the entry */
    } while (!strait_word_cas_acq_rel(&queue->head, &head, head + 1));
    return true;
}

#endif /* STRAIT_RUNQUEUE_H */
