/* SPDX-License-Identifier: MIT */
/*
 * See timers.h. A node's children are a list, `next` to `next`; the first child's `previous` is its
 * parent, another's the child before it, a root's NULL.
 */
#include "timers.h"

static bool sooner(const struct strait_timer *a, const struct strait_timer *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

/* Makes two heaps one. */
static struct strait_timer *meld(struct strait_timer *a, struct strait_timer *b)
{
    if (!a || !b) {
        return a ? a : b;
    }
    struct strait_timer *root = sooner(a, b) ? a : b;
    struct strait_timer *child = root == a ? b : a;
    child->previous = root;
    child->next = root->child;
    if (child->next) {
        child->next->previous = child;
    }
    root->child = child;
    return root;
}

/* Takes a heap out of the list it is in. */
static struct strait_timer *timer_detach(struct strait_timer *heap)
{
    heap->next = NULL;
    heap->previous = NULL;
    return heap;
}

/* Makes a list of children one heap: in pairs from the first to the last, then the pairs from the
 * last to the first. */
static struct strait_timer *meld_all(struct strait_timer *child)
{
    struct strait_timer *pairs = NULL;
    while (child) {
        struct strait_timer *second = child->next;
        struct strait_timer *rest = second ? second->next : NULL;
        struct strait_timer *pair = meld(timer_detach(child), second ? timer_detach(second) : NULL);
        pair->next = pairs;
        pairs = pair;
        child = rest;
    }
    struct strait_timer *all = NULL;
    while (pairs) {
        struct strait_timer *rest = pairs->next;
        all = meld(all, timer_detach(pairs));
        pairs = rest;
    }
    return all;
}

/* The heap without its root. */
static struct strait_timer *without_root(struct strait_timer *root)
{
    struct strait_timer *rest = meld_all(root->child);
    root->child = NULL;
    root->armed = false;
    return rest;
}

static struct strait_timer **insert_at(struct strait_p_timers *timers)
{
    return timers->in_round ? &timers->fresh : &timers->first;
}

static void strait_p_timers_insert(struct strait_p_timers *timers, struct strait_timer *timer)
{
    struct strait_timer **root = insert_at(timers);
    timer->order = timers->started++;
    timer->child = NULL;
    timer->armed = true;
    *root = meld(*root, timer_detach(timer));
}

/* Puts a heap, or nothing, where `timer` stands among its parent's children. */
static void timer_replace(struct strait_timer *timer, struct strait_timer *heap)
{
    struct strait_timer *next = timer->next;
    if (heap) {
        heap->previous = timer->previous;
        heap->next = next;
        next = heap;
    }
    if (timer->next) {
        timer->next->previous = heap ? heap : timer->previous;
    }
    if (timer->previous->child == timer) {
        timer->previous->child = next;
    } else {
        timer->previous->next = next;
    }
}

static void strait_p_timers_remove(struct strait_p_timers *timers, struct strait_timer *timer)
{
    struct strait_timer *rest = without_root(timer);
    if (timer == timers->first) {
        timers->first = rest;
    } else if (timer == timers->fresh) {
        timers->fresh = rest;
    } else {
        timer_replace(timer, rest);
    }
}

static void strait_p_timers_begin(struct strait_p_timers *timers)
{
    timers->in_round = true;
}

static struct strait_timer *strait_p_timers_pop(struct strait_p_timers *timers, int64_t now)
{
    struct strait_timer *first = timers->first;
    if (!first || first->due > now) {
        return NULL;
    }
    timers->first = without_root(first);
    return first;
}

static void strait_p_timers_end(struct strait_p_timers *timers)
{
    timers->in_round = false;
    timers->first = meld(timers->first, timers->fresh);
    timers->fresh = NULL;
}
