/* SPDX-License-Identifier: MIT */
/* remote: each task completes once, with its answer or by a cancel, a deadline or an error. */
#include "gearman/remote_fixture.h"

#include <ctype.h>
#include <sys/socket.h>

TEST(options_are_checked)
{
    static const struct {
        struct strait_gearman_options options;
        int error;
    } cases[] = {
        {{.servers = "127.0.0.1:70000"}, -EINVAL},
        {{.servers = "no..host"}, -ENOENT},
        {{.owed_max = (1u << 20) + 1}, -EINVAL},
        {{.payload_max = STRAIT_GEARMAN_PAYLOAD_MAX + 1}, -EINVAL},
        {{.size = 3}, -EINVAL},
    };
    struct strait_gearman *none = NULL;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_returns(strait_gearman_create(&none, &cases[i].options), cases[i].error);
        assert_null(none);
    }
    assert_returns(strait_gearman_destroy(NULL), 0);
}

TEST(submits_are_checked)
{
    static const struct {
        const char *name;
        size_t payload_size;
        struct strait_gearman_submit_options how;
        int error;
    } cases[] = {
        {NULL, 0, {0}, -EINVAL},
        {"", 0, {0}, -EINVAL},
        {"0123456789012345678901234567890123456789", 0, {0}, -EINVAL},
        {"f", 65, {0}, -ENOSPC},
        {"f", 0, {.priority = STRAIT_GEARMAN_LOW + 1}, -EINVAL},
        {"f", 0, {.finish_by = -1}, -EINVAL},
        {"f", 0, {.size = 7}, -EINVAL},
        {"012345678901234567890123456789012345678", 64, {0}, 0},
    };
    char payload[65] = "";
    begin(&peer, (struct strait_gearman_options){.payload_max = 64});
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct strait_process_task task = {.task = {.name = cases[i].name},
                                           .payload = payload,
                                           .payload_size = cases[i].payload_size};
        assert_returns(strait_gearman_submit(remote, &task, &cases[i].how, NULL), cases[i].error);
    }
    assert_int_equal(strait_gearman_owed(remote), 1);
    end(&peer);
}

/* ---- one task ---- */

TEST(a_task_goes_and_its_answer_comes)
{
    struct packet packet;
    begin(&peer, (struct strait_gearman_options){.payload_max = 64});
    struct strait_process_task task = task_of(7);
    task.payload = "seven";
    task.payload_size = 5;
    assert_returns(strait_gearman_submit(remote, &task, NULL, &ids[7]), 0);
    hear(&peer, SUBMIT_JOB, &packet);
    assert_string_equal(field_of(&packet, 0), "f");
    const char *key = field_of(&packet, 1);
    assert_int_equal(strlen(key), KEY);
    for (int i = 0; i < KEY; i++) {
        assert_true(isxdigit((unsigned char)key[i]));
    }
    struct head head = read_head_at(field_of(&packet, 2));
    assert_int_equal(head.magic, MAGIC);
    assert_int_equal(head.remaining, 0);
    assert_memory_equal(head.data, task.task.data, sizeof(head.data));
    assert_int_equal(packet.size, 2 + KEY + 1 + HEAD + 5);
    assert_memory_equal(packet.bytes + packet.size - 5, "seven", 5);
    say_created(&peer, "H:7");
    say_done(&peer, "H:7", STRAIT_TASK_DONE, 3, 49, "forty-nine");
    assert_ended(7, STRAIT_TASK_DONE, 3);
    assert_int_equal(endings[7].number, 49);
    assert_int_equal(endings[7].runs, 1);
    assert_int_equal(endings[7].payload_size, 10);
    assert_memory_equal(endings[7].payload, "forty-nine", 10);
    assert_int_equal(stats().submitted, 1);
    assert_int_equal(stats().completed, 1);
    assert_int_equal(stats().owed, 0);
    assert_string_equal(stats().server, peer.name);
    assert_returns(strait_gearman_drain(remote, 0), 0);
    endings[7].times = 0; /* it was not the fixture's */
    end(&peer);
}

