/* SPDX-License-Identifier: MIT */
/* timers: their order, the loop that runs them beside its messages, what a callback may do. */
#include "tenant.h"

#define FAR 3600000000000 /* an hour */

/* Sends the numbers from 0 on to a worker that does not look before its entry says so. */
static void queue_messages(struct strait_worker *worker, uint64_t count)
{
    struct strait_port *port = strait_worker_port(worker);
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(strait_try_send(&port->sender, &i, 1), 1);
    }
    strait_sender_close(&port->sender);
}

/* Lets a worker run once all its messages wait for it. */
static void with_backlog(strait_isolate_fn *entry, void *data, struct gate *gate, uint64_t backlog,
                         size_t budget)
{
    struct tenant_options options = {
        .entry = entry,
        .data = data,
        .to_worker = {.capacity = (size_t)backlog + 1, .message_size = sizeof(uint64_t)},
        .budget = budget,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    queue_messages(worker, backlog);
    gate_open(gate);
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- a backlog and a timer ---- */

#define BACKLOG 50000

struct backlog {
    struct gate gate;
    struct strait_timer timer;
    int64_t due;
    uint64_t handled;
    uint64_t first_call; /* the messages handled before it */
    uint64_t calls;
};

static void backlog_timer(struct strait_isolate *isolate, struct strait_timer *timer)
{
    struct backlog *backlog = timer->argument;
    (void)isolate;
    backlog->first_call = backlog->calls++ ? backlog->first_call : backlog->handled;
}

/* The first message lasts until the timer is due. */
static int backlog_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct backlog *backlog = context;
    (void)isolate;
    (void)message;
    while (strait_now() < backlog->due) {
    }
    backlog->handled++;
    return 0;
}

static int backlog_entry(struct strait_isolate *isolate)
{
    struct backlog *backlog = strait_isolate_data(isolate);
    backlog->timer = (struct strait_timer){.run = backlog_timer, .argument = backlog};
    gate_wait(&backlog->gate);
    backlog->due = strait_deadline(1000000);
    EXPECT(strait_timer_start(isolate, &backlog->timer, backlog->due, 0) == 0);
    return strait_isolate_run(isolate, backlog_message, backlog);
}

static void a_backlog_does_not_starve_a_timer(void **state)
{
    (void)state;
    static const struct {
        size_t given;
        uint64_t budget;
    } budgets[] = {{0, STRAIT_BUDGET}, {1, 1}, {7, 7}, {BACKLOG, BACKLOG}};
    for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
        struct backlog backlog = {.handled = 0};
        with_backlog(backlog_entry, &backlog, &backlog.gate, BACKLOG, budgets[i].given);
        assert_int_equal(backlog.handled, BACKLOG);
        assert_int_equal(backlog.calls, 1);
        assert_int_equal(backlog.first_call, budgets[i].budget);
    }
}

/* ---- messages, timers, and the microtasks of both ---- */

struct diary {
    struct gate gate;
    struct strait_timer timer[4];
    char text[512];
    unsigned again; /* how often a timer starts itself anew */
    int answer;
};

static void note(struct diary *diary, char what, size_t number)
{
    size_t length = strlen(diary->text);
    snprintf(diary->text + length, sizeof(diary->text) - length, "%s%c%zu", length ? " " : "", what,
             number);
}

static void note_microtask(struct strait_isolate *isolate, void *argument)
{
    struct diary *diary = strait_isolate_data(isolate);
    note(diary, 'u', (size_t)argument);
}

static void note_timer(struct strait_isolate *isolate, struct strait_timer *timer)
{
    struct diary *diary = strait_isolate_data(isolate);
    size_t number = (size_t)(timer - diary->timer);
    note(diary, 't', number);
    EXPECT(strait_microtask(isolate, note_microtask, (void *)number) == 0);
}

static int note_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct diary *diary = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    note(diary, 'm', (size_t)number);
    EXPECT(strait_microtask(isolate, note_microtask, (void *)(uintptr_t)number) == 0);
    return 0;
}

