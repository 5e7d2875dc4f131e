/* SPDX-License-Identifier: MIT */
/* The rings as they ship, unmodified: each message is plain memory, so that a message read before
 * it is published, or overwritten before it is released, is a data race. The table of variants is
 * that of channels.c, whose copying operations report what they touch. */
#include "tests.h"

#include <string.h>

#include "strait/sync.h"

#include "strait/channel.h"

#define SENDERS_MOST 3

static STRAIT_LINE_ALIGNED char ring[32 * STRAIT_LINE];
static const struct strait_variant *variant;
static void *end;      /* of all senders, but for those that each takes for itself */
static uint32_t baton; /* hands the receiving side over */

/* ---- messages ---- */

static uint64_t received[MESSAGES_MOST];
static uint32_t received_count; /* each word is written by one thread at a time */

uint64_t message(int sender, uint32_t i)
{
    return (uint64_t)(sender + 1) << 32 | i;
}

void forget_received(void)
{
    memset(received, 0, sizeof(received));
    received_count = 0;
}

void receive_message(uint64_t m)
{
    model_assert(received_count < MESSAGES_MOST);
    received[received_count++] = m;
}

uint32_t messages_received(void)
{
    return received_count;
}

void check_received(const uint32_t *sent, int senders)
{
    uint32_t found = 0;
    for (int sender = 0; sender < senders; sender++) {
        uint32_t next = 0;
        for (uint32_t i = 0; i < received_count; i++) {
            if (received[i] >> 32 == (uint64_t)(sender + 1)) {
                model_assert(received[i] == message(sender, next));
                next++;
            }
        }
        model_assert(next == sent[sender]);
        found += next;
    }
    model_assert(found == received_count);
}

/* ---- threads ---- */

static void init_shape(uint32_t lanes)
{
    const struct model_plan *plan = model_plan();
    struct strait_shape shape = {plan->capacity, sizeof(uint64_t), lanes};
    variant = strait_variant_at(0);
    for (size_t i = 1; strcmp(variant->name, plan->variant) != 0; i++) {
        variant = strait_variant_at(i);
    }
    memset(ring, 0, sizeof(ring));
    model_assert(variant->size(&shape) <= sizeof(ring));
    variant->init(ring, &shape);
    bool own = variant->senders == STRAIT_SENDERS_REGISTERED ||
               (variant->senders == STRAIT_SENDERS_ONE && plan->senders > 1);
    end = own ? NULL : variant->attach(ring);
    baton = 0;
    forget_received();
}

static void init(void)
{
    init_shape(1);
}

static void init_own(void)
{
    init_shape(model_plan()->senders);
}

static void send_through(void *to)
{
    const struct model_plan *plan = model_plan();
    uint32_t sent = 0;
    while (sent < plan->messages) {
        uint64_t batch[MESSAGES_MOST];
        size_t n = strait_min(plan->how, plan->messages - sent);
        for (size_t i = 0; i < n; i++) {
            batch[i] = message(model_self(), sent + (uint32_t)i);
        }
        n = variant->try_send(to, batch, n);
        sent += (uint32_t)n;
        if (n == 0) {
            strait_pause();
        }
    }
}

static void send(void)
{
    send_through(end);
}

/* Takes an end for its messages. It begins with plain memory that each owner writes. */
static void visit(void)
{
    void *own;
    while (!(own = variant->attach(ring))) {
        strait_pause();
    }
    model_plain_write(own, sizeof(uint64_t));
    send_through(own);
    model_plain_write(own, sizeof(uint64_t));
    variant->detach(own);
}

/* Writes each message in its slot; looks for room without reserving, too. */
static void send_in_place(void)
{
    uint32_t sent = 0;
    while (sent < model_plan()->messages) {
        struct strait_span span;
        if (!variant->has_room(end) || !variant->reserve(end, 1, &span)) {
            strait_pause();
            continue;
        }
        model_plain_write(span.messages, sizeof(uint64_t));
        *(uint64_t *)span.messages = message(model_self(), sent++);
        variant->commit(end, &span);
    }
}

static uint32_t all_messages(void)
{
    return model_plan()->senders * model_plan()->messages;
}

/* In place, until it has so many. */
static void receive_until(uint32_t total)
{
    while (received_count < total) {
        struct strait_span span;
        size_t n = variant->peek(ring, model_plan()->how, &span);
        for (size_t i = 0; i < n; i++) {
            const uint64_t *slot = (const uint64_t *)span.messages + i;
            model_plain_read(slot, sizeof(*slot));
            receive_message(*slot);
        }
        if (n == 0) {
            strait_pause();
        } else {
            variant->release(ring, &span);
        }
    }
}

