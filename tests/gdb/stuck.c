/* SPDX-License-Identifier: MIT */
/* stuck: a pool whose one worker does not come back from a task, a worker that waits for a message
 * that nobody sends, and a channel that nobody empties. tests/gdb/test looks at them. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "strait.h"
#include "strait/extra/dump.h"

struct strait_pool *pool;
struct strait_parent *parent;
struct strait_worker *worker;
struct strait_channel *channel, *lanes, *cells, *line;
struct strait_task task;
static int told[2]; /* a pipe: the task has begun */

static int never_return(struct strait_task *running)
{
    (void)running;
    if (write(told[1], "", 1) != 1) {
        exit(EXIT_FAILURE);
    }
    for (;;) {
        pause();
    }
}

static int wait_for_message(struct strait_port *port, void *data)
{
    (void)data;
    return strait_receive_wait(&port->receiver, STRAIT_FOREVER);
}

static void require(bool good)
{
    if (!good) {
        exit(EXIT_FAILURE);
    }
}

static void fill(struct strait_channel **made, const char *variant, uint64_t count)
{
    struct strait_channel_options options = {
        .variant = variant, .capacity = 100, .message_size = sizeof(count)};
    struct strait_sender sender;
    require(strait_channel_create(made, &options) == 0 && strait_sender_open(&sender, *made) == 0);
    for (uint64_t i = 0; i < count; i++) {
        require(strait_try_send(&sender, &i, 1) == 1);
    }
}

void look_here(void); /* where the debugger stops */
void look_here(void)
{
    strait_dump_pool(pool, stdout);
    fflush(stdout);
}

int main(void)
{
    struct strait_pool_options options = {.workers = 1, .name = "render", .timed = true};
    struct strait_worker_options waits = {.entry = wait_for_message, .name = "waiter"};
    char byte;
    fill(&channel, "spsc", 7);
    fill(&lanes, "lanes", 5);
    fill(&cells, "cells", 3);
    fill(&line, "line", 2);
    require(pipe(told) == 0);
    require(strait_worker_spawn(&worker, &waits) == 0);
    require(strait_pool_create(&pool, &options) == 0);
    require(strait_pool_attach(pool, &parent, NULL) == 0);
    task = (struct strait_task){.run = never_return, .name = "stuck"};
    for (int i = 0; i < 3; i++) {
        require(strait_task_submit(parent, &task, NULL, NULL) == 0);
    }
    require(read(told[0], &byte, 1) == 1);
    while (!(strait_now() < 0)) { /* until the worker named `worker` sleeps */
        struct strait_channel_status status;
        strait_channel_status(strait_worker_port(worker)->sender.handle.channel, &status);
        if (status.receiver_waits) {
            break;
        }
        usleep(1000);
    }
    look_here();
    return EXIT_SUCCESS;
}
