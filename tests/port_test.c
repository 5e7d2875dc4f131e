/* SPDX-License-Identifier: MIT */
/* port: two-way links, their halves, their hand-over, what becomes of what nobody received, and
 * what says -EDEADLK. */
#include "life.h"

struct parcels {
    _Atomic unsigned forth;
    _Atomic unsigned back;
    _Atomic unsigned long long forth_sum;
    _Atomic unsigned long long back_sum;
};

static void drop_forth(void *message, void *context)
{
    struct parcels *parcels = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    atomic_fetch_add(&parcels->forth, 1);
    atomic_fetch_add(&parcels->forth_sum, number);
}

static void drop_back(void *message, void *context)
{
    struct parcels *parcels = context;
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    atomic_fetch_add(&parcels->back, 1);
    atomic_fetch_add(&parcels->back_sum, number);
}

static struct strait_port_options parcel_options(struct parcels *parcels, size_t capacity)
{
    struct strait_port_options options = {
        .size = sizeof(options),
        .forth = {.capacity = capacity, .message_size = sizeof(uint64_t)},
        .back = {.capacity = capacity, .message_size = sizeof(uint64_t)},
        .drop_forth = drop_forth,
        .drop_back = drop_back,
        .context = parcels,
    };
    return options;
}

static void send_numbers(struct strait_port *port, uint64_t first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = first + i;
        assert_returns(strait_try_send(&port->sender, &number, 1), 1);
    }
}

static void expect_number(struct strait_port *port, uint64_t expected)
{
    uint64_t number = 0;
    assert_returns(strait_try_receive(&port->receiver, &number, 1), 1);
    assert_int_equal(number, expected);
}

static void default_options_make_pointer_channels(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    int target;
    void *message = &target;
    void *received = NULL;
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    for (int i = 0; i < 1024; i++) {
        assert_returns(strait_try_send(&a.sender, &message, 1), 1);
    }
    assert_returns(strait_try_send(&a.sender, &message, 1), -EAGAIN);
    assert_returns(strait_try_receive(&b.receiver, &received, 1), 1);
    assert_ptr_equal(received, &target);
    strait_port_close(&a);
    strait_port_close(&b);
}

static void messages_go_both_ways(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 4);
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    send_numbers(&a, 10, 4);
    send_numbers(&b, 20, 4);
    for (uint64_t i = 0; i < 4; i++) {
        expect_number(&b, 10 + i);
        expect_number(&a, 20 + i);
    }
    strait_port_close(&a);
    strait_port_close(&b);
    assert_int_equal(parcels.forth + parcels.back, 0);
}

static void directions_have_options_of_their_own(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    struct strait_port_options options = {
        .forth = {.variant = "cells", .capacity = 3, .message_size = 5},
        .back = {.variant = "lanes", .senders = 2, .receiver = STRAIT_WAIT_FD, .message_size = 9},
    };
    char message[16] = "abcdefgh";
    char received[16] = {0};
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    assert_returns(strait_try_send(&a.sender, message, 1), 1);
    assert_returns(strait_try_receive(&b.receiver, received, 1), 1);
    assert_memory_equal(received, "abcde\0", 6);
    assert_returns(strait_try_send(&b.sender, message, 1), 1);
    assert_returns(strait_try_receive(&a.receiver, received, 1), 1);
    assert_memory_equal(received, message, 9);
    assert_returns(strait_receiver_fd(&b.receiver), -EINVAL);
    assert_true(strait_receiver_fd(&a.receiver) >= 0);
    strait_port_close(&b);
    strait_port_close(&a);
}

static void closing_the_sending_half_leaves_the_other(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 4);
    uint64_t number;
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    send_numbers(&a, 1, 2);
    strait_sender_close(&a.sender);
    expect_number(&b, 1);
    expect_number(&b, 2);
    assert_returns(strait_try_receive(&b.receiver, &number, 1), -EPIPE);
    assert_returns(strait_receive(&b.receiver, &number, 1, STRAIT_FOREVER), -EPIPE);
    send_numbers(&b, 7, 1);
    expect_number(&a, 7);
    assert_returns(strait_try_send(&a.sender, &number, 1), -EPIPE);
    strait_port_close(&a);
    strait_port_close(&b);
    assert_int_equal(parcels.forth + parcels.back, 0);
}

static void closing_the_receiving_half_leaves_the_other(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 4);
    uint64_t number = 5;
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    send_numbers(&b, 3, 1);
    strait_receiver_close(&a.receiver);
    assert_returns(strait_try_send(&b.sender, &number, 1), -EPIPE);
    assert_returns(strait_send(&b.sender, &number, 1, STRAIT_FOREVER), -EPIPE);
    send_numbers(&a, 4, 1);
    expect_number(&b, 4);
    strait_port_close(&b);
    strait_port_close(&a);
    assert_int_equal(parcels.forth, 0);
    assert_int_equal(parcels.back, 1);
    assert_int_equal(parcels.back_sum, 3);
}

/* Leftovers in both directions, and the last close hands them out, whoever does it. */
static void leftovers_are_dropped(bool a_first)
{
    struct strait_port a;
    struct strait_port b;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 8);
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    send_numbers(&a, 100, 5);
    send_numbers(&b, 1000, 3);
    expect_number(&b, 100);
    strait_port_close(a_first ? &a : &b);
    assert_int_equal(parcels.forth + parcels.back, 0);
    strait_port_close(a_first ? &b : &a);
    assert_int_equal(parcels.forth, 4);
    assert_int_equal(parcels.back, 3);
    assert_int_equal(parcels.forth_sum, 101 + 102 + 103 + 104);
    assert_int_equal(parcels.back_sum, 1000 + 1001 + 1002);
    strait_port_close(&a);
    strait_port_close(&b);
    assert_int_equal(parcels.forth + parcels.back, 7);
}

