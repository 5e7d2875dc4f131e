/* SPDX-License-Identifier: MIT */
/*
 * prefetch: how a side of a ring asks for the lines of the slots that it will come to.
 *
 * A store to a line that the other side has read last waits for it, and with it all stores behind
 * it. So a sender asks for a line to write some way ahead of the message it has just committed, a
 * receiver for a line to read some way ahead of the one it has released: once for each line, and
 * only for slots that it knows to be its own, for in the others the line would be taken away from
 * where it is in use.
 */
#ifndef STRAIT_RINGS_PREFETCH_H
#define STRAIT_RINGS_PREFETCH_H

#include "strait/rings/variant.h"

/* How far ahead, and the size of the lines that are asked for: bytes. */
#define STRAIT_PREFETCH_AHEAD 1024
#define STRAIT_PREFETCH_LINE 64

/* Set once, when a ring is made. */
struct strait_prefetch {
    uint32_t line;  /* the bits of an index that change from line to line of the slots */
    uint32_t ahead; /* slots from here to those to be asked for */
};

/* All bits but the lowest k, where 2^k messages fill a line; all bits where none do. */
static inline uint32_t strait_prefetch_line(size_t message_size)
{
    uint32_t in_line =
        STRAIT_PREFETCH_LINE / (uint32_t)strait_min(message_size, STRAIT_PREFETCH_LINE);
    return in_line * message_size == STRAIT_PREFETCH_LINE ? ~(in_line - 1) : ~(uint32_t)0;
}

static inline void strait_prefetch_init(struct strait_prefetch *prefetch,
                                        const struct strait_shape *shape)
{
    size_t messages =
        strait_round_up(STRAIT_PREFETCH_AHEAD, shape->message_size) / shape->message_size;
    prefetch->line = strait_prefetch_line(shape->message_size);
    prefetch->ahead = (uint32_t)strait_min(messages, shape->capacity / 4 + 1);
}

/* Does the span end a line, or fill one? */
static inline bool strait_prefetch_due(const struct strait_prefetch *prefetch,
                                       const struct strait_span *span)
{
    uint32_t position = (uint32_t)span->position;
    return ((position ^ (position + (uint32_t)span->count)) & prefetch->line) != 0;
}

/* Slots from the start of the span to those to be asked for: of a long span, those behind it. */
static inline size_t strait_prefetch_from(const struct strait_prefetch *prefetch,
                                          const struct strait_span *span)
{
    return span->count > prefetch->ahead ? span->count : prefetch->ahead;
}

/* Are they all among the `known` slots, counted from the start of the span? */
static inline bool strait_prefetch_known(const struct strait_prefetch *prefetch,
                                         const struct strait_span *span, size_t known)
{
    return span->count + prefetch->ahead <= known;
}

/* The lines of so many bytes, but of those that are too far ahead. They may reach past the end of
 * the memory, which does nothing. */
static inline void strait_prefetch_slots(const char *slot, size_t bytes, bool write)
{
    size_t most = strait_min(bytes, STRAIT_PREFETCH_AHEAD);
    size_t i = 0;
    do {
        if (write) {
            strait_prefetch_write(slot + i);
        } else {
            strait_prefetch_read(slot + i);
        }
        i += STRAIT_PREFETCH_LINE;
    } while (i < most);
}

#endif /* STRAIT_RINGS_PREFETCH_H */
