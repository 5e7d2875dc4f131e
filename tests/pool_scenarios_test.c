/* SPDX-License-Identifier: MIT */
/*
 * pool_scenarios_test: what the test suites of well-known pools ask of those, asked of this one.
 *
 *   libuv             test-threadpool.c, test-threadpool-cancel.c
 *   Java              the JSR 166 tests of ThreadPoolExecutor and ExecutorCompletionService
 *   Go                errgroup: the first error, and SetLimit
 *   oneTBB, Rayon     waiting within tasks, deeper than there are workers
 *   Python            concurrent.futures: as_completed
 *   Piscina, Tokio    one queue of blocking calls; a chain of calls; a caller that goes away
 *   .NET              a pool whose tasks wait for tasks behind them
 *   GLib              GThreadPool: what is unprocessed is counted, and may be moved to the front
 *   Node              a producer that is refused pauses until it is told of room
 *   folly, crossbeam  chains of tasks from within tasks; waiting where nothing may wait
 */
#include "life.h"

static struct strait_pool *pool;
static struct strait_parent *parent;

static void open_with(const struct strait_pool_options *options)
{
    struct strait_parent_options own = {.wait = STRAIT_WAIT_PARK};
    assert_returns(strait_pool_create(&pool, options), 0);
    assert_returns(strait_pool_attach(pool, &parent, &own), 0);
}

static void open_of(unsigned workers, size_t queue_limit)
{
    struct strait_pool_options options = {
        .workers = workers, .queue_limit = queue_limit, .schedule = STRAIT_SCHEDULE_NORMAL};
    open_with(&options);
}

static void end(void)
{
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_pool_destroy(pool), 0);
    assert_no_faults();
    progress_made();
}

static void wait_all(struct strait_group *group)
{
    assert_returns(strait_group_wait(parent, group, STRAIT_FOREVER), 0);
}

static strait_task_id submit(const struct strait_task *task, struct strait_group *group)
{
    struct strait_submit_options how = {.group = group};
    strait_task_id id = 0;
    assert_returns(strait_task_submit(parent, task, &how, &id), 0);
    return id;
}

static int nothing(struct strait_task *task)
{
    (void)task;
    return 0;
}

/* ---- libuv ---- */

static unsigned cancelled;
static unsigned succeeded;

static void counts_ends(struct strait_task *task)
{
    cancelled += task->status == STRAIT_TASK_CANCELLED;
    succeeded += task->status == STRAIT_TASK_DONE;
}

/* Every worker is blocked; what is queued behind is cancelled, and the loop ends with all told. */
static void saturated_workers_and_cancelled_work(void **state)
{
    struct gate gate = {0};
    struct strait_group group = {0};
    struct strait_task blocker = {.run = waits_at_gate, .done = counts_ends, .context = &gate};
    struct strait_task work = {.run = nothing, .done = counts_ends};
    strait_task_id ids[16];
    (void)state;
    open_of(4, 0);
    cancelled = succeeded = 0;
    for (unsigned i = 0; i < 4; i++) {
        submit(&blocker, &group);
    }
    gate_await(&gate, 4);
    for (unsigned i = 0; i < 16; i++) {
        ids[i] = submit(&work, &group);
    }
    for (unsigned i = 0; i < 16; i++) {
        assert_returns(strait_task_cancel(parent, ids[i]), 0);
    }
    gate_open(&gate);
    wait_all(&group);
    assert_int_equal(cancelled, 16);
    assert_int_equal(succeeded, 4);
    end();
}

struct loop {
    _Atomic unsigned completions;
    int32_t thread;
};

static void on_its_loop(struct strait_task *task)
{
    struct loop *loop = task->context;
    EXPECT(thread_number() == loop->thread);
    loop->completions++;
}

static void *run_loop(void *context)
{
    struct loop *loop = context;
    struct strait_parent *own;
    struct strait_task task = {.run = nothing, .done = on_its_loop, .context = loop};
    loop->thread = thread_number();
    EXPECT(strait_pool_attach(pool, &own, NULL) == 0);
    for (unsigned i = 0; i < 200; i++) {
        EXPECT(strait_task_submit(own, &task, NULL, NULL) == 0);
    }
    while (loop->completions < 200) {
        EXPECT(readable(strait_parent_fd(own), 60000));
        EXPECT(strait_parent_dispatch(own, 16) >= 0);
    }
    EXPECT(strait_parent_detach(own, STRAIT_FOREVER) == 0);
    return NULL;
}

