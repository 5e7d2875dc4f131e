/* SPDX-License-Identifier: MIT */
/* pool_stats_test: what is seen of a pool from outside: it adds up at every instant, counts each
 * task once, and is JSON. */
#include <locale.h>

#include "life.h"

static struct strait_pool *pool_new(const struct strait_pool_options *options)
{
    struct strait_pool *pool = NULL;
    assert_returns(strait_pool_create(&pool, options), 0);
    return pool;
}

static struct strait_parent *parent_new(struct strait_pool *pool)
{
    struct strait_parent *parent = NULL;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    assert_returns(strait_pool_attach(pool, &parent, &options), 0);
    return parent;
}

static void pool_end(struct strait_pool *pool)
{
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_pool_destroy(pool), 0);
    progress_made();
}

static uint64_t sum_of(const struct strait_pool_stats *stats)
{
    return stats->done + stats->failed + stats->cancelled + stats->expired + stats->abandoned +
           stats->queued + stats->running;
}

/* ---- tasks ---- */

static int nothing(struct strait_task *task)
{
    (void)task;
    return 0;
}

static int fails(struct strait_task *task)
{
    (void)task;
    return 7;
}

static int sleeps(struct strait_task *task)
{
    long ns;
    memcpy(&ns, task->data, sizeof(ns));
    sleep_ns(ns);
    return 0;
}

static int burns(struct strait_task *task)
{
    int64_t until = strait_now() + 20000000;
    (void)task;
    while (strait_now() < until) {
    }
    return 0;
}

static void submit(struct strait_parent *parent, strait_run_fn *run, void *context,
                   struct strait_group *group)
{
    struct strait_task task = {.run = run, .context = context};
    struct strait_submit_options how = {.group = group};
    assert_returns(strait_task_submit(parent, &task, &how, NULL), 0);
}

/* ---- counters ---- */

static void each_state_is_counted(void **state)
{
    struct strait_pool_options options = {.workers = 1, .queue_limit = 4};
    struct strait_pool *pool = pool_new(&options);
    struct strait_parent *parent = parent_new(pool);
    struct strait_pool_stats stats;
    struct strait_group group = {0};
    struct gate gate = {0};
    struct strait_task task = {.run = nothing};
    struct strait_submit_options late = {.start_by = 1};
    strait_task_id id;
    (void)state;
    submit(parent, waits_at_gate, &gate, &group);
    gate_await(&gate, 1);
    submit(parent, nothing, NULL, &group);
    submit(parent, fails, NULL, &group);
    assert_returns(strait_task_submit(parent, &task, &late, NULL), 0);
    assert_returns(strait_task_submit(parent, &task, NULL, &id), 0);
    assert_returns(strait_task_submit(parent, &task, NULL, NULL), -EAGAIN);
    strait_pool_stats(pool, &stats);
    assert_int_equal(stats.submitted, 5);
    assert_int_equal(stats.running, 1);
    assert_int_equal(stats.queued, 4);
    assert_int_equal(stats.queued_max, 4);
    assert_int_equal(stats.queue_limit, 4);
    assert_int_equal(stats.refused, 1);
    assert_int_equal(stats.workers, 1);
    assert_int_equal(stats.idle, 0);
    assert_int_equal(stats.parents, 1);
    assert_returns(strait_task_cancel(parent, id), 0);
    gate_open(&gate);
    assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    strait_pool_stats(pool, &stats);
    assert_int_equal(stats.done, 2);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.expired, 1);
    assert_int_equal(stats.cancelled, 1);
    assert_int_equal(stats.abandoned, 0);
    assert_int_equal(stats.queued, 0);
    assert_int_equal(stats.running, 0);
    assert_int_equal(stats.parents, 0);
    assert_int_equal(stats.submitted, sum_of(&stats));
    pool_end(pool);
}

