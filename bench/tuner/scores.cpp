// SPDX-License-Identifier: MIT
#include "tuner/scores.h"

#include <tuple>

namespace tuner
{
namespace
{

// Undisturbed ones, that a score can be relied on.
constexpr size_t kSamplesLeast = 3;

double quantile(const std::vector<double> &sorted, double fraction)
{
    return sorted[static_cast<size_t>(fraction * static_cast<double>(sorted.size() - 1) + 0.5)];
}

Spread spread(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return {quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75)};
}

bool spins(const Score &score)
{
    return score.candidate->wait == STRAIT_WAIT_SPIN;
}

// Where two do the same: less memory, no spinning, less to gather before a call.
bool is_cheaper(const Score &a, const Score &b)
{
    auto cost = [](const Score &score) {
        return std::make_tuple(score.candidate->memory, spins(score), score.candidate->batch);
    };
    return cost(a) < cost(b);
}

// No telling it from the best.
bool is_close(const Score &score, const Score &best)
{
    double limit = std::max(kMargin * best.figure.median, best.figure.high);
    return score.samples >= kSamplesLeast && score.figure.median <= limit;
}

} // namespace

Scores::Scores(const std::vector<Candidate> &candidates, const Request &request)
    : candidates_(candidates), request_(request), cells_(candidates.size())
{
}

void Scores::add(size_t candidate, bench::Place place, double line_rt_ns, const Sample &sample)
{
    line_rt_ns_[place].push_back(line_rt_ns);
    if (!sample.error.empty()) {
        errors_.emplace(candidate, sample.error);
    }
    if (place == bench::Place::mixed || !sample.error.empty()) {
        return;
    }
    Cells &cells = cells_[candidate][place];
    Cell &cell = sample.preempted ? cells.preempted : cells.undisturbed;
    cell.add(figure(sample), sample);
}

double Scores::figure(const Sample &sample) const
{
    if (request_.rate > 0) {
        return sample.latencies.percentile(0.99);
    }
    return sample.preempted && request_.senders == 1 ? sample.typical_ns : sample.ns_per_message;
}

void Scores::Cell::add(double figure, const Sample &sample)
{
    figures.push_back(figure);
    receiver_cpu += sample.receiver_cpu;
    behind += sample.behind;
    latencies.merge(sample.latencies);
}

void Scores::Cell::merge(const Cell &other)
{
    figures.insert(figures.end(), other.figures.begin(), other.figures.end());
    receiver_cpu += other.receiver_cpu;
    behind += other.behind;
    latencies.merge(other.latencies);
}

bench::Place Scores::place() const
{
    bench::Place most = bench::Place::mixed;
    for (const auto &[place, round_trips] : line_rt_ns_) {
        bool more = most == bench::Place::mixed || round_trips.size() > samples(most);
        if (place != bench::Place::mixed && more) {
            most = place;
        }
    }
    return most;
}

size_t Scores::samples(bench::Place place) const
{
    auto found = line_rt_ns_.find(place);
    return found == line_rt_ns_.end() ? 0 : found->second.size();
}

double Scores::line_rt_ns(bench::Place place) const
{
    auto found = line_rt_ns_.find(place);
    return found == line_rt_ns_.end() ? 0 : spread(found->second).median;
}

Score Scores::score(size_t candidate, const Cells &cells) const
{
    Score score;
    Cell cell = cells.undisturbed;
    score.shaky = cell.figures.size() < kSamplesLeast;
    if (score.shaky) {
        cell.merge(cells.preempted);
    }
    score.candidate = &candidates_[candidate];
    score.samples = cell.figures.size();
    score.figure = spread(cell.figures);
    score.receiver_cpu = cell.receiver_cpu / static_cast<double>(score.samples);
    score.behind = 2 * cell.behind >= score.samples;
    score.latencies = cell.latencies;
    return score;
}

std::vector<Score> Scores::ranked(bench::Place place) const
{
    std::vector<Score> all;
    for (size_t i = 0; i < cells_.size(); i++) {
        auto cell = cells_[i].find(place);
        if (cell != cells_[i].end() && errors_.count(i) == 0) {
            all.push_back(score(i, cell->second));
        }
    }
    std::sort(all.begin(), all.end(), [](const Score &a, const Score &b) {
        return std::make_tuple(a.behind, a.samples < kSamplesLeast, a.figure.median) <
               std::make_tuple(b.behind, b.samples < kSamplesLeast, b.figure.median);
    });
    return all;
}

const Score *recommended(const std::vector<Score> &ranked, bool spin_ok)
{
    const Score *first = nullptr;
    const Score *choice = nullptr;
    for (const Score &score : ranked) {
        if (score.behind || (spins(score) && !spin_ok)) {
            continue;
        }
        first = first ? first : &score;
        if (is_close(score, *first) && (!choice || is_cheaper(score, *choice))) {
            choice = &score;
        }
    }
    return choice;
}

const Score *best(const std::vector<Score> &ranked, bool spinning)
{
    for (const Score &score : ranked) {
        if (spins(score) == spinning && !score.behind) {
            return &score;
        }
    }
    return nullptr;
}

} // namespace tuner
