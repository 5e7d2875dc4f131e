/* SPDX-License-Identifier: MIT */
/* Event loops: an fd that is readable as long as there is something to do, that becomes unreadable
 * by arming, and that loses no wake-up. */
#include "support.h"

#include <poll.h>
#include <sys/epoll.h>

/* ---- a channel with an fd on each side ---- */

struct ends {
    struct strait_channel *channel;
    struct strait_sender sender;
    struct strait_receiver receiver;
    int sender_fd;
    int receiver_fd;
};

static void ends_open(struct ends *ends, const struct test_case *test, size_t capacity)
{
    struct strait_channel_options options = case_options(test, capacity, sizeof(uint64_t));
    options.sender = STRAIT_WAIT_FD;
    options.receiver = STRAIT_WAIT_FD;
    assert_returns(strait_channel_create(&ends->channel, &options), 0);
    assert_returns(strait_sender_open(&ends->sender, ends->channel), 0);
    assert_returns(strait_receiver_open(&ends->receiver, ends->channel), 0);
    ends->sender_fd = strait_sender_fd(&ends->sender);
    ends->receiver_fd = strait_receiver_fd(&ends->receiver);
    assert_true(ends->sender_fd >= 0 && ends->receiver_fd >= 0);
    assert_int_not_equal(ends->sender_fd, ends->receiver_fd);
}

static void ends_close(struct ends *ends)
{
    strait_sender_close(&ends->sender);
    strait_receiver_close(&ends->receiver);
    strait_channel_destroy(ends->channel, NULL, NULL);
}

static void send_n(struct ends *ends, size_t n)
{
    const uint64_t message = 1;
    for (size_t i = 0; i < n; i++) {
        assert_returns(strait_try_send(&ends->sender, &message, 1), 1);
    }
}

static void receive_n(struct ends *ends, size_t n)
{
    uint64_t message;
    for (size_t i = 0; i < n; i++) {
        assert_returns(strait_try_receive(&ends->receiver, &message, 1), 1);
    }
}

static bool readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN);
}

/* How often the eventfd was written since it was last cleared, without clearing it. */
static unsigned long eventfd_count(int fd)
{
    char path[64];
    char line[128];
    unsigned long count = ~0ul;
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, "eventfd-count:", 14) == 0) {
            count = strtoul(line + 14, NULL, 16);
        }
    }
    fclose(file);
    return count;
}

/* ---- the protocol, in one thread ---- */

