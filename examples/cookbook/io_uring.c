/* SPDX-License-Identifier: MIT */
/*
 * io_uring: a pool's fd in an io_uring loop. The trap: a multishot poll tells of a change, not of a
 * state. Where a dispatch ends for its budget the fd stays readable, and no entry will say so
 * again: dispatch until it returns 0.
 */
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "strait.h"

#define TASKS 1000

static uint64_t completed, sum;

static void require(int error, const char *what)
{
    if (error < 0) {
        fprintf(stderr, "io_uring: %s: %s\n", what, strerror(-error));
        exit(error == -ENOSYS || error == -EPERM ? 77 : EXIT_FAILURE); /* 77: there is none */
    }
}

static int twice(struct strait_task *task) /* on a worker */
{
    uint64_t n;
    memcpy(&n, task->data, sizeof(n));
    n *= 2;
    memcpy(task->data, &n, sizeof(n));
    return 0;
}

static void add(struct strait_task *task) /* in the loop */
{
    uint64_t n;
    memcpy(&n, task->data, sizeof(n));
    completed += task->status == STRAIT_TASK_DONE;
    sum += n;
}

static void watch(struct io_uring *ring, int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    require(sqe ? 0 : -EBUSY, "submission ring");
    io_uring_prep_poll_multishot(sqe, fd, POLLIN);
    require(io_uring_submit(ring), "submit");
}

int main(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    struct io_uring ring;
    require(io_uring_queue_init(8, &ring, 0), "ring");
    require(strait_pool_create(&pool, NULL), "pool");
    require(strait_pool_attach(pool, &parent, NULL), "attach");
    watch(&ring, strait_parent_fd(parent));
    for (uint64_t n = 0; n < TASKS; n++) {
        struct strait_task task = {.run = twice, .done = add, .name = "twice"};
        memcpy(task.data, &n, sizeof(n));
        require(strait_task_submit(parent, &task, NULL, NULL), "task");
    }
    while (strait_parent_owed(parent) > 0) {
        struct io_uring_cqe *cqe;
        require(io_uring_wait_cqe(&ring, &cqe), "wait"); /* -EINTR where there are signals */
        require(cqe->res, "poll");
        if (!(cqe->flags & IORING_CQE_F_MORE)) { /* the kernel may end a multishot at any time */
            watch(&ring, strait_parent_fd(parent));
        }
        io_uring_cqe_seen(&ring, cqe);
        while (strait_parent_dispatch(parent, 0) > 0) {
        }
    }
    io_uring_queue_exit(&ring);
    require(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), "finish");
    printf("%u of %d tasks\n", (unsigned)completed, TASKS);
    return completed == TASKS && sum == TASKS * (TASKS - 1) ? EXIT_SUCCESS : EXIT_FAILURE;
}
