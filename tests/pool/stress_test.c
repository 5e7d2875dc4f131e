/* SPDX-License-Identifier: MIT */
/*
 * Every task runs at most once and completes exactly once, where it should and as it should, while
 * parents come and go, cancel, let tasks expire, wait, and submit from everywhere, the number of
 * workers changes, and the pool is closed in the middle of it.
 *
 * Each round is drawn from a seed, which a failure names. STRAIT_SEED and STRAIT_STRESS choose
 * another and more of them.
 */
#include "fixture.h"

#define PARENTS 3
#define ROUNDS 24
#define TASKS 20000 /* of each parent in a round */
#define RECENT 64   /* ids that a parent remembers, to cancel and wait for */
#define BATCH 8
#define CODE 7

/* What is known of a task. */
struct record {
    _Atomic unsigned ran;
    _Atomic unsigned done;
    _Atomic unsigned left; /* its parent cancels what it has */
    bool withdrawn;        /* strait_task_cancel said that it will never start */
    bool dated;            /* it had a deadline */
    uint32_t number;
    enum strait_priority priority;
    struct player *player;
};

struct round {
    struct strait_pool *pool;
    struct strait_pool_options options;
    size_t tasks;
    _Atomic uint64_t children;
    _Atomic uint64_t children_done;
    _Atomic unsigned over; /* 1: it is closing; 2: it has closed */
};

/* A thread that is a parent again and again. */
struct player {
    struct round *round;
    uint64_t seed;
    int32_t thread;
    struct strait_parent *parent;
    struct record *records;
    size_t taken;             /* records whose task the pool has */
    bool busy;                /* in a completion */
    bool submits;             /* the next record is in use */
    _Atomic uint32_t last[2]; /* the number of the task that started last, by priority */
    strait_task_id ids[RECENT];
    struct record *recent[RECENT];
    struct strait_group group; /* of some of its tasks */
};

/* All of the data is told by the record, before its task runs and after. */
static void data_write(struct strait_task *task, const struct record *record, bool after)
{
    for (unsigned i = 0; i < STRAIT_TASK_DATA / 8; i++) {
        uint64_t word = mix((uint64_t)(uintptr_t)record + 2 * i + after);
        memcpy(task->data + 8 * (size_t)i, &word, 8);
    }
}

static bool data_is(const struct strait_task *task, const struct record *record, bool after)
{
    struct strait_task expected;
    data_write(&expected, record, after);
    return memcmp(task->data, expected.data, STRAIT_TASK_DATA) == 0;
}

/* ---- on the workers ---- */

static int child_run(struct strait_task *task)
{
    atomic_fetch_add((_Atomic unsigned *)task->context, 1);
    return 0;
}

static void child_done(struct strait_task *task)
{
    struct round *round;
    memcpy(&round, task->data, sizeof(round));
    atomic_fetch_add(&round->children_done, 1);
}

/* A task with tasks of its own, which it waits for. */
static void have_children(struct round *round, struct strait_parent *self)
{
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    _Atomic unsigned ran = 0;
    struct strait_task child = {.run = child_run, .done = child_done, .context = &ran};
    memcpy(child.data, &round, sizeof(round));
    for (unsigned i = 0; i < 5; i++) {
        int error = strait_task_submit(self, &child, &how, NULL);
        EXPECT(error == 0 || error == -EAGAIN || error == -EPIPE);
        atomic_fetch_add(&round->children, error == 0);
    }
    size_t count = group.pending;
    EXPECT(strait_group_wait(self, &group, STRAIT_FOREVER) == 0);
    EXPECT(group.pending == 0 && atomic_load(&ran) <= count);
}

static int run(struct strait_task *task)
{
    struct record *record = task->context;
    struct player *player = record->player;
    uint64_t drawn = mix((uint64_t)(uintptr_t)record);
    struct strait_parent *self = strait_parent_current(); /* NULL: in place */
    EXPECT(atomic_fetch_add(&record->ran, 1) == 0);
    EXPECT(data_is(task, record, false));
    if (self && player->round->options.workers_max == 1) { /* in the order of the submits */
        EXPECT(atomic_exchange(&player->last[record->priority], record->number + 1) <=
               record->number);
    }
    if (self && drawn % 64 == 0) {
        have_children(player->round, self);
    }
    dawdle(drawn % 128);
    bool given_up = drawn % 4 == 0 && strait_task_cancelled(task);
    data_write(task, record, true);
    return given_up ? -ECANCELED : drawn % 7 == 0 ? CODE : 0;
}

/* ---- on the parents ---- */

