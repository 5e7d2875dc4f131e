/* SPDX-License-Identifier: MIT */
/* Senders that come and go, and ends that change hands, while messages are on their way. */
#include "channel/fixture.h"

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
static void senders_come_and_go(const struct test_case *test)
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

/* ---- ends that change hands, on a bare ring: a channel orders more than it must then ---- */

#define WHOLE 0x1234567890abcdefu

struct relay {
    const struct strait_variant *variant;
    void *ring;
    size_t visits;
};

/* Holds an end for two messages, then leaves it to whoever wants it. */
static void *relay_body(void *context)
{
    const struct relay *self = context;
    const uint64_t message = WHOLE;
    for (size_t visit = 0; visit < self->visits; visit++) {
        void *end;
        while (!(end = self->variant->attach(self->ring))) {
            sched_yield();
        }
        for (int i = 0; i < 2; i++) {
            while (self->variant->try_send(end, &message, 1) == 0) {
                sched_yield();
            }
        }
        self->variant->detach(end);
    }
    return NULL;
}

/* Nothing is lost or doubled where the next thread goes on at the index that the last one left. */
static void ends_change_hands(const struct test_case *test)
{
    const struct strait_variant *variant = test->variant;
    const struct strait_shape shape = {3, sizeof(uint64_t),
                                       case_has(test, STRAIT_SENDERS_REGISTERED) ? 2 : 1};
    struct relay relay = {.variant = variant, .visits = scaled(10000)};
    pthread_t threads[SENDERS_MOST];
    uint64_t message;
    assert_int_equal(posix_memalign(&relay.ring, STRAIT_LINE, variant->size(&shape)), 0);
    variant->init(relay.ring, &shape);
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        thread_start(&threads[i], relay_body, &relay);
    }
    for (size_t left = 2 * relay.visits * SENDERS_MOST; left; left--) {
        while (variant->try_receive(relay.ring, &message, 1) == 0) {
            sched_yield();
        }
        assert_true(message == WHOLE);
        progress_made();
    }
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        thread_join(threads[i]);
    }
    assert_int_equal(variant->try_receive(relay.ring, &message, 1), 0);
    free(relay.ring);
}

TESTS(EACH_MODE(senders_come_and_go), EACH_VARIANT(ends_change_hands))