static void leftovers_are_dropped_once_when_a_closes_first(void **state)
{
    (void)state;
    leftovers_are_dropped(true);
}

static void leftovers_are_dropped_once_when_b_closes_first(void **state)
{
    (void)state;
    leftovers_are_dropped(false);
}

static void the_peer_reads_what_was_sent_before_the_close(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 8);
    uint64_t number;
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    send_numbers(&a, 1, 8);
    strait_port_close(&a);
    for (uint64_t i = 1; i <= 8; i++) {
        expect_number(&b, i);
    }
    assert_returns(strait_try_receive(&b.receiver, &number, 1), -EPIPE);
    assert_returns(strait_try_send(&b.sender, &number, 1), -EPIPE);
    strait_port_close(&b);
    assert_int_equal(parcels.forth + parcels.back, 0);
}

/* ---- half-close ---- */

#define BATCH 3

/* One direction, as a test expects it to be. */
struct direction {
    struct strait_sender *sender;
    struct strait_receiver *receiver;
    bool sending;
    bool receiving;
    uint64_t next;    /* of the messages sent */
    uint64_t queued;  /* of them, not received */
    uint64_t dropped; /* of them, never to be received */
};

static void expect_answers(struct direction *way)
{
    uint64_t number = 0;
    struct strait_span span;
    ptrdiff_t sent = strait_try_send(way->sender, &way->next, 1);
    assert_int_equal(sent, way->sending && way->receiving ? 1 : -EPIPE);
    way->next += sent == 1;
    way->queued += sent == 1;
    if (!way->receiving) {
        assert_int_equal(strait_try_receive(way->receiver, &number, 1), -EPIPE);
        assert_int_equal(strait_send(way->sender, &number, 1, STRAIT_FOREVER), -EPIPE);
        return;
    }
    if (way->queued) {
        assert_int_equal(strait_receive(way->receiver, &number, 1, STRAIT_FOREVER), 1);
        assert_int_equal(number, way->next - way->queued);
        way->queued--;
    }
    if (!way->sending) {
        ptrdiff_t end = way->queued ? 1 : -EPIPE;
        assert_int_equal(strait_peek(way->receiver, 1, &span), end);
    }
}

static void close_half(struct direction *ways, unsigned half)
{
    struct direction *way = &ways[half / 2];
    if (half % 2) {
        strait_sender_close(way->sender);
        way->sending = false;
    } else {
        strait_receiver_close(way->receiver);
        way->receiving = false;
        way->dropped = way->queued;
    }
}

static void close_in_order(const unsigned *order)
{
    struct strait_port a;
    struct strait_port b;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 16);
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    struct direction ways[2] = {
        {.sender = &a.sender, .receiver = &b.receiver, .sending = true, .receiving = true},
        {.sender = &b.sender, .receiver = &a.receiver, .sending = true, .receiving = true},
    };
    for (int i = 0; i < 2; i++) {
        for (; ways[i].next < BATCH; ways[i].next++, ways[i].queued++) {
            assert_returns(strait_try_send(ways[i].sender, &ways[i].next, 1), 1);
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        close_half(ways, order[i]);
        expect_answers(&ways[0]);
        expect_answers(&ways[1]);
    }
    assert_int_equal(parcels.forth + parcels.back, 0);
    strait_port_close(order[0] % 2 ? &a : &b);
    strait_port_close(order[0] % 2 ? &b : &a);
    assert_int_equal(parcels.forth, ways[0].dropped);
    assert_int_equal(parcels.back, ways[1].dropped);
}

static void halves_close_in_every_order(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 256; i++) {
        const unsigned order[4] = {i & 3, i >> 2 & 3, i >> 4 & 3, i >> 6 & 3};
        if ((1u << order[0] | 1u << order[1] | 1u << order[2] | 1u << order[3]) == 15) {
            close_in_order(order);
        }
    }
}

static void what_was_not_sent_stays_the_senders(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 4);
    const uint64_t numbers[6] = {1, 2, 3, 4, 5, 6};
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    strait_port_give(&b); /* else nobody could make room */
    assert_returns(strait_send(&a.sender, numbers, 6, strait_deadline(1000000)), 4);
    assert_returns(strait_send(&a.sender, numbers + 4, 2, strait_deadline(1000000)), -ETIMEDOUT);
    assert_returns(strait_try_send(&a.sender, numbers + 4, 2), -EAGAIN);
    strait_port_adopt(&b);
    strait_receiver_close(&b.receiver);
    assert_returns(strait_send(&a.sender, numbers + 4, 2, STRAIT_FOREVER), -EPIPE);
    strait_port_close(&a);
    strait_port_close(&b);
    assert_int_equal(parcels.forth, 4);
    assert_int_equal(parcels.forth_sum, 1 + 2 + 3 + 4);
}

static void a_closed_port_answers_epipe(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    void *message = NULL;
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    strait_port_close(&a);
    assert_returns(strait_try_send(&a.sender, &message, 1), -EPIPE);
    assert_returns(strait_try_receive(&a.receiver, &message, 1), -EPIPE);
    strait_port_wake(&a);
    strait_port_wake(&b);
    strait_port_close(&a);
    strait_port_close(&b);
    assert_returns(strait_try_send(&b.sender, &message, 1), -EPIPE);
}

