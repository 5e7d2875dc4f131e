/* SPDX-License-Identifier: MIT */
/* process_pool: each task completes once, whatever becomes of its worker. */
#include "extra/process_fixture.h"

#include <signal.h>
#include <sys/wait.h>

/* ---- what the workers run ---- */

/* Answers with memory of its own, of so many bytes. */
static int answer_long(struct strait_task *task)
{
    static char own[512];
    memset(own, 'x', sizeof(own));
    with_payload(task)->payload = own;
    with_payload(task)->payload_size = (size_t)number_of(task->data);
    return 0;
}

static int return_it(struct strait_task *task)
{
    return (int)number_of(task->data);
}

static int crash(struct strait_task *task)
{
    return raise_for_good(SIGSEGV);
}

static int leave(struct strait_task *task)
{
    exit((int)number_of(task->data));
}

static int hang(struct strait_task *task)
{
    volatile bool for_ever = true;
    while (for_ever) {
    }
    return 0;
}

/* Microseconds. */
static int take_time_off(struct strait_task *task)
{
    sleep_ns((long)number_of(task->data) * 1000);
    return 0;
}

/* Nonsense in all that it shares, and then an answer; or none. */
static int scribble(struct strait_task *task)
{
    uint64_t seed = number_of(task->data);
    struct shared found[SHARED_MOST];
    size_t count = find_shared(found);
    for (size_t i = 0; i < 200 * count; i++) {
        uint64_t *at = found[i % count].at;
        at[draw_below(&seed, found[i % count].words)] = draw(&seed);
        at[draw_below(&seed, 64)] = draw(&seed);
    }
    return 0;
}

static const struct strait_process_function functions[] = {
    {.name = "increment", .run = increment},
    {.name = "answer_long", .run = answer_long},
    {.name = "return_it", .run = return_it},
    {.name = "crash", .run = crash},
    {.name = "leave", .run = leave},
    {.name = "hang", .run = hang},
    {.name = "rest", .run = take_time_off},
    {.name = "scribble", .run = scribble},
    {.name = NULL},
};

/* ---- the pool ---- */

static void open_pool(unsigned workers, size_t queue_limit)
{
    struct strait_process_pool_options options = {
        .workers = workers, .queue_limit = queue_limit, .payload_max = 64};
    assert_returns(strait_process_pool_create(&pool, &options), 0);
}

/* The only worker is ready: it gets what is submitted next at once. */
static void await_ready(void)
{
    struct outcome first;
    assert_returns(submit(&first, "increment", 0, NULL, NULL), 0);
    await_outcomes();
}

/* False: there is none now. */
static bool kill_worker(unsigned n)
{
    int32_t pid = strait_process_pool_pid(pool, n);
    return pid && kill(pid, SIGKILL) == 0;
}

static void close_pool(void)
{
    int32_t pids[STRAIT_PROCESS_POOL_WORKERS_MAX];
    unsigned count = 0;
    for (unsigned n = 0; n < STRAIT_PROCESS_POOL_WORKERS_MAX; n++) {
        pids[count] = strait_process_pool_pid(pool, n);
        count += pids[count] != 0;
    }
    assert_returns(strait_process_pool_destroy(pool), 0);
    while (count > 0) {
        count--;
        if (TEST_ASAN) {
            waitpid(pids[count], NULL, 0); /* one that exits is traced by the sanitizer */
        }
        assert_int_equal(kill(pids[count], 0), -1);
    }
}

/* ---- one task each ---- */

