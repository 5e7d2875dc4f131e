/* SPDX-License-Identifier: MIT */
/*
 * pool_stress_test: every task runs at most once and completes exactly once, where it should and as
 * it should, while parents come and go, cancel, let tasks expire, wait and submit from everywhere,
 * workers are started and retired, and the pool is closed in the middle of it.
 *
 * Each round is drawn from a seed, which a failure names. STRAIT_SEED and STRAIT_STRESS choose
 * another and more of them.
 */
#include "life.h"

#define PARENTS 3
#define FIRST_ROUNDS 36
#define TASKS 30000 /* of each parent in a round */
#define RECENT 64   /* ids that a parent remembers, to cancel and wait for */
#define FAMILY 5    /* children of a task that has some */
#define CODE 7

/* ---- what is known of each task ---- */

struct record {
    _Atomic uint32_t ran;
    _Atomic uint32_t done;
    _Atomic uint32_t left; /* its parent had begun to leave */
    uint32_t withdrawn;    /* strait_task_cancel said that it will never start */
    uint32_t dated;        /* it had a deadline */
    uint32_t number;
    enum strait_priority priority;
    struct player *player;
};

struct round {
    struct strait_pool *pool;
    struct strait_pool_options options;
    size_t tasks;
    _Atomic uint64_t status[STRAIT_TASK_ABANDONED + 1];
    _Atomic uint64_t children;
    _Atomic uint64_t children_done;
    _Atomic uint32_t over;
};

/* A thread that is a parent again and again. */
struct player {
    struct round *round;
    uint64_t seed;
    int32_t thread;
    struct strait_parent *parent;
    struct record *records;
    size_t taken;  /* records whose task the pool has */
    uint32_t busy; /* in a completion */
    bool waits;    /* for room: the next record is in use */
    uint32_t rooms;
    _Atomic uint32_t last[3]; /* number of the plain task that started last, by priority */
    strait_task_id ids[RECENT];
    struct record *recent[RECENT];
    unsigned at;
};

/* ---- data: all 64 bytes, told by the record ---- */

static void data_write(struct strait_task *task, uint64_t key)
{
    for (unsigned i = 0; i < STRAIT_TASK_DATA / 8; i++) {
        uint64_t word = mix(key + i);
        memcpy(task->data + 8 * (size_t)i, &word, 8);
    }
}

static bool data_is(const struct strait_task *task, uint64_t key)
{
    for (unsigned i = 0; i < STRAIT_TASK_DATA / 8; i++) {
        uint64_t word = mix(key + i);
        if (memcmp(task->data + 8 * (size_t)i, &word, 8) != 0) {
            return false;
        }
    }
    return true;
}

static uint64_t key_before(const struct record *record)
{
    return (uint64_t)(uintptr_t)record;
}

static uint64_t key_after(const struct record *record)
{
    return ~(uint64_t)(uintptr_t)record;
}

/* ---- on the workers ---- */

static int child_run(struct strait_task *task)
{
    atomic_fetch_add((_Atomic uint32_t *)task->context, 1);
    return 0;
}

static void child_done(struct strait_task *task)
{
    struct round *round;
    memcpy(&round, task->data, sizeof(round));
    atomic_fetch_add(&round->children_done, 1);
}

/* A task with tasks of its own, which it waits for. */
static void have_children(struct round *round)
{
    struct strait_parent *self = strait_parent_current();
    struct strait_group group = {0};
    struct strait_submit_options how = {.group = &group};
    _Atomic uint32_t ran = 0;
    uint32_t count = 0;
    EXPECT(self != NULL);
    for (unsigned i = 0; self && i < FAMILY; i++) {
        struct strait_task child = {.run = child_run, .done = child_done, .context = &ran};
        memcpy(child.data, &round, sizeof(round));
        int error = strait_task_submit(self, &child, &how, NULL);
        EXPECT(error == 0 || error == -EAGAIN || error == -EPIPE);
        count += error == 0;
    }
    atomic_fetch_add(&round->children, count);
    EXPECT(!self || strait_group_wait(self, &group, STRAIT_FOREVER) == 0);
    EXPECT(group.pending == 0);
    EXPECT(atomic_load(&ran) <= count);
}

