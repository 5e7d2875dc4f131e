/* SPDX-License-Identifier: MIT */
/*
 * offload_server: an HTTP server on one event loop that never blocks it.
 *
 *   GET /light          answers at once
 *   GET /heavy?ms=N     burns N milliseconds of CPU (default 1000, at most 10000) in a worker of a
 *                       strait pool, and answers when the completion runs on the loop's thread
 *       &within=MS      ... or with 504 if that takes longer than MS milliseconds (1 to 60000)
 *       &crash=1        ... or crashes, &hang=1 or never ends: with --processes alone
 *   GET /stats          the pool's counters, percentiles and workers, as JSON; ?pretty: for people
 *   GET /               a page that draws them
 *
 * A full queue is answered with 503 and Retry-After; a client that hangs up is computed for no
 * longer. With --processes, processes compute: one that crashes is a 502, one that hangs a
 * 504, and the others are served. With --pthreads, plain threads compute; with --blocking the loop
 * itself: the disease that the pool cures. SIGTERM, SIGINT and SIGHUP refuse what waits, finish
 * what runs, answer it, and end the server with 0; what runs after --drain milliseconds, or at a
 * second signal, is cancelled.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include "offload/burn.h"
#include "offload/http.h"
#include "offload/page.h"
#include "offload/settings.h"
#include "offload/threads.h"
#include "strait.h"
#include "strait/extra/process.h"
#include "strait/extra/stats.h"

#define MS_DEFAULT 1000
#define MS_MAX 10000
#define SIGNALS 3
/* What a request that says nothing else has, where it may hang. */
#define HANG_MS 1000

struct heavy;

struct server {
    const struct settings *settings;
    struct event_base *base;
    struct http *http;
    struct event *completions;
    struct event *signals[SIGNALS];
    struct event *drained;    /* rings when what runs has had its time */
    struct strait_pool *pool; /* NULL in the other modes */
    struct strait_parent *parent;
    struct strait_pool_times times;               /* of its tasks */
    struct threads *threads;                      /* likewise */
    struct strait_process_pool *processes;        /* likewise, */
    uint64_t outcomes[STRAIT_TASK_ABANDONED + 1]; /* and what became of its tasks, by status */
    uint64_t refused;
    uint64_t heavy_blocking;    /* computed on the loop */
    LIST_HEAD(, heavy) heavies; /* not yet completed */
    bool stopping;
};

/* One /heavy request, from its arrival until its completion: its client may have left before. */
struct heavy {
    LIST_ENTRY(heavy) entry;
    struct server *server;
    struct http_request *request; /* NULL: the client has left */
    struct event *late;           /* rings when the answer is due; NULL: any time will do */
    bool is_late;
    strait_task_id task;                                 /* 0: not the pool's */
    struct job job;                                      /* of the plain threads */
    enum harm { HARM_NONE, HARM_CRASH, HARM_HANG } harm; /* what a process does instead */
    struct burn work; /* theirs while they run; with a pool the task has it */
};

/* ---- answers ---- */

static void answer_text(struct http_request *request, int status, const char *headers,
                        const char *text)
{
    char body[128];
    int length = snprintf(body, sizeof(body), "%s\n", text);
    http_answer(request, status, headers, "text/plain", body, (size_t)length);
}

static void answer_busy(struct http_request *request, const char *text, uint64_t seconds)
{
    char header[48];
    snprintf(header, sizeof(header), "Retry-After: %" PRIu64 "\r\n", seconds);
    answer_text(request, 503, header, text);
}

static void answer_burn(struct http_request *request, const struct burn *burn)
{
    char body[128];
    int length =
        snprintf(body, sizeof(body),
                 "{\"ms\": %" PRIu32 ", \"primes\": %" PRIu64 ", \"largest\": %" PRIu32 "}\n",
                 burn->ms, burn->primes, burn->largest);
    http_answer(request, 200, "", "application/json", body, (size_t)length);
}

/* ---- the life of a /heavy request ---- */

