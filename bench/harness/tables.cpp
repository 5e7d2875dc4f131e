// SPDX-License-Identifier: MIT
#include "harness/tables.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <set>

namespace bench
{

namespace
{

using Rows = Results::Rows;
using Figure = std::function<double(const Row &)>; // 0: there is none

constexpr size_t kColumnsAbreast = 3;
constexpr int kNameWidth = 30;
constexpr char kLegend[] =
    "Medians (and quartiles) of samples; ratios within one placement only.\n"
    "  x   throughput: times as fast as the best peer\n"
    "  ~n  from n samples only\n"
    "  !   every sample was preempted; throughput: of 1024 messages, or 64 KiB, in a row\n"
    "  *   what it promises less or more: see below its tables\n";

std::string format(const char *form, double value)
{
    char text[32];
    std::snprintf(text, sizeof(text), form, value);
    return text;
}

// Three digits or so, whatever the size.
std::string digits(double value)
{
    return format(value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value);
}

std::string spread(const std::vector<double> &values, double unit)
{
    return "(" + digits(quantile(values, 0.25) / unit) + "-" +
           digits(quantile(values, 0.75) / unit) + ")";
}

// The best figure of all candidates of a kind; 0: there is none.
double best(const Rows &rows, Kind kind, bool more, const Figure &figure)
{
    double best = 0;
    for (const auto &[candidate, row] : rows) {
        double value = figure(row);
        bool better = best == 0 || (more ? value > best : value < best);
        if (kind_of(candidate) == kind && value > 0 && better) {
            best = value;
        }
    }
    return best;
}

// Candidates by their figures, the best first, those without one last.
std::vector<Rows::const_iterator> ranked(const Rows &rows, bool more, const Figure &figure)
{
    std::vector<std::pair<double, Rows::const_iterator>> order;
    for (auto it = rows.begin(); it != rows.end(); ++it) {
        double value = figure(it->second);
        double rank = more ? -value : value;
        order.emplace_back(value > 0 ? rank : std::numeric_limits<double>::max(), it);
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const auto &a, const auto &b) { return a.first < b.first; });
    std::vector<Rows::const_iterator> result;
    for (const auto &entry : order) {
        result.push_back(entry.second);
    }
    return result;
}

bool has_values(const std::vector<Cell> &cells, size_t from, size_t to)
{
    for (size_t column = from; column < to; column++) {
        if (!cells[column].values().empty()) {
            return true;
        }
    }
    return false;
}

class Printer
{
  public:
    Printer(std::FILE *out, const Results &results, size_t enough)
        : out_(out), results_(results), enough_(enough)
    {
    }

    void print(const Results::Table &table)
    {
        shown_.clear();
        for (const auto &[place, rows] : table.places) {
            if (table.workload->columns.empty()) {
                print_latencies(*table.workload, place, rows);
            } else {
                print_throughputs(*table.workload, place, rows);
            }
        }
        print_notes();
    }

    void print_placement(const Cuts &cuts);

  private:
    using Print = void (Printer::*)(const Cell &cell, double best_peer, bool more);

    std::string few(size_t samples) const
    {
        return samples < enough_ ? "~" + std::to_string(samples) : "";
    }

    void print_name(const std::string &candidate);
    void print_end(const Row &row);
    void print_notes();
    void print_throughputs(const Workload &workload, Place place, const Rows &rows);
    void print_columns(const Workload &workload, const Rows &rows, size_t from, Print print);
    void print_figure(const Cell &cell, double best_peer, bool more);
    void print_aside(const Cell &cell, double best_peer, bool more);
    void print_latencies(const Workload &workload, Place place, const Rows &rows);
    void print_ratio(double value, double to);