static struct diary *open_diary(struct strait_isolate *isolate, strait_timer_fn *run)
{
    struct diary *diary = strait_isolate_data(isolate);
    for (size_t i = 0; i < 4; i++) {
        diary->timer[i] = (struct strait_timer){.run = run, .argument = diary};
    }
    gate_wait(&diary->gate);
    return diary;
}

static int beside_entry(struct strait_isolate *isolate)
{
    struct diary *diary = open_diary(isolate, note_timer);
    EXPECT(strait_timer_start(isolate, &diary->timer[2], 20, 0) == 0);
    EXPECT(strait_timer_start(isolate, &diary->timer[0], 10, 0) == 0);
    EXPECT(strait_timer_start(isolate, &diary->timer[1], 10, 0) == 0);
    EXPECT(strait_timer_start(isolate, &diary->timer[3], STRAIT_FOREVER, 0) == 0);
    return strait_isolate_run(isolate, note_message, diary);
}

static void timers_run_after_a_message_and_its_microtasks(void **state)
{
    (void)state;
    struct diary diary = {.answer = 0};
    with_backlog(beside_entry, &diary, &diary.gate, 2, 1);
    assert_string_equal(diary.text, "m0 u0 t0 u0 t1 u1 t2 u2 m1 u1");
}

static void again_timer(struct strait_isolate *isolate, struct strait_timer *timer)
{
    struct diary *diary = timer->argument;
    note_timer(isolate, timer);
    if (timer == &diary->timer[0] && diary->again) {
        diary->again--;
        EXPECT(strait_timer_start(isolate, timer, 0, 0) == 0); /* due before all the others */
    }
}

static int again_entry(struct strait_isolate *isolate)
{
    struct diary *diary = open_diary(isolate, again_timer);
    diary->again = 3;
    EXPECT(strait_timer_start(isolate, &diary->timer[0], 5, 0) == 0);
    EXPECT(strait_timer_start(isolate, &diary->timer[1], 10, 0) == 0);
    return strait_isolate_run(isolate, note_message, diary);
}

static void a_timer_that_is_always_due_runs_once_a_round(void **state)
{
    (void)state;
    struct diary diary = {.answer = 0};
    with_backlog(again_entry, &diary, &diary.gate, 5, 1);
    assert_string_equal(diary.text, "m0 u0 t0 u0 t1 u1 m1 u1 t0 u0 m2 u2 t0 u0 m3 u3 t0 u0 m4 u4");
}

/* The first stops the second, which is due, and brings the third forward, which is not. */
static void meddling_timer(struct strait_isolate *isolate, struct strait_timer *timer)
{
    struct diary *diary = timer->argument;
    note(diary, 't', (size_t)(timer - diary->timer));
    EXPECT(!timer->armed);
    if (timer == &diary->timer[0]) {
        EXPECT(diary->timer[1].armed && diary->timer[2].armed);
        strait_timer_stop(isolate, &diary->timer[1]);
        EXPECT(!diary->timer[1].armed);
        EXPECT(strait_timer_start(isolate, &diary->timer[2], 0, 0) == 0);
        EXPECT(strait_timer_start(isolate, &diary->timer[3], 0, 0) == 0);
        strait_timer_stop(isolate, &diary->timer[3]);
        strait_timer_stop(isolate, timer);
        diary->answer = strait_isolate_run(isolate, note_message, diary);
        EXPECT(strait_isolate_settle(isolate) == -EDEADLK);
        EXPECT(strait_isolate_dispatch(isolate, note_message, diary, 0) == -EDEADLK);
    }
}

static int meddling_entry(struct strait_isolate *isolate)
{
    struct diary *diary = open_diary(isolate, meddling_timer);
    EXPECT(strait_timer_start(isolate, &diary->timer[0], 1, 0) == 0);
    EXPECT(strait_timer_start(isolate, &diary->timer[1], 2, 0) == 0);
    EXPECT(strait_timer_start(isolate, &diary->timer[2], strait_deadline(FAR), 0) == 0);
    return strait_isolate_run(isolate, note_message, diary);
}

