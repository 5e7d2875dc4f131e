/* SPDX-License-Identifier: MIT */
/* parent: how a parent waits for its tasks, and leaves. */
#include "parent.h"

/* ---- waiting ---- */

static bool parent_side_ready(void *side)
{
    return strait_parent_ready(side);
}

/* A worker sleeps where it always does, and is woken there. */
static struct strait_p_waiter parent_waiter(struct strait_parent *parent)
{
    struct strait_p_waiter waiter = {
        .own = parent->worker ? &parent->worker->signal : &parent->signal,
        .ready = parent_side_ready,
        .side = parent,
        .spin_ns = &parent->spin_ns,
        .mode = parent->options.wait,
        .sole = true,
        .fenced = parent->fenced,
    };
    return waiter;
}

/* Until there is something to collect. 0, -ETIMEDOUT or -ECANCELED. */
static int parent_wait(struct strait_parent *parent, int64_t deadline)
{
    struct strait_p_waiter waiter = parent_waiter(parent);
    return strait_pool_wait(&waiter, deadline);
}

/* Has its fd say when there is something to do. True: there is, and the fd says so. */
static bool parent_arm(struct strait_parent *parent)
{
    struct strait_p_waiter waiter = parent_waiter(parent);
    return strait_p_arm(&waiter) == 0;
}

/* It is armed, or else readable, or about to be. */
void strait_parent_tell_loop(struct strait_parent *parent)
{
    /* the parent sets STRAIT_P_WAITING, its wakers clear it */
    if (parent->signal.fd >= 0 && (strait_load_relaxed(&parent->signal.word) & STRAIT_P_WAITING)) {
        strait_p_wake_sleeper(&parent->signal);
    }
}

void strait_parent_watch(struct strait_parent *parent)
{
    if (parent->signal.fd >= 0) {
        parent_arm(parent);
    }
}

int strait_parent_fd(const struct strait_parent *parent)
{
    return parent->signal.fd >= 0 ? parent->signal.fd : -EINVAL;
}

size_t strait_parent_owed(const struct strait_parent *parent)
{
    return parent->owed;
}

ptrdiff_t strait_parent_poll(struct strait_parent *parent, size_t budget)
{
    strait_parent_check(parent);
    if (parent->dispatching) {
        return -EDEADLK;
    }
    return (ptrdiff_t)strait_parent_collect(parent, budget ? budget : STRAIT_BUDGET);
}

ptrdiff_t strait_parent_dispatch(struct strait_parent *parent, size_t budget)
{
    size_t most = budget ? budget : STRAIT_BUDGET;
    size_t completed = 0;
    strait_parent_check(parent);
    if (parent->dispatching) {
        return -EDEADLK;
    }
    do {
        completed += strait_parent_collect(parent, most - completed);
    } while (completed < most && parent->signal.fd >= 0 && parent_arm(parent));
    return (ptrdiff_t)completed;
}

/* What a wait is for. */
struct subject {
    bool (*over)(struct strait_parent *parent, const struct subject *subject);
    strait_task_id id;
    const struct strait_group *group;
};

static bool task_over(struct strait_parent *parent, const struct subject *subject)
{
    return strait_slot_find(parent, subject->id) == NULL;
}

static bool group_over(struct strait_parent *parent, const struct subject *subject)
{
    (void)parent;
    return subject->group->pending == 0;
}

static bool nothing_owed(struct strait_parent *parent, const struct subject *subject)
{
    (void)subject;
    return parent->owed == 0;
}

/* One step towards what is waited for: completions, a task of the waiting worker's own, or a sleep.
 * 0, -ETIMEDOUT or -ECANCELED. */
static int wait_step(struct strait_parent *parent, int64_t deadline)
{
    bool late = deadline != STRAIT_FOREVER && strait_now() >= deadline;
    if (parent->worker && !late && strait_crew_help(parent->worker, parent)) {
        return 0;
    }
    int64_t due = strait_p_timers_due(&parent->deadlines);
    int error = parent_wait(parent, due < deadline ? due : deadline);
    if (error && error != -ETIMEDOUT) {
        return error;
    }
    return late || (error && due >= deadline) ? -ETIMEDOUT : 0;
}

static int wait_until(struct strait_parent *parent, const struct subject *subject, int64_t deadline)
{
    strait_parent_check(parent);
    if (parent->dispatching) {
        return -EDEADLK;
    }
    for (;;) {
        strait_parent_catch_up(parent);
        if (subject->over(parent, subject)) {
            return 0;
        }
        int error = wait_step(parent, deadline);
        if (error) {
            return error;
        }
    }
}

int strait_task_wait(struct strait_parent *parent, strait_task_id id, int64_t deadline)
{
    struct subject subject = {.over = task_over, .id = id};
    return wait_until(parent, &subject, deadline);
}

int strait_group_wait(struct strait_parent *parent, const struct strait_group *group,
                      int64_t deadline)
{
    struct subject subject = {.over = group_over, .group = group};
    return wait_until(parent, &subject, deadline);
}

/* Until there may be room for one more; completions then. */
static int wait_for_room(struct strait_parent *parent, int64_t deadline)
{
    strait_parent_want_room(parent, parent->pool->options.queue_limit - 1);
    int error = wait_step(parent, deadline);
    if (!error) {
        strait_parent_catch_up(parent);
    }
    return error;
}

/* Once there is room; tries once more when the wait is over. */
static ptrdiff_t submit_later(struct strait_parent *parent, const struct strait_task *task,
                              const struct strait_submit_options *how, strait_task_id *id,
                              int64_t deadline)
{
    ptrdiff_t result;
    int error;
    do {
        error = wait_for_room(parent, deadline);
        result = strait_parent_submit(parent, task, 1, how, id);
    } while (result == -EAGAIN && !error);
    strait_parent_room_done(parent);
    return result == -EAGAIN ? error : result;
}

int strait_task_submit_wait(struct strait_parent *parent, const struct strait_task *task,
                            const struct strait_submit_options *how, strait_task_id *id,
                            int64_t deadline)
{
    ptrdiff_t result = strait_parent_submit(parent, task, 1, how, id);
    if (STRAIT_UNLIKELY(result == -EAGAIN)) {
        result = parent->dispatching ? -EDEADLK : submit_later(parent, task, how, id, deadline);
    }
    return result < 0 ? (int)result : 0;
}

/* ---- detach ---- */

ptrdiff_t strait_parent_detach(struct strait_parent *parent, int64_t deadline)
{
    struct subject subject = {.over = nothing_owed};
    if (!parent) {
        return 0;
    }
    strait_parent_check(parent);
    if (parent->dispatching || parent->worker) {
        return -EDEADLK;
    }
    strait_parent_abandon(parent);
    struct strait_p_berth *own = strait_p_berth_enter(NULL); /* the deadline alone ends this wait */
    wait_until(parent, &subject, deadline);
    strait_p_berth_enter(own);
    return strait_parent_leave(parent);
}
