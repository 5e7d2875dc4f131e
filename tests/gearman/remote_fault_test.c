/* SPDX-License-Identifier: MIT */
/* A remote whose system calls fail, one after the other: create says so, and nothing else is lost.
 */
#include "faults.h"
#include "gearman/refusals.h"
#include "gearman/remote_fixture.h"

#define PAYLOAD 10
#define SUBMITS 6u

/* ---- a life ---- */

/* Answers what there is to answer. */
static void serve_some(void)
{
    struct packet packet;
    on_side = false;
    if (peer.fd < 0 && peer_is_called(&peer, 0)) {
        peer_accept(&peer);
    }
    while (peer.fd >= 0 && readable(peer.fd, 0)) {
        if (answer_echo(&peer)) {
            continue;
        }
        if (!peer_next(&peer, &packet)) {
            peer_hang_up(&peer);
            break;
        }
        uint64_t number;
        char handle[16];
        memcpy(&number, read_head_at(field_of(&packet, 2)).data, sizeof(number));
        snprintf(handle, sizeof(handle), "H:%u", (unsigned)number);
        say_created(&peer, handle);
        say_done(&peer, handle, STRAIT_TASK_DONE, 0, number + 1, "an answer");
    }
    on_side = true;
}

/* What create has answered; if that is 0, the rest of it goes well. */
static int live_with_peer(void)
{
    struct strait_gearman *made = NULL;
    char payload[PAYLOAD] = "payload";
    struct strait_gearman_options options = {.servers = peer.name, .payload_max = 64};
    errno = ERRNO_MARK;
    int error = strait_gearman_create(&made, &options);
    assert_true(errno_kept());
    if (error) {
        return error;
    }
    remote = made;
    memset(endings, 0, sizeof(endings));
    for (unsigned n = 0; n < SUBMITS; n++) {
        struct strait_process_task task = task_of(n);
        task.payload = payload;
        task.payload_size = sizeof(payload);
        error = strait_gearman_submit(remote, &task, NULL, NULL);
        if (error) {
            assert_int_equal(error, -ENOMEM);
            assert_returns(strait_gearman_submit(remote, &task, NULL, NULL), 0);
        }
    }
    while (strait_gearman_owed(remote) > 0) {
        readable(strait_gearman_fd(remote), 1);
        pump();
        serve_some();
    }
    for (unsigned n = 0; n < SUBMITS; n++) {
        assert_int_equal(endings[n].times, 1);
        bool done = endings[n].status == STRAIT_TASK_DONE;
        assert_int_equal(endings[n].code, done ? 0 : -ENOMEM);
        assert_int_equal(endings[n].payload_size, done ? 9 : 0);
    }
    assert_returns(strait_gearman_destroy(remote), 0);
    return 0;
}

static int live(void)
{
    peer_open(&peer);
    on_side = true;
    int result = live_with_peer();
    on_side = false;
    peer_close(&peer);
    return result;
}

TEST(each_call_may_fail)
{
    static const struct {
        enum call call;
        int error;
        int answer; /* of create; 0: it succeeds */
        unsigned at_least;
    } cases[] = {
        {SOCKET, EMFILE, 0, 1},
        {CONNECT, ENETUNREACH, 0, 1},
        {CONNECT, EAGAIN, 0, 1},
        {SEND, ECONNRESET, 0, 2},
        {SEND, EAGAIN, 0, 2},
        {SEND, EINTR, 0, 2},
        {RECV, ECONNRESET, 0, 2},
        {RECV, EAGAIN, 0, 2},
        {RECV, EINTR, 0, 2},
        {SETSOCKOPT, ENOPROTOOPT, 0, 3},
        {GETRANDOM, ENOSYS, -ENOSYS, 1},
        {GETADDRINFO, 0, -ENOMEM, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned calls = refuse_each(cases[i].call, cases[i].error, cases[i].answer, live);
        assert_true(calls >= cases[i].at_least);
    }
}

/* The same where what fails is the fixture's of all fault tests. */
static unsigned lack_each(enum function function, int answer)
{
    unsigned n = 0;
    do {
        int before = counts.live;
        struct census census = census_take();
        arm_fault(function, ++n);
        int result = live();
        assert_true(result == 0 || result == answer);
        assert_census(census);
        assert_int_equal(counts.live, before);
        progress_made();
    } while (counts.hits > 0);
    return n - 1;
}

TEST(memory_and_descriptors_may_lack)
{
    assert_int_equal(live(), 0);
    assert_true(lack_each(POSIX_MEMALIGN, -ENOMEM) >= 4 + 2 + 2 * SUBMITS);
    assert_true(lack_each(EPOLL_CREATE, -EMFILE) >= 1);
    assert_true(lack_each(TIMERFD_CREATE, -EMFILE) >= 1);
    assert_true(lack_each(EPOLL_CTL, -ENOMEM) >= 2);
}
