/* SPDX-License-Identifier: MIT */
/* process_hostile: what a worker does to hurt its parent; and ends that are nobody's plan. */
#include "extra/process_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#define BELL 4 /* the descriptor of its own that a worker has */

/* ---- what the workers run ---- */

/* One word of nonsense. */
static void scribble(struct shared *found, size_t count, uint64_t *seed)
{
    size_t which = draw_below(seed, count);
    uint64_t value = draw(seed);
    /* half the time near the beginning, where the indices and the first slots are */
    size_t words = draw_below(seed, 2) ? found[which].words : 64;
    volatile uint64_t *at = &found[which].at[draw_below(seed, words)];
    *at = draw_below(seed, 3) ? value & 0xffff : value;
}

/* Writes nonsense without end, and rings. */
static int hostile_entry(struct strait_process_port *port, void *data, size_t size)
{
    struct shared found[SHARED_MOST];
    size_t count = find_shared(found);
    for (unsigned round = 0;; round++) {
        scribble(found, count, data);
        if (round % 64 == 0) {
            char message[128] = "nonsense";
            strait_process_send(port, message, 1, 0);
        }
    }
    return 0;
}

/* Ends, and leaves a child that has all that it had, and goes on sending. */
static int heir_entry(struct strait_process_port *port, void *data, size_t size)
{
    if (fork() == 0) {
        uint64_t end = 1;
        int64_t until = strait_deadline(60000000000);
        while (strait_now() < until) {
            strait_process_send(port, &end, 1, 0);
        }
        _exit(0);
    }
    return 7;
}

/* Has a child that traces it when it ends, and does nothing about that. */
static int traced_entry(struct strait_process_port *port, void *data, size_t size)
{
    uint64_t traced = 0;
    int done[2];
    pid_t self = getpid();
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    if (pipe(done) == 0 && fork() == 0) {
        traced = ptrace(PTRACE_SEIZE, self, NULL, NULL) == 0;
        ssize_t ignored = write(done[1], &traced, sizeof(traced));
        (void)ignored;
        sleep(60);
        _exit(0);
    }
    ssize_t got = read(done[0], &traced, sizeof(traced));
    strait_process_send(port, &traced, got == sizeof(traced), STRAIT_FOREVER);
    return 7;
}

/* Rings without end, takes away what it has rung, and the doorbell's non-blocking mode. */
static int ringing_entry(struct strait_process_port *port, void *data, size_t size)
{
    uint64_t number = 0;
    strait_process_send(port, &number, 1, STRAIT_FOREVER);
    for (uint64_t one = UINT64_MAX / 2;; one = 1) {
        fcntl(BELL, F_SETFL, number++ % 2 ? 0 : O_NONBLOCK);
        ssize_t ignored = write(BELL, &one, sizeof(one));
        ignored = read(BELL, &one, sizeof(one));
        (void)ignored;
    }
    return 0;
}

/* Leaves the indices and, mostly, the number of the task alone: what it writes is taken for an
 * answer. */
static void *write_into_slots(void *context)
{
    struct shared found[SHARED_MOST];
    size_t count = find_shared(found);
    for (;;) {
        volatile uint64_t *at = found[draw_below(context, count)].at;
        at[draw_below(context, 1000) ? 33 + draw_below(context, 4) : 32] =
            draw(context) >> draw_below(context, 64);
    }
    return NULL;
}

/* Answers, while a thread writes into this answer and the next ones. */
static int scribble_on(struct strait_task *task)
{
    static uint64_t seed;
    pthread_t thread;
    seed = number_of(task->data);
    return pthread_create(&thread, NULL, write_into_slots, &seed);
}

/* Says that it has not taken this task, and dies of it. */
static int deny(struct strait_task *task)
{
    struct shared found[SHARED_MOST];
    find_shared(found);
    ((uint32_t *)found[0].at)[STRAIT_LINE / sizeof(uint32_t)]--; /* the head */
    return raise(SIGKILL);
}