static void test_other_modes_have_no_fd(void **state)
{
    const struct test_case *test = *state;
    struct strait_sender sender;
    struct strait_receiver receiver;
    struct strait_channel *channel = case_channel(test, 2, 8);
    assert_returns(strait_sender_open(&sender, channel), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    bool sender_fd = test->sender == STRAIT_WAIT_FD && test->variant->senders == STRAIT_SENDERS_ONE;
    bool receiver_fd = test->receiver == STRAIT_WAIT_FD;
    assert_int_equal(strait_sender_fd(&sender) >= 0, sender_fd);
    assert_int_equal(strait_receiver_fd(&receiver) >= 0, receiver_fd);
    assert_returns(strait_sender_arm(&sender), sender_fd ? 0 : -EINVAL);
    assert_returns(strait_receiver_arm(&receiver), receiver_fd ? 1 : -EINVAL);
    strait_channel_destroy(channel, NULL, NULL);
}

/* One fd cannot tell two senders apart: it serves one at a time. */
static void test_fd_serves_one_sender(void **state)
{
    struct ends ends;
    struct strait_sender second;
    uint64_t message = 1;
    ends_open(&ends, *state, 4);
    assert_returns(strait_sender_open(&second, ends.channel), -EBUSY);
    assert_returns(strait_try_send(&second, &message, 1), -EPIPE);
    strait_sender_close(&second);
    send_n(&ends, 4);
    receive_n(&ends, 4);
    assert_returns(strait_try_receive(&ends.receiver, &message, 1), -EAGAIN);
    ends_close(&ends);
}

static void test_receiver_protocol(void **state)
{
    struct ends ends;
    uint64_t message;
    ends_open(&ends, *state, 64);
    for (int lap = 0; lap < 5; lap++) {
        assert_returns(strait_receiver_arm(&ends.receiver), 1);
        assert_false(readable(ends.receiver_fd));
        assert_returns(strait_receiver_arm(&ends.receiver), 1);
        assert_false(readable(ends.receiver_fd));
        send_n(&ends, 5);
        assert_true(readable(ends.receiver_fd));
        receive_n(&ends, 2); /* a budget that stops early */
        assert_true(readable(ends.receiver_fd));
        receive_n(&ends, 3);
        assert_returns(strait_try_receive(&ends.receiver, &message, 1), -EAGAIN);
    }
    ends_close(&ends);
}

static void test_arm_with_messages(void **state)
{
    struct ends ends;
    ends_open(&ends, *state, 64);
    send_n(&ends, 3);
    for (int lap = 0; lap < 3; lap++) {
        assert_returns(strait_receiver_arm(&ends.receiver), 0);
        assert_true(readable(ends.receiver_fd));
        receive_n(&ends, 1);
        assert_true(readable(ends.receiver_fd));
    }
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    assert_false(readable(ends.receiver_fd));
    ends_close(&ends);
}

/* A loop may watch the fd before it ever looks: a receiver is armed when it is opened. */
static void test_armed_from_the_start(void **state)
{
    struct ends ends;
    struct strait_receiver second;
    ends_open(&ends, *state, 8);
    assert_false(readable(ends.receiver_fd));
    send_n(&ends, 1);
    assert_true(readable(ends.receiver_fd));
    ends_close(&ends);
    for (int closed = 0; closed < 2; closed++) {
        ends_open(&ends, *state, 8);
        send_n(&ends, 1);
        receive_n(&ends, (size_t)closed);
        if (closed) {
            strait_sender_close(&ends.sender);
        }
        assert_returns(strait_receiver_open(&second, ends.channel), 0);
        assert_true(readable(strait_receiver_fd(&second)));
        ends_close(&ends);
    }
}

/* A commit wakes as a send does, a reserve does not; a peek takes nothing. */
static void test_in_place_wakes(void **state)
{
    struct ends ends;
    struct strait_span span;
    ends_open(&ends, *state, 4);
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    assert_returns(strait_reserve(&ends.sender, 4, &span), 4);
    memset(span.messages, 0, span.count * span.message_size);
    assert_false(readable(ends.receiver_fd));
    strait_commit(&ends.sender, &span);
    assert_true(readable(ends.receiver_fd));
    assert_returns(strait_sender_arm(&ends.sender), 1);
    assert_returns(strait_peek(&ends.receiver, 2, &span), 2);
    assert_false(readable(ends.sender_fd));
    strait_release(&ends.receiver, &span);
    assert_true(readable(ends.sender_fd));
    ends_close(&ends);
}

static void test_sender_protocol(void **state)
{
    struct ends ends;
    const uint64_t message = 1;
    ends_open(&ends, *state, 4);
    for (int lap = 0; lap < 5; lap++) {
        assert_returns(strait_sender_arm(&ends.sender), 0); /* there is room */
        assert_true(readable(ends.sender_fd));
        send_n(&ends, 4);
        assert_returns(strait_try_send(&ends.sender, &message, 1), -EAGAIN);
        assert_returns(strait_sender_arm(&ends.sender), 1);
        assert_false(readable(ends.sender_fd));
        assert_returns(strait_sender_arm(&ends.sender), 1);
        assert_false(readable(ends.sender_fd));
        receive_n(&ends, 2);
        assert_true(readable(ends.sender_fd));
        send_n(&ends, 1);
        assert_true(readable(ends.sender_fd));
        receive_n(&ends, 3);
    }
    ends_close(&ends);
}

/* A wake-up that comes late, when its message has long been taken, is cleared by the next arming:
 * else the loop would go round without end. */
static void test_late_wake_up(void **state)
{
    struct ends ends;
    const uint64_t one = 1;
    ends_open(&ends, *state, 2);
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    assert_int_equal(write(ends.receiver_fd, &one, sizeof(one)), sizeof(one));
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    assert_false(readable(ends.receiver_fd));
    send_n(&ends, 2);
    assert_true(readable(ends.receiver_fd));
    assert_returns(strait_sender_arm(&ends.sender), 1);
    assert_int_equal(write(ends.sender_fd, &one, sizeof(one)), sizeof(one));
    assert_returns(strait_sender_arm(&ends.sender), 1);
    assert_false(readable(ends.sender_fd));
    receive_n(&ends, 1);
    assert_true(readable(ends.sender_fd));
    ends_close(&ends);
}

/* Many sends to one armed receiver are one write to its eventfd. */
static void test_wake_ups_coalesce(void **state)
{
    struct ends ends;
    ends_open(&ends, *state, 1000);
    send_n(&ends, 10);
    receive_n(&ends, 10);
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    send_n(&ends, 1);
    strait_receiver_arm(&ends.receiver); /* answers that there is a message: armed no more */
    receive_n(&ends, 1);
    unsigned long before = eventfd_count(ends.receiver_fd);
    send_n(&ends, 10);
    assert_int_equal(eventfd_count(ends.receiver_fd), before); /* no sleeper, no system call */
    receive_n(&ends, 10);
    for (int lap = 0; lap < 3; lap++) {
        assert_returns(strait_receiver_arm(&ends.receiver), 1);
        assert_int_equal(eventfd_count(ends.receiver_fd), 0);
        send_n(&ends, 500);
        assert_int_equal(eventfd_count(ends.receiver_fd), 1);
        receive_n(&ends, 500);
        assert_int_equal(eventfd_count(ends.receiver_fd), 1);
    }
    ends_close(&ends);
}

static void test_sender_close_is_seen(void **state)
{
    struct ends ends;
    uint64_t message;
    ends_open(&ends, *state, 8);
    send_n(&ends, 1);
    receive_n(&ends, 1);
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    strait_sender_close(&ends.sender);
    assert_true(readable(ends.receiver_fd));
    assert_returns(strait_try_receive(&ends.receiver, &message, 1), -EPIPE);
    assert_returns(strait_receiver_arm(&ends.receiver), 0);
    assert_true(readable(ends.receiver_fd));
    ends_close(&ends);
}

static void test_receiver_close_is_seen(void **state)
{
    struct ends ends;
    const uint64_t message = 1;
    ends_open(&ends, *state, 8);
    send_n(&ends, 8);
    assert_returns(strait_sender_arm(&ends.sender), 1);
    strait_receiver_close(&ends.receiver);
    assert_true(readable(ends.sender_fd));
    assert_returns(strait_try_send(&ends.sender, &message, 1), -EPIPE);
    assert_returns(strait_sender_arm(&ends.sender), 0);
    assert_true(readable(ends.sender_fd));
    ends_close(&ends);
}

static void test_channel_wake_is_seen(void **state)
{
    struct ends ends;
    ends_open(&ends, *state, 1);
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    strait_channel_wake(ends.channel);
    assert_true(readable(ends.receiver_fd));
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    assert_false(readable(ends.receiver_fd));
    send_n(&ends, 1);
    assert_true(readable(ends.receiver_fd));
    ends_close(&ends);
}

/* A side that waits by a blocking call, then goes back to its loop. */
static void test_blocking_between(void **state)
{
    struct ends ends;
    uint64_t message;
    ends_open(&ends, *state, 8);
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    assert_returns(strait_receive(&ends.receiver, &message, 1, strait_deadline(100000)),
                   -ETIMEDOUT);
    send_n(&ends, 1);
    assert_returns(strait_receive(&ends.receiver, &message, 1, STRAIT_FOREVER), 1);
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    assert_false(readable(ends.receiver_fd));
    send_n(&ends, 1);
    assert_true(readable(ends.receiver_fd));
    ends_close(&ends);
}

/* Creating and destroying leaves no descriptor open. */
static void test_one_sender_at_a_time(void **state)
{
    struct ends ends;
    struct strait_sender second;
    ends_open(&ends, *state, 1);
    assert_returns(strait_sender_open(&second, ends.channel), -EBUSY);
    assert_returns(strait_try_send(&second, &second, 1), -EPIPE);
    send_n(&ends, 1);
    receive_n(&ends, 1);
    ends_close(&ends);
}

static void test_no_fd_leaks(void **state)
{
    struct ends first;
    struct ends ends;
    ends_open(&first, *state, 1);
    ends_close(&first);
    for (int i = 0; i < 10; i++) {
        ends_open(&ends, *state, 1);
        assert_int_equal(ends.sender_fd, first.sender_fd);
        assert_int_equal(ends.receiver_fd, first.receiver_fd);
        ends_close(&ends);
    }
}

/* ---- loops, in two threads ---- */

struct loop {
    struct ends ends;
    uint64_t messages;
    _Atomic unsigned long errors;
    bool sender_has_loop;
    bool pauses;
};

static int loop_watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    return epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? epoll : -1;
}