TEST(priorities_and_times_travel)
{
    static const unsigned types[] = {SUBMIT_JOB, SUBMIT_JOB_HIGH, SUBMIT_JOB_LOW};
    struct packet packet;
    begin(&peer, (struct strait_gearman_options){0});
    for (unsigned i = 0; i < COUNT(types); i++) {
        struct strait_gearman_submit_options how = {.priority = (enum strait_gearman_priority)i,
                                                    .finish_by = strait_deadline(3600 * SECOND)};
        assert_returns(try_submit(i, &how), 0);
        hear(&peer, types[i], &packet);
        assert_in_range(read_head_at(field_of(&packet, 2)).remaining, 3000 * SECOND, 3600 * SECOND);
    }
    end(&peer);
    for (unsigned i = 0; i < COUNT(types); i++) {
        assert_int_equal(endings[i].status, STRAIT_TASK_ABANDONED);
    }
}

TEST(an_answer_is_checked)
{
    static const struct {
        uint32_t magic;
        uint32_t status;
        int code;
        size_t size; /* behind the head */
        enum strait_task_status expected;
        int expected_code;
    } cases[] = {
        {MAGIC, STRAIT_TASK_DONE, -7, 64, STRAIT_TASK_DONE, -7},
        {MAGIC, STRAIT_TASK_FAILED, 9, 0, STRAIT_TASK_FAILED, 9},
        {MAGIC, STRAIT_TASK_CANCELLED, -ECANCELED, 0, STRAIT_TASK_CANCELLED, -ECANCELED},
        {MAGIC, STRAIT_TASK_EXPIRED, -ETIMEDOUT, 0, STRAIT_TASK_EXPIRED, -ETIMEDOUT},
        {MAGIC, STRAIT_TASK_ABANDONED, -ECANCELED, 0, STRAIT_TASK_ABANDONED, -ECANCELED},
        {MAGIC, STRAIT_TASK_ABANDONED + 1, 0, 0, STRAIT_TASK_FAILED, -EPROTO},
        {MAGIC, UINT32_MAX, 0, 0, STRAIT_TASK_FAILED, -EPROTO},
        {MAGIC + 1, STRAIT_TASK_DONE, 0, 0, STRAIT_TASK_FAILED, -EPROTO},
        {MAGIC, STRAIT_TASK_DONE, 0, 65, STRAIT_TASK_FAILED, -ENOSPC},
        {MAGIC, STRAIT_TASK_DONE, 0, 7000, STRAIT_TASK_FAILED, -ENOSPC},
    };
    static char bytes[7000];
    begin(&peer, (struct strait_gearman_options){.payload_max = 64});
    for (unsigned i = 0; i < COUNT(cases); i++) {
        struct body body = {.size = 0};
        submit(i);
        hear_task(&peer, i);
        say_created(&peer, "H:1");
        add_field(&body, "H:1");
        add_head(&body, cases[i].magic, cases[i].status, cases[i].code, 0, NULL);
        add_bytes(&body, bytes, cases[i].size);
        peer_say_body(&peer, WORK_COMPLETE, &body);
        assert_ended(i, cases[i].expected, cases[i].expected_code);
        size_t size = cases[i].expected_code == -ENOSPC ? 0 : cases[i].size;
        assert_int_equal(endings[i].payload_size, size);
    }
    submit(50);
    submit(51);
    hear_task(&peer, 50);
    hear_task(&peer, 51);
    say_created(&peer, "H:50");
    say_created(&peer, "H:51");
    peer_say(&peer, WORK_COMPLETE, "H:51\0short", 10);
    peer_say(&peer, WORK_FAIL, "H:50", 4);
    assert_ended(51, STRAIT_TASK_FAILED, -EPROTO);
    assert_ended(50, STRAIT_TASK_FAILED, -EIO);
    submit(52);
    hear_task(&peer, 52);
    say_refused(&peer, "NO_SUCH_THING");
    assert_ended(52, STRAIT_TASK_FAILED, -EIO);
    assert_int_equal(stats().connections, 1);
    end(&peer);
}

