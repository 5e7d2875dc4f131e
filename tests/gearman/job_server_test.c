/* SPDX-License-Identifier: MIT */
/* job_server: against gearmand, with workers that speak packets, both of which die meanwhile. At
 * random moments they do in storm. */
#include "gearman/remote_fixture.h"

#include <signal.h>
#include <sys/socket.h>

/* ---- workers ---- */

struct bare_worker {
    pthread_t thread;
    int port;
    unsigned break_off; /* after so many jobs taken it hangs up in the middle of one; 0: never */
    _Atomic bool stop;
    _Atomic int fd; /* -1: none */
};

static _Atomic unsigned runs[TASKS];
static _Atomic unsigned taken_order[TASKS]; /* the numbers of jobs, as they were taken */
static _Atomic unsigned taken;

static bool say(int fd, unsigned type, const void *bytes, size_t size)
{
    uint8_t packet[12 + 1024] = {0, 'R', 'E', 'Q', 0, 0, 0, (uint8_t)type};
    packet[10] = (uint8_t)(size >> 8);
    packet[11] = (uint8_t)size;
    memcpy(packet + 12, bytes, size);
    return send(fd, packet, 12 + size, MSG_NOSIGNAL) == (ssize_t)(12 + size);
}

static bool get(int fd, struct packet *packet)
{
    uint8_t header[12];
    if (recv(fd, header, sizeof(header), MSG_WAITALL) != sizeof(header)) {
        return false;
    }
    packet->type = header[7];
    packet->size = (size_t)header[10] << 8 | header[11];
    packet->bytes[packet->size] = '\0';
    return packet->size == 0 ||
           recv(fd, packet->bytes, packet->size, MSG_WAITALL) == (ssize_t)packet->size;
}

/* The answer is one more than the number. */
static bool answer(int fd, struct packet *job)
{
    static const uint8_t done_head[24] = {0x73, 0x74, 0x72, 0x31};
    uint8_t result[1024];
    uint64_t number;
    size_t handle = strlen(job->bytes) + 1;
    const char *data = job->bytes + job->size - STRAIT_TASK_DATA;
    memcpy(&number, data, sizeof(number));
    number++;
    memcpy(result, job->bytes, handle);
    memcpy(result + handle, done_head, sizeof(done_head));
    memcpy(result + handle + sizeof(done_head), data, STRAIT_TASK_DATA);
    memcpy(result + handle + sizeof(done_head), &number, sizeof(number));
    return say(fd, WORK_COMPLETE, result, handle + sizeof(done_head) + STRAIT_TASK_DATA);
}

static void note_taken(const struct packet *job)
{
    uint64_t number;
    memcpy(&number, job->bytes + job->size - STRAIT_TASK_DATA, sizeof(number));
    EXPECT(number < TASKS);
    if (number < TASKS) {
        atomic_fetch_add(&runs[number], 1);
        atomic_store(&taken_order[atomic_fetch_add(&taken, 1) % TASKS], (unsigned)number);
    }
}

/* Works until the connection ends. */
static void work_on(struct bare_worker *worker, int fd)
{
    struct packet packet;
    bool goes_on = say(fd, CAN_DO, "f", 1) && say(fd, GRAB_JOB_UNIQ, "", 0);
    unsigned jobs = 0;
    while (goes_on && get(fd, &packet)) {
        if (packet.type == NO_JOB) {
            goes_on = say(fd, PRE_SLEEP, "", 0);
        } else if (packet.type == NOOP) {
            goes_on = say(fd, GRAB_JOB_UNIQ, "", 0);
        } else if (packet.type == JOB_ASSIGN_UNIQ) {
            note_taken(&packet);
            goes_on =
                ++jobs != worker->break_off && answer(fd, &packet) && say(fd, GRAB_JOB_UNIQ, "", 0);
        }
        progress_made();
    }
}

static void *work(void *context)
{
    struct bare_worker *worker = context;
    while (!worker->stop) {
        int fd = dial(worker->port);
        worker->fd = fd;
        if (fd >= 0 && !worker->stop) {
            work_on(worker, fd);
        }
        worker->fd = -1;
        if (fd >= 0) {
            close(fd);
        } else {
            sleep_ns(5 * MS);
        }
    }
    return NULL;
}