TEST(every_way_to_end)
{
    const int64_t past = 1;
    const struct {
        const char *name;
        uint64_t number;
        struct strait_process_submit_options how;
        enum strait_task_status status;
        int code;
        int signal;
        unsigned runs;
    } cases[] = {
        {"increment", 7, {.size = 0}, STRAIT_TASK_DONE, 0, 0, 1},
        {"return_it", 3, {.retries = 5}, STRAIT_TASK_FAILED, 3, 0, 1},
        {"return_it", (uint64_t)-ECANCELED, {.size = 0}, STRAIT_TASK_CANCELLED, -ECANCELED, 0, 1},
        {"unknown", 0, {.size = 0}, STRAIT_TASK_FAILED, -ENOENT, 0, 1},
        {"crash", 0, {.size = 0}, STRAIT_TASK_FAILED, -EINTR, SIGSEGV, 1},
        {"crash", 0, {.retries = 2}, STRAIT_TASK_FAILED, -EINTR, SIGSEGV, 3},
        {"leave", 9, {.size = 0}, STRAIT_TASK_FAILED, 9, 0, 1},
        {"leave", 0, {.retries = 1}, STRAIT_TASK_FAILED, -EPIPE, 0, 2},
        {"increment", 0, {.finish_by = past}, STRAIT_TASK_EXPIRED, -ETIMEDOUT, 0, 0},
        {"answer_long", 64, {.size = 0}, STRAIT_TASK_DONE, 0, 0, 1},
        {"answer_long", 65, {.size = 0}, STRAIT_TASK_FAILED, -ENOSPC, 0, 1},
    };
    open_pool(2, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct outcome outcome;
        assert_returns(submit(&outcome, cases[i].name, cases[i].number, &cases[i].how, NULL), 0);
        await_outcomes();
        assert_int_equal(outcome.completions, 1);
        assert_int_equal(outcome.status, cases[i].status);
        assert_int_equal(outcome.code, cases[i].code);
        assert_int_equal(outcome.signal, cases[i].signal);
        assert_int_equal(outcome.runs, cases[i].runs);
    }
    close_pool();
}

TEST(payloads_travel_both_ways)
{
    char word[64] = "strait";
    struct outcome outcome;
    struct strait_process_task task = process_task(&outcome, "increment", 0);
    task.payload = word;
    task.payload_size = 6;
    open_pool(1, 0);
    assert_returns(strait_process_submit(pool, &task, NULL, NULL), 0);
    memset(word, 0, sizeof(word));
    await_outcomes();
    assert_int_equal(outcome.number, 1);
    assert_int_equal(outcome.payload_size, 6);
    assert_memory_equal(outcome.payload, "tiarts", 6);
    task.payload_size = 65;
    assert_returns(strait_process_submit(pool, &task, NULL, NULL), -ENOSPC);
    task.payload_size = 0;
    task.task.name = NULL;
    assert_returns(strait_process_submit(pool, &task, NULL, NULL), -EINVAL);
    task.task.name = "0123456789012345678901234567890123456789";
    assert_returns(strait_process_submit(pool, &task, NULL, NULL), -EINVAL);
    close_pool();
}

/* Whatever becomes of the one that was handed over. */
TEST(a_name_is_copied)
{
    char name[STRAIT_PROCESS_NAME + 1] = "increment";
    struct outcome outcome;
    open_pool(1, 4);
    assert_returns(submit(&outcome, name, 6, NULL, NULL), 0);
    memset(name, 'x', sizeof(name) - 1);
    await_outcomes();
    assert_int_equal(outcome.status, STRAIT_TASK_DONE);
    assert_int_equal(outcome.number, 7);
    close_pool();
}

/* The largest there may be, and a byte more than that; under a sanitizer, which needs a multiple of
 * its memory, one that is larger than a channel's message. */
TEST(a_large_payload_travels)
{
    const size_t most =
        TEST_ASAN || TEST_TSAN ? STRAIT_MESSAGE_SIZE_MAX + 1 : STRAIT_PROCESS_PAYLOAD_MAX;
    struct strait_process_pool_options options = {
        .workers = 1, .queue_limit = 1, .payload_max = most};
    struct outcome outcome;
    struct strait_process_task task = process_task(&outcome, "increment", 0);
    char *payload = calloc(1, most + 1);
    strcpy(payload + most - 4, "321");
    task.payload = payload;
    task.payload_size = most + 1;
    assert_returns(strait_process_pool_create(&pool, &options), 0);
    assert_returns(strait_process_submit(pool, &task, NULL, NULL), -ENOSPC);
    task.payload_size--;
    assert_returns(strait_process_submit(pool, &task, NULL, NULL), 0);
    await_outcomes();
    assert_int_equal(outcome.status, STRAIT_TASK_DONE);
    assert_int_equal(outcome.payload_size, most);
    assert_memory_equal(outcome.payload, "\000123", 5);
    close_pool();
    free(payload);
}

