/* SPDX-License-Identifier: MIT */
/* parent: what happens on a parent's thread: it attaches, submits, cancels, completes, waits,
 * leaves. See shared.h for what it shares with workers. */
#include "shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../channel/private.h"

#define SPARE_SLOTS (64 + STRAIT_POOL_WORKERS_MAX) /* for what runs, and some that have ended */
#define AHEAD 8                                    /* slots ahead that are asked for */
#define REPORTS_AT_ONCE 32

/* Completions that come within FAST_NS of the last ones are gathered for GATHER_NS by an event
 * loop: none is told of later than the two together allow, 100 us. */
#define FAST_NS 100000
#define GATHER_NS 50000
/* The same for a wait, which sleeps for what it waits for, and looks around so often. */
#define GATHER_IN_WAIT_NS 500000

#define LEAVE_TRIES 100
#define SECOND_NS 1000000000

#define ID_INDEX_BITS 24

STRAIT_STATIC_ASSERT(STRAIT_QUEUE_LIMIT_MAX * 2 <= 1u << ID_INDEX_BITS, "an index fits in an id");

#ifdef STRAIT_CHECKED
static void check_parent(struct strait_parent *parent)
{
    int32_t self = (int32_t)syscall(SYS_gettid);
    parent->owner = parent->owner ? parent->owner : self;
    if (parent->owner != self) {
        fprintf(stderr,
                "strait: a parent is used by one thread at a time: parent %p, of thread "
                "%d, used by thread %d\n",
                (void *)parent, (int)parent->owner, (int)self);
        abort();
    }
}
#else
static void check_parent(const struct strait_parent *parent)
{
    (void)parent;
}
#endif

/* ---- memory ---- */

/* Zeros that begin on a line of their own; what is never touched costs no memory. *block is what to
 * free. */
static void *zeroed_lines(size_t bytes, void **block)
{
    int saved = errno;
    *block = calloc(1, bytes + STRAIT_LINE);
    strait_errno_restore(saved);
    return (void *)strait_round_up((size_t)*block, STRAIT_LINE);
}

/* For what waits, and half as much again that was cancelled or has ended; a power of two. */
static size_t slots_of_ring(const struct strait_pool *pool)
{
    size_t slots = 1;
    while (slots < pool->queue_limit + pool->queue_limit / 2 + SPARE_SLOTS) {
        slots *= 2;
    }
    return slots;
}

static int ring_create(struct strait_parent *parent, unsigned priority)
{
    struct strait_pool *pool = parent->pool;
    size_t slots = slots_of_ring(pool);
    size_t plans = strait_round_up(slots * sizeof(struct strait_p_plan), STRAIT_LINE);
    void *block;
    struct strait_p_submission_ring *ring =
        zeroed_lines(sizeof(*ring) + plans + slots * sizeof(struct strait_p_slot), &block);
    if (!block) {
        return -ENOMEM;
    }
    ring->block = block;
    ring->mask = slots - 1;
    ring->slots = (struct strait_p_slot *)((uintptr_t)(ring + 1) + plans);
    ring->two_ended = parent->is_worker;
    ring->priority = (uint8_t)priority;
    /* parent.ring: pairs with pool.ring; the ring; without it a worker reads what was there before
     * it was made */
    strait_word_store_release(&parent->rings[priority], (uintptr_t)ring);
    if (priority == STRAIT_PRIORITY_HIGH) {
        strait_store_relaxed(&pool->high_used, 1);
    }
    return 0;
}

/* Links to the workers from `first` on, in one block that begins with the next one's address. */
static int links_create(struct strait_parent *parent, unsigned first, unsigned count)
{
    size_t words = STRAIT_P_PRIORITIES * slots_of_ring(parent->pool);
    void *block;
    size_t bytes = STRAIT_LINE + count * (sizeof(struct strait_p_link) + words * sizeof(uint32_t));
    uintptr_t lines = (uintptr_t)zeroed_lines(bytes, &block);
    if (!block) {
        return -ENOMEM;
    }
    struct strait_p_link *links = (struct strait_p_link *)(lines + STRAIT_LINE);
    uint32_t *word = (uint32_t *)(links + count);
    for (unsigned i = 0; i < count; i++, word += words) {
        struct strait_p_completion_ring end = {.words = word, .mask = words - 1};
        links[i].sends = end;
        links[i].receives = end;
        parent->links[first + i] = &links[i];
    }
    *(void **)block = parent->link_blocks;
    parent->link_blocks = block;
    return 0;
}

static void fds_close(struct strait_parent *parent)
{
    strait_p_fd_close(parent->epoll);
    strait_p_fd_close(parent->timer);
    strait_p_fd_close(parent->own.fd);
}

/* An eventfd that workers make readable, a timer of the parent's, and an epoll set of both. */
static int fds_open(struct strait_parent *parent)
{
    int saved = errno;
    int fd = -1;
    int error = strait_p_fd_open(&fd);
    parent->own.fd = fd;
    parent->goal.fd = fd;
    parent->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    parent->epoll = parent->timer < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (!error && (parent->epoll < 0 || epoll_ctl(parent->epoll, EPOLL_CTL_ADD, fd, &event) != 0 ||
                   epoll_ctl(parent->epoll, EPOLL_CTL_ADD, parent->timer, &event) != 0)) {
        error = -errno;
    }
    strait_errno_restore(saved);
    return error;
}

static void parent_free(struct strait_parent *parent)
{
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        struct strait_p_submission_ring *ring = strait_p_ring_of(parent, i);
        free(ring ? ring->block : NULL);
    }
    while (parent->link_blocks) {
        void *block = parent->link_blocks;
        parent->link_blocks = *(void **)block;
        free(block);
    }
    fds_close(parent);
    free(parent);
}

/* ---- attaching ---- */

static int parent_alloc(struct strait_pool *pool, struct strait_parent **out,
                        const struct strait_parent_options *options,
                        struct strait_p_pool_worker *worker)
{
    struct strait_parent *parent = strait_line_alloc(sizeof(*parent));
    if (!parent) {
        return -ENOMEM;
    }
    memset(parent, 0, sizeof(*parent));
    parent->pool = pool;
    parent->options = *options;
    parent->is_worker = worker != NULL;
    parent->any = worker ? &worker->event : &parent->own;
    parent->fenced = pool->fenced || options->wait == STRAIT_WAIT_FD;
    parent->due_end = &parent->due;
    parent->spin_ns = STRAIT_P_SPIN_NS;
    parent->epoll = -1;
    parent->timer = -1;
    strait_p_event_count_init(&parent->own, -1, false);
    strait_p_event_count_init(&parent->goal, -1, false);
    int error = ring_create(parent, STRAIT_PRIORITY_NORMAL);
    if (!error && options->wait == STRAIT_WAIT_FD) {
        error = fds_open(parent);
    }
    if (error) {
        parent_free(parent);
        return error;
    }
    *out = parent;
    return 0;
}

