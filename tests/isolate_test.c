/* SPDX-License-Identifier: MIT */
/* isolate: the heap and its limit, microtasks and their order, the message loop. */
#include "life.h"

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
        struct strait_worker_options options = {
            .entry = neighbour_entry,
            .data = &neighbours[i],
            .heap_limit = LIMIT,
        };
        workers[i] = spawn(&options);
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
    int answer;
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
static void run_messages(struct strait_worker_options *options, uint64_t count)
{
    struct strait_worker *worker = spawn(options);
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
    struct strait_worker_options options = {.message = diary_message, .context = &diary};
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
    struct strait_worker_options options = {.message = round_message, .context = &round};
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
    struct strait_worker_options options = {.entry = early_entry, .data = &diary};
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
    struct strait_worker_options options = {.message = nested_message, .context = &diary};
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
    struct strait_worker_options options = {.entry = nested_microtask_entry, .data = &diary};
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
    struct strait_worker_options options = {.entry = ends_entry, .data = &diary};
    run_messages(&options, 8);
}

static int current_entry(struct strait_isolate *isolate)
{
    EXPECT(strait_isolate_current() == isolate);
    EXPECT(strait_isolate_port(isolate) != NULL);
    EXPECT(!strait_isolate_stopping(isolate));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(memory_is_aligned_to_16),
        life_test(odd_sizes_are_refused),
        life_test(resize_keeps_the_content),
        life_test(the_heap_limit_is_exact),
        life_test(the_last_byte_can_be_had),
        life_test(a_refused_resize_leaves_the_old_block),
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
    };
    watchdog_start();
    return cmocka_run_group_tests_name("isolate", tests, NULL, NULL);
}