static void several_loops_share_the_workers(void **state)
{
    struct loop loops[3] = {0};
    pthread_t threads[3];
    (void)state;
    open_of(2, 0);
    for (unsigned i = 0; i < 3; i++) {
        thread_start(&threads[i], run_loop, &loops[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        thread_join(threads[i]);
        assert_int_equal(loops[i].completions, 200);
    }
    end();
}

/* ---- Java ---- */

static int fails(struct strait_task *task)
{
    (void)task;
    return -EIO;
}

/* A task that throws does not take its worker along. */
static void failing_tasks_kill_no_worker(void **state)
{
    struct strait_pool_worker_stats before, after;
    struct strait_group group = {0};
    struct strait_task bad = {.run = fails};
    struct strait_task good = {.run = nothing, .done = counts_ends};
    (void)state;
    open_of(1, 0);
    succeeded = 0;
    assert_returns(strait_pool_worker_stats(pool, 0, &before), 0);
    for (unsigned i = 0; i < 200; i++) {
        submit(i % 2 ? &good : &bad, &group);
    }
    wait_all(&group);
    assert_int_equal(succeeded, 100);
    assert_returns(strait_pool_worker_stats(pool, 0, &after), 0);
    assert_int_equal(before.thread, after.thread);
    end();
}

static int squares(struct strait_task *task)
{
    unsigned n;
    memcpy(&n, task->data, sizeof(n));
    n *= n;
    memcpy(task->data, &n, sizeof(n));
    return 0;
}

static void keeps_result(struct strait_task *task)
{
    memcpy(task->context, task->data, sizeof(unsigned));
}

/* invokeAll: all results, each in its place. */
static void all_results_in_their_places(void **state)
{
    unsigned results[500] = {0};
    struct strait_group group = {0};
    (void)state;
    open_of(3, 0);
    for (unsigned i = 0; i < 500; i++) {
        struct strait_task task = {.run = squares, .done = keeps_result, .context = &results[i]};
        memcpy(task.data, &i, sizeof(i));
        submit(&task, &group);
    }
    wait_all(&group);
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(results[i], i * i);
    }
    end();
}

static struct strait_group race;
static unsigned winners;

static int is_first_or_told(struct strait_task *task)
{
    while (task->data[0] && !strait_task_cancelled(task)) {
        sleep_ns(GATE_NAP_NS);
    }
    return task->data[0] ? -ECANCELED : 0;
}

static void first_one_wins(struct strait_task *task)
{
    if (task->status == STRAIT_TASK_DONE) {
        winners++;
        strait_group_cancel(parent, &race);
    }
}

/* invokeAny: the first result cancels the rest, those that run and those that wait. */
static void the_first_result_cancels_the_rest(void **state)
{
    (void)state;
    open_of(3, 0);
    memset(&race, 0, sizeof(race));
    winners = 0;
    for (unsigned i = 0; i < 10; i++) {
        struct strait_task task = {.run = is_first_or_told, .done = first_one_wins};
        task.data[0] = i != 1;
        submit(&task, &race);
    }
    wait_all(&race);
    assert_int_equal(winners, 1);
    end();
}

/* shutdownNow: what never ran and what ran are all there is. */
static void a_shutdown_accounts_for_every_task(void **state)
{
    struct gate gate = {0};
    struct strait_task blocker = {.run = waits_at_gate, .context = &gate};
    struct strait_task work = {.run = nothing};
    struct strait_pool_stats stats;
    (void)state;
    open_of(2, 0);
    submit(&blocker, NULL);
    submit(&blocker, NULL);
    gate_await(&gate, 2);
    for (unsigned i = 0; i < 100; i++) {
        submit(&work, NULL);
    }
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, 0, NULL), -ETIMEDOUT);
    gate_open(&gate);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    strait_pool_stats(pool, &stats);
    assert_int_equal(stats.done, 2);
    assert_int_equal(stats.abandoned, 100);
    assert_returns(strait_pool_destroy(pool), 0);
}

