/* SPDX-License-Identifier: MIT */
/* memory: what the system's allocator gives, in whole lines, with errno left alone. */
#ifndef STRAIT_MEMORY_H
#define STRAIT_MEMORY_H

#include <stdlib.h>

#include "strait/base.h"

/* The compiler takes the allocators for functions that leave errno alone, which the C library does
 * not promise, and would drop a plain store as useless. */
static inline void strait_errno_restore(int saved)
{
    *(volatile int *)&errno = saved;
}

/* `bytes` that begin on a line of their own, or NULL. Freed with free(). */
static inline void *strait_line_alloc(size_t bytes)
{
    int saved = errno;
    void *memory = NULL;
    if (posix_memalign(&memory, STRAIT_LINE, bytes) != 0) {
        memory = NULL;
    }
    strait_errno_restore(saved);
    return memory;
}

#endif /* STRAIT_MEMORY_H */
