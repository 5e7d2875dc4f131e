// SPDX-License-Identifier: MIT
// oneTBB's bounded queue.
#include <tbb/concurrent_queue.h>

#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

template <size_t Words> class Queue : public Peer
{
  public:
    using Item = Message<Words>;

    Queue(size_t capacity, uint32_t)
    {
        queue_.set_capacity(static_cast<std::ptrdiff_t>(capacity));
    }

    BENCH_PEER_INLINE size_t try_send(const Item *message, size_t)
    {
        return queue_.try_push(*message);
    }

    BENCH_PEER_INLINE size_t try_receive(Item *message, size_t)
    {
        message->words[0] = 0; // the compiler does not see that it is written
        return queue_.try_pop(*message);
    }

    BENCH_PEER_INLINE void send(const Item *message, size_t)
    {
        queue_.push(*message);
    }

    BENCH_PEER_INLINE void receive(Item *message, size_t)
    {
        queue_.pop(*message);
    }

  private:
    alignas(STRAIT_LINE) tbb::concurrent_bounded_queue<Item> queue_;
};

BENCH_PEER_LOOPS_SINGLE(loops, Queue, Queue)
BENCH_BLOCKING_LOOPS(blocking, peer_send<Queue<1>>, peer_receive<Queue<1>>)

const bench_ring bounded = {"tbb.bounded",           "no batches; allocates as it goes",
                            BENCH_ANY_SENDERS,       nullptr,
                            create_peer<Queue>,      destroy_peer,
                            open_peer_sender,        open_peer_receiver,
                            BENCH_MAIN_LOOPS(loops), &blocking};

} // namespace

void add_tbb(std::vector<const bench_ring *> &rings)
{
    rings.push_back(&bounded);
}

} // namespace bench
