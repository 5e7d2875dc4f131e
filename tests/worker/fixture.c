/* SPDX-License-Identifier: MIT */
#include "worker/fixture.h"

/* ---- events ---- */

void log_event(struct strait_worker *worker, const struct strait_event *event, void *context)
{
    struct event_log *log = context;
    char *end = strchr(log->events, 0);
    uint64_t number;
    EXPECT(!log->worker || log->worker == worker);
    EXPECT(end == log->events || end[-1] != 'x');
    log->worker = worker;
    bool repeated = event->type == STRAIT_MESSAGE && end > log->events && end[-1] == 'm';
    if (!repeated && end < log->events + sizeof(log->events) - 1) {
        *end = "omwex"[event->type];
    }
    log->thread = thread_number();
    progress_made();
    if (event->type == STRAIT_MESSAGE) {
        memcpy(&number, event->message, sizeof(number));
        EXPECT(number == log->next);
        log->next = number + 1;
        log->messages++;
    } else if (event->type != STRAIT_ONLINE) {
        struct strait_event *seen[] = {&log->warning, &log->error, &log->exit};
        *seen[event->type - STRAIT_WARNING] = *event;
    }
}

void log_drop(void *message, void *log)
{
    atomic_fetch_add(&((struct event_log *)log)->dropped, 1);
}

struct strait_worker_options logged(struct event_log *log, strait_entry_fn *entry)
{
    struct strait_worker_options options = {
        .size = sizeof(options),
        .entry = entry,
        .to_worker = {.message_size = sizeof(uint64_t)},
        .to_parent = {.message_size = sizeof(uint64_t)},
        .event = log_event,
        .context = log,
    };
    memset(log, 0, sizeof(*log));
    return options;
}

/* ---- a worker's life ---- */

struct strait_worker *spawn_logged(struct event_log *log, strait_entry_fn *entry, void *data)
{
    struct strait_worker_options options = logged(log, entry);
    options.data = data;
    return spawn(&options);
}

struct strait_worker *spawn(const struct strait_worker_options *options)
{
    struct strait_worker *worker = NULL;
    assert_returns(strait_worker_spawn(&worker, options), 0);
    assert_non_null(worker);
    return worker;
}

struct strait_worker *spawn_entry(strait_entry_fn *entry, void *data)
{
    struct strait_worker_options options = {.entry = entry, .data = data};
    return spawn(&options);
}

/* One look: of all that is there. */
static ptrdiff_t dispatch(struct strait_worker *worker)
{
    ptrdiff_t told = strait_worker_dispatch(worker, 0);
    EXPECT(told >= 0 || told == -EPIPE);
    if (told == 0) {
        EXPECT(readable(strait_worker_fd(worker), -1));
    }
    return told;
}

void dispatch_until(struct strait_worker *worker, const struct event_log *log, size_t messages)
{
    while (log->messages < messages) {
        EXPECT(dispatch(worker) != -EPIPE);
    }
}

void dispatch_to_exit(struct strait_worker *worker)
{
    while (dispatch(worker) >= 0) {
    }
}

void join_and_destroy(struct strait_worker *worker)
{
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    assert_returns(strait_worker_destroy(worker), 0);
    progress_made();
}

void end_and_destroy(struct strait_worker *worker)
{
    strait_sender_close(&strait_worker_port(worker)->sender);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
}

void send_number(struct strait_worker *worker, uint64_t number)
{
    struct strait_port *port = strait_worker_port(worker);
    assert_int_equal(strait_send(&port->sender, &number, 1, STRAIT_FOREVER), 1);
}

struct strait_status status_of(const struct strait_worker *worker)
{
    struct strait_status status;
    errno = ERRNO_MARK;
    strait_worker_status(worker, &status);
    assert_int_equal(errno, ERRNO_MARK);
    return status;
}

/* ---- entries ---- */

int nothing_entry(struct strait_port *port, void *data)
{
    return 0;
}

int gate_entry(struct strait_port *port, void *gate)
{
    gate_wait(gate);
    return 0;
}

int three_entry(struct strait_port *port, void *data)
{
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT(strait_send(&port->sender, &i, 1, STRAIT_FOREVER) == 1);
    }
    return 0;
}

int echo_entry(struct strait_port *port, void *data)
{
    uint64_t number;
    ptrdiff_t received;
    while ((received = strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER)) == 1) {
        EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
    }
    return received == -EPIPE ? 0 : (int)received;
}

cpu_set_t own_cpus(void)
{
    cpu_set_t cpus;
    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    return cpus;
}

/* ---- ports ---- */

static void drop_forth(void *message, void *context)
{
    struct pair *pair = context;
    atomic_fetch_add(&pair->sum, *(uint64_t *)message);
    atomic_fetch_add(&pair->forth, 1);
}

static void drop_back(void *message, void *context)
{
    struct pair *pair = context;
    atomic_fetch_add(&pair->sum, *(uint64_t *)message);
    atomic_fetch_add(&pair->back, 1);
}

void pair_open(struct pair *pair, size_t capacity, enum strait_wait mode)
{
    struct strait_channel_options channel = {
        .capacity = capacity, .sender = mode, .receiver = mode};
    struct strait_port_options options = {
        .size = sizeof(options),
        .forth = channel,
        .back = channel,
        .drop_forth = drop_forth,
        .drop_back = drop_back,
        .context = pair,
    };
    memset(pair, 0, sizeof(*pair));
    options.forth.message_size = options.back.message_size = sizeof(uint64_t);
    assert_returns(strait_port_pair(&pair->a, &pair->b, &options), 0);
}

void pair_close(struct pair *pair, bool a_first, unsigned forth, unsigned back)
{
    errno = ERRNO_MARK;
    strait_port_close(a_first ? &pair->a : &pair->b);
    strait_port_close(a_first ? &pair->b : &pair->a);
    strait_port_close(&pair->a); /* again, which is nothing */
    strait_port_wake(&pair->a);
    assert_int_equal(errno, ERRNO_MARK);
    assert_int_equal(pair->forth, forth);
    assert_int_equal(pair->back, back);
}

void send_numbers(struct strait_port *port, uint64_t first, unsigned count)
{
    for (uint64_t number = first; number < first + count; number++) {
        assert_returns(strait_try_send(&port->sender, &number, 1), 1);
    }
}

void expect_numbers(struct strait_port *port, uint64_t first, unsigned count)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < count; i++) {
        assert_returns(strait_try_receive(&port->receiver, &number, 1), 1);
        assert_int_equal(number, first + i);
    }
}
