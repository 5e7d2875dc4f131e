/* SPDX-License-Identifier: MIT */
/* memory: what the extras take from the system's allocator, with errno left alone. */
#ifndef STRAIT_EXTRA_MEMORY_H
#define STRAIT_EXTRA_MEMORY_H

#include <stdlib.h>

#include "strait/base.h"

/* `bytes` that begin on a multiple of `alignment`, or NULL. Freed with free(). */
static inline void *strait_p_extra_alloc(size_t alignment, size_t bytes)
{
    int saved = errno;
    void *memory = NULL;
    if (posix_memalign(&memory, alignment, bytes) != 0) {
        memory = NULL;
    }
    /* volatile: the compiler takes the allocators for functions that leave errno alone */
    *(volatile int *)&errno = saved;
    return memory;
}

#endif /* STRAIT_EXTRA_MEMORY_H */