static void bad_options_leave_nothing_behind(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    struct census before = census_take();
    struct {
        struct strait_port_options options;
        char tail[16];
    } newer = {.options = {.size = sizeof(newer)}, .tail = {0}};
    struct strait_port_options bad_forth = {
        .forth = {.variant = "no such"},
        .back = {.receiver = STRAIT_WAIT_FD},
    };
    struct strait_port_options bad_back = {
        .forth = {.receiver = STRAIT_WAIT_FD, .sender = STRAIT_WAIT_FD},
        .back = {.capacity = STRAIT_CAPACITY_MAX + 1},
    };
    assert_returns(strait_port_pair(&a, &b, &bad_forth), -EINVAL);
    assert_returns(strait_port_pair(&a, &b, &bad_back), -EINVAL);
    assert_returns(strait_port_pair(&a, &b, &newer.options), 0);
    strait_port_close(&a);
    strait_port_close(&b);
    newer.tail[3] = 1;
    assert_returns(strait_port_pair(&a, &b, &newer.options), -EINVAL);
    assert_census(before);
}

/* ---- across threads ---- */

struct errand {
    struct strait_port port;
    struct gate gate;
    ptrdiff_t result;
    uint64_t count;
};

static void *blocked_receive(void *context)
{
    struct errand *errand = context;
    uint64_t number;
    strait_port_adopt(&errand->port);
    atomic_fetch_add(&errand->gate.arrived, 1);
    errand->result = strait_receive(&errand->port.receiver, &number, 1, STRAIT_FOREVER);
    return NULL;
}

static void *blocked_send(void *context)
{
    struct errand *errand = context;
    uint64_t numbers[8] = {0};
    strait_port_adopt(&errand->port);
    errand->result = strait_send(&errand->port.sender, numbers, 4, STRAIT_FOREVER);
    EXPECT(errand->result == 4);
    atomic_fetch_add(&errand->gate.arrived, 1);
    errand->result = strait_send(&errand->port.sender, numbers, 1, STRAIT_FOREVER);
    return NULL;
}

/* Some rounds find the other side on its way to sleep, some asleep. */
static void close_while_blocked(void *(*body)(void *), unsigned expected_drops)
{
    for (size_t i = 0; i < scaled(200); i++) {
        struct strait_port a;
        struct errand errand = {.result = 0};
        struct parcels parcels = {0};
        struct strait_port_options options = parcel_options(&parcels, 4);
        pthread_t thread;
        assert_returns(strait_port_pair(&a, &errand.port, &options), 0);
        strait_port_give(&errand.port);
        thread_start(&thread, body, &errand);
        gate_await(&errand.gate, 1);
        dawdle(i % 4 * 10000);
        strait_port_close(&a);
        thread_join(thread);
        assert_int_equal(errand.result, -EPIPE);
        strait_port_close(&errand.port);
        assert_int_equal(parcels.forth + parcels.back, expected_drops);
        progress_made();
    }
    assert_no_faults();
}

static void close_ends_a_blocked_receive(void **state)
{
    (void)state;
    close_while_blocked(blocked_receive, 0);
}

static void close_ends_a_blocked_send(void **state)
{
    (void)state;
    close_while_blocked(blocked_send, 4);
}

static void close_half_while_blocked(void *(*body)(void *), bool sender, unsigned expected_drops)
{
    for (size_t i = 0; i < scaled(200); i++) {
        struct strait_port a;
        struct errand errand = {.result = 0};
        struct parcels parcels = {0};
        struct strait_port_options options = parcel_options(&parcels, 4);
        uint64_t number = 0;
        pthread_t thread;
        assert_returns(strait_port_pair(&a, &errand.port, &options), 0);
        strait_port_give(&errand.port);
        thread_start(&thread, body, &errand);
        gate_await(&errand.gate, 1);
        dawdle(i % 4 * 10000);
        if (sender) {
            strait_sender_close(&a.sender);
        } else {
            strait_receiver_close(&a.receiver);
        }
        thread_join(thread);
        assert_int_equal(errand.result, -EPIPE);
        if (sender) { /* and the other direction is as it was */
            assert_int_equal(strait_try_receive(&a.receiver, &number, 1), -EAGAIN);
        } else {
            assert_int_equal(strait_try_send(&a.sender, &number, 1), 1);
        }
        strait_port_close(i % 2 ? &a : &errand.port);
        strait_port_close(i % 2 ? &errand.port : &a);
        assert_int_equal(parcels.back, expected_drops);
        assert_int_equal(parcels.forth, sender ? 0 : 1);
        progress_made();
    }
    assert_no_faults();
}

static void closing_the_sending_half_ends_a_blocked_receive(void **state)
{
    (void)state;
    close_half_while_blocked(blocked_receive, true, 0);
}

static void closing_the_receiving_half_ends_a_blocked_send(void **state)
{
    (void)state;
    close_half_while_blocked(blocked_send, false, 4);
}

/* ---- every message has one fate, whoever closes what and when ---- */

#define FATES 512
#define FATE_BATCH 5

/* What became of each message of one direction. */
struct fates {
    unsigned char accepted[FATES]; /* the sender writes */
    unsigned char received[FATES]; /* the receiver writes */
    unsigned char dropped[FATES];  /* whoever closes last writes */
};

struct traffic {
    struct strait_port port;
    struct fates *out;
    struct fates *in;
    uint64_t seed;
    uint64_t next;
    _Atomic unsigned *gate;
};

static void drop_fate(struct fates *fates, void *message)
{
    uint64_t number;
    memcpy(&number, message, sizeof(number));
    EXPECT(number < FATES);
    fates->dropped[number % FATES]++;
}

static void drop_forth_fate(void *message, void *context)
{
    drop_fate(&((struct fates *)context)[0], message);
}

static void drop_back_fate(void *message, void *context)
{
    drop_fate(&((struct fates *)context)[1], message);
}

static int64_t some_deadline(struct traffic *self)
{
    return draw_below(&self->seed, 2) ? strait_deadline((int64_t)draw_below(&self->seed, 60000))
                                      : 0;
}

