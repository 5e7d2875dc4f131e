/* SPDX-License-Identifier: MIT */
/* What a load may read: see README.md. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAMP_GAP 4096u /* between two stores, for those inserted later */
#define PLAIN_WORDS 64

struct location {
    const char *p;
    size_t size;
    int messages;
    struct message history[MESSAGES]; /* in modification order */
};

/* A word of plain memory: who accessed it last, by the clock of each thread. */
struct plain {
    const char *p;
    int writer;
    uint32_t written;
    uint32_t read[MODEL_THREADS];
};

/* Who has ever accessed a word, in any execution of the test. */
struct acquaintance {
    const void *p;
    uint32_t threads; /* bit per thread */
    bool written;
};

static struct location locations[LOCATIONS];
static int location_count;
static struct acquaintance acquaintances[LOCATIONS];
static int acquaintance_count;
static struct plain plains[PLAIN_WORDS];
static int plain_count;
static struct view fence_view; /* of all full fences and heavy barriers so far */
static struct view heavy_view; /* of all heavy barriers */
static struct view light_view; /* of all light barriers */

/* ---- views ---- */

void join_positions(struct view *to, const struct view *from)
{
    for (int i = 0; i < location_count; i++) {
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

/* ---- memory ---- */

static uintptr_t memory_get(const void *p, size_t size)
{
    return size == sizeof(uint32_t) ? *(const uint32_t *)p : *(const uintptr_t *)p;
}

static void memory_set(void *p, size_t size, uintptr_t value)
{
    if (size == sizeof(uint32_t)) {
        *(uint32_t *)p = (uint32_t)value;
    } else {
        *(uintptr_t *)p = value;
    }
}

int locate(const void *p, size_t size)
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
    l->history[0] = (struct message){.value = memory_get(p, size)};
    return location_count++;
}

void memory_reset(void)
{
    location_count = 0;
    plain_count = 0;
    memset(&fence_view, 0, sizeof(fence_view));
    heavy_view = light_view = fence_view;
}

void memory_forget(void)
{
    acquaintance_count = 0;
}

/* Is the word the current thread's own, or one that nobody writes? */
static bool is_own(const void *p, bool write)
{
    int i = 0;
    while (i < acquaintance_count && acquaintances[i].p != p) {
        i++;
    }
    if (i == acquaintance_count) {
        if (i == LOCATIONS) {
            fprintf(stderr, "model: too many locations\n");
            abort();
        }
        acquaintances[acquaintance_count++] = (struct acquaintance){.p = p};
    }
    struct acquaintance *word = &acquaintances[i];
    bool was = !word->written || !(word->threads & (word->threads - 1));
    word->threads |= 1u << engine.current;
    word->written |= write;
    bool is = !word->written || !(word->threads & (word->threads - 1));
    if (was && !is) {
        search_again();
    }
    return is;
}

static bool glued_after(const struct location *l, int m)
{
    return m + 1 < l->messages && l->history[m + 1].glued;
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

/* What the helpers of sync.h do to a word. */
enum operation { LOAD, STORE, SWAP, ADD };

static bool writes(enum operation operation, uintptr_t found, uintptr_t wanted)
{
    return operation == STORE || operation == ADD || (operation == SWAP && found == wanted);
}

/* The messages that the current thread may read, or store behind; the latest first. */
static int candidates(enum operation operation, int location, uintptr_t wanted, int *list)
{
    const struct thread *self = &engine.threads[engine.current];
    const struct location *l = &locations[location];
    int n = 0;
    for (int m = l->messages - 1; m >= 0 && l->history[m].stamp >= self->cur.at[location]; m--) {
        bool old = operation != STORE && m < l->messages - 1;
        if (old && (!worth_reading(self, l, m) || engine.stale_left == 0)) {
            break;
        }
        if (!writes(operation, l->history[m].value, wanted) || !glued_after(l, m)) {
            list[n++] = m;
        }
    }
    return n;
}

const struct message *choose_readable(int location)
{
    int list[MESSAGES];
    return &locations[location].history[list[choose(candidates(LOAD, location, 0, list))]];
}

void learn_position(struct thread *self, int location, uint32_t stamp)
{
    self->cur.at[location] = stamp;
    if (self->acq.at[location] < stamp) {
        self->acq.at[location] = stamp;
    }
}

static void see(int location, const struct message *m, bool acquire)
{
    struct thread *self = &engine.threads[engine.current];
    if (m != &locations[location].history[locations[location].messages - 1]) {
        engine.stale_left--;
    }
    self->news = self->news || m->stamp != self->last_read[location];
    self->last_read[location] = m->stamp;
    join(&self->acq, &m->view);
    if (acquire) {
        join(&self->cur, &m->view);
    }
    learn_position(self, location, m->stamp);
    self->polled |= (uint64_t)1 << location;
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
    new->step = engine.steps;
    new->glued = false;
    memory_set((void *)(uintptr_t)l->p, l->size, l->history[l->messages - 1].value);
    return new;
}

/* The view that a store carries; `read`: the message that it replaced. */
static void publish(int location, struct message *new, bool release, const struct view *read)
{
    struct thread *self = &engine.threads[engine.current];
    self->cur.at[location] = new->stamp;
    self->acq.at[location] = new->stamp;
    new->view = release ? self->cur : self->rel;
    new->view.at[location] = new->stamp;
    if (read) {
        join(&new->view, read);
    }
}

/* Has it seen, or could it see, what it had not seen before its last pause? */
bool something_new(const struct thread *thread)
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

/* Stores become visible in the end: who polls for the second time sees the latest. */
void refresh(struct thread *self)
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

/* ---- the helpers ---- */

static uintptr_t result(enum operation operation, size_t size, uintptr_t found, uintptr_t v)
{
    uintptr_t after = operation == ADD ? found + v : v;
    return size == sizeof(uint32_t) ? (uint32_t)after : after;
}

/* Outside of all threads: at once. */
static uintptr_t access_alone(enum operation operation, void *p, size_t size, uintptr_t wanted,
                              uintptr_t v)
{
    uintptr_t found = memory_get(p, size);
    if (writes(operation, found, wanted)) {
        memory_set(p, size, result(operation, size, found, v));
    }
    return found;
}

/* One step: what the thread finds in the word, and what it leaves there. Returns what it found. */
static uintptr_t access(enum operation operation, struct model_site at, void *p, size_t size,
                        uintptr_t wanted, uintptr_t v, bool acquire, bool release)
{
    static const char *const names[] = {"loads", "stores over", "swaps", "adds to"};
    if (engine.current < 0) {
        return access_alone(operation, p, size, wanted, v);
    }
    weaken(at, &acquire, &release);
    int location = locate(p, size);
    if (is_own(p, operation != LOAD) && !complete()) {
        step_begin_alone();
    } else {
        step_begin(operation == LOAD ? STEP_LOAD : STEP_WRITE, location);
    }
    const struct location *l = &locations[location];
    int list[MESSAGES];
    int m = list[choose(candidates(operation, location, wanted, list))];
    uintptr_t found = l->history[m].value;
    trace(names[operation], at, location, found);
    if (operation != STORE) {
        see(location, &l->history[m], acquire);
    }
    if (writes(operation, found, wanted)) {
        struct view read = l->history[m].view;
        struct message *new = insert(location, m, result(operation, size, found, v));
        new->glued = operation != STORE;
        publish(location, new, release, new->glued ? &read : NULL);
    }
    step_end();
    return found;
}

uintptr_t model_load(struct model_site at, const void *p, size_t size, bool acquire)
{
    return access(LOAD, at, (void *)(uintptr_t)p, size, 0, 0, acquire, false);
}

void model_store(struct model_site at, void *p, size_t size, uintptr_t v, bool release)
{
    access(STORE, at, p, size, 0, v, false, release);
}

bool model_cas(struct model_site at, void *p, size_t size, void *expected, uintptr_t v,
               bool acq_rel)
{
    uintptr_t wanted = memory_get(expected, size);
    uintptr_t found = access(SWAP, at, p, size, wanted, v, acq_rel, acq_rel);
    memory_set(expected, size, found);
    return found == wanted;
}

uintptr_t model_add(struct model_site at, void *p, size_t size, uintptr_t v, bool acq_rel)
{
    return access(ADD, at, p, size, 0, v, acq_rel, acq_rel);
}

void model_fence(struct model_site at, enum model_fence fence)
{
    static const char *const names[] = {"full fence", "light barrier", "heavy barrier"};
    if (engine.current < 0 || model_omitted(at)) {
        return;
    }
    step_begin((enum kind)(STEP_FENCE + (int)fence), -1);
    trace(names[fence], at, -1, 0);
    struct thread *self = &engine.threads[engine.current];
    if (fence == MODEL_LIGHT) {
        join_positions(&light_view, &self->cur);
        join_positions(&self->cur, &heavy_view);
        join_positions(&self->acq, &heavy_view);
    } else {
        join_positions(&self->acq, &fence_view);
        if (fence == MODEL_HEAVY) {
            join_positions(&self->acq, &light_view);
            heavy_view = self->acq;
        }
        fence_view = self->cur = self->rel = self->acq;
    }
    step_end();
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

static void plain_access(const char *p, bool write)
{
    struct plain *plain = plain_at(p);
    const struct view *cur = &engine.threads[engine.current].cur;
    if (plain->written > cur->clock[plain->writer]) {
        model_fail("data race: thread %d %s what thread %d writes", engine.current,
                   write ? "writes" : "reads", plain->writer);
    }
    for (int i = 0; write && i < engine.thread_count; i++) {
        if (plain->read[i] > cur->clock[i]) {
            model_fail("data race: thread %d writes what thread %d reads", engine.current, i);
        }
    }
    if (write) {
        plain->writer = engine.current;
        plain->written = cur->clock[engine.current];
    } else {
        plain->read[engine.current] = cur->clock[engine.current];
    }
}

static void plain_accesses(const char *p, size_t bytes, bool write)
{
    for (size_t i = 0; engine.current >= 0 && i < bytes; i += sizeof(uint64_t)) {
        plain_access(p + i, write);
    }
}

void model_plain_read(const void *p, size_t bytes)
{
    plain_accesses(p, bytes, false);
}

void model_plain_write(const void *p, size_t bytes)
{
    plain_accesses(p, bytes, true);
}

void *model_copy(void *to, const void *from, size_t bytes)
{
    model_plain_read(from, bytes);
    model_plain_write(to, bytes);
    return memmove(to, from, bytes);
}
