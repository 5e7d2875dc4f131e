/* SPDX-License-Identifier: MIT */
/* pool, under stress: random tasks, cancels, budgets and closes, and an account of every task. */
#include "life.h"

#define TICKETS 4096 /* tasks in flight, at most */

/* What is known of one submission; the next one that uses the place has another serial. */
struct ticket {
    uint64_t serial;
    strait_task_id id;
    bool live;
    bool surely_cancelled;
    bool asked; /* a cancel found it running */
    _Atomic uint64_t ran;
};

struct load {
    struct strait_pool *pool;
    struct ticket tickets[TICKETS];
    uint64_t seed;
    uint64_t submitted;
    uint64_t completed;
    uint64_t counts[3]; /* by status */
    uint64_t rooms;
    unsigned flavour;
    bool cancels_all; /* the close does */
};

static struct load load;

/* Travels in the task's data. */
struct order {
    uint32_t place;
    uint32_t kind;
    uint64_t serial;
    uint64_t echo;
};

enum kind {
    QUICK,
    NAP,
    PATIENT, /* waits for its cancel, but not for ever */
    FAILS,
    MICRO,
    KINDS,
};

static void micro(struct strait_isolate *isolate, void *argument)
{
    struct strait_task *task = argument; /* still ours: it is a part of the task */
    struct order order;
    (void)isolate;
    memcpy(&order, task->data, sizeof(order));
    order.echo = mix(order.serial);
    memcpy(task->data, &order, sizeof(order));
}

static int run(struct strait_task *task)
{
    struct order order;
    memcpy(&order, task->data, sizeof(order));
    atomic_fetch_add(&load.tickets[order.place].ran, 1);
    if (order.kind == MICRO) {
        return strait_microtask(strait_isolate_current(), micro, task) ? 77 : 0;
    }
    if (order.kind == NAP) {
        dawdle(order.serial % 3000);
    }
    for (int i = 0; order.kind == PATIENT && i < 50; i++) {
        if (strait_task_cancelled(task)) {
            return -ECANCELED;
        }
        sched_yield();
    }
    order.echo = mix(order.serial);
    memcpy(task->data, &order, sizeof(order));
    return order.kind == FAILS ? (int)(order.serial % 1000 + 1) : 0;
}

static void check_run(const struct strait_task *task, const struct ticket *ticket,
                      const struct order *order)
{
    EXPECT(atomic_load(&ticket->ran) == 1);
    if (task->status == STRAIT_TASK_CANCELLED) { /* by itself, when it was asked to */
        EXPECT(ticket->asked && order->kind == PATIENT);
        return;
    }
    EXPECT(order->echo == mix(order->serial));
    EXPECT((task->status == STRAIT_TASK_FAILED) == (order->kind == FAILS));
    EXPECT(task->code == (order->kind == FAILS ? (int)(order->serial % 1000 + 1) : 0));
}

static void submit_one(void);
static void cancel_one(void);

static void done(struct strait_task *task)
{
    struct order order;
    memcpy(&order, task->data, sizeof(order));
    struct ticket *ticket = &load.tickets[order.place];
    EXPECT(ticket->live && ticket->serial == order.serial);
    if (ticket->surely_cancelled || atomic_load(&ticket->ran) == 0) {
        EXPECT(task->status == STRAIT_TASK_CANCELLED && task->code == -ECANCELED);
        EXPECT(atomic_load(&ticket->ran) == 0);
    } else {
        check_run(task, ticket, &order);
    }
    EXPECT(strait_pool_cancel(load.pool, ticket->id) == -ENOENT);
    load.counts[task->status]++;
    load.completed++;
    ticket->live = false;
    progress_made();
    if (load.flavour % 2 && draw_below(&load.seed, 8) == 0) {
        submit_one();
    }
    if (load.flavour % 3 == 1 && draw_below(&load.seed, 8) == 0) {
        cancel_one();
    }
}

static void submit_one(void)
{
    uint32_t place = (uint32_t)draw_below(&load.seed, TICKETS);
    struct ticket *ticket = &load.tickets[place];
    if (ticket->live) {
        return;
    }
    struct order order = {place, (uint32_t)draw_below(&load.seed, KINDS), load.submitted + 1, 0};
    struct strait_task task = {.run = run, .done = done};
    memcpy(task.data, &order, sizeof(order));
    strait_task_id stale = ticket->id;
    ticket->serial = order.serial;
    ticket->live = true;
    ticket->surely_cancelled = false;
    ticket->asked = false;
    atomic_store(&ticket->ran, 0);
    int error = strait_pool_submit(load.pool, &task, &ticket->id);
    if (error) {
        EXPECT(error == -EAGAIN || error == -EPIPE);
        ticket->live = false;
        return;
    }
    EXPECT(ticket->id != stale && ticket->id != 0);
    load.submitted++;
}

static void cancel_one(void)
{
    struct ticket *ticket = &load.tickets[draw_below(&load.seed, TICKETS)];
    if (ticket->id == 0) {
        return;
    }
    int error = strait_pool_cancel(load.pool, ticket->id);
    if (!ticket->live) {
        EXPECT(error == -ENOENT);
    } else if (ticket->surely_cancelled) {
        EXPECT(error == -EALREADY);
    } else if (error == 0) {
        ticket->surely_cancelled = true;
    } else {
        EXPECT(error == -EINPROGRESS || (error == -EALREADY && load.cancels_all));
        ticket->asked = error == -EINPROGRESS;
    }
}