static void worker_start(struct bare_worker *worker, const struct queue *queue, unsigned break_off)
{
    worker->port = queue->port;
    worker->break_off = break_off;
    worker->stop = false;
    worker->fd = -1;
    thread_start(&worker->thread, work, worker);
}

static void worker_stop(struct bare_worker *worker)
{
    worker->stop = true;
    while (worker->fd >= 0) {
        shutdown(worker->fd, SHUT_RDWR);
        sleep_ns(MS);
    }
    thread_join(worker->thread);
}

/* ---- a remote ---- */

static void begin_at(struct queue *queues, unsigned count)
{
    char servers[160] = "";
    if (!have_gearmand()) {
        skip();
    }
    for (unsigned i = 0; i < count; i++) {
        queue_choose(&queues[i]);
        queue_start(&queues[i]);
        snprintf(servers + strlen(servers), sizeof(servers) - strlen(servers), "%s%s", i ? "," : "",
                 queues[i].name);
    }
    memset(runs, 0, sizeof(runs));
    taken = 0;
    create(NULL, (struct strait_gearman_options){.servers = servers});
    while (!stats().server) {
        readable(strait_gearman_fd(remote), -1);
        pump();
    }
}

static void end_at(struct queue *queues, unsigned count)
{
    end(NULL);
    for (unsigned i = 0; i < count; i++) {
        queue_kill(&queues[i], SIGKILL);
        queue_await(&queues[i]);
    }
}

/* As many as there is room for. */
static unsigned submit_from(unsigned n, unsigned to)
{
    int error = 0;
    while (n < to && error == 0) {
        error = try_submit(n, NULL);
        n += error == 0;
    }
    assert_true(error == 0 || error == -EAGAIN);
    return n;
}

static void assert_all_done(unsigned count)
{
    assert_returns(strait_gearman_drain(remote, STRAIT_FOREVER), 0);
    for (unsigned n = 0; n < count; n++) {
        assert_ended(n, STRAIT_TASK_DONE, 0);
        assert_int_equal(endings[n].times, 1);
        assert_int_equal(endings[n].number, n + 1);
        assert_true(runs[n] >= 1);
    }
}

TEST(thousands_of_tasks_run_once)
{
    const unsigned count = (unsigned)scaled(5000) % TASKS;
    struct bare_worker workers[2];
    struct queue queue;
    begin_at(&queue, 1);
    worker_start(&workers[0], &queue, 0);
    worker_start(&workers[1], &queue, 0);
    for (unsigned n = 0; n < count;) {
        n = submit_from(n, count);
        pump();
    }
    assert_all_done(count);
    for (unsigned n = 0; n < count; n++) {
        assert_int_equal(runs[n], 1);
    }
    assert_int_equal(stats().again, 0);
    assert_int_equal(stats().dropped, 0);
    worker_stop(&workers[0]);
    worker_stop(&workers[1]);
    end_at(&queue, 1);
}

/* Until the job server has them all: behind an answer to a line of text. */
static void await_taken(const struct queue *queue, const char *status)
{
    char text[256] = "";
    int fd = dial(queue->port);
    while (!strstr(text, status)) {
        pump();
        assert_int_equal(send(fd, "status\r\n", 8, 0), 8);
        memset(text, 0, sizeof(text));
        for (size_t n = 0; !strstr(text, ".\n") && n + 1 < sizeof(text);) {
            ssize_t got = recv(fd, text + n, sizeof(text) - 1 - n, 0);
            assert_true(got > 0);
            n += (size_t)got;
        }
    }
    close(fd);
}

