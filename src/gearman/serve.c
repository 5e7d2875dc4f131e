/* SPDX-License-Identifier: MIT */
/*
 * The working side: the thread that calls strait_gearman_serve is the host. It is one parent of the
 * pool, and waits for job servers, for completions and for the word to stop, all in one poll.
 *
 * A host asks for the next jobs before the last ones are answered, as long as fewer than in_flight
 * are here: first for one, and with each that comes for one more at a time, which makes short tasks
 * cheap. With the word that there is none it is one again, so that what little there is reaches all
 * hosts, unless jobs are short: then it is as many as came since the last such word. That server is
 * told that this one sleeps, and wakes it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "packet.h"

#include "../extra/memory.h"
#include "../extra/timespec.h"

struct host;

/* What is between a server and the host since it was connected. */
struct host_talk {
    bool failed;    /* there was no memory for what is to be said: the server is lost */
    unsigned grabs; /* it owes so many jobs, or the word that there is none */
    unsigned more;  /* than one that it may owe at a time */
    unsigned came;  /* jobs since it last had none */
    bool asleep;    /* it will say when there is one */
    bool parting;   /* it was asked to echo the word below */
    bool parted;    /* it has: all answers have arrived */
};

struct host_server {
    struct host *host;
    struct strait_p_gearman_link link;
    struct host_talk talk;
    int64_t connect_at; /* not before; without a connection */
    int64_t retry_ns;   /* how long it last waited */
};

static const struct strait_p_gearman_field parting_word = {"parted", 6};

#define AHEAD_NS 1000000
#define AHEAD_MIN 2 /* jobs */
#define AHEAD_MAX 64

/* One job, from the packet that brings it until the pool has completed it. */
struct host_job {
    struct strait_process_task task; /* what the function gets */
    struct host *host;
    struct host_server *server; /* that waits for the answer; NULL: it has lost this host */
    struct host_job *next;      /* of free ones */
    const struct strait_process_function *function;
    strait_task_id id;
    void *payload;      /* its memory: first the task's, then the answer's */
    size_t answer_size; /* bytes of it; 0 until the function has returned */
    size_t handle_size;
    char handle[STRAIT_P_GEARMAN_HANDLE];
    char key[STRAIT_P_GEARMAN_KEY + 1];
};

struct host {
    struct strait_parent *parent;
    const struct strait_process_function *functions;
    struct strait_p_gearman_servers servers;
    struct host_server server[STRAIT_GEARMAN_SERVERS_MAX];
    struct host_job *jobs;
    struct host_job *free;
    unsigned job_count; /* that there are; */
    unsigned in_flight; /* that are used now, */
    unsigned running;   /* that are here, */
    unsigned grabs;     /* and that servers owe */
    unsigned turn;      /* the server that is asked next */
    unsigned workers;   /* of the pool; 0: the caller has said how many are in flight */
    int64_t completed;  /* since then: */
    int64_t counted_at;
    int64_t ahead; /* jobs that are done in AHEAD_NS, as last counted */
    size_t payload_max;
    int stop_fd;
    bool stopping;
    int error; /* why it must end at once */
};

/* ---- on a worker ---- */

/* The job whose function runs on this thread. */
static __thread struct host_job *current_job;

/* The answer's payload may lie in memory that the function uses again in its next task. */
static int keep_payload(struct host_job *job)
{
    const struct strait_process_task *task = &job->task;
    if (task->payload_size > job->host->payload_max) {
        return -ENOSPC;
    }
    if (task->payload != job->payload && task->payload_size) {
        void *copy;
        if (!strait_p_gearman_copy(&copy, task->payload, task->payload_size)) {
            return -ENOMEM;
        }
        free(job->payload);
        job->payload = copy;
    }
    job->answer_size = task->payload_size;
    return 0;
}

static int run_job(struct strait_task *local)
{
    struct host_job *job = local->context;
    struct host_job *outer = current_job; /* which waits for others */
    current_job = job;
    job->task.local = local;
    int code = job->function->run(&job->task.task);
    current_job = outer;
    int error = keep_payload(job);
    return error ? error : code;
}

const char *strait_gearman_key(const struct strait_task *task)
{
    return current_job && task == &current_job->task.task ? current_job->key : NULL;
}

/* ---- answers ---- */

/* Without the memory for it the connection is of no use: another host shall have its jobs. */
static void say(struct host_server *server, enum strait_p_gearman_type type,
                const struct strait_p_gearman_field *fields, unsigned count,
                const struct strait_p_gearman_field *tail)
{
    server->talk.failed |= strait_p_gearman_put(&server->link, type, fields, count, tail) != 0;
}

