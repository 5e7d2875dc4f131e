/* SPDX-License-Identifier: MIT */
/* isolate: the heap and its limit, microtasks and their order, the message loop, or a loop of the
 * worker's own, usage. */
#include "tenant.h"

#include <sys/wait.h>

/* ---- heap ---- */

#define LIMIT 65536

static int alignment_entry(struct strait_isolate *isolate)
{
    for (size_t bytes = 1; bytes < 20000; bytes = bytes * 9 / 8 + 1) {
        char *memory = strait_heap_alloc(isolate, bytes);
        EXPECT(memory != NULL);
        EXPECT((uintptr_t)memory % 16 == 0);
        memory = strait_heap_resize(isolate, memory, 3 * bytes);
        EXPECT((uintptr_t)memory % 16 == 0);
        memset(memory, 0xa5, 3 * bytes);
    }
    return 0;
}

static void memory_is_aligned_to_16(void **state)
{
    (void)state;
    in_worker(alignment_entry, NULL, 0);
}

static int odd_sizes_entry(struct strait_isolate *isolate)
{
    size_t used = strait_heap_used(isolate);
    EXPECT(strait_heap_alloc(isolate, 0) == NULL);
    EXPECT(strait_heap_alloc(isolate, SIZE_MAX) == NULL);
    EXPECT(strait_heap_alloc(isolate, SIZE_MAX - 15) == NULL);
    EXPECT(strait_heap_alloc(isolate, SIZE_MAX / 2 + 1) == NULL);
    EXPECT(strait_heap_alloc(isolate, SIZE_MAX / 2) == NULL);
    EXPECT(strait_heap_resize(isolate, NULL, 0) == NULL);
    strait_heap_free(isolate, NULL);
    EXPECT(strait_heap_used(isolate) == used);
    return 0;
}

static void odd_sizes_are_refused(void **state)
{
    (void)state;
    in_worker(odd_sizes_entry, NULL, LIMIT);
}

static int resize_entry(struct strait_isolate *isolate)
{
    unsigned char *memory = strait_heap_resize(isolate, NULL, 10);
    EXPECT(memory != NULL);
    for (size_t i = 0; i < 10; i++) {
        memory[i] = (unsigned char)(i + 1);
    }
    static const size_t sizes[] = {11, 100, 9000, 100000, 8000, 64, 10};
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        memory = strait_heap_resize(isolate, memory, sizes[k]);
        EXPECT(memory != NULL);
        for (size_t i = 0; i < 10; i++) {
            EXPECT(memory[i] == (unsigned char)(i + 1));
        }
        memset(memory + 10, 0xee, sizes[k] - 10);
    }
    EXPECT(strait_heap_used(isolate) < 1000);
    EXPECT(strait_heap_resize(isolate, memory, 0) == NULL);
    EXPECT(strait_heap_used(isolate) == 0);
    return 0;
}

static void resize_keeps_the_content(void **state)
{
    (void)state;
    in_worker(resize_entry, NULL, 0);
}

/* Fills the heap with blocks of one size; how many fit must follow from what one of them costs. */
static void fill_heap(struct strait_isolate *isolate, size_t bytes)
{
    static void *blocks[LIMIT];
    size_t count = 0;
    size_t cost = 0;
    while ((blocks[count] = strait_heap_alloc(isolate, bytes))) {
        memset(blocks[count], (int)count, bytes);
        count++;
        cost = cost ? cost : strait_heap_used(isolate);
        EXPECT(strait_heap_used(isolate) == count * cost);
        EXPECT(strait_heap_used(isolate) <= LIMIT);
    }
    if (cost) {
        EXPECT(cost >= bytes);
        EXPECT(count == LIMIT / cost);
        strait_heap_free(isolate, blocks[0]);
        blocks[0] = strait_heap_alloc(isolate, bytes); /* what is given back can be had again */
        EXPECT(blocks[0] != NULL);
        EXPECT(strait_heap_alloc(isolate, bytes) == NULL);
    }
    EXPECT(cost || bytes > LIMIT / 2);
    for (size_t i = 0; i < count; i++) {
        strait_heap_free(isolate, blocks[i]);
    }
    EXPECT(strait_heap_used(isolate) == 0);
}

static int limit_entry(struct strait_isolate *isolate)
{
    for (size_t bytes = 1; bytes <= LIMIT; bytes = bytes * 5 / 4 + 1) {
        fill_heap(isolate, bytes);
    }
    return 0;
}

static void the_heap_limit_is_exact(void **state)
{
    (void)state;
    in_worker(limit_entry, NULL, LIMIT);
}

/* To the byte: a large block is not rounded, its header aside. */
static int last_byte_entry(struct strait_isolate *isolate)
{
    void *memory = strait_heap_alloc(isolate, 10000);
    size_t header = strait_heap_used(isolate) - 10000;
    EXPECT(header <= 32);
    strait_heap_free(isolate, memory);
    EXPECT(strait_heap_alloc(isolate, LIMIT - header + 1) == NULL);
    EXPECT(strait_heap_used(isolate) == 0);
    memory = strait_heap_alloc(isolate, LIMIT - header);
    EXPECT(memory != NULL);
    EXPECT(strait_heap_used(isolate) == LIMIT);
    EXPECT(strait_heap_alloc(isolate, 1) == NULL);
    strait_heap_free(isolate, memory);
    EXPECT(strait_heap_used(isolate) == 0);
    return 0;
}

static void the_last_byte_can_be_had(void **state)
{
    (void)state;
    in_worker(last_byte_entry, NULL, LIMIT);
}

static int resize_limit_entry(struct strait_isolate *isolate)
{
    unsigned char *memory = strait_heap_alloc(isolate, 20000);
    EXPECT(memory != NULL);
    memset(memory, 0x5a, 20000);
    size_t used = strait_heap_used(isolate);
    EXPECT(strait_heap_resize(isolate, memory, LIMIT) == NULL);
    EXPECT(strait_heap_resize(isolate, memory, SIZE_MAX) == NULL);
    EXPECT(strait_heap_used(isolate) == used);
    for (size_t i = 0; i < 20000; i++) {
        EXPECT(memory[i] == 0x5a);
    }
    strait_heap_free(isolate, memory);
    EXPECT(strait_heap_used(isolate) == 0);
    return 0;
}