/* Takes the first free place in the table. Under the lock. */
static int take_place(struct strait_pool *pool, struct strait_parent *parent)
{
    uint32_t place = 0;
    while (place < pool->places && pool->parents[place]) {
        place++;
    }
    if (place == STRAIT_PARENTS_MAX) {
        return -EUSERS;
    }
    int error = links_create(parent, 0, pool->links);
    if (error) {
        return error;
    }
    parent->place = place;
    pool->attached += !parent->is_worker;
    /* parent.attach: pairs with worker.visit; the parent; without it a worker reads what was there
     * before it was made */
    strait_word_store_release(&pool->parents[place], (uintptr_t)parent);
    if (place == pool->places) {
        strait_store_relaxed(&pool->places, place + 1);
    }
    return 0;
}

static bool fd_arm(struct strait_parent *parent, bool gather);

static int resolve_options(const struct strait_pool *pool, struct strait_parent_options *options,
                           const struct strait_parent_options *given)
{
    int error = strait_options_copy(options, sizeof(*options), given);
    if (error || (unsigned)options->wait > STRAIT_WAIT_FD ||
        options->low_water >= pool->queue_limit + (options->low_water == 0)) {
        return -EINVAL;
    }
    options->wait = options->wait == STRAIT_WAIT_DEFAULT ? STRAIT_WAIT_FD : options->wait;
    options->low_water = options->low_water ? options->low_water : pool->queue_limit / 2;
    return 0;
}

STRAIT_PRIVATE int strait_p_parent_create(struct strait_pool *pool, struct strait_parent **out,
                                          const struct strait_parent_options *options,
                                          struct strait_p_pool_worker *worker)
{
    struct strait_parent *parent;
    int error = parent_alloc(pool, &parent, options, worker);
    if (error) {
        return error;
    }
    pthread_mutex_lock(&pool->lock);
    strait_p_parents_reap(pool, false);
    error = strait_p_closing(pool) && !worker ? -EPIPE : take_place(pool, parent);
    pthread_mutex_unlock(&pool->lock);
    if (error) {
        parent_free(parent);
        return error;
    }
    *out = parent;
    return 0;
}

int strait_pool_attach(struct strait_pool *pool, struct strait_parent **parent,
                       const struct strait_parent_options *given)
{
    struct strait_parent_options options;
    int error = resolve_options(pool, &options, given);
    if (!error) {
        error = strait_p_parent_create(pool, parent, &options, NULL);
    }
    if (!error && options.wait == STRAIT_WAIT_FD) {
        fd_arm(*parent, false); /* a loop may watch it before it dispatches */
    }
    return error;
}

/* One for which it failed half-way has left some that have theirs. */
static int link_more(struct strait_parent *parent, unsigned workers)
{
    unsigned links = parent->pool->links;
    return parent->links[workers - 1] ? 0 : links_create(parent, links, workers - links);
}

STRAIT_PRIVATE int strait_p_parents_link(struct strait_pool *pool, unsigned workers)
{
    int error = 0;
    if (workers <= pool->links) {
        return 0;
    }
    for (uint32_t place = 0; place < pool->places && !error; place++) {
        struct strait_parent *parent = (struct strait_parent *)pool->parents[place];
        error = parent ? link_more(parent, workers) : 0;
    }
    for (struct strait_parent *at = pool->retired; at && !error; at = at->next_retired) {
        error = link_more(at, workers);
    }
    if (!error) {
        /* parent.links: pairs with parent.linked; the links up to here; without it a parent looks
         * for reports where no ring is */
        strait_store_release(&pool->links, workers);
    }
    return error;
}

STRAIT_PRIVATE void strait_p_parents_wake(struct strait_pool *pool)
{
    for (uint32_t place = 0; place < pool->places; place++) {
        struct strait_parent *parent = (struct strait_parent *)pool->parents[place];
        if (parent) {
            strait_p_wake(parent->any);
            strait_p_wake(&parent->goal);
        }
    }
}

/* ---- completing ---- */

/* See strait_p_parent_count for the order in which they are read. */
static void count(uintptr_t *counter)
{
    /* stats.count: pairs with stats.read; what was counted before; without it the counters do not
     * add up */
    strait_word_store_release(counter, *counter + 1);
}

static enum strait_task_status status_of(const struct strait_p_slot *slot,
                                         enum strait_p_verdict verdict)
{
    switch (verdict) {
    case STRAIT_P_RAN:
        return STRAIT_TASK_DONE;
    case STRAIT_P_RAN_TO_CODE:
        return slot->task.code == -ECANCELED ? STRAIT_TASK_CANCELLED : STRAIT_TASK_FAILED;
    case STRAIT_P_RAN_LATE:
    case STRAIT_P_TOO_LATE:
        return STRAIT_TASK_EXPIRED;
    case STRAIT_P_POOL_CLOSED:
        return STRAIT_TASK_ABANDONED;
    default:
        return (slot->cancel & ~STRAIT_P_AWAITED) == STRAIT_P_CANCELLED ? STRAIT_TASK_CANCELLED
                                                                        : STRAIT_TASK_ABANDONED;
    }
}

static void slot_give(struct strait_parent *parent, struct strait_p_slot *slot)
{
    slot->state = STRAIT_P_FREE;
    parent->in_use--;
    strait_p_ring_of(parent, slot->priority)->in_use--;
}

/* The task's id names nothing from here on, and what the group's owner does with the group is its
 * own affair. */
static void complete(struct strait_parent *parent, struct strait_p_slot *slot,
                     enum strait_p_verdict verdict)
{
    struct strait_task *task = &slot->task;
    task->status = status_of(slot, verdict);
    if (verdict <= STRAIT_P_RAN_LATE) {
        count(&parent->counters.finished);
        task->code = verdict == STRAIT_P_RAN ? 0 : task->code;
    } else {
        task->code = verdict == STRAIT_P_TOO_LATE ? -ETIMEDOUT : -ECANCELED;
    }
    slot->state = STRAIT_P_GONE;
    parent->owed--;
    if (slot->planned && strait_p_plan_of(slot)->group) {
        strait_p_plan_of(slot)->group->pending--;
    }
    count(&parent->counters.completed[task->status]);
    if (task->done) {
        task->done(task);
    }
}

/* The first of those whose completion needs no report. */
static void complete_due(struct strait_parent *parent)
{
    struct strait_p_slot *slot = parent->due;
    bool back = slot->state == STRAIT_P_DUE_BACK;
    parent->due = strait_p_plan_of(slot)->next;
    if (!parent->due) {
        parent->due_end = &parent->due;
    }
    complete(parent, slot, STRAIT_P_NOT_WANTED);
    if (back) {
        slot_give(parent, slot);
    }
}

