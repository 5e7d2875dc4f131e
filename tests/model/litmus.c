/* SPDX-License-Identifier: MIT */
/* The checker's own tests: the classic litmus tests and what C11 says of each, in three forms:
 * all relaxed, release and acquire, relaxed with a full fence between the two accesses. */
#include "tests.h"

#include <stdio.h>
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
    void (*thread[MODEL_THREADS])(void);
    bool (*weak)(void); /* is this execution's outcome the one in question? */
    enum answer answer[FORMS];
};

static enum form form;
static uint32_t x, y, z;
static uint32_t r[4];
static uint64_t data;
static const struct litmus *litmus;

/* Outcomes seen: r[0..3] and the last x and y, two bits each. */
static uint8_t outcomes[1 << 9];
static bool weak_seen;

static void init(void)
{
    x = y = z = 0;
    data = 0;
    memset(r, 0, sizeof(r));
}

static void check(void)
{
    unsigned outcome = 0;
    for (int i = 0; i < 4; i++) {
        outcome = outcome << 2 | (r[i] & 3);
    }
    outcome = (outcome << 4) | (x & 3) << 2 | (y & 3);
    outcomes[outcome >> 3] |= (uint8_t)(1u << (outcome & 7));
    weak_seen = weak_seen || litmus->weak();
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

static void fence(void)
{
    if (form == FENCED) {
        strait_full_fence();
    }
}

/* ---- message passing ---- */

static void mp_writer(void)
{
    strait_store_relaxed(&x, 1);
    fence();
    store(&y, 1);
}

static void mp_reader(void)
{
    r[0] = load(&y);
    fence();
    r[1] = strait_load_relaxed(&x);
}

static bool mp_weak(void)
{
    return r[0] == 1 && r[1] == 0;
}

static void race_writer(void)
{
    model_plain_write(&data, sizeof(data));
    fence();
    store(&y, 1);
}

static void race_reader(void)
{
    while (!load(&y)) {
        strait_pause();
    }
    fence();
    model_plain_read(&data, sizeof(data));
}

static void race_early_writer(void)
{
    store(&y, 1);
    model_plain_write(&data, sizeof(data));
}

static bool never(void)
{
    return false;
}

/* ---- store buffering ---- */

static void sb_0(void)
{
    store(&x, 1);
    fence();
    r[0] = load(&y);
}

static void sb_1(void)
{
    store(&y, 1);
    fence();
    r[1] = load(&x);
}

static bool sb_weak(void)
{
    return r[0] == 0 && r[1] == 0;
}

static void sb_heavy(void)
{
    store(&x, 1);
    model_heavy_barrier(MODEL_HERE);
    r[0] = load(&y);
}

static void sb_light_0(void)
{
    store(&x, 1);
    strait_light_barrier();
    r[0] = load(&y);
}

static void sb_light_1(void)
{
    store(&y, 1);
    strait_light_barrier();
    r[1] = load(&x);
}

/* ---- load buffering, write to read causality, IRIW ---- */

static void lb_0(void)
{
    r[0] = load(&x);
    fence();
    store(&y, 1);
}

static void lb_1(void)
{
    r[1] = load(&y);
    fence();
    store(&x, 1);
}

static bool lb_weak(void)
{
    return r[0] == 1 && r[1] == 1;
}

static void write_x(void)
{
    store(&x, 1);
}

static void write_y(void)
{
    store(&y, 1);
}

static void wrc_1(void)
{
    r[0] = load(&x);
    fence();
    store(&y, 1);
}

static void wrc_2(void)
{
    r[1] = load(&y);
    fence();
    r[2] = load(&x);
}

static bool wrc_weak(void)
{
    return r[0] == 1 && r[1] == 1 && r[2] == 0;
}

static void iriw_0(void)
{
    r[0] = load(&x);
    fence();
    r[1] = load(&y);
}

static void iriw_1(void)
{
    r[2] = load(&y);
    fence();
    r[3] = load(&x);
}

static bool iriw_weak(void)
{
    return r[0] == 1 && r[1] == 0 && r[2] == 1 && r[3] == 0;
}

/* ---- coherence ---- */

static void co_writer_1(void)
{
    store(&x, 1);
}

static void co_writer_2(void)
{
    store(&x, 2);
}

static void co_reader_0(void)
{
    r[0] = load(&x);
    r[1] = load(&x);
}

static void co_reader_1(void)
{
    r[2] = load(&x);
    r[3] = load(&x);
}

static bool co_weak(void)
{
    return (r[0] == 1 && r[1] == 2 && r[2] == 2 && r[3] == 1) || (r[0] && !r[1]) || (r[2] && !r[3]);
}

static void w22_0(void)
{
    store(&x, 1);
    fence();
    store(&y, 2);
}

static void w22_1(void)
{
    store(&y, 1);
    fence();
    store(&x, 2);
}

static bool w22_weak(void)
{
    return x == 1 && y == 1;
}

static void r_0(void)
{
    store(&x, 1);
    fence();
    store(&y, 1);
}

static void r_1(void)
{
    store(&y, 2);
    fence();
    r[0] = load(&x);
}

static bool r_weak(void)
{
    return y == 2 && r[0] == 0;
}

/* ---- read-modify-write, release sequences ---- */

static void add(void)
{
    r[model_self()] = strait_add_acq_rel(&x, 1);
}

static bool add_weak(void)
{
    return x != 2 || r[0] + r[1] != 1;
}

static void cas_once(void)
{
    uint32_t expected = 0;
    r[model_self()] = strait_cas_relaxed(&x, &expected, 1);
}

static bool cas_weak(void)
{
    return r[0] + r[1] != 1;
}

static void rs_head(void)
{
    strait_store_relaxed(&y, 1);
    fence();
    store(&x, 1);
}

static void rs_swap(void)
{
    uint32_t expected = 1;
    strait_cas_relaxed(&x, &expected, 2);
}

static void rs_store(void)
{
    if (strait_load_relaxed(&x) == 1) {
        strait_store_relaxed(&x, 2);
    }
}

static void rs_reader(void)
{
    r[0] = load(&x);
    fence();
    r[1] = strait_load_relaxed(&y);
}

static bool rs_weak(void)
{
    return r[0] == 2 && r[1] == 0;
}

/* ---- sleeping ---- */

static void futex_waker(void)
{
    store(&x, 1);
    model_futex_wake(MODEL_HERE, &x);
}

static void futex_store_only(void)
{
    store(&x, 1);
}

static void futex_sleeper(void)
{
    while (!load(&x)) {
        model_futex_wait(&x, 0, false);
    }
}

/* Dekker's: who publishes looks for a sleeper, who goes to sleep looks once more. */
static void dekker_waker(void)
{
    store(&x, 1);
    fence();
    if (load(&y)) {
        store(&y, 0);
        model_futex_wake(MODEL_HERE, &y);
    }
}

static void dekker_sleeper(void)
{
    store(&y, 1);
    fence();
    if (!load(&x)) {
        model_futex_wait(&y, 1, false);
    }
}

static void spinner(void)
{
    while (!load(&x)) {
        strait_pause();
    }
}

static const struct litmus tests[] = {
    {"message passing", {mp_writer, mp_reader}, mp_weak, {SEEN, NEVER, NEVER}},
    {"message passing of plain memory", {race_writer, race_reader}, never, {FAILS, NEVER, NEVER}},
    {"publish before write", {race_early_writer, race_reader}, never, {FAILS, FAILS, FAILS}},
    {"store buffering", {sb_0, sb_1}, sb_weak, {SEEN, SEEN, NEVER}},
    {"store buffering, heavy and light", {sb_heavy, sb_light_1}, sb_weak, {NEVER, NEVER, NEVER}},
    {"store buffering, light and light", {sb_light_0, sb_light_1}, sb_weak, {SEEN, SEEN, SEEN}},
    {"store buffering, heavy and fence", {sb_heavy, sb_1}, sb_weak, {SEEN, SEEN, NEVER}},
    /* C11 allows it for relaxed accesses; this semantics, without promises, does not. */
    {"load buffering", {lb_0, lb_1}, lb_weak, {NEVER, NEVER, NEVER}},
    {"write to read causality", {write_x, wrc_1, wrc_2}, wrc_weak, {SEEN, NEVER, NEVER}},
    {"IRIW", {write_x, write_y, iriw_0, iriw_1}, iriw_weak, {SEEN, SEEN, NEVER}},
    {"coherence",
     {co_writer_1, co_writer_2, co_reader_0, co_reader_1},
     co_weak,
     {NEVER, NEVER, NEVER}},
    {"2+2W", {w22_0, w22_1}, w22_weak, {SEEN, SEEN, NEVER}},
    {"R", {r_0, r_1}, r_weak, {SEEN, SEEN, NEVER}},
    {"atomic add", {add, add}, add_weak, {NEVER, NEVER, NEVER}},
    {"one of two swaps", {cas_once, cas_once}, cas_weak, {NEVER, NEVER, NEVER}},
    {"release sequence by swap", {rs_head, rs_swap, rs_reader}, rs_weak, {SEEN, NEVER, NEVER}},
    /* broken by a plain store of another thread's; fences order what the words' own order shows */
    {"release sequence by store", {rs_head, rs_store, rs_reader}, rs_weak, {SEEN, SEEN, NEVER}},
    {"futex", {futex_waker, futex_sleeper}, never, {NEVER, NEVER, NEVER}},
    {"futex, nobody wakes", {futex_store_only, futex_sleeper}, never, {FAILS, FAILS, FAILS}},
    {"sleeper and waker", {dekker_waker, dekker_sleeper}, never, {FAILS, FAILS, NEVER}},
    {"polling", {write_x, spinner}, never, {NEVER, NEVER, NEVER}},
    {"polling for ever", {write_y, spinner}, never, {FAILS, FAILS, FAILS}},
};

static const char *const answers[] = {"never", "seen", "fails"};
static const char *const forms[] = {"relaxed", "rel/acq", "fenced"};

static enum answer ask(const struct litmus *l, bool naive)
{
    struct model_test test = {.name = l->name, .init = init, .check = check};
    memcpy(test.thread, l->thread, sizeof(test.thread));
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
    if (!right) {
        printf("  %-34s %-8s %-5s, should be %s%s\n", l->name, forms[form], answers[is],
               answers[l->answer[form]], same ? "" : "; the reduction loses outcomes");
    } else if (model_verbose) {
        printf("  %-34s %-8s %-5s  %lu executions, %lu without reduction\n", l->name, forms[form],
               answers[is], executions, model_result.executions);
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
