// SPDX-License-Identifier: MIT
// candidate: one combination of what can be chosen for a channel.
#ifndef BENCH_CANDIDATE_H
#define BENCH_CANDIDATE_H

#include <cstdio>
#include <vector>

#include "strait.h"
#include "tuner/request.h"

namespace tuner
{

struct Candidate {
    const strait_variant *variant;
    size_t capacity;
    size_t batch;     // messages in a call, at most
    strait_wait wait; // of both sides
    size_t memory;    // bytes of the block
};

// All that can serve the request, from strait's own table of variants.
std::vector<Candidate> candidates(const Request &request);

strait_channel_options options_of(const Candidate &candidate, const Request &request);

const char *wait_name(strait_wait wait);

// As C, to be pasted.
void print_options(std::FILE *out, const Candidate &candidate, const Request &request);

} // namespace tuner

#endif // BENCH_CANDIDATE_H
