// SPDX-License-Identifier: MIT
#include "workloads/crew.h"

#include "harness/pair.h"

namespace bench
{

Crew::Crew(size_t members, const std::vector<int> &cpus)
{
    for (size_t member = 0; member < members; member++) {
        threads_.emplace_back([this, member, cpus] {
            pin(cpus);
            serve(member);
        });
    }
}

Crew::~Crew()
{
    {
        std::lock_guard<std::mutex> lock(mutex_);
        job_ = nullptr;
        round_++;
    }
    changed_.notify_all();
    for (std::thread &thread : threads_) {
        thread.join();
    }
}

void Crew::start(const Job &job)
{
    {
        std::lock_guard<std::mutex> lock(mutex_);
        job_ = &job;
        round_++;
        busy_ = threads_.size();
    }
    changed_.notify_all();
}

void Crew::finish()
{
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return busy_ == 0; });
}

void Crew::serve(size_t member)
{
    for (size_t done = 0;; done++) {
        const Job *job = nullptr;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            changed_.wait(lock, [this, done] { return round_ != done; });
            job = job_;
        }
        if (!job) {
            return;
        }
        (*job)(member);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            busy_--;
        }
        changed_.notify_all();
    }
}

} // namespace bench
