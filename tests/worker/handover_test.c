/* SPDX-License-Identifier: MIT */
/* handover: ends of links that go from thread to thread, or in vain. */
#include "worker/fixture.h"

#define TALKED 3000
#define AHEAD 12

static struct strait_port take_port(struct strait_port *parent)
{
    struct strait_port port = {.link = NULL};
    EXPECT(strait_receive(&parent->receiver, &port, 1, STRAIT_FOREVER) == 1);
    strait_port_adopt(&port);
    return port;
}

/* Has more on their way than a channel has room for. */
static int talk_entry(struct strait_port *parent, void *data)
{
    struct strait_port port = take_port(parent);
    uint64_t answer = 0;
    for (uint64_t i = 0; i < TALKED + AHEAD; i++) {
        EXPECT(i >= TALKED || strait_send(&port.sender, &i, 1, STRAIT_FOREVER) == 1);
        if (i == TALKED) {
            strait_sender_close(&port.sender);
        }
        if (i >= AHEAD) {
            EXPECT(strait_receive(&port.receiver, &answer, 1, STRAIT_FOREVER) == 1);
            EXPECT(answer == i - AHEAD);
        }
    }
    EXPECT(strait_receive(&port.receiver, &answer, 1, STRAIT_FOREVER) == -EPIPE);
    strait_port_close(&port);
    return 0;
}

static int answer_entry(struct strait_port *parent, void *data)
{
    struct strait_port port = take_port(parent);
    EXPECT(echo_entry(&port, data) == 0);
    strait_port_close(&port);
    return 0;
}

/* Both ends, used before, leave their maker in messages; full and empty channels block, and the
 * close arrives. */
TEST(two_workers_talk_through_ends_they_were_sent)
{
    struct pair pair;
    strait_entry_fn *const entries[] = {talk_entry, answer_entry};
    struct strait_worker *workers[2];
    pair_open(&pair, 8, STRAIT_WAIT_DEFAULT);
    send_numbers(&pair.a, 1, 3);
    expect_numbers(&pair.b, 1, 3);
    for (int i = 0; i < 2; i++) {
        struct strait_port *end = i ? &pair.b : &pair.a;
        struct strait_worker_options options = {.entry = entries[i],
                                                .to_worker = {.message_size = sizeof(*end)}};
        workers[i] = spawn(&options);
        strait_port_give(end);
        assert_returns(strait_try_send(&strait_worker_port(workers[i])->sender, end, 1), 1);
        memset(end, 0xa5, sizeof(*end));
    }
    join_and_destroy(workers[0]);
    join_and_destroy(workers[1]);
    assert_int_equal(pair.forth + pair.back, 0);
}

TEST(an_end_that_nobody_takes_is_closed_or_taken_back)
{
    struct strait_port carrier[2];
    struct strait_port_options options = {
        .forth = {.capacity = 1, .message_size = sizeof(struct strait_port)},
        .drop_forth = strait_port_drop,
    };
    struct pair taken;
    struct pair back;
    uint64_t number = 0;
    assert_returns(strait_port_pair(&carrier[0], &carrier[1], &options), 0);
    pair_open(&taken, 8, STRAIT_WAIT_DEFAULT);
    pair_open(&back, 8, STRAIT_WAIT_DEFAULT);
    send_numbers(&taken.a, 1, 3);
    send_numbers(&taken.b, 7, 2);
    strait_port_give(&taken.b);
    strait_port_give(&back.b);
    assert_returns(strait_try_send(&carrier[0].sender, &taken.b, 1), 1);
    assert_returns(strait_try_send(&carrier[0].sender, &back.b, 1), -EAGAIN);
    strait_port_adopt(&back.b);
    send_numbers(&back.b, 5, 1);
    expect_numbers(&back.a, 5, 1);
    pair_close(&back, false, 0, 0);
    strait_port_close(&carrier[1]);
    send_numbers(&taken.a, 4, 1); /* nobody has closed it yet */
    strait_port_close(&carrier[0]);
    expect_numbers(&taken.a, 7, 2);
    assert_returns(strait_try_receive(&taken.a.receiver, &number, 1), -EPIPE);
    assert_returns(strait_try_send(&taken.a.sender, &number, 1), -EPIPE);
    strait_port_close(&taken.a);
    assert_int_equal(taken.sum, 1 + 2 + 3 + 4);
}