static void a_refused_resize_leaves_the_old_block(void **state)
{
    (void)state;
    in_worker(resize_limit_entry, NULL, LIMIT);
}

static int shrink_entry(struct strait_isolate *isolate)
{
    unsigned char *memory = strait_heap_alloc(isolate, LIMIT - 100);
    EXPECT(memory != NULL);
    memset(memory, 0x5a, LIMIT - 100);
    memory = strait_heap_resize(isolate, memory, LIMIT / 4);
    EXPECT(memory != NULL);
    for (size_t i = 0; memory && i < LIMIT / 4; i++) {
        EXPECT(memory[i] == 0x5a);
    }
    return 0;
}

static void a_full_heap_refuses_no_smaller_block(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options options = {
        .entry = shrink_entry, .heap_limit = LIMIT, .event = log_event, .context = &log};
    struct strait_worker *worker = spawn_tenant(&options);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_string_equal(log.events, "ox");
    assert_no_faults();
}

/* ---- a random life, against a plain list of what should be there ---- */

#define BLOCKS 256

struct model_block {
    unsigned char *memory;
    size_t bytes;
    unsigned char pattern;
};

static size_t random_size(uint64_t *seed)
{
    size_t most = (size_t)1 << draw_below(seed, 16); /* small ones often, large ones too */
    return 1 + draw_below(seed, most);
}

static bool block_whole(const struct model_block *block, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (block->memory[i] != block->pattern) {
            return false;
        }
    }
    return true;
}

static void block_fill(struct model_block *block, unsigned char *memory, size_t bytes,
                       uint64_t *seed)
{
    EXPECT((uintptr_t)memory % 16 == 0);
    block->memory = memory;
    block->bytes = bytes;
    block->pattern = (unsigned char)draw(seed);
    memset(memory, block->pattern, bytes);
}

static void model_step(struct strait_isolate *isolate, struct model_block *block, uint64_t *seed)
{
    size_t bytes = random_size(seed);
    size_t used = strait_heap_used(isolate);
    if (!block->memory) {
        unsigned char *memory = strait_heap_alloc(isolate, bytes);
        EXPECT(memory || used + 2 * bytes + 64 > 16 * LIMIT);
        if (memory) {
            block_fill(block, memory, bytes, seed);
        }
        return;
    }
    EXPECT(block_whole(block, block->bytes));
    if (draw_below(seed, 3) == 0) {
        unsigned char *memory = strait_heap_resize(isolate, block->memory, bytes);
        if (memory) {
            block->memory = memory;
            EXPECT(block_whole(block, bytes < block->bytes ? bytes : block->bytes));
            block_fill(block, memory, bytes, seed);
        } else {
            EXPECT(strait_heap_used(isolate) == used);
            EXPECT(block_whole(block, block->bytes));
        }
        return;
    }
    strait_heap_free(isolate, block->memory);
    EXPECT(strait_heap_used(isolate) < used);
    block->memory = NULL;
}

static int model_entry(struct strait_isolate *isolate)
{
    static struct model_block blocks[BLOCKS];
    uint64_t seed = first_seed(7);
    size_t steps = scaled(60000);
    memset(blocks, 0, sizeof(blocks));
    for (size_t i = 0; i < steps; i++) {
        model_step(isolate, &blocks[draw_below(&seed, BLOCKS)], &seed);
        EXPECT(strait_heap_used(isolate) <= 16 * LIMIT);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        if (blocks[i].memory) {
            EXPECT(block_whole(&blocks[i], blocks[i].bytes));
        }
        strait_heap_free(isolate, blocks[i].memory);
    }
    EXPECT(strait_heap_used(isolate) == 0);
    return 0;
}

static void a_random_life_leaves_an_empty_heap(void **state)
{
    (void)state;
    in_worker(model_entry, NULL, 16 * LIMIT);
}

/* Nothing is freed here: the leak check of an ASan build sees to the rest. */
static int frees_nothing_entry(struct strait_isolate *isolate)
{
    char *last = NULL;
    for (size_t i = 0; i < 500; i++) {
        char *memory = strait_heap_alloc(isolate, 1 + i * 37);
        EXPECT(memory != NULL);
        memset(memory, 1, 1 + i * 37);
        last = i % 3 ? strait_heap_resize(isolate, memory, 50000) : memory;
    }
    EXPECT(last != NULL);
    return 0;
}

static void what_is_not_freed_goes_back_at_exit(void **state)
{
    (void)state;
    in_worker(frees_nothing_entry, NULL, 0);
}

struct neighbour {
    struct gate gate;
    bool greedy;
};

static int neighbour_entry(struct strait_isolate *isolate)
{
    struct neighbour *neighbour = strait_isolate_data(isolate);
    while (neighbour->greedy && strait_heap_alloc(isolate, 100)) {
    }
    gate_wait(&neighbour->gate);
    void *memory = strait_heap_alloc(isolate, LIMIT / 2);
    EXPECT(neighbour->greedy ? memory == NULL : memory != NULL);
    return 0;
}

static void a_full_heap_is_full_for_its_worker_alone(void **state)
{
    (void)state;
    struct neighbour neighbours[3] = {{.greedy = true}, {.greedy = false}, {.greedy = true}};
    struct strait_worker *workers[3];
    for (int i = 0; i < 3; i++) {
        struct tenant_options options = {
            .entry = neighbour_entry,
            .data = &neighbours[i],
            .heap_limit = LIMIT,
        };
        workers[i] = spawn_tenant(&options);
        gate_await(&neighbours[i].gate, 1);
    }
    for (int i = 0; i < 3; i++) {
        gate_open(&neighbours[i].gate);
        join_and_destroy(workers[i]);
    }
    assert_no_faults();
}

/* ---- microtasks ---- */

struct diary {
    char text[4096];
    size_t length;
    unsigned handled;
    unsigned ran;
    int answer;
    struct gate gate;
};

static void diary_note(struct diary *diary, const char *what, unsigned number)
{
    diary->length +=
        (size_t)snprintf(diary->text + diary->length, sizeof(diary->text) - diary->length, "%s%s%u",
                         diary->length ? " " : "", what, number);
}

static void diary_microtask(struct strait_isolate *isolate, void *argument)
{
    (void)isolate;
    struct diary *diary = argument;
    diary_note(diary, "micro", diary->handled);
}