static void abandoned_tasks_are_counted(void **state)
{
    struct strait_pool_options options = {.workers = 1};
    struct strait_pool *pool = pool_new(&options);
    struct strait_parent *parent = parent_new(pool);
    struct strait_pool_stats stats;
    struct gate gate = {0};
    (void)state;
    submit(parent, waits_at_gate, &gate, NULL);
    gate_await(&gate, 1);
    submit(parent, nothing, NULL, NULL);
    submit(parent, nothing, NULL, NULL);
    assert_returns(strait_parent_detach(parent, 0), 1);
    strait_pool_stats(pool, &stats);
    assert_int_equal(stats.abandoned, 2);
    assert_int_equal(stats.running, 1);
    gate_open(&gate);
    pool_end(pool);
}

/* ---- times ---- */

static void each_task_is_timed_once(void **state)
{
    struct strait_pool_options options = {.workers = 2};
    struct strait_pool *pool = pool_new(&options);
    struct strait_parent *parent = parent_new(pool);
    static struct strait_histogram waited, ran;
    struct strait_group group = {0};
    (void)state;
    for (unsigned i = 0; i < 500; i++) {
        submit(parent, i % 2 ? nothing : fails, NULL, &group);
    }
    assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    strait_pool_times(pool, &waited, &ran);
    assert_int_equal(strait_histogram_count(&waited), 500);
    assert_int_equal(strait_histogram_count(&ran), 500);
    strait_pool_times(pool, NULL, NULL);
    assert_returns(strait_pool_destroy(pool), 0);
}

/* One worker: the second task waits for as long as the first one runs. */
static void waits_and_runs_are_told_apart(void **state)
{
    struct strait_pool_options options = {.workers = 1};
    struct strait_pool *pool = pool_new(&options);
    struct strait_parent *parent = parent_new(pool);
    static struct strait_histogram waited, ran;
    struct strait_task task = {.run = sleeps};
    long ns = 40000000;
    (void)state;
    memcpy(task.data, &ns, sizeof(ns));
    assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
    task.run = nothing;
    assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    strait_pool_times(pool, &waited, &ran);
    assert_true(ran.max >= 40000000);
    assert_true(strait_histogram_percentile(&ran, 100) >= 39000000);
    assert_true(strait_histogram_percentile(&ran, 50) < 39000000);
    assert_true(waited.max >= 39000000);
    assert_true(strait_histogram_percentile(&waited, 50) < 39000000);
    assert_returns(strait_parent_detach(parent, 0), 0);
    assert_returns(strait_pool_destroy(pool), 0);
}

static void an_untimed_pool_has_no_times(void **state)
{
    struct strait_pool_options options = {.workers = 1, .untimed = true};
    struct strait_pool *pool = pool_new(&options);
    struct strait_parent *parent = parent_new(pool);
    static struct strait_histogram waited, ran;
    struct strait_pool_worker_stats worker;
    struct strait_group group = {0};
    (void)state;
    submit(parent, nothing, NULL, &group);
    assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
    waited.max = 1;
    strait_pool_times(pool, &waited, &ran);
    assert_int_equal(waited.max, 0);
    assert_int_equal(strait_histogram_count(&ran), 0);
    assert_returns(strait_pool_worker_stats(pool, 0, &worker), 0);
    assert_int_equal(worker.tasks, 1);
    assert_int_equal(worker.busy_ns, 0);
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    pool_end(pool);
}

/* ---- workers ---- */

