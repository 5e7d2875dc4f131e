/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the working side share: functions, a thread that serves a pool, and what a job
 * server that the test plays says to it.
 *
 *   begin_with(&peer, 1, 1);           one worker, one job in flight: the host has connected
 *   assign(&peer, "H:1", "echo", 0, "");
 *   assert_answered(&peer, "H:1", 1, STRAIT_TASK_DONE, 0);    and it has asked for the next job
 *   serve_end(&peer);
 */
#ifndef STRAIT_TESTS_GEARMAN_SERVE_FIXTURE_H
#define STRAIT_TESTS_GEARMAN_SERVE_FIXTURE_H

#include "gearman/fixture.h"

#include "strait_gearman.h"

#define KEY "000102030405060708090a0b0000000000000001"
#define BY_SIGNALS (-1) /* for stop_fd */

extern struct gate gate;      /* of the function `hold` */
extern _Atomic unsigned told; /* how many of it were told to give up */

/* ---- the host ---- */

struct host {
    struct strait_pool *pool;
    struct strait_gearman_serve_options options;
    pthread_t thread;
    int result;
    _Atomic bool ended;    /* the call has returned */
    void (*prepare)(void); /* NULL, or called on its thread before the call */
};

extern const struct strait_process_function functions[];
extern struct host host;

/* With so many workers. It is given a stop_fd, unless that is BY_SIGNALS. */
void serve_begin(unsigned workers, struct strait_gearman_serve_options options);
void serve_stop(void);
int serve_join(void); /* has it end: what the call returned */

/* Asks it to stop, and the one server, which it has asked for a job, has none. Nothing but echoes
 * comes before the end. */
void serve_end(struct peer *peer);

/* A host connects, and says what it can do; asks for a job; is told that there is none. */
void meet(struct peer *peer);
void greet(struct peer *peer); /* the first two */
void say_no_job(struct peer *peer);

/* All of this. `in_flight` as in the options; payloads of up to 1024 bytes. */
void begin_with(struct peer *peer, unsigned workers, unsigned in_flight);

/* ---- jobs ---- */

/* The packet of one, up to its head. */
struct body job(const char *handle, const char *function);

/* Assigns one that has these data, and no payload. */
void assign(struct peer *peer, const char *handle, const char *function, int64_t remaining,
            const char *data);

/* An answer to `handle` comes. The host may have asked for the next job before or behind it: so
 * many times. Where its payload begins, whose size is put into *size. */
const char *answered(struct peer *peer, const char *handle, unsigned grabs, struct packet *packet,
                     struct head *head, size_t *size);

/* One without a payload. */
void assert_answered(struct peer *peer, const char *handle, unsigned grabs,
                     enum strait_task_status status, int code);

/* It serves as if nothing had been. */
void assert_serves(struct peer *peer);

#endif /* STRAIT_TESTS_GEARMAN_SERVE_FIXTURE_H */
