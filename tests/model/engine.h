/* SPDX-License-Identifier: MIT */
/*
 * engine: what the parts of the checker share.
 *
 *   engine.c   chooses who goes on, switches stacks, and searches
 *   memory.c   what a load may read: the words' histories, views, plain memory
 *   kernel.c   futexes, eventfds, the clock
 *   sites.c    where orders stand, and the mutants
 */
#ifndef MODEL_ENGINE_H
#define MODEL_ENGINE_H

#include "model.h"

#include <setjmp.h>
#include <ucontext.h>

#define LOCATIONS 80
#define MESSAGES 96 /* of one location, in one execution */

/* What a thread has seen of each location (a stamp of its modification order), and of each
 * thread's plain accesses (a vector clock). */
struct view {
    uint32_t at[LOCATIONS];
    uint32_t clock[MODEL_THREADS];
};

enum kind {
    STEP_FREE, /* touches nothing that is shared */
    STEP_LOAD,
    STEP_WRITE,
    STEP_FENCE, /* and in the order of enum model_fence: */
    STEP_LIGHT,
    STEP_HEAVY,
    STEP_RESUME,
};

enum status {
    READY,
    PAUSED,
    ASLEEP,
    FINISHED,
};

struct thread {
    ucontext_t context;
    jmp_buf env;
    char *stack;
    bool started; /* from here on: zeros at the start of each execution */
    enum status status;
    enum kind kind;                /* of the step it is about to make */
    int location;                  /* of that step */
    unsigned last_step;            /* the number of its previous one */
    const void *sleeps_on;         /* futex word or eventfd */
    bool timed;                    /* and it has a deadline */
    uint64_t polled;               /* bit per location: loaded since the last pause */
    bool news;                     /* and one of them was not what it was the last time */
    uint32_t last_read[LOCATIONS]; /* stamps */
    int64_t now;
    struct view cur; /* what it has seen */
    struct view acq; /* what it would have seen had its loads all been acquires */
    struct view rel; /* what it had seen at its last fence */
};

struct engine {
    struct thread threads[MODEL_THREADS];
    int thread_count;
    int current; /* -1: outside of all */
    const struct model_test *test;
    unsigned steps; /* of this execution */
    int stale_left;
    int timeouts_left;
    bool settling;
};
extern struct engine engine;

/* ---- engine.c ---- */

/* 0 to n-1, each in one of the executions to come. */
int choose(int n);
/* The search is complete: nothing is bounded. */
bool complete(void);
/* A step of the current thread: before it the others may go on. */
void step_begin(enum kind kind, int location);
/* The same of one that is like no step at all to the others: they go on after it. */
void step_begin_alone(void);
void step_end(void);
/* The search is to begin anew: it took a word for a thread's own that is not. */
void search_again(void);
/* Until another thread makes this one ready. False: it has timed out. */
bool step_aside(const void *sleeps_on, bool timed);
void trace(const char *what, struct model_site at, int location, uintptr_t value);

/* ---- memory.c ---- */

/* One store. */
struct message {
    uintptr_t value;
    uint32_t stamp;
    bool glued;    /* a read-modify-write: nothing may come between it and the one before */
    unsigned step; /* of the execution, in which it was stored */
    struct view view;
};

void memory_reset(void);
/* A test begins. */
void memory_forget(void);
int locate(const void *p, size_t size);
void join_positions(struct view *to, const struct view *from);
/* One of the messages that the current thread may read. */
const struct message *choose_readable(int location);
/* The thread has seen this message, and so none before it. */
void learn_position(struct thread *self, int location, uint32_t stamp);
bool something_new(const struct thread *thread);
void refresh(struct thread *self);

/* ---- kernel.c ---- */

void kernel_reset(void);

/* ---- sites.c ---- */

/* What is left of an order that was to be `acquire` and `release`. */
void weaken(struct model_site at, bool *acquire, bool *release);

#endif /* MODEL_ENGINE_H */
