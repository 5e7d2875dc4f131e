/* SPDX-License-Identifier: MIT */
/*
 * The working side: the thread that calls strait_gearman_serve is the host. It is one parent of the
 * pool, and waits for job servers, for completions and for the word to stop, all in one poll.
 *
 * A host asks a server for one job at a time, and for the next before the last one is answered, as
 * long as fewer than in_flight are here. A server that has none is told that the host sleeps, and
 * wakes it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "packet.h"

#include "../extra/memory.h"

struct host;

struct host_server {
    struct host *host;
    struct strait_p_gearman_link link;
    int64_t connect_at; /* not before; without a connection */
    int64_t retry_ns;   /* how long it last waited */
    uint32_t serial;    /* of the connection: jobs of an earlier one are not answered */
    bool grabbing;      /* it owes a job, or the word that there is none */
    bool asleep;        /* it will say when there is one */
    bool parting;       /* it was asked to echo the word below */
    bool parted;        /* it has: all answers have arrived */
};

static const struct strait_p_gearman_field parting_word = {"parted", 6};

/* One job, from the packet that brings it until the pool has completed it. */
struct host_job {
    struct strait_process_task task; /* what the function gets */
    struct host_job *next;           /* of free ones */
    struct host_server *server;
    uint32_t serial;
    bool taken; /* not free */
    strait_run_fn *run;
    void *payload; /* its memory */
    strait_task_id id;
    size_t payload_max;
    size_t handle_size;
    char handle[64];
    char key[STRAIT_P_GEARMAN_KEY + 1];
};

struct host {
    struct strait_pool *pool;
    struct strait_parent *parent;
    const struct strait_process_function *functions;
    struct strait_p_gearman_servers servers;
    struct host_server server[STRAIT_GEARMAN_SERVERS_MAX];
    struct host_job *jobs; /* in_flight of them */
    struct host_job *free;
    unsigned in_flight;
    unsigned running;
    unsigned grabs;
    unsigned turn; /* the server that is asked first */
    size_t payload_max;
    int stop_fd;
    bool own_stop_fd; /* of signals */
    bool stopping;
    int error; /* why it must end at once */
};

/* ---- on a worker ---- */

/* The job whose function runs on this thread. */
static __thread struct host_job *current_job;

/* The answer's payload may lie in memory that the function uses again in its next task. */
static int keep_payload(struct host_job *job)
{
    struct strait_process_task *task = &job->task;
    if (task->payload_size > job->payload_max) {
        task->payload_size = 0;
        return -ENOSPC;
    }
    if (task->payload != job->payload && task->payload_size) {
        void *copy = strait_p_extra_alloc(STRAIT_LINE, task->payload_size);
        if (!copy) {
            task->payload_size = 0;
            return -ENOMEM;
        }
        memcpy(copy, task->payload, task->payload_size);
        free(job->payload);
        job->payload = copy;
        task->payload = copy;
    }
    return 0;
}

static int run_job(struct strait_task *local)
{
    struct host_job *job = local->context;
    struct host_job *outer = current_job; /* which waits for others */
    current_job = job;
    job->task.local = local;
    int code = job->run(&job->task.task);
    current_job = outer;
    int error = keep_payload(job);
    return error ? error : code;
}

const char *strait_gearman_key(const struct strait_task *task)
{
    return current_job && task == &current_job->task.task ? current_job->key : NULL;
}

/* ---- answers ---- */

static void answer(struct host_server *server, const char *handle, size_t handle_size,
                   enum strait_task_status status, int code, const struct strait_process_task *task)
{
    struct strait_p_gearman_head head = {
        .magic = STRAIT_P_GEARMAN_MAGIC, .status = (uint32_t)status, .code = code};
    struct strait_p_gearman_field payload = {NULL, 0};
    if (task) {
        memcpy(head.data, task->task.data, sizeof(head.data));
        payload = (struct strait_p_gearman_field){task->payload, task->payload_size};
    }
    strait_p_gearman_head_turn(&head);
    struct strait_p_gearman_field fields[] = {{handle, handle_size}, {&head, sizeof(head)}};
    if (strait_p_gearman_put(&server->link, STRAIT_P_GEARMAN_WORK_COMPLETE, fields, 2, &payload) !=
        0) {
        strait_p_gearman_close(&server->link); /* no memory: another host shall have its jobs */
    }
}

