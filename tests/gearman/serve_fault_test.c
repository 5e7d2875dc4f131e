/* SPDX-License-Identifier: MIT */
/*
 * The working side where the system refuses something: each call that it makes fails once. While it
 * serves nothing of that ends it, and each job is answered nevertheless: as failed where there is
 * no memory for it, else by this connection or the next.
 */
#include "gearman/refusals.h"
#include "gearman/serve_fixture.h"

#include <signal.h>
#include <sys/eventfd.h>

#include "faults.h"

/* ---- a play that bears it ---- */

static unsigned failing_allocation; /* of the host's, from 1 */

static void prepare(void)
{
    on_side = true;
    arm_fault(POSIX_MEMALIGN, failing_allocation);
}

#define JOBS 3u

static unsigned answers[2]; /* DONE; FAILED for want of memory */

static void note_answer(const struct packet *packet)
{
    struct head head = read_head_at(packet->bytes + strlen(packet->bytes) + 1);
    assert_string_equal(packet->bytes, "H:f");
    assert_true(head.status == STRAIT_TASK_DONE
                    ? head.code == 0
                    : head.status == STRAIT_TASK_FAILED && head.code == -ENOMEM);
    answers[head.status]++;
}

static void give_job(struct peer *peer)
{
    unsigned char data[STRAIT_TASK_DATA] = {1};
    struct body body = job("H:f", "more");
    add_head(&body, MAGIC, 0, 0, 0, data);
    add_bytes(&body, "12345", 5);
    peer_say_body(peer, JOB_ASSIGN_UNIQ, &body);
}

/* What comes next, or a connection. `jobs`: it gets one where it asks for it. */
static void play_on(struct peer *peer, bool jobs)
{
    struct packet packet;
    if (peer->fd < 0) {
        if (peer_is_called(peer, 5)) {
            peer_accept(peer);
        }
        return;
    }
    if (!peer_hears(peer, &packet, 5)) {
        return;
    }
    if (packet.type == 0) {
        peer_hang_up(peer);
    } else if (packet.type == WORK_COMPLETE) {
        note_answer(&packet);
    } else if (packet.type == GRAB_JOB_UNIQ && jobs) {
        give_job(peer);
    } else if (packet.type == GRAB_JOB_UNIQ) {
        peer_say(peer, NO_JOB, NULL, 0);
    }
}

/* Three jobs, then the end, which may come before. What the call returned. */
static int play(int stop_fd)
{
    peer_open(&peer);
    memset(answers, 0, sizeof(answers));
    host.prepare = prepare;
    serve_begin(1,
                (struct strait_gearman_serve_options){
                    .servers = peer.name, .in_flight = 1, .payload_max = 1024, .stop_fd = stop_fd});
    while (answers[0] + answers[1] < JOBS && !atomic_load(&host.ended)) {
        play_on(&peer, true);
    }
    if (stop_fd == BY_SIGNALS) {
        if (!atomic_load(&host.ended)) {
            pthread_kill(host.thread, SIGTERM);
        }
    } else {
        serve_stop();
    }
    while (!atomic_load(&host.ended)) {
        play_on(&peer, false);
    }
    peer_close(&peer);
    return serve_join();
}

/* ---- the tests ---- */

static int play_all(void)
{
    int result = play(0);
    assert_int_equal(answers[0], JOBS);
    return result;
}

TEST(each_call_fails_once)
{
    static const struct {
        enum call call;
        int error;
        unsigned at_least; /* so many calls are found */
    } refused[] = {
        {SOCKET, EMFILE, 1},      {SETSOCKOPT, ENOPROTOOPT, 3}, {CONNECT, ENETUNREACH, 1},
        {SEND, EPIPE, JOBS},      {SEND, EINTR, JOBS},          {SEND, EAGAIN, JOBS},
        {RECV, ECONNRESET, JOBS}, {RECV, EINTR, JOBS},          {PPOLL, EINTR, JOBS},
        {PPOLL, ENOMEM, JOBS},
    };
    for (size_t i = 0; i < COUNT(refused); i++) {
        unsigned calls = refuse_each(refused[i].call, refused[i].error, 0, play_all);
        assert_true(calls >= refused[i].at_least);
    }
}

static int play_by_signals(void)
{
    return play(BY_SIGNALS);
}

TEST(signals_that_cannot_be_watched_are_told)
{
    assert_int_equal(refuse_each(SIGNALFD, EMFILE, -EMFILE, play_by_signals), 1);
}

/* Where there is none at the start the call says so, and later the jobs, or others do them. */
TEST(each_allocation_fails_once)
{
    unsigned refused = 0;
    unsigned failed = 0;
    assert_int_equal(play(0), 0); /* whatever is done once per process */
    int live = counts.live;
    for (unsigned n = 1;; n++) {
        failing_allocation = n;
        int result = play(0);
        assert_int_equal(counts.live, live);
        if (counts.hits == 0) {
            break;
        }
        assert_true(result == -ENOMEM || (result == 0 && answers[0] + answers[1] == JOBS));
        refused += result != 0;
        failed += answers[1];
        progress_made();
    }
    failing_allocation = 0;
    arm_fault(POSIX_MEMALIGN, 0);
    assert_true(refused >= 3); /* the host, its jobs, the pool's parent */
    assert_true(failed >= 2);  /* a payload, an answer's */
}

/* ---- from the start to the end, without a job ---- */

static struct strait_pool *pool;

static int stopped = -1; /* a stop_fd that is readable */

static int serve_nobody(void)
{
    return strait_gearman_serve(
        pool, functions,
        &(struct strait_gearman_serve_options){.servers = "127.0.0.1:1", .stop_fd = stopped});
}

TEST(what_the_start_lacks_is_told)
{
    static const unsigned at_least[FUNCTIONS] = {
        [POSIX_MEMALIGN] = 3, [EVENTFD] = 1, [EPOLL_CREATE] = 1, [EPOLL_CTL] = 1};
    stopped = eventfd(1, EFD_CLOEXEC);
    assert_returns(strait_pool_create(&pool, &(struct strait_pool_options){.workers = 1}), 0);
    fail_everything(serve_nobody, at_least, POSIX_MEMALIGN); /* a server's buffers may wait */
    assert_returns(strait_pool_finish(pool, NULL, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    close(stopped);
}
