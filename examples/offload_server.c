/* SPDX-License-Identifier: MIT */
/*
 * offload_server: an HTTP server on one event loop that never blocks it.
 *
 *   GET /light          answers at once
 *   GET /heavy?ms=N     burns N milliseconds of CPU (default 1000, at most 10000) in a worker of a
 *                       strait pool, and answers when the completion runs on the loop's thread
 *   GET /stats          the pool's counters, as JSON
 *
 * With --blocking, /heavy computes on the loop's thread instead: the disease that the pool cures.
 * SIGTERM and SIGINT finish what runs, answer it, refuse what waits, and end the server with 0.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include "strait.h"

#define MS_DEFAULT 1000
#define MS_MAX 10000
#define ALL_METHODS                                                                                \
    (EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |     \
     EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE | EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH)

struct settings {
    uint16_t port;
    bool blocking;
    struct strait_pool_options pool;
};

struct server {
    struct event_base *base;
    struct evhttp *http;
    struct evhttp_bound_socket *socket;
    struct event *pool_event;
    struct event *signals[2];
    struct strait_pool *pool; /* NULL: --blocking */
    uint64_t heavy_open;      /* not yet answered, or the answer not yet on its way */
    uint64_t heavy_blocking;  /* computed on the loop */
    bool stopping;
};

/* One /heavy request, from its arrival until its answer has left or its client has. */
struct heavy {
    struct server *server;
    struct evhttp_request *request;
    struct evhttp_connection *connection; /* NULL: it has been closed */
    struct event *hang_up;                /* watches for a client that does not wait */
    strait_task_id task;
    bool computed;
};

/* What a worker computes, and what it finds: travels in the task itself. */
struct burn {
    uint32_t ms;
    uint32_t largest;
    uint64_t primes;
};

/* ---- the computation ---- */

static bool is_prime(uint32_t n)
{
    for (uint32_t d = 3; d * d <= n; d += 2) {
        if (n % d == 0) {
            return false;
        }
    }
    return n % 2 != 0;
}

static int64_t cpu_time_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Counts primes for so many milliseconds of this thread's CPU time, not of the clock's: a worker
 * that yields to the loop still does all of its work. `task` may be NULL. */
static int burn(struct burn *burn, const struct strait_task *task)
{
    int64_t end = cpu_time_ns() + (int64_t)burn->ms * 1000000;
    for (uint32_t n = 3; cpu_time_ns() < end; n += 100) {
        if (task && strait_task_cancelled(task)) {
            return -ECANCELED;
        }
        for (uint32_t candidate = n; candidate < n + 100; candidate++) {
            if (is_prime(candidate)) {
                burn->primes++;
                burn->largest = candidate;
            }
        }
    }
    return 0;
}

static int run_heavy(struct strait_task *task)
{
    struct burn work;
    memcpy(&work, task->data, sizeof(work));
    int result = burn(&work, task);
    memcpy(task->data, &work, sizeof(work));
    return result;
}

/* ---- answers ---- */

static void answer(struct evhttp_request *request, int code, const char *reason, const char *type,
                   struct evbuffer *body)
{
    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", type);
    evhttp_send_reply(request, code, reason, body);
}

static void answer_text(struct evhttp_request *request, int code, const char *reason,
                        const char *text)
{
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body, "%s\n", text);
    answer(request, code, reason, "text/plain", body);
    evbuffer_free(body);
}

static void answer_busy(struct evhttp_request *request, const char *text)
{
    evhttp_add_header(evhttp_request_get_output_headers(request), "Retry-After", "1");
    answer_text(request, 503, "Service Unavailable", text);
}

static void answer_burn(struct evhttp_request *request, const struct burn *burn)
{
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(
        body, "{\"ms\": %" PRIu32 ", \"primes\": %" PRIu64 ", \"largest\": %" PRIu32 "}\n",
        burn->ms, burn->primes, burn->largest);
    answer(request, 200, "OK", "application/json", body);
    evbuffer_free(body);
}

/* ---- the life of a /heavy request ---- */

static void end_if_stopped(struct server *server)
{
    if (server->stopping && server->heavy_open == 0) {
        event_base_loopexit(server->base, NULL);
    }
}

