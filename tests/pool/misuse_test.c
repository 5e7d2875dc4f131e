/* SPDX-License-Identifier: MIT */
/* Mistakes with a name, of every noun: a wrong option, a span where a deadline is due, a message of
 * another size. What a call answers, and what a checked build says, each in a child process. */
#include "pool/fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "strait.h"

/* ---- options ---- */

/* Each makes the thing: what the call answers; 1 if it also leaves something. */

static int make_channel(const void *options)
{
    struct strait_channel *channel = NULL;
    int error = strait_channel_create(&channel, options);
    return channel ? 1 : error;
}

static int make_port(const void *options)
{
    struct strait_port a;
    struct strait_port b;
    return strait_port_pair(&a, &b, options);
}

static int ends_at_once(struct strait_port *port, void *data)
{
    return 0;
}

static int make_worker(const void *options)
{
    struct strait_worker *worker = NULL;
    int error = strait_worker_spawn(&worker, options);
    return worker ? 1 : error;
}

static int make_pool(const void *options)
{
    struct strait_pool *pool = NULL;
    int error = strait_pool_create(&pool, options);
    return pool ? 1 : error;
}

static int make_parent(const void *options)
{
    struct strait_parent *parent = NULL;
    int error = strait_pool_attach(here.pool, &parent, options);
    return parent ? 1 : error;
}

static int make_submit(const void *options)
{
    return strait_task_submit(here.parent, &(struct strait_task){.run = nothing}, options, NULL);
}

