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

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#endif
#endif

#if defined(DTRACE_PROBE3)
#define STRAIT_PROBE(NAME, A, B, C) DTRACE_PROBE3(strait, NAME, A, B, C)
#else
#define STRAIT_PROBE(NAME, A, B, C) ((void)(A), (void)(B), (void)(C))
#endif

#endif /* STRAIT_PROBE_H */
