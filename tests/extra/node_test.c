/* SPDX-License-Identifier: MIT */
/*
 * node: what the README's table promises to a program that knows worker_threads. Each row that
 * promises something is a test of its name, but for
 *   BroadcastChannel                        broadcast_test
 *   transferList: ArrayBuffer               buffer_test
 *   ref, unref of ports; sockets, files     uv_worker_test, uv_loop_test
 *   a pool                                  tests/pool
 *   pin, cpu, cpus, schedule, nice; start   tests/worker, footprint_test
 * Most rows are a script of steps, which the parent posts, and which the worker's handler runs.
 */
#include "extra/fixture.h"

#include <signal.h>
#include <sys/wait.h>

#define HEAP_LIMIT ((size_t)1 << 20)
#define STACK ((size_t)512 << 10)

/* ---- a worker that does what it is told ---- */

typedef int step_fn(struct strait_isolate *isolate);

static struct tenant worker; /* the test's */
static uint64_t posted;      /* by it */
static unsigned finis;
static struct gate gate;

HANDLER(take_step)
{
    return ((step_fn *)(uintptr_t)number_of(message))(isolate);
}

static void tell(struct strait_port *port, step_fn *step)
{
    post(port, (uintptr_t)step);
}

static void count_fini(UNUSED struct strait_port *port, UNUSED void *data)
{
    finis++;
}

static void worker_spawn(void)
{
    worker = (struct tenant){
        .inner = {.message = take_step, .heap_limit = HEAP_LIMIT},
        .outer = {.name = "node",
                  .stack_size = STACK,
                  .fini = count_fini,
                  .drop_to_worker = tenant_drop,
                  .to_parent = {.capacity = 1 << 16}},
    };
    posted = 0;
    finis = 0;
    memset(&gate, 0, sizeof(gate));
    tenant_spawn(&worker);
}

/* ---- steps ---- */

ENTRY(posts)
{
    post(strait_isolate_port(isolate), posted++);
    return 0;
}

ENTRY(posts_50000)
{
    while (posted < 50000) {
        posts(isolate);
    }
    return 0;
}

ENTRY(is_a_worker)
{
    EXPECT(strait_worker_current() == worker.worker);
    EXPECT(strait_isolate_current() == isolate);
    return 0;
}

ENTRY(has_its_thread)
{
    struct strait_status status;
    strait_worker_status(strait_worker_current(), &status);
    EXPECT(status.thread == thread_number());
    return 0;
}

ENTRY(has_its_name)
{
    char name[16];
    EXPECT(pthread_getname_np(pthread_self(), name, sizeof(name)) == 0);
    EXPECT(strcmp(name, "node") == 0);
    return 0;
}

ENTRY(has_its_stack)
{
    pthread_attr_t attributes;
    size_t size = 0;
    EXPECT(pthread_getattr_np(pthread_self(), &attributes) == 0);
    EXPECT(pthread_attr_getstacksize(&attributes, &size) == 0);
    EXPECT(size >= STACK && size < 2 * STACK);
    pthread_attr_destroy(&attributes);
    return 0;
}

ENTRY(has_no_signals)
{
    sigset_t blocked;
    EXPECT(pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0);
    EXPECT(sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGTERM) == 1);
    EXPECT(sigismember(&blocked, SIGSEGV) == 0);
    return 0;
}

ENTRY(fills_its_heap)
{
    while (strait_heap_alloc(isolate, 1000)) {
        EXPECT(strait_heap_used(isolate) <= HEAP_LIMIT);
    }
    return posts(isolate); /* and goes on */
}

ENTRY(fails)
{
    strait_worker_fail(5, "no such table");
    strait_worker_fail(6, "and another thing");
    return 1;
}

/* Until the whole script is told. */
ENTRY(pauses)
{
    gate_wait(&gate);
    return 0;
}

ENTRY(returns_7)
{
    return 7;
}

static void post_later(struct strait_isolate *isolate, void *number)
{
    EXPECT(posted == (uintptr_t)number);
    posts(isolate);
}

