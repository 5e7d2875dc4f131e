/* SPDX-License-Identifier: MIT */
/* cpu: which CPUs, how many workers and in which order, on recorded machines: see machines/README.
 */
#include "harness.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char folder[64]; /* stands for / */
static _Atomic size_t opened;

static FILE *open_below(const char *path, const char *mode)
{
    char below[2048];
    opened++;
    snprintf(below, sizeof(below), "%s%s", folder, path);
    return fopen(below, mode);
}

#define fopen open_below
#include "../../src/strait.c" /* with functions that are static */
#undef fopen

#include "strait/extra/stats.h"

/* ---- a machine: that folder, and the affinity of its process and threads ---- */

#define MASK_COUNT 4 /* 4096 CPUs */

static cpu_set_t mask[MASK_COUNT]; /* of the main thread */
static size_t mask_least;          /* bytes; the kernel refuses less */
static int mask_error;
static int home;                      /* where the main thread runs */
static struct strait_p_cpu_set first; /* of the process itself */

/* Those that have been given CPUs, under the lock; a thread writes its own, before it is online. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    pid_t number;
    cpu_set_t mask[MASK_COUNT];
} threads[STRAIT_POOL_WORKERS_MAX];
static size_t thread_count;

static cpu_set_t *mask_of(pid_t thread)
{
    cpu_set_t *own = mask;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < thread_count && thread != getpid(); i++) {
        own = threads[i].number == thread ? threads[i].mask : own;
    }
    pthread_mutex_unlock(&lock);
    return own;
}

int sched_getaffinity(pid_t thread, size_t bytes, cpu_set_t *set)
{
    if (!folder[0]) { /* at the start */
        memset(set, 0, bytes);
        return syscall(SYS_sched_getaffinity, thread, bytes, set) < 0 ? -1 : 0;
    }
    if (mask_error || bytes < mask_least) {
        errno = mask_error ? mask_error : EINVAL;
        return -1;
    }
    memset(set, 0, bytes);
    memcpy(set, mask_of(thread), strait_min(bytes, sizeof(mask)));
    return 0;
}

/* The calling thread's. */
int sched_setaffinity(pid_t thread, size_t bytes, const cpu_set_t *set)
{
    pthread_mutex_lock(&lock);
    EXPECT(thread == 0 && thread_count < COUNT(threads));
    threads[thread_count].number = (pid_t)syscall(SYS_gettid);
    memcpy(threads[thread_count].mask, set, strait_min(bytes, sizeof(mask)));
    thread_count++;
    pthread_mutex_unlock(&lock);
    return 0;
}

int sched_getcpu(void)
{
    cpu_set_t *own = mask_of((pid_t)syscall(SYS_gettid));
    size_t cpu = 0;
    while (own != mask && !CPU_ISSET_S(cpu, sizeof(mask), own)) {
        cpu++;
    }
    return own == mask ? home : (int)cpu;
}

static int remove_entry(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    (void)stat, (void)flag, (void)ftw;
    return remove(path);
}

static void forget_machine(void)
{
    free((struct machine *)last_machine);
    last_machine = 0;
}

static void machine_begin(void)
{
    strcpy(folder, "/dev/shm/strait-cpu-XXXXXX");
    assert_non_null(mkdtemp(folder));
    forget_machine();
    opened = 0;
    thread_count = 0;
    memset(mask, 0, sizeof(mask));
    mask_least = 0;
    mask_error = 0;
    first = first_allowed;
    first_allowed.bits = NULL;
}