/* ---- its end comes from here ---- */

TEST(a_task_is_cancelled_wherever_it_is)
{
    peer_open(&peer);
    create(&peer, (struct strait_gearman_options){0});
    submit(0);
    assert_returns(strait_gearman_cancel(remote, ids[0]), 0); /* it waits for a server */
    assert_returns(strait_gearman_cancel(remote, ids[0]), -EALREADY);
    assert_int_equal(endings[0].times, 0);
    assert_ended(0, STRAIT_TASK_CANCELLED, -ECANCELED);
    assert_returns(strait_gearman_cancel(remote, ids[0]), -ENOENT);
    meet(&peer);
    submit(1);
    hear_task(&peer, 1);
    assert_returns(strait_gearman_cancel(remote, ids[1]), -EINPROGRESS); /* its handle is to come */
    assert_ended(1, STRAIT_TASK_CANCELLED, -ECANCELED);
    submit(2); /* takes the same slot */
    hear_task(&peer, 2);
    say_created(&peer, "H:1");
    say_created(&peer, "H:2");
    hear_line(&peer, "cancel job H:1");
    peer_send(&peer, "OK\r\n", 4);
    peer_say(&peer, WORK_FAIL, "H:1", 3);
    assert_owed(2);
    assert_returns(strait_gearman_cancel(remote, ids[2]), -EINPROGRESS); /* the server has it */
    hear_line(&peer, "cancel job H:2");
    assert_ended(2, STRAIT_TASK_CANCELLED, -ECANCELED);
    submit(3);
    hear_task(&peer, 3);
    say_created(&peer, "H:3");
    say_done(&peer, "H:3", STRAIT_TASK_DONE, 0, 0, "");
    say_done(&peer, "H:2", STRAIT_TASK_DONE, 0, 0, ""); /* too late */
    assert_ended(3, STRAIT_TASK_DONE, 0);
    while (stats().dropped == 0) {
        pump();
    }
    assert_returns(strait_gearman_cancel(remote, ids[3]), -ENOENT);
    assert_returns(strait_gearman_cancel(remote, 0), -ENOENT);
    assert_returns(strait_gearman_cancel(remote, UINT64_MAX), -ENOENT);
    end(&peer);
}

TEST(a_task_expires_wherever_it_is)
{
    const struct strait_gearman_submit_options soon = {.finish_by = 1};
    struct strait_gearman_submit_options later = {0};
    peer_open(&peer);
    create(&peer, (struct strait_gearman_options){0});
    assert_returns(try_submit(0, &soon), 0);
    submit(1);
    assert_ended(0, STRAIT_TASK_EXPIRED, -ETIMEDOUT);
    meet(&peer);
    hear_task(&peer, 1);
    later.finish_by = strait_in_ms(50);
    assert_returns(try_submit(2, &later), 0);
    hear_task(&peer, 2);
    say_created(&peer, "H:1");
    say_created(&peer, "H:2");
    hear_line(&peer, "cancel job H:2");
    assert_true(strait_now() >= later.finish_by);
    assert_ended(2, STRAIT_TASK_EXPIRED, -ETIMEDOUT);
    assert_returns(strait_gearman_cancel(remote, ids[2]), -ENOENT);
    assert_owed(1);
    assert_returns(strait_gearman_drain(remote, strait_in_ms(5)), -ETIMEDOUT);
    end(&peer);
}

/* ---- there is no room ---- */

TEST(so_many_are_owed)
{
    begin(&peer, (struct strait_gearman_options){.owed_max = 3});
    submit_many(0, 2);
    assert_int_equal(try_submit(3, NULL), -EAGAIN);
    hear_task(&peer, 0);
    say_created(&peer, "H:0");
    say_done(&peer, "H:0", STRAIT_TASK_DONE, 0, 0, "");
    await_end(0);
    submit(3);
    assert_int_equal(strait_gearman_owed(remote), 3);
    end(&peer);
}

