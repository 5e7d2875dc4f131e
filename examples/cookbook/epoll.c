/* SPDX-License-Identifier: MIT */
/* epoll: a pool in an epoll loop, beside a timer that goes on ticking while the workers compute. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "strait.h"

#define TASKS 100

static unsigned right;

static void require(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "epoll: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

static int sum_up(struct strait_task *task) /* on a worker: data is n, then the sum of 1 to n */
{
    uint64_t n, sum = 0;
    memcpy(&n, task->data, sizeof(n));
    for (uint64_t i = 1; i <= n; i++) {
        sum += i;
    }
    memcpy(task->data + sizeof(n), &sum, sizeof(sum));
    return 0;
}

static void summed_up(struct strait_task *task) /* in the loop */
{
    uint64_t data[2];
    memcpy(data, task->data, sizeof(data));
    right += task->status == STRAIT_TASK_DONE && data[1] == data[0] * (data[0] + 1) / 2;
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd}; /* level-triggered */
    require(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "cannot watch");
}

int main(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    struct itimerspec each_ms = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000};
    uint64_t ticks = 0, passed = 0;
    int epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    require(epoll >= 0 && timerfd_settime(timer, 0, &each_ms, NULL) == 0, "no descriptors");
    require(strait_pool_create(&pool, NULL) == 0, "no pool");
    require(strait_pool_attach(pool, &parent, NULL) == 0, "cannot attach");
    watch(epoll, timer);
    watch(epoll, strait_parent_fd(parent));
    for (uint64_t n = 0; n < TASKS; n++) {
        struct strait_task task = {.run = sum_up, .done = summed_up, .name = "sum"};
        memcpy(task.data, &n, sizeof(n));
        require(strait_task_submit(parent, &task, NULL, NULL) == 0, "the queue is full");
    }
    while (strait_parent_owed(parent) > 0) {
        struct epoll_event events[8];
        int n = epoll_wait(epoll, events, 8, -1);
        require(n >= 0 || errno == EINTR, "cannot wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd != timer) {
                strait_parent_dispatch(parent,
                                       0); /* what the budget leaves keeps the fd readable */
            } else if (read(timer, &passed, sizeof(passed)) == sizeof(passed)) {
                ticks += passed;
            }
        }
    }
    printf("%u of %d sums, %u ticks meanwhile\n", right, TASKS, (unsigned)ticks);
    require(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0, "no end");
    return right == TASKS ? EXIT_SUCCESS : EXIT_FAILURE;
}