static void answer_stranger(struct host_server *server, const struct strait_p_gearman_field *handle)
{
    strait_p_gearman_put(&server->link, STRAIT_P_GEARMAN_WORK_FAIL, handle, 1, NULL);
}

static void free_job(struct host *host, struct host_job *job)
{
    free(job->payload);
    memset(job, 0, sizeof(*job));
    job->next = host->free;
    host->free = job;
    host->running--;
}

/* In a dispatch of the host's. */
static void on_job_done(struct strait_task *local)
{
    struct host_job *job = local->context;
    struct host_server *server = job->server;
    if (server->link.fd >= 0 && server->serial == job->serial) {
        bool ran = local->status == STRAIT_TASK_DONE || local->status == STRAIT_TASK_FAILED;
        job->task.payload_size = ran ? job->task.payload_size : 0;
        answer(server, job->handle, job->handle_size, local->status, local->code, &job->task);
    }
    free_job(server->host, job);
}

/* ---- jobs ---- */

static strait_run_fn *find_run(const struct host *host, const struct strait_p_gearman_field *name)
{
    for (const struct strait_process_function *f = host->functions; f->name; f++) {
        if (f->run && strlen(f->name) == name->size &&
            memcmp(f->name, name->data, name->size) == 0) {
            return f->run;
        }
    }
    return NULL;
}

/* Reads the head of what was submitted. False: it was not made by strait_gearman_submit. */
static bool read_head(const struct strait_p_gearman_packet *packet,
                      struct strait_p_gearman_head *head)
{
    const struct strait_p_gearman_field *key = &packet->fields[2];
    const struct strait_p_gearman_field *submitted = &packet->fields[3];
    if (packet->fields[0].size == 0 ||
        packet->fields[0].size > sizeof(((struct host_job *)0)->handle) ||
        key->size != STRAIT_P_GEARMAN_KEY || submitted->size < sizeof(*head)) {
        return false;
    }
    memcpy(head, submitted->data, sizeof(*head));
    strait_p_gearman_head_turn(head);
    return head->magic == STRAIT_P_GEARMAN_MAGIC && head->remaining >= 0;
}

/* Copies the packet into the job. 0 or -errno, the code of an answer. */
static int fill_job(struct host_job *job, const struct strait_p_gearman_packet *packet,
                    const struct strait_p_gearman_head *head)
{
    const struct strait_p_gearman_field *submitted = &packet->fields[3];
    size_t size = submitted->size - sizeof(*head);
    if (packet->cut || size > job->payload_max) {
        return -ENOSPC;
    }
    if (size) {
        job->payload = strait_p_extra_alloc(STRAIT_LINE, size);
        if (!job->payload) {
            return -ENOMEM;
        }
        memcpy(job->payload, (const uint8_t *)submitted->data + sizeof(*head), size);
    }
    job->task.payload = job->payload;
    job->task.payload_size = size;
    memcpy(job->task.task.data, head->data, sizeof(head->data));
    memcpy(job->key, packet->fields[2].data, STRAIT_P_GEARMAN_KEY);
    job->handle_size = packet->fields[0].size;
    memcpy(job->handle, packet->fields[0].data, job->handle_size);
    return 0;
}

