/* SPDX-License-Identifier: MIT */
/* uv: a pool on a libuv loop, through strait_uv.h; the loop ends when the pool is shut down. */
#define _GNU_SOURCE /* uv.h needs it where the compiler is strict */
#include <stdio.h>
#include <stdlib.h>

#include "strait_uv.h"

#define TASKS 100

static uv_loop_t loop;
static uv_timer_t timer;
static struct strait_uv_handle handle; /* the pool's, on the loop */
static unsigned right, ticks;

static void require(int error, const char *what)
{
    if (error < 0) {
        fprintf(stderr, "uv: %s: %s\n", what, uv_strerror(error));
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
    static unsigned completed;
    uint64_t data[2];
    memcpy(data, task->data, sizeof(data));
    right += task->status == STRAIT_TASK_DONE && data[1] == data[0] * (data[0] + 1) / 2;
    completed++;
    if (completed == TASKS) {
        strait_uv_pool_shutdown(&handle, STRAIT_CLOSE_DRAIN);
    }
}

static void tick(uv_timer_t *late)
{
    (void)late;
    ticks++;
}

static void shut_down(struct strait_uv_handle *ended) /* the pool is closed, its parent detached */
{
    strait_uv_close(ended, NULL);
    uv_close((uv_handle_t *)&timer, NULL);
}

int main(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    require(uv_loop_init(&loop), "loop");
    require(uv_timer_init(&loop, &timer), "timer");
    require(uv_timer_start(&timer, tick, 1, 1), "timer");
    require(strait_pool_create(&pool, NULL), "pool");
    require(strait_pool_attach(pool, &parent, NULL), "attach");
    require(strait_uv_pool_start(&loop, &handle, pool, parent, shut_down), "watch");
    for (uint64_t n = 0; n < TASKS; n++) {
        struct strait_task task = {.run = sum_up, .done = summed_up, .name = "sum"};
        memcpy(task.data, &n, sizeof(n));
        require(strait_task_submit(parent, &task, NULL, NULL), "submit");
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    require(uv_loop_close(&loop), "close");
    require(strait_pool_destroy(pool), "destroy");
    printf("%u of %d sums, %u ticks meanwhile\n", right, TASKS, ticks);
    return right == TASKS ? EXIT_SUCCESS : EXIT_FAILURE;
}
