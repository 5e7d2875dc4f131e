/* SPDX-License-Identifier: MIT */
/* stop: it ends every wait of a worker's for messages or room, whatever the channel, and leaves it
 * what it needs to clean up; workers that have workers. */
#include "worker/fixture.h"

#include <sys/mman.h>

/* ---- stop ends a wait ---- */

enum wait { RECEIVE, RECEIVE_WAIT, SEND, SEND_WAIT, WAITS };

struct waiting {
    _Atomic unsigned arrived;
    enum wait wait;
    bool adopts; /* waits on an end that it was sent, not on its own port */
};

static ptrdiff_t wait_once(struct strait_port *port, enum wait wait, int64_t deadline)
{
    char message[sizeof(struct strait_port)] = {0};
    switch (wait) {
    case RECEIVE:
        return strait_receive(&port->receiver, message, 1, deadline);
    case RECEIVE_WAIT:
        return strait_receive_wait(&port->receiver, deadline);
    case SEND:
        return strait_send(&port->sender, message, 1, deadline);
    default:
        return strait_send_wait(&port->sender, deadline);
    }
}

static int waiting_entry(struct strait_port *port, void *data)
{
    struct waiting *waiting = data;
    const uint64_t numbers[4] = {0, 1, 2, 3};
    struct strait_port own = *port;
    if (waiting->adopts) {
        EXPECT(strait_receive(&port->receiver, &own, 1, STRAIT_FOREVER) == 1);
        strait_port_adopt(&own);
    }
    EXPECT(waiting->wait < SEND || strait_try_send(&own.sender, numbers, 4) == 4);
    EXPECT(!strait_worker_stopping(strait_worker_current()));
    errno_kept();
    atomic_fetch_add(&waiting->arrived, 1);
    ptrdiff_t result = wait_once(&own, waiting->wait, STRAIT_FOREVER);
    EXPECT(result == -ECANCELED);
    EXPECT(strait_worker_stopping(strait_worker_current()));
    EXPECT(wait_once(&own, waiting->wait, STRAIT_FOREVER) == -ECANCELED);
    EXPECT(wait_once(&own, waiting->wait, 0) == -ECANCELED);
    EXPECT(waiting->wait >= SEND || wait_once(&own, SEND_WAIT, STRAIT_FOREVER) == 0);
    EXPECT(errno_kept());
    if (waiting->adopts) {
        strait_port_close(&own);
    } else {
        *port = own;
    }
    return (int)result;
}

/* Some rounds find the worker before its wait, spinning, or asleep. */
static void stop_meets(struct waiting waiting, enum strait_wait mode, size_t round)
{
    struct event_log log;
    struct strait_worker_options options = logged(&log, waiting_entry);
    struct pair pair;
    options.data = &waiting;
    options.to_worker.message_size = sizeof(struct strait_port);
    options.to_worker.receiver = options.to_parent.sender = mode;
    options.to_parent.capacity = 4;
    struct strait_worker *worker = spawn(&options);
    pair_open(&pair, 4, mode);
    if (waiting.adopts) {
        strait_port_give(&pair.b);
        assert_returns(strait_try_send(&strait_worker_port(worker)->sender, &pair.b, 1), 1);
        pair.b.link = NULL; /* it is the worker's, who closes it */
    }
    gate_pass(&waiting.arrived, 2);
    if (round % 10 == 0) {
        sleep_ns(500000);
    }
    dawdle(round % 5 * 20000);
    strait_worker_stop(worker);
    strait_worker_stop(worker);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    end_and_destroy(worker);
    assert_int_equal(log.exit.reason, STRAIT_EXIT_STOPPED);
    assert_int_equal(log.exit.code, -ECANCELED);
    assert_null(strchr(log.events, 'e'));
    pair_close(&pair, false, 0, waiting.adopts && waiting.wait >= SEND ? 4 : 0);
}

