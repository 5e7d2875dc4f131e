/* SPDX-License-Identifier: MIT */
/* timespec: a time as system calls take it. */
#ifndef STRAIT_EXTRA_TIMESPEC_H
#define STRAIT_EXTRA_TIMESPEC_H

#include <stdint.h>
#include <time.h>

/* Of so many ns; one that is past, or too far for a struct timespec, is the nearest that is not. */
static inline struct timespec strait_p_extra_timespec(int64_t ns)
{
    const int64_t second = 1000000000;
    const int64_t end = sizeof(time_t) > sizeof(int32_t) ? INT64_MAX : INT32_MAX * second;
    ns = ns < 0 ? 0 : ns < end ? ns : end;
    return (struct timespec){.tv_sec = (time_t)(ns / second), .tv_nsec = (long)(ns % second)};
}

#endif /* STRAIT_EXTRA_TIMESPEC_H */
