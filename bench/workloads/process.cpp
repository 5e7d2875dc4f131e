// SPDX-License-Identifier: MIT
// Processes: what a worker that is a process costs, beside one that is a thread, in the same run: a
// round trip, of a parent that blocks and of one that sleeps in its event loop; a pool's task. And
// what no thread survives: how long after a SIGKILL the parent knows, and has another answer.
#include <csignal>
#include <cstring>
#include <memory>
#include <poll.h>
#include <stdexcept>

#include "harness/ticks.h"
#include "strait.h"
#include "strait/extra/process.h"
#include "workloads/both.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr int kPatienceMs = 2000;
constexpr double kSampleMs = 40;
constexpr double kWarmUpMs = 10;

// ---- what threads run; processes: process_worker.c ----

int echo_in_thread(strait_port *port, void *) noexcept
{
    uint64_t number;
    while (strait_receive(&port->receiver, &number, 1, STRAIT_FOREVER) == 1) {
        strait_send(&port->sender, &number, 1, STRAIT_FOREVER);
    }
    return 0;
}

int negate(strait_task *task) noexcept
{
    uint64_t number;
    std::memcpy(&number, task->data, sizeof(number));
    number = ~number;
    std::memcpy(task->data, &number, sizeof(number));
    return 0;
}

// ---- errands: what is timed, again and again ----

class Errand
{
  public:
    explicit Errand(const Settings &settings) : settings_(settings)
    {
    }
    virtual ~Errand() = default;
    Errand(const Errand &) = delete;
    Errand &operator=(const Errand &) = delete;

    // Before each, and not timed.
    virtual bool prepare()
    {
        return true;
    }

    // False: it takes too long, or what comes back is wrong.
    virtual bool run(uint64_t number) = 0;

  protected:
    static void check(int error)
    {
        if (error) {
            throw std::runtime_error("no worker to be had");
        }
    }

    static bool sleep_on(int fd)
    {
        pollfd watched = {fd, POLLIN, 0};
        return poll(&watched, 1, kPatienceMs) == 1;
    }

    const Settings &settings_;
    uint64_t answer_ = 0; // of the last message or task
    bool exited_ = false;
};

// With a worker on B's CPU, A on its own.
template <bool loop> class ProcessTrip : public Errand
{
  public:
    explicit ProcessTrip(const Settings &settings) : Errand(settings)
    {
        spawn();
    }

    ~ProcessTrip() override
    {
        strait_process_destroy(process_);
    }

    bool run(uint64_t number) override
    {
        struct strait_process_port *port = strait_process_port(process_);
        answer_ = ~number;
        bool good = strait_process_send(port, &number, 1, STRAIT_FOREVER) == 1;
        if (!loop) {
            return good && strait_process_receive(port, &answer_, 1, STRAIT_FOREVER) == 1 &&
                   answer_ == number;
        }
        while (good && answer_ != number) {
            good = dispatch();
        }
        return good;
    }

  protected:
    void spawn()
    {
        strait_process_options options = {};
        options.program = STRAIT_BENCH_WORKER;
        options.function = "echo";
        options.context = this;
        options.event = loop ? take : nullptr;
        pin({settings_.cpu_b});
        int error = strait_process_spawn(&process_, &options);
        pin({settings_.cpu_a});
        check(error);
    }

    bool dispatch()
    {
        return sleep_on(strait_process_fd(process_)) && strait_process_dispatch(process_, 0) >= 0;
    }

    static void take(strait_process *, const strait_process_event *event, void *context) noexcept
    {
        auto *trip = static_cast<ProcessTrip *>(context);
        if (event->type == STRAIT_MESSAGE) {
            std::memcpy(&trip->answer_, event->message, sizeof(trip->answer_));
        }
        trip->exited_ = event->type == STRAIT_EXIT;
    }

    strait_process *process_ = nullptr;
};

