/* SPDX-License-Identifier: MIT */
/*
 * worker: a thread pinned to one CPU, with its isolate and its port to the parent that spawned it.
 *
 * The parent is one thread at a time. It learns of the worker through events, in this order:
 * online; messages, and at most one heap limit among them; at most one error; exit, always the
 * last. Nothing that the worker sent before it ended is lost. Events are delivered by
 * strait_worker_dispatch, on the parent's thread, usually when strait_worker_fd becomes readable in
 * the parent's event loop.
 *
 * A worker is never killed: it is asked to stop, and joined with a deadline.
 *
 * A child made by fork(2) inherits no worker, only handles to its parent's. Every call on such a
 * handle leaves the worker alone and says -EOWNERDEAD at once; strait_worker_stop does nothing, and
 * strait_worker_port is NULL. A port kept from before the fork must not be used in the child. The
 * child may spawn workers of its own.
 */
#ifndef STRAIT_WORKER_H
#define STRAIT_WORKER_H

#include "strait/extra/isolate.h"

#ifdef __cplusplus
extern "C" {
#endif

struct strait_worker;

enum strait_pin {
    STRAIT_PIN_CHOOSE = 0, /* the process's CPUs in turn, but the one where the parent runs: a
                              thread of each core first, and those near the parent */
    STRAIT_PIN_CPU,        /* the CPU named by `cpu` */
    STRAIT_PIN_NONE,       /* any of the process's CPUs, at any time */
    STRAIT_PIN_SET,        /* any of the `cpu_count` CPUs in `cpus` */
};

/* The scheduling class. Lowering it needs no privilege. */
enum strait_schedule {
    STRAIT_SCHEDULE_DEFAULT = 0, /* worker: the parent's; pool: see strait_pool_options */
    STRAIT_SCHEDULE_NORMAL,      /* SCHED_OTHER */
    STRAIT_SCHEDULE_BATCH,       /* SCHED_BATCH: full share, but does not preempt when it wakes */
    STRAIT_SCHEDULE_IDLE,        /* SCHED_IDLE: runs in what others leave, yields at once */
};

enum strait_event_type {
    STRAIT_ONLINE,
    STRAIT_MESSAGE,
    STRAIT_ERROR,
    STRAIT_EXIT,
    STRAIT_HEAP_LIMIT, /* the heap's limit has refused something for the first time; the worker goes
                          on. Told at once: messages sent before may come after it */
};

enum strait_exit_reason {
    STRAIT_EXIT_RETURNED,   /* the entry returned 0 */
    STRAIT_EXIT_FAILED,     /* it returned something else, or called strait_isolate_fail */
    STRAIT_EXIT_HEAP_LIMIT, /* the same, after its heap had reached its limit */
    STRAIT_EXIT_STOPPED, /* it returned -ECANCELED, as every wait does once it was asked to stop */
};

struct strait_event {
    enum strait_event_type type;
    const void *message;            /* STRAIT_MESSAGE: in the channel, valid during the call */
    int code;                       /* STRAIT_ERROR, STRAIT_EXIT */
    enum strait_exit_reason reason; /* STRAIT_ERROR, STRAIT_EXIT */
    const char *text;               /* STRAIT_ERROR: from strait_isolate_fail, or NULL */
};

typedef int strait_entry_fn(struct strait_isolate *isolate);
typedef int strait_init_fn(struct strait_isolate *isolate);
typedef void strait_fini_fn(struct strait_isolate *isolate);
/* Called by strait_worker_dispatch. In a message event, to receive from the worker's port by
 * oneself says -EDEADLK. */
typedef void strait_event_fn(struct strait_worker *worker, const struct strait_event *event,
                             void *context);

struct strait_worker_options {
    size_t size;                /* sizeof this struct, or 0 */
    strait_entry_fn *entry;     /* what the worker runs; its result is the exit code */
    strait_message_fn *message; /* if there is no entry: strait_isolate_run with this handler */
    void *data;                 /* start-up data */
    size_t data_size;           /* bytes of it to copy; 0: hand over the pointer */
    const char *name;           /* up to 15 bytes; NULL: "strait" */
    enum strait_pin pin;
    int cpu;
    enum strait_schedule schedule;
    int nice;          /* added to the parent's, 0 to 19 */
    size_t stack_size; /* bytes; 0: the system's default */
    size_t heap_limit; /* bytes; 0: none */
    struct strait_channel_options to_worker;
    struct strait_channel_options to_parent; /* the parent's receiver is in fd mode by default */
    strait_drop_fn *drop_to_worker;          /* for messages that nobody received */
    strait_drop_fn *drop_to_parent;
    strait_event_fn *event; /* NULL: the parent receives from the port by itself */
    void *context;          /* passed to `message`, `event` and the drops */
    size_t budget;          /* messages between two looks at the timers; 0: STRAIT_BUDGET */
    size_t microtask_limit; /* microtasks in one round; 0: until none is left */

    /* Runs in the worker before it is online, pinned and named, on its own heap and port; 0 or
     * -errno, which is what spawn returns then (a positive value: -ECANCELED). The parent waits for
     * it: it must not wait for the parent, and sends with strait_try_send. */
    strait_init_fn *init;
    /* Runs in every worker that came online, after the entry and its microtasks, before the heap
     * goes. What it sends arrives before the exit, and strait_isolate_fail still counts;
     * microtasks that it queues do not run. */
    strait_fini_fn *fini;
    const int *cpus; /* STRAIT_PIN_SET: read during spawn only */
    size_t cpu_count;
};

/* Spawns a worker and returns when it is online: pinned, named, scheduled, its entry about to run.
 * Every signal is blocked in it. On error nothing is left behind: -EINVAL (options; a CPU that the
 * process may not use, an empty set of them; a name that is too long; a stack that is too small),
 * -ENOMEM, -EAGAIN (no thread to be had), -EMFILE, -ENFILE, -EPERM, or what init returned: its
 * messages have gone to the drop callbacks then, and its thread and heap are gone. Any thread,
 * another worker's too, which becomes the parent; blocks for the start, some 30 us, and init. */
STRAIT_API int strait_worker_spawn(struct strait_worker **worker,
                                   const struct strait_worker_options *options);

/* The parent's end of the link. Its halves may be closed, but not the port, which is the worker's.
 * For another thread to become the parent, the old one gives this port away and the new one adopts
 * it, in place. NULL in a fork's child. Parent only; does not block. */
STRAIT_API struct strait_port *strait_worker_port(struct strait_worker *worker);

/* Readable when strait_worker_dispatch has something to do: watch it level-triggered until the exit
 * event. -EINVAL if to_parent.receiver was set to another mode than STRAIT_WAIT_FD; -EOWNERDEAD.
 * Any thread; does not block. */
STRAIT_API int strait_worker_fd(const struct strait_worker *worker);

/* Delivers up to `budget` events (0: STRAIT_BUDGET) and returns how many, 0 if there are none;
 * after the exit event, -EPIPE. -EDEADLK from inside an event callback; -EINVAL without one;
 * -EOWNERDEAD.
 * Leaves the fd readable if the budget ended it. Parent only; does not block. */
STRAIT_API ptrdiff_t strait_worker_dispatch(struct strait_worker *worker, size_t budget);

/* What a worker has done so far. The time since it came online is idle or active. */
struct strait_usage {
    int64_t online_ns;   /* until now, or its end */
    int64_t idle_ns;     /* of it: waiting, in its loop or in a blocking call of this library */
    uint64_t messages;   /* handled by its loop or strait_isolate_dispatch */
    uint64_t microtasks; /* run; brought up to date after each round */
    uint64_t timers;     /* run */
    size_t heap_used;    /* bytes, as strait_heap_used has it */
    size_t heap_highest; /* the most that it was */
};

/* Fills in what the worker has done so far, without disturbing it, whatever it is at. A wait that
 * goes on counts as idle until now, one that has ended until the worker last read the clock in it:
 * some half a microsecond before the end where it spun, in spin mode a few. So much of each wait
 * counts as active, and idle_ns can be that much less than it was a moment ago; it is never more
 * than online_ns. 0; -EOWNERDEAD. Any thread, until the worker is destroyed; does not block. */
STRAIT_API int strait_worker_usage(const struct strait_worker *worker, struct strait_usage *usage);

/* Asks the worker to stop: its waits for messages and for room return -ECANCELED, whatever port or
 * channel they are for, strait_isolate_stopping says true, and its message loop takes no further
 * message. It still can join workers of its own and close pools, which it stops itself: there, the
 * deadline alone ends a wait. Any thread, until the worker is destroyed; does not block. */
STRAIT_API void strait_worker_stop(struct strait_worker *worker);

/* Waits until the worker's thread has ended. 0; -ETIMEDOUT; -EDEADLK: called by the worker itself;
 * -EOWNERDEAD.
 * Its events can still be dispatched afterwards. Parent only; blocks until the deadline at most.
 * A worker that waits for room in a full channel to its parent ends only once it is stopped. */
STRAIT_API int strait_worker_join(struct strait_worker *worker, int64_t deadline);

/* Joins `count` workers by one deadline. 0 and *stuck = NULL, or the error of the first that could
 * not be joined (those of strait_worker_join) and that one in *stuck; all that have ended by the
 * deadline are joined in either case. `stuck` may be NULL. Parent of all of them only; blocks until
 * the deadline at most. */
STRAIT_API int strait_workers_join(struct strait_worker *const *workers, size_t count,
                                   int64_t deadline, struct strait_worker **stuck);

/* There is no state before it is online: spawn has not returned then. */
enum strait_worker_state {
    STRAIT_WORKER_ONLINE,
    STRAIT_WORKER_ENDED,  /* entry and fini have returned, the exit event can be had */
    STRAIT_WORKER_EXITED, /* join does not wait any more */
};

struct strait_worker_status {
    char name[16];
    int32_t thread; /* the kernel's number of it: /proc/self/task/<thread> while it lives */
    int cpu;        /* where it is pinned; -1: it may run on several */
    enum strait_worker_state state;
    bool stopping; /* it was asked to stop */
};

/* How the worker is, whether it is stuck or not; it does not notice. 0 or -EOWNERDEAD. Any thread,
 * until the worker is destroyed; does not block. */
STRAIT_API int strait_worker_status(const struct strait_worker *worker,
                                    struct strait_worker_status *status);

/* Frees a joined worker; messages left go to the drop callbacks. -EBUSY: not joined. -EOWNERDEAD:
 * the memory stays. NULL is ignored. Parent only, not from an event callback (-EDEADLK); does not
 * block. */
STRAIT_API int strait_worker_destroy(struct strait_worker *worker);

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_WORKER_H */
