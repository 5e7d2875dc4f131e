/* SPDX-License-Identifier: MIT */
/* operations: what the loops take as arguments; C11 and C++17. */
#ifndef BENCH_OPERATIONS_H
#define BENCH_OPERATIONS_H

#include <stddef.h>

#define BENCH_INLINE static inline __attribute__((always_inline, unused))

/* How many of n messages were sent or received: 0 if the queue is full or empty. */
typedef size_t bench_try_send_fn(void *end, const void *messages, size_t n);
typedef size_t bench_try_receive_fn(void *end, void *messages, size_t n);

/* Idle looks between two looks at the clock. */
#define BENCH_IDLE 256

#endif /* BENCH_OPERATIONS_H */