static int diary_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct diary *diary = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    EXPECT(strait_microtask(isolate, diary_microtask, diary) == 0);
    diary->handled++;
    diary_note(diary, "msg", (unsigned)number);
    return 0;
}

/* A worker that handles messages, and a parent that sends 1 to count, then closes. */
static void run_messages(struct tenant_options *options, uint64_t count)
{
    struct strait_worker *worker = spawn_tenant(options);
    struct strait_port *port = strait_worker_port(worker);
    for (uint64_t i = 1; i <= count; i++) {
        assert_int_equal(strait_send(&port->sender, &i, 1, STRAIT_FOREVER), 1);
    }
    strait_sender_close(&port->sender);
    join_and_destroy(worker);
    assert_no_faults();
}

static void microtasks_run_between_messages(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {.message = diary_message, .context = &diary};
    run_messages(&options, 3);
    assert_string_equal(diary.text, "msg1 micro1 msg2 micro2 msg3 micro3");
}

struct round {
    unsigned left;
    unsigned ran;
    unsigned expected; /* at the next message */
};

static void multiply(struct strait_isolate *isolate, void *argument)
{
    struct round *round = argument;
    round->ran++;
    for (int i = 0; i < 2 && round->left > 0; i++) {
        round->left--;
        EXPECT(strait_microtask(isolate, multiply, round) == 0);
    }
}

static int round_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct round *round = context;
    (void)message;
    EXPECT(round->left == 0);
    EXPECT(round->ran == round->expected);
    round->left = 300;
    round->expected = round->ran + 301;
    EXPECT(strait_microtask(isolate, multiply, round) == 0);
    return 0;
}

static void microtasks_of_microtasks_run_in_the_same_round(void **state)
{
    (void)state;
    struct round round = {0};
    struct tenant_options options = {.message = round_message, .context = &round};
    run_messages(&options, 20);
    assert_int_equal(round.ran, 20 * 301);
}

static uintptr_t next_in_order;

static void in_order(struct strait_isolate *isolate, void *argument)
{
    (void)isolate;
    EXPECT((uintptr_t)argument == next_in_order++);
}

static int many_entry(struct strait_isolate *isolate)
{
    for (uintptr_t i = 0; i < 20000; i++) {
        EXPECT(strait_microtask(isolate, in_order, (void *)i) == 0);
    }
    EXPECT(next_in_order == 0); /* not before the entry has returned */
    return 0;
}

static void thousands_of_microtasks_run_in_order(void **state)
{
    (void)state;
    next_in_order = 0;
    in_worker(many_entry, NULL, 0);
    assert_int_equal(next_in_order, 20000);
}

/* Grows while the ring's first element is somewhere in the middle. */
static uintptr_t spiral_queued;

static void spiral(struct strait_isolate *isolate, void *argument)
{
    EXPECT((uintptr_t)argument == next_in_order++);
    for (int i = 0; i < 3 && spiral_queued < 5000; i++) {
        EXPECT(strait_microtask(isolate, spiral, (void *)spiral_queued) == 0);
        spiral_queued++;
    }
}

static int spiral_entry(struct strait_isolate *isolate)
{
    spiral_queued = 1;
    EXPECT(strait_microtask(isolate, spiral, NULL) == 0);
    return 0;
}

static void the_microtask_queue_grows_in_any_position(void **state)
{
    (void)state;
    next_in_order = 0;
    in_worker(spiral_entry, NULL, 0);
    assert_int_equal(next_in_order, 5000);
}

static unsigned microtasks_accepted;
static unsigned microtasks_ran;

static void count_microtask(struct strait_isolate *isolate, void *argument)
{
    (void)isolate;
    (void)argument;
    microtasks_ran++;
}

static int microtask_limit_entry(struct strait_isolate *isolate)
{
    int result;
    while ((result = strait_microtask(isolate, count_microtask, NULL)) == 0) {
        microtasks_accepted++;
    }
    EXPECT(result == -ENOMEM);
    EXPECT(microtasks_accepted > 100);
    EXPECT(strait_microtask(isolate, count_microtask, NULL) == -ENOMEM);
    return 0;
}

static void microtasks_past_the_limit_are_refused(void **state)
{
    (void)state;
    microtasks_accepted = 0;
    microtasks_ran = 0;
    in_worker(microtask_limit_entry, NULL, LIMIT);
    assert_int_equal(microtasks_ran, microtasks_accepted);
}

/* Queued before the loop: they run before the first message. */
static int early_entry(struct strait_isolate *isolate)
{
    struct diary *diary = strait_isolate_data(isolate);
    EXPECT(strait_microtask(isolate, diary_microtask, diary) == 0);
    return strait_isolate_run(isolate, diary_message, diary);
}

static void microtasks_of_the_entry_run_before_the_first_message(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {.entry = early_entry, .data = &diary};
    run_messages(&options, 1);
    assert_string_equal(diary.text, "micro0 msg1 micro1");
}

/* ---- the loop ---- */

static int nested_message(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)message;
    struct diary *diary = context;
    diary->answer = strait_isolate_run(isolate, nested_message, context);
    diary->handled++;
    return 0;
}

static void a_handler_may_not_run_the_loop(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {.message = nested_message, .context = &diary};
    run_messages(&options, 3);
    assert_int_equal(diary.answer, -EDEADLK);
    assert_int_equal(diary.handled, 3);
}

static void nested_microtask(struct strait_isolate *isolate, void *argument)
{
    struct diary *diary = argument;
    diary->answer = strait_isolate_run(isolate, diary_message, argument);
}

static int nested_microtask_entry(struct strait_isolate *isolate)
{
    EXPECT(strait_microtask(isolate, nested_microtask, strait_isolate_data(isolate)) == 0);
    return strait_isolate_run(isolate, diary_message, strait_isolate_data(isolate));
}

static void a_microtask_may_not_run_the_loop(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {.entry = nested_microtask_entry, .data = &diary};
    run_messages(&options, 1);
    assert_int_equal(diary.answer, -EDEADLK);
    assert_string_equal(diary.text, "msg1 micro1");
}

static int fifth_ends(struct strait_isolate *isolate, const void *message, void *context)
{
    struct diary *diary = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    EXPECT(strait_microtask(isolate, diary_microtask, diary) == 0);
    diary->handled++;
    return number == 5 ? 55 : 0;
}

