/* SPDX-License-Identifier: MIT */
/* set: who is offered, in which order, what becomes quiet, and that nothing is missed. */
#include "extra/fixture.h"

#include "strait/extra/set.h"

#define MOST 48
#define SOON 3000000 /* far longer than the set looks before it arms */

/* ---- members ---- */

static struct strait_set *set;
static struct strait_channel *channels[MOST];
static struct strait_sender senders[MOST];
static struct strait_receiver receivers[MOST];

static void open_member(size_t i, const char *variant, size_t capacity)
{
    const struct strait_channel_options options = {.variant = variant, .capacity = capacity};
    assert_returns(strait_channel_create(&channels[i], &options), 0);
    assert_returns(strait_sender_open(&senders[i], channels[i]), 0);
    assert_returns(strait_receiver_open(&receivers[i], channels[i]), 0);
}

static void open_set(const char *variant, enum strait_wait mode, size_t members)
{
    assert_returns(strait_set_create(&set, MOST, mode), 0);
    for (size_t i = 0; i < members; i++) {
        open_member(i, variant, 64);
        assert_returns(strait_set_add(set, &receivers[i]), 0);
    }
}

static void close_set(size_t members)
{
    strait_set_destroy(set);
    for (size_t i = 0; i < members; i++) {
        strait_channel_destroy(channels[i], NULL, NULL);
    }
}

static void say(size_t i, uint64_t number)
{
    assert_returns(strait_try_send(&senders[i], &number, 1), 1);
}

/* One message of whoever is offered. */
static void assert_next(size_t i, uint64_t number)
{
    struct strait_receiver *ready = NULL;
    uint64_t got = 0;
    assert_returns(strait_set_next(set, &ready, strait_deadline(FAR)), 0);
    assert_ptr_equal(ready, &receivers[i]);
    assert_returns(strait_try_receive(ready, &got, 1), 1);
    assert_int_equal(got, number);
}

static void assert_nobody(void)
{
    struct strait_receiver *ready;
    assert_returns(strait_set_try_next(set, &ready), -EAGAIN);
}

/* All members are quiet after a wait that brought nothing. */
static void let_all_sleep(void)
{
    struct strait_receiver *ready;
    int64_t deadline = strait_deadline(SOON);
    assert_returns(strait_set_next(set, &ready, deadline), -ETIMEDOUT);
    assert_true(strait_now() >= deadline);
}

/* ---- one thread ---- */

TEST_EACH_MODE(members_take_turns)
{
    open_set(test->variant->name, test->receiver, 3);
    for (uint64_t n = 0; n < 9; n++) {
        say(n % 3, n);
    }
    for (uint64_t n = 0; n < 9; n++) {
        assert_next(n % 3, n);
    }
    assert_nobody();
    for (uint64_t n = 0; n < 40; n++) {
        say(0, n); /* a busy one keeps nobody waiting */
    }
    say(2, 1);
    assert_next(0, 0);
    assert_next(2, 1);
    assert_next(0, 1);
    close_set(3);
}

TEST_EACH_MODE(quiet_members_are_offered_in_the_order_of_their_marks)
{
    open_set(test->variant->name, test->receiver, 4);
    for (uint64_t round = 0; round < 3; round++) {
        let_all_sleep();
        say(3, round);
        say(1, round + 10);
        say(3, round + 1);
        assert_next(3, round);
        assert_next(1, round + 10);
        assert_next(3, round + 1);
        assert_nobody();
    }
    close_set(4);
}

/* Those that are never sent to are soon looked at no more, though the set never waits. */
TEST(busy_members_send_the_others_to_sleep)
{
    open_set("spsc", STRAIT_WAIT_PARK, MOST);
    for (uint64_t n = 0; n < 1000; n++) {
        say(7, n);
        assert_next(7, n);
    }
    for (size_t i = 0; i < MOST; i++) {
        bool quiet = strait_receiver_disarm(&receivers[i]);
        assert_int_equal(quiet, i != 7);
        strait_receivers_arm(&(struct strait_receiver *){&receivers[i]}, quiet, &quiet);
        assert_int_equal(quiet, i != 7);
    }
    say(8, 5);
    assert_next(8, 5);
    close_set(MOST);
}

