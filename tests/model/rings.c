/* SPDX-License-Identifier: MIT */
/* The rings as they ship, unmodified: each message is plain memory, so that a message read before
 * it is published, or overwritten before it is released, is a data race. */
#include "tests.h"

#include <string.h>

#include "strait/sync.h"

/* The copying operations report what they touch. */
#define memcpy model_copy
#include "strait/rings/cells.h"
#include "strait/rings/lanes.h"
#include "strait/rings/spsc.h"
#undef memcpy

#define MESSAGES_MAX 8

/* Of the test that runs: a shape, and how many messages each sender sends in what batches. */
struct plan {
    struct strait_shape shape;
    uint32_t messages;
    size_t batch;
};

static struct plan plan;
static union {
    struct strait_spsc spsc;
    struct strait_lanes lanes;
    struct strait_cells cells;
    STRAIT_LINE_ALIGNED char bytes[32 * STRAIT_LINE];
} ring;

/* What the receivers got, in order; each word written by one thread. */
static uint64_t received[MESSAGES_MAX];
static uint32_t received_count;
static uint32_t baton; /* hands the receiving side over */
static uint32_t reuse; /* lanes: senders that have had the lane */

static void set_plan(size_t capacity, uint32_t senders, uint32_t messages, size_t batch)
{
    plan.shape.capacity = capacity;
    plan.shape.message_size = sizeof(uint64_t);
    plan.shape.senders = senders;
    plan.messages = messages;
    plan.batch = batch;
    received_count = 0;
    baton = 0;
    reuse = 0;
    memset(received, 0, sizeof(received));
    memset(&ring, 0, sizeof(ring));
}

/* Message i of a sender. */
static uint64_t message(int sender, uint32_t i)
{
    return (uint64_t)(sender + 1) << 32 | i;
}

/* Every message of each sender once, and in order. */
static void check_received(int senders)
{
    model_assert(received_count == (uint32_t)senders * plan.messages);
    for (int sender = 0; sender < senders; sender++) {
        uint32_t next = 0;
        for (uint32_t i = 0; i < received_count; i++) {
            if (received[i] >> 32 == (uint64_t)(sender + 1)) {
                model_assert(received[i] == message(sender, next));
                next++;
            }
        }
        model_assert(next == plan.messages);
    }
}

static void check_one(void)
{
    check_received(1);
}

static void check_two(void)
{
    check_received(2);
}

