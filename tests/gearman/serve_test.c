/* SPDX-License-Identifier: MIT */
/* The working side: jobs, and what is none, from a job server that the test plays. */
#include "gearman/serve_fixture.h"

/* ---- jobs ---- */

TEST(a_job_is_answered)
{
    struct packet packet;
    struct head head;
    size_t size;
    unsigned char data[STRAIT_TASK_DATA];
    memset(data, 'd', sizeof(data));
    begin_with(&peer, 1, 1);
    struct body body = job("H:a:1", "echo");
    add_head(&body, MAGIC, 0, 0, 0, data);
    add_bytes(&body, "a\0b", 3);
    peer_say_body(&peer, JOB_ASSIGN_UNIQ, &body);
    const char *payload = answered(&peer, "H:a:1", 1, &packet, &head, &size);
    assert_int_equal(head.status, STRAIT_TASK_DONE);
    assert_int_equal(head.code, 0);
    assert_memory_equal(head.data, data, sizeof(data));
    assert_int_equal(size, 3);
    assert_memory_equal(payload, "a\0b", 3);
    serve_end(&peer);
}

TEST(every_end_of_a_function_is_told)
{
    static const struct {
        const char *function;
        const char *data; /* the answer's payload is a 16th of the first byte */
        int64_t remaining;
        enum strait_task_status status;
        int code;
        size_t size;
    } ends[] = {
        {"fail", "", 0, STRAIT_TASK_FAILED, -7, 5},
        {"more", "\x01", 0, STRAIT_TASK_DONE, 0, 16},
        {"more", "\x40", 0, STRAIT_TASK_DONE, 0, 1024},
        {"more", "\x41", 0, STRAIT_TASK_FAILED, -ENOSPC, 0},
        {"less", "", 0, STRAIT_TASK_DONE, 0, 4},
        {"key", "", 0, STRAIT_TASK_DONE, 0, 5},
        {"thread", "", 0, STRAIT_TASK_FAILED, -EINTR, 0},
        {"hold", "", 5 * MS, STRAIT_TASK_EXPIRED, -ECANCELED, 5},
        {"echo", "", 1, STRAIT_TASK_EXPIRED, -ETIMEDOUT, 0},
        {"echo", "", INT64_MAX, STRAIT_TASK_DONE, 0, 5},
    };
    begin_with(&peer, 1, 1);
    for (size_t i = 0; i < COUNT(ends); i++) {
        struct packet packet;
        struct head head;
        size_t size;
        const char *payload;
        unsigned char data[STRAIT_TASK_DATA] = {0};
        int64_t remaining = ends[i].remaining;
        memcpy(data, ends[i].data, strlen(ends[i].data));
        bool late; /* the one that is cancelled did not come to its worker in time: it gets more */
        do {
            struct body body = job("H:e", ends[i].function);
            add_head(&body, MAGIC, 0, 0, remaining, data);
            add_bytes(&body, "12345", 5);
            peer_say_body(&peer, JOB_ASSIGN_UNIQ, &body);
            payload = answered(&peer, "H:e", 1, &packet, &head, &size);
            late = ends[i].code == -ECANCELED && head.code == -ETIMEDOUT && remaining < 10000 * MS;
            remaining = late ? 2 * remaining : remaining;
        } while (late);
        assert_int_equal(head.status, ends[i].status);
        assert_int_equal(head.code, ends[i].code);
        assert_int_equal(size, ends[i].size);
        if (strcmp(ends[i].function, "less") == 0) {
            assert_memory_equal(payload, "2345", 4);
        } else if (strcmp(ends[i].function, "key") == 0) {
            assert_memory_equal(head.data, KEY, 40);
        }
    }
    assert_null(strait_gearman_key(&(struct strait_task){.name = "none"}));
    serve_end(&peer);
}

/* ---- what is no job of ours ---- */

