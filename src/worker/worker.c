/* SPDX-License-Identifier: MIT */
/* worker: a thread with a port: ports, and a worker from its spawn to its join. */
#include "strait/worker.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../channel/private.h"
#include "../channel/wait.h"
#include "thread.h"

#define NICE_MOST 19

/* ---- ports: two channels back to back, owned by both ends ---- */

/* What `a` sends goes forth, what `b` sends goes back. */
enum way { FORTH, BACK };

struct strait_link {
    /* line 0: set once, by the pair's maker */
    STRAIT_LINE_ALIGNED struct strait_channel *channels[2];
    strait_drop_fn *drops[2];
    void *context;
    /* line 1: whoever has an end writes, when it closes it, gives it away or adopts it; each reads
     * it before it waits */
    STRAIT_LINE_ALIGNED uint32_t holders; /* ends still open */
    uint32_t threads[2][2];
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_link) == 2 * STRAIT_LINE, "these two lines");

static STRAIT_P_COLD void link_free(struct strait_link *link)
{
    for (int way = FORTH; way <= BACK; way++) {
        strait_channel_destroy(link->channels[way], link->drops[way], link->context);
    }
    free(link);
}

/* Cannot fail: both channels are new, and nobody else has them. The link knows who uses the ends,
 * so that nobody waits for himself: the calling thread, until it gives them away. */
static STRAIT_P_COLD void port_open(struct strait_port *port, struct strait_link *link,
                                    enum way out)
{
    enum way in = out == FORTH ? BACK : FORTH;
    port->link = link;
    port->kept = false;
    strait_sender_open(&port->sender, link->channels[out]);
    strait_receiver_open(&port->receiver, link->channels[in]);
    port->sender.handle.threads = link->threads[out];
    port->receiver.handle.threads = link->threads[in];
    strait_port_adopt(port);
}

STRAIT_P_COLD int strait_port_pair(struct strait_port *a, struct strait_port *b,
                                   const struct strait_port_options *given)
{
    struct strait_port_options options;
    int error = strait_options_copy(&options, sizeof(options), given, "port");
    if (error) {
        return error;
    }
    struct strait_link *link = strait_line_alloc(sizeof(*link));
    if (!link) {
        return -ENOMEM;
    }
    *link = (struct strait_link){
        .drops = {options.drop_forth, options.drop_back},
        .context = options.context,
        .holders = 2,
    };
    error = strait_channel_create(&link->channels[FORTH], &options.forth);
    error = error ? error : strait_channel_create(&link->channels[BACK], &options.back);
    if (error) {
        link_free(link);
        return error;
    }
    port_open(a, link, FORTH);
    port_open(b, link, BACK);
    return 0;
}

void strait_port_give(struct strait_port *port)
{
    strait_sender_give(&port->sender);
    strait_receiver_give(&port->receiver);
}

void strait_port_adopt(struct strait_port *port)
{
    strait_sender_adopt(&port->sender);
    strait_receiver_adopt(&port->receiver);
}

static STRAIT_P_COLD void end_close(struct strait_port *port)
{
    struct strait_link *link = port->link;
    if (!link) {
        return;
    }
    port->link = NULL;
    strait_sender_close(&port->sender);
    strait_receiver_close(&port->receiver);
    /* link.drop: pairs with link.drop; all that the other holder did with the link;
     * without it the link is freed under its feet */
    if (strait_add_acq_rel(&link->holders, (uint32_t)-1) == 1) {
        link_free(link);
    }
}

STRAIT_P_COLD int strait_port_close(struct strait_port *port)
{
    if (port->kept) {
        return -EBUSY;
    }
    end_close(port);
    return 0;
}

void strait_port_drop(void *message, void *context)
{
    struct strait_port port;
    (void)context;
    memcpy(&port, message, sizeof(port));
    strait_port_close(&port);
}

void strait_port_wake(struct strait_port *port)
{
    if (port->link) {
        strait_channel_wake(port->link->channels[FORTH]);
        strait_channel_wake(port->link->channels[BACK]);
    }
}

/* ---- on the worker ---- */

/* What the worker says of itself; `said` is written last. */
struct worker_word {
    const char *text;
    int code;
    uint32_t said;
};

