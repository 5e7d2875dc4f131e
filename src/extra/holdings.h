/* SPDX-License-Identifier: MIT */
/*
 * holdings: buffers that count against an isolate's heap though their memory is not of it: those
 * that it has adopted from others, and those that it has lent to others.
 */
#ifndef STRAIT_HOLDINGS_H
#define STRAIT_HOLDINGS_H

#include "heap.h"
#include "strait/extra/buffer.h"

/* A buffer that the isolate has taken over, as it was before; in a list. */
struct strait_holding {
    struct strait_holding *next;
    struct strait_holding *previous;
    struct strait_isolate *isolate;
    struct strait_buffer buffer;
};

/* What the heap and its loans share; it goes with the last of them. */
struct strait_loans {
    uintptr_t returned; /* bytes, ever; whoever releases a loan writes */
    uint32_t holders;   /* the heap and its loans; whoever joins or leaves writes */
};

/* Releases what the isolate has adopted. */
void strait_holdings_release(struct strait_isolate *isolate);

/* Any thread: what has come back of the heap's loans, and all that was charged before is seen. */
size_t strait_holdings_returned(const struct strait_heap *heap);

/* The heap's own part of its loans. Nobody looks at the heap any more. */
void strait_holdings_forget(struct strait_heap *heap);

#endif /* STRAIT_HOLDINGS_H */
