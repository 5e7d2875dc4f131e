/* SPDX-License-Identifier: MIT */
/* settings: the server's command line. */
#include "settings.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute.h"

static const char usage[] =
    "usage: offload_server [--port N] [--workers N] [--queue N] [--schedule CLASS] [--within MS]\n"
    "                      [--drain MS] [--processes | --machines LIST | --pthreads | --blocking]\n"
    "  --port N          on 127.0.0.1; 0: a free one (default 8080)\n"
    "  --workers N       threads that compute; 0: as many as suit the machine (default 0)\n"
    "  --queue N         heavy requests that may wait for a worker (default 64)\n"
    "  --schedule CLASS  of the workers: default, normal, batch or idle\n"
    "  --within MS       time that a heavy request has, if it does not say (default: any)\n"
    "  --drain MS        time to finish what runs at the end, before it is cancelled (default "
    "5000)\n"
    "  --processes       compute in processes instead: what crashes is 502, what hangs is killed\n"
    "  --machines LIST   compute on those that work for these job servers, \"host:port,host\"\n"
    "  --pthreads        compute in plain threads behind a mutex instead: no deadlines, no cancel\n"
    "  --blocking        compute on the loop instead: no deadlines, no cancel\n";

enum { POOL, PROCESSES, MACHINES, PTHREADS, BLOCKING };

static const struct mode modes[] = {
    [POOL] = {"pool", &compute_in_pool},
    [PROCESSES] = {"processes", &compute_in_processes},
    [MACHINES] = {"machines", &compute_in_machines},
    [PTHREADS] = {"pthreads", &compute_in_threads},
    [BLOCKING] = {"blocking", NULL},
};

static bool parse_schedule(const char *text, enum strait_schedule *schedule)
{
    static const char *const names[] = {
        [STRAIT_SCHEDULE_DEFAULT] = "default",
        [STRAIT_SCHEDULE_NORMAL] = "normal",
        [STRAIT_SCHEDULE_BATCH] = "batch",
        [STRAIT_SCHEDULE_IDLE] = "idle",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *schedule = (enum strait_schedule)i;
            return true;
        }
    }
    return false;
}

/* False: says what is wrong with the option. */
static bool take_number(const char *name, const char *text, unsigned long min, unsigned long max,
                        unsigned long *number)
{
    if (parse_number(text, max, number) && *number >= min) {
        return true;
    }
    fprintf(stderr, "offload_server: --%s %s: not a number from %lu to %lu\n", name, text, min,
            max);
    return false;
}

static bool take_option(int option, const char *text, struct settings *settings)
{
    unsigned long number = 0;
    bool valid = true;
    switch (option) {
    case 'p':
        valid = take_number("port", text, 0, UINT16_MAX, &number);
        settings->port = (uint16_t)number;
        return valid;
    case 'w':
        valid = take_number("workers", text, 0, STRAIT_POOL_WORKERS_MAX, &number);
        settings->pool.workers = (unsigned)number;
        return valid;
    case 'q':
        valid = take_number("queue", text, 1, STRAIT_QUEUE_LIMIT_MAX, &number);
        settings->pool.queue_limit = number;
        return valid;
    case 's':
        if (!parse_schedule(text, &settings->pool.schedule)) {
            fprintf(stderr, "offload_server: --schedule %s: not default, normal, batch or idle\n",
                    text);
            return false;
        }
        return true;
    case 'd':
        valid = take_number("within", text, 1, WITHIN_MAX, &number);
        settings->within = (uint32_t)number;
        return valid;
    case 'e':
        valid = take_number("drain", text, 0, DRAIN_MAX, &number);
        settings->drain = (uint32_t)number;
        return valid;
    case 'x':
        settings->mode = &modes[PROCESSES];
        return true;
    case 'm':
        settings->mode = &modes[MACHINES];
        settings->machines = text;
        return true;
    case 't':
        settings->mode = &modes[PTHREADS];
        return true;
    case 'b':
        settings->mode = &modes[BLOCKING];
        return true;
    default:
        return false; /* getopt has said what is wrong */
    }
}

bool settings_parse(struct settings *settings, int argc, char **argv, int *status)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},   {"workers", required_argument, NULL, 'w'},
        {"queue", required_argument, NULL, 'q'},  {"schedule", required_argument, NULL, 's'},
        {"within", required_argument, NULL, 'd'}, {"drain", required_argument, NULL, 'e'},
        {"processes", no_argument, NULL, 'x'},    {"machines", required_argument, NULL, 'm'},
        {"pthreads", no_argument, NULL, 't'},     {"blocking", no_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int option;
    *settings = (struct settings){
        .port = 8080,
        .drain = 5000,
        .mode = &modes[POOL],
        .pool = {.queue_limit = 64, .name = "heavy", .timed = true},
    };
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            *status = EXIT_SUCCESS;
            return false;
        }
        if (!take_option(option, optarg, settings)) {
            fputs(usage, stderr);
            *status = 2;
            return false;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "offload_server: %s: not an option\n", argv[optind]);
        fputs(usage, stderr);
        *status = 2;
        return false;
    }
    return true;
}
