/* SPDX-License-Identifier: MIT */
/* Closing while messages are on their way: what was accepted is received or dropped, once each and
 * in order, and everybody learns of it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support.h"

#define BATCH_MOST 8

/* Threads that live through many rounds: making them anew would leave no race to be had. */
struct race {
    const struct test_case *test;
    size_t message_size;
    struct strait_channel *channel;
    struct strait_sender senders[SENDERS_MOST];
    struct strait_receiver receiver;
    unsigned count;
    size_t rounds;
    size_t limit; /* messages that a sender sends at most; then it closes */
    bool till_refused;
    uint64_t accepted[SENDERS_MOST];
    _Atomic unsigned start;
    _Atomic unsigned done;
    _Atomic unsigned long errors;
};

struct race_sender {
    struct race *race;
    unsigned number;
    uint64_t seed;
};

/* One call of a kind drawn at random. Negative: it was refused. */
static ptrdiff_t send_somehow(struct race_sender *self, struct strait_sender *sender, size_t n,
                              uint64_t sequence)
{
    unsigned char messages[BATCH_MOST * MESSAGE_MOST];
    struct strait_span span;
    size_t size = self->race->message_size;
    size_t kind = draw_below(&self->seed, 4);
    messages_write(messages, n, size, self->number, sequence);
    if (kind == 0) {
        return strait_send(sender, messages, n, STRAIT_FOREVER);
    }
    if (kind == 1) {
        return strait_try_send(sender, messages, n);
    }
    if (kind == 2) {
        return strait_send(sender, messages, n, strait_deadline(20000));
    }
    ptrdiff_t count = strait_reserve(sender, n, &span);
    if (count > 0) {
        messages_write(span.messages, span.count, size, self->number, sequence);
        strait_commit(sender, &span);
    }
    return count;
}

static void send_until_over(struct race_sender *self)
{
    struct race *race = self->race;
    struct strait_sender *sender = &race->senders[self->number];
    uint64_t sent = 0;
    strait_sender_adopt(sender);
    while (race->till_refused || sent < race->limit) {
        size_t n = 1 + draw_below(&self->seed, BATCH_MOST);
        if (!race->till_refused && n > race->limit - sent) {
            n = (size_t)(race->limit - sent);
        }
        ptrdiff_t result = send_somehow(self, sender, n, sent);
        if (result == -EPIPE) {
            error_if(&race->errors, !race->till_refused);
            break;
        }
        error_if(&race->errors,
                 result == 0 || (result < 0 && result != -EAGAIN && result != -ETIMEDOUT));
        sent += result > 0 ? (uint64_t)result : 0;
        if (result == -EAGAIN) {
            sched_yield();
        }
    }
    race->accepted[self->number] = sent;
    strait_sender_close(sender);
}

static void *race_body(void *context)
{
    struct race_sender *self = context;
    struct race *race = self->race;
    errno = ERRNO_MARK;
    for (unsigned round = 1; round <= race->rounds; round++) {
        await(&race->start, round);
        errno = ERRNO_MARK;
        send_until_over(self);
        error_if(&race->errors, !errno_kept());
        atomic_fetch_add(&race->done, 1);
    }
    return NULL;
}

static void round_open(struct race *race, size_t capacity)
{
    race->channel = case_channel(race->test, capacity, race->message_size);
    assert_returns(strait_receiver_open(&race->receiver, race->channel), 0);
    for (unsigned i = 0; i < race->count; i++) {
        assert_returns(strait_sender_open(&race->senders[i], race->channel), 0);
    }
}

static void round_close(struct race *race, struct tally *tally)
{
    struct drop_tally drops = {.tally = tally, .message_size = race->message_size};
    strait_channel_destroy(race->channel, tally_drop, &drops);
    assert_int_equal(race->errors, 0);
    assert_int_equal(tally->wrong, 0);
    assert_true(race->till_refused || drops.dropped == 0);
    for (unsigned i = 0; i < race->count; i++) {
        assert_int_equal(tally->next[i], race->accepted[i]);
        assert_true(race->till_refused || race->accepted[i] == race->limit);
    }
    progress_made();
}

/* Takes at least `least` messages, or all there are until the senders have closed. */
static void receive_some(struct race *race, struct tally *tally, uint64_t least, uint64_t *seed)
{
    unsigned char messages[BATCH_MOST * MESSAGE_MOST];
    for (uint64_t received = 0; received < least;) {
        size_t n = 1 + draw_below(seed, BATCH_MOST);
        ptrdiff_t count = draw_below(seed, 2)
                              ? strait_receive(&race->receiver, messages, n, STRAIT_FOREVER)
                              : strait_try_receive(&race->receiver, messages, n);
        if (count == -EPIPE) {
            return;
        }
        if (count == -EAGAIN) {
            sched_yield();
            continue;
        }
        error_if(&race->errors, count <= 0);
        tally_messages(tally, messages, count > 0 ? (size_t)count : 0, race->message_size);
        received += (uint64_t)count;
    }
}

