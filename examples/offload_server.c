/* SPDX-License-Identifier: MIT */
/*
 * offload_server: an HTTP server on one event loop that never blocks it.
 *
 *   GET /light          answers at once
 *   GET /heavy?ms=N     burns N milliseconds of CPU (default 1000, at most 10000) in a worker of a
 *                       strait pool, and answers when the completion runs on the loop's thread
 *       &within=MS      ... or with 504 if that takes longer than MS milliseconds (1 to 60000)
 *   GET /stats          the pool's counters, percentiles and workers, as JSON
 *
 * A full queue is answered with 503 and Retry-After; a client that hangs up is computed for no
 * longer. With --pthreads, plain threads compute; with --blocking the loop itself: the disease that
 * the pool cures. SIGTERM and SIGINT finish what runs, answer it, refuse what waits, and end the
 * server with 0.
 */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include "offload/burn.h"
#include "offload/settings.h"
#include "offload/threads.h"
#include "strait.h"
#include "strait/extra/stats.h"

#define MS_DEFAULT 1000
#define MS_MAX 10000
#define REQUEST_MAX 16384 /* bytes of headers, and of a body */
#define ALL_METHODS                                                                                \
    (EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |     \
     EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE | EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH)

struct server {
    const struct settings *settings;
    struct event_base *base;
    struct evhttp *http;
    struct evhttp_bound_socket *socket;
    struct event *completions;
    struct event *signals[2];
    struct strait_pool *pool; /* NULL in the other modes */
    struct strait_parent *parent;
    struct strait_pool_times times; /* of its tasks */
    struct threads *threads;        /* likewise */
    uint64_t heavy_open;            /* whose answer, or whose client, has not left yet */
    uint64_t heavy_computing;       /* of them: not yet completed */
    uint64_t heavy_blocking;        /* computed on the loop */
    bool stopping;
};

/* One /heavy request, from its arrival until its answer has left or its client has. */
struct heavy {
    struct server *server;
    struct evhttp_request *request;
    struct evhttp_connection *connection; /* NULL: it has been closed */
    struct event *hang_up;                /* watches for a client that does not wait */
    struct event *late;                   /* rings when the answer is due; NULL: any time will do */
    bool is_late;
    strait_task_id task; /* 0: not the pool's */
    struct job job;      /* of the plain threads */
    struct burn work;    /* theirs while they run; with a pool the task has it */
    bool computed;
};

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

