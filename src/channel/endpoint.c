/* SPDX-License-Identifier: MIT */
/* endpoint: one side of a channel: how it is opened, closed and handed over, and how it waits. */
#include "strait/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wait.h"

/* In open_senders: the last sender has closed, and the side stays closed. */
#define SENDERS_CLOSED 0x80000000u

/* ---- a closed handle: its channel is closed on both sides, its ring gives nothing ---- */

static struct strait_channel closed_channel = {
    .receiver = {.word = STRAIT_P_CLOSED, .fd = -1},
    .sender = {.word = STRAIT_P_CLOSED, .fd = -1},
};

static bool closed_has_message(void *ring)
{
    (void)ring;
    return false;
}

static size_t closed_span(void *ring, size_t n, struct strait_span *span)
{
    (void)ring, (void)n;
    span->count = 0;
    return 0;
}

static void closed_done(void *ring, const struct strait_span *span)
{
    (void)ring, (void)span;
}

static size_t closed_receive(void *ring, void *messages, size_t n)
{
    (void)ring, (void)messages, (void)n;
    return 0;
}

/* What sends and asks for room finds the channel closed before it comes here. */
static const struct strait_variant closed_variant = {
    .name = "closed",
    .senders = STRAIT_SENDERS_ANY,
    .has_message = closed_has_message,
    .reserve = closed_span,
    .commit = closed_done,
    .peek = closed_span,
    .release = closed_done,
    .try_receive = closed_receive,
};

/* Or never opened: all zero. */
static bool handle_closed(const struct strait_p_handle *handle)
{
    return !handle->channel || handle->channel == &closed_channel;
}

/* Returns the channel that it was a side of; NULL: none, it was closed before. */
static struct strait_channel *handle_close(struct strait_p_handle *handle)
{
    struct strait_channel *channel = handle->channel == &closed_channel ? NULL : handle->channel;
    handle->channel = &closed_channel;
    handle->variant = &closed_variant;
    handle->owner = 0;
    handle->threads = NULL;
    return channel;
}

/* ---- who has a handle ---- */

static int32_t thread_id(void)
{
    static __thread int32_t id;
    if (!id) {
        id = (int32_t)syscall(SYS_gettid);
    }
    return id;
}

/* Where the link of a port keeps the number of the thread at that end; NULL: it is no port's. */
static uint32_t *thread_at(const struct strait_p_handle *handle, bool sender)
{
    struct strait_p_threads *threads = handle->threads;
    return !threads ? NULL : sender ? &threads->sender : &threads->receiver;
}

static void misused(const struct strait_p_handle *handle, const char *rule, const char *how)
{
    int owner = (int)handle->owner;
    fprintf(stderr, "strait: %s: handle %p of channel %p %s thread %d, %s by %d\n", rule,
            (const void *)handle, (const void *)handle->channel,
            owner < 0 ? "was given away by" : "belongs to", abs(owner), how, (int)thread_id());
    abort();
}

void strait_p_check_owner(struct strait_p_handle *handle, const char *rule)
{
    if (!handle->owner) {
        handle->owner = thread_id();
    }
    if (handle->owner != thread_id()) {
        misused(handle, rule, "used");
    }
}

static void handle_give(struct strait_p_handle *handle, bool sender)
{
    uint32_t *thread = thread_at(handle, sender);
    handle->owner = -thread_id();
    handle->cancel = NULL;
    if (thread) {
        strait_store_relaxed(thread, 0);
    }
}

/* An end of a port has an owner from the first; that of a plain channel may have none yet. */
static void handle_adopt(struct strait_p_handle *handle, bool sender)
{
    uint32_t *thread = thread_at(handle, sender);
#ifdef STRAIT_CHECKED
    if (thread && handle->owner > 0 && handle->owner != thread_id()) {
        misused(handle, "an end of a port is given away before another thread adopts it",
                "adopted");
    }
#endif
    handle->owner = thread_id();
    if (thread) {
        strait_store_relaxed(thread, (uint32_t)thread_id());
    }
}

void strait_sender_give(struct strait_sender *sender)
{
    if (!handle_closed(&sender->handle)) {
        STRAIT_P_CHECK_SENDER(sender);
        handle_give(&sender->handle, true);
    }
}

void strait_receiver_give(struct strait_receiver *receiver)
{
    if (!handle_closed(&receiver->handle)) {
        STRAIT_P_CHECK_RECEIVER(receiver);
        handle_give(&receiver->handle, false);
    }
}

