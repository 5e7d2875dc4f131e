/* SPDX-License-Identifier: MIT */
/*
 * Queues as papers have them, written anew for this benchmark, one message at a time:
 *
 *   lamport   Lamport 1983, each side with a copy of the other's index
 *   mc        MCRingBuffer, Lee, Bu, Chandranmenon 2010: that, and both indices published in
 * batches ff        FastForward, Giacomoni, Moseley, Vachharajani 2008: a slot that is 0 is empty
 *   bq        B-Queue, Wang, Zhang, Tang, Hua 2012: that, and room and messages sought in batches
 *   ticket    a ticket for each slot, any number of senders and receivers, after Vyukov 2010
 */
#include <stdlib.h>

#include "candidates/loops.h"

/* Of MCRingBuffer and B-Queue. */
#define PUBLISH 32u

struct queue {
    /* line 0: set once */
    STRAIT_LINE_ALIGNED uint32_t mask;
    uint32_t capacity;
    uint32_t batch; /* at most a quarter of the capacity */
    /* line 1: sender writes, receiver reads */
    STRAIT_LINE_ALIGNED uintptr_t tail;
    /* line 2: receiver writes, sender reads */
    STRAIT_LINE_ALIGNED uintptr_t head;
    /* line 3: sender's own */
    STRAIT_LINE_ALIGNED uint32_t next;
    uint32_t end; /* of what it knows to be free */
    uint32_t published;
    /* line 4: receiver's own */
    STRAIT_LINE_ALIGNED uint32_t first;
    uint32_t known;
    uint32_t released;
};

/* A slot and its ticket, where they are one. */
#define SLOT(QUEUE, INDEX, BYTES) ((char *)((QUEUE) + 1) + ((INDEX) & (QUEUE)->mask) * (BYTES))

static void *create_slots(size_t capacity, size_t slot)
{
    size_t slots = strait_slots(capacity);
    struct queue *queue;
    void *memory = NULL;
    if (posix_memalign(&memory, STRAIT_LINE, sizeof(struct queue) + slots * slot) != 0) {
        return NULL;
    }
    memset(memory, 0, sizeof(struct queue) + slots * slot);
    queue = memory;
    queue->mask = (uint32_t)slots - 1;
    queue->capacity = (uint32_t)capacity;
    queue->batch = capacity < 4 ? 1 : (uint32_t)strait_min(PUBLISH, capacity / 4);
    queue->end = queue->capacity;
    return queue;
}

static void *create(const struct bench_ring *self, size_t bytes, size_t capacity, uint32_t senders)
{
    (void)self;
    (void)senders;
    return create_slots(capacity, bytes);
}

static void destroy(const struct bench_ring *self, void *queue)
{
    (void)self;
    free(queue);
}

/* ---- Lamport's, and MCRingBuffer: published every `batch` messages, and when the other side
 * would wait: here, when the sender finds no room or the receiver no message ---- */

BENCH_INLINE void publish(uintptr_t *index, uint32_t *published, uint32_t now)
{
    *published = now;
    /* reference.publish: pairs with reference.look; the messages, or the room, below the index */
    strait_word_store_release(index, now);
}

BENCH_INLINE size_t indexed_send(void *end, const void *message, size_t bytes, bool batched)
{
    struct queue *queue = end;
    if (queue->next == queue->end) {
        /* reference.look: pairs with reference.publish; the room below head */
        queue->end = (uint32_t)strait_word_load_acquire(&queue->head) + queue->capacity;
        if (queue->next == queue->end) {
            if (batched && queue->published != queue->next) {
                publish(&queue->tail, &queue->published, queue->next);
            }
            return 0;
        }
    }
    memcpy(SLOT(queue, queue->next, bytes), message, bytes);
    queue->next++;
    if (!batched || queue->next - queue->published >= queue->batch) {
        publish(&queue->tail, &queue->published, queue->next);
    }
    return 1;
}

BENCH_INLINE size_t indexed_receive(void *end, void *message, size_t bytes, bool batched)
{
    struct queue *queue = end;
    if (queue->first == queue->known) {
        /* reference.look: pairs with reference.publish; the messages below tail */
        queue->known = (uint32_t)strait_word_load_acquire(&queue->tail);
        if (queue->first == queue->known) {
            if (batched && queue->released != queue->first) {
                publish(&queue->head, &queue->released, queue->first);
            }
            return 0;
        }
    }
    memcpy(message, SLOT(queue, queue->first, bytes), bytes);
    queue->first++;
    if (!batched || queue->first - queue->released >= queue->batch) {
        publish(&queue->head, &queue->released, queue->first);
    }
    return 1;
}