static void check_status(const struct strait_task *task, const struct record *record)
{
    bool ran = atomic_load(&record->ran) == 1;
    bool abandoned = task->status == STRAIT_TASK_ABANDONED;
    EXPECT(data_is(task, record, ran));
    EXPECT(!record->withdrawn || (!ran && (abandoned || task->status == STRAIT_TASK_CANCELLED)));
    EXPECT(task->status != STRAIT_TASK_DONE || (ran && task->code == 0));
    EXPECT(task->status != STRAIT_TASK_FAILED || (ran && task->code == CODE));
    EXPECT(task->status != STRAIT_TASK_CANCELLED || task->code == -ECANCELED);
    EXPECT(task->status != STRAIT_TASK_EXPIRED || record->dated);
    EXPECT(!abandoned ||
           (!ran && (atomic_load(&record->left) || atomic_load(&record->player->round->over))));
}

static int submit_one(struct player *player, const struct strait_submit_options *how, bool waits);

/* A completion may submit the next, unless it runs within a submit. */
static void done(struct strait_task *task)
{
    struct record *record = task->context;
    struct player *player = record->player;
    struct strait_submit_options how = {.priority = STRAIT_PRIORITY_HIGH, .in_place = true};
    EXPECT(atomic_fetch_add(&record->done, 1) == 0);
    EXPECT(thread_number() == player->thread && !player->busy);
    player->busy = true;
    check_status(task, record);
    if (record->number % 16 == 0 && !player->submits && player->taken < player->round->tasks) {
        submit_one(player, &how, false);
    }
    player->busy = false;
}

/* A record that is not taken yet, and its task. */
static struct record *prepare(struct player *player, struct strait_task *task, size_t ahead,
                              const struct strait_submit_options *how)
{
    struct record *record = &player->records[player->taken + ahead];
    memset(record, 0, sizeof(*record));
    record->number = (uint32_t)(player->taken + ahead);
    record->priority = how->priority;
    record->dated = how->start_by || how->finish_by;
    record->player = player;
    *task = (struct strait_task){.run = run, .done = done, .context = record};
    data_write(task, record, false);
    return record;
}

static void took(struct player *player, strait_task_id id, struct record *record)
{
    player->ids[player->taken % RECENT] = id;
    player->recent[player->taken % RECENT] = id ? record : NULL;
    player->taken++;
}

/* 0, or what the pool said. */
static int submit_one(struct player *player, const struct strait_submit_options *how, bool waits)
{
    struct strait_task task;
    strait_task_id id = 0;
    struct record *record = prepare(player, &task, 0, how);
    int64_t deadline = strait_deadline(waits ? (int64_t)draw_below(&player->seed, MS) : 0);
    player->submits = true;
    int error = waits ? strait_task_submit_wait(player->parent, &task, how, &id, deadline)
                      : strait_task_submit(player->parent, &task, how, &id);
    player->submits = false;
    EXPECT(error == 0 || error == -EPIPE || error == (waits ? -ETIMEDOUT : -EAGAIN));
    if (error == 0) {
        took(player, id, record);
    }
    return error;
}

static int submit_many(struct player *player, const struct strait_submit_options *how)
{
    struct strait_task tasks[BATCH];
    strait_task_id ids[BATCH];
    size_t first = player->taken;
    size_t n = strait_min(1 + draw_below(&player->seed, BATCH), player->round->tasks - first);
    for (size_t i = 0; i < n; i++) {
        prepare(player, &tasks[i], i, how);
    }
    ptrdiff_t result = strait_task_submit_many(player->parent, tasks, n, how, ids);
    EXPECT(result > 0 || result == -EAGAIN || result == -EPIPE);
    for (ptrdiff_t i = 0; i < result; i++) {
        took(player, ids[i], &player->records[first + (size_t)i]);
    }
    return result < 0 ? (int)result : 0;
}

static void cancel_one(struct player *player, size_t i)
{
    struct record *record = player->recent[i];
    int answer = strait_task_cancel(player->parent, player->ids[i]);
    EXPECT(answer == 0 || answer == -EINPROGRESS || answer == -EALREADY || answer == -ENOENT);
    EXPECT((answer == -ENOENT) == (atomic_load(&record->done) == 1));
    EXPECT(answer != 0 || atomic_load(&record->ran) == 0);
    record->withdrawn |= answer == 0;
}

static void wait_for_one(struct player *player, size_t i)
{
    const struct record *record = player->recent[i];
    int error = strait_task_wait(player->parent, player->ids[i], strait_deadline(MS / 5));
    EXPECT(error == -ETIMEDOUT || (error == 0 && atomic_load(&record->done) == 1));
}

