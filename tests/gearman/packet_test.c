/* SPDX-License-Identifier: MIT */
/* packet: what is read is what was written, however the network cuts it, and whoever wrote it. */
#include "gearman/fixture.h"

#include <sys/socket.h>

#include "../../src/gearman/packet.c" /* with functions that are static */

#define PACKET_MAX 512

/* A link whose other end is `far`. */
static struct strait_p_gearman_link link_of(int *far)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    *far = fds[1];
    return (struct strait_p_gearman_link){.fd = fds[0], .packet_max = PACKET_MAX};
}

static void end_link(struct strait_p_gearman_link *link, int far)
{
    strait_p_gearman_free(link);
    close(far);
}

/* ---- servers ---- */

TEST(servers_are_named)
{
    static const struct {
        const char *list;
        int error;
        unsigned count;
    } cases[] = {
        {NULL, 0, 1},
        {"127.0.0.1", 0, 1},
        {"127.0.0.1:1", 0, 1},
        {"[::1]", 0, 1},
        {"[::1]:65535,127.0.0.1:4730", 0, 2},
        {"1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,"
         "1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1",
         0, 16},
        {"1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,"
         "1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1",
         -EINVAL, 0},
        {"", -EINVAL, 0},
        {",127.0.0.1", -EINVAL, 0},
        {"127.0.0.1,", -EINVAL, 0},
        {"127.0.0.1,,127.0.0.1", -EINVAL, 0},
        {":4730", -EINVAL, 0},
        {"127.0.0.1:", -EINVAL, 0},
        {"127.0.0.1:0", -EINVAL, 0},
        {"127.0.0.1:65536", -EINVAL, 0},
        {"127.0.0.1:123456", -EINVAL, 0},
        {"127.0.0.1:gearman", -EINVAL, 0},
        {"127.0.0.1:-1", -EINVAL, 0},
        {"::1", -EINVAL, 0},
        {"[::1", -EINVAL, 0},
        {"[::1]4730", -EINVAL, 0},
        {"[]:4730", -EINVAL, 0},
        {"no..host", -ENOENT, 0},
    };
    struct strait_p_gearman_servers servers;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(strait_p_gearman_resolve(&servers, cases[i].list), cases[i].error);
        if (cases[i].error == 0) {
            assert_int_equal(servers.count, cases[i].count);
            assert_true(servers.server[cases[i].count - 1].addresses > 0);
        }
    }
    char long_name[STRAIT_P_GEARMAN_NAME + 1];
    memset(long_name, 'x', sizeof(long_name));
    long_name[STRAIT_P_GEARMAN_NAME] = '\0';
    assert_int_equal(strait_p_gearman_resolve(&servers, long_name), -EINVAL);
    assert_int_equal(strait_p_gearman_resolve(&servers, "127.0.0.1,[::1]:7"), 0);
    assert_string_equal(servers.server[0].name, "127.0.0.1");
    assert_string_equal(servers.server[1].name, "[::1]:7");
}

/* Waits for the connection: 0 or why there is none. */
static int await_connection(struct strait_p_gearman_link *link)
{
    int error;
    assert_returns(strait_p_gearman_put_text(link, "status"), 0);
    do {
        error = strait_p_gearman_flush(link);
        sched_yield();
    } while (error == -EAGAIN);
    return error;
}

TEST(each_address_has_its_turn)
{
    struct peer gone;
    struct strait_p_gearman_servers servers[2];
    struct strait_p_gearman_link link = {.fd = -1};
    peer_open(&gone);
    peer_close(&gone);
    peer_open(&peer);
    assert_int_equal(strait_p_gearman_resolve(&servers[0], gone.name), 0);
    assert_int_equal(strait_p_gearman_resolve(&servers[1], peer.name), 0);
    struct strait_p_gearman_server *server = &servers[0].server[0];
    server->address[1] = servers[1].server[0].address[0];
    server->length[1] = servers[1].server[0].length[0];
    server->addresses = 2;
    for (int i = 0; i < 2; i++) {
        int begun = strait_p_gearman_connect(&link, server);
        assert_int_equal(begun ? begun : await_connection(&link), -ECONNREFUSED);
        assert_int_equal(strait_p_gearman_connect(&link, server), 0);
        assert_int_equal(await_connection(&link), 0);
        peer_accept(&peer);
        peer_hang_up(&peer);
    }
    strait_p_gearman_free(&link);
    peer_close(&peer);
}

/* ---- reading ---- */

/* What was read, as a text: "8 H:1;" is a packet of type 8 with the field "H:1", "text OK;" a line,
 * "!" one that was cut. */
