// SPDX-License-Identifier: MIT
#include "harness/rounds.h"

#include <algorithm>
#include <cstdio>
#include <unistd.h>

#include "harness/clock.h"

namespace bench
{

namespace
{

// A benchmark that breaks a promise this often has shown it; each time may cost seconds of
// patience.
constexpr size_t kViolations = 3;
// One that is always preempted will be the tenth time, too: samples for each that is wanted.
constexpr size_t kTries = 10;

// What one benchmark may have of a run's time: a peer that stalls for seconds in each sample shows
// that in a few of them, and the time is the others'.
constexpr double kShare = 1.0 / 40;

// Of all samples, in a placement that is to be completed.
constexpr size_t kUsualPercent = 5;

double elapsed()
{
    static const uint64_t start = bench_nanoseconds();
    return static_cast<double>(bench_nanoseconds() - start) / 1e9;
}

bool is_measured(const Harness &harness, const Benchmark &benchmark)
{
    return benchmark.matches && benchmark.wanted && !benchmark.failed &&
           benchmark.violations < kViolations &&
           benchmark.seconds < kShare * harness.settings.seconds;
}

size_t missing(const Harness &harness, const Benchmark &benchmark, Place place)
{
    size_t enough = harness.settings.samples;
    auto found = benchmark.counts.find(place);
    if (found == benchmark.counts.end()) {
        found = benchmark.counts.find(Place::any);
    }
    if (found == benchmark.counts.end()) {
        return enough;
    }
    const Benchmark::Count &count = found->second;
    return count.samples >= kTries * enough ? 0 : enough - std::min(enough, count.undisturbed);
}

bool is_over(const Harness &harness)
{
    return interrupted || elapsed() >= harness.settings.seconds;
}

// Placements that come up now and then are no reason to go on.
bool is_complete_wherever_usual(const Harness &harness)
{
    size_t complete = 0;
    for (const auto &[place, census] : harness.results.census()) {
        if (place != Place::mixed && 100 * census.samples >= kUsualPercent * harness.samples) {
            if (!is_complete(harness, place)) {
                return false;
            }
            complete++;
        }
    }
    return complete > 0;
}

// The share of all wanted samples that the placement with the most of them has.
double share_done(const Harness &harness)
{
    double best = 0;
    for (Place place : kPlaces) {
        size_t wanted = 0;
        size_t left = 0;
        for (const Benchmark &benchmark : harness.benchmarks) {
            if (is_measured(harness, benchmark)) {
                wanted += harness.settings.samples;
                left += missing(harness, benchmark, place);
            }
        }
        if (wanted > 0) {
            best = std::max(best, 1 - static_cast<double>(left) / static_cast<double>(wanted));
        }
    }
    return best;
}

} // namespace

bool is_needed(const Harness &harness, const Benchmark &benchmark)
{
    return is_measured(harness, benchmark) && !is_over(harness) &&
           missing(harness, benchmark, harness.place) > 0;
}

bool is_complete(const Harness &harness, Place place)
{
    return std::all_of(
        harness.benchmarks.begin(), harness.benchmarks.end(), [&](const Benchmark &benchmark) {
            return !is_measured(harness, benchmark) || missing(harness, benchmark, place) == 0;
        });
}

void show_progress(const Harness &harness)
{
    static const bool terminal = isatty(STDERR_FILENO) != 0;
    static double last = 0;
    double now = elapsed();
    if (now - last < (terminal ? 0.2 : 10)) {
        return;
    }
    last = now;
    double share = share_done(harness);
    double left = harness.settings.seconds - now;
    if (share > 0) {
        left = std::min(left, now * (1 - share) / share);
    }
    std::fprintf(stderr, "%s%zu samples, %.0f %% of those wanted, %.0f s; %.0f s left at most%s",
                 terminal ? "\r" : "", harness.samples, share * 100, now, std::max(left, 0.0),
                 terminal ? "  " : "\n");
}

size_t run_rounds(Harness &harness, benchmark::BenchmarkReporter &reporter)
{
    elapsed(); // starts the clock
    size_t matching = 0;
    do {
        size_t before = harness.samples;
        matching = benchmark::RunSpecifiedBenchmarks(&reporter);
        if (harness.samples == before) {
            harness.place = Place::mixed; // all complete where it was: one sample tells where it is
        }
    } while (matching > 0 && harness.samples > 0 && !is_over(harness) &&
             !is_complete_wherever_usual(harness));
    return matching;
}

} // namespace bench