static void end_group(struct player *player)
{
    size_t withdrawn = strait_group_cancel(player->parent, &player->group);
    EXPECT(withdrawn <= player->group.pending);
    int error = strait_group_wait(player->parent, &player->group, strait_deadline(MS));
    EXPECT(error == (player->group.pending ? -ETIMEDOUT : 0));
}

static void run_completions(struct player *player)
{
    int fd = strait_parent_fd(player->parent);
    size_t budget = draw_below(&player->seed, 64);
    if (fd < 0 || draw_below(&player->seed, 2)) {
        EXPECT(strait_parent_poll(player->parent, budget) >= 0);
    } else {
        readable(fd, 1);
        EXPECT(strait_parent_dispatch(player->parent, budget) >= 0);
    }
}

/* False: the pool is closing. */
static bool play_once(struct player *player)
{
    uint64_t *seed = &player->seed;
    size_t i = draw_below(seed, RECENT);
    struct strait_submit_options how = {.priority = (enum strait_priority)draw_below(seed, 2)};
    how.group = draw_below(seed, 4) ? NULL : &player->group;
    int error;
    if (draw_below(seed, 3) == 0) {
        error = submit_many(player, &how);
    } else {
        int64_t now = strait_now();
        how.in_place = draw_below(seed, 8) == 0;
        how.start_by = draw_below(seed, 6) ? 0 : now + (int64_t)draw_below(seed, 100000) - 1000;
        how.finish_by = draw_below(seed, 6) ? 0 : now + (int64_t)draw_below(seed, 200000) - 1000;
        error = submit_one(player, &how, draw_below(seed, 4) == 0);
    }
    if (player->recent[i] && draw_below(seed, 8) == 0) {
        cancel_one(player, i);
    }
    if (error == -EAGAIN || draw_below(seed, 16) == 0) {
        run_completions(player);
    }
    if (player->recent[i] && draw_below(seed, 512) == 0) {
        wait_for_one(player, i);
    }
    if (draw_below(seed, 256) == 0) {
        end_group(player);
    }
    progress_made();
    return error != -EPIPE;
}

static void go(struct player *player, size_t from)
{
    uint64_t *seed = &player->seed;
    int error = -ETIMEDOUT;
    while (error) {
        bool cancels = draw_below(seed, 3) == 0;
        int64_t deadline = draw_below(seed, 2) ? STRAIT_FOREVER
                                               : strait_deadline((int64_t)draw_below(seed, 50000));
        for (size_t i = from; cancels && i < player->taken; i++) {
            atomic_store(&player->records[i].left, 1);
        }
        player->submits |= cancels; /* completions submit no more */
        error = strait_parent_detach(player->parent,
                                     cancels ? STRAIT_CLOSE_CANCEL : STRAIT_CLOSE_DRAIN, deadline);
        EXPECT(error == 0 || (error == -ETIMEDOUT && deadline != STRAIT_FOREVER));
    }
    EXPECT(player->group.pending == 0);
    player->submits = false;
    memset(player->recent, 0, sizeof(player->recent));
}

static void *play(void *context)
{
    struct player *player = context;
    struct round *round = player->round;
    bool open = true;
    player->thread = thread_number();
    while (open && player->taken < round->tasks) {
        struct strait_parent_options options = {.wait =
                                                    (enum strait_wait)draw_below(&player->seed, 4)};
        size_t from = player->taken;
        size_t until = from + 1 + draw_below(&player->seed, round->tasks / 4);
        int error = strait_pool_attach(round->pool, &player->parent, &options);
        EXPECT(error == 0 || error == -EPIPE);
        open = error == 0;
        while (open && player->taken < until && player->taken < round->tasks) {
            open = play_once(player);
        }
        if (error == 0) {
            go(player, from);
        }
    }
    return NULL;
}

/* ---- a round ---- */

/* The counters add up at every instant. */
static void *observe(void *context)
{
    struct round *round = context;
    while (atomic_load(&round->over) < 2) {
        struct strait_pool_stats s;
        struct strait_pool_worker_stats worker;
        strait_pool_stats(round->pool, &s);
        EXPECT(s.submitted ==
               s.done + s.failed + s.cancelled + s.expired + s.abandoned + s.queued + s.running);
        for (unsigned i = 0; strait_pool_worker_stats(round->pool, i, &worker) == 0; i++) {
            EXPECT(worker.running_ns >= 0);
        }
        sched_yield();
    }
    return NULL;
}