static int ends_entry(struct strait_isolate *isolate)
{
    struct diary *diary = strait_isolate_data(isolate);
    EXPECT(strait_isolate_run(isolate, fifth_ends, diary) == 55);
    EXPECT(diary->handled == 5);
    EXPECT(strcmp(diary->text, "micro1 micro2 micro3 micro4 micro5") == 0);
    EXPECT(strait_isolate_run(isolate, fifth_ends, diary) == 0); /* and on with the sixth */
    EXPECT(diary->handled == 8);
    return 0;
}

static void a_handlers_result_ends_the_loop(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {.entry = ends_entry, .data = &diary};
    run_messages(&options, 8);
}

static int current_entry(struct strait_isolate *isolate)
{
    EXPECT(strait_isolate_current() == isolate);
    EXPECT(strait_isolate_port(isolate) != NULL);
    EXPECT(!strait_worker_stopping(strait_worker_current()));
    return 0;
}

static void *no_isolate(void *context)
{
    EXPECT(strait_isolate_current() == NULL);
    return context;
}

static void only_workers_have_an_isolate(void **state)
{
    (void)state;
    pthread_t thread;
    assert_null(strait_isolate_current());
    in_worker(current_entry, NULL, 0);
    assert_null(strait_isolate_current());
    thread_start(&thread, no_isolate, NULL);
    thread_join(thread);
    assert_no_faults();
}

/* Each message queues three, a round has two: what is left comes first in the next. */
static void few_microtask(struct strait_isolate *isolate, void *argument)
{
    (void)isolate;
    struct diary *diary = argument;
    diary_note(diary, "micro", ++diary->ran);
}

static int few_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct diary *diary = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    for (int i = 0; i < 3; i++) {
        EXPECT(strait_microtask(isolate, few_microtask, diary) == 0);
    }
    diary_note(diary, "msg", (unsigned)number);
    return 0;
}

static int few_entry(struct strait_isolate *isolate)
{
    struct diary *diary = strait_isolate_data(isolate);
    gate_wait(&diary->gate);
    return strait_isolate_run(isolate, few_message, diary);
}

static void a_round_of_microtasks_can_be_bounded(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {
        .entry = few_entry,
        .data = &diary,
        .microtask_limit = 2,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    struct strait_port *port = strait_worker_port(worker);
    for (uint64_t i = 1; i <= 2; i++) {
        assert_int_equal(strait_try_send(&port->sender, &i, 1), 1);
    }
    gate_open(&diary.gate);
    gate_await(&diary.gate, 1);
    strait_sender_close(&port->sender);
    join_and_destroy(worker);
    assert_no_faults();
    assert_string_equal(diary.text, "msg1 micro1 micro2 msg2 micro3 micro4 micro5 micro6");
}

static int bounded_entry(struct strait_isolate *isolate)
{
    struct diary *diary = strait_isolate_data(isolate);
    EXPECT(strait_isolate_settle(isolate) == 0);
    for (int i = 0; i < 7; i++) {
        EXPECT(strait_microtask(isolate, few_microtask, diary) == 0);
    }
    EXPECT(strait_isolate_settle(isolate) == 1);
    EXPECT(diary->ran == 3);
    EXPECT(strait_isolate_settle(isolate) == 1);
    EXPECT(strait_isolate_settle(isolate) == 0);
    EXPECT(diary->ran == 7);
    for (int i = 0; i < 7; i++) {
        EXPECT(strait_microtask(isolate, few_microtask, diary) == 0);
    }
    return 0;
}

static void what_a_bounded_round_leaves_runs_before_the_exit(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {
        .entry = bounded_entry,
        .data = &diary,
        .microtask_limit = 3,
    };
    join_and_destroy(spawn_tenant(&options));
    assert_no_faults();
    assert_int_equal(diary.ran, 14);
}

/* ---- a loop of the worker's own ---- */

struct own_loop {
    struct gate gate; /* the worker comes here when it has nothing to do for the first time */
    struct diary diary;
    size_t budget;
    size_t most; /* that one dispatch has handled */
    ptrdiff_t last;
    int ends_at; /* the message whose handler returns something */
    int results; /* the sum of what handlers returned, as it was told */
};

static int own_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct own_loop *loop = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    EXPECT(strait_microtask(isolate, few_microtask, &loop->diary) == 0);
    diary_note(&loop->diary, "msg", (unsigned)number);
    EXPECT(strait_isolate_dispatch(isolate, own_message, context, 0) == -EDEADLK);
    EXPECT(strait_isolate_settle(isolate) == -EDEADLK);
    return (int)number == loop->ends_at ? 100 + (int)number : 0;
}

/* poll(2) is the event loop. */
static int own_entry(struct strait_isolate *isolate)
{
    struct own_loop *loop = strait_isolate_data(isolate);
    int fd = strait_receiver_fd(&strait_isolate_port(isolate)->receiver);
    EXPECT(fd >= 0);
    EXPECT(strait_isolate_result(isolate) == 0);
    gate_wait(&loop->gate);
    do {
        strait_isolate_idle(isolate, true);
        EXPECT(readable(fd, -1));
        strait_isolate_idle(isolate, false);
        loop->last = strait_isolate_dispatch(isolate, own_message, loop, loop->budget);
        if (loop->last > 0 && (size_t)loop->last > loop->most) {
            loop->most = (size_t)loop->last;
        }
        if (loop->last == -EINTR) {
            loop->results += strait_isolate_result(isolate);
        }
    } while (loop->last >= 0 || loop->last == -EINTR);
    EXPECT(readable(fd, 0) || loop->last == -ECANCELED);
    return 0;
}

static struct tenant_options own_options(struct own_loop *loop)
{
    struct tenant_options options = {
        .entry = own_entry,
        .data = loop,
        .to_worker = {.receiver = STRAIT_WAIT_FD},
    };
    return options;
}

static void own_life(struct tenant_options *options, struct own_loop *loop, uint64_t count)
{
    struct strait_worker *worker = spawn_tenant(options);
    struct strait_port *port = strait_worker_port(worker);
    for (uint64_t i = 1; i <= count; i++) {
        assert_int_equal(strait_try_send(&port->sender, &i, 1), 1);
    }
    gate_open(&loop->gate);
    gate_await(&loop->gate, 1);
    strait_sender_close(&port->sender);
    join_and_destroy(worker);
    assert_no_faults();
}

