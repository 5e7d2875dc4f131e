/* SPDX-License-Identifier: MIT */
/* See model.h for what it does, README.md for the memory model. */
#include "model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define LOCATIONS 24
#define MESSAGES 96 /* of one location, in one execution */
#define PLAIN_WORDS 64
#define SITES 128
#define CHOICES 4096
#define STEPS 3000 /* of one execution */
#define STACK_BYTES (64 * 1024)
#define STAMP_GAP 4096u /* between two stores, for those inserted later */

/* What a thread has seen of each location (a stamp of its modification order), and of each
 * thread's plain accesses (a vector clock). */
struct view {
    uint32_t at[LOCATIONS];
    uint32_t clock[MODEL_THREADS];
};

/* One store. */
struct message {
    uintptr_t value;
    uint32_t stamp;
    bool glued;    /* a read-modify-write: nothing may come between it and the one before */
    unsigned step; /* of the execution, in which it was stored */
    struct view view;
};

struct location {
    const char *p;
    size_t size;
    int messages;
    struct message history[MESSAGES]; /* in modification order */
};

enum kind {
    STEP_FREE, /* touches nothing that is shared */
    STEP_LOAD,
    STEP_WRITE,
    STEP_FENCE,
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
    bool started;
    enum status status;
    enum kind kind;                /* of the step it is about to make */
    int location;                  /* of that step */
    unsigned last_step;            /* the number of its previous one */
    const void *sleeps_on;         /* futex word or eventfd */
    uint32_t polled;               /* bit per location: loaded since the last pause */
    bool news;                     /* and one of them was not what it was the last time */
    uint32_t last_read[LOCATIONS]; /* stamps */
    int64_t now;
    struct view cur; /* what it has seen */
    struct view acq; /* what it would have seen had its loads all been acquires */
    struct view rel; /* what it had seen at its last fence */
};

/* A word of plain memory: who accessed it last, by the clock of each thread. */
struct plain {
    const char *p;
    int writer;
    uint32_t written;
    uint32_t read[MODEL_THREADS];
};

struct site {
    struct model_site at;
    uint32_t weakenings; /* bit per weakening that makes sense */
    bool reached;
};

struct choice {
    int chosen;
    int of;
};

struct model_result model_result;
int model_depth;
bool model_verbose;
unsigned long model_limit;
bool model_naive;

static struct thread threads[MODEL_THREADS];
static int thread_count;
static int current; /* -1: outside of all */
static jmp_buf main_env;
static const struct model_test *running;

static struct location locations[LOCATIONS];
static int location_count;
static struct plain plains[PLAIN_WORDS];
static int plain_count;
static struct view fence_view; /* of all full fences so far */
static struct view heavy_view; /* of all heavy barriers */
static struct view light_view; /* of all light barriers */
static struct view futex_view; /* of the kernel's lock */

static struct choice choices[CHOICES];
static int choice_count; /* recorded */
static int choice_next;  /* to be replayed */
static uint32_t sleep_set;
static unsigned steps;
static int preemptions_left;
static int stale_left;
static bool failed;
static bool tracing;

static struct site sites[SITES];
static int site_count;
static int mutated_site = -1;
static enum model_weakening mutation;

/* ---- choices ---- */

static int choose(int n)
{
    if (n == 1) {
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
        fprintf(stderr, "model: %s does not run the same way twice\n", running->name);
        abort();
    }
    return choices[choice_next++].chosen;
}

/* The next sequence in depth-first order; false: there is none. */
static bool next_choices(void)
{
    while (choice_count > 0) {
        struct choice *last = &choices[choice_count - 1];
        if (++last->chosen < last->of) {
            return true;
        }
        choice_count--;
    }
    return false;
}

static bool complete(void)
{
    return running->preemptions == 0;
}

/* ---- views ---- */

static void join_positions(struct view *to, const struct view *from)
{
    for (int i = 0; i < LOCATIONS; i++) {
        if (to->at[i] < from->at[i]) {
            to->at[i] = from->at[i];
        }
    }
}

