/* SPDX-License-Identifier: MIT */
/* endpoint: one side of a channel: how it is opened, closed and handed over, and how it waits. */
#include "strait/channel.h"

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

/* Who sends or asks for room finds the channel closed before it comes here. */
static const struct strait_variant closed_variant = {
    .name = "closed",
    .senders = STRAIT_SENDERS_ANY,
    .commit = closed_done,
    .peek = closed_span,
    .release = closed_done,
    .try_receive = closed_receive,
};

/* Returns the channel that it was a side of; NULL: none, it was closed before. */
static struct strait_channel *handle_close(struct strait_p_handle *handle)
{
    struct strait_channel *channel = handle->channel == &closed_channel ? NULL : handle->channel;
    handle->channel = &closed_channel;
    handle->variant = &closed_variant;
    handle->direct = NULL;
    handle->message_size = 0;
    handle->owner = 0;
    handle->threads = NULL;
    return channel;
}

/* ---- who has a handle ---- */

static int32_t thread_id(void)
{
    static __thread int32_t id;
    id = id ? id : (int32_t)syscall(SYS_gettid);
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

STRAIT_P_COLD void strait_p_check_owner(struct strait_p_handle *handle, bool sender)
{
    if (sender && handle->variant->senders == STRAIT_SENDERS_ANY) {
        return;
    }
    if (!handle->owner) {
        handle->owner = thread_id();
    }
    if (handle->owner != thread_id()) {
        misused(handle,
                sender ? "a sender handle is used by one thread at a time"
                       : "a receiver handle is used by one thread at a time",
                "used");
    }
}

void strait_p_check_size(const struct strait_p_handle *handle, size_t n, size_t bytes, bool exact)
{
    size_t size = handle->message_size;
    if (handle->channel == &closed_channel || (exact ? bytes == size : !n || bytes / n >= size)) {
        return;
    }
    fprintf(stderr,
            "strait: a message has the channel's size: channel %p has messages of %zu bytes, and "
            "was given %zu bytes for %zu of them\n",
            (const void *)handle->channel, size, bytes, n);
    abort();
}

static void handle_give(struct strait_p_handle *handle, bool sender)
{
    if (!handle->channel || handle->channel == &closed_channel) {
        return; /* never opened, or closed */
    }
    STRAIT_P_CHECK(strait_p_check_owner(handle, sender));
    handle->owner = -thread_id();
    handle->cancel = NULL;
    if (handle->threads) {
        strait_store_relaxed(&handle->threads[sender], 0);
    }
}

/* An end of a port has an owner from the first; that of a plain channel may have none yet. */
static STRAIT_P_COLD void handle_adopt(struct strait_p_handle *handle, bool sender)
{
    struct strait_channel *channel = handle->channel;
    bool sole = !sender || handle->variant->senders == STRAIT_SENDERS_ONE;
#ifdef STRAIT_CHECKED
    bool anybody = sender && handle->variant->senders == STRAIT_SENDERS_ANY;
    if (handle->threads && !anybody && handle->owner > 0 && handle->owner != thread_id() &&
        !strait_p_thread_gone(handle->owner)) {
        misused(handle, "an end of a port is given away before another thread adopts it",
                "adopted");
    }
#endif
    handle->owner = thread_id();
    if (handle->threads) {
        strait_store_relaxed(&handle->threads[sender], (uint32_t)thread_id());
    }
    strait_p_event_place(sender ? &channel->sender : &channel->receiver, sole);
}

void strait_sender_give(struct strait_sender *sender)
{
    handle_give(&sender->handle, true);
}

void strait_receiver_give(struct strait_receiver *receiver)
{
    handle_give(&receiver->handle, false);
}

void strait_sender_adopt(struct strait_sender *sender)
{
    handle_adopt(&sender->handle, true);
}

void strait_receiver_adopt(struct strait_receiver *receiver)
{
    handle_adopt(&receiver->handle, false);
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

static void handle_open(struct strait_p_handle *handle, struct strait_channel *channel,
                        uint32_t wait)
{
    memset(handle, 0, sizeof(*handle));
    handle->channel = channel;
    handle->variant = strait_variant_at(channel->variant);
    handle->between = channel->between;
    handle->message_size = channel->message_size;
    handle->wait = wait;
    handle->spin_ns = STRAIT_P_SPIN_NS;
}

/* Counts a sender, unless the last one has closed the side. It publishes nothing, and as any
 * read-modify-write it hands on what the senders that closed before have published. */
static int count_sender(struct strait_channel *channel, uint32_t between)
{
    uint32_t open = strait_load_relaxed(&channel->open_senders);
    do {
        if (open & SENDERS_CLOSED) {
            return -EPIPE;
        }
        if (open && strait_p_event_fd(&channel->sender, between) >= 0) {
            return -EBUSY; /* one fd cannot tell two loops apart */
        }
    } while (!strait_cas_relaxed(&channel->open_senders, &open, open + 1));
    return 0;
}

/* The handle has its end of the ring. `direct` implies STRAIT_P_BARRIER, 0: a send need not
 * load `between` then. */
static void handle_begin(struct strait_p_handle *handle, enum strait_direct least, bool sender)
{
    if (handle->variant->direct >= least && handle->between == STRAIT_P_BARRIER) {
        handle->direct = handle->end;
    }
    handle_adopt(handle, sender);
    handle->owner = 0;
}

STRAIT_P_COLD int strait_sender_open(struct strait_sender *sender, struct strait_channel *channel)
{
    struct strait_p_handle *handle = &sender->handle;
    handle_open(handle, channel, channel->sender_wait);
    handle->end = handle->variant->attach(channel + 1);
    int error = handle->end ? count_sender(channel, handle->between) : -EBUSY;
    if (!error) {
        handle_begin(handle, STRAIT_DIRECT_SENDERS, true);
        return 0;
    }
    if (handle->end) {
        handle->variant->detach(handle->end);
    }
    handle_close(handle);
    return error;
}

STRAIT_P_COLD int strait_receiver_open(struct strait_receiver *receiver,
                                       struct strait_channel *channel)
{
    struct strait_p_handle *handle = &receiver->handle;
    handle_open(handle, channel, channel->receiver_wait);
    handle->end = channel + 1;
    handle_begin(handle, STRAIT_DIRECT_BOTH, false);
    if (strait_p_event_fd(&channel->receiver, handle->between) >= 0) {
        strait_receiver_arm(receiver); /* a loop may watch the fd before it ever looks */
    }
    return 0;
}

/* ---- close ---- */

STRAIT_P_COLD void strait_sender_close(struct strait_sender *sender)
{
    const struct strait_variant *variant = sender->handle.variant;
    struct strait_channel *channel = handle_close(&sender->handle);
    if (!channel) {
        return;
    }
    variant->detach(sender->handle.end);
    uint32_t open = strait_load_relaxed(&channel->open_senders);
    uint32_t left;
    do {
        left = open == 1 ? SENDERS_CLOSED : open - 1;
        /* senders.close: pairs with senders.close; what the other senders sent; without it the last
         * one closes before a message of another can be seen */
    } while (!strait_cas_acq_rel(&channel->open_senders, &open, left));
    if (left == SENDERS_CLOSED) {
        strait_p_event_close(&channel->sender, &channel->receiver, sender->handle.between);
    }
}

STRAIT_P_COLD void strait_receiver_close(struct strait_receiver *receiver)
{
    struct strait_channel *channel = handle_close(&receiver->handle);
    if (channel) {
        strait_p_event_close(&channel->receiver, &channel->sender, receiver->handle.between);
    }
}

/* ---- wait ---- */

static bool sender_ready(void *side)
{
    struct strait_p_handle *handle = side;
    return strait_p_event_closed(&handle->channel->receiver) ||
           handle->variant->has_room(handle->end);
}

static bool receiver_ready(void *side)
{
    struct strait_p_handle *handle = side;
    struct strait_span span;
    return handle->variant->peek(handle->end, 1, &span) > 0 ||
           strait_p_event_closed(&handle->channel->sender);
}

static struct strait_p_waiter waiter_of(struct strait_p_handle *handle, bool sender)
{
    struct strait_channel *channel = handle->channel;
    struct strait_p_waiter waiter = {
        .own = sender ? &channel->sender : &channel->receiver,
        .peer = sender ? &channel->receiver : &channel->sender,
        .ready = sender ? sender_ready : receiver_ready,
        .side = handle,
        .cancel = handle->cancel,
        .spin_ns = &handle->spin_ns,
        .mode = (enum strait_wait)handle->wait,
        .sole = !sender || handle->variant->senders == STRAIT_SENDERS_ONE,
        .between = handle->between,
    };
    return waiter;
}

/* Waits, unless the caller itself has the other end of its port: nobody could end the wait. Then it
 * looks once. */
int strait_p_side_park(struct strait_p_handle *handle, bool sender, int64_t deadline)
{
    struct strait_p_waiter waiter = waiter_of(handle, sender);
    if (waiter.between != STRAIT_P_PROCESSES && waiter.own->told) {
        return -EINVAL;
    }
    bool one_peer = sender || handle->variant->senders == STRAIT_SENDERS_ONE;
    if (!one_peer || !handle->threads ||
        strait_load_relaxed(&handle->threads[!sender]) != (uint32_t)thread_id() ||
        strait_now() >= deadline) {
        return strait_p_park(&waiter, deadline);
    }
    int result = strait_p_park(&waiter, 0);
    return result == -ETIMEDOUT ? -EDEADLK : result;
}

ptrdiff_t strait_p_receive_last(struct strait_p_handle *handle, void *messages, size_t n,
                                struct strait_span *span)
{
    if (!strait_p_event_closed(&handle->channel->sender)) {
        return -EAGAIN;
    }
    size_t count = span ? handle->variant->peek(handle->end, n, span)
                        : handle->variant->try_receive(handle->end, messages, n);
    return count ? (ptrdiff_t)count : -EPIPE;
}

int strait_send_wait(struct strait_sender *sender, int64_t deadline)
{
    int error = 0;
    while (!error && !sender_ready(&sender->handle)) {
        error = strait_p_side_park(&sender->handle, true, deadline);
    }
    return !error && strait_p_event_closed(&sender->handle.channel->receiver) ? -EPIPE : error;
}

int strait_receive_wait(struct strait_receiver *receiver, int64_t deadline)
{
    struct strait_span span;
    ptrdiff_t result;
    do {
        result = strait_peek(receiver, 1, &span);
        if (result == -EAGAIN) {
            result = strait_p_side_park(&receiver->handle, false, deadline);
        }
    } while (result == 0);
    return result > 0 ? 0 : (int)result;
}

/* ---- event loops ---- */

static int handle_fd(const struct strait_p_handle *handle, bool sender)
{
    struct strait_channel *channel = handle->channel;
    int fd = strait_p_event_fd(sender ? &channel->sender : &channel->receiver, handle->between);
    return fd >= 0 ? fd : -EINVAL;
}

int strait_sender_fd(const struct strait_sender *sender)
{
    return handle_fd(&sender->handle, true);
}

int strait_receiver_fd(const struct strait_receiver *receiver)
{
    return handle_fd(&receiver->handle, false);
}

static int handle_arm(struct strait_p_handle *handle, bool sender)
{
    struct strait_p_waiter waiter = waiter_of(handle, sender);
    int fd = handle_fd(handle, sender);
    return fd >= 0 ? strait_p_arm(&waiter) : fd;
}

STRAIT_P_COLD int strait_sender_arm(struct strait_sender *sender)
{
    return handle_arm(&sender->handle, true);
}

int strait_receiver_arm(struct strait_receiver *receiver)
{
    return handle_arm(&receiver->handle, false);
}

/* ---- seen from outside ---- */

STRAIT_P_COLD void strait_channel_status(const struct strait_channel *channel,
                                         struct strait_channel_status *status)
{
    uint32_t sender = strait_load_relaxed(&channel->sender.word);
    uint32_t receiver = strait_load_relaxed(&channel->receiver.word);
    uint32_t open = strait_load_relaxed(&channel->open_senders);
    *status = (struct strait_channel_status){
        .variant = strait_variant_at(channel->variant)->name,
        .capacity = channel->capacity,
        .message_size = channel->message_size,
        .senders = open & ~SENDERS_CLOSED,
        .sender_closed = (open & SENDERS_CLOSED) != 0,
        .receiver_closed = (receiver & STRAIT_P_CLOSED) != 0,
        .sender_waits = (sender & STRAIT_P_WAITING) != 0,
        .receiver_waits = (receiver & STRAIT_P_WAITING) != 0,
    };
}

/* ---- receivers that are told by a call ---- */

int strait_receiver_on_ready(struct strait_receiver *receiver, strait_ready_fn *ready,
                             void *context)
{
    struct strait_p_handle *handle = &receiver->handle;
    struct strait_p_event_count *own = &handle->channel->receiver;
    if (handle->between == STRAIT_P_PROCESSES || own->fd >= 0 ||
        handle->channel == &closed_channel) {
        return -EINVAL;
    }
    if ((ready && own->told) || strait_load_relaxed(&own->word) & STRAIT_P_WAITING) {
        return -EBUSY;
    }
    own->told = ready;
    own->context = context;
    return 0;
}

STRAIT_P_COLD void strait_receivers_arm(struct strait_receiver *const *receivers, size_t count,
                                        bool *armed)
{
    for (size_t i = 0; i < count; i++) {
        struct strait_p_handle *handle = &receivers[i]->handle;
        strait_p_announce(&handle->channel->receiver, handle->between);
    }
    strait_p_heavy_barrier(!strait_p_heavy_barrier_available());
    for (size_t i = 0; i < count; i++) {
        armed[i] = !receiver_ready(&receivers[i]->handle) || !strait_receiver_disarm(receivers[i]);
    }
}

bool strait_receiver_disarm(struct strait_receiver *receiver)
{
    return strait_p_cancel(&receiver->handle.channel->receiver, true);
}
