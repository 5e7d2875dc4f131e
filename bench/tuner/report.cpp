// SPDX-License-Identifier: MIT
#include "tuner/report.h"

namespace tuner
{
namespace
{

constexpr size_t kRows = 10; // of those that park, and of those that spin
// Fewer say little.
constexpr size_t kSamplesLeast = 5;
constexpr uint64_t kMessagesLeast = 1000;

void print_request(std::FILE *out, const Request &request)
{
    std::fprintf(out, "%zu bytes, %u sender%s on CPU %d, receiver on CPU %d, ", request.bytes,
                 request.senders, request.senders == 1 ? "" : "s", request.machine.cpu_a,
                 request.machine.cpu_b);
    if (request.rate > 0) {
        std::fprintf(out, "%.0f messages/s\n", request.rate);
    } else {
        std::fprintf(out, "as fast as possible\n");
    }
}

void print_places(std::FILE *out, const Scores &scores)
{
    std::fprintf(out, "samples by placement:");
    for (bench::Place place : bench::kPlaces) {
        if (scores.samples(place) > 0) {
            std::fprintf(out, "  %s %zu", bench::name(place), scores.samples(place));
        }
    }
    std::fprintf(out, "\ncompared within %s, line round trip %.0f ns; mixed ones are left out\n\n",
                 bench::name(scores.place()), scores.line_rt_ns(scores.place()));
}

void print_candidate(std::FILE *out, const Score &score, bool chosen)
{
    const Candidate &candidate = *score.candidate;
    std::fprintf(out, "%c %-10s %-5s %8zu %6zu %11.1f", chosen ? '*' : ' ', candidate.variant->name,
                 wait_name(candidate.wait), candidate.capacity, candidate.batch,
                 static_cast<double>(candidate.memory) / 1024);
}

void print_figures(std::FILE *out, const Score &score, bool at_rate)
{
    const Spread &figure = score.figure;
    if (at_rate) {
        const bench::Histogram &latencies = score.latencies;
        std::fprintf(out, " %9.2f %9.2f %8.2f -%9.2f %9.2f %9llu", latencies.percentile(0.5) / 1e3,
                     figure.median / 1e3, figure.low / 1e3, figure.high / 1e3,
                     latencies.percentile(0.999) / 1e3,
                     static_cast<unsigned long long>(latencies.count()));
    } else {
        std::fprintf(out, " %9.2f %8.2f -%9.2f %9.2f", figure.median, figure.low, figure.high,
                     1e3 / figure.median);
    }
    std::fprintf(out, " %8.0f %8zu%s%s\n", 100 * score.receiver_cpu, score.samples,
                 score.shaky ? " !" : "", score.behind ? "  cannot keep the rate" : "");
}

void print_table(std::FILE *out, const std::vector<Score> &ranked, const Score *choice,
                 const Request &request)
{
    bool at_rate = request.rate > 0;
    std::fprintf(out, "  %-10s %-5s %8s %6s %11s", "variant", "wait", "capacity", "batch",
                 "memory, KiB");
    if (at_rate) {
        std::fprintf(out, " %9s %9s %19s %9s %9s", "p50, us", "p99, us", "quartiles of p99",
                     "p99.9, us", "messages");
    } else {
        std::fprintf(out, " %9s %19s %9s", "ns/msg", "quartiles", "M msg/s");
    }
    std::fprintf(out, " %8s %8s\n", "B's CPU%", "samples");
    size_t left_out = 0;
    size_t rows[2] = {};
    for (const Score &score : ranked) {
        size_t &row = rows[score.candidate->wait == STRAIT_WAIT_SPIN];
        if (row++ >= kRows && !request.all && &score != choice) {
            left_out++;
            continue;
        }
        print_candidate(out, score, &score == choice);
        print_figures(out, score, at_rate);
    }
    if (left_out > 0) {
        std::fprintf(out, "  and %zu more: --all\n", left_out);
    }
    std::fprintf(out,
                 "park is the default. !: fewer than three samples in which nobody else had the "
                 "CPUs.\n");
    std::fprintf(out, at_rate ? "Latency is from when a message was due until it was received: a "
                                "sender that is held up does not hide it.\n"
                                "p99 is the median of the samples' own, p50 and p99.9 are of all "
                                "messages together.\n\n"
                              : "\n");
}

// What spinning would bring, where it is not recommended.
void print_spinning(std::FILE *out, const std::vector<Score> &ranked, const Score &choice)
{
    const Score *spinner = best(ranked, true);
    if (!spinner || choice.candidate->wait == STRAIT_WAIT_SPIN || spinner->shaky ||
        spinner->figure.median * kMargin >= choice.figure.median) {
        return;
    }
    std::fprintf(
        out,
        "Spinning (%s, capacity %zu, batch %zu) brings that down to %.0f %%, but takes a whole "
        "core for as long as nothing comes: --spin-ok allows it.\n",
        spinner->candidate->variant->name, spinner->candidate->capacity, spinner->candidate->batch,
        100 * spinner->figure.median / choice.figure.median);
}

void print_doubts(std::FILE *out, const Score &choice, bool at_rate)
{
    bool few_messages = at_rate && choice.latencies.count() < kMessagesLeast;
    if (choice.shaky || choice.samples < kSamplesLeast || few_messages) {
        std::fprintf(out, "That is little to go by: give it more --seconds.\n");
    }
}

} // namespace

bool print_report(std::FILE *out, const Scores &scores, const Request &request)
{
    print_request(out, request);
    print_places(out, scores);
    std::vector<Score> ranked = scores.ranked(scores.place());
    const Score *choice = recommended(ranked, request.spin_ok);
    print_table(out, ranked, choice, request);
    if (!choice) {
        std::fprintf(out, "nothing to recommend: no setting %s\n",
                     request.rate > 0 ? "keeps that rate" : "was measured");
        return false;
    }
    std::fprintf(out,
                 "recommended (*): %s, and of those within 5 %% or the quartiles of it the least "
                 "memory\n",
                 request.rate > 0 ? "the lowest p99" : "the fastest");
    print_spinning(out, ranked, *choice);
    print_doubts(out, *choice, request.rate > 0);
    std::fprintf(out, "\n");
    print_options(out, *choice->candidate, request);
    return true;
}

} // namespace tuner