/* Nothing is computed any more: answers that clients do not take get a second. */
static void end_if_stopped(void *argument)
{
    struct server *server = argument;
    if (server->stopping && LIST_EMPTY(&server->heavies)) {
        struct timeval patience = {.tv_sec = http_connections(server->http) > 0};
        event_base_loopexit(server->base, &patience);
    }
}

static void heavy_free(struct heavy *heavy)
{
    struct server *server = heavy->server;
    LIST_REMOVE(heavy, entry);
    if (heavy->late) {
        event_free(heavy->late);
    }
    free(heavy);
    end_if_stopped(server);
}

static void heavy_cancel(struct heavy *heavy)
{
    if (heavy->task && heavy->server->processes) {
        strait_process_cancel(heavy->server->processes, heavy->task);
    } else if (heavy->task) {
        strait_task_cancel(heavy->server->parent, heavy->task);
    }
}

/* Nobody waits for the result. */
static void on_left(struct http_request *request)
{
    struct heavy *heavy = request->context;
    heavy->request = NULL;
    heavy_cancel(heavy);
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

static struct heavy *heavy_new(struct server *server, struct http_request *request,
                               const struct burn *work)
{
    struct heavy *heavy = calloc(1, sizeof(*heavy));
    if (heavy) {
        heavy->server = server;
        heavy->request = request;
        heavy->work = *work;
        request->context = heavy;
        request->left = on_left;
        LIST_INSERT_HEAD(&server->heavies, heavy, entry);
    }
    return heavy;
}

static void heavy_answer(struct heavy *heavy, enum strait_task_status status)
{
    if (heavy->is_late && status == STRAIT_TASK_CANCELLED) {
        status = STRAIT_TASK_EXPIRED;
    }
    switch (status) {
    case STRAIT_TASK_DONE:
        answer_burn(heavy->request, &heavy->work);
        break;
    case STRAIT_TASK_FAILED:
        answer_text(heavy->request, 502, "", "the process that computed it has died");
        break;
    case STRAIT_TASK_EXPIRED:
        answer_text(heavy->request, 504, "", "not computed in time");
        break;
    default:
        answer_busy(heavy->request, "shutting down", 1);
    }
}

/* On the loop's thread. */
static void heavy_complete(struct heavy *heavy, enum strait_task_status status)
{
    if (heavy->request) {
        heavy_answer(heavy, status);
    }
    heavy_free(heavy);
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
    heavy_complete(heavy, task->status);
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
    heavy_complete(heavy_of_job(job), job->ran ? STRAIT_TASK_DONE : STRAIT_TASK_ABANDONED);
}

/* ---- in processes ---- */

struct order {
    struct burn work;
    enum harm harm;
};

/* In a worker. */
static int run_in_process(struct strait_task *task)
{
    struct order order;
    memcpy(&order, task->data, sizeof(order));
    if (order.harm == HARM_CRASH) {
        abort();
    }
    while (order.harm == HARM_HANG) {
        burn_run(&order.work, NULL);
    }
    int result = burn_run(&order.work, NULL);
    memcpy(task->data, &order, sizeof(order));
    return result;
}

static const struct strait_process_function process_functions[] = {
    {.name = "heavy", .run = run_in_process},
    {.name = NULL},
};

static void on_process_done(struct strait_task *task)
{
    struct heavy *heavy = task->context;
    memcpy(&heavy->work, task->data, sizeof(heavy->work));
    heavy->server->outcomes[task->status]++;
    heavy_complete(heavy, task->status);
}

/* Its worker is killed at the deadline. */
static int heavy_submit_process(struct heavy *heavy, uint32_t within)
{
    struct order order = {.work = heavy->work, .harm = heavy->harm};
    struct strait_process_task task = {
        .task = {.name = "heavy", .done = on_process_done, .context = heavy}};
    uint32_t ms = !within && heavy->harm == HARM_HANG ? HANG_MS : within;
    struct strait_process_submit_options how = {
        .finish_by = ms ? strait_now() + (int64_t)ms * 1000000 : 0,
    };
    memcpy(task.task.data, &order, sizeof(order));
    if (heavy->server->stopping) {
        return -EPIPE;
    }
    int error = strait_process_submit(heavy->server->processes, &task, &how, &heavy->task);
    heavy->server->refused += error != 0;
    return error;
}

static void processes_stats(const struct server *server, struct threads_stats *stats)
{
    const uint64_t *outcomes = server->outcomes;
    uint64_t owed = strait_process_pool_owed(server->processes);
    stats->workers = 0;
    for (unsigned n = 0; n < STRAIT_PROCESS_POOL_WORKERS_MAX; n++) {
        stats->workers += strait_process_pool_pid(server->processes, n) != 0;
    }
    stats->done = outcomes[STRAIT_TASK_DONE];
    stats->abandoned = outcomes[STRAIT_TASK_ABANDONED];
    stats->running = owed < stats->workers ? owed : stats->workers;
    stats->queued = owed - stats->running;
    stats->refused = server->refused;
    stats->queue_limit = server->settings->pool.queue_limit;
    stats->submitted = owed;
    for (size_t i = 0; i < sizeof(server->outcomes) / sizeof(outcomes[0]); i++) {
        stats->submitted += outcomes[i];
    }
}

/* ---- in any mode ---- */

static void heavy_refuse(struct heavy *heavy, int error)
{
    struct server *server = heavy->server;
    uint64_t seconds = server->pool ? seconds_to_wait(server) : 1;
    answer_busy(heavy->request, error == -EAGAIN ? "the queue is full" : "shutting down", seconds);
    heavy_free(heavy);
}

static void heavy_start(struct server *server, struct http_request *request,
                        const struct burn *work, enum harm harm, uint32_t within)
{
    int error = 0;
    struct heavy *heavy = heavy_new(server, request, work);
    if (!heavy) {
        answer_busy(request, "out of memory", 1);
        return;
    }
    heavy->harm = harm;
    if (server->pool) {
        error = heavy_submit(heavy, within);
    } else if (server->processes) {
        error = heavy_submit_process(heavy, within);
    } else if (server->threads) {
        heavy->job = (struct job){.run = run_in_thread, .done = on_job_done};
        error = threads_submit(server->threads, &heavy->job);
    } else {
        burn_run(&heavy->work, NULL);
        server->heavy_blocking++;
        heavy_complete(heavy, STRAIT_TASK_DONE);
    }
    if (error) {
        heavy_refuse(heavy, error);
    }
}

/* ---- endpoints ---- */

/* HEAD is a GET whose answer's body http keeps back. */
static bool only_get(struct http_request *request)
{
    static const char *const others[] = {"POST",    "PUT",   "DELETE", "PATCH",
                                         "OPTIONS", "TRACE", "CONNECT"};
    if (strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0) {
        return true;
    }
    int status = 501;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        status = strcmp(request->method, others[i]) == 0 ? 405 : status;
    }
    answer_text(request, status, "Allow: GET, HEAD\r\n", "only GET and HEAD are served here");
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

static bool parse_heavy(const char *query, uint32_t *ms, uint32_t *within, enum harm *harm)
{
    uint32_t crash = 0;
    uint32_t hang = 0;
    struct evkeyvalq parameters;
    if (!query) {
        return true;
    }
    /* libevent's strings would end at a NUL, and the number before it pass for the value */
    if (strstr(query, "%00") || evhttp_parse_query_str(query, &parameters) != 0) {
        return false;
    }
    bool valid = take_number(&parameters, "ms", 0, MS_MAX, ms) &&
                 take_number(&parameters, "within", 1, WITHIN_MAX, within) &&
                 take_number(&parameters, "crash", 0, 1, &crash) &&
                 take_number(&parameters, "hang", 0, 1, &hang);
    *harm = crash ? HARM_CRASH : hang ? HARM_HANG : HARM_NONE;
    evhttp_clear_headers(&parameters);
    return valid;
}

static void serve_light(struct server *server, struct http_request *request)
{
    (void)server;
    answer_text(request, 200, "", "light");
}

static void serve_heavy(struct server *server, struct http_request *request)
{
    struct burn work = {.ms = MS_DEFAULT};
    uint32_t within = server->settings->within;
    enum harm harm = HARM_NONE;
    if (!parse_heavy(request->query, &work.ms, &within, &harm)) {
        answer_text(request, 400, "",
                    "ms must be a number from 0 to 10000, within one from 1 to 60000");
    } else if (harm && !server->processes) {
        answer_text(request, 400, "", "what crashes or hangs wants a server with --processes");
    } else {
        heavy_start(server, request, &work, harm, within);
    }
}

static void serve_page(struct server *server, struct http_request *request)
{
    (void)server;
    http_answer(request, 200, "", "text/html; charset=utf-8", page, page_length);
}

/* Of JSON without spaces at the ends of its lines: a line for each value. NULL: no memory. */
static char *indent(const char *json)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    int depth = 0;
    bool quoted = false;
    for (; out && *json; json++) {
        quoted ^= *json == '"'; /* the names here have none inside */
        bool opens = !quoted && (*json == '{' || *json == '[');
        bool closes = !quoted && (*json == '}' || *json == ']');
        depth += opens - closes;
        if (closes) {
            fprintf(out, "\n%*s", 2 * depth, "");
        }
        fputc(*json, out);
        if (opens || (!quoted && *json == ',')) {
            fprintf(out, "\n%*s", 2 * depth, "");
            json += json[1] == ' ';
        }
    }
    return out && fclose(out) == 0 ? text : NULL;
}

