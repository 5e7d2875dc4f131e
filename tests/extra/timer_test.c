/* SPDX-License-Identifier: MIT */
/* timers: their order, the loop that runs them beside its messages, what a callback may do. */
#include "extra/fixture.h"

/* ---- a backlog and a timer ---- */

#define BACKLOG 50000

static uint64_t handled;
static uint64_t handled_before; /* the call, the only one */

TIMER(note_backlog)
{
    EXPECT(handled_before == 0);
    handled_before = handled;
}

HANDLER(count_backlog)
{
    handled++;
    return 0;
}

ENTRY(backlog_entry)
{
    struct strait_timer timer = {.run = note_backlog};
    handled = 0;
    handled_before = 0;
    EXPECT(strait_timer_start(isolate, &timer, 0, 0) == 0);
    return strait_isolate_run(isolate, count_backlog, NULL);
}

TEST(a_backlog_does_not_starve_a_timer)
{
    static const size_t budgets[] = {0, 1, 7, BACKLOG};
    for (size_t i = 0; i < COUNT(budgets); i++) {
        struct strait_isolate_options options = {.entry = backlog_entry, .budget = budgets[i]};
        assert_int_equal(run_here(&options, BACKLOG), 0);
        assert_int_equal(handled, BACKLOG);
        assert_int_equal(handled_before, budgets[i] ? budgets[i] : STRAIT_BUDGET);
    }
}

/* ---- messages, timers, and the microtasks of both: told by a diary ---- */

static struct strait_timer timers[4];
static unsigned again; /* how often the first timer starts itself anew */

TIMER(note_timer)
{
    uintptr_t number = (uintptr_t)(timer - timers);
    note("t", number);
    EXPECT(!timer->armed);
    EXPECT(strait_microtask(isolate, note_microtask, (void *)number) == 0);
    if (number == 0 && again > 0) {
        again--;
        EXPECT(strait_timer_start(isolate, timer, 0, 0) == 0); /* due before all the others */
    }
}

static void start(struct strait_isolate *isolate, size_t number, int64_t at)
{
    timers[number] = (struct strait_timer){.run = note_timer};
    EXPECT(strait_timer_start(isolate, &timers[number], at, 0) == 0);
}

ENTRY(beside)
{
    start(isolate, 2, 20);
    start(isolate, 0, 10);
    start(isolate, 1, 10);
    start(isolate, 3, STRAIT_FOREVER);
    return strait_isolate_run(isolate, note_message, NULL);
}

ENTRY(always_due)
{
    again = 3;
    start(isolate, 0, 5);
    start(isolate, 1, 10);
    return strait_isolate_run(isolate, note_message, NULL);
}

HANDLER(return_9)
{
    return 9;
}

/* The loop does not wait for timers to end, and another goes on with them. */
ENTRY(pending)
{
    start(isolate, 0, 0);
    start(isolate, 1, strait_deadline(FAR));
    EXPECT(strait_isolate_run(isolate, return_9, NULL) == 9);
    EXPECT(timers[0].armed && diary[0] == 0);
    EXPECT(strait_isolate_run(isolate, return_9, NULL) == 0); /* closed */
    EXPECT(!timers[0].armed && timers[1].armed);
    return 0;
}

