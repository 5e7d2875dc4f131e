/* SPDX-License-Identifier: MIT */
/* buffer: memory that travels in messages is released once, wherever it ends. */
#include "extra/fixture.h"

#include "strait/extra/broadcast.h"
#include "strait/extra/buffer.h"

/* ---- buffers that count their releases ---- */

#define BUFFERS 16384
#define BYTES 48

static _Atomic unsigned released[BUFFERS];
static _Atomic unsigned made;

static void count_release(void *memory, size_t bytes, void *context)
{
    unsigned number = BUFFERS;
    EXPECT(bytes == BYTES && context == released);
    memcpy(&number, memory, sizeof(number));
    EXPECT(number < BUFFERS);
    atomic_fetch_add(&released[number % BUFFERS], 1);
    memset(memory, 0xa5, bytes);
    free(memory);
}

static struct strait_buffer counted_buffer(void)
{
    unsigned number = atomic_fetch_add(&made, 1);
    struct strait_buffer buffer = {malloc(BYTES), BYTES, count_release, released};
    EXPECT(buffer.memory && number < BUFFERS);
    memcpy(buffer.memory, &number, sizeof(number));
    return buffer;
}

/* Each once, and forgets them. */
static void assert_released(void)
{
    unsigned all = atomic_exchange(&made, 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_int_equal(atomic_exchange(&released[i], 0), i < all ? 1 : 0);
    }
}

static struct strait_channel_options carries_buffers(size_t capacity)
{
    return (struct strait_channel_options){.capacity = capacity,
                                           .message_size = sizeof(struct strait_buffer)};
}

/* ---- one thread ---- */

TEST(a_buffer_is_released_once)
{
    char text[] = "not to be freed";
    struct strait_buffer buffer = counted_buffer();
    struct strait_buffer empty = {0};
    struct strait_buffer lent = {.memory = text, .bytes = sizeof(text)};
    strait_buffer_release(&buffer);
    assert_null(buffer.memory);
    assert_int_equal(buffer.bytes, 0);
    strait_buffer_release(&buffer);
    assert_released();
    strait_buffer_release(&empty);
    strait_buffer_drop(&empty, NULL);
    strait_buffer_release(&lent);
    assert_null(lent.memory);
    assert_string_equal(text, "not to be freed");
}

TEST(allocated_buffers_go_back)
{
    static void *_Atomic seen; /* else a compiler may make do without the memory */
    volatile size_t too_much = PTRDIFF_MAX;
    struct strait_buffer buffer;
    for (size_t bytes = 0; bytes <= 1 << 20; bytes = 3 * bytes + 1) {
        assert_returns(strait_buffer_alloc(&buffer, bytes), 0);
        assert_non_null(buffer.memory);
        assert_int_equal(buffer.bytes, bytes);
        memset(buffer.memory, 1, bytes);
        strait_buffer_release(&buffer);
    }
    if (!TEST_ASAN && !TEST_TSAN) { /* they end the program instead */
        memset(&buffer, 0xa5, sizeof(buffer));
        assert_returns(strait_buffer_alloc(&buffer, too_much), -ENOMEM);
        atomic_store(&seen, buffer.memory);
        strait_buffer_release(&buffer);
        assert_null(buffer.memory);
    }
}

/* The memory is the same at the other side. What is not accepted stays the sender's, what nobody
 * receives is released. */
TEST(transferList_ArrayBuffer)
{
    struct strait_buffer mine[2] = {counted_buffer(), counted_buffer()};
    struct strait_buffer theirs;
    const struct strait_port_options options = {.forth = carries_buffers(1),
                                                .drop_forth = strait_buffer_drop};
    struct strait_port a;
    struct strait_port b;
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    const void *memory[2] = {mine[0].memory, mine[1].memory};
    assert_returns(strait_buffer_moved(mine, strait_try_send(&a.sender, mine, 2)), 1);
    assert_null(mine[0].memory);
    assert_ptr_equal(mine[1].memory, memory[1]);
    assert_returns(strait_try_receive(&b.receiver, &theirs, 1), 1);
    assert_ptr_equal(theirs.memory, memory[0]);
    assert_returns(strait_buffer_moved(&theirs, strait_try_send(&a.sender, &theirs, 1)), 1);
    strait_receiver_close(&b.receiver);
    assert_returns(strait_buffer_moved(&mine[1], strait_try_send(&a.sender, &mine[1], 1)), -EPIPE);
    assert_ptr_equal(mine[1].memory, memory[1]);
    strait_buffer_release(&mine[1]);
    strait_port_close(&a);
    strait_port_close(&b);
    assert_released();
}

/* ---- one memory for several receivers ---- */

static _Atomic unsigned users;

static void leave(void *memory, size_t bytes, void *context)
{
    EXPECT(bytes == 16 && context == &users);
    if (atomic_fetch_sub(&users, 1) == 1) {
        free(memory);
    }
}

