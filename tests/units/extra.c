/* SPDX-License-Identifier: MIT */
/* What somebody writes who takes the extras, too: an isolate with a heap, microtasks and timers. */
#include "strait.h"
#include "strait/extra/isolate.h"

#include <stdio.h>

static void late(struct strait_isolate *isolate, struct strait_timer *timer)
{
    uint64_t *number = timer->argument;
    strait_send(&strait_isolate_port(isolate)->sender, number, 1, STRAIT_FOREVER);
    strait_heap_free(isolate, timer);
}

static void soon(struct strait_isolate *isolate, void *number)
{
    struct strait_timer *timer = strait_heap_alloc(isolate, sizeof(*timer));
    if (!timer) {
        return;
    }
    memset(timer, 0, sizeof(*timer));
    timer->run = late;
    timer->argument = number;
    strait_timer_start(isolate, timer, strait_deadline(1000000), 0);
}

static int handle(struct strait_isolate *isolate, const void *message, void *context)
{
    uint64_t *number = context;
    memcpy(number, message, sizeof(*number));
    *number *= *number;
    return strait_microtask(isolate, soon, number);
}

int main(void)
{
    uint64_t number = 0;
    uint64_t seven = 7;
    struct strait_isolate_options options = {.message = handle, .context = &number};
    struct strait_isolate *isolate;
    struct strait_worker *worker;
    if (strait_isolate_create(&isolate, &options)) {
        return 1;
    }
    struct strait_worker_options spawn = {.entry = strait_isolate_main,
                                          .data = isolate,
                                          .to_worker = {.message_size = sizeof(uint64_t)},
                                          .to_parent = {.message_size = sizeof(uint64_t)}};
    if (strait_worker_spawn(&worker, &spawn)) {
        return 1;
    }
    struct strait_port *port = strait_worker_port(worker);
    strait_send(&port->sender, &seven, 1, STRAIT_FOREVER);
    strait_receive(&port->receiver, &seven, 1, STRAIT_FOREVER);
    strait_worker_stop(worker);
    strait_worker_join(worker, STRAIT_FOREVER);
    strait_worker_destroy(worker);
    strait_isolate_destroy(isolate);
    puts(seven == 49 ? "ok" : "wrong");
    return 0;
}
