/* SPDX-License-Identifier: MIT */
/* stats: buckets without gaps, percentiles within 2 % of the exact ones, and a pool as JSON. */
#include "extra/fixture.h"

#include <math.h>

#include "strait/extra/stats.h"

TEST(buckets_are_narrow_and_leave_no_gap)
{
    uint64_t next = 0;
    for (unsigned bucket = 0; bucket < STRAIT_HISTOGRAM_BUCKETS; bucket++) {
        uint64_t width = strait_histogram_width(bucket);
        uint64_t last = next + (width - 1);
        assert_int_equal(strait_histogram_first(bucket), next);
        assert_int_equal(strait_histogram_bucket(next), bucket);
        assert_int_equal(strait_histogram_bucket(last), bucket);
        assert_true(width == 1 || width <= next / 32);
        next = last + 1;
    }
    assert_int_equal(next, 0); /* the last one ends with the numbers */
}

/* ---- percentiles ---- */

#define SAMPLES 100000

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void assert_near(uint64_t value, uint64_t exact)
{
    double error = value > exact ? (double)(value - exact) : (double)(exact - value);
    if (error > 0.02 * (double)exact) {
        fail_msg("%llu is not within 2 %% of %llu", (unsigned long long)value,
                 (unsigned long long)exact);
    }
}

enum shape { UNIFORM, PARETO, POWERS, FEW, SHAPES };

static uint64_t sample(enum shape shape, uint64_t *seed)
{
    switch (shape) {
    case UNIFORM:
        return draw_below(seed, 1000000);
    case PARETO:
        return (uint64_t)(10000 * pow(((double)(draw(seed) >> 11) + 0.5) / 0x1p53, -1 / 1.2));
    case POWERS: /* and their neighbours */
        return ((uint64_t)1 << (1 + draw_below(seed, 60))) - 1 + draw_below(seed, 3);
    default:
        return draw_below(seed, 70);
    }
}

/* The nearest rank, by integers; shares in parts of 10,000. Every third counts in another, which is
 * merged: that is as if all had been counted together. */
TEST(percentiles_are_near)
{
    static const size_t shares[] = {1, 5000, 9000, 9900, 9990, 9999, 10000};
    static struct strait_histogram parts[2];
    static struct strait_histogram all;
    static uint64_t samples[SAMPLES];
    uint64_t seed = first_seed(11);
    for (int shape = 0; shape < SHAPES; shape++) {
        memset(parts, 0, sizeof(parts));
        memset(&all, 0, sizeof(all));
        for (size_t i = 0; i < SAMPLES; i++) {
            samples[i] = sample((enum shape)shape, &seed);
            strait_histogram_add(&parts[i % 3 == 0], samples[i]);
            strait_histogram_add(&all, samples[i]);
        }
        strait_histogram_merge(&parts[shape % 2], &parts[1 - shape % 2]);
        assert_memory_equal(&parts[shape % 2], &all, sizeof(all));
        qsort(samples, SAMPLES, sizeof(*samples), by_size);
        assert_int_equal(strait_histogram_count(&all), SAMPLES);
        assert_int_equal(all.max, samples[SAMPLES - 1]);
        for (size_t i = 0; i < COUNT(shares); i++) {
            size_t rank = (SAMPLES * shares[i] + 9999) / 10000;
            assert_near(strait_histogram_percentile(&all, (double)shares[i] / 100),
                        samples[rank - 1]);
        }
    }
}

TEST(the_rank_is_exact)
{
    struct strait_histogram histogram = {0};
    for (uint64_t i = 0; i < 50; i++) {
        strait_histogram_add(&histogram, i);
    }
    for (unsigned percent = 1; percent <= 100; percent++) {
        assert_int_equal(strait_histogram_percentile(&histogram, percent), (percent + 1) / 2 - 1);
    }
}

