// SPDX-License-Identifier: MIT
// GLib's GThreadPool, completions through its GAsyncQueue.
#include <glib.h>
#include <stdexcept>

#include "candidates/table.h"

namespace bench
{
namespace
{

class GlibRunner : public Runner
{
  public:
    GlibRunner(int cpu, const Job &job)
        : Runner(cpu, job), finished_(g_async_queue_new()),
          pool_(g_thread_pool_new(work, this, 1, TRUE, nullptr))
    {
        if (!pool_) {
            g_async_queue_unref(finished_);
            throw std::runtime_error("no pool");
        }
    }

    ~GlibRunner() override
    {
        g_thread_pool_free(pool_, FALSE, TRUE);
        g_async_queue_unref(finished_);
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        return slot && g_thread_pool_push(pool_, slot, nullptr) != FALSE;
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
    static void work(void *task, void *context)
    {
        auto *runner = static_cast<GlibRunner *>(context);
        runner->run(static_cast<Slot *>(task));
        g_async_queue_push(runner->finished_, task);
    }

    GAsyncQueue *finished_;
    GThreadPool *pool_;
};

} // namespace

void add_glib_runners(std::vector<RunnerMaker> &runners)
{
    runners.push_back({"glib.pool", make_runner<GlibRunner>, false});
    runners.push_back({"glib.pool.poll", make_runner<GlibRunner>, true});
}

} // namespace bench
