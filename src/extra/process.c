/* SPDX-License-Identifier: MIT */
/* process: the parent's side: spawns a worker that is a process, tells of it, and takes it down. */
#include <fcntl.h>
#include <linux/filter.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "memory.h"
#include "process_port.h"

/* Above those that the child's own are put in the place of. */
#define FD_LEAST 10

#define TRACER_MS 100

struct strait_process {
    struct strait_process_port port;
    pid_t pid; /* 0: there is none, or it has been reaped */
    pid_t number;
    pid_t owner; /* whose worker it is: a fork's child of that is another process */
    strait_process_event_fn *event;
    void *context;
    strait_drop_fn *drop_to_worker;
    strait_drop_fn *drop_to_parent;
    char *copy;           /* of a message */
    bool in_place;        /* it serves a pool: `event` gets messages where they lie in the ring */
    const void *callback; /* the frame that calls `event` */
    bool exited;          /* `end` is known */
    bool finished;        /* and told */
    struct strait_process_event end;
};

/* ---- spawn ---- */

static void shape_make(struct strait_shape *shape, size_t capacity, size_t message_size)
{
    shape->capacity = capacity ? capacity : 1024;
    shape->message_size = message_size ? message_size : sizeof(void *);
    shape->senders = 1;
}

static int shape_check(const struct strait_shape *shape)
{
    struct strait_channel_options options = {.capacity = shape->capacity,
                                             .message_size = shape->message_size};
    size_t ignored;
    return strait_channel_size(&options, &ignored);
}

static int start_make(struct strait_p_process_start *start,
                      const struct strait_process_options *options)
{
    const struct strait_process_limits *limits = &options->limits;
    memset(start, 0, sizeof(*start));
    if (strlen(options->function) >= sizeof(start->function) ||
        options->data_size > STRAIT_PROCESS_DATA_MAX || (options->data_size && !options->data) ||
        limits->filter_count > STRAIT_PROCESS_FILTER_MAX ||
        (limits->filter_count != 0) != (limits->filter != NULL)) {
        return -EINVAL;
    }
    start->magic = STRAIT_P_PROCESS_MAGIC;
    start->fenced = !strait_p_process_registered();
    start->parent = (int32_t)getpid();
    memcpy(start->function, options->function, strlen(options->function));
    start->limits = *limits;
    start->data_size = options->data_size;
    shape_make(&start->shapes[0], options->to_worker_capacity, options->to_worker_size);
    shape_make(&start->shapes[1], options->to_parent_capacity, options->to_parent_size);
    if (!options->function[0]) {
        return 0; /* a pool's messages may be larger than a channel's */
    }
    int error = shape_check(&start->shapes[0]);
    return error ? error : shape_check(&start->shapes[1]);
}

/* All of its pages. No signal comes meanwhile, as some kernels break off where one does. */
static bool pages_make(int memory, size_t size)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool good = fallocate(memory, 0, 0, (off_t)size) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return good;
}

/* Gives a descriptor a number that the child does not want for another; -1, as what was made. */
static int move_up(int made)
{
    int moved = made < 0 ? -1 : fcntl(made, F_DUPFD_CLOEXEC, FD_LEAST);
    if (made >= 0) {
        close(made);
    }
    return moved;
}

