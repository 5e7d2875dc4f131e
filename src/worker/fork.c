/* SPDX-License-Identifier: MIT */
/* fork: the generation number, raised in the child. */
#include "fork.h"

#include <pthread.h>

#include "strait/sync.h"

static uint32_t watching;
static uint32_t generation;

/* In the child, whose only thread this is. Where two threads began to watch at once it is called
 * twice, which does no harm: the number only has to be another one. */
static void next_generation(void)
{
    generation++;
}

int strait_fork_watch(void)
{
    /* fork.watching: pairs with fork.watched; nothing but the registration */
    if (strait_load_acquire(&watching)) {
        return 0;
    }
    int error = -pthread_atfork(NULL, NULL, next_generation);
    if (!error) {
        /* fork.watched: pairs with fork.watching; nothing but the registration */
        strait_store_release(&watching, 1);
    }
    return error;
}

uint32_t strait_fork_generation(void)
{
    return generation;
}
