/* SPDX-License-Identifier: MIT */
/*
 * fault: every call of the system's that strait makes while it creates something fails once.
 *
 * The library is compiled into this program, and the linker turns its calls of the functions below
 * to the wrappers here (--wrap). A fault fails the n-th call of one function, for n = 1, 2, ...
 * until there is no n-th: each creation must then answer with a negative errno, leave nothing
 * behind, and succeed when it is tried again. What the C library calls in turn fails in the kernel,
 * by a seccomp filter that asks a thread of the test each time.
 */
#include "life.h"

#include "strait/extra/isolate.h"

#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* A sanitizer's runtime that is linked into the program is wrapped too, and has attributes of its
 * own. */
#define RUNTIME_INTERFERES (TEST_TSAN || TEST_ASAN)

/* More than the C library keeps of the stacks of threads that have ended: each is mapped anew. */
#define STACK_BYTES ((size_t)64 << 20)

enum function {
    POSIX_MEMALIGN,
    CALLOC,
    MALLOC,
    EVENTFD,
    PTHREAD_CREATE,
    PTHREAD_ATTR_INIT,
    PTHREAD_ATTR_SETSTACKSIZE,
    SCHED_SETAFFINITY,
    PTHREAD_SETNAME,
    SCHED_SETSCHEDULER,
    SETPRIORITY,
    FUNCTIONS,
};

static const int errors[FUNCTIONS] = {
    [POSIX_MEMALIGN] = ENOMEM,   [CALLOC] = ENOMEM,
    [MALLOC] = ENOMEM,           [EVENTFD] = EMFILE,
    [PTHREAD_CREATE] = EAGAIN,   [PTHREAD_ATTR_INIT] = ENOMEM,
    [SCHED_SETAFFINITY] = EPERM, [PTHREAD_ATTR_SETSTACKSIZE] = EINVAL,
    [PTHREAD_SETNAME] = EIO,     [SCHED_SETSCHEDULER] = EPERM,
    [SETPRIORITY] = EACCES,
};

static _Atomic int failing = FUNCTIONS; /* which one */
static _Atomic unsigned countdown;      /* at 1 it fails */
static _Atomic unsigned hits;           /* how often it did */
static _Atomic unsigned allocations;    /* calls, ever */
static _Atomic int live;                /* allocations not yet freed */
static _Atomic int live_attributes;
static _Atomic int unjoined;                /* threads */
static _Atomic unsigned membarrier_refused; /* the commands of it that fail, ored */
static _Atomic int membarrier_errno;
static _Atomic unsigned membarriers_global; /* asked for */
static _Atomic unsigned naps;               /* after a membarrier that failed */
static __thread bool refused;               /* this thread's last one, of the slow kind */
static _Atomic int futex_errno;             /* which every second wait answers at once */
static _Atomic unsigned futex_waits;

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
int __real_pthread_clockjoin_np(pthread_t thread, void **result, clockid_t clock,
                                const struct timespec *until);
int __wrap_pthread_clockjoin_np(pthread_t thread, void **result, clockid_t clock,
                                const struct timespec *until);
int __real_pthread_attr_init(pthread_attr_t *attributes);
int __wrap_pthread_attr_init(pthread_attr_t *attributes);
int __real_pthread_attr_destroy(pthread_attr_t *attributes);
int __wrap_pthread_attr_destroy(pthread_attr_t *attributes);
int __real_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *cpus);
int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *cpus);
int __real_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size);
int __wrap_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size);
int __real_pthread_setname_np(pthread_t thread, const char *name);
int __wrap_pthread_setname_np(pthread_t thread, const char *name);
int __real_setpriority(int which, id_t who, int nice);
int __wrap_setpriority(int which, id_t who, int nice);
int __real_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *cpus);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *cpus);
ssize_t __real_read(int fd, void *bytes, size_t count);
ssize_t __wrap_read(int fd, void *bytes, size_t count);
int __real_nanosleep(const struct timespec *request, struct timespec *left);
int __wrap_nanosleep(const struct timespec *request, struct timespec *left);
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