ENTRY(queues_a_post)
{
    EXPECT(strait_microtask(isolate, post_later, (void *)(uintptr_t)(posted + 1)) == 0);
    return posts(isolate);
}

MICROTASK(queue_again)
{
    if (!strait_worker_stopping(strait_worker_current())) {
        EXPECT(strait_microtask(isolate, queue_again, argument) == 0);
    }
}

ENTRY(queues_without_end)
{
    posts(isolate);
    return strait_microtask(isolate, queue_again, NULL);
}

ENTRY(computes)
{
    posts(isolate);
    while (!strait_worker_stopping(strait_worker_current())) {
        sched_yield();
    }
    return -ECANCELED;
}

ENTRY(waits)
{
    struct strait_receiver *receiver = &strait_isolate_port(isolate)->receiver;
    uint64_t number;
    EXPECT(strait_receive(receiver, &number, 1, strait_deadline(1)) == -ETIMEDOUT);
    posts(isolate);
    EXPECT(strait_receive(receiver, &number, 1, STRAIT_FOREVER) == -ECANCELED);
    return 0;
}

static uint64_t receive_next(struct strait_isolate *isolate)
{
    struct strait_receiver *receiver = &strait_isolate_port(isolate)->receiver;
    uint64_t number = 0;
    EXPECT(strait_receive(receiver, &number, 1, STRAIT_FOREVER) == 1);
    return number;
}

ENTRY(takes_the_next)
{
    EXPECT(receive_next(isolate) == (uintptr_t)fails);
    return 0;
}

TIMER(tick)
{
    posts(isolate);
    if (posted == 4) {
        strait_timer_stop(isolate, timer);
    }
}

ENTRY(starts_timers)
{
    static struct strait_timer timers[2]; /* a timeout, an interval */
    timers[0] = timers[1] = (struct strait_timer){.run = tick};
    EXPECT(strait_timer_start(isolate, &timers[0], 0, 0) == 0);
    return strait_timer_start(isolate, &timers[1], strait_deadline(1000000), 1000000);
}

ENTRY(fails_with_its_data)
{
    EXPECT(strait_isolate_data(isolate) == &worker);
    return fails(isolate);
}

/* Its events are its parent's alone, and its error ends nobody else. Data are passed on. */
ENTRY(has_a_worker)
{
    struct tenant child = {.inner = {.message = take_step, .data = &worker}};
    tenant_spawn(&child);
    tell(child.port, fails_with_its_data);
    tenant_see_exit(&child);
    tenant_free(&child);
    EXPECT(strcmp(child.events, "oex") == 0);
    return posts(isolate);
}

/* ---- scripts ---- */

static const struct row {
    const char *name;
    step_fn *script[4];
    uint64_t messages; /* the parent awaits so many, then closes, or stops the worker */
    const char *events;
    int code;
    bool stop;
    unsigned dropped;
} rows[] = {
    {"isMainThread", {is_a_worker}, 0, "ox", 0, false, 0},
    {"parentPort", {posts}, 1, "omx", 0, false, 0},
    {"threadId", {is_a_worker, has_its_thread}, 0, "ox", 0, false, 0},
    {"threadName", {has_its_name}, 0, "ox", 0, false, 0},
    {"Atomics.wait with a timeout", {waits}, 1, "omx", -ECANCELED, true, 0},
    {"receive in the port's own handler", {takes_the_next, fails, posts}, 1, "omx", 0, false, 0},
    {"trackUnmanagedFds", {fails}, 0, "oex", 1, false, 0}, /* fini runs, as in each of these */
    {"maxOldGenerationSizeMb", {fills_its_heap, posts}, 2, "owmx", 0, false, 0},
    {"stackSizeMb", {has_its_stack}, 0, "ox", 0, false, 0},
    {"a worker in a worker", {has_a_worker}, 1, "omx", 0, false, 0},
    {"'online'", {NULL}, 0, "ox", 0, false, 0},
    {"'message'", {posts_50000}, 0, "omx", 0, false, 0},
    {"'error'", {posts, fails}, 1, "omex", 1, false, 0},
    {"'exit'", {returns_7}, 0, "oex", 7, false, 0},
    {"worker.postMessage", {posts, posts, posts}, 3, "omx", 0, false, 0},
    {"terminate() of a computation", {computes}, 1, "omx", -ECANCELED, true, 0},
    {"terminate() of a loop", {posts}, 1, "omx", -ECANCELED, true, 0},
    {"terminate() of endless microtasks", {queues_without_end}, 1, "omx", -ECANCELED, true, 0},
    {"ref(), unref()", {posts, posts}, 0, "omx", 0, false, 0},
    {"process.exit(code)", {pauses, returns_7, posts, posts}, 0, "oex", 7, false, 2},
    {"queueMicrotask", {queues_a_post, queues_a_post, posts}, 5, "omx", 0, false, 0},
    {"setTimeout, setInterval, setImmediate", {starts_timers}, 4, "omx", 0, false, 0},
    {"process.on('SIGINT')", {has_no_signals}, 0, "ox", 0, false, 0},
};