/* Whoever claimed a withdrawn task has let go of it. */
static void slot_back(struct strait_parent *parent, struct strait_p_slot *slot)
{
    if (slot->state == STRAIT_P_DUE) {
        slot->state = STRAIT_P_DUE_BACK;
    } else {
        slot_give(parent, slot);
    }
}

/* With a report the slot is the parent's again. Returns how many completions that was. */
static size_t take_report(struct strait_parent *parent, struct strait_p_slot *slot,
                          enum strait_p_verdict verdict)
{
    /* the workers have come at least so far: no need to read their line */
    strait_p_ring_passed(strait_p_ring_of(parent, slot->priority), slot->turn);
    if (STRAIT_UNLIKELY(slot->state != STRAIT_P_QUEUED)) {
        slot_back(parent, slot);
        return 0;
    }
    if (slot->planned && strait_p_plan_of(slot)->group && verdict != STRAIT_P_NOT_WANTED) {
        strait_p_plan_of(slot)->group->taken++; /* as its worker has counted it */
    }
    complete(parent, slot, verdict);
    slot_give(parent, slot);
    return 1;
}

STRAIT_PRIVATE void strait_p_complete_own(struct strait_parent *parent, struct strait_p_slot *slot,
                                          enum strait_p_verdict verdict)
{
    if (!(slot->turn & STRAIT_P_TAKEN_BACK)) {
        strait_p_ring_passed(strait_p_ring_of(parent, slot->priority), slot->turn);
    }
    if (STRAIT_UNLIKELY(slot->state != STRAIT_P_QUEUED)) {
        slot_back(parent, slot);
        return;
    }
    bool outer = parent->dispatching;
    parent->dispatching = true;
    complete(parent, slot, verdict);
    parent->dispatching = outer;
    slot_give(parent, slot);
}

static struct strait_p_slot *slot_of_word(const struct strait_parent *parent, uint32_t word)
{
    unsigned priority = word >> STRAIT_P_WORD_PRIORITY & 1;
    return &strait_p_ring_of(parent, priority)->slots[word >> STRAIT_P_WORD_INDEX];
}

static unsigned links_of(const struct strait_parent *parent)
{
    /* parent.linked: pairs with parent.links; the links up to here; without it a parent looks for
     * reports where no ring is */
    return strait_load_acquire(&parent->pool->links);
}

/* Of one worker's reports as many as the budget allows. Returns how many there were. */
static size_t receive_from(struct strait_parent *parent, struct strait_p_completion_ring *end,
                           size_t budget, size_t *completed)
{
    struct strait_p_slot *slots[REPORTS_AT_ONCE];
    uint32_t words[REPORTS_AT_ONCE];
    size_t most = strait_min(budget - *completed, REPORTS_AT_ONCE);
    size_t received = 0;
    while (received < most && strait_p_report_at(end, received, &words[received])) {
        slots[received] = slot_of_word(parent, words[received]);
        strait_prefetch_read(slots[received]);
        received++;
    }
    end->position += received;
    for (size_t i = 0; i < received; i++) {
        unsigned verdict = words[i] >> STRAIT_P_WORD_VERDICT & 7;
        *completed += take_report(parent, slots[i], (enum strait_p_verdict)verdict);
    }
    return received;
}

/* Some of each worker's in turn. 0: nothing there. */
static size_t receive_some(struct strait_parent *parent, size_t budget, size_t *completed)
{
    unsigned links = links_of(parent);
    size_t received = 0;
    for (unsigned i = 0; i < links && *completed < budget; i++) {
        parent->turn = parent->turn + 1 < links ? parent->turn + 1 : 0;
        received += receive_from(parent, &parent->links[parent->turn]->receives, budget, completed);
    }
    return received;
}

/* Reports that are there; those of one slot where it is not NULL. */
static size_t unread(const struct strait_parent *parent, const struct strait_p_slot *slot)
{
    size_t found = 0;
    unsigned links = parent->in_use > 0 ? links_of(parent) : 0;
    for (unsigned i = 0; i < links; i++) {
        uint32_t word;
        const struct strait_p_completion_ring *end = &parent->links[i]->receives;
        for (uintptr_t ahead = 0; strait_p_report_at(end, ahead, &word); ahead++) {
            found += !slot || slot_of_word(parent, word) == slot;
        }
    }
    return found;
}

/* ---- room ---- */

/* Moves the head over what no worker needs to see: skipped positions and withdrawn tasks. */
static void pass_dead(struct strait_parent *parent, struct strait_p_submission_ring *ring)
{
    uintptr_t head = strait_p_ring_head(ring);
    for (;;) {
        struct strait_p_slot *slot = strait_p_slot_at(ring, head);
        bool withdrawn = slot->turn == head + 1 && slot->state != STRAIT_P_QUEUED;
        if (head == ring->tail || (slot->turn == head + 1 && !withdrawn)) {
            break;
        }
        if (strait_word_cas_relaxed(&ring->head, &head, head + 1)) {
            head++;
            if (withdrawn) {
                strait_p_ring_passed(ring, head);
                slot_back(parent, slot);
            }
        }
    }
    strait_p_ring_passed(ring, head);
}

/* Tasks that wait: an upper bound, and exact if that is not below `enough`. */
static size_t waiting(struct strait_p_submission_ring *ring, size_t enough)
{
    if (ring->waiting >= enough) {
        strait_p_ring_passed(ring, strait_p_ring_head(ring));
    }
    return ring->waiting;
}

/* Has the parent come round to where the workers are? */
static bool lapped(struct strait_parent *parent, struct strait_p_submission_ring *ring)
{
    if (STRAIT_LIKELY(ring->tail - ring->head_seen <= ring->mask)) {
        return false;
    }
    pass_dead(parent, ring);
    return ring->tail - ring->head_seen > ring->mask;
}

static bool has_room(struct strait_parent *parent, struct strait_p_submission_ring *ring,
                     size_t most)
{
    if (ring->in_use > ring->mask && ring->dead > 0) {
        pass_dead(parent, ring);
    }
    return ring->in_use <= ring->mask && waiting(ring, most + 1) <= most && !lapped(parent, ring);
}