/* Each number is offered once: those that a cut batch leaves over are never sent again. */
static void offer_some(struct traffic *self)
{
    uint64_t numbers[FATE_BATCH];
    size_t n = 1 + draw_below(&self->seed, FATE_BATCH);
    for (size_t i = 0; i < n; i++) {
        numbers[i] = self->next + i;
    }
    ptrdiff_t sent = strait_send(&self->port.sender, numbers, n, some_deadline(self));
    EXPECT(sent > 0 || sent == -EPIPE || sent == -ETIMEDOUT);
    for (ptrdiff_t i = 0; i < sent; i++) {
        self->out->accepted[numbers[i]]++;
    }
    self->next += n;
}

static void take_some(struct traffic *self)
{
    uint64_t numbers[FATE_BATCH];
    size_t n = 1 + draw_below(&self->seed, FATE_BATCH);
    ptrdiff_t count = strait_receive(&self->port.receiver, numbers, n, some_deadline(self));
    EXPECT(count > 0 || count == -EPIPE || count == -ETIMEDOUT);
    for (ptrdiff_t i = 0; i < count; i++) {
        self->in->received[numbers[i] % FATES]++;
    }
}

static void some_traffic(struct traffic *self, size_t most)
{
    for (size_t steps = draw_below(&self->seed, most); steps > 0; steps--) {
        if (draw_below(&self->seed, 2)) {
            offer_some(self);
        } else {
            take_some(self);
        }
    }
}

/* Sends and receives, closes one half, goes on with the other, closes the rest. */
static void *traffic_body(void *context)
{
    struct traffic *self = context;
    strait_port_adopt(&self->port);
    gate_pass(self->gate, 2);
    some_traffic(self, 60);
    switch (draw_below(&self->seed, 3)) {
    case 0:
        strait_sender_close(&self->port.sender);
        break;
    case 1:
        strait_receiver_close(&self->port.receiver);
        break;
    default:
        break;
    }
    some_traffic(self, 30);
    strait_port_close(&self->port);
    return NULL;
}

static void expect_fates(const struct fates *fates)
{
    for (size_t i = 0; i < FATES; i++) {
        EXPECT(fates->accepted[i] <= 1);
        EXPECT(fates->received[i] + fates->dropped[i] == fates->accepted[i]);
    }
}

static void accepted_is_received_or_dropped(void **state)
{
    (void)state;
    static const char *const variants[] = {"spsc", "lanes", "cells"};
    uint64_t seed = first_seed(7);
    for (size_t i = 0; i < scaled(2000); i++) {
        struct fates fates[2] = {0};
        _Atomic unsigned gate = 0;
        struct traffic ends[2] = {
            {.out = &fates[0], .in = &fates[1], .seed = draw(&seed), .gate = &gate},
            {.out = &fates[1], .in = &fates[0], .seed = draw(&seed), .gate = &gate},
        };
        struct strait_channel_options channel = {
            .variant = variants[i % 3],
            .capacity = 1 + draw_below(&seed, 6),
            .message_size = sizeof(uint64_t),
        };
        struct strait_port_options options = {
            .forth = channel,
            .back = channel,
            .drop_forth = drop_forth_fate,
            .drop_back = drop_back_fate,
            .context = fates,
        };
        pthread_t thread;
        assert_returns(strait_port_pair(&ends[0].port, &ends[1].port, &options), 0);
        strait_port_give(&ends[1].port);
        thread_start(&thread, traffic_body, &ends[1]);
        traffic_body(&ends[0]);
        thread_join(thread);
        expect_fates(&fates[0]);
        expect_fates(&fates[1]);
        progress_made();
    }
    assert_no_faults();
}

static void *close_at_once(void *context)
{
    struct errand *errand = context;
    strait_port_adopt(&errand->port);
    uint64_t numbers[3] = {1, 2, 3};
    EXPECT(strait_try_send(&errand->port.sender, numbers, 3) == 3);
    gate_pass(&errand->gate.arrived, 2);
    strait_port_close(&errand->port);
    return NULL;
}

/* Both ends close at the same time: one of the two, and only one, drops and frees. */
static void racing_closes_drop_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < scaled(500); i++) {
        struct strait_port a;
        struct errand errand = {.result = 0};
        struct parcels parcels = {0};
        struct strait_port_options options = parcel_options(&parcels, 8);
        pthread_t thread;
        assert_returns(strait_port_pair(&a, &errand.port, &options), 0);
        send_numbers(&a, 10, 5);
        strait_port_give(&errand.port);
        thread_start(&thread, close_at_once, &errand);
        gate_pass(&errand.gate.arrived, 2);
        strait_port_close(&a);
        thread_join(thread);
        assert_int_equal(parcels.forth, 5);
        assert_int_equal(parcels.back, 3);
        assert_int_equal(parcels.forth_sum, 10 + 11 + 12 + 13 + 14);
        progress_made();
    }
}

#define ECHOES 100

static void *echo(void *context)
{
    struct errand *errand = context;
    uint64_t number;
    strait_port_adopt(&errand->port);
    for (int i = 0; i < ECHOES; i++) {
        EXPECT(strait_receive(&errand->port.receiver, &number, 1, STRAIT_FOREVER) == 1);
        EXPECT(number == errand->count++);
        EXPECT(strait_send(&errand->port.sender, &number, 1, STRAIT_FOREVER) == 1);
    }
    strait_port_give(&errand->port);
    return NULL;
}

/* The same end passes through several threads; the messages do not notice. */
static void an_end_can_be_handed_over(void **state)
{
    (void)state;
    struct strait_port a;
    struct errand errand = {.result = 0};
    uint64_t number = 0;
    assert_returns(strait_port_pair(&a, &errand.port, NULL), 0);
    strait_port_give(&errand.port);
    for (int round = 0; round < 5; round++) {
        pthread_t thread;
        thread_start(&thread, echo, &errand);
        for (int i = 0; i < ECHOES; i++) {
            uint64_t answer = UINT64_MAX;
            assert_int_equal(strait_send(&a.sender, &number, 1, STRAIT_FOREVER), 1);
            assert_int_equal(strait_receive(&a.receiver, &answer, 1, STRAIT_FOREVER), 1);
            assert_int_equal(answer, number++);
        }
        thread_join(thread);
        progress_made();
    }
    strait_port_close(&a);
    strait_port_close(&errand.port);
    assert_no_faults();
}