static void answer(const struct host_job *job, enum strait_task_status status, int code)
{
    struct strait_p_gearman_head head = {
        .magic = STRAIT_P_GEARMAN_MAGIC, .status = (uint32_t)status, .code = code};
    struct strait_p_gearman_field fields[] = {{job->handle, job->handle_size},
                                              {&head, sizeof(head)}};
    struct strait_p_gearman_field payload = {job->payload, job->answer_size};
    memcpy(head.data, job->task.task.data, sizeof(head.data));
    strait_p_gearman_head_turn(&head);
    say(job->server, STRAIT_P_GEARMAN_WORK_COMPLETE, fields, 2, &payload);
}

static void free_job(struct host_job *job)
{
    struct host *host = job->host;
    free(job->payload);
    memset(job, 0, sizeof(*job));
    job->host = host;
    job->next = host->free;
    host->free = job;
    host->running--;
}

static void end_job(struct host_job *job, enum strait_task_status status, int code)
{
    if (status == STRAIT_TASK_ABANDONED) {
        job->host->error = -EPIPE; /* the pool is closed: another host shall have its jobs */
    } else if (job->server) {
        answer(job, status, code);
    }
    free_job(job);
}

/* In a dispatch of the host's. */
static void on_job_done(struct strait_task *local)
{
    struct host_job *job = local->context;
    job->host->completed++;
    end_job(job, local->status, local->code);
}

/* ---- jobs ---- */

/* NULL: there is none of that name. */
static const struct strait_process_function *
find_function(const struct host *host, const struct strait_p_gearman_field *name)
{
    const struct strait_process_function *f = host->functions;
    while (f->name && !(f->run && strlen(f->name) == name->size &&
                        memcmp(f->name, name->data, name->size) == 0)) {
        f++;
    }
    return f->name ? f : NULL;
}

/* Has the pool run it. 0 or -errno, the code of an answer. */
static int start_job(struct host_job *job, const struct strait_p_gearman_packet *packet,
                     const struct strait_p_gearman_field *payload, int64_t remaining)
{
    struct strait_task local = {.run = run_job, .done = on_job_done, .context = job};
    struct strait_submit_options how = {.finish_by = remaining ? strait_deadline(remaining) : 0};
    job->function = find_function(job->host, &packet->fields[1]);
    if (!job->function) {
        return -ENOENT;
    }
    if (packet->cut || payload->size > job->host->payload_max) {
        return -ENOSPC;
    }
    if (!strait_p_gearman_copy(&job->payload, payload->data, payload->size)) {
        return -ENOMEM;
    }
    job->task.task.name = job->function->name;
    job->task.payload = job->payload;
    job->task.payload_size = payload->size;
    return strait_task_submit(job->host->parent, &local, &how, &job->id);
}

/* There is a free job: this one was asked for. */
static void on_assign(struct host_server *server, const struct strait_p_gearman_packet *packet)
{
    struct host *host = server->host;
    struct host_job *job = host->free;
    struct strait_p_gearman_head head;
    struct strait_p_gearman_field payload;
    if (packet->fields[0].size > STRAIT_P_GEARMAN_HANDLE ||
        packet->fields[2].size != STRAIT_P_GEARMAN_KEY ||
        !strait_p_gearman_open(&packet->fields[3], &head, &payload) || head.remaining < 0) {
        /* strait_gearman_submit has not made it */
        say(server, STRAIT_P_GEARMAN_WORK_FAIL, packet->fields, 1, NULL);
        return;
    }
    host->free = job->next;
    host->running++;
    job->server = server;
    job->handle_size = packet->fields[0].size;
    memcpy(job->handle, packet->fields[0].data, job->handle_size);
    memcpy(job->key, packet->fields[2].data, STRAIT_P_GEARMAN_KEY);
    memcpy(job->task.task.data, head.data, sizeof(head.data));
    int error = start_job(job, packet, &payload, head.remaining);
    if (error) {
        end_job(job, error == -EPIPE ? STRAIT_TASK_ABANDONED : STRAIT_TASK_FAILED, error);
    }
}

/* ---- connections ---- */

/* What it had assigned goes to others: its functions are told, its answers dropped. */
static void lose_server(struct host_server *server, int64_t now)
{
    struct host *host = server->host;
    strait_p_gearman_close(&server->link);
    host->grabs -= server->talk.grabs;
    memset(&server->talk, 0, sizeof(server->talk));
    server->retry_ns = strait_p_gearman_patience(server->retry_ns);
    server->connect_at = now + server->retry_ns;
    for (unsigned i = 0; i < host->job_count; i++) {
        struct host_job *job = &host->jobs[i];
        if (job->server == server) {
            job->server = NULL;
            strait_task_cancel(host->parent, job->id);
        }
    }
}

