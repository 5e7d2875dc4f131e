/* SPDX-License-Identifier: MIT */
/*
 * pipeline: workers in a row, a channel from each to the next. A full channel holds up the stage
 * before it. The end of the work travels down: a stage whose input is over closes its output. A
 * failure travels up as well: a stage that gives up closes its input, and the send before it fails.
 */
#include <stdio.h>
#include <stdlib.h>

#include "strait.h"

#define ITEMS 100000
#define DEPTH 64 /* items in a channel */
#define STAGES 2

static struct strait_channel *numbers, *squares;

static int produce(struct strait_port *port, void *data)
{
    struct strait_sender out;
    ptrdiff_t sent = strait_sender_open(&out, numbers);
    for (uint64_t n = 1; n <= ITEMS && sent >= 0; n++) {
        sent = strait_send(&out, &n, 1, STRAIT_FOREVER);
    }
    (void)port;
    (void)data;
    strait_sender_close(&out);
    return sent < 0 ? (int)sent : 0;
}

static int square(struct strait_port *port, void *data)
{
    struct strait_receiver in;
    struct strait_sender out;
    uint64_t n[DEPTH]; /* whatever is there, in one go */
    ptrdiff_t count, sent = strait_sender_open(&out, squares);
    strait_receiver_open(&in, numbers);
    while (sent >= 0 && (count = strait_receive(&in, n, DEPTH, STRAIT_FOREVER)) > 0) {
        for (ptrdiff_t i = 0; i < count; i++) {
            n[i] *= n[i];
        }
        sent = strait_send(&out, n, (size_t)count, STRAIT_FOREVER);
    }
    (void)port;
    (void)data;
    strait_receiver_close(&in);
    strait_sender_close(&out);
    return sent < 0 ? (int)sent : 0;
}

int main(void)
{
    strait_entry_fn *stages[STAGES] = {produce, square};
    struct strait_channel_options items = {.capacity = DEPTH, .message_size = sizeof(uint64_t)};
    struct strait_worker *workers[STAGES] = {NULL};
    struct strait_receiver in; /* the last stage is this thread */
    uint64_t n = ITEMS, item, sum = 0;
    if (strait_channel_create(&numbers, &items) || strait_channel_create(&squares, &items)) {
        return EXIT_FAILURE;
    }
    strait_receiver_open(&in, squares);
    for (int i = 0; i < STAGES; i++) {
        struct strait_worker_options options = {.entry = stages[i], .name = "stage"};
        if (strait_worker_spawn(&workers[i], &options)) {
            return EXIT_FAILURE;
        }
    }
    while (strait_receive(&in, &item, 1, STRAIT_FOREVER) == 1) {
        sum += item;
    }
    strait_receiver_close(&in);
    for (int i = 0; i < STAGES; i++) {
        strait_worker_join(workers[i], STRAIT_FOREVER);
        strait_worker_destroy(workers[i]);
    }
    strait_channel_destroy(numbers, NULL, NULL); /* nobody uses them any more */
    strait_channel_destroy(squares, NULL, NULL);
    printf("%llu\n", (unsigned long long)sum);
    return sum == n * (n + 1) * (2 * n + 1) / 6 ? EXIT_SUCCESS : EXIT_FAILURE;
}
