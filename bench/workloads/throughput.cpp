// SPDX-License-Identifier: MIT
// Throughput: A sends as fast as it can for the length of a sample, B receives and checks.
#include "candidates/table.h"
#include "workloads/stream.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

struct Shape {
    size_t bytes;
    size_t batch;
};

// The columns of each table, in this order.
constexpr Shape kShapes[] = {{8, 1},   {8, BENCH_BATCH},  {64, 1}, {64, BENCH_BATCH},
                             {256, 1}, {256, BENCH_BATCH}};

constexpr size_t kCapacities[] = {1, 64, 1024, 65536, 1 << 20};

// The ends of the curve are measured for the smallest message alone, batches where they have room.
bool is_measured(const Shape &shape, size_t capacity)
{
    return capacity >= shape.batch && (shape.bytes == 8 || (capacity > 1 && capacity <= 65536));
}

// A table for each capacity.
std::vector<Workload> make_workloads()
{
    std::vector<Workload> workloads;
    for (size_t capacity : kCapacities) {
        Workload workload{
            "throughput, capacity " + std::to_string(capacity), 1, "ns per message", {}};
        for (const Shape &shape : kShapes) {
            workload.columns.push_back(std::to_string(shape.bytes) + " B" +
                                       (shape.batch > 1 ? " x" + std::to_string(shape.batch) : ""));
        }
        workloads.push_back(workload);
    }
    return workloads;
}

StreamLoops loops_of(const bench_ring &ring, const Shape &shape)
{
    const bench_loops *loops = bench_loops_of(&ring, shape.bytes);
    if (!loops) {
        return {};
    }
    return shape.batch == 1 ? StreamLoops{loops->send_single, loops->receive_single}
                            : StreamLoops{loops->send_batch, loops->receive_batch};
}

void throughput(benchmark::State &state, Harness &harness, const Workload &workload,
                const bench_ring &ring, size_t capacity, size_t column)
{
    const Shape &shape = kShapes[column];
    sample_stream(state, harness, workload, column,
                  {ring, loops_of(ring, shape), shape.bytes, capacity, harness.settings.sample_ms});
}

void add(Harness &harness, const Workload &workload, const bench_ring &ring, size_t capacity,
         size_t column)
{
    const Shape &shape = kShapes[column];
    add_benchmark(harness, std::string("throughput/") + ring.name, {"bytes", "batch", "capacity"},
                  {static_cast<int64_t>(shape.bytes), static_cast<int64_t>(shape.batch),
                   static_cast<int64_t>(capacity)},
                  [&harness, &workload, &ring, capacity, column](benchmark::State &state) {
                      throughput(state, harness, workload, ring, capacity, column);
                  });
}

} // namespace

void add_throughputs(Harness &harness)
{
    static const std::vector<Workload> workloads = make_workloads();
    const std::vector<const bench_ring *> all = rings();
    for (size_t table = 0; table < workloads.size(); table++) {
        harness.results.declare(workloads[table]);
        for (const bench_ring *ring : all) {
            for (size_t column = 0; column < std::size(kShapes); column++) {
                if (loops_of(*ring, kShapes[column]).send &&
                    is_measured(kShapes[column], kCapacities[table])) {
                    add(harness, workloads[table], *ring, kCapacities[table], column);
                }
            }
        }
    }
}

} // namespace bench
