/* SPDX-License-Identifier: MIT */
/* A channel where the system says no: to memory, to descriptors, to membarrier, to a sleep. */
#include "channel/fixture.h"
#include "faults.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>

static int create_channel(void)
{
    struct strait_channel *channel = NULL;
    struct strait_channel_options options = {
        .sender = STRAIT_WAIT_FD,
        .receiver = STRAIT_WAIT_FD,
    };
    int error = strait_channel_create(&channel, &options);
    strait_channel_destroy(channel, NULL, NULL);
    return error;
}

TEST(a_channel_fails_cleanly)
{
    static const unsigned at_least[FUNCTIONS] = {[POSIX_MEMALIGN] = 1, [EVENTFD] = 2};
    fail_everything(create_channel, at_least, FUNCTIONS);
}

/* ---- waiting ---- */

/* Nothing is allocated on the way but the two channels. */
static void ping_pong(uint64_t rounds)
{
    static const struct strait_channel_options options = {.message_size = sizeof(uint64_t)};
    unsigned before = counts.allocations;
    echo_run(&options, rounds);
    assert_true(RUNTIME_INTERFERES || counts.allocations == before + 2);
}

static uint32_t what_is_between(void)
{
    struct strait_channel *channel = NULL;
    assert_returns(strait_channel_create(&channel, NULL), 0);
    uint32_t between = channel->between;
    strait_channel_destroy(channel, NULL, NULL);
    return between;
}

TEST(fences_do_where_there_is_no_membarrier)
{
    if (!alone(__func__, NULL)) {
        return;
    }
    refuse_membarrier(~0u, ENOSYS);
    assert_int_equal(what_is_between(), STRAIT_P_FENCES);
    assert_int_equal(counts.hits, 1);
    ping_pong(scaled(5000));
    assert_int_equal(counts.hits, 1); /* asked once, and never again */
    assert_int_equal(counts.naps, 0);
}

/* The senders hold no fences then: the one who goes to sleep still has to order them. */
TEST(a_membarrier_that_fails_later_is_made_up_for)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) <= 0) {
        skip(); /* the kernel has none */
    }
    if (!alone(__func__, NULL)) {
        return;
    }
    assert_int_equal(what_is_between(), STRAIT_P_BARRIER);
    refuse_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, ENOMEM);
    ping_pong(60);
    assert_true(counts.hits > 0);
    assert_int_equal(counts.membarriers_global, counts.hits);
    assert_int_equal(counts.naps, 0);
    refuse_membarrier(~0u, EPERM);
    ping_pong(60);
    assert_true(counts.hits > 0);
    assert_int_equal(counts.naps * 2, counts.hits);
}

/* A wait that a signal interrupted, or that came too late for its word, is a wait all the same. */
TEST(a_futex_may_answer_early)
{
    static const int answers[] = {EINTR, EAGAIN};
    for (size_t i = 0; i < COUNT(answers); i++) {
        answer_futexes(answers[i]);
        ping_pong(scaled(2000));
        assert_true(counts.futex_waits >= 2);
        answer_futexes(0);
    }
}
