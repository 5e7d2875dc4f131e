/* SPDX-License-Identifier: MIT */
/*
 * delay: how late an event loop is, as Node's monitorEventLoopDelay measures it: a timer that is
 * due every 10 ms, and a histogram of how much later the loop comes to it. Shown twice, with 50 ms
 * of work in the loop and with the same in a pool.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "strait.h"
#include "strait/extra/stats.h"

enum { TICK_NS = 10000000, WORK_NS = 50000000, TASKS = 10 };

static struct strait_histogram delays; /* the loop's: zero it to begin anew */

static int work(struct strait_task *task)
{
    (void)task;
    for (int64_t end = strait_deadline(WORK_NS); strait_now() < end;) {
    }
    return 0;
}

/* Called when the timer's fd is readable. */
static void measure(int timer)
{
    struct itimerspec left;
    uint64_t passed;
    if (read(timer, &passed, sizeof(passed)) == sizeof(passed) && !timerfd_gettime(timer, &left)) {
        int64_t since = TICK_NS - left.it_value.tv_nsec; /* the last of the ticks that passed */
        strait_histogram_add(&delays, (uint64_t)since + (passed - 1) * TICK_NS);
    }
}

int main(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    struct strait_task task = {.run = work, .name = "work"};
    struct itimerspec tick = {.it_interval.tv_nsec = TICK_NS, .it_value.tv_nsec = TICK_NS};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (timer < 0 || timerfd_settime(timer, 0, &tick, NULL) || strait_pool_create(&pool, NULL) ||
        strait_pool_attach(pool, &parent, NULL)) {
        return EXIT_FAILURE;
    }
    struct pollfd loop[] = {{.fd = timer, .events = POLLIN},
                            {.fd = strait_parent_fd(parent), .events = POLLIN}};
    for (int i = 0; i < TASKS && poll(loop, 1, -1) > 0; i++) {
        measure(timer);
        work(&task); /* what must not be done here */
    }
    uint64_t in_loop = delays.max;
    memset(&delays, 0, sizeof(delays));
    timerfd_settime(timer, 0, &tick, NULL); /* forgets the ticks of the last work */
    for (int i = 0; i < TASKS; i++) {
        if (strait_task_submit(parent, &task, NULL, NULL)) {
            return EXIT_FAILURE;
        }
    }
    while (strait_parent_owed(parent) && poll(loop, 2, -1) > 0) {
        if (loop[0].revents) {
            measure(timer);
        }
        strait_parent_dispatch(parent, 0);
    }
    close(timer);
    printf("the longest delay: %.2f ms with the work in the loop, %.2f ms with it in the pool\n",
           (double)in_loop / 1e6, (double)delays.max / 1e6);
    return strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) ||
           in_loop < WORK_NS - TICK_NS; /* it cannot be less */
}
