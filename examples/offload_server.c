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

#include "offload/compute.h"
#include "offload/http.h"
#include "offload/page.h"
#include "offload/settings.h"
#include "strait.h"
#include "strait/extra/process.h"

#define MS_DEFAULT 1000
#define MS_MAX 10000
#define SIGNALS 3

struct heavy;

struct server {
    const struct settings *settings;
    struct event_base *base;
    struct http *http;
    struct event *completions;
    struct event *signals[SIGNALS];
    struct event *drained;         /* rings when what runs has had its time */
    const struct compute *compute; /* NULL: the loop itself computes */
    struct computer *computer;
    uint64_t submitted;
    uint64_t refused;
    uint64_t outcomes[STRAIT_TASK_ABANDONED + 1]; /* of what was submitted, by status */
    LIST_HEAD(, heavy) heavies;                   /* not yet completed */
    bool stopping;
};

/* One /heavy request, from its arrival until its job is done: its client may have left before. */
struct heavy {
    LIST_ENTRY(heavy) entry;
    struct server *server;
    struct http_request *request; /* NULL: the client has left */
    struct event *late;           /* rings when the answer is due; NULL: any time will do */
    bool is_late;
    struct job job; /* the computer's, from its submit until it is done */
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
    const struct server *server = heavy->server;
    if (server->compute && server->compute->cancel) {
        server->compute->cancel(server->computer, &heavy->job);
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

/* For a computer that looks at deadlines now and then: the answer is due at the very time. */
static void watch_clock(struct heavy *heavy)
{
    const struct compute *compute = heavy->server->compute;
    uint32_t within = heavy->job.within;
    struct timeval after = {.tv_sec = within / 1000, .tv_usec = within % 1000 * 1000};
    if (within && compute->cancel && !compute->expires) {
        heavy->late = evtimer_new(heavy->server->base, on_late, heavy);
    }
    if (heavy->late) {
        event_add(heavy->late, &after);
    }
}

static void heavy_answer(struct heavy *heavy, enum strait_task_status status)
{
    if (heavy->is_late && status == STRAIT_TASK_CANCELLED) {
        status = STRAIT_TASK_EXPIRED;
    }
    switch (status) {
    case STRAIT_TASK_DONE:
        answer_burn(heavy->request, &heavy->job.order.burn);
        break;
    case STRAIT_TASK_FAILED:
        answer_text(heavy->request, 502, "", "what computed it has died");
        break;
    case STRAIT_TASK_EXPIRED:
        answer_text(heavy->request, 504, "", "not computed in time");
        break;
    default:
        answer_busy(heavy->request, "shutting down", 1);
    }
}

static void heavy_done(struct job *job, enum strait_task_status status)
{
    struct heavy *heavy = (struct heavy *)(void *)((char *)job - offsetof(struct heavy, job));
    heavy->server->outcomes[status]++;
    if (heavy->request) {
        heavy_answer(heavy, status);
    }
    heavy_free(heavy);
}

static void heavy_refuse(struct heavy *heavy, int error)
{
    struct server *server = heavy->server;
    uint64_t seconds =
        server->compute->retry_after ? server->compute->retry_after(server->computer) : 1;
    server->refused++;
    answer_busy(heavy->request, error == -EAGAIN ? "the queue is full" : "shutting down", seconds);
    heavy_free(heavy);
}

static struct heavy *heavy_new(struct server *server, struct http_request *request)
{
    struct heavy *heavy = calloc(1, sizeof(*heavy));
    if (heavy) {
        heavy->server = server;
        heavy->request = request;
        heavy->job.done = heavy_done;
        request->context = heavy;
        request->left = on_left;
        LIST_INSERT_HEAD(&server->heavies, heavy, entry);
    }
    return heavy;
}

static void heavy_start(struct server *server, struct http_request *request,
                        const struct order *order, uint32_t within)
{
    struct heavy *heavy = heavy_new(server, request);
    if (!heavy) {
        answer_busy(request, "out of memory", 1);
        return;
    }
    heavy->job.order = *order;
    heavy->job.within = within;
    if (!server->compute) {
        server->submitted++;
        burn_run(&heavy->job.order.burn, NULL, NULL);
        heavy_done(&heavy->job, STRAIT_TASK_DONE);
        return;
    }
    int error = server->stopping ? -EPIPE : server->compute->submit(server->computer, &heavy->job);
    if (error) {
        heavy_refuse(heavy, error);
        return;
    }
    server->submitted++;
    watch_clock(heavy);
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

static bool parse_heavy(const char *query, struct order *order, uint32_t *within)
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
    bool valid = take_number(&parameters, "ms", 0, MS_MAX, &order->burn.ms) &&
                 take_number(&parameters, "within", 1, WITHIN_MAX, within) &&
                 take_number(&parameters, "crash", 0, 1, &crash) &&
                 take_number(&parameters, "hang", 0, 1, &hang);
    order->harm = crash ? HARM_CRASH : hang ? HARM_HANG : HARM_NONE;
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
    struct order order = {.burn = {.ms = MS_DEFAULT}};
    uint32_t within = server->settings->within;
    if (!parse_heavy(request->query, &order, &within)) {
        answer_text(request, 400, "",
                    "ms must be a number from 0 to 10000, within one from 1 to 60000");
    } else if (order.harm && !(server->compute && server->compute->bears_harm)) {
        answer_text(request, 400, "", "what crashes or hangs wants a server with --processes");
    } else {
        heavy_start(server, request, &order, within);
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

/* The members of "pool", for a computer that does not tell all of them itself. NULL: no memory. */
static char *computer_json(const struct server *server)
{
    const uint64_t *outcomes = server->outcomes;
    struct computer_stats stats = {.workers = 0};
    char *text = NULL;
    if (server->compute) {
        server->compute->stats(server->computer, &stats);
    }
    int length =
        asprintf(&text,
                 "{\"submitted\": %" PRIu64 ", \"done\": %" PRIu64 ", \"failed\": %" PRIu64
                 ", \"cancelled\": %" PRIu64 ", \"expired\": %" PRIu64 ", \"abandoned\": %" PRIu64
                 ", \"queued\": %" PRIu64 ", \"running\": %" PRIu64 ", \"refused\": %" PRIu64
                 ", \"queue_limit\": %" PRIu64 ", \"workers\": %" PRIu64 "%s}",
                 server->submitted, outcomes[STRAIT_TASK_DONE], outcomes[STRAIT_TASK_FAILED],
                 outcomes[STRAIT_TASK_CANCELLED], outcomes[STRAIT_TASK_EXPIRED],
                 outcomes[STRAIT_TASK_ABANDONED], stats.queued, stats.running, server->refused,
                 stats.queue_limit, stats.workers, stats.more);
    return length >= 0 ? text : NULL;
}

static void serve_stats(struct server *server, struct http_request *request)
{
    bool whole = server->compute && server->compute->json;
    char *pool = whole ? server->compute->json(server->computer) : computer_json(server);
    char *body = NULL;
    if (pool && asprintf(&body, "{\"mode\": \"%s\", \"connections\": %zu, \"pool\": %s}\n",
                         server->settings->mode->name, http_connections(server->http), pool) >= 0) {
        answer_json(request, body);
        free(body);
    } else {
        answer_busy(request, "out of memory", 1);
    }
    free(pool);
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
    server->compute->dispatch(server->computer);
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
    if (server->compute && server->compute->stop) {
        server->compute->stop(server->computer);
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

static bool server_hire(struct server *server)
{
    if (!server->compute) {
        return true;
    }
    int error = server->compute->create(&server->computer, server->settings);
    if (error) {
        fprintf(stderr, "cannot create the %s: %s\n", server->settings->mode->name,
                strait_strerror(error));
        return false;
    }
    server->completions = event_new(server->base, server->compute->fd(server->computer),
                                    EV_READ | EV_PERSIST, on_completions, server);
    return server->completions && event_add(server->completions, NULL) == 0;
}

static void server_end(struct server *server)
{
    if (server->completions) {
        event_free(server->completions);
    }
    if (server->computer) {
        server->compute->destroy(server->computer);
    }
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
    struct server server = {.settings = settings, .compute = settings->mode->compute};
    struct http_handlers handlers = {.context = &server, .serve = serve, .emptied = end_if_stopped};
    int status = EXIT_FAILURE;
    signal(SIGPIPE, SIG_IGN); /* of whoever read what the server prints */
    if (server_listen(&server, &handlers) && server_watch_signals(&server) &&
        server_hire(&server)) {
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