/* ---- Go ---- */

static struct strait_group errgroup;
static int first_error;

static void notes_error(struct strait_task *task)
{
    if (task->status == STRAIT_TASK_FAILED && !first_error) {
        first_error = task->code;
        strait_group_cancel(parent, &errgroup);
    }
}

static int fails_or_waits(struct strait_task *task)
{
    if (task->data[0] == 0) {
        return 42;
    }
    while (!strait_task_cancelled(task)) {
        sleep_ns(GATE_NAP_NS);
    }
    return -ECANCELED;
}

static void the_first_error_ends_the_group(void **state)
{
    (void)state;
    open_of(2, 0);
    memset(&errgroup, 0, sizeof(errgroup));
    first_error = 0;
    for (unsigned i = 0; i < 6; i++) {
        struct strait_task task = {.run = fails_or_waits, .done = notes_error};
        task.data[0] = i != 1;
        submit(&task, &errgroup);
    }
    wait_all(&errgroup);
    assert_int_equal(first_error, 42);
    end();
}

static _Atomic int active;
static _Atomic int active_most;

static int counts_active(struct strait_task *task)
{
    int now = atomic_fetch_add(&active, 1) + 1;
    int most = atomic_load(&active_most);
    while (now > most && !atomic_compare_exchange_weak(&active_most, &most, now)) {
    }
    dawdle(500);
    atomic_fetch_sub(&active, 1);
    (void)task;
    return 0;
}

static void no_more_run_than_there_are_workers(void **state)
{
    struct strait_group group = {0};
    struct strait_task task = {.run = counts_active};
    (void)state;
    open_of(3, 0);
    atomic_store(&active_most, 0);
    for (unsigned i = 0; i < 1000; i++) {
        submit(&task, &group);
    }
    wait_all(&group);
    assert_in_range(active_most, 1, 3);
    end();
}

/* ---- oneTBB and Rayon ---- */

struct part {
    uint32_t *from;
    size_t count;
};

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Those below the middle one to the front; how many there are. */
static size_t partition(struct part part, uint32_t middle)
{
    size_t below = 0;
    for (size_t i = 0; i < part.count; i++) {
        if (part.from[i] < middle) {
            uint32_t value = part.from[i];
            part.from[i] = part.from[below];
            part.from[below++] = value;
        }
    }
    return below;
}

static int sorts(struct strait_task *task)
{
    struct part part;
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    struct strait_parent *self = strait_parent_current();
    memcpy(&part, task->data, sizeof(part));
    size_t below = part.count > 64 ? partition(part, part.from[part.count / 2]) : 0;
    if (below == 0) {
        qsort(part.from, part.count, sizeof(uint32_t), by_value);
        return 0;
    }
    struct part halves[2] = {{part.from, below}, {part.from + below, part.count - below}};
    for (unsigned i = 0; i < 2; i++) {
        struct strait_task half = {.run = sorts};
        memcpy(half.data, &halves[i], sizeof(halves[i]));
        EXPECT(strait_task_submit(self, &half, &how, NULL) == 0);
    }
    EXPECT(strait_group_wait(self, &group, STRAIT_FOREVER) == 0);
    return 0;
}

static void quicksort_by_joins(void **state)
{
    enum { COUNT = 50000 };
    uint32_t *values = malloc(COUNT * sizeof(*values));
    uint64_t seed = first_seed(5);
    uint64_t sum = 0;
    (void)state;
    for (unsigned workers = 1; workers <= 4; workers++) {
        struct part whole = {values, COUNT};
        struct strait_task task = {.run = sorts};
        struct strait_group group = {0};
        for (size_t i = 0; i < COUNT; i++) {
            values[i] = (uint32_t)draw(&seed);
            sum += values[i];
        }
        open_of(workers, 0);
        memcpy(task.data, &whole, sizeof(whole));
        submit(&task, &group);
        wait_all(&group);
        end();
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(i == 0 || values[i - 1] <= values[i]);
            sum -= values[i];
        }
        assert_int_equal(sum, 0);
    }
    free(values);
}

