/* SPDX-License-Identifier: MIT */
/* What somebody writes who takes the core: a worker whose entry asks a pool. */
#include "strait.h"

#include <stdio.h>

static int square(struct strait_task *task)
{
    *(uint64_t *)(void *)task->data *= *(uint64_t *)(void *)task->data;
    return 0;
}

static void add(struct strait_task *task)
{
    *(uint64_t *)task->context += *(uint64_t *)(void *)task->data;
}

static int answer(struct strait_port *port, void *data)
{
    struct strait_pool *pool;
    struct strait_parent *parent;
    uint64_t number;
    uint64_t sum = 0;
    (void)data;
    if (strait_pool_create(&pool, NULL) || strait_pool_attach(pool, &parent, NULL)) {
        return 1;
    }
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        struct strait_task task = {.run = square, .done = add, .context = &sum};
        memcpy(task.data, &number, sizeof(number));
        strait_task_submit(parent, &task, NULL, NULL);
    }
    int error = strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
    strait_send(&port->sender, &sum, 1, STRAIT_FOREVER);
    return error;
}

int main(void)
{
    if (strait_version() != STRAIT_VERSION) {
        return 1;
    }
    struct strait_worker_options options = {.entry = answer,
                                            .to_worker = {.message_size = sizeof(uint64_t)},
                                            .to_parent = {.message_size = sizeof(uint64_t)}};
    struct strait_worker *worker;
    uint64_t sum = 0;
    if (strait_worker_spawn(&worker, &options)) {
        return 1;
    }
    struct strait_port *port = strait_worker_port(worker);
    for (uint64_t i = 1; i <= 10; i++) {
        strait_send(&port->sender, &i, 1, STRAIT_FOREVER);
    }
    strait_sender_close(&port->sender);
    strait_receive(&port->receiver, &sum, 1, STRAIT_FOREVER);
    strait_worker_join(worker, STRAIT_FOREVER);
    strait_worker_destroy(worker);
    puts(sum == 385 ? "ok" : "wrong");
    return 0;
}
