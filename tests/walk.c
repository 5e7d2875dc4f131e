/* SPDX-License-Identifier: MIT */
/*
 * walk NAME: goes one of the ways that tests/walk counts, and prints for each thread which
 * functions it entered, by address, in between what it marks ("!begin"). Cleans up nothing.
 *
 * The compiler calls __cyg_profile_func_enter wherever a function begins; the linker puts itself
 * between the library and its system calls. Nothing is recorded before the action that is counted,
 * and it starts only once whoever is to be woken sleeps.
 */
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "strait.h"
#include "strait/extra/isolate.h"

enum { EVENTS = 10000, THREADS = 8, NS_A_MS = 1000000 };

/* What one thread did. */
struct trace {
    const void *entered[EVENTS];
    const char *marks[EVENTS]; /* instead of a function */
    size_t count;
};

static struct trace traces[THREADS];
static atomic_uint threads; /* that have a trace */
static atomic_bool recording;
static atomic_int sleepers; /* threads in a futex */

static void record(const void *entered, const char *mark)
{
    static _Thread_local struct trace *own;
    if (!atomic_load(&recording)) {
        return;
    }
    if (!own) {
        own = &traces[atomic_fetch_add(&threads, 1) % THREADS];
    }
    if (own->count < EVENTS) { /* what comes later is the search for more work, before a sleep */
        own->entered[own->count] = entered;
        own->marks[own->count++] = mark;
    }
}

long __real_syscall(long number, ...);

void __cyg_profile_func_enter(void *function, void *site)
{
    (void)site;
    record(function, NULL);
}

void __cyg_profile_func_exit(void *function, void *site)
{
    (void)function;
    (void)site;
}

long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(list, long);
    }
    va_end(list);
    long operation = number == SYS_futex ? a[1] & FUTEX_CMD_MASK : -1;
    bool sleeps = operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET;
    if (operation == FUTEX_WAKE) {
        record(NULL, "wake");
    } else if (number == SYS_write) {
        record(NULL, "bell");
    }
    atomic_fetch_add(&sleepers, sleeps);
    long result = __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    atomic_fetch_sub(&sleepers, sleeps);
    if (sleeps) {
        record(NULL, "woken");
    }
    return result;
}
/* Fails loudly: a walk that stops half-way counts nothing. */
static void must(bool held, const char *what)
{
    if (!held) {
        fprintf(stderr, "walk: %s\n", what);
        exit(1);
    }
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5 * NS_A_MS}, NULL);
}

/* Once others have slept for a while, and nobody has joined them or left. */
static void begin(void)
{
    for (int quiet = 0, before = 0; quiet < 10;) {
        nap();
        int now = atomic_load(&sleepers);
        quiet = now > 0 && now == before ? quiet + 1 : 0;
        before = now;
    }
    atomic_store(&recording, true);
    record(NULL, "begin");
}

/* When all the threads have ended, or sleep. */
static void end(void)
{
    atomic_store(&recording, false);
    nap();
    for (unsigned i = 0; i < atomic_load(&threads); i++) {
        const struct trace *trace = &traces[i];
        printf("thread %u\n", i);
        for (size_t k = 0; k < trace->count; k++) {
            if (trace->marks[k]) {
                printf("!%s\n", trace->marks[k]);
            } else {
                printf("%p\n", trace->entered[k]);
            }
        }
    }
    exit(0);
}

/* ---- a message ---- */

static void *receive(void *channel)
{
    struct strait_receiver receiver;
    uint64_t message;
    must(strait_receiver_open(&receiver, channel) == 0, "open");
    while (strait_receive(&receiver, &message, 1, STRAIT_FOREVER) == 1) {
    }
    return NULL;
}

static void walk_send(void)
{
    struct strait_channel_options options = {
        .variant = "spsc", .capacity = 64, .message_size = sizeof(uint64_t)};
    struct strait_channel *channel;
    struct strait_sender sender;
    pthread_t thread;
    uint64_t message = 1;
    must(strait_channel_create(&channel, &options) == 0, "create");
    must(strait_sender_open(&sender, channel) == 0, "open");
    must(pthread_create(&thread, NULL, receive, channel) == 0, "thread");
    begin();
    must(strait_send(&sender, &message, 1, STRAIT_FOREVER) == 1, "send");
    end();
}

/* ---- a worker ---- */

static atomic_int handled; /* messages */

static int handle(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)isolate;
    (void)message;
    (void)context;
    record(NULL, "handler");
    atomic_fetch_add(&handled, 1);
    return 0;
}

/* Sends one message to a worker that sleeps, and waits until it is handled. */
static void ask(struct strait_port *port)
{
    uint64_t message = 1;
    int before = atomic_load(&handled);
    must(strait_send(&port->sender, &message, 1, STRAIT_FOREVER) == 1, "send");
    while (atomic_load(&handled) == before) {
        nap();
    }
}

static struct strait_worker *spawn(strait_entry_fn *entry, void *data)
{
    struct strait_worker_options options = {
        .entry = entry,
        .data = data,
        .to_worker = {.capacity = 64, .message_size = sizeof(uint64_t)},
        .to_parent = {.capacity = 64, .message_size = sizeof(uint64_t)}};
    struct strait_worker *worker;
    must(strait_worker_spawn(&worker, &options) == 0, "spawn");
    return worker;
}

/* The fifth time: by then the receiver has learnt that no more comes if it waits a little. */
static void walk_handler(void)
{
    struct strait_isolate_options options = {.message = handle};
    struct strait_isolate *isolate;
    must(strait_isolate_create(&isolate, &options) == 0, "create");
    struct strait_worker *worker = spawn(strait_isolate_main, isolate);
    for (int i = 0; i < 4; i++) {
        ask(strait_worker_port(worker));
    }
    begin();
    ask(strait_worker_port(worker));
    end();
}

static int receive_all(struct strait_port *port, void *data)
{
    uint64_t message;
    (void)data;
    while (strait_receive(&port->receiver, &message, 1, STRAIT_FOREVER) == 1) {
    }
    return 0;
}

static void walk_close(void)
{
    struct strait_worker *worker = spawn(receive_all, NULL);
    struct strait_port *port = strait_worker_port(worker);
    begin();
    strait_sender_close(&port->sender);
    strait_receiver_close(&port->receiver);
    record(NULL, "closed");
    must(strait_worker_join(worker, STRAIT_FOREVER) == 0, "join");
    end();
}

/* ---- a task ---- */

static int run(struct strait_task *task)
{
    (void)task;
    return 0;
}

static void done(struct strait_task *task)
{
    (void)task;
    record(NULL, "done");
}

static void walk_task(void)
{
    struct strait_pool_options options = {.workers = 1};
    struct strait_pool *pool;
    struct strait_parent *parent;
    struct strait_task task = {.run = run, .done = done};
    must(strait_pool_create(&pool, &options) == 0, "create");
    must(strait_pool_attach(pool, &parent, NULL) == 0, "attach");
    begin();
    must(strait_task_submit(parent, &task, NULL, NULL) == 0, "submit");
    record(NULL, "submitted");
    struct pollfd ready = {.fd = strait_parent_fd(parent), .events = POLLIN};
    must(poll(&ready, 1, -1) == 1, "poll");
    record(NULL, "readable");
    must(strait_parent_dispatch(parent, 0) == 1, "dispatch");
    end();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*go)(void);
    } walks[] = {
        {"send", walk_send}, {"handler", walk_handler}, {"close", walk_close}, {"task", walk_task}};
    for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
        if (argc > 1 && strcmp(argv[1], walks[i].name) == 0) {
            walks[i].go();
        }
    }
    return 1;
}
