// SPDX-License-Identifier: MIT
#include "candidates/team.h"

#include "candidates/forks.h"

namespace bench
{
namespace
{

// Two results to add; the task that brings the second one goes on with what waits for the sum.
struct Join {
    Team *team;
    Join *up;   // null: this is the last one
    unsigned n; // fib's, of the half that is forked
    Latch *latch;
    uint64_t *result;
    std::atomic<int> missing{2};
    std::atomic<uint64_t> sum{0};
};

void bring(Join *join, uint64_t value)
{
    for (;;) {
        join->sum.fetch_add(value, std::memory_order_relaxed);
        if (join->missing.fetch_sub(1, std::memory_order_acq_rel) > 1) {
            return;
        }
        value = join->sum.load(std::memory_order_relaxed);
        Join *up = join->up;
        if (!up) {
            *join->result = value;
            join->latch->count_down();
            return;
        }
        delete join;
        join = up;
    }
}

void post_fib(Team &team, unsigned n, Join *up);

void forked_fib(void *context)
{
    auto *join = static_cast<Join *>(context);
    post_fib(*join->team, join->n, join);
}

// Forks the greater half each time, goes on with the lesser one.
void post_fib(Team &team, unsigned n, Join *up)
{
    for (; n >= 2; n -= 2) {
        up = new Join{&team, up, n - 1, nullptr, nullptr};
        team.post(forked_fib, up);
    }
    bring(up, n);
}

struct Range {
    Team *team;
    int *first;
    int *last;
    Latch *latch;
};

void post_sort(Range range);

void forked_sort(void *context)
{
    std::unique_ptr<Range> range(static_cast<Range *>(context));
    post_sort(*range);
}

void post_sort(Range range)
{
    while (range.last - range.first > kSortAlone) {
        int *middle = part(range.first, range.last);
        range.latch->add();
        range.team->post(forked_sort, new Range{range.team, range.first, middle, range.latch});
        range.first = middle;
    }
    std::sort(range.first, range.last);
    range.latch->count_down();
}

struct Block {
    const double *first;
    const double *last;
    double sum;
    Latch *latch;
};

void forked_sum(void *context)
{
    auto *block = static_cast<Block *>(context);
    block->sum = sum_alone(block->first, block->last);
    block->latch->count_down();
}

void nothing(void *)
{
}

} // namespace

bool Team::post(void (*)(void *), void *)
{
    return false;
}

bool Team::set_idle_parents(size_t)
{
    return false;
}

bool Team::assemble()
{
    struct Meeting {
        std::mutex mutex;
        std::condition_variable changed;
        unsigned missing;
        static void join(void *context)
        {
            auto *meeting = static_cast<Meeting *>(context);
            std::unique_lock<std::mutex> lock(meeting->mutex);
            if (--meeting->missing == 0) {
                meeting->changed.notify_all();
            }
            meeting->changed.wait(lock, [meeting] { return meeting->missing == 0; });
        }
    } meeting;
    meeting.missing = shape_.workers;
    return start_all(Meeting::join, &meeting, shape_.workers) && finish_all();
}

void Team::call(void *context)
{
    const Call *call = static_cast<const Call *>(context);
    Latch *latch = call->latch;
    call->run(call->context);
    latch->count_down();
}

bool Team::start_all(void (*run)(void *), void *context, uint64_t n)
{
    all_ = {run, context, &latch_};
    latch_.reset(n);
    for (uint64_t i = 0; i < n; i++) {
        if (!post(call, &all_)) {
            return false;
        }
    }
    return true;
}

bool Team::finish_all()
{
    latch_.wait();
    return true;
}

bool Team::fib(unsigned n, uint64_t &result)
{
    if (!post(nothing, nullptr)) {
        return false;
    }
    Latch latch(1);
    Join root{this, nullptr, n, &latch, &result};
    root.missing = 1;
    post(forked_fib, &root);
    latch.wait();
    return true;
}

bool Team::sort(int *first, int *last)
{
    Latch latch(1);
    auto *range = new Range{this, first, last, &latch};
    if (!post(forked_sort, range)) {
        delete range;
        return false;
    }
    latch.wait();
    return true;
}

bool Team::sum(const double *first, const double *last, double &result)
{
    std::vector<Block> blocks;
    Latch latch(static_cast<uint64_t>((last - first + kSumAlone - 1) / kSumAlone));
    for (; first < last; first += kSumAlone) {
        blocks.push_back({first, first + std::min(kSumAlone, last - first), 0, &latch});
    }
    for (Block &block : blocks) {
        if (!post(forked_sum, &block)) {
            return false;
        }
    }
    latch.wait();
    result = 0;
    for (const Block &block : blocks) {
        result += block.sum;
    }
    return true;
}

uint64_t Team::next_id()
{
    static uint64_t last = 0;
    return ++last;
}

void Team::place(unsigned number)
{
    static thread_local uint64_t team = 0; // that placed it last
    static thread_local unsigned as = 0;
    if (team == id_ && as == number) {
        return;
    }
    team = id_;
    as = number;
    pin(pinned_ ? std::vector<int>{shape_.cpus[number % shape_.cpus.size()]} : shape_.cpus);
}

void Team::place()
{
    static thread_local uint64_t team = 0;
    static thread_local unsigned number = 0;
    if (team != id_) {
        team = id_;
        number = placed_.fetch_add(1, std::memory_order_relaxed);
    }
    place(number);
}

} // namespace bench