/* A free slot at the ring's tail; NULL: none. */
static struct strait_p_slot *free_slot(struct strait_parent *parent,
                                       struct strait_p_submission_ring *ring)
{
    size_t limit = parent->pool->queue_limit;
    size_t length = waiting(ring, strait_min(limit, ring->waiting_max));
    if (STRAIT_UNLIKELY(length >= limit || ring->in_use > ring->mask)) {
        if (!has_room(parent, ring, limit - 1)) {
            return NULL;
        }
    }
    for (;;) {
        if (STRAIT_UNLIKELY(lapped(parent, ring))) {
            return NULL;
        }
        struct strait_p_slot *slot = strait_p_slot_at(ring, ring->tail);
        if (STRAIT_LIKELY(slot->state == STRAIT_P_FREE)) {
            if (STRAIT_UNLIKELY(ring->waiting >= ring->waiting_max)) {
                strait_word_store_relaxed(&ring->waiting_max, ring->waiting + 1);
            }
            return slot;
        }
        strait_p_ring_skip(ring, slot);
    }
}

/* ---- the fd ---- */

static bool any_ready(void *side)
{
    struct strait_parent *parent = side;
    return strait_p_collectable(parent) || (parent->can_help && parent->can_help(parent));
}

/* The workers will soon have nothing to do. */
static bool queue_short(struct strait_parent *parent)
{
    uint32_t online = strait_load_relaxed(&parent->pool->online);
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        struct strait_p_submission_ring *ring = strait_p_ring_of(parent, i);
        if (ring && waiting(ring, online + 1) > online) {
            return false;
        }
    }
    return true;
}

static bool short_ready(void *side)
{
    return queue_short(side) && strait_p_collectable(side);
}

static struct strait_p_waiter waiter_on(struct strait_parent *parent,
                                        struct strait_p_event_count *event, bool (*ready)(void *))
{
    struct strait_p_waiter waiter = {
        .own = event,
        .ready = ready,
        .side = parent,
        .spin_ns = &parent->spin_ns,
        .mode = parent->options.wait,
        .sole = true,
        .fenced = parent->fenced,
    };
    return waiter;
}

/* Sets the timer to a time; 0: to none. */
static void timer_set(struct strait_parent *parent, int64_t at)
{
    if (at || parent->timed) {
        int saved = errno;
        struct itimerspec when = {
            .it_value = {.tv_sec = at / SECOND_NS, .tv_nsec = (long)(at % SECOND_NS)}};
        timerfd_settime(parent->timer, TFD_TIMER_ABSTIME, &when, NULL);
        strait_errno_restore(saved);
    }
    parent->timed = at != 0;
}

static void fd_raise(struct strait_parent *parent)
{
    timer_set(parent, 0);
    if (!parent->readable) {
        strait_p_fd_raise(parent->own.fd);
        parent->readable = true;
    }
}

/* True: the fd becomes readable with the next report; or, gathering, when the timer has run off or
 * the queue is short; or when a worker is to be started. False: there
 * is something to do at once, and it is readable. */
static bool fd_arm(struct strait_parent *parent, bool gather)
{
    struct strait_p_waiter waiter =
        waiter_on(parent, gather ? &parent->goal : &parent->own, gather ? short_ready : any_ready);
    strait_p_cancel(gather ? &parent->own : &parent->goal, true);
    timer_set(parent, gather ? strait_deadline(GATHER_NS)
                             : (int64_t)strait_wide_load_relaxed(&parent->pool->grow_at));
    parent->readable = strait_p_arm(&waiter) != 1;
    return !parent->readable;
}

/* Waits for more, at once or by and by: completions come fast, and tasks enough wait to keep the
 * workers busy until the timer has run off. */
static bool fd_await(struct strait_parent *parent, bool completed)
{
    bool gather = false;
    if (completed) {
        int64_t now = strait_now();
        gather = now - parent->busy_at < FAST_NS && !queue_short(parent);
        parent->busy_at = now;
    }
    return fd_arm(parent, gather);
}

/* It is armed, or else readable, or about to be. */
static void tell_loop(struct strait_parent *parent)
{
    if (parent->epoll >= 0) {
        fd_raise(parent);
    }
}

/* ---- cancelling ---- */

/* Where positions never come again, that of the task and its ring's priority. In a two-ended ring a
 * number, and the slot's index. */
static strait_task_id id_of(struct strait_parent *parent,
                            const struct strait_p_submission_ring *ring,
                            const struct strait_p_slot *slot)
{
    if (!ring->two_ended) {
        return (strait_task_id)slot->turn << 1 | slot->priority;
    }
    strait_p_plan_of(slot)->serial = ++parent->serial;
    return parent->serial << ID_INDEX_BITS | slot->index;
}

/* NULL: it has completed, or is none of this parent's. */
static struct strait_p_slot *find(const struct strait_parent *parent, strait_task_id id)
{
    unsigned priority = parent->is_worker ? STRAIT_PRIORITY_NORMAL : id & 1;
    struct strait_p_submission_ring *ring = strait_p_ring_of(parent, priority);
    if (!ring || id == 0) {
        return NULL;
    }
    uintptr_t position =
        ring->two_ended ? (uintptr_t)id & ((1u << ID_INDEX_BITS) - 1) : (uintptr_t)(id >> 1) - 1;
    struct strait_p_slot *slot = strait_p_slot_at(ring, position);
    bool same = ring->two_ended
                    ? slot->named && strait_p_plan_of(slot)->serial == id >> ID_INDEX_BITS
                    : slot->turn == position + 1;
    return same && slot->state != STRAIT_P_FREE && slot->state != STRAIT_P_GONE ? slot : NULL;
}

/* As strait_task_cancel. */
static int cancel(struct strait_parent *parent, struct strait_p_slot *slot,
                  enum strait_p_cancel reason)
{
    if (slot->state != STRAIT_P_QUEUED || (slot->cancel & ~STRAIT_P_AWAITED) != STRAIT_P_WANTED) {
        return -EALREADY;
    }
    if (!strait_p_ring_withdraw(strait_p_ring_of(parent, slot->priority), slot, reason)) {
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
    return slot ? cancel(parent, slot, STRAIT_P_CANCELLED) : -ENOENT;
}

/* Cancels what the parent is owed: those of a group, if it is not NULL. Returns how many of them
 * will never start. */
static size_t cancel_all(struct strait_parent *parent, const struct strait_group *group,
                         enum strait_p_cancel reason)
{
    size_t withdrawn = 0;
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        struct strait_p_submission_ring *ring = strait_p_ring_of(parent, i);
        uintptr_t slots = ring && ring->in_use > 0 ? ring->mask + 1 : 0;
        uintptr_t end = ring ? ring->tail : 0;
        /* in the order of their submission; what is still in use may have been there for laps, and
         * in a two-ended ring the tail may have gone down since */
        uintptr_t at = slots == 0 || (end < slots && !ring->two_ended) ? 0 : end - slots;
        for (; slots > 0 && at != end; at++) {
            struct strait_p_slot *slot = strait_p_slot_at(ring, at);
            if (slot->state == STRAIT_P_QUEUED &&
                (!group || (slot->planned && strait_p_plan_of(slot)->group == group))) {
                withdrawn += cancel(parent, slot, reason) == 0;
            }
        }
    }
    return withdrawn;
}

