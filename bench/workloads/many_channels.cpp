// SPDX-License-Identifier: MIT
// Many channels: one receiver listens to 1 to 4096 senders, of which one sends as fast as it can,
// or all in turn, one message each.
#include <algorithm>
#include <array>
#include <memory>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "candidates/loops.h"
#include "harness/ticks.h"
#include "strait/extra/set.h"
#include "workloads/stream.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

// Of each sender.
constexpr size_t kCapacity = 64;

// The columns.
constexpr size_t kChannels[] = {1, 16, 256, 1024, 4096};

struct alignas(STRAIT_LINE) Sender {
    strait_sender handle = {};
};

struct alignas(STRAIT_LINE) Receiver {
    strait_receiver handle = {};
};

// The receiver of many senders, in the ways that strait offers.
class Parent
{
  public:
    explicit Parent(size_t senders) : senders_(senders)
    {
    }

    virtual ~Parent() = default;

    // Each on the thread that will use it; false: not to be had.
    virtual bool open_senders() = 0;
    virtual bool open_receiver() = 0;

    // Messages come to so many channels in turn, from the first one on.
    virtual void expect(size_t first, size_t busy)
    {
        (void)first, (void)busy;
    }

    // Up to n messages of one sender, if there are any: does not wait.
    virtual size_t receive(uint64_t *messages, size_t n) = 0;

    std::vector<Sender> &senders()
    {
        return senders_;
    }

  private:
    std::vector<Sender> senders_;
};

size_t at_least_0(ptrdiff_t n)
{
    return n > 0 ? static_cast<size_t>(n) : 0;
}

strait_channel *create(const char *variant, size_t senders, strait_wait receiver)
{
    strait_channel *channel = nullptr;
    strait_channel_options options = {};
    options.variant = variant;
    options.capacity = kCapacity;
    options.message_size = sizeof(uint64_t);
    options.senders = static_cast<uint32_t>(senders);
    options.receiver = receiver;
    strait_channel_create(&channel, &options);
    return channel;
}

// One channel of the variant "lanes", a lane for each sender.
class Lanes : public Parent
{
  public:
    explicit Lanes(size_t senders)
        : Parent(senders), channel_(create("lanes", senders, STRAIT_WAIT_PARK))
    {
    }

    ~Lanes() override
    {
        strait_channel_destroy(channel_, nullptr, nullptr);
    }

    bool open_senders() override
    {
        return channel_ && std::all_of(senders().begin(), senders().end(), [this](Sender &sender) {
                   return strait_sender_open(&sender.handle, channel_) == 0;
               });
    }

    bool open_receiver() override
    {
        return channel_ && strait_receiver_open(&receiver_.handle, channel_) == 0;
    }

    size_t receive(uint64_t *messages, size_t n) override
    {
        return at_least_0(strait_try_receive(&receiver_.handle, messages, n));
    }

  private:
    strait_channel *channel_;
    Receiver receiver_;
};

// A channel of the variant "spsc" for each sender.
class Channels : public Parent
{
  public:
    Channels(size_t channels, strait_wait receiver) : Parent(channels), receivers_(channels)
    {
        for (size_t i = 0; i < channels; i++) {
            channels_.push_back(create("spsc", 1, receiver));
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
        bool opened = true;
        for (size_t i = 0; i < channels_.size() && opened; i++) {
            opened = channels_[i] && strait_sender_open(&senders()[i].handle, channels_[i]) == 0;
        }
        return opened;
    }

    bool open_receiver() override
    {
        bool opened = true;
        for (size_t i = 0; i < channels_.size() && opened; i++) {
            opened = channels_[i] &&
                     strait_receiver_open(&receivers_[i].handle, channels_[i]) == 0 &&
                     add(receivers_[i].handle);
        }
        return opened;
    }

  protected:
    virtual bool add(strait_receiver &receiver) = 0;

  private:
    std::vector<strait_channel *> channels_;
    std::vector<Receiver> receivers_;
};

// Knows what no set can know: whose turn it is. It looks at that channel alone, for one message
// where the next one comes through another.
class Known : public Channels
{
  public:
    explicit Known(size_t channels) : Channels(channels, STRAIT_WAIT_PARK)
    {
    }

