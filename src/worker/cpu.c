/* SPDX-License-Identifier: MIT */
/* See cpu.h. */
#include "cpu.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>

#include "strait/sync.h"

#define SYSFS "/sys/devices/system/cpu"
#define CACHES_MOST 8 /* more levels than any machine has */

/* ---- what the process may use ---- */

/* What two CPUs share has the same number in both; -1: unknown. */
struct known_cpu {
    int number;
    int core;
    int cache; /* the last level */
    int package;
    int thread; /* how many before it share its core */
};

/* The constructor writes, before anybody reads; know_cpus adds what the CPUs share. */
static cpu_set_t allowed;
static struct known_cpu known[CPU_SETSIZE]; /* the same, ascending */
static unsigned known_count;

/* At the start, since a parent that pins itself later must not narrow its workers' choice. */
__attribute__((constructor)) static void read_allowed(void)
{
    int saved = errno;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        CPU_ZERO(&allowed); /* over CPU_SETSIZE CPUs: stay where every machine has one */
        CPU_SET(0, &allowed);
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET((size_t)cpu, &allowed)) {
            known[known_count++].number = cpu;
        }
    }
    errno = saved;
}

STRAIT_PRIVATE unsigned strait_p_cpu_count(void)
{
    return known_count;
}

static bool is_allowed(int cpu)
{
    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET((size_t)cpu, &allowed);
}

/* ---- what they share ---- */

/* The first number in a file of a CPU's folder, -1: there is none. That is all there is to read: in
 * a list of CPUs that share something, the first one is a name for it. */
static int read_number(const char *root, int cpu, const char *file)
{
    char path[512];
    long number = -1;
    snprintf(path, sizeof(path), "%s/cpu%d/%s", root, cpu, file);
    FILE *in = fopen(path, "re");
    if (in) {
        number = fscanf(in, "%ld", &number) == 1 ? number : -1;
        fclose(in);
    }
    return number >= 0 && number <= INT_MAX ? (int)number : -1;
}

/* About `count` CPUs, whose numbers are set, ascending. */
static void read_cpus(const char *root, struct known_cpu *cpus, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct known_cpu *cpu = &cpus[i];
        int core = read_number(root, cpu->number, "topology/thread_siblings_list");
        cpu->core = core < 0 ? cpu->number : core;
        cpu->package = read_number(root, cpu->number, "topology/physical_package_id");
        cpu->cache = -1;
        for (int level = CACHES_MOST - 1; level >= 0 && cpu->cache < 0; level--) {
            char file[64]; /* caches are numbered from the core outwards */
            snprintf(file, sizeof(file), "cache/index%d/shared_cpu_list", level);
            cpu->cache = read_number(root, cpu->number, file);
        }
        cpu->thread = 0;
        for (size_t before = 0; before < i; before++) {
            cpu->thread += cpus[before].core == cpu->core;
        }
    }
}

static void know_cpus(void)
{
    read_cpus(SYSFS, known, known_count);
}

/* ---- which of them a thread gets ---- */

/* One that is not in the table is near nothing. */
static struct known_cpu find_cpu(const struct known_cpu *cpus, size_t count, int number)
{
    struct known_cpu found = {.number = number, .core = -1, .cache = -1, .package = -1};
    for (size_t i = 0; i < count; i++) {
        found = cpus[i].number == number ? cpus[i] : found;
    }
    return found;
}

/* What comes first has the smaller key. No two have the same. */
static uint64_t key_of(const struct known_cpu *cpu, const struct known_cpu *home)
{
    bool far = cpu->package != home->package;
    uint64_t distance = far ? 2 : cpu->cache != home->cache;
    uint64_t turn = (uint64_t)cpu->thread;
    if (cpu->number == home->number) {
        turn = 2 * CPU_SETSIZE;
    } else if (cpu->core == home->core) {
        turn += CPU_SETSIZE; /* after the threads of all other cores */
    }
    return turn << 40 | distance << 32 | (uint16_t)(cpu->number - home->number);
}

/* How many of them come before cpus[i]. */
static size_t rank_of(const struct known_cpu *cpus, size_t count, const struct known_cpu *home,
                      size_t i)
{
    size_t before = 0;
    for (size_t other = 0; other < count; other++) {
        before += key_of(&cpus[other], home) < key_of(&cpus[i], home);
    }
    return before;
}

static void choose(const struct strait_p_placement *placement, cpu_set_t *set)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static uint32_t turn;
    pthread_once(&once, know_cpus);
    struct known_cpu home = find_cpu(known, known_count, placement->home);
    bool elsewhere = !is_allowed(placement->home);
    bool one_each = !placement->threads || placement->threads >= known_count;
    size_t rank = placement->number % known_count;
    if (!placement->threads) {
        /* turn.next: pairs with turn.next; nothing but the number; without it two workers get the
         * same turn */
        rank = strait_add_acq_rel(&turn, 1) % (known_count - (known_count > 1 && !elsewhere));
    }
    for (size_t i = 0; i < known_count; i++) {
        bool near = known[i].cache == home.cache && known[i].package == home.package;
        if (one_each ? rank_of(known, known_count, &home, i) == rank : near || elsewhere) {
            CPU_SET((size_t)known[i].number, set);
        }
    }
}

STRAIT_PRIVATE bool strait_p_cpu_place(const struct strait_p_placement *placement, cpu_set_t *set)
{
    enum strait_pin pin = placement->pin;
    size_t count = placement->cpu_count;
    bool named = pin == STRAIT_PIN_CPU || pin == STRAIT_PIN_SET;
    if ((unsigned)pin > STRAIT_PIN_SET || !placement->cpus != !count || (named && !count)) {
        return false;
    }
    CPU_ZERO(set);
    for (size_t i = 0; i < count; i++) {
        if (!is_allowed(placement->cpus[i])) {
            return false;
        }
        if (pin == STRAIT_PIN_SET || (pin == STRAIT_PIN_CPU && i == placement->number % count)) {
            CPU_SET((size_t)placement->cpus[i], set);
        }
    }
    if (pin == STRAIT_PIN_NONE) {
        *set = allowed;
    } else if (pin == STRAIT_PIN_CHOOSE) {
        choose(placement, set);
    }
    return true;
}