static void a_timer_may_stop_and_start_others(void **state)
{
    (void)state;
    struct diary diary = {.answer = 0};
    with_backlog(meddling_entry, &diary, &diary.gate, 2, 1);
    assert_string_equal(diary.text, "m0 u0 t0 m1 u1 t2");
    assert_int_equal(diary.answer, -EDEADLK);
}

static int refused_entry(struct strait_isolate *isolate)
{
    struct strait_timer timer = {.run = NULL};
    EXPECT(strait_timer_start(isolate, &timer, 0, 0) == -EINVAL);
    timer.run = note_timer;
    EXPECT(strait_timer_start(isolate, &timer, 0, -1) == -EINVAL);
    EXPECT(!timer.armed);
    strait_timer_stop(isolate, &timer);
    EXPECT(strait_timer_start(isolate, &timer, INT64_MIN, 0) == 0);
    EXPECT(timer.armed);
    strait_timer_stop(isolate, &timer);
    return 0;
}

static void a_timer_needs_a_function_and_a_period(void **state)
{
    (void)state;
    in_worker(refused_entry, NULL, 0);
}

/* ---- many timers, against a plain table of what should be called next ---- */

#define MANY 300

struct model_timer {
    struct strait_timer timer; /* first */
    int64_t due;
    uint64_t order;
    bool armed;
    bool fresh; /* started in this round: not yet its turn */
};

struct timer_model {
    struct gate gate;
    struct model_timer *timers;
    uint64_t seed;
    uint64_t started;
    size_t steps; /* starts and stops still to be made by callbacks */
    size_t calls;
};

static struct model_timer *model_next(struct timer_model *model)
{
    struct model_timer *next = NULL;
    for (size_t i = 0; i < MANY; i++) {
        struct model_timer *timer = &model->timers[i];
        if (timer->armed && !timer->fresh &&
            (!next || timer->due < next->due ||
             (timer->due == next->due && timer->order < next->order))) {
            next = timer;
        }
    }
    return next;
}

static void model_start(struct strait_isolate *isolate, struct timer_model *model, bool fresh)
{
    struct model_timer *timer = &model->timers[draw_below(&model->seed, MANY)];
    timer->due = (int64_t)draw_below(&model->seed, MANY / 2); /* many of the same time */
    timer->order = model->started++;
    timer->armed = true;
    timer->fresh = fresh;
    EXPECT(strait_timer_start(isolate, &timer->timer, timer->due, 0) == 0);
}

static void model_stop(struct strait_isolate *isolate, struct timer_model *model)
{
    struct model_timer *timer = &model->timers[draw_below(&model->seed, MANY)];
    EXPECT(timer->timer.armed == timer->armed);
    timer->armed = false;
    strait_timer_stop(isolate, &timer->timer);
}

static void model_timer(struct strait_isolate *isolate, struct strait_timer *timer)
{
    struct timer_model *model = timer->argument;
    struct model_timer *next = model_next(model);
    if (!next) { /* the next round */
        for (size_t i = 0; i < MANY; i++) {
            model->timers[i].fresh = false;
        }
        next = model_next(model);
    }
    EXPECT(next && &next->timer == timer);
    ((struct model_timer *)timer)->armed = false;
    model->calls++;
    for (size_t i = draw_below(&model->seed, 5); i > 0 && model->steps > 0; i--) {
        model->steps--;
        if (draw_below(&model->seed, 3)) {
            model_start(isolate, model, true);
        } else {
            model_stop(isolate, model);
        }
    }
}

static int unexpected_message(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)isolate;
    (void)context;
    EXPECT(message == NULL);
    return 0;
}

