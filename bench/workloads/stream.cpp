// SPDX-License-Identifier: MIT
// Throughput: A sends as fast as it can for the length of a sample, B receives and checks.
#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/queue.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

struct Shape {
    int64_t bytes;
    int64_t batch;
    int64_t capacity;
};

// The columns of the table, in this order.
constexpr Shape kShapes[] = {{8, 1, 1024},   {8, BENCH_BATCH, 1024},
                             {64, 1, 1024},  {64, BENCH_BATCH, 1024},
                             {64, 1, 65536}, {64, BENCH_BATCH, 65536}};

Workload make_workload()
{
    Workload workload{"throughput", 1, "ns", {}};
    for (const Shape &shape : kShapes) {
        workload.columns.push_back(std::to_string(shape.bytes) + " B" +
                                   (shape.batch > 1 ? " x" + std::to_string(shape.batch) : "") +
                                   (shape.capacity == 1024 ? "" : ", 64 Ki"));
    }
    return workload;
}

// Of all words of messages 0 to n - 1, modulo 2^64: word w of message i is i + w.
uint64_t expected_sum(uint64_t n, uint64_t words)
{
    uint64_t of_numbers = n % 2 == 0 ? n / 2 * (n - 1) : (n - 1) / 2 * n;
    return words * of_numbers + n * (words * (words - 1) / 2);
}

std::string check(const bench_stream &stream, uint64_t words)
{
    if (stream.disorder > 0) {
        return std::to_string(stream.disorder) + " messages out of order";
    }
    if (stream.received != stream.total) {
        return std::to_string(stream.total) + " messages sent, " + std::to_string(stream.received) +
               " received";
    }
    return stream.sum == expected_sum(stream.received, words) ? "" : "wrong checksum";
}

// More than a sample has at 0.2 ns per message.
constexpr size_t kChunks = 1 << 15;

struct Loops {
    bench_send_fn *send;
    bench_receive_fn *receive;
};

Loops loops_of(const bench_ring &ring, const Shape &shape)
{
    const bench_loops *loops = shape.bytes == 8 ? ring.loops_8 : ring.loops_64;
    if (!loops) {
        return {nullptr, nullptr};
    }
    return shape.batch == 1 ? Loops{loops->send_single, loops->receive_single}
                            : Loops{loops->send_batch, loops->receive_batch};
}

Outcome run_stream(Pair &pair, Queue &queue, const Loops &loops, double ms, uint64_t words)
{
    static std::vector<uint32_t> chunks(kChunks, 1); // touched before the first sample
    bench_stream stream = {};
    stream.chunks = chunks.data();
    stream.chunk_limit = chunks.size();
    stream.patience = to_ticks(2e9);
    stream.total = BENCH_UNFINISHED;
    uint64_t start = 0;
    uint64_t end = 0;
    auto send = [&] {
        start = bench_ticks();
        stream.until = start + to_ticks(ms * 1e6);
        loops.send(queue.sender(), &stream);
    };
    pair.run(send, [&] { loops.receive(queue.receiver(), &stream); });
    end = bench_ticks();
    Outcome outcome;
    outcome.seconds = to_ns(end - start) / 1e9;
    outcome.items = stream.received;
    Histogram blocks;
    for (size_t i = 0; i < stream.chunk_count; i++) {
        blocks.add(static_cast<uint64_t>(to_ns(chunks[i])));
    }
    outcome.typical_ns = blocks.percentile(0.5) / BENCH_CHUNK;
    outcome.longest_gap_ns = blocks.max();
    outcome.error = check(stream, words);
    return outcome;
}

void stream(benchmark::State &state, Harness &harness, const Workload &workload,
            const bench_ring &ring, size_t column)
{
    const Shape &shape = kShapes[column];
    Queue queue(ring, static_cast<size_t>(shape.bytes), static_cast<size_t>(shape.capacity));
    harness.pair.run([&] { queue.open_sender(); }, [&] { queue.open_receiver(); });
    if (!queue.sender() || !queue.receiver()) {
        state.SkipWithError("cannot be created");
        return;
    }
    sample(state, harness, workload, ring.name, column, [&](bool warm_up) {
        double ms = harness.settings.sample_ms * (warm_up ? 0.25 : 1);
        return run_stream(harness.pair, queue, loops_of(ring, shape), ms,
                          static_cast<uint64_t>(shape.bytes) / 8);
    });
}

} // namespace

void add_streams(Harness &harness)
{
    static const Workload workload = make_workload();
    harness.results.declare(workload);
    for (const bench_ring *ring : rings()) {
        for (size_t column = 0; column < std::size(kShapes); column++) {
            const Shape &shape = kShapes[column];
            if (!loops_of(*ring, shape).send) {
                continue;
            }
            add_benchmark(harness, std::string("throughput/") + ring->name,
                          {"bytes", "batch", "capacity"},
                          {shape.bytes, shape.batch, shape.capacity},
                          [&harness, ring, column](benchmark::State &state) {
                              stream(state, harness, workload, *ring, column);
                          });
        }
    }
}

} // namespace bench
