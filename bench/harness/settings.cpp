// SPDX-License-Identifier: MIT
#include "harness/settings.h"

#include <algorithm>
#include <cstdio>

namespace bench
{

const char usage[] =
    "usage: strait_bench [option]...\n"
    "  --quick           fewer samples, at most 110 s\n"
    "  --json FILE       write google-benchmark's JSON\n"
    "  --filter REGEX    only the benchmarks whose names match\n"
    "  --cpus A,B        sender and receiver (default: the first two allowed)\n"
    "  --cuts NS,NS      line round trips that part smt from l3 from across\n"
    "  --samples N       of each benchmark in one placement (default: 15, quick: 9)\n"
    "  --seconds N       time limit (default: 1020, quick: 110)\n"
    "  --commit ID       for the JSON's context\n"
    "  --benchmark_...   passed on to google-benchmark\n"
    "  --help\n";

namespace
{

bool parse_cpus(const std::string &text, Settings &settings)
{
    char rest;
    if (std::sscanf(text.c_str(), "%d,%d%c", &settings.cpu_a, &settings.cpu_b, &rest) != 2) {
        return false;
    }
    const std::vector<int> &allowed = allowed_cpus();
    for (int cpu : {settings.cpu_a, settings.cpu_b}) {
        if (std::find(allowed.begin(), allowed.end(), cpu) == allowed.end()) {
            std::fprintf(stderr, "this process may not use CPU %d\n", cpu);
            return false;
        }
    }
    return true;
}

bool parse_cuts(const std::string &text, Cuts &cuts)
{
    char rest;
    return std::sscanf(text.c_str(), "%lf,%lf%c", &cuts.smt_ns, &cuts.l3_ns, &rest) == 2 &&
           cuts.smt_ns <= cuts.l3_ns;
}

bool parse_count(const std::string &text, size_t &count)
{
    char rest;
    return text[0] != '-' && std::sscanf(text.c_str(), "%zu%c", &count, &rest) == 1 && count > 0;
}

bool parse_seconds(const std::string &text, double &seconds)
{
    char rest;
    return std::sscanf(text.c_str(), "%lf%c", &seconds, &rest) == 1 && seconds > 0;
}

// An option with a value; false: unknown, or the value is no good.
bool set(const std::string &option, const std::string &value, Settings &settings)
{
    if (option == "--json") {
        settings.json = value;
    } else if (option == "--filter") {
        settings.filter = value;
    } else if (option == "--commit") {
        settings.commit = value;
    } else if (option == "--cpus") {
        return parse_cpus(value, settings);
    } else if (option == "--cuts") {
        return parse_cuts(value, settings.cuts);
    } else if (option == "--samples") {
        return parse_count(value, settings.samples);
    } else if (option == "--seconds") {
        return parse_seconds(value, settings.seconds);
    } else {
        return false;
    }
    return true;
}

} // namespace

bool parse(int argc, char **argv, Settings &settings, bool &help)
{
    const std::vector<int> &allowed = allowed_cpus();
    settings.cpu_a = allowed.empty() ? 0 : allowed.front();
    settings.cpu_b = allowed.size() > 1 ? allowed[1] : settings.cpu_a;
    for (int i = 1; i < argc; i++) {
        std::string option = argv[i];
        if (option == "--help") {
            help = true;
        } else if (option == "--quick") {
            settings.quick = true;
        } else if (option.compare(0, 12, "--benchmark_") == 0) {
            settings.passed_on.push_back(option);
        } else if (i + 1 >= argc || !set(option, argv[i + 1], settings)) {
            std::fprintf(stderr, "bad option: %s\n", argv[i]);
            return false;
        } else {
            i++;
        }
    }
    if (settings.samples == 0) {
        settings.samples = settings.quick ? 9 : 15;
    }
    if (settings.seconds == 0) {
        settings.seconds = settings.quick ? 110 : 17 * 60;
    }
    return true;
}

} // namespace bench