static void a_dispatch_handles_messages_as_the_loop_does(void **state)
{
    (void)state;
    struct own_loop loop = {.budget = 2, .ends_at = 3};
    struct tenant_options options = own_options(&loop);
    own_life(&options, &loop, 5);
    assert_string_equal(loop.diary.text,
                        "msg1 micro1 msg2 micro2 msg3 micro3 msg4 micro4 msg5 micro5");
    assert_int_equal(loop.most, 2);
    assert_int_equal(loop.last, -EPIPE);
    assert_int_equal(loop.results, 103);
}

static void a_dispatch_without_a_budget_has_the_workers(void **state)
{
    (void)state;
    struct own_loop loop = {.budget = 0};
    struct tenant_options options = own_options(&loop);
    options.budget = 20;
    own_life(&options, &loop, 100);
    assert_int_equal(loop.most, 20);
    assert_int_equal(loop.last, -EPIPE);
}

/* The diary holds the microtasks of the last messages, too: the fd called for them. */
static int lazy_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct own_loop *loop = context;
    (void)message;
    for (int i = 0; i < 5; i++) {
        EXPECT(strait_microtask(isolate, few_microtask, &loop->diary) == 0);
    }
    return 0;
}

static int lazy_entry(struct strait_isolate *isolate)
{
    struct own_loop *loop = strait_isolate_data(isolate);
    int fd = strait_receiver_fd(&strait_isolate_port(isolate)->receiver);
    while (loop->diary.ran < 10) {
        EXPECT(readable(fd, -1));
        EXPECT(strait_isolate_dispatch(isolate, lazy_message, loop, 0) >= 0);
    }
    EXPECT(strait_isolate_dispatch(isolate, lazy_message, loop, 0) == 0);
    EXPECT(!readable(fd, 0)); /* nothing left to be called for */
    return 0;
}

static void a_dispatch_is_called_again_for_microtasks_left(void **state)
{
    (void)state;
    struct own_loop loop = {.budget = 0};
    struct tenant_options options = own_options(&loop);
    options.entry = lazy_entry;
    options.microtask_limit = 2;
    struct strait_worker *worker = spawn_tenant(&options);
    for (uint64_t i = 1; i <= 2; i++) {
        assert_int_equal(strait_try_send(&strait_worker_port(worker)->sender, &i, 1), 1);
    }
    join_and_destroy(worker);
    assert_no_faults();
    assert_int_equal(loop.diary.ran, 10);
}

static void a_stop_makes_a_loops_fd_readable(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct own_loop loop = {.budget = 1};
        struct tenant_options options = own_options(&loop);
        struct strait_worker *worker = spawn_tenant(&options);
        uint64_t message = 1;
        gate_open(&loop.gate);
        assert_int_equal(strait_try_send(&strait_worker_port(worker)->sender, &message, 1), 1);
        dawdle((size_t)i * 100); /* before, while and after it arms */
        strait_worker_stop(worker);
        join_and_destroy(worker);
        assert_int_equal(loop.last, -ECANCELED);
    }
    assert_no_faults();
}

static int spinning_dispatch_entry(struct strait_isolate *isolate)
{
    struct own_loop *loop = strait_isolate_data(isolate);
    ptrdiff_t some;
    while ((some = strait_isolate_dispatch(isolate, lazy_message, loop, 0)) >= 0) {
        sched_yield();
    }
    EXPECT(some == -EPIPE);
    return 0;
}

static void a_dispatch_can_be_polled(void **state)
{
    (void)state;
    struct own_loop loop = {.budget = 0};
    struct tenant_options options = {.entry = spinning_dispatch_entry, .data = &loop};
    run_messages(&options, 10);
    assert_int_equal(loop.diary.ran, 50);
}

/* ---- the limit's event ---- */

static int limit_event_entry(struct strait_isolate *isolate)
{
    struct gate *gate = strait_isolate_data(isolate);
    struct strait_port *port = strait_isolate_port(isolate);
    uint64_t number = 0;
    gate_wait(gate);
    EXPECT(strait_heap_alloc(isolate, 2 * LIMIT) == NULL);
    EXPECT(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1); /* it goes on */
    EXPECT(strait_heap_alloc(isolate, 2 * LIMIT) == NULL);
    EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
    return 0;
}

/* No message comes with it: the fd alone says that there is something to dispatch. */
static void the_parent_learns_of_the_limit_once(void **state)
{
    (void)state;
    struct gate gate = {.arrived = 0};
    struct event_log log;
    memset(&log, 0, sizeof(log));
    struct tenant_options options = {
        .entry = limit_event_entry,
        .data = &gate,
        .heap_limit = LIMIT,
        .event = log_event,
        .context = &log,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    uint64_t number = 0;
    while (strait_worker_dispatch(worker, 0) > 0) {
    }
    assert_string_equal(log.events, "o");
    gate_open(&gate);
    while (log.count < 2) {
        assert_true(readable(strait_worker_fd(worker), -1));
        assert_true(strait_worker_dispatch(worker, 0) >= 0);
    }
    assert_string_equal(log.events, "ow");
    assert_int_equal(strait_send(&strait_worker_port(worker)->sender, &number, 1, STRAIT_FOREVER),
                     1);
    dispatch_to_exit(worker);
    join_and_destroy(worker);
    assert_no_faults();
    assert_string_equal(log.events, "owmx");
}

static int huge_entry(struct strait_isolate *isolate)
{
    EXPECT(strait_heap_alloc(isolate, SIZE_MAX) == NULL);
    return 0;
}

/* A size that nobody has, a negative one say, is past the limit, too, where there is one. */
static void the_limit_refuses_the_largest_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct event_log log = {.count = 0};
        struct tenant_options options = {
            .entry = huge_entry,
            .heap_limit = i ? LIMIT : 0,
            .event = log_event,
            .context = &log,
        };
        struct strait_worker *worker = spawn_tenant(&options);
        dispatch_to_exit(worker);
        join_and_destroy(worker);
        assert_string_equal(log.events, i ? "owx" : "ox");
    }
    assert_no_faults();
}

/* ---- usage ---- */

static struct strait_usage usage_of(const struct strait_worker *worker)
{
    struct strait_usage usage;
    strait_isolate_usage(isolate_of(worker), &usage);
    assert_true(usage.idle_ns >= 0);
    assert_true(usage.idle_ns <= usage.online_ns);
    return usage;
}