static void *resize(void *context)
{
    struct round *round = context;
    uint64_t seed = round->tasks;
    while (round->options.workers_max > 1 && atomic_load(&round->over) == 0) {
        unsigned n = 1 + (unsigned)draw_below(&seed, 5);
        int error = strait_pool_resize(round->pool, n, strait_deadline((int64_t)n * 20000));
        EXPECT(error == 0 || error == -ETIMEDOUT || error == -EBUSY || error == -EPIPE);
        sleep_ns((long)draw_below(&seed, MS));
    }
    return NULL;
}

static void draw_options(struct strait_pool_options *options, uint64_t *seed)
{
    memset(options, 0, sizeof(*options));
    options->workers = 1 + (unsigned)draw_below(seed, 3);
    options->workers_max = options->workers + (unsigned)draw_below(seed, 2) * 2;
    options->queue_limit = 1 + draw_below(seed, 2) * 7 + draw_below(seed, 3) * 100;
    options->idle_timeout = 1 + (int64_t)draw_below(seed, MS / 2);
    options->schedule = STRAIT_SCHEDULE_NORMAL;
    options->wait = draw_below(seed, 4) ? STRAIT_WAIT_PARK : STRAIT_WAIT_SPIN;
    options->timed = draw_below(seed, 3) == 0;
}

static void close_in_steps(struct round *round, uint64_t *seed)
{
    enum strait_close mode = draw_below(seed, 2) ? STRAIT_CLOSE_DRAIN : STRAIT_CLOSE_CANCEL;
    struct strait_pool_worker_stats stuck;
    int error = -ETIMEDOUT;
    atomic_store(&round->over, 1);
    while (error) {
        int64_t deadline = strait_deadline((int64_t)draw_below(seed, 3 * MS));
        error = strait_pool_close(round->pool, mode, deadline, &stuck);
        EXPECT(error == 0 || error == -ETIMEDOUT || error == -EBUSY);
        mode = draw_below(seed, 20) ? mode : STRAIT_CLOSE_CANCEL;
    }
}

static size_t check_records(const struct round *round, const struct player *players)
{
    size_t taken = 0;
    struct strait_pool_stats stats;
    strait_pool_stats(round->pool, &stats);
    for (unsigned i = 0; i < PARENTS; i++) {
        taken += players[i].taken;
        for (size_t k = 0; k < players[i].taken; k++) {
            EXPECT(atomic_load(&players[i].records[k].done) == 1);
            EXPECT(atomic_load(&players[i].records[k].ran) <= 1);
        }
    }
    EXPECT(atomic_load(&round->children) == atomic_load(&round->children_done));
    EXPECT(stats.submitted + stats.in_place == taken + atomic_load(&round->children));
    EXPECT(stats.queued == 0 && stats.running == 0);
    return taken;
}

static size_t play_round(uint64_t seed)
{
    struct round round = {.tasks = scaled(TASKS)};
    struct player players[PARENTS] = {0};
    pthread_t threads[PARENTS + 2];
    draw_options(&round.options, &seed);
    bool early = draw_below(&seed, 3) == 0;
    assert_returns(strait_pool_create(&round.pool, &round.options), 0);
    thread_start(&threads[PARENTS], observe, &round);
    thread_start(&threads[PARENTS + 1], resize, &round);
    for (unsigned i = 0; i < PARENTS; i++) {
        players[i].round = &round;
        players[i].seed = draw(&seed);
        players[i].records = calloc(round.tasks, sizeof(struct record));
        assert_non_null(players[i].records);
        thread_start(&threads[i], play, &players[i]);
    }
    if (early) {
        sleep_ns((long)draw_below(&seed, 60 * MS));
        close_in_steps(&round, &seed);
    }
    for (unsigned i = 0; i < PARENTS; i++) {
        thread_join(threads[i]);
    }
    close_in_steps(&round, &seed);
    size_t taken = check_records(&round, players);
    atomic_store(&round.over, 2);
    thread_join(threads[PARENTS]);
    thread_join(threads[PARENTS + 1]);
    assert_returns(strait_pool_finish(round.pool, NULL, STRAIT_CLOSE_DRAIN, 0), 0);
    for (unsigned i = 0; i < PARENTS; i++) {
        free(players[i].records);
    }
    return taken;
}

TEST(every_task_completes_once)
{
    uint64_t seed = first_seed(1);
    size_t taken = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        taken += play_round(seed + i);
        if (faults_seen()) {
            fprintf(stderr, "STRAIT_SEED=%llu\n", (unsigned long long)seed + i);
        }
        assert_no_faults();
    }
    printf("%zu tasks\n", taken);
}