TEST_EACH_MODE(a_closed_member_is_offered_until_it_is_removed)
{
    struct strait_receiver *ready;
    uint64_t number;
    open_set(test->variant->name, test->receiver, 2);
    let_all_sleep();
    say(1, 4);
    strait_sender_close(&senders[1]);
    assert_next(1, 4);
    for (int i = 0; i < 2; i++) {
        assert_returns(strait_set_next(set, &ready, strait_deadline(FAR)), 0);
        assert_ptr_equal(ready, &receivers[1]);
        assert_returns(strait_try_receive(ready, &number, 1), -EPIPE);
    }
    assert_returns(strait_set_remove(set, ready), 0);
    assert_returns(strait_set_remove(set, ready), -ENOENT);
    assert_nobody();
    strait_sender_close(&senders[0]); /* while it sleeps */
    assert_returns(strait_set_next(set, &ready, strait_deadline(FAR)), 0);
    assert_ptr_equal(ready, &receivers[0]);
    close_set(2);
}

TEST_EACH_MODE(members_come_and_go)
{
    uint64_t number = 0;
    open_set(test->variant->name, test->receiver, 3);
    say(0, 1);
    assert_returns(strait_set_remove(set, &receivers[0]), 0); /* hot */
    assert_nobody();
    assert_returns(strait_receive(&receivers[0], &number, 1, strait_deadline(SOON)), 1);
    assert_returns(strait_receive(&receivers[0], &number, 1, strait_deadline(1)), -ETIMEDOUT);
    let_all_sleep();
    assert_returns(strait_set_remove(set, &receivers[1]), 0); /* quiet */
    say(2, 6);
    assert_returns(strait_set_remove(set, &receivers[2]), 0); /* marked */
    assert_nobody();
    assert_returns(strait_receive(&receivers[2], &number, 1, strait_deadline(SOON)), 1);
    say(1, 7);
    assert_returns(strait_set_add(set, &receivers[1]), 0); /* with a message in it */
    assert_returns(strait_set_add(set, &receivers[0]), 0);
    assert_next(1, 7);
    let_all_sleep();
    close_set(3); /* with quiet ones */
}

TEST_EACH_VARIANT(an_fd_is_readable_while_a_member_has_something)
{
    open_set(test->variant->name, STRAIT_WAIT_FD, 3);
    int fd = strait_set_fd(set);
    assert_returns(strait_set_arm(set), 1);
    assert_false(readable(fd, 0));
    say(2, 1);
    assert_true(readable(fd, 0));
    say(0, 2);
    assert_next(2, 1);
    say(1, 3);
    for (int i = 0; i < 3; i++) {
        assert_returns(strait_set_arm(set), 0); /* not all is taken */
        assert_true(readable(fd, 0));
    }
    for (int i = 0; i < 2; i++) {
        struct strait_receiver *ready;
        uint64_t number;
        assert_returns(strait_set_try_next(set, &ready), 0);
        assert_returns(strait_try_receive(ready, &number, 1), 1);
    }
    assert_nobody();
    assert_returns(strait_set_arm(set), 1);
    assert_false(readable(fd, 0));
    strait_sender_close(&senders[1]);
    assert_true(readable(fd, 0));
    close_set(3);
}