struct strait_worker {
    /* spawn writes, both read */
    STRAIT_LINE_ALIGNED struct strait_worker_options options;
    struct strait_channel *to_parent;
    int fd; /* of to_parent's receiver, which the parent may close before the exit; or -EINVAL */
    struct strait_p_thread thread;
    /* the parent writes */
    STRAIT_LINE_ALIGNED struct strait_port parent;
    void *message;        /* the one that is told */
    const void *callback; /* the frame that calls `event` */
    unsigned told;        /* events of these types, a bit each */
    /* the worker writes; the parent reads `warning` once it is said, the rest once it has ended */
    STRAIT_LINE_ALIGNED struct strait_port port;
    struct worker_word failure;
    struct worker_word warning;
    int code;       /* of the entry */
    bool finished;  /* fini was called */
    uint32_t ended; /* all of this is complete */
    /* whoever stops the worker writes, the worker polls */
    STRAIT_LINE_ALIGNED uint32_t stop;
    /* the worker writes when it goes to sleep, whoever stops it locks it */
    STRAIT_LINE_ALIGNED struct strait_p_berth berth;
};

static __thread struct strait_worker *own_worker;

struct strait_worker *strait_worker_current(void)
{
    return own_worker;
}

bool strait_worker_stopping(const struct strait_worker *worker)
{
    return worker && strait_load_relaxed(&worker->stop) != 0;
}

static STRAIT_P_COLD void say_word(struct worker_word *word, int code, const char *text)
{
    word->code = code;
    word->text = text;
    /* worker.say: pairs with worker.said; code and text, and all that the worker did before;
     * without it the parent tells of a failure whose text is not there yet */
    strait_store_release(&word->said, 1);
}

void strait_worker_fail(int code, const char *text)
{
    if (own_worker && !own_worker->failure.said) {
        say_word(&own_worker->failure, code, text);
    }
}

STRAIT_P_COLD void strait_worker_warn(int code, const char *text)
{
    if (own_worker && !own_worker->warning.said) {
        say_word(&own_worker->warning, code, text);
        strait_p_wake(&own_worker->to_parent->receiver, own_worker->to_parent->between);
    }
}

static STRAIT_P_COLD int worker_set_up(void *argument)
{
    struct strait_worker *worker = argument;
    own_worker = worker;
    strait_port_adopt(&worker->port);
    strait_p_berth_enter(&worker->berth);
    int result =
        worker->options.init ? worker->options.init(&worker->port, worker->options.data) : 0;
    return result > 0 ? -ECANCELED : result;
}

/* Once, though it ends its thread, too. */
static STRAIT_P_COLD void run_fini(void *argument)
{
    struct strait_worker *worker = argument;
    if (worker->options.fini && !worker->finished) {
        worker->finished = true;
        worker->options.fini(&worker->port, worker->options.data);
    }
}

static STRAIT_P_COLD void worker_run(void *argument)
{
    struct strait_worker *worker = argument;
    worker->code = -EINTR; /* unless the entry returns */
    pthread_cleanup_push(run_fini, worker);
    worker->code = worker->options.entry(&worker->port, worker->options.data);
    pthread_cleanup_pop(1);
}

static STRAIT_P_COLD void worker_ended(void *argument)
{
    struct strait_worker *worker = argument;
    own_worker = NULL;
    strait_p_berth_enter(NULL);
    /* worker.end: pairs with worker.ended; the exit record, and all that the worker did; without it
     * the parent tells of an exit with the code of nobody */
    strait_store_release(&worker->ended, 1);
    end_close(&worker->port);
    /* the entry may have closed its port long before */
    strait_p_wake(&worker->to_parent->receiver, worker->to_parent->between);
}

/* ---- spawn ---- */

