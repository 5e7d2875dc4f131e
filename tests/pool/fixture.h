/* SPDX-License-Identifier: MIT */
/*
 * What the pool's tests share: one pool with one parent, whose workers wait at a gate until the
 * test lets them go, and a note of what became of each task.
 *
 *   OPEN(.workers = 2);
 *   hold(2);                                    both workers are inside a task
 *   submit(runs, 7, NULL);                      task number 7 waits for one
 *   release();                                  they go on
 *   settle();                                   until every completion has run
 *   assert_ended(7, 1, STRAIT_TASK_DONE, 1);
 *   close_pool();
 *
 * All of it on the thread that opens it. Tasks have numbers, which travel in the first bytes of
 * their data; those that hold workers have none.
 */
#ifndef STRAIT_TESTS_POOL_FIXTURE_H
#define STRAIT_TESTS_POOL_FIXTURE_H

#include "harness.h"

#include "strait/pool.h"
#include "strait/worker.h"

#define NUMBERS 2048
#define MS 1000000 /* nanoseconds */

/* ---- the pool ---- */

struct here {
    struct strait_pool *pool;
    struct strait_parent *parent;
    struct gate gate;
    unsigned held; /* arrivals at the gate that were awaited */
};

extern struct here here;

/* Workers of the normal class, unless the options ask for another or a nice; or just as they say.
 */
#define OPEN(...) open_pool(&(struct strait_pool_options){__VA_ARGS__}, NULL)
void open_pool(const struct strait_pool_options *options,
               const struct strait_parent_options *parent);
void open_as_it_is(const struct strait_pool_options *options,
                   const struct strait_parent_options *parent);

/* Submits so many tasks that wait at the gate, and returns when a worker is inside each. After a
 * release, only once all has settled. */
void hold(unsigned workers);
void await_arrivals(unsigned more); /* at the gate, of tasks with numbers */
void release(void);
void shut_gate(void); /* again, when nobody is there any more */

/* Runs completions, having waited for some as the parent does: at its fd, or polling. */
void collect(void);
void settle(void);
void settle_to(unsigned owed);

/* Releases, settles, detaches, closes and destroys. */
void close_pool(void);
void end_pool(void); /* the last two */
void close_with(enum strait_close mode, int64_t deadline, int result);

/* Further parents. */
struct strait_parent *attach(enum strait_wait wait);
void leave(struct strait_parent *parent); /* drains, and has left */

struct strait_pool_stats pool_stats(void);
struct strait_pool_worker_stats worker_of(unsigned number);

/* ---- tasks with numbers ---- */

/* What became of them. A `run` writes what its completion reads: an order that the pool fails to
 * make is a race. Opening clears it. */
struct seen {
    _Atomic unsigned starts;
    unsigned started[NUMBERS]; /* as which, from 1; 0: it never ran */
    unsigned runs[NUMBERS];
    int32_t thread[NUMBERS];
    _Atomic unsigned ends; /* completions, so far */
    unsigned completions[NUMBERS];
    enum strait_task_status status[NUMBERS];
    int code[NUMBERS];
};

extern struct seen seen;

struct strait_task numbered(strait_run_fn *run, unsigned number, void *context);
unsigned number_of(const struct strait_task *task);

int nothing(struct strait_task *task);
int runs(struct strait_task *task);                 /* notes it */
int runs_at_gate(struct strait_task *task);         /* the one that is its context */
int runs_until_cancelled(struct strait_task *task); /* arrives there, and returns -ECANCELED */
void note_done(struct strait_task *task);

void await_starts(unsigned count);

extern const struct strait_submit_options high;
extern const struct strait_submit_options late; /* before it is submitted */
extern const struct strait_submit_options in_place;

/* Numbered, with note_done and the gate. All but the last assert that it is taken. */
strait_task_id submit(strait_run_fn *run, unsigned number, const struct strait_submit_options *how);
void submit_some(strait_run_fn *run, unsigned first, unsigned count,
                 const struct strait_submit_options *how);
strait_task_id submit_to(struct strait_parent *parent, const struct strait_task *task,
                         const struct strait_submit_options *how);
strait_task_id submit_task(const struct strait_task *task, const struct strait_submit_options *how);
int try_submit(strait_run_fn *run, unsigned number, const struct strait_submit_options *how);

/* `count` tasks from `first` have completed, once each, so; and have run so many times. */
void assert_ended(unsigned first, unsigned count, enum strait_task_status status, unsigned times);

/* Started one after the other, in the order of their numbers. */
void assert_started_in_order(unsigned first, unsigned count);

#endif /* STRAIT_TESTS_POOL_FIXTURE_H */
