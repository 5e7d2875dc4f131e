/* SPDX-License-Identifier: MIT */
/*
 * wait: what a side of a channel does when it cannot go on, how it learns that it can, and the
 * clock of deadlines. The protocol is explained in src/channel/wait.h.
 */
#ifndef STRAIT_WAIT_H
#define STRAIT_WAIT_H

#include "strait/base.h"
#include "strait/sync.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a side does when it cannot go on: the sender on full, the receiver on empty. */
enum strait_wait {
    STRAIT_WAIT_DEFAULT = 0, /* park, unless the noun that uses the channel says otherwise */
    STRAIT_WAIT_PARK,        /* spin for up to 50 us, less where that brings nothing; then sleep */
    STRAIT_WAIT_SPIN,        /* never sleep; yields the CPU now and then */
    STRAIT_WAIT_FD,          /* an eventfd of this side's becomes readable: for event loops */
};

/* ---- time: nanoseconds of CLOCK_MONOTONIC, absolute ---- */

#define STRAIT_FOREVER INT64_MAX

/* Now. Any thread; does not block. */
STRAIT_API int64_t strait_now(void);

/* Now plus `ns`, STRAIT_FOREVER if that is past the end of time. Any thread; does not block. */
STRAIT_API int64_t strait_deadline(int64_t ns);

/* A side's signal to the other: STRAIT_CLOSED, STRAIT_WAITING, and above them a count of wake-ups,
 * so that a sleeper that missed one does not fall asleep on the next. */
#define STRAIT_CLOSED 1u
#define STRAIT_WAITING 2u
#define STRAIT_WAKEUP 4u

struct strait_signal {
    uint32_t word;
    uint32_t cpu; /* 1 + the one CPU this side can run on; 0: unknown; UINT32_MAX: several */
};

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_WAIT_H */
