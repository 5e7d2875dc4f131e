/* SPDX-License-Identifier: MIT */
/* Isolates and sets where the system has no memory or no descriptors. */
#include <linux/membarrier.h>

#include "extra/fixture.h"
#include "faults.h"
#include "strait/extra/set.h"

ENTRY(nothing_in_isolate)
{
    return 0;
}

/* The exit of a tenant, of which nothing is left. The n-th allocation fails; 0: none. */
static struct strait_event exit_of(strait_isolate_fn *entry, unsigned n)
{
    struct tenant tenant = {.inner = {.entry = entry}};
    struct tenant first = {.inner = {.entry = nothing_in_isolate}};
    tenant_spawn(&first); /* what is read of the machine stays */
    tenant_end(&first);
    int live = counts.live;
    arm_fault(POSIX_MEMALIGN, n);
    tenant_spawn(&tenant);
    tenant_end(&tenant);
    assert_int_equal(counts.live, live);
    return tenant.log.exit;
}

ENTRY(system_memory_entry)
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
TEST(a_heap_survives_the_lack_of_memory)
{
    struct strait_event exit = exit_of(system_memory_entry, 0);
    assert_int_equal(exit.code, 5);
    assert_int_equal(exit.warning, 0);
}

TEST(an_isolate_says_that_there_is_no_memory)
{
    struct strait_isolate *isolate = NULL;
    struct strait_isolate_options options = {.entry = nothing_in_isolate};
    arm_fault(POSIX_MEMALIGN, 1);
    assert_returns(strait_isolate_create(&isolate, &options), -ENOMEM);
    assert_null(isolate);
    assert_int_equal(exit_of(nothing_in_isolate, 0).code, 0);
    /* the isolate, five of the worker's, and the message of the isolate's loop */
    assert_int_equal(exit_of(nothing_in_isolate, 7).code, -ENOMEM);
}

TEST(a_set_says_what_there_is_none_of)
{
    struct strait_set *set = NULL;
    int live = counts.live;
    for (unsigned n = 1; n <= 2; n++) { /* itself, and the channel of its marks */
        arm_fault(POSIX_MEMALIGN, n);
        assert_returns(strait_set_create(&set, 8, STRAIT_WAIT_PARK), -ENOMEM);
    }
    arm_fault(EVENTFD, 1);
    assert_returns(strait_set_create(&set, 8, STRAIT_WAIT_FD), -EMFILE);
    assert_null(set);
    assert_int_equal(counts.live, live);
}

/* Arming passes a fence then, and so does each send. */
TEST(a_set_needs_no_membarrier)
{
    if (!alone(__func__, NULL)) {
        return;
    }
    refuse_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, EPERM);
    const uint64_t number = 7;
    uint64_t got = 0;
    struct strait_channel *channel;
    struct strait_sender sender;
    struct strait_receiver receiver;
    struct strait_receiver *ready;
    struct strait_set *set;
    assert_returns(strait_channel_create(&channel, NULL), 0);
    strait_sender_open(&sender, channel);
    strait_receiver_open(&receiver, channel);
    assert_returns(strait_set_create(&set, 1, STRAIT_WAIT_PARK), 0);
    assert_returns(strait_set_add(set, &receiver), 0);
    assert_returns(strait_set_next(set, &ready, strait_deadline(3000000)), -ETIMEDOUT);
    assert_returns(strait_try_send(&sender, &number, 1), 1);
    assert_returns(strait_set_next(set, &ready, STRAIT_FOREVER), 0);
    assert_returns(strait_try_receive(ready, &got, 1), 1);
    assert_int_equal(got, number);
    strait_set_destroy(set);
    strait_channel_destroy(channel, NULL, NULL);
}
