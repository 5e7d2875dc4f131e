/* SPDX-License-Identifier: MIT */
/*
 * latency: a pair of threads that answer each other as fast as the machine can. Each has a CPU of
 * its own and spins, which costs both CPUs whole: take it where microseconds count, and nowhere
 * else. With one CPU for both, each waits for the other's turn.
 */
#define _GNU_SOURCE /* sched_setaffinity */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "strait.h"
#include "strait/extra/stats.h"

#define ROUNDS 20000
#define WARM_UP 1000

static struct strait_histogram round_trips;

static int reply(struct strait_port *port, void *data) /* on the worker */
{
    uint64_t n;
    ptrdiff_t received;
    (void)data;
    while ((received = strait_receive(&port->receiver, &n, 1, STRAIT_FOREVER)) == 1) {
        n++;
        strait_send(&port->sender, &n, 1, STRAIT_FOREVER);
    }
    return received == -EPIPE ? 0 : (int)received;
}

/* This thread stays where it is, unless that is the worker's CPU. */
static void pin_beside(const struct strait_worker *worker)
{
    struct strait_status status;
    int here = sched_getcpu();
    cpu_set_t one;
    strait_worker_status(worker, &status);
    CPU_ZERO(&one);
    if (here >= 0 && here != status.cpu) {
        CPU_SET((unsigned)here, &one);
        sched_setaffinity(0, sizeof(one), &one);
    }
}

int main(void)
{
    struct strait_channel_options spinning = {.capacity = 2,
                                              .message_size = sizeof(uint64_t),
                                              .sender = STRAIT_WAIT_SPIN,
                                              .receiver = STRAIT_WAIT_SPIN};
    struct strait_worker_options options = {
        .entry = reply, .name = "reply", .to_worker = spinning, .to_parent = spinning};
    struct strait_worker *worker; /* pinned, but not to the CPU where this thread runs */
    if (strait_worker_spawn(&worker, &options)) {
        return EXIT_FAILURE;
    }
    pin_beside(worker);
    struct strait_port *port = strait_worker_port(worker);
    uint64_t n = 0;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t asked = strait_now();
        if (strait_send(&port->sender, &n, 1, STRAIT_FOREVER) != 1 ||
            strait_receive(&port->receiver, &n, 1, STRAIT_FOREVER) != 1) {
            return EXIT_FAILURE;
        }
        if (i >= WARM_UP) {
            strait_histogram_add(&round_trips, (uint64_t)(strait_now() - asked));
        }
    }
    strait_sender_close(&port->sender);
    printf("round trip, ns: p50 %" PRIu64 ", p99 %" PRIu64 "\n",
           strait_histogram_percentile(&round_trips, 50),
           strait_histogram_percentile(&round_trips, 99));
    return strait_worker_join(worker, STRAIT_FOREVER) || strait_worker_destroy(worker) ||
           n != ROUNDS;
}
