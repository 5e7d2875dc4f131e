// SPDX-License-Identifier: MIT
// A pipe, written and read one message at a time.
#include <fcntl.h>
#include <stdexcept>
#include <unistd.h>

#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

class Pipe : public Peer
{
  public:
    using Item = uint64_t;

    Pipe(size_t capacity, uint32_t)
    {
        if (pipe2(ends_, O_CLOEXEC) != 0) {
            throw std::runtime_error("pipe");
        }
        fcntl(ends_[1], F_SETPIPE_SZ, static_cast<int>(capacity * sizeof(Item)));
    }

    ~Pipe() override
    {
        close(ends_[0]);
        close(ends_[1]);
    }

    // So small a message goes in and comes out as a whole.
    void send(const Item *message, size_t)
    {
        while (write(ends_[1], message, sizeof(Item)) != static_cast<ssize_t>(sizeof(Item))) {
        }
    }

    void receive(Item *message, size_t)
    {
        while (read(ends_[0], message, sizeof(Item)) != static_cast<ssize_t>(sizeof(Item))) {
        }
    }

  private:
    int ends_[2];
};

BENCH_BLOCKING_LOOPS(blocking, peer_send<Pipe>, peer_receive<Pipe>)

const bench_ring pipe_ring = {"pipe",
                              "two system calls for each message",
                              BENCH_ANY_SENDERS,
                              nullptr,
                              create_peer_of_8<Pipe>,
                              destroy_peer,
                              open_peer_sender,
                              open_peer_receiver,
                              {},
                              &blocking};

} // namespace

void add_pipe(std::vector<const bench_ring *> &rings)
{
    rings.push_back(&pipe_ring);
}

} // namespace bench