TEST(a_malformed_job_has_failed)
{
    static const char name65[] =
        "01234567890123456789012345678901234567890123456789012345678901234";
    static const struct {
        const char *handle;
        const char *function;
        const char *key;
        uint32_t magic;
        int64_t remaining;
        size_t cut_off; /* bytes of the head that are missing */
        size_t payload;
        int code; /* 0: it is not ours, and has no answer but that it failed */
    } jobs[] = {
        {"H:m", "none", KEY, MAGIC, 0, 0, 0, -ENOENT},
        {"H:m", "worker", KEY, MAGIC, 0, 0, 0, -ENOENT},
        {"H:m", "", KEY, MAGIC, 0, 0, 0, -ENOENT},
        {"H:m", "ech", KEY, MAGIC, 0, 0, 0, -ENOENT},
        {"H:m", "echo", KEY, MAGIC, 0, 0, 1024, 1},
        {"H:m", "echo", KEY, MAGIC, 0, 0, 1025, -ENOSPC},
        {"H:m", "echo", KEY, MAGIC, 0, 0, 7000, -ENOSPC},
        {"H:m", "echo", KEY, MAGIC + 1, 0, 0, 0, 0},
        {"H:m", "echo", KEY, 0, 0, 0, 0, 0},
        {"H:m", "echo", KEY, MAGIC, -1, 0, 0, 0},
        {"H:m", "echo", KEY, MAGIC, INT64_MIN, 0, 0, 0},
        {"H:m", "echo", KEY, MAGIC, 0, 1, 0, 0},
        {"H:m", "echo", KEY, MAGIC, 0, HEAD, 0, 0},
        {"H:m", "echo", "", MAGIC, 0, 0, 0, 0},
        {"H:m", "echo", KEY "0", MAGIC, 0, 0, 0, 0},
        {name65, "echo", KEY, MAGIC, 0, 0, 0, 0},
        {"", "echo", "", MAGIC, 0, 0, 0, 0},
    };
    static const char zeros[BODY_MAX];
    begin_with(&peer, 1, 1);
    for (size_t i = 0; i < COUNT(jobs); i++) {
        struct packet packet;
        struct head head;
        size_t size;
        struct body body = {.size = 0};
        add_field(&body, jobs[i].handle);
        add_field(&body, jobs[i].function);
        add_field(&body, jobs[i].key);
        add_head(&body, jobs[i].magic, 0, 0, jobs[i].remaining, NULL);
        body.size -= jobs[i].cut_off;
        add_bytes(&body, zeros, jobs[i].payload);
        peer_say_body(&peer, JOB_ASSIGN_UNIQ, &body);
        if (jobs[i].code == 0) {
            peer_hear(&peer, WORK_FAIL, &packet);
            assert_string_equal(packet.bytes, jobs[i].handle);
            peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
            continue;
        }
        answered(&peer, jobs[i].handle, 1, &packet, &head, &size);
        assert_int_equal(head.status, jobs[i].code < 0 ? STRAIT_TASK_FAILED : STRAIT_TASK_DONE);
        assert_int_equal(head.code, jobs[i].code < 0 ? jobs[i].code : 0);
    }
    assert_serves(&peer);
    serve_end(&peer);
}

/* Fields that are missing, in each way. */
TEST(a_job_that_ends_early_has_failed)
{
    struct packet packet;
    begin_with(&peer, 1, 1);
    struct body body = job("H:cut", "echo");
    add_head(&body, MAGIC, 0, 0, 0, NULL);
    for (size_t size = 0; size < body.size; size++) {
        peer_say(&peer, JOB_ASSIGN_UNIQ, body.bytes, size);
        peer_hear(&peer, WORK_FAIL, &packet);
        peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
    }
    assert_serves(&peer);
    serve_end(&peer);
}

/* ---- what is no job server ---- */