static void answer_json(struct http_request *request, const char *body)
{
    bool pretty = request->query && strcmp(request->query, "pretty") == 0;
    char *text = pretty ? indent(body) : NULL;
    body = text ? text : body;
    http_answer(request, 200, "", "application/json", body, strlen(body));
    free(text);
}

static void serve_pool_stats(struct server *server, struct http_request *request)
{
    size_t size = strait_pool_json(server->pool, &server->times, NULL, 0) + 256; /* numbers grow */
    char *text = malloc(size);
    char *body = NULL;
    if (text && strait_pool_json(server->pool, &server->times, text, size) < size &&
        asprintf(&body, "{\"mode\": \"pool\", \"connections\": %zu, \"pool\": %s}\n",
                 http_connections(server->http), text) >= 0) {
        answer_json(request, body);
        free(body);
    } else {
        answer_busy(request, "out of memory", 1);
    }
    free(text);
}

static void serve_stats(struct server *server, struct http_request *request)
{
    struct threads_stats stats = {.submitted = server->heavy_blocking,
                                  .done = server->heavy_blocking};
    char body[1024];
    if (server->pool) {
        serve_pool_stats(server, request);
        return;
    }
    if (server->threads) {
        threads_stats(server->threads, &stats);
    } else if (server->processes) {
        processes_stats(server, &stats);
    }
    snprintf(body, sizeof(body),
             "{\"mode\": \"%s\", \"connections\": %zu, \"pool\": {\"submitted\": %" PRIu64
             ", \"done\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"cancelled\": %" PRIu64
             ", \"expired\": %" PRIu64 ", \"abandoned\": %" PRIu64 ", \"queued\": %" PRIu64
             ", \"running\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"queue_limit\": %" PRIu64
             ", \"workers\": %" PRIu64 "}}\n",
             server->processes ? "processes"
             : server->threads ? "pthreads"
                               : "blocking",
             http_connections(server->http), stats.submitted, stats.done,
             server->outcomes[STRAIT_TASK_FAILED], server->outcomes[STRAIT_TASK_CANCELLED],
             server->outcomes[STRAIT_TASK_EXPIRED], stats.abandoned, stats.queued, stats.running,
             stats.refused, stats.queue_limit, stats.workers);
    answer_json(request, body);
}

