/* SPDX-License-Identifier: MIT */
/*
 * buffer: memory that is handed over in a message, however large, without a copy.
 *
 * A channel whose message_size is sizeof(struct strait_buffer) carries the description; the memory
 * stays where it is. Who has the description has the memory, and releases it once:
 *
 *   the sender    until a send has accepted it. Say so to its own copy with strait_buffer_moved,
 *                 and releasing that copy does nothing from then on;
 *   the channel   until it is received: with strait_buffer_drop as the drop callback of the
 *                 channel, port or worker, it is released if nobody does;
 *   the receiver  who has copied the description out of the message. A handler that sees the
 *                 message in place owns the memory, too: copy the description to keep it, or
 *                 release the copy.
 *
 *   struct strait_buffer buffer;
 *   strait_buffer_alloc(&buffer, bytes);
 *   ... // fill buffer.memory
 *   strait_buffer_moved(&buffer, strait_try_send(sender, &buffer, 1));
 *   strait_buffer_release(&buffer); // releases what was not sent
 *
 * Which thread releases is whichever has the buffer in the end: `release` must be callable from any
 * of them. One memory for several receivers (strait_broadcast) has as many descriptions, and a
 * release function that counts them down in *context.
 */
#ifndef STRAIT_BUFFER_H
#define STRAIT_BUFFER_H

#include <stdlib.h>

#include "strait/base.h"

STRAIT_C_BEGIN

/* Takes the memory back; gets what the buffer said. */
typedef void strait_release_fn(void *memory, size_t bytes, void *context) STRAIT_NOEXCEPT;

/* All zero: empty. */
struct strait_buffer {
    void *memory;
    size_t bytes;
    strait_release_fn *release; /* NULL: nothing to be done */
    void *context;
};

/* Releases the memory and leaves the buffer empty; does nothing to an empty one. The thread that
 * has the buffer; blocks if the release function does. */
static inline void strait_buffer_release(struct strait_buffer *buffer)
{
    const struct strait_buffer was = *buffer;
    memset(buffer, 0, sizeof(*buffer));
    if (was.release) {
        was.release(was.memory, was.bytes, was.context);
    }
}

/* A strait_drop_fn: releases a buffer that nobody received. */
static inline void strait_buffer_drop(void *message, void *context) STRAIT_NOEXCEPT
{
    struct strait_buffer buffer;
    (void)context;
    memcpy(&buffer, message, sizeof(buffer));
    strait_buffer_release(&buffer);
}

/* Empties the first of the sender's copies, those that a send has accepted. `sent` is what the send
 * returned, and is returned: negative, and all of them stay. */
static inline ptrdiff_t strait_buffer_moved(struct strait_buffer *buffers, ptrdiff_t sent)
{
    if (sent > 0) {
        memset(buffers, 0, (size_t)sent * sizeof(*buffers));
    }
    return sent;
}

static inline void strait_buffer_free(void *memory, size_t bytes, void *context) STRAIT_NOEXCEPT
{
    (void)bytes;
    (void)context;
    free(memory);
}

/* A buffer of `bytes` (0, too) from malloc, to be released by free. -ENOMEM: the buffer is empty.
 * Any thread; does not block. */
static inline int strait_buffer_alloc(struct strait_buffer *buffer, size_t bytes)
{
    int saved = errno;
    memset(buffer, 0, sizeof(*buffer));
    void *memory = malloc(bytes ? bytes : 1);
    /* volatile: the compiler takes malloc for a function that leaves errno alone */
    *(volatile int *)&errno = saved;
    if (!memory) {
        return -ENOMEM;
    }
    buffer->memory = memory;
    buffer->bytes = bytes;
    buffer->release = strait_buffer_free;
    return 0;
}

STRAIT_C_END

#endif /* STRAIT_BUFFER_H */
