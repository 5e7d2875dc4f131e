/* SPDX-License-Identifier: MIT */
/*
 * probe: places in the pool that perf, bpftrace and SystemTap can watch: USDT, provider "strait".
 *
 *   task__submit(parent, slot, run)   the parent has queued a task
 *   task__start(worker, slot, run)    a worker is about to run it
 *   task__done(worker, slot, code)    it has returned
 *
 * `slot` names the task while it lives; pools of one process do not share any. A probe is one nop
 * while nobody watches, and nothing where <sys/sdt.h> is missing.
 */
#ifndef STRAIT_PROBE_H
#define STRAIT_PROBE_H

#include "taskring.h"

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#endif
#endif

#if !defined(DTRACE_PROBE3)
#define DTRACE_PROBE3(PROVIDER, NAME, A, B, C) ((void)(A), (void)(B), (void)(C))
#endif

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments" /* within <sys/sdt.h> */
#endif

static inline void strait_probe_submit(const struct strait_parent *parent,
                                       const struct strait_slot *slot)
{
    DTRACE_PROBE3(strait, task__submit, parent, slot, slot->task.run);
}

static inline void strait_probe_start(unsigned worker, const struct strait_slot *slot)
{
    DTRACE_PROBE3(strait, task__start, worker, slot, slot->task.run);
}

static inline void strait_probe_done(unsigned worker, const struct strait_slot *slot, int code)
{
    DTRACE_PROBE3(strait, task__done, worker, slot, code);
}

#if defined(__clang__)
#pragma clang diagnostic pop
#endif

#endif /* STRAIT_PROBE_H */