static const struct strait_process_function functions[] = {
    {.name = "echo", .entry = echo_numbers},
    {.name = "hostile", .entry = hostile_entry},
    {.name = "heir", .entry = heir_entry},
    {.name = "traced", .entry = traced_entry},
    {.name = "ringing", .entry = ringing_entry},
    {.name = "increment", .run = increment},
    {.name = "scribble_on", .run = scribble_on},
    {.name = "deny", .run = deny},
    {.name = NULL},
};

/* ---- what is dropped ---- */

static uint64_t first_dropped;
static uint64_t dropped;

static void count_drop(void *message, void *context)
{
    first_dropped = dropped ? first_dropped : number_of(message);
    assert_int_equal(number_of(message), first_dropped + dropped);
    dropped++;
}

static void count_any(void *message, void *context)
{
    dropped++;
}

/* ---- hostile workers ---- */

TEST(a_hostile_worker_hurts_nobody)
{
    uint64_t seed = first_seed(1);
    for (size_t i = 0; i < scaled(60); i++) {
        uint64_t start = draw(&seed);
        struct strait_process_options options = {.data = &start,
                                                 .data_size = sizeof(start),
                                                 .to_worker_capacity = 1 + draw_below(&seed, 200),
                                                 .to_parent_capacity = 1 + draw_below(&seed, 200),
                                                 .to_parent_size = 8 + draw_below(&seed, 90),
                                                 .drop_to_worker = count_any,
                                                 .drop_to_parent = count_any};
        struct strait_process *process = spawn_process(&options, "hostile");
        struct strait_process_port *port = strait_process_port(process);
        for (size_t turns = 0; turns < 3000 && told.exit.type != STRAIT_EXIT; turns++) {
            char messages[128 * 3];
            strait_process_dispatch(process, 1 + draw_below(&seed, 20));
            strait_process_send(port, &seed, 1, 0);
            strait_process_receive(port, messages, 1 + turns % 3,
                                   turns % 100 ? 0 : strait_now() + 20000);
        }
        progress_made();
        strait_process_kill(process, SIGKILL);
        if (draw_below(&seed, 2)) {
            loop_to_exit(process);
            assert_int_equal(told.exit.signal, SIGKILL);
        }
        dropped = 0;
        destroy_process(process);
        assert_in_range(dropped, 0, options.to_worker_capacity + options.to_parent_capacity);
    }
}

/* Messages are counted when the worker is dead: its exit comes, and destroy ends. */
TEST(a_childs_messages_end_with_its_parent)
{
    for (size_t i = 0; i < scaled(20); i++) {
        struct strait_process_options options = {.to_parent_capacity = 1 + 100 * (i % 2),
                                                 .drop_to_parent = count_any};
        struct strait_process *process = spawn_process(&options, "heir");
        int32_t group = strait_process_pid(process);
        dropped = 0;
        if (i % 3) {
            loop_to_exit(process);
            assert_int_equal(told.exit.code, 7);
            assert_returns(strait_process_receive(strait_process_port(process), &told.heard, 1, 0),
                           -EPIPE);
        } else {
            struct strait_process_event end;
            assert_returns(strait_process_join(process, STRAIT_FOREVER, &end), 0);
            assert_int_equal(end.code, 7);
        }
        destroy_process(process);
        assert_in_range(dropped, 0, options.to_parent_capacity);
        assert_int_equal(kill(-group, SIGKILL), 0);
    }
}