    void expect(size_t first, size_t busy) override
    {
        first_ = first;
        busy_ = busy;
        turn_ = 0;
    }

    size_t receive(uint64_t *messages, size_t n) override
    {
        strait_receiver &receiver = *receivers_[first_ + turn_];
        size_t received = at_least_0(strait_try_receive(&receiver, messages, busy_ > 1 ? 1 : n));
        if (received > 0) {
            turn_ = turn_ + 1 < busy_ ? turn_ + 1 : 0;
        }
        return received;
    }

  private:
    bool add(strait_receiver &receiver) override
    {
        receivers_.push_back(&receiver);
        return true;
    }

    std::vector<strait_receiver *> receivers_;
    size_t first_ = 0;
    size_t busy_ = 1;
    size_t turn_ = 0;
};

class Set : public Channels
{
  public:
    explicit Set(size_t channels) : Channels(channels, STRAIT_WAIT_PARK)
    {
        strait_set_create(&set_, static_cast<uint32_t>(channels), STRAIT_WAIT_SPIN);
    }

    ~Set() override
    {
        strait_set_destroy(set_);
    }

    size_t receive(uint64_t *messages, size_t n) override
    {
        strait_receiver *ready = nullptr;
        return strait_set_try_next(set_, &ready) == 0
                   ? at_least_0(strait_try_receive(ready, messages, n))
                   : 0;
    }

  private:
    bool add(strait_receiver &receiver) override
    {
        return set_ && strait_set_add(set_, &receiver) == 0;
    }

    strait_set *set_ = nullptr;
};

// What one does without a set: an fd for each channel, all of them in one epoll.
class Epoll : public Channels
{
  public:
    explicit Epoll(size_t channels) : Channels(channels, STRAIT_WAIT_FD)
    {
    }

    ~Epoll() override
    {
        close(epoll_);
    }

    size_t receive(uint64_t *messages, size_t n) override
    {
        if (next_ == ready_) {
            int count = epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), 0);
            next_ = 0;
            ready_ = at_least_0(count);
            return 0;
        }
        auto *receiver = static_cast<strait_receiver *>(events_[next_].data.ptr);
        size_t received = at_least_0(strait_try_receive(receiver, messages, n));
        next_ += received > 0 || strait_receiver_arm(receiver) == 1;
        return received;
    }

  private:
    bool add(strait_receiver &receiver) override
    {
        epoll_event event = {};
        event.events = EPOLLIN;
        event.data.ptr = &receiver;
        return epoll_ctl(epoll_, EPOLL_CTL_ADD, strait_receiver_fd(&receiver), &event) == 0;
    }

    int epoll_ = epoll_create1(EPOLL_CLOEXEC);
    std::array<epoll_event, 64> events_ = {};
    size_t next_ = 0;
    size_t ready_ = 0;
};

template <class T> std::unique_ptr<Parent> make(size_t channels)
{
    return std::make_unique<T>(channels);
}

// An eventfd for each channel is more than a process has by default.
std::unique_ptr<Parent> make_epoll(size_t channels)
{
    rlimit limit = {};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return make<Epoll>(channels);
}

struct ParentMaker {
    const char *name;
    std::unique_ptr<Parent> (*make)(size_t channels);
    size_t most;
};

const ParentMaker parents[] = {
    {"strait.spsc", make<Known>, 4096},
    {"strait.set", make<Set>, 4096},
    {"strait.lanes", make<Lanes>, STRAIT_SENDERS_MAX},
    {"epoll.strait.spsc", make_epoll, 4096},
};

// ---- one sample: message i goes to channel i modulo those that are busy ----

struct Turns {
    std::vector<Sender> &senders;
    size_t first;
    size_t busy;
    size_t next = 0;
};

