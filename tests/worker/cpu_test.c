/* SPDX-License-Identifier: MIT */
/* cpu: the order in which workers take CPUs, on machines that are folders of files. */
#include "worker/fixture.h"

#include <ftw.h>
#include <sys/stat.h>

#include "../../src/worker/cpu.c" /* its functions are static */

#define MOST 32

/* ---- machines: what a CPU's folder says of it ---- */

struct folder {
    int number;
    const char *core; /* NULL: there is no such file */
    const char *package;
    const char *caches[4];
};

static char root[64];

static int remove_entry(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    (void)stat, (void)flag, (void)ftw;
    return remove(path);
}

static void machine_begin(void)
{
    strcpy(root, "/tmp/strait-cpu-XXXXXX");
    assert_non_null(mkdtemp(root));
}

static void machine_end(void)
{
    assert_int_equal(nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Writes a file of a CPU's folder, and the folders above it. */
static void put(int cpu, const char *file, const char *text)
{
    char path[256];
    if (!text) {
        return;
    }
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

static void put_cpu(const struct folder *cpu)
{
    put(cpu->number, "topology/thread_siblings_list", cpu->core);
    put(cpu->number, "topology/physical_package_id", cpu->package);
    for (int i = 0; i < 4; i++) {
        char file[64];
        snprintf(file, sizeof(file), "cache/index%d/shared_cpu_list", i);
        put(cpu->number, file, cpu->caches[i]);
    }
}

/* As most machines tell it: lists, three levels of a core's own, and one that cores share. */
static void put_usual(int number, int core, int cache, int package)
{
    char texts[3][32];
    snprintf(texts[0], sizeof(texts[0]), core == number ? "%d\n" : "%d-%d\n", core, number);
    snprintf(texts[1], sizeof(texts[1]), "%d,%d\n", cache, number);
    snprintf(texts[2], sizeof(texts[2]), "%d\n", package);
    struct folder cpu = {number, texts[0], texts[2], {texts[0], texts[0], texts[0], texts[1]}};
    put_cpu(&cpu);
}

/* The order of the CPUs from first to last, of a parent on `home`. */
static void expect_order(int first, int last, int home, const char *expected)
{
    struct known_cpu cpus[MOST] = {{.number = 0}};
    int order[MOST];
    char text[256] = "";
    size_t count = (size_t)(last - first + 1);
    for (size_t i = 0; i < count; i++) {
        cpus[i].number = first + (int)i;
    }
    read_cpus(root, cpus, count);
    struct known_cpu from = find_cpu(cpus, count, home);
    for (size_t i = 0; i < count; i++) {
        order[rank_of(cpus, count, &from, i)] = cpus[i].number;
    }
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof(text) - length, i ? " %d" : "%d", order[i]);
    }
    assert_string_equal(text, expected);
}

/* ---- orders ---- */

/* Siblings follow each other: 0 and 1 are a core. */
static void siblings_come_after_cores(void)
{
    machine_begin();
    for (int cpu = 0; cpu < 8; cpu++) {
        put_usual(cpu, cpu / 2 * 2, 0, 0);
    }
    expect_order(0, 0, 0, "0");
    expect_order(0, 1, 0, "1 0");
    expect_order(0, 1, 1, "0 1");
    expect_order(0, 7, 2, "4 6 0 5 7 1 3 2");
    expect_order(0, 7, 7, "0 2 4 1 3 5 6 7");
    machine_end();
}

/* Two packages, two caches in each, four cores in each of those; the second threads of all cores
 * have the numbers from 16 on. A container may use some of them: a core whose first thread is not
 * among these is a core. */
static void what_is_near_the_parent_comes_first(void)
{
    machine_begin();
    for (int cpu = 0; cpu < 32; cpu++) {
        put_usual(cpu, cpu % 16, cpu % 16 / 4 * 4, cpu % 16 / 8);
    }
    expect_order(0, 31, 5,
                 "6 7 4 "                 /* its cache */
                 "0 1 2 3 "               /* its package: they follow after the highest */
                 "8 9 10 11 12 13 14 15 " /* the other package */
                 "20 22 23 16 17 18 19 "  /* second threads likewise */
                 "24 25 26 27 28 29 30 31 "
                 "21 5"); /* its own core */
    expect_order(18, 26, 18, "19 20 21 22 23 24 25 26 18");
    expect_order(14, 17, 15, "14 16 17 15");
    expect_order(0, 3, 9, "0 1 2 3"); /* a parent from elsewhere */
    expect_order(0, 3, -1, "0 1 2 3");
    machine_end();
}

/* Virtual machines tell no caches, or two levels; others have numbers up to 1023, or tell nothing
 * or nonsense. */
static void what_is_not_told_makes_the_order_a_worse_one(void)
{
    machine_begin();
    static const struct folder cpus[] = {
        {0, "0", "0", {NULL}},
        {1, "1", "0", {NULL}},
        {2, "2", "1", {NULL}},
        {3, "3", "1", {NULL}},
        {10, "10", "0", {"10", NULL, "10,12\n", NULL}},
        {11, "11", "0", {"11", NULL, "11,13\n", NULL}},
        {12, "12", "0", {"12", NULL, "10,12\n", NULL}},
        {13, "13", "0", {"13", NULL, "11,13\n", NULL}},
        {30, "", "\n", {NULL, NULL, NULL, "cpu"}},
        {31, "\n", "cpu", {NULL, NULL, NULL, "-3"}},
        {32, "cpu", "-3", {NULL, NULL, NULL, "99999999999999"}},
        {33, "-3", "99999999999999", {NULL, NULL, NULL, ""}},
        {34, "99999999999999", "", {NULL, NULL, NULL, "\n"}},
    };
    for (size_t i = 0; i < COUNT(cpus); i++) {
        put_cpu(&cpus[i]);
    }
    for (int cpu = 1000; cpu < 1024; cpu++) {
        put_usual(cpu, cpu / 2 * 2, cpu / 8 * 8, 0);
    }
    for (int cpu = 200; cpu < 200 + MOST; cpu++) {
        put_usual(cpu, 0, 0, 0);
    }
    expect_order(0, 3, 2, "3 0 1 2");
    expect_order(10, 13, 11, "13 12 10 11");
    expect_order(30, 34, 33, "34 30 31 32 33");
    expect_order(40, 43, 41, "42 43 40 41");
    expect_order(1016, 1023, 1020, "1022 1016 1018 1023 1017 1019 1021 1020");
    expect_order(200, 203, 202, "200 201 203 202"); /* one core: the parent's CPU is last */
    machine_end();
}

/* ---- the process's own ---- */

/* The only CPU of a set that must not have more. */
static int only_cpu(const cpu_set_t *set)
{
    int cpu = 0;
    assert_int_equal(CPU_COUNT(set), 1);
    while (!CPU_ISSET((size_t)cpu, set)) {
        cpu++;
    }
    return cpu;
}

static cpu_set_t place(const struct strait_p_placement *placement)
{
    cpu_set_t set;
    assert_true(strait_p_cpu_place(placement, &set));
    return set;
}

/* A pool's threads, as many as CPUs, have them all, home last; workers the same without home. */
static void threads_take_the_cpus_in_turn(void)
{
    cpu_set_t allowed = own_cpus();
    unsigned count = strait_p_cpu_count();
    assert_int_equal(count, CPU_COUNT(&allowed));
    for (int home = 0; home < CPU_SETSIZE; home++) {
        struct strait_p_placement of_pool = {.home = home, .threads = count};
        struct strait_p_placement worker = {.home = home};
        cpu_set_t seen;
        if (!CPU_ISSET((size_t)home, &allowed)) {
            continue;
        }
        CPU_ZERO(&seen);
        for (of_pool.number = 0; of_pool.number < count; of_pool.number++) {
            cpu_set_t set = place(&of_pool);
            CPU_OR(&seen, &seen, &set);
            assert_int_equal(only_cpu(&set) == home, of_pool.number == count - 1);
        }
        assert_true(CPU_EQUAL(&seen, &allowed));
        CPU_ZERO(&seen);
        for (unsigned turn = 0; turn < count; turn++) {
            cpu_set_t set = place(&worker);
            CPU_OR(&seen, &seen, &set);
        }
        assert_int_equal(CPU_COUNT(&seen), count > 1 ? count - 1 : 1);
        assert_int_equal(CPU_ISSET((size_t)home, &seen) != 0, count == 1);
    }
}

/* A pool with fewer threads than CPUs has those near home, or all if home is elsewhere. */
static void few_threads_share_what_is_near(void)
{
    cpu_set_t allowed = own_cpus();
    struct strait_p_placement few = {.home = -1, .threads = 1};
    struct strait_p_placement none = {.pin = STRAIT_PIN_NONE};
    cpu_set_t set = place(&none);
    assert_true(CPU_EQUAL(&set, &allowed));
    if (CPU_COUNT(&allowed) < 2) {
        skip();
    }
    set = place(&few);
    assert_true(CPU_EQUAL(&set, &allowed));
    few.home = sched_getcpu();
    set = place(&few);
    assert_true(CPU_ISSET((size_t)few.home, &set));
    CPU_OR(&set, &set, &allowed);
    assert_true(CPU_EQUAL(&set, &allowed));
}

static void named_cpus_are_taken_as_they_are(void)
{
    int cpus[2] = {sched_getcpu(), sched_getcpu()};
    struct strait_p_placement placement = {.cpus = cpus, .cpu_count = 2};
    static const enum strait_pin named[] = {STRAIT_PIN_CPU, STRAIT_PIN_SET};
    for (size_t i = 0; i < COUNT(named); i++) {
        placement.pin = named[i];
        cpu_set_t set = place(&placement);
        assert_int_equal(only_cpu(&set), cpus[0]);
    }
}

/* In a process that was started with the CPU 5 alone. */
static void one_cpu_is_for_all(void)
{
    static const int cpus[] = {5, 7};
    static const struct {
        struct strait_p_placement placement;
        bool good;
    } cases[] = {
        {{.pin = STRAIT_PIN_CHOOSE, .home = 5}, true},
        {{.pin = STRAIT_PIN_CHOOSE, .home = 7}, true},
        {{.pin = STRAIT_PIN_NONE}, true},
        {{.pin = STRAIT_PIN_CPU, .cpus = cpus, .cpu_count = 1}, true},
        {{.pin = STRAIT_PIN_SET, .cpus = cpus, .cpu_count = 1}, true},
        {{.pin = STRAIT_PIN_CPU, .cpus = cpus + 1, .cpu_count = 1}, false},
        {{.pin = STRAIT_PIN_SET, .cpus = cpus + 1, .cpu_count = 1}, false},
        {{.pin = STRAIT_PIN_SET, .cpus = cpus, .cpu_count = 2}, false},
    };
    const cpu_set_t before = allowed;
    const struct known_cpu first = known[0];
    const unsigned count = known_count;
    cpu_set_t set;
    CPU_ZERO(&allowed);
    CPU_SET(5, &allowed);
    known[0].number = 5;
    known_count = 1;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(strait_p_cpu_place(&cases[i].placement, &set), cases[i].good);
        assert_true(!cases[i].good || only_cpu(&set) == 5);
    }
    allowed = before;
    known[0] = first;
    known_count = count;
}