/* The memfd, with all of its pages, which nobody can take away, and the start in it. */
static int memory_make(const struct strait_p_process_start *start,
                       const struct strait_process_options *options)
{
    int memory = move_up(memfd_create("strait", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    size_t filter = start->limits.filter_count * sizeof(struct sock_filter);
    /* Pages that are there are written in one go. */
    const struct iovec parts[] = {{(void *)(uintptr_t)start, sizeof(*start)},
                                  {(void *)(uintptr_t)start->limits.filter, filter},
                                  {(void *)(uintptr_t)options->data, options->data_size}};
    bool good = memory >= 0 && pages_make(memory, strait_p_process_memory_size(start)) &&
                fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0 &&
                pwritev(memory, parts, 3, 0) >= 0;
    int error = good ? 0 : -errno;
    if (error && memory >= 0) {
        close(memory);
    }
    return error ? error : memory;
}

static int watch(int epoll, int fd, uint32_t events, uint32_t what)
{
    struct epoll_event event = {.events = events, .data.u32 = what};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/* The parent's doorbell, which is readable from the first, and the fd that it watches. */
static int doorbell_make(struct strait_process_port *port)
{
    port->bell = move_up(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
    port->epoll = port->bell < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    return port->epoll < 0
               ? -errno
               : watch(port->epoll, port->bell, EPOLLIN | EPOLLET, STRAIT_P_PROCESS_RUNG);
}

/* Never fork: this copies nothing of the parent, and the child runs none of its code. */
static int child_start(struct strait_process *process, const char *program, int memory)
{
    char mark[] = STRAIT_P_PROCESS_MARK;
    char *arguments[] = {(char *)(uintptr_t)program, mark, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawnattr_setpgroup(&how, 0);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                       POSIX_SPAWN_SETPGROUP);
    int bell = process->port.bell;
    int error = posix_spawn_file_actions_adddup2(&files, memory, STRAIT_P_PROCESS_MEMORY);
    error = error ? error : posix_spawn_file_actions_adddup2(&files, bell, STRAIT_P_PROCESS_BELL);
#ifdef STRAIT_P_PROCESS_CLOSES_FROM
    error =
        error ? error : posix_spawn_file_actions_addclosefrom_np(&files, STRAIT_P_PROCESS_BELL + 1);
#endif
    error = error ? error : posix_spawn(&process->pid, program, &files, &how, arguments, environ);
    process->pid = error ? 0 : process->pid;
    process->number = process->pid;
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return -error;
}

/* What everything else needs to end and to reap it. */
static int pidfd_make(struct strait_process *process)
{
    struct strait_process_port *port = &process->port;
    port->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
    if (port->pidfd < 0) {
        int error = -errno;
        kill(process->pid, SIGKILL);
        while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        process->pid = 0;
        return error;
    }
    return watch(port->epoll, port->pidfd, EPOLLIN, STRAIT_P_PROCESS_DIED);
}

static int begin(struct strait_process *process, const struct strait_process_options *options)
{
    struct strait_p_process_start start;
    int error = start_make(&start, options);
    int memory = error ? error : memory_make(&start, options);
    if (memory < 0) {
        return memory;
    }
    error = strait_p_process_map(&process->port, memory, &start, true);
    if (!error) {
        error = doorbell_make(&process->port);
    }
    if (!error) {
        error =
            child_start(process, options->program ? options->program : "/proc/self/exe", memory);
    }
    if (!error) {
        error = pidfd_make(process);
    }
    close(memory);
    return error;
}

STRAIT_PRIVATE int strait_p_process_spawn(struct strait_process **out,
                                          const struct strait_process_options *options)
{
    int saved = errno;
    struct strait_process *process = strait_p_extra_alloc(STRAIT_LINE, sizeof(*process));
    if (!process) {
        return -ENOMEM;
    }
    memset(process, 0, sizeof(*process));
    process->owner = getpid();
    process->port.bell = -1;
    process->port.epoll = -1;
    process->port.pidfd = -1;
    process->event = options->event;
    process->context = options->context;
    process->in_place = !options->function[0];
    int error = begin(process, options);
    if (!error && !process->in_place) {
        size_t most = process->port.in_size > process->port.out_size ? process->port.in_size
                                                                     : process->port.out_size;
        process->copy = strait_p_extra_alloc(STRAIT_LINE, most);
        error = process->copy ? 0 : -ENOMEM;
    }
    process->port.online = !options->event;
    if (error) {
        strait_process_destroy(process);
    } else {
        process->drop_to_worker = options->drop_to_worker;
        process->drop_to_parent = options->drop_to_parent;
        *out = process;
    }
    errno = saved;
    return error;
}

int strait_process_spawn(struct strait_process **process,
                         const struct strait_process_options *given)
{
    struct strait_process_options options;
    int error = strait_p_extra_options(&options, sizeof(options), given);
    bool named = !error && options.function && *options.function;
    return error ? error : named ? strait_p_process_spawn(process, &options) : -EINVAL;
}

/* ---- its end ---- */

/* Reaps it, once it has died, or by the deadline. Whoever traces it then has it first: a debugger
 * may take its time, and is waited for no longer than TRACER_MS. */
static void reap(struct strait_process *process, int64_t deadline)
{
    siginfo_t info = {.si_pid = 0};
    struct strait_process_event *end = &process->end;
    const struct strait_p_process_side *worker = process->port.peer;
    if (process->exited) {
        return;
    }
    while (!strait_p_process_poll(process->port.pidfd, deadline)) {
        if (strait_now() >= deadline) {
            return;
        }
    }
    for (int ms = 0; ms < TRACER_MS; ms++) {
        int error = waitid(P_PIDFD, (id_t)process->port.pidfd, &info, WEXITED | WNOHANG);
        if (error || info.si_pid != 0) {
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    end->type = STRAIT_EXIT;
    if (info.si_code != CLD_EXITED) {
        end->code = -EINTR;
        end->signal = info.si_status; /* 0: somebody else reaps it */
    } else if (strait_load_relaxed(&worker->returned)) {
        end->code = (int)strait_load_relaxed(&worker->result);
    } else {
        end->code = info.si_status;
    }
    end->reason = end->code == 0            ? STRAIT_EXIT_RETURNED
                  : end->code == -ECANCELED ? STRAIT_EXIT_STOPPED
                                            : STRAIT_EXIT_FAILED;
    process->exited = true;
    process->pid = 0;
    strait_p_process_mourn(&process->port);
}

int strait_process_join(struct strait_process *process, int64_t deadline,
                        struct strait_process_event *end)
{
    if (process->owner != getpid()) {
        return -EOWNERDEAD;
    }
    int saved = errno;
    reap(process, deadline);
    errno = saved;
    if (!process->exited) {
        return -ETIMEDOUT;
    }
    if (end) {
        *end = process->end;
    }
    return 0;
}

/* What the worker has not received: the parent takes the receiver's place in its own ring. */
static void drop_undelivered(struct strait_process *process)
{
    struct strait_spsc *ring = process->port.out;
    uint32_t left = strait_p_process_untaken(&process->port);
    ring->receiver.index = ring->sender.index - left;
    ring->receiver.end = ring->sender.index;
    for (; left > 0; left--) {
        process->port.ring->try_receive(ring, process->copy, 1);
        process->drop_to_worker(process->copy, process->context);
    }
}

static void drop_all(struct strait_process *process)
{
    if (process->drop_to_worker) {
        drop_undelivered(process);
    }
    while (process->drop_to_parent &&
           strait_process_receive(&process->port, process->copy, 1, 0) == 1) {
        process->drop_to_parent(process->copy, process->context);
    }
}

int strait_process_destroy(struct strait_process *process)
{
    if (!process) {
        return 0;
    }
    if (process->owner != getpid()) {
        return -EOWNERDEAD;
    }
    if (strait_inside(process->callback)) {
        return -EDEADLK;
    }
    int saved = errno;
    if (process->pid) {
        strait_p_process_signal(&process->port, SIGKILL);
        reap(process, STRAIT_FOREVER);
    }
    drop_all(process);
    const int fds[] = {process->port.pidfd, process->port.epoll, process->port.bell};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    if (process->port.map) {
        munmap(process->port.map, process->port.map_size);
    }
    free(process->copy);
    free(process);
    errno = saved;
    return 0;
}

/* ---- events ---- */

static void tell(struct strait_process *process, const struct strait_process_event *event)
{
    process->callback = STRAIT_FRAME;
    process->event(process, event, process->context);
    process->callback = NULL;
}

/* The next message, if there is one. */
static bool deliver_message(struct strait_process *process)
{
    struct strait_process_port *port = &process->port;
    struct strait_span span;
    struct strait_process_event event = {.type = STRAIT_MESSAGE};
    event.message = strait_p_process_peek(port, &span);
    if (!event.message) {
        return false;
    }
    if (process->in_place) {
        tell(process, &event);
    } else {
        event.message = memcpy(process->copy, event.message, port->in_size);
    }
    port->ring->release(port->in, &span);
    strait_p_process_notify(port);
    if (!process->in_place) {
        tell(process, &event);
    }
    return true;
}

/* One event. False: there is none. */
static bool deliver(struct strait_process *process)
{
    struct strait_process_port *port = &process->port;
    if (!port->online && strait_p_process_told(&port->peer->online)) {
        port->online = true;
        tell(process, &(struct strait_process_event){.type = STRAIT_ONLINE});
        return true;
    }
    bool gone = port->gone; /* before the look: what it had sent is there */
    if (deliver_message(process)) {
        return true;
    }
    if (gone) {
        reap(process, STRAIT_FOREVER);
        process->finished = true;
        epoll_ctl(port->epoll, EPOLL_CTL_DEL, port->pidfd, NULL);
        epoll_ctl(port->epoll, EPOLL_CTL_DEL, port->bell, NULL);
        tell(process, &process->end);
    }
    return gone;
}

ptrdiff_t strait_process_dispatch(struct strait_process *process, size_t budget)
{
    if (strait_inside(process->callback)) {
        return -EDEADLK;
    }
    if (!process->event || process->finished) {
        return process->event ? -EPIPE : -EINVAL;
    }
    int saved = errno;
    size_t most = budget ? budget : STRAIT_BUDGET;
    size_t events = 0;
    bool more = true;
    while (events < most && more && !process->finished) {
        if (deliver(process)) {
            events++;
        } else {
            more = !strait_p_process_arm(&process->port);
        }
    }
    if (more && !process->finished) {
        strait_p_process_raise(&process->port);
    }
    errno = saved;
    return (ptrdiff_t)events;
}

/* ---- the rest ---- */

struct strait_process_port *strait_process_port(struct strait_process *process)
{
    return &process->port;
}

int strait_process_fd(const struct strait_process *process)
{
    return process->port.epoll;
}

int32_t strait_process_pid(const struct strait_process *process)
{
    return (int32_t)process->number;
}

void strait_process_stop(struct strait_process *process)
{
    if (process->owner == getpid()) {
        strait_p_process_tell(&process->port, &process->port.own->stop);
    }
}

int strait_process_kill(struct strait_process *process, int signal)
{
    if (process->owner != getpid()) {
        return -EOWNERDEAD;
    }
    int error = strait_p_process_signal(&process->port, signal);
    return -error == ESRCH ? -EPIPE : error;
}
