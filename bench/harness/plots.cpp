// SPDX-License-Identifier: MIT
#include "harness/plots.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>

namespace bench
{

namespace
{

using Rows = Results::Rows;

// Letters and digits, with one dash for whatever is between them.
std::string slug(const std::string &title)
{
    std::string text;
    for (char c : title) {
        if (std::isalnum(static_cast<unsigned char>(c))) {
            text += c;
        } else if (!text.empty() && text.back() != '-') {
            text += '-';
        }
    }
    return text.substr(0, text.find_last_not_of('-') + 1);
}

// The scripts' numbers for colours.
int colour(const std::string &candidate)
{
    return static_cast<int>(kind_of(candidate));
}

double million_per_second(const Cell &cell, double fraction)
{
    double ns = quantile(cell.values(), fraction);
    return ns > 0 ? 1e3 / ns : 0;
}

// One block for each column that has figures, the best last: gnuplot counts from below.
void write_bars(std::ostream &out, const Workload &workload, const Rows &rows)
{
    const char *gap = "";
    for (size_t column = 0; column < workload.columns.size(); column++) {
        std::vector<std::pair<double, std::string>> order;
        for (const auto &[candidate, row] : rows) {
            double speed = million_per_second(row.columns[column], 0.5);
            if (speed > 0) {
                order.emplace_back(speed, candidate);
            }
        }
        if (order.empty()) {
            continue;
        }
        std::sort(order.begin(), order.end());
        out << gap;
        gap = "\n\n";
        for (const auto &[speed, candidate] : order) {
            const Cell &cell = rows.at(candidate).columns[column];
            out << '"' << candidate << "\" " << speed << ' ' << million_per_second(cell, 0.75)
                << ' ' << million_per_second(cell, 0.25) << ' ' << colour(candidate) << " \""
                << workload.columns[column] << "\"\n";
        }
    }
}

// One block for each candidate.
void write_lines(std::ostream &out, const Workload &workload, const Rows &rows)
{
    const char *gap = "";
    for (const auto &[candidate, row] : rows) {
        out << gap;
        gap = "";
        for (size_t column = 0; column < workload.columns.size(); column++) {
            double speed = million_per_second(row.columns[column], 0.5);
            if (speed > 0) {
                out << std::atoi(workload.columns[column].c_str()) << ' ' << speed << ' '
                    << colour(candidate) << " \"" << candidate << "\"\n";
                gap = "\n\n";
            }
        }
    }
}

void write_latencies(std::ostream &out, const Workload &workload, const Rows &rows)
{
    std::vector<std::pair<double, std::string>> order;
    for (const auto &[candidate, row] : rows) {
        if (row.latencies().all.count() > 0) {
            order.emplace_back(row.latencies().all.percentile(0.5), candidate);
        }
    }
    std::sort(order.rbegin(), order.rend());
    for (const auto &[p50, candidate] : order) {
        const Histogram &all = rows.at(candidate).latencies().all;
        out << '"' << candidate << "\" " << p50 / workload.unit_ns << ' '
            << all.percentile(0.99) / workload.unit_ns << ' '
            << all.percentile(0.999) / workload.unit_ns << ' ' << colour(candidate) << '\n';
    }
}

// Its columns are numbers of senders: a curve.
bool is_curve(const Workload &workload)
{
    return std::all_of(workload.columns.begin(), workload.columns.end(), [](const auto &column) {
        return std::atoi(column.c_str()) > 0 && column.find("sender") != std::string::npos;
    });
}

// Latencies and speeds are.
bool is_drawn(const Workload &workload)
{
    return workload.columns.empty() || workload.unit_ns == 1;
}

bool write(const std::string &folder, const Workload &workload, Place place, const Rows &rows)
{
    bool latencies = workload.columns.empty();
    const char *kind = latencies ? "latencies" : is_curve(workload) ? "lines" : "bars";
    std::ofstream out(folder + "/" + slug(workload.title) + "." + name(place) + "." + kind +
                      ".dat");
    out << "# " << workload.title << ", " << name(place) << ": "
        << (latencies ? workload.unit : "million messages per second") << '\n';
    if (latencies) {
        write_latencies(out, workload, rows);
    } else if (is_curve(workload)) {
        write_lines(out, workload, rows);
    } else {
        write_bars(out, workload, rows);
    }
    out.close();
    return out.good();
}

} // namespace

bool write_plot_data(const Results &results, const std::string &folder)
{
    bool good = true;
    for (const Results::Table &table : results.tables()) {
        if (!is_drawn(*table.workload)) {
            continue;
        }
        for (const auto &[place, rows] : table.places) {
            good = write(folder, *table.workload, place, rows) && good;
        }
    }
    return good;
}

} // namespace bench
