/* SPDX-License-Identifier: MIT */
/* Order and exactly-once, with real threads: every variant, wait mode, way to send and receive,
 * message size and batch. */
#include "support.h"

/* How messages go in and come out. */
enum path {
    PATH_TRY,   /* copy, and yield when it cannot go on */
    PATH_BLOCK, /* copy, and wait for ever */
    PATH_TIMED, /* copy, and wait for a few microseconds */
    PATH_SPAN,  /* in place, and wait for ever */
    PATH_MIXED, /* each time another one */
};

#define BATCH_MOST 64

struct flow {
    const struct test_case *test;
    size_t capacity;
    size_t message_size;
    size_t send_batch;
    size_t receive_batch;
    uint64_t per_sender;
    enum path path;
    bool one_handle; /* all threads send through the same, where the variant allows it */
};

struct run {
    struct flow flow;
    struct strait_channel *channel;
    struct strait_sender handles[SENDERS_MOST];
    unsigned senders;
    _Atomic unsigned long errors;
    _Atomic unsigned finished;
};

struct run_sender {
    struct run *run;
    struct strait_sender *handle;
    unsigned number;
    uint64_t seed;
};

static void expect(struct run *run, bool condition)
{
    error_if(&run->errors, !condition || !errno_kept());
}

static enum path path_now(const struct flow *flow, uint64_t *seed)
{
    return flow->path == PATH_MIXED ? (enum path)draw_below(seed, PATH_MIXED) : flow->path;
}

/* ---- senders ---- */

static size_t send_span(struct run_sender *self, size_t n, uint64_t sequence)
{
    struct strait_span span;
    size_t size = self->run->flow.message_size;
    ptrdiff_t count = strait_reserve(self->handle, n, &span);
    if (count == -EAGAIN) {
        expect(self->run, strait_send_wait(self->handle, STRAIT_FOREVER) == 0);
        return 0;
    }
    expect(self->run, count > 0 && (size_t)count <= n && span.count == (size_t)count &&
                          span.message_size == size);
    messages_write(span.messages, span.count, size, self->number, sequence);
    strait_commit(self->handle, &span);
    expect(self->run, true);
    return span.count;
}

static size_t send_copies(struct run_sender *self, enum path path, size_t n, uint64_t sequence)
{
    unsigned char messages[BATCH_MOST * MESSAGE_MOST];
    struct run *run = self->run;
    messages_write(messages, n, run->flow.message_size, self->number, sequence);
    if (path == PATH_BLOCK) {
        ptrdiff_t sent = strait_send(self->handle, messages, n, STRAIT_FOREVER);
        expect(run, sent == (ptrdiff_t)n);
        return n;
    }
    if (path == PATH_TIMED) {
        int64_t deadline = strait_deadline((int64_t)draw_below(&self->seed, 50000));
        ptrdiff_t sent = strait_send(self->handle, messages, n, deadline);
        expect(run, sent > 0 ? sent <= (ptrdiff_t)n : sent == -ETIMEDOUT);
        return sent > 0 ? (size_t)sent : 0;
    }
    ptrdiff_t sent = strait_try_send(self->handle, messages, n);
    expect(run, sent > 0 ? sent <= (ptrdiff_t)n : sent == -EAGAIN);
    if (sent < 0) {
        sched_yield();
    }
    return sent > 0 ? (size_t)sent : 0;
}

static void *sender_body(void *context)
{
    struct run_sender *self = context;
    struct run *run = self->run;
    if (!run->flow.one_handle) {
        strait_sender_adopt(self->handle);
    }
    errno = ERRNO_MARK;
    for (uint64_t sent = 0; sent < run->flow.per_sender;) {
        uint64_t left = run->flow.per_sender - sent;
        size_t n = run->flow.send_batch < left ? run->flow.send_batch : (size_t)left;
        enum path path = path_now(&run->flow, &self->seed);
        sent += path == PATH_SPAN ? send_span(self, n, sent) : send_copies(self, path, n, sent);
    }
    /* the shared handle closes with its last thread */
    if (!run->flow.one_handle || atomic_fetch_add(&run->finished, 1) + 1 == run->senders) {
        strait_sender_close(self->handle);
        expect(run, true);
    }
    return NULL;
}

