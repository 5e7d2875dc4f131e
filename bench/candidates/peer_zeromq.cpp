// SPDX-License-Identifier: MIT
// ZeroMQ within a process: a pair of sockets.
#include <stdexcept>
#include <zmq.h>

#include "candidates/anywhere.h"
#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

constexpr char kAddress[] = "inproc://bench";

class Sockets : public Peer
{
  public:
    using Item = uint64_t;

    Sockets(size_t capacity, uint32_t)
    {
        Anywhere anywhere;
        zmq_ctx_set(context_, ZMQ_IO_THREADS, 0);
        receiver_ = zmq_socket(context_, ZMQ_PAIR);
        sender_ = zmq_socket(context_, ZMQ_PAIR);
        if (!limit(capacity) || zmq_bind(receiver_, kAddress) != 0 ||
            zmq_connect(sender_, kAddress) != 0) {
            close();
            throw std::runtime_error("zeromq");
        }
    }

    ~Sockets() override
    {
        close();
    }

    void send(const Item *message, size_t)
    {
        while (zmq_send(sender_, message, sizeof(Item), 0) < 0) {
        }
    }

    void receive(Item *message, size_t)
    {
        while (zmq_recv(receiver_, message, sizeof(Item), 0) < 0) {
        }
    }

  private:
    // The limits of both sides add up.
    bool limit(size_t capacity)
    {
        int half = static_cast<int>(capacity / 2);
        return zmq_setsockopt(sender_, ZMQ_SNDHWM, &half, sizeof(half)) == 0 &&
               zmq_setsockopt(receiver_, ZMQ_RCVHWM, &half, sizeof(half)) == 0;
    }

    void close()
    {
        zmq_close(sender_);
        zmq_close(receiver_);
        zmq_ctx_term(context_);
    }

    void *context_ = zmq_ctx_new();
    void *receiver_ = nullptr;
    void *sender_ = nullptr;
};

BENCH_BLOCKING_LOOPS(blocking, peer_send<Sockets>, peer_receive<Sockets>)

const bench_ring inproc = {"zeromq.inproc",  "holds about its capacity", BENCH_ONE_SENDER,
                           nullptr,          create_peer_of_8<Sockets>,  destroy_peer,
                           open_peer_sender, open_peer_receiver,         {},
                           &blocking};

} // namespace

void add_zeromq(std::vector<const bench_ring *> &rings)
{
    rings.push_back(&inproc);
}

} // namespace bench
