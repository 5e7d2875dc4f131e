// SPDX-License-Identifier: MIT
// runner: what has to be offered to be a candidate for tasks: one worker, pinned to B's CPU.
#ifndef BENCH_RUNNER_H
#define BENCH_RUNNER_H

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/pair.h"

namespace bench
{

// What the tasks of a workload are; each has a number, from 0 on.
struct Job {
    uint64_t (*run)(void *context, uint64_t number);               // on the worker
    void (*done)(void *context, uint64_t number, uint64_t result); // on the thread that submits
    void *context;
};

class Runner
{
  public:
    static constexpr int kPatienceMs = 2000;
    static constexpr uint64_t kLimit = 2048; // tasks that are not done, at most

    // CPU -1: its threads are not pinned here.
    Runner(int cpu, const Job &job, uint64_t limit = kLimit) : cpu_(cpu), job_(job), slots_(limit)
    {
    }

    virtual ~Runner() = default;

    // Has the next task run; false: no room, or an error.
    virtual bool submit(uint64_t number) = 0;

    // The same for n in a row.
    virtual bool submit_many(uint64_t first, uint64_t n)
    {
        for (uint64_t number = first; number < first + n; number++) {
            if (!submit(number)) {
                return false;
            }
        }
        return true;
    }

    // Reports the tasks that are done, if any.
    virtual void poll() = 0;

    // Sleeps until a task is done, then reports all that are; false: none came, or an error.
    virtual bool wait() = 0;

  protected:
    // A task of a pool that takes pointers.
    struct Slot {
        Runner *runner;
        uint64_t number;
        uint64_t result;
    };

    // The one that was given back last. Null: there are as many tasks as may be.
    Slot *take(uint64_t number)
    {
        if (free_.empty()) {
            return nullptr;
        }
        Slot *slot = free_.back();
        free_.pop_back();
        *slot = {this, number, 0};
        return slot;
    }

    size_t index(const Slot *slot) const
    {
        return static_cast<size_t>(slot - slots_.data());
    }

    // On the worker. Pools that start their threads themselves get them pinned by the first task.
    void run(Slot *slot)
    {
        static thread_local int pinned = -1;
        if (pinned != cpu_ && pin({cpu_})) {
            pinned = cpu_;
        }
        slot->result = job_.run(job_.context, slot->number);
    }

    void done(Slot *slot)
    {
        free_.push_back(slot);
        job_.done(job_.context, slot->number, slot->result);
    }

    const int cpu_;
    const Job job_;

  private:
    static std::vector<Slot *> pointers(std::vector<Slot> &slots)
    {
        std::vector<Slot *> all;
        for (Slot &slot : slots) {
            all.push_back(&slot);
        }
        return all;
    }

    std::vector<Slot> slots_;
    std::vector<Slot *> free_ = pointers(slots_);
};

struct RunnerMaker {
    std::string name;
    std::function<std::unique_ptr<Runner>(int cpu, const Job &job)> make; // null: cannot be had
    bool polls;                                                           // how the parent collects
    bool ordered = true;  // one worker starts the tasks in the order of their submission
    bool batches = false; // submits as many as there are at once
};

// With `make(cpu, job)`.
template <class R> std::unique_ptr<Runner> make_runner(int cpu, const Job &job)
{
    try {
        return std::make_unique<R>(cpu, job);
    } catch (const std::exception &) {
        return nullptr;
    }
}

} // namespace bench

#endif // BENCH_RUNNER_H
