// SPDX-License-Identifier: MIT
// NNG within a process: a pair of sockets.
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <stdexcept>
#include <string>

#include "candidates/anywhere.h"
#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

// NNG's own limit.
constexpr size_t kBufferMax = 8192;

std::string new_address()
{
    static unsigned number = 0;
    return "inproc://bench" + std::to_string(number++);
}

class Sockets : public Peer
{
  public:
    using Item = uint64_t;

    Sockets(size_t capacity, uint32_t)
    {
        Anywhere anywhere; // the first socket starts its threads
        std::string address = new_address();
        if (nng_pair0_open(&receiver_) != 0 || nng_pair0_open(&sender_) != 0 || !limit(capacity) ||
            nng_listen(receiver_, address.c_str(), nullptr, 0) != 0 ||
            nng_dial(sender_, address.c_str(), nullptr, 0) != 0) {
            close();
            throw std::runtime_error("nng");
        }
    }

    ~Sockets() override
    {
        close();
    }

    void send(const Item *message, size_t)
    {
        Item copy = *message; // it takes no const
        while (nng_send(sender_, &copy, sizeof(copy), 0) != 0) {
        }
    }

    void receive(Item *message, size_t)
    {
        size_t size = sizeof(Item);
        while (nng_recv(receiver_, message, &size, 0) != 0) {
            size = sizeof(Item);
        }
    }

  private:
    // The limits of both sides add up.
    bool limit(size_t capacity)
    {
        int half = static_cast<int>(std::min(capacity / 2, kBufferMax));
        return nng_socket_set_int(sender_, NNG_OPT_SENDBUF, half) == 0 &&
               nng_socket_set_int(receiver_, NNG_OPT_RECVBUF, half) == 0;
    }

    void close()
    {
        nng_close(sender_);
        nng_close(receiver_);
    }

    nng_socket receiver_ = NNG_SOCKET_INITIALIZER;
    nng_socket sender_ = NNG_SOCKET_INITIALIZER;
};

BENCH_BLOCKING_LOOPS(blocking, peer_send<Sockets>, peer_receive<Sockets>)

const bench_ring inproc = {"nng.inproc",
                           "holds about its capacity; passes messages on with threads of its own",
                           BENCH_ONE_SENDER,
                           nullptr,
                           create_peer_of_8<Sockets>,
                           destroy_peer,
                           open_peer_sender,
                           open_peer_receiver,
                           {},
                           &blocking};

} // namespace

void add_nng(std::vector<const bench_ring *> &rings)
{
    rings.push_back(&inproc);
}

} // namespace bench