static void abandon_from(struct strait_parent *parent, struct strait_p_submission_ring *ring,
                         uintptr_t from)
{
    for (; (intptr_t)(ring->tail - from) > 0; from++) {
        struct strait_p_slot *slot = strait_p_slot_at(ring, from);
        if (slot->turn == from + 1) {
            cancel(parent, slot, STRAIT_P_ABANDONED);
        }
    }
}

size_t strait_group_cancel(struct strait_parent *parent, struct strait_group *group)
{
    check_parent(parent);
    return group->pending > 0 ? cancel_all(parent, group, STRAIT_P_CANCELLED) : 0;
}

bool strait_task_cancelled(const struct strait_task *task)
{
    const struct strait_p_slot *slot = strait_p_slot_of(task);
    return strait_load_relaxed(&slot->cancel) & ~STRAIT_P_AWAITED || strait_p_late(slot, true);
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

/* There is room, or there will never be again. */
static void tell_of_room(struct strait_parent *parent)
{
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        bool closing = strait_p_closing(parent->pool) != 0;
        if (!parent->refusing[i] || !(closing || has_room(parent, strait_p_ring_of(parent, i),
                                                          parent->options.low_water))) {
            continue;
        }
        strait_word_store_relaxed(&parent->room_at[i], 0);
        parent->refusing[i] = false;
        if (parent->options.room && !closing) {
            parent->options.room(parent, parent->options.context);
        }
    }
}

STRAIT_PRIVATE size_t strait_p_collect(struct strait_parent *parent, size_t budget)
{
    size_t completed = 0;
    size_t received = 1;
    parent->dispatching = true;
    if (STRAIT_UNLIKELY(strait_p_closing(parent->pool) == 1 + STRAIT_CLOSE_CANCEL) &&
        !parent->abandoned) {
        parent->abandoned = true; /* nothing will be submitted any more; what runs goes on */
        for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
            struct strait_p_submission_ring *ring = strait_p_ring_of(parent, i);
            if (ring) {
                abandon_from(parent, ring, strait_p_ring_head(ring));
            }
        }
    }
    while (completed < budget && (received || parent->due)) {
        while (parent->due && completed < budget) {
            complete_due(parent);
            completed++;
        }
        received =
            parent->in_use && completed < budget ? receive_some(parent, budget, &completed) : 0;
    }
    if (STRAIT_UNLIKELY(parent->refusing[0] || parent->refusing[1])) {
        tell_of_room(parent);
    }
    parent->dispatching = false;
    if (STRAIT_UNLIKELY(strait_wide_load_relaxed(&parent->pool->grow_at))) {
        parent->pool->grow(parent->pool);
    }
    return completed;
}

static bool reports_wait(const struct strait_parent *parent)
{
    uint32_t word;
    unsigned links = parent->in_use > 0 ? links_of(parent) : 0;
    for (unsigned i = 0; i < links; i++) {
        if (strait_p_report_at(&parent->links[i]->receives, 0, &word)) {
            return true;
        }
    }
    return false;
}

/* Does whoever waits for room have it, or need not wait any longer? */
static bool room_made(struct strait_parent *parent)
{
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        size_t most =
            parent->refusing[i] ? parent->options.low_water : parent->pool->queue_limit - 1;
        if (parent->room_at[i] && (strait_p_closing(parent->pool) ||
                                   has_room(parent, strait_p_ring_of(parent, i), most))) {
            return true;
        }
    }
    return false;
}

STRAIT_PRIVATE bool strait_p_collectable(struct strait_parent *parent)
{
    return parent->due || reports_wait(parent) || room_made(parent);
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
    if (parent->dispatching) {
        return -EDEADLK;
    }
    return (ptrdiff_t)strait_p_collect(parent, budget ? budget : STRAIT_BUDGET);
}

ptrdiff_t strait_parent_dispatch(struct strait_parent *parent, size_t budget)
{
    size_t most = budget ? budget : STRAIT_BUDGET;
    size_t completed = 0;
    check_parent(parent);
    if (parent->dispatching) {
        return -EDEADLK;
    }
    do {
        completed += strait_p_collect(parent, most - completed);
    } while (completed < most && parent->epoll >= 0 && !fd_await(parent, completed > 0));
    if (completed == most) {
        tell_loop(parent);
    }
    return (ptrdiff_t)completed;
}

/* ---- submitting ---- */

/* What all tasks of one submit have in common. */
struct submission {
    struct strait_submit_options how;
    struct strait_p_submission_ring *ring;
    bool planned;
    int64_t at; /* ns; 0: not known yet */
};

static int resolve_how(struct strait_submit_options *options,
                       const struct strait_submit_options *how)
{
    int error = strait_options_copy(options, sizeof(*options), how);
    if (error || (unsigned)options->priority >= STRAIT_P_PRIORITIES || options->start_by < 0 ||
        options->finish_by < 0) {
        return -EINVAL;
    }
    options->start_by = options->start_by ? options->start_by : STRAIT_FOREVER;
    options->finish_by = options->finish_by ? options->finish_by : STRAIT_FOREVER;
    return 0;
}

static void plan_make(const struct strait_submit_options *how, struct strait_p_slot *slot)
{
    struct strait_p_plan *plan = strait_p_plan_of(slot);
    plan->start_by = how->start_by;
    plan->finish_by = how->finish_by;
    plan->group = how->group;
    if (how->group) {
        how->group->pending++;
    }
}

/* Once for all tasks of a submit, and behind the first: nobody waits for the clock. */
static void note_time(struct strait_p_plan *plan, struct submission *submission)
{
    submission->at = submission->at ? submission->at : strait_now();
    strait_wide_store_relaxed(&plan->submitted_at, (uint64_t)submission->at);
}

