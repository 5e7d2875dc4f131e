/* SPDX-License-Identifier: MIT */
#include "extra/fixture.h"

char diary[1024];

void note(const char *what, uint64_t number)
{
    size_t length = strlen(diary);
    size_t room = sizeof(diary) - length;
    int noted = snprintf(diary + length, room, "%s%s%u", length ? " " : "", what, (unsigned)number);
    EXPECT((size_t)noted < room);
}

uint64_t number_of(const void *message)
{
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    return number;
}

void post(struct strait_port *port, uint64_t number)
{
    EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
}

int hold(struct strait_task *task)
{
    gate_wait(task->context);
    return 0;
}

void note_microtask(struct strait_isolate *isolate, void *number)
{
    note("u", (uintptr_t)number);
}

int note_message(struct strait_isolate *isolate, const void *message, void *context)
{
    note("m", number_of(message));
    return strait_microtask(isolate, note_microtask, (void *)(uintptr_t)number_of(message));
}

int echo(struct strait_isolate *isolate, const void *message, void *context)
{
    post(strait_isolate_port(isolate), number_of(message));
    return 0;
}

int ignore(struct strait_isolate *isolate, const void *message, void *context)
{
    return 0;
}

int run_here(const struct strait_isolate_options *options, uint64_t messages)
{
    struct strait_port_options link = {.forth = {.capacity = (size_t)messages + 1}};
    struct strait_isolate *isolate = NULL;
    struct strait_port far;
    struct strait_port near;
    assert_returns(strait_isolate_create(&isolate, options), 0);
    assert_returns(strait_port_pair(&far, &near, &link), 0);
    for (uint64_t number = 1; number <= messages; number++) {
        post(&far, number);
    }
    strait_sender_close(&far.sender);
    int result = strait_isolate_main(&near, isolate);
    assert_null(strait_isolate_current());
    strait_isolate_destroy(isolate);
    strait_port_close(&far);
    strait_port_close(&near);
    return result;
}

void expect_diary(const struct diary_case *expected)
{
    diary[0] = 0;
    assert_int_equal(run_here(&expected->options, expected->messages), 0);
    assert_string_equal(diary, expected->text);
}

/* ---- tenants ---- */

void tenant_spawn(struct tenant *tenant)
{
    struct strait_worker_options *outer = &tenant->outer;
    assert_returns(strait_isolate_create(&tenant->isolate, &tenant->inner), 0);
    if (!outer->to_worker.message_size) { /* the default, a pointer, may be shorter than a number */
        outer->to_worker.message_size = sizeof(uint64_t);
    }
    if (!outer->to_parent.message_size) {
        outer->to_parent.message_size = sizeof(uint64_t);
    }
    outer->entry = strait_isolate_main;
    outer->data = tenant->isolate;
    outer->event = outer->event ? outer->event : log_event;
    outer->context = outer->context ? outer->context : &tenant->log;
    tenant->worker = spawn(outer);
    tenant->port = strait_worker_port(tenant->worker);
}

void tenant_post(struct tenant *tenant, uint64_t from, uint64_t to)
{
    for (uint64_t number = from; number < to; number++) {
        post(tenant->port, number);
    }
}

void tenant_close(struct tenant *tenant)
{
    strait_sender_close(&tenant->port->sender);
}

void tenant_free(struct tenant *tenant)
{
    join_and_destroy(tenant->worker);
    strait_isolate_destroy(tenant->isolate);
}

void tenant_end(struct tenant *tenant)
{
    end_and_destroy(tenant->worker);
    strait_isolate_destroy(tenant->isolate);
}

void tenant_stop(struct tenant *tenant)
{
    strait_worker_stop(tenant->worker);
    dispatch_to_exit(tenant->worker);
    tenant_free(tenant);
}

struct strait_usage usage_of(const struct tenant *tenant)
{
    struct strait_usage usage;
    strait_isolate_usage(tenant->isolate, &usage);
    EXPECT(usage.idle_ns >= 0 && usage.idle_ns <= usage.online_ns);
    return usage;
}
