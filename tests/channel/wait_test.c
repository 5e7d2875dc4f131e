/* SPDX-License-Identifier: MIT */
/* Blocking calls: nobody misses a wake-up, a close, a cancellation or a deadline, and nobody who
 * waits burns CPU unless it was told to. */
#include "channel/fixture.h"

/* ---- blocked threads ---- */

/* A channel all of whose senders block, or its receiver. */
struct blocked {
    const struct test_case *test;
    struct strait_channel *channel;
    struct strait_sender senders[SENDERS_MOST];
    struct strait_receiver receiver;
    unsigned count; /* of senders */
    uint32_t cancel;
    uint32_t reason; /* plain: written before the wake-up, read after it */
    int64_t deadline;
    bool wait_only; /* strait_send_wait instead of strait_send */
    _Atomic unsigned entered;
    _Atomic unsigned returned;
    struct waiter {
        struct blocked *blocked;
        struct strait_sender *sender; /* NULL: the receiver */
        uint64_t number;
        pthread_t thread;
        _Atomic long long result;
        int64_t cpu_ns;
    } waiters[SENDERS_MOST];
};

static void blocked_open(struct blocked *blocked, const struct test_case *test, size_t capacity)
{
    memset(blocked, 0, sizeof(*blocked));
    blocked->test = test;
    blocked->count = case_senders(test);
    blocked->deadline = STRAIT_FOREVER;
    blocked->channel = case_channel(test, capacity, sizeof(uint64_t));
    assert_returns(strait_receiver_open(&blocked->receiver, blocked->channel), 0);
    strait_receiver_cancel_on(&blocked->receiver, &blocked->cancel);
    for (unsigned i = 0; i < blocked->count; i++) {
        assert_returns(strait_sender_open(&blocked->senders[i], blocked->channel), 0);
        strait_sender_cancel_on(&blocked->senders[i], &blocked->cancel);
    }
}

static void blocked_close(struct blocked *blocked)
{
    strait_channel_destroy(blocked->channel, NULL, NULL);
    progress_made();
}

#define REASON 77u

static void *waiter_body(void *context)
{
    struct waiter *self = context;
    struct blocked *blocked = self->blocked;
    struct strait_receiver *receiver = &blocked->receiver;
    int64_t deadline = blocked->deadline;
    uint64_t message = self->number;
    long long result;
    if (self->sender) {
        strait_sender_adopt(self->sender);
    } else {
        strait_receiver_adopt(receiver);
    }
    errno = ERRNO_MARK;
    atomic_fetch_add(&blocked->entered, 1);
    int64_t cpu = thread_cpu_ns();
    if (blocked->wait_only) {
        result = self->sender ? strait_send_wait(self->sender, deadline)
                              : strait_receive_wait(receiver, deadline);
    } else {
        result = self->sender ? strait_send(self->sender, &message, 1, deadline)
                              : strait_receive(receiver, &message, 1, deadline);
    }
    self->cpu_ns = thread_cpu_ns() - cpu;
    EXPECT(errno_kept());
    EXPECT(result != -ETIMEDOUT || strait_now() >= deadline);
    EXPECT(result != -ECANCELED || blocked->reason == REASON);
    self->result = result;
    atomic_fetch_add(&blocked->returned, 1);
    return NULL;
}

