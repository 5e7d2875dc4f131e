/* SPDX-License-Identifier: MIT */
/* model litmus|rings|channels|tasks|pools|mutants [DEPTH]: DEPTH, or else STRAIT_MODEL_DEPTH, is
 * added to every bound; STRAIT_MODEL_VERBOSE=1 prints the schedule of a failure;
 * STRAIT_MODEL_PARTLY=1 tries mutants that lose one half of a read-modify-write's order, too. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Executions of one test, unless a depth is given, 0 say: two tests have more, one of the others
 * three quarters of this, the rest not a quarter. */
#define LIMIT 400000

static void print_bounds(const struct model_test *test)
{
    if (test->preemptions == 0) {
        printf("all schedules");
    } else {
        printf("%d preemptions, %d stale reads", test->preemptions + model_depth,
               test->stale + model_depth);
    }
}

static int tests_run(const struct model_test *test)
{
    int failures = 0;
    for (; test->name; test++) {
        clock_t start = clock();
        bool passed = model_run(test);
        printf("%-34s %-6s %8lu executions%s, ", test->name, passed ? "ok" : "FAILED",
               model_result.executions, model_result.cut ? " of more" : "");
        print_bounds(test);
        printf(", %.2f s\n", (double)(clock() - start) / CLOCKS_PER_SEC);
        if (!passed) {
            printf("    %s\n", model_result.failure);
        }
        fflush(stdout);
        failures += !passed;
    }
    return failures;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        const struct model_test *tests;
    } parts[] = {
        {"rings", ring_tests},
        {"channels", channel_tests},
        {"tasks", task_tests},
        {"pools", pool_tests},
    };
    const char *what = argc > 1 ? argv[1] : "";
    const char *depth = argc > 2 ? argv[2] : getenv("STRAIT_MODEL_DEPTH");
    model_depth = depth ? atoi(depth) : 0;
    model_limit = depth ? 0 : LIMIT;
    model_verbose = getenv("STRAIT_MODEL_VERBOSE") != NULL;
    if (strcmp(what, "litmus") == 0) {
        return litmus_run() != 0;
    }
    if (strcmp(what, "mutants") == 0) {
        return mutants_run(getenv("STRAIT_MODEL_PARTLY") != NULL) != 0;
    }
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strcmp(what, parts[i].name) == 0) {
            return tests_run(parts[i].tests) != 0;
        }
    }
    fprintf(stderr, "usage: model litmus|rings|channels|tasks|pools|mutants [DEPTH]\n");
    return 2;
}
