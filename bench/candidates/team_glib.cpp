// SPDX-License-Identifier: MIT
// GLib's GThreadPool, completions through its GAsyncQueue.
#include <glib.h>
#include <stdexcept>

#include "candidates/table.h"

namespace bench
{
namespace
{

struct Task {
    void (*run)(void *);
    void *context;
};

class GlibParent : public Runner
{
  public:
    GlibParent(Team &team, const Job &job, uint64_t limit)
        : Runner(-1, job, limit), team_(team), finished_(g_async_queue_new())
    {
    }

    ~GlibParent() override
    {
        g_async_queue_unref(finished_);
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        return slot && team_.post(work, slot);
    }

    void poll() override
    {
        while (void *slot = g_async_queue_try_pop(finished_)) {
            done(static_cast<Slot *>(slot));
        }
    }

    bool wait() override
    {
        void *slot = g_async_queue_timeout_pop(finished_, kPatienceMs * 1000);
        if (!slot) {
            return false;
        }
        done(static_cast<Slot *>(slot));
        poll();
        return true;
    }

  private:
    static void work(void *context)
    {
        auto *slot = static_cast<Slot *>(context);
        auto *parent = static_cast<GlibParent *>(slot->runner);
        parent->run(slot);
        g_async_queue_push(parent->finished_, slot);
    }

    Team &team_;
    GAsyncQueue *finished_;
};

class GlibTeam : public Team
{
  public:
    GlibTeam(const TeamShape &shape, bool pinned)
        : Team(shape, pinned),
          pool_(g_thread_pool_new(work, this, static_cast<int>(shape.workers), TRUE, nullptr))
    {
        if (!pool_) {
            throw std::runtime_error("no pool");
        }
    }

    ~GlibTeam() override
    {
        g_thread_pool_free(pool_, FALSE, TRUE);
    }

    std::unique_ptr<Runner> attach(const Job &job) override
    {
        return std::make_unique<GlibParent>(*this, job, queue());
    }

    bool post(void (*run)(void *), void *context) override
    {
        return g_thread_pool_push(pool_, new Task{run, context}, nullptr) != FALSE;
    }

  private:
    static void work(void *data, void *context)
    {
        static_cast<GlibTeam *>(context)->place();
        std::unique_ptr<Task> task(static_cast<Task *>(data));
        task->run(task->context);
    }

    GThreadPool *pool_;
};

} // namespace

void add_glib_teams(std::vector<TeamMaker> &teams)
{
    add_team<GlibTeam>(teams, "glib.pool",
                       "less: no bound, no wait inside a task; allocates each task; none spins");
}

} // namespace bench
