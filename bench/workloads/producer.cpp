// SPDX-License-Identifier: MIT
// Producer: A computes for 0, 50 or 500 ns before each message, as a thread does that makes what it
// sends; B receives. What is counted is the time beyond the computing. The floor sends nothing: it
// is what the loop and its clock cost.
#include "candidates/loops.h"
#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/stream.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr size_t kCapacity = 1024;
constexpr int64_t kWorkNs[] = {0, 50, 500};

size_t keep(void *end, const void *messages, size_t n)
{
    asm volatile("" : : "r"(end), "r"(messages) : "memory");
    return n;
}

BENCH_COMPUTING_LOOP(nowhere, keep, 1)

Workload make_workload()
{
    Workload workload{"a producer that computes before each message, 8 B",
                      1,
                      "ns per message beyond the computing",
                      {}};
    for (int64_t ns : kWorkNs) {
        workload.columns.push_back(std::to_string(ns) + " ns");
    }
    return workload;
}

Outcome beyond_work(Outcome outcome, int64_t work_ns)
{
    double work = static_cast<double>(work_ns);
    outcome.typical_ns -= work;
    outcome.seconds -= work * static_cast<double>(outcome.items) / 1e9;
    return outcome;
}

void produce(benchmark::State &state, Harness &harness, const Workload &workload,
             const bench_ring &ring, size_t column)
{
    Queue queue(ring, 8, kCapacity);
    if (!queue.open(harness.pair)) {
        state.SkipWithError(kNotCreated);
        return;
    }
    const bench_loops *of_8 = ring.loops[BENCH_8];
    StreamLoops loops{of_8->send_computing, of_8->receive_single};
    sample(state, harness, workload, ring.name, column, [&](bool warm_up) {
        double ms = harness.settings.sample_ms * (warm_up ? 0.25 : 1);
        return beyond_work(run_stream(harness.pair, queue.sender(), queue.receiver(), loops, ms, 1,
                                      kWorkNs[column]),
                           kWorkNs[column]);
    });
}

// What was sent nowhere is taken for received.
void receive_all(void *, bench_stream *stream)
{
    while (strait_word_load_relaxed(&stream->total) == BENCH_UNFINISHED) {
        bench_relax();
    }
    stream->received = strait_word_load_relaxed(&stream->total);
    stream->sum = sum_below(stream->received);
}

void floor(benchmark::State &state, Harness &harness, const Workload &workload, size_t column)
{
    StreamLoops loops{nowhere_send_computing, receive_all};
    sample(state, harness, workload, "floor.nowhere", column, [&](bool warm_up) {
        double ms = harness.settings.sample_ms * (warm_up ? 0.25 : 1);
        return beyond_work(
            run_stream(harness.pair, nullptr, nullptr, loops, ms, 1, kWorkNs[column]),
            kWorkNs[column]);
    });
}

} // namespace

void add_producers(Harness &harness)
{
    static const Workload workload = make_workload();
    harness.results.declare(workload);
    for (size_t column = 0; column < std::size(kWorkNs); column++) {
        add_benchmark(harness, "producer/floor.nowhere", {"work_ns"}, {kWorkNs[column]},
                      [&harness, column](benchmark::State &state) {
                          floor(state, harness, workload, column);
                      });
        for (const bench_ring *ring : rings()) {
            if (ring->loops[BENCH_8] && ring->loops[BENCH_8]->send_computing) {
                add_benchmark(harness, std::string("producer/") + ring->name, {"work_ns"},
                              {kWorkNs[column]}, [&harness, ring, column](benchmark::State &state) {
                                  produce(state, harness, workload, *ring, column);
                              });
            }
        }
    }
}

} // namespace bench
