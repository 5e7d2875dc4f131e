// SPDX-License-Identifier: MIT
// The floor of a spawn: pthread_create, and a semaphore that the thread posts first of all.
#include <pthread.h>
#include <semaphore.h>

#include "candidates/table.h"

namespace bench
{
namespace
{

class Thread : public Spawner
{
  public:
    Thread()
    {
        sem_init(&runs_, 0, 0);
        pthread_attr_init(&attributes_);
    }

    ~Thread() override
    {
        pthread_attr_destroy(&attributes_);
        sem_destroy(&runs_);
    }

    Thread(const Thread &) = delete;
    Thread &operator=(const Thread &) = delete;

    bool pin(int cpu)
    {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(static_cast<size_t>(cpu), &set);
        return pthread_attr_setaffinity_np(&attributes_, sizeof(set), &set) == 0;
    }

    bool spawn() override
    {
        if (pthread_create(&thread_, &attributes_, run, &runs_) != 0) {
            return false;
        }
        while (sem_wait(&runs_) != 0) { // a signal came in between
        }
        return true;
    }

    bool end() override
    {
        return pthread_join(thread_, nullptr) == 0;
    }

  private:
    static void *run(void *runs)
    {
        sem_post(static_cast<sem_t *>(runs));
        return nullptr;
    }

    sem_t runs_;
    pthread_attr_t attributes_;
    pthread_t thread_ = {};
};

} // namespace

std::unique_ptr<Spawner> make_thread_spawner(int)
{
    return std::make_unique<Thread>();
}

std::unique_ptr<Spawner> make_pinned_thread_spawner(int cpu)
{
    auto thread = std::make_unique<Thread>();
    return thread->pin(cpu) ? std::move(thread) : nullptr;
}

} // namespace bench
