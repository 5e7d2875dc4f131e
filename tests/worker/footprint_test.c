/* SPDX-License-Identifier: MIT */
/*
 * footprint: what a worker costs that waits for its next message: its resident memory beyond the
 * pages of its stack that it has touched, and the CPU. Stacks are the mappings that the workers'
 * own frames lie in.
 */
#include "worker/fixture.h"

#include <inttypes.h>
#include <sys/resource.h>

#define WORKERS 64
#define KIB_MOST 64

struct idler {
    uintptr_t frame; /* an address in its stack */
    int64_t cpu_ns;
    long switches;
    _Atomic unsigned asked;
};

static int idle_entry(struct strait_port *port, void *data)
{
    struct idler *idler = data;
    struct rusage usage;
    uint64_t number;
    idler->frame = (uintptr_t)&number;
    do {
        getrusage(RUSAGE_THREAD, &usage);
        idler->cpu_ns = thread_cpu_ns();
        idler->switches = usage.ru_nvcsw;
        atomic_fetch_add(&idler->asked, 1);
    } while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1);
    return 0;
}

static bool holds_a_stack(const struct idler *idlers, uintptr_t from, uintptr_t to)
{
    bool found = false;
    for (size_t i = 0; i < WORKERS; i++) {
        found = found || (idlers[i].frame >= from && idlers[i].frame < to);
    }
    return found;
}

/* KiB, those in the workers' stacks or the others. */
static long resident(const struct idler *idlers, bool in_stacks)
{
    char line[512];
    uintptr_t from;
    uintptr_t to;
    bool stack = false;
    long sum = 0;
    FILE *file = fopen("/proc/self/smaps", "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            stack = holds_a_stack(idlers, from, to);
        } else if (strncmp(line, "Rss:", 4) == 0 && stack == in_stacks) {
            sum += strtol(line + 4, NULL, 10);
        }
    }
    fclose(file);
    return sum;
}

TEST(an_idle_worker_costs_little)
{
    static struct idler idlers[WORKERS];
    struct strait_worker *workers[WORKERS];
    long before = resident(idlers, false);
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i] = spawn_entry(idle_entry, &idlers[i]);
        await(&idlers[i].asked, 1);
    }
    long kib = (resident(idlers, false) - before) / WORKERS;
    long stack_kib = resident(idlers, true) / WORKERS;
    print_message("an idle worker: %ld KiB, and %ld KiB of its stack\n", kib, stack_kib);
    assert_true(stack_kib > 0);
    if (!TEST_ASAN && !TEST_TSAN) { /* whose shadow is resident, too */
        assert_in_range(kib, 1, KIB_MOST);
    }
    int64_t cpu_ns = idlers[0].cpu_ns;
    long switches = idlers[0].switches;
    sleep_ns(300000000);
    send_number(workers[0], 1);
    await(&idlers[0].asked, 2);
    assert_true(idlers[0].cpu_ns - cpu_ns < 50000000);
    assert_in_range(idlers[0].switches - switches, 0, 5);
    for (size_t i = 0; i < WORKERS; i++) {
        strait_worker_stop(workers[i]);
        join_and_destroy(workers[i]);
    }
}
