// SPDX-License-Identifier: MIT
// report: the recommendation, and the numbers that led there.
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "tuner/scores.h"

namespace tuner
{

// False: there is nothing to recommend.
bool print_report(std::FILE *out, const Scores &scores, const Request &request);

} // namespace tuner

#endif // BENCH_REPORT_H
