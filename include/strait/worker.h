/* SPDX-License-Identifier: MIT */
/*
 * worker: a named, pinned thread, tied by a port to the parent that spawned it.
 *
 * How to use it
 *   1. Write an entry: what the worker runs. It has its end of the port, and the start-up data.
 *   2. Fill in strait_worker_options: the entry, the message sizes both ways, and `event`, by which
 *      the parent is told what becomes of the worker.
 *   3. strait_worker_spawn. The worker is online once it returns 0.
 *   4. Send through strait_worker_port(worker)->sender.
 *   5. Watch strait_worker_fd in an event loop, and call strait_worker_dispatch when it is
 *      readable. It calls `event`: online; messages, at most one warning among them; at most one
 *      error; exit, always the last. Nothing that the worker sent before it ended is lost.
 *   6. strait_worker_stop, if it does not end by itself. A worker is never killed: it is asked.
 *   7. strait_worker_join, with a deadline, then strait_worker_destroy.
 *
 * Who may call what at the same time, of one worker (x: the caller excludes the two; -: needs no
 * care; "parent's": spawn's thread, until it gives strait_worker_port away and another adopts it)
 *
 *                                 parent's | join | destroy | stop status | the worker itself
 *   parent's: port, dispatch      x        | x    | x       | -           | -
 *   join                          x        | x    | x       | -           | -
 *   destroy                       x        | x    | x       | x           | x: join comes first
 *   stop, stopping, status, fd    -        | -    | x       | -           | -
 *
 * A port is one end of a two-way link, whose other end the parent has: a sender and a receiver,
 * which are plain handles. Close one to half-close the port, or both with strait_port_close, which
 * refuses the parent's end of its worker's port:
 *
 *   strait_sender_close(&port->sender)      the peer receives all that was sent, then -EPIPE; the
 *                                           other direction goes on
 *   strait_receiver_close(&port->receiver)  the peer's next send says -EPIPE, also one that waits;
 *                                           what is queued goes to the drop callback, once each,
 *                                           when both ends are closed
 *
 * Threads that are to talk directly get a link of their own, from strait_port_pair. An end is a
 * value, and belongs to one thread at a time. It may be moved, in memory or in a message, while no
 * call uses it. To hand end `b` to whoever has the other end of `port`:
 *
 *   strait_port_give(&b); // its owner gives it away, in a message of sizeof(struct strait_port),
 *   if (strait_try_send(&port->sender, &b, 1) != 1) {
 *       strait_port_adopt(&b); // or keeps it
 *   }
 *   ...
 *   strait_receive(&port->receiver, &b, 1, deadline); // the receiver of the message takes it over,
 *   strait_port_adopt(&b);                            // and talks to its other end
 *
 * With strait_port_drop as the drop callback, an end that nobody received is closed. Do not send an
 * end through its own link: what is queued there is dropped only when both ends are closed.
 *
 * Who may call what at the same time, of one link
 *
 *                                 this end's calls | wake of it | the other end's calls
 *   give, adopt, send, receive    x: one thread    | -          | -
 *   close                         x                | x          | -
 *   wake                          -                | -          | -
 *
 * Signals. In a worker all asynchronous ones are blocked, so that the program's own threads handle
 * them; leave them so. SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS and SIGABRT are not: a
 * crash handler or a sanitizer reports what happens. In a signal handler these may be called, of
 * all in this library: strait_worker_stop, strait_worker_stopping, strait_port_wake,
 * strait_channel_wake, strait_now, strait_deadline, strait_strerror.
 *
 * A program that a worker or a pool's task starts inherits the thread's signal mask (all blocked
 * but those seven), CPUs, class and nice, as from any thread: strait_child_reset
 * (strait/extra/child.h) gives the child those of the process's first thread. The library's
 * descriptors are closed on exec.
 *
 * Exceptions and jumps. No C++ exception may leave a callback of this library's: in C++17 every
 * callback's type is noexcept, so that one which might throw does not compile, and one that does
 * throw ends the program by std::terminate. Nor may a longjmp, an exception of an older C++, or the
 * end of its parent's thread leave one: the call that it is in would never be over, and later ones
 * say -EDEADLK. A STRAIT_CHECKED build ends the program at the first of those that it can tell from
 * a call inside the callback. An entry, an init and a fini may end their thread by pthread_exit or
 * be cancelled: the parent sees that.
 *
 * Sandboxes. Where one refuses what can be done without, a worker runs without it, and its status
 * says so. CPUs, a class or a nice that the options ask for are another matter: spawn returns the
 * error. The guide (include/README.md) lists the system calls that the library makes.
 *
 * fork. A child process has none of its parent's threads. Of an inherited worker it may call what a
 * destructor calls, in any order, and nothing of it blocks: strait_worker_stop does nothing,
 * strait_worker_join and strait_worker_destroy say -EOWNERDEAD at once. Ports and channels that are
 * not shared are copies: to close, give, wake or destroy them is harmless; what is queued is there
 * a second time, and goes to the drop callbacks here, too. Who waits for the other end waits for
 * the deadline. All else of an inherited worker must be left alone, as its fd is the parent's. The
 * child may spawn workers of its own, and make and use ports and channels; shared ones go on.
 */