TEST(what_hangs_can_be_killed)
{
    struct outcome cancelled;
    struct outcome waits;
    struct outcome expires;
    struct outcome after;
    strait_task_id id;
    strait_task_id waiting;
    open_pool(1, 0);
    await_ready();
    assert_returns(submit(&cancelled, "hang", 0, NULL, &id), 0);
    assert_returns(submit(&waits, "increment", 1, NULL, &waiting), 0);
    assert_returns(strait_process_cancel(pool, waiting), 0);
    assert_int_equal(waits.completions, 0); /* not inside the cancel */
    assert_returns(strait_process_cancel(pool, waiting), -EALREADY);
    assert_returns(strait_process_cancel(pool, id), -EINPROGRESS);
    assert_returns(strait_process_cancel(pool, id), -EALREADY);
    await_ready();
    struct strait_process_submit_options how = {.finish_by = strait_deadline(100000000),
                                                .retries = 9};
    assert_returns(submit(&expires, "hang", 0, &how, NULL), 0);
    assert_returns(submit(&after, "increment", 1, NULL, NULL), 0);
    await_outcomes();
    assert_returns(strait_process_cancel(pool, id), -ENOENT);
    assert_int_equal(waits.status, STRAIT_TASK_CANCELLED);
    assert_int_equal(waits.runs, 0);
    assert_int_equal(cancelled.status, STRAIT_TASK_CANCELLED);
    assert_int_equal(cancelled.code, -ECANCELED);
    assert_int_equal(expires.status, STRAIT_TASK_EXPIRED);
    assert_int_equal(expires.code, -ETIMEDOUT);
    assert_int_equal(expires.runs, 1);
    assert_true(strait_now() >= how.finish_by);
    assert_int_equal(after.status, STRAIT_TASK_DONE);
    close_pool();
}

/* What it had not begun runs on the next one. */
TEST(a_worker_that_dies_idle)
{
    struct outcome outcome;
    siginfo_t info;
    open_pool(1, 0);
    await_ready();
    id_t pid = (id_t)strait_process_pool_pid(pool, 0);
    assert_true(kill_worker(0));
    assert_int_equal(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
    assert_returns(submit(&outcome, "increment", 1, NULL, NULL), 0);
    await_outcomes();
    assert_int_equal(outcome.status, STRAIT_TASK_DONE);
    assert_int_equal(outcome.number, 2);
    assert_int_equal(outcome.runs, 2);
    close_pool();
}

TEST(the_queue_is_bounded_and_destroy_abandons)
{
    struct outcome outcomes[5];
    open_pool(1, 4);
    await_ready();
    assert_returns(submit(&outcomes[0], "hang", 0, NULL, NULL), 0);
    for (int i = 1; i < 5; i++) {
        assert_returns(submit(&outcomes[i], "increment", 1, NULL, NULL), 0);
    }
    struct outcome refused;
    assert_returns(submit(&refused, "increment", 1, NULL, NULL), -EAGAIN);
    assert_returns(strait_process_pool_drain(pool, strait_deadline(2000000)), -ETIMEDOUT);
    assert_int_equal(strait_process_pool_owed(pool), 5);
    close_pool();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(outcomes[i].completions, 1);
        assert_int_equal(outcomes[i].status, STRAIT_TASK_ABANDONED);
    }
    assert_returns(strait_process_pool_destroy(NULL), 0);
}

/* Workers are gone by then, and their numbers. */
static void note_pid(struct strait_task *task)
{
    int32_t *pid = task->context;
    *pid = strait_process_pool_pid(pool, 0);
}

