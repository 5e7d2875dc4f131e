// SPDX-License-Identifier: MIT
#include "harness/harness.h"

#include <ctime>
#include <regex>

#include "harness/clock.h"
#include "harness/rounds.h"

namespace bench
{

const char kSkipped[] = "skipped";
const char kNotCreated[] = "cannot be created";
std::atomic<bool> interrupted{false};

namespace
{

// What a quick run measures, well, if no filter says what: in two minutes there is time for some
// 150 benchmarks.
constexpr char kQuick[] = "^throughput/.*(bytes:(8|64)/batch:1|bytes:8/batch:32)/capacity:1024$|"
                          "^round_trip/.*bytes:8/|"
                          "^fan_in/.*/apart/senders:16/|^many_channels/.*channels:(1|4096)$|"
                          "^task_rate/.*:64$|^wake_up/";

// And what a full run leaves out, so that it has time for the rest: ends of curves, points between
// two others, ways to wait that a workload of their own is about, twice the same for one sender.
constexpr char kByFilterOnly[] =
    "^throughput/.*capacity:(1|1048576)$|"
    "^throughput/.*(bytes:64|bytes:256|batch:32)/.*capacity:(64|65536)$|"
    "^(throughput|producer|one_way)/strait[.][a-z]+[.](park|spin)/|"
    "^payload/.*bytes:(8|128|192)/|^payload_round_trip/.*bytes:(8|128|192|1024)/|"
    "^fan_in/.*senders:8/|^fan_in/.*/(apart_each|free)/senders:(1|2|4)/|"
    "^bursts/.*(messages:8/|gap_us:(3|30|300)$)|^one_way/.*percent:(10|95)/";

// Is it part of this run?
bool is_wanted(const Settings &settings, const std::string &name)
{
    static const std::regex quick(kQuick);
    static const std::regex by_filter_only(kByFilterOnly);
    if (settings.filter != Settings().filter) {
        return true; // if it matches that
    }
    return settings.quick ? std::regex_search(name, quick)
                          : !std::regex_search(name, by_filter_only);
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

// Of a column: the time of an item, or where each was timed, the median, unless it has its own.
Throughput figure(const Workload &workload, const Outcome &outcome)
{
    if (outcome.figure > 0) {
        return {outcome.figure, outcome.figure, outcome.aside};
    }
    double ns = outcome.seconds * 1e9 / static_cast<double>(outcome.items);
    double typical_ns = outcome.typical_ns;
    if (outcome.latencies.count() > 0) {
        ns = typical_ns = outcome.latencies.percentile(0.5);
    }
    return {ns / workload.unit_ns, typical_ns / workload.unit_ns, outcome.aside};
}

void file(Harness &harness, const Workload &workload, const std::string &candidate, size_t column,
          Place place, const Outcome &outcome, bool disturbed)
{
    if (place == Place::mixed) {
        return;
    }
    Benchmark::Count &count = harness.current->counts[place];
    count.samples++;
    count.undisturbed += disturbed ? 0 : 1;
    if (workload.columns.empty()) {
        harness.results.add(workload, candidate, place, outcome.latencies, disturbed);
    } else {
        harness.results.add(workload, candidate, place, column, figure(workload, outcome),
                            disturbed);
    }
}

// As google-benchmark makes it.
std::string full_name(std::string name, const std::vector<std::string> &names,
                      const std::vector<int64_t> &values)
{
    for (size_t i = 0; i < names.size(); i++) {
        name += "/" + names[i] + ":" + std::to_string(values[i]);
    }
    return name;
}

} // namespace

// Of all threads, those that poll included.
static double cpu_seconds()
{
    timespec t = {};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

// Where one CPU is shared, every poll is a preemption.
void sample(benchmark::State &state, Harness &harness, const Workload &workload,
            const std::string &candidate, size_t column,
            const std::function<Outcome(bool warm_up)> &body)
{
    Outcome warm_up = body(true);
    double before_ns = line_round_trip_ns(harness.pair);
    double cpu = cpu_seconds();
    Outcome outcome = body(false);
    cpu = cpu_seconds() - cpu;
    if (outcome.latencies.count() > 0) {
        outcome.items = outcome.latencies.count();
        outcome.longest_gap_ns = outcome.latencies.max();
    }
    outcome.preemptions = harness.pair.preemptions();
    double after_ns = line_round_trip_ns(harness.pair);
    const Cuts &cuts = harness.settings.cuts;
    Place seen = place_of(before_ns, after_ns, cuts);
    Place place = workload.anywhere ? Place::any : seen;
    bool disturbed = outcome.preemptions > 0 && !workload.oversubscribed && place != Place::one_cpu;
    state.counters["line_rt_before_ns"] = before_ns;
    state.counters["line_rt_after_ns"] = after_ns;
    state.SetLabel(name(place));
    harness.place = classify(after_ns, cuts);
    harness.samples++;
    harness.current->sampled = true;
    if (place != Place::any || seen != Place::mixed) {
        harness.results.add_placement(seen, before_ns, after_ns, disturbed);
    }
    const std::string &error = warm_up.error.empty() ? outcome.error : warm_up.error;
    if (!error.empty()) {
        harness.current->violations++;
        harness.results.add_violation(workload, candidate,
                                      workload.anywhere ? Place::any : harness.place);
    }
    if (outcome.items > 0) {
        report(state, outcome);
        state.counters["cpu_s_per_million"] = cpu * 1e6 / static_cast<double>(outcome.items);
        file(harness, workload, candidate, column, place, outcome, disturbed);
    }
    if (!error.empty() || outcome.items == 0) {
        state.SkipWithError(error.empty() ? "nothing was measured" : error.c_str());
    }
}

void add_benchmark(Harness &harness, const std::string &name, const std::vector<std::string> &names,
                   const std::vector<int64_t> &values,
                   const std::function<void(benchmark::State &)> &body)
{
    Benchmark &mine = harness.benchmarks.emplace_back();
    mine.name = full_name(name, names, values);
    mine.wanted = is_wanted(harness.settings, mine.name);
    auto run = [&harness, &mine, body](benchmark::State &state) {
        harness.current = &mine;
        mine.matches = true;
        while (state.KeepRunning()) {
            if (!is_needed(harness, mine)) {
                state.SkipWithError(kSkipped);
                return;
            }
            uint64_t begin = bench_nanoseconds();
            body(state);
            mine.seconds += static_cast<double>(bench_nanoseconds() - begin) / 1e9;
            mine.failed = !mine.sampled;
            show_progress(harness);
        }
    };
    benchmark::RegisterBenchmark(name.c_str(), run)
        ->ArgNames(names)
        ->Args(values)
        ->Iterations(1)
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
}

} // namespace bench