static int submit_one(struct strait_parent *parent, const struct strait_task *task,
                      struct submission *submission, strait_task_id *id)
{
    struct strait_p_submission_ring *ring = submission->ring;
    if (STRAIT_UNLIKELY(!task->run)) {
        return -EINVAL;
    }
    struct strait_p_slot *slot = free_slot(parent, ring);
    if (STRAIT_UNLIKELY(!slot)) {
        return -EAGAIN;
    }
    slot->task = *task;
    strait_store_relaxed(&slot->cancel, STRAIT_P_WANTED);
    slot->index = (uint32_t)(ring->tail & ring->mask);
    slot->priority = ring->priority;
    slot->state = STRAIT_P_QUEUED;
    slot->planned = submission->planned;
    slot->named = id != NULL;
    if (submission->planned) {
        plan_make(&submission->how, slot);
    }
    bool timed = parent->pool->timed;
    if (STRAIT_UNLIKELY(timed)) {
        struct strait_p_plan *plan = strait_p_plan_of(slot);
        strait_wide_store_relaxed(&plan->submitted_at, 0);
        plan->waited_ns = 0;
        plan->ran_ns = 0;
    }
    parent->in_use++;
    parent->owed++;
    count(&parent->counters.submitted);
    strait_p_probe_submit(parent, slot);
    strait_p_ring_push(ring, slot);
    if (STRAIT_UNLIKELY(timed)) {
        note_time(strait_p_plan_of(slot), submission);
    }
    if (parent->owed >= AHEAD && !ring->two_ended) {
        /* for a parent in full flow: for one that waits after each task it would be in the way */
        strait_prefetch_write(strait_p_slot_at(ring, ring->tail + AHEAD));
    }
    if (id) {
        *id = id_of(parent, ring, slot);
    }
    return 0;
}

/* Runs a task that finds no room, and completes it. */
static int run_in_place(struct strait_parent *parent, const struct strait_task *task,
                        const struct submission *submission)
{
    struct {
        unsigned char before[STRAIT_LINE - sizeof(struct strait_p_plan)];
        struct strait_p_plan plan;
        struct strait_p_slot slot;
    } STRAIT_LINE_ALIGNED place = {.slot = {.task = *task, .planned = submission->planned}};
    STRAIT_STATIC_ASSERT(sizeof(place) == 2 * STRAIT_LINE, "the plan ends where the slot begins");
    place.plan.start_by = submission->how.start_by;
    place.plan.finish_by = submission->how.finish_by;
    struct strait_p_submission_ring *ring = strait_p_ring_of(parent, STRAIT_PRIORITY_NORMAL);
    uintptr_t floor = parent->floor;
    parent->floor = ring->tail;
    struct strait_task *own = &place.slot.task;
    bool late = strait_p_late(&place.slot, false);
    int code = late ? -ETIMEDOUT : own->run(own);
    own->code = code;
    own->status =
        status_of(&place.slot, late ? STRAIT_P_TOO_LATE : strait_p_ran(&place.slot, code));
    parent->floor = floor;
    count(&parent->counters.in_place);
    if (own->done) {
        parent->dispatching = true;
        own->done(own);
        parent->dispatching = false;
    }
    return 0;
}

/* Sees to it that somebody comes for what was just pushed. A pool that began to close in the
 * meantime may have no worker left to come by: either its workers see the task, or this thread sees
 * that it closes. */
static void announce(struct strait_parent *parent, struct strait_p_submission_ring *ring,
                     uintptr_t from)
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
    uintptr_t bit = (uintptr_t)1 << (parent->place % STRAIT_P_BITS);
    uintptr_t *bits = &pool->bits[ring->priority][parent->place / STRAIT_P_BITS];
    if (STRAIT_UNLIKELY(!(strait_word_load_relaxed(bits) & bit))) {
        strait_p_bits_change(bits, bit, 0);
        if (pool->fenced) {
            /* pool.fence: the same, of the bit that is up again */
            strait_full_fence();
        }
    }
    if (strait_p_next_idle(pool, 0)) {
        strait_p_wake_idle(pool);
    } else if (STRAIT_UNLIKELY(strait_p_may_grow(pool))) {
        /* pool.busy: pairs with worker.busy; what was pushed, or else that the worker is inside a
         * task; without it neither side starts the worker that a task waits for */
        strait_full_fence();
        if (strait_p_ring_ready(ring) && strait_p_all_busy(pool)) {
            pool->grow(pool);
        }
    }
    if (parent->lender) {
        strait_p_notify(parent->lender, false); /* behind the fence above */
    }
    if (STRAIT_UNLIKELY(strait_p_closing(pool)) &&
        !(parent->is_worker && strait_p_closing(pool) == 1 + STRAIT_CLOSE_DRAIN)) {
        abandon_from(parent, ring, from);
    }
}

/* May this parent submit? While a pool drains, its own tasks may. */
static int may_submit(const struct strait_parent *parent)
{
    uint32_t closing = strait_p_closing(parent->pool);
    bool refused = closing && !(parent->is_worker && closing == 1 + STRAIT_CLOSE_DRAIN);
    return refused || parent->leaving ? -EPIPE : 0;
}

/* As strait_task_submit_many, but a lack of room is not counted, nor does `room` follow. */
static ptrdiff_t submit_some(struct strait_parent *parent, const struct strait_task *tasks,
                             size_t n, const struct strait_submit_options *how, strait_task_id *ids)
{
    struct submission submission = {.how = {.size = 0}};
    check_parent(parent);
    int error = may_submit(parent);
    if (!error && how) {
        error = resolve_how(&submission.how, how);
        submission.planned = submission.how.group || submission.how.start_by != STRAIT_FOREVER ||
                             submission.how.finish_by != STRAIT_FOREVER;
    }
    unsigned priority = parent->is_worker ? STRAIT_PRIORITY_NORMAL : submission.how.priority;
    if (!error && STRAIT_UNLIKELY(!strait_p_ring_of(parent, priority))) {
        error = ring_create(parent, priority);
    }
    if (error) {
        return error;
    }
    submission.ring = strait_p_ring_of(parent, priority);
    uintptr_t from = submission.ring->tail;
    size_t done = 0;
    while (done < n && !error) {
        error = submit_one(parent, &tasks[done], &submission, ids ? &ids[done] : NULL);
        done += !error;
    }
    if (submission.ring->tail != from) {
        announce(parent, submission.ring, from);
    }
    while (done < n && error == -EAGAIN && submission.how.in_place && !parent->dispatching &&
           tasks[done].run) {
        run_in_place(parent, &tasks[done], &submission);
        if (ids) {
            ids[done] = 0;
        }
        done++;
    }
    return done > 0 ? (ptrdiff_t)done : error;
}

/* Has the workers tell when no more than so many tasks wait. What they claimed before they could
 * see that, the parent sees now. */
static void want_room(struct strait_parent *parent, unsigned priority, size_t most)
{
    struct strait_p_submission_ring *ring = strait_p_ring_of(parent, priority);
    uintptr_t turn = ring->tail > most ? ring->tail - most : 1;
    strait_word_store_relaxed(&parent->room_at[priority], turn);
    /* parent.starved: pairs with submission.claimed; that room is wanted, or else what was claimed;
     * without it nobody tells the parent of room */
    strait_full_fence();
    if (has_room(parent, ring, most)) {
        tell_loop(parent);
    }
}