static void a_worker_is_seen_at_work(void **state)
{
    struct strait_pool_options options = {.workers = 2, .workers_max = 3};
    struct strait_pool *pool = pool_new(&options);
    struct strait_parent *parent = parent_new(pool);
    struct strait_pool_worker_stats worker;
    struct strait_group group = {0};
    struct gate gate = {0};
    struct strait_task task = {.run = waits_at_gate, .context = &gate};
    struct strait_submit_options second = {.worker = 2, .group = &group};
    (void)state;
    assert_returns(strait_task_submit(parent, &task, &second, NULL), 0);
    gate_await(&gate, 1);
    sleep_ns(2000000);
    assert_returns(strait_pool_worker_stats(pool, 1, &worker), 0);
    assert_int_equal(worker.number, 1);
    assert_true(worker.online);
    assert_true(worker.thread > 0);
    assert_ptr_equal(worker.run, waits_at_gate);
    assert_true(worker.running_ns >= 1000000);
    assert_true(worker.busy_ns >= worker.running_ns);
    assert_true(worker.busy_ns <= worker.online_ns);
    assert_returns(strait_pool_worker_stats(pool, 0, &worker), 0);
    assert_ptr_equal(worker.run, NULL);
    assert_int_equal(worker.running_ns, 0);
    assert_returns(strait_pool_worker_stats(pool, 2, &worker), 0);
    assert_false(worker.online);
    assert_int_equal(worker.thread, 0);
    assert_returns(strait_pool_worker_stats(pool, 3, &worker), -EINVAL);
    gate_open(&gate);
    assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    pool_end(pool);
}

static void utilisation_grows_with_work(void **state)
{
    struct strait_pool_options options = {.workers = 1};
    struct strait_pool *pool = pool_new(&options);
    struct strait_parent *parent = parent_new(pool);
    struct strait_pool_worker_stats before, after;
    struct strait_group group = {0};
    (void)state;
    assert_returns(strait_pool_worker_stats(pool, 0, &before), 0);
    for (unsigned i = 0; i < 5; i++) {
        submit(parent, burns, NULL, &group);
    }
    assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_pool_worker_stats(pool, 0, &after), 0);
    assert_int_equal(before.busy_ns, 0);
    assert_true(after.busy_ns >= 100000000);
    assert_true(after.busy_ns <= after.online_ns);
    assert_int_equal(after.tasks, 5);
    assert_false(after.online);
    assert_returns(strait_parent_detach(parent, 0), 0);
    assert_returns(strait_pool_destroy(pool), 0);
}

/* ---- JSON: a strict reader of the grammar, and a number by its path ---- */

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \n\t\r");
}

static const char *read_value(const char *at);

static const char *read_string(const char *at)
{
    if (*at != '"') {
        return NULL;
    }
    for (at++; *at != '"'; at++) {
        if (*at == '\\' || (unsigned char)*at < 0x20) {
            return NULL; /* none of ours has any */
        }
    }
    return at + 1;
}

static const char *read_digits(const char *at)
{
    size_t digits = strspn(at, "0123456789");
    return digits ? at + digits : NULL;
}

static const char *read_number(const char *at)
{
    at += *at == '-';
    const char *end = read_digits(at);
    if (!end || (*at == '0' && end > at + 1)) {
        return NULL;
    }
    return *end == '.' ? read_digits(end + 1) : end;
}

/* The members or elements up to the closing bracket. */
static const char *read_list(const char *at, char close, bool named)
{
    at = skip_space(at + 1);
    if (*at == close) {
        return at + 1;
    }
    for (;;) {
        if (named) {
            at = read_string(at);
            at = at ? skip_space(at) : NULL;
            if (!at || *at != ':') {
                return NULL;
            }
            at = skip_space(at + 1);
        }
        at = read_value(at);
        at = at ? skip_space(at) : NULL;
        if (!at || (*at != ',' && *at != close)) {
            return NULL;
        }
        if (*at == close) {
            return at + 1;
        }
        at = skip_space(at + 1);
    }
}

static const char *read_value(const char *at)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        if (strncmp(at, words[i], strlen(words[i])) == 0) {
            return at + strlen(words[i]);
        }
    }
    switch (*at) {
    case '{':
        return read_list(at, '}', true);
    case '[':
        return read_list(at, ']', false);
    case '"':
        return read_string(at);
    default:
        return read_number(at);
    }
}

static void assert_json(const char *text)
{
    const char *end = read_value(text);
    assert_non_null(end);
    assert_int_equal(*end, 0);
}

/* What follows the first occurrence of each key in turn. */
static unsigned long long number_at(const char *text, const char *outer, const char *key)
{
    char quoted[64];
    const char *at = text;
    if (outer) {
        snprintf(quoted, sizeof(quoted), "\"%s\": ", outer);
        at = strstr(at, quoted);
        assert_non_null(at);
    }
    snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
    at = strstr(at, quoted);
    assert_non_null(at);
    return strtoull(at + strlen(quoted), NULL, 10);
}

