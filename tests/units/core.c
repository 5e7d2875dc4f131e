/* SPDX-License-Identifier: MIT */
/* What somebody writes who takes the core: a worker that answers, and a pool that computes. */
#include "strait.h"

#include <stdio.h>

static int answer(struct strait_port *port, void *data)
{
    uint64_t number;
    (void)data;
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        number *= number;
        strait_send(&port->sender, &number, 1, STRAIT_FOREVER);
    }
    return 0;
}

static int work(struct strait_task *task)
{
    uint64_t number;
    memcpy(&number, task->data, sizeof(number));
    number *= number;
    memcpy(task->data, &number, sizeof(number));
    return 0;
}

static void finished(struct strait_task *task)
{
    uint64_t number;
    memcpy(&number, task->data, sizeof(number));
    *(uint64_t *)task->context += number;
}

static uint64_t ask_worker(void)
{
    struct strait_worker_options options = {.entry = answer};
    struct strait_worker *worker;
    uint64_t number = 7;
    if (strait_worker_spawn(&worker, &options)) {
        return 0;
    }
    struct strait_port *port = strait_worker_port(worker);
    strait_send(&port->sender, &number, 1, STRAIT_FOREVER);
    strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER);
    strait_sender_close(&port->sender);
    strait_worker_join(worker, STRAIT_FOREVER);
    strait_worker_destroy(worker);
    return number;
}

static uint64_t ask_pool(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent;
    uint64_t sum = 0;
    if (strait_pool_create(&pool, NULL) || strait_pool_attach(pool, &parent, NULL)) {
        return 0;
    }
    for (uint64_t i = 1; i <= 10; i++) {
        struct strait_task task = {.run = work, .done = finished, .context = &sum};
        memcpy(task.data, &i, sizeof(i));
        strait_task_submit(parent, &task, NULL, NULL);
    }
    return strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) ? 0 : sum;
}

int main(void)
{
    puts(ask_worker() == 49 && ask_pool() == 385 ? "ok" : "wrong");
    return 0;
}