/* Each waits for the next, far deeper than there are workers. */
static int goes_down(struct strait_task *task)
{
    unsigned depth;
    struct strait_parent *self = strait_parent_current();
    struct strait_task next = {.run = goes_down, .context = task->context};
    strait_task_id id;
    memcpy(&depth, task->data, sizeof(depth));
    atomic_fetch_add((_Atomic unsigned *)task->context, 1);
    if (depth == 0) {
        return 0;
    }
    depth--;
    memcpy(next.data, &depth, sizeof(depth));
    EXPECT(strait_task_submit(self, &next, NULL, &id) == 0);
    EXPECT(strait_task_wait(self, id, STRAIT_FOREVER) == 0);
    return 0;
}

static void waits_nest_deeper_than_workers(void **state)
{
    _Atomic unsigned visits = 0;
    unsigned depth = 100;
    struct strait_task task = {.run = goes_down, .context = &visits};
    struct strait_group group = {0};
    (void)state;
    open_of(2, 0);
    memcpy(task.data, &depth, sizeof(depth));
    for (unsigned i = 0; i < 4; i++) {
        submit(&task, &group);
    }
    wait_all(&group);
    assert_int_equal(visits, 4 * 101);
    end();
}

static unsigned number_of(const struct strait_task *task)
{
    unsigned n;
    memcpy(&n, task->data, sizeof(n));
    return n;
}

static int fibonacci(struct strait_task *task);

static void adds_up(struct strait_task *task)
{
    *(unsigned *)task->context += number_of(task);
}

static void submit_fibonacci(struct strait_parent *self, unsigned n, unsigned *sum,
                             struct strait_group *group)
{
    struct strait_task task = {.run = fibonacci, .done = adds_up, .context = sum};
    struct strait_submit_options how = {.group = group};
    memcpy(task.data, &n, sizeof(n));
    EXPECT(strait_task_submit(self, &task, &how, NULL) == 0);
}

/* The sum lies on the stack of the one that waits: completions run there and nowhere else. */
static int fibonacci(struct strait_task *task)
{
    unsigned n = number_of(task);
    unsigned sum = n;
    struct strait_group group = {0};
    struct strait_parent *self = strait_parent_current();
    if (n > 1) {
        sum = 0;
        submit_fibonacci(self, n - 1, &sum, &group);
        submit_fibonacci(self, n - 2, &sum, &group);
        EXPECT(strait_group_wait(self, &group, STRAIT_FOREVER) == 0);
    }
    memcpy(task->data, &sum, sizeof(sum));
    return 0;
}

static void fibonacci_by_joins(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 3; workers++) {
        unsigned sum = 0;
        struct strait_group group = {0};
        open_of(workers, 0);
        submit_fibonacci(parent, 15, &sum, &group);
        wait_all(&group);
        assert_int_equal(sum, 610);
        end();
    }
}

static _Atomic unsigned children_run;

static int counts_itself(struct strait_task *task)
{
    atomic_fetch_add(&children_run, 1);
    (void)task;
    return 0;
}

static int has_many_children(struct strait_task *task)
{
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    struct strait_task child = {.run = counts_itself};
    struct strait_parent *self = strait_parent_current();
    for (unsigned i = 0; i < 64; i++) {
        EXPECT(strait_task_submit_wait(self, &child, &how, NULL, STRAIT_FOREVER) == 0);
    }
    EXPECT(strait_group_wait(self, &group, STRAIT_FOREVER) == 0);
    EXPECT(group.pending == 0);
    (void)task;
    return 0;
}

/* All workers are in tasks that have more children than there are workers, or places. */
static void more_children_than_workers_and_places(void **state)
{
    struct strait_group group = {0};
    struct strait_task task = {.run = has_many_children};
    (void)state;
    open_of(2, 8);
    atomic_store(&children_run, 0);
    for (unsigned i = 0; i < 6; i++) {
        submit(&task, &group);
    }
    wait_all(&group);
    assert_int_equal(children_run, 6 * 64);
    end();
}

