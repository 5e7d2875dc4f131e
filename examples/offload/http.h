/* SPDX-License-Identifier: MIT */
/*
 * http: HTTP/1.1 on a libevent loop, for GET and HEAD, that no client keeps from serving the
 * others.
 *
 * A client that stops anywhere is waited for no longer than a deadline allows, however many bytes
 * it lets drip; one that has gone, politely, by a reset or without a word, is told of while its
 * request is computed; and without descriptors the listener pauses. All calls belong to the loop's
 * thread; none blocks.
 */
#ifndef OFFLOAD_HTTP_H
#define OFFLOAD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct http;

/* One request, from `serve` until http_answer or `left`. */
struct http_request {
    const char *method; /* the strings are http's */
    const char *path;   /* as the client wrote it */
    const char *query;  /* likewise, without the question mark; NULL: there is none */
    void *context;      /* these two are the handler's, if it answers later */
    void (*left)(struct http_request *request); /* the client has gone: no answer is due */
};

struct http_handlers {
    void *context;
    void (*serve)(struct http_request *request, void *context);
    void (*emptied)(void *context); /* after http_stop: the last connection is closed */
};

/* Listens on 127.0.0.1, on a free port if `port` is 0. 0 or -errno. `handlers` stays the caller's.
 */
int http_create(struct http **created, struct event_base *base, uint16_t port,
                const struct http_handlers *handlers);
uint16_t http_port(const struct http *http);
size_t http_connections(const struct http *http);

/* Answers, and ends the request. `headers` are lines that end with \r\n each, or "". A HEAD gets
 * all but the body, which is copied. */
void http_answer(struct http_request *request, int status, const char *headers, const char *type,
                 const char *body, size_t length);

/* Accepts nobody any more, closes what asks nothing, and each other connection after its answer. */
void http_stop(struct http *http);

/* Closes what is left, without a word to anybody; no handler is called. NULL is ignored. */
void http_destroy(struct http *http);

#endif
