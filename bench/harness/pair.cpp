// SPDX-License-Identifier: MIT
#include "harness/pair.h"

#include <pthread.h>
#include <stdexcept>
#include <sys/resource.h>

#include "harness/relax.h"

bool bench_one_cpu;

namespace bench
{

static std::vector<int> affinity()
{
    cpu_set_t set;
    CPU_ZERO(&set);
    std::vector<int> cpus;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(static_cast<size_t>(cpu), &set)) {
                cpus.push_back(cpu);
            }
        }
    }
    return cpus;
}

const std::vector<int> &allowed_cpus()
{
    static const std::vector<int> cpus = affinity();
    return cpus;
}

bool pin(const std::vector<int> &cpus)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu : cpus) {
        CPU_SET(static_cast<size_t>(cpu), &set);
    }
    return pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0;
}

static long preemptions()
{
    rusage usage = {};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

// Runs a job; returns how often the thread was preempted in it.
static long count_preemptions(const Pair::Job &job)
{
    long before = preemptions();
    job();
    return preemptions() - before;
}

Pair::Pair(int cpu_a, int cpu_b)
{
    allowed_cpus(); // before the first pin narrows them
    bench_one_cpu = cpu_a == cpu_b;
    if (!pin({cpu_b}) || !pin({cpu_a})) {
        throw std::runtime_error("cannot run on these CPUs");
    }
    thread_ = std::thread([this, cpu_b] { serve(cpu_b); });
}

Pair::~Pair()
{
    state_.store(kEnd, std::memory_order_release);
    thread_.join();
}

void Pair::run(const Job &a, const Job &b)
{
    job_ = &b;
    state_.store(kStart, std::memory_order_release);
    while (state_.load(std::memory_order_acquire) == kStart) {
        bench_relax();
    }
    preemptions_a_ = count_preemptions(a);
    while (state_.load(std::memory_order_acquire) != kIdle) {
        bench_relax();
    }
}

void Pair::serve(int cpu)
{
    pin({cpu});
    for (;;) {
        int state = state_.load(std::memory_order_acquire);
        if (state == kEnd) {
            return;
        }
        if (state == kStart) {
            state_.store(kRunning, std::memory_order_release);
            preemptions_b_ = count_preemptions(*job_);
            state_.store(kIdle, std::memory_order_release);
        }
        bench_relax();
    }
}

} // namespace bench