#ifndef STRAIT_WORKER_H
#define STRAIT_WORKER_H

#include "strait/channel.h"
#include "strait/placement.h"

STRAIT_C_BEGIN

struct strait_worker;
struct strait_link; /* what the two ends share; private */

struct strait_port {
    struct strait_sender sender;
    struct strait_receiver receiver;
    struct strait_link *link;
    bool kept; /* a worker's, in its parent's hands: strait_worker_destroy closes it */
};

/* ---- what a worker runs, and what its parent is told ---- */

/* On the worker: its end of the port, which it may use and close; and the start-up data. The
 * entry's result is the exit code: 0; -ECANCELED, once it was asked to stop; or what failed. */
typedef int strait_entry_fn(struct strait_port *port, void *data) STRAIT_NOEXCEPT;
typedef int strait_init_fn(struct strait_port *port, void *data) STRAIT_NOEXCEPT;
typedef void strait_fini_fn(struct strait_port *port, void *data) STRAIT_NOEXCEPT;

enum strait_event_type {
    STRAIT_ONLINE,
    STRAIT_MESSAGE,
    STRAIT_WARNING, /* strait_worker_warn was called; the worker goes on. Told at once: messages
                       sent before may come after it */
    STRAIT_ERROR,
    STRAIT_EXIT,
};

enum strait_exit_reason {
    STRAIT_EXIT_RETURNED, /* the entry returned 0 */
    STRAIT_EXIT_FAILED,   /* it returned something else, or called strait_worker_fail, or ended its
                             thread (code -EINTR) */
    STRAIT_EXIT_STOPPED,  /* it returned -ECANCELED, as every wait does once it was asked to stop */
};

struct strait_event {
    enum strait_event_type type;
    const void *message;            /* STRAIT_MESSAGE: a copy, valid during the call */
    int code;                       /* STRAIT_WARNING, STRAIT_ERROR, STRAIT_EXIT */
    enum strait_exit_reason reason; /* STRAIT_ERROR, STRAIT_EXIT */
    const char *text; /* STRAIT_WARNING, STRAIT_ERROR: of strait_worker_warn, _fail, or NULL */
    int warning;      /* STRAIT_ERROR, STRAIT_EXIT: the code that the worker warned of, or 0;
                         -ENOMEM: an isolate's heap has reached its limit */
};

/* Called by strait_worker_dispatch. It may use the port: to receive from it takes the next message,
 * to close its receiver ends the messages. */
typedef void strait_event_fn(struct strait_worker *worker, const struct strait_event *event,
                             void *context) STRAIT_NOEXCEPT;

