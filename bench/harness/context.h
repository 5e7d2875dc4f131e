// SPDX-License-Identifier: MIT
// context: what a reader of the JSON has to know about the machine and the build.
#ifndef BENCH_CONTEXT_H
#define BENCH_CONTEXT_H

#include "harness/settings.h"

namespace bench
{

// Environment: the CPUs that were allowed before the process was confined to two.
constexpr char kAllowedBefore[] = "STRAIT_BENCH_CPUS_ALLOWED";

std::string list(const std::vector<int> &cpus);

void add_context(const Settings &settings);

} // namespace bench

#endif // BENCH_CONTEXT_H
