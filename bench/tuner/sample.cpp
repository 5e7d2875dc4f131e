// SPDX-License-Identifier: MIT
#include "tuner/sample.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <thread>

#include "harness/clock.h"
#include "harness/relax.h"
#include "tuner/numbering.h"

namespace tuner
{
namespace
{

constexpr int64_t kPatienceNs = 5000000000; // without an end: something is lost
constexpr size_t kChunk = 1024;             // messages between two looks at the clock, at least

// Short, so that the placement rarely changes within one; long enough for each of the senders to
// have its turn, or for some messages to be due.
double length_ns(const Request &request)
{
    if (request.rate > 0) {
        double ns = 1e9 / request.rate;
        return std::max(2.5 * ns, std::min(std::max(200 * ns, 10e6), 100e6));
    }
    return std::min(4e6 + 6e6 * (request.senders - 1), 60e6);
}

struct alignas(STRAIT_LINE) Sender {
    strait_sender handle = {};
    uint64_t sent = 0;
    bool behind = false;
    bool stuck = false;
    bench::Histogram chunks; // ns
};

struct alignas(STRAIT_LINE) Receiver {
    strait_receiver handle = {};
    std::vector<uint64_t> next; // number, of each sender
    uint64_t received = 0;
    uint64_t disorder = 0;
    uint64_t end_ns = 0;
    double cpu = 0;
    bool stuck = false;
    bench::Histogram latencies;
};

uint64_t thread_cpu_ns()
{
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

class Flow
{
  public:
    Flow(const Candidate &candidate, const Request &request)
        : candidate_(candidate), request_(request), numbering_(request.bytes, request.senders)
    {
        receiver_.next.resize(request.senders);
    }

    ~Flow()
    {
        strait_channel_destroy(channel_, nullptr, nullptr);
        std::free(memory_);
    }

    Flow(const Flow &) = delete;
    Flow &operator=(const Flow &) = delete;

    // In memory that has been touched. False: not to be had.
    bool open()
    {
        strait_channel_options options = options_of(candidate_, request_);
        if (posix_memalign(&memory_, STRAIT_LINE, candidate_.memory) != 0) {
            memory_ = nullptr;
            return false;
        }
        std::memset(memory_, 0, candidate_.memory);
        if (strait_channel_init(&channel_, memory_, candidate_.memory, &options) != 0 ||
            strait_receiver_open(&receiver_.handle, channel_) != 0) {
            return false;
        }
        for (unsigned i = 0; i < request_.senders; i++) {
            if (strait_sender_open(&senders_.emplace_back().handle, channel_) != 0) {
                return false;
            }
        }
        return true;
    }

    // On side A: the senders share its CPU.
    void send_all()
    {
        if (request_.senders == 1) {
            start();
            send(0);
            return;
        }
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < request_.senders; i++) {
            threads.emplace_back([this, i] {
                while (!started_.load(std::memory_order_acquire)) {
                    sched_yield();
                }
                send(i);
            });
        }
        start();
        for (std::thread &thread : threads) {
            thread.join();
        }
    }

    // On side B.
    void receive_all()
    {
        std::vector<unsigned char> messages(candidate_.batch * request_.bytes);
        int64_t deadline = strait_deadline(kPatienceNs);
        uint64_t begin = bench_nanoseconds();
        uint64_t cpu = thread_cpu_ns();
        ptrdiff_t n;
        strait_receiver_adopt(&receiver_.handle);
        while ((n = strait_receive(&receiver_.handle, messages.data(), candidate_.batch,
                                   deadline)) > 0) {
            take(messages.data(), static_cast<size_t>(n));
        }
        receiver_.stuck = n != -EPIPE;
        receiver_.end_ns = bench_nanoseconds();
        receiver_.cpu = static_cast<double>(thread_cpu_ns() - cpu) /
                        static_cast<double>(receiver_.end_ns - begin);
        strait_receiver_close(&receiver_.handle);
    }

    // After both.
    Sample result() const
    {
        Sample sample;
        uint64_t sent = 0;
        bool stuck = receiver_.stuck;
        bench::Histogram chunks;
        for (const Sender &sender : senders_) {
            chunks.merge(sender.chunks);
            sent += sender.sent;
            sample.behind = sample.behind || sender.behind;
            stuck = stuck || sender.stuck;
        }
        sample.received = receiver_.received;
        sample.ns_per_message = static_cast<double>(receiver_.end_ns - start_ns_) /
                                static_cast<double>(std::max<uint64_t>(sample.received, 1));
        sample.typical_ns = chunks.percentile(0.5) / kChunk / request_.senders;
        sample.receiver_cpu = receiver_.cpu;
        sample.latencies = receiver_.latencies;
        if (receiver_.disorder > 0) {
            sample.error = std::to_string(receiver_.disorder) + " messages out of order";
        } else if (sent != sample.received) {
            sample.error = std::to_string(sent) + " messages sent, " +
                           std::to_string(sample.received) + " received";
        } else if (stuck) {
            sample.error = "stuck";
        }
        return sample;
    }

  private:
    void start()
    {
        start_ns_ = bench_nanoseconds();
        started_.store(true, std::memory_order_release);
    }

    void send(unsigned i)
    {
        Sender &sender = senders_[i];
        strait_sender_adopt(&sender.handle);
        std::vector<unsigned char> messages(candidate_.batch * request_.bytes);
        if (request_.rate > 0) {
            send_at_rate(sender, i, messages.data());
        } else {
            send_fast(sender, i, messages.data());
        }
        strait_sender_close(&sender.handle);
    }

    bool send_batch(Sender &sender, unsigned i, unsigned char *messages, size_t n, int64_t deadline)
    {
        for (size_t k = 0; k < n; k++) {
            numbering_.write(messages + k * request_.bytes, i, sender.sent + k);
        }
        ptrdiff_t sent = strait_send(&sender.handle, messages, n, deadline);
        sender.sent += sent > 0 ? static_cast<uint64_t>(sent) : 0;
        sender.stuck = sent != static_cast<ptrdiff_t>(n);
        return !sender.stuck;
    }

    void send_fast(Sender &sender, unsigned i, unsigned char *messages)
    {
        uint64_t until = start_ns_ + static_cast<uint64_t>(length_ns(request_));
        int64_t deadline = strait_deadline(kPatienceNs);
        for (uint64_t now = start_ns_; now < until;) {
            uint64_t before = now;
            for (size_t k = 0; k < kChunk; k += candidate_.batch) {
                if (!send_batch(sender, i, messages, candidate_.batch, deadline)) {
                    return;
                }
            }
            now = bench_nanoseconds();
            sender.chunks.add(now - before);
        }
    }

    // When a message should be sent, whatever became of those before it.
    uint64_t due_ns(unsigned sender, uint64_t number) const
    {
        double turn = static_cast<double>(number) * request_.senders + sender + 1;
        return start_ns_ + static_cast<uint64_t>(turn * 1e9 / request_.rate);
    }

    void send_at_rate(Sender &sender, unsigned i, unsigned char *messages)
    {
        double length = length_ns(request_);
        auto total =
            static_cast<uint64_t>(std::ceil(length * request_.rate / 1e9 / request_.senders));
        uint64_t give_up = start_ns_ + static_cast<uint64_t>(3 * length);
        int64_t deadline = strait_deadline(kPatienceNs);
        while (sender.sent < total) {
            uint64_t now = bench_nanoseconds();
            if (now > give_up) {
                sender.behind = true;
                return;
            }
            size_t n = 0;
            while (n < candidate_.batch && sender.sent + n < total &&
                   due_ns(i, sender.sent + n) <= now) {
                n++;
            }
            if (n == 0) {
                let_others_run();
            } else if (!send_batch(sender, i, messages, n, deadline)) {
                return;
            }
        }
    }

    void let_others_run() const
    {
        if (request_.senders > 1) {
            sched_yield();
        } else {
            bench_relax();
        }
    }

    void take(const unsigned char *messages, size_t n)
    {
        uint64_t now = request_.rate > 0 ? bench_nanoseconds() : 0;
        for (size_t k = 0; k < n; k++) {
            const unsigned char *message = messages + k * request_.bytes;
            unsigned sender = numbering_.sender(message);
            receiver_.received++;
            if (sender >= request_.senders) {
                receiver_.disorder++;
                continue;
            }
            uint64_t number = receiver_.next[sender]++;
            receiver_.disorder += !numbering_.is(message, sender, number);
            if (request_.rate > 0) {
                uint64_t due = due_ns(sender, number);
                receiver_.latencies.add(now > due ? now - due : 0);
            }
        }
    }

    const Candidate &candidate_;
    const Request &request_;
    Numbering numbering_;
    void *memory_ = nullptr;
    strait_channel *channel_ = nullptr;
    std::deque<Sender> senders_; // does not move what it holds
    Receiver receiver_;
    uint64_t start_ns_ = 0; // written by A before anything is sent
    std::atomic<bool> started_{false};
};

} // namespace

Sample run_sample(bench::Pair &pair, const Candidate &candidate, const Request &request)
{
    Flow flow(candidate, request);
    if (!flow.open()) {
        Sample failed;
        failed.error = "cannot be created";
        return failed;
    }
    pair.run([&] { flow.send_all(); }, [&] { flow.receive_all(); });
    Sample sample = flow.result();
    sample.preempted = !bench_one_cpu && pair.preemptions() > 0;
    return sample;
}

} // namespace tuner
