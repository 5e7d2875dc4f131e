/* SPDX-License-Identifier: MIT */
/* The working side: servers that go and come, and the end of the call. With gearmands: see storm.
 */
#include "gearman/serve_fixture.h"

#include <signal.h>

/* A job whose function runs. */
static void assign_held(struct peer *peer, const char *handle)
{
    unsigned before = atomic_load(&gate.arrived);
    assign(peer, handle, "hold", 0, "");
    gate_await(&gate, before + 1);
}

static void hears_the_end(struct peer *peer)
{
    struct packet packet;
    assert_false(peer_next(peer, &packet));
}

/* ---- servers that are lost ---- */

TEST(the_jobs_of_a_lost_server_are_given_up)
{
    begin_with(&peer, 1, 1);
    assign_held(&peer, "H:old");
    peer_hang_up(&peer);
    await(&told, 1);
    greet(&peer);
    assert_serves(&peer); /* its answer is the first: none came for the old job */
    serve_end(&peer);
}

/* It says that it has nothing, and then nothing any more. */
TEST(a_server_that_is_silent_is_left)
{
    begin_with(&peer, 1, 1);
    say_no_job(&peer);
    peer.deaf = true;
    assert_true(peer_is_called(&peer, 20000));
    peer.deaf = false;
    peer_hang_up(&peer);
    greet(&peer);
    serve_end(&peer);
}

/* Nobody listens at first, nor for a while. */
TEST(a_server_may_come_later)
{
    peer_bind(&peer);
    serve_begin(1, (struct strait_gearman_serve_options){.servers = peer.name, .in_flight = 1});
    sleep_ns(50 * MS);
    peer_listen(&peer);
    greet(&peer);
    assert_serves(&peer);
    serve_end(&peer);
}

TEST(a_host_that_reaches_nobody_can_be_stopped)
{
    peer_bind(&peer);
    serve_begin(1, (struct strait_gearman_serve_options){.servers = peer.name});
    sleep_ns(50 * MS);
    serve_stop();
    assert_int_equal(serve_join(), 0);
    peer_close(&peer);
}

/* ---- two servers ---- */

static void begin_with_two(struct peer *peers, unsigned in_flight)
{
    char servers[2 * sizeof(peers[0].name)];
    peer_open(&peers[0]);
    peer_open(&peers[1]);
    snprintf(servers, sizeof(servers), "%s,%s", peers[0].name, peers[1].name);
    serve_begin(1,
                (struct strait_gearman_serve_options){.servers = servers, .in_flight = in_flight});
    meet(&peers[0]);
    meet(&peers[1]);
}

static void end_with_two(struct peer *peers)
{
    hears_the_end(&peers[0]);
    hears_the_end(&peers[1]);
    assert_int_equal(serve_join(), 0);
    peer_close(&peers[0]);
    peer_close(&peers[1]);
}

TEST(the_host_works_for_two_servers)
{
    struct peer peers[2];
    struct packet packet;
    begin_with_two(peers, 2);
    peer_hear(&peers[0], GRAB_JOB_UNIQ, &packet);
    peer_hear(&peers[1], GRAB_JOB_UNIQ, &packet);
    assert_serves(&peers[0]);
    assert_serves(&peers[1]);
    assign_held(&peers[0], "H:first");
    assert_true(peer_is_quiet(&peers[0], 10)); /* the other one holds what else may be in flight */
    assign(&peers[1], "H:second", "echo", 0, "");
    assert_true(peer_is_quiet(&peers[1], 10));
    peer_hang_up(&peers[0]);
    await(&told, 1);
    assert_answered(&peers[1], "H:second", 2, STRAIT_TASK_DONE, 0); /* it is the only one now */
    say_no_job(&peers[1]);
    peer_say(&peers[1], NO_JOB, NULL, 0);
    greet(&peers[0]);
    assert_serves(&peers[0]);
    peer_hear(&peers[0], GRAB_JOB_UNIQ, &packet);
    serve_stop();
    say_no_job(&peers[0]);
    peer_say(&peers[0], NO_JOB, NULL, 0);
    end_with_two(peers);
}

/* One job at a time, and both servers have many: they take turns. */
TEST(no_server_is_passed_over)
{
    struct peer peers[2];
    struct packet packet;
    unsigned jobs[2] = {0};
    begin_with_two(peers, 1);
    for (int i = 0; jobs[0] + jobs[1] < 40; i = !i) {
        if (peer_hears(&peers[i], &packet, 1) && packet.type == GRAB_JOB_UNIQ) {
            assign(&peers[i], "H:turn", "echo", 0, "");
            jobs[i]++;
        }
    }
    assert_in_range(jobs[0], 15, 25);
    serve_stop();
    bool ended[2] = {false, false};
    for (int i = 0; !ended[0] || !ended[1]; i = !i) { /* one of them owes a job, perhaps */
        if (!ended[i] && peer_hears(&peers[i], &packet, 1)) {
            ended[i] = packet.type == 0;
            if (packet.type == GRAB_JOB_UNIQ) {
                peer_say(&peers[i], NO_JOB, NULL, 0);
            }
        }
    }
    assert_int_equal(serve_join(), 0);
    peer_close(&peers[0]);
    peer_close(&peers[1]);
}