static void run_row(const struct test_case *test)
{
    const struct row *row = rows;
    while (strcmp(row->name, test->test->name) != 0) {
        row++;
    }
    worker_spawn();
    for (size_t i = 0; i < COUNT(row->script) && row->script[i]; i++) {
        tell(worker.port, row->script[i]);
    }
    gate_open(&gate);
    tenant_await(&worker, row->messages);
    if (row->stop) {
        strait_worker_stop(worker.worker);
    } else {
        tenant_close(&worker);
    }
    tenant_see_exit(&worker);
    tenant_free(&worker);
    assert_string_equal(worker.events, row->events);
    assert_int_equal(worker.messages, posted);
    assert_int_equal(worker.exit.code, row->code);
    assert_int_equal(worker.exit.reason, row->code == 0            ? STRAIT_EXIT_RETURNED
                                         : row->code == -ECANCELED ? STRAIT_EXIT_STOPPED
                                                                   : STRAIT_EXIT_FAILED);
    assert_int_equal(worker.warning.code, strchr(row->events, 'w') ? -ENOMEM : 0);
    assert_int_equal(worker.dropped, row->dropped);
    assert_int_equal(finis, 1);
}

/* ---- rows of the worker's that no script shows ---- */

static int looks_at_its_data(struct strait_port *port, void *data)
{
    uint64_t number;
    EXPECT(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1);
    return *(const int *)data;
}

static void workerData(void)
{
    for (int copied = 0; copied <= 1; copied++) {
        struct tenant tenant = {.port = NULL};
        int data = 42;
        struct strait_worker_options options = {
            .entry = looks_at_its_data,
            .data = &data,
            .data_size = copied ? sizeof(data) : 0,
            .event = tenant_event,
            .context = &tenant,
        };
        assert_returns(strait_worker_spawn(&tenant.worker, &options), 0);
        data = 43;
        post(strait_worker_port(tenant.worker), 0);
        tenant_see_exit(&tenant);
        tenant_free(&tenant);
        assert_int_equal(tenant.exit.code, copied ? 42 : 43);
    }
}

static int init_fails(UNUSED struct strait_port *port, UNUSED void *data)
{
    return -EIO;
}

static void ERR_WORKER_INIT_FAILED(void)
{
    static const struct {
        struct strait_worker_options options;
        int error;
    } cases[] = {
        {{.entry = NULL}, -EINVAL},
        {{.entry = looks_at_its_data, .name = "sixteen-letters!"}, -EINVAL},
        {{.entry = looks_at_its_data, .init = init_fails}, -EIO},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct strait_worker *none;
        assert_returns(strait_worker_spawn(&none, &cases[i].options), cases[i].error);
    }
}

ENTRY(is_deaf)
{
    gate_wait(&gate);
    return -ECANCELED;
}

static void terminate_of_a_deaf_worker(void)
{
    struct strait_worker *stuck;
    worker_spawn();
    tell(worker.port, is_deaf);
    gate_await(&gate, 1);
    strait_worker_stop(worker.worker);
    assert_returns(strait_workers_join(&worker.worker, 1, strait_deadline(1000000), &stuck),
                   -ETIMEDOUT);
    assert_ptr_equal(stuck, worker.worker);
    assert_returns(strait_worker_destroy(worker.worker), -EBUSY); /* as `await using` would */
    gate_open(&gate);
    tenant_see_exit(&worker);
    tenant_free(&worker);
}