static void usage_counts_what_the_loop_does(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {.entry = few_entry, .data = &diary};
    struct strait_worker *worker = spawn_tenant(&options);
    struct strait_port *port = strait_worker_port(worker);
    gate_open(&diary.gate);
    for (uint64_t i = 1; i <= 10; i++) {
        assert_int_equal(strait_send(&port->sender, &i, 1, STRAIT_FOREVER), 1);
    }
    strait_sender_close(&port->sender);
    assert_int_equal(strait_worker_join(worker, STRAIT_FOREVER), 0);
    struct strait_usage usage = usage_of(worker);
    assert_int_equal(usage.messages, 10);
    assert_int_equal(usage.microtasks, 30);
    assert_int_equal(usage.timers, 0);
    struct strait_usage later = usage_of(worker);
    assert_memory_equal(&usage, &later, sizeof(usage)); /* its time has ended */
    join_and_destroy(worker);
    assert_no_faults();
}

/* Waits by its port: in the mode the test wants, for a message that comes late or never. */
static int waiting_entry(struct strait_isolate *isolate)
{
    struct strait_port *port = strait_isolate_port(isolate);
    struct gate *gate = strait_isolate_data(isolate);
    uint64_t message;
    EXPECT(strait_receive(&port->receiver, &message, 1, STRAIT_FOREVER) == 1);
    gate_wait(gate); /* this is no waiting of the library's */
    EXPECT(strait_receive(&port->receiver, &message, 1, STRAIT_FOREVER) == -ECANCELED);
    return 0;
}

#define IDLE_ENOUGH 1000000

/* Until the worker has been idle for so much longer; forever if its idle time stands still. */
static void await_idle(const struct strait_worker *worker, int64_t more)
{
    int64_t from = usage_of(worker).idle_ns;
    while (usage_of(worker).idle_ns < from + more) {
        sleep_ns(GATE_NAP_NS);
    }
}

static void waits_count_as_idle_while_they_go_on(void **state)
{
    (void)state;
    for (int mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
        struct gate gate = {.arrived = 0};
        struct tenant_options options = {
            .entry = waiting_entry,
            .data = &gate,
            .to_worker = {.receiver = (enum strait_wait)mode},
        };
        struct strait_worker *worker = spawn_tenant(&options);
        uint64_t message = 0;
        await_idle(worker, IDLE_ENOUGH);
        assert_int_equal(strait_try_send(&strait_worker_port(worker)->sender, &message, 1), 1);
        gate_await(&gate, 1);
        struct strait_usage before = usage_of(worker); /* it is busy now */
        sleep_ns(IDLE_ENOUGH);
        struct strait_usage after = usage_of(worker);
        assert_int_equal(before.idle_ns, after.idle_ns);
        assert_true(after.online_ns >= before.online_ns + IDLE_ENOUGH);
        gate_open(&gate);
        await_idle(worker, IDLE_ENOUGH);
        strait_worker_stop(worker);
        join_and_destroy(worker);
    }
    assert_no_faults();
}

static void a_loop_of_ones_own_can_be_idle(void **state)
{
    (void)state;
    struct own_loop loop = {.budget = 0};
    struct tenant_options options = own_options(&loop);
    struct strait_worker *worker = spawn_tenant(&options);
    gate_await(&loop.gate, 1);
    assert_int_equal(usage_of(worker).idle_ns, 0);
    gate_open(&loop.gate);
    await_idle(worker, IDLE_ENOUGH);
    strait_worker_stop(worker);
    join_and_destroy(worker);
    assert_no_faults();
}

static int echo_message(struct strait_isolate *isolate, const void *message, void *context)
{
    (void)context;
    EXPECT(strait_send(&strait_isolate_port(isolate)->sender, message, 1, STRAIT_FOREVER) == 1);
    return 0;
}

struct observer {
    const struct strait_isolate *isolate;
    _Atomic unsigned done;
};

/* A third thread that looks all the time. */
static void *observe(void *context)
{
    struct observer *observer = context;
    struct strait_usage last = {.messages = 0};
    while (!atomic_load(&observer->done)) {
        struct strait_usage usage;
        strait_isolate_usage(observer->isolate, &usage);
        EXPECT(usage.idle_ns >= 0 && usage.idle_ns <= usage.online_ns);
        EXPECT(usage.online_ns >= last.online_ns);
        EXPECT(usage.messages >= last.messages);
        last = usage;
    }
    return NULL;
}

static void usage_can_be_read_at_any_time(void **state)
{
    (void)state;
    for (int mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_SPIN; mode++) {
        struct tenant_options options = {
            .message = echo_message,
            .to_worker = {.receiver = (enum strait_wait)mode},
            .to_parent = {.receiver = STRAIT_WAIT_PARK},
        };
        struct strait_worker *worker = spawn_tenant(&options);
        struct strait_port *port = strait_worker_port(worker);
        struct observer observer = {.isolate = isolate_of(worker)};
        pthread_t thread;
        thread_start(&thread, observe, &observer);
        size_t trips = scaled(5000);
        for (uint64_t i = 0; i < trips; i++) {
            uint64_t back;
            assert_int_equal(strait_send(&port->sender, &i, 1, STRAIT_FOREVER), 1);
            assert_int_equal(strait_receive(&port->receiver, &back, 1, STRAIT_FOREVER), 1);
            progress_made();
        }
        atomic_store(&observer.done, 1);
        thread_join(thread);
        strait_sender_close(&port->sender);
        assert_int_equal(strait_worker_join(worker, STRAIT_FOREVER), 0);
        assert_int_equal(usage_of(worker).messages, trips);
        join_and_destroy(worker);
    }
    assert_no_faults();
}

static int heap_usage_entry(struct strait_isolate *isolate)
{
    struct gate *gates = strait_isolate_data(isolate);
    void *memory = strait_heap_alloc(isolate, 30000);
    strait_heap_free(isolate, memory);
    memory = strait_heap_alloc(isolate, 10000);
    gate_wait(&gates[0]);
    strait_heap_free(isolate, memory);
    EXPECT(strait_heap_alloc(isolate, 2 * LIMIT) == NULL); /* what is refused was never used */
    gate_wait(&gates[1]);
    return 0;
}

