// SPDX-License-Identifier: MIT
#include "harness/reporter.h"

#include <cstdio>
#include <fstream>

#include "harness/rounds.h"
#include "harness/tables.h"

namespace bench
{

namespace
{

using Run = benchmark::BenchmarkReporter::Run;

double median(const std::vector<const Run *> &runs,
              const std::function<double(const Run &)> &figure)
{
    std::vector<double> values;
    for (const Run *run : runs) {
        values.push_back(figure(*run));
    }
    return quantile(values, 0.5);
}

// What google-benchmark would call an aggregate, over the samples of one placement.
Run median_of(const std::vector<const Run *> &runs, const std::string &label)
{
    Run result = *runs.front();
    result.run_type = Run::RT_Aggregate;
    result.aggregate_name = "median_" + label;
    result.aggregate_unit = benchmark::kTime;
    result.iterations = static_cast<benchmark::IterationCount>(runs.size());
    // Both times are shown per iteration.
    auto n = static_cast<double>(runs.size());
    result.real_accumulated_time =
        n * median(runs, [](const Run &run) { return run.real_accumulated_time; });
    result.cpu_accumulated_time =
        n * median(runs, [](const Run &run) { return run.cpu_accumulated_time; });
    for (auto &[key, counter] : result.counters) {
        counter.value = median(runs, [&key = key](const Run &run) {
            auto found = run.counters.find(key);
            return found == run.counters.end() ? 0 : found->second.value;
        });
    }
    return result;
}

std::vector<Run> medians(const std::vector<Run> &runs)
{
    std::map<std::string, std::vector<const Run *>> by_place;
    for (const Run &run : runs) {
        if (!run.error_occurred && run.report_label != name(Place::mixed)) {
            by_place[run.report_label].push_back(&run);
        }
    }
    std::vector<Run> all;
    for (const auto &[label, those] : by_place) {
        all.push_back(median_of(those, label));
    }
    return all;
}

// Workload and candidate of a benchmark.
std::string family(const std::string &benchmark)
{
    return benchmark.substr(0, benchmark.find('/', benchmark.find('/') + 1));
}

bool is_strait(const std::string &benchmark)
{
    return benchmark.find("/strait.") != std::string::npos;
}

} // namespace

bool Reporter::ReportContext(const Context &)
{
    const Settings &settings = harness_.settings;
    if (begun_) {
        return true;
    }
    begun_ = true;
    std::fprintf(stderr,
                 "sender on CPU %d, receiver on CPU %d, %zu samples of each benchmark, at most "
                 "%.0f s\n",
                 settings.cpu_a, settings.cpu_b, settings.samples, settings.seconds);
    if (settings.cpu_a == settings.cpu_b) {
        std::fprintf(stderr, "both sides share one CPU: every poll yields, and no figure says "
                             "anything about two\n");
    }
    return true;
}

void Reporter::ReportRuns(const std::vector<Run> &runs)
{
    for (const Run &run : runs) {
        if (run.error_occurred && run.error_message == kSkipped) {
            continue;
        }
        const std::string &benchmark = run.benchmark_name();
        if (run.error_occurred && run.error_message == kNotCreated) {
            not_created_[family(benchmark)].insert(benchmark);
        } else if (run.error_occurred) {
            errors_.emplace(family(benchmark), std::pair{run.error_message, 0})
                .first->second.second++;
        }
        runs_[run.benchmark_name()].push_back(run);
    }
}

void Reporter::print_errors() const
{
    size_t violations = 0;
    for (const Benchmark &benchmark : harness_.benchmarks) {
        violations += benchmark.violations;
    }
    std::printf("\nviolations of order, checksum or delivery: %zu\n", violations);
    for (const auto &[those, error] : errors_) {
        std::printf("  %zu of %s, the first: %s\n", error.second, those.c_str(),
                    error.first.c_str());
    }
    std::printf("%s", not_created_.empty() ? "" : "\nskipped, for they cannot be created:\n");
    for (const auto &[those, benchmarks] : not_created_) {
        std::printf("  %zu of %s\n", benchmarks.size(), those.c_str());
    }
}

// By workload: the names of all would fill pages.
void Reporter::print_left_out() const
{
    std::map<std::string, size_t> left_out;
    for (const Benchmark &benchmark : harness_.benchmarks) {
        if (benchmark.matches && !benchmark.wanted) {
            left_out[benchmark.name.substr(0, benchmark.name.find('/'))]++;
        }
    }
    for (const auto &[workload, count] : left_out) {
        std::printf(
            "%s  %zu of %s\n",
            workload == left_out.begin()->first ? "\nleft out, unless a filter names them:\n" : "",
            count, workload.c_str());
    }
}

void Reporter::print_completeness() const
{
    bool any = false;
    for (Place place : kPlaces) {
        if (harness_.results.census().count(place) > 0 && is_complete(harness_, place)) {
            std::printf("  %s is complete: %zu samples of each benchmark\n", name(place),
                        harness_.settings.samples);
            any = true;
        }
    }
    if (!any) {
        std::printf("  none is complete: %zu samples of each benchmark were asked for\n",
                    harness_.settings.samples);
    }
}

void Reporter::print_report() const
{
    const Settings &settings = harness_.settings;
    std::fprintf(stderr, "\n");
    print_tables(stdout, harness_.results, settings.cuts, settings.samples);
    print_completeness();
    print_left_out();
    print_errors();
    if (interrupted) {
        std::printf("interrupted after %zu samples\n", harness_.samples);
    }
}

bool Reporter::write_json()
{
    std::ofstream out(harness_.settings.json);
    benchmark::JSONReporter json;
    json.SetOutputStream(&out);
    json.ReportContext(Context());
    for (auto &[benchmark, runs] : runs_) {
        for (size_t i = 0; i < runs.size(); i++) {
            runs[i].repetition_index = static_cast<int64_t>(i);
            runs[i].repetitions = static_cast<int64_t>(runs.size());
        }
        json.ReportRuns(runs);
        json.ReportRuns(medians(runs));
    }
    json.Finalize();
    out.close();
    return out.good();
}

bool Reporter::strait_failed() const
{
    for (const Benchmark &benchmark : harness_.benchmarks) {
        if (is_strait(benchmark.name) && (benchmark.failed || benchmark.violations > 0)) {
            return true;
        }
    }
    return false;
}

} // namespace bench
