// SPDX-License-Identifier: MIT
// both: what uses both CPUs beside A, as a program's own threads do.
#ifndef BENCH_BOTH_H
#define BENCH_BOTH_H

#include <functional>

#include "candidates/team.h"
#include "harness/harness.h"

namespace bench
{

// A may run on both CPUs while this lives; so may the threads that it starts.
class Roaming
{
  public:
    explicit Roaming(const Harness &harness) : home_(harness.settings.cpu_a)
    {
        pin({home_, harness.settings.cpu_b});
    }

    ~Roaming()
    {
        pin({home_});
    }

    Roaming(const Roaming &) = delete;
    Roaming &operator=(const Roaming &) = delete;

  private:
    const int home_;
};

inline double cpus_of(const Harness &harness)
{
    return harness.settings.cpu_a == harness.settings.cpu_b ? 1 : 2;
}

// Of a workload whose threads are more than the CPUs, and whose samples outlast a placement.
Workload real_work(const std::string &title, double unit_ns, const char *unit,
                   const std::vector<std::string> &columns, const char *aside = nullptr);

// Does the job on A, which roams; B sleeps meanwhile.
Outcome on_both(Harness &harness, const std::function<Outcome()> &job);

// So many workers for both CPUs; null: the candidate does not come like this.
std::unique_ptr<Team> make_team(const Harness &harness, const TeamMaker &maker,
                                unsigned workers = kTeamWorkers, uint64_t queue = 0);

// Registers a benchmark of WORKLOAD/CANDIDATE with one argument.
void add_team_benchmark(Harness &harness, const std::string &workload, const TeamMaker &maker,
                        const std::string &name, uint64_t value,
                        const std::function<void(benchmark::State &)> &body);

// What every workload of real work does: makes the team, takes a sample of what `body` does on A.
using TeamBody = std::function<Outcome(Team &team, bool warm_up)>;
void sample_team(benchmark::State &state, Harness &harness, const Workload &workload,
                 const TeamMaker &maker, size_t column, const TeamBody &body, uint64_t queue = 0);

} // namespace bench

#endif // BENCH_BOTH_H
