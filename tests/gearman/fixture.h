/* SPDX-License-Identifier: MIT */
/*
 * What Gearman's tests share: a job server that the test plays, byte by byte, and one that is a
 * gearmand of its own.
 *
 *   peer_open(&peer);                          `peer.name` is for `servers`
 *   peer_accept(&peer);                        whoever connects next
 *   peer_hear(&peer, CAN_DO, &packet);         what it must say next
 *   peer_say(&peer, NO_JOB, NULL, 0);
 *   peer_close(&peer);
 *
 * Numbers of the protocol are here a second time, and so is the head of a task: a test that took
 * them from the library would not notice a wrong one.
 */
#ifndef STRAIT_TESTS_GEARMAN_FIXTURE_H
#define STRAIT_TESTS_GEARMAN_FIXTURE_H

#include "harness.h"

#include "strait/pool.h"

#define MS 1000000ll /* nanoseconds */
#define SECOND (1000 * MS)

enum packet_type {
    CAN_DO = 1,
    PRE_SLEEP = 4,
    NOOP = 6,
    SUBMIT_JOB = 7,
    JOB_CREATED = 8,
    NO_JOB = 10,
    WORK_COMPLETE = 13,
    WORK_FAIL = 14,
    ECHO_REQ = 16,
    ECHO_RES = 17,
    ERROR = 19,
    SUBMIT_JOB_HIGH = 21,
    GRAB_JOB_UNIQ = 30,
    JOB_ASSIGN_UNIQ = 31,
    SUBMIT_JOB_LOW = 33,
};

#define HEAD 88 /* bytes: magic, status, code, 0, remaining, data */
#define MAGIC 0x73747231u
#define BODY_MAX 8192

/* The fields of a packet, as they travel. */
struct body {
    uint8_t bytes[BODY_MAX];
    size_t size;
};

void add_bytes(struct body *body, const void *bytes, size_t size);
void add_field(struct body *body, const char *text); /* with its zero */
void add_head(struct body *body, uint32_t magic, uint32_t status, int32_t code, int64_t remaining,
              const void *data); /* 64 bytes of it; NULL: zeros */

struct packet {
    unsigned type;
    size_t size;
    char bytes[BODY_MAX + 1]; /* and a zero */
};

/* Field n, from 0, of those that end with a zero or are the last. */
const char *field_of(const struct packet *packet, unsigned n);

/* The head that begins there. */
struct head {
    uint32_t magic;
    uint32_t status;
    int32_t code;
    int64_t remaining;
    unsigned char data[STRAIT_TASK_DATA];
};
struct head read_head_at(const char *bytes);

/* ---- a job server that the test plays ---- */

struct peer {
    int listener;
    int fd; /* the connection; -1: none */
    int port;
    bool deaf; /* answers no echo */
    char name[32];
};

extern struct peer peer; /* of a test that plays one */

void peer_open(struct peer *peer);   /* these two: */
void peer_bind(struct peer *peer);   /* has a port, which is nobody else's, but does not listen */
void peer_listen(struct peer *peer); /* does now */
void peer_accept(struct peer *peer);
bool peer_is_called(const struct peer *peer, int milliseconds); /* does anybody connect? */
void peer_hang_up(struct peer *peer);
void peer_close(struct peer *peer);

void peer_send(struct peer *peer, const void *bytes, size_t size); /* as it is */
void peer_say(struct peer *peer, unsigned type, const void *bytes, size_t size);
void peer_say_body(struct peer *peer, unsigned type, const struct body *body);

/* The next packet that is no echo, which it answers. False: the connection is closed. */
bool peer_next(struct peer *peer, struct packet *packet);
void peer_hear(struct peer *peer, unsigned type, struct packet *packet);

/* The same within a time: false if nothing comes; the end has type 0. */
bool peer_hears(struct peer *peer, struct packet *packet, int milliseconds);
bool peer_is_quiet(struct peer *peer, int milliseconds);

/* ---- gearmand ---- */

struct queue {
    pid_t pid; /* 0: it does not run */
    int port;
    char name[32];
};

/* Exit code of a program for which there is none. */
#define NO_GEARMAND 77
bool have_gearmand(void);

void queue_choose(struct queue *queue); /* a port of its own */
void queue_start(struct queue *queue);  /* returns when it accepts */
void queue_kill(struct queue *queue, int signal);
void queue_await(struct queue *queue);

int dial(int port); /* the connection; -1: nobody listens there */

#endif /* STRAIT_TESTS_GEARMAN_FIXTURE_H */