/* ---- Python ---- */

static unsigned finished[3];
static unsigned finished_count;

static void notes_finish(struct strait_task *task)
{
    finished[finished_count++] = task->data[0];
}

/* as_completed: in the order in which they end, not in that of their submits. */
static void completions_come_as_tasks_end(void **state)
{
    struct gate gates[3] = {{0}, {0}, {0}};
    (void)state;
    open_of(3, 0);
    finished_count = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct strait_task task = {
            .run = waits_at_gate, .done = notes_finish, .context = &gates[i]};
        task.data[0] = (unsigned char)i;
        submit(&task, NULL);
    }
    for (unsigned i = 3; i-- > 0;) {
        unsigned before = finished_count;
        gate_open(&gates[i]);
        while (finished_count == before) {
            assert_true(strait_parent_poll(parent, 0) >= 0);
            sleep_ns(GATE_NAP_NS);
        }
        assert_int_equal(finished[before], i);
    }
    end();
}

/* ---- Piscina and Tokio ---- */

static unsigned chain_left;

static void next_link(struct strait_task *task)
{
    if (chain_left-- > 1) {
        struct strait_task next = {.run = nothing, .done = next_link};
        assert_returns(strait_task_submit(parent, &next, NULL, NULL), 0);
    }
    (void)task;
}

/* Each completion submits the next, through a queue of one; the stack does not grow. */
static void a_long_chain_of_completions(void **state)
{
    struct strait_task first = {.run = nothing, .done = next_link};
    (void)state;
    open_of(1, 1);
    chain_left = (unsigned)scaled(20000);
    submit(&first, NULL);
    while (chain_left > 0) {
        assert_true(strait_parent_poll(parent, 0) >= 0);
    }
    end();
}

static int naps(struct strait_task *task)
{
    (void)task;
    sleep_ns(200000);
    return 0;
}

/* Many more blocking calls than workers or places, from a caller that waits for its turn. */
static void blocking_calls_in_a_short_queue(void **state)
{
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    struct strait_task task = {.run = naps, .done = counts_ends};
    (void)state;
    open_of(8, 2);
    succeeded = 0;
    for (unsigned i = 0; i < 300; i++) {
        assert_returns(strait_task_submit_wait(parent, &task, &how, NULL, STRAIT_FOREVER), 0);
    }
    wait_all(&group);
    assert_int_equal(succeeded, 300);
    end();
}

static _Atomic unsigned noticed;

static int until_nobody_wants_it(struct strait_task *task)
{
    gate_wait(task->context);
    while (!strait_task_cancelled(task)) {
        sleep_ns(GATE_NAP_NS);
    }
    atomic_fetch_add(&noticed, 1);
    return -ECANCELED;
}

static void *call_and_go(void *context)
{
    struct strait_parent *own;
    struct strait_task task = {.run = until_nobody_wants_it, .context = context};
    EXPECT(strait_pool_attach(pool, &own, NULL) == 0);
    for (unsigned i = 0; i < 2; i++) {
        EXPECT(strait_task_submit(own, &task, NULL, NULL) == 0);
    }
    gate_await(context, 2);
    ptrdiff_t owed = strait_parent_detach(own, 0); /* a task may notice at once */
    EXPECT(owed >= 0 && owed <= 2);
    return NULL;
}

/* Its tasks notice, and the workers are free for others. */
static void a_caller_that_goes_away(void **state)
{
    struct gate gate = {.open = 1};
    struct strait_group group = {0};
    struct strait_task task = {.run = nothing};
    pthread_t caller;
    (void)state;
    open_of(2, 0);
    atomic_store(&noticed, 0);
    thread_start(&caller, call_and_go, &gate);
    thread_join(caller);
    submit(&task, &group);
    wait_all(&group);
    end();
    assert_int_equal(noticed, 2);
}

/* ---- .NET ---- */

static int opens(struct strait_task *task)
{
    gate_open(task->context);
    return 0;
}

