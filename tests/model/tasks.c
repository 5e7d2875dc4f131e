/* SPDX-License-Identifier: MIT */
/* A pool's rings of tasks and of reports as they ship: a parent with two slots and a task more than
 * that, workers that claim, and a cancel that races with them. What the task carries is plain
 * memory: a claim before its push is visible, or a slot written again before its report, is a data
 * race. */
#include "tests.h"

#include <string.h>

#include "strait/sync.h"

#include "pool/reports.h"
#include "extra/timers.c" /* of the header above */
#include "pool/taskring.h"

#define SLOTS 2
#define WORDS 2
#define WORKERS 2
#define TASKS_MAX 4
#define RESULT 100

enum { FREE, TAKEN, WITHDRAWN };

static struct {
    struct strait_taskring ring;
    struct strait_slot slots[SLOTS];
    uintptr_t words[WORKERS][WORDS];
} shared;

static struct strait_reports sends[WORKERS];    /* each worker's own */
static struct strait_reports receives[WORKERS]; /* the parent's own */
static uint32_t over;
static unsigned tasks;
static unsigned workers;
static unsigned in_use; /* slots; the parent's */

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
    in_use = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        struct strait_reports end = {.words = shared.words[i], .mask = WORDS - 1};
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

/* ---- the parent ---- */

/* The task's number lies in its data, on the way out, and its result on the way back. */
static unsigned *cargo_of(struct strait_slot *slot)
{
    return (unsigned *)(void *)slot->task.data;
}

static void take_back(uintptr_t word)
{
    struct strait_slot *slot = strait_report_slot(word);
    model_plain_read(slot->task.data, sizeof(unsigned));
    unsigned number = *cargo_of(slot);
    if (strait_report_verdict(word) == STRAIT_RAN) {
        model_assert(number >= RESULT && slot->state == TAKEN);
        number -= RESULT;
    }
    model_assert(number < tasks);
    ended[number]++;
    slot->state = FREE;
    in_use--;
}

/* False: there was nothing. */
static bool collect(void)
{
    size_t received = 0;
    for (unsigned i = 0; i < workers; i++) {
        uintptr_t words[WORDS];
        size_t n = strait_reports_receive(&receives[i], words, WORDS);
        for (size_t k = 0; k < n; k++) {
            take_back(words[k]);
        }
        received += n;
    }
    return received > 0;
}

/* As submit.c does it: only while a slot is free, so that it comes by it within a lap. */
static struct strait_slot *free_slot(void)
{
    struct strait_taskring *ring = &shared.ring;
    for (;;) {
        if (ring->tail - ring->head_seen > ring->mask) {
            strait_taskring_pass(ring);
            ring->head_seen = strait_taskring_head(ring);
        }
        if (in_use == SLOTS || ring->tail - ring->head_seen > ring->mask) {
            if (!collect()) {
                strait_pause();
            }
            continue;
        }
        struct strait_slot *slot = strait_taskring_at(ring, ring->tail);
        if (slot->state == FREE) {
            return slot;
        }
        strait_taskring_skip(ring, slot);
    }
}

static struct strait_slot *submit(unsigned number)
{
    struct strait_slot *slot = free_slot();
    model_plain_write(slot->task.data, sizeof(unsigned));
    *cargo_of(slot) = number;
    strait_store_relaxed(&slot->cancel, 0);
    slot->state = TAKEN;
    in_use++;
    strait_taskring_push(&shared.ring, slot);
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
    struct strait_slot *last = NULL;
    for (unsigned i = 0; i < tasks; i++) {
        last = submit(i);
    }
    if (strait_taskring_withdraw(&shared.ring, last, 1)) {
        withdrawn[tasks - 1] = true;
        last->state = WITHDRAWN;
    }
    collect_all();
}

/* ---- the workers ---- */

static void handle(struct strait_slot *slot, struct strait_reports *reports)
{
    enum strait_verdict verdict = STRAIT_NOT_WANTED;
    if (!strait_taskring_unwanted(slot)) {
        model_plain_read(slot->task.data, sizeof(unsigned));
        unsigned number = *cargo_of(slot);
        model_assert(number < tasks);
        ran[number]++;
        model_plain_write(slot->task.data, sizeof(unsigned));
        *cargo_of(slot) = number + RESULT;
        verdict = STRAIT_RAN;
    }
    strait_reports_send(reports, slot, verdict);
}

static void works(void)
{
    struct strait_reports *reports = &sends[model_self() - 1];
    while (!strait_load_acquire(&over)) {
        struct strait_slot *slot = strait_taskring_claim(&shared.ring);
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
    struct strait_reports *reports = &sends[model_self() - 1];
    while (!strait_load_acquire(&over)) {
        struct strait_slot *slot = NULL;
        if (strait_taskring_ready(&shared.ring)) {
            slot = strait_taskring_claim(&shared.ring);
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

/* A submit to a worker that is awake: see submitted() in submit.c. */
static void submits_at_closing_time(void)
{
    submit(0);
    strait_light_barrier();
    late = strait_load_acquire(&closing) != 0;
}

/* strait_pool_shut in pool.c. */
static void closes(void)
{
    strait_store_release(&closing, 1);
    model_heavy_barrier(MODEL_HERE);
    strait_store_release(&ending, 1);
}

/* serve_all in crew.c. */
static void works_until_the_end(void)
{
    for (;;) {
        bool last = strait_load_acquire(&ending) != 0;
        struct strait_slot *slot = strait_taskring_claim(&shared.ring);
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
    {"tasks, and the pool closes",
     one_task_for_one,
     {submits_at_closing_time, closes, works_until_the_end},
     check_that_none_is_left,
     0,
     0},
    {0},
};