/* Used by the creator, then by a thread, then by the creator again. */
static void *borrow(void *context)
{
    struct errand *errand = context;
    uint64_t number;
    strait_port_adopt(&errand->port);
    EXPECT(strait_try_receive(&errand->port.receiver, &number, 1) == 1);
    EXPECT(number == 2);
    number = 12;
    EXPECT(strait_try_send(&errand->port.sender, &number, 1) == 1);
    strait_port_give(&errand->port);
    return NULL;
}

static void an_end_can_be_lent(void **state)
{
    (void)state;
    struct strait_port a;
    struct errand errand = {.result = 0};
    pthread_t thread;
    assert_returns(strait_port_pair(&a, &errand.port, NULL), 0);
    send_numbers(&a, 1, 3);
    expect_number(&errand.port, 1);
    send_numbers(&errand.port, 11, 1);
    strait_port_give(&errand.port);
    thread_start(&thread, borrow, &errand);
    thread_join(thread);
    strait_port_adopt(&errand.port);
    expect_number(&errand.port, 3);
    send_numbers(&errand.port, 13, 1);
    for (uint64_t i = 11; i <= 13; i++) {
        expect_number(&a, i);
    }
    strait_port_close(&a);
    strait_port_close(&errand.port);
    assert_no_faults();
}

/* ---- between two workers ---- */

#define RELAYED 2000

static int relay_source(struct strait_port *parent, void *data)
{
    struct strait_port *port = data;
    uint64_t answer;
    (void)parent;
    strait_port_adopt(port);
    for (uint64_t i = 0; i < RELAYED; i++) {
        EXPECT(strait_send(&port->sender, &i, 1, STRAIT_FOREVER) == 1);
        if (i % 2) {
            EXPECT(strait_receive(&port->receiver, &answer, 1, STRAIT_FOREVER) == 1);
            EXPECT(answer == i);
        }
    }
    strait_port_close(port);
    return 0;
}

static int relay_sink(struct strait_port *parent, void *data)
{
    struct strait_port *port = data;
    uint64_t number;
    uint64_t expected = 0;
    (void)parent;
    strait_port_adopt(port);
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        EXPECT(number == expected++);
        if (number % 2) {
            EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
        }
    }
    EXPECT(expected == RELAYED);
    strait_port_close(port);
    return 0;
}

static void two_workers_can_share_a_pair(void **state)
{
    (void)state;
    struct strait_port a;
    struct strait_port b;
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    strait_port_give(&a);
    strait_port_give(&b);
    struct strait_worker_options source = {.entry = relay_source, .data = &a};
    struct strait_worker_options sink = {.entry = relay_sink, .data = &b};
    struct strait_worker *first = spawn(&source);
    struct strait_worker *second = spawn(&sink);
    join_and_destroy(first);
    join_and_destroy(second);
    assert_no_faults();
}

/* ---- hand-over ---- */

/* Moved about as memory is, its old places overwritten. */
static void an_end_can_be_moved(void **state)
{
    (void)state;
    struct strait_port places[2];
    struct strait_port b;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 4);
    assert_returns(strait_port_pair(&places[0], &b, &options), 0);
    for (unsigned i = 0; i < 20; i++) {
        struct strait_port *a = &places[i % 2];
        send_numbers(a, i, 1);
        expect_number(&b, i);
        send_numbers(&b, i, 1);
        expect_number(a, i);
        memcpy(&places[(i + 1) % 2], a, sizeof(*a));
        memset(a, 0xa5, sizeof(*a));
    }
    strait_port_close(&places[0]);
    strait_port_close(&b);
    assert_int_equal(parcels.forth + parcels.back, 0);
}

static struct strait_channel_options port_messages(size_t capacity)
{
    struct strait_channel_options options = {
        .capacity = capacity,
        .message_size = sizeof(struct strait_port),
    };
    return options;
}

/* A worker whose messages are ports. */
static struct strait_worker *spawn_for_ports(strait_entry_fn *entry, void *data)
{
    struct strait_worker_options options = {
        .entry = entry,
        .data = data,
        .to_worker = port_messages(4),
        .drop_to_worker = strait_port_drop,
    };
    return spawn(&options);
}

static void give_to(struct strait_worker *worker, struct strait_port *port)
{
    strait_port_give(port);
    assert_returns(strait_try_send(&strait_worker_port(worker)->sender, port, 1), 1);
    memset(port, 0xa5, sizeof(*port));
}

static struct strait_port take_port(struct strait_port *parent)
{
    struct strait_port port = {.link = NULL};
    EXPECT(strait_receive(&parent->receiver, &port, 1, STRAIT_FOREVER) == 1);
    strait_port_adopt(&port);
    return port;
}

#define TALKED 3000

static int talk_first(struct strait_port *parent, void *data)
{
    struct strait_port port = take_port(parent);
    (void)data;
    for (uint64_t i = 0; i < TALKED; i++) {
        EXPECT(strait_send(&port.sender, &i, 1, STRAIT_FOREVER) == 1);
    }
    strait_sender_close(&port.sender);
    uint64_t sum = 0;
    EXPECT(strait_receive(&port.receiver, &sum, 1, STRAIT_FOREVER) == 1);
    EXPECT(sum == (uint64_t)TALKED * (TALKED - 1) / 2);
    EXPECT(strait_receive(&port.receiver, &sum, 1, STRAIT_FOREVER) == -EPIPE);
    strait_port_close(&port);
    return 0;
}

