/* SPDX-License-Identifier: MIT */
/*
 * rate [--seconds N]: empty tasks per second through one gearmand of its own: of a bare client and
 * worker, which write and read packets and do nothing else, and of a remote and a host. The bare
 * worker asks for the next job when it has answered the last one, as workers do, or for several at
 * a time. All keep as many tasks in flight, and send as many bytes. They take turns, so that what
 * else the machine does hits all; the medians are compared. A minute without an option; exits with
 * 77 without gearmand.
 */
#include "gearman/fixture.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "strait_gearman.h"

#include "../src/gearman/packet.c"

#define IN_FLIGHT 64u /* of the client */
#define GRABS 3u      /* of the bare worker */
#define ROUNDS 15

static const unsigned depths[] = {1, 3, 64}; /* jobs that the bare worker asks for at a time */

#define RATES (COUNT(depths) + 1) /* the last one is of strait */
#define KEY "000102030405060708090a0b0000000000000001"

/* ---- bare ---- */

static struct strait_p_gearman_link connect_to(const struct queue *queue)
{
    struct strait_p_gearman_servers servers;
    struct strait_p_gearman_link link = {.fd = -1, .packet_max = STRAIT_P_GEARMAN_LINE};
    assert_int_equal(strait_p_gearman_resolve(&servers, queue->name), 0);
    assert_int_equal(strait_p_gearman_connect(&link, &servers.server[0]), 0);
    return link;
}

/* Writes all, then waits for the next packet that there is. */
static bool next_packet(struct strait_p_gearman_link *link, struct strait_p_gearman_packet *packet)
{
    struct pollfd poll_fd = {.fd = link->fd};
    int error = 0;
    while (strait_p_gearman_next(link, packet) == 0) {
        int flushed = strait_p_gearman_flush(link);
        error = strait_p_gearman_fill(link);
        if (error == -EAGAIN) {
            poll_fd.events = (short)(POLLIN | (flushed == -EAGAIN ? POLLOUT : 0));
            poll(&poll_fd, 1, -1);
        } else if (error) {
            return false;
        }
    }
    return true;
}

/* Its function, for each depth one. */
static struct strait_p_gearman_field bare_name(const unsigned *depth)
{
    static const char names[] = "abcdefgh";
    struct strait_p_gearman_field name = {&names[depth - depths], 1};
    return name;
}

static void bare_worker(const struct queue *queue, const unsigned *depth)
{
    const struct strait_p_gearman_field name = bare_name(depth);
    struct strait_p_gearman_link link = connect_to(queue);
    struct strait_p_gearman_packet packet = {.type = STRAIT_P_GEARMAN_NOOP};
    unsigned grabs = 0;
    strait_p_gearman_put(&link, STRAIT_P_GEARMAN_CAN_DO, &name, 1, NULL);
    do {
        if (packet.type == STRAIT_P_GEARMAN_JOB_ASSIGN_UNIQ) {
            struct strait_p_gearman_field answer[] = {packet.fields[0], packet.fields[3]};
            strait_p_gearman_put(&link, STRAIT_P_GEARMAN_WORK_COMPLETE, answer, 2, NULL);
        }
        grabs -= packet.type != STRAIT_P_GEARMAN_NOOP;
        if (packet.type == STRAIT_P_GEARMAN_NO_JOB && grabs == 0) {
            strait_p_gearman_put(&link, STRAIT_P_GEARMAN_PRE_SLEEP, NULL, 0, NULL);
        }
        while (packet.type != STRAIT_P_GEARMAN_NO_JOB && grabs < *depth) {
            strait_p_gearman_put(&link, STRAIT_P_GEARMAN_GRAB_JOB_UNIQ, NULL, 0, NULL);
            grabs++;
        }
    } while (next_packet(&link, &packet));
}

static uint64_t bare_tasks;

static void bare_submit(struct strait_p_gearman_link *link, const unsigned *depth)
{
    static const char data[HEAD];
    char key[sizeof(KEY)];
    snprintf(key, sizeof(key), "%040llu", (unsigned long long)bare_tasks++);
    struct strait_p_gearman_field fields[] = {bare_name(depth), {key, 40}, {data, HEAD}};
    strait_p_gearman_put(link, STRAIT_P_GEARMAN_SUBMIT_JOB, fields, 3, NULL);
}

