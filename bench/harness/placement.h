// SPDX-License-Identifier: MIT
// placement: where the two CPUs are in relation to each other, right now. A hypervisor moves its
// virtual CPUs about within seconds, so it is measured beside every sample, not once.
#ifndef BENCH_PLACEMENT_H
#define BENCH_PLACEMENT_H

#include <vector>

#include "harness/pair.h"

namespace bench
{

// any: of a workload whose samples are filed together, wherever the CPUs were.
enum class Place { smt, l3, across, one_cpu, mixed, any };

constexpr Place kPlaces[] = {Place::smt, Place::l3, Place::across, Place::one_cpu, Place::mixed};

const char *name(Place place);

// Line round trips below the first cut are those of siblings of one core, below the second those of
// cores that share a cache. The defaults lie between the clusters of AMD's EPYC under KVM, which
// are at 65 to 70, 85 to 115 and 385 to 500 ns on one day, and all smaller on another; so every
// report ends with the clusters that it saw, and says where a cut would part two that were filed
// together.
struct Cuts {
    double smt_ns = 75;
    double l3_ns = 180;
};

Place classify(double line_rt_ns, const Cuts &cuts);

// A cut between two clusters of these, if there are two: hardly any of them lies near it, and a
// part that matters on either side. 0: there is one cluster.
double cut_between(std::vector<double> line_rt_ns);

// Mean time for one shared line to go from A to B and back, both polling without pause.
double line_round_trip_ns(Pair &pair);

} // namespace bench

#endif // BENCH_PLACEMENT_H