static void machine_end(void)
{
    first_allowed = first;
    forget_machine();
    assert_int_equal(nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Writes a file, and the folders above it. */
__attribute__((format(printf, 2, 3))) static void put(const char *text, const char *format, ...)
{
    char path[512];
    va_list arguments;
    int length = snprintf(path, sizeof(path), "%s/", folder);
    va_start(arguments, format);
    vsnprintf(path + length, sizeof(path) - (size_t)length, format, arguments);
    va_end(arguments);
    FILE *out = fopen(path, "w");
    if (!out) {
        for (char *at = path + strlen(folder) + 1; (at = strchr(at, '/')) != NULL; at++) {
            *at = '\0';
            assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
            *at = '/';
        }
        out = fopen(path, "w");
    }
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    progress_made();
}

static void allow(const char *list)
{
    FILE *in = fmemopen((char *)(uintptr_t)list, strlen(list), "r");
    long from;
    long to;
    memset(mask, 0, sizeof(mask));
    while (next_range(in, &from, &to)) {
        for (long cpu = from; cpu <= to; cpu++) {
            CPU_SET_S((size_t)cpu, sizeof(mask), mask);
        }
    }
}

/* ---- machines: what a CPU's folder says of it ---- */

struct folder_of_cpu {
    int number;
    const char *core; /* NULL: there is no such file */
    const char *package;
    const char *caches[4];
};

static void put_cpu(const struct folder_of_cpu *cpu)
{
    static const char *const files[] = {
        "topology/thread_siblings_list", "topology/physical_package_id",
        "cache/index0/shared_cpu_list",  "cache/index1/shared_cpu_list",
        "cache/index2/shared_cpu_list",  "cache/index3/shared_cpu_list"};
    for (size_t i = 0; i < COUNT(files); i++) {
        const char *text = i == 0 ? cpu->core : i == 1 ? cpu->package : cpu->caches[i - 2];
        if (text) {
            put(text, "sys/devices/system/cpu/cpu%d/%s", cpu->number, files[i]);
        }
    }
}

/* As most machines tell it: lists, three levels of a core's own, and one that cores share. */
static void put_usual(int number, int core, int cache, int package)
{
    char texts[3][32];
    snprintf(texts[0], sizeof(texts[0]), core == number ? "%d\n" : "%d-%d\n", core, number);
    snprintf(texts[1], sizeof(texts[1]), "%d,%d\n", cache, number);
    snprintf(texts[2], sizeof(texts[2]), "%d\n", package);
    struct folder_of_cpu cpu = {
        number, texts[0], texts[2], {texts[0], texts[0], texts[0], texts[1]}};
    put_cpu(&cpu);
}

/* The order of the CPUs from one to another, for a creator on `at`. */
static void expect_order(int from, int to, int at, const char *expected)
{
    char text[256] = "";
    char list[32];
    snprintf(list, sizeof(list), "%d-%d", from, to);
    allow(list);
    assert_int_equal(strait_cpu_count(), to - from + 1);
    struct strait_p_cpu_set allowed = read_allowed();
    struct machine *machine = take_machine(&allowed);
    assert_non_null(machine);
    sort_cpus(machine, at);
    for (int i = 0; i <= to - from; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof(text) - length, i ? " %d" : "%d", machine->cpu[i].number);
    }
    assert_string_equal(text, expected);
    leave_machine(machine);
    free(allowed.bits);
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
    static const struct folder_of_cpu cpus[] = {
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
    for (int cpu = 200; cpu < 232; cpu++) {
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

/* ---- recorded machines ---- */

/* For each CPU of a list, in steps: what a line of a fixture says. `share` CPUs in a row, of those
 * in the line, are of one group, whose list is written into the file. */
static void put_groups(long first, long last, long share, const char *file)
{
    for (long cpu = first; cpu <= last; cpu++) {
        long group = first + (cpu - first) / share * share;
        char list[64];
        snprintf(list, sizeof(list), share > 1 ? "%ld-%ld\n" : "%ld\n", group, group + share - 1);
        put(list, "sys/devices/system/cpu/cpu%ld/%s", cpu, file);
    }
}

/* "WORD FIRST-LAST VALUE": see machines/README. */
static void take_line(const char *word, const char *list, const char *value)
{
    long first = 0;
    long last = 0;
    long number = 0;
    long row = 1;
    static const struct {
        const char *word;
        const char *file;
    } groups[] = {{"core", "topology/thread_siblings_list"},
                  {"l2", "cache/index2/shared_cpu_list"},
                  {"l3", "cache/index3/shared_cpu_list"}};
    sscanf(value, "%ld %ld", &number, &row);
    if (sscanf(list, "%ld-%ld", &first, &last) == 1) {
        last = first;
    }
    for (size_t i = 0; i < COUNT(groups); i++) {
        if (strcmp(word, groups[i].word) == 0) {
            put_groups(first, last, number, groups[i].file);
            return;
        }
    }
    for (long cpu = first; cpu <= last; cpu++) {
        char text[64];
        if (strcmp(word, "twin") == 0) { /* second threads: of the cores from that number on */
            snprintf(text, sizeof(text), "%ld,%ld\n", number + cpu - first, cpu);
            put(text, "sys/devices/system/cpu/cpu%ld/topology/thread_siblings_list", cpu);
        } else if (strcmp(word, "with") == 0) {
            snprintf(text, sizeof(text), "%ld,%ld\n", number + (cpu - first) / row * row, cpu);
            put(text, "sys/devices/system/cpu/cpu%ld/cache/index3/shared_cpu_list", cpu);
        } else if (strcmp(word, "package") == 0) {
            put(value, "sys/devices/system/cpu/cpu%ld/topology/physical_package_id", cpu);
        } else if (strcmp(word, "capacity") == 0) {
            put(value, "sys/devices/system/cpu/cpu%ld/cpu_capacity", cpu);
        }
    }
}

/* Creates a pool, and says where its workers are. */
static void check_pool(const struct strait_pool_options *options, const char *expected)
{
    static char text[16384];
    struct strait_pool *pool;
    thread_count = 0;
    assert_int_equal(strait_pool_create(&pool, options), 0);
    size_t length = strait_pool_places(pool, text, sizeof(text));
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(text));
    assert_int_equal(strait_pool_finish(pool, NULL, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER), 0);
}

/* Reads a machine, and creates the pools that its file names. */
static void check_machine(const char *path)
{
    char line[512];
    struct strait_pool_options pool;
    bool any = false;
    char expected[16384] = "";
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    machine_begin();
    mask_least = sizeof(mask);
    while (fgets(line, sizeof(line), in)) {
        char word[32];
        char list[200];
        char value[200] = "";
        if (line[0] == '>') {
            strcat(expected, line + 2);
        } else if (line[0] != '#' && sscanf(line, "%31s %199s %199[^\n]", word, list, value) >= 2) {
            if (strcmp(word, "allowed") == 0) {
                allow(list);
            } else if (strcmp(word, "home") == 0) {
                home = (int)strtol(list, NULL, 10);
            } else if (strcmp(word, "file") == 0) {
                put(value, "%s", list);
            } else if (strcmp(word, "pool") == 0) {
                if (any) {
                    check_pool(&pool, expected);
                }
                any = true;
                pool = (struct strait_pool_options){
                    .workers = (unsigned)strtoul(list, NULL, 10),
                    .pin = strcmp(value, "each") == 0 ? STRAIT_PIN_CPU : STRAIT_PIN_CHOOSE,
                };
                expected[0] = '\0';
            } else {
                take_line(word, list, value);
            }
        }
    }
    fclose(in);
    assert_true(any);
    check_pool(&pool, expected);
    machine_end();
}

static void pools_on_recorded_machines(void)
{
    static const char *const names[] = {
        "two_cpus",    "one_cpu",  "phone",      "hybrid",      "hybrid_efficient", "chiplets",
        "two_sockets", "sub_numa", "big_server", "huge_server", "offline",          "holes",
        "quota_1",     "quota_2",  "quota_v1",   "lone_atoms",  "own_caches",
    };
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", MACHINES, names[i]);
        print_message("%s\n", names[i]);
        check_machine(path);
    }
}

/* ---- which of them ---- */

static void eight_cpus(void)
{
    machine_begin();
    allow("0-7");
    for (int cpu = 0; cpu < 8; cpu++) {
        put_usual(cpu, cpu, cpu / 4 * 4, 0);
    }
}

static uint64_t bits_of(const struct strait_p_cpu_set *set)
{
    uint64_t bits = 0;
    for (size_t cpu = 0; cpu < 64; cpu++) {
        bits |= (uint64_t)(CPU_ISSET_S(cpu, set->bytes, set->bits) != 0) << cpu;
    }
    return bits;
}

static void threads_get_what_they_were_told(void)
{
    static const int cpus[] = {5, 7};
    static const int bad[] = {-1, 8, INT_MAX};
    eight_cpus();
    const struct {
        struct strait_p_placement placement;
        uint64_t bits; /* 0: refused */
    } cases[] = {
        {{.pin = STRAIT_PIN_NONE}, 0xff},
        {{.threads = 8, .number = 0}, 1 << 3},
        {{.threads = 8, .number = 7}, 1 << 2},
        {{.threads = 8, .number = 8}, 1 << 3},
        {{.threads = 8, .elastic = true}, 0xff}, /* it would be the first for every such pool */
        {{.threads = 9}, 0xff},
        {{.threads = 1}, 0x0f},
        {{.threads = 3}, 0x0f},
        {{.threads = 4}, 0xff}, /* home is for the parent */
        {{.threads = 7}, 0xff},
        {{.pin = STRAIT_PIN_CPU, .cpus = cpus, .cpu_count = 2, .number = 3}, 1 << 7},
        {{.pin = STRAIT_PIN_SET, .cpus = cpus, .cpu_count = 2}, 1 << 5 | 1 << 7},
        {{.pin = STRAIT_PIN_CPU}, 0},
        {{.pin = STRAIT_PIN_SET}, 0},
        {{.pin = STRAIT_PIN_SET, .cpus = bad}, 0},
        {{.pin = STRAIT_PIN_SET, .cpu_count = 1}, 0},
        {{.pin = STRAIT_PIN_SET, .cpus = bad, .cpu_count = 1}, 0},
        {{.pin = STRAIT_PIN_CPU, .cpus = bad + 1, .cpu_count = 1}, 0},
        {{.pin = STRAIT_PIN_CHOOSE, .cpus = bad + 2, .cpu_count = 1}, 0},
        {{.pin = (enum strait_pin)(STRAIT_PIN_SET + 1)}, 0},
        {{.pin = (enum strait_pin) - 1}, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct strait_p_placement placement = cases[i].placement;
        struct strait_p_cpu_set set;
        placement.home = 2;
        assert_int_equal(strait_p_cpu_place(&placement, &set), cases[i].bits ? 0 : -EINVAL);
        assert_true(!cases[i].bits || bits_of(&set) == cases[i].bits);
        strait_p_cpu_release(&set);
    }
    machine_end();
}

/* Workers, and pools that want one CPU each, take what the fewest have, and give it back. */
static void claimed_cpus_are_left_to_their_threads(void)
{
    static const int fifth = 5;
    static const int claimed[] = {5, 3, 0, 1, 4, 6, 7, 2, 3};
    struct strait_p_cpu_set sets[COUNT(claimed)];
    struct strait_p_placement again = {.home = 2};
    struct strait_p_cpu_set set;
    eight_cpus();
    for (size_t i = 0; i < COUNT(claimed); i++) {
        struct strait_p_placement placement = {
            .home = 2, .pin = i % 2 ? STRAIT_PIN_CHOOSE : STRAIT_PIN_CPU, .threads = !(i % 2)};
        if (i == 0) {
            placement.cpus = &fifth;
            placement.cpu_count = 1;
        }
        assert_int_equal(strait_p_cpu_place(&placement, &sets[i]), 0);
        assert_int_equal(bits_of(&sets[i]), 1 << claimed[i]);
    }
    strait_p_cpu_release(&sets[4]);
    assert_int_equal(strait_p_cpu_place(&again, &set), 0);
    assert_int_equal(bits_of(&set), 1 << claimed[4]);
    strait_p_cpu_release(&set);
    for (size_t i = 0; i < COUNT(claimed); i++) {
        if (i != 4) {
            strait_p_cpu_release(&sets[i]);
        }
    }
    machine_end();
}

/* ---- as they are now ---- */

static void the_mask_is_read_at_each_creation(void)
{
    cpu_set_t began[MASK_COUNT];
    machine_begin();
    mask_least = sizeof(mask); /* the kernel counts more than 1024 */
    allow("0-7,2000-2001");
    assert_int_equal(strait_cpu_count(), 10);
    memcpy(began, mask, sizeof(began));
    first_allowed = (struct strait_p_cpu_set){.bits = began, .bytes = sizeof(began)};
    allow("2-3");
    assert_int_equal(strait_cpu_count(), 2);
    allow("3"); /* a main thread that pinned itself */
    assert_int_equal(strait_cpu_count(), 10);
    memcpy(began, mask, sizeof(began)); /* a process that began with one */
    assert_int_equal(strait_cpu_count(), 1);
    mask_error = EPERM;
    assert_int_equal(strait_cpu_count(), 1);
    machine_end();
}

/* How many files that a worker's placement reads. */
static size_t files_of_a_placement(void)
{
    struct strait_p_placement placement = {.home = 2};
    struct strait_p_cpu_set set;
    size_t before = opened;
    assert_int_equal(strait_p_cpu_place(&placement, &set), 0);
    strait_p_cpu_release(&set);
    return opened - before;
}

/* And by a creator that comes while another one has what was read. None for named CPUs. */
static void files_are_read_when_other_cpus_may_be_used(void)
{
    static const int named = 5;
    struct strait_p_placement placement = {
        .pin = STRAIT_PIN_CPU, .cpus = &named, .cpu_count = 1, .home = 2};
    struct strait_p_cpu_set set;
    eight_cpus();
    assert_int_equal(strait_p_cpu_place(&placement, &set), 0);
    assert_int_equal(opened, 0);
    size_t all = files_of_a_placement();
    assert_true(all > 8);
    assert_int_equal(files_of_a_placement(), 0);
    allow("0-6");
    assert_in_range(files_of_a_placement(), 1, all - 1);
    assert_int_equal(files_of_a_placement(), 0);
    strait_p_cpu_release(&set);
    set = read_allowed();
    struct machine *taken = take_machine(&set);
    assert_in_range(files_of_a_placement(), 1, all - 1);
    leave_machine(taken);
    assert_int_equal(files_of_a_placement(), 0);
    strait_p_cpu_release(&set);
    machine_end();
}

TESTS(ONCE(siblings_come_after_cores), ONCE(what_is_near_the_parent_comes_first),
      ONCE(what_is_not_told_makes_the_order_a_worse_one), ONCE(threads_get_what_they_were_told),
      ONCE(claimed_cpus_are_left_to_their_threads), ONCE(the_mask_is_read_at_each_creation),
      ONCE(files_are_read_when_other_cpus_may_be_used), ONCE(pools_on_recorded_machines))
