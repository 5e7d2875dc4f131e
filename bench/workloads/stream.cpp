// SPDX-License-Identifier: MIT
#include "workloads/stream.h"

#include "harness/ticks.h"

namespace bench
{

uint64_t sum_below(uint64_t n)
{
    return n % 2 == 0 ? n / 2 * (n - 1) : (n - 1) / 2 * n;
}

namespace
{

// Of all words of messages 0 to n - 1, modulo 2^64: word w of message i is i + w.
uint64_t expected_sum(uint64_t n, uint64_t words)
{
    return words * sum_below(n) + n * sum_below(words);
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

} // namespace

Outcome run_stream(Pair &pair, void *sender, void *receiver, const StreamLoops &loops, double ms,
                   uint64_t words, int64_t work_ns)
{
    static std::vector<uint32_t> chunks(kChunks, 1); // touched before the first sample
    bench_stream stream = {};
    stream.chunks = chunks.data();
    stream.chunk_limit = chunks.size();
    stream.patience = to_ticks(2e9);
    stream.total = BENCH_UNFINISHED;
    stream.work = to_ticks(static_cast<double>(work_ns));
    uint64_t start = 0;
    uint64_t end = 0;
    auto send = [&] {
        start = bench_ticks();
        stream.until = start + to_ticks(ms * 1e6);
        loops.send(sender, &stream);
    };
    pair.run(send, [&] { loops.receive(receiver, &stream); });
    end = bench_ticks();
    Outcome outcome;
    outcome.seconds = to_ns(end - start) / 1e9;
    outcome.items = stream.received;
    Histogram blocks;
    for (size_t i = 0; i < stream.chunk_count; i++) {
        blocks.add(static_cast<uint64_t>(to_ns(chunks[i])));
    }
    outcome.typical_ns = blocks.percentile(0.5) / bench_chunk(words);
    outcome.longest_gap_ns = blocks.max();
    outcome.error = check(stream, words);
    return outcome;
}

void sample_stream(benchmark::State &state, Harness &harness, const Workload &workload,
                   size_t column, const Stream &stream)
{
    Queue queue(stream.ring, stream.bytes, stream.capacity);
    if (!queue.open(harness.pair)) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, workload, stream.ring.name, column, [&](bool warm_up) {
        Outcome outcome = run_stream(harness.pair, queue.sender(), queue.receiver(), stream.loops,
                                     stream.ms * (warm_up ? 0.25 : 1), stream.bytes / 8);
        double whole_ns = outcome.seconds * 1e9 / static_cast<double>(outcome.items);
        double ns = harness.pair.preemptions() > 0 ? outcome.typical_ns : whole_ns;
        outcome.aside = static_cast<double>(stream.bytes) / ns;
        return outcome;
    });
}

} // namespace bench
