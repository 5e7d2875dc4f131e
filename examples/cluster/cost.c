/* SPDX-License-Identifier: MIT */
/*
 * cluster_cost: what a task costs that does nothing, in a pool, in a pool of processes, and on a
 * machine that runs cluster_host.
 *
 *   cluster_cost [SERVERS]     without job servers: the first two
 *
 * One at a time: from the submit until it is done, median and 99th percentile. Many at a time: the
 * time for each, where the next is submitted as soon as there is room.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "strait.h"
#include "strait/extra/process.h"
#include "strait_gearman.h"

#define SINGLES 3000

static int64_t times[SINGLES];
static int64_t begin;
static unsigned completed;

static int nothing(struct strait_task *task)
{
    (void)task;
    return 0;
}

static void on_done(struct strait_task *task)
{
    if (task->status != STRAIT_TASK_DONE) {
        fprintf(stderr, "cluster_cost: a task failed: %s\n", strait_strerror(task->code));
        exit(EXIT_FAILURE);
    }
    if (completed < SINGLES) {
        times[completed] = strait_now() - begin;
    }
    completed++;
}

static int earlier(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Who computes: all three have the same shape. */
struct side {
    const char *name;
    unsigned many;
    bool (*submit)(void *self); /* false: there is no room */
    void (*wait)(void *self);   /* until all are done */
    void (*look)(void *self);   /* runs what is done */
};

static const struct strait_process_task task = {.task = {.name = "heavy", .done = on_done}};

static bool pool_submit(void *self)
{
    struct strait_task local = {.run = nothing, .done = on_done};
    return strait_task_submit(self, &local, NULL, NULL) == 0;
}

static void pool_wait(void *self)
{
    strait_parent_wait_all(self, STRAIT_FOREVER);
}

static void pool_look(void *self)
{
    strait_parent_poll(self, 0);
}

static bool process_submit(void *self)
{
    return strait_process_submit(self, &task, NULL, NULL) == 0;
}

static void process_wait(void *self)
{
    strait_process_pool_drain(self, STRAIT_FOREVER);
}

static void process_look(void *self)
{
    strait_process_pool_dispatch(self, 0);
}

static bool machine_submit(void *self)
{
    return strait_gearman_submit(self, &task, NULL, NULL) == 0;
}

static void machine_wait(void *self)
{
    strait_gearman_drain(self, STRAIT_FOREVER);
}

static void machine_look(void *self)
{
    strait_gearman_dispatch(self, 0);
}

static void measure(const struct side *side, void *self)
{
    completed = 0;
    while (completed < SINGLES) {
        begin = strait_now();
        side->submit(self);
        side->wait(self);
    }
    qsort(times, SINGLES, sizeof(times[0]), earlier);
    int64_t p50 = times[SINGLES / 2];
    int64_t p99 = times[SINGLES * 99 / 100];
    int64_t start = strait_now();
    unsigned submitted = completed = 0;
    while (completed < side->many) {
        while (submitted < side->many && side->submit(self)) {
            submitted++;
        }
        side->look(self);
    }
    double each = (double)(strait_now() - start) / side->many / 1e3;
    printf("%-28s %9.1f %9.1f   %9.2f\n", side->name, (double)p50 / 1e3, (double)p99 / 1e3, each);
}

static int must(int error, const char *what)
{
    if (error) {
        fprintf(stderr, "cluster_cost: %s: %s\n", what, strait_strerror(error));
        exit(EXIT_FAILURE);
    }
    return error;
}

int main(int argc, char **argv)
{
    static const struct strait_process_function functions[] = {{.name = "heavy", .run = nothing},
                                                               {.name = NULL}};
    static const struct side in_pool = {"in a pool", 2000000, pool_submit, pool_wait, pool_look};
    static const struct side in_process = {"in a process", 100000, process_submit, process_wait,
                                           process_look};
    static const struct side on_machine = {"on another machine", 20000, machine_submit,
                                           machine_wait, machine_look};
    struct strait_pool *pool;
    struct strait_parent *parent;
    struct strait_process_pool *processes;
    struct strait_gearman *remote;
    strait_process_main(argc, argv, functions);
    puts("                             one at a time, us       many, us");
    puts("                                   p50       p99        each");
    must(strait_pool_create(&pool, NULL), "pool");
    must(strait_pool_attach(pool, &parent, NULL), "parent");
    measure(&in_pool, parent);
    must(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), "pool");
    must(strait_process_pool_create(&processes, NULL), "processes");
    measure(&in_process, processes);
    must(strait_process_pool_destroy(processes), "processes");
    if (argc > 1) {
        must(strait_gearman_create(&remote, &(struct strait_gearman_options){.servers = argv[1]}),
             argv[1]);
        measure(&on_machine, remote);
        must(strait_gearman_destroy(remote), argv[1]);
    }
    return EXIT_SUCCESS;
}
