/* SPDX-License-Identifier: MIT */
/* microtasks: their order, between messages and among themselves, and bounded rounds. */
#include "extra/fixture.h"

static uintptr_t ran;

MICROTASK(note_ran)
{
    note("u", ++ran);
}

HANDLER(queues_three)
{
    for (int i = 0; i < 3; i++) {
        EXPECT(strait_microtask(isolate, note_ran, NULL) == 0);
    }
    note("m", number_of(message));
    return 0;
}

ENTRY(queues_before_its_loop)
{
    EXPECT(strait_microtask(isolate, note_microtask, (void *)9) == 0);
    return strait_isolate_run(isolate, note_message, NULL);
}

TEST(microtasks_run_before_the_next_message)
{
    static const struct diary_case cases[] = {
        {{.message = note_message}, 3, "m1 u1 m2 u2 m3 u3"},
        {{.entry = queues_before_its_loop}, 1, "u9 m1 u1"},
        {{.message = queues_three}, 2, "m1 u1 u2 u3 m2 u4 u5 u6"},
        /* what a bounded round leaves comes first in the next */
        {{.message = queues_three, .microtask_limit = 2}, 2, "m1 u1 u2 m2 u3 u4 u5 u6"},
        {{.message = queues_three, .microtask_limit = 2, .budget = 1},
         2,
         "m1 u1 u2 m2 u3 u4 u5 u6"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        ran = 0;
        expect_diary(&cases[i]);
    }
}

/* ---- very many, which queue more: all in one round ---- */

static uintptr_t queued;
static uintptr_t most;

/* Those that queue more make the queue grow while its first is somewhere in the middle. */
MICROTASK(next_in_order)
{
    EXPECT((uintptr_t)argument == ran);
    ran++;
    for (int i = 0; i < 3 && queued < most; i++) {
        EXPECT(strait_microtask(isolate, next_in_order, (void *)queued) == 0);
        queued++;
    }
}

ISOLATE_TEST(thousands_of_microtasks_run_in_order, .heap_limit = 0)
{
    static const uintptr_t first[] = {20000, 1, 17};
    static const uintptr_t all[] = {20000, 50000, 100000};
    for (size_t i = 0; i < COUNT(all); i++) {
        ran = 0;
        most = all[i];
        for (queued = 0; queued < first[i]; queued++) {
            EXPECT(strait_microtask(isolate, next_in_order, (void *)queued) == 0);
        }
        EXPECT(ran == 0); /* not before they are let */
        EXPECT(strait_isolate_settle(isolate) == 0);
        EXPECT(ran == all[i]);
    }
    return 0;
}

MICROTASK(count)
{
    ran++;
}

ISOLATE_TEST(microtasks_past_the_heaps_limit_are_refused, .heap_limit = 65536)
{
    uint64_t accepted = 0;
    ran = 0;
    while (strait_microtask(isolate, count, NULL) == 0) {
        accepted++;
    }
    EXPECT(accepted > 100);
    EXPECT(strait_microtask(isolate, count, NULL) == -ENOMEM);
    EXPECT(strait_isolate_settle(isolate) == 0);
    EXPECT(ran == accepted);
    return 0;
}

/* ---- the end ---- */

/* A settle runs a round of 3; what all of them leave runs before the end. */
ENTRY(leaves_four)
{
    for (int i = 0; i < 13; i++) {
        EXPECT(strait_microtask(isolate, count, NULL) == 0);
    }
    for (unsigned i = 1; i <= 3; i++) {
        EXPECT(strait_isolate_settle(isolate) == 1);
        EXPECT(ran == 3 * i);
    }
    return 0;
}

TEST(what_a_bounded_round_leaves_runs_before_the_end)
{
    const struct strait_isolate_options options = {.entry = leaves_four, .microtask_limit = 3};
    ran = 0;
    assert_int_equal(run_here(&options, 0), 0);
    assert_int_equal(ran, 13);
}

MICROTASK(post_when_last)
{
    if (++ran == 7) {
        post(strait_isolate_port(isolate), 0);
    }
}

HANDLER(queues_seven)
{
    for (int i = 0; i < 7; i++) {
        EXPECT(strait_microtask(isolate, post_when_last, NULL) == 0);
    }
    return 0;
}

TEST(what_a_bounded_round_leaves_waits_for_no_message)
{
    struct tenant tenant = {.inner = {.message = queues_seven, .microtask_limit = 2}};
    ran = 0;
    tenant_spawn(&tenant);
    tenant_post(&tenant, 0, 1);
    dispatch_until(tenant.worker, &tenant.log, 1);
    tenant_end(&tenant);
}

ENTRY(runs_its_loop_when_stopped)
{
    strait_worker_stop(strait_worker_current());
    EXPECT(strait_microtask(isolate, count, NULL) == 0);
    return strait_isolate_run(isolate, note_message, NULL);
}

ENTRY(returns_when_stopped)
{
    strait_worker_stop(strait_worker_current());
    return strait_microtask(isolate, count, NULL);
}

/* A loop runs those that were queued before it looks for the stop. */
TEST(a_stopped_worker_leaves_its_microtasks)
{
    strait_isolate_fn *const entries[] = {returns_when_stopped, runs_its_loop_when_stopped};
    for (size_t i = 0; i < COUNT(entries); i++) {
        struct tenant tenant = {.inner = {.entry = entries[i]}};
        ran = 0;
        tenant_spawn(&tenant);
        tenant_end(&tenant);
        assert_int_equal(ran, i);
        assert_int_equal(tenant.log.exit.code, i ? -ECANCELED : 0);
    }
}