typedef void round_fn(struct race *race, struct tally *tally, uint64_t *seed);

static void race_run(struct race *race, round_fn *receive)
{
    struct race_sender senders[SENDERS_MOST];
    pthread_t threads[SENDERS_MOST];
    uint64_t seed = 17;
    race->count = case_senders(race->test);
    for (unsigned i = 0; i < race->count; i++) {
        senders[i] = (struct race_sender){.race = race, .number = i, .seed = i};
        thread_start(&threads[i], race_body, &senders[i]);
    }
    for (unsigned round = 1; round <= race->rounds; round++) {
        struct tally tally = {.wrong = 0};
        race->limit = draw_below(&seed, 20);
        round_open(race, 1 + draw_below(&seed, 10));
        atomic_store(&race->start, round);
        receive(race, &tally, &seed);
        await(&race->done, round * race->count);
        strait_receiver_close(&race->receiver);
        round_close(race, &tally);
    }
    for (unsigned i = 0; i < race->count; i++) {
        thread_join(threads[i]);
    }
}

static void receive_then_close(struct race *race, struct tally *tally, uint64_t *seed)
{
    receive_some(race, tally, draw_below(seed, 30), seed);
    dawdle(draw_below(seed, 300));
    strait_receiver_close(&race->receiver);
}

static void receive_to_the_end(struct race *race, struct tally *tally, uint64_t *seed)
{
    dawdle(draw_below(seed, 300));
    receive_some(race, tally, UINT64_MAX, seed);
}

static void test_receiver_closes(void **state)
{
    struct race race = {
        .test = *state, .rounds = scaled(400), .message_size = 12, .till_refused = true};
    race_run(&race, receive_then_close);
}

static void test_senders_close(void **state)
{
    struct race race = {.test = *state, .rounds = scaled(400), .message_size = 12};
    race_run(&race, receive_to_the_end);
}

/* A receiver that only ever tries sees -EAGAIN, then -EPIPE, and never -EPIPE before a message. */
static void receive_by_trying(struct race *race, struct tally *tally, uint64_t *seed)
{
    struct strait_span span;
    for (;;) {
        ptrdiff_t count = strait_peek(&race->receiver, 1 + draw_below(seed, BATCH_MOST), &span);
        if (count == -EPIPE) {
            break;
        }
        if (count > 0) {
            tally_messages(tally, span.messages, span.count, race->message_size);
            strait_release(&race->receiver, &span);
        } else {
            error_if(&race->errors, count != -EAGAIN);
            sched_yield();
        }
    }
    error_if(&race->errors, strait_receive_wait(&race->receiver, STRAIT_FOREVER) != -EPIPE);
    for (unsigned i = 0; i < race->count; i++) { /* plain words, which they wrote before */
        error_if(&race->errors, race->accepted[i] != race->limit);
    }
}

static void test_close_and_try(void **state)
{
    struct race race = {.test = *state, .rounds = scaled(400), .message_size = 8};
    race_run(&race, receive_by_trying);
}

/* ---- senders that come and go ---- */

struct visitor {
    struct strait_channel *channel;
    _Atomic unsigned long *errors;
    unsigned number;
    size_t visits;
};

/* Opens, sends a few, closes, again and again: a place that is handed on keeps what is in it. */
static void *visitor_body(void *context)
{
    struct visitor *self = context;
    uint64_t sent = 0;
    for (size_t visit = 0; visit < self->visits; visit++) {
        struct strait_sender sender;
        int error;
        while ((error = strait_sender_open(&sender, self->channel)) == -EBUSY) {
            sched_yield();
        }
        error_if(self->errors, error != 0);
        for (int i = 0; i < 3; i++) {
            unsigned char message[16];
            message_write(message, sizeof(message), self->number, sent++);
            error_if(self->errors, strait_send(&sender, message, 1, STRAIT_FOREVER) != 1);
        }
        strait_sender_close(&sender);
    }
    return NULL;
}

/* Order is promised for each handle, that is for each visit: a later visit may go through another
 * place. So the receiver checks each visit's order, and that all have come. */
struct visits {
    unsigned char seen[SENDERS_MOST][1 << 16];
    uint64_t wrong;
};

