// SPDX-License-Identifier: MIT
// Boost.Lockfree: the wait-free ring of one sender and one receiver, and the queue of any.
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

template <size_t Words> class Ring : public Peer
{
  public:
    using Item = Message<Words>;

    Ring(size_t capacity, uint32_t) : ring_(capacity)
    {
    }

    BENCH_PEER_INLINE size_t try_send(const Item *messages, size_t n)
    {
        return n == 1 ? ring_.push(*messages) : ring_.push(messages, n);
    }

    BENCH_PEER_INLINE size_t try_receive(Item *messages, size_t n)
    {
        return n == 1 ? ring_.pop(*messages) : ring_.pop(messages, n);
    }

  private:
    using Allocator = boost::lockfree::allocator<LineAllocator<Item>>;
    alignas(STRAIT_LINE) boost::lockfree::spsc_queue<Item, Allocator> ring_;
};

BENCH_PEER_LOOPS(ring, Ring, Ring)
BENCH_PEER_PAYLOAD_LOOPS(ring, Ring, Ring)

// Its nodes have 16-bit numbers; one is a dummy, one number says none.
constexpr size_t kNodesMax = 65534;

template <size_t Words> class Queue : public Peer
{
  public:
    using Item = Message<Words>;

    Queue(size_t capacity, uint32_t) : queue_(capacity)
    {
    }

    BENCH_PEER_INLINE size_t try_send(const Item *message, size_t)
    {
        return queue_.push(*message);
    }

    BENCH_PEER_INLINE size_t try_receive(Item *message, size_t)
    {
        return queue_.pop(*message);
    }

  private:
    using Allocator = boost::lockfree::allocator<LineAllocator<Item>>;
    using Fixed = boost::lockfree::fixed_sized<true>;
    alignas(STRAIT_LINE) boost::lockfree::queue<Item, Fixed, Allocator> queue_;
};

BENCH_PEER_LOOPS_SINGLE(queue, Queue, Queue)

void *create_queue(const bench_ring *self, size_t bytes, size_t capacity, uint32_t senders)
{
    return capacity < kNodesMax ? create_peer<Queue>(self, bytes, capacity, senders) : nullptr;
}

const bench_ring boost_ring = {"boost.spsc_queue",    "promises as much",
                               BENCH_ONE_SENDER,      nullptr,
                               create_peer<Ring>,     destroy_peer,
                               open_peer_sender,      open_peer_receiver,
                               BENCH_ALL_LOOPS(ring), nullptr};

const bench_ring boost_queue = {"boost.queue",
                                "no batches; a capacity of 65533 at most",
                                BENCH_ANY_SENDERS,
                                nullptr,
                                create_queue,
                                destroy_peer,
                                open_peer_sender,
                                open_peer_receiver,
                                BENCH_MAIN_LOOPS(queue),
                                nullptr};

} // namespace

void add_boost(std::vector<const bench_ring *> &rings)
{
    rings.insert(rings.end(), {&boost_ring, &boost_queue});
}

} // namespace bench
