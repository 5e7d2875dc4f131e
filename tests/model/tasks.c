/* SPDX-License-Identifier: MIT */
/* A pool's submission and completion rings as they ship: a parent with two slots and a task more
 * than that, workers that claim, a parent that takes back, and a cancel that races with them. What
 * the task carries is plain memory: a claim before its push is visible, or a slot written again
 * before its report, is a data race. */
#include "tests.h"

#include <string.h>

#include "strait/sync.h"

#include "pool/rings.h"

#define SLOTS 2
#define WORDS 4
#define WORKERS 2
#define TASKS_MAX 4
#define RESULT 100

static struct {
    struct strait_p_submission_ring ring;
    struct strait_p_plan plans[SLOTS];
    struct strait_p_slot slots[SLOTS];
    uint32_t words[WORKERS][WORDS];
} shared;

static struct strait_p_completion_ring sends[WORKERS];    /* each worker's own */
static struct strait_p_completion_ring receives[WORKERS]; /* the parent's own */
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
    shared.ring.mask = SLOTS - 1;
    shared.ring.slots = shared.slots;
    tasks = count;
    workers = crew;
    over = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        struct strait_p_completion_ring end = {.words = shared.words[i], .mask = WORDS - 1};
        sends[i] = end;
        receives[i] = end;
    }
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
        model_assert(number >= RESULT && slot->state == STRAIT_P_QUEUED);
        number -= RESULT;
    }
    model_assert(number < tasks);
    ended[number]++;
    slot->state = STRAIT_P_FREE;
    shared.ring.in_use--;
}

/* False: there was nothing. */
static bool collect(void)
{
    bool received = false;
    for (unsigned i = 0; i < workers; i++) {
        uint32_t word;
        while (strait_p_report_at(&receives[i], 0, &word)) {
            struct strait_p_slot *slot = &shared.slots[word >> STRAIT_P_WORD_INDEX];
            receives[i].position++;
            strait_p_ring_passed(&shared.ring, slot->turn & ~STRAIT_P_TAKEN_BACK);
            slot_back(slot, (word >> STRAIT_P_WORD_VERDICT & 7) == STRAIT_P_RAN);
            received = true;
        }
    }
    return received;
}

/* As parent.c does it: only while a slot is free, so that it comes by it within a lap. */
static struct strait_p_slot *free_slot(void)
{
    struct strait_p_submission_ring *ring = &shared.ring;
    for (;;) {
        if (ring->tail - ring->head_seen > ring->mask) {
            uintptr_t head = strait_p_ring_head(ring);
            while (head != ring->tail &&
                   strait_p_slot_skipped(strait_p_slot_at(ring, head), head)) {
                if (strait_word_cas_relaxed(&ring->head, &head, head + 1)) {
                    head++;
                }
            }
            strait_p_ring_passed(ring, head);
        }
        if (ring->in_use == SLOTS || ring->tail - ring->head_seen > ring->mask) {
            if (!collect()) {
                strait_pause();
            }
            continue;
        }
        struct strait_p_slot *slot = strait_p_slot_at(ring, ring->tail);
        if (slot->state == STRAIT_P_FREE) {
            return slot;
        }
        strait_p_ring_skip(ring, slot);
    }
}

static struct strait_p_slot *submit(unsigned number)
{
    struct strait_p_slot *slot = free_slot();
    model_plain_write(slot->task.data, sizeof(unsigned));
    *cargo_of(slot) = number;
    strait_store_relaxed(&slot->cancel, 0);
    slot->index = (uint32_t)(slot - shared.slots);
    slot->state = STRAIT_P_QUEUED;
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

static void handle(struct strait_p_slot *slot, struct strait_p_completion_ring *reports)
{
    enum strait_p_verdict verdict = STRAIT_P_NOT_WANTED;
    if (!strait_load_relaxed(&slot->cancel)) {
        model_plain_read(slot->task.data, sizeof(unsigned));
        unsigned number = *cargo_of(slot);
        model_assert(number < tasks);
        ran[number]++;
        model_plain_write(slot->task.data, sizeof(unsigned));
        *cargo_of(slot) = number + RESULT;
        verdict = STRAIT_P_RAN;
    }
    strait_p_report(reports, slot, verdict);
}

static void works(void)
{
    struct strait_p_completion_ring *reports = &sends[model_self() - 1];
    while (!strait_load_acquire(&over)) {
        struct strait_p_slot *slot = strait_p_ring_claim(&shared.ring);
        if (slot) {
            handle(slot, reports);
        } else {
            strait_pause();
        }
    }
}

/* Looks before it claims, as one does that is about to sleep: it must not overlook a task that
 * nobody else will take. */
static void works_when_ready(void)
{
    struct strait_p_completion_ring *reports = &sends[model_self() - 1];
    while (!strait_load_acquire(&over)) {
        struct strait_p_slot *slot = NULL;
        if (strait_p_ring_ready(&shared.ring)) {
            slot = strait_p_ring_claim(&shared.ring);
        }
        if (slot) {
            handle(slot, reports);
        } else {
            strait_pause();
        }
    }
}

/* ---- a pool that closes ---- */

static uint32_t closing;
static uint32_t ending;
static bool late; /* the parent has seen it, and takes its task back */

static void one_task_for_one(void)
{
    begin(1, 1);
    closing = 0;
    ending = 0;
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
    model_heavy_barrier(MODEL_HERE);
    strait_store_release(&ending, 1);
}

/* strait_p_worker_run in worker.c. */
static void works_until_the_end(void)
{
    for (;;) {
        bool last = strait_load_acquire(&ending) != 0;
        struct strait_p_slot *slot = strait_p_ring_claim(&shared.ring);
        if (slot) {
            handle(slot, &sends[0]);
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
    {"tasks, and the pool closes",
     one_task_for_one,
     {submits_at_closing_time, closes, works_until_the_end},
     check_that_none_is_left,
     0,
     0},
    {0},
};
