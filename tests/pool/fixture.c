/* SPDX-License-Identifier: MIT */
#include "fixture.h"

struct here here;
struct seen seen;

/* ---- the pool ---- */

void open_as_it_is(const struct strait_pool_options *options,
                   const struct strait_parent_options *parent)
{
    memset(&here, 0, sizeof(here));
    memset(&seen, 0, sizeof(seen));
    assert_returns(strait_pool_create(&here.pool, options), 0);
    assert_returns(strait_pool_attach(here.pool, &here.parent, parent), 0);
}

void open_pool(const struct strait_pool_options *options,
               const struct strait_parent_options *parent)
{
    struct strait_pool_options used = *options;
    if (!used.schedule && !used.nice) {
        used.schedule = STRAIT_SCHEDULE_NORMAL;
    }
    open_as_it_is(&used, parent);
}

static int holds(struct strait_task *task)
{
    gate_wait(task->context);
    return 0;
}

void hold(unsigned workers)
{
    struct strait_task task = {.run = holds, .context = &here.gate, .name = "holds"};
    if (atomic_load(&here.gate.open)) {
        assert_int_equal(strait_parent_owed(here.parent), 0);
        shut_gate();
    }
    for (unsigned i = 0; i < workers; i++) {
        submit_task(&task, NULL);
        if (pool_stats().queue_limit < workers) {
            gate_await(&here.gate, here.held + i + 1);
        }
    }
    await_arrivals(workers);
}

void await_arrivals(unsigned more)
{
    here.held += more;
    gate_await(&here.gate, here.held);
}

void shut_gate(void)
{
    memset(&here.gate, 0, sizeof(here.gate));
    here.held = 0;
}

void release(void)
{
    gate_open(&here.gate);
}

void collect(void)
{
    int fd = strait_parent_fd(here.parent);
    if (fd < 0) {
        assert_true(strait_parent_poll(here.parent, 0) >= 0);
        sched_yield();
    } else {
        assert_true(readable(fd, -1));
        assert_true(strait_parent_dispatch(here.parent, 0) >= 0);
    }
    progress_made();
}

void settle_to(unsigned owed)
{
    while (strait_parent_owed(here.parent) > owed) {
        collect();
    }
}

void settle(void)
{
    settle_to(0);
}

void leave(struct strait_parent *parent)
{
    assert_returns(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
}

struct strait_parent *attach(enum strait_wait wait)
{
    struct strait_parent_options options = {.wait = wait};
    struct strait_parent *parent = NULL;
    assert_returns(strait_pool_attach(here.pool, &parent, &options), 0);
    return parent;
}

void close_with(enum strait_close mode, int64_t deadline, int result)
{
    assert_returns(strait_pool_close(here.pool, mode, deadline, NULL), result);
}

void end_pool(void)
{
    close_with(STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, 0);
    assert_returns(strait_pool_destroy(here.pool), 0);
}

void close_pool(void)
{
    release();
    settle();
    leave(here.parent);
    end_pool();
}

struct strait_pool_stats pool_stats(void)
{
    struct strait_pool_stats stats;
    strait_pool_stats(here.pool, &stats);
    return stats;
}

struct strait_pool_worker_stats worker_of(unsigned number)
{
    struct strait_pool_worker_stats stats;
    assert_returns(strait_pool_worker_stats(here.pool, number, &stats), 0);
    return stats;
}

/* ---- tasks with numbers ---- */

const struct strait_submit_options high = {.priority = STRAIT_PRIORITY_HIGH};
const struct strait_submit_options late = {.start_by = 1};
const struct strait_submit_options in_place = {.in_place = true};

struct strait_task numbered(strait_run_fn *run, unsigned number, void *context)
{
    struct strait_task task = {.run = run, .done = note_done, .context = context};
    EXPECT(number < NUMBERS);
    memcpy(task.data, &number, sizeof(number));
    return task;
}

unsigned number_of(const struct strait_task *task)
{
    unsigned number;
    memcpy(&number, task->data, sizeof(number));
    EXPECT(number < NUMBERS);
    return number % NUMBERS;
}

int nothing(struct strait_task *task)
{
    return 0;
}

/* Relaxed: see `seen`. */
int runs(struct strait_task *task)
{
    unsigned number = number_of(task);
    seen.started[number] = 1 + atomic_fetch_add_explicit(&seen.starts, 1, memory_order_relaxed);
    seen.runs[number]++;
    seen.thread[number] = thread_number();
    return 0;
}

int runs_at_gate(struct strait_task *task)
{
    runs(task);
    gate_wait(task->context);
    return 0;
}

int runs_until_cancelled(struct strait_task *task)
{
    struct gate *gate = task->context;
    runs(task);
    atomic_fetch_add(&gate->arrived, 1);
    while (!strait_task_cancelled(task)) {
        sleep_ns(GATE_NAP_NS);
    }
    return -ECANCELED;
}

void note_done(struct strait_task *task)
{
    unsigned number = number_of(task);
    atomic_fetch_add_explicit(&seen.ends, 1, memory_order_relaxed);
    seen.completions[number]++;
    seen.status[number] = task->status;
    seen.code[number] = task->code;
}

void await_starts(unsigned count)
{
    while (atomic_load_explicit(&seen.starts, memory_order_relaxed) < count) {
        sleep_ns(GATE_NAP_NS);
    }
}

int try_submit(strait_run_fn *run, unsigned number, const struct strait_submit_options *how)
{
    struct strait_task task = numbered(run, number, &here.gate);
    return strait_task_submit(here.parent, &task, how, NULL);
}

strait_task_id submit_to(struct strait_parent *parent, const struct strait_task *task,
                         const struct strait_submit_options *how)
{
    strait_task_id id = 0;
    assert_returns(strait_task_submit(parent, task, how, &id), 0);
    return id;
}

strait_task_id submit_task(const struct strait_task *task, const struct strait_submit_options *how)
{
    return submit_to(here.parent, task, how);
}

strait_task_id submit(strait_run_fn *run, unsigned number, const struct strait_submit_options *how)
{
    struct strait_task task = numbered(run, number, &here.gate);
    return submit_task(&task, how);
}

void submit_some(strait_run_fn *run, unsigned first, unsigned count,
                 const struct strait_submit_options *how)
{
    for (unsigned i = first; i < first + count; i++) {
        submit(run, i, how);
    }
}

void assert_ended(unsigned first, unsigned count, enum strait_task_status status, unsigned times)
{
    for (unsigned i = first; i < first + count; i++) {
        assert_int_equal(seen.completions[i], 1);
        assert_int_equal(seen.status[i], status);
        assert_int_equal(seen.runs[i], times);
    }
}

void assert_started_in_order(unsigned first, unsigned count)
{
    for (unsigned i = first + 1; i < first + count; i++) {
        assert_true(seen.started[i] > seen.started[i - 1]);
    }
}