/* Has the pool run it. 0 or -errno, the code of an answer. */
static int start_job(struct host_server *server, const struct strait_p_gearman_packet *packet,
                     const struct strait_p_gearman_head *head)
{
    struct host *host = server->host;
    struct host_job *job = host->free; /* there is one: a job was asked for */
    struct strait_task local = {.run = run_job, .done = on_job_done, .context = job};
    struct strait_submit_options how = {
        .finish_by = head->remaining ? strait_deadline(head->remaining) : 0,
    };
    strait_run_fn *run = find_run(host, &packet->fields[1]);
    if (!run) {
        return -ENOENT;
    }
    host->free = job->next;
    host->running++;
    job->run = run;
    job->server = server;
    job->serial = server->serial;
    job->payload_max = host->payload_max;
    job->taken = true;
    int error = fill_job(job, packet, head);
    if (error == 0) {
        error = strait_task_submit(host->parent, &local, &how, &job->id);
        host->error = error == -EPIPE ? error : host->error;
    }
    if (error) {
        free_job(host, job);
    }
    return error;
}

static void on_assign(struct host_server *server, const struct strait_p_gearman_packet *packet)
{
    const struct strait_p_gearman_field *handle = &packet->fields[0];
    struct strait_p_gearman_head head;
    if (!read_head(packet, &head)) {
        answer_stranger(server, handle);
        return;
    }
    int error = start_job(server, packet, &head);
    if (error && error != -EPIPE) {
        answer(server, handle->data, handle->size, STRAIT_TASK_FAILED, error, NULL);
    }
}

/* ---- connections ---- */

/* What it had assigned goes to others: its functions are told, its answers dropped. */
static void lose_server(struct host_server *server, int64_t now)
{
    struct host *host = server->host;
    strait_p_gearman_close(&server->link);
    server->serial++;
    host->grabs -= server->grabbing;
    server->grabbing = false;
    server->asleep = false;
    server->parting = false;
    server->parted = false;
    server->retry_ns = strait_p_gearman_patience(server->retry_ns);
    server->connect_at = now + server->retry_ns;
    for (unsigned i = 0; i < host->in_flight; i++) {
        struct host_job *job = &host->jobs[i];
        if (job->taken && job->server == server) {
            strait_task_cancel(host->parent, job->id);
        }
    }
}

/* Says what it can do. False: no memory. */
static bool introduce(struct host_server *server, int64_t now)
{
    bool said = true;
    for (const struct strait_process_function *f = server->host->functions; f->name; f++) {
        if (f->run) {
            struct strait_p_gearman_field name = {f->name, strlen(f->name)};
            said = said && strait_p_gearman_put(&server->link, STRAIT_P_GEARMAN_CAN_DO, &name, 1,
                                                NULL) == 0;
        }
    }
    strait_p_gearman_ask(&server->link, now);
    return said;
}

static void keep_server(struct host_server *server, struct strait_p_gearman_server *address,
                        int64_t now)
{
    if (server->link.fd >= 0) {
        strait_p_gearman_ask_if_silent(&server->link, now);
        if (strait_p_gearman_is_dead(&server->link, now)) {
            lose_server(server, now);
        }
    } else if (!server->host->stopping && now >= server->connect_at) {
        if (strait_p_gearman_connect(&server->link, address) != 0 || !introduce(server, now)) {
            lose_server(server, now);
        }
    }
}

static bool obey_server(void *side, const struct strait_p_gearman_packet *packet)
{
    struct host_server *server = side;
    struct host *host = server->host;
    switch ((unsigned)packet->type) {
    case STRAIT_P_GEARMAN_NOOP:
        server->asleep = false;
        return true;
    case STRAIT_P_GEARMAN_NO_JOB:
    case STRAIT_P_GEARMAN_JOB_ASSIGN_UNIQ:
        if (!server->grabbing) {
            return false;
        }
        server->grabbing = false;
        host->grabs--;
        if (packet->type == STRAIT_P_GEARMAN_JOB_ASSIGN_UNIQ) {
            on_assign(server, packet);
        } else {
            server->asleep =
                strait_p_gearman_put(&server->link, STRAIT_P_GEARMAN_PRE_SLEEP, NULL, 0, NULL) == 0;
        }
        return true;
    case STRAIT_P_GEARMAN_ECHO_RES:
        server->parted |= server->parting && packet->fields[0].size == parting_word.size &&
                          memcmp(packet->fields[0].data, parting_word.data, parting_word.size) == 0;
        return true;
    default:
        return true; /* an answer came too late */
    }
}

