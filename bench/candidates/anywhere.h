// SPDX-License-Identifier: MIT
// anywhere: as long as it lives, the calling thread may run on every CPU of the benchmark, and so
// may the threads that a library starts meanwhile.
#ifndef BENCH_ANYWHERE_H
#define BENCH_ANYWHERE_H

#include <sched.h>

#include "harness/pair.h"

namespace bench
{

class Anywhere
{
  public:
    Anywhere()
    {
        CPU_ZERO(&before_);
        sched_getaffinity(0, sizeof(before_), &before_);
        pin(allowed_cpus());
    }

    ~Anywhere()
    {
        sched_setaffinity(0, sizeof(before_), &before_);
    }

    Anywhere(const Anywhere &) = delete;
    Anywhere &operator=(const Anywhere &) = delete;

  private:
    cpu_set_t before_;
};

} // namespace bench

#endif // BENCH_ANYWHERE_H
