/* SPDX-License-Identifier: MIT */
/*
 * footprint: the resident memory of a worker that waits for its first message, beyond the pages of
 * its stack that it has touched. Stacks are the mappings that the workers' own frames lie in.
 */
#include <inttypes.h>

#include "tenant.h"

#define WORKERS 64
#define KIB_MOST 64

struct idler {
    const void *frame; /* an address in its stack */
    _Atomic unsigned waits;
};

static void nothing(struct strait_isolate *isolate, void *argument)
{
    (void)isolate;
    (void)argument;
}

static int idle(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)isolate;
    (void)message;
    (void)context;
    return 0;
}

/* Has used its heap and its microtasks a little, as any worker has. */
static int entry(struct strait_isolate *isolate)
{
    struct idler *idler = strait_isolate_data(isolate);
    int here = 0;
    idler->frame = &here;
    EXPECT(strait_heap_alloc(isolate, 100) != NULL);
    EXPECT(strait_microtask(isolate, nothing, NULL) == 0);
    atomic_store(&idler->waits, 1);
    return strait_isolate_run(isolate, idle, NULL);
}

struct resident {
    long all;    /* KiB */
    long stacks; /* of it, in the workers' stacks */
};

static bool holds_a_stack(const struct idler *idlers, uintptr_t from, uintptr_t to)
{
    for (size_t i = 0; i < WORKERS; i++) {
        uintptr_t frame = (uintptr_t)idlers[i].frame;
        if (frame >= from && frame < to) {
            return true;
        }
    }
    return false;
}

static struct resident resident(const struct idler *idlers)
{
    struct resident sum = {0, 0};
    char line[512];
    uintptr_t from;
    uintptr_t to;
    bool stack = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            stack = holds_a_stack(idlers, from, to);
        } else if (strncmp(line, "Rss:", 4) == 0) {
            long kib = strtol(line + 4, NULL, 10);
            sum.all += kib;
            sum.stacks += stack ? kib : 0;
        }
    }
    fclose(file);
    return sum;
}

static void spawn_idlers(struct strait_worker **workers, struct idler *idlers)
{
    for (size_t i = 0; i < WORKERS; i++) {
        struct tenant_options options = {.entry = entry, .data = &idlers[i]};
        workers[i] = spawn_tenant(&options);
        await(&idlers[i].waits, 1);
    }
}

static void end_idlers(struct strait_worker **workers)
{
    for (size_t i = 0; i < WORKERS; i++) {
        strait_worker_stop(workers[i]);
        join_and_destroy(workers[i]);
    }
}

static void an_idle_worker_is_small(void **state)
{
    (void)state;
    static struct idler idlers[WORKERS];
    static struct strait_worker *workers[WORKERS];
    struct resident before = resident(idlers);
    spawn_idlers(workers, idlers);
    struct resident after = resident(idlers);
    long kib = (after.all - before.all - after.stacks) / WORKERS;
    end_idlers(workers);
    assert_no_faults();
    assert_true(after.stacks > 0);
    print_message("an idle worker: %ld KiB, and %ld KiB of its stack\n", kib,
                  after.stacks / WORKERS);
    if (!TEST_ASAN && !TEST_TSAN) { /* whose shadow is resident, too */
        assert_in_range(kib, 1, KIB_MOST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {life_test(an_idle_worker_is_small)};
    watchdog_start();
    return cmocka_run_group_tests_name("footprint", tests, NULL, NULL);
}
