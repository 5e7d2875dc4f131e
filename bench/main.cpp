// SPDX-License-Identifier: MIT
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

#include "candidates/table.h"
#include "harness/context.h"
#include "harness/reporter.h"
#include "harness/rounds.h"
#include "harness/ticks.h"
#include "workloads/create.h"
#include "workloads/workloads.h"

namespace
{

void interrupt(int)
{
    bench::interrupted = true;
}

// The first signal ends the run after the current sample, with its table; the second one at once.
void catch_signals()
{
    struct sigaction action = {};
    action.sa_handler = interrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
        sigaction(signal, &action, nullptr);
    }
}

// Candidates are interleaved at random, so that a change of placement hits all alike.
void initialize_benchmark(const char *program, const bench::Settings &settings)
{
    static std::vector<std::string> arguments; // the library keeps a pointer to the first
    arguments = {program, "--benchmark_enable_random_interleaving=true",
                 "--benchmark_filter=" + settings.filter};
    arguments.insert(arguments.end(), settings.passed_on.begin(), settings.passed_on.end());
    std::vector<char *> argv;
    for (std::string &argument : arguments) {
        argv.push_back(&argument[0]);
    }
    int argc = static_cast<int>(argv.size());
    benchmark::Initialize(&argc, argv.data());
}

// A pool chooses among the CPUs that the process started with: where these are more than the two
// that are measured, starts anew with just the two.
void confine(char **argv, const bench::Settings &settings)
{
    if (bench::allowed_cpus().size() > 2 && bench::pin({settings.cpu_a, settings.cpu_b})) {
        setenv(bench::kAllowedBefore, bench::list(bench::allowed_cpus()).c_str(), 1);
        execv("/proc/self/exe", argv); // comes back only if it cannot
    }
}

void add_notes(bench::Harness &harness)
{
    for (const bench_ring *ring : bench::rings()) {
        if (ring->note) {
            harness.results.note(ring->name, ring->note);
            benchmark::AddCustomContext(std::string("note ") + ring->name, ring->note);
        }
    }
    for (const bench::TeamMaker &team : bench::teams()) {
        if (team.note) {
            harness.results.note(team.name, team.note);
        }
    }
}

bool write_json(const bench::Settings &settings, bench::Reporter &reporter)
{
    if (!settings.json.empty() && !reporter.write_json()) {
        std::fprintf(stderr, "cannot write %s\n", settings.json.c_str());
        return false;
    }
    return true;
}

void report_missing()
{
    for (const bench::MissingPeer &peer : bench::missing_peers()) {
        std::fprintf(stderr, "skipped: %s (%s not found)\n", peer.name, peer.package);
    }
}

} // namespace

int main(int argc, char **argv)
{
    if (argc == 4 && std::string(argv[1]) == bench::kFootprint) {
        return bench::print_footprint(argv[2], argv[3]);
    }
    bench::Settings settings;
    bool help = false;
    if (!bench::parse(argc, argv, settings, help)) {
        std::fputs(bench::usage, stderr);
        return 2;
    }
    if (help) {
        std::fputs(bench::usage, stdout);
        return 0;
    }
    confine(argv, settings);
    initialize_benchmark(argv[0], settings);
    catch_signals();
    report_missing();
    bench::tick_ns();
    bench::add_matrix();
    bench::Harness harness(settings);
    bench::add_context(settings);
    bench::add_throughputs(harness);
    bench::add_payloads(harness);
    bench::add_blocking(harness);
    bench::add_fan_ins(harness);
    bench::add_pairs(harness);
    bench::add_producers(harness);
    bench::add_round_trips(harness);
    bench::add_one_ways(harness);
    bench::add_wake_ups(harness);
    bench::add_bursts(harness);
    bench::add_many_channels(harness);
    bench::add_tasks(harness);
    bench::add_sojourns(harness);
    bench::add_spawns(harness);
    bench::add_heaps(harness);
    bench::add_works(harness);
    bench::add_fork_joins(harness);
    bench::add_parents(harness);
    bench::add_gaps(harness);
    bench::add_hogs(harness);
    bench::add_waits(harness);
    bench::add_creates(harness);
    bench::add_processes(harness);
    add_notes(harness);
    bench::Reporter reporter(harness);
    if (bench::run_rounds(harness, reporter) == 0) {
        std::fprintf(stderr, "no benchmark matches %s\n", settings.filter.c_str());
        return 2;
    }
    reporter.print_report();
    if (!write_json(settings, reporter)) {
        return 2;
    }
    if (bench::interrupted) {
        return 130;
    }
    return reporter.strait_failed() ? 1 : 0;
}
