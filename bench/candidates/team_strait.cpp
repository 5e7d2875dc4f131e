// SPDX-License-Identifier: MIT
// strait's pool as its defaults make it, and in the normal scheduling class; its parents sleep on
// their fd, as in an event loop, or park. Nobody spins.
#include <cstring>
#include <poll.h>
#include <stdexcept>

#include "candidates/forks.h"
#include "candidates/table.h"
#include "strait.h"

namespace bench
{
namespace
{

struct Numbers {
    uint64_t number;
    uint64_t result;
};

class StraitParent : public Runner
{
  public:
    StraitParent(const Job &job, strait_pool *pool, strait_wait wait) : Runner(-1, job, 0)
    {
        strait_parent_options options = {};
        options.wait = wait;
        if (strait_pool_attach(pool, &parent_, &options) != 0) {
            throw std::runtime_error("no parent");
        }
        task_.run = start;
        task_.done = finish;
        task_.context = this;
        watched_ = {wait == STRAIT_WAIT_FD ? strait_parent_fd(parent_) : -1, POLLIN, 0};
    }

    ~StraitParent() override
    {
        strait_parent_detach(parent_, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
    }

    bool submit(uint64_t number) override
    {
        std::memcpy(task_.data, &number, sizeof(number));
        return strait_task_submit(parent_, &task_, nullptr, nullptr) == 0;
    }

    void poll() override
    {
        strait_parent_poll(parent_, 0);
    }

    bool wait() override
    {
        if (watched_.fd >= 0) {
            return ::poll(&watched_, 1, kPatienceMs) == 1 &&
                   strait_parent_dispatch(parent_, 0) >= 0;
        }
        int64_t until = strait_now() + int64_t{kPatienceMs} * 1000000;
        return strait_parent_wait_any(parent_, until) > 0;
    }

  private:
    static int start(strait_task *task) noexcept
    {
        const Job &job = static_cast<const StraitParent *>(task->context)->job_;
        Numbers numbers;
        std::memcpy(&numbers, task->data, sizeof(numbers));
        numbers.result = job.run(job.context, numbers.number);
        std::memcpy(task->data, &numbers, sizeof(numbers));
        return 0;
    }

    static void finish(strait_task *task) noexcept
    {
        const Job &job = static_cast<const StraitParent *>(task->context)->job_;
        Numbers numbers;
        std::memcpy(&numbers, task->data, sizeof(numbers));
        job.done(job.context, numbers.number, numbers.result);
    }

    strait_parent *parent_ = nullptr;
    strait_task task_ = {}; // filled in but for the number
    pollfd watched_;
};

struct Both {
    template <class F, class G> static void both(const F &f, const G &g)
    {
        strait_parent *parent = strait_parent_current();
        strait_group group = {};
        strait_submit_options how = {};
        how.group = &group;
        how.in_place = true;
        strait_task task = {};
        task.run = run<F>;
        task.context = const_cast<F *>(&f);
        strait_task_submit(parent, &task, &how, nullptr);
        g();
        strait_group_wait(parent, &group, STRAIT_FOREVER);
    }

    template <class F> static int run(strait_task *task) noexcept
    {
        (*static_cast<const F *>(task->context))();
        return 0;
    }
};

class StraitTeam : public Team
{
  public:
    StraitTeam(const TeamShape &shape, strait_schedule schedule, strait_wait wait)
        : Team(shape, false), wait_(wait)
    {
        strait_pool_options options = {};
        options.workers = shape.workers;
        options.queue_limit = shape.queue;
        options.schedule = schedule;
        if (strait_pool_create(&pool_, &options) != 0) {
            throw std::runtime_error("no pool");
        }
    }

    ~StraitTeam() override
    {
        set_idle_parents(0);
        strait_pool_finish(pool_, parent_, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
    }

    std::unique_ptr<Runner> attach(const Job &job) override
    {
        try {
            return std::make_unique<StraitParent>(job, pool_, wait_);
        } catch (const std::exception &) {
            return nullptr;
        }
    }

    bool set_idle_parents(size_t n) override
    {
        while (idle_.size() > n) {
            strait_parent_detach(idle_.back(), STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
            idle_.pop_back();
        }
        strait_parent *parent = nullptr;
        while (idle_.size() < n && strait_pool_attach(pool_, &parent, nullptr) == 0) {
            idle_.push_back(parent);
        }
        return idle_.size() == n;
    }

    // They run when the pool has been created.
    bool assemble() override
    {
        return true;
    }

    bool start_all(void (*run)(void *), void *context, uint64_t n) override
    {
        call_ = {run, context};
        strait_task task = {};
        task.run = call;
        task.context = &call_;
        strait_submit_options how = {};
        how.group = &group_;
        for (uint64_t i = 0; i < n; i++) {
            if (!has_parent() || strait_task_submit(parent_, &task, &how, nullptr) != 0) {
                return false;
            }
        }
        return true;
    }

    bool finish_all() override
    {
        return strait_group_wait(parent_, &group_, STRAIT_FOREVER) == 0;
    }

    bool fib(unsigned n, uint64_t &result) override
    {
        return inside([n, &result] { result = fork_fib<Both>(n); });
    }

    bool sort(int *first, int *last) override
    {
        return inside([first, last] { fork_sort<Both>(first, last); });
    }

    bool sum(const double *first, const double *last, double &result) override
    {
        return inside([first, last, &result] { result = fork_sum<Both>(first, last); });
    }

  private:
    struct Call {
        void (*run)(void *);
        void *context;
    };

    static int call(strait_task *task) noexcept
    {
        auto *call = static_cast<Call *>(task->context);
        call->run(call->context);
        return 0;
    }

    // In a task, which the calling thread waits for.
    template <class F> bool inside(const F &f)
    {
        strait_task task = {};
        task.run = Both::run<F>;
        task.context = const_cast<F *>(&f);
        strait_task_id id = 0;
        return has_parent() && strait_task_submit(parent_, &task, nullptr, &id) == 0 &&
               strait_task_wait(parent_, id, STRAIT_FOREVER) == 0;
    }

    bool has_parent()
    {
        strait_parent_options options = {};
        options.wait = wait_;
        return parent_ || strait_pool_attach(pool_, &parent_, &options) == 0;
    }

    const strait_wait wait_;
    strait_pool *pool_ = nullptr;
    strait_parent *parent_ = nullptr; // of the thread that calls start_all, fib, ...
    std::vector<strait_parent *> idle_;
    strait_group group_ = {};
    Call call_ = {};
};

TeamMaker maker(const char *name, strait_schedule schedule, strait_wait wait)
{
    return {name,    team_maker<StraitTeam>(schedule, wait),
            nullptr, wait == STRAIT_WAIT_FD ? TeamMaker::loop : TeamMaker::park,
            false,   true};
}

} // namespace

void add_strait_teams(std::vector<TeamMaker> &teams)
{
    teams.push_back(maker("strait.pool", STRAIT_SCHEDULE_DEFAULT, STRAIT_WAIT_FD));
    teams.push_back(maker("strait.pool.normal", STRAIT_SCHEDULE_NORMAL, STRAIT_WAIT_FD));
    teams.push_back(maker("strait.pool.parked", STRAIT_SCHEDULE_DEFAULT, STRAIT_WAIT_PARK));
    teams.push_back(maker("strait.pool.parked.normal", STRAIT_SCHEDULE_NORMAL, STRAIT_WAIT_PARK));
}

} // namespace bench
