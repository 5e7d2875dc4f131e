/* SPDX-License-Identifier: MIT */
/* The smallest stack that a create or a spawn accepts is enough for every call: those that need
 * most of it, on a pool's worker and on a worker of their own. */
#include "extra/fixture.h"

#include "strait/extra/child.h"
#include "strait/extra/stats.h"
#include "strait/pool.h"

/* ---- calls ---- */

static struct strait_pool *observed;

static void tells_as_json(void)
{
    static struct strait_pool_times times;
    static char text[65536];
    EXPECT(strait_pool_json(observed, &times, text, sizeof(text)) > 0);
}

static int nothing_task(struct strait_task *task)
{
    return 0;
}

static void creates_a_pool(void)
{
    struct strait_pool *pool = NULL;
    struct strait_parent *parent = NULL;
    struct strait_task task = {.run = nothing_task};
    EXPECT(strait_pool_create(&pool, NULL) == 0);
    EXPECT(strait_pool_attach(pool, &parent, NULL) == 0);
    EXPECT(strait_task_submit(parent, &task, NULL, NULL) == 0);
    EXPECT(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0);
}

ENTRY(small_isolate)
{
    void *memory = strait_heap_alloc(isolate, 100000);
    EXPECT(memory);
    strait_heap_free(isolate, memory);
    return 0;
}

static void spawns_an_isolate(void)
{
    struct strait_isolate *isolate = NULL;
    struct strait_worker *worker = NULL;
    struct strait_isolate_options inside = {.entry = small_isolate};
    EXPECT(strait_isolate_create(&isolate, &inside) == 0);
    struct strait_worker_options options = {.entry = strait_isolate_main, .data = isolate};
    EXPECT(strait_worker_spawn(&worker, &options) == 0);
    EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(worker) == 0);
    strait_isolate_destroy(isolate);
}

static void runs_an_isolate(void)
{
    struct strait_isolate *isolate = NULL;
    struct strait_isolate_options inside = {.entry = small_isolate};
    struct strait_port a;
    struct strait_port b;
    EXPECT(strait_port_pair(&a, &b, NULL) == 0);
    EXPECT(strait_isolate_create(&isolate, &inside) == 0);
    EXPECT(strait_isolate_main(&a, isolate) == 0);
    strait_isolate_destroy(isolate);
    strait_port_close(&a);
    strait_port_close(&b);
}

static void resets_a_child(void)
{
    EXPECT(strait_child_reset() == 0);
}

static void (*const calls[])(void) = {
    tells_as_json, creates_a_pool, spawns_an_isolate, runs_an_isolate, resets_a_child,
};

/* ---- where they are made ---- */

static void (*call)(void);

static int calls_in_a_task(struct strait_task *task)
{
    call();
    return 0;
}

static int calls_in_a_worker(struct strait_port *port, void *data)
{
    call();
    return 0;
}

static void on_a_pool(void *size)
{
    struct strait_pool_options options = {.workers = 1, .stack_size = *(size_t *)size};
    struct strait_parent_options wait = {.wait = STRAIT_WAIT_PARK};
    struct strait_parent *parent;
    struct strait_task task = {.run = calls_in_a_task};
    EXPECT(strait_pool_create(&observed, &options) == 0);
    EXPECT(strait_pool_attach(observed, &parent, &wait) == 0);
    EXPECT(strait_task_submit(parent, &task, NULL, NULL) == 0);
    EXPECT(strait_pool_finish(observed, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0);
}

static void on_a_worker(void *size)
{
    struct strait_worker_options options = {.entry = calls_in_a_worker,
                                            .stack_size = *(size_t *)size};
    struct strait_worker *worker;
    EXPECT(strait_pool_create(&observed, NULL) == 0);
    EXPECT(strait_worker_spawn(&worker, &options) == 0);
    EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(worker) == 0);
}

static bool accepted(size_t size)
{
    struct strait_worker_options options = {.entry = nothing_entry, .stack_size = size};
    struct strait_worker *worker;
    if (strait_worker_spawn(&worker, &options) != 0) {
        return false;
    }
    join_and_destroy(worker);
    return true;
}

TEST(the_smallest_stack_is_enough_for_every_call)
{
    size_t size = 4096;
    if (TEST_TSAN || TEST_ASAN) {
        skip();
    }
    while (!accepted(size)) {
        size += 4096;
        assert_true(size < 1u << 20);
    }
    for (size_t i = 0; i < COUNT(calls); i++) {
        call = calls[i];
        assert_well_in_child(on_a_pool, &size);
        assert_well_in_child(on_a_worker, &size);
    }
}
