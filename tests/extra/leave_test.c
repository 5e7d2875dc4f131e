/* SPDX-License-Identifier: MIT */
/* A callback that is left by longjmp or with its thread: its object is inside it for ever, and a
 * checked build ends the program. An exception is the affair of tests/exceptions. */
#include "extra/fixture.h"

#include "strait/extra/process.h"
#include "strait_gearman.h"

#define SOON strait_deadline(60000000000)

static jmp_buf outside;
static bool with_its_thread;

static _Noreturn void leave(void)
{
    if (with_its_thread) {
        pthread_exit(NULL);
    }
    longjmp(outside, 1);
}

/* ---- callbacks, and calls that run them ---- */

static struct strait_worker *worker;
static struct strait_pool *pool;
static struct strait_parent *parent;
static struct strait_process *process;
static struct strait_process_pool *processes;
static struct strait_gearman *remote;
static struct strait_isolate *own;

static void on_event(struct strait_worker *w, const struct strait_event *event, void *context)
{
    leave();
}

static void begin_worker(void)
{
    struct strait_worker_options options = {.entry = nothing_entry, .event = on_event};
    EXPECT(strait_worker_spawn(&worker, &options) == 0);
}

static ptrdiff_t dispatch_worker(void)
{
    return strait_worker_dispatch(worker, 0);
}

static int runs(struct strait_task *task)
{
    return 0;
}

static void done(struct strait_task *task)
{
    leave();
}

static void has_room(struct strait_parent *p, void *context)
{
    leave();
}

static void begin_pool(void)
{
    struct strait_task task = {.run = runs, .done = done};
    EXPECT(strait_pool_create(&pool, NULL) == 0);
    EXPECT(strait_pool_attach(pool, &parent, NULL) == 0);
    EXPECT(strait_task_submit(parent, &task, NULL, NULL) == 0);
}

static void begin_full_pool(void)
{
    struct strait_pool_options options = {.workers = 1, .queue_limit = 1};
    struct strait_parent_options full = {.room = has_room};
    struct strait_task task = {.run = runs};
    EXPECT(strait_pool_create(&pool, &options) == 0);
    EXPECT(strait_pool_attach(pool, &parent, &full) == 0);
    while (strait_task_submit(parent, &task, NULL, NULL) == 0) {
    }
}

static ptrdiff_t wait_for_tasks(void)
{
    return strait_parent_wait_all(parent, SOON);
}

static void on_process_event(struct strait_process *p, const struct strait_process_event *event,
                             void *context)
{
    leave();
}

static void begin_process(void)
{
    struct strait_process_options options = {.function = "entry", .event = on_process_event};
    EXPECT(strait_process_spawn(&process, &options) == 0);
}

static ptrdiff_t dispatch_process(void)
{
    ptrdiff_t events;
    while ((events = strait_process_dispatch(process, 0)) == 0) {
        readable(strait_process_fd(process), 60000);
    }
    return events;
}

static const struct strait_process_task far = {.task = {.name = "run", .done = done}};

static void begin_processes(void)
{
    struct strait_process_pool_options options = {.workers = 1};
    EXPECT(strait_process_pool_create(&processes, &options) == 0);
    EXPECT(strait_process_submit(processes, &far, NULL, NULL) == 0);
}

static ptrdiff_t dispatch_processes(void)
{
    ptrdiff_t completions;
    while ((completions = strait_process_pool_dispatch(processes, 0)) == 0) {
        readable(strait_process_pool_fd(processes), 60000);
    }
    return completions;
}

static void begin_remote(void)
{
    struct strait_gearman_options options = {.servers = "127.0.0.1:1"};
    struct strait_gearman_submit_options late = {.finish_by = 1};
    EXPECT(strait_gearman_create(&remote, &options) == 0);
    EXPECT(strait_gearman_submit(remote, &far, &late, NULL) == 0);
}

static ptrdiff_t drain_remote(void)
{
    return strait_gearman_drain(remote, SOON);
}

HANDLER(on_message)
{
    leave();
}

TIMER(on_time)
{
    leave();
}

MICROTASK(on_turn)
{
    leave();
}

static ptrdiff_t run_isolate(void)
{
    return strait_isolate_run(own, on_message, NULL);
}

/* ---- left ---- */

static const struct {
    void (*begin)(void);
    ptrdiff_t (*call)(void);
} ways[] = {
    {begin_worker, dispatch_worker},       {begin_pool, wait_for_tasks},
    {begin_full_pool, wait_for_tasks},     {begin_process, dispatch_process},
    {begin_processes, dispatch_processes}, {begin_remote, drain_remote},
};

static void call_twice(ptrdiff_t (*call)(void))
{
    volatile bool left = true;
    if (setjmp(outside) == 0) {
        call();
        left = false;
    }
    EXPECT(left);
    EXPECT(call() == -EDEADLK);
}

static void leave_one(void *context)
{
    size_t way = *(size_t *)context;
    ways[way].begin();
    call_twice(ways[way].call);
}

static void *begin_and_call(void *context)
{
    size_t way = *(size_t *)context;
    ways[way].begin();
    ways[way].call();
    EXPECT(false);
    return NULL;
}

/* Whoever has joined the thread calls. */
static void leave_one_with_its_thread(void *context)
{
    pthread_t thread;
    with_its_thread = true;
    EXPECT(pthread_create(&thread, NULL, begin_and_call, context) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    EXPECT(ways[*(size_t *)context].call() == -EDEADLK);
}

/* With a message, a timer or a microtask. */
static int isolate_entry(struct strait_isolate *isolate)
{
    static struct strait_timer timer = {.run = on_time};
    size_t what = *(size_t *)strait_isolate_data(isolate);
    own = isolate;
    if (what == 1) {
        EXPECT(strait_timer_start(isolate, &timer, 1, 0) == 0);
    } else if (what == 2) {
        EXPECT(strait_microtask(isolate, on_turn, NULL) == 0);
    }
    call_twice(run_isolate);
    return 0;
}

static void leave_an_isolates(void *context)
{
    struct strait_isolate_options options = {.entry = isolate_entry, .data = context};
    run_here(&options, *(size_t *)context == 0);
}

static void expect_left(void (*body)(void *context), size_t which)
{
#ifdef STRAIT_CHECKED
    assert_abort_in_child(body, &which, (const char *const[]){"left by longjmp", NULL});
#else
    assert_well_in_child(body, &which);
#endif
}

TEST(a_callback_that_is_left_is_no_secret)
{
    if (TEST_TSAN) {
        skip(); /* it starts no thread in the child of a process with several */
    }
    for (size_t i = 0; i < COUNT(ways); i++) {
        expect_left(leave_one, i);
        expect_left(leave_one_with_its_thread, i);
    }
    for (size_t i = 0; i < 3; i++) {
        expect_left(leave_an_isolates, i);
    }
}

static int entry(struct strait_process_port *port, void *data, size_t size)
{
    return 0;
}

static const struct strait_process_function functions[] = {
    {.name = "entry", .entry = entry},
    {.name = "run", .run = runs},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    strait_process_main(argc, argv, functions);
    return tests_run();
}
