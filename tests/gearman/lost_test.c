/* SPDX-License-Identifier: MIT */
/* lost: a job server that goes, hangs, or talks nonsense, loses no task and completes none twice.
 */
#include "gearman/remote_fixture.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void create_with_two(struct peer *peers)
{
    char servers[80];
    peer_open(&peers[0]);
    peer_open(&peers[1]);
    snprintf(servers, sizeof(servers), "%s,%s", peers[0].name, peers[1].name);
    create(NULL, (struct strait_gearman_options){.servers = servers});
}

/* The keys of a task's runs are the same, so that it can tell. */
TEST(what_a_lost_server_had_is_submitted_again)
{
    struct packet packet;
    char keys[4][KEY + 1];
    struct peer peers[2];
    create_with_two(peers);
    meet(&peers[0]);
    submit_many(0, 3);
    for (unsigned n = 0; n < 4; n++) {
        hear(&peers[0], SUBMIT_JOB, &packet);
        strcpy(keys[n], field_of(&packet, 1));
    }
    say_created(&peers[0], "H:0");
    say_created(&peers[0], "H:1");
    say_done(&peers[0], "H:1", STRAIT_TASK_DONE, 0, 0, "");
    assert_ended(1, STRAIT_TASK_DONE, 0);
    say_done(&peers[0], "H:0", STRAIT_TASK_DONE, 0, 0, ""); /* it has been read, or it runs again */
    assert_ended(0, STRAIT_TASK_DONE, 0);
    peer_hang_up(&peers[0]);
    meet(&peers[1]);
    for (unsigned n = 2; n < 4; n++) { /* in their order */
        hear(&peers[1], SUBMIT_JOB, &packet);
        assert_string_equal(field_of(&packet, 1), keys[n]);
    }
    say_created(&peers[1], "H:0");
    say_created(&peers[1], "H:1");
    say_done(&peers[1], "H:1", STRAIT_TASK_DONE, 0, 0, "");
    say_done(&peers[1], "H:0", STRAIT_TASK_DONE, 0, 0, "");
    assert_ended(2, STRAIT_TASK_DONE, 0);
    assert_ended(3, STRAIT_TASK_DONE, 0);
    assert_int_equal(endings[0].runs, 1);
    assert_int_equal(endings[3].runs, 2);
    assert_int_equal(stats().again, 2);
    assert_string_equal(stats().server, peers[1].name);
    peer_hang_up(&peers[1]); /* and back again */
    meet(&peers[0]);
    end(&peers[0]);
    peer_close(&peers[1]);
}

TEST(a_silent_server_is_given_up)
{
    struct peer peers[2];
    create_with_two(peers);
    submit(0);
    peers[0].deaf = true;
    peer_accept(&peers[0]);
    hear_end(&peers[0]); /* it was never heard: it has no task */
    meet(&peers[1]);
    hear_task(&peers[1], 0);
    assert_int_equal(stats().again, 0);
    say_created(&peers[1], "H:0");
    peers[1].deaf = true;
    hear_end(&peers[1]);
    peers[0].deaf = false;
    meet(&peers[0]);
    hear_task(&peers[0], 0);
    assert_owed(0);
    peer_close(&peers[1]);
    end(&peers[0]);
}

/* Whose tasks expire, one after the other, is noticed all the same. */
TEST(a_silent_server_is_given_up_though_nobody_waits_long)
{
    struct peer peers[2];
    unsigned n = 0;
    create_with_two(peers);
    meet(&peers[0]);
    peers[0].deaf = true;
    for (int64_t until = strait_in_ms(20000); !peer_is_called(&peers[1], 0);) {
        struct strait_gearman_submit_options soon = {.finish_by = strait_in_ms(10)};
        assert_returns(try_submit(n, &soon), 0);
        await_end(n++);
        assert_true(strait_now() < until);
    }
    meet(&peers[1]);
    peer_close(&peers[1]);
    end(&peers[0]);
}

/* It begins to say something, byte by byte, and does not come to an end. */
TEST(a_server_that_trickles_is_given_up)
{
    static const char packet[400] = "\0RES\0\0\0\15\0\0\20";
    struct peer peers[2];
    create_with_two(peers);
    meet(&peers[0]);
    submit(0);
    hear_task(&peers[0], 0);
    peers[0].deaf = true;
    for (size_t at = 0; !peer_is_called(&peers[1], 0); at++) {
        assert_true(at < sizeof(packet));
        peer_send(&peers[0], &packet[at], 1);
        sleep_ns(50 * MS);
        pump();
    }
    meet(&peers[1]);
    hear_task(&peers[1], 0);
    peer_close(&peers[1]);
    end(&peers[0]);
}

TEST(a_server_that_breaks_off_is_not_called_at_once)
{
    peer_open(&peer);
    create(&peer, (struct strait_gearman_options){0});
    submit(0);
    int64_t start = strait_now();
    for (int i = 0; i < 5; i++) { /* 10, 20, 40, 80 ms between them */
        meet(&peer);
        hear_task(&peer, 0);
        peer_hang_up(&peer);
    }
    assert_true(strait_now() - start >= 150 * MS);
    assert_int_equal(stats().connections, 5);
    meet(&peer);
    hear_task(&peer, 0);
    assert_int_equal(stats().again, 5);
    end(&peer);
}