TEST(a_pool_that_ends_has_no_workers)
{
    int32_t pid = -1;
    struct strait_process_task task = {.task = {.name = "hang", .context = &pid, .done = note_pid}};
    open_pool(1, 1);
    assert_true(strait_process_pool_pid(pool, 0) > 0);
    assert_returns(strait_process_submit(pool, &task, NULL, NULL), 0);
    close_pool();
    assert_int_equal(pid, 0);
}

/* ---- tasks of completions ---- */

static unsigned chain;

static void go_on(struct strait_task *task)
{
    struct strait_process_task next = {.task = {.name = "increment", .done = go_on}};
    memcpy(next.task.data, task->data, sizeof(next.task.data));
    chain++;
    assert_returns(strait_process_pool_dispatch(pool, 0), -EDEADLK);
    assert_returns(strait_process_pool_destroy(pool), -EDEADLK);
    if (number_of(task->data) < 100) {
        assert_returns(strait_process_submit(pool, &next, NULL, NULL), 0);
    }
}

TEST(a_completion_may_submit)
{
    struct strait_process_task first = {.task = {.name = "increment", .done = go_on}};
    chain = 0;
    open_pool(1, 1);
    assert_returns(strait_process_submit(pool, &first, NULL, NULL), 0);
    assert_returns(strait_process_pool_drain(pool, STRAIT_FOREVER), 0);
    assert_int_equal(chain, 100);
    close_pool();
}

/* Submits the next one, which ends at once, as no worker is free. */
static void go_on_for_ever(struct strait_task *task)
{
    struct strait_process_task next = {
        .task = {.name = "increment", .context = task->context, .done = go_on_for_ever}};
    unsigned *patience = task->context;
    strait_task_id id;
    if (*patience > 0) {
        --*patience;
        assert_returns(strait_process_submit(pool, &next, NULL, &id), 0);
        assert_returns(strait_process_cancel(pool, id), 0);
    }
}

TEST(a_drain_ends_in_the_middle_of_completions)
{
    unsigned patience = 1000000;
    struct strait_task first = {.context = &patience};
    struct outcome hangs;
    open_pool(1, 8);
    assert_returns(submit(&hangs, "hang", 0, NULL, NULL), 0);
    go_on_for_ever(&first);
    assert_returns(strait_process_pool_drain(pool, strait_deadline(1000000)), -ETIMEDOUT);
    assert_true(patience > 0);
    patience = 0;
    close_pool();
}

TEST(what_cannot_be_made)
{
    const struct {
        struct strait_process_pool_options options;
        int error;
    } cases[] = {
        {{.workers = STRAIT_PROCESS_POOL_WORKERS_MAX + 1}, -EINVAL},
        {{.size = offsetof(struct strait_process_pool_options, payload_max) + 1}, -EINVAL},
        {{.payload_max = STRAIT_PROCESS_PAYLOAD_MAX + 1}, -EINVAL},
        {{.queue_limit = STRAIT_QUEUE_LIMIT_MAX + 1}, -EINVAL},
        {{.program = "/nonexistent"}, -ENOENT},
        {{.queue_limit = STRAIT_QUEUE_LIMIT_MAX, .payload_max = STRAIT_PROCESS_PAYLOAD_MAX},
         -ENOMEM},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        if ((TEST_ASAN || TEST_TSAN) && cases[i].error == -ENOMEM) {
            continue; /* a sanitizer ends who asks for so much */
        }
        assert_returns(strait_process_pool_create(&pool, &cases[i].options), cases[i].error);
    }
}

/* Such workers never come online: they are tried again, and what waits is bounded by its time. */
TEST(a_program_that_is_no_worker)
{
    struct strait_process_pool_options options = {.workers = 2, .program = "/bin/true"};
    struct strait_process_submit_options how = {.finish_by = strait_deadline(100000000)};
    struct outcome outcome;
    assert_returns(strait_process_pool_create(&pool, &options), 0);
    assert_returns(submit(&outcome, "increment", 0, &how, NULL), 0);
    await_outcomes();
    assert_int_equal(outcome.status, STRAIT_TASK_EXPIRED);
    close_pool();
}