template <bool loop> class ThreadTrip : public Errand
{
  public:
    explicit ThreadTrip(const Settings &settings) : Errand(settings)
    {
        strait_worker_options options = {};
        options.entry = echo_in_thread;
        options.pin = STRAIT_PIN_CPU;
        options.cpu = settings.cpu_b;
        options.to_parent.receiver = loop ? STRAIT_WAIT_FD : STRAIT_WAIT_PARK;
        options.context = this;
        options.event = loop ? take : nullptr;
        check(strait_worker_spawn(&worker_, &options));
        pin({settings.cpu_a});
    }

    ~ThreadTrip() override
    {
        if (worker_) {
            strait_worker_stop(worker_);
            strait_worker_join(worker_, STRAIT_FOREVER);
            strait_worker_destroy(worker_);
        }
    }

    bool run(uint64_t number) override
    {
        strait_port *port = strait_worker_port(worker_);
        answer_ = ~number;
        bool good = strait_send(&port->sender, &number, 1, STRAIT_FOREVER) == 1;
        if (!loop) {
            return good && strait_receive(&port->receiver, &answer_, 1, STRAIT_FOREVER) == 1 &&
                   answer_ == number;
        }
        while (good && answer_ != number) {
            good = sleep_on(strait_worker_fd(worker_)) && strait_worker_dispatch(worker_, 0) >= 0;
        }
        return good;
    }

  private:
    static void take(strait_worker *, const strait_event *event, void *context) noexcept
    {
        if (event->type == STRAIT_MESSAGE) {
            uint64_t &answer = static_cast<ThreadTrip *>(context)->answer_;
            std::memcpy(&answer, event->message, sizeof(answer));
        }
    }

    strait_worker *worker_ = nullptr;
};

// Kills the worker; each one has answered once.
class Death : public ProcessTrip<true>
{
  public:
    using ProcessTrip<true>::ProcessTrip;

    bool prepare() override
    {
        if (exited_) {
            strait_process_destroy(process_);
            process_ = nullptr;
            spawn();
        }
        return ProcessTrip<true>::run(1);
    }

    bool run(uint64_t) override
    {
        bool good = strait_process_kill(process_, SIGKILL) == 0;
        while (good && !exited_) {
            good = dispatch();
        }
        return good;
    }
};

// With one worker; all may run on both CPUs.
class ProcessTask : public Errand
{
  public:
    explicit ProcessTask(const Settings &settings) : Errand(settings)
    {
        strait_process_pool_options options = {};
        options.program = STRAIT_BENCH_WORKER;
        options.workers = 1;
        check(strait_process_pool_create(&pool_, &options));
    }

    ~ProcessTask() override
    {
        strait_process_pool_destroy(pool_);
    }

    bool run(uint64_t number) override
    {
        strait_process_task task = {};
        strait_process_submit_options how = {};
        task.task.name = "negate";
        task.task.context = this;
        task.task.done = take;
        how.retries = 9;
        std::memcpy(task.task.data, &number, sizeof(number));
        answer_ = number;
        bool good = strait_process_submit(pool_, &task, &how, nullptr) == 0;
        while (good && answer_ == number) {
            good = sleep_on(strait_process_pool_fd(pool_)) &&
                   strait_process_pool_dispatch(pool_, 0) >= 0;
        }
        return good && answer_ == ~number;
    }

  protected:
    static void take(strait_task *task) noexcept
    {
        uint64_t &answer = static_cast<ProcessTask *>(task->context)->answer_;
        std::memcpy(&answer, task->data, sizeof(answer));
    }

    strait_process_pool *pool_ = nullptr;
};

class Replacement : public ProcessTask
{
  public:
    using ProcessTask::ProcessTask;

    bool prepare() override
    {
        return ProcessTask::run(1);
    }

    bool run(uint64_t number) override
    {
        return kill(strait_process_pool_pid(pool_, 0), SIGKILL) == 0 && ProcessTask::run(number);
    }
};

class ThreadTask : public Errand
{
  public:
    explicit ThreadTask(const Settings &settings) : Errand(settings)
    {
        strait_pool_options options = {};
        options.workers = 1;
        check(strait_pool_create(&pool_, &options));
        check(strait_pool_attach(pool_, &parent_, nullptr));
    }

