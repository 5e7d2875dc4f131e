/* SPDX-License-Identifier: MIT */
/*
 * lines: how the sides of a ring keep out of each other's cache lines, by looking ahead and by
 * staying behind.
 *
 * Prefetch. A store to a line that the other side has read last waits for it, and with it all
 * stores behind it. So a sender asks for a line to write some way ahead of the message it has just
 * committed, a receiver for a line to read some way ahead of the one it has released: once for each
 * line, and only for slots that it knows to be its own, for in the others the line would be taken
 * away from where it is in use.
 *
 * Distance. A receiver that polls right behind its sender takes away, message by message, the lines
 * that the sender is about to write; so does a sender that fills slot by slot what its receiver
 * frees. Whoever finds a few messages, or a little room, where much may be on its way, does better
 * to linger and then to have it all at once. Where that brings nothing (a message now and then, a
 * round trip) it learns to leave it: it passes by the next 1, 3, 7, ... chances. A wait that brings
 * little, but was worth it, doubles the next one: each look takes a line away, and one long wait
 * costs fewer looks than many short ones. A wait that brings more than enough halves it, in spsc,
 * whose look tells of more. The wait is bounded: at most STRAIT_DISTANCE_LOOKS times
 * STRAIT_DISTANCE_PAUSES_MAX pauses of some 25 ns (strait_pause_for).
 *
 * Receivers of small messages in cells go one step further: while waits are worth it, they wait
 * before they look.
 *
 * A wait is latency, too. It is worth it only where the other side, left alone, is faster than one
 * that does something for each message: 8 bytes in 9 ns, from a sender that has its ring for
 * itself. From a slower one its receiver takes each message as it comes, but for a try now and
 * then; and so does a sender with the room that it finds.
 */
#ifndef STRAIT_RINGS_LINES_H
#define STRAIT_RINGS_LINES_H

#include "strait/rings/variant.h"

STRAIT_C_BEGIN

/* ---- prefetch ---- */

/* How far ahead, how much at once, and the size of the lines that are asked for: bytes. */
#define STRAIT_PREFETCH_AHEAD 1024
#define STRAIT_PREFETCH_MOST 8192
#define STRAIT_PREFETCH_LINE 64

/* Set once, when a ring is made. */
struct strait_prefetch {
    uint32_t line;  /* the bits of an index that change from line to line of the slots: all but the
                       lowest k where 2^k messages fill a line, all where none do */
    uint32_t ahead; /* slots from here to those to be asked for */
};

static inline void strait_prefetch_init(struct strait_prefetch *prefetch, size_t capacity,
                                        size_t slot_size)
{
    uint32_t size = (uint32_t)strait_min(slot_size, STRAIT_PREFETCH_LINE);
    uint32_t in_line = STRAIT_PREFETCH_LINE / size;
    size_t ahead = (STRAIT_PREFETCH_AHEAD + slot_size - 1) / slot_size;
    prefetch->line = in_line * size == STRAIT_PREFETCH_LINE ? ~(in_line - 1) : ~(uint32_t)0;
    prefetch->ahead = (uint32_t)strait_min(ahead, capacity / 4 + 1);
}

static inline bool strait_prefetch_fits(const struct strait_prefetch *prefetch, size_t capacity,
                                        size_t slot_size)
{
    struct strait_prefetch right;
    strait_prefetch_init(&right, capacity, slot_size);
    return prefetch->line == right.line && prefetch->ahead == right.ahead;
}

/* Behind `count` slots, the first of `known` that are this side's: how far from there those to be
 * asked for are, of many slots those behind them. 0: they are not all known. */
static inline uint32_t strait_prefetch_from(const struct strait_prefetch *prefetch, uint32_t count,
                                            uint32_t known)
{
    uint32_t from = count > prefetch->ahead ? count : prefetch->ahead;
    return count + prefetch->ahead > known ? 0 : from;
}

/* The lines of so many bytes, of STRAIT_PREFETCH_MOST at most. They may reach past the end of the
 * memory, which does nothing. */
static inline void strait_prefetch_slots(const char *slot, size_t bytes, bool write)
{
    size_t most = strait_min(bytes, STRAIT_PREFETCH_MOST);
    for (size_t i = 0; i < most; i += STRAIT_PREFETCH_LINE) {
        if (write) {
            strait_prefetch_write(slot + i);
        } else {
            strait_prefetch_read(slot + i);
        }
    }
}

/* ---- distance ---- */

struct strait_distance { /* one for each side */
    uint32_t enough;     /* set once: slots with which a side goes on at once */
    uint32_t pauses;     /* how long the next wait is */
    uint32_t skip;       /* chances to wait yet to be passed by */
    uint32_t skipped;    /* how many it passed by after the last wait that brought nothing */
    uint32_t in_flow;    /* was the last wait worth it? */
    uint32_t a_slot;     /* set once: what a slot may take in a wait, eighths of a pause (3 ns) */
};

/* `enough` is at most this, and a part of the capacity: the other side must not find its end. Of
 * small messages it is a quarter: with an eighth, rings of 128 to 512 are up to 1.28 times as slow.
 * Of others it is an eighth: with a quarter, 256 bytes to 4 KiB in place are 1.06 to 1.13 times as
 * slow. */