/* Its exit code is the tracer's to take, which does not. No call of the parent waits for that. */
TEST(whoever_traces_a_worker)
{
    for (int i = 0; i < 2; i++) {
        struct strait_process_options options = {.size = 0};
        struct strait_process *process = spawn_process(&options, "traced");
        int32_t pid = strait_process_pid(process);
        uint64_t traced = 0;
        assert_int_equal(
            strait_process_receive(strait_process_port(process), &traced, 1, STRAIT_FOREVER), 1);
        if (i == 0) {
            loop_to_exit(process);
        } else {
            assert_returns(strait_process_join(process, STRAIT_FOREVER, &told.exit), 0);
        }
        assert_returns(strait_process_destroy(process), 0);
        kill(-pid, SIGKILL);
        if (!traced) {
            skip(); /* forbidden here */
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(told.exit.code, -EINTR);
        assert_int_equal(told.exit.signal, 0);
    }
}

/* No call of the parent takes longer, or blocks. */
TEST(a_bell_that_rings_without_end)
{
    struct strait_process_options options = {.size = 0};
    struct strait_process *process = spawn_process(&options, "ringing");
    struct strait_process_port *port = strait_process_port(process);
    uint64_t number = 0;
    while (told.heard == 0) {
        strait_process_dispatch(process, 0);
    }
    for (size_t i = 0; i < scaled(100); i++) {
        assert_returns(strait_process_receive(port, &number, 1, strait_deadline(200000)),
                       -ETIMEDOUT);
        assert_returns(strait_process_join(process, strait_deadline(200000), NULL), -ETIMEDOUT);
        assert_returns(strait_process_dispatch(process, 0), 0);
        strait_process_send(port, &number, 1, 0);
    }
    assert_returns(strait_process_kill(process, SIGKILL), 0);
    loop_to_exit(process);
    assert_int_equal(told.heard, 1);
    destroy_process(process);
}

/* ---- a pool of such ---- */

/* Whatever an answer says, its task completes once. */
TEST(answers_that_are_written_over)
{
    static struct outcome outcomes[64];
    struct strait_process_pool_options options = {
        .workers = 2, .queue_limit = COUNT(outcomes), .payload_max = 64};
    uint64_t seed = first_seed(5);
    assert_returns(strait_process_pool_create(&pool, &options), 0);
    for (size_t round = 0; round < scaled(10); round++) {
        for (size_t i = 0; i < COUNT(outcomes); i++) {
            struct strait_process_submit_options how = {.finish_by = strait_deadline(300000000)};
            const char *name = i % 16 ? "increment" : "scribble_on";
            assert_returns(submit(&outcomes[i], name, draw(&seed), &how, NULL), 0);
        }
        await_outcomes();
        for (size_t i = 0; i < COUNT(outcomes); i++) {
            assert_int_equal(outcomes[i].completions, 1);
            assert_true(outcomes[i].status != STRAIT_TASK_ABANDONED);
        }
    }
    assert_returns(strait_process_pool_destroy(pool), 0);
}

/* It ends all the same. */
TEST(a_task_that_no_worker_has_taken)
{
    struct outcome outcome;
    struct strait_process_pool_options options = {.workers = 1};
    assert_returns(strait_process_pool_create(&pool, &options), 0);
    assert_returns(submit(&outcome, "deny", 0, NULL, NULL), 0);
    assert_returns(strait_process_pool_drain(pool, STRAIT_FOREVER), 0);
    assert_int_equal(outcome.status, STRAIT_TASK_FAILED);
    assert_int_equal(outcome.signal, SIGKILL);
    assert_in_range(outcome.runs, 2, 100);
    assert_returns(strait_process_pool_destroy(pool), 0);
}

/* ---- ends at any moment ---- */

/* What was sent comes back, or is dropped, in order and once; one the worker may have had in
 * hand. */
static void check_numbers(uint64_t sent)
{
    assert_int_equal(told.exit.signal, SIGKILL);
    assert_true(told.in_order);
    assert_true(dropped == 0 || first_dropped + dropped == sent);
    assert_in_range(told.heard + dropped, sent ? sent - 1 : 0, sent);
    progress_made();
}

TEST(random_kills)
{
    uint64_t seed = first_seed(2);
    for (size_t i = 0; i < scaled(1000); i++) {
        struct strait_process_options options = {.to_worker_capacity = 64,
                                                 .drop_to_worker = count_drop};
        struct strait_process *process = spawn_process(&options, "echo");
        struct strait_process_port *port = strait_process_port(process);
        uint64_t sent = 0;
        int64_t end = strait_now() + (int64_t)draw_below(&seed, 2000000);
        while (strait_now() < end) {
            sent += strait_process_send(port, &sent, 1, 0) == 1;
            strait_process_dispatch(process, 4);
        }
        assert_returns(strait_process_kill(process, SIGKILL), 0);
        loop_to_exit(process);
        dropped = 0;
        destroy_process(process);
        check_numbers(sent);
    }
}

/* False: it sleeps in a system call. */
static bool stops(pid_t pid)
{
    int64_t patience = strait_deadline(20000000);
    while (waitpid(pid, NULL, WNOHANG | __WALL) == 0) {
        if (strait_now() > patience) {
            return false;
        }
        sched_yield();
    }
    return true;
}

/* Lets it go on for so many instructions, or until it sleeps. False: that is forbidden here. */
static bool step(pid_t pid, size_t instructions)
{
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0) {
        return false;
    }
    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
    for (size_t i = 0; stops(pid) && i < instructions; i++) {
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
    }
    return true;
}

