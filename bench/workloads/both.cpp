// SPDX-License-Identifier: MIT
#include "workloads/both.h"

#include <future>

namespace bench
{

Workload real_work(const std::string &title, double unit_ns, const char *unit,
                   const std::vector<std::string> &columns, const char *aside)
{
    Workload workload{title, unit_ns, unit, columns, aside};
    workload.oversubscribed = true;
    workload.anywhere = true;
    return workload;
}

Outcome on_both(Harness &harness, const std::function<Outcome()> &job)
{
    Outcome outcome;
    std::promise<void> done;
    Roaming roaming(harness);
    harness.pair.run(
        [&] {
            outcome = job();
            done.set_value();
        },
        [&] { done.get_future().wait(); });
    return outcome;
}

std::unique_ptr<Team> make_team(const Harness &harness, const TeamMaker &maker, unsigned workers,
                                uint64_t queue)
{
    Roaming roaming(harness);
    TeamShape shape;
    shape.workers = workers;
    shape.cpus = {harness.settings.cpu_a, harness.settings.cpu_b};
    shape.queue = queue;
    return maker.make(shape);
}

void add_team_benchmark(Harness &harness, const std::string &workload, const TeamMaker &maker,
                        const std::string &name, uint64_t value,
                        const std::function<void(benchmark::State &)> &body)
{
    add_benchmark(harness, workload + "/" + maker.name, {name}, {static_cast<int64_t>(value)},
                  body);
}

void sample_team(benchmark::State &state, Harness &harness, const Workload &workload,
                 const TeamMaker &maker, size_t column, const TeamBody &body, uint64_t queue)
{
    std::unique_ptr<Team> team = make_team(harness, maker, kTeamWorkers, queue);
    if (!team) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, workload, maker.name, column,
           [&](bool warm_up) { return on_both(harness, [&] { return body(*team, warm_up); }); });
}

} // namespace bench
