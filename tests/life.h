/* SPDX-License-Identifier: MIT */
/*
 * life: what the tests of ports, isolates, workers and pools share, on top of support.h.
 *
 *   EXPECT    for every thread but the main one: counts what went wrong and says where
 *   gate      holds workers in the middle of a task, and counts who has come so far
 *   census    threads and descriptors of the process, before and after
 *   log       the events of a worker, as its parent saw them
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

#include "support.h"

#include "strait/pool.h"

/* ---- assertions for other threads ---- */

static _Atomic unsigned faults;

static inline void fault(const char *file, int line, const char *what)
{
    if (atomic_fetch_add(&faults, 1) < 10) {
        fprintf(stderr, "%s:%d: %s\n", file, line, what);
    }
}

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fault(__FILE__, __LINE__, #condition);                                                 \
        }                                                                                          \
    } while (0)

/* On the main thread, when the others are done. */
static inline void assert_no_faults(void)
{
    assert_int_equal(atomic_exchange(&faults, 0), 0);
}

/* ---- gates: wait by sleeping, so that workers of the lowest class get the CPU ---- */

struct gate {
    _Atomic unsigned arrived;
    _Atomic unsigned open;
};

#define GATE_NAP_NS 20000

static inline void gate_wait(struct gate *gate)
{
    atomic_fetch_add(&gate->arrived, 1);
    while (!atomic_load(&gate->open)) {
        sleep_ns(GATE_NAP_NS);
    }
}

static inline void gate_await(const struct gate *gate, unsigned arrivals)
{
    while (atomic_load(&gate->arrived) < arrivals) {
        sleep_ns(GATE_NAP_NS);
    }
    progress_made();
}

static inline void gate_open(struct gate *gate)
{
    atomic_store(&gate->open, 1);
}

/* A task that waits at the gate that is its context. */
static inline int waits_at_gate(struct strait_task *task)
{
    gate_wait(task->context);
    return 0;
}

/* ---- the process, seen from outside ---- */

static inline unsigned entries_of(const char *path)
{
    unsigned count = 0;
    DIR *directory = opendir(path);
    while (directory && readdir(directory)) {
        count++;
    }
    if (directory) {
        closedir(directory);
    }
    return count;
}

/* PF_EXITING of the kernel: set before the thread's join can return, so that a thread that was
   joined never counts, although /proc lists it for a moment longer. */
#define EXITING 0x4u

static inline bool lives(const char *tid)
{
    char path[300];
    char line[512] = "";
    unsigned flags = EXITING;
    snprintf(path, sizeof(path), "/proc/self/task/%s/stat", tid);
    FILE *file = fopen(path, "r");
    if (file) {
        const char *name_end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
        if (name_end) {
            sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %u", &flags);
        }
        fclose(file);
    }
    return !(flags & EXITING);
}

static inline unsigned threads_alive(void)
{
    unsigned count = 0;
    const struct dirent *entry;
    DIR *directory = opendir("/proc/self/task");
    while (directory && (entry = readdir(directory))) {
        count += entry->d_name[0] != '.' && lives(entry->d_name);
    }
    if (directory) {
        closedir(directory);
    }
    return count;
}

struct census {
    unsigned threads;
    unsigned fds;
};

static inline struct census census_take(void)
{
    struct census census = {threads_alive(), entries_of("/proc/self/fd")};
    return census;
}

static inline void assert_census(struct census before)
{
    assert_int_equal(threads_alive(), before.threads);
    assert_int_equal(entries_of("/proc/self/fd"), before.fds);
}

static inline bool readable(int fd, int milliseconds)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, milliseconds) == 1 && (poll_fd.revents & POLLIN);
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

static inline int32_t thread_number(void)
{
    return (int32_t)syscall(SYS_gettid);
}

/* ---- workers ---- */

#define LOG_MOST 64

/* The events in short: 'o'nline, 'm'essage (repeats not noted), 'e'rror, e'x'it, the heap's
 * 'l'imit. */
struct event_log {
    char events[LOG_MOST];
    size_t count;
    size_t messages;
    uint64_t sum;
    uint64_t next; /* the number that the next message should bear */
    int32_t thread;
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
    log_note(log, "omexl"[event->type]);
    progress_made();
    if (event->type == STRAIT_MESSAGE) {
        memcpy(&number, event->message, sizeof(number));
        EXPECT(number == log->next);
        log->next = number + 1;
        log->sum += number;
        log->messages++;
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

/* Runs an entry in a worker of its own, and asserts what it expected. */
static inline void in_worker(strait_entry_fn *entry, void *data, size_t heap_limit)
{
    struct strait_worker_options options = {
        .entry = entry,
        .data = data,
        .heap_limit = heap_limit,
    };
    join_and_destroy(spawn(&options));
    assert_no_faults();
}

static inline int life_begin(void **state)
{
    atomic_store(&running, (const char *)*state);
    return 0;
}

/* The watchdog says in which test nothing moves. */
#define life_test(body)                                                                            \
    {                                                                                              \
#body, body, life_begin, case_end, (void *)(uintptr_t) #body                               \
    }

#endif /* STRAIT_TESTS_LIFE_H */