TEST(stop_ends_every_wait)
{
    for (size_t i = 0; i < scaled(40); i++) {
        for (int n = 0; n < WAITS * 2; n++) {
            struct waiting waiting = {.wait = (enum wait)(n / 2), .adopts = n % 2};
            for (int mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
                stop_meets(waiting, (enum strait_wait)mode, i);
            }
        }
    }
}

/* The channel goes away with the wait, while the parent is about to wake its owner. */
static int passing_entry(struct strait_port *port, void *arrived)
{
    ptrdiff_t result;
    do {
        struct strait_channel *channel;
        struct strait_receiver receiver;
        void *message;
        EXPECT(strait_channel_create(&channel, NULL) == 0);
        EXPECT(strait_receiver_open(&receiver, channel) == 0);
        result = strait_receive(&receiver, &message, 1, strait_deadline(60000));
        strait_channel_destroy(channel, NULL, NULL);
        atomic_fetch_add((_Atomic unsigned *)arrived, 1);
    } while (result == -ETIMEDOUT);
    EXPECT(result == -ECANCELED);
    return 0;
}

TEST(stop_ends_waits_on_channels_of_the_workers_own)
{
    for (size_t i = 0; i < scaled(200); i++) {
        _Atomic unsigned arrived = 0;
        struct strait_worker *worker = spawn_entry(passing_entry, &arrived);
        await(&arrived, 1 + (unsigned)(i % 3));
        dawdle(i * 37 % 20000);
        strait_worker_stop(worker);
        join_and_destroy(worker);
    }
}

/* ---- on a channel that processes share ---- */

struct sharing {
    struct strait_channel *channel;
    _Atomic unsigned arrived;
    bool sends;
};

static int sharing_entry(struct strait_port *port, void *data)
{
    struct sharing *sharing = data;
    struct strait_sender sender;
    struct strait_receiver receiver;
    void *message = port;
    ptrdiff_t result;
    if (sharing->sends) {
        EXPECT(strait_sender_open(&sender, sharing->channel) == 0);
        EXPECT(strait_try_send(&sender, &message, 1) == 1); /* it is full */
    } else {
        EXPECT(strait_receiver_open(&receiver, sharing->channel) == 0);
    }
    atomic_fetch_add(&sharing->arrived, 1);
    result = sharing->sends ? strait_send(&sender, &message, 1, STRAIT_FOREVER)
                            : strait_receive(&receiver, &message, 1, STRAIT_FOREVER);
    EXPECT(result == -ECANCELED);
    return 0;
}

static void never_called(void *context)
{
    (void)context;
    abort();
}

/* And whatever another process writes there, this one writes to no fd of its own and calls nothing
 * when it wakes the worker. */
TEST(stop_ends_a_wait_for_another_process)
{
    for (unsigned i = 0; i < scaled(20); i++) {
        struct strait_channel_options options = {.capacity = 1, .shared = 1};
        struct sharing sharing = {.sends = i % 2};
        size_t size;
        assert_returns(strait_channel_size(&options, &size), 0);
        void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(block != MAP_FAILED);
        assert_returns(strait_channel_init(&sharing.channel, block, size, &options), 0);
        struct strait_p_event_count *event =
            i % 2 ? &sharing.channel->sender : &sharing.channel->receiver;
        struct strait_worker *worker = spawn_entry(sharing_entry, &sharing);
        int victim = memfd_create("victim", MFD_CLOEXEC);
        await(&sharing.arrived, 1);
        dawdle(i / 2 % 4 * 100000);
        event->fd = victim;
        event->told = never_called;
        if (strait_load_relaxed(&event->word) & STRAIT_P_WAITING) {
            __atomic_fetch_or(&event->word, STRAIT_P_TOLD, __ATOMIC_RELAXED);
        }
        strait_worker_stop(worker);
        join_and_destroy(worker);
        assert_int_equal(lseek(victim, 0, SEEK_END), 0);
        close(victim);
        munmap(block, size);
    }
}

/* ---- who does not wait in the library ---- */

/* As an event loop does. */
static int polling_entry(struct strait_port *port, void *data)
{
    while (!strait_worker_stopping(strait_worker_current())) {
        if (strait_receiver_arm(&port->receiver) == 1) {
            EXPECT(readable(strait_receiver_fd(&port->receiver), -1));
        }
    }
    return 0;
}

