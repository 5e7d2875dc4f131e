/* SPDX-License-Identifier: MIT */
/*
 * request: requests with a deadline, which the client may also cancel. A worker that has begun is
 * told by strait_task_cancelled, and every request is answered exactly once: what it uses lives
 * until then, even if nobody wants the answer any more.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "strait.h"

#define MS 1000000

struct request {
    const char *name;
    int steps; /* of a millisecond each */
    strait_task_id id;
    enum strait_task_status status;
    bool answered;
};

static int serve(struct strait_task *task) /* on a worker */
{
    struct request *request = task->context;
    struct timespec step = {.tv_nsec = MS};
    for (int i = 0; i < request->steps; i++) {
        if (strait_task_cancelled(task)) { /* late, or nobody waits: give up */
            return -ECANCELED;
        }
        nanosleep(&step, NULL);
    }
    return 0;
}

static void answer(struct strait_task *task) /* in the loop */
{
    static const char *const words[] = {"done", "failed", "cancelled", "late", "abandoned"};
    struct request *request = task->context;
    request->status = task->status;
    request->answered = true;
    printf("%s: %s\n", request->name, words[task->status]);
}

static int ask(struct strait_parent *parent, struct request *request, int64_t within)
{
    struct strait_task task = {
        .run = serve, .context = request, .name = request->name, .done = answer};
    struct strait_submit_options how = {.finish_by = strait_deadline(within)};
    return strait_task_submit(parent, &task, &how, &request->id);
}

int main(void)
{
    struct request quick = {.name = "quick", .steps = 3};
    struct request slow = {.name = "slow", .steps = 100000};
    struct request unwanted = {.name = "unwanted", .steps = 100000};
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    if (strait_pool_create(&pool, NULL) || strait_pool_attach(pool, &parent, NULL) ||
        ask(parent, &slow, 50 * (int64_t)MS) || ask(parent, &unwanted, STRAIT_FOREVER) ||
        ask(parent, &quick, 60000 * (int64_t)MS)) {
        return EXIT_FAILURE;
    }
    struct pollfd loop = {.fd = strait_parent_fd(parent), .events = POLLIN}; /* or any event loop */
    while (!slow.answered && poll(&loop, 1, -1) > 0) {
        strait_parent_dispatch(parent, 0);
    }
    strait_task_cancel(parent, unwanted.id); /* its client has hung up */
    while (strait_parent_owed(parent) && poll(&loop, 1, -1) > 0) {
        strait_parent_dispatch(parent, 0);
    }
    bool right = quick.status == STRAIT_TASK_DONE && slow.status == STRAIT_TASK_EXPIRED &&
                 unwanted.status == STRAIT_TASK_CANCELLED;
    return strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) || !right;
}
