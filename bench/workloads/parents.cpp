// SPDX-License-Identifier: MIT
// Parents: 1, 4 or 16 threads submit tasks that do nothing to two workers, each keeps 256 of them
// outstanding. And one thread alone, beside parents that are attached and submit nothing, or that
// have been and are gone.
#include <algorithm>

#include "candidates/table.h"
#include "workloads/both.h"
#include "workloads/crew.h"
#include "workloads/steady.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr double kSampleMs = 20;
constexpr double kWarmUpMs = 4;
constexpr uint64_t kOutstanding = 256;

const size_t submitting[] = {1, 4, 16};
const Workload active = real_work("tasks that do nothing, two workers, so many threads submitting",
                                  1, "ns per task", {"1", "4", "16"});

struct Idle {
    size_t parents;
    bool leave;
};
constexpr size_t kMostIdle = 499;
const Idle idles[] = {{0, false}, {1, false}, {63, false}, {kMostIdle, false}, {kMostIdle, true}};
const Workload beside =
    real_work("tasks that do nothing, two workers, one parent beside others", 1, "ns per task",
              {"none", "1 idle", "63 idle", "499 idle", "499 that left"});

// Threads, each with a parent of its own.
class Parents
{
  public:
    Parents(Team &team, const std::vector<int> &cpus, size_t n)
        : parents_(n), outcomes_(n), crew_(n, cpus)
    {
        each([&](size_t i) { parents_[i] = std::make_unique<Steady>(team, no_ops, kOutstanding); });
    }

    ~Parents()
    {
        each([&](size_t i) { parents_[i].reset(); });
    }

    Outcome run(double ms)
    {
        each([&](size_t i) { outcomes_[i] = parents_[i]->run(ms); });
        Outcome all;
        for (const Outcome &outcome : outcomes_) {
            all.items += outcome.items;
            all.seconds = std::max(all.seconds, outcome.seconds);
            all.error = all.error.empty() ? outcome.error : all.error;
        }
        all.typical_ns = all.seconds * 1e9 / static_cast<double>(all.items);
        return all;
    }

  private:
    void each(const Crew::Job &job)
    {
        crew_.start(job);
        crew_.finish();
    }

    std::vector<std::unique_ptr<Steady>> parents_;
    std::vector<Outcome> outcomes_;
    Crew crew_;
};

void parents(benchmark::State &state, Harness &harness, const TeamMaker &maker, size_t column)
{
    const std::vector<int> cpus = {harness.settings.cpu_a, harness.settings.cpu_b};
    sample_team(state, harness, active, maker, column, [&](Team &team, bool warm_up) {
        Parents all(team, cpus, submitting[column]);
        all.run(kWarmUpMs);
        return all.run(warm_up ? kWarmUpMs : kSampleMs);
    });
}

void idle(benchmark::State &state, Harness &harness, const TeamMaker &maker, size_t column)
{
    const Idle &others = idles[column];
    sample_team(state, harness, beside, maker, column, [&](Team &team, bool warm_up) {
        Steady parent(team, no_ops, kOutstanding);
        Outcome outcome;
        if (!team.set_idle_parents(others.parents)) {
            outcome.error = "too many parents";
            return outcome;
        }
        if (others.leave) {
            team.set_idle_parents(0);
        }
        parent.run(kWarmUpMs);
        return parent.run(warm_up ? kWarmUpMs : kSampleMs);
    });
}

} // namespace

void add_parents(Harness &harness)
{
    harness.results.declare(active);
    harness.results.declare(beside);
    for (const TeamMaker &maker : teams()) {
        for (size_t column = 0; column < std::size(submitting); column++) {
            add_team_benchmark(harness, "parents", maker, "submitting", submitting[column],
                               [&harness, maker, column](benchmark::State &state) {
                                   parents(state, harness, maker, column);
                               });
        }
        for (size_t column = 0; maker.has_idle && column < std::size(idles); column++) {
            const Idle &others = idles[column];
            add_team_benchmark(harness, "parents", maker, others.leave ? "left" : "idle",
                               others.parents, [&harness, maker, column](benchmark::State &state) {
                                   idle(state, harness, maker, column);
                               });
        }
    }
}

} // namespace bench
