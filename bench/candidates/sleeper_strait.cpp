// SPDX-License-Identifier: MIT
// A channel's receiver that waits: spinning, parked, or in an event loop on its eventfd.
#include <poll.h>

#include "candidates/table.h"
#include "strait.h"

namespace bench
{
namespace
{

// A wake-up that has not come by then is lost.
constexpr int kPatienceMs = 2000;

class Channel : public Sleeper
{
  public:
    explicit Channel(strait_channel *channel) : channel_(channel)
    {
    }

    ~Channel() override
    {
        strait_channel_destroy(channel_, nullptr, nullptr);
    }

    bool open_sender() override
    {
        return strait_sender_open(&sender_, channel_) == 0;
    }

    bool open_receiver() override
    {
        return strait_receiver_open(&receiver_, channel_) == 0;
    }

    void wake(uint64_t number) override
    {
        strait_try_send(&sender_, &number, 1);
    }

    uint64_t sleep() override
    {
        uint64_t number = 0;
        int64_t deadline = strait_deadline(kPatienceMs * 1000000);
        return strait_receive(&receiver_, &number, 1, deadline) == 1 ? number : 0;
    }

  protected:
    strait_channel *channel_;
    alignas(128) strait_sender sender_ = {};
    alignas(128) strait_receiver receiver_ = {};
};

// As an event loop does it: take what there is, arm, poll.
class ChannelFd : public Channel
{
  public:
    using Channel::Channel;

    uint64_t sleep() override
    {
        uint64_t number = 0;
        while (strait_try_receive(&receiver_, &number, 1) != 1) {
            int armed = strait_receiver_arm(&receiver_);
            pollfd watched = {strait_receiver_fd(&receiver_), POLLIN, 0};
            if (armed < 0 || (armed == 1 && poll(&watched, 1, kPatienceMs) != 1)) {
                return 0;
            }
        }
        return number;
    }
};

std::unique_ptr<Sleeper> make(const strait_variant *variant, strait_wait mode)
{
    strait_channel_options options = {};
    options.variant = variant->name;
    options.message_size = sizeof(uint64_t);
    options.receiver = mode;
    strait_channel *channel = nullptr;
    if (strait_channel_create(&channel, &options) != 0) {
        return nullptr;
    }
    if (mode == STRAIT_WAIT_FD) {
        return std::make_unique<ChannelFd>(channel);
    }
    return std::make_unique<Channel>(channel);
}

} // namespace

void add_strait_sleepers(std::vector<SleeperMaker> &sleepers)
{
    const struct {
        const char *name;
        strait_wait mode;
    } modes[] = {{"park", STRAIT_WAIT_PARK}, {"spin", STRAIT_WAIT_SPIN}, {"fd", STRAIT_WAIT_FD}};
    for (size_t i = 0; const strait_variant *variant = strait_variant_at(i); i++) {
        for (const auto &mode : modes) {
            sleepers.push_back({std::string("strait.") + variant->name + "." + mode.name,
                                [variant, wait = mode.mode] { return make(variant, wait); }});
        }
    }
}

} // namespace bench