ptrdiff_t strait_task_submit_many(struct strait_parent *parent, const struct strait_task *tasks,
                                  size_t n, const struct strait_submit_options *how,
                                  strait_task_id *ids)
{
    ptrdiff_t result = submit_some(parent, tasks, n, how, ids);
    /* was it for want of room that not all were taken? */
    if (STRAIT_UNLIKELY(result == -EAGAIN ||
                        (result >= 0 && (size_t)result < n && tasks[result].run))) {
        count(&parent->counters.refused);
        unsigned priority = how && !parent->is_worker ? how->priority : STRAIT_PRIORITY_NORMAL;
        parent->refusing[priority] = true;
        want_room(parent, priority, parent->options.low_water);
    }
    return result;
}

int strait_task_submit(struct strait_parent *parent, const struct strait_task *task,
                       const struct strait_submit_options *how, strait_task_id *id)
{
    ptrdiff_t result = strait_task_submit_many(parent, task, 1, how, id);
    return result < 0 ? (int)result : 0;
}

/* ---- waiting ---- */

enum subject { FOR_TASK, FOR_GROUP, FOR_ALL, FOR_ANY, FOR_ROOM };

/* A wait, and what it is for. */
struct wait {
    struct strait_parent *parent;
    enum subject subject;
    unsigned priority;          /* FOR_ROOM */
    strait_task_id id;          /* FOR_TASK */
    struct strait_group *group; /* FOR_GROUP */
    uintptr_t before;           /* FOR_ANY: what had completed */
};

static uintptr_t completed_by(const struct strait_parent *parent)
{
    uintptr_t sum = 0;
    for (unsigned i = 0; i <= STRAIT_TASK_ABANDONED; i++) {
        sum += parent->counters.completed[i];
    }
    return sum;
}

/* Has what it waits for happened, or can it never? */
static bool is_over(const struct wait *wait)
{
    struct strait_parent *parent = wait->parent;
    switch (wait->subject) {
    case FOR_TASK:
        return !find(parent, wait->id);
    case FOR_GROUP:
        return wait->group->pending == 0;
    case FOR_ROOM:
        return strait_p_closing(parent->pool) ||
               has_room(parent, strait_p_ring_of(parent, wait->priority),
                        parent->pool->queue_limit - 1);
    case FOR_ANY:
        return completed_by(parent) != wait->before || parent->owed == parent->inside;
    default:
        return parent->owed == parent->inside;
    }
}

/* Is the last report there? While others are gathered, nothing else matters. */
static bool goal_ready(void *side)
{
    const struct wait *wait = side;
    const struct strait_parent *parent = wait->parent;
    if (parent->due) {
        return true;
    }
    switch (wait->subject) {
    case FOR_TASK:
        return unread(parent, find(parent, wait->id)) > 0;
    case FOR_GROUP:
        return (intptr_t)(strait_word_load_relaxed(&wait->group->finished) - wait->group->goal) >=
               0;
    default: /* for any and for room it does not gather */
        return unread(parent, NULL) >= parent->owed;
    }
}

/* Says to the workers which report is to wake the parent. */
static void set_goal(const struct wait *wait)
{
    struct strait_p_slot *slot = wait->id ? find(wait->parent, wait->id) : NULL;
    if (slot) {
        strait_store_relaxed(&slot->cancel, slot->cancel | STRAIT_P_AWAITED);
    }
    if (wait->group) {
        strait_word_store_relaxed(&wait->group->goal, wait->group->taken + wait->group->pending);
    }
}

/* Sleeps until the next report; or, while others are gathered, until what is waited for has
 * happened, or for a short time. 0: look again, and in the second case -ETIMEDOUT says so too. */
static int wait_sleep(struct wait *wait, bool gather, int64_t deadline)
{
    struct strait_parent *parent = wait->parent;
    uint32_t no_spin = 0;
    strait_p_cancel(gather ? &parent->own : &parent->goal, true); /* from a loop before the wait */
    int64_t grow_at = (int64_t)strait_wide_load_relaxed(&parent->pool->grow_at);
    deadline = grow_at && grow_at < deadline ? grow_at : deadline;
    if (!gather) {
        struct strait_p_waiter waiter = waiter_on(parent, parent->any, any_ready);
        return strait_p_park(&waiter, deadline);
    }
    set_goal(wait);
    struct strait_p_waiter waiter = waiter_on(parent, &parent->goal, goal_ready);
    waiter.side = wait;
    waiter.spin_ns = &no_spin;
    int64_t until = strait_deadline(GATHER_IN_WAIT_NS);
    return strait_p_park(&waiter, until < deadline ? until : deadline);
}

static int wait_until(struct wait *wait, int64_t deadline)
{
    struct strait_parent *parent = wait->parent;
    check_parent(parent);
    if (parent->dispatching) {
        return -EDEADLK;
    }
    bool slept = false;
    int error = 0;
    for (;;) {
        /* not for ever more that completions submit */
        size_t completed = strait_p_collect(parent, parent->owed + 1);
        if (is_over(wait)) {
            error = 0;
            break;
        }
        if (error || (deadline != STRAIT_FOREVER && strait_now() >= deadline)) {
            error = error ? error : -ETIMEDOUT;
            break;
        }
        if (parent->help && parent->help(parent)) {
            continue;
        }
        /* woken by what it does not wait for: the next ones are gathered */
        bool gather = slept && completed > 0 && wait->subject <= FOR_ALL &&
                      parent->any == &parent->own && parent->options.wait != STRAIT_WAIT_SPIN;
        slept = true;
        error = wait_sleep(wait, gather, deadline);
        error = error == -ETIMEDOUT ? 0 : error;
    }
    if (parent->epoll >= 0) {
        fd_arm(parent, false);
    }
    return error;
}

int strait_task_wait(struct strait_parent *parent, strait_task_id id, int64_t deadline)
{
    struct wait wait = {.parent = parent, .subject = FOR_TASK, .id = id};
    return wait_until(&wait, deadline);
}

int strait_group_wait(struct strait_parent *parent, const struct strait_group *group,
                      int64_t deadline)
{
    struct wait wait = {.parent = parent, .subject = FOR_GROUP};
    wait.group = (struct strait_group *)(uintptr_t)group; /* the private half is written */
    return wait_until(&wait, deadline);
}

int strait_parent_wait_all(struct strait_parent *parent, int64_t deadline)
{
    struct wait wait = {.parent = parent, .subject = FOR_ALL};
    return wait_until(&wait, deadline);
}

ptrdiff_t strait_parent_wait_any(struct strait_parent *parent, int64_t deadline)
{
    uintptr_t before = completed_by(parent);
    struct wait wait = {.parent = parent, .subject = FOR_ANY, .before = before};
    int error = wait_until(&wait, deadline);
    return error ? error : (ptrdiff_t)(completed_by(parent) - before);
}

