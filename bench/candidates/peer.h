// SPDX-License-Identifier: MIT
// peer: what the queues of others have in common, as C++ templates: a class with try_send and
// try_receive (and send and receive, where it blocks) becomes a struct bench_ring.
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <vector>

#include "candidates/loops.h"

namespace bench
{

template <size_t Words> struct Message {
    uint64_t words[Words];
};

// What the hooks of a struct bench_ring hand out: a queue, or an end of it.
class Peer
{
  public:
    Peer() = default;
    virtual ~Peer() = default;
    Peer(const Peer &) = delete;
    Peer &operator=(const Peer &) = delete;

    // Each on the thread that will use the end; it lives as long as the queue.
    virtual Peer *open_sender()
    {
        return this;
    }
    virtual Peer *open_receiver()
    {
        return this;
    }
};

// Memory that starts on a line and has been touched.
template <class T> struct LineAllocator {
    using value_type = T;

    LineAllocator() = default;
    template <class U> LineAllocator(const LineAllocator<U> &)
    {
    }

    T *allocate(size_t n)
    {
        void *memory = std::aligned_alloc(STRAIT_LINE, strait_round_up(n * sizeof(T), STRAIT_LINE));
        if (!memory) {
            throw std::bad_alloc();
        }
        return static_cast<T *>(std::memset(memory, 0, n * sizeof(T)));
    }

    void deallocate(T *memory, size_t)
    {
        std::free(memory);
    }

    template <class U> bool operator==(const LineAllocator<U> &) const
    {
        return true;
    }
    template <class U> bool operator!=(const LineAllocator<U> &) const
    {
        return false;
    }
};

// Null: cannot be had.
template <class Queue> Peer *make_peer(size_t capacity, uint32_t senders)
{
    try {
        return new Queue(capacity, senders);
    } catch (const std::exception &) {
        return nullptr;
    }
}

// Static: gcc 12 gives instances for templates of an unnamed namespace the same name in all files.
template <template <size_t> class Queue>
static void *create_peer(const bench_ring *, size_t bytes, size_t capacity, uint32_t senders)
{
#define BENCH_PEER_CASE(BYTES, QUEUE)                                                              \
    case BYTES:                                                                                    \
        return make_peer<QUEUE<(BYTES) / 8>>(capacity, senders);
    switch (bytes) {
        BENCH_EACH_SIZE(BENCH_PEER_CASE, Queue)
    default:
        return nullptr;
    }
}

// Of a queue for messages of 8 bytes only.
template <class Queue>
void *create_peer_of_8(const bench_ring *, size_t bytes, size_t capacity, uint32_t senders)
{
    return bytes == 8 ? make_peer<Queue>(capacity, senders) : nullptr;
}

inline void destroy_peer(const bench_ring *, void *queue)
{
    delete static_cast<Peer *>(queue);
}

inline void *open_peer_sender(const bench_ring *, void *queue)
{
    return static_cast<Peer *>(queue)->open_sender();
}

inline void *open_peer_receiver(const bench_ring *, void *queue)
{
    return static_cast<Peer *>(queue)->open_receiver();
}

template <class End> BENCH_INLINE End *peer_end(void *end)
{
    return static_cast<End *>(static_cast<Peer *>(end));
}

template <class End> BENCH_INLINE size_t peer_try_send(void *end, const void *messages, size_t n)
{
    return peer_end<End>(end)->try_send(static_cast<const typename End::Item *>(messages), n);
}

template <class End> BENCH_INLINE size_t peer_try_receive(void *end, void *messages, size_t n)
{
    return peer_end<End>(end)->try_receive(static_cast<typename End::Item *>(messages), n);
}

template <class End> BENCH_INLINE void peer_send(void *end, const void *messages, size_t n)
{
    peer_end<End>(end)->send(static_cast<const typename End::Item *>(messages), n);
}

template <class End> BENCH_INLINE void peer_receive(void *end, void *messages, size_t n)
{
    peer_end<End>(end)->receive(static_cast<typename End::Item *>(messages), n);
}

} // namespace bench

#define BENCH_PEER_INLINE inline __attribute__((always_inline))

#define BENCH_PEER_SIZED(BYTES, LOOPS, NAME, SENDER, RECEIVER)                                     \
    LOOPS(NAME##_##BYTES, peer_try_send<SENDER<(BYTES) / 8>>,                                      \
          peer_try_receive<RECEIVER<(BYTES) / 8>>, (BYTES) / 8)

// NAME_8, NAME_64 and NAME_256, of ends that are templates of the words in a message.
#define BENCH_PEER_LOOPS(NAME, SENDER, RECEIVER)                                                   \
    BENCH_MAIN_SIZES(BENCH_PEER_SIZED, BENCH_LOOPS, NAME, SENDER, RECEIVER)

// The same for a queue that has no batches.
#define BENCH_PEER_LOOPS_SINGLE(NAME, SENDER, RECEIVER)                                            \
    BENCH_MAIN_SIZES(BENCH_PEER_SIZED, BENCH_LOOPS_SINGLE, NAME, SENDER, RECEIVER)

// NAME_128 and so on: the sizes of the payload curve.
#define BENCH_PEER_PAYLOAD_LOOPS(NAME, SENDER, RECEIVER)                                           \
    BENCH_PAYLOAD_SIZES(BENCH_PEER_SIZED, BENCH_PAYLOAD_LOOPS, NAME, SENDER, RECEIVER)

#endif // BENCH_PEER_H