TEST(who_is_no_job_server_is_left)
{
    static const struct {
        const char *bytes;
        size_t size;
    } said[] = {
        {"\0REQ\0\0\0\x06\0\0\0\0", 12},                            /* a worker's magic */
        {"\0RESgarbage", 11},                                       /* and no more */
        {"\0XYZ\0\0\0\x06\0\0\0\0", 12},                            /* nobody's */
        {"\0RES\0\0\0\x0a\0\0\0\0\0RES\0\0\0\x0a\0\0\0\0", 24},     /* no job, twice */
        {"\0RES\0\0\0\x0a\0\0\0\0\0RES\0\0\0\x1f\0\0\0\x02xx", 26}, /* one that nobody asked for */
        {"\0RES\0\0\0\x1f\xff\xff\xff\xffH:big", 17},               /* 4 GiB, which never come */
    };
    struct packet packet;
    begin_with(&peer, 1, 1);
    for (size_t i = 0; i < COUNT(said); i++) {
        peer_send(&peer, said[i].bytes, said[i].size);
        if (said[i].bytes[4] == 'g' || said[i].bytes[8] != 0) {
            assert_true(peer_is_quiet(&peer, 5)); /* as more may come */
            peer_hang_up(&peer);
        } else {
            while (peer_next(&peer, &packet)) {
                assert_int_equal(packet.type, PRE_SLEEP); /* to the first that there is none */
            }
            peer_hang_up(&peer);
        }
        greet(&peer);
    }
    assert_serves(&peer);
    serve_end(&peer);
}

TEST(what_the_host_does_not_know_it_ignores)
{
    begin_with(&peer, 1, 1);
    peer_say(&peer, ERROR, "JOB_NOT_FOUND\0it is gone", 24);
    peer_say(&peer, NOOP, NULL, 0);
    peer_say(&peer, 4711, "abc", 3);
    peer_say(&peer, ECHO_RES, "parted", 6);
    peer_send(&peer, "OK\r\n", 4);
    assert_serves(&peer);
    serve_end(&peer);
}

/* Whatever comes: the host lives, and serves the next server. */
TEST(noise_hurts_nobody)
{
    uint64_t seed = first_seed(18);
    struct packet packet;
    begin_with(&peer, 1, 1);
    for (size_t round = 0; round < scaled(300); round++) {
        struct body body = job("H:n", "echo");
        add_head(&body, MAGIC, 0, 0, 0, NULL);
        for (size_t n = draw_below(&seed, 6); n > 0; n--) {
            body.bytes[draw_below(&seed, body.size)] = (uint8_t)draw(&seed);
        }
        peer_say(&peer, JOB_ASSIGN_UNIQ, body.bytes, body.size - draw_below(&seed, 20));
        size_t noise = draw_below(&seed, 40);
        for (size_t i = 0; i < noise; i++) {
            body.bytes[i] = (uint8_t)(draw_below(&seed, 3) ? draw(&seed) : 0);
        }
        peer_send(&peer, body.bytes, noise);
        if (draw_below(&seed, 2)) {
            peer_next(&peer, &packet); /* an answer, or the end */
        }
        peer_hang_up(&peer);
        greet(&peer);
    }
    assert_serves(&peer);
    serve_end(&peer);
}

/* Is asked for no more: what it is to be told lies in memory here. */
TEST(a_server_that_does_not_read)
{
    enum { SIZE = 1 << 20, MOST = 32 };
    static char bytes[SIZE + 256];
    struct body body = job("H:r", "hold");
    unsigned jobs = 0;
    peer_open(&peer);
    serve_begin(1, (struct strait_gearman_serve_options){
                       .servers = peer.name, .in_flight = 1, .payload_max = SIZE});
    gate_open(&gate);
    greet(&peer);
    add_head(&body, MAGIC, 0, 0, 0, NULL);
    memcpy(bytes, body.bytes, body.size);
    while (jobs < MOST && !peer_is_called(&peer, 5)) { /* by then it has asked for the next one */
        peer_say(&peer, JOB_ASSIGN_UNIQ, bytes, body.size + SIZE);
        jobs++;
        while (atomic_load(&gate.arrived) < jobs && !peer_is_called(&peer, 1)) {
        }
        progress_made();
    }
    assert_true(jobs < MOST); /* it has left who assigned what it had not asked for */
    peer_hang_up(&peer);
    greet(&peer);
    serve_end(&peer);
}

/* ---- several jobs, several servers ---- */