BENCH_INLINE size_t send_in_turn(void *end, const void *messages, size_t n)
{
    auto *turns = static_cast<Turns *>(end);
    strait_sender *sender = &turns->senders[turns->first + turns->next].handle;
    size_t sent = at_least_0(strait_try_send(sender, messages, n));
    turns->next = turns->next + sent < turns->busy ? turns->next + sent : 0;
    return sent;
}

void send_loop(void *end, bench_stream *stream)
{
    uint64_t message[1];
    bench_send(end, send_in_turn, stream, message, 1, 1);
}

struct Taking {
    Parent &parent;
    std::vector<uint64_t> next; // of each busy channel
};

// Each channel's messages come in order; those of the channels may overtake each other.
void receive_loop(void *end, bench_stream *stream)
{
    auto *taking = static_cast<Taking *>(end);
    uint64_t messages[BENCH_BATCH];
    bench_tally tally = {0, 0, 0};
    size_t busy = taking->next.size();
    for (uint32_t idle = 0;;) {
        size_t n = taking->parent.receive(messages, BENCH_BATCH);
        if (n == 0) {
            if (bench_stream_done(stream, tally.received, idle++)) {
                break;
            }
            bench_relax();
            continue;
        }
        size_t channel = static_cast<size_t>(messages[0] % busy); // a division for each batch
        for (size_t i = 0; i < n; i++) {
            if (messages[i] != taking->next[channel]) { // of another channel, or out of order
                channel = static_cast<size_t>(messages[i] % busy);
                tally.disorder += messages[i] != taking->next[channel];
            }
            taking->next[channel] = messages[i] + busy;
            tally.sum += messages[i];
        }
        tally.received += n;
        idle = 0;
    }
    bench_tell(stream, &tally);
}

Outcome take(Harness &harness, Parent &parent, bool all, double ms)
{
    size_t channels = parent.senders().size();
    size_t busy = all ? channels : 1;
    Turns turns = {parent.senders(), all ? 0 : channels / 2, busy};
    Taking taking = {parent, std::vector<uint64_t>(busy)};
    for (size_t i = 0; i < busy; i++) {
        taking.next[i] = i;
    }
    parent.expect(turns.first, busy);
    return run_stream(harness.pair, &turns, &taking, {send_loop, receive_loop}, ms, 1);
}

Workload make_workload(const char *title)
{
    Workload workload{title, 1, "ns per message", {}};
    for (size_t channels : kChannels) {
        workload.columns.push_back(std::to_string(channels));
    }
    return workload;
}

void many_channels(benchmark::State &state, Harness &harness, const Workload &workload,
                   const ParentMaker &maker, size_t column, bool all)
{
    std::unique_ptr<Parent> parent = maker.make(kChannels[column]);
    bool sends = false;
    bool receives = false;
    harness.pair.run([&] { sends = parent->open_senders(); },
                     [&] { receives = parent->open_receiver(); });
    if (!sends || !receives) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, workload, maker.name, column, [&](bool warm_up) {
        return take(harness, *parent, all, harness.settings.sample_ms * (warm_up ? 0.25 : 1));
    });
}

void add_workload(Harness &harness, const Workload &workload, bool all)
{
    harness.results.declare(workload);
    for (const ParentMaker &maker : parents) {
        for (size_t column = 0; column < std::size(kChannels); column++) {
            if (kChannels[column] > maker.most) {
                continue;
            }
            add_benchmark(harness,
                          std::string(all ? "many_channels_in_turn/" : "many_channels/") +
                              maker.name,
                          {"channels"}, {static_cast<int64_t>(kChannels[column])},
                          [&harness, &workload, &maker, column, all](benchmark::State &state) {
                              many_channels(state, harness, workload, maker, column, all);
                          });
        }
    }
}

} // namespace

void add_many_channels(Harness &harness)
{
    static const Workload one = make_workload("one busy channel of many, 8 B, capacity 64");
    static const Workload all = make_workload("many channels, each has one message in turn, 8 B");
    add_workload(harness, one, false);
    add_workload(harness, all, true);
}

} // namespace bench
