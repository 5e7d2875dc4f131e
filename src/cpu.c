/* SPDX-License-Identifier: MIT */
#include "cpu.h"

#include <errno.h>
#include <sched.h>

static cpu_set_t allowed;

/* At the start, since a parent that pins itself later must not narrow its workers' choice. */
__attribute__((constructor)) static void read_allowed(void)
{
    int saved = errno;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        CPU_SET(0, &allowed); /* over CPU_SETSIZE CPUs: stay where every machine has one */
    }
    errno = saved;
}

unsigned strait_cpu_count(void)
{
    return (unsigned)CPU_COUNT(&allowed);
}

bool strait_cpu_allowed(int cpu)
{
    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET((size_t)cpu, &allowed);
}

int strait_cpu_choose(int home, unsigned i, bool with_home)
{
    unsigned count = strait_cpu_count();
    bool skips_home = !with_home && count > 1 && strait_cpu_allowed(home);
    int cpu = home < 0 ? 0 : home;
    for (unsigned turn = i % (count - skips_home) + 1; turn > 0; turn--) {
        do {
            cpu = (cpu + 1) % CPU_SETSIZE;
        } while (!strait_cpu_allowed(cpu));
    }
    return cpu;
}

unsigned strait_cpu_default_workers(void)
{
    unsigned count = strait_cpu_count();
    return count < 4 ? count : count - 1;
}