/* A task is tried again in a moment, or once another one has ended; behind it one more, two, four,
 * as long as they are taken. */
TEST(a_full_queue_is_waited_for)
{
    begin(&peer, (struct strait_gearman_options){0});
    submit_many(0, 3);
    for (unsigned n = 0; n < 4; n++) {
        hear_task(&peer, n);
    }
    int64_t start = strait_now();
    say_created(&peer, "H:0");
    for (unsigned n = 1; n < 4; n++) {
        say_refused(&peer, "QUEUE_ERROR");
    }
    hear_task(&peer, 1); /* in a moment */
    assert_true(strait_now() - start >= 10 * MS);
    assert_int_equal(try_submit(4, NULL), -EAGAIN);
    assert_true(hears_nothing(&peer, 50)); /* it alone */
    say_refused(&peer, "QUEUE_ERROR");
    pump();
    say_done(&peer, "H:0", STRAIT_TASK_DONE, 0, 0, "");
    assert_ended(0, STRAIT_TASK_DONE, 0);
    hear_task(&peer, 1);
    assert_true(hears_nothing(&peer, 50));
    submit(4);
    say_created(&peer, "H:1");
    hear_task(&peer, 2);
    hear_task(&peer, 3);
    assert_true(hears_nothing(&peer, 20));
    say_created(&peer, "H:2");
    hear_task(&peer, 4);
    say_created(&peer, "H:3");
    say_created(&peer, "H:4");
    for (unsigned n = 1; n < 5; n++) {
        char handle[8];
        snprintf(handle, sizeof(handle), "H:%u", n);
        say_done(&peer, handle, STRAIT_TASK_DONE, 0, 0, "");
        assert_ended(n, STRAIT_TASK_DONE, 0);
    }
    assert_int_equal(endings[2].runs, 2);
    end(&peer);
}

/* Nobody is left whom the server could take: so the next one is tried. */
TEST(who_was_refused_may_go)
{
    int error = -EAGAIN;
    begin(&peer, (struct strait_gearman_options){0});
    submit(0);
    hear_task(&peer, 0);
    say_refused(&peer, "QUEUE_ERROR");
    hear_task(&peer, 0);
    assert_int_equal(try_submit(1, NULL), -EAGAIN);
    assert_returns(strait_gearman_cancel(remote, ids[0]), -EINPROGRESS);
    assert_int_equal(try_submit(1, NULL), -EAGAIN); /* the server may take it yet */
    say_refused(&peer, "QUEUE_ERROR");
    while (error == -EAGAIN) {
        pump();
        error = try_submit(1, NULL);
    }
    assert_int_equal(error, 0);
    assert_int_equal(try_submit(2, NULL), -EAGAIN);
    hear_task(&peer, 1);
    say_created(&peer, "H:1");
    say_done(&peer, "H:1", STRAIT_TASK_DONE, 0, 0, "");
    assert_ended(1, STRAIT_TASK_DONE, 0);
    submit(2);
    end(&peer);
}

