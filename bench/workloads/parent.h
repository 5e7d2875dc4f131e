// SPDX-License-Identifier: MIT
// parent: the one receiver of many senders, in the ways that strait offers.
#ifndef BENCH_PARENT_H
#define BENCH_PARENT_H

#include <memory>
#include <vector>

#include "strait.h"

namespace bench
{

class Parent
{
  public:
    virtual ~Parent() = default;

    // Each on the thread that will use it; false: not to be had.
    virtual bool open_senders() = 0;
    virtual bool open_receiver() = 0;

    // The one that sends; the others never do.
    virtual strait_sender *busy() = 0;

    // Waits for messages of 8 bytes, wherever they come from: how many, at most n. 0: an error.
    virtual size_t receive(uint64_t *messages, size_t n) = 0;
};

struct ParentMaker {
    const char *name;
    std::unique_ptr<Parent> (*make)(size_t channels, size_t capacity); // null: not to be had
};

// One channel of the variant "lanes", a lane for each sender.
std::unique_ptr<Parent> make_lanes_parent(size_t channels, size_t capacity);

// A channel for each sender, all of them looked at in turn.
std::unique_ptr<Parent> make_scanning_parent(size_t channels, size_t capacity);

// A channel in fd mode for each sender, all of them in one epoll set.
std::unique_ptr<Parent> make_epoll_parent(size_t channels, size_t capacity);

} // namespace bench

#endif // BENCH_PARENT_H