static int talk_second(struct strait_port *parent, void *data)
{
    struct strait_port port = take_port(parent);
    (void)data;
    uint64_t number;
    uint64_t sum = 0;
    uint64_t expected = 0;
    while (strait_receive(&port.receiver, &number, 1, STRAIT_FOREVER) == 1) {
        EXPECT(number == expected++);
        sum += number;
    }
    EXPECT(strait_send(&port.sender, &sum, 1, STRAIT_FOREVER) == 1);
    strait_port_close(&port);
    return 0;
}

/* Both ends leave their maker in messages; full and empty channels block, and the close arrives. */
static void two_workers_talk_through_ends_they_were_sent(void **state)
{
    (void)state;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 8);
    struct strait_port a;
    struct strait_port b;
    struct strait_worker *first = spawn_for_ports(talk_first, NULL);
    struct strait_worker *second = spawn_for_ports(talk_second, NULL);
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    give_to(first, &a);
    give_to(second, &b);
    join_and_destroy(first);
    join_and_destroy(second);
    assert_no_faults();
    assert_int_equal(parcels.forth + parcels.back, 0);
}

static int take_nothing(struct strait_port *port, void *data)
{
    (void)port;
    (void)data;
    return 0;
}

static void an_end_that_nobody_takes_is_closed(void **state)
{
    (void)state;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 8);
    struct strait_port a;
    struct strait_port b;
    uint64_t number = 0;
    struct strait_worker *worker = spawn_for_ports(take_nothing, NULL);
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    send_numbers(&a, 1, 3);
    send_numbers(&b, 7, 2);
    strait_port_give(&b);
    ptrdiff_t sent = strait_try_send(&strait_worker_port(worker)->sender, &b, 1);
    if (sent != 1) { /* the worker was faster, and its end is closed */
        assert_int_equal(sent, -EPIPE);
        strait_port_close(&b);
    }
    join_and_destroy(worker);
    expect_number(&a, 7);
    expect_number(&a, 8);
    assert_returns(strait_try_receive(&a.receiver, &number, 1), -EPIPE);
    assert_returns(strait_try_send(&a.sender, &number, 1), -EPIPE);
    strait_port_close(&a);
    assert_int_equal(parcels.forth_sum, 1 + 2 + 3);
    assert_int_equal(parcels.back, 0);
}

static void an_end_in_a_channel_is_closed_with_it(void **state)
{
    (void)state;
    struct strait_channel_options options = port_messages(2);
    struct strait_channel *channel;
    struct strait_sender sender;
    struct strait_port a;
    struct strait_port b;
    void *message = NULL;
    assert_returns(strait_channel_create(&channel, &options), 0);
    assert_returns(strait_sender_open(&sender, channel), 0);
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    strait_port_give(&b);
    assert_returns(strait_try_send(&sender, &b, 1), 1);
    assert_returns(strait_try_receive(&a.receiver, &message, 1), -EAGAIN);
    strait_channel_destroy(channel, strait_port_drop, NULL);
    assert_returns(strait_try_receive(&a.receiver, &message, 1), -EPIPE);
    strait_port_close(&a);
}

static void an_end_given_in_vain_can_be_taken_back(void **state)
{
    (void)state;
    struct strait_port carrier[2];
    struct strait_port a;
    struct strait_port b;
    struct strait_port_options options = {.forth = port_messages(1)};
    struct parcels parcels = {0};
    struct strait_port_options cargo = parcel_options(&parcels, 8);
    assert_returns(strait_port_pair(&carrier[0], &carrier[1], &options), 0);
    assert_returns(strait_port_pair(&a, &b, &cargo), 0);
    strait_port_close(&carrier[1]);
    strait_port_give(&b);
    assert_returns(strait_try_send(&carrier[0].sender, &b, 1), -EPIPE);
    strait_port_adopt(&b);
    send_numbers(&b, 5, 1);
    expect_number(&a, 5);
    strait_port_close(&a);
    strait_port_close(&b);
    strait_port_close(&carrier[0]);
}

static void giving_forgets_the_cancel_flag(void **state)
{
    (void)state;
    const uint32_t cancel = 1;
    struct strait_port a;
    struct strait_port b;
    void *messages[1024] = {NULL};
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    assert_returns(strait_try_send(&a.sender, messages, 1024), 1024);
    strait_port_give(&b); /* else it would be a deadlock */
    strait_sender_cancel_on(&a.sender, &cancel);
    strait_receiver_cancel_on(&a.receiver, &cancel);
    assert_returns(strait_send(&a.sender, messages, 1, STRAIT_FOREVER), -ECANCELED);
    assert_returns(strait_receive(&a.receiver, messages, 1, STRAIT_FOREVER), -ECANCELED);
    strait_port_give(&a);
    strait_port_adopt(&a);
    assert_returns(strait_send(&a.sender, messages, 1, strait_deadline(1000)), -ETIMEDOUT);
    assert_returns(strait_receive(&a.receiver, messages, 1, strait_deadline(1000)), -ETIMEDOUT);
    strait_port_close(&a);
    strait_port_close(&b);
}

/* ---- a worker that is asked to stop, in a wait on something that its parent cannot see ---- */

static struct gate about_to_wait;

static int wait_to_receive(struct strait_port *parent, void *data)
{
    struct strait_port port = take_port(parent);
    (void)data;
    uint64_t number;
    atomic_fetch_add(&about_to_wait.arrived, 1);
    ptrdiff_t result = strait_receive(&port.receiver, &number, 1, STRAIT_FOREVER);
    strait_port_close(&port);
    return (int)result;
}

static int wait_to_send(struct strait_port *parent, void *data)
{
    struct strait_port port = take_port(parent);
    (void)data;
    const uint64_t numbers[4] = {0};
    EXPECT(strait_try_send(&port.sender, numbers, 4) == 4);
    atomic_fetch_add(&about_to_wait.arrived, 1);
    ptrdiff_t result = strait_send(&port.sender, numbers, 1, STRAIT_FOREVER);
    strait_port_close(&port);
    return (int)result;
}

