// SPDX-License-Identifier: MIT
// moodycamel's queue of one sender and one receiver, and its form whose receiver can sleep.
// Blocks are allocated beforehand here; after that it only tries.
#include <readerwriterqueue/readerwriterqueue.h>
#include <sched.h>

#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

template <class Queue, class Message> class Pair : public Peer
{
  public:
    using Item = Message;

    Pair(size_t capacity, uint32_t) : queue_(capacity)
    {
        Item message = {};
        for (size_t round = 0; round < 2; round++) { // its blocks form a circle: all are touched
            while (queue_.try_enqueue(message)) {
            }
            while (queue_.try_dequeue(message)) {
            }
        }
    }

    BENCH_PEER_INLINE size_t try_send(const Item *message, size_t)
    {
        return queue_.try_enqueue(*message);
    }

    BENCH_PEER_INLINE size_t try_receive(Item *message, size_t)
    {
        return queue_.try_dequeue(*message);
    }

    BENCH_PEER_INLINE void send(const Item *message, size_t)
    {
        while (!queue_.try_enqueue(*message)) {
            sched_yield();
        }
    }

    BENCH_PEER_INLINE void receive(Item *message, size_t)
    {
        queue_.wait_dequeue(*message);
    }

  private:
    alignas(STRAIT_LINE) Queue queue_;
};

template <size_t Words>
using ReaderWriter = Pair<moodycamel::ReaderWriterQueue<Message<Words>>, Message<Words>>;
using BlockingReaderWriter = Pair<moodycamel::BlockingReaderWriterQueue<Message<1>>, Message<1>>;

BENCH_PEER_LOOPS_SINGLE(reader_writer, ReaderWriter, ReaderWriter)
BENCH_PEER_PAYLOAD_LOOPS(reader_writer, ReaderWriter, ReaderWriter)
BENCH_BLOCKING_LOOPS(reader_writer_blocking, peer_send<BlockingReaderWriter>,
                     peer_receive<BlockingReaderWriter>)

const bench_ring variants[] = {
    {"moodycamel.readerwriter", "unbounded by nature; no batches; may hold more than its capacity",
     BENCH_ONE_SENDER, nullptr, create_peer<ReaderWriter>, destroy_peer, open_peer_sender,
     open_peer_receiver, BENCH_ALL_LOOPS(reader_writer), nullptr},
    {"moodycamel.readerwriter.blocking",
     "unbounded by nature: its sender cannot sleep, it yields when full",
     BENCH_ONE_SENDER,
     nullptr,
     create_peer_of_8<BlockingReaderWriter>,
     destroy_peer,
     open_peer_sender,
     open_peer_receiver,
     {},
     &reader_writer_blocking},
};

} // namespace

void add_readerwriter(std::vector<const bench_ring *> &rings)
{
    for (const bench_ring &ring : variants) {
        rings.push_back(&ring);
    }
}

} // namespace bench