static void serve(struct http_request *request, void *server)
{
    static const struct {
        const char *path;
        void (*serve)(struct server *server, struct http_request *request);
    } endpoints[] = {{"/light", serve_light},
                     {"/heavy", serve_heavy},
                     {"/stats", serve_stats},
                     {"/", serve_page}};
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        if (strcmp(request->path, endpoints[i].path) == 0) {
            if (only_get(request)) {
                endpoints[i].serve(server, request);
            }
            return;
        }
    }
    answer_text(request, 404, "", "try /light, /heavy?ms=1000, /stats or the page at /");
}

/* ---- events ---- */

static void on_completions(evutil_socket_t fd, short what, void *argument)
{
    struct server *server = argument;
    (void)fd;
    (void)what;
    if (server->pool) {
        strait_parent_dispatch(server->parent, 0);
    } else if (server->processes) {
        strait_process_pool_dispatch(server->processes, 0);
    } else {
        threads_dispatch(server->threads);
    }
}

/* Completed all the same, each with its own answer. */
static void on_drained(evutil_socket_t fd, short what, void *argument)
{
    struct server *server = argument;
    struct heavy *heavy;
    (void)fd;
    (void)what;
    LIST_FOREACH(heavy, &server->heavies, entry)
    {
        heavy_cancel(heavy);
    }
}

