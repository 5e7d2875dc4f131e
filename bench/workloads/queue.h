// SPDX-License-Identifier: MIT
// queue: a ring candidate's queue with both ends opened, each on its own side of the pair.
#ifndef BENCH_QUEUE_H
#define BENCH_QUEUE_H

#include "candidates/ring.h"
#include "harness/pair.h"

namespace bench
{

class Queue
{
  public:
    Queue(const bench_ring &ring, size_t bytes, size_t capacity, uint32_t senders = 1)
        : ring_(ring), queue_(ring.create(&ring, bytes, capacity, senders))
    {
    }

    ~Queue()
    {
        if (queue_) {
            ring_.destroy(&ring_, queue_);
        }
    }

    Queue(const Queue &) = delete;
    Queue &operator=(const Queue &) = delete;

    // Opens one sender on A and the receiver on B; false: not to be had.
    bool open(Pair &pair)
    {
        pair.run([this] { open_sender(); }, [this] { open_receiver(); });
        return sender_ && receiver_;
    }

    // Each on the thread that will use the end. A sender more than the first is the caller's.
    void *another_sender()
    {
        return queue_ && ring_.sender ? ring_.sender(&ring_, queue_) : queue_;
    }

    void open_sender()
    {
        sender_ = another_sender();
    }

    void open_receiver()
    {
        receiver_ = queue_ && ring_.receiver ? ring_.receiver(&ring_, queue_) : queue_;
    }

    // Null: not to be had.
    void *sender() const
    {
        return sender_;
    }

    void *receiver() const
    {
        return receiver_;
    }

  private:
    const bench_ring &ring_;
    void *queue_;
    void *sender_ = nullptr;
    void *receiver_ = nullptr;
};

} // namespace bench

#endif // BENCH_QUEUE_H
