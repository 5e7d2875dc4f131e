// SPDX-License-Identifier: MIT
#include "harness/results.h"

#include <algorithm>

namespace bench
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

Kind kind_of(const std::string &candidate)
{
    return candidate.compare(0, 7, "strait.") == 0  ? Kind::strait
           : candidate.compare(0, 6, "floor.") == 0 ? Kind::floor
                                                    : Kind::peer;
}

void Results::declare(const Workload &workload)
{
    tables_.push_back({&workload, {}});
}

void Results::note(const std::string &candidate, const std::string &text)
{
    notes_[candidate] = text;
}

void Results::add_placement(Place place, double before_ns, double after_ns, bool preempted)
{
    Census &census = census_[place];
    census.samples++;
    census.preempted += preempted ? 1 : 0;
    census.line_rt_ns.push_back(before_ns);
    census.line_rt_ns.push_back(after_ns);
}

Row &Results::row(const Workload &workload, const std::string &candidate, Place place)
{
    auto table = std::find_if(tables_.begin(), tables_.end(),
                              [&](const Table &t) { return t.workload == &workload; });
    Row &row = table->places[place][candidate];
    row.columns.resize(workload.columns.size());
    return row;
}

void Results::add(const Workload &workload, const std::string &candidate, Place place,
                  size_t column, const Throughput &throughput, bool disturbed)
{
    Cell &cell = row(workload, candidate, place).columns[column];
    if (disturbed) {
        cell.typical.push_back(throughput.typical_ns);
    } else {
        cell.undisturbed.push_back(throughput.ns_per_message);
    }
    cell.asides.push_back(throughput.aside);
}

void Results::add(const Workload &workload, const std::string &candidate, Place place,
                  const Histogram &latencies, bool disturbed)
{
    Row &to = row(workload, candidate, place);
    Latencies &all = disturbed ? to.preempted : to.undisturbed;
    all.p50s.push_back(latencies.percentile(0.5));
    all.means.push_back(latencies.mean_of_smallest(0.99));
    all.all.merge(latencies);
}

void Results::add_violation(const Workload &workload, const std::string &candidate, Place place)
{
    row(workload, candidate, place).violations++;
}

} // namespace bench
