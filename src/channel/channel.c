/* SPDX-License-Identifier: MIT */
/* channel: the table of rings, and the block, from its options to its end. The hot path is inline
 * in strait/channel.h, the rest of what one side does is in endpoint.c. */
#include "strait/channel.h"

#include "wait.h"

#define MAGIC 0x73747235u /* "str5": of this layout */

/* ---- the table ---- */

#define ENTRY(VARIANT) &strait_##VARIANT##_variant,

static const struct strait_variant *const variants[] = {STRAIT_VARIANTS(ENTRY)};

const struct strait_variant *strait_variant_at(size_t i)
{
    return i < sizeof(variants) / sizeof(variants[0]) ? variants[i] : NULL;
}

/* Behind the last one: there is none of that name. */
static uint32_t variant_place(const char *name)
{
    uint32_t i = 0;
    while (strait_variant_at(i) && strcmp(strait_variant_at(i)->name, name) != 0) {
        i++;
    }
    return i;
}

/* ---- options ---- */

/* What a block is made for, or says that it was made for. */
struct layout {
    struct strait_channel_options options; /* without a zero that means a default */
    uint32_t variant;                      /* its place in the table */
    struct strait_shape shape;
    size_t size; /* of the block */
};

static bool mode_valid(enum strait_wait mode, bool shared)
{
    return mode >= STRAIT_WAIT_PARK && mode <= (shared ? STRAIT_WAIT_SPIN : STRAIT_WAIT_FD);
}

/* Checks everything, and says how large the block is. */
static STRAIT_P_COLD int layout_check(struct layout *layout)
{
    const struct strait_channel_options *options = &layout->options;
    const struct strait_variant *variant = strait_variant_at(layout->variant);
    if (!STRAIT_P_VALID(channel, variant, variant) ||
        !STRAIT_P_VALID(channel, capacity, options->capacity - 1 < STRAIT_CAPACITY_MAX) ||
        !STRAIT_P_VALID(channel, message_size,
                        options->message_size - 1 < STRAIT_MESSAGE_SIZE_MAX) ||
        !STRAIT_P_VALID(channel, senders, options->senders - 1 < STRAIT_SENDERS_MAX) ||
        !STRAIT_P_VALID(channel, senders,
                        options->senders == 1 || variant->senders == STRAIT_SENDERS_REGISTERED) ||
        !STRAIT_P_VALID(channel, shared, options->shared <= 1) ||
        !STRAIT_P_VALID(channel, sender, mode_valid(options->sender, options->shared)) ||
        !STRAIT_P_VALID(channel, receiver, mode_valid(options->receiver, options->shared))) {
        return -EINVAL;
    }
    /* It must not be too large for a size_t: a slot may need a stamp, and be rounded up to less
     * than twice that; a sender needs some headers. */
    size_t per_sender = SIZE_MAX / 2 / options->senders - 8 * STRAIT_LINE;
    size_t slots_most = per_sender / (options->message_size + sizeof(uint32_t));
    if (!STRAIT_P_VALID(channel, capacity, strait_slots(options->capacity) <= slots_most)) {
        return -EINVAL;
    }
    layout->shape.capacity = options->capacity;
    layout->shape.message_size = options->message_size;
    layout->shape.senders = options->senders;
    layout->size = sizeof(struct strait_channel) + variant->size(&layout->shape);
    return 0;
}

static STRAIT_P_COLD int layout_make(struct layout *layout,
                                     const struct strait_channel_options *given)
{
    struct strait_channel_options *options = &layout->options;
    int error = strait_options_copy(options, sizeof(*options), given, "channel");
    if (error) {
        return error;
    }
    layout->variant = variant_place(options->variant ? options->variant : "spsc");
    const struct strait_variant *variant = strait_variant_at(layout->variant);
    bool registered = variant && variant->senders == STRAIT_SENDERS_REGISTERED;
    options->capacity = options->capacity ? options->capacity : 1024;
    options->message_size = options->message_size ? options->message_size : sizeof(void *);
    options->senders = options->senders ? options->senders : registered ? 16 : 1;
    options->sender = options->sender ? options->sender : STRAIT_WAIT_PARK;
    options->receiver = options->receiver ? options->receiver : STRAIT_WAIT_PARK;
    return layout_check(layout);
}

