/* SPDX-License-Identifier: MIT */
/* buffer: memory that travels in messages is released once, wherever it ends. */
#include "tenant.h"

#include "strait/extra/broadcast.h"
#include "strait/extra/buffer.h"

/* ---- buffers that count their releases ---- */

#define BUFFERS 16384
#define BYTES 48

struct ledger {
    _Atomic unsigned released[BUFFERS];
    _Atomic unsigned made;
};

static void count_release(void *memory, size_t bytes, void *context)
{
    struct ledger *ledger = context;
    unsigned number = BUFFERS;
    EXPECT(bytes == BYTES);
    memcpy(&number, memory, sizeof(number));
    EXPECT(number < BUFFERS);
    atomic_fetch_add(&ledger->released[number % BUFFERS], 1);
    memset(memory, 0xa5, bytes);
    free(memory);
}

static struct strait_buffer counted_buffer(struct ledger *ledger)
{
    unsigned number = atomic_fetch_add(&ledger->made, 1);
    struct strait_buffer buffer = {
        .memory = malloc(BYTES),
        .bytes = BYTES,
        .release = count_release,
        .context = ledger,
    };
    EXPECT(buffer.memory && number < BUFFERS);
    memcpy(buffer.memory, &number, sizeof(number));
    return buffer;
}

/* Each once, and forgets them. */
static void assert_released(struct ledger *ledger)
{
    unsigned made = atomic_load(&ledger->made);
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_int_equal(atomic_exchange(&ledger->released[i], 0), i < made ? 1 : 0);
    }
    atomic_store(&ledger->made, 0);
}

static struct strait_channel_options buffer_messages(size_t capacity)
{
    struct strait_channel_options options = {
        .capacity = capacity,
        .message_size = sizeof(struct strait_buffer),
    };
    return options;
}

/* ---- one thread ---- */

static void a_buffer_is_released_once(void **state)
{
    (void)state;
    static struct ledger ledger;
    struct strait_buffer buffer = counted_buffer(&ledger);
    strait_buffer_release(&buffer);
    assert_null(buffer.memory);
    assert_int_equal(buffer.bytes, 0);
    strait_buffer_release(&buffer);
    assert_released(&ledger);
}

static void an_empty_buffer_has_nothing_to_release(void **state)
{
    (void)state;
    char text[] = "not to be freed";
    struct strait_buffer empty = {0};
    struct strait_buffer lent = {.memory = text, .bytes = sizeof(text)};
    strait_buffer_release(&empty);
    strait_buffer_drop(&empty, NULL);
    strait_buffer_release(&lent);
    assert_null(lent.memory);
    assert_string_equal(text, "not to be freed");
}

static void allocated_buffers_go_back(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes <= 1 << 20; bytes = 3 * bytes + 1) {
        struct strait_buffer buffer;
        assert_returns(strait_buffer_alloc(&buffer, bytes), 0);
        assert_non_null(buffer.memory);
        assert_int_equal(buffer.bytes, bytes);
        memset(buffer.memory, 1, bytes);
        strait_buffer_release(&buffer);
    }
}

static void no_memory_makes_an_empty_buffer(void **state)
{
    (void)state;
#if TEST_ASAN || TEST_TSAN
    skip(); /* they end the program instead */
#else
    volatile size_t too_much = PTRDIFF_MAX;
    static void *_Atomic seen;
    struct strait_buffer buffer;
    memset(&buffer, 0xa5, sizeof(buffer));
    assert_returns(strait_buffer_alloc(&buffer, too_much), -ENOMEM);
    atomic_store(&seen, buffer.memory); /* else a compiler may make do without the memory */
    strait_buffer_release(&buffer);
    assert_null(buffer.memory);
#endif
}

