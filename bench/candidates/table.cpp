// SPDX-License-Identifier: MIT
// The table of candidates: one line each.
#include "candidates/table.h"
#include "peers.h"

extern "C" {
extern const bench_ring bench_line;
extern const bench_ring bench_lines;
extern const bench_ring bench_ck_ring;
extern const bench_ring bench_strait_in_place;
}

namespace bench
{

// One function for each family that is there: peers.h, from CMakeLists.txt.
#define DECLARE(FAMILY) void add_##FAMILY(std::vector<const bench_ring *> &rings);
BENCH_PEERS(DECLARE)
#define DECLARE_POOL(FAMILY) void add_##FAMILY##_runners(std::vector<RunnerMaker> &runners);
BENCH_POOLS(DECLARE_POOL)
#define DECLARE_TEAM(FAMILY) void add_##FAMILY##_teams(std::vector<TeamMaker> &teams);
BENCH_TEAMS(DECLARE_TEAM)

std::vector<const bench_ring *> rings()
{
    std::vector<const bench_ring *> all = {
        &bench_line,
        &bench_lines,
        &bench_ck_ring,
        &bench_strait_in_place,
    };
    for (size_t i = 0; const bench_ring *ring = bench_strait_inline_at(i); i++) {
        all.push_back(ring);
    }
    for (size_t i = 0; const bench_ring *ring = bench_reference_at(i); i++) {
        all.push_back(ring);
    }
    add_strait_channels(all);
#define ADD(FAMILY) add_##FAMILY(all);
    BENCH_PEERS(ADD)
    return all;
}

std::vector<MissingPeer> missing_peers()
{
#define MISSING(NAME, PACKAGE) {NAME, PACKAGE},
    return {BENCH_PEERS_MISSING(MISSING)};
}

std::vector<SleeperMaker> sleepers()
{
    std::vector<SleeperMaker> all = {
        {"floor.futex", make_futex_sleeper},
        {"floor.eventfd", make_eventfd_sleeper},
    };
    add_strait_sleepers(all);
    add_ring_sleepers(all);
    return all;
}

std::vector<RunnerMaker> runners()
{
    std::vector<RunnerMaker> all;
    add_strait_runners(all);
    add_mutex_runners(all);
#define ADD_POOL(FAMILY) add_##FAMILY##_runners(all);
    BENCH_POOLS(ADD_POOL)
    return all;
}

std::vector<TeamMaker> teams()
{
    std::vector<TeamMaker> all;
    add_strait_teams(all);
    add_mutex_teams(all);
#define ADD_TEAM(FAMILY) add_##FAMILY##_teams(all);
    BENCH_TEAMS(ADD_TEAM)
    return all;
}

RunnerMaker floor_runner()
{
    return {"floor.futex", make_futex_runner, false};
}

std::vector<SpawnerMaker> spawners()
{
    return {
        {"floor.pthread", make_thread_spawner},
        {"floor.pthread.pinned", make_pinned_thread_spawner},
        {"strait.worker", make_worker_spawner},
        {"strait.worker.unpinned", make_unpinned_worker_spawner},
        {"strait.worker.pinned", make_pinned_worker_spawner},
    };
}

} // namespace bench