static void what_cannot_be_is_refused(void)
{
    static const int bad[] = {-1, CPU_SETSIZE, INT_MAX};
    static const struct strait_p_placement wrong[] = {
        {.pin = STRAIT_PIN_CPU},
        {.pin = STRAIT_PIN_SET},
        {.pin = STRAIT_PIN_SET, .cpus = bad},
        {.pin = STRAIT_PIN_SET, .cpu_count = 1},
        {.pin = STRAIT_PIN_SET, .cpus = bad, .cpu_count = 1},
        {.pin = STRAIT_PIN_CPU, .cpus = bad + 1, .cpu_count = 1},
        {.pin = STRAIT_PIN_CHOOSE, .cpus = bad + 2, .cpu_count = 1},
        {.pin = (enum strait_pin)(STRAIT_PIN_SET + 1)},
        {.pin = (enum strait_pin) - 1},
    };
    cpu_set_t set;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_false(strait_p_cpu_place(&wrong[i], &set));
    }
}

TESTS(ONCE(siblings_come_after_cores), ONCE(what_is_near_the_parent_comes_first),
      ONCE(what_is_not_told_makes_the_order_a_worse_one), ONCE(threads_take_the_cpus_in_turn),
      ONCE(few_threads_share_what_is_near), ONCE(named_cpus_are_taken_as_they_are),
      ONCE(one_cpu_is_for_all), ONCE(what_cannot_be_is_refused))
