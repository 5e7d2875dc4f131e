// SPDX-License-Identifier: MIT
// atomic_queue: "try", which can find it full or empty, and "optimist", which takes its place first
// and then spins until it is free or filled. Messages of 8 bytes are atomic elements, larger ones
// have a state byte each.
#include <atomic_queue/atomic_queue.h>
#include <stdexcept>
#include <type_traits>

#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

// Says that a slot is empty; no first word of a message is this.
constexpr uint64_t kNone = UINT64_MAX - 1;

// The capacity is part of the type: the other tables leave it out.
constexpr unsigned kFixedCapacity = 1024;

template <size_t Words> class Fixed : public Peer
{
  public:
    using Item = Message<Words>;

    Fixed(size_t capacity, uint32_t)
    {
        if (capacity != kFixedCapacity) {
            throw std::invalid_argument("another capacity");
        }
    }

    BENCH_PEER_INLINE size_t try_send(const Item *message, size_t)
    {
        return queue_.try_push(message->words[0]);
    }

    BENCH_PEER_INLINE size_t try_receive(Item *message, size_t)
    {
        return queue_.try_pop(message->words[0]);
    }

  private:
    alignas(STRAIT_LINE)
        atomic_queue::AtomicQueue<uint64_t, kFixedCapacity, kNone, true, true, false, true> queue_;
};

template <size_t Words, bool One, bool Total> struct Chosen {
    using Queue = atomic_queue::AtomicQueueB2<Message<Words>, LineAllocator<Message<Words>>, true,
                                              Total, One>;
};
template <bool One, bool Total> struct Chosen<1, One, Total> {
    using Queue =
        atomic_queue::AtomicQueueB<uint64_t, LineAllocator<uint64_t>, kNone, true, Total, One>;
};

template <size_t Words, bool One, bool Total = false> class Try : public Peer
{
  public:
    using Queue = typename Chosen<Words, One, Total>::Queue;
    using Item = typename Queue::value_type;

    Try(size_t capacity, uint32_t) : queue_(static_cast<unsigned>(capacity))
    {
    }

    BENCH_PEER_INLINE size_t try_send(const Item *message, size_t)
    {
        return queue_.try_push(*message);
    }

    BENCH_PEER_INLINE size_t try_receive(Item *message, size_t)
    {
        return queue_.try_pop(*message);
    }

    BENCH_PEER_INLINE void send(const Item *message, size_t)
    {
        queue_.push(*message);
    }

    BENCH_PEER_INLINE void receive(Item *message, size_t)
    {
        *message = queue_.pop();
    }

  protected:
    alignas(STRAIT_LINE) Queue queue_;
};

// A receiver of many cannot know which message is the last, so it looks before it takes a place.
template <size_t Words, bool Total> class Optimist : public Try<Words, false, Total>
{
  public:
    using Item = typename Try<Words, false, Total>::Item;
    using Try<Words, false, Total>::Try;

    BENCH_PEER_INLINE size_t try_send(const Item *message, size_t)
    {
        this->queue_.push(*message);
        return 1;
    }

    BENCH_PEER_INLINE size_t try_receive(Item *message, size_t)
    {
        if (this->queue_.was_empty()) {
            return 0;
        }
        *message = this->queue_.pop();
        return 1;
    }
};

template <size_t Words> using TryOne = Try<Words, true>;
template <size_t Words> using TryMany = Try<Words, false>;
template <size_t Words> using OptimistMany = Optimist<Words, false>;
template <size_t Words> using OptimistTotal = Optimist<Words, true>;

BENCH_PEER_LOOPS_SINGLE(try_one, TryOne, TryOne)
BENCH_PEER_PAYLOAD_LOOPS(try_one, TryOne, TryOne)
BENCH_LOOPS_SINGLE(fixed_8, peer_try_send<Fixed<1>>, peer_try_receive<Fixed<1>>, 1)
BENCH_PEER_LOOPS_SINGLE(try_many, TryMany, TryMany)
BENCH_PEER_LOOPS_SINGLE(optimist_many, OptimistMany, OptimistMany)
BENCH_PEER_LOOPS_SINGLE(optimist_total, OptimistTotal, OptimistTotal)

/* ---- one sender, optimist: neither side looks, so the last message has to say that it is ---- */

