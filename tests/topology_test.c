/* SPDX-License-Identifier: MIT */
/* topology_test: the order in which workers take CPUs, on machines that are folders of files. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <ftw.h>
#include <sys/stat.h>

#include "harness.h"

#include "topology.h"

#define CPUS_MOST 256

static char root[64];

/* ---- machines ---- */

static int remove_entry(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    (void)stat;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int machine_begin(void **state)
{
    (void)state;
    strcpy(root, "/tmp/strait-topology-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int machine_end(void **state)
{
    (void)state;
    return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Writes a file of a CPU's folder, and the folders above it. */
static void put(int cpu, const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/cpu%d/%s", root, cpu, file);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static void put_number(int cpu, const char *file, int number)
{
    char text[32];
    snprintf(text, sizeof(text), "%d\n", number);
    put(cpu, file, text);
}

static void put_list(int cpu, const char *file, int first, int last)
{
    char text[32];
    snprintf(text, sizeof(text), first == last ? "%d\n" : "%d-%d\n", first, last);
    put(cpu, file, text);
}

/* One CPU: the first of its core's, of its cache's, and its package. */
static void put_cpu(int cpu, int core, int cache, int package)
{
    put_list(cpu, "topology/thread_siblings_list", core, cpu > core ? cpu : core);
    put_number(cpu, "topology/physical_package_id", package);
    put_list(cpu, "cache/index0/shared_cpu_list", core, core);
    put_list(cpu, "cache/index1/shared_cpu_list", core, core);
    put_list(cpu, "cache/index2/shared_cpu_list", core, core);
    put_list(cpu, "cache/index3/shared_cpu_list", cache, cpu > cache ? cpu : cache);
}

/* ---- what is asked of them ---- */

static size_t allow(struct strait_cpu *cpus, int first, int last)
{
    size_t count = 0;
    for (int cpu = first; cpu <= last; cpu++) {
        cpus[count++].number = cpu;
    }
    return count;
}

static void assert_order(struct strait_cpu *cpus, size_t count, int home, const int *expected)
{
    errno = ERRNO_MARK;
    strait_topology_read(root, cpus, count);
    assert_int_equal(errno, ERRNO_MARK);
    for (size_t i = 0; i < count; i++) {
        int cpu = strait_topology_choose(cpus, count, home, i);
        if (cpu != expected[i]) {
            fail_msg("of a parent on %d, place %zu is CPU %d, not %d", home, i, cpu, expected[i]);
        }
    }
}

static void one_cpu(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    (void)state;
    put_cpu(0, 0, 0, 0);
    assert_order(cpus, allow(cpus, 0, 0), 0, (const int[]){0});
}

static void two_siblings(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    (void)state;
    put_cpu(0, 0, 0, 0);
    put_cpu(1, 0, 0, 0);
    assert_order(cpus, allow(cpus, 0, 1), 0, (const int[]){1, 0});
    assert_order(cpus, allow(cpus, 0, 1), 1, (const int[]){0, 1});
}

/* Siblings follow each other: 0 and 1 are a core. */
static void siblings_come_after_cores(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    (void)state;
    for (int cpu = 0; cpu < 8; cpu++) {
        put_cpu(cpu, cpu / 2 * 2, 0, 0);
    }
    assert_order(cpus, allow(cpus, 0, 7), 2, (const int[]){4, 6, 0, 5, 7, 1, 3, 2});
    assert_order(cpus, allow(cpus, 0, 7), 7, (const int[]){0, 2, 4, 1, 3, 5, 6, 7});
}

/* Two packages, two caches in each, four cores in each of those; the second threads of all cores
 * have the numbers from 16 on. */
static void put_large_machine(void)
{
    for (int cpu = 0; cpu < 32; cpu++) {
        put_cpu(cpu, cpu % 16, cpu % 16 / 4 * 4, cpu % 16 / 8);
    }
}

static void the_parents_cache_comes_first(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    static const int expected[] = {
        6,  7,  4,                      /* its cache */
        0,  1,  2,  3,                  /* its package: they follow after the highest */
        8,  9,  10, 11, 12, 13, 14, 15, /* the other package */
        20, 22, 23,                     /* second threads */
        16, 17, 18, 19, 24, 25, 26, 27, 28, 29, 30, 31, /* likewise */
        21, 5,                                          /* its own core */
    };
    (void)state;
    put_large_machine();
    assert_order(cpus, allow(cpus, 0, 31), 5, expected);
}

/* A container that may use some CPUs only: a core whose first thread is not among them is a core.
 */
static void only_what_is_allowed_counts(void **state)
{
    struct strait_cpu cpus[CPUS_MOST] = {
        {.number = 1}, {.number = 9}, {.number = 18}, {.number = 25}};
    (void)state;
    put_large_machine();
    assert_order(cpus, 4, 1, (const int[]){18, 9, 25, 1});
}

static void a_parent_from_elsewhere(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    (void)state;
    put_large_machine();
    assert_order(cpus, allow(cpus, 0, 3), 9, (const int[]){0, 1, 2, 3});
    assert_order(cpus, allow(cpus, 0, 3), -1, (const int[]){0, 1, 2, 3});
    assert_order(cpus, allow(cpus, 14, 17), 15, (const int[]){14, 16, 17, 15});
}

/* No caches are told, as in some virtual machines. */
static void without_caches_the_package_counts(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    (void)state;
    for (int cpu = 0; cpu < 8; cpu++) {
        put_number(cpu, "topology/physical_package_id", cpu / 4);
        put_number(cpu, "topology/thread_siblings_list", cpu);
    }
    assert_order(cpus, allow(cpus, 0, 7), 5, (const int[]){6, 7, 4, 0, 1, 2, 3, 5});
}

static void nothing_can_be_read(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    (void)state;
    assert_order(cpus, allow(cpus, 0, 3), 1, (const int[]){2, 3, 0, 1});
}

static void garbage_is_nothing(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    static const char *const garbage[] = {"", "\n", "cpu", "-3", "99999999999999"};
    (void)state;
    for (int cpu = 0; cpu < 5; cpu++) {
        put(cpu, "topology/thread_siblings_list", garbage[cpu]);
        put(cpu, "topology/physical_package_id", garbage[(cpu + 1) % 5]);
        put(cpu, "cache/index3/shared_cpu_list", garbage[(cpu + 2) % 5]);
    }
    assert_order(cpus, allow(cpus, 0, 4), 3, (const int[]){4, 0, 1, 2, 3});
}

/* Caches that end at the second level, and a list with commas. */
static void the_last_cache_counts(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    (void)state;
    for (int cpu = 0; cpu < 4; cpu++) {
        put_number(cpu, "topology/thread_siblings_list", cpu);
        put_number(cpu, "topology/physical_package_id", 0);
        put_number(cpu, "cache/index0/shared_cpu_list", cpu);
        put(cpu, "cache/index2/shared_cpu_list", cpu % 2 ? "1,3\n" : "0,2\n");
    }
    assert_order(cpus, allow(cpus, 0, 3), 1, (const int[]){3, 2, 0, 1});
}

/* Nonsense that would have most CPUs behind the parent's. */
static void the_parents_cpu_is_always_last(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    size_t count = allow(cpus, 0, 199);
    (void)state;
    for (int cpu = 0; cpu < 200; cpu++) {
        put_number(cpu, "topology/thread_siblings_list", 0);
    }
    strait_topology_read(root, cpus, count);
    assert_int_equal(strait_topology_choose(cpus, count, 5, 199), 5);
    assert_int_equal(strait_topology_choose(cpus, count, 5, 0), 0);
}

static void high_numbers(void **state)
{
    struct strait_cpu cpus[CPUS_MOST];
    (void)state;
    for (int cpu = 1000; cpu < 1024; cpu++) {
        put_cpu(cpu, cpu / 2 * 2, cpu / 8 * 8, 0);
    }
    assert_order(cpus, allow(cpus, 1016, 1023), 1020,
                 (const int[]){1022, 1016, 1018, 1023, 1017, 1019, 1021, 1020});
}

#define machine_test(body) cmocka_unit_test_setup_teardown(body, machine_begin, machine_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(one_cpu),
        machine_test(two_siblings),
        machine_test(siblings_come_after_cores),
        machine_test(the_parents_cache_comes_first),
        machine_test(only_what_is_allowed_counts),
        machine_test(a_parent_from_elsewhere),
        machine_test(without_caches_the_package_counts),
        machine_test(nothing_can_be_read),
        machine_test(garbage_is_nothing),
        machine_test(the_last_cache_counts),
        machine_test(the_parents_cpu_is_always_last),
        machine_test(high_numbers),
    };
    return cmocka_run_group_tests_name("topology", tests, NULL, NULL);
}
