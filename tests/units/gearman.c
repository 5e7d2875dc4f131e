/* SPDX-License-Identifier: MIT */
/* What somebody writes who takes Gearman: a task, which squares a number. With "host:port" it is
 * for the job server there, and a worker of this program is the machine that works; else no machine
 * is there for it. */
#include "strait_gearman.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int square(struct strait_task *task)
{
    uint64_t number;
    memcpy(&number, task->data, sizeof(number));
    number *= number;
    memcpy(task->data, &number, sizeof(number));
    return 0;
}

static const struct strait_process_function functions[] = {{.name = "square", .run = square},
                                                           {.name = NULL}};

static int work(struct strait_port *port, void *options)
{
    struct strait_pool *pool;
    struct strait_pool_options one = {.workers = 1};
    (void)port;
    return strait_pool_create(&pool, &one) || strait_gearman_serve(pool, functions, options) ||
           strait_pool_finish(pool, NULL, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
}

static void done(struct strait_task *task)
{
    uint64_t number;
    memcpy(&number, task->data, sizeof(number));
    bool good = task->context ? task->status == STRAIT_TASK_DONE && number == 49
                              : task->status == STRAIT_TASK_EXPIRED && task->code == -ETIMEDOUT;
    puts(good ? "ok" : "wrong");
}

int main(int argc, char **argv)
{
    char *servers = argc > 1 ? argv[1] : NULL;
    int stop = eventfd(0, 0);
    struct strait_gearman_serve_options serve = {.servers = servers, .stop_fd = stop};
    struct strait_worker_options host = {.entry = work, .data = &serve};
    struct strait_worker *worker = NULL;
    if (stop < 0 || (servers && strait_worker_spawn(&worker, &host))) {
        return 1;
    }
    struct strait_gearman *remote;
    struct strait_gearman_options options = {.servers = servers ? servers : "127.0.0.1:1"};
    struct strait_process_task task = {
        .task = {.name = "square", .done = done, .context = servers}};
    struct strait_gearman_submit_options how = {.finish_by = strait_in_ms(servers ? 60000 : 10)};
    uint64_t number = 7;
    memcpy(task.task.data, &number, sizeof(number));
    if (strait_gearman_create(&remote, &options) ||
        strait_gearman_submit(remote, &task, &how, NULL) ||
        strait_gearman_drain(remote, STRAIT_FOREVER) || strait_gearman_destroy(remote)) {
        return 1;
    }
    if (write(stop, &number, sizeof(number)) != sizeof(number)) {
        return 1;
    }
    return worker && (strait_worker_join(worker, STRAIT_FOREVER) || strait_worker_destroy(worker));
}