template <size_t Words> void optimist_send(void *end, bench_stream *stream)
{
    auto *queue = peer_end<TryOne<Words>>(end);
    using Item = typename TryOne<Words>::Item;
    Item message;
    auto *words = reinterpret_cast<uint64_t *>(&message);
    uint64_t sent = 0;
    uint64_t now = bench_ticks();
    do {
        uint64_t before = now;
        for (uint32_t i = 0; i < bench_chunk(Words); i++, sent++) {
            bench_fill(words, sent, 1, Words);
            queue->send(&message, 1);
        }
        now = bench_ticks();
        bench_record(stream, now - before);
    } while (now < stream->until);
    words[0] = BENCH_STOP;
    queue->send(&message, 1);
    /* stream.end: pairs with stream.done; nothing but the count */
    strait_word_store_release(&stream->total, static_cast<uintptr_t>(sent));
}

template <size_t Words> void optimist_receive(void *end, bench_stream *stream)
{
    auto *queue = peer_end<TryOne<Words>>(end);
    using Item = typename TryOne<Words>::Item;
    Item message;
    const auto *words = reinterpret_cast<const uint64_t *>(&message);
    uint64_t received = 0;
    uint64_t sum = 0;
    uint64_t disorder = 0;
    for (queue->receive(&message, 1); words[0] != BENCH_STOP; queue->receive(&message, 1)) {
        disorder += words[0] != received++;
        for (size_t w = 0; w < Words; w++) {
            sum += words[w];
        }
    }
    stream->received = received;
    stream->sum = sum;
    stream->disorder = disorder;
}

template <size_t Words>
BENCH_INLINE size_t optimist_try_send(void *end, const void *message, size_t)
{
    peer_send<TryOne<Words>>(end, message, 1);
    return 1;
}

template <size_t Words> BENCH_INLINE size_t optimist_try_receive(void *end, void *message, size_t)
{
    peer_receive<TryOne<Words>>(end, message, 1);
    return 1;
}

#define OPTIMIST(BYTES, NAME) OPTIMIST_WORDS(NAME##_##BYTES, (BYTES) / 8)
#define OPTIMIST_WORDS(NAME, WORDS)                                                                \
    BENCH_BOUNCE_LOOPS(NAME, optimist_try_send<WORDS>, optimist_try_receive<WORDS>, WORDS)         \
    const bench_loops NAME = {optimist_send<WORDS>,                                                \
                              optimist_receive<WORDS>,                                             \
                              nullptr,                                                             \
                              nullptr,                                                             \
                              NAME##_ping,                                                         \
                              NAME##_pong,                                                         \
                              nullptr,                                                             \
                              nullptr,                                                             \
                              nullptr,                                                             \
                              nullptr,                                                             \
                              nullptr};

BENCH_EACH_SIZE(OPTIMIST, optimist)

#define RING(NAME, NOTE, SENDERS, QUEUE, LOOPS)                                                    \
    {                                                                                              \
        NAME, NOTE, SENDERS, nullptr, create_peer<QUEUE>, destroy_peer, open_peer_sender,          \
            open_peer_receiver, LOOPS, nullptr                                                     \
    }
#define LARGE "no batches; holds at least 4096 messages that are not 8 bytes"

const bench_ring variants[] = {
    RING("atomic_queue.try", LARGE, BENCH_ONE_SENDER, TryOne, BENCH_ALL_LOOPS(try_one)),
    {"atomic_queue.try.fixed",
     "no batches; its capacity is part of its type",
     BENCH_ONE_SENDER,
     nullptr,
     create_peer_of_8<Fixed<1>>,
     destroy_peer,
     open_peer_sender,
     open_peer_receiver,
     {&fixed_8},
     nullptr},
    RING("atomic_queue.try.mpsc", "does not keep the order of one sender among several; " LARGE,
         BENCH_ANY_SENDERS, TryMany, BENCH_MAIN_LOOPS(try_many)),
    RING("atomic_queue.optimist", "blocks, cannot try; " LARGE, BENCH_ONE_SENDER, TryOne,
         BENCH_ALL_LOOPS(optimist)),
    RING("atomic_queue.optimist.mpsc",
         "blocks, cannot try; promises no order of one sender among several; " LARGE,
         BENCH_ANY_SENDERS, OptimistMany, BENCH_MAIN_LOOPS(optimist_many)),
    RING("atomic_queue.optimist.mpsc.total_order",
         "blocks, cannot try; a message that takes the slot of a sender that sleeps, a lap behind, "
         "overtakes those that its own sender sent before; " LARGE,
         BENCH_ANY_SENDERS, OptimistTotal, BENCH_MAIN_LOOPS(optimist_total)),
};

} // namespace

void add_atomic_queue(std::vector<const bench_ring *> &rings)
{
    for (const bench_ring &ring : variants) {
        rings.push_back(&ring);
    }
}

} // namespace bench
