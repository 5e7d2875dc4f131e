// SPDX-License-Identifier: MIT
// The ring that everybody writes first: a mutex and two condition variables.
#include <pthread.h>

#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

template <size_t Words> class Ring : public Peer
{
  public:
    using Item = Message<Words>;

    Ring(size_t capacity, uint32_t) : slots_(strait_slots(capacity)), mask_(slots_.size() - 1)
    {
    }

    ~Ring() override
    {
        pthread_cond_destroy(&not_full_);
        pthread_cond_destroy(&not_empty_);
        pthread_mutex_destroy(&mutex_);
    }

    BENCH_PEER_INLINE size_t try_send(const Item *messages, size_t n)
    {
        pthread_mutex_lock(&mutex_);
        return unlock_and_wake(&not_empty_, receivers_, put(messages, n));
    }

    BENCH_PEER_INLINE size_t try_receive(Item *messages, size_t n)
    {
        pthread_mutex_lock(&mutex_);
        return unlock_and_wake(&not_full_, senders_, take(messages, n));
    }

    BENCH_PEER_INLINE void send(const Item *messages, size_t n)
    {
        for (size_t sent = 0; sent < n;) {
            pthread_mutex_lock(&mutex_);
            while (tail_ - head_ == slots_.size()) {
                wait(&not_full_, senders_);
            }
            sent += unlock_and_wake(&not_empty_, receivers_, put(messages + sent, n - sent));
        }
    }

    BENCH_PEER_INLINE void receive(Item *messages, size_t n)
    {
        for (size_t received = 0; received < n;) {
            pthread_mutex_lock(&mutex_);
            while (tail_ == head_) {
                wait(&not_empty_, receivers_);
            }
            size_t got = take(messages + received, n - received);
            received += unlock_and_wake(&not_full_, senders_, got);
        }
    }

  private:
    // With the mutex held, all of them.
    BENCH_PEER_INLINE size_t put(const Item *messages, size_t n)
    {
        n = std::min(n, slots_.size() - (tail_ - head_));
        for (size_t i = 0; i < n; i++) {
            slots_[tail_++ & mask_] = messages[i];
        }
        return n;
    }

    BENCH_PEER_INLINE size_t take(Item *messages, size_t n)
    {
        n = std::min(n, tail_ - head_);
        for (size_t i = 0; i < n; i++) {
            messages[i] = slots_[head_++ & mask_];
        }
        return n;
    }

    void wait(pthread_cond_t *condition, unsigned &waiting)
    {
        waiting++;
        pthread_cond_wait(condition, &mutex_);
        waiting--;
    }

    BENCH_PEER_INLINE size_t unlock_and_wake(pthread_cond_t *condition, unsigned waiting, size_t n)
    {
        pthread_mutex_unlock(&mutex_);
        if (n > 0 && waiting > 0) {
            pthread_cond_signal(condition);
        }
        return n;
    }

    alignas(STRAIT_LINE) pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
    size_t head_ = 0;
    size_t tail_ = 0;
    unsigned senders_ = 0; // that sleep
    unsigned receivers_ = 0;
    pthread_cond_t not_full_ = PTHREAD_COND_INITIALIZER;
    pthread_cond_t not_empty_ = PTHREAD_COND_INITIALIZER;
    alignas(STRAIT_LINE) std::vector<Item, LineAllocator<Item>> slots_; // not written again
    size_t mask_;
};

BENCH_PEER_LOOPS(loops, Ring, Ring)
BENCH_BLOCKING_LOOPS(blocking, peer_send<Ring<1>>, peer_receive<Ring<1>>)

const bench_ring mutex_ring = {"mutex.condvar",  "takes a lock",     BENCH_ANY_SENDERS,
                               nullptr,          create_peer<Ring>,  destroy_peer,
                               open_peer_sender, open_peer_receiver, BENCH_MAIN_LOOPS(loops),
                               &blocking};

} // namespace

void add_mutex(std::vector<const bench_ring *> &rings)
{
    rings.push_back(&mutex_ring);
}

} // namespace bench
