// SPDX-License-Identifier: MIT
// settings: the command line.
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <string>
#include <vector>

#include "harness/placement.h"

namespace bench
{

struct Settings {
    int cpu_a = 0; // sender
    int cpu_b = 0; // receiver
    Cuts cuts;
    bool quick = false;
    size_t samples = 0;   // of each benchmark in one placement; 0: not said
    double seconds = 0;   // that all of it may take; 0: not said
    double sample_ms = 4; // short, so that the placement rarely changes within one
    std::string json;
    std::string filter = ".";
    std::string commit = "unknown";
    std::vector<std::string> passed_on; // --benchmark_...
};

extern const char usage[];

// False: complain on stderr and exit with 2. The CPUs come from the process's mask by default.
bool parse(int argc, char **argv, Settings &settings, bool &help);

} // namespace bench

#endif // BENCH_SETTINGS_H