struct reading {
    char text[1024];
    size_t length;
};

static void note_packet(struct reading *reading, const struct strait_p_gearman_packet *packet)
{
    char *to = reading->text + reading->length;
    size_t left = sizeof(reading->text) - reading->length;
    int n = packet->type == STRAIT_P_GEARMAN_TEXT
                ? snprintf(to, left, "text")
                : snprintf(to, left, "%u", (unsigned)packet->type);
    for (int i = 0; i < STRAIT_P_GEARMAN_FIELDS && packet->fields[i].data; i++) {
        n += snprintf(to + n, left - (size_t)n, " %.*s", (int)packet->fields[i].size,
                      (const char *)packet->fields[i].data);
    }
    n += snprintf(to + n, left - (size_t)n, packet->cut ? "!;" : ";");
    reading->length += (size_t)n;
    assert_true(reading->length < sizeof(reading->text));
}

/* Reads what there is. 0 or the error. */
static int read_into(struct strait_p_gearman_link *link, struct reading *reading)
{
    struct strait_p_gearman_packet packet;
    int more = 0;
    while (more >= 0 && strait_p_gearman_fill(link) == 0) {
        while ((more = strait_p_gearman_next(link, &packet)) == 1) {
            note_packet(reading, &packet);
        }
    }
    return more;
}

static void add_response(struct body *stream, unsigned type, const void *bytes, size_t size)
{
    const uint8_t header[12] = {0,
                                'R',
                                'E',
                                'S',
                                0,
                                0,
                                (uint8_t)(type >> 8),
                                (uint8_t)type,
                                0,
                                0,
                                (uint8_t)(size >> 8),
                                (uint8_t)size};
    add_bytes(stream, header, sizeof(header));
    add_bytes(stream, bytes, size);
}

static const char *add_talk(struct body *stream)
{
    add_response(stream, 8, "H:1", 3);
    add_bytes(stream, "OK\r\n", 4);
    add_response(stream, 13, "H:1\0a\nb", 7);
    add_bytes(stream, "\n", 1);
    add_bytes(stream, "ERR x\n", 6);
    add_response(stream, 31, "H:2\0f\0key\0d\0e", 13);
    add_response(stream, 10, NULL, 0);
    add_response(stream, 13, "alone", 5);
    add_response(stream, 19, "CODE\0some text", 14);
    return "8 H:1;text OK;13 H:1 a\nb;text ;text ERR x;31 H:2 f key d;10 ;13 alone ;"
           "19 CODE some text;";
}

TEST(a_packet_is_whole_however_it_comes)
{
    struct body stream = {.size = 0};
    const char *expected = add_talk(&stream);
    for (size_t step = 1; step <= stream.size; step++) {
        int far;
        struct strait_p_gearman_link link = link_of(&far);
        struct reading reading = {.length = 0};
        for (size_t at = 0; at < stream.size; at += step) {
            size_t n = strait_min(step, stream.size - at);
            assert_int_equal(write(far, stream.bytes + at, n), n);
            assert_int_equal(read_into(&link, &reading), 0);
        }
        assert_string_equal(reading.text, expected);
        assert_int_equal(strait_p_gearman_fill(&link), -EAGAIN);
        end_link(&link, far);
    }
}

TEST(what_is_too_large_is_skipped)
{
    static const size_t sizes[] = {PACKET_MAX - 1, PACKET_MAX, PACKET_MAX + 1, 5000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        int far;
        struct strait_p_gearman_link link = link_of(&far);
        struct body stream = {.size = 0};
        uint8_t answer[5000] = "H:1";
        add_response(&stream, 13, answer, sizes[i]);
        add_response(&stream, 8, "H:2", 3);
        struct strait_p_gearman_packet packet;
        for (size_t at = 0; at + 15 < stream.size; at += 100) { /* none of the second */
            size_t n = strait_min((size_t)100, stream.size - 15 - at);
            assert_int_equal(write(far, stream.bytes + at, n), n);
            assert_int_equal(strait_p_gearman_fill(&link), 0);
            if (strait_p_gearman_next(&link, &packet) == 1) {
                size_t kept = strait_min(sizes[i], (size_t)PACKET_MAX);
                assert_int_equal(packet.fields[1].size, kept - 4);
                assert_int_equal(packet.cut, sizes[i] > PACKET_MAX);
            }
        }
        assert_int_equal(write(far, stream.bytes + stream.size - 15, 15), 15);
        struct reading reading = {.length = 0};
        assert_int_equal(read_into(&link, &reading), 0);
        assert_string_equal(reading.text, "8 H:2;");
        end_link(&link, far);
    }
}