/* The server reads a megabyte in pieces, later than it was sent. */
TEST(a_large_payload_passes)
{
    enum { SIZE = 3 << 20 };
    static uint8_t sent[SIZE];
    static uint8_t got[SIZE + 4096];
    uint64_t seed = first_seed(4);
    begin(&peer, (struct strait_gearman_options){.payload_max = SIZE});
    for (size_t i = 0; i < SIZE; i++) {
        sent[i] = (uint8_t)draw(&seed);
    }
    struct strait_process_task task = task_of(1);
    task.payload = sent;
    task.payload_size = SIZE;
    for (int i = 0; i < 2; i++) { /* the second one while the first is on its way */
        assert_returns(strait_gearman_submit(remote, &task, NULL, NULL), 0);
    }
    for (int i = 0; i < 2; i++) {
        const size_t size = 12 + 2 + KEY + 1 + HEAD + SIZE;
        for (size_t n = 0; n < size;) {
            ssize_t more = recv(peer.fd, got + n, size - n, MSG_DONTWAIT);
            n += more > 0 ? (size_t)more : 0;
            pump();
        }
        assert_memory_equal(got + size - SIZE, sent, SIZE);
    }
    struct body start = {.size = 0};
    const uint8_t header[12] = {0, 'R', 'E', 'S', 0, 0, 0, 13, 0, 0x30, 0, HEAD + 4};
    say_created(&peer, "H:1");
    say_created(&peer, "H:2");
    add_bytes(&start, header, sizeof(header));
    add_field(&start, "H:1");
    add_head(&start, MAGIC, STRAIT_TASK_DONE, 0, 0, NULL);
    peer_send(&peer, start.bytes, start.size);
    for (size_t n = 0; n < SIZE;) {
        ssize_t more = send(peer.fd, sent + n, SIZE - n, MSG_DONTWAIT);
        n += more > 0 ? (size_t)more : 0;
        pump();
    }
    await_end(1);
    assert_int_equal(endings[1].payload_size, SIZE);
    assert_memory_equal(endings[1].payload, sent, sizeof(endings[1].payload));
    assert_int_equal(strait_gearman_owed(remote), 1);
    assert_returns(strait_gearman_destroy(remote), 0);
    peer_close(&peer);
}

/* ---- what `done` may do ---- */

static void in_done(struct strait_task *task)
{
    unsigned n = *(unsigned *)task->context;
    assert_returns(strait_gearman_dispatch(remote, 0), -EDEADLK);
    assert_returns(strait_gearman_drain(remote, 0), -EDEADLK);
    assert_returns(strait_gearman_destroy(remote), -EDEADLK);
    if (n == 1) {
        submit(2);
        submit(3);
        assert_returns(strait_gearman_cancel(remote, ids[3]), 0);
    } else {
        assert_int_equal(try_submit(4, NULL), -EPIPE); /* in destroy */
    }
}

TEST(done_may_submit_and_cancel)
{
    unsigned numbers[] = {1, 5};
    struct strait_process_task task = {.task = {.name = "f", .done = in_done}};
    begin(&peer, (struct strait_gearman_options){0});
    task.task.context = &numbers[0];
    assert_returns(strait_gearman_submit(remote, &task, NULL, NULL), 0);
    hear_task(&peer, 0);
    say_created(&peer, "H:1");
    say_done(&peer, "H:1", STRAIT_TASK_DONE, 0, 0, "");
    hear_task(&peer, 2);
    assert_ended(3, STRAIT_TASK_CANCELLED, -ECANCELED);
    task.task.context = &numbers[1];
    assert_returns(strait_gearman_submit(remote, &task, NULL, NULL), 0);
    end(&peer);
    assert_int_equal(endings[2].status, STRAIT_TASK_ABANDONED);
    assert_int_equal(endings[2].code, -ECANCELED);
}

TEST(a_budget_leaves_the_rest)
{
    begin(&peer, (struct strait_gearman_options){0});
    submit_many(0, 9);
    for (unsigned n = 0; n < 10; n++) {
        char handle[8];
        snprintf(handle, sizeof(handle), "H:%u", n);
        hear_task(&peer, n);
        say_created(&peer, handle);
        say_done(&peer, handle, STRAIT_TASK_DONE, 0, 0, "");
    }
    ptrdiff_t completed = 0;
    while (completed < 10) {
        assert_true(readable(strait_gearman_fd(remote), 10000));
        ptrdiff_t n = strait_gearman_dispatch(remote, 3);
        assert_in_range(n, 0, 3);
        completed += n;
    }
    assert_returns(strait_gearman_dispatch(remote, 3), 0);
    assert_false(readable(strait_gearman_fd(remote), 20));
    end(&peer);
}
