/* SPDX-License-Identifier: MIT */
/* See cpu.h. */
#include "cpu.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "strait/sync.h"

#define MASK_BYTES_MOST ((size_t)1 << 17) /* a million CPUs */
#define PATH_BYTES 1024                   /* what is longer is unknown */
#define CACHES_MOST 8                     /* more levels than any machine has */
#define CAPACITY_FULL 1024                /* what the kernel says of the fastest cores */
#define OF_CPU "/sys/devices/system/cpu/cpu%d/"

/* What two CPUs share has the same number in both; -1: unknown. */
struct cpu {
    int number;
    int core;     /* the lowest CPU of it */
    int thread;   /* of the core: how many lower CPUs are of the same */
    int cache;    /* of the last level that more than one core has: the lowest CPU that has it */
    int node;     /* of memory */
    int package;  /* a socket */
    int slowness; /* 0: as fast as the fastest, to 3: a quarter as fast */
    uint64_t key; /* what comes first in the order has the smaller one, no two the same */
};

/* The CPUs that the process may use. Whoever has taken it writes, and sorts them. */
struct machine {
    size_t count; /* at least 1 */
    struct cpu cpu[];
};

/* ---- files ---- */

/* NULL: unknown. */
__attribute__((format(printf, 1, 2))) static STRAIT_P_COLD FILE *open_file(const char *format, ...)
{
    char path[PATH_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, sizeof(path), format, arguments);
    va_end(arguments);
    return length >= 0 && (size_t)length < sizeof(path) ? fopen(path, "re") : NULL;
}

/* The next one of a list such as "0-3,8". False at its end, and then it is closed. */
static STRAIT_P_COLD bool next_range(FILE *list, long *first, long *last)
{
    int found = list ? fscanf(list, "%ld-%ld", first, last) : 0;
    if (found == 1) {
        *last = *first;
    }
    if (found >= 1 && *first >= 0 && *last >= *first && *last <= INT_MAX) {
        (void)getc(list); /* the comma */
        return true;
    }
    if (list) {
        fclose(list);
    }
    return false;
}

/* -1: unknown. In a list of CPUs that share something, the first one is a name for it. */
static STRAIT_P_COLD int first_number(FILE *list)
{
    long first;
    long last;
    if (!next_range(list, &first, &last)) {
        return -1;
    }
    fclose(list);
    return (int)first;
}

/* ---- which CPUs the process may use ---- */

/* The constructor writes, before anybody reads. */
static struct strait_p_cpu_set first_allowed;

/* The affinity of the process's main thread, however many CPUs the kernel counts; where that is
 * unknown, the one CPU that every machine has; of a main thread that has pinned itself, what it had
 * first. `bits` NULL: no memory. */
static STRAIT_P_COLD struct strait_p_cpu_set read_allowed(void)
{
    struct strait_p_cpu_set set = {.bytes = sizeof(cpu_set_t), .claimed = -1};
    int saved = errno;
    while ((set.bits = calloc(1, set.bytes)) != NULL &&
           sched_getaffinity(getpid(), set.bytes, set.bits) != 0) {
        if (errno != EINVAL || set.bytes >= MASK_BYTES_MOST) {
            CPU_ZERO_S(set.bytes, set.bits);
            CPU_SET_S(0, set.bytes, set.bits);
            break;
        }
        free(set.bits);
        set.bytes *= 2;
    }
    if (set.bits && first_allowed.bits && set.bytes == first_allowed.bytes &&
        CPU_COUNT_S(set.bytes, set.bits) == 1) {
        memcpy(set.bits, first_allowed.bits, set.bytes);
    }
    strait_errno_restore(saved);
    return set;
}

__attribute__((constructor)) static void read_first_allowed(void)
{
    first_allowed = read_allowed();
}

STRAIT_P_COLD unsigned strait_cpu_count(void)
{
    struct strait_p_cpu_set allowed = read_allowed();
    int count = allowed.bits ? CPU_COUNT_S(allowed.bytes, allowed.bits) : 1;
    free(allowed.bits);
    return (unsigned)count;
}

/* ---- what they share ---- */