int strait_task_submit_wait(struct strait_parent *parent, const struct strait_task *task,
                            const struct strait_submit_options *how, strait_task_id *id,
                            int64_t deadline)
{
    unsigned priority = how && !parent->is_worker ? how->priority : STRAIT_PRIORITY_NORMAL;
    struct wait wait = {.parent = parent, .subject = FOR_ROOM, .priority = priority};
    ptrdiff_t result = submit_some(parent, task, 1, how, id);
    if (STRAIT_LIKELY(result != -EAGAIN)) {
        return result < 0 ? (int)result : 0;
    }
    bool refusing = parent->refusing[priority];
    parent->refusing[priority] = false;
    int error = 0;
    while (result == -EAGAIN && !error) {
        want_room(parent, priority, parent->pool->queue_limit - 1);
        uintptr_t floor = parent->floor;
        /* on a worker there may be nobody else who takes what fills the queue */
        parent->floor = strait_p_ring_head(strait_p_ring_of(parent, priority));
        error = wait_until(&wait, deadline);
        parent->floor = floor;
        result = submit_some(parent, task, 1, how, id);
    }
    parent->refusing[priority] |= refusing;
    strait_word_store_relaxed(&parent->room_at[priority], 0);
    if (parent->refusing[priority]) { /* `room` is still to follow, for what was refused before */
        want_room(parent, priority, parent->options.low_water);
    }
    return result == -EAGAIN ? error : result < 0 ? (int)result : 0;
}

/* ---- leaving ---- */

/* Does a worker touch its memory, or will one? Under the lock, past a heavy barrier. */
static bool is_needed(struct strait_parent *parent)
{
    size_t completed = 0;
    while (receive_some(parent, SIZE_MAX, &completed) > 0) {
    }
    bool needed = parent->in_use > 0;
    for (unsigned i = 0; i < parent->pool->links && !needed; i++) {
        /* parent.leave: pairs with worker.left; all that the worker did with the parent; without
         * it the memory is given back before the worker's last access to it */
        needed = strait_word_load_acquire(&parent->pool->workers[i].visiting) == (uintptr_t)parent;
    }
    return needed;
}

STRAIT_PRIVATE void strait_p_parents_reap(struct strait_pool *pool, bool all)
{
    struct strait_parent **at = &pool->retired;
    if (pool->retired) {
        strait_p_heavy_barrier(pool->fenced);
    }
    while (*at) {
        struct strait_parent *parent = *at;
        if (!all && is_needed(parent)) {
            at = &parent->next_retired;
        } else {
            *at = parent->next_retired;
            parent_free(parent);
        }
    }
    for (uint32_t place = 0; all && place < pool->places; place++) {
        if (pool->parents[place]) {
            parent_free((struct strait_parent *)pool->parents[place]);
        }
    }
}

static uint64_t read_count(const uintptr_t *counter)
{
    /* stats.read: pairs with stats.count; what was counted before; without it the counters do not
     * add up */
    return strait_word_load_acquire(counter);
}

STRAIT_PRIVATE void strait_p_parent_count(const struct strait_parent *parent,
                                          struct strait_pool_stats *stats)
{
    const struct strait_p_counters *counters = &parent->counters;
    uint64_t completed[STRAIT_TASK_ABANDONED + 1];
    uint64_t all = 0;
    for (unsigned i = 0; i <= STRAIT_TASK_ABANDONED; i++) {
        completed[i] = read_count(&counters->completed[i]);
        all += completed[i];
    }
    uint64_t running = 0 - read_count(&counters->finished);
    for (unsigned i = 0; i < parent->pool->links; i++) {
        running += read_count(&parent->links[i]->started);
    }
    uint64_t submitted = read_count(&counters->submitted);
    stats->submitted += submitted;
    stats->done += completed[STRAIT_TASK_DONE];
    stats->failed += completed[STRAIT_TASK_FAILED];
    stats->cancelled += completed[STRAIT_TASK_CANCELLED];
    stats->expired += completed[STRAIT_TASK_EXPIRED];
    stats->abandoned += completed[STRAIT_TASK_ABANDONED];
    stats->running += running;
    stats->queued += submitted - all - running;
    stats->refused += read_count(&counters->refused);
    stats->in_place += read_count(&counters->in_place);
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        const struct strait_p_submission_ring *ring = strait_p_ring_of(parent, i);
        uint64_t most = ring ? strait_word_load_relaxed(&ring->waiting_max) : 0;
        stats->queued_max = most > stats->queued_max ? most : stats->queued_max;
    }
}

/* It is owed nothing. Its memory goes now, or, where a worker is just leaving it, soon. */
static void leave(struct strait_parent *parent)
{
    struct strait_pool *pool = parent->pool;
    for (unsigned i = 0; i < STRAIT_P_PRIORITIES; i++) {
        struct strait_p_submission_ring *ring = strait_p_ring_of(parent, i);
        if (ring) {
            pass_dead(parent, ring);
        }
    }
    pthread_mutex_lock(&pool->lock);
    strait_word_store_relaxed(&pool->parents[parent->place], 0);
    strait_p_parent_count(parent, &pool->left);
    pool->attached--;
    parent->next_retired = pool->retired;
    pool->retired = parent;
    strait_p_parents_reap(pool, false);
    bool left = pool->retired != NULL;
    pthread_mutex_unlock(&pool->lock);
    for (int tries = 0; left && tries < LEAVE_TRIES; tries++) {
        sched_yield();
        pthread_mutex_lock(&pool->lock);
        strait_p_parents_reap(pool, false);
        left = pool->retired != NULL;
        pthread_mutex_unlock(&pool->lock);
    }
}

STRAIT_PRIVATE int strait_p_parent_settle(struct strait_parent *parent, enum strait_close mode,
                                          int64_t deadline)
{
    check_parent(parent);
    if (parent->dispatching || parent->is_worker) {
        return -EDEADLK;
    }
    if ((unsigned)mode > STRAIT_CLOSE_CANCEL) {
        return -EINVAL;
    }
    if (mode == STRAIT_CLOSE_CANCEL) {
        parent->leaving = true;
        cancel_all(parent, NULL, STRAIT_P_ABANDONED);
    }
    struct strait_p_berth *own = strait_p_berth_enter(NULL); /* the deadline alone ends this wait */
    int error = strait_parent_wait_all(parent, deadline);
    strait_p_berth_enter(own);
    parent->leaving = false;
    return error;
}

int strait_parent_detach(struct strait_parent *parent, enum strait_close mode, int64_t deadline)
{
    int error = parent ? strait_p_parent_settle(parent, mode, deadline) : 0;
    if (parent && !error) {
        leave(parent);
    }
    return error;
}
