/* SPDX-License-Identifier: MIT */
/* private: what all sources of the library share and nobody else sees. */
#ifndef STRAIT_PRIVATE_H
#define STRAIT_PRIVATE_H

#include <stdio.h>
#include <stdlib.h>

#include "strait/base.h"

/* For functions. Each compile unit includes its sources, so that they are static there and no
 * program that links the library can collide with them or call them. A test that compiles one of
 * the sources by itself defines it to nothing. */
#ifndef STRAIT_PRIVATE
#define STRAIT_PRIVATE static __attribute__((unused))
#endif

/* For what several call and costs far more than its call: -O3 would write it into each. */
#define STRAIT_P_ONE_COPY __attribute__((noinline, unused))

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
    bool failed = posix_memalign(&memory, STRAIT_LINE, bytes) != 0;
    strait_errno_restore(saved);
    return failed ? NULL : memory;
}

/* Is an option of a noun's valid? A checked build says on stderr which one is not. */
static inline bool strait_option_valid(bool valid, const char *noun, const char *field)
{
#ifdef STRAIT_CHECKED
    if (!valid) {
        int saved = errno;
        fprintf(stderr, "strait: struct strait_%s_options: %s is wrong\n", noun, field);
        strait_errno_restore(saved);
    }
#else
    (void)noun, (void)field;
#endif
    return valid;
}

#define STRAIT_P_VALID(NOUN, FIELD, VALID) strait_option_valid(VALID, #NOUN, #FIELD)

/* Copies the caller's options (NULL: all zero) into `to`, of `size` bytes. Each options struct
 * begins with its size as the caller was compiled, 0 for ours: a shorter one is an older caller's,
 * whose missing fields are zero; a longer one a newer caller's, which we understand only as long as
 * what we do not know is zero. -EINVAL if it is not, or if the size ends inside a field. */
static inline int strait_options_copy(void *to, size_t size, const void *from, const char *noun)
{
    memset(to, 0, size);
    if (!from) {
        return 0;
    }
    size_t given;
    memcpy(&given, from, sizeof(given));
    given = given ? given : size;
    bool valid = given % sizeof(given) == 0;
    for (size_t i = size; valid && i < given; i++) {
        valid = ((const char *)from)[i] == 0;
    }
    if (!strait_option_valid(valid, noun, "size")) {
        return -EINVAL;
    }
    memcpy(to, from, strait_min(given, size));
    return 0;
}

#endif /* STRAIT_PRIVATE_H */
