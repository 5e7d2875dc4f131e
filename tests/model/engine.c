/* SPDX-License-Identifier: MIT */
/* Who goes on, and which executions there are: see README.md. */
#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHOICES 4096
#define STEPS 3000 /* of one execution */
#define TIMEOUTS 1 /* likewise */
#define STACK_BYTES (64 * 1024)

struct choice {
    int chosen;
    int of;
};

struct model_result model_result;
int model_depth;
bool model_verbose;
unsigned long model_limit;
bool model_naive;

struct engine engine = {.current = -1};

static jmp_buf main_env;
static struct choice choices[CHOICES];
static int choice_count; /* recorded */
static int choice_next;  /* to be replayed */
static uint32_t sleep_set;
static int preemptions_left;
static bool failed;
static bool again;
static bool tracing;

/* ---- choices ---- */

int choose(int n)
{
    if (n == 1 || engine.settling) {
        return 0;
    }
    if (choice_next == choice_count) {
        if (choice_count == CHOICES) {
            fprintf(stderr, "model: too many choices\n");
            abort();
        }
        choices[choice_count++] = (struct choice){0, n};
    }
    if (choices[choice_next].of != n) {
        fprintf(stderr, "model: %s does not run the same way twice\n", engine.test->name);
        abort();
    }
    return choices[choice_next++].chosen;
}

/* The next sequence in depth-first order; false: there is none. */
static bool next_choices(void)
{
    if (again) {
        again = false;
        choice_count = 0;
        return true;
    }
    for (; choice_count > 0; choice_count--) {
        struct choice *last = &choices[choice_count - 1];
        if (++last->chosen < last->of) {
            return true;
        }
    }
    return false;
}

bool complete(void)
{
    return engine.test->preemptions == 0;
}

/* ---- ends of an execution ---- */

static _Noreturn void leave(void)
{
    _longjmp(main_env, 1);
}

void model_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(model_result.failure, sizeof(model_result.failure), format, arguments);
    va_end(arguments);
    failed = true;
    leave();
}

void trace(const char *what, struct model_site at, int location, uintptr_t value)
{
    if (!tracing) {
        return;
    }
    const char *file = strrchr(at.file, '/');
    printf("    %3u  thread %d  %-14s", engine.steps, engine.current, what);
    if (location >= 0) {
        printf(" word %-2d %#10lx", location, (unsigned long)value);
    } else {
        printf(" %18s", "");
    }
    printf("  %s:%d\n", file ? file + 1 : at.file, at.line);
}

/* ---- scheduling ---- */

static bool awake(const struct thread *thread)
{
    return thread->status == READY || (thread->status == PAUSED && something_new(thread));
}

static bool enabled(const struct thread *thread)
{
    bool times_out = thread->status == ASLEEP && thread->timed && engine.timeouts_left > 0;
    return awake(thread) || (times_out && !engine.settling);
}

/* Two steps that are not: their order makes no difference. */
static bool dependent(const struct thread *a, const struct thread *b)
{
    if (a->kind == STEP_RESUME || b->kind == STEP_RESUME) {
        return a->kind == STEP_WRITE || b->kind == STEP_WRITE;
    }
    if (a->kind >= STEP_FENCE && b->kind >= STEP_FENCE) {
        return a->kind == b->kind ? a->kind != STEP_LIGHT
                                  : a->kind == STEP_HEAVY || b->kind == STEP_HEAVY;
    }
    return (a->kind == STEP_LOAD || a->kind == STEP_WRITE) &&
           (b->kind == STEP_LOAD || b->kind == STEP_WRITE) && a->location == b->location &&
           (a->kind == STEP_WRITE || b->kind == STEP_WRITE);
}

/* Have all threads ended that are to? */
static bool all_finished(void)
{
    for (int i = 0; i < engine.thread_count; i++) {
        if (engine.threads[i].status != FINISHED && !(engine.test->background >> i & 1)) {
            return false;
        }
    }
    return true;
}

static int count(enum status status)
{
    int n = 0;
    for (int i = 0; i < engine.thread_count; i++) {
        n += engine.threads[i].status == status;
    }
    return n;
}

/* Is nobody left who could go on, though not all are through? That a sleep ends at its deadline
 * makes up for no wake-up that is lost. */
static void fail_if_stuck(void)
{
    for (int i = 0; i < engine.thread_count; i++) {
        if (awake(&engine.threads[i])) {
            return;
        }
    }
    if (!all_finished()) {
        model_fail("stuck: %d threads asleep and never woken, %d polling for ever", count(ASLEEP),
                   count(PAUSED));
    }
}

/* While the others have not begun. Returns how many. */
static int background_candidates(int *list)
{
    int n = 0;
    for (int i = 0; i < engine.thread_count; i++) {
        if ((engine.test->background >> i & 1) && enabled(&engine.threads[i])) {
            list[n++] = i;
        }
    }
    return n;
}

/* Who may go on: the current thread first. Returns how many. */
static int candidates(int *list)
{
    int n = engine.settling ? background_candidates(list) : 0;
    if (n > 0) {
        return n;
    }
    engine.settling = false;
    bool current_can = engine.current >= 0 && enabled(&engine.threads[engine.current]);
    if (current_can && !(sleep_set >> engine.current & 1)) {
        list[n++] = engine.current;
    }
    if (!complete() && current_can && engine.threads[engine.current].status == READY &&
        preemptions_left == 0) {
        return n;
    }
    for (int i = 0; i < engine.thread_count; i++) {
        if (i != engine.current && enabled(&engine.threads[i]) && !(sleep_set >> i & 1)) {
            list[n++] = i;
        }
    }
    return n;
}

