/* SPDX-License-Identifier: MIT */
/* Where orders stand, and the mutants: one of them weakened at a time. */
#include "engine.h"
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SITES 256
#define TESTS_MAX 128
/* Executions that show which sites a test reaches, and that a mutant must survive in each test. */
#define SCOUT_LIMIT 10000
#define FIRST_LIMIT 2000
#define MUTANT_LIMIT 150000
#define EQUIVALENT_LIMIT 20000 /* of those that are proved to survive */

enum weakening {
    RELAXED,      /* load, store or read-modify-write */
    ONLY_ACQUIRE, /* read-modify-write */
    ONLY_RELEASE,
    OMITTED, /* fence, barrier, wake-up */
    WEAKENINGS
};

static const char *const weakenings[] = {"relaxed", "acquire only", "release only", "omitted"};

/* Numbered in the order in which they are first reached. */
struct site {
    struct model_site at;
    uint32_t weakenings;     /* bit per weakening that makes sense */
    bool reached[TESTS_MAX]; /* by which tests */
};

static struct site sites[SITES];
static int site_count;
static const struct model_test *tests[TESTS_MAX];
static int test_count;

static int mutated_site = -1;
static enum weakening mutation;

/* ---- for the helpers ---- */

static struct site *find_site(struct model_site at, uint32_t can)
{
    for (int i = 0; i < site_count; i++) {
        if (sites[i].at.line == at.line && sites[i].at.file == at.file &&
            sites[i].weakenings == can) {
            return &sites[i];
        }
    }
    if (site_count == SITES) {
        fprintf(stderr, "model: too many sites\n");
        abort();
    }
    sites[site_count] = (struct site){at, can, {0}};
    return &sites[site_count++];
}

/* Is it the one that is weakened? */
static bool reach(struct model_site at, uint32_t can)
{
    struct site *site = find_site(at, can);
    site->reached[test_count] = true; /* of the scouts, the one that runs */
    return site - sites == mutated_site;
}

void weaken(struct model_site at, bool *acquire, bool *release)
{
    uint32_t can = 1u << RELAXED;
    if (*acquire && *release) {
        can |= 1u << ONLY_ACQUIRE | 1u << ONLY_RELEASE;
    }
    if ((*acquire || *release) && reach(at, can)) {
        *acquire = mutation == ONLY_ACQUIRE;
        *release = mutation == ONLY_RELEASE;
    }
}

bool model_omitted(struct model_site at)
{
    return reach(at, 1u << OMITTED);
}

/* ---- mutants ---- */

/* Mutants that no test can catch, and why not: see README.md. */
static const struct {
    const char *site;
    enum weakening weakening;
} equivalent[] = {
    {"spsc.attach", ONLY_ACQUIRE},
    {"cells.claim", ONLY_RELEASE},
    {"submission.claim", RELAXED},
    {"completion.report", ONLY_RELEASE},
};

static bool is_equivalent(const char *name, enum weakening weakening)
{
    for (size_t i = 0; i < sizeof(equivalent) / sizeof(equivalent[0]); i++) {
        if (strcmp(equivalent[i].site, name) == 0 && equivalent[i].weakening == weakening) {
            return true;
        }
    }
    return false;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The label above a site, or the function that it is in. */
static void name_site(struct model_site at, char *name, size_t size)
{
    snprintf(name, size, "%s:%d", base_name(at.file), at.line);
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

static void scout(const struct model_test *test)
{
    model_limit = SCOUT_LIMIT;
    for (; test->name; test++) {
        if (test_count == TESTS_MAX - 1) {
            fprintf(stderr, "model: too many tests\n");
            abort();
        }
        tests[test_count] = test;
        model_run(test);
        test_count++;
    }
}

/* The test that catches the mutant, NULL if none does. Most need few executions, of the right test:
 * so all are tried with few first. */
static const struct model_test *catch (const struct site *site, unsigned long limit)
{
    for (model_limit = FIRST_LIMIT;; model_limit *= 8) {
        bool last = model_limit >= limit;
        model_limit = last ? limit : model_limit;
        for (int i = 0; i < test_count; i++) {
            if (site->reached[i] && !model_run(tests[i])) {
                return tests[i];
            }
        }
        if (last) {
            return NULL;
        }
    }
}

/* False: it survives. `wrong`: and it should not, or the other way round. */
static bool try_mutant(const struct site *site, enum weakening weakening, bool *wrong)
{
    char name[64];
    name_site(site->at, name, sizeof(name));
    bool survives = is_equivalent(name, weakening);
    mutated_site = (int)(site - sites);
    mutation = weakening;
    const struct model_test *by = catch (site, survives ? EQUIVALENT_LIMIT : MUTANT_LIMIT);
    mutated_site = -1;
    printf("%-26s %-13s ", name, weakenings[weakening]);
    if (by) {
        printf("caught by \"%s\" after %lu: %.50s", by->name, model_result.executions,
               model_result.failure);
    } else {
        printf("survives%s", survives ? ", as proved in README.md" : "");
    }
    *wrong = survives == (by != NULL);
    printf("%s\n", *wrong ? "  WRONG" : "");
    fflush(stdout);
    return by != NULL;
}

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names && strcmp(name, *names) != 0) {
        names++;
    }
    return *names != NULL;
}

/* Orders of the tests themselves are not on trial, but for the mutations that they ask for; those
 * of a pool's sources are on request, as not all are caught yet: see README.md. */
static bool on_trial(const struct site *site)
{
    static const char *const tests_own[] = {"rings.c", "channels.c", "waiting.c", "tasks.c",
                                            "pools.c", "pools.h",    NULL};
    static const char *const pools[] = {"parent.c", "worker.c", "pool.c", "shared.h", NULL};
    const char *file = base_name(site->at.file);
    char name[64];
    name_site(site->at, name, sizeof(name));
    if (is_one_of(file, tests_own)) {
        return strcmp(name, "recheck_before_sleep") == 0;
    }
    return !is_one_of(file, pools) || getenv("STRAIT_MODEL_POOL") != NULL;
}

int mutants_run(bool partly)
{
    int wrong = 0;
    int tried = 0;
    int caught = 0;
    scout(ring_tests);
    scout(channel_tests);
    scout(task_tests);
    scout(pool_tests);
    for (struct site *site = sites; site < sites + site_count; site++) {
        for (int weakening = 0; on_trial(site) && weakening < WEAKENINGS; weakening++) {
            bool half = weakening == ONLY_ACQUIRE || weakening == ONLY_RELEASE;
            if ((site->weakenings >> weakening & 1) && (partly || !half)) {
                bool is_wrong;
                tried++;
                caught += try_mutant(site, (enum weakening)weakening, &is_wrong);
                wrong += is_wrong;
            }
        }
    }
    printf("mutants: %d, %d caught, %d wrong\n", tried, caught, wrong);
    return wrong;
}