STRAIT_P_COLD int strait_channel_size(const struct strait_channel_options *options, size_t *size)
{
    struct layout layout;
    int error = layout_make(&layout, options);
    if (!error) {
        *size = layout.size;
    }
    return error;
}

/* ---- the block ---- */

/* An event count, with an fd where the side's mode wants one and it can be had. */
static int open_event(struct strait_p_event_count *event, enum strait_wait mode)
{
    int fd = -1;
    int error = mode == STRAIT_WAIT_FD ? strait_p_fd_open(&fd) : 0;
    strait_p_event_count_init(event, fd);
    return error;
}

STRAIT_P_COLD int strait_channel_init(struct strait_channel **out, void *memory, size_t size,
                                      const struct strait_channel_options *given)
{
    struct layout layout;
    struct strait_channel *channel = memory;
    int error = layout_make(&layout, given);
    if (error || !memory || (uintptr_t)memory % STRAIT_LINE) {
        return error ? error : -EINVAL;
    }
    if (size < layout.size) {
        return -ENOSPC;
    }
    const struct strait_channel_options *options = &layout.options;
    memset(channel, 0, sizeof(*channel));
    error = open_event(&channel->sender, options->sender);
    error = error ? error : open_event(&channel->receiver, options->receiver);
    if (error) {
        strait_p_fd_close(channel->sender.fd);
        return error;
    }
    channel->variant = layout.variant;
    channel->capacity = (uint32_t)options->capacity;
    channel->message_size = (uint32_t)options->message_size;
    channel->senders = options->senders;
    channel->between = options->shared                      ? STRAIT_P_PROCESSES
                       : strait_p_heavy_barrier_available() ? STRAIT_P_BARRIER
                                                            : STRAIT_P_FENCES;
    channel->sender_wait = options->sender;
    channel->receiver_wait = options->receiver;
    variants[layout.variant]->init((void *)(channel + 1), &layout.shape);
    /* channel.made: pairs with channel.open; all of the block; without it another process opens one
     * whose ring is not there yet */
    strait_store_release(&channel->magic, MAGIC);
    *out = channel;
    return 0;
}

STRAIT_P_COLD int strait_channel_create(struct strait_channel **out,
                                        const struct strait_channel_options *options)
{
    size_t size;
    int error = strait_channel_size(options, &size);
    if (error) {
        return error;
    }
    void *memory = strait_line_alloc(size);
    error = memory ? strait_channel_init(out, memory, size, options) : -ENOMEM;
    if (error) {
        free(memory);
        return error;
    }
    (*out)->allocated = 1;
    return 0;
}

STRAIT_P_COLD int strait_channel_open(struct strait_channel **out, void *memory, size_t size)
{
    struct strait_channel *channel = memory;
    if (!memory || (uintptr_t)memory % STRAIT_LINE || size < sizeof(*channel)) {
        return -EINVAL;
    }
    /* channel.open: pairs with channel.made; all of the block; without it this process opens one
     * whose ring is not there yet */
    bool made = strait_load_acquire(&channel->magic) == MAGIC;
    struct layout layout = {
        .options = {.capacity = channel->capacity,
                    .message_size = channel->message_size,
                    .senders = channel->senders,
                    .sender = (enum strait_wait)channel->sender_wait,
                    .receiver = (enum strait_wait)channel->receiver_wait,
                    .shared = 1},
        .variant = channel->variant,
    };
    if (!made || channel->between != STRAIT_P_PROCESSES || channel->allocated ||
        channel->sender.fd != -1 || channel->receiver.fd != -1 || layout_check(&layout) != 0 ||
        size < layout.size || !variants[layout.variant]->fits(channel + 1, &layout.shape)) {
        return -EINVAL;
    }
    *out = channel;
    return 0;
}

STRAIT_P_COLD void strait_channel_destroy(struct strait_channel *channel, strait_drop_fn *drop,
                                          void *context)
{
    if (!channel) {
        return;
    }
    const struct strait_variant *variant = strait_variant_at(channel->variant);
    struct strait_span span;
    while (drop && variant->peek(channel + 1, channel->capacity, &span)) {
        for (size_t i = 0; i < span.count; i++) {
            drop((char *)span.messages + i * span.message_size, context);
        }
        variant->release(channel + 1, &span);
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
    strait_p_wake(&channel->sender, channel->between);
    strait_p_wake(&channel->receiver, channel->between);
}