TEST(what_is_no_packet_is_refused)
{
    static char line[STRAIT_P_GEARMAN_LINE + 2];
    memset(line, 'x', sizeof(line));
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\0REQ\0\0\0\1\0\0\0\0", 12},
        {"\0RET\0\0\0\1\0\0\0\0", 12},
        {"\0\0\0\0\0\0\0\0\0\0\0\0", 12},
        {line, sizeof(line)},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int far;
        struct strait_p_gearman_link link = link_of(&far);
        struct reading reading = {.length = 0};
        assert_int_equal(write(far, cases[i].bytes, cases[i].size), cases[i].size);
        assert_int_equal(read_into(&link, &reading), -EPROTO);
        end_link(&link, far);
    }
}

/* A talk with bytes changed at random: no field lies outside of what was sent. */
TEST(nonsense_is_survived)
{
    uint64_t seed = first_seed(1);
    for (size_t round = 0; round < scaled(20000); round++) {
        int far;
        struct strait_p_gearman_link link = link_of(&far);
        struct strait_p_gearman_packet packet;
        struct body stream = {.size = 0};
        size_t total = 0;
        add_talk(&stream);
        for (size_t changes = draw_below(&seed, 8); changes > 0; changes--) {
            stream.bytes[draw_below(&seed, stream.size)] = (uint8_t)draw(&seed);
        }
        size_t at = 0;
        int more = 0;
        while (at < stream.size && more >= 0) {
            size_t n = 1 + draw_below(&seed, stream.size - at);
            assert_int_equal(write(far, stream.bytes + at, n), n);
            at += n;
            assert_int_equal(strait_p_gearman_fill(&link), 0);
            while ((more = strait_p_gearman_next(&link, &packet)) == 1) {
                for (int i = 0; i < STRAIT_P_GEARMAN_FIELDS; i++) {
                    total += packet.fields[i].size;
                }
            }
            assert_true(more == 0 || more == -EPROTO);
        }
        assert_true(total <= stream.size);
        end_link(&link, far);
    }
}

/* ---- writing ---- */

TEST(packets_are_written_as_documented)
{
    static const char expected[] = "\0REQ\0\0\0\7\0\0\0\010f\0key\0pq"
                                   "\0REQ\0\0\0\4\0\0\0\0"
                                   "cancel job H:1\r\n";
    const struct strait_p_gearman_field fields[] = {{"f", 1}, {"key", 3}, {"p", 1}};
    const struct strait_p_gearman_field tail = {"q", 1};
    char got[sizeof(expected)];
    int far;
    struct strait_p_gearman_link link = link_of(&far);
    assert_returns(strait_p_gearman_put(&link, STRAIT_P_GEARMAN_SUBMIT_JOB, fields, 3, &tail), 0);
    assert_returns(strait_p_gearman_put(&link, STRAIT_P_GEARMAN_PRE_SLEEP, NULL, 0, NULL), 0);
    assert_returns(strait_p_gearman_put_text(&link, "cancel job H:1"), 0);
    assert_int_equal(strait_p_gearman_flush(&link), 0);
    assert_int_equal(read(far, got, sizeof(got)), sizeof(expected) - 1);
    assert_memory_equal(got, expected, sizeof(expected) - 1);
    end_link(&link, far);
}

TEST(a_head_travels_big_endian)
{
    struct strait_p_gearman_head head = {.magic = STRAIT_P_GEARMAN_MAGIC,
                                         .status = 2,
                                         .code = -5,
                                         .remaining = 1234567890123,
                                         .data = "data"};
    struct body body = {.size = 0};
    add_head(&body, MAGIC, 2, -5, 1234567890123, head.data);
    assert_int_equal(body.size, sizeof(head));
    strait_p_gearman_head_turn(&head);
    assert_memory_equal(&head, body.bytes, sizeof(head));
    strait_p_gearman_head_turn(&head);
    assert_int_equal(head.remaining, 1234567890123);
}

/* The other end reads less than is written, in pieces: nothing is lost or in disorder. */
TEST(a_slow_reader_gets_all)
{
    static char line[70000];
    static char got[65536];
    uint64_t seed = first_seed(2);
    size_t put = 0; /* letters, from a to z again and again */
    size_t seen = 0;
    bool stuck = false;
    int far;
    struct strait_p_gearman_link link = link_of(&far);
    for (size_t i = 0; i < 400 || seen < put; i++) {
        if (i < 400) {
            size_t n = 1 + draw_below(&seed, sizeof(line) - 1);
            for (size_t k = 0; k < n; k++) {
                line[k] = (char)('a' + put++ % 26);
            }
            line[n] = '\0';
            assert_returns(strait_p_gearman_put_text(&link, line), 0);
        }
        int error = strait_p_gearman_flush(&link);
        assert_true(error == 0 || error == -EAGAIN);
        stuck |= error == -EAGAIN;
        ssize_t n = recv(far, got, 1 + draw_below(&seed, sizeof(got)), MSG_DONTWAIT);
        for (ssize_t k = 0; k < n; k++) {
            if (got[k] != '\r' && got[k] != '\n') {
                assert_int_equal(got[k], 'a' + seen++ % 26);
            }
        }
    }
    assert_true(stuck);
    assert_int_equal(strait_p_gearman_flush(&link), 0);
    end_link(&link, far);
}

