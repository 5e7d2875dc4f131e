/* SPDX-License-Identifier: MIT */
/*
 * cluster_host: what a machine runs that computes for others: a pool, a table of functions, and one
 * call that takes jobs from the job servers until SIGTERM.
 *
 *   cluster_host [--workers N] [--log FILE] SERVERS
 *
 * With --log each run appends the key of its task to FILE: a key that is there twice was run again.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "offload/compute.h"
#include "strait_gearman.h"

static int log_fd = -1;

static void note_run(const struct strait_task *task)
{
    char line[64];
    int length = snprintf(line, sizeof(line), "%s\n", strait_gearman_key(task));
    if (log_fd >= 0 && write(log_fd, line, (size_t)length) != length) {
        perror("cluster_host: --log");
    }
}

/* On a worker of the pool. */
static int run_heavy(struct strait_task *task)
{
    struct order order;
    memcpy(&order, task->data, sizeof(order));
    note_run(task);
    int result = burn_run(&order.burn, strait_process_cancelled, task);
    memcpy(task->data, &order, sizeof(order));
    return result;
}

static const struct strait_process_function functions[] = {
    {.name = "heavy", .run = run_heavy},
    {.name = NULL},
};

static int fail(const char *what, int error)
{
    fprintf(stderr, "cluster_host: %s: %s\n", what, strait_strerror(error));
    return EXIT_FAILURE;
}

static int serve(const char *servers, unsigned workers)
{
    struct strait_gearman_serve_options options = {.servers = servers};
    struct strait_pool *pool;
    sigset_t signals; /* for the call that serves, in whatever thread */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    int error = strait_pool_create(&pool, &(struct strait_pool_options){.workers = workers});
    if (error) {
        return fail("the pool", error);
    }
    error = strait_gearman_serve(pool, functions, &options);
    strait_pool_finish(pool, NULL, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
    return error ? fail(servers, error) : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"workers", required_argument, NULL, 'w'},
                                            {"log", required_argument, NULL, 'l'},
                                            {NULL, 0, NULL, 0}};
    unsigned long workers = 0;
    bool valid = true;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'w') {
            valid = valid && parse_number(optarg, STRAIT_POOL_WORKERS_MAX, &workers);
        } else if (option == 'l') {
            log_fd = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            valid = valid && log_fd >= 0;
        } else {
            valid = false;
        }
    }
    if (!valid || optind + 1 != argc) {
        fprintf(stderr, "usage: cluster_host [--workers N] [--log FILE] SERVERS\n");
        return 2;
    }
    return serve(argv[optind], (unsigned)workers);
}