/* So many that a rank is hardly exact as a double, or not at all. */
TEST(huge_counts_have_their_percentiles)
{
    static const struct {
        uint64_t ones;
        uint64_t twos;
        double percent;
        uint64_t ns;
    } points[] = {
        {9000000000000000, 1000000000000000, 89.99, 1},
        {9000000000000000, 1000000000000000, 90.01, 2},
        {9000000000000000, 1000000000000000, 100, 2},
        {1000000000, 1000000000, 50.0000000375, 2}, /* three quarters of a rank too many */
    };
    for (size_t i = 0; i < COUNT(points); i++) {
        struct strait_histogram histogram = {.max = 2};
        histogram.counts[1] = points[i].ones;
        histogram.counts[2] = points[i].twos;
        assert_int_equal(strait_histogram_percentile(&histogram, points[i].percent), points[i].ns);
    }
}

TEST(the_ends_of_the_scale)
{
    static const double first[] = {-5, 0, 50};
    static const double last[] = {50.01, 100, 1000};
    struct strait_histogram histogram = {0};
    assert_int_equal(strait_histogram_count(&histogram), 0);
    assert_int_equal(strait_histogram_percentile(&histogram, 50), 0);
    strait_histogram_add(&histogram, 0);
    strait_histogram_add(&histogram, UINT64_MAX);
    for (size_t i = 0; i < COUNT(first); i++) {
        assert_int_equal(strait_histogram_percentile(&histogram, first[i]), 0);
        assert_near(strait_histogram_percentile(&histogram, last[i]), UINT64_MAX);
    }
    assert_int_equal(histogram.max, UINT64_MAX);
    memset(&histogram, 0, sizeof(histogram));
    strait_histogram_add(&histogram, 1u << 20);
    assert_int_equal(strait_histogram_percentile(&histogram, 50), 1u << 20); /* never above max */
}

/* ---- a pool's times and counters ---- */

static struct strait_pool_times times;
static struct gate gate;

static void note_times(struct strait_task *task)
{
    strait_pool_times_add(&times, task);
}

/* All that a buffer holds, or nothing; three tasks, of which one has run, one runs, one waits. */
static void assert_json(struct strait_pool *pool, const struct strait_pool_times *with)
{
    static const char *const parts[] = {
        "{\"submitted\": 3, \"done\": 1, ",
        "\"queued\": 1, \"running\": 1, ",
        "\"per_worker\": [{\"number\": 0, \"online\": true, ",
        "\"utilisation\": 0.",
        "\"task\": \"a \\u0022name\\u0022\", \"running_ns\": ",
        "}]}",
    };
    char text[4096] = "";
    char little[16] = "";
    size_t length = strait_pool_json(pool, with, text, sizeof(text));
    assert_int_equal(length, strlen(text));
    for (size_t i = 0; i < COUNT(parts); i++) {
        assert_non_null(strstr(text, parts[i]));
    }
    assert_int_equal(strstr(text, "\"run_ns\": {\"count\": 1, \"p50\": ") != NULL, with != NULL);
    assert_true(strait_pool_json(pool, with, little, sizeof(little)) >= sizeof(little));
    assert_string_equal(little, "");
    assert_true(strait_pool_json(pool, with, NULL, 0) > 0);
}

TEST(a_pool_is_told_as_json)
{
    const struct strait_pool_options options = {.workers = 1, .timed = true};
    const struct strait_task task = {
        .run = hold, .done = note_times, .context = &gate, .name = "a \"name\""};
    struct strait_pool *pool;
    struct strait_parent *parent;
    memset(&times, 0, sizeof(times));
    assert_returns(strait_pool_create(&pool, &options), 0);
    assert_returns(strait_pool_attach(pool, &parent, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        memset(&gate, 0, sizeof(gate));
        for (unsigned k = 0; k <= i; k++) {
            assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
        }
        gate_await(&gate, 1);
        if (i == 0) {
            gate_open(&gate);
            assert_returns(strait_parent_wait_all(parent, STRAIT_FOREVER), 0);
        }
    }
    assert_int_equal(strait_histogram_count(&times.ran), 1);
    assert_json(pool, &times);
    assert_json(pool, NULL);
    gate_open(&gate);
    assert_returns(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    assert_int_equal(strait_histogram_count(&times.waited), 3);
}
