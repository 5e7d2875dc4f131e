/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the submitting side share: one remote, what has become of its tasks, and a job
 * server that the test plays on the same thread: whoever waits for a word of the remote's
 * dispatches it meanwhile.
 *
 *   begin(&peer, (struct strait_gearman_options){.payload_max = 64});    it has connected
 *   submit(7);
 *   hear(&peer, SUBMIT_JOB, &packet);
 *   say_created(&peer, "H:7");
 *   say_done(&peer, "H:7", STRAIT_TASK_DONE, 0, 49, "");
 *   assert_ended(7, STRAIT_TASK_DONE, 0);
 *   end(&peer);
 */
#ifndef STRAIT_TESTS_GEARMAN_REMOTE_FIXTURE_H
#define STRAIT_TESTS_GEARMAN_REMOTE_FIXTURE_H

#include "gearman/fixture.h"

#include "strait_gearman.h"

#define TASKS 20000u
#define KEY 40 /* digits of a task's key */

/* What has become of task n. */
struct ending {
    unsigned times; /* 1, or it is not as it should be */
    enum strait_task_status status;
    int code;
    unsigned runs;
    uint64_t number; /* in `data` */
    char payload[64];
    size_t payload_size;
};

extern struct strait_gearman *remote;
extern struct ending endings[TASKS];
extern strait_task_id ids[TASKS];

/* ---- the remote ---- */

/* Nothing has ended; `servers` is the peer's name. */
void create(const struct peer *peer, struct strait_gearman_options options);
void meet(struct peer *peer); /* it connects, and has been answered */
void begin(struct peer *peer, struct strait_gearman_options options); /* the two, and peer_open */
void end(struct peer *peer); /* each task that was submitted has completed once */

struct strait_gearman_stats stats(void);
void pump(void); /* dispatches once */

/* ---- tasks ---- */

/* The task of number n, which `data` has, of the function "f". */
struct strait_process_task task_of(unsigned n);
int try_submit(unsigned n, const struct strait_gearman_submit_options *how);
void submit(unsigned n);
void submit_many(unsigned from, unsigned to);

/* Dispatches until it has ended. */
void await_end(unsigned n);
void assert_ended(unsigned n, enum strait_task_status status, int code);
void assert_owed(unsigned n); /* it is not ended, nor will it be by what has been said */

/* ---- what the two say ---- */

void hear(struct peer *peer, unsigned type, struct packet *packet);
void hear_task(struct peer *peer, unsigned n); /* a submit of normal priority */
void hear_line(struct peer *peer, const char *line);
bool hears_nothing(struct peer *peer, int milliseconds); /* but echoes */
void hear_end(struct peer *peer);                        /* the remote hangs up */

/* Answers an echo if it is the next that there is to read. */
bool answer_echo(struct peer *peer);

void say_created(struct peer *peer, const char *handle);
void say_refused(struct peer *peer, const char *code);
void say_done(struct peer *peer, const char *handle, unsigned status, int code, uint64_t number,
              const char *payload);

#endif /* STRAIT_TESTS_GEARMAN_REMOTE_FIXTURE_H */