static void usage_shows_the_heap_from_outside(void **state)
{
    (void)state;
    struct gate gates[2] = {{.arrived = 0}, {.arrived = 0}};
    struct tenant_options options = {
        .entry = heap_usage_entry,
        .data = gates,
        .heap_limit = LIMIT,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    gate_await(&gates[0], 1);
    struct strait_usage usage = usage_of(worker);
    assert_in_range(usage.heap_used, 10000, 10100);
    assert_in_range(usage.heap_highest, 30000, 30100);
    gate_open(&gates[0]);
    gate_await(&gates[1], 1);
    usage = usage_of(worker);
    assert_int_equal(usage.heap_used, 0);
    assert_in_range(usage.heap_highest, 30000, 30100);
    gate_open(&gates[1]);
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- its life ---- */

static int nothing_entry(struct strait_isolate *isolate)
{
    EXPECT(strait_isolate_current() == isolate);
    return 5;
}

static void bad_options_make_no_isolate(void **state)
{
    (void)state;
    struct {
        struct strait_isolate_options options;
        char tail[16];
    } newer = {.options = {.size = sizeof(newer), .entry = nothing_entry}, .tail = {0}};
    const struct strait_isolate_options neither = {.heap_limit = 1};
    struct strait_isolate *isolate = NULL;
    assert_returns(strait_isolate_create(&isolate, &neither), -EINVAL);
    newer.tail[15] = 1;
    assert_returns(strait_isolate_create(&isolate, &newer.options), -EINVAL);
    assert_null(isolate);
    newer.tail[15] = 0;
    assert_returns(strait_isolate_create(&isolate, &newer.options), 0);
    strait_isolate_destroy(isolate); /* it never ran */
    strait_isolate_destroy(NULL);
}

static int inner_result;

static int outer_entry(struct strait_isolate *isolate)
{
    struct strait_isolate *inner = strait_isolate_data(isolate);
    inner_result = strait_isolate_main(strait_isolate_port(isolate), inner);
    return strait_isolate_main(strait_isolate_port(isolate), isolate);
}

/* On a thread that is no worker, with a port of its own; once, and one at a time. */
static void any_thread_may_run_an_isolate_once(void **state)
{
    (void)state;
    struct strait_isolate_options options = {.entry = nothing_entry};
    struct strait_isolate *inner;
    struct strait_isolate *isolate;
    struct strait_usage usage;
    struct strait_port a;
    struct strait_port b;
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    assert_returns(strait_isolate_create(&inner, &options), 0);
    options.entry = outer_entry;
    options.data = inner;
    assert_returns(strait_isolate_create(&isolate, &options), 0);
    strait_isolate_usage(isolate, &usage);
    assert_int_equal(usage.online_ns, 0);
    assert_int_equal(strait_isolate_main(&a, isolate), -EINVAL);
    assert_int_equal(inner_result, -EINVAL);
    assert_int_equal(strait_isolate_main(&a, isolate), -EINVAL); /* it has run */
    assert_int_equal(strait_isolate_main(&a, inner), 5);
    assert_null(strait_isolate_current());
    strait_isolate_destroy(isolate);
    strait_isolate_destroy(inner);
    strait_port_close(&a);
    strait_port_close(&b);
    assert_no_faults();
}

static int exiting_entry(struct strait_isolate *isolate)
{
    EXPECT(strait_heap_alloc(isolate, 100000) != NULL);
    pthread_exit(NULL);
}

static void an_isolate_goes_with_its_thread(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct tenant_options options = {.entry = exiting_entry, .event = log_event, .context = &log};
    struct strait_worker *worker = spawn_tenant(&options);
    dispatch_to_exit(worker);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_FAILED);
    assert_int_equal(log.exit.code, -EINTR);
    struct strait_usage usage = usage_of(worker);
    struct strait_usage later = usage_of(worker);
    assert_memory_equal(&usage, &later, sizeof(usage));
    assert_int_equal(usage.heap_used, 0);
    join_and_destroy(worker);
    assert_no_faults();
}

/* ---- what a handler may do with its port, and a stop ---- */

/* Takes every second message by itself. */
static int greedy_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct diary *diary = context;
    uint64_t number;
    uint64_t next;
    memcpy(&number, message, sizeof(number));
    EXPECT(strait_receive(&strait_isolate_port(isolate)->receiver, &next, 1, STRAIT_FOREVER) == 1);
    EXPECT(next == number + 1);
    diary_note(diary, "msg", (unsigned)number);
    return 0;
}

static void a_handler_may_receive_the_next_message(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {.message = greedy_message, .context = &diary};
    run_messages(&options, 6);
    assert_string_equal(diary.text, "msg1 msg3 msg5");
}

static int closing_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct diary *diary = context;
    uint64_t number;
    strait_port_close(strait_isolate_port(isolate));
    memcpy(&number, message, sizeof(number)); /* it is still there */
    diary_note(diary, "msg", (unsigned)number);
    return 0;
}

static void a_handler_may_close_the_port(void **state)
{
    (void)state;
    struct diary diary = {.length = 0};
    struct tenant_options options = {.message = closing_message, .context = &diary};
    struct strait_worker *worker = spawn_tenant(&options);
    const uint64_t numbers[] = {7, 8, 9};
    strait_try_send(&strait_worker_port(worker)->sender, numbers, 3);
    join_and_destroy(worker);
    assert_string_equal(diary.text, "msg7");
    assert_no_faults();
}

struct stopped {
    struct gate gate;
    unsigned handled_after;
    _Atomic unsigned dropped;
};

static int stopped_message(struct strait_isolate *isolate, const void *message, void *context)
{
    struct stopped *stopped = context;
    (void)isolate;
    (void)message;
    stopped->handled_after += atomic_load(&stopped->gate.open);
    gate_wait(&stopped->gate);
    EXPECT(strait_worker_stopping(strait_worker_current()));
    return 0;
}

static void count_stopped_drop(void *message, void *context)
{
    struct stopped *stopped = context;
    (void)message;
    atomic_fetch_add(&stopped->dropped, 1);
}