struct strait_worker_options {
    size_t size;            /* sizeof this struct, or 0 */
    strait_entry_fn *entry; /* what the worker runs */
    void *data;             /* start-up data */
    size_t data_size; /* bytes of it to copy into memory of the worker's, aligned for anything,
                         that lives until its destroy; 0: hand over the pointer */
    const char *name; /* up to 15 bytes; NULL: "strait" */
    enum strait_pin pin;
    int cpu;
    const int *cpus; /* STRAIT_PIN_SET: read during spawn only */
    size_t cpu_count;
    enum strait_schedule schedule;
    int nice;          /* added to the parent's, 0 to 19 */
    size_t stack_size; /* bytes; 0: the system's default */
    struct strait_channel_options to_worker;
    struct strait_channel_options to_parent; /* the parent's receiver is in fd mode by default */
    strait_drop_fn *drop_to_worker; /* for messages that nobody received: called by destroy */
    strait_drop_fn *drop_to_parent;
    strait_event_fn *event; /* NULL: the parent receives from the port by itself */
    void *context;          /* passed to `event` and the drops */

    /* Runs on the worker before it is online, pinned and named; 0 or -errno, which is what spawn
     * returns then (a positive value: -ECANCELED; -EINTR if it ends its thread). The parent waits
     * for it: it must not wait for the parent, and sends with strait_try_send. */
    strait_init_fn *init;
    /* Runs once in every worker that came online, whatever way the entry ended. What it sends
     * arrives before the exit, and strait_worker_fail still counts. */
    strait_fini_fn *fini;
};

/* ---- spawn, dispatch, stop, join ---- */

/* Spawns a worker and returns when it is online: pinned, named, scheduled, its entry about to run.
 * On error nothing is left behind: -EINVAL (options; a CPU that the process may not use, an empty
 * set of them; a name that is too long; a stack that is too small), -ENOMEM, -EAGAIN (no thread to
 * be had), -EMFILE, -ENFILE, -EPERM or -ENOSYS or what else a sandbox says (CPUs, class, nice or
 * an fd are refused), or what init returned: its messages have gone to the drop
 * callbacks then, and its thread is gone. Any thread, another worker's too, which becomes the
 * parent; blocks for the start, some 0.1 ms, and init. */
STRAIT_API int strait_worker_spawn(struct strait_worker **worker,
                                   const struct strait_worker_options *options);

/* The parent's end of the link, for the worker's life. Its halves may be closed, and the port.
 * Parent only; does not block. */
STRAIT_API struct strait_port *strait_worker_port(struct strait_worker *worker);

/* Readable when strait_worker_dispatch has something to do: watch it level-triggered until the exit
 * event. -EINVAL if to_parent.receiver was set to another mode than STRAIT_WAIT_FD. Any thread,
 * until the worker is destroyed; does not block. */
STRAIT_API int strait_worker_fd(const struct strait_worker *worker);

/* Delivers up to `budget` events (0: STRAIT_BUDGET) and returns how many, 0 if there are none;
 * after the exit event, -EPIPE. -EDEADLK from inside an event callback; -EINVAL without one.
 * Leaves the fd readable if the budget ended it. Parent only; does not block. */
STRAIT_API ptrdiff_t strait_worker_dispatch(struct strait_worker *worker, size_t budget);

/* Asks the worker to stop: its waits for messages and for room return -ECANCELED, whatever port or
 * channel they are for, and strait_worker_stopping says true. It still can join workers of its own
 * and close pools, which it stops itself: there, the deadline alone ends a wait. Any thread until
 * the worker is destroyed, a signal handler too; does not block. In a fork's child: nothing. */
STRAIT_API void strait_worker_stop(struct strait_worker *worker);

/* Waits until the worker's thread is gone, its thread-exit destructors included. 0; -ETIMEDOUT, and
 * it can be joined again; -EDEADLK: called by the worker itself; -EOWNERDEAD: in a fork's child.
 * Its events can still be dispatched afterwards. One that is gone is joined whatever the deadline:
 * several are joined one after the other, by one deadline. Parent only; blocks until the deadline
 * at most. A worker that waits for room in its port ends only once it is stopped. */
STRAIT_API int strait_worker_join(struct strait_worker *worker, int64_t deadline);

