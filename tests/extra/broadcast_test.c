/* SPDX-License-Identifier: MIT */
/* broadcast: who gets a message, who is owed it, and for whom nobody waits. */
#include "extra/fixture.h"

#include "strait/extra/broadcast.h"

#define MOST 8

/* ---- to ports whose far ends are this thread's, too ---- */

static struct strait_port near[MOST];
static struct strait_port far[MOST];
static struct strait_sender *senders[MOST];
static int results[MOST];
static size_t count;

/* The first `full` of them have no room. */
static void open_ports(size_t ports, size_t full)
{
    const struct strait_port_options options = {.forth = {.capacity = 1}};
    count = ports;
    memset(results, 0, sizeof(results));
    for (size_t i = 0; i < count; i++) {
        assert_returns(strait_port_pair(&near[i], &far[i], &options), 0);
        senders[i] = &near[i].sender;
        if (i < full) {
            post(&near[i], 999);
        }
    }
}

static void close_ports(void)
{
    for (size_t i = 0; i < count; i++) {
        strait_port_close(&near[i]);
        strait_port_close(&far[i]);
    }
}

/* Sends 7: `have` of them have it then, and these are their results. */
#define SAY(deadline, have, ...) say(deadline, have, (const int[]){__VA_ARGS__})

static void say(int64_t deadline, size_t have, const int *expected)
{
    const uint64_t number = 7;
    assert_returns(strait_broadcast(senders, count, &number, results, deadline), have);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(results[i], expected[i]);
    }
}

static void assert_hears(size_t i, uint64_t expected)
{
    uint64_t number = 0;
    assert_returns(strait_try_receive(&far[i].receiver, &number, 1), 1);
    assert_int_equal(number, expected);
}

static void assert_silence(size_t i)
{
    uint64_t number;
    assert_returns(strait_try_receive(&far[i].receiver, &number, 1), -EAGAIN);
}

TEST(who_has_no_room_is_reported_and_owed)
{
    open_ports(4, 2);
    strait_port_close(&far[3]);
    SAY(0, 1, -EAGAIN, -EAGAIN, 1, -EPIPE);
    assert_hears(1, 999);
    SAY(0, 2, -EAGAIN, 1, 1, -EPIPE);
    assert_hears(2, 7);
    assert_silence(2);
    assert_hears(1, 7);
    assert_hears(0, 999);
    SAY(0, 3, 1, 1, 1, -EPIPE);
    assert_hears(0, 7);
    SAY(0, 3, 1, 1, 1, -EPIPE); /* nobody is owed it */
    assert_silence(0);
    close_ports();
    assert_returns(strait_broadcast(NULL, 0, "", NULL, STRAIT_FOREVER), 0);
}

TEST(a_deadline_ends_the_wait)
{
    open_ports(3, 2);
    strait_port_give(&far[0]); /* else nobody could make room */
    strait_port_give(&far[1]);
    int64_t deadline = strait_deadline(5000000);
    SAY(deadline, 1, -ETIMEDOUT, -ETIMEDOUT, 1);
    assert_true(strait_now() >= deadline);
    SAY(1, 1, -ETIMEDOUT, -ETIMEDOUT, 1); /* long past */
    strait_port_adopt(&far[1]);
    assert_hears(1, 999);
    SAY(deadline, 2, -ETIMEDOUT, 1, 1); /* past, but there is room */
    close_ports();
}

/* One wait that cannot be is no reason not to wait for the others. */
TEST(hopeless_waits_are_reported_and_left)
{
    const uint32_t cancel = 1;
    open_ports(4, 3);
    strait_port_give(&far[1]);
    strait_port_give(&far[2]);
    strait_sender_cancel_on(senders[1], &cancel);
    SAY(strait_deadline(3000000), 1, -EDEADLK, -ECANCELED, -ETIMEDOUT, 1);
    close_ports();
}

/* ---- to workers ---- */

#define NEWS 4000

static struct gate gate;

/* The slow one waits until it is let. The quick one lets it go on once it has the message itself:
 * whoever waited for the slow one first would never get here. */
static int hear_one(struct strait_port *port, bool quick)
{
    uint64_t sum = 0;
    uint64_t number;
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        sum += number;
        if (quick && number == 1) {
            gate_open(&gate);
        }
    }
    EXPECT(sum == 1);
    return 0;
}

static int slow_entry(struct strait_port *port, void *data)
{
    gate_wait(&gate);
    return hear_one(port, false);
}

static int quick_entry(struct strait_port *port, void *data)
{
    gate_await(&gate, 1);
    return hear_one(port, true);
}

/* Hears all, in order, and once. */
static int listener_entry(struct strait_port *port, void *data)
{
    uint64_t expected = 0;
    uint64_t number;
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        EXPECT(number == expected);
        expected++;
        dawdle(number % 7 == 0 ? 2000 : 0);
    }
    EXPECT(expected == scaled(NEWS));
    return 0;
}

/* Broadcasts the numbers from 0 on, each until everybody has it, or has said that he never will;
 * what the last result of the first was. */
static int broadcast_to(strait_entry_fn *const *entries, size_t workers, const size_t *capacities,
                        uint64_t numbers)
{
    struct strait_worker *all[MOST];
    for (size_t i = 0; i < workers; i++) {
        struct strait_worker_options options = {
            .entry = entries[i],
            .to_worker = {.capacity = capacities[i], .message_size = sizeof(numbers)}};
        assert_returns(strait_worker_spawn(&all[i], &options), 0);
        senders[i] = &strait_worker_port(all[i])->sender;
    }
    for (uint64_t number = 0; number < numbers; number++) {
        memset(results, 0, sizeof(results));
        size_t have = strait_broadcast(senders, workers, &number, results, 0);
        if (have < workers) {
            have = strait_broadcast(senders, workers, &number, results, STRAIT_FOREVER);
        }
        assert_true(have == workers || results[0] == -EPIPE);
        progress_made();
    }
    for (size_t i = 0; i < workers; i++) {
        strait_sender_close(senders[i]);
        assert_returns(strait_worker_join(all[i], STRAIT_FOREVER), 0);
        assert_returns(strait_worker_destroy(all[i]), 0);
    }
    return results[0];
}

/* Both are full at the second message. The slow one, first in the list, goes on only when the quick
 * one has got that: to wait for one after the other would be to wait forever. */
TEST(the_quick_do_not_wait_for_the_slow)
{
    memset(&gate, 0, sizeof(gate));
    assert_int_equal(
        broadcast_to((strait_entry_fn *[]){slow_entry, quick_entry}, 2, (const size_t[]){1, 1}, 2),
        1);
}

TEST(workers_hear_all_in_order)
{
    assert_int_equal(
        broadcast_to((strait_entry_fn *[]){listener_entry, listener_entry, listener_entry}, 3,
                     (const size_t[]){1, 9, 17}, scaled(NEWS)),
        1);
}

TEST(a_worker_that_ends_is_not_waited_for)
{
    assert_int_equal(broadcast_to((strait_entry_fn *[]){nothing_entry}, 1, (const size_t[]){1}, 3),
                     -EPIPE);
}
