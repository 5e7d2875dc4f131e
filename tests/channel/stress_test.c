/* SPDX-License-Identifier: MIT */
/* Order and exactly-once, with real threads: each ring, wait mode, way to send and receive, message
 * size and batch; to the end, or until a side closes in the middle; with senders that come and go.
 */
#include "channel/fixture.h"

/* How messages go in and come out. */
enum path {
    PATH_TRY,   /* copy, and yield when it cannot go on */
    PATH_LOOP,  /* copy, and arm and poll the fd when it cannot go on; without an fd yield */
    PATH_BLOCK, /* copy, and wait for ever */
    PATH_TIMED, /* copy, and wait for a few microseconds */
    PATH_SPAN,  /* in place, and wait for ever */
    PATH_POLL,  /* in place, and yield when it cannot go on */
    PATH_MIXED, /* each time another one */
};

#define BATCH_MOST 64

/* What flows. Batches below 0: each time another one, up to so many. */
struct flow {
    size_t messages; /* of all senders, in a round; 0: each round another number, at random */
    size_t capacity; /* 0: each round another one, at random */
    size_t message_size;
    enum path path;
    int send_batch;
    int receive_batch;
    size_t rounds;
    bool one_handle;      /* all threads send through the same, where the variant allows it */
    bool receiver_closes; /* in the middle; the senders go on until they are refused */
};

/* One channel after the other, and threads that live through all rounds: making them anew would
 * leave no race to be had. */
struct run {
    struct flow flow;
    const struct test_case *test;
    struct strait_channel *channel;
    struct strait_sender handles[SENDERS_MOST];
    struct strait_receiver receiver;
    unsigned senders;
    uint64_t per_sender;
    uint64_t accepted[SENDERS_MOST]; /* plain: written before a sender closes */
    _Atomic unsigned start;          /* the round */
    _Atomic unsigned closing;        /* how many threads of a shared handle are through */
    _Atomic unsigned done;
    struct tally tally;
    uint64_t seed;
};

struct run_sender {
    struct run *run;
    struct strait_sender *handle;
    unsigned number;
    uint64_t seed;
};

static enum path path_now(const struct flow *flow, uint64_t *seed)
{
    return flow->path == PATH_MIXED ? (enum path)draw_below(seed, PATH_MIXED) : flow->path;
}

static size_t batch_now(int batch, uint64_t *seed)
{
    return batch < 0 ? 1 + draw_below(seed, (size_t)-batch) : (size_t)batch;
}

/* Back to the event loop: `armed` is what arming has answered. No timeout: a wake-up that is lost
 * stops the test. */
static void poll_armed(int fd, int armed)
{
    if (armed == 1) {
        EXPECT(readable(fd, -1));
    }
}

/* ---- senders ---- */

static ptrdiff_t send_span(struct run_sender *self, bool wait, size_t n, uint64_t sequence)
{
    struct strait_span span;
    size_t size = self->run->flow.message_size;
    ptrdiff_t count = strait_reserve(self->handle, n, &span);
    if (count == -EAGAIN && wait) {
        int result = strait_send_wait(self->handle, STRAIT_FOREVER);
        EXPECT(result == 0 || result == -EPIPE);
    }
    if (count < 0) {
        return count;
    }
    EXPECT(count > 0 && (size_t)count <= n && span.count == (size_t)count &&
           span.message_size == size);
    messages_write(span.messages, span.count, size, self->number, sequence);
    strait_commit(self->handle, &span);
    return count;
}

/* One call: how many were accepted, or why none. */
static ptrdiff_t send_some(struct run_sender *self, size_t n, uint64_t sequence)
{
    unsigned char messages[BATCH_MOST * MESSAGE_MOST];
    enum path path = path_now(&self->run->flow, &self->seed);
    ptrdiff_t sent;
    if (path == PATH_SPAN || path == PATH_POLL) {
        return send_span(self, path == PATH_SPAN, n, sequence);
    }
    messages_write(messages, n, self->run->flow.message_size, self->number, sequence);
    if (path == PATH_BLOCK) {
        sent = strait_send(self->handle, messages, n, STRAIT_FOREVER);
        EXPECT(sent == (ptrdiff_t)n || self->run->flow.receiver_closes);
    } else if (path == PATH_TIMED) {
        int64_t deadline = strait_deadline((int64_t)draw_below(&self->seed, 50000));
        sent = strait_send(self->handle, messages, n, deadline);
    } else {
        sent = strait_try_send(self->handle, messages, n);
        if (sent == -EAGAIN && path == PATH_LOOP) {
            poll_armed(strait_sender_fd(self->handle), strait_sender_arm(self->handle));
        }
    }
    return sent;
}

