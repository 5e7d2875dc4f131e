// SPDX-License-Identifier: MIT
#include "harness/context.h"

#include <benchmark/benchmark.h>
#include <linux/membarrier.h>
#include <cstdlib>
#include <string>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "harness/relax.h"
#include "strait.h"

namespace bench
{

std::string list(const std::vector<int> &cpus)
{
    std::string text;
    for (int cpu : cpus) {
        text += (text.empty() ? "" : ",") + std::to_string(cpu);
    }
    return text;
}

namespace
{

std::string kernel()
{
    utsname name;
    return uname(&name) == 0 ? std::string(name.sysname) + " " + name.release + " " + name.machine
                             : "unknown";
}

std::string compiler()
{
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

bool has_membarrier()
{
    long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    return commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0;
}

std::string decimal(double value)
{
    std::string text = std::to_string(value);
    text.erase(text.find_last_not_of('0') + 1);
    return text.back() == '.' ? text.substr(0, text.size() - 1) : text;
}

} // namespace

void add_context(const Settings &settings)
{
    using benchmark::AddCustomContext;
    AddCustomContext("strait_commit", settings.commit);
    const char *before = getenv(kAllowedBefore);
    AddCustomContext("cpus_allowed", before ? before : list(allowed_cpus()));
    AddCustomContext("cpu_sender", std::to_string(settings.cpu_a));
    AddCustomContext("cpu_receiver", std::to_string(settings.cpu_b));
    AddCustomContext("kernel", kernel());
    AddCustomContext("compiler", compiler());
    AddCustomContext("membarrier", has_membarrier() ? "private expedited" : "none");
    AddCustomContext("poll", bench_one_cpu ? "sched_yield" : "pause");
    AddCustomContext("placement", "line round trip of two polling threads, in ns: smt < " +
                                      decimal(settings.cuts.smt_ns) + " <= l3 < " +
                                      decimal(settings.cuts.l3_ns) +
                                      " <= across; mixed: before and after disagree");
    AddCustomContext("sample_ms", decimal(settings.sample_ms));
}

} // namespace bench