static void the_reader_is_strict(void **state)
{
    static const char *const bad[] = {"{",  "{\"a\": 1,}", "[1,]",     "{a: 1}",
                                      "01", "1.",          "{\"a\" 1}"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *end = read_value(bad[i]);
        assert_true(!end || *end);
    }
    assert_json("{\"a\": [1, -2.50, true, null, \"x\"], \"b\": {}}");
}

static void json_says_what_the_counters_say(void **state)
{
    struct strait_pool_options options = {.workers = 2, .name = "na\"me"};
    struct strait_pool *pool = pool_new(&options);
    struct strait_parent *parent = parent_new(pool);
    struct strait_pool_stats stats;
    struct strait_group group = {0};
    struct gate gate = {0};
    char text[8192];
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        submit(parent, i % 2 ? nothing : fails, NULL, &group);
    }
    assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
    submit(parent, waits_at_gate, &gate, &group);
    gate_await(&gate, 1);
    errno = ERRNO_MARK;
    size_t length = strait_pool_json(pool, text, sizeof(text));
    assert_int_equal(errno, ERRNO_MARK);
    strait_pool_stats(pool, &stats);
    assert_int_equal(length, strlen(text));
    assert_json(text);
    assert_int_equal(number_at(text, NULL, "submitted"), stats.submitted);
    assert_int_equal(number_at(text, NULL, "done"), 5);
    assert_int_equal(number_at(text, NULL, "failed"), 5);
    assert_int_equal(number_at(text, NULL, "running"), 1);
    assert_int_equal(number_at(text, NULL, "queue_limit"), 1024);
    assert_int_equal(number_at(text, "run_ns", "count"), 10);
    assert_true(number_at(text, "wait_ns", "p99.99") <= number_at(text, "wait_ns", "max"));
    assert_true(number_at(text, "per_worker", "thread") > 0);
    assert_non_null(strstr(text, "\"run\": \"0x"));
    assert_non_null(strstr(text, "\"run\": null"));
    gate_open(&gate);
    assert_returns(strait_group_wait(parent, &group, STRAIT_FOREVER), 0);
    assert_returns(strait_parent_detach(parent, STRAIT_FOREVER), 0);
    pool_end(pool);
}

static void json_is_whole_or_empty(void **state)
{
    struct strait_pool_options options = {.workers = 1, .untimed = true};
    struct strait_pool *pool = pool_new(&options);
    char text[8192];
    (void)state;
    assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    size_t length = strait_pool_json(pool, NULL, 0);
    for (size_t size = 1; size <= length + 2; size++) {
        memset(text, 'x', sizeof(text));
        assert_int_equal(strait_pool_json(pool, text, size), length);
        assert_int_equal(strlen(text), size > length ? length : 0);
        assert_int_equal(text[size], 'x');
    }
    assert_json(text);
    assert_returns(strait_pool_destroy(pool), 0);
}

/* A locale with a comma for a point, if there is one. */
static void json_does_not_depend_on_the_locale(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    struct strait_pool_options options = {.workers = 1};
    bool found = false;
    (void)state;
    for (size_t i = 0; !found && i < sizeof(names) / sizeof(names[0]); i++) {
        found = setlocale(LC_ALL, names[i]) != NULL;
    }
    struct strait_pool *pool = pool_new(&options);
    char text[8192];
    strait_pool_json(pool, text, sizeof(text));
    assert_json(text);
    setlocale(LC_ALL, "C");
    pool_end(pool);
}

/* ---- while everything moves ---- */

#define PARENTS 2

struct churn {
    struct strait_pool *pool;
    _Atomic unsigned over;
};

static int brief(struct strait_task *task)
{
    dawdle(task->data[0]);
    return task->data[0] % 3;
}