/* No timeout: a wake-up that is lost stops the test. */
static void loop_wait(int epoll)
{
    struct epoll_event event;
    while (epoll_wait(epoll, &event, 1, -1) != 1) {
    }
}

static void pause_now_and_then(const struct loop *loop, uint64_t *seed)
{
    if (loop->pauses && draw_below(seed, 64) == 0) {
        dawdle(draw_below(seed, 20000));
    }
}

/* Sends until full, arms, and goes back to the loop. */
static void *sender_loop(void *context)
{
    struct loop *loop = context;
    struct strait_sender *sender = &loop->ends.sender;
    uint64_t seed = 7;
    int epoll = loop_watch(loop->ends.sender_fd);
    strait_sender_adopt(sender);
    error_if(&loop->errors, epoll < 0);
    errno = ERRNO_MARK;
    for (uint64_t sent = 0; sent < loop->messages;) {
        ptrdiff_t result = strait_try_send(sender, &sent, 1);
        if (result == 1) {
            sent++;
            pause_now_and_then(loop, &seed);
        } else if (!loop->sender_has_loop) {
            error_if(&loop->errors, strait_send_wait(sender, STRAIT_FOREVER) != 0);
        } else if (strait_sender_arm(sender) == 1) {
            error_if(&loop->errors, !errno_kept());
            loop_wait(epoll);
            errno = ERRNO_MARK;
        }
    }
    error_if(&loop->errors, !errno_kept());
    close(epoll);
    strait_sender_close(sender);
    return NULL;
}