static void heavy_free(struct heavy *heavy)
{
    struct server *server = heavy->server;
    if (heavy->hang_up) {
        event_free(heavy->hang_up);
    }
    free(heavy);
    server->heavy_open--;
    end_if_stopped(server);
}

/* The answer has left. */
static void on_answered(struct evhttp_request *request, void *argument)
{
    struct heavy *heavy = argument;
    (void)request;
    evhttp_connection_set_closecb(heavy->connection, NULL, NULL);
    heavy_free(heavy);
}

/* The connection is closed; libevent leaves the request to us if it is not answered yet. */
static void on_closed(struct evhttp_connection *connection, void *argument)
{
    struct heavy *heavy = argument;
    (void)connection;
    heavy->connection = NULL;
    if (heavy->computed) {
        heavy_free(heavy);
    }
}

/* The client has hung up: nobody waits for the result. What the cancelled task answers, the closed
 * connection swallows. */
static void on_hang_up(evutil_socket_t fd, short what, void *argument)
{
    struct heavy *heavy = argument;
    (void)fd;
    (void)what;
    strait_pool_cancel(heavy->server->pool, heavy->task);
}

/* libevent does not read from a connection whose request it is waiting to answer: ask the kernel.
 */
static void watch_hang_up(struct heavy *heavy)
{
    struct bufferevent *stream = evhttp_connection_get_bufferevent(heavy->connection);
    heavy->hang_up =
        event_new(heavy->server->base, bufferevent_getfd(stream), EV_CLOSED, on_hang_up, heavy);
    if (heavy->hang_up) {
        event_add(heavy->hang_up, NULL);
    }
}

static struct heavy *heavy_new(struct server *server, struct evhttp_request *request)
{
    struct heavy *heavy = calloc(1, sizeof(*heavy));
    if (heavy) {
        heavy->server = server;
        heavy->request = request;
        heavy->connection = evhttp_request_get_connection(request);
        evhttp_connection_set_closecb(heavy->connection, on_closed, heavy);
        evhttp_request_set_on_complete_cb(request, on_answered, heavy);
        server->heavy_open++;
    }
    return heavy;
}

/* Answers on the loop's thread; libevent frees the request, now or when the answer has left. */
static void heavy_answer(struct heavy *heavy, const struct burn *burn, bool computed)
{
    bool gone = heavy->connection == NULL;
    heavy->computed = true;
    if (heavy->hang_up) {
        event_del(heavy->hang_up);
    }
    if (computed) {
        answer_burn(heavy->request, burn);
    } else {
        answer_busy(heavy->request, "cancelled");
    }
    if (gone) {
        heavy_free(heavy);
    }
}

static void on_computed(struct strait_task *task)
{
    struct burn work;
    memcpy(&work, task->data, sizeof(work));
    heavy_answer(task->context, &work, task->status == STRAIT_TASK_DONE);
}

static void heavy_offload(struct server *server, struct evhttp_request *request,
                          const struct burn *work)
{
    struct strait_task task = {.run = run_heavy, .done = on_computed};
    strait_task_id id;
    memcpy(task.data, work, sizeof(*work));
    struct heavy *heavy = heavy_new(server, request);
    if (!heavy) {
        answer_busy(request, "out of memory");
        return;
    }
    task.context = heavy;
    int error = strait_pool_submit(server->pool, &task, &id);
    if (error) {
        heavy->computed = true;
        answer_busy(request, error == -EAGAIN ? "the queue is full" : "shutting down");
        return;
    }
    heavy->task = id;
    watch_hang_up(heavy);
}

static void heavy_block(struct server *server, struct evhttp_request *request, struct burn *work)
{
    struct heavy *heavy = heavy_new(server, request);
    if (!heavy) {
        answer_busy(request, "out of memory");
        return;
    }
    burn(work, NULL);
    server->heavy_blocking++;
    heavy_answer(heavy, work, true);
}

/* ---- endpoints ---- */

static bool only_get(struct evhttp_request *request)
{
    if (evhttp_request_get_command(request) == EVHTTP_REQ_GET) {
        return true;
    }
    evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET");
    answer_text(request, 405, "Method Not Allowed", "only GET is served here");
    return false;
}