/* ---- the receiver: the main thread ---- */

/* In place, and often not all of what was seen. */
static ptrdiff_t receive_span(struct run *run, struct strait_receiver *receiver,
                              struct tally *tally, uint64_t *seed)
{
    struct strait_span span;
    ptrdiff_t count = strait_peek(receiver, run->flow.receive_batch, &span);
    if (count == -EAGAIN) {
        int result = strait_receive_wait(receiver, STRAIT_FOREVER);
        expect(run, result == 0 || result == -EPIPE);
        return -EAGAIN;
    }
    if (count < 0) {
        return count;
    }
    expect(run, span.count == (size_t)count && span.message_size == run->flow.message_size);
    span.count -= draw_below(seed, span.count);
    tally_messages(tally, span.messages, span.count, span.message_size);
    strait_release(receiver, &span);
    expect(run, true);
    return (ptrdiff_t)span.count;
}

static ptrdiff_t receive_copies(struct run *run, struct strait_receiver *receiver, enum path path,
                                struct tally *tally, uint64_t *seed)
{
    unsigned char messages[BATCH_MOST * MESSAGE_MOST];
    size_t n = run->flow.receive_batch;
    ptrdiff_t count;
    if (path == PATH_BLOCK) {
        count = strait_receive(receiver, messages, n, STRAIT_FOREVER);
        expect(run, count > 0 || count == -EPIPE);
    } else if (path == PATH_TIMED) {
        int64_t deadline = strait_deadline((int64_t)draw_below(seed, 50000));
        count = strait_receive(receiver, messages, n, deadline);
        expect(run, count > 0 || count == -EPIPE || count == -ETIMEDOUT);
    } else {
        count = strait_try_receive(receiver, messages, n);
        expect(run, count > 0 || count == -EPIPE || count == -EAGAIN);
        if (count == -EAGAIN) {
            sched_yield();
        }
    }
    if (count > 0) {
        expect(run, (size_t)count <= n);
        tally_messages(tally, messages, (size_t)count, run->flow.message_size);
    }
    return count;
}

static void receive_all(struct run *run, struct strait_receiver *receiver, struct tally *tally)
{
    uint64_t seed = 1;
    ptrdiff_t count;
    errno = ERRNO_MARK;
    do {
        enum path path = path_now(&run->flow, &seed);
        count = path == PATH_SPAN ? receive_span(run, receiver, tally, &seed)
                                  : receive_copies(run, receiver, path, tally, &seed);
        progress_made();
    } while (count != -EPIPE);
}

/* ---- one run ---- */

static void open_senders(struct run *run)
{
    unsigned handles = run->flow.one_handle ? 1 : run->senders;
    for (unsigned i = 0; i < handles; i++) {
        assert_returns(strait_sender_open(&run->handles[i], run->channel), 0);
    }
}

static void check(const struct run *run, const struct tally *tally)
{
    assert_int_equal(run->errors, 0);
    assert_int_equal(tally->wrong, 0);
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        assert_int_equal(tally->next[i], i < run->senders ? run->flow.per_sender : 0);
    }
}

static void flow_run(struct flow flow)
{
    struct run run = {.flow = flow, .senders = case_senders(flow.test)};
    struct strait_receiver receiver;
    struct run_sender senders[SENDERS_MOST];
    pthread_t threads[SENDERS_MOST];
    struct tally tally = {.wrong = 0};
    run.channel = case_channel(flow.test, flow.capacity, flow.message_size);
    open_senders(&run);
    assert_returns(strait_receiver_open(&receiver, run.channel), 0);
    for (unsigned i = 0; i < run.senders; i++) {
        senders[i] = (struct run_sender){
            .run = &run, .handle = &run.handles[flow.one_handle ? 0 : i], .number = i, .seed = i};
        thread_start(&threads[i], sender_body, &senders[i]);
    }
    receive_all(&run, &receiver, &tally);
    for (unsigned i = 0; i < run.senders; i++) {
        thread_join(threads[i]);
    }
    strait_receiver_close(&receiver);
    struct drop_tally drops = {.tally = &tally, .message_size = flow.message_size};
    strait_channel_destroy(run.channel, tally_drop, &drops);
    assert_int_equal(drops.dropped, 0);
    check(&run, &tally);
}

