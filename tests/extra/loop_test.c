/* SPDX-License-Identifier: MIT */
/* loops: an isolate's own and one of the worker's that dispatches; budgets, results, stops, and
 * what a handler may do with its port. */
#include "extra/fixture.h"

static struct strait_receiver *receiver_of(struct strait_isolate *isolate)
{
    return &strait_isolate_port(isolate)->receiver;
}

/* ---- both loops, made alike ---- */

typedef int loop_fn(struct strait_isolate *isolate, strait_message_fn *handle, void *context);

/* Spins, since its receiver parks. */
static int dispatching_loop(struct strait_isolate *isolate, strait_message_fn *handle,
                            void *context)
{
    ptrdiff_t some;
    while ((some = strait_isolate_dispatch(isolate, handle, context, 1)) >= 0) {
        sched_yield();
    }
    return some == -EINTR ? strait_isolate_result(isolate) : some == -EPIPE ? 0 : (int)some;
}

static loop_fn *const loops[] = {strait_isolate_run, dispatching_loop};

/* The fifth ends the loop; another goes on with the sixth. */
HANDLER(fifth_ends)
{
    EXPECT(note_message(isolate, message, NULL) == 0);
    return number_of(message) == 5 ? 55 : 0;
}

/* Takes every second message by itself. */
HANDLER(greedy)
{
    uint64_t next;
    EXPECT(strait_receive(receiver_of(isolate), &next, 1, STRAIT_FOREVER) == 1);
    EXPECT(next == number_of(message) + 1); /* the message is still there */
    note("m", number_of(message));
    return 0;
}

HANDLER(third_closes)
{
    if (number_of(message) == 3) {
        strait_port_close(strait_isolate_port(isolate));
    }
    note("m", number_of(message));
    return 0;
}

static loop_fn *loop;

ENTRY(loop_entry)
{
    strait_message_fn *handler = *(strait_message_fn **)strait_isolate_data(isolate);
    int result;
    while ((result = loop(isolate, handler, NULL)) > 0) {
        note("=", (uint64_t)result);
    }
    return result;
}

TEST(what_handlers_do_to_their_loop)
{
    static strait_message_fn *handlers[] = {fifth_ends, greedy, third_closes};
    static const struct diary_case cases[] = {
        {{.entry = loop_entry, .data = &handlers[0]},
         8,
         "m1 u1 m2 u2 m3 u3 m4 u4 m5 u5 =55 m6 u6 m7 u7 m8 u8"},
        {{.entry = loop_entry, .data = &handlers[1]}, 8, "m1 m3 m5 m7"},
        {{.entry = loop_entry, .data = &handlers[2]}, 8, "m1 m2 m3"},
    };
    for (size_t i = 0; i < COUNT(cases) * COUNT(loops); i++) {
        loop = loops[i % COUNT(loops)];
        expect_diary(&cases[i / COUNT(loops)]);
    }
}

/* ---- inside of a handler, a timer, a microtask ---- */

static unsigned insides;

static void assert_inside(struct strait_isolate *isolate)
{
    EXPECT(strait_isolate_run(isolate, ignore, NULL) == -EDEADLK);
    EXPECT(strait_isolate_dispatch(isolate, ignore, NULL, 0) == -EDEADLK);
    EXPECT(strait_isolate_settle(isolate) == -EDEADLK);
    insides++;
}

MICROTASK(inside_microtask)
{
    assert_inside(isolate);
}

TIMER(inside_timer)
{
    assert_inside(isolate);
}

HANDLER(inside_message)
{
    assert_inside(isolate);
    return strait_microtask(isolate, inside_microtask, NULL);
}

ENTRY(inside_entry)
{
    struct strait_timer timer = {.run = inside_timer};
    EXPECT(strait_microtask(isolate, inside_microtask, NULL) == 0);
    EXPECT(strait_timer_start(isolate, &timer, 0, 0) == 0);
    return strait_isolate_run(isolate, inside_message, NULL);
}

TEST(no_loop_runs_inside_of_another)
{
    const struct strait_isolate_options options = {.entry = inside_entry};
    assert_int_equal(run_here(&options, 2), 0);
    assert_int_equal(insides, 6);
}

/* ---- a loop of the worker's own: poll(2) is the event loop ---- */

struct own {
    struct gate gate; /* the worker's first turn */
    size_t budget;
    size_t most; /* that one dispatch has handled */
    ptrdiff_t last;
    int results; /* the sum of what handlers returned, as it was told */
};

HANDLER(third_returns)
{
    EXPECT(note_message(isolate, message, NULL) == 0);
    return number_of(message) == 3 ? 103 : 0;
}

