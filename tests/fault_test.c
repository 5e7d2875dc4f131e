/* SPDX-License-Identifier: MIT */
/*
 * fault: every call of the system's that strait makes while it creates something fails once.
 *
 * The library is compiled into this program, and the linker turns its calls of the functions below
 * to the wrappers here (--wrap). A fault fails the n-th call of one function, for n = 1, 2, ...
 * until there is no n-th: each creation must then answer with a negative errno, leave nothing
 * behind, and succeed when it is tried again.
 */
#include "life.h"

#include <linux/membarrier.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

/* A sanitizer's runtime that is linked into the program is wrapped too, and has attributes of its
 * own. */
#define RUNTIME_INTERFERES (TEST_TSAN || TEST_ASAN)

enum function {
    POSIX_MEMALIGN,
    CALLOC,
    MALLOC,
    EVENTFD,
    PTHREAD_CREATE,
    PTHREAD_ATTR_INIT,
    PTHREAD_ATTR_SETAFFINITY,
    PTHREAD_ATTR_SETSTACKSIZE,
    PTHREAD_SETNAME,
    SCHED_SETSCHEDULER,
    SETPRIORITY,
    FUNCTIONS,
};

static const int errors[FUNCTIONS] = {
    [POSIX_MEMALIGN] = ENOMEM,
    [CALLOC] = ENOMEM,
    [MALLOC] = ENOMEM,
    [EVENTFD] = EMFILE,
    [PTHREAD_CREATE] = EAGAIN,
    [PTHREAD_ATTR_INIT] = ENOMEM,
    [PTHREAD_ATTR_SETAFFINITY] = ENOMEM,
    [PTHREAD_ATTR_SETSTACKSIZE] = EINVAL,
    [PTHREAD_SETNAME] = EIO,
    [SCHED_SETSCHEDULER] = EPERM,
    [SETPRIORITY] = EACCES,
};

static _Atomic int failing = FUNCTIONS; /* which one */
static _Atomic unsigned countdown;      /* at 1 it fails */
static _Atomic unsigned hits;           /* how often it did */
static _Atomic unsigned allocations;    /* calls, ever */
static _Atomic int live;                /* allocations not yet freed */
static _Atomic int live_attributes;
static _Atomic int unjoined; /* threads */
static _Atomic unsigned no_membarrier;

static bool fails(enum function function)
{
    if (atomic_load(&failing) != (int)function || atomic_load(&countdown) == 0) {
        return false;
    }
    if (atomic_fetch_sub(&countdown, 1) != 1) {
        return false;
    }
    atomic_fetch_add(&hits, 1);
    return true;
}

/* ---- the wrappers ---- */

int __real_posix_memalign(void **memory, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void __real_free(void *memory);
void __wrap_free(void *memory);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*body)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*body)(void *), void *argument);
int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __real_pthread_attr_init(pthread_attr_t *attributes);
int __wrap_pthread_attr_init(pthread_attr_t *attributes);
int __real_pthread_attr_destroy(pthread_attr_t *attributes);
int __wrap_pthread_attr_destroy(pthread_attr_t *attributes);
int __real_pthread_attr_setaffinity_np(pthread_attr_t *attributes, size_t size,
                                       const cpu_set_t *cpus);
int __wrap_pthread_attr_setaffinity_np(pthread_attr_t *attributes, size_t size,
                                       const cpu_set_t *cpus);
int __real_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size);
int __wrap_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size);
int __real_pthread_setname_np(pthread_t thread, const char *name);
int __wrap_pthread_setname_np(pthread_t thread, const char *name);
int __real_sched_setscheduler(pid_t pid, int class, const struct sched_param *param);
int __wrap_sched_setscheduler(pid_t pid, int class, const struct sched_param *param);
int __real_setpriority(int which, id_t who, int nice);
int __wrap_setpriority(int which, id_t who, int nice);
int __real_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *cpus);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *cpus);
ssize_t __real_read(int fd, void *bytes, size_t count);
ssize_t __wrap_read(int fd, void *bytes, size_t count);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static int fail_with_errno(enum function function)
{
    errno = errors[function];
    return -1;
}

static void *counted(void *memory)
{
    atomic_fetch_add(&allocations, 1);
    atomic_fetch_add(&live, memory != NULL);
    return memory;
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    if (fails(POSIX_MEMALIGN)) {
        errno = 999; /* posix_memalign leaves it undefined */
        return ENOMEM;
    }
    int error = __real_posix_memalign(memory, alignment, bytes);
    counted(error ? NULL : *memory);
    return error;
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    if (fails(CALLOC)) {
        errno = ENOMEM;
        return NULL;
    }
    return counted(__real_calloc(n, bytes));
}

