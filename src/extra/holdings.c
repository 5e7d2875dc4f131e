/* SPDX-License-Identifier: MIT */
/* See holdings.h. */
#include "holdings.h"

#include "isolate.h"
#include "../channel/memory.h"

/* ---- adopted ---- */

static struct strait_buffer holding_remove(struct strait_holding *holding)
{
    struct strait_isolate *isolate = holding->isolate;
    struct strait_buffer buffer = holding->buffer;
    if (holding->previous) {
        holding->previous->next = holding->next;
    } else {
        isolate->holdings = holding->next;
    }
    if (holding->next) {
        holding->next->previous = holding->previous;
    }
    strait_heap_credit(&isolate->heap, buffer.bytes);
    strait_heap_give(&isolate->heap, holding);
    return buffer;
}

/* The release function of an adopted buffer. */
static void holding_release(void *memory, size_t bytes, void *context)
{
    struct strait_holding *holding = context;
    (void)memory;
    (void)bytes;
    strait_isolate_check(holding->isolate);
    struct strait_buffer buffer = holding_remove(holding);
    strait_buffer_release(&buffer);
}

static bool holding_add(struct strait_isolate *isolate, const struct strait_buffer *buffer)
{
    struct strait_heap *heap = &isolate->heap;
    struct strait_holding *holding = strait_heap_take(heap, sizeof(*holding));
    if (!holding || !strait_heap_room(heap, buffer->bytes)) {
        strait_heap_give(heap, holding);
        return false;
    }
    strait_heap_charge(heap, buffer->bytes);
    holding->isolate = isolate;
    holding->buffer = *buffer;
    holding->previous = NULL;
    holding->next = isolate->holdings;
    if (holding->next) {
        holding->next->previous = holding;
    }
    isolate->holdings = holding;
    return true;
}

int strait_heap_adopt(struct strait_isolate *isolate, struct strait_buffer *buffer)
{
    strait_isolate_check(isolate);
    if (!holding_add(isolate, buffer)) {
        strait_isolate_refused(isolate);
        return -ENOMEM;
    }
    buffer->release = holding_release;
    buffer->context = isolate->holdings;
    return 0;
}

int strait_heap_disown(struct strait_isolate *isolate, struct strait_buffer *buffer)
{
    strait_isolate_check(isolate);
    struct strait_holding *holding = buffer->context;
    if (buffer->release != holding_release || holding->isolate != isolate) {
        return -EINVAL;
    }
    *buffer = holding_remove(holding);
    return 0;
}

void strait_holdings_release(struct strait_isolate *isolate)
{
    while (isolate->holdings) {
        struct strait_buffer buffer = holding_remove(isolate->holdings);
        strait_buffer_release(&buffer);
    }
}

/* ---- lent ---- */

/* In front of what is lent. */
struct loan {
    struct strait_loans *loans;
    size_t charge;
} __attribute__((aligned(16)));

static void loans_leave(struct strait_loans *loans)
{
    /* loans.leave: pairs with loans.leave, loans.join; all that the others did with it */
    if (strait_add_acq_rel(&loans->holders, (uint32_t)-1) == 1) {
        free(loans);
    }
}

/* The release function of a lent buffer: any thread. */
static void loan_release(void *memory, size_t bytes, void *context)
{
    struct loan *loan = context;
    struct strait_loans *loans = loan->loans;
    size_t charge = loan->charge;
    (void)memory;
    (void)bytes;
    free(loan);
    /* loans.back: pairs with loans.seen; the charge, of which the borrower knows by the message */
    strait_word_add_acq_rel(&loans->returned, charge);
    loans_leave(loans);
}

/* The heap's, made when it first lends. */
static struct strait_loans *own_loans(struct strait_heap *heap)
{
    struct strait_loans *loans = (struct strait_loans *)heap->loans;
    if (!loans) {
        loans = strait_line_alloc(sizeof(*loans));
        if (!loans) {
            return NULL;
        }
        loans->returned = 0;
        loans->holders = 1;
        /* loans.open: pairs with loans.look; an empty account */
        strait_word_store_release(&heap->loans, (uintptr_t)loans);
    }
    return loans;
}

static struct loan *lend(struct strait_heap *heap, size_t bytes)
{
    size_t charge = sizeof(struct loan) + strait_min(bytes, SIZE_MAX / 2);
    if (!strait_heap_room(heap, charge) || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    struct strait_loans *loans = own_loans(heap);
    struct loan *loan = loans ? strait_line_alloc(charge) : NULL;
    if (!loan) {
        return NULL;
    }
    loan->loans = loans;
    loan->charge = charge;
    /* loans.join: pairs with loans.leave; nothing but the number */
    strait_add_acq_rel(&loans->holders, 1);
    strait_heap_charge(heap, charge);
    heap->lent += charge;
    return loan;
}

int strait_heap_buffer(struct strait_isolate *isolate, size_t bytes, struct strait_buffer *buffer)
{
    strait_isolate_check(isolate);
    memset(buffer, 0, sizeof(*buffer));
    struct loan *loan = lend(&isolate->heap, bytes);
    if (!loan) {
        strait_isolate_refused(isolate);
        return -ENOMEM;
    }
    buffer->memory = loan + 1;
    buffer->bytes = bytes;
    buffer->release = loan_release;
    buffer->context = loan;
    return 0;
}

size_t strait_holdings_returned(const struct strait_heap *heap)
{
    /* loans.look: pairs with loans.open; an empty account */
    const struct strait_loans *loans =
        (const struct strait_loans *)strait_word_load_acquire(&heap->loans);
    if (!loans) {
        return 0;
    }
    /* loans.seen: pairs with loans.back; the charge */
    return strait_word_load_acquire(&loans->returned);
}

void strait_holdings_forget(struct strait_heap *heap)
{
    if (heap->loans) {
        loans_leave((struct strait_loans *)heap->loans);
        heap->loans = 0;
    }
}