/* Asks for jobs, one of each server at a time. */
static void grab(struct host *host)
{
    for (unsigned i = 0; i < host->servers.count && !host->stopping; i++) {
        struct host_server *server = &host->server[(host->turn + i) % host->servers.count];
        if (host->running + host->grabs < host->in_flight && server->link.heard &&
            !server->grabbing && !server->asleep &&
            strait_p_gearman_put(&server->link, STRAIT_P_GEARMAN_GRAB_JOB_UNIQ, NULL, 0, NULL) ==
                0) {
            server->grabbing = true;
            host->grabs++;
        }
    }
    host->turn++;
}

/* ---- the host ---- */

/* At a second signal, what runs is told to give up. */
static void on_stop(struct host *host)
{
    struct signalfd_siginfo info;
    bool again = host->stopping;
    if (host->own_stop_fd && read(host->stop_fd, &info, sizeof(info)) != sizeof(info)) {
        return;
    }
    host->stopping = true;
    for (unsigned i = 0; again && i < host->in_flight; i++) {
        if (host->jobs[i].taken) {
            strait_task_cancel(host->parent, host->jobs[i].id);
        }
    }
}

/* All that was taken is answered, and the servers have said that they have the answers: a socket
 * that is closed while something comes in may lose what it has sent. */
static bool drained(struct host *host)
{
    bool done = host->running == 0 && host->grabs == 0;
    for (unsigned i = 0; i < host->servers.count && host->running == 0 && host->grabs == 0; i++) {
        struct host_server *server = &host->server[i];
        if (server->link.fd >= 0 && !server->link.heard) {
            strait_p_gearman_close(&server->link); /* it never came */
        }
        if (server->link.fd >= 0 && !server->parting) {
            server->parting = strait_p_gearman_put(&server->link, STRAIT_P_GEARMAN_ECHO_REQ,
                                                   &parting_word, 1, NULL) == 0;
        }
        done = done && (server->link.fd < 0 || server->parted);
    }
    return done;
}

/* Sleeps until there is something to do, and says what: polls[0] is the pool's, polls[1] the word
 * to stop, the others the servers'. */
static void await(struct host *host, struct pollfd *polls)
{
    int64_t at = STRAIT_FOREVER;
    polls[0] = (struct pollfd){.fd = strait_parent_fd(host->parent), .events = POLLIN};
    polls[1] = (struct pollfd){.fd = host->stop_fd, .events = POLLIN};
    if (host->stopping && !host->own_stop_fd) {
        polls[1].fd = -1; /* it stays readable */
    }
    for (unsigned i = 0; i < host->servers.count; i++) {
        struct strait_p_gearman_link *link = &host->server[i].link;
        bool out = link->out.begin < link->out.end;
        int64_t look = link->fd >= 0     ? strait_p_gearman_look_at(link, true)
                       : !host->stopping ? host->server[i].connect_at
                                         : STRAIT_FOREVER;
        at = look < at ? look : at;
        polls[2 + i] =
            (struct pollfd){.fd = link->fd, .events = (short)(POLLIN | (out ? POLLOUT : 0))};
    }
    int64_t left = at - strait_now();
    left = left > 0 ? left : 0;
    struct timespec wait = {.tv_sec = (time_t)(left / 1000000000),
                            .tv_nsec = (long)(left % 1000000000)};
    ppoll(polls, 2 + host->servers.count, at == STRAIT_FOREVER ? NULL : &wait, NULL);
}

static void flush_servers(struct host *host, int64_t now)
{
    for (unsigned i = 0; i < host->servers.count; i++) {
        struct host_server *server = &host->server[i];
        int error = server->link.fd >= 0 ? strait_p_gearman_flush(&server->link) : 0;
        if (error && error != -EAGAIN) {
            lose_server(server, now);
        }
    }
}

