/* SPDX-License-Identifier: MIT */
/* answers: what the server says to the clients of the storm, checked. */
#define _GNU_SOURCE
#include "storm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const counter_names[COUNTERS] = {
    "submitted", "done",       "failed", "cancelled", "expired",     "abandoned",
    "refused",   "queued_max", "queued", "running",   "queue_limit",
};

static uint64_t waits; /* that the histogram has counted */

/* ---- the accounts ---- */

/* The number after the name, from `text` on. */
static uint64_t number_of(const char *text, const char *name)
{
    char key[32];
    snprintf(key, sizeof(key), "\"%s\": ", name);
    const char *at = strstr(text, key);
    if (!at) {
        fail("no %s in %s", name, text);
    }
    return strtoull(at + strlen(key), NULL, 10);
}

static void check_times(const char *text, const char *name)
{
    static const char *const points[] = {"p50", "p90", "p99", "p99.9", "p99.99", "max"};
    const char *from = strstr(text, name);
    uint64_t least = 0;
    if (!from) {
        fail("no %s in %s", name, text);
    }
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        uint64_t ns = number_of(from, points[i]);
        if (ns < least) {
            fail("%s falls at %s: %s", name, points[i], text);
        }
        least = ns;
    }
}

static void check_stats(const char *text)
{
    uint64_t fresh[COUNTERS];
    uint64_t sum = 0;
    for (int i = 0; i < COUNTERS; i++) {
        fresh[i] = number_of(text, counter_names[i]);
        if (i < MONOTONIC && fresh[i] < counters[i]) {
            fail("%s was %" PRIu64 ": %s", counter_names[i], counters[i], text);
        }
    }
    for (int i = DONE; i <= ABANDONED; i++) {
        sum += fresh[i];
    }
    if (fresh[SUBMITTED] != sum + fresh[QUEUED] + fresh[RUNNING]) {
        fail("the counters do not add up: %s", text);
    }
    if (fresh[QUEUED_MAX] > fresh[QUEUE_LIMIT]) {
        fail("more waited than may: %s", text);
    }
    check_times(text, "wait_ns");
    check_times(text, "run_ns");
    uint64_t count = number_of(strstr(text, "wait_ns"), "count");
    if (count < waits || count > fresh[SUBMITTED]) {
        fail("%" PRIu64 " had waited before: %s", waits, text);
    }
    waits = count;
    memcpy(counters, fresh, sizeof(counters));
    seen.stats++;
}

/* ---- answers ---- */

static void check_refusal(const struct client *client, const char *head, const char *body)
{
    const char *retry = strcasestr(head, "\r\nRetry-After: ");
    if (!retry || retry > body || strtoul(retry + 15, NULL, 10) < 1) {
        fail("%s: 503 without Retry-After: %s", kind_names[client->kind], head);
    }
    if (!ending && client->strict && strcmp(body, "the queue is full\n") != 0) {
        fail("%s was refused: %s", kind_names[client->kind], body);
    }
    seen.full++;
}

/* One that was asked for properly. */
static void check_answer(const struct client *client, const struct request *request, int status,
                         const char *head, const char *body)
{
    char result[32];
    bool heavy = request->kind == HEAVY || request->kind == LATE;
    snprintf(result, sizeof(result), "{\"ms\": %" PRIu32 ", ", request->ms);
    if (status == 200 && request->kind == LIGHT && strcmp(body, "light\n") == 0) {
        seen.light++;
    } else if (status == 200 && heavy && strncmp(body, result, strlen(result)) == 0) {
        seen.heavy++;
    } else if (status == 503 && heavy) {
        check_refusal(client, head, body);
    } else if (status == 504 && request->kind == LATE) {
        seen.late++;
    } else if (status == 200 && request->kind == STATS) {
        check_stats(body);
    } else {
        fail("%s, asking for %s, ms=%" PRIu32 ", got %s", kind_names[client->kind],
             kind_names[request->kind], request->ms, head);
    }
}

/* Takes one answer from what has been received; false: it is not complete. */
bool take_answer(struct client *client)
{
    char *head_end = strstr(client->in, "\r\n\r\n");
    if (!head_end) {
        return false;
    }
    char *body = head_end + 4;
    const char *length = strcasestr(client->in, "\r\nContent-Length: ");
    size_t size = length && length < body ? strtoul(length + 18, NULL, 10) : 0;
    size_t all = (size_t)(body - client->in) + size;
    if (client->received < all) {
        return false;
    }
    char next = body[size];
    int status = 0;
    body[size] = '\0';
    if (sscanf(client->in, "HTTP/1.%*c %d", &status) != 1) {
        fail("%s got %s", kind_names[client->kind], client->in);
    }
    if (client->answered < client->asked) {
        check_answer(client, &client->requests[client->answered++], status, client->in, body);
    } else if (client->strict) {
        fail("%s got one more: %s", kind_names[client->kind], client->in);
    } else {
        seen.other++;
    }
    body[size] = next;
    client->received -= all;
    memmove(client->in, client->in + all, client->received + 1);
    moved = now_ms();
    return true;
}
