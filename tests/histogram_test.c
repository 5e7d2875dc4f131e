/* SPDX-License-Identifier: MIT */
/* histogram_test: buckets without gaps, and percentiles within 2 % of the exact ones. */
#include <math.h>

#include "harness.h"

#include "strait/extra/stats.h"

/* ---- the buckets ---- */

static void buckets_follow_one_another(void **state)
{
    (void)state;
    uint64_t next = 0;
    for (unsigned bucket = 0; bucket < STRAIT_HISTOGRAM_BUCKETS; bucket++) {
        assert_int_equal(strait_histogram_first(bucket), next);
        uint64_t last = next + (strait_histogram_width(bucket) - 1);
        assert_int_equal(strait_histogram_bucket(next), bucket);
        assert_int_equal(strait_histogram_bucket(last), bucket);
        next = last + 1;
    }
    assert_int_equal(next, 0); /* the last one ends with the numbers */
}

static void a_bucket_is_narrow(void **state)
{
    (void)state;
    for (unsigned bucket = 0; bucket < STRAIT_HISTOGRAM_BUCKETS; bucket++) {
        uint64_t width = strait_histogram_width(bucket);
        assert_true(width == 1 || width <= strait_histogram_first(bucket) / 32);
    }
}

/* ---- percentiles ---- */

#define SAMPLES 100000

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The nearest rank, by integers. `share` in parts of 10,000. */
static uint64_t exact_percentile(const uint64_t *sorted, size_t n, size_t share)
{
    size_t rank = (n * share + 9999) / 10000;
    return sorted[(rank ? rank : 1) - 1];
}

static void assert_near(uint64_t value, uint64_t exact)
{
    double error = value > exact ? (double)(value - exact) : (double)(exact - value);
    if (error > 0.02 * (double)exact) {
        fail_msg("%llu is not within 2 %% of %llu", (unsigned long long)value,
                 (unsigned long long)exact);
    }
}

static double unit(uint64_t *seed)
{
    return ((double)(draw(seed) >> 11) + 0.5) / 9007199254740992.0;
}

static uint64_t uniform(uint64_t *seed)
{
    return draw_below(seed, 1000000);
}

static uint64_t exponential(uint64_t *seed)
{
    return (uint64_t)(-50000 * log(unit(seed)));
}

static uint64_t pareto(uint64_t *seed)
{
    return (uint64_t)(10000 * pow(unit(seed), -1 / 1.2));
}

static uint64_t bimodal(uint64_t *seed)
{
    return draw_below(seed, 200) ? 10000 : 10000000;
}

static uint64_t constant(uint64_t *seed)
{
    (void)seed;
    return 123456789;
}

static uint64_t about_powers_of_two(uint64_t *seed)
{
    return ((uint64_t)1 << (1 + draw_below(seed, 60))) - 1 + draw_below(seed, 3);
}

static uint64_t few_nanoseconds(uint64_t *seed)
{
    return draw_below(seed, 70);
}

static uint64_t anything(uint64_t *seed)
{
    return draw(seed);
}

static void percentiles_are_near(void **state)
{
    static uint64_t (*const shapes[])(uint64_t *) = {
        uniform,  exponential,         pareto,          bimodal,
        constant, about_powers_of_two, few_nanoseconds, anything,
    };
    static const size_t shares[] = {1, 5000, 9000, 9900, 9990, 9999, 10000};
    uint64_t *samples = calloc(SAMPLES, sizeof(*samples));
    uint64_t seed = first_seed(11);
    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct strait_histogram *histogram = calloc(1, sizeof(*histogram));
        for (size_t k = 0; k < SAMPLES; k++) {
            samples[k] = shapes[i](&seed);
            strait_histogram_add(histogram, samples[k]);
        }
        qsort(samples, SAMPLES, sizeof(*samples), by_size);
        assert_int_equal(strait_histogram_count(histogram), SAMPLES);
        assert_int_equal(histogram->max, samples[SAMPLES - 1]);
        for (size_t k = 0; k < sizeof(shares) / sizeof(shares[0]); k++) {
            assert_near(strait_histogram_percentile(histogram, (double)shares[k] / 100),
                        exact_percentile(samples, SAMPLES, shares[k]));
        }
        free(histogram);
    }
    free(samples);
}

static void the_rank_is_exact(void **state)
{
    struct strait_histogram histogram = {0};
    (void)state;
    for (uint64_t i = 0; i < 50; i++) {
        strait_histogram_add(&histogram, i);
    }
    for (unsigned percent = 2; percent <= 100; percent += 2) {
        assert_int_equal(strait_histogram_percentile(&histogram, percent), percent / 2 - 1);
        assert_int_equal(strait_histogram_percentile(&histogram, percent - 1), percent / 2 - 1);
    }
}

/* So many that a rank is no longer exact as a double: the last tenth is still found. */
static void huge_counts(void **state)
{
    struct strait_histogram histogram = {.max = 2};
    (void)state;
    histogram.counts[1] = 9000000000000000;
    histogram.counts[2] = 1000000000000000;
    assert_int_equal(strait_histogram_percentile(&histogram, 89.99), 1);
    assert_int_equal(strait_histogram_percentile(&histogram, 90.01), 2);
    assert_int_equal(strait_histogram_percentile(&histogram, 100), 2);
}

static void the_ends(void **state)
{
    struct strait_histogram histogram = {0};
    (void)state;
    assert_int_equal(strait_histogram_count(&histogram), 0);
    assert_int_equal(strait_histogram_percentile(&histogram, 50), 0);
    strait_histogram_add(&histogram, 0);
    strait_histogram_add(&histogram, UINT64_MAX);
    assert_int_equal(strait_histogram_percentile(&histogram, 0), 0);
    assert_int_equal(strait_histogram_percentile(&histogram, -5), 0);
    assert_int_equal(strait_histogram_percentile(&histogram, 50), 0);
    assert_near(strait_histogram_percentile(&histogram, 100), UINT64_MAX);
    assert_near(strait_histogram_percentile(&histogram, 1000), UINT64_MAX);
    assert_int_equal(histogram.max, UINT64_MAX);
}

static void a_percentile_is_never_above_the_max(void **state)
{
    struct strait_histogram histogram = {0};
    (void)state;
    strait_histogram_add(&histogram, 1u << 20);
    assert_int_equal(strait_histogram_percentile(&histogram, 50), 1u << 20);
}

static void merged_is_as_counted_together(void **state)
{
    static struct strait_histogram a, b, both;
    uint64_t seed = first_seed(12);
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t ns = pareto(&seed);
        strait_histogram_add(i % 3 ? &a : &b, ns);
        strait_histogram_add(&both, ns);
    }
    strait_histogram_merge(&a, &b);
    assert_memory_equal(&a, &both, sizeof(both));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_follow_one_another),
        cmocka_unit_test(a_bucket_is_narrow),
        cmocka_unit_test(percentiles_are_near),
        cmocka_unit_test(the_rank_is_exact),
        cmocka_unit_test(huge_counts),
        cmocka_unit_test(the_ends),
        cmocka_unit_test(a_percentile_is_never_above_the_max),
        cmocka_unit_test(merged_is_as_counted_together),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