/* With one worker, the starts of a parent's tasks of one priority are the order of their submits.
 */
static void note_order(const struct record *record)
{
    struct player *player = record->player;
    if (player->round->options.workers_max == 1) {
        uint32_t before = atomic_exchange(&player->last[record->priority], record->number + 1);
        EXPECT(before <= record->number);
    }
}

static int run(struct strait_task *task)
{
    struct record *record = task->context;
    uint64_t drawn = mix(key_before(record));
    EXPECT(atomic_fetch_add(&record->ran, 1) == 0);
    EXPECT(data_is(task, key_before(record)));
    note_order(record);
    if (drawn % 64 == 0) {
        have_children(record->player->round);
    }
    dawdle(drawn % 128);
    bool given_up = drawn % 4 == 0 && strait_task_cancelled(task);
    data_write(task, key_after(record));
    return given_up ? -ECANCELED : drawn % 7 == 0 ? CODE : 0;
}

/* ---- on the parents ---- */

static void check_status(const struct strait_task *task, const struct record *record, uint32_t left)
{
    bool ran = atomic_load(&record->ran) == 1;
    bool abandoned = task->status == STRAIT_TASK_ABANDONED;
    EXPECT(data_is(task, ran ? key_after(record) : key_before(record)));
    EXPECT(!record->withdrawn || (!ran && (abandoned || task->status == STRAIT_TASK_CANCELLED)));
    EXPECT(task->status != STRAIT_TASK_DONE || (ran && task->code == 0));
    EXPECT(task->status != STRAIT_TASK_FAILED || (ran && task->code == CODE));
    EXPECT(task->status != STRAIT_TASK_CANCELLED || task->code == -ECANCELED);
    EXPECT(task->status != STRAIT_TASK_EXPIRED || record->dated);
    EXPECT(!abandoned || left || atomic_load(&record->player->round->over));
}

static void follow_up(struct player *player);

static void done(struct strait_task *task)
{
    struct record *record = task->context;
    struct player *player = record->player;
    uint32_t left = atomic_load(&record->left);
    bool mine = thread_number() == player->thread;
    EXPECT(atomic_fetch_add(&record->done, 1) == 0);
    EXPECT(mine || left);
    check_status(task, record, left);
    atomic_fetch_add(&player->round->status[task->status], 1);
    if (mine) {
        EXPECT(player->busy++ == 0);
        if (!left && record->number % 16 == 0) {
            follow_up(player);
        }
        player->busy--;
    }
}

static void room(struct strait_parent *parent, void *context)
{
    struct player *player = context;
    EXPECT(parent == player->parent);
    player->rooms++;
}

/* A record that is not taken yet, and its task. */
static struct record *prepare(struct player *player, struct strait_task *task, size_t ahead,
                              enum strait_priority priority)
{
    struct record *record = &player->records[player->taken + ahead];
    memset(record, 0, sizeof(*record));
    record->number = (uint32_t)(player->taken + ahead);
    record->priority = priority;
    record->player = player;
    memset(task, 0, sizeof(*task));
    task->run = run;
    task->done = done;
    task->context = record;
    data_write(task, key_before(record));
    return record;
}

static void took(struct player *player, strait_task_id id, struct record *record)
{
    player->at = (player->at + 1) % RECENT;
    player->ids[player->at] = id;
    player->recent[player->at] = record;
    player->taken++;
}

static bool submit_fine(int error)
{
    return error == 0 || error == -EAGAIN || error == -EPIPE;
}

/* From a completion. */
static void follow_up(struct player *player)
{
    struct strait_task task;
    strait_task_id id;
    struct strait_submit_options how = {.priority = STRAIT_PRIORITY_HIGH};
    if (player->waits || player->taken == player->round->tasks) {
        return;
    }
    struct record *record = prepare(player, &task, 0, how.priority);
    int error = strait_task_submit(player->parent, &task, &how, &id);
    EXPECT(submit_fine(error));
    if (error == 0) {
        took(player, id, record);
    }
}