/* Frees a joined worker; messages left go to the drop callbacks. -EBUSY: not joined. -EOWNERDEAD:
 * in a fork's child, and the memory stays. NULL is ignored. Parent only, not from an event callback
 * (-EDEADLK); does not block. */
STRAIT_API int strait_worker_destroy(struct strait_worker *worker);

/* ---- on the worker ---- */

/* The calling thread's worker; NULL on a thread that is none. Does not block. */
STRAIT_API struct strait_worker *strait_worker_current(void);

/* Was it asked to stop? For long computations: costs one load. Any thread that works for the
 * worker, until it is destroyed. NULL: false. */
STRAIT_API bool strait_worker_stopping(const struct strait_worker *worker);

/* Says what went wrong in the calling worker, for the error event that the parent sees before its
 * exit. The first call counts. `text` must outlive the worker (a literal, say) or be NULL. Does
 * nothing on a thread that is no worker. Does not block. */
STRAIT_API void strait_worker_fail(int code, const char *text);

/* Warns the parent, which gets a STRAIT_WARNING event at once; the calling worker goes on. The
 * first call counts. Otherwise as strait_worker_fail. */
STRAIT_API void strait_worker_warn(int code, const char *text);

/* ---- seen from outside ---- */

enum strait_worker_state {
    STRAIT_WORKER_ONLINE, /* from the first: spawn has not returned before */
    STRAIT_WORKER_ENDED, /* entry and fini are over: join waits for thread-exit destructors alone */
};

struct strait_status {
    char name[16];
    int32_t thread; /* the kernel's number of it: /proc/self/task/<thread> while it lives */
    int cpu;        /* where it is pinned; -1: it may run on several */
    bool refused; /* the system has refused it its name, or CPUs that the options do not ask for */
    enum strait_worker_state state;
    bool stopping; /* it was asked to stop */
};

/* How the worker is, also if it is stuck. Any thread, until it is destroyed; does not block. */
STRAIT_API void strait_worker_status(const struct strait_worker *worker,
                                     struct strait_status *status);

/* ---- links between any two threads ---- */

struct strait_port_options {
    size_t size;                         /* sizeof this struct, or 0 */
    struct strait_channel_options forth; /* what `a` sends and `b` receives */
    struct strait_channel_options back;  /* what `b` sends and `a` receives */
    strait_drop_fn *drop_forth;          /* for messages that nobody received; NULL: plain values */
    strait_drop_fn *drop_back;
    void *context; /* passed to both */
};

/* Makes two ends of a link, both the calling thread's. NULL options: spsc channels of 1024
 * pointers, both ends park. The errors are those of strait_channel_create; on error nothing is
 * left. Any thread; does not block. */
STRAIT_API int strait_port_pair(struct strait_port *a, struct strait_port *b,
                                const struct strait_port_options *options);

/* Gives both halves away, as strait_sender_give and strait_receiver_give do. The owner; does not
 * block. */
STRAIT_API void strait_port_give(struct strait_port *port);

/* Makes the calling thread the owner of both halves, as strait_sender_adopt and
 * strait_receiver_adopt do. A worker needs no cancel flag then: all its waits end with -ECANCELED
 * when it is asked to stop. Does not block. */
STRAIT_API void strait_port_adopt(struct strait_port *port);

/* A strait_drop_fn for channels whose messages are ports: closes the port. Does not block. */
STRAIT_API void strait_port_drop(void *message, void *context) STRAIT_NOEXCEPT;

/* Closes both halves. The peer still reads what was sent, then gets -EPIPE. When both ends are
 * closed, the second call hands what is left to the drop callbacks and frees the link: it does so
 * on its own thread. Closing a port again does nothing. -EBUSY, and nothing has happened: it is the
 * one that strait_worker_port returns, which strait_worker_destroy closes. Does not block. */
STRAIT_API int strait_port_close(struct strait_port *port);

/* Wakes whoever waits at either end, to look at its cancel flag. Any thread, a signal handler too;
 * does not block. The port must not be closed at the same time. */
STRAIT_API void strait_port_wake(struct strait_port *port);

STRAIT_C_END

#endif /* STRAIT_WORKER_H */
