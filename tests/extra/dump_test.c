/* SPDX-License-Identifier: MIT */
/* dump: a pool, a worker and a channel as text, at work, waiting, stuck and at their end. */
#include "extra/fixture.h"

#include <regex.h>

#include "strait/extra/dump.h"

static char text[4096];

/* What a dump writes, in `text`. */
#define DUMP(WHAT, OBJECT)                                                                         \
    do {                                                                                           \
        FILE *to = fmemopen(text, sizeof(text), "w");                                              \
        assert_non_null(to);                                                                       \
        assert_returns(strait_dump_##WHAT(OBJECT, to), 0);                                         \
        fclose(to);                                                                                \
    } while (0)

/* `text` is that, an extended regular expression, and nothing else. */
static void assert_text(const char *pattern)
{
    char whole[1024];
    regex_t regex;
    snprintf(whole, sizeof(whole), "^%s$", pattern);
    assert_int_equal(regcomp(&regex, whole, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0) {
        fail_msg("\"%s\" is not \"%s\"", text, pattern);
    }
    regfree(&regex);
}

/* ---- a pool ---- */

/* One worker runs a task that does not end, and another task waits. */
TEST(a_stuck_pool_says_in_what)
{
    static const struct {
        struct strait_pool_options options;
        const char *name; /* of the tasks */
        const char *runs;
    } cases[] = {
        {{.workers = 1, .timed = true}, "render", "runs \"render\"( for [0-9]+\\.[0-9]{3} ms)?"},
        {{.workers = 1}, NULL, "runs 0x[0-9a-f]+"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gate gate = {0};
        const struct strait_task task = {.run = hold, .context = &gate, .name = cases[i].name};
        struct strait_pool *pool;
        struct strait_parent *parent;
        char pattern[512];
        assert_returns(strait_pool_create(&pool, &cases[i].options), 0);
        assert_returns(strait_pool_attach(pool, &parent, NULL), 0);
        assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
        assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
        gate_await(&gate, 1);
        DUMP(pool, pool);
        snprintf(pattern, sizeof(pattern),
                 "pool: 0 of 1 worker idle, 1 task running, 1 queued of at most 1024, 1 parent\n"
                 "tasks: 2 submitted, 0 done, 0 failed, 0 cancelled, 0 expired, 0 abandoned, "
                 "0 refused, 0 in place, at most [12] queued\n"
                 "worker 0: thread [0-9]+, (any CPU|CPU [0-9]+), (normal|batch), nice -?[0-9]+, 1 "
                 "task, %s\n",
                 cases[i].runs);
        assert_text(pattern);
        gate_open(&gate);
        assert_returns(strait_parent_wait_all(parent, STRAIT_FOREVER), 0);
        assert_returns(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
        assert_returns(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL), 0);
        DUMP(pool, pool);
        assert_text(
            "pool: 0 of 0 workers idle, 0 tasks running, 0 queued of at most 1024, 0 parents\n"
            "tasks: 2 submitted, 2 done,[^\n]*\nworker 0: ended, 2 tasks\n");
        assert_returns(strait_pool_destroy(pool), 0);
    }
}

TEST(an_idle_worker_is_idle)
{
    const struct strait_pool_options options = {.workers = 1};
    struct strait_pool *pool;
    assert_returns(strait_pool_create(&pool, &options), 0);
    DUMP(pool, pool);
    assert_text(
        "pool: [01] of 1 worker idle, 0 tasks running, 0 queued of at most 1024, 0 parents\n"
        "tasks: 0 submitted,[^\n]*\nworker 0: [^\n]*, 0 tasks, idle\n");
    assert_returns(strait_pool_finish(pool, NULL, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
}

/* ---- a worker ---- */

static int until_stopped(struct strait_port *port, void *data)
{
    return strait_receive_wait(&port->receiver, STRAIT_FOREVER);
}

TEST(a_worker_says_how_it_is)
{
    const struct strait_worker_options options = {.entry = until_stopped, .name = "waiter"};
    struct strait_worker *worker = spawn(&options);
    DUMP(worker, worker);
    assert_text("worker \"waiter\": thread [0-9]+, (any CPU|CPU [0-9]+), online\n");
    strait_worker_stop(worker);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    DUMP(worker, worker);
    assert_text("worker \"waiter\": thread [0-9]+, [^\n]*, ended, asked to stop\n");
    assert_returns(strait_worker_destroy(worker), 0);
}

/* ---- a channel ---- */

TEST(a_channel_says_who_is_there)
{
    const struct strait_channel_options options = {.variant = "lanes",
                                                   .capacity = 1,
                                                   .message_size = 8,
                                                   .sender = STRAIT_WAIT_FD,
                                                   .receiver = STRAIT_WAIT_FD};
    struct strait_channel *channel;
    struct strait_receiver receiver;
    struct strait_sender sender;
    uint64_t number = 7;
    assert_returns(strait_channel_create(&channel, &options), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0); /* is armed when it is opened */
    DUMP(channel, channel);
    assert_text("channel: lanes, 1 message of 8 bytes, 0 senders open, receiver waits\n");
    assert_returns(strait_sender_open(&sender, channel), 0);
    assert_int_equal(strait_try_send(&sender, &number, 1), 1);
    assert_int_equal(strait_sender_arm(&sender), 1);
    DUMP(channel, channel);
    assert_text("channel: lanes, 1 message of 8 bytes, 1 sender open, a sender waits\n");
    strait_receiver_close(&receiver);
    strait_sender_close(&sender);
    DUMP(channel, channel);
    assert_text("channel: lanes, 1 message of 8 bytes, sending side closed.*, receiver closed\n");
    strait_channel_destroy(channel, NULL, NULL);
}

/* ---- a file ---- */

TEST(a_full_disk_is_said)
{
    struct strait_channel *channel;
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_returns(strait_channel_create(&channel, NULL), 0);
    assert_returns(strait_dump_channel(channel, full), -EIO);
    strait_channel_destroy(channel, NULL, NULL);
    fclose(full);
}