void *__wrap_malloc(size_t bytes)
{
    if (fails(MALLOC)) {
        errno = ENOMEM;
        return NULL;
    }
    return counted(__real_malloc(bytes));
}

void __wrap_free(void *memory)
{
    atomic_fetch_sub(&live, memory != NULL);
    __real_free(memory);
}

int __wrap_eventfd(unsigned count, int flags)
{
    return fails(EVENTFD) ? fail_with_errno(EVENTFD) : __real_eventfd(count, flags);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*body)(void *), void *argument)
{
    if (fails(PTHREAD_CREATE)) {
        errno = EAGAIN; /* the system call inside has set it */
        return EAGAIN;
    }
    int error = __real_pthread_create(thread, attributes, body, argument);
    atomic_fetch_add(&unjoined, error == 0);
    return error;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    atomic_fetch_sub(&unjoined, 1);
    return __real_pthread_join(thread, result);
}

int __wrap_pthread_attr_init(pthread_attr_t *attributes)
{
    if (fails(PTHREAD_ATTR_INIT)) {
        return ENOMEM;
    }
    atomic_fetch_add(&live_attributes, 1);
    return __real_pthread_attr_init(attributes);
}

int __wrap_pthread_attr_destroy(pthread_attr_t *attributes)
{
    atomic_fetch_sub(&live_attributes, 1);
    return __real_pthread_attr_destroy(attributes);
}

int __wrap_pthread_attr_setaffinity_np(pthread_attr_t *attributes, size_t size,
                                       const cpu_set_t *cpus)
{
    if (fails(PTHREAD_ATTR_SETAFFINITY)) {
        return ENOMEM;
    }
    return __real_pthread_attr_setaffinity_np(attributes, size, cpus);
}

int __wrap_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size)
{
    if (fails(PTHREAD_ATTR_SETSTACKSIZE)) {
        return EINVAL;
    }
    return __real_pthread_attr_setstacksize(attributes, size);
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    return fails(PTHREAD_SETNAME) ? EIO : __real_pthread_setname_np(thread, name);
}

int __wrap_sched_setscheduler(pid_t pid, int class, const struct sched_param *param)
{
    if (fails(SCHED_SETSCHEDULER)) {
        return fail_with_errno(SCHED_SETSCHEDULER);
    }
    return __real_sched_setscheduler(pid, class, param);
}

int __wrap_setpriority(int which, id_t who, int nice)
{
    return fails(SETPRIORITY) ? fail_with_errno(SETPRIORITY) : __real_setpriority(which, who, nice);
}

/* The library reads the affinity before main: the environment says whether it can. */
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *cpus)
{
    if (getenv("STRAIT_FAULT_AFFINITY")) {
        errno = EINVAL;
        return -1;
    }
    return __real_sched_getaffinity(pid, size, cpus);
}

/* Just before this fd is cleared, once, the gate opens, and somebody comes to the next one. */
static _Atomic int clearing = -1;
static struct gate before_clear[2];

ssize_t __wrap_read(int fd, void *bytes, size_t count)
{
    int expected = fd;
    if (fd >= 0 && atomic_compare_exchange_strong(&clearing, &expected, -1)) {
        gate_open(&before_clear[0]);
        gate_await(&before_clear[1], 1);
    }
    return __real_read(fd, bytes, count);
}

long __wrap_syscall(long number, ...)
{
    long argument[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        argument[i] = va_arg(list, long);
    }
    va_end(list);
    if (number == SYS_membarrier && atomic_load(&no_membarrier)) {
        atomic_fetch_add(&hits, 1);
        errno = ENOSYS;
        return -1;
    }
    return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                          argument[5]);
}

/* ---- what is created ---- */

static int create_channel(void)
{
    struct strait_channel *channel = NULL;
    struct strait_channel_options options = {
        .sender = STRAIT_WAIT_FD,
        .receiver = STRAIT_WAIT_FD,
    };
    int error = strait_channel_create(&channel, &options);
    strait_channel_destroy(channel, NULL, NULL);
    return error;
}

static int create_port_pair(void)
{
    struct strait_port a;
    struct strait_port b;
    struct strait_port_options options = {
        .forth = {.sender = STRAIT_WAIT_FD, .receiver = STRAIT_WAIT_FD},
        .back = {.sender = STRAIT_WAIT_FD, .receiver = STRAIT_WAIT_FD},
    };
    int error = strait_port_pair(&a, &b, &options);
    if (!error) {
        strait_port_close(&a);
        strait_port_close(&b);
    }
    return error;
}