TEST(a_set_says_what_it_cannot_do)
{
    const struct strait_channel_options with_fd = {.receiver = STRAIT_WAIT_FD};
    const struct strait_channel_options of_several = {.shared = 1};
    uint64_t number;
    assert_returns(strait_set_create(&set, 0, STRAIT_WAIT_PARK), -EINVAL);
    assert_returns(strait_set_create(&set, UINT32_MAX, STRAIT_WAIT_PARK), -EINVAL);
    assert_returns(strait_set_create(&set, 1, (enum strait_wait)9), -EINVAL);
    strait_set_destroy(NULL);
    assert_returns(strait_set_create(&set, 2, STRAIT_WAIT_DEFAULT), 0);
    assert_returns(strait_set_fd(set), -EINVAL);
    assert_returns(strait_set_arm(set), -EINVAL);
    for (size_t i = 0; i < 2; i++) {
        assert_returns(strait_channel_create(&channels[i], i ? &of_several : &with_fd), 0);
        assert_returns(strait_receiver_open(&receivers[i], channels[i]), 0);
        assert_returns(strait_set_add(set, &receivers[i]), -EINVAL);
        strait_receiver_close(&receivers[i]);
        assert_returns(strait_set_add(set, &receivers[i]), -EINVAL);
        strait_channel_destroy(channels[i], NULL, NULL);
    }
    for (size_t i = 0; i < 3; i++) {
        open_member(i, "spsc", 4);
        assert_returns(strait_set_add(set, &receivers[i]), i < 2 ? 0 : -ENOSPC);
        assert_returns(strait_set_add(set, &receivers[0]), i < 1 ? -EBUSY : -ENOSPC);
    }
    assert_returns(strait_receive(&receivers[0], &number, 1, STRAIT_FOREVER), -EINVAL);
    let_all_sleep();
    assert_returns(strait_receiver_on_ready(&receivers[0], NULL, NULL), -EBUSY);
    close_set(3);
}

/* ---- receivers that are told, without a set ---- */

static unsigned told;

static void tell(void *context)
{
    assert_ptr_equal(context, &told);
    told++;
}

TEST_EACH_VARIANT(an_armed_receiver_tells_once)
{
    struct strait_receiver *const one[] = {&receivers[0]};
    bool armed = false;
    told = 0;
    open_member(0, test->variant->name, 8);
    assert_returns(strait_receiver_on_ready(&receivers[0], tell, &told), 0);
    say(0, 1);
    assert_int_equal(told, 0); /* not armed */
    strait_receivers_arm(one, 1, &armed);
    assert_false(armed);
    assert_false(strait_receiver_disarm(&receivers[0]));
    uint64_t number;
    assert_returns(strait_try_receive(&receivers[0], &number, 1), 1);
    strait_receivers_arm(one, 1, &armed);
    assert_true(armed);
    assert_true(strait_receiver_disarm(&receivers[0]));
    strait_channel_wake(channels[0]);
    assert_int_equal(told, 0);
    strait_receivers_arm(one, 1, &armed);
    say(0, 2);
    say(0, 3);
    strait_channel_wake(channels[0]);
    assert_int_equal(told, 1);
    assert_false(strait_receiver_disarm(&receivers[0]));
    assert_returns(strait_receiver_on_ready(&receivers[0], NULL, NULL), 0);
    strait_channel_destroy(channels[0], NULL, NULL);
}

/* ---- threads ---- */

#define RESTS 500

static void *send_after_rests(void *nothing)
{
    for (uint64_t i = 0; i < RESTS; i++) {
        sleep_ns(100000);
        EXPECT(strait_send(&senders[0], &i, 1, STRAIT_FOREVER) == 1);
    }
    return nothing;
}

/* The sender that has just found it asleep may still be about to wake it: that is no mark. */
TEST(a_receiver_joins_the_set_out_of_its_sleep)
{
    struct strait_receiver *ready;
    pthread_t thread;
    uint64_t number;
    assert_returns(strait_set_create(&set, 1, STRAIT_WAIT_PARK), 0);
    open_member(0, "spsc", 1);
    thread_start(&thread, send_after_rests, NULL);
    for (uint64_t i = 0; i < RESTS;) {
        ptrdiff_t n = strait_receive(&receivers[0], &number, 1, strait_deadline(100000));
        assert_returns(strait_set_add(set, &receivers[0]), 0);
        if (n != 1 && strait_set_next(set, &ready, strait_deadline(100000)) == 0) {
            n = strait_try_receive(ready, &number, 1);
        }
        assert_true(n != 1 || number == i++);
        assert_returns(strait_set_remove(set, &receivers[0]), 0);
        progress_made();
    }
    thread_join(thread);
    close_set(1);
}

#define THREADS 3

