/* SPDX-License-Identifier: MIT */
/*
 * queue_work: uv_queue_work in shape, on a pool of strait's. A program changes names alone:
 *
 *   uv_work_t                               struct work
 *   uv_queue_work(loop, req, run, after)    queue_work(&queue, req, run, after)
 *   uv_cancel((uv_req_t *)req)              queue_cancel(&queue, req)
 *
 * What differs: a full queue is UV_EAGAIN, where uv_queue_work takes without end; and file system
 * and DNS requests, on libuv's own threads, wait for no computation any more. All but `run` is
 * called on the loop's thread; errors are libuv's, on Linux -errno.
 */
#ifndef QUEUE_WORK_H
#define QUEUE_WORK_H

#include "strait_uv.h"

struct queue {
    struct strait_uv_handle handle; /* at the end: strait_uv_close, then strait_pool_finish */
    struct strait_parent *parent;
};

struct work {
    void *data; /* yours */
    void (*run)(struct work *req);
    void (*after)(struct work *req, int status); /* 0, or UV_ECANCELED; may be NULL */
    struct queue *queue;
    strait_task_id id;
};

static inline int queue_open(struct queue *queue, uv_loop_t *loop, struct strait_pool *pool,
                             struct strait_parent *parent)
{
    int error = strait_uv_pool_start(loop, &queue->handle, pool, parent, NULL);
    if (!error) {
        strait_uv_unref(&queue->handle); /* an idle queue keeps no loop going */
    }
    queue->parent = parent;
    return error;
}

static inline int queue_run(struct strait_task *task) /* on a worker */
{
    struct work *req = (struct work *)task->context;
    req->run(req);
    return 0;
}

static inline void queue_done(struct strait_task *task)
{
    struct work *req = (struct work *)task->context;
    if (strait_parent_owed(req->queue->parent) == 0) {
        strait_uv_unref(&req->queue->handle);
    }
    if (req->after) {
        req->after(req, task->status == STRAIT_TASK_DONE ? 0 : UV_ECANCELED);
    }
}

static inline int queue_work(struct queue *queue, struct work *req, void (*run)(struct work *),
                             void (*after)(struct work *, int))
{
    struct strait_task task = {.run = queue_run, .context = req, .done = queue_done};
    req->run = run;
    req->after = after;
    req->queue = queue;
    int error = strait_task_submit(queue->parent, &task, NULL, &req->id);
    if (!error) {
        strait_uv_ref(&queue->handle);
    }
    return error;
}

static inline int queue_cancel(struct queue *queue, struct work *req)
{
    int error = strait_task_cancel(queue->parent, req->id);
    return error == -EINPROGRESS ? UV_EBUSY : error;
}

#endif /* QUEUE_WORK_H */