static void send_all(struct run_sender *self)
{
    struct run *run = self->run;
    bool refused = run->flow.receiver_closes;
    uint64_t sent = 0;
    while (refused || sent < run->per_sender) {
        size_t n = batch_now(run->flow.send_batch, &self->seed);
        n = refused || n < run->per_sender - sent ? n : (size_t)(run->per_sender - sent);
        ptrdiff_t count = send_some(self, n, sent);
        EXPECT(errno_kept());
        if (count == -EPIPE) {
            EXPECT(refused);
            break;
        }
        EXPECT(count > 0 ? (size_t)count <= n : count == -EAGAIN || count == -ETIMEDOUT);
        sent += count > 0 ? (uint64_t)count : 0;
        if (count == -EAGAIN) {
            sched_yield();
        }
    }
    run->accepted[self->number] = sent;
}

static void *sender_body(void *context)
{
    struct run_sender *self = context;
    struct run *run = self->run;
    for (unsigned round = 1; round <= run->flow.rounds; round++) {
        await(&run->start, round);
        errno = ERRNO_MARK;
        if (!run->flow.one_handle) {
            strait_sender_adopt(self->handle);
        }
        send_all(self);
        /* the shared handle closes with its last thread */
        if (!run->flow.one_handle || atomic_fetch_add(&run->closing, 1) + 1 == run->senders) {
            strait_sender_close(self->handle);
        }
        EXPECT(errno_kept());
        atomic_fetch_add(&run->done, 1);
    }
    return NULL;
}

/* ---- the receiver: the main thread ---- */

/* In place, and often not all of what was seen. */
static ptrdiff_t receive_span(struct run *run, bool wait, size_t n)
{
    struct strait_span span;
    ptrdiff_t count = strait_peek(&run->receiver, n, &span);
    if (count == -EAGAIN && wait) {
        int result = strait_receive_wait(&run->receiver, STRAIT_FOREVER);
        EXPECT(result == 0 || result == -EPIPE);
    }
    if (count < 0) {
        return count;
    }
    EXPECT((size_t)count <= n && span.count == (size_t)count &&
           span.message_size == run->flow.message_size);
    span.count -= draw_below(&run->seed, span.count);
    tally_messages(&run->tally, span.messages, span.count, span.message_size);
    strait_release(&run->receiver, &span);
    return (ptrdiff_t)span.count;
}

static ptrdiff_t receive_some(struct run *run, enum path path, size_t n)
{
    unsigned char messages[BATCH_MOST * MESSAGE_MOST];
    ptrdiff_t count;
    if (path == PATH_SPAN || path == PATH_POLL) {
        return receive_span(run, path == PATH_SPAN, n);
    }
    if (path == PATH_BLOCK) {
        count = strait_receive(&run->receiver, messages, n, STRAIT_FOREVER);
    } else if (path == PATH_TIMED) {
        int64_t deadline = strait_deadline((int64_t)draw_below(&run->seed, 50000));
        count = strait_receive(&run->receiver, messages, n, deadline);
    } else {
        count = strait_try_receive(&run->receiver, messages, n);
        if (count == -EAGAIN && path == PATH_LOOP) {
            poll_armed(strait_receiver_fd(&run->receiver), strait_receiver_arm(&run->receiver));
        }
    }
    EXPECT(count <= (ptrdiff_t)n);
    tally_messages(&run->tally, messages, count > 0 ? (size_t)count : 0, run->flow.message_size);
    return count;
}

/* At least so many, or all there are until the senders have closed. */
static void receive_all(struct run *run, uint64_t least)
{
    errno = ERRNO_MARK;
    for (uint64_t received = 0; received < least;) {
        enum path path = path_now(&run->flow, &run->seed);
        size_t n = batch_now(run->flow.receive_batch, &run->seed);
        if (run->flow.path == PATH_LOOP && run->test->receiver == STRAIT_WAIT_FD) {
            EXPECT(readable(strait_receiver_fd(&run->receiver), -1)); /* until it is armed */
        }
        ptrdiff_t count = receive_some(run, path, n);
        EXPECT(errno_kept());
        progress_made();
        if (count == -EPIPE) {
            EXPECT(strait_receive_wait(&run->receiver, STRAIT_FOREVER) == -EPIPE);
            return;
        }
        EXPECT(count > 0 || (count == -EAGAIN && path != PATH_BLOCK && path != PATH_TIMED) ||
               (count == -ETIMEDOUT && path == PATH_TIMED));
        received += count > 0 ? (uint64_t)count : 0;
        if (count == -EAGAIN) {
            sched_yield();
        }
    }
}

