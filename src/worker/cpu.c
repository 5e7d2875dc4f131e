/* SPDX-License-Identifier: MIT */
#include "cpu.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "strait/base.h"
#include "topology.h"

static cpu_set_t allowed_cpus;

/* At the start, since a parent that pins itself later must not narrow its workers' choice. */
__attribute__((constructor)) static void read_allowed(void)
{
    int saved = errno;
    CPU_ZERO(&allowed_cpus);
    if (sched_getaffinity(0, sizeof(allowed_cpus), &allowed_cpus) != 0) {
        CPU_SET(0, &allowed_cpus); /* over CPU_SETSIZE CPUs: stay where every machine has one */
    }
    errno = saved;
}

unsigned strait_cpu_count(void)
{
    return (unsigned)CPU_COUNT(&allowed_cpus);
}

bool strait_cpu_allowed(int cpu)
{
    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET((size_t)cpu, &allowed_cpus);
}

/* ---- the order, from what the system tells when it is first asked ---- */

STRAIT_STATIC_ASSERT(CPU_SETSIZE <= STRAIT_CPUS_MOST, "the table has room");

static struct strait_cpu known[CPU_SETSIZE];
static pthread_once_t known_once = PTHREAD_ONCE_INIT;

static void know_cpus(void)
{
    size_t count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (strait_cpu_allowed(cpu)) {
            known[count++].number = cpu;
        }
    }
    strait_topology_read(STRAIT_TOPOLOGY_ROOT, known, count);
}

size_t strait_cpu_near(int home, int *cpus)
{
    unsigned count = strait_cpu_count();
    size_t near = 0;
    const struct strait_cpu *at = NULL;
    pthread_once(&known_once, know_cpus);
    for (unsigned i = 0; i < count; i++) {
        at = known[i].number == home ? &known[i] : at;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!at || (known[i].cache == at->cache && known[i].package == at->package)) {
            cpus[near++] = known[i].number;
        }
    }
    return near;
}

int strait_cpu_choose(int home, unsigned i, bool with_home)
{
    unsigned count = strait_cpu_count();
    bool skips_home = !with_home && count > 1 && strait_cpu_allowed(home);
    pthread_once(&known_once, know_cpus);
    return strait_topology_choose(known, count, home, i % (count - skips_home));
}

unsigned strait_cpu_default_workers(void)
{
    unsigned count = strait_cpu_count();
    return count < 4 ? count : count - 1;
}