static void churn_once(struct churn *churn, uint64_t *seed)
{
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    struct strait_parent *parent;
    EXPECT(strait_pool_attach(churn->pool, &parent, &options) == 0);
    for (unsigned i = 0; i < 200; i++) {
        struct strait_task task = {.run = brief};
        struct strait_submit_options how = {.priority = (enum strait_priority)draw_below(seed, 3)};
        strait_task_id id = 0;
        task.data[0] = (unsigned char)draw(seed);
        how.finish_by = draw_below(seed, 4) ? 0 : strait_now() + (int64_t)draw_below(seed, 50000);
        int error = strait_task_submit(parent, &task, &how, &id);
        EXPECT(error == 0 || error == -EAGAIN);
        if (draw_below(seed, 8) == 0) {
            strait_task_cancel(parent, id);
        }
        if (error || draw_below(seed, 8) == 0) {
            strait_parent_poll(parent, draw_below(seed, 16));
        }
    }
    strait_parent_detach(parent, draw_below(seed, 2) ? STRAIT_FOREVER : 0);
}

static void *churn_main(void *context)
{
    struct churn *churn = context;
    uint64_t seed = mix((uint64_t)thread_number());
    for (size_t i = 0; i < scaled(60); i++) {
        churn_once(churn, &seed);
        progress_made();
    }
    atomic_fetch_add(&churn->over, 1);
    return NULL;
}

static bool grew(const struct strait_pool_stats *from, const struct strait_pool_stats *to)
{
    return to->submitted >= from->submitted && to->done >= from->done &&
           to->failed >= from->failed && to->cancelled >= from->cancelled &&
           to->expired >= from->expired && to->abandoned >= from->abandoned &&
           to->refused >= from->refused && to->queued_max >= from->queued_max;
}

static void *watch_main(void *context)
{
    struct churn *churn = context;
    struct strait_pool_stats before = {0};
    while (atomic_load(&churn->over) < PARENTS) {
        struct strait_pool_stats now;
        strait_pool_stats(churn->pool, &now);
        EXPECT(now.submitted == sum_of(&now));
        EXPECT(grew(&before, &now));
        EXPECT(now.queued <= now.submitted && now.running <= now.submitted);
        before = now;
    }
    return NULL;
}

static void it_adds_up_at_every_instant(void **state)
{
    struct strait_pool_options options = {
        .workers = 2, .workers_max = 3, .idle_timeout = 300000, .queue_limit = 64};
    struct churn churn = {.pool = pool_new(&options)};
    static struct strait_histogram waited, ran;
    struct strait_pool_stats stats;
    pthread_t threads[PARENTS + 2];
    (void)state;
    for (unsigned i = 0; i < PARENTS + 2; i++) {
        thread_start(&threads[i], i < PARENTS ? churn_main : watch_main, &churn);
    }
    for (unsigned i = 0; i < PARENTS + 2; i++) {
        thread_join(threads[i]);
    }
    assert_returns(strait_pool_close(churn.pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
    strait_pool_stats(churn.pool, &stats);
    strait_pool_times(churn.pool, &waited, &ran);
    assert_int_equal(stats.queued, 0);
    assert_int_equal(stats.running, 0);
    assert_int_equal(stats.submitted, sum_of(&stats));
    assert_true(stats.submitted > 0);
    assert_int_equal(strait_histogram_count(&waited), strait_histogram_count(&ran));
    assert_returns(strait_pool_destroy(churn.pool), 0);
    assert_no_faults();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(each_state_is_counted),
        life_test(abandoned_tasks_are_counted),
        life_test(each_task_is_timed_once),
        life_test(waits_and_runs_are_told_apart),
        life_test(an_untimed_pool_has_no_times),
        life_test(a_worker_is_seen_at_work),
        life_test(utilisation_grows_with_work),
        life_test(the_reader_is_strict),
        life_test(json_says_what_the_counters_say),
        life_test(json_is_whole_or_empty),
        life_test(json_does_not_depend_on_the_locale),
        life_test(it_adds_up_at_every_instant),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("pool_stats", tests, NULL, NULL);
}