void strait_sender_adopt(struct strait_sender *sender)
{
    struct strait_p_handle *handle = &sender->handle;
    if (handle->variant->senders == STRAIT_SENDERS_ANY) {
        handle->owner = 0; /* anybody's */
    }
    handle_adopt(handle, true);
    strait_p_event_place(&handle->channel->sender, handle->variant->senders == STRAIT_SENDERS_ONE);
}

void strait_receiver_adopt(struct strait_receiver *receiver)
{
    handle_adopt(&receiver->handle, false);
    strait_p_event_place(&receiver->handle.channel->receiver, true);
}

void strait_sender_cancel_on(struct strait_sender *sender, const uint32_t *flag)
{
    sender->handle.cancel = flag;
}

void strait_receiver_cancel_on(struct strait_receiver *receiver, const uint32_t *flag)
{
    receiver->handle.cancel = flag;
}

/* ---- open ---- */

static void handle_open(struct strait_p_handle *handle, struct strait_channel *channel)
{
    memset(handle, 0, sizeof(*handle));
    handle->channel = channel;
    handle->variant = strait_variant_at(channel->variant);
    handle->fenced = channel->fenced;
    handle->spin_ns = STRAIT_P_SPIN_NS;
}

/* Counts a sender, unless the last one has closed the side. */
static int count_sender(struct strait_channel *channel)
{
    uint32_t open = strait_load_relaxed(&channel->open_senders);
    do {
        if (open & SENDERS_CLOSED) {
            return -EPIPE;
        }
        if (open && channel->sender.fd >= 0) {
            return -EBUSY; /* one fd cannot tell two loops apart */
        }
        /* senders.open: pairs with senders.close; nothing but the count; without it a sender may
         * open a side that the last one has closed */
    } while (!strait_cas_acq_rel(&channel->open_senders, &open, open + 1));
    return 0;
}

int strait_sender_open(struct strait_sender *sender, struct strait_channel *channel)
{
    struct strait_p_handle *handle = &sender->handle;
    handle_open(handle, channel);
    sender->direct = NULL;
    sender->end = handle->variant->attach(channel + 1);
    int error = sender->end ? count_sender(channel) : -EBUSY;
    if (error) {
        if (sender->end) {
            handle->variant->detach(sender->end);
        }
        handle_close(handle);
        return error;
    }
    if (handle->variant->direct >= STRAIT_DIRECT_SENDERS && !handle->fenced) {
        sender->direct = sender->end;
    }
    strait_sender_adopt(sender);
    handle->owner = 0;
    return 0;
}

int strait_receiver_open(struct strait_receiver *receiver, struct strait_channel *channel)
{
    struct strait_p_handle *handle = &receiver->handle;
    handle_open(handle, channel);
    receiver->ring = channel + 1;
    receiver->direct = NULL;
    if (handle->variant->direct == STRAIT_DIRECT_BOTH && !handle->fenced) {
        receiver->direct = receiver->ring;
    }
    strait_receiver_adopt(receiver);
    handle->owner = 0;
    if (channel->receiver.fd >= 0) {
        strait_receiver_arm(receiver); /* a loop may watch the fd before it ever looks */
    }
    return 0;
}

/* ---- close ---- */

void strait_sender_close(struct strait_sender *sender)
{
    const struct strait_variant *variant = sender->handle.variant;
    struct strait_channel *channel = handle_close(&sender->handle);
    if (!channel) {
        return;
    }
    sender->direct = NULL;
    variant->detach(sender->end);
    uint32_t open = strait_load_relaxed(&channel->open_senders);
    uint32_t left;
    do {
        left = open == 1 ? SENDERS_CLOSED : open - 1;
        /* senders.close: pairs with senders.open, senders.close; what the other senders sent;
         * without it the last one closes before a message of another can be seen */
    } while (!strait_cas_acq_rel(&channel->open_senders, &open, left));
    if (left == SENDERS_CLOSED) {
        strait_p_event_close(&channel->sender, &channel->receiver);
    }
}

void strait_receiver_close(struct strait_receiver *receiver)
{
    struct strait_channel *channel = handle_close(&receiver->handle);
    if (channel) {
        receiver->direct = NULL;
        strait_p_event_close(&channel->receiver, &channel->sender);
    }
}

/* ---- wait ---- */

static bool sender_ready(void *side)
{
    struct strait_sender *sender = side;
    return strait_p_event_closed(&sender->handle.channel->receiver) ||
           sender->handle.variant->has_room(sender->end);
}

