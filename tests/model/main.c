/* SPDX-License-Identifier: MIT */
/* model litmus|rings|channels|tasks|mutants [DEPTH]: DEPTH, or else STRAIT_MODEL_DEPTH, is added to
 * every bound; STRAIT_MODEL_VERBOSE=1 prints the schedule of a failure; STRAIT_MODEL_PARTLY=1 tries
 * mutants that lose one half of a read-modify-write's order, too. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TESTS_MAX 64
#define SITES_MAX 128
/* Executions that show which sites a test reaches, and that a mutant must survive in each test. */
#define SCOUT_LIMIT 3000
#define MUTANT_LIMIT 150000
#define EQUIVALENT_LIMIT 20000 /* of those that are proved to survive */

static const char *const weakenings[] = {"relaxed", "acquire only", "release only", "omitted"};

/* Mutants that no test can catch, and why not: see README.md. */
struct survivor {
    const char *site;
    enum model_weakening weakening;
};

static const struct survivor equivalent[] = {
    {"senders.open", MODEL_RELAXED},      {"senders.open", MODEL_ONLY_ACQUIRE},
    {"senders.open", MODEL_ONLY_RELEASE}, {"spsc.attach", MODEL_ONLY_ACQUIRE},
    {"cells.claim", MODEL_ONLY_RELEASE},  {"submission.claim", MODEL_RELAXED},
    {"event.update", MODEL_ONLY_RELEASE}, {NULL, MODEL_RELAXED},
};

static const struct model_test *tests[TESTS_MAX];
static int test_count;
static bool reaches[TESTS_MAX][SITES_MAX];

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void describe_bounds(const struct model_test *test, char *text, size_t size)
{
    if (test->preemptions == 0) {
        snprintf(text, size, "all schedules");
    } else {
        snprintf(text, size, "%d preemptions, %d stale reads", test->preemptions + model_depth,
                 test->stale + model_depth);
    }
}

static int run_tests(const struct model_test *test)
{
    int failures = 0;
    for (; test->name; test++) {
        double start = seconds();
        bool passed = model_run(test);
        char bounds[64];
        describe_bounds(test, bounds, sizeof(bounds));
        printf("%-34s %-6s %8lu executions, %s, %.2f s\n", test->name, passed ? "ok" : "FAILED",
               model_result.executions, bounds, seconds() - start);
        if (!passed) {
            printf("    %s\n", model_result.failure);
        }
        fflush(stdout);
        failures += !passed;
    }
    return failures;
}

/* ---- mutants ---- */

/* The label above a site, or the function that it is in. */
static void name_site(struct model_site at, char *name, size_t size)
{
    const char *file = strrchr(at.file, '/');
    snprintf(name, size, "%s:%d", file ? file + 1 : at.file, at.line);
    FILE *source = fopen(at.file, "r");
    char line[256];
    bool label = false;
    for (int i = 1; source && i <= at.line && fgets(line, sizeof(line), source); i++) {
        char word[64];
        char colon;
        if (sscanf(line, " /* %63[a-z_.]%c", word, &colon) == 2 && colon == ':' &&
            strchr(word, '.')) {
            snprintf(name, size, "%s", word);
            label = true;
        } else if (i < at.line && strchr(line, ';') && !strstr(line, "*/")) {
            label = false; /* the label was another statement's */
        }
        const char *open = strchr(line, '(');
        if (!label && open && strchr("abcdefghijklmnopqrstuvwxyz", line[0]) && !strchr(line, ';')) {
            const char *start = open;
            while (start > line && start[-1] != ' ' && start[-1] != '*') {
                start--;
            }
            snprintf(name, size, "%.*s", (int)(open - start), start);
        }
    }
    if (source) {
        fclose(source);
    }
}

static bool is_equivalent(const char *name, enum model_weakening weakening)
{
    for (const struct survivor *s = equivalent; s->site; s++) {
        if (strcmp(s->site, name) == 0 && s->weakening == weakening) {
            return true;
        }
    }
    return false;
}