static void answer_busy(struct evhttp_request *request, const char *text, uint64_t seconds)
{
    char number[24];
    snprintf(number, sizeof(number), "%" PRIu64, seconds);
    evhttp_add_header(evhttp_request_get_output_headers(request), "Retry-After", number);
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

/* Nothing is computed any more: answers that clients do not take get a second. */
static void end_if_stopped(struct server *server)
{
    struct timeval patience = {.tv_sec = server->heavy_open > 0};
    if (server->stopping && server->heavy_computing == 0) {
        event_base_loopexit(server->base, &patience);
    }
}

static void heavy_free(struct heavy *heavy)
{
    struct server *server = heavy->server;
    if (heavy->hang_up) {
        event_free(heavy->hang_up);
    }
    if (heavy->late) {
        event_free(heavy->late);
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

/* Nobody waits for the result. */
static void heavy_cancel(struct heavy *heavy)
{
    if (heavy->task) {
        strait_task_cancel(heavy->server->parent, heavy->task);
    }
}

/* The connection is closed; libevent leaves the request to us if it is not answered yet. */
static void on_closed(struct evhttp_connection *connection, void *argument)
{
    struct heavy *heavy = argument;
    (void)connection;
    heavy->connection = NULL;
    if (heavy->computed) {
        heavy_free(heavy);
        return;
    }
    if (heavy->hang_up) {
        event_del(heavy->hang_up);
    }
    heavy_cancel(heavy);
}

/* What the cancelled task answers, the closed connection swallows. */
static void on_hang_up(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    heavy_cancel(argument);
}

/* Waits for a worker still, or runs too long. */
static void on_late(evutil_socket_t fd, short what, void *argument)
{
    struct heavy *heavy = argument;
    (void)fd;
    (void)what;
    heavy->is_late = true;
    heavy_cancel(heavy);
}

/* The pool looks at deadlines when a worker comes to the task, and the task itself while it runs;
 * the answer is due at the very time. */
static void watch_clock(struct heavy *heavy, uint32_t within)
{
    struct timeval after = {.tv_sec = within / 1000, .tv_usec = within % 1000 * 1000};
    heavy->late = within ? evtimer_new(heavy->server->base, on_late, heavy) : NULL;
    if (heavy->late) {
        event_add(heavy->late, &after);
    }
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

static struct heavy *heavy_new(struct server *server, struct evhttp_request *request,
                               const struct burn *work)
{
    struct heavy *heavy = calloc(1, sizeof(*heavy));
    if (heavy) {
        heavy->server = server;
        heavy->request = request;
        heavy->work = *work;
        heavy->connection = evhttp_request_get_connection(request);
        evhttp_connection_set_closecb(heavy->connection, on_closed, heavy);
        evhttp_request_set_on_complete_cb(request, on_answered, heavy);
        server->heavy_open++;
        server->heavy_computing++;
    }
    return heavy;
}

/* Answers on the loop's thread; libevent frees the request, now or when the answer has left. */
static void heavy_answer(struct heavy *heavy, enum strait_task_status status)
{
    bool gone = heavy->connection == NULL;
    heavy->computed = true;
    heavy->server->heavy_computing--;
    if (heavy->hang_up) {
        event_del(heavy->hang_up);
    }
    if (heavy->late) {
        event_del(heavy->late);
    }
    if (heavy->is_late && status == STRAIT_TASK_CANCELLED) {
        status = STRAIT_TASK_EXPIRED;
    }
    switch (status) {
    case STRAIT_TASK_DONE:
        answer_burn(heavy->request, &heavy->work);
        break;
    case STRAIT_TASK_EXPIRED:
        answer_text(heavy->request, 504, "Gateway Timeout", "not computed in time");
        break;
    case STRAIT_TASK_ABANDONED:
        answer_busy(heavy->request, "shutting down", 1);
        break;
    default:
        answer_busy(heavy->request, "cancelled", 1);
    }
    if (gone) {
        heavy_free(heavy);
    } else {
        end_if_stopped(heavy->server);
    }
}

/* ---- in the pool ---- */

static int run_in_pool(struct strait_task *task)
{
    struct burn work;
    memcpy(&work, task->data, sizeof(work));
    int result = burn_run(&work, task);
    memcpy(task->data, &work, sizeof(work));
    return result;
}

static void on_computed(struct strait_task *task)
{
    struct heavy *heavy = task->context;
    memcpy(&heavy->work, task->data, sizeof(heavy->work));
    strait_pool_times_add(&heavy->server->times, task);
    heavy_answer(heavy, task->status);
}

static int heavy_submit(struct heavy *heavy, uint32_t within)
{
    struct strait_task task = {
        .run = run_in_pool, .done = on_computed, .context = heavy, .name = "heavy"};
    struct strait_submit_options how = {
        .finish_by = within ? strait_now() + (int64_t)within * 1000000 : 0,
    };
    memcpy(task.data, &heavy->work, sizeof(heavy->work));
    int error = strait_task_submit(heavy->server->parent, &task, &how, &heavy->task);
    if (error == 0) {
        watch_hang_up(heavy);
        watch_clock(heavy, within);
    }
    return error;
}

/* When a place in the queue may be free: in whole seconds, the mean time that tasks have waited in
 * it. */
static uint64_t seconds_to_wait(const struct server *server)
{
    const struct strait_histogram *waited = &server->times.waited;
    double sum = 0;
    double count = 0;
    for (unsigned i = 0; i < STRAIT_HISTOGRAM_BUCKETS; i++) {
        if (waited->counts[i] > 0) {
            count += (double)waited->counts[i];
            sum += (double)waited->counts[i] * (double)strait_histogram_first(i);
        }
    }
    return 1 + (count > 0 ? (uint64_t)(sum / count / 1e9) : 0);
}

/* ---- in plain threads ---- */

static struct heavy *heavy_of_job(struct job *job)
{
    return (struct heavy *)(void *)((char *)job - offsetof(struct heavy, job));
}

static void run_in_thread(struct job *job)
{
    burn_run(&heavy_of_job(job)->work, NULL);
}

static void on_job_done(struct job *job)
{
    heavy_answer(heavy_of_job(job), job->ran ? STRAIT_TASK_DONE : STRAIT_TASK_ABANDONED);
}

/* ---- in any mode ---- */

static void heavy_refuse(struct heavy *heavy, int error)
{
    struct server *server = heavy->server;
    uint64_t seconds = server->pool ? seconds_to_wait(server) : 1;
    heavy->computed = true;
    server->heavy_computing--;
    answer_busy(heavy->request, error == -EAGAIN ? "the queue is full" : "shutting down", seconds);
}

static void heavy_start(struct server *server, struct evhttp_request *request,
                        const struct burn *work, uint32_t within)
{
    int error = 0;
    struct heavy *heavy = heavy_new(server, request, work);
    if (!heavy) {
        answer_busy(request, "out of memory", 1);
        return;
    }
    if (server->pool) {
        error = heavy_submit(heavy, within);
    } else if (server->threads) {
        heavy->job = (struct job){.run = run_in_thread, .done = on_job_done};
        error = threads_submit(server->threads, &heavy->job);
    } else {
        burn_run(&heavy->work, NULL);
        server->heavy_blocking++;
        heavy_answer(heavy, STRAIT_TASK_DONE);
    }
    if (error) {
        heavy_refuse(heavy, error);
    }
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

/* A number of the query's, from `min` to `max`; *number stays where it is not given. */
static bool take_number(struct evkeyvalq *parameters, const char *name, uint32_t min, uint32_t max,
                        uint32_t *number)
{
    const char *text = evhttp_find_header(parameters, name);
    unsigned long given = 0;
    if (!text) {
        return true;
    }
    bool valid = parse_number(text, max, &given) && given >= min;
    *number = (uint32_t)given;
    return valid;
}

static bool parse_heavy(struct evhttp_request *request, uint32_t *ms, uint32_t *within)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
    struct evkeyvalq parameters;
    if (!query) {
        return true;
    }
    if (evhttp_parse_query_str(query, &parameters) != 0) {
        return false;
    }
    bool valid = take_number(&parameters, "ms", 0, MS_MAX, ms) &&
                 take_number(&parameters, "within", 1, WITHIN_MAX, within);
    evhttp_clear_headers(&parameters);
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
    struct burn work = {.ms = MS_DEFAULT};
    uint32_t within = server->settings->within;
    if (!only_get(request)) {
        return;
    }
    if (parse_heavy(request, &work.ms, &within)) {
        heavy_start(server, request, &work, within);
    } else {
        answer_text(request, 400, "Bad Request",
                    "ms must be a number from 0 to 10000, within one from 1 to 60000");
    }
}

static void write_pool(struct server *server, struct evbuffer *body)
{
    size_t size = strait_pool_json(server->pool, &server->times, NULL, 0) + 256; /* numbers grow */
    char *text = malloc(size);
    if (text && strait_pool_json(server->pool, &server->times, text, size) < size) {
        evbuffer_add_printf(body, "{\"mode\": \"pool\", \"pool\": %s}\n", text);
    }
    free(text);
}

static void write_threads(struct server *server, struct evbuffer *body)
{
    struct threads_stats stats = {.submitted = server->heavy_blocking,
                                  .done = server->heavy_blocking};
    if (server->threads) {
        threads_stats(server->threads, &stats);
    }
    evbuffer_add_printf(
        body,
        "{\"mode\": \"%s\", \"pool\": {\"submitted\": %" PRIu64 ", \"done\": %" PRIu64
        ", \"failed\": 0, \"cancelled\": 0, \"expired\": 0, \"abandoned\": %" PRIu64
        ", \"queued\": %" PRIu64 ", \"running\": %" PRIu64 ", \"refused\": %" PRIu64
        ", \"queue_limit\": %" PRIu64 ", \"workers\": %" PRIu64 "}}\n",
        server->threads ? "pthreads" : "blocking", stats.submitted, stats.done, stats.abandoned,
        stats.queued, stats.running, stats.refused, stats.queue_limit, stats.workers);
}

static void serve_stats(struct evhttp_request *request, void *argument)
{
    struct server *server = argument;
    if (!only_get(request)) {
        return;
    }
    struct evbuffer *body = evbuffer_new();
    if (server->pool) {
        write_pool(server, body);
    } else {
        write_threads(server, body);
    }
    answer(request, 200, "OK", "application/json", body);
    evbuffer_free(body);
}

static void serve_unknown(struct evhttp_request *request, void *argument)
{
    (void)argument;
    answer_text(request, 404, "Not Found", "try /light, /heavy?ms=1000 or /stats");
}

/* ---- events ---- */

static void on_completions(evutil_socket_t fd, short what, void *argument)
{
    struct server *server = argument;
    (void)fd;
    (void)what;
    if (server->pool) {
        strait_parent_dispatch(server->parent, 0);
    } else {
        threads_dispatch(server->threads);
    }
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
        strait_pool_close(server->pool, STRAIT_CLOSE_CANCEL, 0, NULL); /* only starts it */
    } else if (server->threads) {
        threads_close(server->threads);
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
    evhttp_set_max_headers_size(server->http, REQUEST_MAX);
    evhttp_set_max_body_size(server->http, REQUEST_MAX);
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

static bool server_watch_signals(struct server *server)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        server->signals[i] = evsignal_new(server->base, numbers[i], on_signal, server);
        if (!server->signals[i] || event_add(server->signals[i], NULL) != 0) {
            return false;
        }
    }
    return true;
}

/* The threads that compute, and the loop as their parent. */
static int server_hire(struct server *server, int *fd)
{
    const struct strait_pool_options *options = &server->settings->pool;
    int error;
    if (server->settings->mode == MODE_THREADS) {
        error = threads_create(&server->threads, options->workers, options->queue_limit);
        *fd = error ? -1 : threads_fd(server->threads);
        return error;
    }
    error = strait_pool_create(&server->pool, options);
    if (error == 0) {
        error = strait_pool_attach(server->pool, &server->parent, NULL);
    }
    *fd = error ? -1 : strait_parent_fd(server->parent);
    return error;
}

static bool server_watch_completions(struct server *server)
{
    int fd;
    int error = server_hire(server, &fd);
    if (error) {
        fprintf(stderr, "cannot create the pool: %s\n", strerror(-error));
        return false;
    }
    server->completions = event_new(server->base, fd, EV_READ | EV_PERSIST, on_completions, server);
    return server->completions && event_add(server->completions, NULL) == 0;
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

static void dismiss(struct server *server)
{
    if (server->pool) {
        strait_pool_finish(server->pool, server->parent, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
    }
    if (server->threads) {
        threads_close(server->threads);
        threads_destroy(server->threads);
    }
}

static void server_end(struct server *server)
{
    if (server->completions) {
        event_free(server->completions);
    }
    dismiss(server);
    for (size_t i = 0; i < 2; i++) {
        if (server->signals[i]) {
            event_free(server->signals[i]);
        }
    }
    if (server->http) {
        evhttp_free(server->http);
    }
    if (server->base) {
        event_base_free(server->base);
    }
}

static int serve(const struct settings *settings)
{
    struct server server = {.settings = settings};
    int status = EXIT_FAILURE;
    signal(SIGPIPE, SIG_IGN); /* a client that hangs up while it is answered */
    if (server_listen(&server, settings->port) && server_watch_signals(&server) &&
        (settings->mode == MODE_LOOP || server_watch_completions(&server))) {
        say_where(&server);
        event_base_dispatch(server.base);
        status = EXIT_SUCCESS;
    }
    server_end(&server);
    return status;
}

int main(int argc, char **argv)
{
    struct settings settings;
    int status;
    return settings_parse(&settings, argc, argv, &status) ? serve(&settings) : status;
}
