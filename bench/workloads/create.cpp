// SPDX-License-Identifier: MIT
// Create: a pool of 64 workers is made and ended; it is there once all of them run, where the call
// does not promise that once 64 tasks have met. And the memory of a worker, of a parent, and of a
// task that waits: anonymous pages that are resident, in a process of its own.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <future>
#include <string>
#include <unistd.h>

#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/both.h"
#include "workloads/create.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr unsigned kWorkers = 64;
constexpr size_t kParents = 64;
constexpr uint64_t kTasks = 65536;

const Workload times = real_work("a pool of 64 workers", 1e6, "ms", {"create", "destroy"});
const Workload memory = real_work("resident memory of a pool", 0, "of one",
                                  {"worker, KiB", "parent, KiB", "task, bytes"});

Outcome create_and_destroy(Harness &harness, const TeamMaker &maker, bool destroy)
{
    Outcome outcome;
    uint64_t start = bench_ticks();
    std::unique_ptr<Team> team = make_team(harness, maker, kWorkers);
    if (!team || !team->assemble()) {
        return outcome;
    }
    uint64_t created = bench_ticks();
    team.reset();
    uint64_t end = bench_ticks();
    outcome.items = 1;
    outcome.seconds = to_ns(destroy ? end - created : created - start) / 1e9;
    outcome.typical_ns = outcome.seconds * 1e9;
    return outcome;
}

void create(benchmark::State &state, Harness &harness, const TeamMaker &maker, bool destroy)
{
    sample(state, harness, times, maker.name, destroy ? 1 : 0, [&](bool) {
        return on_both(harness, [&] { return create_and_destroy(harness, maker, destroy); });
    });
}

double resident_bytes()
{
    std::ifstream rollup("/proc/self/smaps_rollup");
    for (std::string word; rollup >> word;) {
        if (word == "Anonymous:") {
            double kib = 0;
            rollup >> kib;
            return kib * 1024;
        }
    }
    return 0;
}

struct Gate {
    std::shared_future<void> opened;
    uint64_t completed = 0;
};

uint64_t pass(void *context, uint64_t number)
{
    if (number < kTeamWorkers) {
        static_cast<Gate *>(context)->opened.wait();
    }
    return number;
}

void passed(void *context, uint64_t, uint64_t)
{
    static_cast<Gate *>(context)->completed++;
}

double bytes_of_worker(const TeamMaker &maker, const TeamShape &shape)
{
    double before = resident_bytes();
    std::unique_ptr<Team> team = maker.make(shape);
    return team && team->assemble() ? (resident_bytes() - before) / shape.workers : 0;
}

double bytes_of_parent(const TeamMaker &maker, const TeamShape &shape)
{
    std::unique_ptr<Team> team = maker.make(shape);
    if (!team || !team->assemble() || !team->set_idle_parents(1)) {
        return 0;
    }
    double before = resident_bytes();
    return team->set_idle_parents(kParents + 1) ? (resident_bytes() - before) / kParents : 0;
}

// With its share of what the parent allocates beforehand.
double bytes_of_task(const TeamMaker &maker, const TeamShape &shape)
{
    std::unique_ptr<Team> team = maker.make(shape);
    std::promise<void> open;
    Gate gate{open.get_future().share()};
    double before = resident_bytes();
    std::unique_ptr<Runner> parent = team ? team->attach({pass, passed, &gate}) : nullptr;
    uint64_t submitted = 0;
    while (parent && submitted < kTasks && parent->submit(submitted)) {
        submitted++;
    }
    double bytes = (resident_bytes() - before) / static_cast<double>(kTasks);
    open.set_value();
    while (gate.completed < submitted && parent->wait()) {
    }
    return submitted == kTasks ? bytes : 0;
}

// Of column n; 0: there is none.
double footprint(const TeamMaker &maker, size_t column)
{
    TeamShape shape;
    shape.workers = column == 0 ? kWorkers : kTeamWorkers;
    shape.cpus = allowed_cpus();
    shape.queue = column == 2 ? kTasks : shape.queue;
    return column == 0   ? bytes_of_worker(maker, shape) / 1024
           : column == 1 ? bytes_of_parent(maker, shape) / 1024
                         : bytes_of_task(maker, shape);
}

double ask(const std::string &candidate, size_t column)
{
    std::string self(4096, '\0');
    ssize_t length = readlink("/proc/self/exe", &self[0], self.size());
    self.resize(length > 0 ? static_cast<size_t>(length) : 0);
    std::string command =
        "exec '" + self + "' " + kFootprint + " " + candidate + " " + std::to_string(column);
    double answer = 0;
    if (FILE *pipe = popen(command.c_str(), "r")) {
        if (std::fscanf(pipe, "%lf", &answer) != 1) {
            answer = 0;
        }
        pclose(pipe);
    }
    return answer;
}

void measure_memory(benchmark::State &state, Harness &harness, const TeamMaker &maker,
                    size_t column)
{
    sample(state, harness, memory, maker.name, column, [&](bool warm_up) {
        return on_both(harness, [&] {
            Outcome outcome;
            uint64_t start = bench_ticks();
            outcome.figure = warm_up ? 1 : ask(maker.name, column);
            outcome.items = outcome.figure > 0 ? 1 : 0;
            outcome.seconds = to_ns(bench_ticks() - start) / 1e9;
            outcome.counters["resident"] = outcome.figure;
            return outcome;
        });
    });
}

void add_times(Harness &harness, const TeamMaker &maker)
{
    for (bool destroy : {false, true}) {
        add_team_benchmark(harness, "create", maker, "destroy", destroy ? 1 : 0,
                           [&harness, maker, destroy](benchmark::State &state) {
                               create(state, harness, maker, destroy);
                           });
    }
}

void add_memory(Harness &harness, const TeamMaker &maker, size_t column)
{
    add_team_benchmark(harness, "create", maker, "memory", column,
                       [&harness, maker, column](benchmark::State &state) {
                           measure_memory(state, harness, maker, column);
                       });
}

} // namespace

const char kFootprint[] = "--footprint";

int print_footprint(const std::string &candidate, const std::string &column)
{
    for (const TeamMaker &maker : teams()) {
        if (maker.name == candidate) {
            std::printf("%.1f\n", footprint(maker, std::stoul(column)));
            return 0;
        }
    }
    return 2;
}

void add_creates(Harness &harness)
{
    harness.results.declare(times);
    harness.results.declare(memory);
    for (const TeamMaker &maker : teams()) {
        if (maker.parents != TeamMaker::loop) {
            continue;
        }
        if (!maker.lone) {
            add_times(harness, maker);
            add_memory(harness, maker, 0);
        }
        if (maker.has_idle) {
            add_memory(harness, maker, 1);
        }
        add_memory(harness, maker, 2);
    }
}

} // namespace bench
