/* SPDX-License-Identifier: MIT */
/* A random walk through one channel beside a queue too plain to be wrong. Every answer is foretold
 * exactly, and what poll says of the fds. A failure prints the seed: STRAIT_SEED=n repeats the
 * walk. */
#include "channel/fixture.h"

#define SIZE_WALKED 24
#define BATCH_WALKED 48

enum side { SENDER, RECEIVER };

/* What poll says of a side's fd. Unreadable it is only while the side is armed. */
enum fd_state { UNKNOWN, UNREADABLE, READABLE };

/* The reference: for each place a sender can have, a count of what went in and out. FIFO order is
 * in the sequence numbers. */
struct model {
    const struct strait_variant *variant;
    struct strait_channel *channel;
    struct strait_sender senders[SENDERS_MOST];
    struct strait_receiver receiver;
    bool open[SENDERS_MOST];
    unsigned places;
    size_t capacity;
    size_t size;
    uint64_t sent[SENDERS_MOST];
    struct tally tally;
    bool receiver_open;
    bool sending_over;
    bool closing; /* from now on either side may */
    int fds[2];   /* of each side; below 0: it has none */
    enum fd_state fd_states[2];
    uint64_t walk; /* the seed */
    uint64_t seed;
    unsigned long step;
};

#define require(model, condition)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("%s, capacity %zu, size %zu, STRAIT_SEED=%llu, step %lu: %s",                 \
                     (model)->variant->name, (model)->capacity, (model)->size,                     \
                     (unsigned long long)(model)->walk, (model)->step, #condition);                \
        }                                                                                          \
    } while (0)

static size_t queued_by(const struct model *model, unsigned sender)
{
    return (size_t)(model->sent[sender] - model->tally.next[sender]);
}

static size_t queued(const struct model *model)
{
    size_t all = 0;
    for (unsigned i = 0; i < model->places; i++) {
        all += queued_by(model, i);
    }
    return all;
}

static size_t room(const struct model *model, unsigned sender)
{
    bool own = model->variant->senders == STRAIT_SENDERS_REGISTERED;
    return model->capacity - (own ? queued_by(model, sender) : queued(model));
}

/* What a sending call must answer when it asks for n. */
static ptrdiff_t send_answer(const struct model *model, unsigned sender, size_t n)
{
    if (!model->open[sender] || !model->receiver_open) {
        return -EPIPE;
    }
    size_t most = room(model, sender) < n ? room(model, sender) : n;
    return most || !n ? (ptrdiff_t)most : -EAGAIN;
}

static ptrdiff_t receive_answer(const struct model *model, size_t n)
{
    if (!model->receiver_open) {
        return n ? -EPIPE : 0;
    }
    size_t most = queued(model) < n ? queued(model) : n;
    return most || !n ? (ptrdiff_t)most : model->sending_over ? -EPIPE : -EAGAIN;
}

/* The other side has done something that this one waits for. */
static void wake(struct model *model, enum side side)
{
    if (model->fd_states[side] == UNREADABLE) {
        model->fd_states[side] = READABLE;
    }
}

/* A deadline: in the past, or never where there is nothing to wait for. Who waits for its fd clears
 * it. */
static int64_t deadline_for(struct model *model, enum side side, ptrdiff_t answer)
{
    if (answer == -EAGAIN) {
        model->fd_states[side] = UNKNOWN;
    }
    const int64_t deadlines[] = {0, INT64_MIN, strait_now(), STRAIT_FOREVER};
    return deadlines[draw_below(&model->seed, answer == -EAGAIN ? 3 : 4)];
}

/* What a call that may wait answers by that deadline. */
static ptrdiff_t timed(ptrdiff_t answer)
{
    return answer == -EAGAIN ? -ETIMEDOUT : answer;
}

static void expect_fds(const struct model *model)
{
    for (int side = SENDER; side <= RECEIVER; side++) {
        if (model->fds[side] >= 0 && model->fd_states[side] != UNKNOWN) {
            bool expected = model->fd_states[side] == READABLE;
            require(model, readable(model->fds[side], 0) == expected);
        }
    }
}

/* ---- steps ---- */

static void step_send(struct model *model, unsigned sender, size_t n, bool wait)
{
    unsigned char messages[BATCH_WALKED * SIZE_WALKED];
    ptrdiff_t answer = send_answer(model, sender, n);
    messages_write(messages, n, model->size, sender, model->sent[sender]);
    struct strait_sender *handle = &model->senders[sender];
    if (wait) {
        bool waits = answer == -EAGAIN || (answer >= 0 && (size_t)answer < n); /* for the rest */
        int64_t deadline = deadline_for(model, SENDER, waits ? -EAGAIN : answer);
        answer = n ? timed(answer) : 0;
        require(model, strait_send(handle, messages, n, deadline) == answer);
    } else {
        require(model, strait_try_send(handle, messages, n) == answer);
    }
    if (answer > 0) {
        model->sent[sender] += (uint64_t)answer;
        wake(model, RECEIVER);
    }
}

