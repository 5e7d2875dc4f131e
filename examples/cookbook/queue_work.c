/* SPDX-License-Identifier: MIT */
/* queue_work: what a program looks like that used uv_queue_work, and now has queue_work.h. */
#define _GNU_SOURCE /* uv.h needs it where the compiler is strict */
#include <stdio.h>
#include <stdlib.h>

#include "queue_work.h"

#define REQUESTS 50

static struct request {
    struct work work; /* work.data is the request */
    uint64_t n, sum;
} requests[REQUESTS], unwanted;
static unsigned right, cancelled;

static void require(int error, const char *what)
{
    if (error < 0) {
        fprintf(stderr, "queue_work: %s: %s\n", what, uv_strerror(error));
        exit(EXIT_FAILURE);
    }
}

static void compute(struct work *work) /* on a worker */
{
    struct request *request = work->data;
    for (uint64_t i = 1; i <= request->n; i++) {
        request->sum += i;
    }
}

static void computed(struct work *work, int status) /* in the loop */
{
    struct request *request = work->data;
    right += status == 0 && request->sum == request->n * (request->n + 1) / 2;
    cancelled += status == UV_ECANCELED;
}

int main(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    struct queue queue;
    uv_loop_t loop;
    require(uv_loop_init(&loop), "loop");
    require(strait_pool_create(&pool, NULL), "pool");
    require(strait_pool_attach(pool, &parent, NULL), "attach");
    require(queue_open(&queue, &loop, pool, parent), "queue");
    for (int i = 0; i < REQUESTS; i++) {
        requests[i] = (struct request){.work.data = &requests[i], .n = 1000000};
        require(queue_work(&queue, &requests[i].work, compute, computed), "work");
    }
    unwanted.work.data = &unwanted;
    require(queue_work(&queue, &unwanted.work, compute, computed), "work");
    int busy = queue_cancel(&queue, &unwanted.work); /* UV_EBUSY: a worker has it already */
    uv_run(&loop, UV_RUN_DEFAULT);                   /* until all have completed */
    strait_uv_close(&queue.handle, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    require(uv_loop_close(&loop), "close");
    require(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), "finish");
    printf("%u of %d computed, %u cancelled\n", right, REQUESTS, cancelled);
    return right == REQUESTS + (busy != 0) && cancelled == (busy == 0) ? EXIT_SUCCESS
                                                                       : EXIT_FAILURE;
}
