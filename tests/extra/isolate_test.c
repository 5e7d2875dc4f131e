/* SPDX-License-Identifier: MIT */
/* isolate: its life, whatever way it ends, and misuse in a checked build. */
#include "extra/fixture.h"

#include <signal.h>

ENTRY(five)
{
    EXPECT(strait_isolate_current() == isolate);
    return strait_heap_alloc(isolate, 100) ? 5 : 6;
}

TEST(an_isolates_options_are_read_as_all_are)
{
    struct {
        struct strait_isolate_options options;
        char tail[16];
    } newer = {.options = {.size = sizeof(newer), .entry = five}, .tail = {0}};
    const struct strait_isolate_options neither = {.heap_limit = 1};
    const struct strait_isolate_options cut = {.size = 1, .entry = five};
    const struct strait_isolate_options older = {
        .size = offsetof(struct strait_isolate_options, message),
        .entry = five,
        .heap_limit = 1, /* not seen */
    };
    struct strait_isolate *isolate = NULL;
    assert_returns(strait_isolate_create(&isolate, &neither), -EINVAL);
    assert_returns(strait_isolate_create(&isolate, &cut), -EINVAL);
    newer.tail[15] = 1;
    assert_returns(strait_isolate_create(&isolate, &newer.options), -EINVAL);
    assert_null(isolate);
    newer.tail[15] = 0;
    assert_returns(strait_isolate_create(&isolate, &newer.options), 0);
    strait_isolate_destroy(isolate); /* it never ran */
    assert_int_equal(run_here(&older, 0), 5);
    strait_isolate_destroy(NULL);
}

static int inner_result;

ENTRY(outer_entry)
{
    struct strait_port *port = strait_isolate_port(isolate);
    inner_result = strait_isolate_main(port, strait_isolate_data(isolate));
    return strait_isolate_main(port, isolate);
}

/* On a thread that is no worker, with a port of its own; once, and one at a time. */
TEST(any_thread_may_run_an_isolate_once)
{
    struct strait_isolate_options options = {.entry = five};
    struct strait_isolate *inner;
    struct strait_isolate *isolate;
    struct strait_usage usage;
    struct strait_port a;
    struct strait_port b;
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    assert_returns(strait_isolate_create(&inner, &options), 0);
    options.entry = outer_entry;
    options.data = inner;
    assert_returns(strait_isolate_create(&isolate, &options), 0);
    strait_isolate_usage(isolate, &usage);
    assert_int_equal(usage.online_ns, 0);
    assert_returns(strait_isolate_main(&a, isolate), -EINVAL);
    assert_int_equal(inner_result, -EINVAL);
    assert_returns(strait_isolate_main(&a, inner), 5);
    assert_returns(strait_isolate_main(&a, inner), -EINVAL); /* it has run */
    assert_null(strait_isolate_current());
    strait_isolate_destroy(isolate);
    strait_isolate_destroy(inner);
    strait_port_close(&a);
    strait_port_close(&b);
}

/* ---- the end of its thread ---- */

ENTRY(exits)
{
    EXPECT(strait_heap_alloc(isolate, 100000) != NULL);
    pthread_exit(NULL);
}

ENTRY(is_cancelled)
{
    EXPECT(strait_heap_alloc(isolate, 100000) != NULL);
    pthread_cancel(pthread_self());
    pthread_testcancel();
    return 0;
}

TEST(an_isolate_goes_with_its_thread)
{
    strait_isolate_fn *const entries[] = {exits, is_cancelled};
    for (size_t i = 0; i < COUNT(entries); i++) {
        struct tenant tenant = {.inner = {.entry = entries[i]}};
        tenant_spawn(&tenant);
        dispatch_to_exit(tenant.worker);
        assert_string_equal(tenant.log.events, "oex");
        assert_int_equal(tenant.log.exit.code, -EINTR);
        struct strait_usage usage = usage_of(&tenant);
        struct strait_usage later = usage_of(&tenant);
        assert_memory_equal(&usage, &later, sizeof(usage)); /* its time has ended */
        assert_int_equal(usage.heap_used, 0);
        assert_in_range(usage.heap_highest, 100000, 100100);
        tenant_free(&tenant);
    }
}

/* ---- misuse: a checked build ends, and says why ---- */

static struct strait_isolate *others;

#define COMMIT(call)                                                                               \
    if (crime-- == 0) {                                                                            \
        call;                                                                                      \
        _exit(1);                                                                                  \
    }

/* Uses an isolate that is another's; exits with 0 if there are not so many ways to do that. */
static void commit(void *number)
{
    struct strait_isolate *isolate = others;
    struct strait_timer timer = {.run = NULL};
    unsigned crime = *(const unsigned *)number;
    signal(SIGABRT, SIG_DFL);
    COMMIT(strait_isolate_port(isolate));
    COMMIT(strait_isolate_data(isolate));
    COMMIT(strait_isolate_run(isolate, ignore, NULL));
    COMMIT(strait_isolate_dispatch(isolate, ignore, NULL, 1));
    COMMIT(strait_isolate_result(isolate));
    COMMIT(strait_isolate_settle(isolate));
    COMMIT(strait_isolate_idle(isolate, true));
    COMMIT(strait_isolate_woke(isolate, 0));
    COMMIT(strait_heap_alloc(isolate, 1));
    COMMIT(strait_heap_resize(isolate, NULL, 1));
    COMMIT(strait_heap_free(isolate, NULL));
    COMMIT(strait_heap_used(isolate));
    COMMIT(strait_microtask(isolate, NULL, NULL));
    COMMIT(strait_timer_start(isolate, &timer, 0, 0));
    COMMIT(strait_timer_stop(isolate, &timer));
}

TEST(an_isolate_used_by_another_thread_is_caught)
{
    const struct strait_isolate_options options = {.entry = five};
    struct strait_port a;
    struct strait_port b;
    const char *const words[] = {"an isolate is used by its own worker only", NULL};
    unsigned crime = 0;
#ifndef STRAIT_CHECKED
    skip();
#endif
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    assert_returns(strait_isolate_create(&others, &options), 0);
    assert_returns(strait_isolate_main(&a, others), 5); /* it is nobody's from now on */
    for (; crime < 15; crime++) {
        assert_abort_in_child(commit, &crime, words);
    }
    assert_well_in_child(commit, &crime);
    strait_isolate_destroy(others);
    strait_port_close(&a);
    strait_port_close(&b);
}
