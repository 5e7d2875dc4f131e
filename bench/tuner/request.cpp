// SPDX-License-Identifier: MIT
#include "tuner/request.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace tuner
{

namespace
{

bool parse_number(const std::string &option, const std::string &text, double least, double most,
                  bool whole, double &number)
{
    char *end = nullptr;
    number = std::strtod(text.c_str(), &end);
    bool good = !text.empty() && *end == '\0' && number >= least && number <= most &&
                (!whole || number == std::floor(number));
    if (!good) {
        std::fprintf(stderr, "%s: %s is not a %snumber from %.0f to %.0f\n", option.c_str(),
                     text.c_str(), whole ? "whole " : "", least, most);
    }
    return good;
}

// As the benchmark reads them.
bool parse_machine(std::string option, std::string value, bench::Settings &machine)
{
    std::string program;
    char *argv[] = {&program[0], &option[0], &value[0]};
    bool help = false;
    return bench::parse(3, argv, machine, help);
}

bool set(const std::string &option, const std::string &value, Request &request)
{
    double number = 0;
    if (option == "--bytes" && parse_number(option, value, 1, 65536, true, number)) {
        request.bytes = static_cast<size_t>(number);
    } else if (option == "--rate" && parse_number(option, value, 10, 1e9, false, number)) {
        request.rate = number;
    } else if (option == "--senders" && parse_number(option, value, 1, 64, true, number)) {
        request.senders = static_cast<unsigned>(number);
    } else if (option == "--seconds" && parse_number(option, value, 1, 3600, false, number)) {
        request.seconds = number;
    } else if (option == "--cpus" || option == "--cuts") {
        return parse_machine(option, value, request.machine);
    } else {
        return false;
    }
    return true;
}

bool takes_value(const std::string &option)
{
    for (const char *known : {"--bytes", "--rate", "--senders", "--seconds", "--cpus", "--cuts"}) {
        if (option == known) {
            return true;
        }
    }
    return false;
}

} // namespace

bool parse(int argc, char **argv, Request &request)
{
    bool help = false;
    bench::parse(1, argv, request.machine, help); // the first two CPUs allowed
    for (int i = 1; i < argc; i++) {
        std::string option = argv[i];
        if (option == "--spin-ok") {
            request.spin_ok = true;
        } else if (option == "--all") {
            request.all = true;
        } else if (!takes_value(option)) {
            std::fprintf(stderr, "unknown option: %s\n", argv[i]);
            return false;
        } else if (i + 1 >= argc) {
            std::fprintf(stderr, "%s needs a value\n", argv[i]);
            return false;
        } else if (!set(option, argv[++i], request)) {
            return false;
        }
    }
    return true;
}

} // namespace tuner