/* It asks for one job, then for as many more at a time as have come. */
TEST(so_many_are_in_flight_and_no_more)
{
    struct packet packet;
    begin_with(&peer, 1, 3);
    assert_true(peer_is_quiet(&peer, 10));
    assign(&peer, "H:0", "hold", 0, "");
    peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
    peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
    assert_true(peer_is_quiet(&peer, 10));
    say_no_job(&peer);
    peer_say(&peer, NO_JOB, NULL, 0);
    assert_true(peer_is_quiet(&peer, 10)); /* it sleeps until it is woken */
    peer_say(&peer, NOOP, NULL, 0);
    peer_hear(&peer, GRAB_JOB_UNIQ, &packet); /* it begins with one again: none is done */
    assert_true(peer_is_quiet(&peer, 10));
    assign(&peer, "H:1", "hold", 0, "");
    peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
    assign(&peer, "H:2", "hold", 0, "");
    assert_true(peer_is_quiet(&peer, 10));
    gate_open(&gate);
    unsigned answers = 0;
    unsigned grabs = 0;
    while (answers < 3 || grabs < 3) {
        assert_true(peer_next(&peer, &packet));
        grabs += packet.type == GRAB_JOB_UNIQ;
        answers += packet.type == WORK_COMPLETE;
        assert_true(grabs <= answers);
    }
    assert_int_equal(answers, 3);
    peer_hang_up(&peer);
    greet(&peer);
    serve_end(&peer);
}

/* Without in_flight it is the workers and two more. */
TEST(each_worker_finds_the_next_job_here)
{
    struct packet packet;
    char handle[8];
    begin_with(&peer, 2, 0);
    for (int i = 0; i < 4; i++) {
        snprintf(handle, sizeof(handle), "H:%d", i);
        assign(&peer, handle, "hold", 0, "");
        if (i < 3) {
            peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
        }
    }
    assert_true(peer_is_quiet(&peer, 20));
    gate_open(&gate);
    peer_hang_up(&peer);
    greet(&peer);
    serve_end(&peer);
}

/* Of short ones it takes more: as many as are done in a millisecond, in one that is not disturbed.
 */
TEST(short_jobs_are_taken_many_at_a_time)
{
    struct packet packet;
    unsigned here = 1; /* that it has, or is about to */
    begin_with(&peer, 1, 0);
    assign(&peer, "H:short", "echo", 0, "");
    while (here < 8) {
        assert_true(peer_next(&peer, &packet));
        if (packet.type == GRAB_JOB_UNIQ) {
            assign(&peer, "H:short", "echo", 0, "");
            here++;
        } else {
            assert_int_equal(packet.type, WORK_COMPLETE);
            here--;
        }
    }
    peer_hang_up(&peer);
    greet(&peer);
    serve_end(&peer);
}

/* Says that there is no job, for each that it asks for and has asked for, until it sleeps: how
 * many. */
static unsigned refuse(struct peer *peer, unsigned owed)
{
    struct packet packet = {.type = 0};
    unsigned refused = 0;
    while (packet.type != PRE_SLEEP) {
        for (; refused < owed; refused++) {
            peer_say(peer, NO_JOB, NULL, 0);
        }
        assert_true(peer_next(peer, &packet));
        owed += packet.type == GRAB_JOB_UNIQ;
    }
    return refused;
}

/* Once some are done in a millisecond that is not disturbed. Where none came, it is one again. */
TEST(as_many_short_jobs_are_asked_for_as_came)
{
    struct packet packet;
    unsigned asked = 0;
    begin_with(&peer, 1, 8);
    while (asked < 2) {
        unsigned owed = 1; /* that it has asked for */
        unsigned here = 0;
        for (unsigned sent = 0; sent < 200 || here > 0;) {
            for (; owed > 0 && sent < 200; owed--) {
                assign(&peer, "H:short", "echo", 0, "");
                sent++;
                here++;
            }
            assert_true(peer_next(&peer, &packet));
            owed += packet.type == GRAB_JOB_UNIQ;
            here -= packet.type == WORK_COMPLETE;
        }
        refuse(&peer, owed);
        peer_say(&peer, NOOP, NULL, 0);
        asked = refuse(&peer, 0);
        peer_say(&peer, NOOP, NULL, 0);
        assert_int_equal(refuse(&peer, 0), 1);
        peer_say(&peer, NOOP, NULL, 0);
        peer_hear(&peer, GRAB_JOB_UNIQ, &packet);
    }
    assert_true(asked <= 8);
    serve_end(&peer);
}
