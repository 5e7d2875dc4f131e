/* SPDX-License-Identifier: MIT */
/* What may be called in a signal handler, called in one: a stop that interrupts a stop, and the
 * wakes. */
#include "worker/fixture.h"

#include <signal.h>

/* ---- what the handler does ---- */

static struct strait_worker *stopped;
static struct strait_port *woken;
static struct strait_channel *channel;
static uint32_t cancel;
static _Atomic unsigned signals;

static void on_signal(int number)
{
    if (stopped) {
        strait_worker_stop(stopped);
        EXPECT(strait_worker_stopping(stopped));
    }
    if (woken) {
        strait_store_release(&cancel, 1);
        strait_port_wake(woken);
    }
    if (channel) {
        strait_store_release(&cancel, 1);
        strait_channel_wake(channel);
    }
    atomic_fetch_add(&signals, 1);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    stopped = NULL;
    woken = NULL;
    channel = NULL;
    cancel = 0;
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
}

/* Sends the main thread signals, for as long as it is asked to. */
static _Atomic unsigned pelting;
static pthread_t target;

static void *pelt(void *unused)
{
    while (atomic_load(&pelting)) {
        EXPECT(pthread_kill(target, SIGUSR1) == 0);
        progress_made();
        sched_yield();
    }
    return NULL;
}

/* ---- workers ---- */

static int waits_entry(struct strait_port *port, void *arrived)
{
    uint64_t message;
    atomic_store((_Atomic unsigned *)arrived, 1);
    return (int)strait_receive(&port->receiver, &message, 1, STRAIT_FOREVER);
}

TEST(a_handler_stops_a_worker)
{
    _Atomic unsigned arrived = 0;
    catch_signals();
    stopped = spawn_entry(waits_entry, &arrived);
    await(&arrived, 1);
    sleep_ns(1000000);
    errno = ERRNO_MARK;
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(errno, ERRNO_MARK);
    join_and_destroy(stopped);
}

/* The handler comes in the middle of the stop that it calls itself. */
TEST(a_stop_may_interrupt_a_stop)
{
    pthread_t thread;
    catch_signals();
    target = pthread_self();
    atomic_store(&signals, 0);
    atomic_store(&pelting, 1);
    thread_start(&thread, pelt, NULL);
    for (size_t round = 0; round < scaled(100) || atomic_load(&signals) < 1000; round++) {
        _Atomic unsigned arrived = 0;
        struct strait_worker *worker = spawn_entry(waits_entry, &arrived);
        await(&arrived, 1);
        sleep_ns(200000); /* it sleeps: the first stop wakes it, which takes longest */
        stopped = worker;
        for (size_t times = 0; times < 100; times++) {
            strait_worker_stop(worker);
        }
        assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
        stopped = NULL;
        atomic_signal_fence(memory_order_seq_cst);
        assert_returns(strait_worker_destroy(worker), 0);
    }
    atomic_store(&pelting, 0);
    thread_join(thread);
}

/* ---- the thread that is interrupted sleeps itself, or another does ---- */

TEST(a_handler_ends_the_wait_that_it_interrupts)
{
    struct strait_receiver receiver;
    struct strait_sender sender;
    struct strait_channel *own;
    void *message;
    pthread_t thread;
    catch_signals();
    assert_returns(strait_channel_create(&own, NULL), 0);
    assert_returns(strait_sender_open(&sender, own), 0);
    assert_returns(strait_receiver_open(&receiver, own), 0);
    strait_receiver_cancel_on(&receiver, &cancel);
    channel = own;
    target = pthread_self();
    atomic_store(&pelting, 1);
    thread_start(&thread, pelt, NULL);
    for (size_t round = 0; round < scaled(1000); round++) {
        strait_store_relaxed(&cancel, 0);
        assert_returns(strait_receive(&receiver, &message, 1, STRAIT_FOREVER), -ECANCELED);
    }
    atomic_store(&pelting, 0);
    thread_join(thread);
    channel = NULL;
    strait_channel_destroy(own, NULL, NULL);
}

static void *waits_at_its_end(void *port)
{
    uint64_t message;
    struct strait_port *end = port;
    strait_port_adopt(end);
    strait_receiver_cancel_on(&end->receiver, &cancel);
    EXPECT(strait_receive(&end->receiver, &message, 1, STRAIT_FOREVER) == -ECANCELED);
    return NULL;
}

TEST(a_handler_wakes_both_ends_of_a_port)
{
    struct strait_port a;
    struct strait_port b;
    pthread_t thread;
    catch_signals();
    assert_returns(strait_port_pair(&a, &b, NULL), 0);
    strait_port_give(&b);
    thread_start(&thread, waits_at_its_end, &b);
    sleep_ns(1000000);
    woken = &a;
    assert_int_equal(raise(SIGUSR1), 0);
    thread_join(thread);
    woken = NULL;
    strait_port_close(&a);
    strait_port_close(&b);
}
