// SPDX-License-Identifier: MIT
#include "workloads/steady.h"

#include "harness/ticks.h"

namespace bench
{
namespace
{

uint64_t triple(const void *, uint64_t number)
{
    return number * 3 + 1;
}

} // namespace

const Steady::Tasks no_ops = {triple, triple, nullptr};

Steady::Steady(Team &team, const Tasks &tasks, uint64_t outstanding)
    : tasks_(tasks), outstanding_(outstanding), parent_(team.attach({run_task, done, this}))
{
}

Outcome Steady::run(double ms)
{
    Outcome outcome;
    uint64_t first = completed_;
    uint64_t start = bench_ticks();
    uint64_t until = start + to_ticks(ms * 1e6);
    bool alive = true;
    while (alive && bench_ticks() < until) {
        alive = fill() && parent_->wait();
    }
    outcome.seconds = to_ns(bench_ticks() - start) / 1e9;
    outcome.items = completed_ - first;
    outcome.typical_ns = outcome.seconds * 1e9 / static_cast<double>(outcome.items);
    while (alive && completed_ != submitted_) {
        alive = parent_->wait();
    }
    if (wrong_ || (alive && numbers_ != 0)) {
        outcome.error = "a wrong result";
    } else if (!alive) {
        outcome.error = "a task was refused or lost";
    }
    return outcome;
}

uint64_t Steady::run_task(void *context, uint64_t number)
{
    const Tasks &tasks = static_cast<const Steady *>(context)->tasks_;
    return tasks.run(tasks.context, number);
}

void Steady::done(void *context, uint64_t number, uint64_t result)
{
    auto *steady = static_cast<Steady *>(context);
    const Tasks &tasks = steady->tasks_;
    steady->wrong_ = steady->wrong_ || result != tasks.result_of(tasks.context, number);
    steady->numbers_ -= number;
    steady->completed_++;
}

bool Steady::fill()
{
    while (submitted_ - completed_ < outstanding_) {
        numbers_ += submitted_;
        if (!parent_->submit(submitted_++)) {
            return false;
        }
    }
    return true;
}

} // namespace bench
