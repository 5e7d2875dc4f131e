/* SPDX-License-Identifier: MIT */
/* private: what a parent and a worker that is a process share, and one end of it. */
#ifndef STRAIT_EXTRA_PROCESS_PORT_H
#define STRAIT_EXTRA_PROCESS_PORT_H

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "strait/extra/process.h"
#include "timespec.h"

#ifndef STRAIT_PRIVATE
#define STRAIT_PRIVATE static __attribute__((unused))
#endif

/* The worker's argument, and the descriptors that it starts with besides 0, 1 and 2. */
#define STRAIT_P_PROCESS_MARK "strait-process-worker"
#define STRAIT_P_PROCESS_MEMORY 3
#define STRAIT_P_PROCESS_BELL 4

/* Whose posix_spawn closes what a worker should not inherit: glibc's, since 2.34. Elsewhere the
 * worker does so first of all. */
#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 34)
#define STRAIT_P_PROCESS_CLOSES_FROM 1
#endif
#endif

/* ---- the memfd: what the worker starts with; then, page by page, what both map ---- */

#define STRAIT_P_PROCESS_MAGIC 0x73747031u /* "stp1": of this layout */

/* The parent writes it before the worker is there. The filter and the start-up data follow. */
struct strait_p_process_start {
    uint32_t magic;
    uint32_t fenced;                     /* the parent's kernel knows no membarrier for processes */
    int32_t parent;                      /* its pid */
    char function[STRAIT_PROCESS_NAME];  /* "": it serves a pool */
    struct strait_shape shapes[2];       /* of the rings to the worker, to the parent */
    struct strait_process_limits limits; /* `filter` is void */
    size_t data_size;
};

/* A message between a pool and its worker, each way. The payload follows. */
struct strait_p_process_call {
    strait_task_id id;
    int32_t code; /* to the parent: what the function returned */
    uint32_t payload_size;
    char name[STRAIT_PROCESS_NAME]; /* to the worker: of the function */
    unsigned char data[STRAIT_TASK_DATA];
};

/* Behind the slots of the ring to the worker: a line of the parent's, one of the worker's. */
struct strait_p_process_side {
    STRAIT_LINE_ALIGNED uint32_t asleep; /* 1: to be woken; its owner writes, before and after its
                                            sleep, and writes 0 who wakes it */
    uint32_t cpu;                        /* 1 + where it ran last; its owner writes, a hint */
    uint32_t closed;                     /* it sends no more; its owner writes */
    uint32_t stop;                       /* the worker shall stop; the parent writes */
    uint32_t online;                     /* the worker writes, as what follows, */
    uint32_t returned;                   /* which it writes when its function has, */
    uint32_t result;                     /* and writes with what */
};

/* How many bytes the start takes, in whole pages, and then all of the memfd. */
STRAIT_PRIVATE size_t strait_p_process_start_size(const struct strait_p_process_start *start);
STRAIT_PRIVATE size_t strait_p_process_memory_size(const struct strait_p_process_start *start);

/* ---- an end ---- */

struct strait_process_port {
    const struct strait_variant *ring; /* how both rings work */
    void *out;
    void *in;
    size_t out_size; /* of a message */
    size_t in_size;
    struct strait_p_process_side *own;
    struct strait_p_process_side *peer;
    bool fenced; /* each send passes a fence */
    bool heavy;  /* each sleep begins with membarrier(2) */
    bool spins;  /* the last wait was short: the next one begins with a spin */
    bool closed; /* it sends no more */
    int bell;    /* an eventfd: the parent's doorbell */
    int pidfd;   /* parent: the worker's */
    int epoll;   /* parent: of its bell and the pidfd; worker: -1 */
    bool armed;  /* parent: a loop watches `epoll` */
    bool online; /* parent, with a loop: it knows that the worker is */
    bool broken; /* parent: the worker has written nonsense into the ring, and is killed */
    bool gone;   /* parent: the worker has died */
    void *map;
    size_t map_size;
};

/* What `epoll` tells. */
enum { STRAIT_P_PROCESS_RUNG, STRAIT_P_PROCESS_DIED };

/* Is this process registered for membarrier(2) between processes? Any thread. */
STRAIT_PRIVATE bool strait_p_process_registered(void);

/* Maps the rings: the lines that say where slots lie are this process's own. The parent's are made
 * here, and must be before the worker's. 0 or -errno. */
STRAIT_PRIVATE int strait_p_process_map(struct strait_process_port *port, int memory,
                                        const struct strait_p_process_start *start, bool parent);

/* Something is published for the other side: wakes it if it sleeps. */
STRAIT_PRIVATE void strait_p_process_notify(struct strait_process_port *port);

/* Sets a flag of the own line, and wakes the other side. Any thread. */
STRAIT_PRIVATE void strait_p_process_tell(struct strait_process_port *port, uint32_t *flag);

/* Is the flag set? Then all that its owner did before can be seen. */
STRAIT_PRIVATE bool strait_p_process_told(const uint32_t *flag);

/* The worker has died. What it had sent is counted for the last time: whoever else has the memory,
 * a child of the worker's say, adds nothing to it. */
STRAIT_PRIVATE void strait_p_process_mourn(struct strait_process_port *port);

/* How many messages a worker that has died had not taken. A hostile one may have said otherwise. */
STRAIT_PRIVATE uint32_t strait_p_process_untaken(const struct strait_process_port *port);

/* Sends the worker a signal; 0 or -errno. Never reaches another process. */
STRAIT_PRIVATE int strait_p_process_signal(const struct strait_process_port *port, int signal);

/* The next message, where it lies; NULL: there is none. It is taken with the span. */
STRAIT_PRIVATE const void *strait_p_process_peek(struct strait_process_port *port,
                                                 struct strait_span *span);

/* Waits for a message, or for room. 0: there may be some; -ETIMEDOUT; -ECANCELED. */
STRAIT_PRIVATE int strait_p_process_wait(struct strait_process_port *port, bool room,
                                         int64_t deadline);

/* Until the fd is readable, which it says, or the deadline; or for less. Touches errno. */
STRAIT_PRIVATE bool strait_p_process_poll(int fd, int64_t deadline);

/* ---- the parent's, for its loop ---- */

/* True: `epoll` is unreadable until there is a message, or the worker's beginning or end. False:
 * there is. */
STRAIT_PRIVATE bool strait_p_process_arm(struct strait_process_port *port);

/* Makes `epoll` readable. */
STRAIT_PRIVATE void strait_p_process_raise(struct strait_process_port *port);

/* ---- for the pool ---- */

/* strait_process_spawn; of the function "", a worker that serves a pool: `event` gets messages
 * where they lie in the ring, and copies what it looks at. */
STRAIT_PRIVATE int strait_p_process_spawn(struct strait_process **process,
                                          const struct strait_process_options *options);

#endif /* STRAIT_EXTRA_PROCESS_PORT_H */
