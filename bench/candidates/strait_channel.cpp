// SPDX-License-Identifier: MIT
// strait's channels, the variant chosen at run time: an indirect call, the closed flag and the look
// for a sleeper on top of the ring. "strait.<variant>" never blocks; ".park" and ".spin" do, each
// side in that mode. These also show what a send costs for a receiver that is awake but might park.
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>

#include "candidates/loops.h"
#include "candidates/table.h"
#include "strait.h"

namespace bench
{
namespace
{

struct alignas(STRAIT_LINE) Sender {
    strait_sender handle = {};
};

struct Channel {
    strait_channel *channel = nullptr;
    alignas(STRAIT_LINE) strait_receiver receiver = {};
    std::mutex opening;
    std::deque<Sender> senders; // does not move what it holds
};

// A candidate's context.
struct Kind {
    std::string name;
    const strait_variant *variant;
    strait_wait mode; // of both sides
};

const Kind &kind_of(const bench_ring *self)
{
    return *static_cast<const Kind *>(self->context);
}

// In memory that has been touched, as every candidate's.
void *create(const bench_ring *self, size_t bytes, size_t capacity, uint32_t senders)
{
    const Kind &kind = kind_of(self);
    strait_channel_options options = {};
    options.variant = kind.variant->name;
    options.capacity = capacity;
    options.message_size = bytes;
    options.senders = kind.variant->senders == STRAIT_SENDERS_REGISTERED ? senders : 0;
    options.sender = kind.mode;
    options.receiver = kind.mode;
    size_t size = 0;
    void *memory = nullptr;
    if (strait_channel_size(&options, &size) != 0 ||
        posix_memalign(&memory, STRAIT_LINE, size) != 0) {
        return nullptr;
    }
    std::memset(memory, 0, size);
    auto *queue = new Channel;
    if (strait_channel_init(&queue->channel, memory, size, &options) != 0) {
        delete queue;
        std::free(memory);
        return nullptr;
    }
    return queue;
}

void destroy(const bench_ring *, void *queue)
{
    auto *channel = static_cast<Channel *>(queue);
    void *memory = channel->channel;
    strait_channel_destroy(channel->channel, nullptr, nullptr);
    std::free(memory);
    delete channel;
}

void *sender(const bench_ring *, void *queue)
{
    auto *channel = static_cast<Channel *>(queue);
    std::lock_guard<std::mutex> lock(channel->opening);
    strait_sender *sender = &channel->senders.emplace_back().handle;
    return strait_sender_open(sender, channel->channel) == 0 ? sender : nullptr;
}

void *receiver(const bench_ring *, void *queue)
{
    auto *channel = static_cast<Channel *>(queue);
    return strait_receiver_open(&channel->receiver, channel->channel) == 0 ? &channel->receiver
                                                                           : nullptr;
}

BENCH_INLINE size_t try_send(void *end, const void *messages, size_t n)
{
    ptrdiff_t sent = strait_try_send(static_cast<strait_sender *>(end), messages, n);
    return sent > 0 ? static_cast<size_t>(sent) : 0;
}

BENCH_INLINE size_t try_receive(void *end, void *messages, size_t n)
{
    ptrdiff_t received = strait_try_receive(static_cast<strait_receiver *>(end), messages, n);
    return received > 0 ? static_cast<size_t>(received) : 0;
}

BENCH_INLINE void send(void *end, const void *messages, size_t n)
{
    strait_send(static_cast<strait_sender *>(end), messages, n, STRAIT_FOREVER);
}

BENCH_INLINE void receive(void *end, void *messages, size_t n)
{
    auto *to = static_cast<uint64_t *>(messages);
    for (size_t received = 0; received < n;) {
        ptrdiff_t some = strait_receive(static_cast<strait_receiver *>(end), to + received,
                                        n - received, STRAIT_FOREVER);
        received += some > 0 ? static_cast<size_t>(some) : 0;
    }
}

#define SIZED(BYTES, LOOPS) LOOPS(loops_##BYTES, try_send, try_receive, (BYTES) / 8)
BENCH_MAIN_SIZES(SIZED, BENCH_LOOPS)
BENCH_PAYLOAD_SIZES(SIZED, BENCH_PAYLOAD_LOOPS)
BENCH_BLOCKING_LOOPS(blocking_loops, send, receive)

// Of ".park" and ".spin": the one column in which a send's price shows best.
const bench_loops loops_awake = [] {
    bench_loops loops = {};
    loops.send_single = loops_8.send_single;
    loops.receive_single = loops_8.receive_single;
    return loops;
}();

bench_ring make_ring(const Kind &kind)
{
    bench_ring ring = {};
    ring.name = kind.name.c_str();
    ring.senders =
        kind.variant->senders == STRAIT_SENDERS_ONE ? BENCH_ONE_SENDER : BENCH_ANY_SENDERS;
    ring.context = &kind;
    ring.create = create;
    ring.destroy = destroy;
    ring.sender = sender;
    ring.receiver = receiver;
    if (kind.mode == STRAIT_WAIT_DEFAULT) {
#define SET(BYTES, RING) RING.loops[BENCH_##BYTES] = &loops_##BYTES;
        BENCH_EACH_SIZE(SET, ring)
    } else {
        ring.loops[BENCH_8] = &loops_awake;
        ring.blocking = &blocking_loops;
    }
    return ring;
}

// Neither container moves what it holds.
struct Channels {
    std::deque<Kind> kinds;
    std::deque<bench_ring> rings;

    Channels()
    {
        for (size_t i = 0; const strait_variant *variant = strait_variant_at(i); i++) {
            std::string name = std::string("strait.") + variant->name;
            add({name, variant, STRAIT_WAIT_DEFAULT});
            add({name + ".park", variant, STRAIT_WAIT_PARK});
            add({name + ".spin", variant, STRAIT_WAIT_SPIN});
        }
    }

    void add(const Kind &kind)
    {
        kinds.push_back(kind);
        rings.push_back(make_ring(kinds.back()));
    }
};

} // namespace

void add_strait_channels(std::vector<const bench_ring *> &rings)
{
    static const Channels channels;
    for (const bench_ring &ring : channels.rings) {
        rings.push_back(&ring);
    }
}

} // namespace bench