int __wrap_pthread_clockjoin_np(pthread_t thread, void **result, clockid_t clock,
                                const struct timespec *until)
{
    int error = __real_pthread_clockjoin_np(thread, result, clock, until);
    atomic_fetch_sub(&unjoined, error == 0);
    return error;
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

int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *cpus)
{
    return fails(SCHED_SETAFFINITY) ? fail_with_errno(SCHED_SETAFFINITY)
                                    : __real_sched_setaffinity(pid, size, cpus);
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

/* The nap after a membarrier that was refused is interrupted once. */
int __wrap_nanosleep(const struct timespec *request, struct timespec *left)
{
    if (refused) {
        refused = false;
        atomic_fetch_add(&naps, 1);
        *left = *request;
        errno = EINTR;
        return -1;
    }
    return __real_nanosleep(request, left);
}

static bool membarrier_fails(long command)
{
    atomic_fetch_add(&membarriers_global, command == MEMBARRIER_CMD_GLOBAL);
    bool fails = atomic_load(&membarrier_refused) & (unsigned)command;
    atomic_fetch_add(&hits, fails);
    refused = fails && command == MEMBARRIER_CMD_GLOBAL;
    return fails;
}

static bool futex_fails(long operation)
{
    return (operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && atomic_load(&futex_errno) &&
           atomic_fetch_add(&futex_waits, 1) % 2 == 0;
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
    if (number == SYS_membarrier && membarrier_fails(argument[0])) {
        errno = atomic_load(&membarrier_errno);
        return -1;
    }
    if (number == SYS_sched_setscheduler && fails(SCHED_SETSCHEDULER)) {
        return fail_with_errno(SCHED_SETSCHEDULER);
    }
    if (number == SYS_futex && futex_fails(argument[1])) {
        errno = atomic_load(&futex_errno);
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

static int nothing(struct strait_port *port, void *data)
{
    (void)port;
    (void)data;
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
        .pin = STRAIT_PIN_CPU,
        .cpu = sched_getcpu(),
        .schedule = STRAIT_SCHEDULE_BATCH,
        .nice = 1,
        .stack_size = STACK_BYTES,
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
        .stack_size = STACK_BYTES,
    };
    struct strait_parent *parent = NULL;
    int error = strait_pool_create(&pool, &options);
    if (!error) {
        int attached = strait_pool_attach(pool, &parent, NULL);
        strait_parent_detach(parent, STRAIT_FOREVER);
        error = strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL);
        error = error ? error : strait_pool_destroy(pool);
        error = error ? error : attached;
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
        EXPECT(!"errno touched");
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
        if (error || function != PTHREAD_SETNAME) { /* a thread may run without its name */
            assert_int_equal(error, -errors[function]);
        }
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
        .at_least = {[POSIX_MEMALIGN] = 5,
                     [EVENTFD] = 1,
                     [PTHREAD_CREATE] = 1,
                     [PTHREAD_ATTR_INIT] = 1,
                     [SCHED_SETAFFINITY] = 1,
                     [PTHREAD_ATTR_SETSTACKSIZE] = 1,
                     [SCHED_SETSCHEDULER] = 1,
                     [SETPRIORITY] = 1},
    };
    fail_everything(&expected);
}

static void what_was_not_asked_for_is_done_without(void **state)
{
    (void)state;
    static const enum function functions[] = {SCHED_SETAFFINITY, PTHREAD_SETNAME};
    static const enum strait_pin pins[] = {STRAIT_PIN_CHOOSE, STRAIT_PIN_NONE};
    for (size_t i = 0; i < 4; i++) {
        struct strait_status status;
        struct strait_worker_options options = {.entry = nothing, .pin = pins[i % 2]};
        struct strait_worker *worker = NULL;
        atomic_store(&hits, 0);
        atomic_store(&failing, (int)functions[i / 2]);
        atomic_store(&countdown, 1);
        assert_returns(strait_worker_spawn(&worker, &options), 0);
        assert_int_equal(atomic_load(&hits), 1);
        strait_worker_status(worker, &status);
        assert_true(i >= 2 || status.cpu == -1); /* where it is not pinned, it says so */
        assert_string_equal(status.name, "strait");
        join_and_destroy(worker);
    }
}

static void a_pool_fails_cleanly(void **state)
{
    (void)state;
    static const struct expected expected = {
        .create = create_pool,
        .at_least = {[POSIX_MEMALIGN] = 5,
                     [EVENTFD] = 1,
                     [PTHREAD_CREATE] = 3,
                     [PTHREAD_ATTR_INIT] = 3,
                     [SCHED_SETAFFINITY] = 3,
                     [PTHREAD_ATTR_SETSTACKSIZE] = 3,
                     [PTHREAD_SETNAME] = 1,
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
    atomic_store(&failing, POSIX_MEMALIGN);
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

/* The isolate lives until both are gone. */
static void isolate_life(const struct strait_isolate_options *options, struct event_log *log)
{
    struct strait_isolate *isolate = NULL;
    assert_returns(strait_isolate_create(&isolate, options), 0);
    struct strait_worker_options worker = {
        .entry = strait_isolate_main, .data = isolate, .event = log_event, .context = log};
    struct strait_worker *spawned = spawn(&worker);
    dispatch_to_exit(spawned);
    join_and_destroy(spawned);
    strait_isolate_destroy(isolate);
    assert_no_faults();
}

/* No memory to be had is not the heap's limit. */
static void a_heap_survives_the_lack_of_memory(void **state)
{
    (void)state;
    int live_before = atomic_load(&live);
    struct event_log log = {.count = 0};
    struct strait_isolate_options options = {.entry = system_memory_entry};
    isolate_life(&options, &log);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
    assert_int_equal(log.exit.warning, 0);
    assert_int_equal(atomic_load(&live), live_before);
}

static int nothing_in_isolate(struct strait_isolate *isolate)
{
    (void)isolate;
    return 0;
}

static void an_isolate_says_that_there_is_no_memory(void **state)
{
    (void)state;
    int live_before = atomic_load(&live);
    struct event_log log = {.count = 0};
    struct strait_isolate *isolate = NULL;
    struct strait_isolate_options options = {.entry = nothing_in_isolate};
    atomic_store(&failing, POSIX_MEMALIGN);
    atomic_store(&countdown, 1);
    assert_returns(strait_isolate_create(&isolate, &options), -ENOMEM);
    assert_null(isolate);
    atomic_store(&countdown, 7); /* the isolate, five of the worker's, the message */
    isolate_life(&options, &log);
    assert_int_equal(log.exit.code, -ENOMEM);
    assert_int_equal(atomic_load(&live), live_before);
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
    struct strait_parent *parent = NULL;
    assert_returns(strait_pool_create(&pool, &options), 0);
    assert_returns(strait_pool_attach(pool, &parent, NULL), 0);
    unsigned before = atomic_load(&allocations);
    while (stats.done < scaled(10000)) {
        strait_task_id id;
        for (int i = 0; i < 10; i++) {
            int error = strait_task_submit(parent, &task, NULL, &id);
            assert_true(error == 0 || error == -EAGAIN);
        }
        strait_task_cancel(parent, id);
        strait_parent_dispatch(parent, 0);
        strait_pool_stats(pool, &stats);
        progress_made();
    }
    assert_int_equal(atomic_load(&allocations), before);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns((int)strait_parent_detach(parent, STRAIT_FOREVER), 0);
    assert_int_equal(atomic_load(&allocations), before);
    assert_returns(strait_pool_destroy(pool), 0);
}

/* ---- decisions that are made once per process: in a process of their own ---- */

static int echo_entry(struct strait_port *port, void *data)
{
    uint64_t number;
    (void)data;
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
    }
    return 0;
}

/* Messages there and back, with sleeps on both sides; a lost wake-up is a standstill. */
static void ping_pong(size_t rounds)
{
    struct strait_worker_options options = {
        .entry = echo_entry,
        .to_parent = {.receiver = STRAIT_WAIT_PARK},
    };
    struct strait_worker *worker = spawn(&options);
    struct strait_port *port = strait_worker_port(worker);
    for (uint64_t i = 0; i < rounds; i++) {
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

static void few_tasks(uint64_t count)
{
    struct strait_pool *pool = NULL;
    struct strait_task task = {.run = quick};
    struct strait_pool_options options = {.workers = 2, .schedule = STRAIT_SCHEDULE_NORMAL};
    struct strait_pool_stats stats = {0};
    struct strait_parent *parent = NULL;
    assert_returns(strait_pool_create(&pool, &options), 0);
    assert_returns(strait_pool_attach(pool, &parent, NULL), 0);
    while (stats.done < count) {
        assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
        assert_true(readable(strait_parent_fd(parent), -1));
        strait_parent_dispatch(parent, 0);
        strait_pool_stats(pool, &stats);
        progress_made();
    }
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns((int)strait_parent_detach(parent, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_destroy(pool), 0);
}

static void refuse_membarrier(unsigned commands, int error)
{
    atomic_store(&hits, 0);
    atomic_store(&membarrier_errno, error);
    atomic_store(&membarrier_refused, commands);
}

static uint32_t channel_fenced(void)
{
    struct strait_channel *channel = NULL;
    assert_returns(strait_channel_create(&channel, NULL), 0);
    uint32_t fenced = channel->fenced;
    strait_channel_destroy(channel, NULL, NULL);
    return fenced;
}

static void without_membarrier(void **state)
{
    (void)state;
    refuse_membarrier(~0u, ENOSYS);
    assert_int_equal(channel_fenced(), 1);
    assert_int_equal(atomic_load(&hits), 1);
    ping_pong(scaled(5000));
    few_tasks(500);
    assert_int_equal(atomic_load(&hits), 1); /* asked once, and never again */
    assert_int_equal(atomic_load(&naps), 0);
}

/* The senders hold no fences then: the one who goes to sleep still has to order them. */
static void with_a_membarrier_that_fails_later(void **state)
{
    (void)state;
    assert_int_equal(channel_fenced(), 0);
    refuse_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, ENOMEM);
    ping_pong(60);
    assert_true(atomic_load(&hits) > 0);
    assert_int_equal(atomic_load(&membarriers_global), atomic_load(&hits));
    assert_int_equal(atomic_load(&naps), 0);
    few_tasks(50);
    refuse_membarrier(~0u, EPERM);
    ping_pong(60);
    few_tasks(50);
    assert_true(atomic_load(&hits) > 0);
    assert_int_equal(atomic_load(&naps) * 2, atomic_load(&hits));
}

static int gate_entry(struct strait_port *port, void *gate)
{
    (void)port;
    gate_wait(gate);
    return 0;
}

/* A wait that a signal interrupted, or that came too late for its word, is a wait all the same. */
static void a_futex_may_answer_early(void **state)
{
    (void)state;
    static const int answers[] = {EINTR, EAGAIN};
    for (size_t i = 0; i < 2; i++) {
        struct census before = census_take();
        atomic_store(&futex_waits, 0);
        atomic_store(&futex_errno, answers[i]);
        for (int n = 0; n < 20; n++) {
            struct gate gate = {0};
            struct strait_worker_options options = {.entry = gate_entry, .data = &gate};
            struct strait_worker *worker = spawn(&options);
            assert_returns(strait_worker_join(worker, strait_now() + 1000), -ETIMEDOUT);
            gate_open(&gate);
            join_and_destroy(worker);
        }
        assert_true(atomic_load(&futex_waits) >= 20);
        ping_pong(scaled(1000));
        few_tasks(500);
        atomic_store(&futex_errno, 0);
        assert_census(before);
    }
    assert_no_faults();
}

static void without_affinity(void **state)
{
    (void)state;
    struct strait_worker *worker = NULL;
    struct strait_worker_options options = {.entry = nothing, .pin = STRAIT_PIN_CPU, .cpu = 1};
    assert_returns(strait_worker_spawn(&worker, &options), -EINVAL);
    ping_pong(scaled(5000)); /* on CPU 0 */
    few_tasks(500);
}

/* ---- the kernel says no, to the C library as well ---- */

struct refusal {
    const char *name;
    int number;
    int error;
    bool survivable; /* what asked for it may do without */
    unsigned at_least;
};

static const struct refusal refusals[] = {
    {"mmap", SYS_mmap, ENOMEM, true, 1},
    {"mprotect", SYS_mprotect, ENOMEM, true, 1},
#ifdef SYS_clone3
    {"clone3", SYS_clone3, EAGAIN, false, 0},
#endif
    {"clone", SYS_clone, EAGAIN, false, 0},
    {"sched_setaffinity", SYS_sched_setaffinity, EINVAL, false, 1},
    {"sched_setscheduler", SYS_sched_setscheduler, EPERM, false, 1},
    {"setpriority", SYS_setpriority, EACCES, false, 1},
    {"eventfd", SYS_eventfd2, EMFILE, false, 1},
    {"prctl", SYS_prctl, EPERM, true, 1},
};

#define REFUSALS (sizeof(refusals) / sizeof(refusals[0]))

static _Atomic int refused_number = -1; /* of which the n-th is refused, as countdown has it */
static _Atomic int refused_error;
static _Atomic int listener = -1;

static bool is_refused(int number)
{
    if (number != atomic_load(&refused_number) || atomic_load(&countdown) == 0 ||
        atomic_fetch_sub(&countdown, 1) != 1) {
        return false;
    }
    atomic_fetch_add(&hits, 1);
    return true;
}

/* Not under the filter itself, since it is older. */
static void *answer_kernel(void *context)
{
    (void)context;
    while (atomic_load(&listener) < 0) {
        sleep_ns(GATE_NAP_NS);
    }
    for (;;) {
        struct seccomp_notif asked;
        struct seccomp_notif_resp answer;
        memset(&asked, 0, sizeof(asked));
        memset(&answer, 0, sizeof(answer));
        if (ioctl(atomic_load(&listener), SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) {
            continue; /* whoever asked is gone */
        }
        answer.id = asked.id;
        if (is_refused(asked.data.nr)) {
            answer.error = -atomic_load(&refused_error);
        } else {
            answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        }
        ioctl(atomic_load(&listener), SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    return NULL;
}

static struct sock_filter statement(unsigned short code, uint32_t operand)
{
    struct sock_filter filter = {.code = code, .k = operand};
    return filter;
}

/* For the calling thread and those that it makes. The listener, or -1. */
static int ask_about_refusals(void)
{
    struct sock_filter filter[2 * REFUSALS + 2];
    unsigned short count = 0;
    filter[count++] =
        statement(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < REFUSALS; i++) {
        filter[count] = statement(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refusals[i].number);
        filter[count++].jf = 1;
        filter[count++] = statement(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    filter[count++] = statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = count, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -1;
    }
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

/* How many calls there were to refuse. */
static unsigned refuse_each_call(const struct refusal *refusal, int (*create)(void))
{
    struct census before = census_take();
    int live_before = atomic_load(&live);
    int unjoined_before = atomic_load(&unjoined);
    unsigned failures = 0;
    atomic_store(&refused_error, refusal->error);
    atomic_store(&refused_number, refusal->number);
    for (unsigned n = 1;; n++) {
        int error = arm_fault(FUNCTIONS, n, create);
        assert_census(before);
        assert_int_equal(atomic_load(&live), live_before);
        assert_int_equal(atomic_load(&live_attributes), 0);
        assert_int_equal(atomic_load(&unjoined), unjoined_before);
        if (atomic_load(&hits) == 0) {
            assert_int_equal(error, 0);
            assert_true(n == 1 || failures > 0 || refusal->survivable);
            return n - 1;
        }
        failures += error != 0;
        assert_true(error == 0 ? refusal->survivable
                               : error == -refusal->error || error == -EAGAIN);
        assert_int_equal(create(), 0);
        progress_made();
    }
}

#define NO_LISTENER 77

static void with_a_kernel_that_says_no(void **state)
{
    (void)state;
    pthread_t thread;
    thread_start(&thread, answer_kernel, NULL);
    pthread_detach(thread);
    create_worker(); /* whatever is done once per process */
    create_pool();
    int fd = ask_about_refusals();
    if (fd < 0) {
        _exit(NO_LISTENER);
    }
    atomic_store(&listener, fd);
    struct strait_worker_options options = {.entry = echo_entry,
                                            .to_parent = {.receiver = STRAIT_WAIT_PARK}};
    struct strait_worker *other = spawn(&options);
    struct strait_port *port = strait_worker_port(other);
    unsigned clones = 0;
    for (uint64_t i = 0; i < REFUSALS; i++) {
        uint64_t answer = 0;
        unsigned calls = refuse_each_call(&refusals[i], create_worker);
        assert_true(calls >= refusals[i].at_least);
        calls = refuse_each_call(&refusals[i], create_pool);
        assert_true(calls >= refusals[i].at_least);
        clones += strncmp(refusals[i].name, "clone", 5) == 0 ? calls : 0;
        assert_int_equal(strait_send(&port->sender, &i, 1, STRAIT_FOREVER), 1);
        assert_int_equal(strait_receive(&port->receiver, &answer, 1, STRAIT_FOREVER), 1);
        assert_int_equal(answer, i);
    }
    assert_true(clones >= 3);
    strait_sender_close(&port->sender);
    join_and_destroy(other);
    assert_no_faults();
}

/* ---- what comes just before an fd is cleared is seen just after ---- */

static int late_warning_entry(struct strait_port *port, void *data)
{
    (void)data;
    strait_sender_close(&port->sender);
    gate_wait(&before_clear[0]);
    strait_worker_warn(-ENOMEM, NULL);
    gate_wait(&before_clear[1]);
    return 0;
}

static void a_warning_is_told_where_the_link_is_closed(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker_options options = {
        .entry = late_warning_entry, .event = log_event, .context = &log};
    memset(before_clear, 0, sizeof(before_clear));
    struct strait_worker *worker = spawn(&options);
    gate_await(&before_clear[0], 1);
    assert_int_equal(strait_worker_dispatch(worker, 1), 1);
    atomic_store(&clearing, strait_worker_fd(worker));
    assert_int_equal(strait_worker_dispatch(worker, 0), 1);
    assert_string_equal(log.events, "ow");
    gate_open(&before_clear[1]);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_string_equal(log.events, "owx");
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

static void a_membarrier_that_fails_later_is_made_up_for(void **state)
{
    (void)state;
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) <= 0) {
        skip(); /* the kernel has none */
    }
    assert_int_equal(run_alone("membarrier later"), 0);
}

static void a_spawn_fails_cleanly_inside_the_c_library(void **state)
{
    (void)state;
    if (RUNTIME_INTERFERES) {
        skip(); /* a sanitizer's runtime ends the program when it gets no memory or no thread */
    }
    int status = run_alone("kernel");
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_LISTENER) {
        skip(); /* filters are forbidden here, or the kernel asks nobody */
    }
    assert_int_equal(status, 0);
}

static int run_alone_main(const char *test)
{
    const struct CMUnitTest alone[] = {
        life_test(without_membarrier),
        life_test(with_a_membarrier_that_fails_later),
        life_test(without_affinity),
        life_test(with_a_kernel_that_says_no),
    };
    static const char *const names[] = {"membarrier", "membarrier later", "affinity", "kernel"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(test, names[i]) == 0) {
            const struct CMUnitTest one[] = {alone[i]};
            return cmocka_run_group_tests_name(test, one, NULL, NULL);
        }
    }
    return 98;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        life_test(a_channel_fails_cleanly),
        life_test(a_port_pair_fails_cleanly),
        life_test(a_worker_fails_cleanly),
        life_test(what_was_not_asked_for_is_done_without),
        life_test(a_pool_fails_cleanly),
        life_test(a_heap_survives_the_lack_of_memory),
        life_test(an_isolate_says_that_there_is_no_memory),
        life_test(submits_allocate_nothing),
        life_test(a_warning_is_told_where_the_link_is_closed),
        life_test(a_futex_may_answer_early),
        life_test(fences_do_where_membarrier_fails),
        life_test(a_membarrier_that_fails_later_is_made_up_for),
        life_test(a_spawn_fails_cleanly_inside_the_c_library),
        life_test(cpu_0_does_where_the_affinity_is_unknown),
    };
    watchdog_start();
    if (argc > 1) {
        return run_alone_main(argv[1]);
    }
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
