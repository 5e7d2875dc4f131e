/* SPDX-License-Identifier: MIT */
/* fork: the generation number, raised in the child. */
#include "fork.h"

#include <pthread.h>

static pthread_once_t watch_once = PTHREAD_ONCE_INIT;
static int watch_error;
static uint32_t generation;

/* In the child, whose only thread this is. */
static void next_generation(void)
{
    generation++;
}

static void watch(void)
{
    watch_error = -pthread_atfork(NULL, NULL, next_generation);
}

int strait_fork_watch(void)
{
    pthread_once(&watch_once, watch);
    return watch_error;
}

uint32_t strait_fork_generation(void)
{
    return generation;
}
