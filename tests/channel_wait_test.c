/* SPDX-License-Identifier: MIT */
/* Blocking calls: nobody misses a wake-up, a close, a cancellation or a deadline, and nobody who
 * waits burns CPU unless it was told to. */
#include "support.h"

/* ---- blocked threads ---- */

struct blocked {
    const struct test_case *test;
    struct strait_channel *channel;
    struct strait_sender senders[SENDERS_MOST];
    struct strait_receiver receiver;
    unsigned count;
    uint32_t cancel;
    uint32_t reason; /* plain: written before the wake-up, read after it */
    int64_t deadline;
    bool wait_only; /* strait_send_wait instead of strait_send */
    _Atomic unsigned entered;
    _Atomic unsigned returned;
    _Atomic unsigned long errors; /* errno touched, or too early */
    _Atomic long long results[SENDERS_MOST];
    _Atomic long long cpu_ns[SENDERS_MOST];
};

struct blocked_sender {
    struct blocked *blocked;
    unsigned number;
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

/* Each sender finds no room. */
static void blocked_fill(struct blocked *blocked)
{
    for (unsigned i = 0; i < blocked->count; i++) {
        const uint64_t message = i;
        while (strait_try_send(&blocked->senders[i], &message, 1) == 1) {
        }
    }
}

static void blocked_close(struct blocked *blocked)
{
    for (unsigned i = 0; i < blocked->count; i++) {
        strait_sender_close(&blocked->senders[i]);
    }
    strait_receiver_close(&blocked->receiver);
    strait_channel_destroy(blocked->channel, NULL, NULL);
    assert_int_equal(blocked->errors, 0);
}

#define REASON 77u

static void note(struct blocked *blocked, unsigned number, long long result)
{
    bool early = result == -ETIMEDOUT && strait_now() < blocked->deadline;
    error_if(&blocked->errors, early || !errno_kept());
    if (result == -ECANCELED) {
        error_if(&blocked->errors, blocked->reason != REASON);
    }
    blocked->results[number] = result;
    atomic_fetch_add(&blocked->returned, 1);
}

static void *blocked_sender_body(void *context)
{
    struct blocked_sender *self = context;
    struct blocked *blocked = self->blocked;
    struct strait_sender *sender = &blocked->senders[self->number];
    const uint64_t message = self->number;
    strait_sender_adopt(sender);
    errno = ERRNO_MARK;
    atomic_fetch_add(&blocked->entered, 1);
    int64_t cpu = thread_cpu_ns();
    long long result = blocked->wait_only
                           ? strait_send_wait(sender, blocked->deadline)
                           : (long long)strait_send(sender, &message, 1, blocked->deadline);
    blocked->cpu_ns[self->number] = thread_cpu_ns() - cpu;
    note(blocked, self->number, result);
    return NULL;
}

static void *blocked_receiver_body(void *context)
{
    struct blocked *blocked = context;
    uint64_t message;
    strait_receiver_adopt(&blocked->receiver);
    errno = ERRNO_MARK;
    atomic_fetch_add(&blocked->entered, 1);
    int64_t cpu = thread_cpu_ns();
    long long result =
        blocked->wait_only
            ? strait_receive_wait(&blocked->receiver, blocked->deadline)
            : (long long)strait_receive(&blocked->receiver, &message, 1, blocked->deadline);
    blocked->cpu_ns[0] = thread_cpu_ns() - cpu;
    note(blocked, 0, result);
    return NULL;
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

typedef void wake_fn(struct blocked *blocked);

static void wake_by_close(struct blocked *blocked)
{
    strait_receiver_close(&blocked->receiver);
}

static void wake_by_cancel(struct blocked *blocked)
{
    blocked->reason = REASON;
    __atomic_store_n(&blocked->cancel, 1, __ATOMIC_RELEASE);
    strait_channel_wake(blocked->channel);
}

/* All at once, and nothing after it that would wake whoever missed it. */
static void wake_by_room(struct blocked *blocked)
{
    uint64_t messages[SENDERS_MOST * 8];
    ptrdiff_t count = strait_try_receive(&blocked->receiver, messages, SENDERS_MOST * 8);
    error_if(&blocked->errors, count <= 0);
}

static void wake_by_sender_close(struct blocked *blocked)
{
    for (unsigned i = 0; i < blocked->count; i++) {
        strait_sender_close(&blocked->senders[i]);
    }
}

static void wake_by_message(struct blocked *blocked)
{
    const uint64_t message = 3;
    unsigned last = blocked->count - 1;
    error_if(&blocked->errors, strait_try_send(&blocked->senders[last], &message, 1) != 1);
}

/* Every sender blocks on a full channel, and every one gets `expected`. */
static void senders_round(const struct test_case *test, size_t round, bool wait_only, wake_fn *wake,
                          long long expected)
{
    struct blocked blocked;
    pthread_t threads[SENDERS_MOST];
    struct blocked_sender senders[SENDERS_MOST];
    blocked_open(&blocked, test, SENDERS_MOST);
    blocked_fill(&blocked);
    blocked.wait_only = wait_only;
    for (unsigned i = 0; i < blocked.count; i++) {
        senders[i] = (struct blocked_sender){.blocked = &blocked, .number = i};
        thread_start(&threads[i], blocked_sender_body, &senders[i]);
    }
    let_them_sleep(&blocked, blocked.count, round);
    wake(&blocked);
    for (unsigned i = 0; i < blocked.count; i++) {
        thread_join(threads[i]);
        assert_int_equal(blocked.results[i], expected);
    }
    blocked_close(&blocked);
    progress_made();
}

static void receiver_round(const struct test_case *test, size_t round, bool wait_only,
                           wake_fn *wake, long long expected)
{
    struct blocked blocked;
    pthread_t thread;
    blocked_open(&blocked, test, 2);
    blocked.wait_only = wait_only;
    thread_start(&thread, blocked_receiver_body, &blocked);
    let_them_sleep(&blocked, 1, round);
    wake(&blocked);
    thread_join(thread);
    assert_int_equal(blocked.results[0], expected);
    blocked_close(&blocked);
    progress_made();
}

#define ROUNDS 150

static void test_close_wakes_senders(void **state)
{
    for (size_t round = 0; round < scaled(ROUNDS); round++) {
        senders_round(*state, round, round % 2, wake_by_close, -EPIPE);
    }
}

static void test_cancel_wakes_senders(void **state)
{
    for (size_t round = 0; round < scaled(ROUNDS); round++) {
        senders_round(*state, round, round % 2, wake_by_cancel, -ECANCELED);
    }
}

static void test_room_wakes_senders(void **state)
{
    for (size_t round = 0; round < scaled(ROUNDS); round++) {
        bool wait_only = round % 2;
        senders_round(*state, round, wait_only, wake_by_room, wait_only ? 0 : 1);
    }
}

/* Room for one wakes the one whom it is for, whoever else sleeps: in its own place each registered
 * sender, else any of them. */
static void room_for_one(struct blocked *blocked, unsigned *returned)
{
    uint64_t message = SENDERS_MOST;
    assert_returns(strait_try_receive(&blocked->receiver, &message, 1), 1);
    assert_true(message < blocked->count);
    if (blocked->test->variant->senders != STRAIT_SENDERS_REGISTERED) {
        await(&blocked->returned, ++*returned);
        return;
    }
    while (blocked->results[message] == 0) {
        sched_yield();
    }
    /* a sender may be stopped between its result and its return: do not take more for its sake */
    unsigned results = 0;
    for (unsigned i = 0; i < blocked->count; i++) {
        results += blocked->results[i] != 0;
    }
    await(&blocked->returned, results);
    *returned = results;
}

static void test_room_for_one_wakes_one(void **state)
{
    for (size_t round = 0; round < scaled(ROUNDS); round++) {
        struct blocked blocked;
        pthread_t threads[SENDERS_MOST];
        struct blocked_sender senders[SENDERS_MOST];
        blocked_open(&blocked, *state, SENDERS_MOST);
        blocked_fill(&blocked);
        for (unsigned i = 0; i < blocked.count; i++) {
            senders[i] = (struct blocked_sender){.blocked = &blocked, .number = i};
            thread_start(&threads[i], blocked_sender_body, &senders[i]);
        }
        let_them_sleep(&blocked, blocked.count, round);
        for (unsigned returned = 0; returned < blocked.count;) {
            room_for_one(&blocked, &returned);
        }
        for (unsigned i = 0; i < blocked.count; i++) {
            thread_join(threads[i]);
            assert_int_equal(blocked.results[i], 1);
        }
        blocked_close(&blocked);
        progress_made();
    }
}

static void test_close_wakes_receiver(void **state)
{
    for (size_t round = 0; round < scaled(ROUNDS); round++) {
        receiver_round(*state, round, round % 2, wake_by_sender_close, -EPIPE);
    }
}

static void test_cancel_wakes_receiver(void **state)
{
    for (size_t round = 0; round < scaled(ROUNDS); round++) {
        receiver_round(*state, round, round % 2, wake_by_cancel, -ECANCELED);
    }
}

static void test_message_wakes_receiver(void **state)
{
    for (size_t round = 0; round < scaled(ROUNDS); round++) {
        bool wait_only = round % 2;
        receiver_round(*state, round, wait_only, wake_by_message, wait_only ? 0 : 1);
    }
}

/* ---- cancelling, in one thread ---- */

/* What can be done is done; only a wait is cancelled, and only while the flag is set. */
static void test_cancel_ends_waits_only(void **state)
{
    struct blocked blocked;
    uint64_t message = 1;
    blocked_open(&blocked, *state, 1);
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

static void test_deadlines(void **state)
{
    struct blocked blocked;
    uint64_t message = 1;
    blocked_open(&blocked, *state, 1);
    for (int64_t ns = -1000; ns <= 3000000; ns = ns < 0 ? 0 : ns * 3 + 500) {
        int64_t deadline = strait_deadline(ns);
        assert_returns(strait_receive(&blocked.receiver, &message, 1, deadline), -ETIMEDOUT);
        assert_true(strait_now() >= deadline);
        deadline = strait_deadline(ns);
        assert_returns(strait_receive_wait(&blocked.receiver, deadline), -ETIMEDOUT);
        assert_true(strait_now() >= deadline);
    }
    assert_returns(strait_send(&blocked.senders[0], &message, 1, INT64_MIN), 1);
    for (int64_t ns = -1000; ns <= 3000000; ns = ns < 0 ? 0 : ns * 3 + 500) {
        int64_t deadline = strait_deadline(ns);
        assert_returns(strait_send(&blocked.senders[0], &message, 1, deadline), -ETIMEDOUT);
        assert_true(strait_now() >= deadline);
    }
    blocked_close(&blocked);
}

static void test_deadline_arithmetic(void **state)
{
    (void)state;
    int64_t before = strait_now();
    int64_t deadline = strait_deadline(1000);
    assert_true(deadline >= before + 1000 && deadline <= strait_now() + 1000);
    assert_true(strait_deadline(STRAIT_FOREVER) == STRAIT_FOREVER);
    assert_true(strait_deadline(STRAIT_FOREVER - 1) == STRAIT_FOREVER);
    assert_true(strait_deadline(0) <= strait_now());
}

static int64_t in_ms(int64_t ms)
{
    return strait_deadline(ms * 1000000);
}

/* A wake-up without a reason makes nobody return before its time. */
static void test_idle_wake_ups(void **state)
{
    struct blocked blocked;
    pthread_t thread;
    blocked_open(&blocked, *state, 1);
    blocked.deadline = in_ms(50);
    thread_start(&thread, blocked_receiver_body, &blocked);
    while (atomic_load(&blocked.returned) == 0) {
        strait_channel_wake(blocked.channel);
        sleep_ns(1000000);
        progress_made();
    }
    thread_join(thread);
    assert_int_equal(blocked.results[0], -ETIMEDOUT);
    blocked_close(&blocked);
}

/* Nobody who waits burns CPU: 300 ms of waiting for 5 ms of CPU at most. */
static void test_idle_receiver(void **state)
{
    const struct test_case *test = *state;
    struct blocked blocked;
    pthread_t thread;
    if (test->receiver == STRAIT_WAIT_SPIN) {
        skip();
    }
    blocked_open(&blocked, test, 1);
    blocked.deadline = in_ms(300);
    thread_start(&thread, blocked_receiver_body, &blocked);
    thread_join(thread);
    assert_int_equal(blocked.results[0], -ETIMEDOUT);
    assert_true(blocked.cpu_ns[0] < 5000000);
    blocked_close(&blocked);
}

static void test_idle_senders(void **state)
{
    const struct test_case *test = *state;
    struct blocked blocked;
    pthread_t threads[SENDERS_MOST];
    struct blocked_sender senders[SENDERS_MOST];
    if (test->sender == STRAIT_WAIT_SPIN) {
        skip();
    }
    blocked_open(&blocked, test, 1);
    blocked_fill(&blocked);
    blocked.deadline = in_ms(300);
    for (unsigned i = 0; i < blocked.count; i++) {
        senders[i] = (struct blocked_sender){.blocked = &blocked, .number = i};
        thread_start(&threads[i], blocked_sender_body, &senders[i]);
    }
    for (unsigned i = 0; i < blocked.count; i++) {
        thread_join(threads[i]);
        assert_int_equal(blocked.results[i], -ETIMEDOUT);
        assert_true(blocked.cpu_ns[i] < 5000000);
    }
    blocked_close(&blocked);
}

/* ---- handing over: each message is waited for ---- */

struct relay {
    struct strait_sender there;
    struct strait_receiver back;
    struct strait_receiver out;
    struct strait_sender home;
    uint64_t rounds;
    _Atomic unsigned long errors;
};

static void pause_at_random(uint64_t *seed)
{
    size_t kind = draw_below(seed, 16);
    if (kind == 0) {
        sched_yield();
    } else if (kind < 8) {
        dawdle(draw_below(seed, kind < 3 ? 20000 : 500));
    }
}

static void *relay_body(void *context)
{
    struct relay *relay = context;
    uint64_t seed = 11;
    strait_receiver_adopt(&relay->out);
    strait_sender_adopt(&relay->home);
    errno = ERRNO_MARK;
    for (uint64_t i = 0; i < relay->rounds; i++) {
        uint64_t message = 0;
        error_if(&relay->errors, strait_receive(&relay->out, &message, 1, STRAIT_FOREVER) != 1);
        error_if(&relay->errors, message != i);
        pause_at_random(&seed);
        error_if(&relay->errors, strait_send(&relay->home, &message, 1, STRAIT_FOREVER) != 1);
        error_if(&relay->errors, !errno_kept());
    }
    return NULL;
}

static void relay_run(struct relay *relay)
{
    uint64_t seed = 13;
    for (uint64_t i = 0; i < relay->rounds; i++) {
        uint64_t message = i;
        error_if(&relay->errors, strait_send(&relay->there, &message, 1, STRAIT_FOREVER) != 1);
        pause_at_random(&seed);
        error_if(&relay->errors, strait_receive(&relay->back, &message, 1, STRAIT_FOREVER) != 1);
        error_if(&relay->errors, message != i);
        progress_made();
    }
}

static void test_hand_over(void **state)
{
    const struct test_case *test = *state;
    struct relay relay = {.rounds = scaled(test->receiver == STRAIT_WAIT_PARK ? 30000 : 8000)};
    struct strait_channel *out = case_channel(test, 1, sizeof(uint64_t));
    struct strait_channel *home = case_channel(test, 1, sizeof(uint64_t));
    pthread_t thread;
    assert_returns(strait_sender_open(&relay.there, out), 0);
    assert_returns(strait_receiver_open(&relay.out, out), 0);
    assert_returns(strait_sender_open(&relay.home, home), 0);
    assert_returns(strait_receiver_open(&relay.back, home), 0);
    thread_start(&thread, relay_body, &relay);
    relay_run(&relay);
    thread_join(thread);
    assert_int_equal(relay.errors, 0);
    strait_channel_destroy(out, NULL, NULL);
    strait_channel_destroy(home, NULL, NULL);
}

int main(void)
{
    static struct suite suite;
    watchdog_start();
    suite_once(&suite, "deadline arithmetic", test_deadline_arithmetic);
    suite_modes(&suite, "deadlines", test_deadlines);
    suite_modes(&suite, "cancel ends waits only", test_cancel_ends_waits_only);
    suite_modes(&suite, "idle wake-ups", test_idle_wake_ups);
    suite_modes(&suite, "idle receiver", test_idle_receiver);
    suite_modes(&suite, "idle senders", test_idle_senders);
    suite_modes(&suite, "message wakes receiver", test_message_wakes_receiver);
    suite_modes(&suite, "close wakes receiver", test_close_wakes_receiver);
    suite_modes(&suite, "cancel wakes receiver", test_cancel_wakes_receiver);
    suite_modes(&suite, "hand over", test_hand_over);
    suite_modes(&suite, "room wakes senders", test_room_wakes_senders);
    suite_modes(&suite, "room for one wakes one", test_room_for_one_wakes_one);
    suite_modes(&suite, "close wakes senders", test_close_wakes_senders);
    suite_modes(&suite, "cancel wakes senders", test_cancel_wakes_senders);
    return suite_run(&suite, "channel_wait");
}