static int model_entry(struct strait_isolate *isolate)
{
    struct timer_model *model = strait_isolate_data(isolate);
    model->timers = strait_heap_alloc(isolate, MANY * sizeof(*model->timers));
    memset(model->timers, 0, MANY * sizeof(*model->timers));
    for (size_t i = 0; i < MANY; i++) {
        model->timers[i].timer.run = model_timer;
        model->timers[i].timer.argument = model;
    }
    for (size_t i = 0; i < 2 * MANY; i++) {
        model_start(isolate, model, false);
        if (i % 3 == 0) {
            model_stop(isolate, model);
        }
    }
    /* Each look at an empty and closed port is one round. */
    while (model_next(model)) {
        EXPECT(strait_isolate_run(isolate, unexpected_message, NULL) == 0);
        for (size_t i = 0; i < MANY; i++) {
            model->timers[i].fresh = false;
        }
    }
    return 0;
}

static void many_timers_run_in_the_order_they_are_due(void **state)
{
    (void)state;
    struct timer_model model = {.seed = first_seed(11), .steps = scaled(20000)};
    struct tenant_options options = {.entry = model_entry, .data = &model};
    struct strait_worker *worker = spawn_tenant(&options);
    strait_sender_close(&strait_worker_port(worker)->sender);
    join_and_destroy(worker);
    assert_no_faults();
    assert_true(model.calls > 100);
}

/* ---- repeating ---- */

#define PERIOD 200000
#define STALL_PERIODS 20

struct repeats {
    struct strait_timer timer;
    int64_t first;
    int64_t last_due; /* of the next call, as the last one saw it */
    unsigned calls;
};

static void repeating_timer(struct strait_isolate *isolate, struct strait_timer *timer)
{
    struct repeats *repeats = timer->argument;
    const uint64_t message = ++repeats->calls;
    EXPECT(timer->armed);
    EXPECT((timer->due - repeats->first) % PERIOD == 0);
    EXPECT(timer->due > repeats->last_due);
    if (repeats->calls == 4) { /* the one after the stall: one call for all that were missed */
        EXPECT(timer->due - repeats->last_due >= (STALL_PERIODS - 1) * (int64_t)PERIOD);
    }
    repeats->last_due = timer->due;
    if (repeats->calls == 3) {
        while (strait_now() < timer->due + STALL_PERIODS * (int64_t)PERIOD) {
        }
    }
    if (repeats->calls == 8) {
        strait_timer_stop(isolate, timer);
        EXPECT(strait_try_send(&strait_isolate_port(isolate)->sender, &message, 1) == 1);
    }
}

static int repeating_entry(struct strait_isolate *isolate)
{
    struct repeats *repeats = strait_isolate_data(isolate);
    repeats->timer = (struct strait_timer){.run = repeating_timer, .argument = repeats};
    repeats->first = strait_deadline(PERIOD);
    EXPECT(strait_timer_start(isolate, &repeats->timer, repeats->first, PERIOD) == 0);
    return strait_isolate_run(isolate, unexpected_message, NULL);
}

static void a_repeating_timer_keeps_its_grid_and_leaves_out_what_it_missed(void **state)
{
    (void)state;
    struct repeats repeats = {.calls = 0};
    struct tenant_options options = {
        .entry = repeating_entry,
        .data = &repeats,
        .to_parent = {.receiver = STRAIT_WAIT_PARK},
    };
    struct strait_worker *worker = spawn_tenant(&options);
    struct strait_port *port = strait_worker_port(worker);
    uint64_t message;
    assert_int_equal(strait_receive(&port->receiver, &message, 1, STRAIT_FOREVER), 1);
    assert_int_equal(message, 8);
    strait_sender_close(&port->sender);
    join_and_destroy(worker);
    assert_no_faults();
    assert_int_equal(repeats.calls, 8);
}

/* ---- the end ---- */

/* Its own memory, given back by itself. */
static void freeing_timer(struct strait_isolate *isolate, struct strait_timer *timer)
{
    strait_timer_stop(isolate, timer);
    memset(timer, 0xff, sizeof(*timer));
    strait_heap_free(isolate, timer);
}

