/* SPDX-License-Identifier: MIT */
/* Futexes, eventfds and the clock: see README.md. */
#include "engine.h"

static struct view futex_view; /* of the kernel's lock */

void kernel_reset(void)
{
    futex_view = (struct view){.at = {0}};
}

static void wake_all(const void *p)
{
    for (int i = 0; i < engine.thread_count; i++) {
        if (engine.threads[i].status == ASLEEP && engine.threads[i].sleeps_on == p) {
            engine.threads[i].status = READY;
            engine.threads[i].last_step = engine.steps; /* it could not have gone on any earlier */
        }
    }
}

/* The kernel compares and sleeps under a lock that the waker takes too; beyond that its load may
 * be as old as any. The caller's view gains nothing by the call. */
int model_futex_wait(uint32_t *word, uint32_t value, bool timed)
{
    int location = locate(word, sizeof(*word));
    step_begin(STEP_WRITE, location);
    struct thread *self = &engine.threads[engine.current];
    struct view own = self->cur;
    join_positions(&self->cur, &futex_view);
    const struct message *read = choose_readable(location);
    bool sleeps = read->value == value;
    self->cur = own;
    learn_position(self, location, read->stamp);
    trace(sleeps ? "futex sleeps" : "futex goes on", MODEL_HERE, location, value);
    if (sleeps) {
        return step_aside(word, timed) ? 0 : -1;
    }
    step_end();
    return 0;
}

void model_futex_wake(struct model_site at, uint32_t *word)
{
    if (engine.current < 0 || model_omitted(at)) {
        return;
    }
    int location = locate(word, sizeof(*word));
    step_begin(STEP_WRITE, location);
    trace("futex wakes", at, location, 0);
    join_positions(&futex_view, &engine.threads[engine.current].cur);
    wake_all(word);
    step_end();
}

void model_fd_write(struct model_site at, uint32_t *fd)
{
    if (engine.current < 0 || model_omitted(at)) {
        return;
    }
    step_begin(STEP_WRITE, locate(fd, sizeof(*fd)));
    trace("eventfd write", at, -1, 0);
    ++*fd;
    wake_all(fd);
    step_end();
}

uint32_t model_fd_read(uint32_t *fd)
{
    if (engine.current < 0) {
        return 0;
    }
    step_begin(STEP_WRITE, locate(fd, sizeof(*fd)));
    trace("eventfd read", MODEL_HERE, -1, 0);
    uint32_t count = *fd;
    *fd = 0;
    step_end();
    return count;
}

void model_fd_poll(uint32_t *fd, bool timed)
{
    step_begin(STEP_WRITE, locate(fd, sizeof(*fd)));
    trace(*fd ? "poll goes on" : "poll sleeps", MODEL_HERE, -1, 0);
    if (*fd) {
        refresh(&engine.threads[engine.current]);
        step_end();
    } else {
        step_aside(fd, timed);
    }
}

int64_t model_now(void)
{
    return engine.current < 0 ? 0 : (engine.threads[engine.current].now += 1000000000);
}

void model_timed_out(int64_t deadline)
{
    if (engine.threads[engine.current].now < deadline) {
        engine.threads[engine.current].now = deadline;
    }
}