/* ---- the end ---- */

/* What it has asked for it still takes, and it answers all; then it asks for no more. */
TEST(a_host_that_is_stopped_drains)
{
    begin_with(&peer, 1, 2);
    struct packet packet;
    assign_held(&peer, "H:runs");
    peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
    serve_stop();
    assert_true(peer_is_quiet(&peer, 10));
    assign(&peer, "H:comes", "echo", 0, "");
    assert_true(peer_is_quiet(&peer, 10));
    gate_open(&gate);
    assert_answered(&peer, "H:runs", 0, STRAIT_TASK_DONE, 0);
    assert_answered(&peer, "H:comes", 0, STRAIT_TASK_DONE, 0);
    hears_the_end(&peer);
    assert_int_equal(serve_join(), 0);
    peer_close(&peer);
}

/* Its server has died, or has not: it does not wait for that word for ever. */
TEST(a_silent_server_does_not_hold_the_end_up)
{
    begin_with(&peer, 1, 1);
    peer.deaf = true;
    serve_stop();
    assert_int_equal(serve_join(), 0);
    peer_close(&peer);
}

TEST(a_server_that_is_lost_meanwhile_does_not_either)
{
    begin_with(&peer, 1, 1);
    assign_held(&peer, "H:runs");
    serve_stop();
    assert_true(peer_is_quiet(&peer, 10));
    peer_hang_up(&peer);
    assert_int_equal(serve_join(), 0);
    assert_int_equal(told, 1);
    peer_close(&peer);
}

/* Thread-directed, as the tests have a thread more. The mask is as before when the call returns:
 * a signal that still waited then would end the process. */
TEST(signals_stop_it)
{
    static const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < COUNT(signals); i++) {
        struct packet packet;
        peer_open(&peer);
        serve_begin(1, (struct strait_gearman_serve_options){
                           .servers = peer.name, .in_flight = 2, .stop_fd = BY_SIGNALS});
        greet(&peer);
        assign_held(&peer, "H:runs");
        peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
        pthread_kill(host.thread, signals[i]);
        say_no_job(&peer);
        assert_true(peer_is_quiet(&peer, 10));
        pthread_kill(host.thread, signals[i]); /* says nothing new */
        gate_open(&gate);
        assert_answered(&peer, "H:runs", 0, STRAIT_TASK_DONE, 0);
        hears_the_end(&peer);
        assert_int_equal(serve_join(), 0);
        peer_close(&peer);
    }
}

/* No job is there that would find it out. */
TEST(a_pool_that_is_closed_ends_it)
{
    begin_with(&peer, 1, 1);
    say_no_job(&peer);
    assert_returns(strait_pool_close(host.pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    hears_the_end(&peer);
    assert_int_equal(serve_join(), -EPIPE);
    peer_close(&peer);
}

/* No job is answered that another host can run. */
TEST(jobs_of_a_pool_that_is_closed_are_given_back)
{
    struct packet packet;
    begin_with(&peer, 1, 3);
    assign_held(&peer, "H:runs");
    peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
    assign(&peer, "H:waits", "echo", 0, "");
    peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
    int closed = strait_pool_close(host.pool, STRAIT_CLOSE_CANCEL, 0, NULL);
    assert_true(closed == -ETIMEDOUT || closed == 0); /* as the host tells what runs at once */
    assign(&peer, "H:comes", "echo", 0, "");
    hears_the_end(&peer);
    assert_int_equal(serve_join(), -EPIPE);
    assert_int_equal(told, 1);
    peer_close(&peer);
}

TEST(wrong_options_are_refused)
{
    struct longer {
        struct strait_gearman_serve_options known;
        uint64_t more;
    } longer = {{.size = sizeof(longer)}, 1};
    static const struct strait_gearman_serve_options wrong[] = {
        {.servers = ""}, /* others are packet_test's */
        {.payload_max = STRAIT_GEARMAN_PAYLOAD_MAX + 1},
        {.stop_fd = -1},
        {.size = 5},
    };
    struct strait_pool *pool;
    assert_returns(strait_pool_create(&pool, &(struct strait_pool_options){.workers = 1}), 0);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_returns(strait_gearman_serve(pool, functions, &wrong[i]), -EINVAL);
    }
    assert_returns(strait_gearman_serve(pool, functions, &longer.known), -EINVAL);
    assert_returns(strait_gearman_serve(NULL, functions, NULL), -EINVAL);
    assert_returns(strait_gearman_serve(pool, NULL, NULL), -EINVAL);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_gearman_serve(pool, functions, NULL), -EPIPE);
    assert_returns(strait_pool_destroy(pool), 0);
}
