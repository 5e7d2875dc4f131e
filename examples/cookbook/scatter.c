/* SPDX-License-Identifier: MIT */
/*
 * scatter: one job cut in pieces for all workers, whose results are put together here. The pieces
 * are a group, so that other tasks of this thread are not waited for.
 */
#include <stdio.h>
#include <stdlib.h>

#include "strait.h"

#define ITEMS 4000000
#define PIECE 50000 /* some 50 us of work: far more than a task costs, and enough to share */

static uint32_t items[ITEMS];

struct piece {
    size_t first;
    uint64_t sum; /* the result: a task's `data` travels there and back */
};

static int add_up(struct strait_task *task) /* on a worker */
{
    struct piece piece;
    memcpy(&piece, task->data, sizeof(piece));
    for (size_t i = 0; i < PIECE; i++) {
        piece.sum += items[piece.first + i];
    }
    memcpy(task->data, &piece, sizeof(piece));
    return 0;
}

static void gather(struct strait_task *task) /* here: no lock is needed */
{
    struct piece piece;
    memcpy(&piece, task->data, sizeof(piece));
    *(uint64_t *)task->context += piece.sum;
}

static int sum_of_items(struct strait_parent *parent, uint64_t *sum)
{
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    int error = 0;
    *sum = 0;
    for (size_t first = 0; first < ITEMS && !error; first += PIECE) {
        struct strait_task task = {.run = add_up, .context = sum, .name = "piece", .done = gather};
        struct piece piece = {.first = first};
        memcpy(task.data, &piece, sizeof(piece));
        error = strait_task_submit_wait(parent, &task, &how, NULL, STRAIT_FOREVER);
    }
    int unfinished =
        strait_group_wait(parent, &group, STRAIT_FOREVER); /* `group` is on the stack */
    return error ? error : unfinished;
}

int main(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    struct strait_parent_options no_loop = {.wait = STRAIT_WAIT_PARK};
    uint64_t sum = 0, expected = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        items[i] = i % 1000;
        expected += items[i];
    }
    if (strait_pool_create(&pool, NULL) || strait_pool_attach(pool, &parent, &no_loop) ||
        sum_of_items(parent, &sum)) {
        return EXIT_FAILURE;
    }
    printf("%llu\n", (unsigned long long)sum);
    return strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) || sum != expected;
}
