/* SPDX-License-Identifier: MIT */
#include "cpu.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>

#define SYSFS "/sys/devices/system/cpu"
#define CACHES_MOST 8 /* more levels than any machine has */

/* ---- what the process may use ---- */

/* The constructor writes, before anybody reads. */
static cpu_set_t allowed_set;
static int allowed_cpus[CPU_SETSIZE]; /* the same, ascending */
static unsigned allowed_count;

/* At the start, since a parent that pins itself later must not narrow its workers' choice. */
__attribute__((constructor)) static void read_allowed(void)
{
    int saved = errno;
    if (sched_getaffinity(0, sizeof(allowed_set), &allowed_set) != 0) {
        CPU_ZERO(&allowed_set); /* over CPU_SETSIZE CPUs: stay where every machine has one */
        CPU_SET(0, &allowed_set);
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET((size_t)cpu, &allowed_set)) {
            allowed_cpus[allowed_count++] = cpu;
        }
    }
    errno = saved;
}

STRAIT_PRIVATE unsigned strait_p_cpu_count(void)
{
    return allowed_count;
}

STRAIT_PRIVATE const int *strait_p_cpu_numbers(void)
{
    return allowed_cpus;
}

STRAIT_PRIVATE unsigned strait_p_cpu_default_workers(void)
{
    return allowed_count < 4 ? allowed_count : allowed_count - 1;
}

STRAIT_PRIVATE bool strait_p_cpu_allowed(int cpu)
{
    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET((size_t)cpu, &allowed_set);
}

/* ---- what they share ---- */

/* What two CPUs share has the same number in both; -1: unknown. */
struct known_cpu {
    int number;
    int core;
    int cache; /* the last level */
    int package;
    int thread; /* how many before it share its core */
};

static struct known_cpu known[CPU_SETSIZE]; /* as many as are allowed: written once */
static pthread_once_t known_once = PTHREAD_ONCE_INIT;

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
    int saved = errno;
    for (unsigned i = 0; i < allowed_count; i++) {
        known[i].number = allowed_cpus[i];
    }
    read_cpus(SYSFS, known, allowed_count);
    errno = saved;
}

/* ---- the order ---- */

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

/* How many come before cpus[i]. */
static size_t place_of(const struct known_cpu *cpus, size_t count, const struct known_cpu *home,
                       size_t i)
{
    size_t before = 0;
    for (size_t other = 0; other < count; other++) {
        before += key_of(&cpus[other], home) < key_of(&cpus[i], home);
    }
    return before;
}

static void order_cpus(const struct known_cpu *cpus, size_t count, int home_number, int *order)
{
    struct known_cpu home = find_cpu(cpus, count, home_number);
    for (size_t i = 0; i < count; i++) {
        order[place_of(cpus, count, &home, i)] = cpus[i].number;
    }
}

STRAIT_PRIVATE void strait_p_cpu_order(int home, int *order)
{
    pthread_once(&known_once, know_cpus);
    order_cpus(known, allowed_count, home, order);
}

STRAIT_PRIVATE int strait_p_cpu_choose(int home_number, unsigned turn)
{
    bool skips_home = allowed_count > 1 && strait_p_cpu_allowed(home_number);
    size_t i = 0;
    pthread_once(&known_once, know_cpus);
    struct known_cpu home = find_cpu(known, allowed_count, home_number);
    while (place_of(known, allowed_count, &home, i) != turn % (allowed_count - skips_home)) {
        i++;
    }
    return known[i].number;
}

STRAIT_PRIVATE size_t strait_p_cpu_near(int home, int *cpus)
{
    size_t near = 0;
    pthread_once(&known_once, know_cpus);
    struct known_cpu at = find_cpu(known, allowed_count, home);
    for (unsigned i = 0; i < allowed_count; i++) {
        bool shares = known[i].cache == at.cache && known[i].package == at.package;
        if (shares || !strait_p_cpu_allowed(home)) {
            cpus[near++] = known[i].number;
        }
    }
    return near;
}
