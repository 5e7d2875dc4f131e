/* SPDX-License-Identifier: MIT */
/* A pool's submission rings and completion stacks as they ship: a parent with two slots and a task
 * more than that, workers that claim, a parent that takes back, and a cancel that races with them.
 * What the task carries is plain memory: a claim before its push is visible, or a slot written
 * again before its report, is a data race. */
#include "tests.h"

#include <string.h>

#include "strait/sync.h"

#include "pool/rings.h"

#define SLOTS 2
#define LAP_SHIFT 1
#define TASKS_MAX 4
#define RESULT 100

static struct {
    struct strait_p_submission_ring ring;
    uint32_t words[SLOTS];
    struct strait_p_plan plans[SLOTS];
    struct strait_p_slot slots[SLOTS];
    uintptr_t stack;
    uint32_t links[SLOTS];
} shared;

static uintptr_t seen; /* the parent's own: the stack's count, as far as it has read */
static uint32_t over;
static unsigned tasks;

/* Of each task; written by the one thread that runs it, or by the parent. */
static unsigned ran[TASKS_MAX];
static unsigned ended[TASKS_MAX];
static bool withdrawn[TASKS_MAX];

static struct strait_p_event_count bell; /* of a parent that sleeps, until so many are reported */
static uintptr_t goal;

static uint32_t closing;
static bool late; /* the parent has seen it, and takes its task back */

enum how { OWN = 1 }; /* the ring is a worker's own, who takes from it, too */

/* The plan's tasks and workers. */
static void init(void)
{
    memset(&shared, 0, sizeof(shared));
    memset(ran, 0, sizeof(ran));
    memset(ended, 0, sizeof(ended));
    memset(withdrawn, 0, sizeof(withdrawn));
    memset(&bell, 0, sizeof(bell));
    shared.ring.words = shared.words;
    shared.ring.slots = shared.slots;
    shared.ring.mask = SLOTS - 1;
    shared.ring.lap_shift = LAP_SHIFT;
    shared.ring.two_ended = (model_plan()->how & OWN) != 0;
    bell.fd = -1;
    goal = 2 * STRAIT_P_REPORT;
    seen = 0;
    tasks = model_plan()->messages;
    over = 0;
    closing = 0;
    late = false;
}

/* ---- the parent ---- */

/* The task's number lies in its data, on the way out, and its result on the way back. */
static unsigned *cargo_of(struct strait_p_slot *slot)
{
    return (unsigned *)(void *)slot->task.data;
}

/* Whoever had the slot is done with it. */
static void slot_back(struct strait_p_slot *slot, bool did_run)
{
    model_plain_read(slot->task.data, sizeof(unsigned));
    unsigned number = *cargo_of(slot);
    if (did_run) {
        model_assert(number >= RESULT);
        number -= RESULT;
    }
    model_assert((slot->state & ~STRAIT_P_WITHDRAWN) == STRAIT_P_OUT);
    model_assert(number < tasks);
    ended[number]++;
    slot->state = 0;
}

/* As next_report() in parent.c does. False: there was nothing. */
static bool collect(void)
{
    uintptr_t top = strait_word_load_acquire(&shared.stack);
    uint32_t at = (uint32_t)(top & STRAIT_P_INDEX_MASK);
    size_t unread = (size_t)((top - seen) / STRAIT_P_REPORT);
    seen = top & ~STRAIT_P_INDEX_MASK;
    for (size_t left = unread; left > 0; left--) {
        struct strait_p_slot *slot = &shared.slots[at];
        at = left > 1 ? strait_load_relaxed(&shared.links[at]) : 0;
        slot_back(slot, slot->verdict & STRAIT_P_STARTED);
    }
    return unread > 0;
}

static struct strait_p_slot *free_slot(void)
{
    for (;;) {
        for (uint32_t i = 0; i < SLOTS; i++) {
            if (!shared.slots[i].state) {
                shared.slots[i].index = i;
                return &shared.slots[i];
            }
        }
        if (!collect()) {
            strait_pause();
        }
    }
}

static struct strait_p_slot *submit(unsigned number)
{
    struct strait_p_slot *slot = free_slot();
    model_plain_write(slot->task.data, sizeof(unsigned));
    *cargo_of(slot) = number;
    strait_store_relaxed(&slot->cancel, 0);
    slot->state = STRAIT_P_OUT;
    strait_p_ring_push(&shared.ring, slot);
    return slot;
}

static bool all_ended(void)
{
    for (unsigned i = 0; i < tasks; i++) {
        if (!ended[i]) {
            return false;
        }
    }
    return true;
}

static void collect_all(void)
{
    while (!all_ended()) {
        if (!collect()) {
            strait_pause();
        }
    }
    strait_store_release(&over, 1);
}

static void submits(void)
{
    for (unsigned i = 0; i < tasks; i++) {
        submit(i);
    }
    collect_all();
}

/* The last one is taken back as soon as it is there. */
static void submits_and_withdraws(void)
{
    struct strait_p_slot *last = NULL;
    for (unsigned i = 0; i < tasks; i++) {
        last = submit(i);
    }
    withdrawn[tasks - 1] = strait_p_ring_withdraw(&shared.ring, last, 1);
    collect_all();
}

/* A worker's own: it takes back what nobody has claimed, the newest first, and runs it. */
static void submits_and_takes(void)
{
    struct strait_p_slot *slot;
    for (unsigned i = 0; i < tasks; i++) {
        submit(i);
    }
    while ((slot = strait_p_ring_take(&shared.ring, 0)) != NULL) {
        model_plain_read(slot->task.data, sizeof(unsigned));
        ran[*cargo_of(slot)]++;
        slot_back(slot, false);
    }
    collect_all();
}