static int freeing_entry(struct strait_isolate *isolate)
{
    for (int i = 0; i < 100; i++) {
        struct strait_timer *timer = strait_heap_alloc(isolate, sizeof(*timer));
        memset(timer, 0, sizeof(*timer));
        timer->run = freeing_timer;
        EXPECT(strait_timer_start(isolate, timer, i % 7, i % 2 ? FAR : 0) == 0);
    }
    EXPECT(strait_isolate_run(isolate, unexpected_message, NULL) == 0);
    EXPECT(strait_heap_used(isolate) == 0);
    return 0;
}

static void a_timer_may_free_itself(void **state)
{
    (void)state;
    struct tenant_options options = {.entry = freeing_entry};
    struct strait_worker *worker = spawn_tenant(&options);
    strait_sender_close(&strait_worker_port(worker)->sender);
    join_and_destroy(worker);
    assert_no_faults();
}

static int pending_message(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)isolate;
    (void)message;
    (void)context;
    return 9;
}

static int pending_entry(struct strait_isolate *isolate)
{
    struct diary *diary = open_diary(isolate, note_timer);
    EXPECT(strait_timer_start(isolate, &diary->timer[0], 0, 0) == 0);
    EXPECT(strait_timer_start(isolate, &diary->timer[1], strait_deadline(FAR), 0) == 0);
    EXPECT(strait_isolate_run(isolate, pending_message, NULL) == 9);
    EXPECT(diary->timer[0].armed);
    EXPECT(strcmp(diary->text, "") == 0);
    EXPECT(strait_isolate_run(isolate, pending_message, NULL) == 0); /* closed */
    EXPECT(!diary->timer[0].armed);
    EXPECT(diary->timer[1].armed);
    return 0;
}

static void the_loop_does_not_wait_for_timers_to_end(void **state)
{
    (void)state;
    struct diary diary = {.answer = 0};
    with_backlog(pending_entry, &diary, &diary.gate, 1, 1);
    assert_string_equal(diary.text, "t0 u0");
}

static void tick(struct strait_isolate *isolate, struct strait_timer *timer)
{
    struct gate *gate = timer->argument;
    (void)isolate;
    atomic_fetch_add(&gate->arrived, 1);
}

/* Always due: no sleep is needed for the loop to go on, and none keeps it from being stopped. */
static int ticking_entry(struct strait_isolate *isolate)
{
    struct strait_timer timer = {.run = tick, .argument = strait_isolate_data(isolate)};
    EXPECT(strait_timer_start(isolate, &timer, 0, 1) == 0);
    EXPECT(strait_isolate_run(isolate, unexpected_message, NULL) == -ECANCELED);
    return 0;
}

static void a_worker_with_timers_can_be_stopped(void **state)
{
    (void)state;
    struct gate gate = {.arrived = 0};
    struct tenant_options options = {.entry = ticking_entry, .data = &gate};
    struct strait_worker *worker = spawn_tenant(&options);
    struct strait_usage usage;
    gate_await(&gate, 10);
    strait_worker_stop(worker);
    assert_int_equal(strait_worker_join(worker, STRAIT_FOREVER), 0);
    strait_isolate_usage(isolate_of(worker), &usage);
    assert_int_equal(usage.timers, atomic_load(&gate.arrived));
    join_and_destroy(worker);
    assert_no_faults();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(a_backlog_does_not_starve_a_timer),
        life_test(timers_run_after_a_message_and_its_microtasks),
        life_test(a_timer_that_is_always_due_runs_once_a_round),
        life_test(a_timer_may_stop_and_start_others),
        life_test(a_timer_needs_a_function_and_a_period),
        life_test(many_timers_run_in_the_order_they_are_due),
        life_test(a_repeating_timer_keeps_its_grid_and_leaves_out_what_it_missed),
        life_test(a_timer_may_free_itself),
        life_test(the_loop_does_not_wait_for_timers_to_end),
        life_test(a_worker_with_timers_can_be_stopped),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("timers", tests, NULL, NULL);
}