static void a_stopped_loop_takes_no_further_message(void **state)
{
    (void)state;
    struct stopped stopped = {.handled_after = 0};
    struct tenant_options options = {
        .message = stopped_message, .context = &stopped, .drop_to_worker = count_stopped_drop};
    struct strait_worker *worker = spawn_tenant(&options);
    for (uint64_t i = 0; i < 5; i++) {
        strait_try_send(&strait_worker_port(worker)->sender, &i, 1);
    }
    gate_await(&stopped.gate, 1);
    strait_worker_stop(worker);
    gate_open(&stopped.gate);
    join_and_destroy(worker);
    assert_int_equal(stopped.handled_after, 0);
    assert_int_equal(stopped.dropped, 4); /* the others went to the drop callback */
    assert_no_faults();
}

static void a_stop_ends_a_sleeping_loop(void **state)
{
    (void)state;
    for (size_t i = 0; i < scaled(100); i++) {
        struct event_log log = {.count = 0};
        struct tenant_options options = {
            .message = echo_message, .event = log_event, .context = &log};
        struct strait_worker *worker = spawn_tenant(&options);
        dawdle(i % 5 * 5000);
        if (i % 10 == 0) {
            sleep_ns(500000); /* asleep by now */
        }
        strait_worker_stop(worker);
        dispatch_to_exit(worker);
        assert_int_equal(log.exit.reason, STRAIT_EXIT_STOPPED);
        join_and_destroy(worker);
    }
}

/* ---- misuse, in a checked build: the program ends, and says why ---- */

/* A child process needs a worker, and ThreadSanitizer lets no thread start after a fork. */
#if defined(STRAIT_CHECKED) && !TEST_TSAN
#define TEST_MISUSE 1
#else
#define TEST_MISUSE 0
#endif

#if TEST_MISUSE

enum crime {
    CRIME_ALLOC,
    CRIME_START,
    CRIME_STOP,
    CRIME_SETTLE,
    CRIME_PORT,
    CRIME_DATA,
    CRIME_DISPATCH,
    CRIMES,
};

struct scene {
    struct gate gate;
    struct strait_isolate *isolate;
    struct strait_timer timer;
};

static int scene_entry(struct strait_isolate *isolate)
{
    struct scene *scene = strait_isolate_data(isolate);
    scene->isolate = isolate;
    gate_wait(&scene->gate);
    return 0;
}

/* On the parent's thread. */
static void commit_crime(struct scene *scene, enum crime crime)
{
    scene->timer.run = NULL;
    switch (crime) {
    case CRIME_ALLOC:
        strait_heap_alloc(scene->isolate, 1);
        break;
    case CRIME_START:
        strait_timer_start(scene->isolate, &scene->timer, 0, 0);
        break;
    case CRIME_STOP:
        strait_timer_stop(scene->isolate, &scene->timer);
        break;
    case CRIME_SETTLE:
        strait_isolate_settle(scene->isolate);
        break;
    case CRIME_PORT:
        strait_isolate_port(scene->isolate);
        break;
    case CRIME_DATA:
        strait_isolate_data(scene->isolate);
        break;
    default:
        strait_isolate_dispatch(scene->isolate, diary_message, NULL, 1);
        break;
    }
}

static void criminal(enum crime crime)
{
    struct scene scene = {.isolate = NULL};
    struct tenant_options options = {.entry = scene_entry, .data = &scene};
    struct strait_worker *worker;
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (tenant_spawn(&worker, &options) == 0) {
        gate_await(&scene.gate, 1);
        commit_crime(&scene, crime);
    }
    _exit(0);
}

static void an_isolate_used_by_another_thread_is_caught(void **state)
{
    (void)state;
    for (int crime = 0; crime < CRIMES; crime++) {
        int status = 0;
        int ends[2];
        char said[512] = "";
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            dup2(ends[1], STDERR_FILENO);
            signal(SIGABRT, SIG_DFL);
            criminal((enum crime)crime);
        }
        close(ends[1]);
        assert_true(read(ends[0], said, sizeof(said) - 1) >= 0);
        close(ends[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_non_null(strstr(said, "an isolate is used by its own worker only"));
        progress_made();
    }
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(memory_is_aligned_to_16),
        life_test(odd_sizes_are_refused),
        life_test(resize_keeps_the_content),
        life_test(the_heap_limit_is_exact),
        life_test(the_last_byte_can_be_had),
        life_test(a_refused_resize_leaves_the_old_block),
        life_test(a_full_heap_refuses_no_smaller_block),
        life_test(a_random_life_leaves_an_empty_heap),
        life_test(what_is_not_freed_goes_back_at_exit),
        life_test(a_full_heap_is_full_for_its_worker_alone),
        life_test(microtasks_run_between_messages),
        life_test(microtasks_of_microtasks_run_in_the_same_round),
        life_test(thousands_of_microtasks_run_in_order),
        life_test(the_microtask_queue_grows_in_any_position),
        life_test(microtasks_past_the_limit_are_refused),
        life_test(microtasks_of_the_entry_run_before_the_first_message),
        life_test(a_handler_may_not_run_the_loop),
        life_test(a_microtask_may_not_run_the_loop),
        life_test(a_handlers_result_ends_the_loop),
        life_test(only_workers_have_an_isolate),
        life_test(a_round_of_microtasks_can_be_bounded),
        life_test(what_a_bounded_round_leaves_runs_before_the_exit),
        life_test(a_dispatch_handles_messages_as_the_loop_does),
        life_test(a_dispatch_without_a_budget_has_the_workers),
        life_test(a_dispatch_is_called_again_for_microtasks_left),
        life_test(a_stop_makes_a_loops_fd_readable),
        life_test(a_dispatch_can_be_polled),
        life_test(the_parent_learns_of_the_limit_once),
        life_test(the_limit_refuses_the_largest_sizes),
        life_test(usage_counts_what_the_loop_does),
        life_test(waits_count_as_idle_while_they_go_on),
        life_test(a_loop_of_ones_own_can_be_idle),
        life_test(usage_can_be_read_at_any_time),
        life_test(usage_shows_the_heap_from_outside),
        life_test(bad_options_make_no_isolate),
        life_test(any_thread_may_run_an_isolate_once),
        life_test(an_isolate_goes_with_its_thread),
        life_test(a_handler_may_receive_the_next_message),
        life_test(a_handler_may_close_the_port),
        life_test(a_stopped_loop_takes_no_further_message),
        life_test(a_stop_ends_a_sleeping_loop),
#if TEST_MISUSE
        life_test(an_isolate_used_by_another_thread_is_caught),
#endif
    };
    watchdog_start();
    return cmocka_run_group_tests_name("isolate", tests, NULL, NULL);
}
