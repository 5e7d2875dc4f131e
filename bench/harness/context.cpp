// SPDX-License-Identifier: MIT
#include "harness/context.h"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <linux/membarrier.h>
#include <sstream>
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

std::vector<int> all_cpus()
{
    const char *before = getenv(kAllowedBefore);
    if (!before) {
        return allowed_cpus();
    }
    std::vector<int> cpus;
    std::istringstream in(before);
    for (std::string cpu; std::getline(in, cpu, ',');) {
        cpus.push_back(std::atoi(cpu.c_str()));
    }
    return cpus;
}

namespace
{

// The first line of a file, "unknown" if there is none.
std::string line_of(const std::string &path)
{
    std::ifstream in(path);
    std::string line;
    return std::getline(in, line) ? line : "unknown";
}

// Of the first CPU.
std::string cpuinfo(const std::string &key)
{
    std::ifstream in("/proc/cpuinfo");
    for (std::string line; std::getline(in, line);) {
        if (line.compare(0, key.size(), key) == 0 && line.find(": ") != std::string::npos) {
            return line.substr(line.find(": ") + 2);
        }
    }
    return "unknown";
}

// CPUs' worth of time that the control group may use.
std::string quota()
{
    std::string v2 = line_of("/sys/fs/cgroup/cpu.max");
    return v2 != "unknown" ? v2 : line_of("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
}

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

void add_matrix()
{
    std::vector<int> cpus = all_cpus();
    cpus.resize(std::min(cpus.size(), kMatrixMost));
    std::string rows;
    std::fprintf(stderr, "line round trip between two CPUs, ns\n");
    for (int a : cpus) {
        std::string row;
        for (int b : cpus) {
            char text[16] = "0";
            if (a < b) {
                Pair pair(a, b);
                std::snprintf(text, sizeof(text), "%.0f", line_round_trip_ns(pair));
                std::fprintf(stderr, "  %d-%d: %s", a, b, text);
            }
            row += (row.empty() ? "" : " ") + std::string(text);
        }
        rows += (rows.empty() ? "" : "; ") + row;
    }
    std::fprintf(stderr, "\n");
    benchmark::AddCustomContext("line_round_trip_ns", rows);
}

void add_context(const Settings &settings)
{
    using benchmark::AddCustomContext;
    AddCustomContext("strait_commit", settings.commit);
    AddCustomContext("cpu_model", cpuinfo("model name"));
    AddCustomContext("microcode", cpuinfo("microcode"));
    AddCustomContext("smt", line_of("/sys/devices/system/cpu/smt/active"));
    AddCustomContext("nodes", line_of("/sys/devices/system/node/online"));
    AddCustomContext("governor", line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
    AddCustomContext("quota", quota());
    AddCustomContext("flags", STRAIT_BENCH_FLAGS);
    AddCustomContext("cpus_allowed", list(all_cpus()));
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
