/* SPDX-License-Identifier: MIT */
/*
 * reports: what the workers tell a parent: which of its slots are the parent's again, and why.
 *
 * Each worker has a ring of its own towards each parent, of words. A word is the slot's address,
 * with the verdict in the bits that its alignment leaves free, and a bit that changes from lap to
 * lap and so says by itself whether the word is new: one line tells the parent that there is a
 * report, and which. The ring has a word for every slot, so it is never full.
 *
 * Algorithm: a queue whose places say whether they are taken is Giacomoni, Moseley and
 * Vachharajani's FastForward (PPoPP 2008); where they empty a place, here the lap does.
 */
#ifndef STRAIT_REPORTS_H
#define STRAIT_REPORTS_H

#include "taskring.h"

enum strait_verdict {
    STRAIT_RAN,            /* and returned 0 */
    STRAIT_RAN_TO_CODE,    /* and returned slot.code */
    STRAIT_NOT_WANTED,     /* the claimer saw slot.cancel */
    STRAIT_TOO_LATE,       /* past start_by */
    STRAIT_POOL_CANCELLED, /* the pool is closing */
};

/* An end of a ring of words. All that both ends share are the words. */
struct strait_reports {
    uintptr_t *words;
    uintptr_t mask;
    uintptr_t position; /* of the next word */
};

#define STRAIT_REPORT_LAP 1u
#define STRAIT_REPORT_VERDICT 1 /* its lowest bit */
#define STRAIT_REPORT_BITS (STRAIT_LINE - 1)

STRAIT_STATIC_ASSERT(STRAIT_POOL_CANCELLED << STRAIT_REPORT_VERDICT <= STRAIT_REPORT_BITS,
                     "a slot's alignment leaves room");

/* What the lowest bit of a word is in this lap. Memory that was never written is of no lap yet. */
static inline uintptr_t strait_reports_lap(const struct strait_reports *end, uintptr_t position)
{
    return position & (end->mask + 1) ? 0 : STRAIT_REPORT_LAP;
}

/* Says that the slot is the parent's again. The worker only. */
static inline void strait_reports_send(struct strait_reports *end, const struct strait_slot *slot,
                                       enum strait_verdict verdict)
{
    uintptr_t word = (uintptr_t)slot | (uintptr_t)verdict << STRAIT_REPORT_VERDICT |
                     strait_reports_lap(end, end->position);
    /* reports.send: pairs with reports.receive; all that the worker did to the slot */
    strait_word_store_release(&end->words[end->position & end->mask], word);
    end->position++;
}

/* The word at a position, 0: not there yet. The parent only. */
static inline uintptr_t strait_reports_at(const struct strait_reports *end, uintptr_t position)
{
    /* reports.receive: pairs with reports.send; all that the worker did to the slot */
    uintptr_t word = strait_word_load_acquire(&end->words[position & end->mask]);
    return (word & STRAIT_REPORT_LAP) == strait_reports_lap(end, position) ? word : 0;
}

/* Is there one? The parent only. */
static inline bool strait_reports_ready(const struct strait_reports *end)
{
    return strait_reports_at(end, end->position) != 0;
}

/* Takes up to n. The parent only. */
static inline size_t strait_reports_receive(struct strait_reports *end, uintptr_t *words, size_t n)
{
    size_t count = 0;
    while (count < n && (words[count] = strait_reports_at(end, end->position + count)) != 0) {
        count++;
    }
    end->position += count;
    return count;
}

static inline struct strait_slot *strait_report_slot(uintptr_t word)
{
    return (struct strait_slot *)(word & ~(uintptr_t)STRAIT_REPORT_BITS);
}

static inline enum strait_verdict strait_report_verdict(uintptr_t word)
{
    return (enum strait_verdict)((word & STRAIT_REPORT_BITS) >> STRAIT_REPORT_VERDICT);
}

#endif /* STRAIT_REPORTS_H */