/* All but its thread. Behind the worker lies its copy of the start-up data. */
static STRAIT_P_COLD int worker_init(struct strait_worker *worker,
                                     const struct strait_worker_options *options)
{
    memset(worker, 0, sizeof(*worker));
    worker->options = *options;
    if (options->data_size) {
        worker->options.data = worker + 1;
        memcpy(worker->options.data, options->data, options->data_size);
    }
    worker->berth.cancel = &worker->stop;
    pthread_mutex_init(&worker->berth.lock, NULL);
    struct strait_port_options port = {
        .forth = options->to_worker,
        .back = options->to_parent,
        .drop_forth = options->drop_to_worker,
        .drop_back = options->drop_to_parent,
        .context = options->context,
    };
    if (port.back.receiver == STRAIT_WAIT_DEFAULT) {
        port.back.receiver = STRAIT_WAIT_FD;
    }
    int error = strait_port_pair(&worker->parent, &worker->port, &port);
    if (error) {
        return error;
    }
    worker->parent.kept = true;
    strait_port_give(&worker->port);
    worker->to_parent = worker->parent.receiver.handle.channel;
    worker->fd = strait_receiver_fd(&worker->parent.receiver);
    worker->message = strait_line_alloc(worker->to_parent->message_size);
    return worker->message ? 0 : -ENOMEM;
}

static STRAIT_P_COLD void worker_free(struct strait_worker *worker)
{
    end_close(&worker->port);
    end_close(&worker->parent);
    free(worker->message);
    free(worker);
}

STRAIT_P_COLD int strait_worker_spawn(struct strait_worker **out,
                                      const struct strait_worker_options *given)
{
    struct strait_worker_options options;
    int error = strait_options_copy(&options, sizeof(options), given, "worker");
    if (error || !STRAIT_P_VALID(worker, entry, options.entry) ||
        !STRAIT_P_VALID(worker, data, options.data || !options.data_size) ||
        !STRAIT_P_VALID(worker, nice, (unsigned)options.nice <= NICE_MOST)) {
        return -EINVAL;
    }
    if (options.pin == STRAIT_PIN_CPU) {
        options.cpus = &options.cpu;
        options.cpu_count = 1;
    }
    struct strait_p_thread_options thread = {
        .name = options.name ? options.name : "strait",
        .placement = {options.pin, options.cpus, options.cpu_count, .home = sched_getcpu()},
        .pinned = options.pin == STRAIT_PIN_CPU || options.pin == STRAIT_PIN_SET,
        .schedule = options.schedule,
        .nice = getpriority(PRIO_PROCESS, 0) + options.nice,
        .scheduled = true,
        .stack_size = options.stack_size,
        .set_up = worker_set_up,
        .run = worker_run,
        .ended = worker_ended,
    };
    struct strait_worker *worker = options.data_size < SIZE_MAX / 2
                                       ? strait_line_alloc(sizeof(*worker) + options.data_size)
                                       : NULL;
    if (!worker) {
        return -ENOMEM;
    }
    thread.argument = worker;
    error = worker_init(worker, &options);
    error = error ? error : strait_p_thread_launch(&worker->thread, &thread);
    error = error ? error : strait_p_thread_online(&worker->thread);
    if (error) {
        worker_free(worker);
        return error;
    }
    /* the online event waits for its dispatch */
    strait_p_wake(&worker->to_parent->receiver, worker->to_parent->between);
    *out = worker;
    return 0;
}

/* ---- events, on the parent's thread ---- */

struct strait_port *strait_worker_port(struct strait_worker *worker)
{
    return &worker->parent;
}

int strait_worker_fd(const struct strait_worker *worker)
{
    return worker->fd;
}

static bool has_ended(const struct strait_worker *worker)
{
    /* worker.ended: pairs with worker.end; the exit record; without it the parent reads it from
     * before it was complete */
    return strait_load_acquire(&worker->ended) != 0;
}

static bool has_warning(const struct strait_worker *worker)
{
    /* worker.said: pairs with worker.say; code and text; without it the parent reads them from
     * before they were written */
    return !(worker->told & 1u << STRAIT_WARNING) && strait_load_acquire(&worker->warning.said);
}

/* The error, if there is one, and the next time the exit. */
static STRAIT_P_COLD void find_end(struct strait_worker *worker, struct strait_event *event)
{
    const struct worker_word *failure = &worker->failure;
    bool failed = failure->said || (worker->code && worker->code != -ECANCELED);
    event->type = STRAIT_EXIT;
    event->code = worker->code;
    event->reason = failed         ? STRAIT_EXIT_FAILED
                    : worker->code ? STRAIT_EXIT_STOPPED
                                   : STRAIT_EXIT_RETURNED;
    event->warning = worker->warning.code;
    if (failed && !(worker->told & 1u << STRAIT_ERROR)) {
        event->type = STRAIT_ERROR;
        event->code = failure->said ? failure->code : worker->code;
        event->text = failure->text;
    } else if (worker->fd >= 0) {
        strait_p_fd_clear(worker->fd);
    }
}

