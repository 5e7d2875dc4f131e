// SPDX-License-Identifier: MIT
// Hogs: two other processes, at nice 0, burn both CPUs. Two workers have tasks of 1 ms, of which
// the parent keeps eight outstanding: how much of both CPUs do they get, of what the weight of the
// workers' nice gives them beside one hog each? And tasks that hold a mutex for half of their time,
// 50 us at a time, which the parent's loop, at nice 0, takes once a millisecond: how long does it
// wait at worst?
#include <cmath>
#include <csignal>
#include <ctime>
#include <mutex>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/both.h"
#include "workloads/churn.h"
#include "workloads/steady.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr double kShareMs = 250;
constexpr double kMutexMs = 400; // half of both in a quick run
constexpr double kWarmUpMs = 10;
constexpr uint64_t kOutstanding = 8;
constexpr double kTaskUs = 1000;
constexpr double kHoldUs = 50;
constexpr int kHolds = 10; // in a task

Workload make_share()
{
    Workload workload = real_work("1 ms tasks beside two CPU hogs, two workers", 0,
                                  "share of the CPUs / share that the workers' weight gives",
                                  {"share"}, "tasks per second");
    workload.more = true;
    return workload;
}

const Workload share = make_share();
const Workload mutex =
    real_work("loop and tasks share a mutex beside two CPU hogs, two workers", 0,
              "ms that the loop waits at most", {"in a sample"}, "mean wait, us");

class Hogs
{
  public:
    explicit Hogs(bool any)
    {
        for (pid_t &hog : hogs_) {
            hog = any ? start() : -1;
        }
    }

    ~Hogs()
    {
        for (pid_t hog : hogs_) {
            if (hog > 0) {
                kill(hog, SIGKILL);
                waitpid(hog, nullptr, 0);
            }
        }
    }

    Hogs(const Hogs &) = delete;
    Hogs &operator=(const Hogs &) = delete;

  private:
    static pid_t start()
    {
        pid_t parent = getpid();
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            while (getppid() == parent) {
                for (volatile int i = 0; i < 1000000; i = i + 1) {
                }
            }
            _exit(0);
        }
        return child;
    }

    pid_t hogs_[2];
};

// As the kernel's scheduler weighs a thread: 1024 at nice 0, a quarter more or less with each step.
double weight_of_this_thread()
{
    return sched_getscheduler(0) == SCHED_IDLE
               ? 3
               : 1024 / std::pow(1.25, getpriority(PRIO_PROCESS, 0));
}

double sample_ms(const Harness &harness, double ms)
{
    return harness.settings.quick ? ms / 2 : ms;
}

struct Load {
    explicit Load(double us) : churn(us)
    {
    }

    const Churn churn;
    mutable std::atomic<double> weight{0};
};

uint64_t compute(const void *context, uint64_t number)
{
    const auto *load = static_cast<const Load *>(context);
    load->weight.store(weight_of_this_thread(), std::memory_order_relaxed);
    return load->churn.run(number);
}

uint64_t computed(const void *context, uint64_t number)
{
    return static_cast<const Load *>(context)->churn.result_of(number);
}

void share_of(benchmark::State &state, Harness &harness, const TeamMaker &maker)
{
    const Load load(kTaskUs);
    sample_team(state, harness, share, maker, 0, [&](Team &team, bool warm_up) {
        Steady parent(team, {compute, computed, &load}, kOutstanding);
        Hogs hogs(!warm_up);
        Outcome outcome = parent.run(warm_up ? kWarmUpMs : sample_ms(harness, kShareMs));
        double per_second = static_cast<double>(outcome.items) / outcome.seconds;
        double got = per_second * kTaskUs / (1e6 * cpus_of(harness));
        outcome.figure = got / (load.weight / (load.weight + 1024));
        outcome.aside = per_second;
        outcome.counters["share_of_cpus"] = got;
        outcome.counters["share_of_weight"] = outcome.figure;
        return outcome;
    });
}

struct Shared {
    explicit Shared(double us) : churn(us)
    {
    }

    const Churn churn;
    std::mutex mutex;
    uint64_t completed = 0; // the loop's
};

uint64_t hold(void *context, uint64_t number)
{
    auto *shared = static_cast<Shared *>(context);
    for (int i = 0; i < kHolds; i++) {
        {
            std::lock_guard<std::mutex> lock(shared->mutex);
            number = shared->churn.run(number);
        }
        number = shared->churn.run(number);
    }
    return number;
}

void held(void *context, uint64_t, uint64_t)
{
    static_cast<Shared *>(context)->completed++;
}

Outcome loop_beside(Runner &parent, Shared &shared, double ms)
{
    Outcome outcome;
    uint64_t submitted = shared.completed;
    uint64_t begin = bench_ticks();
    uint64_t until = begin + to_ticks(ms * 1e6);
    while (bench_ticks() < until) {
        while (submitted - shared.completed < kOutstanding && parent.submit(submitted)) {
            submitted++;
        }
        const timespec gap = {0, 1000000};
        nanosleep(&gap, nullptr);
        uint64_t start = bench_ticks();
        shared.mutex.lock();
        shared.mutex.unlock();
        outcome.latencies.add(static_cast<uint64_t>(to_ns(bench_ticks() - start)));
        parent.poll();
    }
    outcome.seconds = to_ns(bench_ticks() - begin) / 1e9;
    while (shared.completed < submitted) {
        if (!parent.wait()) {
            outcome.error = "a task was lost";
            break;
        }
    }
    outcome.figure = static_cast<double>(outcome.latencies.max()) / 1e6;
    outcome.aside = outcome.latencies.mean_of_smallest(1) / 1e3;
    outcome.counters["longest_wait_ms"] = outcome.figure;
    return outcome;
}

void mutex_with(benchmark::State &state, Harness &harness, const TeamMaker &maker)
{
    Shared shared(kHoldUs);
    sample_team(state, harness, mutex, maker, 0, [&](Team &team, bool warm_up) {
        std::unique_ptr<Runner> parent = team.attach({hold, held, &shared});
        if (!parent) {
            return Outcome();
        }
        Hogs hogs(!warm_up);
        return loop_beside(*parent, shared, warm_up ? kWarmUpMs : sample_ms(harness, kMutexMs));
    });
}

} // namespace

void add_hogs(Harness &harness)
{
    harness.results.declare(share);
    harness.results.declare(mutex);
    for (const TeamMaker &maker : teams()) {
        if (maker.parents != TeamMaker::loop) {
            continue;
        }
        add_team_benchmark(
            harness, "hogs", maker, "mutex", 0,
            [&harness, maker](benchmark::State &state) { share_of(state, harness, maker); });
        add_team_benchmark(
            harness, "hogs", maker, "mutex", 1,
            [&harness, maker](benchmark::State &state) { mutex_with(state, harness, maker); });
    }
}

} // namespace bench
