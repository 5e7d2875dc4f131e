// SPDX-License-Identifier: MIT
// sleeper: what has to be offered to be a candidate for waking up.
#ifndef BENCH_SLEEPER_H
#define BENCH_SLEEPER_H

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace bench
{

// Numbers from 1 on go from A to B, in order, kInFlight of them at most on their way. A candidate
// may leave numbers out where a later one has come.
class Sleeper
{
  public:
    static constexpr uint64_t kInFlight = 512;

    virtual ~Sleeper() = default;
    // Each on the thread that will use it, before anything else; false: cannot be had here.
    virtual bool open_sender()
    {
        return true;
    }
    virtual bool open_receiver()
    {
        return true;
    }
    virtual void wake(uint64_t number) = 0; // A
    virtual uint64_t sleep() = 0;           // B: until there is a number; 0: an error
};

struct SleeperMaker {
    std::string name;
    std::function<std::unique_ptr<Sleeper>()> make; // null: cannot be had here
};

} // namespace bench

#endif // BENCH_SLEEPER_H
