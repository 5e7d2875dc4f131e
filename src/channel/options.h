/* SPDX-License-Identifier: MIT */
/* options: how every strait_<noun>_options struct is read. */
#ifndef STRAIT_OPTIONS_H
#define STRAIT_OPTIONS_H

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* Copies the caller's options (NULL: all zero) into `to`, of `size` bytes. Each options struct
 * begins with its size as the caller was compiled, 0 for ours: a shorter one is an older caller's,
 * whose missing fields are zero; a longer one a newer caller's, which we understand only as long as
 * what we do not know is zero. -EINVAL if it is not. */
static inline int strait_options_copy(void *to, size_t size, const void *from)
{
    memset(to, 0, size);
    if (!from) {
        return 0;
    }
    size_t given;
    memcpy(&given, from, sizeof(given));
    if (given == 0) {
        given = size;
    }
    for (size_t i = size; i < given; i++) {
        if (((const char *)from)[i]) {
            return -EINVAL;
        }
    }
    memcpy(to, from, given < size ? given : size);
    return 0;
}

#endif /* STRAIT_OPTIONS_H */
