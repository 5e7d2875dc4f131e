/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the extras share: isolates on the test's own thread, and tenants, workers that
 * run an isolate and whose parent notes what it sees.
 */
#ifndef STRAIT_TESTS_EXTRA_FIXTURE_H
#define STRAIT_TESTS_EXTRA_FIXTURE_H

#include "worker/fixture.h"

#include "strait.h"
#include "strait/extra/isolate.h"

#define FAR 3600000000000 /* an hour */

/* ---- what happened, in words: "m1 u1 m2" ---- */

extern char diary[1024];

void note(const char *what, uint64_t number);

/* ---- callbacks: their arguments need not be used ---- */

#define ENTRY(name) static int name(struct strait_isolate *isolate)
#define HANDLER(name)                                                                              \
    static int name(struct strait_isolate *isolate, const void *message, void *context)
#define MICROTASK(name) static void name(struct strait_isolate *isolate, void *argument)
#define TIMER(name) static void name(struct strait_isolate *isolate, struct strait_timer *timer)

/* ---- messages are numbers ---- */

uint64_t number_of(const void *message);

/* Any thread. */
void post(struct strait_port *port, uint64_t number);

/* ---- tasks ---- */

/* Waits at the gate that is its context. */
int hold(struct strait_task *task);

/* ---- an isolate on the calling thread ---- */

/* Runs it with the numbers 1 to `messages` in its port and nothing more to come: what its main has
 * returned. The main thread. */
int run_here(const struct strait_isolate_options *options, uint64_t messages);

/* A test whose body is the entry of an isolate with these options. It returns 0. */
#define ISOLATE_TEST(name, ...)                                                                    \
    static int name##_entry(struct strait_isolate *isolate);                                       \
    TEST(name)                                                                                     \
    {                                                                                              \
        const struct strait_isolate_options options = {.entry = name##_entry, __VA_ARGS__};        \
        assert_int_equal(run_here(&options, 0), 0);                                                \
    }                                                                                              \
    static int name##_entry(struct strait_isolate *isolate)

/* What an isolate with these options notes when it is run so. */
struct diary_case {
    struct strait_isolate_options options;
    uint64_t messages;
    const char *text;
};

/* Runs it: it returns 0. */
void expect_diary(const struct diary_case *expected);

/* Notes "u" and the number. */
void note_microtask(struct strait_isolate *isolate, void *number);

/* Handlers: notes "m" and queues its note_microtask; posts back what it gets; does nothing. */
int note_message(struct strait_isolate *isolate, const void *message, void *context);
int echo(struct strait_isolate *isolate, const void *message, void *context);
int ignore(struct strait_isolate *isolate, const void *message, void *context);

/* ---- tenants ---- */

struct tenant {
    struct strait_isolate_options inner;
    struct strait_worker_options outer; /* what is not set: the entry, and the log of the events */
    struct strait_isolate *isolate;
    struct strait_worker *worker;
    struct strait_port *port; /* the parent's end */
    struct event_log log;
};

void tenant_spawn(struct tenant *tenant);
void tenant_post(struct tenant *tenant, uint64_t from, uint64_t to);
void tenant_close(struct tenant *tenant); /* it has nothing more to say */
void tenant_free(struct tenant *tenant);  /* joins it, and frees all */

/* Closes it, sees it exit, and frees it. */
void tenant_end(struct tenant *tenant);

/* Asks it to stop, and then the last two. */
void tenant_stop(struct tenant *tenant);

struct strait_usage usage_of(const struct tenant *tenant);

#endif /* STRAIT_TESTS_EXTRA_FIXTURE_H */
