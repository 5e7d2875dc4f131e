// SPDX-License-Identifier: MIT
// Small allocations: a worker on B's CPU allocates and frees, from its isolate's heap or from
// malloc. Each block gets a number when it comes and is asked for it when it goes.
#include <cstdlib>
#include <cstring>
#include <future>

#include "harness/ticks.h"
#include "strait.h"
#include "strait/extra/isolate.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr size_t kBlock = 1024; // pairs between two looks at the clock
constexpr size_t kWindowMost = 64;
constexpr size_t kSizes = 256; // of a mixed pattern, again and again
constexpr size_t kSizeMost = 256;

// Each block is freed when so many others have been allocated after it.
struct Pattern {
    size_t window;
    size_t bytes; // 0: 8 to kSizeMost, mixed
};

// The columns.
constexpr Pattern kPatterns[] = {{1, 16},  {1, 64},  {1, 256},  {1, 0},
                                 {64, 16}, {64, 64}, {64, 256}, {64, 0}};

struct Isolates {
    static void *alloc(strait_isolate *isolate, size_t bytes)
    {
        return strait_heap_alloc(isolate, bytes);
    }
    static void free(strait_isolate *isolate, void *memory)
    {
        strait_heap_free(isolate, memory);
    }
};

struct Malloc {
    static void *alloc(strait_isolate *, size_t bytes)
    {
        return std::malloc(bytes);
    }
    static void free(strait_isolate *, void *memory)
    {
        std::free(memory);
    }
};

struct Job {
    const Pattern &pattern;
    double ms;
    bool sound = true; // every block came, and held its number to the end
    Outcome outcome = {};
};

struct Sizes {
    explicit Sizes(size_t all)
    {
        uint64_t random = 1;
        for (size_t &size : bytes) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size = all ? all : 8 + (random >> 33) % (kSizeMost - 7);
        }
    }
    size_t bytes[kSizes];
};

template <class Heap> class Tenant
{
  public:
    Tenant(strait_isolate *isolate, const Pattern &pattern)
        : isolate_(isolate), sizes_(pattern.bytes), window_(pattern.window)
    {
        for (; next_ < window_; next_++) {
            come(next_);
        }
    }

    ~Tenant()
    {
        for (size_t i = 0; i < window_; i++, next_++) {
            go(next_ - window_);
        }
    }

    Tenant(const Tenant &) = delete;
    Tenant &operator=(const Tenant &) = delete;

    void pairs(size_t n)
    {
        for (size_t i = 0; i < n; i++, next_++) {
            go(next_ - window_);
            come(next_);
        }
    }

    bool sound() const
    {
        return sound_;
    }

  private:
    void come(uint64_t number)
    {
        void *memory = Heap::alloc(isolate_, sizes_.bytes[number % kSizes]);
        if (memory) {
            std::memcpy(memory, &number, sizeof(number));
        }
        blocks_[number % kWindowMost] = memory;
    }

    void go(uint64_t number)
    {
        uint64_t held = ~number;
        void *memory = blocks_[number % kWindowMost];
        if (memory) {
            std::memcpy(&held, memory, sizeof(held));
        }
        sound_ = sound_ && held == number;
        Heap::free(isolate_, memory);
    }

    strait_isolate *isolate_;
    const Sizes sizes_;
    const uint64_t window_;
    uint64_t next_ = 0;
    bool sound_ = true;
    void *blocks_[kWindowMost] = {};
};

// The isolate's entry.
template <class Heap> int run(strait_isolate *isolate) noexcept
{
    auto *job = static_cast<Job *>(strait_isolate_data(isolate));
    Tenant<Heap> tenant(isolate, job->pattern);
    tenant.pairs(kBlock);
    Histogram blocks;
    uint64_t start = bench_ticks();
    uint64_t until = start + to_ticks(job->ms * 1e6);
    uint64_t last = start;
    while (last < until) {
        tenant.pairs(kBlock);
        uint64_t now = bench_ticks();
        blocks.add(static_cast<uint64_t>(to_ns(now - last)));
        last = now;
    }
    job->sound = tenant.sound();
    job->outcome.seconds = to_ns(last - start) / 1e9;
    job->outcome.items = blocks.count() * kBlock;
    job->outcome.typical_ns = blocks.percentile(0.5) / kBlock;
    job->outcome.longest_gap_ns = blocks.max();
    return 0;
}

struct Maker {
    const char *name;
    strait_isolate_fn *entry;
};

const Maker heaps[] = {
    {"strait.heap", run<Isolates>},
    {"malloc", run<Malloc>},
};

Workload make_workload()
{
    Workload workload{"small allocations", 1, "ns per allocation and free", {}};
    for (const Pattern &pattern : kPatterns) {
        workload.columns.push_back(
            (pattern.bytes ? std::to_string(pattern.bytes) : "8-" + std::to_string(kSizeMost)) +
            " B" + (pattern.window > 1 ? " of " + std::to_string(pattern.window) : ""));
    }
    return workload;
}

void run_in_worker(strait_isolate_fn *entry, int cpu, Job &job)
{
    strait_isolate_options isolate_options = {};
    isolate_options.entry = entry;
    isolate_options.data = &job;
    strait_isolate *isolate = nullptr;
    strait_worker_options options = {};
    options.entry = strait_isolate_main;
    options.pin = STRAIT_PIN_CPU;
    options.cpu = cpu;
    strait_worker *worker = nullptr;
    if (strait_isolate_create(&isolate, &isolate_options) != 0) {
        job.outcome.error = "no isolate to be had";
        return;
    }
    options.data = isolate;
    if (strait_worker_spawn(&worker, &options) != 0) {
        job.outcome.error = "no worker to be had";
        strait_isolate_destroy(isolate);
        return;
    }
    strait_worker_join(worker, STRAIT_FOREVER);
    strait_worker_destroy(worker);
    strait_isolate_destroy(isolate);
    if (!job.sound) {
        job.outcome.error = "a block did not come, or lost what it held";
    }
}

// A and B sleep meanwhile.
Outcome run_pattern(Harness &harness, const Maker &maker, const Pattern &pattern, double ms)
{
    Job job{pattern, ms};
    std::promise<void> done;
    auto work = [&] {
        run_in_worker(maker.entry, harness.settings.cpu_b, job);
        done.set_value();
    };
    harness.pair.run(work, [&] { done.get_future().wait(); });
    return job.outcome;
}

void heap(benchmark::State &state, Harness &harness, const Workload &workload, const Maker &maker,
          size_t column)
{
    sample(state, harness, workload, maker.name, column, [&](bool warm_up) {
        double ms = harness.settings.sample_ms * (warm_up ? 0.25 : 1);
        return run_pattern(harness, maker, kPatterns[column], ms);
    });
}

} // namespace

void add_heaps(Harness &harness)
{
    static const Workload workload = make_workload();
    harness.results.declare(workload);
    for (const Maker &maker : heaps) {
        for (size_t column = 0; column < std::size(kPatterns); column++) {
            const Pattern &pattern = kPatterns[column];
            add_benchmark(
                harness, std::string("heap/") + maker.name, {"window", "bytes"},
                {static_cast<int64_t>(pattern.window), static_cast<int64_t>(pattern.bytes)},
                [&harness, &maker, column](benchmark::State &state) {
                    heap(state, harness, workload, maker, column);
                });
        }
    }
}

} // namespace bench
