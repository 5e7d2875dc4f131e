/* SPDX-License-Identifier: MIT */
/* What somebody writes who takes Gearman: a task that no machine is there for. */
#include "strait_gearman.h"

#include <stdio.h>

static void done(struct strait_task *task)
{
    if (task->status == STRAIT_TASK_EXPIRED && task->code == -ETIMEDOUT) {
        puts(task->context);
    }
}

int main(void)
{
    struct strait_gearman *remote;
    struct strait_gearman_options options = {.servers = "127.0.0.1:1"};
    struct strait_process_task task = {
        .task = {.name = "nobody's", .done = done, .context = (void *)"ok"}};
    struct strait_gearman_submit_options how = {.finish_by = strait_deadline(10000000)};
    return strait_gearman_create(&remote, &options) != 0 ||
           strait_gearman_submit(remote, &task, &how, NULL) != 0 ||
           strait_gearman_drain(remote, STRAIT_FOREVER) != 0 || strait_gearman_destroy(remote) != 0;
}
