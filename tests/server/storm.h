/* SPDX-License-Identifier: MIT */
/* storm: what the clients of the storm and the check of their answers share. */
#ifndef STRAIT_TESTS_STORM_H
#define STRAIT_TESTS_STORM_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENTS 64
#define REQUESTS_MOST 200 /* of one client at once */
#define OUT_MOST (1 << 18)
#define IN_MOST (1 << 16)
#define TURN_MS 2
#define STILL_MS 60000

enum kind {
    LIGHT,
    HEAVY,
    LATE,     /* heavy, with a deadline */
    PIPELINE, /* several of them in one piece */
    SLOW,     /* a few bytes at a time */
    QUITTER,  /* heavy, and hangs up before the answer, or in the middle of it */
    HALF,     /* of a request */
    GARBAGE,
    HUGE_HEADERS,
    DEAF,       /* asks for more than fits into its socket, and never reads */
    HALF_CLOSE, /* asks, and closes its side */
    PASSER_BY,  /* connects, no more */
    KINDS,
    STATS = KINDS, /* the first client, always */
};

struct request {
    enum kind kind; /* LIGHT, HEAVY, LATE or STATS */
    uint32_t ms;
};

struct client {
    int fd; /* -1: none */
    enum kind kind;
    bool busy;
    bool strict;      /* must get all its answers */
    size_t bite;      /* bytes to write in a turn; 0: as many as fit */
    int64_t wakes;    /* to do the next thing */
    int64_t vanishes; /* 0: does not */
    struct request requests[REQUESTS_MOST];
    size_t asked;
    size_t answered;
    size_t length;
    size_t written;
    size_t received;
    char out[OUT_MOST];
    char in[IN_MOST + 1];
};

/* What never goes down, then the rest. */
enum counter {
    SUBMITTED,
    DONE,
    FAILED,
    CANCELLED,
    EXPIRED,
    ABANDONED,
    REFUSED,
    QUEUED_MAX,
    MONOTONIC,
    QUEUED = MONOTONIC,
    RUNNING,
    QUEUE_LIMIT,
    COUNTERS,
};

/* What has been seen so far; storm.c holds it. */
struct seen {
    uint64_t scripts[KINDS + 1];
    uint64_t light, heavy, full, late, other, stats;
};
extern struct seen seen;
extern uint64_t counters[COUNTERS]; /* of the last /stats */
extern int64_t moved;               /* when a client was last answered */
extern bool ending; /* SIGTERM is on its way: no new requests, and any end will do */
extern const char *const kind_names[];
extern const char *const counter_names[COUNTERS];

int64_t now_ms(void);
__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...);

/* Checks the first answer that the client has, if it has a whole one, and takes it. */
bool take_answer(struct client *client);

#endif /* STRAIT_TESTS_STORM_H */
