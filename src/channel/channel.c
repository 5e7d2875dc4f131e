/* SPDX-License-Identifier: MIT */
/* channel: the block, from its options to its end. The hot path is inline in strait/channel.h, the
 * rest of what one side does is in handle.c. */
#include "strait/channel.h"

#include <stdlib.h>
#include <unistd.h>

#include "event_count.h"
#include "memory.h"
#include "options.h"

#define MAGIC 0x73747232u /* "str2": of this layout */

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

/* An event count, with an fd where the side's mode wants one. */
static int open_event(struct strait_p_event_count *event, enum strait_wait mode, bool shared)
{
    int fd = -1;
    int error = mode == STRAIT_WAIT_FD ? strait_p_fd_open(&fd) : 0;
    strait_p_event_count_init(event, fd, shared);
    return error;
}

static int open_events(struct strait_channel *channel, const struct strait_channel_options *options)
{
    int error = open_event(&channel->sender, options->sender, options->shared);
    if (!error) {
        error = open_event(&channel->receiver, options->receiver, options->shared);
        if (error) {
            strait_p_fd_close(channel->sender.fd);
        }
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
    error = open_events(channel, &options);
    if (error) {
        return error;
    }
    channel->variant = variant_index(variant);
    channel->capacity = (uint32_t)options.capacity;
    channel->message_size = (uint32_t)options.message_size;
    channel->senders = options.senders;
    channel->shared = options.shared;
    channel->fenced = options.shared || !strait_p_heavy_barrier_available();
    channel->sender_wait = options.sender;
    channel->receiver_wait = options.receiver;
    variant->init((void *)(channel + 1), &shape);
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
    void *memory = strait_line_alloc(size);
    if (!memory) {
        return -ENOMEM;
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
    void *ring = (void *)(channel + 1);
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
    strait_p_fd_close(channel->sender.fd);
    strait_p_fd_close(channel->receiver.fd);
    channel->magic = 0;
    if (channel->allocated) {
        free(channel);
    }
}

void strait_channel_wake(struct strait_channel *channel)
{
    strait_p_wake(&channel->sender);
    strait_p_wake(&channel->receiver);
}
