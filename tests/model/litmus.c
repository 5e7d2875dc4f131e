/* SPDX-License-Identifier: MIT */
/*
 * The checker's own tests: the classic litmus tests and what C11 says of each, in three forms: all
 * relaxed, release and acquire, relaxed with a full fence between the two accesses. A thread is
 * written down as the steps that it makes:
 *
 *   x=1 y=2     stores, of the form's order       r0=x r1=y   loads
 *   x~1 y~2     stores, always relaxed            r0~x r1~y   loads
 *   F           a full fence in the fenced form   light heavy barriers, in every form
 *   write read  plain memory                      poll        until x is set, with pauses
 *   add         1 to x: r is what was there       swap01      x from 0 to 1: r says whether
 *   wake        the futex x                       sleep       on the futex x, until it is set
 *   notify      resets y if it is set, and wakes  park        on the futex y, unless x is set
 */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "strait/sync.h"

#define NAIVE_LIMIT 50000

enum form { RELAXED, REL_ACQ, FENCED, FORMS };

enum answer {
    NEVER,
    SEEN,
    FAILS, /* the run fails: a data race, a thread that is stuck */
};

struct litmus {
    const char *name;
    const char *thread[MODEL_THREADS];
    const char *weak[5]; /* the outcomes in question: values of r, x and y at the end */
    enum answer answer[FORMS];
};

static enum form form;
static uint32_t x, y;
static uint32_t r[4];
static uint64_t data;
static const struct litmus *litmus;

/* Outcomes seen: r[0..3] and the last x and y, two bits each. */
static uint8_t outcomes[1 << 9];
static bool weak_seen;

static void init(void)
{
    x = y = 0;
    data = 0;
    memset(r, 0, sizeof(r));
}

static uint32_t load(uint32_t *p)
{
    return form == REL_ACQ ? strait_load_acquire(p) : strait_load_relaxed(p);
}

static void store(uint32_t *p, uint32_t v)
{
    if (form == REL_ACQ) {
        strait_store_release(p, v);
    } else {
        strait_store_relaxed(p, v);
    }
}

/* ---- steps ---- */

static void fence(void)
{
    if (form == FENCED) {
        strait_full_fence();
    }
}

static void light(void)
{
    strait_light_barrier();
}

static void heavy(void)
{
    model_heavy_barrier(MODEL_HERE);
}

static void plain_write(void)
{
    model_plain_write(&data, sizeof(data));
}

static void plain_read(void)
{
    model_plain_read(&data, sizeof(data));
}

static void poll(void)
{
    while (!load(&x)) {
        strait_pause();
    }
}

static void add(void)
{
    r[model_self()] = strait_add_acq_rel(&x, 1);
}

static void swap(uint32_t expected, uint32_t v)
{
    r[model_self()] = strait_cas_relaxed(&x, &expected, v);
}

static void swap01(void)
{
    swap(0, 1);
}

static void swap12(void)
{
    swap(1, 2);
}

static void wake(void)
{
    model_futex_wake(MODEL_HERE, &x);
}

static void doze(void)
{
    while (!load(&x)) {
        model_futex_wait(&x, 0, false);
    }
}

static void notify(void)
{
    if (load(&y)) {
        store(&y, 0);
        model_futex_wake(MODEL_HERE, &y);
    }
}

static void park(void)
{
    if (!load(&x)) {
        model_futex_wait(&y, 1, false);
    }
}

static const struct {
    const char *name;
    void (*step)(void);
} steps[] = {
    {"F", fence},         {"light", light}, {"heavy", heavy}, {"write", plain_write},
    {"read", plain_read}, {"poll", poll},   {"add", add},     {"swap01", swap01},
    {"swap12", swap12},   {"wake", wake},   {"sleep", doze},  {"notify", notify},
    {"park", park},
};

static uint32_t *variable(const char *name)
{
    return name[0] == 'r' ? &r[name[1] - '0'] : name[0] == 'x' ? &x : &y;
}