static enum strait_priority draw_priority(uint64_t *seed)
{
    return (enum strait_priority)draw_below(seed, 3);
}

static void draw_how(struct player *player, struct record *record,
                     struct strait_submit_options *how)
{
    uint64_t *seed = &player->seed;
    memset(how, 0, sizeof(*how));
    how->priority = record->priority;
    if (player->round->options.workers_max > 1 && draw_below(seed, 12) == 0) {
        how->worker = 1 + (unsigned)draw_below(seed, player->round->options.workers);
    }
    if (draw_below(seed, 6) == 0) {
        how->start_by = strait_now() + (int64_t)draw_below(seed, 100000) - 1000;
    }
    if (draw_below(seed, 6) == 0) {
        how->finish_by = strait_now() + (int64_t)draw_below(seed, 200000) - 1000;
    }
    record->dated = how->start_by || how->finish_by;
}

/* 0, or what the pool said. */
static int submit_one(struct player *player)
{
    struct strait_task task;
    struct strait_submit_options how;
    strait_task_id id = 0;
    int error;
    struct record *record = prepare(player, &task, 0, draw_priority(&player->seed));
    draw_how(player, record, &how);
    if (draw_below(&player->seed, 4)) {
        error = strait_task_submit(player->parent, &task, &how, &id);
    } else {
        player->waits = true;
        int64_t deadline = strait_deadline((int64_t)draw_below(&player->seed, 1000000));
        error = strait_task_submit_wait(player->parent, &task, &how, &id, deadline);
        player->waits = false;
    }
    EXPECT(submit_fine(error) || error == -ETIMEDOUT);
    if (error == 0) {
        took(player, id, record);
    }
    return error;
}

#define BATCH 8

static int submit_some(struct player *player)
{
    struct strait_task tasks[BATCH];
    strait_task_id ids[BATCH];
    struct strait_submit_options how = {.priority = draw_priority(&player->seed)};
    size_t first = player->taken;
    size_t n = 1 + draw_below(&player->seed, BATCH);
    n = strait_min(n, player->round->tasks - first);
    for (size_t i = 0; i < n; i++) {
        prepare(player, &tasks[i], i, how.priority);
    }
    ptrdiff_t result = strait_task_submit_many(player->parent, tasks, n, &how, ids);
    EXPECT(result > 0 || submit_fine((int)result));
    for (ptrdiff_t i = 0; i < result; i++) {
        took(player, ids[i], &player->records[first + (size_t)i]);
    }
    return result < 0 ? (int)result : 0;
}

static void cancel_some(struct player *player)
{
    size_t i = draw_below(&player->seed, RECENT);
    if (!player->recent[i]) {
        return;
    }
    int answer = strait_task_cancel(player->parent, player->ids[i]);
    EXPECT(answer == 0 || answer == -EINPROGRESS || answer == -EALREADY || answer == -ENOENT);
    EXPECT((answer == -ENOENT) == (atomic_load(&player->recent[i]->done) == 1));
    if (answer == 0) {
        EXPECT(atomic_load(&player->recent[i]->ran) == 0);
        player->recent[i]->withdrawn = 1;
    }
}

static void wait_for_one(struct player *player)
{
    size_t i = draw_below(&player->seed, RECENT);
    const struct record *record = player->recent[i];
    if (record) {
        int error = strait_task_wait(player->parent, player->ids[i], strait_deadline(200000));
        EXPECT(error == -ETIMEDOUT || (error == 0 && atomic_load(&record->done) == 1));
    }
}

static void collect(struct player *player)
{
    struct pollfd fd = {.fd = strait_parent_fd(player->parent), .events = POLLIN};
    size_t budget = draw_below(&player->seed, 64);
    if (fd.fd < 0 || draw_below(&player->seed, 2)) {
        EXPECT(strait_parent_poll(player->parent, budget) >= 0);
    } else {
        poll(&fd, 1, 1);
        EXPECT(strait_parent_dispatch(player->parent, budget) >= 0);
    }
}