/* Every sender blocks on a full channel, or the receiver on an empty one. How many threads. */
static unsigned start_waiters(struct blocked *blocked, bool receive)
{
    unsigned threads = receive ? 1 : blocked->count;
    for (uint64_t i = 0; !receive && i < blocked->count; i++) {
        while (strait_try_send(&blocked->senders[i], &i, 1) == 1) {
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        struct waiter *waiter = &blocked->waiters[i];
        waiter->blocked = blocked;
        waiter->sender = receive ? NULL : &blocked->senders[i];
        waiter->number = i;
        thread_start(&waiter->thread, waiter_body, waiter);
    }
    return threads;
}

static void join_waiters(struct blocked *blocked, unsigned threads, long long expected)
{
    for (unsigned i = 0; i < threads; i++) {
        thread_join(blocked->waiters[i].thread);
        assert_int_equal(blocked->waiters[i].result, expected);
    }
}

/* From not asleep yet to fast asleep. */
static void let_them_sleep(struct blocked *blocked, unsigned threads, size_t round)
{
    await(&blocked->entered, threads);
    dawdle(round % 7 * 1500);
    if (round % 5 == 4) {
        sleep_ns(200000);
    }
}

/* ---- wake-ups: one, and nothing after it that would wake whoever missed it ---- */

typedef void wake_fn(struct blocked *blocked);

static void close_receiver(struct blocked *blocked)
{
    strait_receiver_close(&blocked->receiver);
}

static void close_senders(struct blocked *blocked)
{
    for (unsigned i = 0; i < blocked->count; i++) {
        strait_sender_close(&blocked->senders[i]);
    }
}

static void cancel(struct blocked *blocked)
{
    blocked->reason = REASON;
    __atomic_store_n(&blocked->cancel, 1, __ATOMIC_RELEASE);
    strait_channel_wake(blocked->channel);
}

static void make_room(struct blocked *blocked)
{
    uint64_t messages[SENDERS_MOST * 8];
    assert_true(strait_try_receive(&blocked->receiver, messages, COUNT(messages)) > 0);
}

static void send_one(struct blocked *blocked)
{
    const uint64_t message = 3;
    struct strait_sender *last = &blocked->senders[blocked->count - 1];
    assert_returns(strait_try_send(last, &message, 1), 1);
}

#define ROUNDS 150

/* Whoever blocks is told `expected`; 0 instead of 1 from a call that only waits. */
static void rounds(const struct test_case *test, bool receive, wake_fn *wake, long long expected)
{
    for (size_t round = 0; round < scaled(ROUNDS); round++) {
        struct blocked blocked;
        blocked_open(&blocked, test, receive ? 2 : SENDERS_MOST);
        blocked.wait_only = round % 2;
        unsigned threads = start_waiters(&blocked, receive);
        let_them_sleep(&blocked, threads, round);
        wake(&blocked);
        join_waiters(&blocked, threads, expected == 1 && blocked.wait_only ? 0 : expected);
        blocked_close(&blocked);
    }
}

TEST_EACH_MODE(receiver_is_woken)
{
    rounds(test, true, send_one, 1);
    rounds(test, true, close_senders, -EPIPE);
    rounds(test, true, cancel, -ECANCELED);
}

TEST_EACH_MODE(senders_are_woken)
{
    rounds(test, false, make_room, 1);
    rounds(test, false, close_receiver, -EPIPE);
    rounds(test, false, cancel, -ECANCELED);
}

/* Room for one wakes the one whom it is for, whoever else sleeps: in its own place each registered
 * sender, else any of them. */
static void room_for_one(struct blocked *blocked, unsigned *returned)
{
    uint64_t message = SENDERS_MOST;
    assert_returns(strait_try_receive(&blocked->receiver, &message, 1), 1);
    assert_true(message < blocked->count);
    if (!case_has(blocked->test, STRAIT_SENDERS_REGISTERED)) {
        await(&blocked->returned, ++*returned);
        return;
    }
    while (blocked->waiters[message].result == 0) {
        sched_yield();
    }
    /* a sender may be stopped between its result and its return: do not take more for its sake */
    unsigned results = 0;
    for (unsigned i = 0; i < blocked->count; i++) {
        results += blocked->waiters[i].result != 0;
    }
    await(&blocked->returned, results);
    *returned = results;
}

TEST_EACH_MODE(room_for_one_wakes_one)
{
    for (size_t round = 0; round < scaled(ROUNDS); round++) {
        struct blocked blocked;
        blocked_open(&blocked, test, SENDERS_MOST);
        unsigned threads = start_waiters(&blocked, false);
        let_them_sleep(&blocked, threads, round);
        for (unsigned returned = 0; returned < threads;) {
            room_for_one(&blocked, &returned);
        }
        join_waiters(&blocked, threads, 1);
        blocked_close(&blocked);
    }
}

/* ---- cancelling, in one thread ---- */

/* What can be done is done; only a wait is cancelled, and only while the flag is set. */
TEST_EACH_MODE(cancel_ends_waits_only)
{
    struct blocked blocked;
    uint64_t message = 1;
    blocked_open(&blocked, test, 1);
    blocked.cancel = 1;
    assert_returns(strait_receive(&blocked.receiver, &message, 1, STRAIT_FOREVER), -ECANCELED);
    assert_returns(strait_receive(&blocked.receiver, &message, 1, 0), -ECANCELED);
    assert_returns(strait_send_wait(&blocked.senders[0], STRAIT_FOREVER), 0);
    assert_returns(strait_send(&blocked.senders[0], &message, 1, STRAIT_FOREVER), 1);
    assert_returns(strait_receive_wait(&blocked.receiver, STRAIT_FOREVER), 0);
    assert_returns(strait_send(&blocked.senders[0], &message, 1, STRAIT_FOREVER), -ECANCELED);
    assert_returns(strait_send_wait(&blocked.senders[0], STRAIT_FOREVER), -ECANCELED);
    assert_returns(strait_receive(&blocked.receiver, &message, 1, STRAIT_FOREVER), 1);
    assert_returns(strait_receive_wait(&blocked.receiver, STRAIT_FOREVER), -ECANCELED);
    blocked.cancel = 0;
    assert_returns(strait_receive_wait(&blocked.receiver, 0), -ETIMEDOUT);
    blocked.cancel = 1;
    strait_receiver_cancel_on(&blocked.receiver, NULL);
    assert_returns(strait_receive_wait(&blocked.receiver, 0), -ETIMEDOUT);
    blocked_close(&blocked);
}

/* ---- deadlines ---- */

TEST_EACH_MODE(deadlines)
{
    struct blocked blocked;
    uint64_t message = 1;
    blocked_open(&blocked, test, 1);
    for (int call = 0; call < 4; call++) {
        for (int64_t ns = -1000; ns <= 3000000; ns = ns < 0 ? 0 : ns * 3 + 500) {
            int64_t deadline = strait_deadline(ns);
            assert_returns(call == 0   ? strait_receive(&blocked.receiver, &message, 1, deadline)
                           : call == 1 ? strait_receive_wait(&blocked.receiver, deadline)
                           : call == 2 ? strait_send(&blocked.senders[0], &message, 1, deadline)
                                       : strait_send_wait(&blocked.senders[0], deadline),
                           -ETIMEDOUT);
            assert_true(strait_now() >= deadline);
        }
        if (call == 1) {
            assert_returns(strait_send(&blocked.senders[0], &message, 1, INT64_MIN), 1);
        }
    }
    blocked_close(&blocked);
}

TEST(deadline_arithmetic)
{
    int64_t before = strait_now();
    int64_t deadline = strait_deadline(1000);
    assert_true(deadline >= before + 1000 && deadline <= strait_now() + 1000);
    assert_true(strait_deadline(STRAIT_FOREVER) == STRAIT_FOREVER);
    assert_true(strait_deadline(STRAIT_FOREVER - 1) == STRAIT_FOREVER);
    assert_true(strait_deadline(0) <= strait_now());
    before = strait_now();
    deadline = strait_in_ms(3);
    assert_true(deadline >= before + 3000000 && deadline <= strait_now() + 3000000);
    before = strait_now();
    deadline = strait_in_us(-7);
    assert_true(deadline >= before - 7000 && deadline <= strait_now() - 7000);
    assert_true(strait_in_ms(INT64_MAX) == STRAIT_FOREVER);
    assert_true(strait_in_us(INT64_MAX / 1000) == STRAIT_FOREVER);
    assert_true(strait_in_ms(INT64_MIN) < 0);
}

/* A wake-up without a reason makes nobody return before its time. */
TEST_EACH_MODE(idle_wake_ups)
{
    struct blocked blocked;
    blocked_open(&blocked, test, 1);
    blocked.deadline = strait_deadline(50 * 1000000);
    start_waiters(&blocked, true);
    while (atomic_load(&blocked.returned) == 0) {
        strait_channel_wake(blocked.channel);
        sleep_ns(1000000);
        progress_made();
    }
    join_waiters(&blocked, 1, -ETIMEDOUT);
    blocked_close(&blocked);
}

/* Nobody who waits burns CPU: 300 ms of waiting for 5 ms of CPU at most. */
TEST_EACH_MODE(waiting_costs_nothing)
{
    if (test->receiver == STRAIT_WAIT_SPIN) {
        skip();
    }
    for (int receive = 0; receive < 2; receive++) {
        struct blocked blocked;
        blocked_open(&blocked, test, 1);
        blocked.deadline = strait_deadline(300 * 1000000);
        unsigned threads = start_waiters(&blocked, receive);
        join_waiters(&blocked, threads, -ETIMEDOUT);
        for (unsigned i = 0; i < threads; i++) {
            assert_true(blocked.waiters[i].cpu_ns < 5000000);
        }
        blocked_close(&blocked);
    }
}

TEST_EACH_MODE(hand_over)
{
    struct strait_channel_options options = case_options(test, 1, sizeof(uint64_t));
    echo_run(&options, scaled(test->receiver == STRAIT_WAIT_PARK ? 30000 : 8000));
}
