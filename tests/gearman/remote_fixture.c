/* SPDX-License-Identifier: MIT */
#include "gearman/remote_fixture.h"

#include <sys/socket.h>

struct strait_gearman *remote;
struct ending endings[TASKS];
strait_task_id ids[TASKS];

static unsigned submitted;

/* ---- the remote ---- */

void create(const struct peer *peer, struct strait_gearman_options options)
{
    memset(endings, 0, sizeof(endings));
    submitted = 0;
    options.servers = options.servers ? options.servers : peer->name;
    assert_returns(strait_gearman_create(&remote, &options), 0);
}

struct strait_gearman_stats stats(void)
{
    struct strait_gearman_stats now;
    strait_gearman_stats(remote, &now);
    return now;
}

void pump(void)
{
    errno = ERRNO_MARK;
    assert_true(strait_gearman_dispatch(remote, 0) >= 0);
    assert_true(errno_kept());
}

bool answer_echo(struct peer *peer)
{
    char header[12];
    char word[64];
    if (recv(peer->fd, header, sizeof(header), MSG_PEEK | MSG_DONTWAIT) != sizeof(header) ||
        header[0] != 0 || header[7] != ECHO_REQ) {
        return false;
    }
    assert_int_equal(recv(peer->fd, header, sizeof(header), MSG_WAITALL), sizeof(header));
    assert_in_range(header[11], 1, sizeof(word));
    assert_int_equal(recv(peer->fd, word, (size_t)header[11], MSG_WAITALL), header[11]);
    if (!peer->deaf) {
        peer_say(peer, ECHO_RES, word, (size_t)header[11]);
    }
    return true;
}

void meet(struct peer *peer)
{
    while (!peer_is_called(peer, 1)) {
        pump();
    }
    peer_accept(peer);
    uint64_t before = stats().connections;
    while (stats().connections == before) {
        pump();
        answer_echo(peer);
    }
}

void begin(struct peer *peer, struct strait_gearman_options options)
{
    peer_open(peer);
    create(peer, options);
    meet(peer);
}

void end(struct peer *peer)
{
    unsigned completed = 0;
    assert_returns(strait_gearman_destroy(remote), 0);
    remote = NULL;
    for (unsigned n = 0; n < TASKS; n++) {
        assert_true(endings[n].times <= 1);
        completed += endings[n].times;
    }
    assert_int_equal(completed, submitted);
    if (peer) {
        peer_close(peer);
    }
}

/* ---- tasks ---- */

static void on_done(struct strait_task *task)
{
    const struct strait_process_task *whole = (const void *)task;
    struct ending *ending = task->context;
    ending->times++;
    ending->status = task->status;
    ending->code = task->code;
    ending->runs = whole->runs;
    memcpy(&ending->number, task->data, sizeof(ending->number));
    ending->payload_size = whole->payload_size;
    if (whole->payload_size) {
        memcpy(ending->payload, whole->payload,
               strait_min(whole->payload_size, sizeof(ending->payload)));
    }
    progress_made();
}

struct strait_process_task task_of(unsigned n)
{
    struct strait_process_task task = {
        .task = {.name = "f", .done = on_done, .context = &endings[n]}};
    uint64_t number = n;
    memcpy(task.task.data, &number, sizeof(number));
    return task;
}

int try_submit(unsigned n, const struct strait_gearman_submit_options *how)
{
    struct strait_process_task task = task_of(n);
    int error = strait_gearman_submit(remote, &task, how, &ids[n]);
    submitted += error == 0;
    return error;
}

void submit(unsigned n)
{
    assert_returns(try_submit(n, NULL), 0);
}

void submit_many(unsigned from, unsigned to)
{
    for (unsigned n = from; n <= to; n++) {
        submit(n);
    }
}

void await_end(unsigned n)
{
    while (endings[n].times == 0) {
        readable(strait_gearman_fd(remote), -1);
        pump();
    }
}

void assert_ended(unsigned n, enum strait_task_status status, int code)
{
    await_end(n);
    assert_int_equal(endings[n].status, status);
    assert_int_equal(endings[n].code, code);
}

void assert_owed(unsigned n)
{
    while (readable(strait_gearman_fd(remote), 1)) {
        pump();
    }
    assert_int_equal(endings[n].times, 0);
}

/* ---- what the two say ---- */

/* Until there is something that is no echo. */
static void listen_to(struct peer *peer)
{
    do {
        while (!readable(peer->fd, 1)) {
            pump();
        }
    } while (answer_echo(peer));
}

void hear(struct peer *peer, unsigned type, struct packet *packet)
{
    listen_to(peer);
    peer_hear(peer, type, packet);
}

void hear_task(struct peer *peer, unsigned n)
{
    struct packet packet;
    uint64_t number;
    hear(peer, SUBMIT_JOB, &packet);
    memcpy(&number, read_head_at(field_of(&packet, 2)).data, sizeof(number));
    assert_int_equal(number, n);
}

void hear_line(struct peer *peer, const char *line)
{
    char got[128] = "";
    listen_to(peer);
    for (size_t i = 0; i + 1 < sizeof(got) && !strchr(got, '\n'); i++) {
        assert_int_equal(recv(peer->fd, got + i, 1, 0), 1);
    }
    assert_memory_equal(got, line, strlen(line));
    assert_string_equal(got + strlen(line), "\r\n");
}

bool hears_nothing(struct peer *peer, int milliseconds)
{
    int64_t until = strait_in_ms(milliseconds);
    bool quiet = true;
    while (quiet && strait_now() < until) {
        pump();
        quiet = !readable(peer->fd, 1) || answer_echo(peer);
    }
    return quiet;
}

void hear_end(struct peer *peer)
{
    char byte;
    listen_to(peer);
    assert_true(recv(peer->fd, &byte, 1, 0) <= 0); /* closed, or reset */
    peer_hang_up(peer);
}

void say_created(struct peer *peer, const char *handle)
{
    peer_say(peer, JOB_CREATED, handle, strlen(handle));
}

void say_refused(struct peer *peer, const char *code)
{
    struct body body = {.size = 0};
    add_field(&body, code);
    add_bytes(&body, "some text", 9);
    peer_say_body(peer, ERROR, &body);
}

void say_done(struct peer *peer, const char *handle, unsigned status, int code, uint64_t number,
              const char *payload)
{
    char data[STRAIT_TASK_DATA] = "";
    struct body body = {.size = 0};
    memcpy(data, &number, sizeof(number));
    add_field(&body, handle);
    add_head(&body, MAGIC, status, code, 0, data);
    add_bytes(&body, payload, strlen(payload));
    peer_say_body(peer, WORK_COMPLETE, &body);
}
