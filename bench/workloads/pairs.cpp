// SPDX-License-Identifier: MIT
// Pairs: 1, 2, 4 and more pairs of threads at once, each with a queue of its own: does one pair get
// in the way of another? A and B are the first pair. Each thread has a CPU of its own as long as
// there are enough; of two pairs on two CPUs, the senders share one of them and the receivers the
// other. Whoever is stuck yields.
#include <algorithm>
#include <deque>

#include "candidates/table.h"
#include "harness/context.h"
#include "workloads/crew.h"
#include "workloads/gathering.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr double kSampleMs = 25;
constexpr double kWarmUpMs = 3;
constexpr int64_t kCapacity = 1024;

// Those of A and B, and then the others.
std::vector<int> cpus_in_order(const Settings &settings)
{
    std::vector<int> cpus = {settings.cpu_a};
    auto add = [&cpus](int cpu) {
        if (std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) {
            cpus.push_back(cpu);
        }
    };
    add(settings.cpu_b);
    for (int cpu : all_cpus()) {
        add(cpu);
    }
    return cpus;
}

class Pairs
{
  public:
    Pairs(Harness &harness, const bench_ring &ring, size_t pairs)
        : harness_(harness), cpus_(cpus_in_order(harness.settings)), crew_(2 * (pairs - 1), cpus_)
    {
        for (size_t pair = 0; pair < pairs; pair++) {
            pairs_.emplace_back(ring, kCapacity, 1);
        }
        run([](Gathering &pair) { pair.open_sender(0); },
            [](Gathering &pair) { pair.open_receiver(); });
    }

    bool usable() const
    {
        return std::all_of(pairs_.begin(), pairs_.end(),
                           [](const Gathering &pair) { return pair.usable(); });
    }

    Outcome run_sample(double ms)
    {
        gate_.close(static_cast<uint32_t>(pairs_.size()));
        auto start = [&](uint64_t now) {
            for (Gathering &pair : pairs_) {
                pair.start(now, ms);
            }
        };
        auto send = [&](Gathering &pair) {
            gate_.come(start);
            pair.send(0);
        };
        auto receive = [&](Gathering &pair) {
            gate_.pass();
            pair.receive();
        };
        run(send, receive);
        return summarize();
    }

  private:
    using Job = std::function<void(Gathering &pair)>;

    // Two members of the crew are a pair.
    void run(const Job &send, const Job &receive)
    {
        Crew::Job others = [&](size_t member) {
            size_t thread = member + 2;
            pin({cpus_[thread % cpus_.size()]});
            (thread % 2 == 0 ? send : receive)(pairs_[thread / 2]);
        };
        harness_.pair.run(
            [&] {
                crew_.start(others);
                send(pairs_[0]);
                crew_.finish();
            },
            [&] { receive(pairs_[0]); });
    }

    // Of all together; the aside: of the slowest pair.
    Outcome summarize() const
    {
        Outcome all;
        double slowest = 0;
        for (const Gathering &pair : pairs_) {
            Outcome one = pair.summarize();
            double rate = static_cast<double>(one.items) / one.seconds / 1e6;
            slowest = &pair == &pairs_[0] ? rate : std::min(slowest, rate);
            all.items += one.items;
            all.seconds = std::max(all.seconds, one.seconds);
            all.longest_gap_ns = std::max(all.longest_gap_ns, one.longest_gap_ns);
            all.error = all.error.empty() ? one.error : all.error;
        }
        all.typical_ns = all.seconds * 1e9 / static_cast<double>(all.items);
        all.figure = static_cast<double>(all.items) / all.seconds / 1e6;
        all.aside = slowest;
        all.counters["slowest_pair_per_s"] = slowest * 1e6;
        return all;
    }

    Harness &harness_;
    const std::vector<int> cpus_;
    std::deque<Gathering> pairs_; // does not move what it holds
    Gate gate_;
    Crew crew_;
};

// 1, 2, and as many powers of two as there are CPUs for.
std::vector<size_t> counts()
{
    std::vector<size_t> counts = {1, 2};
    while (2 * counts.back() <= all_cpus().size() / 2) {
        counts.push_back(2 * counts.back());
    }
    return counts;
}

Workload make_workload()
{
    Workload workload{"pairs of threads, each with a channel of its own, 8 B, capacity 1024",
                      1,
                      "million messages per second, all pairs together",
                      {},
                      "million messages per second of the slowest pair"};
    for (size_t pairs : counts()) {
        workload.columns.push_back(std::to_string(pairs) + (pairs == 1 ? " pair" : " pairs"));
    }
    workload.oversubscribed = true;
    workload.more = true;
    return workload;
}

void pairs(benchmark::State &state, Harness &harness, const Workload &workload,
           const bench_ring &ring, size_t column)
{
    Pairs run(harness, ring, counts()[column]);
    if (!run.usable()) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, workload, ring.name, column,
           [&](bool warm_up) { return run.run_sample(warm_up ? kWarmUpMs : kSampleMs); });
}

// A peer for several senders has nothing to gain here.
bool is_measured(const bench_ring &ring)
{
    const bench_loops *loops = ring.loops[BENCH_8];
    return loops && loops->fan_in_send &&
           (ring.senders == BENCH_ONE_SENDER || kind_of(ring.name) == Kind::strait);
}

} // namespace

void add_pairs(Harness &harness)
{
    static const Workload workload = make_workload();
    harness.results.declare(workload);
    for (const bench_ring *ring : rings()) {
        for (size_t column = 0; column < workload.columns.size() && is_measured(*ring); column++) {
            add_benchmark(harness, std::string("pairs/") + ring->name, {"pairs", "capacity"},
                          {static_cast<int64_t>(counts()[column]), kCapacity},
                          [&harness, ring, column](benchmark::State &state) {
                              pairs(state, harness, workload, *ring, column);
                          });
        }
    }
}

} // namespace bench