#define STRAIT_DISTANCE_ENOUGH 128u
#define STRAIT_DISTANCE_LOOKS 3
#define STRAIT_DISTANCE_PAUSES 8u
#define STRAIT_DISTANCE_PAUSES_MAX 64u
#define STRAIT_DISTANCE_SKIPPED_MAX 511u
/* What `a_slot` begins with, for one sender and for senders that have to claim their slots; each 4
 * bytes of a message add one, some 50 ns a line, which is what a line takes between cores that
 * share no cache. Claims get 50 ns for 8 bytes: a claim is a locked instruction, which waits for
 * the stores before it, and a receiver that is right behind makes each of them miss. With 16 or 19
 * ns a message costs its sender 63 ns instead of 15 (Intel's Granite Rapids); in return, it would
 * be 0.4 us old at half the load instead of 2.6. */
#define STRAIT_DISTANCE_A_SLOT_ALONE 1u
#define STRAIT_DISTANCE_A_SLOT_CLAIMED 14u

static inline void strait_distance_init(struct strait_distance *distance,
                                        const struct strait_shape *shape, uint32_t a_slot)
{
    size_t part = shape->message_size <= STRAIT_PREFETCH_LINE ? 4 : 8;
    distance->enough = (uint32_t)strait_min(shape->capacity / part, STRAIT_DISTANCE_ENOUGH);
    distance->pauses = STRAIT_DISTANCE_PAUSES;
    distance->skip = 0;
    distance->skipped = 0;
    distance->in_flow = 0;
    distance->a_slot = a_slot + (uint32_t)((shape->message_size + 3) / 4);
}

static inline bool strait_distance_fits(const struct strait_distance *distance,
                                        const struct strait_shape *shape, uint32_t a_slot)
{
    struct strait_distance right;
    strait_distance_init(&right, shape, a_slot);
    return distance->enough == right.enough && distance->a_slot == right.a_slot;
}

/* What the look after a wait found: slots that had not been there before. Is another worth it? */
static inline bool strait_distance_learn(struct strait_distance *distance, size_t gain)
{
    distance->in_flow = gain * distance->a_slot >= 8 * (size_t)distance->pauses;
    if (!distance->in_flow) {
        distance->pauses = STRAIT_DISTANCE_PAUSES;
        distance->skipped =
            (uint32_t)strait_min(2 * (size_t)distance->skipped + 1, STRAIT_DISTANCE_SKIPPED_MAX);
        distance->skip = distance->skipped;
        return false;
    }
    if (2 * gain < distance->enough && distance->pauses < STRAIT_DISTANCE_PAUSES_MAX) {
        distance->pauses *= 2;
    } else if (gain > distance->enough && distance->pauses > 1) {
        distance->pauses /= 2;
    }
    distance->skipped = 0;
    return true;
}

/* Where `look` has found a few slots, waits for more, or passes the chance by; and learns from what
 * a wait has brought. */
static __attribute__((noinline, unused)) void
strait_distance_linger(struct strait_distance *distance, size_t few, size_t (*look)(void *ring),
                       void *ring)
{
    bool worth = few > 0 && few < distance->enough;
    if (worth && distance->skip > 0) {
        distance->skip--;
        return;
    }
    for (int i = 0; worth && i < STRAIT_DISTANCE_LOOKS && few < distance->enough; i++) {
        size_t before = few;
        uint32_t most = (uint32_t)strait_min(distance->pauses, STRAIT_DISTANCE_PAUSES_MAX);
        strait_pause_for(most);
        few = look(ring);
        worth = strait_distance_learn(distance, few - before);
    }
}

/* For a side that knows of no slot: where the last wait was worth it, the next one comes before the
 * look. Then the look finds enough and does not come to the end, whose line the other side is just
 * writing. Did it wait? If so, strait_distance_adjust follows the look. */
static inline bool strait_distance_linger_ahead(const struct strait_distance *distance)
{
    if (distance->in_flow) {
        strait_pause_for((uint32_t)strait_min(distance->pauses, STRAIT_DISTANCE_PAUSES_MAX));
    }
    return distance->in_flow;
}

/* Learns from that look, so that few come to the end: the next wait is half as long again where
 * there were too few slots, and by an eighth shorter where there were enough. Where it shrinks by
 * less, streams are a little faster, and messages older. */
static inline void strait_distance_adjust(struct strait_distance *distance, size_t gain)
{
    uint32_t pauses = (uint32_t)strait_min(distance->pauses, STRAIT_DISTANCE_PAUSES_MAX);
    if (gain >= distance->enough) {
        distance->pauses = pauses > 1 ? pauses - (pauses + 7) / 8 : 1;
    } else if (strait_distance_learn(distance, gain)) {
        distance->pauses =
            (uint32_t)strait_min(pauses + pauses / 2 + 1, STRAIT_DISTANCE_PAUSES_MAX);
    }
}

STRAIT_C_END

#endif /* STRAIT_RINGS_LINES_H */