/* The memory is the same at the other side, and what was not accepted stays the sender's. */
static void a_buffer_moves_without_a_copy(void **state)
{
    (void)state;
    static struct ledger ledger;
    struct strait_port_options options = {
        .forth = buffer_messages(2),
        .drop_forth = strait_buffer_drop,
    };
    struct strait_port a;
    struct strait_port b;
    struct strait_buffer buffers[3];
    struct strait_buffer received;
    const void *memory[3];
    for (int i = 0; i < 3; i++) {
        buffers[i] = counted_buffer(&ledger);
        memory[i] = buffers[i].memory;
    }
    assert_returns(strait_port_pair(&a, &b, &options), 0);
    ptrdiff_t sent = strait_try_send(&a.sender, buffers, 3);
    assert_returns(strait_buffer_moved(buffers, sent), 2);
    assert_null(buffers[0].memory);
    assert_null(buffers[1].memory);
    assert_ptr_equal(buffers[2].memory, memory[2]);
    assert_returns(strait_try_receive(&b.receiver, &received, 1), 1);
    assert_ptr_equal(received.memory, memory[0]);
    strait_buffer_release(&received);
    strait_receiver_close(&b.receiver);
    sent = strait_try_send(&a.sender, buffers + 2, 1);
    assert_returns(strait_buffer_moved(buffers + 2, sent), -EPIPE);
    assert_ptr_equal(buffers[2].memory, memory[2]);
    for (int i = 0; i < 3; i++) {
        strait_buffer_release(&buffers[i]);
    }
    strait_port_close(&a);
    strait_port_close(&b);
    assert_released(&ledger);
    assert_no_faults();
}

static void a_channel_destroyed_releases_what_is_left(void **state)
{
    (void)state;
    static struct ledger ledger;
    for (size_t i = 0; strait_variant_at(i); i++) {
        struct strait_channel_options options = buffer_messages(5);
        struct strait_channel *channel;
        struct strait_sender sender;
        struct strait_receiver receiver;
        struct strait_buffer buffer;
        options.variant = strait_variant_at(i)->name;
        assert_returns(strait_channel_create(&channel, &options), 0);
        assert_returns(strait_sender_open(&sender, channel), 0);
        assert_returns(strait_receiver_open(&receiver, channel), 0);
        for (int n = 0; n < 5; n++) {
            buffer = counted_buffer(&ledger);
            assert_returns(strait_try_send(&sender, &buffer, 1), 1);
        }
        assert_returns(strait_try_receive(&receiver, &buffer, 1), 1);
        strait_buffer_release(&buffer);
        strait_channel_destroy(channel, strait_buffer_drop, NULL);
        assert_released(&ledger);
    }
    assert_no_faults();
}

/* ---- one memory for several receivers ---- */

struct shared_memory {
    _Atomic unsigned users;
    char text[16];
};

static void leave_shared(void *memory, size_t bytes, void *context)
{
    struct shared_memory *shared = context;
    EXPECT(memory == shared->text && bytes == sizeof(shared->text));
    if (atomic_fetch_sub(&shared->users, 1) == 1) {
        free(shared);
    }
}

static void a_memory_can_have_several_readers(void **state)
{
    (void)state;
    struct strait_port a[3];
    struct strait_port b[3];
    struct strait_sender *senders[3];
    int results[3] = {0};
    struct strait_port_options options = {
        .forth = buffer_messages(1),
        .drop_forth = strait_buffer_drop,
    };
    struct shared_memory *shared = calloc(1, sizeof(*shared));
    assert_non_null(shared);
    shared->users = 3;
    strcpy(shared->text, "read by all");
    struct strait_buffer buffer = {shared->text, sizeof(shared->text), leave_shared, shared};
    for (int i = 0; i < 3; i++) {
        assert_returns(strait_port_pair(&a[i], &b[i], &options), 0);
        senders[i] = &a[i].sender;
    }
    strait_port_close(&b[1]);
    assert_int_equal(strait_broadcast(senders, 3, &buffer, results, 0), 2);
    strait_buffer_release(&buffer); /* for the one that has closed */
    struct strait_buffer received;
    assert_returns(strait_try_receive(&b[0].receiver, &received, 1), 1);
    assert_string_equal(received.memory, "read by all");
    assert_int_equal(shared->users, 2);
    strait_buffer_release(&received);
    assert_int_equal(shared->users, 1);
    for (int i = 0; i < 3; i++) {
        strait_port_close(&a[i]);
        strait_port_close(&b[i]); /* and the last one here */
    }
    assert_no_faults();
}