/* "r0=x", "x~1": one access of a shared word. */
static void assign(const char *to, char order, const char *from)
{
    if (to[0] == 'r') {
        *variable(to) = order == '~' ? strait_load_relaxed(variable(from)) : load(variable(from));
    } else if (order == '~') {
        strait_store_relaxed(variable(to), (uint32_t)(from[0] - '0'));
    } else {
        store(variable(to), (uint32_t)(from[0] - '0'));
    }
}

static void make_step(const char *step)
{
    const char *order = strpbrk(step, "=~");
    if (order) {
        assign(step, *order, order + 1);
        return;
    }
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (strcmp(step, steps[i].name) == 0) {
            steps[i].step();
            return;
        }
    }
    fprintf(stderr, "litmus: no step of this name: %s\n", step);
    abort();
}

static void thread(void)
{
    char step[16];
    int length;
    for (const char *at = litmus->thread[model_self()]; sscanf(at, "%15s%n", step, &length) == 1;
         at += length) {
        make_step(step);
    }
}

/* ---- outcomes ---- */

/* Has every word the value that "r0=1 x=2" says? */
static bool holds(const char *outcome)
{
    char name[3];
    unsigned value;
    int length;
    for (; sscanf(outcome, " %2[^=]=%u%n", name, &value, &length) == 2; outcome += length) {
        if (*variable(name) != value) {
            return false;
        }
    }
    return true;
}

static void check(void)
{
    unsigned outcome = 0;
    for (int i = 0; i < 4; i++) {
        outcome = outcome << 2 | (r[i] & 3);
    }
    outcome = (outcome << 4) | (x & 3) << 2 | (y & 3);
    outcomes[outcome >> 3] |= (uint8_t)(1u << (outcome & 7));
    for (int i = 0; i < 5 && litmus->weak[i]; i++) {
        weak_seen = weak_seen || holds(litmus->weak[i]);
    }
}

static const struct litmus tests[] = {
    {"message passing", {"y~1 F x=1", "r0=x F r1~y"}, {"r0=1 r1=0"}, {SEEN, NEVER, NEVER}},
    {"message passing of plain memory", {"write F x=1", "poll F read"}, {0}, {FAILS, NEVER, NEVER}},
    {"publish before write", {"x=1 write", "poll F read"}, {0}, {FAILS, FAILS, FAILS}},
    {"store buffering", {"x=1 F r0=y", "y=1 F r1=x"}, {"r0=0 r1=0"}, {SEEN, SEEN, NEVER}},
    {"SB, heavy and light",
     {"x=1 heavy r0=y", "y=1 light r1=x"},
     {"r0=0 r1=0"},
     {NEVER, NEVER, NEVER}},
    {"SB, light and light",
     {"x=1 light r0=y", "y=1 light r1=x"},
     {"r0=0 r1=0"},
     {SEEN, SEEN, SEEN}},
    {"SB, heavy and fence", {"x=1 heavy r0=y", "y=1 F r1=x"}, {"r0=0 r1=0"}, {SEEN, SEEN, NEVER}},
    /* C11 allows it for relaxed accesses; this semantics, without promises, does not. */
    {"load buffering", {"r0=x F y=1", "r1=y F x=1"}, {"r0=1 r1=1"}, {NEVER, NEVER, NEVER}},
    {"write to read causality",
     {"x=1", "r0=x F y=1", "r1=y F r2=x"},
     {"r0=1 r1=1 r2=0"},
     {SEEN, NEVER, NEVER}},
    {"IRIW",
     {"x=1", "y=1", "r0=x F r1=y", "r2=y F r3=x"},
     {"r0=1 r1=0 r2=1 r3=0"},
     {SEEN, SEEN, NEVER}},
    {"coherence",
     {"x=1", "x=2", "r0=x r1=x", "r2=x r3=x"},
     {"r0=1 r1=2 r2=2 r3=1", "r0=1 r1=0", "r0=2 r1=0", "r2=1 r3=0", "r2=2 r3=0"},
     {NEVER, NEVER, NEVER}},
    {"2+2W", {"x=1 F y=2", "y=1 F x=2"}, {"x=1 y=1"}, {SEEN, SEEN, NEVER}},
    {"R", {"x=1 F y=1", "y=2 F r0=x"}, {"y=2 r0=0"}, {SEEN, SEEN, NEVER}},
    {"atomic add", {"add", "add"}, {"r0=0 r1=0", "r0=1 r1=1", "x=1"}, {NEVER, NEVER, NEVER}},
    {"one of two swaps", {"swap01", "swap01"}, {"r0=0 r1=0", "r0=1 r1=1"}, {NEVER, NEVER, NEVER}},
    {"release sequence by swap",
     {"y~1 F x=1", "swap12", "r0=x F r2~y"},
     {"r0=2 r2=0"},
     {SEEN, NEVER, NEVER}},
    /* broken by a plain store of another thread's; fences order what the words' own order shows */
    {"release sequence by store",
     {"y~1 F x=1", "r3~x x~2", "r0=x F r2~y"},
     {"r3=1 r0=2 r2=0"},
     {SEEN, SEEN, NEVER}},
    {"futex", {"x=1 wake", "sleep"}, {0}, {NEVER, NEVER, NEVER}},
    {"futex, nobody wakes", {"x=1", "sleep"}, {0}, {FAILS, FAILS, FAILS}},
    /* Dekker's: who publishes looks for a sleeper, who goes to sleep looks once more. */
    {"sleeper and waker", {"x=1 F notify", "y=1 F park"}, {0}, {FAILS, FAILS, NEVER}},
    {"polling", {"x=1", "poll"}, {0}, {NEVER, NEVER, NEVER}},
    {"polling for ever", {"y=1", "poll"}, {0}, {FAILS, FAILS, FAILS}},
};

