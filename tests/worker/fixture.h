/* SPDX-License-Identifier: MIT */
/* What the tests of workers share: the events of a worker as its parent saw them, a worker's life
 * in a few calls, and entries that several tests run. */
#ifndef STRAIT_TESTS_WORKER_FIXTURE_H
#define STRAIT_TESTS_WORKER_FIXTURE_H

#include "harness.h"

#include "strait/worker.h"

/* ---- events ---- */

/* In short: 'o'nline, 'm'essage (repeats not noted), 'w'arning, 'e'rror, e'x'it. */
struct event_log {
    char events[64];
    struct strait_worker *worker;
    size_t messages;
    uint64_t next;            /* the number that the next message should bear */
    _Atomic unsigned dropped; /* by log_drop */
    struct strait_event warning;
    struct strait_event error;
    struct strait_event exit;
    int32_t thread; /* where the last one was told */
};

/* A strait_event_fn for workers that send consecutive uint64_t. */
void log_event(struct strait_worker *worker, const struct strait_event *event, void *context);

/* A strait_drop_fn. */
void log_drop(void *message, void *log);

/* A worker with that log, which begins here, as its context. */
struct strait_worker_options logged(struct event_log *log, strait_entry_fn *entry);

/* ---- a worker's life, on its parent's thread ---- */

struct strait_worker *spawn(const struct strait_worker_options *options);
struct strait_worker *spawn_entry(strait_entry_fn *entry, void *data);
struct strait_worker *spawn_logged(struct event_log *log, strait_entry_fn *entry, void *data);
void join_and_destroy(struct strait_worker *worker);

/* On any thread, as an event loop does, until so many messages have come, or to the exit. */
void dispatch_until(struct strait_worker *worker, const struct event_log *log, size_t messages);
void dispatch_to_exit(struct strait_worker *worker);

/* From the end of its input on, with all its events. */
void end_and_destroy(struct strait_worker *worker);

void send_number(struct strait_worker *worker, uint64_t number);

struct strait_status status_of(const struct strait_worker *worker);

/* ---- entries ---- */

int nothing_entry(struct strait_port *port, void *data);
int gate_entry(struct strait_port *port, void *gate);  /* waits there */
int three_entry(struct strait_port *port, void *data); /* sends 0, 1 and 2 */
int echo_entry(struct strait_port *port, void *data);  /* until the end of input */

/* The CPUs that this thread may use. */
cpu_set_t own_cpus(void);

/* ---- ports ---- */

/* Both ends of a link of numbers, and what its drop callbacks were given. */
struct pair {
    struct strait_port a;
    struct strait_port b;
    _Atomic unsigned forth;
    _Atomic unsigned back;
    _Atomic uint64_t sum;
};

void pair_open(struct pair *pair, size_t capacity, enum strait_wait mode);

/* Asserts how many messages each direction has dropped then. */
void pair_close(struct pair *pair, bool a_first, unsigned forth, unsigned back);

/* `count` numbers at once, from `first`. */
void send_numbers(struct strait_port *port, uint64_t first, unsigned count);
void expect_numbers(struct strait_port *port, uint64_t first, unsigned count);

#endif /* STRAIT_TESTS_WORKER_FIXTURE_H */