/* False: the pool is closing. */
static bool play_once(struct player *player)
{
    uint64_t *seed = &player->seed;
    int error = draw_below(seed, 3) ? submit_one(player) : submit_some(player);
    if (draw_below(seed, 8) == 0) {
        cancel_some(player);
    }
    if (error == -EAGAIN || draw_below(seed, 16) == 0) {
        collect(player);
    }
    if (draw_below(seed, 512) == 0) {
        wait_for_one(player);
    }
    progress_made();
    return error != -EPIPE;
}

static void leave(struct player *player, size_t from)
{
    int64_t deadline = STRAIT_FOREVER;
    for (size_t i = from; i < player->taken; i++) {
        atomic_store(&player->records[i].left, 1);
    }
    if (draw_below(&player->seed, 2)) {
        deadline = strait_deadline((int64_t)draw_below(&player->seed, 50000));
    }
    ptrdiff_t owed = strait_parent_detach(player->parent, deadline);
    EXPECT(deadline == STRAIT_FOREVER ? owed == 0 : owed >= 0);
    memset(player->recent, 0, sizeof(player->recent));
}

static void *play(void *context)
{
    static const enum strait_wait modes[] = {STRAIT_WAIT_FD, STRAIT_WAIT_PARK, STRAIT_WAIT_SPIN};
    struct player *player = context;
    struct round *round = player->round;
    bool open = true;
    player->thread = thread_number();
    while (open && player->taken < round->tasks) {
        struct strait_parent_options options = {
            .wait = modes[draw_below(&player->seed, 3)], .room = room, .context = player};
        size_t from = player->taken;
        size_t until = from + 1 + draw_below(&player->seed, round->tasks / 4);
        int error = strait_pool_attach(round->pool, &player->parent, &options);
        EXPECT(error == 0 || error == -EPIPE);
        open = error == 0;
        while (open && player->taken < until && player->taken < round->tasks) {
            open = play_once(player);
        }
        if (error == 0) {
            leave(player, from);
        }
    }
    return NULL;
}

/* ---- a round ---- */

/* No task runs for longer than there is a pool. */
static void observe_worker(const struct strait_pool *pool, unsigned number, int64_t since)
{
    struct strait_pool_worker_stats stats;
    EXPECT(strait_pool_worker_stats(pool, number, &stats) == 0);
    int64_t now = strait_now();
    EXPECT(stats.running_ns >= 0 && stats.running_ns <= now - since + 1000000);
    EXPECT(stats.run != NULL || stats.running_ns == 0);
}

static void *observe(void *context)
{
    struct round *round = context;
    int64_t since = strait_now() - 1000000000; /* it is somewhat older than this thread */
    static __thread struct strait_histogram waited, ran;
    while (atomic_load(&round->over) < 2) {
        struct strait_pool_stats stats;
        char text[8192];
        strait_pool_stats(round->pool, &stats);
        EXPECT(stats.submitted == stats.done + stats.failed + stats.cancelled + stats.expired +
                                      stats.abandoned + stats.queued + stats.running);
        for (unsigned i = 0; i < round->options.workers_max; i++) {
            observe_worker(round->pool, i, since);
        }
        strait_pool_times(round->pool, &waited, &ran);
        EXPECT(strait_pool_json(round->pool, text, sizeof(text)) < sizeof(text));
        sleep_ns(100000);
    }
    return NULL;
}