TEST(what_does_not_wait_in_the_library_sees_the_stop)
{
    struct strait_worker_options options = {.entry = polling_entry,
                                            .to_worker = {.receiver = STRAIT_WAIT_FD}};
    struct strait_worker *worker = spawn(&options);
    assert_returns(strait_worker_join(worker, strait_deadline(1000000)), -ETIMEDOUT);
    strait_worker_stop(worker);
    join_and_destroy(worker);
}

/* ---- stop against close ---- */

struct stopper {
    struct strait_worker *worker;
    _Atomic unsigned gate;
};

static void *stop_often(void *context)
{
    struct stopper *stopper = context;
    gate_pass(&stopper->gate, 2);
    for (int i = 0; i < 500; i++) {
        struct strait_status status;
        strait_worker_stop(stopper->worker);
        EXPECT(strait_worker_stopping(stopper->worker));
        strait_worker_status(stopper->worker, &status);
        EXPECT(status.stopping && status.state == STRAIT_WORKER_ENDED);
    }
    return NULL;
}

/* The worker has closed its end: what its parent closes then must not be the last of the link. */
TEST(any_thread_may_stop_while_the_parent_closes)
{
    for (size_t i = 0; i < scaled(100); i++) {
        struct stopper stopper = {.worker = spawn_entry(nothing_entry, NULL)};
        pthread_t thread;
        assert_returns(strait_worker_join(stopper.worker, STRAIT_FOREVER), 0);
        thread_start(&thread, stop_often, &stopper);
        gate_pass(&stopper.gate, 2);
        assert_returns(strait_port_close(strait_worker_port(stopper.worker)), -EBUSY);
        strait_sender_close(&strait_worker_port(stopper.worker)->sender);
        strait_receiver_close(&strait_worker_port(stopper.worker)->receiver);
        thread_join(thread);
        join_and_destroy(stopper.worker);
    }
}

/* ---- workers of workers ---- */

#define LEVELS 3

static int sends_until_stopped_entry(struct strait_port *port, void *data)
{
    uint64_t number = 0;
    while (strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1) {
    }
    return -ECANCELED;
}

/* Sends a number once all the levels below are there: it comes up with one added at each. A level
 * that is asked to stop still waits for the one below, and stops it. */
static int level_entry(struct strait_port *port, void *depth)
{
    unsigned below = *(unsigned *)depth - 1;
    struct strait_worker *worker = NULL;
    uint64_t number = 0;
    struct strait_worker_options options = {
        .entry = below ? level_entry : sends_until_stopped_entry,
        .data = &below,
        .to_parent = {.capacity = 1, .receiver = STRAIT_WAIT_PARK},
    };
    EXPECT(strait_worker_spawn(&worker, &options) == 0);
    EXPECT(strait_receive(&strait_worker_port(worker)->receiver, &number, 1, STRAIT_FOREVER) == 1);
    number++;
    EXPECT(strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1);
    EXPECT(strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == -ECANCELED);
    EXPECT(strait_worker_join(worker, strait_deadline(1000000)) == -ETIMEDOUT);
    strait_worker_stop(worker);
    EXPECT(strait_worker_join(worker, STRAIT_FOREVER) == 0);
    EXPECT(strait_worker_destroy(worker) == 0);
    return -ECANCELED;
}

TEST(workers_nest_and_stop_their_own)
{
    struct census before = census_take();
    unsigned depth = LEVELS;
    struct event_log log;
    struct strait_worker *worker = spawn_logged(&log, level_entry, &depth);
    log.next = LEVELS;
    dispatch_until(worker, &log, 1);
    assert_int_equal(census_take().threads, before.threads + LEVELS + 1);
    strait_worker_stop(worker);
    dispatch_to_exit(worker);
    assert_string_equal(log.events, "omx");
    assert_int_equal(log.exit.reason, STRAIT_EXIT_STOPPED);
    join_and_destroy(worker);
}