static bool receiver_ready(void *side)
{
    struct strait_receiver *receiver = side;
    return receiver->handle.variant->has_message(receiver->ring) ||
           strait_p_event_closed(&receiver->handle.channel->sender);
}

static struct strait_p_waiter sender_waiter(struct strait_sender *sender)
{
    struct strait_p_handle *handle = &sender->handle;
    struct strait_p_waiter waiter = {
        .own = &handle->channel->sender,
        .peer = &handle->channel->receiver,
        .ready = sender_ready,
        .side = sender,
        .cancel = handle->cancel,
        .spin_ns = &handle->spin_ns,
        .mode = (enum strait_wait)handle->channel->sender_wait,
        .sole = handle->variant->senders == STRAIT_SENDERS_ONE,
        .fenced = handle->fenced,
    };
    return waiter;
}

static struct strait_p_waiter receiver_waiter(struct strait_receiver *receiver)
{
    struct strait_p_handle *handle = &receiver->handle;
    struct strait_p_waiter waiter = {
        .own = &handle->channel->receiver,
        .peer = &handle->channel->sender,
        .ready = receiver_ready,
        .side = receiver,
        .cancel = handle->cancel,
        .spin_ns = &handle->spin_ns,
        .mode = (enum strait_wait)handle->channel->receiver_wait,
        .sole = true,
        .fenced = handle->fenced,
    };
    return waiter;
}

/* Waits, unless the only thread that could end the wait is the calling one: its number is ours only
 * while that end is. */
static int park(const struct strait_p_waiter *waiter, const uint32_t *thread, int64_t deadline)
{
    if (!thread || strait_load_relaxed(thread) != (uint32_t)thread_id() ||
        strait_now() >= deadline) {
        return strait_p_park(waiter, deadline);
    }
    int result = strait_p_park(waiter, 0);
    return result == -ETIMEDOUT ? -EDEADLK : result;
}

int strait_p_sender_park(struct strait_sender *sender, int64_t deadline)
{
    struct strait_p_waiter waiter = sender_waiter(sender);
    return park(&waiter, thread_at(&sender->handle, false), deadline);
}

int strait_p_receiver_park(struct strait_receiver *receiver, int64_t deadline)
{
    struct strait_p_waiter waiter = receiver_waiter(receiver);
    bool sole = receiver->handle.variant->senders == STRAIT_SENDERS_ONE;
    int error = park(&waiter, sole ? thread_at(&receiver->handle, true) : NULL, deadline);
    if (!error && strait_load_relaxed(&waiter.peer->word) & STRAIT_P_CLOSED) { /* a hint */
        error = strait_p_receive_nothing(receiver) == -EPIPE ? -EPIPE : 0;
    }
    return error;
}

ptrdiff_t strait_p_receive_nothing(struct strait_receiver *receiver)
{
    if (!strait_p_event_closed(&receiver->handle.channel->sender)) {
        return -EAGAIN;
    }
    return receiver->handle.variant->has_message(receiver->ring) ? -EAGAIN : -EPIPE;
}

int strait_send_wait(struct strait_sender *sender, int64_t deadline)
{
    int error = 0;
    while (!error && !sender_ready(sender)) {
        error = strait_p_sender_park(sender, deadline);
    }
    return !error && strait_p_event_closed(&sender->handle.channel->receiver) ? -EPIPE : error;
}

int strait_receive_wait(struct strait_receiver *receiver, int64_t deadline)
{
    int error = 0;
    STRAIT_P_CHECK_RECEIVER(receiver);
    while (!error && !receiver->handle.variant->has_message(receiver->ring)) {
        error = strait_p_receiver_park(receiver, deadline);
    }
    return error;
}

/* ---- event loops ---- */

int strait_sender_fd(const struct strait_sender *sender)
{
    int fd = sender->handle.channel->sender.fd;
    return fd >= 0 ? fd : -EINVAL;
}

int strait_receiver_fd(const struct strait_receiver *receiver)
{
    int fd = receiver->handle.channel->receiver.fd;
    return fd >= 0 ? fd : -EINVAL;
}

int strait_sender_arm(struct strait_sender *sender)
{
    struct strait_p_waiter waiter = sender_waiter(sender);
    return waiter.own->fd >= 0 ? strait_p_arm(&waiter) : -EINVAL;
}

int strait_receiver_arm(struct strait_receiver *receiver)
{
    struct strait_p_waiter waiter = receiver_waiter(receiver);
    return waiter.own->fd >= 0 ? strait_p_arm(&waiter) : -EINVAL;
}