/* ---- runs ---- */

static void round_open(struct run *run)
{
    const struct flow *flow = &run->flow;
    size_t capacity = flow->capacity ? flow->capacity : 1 + draw_below(&run->seed, 10);
    uint64_t messages = scaled(flow->messages) / run->senders;
    run->per_sender = flow->messages ? messages : draw_below(&run->seed, 20);
    memset(&run->tally, 0, sizeof(run->tally));
    atomic_store(&run->closing, 0);
    run->channel = case_channel(run->test, capacity, flow->message_size);
    for (unsigned i = 0; i < (flow->one_handle ? 1 : run->senders); i++) {
        assert_returns(strait_sender_open(&run->handles[i], run->channel), 0);
    }
    assert_returns(strait_receiver_open(&run->receiver, run->channel), 0);
}

static void round_run(struct run *run, unsigned round)
{
    atomic_store(&run->start, round);
    if (run->flow.receiver_closes) {
        receive_all(run, draw_below(&run->seed, 30));
        dawdle(draw_below(&run->seed, 300));
        strait_receiver_close(&run->receiver);
    } else {
        receive_all(run, UINT64_MAX);
        for (unsigned i = 0; i < run->senders; i++) { /* that they are closed says so */
            EXPECT(run->accepted[i] == run->per_sender);
        }
    }
    await(&run->done, round * run->senders);
}

/* What was accepted is received or dropped, once each and in order. */
static void round_close(struct run *run)
{
    struct drop_tally drops = {.tally = &run->tally, .message_size = run->flow.message_size};
    strait_receiver_close(&run->receiver);
    strait_channel_destroy(run->channel, tally_drop, &drops);
    assert_int_equal(run->tally.wrong, 0);
    assert_true(run->flow.receiver_closes || drops.dropped == 0);
    for (unsigned i = 0; i < run->senders; i++) {
        assert_int_equal(run->tally.next[i], run->accepted[i]);
    }
}

static void run(const struct test_case *test, struct flow flow)
{
    struct run run = {.flow = flow, .test = test, .senders = case_senders(test), .seed = 17};
    struct run_sender senders[SENDERS_MOST];
    pthread_t threads[SENDERS_MOST];
    for (unsigned i = 0; i < run.senders; i++) {
        senders[i] = (struct run_sender){
            .run = &run, .handle = &run.handles[flow.one_handle ? 0 : i], .number = i, .seed = i};
        thread_start(&threads[i], sender_body, &senders[i]);
    }
    for (unsigned round = 1; round <= flow.rounds; round++) {
        round_open(&run);
        round_run(&run, round);
        round_close(&run);
    }
    for (unsigned i = 0; i < run.senders; i++) {
        thread_join(threads[i]);
    }
}

static void run_rows(const struct test_case *test, const struct flow *flows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        run(test, flows[i]);
    }
}

/* messages, capacity, message size, path, batches, rounds */
TEST_EACH_PAIR(every_pair)
{
    static const struct flow flows[] = {
        {40000, 100, 24, PATH_BLOCK, 1, 1, 1, false, false},
        {3000, 1, 24, PATH_MIXED, 3, 3, 1, false, false}, /* each waits for the other side */
        {60000, 37, 24, PATH_MIXED, 5, 11, 1, false, false},
    };
    run_rows(test, flows, COUNT(flows));
}

TEST_EACH_MODE(batches)
{
    static const struct flow flows[] = {
        {200000, 100, 24, PATH_BLOCK, 7, 13, 1, false, false},
        {50000, 5, 24, PATH_MIXED, 64, 64, 1, false, false}, /* beyond the capacity */
    };
    run_rows(test, flows, COUNT(flows));
}

TEST_EACH_VARIANT(paths)
{
    for (int path = PATH_TRY; path <= PATH_MIXED; path++) {
        run(test, (struct flow){2000000, 1000, 16, (enum path)path, 17, 31, 1, false, false});
    }
}

/* Few waits, and at the smallest capacities one for each message in both directions. */
TEST_EACH_MODE(event_loops)
{
    static const struct flow flows[] = {
        {1000000, 1000, 8, PATH_LOOP, -3, 3, 1, false, false},
        {200000, 64, 8, PATH_LOOP, 1, -40, 1, false, false},
        {12000, 1, 8, PATH_LOOP, 1, 1, 1, false, false},
        {12000, 2, 8, PATH_LOOP, 1, 3, 1, false, false},
    };
    if (test->sender != STRAIT_WAIT_FD) {
        skip();
    }
    run_rows(test, flows, COUNT(flows));
}

