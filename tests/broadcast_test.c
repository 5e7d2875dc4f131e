/* SPDX-License-Identifier: MIT */
/* broadcast: who gets a message, who is owed it, and for whom nobody waits. */
#include "life.h"

#include "strait/extra/broadcast.h"

#define MOST 8

/* A parent's senders and the far ends. */
struct audience {
    size_t count;
    struct strait_port near[MOST];
    struct strait_port far[MOST];
    struct strait_sender *senders[MOST];
    int results[MOST];
};

static void audience_open(struct audience *audience, size_t count, size_t capacity)
{
    struct strait_port_options options = {
        .forth = {.capacity = capacity, .message_size = sizeof(uint64_t)},
    };
    memset(audience, 0, sizeof(*audience));
    audience->count = count;
    for (size_t i = 0; i < count; i++) {
        assert_returns(strait_port_pair(&audience->near[i], &audience->far[i], &options), 0);
        audience->senders[i] = &audience->near[i].sender;
    }
}

static void audience_close(struct audience *audience)
{
    for (size_t i = 0; i < audience->count; i++) {
        strait_port_close(&audience->near[i]);
        strait_port_close(&audience->far[i]);
    }
}

static size_t say(struct audience *audience, uint64_t number, int64_t deadline)
{
    errno = ERRNO_MARK;
    size_t have =
        strait_broadcast(audience->senders, audience->count, &number, audience->results, deadline);
    assert_true(errno_kept());
    return have;
}

static void expect_heard(struct audience *audience, size_t i, uint64_t expected)
{
    uint64_t number = 0;
    assert_returns(strait_try_receive(&audience->far[i].receiver, &number, 1), 1);
    assert_int_equal(number, expected);
}

static void expect_silence(struct audience *audience, size_t i)
{
    uint64_t number;
    assert_returns(strait_try_receive(&audience->far[i].receiver, &number, 1), -EAGAIN);
}

static void fill(struct audience *audience, size_t i)
{
    uint64_t number = 999;
    assert_returns(strait_try_send(audience->senders[i], &number, 1), 1);
}

static void everybody_gets_it_once(void **state)
{
    (void)state;
    struct audience audience;
    audience_open(&audience, MOST, 2);
    assert_int_equal(say(&audience, 7, 0), MOST);
    assert_int_equal(say(&audience, 7, 0), MOST); /* nobody is owed it */
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(audience.results[i], 1);
        expect_heard(&audience, i, 7);
        expect_silence(&audience, i);
    }
    audience_close(&audience);
}

static void nobody_is_nobody(void **state)
{
    (void)state;
    assert_returns(strait_broadcast(NULL, 0, "", NULL, STRAIT_FOREVER), 0);
}

static void who_has_no_room_is_reported_and_owed(void **state)
{
    (void)state;
    struct audience audience;
    audience_open(&audience, 4, 1);
    fill(&audience, 0);
    fill(&audience, 2);
    strait_port_close(&audience.far[3]);
    assert_int_equal(say(&audience, 7, 0), 1);
    assert_int_equal(audience.results[0], -EAGAIN);
    assert_int_equal(audience.results[1], 1);
    assert_int_equal(audience.results[2], -EAGAIN);
    assert_int_equal(audience.results[3], -EPIPE);
    expect_heard(&audience, 2, 999);
    assert_int_equal(say(&audience, 7, 0), 2);
    assert_int_equal(audience.results[0], -EAGAIN);
    assert_int_equal(audience.results[2], 1);
    assert_int_equal(audience.results[3], -EPIPE);
    expect_heard(&audience, 1, 7);
    expect_silence(&audience, 1);
    expect_heard(&audience, 2, 7);
    expect_heard(&audience, 0, 999);
    assert_int_equal(say(&audience, 7, 0), 3);
    expect_heard(&audience, 0, 7);
    audience_close(&audience);
}

static void a_deadline_ends_the_wait(void **state)
{
    (void)state;
    struct audience audience;
    audience_open(&audience, 3, 1);
    fill(&audience, 0);
    fill(&audience, 1);
    strait_port_give(&audience.far[0]); /* else nobody could make room */
    strait_port_give(&audience.far[1]);
    int64_t deadline = strait_deadline(5000000);
    assert_int_equal(say(&audience, 7, deadline), 1);
    assert_true(strait_now() >= deadline);
    assert_int_equal(audience.results[0], -ETIMEDOUT);
    assert_int_equal(audience.results[1], -ETIMEDOUT);
    assert_int_equal(audience.results[2], 1);
    assert_int_equal(say(&audience, 7, 1), 1); /* long past */
    assert_int_equal(audience.results[1], -ETIMEDOUT);
    strait_port_adopt(&audience.far[1]);
    expect_heard(&audience, 1, 999);
    assert_int_equal(say(&audience, 7, deadline), 2); /* past, but there is room */
    expect_heard(&audience, 1, 7);
    audience_close(&audience);
}