/* Says what it can do. */
static void introduce(struct host_server *server, int64_t now)
{
    for (const struct strait_process_function *f = server->host->functions; f->name; f++) {
        if (f->run) {
            struct strait_p_gearman_field name = {f->name, strlen(f->name)};
            say(server, STRAIT_P_GEARMAN_CAN_DO, &name, 1, NULL);
        }
    }
    strait_p_gearman_ask(&server->link, now);
}

/* Connects if it is time, sends what is to be sent, and notices a server that is gone. */
static void tend_server(struct host_server *server, struct strait_p_gearman_server *address,
                        int64_t now)
{
    int error = 0;
    if (server->link.fd >= 0) {
        strait_p_gearman_ask_if_silent(&server->link, now);
    } else if (!server->host->stopping && now >= server->connect_at) {
        error = strait_p_gearman_connect(&server->link, address);
        if (error == 0) {
            introduce(server, now);
        }
    } else {
        return;
    }
    error = error ? error : strait_p_gearman_flush(&server->link);
    if ((error && error != -EAGAIN) || server->talk.failed ||
        strait_p_gearman_is_dead(&server->link, now)) {
        lose_server(server, now);
    }
}

static bool obey_server(void *side, const struct strait_p_gearman_packet *packet)
{
    struct host_server *server = side;
    struct host *host = server->host;
    switch ((unsigned)packet->type) {
    case STRAIT_P_GEARMAN_NOOP:
        server->talk.asleep = false;
        return true;
    case STRAIT_P_GEARMAN_NO_JOB:
    case STRAIT_P_GEARMAN_JOB_ASSIGN_UNIQ:
        if (server->talk.grabs == 0) {
            return false;
        }
        server->talk.grabs--;
        host->grabs--;
        if (packet->type == STRAIT_P_GEARMAN_JOB_ASSIGN_UNIQ) {
            server->talk.more++;
            server->talk.came++;
            on_assign(server, packet);
        } else if (!server->talk.asleep) {
            server->talk.more = (unsigned)strait_min(server->talk.came, (size_t)host->ahead);
            server->talk.came = 0;
            server->talk.asleep = true;
            say(server, STRAIT_P_GEARMAN_PRE_SLEEP, NULL, 0, NULL);
        }
        return true;
    case STRAIT_P_GEARMAN_ECHO_RES:
        server->talk.parted |=
            server->talk.parting && packet->fields[0].size == parting_word.size &&
            memcmp(packet->fields[0].data, parting_word.data, parting_word.size) == 0;
        return true;
    default:
        return true; /* an answer came too late */
    }
}

/* As many jobs are here, beside one for each worker, as are done in AHEAD_NS: they wait no longer,
 * as a worker of another host may be idle. */
static void look_ahead(struct host *host, int64_t now)
{
    int64_t ns = now - host->counted_at;
    if (ns < AHEAD_NS) {
        return;
    }
    host->ahead = host->completed * AHEAD_NS / ns;
    host->completed = 0;
    host->counted_at = now;
    if (host->workers) {
        int64_t ahead = host->ahead < AHEAD_MIN ? AHEAD_MIN : host->ahead;
        host->in_flight = (unsigned)strait_min(host->workers + (size_t)ahead, host->job_count);
    }
}

/* Asks for jobs, of each server in turn. */
static void grab(struct host *host)
{
    unsigned passed = 0; /* servers, one after the other */
    while (host->running + host->grabs < host->in_flight && passed < host->servers.count &&
           !host->stopping) {
        struct host_server *server = &host->server[host->turn++ % host->servers.count];
        passed++;
        if (server->link.heard && !server->talk.asleep && server->talk.grabs <= server->talk.more &&
            strait_p_gearman_has_room(&server->link)) {
            say(server, STRAIT_P_GEARMAN_GRAB_JOB_UNIQ, NULL, 0, NULL);
            server->talk.grabs++;
            host->grabs++;
            passed = 0;
        }
    }
}

/* ---- the host ---- */

/* All that was taken is answered, and the servers have said that they have the answers: a socket
 * that is closed while something comes in may lose what it has sent. */