static void note_exit(struct strait_worker *worker, const struct strait_event *event, void *context)
{
    (void)worker;
    if (event->type == STRAIT_EXIT) {
        *(struct strait_event *)context = *event;
    }
}

static void stop_in_a_wait(strait_entry_fn *entry, enum strait_wait mode, size_t pause)
{
    struct strait_event exit = {.type = STRAIT_ONLINE};
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 4);
    struct strait_worker_options worker_options = {
        .entry = entry,
        .to_worker = port_messages(1),
        .drop_to_worker = strait_port_drop,
        .event = note_exit,
        .context = &exit,
    };
    struct strait_port a;
    struct strait_port b;
    options.forth.receiver = options.back.sender = mode;
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    struct strait_worker *worker = spawn(&worker_options);
    about_to_wait.arrived = 0;
    give_to(worker, &b);
    gate_await(&about_to_wait, 1);
    dawdle(pause);
    strait_worker_stop(worker);
    dispatch_to_exit(worker);
    assert_int_equal(exit.type, STRAIT_EXIT);
    assert_int_equal(exit.code, -ECANCELED);
    assert_int_equal(exit.reason, STRAIT_EXIT_STOPPED);
    join_and_destroy(worker);
    strait_port_close(&a);
    assert_no_faults();
}

/* Some rounds find the worker before its wait, spinning, or asleep. */
static void stop_ends_waits_on_an_adopted_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < scaled(60); i++) {
        for (int mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
            stop_in_a_wait(wait_to_receive, (enum strait_wait)mode, i % 6 * 40000);
            stop_in_a_wait(wait_to_send, (enum strait_wait)mode, i % 6 * 40000);
        }
    }
}

/* The channel goes away with the wait, while the parent is about to ring it. */
static int wait_in_passing(struct strait_port *port, void *data)
{
    ptrdiff_t result;
    (void)port;
    (void)data;
    do {
        struct strait_channel *channel;
        struct strait_receiver receiver;
        void *message;
        EXPECT(strait_channel_create(&channel, NULL) == 0);
        EXPECT(strait_receiver_open(&receiver, channel) == 0);
        result = strait_receive(&receiver, &message, 1, strait_deadline(60000));
        strait_channel_destroy(channel, NULL, NULL);
        atomic_fetch_add(&about_to_wait.arrived, 1);
    } while (result == -ETIMEDOUT);
    return (int)result;
}

static void stop_ends_waits_on_a_channel_of_the_workers_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < scaled(200); i++) {
        struct strait_worker_options options = {.entry = wait_in_passing};
        about_to_wait.arrived = 0;
        struct strait_worker *worker = spawn(&options);
        gate_await(&about_to_wait, 1 + (unsigned)(i % 3));
        dawdle(i * 37 % 20000);
        strait_worker_stop(worker);
        join_and_destroy(worker);
    }
    assert_no_faults();
}

/* ---- nobody waits for himself ---- */

static void expect_deadlocks(struct strait_port *port)
{
    uint64_t number = 0;
    assert_returns(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER), -EDEADLK);
    assert_returns(strait_receive_wait(&port->receiver, strait_deadline(1000000000)), -EDEADLK);
    assert_returns(strait_receive(&port->receiver, &number, 1, 0), -ETIMEDOUT);
    assert_returns(strait_try_receive(&port->receiver, &number, 1), -EAGAIN);
    uint64_t numbers[6] = {0, 1, 2, 3, 4, 5};
    assert_returns(strait_send(&port->sender, numbers, 6, STRAIT_FOREVER), 4);
    assert_returns(strait_send(&port->sender, numbers, 1, STRAIT_FOREVER), -EDEADLK);
    assert_returns(strait_send_wait(&port->sender, strait_deadline(1000000000)), -EDEADLK);
    assert_returns(strait_send(&port->sender, numbers, 1, 0), -ETIMEDOUT);
    assert_returns(strait_try_send(&port->sender, numbers, 1), -EAGAIN);
}

static void both_ends_on_one_thread_do_not_wait_for_each_other(void **state)
{
    (void)state;
    for (int mode = STRAIT_WAIT_DEFAULT; mode <= STRAIT_WAIT_FD; mode++) {
        struct parcels parcels = {0};
        struct strait_port_options options = parcel_options(&parcels, 4);
        struct strait_port a;
        struct strait_port b;
        uint64_t number = 9;
        options.forth.sender = options.forth.receiver = (enum strait_wait)mode;
        options.back.sender = options.back.receiver = (enum strait_wait)mode;
        assert_returns(strait_port_pair(&a, &b, &options), 0);
        expect_deadlocks(&a);
        for (uint64_t i = 0; i < 4; i++) {
            expect_number(&b, i);
        }
        expect_deadlocks(&b);
        expect_number(&a, 0);
        assert_returns(strait_send(&b.sender, &number, 1, STRAIT_FOREVER), 1);
        strait_receiver_close(&a.receiver);
        assert_returns(strait_send(&b.sender, &number, 1, STRAIT_FOREVER), -EPIPE);
        strait_port_close(&a);
        assert_returns(strait_receive(&b.receiver, &number, 1, STRAIT_FOREVER), -EPIPE);
        strait_port_close(&b);
    }
}