static int nothing(struct strait_isolate *isolate)
{
    (void)isolate;
    return 0;
}

static int create_worker(void)
{
    char data[100] = {0};
    struct strait_worker *worker = NULL;
    struct strait_worker_options options = {
        .entry = nothing,
        .data = data,
        .data_size = sizeof(data),
        .schedule = STRAIT_SCHEDULE_BATCH,
        .nice = 1,
        .stack_size = 1 << 20,
    };
    int error = strait_worker_spawn(&worker, &options);
    if (!error) {
        error = strait_worker_join(worker, STRAIT_FOREVER);
        error = error ? error : strait_worker_destroy(worker);
    }
    return error;
}

static int create_pool(void)
{
    struct strait_pool *pool = NULL;
    struct strait_pool_options options = {
        .workers = 3,
        .queue_limit = 4,
        .schedule = STRAIT_SCHEDULE_BATCH,
        .nice = 1,
        .stack_size = 1 << 20,
    };
    int error = strait_pool_create(&pool, &options);
    if (!error) {
        error = strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
        error = error ? error : strait_pool_destroy(pool);
    }
    return error;
}

static int arm_fault(enum function function, unsigned n, int (*create)(void))
{
    atomic_store(&hits, 0);
    atomic_store(&failing, (int)function);
    atomic_store(&countdown, n);
    errno = ERRNO_MARK;
    int error = create();
    if (errno != ERRNO_MARK) {
        fprintf(stderr, "errno touched: function %d, call %u\n", (int)function, n);
        atomic_fetch_add(&faults, 1);
    }
    atomic_store(&countdown, 0);
    return error;
}

/* How many calls there were to fail. */
static unsigned fail_each_call(enum function function, int (*create)(void))
{
    struct census before = census_take();
    int live_before = atomic_load(&live);
    int unjoined_before = atomic_load(&unjoined);
    for (unsigned n = 1;; n++) {
        int error = arm_fault(function, n, create);
        assert_census(before);
        assert_int_equal(atomic_load(&live), live_before);
        assert_true(RUNTIME_INTERFERES || atomic_load(&live_attributes) == 0);
        assert_int_equal(atomic_load(&unjoined), unjoined_before);
        if (atomic_load(&hits) == 0) {
            assert_int_equal(error, 0);
            return n - 1;
        }
        assert_int_equal(error, -errors[function]);
        assert_int_equal(create(), 0);
        progress_made();
    }
}

struct expected {
    int (*create)(void);
    unsigned at_least[FUNCTIONS]; /* calls that must have been found, or the test tests nothing */
};

static void fail_everything(const struct expected *expected)
{
    create_worker(); /* whatever is done once per process */
    for (int function = 0; function < FUNCTIONS; function++) {
        if (RUNTIME_INTERFERES && function >= PTHREAD_ATTR_INIT &&
            function <= PTHREAD_ATTR_SETSTACKSIZE) {
            continue;
        }
        unsigned calls = fail_each_call((enum function)function, expected->create);
        assert_true(calls >= expected->at_least[function]);
    }
    assert_no_faults();
}

static void a_channel_fails_cleanly(void **state)
{
    (void)state;
    static const struct expected expected = {
        .create = create_channel,
        .at_least = {[POSIX_MEMALIGN] = 1, [EVENTFD] = 2},
    };
    fail_everything(&expected);
}

static void a_port_pair_fails_cleanly(void **state)
{
    (void)state;
    static const struct expected expected = {
        .create = create_port_pair,
        .at_least = {[POSIX_MEMALIGN] = 3, [EVENTFD] = 4},
    };
    fail_everything(&expected);
}

static void a_worker_fails_cleanly(void **state)
{
    (void)state;
    static const struct expected expected = {
        .create = create_worker,
        .at_least = {[POSIX_MEMALIGN] = 4,
                     [MALLOC] = 1,
                     [EVENTFD] = 1,
                     [PTHREAD_CREATE] = 1,
                     [PTHREAD_ATTR_INIT] = 1,
                     [PTHREAD_ATTR_SETAFFINITY] = 1,
                     [PTHREAD_ATTR_SETSTACKSIZE] = 1,
                     [PTHREAD_SETNAME] = 1,
                     [SCHED_SETSCHEDULER] = 1,
                     [SETPRIORITY] = 1},
    };
    fail_everything(&expected);
}

