// SPDX-License-Identifier: MIT
// oneTBB: task_arena::enqueue, completions through its bounded queue; fork and join within an arena
// of as many threads, of which the calling one is one.
#include <atomic>
#include <tbb/concurrent_queue.h>
#include <tbb/global_control.h>
#include <tbb/parallel_invoke.h>
#include <tbb/parallel_reduce.h>
#include <tbb/blocked_range.h>
#include <tbb/task_arena.h>
#include <tbb/task_scheduler_observer.h>
#include <thread>

#include "candidates/forks.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

class TbbParent : public Runner
{
  public:
    TbbParent(Team &team, const Job &job, uint64_t limit) : Runner(-1, job, limit), team_(team)
    {
    }

    // A worker uses the queue a little longer than it takes to see what it pushed.
    ~TbbParent() override
    {
        while (left_.load(std::memory_order_acquire) != submitted_) {
            std::this_thread::yield();
        }
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        submitted_ += slot ? 1 : 0;
        return slot && team_.post(work, slot);
    }

    void poll() override
    {
        Slot *slot = nullptr;
        while (finished_.try_pop(slot)) {
            done(slot);
        }
    }

    bool wait() override
    {
        Slot *slot = nullptr;
        finished_.pop(slot);
        done(slot);
        poll();
        return true;
    }

  private:
    static void work(void *context)
    {
        auto *slot = static_cast<Slot *>(context);
        auto *parent = static_cast<TbbParent *>(slot->runner);
        parent->run(slot);
        parent->finished_.push(slot);
        parent->left_.fetch_add(1, std::memory_order_release);
    }

    Team &team_;
    tbb::concurrent_bounded_queue<Slot *> finished_;
    uint64_t submitted_ = 0;        // the parent's
    std::atomic<uint64_t> left_{0}; // tasks whose worker is done with the parent
};

struct Both {
    template <class F, class G> static void both(const F &f, const G &g)
    {
        tbb::parallel_invoke(f, g);
    }
};

// Its threads stay for the next team, or end after it: tbb::finalize(), which would wait for their
// end, hung in some runs (oneTBB 2021.8).
class TbbTeam : public Team
{
  public:
    TbbTeam(const TeamShape &shape, bool pinned)
        : Team(shape, pinned),
          control_(tbb::global_control::max_allowed_parallelism, shape.workers + 1),
          arena_(static_cast<int>(shape.workers), 0), forks_(static_cast<int>(shape.workers), 1),
          in_arena_(*this, arena_), in_forks_(*this, forks_)
    {
    }

    std::unique_ptr<Runner> attach(const Job &job) override
    {
        return std::make_unique<TbbParent>(*this, job, queue());
    }

    bool post(void (*run)(void *), void *context) override
    {
        arena_.enqueue([run, context] { run(context); });
        return true;
    }

    bool fib(unsigned n, uint64_t &result) override
    {
        forks_.execute([n, &result] { result = fork_fib<Both>(n); });
        return true;
    }

    bool sort(int *first, int *last) override
    {
        forks_.execute([first, last] { fork_sort<Both>(first, last); });
        return true;
    }

    bool sum(const double *first, const double *last, double &result) override
    {
        using Range = tbb::blocked_range<const double *>;
        forks_.execute([first, last, &result] {
            result = tbb::parallel_reduce(
                Range(first, last, kSumAlone), 0.0,
                [](const Range &range, double sum) {
                    return sum + sum_alone(range.begin(), range.end());
                },
                std::plus<double>());
        });
        return true;
    }

  private:
    // Threads come and go between arenas.
    class Placer : public tbb::task_scheduler_observer
    {
      public:
        Placer(TbbTeam &team, tbb::task_arena &arena)
            : tbb::task_scheduler_observer(arena), team_(team)
        {
            observe(true);
        }

        ~Placer() override
        {
            observe(false);
        }

        void on_scheduler_entry(bool is_worker) override
        {
            if (is_worker) {
                team_.place(static_cast<unsigned>(tbb::this_task_arena::current_thread_index()));
            }
        }

      private:
        TbbTeam &team_;
    };

    tbb::global_control control_;
    tbb::task_arena arena_;
    tbb::task_arena forks_;
    Placer in_arena_;
    Placer in_forks_;
};

} // namespace

void add_tbb_teams(std::vector<TeamMaker> &teams)
{
    add_team<TbbTeam>(teams, "tbb.arena",
                      "less: no order, no bound; its idle workers spin before they sleep; in "
                      "fork_join the caller is one of its threads");
}

} // namespace bench
