// SPDX-License-Identifier: MIT
// libuv_threads: libuv's pool is one for the whole process and gets its size with its first task.
#ifndef BENCH_LIBUV_THREADS_H
#define BENCH_LIBUV_THREADS_H

#include <cstdlib>
#include <string>

#include "candidates/team.h"

namespace bench
{

// As many as teams have. Who wants fewer keeps some of them in a task of its own.
inline void set_libuv_threads()
{
    setenv("UV_THREADPOOL_SIZE", std::to_string(kTeamWorkers).c_str(), 1);
}

} // namespace bench

#endif // BENCH_LIBUV_THREADS_H
