/* SPDX-License-Identifier: MIT */
/*
 * uv_offload: a small HTTP server on a libuv loop that never blocks it.
 *
 *   GET /light     answers at once, with the ticks of a worker that has a loop of its own
 *   GET /heavy/N   counts the primes up to N (at most 999999999) in a pool; a client that hangs up
 *                  cancels it
 *
 * A connection is for one request, in one piece, within REQUEST_MS; a client that closes its side
 * has hung up. SIGINT, SIGTERM and SIGHUP refuse what waits, finish what is computed, for DRAIN_MS
 * at most, stop the worker and end the program with 0.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "strait_uv.h"

#define SIGNALS 3
#define LIMIT_MAX 999999999
#define REQUEST_MS 10000
#define DRAIN_MS 5000
#define GONE_S 30 /* until a client that no longer exists is missed */
#define REFUSED "503 Service Unavailable"

static struct {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_signal_t signals[SIGNALS];
    uv_timer_t drained;
    struct strait_pool *pool;
    struct strait_parent *parent; /* the loop, to the pool */
    struct strait_uv_handle pool_uv;
    struct strait_worker *ticker;
    struct strait_isolate *isolate; /* the ticker's */
    struct strait_uv_handle ticker_uv;
    uint64_t ticks;
} server;

struct client {
    uv_tcp_t tcp;    /* first: its handle is the client */
    uv_timer_t late; /* rings when it has not asked in time */
    char request[512];
    strait_task_id task;
    bool computing;
    uint64_t limit; /* these two are the pool's while it computes */
    uint64_t primes;
};

static void require(int error)
{
    if (error < 0) {
        fprintf(stderr, "uv_offload: %s\n", uv_strerror(error));
        exit(EXIT_FAILURE);
    }
}

static int count_primes(struct strait_task *task) /* in the pool */
{
    struct client *client = task->context;
    for (uint64_t n = 2; n <= client->limit; n++) {
        uint64_t divisor = 2;
        if (strait_task_cancelled(task)) {
            return -ECANCELED;
        }
        while (divisor * divisor <= n && n % divisor != 0) {
            divisor++;
        }
        client->primes += divisor * divisor > n;
    }
    return 0;
}

static void tick(uv_timer_t *timer)
{
    strait_try_send(&strait_isolate_port(timer->data)->sender, "", 1); /* or there is no room */
}

/* The parent's messages are intervals in milliseconds. */
static int set_interval(struct strait_isolate *isolate, const void *message, void *timer)
{
    const uint64_t *ms = message;
    (void)isolate;
    return uv_timer_start(timer, tick, *ms, *ms);
}

static void ticker_over(struct strait_uv_handle *handle)
{
    uv_close(handle->data, NULL);
    strait_uv_close(handle, NULL);
}

static int ticker_main(struct strait_isolate *isolate) /* the isolate's entry */
{
    uv_loop_t loop;
    uv_timer_t timer;
    struct strait_uv_handle handle;
    require(uv_loop_init(&loop));
    require(uv_timer_init(&loop, &timer));
    timer.data = isolate;
    handle.data = &timer;
    require(strait_uv_isolate_start(&loop, &handle, isolate, set_interval, &timer, ticker_over));
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return handle.status;
}

static void ticker_event(struct strait_worker *worker, const struct strait_event *event,
                         void *context)
{
    (void)worker;
    (void)context;
    server.ticks += event->type == STRAIT_MESSAGE;
}

static void client_free(uv_handle_t *late)
{
    free(late->data);
}

static void client_closed(uv_handle_t *client)
{
    uv_close((uv_handle_t *)&((struct client *)client)->late, client_free);
}

static void client_late(uv_timer_t *late)
{
    uv_close(late->data, client_closed);
}

/* The few bytes fit into the buffer of a new connection. */
static void answer(struct client *client, const char *status, uint64_t number)
{
    char text[128];
    int length = snprintf(text, sizeof(text),
                          "HTTP/1.1 %s\r\nConnection: close\r\n\r\n%" PRIu64 "\n", status, number);
    uv_buf_t buffer = uv_buf_init(text, (unsigned)length);
    uv_try_write((uv_stream_t *)&client->tcp, &buffer, 1);
    uv_close((uv_handle_t *)&client->tcp, client_closed);
}

static void heavy_done(struct strait_task *task)
{
    struct client *client = task->context;
    answer(client, task->status == STRAIT_TASK_DONE ? "200 OK" : REFUSED, client->primes);
}

/* Decimal digits only, 0 to `max`, and then `end`. */
static bool parse_number(const char *text, char end, uint64_t max, uint64_t *number)
{
    const char *first = text;
    for (*number = 0; *text >= '0' && *text <= '9' && *number <= max; text++) {
        *number = *number * 10 + (uint64_t)(*text - '0');
    }
    return text > first && *text == end && *number <= max;
}

static void serve(struct client *client)
{
    struct strait_task task = {.run = count_primes, .done = heavy_done, .context = client};
    if (strncmp(client->request, "GET /light ", 11) == 0) {
        answer(client, "200 OK", server.ticks);
    } else if (strncmp(client->request, "GET /heavy/", 11) != 0 ||
               !parse_number(client->request + 11, ' ', LIMIT_MAX, &client->limit)) {
        answer(client, "404 Not Found", 0);
    } else if (strait_task_submit(server.parent, &task, NULL, &client->task) != 0) {
        answer(client, REFUSED, 0);
    } else {
        client->computing = true;
        uv_timer_stop(&client->late);
    }
}