/* Tasks per second. */
static double bare_client(struct strait_p_gearman_link *link, const unsigned *depth, int64_t ns)
{
    struct strait_p_gearman_packet packet;
    int64_t begin = strait_now();
    uint64_t done = 0;
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        bare_submit(link, depth);
    }
    for (unsigned owed = IN_FLIGHT; owed > 0;) {
        assert_true(next_packet(link, &packet));
        if (packet.type != STRAIT_P_GEARMAN_WORK_COMPLETE) {
            continue;
        }
        done++;
        if (strait_now() - begin < ns) {
            bare_submit(link, depth);
        } else {
            owed--;
        }
    }
    return (double)done * 1e9 / (double)(strait_now() - begin);
}

/* ---- with strait ---- */

static int nothing(struct strait_task *task)
{
    return 0;
}

static void host(const struct queue *queue, const unsigned *depth)
{
    static const struct strait_process_function functions[] = {{.name = "task", .run = nothing},
                                                               {.name = NULL}};
    struct strait_pool *pool;
    if (strait_pool_create(&pool, &(struct strait_pool_options){.workers = 1}) == 0) {
        strait_gearman_serve(pool, functions,
                             &(struct strait_gearman_serve_options){.servers = queue->name});
    }
}

static struct strait_gearman *remote;
static uint64_t done;
static int64_t until;

static void submit(void);

static void on_done(struct strait_task *task)
{
    assert_int_equal(task->status, STRAIT_TASK_DONE);
    done++;
    if (strait_now() < until) {
        submit();
    }
}

static void submit(void)
{
    struct strait_process_task task = {.task = {.name = "task", .done = on_done}};
    assert_int_equal(strait_gearman_submit(remote, &task, NULL, NULL), 0);
}

static double strait_client(int64_t ns)
{
    int64_t begin = strait_now();
    until = begin + ns;
    done = 0;
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        submit();
    }
    assert_int_equal(strait_gearman_drain(remote, STRAIT_FOREVER), 0);
    return (double)done * 1e9 / (double)(strait_now() - begin);
}

/* ---- the comparison ---- */

static pid_t spawn(void (*body)(const struct queue *queue, const unsigned *depth),
                   const struct queue *queue, const unsigned *depth)
{
    pid_t parent = getpid();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            body(queue, depth);
        }
        _exit(EXIT_FAILURE);
    }
    return child;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One round of all; the first is not counted. */
static void measure(struct strait_p_gearman_link *link, double rates[RATES][ROUNDS], int64_t ns)
{
    for (size_t round = 0; round <= ROUNDS; round++) {
        for (size_t i = 0; i < RATES; i++) {
            double rate = i < COUNT(depths) ? bare_client(link, &depths[i], ns) : strait_client(ns);
            if (round > 0) {
                rates[i][round - 1] = rate;
            }
        }
    }
}

static void report(double rates[RATES][ROUNDS])
{
    for (size_t i = 0; i < RATES; i++) {
        qsort(rates[i], ROUNDS, sizeof(rates[i][0]), compare);
    }
    double ours = rates[COUNT(depths)][ROUNDS / 2];
    printf("%-34s %10s %10s\n", "empty tasks", "tasks/s", "strait's");
    for (size_t i = 0; i < COUNT(depths); i++) {
        printf("bare, the worker asks for %2u %18.0f %9.0f%%\n", depths[i], rates[i][ROUNDS / 2],
               100 * ours / rates[i][ROUNDS / 2]);
    }
    printf("%-34s %12.0f\n", "strait", ours);
}

int main(int argc, char **argv)
{
    double seconds = argc == 3 && strcmp(argv[1], "--seconds") == 0 ? atof(argv[2]) : 60;
    struct queue queue;
    double rates[RATES][ROUNDS];
    pid_t children[RATES];
    if (!have_gearmand()) {
        printf("skipped: there is no gearmand\n");
        return NO_GEARMAND;
    }
    queue_choose(&queue);
    queue_start(&queue);
    for (size_t i = 0; i < COUNT(depths); i++) {
        children[i] = spawn(bare_worker, &queue, &depths[i]);
    }
    children[COUNT(depths)] = spawn(host, &queue, NULL);
    struct strait_p_gearman_link link = connect_to(&queue);
    struct strait_gearman_options options = {.servers = queue.name};
    assert_int_equal(strait_gearman_create(&remote, &options), 0);
    measure(&link, rates, (int64_t)(seconds * 1e9 / (double)(RATES * (ROUNDS + 1))));
    report(rates);
    strait_gearman_destroy(remote);
    strait_p_gearman_free(&link);
    for (size_t i = 0; i < RATES; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    queue_kill(&queue, SIGTERM);
    queue_await(&queue);
    return EXIT_SUCCESS;
}