/* Once in so many times, in the second half of a walk. */
static bool may_close_receiver(struct model *model, size_t times)
{
    return model->closing && model->receiver_open && draw_below(&model->seed, times) == 0;
}

/* A closed handle has no fd, and closes twice without harm. */
static void close_receiver(struct model *model)
{
    strait_receiver_close(&model->receiver);
    strait_receiver_close(&model->receiver);
    require(model, strait_receiver_fd(&model->receiver) == -EINVAL);
    model->receiver_open = false;
    wake(model, SENDER);
}

static void step_reserve(struct model *model, unsigned sender, size_t n)
{
    struct strait_span span;
    ptrdiff_t most = send_answer(model, sender, n);
    ptrdiff_t count = strait_reserve(&model->senders[sender], n, &span);
    if (most <= 0) {
        require(model, count == most);
        return;
    }
    require(model, count > 0 && count <= most && span.count == (size_t)count);
    require(model, span.more == (count < most));
    messages_write(span.messages, span.count, model->size, sender, model->sent[sender]);
    expect_fds(model); /* nobody is told yet */
    if (may_close_receiver(model, 200)) {
        close_receiver(model); /* what is committed then is dropped */
    }
    strait_commit(&model->senders[sender], &span);
    model->sent[sender] += span.count;
    wake(model, RECEIVER);
}

static void step_receive(struct model *model, size_t n, bool wait)
{
    unsigned char messages[BATCH_WALKED * SIZE_WALKED];
    ptrdiff_t answer = receive_answer(model, n);
    if (wait) {
        int64_t deadline = deadline_for(model, RECEIVER, answer);
        answer = timed(answer);
        require(model, strait_receive(&model->receiver, messages, n, deadline) == answer);
    } else {
        require(model, strait_try_receive(&model->receiver, messages, n) == answer);
    }
    if (answer > 0) {
        tally_messages(&model->tally, messages, (size_t)answer, model->size);
        wake(model, SENDER);
    }
}

/* Of nothing: may wake the sender, or not. */
static void release(struct model *model, const struct strait_span *span)
{
    expect_fds(model);
    strait_release(&model->receiver, span);
    if (span->count) {
        wake(model, SENDER);
    } else if (model->fd_states[SENDER] == UNREADABLE) {
        model->fd_states[SENDER] = UNKNOWN;
    }
}

static void step_peek(struct model *model, size_t n)
{
    struct strait_span span;
    ptrdiff_t most = receive_answer(model, n);
    ptrdiff_t count = strait_peek(&model->receiver, n, &span);
    if (most <= 0) {
        require(model, count == most);
        return;
    }
    require(model, count > 0 && count <= most && span.count == (size_t)count);
    require(model, count == most || span.more);
    if (draw_below(&model->seed, 2)) { /* looks twice: sees the same, and takes nothing */
        struct strait_span again;
        require(model, strait_receive_wait(&model->receiver, 0) == 0);
        require(model, strait_peek(&model->receiver, n, &again) == count);
        require(model, again.messages == span.messages);
        again.count = 0;
        release(model, &again);
    }
    span.count = draw_below(&model->seed, span.count + 1);
    tally_messages(&model->tally, span.messages, span.count, model->size);
    release(model, &span);
}

static void step_wait(struct model *model, unsigned sender)
{
    ptrdiff_t send = send_answer(model, sender, 1);
    ptrdiff_t receive = receive_answer(model, 1);
    int64_t send_by = deadline_for(model, SENDER, send);
    int64_t receive_by = deadline_for(model, RECEIVER, receive);
    send = send > 0 ? 0 : timed(send);
    receive = receive > 0 ? 0 : timed(receive);
    require(model, strait_send_wait(&model->senders[sender], send_by) == send);
    require(model, strait_receive_wait(&model->receiver, receive_by) == receive);
}

/* Arms: 1, and the fd is unreadable; or 0, and it is readable. What came late is cleared. */
static void step_arm(struct model *model, enum side side)
{
    bool open = side == SENDER ? model->open[0] : model->receiver_open;
    ptrdiff_t next = side == SENDER ? send_answer(model, 0, 1) : receive_answer(model, 1);
    int answer = model->fds[side] < 0 || !open ? -EINVAL : next == -EAGAIN;
    require(model, (side == SENDER ? strait_sender_arm(&model->senders[0])
                                   : strait_receiver_arm(&model->receiver)) == answer);
    if (answer >= 0) {
        model->fd_states[side] = answer ? UNREADABLE : READABLE;
    }
}

/* It is armed when it is opened: a loop may watch the fd before it ever looks. */
static void open_receiver(struct model *model)
{
    require(model, strait_receiver_open(&model->receiver, model->channel) == 0);
    model->receiver_open = true;
    model->fd_states[RECEIVER] = receive_answer(model, 1) == -EAGAIN ? UNREADABLE : READABLE;
}

