// SPDX-License-Identifier: MIT
// Many channels: one receiver listens to 1 to 1024 senders of which one sends, as fast as it can.
#include <cstring>

#include "candidates/loops.h"
#include "workloads/parent.h"
#include "workloads/stream.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr size_t kCapacity = 1024;

// The columns.
constexpr size_t kChannels[] = {1, 16, 64, 256, 1024};

const ParentMaker parents[] = {
    {"strait.lanes", make_lanes_parent},
    {"scan.strait.spsc", make_scanning_parent},
    {"epoll.strait.spsc", make_epoll_parent},
};

// Takes what there is in batches, hands it out one by one.
struct Inbox {
    Parent &parent;
    uint64_t messages[BENCH_BATCH] = {};
    size_t count = 0;
    size_t next = 0;
};

BENCH_INLINE void send(void *end, const void *messages, size_t n)
{
    while (strait_try_send(static_cast<strait_sender *>(end), messages, n) == -EAGAIN) {
        bench_relax();
    }
}

BENCH_INLINE void receive(void *end, void *message, size_t)
{
    auto *inbox = static_cast<Inbox *>(end);
    if (inbox->next == inbox->count) {
        inbox->count = inbox->parent.receive(inbox->messages, BENCH_BATCH);
        inbox->next = 0;
    }
    uint64_t stop = BENCH_STOP; // in case of an error
    bool any = inbox->next < inbox->count;
    std::memcpy(message, any ? &inbox->messages[inbox->next++] : &stop, sizeof(stop));
}

void send_loop(void *end, bench_stream *stream)
{
    bench_send_blocking(end, send, stream);
}

void receive_loop(void *end, bench_stream *stream)
{
    bench_receive_blocking(end, receive, stream);
}

Workload make_workload()
{
    Workload workload{"one busy channel of many, 8 B, capacity 1024", 1, "ns per message", {}};
    for (size_t channels : kChannels) {
        workload.columns.push_back(std::to_string(channels));
    }
    return workload;
}

void many_channels(benchmark::State &state, Harness &harness, const Workload &workload,
                   const ParentMaker &maker, size_t column)
{
    std::unique_ptr<Parent> parent = maker.make(kChannels[column], kCapacity);
    bool sends = false;
    bool receives = false;
    if (parent) {
        harness.pair.run([&] { sends = parent->open_senders(); },
                         [&] { receives = parent->open_receiver(); });
    }
    if (!sends || !receives) {
        state.SkipWithError(kNotCreated);
        return;
    }
    Inbox inbox{*parent};
    sample(state, harness, workload, maker.name, column, [&](bool warm_up) {
        double ms = harness.settings.sample_ms * (warm_up ? 0.25 : 1);
        return run_stream(harness.pair, parent->busy(), &inbox, {send_loop, receive_loop}, ms, 1);
    });
}

} // namespace

void add_many_channels(Harness &harness)
{
    static const Workload workload = make_workload();
    harness.results.declare(workload);
    for (const ParentMaker &maker : parents) {
        for (size_t column = 0; column < std::size(kChannels); column++) {
            add_benchmark(harness, std::string("many_channels/") + maker.name, {"channels"},
                          {static_cast<int64_t>(kChannels[column])},
                          [&harness, &maker, column](benchmark::State &state) {
                              many_channels(state, harness, workload, maker, column);
                          });
        }
    }
}

} // namespace bench