static struct cpu read_cpu(int number)
{
    int core = first_number(open_file(OF_CPU "topology/thread_siblings_list", number));
    int capacity = first_number(open_file(OF_CPU "cpu_capacity", number));
    bool slow = capacity >= 0 && capacity < CAPACITY_FULL;
    struct cpu cpu = {
        .number = number,
        .core = core < 0 ? number : core,
        .cache = -1,
        .node = -1,
        .package = first_number(open_file(OF_CPU "topology/physical_package_id", number)),
        .slowness = slow ? 4 * (CAPACITY_FULL - 1 - capacity) / CAPACITY_FULL : 0,
    };
    for (int level = CACHES_MOST - 1; level >= 0 && cpu.cache < 0; level--) { /* outermost first */
        cpu.cache = first_number(open_file(OF_CPU "cache/index%d/shared_cpu_list", number, level));
    }
    return cpu;
}

/* All CPUs of the list are of that node, or as slow. */
static void note_listed(struct machine *machine, FILE *list, bool node, int value)
{
    long first;
    long last;
    while (next_range(list, &first, &last)) {
        for (size_t i = 0; i < machine->count; i++) {
            struct cpu *cpu = &machine->cpu[i];
            if (first <= cpu->number && cpu->number <= last) {
                *(node ? &cpu->node : &cpu->slowness) = value;
            }
        }
    }
}

/* What the kernel lists by CPUs: the nodes, and the kinds that x86 has for capacities. */
static void read_lists(struct machine *machine)
{
    long first;
    long last;
    FILE *nodes = open_file("/sys/devices/system/node/has_cpu");
    while (next_range(nodes, &first, &last)) {
        for (long node = first; node <= last; node++) {
            FILE *list = open_file("/sys/devices/system/node/node%ld/cpulist", node);
            note_listed(machine, list, true, (int)node);
        }
    }
    note_listed(machine, open_file("/sys/devices/cpu_atom/cpus"), false, 2);
    note_listed(machine, open_file("/sys/devices/cpu_lowpower/cpus"), false, 3);
}

/* What each CPU is among the others. They are in the order of their numbers. */
static void compare_cpus(struct machine *machine)
{
    for (size_t i = 0; i < machine->count; i++) {
        struct cpu *cpu = &machine->cpu[i];
        bool shared = false;
        for (size_t j = 0; j < machine->count; j++) {
            const struct cpu *other = &machine->cpu[j];
            cpu->thread += j < i && other->core == cpu->core;
            shared = shared || (other->cache == cpu->cache && other->core != cpu->core);
        }
        cpu->cache = shared ? cpu->cache : -1;
    }
}

/* NULL: no memory. */
static struct machine *read_machine(const struct strait_p_cpu_set *allowed)
{
    size_t count = (size_t)CPU_COUNT_S(allowed->bytes, allowed->bits);
    struct machine *machine = malloc(sizeof(*machine) + count * sizeof(machine->cpu[0]));
    if (machine) {
        machine->count = 0;
        for (int number = 0; machine->count < count; number++) {
            if (CPU_ISSET_S((size_t)number, allowed->bytes, allowed->bits)) {
                machine->cpu[machine->count++] = read_cpu(number);
            }
        }
        read_lists(machine);
        compare_cpus(machine);
    }
    return machine;
}

/* What was read last, for who places a thread next; 0: somebody has taken it. */
static uintptr_t last_machine;

/* The last one, if it has the CPUs that are allowed now. The caller's, until it leaves it. NULL: no
 * memory. */
static struct machine *take_machine(const struct strait_p_cpu_set *allowed)
{
    uintptr_t last = strait_word_load_relaxed(&last_machine);
    /* cpu.take: pairs with cpu.leave; the machine; without it threads are placed by half of one */
    struct machine *machine =
        strait_word_cas_acq_rel(&last_machine, &last, 0) ? (struct machine *)last : NULL;
    bool fits = machine && machine->count == (size_t)CPU_COUNT_S(allowed->bytes, allowed->bits);
    for (size_t i = 0; fits && i < machine->count; i++) {
        fits = CPU_ISSET_S((size_t)machine->cpu[i].number, allowed->bytes, allowed->bits);
    }
    if (!fits) {
        free(machine);
        machine = read_machine(allowed);
    }
    return machine;
}

static void leave_machine(struct machine *machine)
{
    uintptr_t none = 0;
    /* cpu.leave: pairs with cpu.take; the machine; without it threads are placed by half of one */
    if (!strait_word_cas_acq_rel(&last_machine, &none, (uintptr_t)machine)) {
        free(machine);
    }
}