static void draw_options(struct strait_pool_options *options, uint64_t *seed)
{
    memset(options, 0, sizeof(*options));
    options->workers = 1 + (unsigned)draw_below(seed, 3);
    options->workers_max = options->workers + (unsigned)draw_below(seed, 2) * 2;
    options->queue_limit = 1 + draw_below(seed, 2) * 7 + draw_below(seed, 3) * 100;
    options->idle_timeout = 1 + (int64_t)draw_below(seed, 500000);
    options->schedule = STRAIT_SCHEDULE_NORMAL;
    options->wait = draw_below(seed, 4) ? STRAIT_WAIT_PARK : STRAIT_WAIT_SPIN;
    options->untimed = draw_below(seed, 3) == 0;
}

/* In the middle of it, in several steps; or when all have left. */
static void close_pool(struct round *round, uint64_t *seed, bool early)
{
    enum strait_close mode = draw_below(seed, 2) ? STRAIT_CLOSE_DRAIN : STRAIT_CLOSE_CANCEL;
    struct strait_pool_worker_stats stuck;
    int error = -ETIMEDOUT;
    if (early) {
        sleep_ns((long)draw_below(seed, 60000000));
    }
    atomic_store(&round->over, 1);
    while (error) {
        error = strait_pool_close(round->pool, mode,
                                  strait_deadline((int64_t)draw_below(seed, 3000000)), &stuck);
        EXPECT(error == 0 || error == -ETIMEDOUT);
        mode = draw_below(seed, 20) ? mode : STRAIT_CLOSE_CANCEL;
    }
}

static void check_records(const struct round *round, const struct player *players)
{
    size_t taken = 0;
    uint64_t completed = 0;
    struct strait_pool_stats stats;
    for (unsigned i = 0; i < PARENTS; i++) {
        taken += players[i].taken;
        for (size_t k = 0; k < players[i].taken; k++) {
            EXPECT(atomic_load(&players[i].records[k].done) == 1);
            EXPECT(atomic_load(&players[i].records[k].ran) <= 1);
        }
    }
    for (unsigned i = 0; i <= STRAIT_TASK_ABANDONED; i++) {
        completed += atomic_load(&round->status[i]);
    }
    strait_pool_stats(round->pool, &stats);
    EXPECT(completed == taken);
    EXPECT(atomic_load(&round->children) == atomic_load(&round->children_done));
    EXPECT(stats.submitted == taken + atomic_load(&round->children));
    EXPECT(stats.queued == 0 && stats.running == 0);
}

static size_t play_round(uint64_t round_seed)
{
    uint64_t seed = round_seed;
    struct round round = {.tasks = scaled(TASKS)};
    struct player players[PARENTS] = {0};
    pthread_t threads[PARENTS];
    pthread_t observer;
    size_t taken = 0;
    draw_options(&round.options, &seed);
    bool early = draw_below(&seed, 3) == 0;
    EXPECT(strait_pool_create(&round.pool, &round.options) == 0);
    thread_start(&observer, observe, &round);
    for (unsigned i = 0; i < PARENTS; i++) {
        players[i].round = &round;
        players[i].seed = draw(&seed);
        players[i].records = calloc(round.tasks, sizeof(struct record));
        thread_start(&threads[i], play, &players[i]);
    }
    if (early) {
        close_pool(&round, &seed, true);
    }
    for (unsigned i = 0; i < PARENTS; i++) {
        thread_join(threads[i]);
    }
    close_pool(&round, &seed, false);
    check_records(&round, players);
    atomic_store(&round.over, 2);
    thread_join(observer);
    EXPECT(strait_pool_destroy(round.pool) == 0);
    for (unsigned i = 0; i < PARENTS; i++) {
        taken += players[i].taken;
        free(players[i].records);
    }
    if (faults_seen()) {
        fprintf(stderr, "the round's seed: STRAIT_SEED=%llu\n", (unsigned long long)round_seed);
    }
    return taken;
}

static void every_task_completes_once(void **state)
{
    uint64_t seed = first_seed(1);
    size_t taken = 0;
    (void)state;
    for (unsigned i = 0; i < FIRST_ROUNDS; i++) {
        taken += play_round(seed + i);
        assert_no_faults();
    }
    printf("%zu tasks\n", taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(every_task_completes_once),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("pool_stress", tests, NULL, NULL);
}
