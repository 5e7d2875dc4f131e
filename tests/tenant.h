/* SPDX-License-Identifier: MIT */
/*
 * tenant: a worker that runs an isolate, for the tests of isolates: made in one call, with the
 * options of both, and found again by its worker.
 */
#ifndef STRAIT_TESTS_TENANT_H
#define STRAIT_TESTS_TENANT_H

#include "life.h"

#include "strait/extra/broadcast.h"
#include "strait/extra/buffer.h"
#include "strait/extra/isolate.h"

struct tenant_options {
    strait_isolate_fn *entry;
    strait_message_fn *message;
    void *context; /* passed to all callbacks */
    void *data;
    size_t data_size;
    size_t heap_limit;
    size_t budget;
    size_t microtask_limit;
    strait_init_fn *init;
    strait_fini_fn *fini;
    const char *name;
    enum strait_pin pin;
    int cpu;
    int nice;
    size_t stack_size;
    struct strait_channel_options to_worker;
    struct strait_channel_options to_parent;
    strait_drop_fn *drop_to_worker;
    strait_drop_fn *drop_to_parent;
    strait_event_fn *event;
};

/* All that were ever made; the newest first. */
struct tenant {
    struct tenant *next;
    struct strait_worker *worker;
    struct strait_isolate *isolate;
    void *data;
};

static struct tenant *tenants;
static pthread_mutex_t tenants_lock = PTHREAD_MUTEX_INITIALIZER;

/* As strait_worker_spawn. */
static inline int tenant_spawn(struct strait_worker **worker, const struct tenant_options *options)
{
    struct tenant *tenant = calloc(1, sizeof(*tenant));
    struct strait_isolate_options isolate = {
        .entry = options->entry,
        .message = options->message,
        .context = options->context,
        .data = options->data,
        .heap_limit = options->heap_limit,
        .budget = options->budget,
        .microtask_limit = options->microtask_limit,
    };
    if (options->data_size) {
        tenant->data = malloc(options->data_size);
        isolate.data = memcpy(tenant->data, options->data, options->data_size);
    }
    int error = strait_isolate_create(&tenant->isolate, &isolate);
    struct strait_worker_options both = {
        .entry = strait_isolate_main,
        .data = tenant->isolate,
        .init = options->init,
        .fini = options->fini,
        .name = options->name,
        .pin = options->pin,
        .cpu = options->cpu,
        .nice = options->nice,
        .stack_size = options->stack_size,
        .to_worker = options->to_worker,
        .to_parent = options->to_parent,
        .drop_to_worker = options->drop_to_worker,
        .drop_to_parent = options->drop_to_parent,
        .event = options->event,
        .context = options->context,
    };
    if (!error) {
        error = strait_worker_spawn(&tenant->worker, &both);
    }
    if (error) {
        strait_isolate_destroy(tenant->isolate);
        free(tenant->data);
        free(tenant);
        return error;
    }
    *worker = tenant->worker;
    pthread_mutex_lock(&tenants_lock);
    tenant->next = tenants;
    tenants = tenant;
    pthread_mutex_unlock(&tenants_lock);
    return 0;
}

static inline struct strait_worker *spawn_tenant(const struct tenant_options *options)
{
    struct strait_worker *worker = NULL;
    assert_returns(tenant_spawn(&worker, options), 0);
    return worker;
}

/* The isolate that the worker runs or has run. */
static inline struct strait_isolate *isolate_of(const struct strait_worker *worker)
{
    pthread_mutex_lock(&tenants_lock);
    struct tenant *tenant = tenants;
    while (tenant->worker != worker) {
        tenant = tenant->next;
    }
    pthread_mutex_unlock(&tenants_lock);
    return tenant->isolate;
}

/* Runs an entry in an isolate of its own, and asserts what it expected. */
static inline void in_worker(strait_isolate_fn *entry, void *data, size_t heap_limit)
{
    struct tenant_options options = {.entry = entry, .data = data, .heap_limit = heap_limit};
    join_and_destroy(spawn_tenant(&options));
    assert_no_faults();
}

#endif /* STRAIT_TESTS_TENANT_H */
