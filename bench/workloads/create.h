// SPDX-License-Identifier: MIT
// create: the memory of a candidate, measured in a process of its own.
#ifndef BENCH_CREATE_H
#define BENCH_CREATE_H

#include <string>

namespace bench
{

// The option that has main call print_footprint with the two arguments after it, and nothing else.
extern const char kFootprint[];

// Prints one figure; returns the exit status.
int print_footprint(const std::string &candidate, const std::string &column);

} // namespace bench

#endif // BENCH_CREATE_H