TEST(priorities_are_kept_and_cancelled_jobs_forgotten)
{
    static const enum strait_gearman_priority priorities[] = {
        STRAIT_GEARMAN_LOW, STRAIT_GEARMAN_NORMAL, STRAIT_GEARMAN_LOW, STRAIT_GEARMAN_NORMAL,
        STRAIT_GEARMAN_HIGH};
    static const unsigned expected[] = {4, 3, 0, 2, 5};
    const struct strait_gearman_submit_options last = {.priority = STRAIT_GEARMAN_LOW};
    struct bare_worker worker;
    struct queue queue;
    begin_at(&queue, 1);
    for (unsigned n = 0; n < COUNT(priorities); n++) {
        struct strait_gearman_submit_options how = {.priority = priorities[n]};
        assert_returns(try_submit(n, &how), 0);
    }
    await_taken(&queue, "f\t5\t0\t0\n");
    while (readable(strait_gearman_fd(remote), 50)) {
        pump(); /* handles */
    }
    assert_returns(strait_gearman_cancel(remote, ids[1]), -EINPROGRESS);
    assert_ended(1, STRAIT_TASK_CANCELLED, -ECANCELED);
    assert_returns(try_submit(5, &last), 0);
    await_taken(&queue, "f\t6\t0\t0\n"); /* so it has read of the cancel, too */
    worker_start(&worker, &queue, 0);
    for (unsigned i = 0; i < COUNT(expected); i++) {
        assert_ended(expected[i], STRAIT_TASK_DONE, 0);
    }
    worker_stop(&worker);
    assert_int_equal(taken, COUNT(expected));
    for (unsigned i = 0; i < COUNT(expected); i++) {
        assert_int_equal(taken_order[i], expected[i]);
    }
    end_at(&queue, 1);
}

TEST(a_bounded_queue_says_when_it_is_full)
{
    struct bare_worker worker;
    struct queue queue;
    begin_at(&queue, 1);
    submit(0);
    await_taken(&queue, "f\t1\t0\t0\n");
    int fd = dial(queue.port);
    char ok[5] = "";
    assert_int_equal(send(fd, "maxqueue f 5\r\n", 14, 0), 14);
    assert_int_equal(recv(fd, ok, 4, MSG_WAITALL), 4);
    assert_string_equal(ok, "OK\r\n");
    close(fd);
    unsigned n = 1;
    while (try_submit(n, NULL) == 0) {
        n++;
        assert_true(n < 200);
        readable(strait_gearman_fd(remote), 1000); /* each of them is taken, or refused */
        pump();
    }
    assert_true(n >= 6);
    worker_start(&worker, &queue, 0);
    while (n < 200) {
        n = submit_from(n, 200);
        readable(strait_gearman_fd(remote), -1);
        pump();
    }
    assert_all_done(200);
    worker_stop(&worker);
    end_at(&queue, 1);
}

TEST(what_a_dead_worker_had_runs_again)
{
    struct bare_worker workers[2];
    struct queue queue;
    begin_at(&queue, 1);
    worker_start(&workers[0], &queue, 3);
    worker_start(&workers[1], &queue, 7);
    submit_many(0, 299);
    assert_all_done(300);
    assert_int_equal(stats().again, 0); /* the job server did it */
    worker_stop(&workers[0]);
    worker_stop(&workers[1]);
    assert_true(taken > 300);
    end_at(&queue, 1);
}

/* The connection, as seen by who waits for it. */
static void await_loss(uint64_t connections)
{
    while (stats().connections == connections) {
        readable(strait_gearman_fd(remote), -1);
        pump();
    }
}

TEST(a_killed_job_server_loses_nothing)
{
    struct bare_worker workers[2];
    struct queue queues[2];
    begin_at(queues, 2);
    submit_many(0, 99);
    await_taken(&queues[0], "f\t100\t0\t0\n");
    queue_kill(&queues[0], SIGKILL);
    queue_await(&queues[0]);
    await_loss(1);
    await_taken(&queues[1], "f\t100\t0\t0\n");
    assert_string_equal(stats().server, queues[1].name);
    assert_int_equal(stats().again, 100);
    queue_start(&queues[0]);
    queue_kill(&queues[1], SIGSTOP); /* its kernel goes on */
    await_loss(2);
    await_taken(&queues[0], "f\t100\t0\t0\n");
    queue_kill(&queues[1], SIGKILL);
    worker_start(&workers[0], &queues[0], 0);
    worker_start(&workers[1], &queues[0], 0);
    assert_all_done(100);
    for (unsigned n = 0; n < 100; n++) {
        assert_int_equal(endings[n].runs, 3);
        assert_int_equal(runs[n], 1);
    }
    worker_stop(&workers[0]);
    worker_stop(&workers[1]);
    end_at(queues, 2);
}
