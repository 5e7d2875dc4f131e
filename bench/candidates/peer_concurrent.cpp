// SPDX-License-Identifier: MIT
// moodycamel's queue of many senders and receivers, with a token for each end, and its form whose
// receivers can sleep. Blocks are allocated beforehand here; after that it only tries.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-overflow" // gcc is wrong about its headers
#endif
#include <concurrentqueue/blockingconcurrentqueue.h>
#include <concurrentqueue/concurrentqueue.h>
#include <deque>
#include <mutex>
#include <sched.h>

#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

template <class Queue, class Message> class Sender : public Peer
{
  public:
    using Item = Message;

    // A sender keeps the blocks that it once had. Nothing else is in the queue as yet.
    Sender(Queue &queue, size_t share) : queue_(queue), token_(queue)
    {
        Item message = {};
        for (size_t i = 0; i < share; i++) {
            queue_.enqueue(token_, message);
        }
        for (size_t i = 0; i < share; i++) {
            queue_.try_dequeue(message);
        }
    }

    BENCH_PEER_INLINE size_t try_send(const Item *messages, size_t n)
    {
        if (n == 1) {
            return queue_.try_enqueue(token_, *messages);
        }
        return queue_.try_enqueue_bulk(token_, messages, n) ? n : 0;
    }

    BENCH_PEER_INLINE void send(const Item *messages, size_t n)
    {
        while (try_send(messages, n) == 0) {
            sched_yield();
        }
    }

  private:
    Queue &queue_;
    alignas(STRAIT_LINE) moodycamel::ProducerToken token_;
};

template <class Queue, class Message> class Receiver : public Peer
{
  public:
    using Item = Message;

    explicit Receiver(Queue &queue) : queue_(queue), token_(queue)
    {
    }

    BENCH_PEER_INLINE size_t try_receive(Item *messages, size_t n)
    {
        return n == 1 ? queue_.try_dequeue(token_, *messages)
                      : queue_.try_dequeue_bulk(token_, messages, n);
    }

    BENCH_PEER_INLINE void receive(Item *messages, size_t n)
    {
        if (n == 1) {
            queue_.wait_dequeue(token_, *messages);
            return;
        }
        for (size_t received = 0; received < n;) {
            received += queue_.wait_dequeue_bulk(token_, messages + received, n - received);
        }
    }

  private:
    Queue &queue_;
    alignas(STRAIT_LINE) moodycamel::ConsumerToken token_;
};

// A sender that is out of blocks would starve if another one had them all.
constexpr size_t kShareMin = 64;

template <class Queue, class Message> class Many : public Peer
{
  public:
    using Item = Message;

    Many(size_t capacity, uint32_t senders)
        : share_(std::max(capacity / senders, kShareMin)), queue_(share_ * senders)
    {
    }

    Peer *open_sender() override
    {
        std::lock_guard<std::mutex> lock(opening_);
        return &senders_.emplace_back(queue_, share_);
    }

    Peer *open_receiver() override
    {
        std::lock_guard<std::mutex> lock(opening_);
        return &receivers_.emplace_back(queue_);
    }

  private:
    size_t share_;
    alignas(STRAIT_LINE) Queue queue_;
    std::mutex opening_;
    std::deque<Sender<Queue, Message>> senders_; // neither moves what it holds
    std::deque<Receiver<Queue, Message>> receivers_;
};

template <size_t Words> using ManyQueue = moodycamel::ConcurrentQueue<Message<Words>>;
template <size_t Words> using Concurrent = Many<ManyQueue<Words>, Message<Words>>;
template <size_t Words> using ConcurrentSender = Sender<ManyQueue<Words>, Message<Words>>;
template <size_t Words> using ConcurrentReceiver = Receiver<ManyQueue<Words>, Message<Words>>;

using BlockingQueue = moodycamel::BlockingConcurrentQueue<Message<1>>;
using BlockingConcurrent = Many<BlockingQueue, Message<1>>;
using BlockingSender = Sender<BlockingQueue, Message<1>>;
using BlockingReceiver = Receiver<BlockingQueue, Message<1>>;

BENCH_PEER_LOOPS(concurrent, ConcurrentSender, ConcurrentReceiver)
BENCH_PEER_PAYLOAD_LOOPS(concurrent, ConcurrentSender, ConcurrentReceiver)
BENCH_BLOCKING_LOOPS(concurrent_blocking, peer_send<BlockingSender>, peer_receive<BlockingReceiver>)

const bench_ring variants[] = {
    {"moodycamel.concurrent",
     "unbounded by nature: capacity is divided among the senders, 64 each at least",
     BENCH_ANY_SENDERS, nullptr, create_peer<Concurrent>, destroy_peer, open_peer_sender,
     open_peer_receiver, BENCH_ALL_LOOPS(concurrent), nullptr},
    {"moodycamel.concurrent.blocking",
     "unbounded by nature: its senders cannot sleep, they yield when full",
     BENCH_ANY_SENDERS,
     nullptr,
     create_peer_of_8<BlockingConcurrent>,
     destroy_peer,
     open_peer_sender,
     open_peer_receiver,
     {},
     &concurrent_blocking},
};

} // namespace

void add_concurrent(std::vector<const bench_ring *> &rings)
{
    for (const bench_ring &ring : variants) {
        rings.push_back(&ring);
    }
}

} // namespace bench