/* Every worker waits for a task that is queued behind it: only another worker can help. */
static void a_pool_that_grows_out_of_a_deadlock(void **state)
{
    struct strait_pool_options options = {
        .workers = 2, .workers_max = 4, .schedule = STRAIT_SCHEDULE_NORMAL};
    struct gate gate = {0};
    struct strait_group group = {0};
    struct strait_task waiter = {.run = waits_at_gate, .context = &gate};
    struct strait_task opener = {.run = opens, .context = &gate};
    (void)state;
    open_with(&options);
    for (unsigned i = 0; i < 3; i++) {
        submit(&waiter, &group);
    }
    submit(&opener, &group);
    wait_all(&group);
    end();
}

/* ---- GLib ---- */

static unsigned order[8];
static _Atomic unsigned ordered;

static int notes_order(struct strait_task *task)
{
    order[atomic_fetch_add(&ordered, 1)] = task->data[0];
    return 0;
}

static uint64_t unprocessed(void)
{
    struct strait_pool_stats stats;
    strait_pool_stats(pool, &stats);
    return stats.queued;
}

static void what_is_unprocessed_moves_to_the_front(void **state)
{
    static const unsigned expected[] = {3, 0, 1, 2, 4};
    struct strait_submit_options front = {.priority = STRAIT_PRIORITY_HIGH};
    struct gate gate = {0};
    struct strait_task blocker = {.run = waits_at_gate, .context = &gate};
    struct strait_task task = {.run = notes_order};
    strait_task_id ids[5];
    (void)state;
    open_of(1, 0);
    atomic_store(&ordered, 0);
    submit(&blocker, NULL);
    gate_await(&gate, 1);
    for (unsigned i = 0; i < 5; i++) {
        task.data[0] = (unsigned char)i;
        ids[i] = submit(&task, NULL);
        assert_int_equal(unprocessed(), i + 1);
    }
    assert_returns(strait_task_cancel(parent, ids[3]), 0);
    task.data[0] = 3;
    assert_returns(strait_task_submit(parent, &task, &front, &ids[3]), 0);
    gate_open(&gate);
    for (unsigned i = 0; i < 5; i++) {
        assert_returns(strait_task_wait(parent, ids[i], STRAIT_FOREVER), 0);
    }
    assert_int_equal(ordered, 5);
    assert_memory_equal(order, expected, sizeof(expected));
    assert_int_equal(unprocessed(), 0);
    end();
}

/* ---- Node ---- */

struct producer {
    unsigned left;
    unsigned pauses;
    bool paused;
};

static void produce(struct producer *producer)
{
    struct strait_task task = {.run = nothing, .done = counts_ends};
    while (producer->left > 0 && !producer->paused) {
        int result = strait_task_submit(parent, &task, NULL, NULL);
        producer->left -= result == 0;
        producer->paused = result == -EAGAIN;
        producer->pauses += producer->paused;
        assert_true(result == 0 || result == -EAGAIN);
    }
}

static void goes_on(struct strait_parent *own, void *context)
{
    struct producer *producer = context;
    assert_ptr_equal(own, parent);
    assert_true(producer->paused);
    producer->paused = false;
}

/* Nothing but `room` lets it go on. */
static void a_producer_pauses_until_there_is_room(void **state)
{
    struct producer producer = {.left = 5000};
    struct strait_pool_options options = {
        .workers = 2, .queue_limit = 4, .schedule = STRAIT_SCHEDULE_NORMAL};
    struct strait_parent_options own = {.room = goes_on, .context = &producer};
    struct gate gate = {0};
    struct strait_task blocker = {.run = waits_at_gate, .context = &gate};
    (void)state;
    succeeded = 0;
    assert_returns(strait_pool_create(&pool, &options), 0);
    assert_returns(strait_pool_attach(pool, &parent, &own), 0);
    submit(&blocker, NULL);
    submit(&blocker, NULL);
    gate_await(&gate, 2);
    produce(&producer);
    assert_int_equal(producer.left, 5000 - 4);
    gate_open(&gate);
    while (producer.left > 0 || strait_parent_owed(parent) > 0) {
        assert_true(readable(strait_parent_fd(parent), 60000));
        assert_true(strait_parent_dispatch(parent, 0) >= 0);
        produce(&producer);
    }
    assert_true(producer.pauses > 0);
    end();
    assert_int_equal(succeeded, 5000);
}

