/* SPDX-License-Identifier: MIT */
/* The protocol of an fd: it is readable as long as there is something to do, and becomes unreadable
 * by arming. That it loses no wake-up between two threads is stress_test's. */
#include "channel/fixture.h"

#define CAPACITY 8

/* One side of a channel with an fd on each. A receiver is ready when there are messages, a sender
 * when there is room; at first neither is. */
struct side {
    struct ends ends;
    bool sends;
    int fd;
};

static void fds_open(struct ends *ends, const struct test_case *test, size_t capacity)
{
    struct strait_channel_options options = case_options(test, capacity, sizeof(uint64_t));
    options.sender = STRAIT_WAIT_FD;
    options.receiver = STRAIT_WAIT_FD;
    ends_open_as(ends, &options);
}

static void side_open(struct side *side, const struct test_case *test, bool sends)
{
    fds_open(&side->ends, test, CAPACITY);
    int sender_fd = strait_sender_fd(&side->ends.sender);
    int receiver_fd = strait_receiver_fd(&side->ends.receiver);
    assert_true(sender_fd >= 0 && receiver_fd >= 0 && sender_fd != receiver_fd);
    side->sends = sends;
    side->fd = sends ? sender_fd : receiver_fd;
    if (sends) {
        ends_send(&side->ends, CAPACITY, CAPACITY);
    }
}

static void side_close(struct side *side)
{
    ends_close(&side->ends, side->ends.sent - side->ends.tally.next[0]);
}

/* The other side makes n messages, or n places. */
static void make_ready(struct side *side, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (side->sends ? ends_receive : ends_send)(&side->ends, 1, 1);
    }
}

/* One call on this side, and what it must answer. */
static void expect(struct side *side, ptrdiff_t answer)
{
    (side->sends ? ends_send : ends_receive)(&side->ends, 1, answer);
}

static void use_up(struct side *side, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        expect(side, 1);
    }
}

/* Arms: 1, and the fd is unreadable; or 0, and it is readable. */
static void arm(struct side *side, int expected)
{
    assert_returns(side->sends ? strait_sender_arm(&side->ends.sender)
                               : strait_receiver_arm(&side->ends.receiver),
                   expected);
    assert_int_equal(readable(side->fd, 0), !expected);
}

static void close_other(struct side *side)
{
    if (side->sends) {
        strait_receiver_close(&side->ends.receiver);
    } else {
        strait_sender_close(&side->ends.sender);
    }
}

/* How often the eventfd was written since it was last cleared, without clearing it. */
static unsigned long written(const struct side *side)
{
    char path[64];
    char line[128];
    unsigned long count = ~0ul;
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", side->fd);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        sscanf(line, "eventfd-count: %lx", &count);
    }
    fclose(file);
    return count;
}

typedef void side_fn(struct side *side);

static void one_side(const struct test_case *test, side_fn *body, bool sends)
{
    struct side side;
    side_open(&side, test, sends);
    body(&side);
    side_close(&side);
}

static void both_sides(const struct test_case *test, side_fn *body)
{
    one_side(test, body, false);
    one_side(test, body, true);
}

/* Once armed it becomes readable, and stays so until all is used up and it is armed again. */
static void check_protocol(struct side *side)
{
    for (int lap = 0; lap < 5; lap++) {
        arm(side, 1);
        arm(side, 1);
        make_ready(side, 5);
        assert_true(readable(side->fd, 0));
        use_up(side, 2); /* a budget that stops early */
        assert_true(readable(side->fd, 0));
        arm(side, 0);
        use_up(side, 3);
        assert_true(readable(side->fd, 0));
        expect(side, -EAGAIN);
    }
}

static void protocol(const struct test_case *test)
{
    both_sides(test, check_protocol);
}

/* A wake-up that comes late, when its message has long been taken, is cleared by the next arming:
 * else the loop would go round without end. */
static void check_late_wake_up(struct side *side)
{
    const uint64_t one = 1;
    arm(side, 1);
    assert_int_equal(write(side->fd, &one, sizeof(one)), sizeof(one));
    arm(side, 1);
    strait_channel_wake(side->ends.channel);
    assert_true(readable(side->fd, 0));
    arm(side, 1);
    make_ready(side, 1);
    assert_true(readable(side->fd, 0));
}

static void late_wake_up(const struct test_case *test)
{
    both_sides(test, check_late_wake_up);
}

/* Many messages to one armed receiver are one write to its eventfd; none if it is not armed. */
static void check_coalescing(struct side *side)
{
    arm(side, 1);
    make_ready(side, 1);
    arm(side, 0); /* armed no more */
    use_up(side, 1);
    unsigned long before = written(side);
    make_ready(side, 4);
    assert_int_equal(written(side), before);
    use_up(side, 4);
    for (int lap = 0; lap < 3; lap++) {
        arm(side, 1);
        assert_int_equal(written(side), 0);
        make_ready(side, CAPACITY);
        assert_int_equal(written(side), 1);
        use_up(side, CAPACITY);
        assert_int_equal(written(side), 1);
    }
}

