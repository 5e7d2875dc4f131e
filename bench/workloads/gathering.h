// SPDX-License-Identifier: MIT
// gathering: one queue, its senders and its receiver, which may be more threads than there are
// CPUs, so that whoever is stuck yields; each message checked.
#ifndef BENCH_GATHERING_H
#define BENCH_GATHERING_H

#include <atomic>
#include <functional>
#include <vector>

#include "harness/harness.h"
#include "workloads/queue.h"

namespace bench
{

// Threads that start together: so many come, whoever comes last opens.
class Gate
{
  public:
    using Open = std::function<void(uint64_t now)>;

    void close(uint32_t threads);

    // The last thread to come calls `open` with the time in ticks. Returns when it has.
    void come(const Open &open);

    // Waits for that.
    void pass() const;

  private:
    alignas(128) std::atomic<uint32_t> missing_{0};
    alignas(128) std::atomic<bool> open_{false};
};

// Messages of 8 bytes, one at a time.
class Gathering
{
  public:
    Gathering(const bench_ring &ring, size_t capacity, uint32_t senders);

    // Each on the thread that will use the end.
    void open_sender(size_t sender)
    {
        ends_[sender] = queue_.another_sender();
    }

    void open_receiver()
    {
        queue_.open_receiver();
    }

    // Are there all ends?
    bool usable() const;

    // A sample from now on, which is in ticks: the senders send until it is over, the receiver
    // receives all that they have sent.
    void start(uint64_t now, double ms);
    void send(size_t sender);
    void receive();
    Outcome summarize() const;

  private:
    std::string check() const;

    const bench_loops &loops_;
    Queue queue_;
    std::vector<void *> ends_; // of the senders
    uint64_t start_ = 0;
    bench_fan_in state_ = {};
};

} // namespace bench

#endif // BENCH_GATHERING_H
