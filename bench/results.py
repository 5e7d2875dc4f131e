# SPDX-License-Identifier: MIT
"""Reads the JSON of a run: what compare, against and page have in common."""
import collections
import json
import re
import statistics

PLACES = ("smt", "l3", "across", "one_cpu", "any")  # not mixed: the CPUs moved during the sample

# calm: no thread was preempted in it, or that is part of what is measured
Sample = collections.namedtuple("Sample", "benchmark place ns calm run")


def nanoseconds(result):
    """What is compared, less is better: of a latency the mean of the fastest 99 in 100, else the
    time of an item."""
    if "mean99_ns" in result:
        return result["mean99_ns"]
    if result.get("items_per_second"):
        return 1e9 / result["items_per_second"]
    return result["real_time"] * {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}[result["time_unit"]]


def name_of(result):
    return re.sub(r"/iterations:.*", "", result["name"])


def read(path):
    """The context, the samples, and of each benchmark that had some its errors."""
    with open(path, encoding="utf-8") as file:
        run = json.load(file)
    samples, errors = [], collections.Counter()
    for result in run["benchmarks"]:
        if result["run_type"] != "iteration":
            continue
        if result.get("error_occurred"):
            errors[name_of(result), result["error_message"]] += 1
        elif result["label"] in PLACES:
            samples.append(Sample(name_of(result), result["label"], nanoseconds(result),
                                  result["label"] == "any" or not result.get("preemptions"), result))
    return run["context"], samples, errors


def by_benchmark(samples):
    """{(benchmark, place): samples}: those in which a thread was preempted only where there are no
    others."""
    every = collections.defaultdict(list)
    for sample in samples:
        every[sample.benchmark, sample.place].append(sample)
    return {key: [s for s in those if s.calm] or those for key, those in every.items()}


def quartiles(values):
    """Low, middle, high."""
    if len(values) < 2:
        return list(values) * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def is_strait(benchmark):
    return "/strait." in benchmark