ENTRY(allocates)
{
    strait_heap_free(isolate, strait_heap_alloc(isolate, 30000));
    EXPECT(strait_heap_alloc(isolate, 10000) != NULL);
    EXPECT(strait_heap_alloc(isolate, 2 * HEAP_LIMIT) == NULL); /* what is refused is not used */
    return posts(isolate);
}

static void eventLoopUtilization_cpuUsage_getHeapStatistics(void)
{
    worker_spawn();
    tell(worker.port, allocates);
    tenant_await(&worker, 1);
    struct strait_usage usage = usage_of(&worker);
    while (usage.idle_ns == 0 || usage.messages == 0) {
        sleep_ns(GATE_NAP_NS);
        usage = usage_of(&worker);
    }
    assert_int_equal(usage.messages, 1);
    assert_true(usage.online_ns > usage.idle_ns); /* the rest is active */
    assert_in_range(usage.heap_used, 10000, 10100);
    assert_in_range(usage.heap_highest, 30000, 30100);
    tenant_end(&worker);
}

static void fifty_thousand_messages_at_once(void)
{
    ptrdiff_t told;
    worker_spawn();
    tell(worker.port, posts_50000);
    tenant_close(&worker);
    assert_returns(strait_worker_join(worker.worker, STRAIT_FOREVER), 0);
    while ((told = strait_worker_dispatch(worker.worker, 0)) != -EPIPE) {
        assert_in_range(told, 1, STRAIT_BUDGET);
        assert_true(readable(strait_worker_fd(worker.worker), 0) || worker.exit.type);
    }
    assert_int_equal(worker.messages, 50000);
    tenant_free(&worker);
}

static void inherit(UNUSED void *context)
{
    int join = strait_worker_join(worker.worker, STRAIT_FOREVER);
    _exit(join == -EOWNERDEAD && strait_worker_destroy(worker.worker) == -EOWNERDEAD ? 0 : 1);
}

static void fork_with_workers_alive(void)
{
    char said[64];
    worker_spawn();
    int status = in_child(inherit, NULL, said, sizeof(said));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    tenant_end(&worker);
}

/* ---- rows of ports ---- */

static struct strait_port a;
static struct strait_port b;

static void ports_open(size_t capacity, strait_drop_fn *drop)
{
    const struct strait_port_options options = {
        .forth = {.capacity = capacity, .message_size = 4 * sizeof(uint64_t)},
        .back = {.receiver = STRAIT_WAIT_FD},
        .drop_forth = drop,
        .context = &worker,
    };
    assert_returns(strait_port_pair(&a, &b, &options), 0);
}

static void ports_close(void)
{
    strait_port_close(&a);
    strait_port_close(&b);
}

/* A copy of fixed size, in a queue that may be full; it waits until somebody receives. Empty and
 * ended are different answers. */
static void postMessage_start_receiveMessageOnPort(void)
{
    uint64_t mine[4] = {7};
    uint64_t theirs[4] = {0};
    ports_open(1, NULL);
    assert_returns(strait_try_receive(&b.receiver, theirs, 1), -EAGAIN);
    assert_returns(strait_try_send(&a.sender, mine, 1), 1);
    assert_returns(strait_try_send(&a.sender, mine, 1), -EAGAIN);
    mine[0] = 8;
    strait_port_close(&a);
    assert_returns(strait_try_receive(&b.receiver, theirs, 1), 1);
    assert_int_equal(theirs[0], 7);
    assert_returns(strait_try_receive(&b.receiver, theirs, 1), -EPIPE);
    ports_close();
}

/* The one that the next message points to. */
static struct strait_port *adopt_next(struct strait_isolate *isolate)
{
    struct strait_port *port = (struct strait_port *)(uintptr_t)receive_next(isolate);
    strait_port_adopt(port);
    return port;
}