/* ---- folly and crossbeam ---- */

static _Atomic unsigned links_left;

static int submits_the_next(struct strait_task *task)
{
    if (atomic_fetch_sub(&links_left, 1) == 1) {
        gate_open(task->context);
        return 0;
    }
    struct strait_task next = {.run = submits_the_next, .context = task->context};
    EXPECT(strait_task_submit(strait_parent_current(), &next, NULL, NULL) == 0);
    return 0;
}

/* Each task submits the next and ends: any worker may take it, and none waits. */
static void a_long_chain_of_tasks(void **state)
{
    struct gate end_of_chain = {0};
    struct strait_task first = {.run = submits_the_next, .context = &end_of_chain};
    (void)state;
    open_of(2, 2);
    atomic_store(&links_left, (unsigned)scaled(20000));
    submit(&first, NULL);
    gate_wait(&end_of_chain);
    end();
    assert_int_equal(links_left, 0);
}

static _Atomic unsigned refusals;
static _Atomic unsigned extras;

/* On the only worker, as a completion of its own: nobody else makes room. */
static void may_submit_but_not_wait(struct strait_task *task)
{
    struct strait_parent *self = strait_parent_current();
    struct strait_task next = {.run = counts_itself};
    struct strait_submit_options how = {.group = task->context};
    strait_task_id id = 0;
    while (strait_task_submit(self, &next, &how, &id) == 0) {
        atomic_fetch_add(&extras, 1);
    }
    EXPECT(strait_task_submit_wait(self, &next, &how, NULL, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_task_wait(self, id, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_group_wait(self, task->context, STRAIT_FOREVER) == -EDEADLK);
    EXPECT(strait_parent_poll(self, 0) == -EDEADLK);
    EXPECT(strait_parent_detach(self, 0) == -EDEADLK);
    atomic_fetch_add(&refusals, 1);
}

static int has_such_a_child(struct strait_task *task)
{
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    struct strait_task child = {
        .run = counts_itself, .done = may_submit_but_not_wait, .context = &group};
    struct strait_parent *self = strait_parent_current();
    EXPECT(strait_task_submit(self, &child, &how, NULL) == 0);
    EXPECT(strait_group_wait(self, &group, STRAIT_FOREVER) == 0);
    (void)task;
    return 0;
}

/* The task that waits for its group waits for what the group's completions add to it, too. */
static void a_completion_submits_but_does_not_wait(void **state)
{
    struct strait_group group = {0};
    struct strait_task task = {.run = has_such_a_child};
    (void)state;
    open_of(1, 4);
    atomic_store(&refusals, 0);
    atomic_store(&extras, 0);
    atomic_store(&children_run, 0);
    for (unsigned i = 0; i < 4; i++) {
        submit(&task, &group);
        wait_all(&group);
        assert_int_equal(children_run, i + 1 + extras);
    }
    assert_int_equal(refusals, 4);
    assert_in_range(extras, 4, 16);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(saturated_workers_and_cancelled_work),
        life_test(several_loops_share_the_workers),
        life_test(failing_tasks_kill_no_worker),
        life_test(all_results_in_their_places),
        life_test(the_first_result_cancels_the_rest),
        life_test(a_shutdown_accounts_for_every_task),
        life_test(the_first_error_ends_the_group),
        life_test(no_more_run_than_there_are_workers),
        life_test(quicksort_by_joins),
        life_test(waits_nest_deeper_than_workers),
        life_test(fibonacci_by_joins),
        life_test(more_children_than_workers_and_places),
        life_test(completions_come_as_tasks_end),
        life_test(a_long_chain_of_completions),
        life_test(blocking_calls_in_a_short_queue),
        life_test(a_caller_that_goes_away),
        life_test(a_pool_that_grows_out_of_a_deadlock),
        life_test(what_is_unprocessed_moves_to_the_front),
        life_test(a_producer_pauses_until_there_is_room),
        life_test(a_long_chain_of_tasks),
        life_test(a_completion_submits_but_does_not_wait),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("pool_scenarios", tests, NULL, NULL);
}
