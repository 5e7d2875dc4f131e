/* SPDX-License-Identifier: MIT */
/*
 * life: what the tests of workers and pools that have no folder yet share, on top of the harness.
 *
 *   log         the events of a worker, as its parent saw them
 *   life_test   an entry of cmocka's own table
 */
#ifndef STRAIT_TESTS_LIFE_H
#define STRAIT_TESTS_LIFE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "harness.h"

#include "strait/pool.h"
#include "strait/worker.h"

/* A task that waits at the gate that is its context. */
static inline int waits_at_gate(struct strait_task *task)
{
    gate_wait(task->context);
    return 0;
}

/* One number out of /proc/self/task/<tid>/status, or -1. */
static inline long status_number(const char *tid, const char *key)
{
    char path[300];
    char line[256];
    long number = -1;
    snprintf(path, sizeof(path), "/proc/self/task/%s/status", tid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            number = strtol(line + strlen(key), NULL, 10);
        }
    }
    if (file) {
        fclose(file);
    }
    return number;
}

/* ---- workers ---- */

#define LOG_MOST 64

/* The events in short: 'o'nline, 'm'essage (repeats not noted), 'w'arning, 'e'rror, e'x'it. */
struct event_log {
    char events[LOG_MOST];
    size_t count;
    size_t messages;
    uint64_t sum;
    uint64_t next; /* the number that the next message should bear */
    int32_t thread;
    struct strait_event warning;
    struct strait_event error;
    struct strait_event exit;
};

static inline void log_note(struct event_log *log, char event)
{
    bool repeated = event == 'm' && log->count && log->events[log->count - 1] == 'm';
    if (!repeated && log->count < LOG_MOST - 1) {
        log->events[log->count++] = event;
    }
}

/* A strait_event_fn for workers that send consecutive uint64_t. */
static inline void log_event(struct strait_worker *worker, const struct strait_event *event,
                             void *context)
{
    struct event_log *log = context;
    uint64_t number;
    (void)worker;
    log->thread = thread_number();
    log_note(log, "omwex"[event->type]);
    progress_made();
    if (event->type == STRAIT_MESSAGE) {
        memcpy(&number, event->message, sizeof(number));
        EXPECT(number == log->next);
        log->next = number + 1;
        log->sum += number;
        log->messages++;
    } else if (event->type == STRAIT_WARNING) {
        log->warning = *event;
    } else if (event->type == STRAIT_ERROR) {
        log->error = *event;
    } else if (event->type == STRAIT_EXIT) {
        log->exit = *event;
    }
}

/* Dispatches, as an event loop would, until the exit event. */
static inline void dispatch_to_exit(struct strait_worker *worker)
{
    for (;;) {
        ptrdiff_t told;
        struct pollfd poll_fd = {.fd = strait_worker_fd(worker), .events = POLLIN};
        poll(&poll_fd, 1, -1);
        do {
            told = strait_worker_dispatch(worker, 0);
        } while (told > 0);
        if (told == -EPIPE) {
            return;
        }
        assert_int_equal(told, 0);
    }
}

static inline struct strait_worker *spawn(const struct strait_worker_options *options)
{
    struct strait_worker *worker = NULL;
    assert_returns(strait_worker_spawn(&worker, options), 0);
    assert_non_null(worker);
    return worker;
}

static inline void join_and_destroy(struct strait_worker *worker)
{
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    assert_returns(strait_worker_destroy(worker), 0);
    progress_made();
}

static inline int life_begin(void **state)
{
    watchdog_names(*state);
    return 0;
}

static inline int case_end(void **state)
{
    (void)state;
    progress_made();
    return 0;
}

/* The watchdog says in which test nothing moves. */
#define life_test(body)                                                                            \
    {                                                                                              \
#body, body, life_begin, case_end, (void *)(uintptr_t) #body                               \
    }

#endif /* STRAIT_TESTS_LIFE_H */