/* Forwards what comes there to its parent, until its end. */
ENTRY(takes_a_port)
{
    struct strait_port *port = adopt_next(isolate);
    uint64_t message[4];
    while (strait_receive(&port->receiver, message, 1, STRAIT_FOREVER) == 1) {
        post(strait_isolate_port(isolate), message[0]);
    }
    strait_port_close(port);
    return 0;
}

ENTRY(speaks_at_a_port)
{
    struct strait_port *port = adopt_next(isolate);
    for (uint64_t message[4] = {1}; message[0] < 3; message[0]++) {
        EXPECT(strait_send(&port->sender, message, 1, STRAIT_FOREVER) == 1);
    }
    strait_port_close(port);
    return 0;
}

static void hand_over(const struct tenant *to, step_fn *step, struct strait_port *end)
{
    strait_port_give(end);
    tell(to->port, step);
    post(to->port, (uintptr_t)end);
}

/* Two workers talk past their parent; what was queued comes along. */
static void transferList_MessagePort(void)
{
    struct tenant talker = {.inner = {.message = take_step}};
    uint64_t message[4] = {0};
    worker_spawn();
    tenant_spawn(&talker);
    ports_open(4, NULL);
    assert_returns(strait_try_send(&a.sender, message, 1), 1);
    hand_over(&worker, takes_a_port, &b);
    hand_over(&talker, speaks_at_a_port, &a);
    tenant_end(&talker);
    tenant_end(&worker);
    assert_int_equal(worker.messages, 3);
}

static int shared;

ENTRY(changes_the_shared)
{
    EXPECT(shared == 42);
    shared++;
    return posts(isolate);
}

static void SharedArrayBuffer(void)
{
    worker_spawn();
    shared = 42;
    tell(worker.port, changes_the_shared);
    tenant_await(&worker, 1);
    assert_int_equal(shared, 43);
    tenant_end(&worker);
}

/* The fd becomes readable for it. After that, a message is refused. */
static void close_event_and_postMessage_after_it(void)
{
    uint64_t message[4] = {0};
    ports_open(1, NULL);
    int fd = strait_receiver_fd(&a.receiver);
    assert_int_equal(strait_receiver_arm(&a.receiver), 1);
    assert_false(readable(fd, 0));
    strait_port_close(&b);
    assert_true(readable(fd, 0));
    assert_returns(strait_receive(&a.receiver, message, 1, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_try_send(&a.sender, message, 1), -EPIPE);
    ports_close();
}

/* One direction alone; what nobody received is dropped, once. */
static void port_close(void)
{
    const uint64_t messages[2][4] = {{0}, {1}};
    uint64_t number = 0;
    ports_open(2, tenant_drop);
    worker.dropped = 0;
    assert_returns(strait_try_send(&a.sender, messages, 2), 2);
    strait_receiver_close(&b.receiver);
    assert_returns(strait_try_send(&a.sender, messages, 1), -EPIPE);
    assert_returns(strait_try_send(&b.sender, &number, 1), 1);
    assert_returns(strait_try_receive(&a.receiver, &number, 1), 1);
    assert_int_equal(worker.dropped, 0);
    ports_close();
    ports_close();
    assert_int_equal(worker.dropped, 2);
}

int main(void)
{
    static struct test tests[COUNT(rows) + 32] = {
        ONCE(workerData),
        ONCE(postMessage_start_receiveMessageOnPort),
        ONCE(transferList_MessagePort),
        ONCE(SharedArrayBuffer),
        ONCE(close_event_and_postMessage_after_it),
        ONCE(port_close),
        ONCE(ERR_WORKER_INIT_FAILED),
        ONCE(terminate_of_a_deaf_worker),
        ONCE(eventLoopUtilization_cpuUsage_getHeapStatistics),
        ONCE(fifty_thousand_messages_at_once),
        ONCE(fork_with_workers_alive),
    };
    size_t count = 0;
    while (tests[count].name) {
        count++;
    }
    for (size_t i = 0; i < COUNT(rows); i++) {
        tests[count++] = (struct test){rows[i].name, NULL, run_row, PER_PROGRAM};
    }
    return run_table("extra_node", tests, count);
}
