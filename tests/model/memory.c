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

static struct location locations[LOCATIONS];
static int location_count;
static struct plain plains[PLAIN_WORDS];
static int plain_count;
static struct view fence_view; /* of all full fences so far */
static struct view heavy_view; /* of all heavy barriers */
static struct view light_view; /* of all light barriers */

/* ---- views ---- */

void join_positions(struct view *to, const struct view *from)
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
    memset(&l->history[0], 0, sizeof(l->history[0]));
    l->history[0].value = memory_get(p, size);
    return location_count++;
}

void memory_reset(void)
{
    location_count = 0;
    plain_count = 0;
    memset(&fence_view, 0, sizeof(fence_view));
    heavy_view = light_view = fence_view;
}

const struct message *message_at(int location, int m)
{
    return &locations[location].history[m];
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

int readable(int location, int *list, const uintptr_t *only, bool is)
{
    const struct thread *self = &engine.threads[engine.current];
    const struct location *l = &locations[location];
    int n = 0;
    for (int m = l->messages - 1; m >= 0 && l->history[m].stamp >= self->cur.at[location]; m--) {
        bool latest = m == l->messages - 1;
        if (!latest && (!worth_reading(self, l, m) || engine.stale_left == 0)) {
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

static bool glued_after(const struct location *l, int m)
{
    return m + 1 < l->messages && l->history[m + 1].glued;
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

uintptr_t model_load(struct model_site at, const void *p, size_t size, bool acquire)
{
    if (engine.current < 0) {
        return memory_get(p, size);
    }
    bool release = false;
    weaken(at, &acquire, &release);
    int location = locate(p, size);
    step_begin(STEP_LOAD, location);
    int list[MESSAGES];
    int m = list[choose(readable(location, list, NULL, true))];
    const struct message *read = &locations[location].history[m];
    trace(m < locations[location].messages - 1 ? "loads old" : "loads", at, location, read->value);
    see(location, read, acquire);
    uintptr_t value = read->value;
    step_end();
    return value;
}

void model_store(struct model_site at, void *p, size_t size, uintptr_t v, bool release)
{
    if (engine.current < 0) {
        memory_set(p, size, v);
        return;
    }
    bool acquire = false;
    weaken(at, &acquire, &release);
    int location = locate(p, size);
    step_begin(STEP_WRITE, location);
    const struct location *l = &locations[location];
    int list[MESSAGES];
    int n = 0;
    for (int m = l->messages - 1;
         m >= 0 && l->history[m].stamp >= engine.threads[engine.current].cur.at[location]; m--) {
        if (!glued_after(l, m)) {
            list[n++] = m;
        }
    }
    trace("stores", at, location, v);
    publish(location, insert(location, list[choose(n)], v), release, NULL);
    step_end();
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
    if (engine.current < 0) {
        uintptr_t is = memory_get(p, size);
        memory_set(is == wanted ? p : expected, size, is == wanted ? v : is);
        return is == wanted;
    }
    bool acquire = acq_rel;
    bool release = acq_rel;
    weaken(at, &acquire, &release);
    int location = locate(p, size);
    step_begin(STEP_WRITE, location);
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
    step_end();
    return swapped;
}

uintptr_t model_add(struct model_site at, void *p, size_t size, uintptr_t v, bool acq_rel)
{
    uintptr_t before;
    if (engine.current < 0) {
        before = memory_get(p, size);
        memory_set(p, size, before + v);
        return before;
    }
    bool acquire = acq_rel;
    bool release = acq_rel;
    weaken(at, &acquire, &release);
    int location = locate(p, size);
    step_begin(STEP_WRITE, location);
    int list[MESSAGES];
    int m = list[choose(replaceable(location, list, NULL))];
    before = locations[location].history[m].value;
    uintptr_t after = size == sizeof(uint32_t) ? (uint32_t)(before + v) : before + v;
    trace("adds up to", at, location, after);
    replace(location, m, after, acquire, release);
    step_end();
    return before;
}

void model_full_fence(struct model_site at)
{
    if (engine.current < 0 || model_omitted(at)) {
        return;
    }
    step_begin(STEP_FENCE, -1);
    trace("full fence", at, -1, 0);
    struct thread *self = &engine.threads[engine.current];
    join_positions(&self->acq, &fence_view);
    fence_view = self->acq;
    self->cur = self->rel = self->acq;
    step_end();
}

void model_light_barrier(struct model_site at)
{
    if (engine.current < 0 || model_omitted(at)) {
        return;
    }
    step_begin(STEP_LIGHT, -1);
    trace("light barrier", at, -1, 0);
    struct thread *self = &engine.threads[engine.current];
    join_positions(&light_view, &self->cur);
    join_positions(&self->cur, &heavy_view);
    join_positions(&self->acq, &heavy_view);
    step_end();
}

void model_heavy_barrier(struct model_site at)
{
    if (engine.current < 0 || model_omitted(at)) {
        return;
    }
    step_begin(STEP_HEAVY, -1);
    trace("heavy barrier", at, -1, 0);
    struct thread *self = &engine.threads[engine.current];
    join_positions(&self->acq, &fence_view);
    join_positions(&self->acq, &light_view);
    join_positions(&self->acq, &heavy_view);
    fence_view = heavy_view = self->acq;
    self->cur = self->rel = self->acq;
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

static void plain_access(const char *p, bool writes)
{
    struct plain *plain = plain_at(p);
    const struct view *cur = &engine.threads[engine.current].cur;
    if (plain->written > cur->clock[plain->writer]) {
        model_fail("data race: thread %d %s what thread %d writes", engine.current,
                   writes ? "writes" : "reads", plain->writer);
    }
    for (int i = 0; writes && i < engine.thread_count; i++) {
        if (plain->read[i] > cur->clock[i]) {
            model_fail("data race: thread %d writes what thread %d reads", engine.current, i);
        }
    }
    if (writes) {
        plain->writer = engine.current;
        plain->written = cur->clock[engine.current];
    } else {
        plain->read[engine.current] = cur->clock[engine.current];
    }
}

void model_plain_read(const void *p, size_t bytes)
{
    for (size_t i = 0; engine.current >= 0 && i < bytes; i += sizeof(uint64_t)) {
        plain_access((const char *)p + i, false);
    }
}

void model_plain_write(const void *p, size_t bytes)
{
    for (size_t i = 0; engine.current >= 0 && i < bytes; i += sizeof(uint64_t)) {
        plain_access((const char *)p + i, true);
    }
}

void *model_copy(void *to, const void *from, size_t bytes)
{
    model_plain_read(from, bytes);
    model_plain_write(to, bytes);
    return memmove(to, from, bytes);
}
