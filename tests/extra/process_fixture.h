/* SPDX-License-Identifier: MIT */
/*
 * What the tests of workers that are processes share: what such a worker runs, what its parent is
 * told, and a pool of them that notes what became of each task.
 */
#ifndef STRAIT_TESTS_EXTRA_PROCESS_FIXTURE_H
#define STRAIT_TESTS_EXTRA_PROCESS_FIXTURE_H

#include "extra/fixture.h"

#include "strait/extra/process.h"

/* ---- in a worker ---- */

/* Until the end of input. */
int echo_numbers(struct strait_process_port *port, void *data, size_t size);

/* The answer is one more than the number in `data`; the payload comes back reversed. */
int increment(struct strait_task *task);

/* Dumps no core, and raises. */
int raise_for_good(int signal);

/* What a process shares with its parent, or parent with workers. */
struct shared {
    uint64_t *at;
    size_t words;
};

#define SHARED_MOST 4

size_t find_shared(struct shared found[SHARED_MOST]);

/* ---- one worker's parent ---- */

/* Since the last spawn. */
struct told {
    unsigned online;
    uint64_t heard; /* messages, */
    uint64_t sum;   /* of these numbers */
    bool in_order;  /* 0, 1, 2, ... */
    struct strait_process_event exit;
};

extern struct told told;

struct strait_process *spawn_process(struct strait_process_options *options, const char *function);

/* As an event loop does, until the exit event. */
void loop_to_exit(struct strait_process *process);

/* And nothing is left of it. */
void destroy_process(struct strait_process *process);

/* ---- a pool's parent ---- */

struct outcome {
    unsigned completions;
    enum strait_task_status status;
    int code;
    int signal;
    unsigned runs;
    uint64_t number;
    size_t payload_size;
    char payload[64];
};

extern struct strait_process_pool *pool;

struct strait_process_task *with_payload(struct strait_task *task);

/* A task that notes its outcome, which is empty. */
struct strait_process_task process_task(struct outcome *outcome, const char *name, uint64_t number);
int submit(struct outcome *outcome, const char *name, uint64_t number,
           const struct strait_process_submit_options *how, strait_task_id *id);

/* As an event loop does: once, or until none is owed. */
void pool_turn(void);
void await_outcomes(void);

#endif /* STRAIT_TESTS_EXTRA_PROCESS_FIXTURE_H */
