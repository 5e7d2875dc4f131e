// SPDX-License-Identifier: MIT
// libuv's thread pool, which is one for the whole process: uv_queue_work, completions in a loop of
// each parent's.
#include <stdexcept>
#include <uv.h>

#include "candidates/libuv_threads.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

class LibuvTeam : public Team
{
  public:
    LibuvTeam(const TeamShape &shape, bool pinned) : Team(shape, pinned)
    {
        set_libuv_threads();
        if (shape.workers != kTeamWorkers) {
            throw std::runtime_error("its pool has its size already");
        }
    }

    std::unique_ptr<Runner> attach(const Job &job) override
    {
        try {
            return std::make_unique<Parent>(*this, job, queue());
        } catch (const std::exception &) {
            return nullptr;
        }
    }

    // By a parent of its own.
    bool start_all(void (*run)(void *), void *context, uint64_t n) override
    {
        call_ = {run, context};
        left_ = n;
        if (!caller_) {
            caller_ = attach({call, called, this});
        }
        for (uint64_t i = 0; i < n; i++) {
            if (!caller_ || !caller_->submit(i)) {
                return false;
            }
        }
        return true;
    }

    bool finish_all() override
    {
        while (left_ > 0 && caller_->wait()) {
        }
        return left_ == 0;
    }

  private:
    class Parent : public Runner
    {
      public:
        Parent(LibuvTeam &team, const Job &job, uint64_t limit)
            : Runner(-1, job, limit), team_(team), works_(limit)
        {
            if (uv_loop_init(&loop_) != 0) {
                throw std::runtime_error("no loop");
            }
        }

        ~Parent() override
        {
            uv_run(&loop_, UV_RUN_DEFAULT);
            uv_loop_close(&loop_);
        }

        bool submit(uint64_t number) override
        {
            Slot *slot = take(number);
            if (!slot) {
                return false;
            }
            uv_work_t *work = &works_[index(slot)];
            work->data = slot;
            return uv_queue_work(&loop_, work, start, end) == 0;
        }

        void poll() override
        {
            uv_run(&loop_, UV_RUN_NOWAIT);
        }

        bool wait() override
        {
            uv_run(&loop_, UV_RUN_ONCE);
            return true;
        }

      private:
        static void start(uv_work_t *work)
        {
            auto *slot = static_cast<Slot *>(work->data);
            auto *parent = static_cast<Parent *>(slot->runner);
            parent->team_.place();
            parent->run(slot);
        }

        static void end(uv_work_t *work, int)
        {
            auto *slot = static_cast<Slot *>(work->data);
            static_cast<Parent *>(slot->runner)->done(slot);
        }

        LibuvTeam &team_;
        uv_loop_t loop_;
        std::vector<uv_work_t> works_;
    };

    struct Call {
        void (*run)(void *);
        void *context;
    };

    static uint64_t call(void *context, uint64_t)
    {
        const Call &call = static_cast<LibuvTeam *>(context)->call_;
        call.run(call.context);
        return 0;
    }

    static void called(void *context, uint64_t, uint64_t)
    {
        static_cast<LibuvTeam *>(context)->left_--;
    }

    Call call_ = {};
    uint64_t left_ = 0;
    std::unique_ptr<Runner> caller_;
};

} // namespace

void add_libuv_teams(std::vector<TeamMaker> &teams)
{
    add_team<LibuvTeam>(
        teams, "libuv",
        "less: one pool for the process, no bound; a task cannot submit; none spins", true);
}

} // namespace bench