/* ---- the workers ---- */

static uintptr_t handle(struct strait_p_slot *slot)
{
    uint8_t verdict = STRAIT_TASK_CANCELLED;
    if (!strait_load_relaxed(&slot->cancel)) {
        model_plain_read(slot->task.data, sizeof(unsigned));
        unsigned number = *cargo_of(slot);
        model_assert(number < tasks);
        ran[number]++;
        model_plain_write(slot->task.data, sizeof(unsigned));
        *cargo_of(slot) = number + RESULT;
        verdict = STRAIT_P_STARTED;
    }
    slot->verdict = verdict;
    return strait_p_report(&shared.stack, shared.links, slot);
}

static void works(void)
{
    while (!strait_load_acquire(&over)) {
        struct strait_p_slot *slot = strait_p_ring_oldest(&shared.ring, true, NULL, 0);
        if (slot) {
            handle(slot);
        } else {
            strait_pause();
        }
    }
}

/* Looks before it claims, as one does that is about to sleep: it must not overlook a task that
 * nobody else will take. */
static void works_when_ready(void)
{
    while (!strait_load_acquire(&over)) {
        struct strait_p_slot *slot = NULL;
        if (strait_p_ring_ready(&shared.ring)) {
            slot = strait_p_ring_oldest(&shared.ring, true, NULL, 0);
        }
        if (slot) {
            handle(slot);
        } else {
            strait_pause();
        }
    }
}

/* ---- a parent that sleeps until its task is reported ---- */

/* wait_sleep() in parent.c: it says how many reports are to wake it, and that it waits, then looks,
 * then sleeps. */
static void submits_and_sleeps(void)
{
    submit(0);
    while (!collect()) {
        strait_word_store_relaxed(&goal, seen + STRAIT_P_REPORT);
        uint32_t word = strait_load_relaxed(&bell.word);
        while (!strait_cas_relaxed(&bell.word, &word, word | STRAIT_P_WAITING)) {
        }
        strait_full_fence();
        if (strait_word_load_relaxed(&shared.stack) == seen) {
            model_futex_wait(&bell.word, word | STRAIT_P_WAITING, false);
        }
    }
    strait_store_release(&over, 1);
}

/* report() in worker.c. */
static void works_and_wakes(void)
{
    struct strait_p_slot *slot;
    while ((slot = strait_p_ring_oldest(&shared.ring, true, NULL, 0)) == NULL) {
        strait_pause();
    }
    uintptr_t top = handle(slot);
    if ((intptr_t)(top - strait_word_load_relaxed(&goal)) >= 0) {
        strait_p_notify(&bell, STRAIT_P_BARRIER);
    }
}

/* ---- a pool that closes ---- */

/* A submit to a worker that is awake: see announce() in parent.c. */
static void submits_at_closing_time(void)
{
    submit(0);
    strait_light_barrier();
    late = strait_load_acquire(&closing) != 0;
}

/* shut() in pool.c. */
static void closes(void)
{
    strait_store_release(&closing, 1);
}

/* strait_p_worker_run and end() in worker.c. */
static void works_until_the_end(void)
{
    for (;;) {
        bool last = strait_load_acquire(&closing) != 0;
        if (last) {
            model_heavy_barrier(MODEL_HERE);
        }
        struct strait_p_slot *slot = strait_p_ring_oldest(&shared.ring, true, NULL, 0);
        if (slot) {
            handle(slot);
        } else if (last) {
            return;
        } else {
            strait_pause();
        }
    }
}

static void check_that_none_is_left(void)
{
    model_assert(late || ran[0] == 1);
}

/* ---- the tests ---- */

static void check(void)
{
    for (unsigned i = 0; i < tasks; i++) {
        model_assert(ended[i] == 1);
        model_assert(ran[i] <= 1);
        model_assert(!withdrawn[i] || ran[i] == 0);
    }
}

#define ONE(NAME, PARENT, WORKER, ...)                                                             \
    {                                                                                              \
        "tasks, " NAME, init, {PARENT, WORKER}, check, 3, 1,                                       \
        {                                                                                          \
            .messages = __VA_ARGS__                                                                \
        }                                                                                          \
    }
#define BOTH(NAME, PARENT, WORKER, ...)                                                            \
    {                                                                                              \
        "tasks, " NAME, init, {PARENT, WORKER, WORKER}, check, 1, 1,                               \
        {                                                                                          \
            .messages = __VA_ARGS__                                                                \
        }                                                                                          \
    }

/* Each with so many tasks. */
const struct model_test task_tests[] = {
    ONE("one worker", submits, works, 3),
    ONE("one worker that looks", submits, works_when_ready, 3),
    ONE("one worker, withdrawn", submits_and_withdraws, works, 2),
    BOTH("two workers", submits, works, 3),
    BOTH("two workers, withdrawn", submits_and_withdraws, works, 2),
    BOTH("two workers that look", submits, works_when_ready, 2),
    ONE("taken back from one worker", submits_and_takes, works, 2, .how = OWN),
    BOTH("taken back from two workers", submits_and_takes, works, 2, .how = OWN),
    {.name = "tasks, and the parent sleeps",
     .init = init,
     .thread = {submits_and_sleeps, works_and_wakes},
     .check = check,
     .plan = {.messages = 1}},
    {.name = "tasks, and the pool closes",
     .init = init,
     .thread = {submits_at_closing_time, closes, works_until_the_end},
     .check = check_that_none_is_left,
     .plan = {.messages = 1}},
    {0},
};
