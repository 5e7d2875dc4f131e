// SPDX-License-Identifier: MIT
// numbering: what a message carries, so that its receiver can tell whether it is the next one.
#ifndef BENCH_NUMBERING_H
#define BENCH_NUMBERING_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tuner
{

// A message's first 8 bytes, or as many as it has: its number, and in the low bits its sender's.
class Numbering
{
  public:
    Numbering(size_t bytes, unsigned senders) : width_(std::min<size_t>(bytes, 8))
    {
        while ((1u << bits_) < senders) {
            bits_++;
        }
    }

    void write(unsigned char *message, unsigned sender, uint64_t number) const
    {
        uint64_t word = number << bits_ | sender;
        if (width_ == 8) {
            std::memcpy(message, &word, 8);
            return;
        }
        for (size_t i = 0; i < width_; i++) {
            message[i] = static_cast<unsigned char>(word >> 8 * i);
        }
    }

    // Who sent it; `senders` or above: nobody.
    unsigned sender(const unsigned char *message) const
    {
        return static_cast<unsigned>(read(message) & ((1u << bits_) - 1));
    }

    bool is(const unsigned char *message, unsigned sender, uint64_t number) const
    {
        unsigned char expected[8];
        write(expected, sender, number);
        return std::memcmp(message, expected, width_) == 0;
    }

  private:
    uint64_t read(const unsigned char *message) const
    {
        uint64_t word = 0;
        if (width_ == 8) {
            std::memcpy(&word, message, 8);
            return word;
        }
        for (size_t i = 0; i < width_; i++) {
            word |= static_cast<uint64_t>(message[i]) << 8 * i;
        }
        return word;
    }

    size_t width_;
    unsigned bits_ = 0;
};

} // namespace tuner

#endif // BENCH_NUMBERING_H
