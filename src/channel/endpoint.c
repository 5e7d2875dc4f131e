/* SPDX-License-Identifier: MIT */
/* endpoint: a side of a channel: how it is opened, closed and handed over, and how it waits. */
#include "strait/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wait.h"

/* In open_senders: the last sender has closed, and the side stays closed. */
#define SENDERS_CLOSED 0x80000000u

/* ---- open and close ---- */

/* What a closed handle points to: the hot path finds both sides closed there, and a ring that
 * never has room nor messages, without a check of its own. */
static struct strait_channel closed_channel = {
    .receiver = {.word = STRAIT_P_CLOSED, .fd = -1},
    .sender = {.word = STRAIT_P_CLOSED, .fd = -1},
};

static bool closed_has_room(void *end)
{
    (void)end;
    return false;
}

static size_t closed_span(void *ring, size_t n, struct strait_span *span)
{
    (void)ring;
    (void)n;
    span->count = 0;
    return 0;
}

static void closed_done(void *ring, const struct strait_span *span)
{
    (void)ring;
    (void)span;
}

static size_t closed_send(void *end, const void *messages, size_t n)
{
    (void)end;
    (void)messages;
    (void)n;
    return 0;
}

static size_t closed_receive(void *ring, void *messages, size_t n)
{
    (void)ring;
    (void)messages;
    (void)n;
    return 0;
}

static const struct strait_variant closed_variant = {
    .name = "closed",
    .senders = STRAIT_SENDERS_ANY,
    .has_room = closed_has_room,
    .reserve = closed_span,
    .commit = closed_done,
    .try_send = closed_send,
    .peek = closed_span,
    .release = closed_done,
    .try_receive = closed_receive,
};

/* What a receiver points to while a loop holds it: nothing to be had, and its channel as it is, so
 * that it can be closed. */
static const struct strait_variant held_variant = {
    .name = "held",
    .senders = STRAIT_SENDERS_ANY,
    .peek = closed_span,
    .release = closed_done,
    .try_receive = closed_receive,
};

static void handle_open(struct strait_p_handle *handle, struct strait_channel *channel)
{
    handle->channel = channel;
    handle->variant = strait_variant_at(channel->variant);
    handle->cancel = NULL;
    handle->fenced = channel->fenced;
    handle->spin_ns = STRAIT_P_SPIN_NS;
    handle->owner = 0;
    handle->threads = NULL;
}

static void handle_close(struct strait_p_handle *handle)
{
    handle->channel = &closed_channel;
    handle->variant = &closed_variant;
    handle->owner = 0;
    handle->threads = NULL;
}

/* Or never opened: all zero. */
static bool handle_closed(const struct strait_p_handle *handle)
{
    return !handle->channel || handle->channel == &closed_channel;
}

/* Counts a sender, unless the last one has closed the side. */
static int count_sender(struct strait_channel *channel)
{
    /* senders write it */
    uint32_t open = strait_load_relaxed(&channel->open_senders);
    do {
        if (open & SENDERS_CLOSED) {
            return -EPIPE;
        }
        if (open && channel->sender.fd >= 0) {
            return -EBUSY; /* one fd cannot tell two loops apart */
        }
        /* senders.open: pairs with senders.close; nothing but the count */
    } while (!strait_cas_acq_rel(&channel->open_senders, &open, open + 1));
    return 0;
}

/* True for the last one. */
static bool uncount_sender(struct strait_channel *channel)
{
    /* senders write it */
    uint32_t open = strait_load_relaxed(&channel->open_senders);
    uint32_t left;
    do {
        left = open == 1 ? SENDERS_CLOSED : open - 1;
        /* senders.close: pairs with senders.open, senders.close; what the other senders sent */
    } while (!strait_cas_acq_rel(&channel->open_senders, &open, left));
    return left == SENDERS_CLOSED;
}

int strait_sender_open(struct strait_sender *sender, struct strait_channel *channel)
{
    handle_open(&sender->handle, channel);
    sender->direct = NULL;
    sender->end = sender->handle.variant->attach((void *)(channel + 1));
    if (!sender->end) {
        handle_close(&sender->handle);
        return -EBUSY;
    }
    int error = count_sender(channel);
    if (error) {
        sender->handle.variant->detach(sender->end);
        handle_close(&sender->handle);
        return error;
    }
    bool direct = sender->handle.variant->direct >= STRAIT_DIRECT_SENDERS;
    sender->direct = direct && !channel->fenced ? sender->end : NULL;
    strait_sender_adopt(sender);
    sender->handle.owner = 0;
    return 0;
}