/* ---- whatever happens to either side ---- */

struct trade {
    struct strait_port port;
    struct ledger *ledger;
    _Atomic unsigned *gate;
    uint64_t seed;
};

static int64_t some_deadline(uint64_t *seed)
{
    return draw_below(seed, 2) ? strait_deadline((int64_t)draw_below(seed, 40000)) : 0;
}

static void sell(struct strait_sender *sender, struct ledger *ledger, uint64_t *seed)
{
    struct strait_buffer buffers[4];
    size_t n = 1 + draw_below(seed, 4);
    for (size_t i = 0; i < n; i++) {
        buffers[i] = counted_buffer(ledger);
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

static void trade_some(struct trade *trade)
{
    for (size_t deals = draw_below(&trade->seed, 40); deals > 0; deals--) {
        if (draw_below(&trade->seed, 2)) {
            sell(&trade->port.sender, trade->ledger, &trade->seed);
        } else {
            buy(&trade->port.receiver, &trade->seed);
        }
    }
}

static void *trade_body(void *context)
{
    struct trade *trade = context;
    strait_port_adopt(&trade->port);
    gate_pass(trade->gate, 2);
    trade_some(trade);
    if (draw_below(&trade->seed, 2)) {
        strait_receiver_close(&trade->port.receiver);
    } else {
        strait_sender_close(&trade->port.sender);
    }
    trade_some(trade);
    strait_port_close(&trade->port);
    return NULL;
}

static void closes_at_any_time_release_once(void **state)
{
    (void)state;
    static struct ledger ledger;
    uint64_t seed = first_seed(3);
    for (size_t i = 0; i < scaled(600); i++) {
        _Atomic unsigned gate = 0;
        struct trade ends[2] = {
            {.ledger = &ledger, .gate = &gate, .seed = draw(&seed)},
            {.ledger = &ledger, .gate = &gate, .seed = draw(&seed)},
        };
        struct strait_port_options options = {
            .forth = buffer_messages(1 + draw_below(&seed, 6)),
            .back = buffer_messages(1 + draw_below(&seed, 6)),
            .drop_forth = strait_buffer_drop,
            .drop_back = strait_buffer_drop,
        };
        pthread_t thread;
        assert_returns(strait_port_pair(&ends[0].port, &ends[1].port, &options), 0);
        strait_port_give(&ends[1].port);
        thread_start(&thread, trade_body, &ends[1]);
        trade_body(&ends[0]);
        thread_join(thread);
        assert_released(&ledger);
        progress_made();
    }
    assert_no_faults();
}

/* ---- workers ---- */

enum fate {
    RETURNS,       /* at once, with messages on their way */
    FAILS,         /* after a few */
    HALF_CLOSES,   /* and sends a few */
    CLOSES_INSIDE, /* of a handler */
    IS_STOPPED,    /* while it sends */
    FATES,
};

struct life_of {
    struct ledger *ledger;
    enum fate fate;
    uint64_t seed;        /* the worker's */
    uint64_t parent_seed; /* the parent's */
    unsigned handled;
};

static int keep_or_close(struct strait_isolate *isolate, const void *message, void *context)
{
    struct life_of *life = context;
    struct strait_buffer buffer;
    memcpy(&buffer, message, sizeof(buffer));
    strait_buffer_release(&buffer);
    life->handled++;
    if (life->fate == CLOSES_INSIDE && life->handled == 3) {
        strait_receiver_close(&strait_isolate_port(isolate)->receiver);
    }
    return 0;
}

static int live_and_end(struct strait_isolate *isolate)
{
    struct life_of *life = strait_isolate_data(isolate);
    struct strait_port *port = strait_isolate_port(isolate);
    switch (life->fate) {
    case RETURNS:
        return 0;
    case FAILS:
        buy(&port->receiver, &life->seed);
        sell(&port->sender, life->ledger, &life->seed);
        return 7;
    case HALF_CLOSES:
        strait_receiver_close(&port->receiver);
        sell(&port->sender, life->ledger, &life->seed);
        return 0;
    case CLOSES_INSIDE:
        return strait_isolate_run(isolate, keep_or_close, life);
    default:
        while (!strait_worker_stopping(strait_worker_current())) {
            struct strait_buffer buffer = counted_buffer(life->ledger);
            strait_buffer_moved(&buffer, strait_send(&port->sender, &buffer, 1, STRAIT_FOREVER));
            strait_buffer_release(&buffer);
        }
        return -ECANCELED;
    }
}

static void release_event(struct strait_worker *worker, const struct strait_event *event,
                          void *context)
{
    struct strait_buffer buffer;
    (void)context;
    if (event->type == STRAIT_MESSAGE) {
        memcpy(&buffer, event->message, sizeof(buffer));
        strait_buffer_release(&buffer);
        strait_worker_stop(worker); /* with more on their way */
    }
}

static void run_life(struct life_of *life)
{
    struct tenant_options options = {
        .entry = live_and_end,
        .data = life,
        .to_worker = buffer_messages(4),
        .to_parent = buffer_messages(4),
        .drop_to_worker = strait_buffer_drop,
        .drop_to_parent = strait_buffer_drop,
        .event = release_event,
    };
    struct strait_worker *worker = spawn_tenant(&options);
    for (int i = 0; i < 6; i++) {
        sell(&strait_worker_port(worker)->sender, life->ledger, &life->parent_seed);
    }
    strait_sender_close(&strait_worker_port(worker)->sender);
    if (draw_below(&life->parent_seed, 2)) {
        dispatch_to_exit(worker);
    } else {
        strait_worker_stop(worker);
    }
    join_and_destroy(worker);
}

static void a_worker_may_end_in_any_way(void **state)
{
    (void)state;
    static struct ledger ledger;
    uint64_t seed = first_seed(5);
    for (size_t i = 0; i < scaled(40); i++) {
        for (int fate = RETURNS; fate < FATES; fate++) {
            struct life_of life = {
                .ledger = &ledger,
                .fate = (enum fate)fate,
                .seed = draw(&seed),
                .parent_seed = draw(&seed),
            };
            run_life(&life);
            assert_released(&ledger);
        }
    }
    assert_no_faults();
}

/* A spawn that fails has taken no message and leaves none. */
static void a_worker_that_never_came_releases_nothing(void **state)
{
    (void)state;
    static struct ledger ledger;
    struct strait_worker *worker;
    struct tenant_options options = {
        .entry = live_and_end,
        .name = "a name that is far too long",
        .to_worker = buffer_messages(4),
        .drop_to_worker = strait_buffer_drop,
    };
    assert_returns(tenant_spawn(&worker, &options), -EINVAL);
    assert_released(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        life_test(a_buffer_is_released_once),
        life_test(an_empty_buffer_has_nothing_to_release),
        life_test(allocated_buffers_go_back),
        life_test(no_memory_makes_an_empty_buffer),
        life_test(a_buffer_moves_without_a_copy),
        life_test(a_channel_destroyed_releases_what_is_left),
        life_test(a_memory_can_have_several_readers),
        life_test(closes_at_any_time_release_once),
        life_test(a_worker_may_end_in_any_way),
        life_test(a_worker_that_never_came_releases_nothing),
    };
    watchdog_start();
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