static void count_room(struct strait_pool *pool, void *context)
{
    (void)pool;
    (void)context;
    load.rooms++;
}

static void check_stats(void)
{
    struct strait_pool_stats stats;
    strait_pool_stats(load.pool, &stats);
    EXPECT(stats.submitted == load.submitted);
    EXPECT(stats.done == load.counts[STRAIT_TASK_DONE]);
    EXPECT(stats.failed == load.counts[STRAIT_TASK_FAILED]);
    EXPECT(stats.cancelled == load.counts[STRAIT_TASK_CANCELLED]);
    EXPECT(stats.queued <= load.submitted && stats.running <= load.submitted);
    EXPECT(!(stats.submitted !=
             stats.done + stats.failed + stats.cancelled + stats.queued + stats.running));
}

/* Waits for the fd, so that a lost wake-up is a standstill, and the watchdog sees it. */
static void dispatch_some(void)
{
    struct pollfd poll_fd = {.fd = strait_pool_fd(load.pool), .events = POLLIN};
    bool waits = draw_below(&load.seed, 4) == 0;
    if (waits && load.completed < load.submitted) {
        poll(&poll_fd, 1, -1);
    }
    size_t budget = draw_below(&load.seed, 3) ? 0 : 1 + draw_below(&load.seed, 20);
    EXPECT(strait_pool_dispatch(load.pool, budget) >= 0);
    check_stats();
}

static void load_open(unsigned workers, size_t limit, enum strait_schedule schedule,
                      enum strait_wait wait)
{
    struct strait_pool_options options = {
        .workers = workers,
        .queue_limit = limit,
        .schedule = schedule,
        .wait = wait,
        .room = count_room,
    };
    uint64_t seed = load.seed;
    memset(&load, 0, sizeof(load));
    load.seed = seed;
    assert_returns(strait_pool_create(&load.pool, &options), 0);
}

static void load_close(enum strait_close mode)
{
    int error = 0;
    if (draw_below(&load.seed, 2)) {
        error = strait_pool_close(load.pool, STRAIT_CLOSE_DRAIN, strait_deadline(100000));
        EXPECT(error == 0 || error == -ETIMEDOUT);
        cancel_one();
        if (error) {
            strait_pool_dispatch(load.pool, 3);
        }
    }
    load.cancels_all = mode == STRAIT_CLOSE_CANCEL;
    assert_returns(strait_pool_close(load.pool, mode, STRAIT_FOREVER), 0);
    check_stats();
    assert_int_equal(load.completed, load.submitted);
    for (size_t i = 0; i < TICKETS; i++) {
        EXPECT(!load.tickets[i].live);
    }
    assert_no_faults();
    assert_returns(strait_pool_destroy(load.pool), 0);
}

static void random_load(unsigned workers, size_t limit, enum strait_schedule schedule, size_t steps)
{
    load_open(workers, limit, schedule, STRAIT_WAIT_PARK);
    load.flavour = (unsigned)draw_below(&load.seed, 6);
    for (size_t i = 0; i < steps; i++) {
        size_t burst = draw_below(&load.seed, 12);
        for (size_t k = 0; k < burst; k++) {
            submit_one();
        }
        for (size_t k = draw_below(&load.seed, 3); k > 0; k--) {
            cancel_one();
        }
        dispatch_some();
    }
    load_close(draw_below(&load.seed, 2) ? STRAIT_CLOSE_DRAIN : STRAIT_CLOSE_CANCEL);
}

static void two_workers_with_room(void **state)
{
    (void)state;
    random_load(2, 1024, STRAIT_SCHEDULE_NORMAL, scaled(30000));
}

static void four_workers_with_little_room(void **state)
{
    (void)state;
    random_load(4, 7, STRAIT_SCHEDULE_NORMAL, scaled(15000));
}

static void one_worker_with_room_for_one(void **state)
{
    (void)state;
    random_load(1, 1, STRAIT_SCHEDULE_NORMAL, scaled(15000));
}

static void idle_class_workers(void **state)
{
    (void)state;
    random_load(2, 64, STRAIT_SCHEDULE_IDLE, scaled(5000));
}

static void many_workers(void **state)
{
    (void)state;
    random_load(66, 300, STRAIT_SCHEDULE_NORMAL, scaled(2000));
}

/* Pools that are closed in the middle of everything. */
static void short_lives(void **state)
{
    (void)state;
    for (size_t i = 0; i < scaled(400); i++) {
        unsigned workers = 1 + (unsigned)draw_below(&load.seed, 4);
        random_load(workers, 1 + draw_below(&load.seed, 50), STRAIT_SCHEDULE_NORMAL,
                    draw_below(&load.seed, 20));
        progress_made();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(two_workers_with_room),
        life_test(four_workers_with_little_room),
        life_test(one_worker_with_room_for_one),
        life_test(idle_class_workers),
        life_test(many_workers),
        life_test(short_lives),
    };
    load.seed = first_seed((uint64_t)time(NULL));
    fprintf(stderr, "STRAIT_SEED=%llu\n", (unsigned long long)load.seed);
    watchdog_start();
    return cmocka_run_group_tests_name("pool under stress", tests, NULL, NULL);
}
