// SPDX-License-Identifier: MIT
// workloads: what the candidates are made to do. Each is one file, called once from main.
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include "harness/harness.h"

namespace bench
{

void add_throughputs(Harness &harness);
void add_payloads(Harness &harness);
void add_blocking(Harness &harness);
void add_fan_ins(Harness &harness);
void add_pairs(Harness &harness);
void add_producers(Harness &harness);
void add_round_trips(Harness &harness);
void add_one_ways(Harness &harness);
void add_wake_ups(Harness &harness);
void add_bursts(Harness &harness);
void add_many_channels(Harness &harness);
void add_tasks(Harness &harness);
void add_sojourns(Harness &harness);
void add_spawns(Harness &harness);
void add_heaps(Harness &harness);
void add_works(Harness &harness);
void add_fork_joins(Harness &harness);
void add_parents(Harness &harness);
void add_gaps(Harness &harness);
void add_hogs(Harness &harness);
void add_waits(Harness &harness);
void add_creates(Harness &harness);
void add_processes(Harness &harness);

// A sample of another workload, as candidate floor.spsc: round trips of strait's spsc, 8 bytes.
void floor_of_spsc(benchmark::State &state, Harness &harness, const Workload &workload);

} // namespace bench

#endif // BENCH_WORKLOADS_H
