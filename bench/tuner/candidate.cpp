// SPDX-License-Identifier: MIT
#include "tuner/candidate.h"

namespace tuner
{
namespace
{

constexpr size_t kBatches[] = {1, 8, 32};
constexpr strait_wait kWaits[] = {STRAIT_WAIT_PARK, STRAIT_WAIT_SPIN};
// Each sample makes its block anew.
constexpr size_t kMemoryMost = size_t{32} << 20;

// At a rate there is hardly anything queued: more capacity is worth a look, not a sweep.
std::vector<size_t> capacities(const Request &request)
{
    if (request.rate > 0) {
        return {64, 1024};
    }
    return {64, 256, 1024, 4096, 16384};
}

bool can_serve(const strait_variant &variant, const Request &request)
{
    return request.senders == 1 || variant.senders != STRAIT_SENDERS_ONE;
}

void add(std::vector<Candidate> &all, Candidate candidate, const Request &request)
{
    strait_channel_options options = options_of(candidate, request);
    if (strait_channel_size(&options, &candidate.memory) == 0 &&
        (candidate.memory <= kMemoryMost || candidate.capacity == 64)) {
        all.push_back(candidate);
    }
}

} // namespace

std::vector<Candidate> candidates(const Request &request)
{
    std::vector<Candidate> all;
    for (size_t i = 0; const strait_variant *variant = strait_variant_at(i); i++) {
        if (!can_serve(*variant, request)) {
            continue;
        }
        for (size_t capacity : capacities(request)) {
            for (size_t batch : kBatches) {
                for (strait_wait wait : kWaits) {
                    add(all, {variant, capacity, batch, wait, 0}, request);
                }
            }
        }
    }
    return all;
}

strait_channel_options options_of(const Candidate &candidate, const Request &request)
{
    strait_channel_options options = {};
    options.size = sizeof(options);
    options.variant = candidate.variant->name;
    options.capacity = candidate.capacity;
    options.message_size = request.bytes;
    options.senders = candidate.variant->senders == STRAIT_SENDERS_REGISTERED ? request.senders : 0;
    options.sender = candidate.wait;
    options.receiver = candidate.wait;
    return options;
}

const char *wait_name(strait_wait wait)
{
    return wait == STRAIT_WAIT_SPIN ? "spin" : "park";
}

void print_options(std::FILE *out, const Candidate &candidate, const Request &request)
{
    strait_channel_options options = options_of(candidate, request);
    const char *wait = options.sender == STRAIT_WAIT_SPIN ? "STRAIT_WAIT_SPIN" : "STRAIT_WAIT_PARK";
    std::fprintf(out,
                 "struct strait_channel_options options = {\n"
                 "    .size = sizeof(options),\n"
                 "    .variant = \"%s\",\n"
                 "    .capacity = %zu,\n"
                 "    .message_size = %zu,\n",
                 options.variant, options.capacity, options.message_size);
    if (options.senders > 0) {
        std::fprintf(out, "    .senders = %u,\n", options.senders);
    }
    std::fprintf(out,
                 "    .sender = %s,\n"
                 "    .receiver = %s,\n"
                 "};\n",
                 wait, wait);
    if (candidate.batch == 1) {
        std::fprintf(out, "/* strait_try_send, strait_try_receive: one message in a call */\n");
    } else {
        std::fprintf(out,
                     "/* strait_try_send, strait_try_receive: what there is, up to n = %zu in a "
                     "call */\n",
                     candidate.batch);
    }
}

} // namespace tuner