    std::FILE *out_;
    const Results &results_;
    size_t enough_;
    std::set<std::string> shown_; // candidates with a note in the tables of one workload
};

void Printer::print_name(const std::string &candidate)
{
    bool noted = results_.notes().count(candidate) > 0;
    if (noted) {
        shown_.insert(candidate);
    }
    std::fprintf(out_, "  %-*s", kNameWidth, (candidate + (noted ? " *" : "")).c_str());
}

void Printer::print_end(const Row &row)
{
    if (row.violations > 0) {
        std::fprintf(out_, "  %zu VIOLATION%s", row.violations, row.violations > 1 ? "S" : "");
    }
    std::fprintf(out_, "\n");
}

void Printer::print_notes()
{
    if (!shown_.empty()) {
        std::fprintf(out_, "\n");
    }
    for (const std::string &candidate : shown_) {
        std::fprintf(out_, "  * %s: %s\n", candidate.c_str(),
                     results_.notes().at(candidate).c_str());
    }
}

void Printer::print_figure(const Cell &cell, double best_peer, bool more)
{
    const std::vector<double> &values = cell.values();
    if (values.empty()) {
        std::fprintf(out_, " %6s%23s", "-", "");
        return;
    }
    double median = quantile(values, 0.5);
    double times = more ? median / best_peer : best_peer / median;
    std::string ratio = best_peer > 0 ? digits(times) + "x" : "";
    std::fprintf(out_, " %6s%c%-13s %5s %-3s", digits(median).c_str(), cell.disturbed() ? '!' : ' ',
                 spread(values, 1).c_str(), ratio.c_str(), few(values.size()).c_str());
}

void Printer::print_aside(const Cell &cell, double, bool)
{
    if (cell.asides.empty()) {
        std::fprintf(out_, " %13s%16s", "-", "");
    } else {
        std::fprintf(out_, " %13s %10s %4s", digits(quantile(cell.asides, 0.5)).c_str(),
                     digits(quantile(cell.asides, 1)).c_str(), few(cell.asides.size()).c_str());
    }
}

// Some columns abreast, ranked by the first of them.
void Printer::print_columns(const Workload &workload, const Rows &rows, size_t from, Print print)
{
    size_t to = std::min(from + kColumnsAbreast, workload.columns.size());
    auto figure = [](size_t column) {
        return [column](const Row &row) { return quantile(row.columns[column].values(), 0.5); };
    };
    std::fprintf(out_, "  %-*s", kNameWidth, "");
    std::vector<double> peers;
    for (size_t column = from; column < to; column++) {
        std::fprintf(out_, " %15s%14s", workload.columns[column].c_str(), "");
        peers.push_back(best(rows, Kind::peer, workload.more, figure(column)));
    }
    std::fprintf(out_, "\n");
    for (auto it : ranked(rows, workload.more, figure(from))) {
        const std::vector<Cell> &cells = it->second.columns;
        if (it->second.violations == 0 && !has_values(cells, from, to)) {
            continue;
        }
        print_name(it->first);
        for (size_t column = from; column < to; column++) {
            (this->*print)(cells[column], peers[column - from], workload.more);
        }
        print_end(it->second);
    }
}

void Printer::print_throughputs(const Workload &workload, Place place, const Rows &rows)
{
    std::fprintf(out_, "\n%s, %s: %s\n", workload.title.c_str(), name(place), workload.unit);
    for (size_t from = 0; from < workload.columns.size(); from += kColumnsAbreast) {
        print_columns(workload, rows, from, &Printer::print_figure);
    }
    if (!workload.aside) {
        return;
    }
    std::fprintf(out_, "\n%s, %s: %s: median, most\n", workload.title.c_str(), name(place),
                 workload.aside);
    for (size_t from = 0; from < workload.columns.size(); from += kColumnsAbreast) {
        print_columns(workload, rows, from, &Printer::print_aside);
    }
}

void Printer::print_ratio(double value, double to)
{
    std::fprintf(out_, " %7s", to > 0 ? digits(value / to).c_str() : "-");
}

void Printer::print_latencies(const Workload &workload, Place place, const Rows &rows)
{
    std::fprintf(out_, "\n%s, %s: %s\n  %-*s %8s %-15s %8s %8s %8s %8s %7s %7s %7s %8s\n",
                 workload.title.c_str(), name(place), workload.unit, kNameWidth, "", "p50", "",
                 "mean 99%", "p99", "p99.9", "max", "/ line", "/ floor", "/ peer", "count");
    auto census = results_.census().find(place);
    double line = census != results_.census().end() ? quantile(census->second.line_rt_ns, 0.5) : 0;
    Figure p50 = [](const Row &row) { return quantile(row.latencies().p50s, 0.5); };
    double floor = best(rows, Kind::floor, false, p50);
    double peer = best(rows, Kind::peer, false, p50);
    for (auto it : ranked(rows, false, p50)) {
        const Row &row = it->second;
        const Latencies &values = row.latencies();
        auto show = [&](double ns) { return digits(ns / workload.unit_ns); };
        print_name(it->first);
        if (values.p50s.empty()) {
            std::fprintf(out_, " %8s", "-");
        } else {
            std::fprintf(out_, " %7s%c%-15s %8s %8s %8s %8s", show(p50(row)).c_str(),
                         row.disturbed() ? '!' : ' ', spread(values.p50s, workload.unit_ns).c_str(),
                         show(quantile(values.means, 0.5)).c_str(),
                         show(values.all.percentile(0.99)).c_str(),
                         show(values.all.percentile(0.999)).c_str(),
                         show(static_cast<double>(values.all.max())).c_str());
            print_ratio(p50(row), line);
            print_ratio(p50(row), floor);
            print_ratio(p50(row), peer);
            std::fprintf(out_, " %8llu %s", static_cast<unsigned long long>(values.all.count()),
                         few(values.p50s.size()).c_str());
        }
        print_end(row);
    }
}

void Printer::print_placement(const Cuts &cuts)
{
    std::fprintf(out_,
                 "\nplacement: line round trip beside each sample, ns; cuts at %.0f and %.0f\n"
                 "  %-*s %9s %9s %9s %9s %9s\n",
                 cuts.smt_ns, cuts.l3_ns, kNameWidth, "", "samples", "preempted", "p5", "p50",
                 "p95");
    for (const auto &[place, census] : results_.census()) {
        std::fprintf(out_, "  %-*s %9zu %9zu", kNameWidth, name(place), census.samples,
                     census.preempted);
        if (place == Place::mixed) {
            std::fprintf(out_, "   thrown away: it changed during the sample\n");
            continue;
        }
        std::fprintf(out_, " %9.1f %9.1f %9.1f\n", quantile(census.line_rt_ns, 0.05),
                     quantile(census.line_rt_ns, 0.5), quantile(census.line_rt_ns, 0.95));
        if (double cut = cut_between(census.line_rt_ns); cut > 0) {
            std::fprintf(out_,
                         "  %-*s two clusters, parted at %.0f: another --cuts would tell them "
                         "apart\n",
                         kNameWidth, "", cut);
        }
    }
}

} // namespace

void print_tables(std::FILE *out, const Results &results, const Cuts &cuts, size_t enough)
{
    std::fputs(kLegend, out);
    Printer printer(out, results, enough);
    for (const Results::Table &table : results.tables()) {
        printer.print(table);
    }
    printer.print_placement(cuts);
}

} // namespace bench
