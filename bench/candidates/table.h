// SPDX-License-Identifier: MIT
// table: all candidates.
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include <memory>
#include <string>
#include <vector>

#include "candidates/ring.h"
#include "candidates/runner.h"
#include "candidates/sleeper.h"
#include "candidates/spawner.h"
#include "candidates/team.h"

namespace bench
{

// Streams and round trips.
std::vector<const bench_ring *> rings();

// Peers that are not among them, for want of a Debian package.
struct MissingPeer {
    const char *name;
    const char *package;
};
std::vector<MissingPeer> missing_peers();

// Wake-ups.
std::vector<SleeperMaker> sleepers();

// Tasks; the floor of them can do one at a time only.
std::vector<RunnerMaker> runners();
RunnerMaker floor_runner();

// Real work.
std::vector<TeamMaker> teams();

// Spawns.
std::vector<SpawnerMaker> spawners();

// One for each variant in strait's own table; one for each variant and wait mode.
void add_strait_channels(std::vector<const bench_ring *> &rings);
void add_strait_sleepers(std::vector<SleeperMaker> &sleepers);

// One for each ring that blocks.
void add_ring_sleepers(std::vector<SleeperMaker> &sleepers);

std::unique_ptr<Sleeper> make_futex_sleeper();
std::unique_ptr<Sleeper> make_eventfd_sleeper();

std::unique_ptr<Runner> make_futex_runner(int cpu, const Job &job);
void add_mutex_runners(std::vector<RunnerMaker> &runners);
void add_strait_runners(std::vector<RunnerMaker> &runners);

void add_mutex_teams(std::vector<TeamMaker> &teams);
void add_strait_teams(std::vector<TeamMaker> &teams);

std::unique_ptr<Spawner> make_thread_spawner(int cpu);
std::unique_ptr<Spawner> make_pinned_thread_spawner(int cpu);
std::unique_ptr<Spawner> make_worker_spawner(int cpu);
std::unique_ptr<Spawner> make_unpinned_worker_spawner(int cpu);
std::unique_ptr<Spawner> make_pinned_worker_spawner(int cpu);

} // namespace bench

#endif // BENCH_TABLE_H
