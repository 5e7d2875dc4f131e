// SPDX-License-Identifier: MIT
#include "workloads/parent.h"

#include <algorithm>
#include <array>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness/relax.h"

namespace bench
{
namespace
{

struct alignas(STRAIT_LINE) Sender {
    strait_sender handle = {};
};

struct alignas(STRAIT_LINE) Receiver {
    strait_receiver handle = {};
};

size_t at_least_0(ptrdiff_t n)
{
    return n > 0 ? static_cast<size_t>(n) : 0;
}

class Lanes : public Parent
{
  public:
    Lanes(size_t senders, size_t capacity) : senders_(senders)
    {
        strait_channel_options options = {};
        options.variant = "lanes";
        options.capacity = capacity;
        options.message_size = sizeof(uint64_t);
        options.senders = static_cast<uint32_t>(senders);
        strait_channel_create(&channel_, &options);
    }

    ~Lanes() override
    {
        strait_channel_destroy(channel_, nullptr, nullptr);
    }

    bool open_senders() override
    {
        return channel_ && std::all_of(senders_.begin(), senders_.end(), [this](Sender &sender) {
                   return strait_sender_open(&sender.handle, channel_) == 0;
               });
    }

    bool open_receiver() override
    {
        return channel_ && strait_receiver_open(&receiver_.handle, channel_) == 0;
    }

    strait_sender *busy() override
    {
        return &senders_[senders_.size() / 2].handle;
    }

    size_t receive(uint64_t *messages, size_t n) override
    {
        ptrdiff_t received;
        while ((received = strait_try_receive(&receiver_.handle, messages, n)) == -EAGAIN) {
            bench_relax();
        }
        return at_least_0(received);
    }

  private:
    strait_channel *channel_ = nullptr;
    std::vector<Sender> senders_;
    Receiver receiver_;
};

// A channel of the variant "spsc" for each sender.
class Channels : public Parent
{
  public:
    Channels(size_t channels, size_t capacity, strait_wait receiver)
        : channels_(channels), senders_(channels), receivers_(channels)
    {
        strait_channel_options options = {};
        options.capacity = capacity;
        options.message_size = sizeof(uint64_t);
        options.receiver = receiver;
        for (strait_channel *&channel : channels_) {
            strait_channel_create(&channel, &options);
        }
    }

    ~Channels() override
    {
        for (strait_channel *channel : channels_) {
            strait_channel_destroy(channel, nullptr, nullptr);
        }
    }

    bool open_senders() override
    {
        for (size_t i = 0; i < channels_.size(); i++) {
            if (!channels_[i] || strait_sender_open(&senders_[i].handle, channels_[i]) != 0) {
                return false;
            }
        }
        return true;
    }

    bool open_receiver() override
    {
        for (size_t i = 0; i < channels_.size(); i++) {
            if (!channels_[i] || strait_receiver_open(&receivers_[i].handle, channels_[i]) != 0) {
                return false;
            }
        }
        return true;
    }

    strait_sender *busy() override
    {
        return &senders_[senders_.size() / 2].handle;
    }

  protected:
    std::vector<strait_channel *> channels_;
    std::vector<Sender> senders_;
    std::vector<Receiver> receivers_;
};

class Scan : public Channels
{
  public:
    Scan(size_t channels, size_t capacity) : Channels(channels, capacity, STRAIT_WAIT_DEFAULT)
    {
    }

    size_t receive(uint64_t *messages, size_t n) override
    {
        for (;; bench_relax()) {
            for (size_t i = 0; i < receivers_.size(); i++) {
                size_t received = at_least_0(strait_try_receive(&next().handle, messages, n));
                if (received > 0) {
                    return received;
                }
            }
        }
    }

  private:
    Receiver &next()
    {
        current_ = current_ + 1 < receivers_.size() ? current_ + 1 : 0;
        return receivers_[current_];
    }

    size_t current_ = 0;
};

class Epoll : public Channels
{
  public:
    Epoll(size_t channels, size_t capacity) : Channels(channels, capacity, STRAIT_WAIT_FD)
    {
    }

    ~Epoll() override
    {
        close(epoll_);
    }

    bool open_receiver() override
    {
        if (!Channels::open_receiver()) {
            return false;
        }
        for (Receiver &receiver : receivers_) {
            epoll_event event = {};
            event.events = EPOLLIN;
            event.data.ptr = &receiver.handle;
            if (epoll_ctl(epoll_, EPOLL_CTL_ADD, strait_receiver_fd(&receiver.handle), &event) !=
                0) {
                return false;
            }
        }
        return true;
    }

    size_t receive(uint64_t *messages, size_t n) override
    {
        while (next_ < ready_ || wait()) {
            auto *receiver = static_cast<strait_receiver *>(events_[next_].data.ptr);
            size_t received =
                at_least_0(strait_try_receive(receiver, messages, std::min(n, budget_)));
            budget_ -= received;
            bool stays = received > 0 || strait_receiver_arm(receiver) == 0;
            if (!stays || budget_ == 0) {
                turn();
            }
            if (received > 0) {
                return received;
            }
        }
        for (Receiver &receiver : receivers_) { // so that nobody waits for room
            strait_receiver_close(&receiver.handle);
        }
        return 0;
    }

  private:
    // Messages of one channel before it is another one's turn.
    static constexpr size_t kBudget = 256;
    // Nothing by then: a wake-up is lost.
    static constexpr int kPatienceMs = 2000;

    void turn()
    {
        next_++;
        budget_ = kBudget;
    }

    bool wait()
    {
        int n = epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), kPatienceMs);
        next_ = 0;
        ready_ = at_least_0(n);
        return ready_ > 0;
    }

    int epoll_ = epoll_create1(EPOLL_CLOEXEC);
    std::array<epoll_event, 64> events_ = {};
    size_t next_ = 0;
    size_t ready_ = 0;
    size_t budget_ = kBudget;
};

// An eventfd for each channel is more than a process has by default.
void allow_descriptors()
{
    rlimit limit = {};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

} // namespace

std::unique_ptr<Parent> make_lanes_parent(size_t channels, size_t capacity)
{
    return std::make_unique<Lanes>(channels, capacity);
}

std::unique_ptr<Parent> make_scanning_parent(size_t channels, size_t capacity)
{
    return std::make_unique<Scan>(channels, capacity);
}

std::unique_ptr<Parent> make_epoll_parent(size_t channels, size_t capacity)
{
    allow_descriptors();
    return std::make_unique<Epoll>(channels, capacity);
}

} // namespace bench