static void join(struct view *to, const struct view *from)
{
    join_positions(to, from);
    for (int i = 0; i < MODEL_THREADS; i++) {
        if (to->clock[i] < from->clock[i]) {
            to->clock[i] = from->clock[i];
        }
    }
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

static void trace(const char *what, struct model_site at, int location, uintptr_t value)
{
    if (!tracing) {
        return;
    }
    const char *file = strrchr(at.file, '/');
    printf("    %3u  thread %d  %-14s", steps, current, what);
    if (location >= 0) {
        printf(" word %-2d %#10lx", location, (unsigned long)value);
    } else {
        printf(" %18s", "");
    }
    printf("  %s:%d\n", file ? file + 1 : at.file, at.line);
}

/* ---- scheduling ---- */

/* Has it seen, or could it see, what it had not seen before its last pause? */
static bool something_new(const struct thread *thread)
{
    if (thread->news) {
        return true;
    }
    for (int i = 0; i < location_count; i++) {
        const struct location *l = &locations[i];
        if ((thread->polled >> i & 1) && l->history[l->messages - 1].stamp > thread->cur.at[i]) {
            return true;
        }
    }
    return false;
}

static bool enabled(const struct thread *thread)
{
    return thread->status == READY || (thread->status == PAUSED && something_new(thread));
}

/* Two steps that are not: their order makes no difference. */
static bool dependent(const struct thread *a, const struct thread *b)
{
    if (a->kind == STEP_RESUME || b->kind == STEP_RESUME) {
        return a->kind == STEP_WRITE || b->kind == STEP_WRITE;
    }
    if (a->kind >= STEP_FENCE && b->kind >= STEP_FENCE) {
        return !(a->kind == STEP_LIGHT && b->kind == STEP_LIGHT) &&
               !(a->kind == STEP_LIGHT && b->kind == STEP_FENCE) &&
               !(a->kind == STEP_FENCE && b->kind == STEP_LIGHT);
    }
    return (a->kind == STEP_LOAD || a->kind == STEP_WRITE) &&
           (b->kind == STEP_LOAD || b->kind == STEP_WRITE) && a->location == b->location &&
           (a->kind == STEP_WRITE || b->kind == STEP_WRITE);
}

static void nobody_can_go_on(void)
{
    int asleep = 0;
    int paused = 0;
    for (int i = 0; i < thread_count; i++) {
        asleep += threads[i].status == ASLEEP;
        paused += threads[i].status == PAUSED;
    }
    if (asleep + paused > 0) {
        model_fail("stuck: %d threads asleep and never woken, %d polling for ever", asleep, paused);
    }
    leave();
}

/* Who may go on: the current thread first. Returns how many. */
static int candidates(int *list)
{
    int n = 0;
    bool current_can = current >= 0 && enabled(&threads[current]);
    if (current_can && !(sleep_set >> current & 1)) {
        list[n++] = current;
    }
    if (!complete() && current_can && threads[current].status == READY && preemptions_left == 0) {
        return n;
    }
    for (int i = 0; i < thread_count; i++) {
        if (i != current && enabled(&threads[i]) && !(sleep_set >> i & 1)) {
            list[n++] = i;
        }
    }
    return n;
}

static int pick(void)
{
    bool anybody = false;
    for (int i = 0; i < thread_count; i++) {
        anybody = anybody || enabled(&threads[i]);
    }
    if (!anybody) {
        nobody_can_go_on();
    }
    int list[MODEL_THREADS];
    int n = candidates(list);
    if (n == 0) { /* all that could follow was explored from an equivalent state */
        model_result.redundant++;
        leave();
    }
    int chosen = choose(n);
    if (complete() && !model_naive) {
        for (int i = 0; i < chosen; i++) {
            sleep_set |= 1u << list[i];
        }
    }
    if (list[chosen] != current && current >= 0 && threads[current].status == READY) {
        preemptions_left--;
    }
    return list[chosen];
}

static _Noreturn void enter(int next)
{
    current = next;
    if (threads[next].started) {
        _longjmp(threads[next].env, 1);
    }
    threads[next].started = true;
    setcontext(&threads[next].context);
    abort();
}

static void schedule(void)
{
    int self = current;
    int next = pick();
    if (next != self && !_setjmp(threads[self].env)) {
        enter(next);
    }
    for (int i = 0; i < thread_count; i++) {
        if (sleep_set >> i & 1 && dependent(&threads[i], &threads[current])) {
            sleep_set &= ~(1u << i);
        }
    }
}

static void thread_body(void)
{
    for (int i = 0; i < thread_count; i++) {
        sleep_set &= ~(dependent(&threads[i], &threads[current]) ? 1u << i : 0u);
    }
    running->thread[current]();
    threads[current].status = FINISHED;
    threads[current].kind = STEP_FREE;
    enter(pick());
}

static void begin(enum kind kind, int location)
{
    struct thread *self = &threads[current];
    self->kind = kind;
    self->location = location;
    schedule();
    if (++steps > STEPS) {
        model_fail("more than %d steps", STEPS);
    }
}

static void end(void)
{
    struct thread *self = &threads[current];
    self->last_step = steps;
    self->cur.clock[current]++;
    self->acq.clock[current] = self->cur.clock[current];
    self->kind = STEP_FREE;
}

int model_self(void)
{
    return current;
}

/* Stores become visible in the end: who polls for the second time sees the latest. */
static void refresh(struct thread *self)
{
    for (int i = 0; i < location_count && !self->news; i++) {
        if (self->polled >> i & 1) {
            const struct location *l = &locations[i];
            self->cur.at[i] = self->acq.at[i] = l->history[l->messages - 1].stamp;
            self->last_read[i] = self->cur.at[i]; /* known to the checker, news to nobody */
        }
    }
    self->polled = 0;
    self->news = false;
}

void model_pause(void)
{
    if (current < 0) {
        return;
    }
    threads[current].news = false;
    model_pause_unless_news();
}

void model_pause_unless_news(void)
{
    struct thread *self = &threads[current];
    self->status = PAUSED;
    trace("pauses", MODEL_HERE, -1, 0);
    begin(STEP_RESUME, -1);
    self->status = READY;
    refresh(self);
    end();
}

/* ---- sites and their mutation ---- */

static int find_site(struct model_site at, uint32_t weakenings)
{
    for (int i = 0; i < site_count; i++) {
        if (sites[i].at.line == at.line && sites[i].at.file == at.file &&
            sites[i].weakenings == weakenings) {
            return i;
        }
    }
    if (site_count == SITES) {
        fprintf(stderr, "model: too many sites\n");
        abort();
    }
    sites[site_count] = (struct site){at, weakenings, false};
    return site_count++;
}

static int reach(struct model_site at, uint32_t weakenings)
{
    int site = find_site(at, weakenings);
    sites[site].reached = true;
    return site;
}

static bool weakened(struct model_site at, uint32_t weakenings, enum model_weakening *to)
{
    *to = mutation;
    return reach(at, weakenings) == mutated_site;
}

/* What is left of an order that was to be `acquire` and `release`. */
static void weaken(struct model_site at, bool *acquire, bool *release)
{
    enum model_weakening to;
    uint32_t can = 1u << MODEL_RELAXED;
    if (*acquire && *release) {
        can |= 1u << MODEL_ONLY_ACQUIRE | 1u << MODEL_ONLY_RELEASE;
    }
    if ((*acquire || *release) && weakened(at, can, &to)) {
        *acquire = to == MODEL_ONLY_ACQUIRE;
        *release = to == MODEL_ONLY_RELEASE;
    }
}

bool model_omitted(struct model_site at)
{
    enum model_weakening to;
    return weakened(at, 1u << MODEL_OMITTED, &to);
}

int model_sites(void)
{
    return site_count;
}

struct model_site model_site_at(int site)
{
    return sites[site].at;
}

bool model_site_has(int site, enum model_weakening weakening)
{
    return sites[site].weakenings >> weakening & 1;
}

bool model_site_reached(int site)
{
    return sites[site].reached;
}

void model_mutate(int site, enum model_weakening weakening)
{
    mutated_site = site;
    mutation = weakening;
}

/* ---- memory ---- */

static uintptr_t memory_get(const void *p, size_t size)
{
    uintptr_t value = 0;
    uint32_t narrow;
    if (size == sizeof(narrow)) {
        memcpy(&narrow, p, sizeof(narrow));
        return narrow;
    }
    memcpy(&value, p, sizeof(value));
    return value;
}

static void memory_set(void *p, size_t size, uintptr_t value)
{
    uint32_t narrow = (uint32_t)value;
    if (size == sizeof(narrow)) {
        memcpy(p, &narrow, sizeof(narrow));
    } else {
        memcpy(p, &value, sizeof(value));
    }
}

static int locate(const void *p, size_t size)
{
    for (int i = 0; i < location_count; i++) {
        if (locations[i].p == p) {
            return i;
        }
    }
    if (location_count == LOCATIONS) {
        fprintf(stderr, "model: too many locations\n");
        abort();
    }
    struct location *l = &locations[location_count];
    l->p = p;
    l->size = size;
    l->messages = 1;
    memset(&l->history[0], 0, sizeof(l->history[0]));
    l->history[0].value = memory_get(p, size);
    return location_count++;
}

/* May a load of the thread's read message m, given that it could have been made earlier? What
 * was stored while the thread stood before this very step, it has not seen only if the step came
 * before that store: another execution. */
static bool worth_reading(const struct thread *self, const struct location *l, int m)
{
    if (!complete() || model_naive) {
        return true;
    }
    for (int i = m + 1; i < l->messages; i++) {
        if (l->history[i].step > self->last_step) {
            return false;
        }
    }
    return true;
}

/* The messages that the thread may read, the latest first. `only`: not NULL: where the value is
 * (or, as `is` says, is not) this one. */
static int readable(int location, int *list, const uintptr_t *only, bool is)
{
    const struct thread *self = &threads[current];
    const struct location *l = &locations[location];
    int n = 0;
    for (int m = l->messages - 1; m >= 0 && l->history[m].stamp >= self->cur.at[location]; m--) {
        bool latest = m == l->messages - 1;
        if (!latest && (!worth_reading(self, l, m) || stale_left == 0)) {
            break;
        }
        if (!only || (l->history[m].value == *only) == is) {
            list[n++] = m;
        }
    }
    return n;
}

static void see(int location, const struct message *m, bool acquire)
{
    struct thread *self = &threads[current];
    if (m != &locations[location].history[locations[location].messages - 1]) {
        stale_left--;
    }
    self->news = self->news || m->stamp != self->last_read[location];
    self->last_read[location] = m->stamp;
    join(&self->acq, &m->view);
    if (acquire) {
        join(&self->cur, &m->view);
    }
    self->cur.at[location] = m->stamp;
    if (self->acq.at[location] < m->stamp) {
        self->acq.at[location] = m->stamp;
    }
    self->polled |= 1u << location;
}

/* Puts a store after message m. */
static struct message *insert(int location, int m, uintptr_t value)
{
    struct location *l = &locations[location];
    if (l->messages == MESSAGES) {
        model_fail("more than %d stores to one word", MESSAGES);
    }
    bool last = m == l->messages - 1;
    uint32_t below = l->history[m].stamp;
    uint32_t stamp = last ? below + STAMP_GAP : below + (l->history[m + 1].stamp - below) / 2;
    if (stamp == below) {
        model_fail("no stamp left between two stores");
    }
    for (int i = l->messages++; i > m + 1; i--) {
        l->history[i] = l->history[i - 1];
    }
    struct message *new = &l->history[m + 1];
    new->value = value;
    new->stamp = stamp;
    new->step = steps;
    new->glued = false;
    memory_set((void *)(uintptr_t)l->p, l->size, l->history[l->messages - 1].value);
    return new;
}

/* The view that a store carries; `read`: the message that it replaced. */
static void publish(int location, struct message *new, bool release, const struct view *read)
{
    struct thread *self = &threads[current];
    self->cur.at[location] = new->stamp;
    self->acq.at[location] = new->stamp;
    new->view = release ? self->cur : self->rel;
    new->view.at[location] = new->stamp;
    if (read) {
        join(&new->view, read);
    }
}

static bool glued_after(const struct location *l, int m)
{
    return m + 1 < l->messages && l->history[m + 1].glued;
}

/* ---- the helpers ---- */

uintptr_t model_load(struct model_site at, const void *p, size_t size, bool acquire)
{
    if (current < 0) {
        return memory_get(p, size);
    }
    bool release = false;
    weaken(at, &acquire, &release);
    int location = locate(p, size);
    begin(STEP_LOAD, location);
    int list[MESSAGES];
    int m = list[choose(readable(location, list, NULL, true))];
    const struct message *read = &locations[location].history[m];
    trace(m < locations[location].messages - 1 ? "loads old" : "loads", at, location, read->value);
    see(location, read, acquire);
    uintptr_t value = read->value;
    end();
    return value;
}

void model_store(struct model_site at, void *p, size_t size, uintptr_t v, bool release)
{
    if (current < 0) {
        memory_set(p, size, v);
        return;
    }
    bool acquire = false;
    weaken(at, &acquire, &release);
    int location = locate(p, size);
    begin(STEP_WRITE, location);
    const struct location *l = &locations[location];
    int list[MESSAGES];
    int n = 0;
    for (int m = l->messages - 1;
         m >= 0 && l->history[m].stamp >= threads[current].cur.at[location]; m--) {
        if (!glued_after(l, m)) {
            list[n++] = m;
        }
    }
    trace("stores", at, location, v);
    publish(location, insert(location, list[choose(n)], v), release, NULL);
    end();
}

/* Replaces message m by v in one step. */
static void replace(int location, int m, uintptr_t v, bool acquire, bool release)
{
    see(location, &locations[location].history[m], acquire);
    struct view read = locations[location].history[m].view;
    struct message *new = insert(location, m, v);
    new->glued = true;
    publish(location, new, release, &read);
}

/* The messages that a read-modify-write may replace. */
static int replaceable(int location, int *list, const uintptr_t *expected)
{
    int seen[MESSAGES];
    int n = 0;
    int of = readable(location, seen, expected, true);
    for (int i = 0; i < of; i++) {
        if (!glued_after(&locations[location], seen[i])) {
            list[n++] = seen[i];
        }
    }
    return n;
}

bool model_cas(struct model_site at, void *p, size_t size, void *expected, uintptr_t v,
               bool acq_rel)
{
    uintptr_t wanted = memory_get(expected, size);
    if (current < 0) {
        uintptr_t is = memory_get(p, size);
        memory_set(is == wanted ? p : expected, size, is == wanted ? v : is);
        return is == wanted;
    }
    bool acquire = acq_rel;
    bool release = acq_rel;
    weaken(at, &acquire, &release);
    int location = locate(p, size);
    begin(STEP_WRITE, location);
    int list[2 * MESSAGES];
    int hits = replaceable(location, list, &wanted);
    int misses = readable(location, list + hits, &wanted, false);
    int chosen = choose(hits + misses);
    bool swapped = chosen < hits;
    const struct message *m = &locations[location].history[list[chosen]];
    trace(swapped ? "swaps in" : "finds", at, location, swapped ? v : m->value);
    if (swapped) {
        replace(location, list[chosen], v, acquire, release);
    } else {
        memory_set(expected, size, m->value);
        see(location, m, acquire);
    }
    end();
    return swapped;
}

uintptr_t model_add(struct model_site at, void *p, size_t size, uintptr_t v, bool acq_rel)
{
    uintptr_t before;
    if (current < 0) {
        before = memory_get(p, size);
        memory_set(p, size, before + v);
        return before;
    }
    bool acquire = acq_rel;
    bool release = acq_rel;
    weaken(at, &acquire, &release);
    int location = locate(p, size);
    begin(STEP_WRITE, location);
    int list[MESSAGES];
    int m = list[choose(replaceable(location, list, NULL))];
    before = locations[location].history[m].value;
    uintptr_t after = size == sizeof(uint32_t) ? (uint32_t)(before + v) : before + v;
    trace("adds up to", at, location, after);
    replace(location, m, after, acquire, release);
    end();
    return before;
}

void model_full_fence(struct model_site at)
{
    if (current < 0 || model_omitted(at)) {
        return;
    }
    begin(STEP_FENCE, -1);
    trace("full fence", at, -1, 0);
    struct thread *self = &threads[current];
    join_positions(&self->acq, &fence_view);
    fence_view = self->acq;
    self->cur = self->rel = self->acq;
    end();
}

void model_light_barrier(struct model_site at)
{
    if (current < 0 || model_omitted(at)) {
        return;
    }
    begin(STEP_LIGHT, -1);
    trace("light barrier", at, -1, 0);
    struct thread *self = &threads[current];
    join_positions(&light_view, &self->cur);
    join_positions(&self->cur, &heavy_view);
    join_positions(&self->acq, &heavy_view);
    end();
}

void model_heavy_barrier(struct model_site at)
{
    if (current < 0 || model_omitted(at)) {
        return;
    }
    begin(STEP_HEAVY, -1);
    trace("heavy barrier", at, -1, 0);
    struct thread *self = &threads[current];
    join_positions(&self->acq, &fence_view);
    join_positions(&self->acq, &light_view);
    join_positions(&self->acq, &heavy_view);
    fence_view = heavy_view = self->acq;
    self->cur = self->rel = self->acq;
    end();
}

/* ---- plain memory ---- */

static struct plain *plain_at(const char *p)
{
    for (int i = 0; i < plain_count; i++) {
        if (plains[i].p == p) {
            return &plains[i];
        }
    }
    if (plain_count == PLAIN_WORDS) {
        fprintf(stderr, "model: too many words of plain memory\n");
        abort();
    }
    struct plain *plain = &plains[plain_count++];
    *plain = (struct plain){.p = p};
    return plain;
}

static void plain_access(const char *p, bool writes)
{
    struct plain *plain = plain_at(p);
    const struct view *cur = &threads[current].cur;
    if (plain->written > cur->clock[plain->writer]) {
        model_fail("data race: thread %d %s what thread %d writes", current,
                   writes ? "writes" : "reads", plain->writer);
    }
    for (int i = 0; writes && i < thread_count; i++) {
        if (plain->read[i] > cur->clock[i]) {
            model_fail("data race: thread %d writes what thread %d reads", current, i);
        }
    }
    if (writes) {
        plain->writer = current;
        plain->written = cur->clock[current];
    } else {
        plain->read[current] = cur->clock[current];
    }
}

void model_plain_read(const void *p, size_t bytes)
{
    for (size_t i = 0; current >= 0 && i < bytes; i += sizeof(uint64_t)) {
        plain_access((const char *)p + i, false);
    }
}

void model_plain_write(const void *p, size_t bytes)
{
    for (size_t i = 0; current >= 0 && i < bytes; i += sizeof(uint64_t)) {
        plain_access((const char *)p + i, true);
    }
}

void *model_copy(void *to, const void *from, size_t bytes)
{
    model_plain_read(from, bytes);
    model_plain_write(to, bytes);
    return memmove(to, from, bytes);
}

/* ---- the kernel ---- */

static void sleep_on(const void *p)
{
    struct thread *self = &threads[current];
    self->status = ASLEEP;
    self->sleeps_on = p;
    end();
    schedule();
}

static void wake_all(const void *p)
{
    for (int i = 0; i < thread_count; i++) {
        if (threads[i].status == ASLEEP && threads[i].sleeps_on == p) {
            threads[i].status = READY;
            threads[i].last_step = steps; /* it could not have gone on any earlier */
        }
    }
}

/* The kernel compares and sleeps under a lock that the waker takes too; beyond that its load may
 * be as old as any. The caller's view gains nothing by the call. */
int model_futex_wait(uint32_t *word, uint32_t value, bool timed)
{
    int location = locate(word, sizeof(*word));
    begin(STEP_WRITE, location);
    struct thread *self = &threads[current];
    struct view own = self->cur;
    join_positions(&self->cur, &futex_view);
    int list[MESSAGES];
    int m = list[choose(readable(location, list, NULL, true))];
    const struct message *read = &locations[location].history[m];
    bool sleeps = read->value == value;
    uint32_t stamp = read->stamp;
    self->cur = own;
    self->cur.at[location] = stamp;
    if (self->acq.at[location] < stamp) {
        self->acq.at[location] = stamp;
    }
    trace(sleeps ? "futex sleeps" : "futex goes on", MODEL_HERE, location, value);
    if (sleeps && timed && choose(2)) {
        end();
        return -1;
    }
    if (sleeps) {
        sleep_on(word);
    } else {
        end();
    }
    return 0;
}

void model_futex_wake(struct model_site at, uint32_t *word)
{
    if (current < 0 || model_omitted(at)) {
        return;
    }
    int location = locate(word, sizeof(*word));
    begin(STEP_WRITE, location);
    trace("futex wakes", at, location, 0);
    join_positions(&futex_view, &threads[current].cur);
    wake_all(word);
    end();
}

void model_fd_write(struct model_site at, uint32_t *fd)
{
    if (current < 0 || model_omitted(at)) {
        return;
    }
    begin(STEP_WRITE, locate(fd, sizeof(*fd)));
    trace("eventfd write", at, -1, 0);
    ++*fd;
    wake_all(fd);
    end();
}

uint32_t model_fd_read(uint32_t *fd)
{
    if (current < 0) {
        return 0;
    }
    begin(STEP_WRITE, locate(fd, sizeof(*fd)));
    trace("eventfd read", MODEL_HERE, -1, 0);
    uint32_t count = *fd;
    *fd = 0;
    end();
    return count;
}

void model_fd_poll(uint32_t *fd, bool timed)
{
    begin(STEP_WRITE, locate(fd, sizeof(*fd)));
    trace(*fd ? "poll goes on" : "poll sleeps", MODEL_HERE, -1, 0);
    if (*fd || (timed && choose(2))) {
        refresh(&threads[current]);
        end();
    } else {
        sleep_on(fd);
    }
}

int64_t model_now(void)
{
    return current < 0 ? 0 : (threads[current].now += 1000000000);
}

void model_timed_out(int64_t deadline)
{
    if (threads[current].now < deadline) {
        threads[current].now = deadline;
    }
}

/* ---- the search ---- */

static void reset(void)
{
    location_count = 0;
    plain_count = 0;
    sleep_set = 0;
    steps = 0;
    choice_next = 0;
    current = -1;
    memset(&fence_view, 0, sizeof(fence_view));
    heavy_view = light_view = futex_view = fence_view;
    preemptions_left = running->preemptions + (running->preemptions ? model_depth : 0);
    stale_left = running->stale ? running->stale + model_depth : -1;
    for (int i = 0; i < thread_count; i++) {
        struct thread *thread = &threads[i];
        thread->started = false;
        thread->status = READY;
        thread->kind = STEP_FREE;
        thread->location = -1;
        thread->last_step = 0;
        thread->polled = 0;
        thread->news = true;
        memset(thread->last_read, 0, sizeof(thread->last_read));
        thread->now = 0;
        memset(&thread->cur, 0, sizeof(thread->cur));
        thread->cur.clock[i] = 1;
        thread->acq = thread->rel = thread->cur;
        memset(&thread->rel.clock, 0, sizeof(thread->rel.clock));
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
    current = -1;
}

static bool all_finished(void)
{
    for (int i = 0; i < thread_count; i++) {
        if (threads[i].status != FINISHED) {
            return false;
        }
    }
    return true;
}

static void run_once(void)
{
    reset();
    running->init();
    run_threads();
    if (!failed && all_finished() && running->check && !_setjmp(main_env)) {
        running->check();
    }
    model_result.executions++;
}

static void prepare(const struct model_test *test)
{
    running = test;
    failed = false;
    choice_count = 0;
    memset(&model_result, 0, sizeof(model_result));
    thread_count = 0;
    while (thread_count < MODEL_THREADS && test->thread[thread_count]) {
        struct thread *thread = &threads[thread_count++];
        if (!thread->stack) {
            thread->stack = malloc(STACK_BYTES);
            getcontext(&thread->context);
        }
        if (!thread->stack) {
            abort();
        }
    }
    for (int i = 0; i < site_count; i++) {
        sites[i].reached = false;
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