TEST(an_end_is_noticed)
{
    int far;
    struct strait_p_gearman_link link = link_of(&far);
    struct reading reading = {.length = 0};
    struct body stream = {.size = 0};
    add_response(&stream, 8, "H:1", 3);
    assert_int_equal(write(far, stream.bytes, stream.size), stream.size);
    close(far);
    assert_int_equal(read_into(&link, &reading), 0);
    assert_string_equal(reading.text, "8 H:1;"); /* said before it hung up */
    assert_int_equal(strait_p_gearman_fill(&link), -EPIPE);
    assert_returns(strait_p_gearman_put_text(&link, "status"), 0);
    assert_int_equal(strait_p_gearman_flush(&link), -EPIPE);
    strait_p_gearman_close(&link);
    assert_int_equal(strait_p_gearman_flush(&link), 0); /* there is nothing to write any more */
    strait_p_gearman_free(&link);
}

/* ---- whether it is there ---- */

static bool obey_all(void *side, const struct strait_p_gearman_packet *packet)
{
    unsigned *heard = side;
    ++*heard;
    return packet->type != STRAIT_P_GEARMAN_NOOP;
}

TEST(a_silent_server_is_asked_and_then_dead)
{
    const int64_t start = 100 * SECOND;
    char question[18];
    unsigned heard = 0;
    struct body stream = {.size = 0};
    int far;
    struct strait_p_gearman_link link = link_of(&far);
    link.alive_at = start;
    link.heard = true;
    assert_int_equal(strait_p_gearman_look_at(&link, false), STRAIT_FOREVER);
    assert_int_equal(strait_p_gearman_look_at(&link, true), start + SECOND);
    strait_p_gearman_ask_if_silent(&link, start + SECOND - 1);
    assert_false(link.asked);
    strait_p_gearman_ask_if_silent(&link, start + SECOND);
    assert_true(link.asked);
    assert_int_equal(strait_p_gearman_look_at(&link, false), start + 4 * SECOND);
    assert_false(strait_p_gearman_is_dead(&link, start + 4 * SECOND - 1));
    /* its question has not been read: it is on its way */
    assert_int_equal(strait_p_gearman_flush(&link), 0);
    assert_false(strait_p_gearman_is_dead(&link, start + 4 * SECOND));
    assert_int_equal(strait_p_gearman_look_at(&link, false), start + 7 * SECOND);
    assert_int_equal(read(far, question, sizeof(question)), sizeof(question));
    assert_false(strait_p_gearman_is_dead(&link, start + 7 * SECOND - 1));
    assert_true(strait_p_gearman_is_dead(&link, start + 7 * SECOND));
    /* any word of it will do */
    add_response(&stream, 10, NULL, 0);
    assert_int_equal(write(far, stream.bytes, stream.size), stream.size);
    assert_int_equal(strait_p_gearman_read(&link, start + 8 * SECOND, obey_all, &heard), 0);
    assert_int_equal(heard, 1);
    assert_true(link.heard);
    assert_false(strait_p_gearman_is_dead(&link, start + 20 * SECOND));
    assert_int_equal(strait_p_gearman_look_at(&link, true), start + 9 * SECOND);
    /* one that is not obeyed */
    stream.size = 0;
    add_response(&stream, 6, NULL, 0);
    add_response(&stream, 10, NULL, 0);
    assert_int_equal(write(far, stream.bytes, stream.size), stream.size);
    assert_int_equal(strait_p_gearman_read(&link, start, obey_all, &heard), -EPROTO);
    assert_int_equal(heard, 2);
    end_link(&link, far);
}

TEST(patience_doubles)
{
    static const int64_t ms[] = {10, 20, 40, 80, 160, 320, 640, 1000, 1000};
    int64_t patience = 0;
    for (size_t i = 0; i < COUNT(ms); i++) {
        patience = strait_p_gearman_patience(patience);
        assert_int_equal(patience, ms[i] * MS);
    }
}
