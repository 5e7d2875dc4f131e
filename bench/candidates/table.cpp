// SPDX-License-Identifier: MIT
// The table of candidates: one line each.
#include "candidates/table.h"

extern "C" {
extern const bench_ring bench_line;
extern const bench_ring bench_ck_ring;
}

namespace bench
{

std::vector<const bench_ring *> rings()
{
    std::vector<const bench_ring *> all = {
        &bench_line,
        &bench_ck_ring,
    };
    for (size_t i = 0; const bench_ring *ring = bench_strait_inline_at(i); i++) {
        all.push_back(ring);
    }
    add_strait_channels(all);
    return all;
}

std::vector<SleeperMaker> sleepers()
{
    std::vector<SleeperMaker> all = {
        {"floor.futex", make_futex_sleeper},
        {"floor.eventfd", make_eventfd_sleeper},
    };
    add_strait_sleepers(all);
    return all;
}

std::vector<RunnerMaker> runners()
{
    return {
        {"floor.mutex", make_mutex_runner},
        {"strait.pool.park", make_parked_pool_runner},
        {"strait.pool.spin", make_spinning_pool_runner},
    };
}

} // namespace bench