static void visits_note(struct visits *visits, const unsigned char *message, uint64_t most,
                        uint64_t *oldest)
{
    unsigned char expected[16];
    unsigned number = message_sender(message);
    uint64_t sequence = *oldest;
    do { /* not far from the oldest one that is missing */
        message_write(expected, sizeof(expected), number, sequence);
    } while (memcmp(expected, message, sizeof(expected)) != 0 && ++sequence < most);
    if (sequence >= most || visits->seen[number][sequence]) {
        visits->wrong++;
        return;
    }
    visits->wrong += sequence % 3 && !visits->seen[number][sequence - 1];
    visits->seen[number][sequence] = 1;
    while (*oldest < most && visits->seen[number][*oldest]) {
        (*oldest)++;
    }
}

static void test_senders_come_and_go(void **state)
{
    const struct test_case *test = *state;
    static struct visits visits;
    struct visitor visitors[SENDERS_MOST];
    pthread_t threads[SENDERS_MOST];
    uint64_t oldest[SENDERS_MOST] = {0};
    _Atomic unsigned long errors = 0;
    struct strait_sender keeper;
    struct strait_receiver receiver;
    size_t count = scaled(800) < 20000 ? scaled(800) : 20000;
    if (case_senders(test) == 1) {
        skip();
    }
    memset(&visits, 0, sizeof(visits));
    struct strait_channel *channel = case_channel(test, 5, 16);
    assert_returns(strait_sender_open(&keeper, channel), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        visitors[i] =
            (struct visitor){.channel = channel, .errors = &errors, .number = i, .visits = count};
        thread_start(&threads[i], visitor_body, &visitors[i]);
    }
    for (size_t received = 0; received < 3 * count * SENDERS_MOST; received++) {
        unsigned char message[16];
        error_if(&errors, strait_receive(&receiver, message, 1, STRAIT_FOREVER) != 1);
        visits_note(&visits, message, 3 * count, &oldest[message_sender(message)]);
        progress_made();
    }
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        thread_join(threads[i]);
        assert_int_equal(oldest[i], 3 * count);
    }
    assert_int_equal(errors, 0);
    assert_int_equal(visits.wrong, 0);
    strait_sender_close(&keeper);
    assert_returns(strait_receive_wait(&receiver, STRAIT_FOREVER), -EPIPE);
    strait_channel_destroy(channel, NULL, NULL);
}

/* ---- ends that change hands, on a bare ring ---- */

/* A channel orders more than it must when handles open and close. A ring has to do without. */
struct relay {
    const struct strait_variant *variant;
    void *ring;
    size_t visits;
};

/* Holds an end for two messages, then leaves it to whoever wants it. */
static void *relay_body(void *context)
{
    struct relay *self = context;
    for (size_t visit = 0; visit < self->visits; visit++) {
        void *end;
        while (!(end = self->variant->attach(self->ring))) {
            sched_yield();
        }
        for (int i = 0; i < 2; i++) {
            const uint64_t message = 0x1234567890abcdefu;
            while (self->variant->try_send(end, &message, 1) == 0) {
                sched_yield();
            }
        }
        self->variant->detach(end);
    }
    return NULL;
}

/* Nothing is lost or doubled where the next thread goes on at the index that the last one left. */
static void test_ends_change_hands(void **state)
{
    const struct test_case *test = *state;
    const size_t visits = scaled(10000);
    const bool registered = test->variant->senders == STRAIT_SENDERS_REGISTERED;
    const struct strait_shape shape = {3, sizeof(uint64_t), registered ? 2 : 1};
    void *ring = NULL;
    pthread_t threads[SENDERS_MOST];
    assert_int_equal(posix_memalign(&ring, STRAIT_LINE, test->variant->size(&shape)), 0);
    test->variant->init(ring, &shape);
    struct relay relay = {.variant = test->variant, .ring = ring, .visits = visits};
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        thread_start(&threads[i], relay_body, &relay);
    }
    uint64_t wrong = 0;
    for (size_t received = 0; received < 2 * visits * SENDERS_MOST;) {
        uint64_t message = 0;
        if (test->variant->try_receive(ring, &message, 1) == 0) {
            sched_yield();
            continue;
        }
        wrong += message != 0x1234567890abcdefu;
        received++;
        progress_made();
    }
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        thread_join(threads[i]);
    }
    uint64_t message;
    assert_int_equal(test->variant->try_receive(ring, &message, 1), 0);
    assert_int_equal(wrong, 0);
    free(ring);
}

int main(void)
{
    static struct suite suite;
    watchdog_start();
    suite_modes(&suite, "senders close", test_senders_close);
    suite_modes(&suite, "close and try", test_close_and_try);
    suite_modes(&suite, "senders come and go", test_senders_come_and_go);
    suite_variants(&suite, "ends change hands", test_ends_change_hands);
    suite_modes(&suite, "receiver closes", test_receiver_closes);
    return suite_run(&suite, "channel_close");
}