static void a_pool_fails_cleanly(void **state)
{
    (void)state;
    static const struct expected expected = {
        .create = create_pool,
        .at_least = {[POSIX_MEMALIGN] = 17,
                     [EVENTFD] = 1,
                     [PTHREAD_CREATE] = 3,
                     [PTHREAD_ATTR_INIT] = 3,
                     [PTHREAD_ATTR_SETAFFINITY] = 3,
                     [PTHREAD_ATTR_SETSTACKSIZE] = 3,
                     [PTHREAD_SETNAME] = 3,
                     [SCHED_SETSCHEDULER] = 3,
                     [SETPRIORITY] = 3},
    };
    fail_everything(&expected);
}

/* ---- in a running worker ---- */

static int system_memory_entry(struct strait_isolate *isolate)
{
    void *small = strait_heap_alloc(isolate, 100);
    EXPECT(small != NULL);
    size_t used = strait_heap_used(isolate);
    errno = ERRNO_MARK;
    atomic_store(&failing, MALLOC);
    atomic_store(&countdown, 1);
    EXPECT(strait_heap_alloc(isolate, 100000) == NULL);
    atomic_store(&countdown, 1);
    EXPECT(strait_heap_resize(isolate, small, 100000) == NULL);
    EXPECT(errno == ERRNO_MARK);
    EXPECT(strait_heap_used(isolate) == used);
    atomic_store(&countdown, 1);
    for (int i = 0; i < 20 && atomic_load(&countdown); i++) {
        strait_heap_alloc(isolate, 8000); /* until a region is needed */
    }
    EXPECT(atomic_load(&countdown) == 0);
    EXPECT(strait_heap_alloc(isolate, 100000) != NULL);
    return 5;
}

static void note_reason(struct strait_worker *worker, const struct strait_event *event,
                        void *context)
{
    (void)worker;
    if (event->type == STRAIT_EXIT) {
        *(enum strait_exit_reason *)context = event->reason;
    }
}

/* No memory to be had is not the heap's limit. */
static void a_heap_survives_the_lack_of_memory(void **state)
{
    (void)state;
    int live_before = atomic_load(&live);
    enum strait_exit_reason reason = STRAIT_EXIT_STOPPED;
    struct strait_worker_options options = {
        .entry = system_memory_entry, .event = note_reason, .context = &reason};
    struct strait_worker *worker = spawn(&options);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_int_equal(reason, STRAIT_EXIT_FAILED);
    assert_int_equal(atomic_load(&live), live_before);
    assert_no_faults();
}

static int quick(struct strait_task *task)
{
    (void)task;
    return 0;
}

static void submits_allocate_nothing(void **state)
{
    (void)state;
    struct strait_pool *pool = NULL;
    struct strait_pool_options options = {
        .workers = 2,
        .queue_limit = 100,
        .schedule = STRAIT_SCHEDULE_NORMAL,
    };
    struct strait_task task = {.run = quick};
    struct strait_pool_stats stats = {0};
    assert_returns(strait_pool_create(&pool, &options), 0);
    unsigned before = atomic_load(&allocations);
    while (stats.done < scaled(10000)) {
        strait_task_id id;
        for (int i = 0; i < 10; i++) {
            int error = strait_pool_submit(pool, &task, &id);
            assert_true(error == 0 || error == -EAGAIN);
        }
        strait_pool_cancel(pool, id);
        strait_pool_dispatch(pool, 0);
        strait_pool_stats(pool, &stats);
        progress_made();
    }
    assert_int_equal(atomic_load(&allocations), before);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_int_equal(atomic_load(&allocations), before);
    assert_returns(strait_pool_destroy(pool), 0);
}

/* ---- decisions that are made once per process: in a process of their own ---- */

static int echo_message(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)context;
    return strait_send(&strait_isolate_port(isolate)->sender, message, 1, STRAIT_FOREVER) != 1;
}

/* Messages there and back, with sleeps on both sides; a lost wake-up is a standstill. */
static void ping_pong(void)
{
    struct strait_worker_options options = {
        .message = echo_message,
        .to_parent = {.receiver = STRAIT_WAIT_PARK},
    };
    struct strait_worker *worker = spawn(&options);
    struct strait_port *port = strait_worker_port(worker);
    for (uint64_t i = 0; i < scaled(5000); i++) {
        uint64_t answer = 0;
        if (i % 50 == 0) {
            sleep_ns(100000);
        }
        assert_int_equal(strait_send(&port->sender, &i, 1, STRAIT_FOREVER), 1);
        assert_int_equal(strait_receive(&port->receiver, &answer, 1, STRAIT_FOREVER), 1);
        assert_int_equal(answer, i);
        progress_made();
    }
    strait_sender_close(&port->sender);
    join_and_destroy(worker);
}