TEST(a_look_at_the_timers_runs_those_that_are_due)
{
    static const struct diary_case cases[] = {
        {{.entry = beside, .budget = 1}, 2, "m1 u1 t0 u0 t1 u1 t2 u2 m2 u2"},
        {{.entry = always_due, .budget = 1},
         5,
         "m1 u1 t0 u0 t1 u1 m2 u2 t0 u0 m3 u3 t0 u0 m4 u4 t0 u0 m5 u5"},
        {{.entry = pending, .budget = 1}, 1, "t0 u0"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_diary(&cases[i]);
    }
}

ISOLATE_TEST(a_timer_needs_a_function_and_a_period, .heap_limit = 0)
{
    struct strait_timer timer = {.run = NULL};
    EXPECT(strait_timer_start(isolate, &timer, 0, 0) == -EINVAL);
    timer.run = note_backlog;
    EXPECT(strait_timer_start(isolate, &timer, 0, -1) == -EINVAL);
    EXPECT(!timer.armed);
    strait_timer_stop(isolate, &timer);
    EXPECT(strait_timer_start(isolate, &timer, INT64_MIN, STRAIT_FOREVER) == 0);
    EXPECT(timer.armed);
    handled_before = 0;
    handled = 7;
    EXPECT(strait_isolate_run(isolate, return_9, NULL) == 0);
    EXPECT(handled_before == 7); /* long past */
    EXPECT(timer.armed && timer.due == STRAIT_FOREVER);
    EXPECT(strait_timer_start(isolate, &timer, 5, STRAIT_FOREVER) == 0);
    handled_before = 0;
    EXPECT(strait_isolate_run(isolate, return_9, NULL) == 0);
    EXPECT(timer.due == STRAIT_FOREVER); /* and not after it */
    strait_timer_stop(isolate, &timer);
    return 0;
}

/* ---- many timers, against a plain table of what should be called next ---- */

#define MANY 300

static struct model {
    struct strait_timer timer; /* first */
    int64_t due;
    uint64_t order;
    bool armed;
    bool fresh; /* started in this round: not yet its turn */
} model[MANY];

static uint64_t seed;
static uint64_t started;
static size_t steps; /* starts and stops still to be made by callbacks */
static size_t calls;

static struct model *model_next(void)
{
    struct model *next = NULL;
    for (struct model *one = model; one < model + MANY; one++) {
        if (one->armed && !one->fresh &&
            (!next || one->due < next->due ||
             (one->due == next->due && one->order < next->order))) {
            next = one;
        }
    }
    return next;
}

static void model_round(void)
{
    for (size_t i = 0; i < MANY; i++) {
        model[i].fresh = false;
    }
}

static void model_change(struct strait_isolate *isolate, bool starts, bool fresh)
{
    struct model *one = &model[draw_below(&seed, MANY)];
    EXPECT(one->timer.armed == one->armed);
    one->armed = starts;
    if (!starts) {
        strait_timer_stop(isolate, &one->timer);
        return;
    }
    one->due = (int64_t)draw_below(&seed, MANY / 2); /* many of the same time */
    one->order = started++;
    one->fresh = fresh;
    EXPECT(strait_timer_start(isolate, &one->timer, one->due, 0) == 0);
}

TIMER(model_timer)
{
    struct model *next = model_next();
    if (!next) {
        model_round();
        next = model_next();
    }
    EXPECT(next && &next->timer == timer);
    ((struct model *)timer)->armed = false;
    calls++;
    for (size_t i = draw_below(&seed, 5); i > 0 && steps > 0; i--) {
        steps--;
        model_change(isolate, draw_below(&seed, 3) > 0, true);
    }
}

ISOLATE_TEST(many_timers_run_in_the_order_they_are_due, .heap_limit = 0)
{
    seed = first_seed(11);
    steps = scaled(20000);
    for (size_t i = 0; i < MANY; i++) {
        model[i].timer.run = model_timer;
    }
    for (size_t i = 0; i < 2 * MANY; i++) {
        model_change(isolate, true, false);
        if (i % 3 == 0) {
            model_change(isolate, false, false);
        }
    }
    while (model_next()) { /* each look at an empty and closed port is one round */
        EXPECT(strait_isolate_run(isolate, return_9, NULL) == 0);
        model_round();
    }
    EXPECT(calls > 100);
    return 0;
}

/* ---- repeating ---- */

#define PERIOD 200000
#define STALL (20 * (int64_t)PERIOD)

static struct repeats {
    struct strait_timer timer;
    int64_t first;
    int64_t last_due; /* of the next call, as the last one saw it */
    unsigned calls;
} repeats;

TIMER(repeat)
{
    EXPECT(timer->armed);
    EXPECT((timer->due - repeats.first) % PERIOD == 0);
    EXPECT(timer->due > repeats.last_due);
    /* the one after the stall is one call for all that were missed */
    EXPECT(repeats.calls != 3 || timer->due - repeats.last_due >= STALL - PERIOD);
    repeats.last_due = timer->due;
    repeats.calls++;
    while (repeats.calls == 3 && strait_now() < timer->due + STALL) {
    }
    if (repeats.calls == 8) {
        strait_timer_stop(isolate, timer);
        post(strait_isolate_port(isolate), 0);
    }
}

ENTRY(repeat_entry)
{
    repeats.timer.run = repeat;
    repeats.first = strait_deadline(PERIOD);
    EXPECT(strait_timer_start(isolate, &repeats.timer, repeats.first, PERIOD) == 0);
    return strait_isolate_run(isolate, return_9, NULL);
}

TEST(a_repeating_timer_keeps_its_grid_and_leaves_out_what_it_missed)
{
    struct tenant tenant = {.inner = {.entry = repeat_entry}};
    tenant_spawn(&tenant);
    dispatch_until(tenant.worker, &tenant.log, 1);
    tenant_end(&tenant);
    assert_int_equal(repeats.calls, 8);
}

/* ---- the end ---- */

TIMER(free_timer)
{
    strait_timer_stop(isolate, timer);
    memset(timer, 0xff, sizeof(*timer));
    strait_heap_free(isolate, timer);
}

ISOLATE_TEST(a_timer_may_free_itself, .heap_limit = 0)
{
    for (int i = 0; i < 100; i++) {
        struct strait_timer *timer = strait_heap_alloc(isolate, sizeof(*timer));
        memset(timer, 0, sizeof(*timer));
        timer->run = free_timer;
        EXPECT(strait_timer_start(isolate, timer, i % 7, i % 2 ? FAR : 0) == 0);
    }
    EXPECT(strait_isolate_run(isolate, return_9, NULL) == 0);
    EXPECT(strait_heap_used(isolate) == 0);
    return 0;
}

TIMER(stop_at_the_tenth)
{
    calls++;
    if (calls == 10) {
        strait_worker_stop(strait_worker_current());
    }
    EXPECT(calls <= 10);
}

/* Three are always due: the loop goes on without sleep, and the stop comes in the midst of a look.
 */
ENTRY(tick_entry)
{
    struct strait_timer ticks[3] = {
        {.run = stop_at_the_tenth}, {.run = stop_at_the_tenth}, {.run = stop_at_the_tenth}};
    for (size_t i = 0; i < COUNT(ticks); i++) {
        EXPECT(strait_timer_start(isolate, &ticks[i], 0, 1) == 0);
    }
    return strait_isolate_run(isolate, return_9, NULL);
}

TEST(a_stopped_worker_runs_no_further_timer)
{
    struct tenant tenant = {.inner = {.entry = tick_entry}};
    calls = 0;
    tenant_spawn(&tenant);
    dispatch_to_exit(tenant.worker);
    assert_int_equal(tenant.log.exit.reason, STRAIT_EXIT_STOPPED);
    assert_int_equal(usage_of(&tenant).timers, 10);
    tenant_free(&tenant);
}
