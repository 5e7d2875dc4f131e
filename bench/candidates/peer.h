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
        void *memory = nullptr;
        if (posix_memalign(&memory, STRAIT_LINE, n * sizeof(T)) != 0) {
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
    switch (bytes) {
    case 8:
        return make_peer<Queue<1>>(capacity, senders);
    case 64:
        return make_peer<Queue<8>>(capacity, senders);
    case 256:
        return make_peer<Queue<32>>(capacity, senders);
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

// NAME_8, NAME_64 and NAME_256, of ends that are templates of the words in a message.
#define BENCH_PEER_LOOPS(NAME, SENDER, RECEIVER)                                                   \
    BENCH_LOOPS(NAME##_8, peer_try_send<SENDER<1>>, peer_try_receive<RECEIVER<1>>, 1)              \
    BENCH_LOOPS(NAME##_64, peer_try_send<SENDER<8>>, peer_try_receive<RECEIVER<8>>, 8)             \
    BENCH_LOOPS(NAME##_256, peer_try_send<SENDER<32>>, peer_try_receive<RECEIVER<32>>, 32)

// The same for a queue that has no batches.
#define BENCH_PEER_LOOPS_SINGLE(NAME, SENDER, RECEIVER)                                            \
    BENCH_LOOPS_SINGLE(NAME##_8, peer_try_send<SENDER<1>>, peer_try_receive<RECEIVER<1>>, 1)       \
    BENCH_LOOPS_SINGLE(NAME##_64, peer_try_send<SENDER<8>>, peer_try_receive<RECEIVER<8>>, 8)      \
    BENCH_LOOPS_SINGLE(NAME##_256, peer_try_send<SENDER<32>>, peer_try_receive<RECEIVER<32>>, 32)

#endif // BENCH_PEER_H
