// SPDX-License-Identifier: MIT
#include "harness/reporter.h"

#include <cstdio>

namespace bench
{

bool Reporter::ReportContext(const Context &)
{
    const Settings &settings = harness_.settings;
    std::fprintf(stderr, "sender on CPU %d, receiver on CPU %d, %d samples of each benchmark\n",
                 settings.cpu_a, settings.cpu_b, settings.repetitions);
    if (settings.cpu_a == settings.cpu_b) {
        std::fprintf(stderr, "both sides share one CPU: every poll yields, and no figure says "
                             "anything about two\n");
    }
    return true;
}

void Reporter::ReportRuns(const std::vector<Run> &runs)
{
    for (const Run &run : runs) {
        if (run.run_type != Run::RT_Iteration || !run.error_occurred ||
            run.error_message == "interrupted") {
            continue;
        }
        violations_++;
        std::fprintf(stderr, "\nERROR %s: %s\n", run.benchmark_name().c_str(),
                     run.error_message.c_str());
    }
}

void Reporter::Finalize()
{
    std::fprintf(stderr, "\n");
    harness_.results.print(stdout, harness_.settings.cuts);
    std::printf("\nviolations of order, checksum or delivery: %zu\n", violations_);
    if (interrupted) {
        std::printf("interrupted: %zu of %zu samples\n", harness_.samples_done,
                    harness_.samples_planned);
    }
}

} // namespace bench