    ~ThreadTask() override
    {
        strait_pool_finish(pool_, parent_, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
    }

    bool run(uint64_t number) override
    {
        strait_task task = {};
        task.run = negate;
        task.context = this;
        task.done = take;
        std::memcpy(task.data, &number, sizeof(number));
        answer_ = number;
        bool good = strait_task_submit(parent_, &task, nullptr, nullptr) == 0;
        while (good && answer_ == number) {
            good = sleep_on(strait_parent_fd(parent_)) && strait_parent_dispatch(parent_, 0) >= 0;
        }
        return good && answer_ == ~number;
    }

  private:
    static void take(strait_task *task) noexcept
    {
        uint64_t &answer = static_cast<ThreadTask *>(task->context)->answer_;
        std::memcpy(&answer, task->data, sizeof(answer));
    }

    strait_pool *pool_ = nullptr;
    strait_parent *parent_ = nullptr;
};

// ---- the benchmarks ----

const Workload workloads[] = {
    real_work("round trip to a worker, 8 B, its parent blocks", 1000, "us", {}),
    real_work("round trip to a worker, 8 B, its parent sleeps in poll", 1000, "us", {}),
    real_work("a pool's task, one worker, its parent sleeps in poll", 1000, "us", {}),
    real_work("from a worker's SIGKILL to its exit event", 1000, "us", {}),
    real_work("from the SIGKILL of a pool's only worker to the next answer", 1000, "us", {}),
};

template <class T> std::unique_ptr<Errand> make(const Settings &settings)
{
    return std::make_unique<T>(settings);
}

const struct {
    const char *workload;
    const char *candidate;
    size_t table; // of the workloads
    std::unique_ptr<Errand> (*make)(const Settings &settings);
} rows[] = {
    {"process_round_trip", "strait.process", 0, make<ProcessTrip<false>>},
    {"process_round_trip", "strait.worker", 0, make<ThreadTrip<false>>},
    {"process_round_trip_loop", "strait.process", 1, make<ProcessTrip<true>>},
    {"process_round_trip_loop", "strait.worker", 1, make<ThreadTrip<true>>},
    {"process_task", "strait.process_pool", 2, make<ProcessTask>},
    {"process_task", "strait.pool", 2, make<ThreadTask>},
    {"process_exit", "strait.process", 3, make<Death>},
    {"process_replaced", "strait.process_pool", 4, make<Replacement>},
};

Outcome do_errands(Errand &errand, double ms)
{
    Outcome outcome;
    uint64_t until = bench_ticks() + to_ticks(ms * 1e6);
    for (uint64_t number = 1; outcome.error.empty() && bench_ticks() < until; number++) {
        bool good = errand.prepare();
        uint64_t start = bench_ticks();
        good = good && errand.run(number);
        double ns = to_ns(bench_ticks() - start);
        outcome.error = good ? "" : "lost, wrong, or not to be had";
        outcome.latencies.add(static_cast<uint64_t>(ns));
        outcome.seconds += ns / 1e9;
    }
    return outcome;
}

} // namespace

void add_processes(Harness &harness)
{
    for (const Workload &workload : workloads) {
        harness.results.declare(workload);
    }
    for (const auto &row : rows) {
        auto errands = [&harness, &row](bool warm_up) {
            return on_both(harness, [&] {
                try {
                    std::unique_ptr<Errand> errand = row.make(harness.settings);
                    do_errands(*errand, kWarmUpMs);
                    return do_errands(*errand, warm_up ? kWarmUpMs : kSampleMs);
                } catch (const std::exception &failed) {
                    Outcome outcome;
                    outcome.error = failed.what();
                    return outcome;
                }
            });
        };
        add_benchmark(harness, std::string(row.workload) + "/" + row.candidate, {}, {},
                      [&harness, &row, errands](benchmark::State &state) {
                          sample(state, harness, workloads[row.table], row.candidate, 0, errands);
                      });
    }
}

} // namespace bench
