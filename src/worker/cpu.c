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

struct mask {
    cpu_set_t *bits;
    size_t bytes;
};

/* What two CPUs share has the same number in both; -1: unknown. */
struct cpu {
    int number;
    int core;     /* the lowest CPU of it */
    int thread;   /* of the core: how many CPUs before it are of the same */
    int cache;    /* of the last level that more than one core has: the lowest CPU that has it */
    int node;     /* of memory */
    int package;  /* a socket */
    int slowness; /* 0: as fast as the fastest, to 3: a quarter as fast */
    uint64_t key; /* what comes first in the order has the smaller one, no two the same */
};

/* The CPUs that the process may use, ascending. Its reader writes, before it shows it to others. */
struct machine {
    uintptr_t next; /* the one that was shown before */
    struct mask mask;
    size_t count; /* at least 1 */
    struct cpu cpu[];
};

/* ---- files ---- */

/* NULL: unknown. */
__attribute__((format(printf, 1, 2))) static FILE *open_file(const char *format, ...)
{
    char path[PATH_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, sizeof(path), format, arguments);
    va_end(arguments);
    return length >= 0 && (size_t)length < sizeof(path) ? fopen(path, "re") : NULL;
}

/* The next one of a list such as "0-3,8". False at its end, and then it is closed. */
static bool next_range(FILE *list, long *first, long *last)
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
static int first_number(FILE *list)
{
    long first;
    long last;
    if (!next_range(list, &first, &last)) {
        return -1;
    }
    fclose(list);
    return (int)first;
}

/* ---- what they share ---- */

static int slowness_of(int capacity)
{
    int lost = capacity >= 0 && capacity < CAPACITY_FULL ? CAPACITY_FULL - capacity : 0;
    return lost < CAPACITY_FULL ? 4 * lost / CAPACITY_FULL : 3;
}

static void read_cpu(struct cpu *cpu)
{
    int number = cpu->number;
    int core = first_number(open_file(OF_CPU "topology/thread_siblings_list", number));
    cpu->core = core < 0 ? number : core;
    cpu->package = first_number(open_file(OF_CPU "topology/physical_package_id", number));
    cpu->slowness = slowness_of(first_number(open_file(OF_CPU "cpu_capacity", number)));
    cpu->node = -1;
    cpu->cache = -1;
    for (int level = CACHES_MOST - 1; level >= 0 && cpu->cache < 0; level--) { /* outermost first */
        cpu->cache = first_number(open_file(OF_CPU "cache/index%d/shared_cpu_list", number, level));
    }
}

/* Writes down a fact of all CPUs in a list: into the field that is `field` bytes into each. */
static void mark(struct machine *machine, FILE *list, size_t field, int value)
{
    long first;
    long last;
    while (next_range(list, &first, &last)) {
        for (size_t i = 0; i < machine->count; i++) {
            struct cpu *cpu = &machine->cpu[i];
            if (cpu->number >= first && cpu->number <= last) {
                memcpy((char *)cpu + field, &value, sizeof(value));
            }
        }
    }
}

/* What each CPU is among the others. */
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

static void read_shared(struct machine *machine)
{
    long first;
    long last;
    for (size_t i = 0; i < machine->count; i++) {
        read_cpu(&machine->cpu[i]);
    }
    FILE *nodes = open_file("/sys/devices/system/node/has_cpu");
    while (next_range(nodes, &first, &last)) {
        for (long node = first; node <= last && node <= USHRT_MAX; node++) {
            mark(machine, open_file("/sys/devices/system/node/node%ld/cpulist", node),
                 offsetof(struct cpu, node), (int)node);
        }
    }
    /* x86 tells kinds, not capacities */
    mark(machine, open_file("/sys/devices/cpu_core/cpus"), offsetof(struct cpu, slowness), 0);
    mark(machine, open_file("/sys/devices/cpu_atom/cpus"), offsetof(struct cpu, slowness), 2);
    mark(machine, open_file("/sys/devices/cpu_lowpower/cpus"), offsetof(struct cpu, slowness), 3);
    compare_cpus(machine);
}

/* ---- which CPUs ---- */

/* The affinity of the process's main thread, however many CPUs the kernel counts. Where that is
 * unknown, the one CPU that every machine has. `bits` NULL: no memory. */
