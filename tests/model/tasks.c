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
#define WORKERS 2
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
static unsigned workers;

/* Of each task; written by the one thread that runs it, or by the parent. */
static unsigned ran[TASKS_MAX];
static unsigned ended[TASKS_MAX];
static bool withdrawn[TASKS_MAX];

static void begin(unsigned count, unsigned crew)
{
    memset(&shared, 0, sizeof(shared));
    memset(ran, 0, sizeof(ran));
    memset(ended, 0, sizeof(ended));
    memset(withdrawn, 0, sizeof(withdrawn));
    shared.ring.words = shared.words;
    shared.ring.slots = shared.slots;
    shared.ring.mask = SLOTS - 1;
    shared.ring.lap_shift = LAP_SHIFT;
    seen = 0;
    tasks = count;
    workers = crew;
    over = 0;
}

static void three_tasks_for_one(void)
{
    begin(3, 1);
}

static void two_tasks_for_one(void)
{
    begin(2, 1);
}

static void three_tasks_for_two(void)
{
    begin(3, 2);
}

static void two_tasks_for_two(void)
{
    begin(2, 2);
}

static void two_of_its_own_for_one(void)
{
    begin(2, 1);
    shared.ring.two_ended = true;
}

static void two_of_its_own_for_two(void)
{
    begin(2, 2);
    shared.ring.two_ended = true;
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

static struct strait_p_event_count bell;
static uintptr_t goal;

static void one_task_to_wait_for(void)
{
    begin(1, 1);
    memset(&bell, 0, sizeof(bell));
    bell.fd = -1;
    goal = 2 * STRAIT_P_REPORT;
}

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

static uint32_t closing;
static bool late; /* the parent has seen it, and takes its task back */

static void one_task_for_one(void)
{
    begin(1, 1);
    closing = 0;
    late = false;
}

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

const struct model_test task_tests[] = {
    {"tasks, one worker", three_tasks_for_one, {submits, works}, check, 3, 1},
    {"tasks, one worker that looks", three_tasks_for_one, {submits, works_when_ready}, check, 3, 1},
    {"tasks, one worker, withdrawn",
     two_tasks_for_one,
     {submits_and_withdraws, works},
     check,
     3,
     1},
    {"tasks, two workers", three_tasks_for_two, {submits, works, works}, check, 1, 1},
    {"tasks, two workers, withdrawn",
     two_tasks_for_two,
     {submits_and_withdraws, works, works},
     check,
     1,
     1},
    {"tasks, two workers that look",
     two_tasks_for_two,
     {submits, works_when_ready, works_when_ready},
     check,
     1,
     1},
    {"tasks, taken back from one worker",
     two_of_its_own_for_one,
     {submits_and_takes, works},
     check,
     3,
     1},
    {"tasks, taken back from two workers",
     two_of_its_own_for_two,
     {submits_and_takes, works, works},
     check,
     1,
     1},
    {"tasks, and the parent sleeps",
     one_task_to_wait_for,
     {submits_and_sleeps, works_and_wakes},
     check},
    {"tasks, and the pool closes",
     one_task_for_one,
     {submits_at_closing_time, closes, works_until_the_end},
     check_that_none_is_left,
     0,
     0},
    {0},
};
