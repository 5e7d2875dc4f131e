// SPDX-License-Identifier: MIT
// DPDK's ring in its ways to synchronize, messages copied in and out; and its zero-copy interface,
// where the message is made and read in the ring itself.
#include <rte_config.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <rte_ring_peek_zc.h>
#include <stdexcept>

#include "candidates/in_place.h"
#include "candidates/peer.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

template <size_t Words, unsigned Flags> class Ring : public Peer
{
  public:
    using Item = Message<Words>;

    Ring(size_t capacity, uint32_t)
    {
        // Room for one slot more, as the ring keeps one free.
        auto slots = static_cast<unsigned>(strait_slots(capacity + 1));
        ssize_t size = rte_ring_get_memsize_elem(sizeof(Item), slots);
        if (size < 0) {
            throw std::invalid_argument("rte_ring");
        }
        memory_.resize((static_cast<size_t>(size) + sizeof(Line) - 1) / sizeof(Line));
        ring_ = reinterpret_cast<rte_ring *>(memory_.data());
        if (rte_ring_init(ring_, "bench", static_cast<unsigned>(capacity),
                          Flags | RING_F_EXACT_SZ) != 0) {
            throw std::invalid_argument("rte_ring");
        }
    }

    BENCH_PEER_INLINE size_t try_send(const Item *messages, size_t n)
    {
        auto count = static_cast<unsigned>(n);
        if constexpr ((Flags & RING_F_SP_ENQ) != 0) {
            return rte_ring_sp_enqueue_burst_elem(ring_, messages, sizeof(Item), count, nullptr);
        } else if constexpr ((Flags & RING_F_MP_RTS_ENQ) != 0) {
            return rte_ring_mp_rts_enqueue_burst_elem(ring_, messages, sizeof(Item), count,
                                                      nullptr);
        } else if constexpr ((Flags & RING_F_MP_HTS_ENQ) != 0) {
            return rte_ring_mp_hts_enqueue_burst_elem(ring_, messages, sizeof(Item), count,
                                                      nullptr);
        } else {
            return rte_ring_mp_enqueue_burst_elem(ring_, messages, sizeof(Item), count, nullptr);
        }
    }

    BENCH_PEER_INLINE size_t try_receive(Item *messages, size_t n)
    {
        return rte_ring_sc_dequeue_burst_elem(ring_, messages, sizeof(Item),
                                              static_cast<unsigned>(n), nullptr);
    }

  protected:
    struct alignas(STRAIT_LINE) Line {
        char bytes[STRAIT_LINE];
    };

    rte_ring *ring_ = nullptr;

  private:
    std::vector<Line, LineAllocator<Line>> memory_;
};

constexpr unsigned kOneSender = RING_F_SP_ENQ | RING_F_SC_DEQ;

template <size_t Words> class ZeroCopy : public Ring<Words, kOneSender>
{
  public:
    using Item = Message<Words>;
    using Ring<Words, kOneSender>::Ring;

    // Where the ring's memory ends, so does the run: what is finished may be less than was found.
    BENCH_PEER_INLINE size_t reserve(size_t n, strait_span *span)
    {
        rte_ring_zc_data room;
        unsigned count = rte_ring_enqueue_zc_burst_elem_start(
            this->ring_, sizeof(Item), static_cast<unsigned>(n), &room, nullptr);
        span->messages = room.ptr1;
        span->count = count > 0 ? room.n1 : 0;
        return span->count;
    }

    BENCH_PEER_INLINE void commit(const strait_span *span)
    {
        rte_ring_enqueue_zc_elem_finish(this->ring_, static_cast<unsigned>(span->count));
    }

    BENCH_PEER_INLINE size_t peek(size_t n, strait_span *span)
    {
        rte_ring_zc_data found;
        unsigned count = rte_ring_dequeue_zc_burst_elem_start(
            this->ring_, sizeof(Item), static_cast<unsigned>(n), &found, nullptr);
        span->messages = found.ptr1;
        span->count = count > 0 ? found.n1 : 0;
        return span->count;
    }

    BENCH_PEER_INLINE void release(const strait_span *span)
    {
        rte_ring_dequeue_zc_elem_finish(this->ring_, static_cast<unsigned>(span->count));
    }
};

template <size_t Words> BENCH_INLINE size_t reserve(void *end, size_t n, strait_span *span)
{
    return peer_end<ZeroCopy<Words>>(end)->reserve(n, span);
}

template <size_t Words> BENCH_INLINE void commit(void *end, const strait_span *span)
{
    peer_end<ZeroCopy<Words>>(end)->commit(span);
}

template <size_t Words> BENCH_INLINE size_t peek(void *end, size_t n, strait_span *span)
{
    return peer_end<ZeroCopy<Words>>(end)->peek(n, span);
}

template <size_t Words> BENCH_INLINE void release(void *end, const strait_span *span)
{
    peer_end<ZeroCopy<Words>>(end)->release(span);
}

template <size_t Words> using Single = Ring<Words, kOneSender>;
template <size_t Words> using Multi = Ring<Words, RING_F_SC_DEQ>;
template <size_t Words> using Rts = Ring<Words, RING_F_MP_RTS_ENQ | RING_F_SC_DEQ>;
template <size_t Words> using Hts = Ring<Words, RING_F_MP_HTS_ENQ | RING_F_SC_DEQ>;

BENCH_PEER_LOOPS(single, Single, Single)
BENCH_PEER_PAYLOAD_LOOPS(single, Single, Single)
BENCH_PEER_LOOPS(multi, Multi, Multi)
BENCH_PEER_LOOPS(rts, Rts, Rts)
BENCH_PEER_LOOPS(hts, Hts, Hts)

#define IN_PLACE(BYTES, NAME) IN_PLACE_WORDS(NAME##_##BYTES, (BYTES) / 8)
#define IN_PLACE_WORDS(NAME, WORDS)                                                                \
    BENCH_LOOPS_IN_PLACE(NAME, reserve<WORDS>, commit<WORDS>, peek<WORDS>, release<WORDS>, WORDS)
BENCH_EACH_SIZE(IN_PLACE, zero_copy)

#define RING(NAME, NOTE, SENDERS, QUEUE, LOOPS)                                                    \
    {                                                                                              \
        NAME, NOTE, SENDERS, nullptr, create_peer<QUEUE>, destroy_peer, open_peer_sender,          \
            open_peer_receiver, LOOPS, nullptr                                                     \
    }

constexpr char kWaits[] = "a sender waits for all that came before it, be they preempted";

const bench_ring variants[] = {
    RING("rte_ring", "promises as much", BENCH_ONE_SENDER, Single, BENCH_ALL_LOOPS(single)),
    RING("rte_ring.mp", kWaits, BENCH_ANY_SENDERS, Multi, BENCH_MAIN_LOOPS(multi)),
    RING("rte_ring.rts", "a preempted sender holds back the messages of all others",
         BENCH_ANY_SENDERS, Rts, BENCH_MAIN_LOOPS(rts)),
    RING("rte_ring.hts", kWaits, BENCH_ANY_SENDERS, Hts, BENCH_MAIN_LOOPS(hts)),
    RING("rte_ring.zero_copy", "nothing is copied", BENCH_ONE_SENDER, ZeroCopy,
         BENCH_ALL_LOOPS(zero_copy)),
};

} // namespace

void add_rte_ring(std::vector<const bench_ring *> &rings)
{
    for (const bench_ring &ring : variants) {
        rings.push_back(&ring);
    }
}

} // namespace bench