static int pick(void)
{
    int list[MODEL_THREADS];
    int n = candidates(list);
    if (n == 0 || !awake(&engine.threads[list[0]])) {
        fail_if_stuck();
    }
    if (n == 0) { /* or all that could follow was explored from an equivalent state */
        leave();
    }
    int chosen = choose(n);
    if (complete() && !model_naive) {
        for (int i = 0; i < chosen; i++) {
            sleep_set |= 1u << list[i];
        }
    }
    if (list[chosen] != engine.current && engine.current >= 0 &&
        engine.threads[engine.current].status == READY) {
        preemptions_left--;
    }
    return list[chosen];
}

static _Noreturn void enter(int next)
{
    engine.current = next;
    if (engine.threads[next].started) {
        _longjmp(engine.threads[next].env, 1);
    }
    engine.threads[next].started = true;
    setcontext(&engine.threads[next].context);
    abort();
}

/* Out of the sleep set comes whoever's next step does not commute with the one that is made now. */
static void wake_dependent(void)
{
    for (int i = 0; i < engine.thread_count; i++) {
        if (dependent(&engine.threads[i], &engine.threads[engine.current])) {
            sleep_set &= ~(1u << i);
        }
    }
}

static void schedule(void)
{
    int self = engine.current;
    int next = pick();
    if (next != self && !_setjmp(engine.threads[self].env)) {
        enter(next);
    }
    wake_dependent();
}

static void thread_body(void)
{
    wake_dependent();
    engine.test->thread[engine.current]();
    engine.threads[engine.current].status = FINISHED;
    engine.threads[engine.current].kind = STEP_FREE;
    if (all_finished()) {
        leave();
    }
    enter(pick());
}

void step_begin(enum kind kind, int location)
{
    struct thread *self = &engine.threads[engine.current];
    self->kind = kind;
    self->location = location;
    schedule();
    step_begin_alone();
}

void step_begin_alone(void)
{
    if (++engine.steps > STEPS) {
        model_fail("more than %d steps", STEPS);
    }
}

void step_end(void)
{
    struct thread *self = &engine.threads[engine.current];
    self->last_step = engine.steps;
    self->cur.clock[engine.current]++;
    self->acq.clock[engine.current] = self->cur.clock[engine.current];
    self->kind = STEP_FREE;
}

int model_self(void)
{
    return engine.current;
}

const struct model_plan *model_plan(void)
{
    return &engine.test->plan;
}

void model_pause(void)
{
    if (engine.current < 0) {
        return;
    }
    engine.threads[engine.current].news = false;
    model_pause_unless_news();
}

void model_pause_unless_news(void)
{
    struct thread *self = &engine.threads[engine.current];
    self->status = PAUSED;
    trace("pauses", MODEL_HERE, -1, 0);
    step_begin(STEP_RESUME, -1);
    self->status = READY;
    refresh(self);
    step_end();
}

void search_again(void)
{
    again = true;
}

bool step_aside(const void *p, bool timed)
{
    struct thread *self = &engine.threads[engine.current];
    self->status = ASLEEP;
    self->sleeps_on = p;
    self->timed = timed;
    step_end();
    schedule();
    if (self->status == READY) {
        return true;
    }
    trace("times out", MODEL_HERE, -1, 0);
    self->status = READY;
    engine.timeouts_left--;
    return false;
}

/* ---- the search ---- */

static void reset(void)
{
    sleep_set = 0;
    engine.steps = 0;
    choice_next = 0;
    engine.current = -1;
    memory_reset();
    kernel_reset();
    preemptions_left = engine.test->preemptions + (engine.test->preemptions ? model_depth : 0);
    engine.settling = engine.test->settled;
    engine.timeouts_left = TIMEOUTS;
    engine.stale_left = engine.test->stale ? engine.test->stale + model_depth : -1;
    for (int i = 0; i < engine.thread_count; i++) {
        struct thread *thread = &engine.threads[i];
        memset(&thread->started, 0, sizeof(*thread) - offsetof(struct thread, started));
        thread->location = -1;
        thread->news = true;
        thread->cur.clock[i] = 1;
        thread->acq = thread->cur;
        thread->context.uc_stack.ss_sp = thread->stack;
        thread->context.uc_stack.ss_size = STACK_BYTES;
        makecontext(&thread->context, thread_body, 0);
    }
}

static void run_threads(void)
{
    if (!_setjmp(main_env)) {
        enter(pick());
    }
    engine.current = -1;
}

static void run_once(void)
{
    reset();
    engine.test->init();
    run_threads();
    if (!failed && all_finished() && engine.test->check && !_setjmp(main_env)) {
        engine.test->check();
    }
    model_result.executions++;
}

static void prepare(const struct model_test *test)
{
    engine.test = test;
    failed = false;
    again = false;
    choice_count = 0;
    memory_forget();
    memset(&model_result, 0, sizeof(model_result));
    engine.thread_count = 0;
    while (engine.thread_count < MODEL_THREADS && test->thread[engine.thread_count]) {
        struct thread *thread = &engine.threads[engine.thread_count++];
        if (!thread->stack) {
            thread->stack = malloc(STACK_BYTES);
            getcontext(&thread->context);
        }
        if (!thread->stack) {
            abort();
        }
    }
}

bool model_run(const struct model_test *test)
{
    prepare(test);
    do {
        run_once();
        if (failed && model_verbose) {
            printf("  %s: execution %lu: %s\n", test->name, model_result.executions,
                   model_result.failure);
            tracing = true;
            run_once();
            tracing = false;
        }
        if (model_limit && model_result.executions >= model_limit) {
            model_result.cut = true;
            break;
        }
    } while (!failed && next_choices());
    return !failed;
}