int strait_receiver_open(struct strait_receiver *receiver, struct strait_channel *channel)
{
    handle_open(&receiver->handle, channel);
    receiver->ring = (void *)(channel + 1);
    bool direct = receiver->handle.variant->direct == STRAIT_DIRECT_BOTH;
    receiver->direct = direct && !channel->fenced ? receiver->ring : NULL;
    strait_receiver_adopt(receiver);
    receiver->handle.owner = 0;
    if (channel->receiver.fd >= 0) {
        strait_receiver_arm(receiver); /* a loop may watch the fd before it ever looks */
    }
    return 0;
}

void strait_sender_close(struct strait_sender *sender)
{
    struct strait_p_handle handle = sender->handle;
    if (handle_closed(&handle)) {
        return;
    }
    handle.variant->detach(sender->end);
    handle_close(&sender->handle);
    sender->direct = NULL;
    if (uncount_sender(handle.channel)) {
        strait_p_event_close(&handle.channel->sender);
        strait_p_notify(&handle.channel->receiver, handle.fenced);
    }
}

void strait_receiver_close(struct strait_receiver *receiver)
{
    struct strait_p_handle handle = receiver->handle;
    if (handle_closed(&handle)) {
        return;
    }
    handle_close(&receiver->handle);
    receiver->direct = NULL;
    strait_p_event_close(&handle.channel->receiver);
    strait_p_notify(&handle.channel->sender, handle.fenced);
}

/* ---- hand-over ---- */