/* ---- FastForward and B-Queue: messages are words, and the slot says whether it is full ---- */

/* No message is this number, so that none is stored as 0. */
#define NEVER ((uint64_t)1 << 63)

BENCH_INLINE uintptr_t look(struct queue *queue, uint32_t index)
{
    /* reference.slot: pairs with reference.fill; the word is the message, or that it was read */
    return strait_word_load_acquire((uintptr_t *)(void *)SLOT(queue, index, sizeof(uintptr_t)));
}

BENCH_INLINE void fill(struct queue *queue, uint32_t index, uintptr_t word)
{
    /* reference.fill: pairs with reference.slot; the word is the message, or that it was read */
    strait_word_store_release((uintptr_t *)(void *)SLOT(queue, index, sizeof(word)), word);
}

BENCH_INLINE size_t flagged_send(void *end, const void *message, size_t bytes, bool batched)
{
    struct queue *queue = end;
    uint64_t word;
    if (batched && queue->next == queue->published) { /* `published`: where the room ends */
        uint32_t last = queue->next + queue->batch;
        if (look(queue, last - 1) != 0) {
            return 0;
        }
        queue->published = last;
    } else if (!batched && look(queue, queue->next) != 0) {
        return 0;
    }
    memcpy(&word, message, bytes);
    fill(queue, queue->next++, (uintptr_t)(word ^ NEVER));
    return 1;
}

BENCH_INLINE size_t flagged_receive(void *end, void *message, size_t bytes, bool batched)
{
    struct queue *queue = end;
    uint64_t word;
    if (batched && queue->first == queue->known) {
        uint32_t n = queue->batch; /* backtracks: a full batch, half of it, ... */
        while (n > 0 && look(queue, queue->first + n - 1) == 0) {
            n /= 2;
        }
        if (n == 0) {
            return 0;
        }
        queue->known = queue->first + n;
    }
    word = look(queue, queue->first);
    if (word == 0) {
        return 0;
    }
    word ^= NEVER;
    memcpy(message, &word, bytes);
    fill(queue, queue->first++, 0);
    return 1;
}

/* ---- a ticket for each slot: index: free for that message; index + 1: it is there ---- */

#define TICKET(SLOT) ((uintptr_t *)(void *)(SLOT))

static void *create_tickets(const struct bench_ring *self, size_t bytes, size_t capacity,
                            uint32_t senders)
{
    size_t slot = bytes + sizeof(uintptr_t);
    /* of one slot, "full" and "free a lap later" are the same number */
    bool possible = capacity > 1 && capacity == strait_slots(capacity);
    struct queue *queue = possible ? create_slots(capacity, slot) : NULL;
    (void)self;
    (void)senders;
    for (uint32_t i = 0; queue && i < capacity; i++) {
        *TICKET(SLOT(queue, i, slot)) = i;
    }
    return queue;
}

BENCH_INLINE size_t ticket_send(void *end, const void *message, size_t bytes)
{
    struct queue *queue = end;
    uintptr_t tail = strait_word_load_relaxed(&queue->tail);
    for (;;) {
        char *slot = SLOT(queue, tail, bytes + sizeof(uintptr_t));
        /* reference.room: pairs with reference.taken; the receiver is done with the slot */
        uintptr_t ticket = strait_word_load_acquire(TICKET(slot));
        if (ticket == tail) {
            if (strait_word_cas_relaxed(&queue->tail, &tail, tail + 1)) {
                memcpy(slot + sizeof(uintptr_t), message, bytes);
                /* reference.there: pairs with reference.found; the message */
                strait_word_store_release(TICKET(slot), tail + 1);
                return 1;
            }
        } else if (ticket - tail > UINTPTR_MAX / 2) {
            return 0;
        } else {
            tail = strait_word_load_relaxed(&queue->tail);
        }
    }
}

BENCH_INLINE size_t ticket_receive(void *end, void *message, size_t bytes)
{
    struct queue *queue = end;
    uintptr_t head = strait_word_load_relaxed(&queue->head);
    for (;;) {
        char *slot = SLOT(queue, head, bytes + sizeof(uintptr_t));
        /* reference.found: pairs with reference.there; the message */
        uintptr_t ticket = strait_word_load_acquire(TICKET(slot));
        if (ticket == head + 1) {
            if (strait_word_cas_relaxed(&queue->head, &head, head + 1)) {
                memcpy(message, slot + sizeof(uintptr_t), bytes);
                /* reference.taken: pairs with reference.room; the slot is free, a lap later */
                strait_word_store_release(TICKET(slot), head + queue->mask + 1);
                return 1;
            }
        } else if (ticket - (head + 1) > UINTPTR_MAX / 2) {
            return 0;
        } else {
            head = strait_word_load_relaxed(&queue->head);
        }
    }
}