static bool drained(struct host *host)
{
    if (host->running > 0 || host->grabs > 0) {
        return false;
    }
    bool done = true;
    for (unsigned i = 0; i < host->servers.count; i++) {
        struct host_server *server = &host->server[i];
        if (!server->link.heard) {
            strait_p_gearman_close(&server->link); /* it never came */
        } else if (!server->talk.parting) {
            server->talk.parting = true;
            say(server, STRAIT_P_GEARMAN_ECHO_REQ, &parting_word, 1, NULL);
        }
        done = done && (server->link.fd < 0 || server->talk.parted);
    }
    return done;
}

/* Sleeps until there is something to do, and says what: polls[0] is the pool's, polls[1] the word
 * to stop, the others the servers'. */
static void await(struct host *host, struct pollfd *polls)
{
    int64_t at = STRAIT_FOREVER;
    polls[0] = (struct pollfd){.fd = strait_parent_fd(host->parent), .events = POLLIN};
    polls[1] = (struct pollfd){.fd = host->stopping ? -1 : host->stop_fd, .events = POLLIN};
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
    struct timespec wait = strait_p_extra_timespec(at - strait_now());
    ppoll(polls, 2 + host->servers.count, at == STRAIT_FOREVER ? NULL : &wait, NULL);
}

static void run_host(struct host *host)
{
    struct pollfd polls[2 + STRAIT_GEARMAN_SERVERS_MAX];
    int64_t now = strait_now();
    while (host->error == 0) {
        look_ahead(host, now);
        grab(host);
        for (unsigned i = 0; i < host->servers.count; i++) {
            tend_server(&host->server[i], &host->servers.server[i], now);
        }
        if (host->stopping && drained(host)) {
            break;
        }
        await(host, polls);
        now = strait_now();
        host->stopping |= polls[1].revents != 0;
        strait_parent_dispatch(host->parent, 0);
        if (strait_task_submit_many(host->parent, NULL, 0, NULL, NULL) == -EPIPE) {
            host->error = -EPIPE; /* no job may come that would find it out */
        }
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
static int make_host(struct host *host, struct strait_pool *pool,
                     const struct strait_gearman_serve_options *given)
{
    struct strait_pool_stats stats;
    int error = strait_p_gearman_resolve(&host->servers, given->servers);
    if (error) {
        return error;
    }
    strait_pool_stats(pool, &stats);
    host->workers = given->in_flight ? 0 : (unsigned)stats.workers;
    host->job_count = given->in_flight ? given->in_flight : host->workers + AHEAD_MAX;
    host->job_count = (unsigned)strait_min(host->job_count, (size_t)stats.queue_limit);
    host->in_flight = host->job_count;
    host->payload_max = given->payload_max;
    size_t size = host->job_count * sizeof(host->jobs[0]);
    host->jobs = strait_p_extra_alloc(STRAIT_LINE, size);
    if (!host->jobs) {
        return -ENOMEM;
    }
    memset(host->jobs, 0, size);
    host->running = host->job_count;
    for (unsigned i = 0; i < host->job_count; i++) {
        host->jobs[i].host = host;
        free_job(&host->jobs[i]);
    }
    for (unsigned i = 0; i < host->servers.count; i++) {
        struct host_server *server = &host->server[i];
        server->host = host;
        server->link.fd = -1;
        server->link.packet_max = STRAIT_P_GEARMAN_LINE + given->payload_max;
    }
    return strait_pool_attach(pool, &host->parent, NULL);
}

static void free_host(struct host *host)
{
    for (unsigned i = 0; i < host->servers.count; i++) {
        if (host->server[i].host) {
            lose_server(&host->server[i], 0);
            strait_p_gearman_free(&host->server[i].link);
        }
    }
    strait_parent_detach(host->parent, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
    free(host->jobs);
}

/* Blocks SIGTERM and SIGINT in this thread, whose mask was `before`. A fd that is readable once one
 * of them has come; -errno. */
static int watch_signals(sigset_t *before)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, before);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* Signals that have been obeyed must not come again once the mask is as before. */
static void unwatch_signals(const struct host *host, const sigset_t *before)
{
    struct signalfd_siginfo info;
    while (host->stopping && read(host->stop_fd, &info, sizeof(info)) > 0) {
    }
    if (host->stop_fd >= 0) {
        close(host->stop_fd);
    }
    pthread_sigmask(SIG_SETMASK, before, NULL);
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
    host->functions = functions;
    host->stop_fd = given.stop_fd ? given.stop_fd : watch_signals(&before);
    error = host->stop_fd < 0 ? host->stop_fd : make_host(host, pool, &given);
    if (error == 0) {
        run_host(host);
        error = host->error;
    }
    free_host(host);
    if (given.stop_fd == 0) {
        unwatch_signals(host, &before);
    }
    free(host);
    errno = saved;
    return error;
}
