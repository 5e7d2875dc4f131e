/* SPDX-License-Identifier: MIT */
/*
 * progress: a bar that says how far the workers are. They count in one atomic word, now and then;
 * whoever draws looks at it as often as he likes. No worker waits for the terminal.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "strait.h"

#define TASKS 40
#define STEPS 200      /* in each task; a step is counted when it is done */
#define FRAME 50000000 /* ns from one drawing to the next */
#define WIDTH 50

static _Atomic unsigned steps;

static int compute(struct strait_task *task) /* on a worker */
{
    (void)task;
    for (int step = 0; step < STEPS; step++) {
        for (volatile unsigned i = 0; i < 20000; i++) { /* volatile: work that stays */
        }
        atomic_fetch_add_explicit(&steps, 1, memory_order_relaxed);
    }
    return 0;
}

static void draw(void)
{
    static const char full[] = "##################################################";
    unsigned done = atomic_load_explicit(&steps, memory_order_relaxed);
    unsigned part = done * WIDTH / (TASKS * STEPS);
    fprintf(stderr, "\r[%-*.*s] %3u %%", WIDTH, (int)part, full, done * 100 / (TASKS * STEPS));
}

int main(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    struct strait_task task = {.run = compute, .name = "compute"};
    unsigned frames = 0;
    if (strait_pool_create(&pool, NULL) || strait_pool_attach(pool, &parent, NULL)) {
        return EXIT_FAILURE;
    }
    for (int i = 0; i < TASKS; i++) {
        if (strait_task_submit(parent, &task, NULL, NULL)) {
            return EXIT_FAILURE;
        }
    }
    while (strait_parent_wait_all(parent, strait_deadline(FRAME)) == -ETIMEDOUT) {
        draw();
        frames++;
    }
    draw();
    fprintf(stderr, "\n");
    printf("%u steps, %u frames\n", steps, frames);
    return strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) ||
           steps != TASKS * STEPS;
}
