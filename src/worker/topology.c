/* SPDX-License-Identifier: MIT */
#include "topology.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* More levels of caches than any machine has. */
#define CACHES_MOST 8

/* ---- reading ---- */

/* The first number in a file of a CPU's folder, -1: there is none. That is all there is to read: in
 * a list of CPUs that share something, the first one is a name for it. */
static int read_number(const char *root, int cpu, const char *file)
{
    char path[512];
    char text[16] = {0};
    int length = snprintf(path, sizeof(path), "%s/cpu%d/%s", root, cpu, file);
    int fd = length > 0 && (size_t)length < sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return -1;
    }
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    bool is_number = got > 0 && text[0] >= '0' && text[0] <= '9';
    long number = is_number ? strtol(text, NULL, 10) : -1;
    return number <= INT32_MAX ? (int)number : -1;
}

/* Caches are numbered from the core outwards. */
static int read_cache(const char *root, int cpu)
{
    int cache = -1;
    for (int i = CACHES_MOST - 1; i >= 0 && cache < 0; i--) {
        char file[64];
        snprintf(file, sizeof(file), "cache/index%d/shared_cpu_list", i);
        cache = read_number(root, cpu, file);
    }
    return cache;
}

static void read_cpu(const char *root, struct strait_cpu *cpu)
{
    int core = read_number(root, cpu->number, "topology/thread_siblings_list");
    cpu->core = core < 0 ? cpu->number : core;
    cpu->cache = read_cache(root, cpu->number);
    cpu->package = read_number(root, cpu->number, "topology/physical_package_id");
}

static void count_threads(struct strait_cpu *cpus, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cpus[i].thread = 0;
        for (size_t before = 0; before < i; before++) {
            cpus[i].thread += cpus[before].core == cpus[i].core;
        }
    }
}

void strait_topology_read(const char *root, struct strait_cpu *cpus, size_t count)
{
    int saved = errno;
    for (size_t i = 0; i < count; i++) {
        read_cpu(root, &cpus[i]);
    }
    count_threads(cpus, count);
    errno = saved;
}

/* ---- ordering ---- */

enum distance { SAME_CACHE, SAME_PACKAGE, FAR };

/* Threads of the core that the parent runs on come after those of all others. */
#define HOMES_CORE STRAIT_CPUS_MOST
#define HOME_ITSELF (2 * STRAIT_CPUS_MOST)

static enum distance distance_of(const struct strait_cpu *cpu, const struct strait_cpu *home)
{
    if (cpu->package != home->package) {
        return FAR;
    }
    return cpu->cache == home->cache ? SAME_CACHE : SAME_PACKAGE;
}

static unsigned turn_of(const struct strait_cpu *cpu, const struct strait_cpu *home)
{
    if (cpu->number == home->number) {
        return HOME_ITSELF;
    }
    return (unsigned)cpu->thread + (cpu->core == home->core ? HOMES_CORE : 0);
}

/* What comes first has the smaller key. No two have the same, and none has 0. */
static uint64_t key_of(const struct strait_cpu *cpu, const struct strait_cpu *home)
{
    uint64_t turn = turn_of(cpu, home);
    uint64_t distance = distance_of(cpu, home);
    return turn << 40 | distance << 32 | (uint16_t)(cpu->number - home->number);
}

/* One that is not in the table is near nothing. */
static struct strait_cpu find_home(const struct strait_cpu *cpus, size_t count, int number)
{
    struct strait_cpu home = {.number = number, .core = -1, .cache = -1, .package = -1};
    for (size_t i = 0; i < count; i++) {
        if (cpus[i].number == number) {
            home = cpus[i];
        }
    }
    return home;
}

/* The one that comes next after those up to a key. */
static const struct strait_cpu *next_of(const struct strait_cpu *cpus, size_t count,
                                        const struct strait_cpu *home, uint64_t key)
{
    const struct strait_cpu *next = &cpus[0];
    uint64_t smallest = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        uint64_t candidate = key_of(&cpus[i], home);
        if (candidate > key && candidate < smallest) {
            smallest = candidate;
            next = &cpus[i];
        }
    }
    return next;
}

int strait_topology_choose(const struct strait_cpu *cpus, size_t count, int home_number,
                           size_t place)
{
    struct strait_cpu home = find_home(cpus, count, home_number);
    const struct strait_cpu *cpu = next_of(cpus, count, &home, 0);
    while (place-- > 0) {
        cpu = next_of(cpus, count, &home, key_of(cpu, &home));
    }
    return cpu->number;
}