/* It has the socket, too, and does nothing with it: the fd tells nothing of that. */
TEST(a_child_does_not_keep_a_lost_server)
{
    begin(&peer, (struct strait_gearman_options){0});
    pid_t child = fork();
    if (child == 0) {
        sleep(60);
        _exit(0);
    }
    shutdown(peer.fd, SHUT_RDWR); /* the child has it, too */
    peer_hang_up(&peer);
    meet(&peer);
    do { /* what is due comes to an end */
        while (answer_echo(&peer)) {
        }
        assert_owed(0);
    } while (readable(strait_gearman_fd(remote), 20));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    end(&peer);
}

/* What no job server says ends the connection, and nothing else. */
TEST(a_hostile_server_is_left)
{
    static const struct {
        bool owes_handle;
        unsigned type; /* 0: bytes as they are */
        const char *bytes;
        size_t size;
    } cases[] = {
        {true, 0, "\0REQ\0\0\0\10\0\0\0\0", 12},
        {true, 0, "\0\0\0\0\0\0\0\0\0\0\0\0", 12},
        {true, JOB_CREATED, "", 0},
        {true, JOB_CREATED, "H\0H", 3},
        {true, JOB_CREATED, "01234567890123456789012345678901234567890123456789012345678901234",
         65},
        {true, JOB_CREATED, "H:0", 3}, /* that is the other task's */
        {false, JOB_CREATED, "H:2", 3},
        {false, ERROR, "QUEUE_ERROR\0text", 16},
    };
    for (unsigned i = 0; i < COUNT(cases); i++) {
        begin(&peer, (struct strait_gearman_options){0});
        submit_many(0, 1);
        hear_task(&peer, 0);
        hear_task(&peer, 1);
        say_created(&peer, "H:0");
        if (!cases[i].owes_handle) {
            say_created(&peer, "H:1");
        }
        if (cases[i].type) {
            peer_say(&peer, cases[i].type, cases[i].bytes, cases[i].size);
        } else {
            peer_send(&peer, cases[i].bytes, cases[i].size);
        }
        hear_end(&peer);
        meet(&peer);
        hear_task(&peer, 0);
        hear_task(&peer, 1);
        say_created(&peer, "H:8");
        say_created(&peer, "H:9");
        say_done(&peer, "H:9", STRAIT_TASK_DONE, 0, 0, "");
        say_done(&peer, "H:8", STRAIT_TASK_DONE, 0, 0, "");
        assert_ended(1, STRAIT_TASK_DONE, 0);
        assert_ended(0, STRAIT_TASK_DONE, 0);
        end(&peer);
    }
}

/* One thing of what a job server may say, or may not, about handles that may be there. */
static void say_something(struct peer *peer, uint64_t *seed)
{
    static const unsigned types[] = {NOOP, NO_JOB, WORK_FAIL, ECHO_RES, 12, 25, 28, 99};
    struct body body = {.size = 0};
    char handle[16];
    char bytes[64];
    snprintf(handle, sizeof(handle), "H:%u", (unsigned)draw_below(seed, 40));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)draw(seed);
    }
    switch (draw_below(seed, 40)) {
    case 0:
        peer_send(peer, bytes, draw_below(seed, sizeof(bytes)));
        break;
    case 1:
        say_refused(peer, draw(seed) & 1 ? "QUEUE_ERROR" : "OTHER");
        break;
    case 2:
        add_field(&body, handle);
        add_bytes(&body, bytes, draw_below(seed, sizeof(bytes)));
        peer_say_body(peer, types[draw_below(seed, COUNT(types))], &body);
        break;
    case 3:
        peer_send(peer, "OK\r\n", 4);
        break;
    case 4:
        add_field(&body, handle);
        add_head(&body, MAGIC, (uint32_t)draw_below(seed, 7), 0, 0, bytes);
        add_bytes(&body, bytes, draw_below(seed, sizeof(bytes)));
        peer_say_body(peer, WORK_COMPLETE, &body);
        break;
    default:
        if (draw(seed) & 1) {
            say_created(peer, handle);
        } else {
            say_done(peer, handle, STRAIT_TASK_DONE, 0, 0, "");
        }
    }
}

TEST(whatever_a_server_says_each_task_ends_once)
{
    uint64_t seed = first_seed(3);
    unsigned n = 0;
    begin(&peer, (struct strait_gearman_options){.owed_max = 40, .payload_max = 32});
    for (size_t said = 0; said < scaled(2000) || stats().completed <= 100;) {
        char skipped[4096];
        if (peer.fd < 0 && peer_is_called(&peer, 1)) {
            peer_accept(&peer);
        }
        if (peer.fd >= 0) {
            say_something(&peer, &seed);
            said++;
            if (draw_below(&seed, 100) == 0 ||
                recv(peer.fd, skipped, sizeof(skipped), MSG_DONTWAIT) == 0) {
                peer_hang_up(&peer);
            }
        }
        if (n + 1 < TASKS && draw_below(&seed, 3) == 0) {
            struct strait_gearman_submit_options how = {
                .finish_by =
                    draw_below(&seed, 4) ? 0 : strait_in_ms((int64_t)draw_below(&seed, 20))};
            int error = try_submit(n, &how);
            assert_true(error == 0 || error == -EAGAIN);
            n += error == 0;
        }
        if (n > 0 && draw_below(&seed, 8) == 0) {
            strait_gearman_cancel(remote, ids[draw_below(&seed, n)]);
        }
        pump();
        assert_true(strait_gearman_owed(remote) <= 40);
    }
    end(&peer);
}