/* ---- how much of their time ---- */

/* What one cgroup allows, and no group above it can raise. Version 2 says both numbers in one file,
 * or "max" where there is no limit; version 1 says -1. */
static STRAIT_P_COLD uint32_t read_quota_of(const char *controller, const char *path)
{
    long quota = 0;
    long period = 0;
    FILE *in = open_file("/sys/fs/cgroup%s%s/cpu.max", controller, path);
    if (in) {
        period = fscanf(in, "%ld %ld", &quota, &period) == 2 ? period : 0;
        fclose(in);
    } else {
        quota = first_number(open_file("/sys/fs/cgroup%s%s/cpu.cfs_quota_us", controller, path));
        period = first_number(open_file("/sys/fs/cgroup%s%s/cpu.cfs_period_us", controller, path));
    }
    if (quota <= 0 || period <= 0) {
        return STRAIT_P_QUOTA_NONE;
    }
    uint64_t allowed = (uint64_t)quota * 1000 / (uint64_t)period;
    return allowed < STRAIT_P_QUOTA_NONE ? (uint32_t)allowed : STRAIT_P_QUOTA_NONE;
}

/* The least that any group from the process's own up to the root allows. A container may see its
 * path as from outside, and its own group as the root. */
STRAIT_PRIVATE STRAIT_P_COLD uint32_t strait_p_cpu_quota(void)
{
    uint32_t least = STRAIT_P_QUOTA_NONE;
    char line[PATH_BYTES];
    int saved = errno;
    FILE *in = open_file("/proc/self/cgroup");
    while (in && fgets(line, sizeof(line), in)) {
        char *rest = line; /* "4:cpu,cpuacct:/path", version 2: "0::/path" */
        strsep(&rest, ":");
        char *controllers = strsep(&rest, ":");
        char *path = strsep(&rest, "\n");
        const char *controller = NULL;
        for (char *name; path && (name = strsep(&controllers, ",")) != NULL;) {
            controller = *name == '\0' ? "" : strcmp(name, "cpu") == 0 ? "/cpu" : controller;
        }
        for (char *end = controller ? strchr(path, '\0') : NULL; end; end = strrchr(path, '/')) {
            *end = '\0';
            least = (uint32_t)strait_min(least, read_quota_of(controller, path));
        }
    }
    if (in) {
        fclose(in);
    }
    strait_errno_restore(saved);
    return least;
}

/* ---- in which order ---- */

/* 0: they share a cache; 1: a node of memory, 2: a package; 3: nothing. */
static unsigned distance_of(const struct cpu *a, const struct cpu *b)
{
    return a->package != b->package ? 3 : a->node != b->node ? 2 : a->cache != b->cache;
}

/* The place in the order, for a creator on the CPU `home`. */
static uint64_t key_of(const struct cpu *cpu, const struct cpu *home)
{
    uint64_t key = cpu->number == home->number; /* last, home itself */
    key = key << 1 | (cpu->core == home->core); /* before it, what shares its core */
    key = key << 20 | (unsigned)cpu->thread;    /* one of each core before the second ones */
    key = key << 2 | (unsigned)cpu->slowness;   /* fast ones before slow ones */
    key = key << 2 | distance_of(cpu, home);    /* near ones before far ones */
    return key << 32 | (uint32_t)(cpu->number - home->number); /* the numbers that follow home's */
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t first = ((const struct cpu *)a)->key;
    uint64_t second = ((const struct cpu *)b)->key;
    return (first > second) - (first < second);
}

/* For a creator on the CPU `number`. On one that is not the process's, it is near nothing. */
static void sort_cpus(struct machine *machine, int number)
{
    struct cpu home = {.number = number, .core = -1, .cache = -1, .node = -1, .package = -1};
    for (size_t i = 0; i < machine->count; i++) {
        home = machine->cpu[i].number == number ? machine->cpu[i] : home;
    }
    for (size_t i = 0; i < machine->count; i++) {
        machine->cpu[i].key = key_of(&machine->cpu[i], &home);
    }
    qsort(machine->cpu, machine->count, sizeof(machine->cpu[0]), compare_keys);
}

/* ---- which of them a thread gets ---- */

/* How many threads have a CPU to themselves, as they may think. Two CPUs of one index share the
 * count, which makes the choice a worse one. */
