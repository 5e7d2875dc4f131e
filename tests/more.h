/* SPDX-License-Identifier: MIT */
/*
 * more: in front of a snippet, makes MORE submits of each, and MORE sends of each message that a
 * thread sends which is no worker. See tests/snippets.
 */
#ifndef TESTS_MORE_H
#define TESTS_MORE_H

#include "strait.h"

#define REPEAT(RESULT, CALL)                                                                       \
    for (int repeat = 0; repeat < MORE && (RESULT) >= 0; repeat++) {                               \
        (RESULT) = (CALL);                                                                         \
    }                                                                                              \
    return (RESULT)

static inline int more_submit(struct strait_parent *parent, const struct strait_task *task,
                              const struct strait_submit_options *how, strait_task_id *id)
{
    int error = 0;
    REPEAT(error, strait_task_submit(parent, task, how, id));
}

static inline int more_submit_wait(struct strait_parent *parent, const struct strait_task *task,
                                   const struct strait_submit_options *how, strait_task_id *id,
                                   int64_t deadline)
{
    int error = 0;
    REPEAT(error, strait_task_submit_wait(parent, task, how, id, deadline));
}

static inline bool on_worker(void)
{
    return strait_worker_current() || strait_parent_current();
}

static inline ptrdiff_t more_try_send(struct strait_sender *sender, const void *messages, size_t n)
{
    ptrdiff_t sent = 0;
    if (on_worker()) {
        return strait_try_send(sender, messages, n);
    }
    REPEAT(sent, strait_try_send(sender, messages, n));
}

static inline ptrdiff_t more_send(struct strait_sender *sender, const void *messages, size_t n,
                                  int64_t deadline)
{
    ptrdiff_t sent = 0;
    if (on_worker()) {
        return strait_send(sender, messages, n, deadline);
    }
    REPEAT(sent, strait_send(sender, messages, n, deadline));
}

#define strait_task_submit more_submit
#define strait_task_submit_wait more_submit_wait
#define strait_try_send more_try_send
#define strait_send more_send

#endif /* TESTS_MORE_H */
