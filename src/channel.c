/* SPDX-License-Identifier: MIT */
/* channel: a ring of some variant, plus waiting, closing and ownership. Cold calls only: the hot
 * path is inline in strait/channel.h. */
#include "strait/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "options.h"
#include "wait.h"

#define MAGIC 0x73747231u /* "str1": of this layout */

/* In open_senders: the last sender has closed, and the side stays closed. */
#define SENDERS_CLOSED 0x80000000u

static void *channel_ring(struct strait_channel *channel)
{
    return channel + 1;
}

/* ---- options ---- */

static const struct strait_variant *fill_defaults(struct strait_channel_options *options)
{
    const struct strait_variant *variant =
        strait_variant_find(options->variant ? options->variant : "spsc");
    if (!options->capacity) {
        options->capacity = 1024;
    }
    if (!options->message_size) {
        options->message_size = sizeof(void *);
    }
    if (options->sender == STRAIT_WAIT_DEFAULT) {
        options->sender = STRAIT_WAIT_PARK;
    }
    if (options->receiver == STRAIT_WAIT_DEFAULT) {
        options->receiver = STRAIT_WAIT_PARK;
    }
    if (!options->senders && variant) {
        options->senders = variant->senders == STRAIT_SENDERS_REGISTERED ? 16 : 1;
    }
    return variant;
}

static bool channel_options_valid(const struct strait_channel_options *options,
                                  const struct strait_variant *variant)
{
    return variant && options->capacity <= STRAIT_CAPACITY_MAX &&
           options->message_size <= STRAIT_MESSAGE_SIZE_MAX &&
           options->senders <= STRAIT_SENDERS_MAX &&
           (options->senders == 1 || variant->senders == STRAIT_SENDERS_REGISTERED) &&
           (unsigned)options->sender <= STRAIT_WAIT_FD &&
           (unsigned)options->receiver <= STRAIT_WAIT_FD && options->shared <= 1 &&
           !(options->shared &&
             (options->sender == STRAIT_WAIT_FD || options->receiver == STRAIT_WAIT_FD));
}

/* Would the block be too large for a size_t? Each slot may need a stamp, each sender some headers.
 */
static bool shape_overflows(const struct strait_shape *shape)
{
    size_t per_slot = shape->message_size + sizeof(uint32_t);
    size_t headers = 8 * STRAIT_LINE;
    size_t per_sender = SIZE_MAX / 2 / shape->senders;
    return strait_slots(shape->capacity) > (per_sender - headers) / per_slot;
}

/* Checks everything; on success `options` holds no zero that means a default. */
static int channel_resolve(struct strait_channel_options *options,
                           const struct strait_channel_options *given,
                           const struct strait_variant **variant, struct strait_shape *shape)
{
    int error = strait_options_copy(options, sizeof(*options), given);
    if (error) {
        return error;
    }
    *variant = fill_defaults(options);
    if (!channel_options_valid(options, *variant)) {
        return -EINVAL;
    }
    shape->capacity = options->capacity;
    shape->message_size = options->message_size;
    shape->senders = options->senders;
    return shape_overflows(shape) ? -EINVAL : 0;
}

int strait_channel_size(const struct strait_channel_options *given, size_t *size)
{
    struct strait_channel_options options;
    const struct strait_variant *variant;
    struct strait_shape shape;
    int error = channel_resolve(&options, given, &variant, &shape);
    if (!error) {
        *size = sizeof(struct strait_channel) + variant->size(&shape);
    }
    return error;
}

/* ---- the block ---- */

static int open_fd(enum strait_wait mode, int32_t *fd)
{
    *fd = -1;
    if (mode != STRAIT_WAIT_FD) {
        return 0;
    }
    int saved = errno;
    *fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int error = *fd < 0 ? -errno : 0;
    errno = saved;
    return error;
}

