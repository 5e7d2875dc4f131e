/* SPDX-License-Identifier: MIT */
/* cpu: which CPUs, how many workers and in which order, on recorded machines: see machines/README.
 */
#include "harness.h"

#include <ftw.h>
#include <sys/resource.h>
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

/* However nice the test itself was started. */
static __thread int own_nice;

static int tell_nice(int which, id_t thread)
{
    EXPECT(which == PRIO_PROCESS && (thread == 0 || (int32_t)thread == thread_number()));
    return own_nice;
}

static int take_nice(int which, id_t thread, int nice)
{
    EXPECT(which == PRIO_PROCESS && thread == 0);
    own_nice = nice;
    return 0;
}

#define fopen open_below
#define getpriority tell_nice
#define setpriority take_nice
#include "../../src/strait.c" /* with functions that are static */
#undef fopen
#undef getpriority
#undef setpriority

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

/* "from CPU: NUMBERS": the order of the CPUs of a list, for a creator on that one. */
static void check_order(const char *list, const char *value)
{
    char text[256] = "";
    int at = 0;
    int skip = 0;
    allow(list);
    assert_int_equal(sscanf(value, "from %d: %n", &at, &skip), 1);
    struct strait_p_cpu_set allowed = read_allowed();
    struct machine *machine = take_machine(&allowed);
    assert_non_null(machine);
    sort_cpus(machine, at);
    assert_int_equal(strait_cpu_count(), machine->count);
    for (size_t i = 0; i < machine->count; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof(text) - length, i ? " %d" : "%d", machine->cpu[i].number);
    }
    assert_string_equal(text, value + skip);
    leave_machine(machine);
    free(allowed.bits);
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

/* Reads a machine, checks the orders and creates the pools that its file names. */
static void check_machine(const char *path)
{
    char line[512];
    struct strait_pool_options pool;
    bool orders = false;
    bool pools = false;
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
            } else if (strcmp(word, "order") == 0) {
                check_order(list, value);
                orders = true;
            } else if (strcmp(word, "pool") == 0) {
                if (pools) {
                    check_pool(&pool, expected);
                }
                pools = true;
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
    if (pools) {
        check_pool(&pool, expected);
    }
    assert_true(orders || pools);
    machine_end();
}

TEST(orders_and_pools_on_machines)
{
    static const char *const names[] = {
        "cores_of_two", "second_threads", "told_little",      "two_cpus",   "one_cpu",
        "phone",        "hybrid",         "hybrid_efficient", "chiplets",   "two_sockets",
        "sub_numa",     "big_server",     "huge_server",      "offline",    "holes",
        "quota_1",      "quota_2",        "quota_v1",         "lone_atoms", "own_caches",
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
    take_line("core", "0-7", "1");
    take_line("l3", "0-7", "4");
    take_line("package", "0-7", "0");
}

static uint64_t bits_of(const struct strait_p_cpu_set *set)
{
    uint64_t bits = 0;
    for (size_t cpu = 0; cpu < 64; cpu++) {
        bits |= (uint64_t)(CPU_ISSET_S(cpu, set->bytes, set->bits) != 0) << cpu;
    }
    return bits;
}

TEST(threads_get_what_they_were_told)
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

/* Where the affinity is unknown, or for more CPUs than there can be, there is the one that every
 * machine has. */
TEST(cpu_0_does_where_the_affinity_is_unknown)
{
    static const int second = 1;
    static const int refusals[] = {EPERM, EINVAL};
    const struct strait_p_placement any = {.home = 0};
    const struct strait_p_placement another = {
        .pin = STRAIT_PIN_CPU, .cpus = &second, .cpu_count = 1};
    for (size_t i = 0; i < COUNT(refusals); i++) {
        struct strait_p_cpu_set set;
        eight_cpus();
        mask_error = refusals[i];
        assert_int_equal(strait_p_cpu_place(&any, &set), 0);
        assert_int_equal(bits_of(&set), 1);
        strait_p_cpu_release(&set);
        assert_int_equal(strait_p_cpu_place(&another, &set), -EINVAL);
        machine_end();
    }
}

/* Workers, and pools that want one CPU each, take what the fewest have, and give it back. */
TEST(claimed_cpus_are_left_to_their_threads)
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

TEST(the_mask_is_read_at_each_creation)
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
TEST(files_are_read_when_other_cpus_may_be_used)
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