static struct mask read_mask(void)
{
    struct mask mask = {.bytes = sizeof(cpu_set_t)};
    while ((mask.bits = calloc(1, mask.bytes)) != NULL &&
           sched_getaffinity(getpid(), mask.bytes, mask.bits) != 0) {
        if (errno != EINVAL || mask.bytes >= MASK_BYTES_MOST) {
            CPU_ZERO_S(mask.bytes, mask.bits);
            CPU_SET_S(0, mask.bytes, mask.bits);
            break;
        }
        free(mask.bits);
        mask.bytes *= 2;
    }
    return mask;
}

/* The constructor writes, before anybody reads. */
static struct mask first_mask;

__attribute__((constructor)) static void read_first_mask(void)
{
    int saved = errno;
    first_mask = read_mask();
    errno = saved;
}

/* One for each affinity that there has been, by number, the latest first. None is ever freed. */
static uintptr_t machines;

/* Takes the mask over. NULL: no memory. */
static struct machine *read_new_machine(struct mask mask)
{
    size_t count = (size_t)CPU_COUNT_S(mask.bytes, mask.bits);
    struct machine *machine = calloc(1, sizeof(*machine) + count * sizeof(machine->cpu[0]));
    if (!machine) {
        free(mask.bits);
        return NULL;
    }
    machine->mask = mask;
    for (size_t number = 0; machine->count < count; number++) {
        if (CPU_ISSET_S(number, mask.bytes, mask.bits)) {
            machine->cpu[machine->count++].number = (int)number;
        }
    }
    read_shared(machine);
    uintptr_t seen = strait_word_load_relaxed(&machines);
    do {
        machine->next = seen;
        /* cpu.remember: pairs with cpu.recall; the machine; without it a creator places threads by
         * half of one */
    } while (!strait_word_cas_acq_rel(&machines, &seen, (uintptr_t)machine));
    return machine;
}

/* The machine as it is now. NULL: no memory. */
static const struct machine *read_machine(void)
{
    int saved = errno;
    struct mask mask = read_mask();
    if (mask.bits && first_mask.bits && CPU_COUNT_S(mask.bytes, mask.bits) == 1 &&
        first_mask.bytes == mask.bytes) {
        memcpy(mask.bits, first_mask.bits, mask.bytes);
    }
    /* cpu.recall: pairs with cpu.remember; a machine as it was read; without it a creator places
     * threads by half of one */
    struct machine *machine = (struct machine *)strait_word_load_acquire(&machines);
    while (mask.bits && machine &&
           (machine->mask.bytes != mask.bytes ||
            memcmp(machine->mask.bits, mask.bits, mask.bytes) != 0)) {
        machine = (struct machine *)machine->next;
    }
    if (mask.bits && machine) {
        free(mask.bits);
    } else {
        machine = mask.bits ? read_new_machine(mask) : NULL;
    }
    strait_errno_restore(saved);
    return machine;
}

STRAIT_P_COLD unsigned strait_cpu_count(void)
{
    const struct machine *machine = read_machine();
    return machine ? (unsigned)machine->count : 1;
}

/* ---- how much of their time ---- */

/* What one cgroup allows, and no group above it can raise. Version 2 says both numbers in one file,
 * or "max" where there is no limit; version 1 says -1. */
static uint32_t read_quota_of(const char *controller, const char *path)
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

static const struct cpu *find_cpu(const struct machine *machine, int number)
{
    for (size_t i = 0; i < machine->count; i++) {
        if (machine->cpu[i].number == number) {
            return &machine->cpu[i];
        }
    }
    return NULL;
}

static uint64_t key_of(const struct cpu *cpu, const struct cpu *home)
{
    bool itself = cpu->number == home->number;
    uint64_t turn = (uint64_t)itself << 21 | (uint64_t)(cpu->core == home->core) << 20;
    uint64_t distance = cpu->package != home->package ? 3
                        : cpu->node != home->node     ? 2
                                                      : cpu->cache != home->cache;
    return (turn | (uint64_t)cpu->thread) << 36 | (uint64_t)cpu->slowness << 34 | distance << 32 |
           (uint32_t)(cpu->number - home->number);
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t first = ((const struct cpu *)a)->key;
    uint64_t second = ((const struct cpu *)b)->key;
    return (first > second) - (first < second);
}

