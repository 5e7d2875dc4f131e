/* SPDX-License-Identifier: MIT */
/*
 * model: a stateless model checker for what stands on strait/sync.h.
 *
 * The threads of a test are coroutines. Each helper of sync.h is a step: before it the checker
 * chooses who goes on, in it what a load reads. A depth-first search runs the test once for each
 * sequence of choices. See README.md for the memory model and for what a bound leaves out.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_THREADS 4

/* What a test's init makes: for the tests, the checker does not look at it. */
struct model_plan {
    const char *variant;
    uint32_t capacity;
    uint32_t senders;  /* threads */
    uint32_t messages; /* of each */
    unsigned how;      /* rings: at most so many by one call; channels: enum how */
};

struct model_test {
    const char *name;
    void (*init)(void);
    void (*thread[MODEL_THREADS])(void); /* NULL past the last */
    void (*check)(void);                 /* after the last thread's end; may be NULL */
    int preemptions;                     /* bound; 0: none, the search is complete */
    int stale;                           /* bound on stale reads; 0: none */
    struct model_plan plan;
    uint32_t background; /* bit per thread that need not end: all is over once the others have */
    bool settled;        /* and the others begin once none of these can go on; up to there there is
                            one schedule */
};

/* Runs all executions, or until one fails. True: none failed. */
bool model_run(const struct model_test *test);

/* Of the last run. */
struct model_result {
    unsigned long executions;
    bool cut; /* stopped by the limit on executions */
    char failure[256];
};
extern struct model_result model_result;

/* Added to every bound on preemptions and stale reads that is not 0. */
extern int model_depth;
/* A failed run prints its schedule. */
extern bool model_verbose;
/* Executions after which a run stops; 0: none. */
extern unsigned long model_limit;
/* Gives up no execution as redundant: to check that giving up loses nothing. */
extern bool model_naive;

/* ---- for tests ---- */

/* Ends this execution and the run as failed. */
_Noreturn void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define model_assert(condition)                                                                    \
    ((condition) ? (void)0 : model_fail("%s:%d: %s", __FILE__, __LINE__, #condition))

/* A plain access to memory that another thread accesses too: fails if it is a data race. */
void model_plain_read(const void *p, size_t bytes);
void model_plain_write(const void *p, size_t bytes);

/* memcpy, as plain accesses. */
void *model_copy(void *to, const void *from, size_t bytes);

/* The thread that runs, -1 outside of all. */
int model_self(void);
/* Of the test that runs. */
const struct model_plan *model_plan(void);

/* ---- the helpers of sync.h ---- */

struct model_site {
    const char *file;
    int line;
};
#define MODEL_HERE ((struct model_site){__FILE__, __LINE__})

uintptr_t model_load(struct model_site at, const void *p, size_t size, bool acquire);
void model_store(struct model_site at, void *p, size_t size, uintptr_t v, bool release);
bool model_cas(struct model_site at, void *p, size_t size, void *expected, uintptr_t v,
               bool acq_rel);
uintptr_t model_add(struct model_site at, void *p, size_t size, uintptr_t v, bool acq_rel);
enum model_fence { MODEL_FULL, MODEL_LIGHT, MODEL_HEAVY };
void model_fence(struct model_site at, enum model_fence fence);
#define model_heavy_barrier(at) model_fence(at, MODEL_HEAVY)
/* Nothing to do until one of the words loaded since the last pause is written. */
void model_pause(void);
/* The same for a loop that may have loaded a word twice and acted on the older value: if one has
 * changed between two loads since the last pause, goes on. */
void model_pause_unless_news(void);

/* ---- the kernel ---- */

/* 0, or -1 for a time-out, which is possible at any time where `timed`. */
int model_futex_wait(uint32_t *word, uint32_t value, bool timed);
void model_futex_wake(struct model_site at, uint32_t *word);
/* An eventfd is a counter that `fd` points to. */
void model_fd_write(struct model_site at, uint32_t *fd);
uint32_t model_fd_read(uint32_t *fd);
void model_fd_poll(uint32_t *fd, bool timed);
/* A clock of the thread's own, a second later at each call; a time-out takes it past `deadline`. */
int64_t model_now(void);
void model_timed_out(int64_t deadline);

/* A mutation that a test's own code asks for. */
bool model_omitted(struct model_site at);

#endif /* MODEL_H */