static void run_host(struct host *host)
{
    struct pollfd polls[2 + STRAIT_GEARMAN_SERVERS_MAX];
    int64_t now = strait_now();
    while (host->error == 0 && !(host->stopping && drained(host))) {
        for (unsigned i = 0; i < host->servers.count; i++) {
            keep_server(&host->server[i], &host->servers.server[i], now);
        }
        grab(host);
        flush_servers(host, now);
        await(host, polls);
        now = strait_now();
        if (polls[1].revents) {
            on_stop(host);
        }
        strait_parent_dispatch(host->parent, 0);
        for (unsigned i = 0; i < host->servers.count; i++) {
            struct host_server *server = &host->server[i];
            if (server->link.fd >= 0 && polls[2 + i].revents) {
                bool known = server->link.heard;
                int error = strait_p_gearman_read(&server->link, now, obey_server, server);
                server->retry_ns = !known && server->link.heard ? 0 : server->retry_ns;
                if (error) {
                    lose_server(server, now);
                }
            }
        }
    }
}

/* ---- the call ---- */

/* 0 or -errno. */
static int make_host(struct host *host, const struct strait_gearman_serve_options *given)
{
    struct strait_pool_stats stats;
    int error = strait_p_gearman_resolve(&host->servers, given->servers);
    if (error) {
        return error;
    }
    strait_pool_stats(host->pool, &stats);
    host->in_flight = given->in_flight ? given->in_flight : (unsigned)stats.workers + 2;
    if (host->in_flight > stats.queue_limit) {
        host->in_flight = (unsigned)stats.queue_limit;
    }
    host->payload_max = given->payload_max;
    size_t size = host->in_flight * sizeof(host->jobs[0]);
    host->jobs = strait_p_extra_alloc(STRAIT_LINE, size);
    if (!host->jobs) {
        return -ENOMEM;
    }
    memset(host->jobs, 0, size);
    host->running = host->in_flight;
    for (unsigned i = 0; i < host->in_flight; i++) {
        free_job(host, &host->jobs[i]);
    }
    for (unsigned i = 0; i < host->servers.count; i++) {
        struct host_server *server = &host->server[i];
        server->host = host;
        server->link.fd = -1;
        server->link.packet_max = STRAIT_P_GEARMAN_LINE + given->payload_max;
    }
    return strait_pool_attach(host->pool, &host->parent, NULL);
}

static void free_host(struct host *host)
{
    for (unsigned i = 0; i < host->servers.count; i++) {
        if (host->server[i].host) {
            strait_p_gearman_free(&host->server[i].link);
            host->server[i].serial++; /* answers nothing more */
        }
    }
    strait_parent_detach(host->parent, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
    free(host->jobs);
}

/* A fd that is readable once SIGTERM or SIGINT has come, which are blocked in this thread; `before`
 * is its mask. -errno. */
static int watch_signals(sigset_t *before)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, before);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        int error = -errno;
        pthread_sigmask(SIG_SETMASK, before, NULL);
        return error;
    }
    return fd;
}

int strait_gearman_serve(struct strait_pool *pool, const struct strait_process_function *functions,
                         const struct strait_gearman_serve_options *options)
{
    struct strait_gearman_serve_options given;
    sigset_t before;
    int saved = errno;
    int error = strait_p_extra_options(&given, sizeof(given), options);
    if (error || !pool || !functions || given.payload_max > STRAIT_GEARMAN_PAYLOAD_MAX ||
        given.stop_fd < 0) {
        return -EINVAL;
    }
    struct host *host = strait_p_extra_alloc(STRAIT_LINE, sizeof(*host));
    if (!host) {
        return -ENOMEM;
    }
    memset(host, 0, sizeof(*host));
    host->pool = pool;
    host->functions = functions;
    host->own_stop_fd = given.stop_fd == 0;
    host->stop_fd = given.stop_fd ? given.stop_fd : watch_signals(&before);
    error = host->stop_fd < 0 ? host->stop_fd : make_host(host, &given);
    if (error == 0) {
        run_host(host);
        error = host->error;
    }
    free_host(host);
    if (host->own_stop_fd && host->stop_fd >= 0) {
        close(host->stop_fd);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    free(host);
    errno = saved;
    return error;
}
