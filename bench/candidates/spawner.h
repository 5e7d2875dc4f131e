// SPDX-License-Identifier: MIT
// spawner: what has to be offered to be a candidate for starting threads.
#ifndef BENCH_SPAWNER_H
#define BENCH_SPAWNER_H

#include <functional>
#include <memory>
#include <string>

namespace bench
{

// One thread at a time, which has nothing to do and ends as soon as it runs.
class Spawner
{
  public:
    virtual ~Spawner() = default;
    virtual bool spawn() = 0; // returns when the thread runs; false: an error
    virtual bool end() = 0;   // when it has ended and nothing of it is left; false: an error
};

struct SpawnerMaker {
    std::string name;
    std::function<std::unique_ptr<Spawner>(int cpu)> make; // cpu: for those that are pinned
};

} // namespace bench

#endif // BENCH_SPAWNER_H
