/* SPDX-License-Identifier: MIT */
/*
 * gate: a pool whose workers wait until the test lets them go. What the test submits meanwhile
 * stays queued, in the order in which it was submitted.
 *
 *   struct gated gated;
 *   gated_open(&gated, &(struct strait_pool_options){.workers = 2});
 *   gated_hold(&gated, 2);      both workers are inside a task
 *   ...                         submit, cancel, look
 *   gated_release(&gated);      they go on
 *   gated_settle(&gated);       until every completion has run here
 *   gated_close(&gated);
 *
 * All of it on the thread that opens it, the pool's parent.
 */
#ifndef STRAIT_TESTS_POOL_GATE_H
#define STRAIT_TESTS_POOL_GATE_H

#include "harness.h"

#include "strait/pool.h"

struct gated {
    struct strait_pool *pool;
    struct strait_parent *parent;
    struct gate gate;
    unsigned held; /* tasks at the gate, or past it */
};

/* Workers that get the CPU as others do, unless the options ask for a class. */
static inline void gated_open(struct gated *gated, const struct strait_pool_options *options)
{
    struct strait_pool_options used = *options;
    used.schedule = used.schedule ? used.schedule : STRAIT_SCHEDULE_NORMAL;
    memset(gated, 0, sizeof(*gated));
    assert_returns(strait_pool_create(&gated->pool, &used), 0);
    assert_returns(strait_pool_attach(gated->pool, &gated->parent, NULL), 0);
}

static inline int gated_run(struct strait_task *task)
{
    gate_wait(task->context);
    return 0;
}

/* Submits so many tasks that wait, and returns once a worker is inside each. */
static inline void gated_hold(struct gated *gated, unsigned workers)
{
    struct strait_task task = {.run = gated_run, .context = &gated->gate};
    for (unsigned i = 0; i < workers; i++) {
        assert_returns(strait_task_submit(gated->parent, &task, NULL, NULL), 0);
    }
    gated->held += workers;
    gate_await(&gated->gate, gated->held);
}

static inline void gated_release(struct gated *gated)
{
    gate_open(&gated->gate);
}

/* Runs completions, as an event loop would, until the parent is owed none. */
static inline void gated_settle(struct gated *gated)
{
    while (strait_parent_owed(gated->parent)) {
        readable(strait_parent_fd(gated->parent), -1);
        assert_true(strait_parent_dispatch(gated->parent, 0) >= 0);
        progress_made();
    }
}

static inline void gated_close(struct gated *gated)
{
    gated_release(gated);
    gated_settle(gated);
    assert_returns(strait_parent_detach(gated->parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_close(gated->pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_pool_destroy(gated->pool), 0);
}

#endif /* STRAIT_TESTS_POOL_GATE_H */
