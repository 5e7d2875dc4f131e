// SPDX-License-Identifier: MIT
// pair: the two pinned threads that every workload runs on. Between two jobs the second one polls,
// so that its CPU never goes to sleep: a virtual CPU that sleeps comes back somewhere else.
#ifndef BENCH_PAIR_H
#define BENCH_PAIR_H

#include <atomic>
#include <functional>
#include <sched.h>
#include <thread>
#include <vector>

namespace bench
{

// The CPUs that this process was allowed at its start, in order.
const std::vector<int> &allowed_cpus();

// Lets the calling thread run there and nowhere else; false if it may not.
bool pin(const std::vector<int> &cpus);

class Pair
{
  public:
    using Job = std::function<void()>;

    // The calling thread is side A from now on, a new one is side B.
    Pair(int cpu_a, int cpu_b);
    ~Pair();
    Pair(const Pair &) = delete;
    Pair &operator=(const Pair &) = delete;

    // Runs both jobs, B's first, and returns when both have returned.
    void run(const Job &a, const Job &b);

    // How often either side was preempted in a job of the last run.
    long preemptions() const
    {
        return preemptions_a_ + preemptions_b_;
    }

  private:
    void serve(int cpu);

    // written by A to start, by B when it begins and when it is done
    enum State { kIdle, kStart, kRunning, kEnd };
    alignas(128) std::atomic<int> state_{kIdle};
    alignas(128) const Job *job_ = nullptr; // written by A before it starts B
    long preemptions_a_ = 0;
    alignas(128) long preemptions_b_ = 0; // written by B before it is done
    std::thread thread_;
};

} // namespace bench

#endif // BENCH_PAIR_H