/* Of this noun, but a checked build names another, whose option it becomes. */
#define WRONG_AS(SAID, NOUN, ...)                                                                  \
    {                                                                                              \
        make_##NOUN, "struct strait_" SAID, &(const struct strait_##NOUN##_options)                \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define WRONG(NOUN, FIELD, ...) WRONG_AS(#NOUN "_options: " FIELD, NOUN, __VA_ARGS__)

/* One that ends inside of a field. */
#define CUT(NOUN, FIELD)                                                                           \
    WRONG(NOUN, "size", .size = offsetof(struct strait_##NOUN##_options, FIELD) + 1)

static const int no_cpus[] = {-1, CPU_SETSIZE, INT32_MAX, 0, CPU_SETSIZE - 1};

static const struct mistake {
    int (*make)(const void *options);
    const char *said;
    const void *options;
} mistakes[] = {
    WRONG(channel, "variant", .variant = "mpsc"),
    WRONG(channel, "capacity", .capacity = (size_t)STRAIT_CAPACITY_MAX + 1),
    WRONG(channel, "message_size", .message_size = (size_t)STRAIT_MESSAGE_SIZE_MAX + 1),
    WRONG(channel, "senders", .senders = 8),
    WRONG(channel, "shared", .shared = 2),
    WRONG(channel, "sender", .sender = (enum strait_wait)9),
    WRONG(channel, "receiver", .receiver = STRAIT_WAIT_FD, .shared = 1),
    WRONG_AS("channel_options: variant", port, .forth = {.variant = "no such"},
             .back = {.receiver = STRAIT_WAIT_FD}),
    WRONG_AS("channel_options: capacity", port, .forth = {.receiver = STRAIT_WAIT_FD},
             .back = {.capacity = SIZE_MAX}),
    {make_worker, "", NULL},
    WRONG(worker, "entry", .name = "nothing to do"),
    WRONG(worker, "data", .entry = ends_at_once, .data_size = 1),
    WRONG(worker, "nice", .entry = ends_at_once, .nice = 20),
    WRONG(worker, "nice", .entry = ends_at_once, .nice = -1),
    WRONG(worker, "name", .entry = ends_at_once, .name = "sixteen_bytes___"),
    WRONG(worker, "schedule", .entry = ends_at_once, .schedule = (enum strait_schedule)9),
    WRONG(worker, "cpus", .entry = ends_at_once, .pin = STRAIT_PIN_CPU, .cpu = -1),
    WRONG(worker, "stack_size", .entry = ends_at_once, .stack_size = 1),
    WRONG(worker, "cpus", .entry = ends_at_once, .pin = STRAIT_PIN_SET, .cpus = &no_cpus[3],
          .cpu_count = 2),
    WRONG_AS("channel_options: variant", worker, .entry = ends_at_once,
             .to_worker = {.variant = "no such"}),
    WRONG_AS("channel_options: capacity", worker, .entry = ends_at_once,
             .to_parent = {.capacity = STRAIT_CAPACITY_MAX + 1}),
    WRONG(pool, "workers", .workers = 2, .workers_max = 1),
    WRONG(pool, "workers", .workers = STRAIT_POOL_WORKERS_MAX + 1),
    WRONG(pool, "workers_max", .workers_max = STRAIT_POOL_WORKERS_MAX + 1),
    WRONG(pool, "queue_limit", .queue_limit = STRAIT_QUEUE_LIMIT_MAX + 1),
    WRONG(pool, "name", .name = "a name that is far too long"),
    WRONG(pool, "nice", .nice = -1),
    WRONG(pool, "schedule", .schedule = (enum strait_schedule)9),
    WRONG(pool, "wait", .wait = STRAIT_WAIT_FD),
    WRONG(pool, "idle_timeout", .idle_timeout = -1),
    WRONG(pool, "wait", .wait = (enum strait_wait)99),
    WRONG(pool, "nice", .nice = 20),
    WRONG_AS("worker_options: cpus", pool, .pin = (enum strait_pin)99),
    WRONG_AS("worker_options: stack_size", pool, .stack_size = 1),
    WRONG_AS("worker_options: cpus", pool, .cpus = no_cpus),
    WRONG_AS("worker_options: cpus", pool, .cpu_count = 1),
    WRONG_AS("worker_options: cpus", pool, .pin = STRAIT_PIN_SET),
    WRONG_AS("worker_options: cpus", pool, .cpus = &no_cpus[0], .cpu_count = 1),
    WRONG_AS("worker_options: cpus", pool, .pin = STRAIT_PIN_CPU, .cpus = &no_cpus[0],
             .cpu_count = 1),
    WRONG_AS("worker_options: cpus", pool, .pin = STRAIT_PIN_CPU, .cpus = &no_cpus[1],
             .cpu_count = 1),
    WRONG_AS("worker_options: cpus", pool, .pin = STRAIT_PIN_SET, .cpus = &no_cpus[2],
             .cpu_count = 1),
    WRONG(parent, "wait", .wait = (enum strait_wait)9),
    WRONG(submit, "priority", .priority = (enum strait_priority)2),
    WRONG(submit, "start_by", .start_by = -1),
    WRONG(submit, "finish_by", .finish_by = -1),
    CUT(channel, variant),
    CUT(port, context),
    CUT(worker, entry),
    CUT(pool, name),
    CUT(parent, room),
    CUT(submit, group),
};

/* What it answers, and in `said` what it says. */
static int make(const struct mistake *mistake, char *said, size_t size)
{
    int own = dup(STDERR_FILENO);
    int heard = memfd_create("said", 0);
    dup2(heard, STDERR_FILENO);
    errno = ERRNO_MARK;
    int answer = mistake->make(mistake->options);
    EXPECT(errno_kept());
    dup2(own, STDERR_FILENO);
    ssize_t length = pread(heard, said, size - 1, 0);
    said[length > 0 ? length : 0] = '\0';
    close(heard);
    close(own);
    return answer;
}

static void expect_refusal(const struct mistake *mistake)
{
    char said[4096];
    assert_int_equal(make(mistake, said, sizeof(said)), -EINVAL);
#ifdef STRAIT_CHECKED
    if (!strstr(said, mistake->said)) {
        assert_string_equal(said, mistake->said);
    }
#else
    assert_string_equal(said, "");
#endif
}

/* And nothing is made. The last ones are of a version that has more to say. */
TEST(a_wrong_option_is_named)
{
    static const struct {
        int (*make)(const void *options);
        size_t size;
    } newer[] = {{make_channel, sizeof(struct strait_channel_options)},
                 {make_port, sizeof(struct strait_port_options)},
                 {make_worker, sizeof(struct strait_worker_options)},
                 {make_pool, sizeof(struct strait_pool_options)},
                 {make_parent, sizeof(struct strait_parent_options)},
                 {make_submit, sizeof(struct strait_submit_options)}};
    OPEN(.workers = 1);
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        expect_refusal(&mistakes[i]);
    }
    for (size_t i = 0; i < COUNT(newer); i++) {
        size_t options[128] = {newer[i].size + sizeof(size_t)};
        options[newer[i].size / sizeof(size_t)] = 1;
        expect_refusal(&(struct mistake){newer[i].make, "_options: size", options});
    }
    assert_int_equal(strait_parent_owed(here.parent), 0);
    assert_int_equal(pool_stats().submitted, 0);
    close_pool();
}

/* ---- deadlines ---- */

/* One second, where a point in time is due. */
#define SPAN 1000000000

static void waits_for_a_message(int64_t deadline)
{
    struct strait_channel *channel;
    struct strait_receiver receiver;
    void *message;
    EXPECT(strait_channel_create(&channel, NULL) == 0);
    EXPECT(strait_receiver_open(&receiver, channel) == 0);
    EXPECT(strait_receive(&receiver, &message, 1, deadline) == -ETIMEDOUT);
}

static void joins(int64_t deadline)
{
    struct strait_worker *worker;
    struct strait_worker_options options = {.entry = ends_at_once};
    EXPECT(strait_worker_spawn(&worker, &options) == 0);
    int error = strait_worker_join(worker, deadline);
    EXPECT(error == 0 || error == -ETIMEDOUT);
    EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == 0);
}

static void detaches(int64_t deadline)
{
    OPEN(.workers = 1);
    EXPECT(strait_parent_detach(here.parent, STRAIT_CLOSE_DRAIN, deadline) == 0);
}

static void starts_by(int64_t deadline)
{
    struct strait_submit_options how = {.start_by = deadline};
    OPEN(.workers = 1);
    submit(nothing, 0, &how);
}

static void finishes_by(int64_t deadline)
{
    struct strait_submit_options how = {.finish_by = deadline};
    OPEN(.workers = 1);
    submit(nothing, 0, &how);
}

struct deed {
    void (*act)(int64_t deadline);
    int64_t deadline;
};

static void acts(void *context)
{
    const struct deed *deed = context;
    deed->act(deed->deadline);
    _exit((int)faults_seen());
}

TEST(a_span_is_no_deadline)
{
    static void (*const deeds[])(int64_t) = {waits_for_a_message, joins, detaches, starts_by,
                                             finishes_by};
    char said[4096];
    if (strait_now() < 2 * (int64_t)60 * 1000000000) {
        skip(); /* the machine has just started: no telling */
    }
    for (size_t i = 0; i < COUNT(deeds); i++) {
        struct deed span = {deeds[i], SPAN};
        struct deed past = {deeds[i], strait_now() - 1};
        int status = in_child(acts, &past, said, sizeof(said));
        assert_string_equal(said, "");
        assert_int_equal(status, 0);
        status = in_child(acts, &span, said, sizeof(said));
#ifdef STRAIT_CHECKED
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_non_null(strstr(said, "a deadline is a point in time"));
        assert_non_null(strstr(said, "gave 1000000000 ns"));
#else
        assert_string_equal(said, "");
        assert_int_equal(status, 0);
#endif
    }
}

/* ---- messages ---- */

struct order {
    char symbol[8];
    double price;
    long quantity;
};

STRAIT_CHANNEL_TYPED(orders, struct order);

static struct strait_sender sender;
static struct strait_receiver receiver;

static void open_ends(size_t message_size)
{
    struct strait_channel *channel;
    struct strait_channel_options options = {.message_size = message_size};
    EXPECT(strait_channel_create(&channel, &options) == 0);
    EXPECT(strait_sender_open(&sender, channel) == 0);
    EXPECT(strait_receiver_open(&receiver, channel) == 0);
}

TEST(typed_messages_keep_their_size)
{
    struct strait_channel_options options = {.message_size = 8, .capacity = 2};
    struct order order = {"ACME", 1.5, 100};
    struct order got = {"", 0, 0};
    struct strait_channel *channel;
    assert_returns(orders_create(&channel, &options), 0);
    assert_returns(strait_sender_open(&sender, channel), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    assert_int_equal(strait_receiver_message_size(&receiver), sizeof(order));
    assert_returns(orders_try_send(&sender, &order, 1), 1);
    order.quantity = 200;
    assert_returns(orders_send(&sender, &order, 1, 0), 1);
    assert_returns(orders_try_send(&sender, &order, 1), -EAGAIN);
    assert_returns(orders_try_receive(&receiver, &got, 1), 1);
    assert_int_equal(got.quantity, 100);
    assert_returns(orders_receive(&receiver, &got, 1, 0), 1);
    assert_int_equal(got.quantity, 200);
    assert_string_equal(got.symbol, "ACME");
    strait_sender_close(&sender);
    assert_returns(orders_receive(&receiver, &got, 1, STRAIT_FOREVER), -EPIPE);
    strait_receiver_close(&receiver);
    strait_channel_destroy(channel, NULL, NULL);
}

static void sends_an_order_as_a_pointer(int64_t unused)
{
    struct order order = {"ACME", 1.5, 100};
    open_ends(0);
    EXPECT(orders_try_send(&sender, &order, 1) == 1);
}

static void receives_more_than_it_has_room_for(int64_t unused)
{
    char big[64] = "";
    char small[8] = "";
    open_ends(sizeof(big));
    EXPECT(strait_try_send(&sender, big, 1) == 1);
    EXPECT(strait_try_receive(&receiver, small, 1) == 1);
}

/* Of an object the compiler sees the size only where it optimizes. */
TEST(a_message_of_another_size_is_named)
{
    static const struct {
        struct deed deed;
        const char *said;
    } crimes[] = {
        {{sends_an_order_as_a_pointer, 0}, "has messages of 8 bytes, and was given 24 bytes for 1"},
#ifdef __OPTIMIZE__
        {{receives_more_than_it_has_room_for, 0},
         "has messages of 64 bytes, and was given 8 bytes for 1"},
#endif
    };
#ifndef STRAIT_CHECKED
    skip();
#endif
    for (size_t i = 0; i < COUNT(crimes); i++) {
        char said[4096];
        struct deed deed = crimes[i].deed;
        int status = in_child(acts, &deed, said, sizeof(said));
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_non_null(strstr(said, crimes[i].said));
    }
}

/* ---- answers ---- */

TEST(answers_are_told_apart)
{
    static const int own[] = {EAGAIN,      EPIPE,  ETIMEDOUT, ECANCELED, EDEADLK, EOWNERDEAD,
                              EBUSY,       EINVAL, EALREADY,  ENOENT,    EUSERS,  ENOSPC,
                              EINPROGRESS, EINTR,  ENOMEM,    EMFILE,    EPERM,   EEXIST};
    for (size_t i = 0; i < COUNT(own); i++) {
        assert_string_not_equal(strait_strerror(-own[i]), strait_strerror(-EXDEV));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(strait_strerror(-own[i]), strait_strerror(-own[k]));
        }
    }
    assert_string_equal(strait_strerror(7), strait_strerror(0));
    assert_string_equal(strait_strerror(INT32_MIN), strait_strerror(-EXDEV));
}

static void *ends(void *context)
{
    return context;
}

/* With the first thread ThreadSanitizer starts one of its own, which stays: not within a test. */
int main(void)
{
    pthread_t first;
    setenv("STRAIT_WATCHDOG", "0", 1); /* see in_child */
    if (pthread_create(&first, NULL, ends, NULL) == 0) {
        pthread_join(first, NULL);
    }
    return tests_run();
}