/* All CPUs, allocated. A creator on a CPU that is not the process's is near nothing. */
static struct cpu *in_order(const struct machine *machine, int home)
{
    const struct cpu elsewhere = {
        .number = home, .core = -1, .cache = -1, .node = -1, .package = -1};
    const struct cpu *found = find_cpu(machine, home);
    struct cpu *cpus = malloc(machine->count * sizeof(*cpus));
    for (size_t i = 0; cpus && i < machine->count; i++) {
        cpus[i] = machine->cpu[i];
        cpus[i].key = key_of(&cpus[i], found ? found : &elsewhere);
    }
    if (cpus) {
        qsort(cpus, machine->count, sizeof(*cpus), compare_keys);
    }
    return cpus;
}

/* ---- which of them a thread gets ---- */

/* How many threads have a CPU to themselves, as they may think. Two CPUs of one index share the
 * count, which makes the choice a worse one. */
static uint32_t claims[CPU_SETSIZE];

static uint32_t *claims_of(int cpu)
{
    return &claims[(size_t)cpu % CPU_SETSIZE];
}

/* For one more thread, the first of those that the fewest have. */
static int claim(const struct cpu *cpus, size_t count)
{
    int best;
    uint32_t least;
    do {
        best = cpus[0].number;
        least = strait_load_relaxed(claims_of(best));
        for (size_t i = 1; i < count; i++) {
            uint32_t claimed = strait_load_relaxed(claims_of(cpus[i].number));
            if (claimed < least) {
                best = cpus[i].number;
                least = claimed;
            }
        }
    } while (!strait_cas_relaxed(claims_of(best), &least, least + 1));
    return best;
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

static bool is_valid(const struct strait_p_placement *placement, const struct machine *machine)
{
    enum strait_pin pin = placement->pin;
    size_t count = placement->cpu_count;
    bool named = pin == STRAIT_PIN_SET || (pin == STRAIT_PIN_CPU && !placement->threads);
    bool valid = (unsigned)pin <= STRAIT_PIN_SET && !placement->cpus == !count && (count || !named);
    for (size_t i = 0; valid && i < count; i++) {
        valid = find_cpu(machine, placement->cpus[i]) != NULL;
    }
    return valid;
}

static void add_cpu(struct strait_p_cpu_set *set, int cpu)
{
    CPU_SET_S((size_t)cpu, set->bytes, set->bits);
}

/* See its declaration: the set of a pool that may choose. */
static void add_caches(struct strait_p_cpu_set *set, const struct cpu *cpus, size_t count,
                       unsigned threads)
{
    for (size_t first = 0; first < count && first < threads; first++) {
        const struct cpu *wanted = &cpus[first];
        bool there = CPU_ISSET_S((size_t)wanted->number, set->bytes, set->bits);
        for (size_t i = 0; !there && i < count; i++) {
            if (cpus[i].cache == wanted->cache && cpus[i].node == wanted->node &&
                cpus[i].package == wanted->package) {
                add_cpu(set, cpus[i].number);
            }
        }
    }
}

STRAIT_PRIVATE STRAIT_P_COLD int strait_p_cpu_place(const struct strait_p_placement *placement,
                                                    struct strait_p_cpu_set *set)
{
    enum strait_pin pin = placement->pin;
    unsigned threads = placement->threads;
    const struct machine *machine = read_machine();
    *set = (struct strait_p_cpu_set){.claimed = -1};
    if (machine && !is_valid(placement, machine)) {
        return -EINVAL;
    }
    struct cpu *cpus = machine ? in_order(machine, placement->home) : NULL;
    set->bytes = machine ? machine->mask.bytes : 0;
    set->bits = cpus ? calloc(1, set->bytes) : NULL;
    if (!set->bits) {
        free(cpus);
        return -ENOMEM;
    }
    if (pin == STRAIT_PIN_NONE) {
        memcpy(set->bits, machine->mask.bits, set->bytes);
    } else if (pin == STRAIT_PIN_SET) {
        for (size_t i = 0; i < placement->cpu_count; i++) {
            add_cpu(set, placement->cpus[i]);
        }
    } else if (pin == STRAIT_PIN_CPU && placement->cpu_count) {
        int cpu = placement->cpus[placement->number % placement->cpu_count];
        set->claimed = claim(find_cpu(machine, cpu), 1);
    } else if (pin == STRAIT_PIN_CPU || !threads) {
        set->claimed = claim(cpus, machine->count);
    } else if (threads == machine->count && !placement->elastic) {
        set->claimed = claim(&cpus[placement->number % threads], 1);
    } else {
        add_caches(set, cpus, machine->count, threads);
    }
    if (set->claimed >= 0) {
        add_cpu(set, set->claimed);
    }
    free(cpus);
    return 0;
}
