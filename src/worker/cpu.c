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

STRAIT_PRIVATE unsigned strait_cpu_count(void)
{
    return allowed_count;
}

STRAIT_PRIVATE const int *strait_p_cpu_numbers(void)
{
    return allowed_cpus;
}

STRAIT_PRIVATE unsigned strait_cpu_default_workers(void)
{
    return allowed_count < 4 ? allowed_count : allowed_count - 1;
}

STRAIT_PRIVATE bool strait_cpu_allowed(int cpu)
{
    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET((size_t)cpu, &allowed_set);
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

STRAIT_PRIVATE void strait_p_cpus_read(const char *root, struct strait_p_cpu *cpus, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct strait_p_cpu *cpu = &cpus[i];
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

/* ---- the order ---- */

/* What comes first has the smaller key. No two have the same. */
static uint64_t key_of(const struct strait_p_cpu *cpu, const struct strait_p_cpu *home)
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

STRAIT_PRIVATE int strait_p_cpu_at(const struct strait_p_cpu *cpus, size_t count, int home_number,
                                   size_t place)
{
    /* one that is not in the table is near nothing */
    struct strait_p_cpu home = {.number = home_number, .core = -1, .cache = -1, .package = -1};
    for (size_t i = 0; i < count; i++) {
        home = cpus[i].number == home_number ? cpus[i] : home;
    }
    for (size_t i = 0; i < count; i++) {
        size_t before = 0;
        for (size_t other = 0; other < count; other++) {
            before += key_of(&cpus[other], &home) < key_of(&cpus[i], &home);
        }
        if (before == place) {
            return cpus[i].number;
        }
    }
    return home_number; /* there is no such place */
}

static struct strait_p_cpu known[CPU_SETSIZE]; /* written once, by the first that chooses */

static void know_cpus(void)
{
    int saved = errno;
    for (unsigned i = 0; i < allowed_count; i++) {
        known[i].number = allowed_cpus[i];
    }
    strait_p_cpus_read(SYSFS, known, allowed_count);
    errno = saved;
}

static pthread_once_t known_once = PTHREAD_ONCE_INIT;

STRAIT_PRIVATE size_t strait_cpu_near(int home, int *cpus)
{
    size_t near = 0;
    const struct strait_p_cpu *at = NULL;
    pthread_once(&known_once, know_cpus);
    for (unsigned i = 0; i < allowed_count; i++) {
        at = known[i].number == home ? &known[i] : at;
    }
    for (unsigned i = 0; i < allowed_count; i++) {
        if (!at || (known[i].cache == at->cache && known[i].package == at->package)) {
            cpus[near++] = known[i].number;
        }
    }
    return near;
}

STRAIT_PRIVATE int strait_cpu_choose(int home, unsigned i, bool with_home)
{
    bool skips_home = !with_home && allowed_count > 1 && strait_cpu_allowed(home);
    pthread_once(&known_once, know_cpus);
    return strait_p_cpu_at(known, allowed_count, home, i % (allowed_count - skips_home));
}