/* From its wake-up on, through what it receives and sends: dies before each instruction, or each
 * of some. */
TEST(a_kill_at_each_instruction)
{
    const size_t most = 3000;
    for (size_t at = 0; at < most; at += most / strait_min(scaled(100), most)) {
        struct strait_process_options options = {.drop_to_worker = count_drop};
        struct strait_process *process = spawn_process(&options, "echo");
        struct strait_process_port *port = strait_process_port(process);
        uint64_t sent = 0;
        sent += strait_process_send(port, &sent, 1, 0) == 1;
        while (told.heard == 0) {
            assert_true(readable(strait_process_fd(process), 60000));
            strait_process_dispatch(process, 0);
        }
        while (sent < 4) {
            sent += strait_process_send(port, &sent, 1, 0) == 1;
        }
        if (!step(strait_process_pid(process), at)) {
            destroy_process(process);
            skip(); /* forbidden here */
        }
        assert_returns(strait_process_kill(process, SIGKILL), 0);
        loop_to_exit(process);
        dropped = 0;
        destroy_process(process);
        check_numbers(sent);
    }
}

/* Somebody else has taken the exit code: the event comes all the same. */
TEST(reaped_by_another)
{
    struct strait_process_options options = {.size = 0};
    struct strait_process *process = spawn_process(&options, "echo");
    int32_t pid = strait_process_pid(process);
    assert_returns(strait_process_kill(process, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_returns(strait_process_kill(process, SIGKILL), -EPIPE);
    loop_to_exit(process);
    assert_int_equal(told.exit.code, -EINTR);
    assert_int_equal(told.exit.signal, 0);
    destroy_process(process);
}

/* A parent that spawns, works and destroys until it dies. */
_Noreturn static void be_a_parent(void)
{
    int null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO); /* workers that find no parent say so */
    for (;;) {
        struct strait_process *process = NULL;
        struct strait_process_pool *pool = NULL;
        struct strait_process_options options = {.function = "echo"};
        struct strait_process_pool_options two = {.workers = 2};
        struct strait_process_task task = {.task = {.name = "increment"}};
        uint64_t number = 0;
        if (strait_process_spawn(&process, &options) != 0 ||
            strait_process_pool_create(&pool, &two) != 0) {
            _exit(1);
        }
        strait_process_submit(pool, &task, NULL, NULL);
        strait_process_send(strait_process_port(process), &number, 1, STRAIT_FOREVER);
        strait_process_receive(strait_process_port(process), &number, 1, STRAIT_FOREVER);
        strait_process_pool_drain(pool, STRAIT_FOREVER);
        strait_process_pool_destroy(pool);
        strait_process_destroy(process);
    }
}

/* Its workers become this process's children, and end. */
TEST(no_worker_outlives_its_parent)
{
    uint64_t seed = first_seed(6);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    for (size_t i = 0; i < scaled(100); i++) {
        int status = 0;
        pid_t parent = fork();
        if (parent == 0) {
            be_a_parent();
        }
        sleep_ns((long)draw_below(&seed, 10000000));
        assert_int_equal(kill(parent, SIGKILL), 0);
        assert_int_equal(waitpid(parent, &status, 0), parent);
        assert_true(WIFSIGNALED(status));
        while (waitpid(-1, NULL, 0) > 0) { /* or the watchdog ends it */
        }
        assert_int_equal(errno, ECHILD);
        progress_made();
    }
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
}

int main(int argc, char **argv)
{
    strait_process_main(argc, argv, functions);
    return tests_run();
}