static void receive(void)
{
    receive_until(all_messages());
}

static void copy_out(void)
{
    while (received_count < all_messages()) {
        uint64_t batch[MESSAGES_MOST];
        size_t n = variant->try_receive(ring, batch, model_plan()->how);
        for (size_t i = 0; i < n; i++) {
            receive_message(batch[i]);
        }
        if (n == 0) {
            strait_pause();
        }
    }
}

/* A change of role: receives one message, then lets a sender have the receiving side, and sends. */
static void hand_over(void)
{
    receive_until(1);
    strait_store_release(&baton, 1);
    send();
}

static void take_over(void)
{
    send();
    while (!strait_load_acquire(&baton)) {
        strait_pause();
    }
    receive();
}

static void check(void)
{
    uint32_t messages = model_plan()->messages;
    uint32_t sent[SENDERS_MOST] = {messages, messages, messages};
    check_received(sent, (int)model_plan()->senders);
}

/* The plans: variant, capacity, senders, messages of each, batch. */
const struct model_test ring_tests[] = {
    {"spsc, capacity 1", init, {send, receive}, check, 0, 0, {"spsc", 1, 1, 4, 1}},
    {"spsc, in place", init, {send_in_place, copy_out}, check, 0, 0, {"spsc", 1, 1, 4, 1}},
    {"spsc, capacity 2", init, {send, receive}, check, 0, 0, {"spsc", 2, 1, 5, 1}},
    {"spsc, capacity 2, by two", init, {send, receive}, check, 0, 0, {"spsc", 2, 1, 6, 2}},
    {"spsc, capacity 3", init, {send, receive}, check, 0, 0, {"spsc", 3, 1, 5, 1}},
    {"spsc, capacity 3, by two", init, {send, copy_out}, check, 0, 0, {"spsc", 3, 1, 6, 2}},
    {"spsc, at a distance", init, {send, receive}, check, 0, 0, {"spsc", 16, 1, 4, 1}},
    {"lanes, capacity 1", init_own, {visit, visit, receive}, check, 2, 1, {"lanes", 1, 2, 2, 1}},
    {"lanes, by two", init_own, {visit, visit, copy_out}, check, 0, 0, {"lanes", 2, 2, 2, 2}},
    {"lanes, one lane for two", init, {visit, visit, receive}, check, 0, 0, {"lanes", 1, 2, 2, 1}},
    {"cells, one sender", init, {send, receive}, check, 0, 0, {"cells", 3, 1, 4, 1}},
    {"cells, capacity 1", init, {send, send, receive}, check, 2, 1, {"cells", 1, 2, 2, 1}},
    {"cells, capacity 1, stale", init, {send, send, receive}, check, 1, 2, {"cells", 1, 2, 2, 1}},
    {"cells, capacity 2", init, {send, send, receive}, check, 2, 1, {"cells", 2, 2, 2, 1}},
    {"cells, capacity 3, by two", init, {send, send, copy_out}, check, 0, 0, {"cells", 3, 2, 2, 2}},
    {"cells, at a distance", init, {send, send, receive}, check, 2, 1, {"cells", 16, 2, 2, 1}},
    {"cells, roles change", init, {hand_over, send, take_over}, check, 2, 1, {"cells", 2, 3, 1, 1}},
    {"line, capacity 1", init, {send, receive}, check, 0, 0, {"line", 1, 1, 4, 1}},
    {"line, in place", init, {send_in_place, copy_out}, check, 0, 0, {"line", 1, 1, 4, 1}},
    {"line, capacity 2, by two", init, {send, copy_out}, check, 0, 0, {"line", 2, 1, 5, 2}},
    {"line, capacity 3", init, {send, receive}, check, 0, 0, {"line", 3, 1, 5, 1}},
    {"line, at a distance", init, {send, receive}, check, 0, 0, {"line", 16, 1, 4, 1}},
    {"line, at a distance, by two", init, {send, copy_out}, check, 0, 0, {"line", 32, 1, 6, 2}},
    {"line, distant, for two", init, {visit, visit, receive}, check, 0, 0, {"line", 32, 2, 2, 1}},
    {"line, one end for two", init, {visit, visit, receive}, check, 0, 0, {"line", 1, 2, 2, 1}},
    {0},
};