/* The next event; false: there is none yet, and the fd waits for it. */
static bool find_event(struct strait_worker *worker, struct strait_event *event)
{
    struct strait_receiver *receiver = &worker->parent.receiver;
    memset(event, 0, sizeof(*event));
    event->type = STRAIT_ONLINE;
    if (!worker->told) {
        return true;
    }
    for (;;) {
        bool ended = has_ended(worker); /* before the looks for what it said until then */
        if (has_warning(worker)) {
            event->type = STRAIT_WARNING;
            event->code = worker->warning.code;
            event->text = worker->warning.text;
            return true;
        }
        ptrdiff_t received = strait_try_receive(receiver, worker->message, 1);
        if (received == 1) {
            event->type = STRAIT_MESSAGE;
            event->message = worker->message;
            return true;
        }
        if (received == -EPIPE && ended) {
            find_end(worker, event);
            return true;
        }
        /* First the fd becomes unreadable, then comes a last look: whatever is later makes it
         * readable. Either side may have closed the link while the worker lives. */
        bool quiet = true;
        if (received == -EAGAIN) {
            quiet = strait_receiver_arm(receiver) != 0; /* or it is not in fd mode */
        } else if (worker->fd >= 0) {
            strait_p_fd_clear(worker->fd);
        }
        if (quiet && !has_warning(worker) && has_ended(worker) == ended) {
            return false;
        }
        /* more to tell than the next event */
        strait_p_wake(&worker->to_parent->receiver, worker->to_parent->between);
    }
}

ptrdiff_t strait_worker_dispatch(struct strait_worker *worker, size_t budget)
{
    const unsigned exited = 1u << STRAIT_EXIT;
    struct strait_event event;
    ptrdiff_t told = 0;
    if (strait_inside(worker->callback)) {
        return -EDEADLK;
    }
    if (!worker->options.event) {
        return -EINVAL;
    }
    if (worker->told & exited) {
        return -EPIPE;
    }
    worker->callback = STRAIT_FRAME;
    for (size_t left = budget ? budget : STRAIT_BUDGET;
         left > 0 && !(worker->told & exited) && find_event(worker, &event); left--) {
        worker->told |= 1u << event.type;
        worker->options.event(worker, &event, worker->options.context);
        told++;
    }
    worker->callback = NULL;
    return told;
}

/* ---- stop, join, destroy, status ---- */

STRAIT_P_COLD void strait_worker_stop(struct strait_worker *worker)
{
    if (worker->thread.process != getpid()) {
        return; /* the lock may have been taken when the process was forked */
    }
    /* worker.stop: pairs with wait.cancelled; all that whoever stops the worker did before; without
     * it the worker ends its wait and does not see why */
    strait_store_release(&worker->stop, 1);
    strait_p_berth_wake(&worker->berth);
    strait_port_wake(&worker->parent);
}

int strait_worker_join(struct strait_worker *worker, int64_t deadline)
{
    return strait_p_thread_join(&worker->thread, deadline);
}

STRAIT_P_COLD int strait_worker_destroy(struct strait_worker *worker)
{
    if (!worker) {
        return 0;
    }
    if (worker->thread.process != getpid()) {
        return -EOWNERDEAD;
    }
    if (strait_inside(worker->callback)) {
        return -EDEADLK;
    }
    if (!worker->thread.joined) {
        return -EBUSY;
    }
    worker_free(worker);
    return 0;
}

STRAIT_P_COLD void strait_worker_status(const struct strait_worker *worker,
                                        struct strait_status *status)
{
    memcpy(status->name, worker->thread.name, sizeof(status->name));
    status->thread = worker->thread.number;
    status->cpu = worker->thread.cpu;
    status->refused = worker->thread.refused;
    status->state = has_ended(worker) ? STRAIT_WORKER_ENDED : STRAIT_WORKER_ONLINE;
    status->stopping = strait_worker_stopping(worker);
}