/* Decimal digits only, 0 to `max`. */
static bool parse_number(const char *text, unsigned long max, unsigned long *number)
{
    char *end;
    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *number = strtoul(text, &end, 10);
    return errno == 0 && *end == '\0' && *number <= max;
}

/* The query's `ms`, once and in range, or the default. */
static bool parse_ms(struct evhttp_request *request, uint32_t *ms)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
    struct evkeyvalq parameters;
    unsigned long number = MS_DEFAULT;
    if (!query) {
        *ms = MS_DEFAULT;
        return true;
    }
    if (evhttp_parse_query_str(query, &parameters) != 0) {
        return false;
    }
    const char *text = evhttp_find_header(&parameters, "ms");
    bool valid = !text || parse_number(text, MS_MAX, &number);
    evhttp_clear_headers(&parameters);
    *ms = (uint32_t)number;
    return valid;
}

static void serve_light(struct evhttp_request *request, void *argument)
{
    (void)argument;
    if (only_get(request)) {
        answer_text(request, 200, "OK", "light");
    }
}

static void serve_heavy(struct evhttp_request *request, void *argument)
{
    struct server *server = argument;
    struct burn work = {0};
    if (!only_get(request)) {
        return;
    }
    if (!parse_ms(request, &work.ms)) {
        answer_text(request, 400, "Bad Request", "ms must be a number from 0 to 10000");
    } else if (server->pool) {
        heavy_offload(server, request, &work);
    } else {
        heavy_block(server, request, &work);
    }
}

static void serve_stats(struct evhttp_request *request, void *argument)
{
    struct server *server = argument;
    struct strait_pool_stats stats = {0};
    if (!only_get(request)) {
        return;
    }
    if (server->pool) {
        strait_pool_stats(server->pool, &stats);
    } else {
        stats.submitted = stats.done = server->heavy_blocking;
    }
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body,
                        "{\"mode\": \"%s\", \"workers\": %" PRIu64 ", \"submitted\": %" PRIu64
                        ", \"done\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"cancelled\": %" PRIu64
                        ", \"refused\": %" PRIu64 ", \"queued\": %" PRIu64 ", \"running\": %" PRIu64
                        ", \"queued_max\": %" PRIu64 ", \"queue_limit\": %" PRIu64 "}\n",
                        server->pool ? "pool" : "blocking", stats.workers, stats.submitted,
                        stats.done, stats.failed, stats.cancelled, stats.refused, stats.queued,
                        stats.running, stats.queued_max, stats.queue_limit);
    answer(request, 200, "OK", "application/json", body);
    evbuffer_free(body);
}

static void serve_unknown(struct evhttp_request *request, void *argument)
{
    (void)argument;
    answer_text(request, 404, "Not Found", "try /light, /heavy?ms=1000 or /stats");
}

/* ---- events ---- */

static void on_pool(evutil_socket_t fd, short what, void *argument)
{
    struct server *server = argument;
    (void)fd;
    (void)what;
    strait_pool_dispatch(server->pool, 0);
}

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    struct server *server = argument;
    (void)number;
    (void)what;
    if (server->stopping) {
        return;
    }
    server->stopping = true;
    evhttp_del_accept_socket(server->http, server->socket);
    if (server->pool) {
        strait_pool_close(server->pool, STRAIT_CLOSE_CANCEL, 0); /* only starts it */
    }
    end_if_stopped(server);
}

/* ---- start and end ---- */

static bool server_listen(struct server *server, uint16_t port)
{
    server->base = event_base_new();
    server->http = server->base ? evhttp_new(server->base) : NULL;
    if (!server->http) {
        return false;
    }
    evhttp_set_allowed_methods(server->http, ALL_METHODS);
    evhttp_set_cb(server->http, "/light", serve_light, server);
    evhttp_set_cb(server->http, "/heavy", serve_heavy, server);
    evhttp_set_cb(server->http, "/stats", serve_stats, server);
    evhttp_set_gencb(server->http, serve_unknown, server);
    server->socket = evhttp_bind_socket_with_handle(server->http, "127.0.0.1", port);
    if (!server->socket) {
        fprintf(stderr, "cannot listen on 127.0.0.1:%u: %s\n", port, strerror(errno));
        return false;
    }
    return true;
}