static void step_wake(struct model *model)
{
    strait_channel_wake(model->channel);
    model->fd_states[SENDER] = READABLE;
    model->fd_states[RECEIVER] = READABLE;
}

/* Closes a sender, or opens it again as long as another is open. */
static void step_toggle(struct model *model, unsigned sender)
{
    if (model->open[sender]) {
        strait_sender_close(&model->senders[sender]);
        strait_sender_close(&model->senders[sender]);
        require(model, strait_sender_fd(&model->senders[sender]) == -EINVAL);
        model->open[sender] = false;
        bool any = false;
        for (unsigned i = 0; i < model->places; i++) {
            any |= model->open[i];
        }
        if (!any) {
            model->sending_over = true;
            wake(model, RECEIVER);
        }
        return;
    }
    int answer = model->sending_over ? -EPIPE : 0;
    require(model, strait_sender_open(&model->senders[sender], model->channel) == answer);
    model->open[sender] = answer == 0;
}

/* With several places closed, the next to open is the first of them: the model must follow. */
static unsigned place_to_toggle(struct model *model, unsigned sender)
{
    if (model->open[sender]) {
        return sender;
    }
    unsigned first = 0;
    while (model->open[first]) {
        first++;
    }
    return first;
}

static void step(struct model *model)
{
    unsigned sender = (unsigned)draw_below(&model->seed, model->places);
    size_t n = draw_below(&model->seed, draw_below(&model->seed, 2) ? 5 : BATCH_WALKED + 1);
    size_t kind = draw_below(&model->seed, 64);
    bool wait = draw(&model->seed) & 1;
    if (draw_below(&model->seed, 4) == 0) {
        step_arm(model, draw_below(&model->seed, 2) ? SENDER : RECEIVER);
    }
    size_t seldom = draw_below(&model->seed, 64);
    if (seldom == 0) {
        step_wake(model);
    } else if (seldom == 1 && model->receiver_open) {
        open_receiver(model);
    }
    if (kind < 16) {
        step_send(model, sender, n, wait);
    } else if (kind < 29) {
        step_reserve(model, sender, n);
    } else if (kind < 42) {
        step_receive(model, n, wait);
    } else if (kind < 58) {
        step_peek(model, n);
    } else if (kind < 60) {
        step_wait(model, sender);
    } else if (kind < 63) {
        unsigned place = place_to_toggle(model, sender);
        if (model->closing || !model->open[place] || model->places > 2) {
            step_toggle(model, place);
        }
    } else if (may_close_receiver(model, 4)) {
        close_receiver(model);
    }
}

/* ---- walks ---- */

static void walk_begin(struct model *model, const struct test_case *test, uint64_t walk)
{
    static const size_t sizes[] = {1, 3, 8, 12, 24};
    memset(model, 0, sizeof(*model));
    model->walk = walk;
    model->seed = walk;
    model->variant = test->variant;
    model->capacity = 1 + draw_below(&model->seed, draw_below(&model->seed, 2) ? 8 : 80);
    model->size = sizes[draw_below(&model->seed, 5)];
    model->places = case_senders(test);
    struct strait_channel_options options = case_options(test, model->capacity, model->size);
    require(model, strait_channel_create(&model->channel, &options) == 0);
    open_receiver(model);
    for (unsigned i = 0; i < model->places; i++) {
        require(model, strait_sender_open(&model->senders[i], model->channel) == 0);
        model->open[i] = true;
    }
    model->fds[SENDER] = strait_sender_fd(&model->senders[0]);
    model->fds[RECEIVER] = strait_receiver_fd(&model->receiver);
    require(model, (model->fds[SENDER] >= 0) == (test->sender == STRAIT_WAIT_FD));
    require(model, (model->fds[RECEIVER] >= 0) == (test->receiver == STRAIT_WAIT_FD));
}

static void walk_end(struct model *model)
{
    struct drop_tally drops = {.tally = &model->tally, .message_size = model->size};
    size_t left = queued(model);
    strait_channel_destroy(model->channel, tally_drop, &drops);
    require(model, drops.dropped == left);
    require(model, queued(model) == 0);
    require(model, model->tally.wrong == 0);
}

TEST_EACH_PAIR(walk)
{
    const size_t walks = scaled(400);
    for (size_t i = 0; i < walks; i++) {
        struct model model;
        walk_begin(&model, test, first_seed(i + 1));
        size_t steps = 200 + draw_below(&model.seed, 800);
        for (model.step = 0; model.step < steps; model.step++) {
            errno = ERRNO_MARK;
            model.closing = model.step > steps / 2;
            step(&model);
            require(&model, errno == ERRNO_MARK);
            expect_fds(&model);
            require(&model, model.tally.wrong == 0);
        }
        walk_end(&model);
        progress_made();
    }
}