/* ---- the candidates ---- */

#define OPERATIONS(NAME, BYTES, LOOPS, SEND, RECEIVE)                                              \
    BENCH_INLINE size_t NAME##_try_send_##BYTES(void *end, const void *message, size_t n)          \
    {                                                                                              \
        (void)n;                                                                                   \
        return SEND;                                                                               \
    }                                                                                              \
    BENCH_INLINE size_t NAME##_try_receive_##BYTES(void *end, void *message, size_t n)             \
    {                                                                                              \
        (void)n;                                                                                   \
        return RECEIVE;                                                                            \
    }                                                                                              \
    LOOPS(NAME##_##BYTES, NAME##_try_send_##BYTES, NAME##_try_receive_##BYTES, (BYTES) / 8)

#define LAMPORT(BYTES, LOOPS)                                                                      \
    OPERATIONS(lamport, BYTES, LOOPS, indexed_send(end, message, BYTES, false),                    \
               indexed_receive(end, message, BYTES, false))
/* What it has not published stays where it is until more comes: nobody would answer it. */
#define STREAM(BYTES, NAME)                                                                        \
    BENCH_INLINE size_t NAME##_try_send_##BYTES(void *end, const void *message, size_t n)          \
    {                                                                                              \
        (void)n;                                                                                   \
        return indexed_send(end, message, BYTES, true);                                            \
    }                                                                                              \
    BENCH_INLINE size_t NAME##_try_receive_##BYTES(void *end, void *message, size_t n)             \
    {                                                                                              \
        (void)n;                                                                                   \
        return indexed_receive(end, message, BYTES, true);                                         \
    }                                                                                              \
    BENCH_STREAM_LOOPS(NAME##_##BYTES, NAME##_try_send_##BYTES, NAME##_try_receive_##BYTES,        \
                       (BYTES) / 8, single, 1)                                                     \
    static const struct bench_loops NAME##_##BYTES = {.send_single = NAME##_##BYTES##_send_single, \
                                                      .receive_single =                            \
                                                          NAME##_##BYTES##_receive_single};
#define FLAGGED(NAME, BATCHED)                                                                     \
    OPERATIONS(NAME, 8, BENCH_LOOPS_SINGLE, flagged_send(end, message, 8, BATCHED),                \
               flagged_receive(end, message, 8, BATCHED))
#define TICKETS(BYTES, LOOPS)                                                                      \
    OPERATIONS(ticket, BYTES, LOOPS, ticket_send(end, message, BYTES),                             \
               ticket_receive(end, message, BYTES))

BENCH_MAIN_SIZES(LAMPORT, BENCH_LOOPS_SINGLE)
BENCH_PAYLOAD_SIZES(LAMPORT, BENCH_PAYLOAD_LOOPS)
BENCH_MAIN_SIZES(STREAM, mc)
FLAGGED(ff, false)
FLAGGED(bq, true)
BENCH_MAIN_SIZES(TICKETS, BENCH_LOOPS_SINGLE)
BENCH_PAYLOAD_SIZES(TICKETS, BENCH_PAYLOAD_LOOPS)

#define RING(NAME, NOTE, SENDERS, CREATE, LOOPS)                                                   \
    {                                                                                              \
        NAME, NOTE, SENDERS, NULL, CREATE, destroy, NULL, NULL, LOOPS, NULL                        \
    }

static const struct bench_ring references[] = {
    RING("reference.lamport", "promises as much, but for batches", BENCH_ONE_SENDER, create,
         BENCH_ALL_LOOPS(lamport)),
    RING("reference.mc", "a message may wait for 31 more, so that it is for streams; no batches",
         BENCH_ONE_SENDER, create, BENCH_MAIN_LOOPS(mc)),
    RING("reference.fastforward", "words only, of which one is not allowed; no batches",
         BENCH_ONE_SENDER, create, {&ff_8}),
    RING("reference.bqueue",
         "words only, of which one is not allowed; is full with up to 31 slots free; no batches",
         BENCH_ONE_SENDER, create, {&bq_8}),
    RING("reference.ticket", "any number of receivers, too; capacity a power of two; no batches",
         BENCH_ANY_SENDERS, create_tickets, BENCH_ALL_LOOPS(ticket)),
};

const struct bench_ring *bench_reference_at(size_t i)
{
    return i < sizeof(references) / sizeof(references[0]) ? &references[i] : NULL;
}
