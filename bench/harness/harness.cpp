// SPDX-License-Identifier: MIT
#include "harness/harness.h"

#include <algorithm>
#include <cstdio>
#include <regex>
#include <unistd.h>

#include "harness/clock.h"

namespace bench
{

std::atomic<bool> interrupted{false};

namespace
{

void show_progress(const Harness &harness)
{
    static const bool terminal = isatty(STDERR_FILENO) != 0;
    static const uint64_t start = bench_nanoseconds();
    static uint64_t last = 0;
    uint64_t now = bench_nanoseconds();
    if (now - last < (terminal ? 200000000u : 10000000000u)) {
        return;
    }
    last = now;
    std::fprintf(stderr, "%s%zu of %zu samples, %.0f s%s", terminal ? "\r" : "",
                 harness.samples_done, harness.samples_planned,
                 static_cast<double>(now - start) / 1e9, terminal ? " " : "\n");
}

void report(benchmark::State &state, const Outcome &outcome)
{
    state.SetIterationTime(outcome.seconds);
    state.SetItemsProcessed(static_cast<int64_t>(outcome.items));
    state.counters["longest_gap_ns"] = static_cast<double>(outcome.longest_gap_ns);
    state.counters["preemptions"] = static_cast<double>(outcome.preemptions);
    const Histogram &latencies = outcome.latencies;
    if (latencies.count() > 0) {
        state.counters["mean99_ns"] = latencies.mean_of_smallest(0.99);
        state.counters["p50_ns"] = latencies.percentile(0.5);
        state.counters["p99_ns"] = latencies.percentile(0.99);
        state.counters["p999_ns"] = latencies.percentile(0.999);
        state.counters["max_ns"] = static_cast<double>(latencies.max());
    } else {
        state.counters["typical_ns_per_item"] = outcome.typical_ns;
        state.counters["ns_per_item"] = outcome.seconds * 1e9 / static_cast<double>(outcome.items);
    }
    for (const auto &[key, value] : outcome.counters) {
        state.counters[key] = value;
    }
}

Place place_of(double before_ns, double after_ns, const Cuts &cuts)
{
    Place before = classify(before_ns, cuts);
    return before == classify(after_ns, cuts) ? before : Place::mixed;
}

void file(Harness &harness, const Workload &workload, const std::string &candidate, size_t column,
          Place place, const Outcome &outcome)
{
    if (place == Place::mixed) {
        return;
    }
    if (workload.columns.empty()) {
        harness.results.add(workload, candidate, place, outcome.latencies);
    } else {
        harness.results.add(workload, candidate, place, column,
                            {outcome.seconds * 1e9 / static_cast<double>(outcome.items),
                             outcome.typical_ns, outcome.preemptions > 0});
    }
}

// As google-benchmark makes it.
std::string full_name(std::string name, const std::vector<std::string> &names,
                      const std::vector<int64_t> &values)
{
    for (size_t i = 0; i < names.size(); i++) {
        name += "/" + names[i] + ":" + std::to_string(values[i]);
    }
    return name + "/iterations:1/manual_time";
}

// For the progress shown; what runs, google-benchmark decides.
bool is_wanted(const Settings &settings, const std::string &name)
{
    try {
        return std::regex_search(name, std::regex(settings.filter, std::regex::extended));
    } catch (const std::regex_error &) {
        return false;
    }
}

} // namespace

void sample(benchmark::State &state, Harness &harness, const Workload &workload,
            const std::string &candidate, size_t column,
            const std::function<Outcome(bool warm_up)> &body)
{
    Outcome warm_up = body(true);
    double before_ns = line_round_trip_ns(harness.pair);
    Outcome outcome = body(false);
    outcome.preemptions = harness.pair.preemptions();
    double after_ns = line_round_trip_ns(harness.pair);
    Place place = place_of(before_ns, after_ns, harness.settings.cuts);
    state.counters["line_rt_before_ns"] = before_ns;
    state.counters["line_rt_after_ns"] = after_ns;
    state.SetLabel(name(place));
    harness.results.add_placement(place, before_ns, after_ns);
    const std::string &error = warm_up.error.empty() ? outcome.error : warm_up.error;
    if (!error.empty() || outcome.items == 0) {
        state.SkipWithError(error.empty() ? "nothing was measured" : error.c_str());
        return;
    }
    report(state, outcome);
    file(harness, workload, candidate, column, place, outcome);
}

void add_benchmark(Harness &harness, const std::string &name, const std::vector<std::string> &names,
                   const std::vector<int64_t> &values,
                   const std::function<void(benchmark::State &)> &body)
{
    auto run = [&harness, body](benchmark::State &state) {
        while (state.KeepRunning()) {
            if (interrupted) {
                state.SkipWithError("interrupted");
                return;
            }
            body(state);
            harness.samples_done++;
            show_progress(harness);
        }
    };
    auto min = [](const std::vector<double> &v) { return *std::min_element(v.begin(), v.end()); };
    auto max = [](const std::vector<double> &v) { return *std::max_element(v.begin(), v.end()); };
    benchmark::RegisterBenchmark(name.c_str(), run)
        ->ArgNames(names)
        ->Args(values)
        ->Iterations(1)
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond)
        ->ComputeStatistics("min", min)
        ->ComputeStatistics("max", max);
    if (is_wanted(harness.settings, full_name(name, names, values))) {
        harness.samples_planned += static_cast<size_t>(harness.settings.repetitions);
    }
}

} // namespace bench
