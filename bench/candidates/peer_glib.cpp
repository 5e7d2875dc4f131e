// SPDX-License-Identifier: MIT
// GLib's queue of pointers; the pointer is the message.
#include <glib.h>

#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

class Queue : public Peer
{
  public:
    using Item = uint64_t;

    Queue(size_t, uint32_t) : queue_(g_async_queue_new())
    {
    }

    ~Queue() override
    {
        g_async_queue_unref(queue_);
    }

    BENCH_PEER_INLINE size_t try_send(const Item *message, size_t)
    {
        g_async_queue_push(queue_, to_pointer(*message));
        return 1;
    }

    BENCH_PEER_INLINE size_t try_receive(Item *message, size_t)
    {
        void *pointer = g_async_queue_try_pop(queue_);
        *message = to_message(pointer);
        return pointer != nullptr;
    }

    BENCH_PEER_INLINE void send(const Item *message, size_t)
    {
        g_async_queue_push(queue_, to_pointer(*message));
    }

    BENCH_PEER_INLINE void receive(Item *message, size_t)
    {
        *message = to_message(g_async_queue_pop(queue_));
    }

  private:
    static_assert(sizeof(void *) == sizeof(Item), "a message fits into a pointer");

    // A null pointer cannot be sent: it stands for a number that is none.
    static constexpr uint64_t kNone = uint64_t{1} << 63;

    static void *to_pointer(uint64_t message)
    {
        return reinterpret_cast<void *>(message ^ kNone);
    }

    static uint64_t to_message(void *pointer)
    {
        return reinterpret_cast<uint64_t>(pointer) ^ kNone;
    }

    GAsyncQueue *queue_;
};

BENCH_LOOPS_SINGLE(loops_8, peer_try_send<Queue>, peer_try_receive<Queue>, 1)
BENCH_BLOCKING_LOOPS(blocking, peer_send<Queue>, peer_receive<Queue>)

const bench_ring async_queue = {"glib.async_queue",
                                "unbounded; pointers only, no batches; takes a lock",
                                BENCH_ANY_SENDERS,
                                nullptr,
                                create_peer_of_8<Queue>,
                                destroy_peer,
                                open_peer_sender,
                                open_peer_receiver,
                                {&loops_8},
                                &blocking};

} // namespace

void add_glib(std::vector<const bench_ring *> &rings)
{
    rings.push_back(&async_queue);
}

} // namespace bench
