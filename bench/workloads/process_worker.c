/* SPDX-License-Identifier: MIT */
/* process_worker: the program of workers that are processes: a small one. */
#include <string.h>

#include "strait/extra/process.h"

static int echo(struct strait_process_port *port, void *data, size_t size)
{
    uint64_t number;
    (void)data;
    (void)size;
    while (strait_process_receive(port, &number, 1, STRAIT_FOREVER) == 1) {
        strait_process_send(port, &number, 1, STRAIT_FOREVER);
    }
    return 0;
}

static int negate(struct strait_task *task)
{
    uint64_t number;
    memcpy(&number, task->data, sizeof(number));
    number = ~number;
    memcpy(task->data, &number, sizeof(number));
    return 0;
}

static const struct strait_process_function functions[] = {
    {.name = "echo", .entry = echo}, {.name = "negate", .run = negate}, {.name = NULL}};

/* Not for people. */
int main(int argc, char **argv)
{
    strait_process_main(argc, argv, functions);
    return 2;
}