static void few_tasks(void)
{
    struct strait_pool *pool = NULL;
    struct strait_task task = {.run = quick};
    struct strait_pool_options options = {.workers = 2, .schedule = STRAIT_SCHEDULE_NORMAL};
    struct strait_pool_stats stats = {0};
    assert_returns(strait_pool_create(&pool, &options), 0);
    while (stats.done < 500) {
        assert_returns(strait_pool_submit(pool, &task, NULL), 0);
        assert_true(readable(strait_pool_fd(pool), -1));
        strait_pool_dispatch(pool, 0);
        strait_pool_stats(pool, &stats);
        progress_made();
    }
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_destroy(pool), 0);
}

static void without_membarrier(void **state)
{
    (void)state;
    struct strait_channel *channel = NULL;
    atomic_store(&no_membarrier, 1);
    assert_returns(strait_channel_create(&channel, NULL), 0);
    assert_int_equal(atomic_load(&hits), 1);
    assert_int_equal(channel->fenced, 1);
    strait_channel_destroy(channel, NULL, NULL);
    ping_pong();
    few_tasks();
    assert_int_equal(atomic_load(&hits), 1); /* asked once, and never again */
}

static void without_affinity(void **state)
{
    (void)state;
    struct strait_worker *worker = NULL;
    struct strait_worker_options options = {.entry = nothing, .pin = STRAIT_PIN_CPU, .cpu = 1};
    assert_returns(strait_worker_spawn(&worker, &options), -EINVAL);
    ping_pong(); /* on CPU 0 */
    few_tasks();
}

/* ---- what comes just before an fd is cleared is seen just after ---- */

static int late_limit_entry(struct strait_isolate *isolate)
{
    strait_sender_close(&strait_isolate_port(isolate)->sender);
    gate_wait(&before_clear[0]);
    EXPECT(strait_heap_alloc(isolate, 2000) == NULL);
    gate_wait(&before_clear[1]);
    return 0;
}

static void a_limit_is_told_where_the_link_is_closed(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker_options options = {
        .entry = late_limit_entry, .heap_limit = 1000, .event = log_event, .context = &log};
    memset(before_clear, 0, sizeof(before_clear));
    struct strait_worker *worker = spawn(&options);
    gate_await(&before_clear[0], 1);
    assert_int_equal(strait_worker_dispatch(worker, 1), 1);
    atomic_store(&clearing, strait_worker_fd(worker));
    assert_int_equal(strait_worker_dispatch(worker, 0), 1);
    assert_string_equal(log.events, "ol");
    gate_open(&before_clear[1]);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_string_equal(log.events, "olx");
    assert_no_faults();
}

/* This program again, for the one test. */
static int run_alone(const char *test)
{
    pid_t child = fork();
    if (child == 0) {
        if (strcmp(test, "affinity") == 0) {
            setenv("STRAIT_FAULT_AFFINITY", "1", 1);
        }
        execl("/proc/self/exe", "fault_test", test, (char *)NULL);
        _exit(99);
    }
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void fences_do_where_membarrier_fails(void **state)
{
    (void)state;
    assert_int_equal(run_alone("membarrier"), 0);
}

static void cpu_0_does_where_the_affinity_is_unknown(void **state)
{
    (void)state;
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0 || !CPU_ISSET(0, &cpus)) {
        skip();
    }
    assert_int_equal(run_alone("affinity"), 0);
}

static int run_alone_main(const char *test)
{
    const struct CMUnitTest membarrier[] = {life_test(without_membarrier)};
    const struct CMUnitTest affinity[] = {life_test(without_affinity)};
    if (strcmp(test, "membarrier") == 0) {
        return cmocka_run_group_tests_name(test, membarrier, NULL, NULL);
    }
    return cmocka_run_group_tests_name(test, affinity, NULL, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        life_test(a_channel_fails_cleanly),
        life_test(a_port_pair_fails_cleanly),
        life_test(a_worker_fails_cleanly),
        life_test(a_pool_fails_cleanly),
        life_test(a_heap_survives_the_lack_of_memory),
        life_test(submits_allocate_nothing),
        life_test(a_limit_is_told_where_the_link_is_closed),
        life_test(fences_do_where_membarrier_fails),
        life_test(cpu_0_does_where_the_affinity_is_unknown),
    };
    watchdog_start();
    if (argc > 1) {
        return run_alone_main(argv[1]);
    }
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