static bool server_watch(struct server *server, const struct settings *settings)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        server->signals[i] = evsignal_new(server->base, numbers[i], on_signal, server);
        if (!server->signals[i] || event_add(server->signals[i], NULL) != 0) {
            return false;
        }
    }
    if (settings->blocking) {
        return true;
    }
    int error = strait_pool_create(&server->pool, &settings->pool);
    if (error) {
        fprintf(stderr, "cannot create the pool: %s\n", strerror(-error));
        return false;
    }
    server->pool_event = event_new(server->base, strait_pool_fd(server->pool), EV_READ | EV_PERSIST,
                                   on_pool, server);
    return server->pool_event && event_add(server->pool_event, NULL) == 0;
}

static void say_where(const struct server *server)
{
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    evutil_socket_t fd = evhttp_bound_socket_get_fd(server->socket);
    if (getsockname(fd, (struct sockaddr *)&address, &length) == 0) {
        printf("listening on http://127.0.0.1:%u\n", ntohs(address.sin_port));
        fflush(stdout);
    }
}

static void server_end(struct server *server)
{
    if (server->pool) {
        strait_pool_close(server->pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
    }
    for (size_t i = 0; i < 2; i++) {
        if (server->signals[i]) {
            event_free(server->signals[i]);
        }
    }
    if (server->pool_event) {
        event_free(server->pool_event);
    }
    if (server->http) {
        evhttp_free(server->http);
    }
    if (server->base) {
        event_base_free(server->base);
    }
    strait_pool_destroy(server->pool);
}

static int serve(const struct settings *settings)
{
    struct server server = {0};
    int status = EXIT_FAILURE;
    signal(SIGPIPE, SIG_IGN); /* a client that hangs up while it is answered */
    if (server_listen(&server, settings->port) && server_watch(&server, settings)) {
        say_where(&server);
        event_base_dispatch(server.base);
        status = EXIT_SUCCESS;
    }
    server_end(&server);
    return status;
}

/* ---- command line ---- */

static const char usage[] =
    "usage: offload_server [--port N] [--workers N] [--queue N] [--schedule CLASS] [--blocking]\n"
    "  --port N          on 127.0.0.1; 0: a free one (default 8080)\n"
    "  --workers N       threads of the pool; 0: one for each CPU (default 0)\n"
    "  --queue N         heavy requests that may wait for a worker (default 64)\n"
    "  --schedule CLASS  of the workers: default, normal, batch or idle\n"
    "  --blocking        compute on the loop instead\n";

static bool parse_schedule(const char *text, enum strait_schedule *schedule)
{
    static const char *const names[] = {
        [STRAIT_SCHEDULE_DEFAULT] = "default",
        [STRAIT_SCHEDULE_NORMAL] = "normal",
        [STRAIT_SCHEDULE_BATCH] = "batch",
        [STRAIT_SCHEDULE_IDLE] = "idle",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *schedule = (enum strait_schedule)i;
            return true;
        }
    }
    return false;
}

static bool parse_option(int option, const char *text, struct settings *settings)
{
    unsigned long number = 0;
    switch (option) {
    case 'p':
        if (!parse_number(text, UINT16_MAX, &number)) {
            return false;
        }
        settings->port = (uint16_t)number;
        return true;
    case 'w':
        if (!parse_number(text, STRAIT_POOL_WORKERS_MAX, &number)) {
            return false;
        }
        settings->pool.workers = (unsigned)number;
        return true;
    case 'q':
        if (!parse_number(text, STRAIT_QUEUE_LIMIT_MAX, &number) || number == 0) {
            return false;
        }
        settings->pool.queue_limit = number;
        return true;
    case 's':
        return parse_schedule(text, &settings->pool.schedule);
    case 'b':
        settings->blocking = true;
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"workers", required_argument, NULL, 'w'},
        {"queue", required_argument, NULL, 'q'},
        {"schedule", required_argument, NULL, 's'},
        {"blocking", no_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct settings settings = {
        .port = 8080,
        .pool = {.queue_limit = 64, .name = "heavy"},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        if (!parse_option(option, optarg, &settings)) {
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind != argc) {
        fputs(usage, stderr);
        return 2;
    }
    return serve(&settings);
}