static void client_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct client *client = (struct client *)handle;
    *buffer = uv_buf_init(client->request, sizeof(client->request) - 1);
    (void)suggested;
}

/* While it is computed for, all that matters is whether the client is still there. */
static void client_read(uv_stream_t *stream, ssize_t bytes, const uv_buf_t *buffer)
{
    struct client *client = (struct client *)stream;
    if (bytes < 0 && client->computing) {
        strait_task_cancel(server.parent, client->task); /* its completion closes the client */
    } else if (bytes < 0) {
        uv_close((uv_handle_t *)stream, client_closed);
    } else if (bytes > 0 && !client->computing) {
        buffer->base[bytes] = '\0';
        serve(client);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct client *client = status == 0 ? calloc(1, sizeof(*client)) : NULL;
    if (client) {
        client->late.data = client->tcp.data = client;
        uv_timer_init(listener->loop, &client->late);
        uv_timer_start(&client->late, client_late, REQUEST_MS, 0);
        uv_tcp_init(listener->loop, &client->tcp);
        uv_accept(listener, (uv_stream_t *)&client->tcp);
        uv_tcp_keepalive(&client->tcp, 1, GONE_S);
        uv_read_start((uv_stream_t *)&client->tcp, client_room, client_read);
    }
}

static void close_if_asking(uv_handle_t *handle, void *context)
{
    (void)context;
    if (handle->type == UV_TCP && !uv_is_closing(handle) && !((struct client *)handle)->computing) {
        uv_close(handle, client_closed);
    }
}

static void cancel_if_computing(uv_handle_t *handle, void *context)
{
    (void)context;
    if (handle->type == UV_TCP && !uv_is_closing(handle)) {
        strait_task_cancel(server.parent, ((struct client *)handle)->task);
    }
}

static void on_drained(uv_timer_t *timer)
{
    uv_walk(&server.loop, cancel_if_computing, NULL);
    (void)timer;
}

/* Nothing stays in the loop but what still has to be done. */
static void on_signal(uv_signal_t *signal, int number)
{
    (void)signal;
    (void)number;
    uv_close((uv_handle_t *)&server.listener, NULL);
    for (size_t i = 0; i < SIGNALS; i++) {
        uv_close((uv_handle_t *)&server.signals[i], NULL);
    }
    uv_walk(&server.loop, close_if_asking, NULL);
    uv_timer_start(&server.drained, on_drained, DRAIN_MS, 0);
    strait_uv_pool_shutdown(&server.pool_uv, STRAIT_CLOSE_CANCEL);
    strait_worker_stop(server.ticker);
}

static void pool_ended(struct strait_uv_handle *handle)
{
    uv_close((uv_handle_t *)&server.drained, NULL);
    strait_uv_close(handle, NULL);
    strait_pool_destroy(server.pool);
}

static void ticker_ended(struct strait_uv_handle *handle)
{
    strait_uv_close(handle, NULL);
    strait_worker_join(server.ticker, STRAIT_FOREVER);
    strait_worker_destroy(server.ticker);
    strait_isolate_destroy(server.isolate);
}

static void start_workers(void)
{
    uint64_t interval = 50;
    struct strait_isolate_options isolate = {.entry = ticker_main};
    require(strait_isolate_create(&server.isolate, &isolate));
    struct strait_worker_options options = {
        .entry = strait_isolate_main,
        .data = server.isolate,
        .to_worker = {.message_size = sizeof(interval), .receiver = STRAIT_WAIT_FD},
        .to_parent = {.message_size = 1},
        .event = ticker_event,
    };
    require(strait_pool_create(&server.pool, NULL));
    require(strait_pool_attach(server.pool, &server.parent, NULL));
    require(strait_worker_spawn(&server.ticker, &options));
    require(strait_uv_pool_start(&server.loop, &server.pool_uv, server.pool, server.parent,
                                 pool_ended));
    require(strait_uv_worker_start(&server.loop, &server.ticker_uv, server.ticker, ticker_ended));
    strait_try_send(&strait_worker_port(server.ticker)->sender, &interval, 1);
}

static void start_listening(int port)
{
    struct sockaddr_in address;
    int length = sizeof(address);
    static const int signals[SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < SIGNALS; i++) {
        require(uv_signal_init(&server.loop, &server.signals[i]));
        require(uv_signal_start(&server.signals[i], on_signal, signals[i]));
    }
    require(uv_timer_init(&server.loop, &server.drained));
    uv_ip4_addr("127.0.0.1", port, &address);
    require(uv_tcp_init(&server.loop, &server.listener));
    require(uv_tcp_bind(&server.listener, (struct sockaddr *)&address, 0));
    require(uv_listen((uv_stream_t *)&server.listener, 128, on_connection));
    require(uv_tcp_getsockname(&server.listener, (struct sockaddr *)&address, &length));
    printf("listening on http://127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    uint64_t port = 8080;
    if (argc > 2 || (argc == 2 && !parse_number(argv[1], '\0', UINT16_MAX, &port))) {
        fprintf(stderr, "usage: uv_offload [PORT]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* of a client that hangs up while it is answered */
    require(uv_loop_init(&server.loop));
    start_workers();
    start_listening((int)port);
    uv_run(&server.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&server.loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
