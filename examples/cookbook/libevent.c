/* SPDX-License-Identifier: MIT */
/* libevent: a pool's fd as an event of a libevent loop; the last completion ends the loop. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "strait.h"

#define TASKS 100

static struct event_base *base;
static struct strait_parent *parent; /* this thread, as the pool knows it */
static unsigned right;

static void require(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "libevent: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

static int sum_up(struct strait_task *task) /* on a worker: data is n, then the sum of 1 to n */
{
    uint64_t n, sum = 0;
    memcpy(&n, task->data, sizeof(n));
    for (uint64_t i = 1; i <= n; i++) {
        sum += i;
    }
    memcpy(task->data + sizeof(n), &sum, sizeof(sum));
    return 0;
}

static void summed_up(struct strait_task *task) /* in the loop */
{
    uint64_t data[2];
    memcpy(data, task->data, sizeof(data));
    right += task->status == STRAIT_TASK_DONE && data[1] == data[0] * (data[0] + 1) / 2;
}

static void completions(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    (void)context;
    strait_parent_dispatch(parent, 0); /* what the budget leaves keeps the fd readable */
    if (strait_parent_owed(parent) == 0) {
        event_base_loopbreak(base);
    }
}

int main(void)
{
    struct strait_pool *pool;
    base = event_base_new();
    require(base != NULL, "no loop");
    require(strait_pool_create(&pool, NULL) == 0, "no pool");
    require(strait_pool_attach(pool, &parent, NULL) == 0, "cannot attach");
    struct event *event =
        event_new(base, strait_parent_fd(parent), EV_READ | EV_PERSIST, completions, NULL);
    require(event && event_add(event, NULL) == 0, "cannot watch"); /* level-triggered: no EV_ET */
    for (uint64_t n = 0; n < TASKS; n++) {
        struct strait_task task = {.run = sum_up, .done = summed_up, .name = "sum"};
        memcpy(task.data, &n, sizeof(n));
        require(strait_task_submit(parent, &task, NULL, NULL) == 0, "the queue is full");
    }
    require(event_base_dispatch(base) == 0, "the loop failed");
    event_free(event); /* before the fd goes */
    require(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0, "no end");
    event_base_free(base);
    printf("%u of %d sums\n", right, TASKS);
    return right == TASKS ? EXIT_SUCCESS : EXIT_FAILURE;
}
