// SPDX-License-Identifier: MIT
// request: what the user wants to be told, from the command line.
#ifndef BENCH_REQUEST_H
#define BENCH_REQUEST_H

#include <cstddef>

#include "harness/settings.h"

namespace tuner
{

struct Request {
    size_t bytes = 8;
    double rate = 0; // messages per second of all senders; 0: as fast as possible
    unsigned senders = 1;
    double seconds = 30;
    bool spin_ok = false;
    bool all = false;        // settings in the table
    bench::Settings machine; // its CPUs and cuts
};

// False: complain on stderr and exit with 2.
bool parse(int argc, char **argv, Request &request);

} // namespace tuner

#endif // BENCH_REQUEST_H
