// SPDX-License-Identifier: MIT
// Fan-in: 1 to 16 senders as fast as they can, one receiver, on two CPUs or as many as there are;
// whoever is stuck yields. A is the first sender, B the receiver. A ring's capacity is that of all
// senders, that of lanes each sender's own: so there are rows with as much room in all, and with as
// much for each. In one table a sender is stopped now and then, wherever it is just then, as one is
// that the system preempts or a debugger holds: the longest gap says whom it holds up.
#include <csignal>
#include <ctime>
#include <unistd.h>

#include "candidates/table.h"
#include "harness/context.h"
#include "harness/relax.h"
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

constexpr int64_t kStopAfterNs = 1000000; // of the sender's own time
constexpr int64_t kStopNs = 4000000;

// While it lives, the thread that made it is stopped again and again.
class Stops
{
  public:
    Stops()
    {
        struct sigaction action = {};
        action.sa_handler = [](int) {
            timespec pause = {0, kStopNs};
            nanosleep(&pause, nullptr);
        };
        action.sa_flags = SA_RESTART;
        sigaction(SIGUSR1, &action, nullptr);
        sigevent event = {};
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = SIGUSR1;
        event._sigev_un._tid = gettid();
        if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer_) != 0) {
            throw std::runtime_error("no timer");
        }
        itimerspec when = {{0, kStopAfterNs}, {0, kStopAfterNs}};
        timer_settime(timer_, 0, &when, nullptr);
    }

    ~Stops()
    {
        timer_delete(timer_);
    }

    Stops(const Stops &) = delete;
    Stops &operator=(const Stops &) = delete;

  private:
    timer_t timer_ = {};
};

// Who may run where, and how much room there is.
struct Layout {
    const char *name;
    Workload workload;
    bool free;
    bool each;  // kCapacity is each sender's
    bool stops; // the last sender is stopped now and then
    std::vector<uint32_t> counts;

    std::vector<int> sender_cpus(const Settings &settings) const
    {
        return free ? all_cpus() : std::vector<int>{settings.cpu_a};
    }

    std::vector<int> receiver_cpus(const Settings &settings) const
    {
        return free ? all_cpus() : std::vector<int>{settings.cpu_b};
    }

    // What the ring is made for.
    size_t capacity(const bench_ring &ring, uint32_t senders) const
    {
        bool own = std::string(ring.name).find(".lanes") != std::string::npos;
        size_t all = each ? kCapacity * senders : kCapacity;
        return own ? all / senders : all;
    }
};

const std::vector<uint32_t> kAll = {1, 2, 4, 8, BENCH_SENDERS_MAX};

Workload make_workload(const char *title, const std::vector<uint32_t> &counts = kAll)
{
    Workload workload{title, 1, "ns per message", {}};
    for (uint32_t senders : counts) {
        workload.columns.push_back(std::to_string(senders) +
                                   (senders == 1 ? " sender" : " senders"));
    }
    workload.aside = "longest gap in a sample, us";
    workload.oversubscribed = true;
    return workload;
}

class FanIn
{
  public:
    FanIn(Harness &harness, const Layout &layout, const bench_ring &ring, uint32_t senders)
        : harness_(harness), layout_(layout), senders_(senders),
          gathering_(ring, layout.capacity(ring, senders), senders),
          crew_(senders - 1, layout.sender_cpus(harness.settings))
    {
        run([this](size_t i) { gathering_.open_sender(i); },
            [this] { gathering_.open_receiver(); });
    }

    bool usable() const
    {
        return gathering_.usable();
    }

    Outcome run_sample(double ms)
    {
        gate_.close(senders_);
        auto send = [&](size_t i) {
            gate_.come([&](uint64_t now) { gathering_.start(now, ms); });
            std::unique_ptr<Stops> stops;
            if (layout_.stops && i + 1 == senders_) {
                stops = std::make_unique<Stops>();
            }
            gathering_.send(i);
        };
        auto receive = [&] {
            gate_.pass();
            gathering_.receive();
        };
        run(send, receive);
        return gathering_.summarize();
    }

  private:
    // The first sender is A, the others are the crew's.
    void run(const Crew::Job &send, const Pair::Job &receive)
    {
        const Settings &settings = harness_.settings;
        Crew::Job others = [&](size_t member) { send(member + 1); };
        harness_.pair.run(
            [&] {
                pin(layout_.sender_cpus(settings));
                crew_.start(others);
                send(0);
                crew_.finish();
                pin({settings.cpu_a});
            },
            [&] {
                pin(layout_.receiver_cpus(settings));
                receive();
                pin({settings.cpu_b});
            });
    }

    Harness &harness_;
    const Layout &layout_;
    const uint32_t senders_;
    Gathering gathering_;
    Gate gate_;
    Crew crew_;
};

void fan_in(benchmark::State &state, Harness &harness, const Layout &layout, const bench_ring &ring,
            size_t column)
{
    FanIn run(harness, layout, ring, layout.counts[column]);
    if (!run.usable()) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, layout.workload, ring.name, column,
           [&](bool warm_up) { return run.run_sample(warm_up ? kWarmUpMs : kSampleMs); });
}

void add(Harness &harness, const Layout &layout, const bench_ring &ring)
{
    for (size_t column = 0; column < layout.counts.size() && layout.counts[column] <= ring.senders;
         column++) {
        add_benchmark(harness, std::string("fan_in/") + ring.name + "/" + layout.name,
                      {"senders", "bytes", "capacity"}, {layout.counts[column], 8, kCapacity},
                      [&harness, &layout, &ring, column](benchmark::State &state) {
                          fan_in(state, harness, layout, ring, column);
                      });
    }
}

} // namespace

void add_fan_ins(Harness &harness)
{
    static const Layout layouts[] = {
        {"apart", make_workload("fan-in, senders on one CPU, capacity 1024 in all"), false, false,
         false, kAll},
        {"apart_each", make_workload("fan-in, senders on one CPU, capacity 1024 for each sender"),
         false, true, false, kAll},
        {"free", make_workload("fan-in, all threads on all CPUs, capacity 1024 in all"), true,
         false, false, kAll},
        {"stopped",
         make_workload("fan-in, senders on one CPU, one of them stopped for 4 ms at a time", {4}),
         false,
         false,
         true,
         {4}},
    };
    const std::vector<const bench_ring *> all = rings();
    for (const Layout &layout : layouts) {
        if (layout.free && bench_one_cpu) {
            continue; // it is the same
        }
        harness.results.declare(layout.workload);
        for (const bench_ring *ring : all) {
            if (ring->loops[BENCH_8] && ring->loops[BENCH_8]->fan_in_send) {
                add(harness, layout, *ring);
            }
        }
    }
}

} // namespace bench