/* One wait that cannot be is no reason not to wait for the others. */
static void hopeless_waits_are_reported_and_left(void **state)
{
    (void)state;
    const uint32_t cancel = 1;
    struct audience audience;
    audience_open(&audience, 4, 1);
    for (size_t i = 0; i < 3; i++) {
        fill(&audience, i);
    }
    strait_port_give(&audience.far[1]);
    strait_port_give(&audience.far[2]);
    strait_sender_cancel_on(audience.senders[1], &cancel);
    assert_int_equal(say(&audience, 7, strait_deadline(3000000)), 1);
    assert_int_equal(audience.results[0], -EDEADLK);
    assert_int_equal(audience.results[1], -ECANCELED);
    assert_int_equal(audience.results[2], -ETIMEDOUT);
    assert_int_equal(audience.results[3], 1);
    audience_close(&audience);
}

/* ---- to workers ---- */

static struct gate slow_gate;
static _Atomic unsigned quick_heard;

static int slow_entry(struct strait_port *port, void *data)
{
    uint64_t number;
    uint64_t sum = 0;
    (void)data;
    gate_wait(&slow_gate);
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        sum += number;
    }
    EXPECT(sum == 999 + 7);
    return 0;
}

/* Opens the slow one's gate once it has the message itself: whoever waited for the slow one first
 * would never get here. */
static int quick_entry(struct strait_port *port, void *data)
{
    uint64_t number;
    uint64_t sum = 0;
    (void)data;
    gate_await(&slow_gate, 1);
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        sum += number;
        if (number == 7) {
            atomic_fetch_add(&quick_heard, 1);
            gate_open(&slow_gate);
        }
    }
    EXPECT(sum == 999 + 7);
    return 0;
}

/* Both are full at first. The slow one, first in the list, goes on only when the quick one has got
 * the message: to wait for one after the other would be to wait forever. */
static void the_quick_do_not_wait_for_the_slow(void **state)
{
    (void)state;
    struct strait_worker *workers[2];
    struct strait_sender *senders[2];
    int results[2] = {0};
    const uint64_t filler = 999;
    const uint64_t number = 7;
    for (int i = 0; i < 2; i++) {
        struct strait_worker_options options = {
            .entry = i ? quick_entry : slow_entry,
            .to_worker = {.capacity = 1, .message_size = sizeof(uint64_t)},
        };
        workers[i] = spawn(&options);
        senders[i] = &strait_worker_port(workers[i])->sender;
        assert_int_equal(strait_send(senders[i], &filler, 1, STRAIT_FOREVER), 1);
    }
    assert_int_equal(strait_broadcast(senders, 2, &number, results, STRAIT_FOREVER), 2);
    assert_int_equal(quick_heard, 1);
    for (int i = 0; i < 2; i++) {
        strait_sender_close(senders[i]);
        join_and_destroy(workers[i]);
    }
    assert_no_faults();
}

#define NEWS 4000

/* Hears all, in order, and once. */
static int listener(struct strait_port *port, void *data)
{
    uint64_t number;
    uint64_t expected = 0;
    (void)data;
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        EXPECT(number == expected++);
        dawdle(number % 7 == 0 ? 2000 : 0);
    }
    EXPECT(expected == scaled(NEWS));
    return 0;
}

static void workers_hear_all_in_order(void **state)
{
    (void)state;
    struct strait_worker *workers[3];
    struct strait_sender *senders[3];
    for (int i = 0; i < 3; i++) {
        struct strait_worker_options options = {
            .entry = listener,
            .to_worker = {.capacity = 1 + (size_t)i * 8, .message_size = sizeof(uint64_t)},
        };
        workers[i] = spawn(&options);
        senders[i] = &strait_worker_port(workers[i])->sender;
    }
    for (uint64_t i = 0; i < scaled(NEWS); i++) {
        int results[3] = {0};
        size_t have = strait_broadcast(senders, 3, &i, results, 0);
        if (have < 3) {
            have = strait_broadcast(senders, 3, &i, results, STRAIT_FOREVER);
        }
        assert_int_equal(have, 3);
        progress_made();
    }
    for (int i = 0; i < 3; i++) {
        strait_sender_close(senders[i]);
        join_and_destroy(workers[i]);
    }
    assert_no_faults();
}

static int leave(struct strait_port *port, void *data)
{
    (void)port;
    gate_wait(data);
    return 0;
}

/* A worker that ends while it is waited for. */
static void a_worker_that_ends_is_not_waited_for(void **state)
{
    (void)state;
    struct gate gate = {0};
    const uint64_t number = 7;
    int results[1] = {0};
    struct strait_worker_options options = {
        .entry = leave,
        .data = &gate,
        .to_worker = {.capacity = 1, .message_size = sizeof(uint64_t)},
    };
    struct strait_worker *worker = spawn(&options);
    struct strait_sender *sender = &strait_worker_port(worker)->sender;
    assert_returns(strait_try_send(sender, &number, 1), 1);
    gate_open(&gate);
    assert_int_equal(strait_broadcast(&sender, 1, &number, results, STRAIT_FOREVER), 0);
    assert_int_equal(results[0], -EPIPE);
    join_and_destroy(worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(everybody_gets_it_once),
        life_test(nobody_is_nobody),
        life_test(who_has_no_room_is_reported_and_owed),
        life_test(a_deadline_ends_the_wait),
        life_test(hopeless_waits_are_reported_and_left),
        life_test(the_quick_do_not_wait_for_the_slow),
        life_test(workers_hear_all_in_order),
        life_test(a_worker_that_ends_is_not_waited_for),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("broadcast", tests, NULL, NULL);
}