/* One turn of the receiver's loop: up to a budget, then arms if it was empty. */
static bool receiver_turn(struct loop *loop, uint64_t *next, uint64_t *seed)
{
    uint64_t messages[3];
    for (size_t budget = 1 + draw_below(seed, 40); budget; budget--) {
        ptrdiff_t count = strait_try_receive(&loop->ends.receiver, messages, 3);
        if (count < 0) {
            if (count == -EAGAIN) {
                strait_receiver_arm(&loop->ends.receiver);
            }
            return count != -EPIPE;
        }
        for (ptrdiff_t i = 0; i < count; i++) {
            error_if(&loop->errors, messages[i] != (*next)++);
        }
        pause_now_and_then(loop, seed);
    }
    return true;
}

static void run_loops(const struct test_case *test, size_t capacity, size_t messages, bool pauses,
                      bool sender_has_loop)
{
    struct loop loop = {.messages = messages, .pauses = pauses, .sender_has_loop = sender_has_loop};
    pthread_t thread;
    uint64_t next = 0;
    uint64_t seed = 3;
    ends_open(&loop.ends, test, capacity);
    int epoll = loop_watch(loop.ends.receiver_fd);
    assert_true(epoll >= 0);
    assert_returns(strait_receiver_arm(&loop.ends.receiver), 1);
    thread_start(&thread, sender_loop, &loop);
    do {
        loop_wait(epoll);
        progress_made();
    } while (receiver_turn(&loop, &next, &seed));
    thread_join(thread);
    close(epoll);
    assert_int_equal(loop.errors, 0);
    assert_int_equal(next, messages);
    ends_close(&loop.ends);
}

static void test_loops(void **state)
{
    run_loops(*state, 1000, scaled(1000000), true, true);
    run_loops(*state, 64, scaled(200000), false, true);
    run_loops(*state, 64, scaled(200000), true, false);
}

/* Each message is a wake-up in both directions. */
static void test_loops_hand_over(void **state)
{
    run_loops(*state, 1, scaled(12000), true, true);
    run_loops(*state, 2, scaled(12000), false, true);
}

int main(void)
{
    static struct suite suite;
    watchdog_start();
    suite_mode_pairs(&suite, "other modes have no fd", test_other_modes_have_no_fd);
    suite_variants(&suite, "fd serves one sender", test_fd_serves_one_sender);
    suite_variants(&suite, "receiver's protocol", test_receiver_protocol);
    suite_variants(&suite, "arm with messages", test_arm_with_messages);
    suite_variants(&suite, "armed from the start", test_armed_from_the_start);
    suite_variants(&suite, "in place wakes", test_in_place_wakes);
    suite_variants(&suite, "sender's protocol", test_sender_protocol);
    suite_variants(&suite, "late wake-up", test_late_wake_up);
    suite_variants(&suite, "wake-ups coalesce", test_wake_ups_coalesce);
    suite_variants(&suite, "sender's close is seen", test_sender_close_is_seen);
    suite_variants(&suite, "receiver's close is seen", test_receiver_close_is_seen);
    suite_variants(&suite, "channel wake is seen", test_channel_wake_is_seen);
    suite_variants(&suite, "blocking between", test_blocking_between);
    suite_variants(&suite, "one sender at a time", test_one_sender_at_a_time);
    suite_variants(&suite, "no fd leaks", test_no_fd_leaks);
    suite_variants(&suite, "loops", test_loops);
    suite_variants(&suite, "loops hand over", test_loops_hand_over);
    return suite_run(&suite, "channel_fd");
}
