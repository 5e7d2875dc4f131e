// SPDX-License-Identifier: MIT
#include "workloads/gathering.h"

#include <algorithm>
#include <sched.h>

#include "harness/ticks.h"
#include "workloads/stream.h"

namespace bench
{

void Gate::close(uint32_t threads)
{
    missing_ = threads;
    open_ = false;
}

void Gate::come(const Open &open)
{
    if (missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        open(bench_ticks());
        open_.store(true, std::memory_order_release);
    }
    pass();
}

void Gate::pass() const
{
    while (!open_.load(std::memory_order_acquire)) {
        sched_yield();
    }
}

Gathering::Gathering(const bench_ring &ring, size_t capacity, uint32_t senders)
    : loops_(*ring.loops[BENCH_8]), queue_(ring, 8, capacity, senders), ends_(senders)
{
}

bool Gathering::usable() const
{
    return queue_.receiver() &&
           std::all_of(ends_.begin(), ends_.end(), [](const void *end) { return end != nullptr; });
}

void Gathering::start(uint64_t now, double ms)
{
    state_ = {};
    state_.running = ends_.size();
    state_.patience = to_ticks(2e9);
    state_.until = now + to_ticks(ms * 1e6);
    state_.last = now;
    start_ = now;
}

void Gathering::send(size_t sender)
{
    loops_.fan_in_send(ends_[sender], &state_, static_cast<uint32_t>(sender));
}

void Gathering::receive()
{
    loops_.fan_in_receive(queue_.receiver(), &state_);
}

// What stalls until the end of the sample has taken that long, and that is a gap, too.
Outcome Gathering::summarize() const
{
    Outcome outcome;
    uint64_t end = std::max(state_.until, state_.last);
    outcome.seconds = to_ns(end - start_) / 1e9;
    outcome.items = state_.received;
    outcome.longest_gap_ns =
        static_cast<uint64_t>(to_ns(std::max(state_.longest_gap, end - state_.last)));
    outcome.aside = static_cast<double>(outcome.longest_gap_ns) / 1e3;
    outcome.typical_ns = outcome.seconds * 1e9 / static_cast<double>(state_.received);
    outcome.error = check();
    return outcome;
}

std::string Gathering::check() const
{
    uint64_t sent = 0;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ends_.size(); i++) {
        sent += state_.sent[i];
        sum += (i << BENCH_SENDER_SHIFT) * state_.sent[i] + sum_below(state_.sent[i]);
    }
    if (state_.disorder > 0) {
        return std::to_string(state_.disorder) + " messages out of order of their sender";
    }
    if (state_.received != sent) {
        return std::to_string(sent) + " messages sent, " + std::to_string(state_.received) +
               " received";
    }
    return state_.sum == sum ? "" : "wrong checksum";
}

} // namespace bench