/* The loops that every variant's threads run: one by copy, one in place. */
#define DEFINE_LOOPS(VARIANT, END, RING)                                                           \
    static void VARIANT##_send_all(END *end)                                                       \
    {                                                                                              \
        uint32_t sent = 0;                                                                         \
        while (sent < plan.messages) {                                                             \
            uint64_t batch[MESSAGES_MAX];                                                          \
            size_t n = strait_min(plan.batch, plan.messages - sent);                               \
            for (size_t i = 0; i < n; i++) {                                                       \
                batch[i] = message(model_self(), sent + (uint32_t)i);                              \
            }                                                                                      \
            n = strait_##VARIANT##_try_send(end, batch, n);                                        \
            sent += (uint32_t)n;                                                                   \
            if (n == 0) {                                                                          \
                strait_pause();                                                                    \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void VARIANT##_receive_until(RING *from, uint32_t total)                                \
    {                                                                                              \
        while (received_count < total) {                                                           \
            struct strait_span span;                                                               \
            size_t n = strait_##VARIANT##_peek(from, plan.batch, &span);                           \
            for (size_t i = 0; i < n; i++) {                                                       \
                const uint64_t *slot = (const uint64_t *)span.messages + i;                        \
                model_plain_read(slot, sizeof(*slot));                                             \
                received[received_count++] = *slot;                                                \
            }                                                                                      \
            if (n == 0) {                                                                          \
                strait_pause();                                                                    \
            } else {                                                                               \
                strait_##VARIANT##_release(from, &span);                                           \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void VARIANT##_receive_copies(RING *from, uint32_t total)                               \
    {                                                                                              \
        while (received_count < total) {                                                           \
            uint64_t batch[MESSAGES_MAX];                                                          \
            size_t n = strait_##VARIANT##_try_receive(from, batch, plan.batch);                    \
            for (size_t i = 0; i < n; i++) {                                                       \
                received[received_count++] = batch[i];                                             \
            }                                                                                      \
            if (n == 0) {                                                                          \
                strait_pause();                                                                    \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_LOOPS(spsc, struct strait_spsc, struct strait_spsc)
DEFINE_LOOPS(lanes, struct strait_spsc, struct strait_lanes)
DEFINE_LOOPS(cells, struct strait_cells, struct strait_cells)

/* ---- spsc ---- */

static void spsc_init(size_t capacity, uint32_t messages, size_t batch)
{
    set_plan(capacity, 1, messages, batch);
    strait_spsc_init(&ring.spsc, &plan.shape);
    strait_spsc_attach(&ring.spsc);
}

static void spsc_1(void)
{
    spsc_init(1, 4, 1);
}

static void spsc_2(void)
{
    spsc_init(2, 5, 1);
}

static void spsc_2_batch(void)
{
    spsc_init(2, 6, 2);
}

static void spsc_3(void)
{
    spsc_init(3, 5, 1);
}

static void spsc_3_batch(void)
{
    spsc_init(3, 6, 2);
}

static void spsc_sender(void)
{
    spsc_send_all(&ring.spsc);
}

static void spsc_receiver(void)
{
    spsc_receive_until(&ring.spsc, plan.messages);
}

static void spsc_copier(void)
{
    spsc_receive_copies(&ring.spsc, plan.messages);
}

/* Writes each message in its slot; looks for room without reserving, too. */
static void spsc_in_place(void)
{
    uint32_t sent = 0;
    while (sent < plan.messages) {
        struct strait_span span;
        if (!strait_spsc_has_room(&ring.spsc) || !strait_spsc_reserve(&ring.spsc, 1, &span)) {
            strait_pause();
            continue;
        }
        model_plain_write(span.messages, sizeof(uint64_t));
        *(uint64_t *)span.messages = message(model_self(), sent++);
        strait_spsc_commit(&ring.spsc, &span);
    }
}

/* ---- lanes ---- */

static void lanes_init(size_t capacity, uint32_t senders, uint32_t messages, size_t batch)
{
    set_plan(capacity, senders, messages, batch);
    strait_lanes_init(&ring.lanes, &plan.shape);
}

static void lanes_1(void)
{
    lanes_init(1, 2, 2, 1);
}

static void lanes_2_batch(void)
{
    lanes_init(2, 2, 2, 2);
}

/* One lane for two senders: the second waits for it. */
static void lanes_reuse(void)
{
    lanes_init(1, 1, 2, 1);
}

static void lanes_sender(void)
{
    struct strait_spsc *end;
    while (!(end = strait_lanes_attach(&ring.lanes))) {
        strait_pause();
    }
    /* line 0 is plain memory that each owner of the lane writes */
    model_plain_write(&end->sender.index, sizeof(uint64_t));
    lanes_send_all(end);
    model_plain_write(&end->sender.index, sizeof(uint64_t));
    strait_lanes_detach(end);
}

static void lanes_receiver(void)
{
    lanes_receive_until(&ring.lanes, 2 * plan.messages);
}

static void lanes_copier(void)
{
    lanes_receive_copies(&ring.lanes, 2 * plan.messages);
}

/* ---- cells ---- */

static void cells_init(size_t capacity, uint32_t messages, size_t batch)
{
    set_plan(capacity, 1, messages, batch);
    strait_cells_init(&ring.cells, &plan.shape);
}

static void cells_1(void)
{
    cells_init(1, 2, 1);
}

static void cells_2(void)
{
    cells_init(2, 2, 1);
}

static void cells_3_batch(void)
{
    cells_init(3, 2, 2);
}

static void cells_3(void)
{
    cells_init(3, 4, 1);
}

static void cells_role(void)
{
    cells_init(2, 1, 1);
}

static void cells_sender(void)
{
    cells_send_all(&ring.cells);
}

static void cells_receiver(void)
{
    cells_receive_until(&ring.cells, 2 * plan.messages);
}

static void cells_copier(void)
{
    cells_receive_copies(&ring.cells, 2 * plan.messages);
}

static void cells_single(void)
{
    cells_receive_until(&ring.cells, plan.messages);
}

/* A change of role: receives one message, then lets a sender have the receiving side, and sends. */
static void cells_first_receiver(void)
{
    cells_receive_until(&ring.cells, 1);
    strait_store_release(&baton, 1);
    cells_send_all(&ring.cells);
}

static void cells_second_receiver(void)
{
    cells_send_all(&ring.cells);
    while (!strait_load_acquire(&baton)) {
        strait_pause();
    }
    cells_receive_until(&ring.cells, 3 * plan.messages);
}

static void check_three(void)
{
    check_received(3);
}

const struct model_test ring_tests[] = {
    {"spsc, capacity 1", spsc_1, {spsc_sender, spsc_receiver}, check_one, 0, 0},
    {"spsc, capacity 1, in place", spsc_1, {spsc_in_place, spsc_copier}, check_one, 0, 0},
    {"spsc, capacity 2", spsc_2, {spsc_sender, spsc_receiver}, check_one, 0, 0},
    {"spsc, capacity 2, batch 2", spsc_2_batch, {spsc_sender, spsc_receiver}, check_one, 0, 0},
    {"spsc, capacity 3", spsc_3, {spsc_sender, spsc_receiver}, check_one, 0, 0},
    {"spsc, capacity 3, batch 2", spsc_3_batch, {spsc_sender, spsc_copier}, check_one, 0, 0},
    {"lanes, capacity 1", lanes_1, {lanes_sender, lanes_sender, lanes_receiver}, check_two, 2, 1},
    {"lanes, capacity 2, batch 2",
     lanes_2_batch,
     {lanes_sender, lanes_sender, lanes_copier},
     check_two,
     0,
     0},
    {"lanes, one lane for two",
     lanes_reuse,
     {lanes_sender, lanes_sender, lanes_receiver},
     check_two,
     0,
     0},
    {"cells, one sender", cells_3, {cells_sender, cells_single}, check_one, 0, 0},
    {"cells, capacity 1", cells_1, {cells_sender, cells_sender, cells_receiver}, check_two, 2, 1},
    {"cells, capacity 1, stale",
     cells_1,
     {cells_sender, cells_sender, cells_receiver},
     check_two,
     1,
     2},
    {"cells, capacity 2", cells_2, {cells_sender, cells_sender, cells_receiver}, check_two, 2, 1},
    {"cells, capacity 3, batch 2",
     cells_3_batch,
     {cells_sender, cells_sender, cells_copier},
     check_two,
     0,
     0},
    {"cells, change of role",
     cells_role,
     {cells_first_receiver, cells_sender, cells_second_receiver},
     check_three,
     2,
     1},
    {0},
};