/* Nor do such that have no memory for a task: it waits, and is given to none. */
TEST(workers_that_have_no_memory)
{
    const size_t payload_max = (size_t)32 << 20;
    struct strait_process_pool_options options = {
        .workers = 1,
        .queue_limit = 1,
        .payload_max = payload_max,
        .limits = {.address_space = 2 * payload_max + payload_max / 2}};
    struct strait_process_submit_options how = {.finish_by = strait_deadline(100000000)};
    struct outcome outcome;
    if (TEST_ASAN || TEST_TSAN) {
        skip(); /* a sanitizer needs more itself */
    }
    assert_returns(strait_process_pool_create(&pool, &options), 0);
    assert_returns(submit(&outcome, "increment", 0, &how, NULL), 0);
    await_outcomes();
    assert_int_equal(outcome.status, STRAIT_TASK_EXPIRED);
    assert_int_equal(outcome.runs, 0);
    close_pool();
}

/* ---- storms ---- */

/* Keeps the queue full of tasks of some microseconds while workers are killed at random: none is
 * lost, none completes twice, and none of those that may run again has failed. */
TEST(kills_at_random_moments)
{
    static struct outcome outcomes[64];
    uint64_t seed = first_seed(3);
    size_t kills = scaled(2000);
    size_t done = 0;
    memset(outcomes, 0, sizeof(outcomes));
    open_pool(2, 100);
    for (size_t killed = 0; killed < kills;) {
        for (size_t i = 0; i < COUNT(outcomes); i++) {
            struct strait_process_submit_options how = {.retries = i % 2 ? 1000 : 0};
            assert_true(submit(&outcomes[i], i % 3 ? "increment" : "rest", i, &how, NULL) == 0);
        }
        while (strait_process_pool_owed(pool) > 0) {
            assert_true(readable(strait_process_pool_fd(pool), 60000));
            strait_process_pool_dispatch(pool, 8);
            if (draw_below(&seed, 20) == 0) {
                dawdle(draw_below(&seed, 30000));
                killed += kill_worker((unsigned)draw_below(&seed, 2));
            }
        }
        for (size_t i = 0; i < COUNT(outcomes); i++) {
            bool failed = outcomes[i].status == STRAIT_TASK_FAILED;
            assert_int_equal(outcomes[i].completions, 1);
            assert_true(outcomes[i].status == STRAIT_TASK_DONE || (failed && i % 2 == 0));
            assert_int_equal(outcomes[i].signal, failed ? SIGKILL : 0);
            assert_int_equal(outcomes[i].number, i + (!failed && i % 3 ? 1 : 0));
            done += !failed;
        }
    }
    assert_true(done > kills);
    close_pool();
}

TEST(workers_that_scribble)
{
    static struct outcome outcomes[100];
    uint64_t seed = first_seed(4);
    open_pool(2, 100);
    for (size_t round = 0; round < scaled(20); round++) {
        for (size_t i = 0; i < COUNT(outcomes); i++) {
            struct strait_process_submit_options how = {
                .finish_by = i % 10 ? 0 : strait_deadline(200000000), .retries = i % 10 ? 1000 : 0};
            submit(&outcomes[i], i % 10 ? "increment" : "scribble", draw(&seed), &how, NULL);
        }
        /* A task that a scribbled word keeps from its worker ends with that worker. */
        int64_t patience = strait_deadline(500000000);
        while (strait_process_pool_owed(pool) > 0) {
            readable(strait_process_pool_fd(pool), 100);
            strait_process_pool_dispatch(pool, 0);
            if (strait_now() > patience) {
                kill_worker(0);
                kill_worker(1);
                patience = strait_deadline(500000000);
            }
        }
        for (size_t i = 0; i < COUNT(outcomes); i++) {
            assert_int_equal(outcomes[i].completions, 1);
        }
    }
    close_pool();
}

int main(int argc, char **argv)
{
    strait_process_main(argc, argv, functions);
    return tests_run();
}
