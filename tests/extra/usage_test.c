/* SPDX-License-Identifier: MIT */
/* usage: what an isolate has done so far, seen from other threads. */
#include "extra/fixture.h"

#define IDLE_ENOUGH 1000000

MICROTASK(nothing)
{
}

TIMER(tick)
{
}

HANDLER(queues_three)
{
    for (int i = 0; i < 3; i++) {
        EXPECT(strait_microtask(isolate, nothing, NULL) == 0);
    }
    return 0;
}

ENTRY(counted_entry)
{
    struct strait_timer timers[2] = {{.run = tick}, {.run = tick}};
    EXPECT(strait_timer_start(isolate, &timers[0], 0, 0) == 0);
    EXPECT(strait_timer_start(isolate, &timers[1], strait_deadline(FAR), 0) == 0);
    EXPECT(strait_microtask(isolate, nothing, NULL) == 0);
    strait_heap_free(isolate, strait_heap_alloc(isolate, 30000));
    EXPECT(strait_heap_alloc(isolate, 10000) != NULL);
    return strait_isolate_run(isolate, queues_three, NULL);
}

/* A message is counted behind its handler, and so maybe behind its answer. */
static void await_messages(const struct tenant *tenant, uint64_t counted)
{
    while (usage_of(tenant).messages < counted) {
        sleep_ns(GATE_NAP_NS);
    }
}

TEST(usage_counts_what_the_loop_does)
{
    struct tenant tenant = {.inner = {.entry = counted_entry}};
    tenant_spawn(&tenant);
    tenant_post(&tenant, 0, 10);
    await_messages(&tenant, 10);
    assert_in_range(usage_of(&tenant).heap_used, 10000, 11000);
    assert_in_range(usage_of(&tenant).heap_highest, 30000, 31000);
    tenant_close(&tenant);
    dispatch_to_exit(tenant.worker);
    struct strait_usage usage = usage_of(&tenant);
    assert_int_equal(usage.messages, 10);
    assert_int_equal(usage.microtasks, 31);
    assert_int_equal(usage.timers, 1);
    struct strait_usage later = usage_of(&tenant);
    assert_memory_equal(&usage, &later, sizeof(usage)); /* its time has ended */
    tenant_free(&tenant);
}

/* ---- idle and active time ---- */

/* Until it has been idle for so much longer; forever if its idle time stands still. */
static void await_idle(const struct tenant *tenant, int64_t more)
{
    int64_t from = usage_of(tenant).idle_ns;
    while (usage_of(tenant).idle_ns < from + more) {
        sleep_ns(GATE_NAP_NS);
    }
    progress_made();
}

ENTRY(waits_by_its_port)
{
    struct strait_receiver *receiver = &strait_isolate_port(isolate)->receiver;
    uint64_t number;
    EXPECT(strait_receive(receiver, &number, 1, STRAIT_FOREVER) == 1);
    gate_wait(strait_isolate_data(isolate)); /* this is no waiting of the library's */
    EXPECT(strait_receive(receiver, &number, 1, STRAIT_FOREVER) == -ECANCELED);
    return 0;
}

HANDLER(waits_at_its_gate)
{
    gate_wait(context);
    return 0;
}

ENTRY(waits_in_a_loop_of_its_own)
{
    int fd = strait_receiver_fd(&strait_isolate_port(isolate)->receiver);
    ptrdiff_t some;
    do {
        strait_isolate_idle(isolate, true);
        EXPECT(readable(fd, -1));
        strait_isolate_idle(isolate, false);
        some = strait_isolate_dispatch(isolate, waits_at_its_gate, strait_isolate_data(isolate), 0);
    } while (some >= 0);
    return 0;
}

TEST(waits_count_as_idle_while_they_go_on)
{
    static const struct {
        strait_isolate_fn *entry; /* NULL: the isolate's own loop */
        enum strait_wait wait;
    } cases[] = {
        {waits_by_its_port, STRAIT_WAIT_PARK},
        {waits_by_its_port, STRAIT_WAIT_SPIN},
        {waits_by_its_port, STRAIT_WAIT_FD},
        {waits_in_a_loop_of_its_own, STRAIT_WAIT_FD},
        {NULL, STRAIT_WAIT_PARK},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gate gate = {.arrived = 0};
        struct tenant tenant = {
            .inner = {.entry = cases[i].entry,
                      .message = waits_at_its_gate,
                      .context = &gate,
                      .data = &gate},
            .outer = {.to_worker = {.receiver = cases[i].wait}},
        };
        tenant_spawn(&tenant);
        await_idle(&tenant, IDLE_ENOUGH);
        tenant_post(&tenant, 0, 1);
        gate_await(&gate, 1);
        struct strait_usage before = usage_of(&tenant); /* it is busy now */
        sleep_ns(IDLE_ENOUGH);
        struct strait_usage after = usage_of(&tenant);
        assert_int_equal(before.idle_ns, after.idle_ns);
        assert_true(after.online_ns >= before.online_ns + IDLE_ENOUGH);
        gate_open(&gate);
        await_idle(&tenant, IDLE_ENOUGH);
        tenant_stop(&tenant);
    }
}

static int64_t idle_of(const struct strait_isolate *isolate)
{
    struct strait_usage usage;
    strait_isolate_usage(isolate, &usage);
    return usage.idle_ns;
}

/* A loop that is told only later when it woke up: once. */
ISOLATE_TEST(a_loop_may_have_woken_up_a_while_ago, .heap_limit = 0)
{
    int64_t before = strait_now();
    strait_isolate_idle(isolate, true);
    int64_t after = strait_now();
    sleep_ns(IDLE_ENOUGH);
    strait_isolate_woke(isolate, after + IDLE_ENOUGH / 2);
    int64_t idle = idle_of(isolate);
    EXPECT(idle >= IDLE_ENOUGH / 2 && idle <= after - before + IDLE_ENOUGH / 2);
    sleep_ns(IDLE_ENOUGH);
    strait_isolate_woke(isolate, strait_now());
    strait_isolate_idle(isolate, false);
    EXPECT(idle_of(isolate) == idle);
    return 0;
}

/* ---- from other threads ---- */

struct observer {
    const struct tenant *tenant;
    _Atomic unsigned done;
};

static void *observe(void *context)
{
    struct observer *observer = context;
    struct strait_usage last = {.messages = 0};
    while (!atomic_load(&observer->done)) {
        struct strait_usage usage = usage_of(observer->tenant);
        EXPECT(usage.online_ns >= last.online_ns);
        EXPECT(usage.messages >= last.messages);
        last = usage;
    }
    return NULL;
}

TEST(usage_can_be_read_at_any_time)
{
    struct tenant tenant = {.inner = {.message = echo}};
    struct observer observer = {.tenant = &tenant};
    size_t trips = scaled(10000);
    pthread_t thread;
    tenant_spawn(&tenant);
    thread_start(&thread, observe, &observer);
    for (uint64_t i = 0; i < trips; i++) {
        tenant_post(&tenant, i, i + 1);
        dispatch_until(tenant.worker, &tenant.log, i + 1);
    }
    atomic_store(&observer.done, 1);
    thread_join(thread);
    await_messages(&tenant, trips);
    assert_int_equal(usage_of(&tenant).messages, trips);
    tenant_end(&tenant);
}
