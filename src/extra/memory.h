/* SPDX-License-Identifier: MIT */
/* memory: what the extras take from the system's allocator, with errno left alone, and how they
 * copy options. */
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

/* Copies the caller's options (NULL: all zero), which begin with their size as the caller was
 * compiled, or 0. What is unknown here must be zero: -EINVAL, as for a size that ends inside a
 * field. */
static inline int strait_p_extra_options(void *to, size_t size, const void *from)
{
    size_t given = 0;
    memset(to, 0, size);
    if (from) {
        memcpy(&given, from, sizeof(given));
        given = given ? given : size;
        memcpy(to, from, strait_min(given, size));
    }
    bool valid = given % sizeof(given) == 0;
    for (size_t i = size; valid && i < given; i++) {
        valid = ((const char *)from)[i] == 0;
    }
    return valid ? 0 : -EINVAL;
}

#endif /* STRAIT_EXTRA_MEMORY_H */
