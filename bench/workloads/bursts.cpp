// SPDX-License-Identifier: MIT
// Bursts: A sends some messages in a row, is silent for a while, and again. What is timed is each
// message, from its send until B has it; and how much of a CPU B burns meanwhile is counted. B is
// on its own CPU, or shares A's.
#include <algorithm>
#include <array>
#include <atomic>

#include "candidates/operations.h"
#include "candidates/table.h"
#include "harness/ticks.h"
#include "strait/channel.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr int64_t kGapsUs[] = {1, 3, 10, 30, 100, 300, 1000};
constexpr uint64_t kMessages[] = {1, 8};

// Of a sample, whichever comes first: long enough for a mode that adapts to have done so.
constexpr uint64_t kBursts = 200;
constexpr double kMinMs = 4;
constexpr double kMaxMs = 15;
constexpr double kWarmUp = 0.25;
// More messages than a sample has; their memory is touched once.
constexpr size_t kLimit = 1 << 17;
// No answer by then: a message is lost.
constexpr double kPatienceNs = 2e9;

// One table: a column for each gap.
struct Shape {
    uint64_t messages; // of a burst
    bool one_cpu;
    Workload workload;
};

std::vector<Shape> make_shapes()
{
    std::vector<Shape> shapes;
    for (bool one_cpu : {false, true}) {
        for (uint64_t messages : kMessages) {
            std::string title =
                std::string("gaps between ") +
                (messages == 1 ? "single messages" : "bursts of " + std::to_string(messages)) +
                (one_cpu ? ", both on one CPU" : "");
            Workload workload{title, 1000, "us from send to receive, p50 of a sample", {}};
            for (int64_t gap_us : kGapsUs) {
                workload.columns.push_back(std::to_string(gap_us) + " us");
            }
            workload.aside = "share of a CPU that the receiver takes, %";
            shapes.push_back({messages, one_cpu, workload});
        }
    }
    return shapes;
}