TEST_EACH_VARIANT(message_sizes_and_capacities)
{
    static const struct flow flows[] = {
        {40000, 1025, 1, PATH_MIXED, 1, 9, 1, false, false},
        {40000, 64, 3, PATH_MIXED, 2, 8, 1, false, false},
        {40000, 100, 8, PATH_MIXED, 3, 7, 1, false, false},
        {40000, 7, 12, PATH_MIXED, 4, 6, 1, false, false},
        {40000, 3, 24, PATH_MIXED, 5, 5, 1, false, false},
        {40000, 63, 64, PATH_MIXED, 6, 4, 1, false, false},
        {40000, 2, 100, PATH_MIXED, 7, 3, 1, false, false},
    };
    run_rows(test, flows, COUNT(flows));
}

TEST_EACH_MODE(one_handle_for_all)
{
    if (!case_has(test, STRAIT_SENDERS_ANY) || case_senders(test) == 1) {
        skip();
    }
    for (int path = PATH_TRY; path <= PATH_MIXED; path++) {
        run(test, (struct flow){40000, 100, 24, (enum path)path, 3, 7, 1, true, false});
    }
}

/* By trying alone, it is -EAGAIN, then -EPIPE, and never -EPIPE before a message. */
TEST_EACH_MODE(senders_close)
{
    run(test, (struct flow){0, 0, 12, PATH_MIXED, -8, -8, scaled(400), false, false});
    run(test, (struct flow){0, 0, 8, PATH_POLL, -8, -8, scaled(400), false, false});
}

TEST_EACH_MODE(receiver_closes)
{
    run(test, (struct flow){0, 0, 12, PATH_MIXED, -8, -8, scaled(400), false, true});
}

/* ---- senders that come and go ---- */

#define VISITS_MOST 20000
#define A_VISIT 3 /* messages */

struct visitor {
    struct strait_channel *channel;
    uint32_t number;
    uint32_t visits;
};

struct visit_message {
    uint32_t visitor;
    uint32_t visit;
    uint64_t number; /* of the visit's messages */
};

/* Opens, sends a few, closes, again and again: a place that is handed on keeps what is in it. */
static void *visitor_body(void *context)
{
    const struct visitor *self = context;
    struct visit_message message = {.visitor = self->number};
    for (; message.visit < self->visits; message.visit++) {
        struct strait_sender sender;
        int error;
        while ((error = strait_sender_open(&sender, self->channel)) == -EBUSY) {
            sched_yield();
        }
        EXPECT(error == 0);
        for (message.number = 0; message.number < A_VISIT; message.number++) {
            EXPECT(strait_send(&sender, &message, 1, STRAIT_FOREVER) == 1);
        }
        strait_sender_close(&sender);
    }
    return NULL;
}

/* Order is promised for each handle, that is for each visit: a later visit may go through another
 * place. */
TEST_EACH_MODE(senders_come_and_go)
{
    static unsigned char seen[SENDERS_MOST][VISITS_MOST];
    struct visitor visitors[SENDERS_MOST];
    pthread_t threads[SENDERS_MOST];
    struct strait_sender keeper;
    struct strait_receiver receiver;
    uint32_t visits = scaled(800) < VISITS_MOST ? (uint32_t)scaled(800) : VISITS_MOST;
    if (case_senders(test) == 1) {
        skip();
    }
    memset(seen, 0, sizeof(seen));
    struct strait_channel *channel = case_channel(test, 5, sizeof(struct visit_message));
    assert_returns(strait_sender_open(&keeper, channel), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        visitors[i] = (struct visitor){channel, i, visits};
        thread_start(&threads[i], visitor_body, &visitors[i]);
    }
    for (size_t received = 0; received < (size_t)A_VISIT * visits * SENDERS_MOST; received++) {
        struct visit_message message;
        assert_returns(strait_receive(&receiver, &message, 1, STRAIT_FOREVER), 1);
        assert_true(message.visitor < SENDERS_MOST && message.visit < visits);
        assert_int_equal(message.number, seen[message.visitor][message.visit]++);
        progress_made();
    }
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        thread_join(threads[i]);
    }
    strait_sender_close(&keeper);
    assert_returns(strait_receive_wait(&receiver, STRAIT_FOREVER), -EPIPE);
    strait_channel_destroy(channel, NULL, NULL);
}