static struct flow flow_of(void **state, size_t messages)
{
    const struct test_case *test = *state;
    struct flow flow = {
        .test = test,
        .capacity = 100,
        .message_size = 24,
        .send_batch = 1,
        .receive_batch = 1,
        .per_sender = scaled(messages) / case_senders(test),
        .path = PATH_BLOCK,
    };
    return flow;
}

/* ---- tests ---- */

static void test_blocking_singles(void **state)
{
    flow_run(flow_of(state, 40000));
}

static void test_blocking_batches(void **state)
{
    struct flow flow = flow_of(state, 200000);
    flow.send_batch = 7;
    flow.receive_batch = 13;
    flow_run(flow);
}

/* Nothing fits: each hand-over needs the other side to have moved. */
static void test_capacity_one(void **state)
{
    struct flow flow = flow_of(state, 3000);
    flow.capacity = 1;
    flow.path = PATH_MIXED;
    flow.send_batch = 3;
    flow.receive_batch = 3;
    flow_run(flow);
}

static void test_mixed_paths(void **state)
{
    struct flow flow = flow_of(state, 60000);
    flow.capacity = 37;
    flow.path = PATH_MIXED;
    flow.send_batch = 5;
    flow.receive_batch = 11;
    flow_run(flow);
}

static void test_paths(void **state)
{
    for (int path = PATH_TRY; path <= PATH_MIXED; path++) {
        struct flow flow = flow_of(state, 2000000);
        flow.path = (enum path)path;
        flow.capacity = 1000;
        flow.send_batch = 17;
        flow.receive_batch = 31;
        flow.message_size = 16;
        flow_run(flow);
    }
}

static void test_message_sizes(void **state)
{
    static const size_t sizes[] = {1, 3, 8, 12, 24, 64, 100};
    static const size_t capacities[] = {1025, 64, 100, 7, 3, 63, 2};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct flow flow = flow_of(state, 40000);
        flow.message_size = sizes[i];
        flow.capacity = capacities[i];
        flow.path = PATH_MIXED;
        flow.send_batch = 1 + i;
        flow.receive_batch = 9 - i;
        flow_run(flow);
    }
}

/* A batch larger than the channel. */
static void test_batch_beyond_capacity(void **state)
{
    struct flow flow = flow_of(state, 50000);
    flow.capacity = 5;
    flow.send_batch = 64;
    flow.receive_batch = 64;
    flow.path = PATH_MIXED;
    flow_run(flow);
}

static void test_one_handle_for_all(void **state)
{
    const struct test_case *test = *state;
    if (test->variant->senders != STRAIT_SENDERS_ANY || case_senders(test) == 1) {
        skip();
    }
    for (int path = PATH_TRY; path <= PATH_MIXED; path++) {
        struct flow flow = flow_of(state, 40000);
        flow.path = (enum path)path;
        flow.one_handle = true;
        flow.send_batch = 3;
        flow.receive_batch = 7;
        flow_run(flow);
    }
}

int main(void)
{
    static struct suite suite;
    watchdog_start();
    suite_mode_pairs(&suite, "blocking singles", test_blocking_singles);
    suite_modes(&suite, "blocking batches", test_blocking_batches);
    suite_mode_pairs(&suite, "capacity one", test_capacity_one);
    suite_mode_pairs(&suite, "mixed paths", test_mixed_paths);
    suite_variants(&suite, "paths", test_paths);
    suite_variants(&suite, "message sizes", test_message_sizes);
    suite_modes(&suite, "batch beyond capacity", test_batch_beyond_capacity);
    suite_modes(&suite, "one handle for all", test_one_handle_for_all);
    return suite_run(&suite, "channel_stress");
}