static void close_fd(int32_t fd)
{
    if (fd >= 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
}

static int open_fds(struct strait_channel *channel, const struct strait_channel_options *options)
{
    int error = open_fd(options->sender, &channel->sender_fd);
    if (error) {
        return error;
    }
    error = open_fd(options->receiver, &channel->receiver_fd);
    if (error) {
        close_fd(channel->sender_fd);
    }
    return error;
}

static uint32_t variant_index(const struct strait_variant *variant)
{
    uint32_t i = 0;
    while (strait_variant_at(i) != variant) {
        i++;
    }
    return i;
}

int strait_channel_init(struct strait_channel **out, void *memory, size_t size,
                        const struct strait_channel_options *given)
{
    struct strait_channel_options options;
    const struct strait_variant *variant;
    struct strait_shape shape;
    int error = channel_resolve(&options, given, &variant, &shape);
    if (error) {
        return error;
    }
    if (!memory || (uintptr_t)memory % STRAIT_LINE) {
        return -EINVAL;
    }
    if (size < sizeof(struct strait_channel) + variant->size(&shape)) {
        return -ENOSPC;
    }
    struct strait_channel *channel = memory;
    memset(channel, 0, sizeof(*channel));
    error = open_fds(channel, &options);
    if (error) {
        return error;
    }
    channel->variant = variant_index(variant);
    channel->capacity = (uint32_t)options.capacity;
    channel->message_size = (uint32_t)options.message_size;
    channel->senders = options.senders;
    channel->shared = options.shared;
    channel->fenced = options.shared || !strait_heavy_barrier_available();
    channel->sender_wait = options.sender;
    channel->receiver_wait = options.receiver;
    variant->init(channel_ring(channel), &shape);
    channel->magic = MAGIC;
    *out = channel;
    return 0;
}

int strait_channel_create(struct strait_channel **channel,
                          const struct strait_channel_options *options)
{
    size_t size;
    int error = strait_channel_size(options, &size);
    if (error) {
        return error;
    }
    int saved = errno;
    void *memory = NULL;
    error = -posix_memalign(&memory, STRAIT_LINE, size);
    errno = saved;
    if (error) {
        return error;
    }
    error = strait_channel_init(channel, memory, size, options);
    if (error) {
        free(memory);
        return error;
    }
    (*channel)->allocated = 1;
    return 0;
}

int strait_channel_open(struct strait_channel **out, void *memory, size_t size)
{
    struct strait_channel *channel = memory;
    if (!memory || (uintptr_t)memory % STRAIT_LINE || size < sizeof(*channel) ||
        channel->magic != MAGIC || !strait_variant_at(channel->variant)) {
        return -EINVAL;
    }
    struct strait_shape shape = {channel->capacity, channel->message_size, channel->senders};
    if (size < sizeof(*channel) + strait_variant_at(channel->variant)->size(&shape)) {
        return -EINVAL;
    }
    *out = channel;
    return 0;
}

static void drop_leftovers(struct strait_channel *channel, strait_drop_fn *drop, void *context)
{
    const struct strait_variant *variant = strait_variant_at(channel->variant);
    void *ring = channel_ring(channel);
    struct strait_span span;
    while (variant->peek(ring, channel->capacity, &span)) {
        for (size_t i = 0; i < span.count; i++) {
            drop((char *)span.messages + i * span.message_size, context);
        }
        variant->release(ring, &span);
    }
}

void strait_channel_destroy(struct strait_channel *channel, strait_drop_fn *drop, void *context)
{
    if (!channel) {
        return;
    }
    if (drop) {
        drop_leftovers(channel, drop, context);
    }
    close_fd(channel->sender_fd);
    close_fd(channel->receiver_fd);
    channel->magic = 0;
    if (channel->allocated) {
        free(channel);
    }
}

/* ---- handles ---- */

/* What a closed handle points to: the hot path finds both sides closed there, and a ring that
 * never has room nor messages, without a check of its own. */
static struct strait_channel closed_channel = {
    .sender_fd = -1,
    .receiver_fd = -1,
    .receiver = {.word = STRAIT_CLOSED},
    .sender = {.word = STRAIT_CLOSED},
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

static void handle_open(struct strait_handle *handle, struct strait_channel *channel)
{
    handle->channel = channel;
    handle->variant = strait_variant_at(channel->variant);
    handle->cancel = NULL;
    handle->fenced = channel->fenced;
    handle->spin_ns = STRAIT_SPIN_NS;
    handle->owner = 0;
}

static void handle_close(struct strait_handle *handle)
{
    handle->channel = &closed_channel;
    handle->variant = &closed_variant;
    handle->owner = 0;
}

/* Or never opened: all zero. */
static bool handle_closed(const struct strait_handle *handle)
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
    sender->end = sender->handle.variant->attach(channel_ring(channel));
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
    strait_sender_adopt(sender);
    sender->handle.owner = 0;
    return 0;
}

int strait_receiver_open(struct strait_receiver *receiver, struct strait_channel *channel)
{
    handle_open(&receiver->handle, channel);
    receiver->ring = channel_ring(channel);
    strait_receiver_adopt(receiver);
    receiver->handle.owner = 0;
    if (channel->receiver_fd >= 0) {
        strait_receiver_arm(receiver); /* a loop may watch the fd before it ever looks */
    }
    return 0;
}

void strait_sender_close(struct strait_sender *sender)
{
    struct strait_handle handle = sender->handle;
    if (handle_closed(&handle)) {
        return;
    }
    handle.variant->detach(sender->end);
    handle_close(&sender->handle);
    if (uncount_sender(handle.channel)) {
        strait_signal_close(&handle.channel->sender);
        strait_signal_notify(&handle, &handle.channel->receiver);
    }
}

void strait_receiver_close(struct strait_receiver *receiver)
{
    struct strait_handle handle = receiver->handle;
    if (handle_closed(&handle)) {
        return;
    }
    handle_close(&receiver->handle);
    strait_signal_close(&handle.channel->receiver);
    strait_signal_notify(&handle, &handle.channel->sender);
}

static int32_t thread_id(void)
{
    static __thread int32_t id;
    if (!id) {
        id = (int32_t)syscall(SYS_gettid);
    }
    return id;
}

void strait_sender_adopt(struct strait_sender *sender)
{
    struct strait_handle *handle = &sender->handle;
    handle->owner = thread_id();
    strait_signal_place(&handle->channel->sender, handle->variant->senders == STRAIT_SENDERS_ONE);
}

void strait_receiver_adopt(struct strait_receiver *receiver)
{
    receiver->handle.owner = thread_id();
    strait_signal_place(&receiver->handle.channel->receiver, true);
}

void strait_checked_owner(struct strait_handle *handle, const char *rule)
{
    if (!handle->owner) {
        handle->owner = thread_id();
    }
    if (handle->owner != thread_id()) {
        fprintf(stderr, "strait: %s: handle %p of channel %p belongs to thread %d, used by %d\n",
                rule, (void *)handle, (void *)handle->channel, (int)handle->owner,
                (int)thread_id());
        abort();
    }
}

void strait_sender_cancel_on(struct strait_sender *sender, const uint32_t *flag)
{
    sender->handle.cancel = flag;
}

void strait_receiver_cancel_on(struct strait_receiver *receiver, const uint32_t *flag)
{
    receiver->handle.cancel = flag;
}

void strait_signal_wake(struct strait_channel *channel, struct strait_signal *signal)
{
    int fd = signal == &channel->receiver ? channel->receiver_fd : channel->sender_fd;
    strait_signal_rouse(signal, fd, channel->shared);
}

void strait_channel_wake(struct strait_channel *channel)
{
    strait_signal_kick(&channel->sender, channel->sender_fd, channel->shared);
    strait_signal_kick(&channel->receiver, channel->receiver_fd, channel->shared);
}

/* ---- waiting sides ---- */

static bool sender_ready(void *side)
{
    struct strait_sender *sender = side;
    return sender->handle.variant->has_room(sender->end) ||
           strait_signal_closed(&sender->handle.channel->receiver);
}

static bool receiver_ready(void *side)
{
    struct strait_receiver *receiver = side;
    struct strait_span span;
    return receiver->handle.variant->peek(receiver->ring, 1, &span) ||
           strait_signal_closed(&receiver->handle.channel->sender);
}

/* The part that is alike for both sides. */
static struct strait_waiter handle_waiter(struct strait_handle *handle)
{
    struct strait_waiter waiter = {
        .cancel = handle->cancel,
        .spin_ns = &handle->spin_ns,
        .fenced = handle->fenced,
        .shared = handle->channel->shared,
    };
    return waiter;
}

static struct strait_waiter sender_waiter(struct strait_sender *sender)
{
    struct strait_channel *channel = sender->handle.channel;
    struct strait_waiter waiter = handle_waiter(&sender->handle);
    waiter.own = &channel->sender;
    waiter.peer = &channel->receiver;
    waiter.ready = sender_ready;
    waiter.side = sender;
    waiter.mode = (enum strait_wait)channel->sender_wait;
    waiter.fd = channel->sender_fd;
    waiter.sole = sender->handle.variant->senders == STRAIT_SENDERS_ONE;
    return waiter;
}

static struct strait_waiter receiver_waiter(struct strait_receiver *receiver)
{
    struct strait_channel *channel = receiver->handle.channel;
    struct strait_waiter waiter = handle_waiter(&receiver->handle);
    waiter.own = &channel->receiver;
    waiter.peer = &channel->sender;
    waiter.ready = receiver_ready;
    waiter.side = receiver;
    waiter.mode = (enum strait_wait)channel->receiver_wait;
    waiter.fd = channel->receiver_fd;
    waiter.sole = true;
    return waiter;
}

ptrdiff_t strait_receive_nothing(struct strait_receiver *receiver)
{
    const struct strait_handle *handle = &receiver->handle;
    struct strait_span span;
    /* signal.closed: pairs with signal.update; every message of the senders that closed */
    if (!(strait_load_acquire(&handle->channel->sender.word) & STRAIT_CLOSED)) {
        return -EAGAIN;
    }
    return handle->variant->peek(receiver->ring, 1, &span) ? -EAGAIN : -EPIPE;
}

int strait_send_wait(struct strait_sender *sender, int64_t deadline)
{
    struct strait_waiter waiter = sender_waiter(sender);
    int error = strait_wait(&waiter, deadline);
    return !error && strait_signal_closed(&sender->handle.channel->receiver) ? -EPIPE : error;
}

int strait_receive_wait(struct strait_receiver *receiver, int64_t deadline)
{
    struct strait_waiter waiter = receiver_waiter(receiver);
    struct strait_span span;
    for (;;) {
        ptrdiff_t seen = strait_peek(receiver, 1, &span);
        if (seen != -EAGAIN) {
            return seen > 0 ? 0 : (int)seen;
        }
        int error = strait_wait(&waiter, deadline);
        if (error) {
            return error;
        }
    }
}

ptrdiff_t strait_send(struct strait_sender *sender, const void *messages, size_t n,
                      int64_t deadline)
{
    size_t message_size = sender->handle.channel->message_size;
    size_t sent = 0;
    while (sent < n) {
        ptrdiff_t result =
            strait_try_send(sender, (const char *)messages + sent * message_size, n - sent);
        if (result == -EAGAIN) {
            result = strait_send_wait(sender, deadline);
        }
        if (result < 0) {
            return sent ? (ptrdiff_t)sent : result;
        }
        sent += (size_t)result;
    }
    return (ptrdiff_t)sent;
}

ptrdiff_t strait_receive(struct strait_receiver *receiver, void *messages, size_t n,
                         int64_t deadline)
{
    for (;;) {
        ptrdiff_t result = strait_try_receive(receiver, messages, n);
        if (result != -EAGAIN) {
            return result;
        }
        int error = strait_receive_wait(receiver, deadline);
        if (error) {
            return error;
        }
    }
}

int strait_sender_fd(const struct strait_sender *sender)
{
    int fd = sender->handle.channel->sender_fd;
    return fd >= 0 ? fd : -EINVAL;
}

int strait_receiver_fd(const struct strait_receiver *receiver)
{
    int fd = receiver->handle.channel->receiver_fd;
    return fd >= 0 ? fd : -EINVAL;
}

int strait_sender_arm(struct strait_sender *sender)
{
    struct strait_waiter waiter = sender_waiter(sender);
    return waiter.fd >= 0 ? strait_arm(&waiter) : -EINVAL;
}

int strait_receiver_arm(struct strait_receiver *receiver)
{
    struct strait_waiter waiter = receiver_waiter(receiver);
    return waiter.fd >= 0 ? strait_arm(&waiter) : -EINVAL;
}