static void scout(const struct model_test *test)
{
    model_mutate(-1, MODEL_RELAXED);
    model_limit = SCOUT_LIMIT;
    for (; test->name; test++) {
        model_run(test);
        for (int site = 0; site < model_sites(); site++) {
            reaches[test_count][site] = model_site_reached(site);
        }
        tests[test_count++] = test;
    }
}

/* The test that catches the mutant, NULL if none does. */
static const struct model_test *catch (int site, enum model_weakening weakening, bool wanted)
{
    const struct model_test *caught = NULL;
    model_mutate(site, weakening);
    model_limit = wanted ? MUTANT_LIMIT : EQUIVALENT_LIMIT;
    for (int i = 0; i < test_count && !caught; i++) {
        if (reaches[i][site] && !model_run(tests[i])) {
            caught = tests[i];
        }
    }
    model_mutate(-1, MODEL_RELAXED);
    return caught;
}

/* 1 if it is wrong: a mutant survives that should not, or the other way round. */
static int try_mutant(int site, enum model_weakening weakening, int *caught)
{
    char name[64];
    name_site(model_site_at(site), name, sizeof(name));
    double start = seconds();
    bool wanted = !is_equivalent(name, weakening);
    const struct model_test *by = catch (site, weakening, wanted);
    printf("%-26s %-13s ", name, weakenings[weakening]);
    if (by) {
        printf("caught by \"%s\" after %lu: %.50s", by->name, model_result.executions,
               model_result.failure);
    } else {
        printf("survives%s", wanted ? "" : ", as proved in README.md");
    }
    printf(" (%.1f s)%s\n", seconds() - start, wanted == (by != NULL) ? "" : "  WRONG");
    fflush(stdout);
    *caught += by != NULL;
    return wanted != (by != NULL);
}

/* Orders of the tests themselves are not on trial. */
static bool on_trial(int site)
{
    const char *file = strrchr(model_site_at(site).file, '/');
    file = file ? file + 1 : model_site_at(site).file;
    char name[64];
    name_site(model_site_at(site), name, sizeof(name));
    return (strcmp(file, "rings.c") != 0 && strcmp(file, "channels.c") != 0 &&
            strcmp(file, "tasks.c") != 0) ||
           strcmp(name, "recheck_before_sleep") == 0;
}

static int run_mutants(void)
{
    int wrong = 0;
    int tried = 0;
    int caught = 0;
    scout(ring_tests);
    scout(channel_tests);
    scout(task_tests);
    for (int site = 0; site < model_sites(); site++) {
        for (int weakening = 0; on_trial(site) && weakening < MODEL_WEAKENINGS; weakening++) {
            bool partly = weakening == MODEL_ONLY_ACQUIRE || weakening == MODEL_ONLY_RELEASE;
            if (model_site_has(site, (enum model_weakening)weakening) &&
                (!partly || getenv("STRAIT_MODEL_PARTLY"))) {
                tried++;
                wrong += try_mutant(site, (enum model_weakening)weakening, &caught);
            }
        }
    }
    printf("mutants: %d, %d caught, %d wrong\n", tried, caught, wrong);
    return wrong;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    const char *depth = argc > 2 ? argv[2] : getenv("STRAIT_MODEL_DEPTH");
    model_depth = depth ? atoi(depth) : 0;
    model_verbose = getenv("STRAIT_MODEL_VERBOSE") != NULL;
    int failures;
    if (strcmp(what, "litmus") == 0) {
        failures = litmus_run();
    } else if (strcmp(what, "rings") == 0) {
        failures = run_tests(ring_tests);
    } else if (strcmp(what, "channels") == 0) {
        failures = run_tests(channel_tests);
    } else if (strcmp(what, "tasks") == 0) {
        failures = run_tests(task_tests);
    } else if (strcmp(what, "mutants") == 0) {
        failures = run_mutants();
    } else {
        fprintf(stderr, "usage: model litmus|rings|channels|tasks|mutants [DEPTH]\n");
        return 2;
    }
    return failures != 0;
}