static int32_t thread_id(void)
{
    static __thread int32_t id;
    if (!id) {
        id = (int32_t)syscall(SYS_gettid);
    }
    return id;
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

static void handle_give(struct strait_p_handle *handle, uint32_t *thread)
{
    handle->owner = -thread_id();
    handle->cancel = NULL;
    if (thread) {
        /* whoever has the end writes it; means something only to the thread whose number it is */
        strait_store_relaxed(thread, 0);
    }
}

/* `thread`: of a port, whose ends have an owner from the first. */
static void handle_adopt(struct strait_p_handle *handle, uint32_t *thread, const char *rule)
{
#ifdef STRAIT_CHECKED
    if (thread && handle->owner > 0 && handle->owner != thread_id()) {
        misused(handle, rule, "adopted");
    }
#else
    (void)rule;
#endif
    handle->owner = thread_id();
    if (thread) {
        /* whoever has the end writes it; means something only to the thread whose number it is */
        strait_store_relaxed(thread, (uint32_t)thread_id());
    }
}

static uint32_t *sending_thread(const struct strait_p_handle *handle)
{
    return handle->threads ? &handle->threads->sender : NULL;
}

static uint32_t *receiving_thread(const struct strait_p_handle *handle)
{
    return handle->threads ? &handle->threads->receiver : NULL;
}

void strait_sender_give(struct strait_sender *sender)
{
    if (!handle_closed(&sender->handle)) {
        STRAIT_P_CHECK_SENDER(sender);
        handle_give(&sender->handle, sending_thread(&sender->handle));
    }
}

void strait_receiver_give(struct strait_receiver *receiver)
{
    struct strait_p_handle *handle = &receiver->handle;
    if (!handle_closed(handle)) {
        STRAIT_P_CHECK_RECEIVER(receiver);
        handle_give(handle, receiving_thread(handle));
    }
}

void strait_sender_adopt(struct strait_sender *sender)
{
    struct strait_p_handle *handle = &sender->handle;
    if (handle->variant->senders == STRAIT_SENDERS_ANY) {
        handle->owner = 0; /* anybody's */
    }
    handle_adopt(handle, sending_thread(handle),
                 "a port's sender handle is given away before another thread adopts it");
    strait_p_event_place(&handle->channel->sender, handle->variant->senders == STRAIT_SENDERS_ONE);
}

void strait_receiver_adopt(struct strait_receiver *receiver)
{
    struct strait_p_handle *handle = &receiver->handle;
    handle_adopt(handle, receiving_thread(handle),
                 "a port's receiver handle is given away before another thread adopts it");
    strait_p_event_place(&handle->channel->receiver, true);
}

void strait_sender_cancel_on(struct strait_sender *sender, const uint32_t *flag)
{
    sender->handle.cancel = flag;
}

void strait_receiver_cancel_on(struct strait_receiver *receiver, const uint32_t *flag)
{
    receiver->handle.cancel = flag;
}

void strait_receiver_hold(struct strait_receiver *receiver, struct strait_receiver *held)
{
    *held = *receiver;
    if (!handle_closed(&receiver->handle)) {
        receiver->handle.variant = &held_variant;
        receiver->direct = NULL;
    }
}

void strait_receiver_resume(struct strait_receiver *receiver, const struct strait_receiver *held)
{
    if (receiver->handle.variant == &held_variant) {
        receiver->handle.variant = held->handle.variant;
        receiver->handle.spin_ns = held->handle.spin_ns;
        receiver->direct = held->direct;
    }
}

/* ---- waiting sides ---- */

static bool sender_ready(void *side)
{
    struct strait_sender *sender = side;
    return sender->handle.variant->has_room(sender->end) ||
           strait_p_event_closed(&sender->handle.channel->receiver);
}

static bool receiver_ready(void *side)
{
    struct strait_receiver *receiver = side;
    struct strait_span span;
    return receiver->handle.variant->peek(receiver->ring, 1, &span) ||
           strait_p_event_closed(&receiver->handle.channel->sender);
}

/* The part that is alike for both sides. */
static struct strait_p_waiter handle_waiter(struct strait_p_handle *handle, void *side,
                                            struct strait_p_event_count *own,
                                            const struct strait_p_event_count *peer)
{
    struct strait_p_waiter waiter = {
        .own = own,
        .peer = peer,
        .side = side,
        .cancel = handle->cancel,
        .spin_ns = &handle->spin_ns,
        .fenced = handle->fenced,
    };
    return waiter;
}

static struct strait_p_waiter sender_waiter(struct strait_sender *sender)
{
    struct strait_p_handle *handle = &sender->handle;
    struct strait_channel *channel = handle->channel;
    struct strait_p_waiter waiter =
        handle_waiter(handle, sender, &channel->sender, &channel->receiver);
    waiter.ready = sender_ready;
    waiter.mode = (enum strait_wait)channel->sender_wait;
    waiter.sole = handle->variant->senders == STRAIT_SENDERS_ONE;
    return waiter;
}

static struct strait_p_waiter receiver_waiter(struct strait_receiver *receiver)
{
    struct strait_p_handle *handle = &receiver->handle;
    struct strait_channel *channel = handle->channel;
    struct strait_p_waiter waiter =
        handle_waiter(handle, receiver, &channel->receiver, &channel->sender);
    waiter.ready = receiver_ready;
    waiter.mode = (enum strait_wait)channel->receiver_wait;
    waiter.sole = true;
    return waiter;
}

/* Waits, unless the thread that could end the wait is the calling one. */
static int park(const struct strait_p_waiter *waiter, const uint32_t *thread, int64_t deadline)
{
    /* it is our number only while that end is ours */
    if (!thread || strait_load_relaxed(thread) != (uint32_t)thread_id() ||
        strait_now() >= deadline) {
        return strait_p_park(waiter, deadline);
    }
    int result = strait_p_park(waiter, 0);
    return result == -ETIMEDOUT ? -EDEADLK : result;
}

ptrdiff_t strait_p_receive_nothing(struct strait_receiver *receiver)
{
    const struct strait_p_handle *handle = &receiver->handle;
    struct strait_span span;
    if (handle->variant == &held_variant) {
        return -EDEADLK;
    }
    if (!strait_p_event_closed(&handle->channel->sender)) {
        return -EAGAIN;
    }
    return handle->variant->peek(receiver->ring, 1, &span) ? -EAGAIN : -EPIPE;
}

int strait_p_sender_park(struct strait_sender *sender, int64_t deadline)
{
    struct strait_p_waiter waiter = sender_waiter(sender);
    return park(&waiter, receiving_thread(&sender->handle), deadline);
}

int strait_p_receiver_park(struct strait_receiver *receiver, int64_t deadline)
{
    struct strait_p_waiter waiter = receiver_waiter(receiver);
    bool sole = receiver->handle.variant->senders == STRAIT_SENDERS_ONE;
    return park(&waiter, sole ? sending_thread(&receiver->handle) : NULL, deadline);
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
    struct strait_span span;
    for (;;) {
        ptrdiff_t seen = strait_peek(receiver, 1, &span);
        if (seen == -EAGAIN) {
            seen = strait_p_receiver_park(receiver, deadline);
        }
        if (seen != 0) {
            return seen > 0 ? 0 : (int)seen;
        }
    }
}

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
    if (receiver->handle.variant == &held_variant) {
        return -EDEADLK;
    }
    return waiter.own->fd >= 0 ? strait_p_arm(&waiter) : -EINVAL;
}
