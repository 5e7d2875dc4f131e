/* SPDX-License-Identifier: MIT */
/* Threads that end before their time: what they had is finished by others. */
#include "pool/fixture.h"

/* ---- a worker whose init ends its thread ---- */

static _Atomic unsigned inits;
static unsigned first_that_ends;

static int ends_its_thread(unsigned worker, void **data, void *context)
{
    (void)worker, (void)data, (void)context;
    if (atomic_fetch_add(&inits, 1) >= first_that_ends) {
        pthread_exit(NULL);
    }
    return 0;
}

static void an_init_that_ends_its_thread_fails_the_create(void)
{
    struct strait_pool_options options = {.workers = 3, .init = ends_its_thread};
    struct strait_pool *pool = NULL;
    for (first_that_ends = 0; first_that_ends < 3; first_that_ends++) {
        atomic_store(&inits, 0);
        assert_returns(strait_pool_create(&pool, &options), -EINTR);
        assert_null(pool);
    }
}

static void an_init_that_ends_its_thread_fails_a_growth(void)
{
    first_that_ends = 1;
    atomic_store(&inits, 0);
    OPEN(.workers = 1, .workers_max = 2, .init = ends_its_thread);
    hold(1);
    submit(runs, 0, NULL); /* nobody is idle: it starts one more */
    await(&inits, 2);
    release();
    settle();
    assert_ended(0, 1, STRAIT_TASK_DONE, 1);
    assert_int_equal(pool_stats().workers, 1);
    close_pool();
}

/* ---- a parent whose thread has ended ---- */

static void *attaches_and_ends(void *context)
{
    struct strait_parent **parent = context;
    struct strait_parent_options options = {.wait = STRAIT_WAIT_PARK};
    EXPECT(strait_pool_attach(here.pool, parent, &options) == 0);
    for (unsigned i = 1; i <= 10; i++) {
        struct strait_task task = numbered(runs, i, NULL);
        task.done = note_done;
        EXPECT(strait_task_submit(*parent, &task, NULL, NULL) == 0);
    }
    return NULL;
}

static void a_parent_is_finished_by_who_has_joined_its_thread(void)
{
    struct strait_parent *left = NULL;
    pthread_t thread;
    OPEN(.workers = 1);
    thread_start(&thread, attaches_and_ends, &left);
    thread_join(thread);
    assert_returns(strait_parent_detach(left, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_ended(1, 10, STRAIT_TASK_DONE, 1);
    close_pool();
}

/* ---- the ends of a channel and of a port ---- */

static struct strait_sender sender;
static struct strait_port port;

static void *sends_and_ends(void *channel)
{
    void *message = NULL;
    EXPECT(strait_sender_open(&sender, channel) == 0);
    EXPECT(strait_try_send(&sender, &message, 1) == 1);
    strait_port_adopt(&port);
    EXPECT(strait_try_send(&port.sender, &message, 1) == 1);
    return NULL;
}

static void an_end_is_finished_by_who_has_joined_its_thread(void)
{
    struct strait_channel *channel;
    struct strait_receiver receiver;
    struct strait_port other;
    void *message = NULL;
    pthread_t thread;
    assert_returns(strait_channel_create(&channel, NULL), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    assert_returns(strait_port_pair(&port, &other, NULL), 0);
    strait_port_give(&port);
    thread_start(&thread, sends_and_ends, channel);
    thread_join(thread);
    strait_sender_adopt(&sender);
    strait_port_adopt(&port);
    assert_returns(strait_try_send(&sender, &message, 1), 1);
    assert_returns(strait_try_send(&port.sender, &message, 1), 1);
    strait_sender_close(&sender);
    strait_port_close(&port);
    for (int i = 0; i < 2; i++) {
        assert_returns(strait_try_receive(&receiver, &message, 1), 1);
        assert_returns(strait_try_receive(&other.receiver, &message, 1), 1);
    }
    assert_returns(strait_try_receive(&receiver, &message, 1), -EPIPE);
    assert_returns(strait_try_receive(&other.receiver, &message, 1), -EPIPE);
    strait_port_close(&other);
    strait_channel_destroy(channel, NULL, NULL);
}

TESTS(ONCE(an_init_that_ends_its_thread_fails_the_create),
      ONCE(an_init_that_ends_its_thread_fails_a_growth),
      ONCE(a_parent_is_finished_by_who_has_joined_its_thread),
      ONCE(an_end_is_finished_by_who_has_joined_its_thread))
