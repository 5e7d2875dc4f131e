// SPDX-License-Identifier: MIT
#include "harness/results.h"

#include <algorithm>

namespace bench
{

namespace
{

double quantile(std::vector<double> values, double fraction)
{
    if (values.empty()) {
        return 0;
    }
    size_t last = values.size() - 1;
    auto at = values.begin() + static_cast<std::ptrdiff_t>(fraction * static_cast<double>(last));
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

// The p50 that the others are held against: the fastest floor's. 0: there is none.
template <class Rows> double floor_p50(const Rows &rows)
{
    double best = 0;
    for (const auto &[candidate, row] : rows) {
        double p50 = row.latencies.percentile(0.5);
        if (candidate.compare(0, 6, "floor.") == 0 && (best == 0 || p50 < best)) {
            best = p50;
        }
    }
    return best;
}

// Candidates by what `figure` says of their rows, the best first.
template <class Rows, class Figure>
std::vector<typename Rows::const_iterator> ranked(const Rows &rows, Figure figure)
{
    std::vector<std::pair<double, typename Rows::const_iterator>> order;
    for (auto it = rows.begin(); it != rows.end(); ++it) {
        order.emplace_back(figure(it->second), it);
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const auto &a, const auto &b) { return a.first < b.first; });
    std::vector<typename Rows::const_iterator> result;
    for (const auto &entry : order) {
        result.push_back(entry.second);
    }
    return result;
}

} // namespace

void Results::declare(const Workload &workload)
{
    tables_.push_back({&workload, {}});
}

void Results::add_placement(Place place, double before_ns, double after_ns)
{
    samples_[place]++;
    if (place != Place::mixed) {
        line_rt_ns_[place].push_back(before_ns);
        line_rt_ns_[place].push_back(after_ns);
    }
}

Results::Row &Results::row(const Workload &workload, const std::string &candidate, Place place)
{
    auto table = std::find_if(tables_.begin(), tables_.end(),
                              [&](const Table &t) { return t.workload == &workload; });
    return table->places[place][candidate];
}

void Results::add(const Workload &workload, const std::string &candidate, Place place,
                  size_t column, const Throughput &throughput)
{
    Row &to = row(workload, candidate, place);
    to.columns.resize(workload.columns.size());
    Column &values = to.columns[column];
    if (throughput.preempted) {
        values.typical.push_back(throughput.typical_ns);
    } else {
        values.undisturbed.push_back(throughput.ns_per_message);
    }
}

void Results::add(const Workload &workload, const std::string &candidate, Place place,
                  const Histogram &latencies)
{
    Row &to = row(workload, candidate, place);
    to.means.push_back(latencies.mean_of_smallest(0.99));
    to.latencies.merge(latencies);
}

// Where another program had a CPU for a while, it is that one that was measured: only samples in
// which nobody was preempted count. Where there are none, a typical block has to do, marked.
void Results::print_figure(std::FILE *out, const Column &column)
{
    bool disturbed = column.undisturbed.empty();
    const std::vector<double> &values = disturbed ? column.typical : column.undisturbed;
    if (values.empty()) {
        std::fprintf(out, " %15s", "-");
    } else {
        std::fprintf(out, " %8.2f%c (%3zu)", quantile(values, 0.5), disturbed ? '!' : ' ',
                     values.size());
    }
}

void Results::print_throughput(std::FILE *out, const Workload &workload, Place place,
                               const Rows &rows)
{
    std::fprintf(out,
                 "\n%s, %s: ns per message, median (samples; !: all preempted, so of 1024 "
                 "messages)\n  %-22s",
                 workload.title.c_str(), name(place), "");
    for (const std::string &column : workload.columns) {
        std::fprintf(out, " %15s", column.c_str());
    }
    auto first_column = [](const Row &row) {
        const Column &column = row.columns[0];
        return quantile(column.undisturbed.empty() ? column.typical : column.undisturbed, 0.5);
    };
    for (auto it : ranked(rows, first_column)) {
        std::fprintf(out, "\n  %-22s", it->first.c_str());
        for (const Column &column : it->second.columns) {
            print_figure(out, column);
        }
    }
    std::fprintf(out, "\n");
}

void Results::print_latencies(std::FILE *out, const Workload &workload, Place place,
                              const Rows &rows)
{
    std::fprintf(out, "\n%s, %s: %s\n  %-22s %9s %9s %9s %9s %9s %8s %9s\n", workload.title.c_str(),
                 name(place), workload.unit, "", "mean 99%", "p50", "p99", "p99.9", "max",
                 "/ floor", "count");
    double floor = floor_p50(rows);
    for (auto it : ranked(rows, [](const Row &row) { return row.latencies.percentile(0.5); })) {
        const Histogram &latencies = it->second.latencies;
        double p50 = latencies.percentile(0.5);
        std::fprintf(out, "  %-22s %9.2f %9.2f %9.2f %9.2f %9.1f", it->first.c_str(),
                     quantile(it->second.means, 0.5) / workload.unit_ns, p50 / workload.unit_ns,
                     latencies.percentile(0.99) / workload.unit_ns,
                     latencies.percentile(0.999) / workload.unit_ns,
                     static_cast<double>(latencies.max()) / workload.unit_ns);
        if (floor > 0) {
            std::fprintf(out, " %8.2f", p50 / floor);
        } else {
            std::fprintf(out, " %8s", "-");
        }
        std::fprintf(out, " %9llu\n", static_cast<unsigned long long>(latencies.count()));
    }
}

void Results::print_placement(std::FILE *out, const Cuts &cuts) const
{
    std::fprintf(out,
                 "\nplacement: line round trip beside each sample, ns; cuts at %.0f and %.0f\n"
                 "  %-22s %9s %9s %9s %9s\n",
                 cuts.smt_ns, cuts.l3_ns, "", "samples", "p5", "p50", "p95");
    for (const auto &[place, count] : samples_) {
        std::fprintf(out, "  %-22s %9zu", name(place), count);
        auto found = line_rt_ns_.find(place);
        if (found == line_rt_ns_.end()) {
            std::fprintf(out, "   (left out of the tables)\n");
            continue;
        }
        double low = quantile(found->second, 0.05);
        double high = quantile(found->second, 0.95);
        std::fprintf(out, " %9.1f %9.1f %9.1f%s\n", low, quantile(found->second, 0.5), high,
                     high > 2 * low ? "   more than one cluster? see --cuts" : "");
    }
}

void Results::print(std::FILE *out, const Cuts &cuts) const
{
    for (const Table &table : tables_) {
        for (const auto &[place, rows] : table.places) {
            if (table.workload->columns.empty()) {
                print_latencies(out, *table.workload, place, rows);
            } else {
                print_throughput(out, *table.workload, place, rows);
            }
        }
    }
    print_placement(out, cuts);
}

} // namespace bench