struct sending {
    size_t first; /* of every THREADS-th member */
    size_t members;
    uint64_t messages; /* to each */
    uint64_t seed;
};

/* In an order of its own, now in full flow, now with rests in which the set falls asleep. */
static void *send_to_some(void *context)
{
    struct sending *self = context;
    uint64_t sent[MOST] = {0};
    uint64_t left = self->messages * (self->members / THREADS);
    while (left > 0) {
        size_t i = self->first + THREADS * draw_below(&self->seed, self->members / THREADS);
        size_t burst = 1 + draw_below(&self->seed, 20);
        for (; burst > 0 && sent[i] < self->messages; burst--, left--) {
            EXPECT(strait_send(&senders[i], &sent[i], 1, STRAIT_FOREVER) == 1);
            sent[i]++;
        }
        if (draw_below(&self->seed, 200) == 0) {
            sleep_ns(100000);
        }
    }
    for (size_t i = self->first; i < self->members; i += THREADS) {
        strait_sender_close(&senders[i]);
    }
    return NULL;
}

static int next_ready(struct strait_receiver **ready)
{
    int error = strait_set_try_next(set, ready);
    int fd = strait_set_fd(set);
    while (error == -EAGAIN && fd >= 0) {
        if (strait_set_arm(set) == 1) {
            EXPECT(readable(fd, -1));
        }
        error = strait_set_try_next(set, ready);
    }
    return error ? strait_set_next(set, ready, STRAIT_FOREVER) : 0;
}

/* Now and then a member leaves the set, just as it is marked, and comes back. */
TEST_EACH_MODE(nothing_is_missed)
{
    pthread_t threads[THREADS];
    struct sending sendings[THREADS];
    uint64_t expected[MOST] = {0};
    uint64_t messages = scaled(4000);
    uint64_t seed = first_seed(11);
    size_t open = MOST;
    open_set(test->variant->name, test->receiver, MOST);
    for (size_t i = 0; i < THREADS; i++) {
        sendings[i] = (struct sending){i, MOST, messages, draw(&seed)};
        thread_start(&threads[i], send_to_some, &sendings[i]);
    }
    while (open > 0) {
        struct strait_receiver *ready = NULL;
        uint64_t numbers[8];
        assert_int_equal(next_ready(&ready), 0);
        ptrdiff_t n = strait_try_receive(ready, numbers, 1 + draw_below(&seed, 8));
        size_t i = (size_t)(ready - receivers);
        for (ptrdiff_t at = 0; at < n; at++) {
            EXPECT(numbers[at] == expected[i]++);
        }
        if (n == -EPIPE) {
            assert_int_equal(strait_set_remove(set, ready), 0);
            open--;
        } else if (draw_below(&seed, 50) == 0) {
            struct strait_receiver *other = &receivers[draw_below(&seed, MOST)];
            int error = strait_set_remove(set, other);
            EXPECT(error == -ENOENT || strait_set_add(set, other) == 0);
        }
        EXPECT(n > 0 || n == -EPIPE);
        progress_made();
    }
    for (size_t i = 0; i < THREADS; i++) {
        thread_join(threads[i]);
    }
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(expected[i], messages);
    }
    close_set(MOST);
}

/* ---- a worker that waits in a set ---- */

ENTRY(wait_in_set)
{
    struct strait_port *port = strait_isolate_port(isolate);
    struct strait_receiver *ready;
    EXPECT(strait_set_create(&set, 1, STRAIT_WAIT_PARK) == 0);
    EXPECT(strait_set_add(set, &port->receiver) == 0);
    EXPECT(strait_set_next(set, &ready, STRAIT_FOREVER) == -ECANCELED);
    strait_set_destroy(set);
    return 3;
}

TEST(a_stop_ends_a_wait_in_a_set)
{
    struct tenant tenant = {.inner = {.entry = wait_in_set}};
    tenant_spawn(&tenant);
    sleep_ns(2000000); /* asleep by now, mostly */
    tenant_stop(&tenant);
    assert_int_equal(tenant.log.exit.code, 3);
}