uint64_t cpu_time_ns()
{
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

// One run of numbers from `first` on.
class Bursts
{
  public:
    // B writes `ticks` within its capacity: from send to receive, of each message.
    Bursts(Sleeper &sleeper, const Shape &shape, int64_t gap_us, uint64_t first, double ms,
           std::vector<uint32_t> &ticks)
        : sleeper_(sleeper), shape_(shape), gap_us_(gap_us), first_(first), ms_(ms), next_(first),
          known_seen_(first - 1), seen_(first - 1), ticks_(ticks)
    {
    }

    // A: until the end of the sample; the last number says so.
    void send()
    {
        uint64_t gap = to_ticks(static_cast<double>(gap_us_) * 1e3);
        uint64_t due = bench_ticks();
        uint64_t until = due + to_ticks(ms_ * 1e6);
        while (!failed_.load(std::memory_order_acquire) && due < until) {
            wait([due] { return bench_ticks() >= due; });
            send_burst();
            due = std::max(due + gap, bench_ticks()); // none is made up for
        }
        last_.store(next_, std::memory_order_release);
        send_one();
    }

    // B: until the last number.
    void receive()
    {
        uint64_t start = bench_nanoseconds();
        uint64_t cpu = cpu_time_ns();
        for (uint64_t next = first_; next <= last_.load(std::memory_order_acquire);) {
            uint64_t number = sleeper_.sleep();
            uint64_t now = bench_ticks_of_arrival();
            if (number < next || number >= next + Sleeper::kInFlight) {
                failed_.store(true, std::memory_order_release);
                break;
            }
            for (; next <= number; next++) {
                record(now, next);
            }
            seen_.store(number, std::memory_order_release);
        }
        cpu_share_ = static_cast<double>(cpu_time_ns() - cpu) /
                     static_cast<double>(bench_nanoseconds() - start);
    }

    uint64_t next() const
    {
        return next_;
    }

    Outcome outcome(double seconds) const
    {
        Outcome outcome;
        outcome.seconds = seconds;
        outcome.items = ticks_.size();
        for (uint32_t ticks : ticks_) {
            outcome.latencies.add(static_cast<uint64_t>(to_ns(ticks) + 0.5));
        }
        outcome.counters["cpu_share"] = cpu_share_;
        outcome.aside = cpu_share_ * 100;
        outcome.counters["early"] = static_cast<double>(early_);
        outcome.error = failed_ ? "a message was lost, or came out of order" : "";
        return outcome;
    }

  private:
    // Where B needs this CPU, a wait gives way to it.
    template <class Condition> void wait(Condition condition) const
    {
        while (!condition()) {
            if (shape_.one_cpu) {
                sched_yield();
            } else {
                bench_relax();
            }
        }
    }

    void send_burst()
    {
        for (uint64_t i = 0; i < shape_.messages; i++) {
            send_one();
        }
    }

    // No more than kInFlight that B has not seen; what it has is looked up as rarely as can be.
    void send_one()
    {
        if (next_ - known_seen_ >= Sleeper::kInFlight) {
            uint64_t give_up = bench_ticks() + to_ticks(kPatienceNs);
            wait([this, give_up] {
                known_seen_ = seen_.load(std::memory_order_acquire);
                return next_ - known_seen_ < Sleeper::kInFlight / 2 ||
                       failed_.load(std::memory_order_acquire) || bench_ticks() > give_up;
            });
        }
        sent_at_[next_ % sent_at_.size()].store(bench_ticks(), std::memory_order_relaxed);
        sleeper_.wake(next_);
        next_++;
    }

    void record(uint64_t now, uint64_t number)
    {
        uint64_t sent = sent_at_[number % sent_at_.size()].load(std::memory_order_relaxed);
        early_ += now < sent;
        if (ticks_.size() < ticks_.capacity()) {
            ticks_.push_back(now > sent ? bench_saturate(now - sent) : 0);
        }
    }

    Sleeper &sleeper_;
    const Shape &shape_;
    const int64_t gap_us_;
    const uint64_t first_;
    const double ms_;
    // A writes
    alignas(128) uint64_t next_;
    uint64_t known_seen_;
    alignas(128) std::atomic<uint64_t> last_{UINT64_MAX};
    std::array<std::atomic<uint64_t>, Sleeper::kInFlight> sent_at_ = {}; // by number
    // B writes
    alignas(128) std::atomic<uint64_t> seen_;
    std::atomic<bool> failed_{false};
    std::vector<uint32_t> &ticks_;
    uint64_t early_ = 0; // received before they were sent: the CPUs' clocks disagree
    double cpu_share_ = 0;
};

double sample_ms(int64_t gap_us)
{
    double ms = static_cast<double>(kBursts) * static_cast<double>(gap_us) / 1e3;
    return std::min(std::max(ms, kMinMs), kMaxMs);
}

// B's job, on A's CPU if the shape says so.
Pair::Job placed(const Settings &settings, const Shape &shape, const Pair::Job &job)
{
    return [&settings, &shape, job] {
        pin({shape.one_cpu ? settings.cpu_a : settings.cpu_b});
        job();
        pin({settings.cpu_b});
    };
}

Outcome run_bursts(Harness &harness, Sleeper &sleeper, const Shape &shape, int64_t gap_us,
                   uint64_t &number, double ms)
{
    static std::vector<uint32_t> ticks(kLimit, 1);
    ticks.clear();
    Bursts bursts(sleeper, shape, gap_us, number, ms, ticks);
    uint64_t start = bench_ticks();
    harness.pair.run([&] { bursts.send(); },
                     placed(harness.settings, shape, [&] { bursts.receive(); }));
    number = bursts.next();
    return bursts.outcome(to_ns(bench_ticks() - start) / 1e9);
}

void burst(benchmark::State &state, Harness &harness, const SleeperMaker &maker, const Shape &shape,
           size_t column)
{
    const int64_t gap_us = kGapsUs[column];
    std::unique_ptr<Sleeper> sleeper = maker.make();
    bool sends = false;
    bool receives = false;
    if (sleeper) {
        harness.pair.run(
            [&] { sends = sleeper->open_sender(); },
            placed(harness.settings, shape, [&] { receives = sleeper->open_receiver(); }));
    }
    if (!sends || !receives) {
        state.SkipWithError(kNotCreated);
        return;
    }
    uint64_t number = 1;
    sample(state, harness, shape.workload, maker.name, column, [&](bool warm_up) {
        double ms = sample_ms(gap_us) * (warm_up ? kWarmUp : 1);
        return run_bursts(harness, *sleeper, shape, gap_us, number, ms);
    });
}

// strait's channels all wait alike: one variant's sleepers stand for all.
std::vector<SleeperMaker> different_sleepers()
{
    const std::string ours = "strait.";
    const std::string chosen = ours + strait_variant_at(0)->name + ".";
    std::vector<SleeperMaker> chosen_ones;
    for (const SleeperMaker &maker : sleepers()) {
        if (maker.name.compare(0, ours.size(), ours) != 0 ||
            maker.name.compare(0, chosen.size(), chosen) == 0) {
            chosen_ones.push_back(maker);
        }
    }
    return chosen_ones;
}

} // namespace

void add_bursts(Harness &harness)
{
    static const std::vector<Shape> shapes = make_shapes();
    const std::vector<SleeperMaker> makers = different_sleepers();
    for (const Shape &shape : shapes) {
        if (shape.one_cpu && bench_one_cpu) {
            continue; // all of them are
        }
        harness.results.declare(shape.workload);
        for (const SleeperMaker &maker : makers) {
            for (size_t column = 0; column < std::size(kGapsUs); column++) {
                add_benchmark(harness, "bursts/" + maker.name + (shape.one_cpu ? "/one_cpu" : ""),
                              {"messages", "gap_us"},
                              {static_cast<int64_t>(shape.messages), kGapsUs[column]},
                              [&harness, maker, &shape, column](benchmark::State &state) {
                                  burst(state, harness, maker, shape, column);
                              });
            }
        }
    }
}

} // namespace bench