static void server_stop(struct server *server)
{
    uint32_t ms = server->settings->drain;
    struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    server->stopping = true;
    event_add(server->drained, &after);
    http_stop(server->http);
    if (server->pool) {
        strait_pool_close(server->pool, STRAIT_CLOSE_CANCEL, 0, NULL); /* only starts it */
    } else if (server->threads) {
        threads_close(server->threads);
    }
    end_if_stopped(server);
}

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    struct server *server = argument;
    if (server->stopping) {
        on_drained(number, what, server);
    } else {
        server_stop(server);
    }
}

/* ---- start and end ---- */

static bool server_listen(struct server *server, const struct http_handlers *handlers)
{
    uint16_t port = server->settings->port;
    server->base = event_base_new();
    int error = server->base ? http_create(&server->http, server->base, port, handlers) : -ENOMEM;
    if (error) {
        fprintf(stderr, "cannot listen on 127.0.0.1:%u: %s\n", port, strerror(-error));
    }
    return error == 0;
}

static bool server_watch_signals(struct server *server)
{
    static const int numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < SIGNALS; i++) {
        server->signals[i] = evsignal_new(server->base, numbers[i], on_signal, server);
        if (!server->signals[i] || event_add(server->signals[i], NULL) != 0) {
            return false;
        }
    }
    server->drained = evtimer_new(server->base, on_drained, server);
    return server->drained != NULL;
}

/* The threads or processes that compute, and the loop as their parent. */
static int server_hire(struct server *server, int *fd)
{
    const struct strait_pool_options *options = &server->settings->pool;
    int error;
    if (server->settings->mode == MODE_THREADS) {
        error = threads_create(&server->threads, options->workers, options->queue_limit);
        *fd = error ? -1 : threads_fd(server->threads);
        return error;
    }
    if (server->settings->mode == MODE_PROCESSES) {
        struct strait_process_pool_options processes = {.workers = options->workers,
                                                        .queue_limit = options->queue_limit};
        error = strait_process_pool_create(&server->processes, &processes);
        *fd = error ? -1 : strait_process_pool_fd(server->processes);
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

static void dismiss(struct server *server)
{
    if (server->pool) {
        strait_pool_finish(server->pool, server->parent, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
    }
    if (server->threads) {
        threads_close(server->threads);
        threads_destroy(server->threads);
    }
    strait_process_pool_destroy(server->processes);
}

static void server_end(struct server *server)
{
    if (server->completions) {
        event_free(server->completions);
    }
    dismiss(server);
    for (size_t i = 0; i < SIGNALS; i++) {
        if (server->signals[i]) {
            event_free(server->signals[i]);
        }
    }
    if (server->drained) {
        event_free(server->drained);
    }
    http_destroy(server->http);
    if (server->base) {
        event_base_free(server->base);
    }
}

static int run(const struct settings *settings)
{
    struct server server = {.settings = settings};
    struct http_handlers handlers = {.context = &server, .serve = serve, .emptied = end_if_stopped};
    int status = EXIT_FAILURE;
    signal(SIGPIPE, SIG_IGN); /* of whoever read what the server prints */
    if (server_listen(&server, &handlers) && server_watch_signals(&server) &&
        (settings->mode == MODE_LOOP || server_watch_completions(&server))) {
        printf("listening on http://127.0.0.1:%u\n", http_port(server.http));
        fflush(stdout);
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
    strait_process_main(argc, argv, process_functions);
    return settings_parse(&settings, argc, argv, &status) ? run(&settings) : status;
}
