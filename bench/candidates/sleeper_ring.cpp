// SPDX-License-Identifier: MIT
// Every peer's ring that blocks, as a way to sleep; strait's modes are in sleeper_strait.cpp.
#include "candidates/table.h"
#include "harness/results.h"

namespace bench
{
namespace
{

constexpr size_t kCapacity = 1024;

class Ring : public Sleeper
{
  public:
    Ring(const bench_ring &ring, void *queue) : ring_(ring), queue_(queue)
    {
    }

    ~Ring() override
    {
        ring_.destroy(&ring_, queue_);
    }

    Ring(const Ring &) = delete;
    Ring &operator=(const Ring &) = delete;

    bool open_sender() override
    {
        sender_ = ring_.sender ? ring_.sender(&ring_, queue_) : queue_;
        return sender_ != nullptr;
    }

    bool open_receiver() override
    {
        receiver_ = ring_.receiver ? ring_.receiver(&ring_, queue_) : queue_;
        return receiver_ != nullptr;
    }

    void wake(uint64_t number) override
    {
        ring_.blocking->send_one(sender_, number);
    }

    uint64_t sleep() override
    {
        return ring_.blocking->receive_one(receiver_);
    }

  private:
    const bench_ring &ring_;
    void *queue_;
    void *sender_ = nullptr;
    void *receiver_ = nullptr;
};

std::unique_ptr<Sleeper> make(const bench_ring &ring)
{
    void *queue = ring.create(&ring, sizeof(uint64_t), kCapacity, 1);
    return queue ? std::make_unique<Ring>(ring, queue) : nullptr;
}

} // namespace

void add_ring_sleepers(std::vector<SleeperMaker> &sleepers)
{
    for (const bench_ring *ring : rings()) {
        if (ring->blocking && kind_of(ring->name) == Kind::peer) {
            sleepers.push_back({ring->name, [ring] { return make(*ring); }});
        }
    }
}

} // namespace bench