static uint32_t claims[CPU_SETSIZE];

static uint32_t *claims_of(int cpu)
{
    return &claims[(size_t)cpu % CPU_SETSIZE];
}

/* The set becomes one CPU: the first of those that the fewest have. */
static void claim(struct strait_p_cpu_set *set, const struct cpu *cpus, size_t count)
{
    int best = -1;
    uint32_t least;
    do {
        least = UINT32_MAX;
        for (size_t i = 0; i < count; i++) {
            uint32_t claimed = strait_load_relaxed(claims_of(cpus[i].number));
            if (claimed < least) {
                best = cpus[i].number;
                least = claimed;
            }
        }
    } while (!strait_cas_relaxed(claims_of(best), &least, least + 1));
    CPU_ZERO_S(set->bytes, set->bits);
    CPU_SET_S((size_t)best, set->bytes, set->bits);
    set->claimed = best;
}

STRAIT_PRIVATE STRAIT_P_COLD void strait_p_cpu_release(struct strait_p_cpu_set *set)
{
    free(set->bits);
    set->bits = NULL;
    if (set->claimed >= 0) {
        uint32_t *claimed = claims_of(set->claimed);
        uint32_t count = strait_load_relaxed(claimed);
        while (!strait_cas_relaxed(claimed, &count, count - 1)) {
        }
    }
    set->claimed = -1;
}

static bool is_valid(const struct strait_p_placement *placement,
                     const struct strait_p_cpu_set *allowed)
{
    enum strait_pin pin = placement->pin;
    size_t count = placement->cpu_count;
    bool named = pin == STRAIT_PIN_SET || (pin == STRAIT_PIN_CPU && !placement->threads);
    bool valid = (unsigned)pin <= STRAIT_PIN_SET && !placement->cpus == !count && (count || !named);
    for (size_t i = 0; valid && i < count; i++) {
        valid = CPU_ISSET_S((size_t)placement->cpus[i], allowed->bytes, allowed->bits);
    }
    return valid;
}

/* Of those in the set. 0 or -ENOMEM. */
static int choose_cpus(const struct strait_p_placement *placement, struct strait_p_cpu_set *set)
{
    unsigned threads = placement->threads;
    struct machine *machine = take_machine(set);
    if (!machine) {
        return -ENOMEM;
    }
    const struct cpu *cpus = machine->cpu;
    size_t count = machine->count;
    sort_cpus(machine, placement->home);
    if (placement->pin == STRAIT_PIN_CPU || !threads) {
        claim(set, cpus, count);
    } else if (threads == count && !placement->elastic) {
        claim(set, &cpus[placement->number % threads], 1);
    } else {
        CPU_ZERO_S(set->bytes, set->bits);
        for (size_t first = 0; first < strait_min(threads, count); first++) {
            bool there = CPU_ISSET_S((size_t)cpus[first].number, set->bytes, set->bits);
            for (size_t i = 0; !there && i < count; i++) {
                if (distance_of(&cpus[i], &cpus[first]) == 0) {
                    CPU_SET_S((size_t)cpus[i].number, set->bytes, set->bits);
                }
            }
        }
    }
    leave_machine(machine);
    return 0;
}

STRAIT_PRIVATE STRAIT_P_COLD int strait_p_cpu_place(const struct strait_p_placement *placement,
                                                    struct strait_p_cpu_set *set)
{
    enum strait_pin pin = placement->pin;
    size_t count = placement->cpu_count;
    *set = read_allowed();
    int error = !set->bits ? -ENOMEM : is_valid(placement, set) ? 0 : -EINVAL;
    if (error || pin == STRAIT_PIN_NONE) {
        /* it may run on all of them */
    } else if (pin == STRAIT_PIN_SET) {
        CPU_ZERO_S(set->bytes, set->bits);
        for (size_t i = 0; i < count; i++) {
            CPU_SET_S((size_t)placement->cpus[i], set->bytes, set->bits);
        }
    } else if (pin == STRAIT_PIN_CPU && count) {
        struct cpu cpu = {.number = placement->cpus[placement->number % count]};
        claim(set, &cpu, 1);
    } else {
        error = choose_cpus(placement, set);
    }
    if (error) {
        strait_p_cpu_release(set);
    }
    return error;
}
