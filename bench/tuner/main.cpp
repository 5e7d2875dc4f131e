// SPDX-License-Identifier: MIT
// tune: sweeps what can be chosen for a channel on this machine, and recommends. See
// bench/README.md.
#include <algorithm>
#include <csignal>
#include <numeric>
#include <random>
#include <unistd.h>

#include "harness/ticks.h"
#include "tuner/report.h"

namespace
{

using tuner::Candidate;
using tuner::Request;

// The first samples of a program are slow: these are not filed.
constexpr double kWarmUpSeconds = 0.3;
// Times the best.
constexpr double kHopeless = 2;

volatile std::sig_atomic_t interrupted;

void interrupt(int)
{
    interrupted = 1;
}

// The first signal ends the sweep, with its report; the second one the program.
void catch_signals()
{
    struct sigaction action = {};
    action.sa_handler = interrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
        sigaction(signal, &action, nullptr);
    }
}

void show_progress(double seconds, size_t samples, bool last)
{
    static const bool terminal = isatty(STDERR_FILENO) != 0;
    static double shown = 0;
    if (!last && seconds - shown < (terminal ? 0.2 : 10)) {
        return;
    }
    shown = seconds;
    std::fprintf(stderr, "%s%.0f s, %zu samples%s", terminal ? "\r" : "", seconds, samples,
                 terminal && !last ? " " : "\n");
}

class Sweep
{
  public:
    Sweep(const Request &request, const std::vector<Candidate> &candidates)
        : request_(request), candidates_(candidates), scores_(candidates, request),
          pair_(request.machine.cpu_a, request.machine.cpu_b), start_(bench_nanoseconds())
    {
    }

    // All candidates in turn, shuffled anew each time, so that a change of placement hits all
    // alike; in the second half of the time, those that are not far behind.
    const tuner::Scores &run()
    {
        std::vector<size_t> order(candidates_.size());
        std::iota(order.begin(), order.end(), size_t{0});
        run_until(request_.seconds / 2, order);
        drop_hopeless(order);
        run_until(request_.seconds, order);
        show_progress(seconds(), samples_, true);
        return scores_;
    }

  private:
    double seconds() const
    {
        return static_cast<double>(bench_nanoseconds() - start_) / 1e9;
    }

    bool goes_on(double end) const
    {
        return !interrupted && seconds() < end;
    }

    void run_until(double end, std::vector<size_t> &order)
    {
        while (goes_on(end)) {
            std::shuffle(order.begin(), order.end(), random_);
            for (size_t i = 0; i < order.size() && goes_on(end); i++) {
                sample(order[i]);
            }
        }
    }

    // What takes twice as long as the best of those that wait alike.
    void drop_hopeless(std::vector<size_t> &order) const
    {
        std::vector<tuner::Score> ranked = scores_.ranked(scores_.place());
        for (const tuner::Score &score : ranked) {
            const tuner::Score *best =
                tuner::best(ranked, score.candidate->wait == STRAIT_WAIT_SPIN);
            bool hopeless =
                best && !score.shaky && score.figure.median > kHopeless * best->figure.median;
            if (hopeless) {
                auto i = static_cast<size_t>(score.candidate - candidates_.data());
                order.erase(std::remove(order.begin(), order.end(), i), order.end());
            }
        }
    }

    void sample(size_t candidate)
    {
        bool warm_up = seconds() < std::min(kWarmUpSeconds, request_.seconds / 4);
        double before_ns = bench::line_round_trip_ns(pair_);
        tuner::Sample sample = tuner::run_sample(pair_, candidates_[candidate], request_);
        double after_ns = bench::line_round_trip_ns(pair_);
        if (!warm_up || !sample.error.empty()) {
            bench::Place place = bench::classify(before_ns, request_.machine.cuts);
            if (place != bench::classify(after_ns, request_.machine.cuts)) {
                place = bench::Place::mixed;
            }
            scores_.add(candidate, place, (before_ns + after_ns) / 2, sample);
        }
        samples_++;
        show_progress(seconds(), samples_, false);
    }

    const Request &request_;
    const std::vector<Candidate> &candidates_;
    tuner::Scores scores_;
    bench::Pair pair_;
    uint64_t start_;
    std::mt19937 random_{std::random_device{}()};
    size_t samples_ = 0;
};

// Breaches of what a channel promises: the settings of which are not recommended.
void print_errors(const tuner::Scores &scores, const std::vector<Candidate> &candidates)
{
    for (const auto &[i, error] : scores.errors()) {
        std::fprintf(stderr, "%s, %s, capacity %zu, batch %zu: %s\n", candidates[i].variant->name,
                     tuner::wait_name(candidates[i].wait), candidates[i].capacity,
                     candidates[i].batch, error.c_str());
    }
}

} // namespace

int main(int argc, char **argv)
{
    Request request;
    if (!tuner::parse(argc, argv, request)) {
        std::fputs("bench/tune --help says what there is\n", stderr);
        return 2;
    }
    catch_signals();
    bench::tick_ns();
    std::vector<Candidate> candidates = tuner::candidates(request);
    std::fprintf(stderr, "%zu settings, %.0f seconds\n", candidates.size(), request.seconds);
    Sweep sweep(request, candidates);
    const tuner::Scores &scores = sweep.run();
    print_errors(scores, candidates);
    bool found = tuner::print_report(stdout, scores, request);
    if (interrupted) {
        return 130;
    }
    return found && scores.errors().empty() ? 0 : 1;
}
