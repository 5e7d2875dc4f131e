// SPDX-License-Identifier: MIT
// A worker with all that belongs to it: port, fd.
#include "candidates/table.h"
#include "strait.h"

namespace bench
{
namespace
{

class Worker : public Spawner
{
  public:
    Worker(strait_pin pin, int cpu)
    {
        options_.entry = [](strait_port *, void *) noexcept { return 0; };
        options_.pin = pin;
        options_.cpu = cpu;
    }

    bool spawn() override
    {
        return strait_worker_spawn(&worker_, &options_) == 0;
    }

    bool end() override
    {
        return strait_worker_join(worker_, STRAIT_FOREVER) == 0 &&
               strait_worker_destroy(worker_) == 0;
    }

  private:
    strait_worker_options options_ = {};
    strait_worker *worker_ = nullptr;
};

} // namespace

std::unique_ptr<Spawner> make_worker_spawner(int)
{
    return std::make_unique<Worker>(STRAIT_PIN_CHOOSE, 0);
}

std::unique_ptr<Spawner> make_unpinned_worker_spawner(int)
{
    return std::make_unique<Worker>(STRAIT_PIN_NONE, 0);
}

std::unique_ptr<Spawner> make_pinned_worker_spawner(int cpu)
{
    return std::make_unique<Worker>(STRAIT_PIN_CPU, cpu);
}

} // namespace bench
