/* SPDX-License-Identifier: MIT */
/* Isolates where the system has no memory. */
#include "faults.h"

#include "strait/extra/isolate.h"

static void note_exit(struct strait_worker *worker, const struct strait_event *event, void *context)
{
    (void)worker;
    *(struct strait_event *)context = *event;
}

/* Runs an isolate in a worker, to the end of both, and tells the exit. The n-th allocation fails;
 * 0: none. */
static struct strait_event exit_of(strait_isolate_fn *entry, unsigned n)
{
    struct strait_event exit = {.type = STRAIT_ONLINE};
    struct strait_isolate *isolate = NULL;
    struct strait_worker *worker = NULL;
    struct strait_isolate_options options = {.entry = entry};
    struct strait_worker_options both = {
        .entry = strait_isolate_main, .event = note_exit, .context = &exit};
    int live = counts.live;
    assert_returns(strait_isolate_create(&isolate, &options), 0);
    both.data = isolate;
    arm_fault(POSIX_MEMALIGN, n);
    assert_returns(strait_worker_spawn(&worker, &both), 0);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    while (strait_worker_dispatch(worker, 0) > 0) {
    }
    assert_returns(strait_worker_destroy(worker), 0);
    strait_isolate_destroy(isolate);
    assert_int_equal(counts.live, live);
    assert_int_equal(exit.type, STRAIT_EXIT);
    return exit;
}

static int system_memory_entry(struct strait_isolate *isolate)
{
    void *small = strait_heap_alloc(isolate, 100);
    EXPECT(small != NULL);
    size_t used = strait_heap_used(isolate);
    errno = ERRNO_MARK;
    arm_fault(POSIX_MEMALIGN, 1);
    EXPECT(strait_heap_alloc(isolate, 100000) == NULL);
    arm_fault(POSIX_MEMALIGN, 1);
    EXPECT(strait_heap_resize(isolate, small, 100000) == NULL);
    EXPECT(errno_kept());
    EXPECT(strait_heap_used(isolate) == used);
    arm_fault(POSIX_MEMALIGN, 1);
    for (int i = 0; i < 20 && counts.hits == 0; i++) {
        strait_heap_alloc(isolate, 8000); /* until a region is needed */
    }
    EXPECT(counts.hits == 1);
    EXPECT(strait_heap_alloc(isolate, 100000) != NULL);
    return 5;
}

/* No memory to be had is not the heap's limit. */
static void a_heap_survives_the_lack_of_memory(void)
{
    struct strait_event exit = exit_of(system_memory_entry, 0);
    assert_int_equal(exit.code, 5);
    assert_int_equal(exit.warning, 0);
}

static int nothing_in_isolate(struct strait_isolate *isolate)
{
    (void)isolate;
    return 0;
}

static void an_isolate_says_that_there_is_no_memory(void)
{
    struct strait_isolate *isolate = NULL;
    struct strait_isolate_options options = {.entry = nothing_in_isolate};
    arm_fault(POSIX_MEMALIGN, 1);
    assert_returns(strait_isolate_create(&isolate, &options), -ENOMEM);
    assert_null(isolate);
    assert_int_equal(exit_of(nothing_in_isolate, 0).code, 0);
    /* five are the worker's, and the sixth is the message of the isolate's loop */
    assert_int_equal(exit_of(nothing_in_isolate, 6).code, -ENOMEM);
}

TESTS(ONCE(a_heap_survives_the_lack_of_memory), ONCE(an_isolate_says_that_there_is_no_memory))
