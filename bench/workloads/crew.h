// SPDX-License-Identifier: MIT
// crew: threads beyond the pair. They sleep between two jobs, out of the way of what measures the
// placement.
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace bench
{

class Crew
{
  public:
    using Job = std::function<void(size_t member)>;

    // So many members, from 0 on, which may run on these CPUs.
    Crew(size_t members, const std::vector<int> &cpus);
    ~Crew();
    Crew(const Crew &) = delete;
    Crew &operator=(const Crew &) = delete;

    // Each member does the job. `job` must live until it is finished.
    void start(const Job &job);
    void finish();

  private:
    void serve(size_t member);

    std::mutex mutex_;
    std::condition_variable changed_;
    const Job *job_ = nullptr; // null: end
    size_t round_ = 0;
    size_t busy_ = 0;
    std::vector<std::thread> threads_;
};

} // namespace bench

#endif // BENCH_CREW_H