TEST(a_memory_can_have_several_readers)
{
    struct strait_port_options options = {.forth = carries_buffers(1),
                                          .drop_forth = strait_buffer_drop};
    struct strait_buffer buffer = {calloc(1, 16), 16, leave, &users};
    struct strait_buffer received;
    struct strait_sender *senders[3];
    struct strait_port a[3];
    struct strait_port b[3];
    int results[3] = {0};
    strcpy(buffer.memory, "read by all");
    atomic_store(&users, 3);
    for (int i = 0; i < 3; i++) {
        assert_returns(strait_port_pair(&a[i], &b[i], &options), 0);
        senders[i] = &a[i].sender;
    }
    strait_port_close(&b[1]);
    assert_int_equal(strait_broadcast(senders, 3, &buffer, results, 0), 2);
    strait_buffer_release(&buffer); /* for the one that has closed */
    assert_returns(strait_try_receive(&b[0].receiver, &received, 1), 1);
    assert_string_equal(received.memory, "read by all");
    assert_int_equal(users, 2);
    strait_buffer_release(&received);
    assert_int_equal(users, 1);
    for (int i = 0; i < 3; i++) {
        strait_port_close(&a[i]);
        strait_port_close(&b[i]); /* and the last one here */
    }
    assert_int_equal(users, 0);
}

/* ---- whatever happens to either side ---- */

static int64_t some_deadline(uint64_t *seed)
{
    return draw_below(seed, 2) ? strait_deadline((int64_t)draw_below(seed, 40000)) : 0;
}

static void sell(struct strait_sender *sender, uint64_t *seed)
{
    struct strait_buffer buffers[4];
    size_t n = 1 + draw_below(seed, 4);
    for (size_t i = 0; i < n; i++) {
        buffers[i] = counted_buffer();
    }
    strait_buffer_moved(buffers, strait_send(sender, buffers, n, some_deadline(seed)));
    for (size_t i = 0; i < n; i++) {
        strait_buffer_release(&buffers[i]);
    }
}

static void buy(struct strait_receiver *receiver, uint64_t *seed)
{
    struct strait_buffer buffers[4];
    ptrdiff_t count = strait_receive(receiver, buffers, 4, some_deadline(seed));
    for (ptrdiff_t i = 0; i < count; i++) {
        strait_buffer_release(&buffers[i]);
    }
}

static void trade(struct strait_port *port, uint64_t *seed)
{
    for (size_t deals = draw_below(seed, 40); deals > 0; deals--) {
        if (draw_below(seed, 2)) {
            sell(&port->sender, seed);
        } else {
            buy(&port->receiver, seed);
        }
    }
}

/* Trades, half-closes, trades on, and closes or leaves that to whoever ends the link. */
static void trade_and_close(struct strait_port *port, uint64_t *seed)
{
    trade(port, seed);
    if (draw_below(seed, 2)) {
        strait_receiver_close(&port->receiver);
    } else {
        strait_sender_close(&port->sender);
    }
    trade(port, seed);
}

static void release_copy(const void *message)
{
    struct strait_buffer buffer;
    memcpy(&buffer, message, sizeof(buffer));
    strait_buffer_release(&buffer);
}

HANDLER(release_message)
{
    release_copy(message);
    if (draw_below(context, 8) == 0) {
        strait_port_close(strait_isolate_port(isolate));
    }
    return 0;
}

ENTRY(working_trader)
{
    uint64_t *seed = strait_isolate_data(isolate);
    trade_and_close(strait_isolate_port(isolate), seed);
    return draw_below(seed, 2) ? (int)draw_below(seed, 3)
                               : strait_isolate_run(isolate, release_message, seed);
}

static void release_event(struct strait_worker *worker, const struct strait_event *event,
                          void *context)
{
    if (event->type == STRAIT_MESSAGE) {
        release_copy(event->message);
    }
}

/* It returns, fails, ends its loop or closes; its parent sees to that, stops it, or just waits. */
TEST(workers_that_end_in_any_way_release_once)
{
    uint64_t seed = first_seed(5);
    for (size_t i = scaled(200); i > 0; i--) {
        uint64_t workers_seed = draw(&seed);
        struct tenant tenant = {
            .inner = {.entry = working_trader, .data = &workers_seed},
            .outer = {.to_worker = carries_buffers(4),
                      .to_parent = carries_buffers(4),
                      .drop_to_worker = strait_buffer_drop,
                      .drop_to_parent = strait_buffer_drop,
                      .event = release_event},
        };
        tenant_spawn(&tenant);
        trade(tenant.port, &seed);
        strait_sender_close(&tenant.port->sender);
        if (draw_below(&seed, 2)) {
            dispatch_to_exit(tenant.worker);
        } else {
            strait_worker_stop(tenant.worker);
        }
        tenant_free(&tenant);
        assert_released();
    }
}