static void wake_ups_coalesce(const struct test_case *test)
{
    one_side(test, check_coalescing, false);
    if (case_has(test, STRAIT_SENDERS_ONE)) { /* several senders are each told */
        one_side(test, check_coalescing, true);
    }
}

static void check_close(struct side *side)
{
    arm(side, 1);
    close_other(side);
    assert_true(readable(side->fd, 0));
    expect(side, -EPIPE);
    arm(side, 0);
}

static void close_is_seen(const struct test_case *test)
{
    both_sides(test, check_close);
}

static void wait_until(struct side *side, int64_t deadline, int expected)
{
    assert_returns(side->sends ? strait_send_wait(&side->ends.sender, deadline)
                               : strait_receive_wait(&side->ends.receiver, deadline),
                   expected);
}

/* A side that waits by a blocking call, then goes back to its loop. */
static void check_blocking(struct side *side)
{
    arm(side, 1);
    wait_until(side, strait_deadline(100000), -ETIMEDOUT);
    make_ready(side, 1);
    wait_until(side, STRAIT_FOREVER, 0);
    use_up(side, 1);
    arm(side, 1);
    make_ready(side, 1);
    assert_true(readable(side->fd, 0));
}

static void blocking_between(const struct test_case *test)
{
    both_sides(test, check_blocking);
}

static void other_modes_have_no_fd(const struct test_case *test)
{
    struct ends ends;
    bool sender = test->sender == STRAIT_WAIT_FD;
    bool receiver = test->receiver == STRAIT_WAIT_FD;
    ends_open(&ends, test, 2, 8);
    assert_int_equal(strait_sender_fd(&ends.sender) >= 0, sender);
    assert_int_equal(strait_receiver_fd(&ends.receiver) >= 0, receiver);
    assert_returns(strait_sender_arm(&ends.sender), sender ? 0 : -EINVAL);
    assert_returns(strait_receiver_arm(&ends.receiver), receiver ? 1 : -EINVAL);
    ends_close(&ends, 0);
}

/* A loop may watch the fd before it ever looks: a receiver is armed when it is opened, and one that
 * opens behind messages or a close is readable. */
static void armed_from_the_start(const struct test_case *test)
{
    for (int kind = 0; kind < 3; kind++) {
        struct ends ends;
        struct strait_receiver second;
        fds_open(&ends, test, 8);
        int fd = strait_receiver_fd(&ends.receiver);
        assert_false(readable(fd, 0));
        ends_send(&ends, 1, 1);
        assert_true(readable(fd, 0));
        if (kind == 1) {
            ends_receive(&ends, 1, 1);
            strait_sender_close(&ends.sender);
        }
        if (kind) {
            assert_returns(strait_receiver_open(&second, ends.channel), 0);
            assert_true(readable(strait_receiver_fd(&second), 0));
        }
        ends_close(&ends, kind == 1 ? 0 : 1);
    }
}

/* A commit wakes as a send does, a reserve does not; a peek takes nothing. */
static void in_place_wakes(const struct test_case *test)
{
    struct ends ends;
    struct strait_span span;
    fds_open(&ends, test, 4);
    int sender_fd = strait_sender_fd(&ends.sender);
    int receiver_fd = strait_receiver_fd(&ends.receiver);
    assert_returns(strait_receiver_arm(&ends.receiver), 1);
    assert_returns(strait_reserve(&ends.sender, 4, &span), 4);
    messages_write(span.messages, 4, 8, 0, 0);
    assert_false(readable(receiver_fd, 0));
    strait_commit(&ends.sender, &span);
    ends.sent = 4;
    assert_true(readable(receiver_fd, 0));
    assert_returns(strait_sender_arm(&ends.sender), 1);
    assert_returns(strait_peek(&ends.receiver, 2, &span), 2);
    tally_messages(&ends.tally, span.messages, 2, 8);
    assert_false(readable(sender_fd, 0));
    strait_release(&ends.receiver, &span);
    assert_true(readable(sender_fd, 0));
    ends_close(&ends, 2);
}

TESTS(EACH_PAIR(other_modes_have_no_fd), EACH_VARIANT(armed_from_the_start), EACH_VARIANT(protocol),
      EACH_VARIANT(late_wake_up), EACH_VARIANT(wake_ups_coalesce), EACH_VARIANT(close_is_seen),
      EACH_VARIANT(blocking_between), EACH_VARIANT(in_place_wakes))