ENTRY(own_entry)
{
    struct own *own = strait_isolate_data(isolate);
    int fd = strait_receiver_fd(receiver_of(isolate));
    EXPECT(strait_isolate_result(isolate) == 0);
    gate_wait(&own->gate);
    do {
        EXPECT(readable(fd, -1));
        own->last = strait_isolate_dispatch(isolate, third_returns, NULL, own->budget);
        if (own->last > 0) {
            own->most = own->most > (size_t)own->last ? own->most : (size_t)own->last;
        }
        own->results += own->last == -EINTR ? strait_isolate_result(isolate) : 0;
    } while (own->last >= 0 || own->last == -EINTR);
    return 0;
}

static struct tenant own_tenant(struct own *own, size_t budget, size_t inner_budget)
{
    *own = (struct own){.budget = budget};
    diary[0] = 0;
    return (struct tenant){
        .inner = {.entry = own_entry, .data = own, .budget = inner_budget},
        .outer = {.to_worker = {.receiver = STRAIT_WAIT_FD}},
    };
}

TEST(a_dispatch_handles_messages_as_the_loop_does)
{
    static const struct {
        size_t budget;
        size_t inner_budget;
        size_t most;
    } cases[] = {{2, 0, 2}, {0, 4, 4}, {1, 20, 1}, {0, 0, 5}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct own own;
        struct tenant tenant = own_tenant(&own, cases[i].budget, cases[i].inner_budget);
        tenant_spawn(&tenant);
        tenant_post(&tenant, 1, 9);
        gate_open(&own.gate);
        tenant_end(&tenant);
        assert_string_equal(diary, "m1 u1 m2 u2 m3 u3 m4 u4 m5 u5 m6 u6 m7 u7 m8 u8");
        assert_int_equal(own.most, cases[i].most);
        assert_int_equal(own.last, -EPIPE);
        assert_int_equal(own.results, 103);
    }
}

static unsigned ran;

MICROTASK(count)
{
    ran++;
}

HANDLER(queues_five)
{
    for (int i = 0; i < 5; i++) {
        EXPECT(strait_microtask(isolate, count, NULL) == 0);
    }
    return 0;
}

ENTRY(lazy_entry)
{
    int fd = strait_receiver_fd(receiver_of(isolate));
    while (ran < 10) {
        EXPECT(readable(fd, -1));
        EXPECT(strait_isolate_dispatch(isolate, queues_five, NULL, 0) >= 0);
    }
    EXPECT(strait_isolate_dispatch(isolate, queues_five, NULL, 0) == 0);
    EXPECT(!readable(fd, 0));                      /* nothing left to be called for */
    EXPECT(queues_five(isolate, NULL, NULL) == 0); /* as another callback of that loop may */
    EXPECT(strait_isolate_dispatch(isolate, queues_five, NULL, 0) == 0);
    EXPECT(ran == 12 && readable(fd, 0));
    return 0;
}

TEST(a_dispatch_is_called_again_for_microtasks_left)
{
    struct own own;
    struct tenant tenant = own_tenant(&own, 0, 0);
    tenant.inner.entry = lazy_entry;
    tenant.inner.microtask_limit = 2;
    tenant_spawn(&tenant);
    tenant_post(&tenant, 1, 3);
    dispatch_to_exit(tenant.worker);
    tenant_free(&tenant);
    assert_int_equal(ran, 15);
}

/* ---- stops ---- */

TEST(a_stop_makes_a_dispatchers_fd_readable)
{
    for (size_t i = 0; i < scaled(200); i++) {
        struct own own;
        struct tenant tenant = own_tenant(&own, 1, 0);
        tenant_spawn(&tenant);
        gate_open(&own.gate);
        tenant_post(&tenant, 1, 2);
        dawdle(i * 100); /* before, while and after it arms */
        tenant_stop(&tenant);
        assert_int_equal(own.last, -ECANCELED);
    }
}

static struct gate stop_gate;

HANDLER(waits_for_the_stop)
{
    EXPECT(number_of(message) == 1); /* no further one is handled */
    gate_wait(&stop_gate);
    EXPECT(strait_worker_stopping(strait_worker_current()));
    return 0;
}

ENTRY(stopped_loop_entry)
{
    EXPECT(loop(isolate, waits_for_the_stop, NULL) == -ECANCELED);
    return -ECANCELED;
}

TEST(a_stopped_loop_takes_no_further_message)
{
    for (size_t i = 0; i < COUNT(loops); i++) {
        struct tenant tenant = {.inner = {.entry = stopped_loop_entry},
                                .outer = {.drop_to_worker = log_drop}};
        memset(&stop_gate, 0, sizeof(stop_gate));
        loop = loops[i];
        tenant_spawn(&tenant);
        tenant_post(&tenant, 1, 6);
        gate_await(&stop_gate, 1);
        strait_worker_stop(tenant.worker);
        gate_open(&stop_gate);
        tenant_end(&tenant);
        assert_int_equal(tenant.log.dropped, 4); /* the others */
    }
}