/* Once the other end is given away, somebody else may help. */
static void an_end_given_away_is_waited_for(void **state)
{
    (void)state;
    struct parcels parcels = {0};
    struct strait_port_options options = parcel_options(&parcels, 1);
    struct strait_port a;
    struct strait_port b;
    uint64_t number = 0;
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    strait_port_give(&b);
    send_numbers(&a, 0, 1);
    assert_returns(strait_send(&a.sender, &number, 1, strait_deadline(1000)), -ETIMEDOUT);
    assert_returns(strait_receive(&a.receiver, &number, 1, strait_deadline(1000)), -ETIMEDOUT);
    strait_port_adopt(&b);
    assert_returns(strait_send(&a.sender, &number, 1, STRAIT_FOREVER), -EDEADLK);
    assert_returns(strait_receive(&a.receiver, &number, 1, STRAIT_FOREVER), -EDEADLK);
    strait_port_close(&a);
    strait_port_close(&b);
}

/* Where a channel may have more senders than the end's, they may send. */
static void a_channel_of_many_senders_is_waited_for(void **state)
{
    (void)state;
    struct strait_port_options options = {
        .forth = {.variant = "lanes", .senders = 2},
        .back = {.variant = "cells"},
    };
    struct strait_port a;
    struct strait_port b;
    void *message;
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    assert_returns(strait_receive(&a.receiver, &message, 1, strait_deadline(1000)), -ETIMEDOUT);
    assert_returns(strait_receive(&b.receiver, &message, 1, strait_deadline(1000)), -ETIMEDOUT);
    strait_port_close(&a);
    strait_port_close(&b);
}

/* ---- dispatch hands out copies ---- */

#define HANDLED 5

static int send_five(struct strait_port *port, void *data)
{
    const uint64_t numbers[HANDLED] = {0, 1, 2, 3, 4};
    (void)data;
    EXPECT(strait_send(&port->sender, numbers, HANDLED, STRAIT_FOREVER) == HANDLED);
    return 0;
}

/* Takes every second message by itself. */
static void greedy_event(struct strait_worker *worker, const struct strait_event *event,
                         void *context)
{
    struct event_log *log = context;
    struct strait_receiver *receiver = &strait_worker_port(worker)->receiver;
    uint64_t number;
    log_event(worker, event, context);
    if (event->type == STRAIT_MESSAGE && log->next < HANDLED) {
        EXPECT(strait_receive(receiver, &number, 1, STRAIT_FOREVER) == 1);
        EXPECT(number == log->next);
        EXPECT(memcmp(event->message, &(uint64_t){log->next - 1}, sizeof(number)) == 0);
        log->next++;
    }
}

static void an_event_callback_may_receive_the_next_message(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker_options options = {
        .entry = send_five,
        .to_parent = {.message_size = sizeof(uint64_t)},
        .event = greedy_event,
        .context = &log,
    };
    struct strait_worker *worker = spawn(&options);
    dispatch_to_exit(worker);
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.messages, (HANDLED + 1) / 2);
    join_and_destroy(worker);
    assert_no_faults();
}

static void *new_parent(void *context)
{
    struct strait_worker *worker = context;
    ptrdiff_t told = 0;
    strait_port_adopt(strait_worker_port(worker));
    do {
        EXPECT(told || readable(strait_worker_fd(worker), -1));
        told = strait_worker_dispatch(worker, 2);
    } while (told >= 0);
    EXPECT(told == -EPIPE);
    EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == 0);
    strait_port_give(strait_worker_port(worker));
    return NULL;
}

static void another_thread_can_become_the_parent(void **state)
{
    (void)state;
    struct event_log log = {.count = 0};
    struct strait_worker_options options = {
        .entry = send_five,
        .to_parent = {.message_size = sizeof(uint64_t)},
        .event = log_event,
        .context = &log,
    };
    struct strait_worker *worker = spawn(&options);
    pthread_t thread;
    assert_returns(strait_worker_dispatch(worker, 1), 1);
    strait_port_give(strait_worker_port(worker));
    thread_start(&thread, new_parent, worker);
    thread_join(thread);
    strait_port_adopt(strait_worker_port(worker));
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.messages, HANDLED);
    join_and_destroy(worker);
    assert_no_faults();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(default_options_make_pointer_channels),
        life_test(messages_go_both_ways),
        life_test(directions_have_options_of_their_own),
        life_test(closing_the_sending_half_leaves_the_other),
        life_test(closing_the_receiving_half_leaves_the_other),
        life_test(leftovers_are_dropped_once_when_a_closes_first),
        life_test(leftovers_are_dropped_once_when_b_closes_first),
        life_test(the_peer_reads_what_was_sent_before_the_close),
        life_test(a_closed_port_answers_epipe),
        life_test(bad_options_leave_nothing_behind),
        life_test(close_ends_a_blocked_receive),
        life_test(close_ends_a_blocked_send),
        life_test(racing_closes_drop_once),
        life_test(an_end_can_be_handed_over),
        life_test(an_end_can_be_lent),
        life_test(two_workers_can_share_a_pair),
        life_test(halves_close_in_every_order),
        life_test(what_was_not_sent_stays_the_senders),
        life_test(closing_the_sending_half_ends_a_blocked_receive),
        life_test(closing_the_receiving_half_ends_a_blocked_send),
        life_test(accepted_is_received_or_dropped),
        life_test(an_end_can_be_moved),
        life_test(two_workers_talk_through_ends_they_were_sent),
        life_test(an_end_that_nobody_takes_is_closed),
        life_test(an_end_in_a_channel_is_closed_with_it),
        life_test(an_end_given_in_vain_can_be_taken_back),
        life_test(giving_forgets_the_cancel_flag),
        life_test(stop_ends_waits_on_an_adopted_end),
        life_test(stop_ends_waits_on_a_channel_of_the_workers_own),
        life_test(both_ends_on_one_thread_do_not_wait_for_each_other),
        life_test(an_end_given_away_is_waited_for),
        life_test(a_channel_of_many_senders_is_waited_for),
        life_test(an_event_callback_may_receive_the_next_message),
        life_test(another_thread_can_become_the_parent),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("port", tests, NULL, NULL);
}
