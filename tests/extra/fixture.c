/* SPDX-License-Identifier: MIT */
#include "fixture.h"

void diary_note(struct diary *diary, const char *what, uint64_t number)
{
    size_t room = sizeof(diary->text) - diary->length;
    int length = snprintf(diary->text + diary->length, room, "%s%s%u", diary->length ? " " : "",
                          what, (unsigned)number);
    EXPECT((size_t)length < room);
    diary->length += (size_t)length;
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

int echo(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)context;
    post(strait_isolate_port(isolate), number_of(message));
    return 0;
}

int ignore(UNUSED struct strait_isolate *isolate, UNUSED const void *message, UNUSED void *context)
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

/* ---- tenants ---- */

void tenant_event(struct strait_worker *worker, const struct strait_event *event, void *context)
{
    struct tenant *tenant = context;
    size_t length = strlen(tenant->events);
    char letter = "omwex"[event->type];
    EXPECT(worker == tenant->worker);
    EXPECT(length == 0 || tenant->events[length - 1] != 'x');
    if (letter != 'm' || length == 0 || tenant->events[length - 1] != 'm') {
        EXPECT(length < sizeof(tenant->events) - 1);
        tenant->events[length] = letter;
    }
    tenant->thread = thread_number();
    progress_made();
    switch (event->type) {
    case STRAIT_MESSAGE:
        EXPECT(number_of(event->message) == tenant->messages);
        tenant->messages++;
        break;
    case STRAIT_WARNING:
        tenant->warning = *event;
        break;
    case STRAIT_ERROR:
        tenant->error = *event;
        break;
    case STRAIT_EXIT:
        tenant->exit = *event;
        break;
    default:
        break;
    }
}

void tenant_drop(void *message, void *context)
{
    struct tenant *tenant = context;
    (void)message;
    tenant->dropped++;
}

void tenant_spawn(struct tenant *tenant)
{
    struct strait_worker_options *outer = &tenant->outer;
    EXPECT(strait_isolate_create(&tenant->isolate, &tenant->inner) == 0);
    outer->entry = strait_isolate_main;
    outer->data = tenant->isolate;
    outer->event = outer->event ? outer->event : tenant_event;
    outer->context = outer->context ? outer->context : tenant;
    EXPECT(strait_worker_spawn(&tenant->worker, outer) == 0);
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

/* As an event loop does. */
static void dispatch(struct tenant *tenant)
{
    struct pollfd poll_fd = {.fd = strait_worker_fd(tenant->worker), .events = POLLIN};
    ptrdiff_t told;
    EXPECT(poll(&poll_fd, 1, -1) == 1);
    do {
        told = strait_worker_dispatch(tenant->worker, 0);
    } while (told > 0);
    EXPECT(told == 0 || told == -EPIPE);
    tenant->over = told != 0;
}

void tenant_await(struct tenant *tenant, uint64_t messages)
{
    while (tenant->messages < messages && !tenant->over) {
        dispatch(tenant);
    }
    EXPECT(tenant->messages >= messages);
}

void tenant_see_exit(struct tenant *tenant)
{
    while (!tenant->over) {
        dispatch(tenant);
    }
}

void tenant_free(struct tenant *tenant)
{
    EXPECT(strait_worker_join(tenant->worker, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(tenant->worker) == 0);
    strait_isolate_destroy(tenant->isolate);
    progress_made();
}

void tenant_end(struct tenant *tenant)
{
    tenant_close(tenant);
    tenant_see_exit(tenant);
    tenant_free(tenant);
}

void tenant_stop(struct tenant *tenant)
{
    strait_worker_stop(tenant->worker);
    tenant_see_exit(tenant);
    tenant_free(tenant);
}

struct strait_usage usage_of(const struct tenant *tenant)
{
    struct strait_usage usage;
    strait_isolate_usage(tenant->isolate, &usage);
    EXPECT(usage.idle_ns >= 0 && usage.idle_ns <= usage.online_ns);
    return usage;
}
