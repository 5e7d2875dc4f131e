// SPDX-License-Identifier: MIT
// strait's channels, the variant chosen at run time: an indirect call, the closed flag and the look
// for a sleeper on top of the ring.
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

const strait_variant *variant_of(const bench_ring *self)
{
    return static_cast<const strait_variant *>(self->context);
}

// In memory that has been touched, as every candidate's.
void *create(const bench_ring *self, size_t bytes, size_t capacity, uint32_t senders)
{
    strait_channel_options options = {};
    options.variant = variant_of(self)->name;
    options.capacity = capacity;
    options.message_size = bytes;
    options.senders = variant_of(self)->senders == STRAIT_SENDERS_REGISTERED ? senders : 0;
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

BENCH_LOOPS(loops_8, try_send, try_receive, 1)
BENCH_LOOPS(loops_64, try_send, try_receive, 8)
BENCH_LOOPS(loops_256, try_send, try_receive, 32)

} // namespace

void add_strait_channels(std::vector<const bench_ring *> &rings)
{
    static std::deque<std::string> names; // neither container moves what it holds
    static std::deque<bench_ring> channels;
    for (size_t i = 0; const strait_variant *variant = strait_variant_at(i); i++) {
        names.push_back(std::string("strait.") + variant->name);
        uint32_t senders =
            variant->senders == STRAIT_SENDERS_ONE ? BENCH_ONE_SENDER : BENCH_ANY_SENDERS;
        channels.push_back({names.back().c_str(), nullptr, senders, variant, create, destroy,
                            sender, receiver, &loops_8, &loops_64, &loops_256, nullptr});
        rings.push_back(&channels.back());
    }
}

} // namespace bench
