/* SPDX-License-Identifier: MIT */
/* glib: a pool's fd as a source of a GLib main loop, which GTK programs have, too. */
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>

#include "strait.h"

#define TASKS 100

static GMainLoop *loop;
static unsigned right;

static void require(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "glib: %s\n", what);
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

static void summed_up(struct strait_task *task) /* in the loop: widgets may be touched */
{
    uint64_t data[2];
    memcpy(data, task->data, sizeof(data));
    right += task->status == STRAIT_TASK_DONE && data[1] == data[0] * (data[0] + 1) / 2;
}

static gboolean completions(gint fd, GIOCondition condition, gpointer parent)
{
    (void)fd;
    (void)condition;
    strait_parent_dispatch(parent, 0); /* what the budget leaves keeps the fd readable */
    if (strait_parent_owed(parent) == 0) {
        g_main_loop_quit(loop);
    }
    return G_SOURCE_CONTINUE;
}

int main(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    loop = g_main_loop_new(NULL, FALSE);
    require(strait_pool_create(&pool, NULL) == 0, "no pool");
    require(strait_pool_attach(pool, &parent, NULL) == 0, "cannot attach");
    guint source = g_unix_fd_add(strait_parent_fd(parent), G_IO_IN, completions, parent);
    for (uint64_t n = 0; n < TASKS; n++) {
        struct strait_task task = {.run = sum_up, .done = summed_up, .name = "sum"};
        memcpy(task.data, &n, sizeof(n));
        require(strait_task_submit(parent, &task, NULL, NULL) == 0, "the queue is full");
    }
    g_main_loop_run(loop);
    g_source_remove(source); /* before the fd goes */
    g_main_loop_unref(loop);
    require(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0, "no end");
    printf("%u of %d sums\n", right, TASKS);
    return right == TASKS ? EXIT_SUCCESS : EXIT_FAILURE;
}