static const char *const answers[] = {"never", "seen", "fails"};
static const char *const forms[] = {"relaxed", "rel/acq", "fenced"};

static enum answer ask(const struct litmus *l, bool naive)
{
    struct model_test test = {.name = l->name, .init = init, .check = check};
    for (int i = 0; i < MODEL_THREADS && l->thread[i]; i++) {
        test.thread[i] = thread;
    }
    litmus = l;
    weak_seen = false;
    memset(outcomes, 0, sizeof(outcomes));
    model_naive = naive;
    model_limit = naive ? NAIVE_LIMIT : 0;
    bool passed = model_run(&test);
    model_naive = false;
    model_limit = 0;
    return !passed ? FAILS : weak_seen ? SEEN : NEVER;
}

/* Asks twice, with and without giving up what is redundant: the same outcomes must be seen, where
 * the search without comes to its end. */
static int judge(const struct litmus *l)
{
    uint8_t reduced[sizeof(outcomes)];
    enum answer is = ask(l, false);
    unsigned long executions = model_result.executions;
    memcpy(reduced, outcomes, sizeof(outcomes));
    enum answer naive = ask(l, true);
    bool same = model_result.cut ||
                (naive == is && (is == FAILS || memcmp(reduced, outcomes, sizeof(outcomes)) == 0));
    bool right = same && is == l->answer[form];
    if (!right || model_verbose) {
        printf("  %-34s %-8s %-5s, should be %-5s  %lu executions, %lu without reduction%s\n",
               l->name, forms[form], answers[is], answers[l->answer[form]], executions,
               model_result.executions, same ? "" : "; the reduction loses outcomes");
    }
    return right ? 0 : 1;
}

int litmus_run(void)
{
    int wrong = 0;
    int asked = 0;
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        for (form = RELAXED; form < FORMS; form++) {
            asked++;
            wrong += judge(&tests[i]);
        }
    }
    printf("litmus: %d answers, %d wrong\n", asked, wrong);
    return wrong;
}
