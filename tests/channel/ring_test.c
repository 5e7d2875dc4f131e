/* SPDX-License-Identifier: MIT */
/* What the rings promise beyond the variants' common contract: turns, distance, odd shapes. */
#include "harness.h"

#define LANES 100
#define CAPACITY 8

/* ---- distance.h ---- */

static void waits_less_and_less_while_it_brings_nothing(void)
{
    struct strait_distance distance;
    strait_distance_init(&distance, 1024);
    for (uint32_t passed = 1; passed < STRAIT_DISTANCE_SKIPPED_MAX; passed = 2 * passed + 1) {
        assert_false(strait_distance_skip(&distance));
        assert_false(strait_distance_learn(
            &distance, STRAIT_DISTANCE_PAUSES / STRAIT_DISTANCE_PAUSES_A_SLOT - 1));
        for (uint32_t i = 0; i < passed; i++) {
            assert_true(strait_distance_skip(&distance));
        }
    }
    assert_false(strait_distance_skip(&distance));
    assert_false(strait_distance_learn(&distance, 0));
    assert_int_equal(distance.skip, STRAIT_DISTANCE_SKIPPED_MAX);
    assert_false(strait_distance_learn(&distance, 0));
    assert_int_equal(distance.skip, STRAIT_DISTANCE_SKIPPED_MAX);
}

static void waits_again_once_it_was_worth_it(void)
{
    struct strait_distance distance;
    strait_distance_init(&distance, 1024);
    assert_false(strait_distance_learn(&distance, 0));
    assert_true(strait_distance_skip(&distance));
    assert_false(strait_distance_skip(&distance));
    assert_true(
        strait_distance_learn(&distance, STRAIT_DISTANCE_PAUSES / STRAIT_DISTANCE_PAUSES_A_SLOT));
    assert_false(strait_distance_skip(&distance));
}

static void waits_as_long_as_it_takes_to_have_enough(void)
{
    struct strait_distance distance;
    strait_distance_init(&distance, 1024);
    while (distance.pauses < STRAIT_DISTANCE_PAUSES_MAX) {
        uint32_t before = distance.pauses;
        assert_true(strait_distance_learn(&distance, distance.enough / 2 - 1));
        assert_int_equal(distance.pauses, 2 * before);
    }
    assert_true(strait_distance_learn(&distance, distance.enough / 2 - 1));
    assert_int_equal(distance.pauses, STRAIT_DISTANCE_PAUSES_MAX);
    assert_true(strait_distance_learn(&distance, distance.enough));
    assert_int_equal(distance.pauses, STRAIT_DISTANCE_PAUSES_MAX);
    while (distance.pauses > 1) {
        uint32_t before = distance.pauses;
        assert_true(strait_distance_learn(&distance, distance.enough + 1));
        assert_int_equal(distance.pauses, before / 2);
    }
    assert_true(strait_distance_learn(&distance, distance.enough + 1));
    assert_int_equal(distance.pauses, 1);
    assert_false(strait_distance_learn(&distance, 0));
    assert_int_equal(distance.pauses, STRAIT_DISTANCE_PAUSES);
}

static void never_waits_in_a_small_ring(void)
{
    struct strait_distance distance;
    strait_distance_init(&distance, 7);
    assert_int_equal(distance.enough, 0);
    strait_distance_init(&distance, STRAIT_CAPACITY_MAX);
    assert_int_equal(distance.enough, STRAIT_DISTANCE_ENOUGH);
}

/* ---- lanes ---- */

struct lanes {
    struct strait_lanes *ring;
    struct strait_spsc *ends[LANES];
};

static void lanes_open(struct lanes *lanes)
{
    struct strait_shape shape = {CAPACITY, sizeof(uint64_t), LANES};
    lanes->ring = aligned_alloc(STRAIT_LINE, strait_lanes_size(&shape));
    assert_non_null(lanes->ring);
    strait_lanes_init(lanes->ring, &shape);
    for (int i = 0; i < LANES; i++) {
        lanes->ends[i] = strait_lanes_attach(lanes->ring);
        assert_non_null(lanes->ends[i]);
    }
}

static void send_number(struct lanes *lanes, int lane)
{
    uint64_t number = (uint64_t)lane;
    strait_lanes_try_send(lanes->ends[lane], &number, 1);
}

static uint64_t receive_number(struct lanes *lanes)
{
    uint64_t number = UINT64_MAX;
    strait_lanes_try_receive(lanes->ring, &number, 1);
    return number;
}

/* A lane that is never empty does not keep the receiver from any other. */
static void a_full_lane_keeps_nobody_waiting(void)
{
    struct lanes lanes;
    lanes_open(&lanes);
    for (int quiet = 1; quiet < LANES; quiet++) {
        int turns = 0;
        send_number(&lanes, quiet);
        do {
            for (int i = 0; i < CAPACITY; i++) {
                send_number(&lanes, 0);
            }
            turns++;
        } while (receive_number(&lanes) != (uint64_t)quiet);
        /* what was known of lane 0 comes first, then so many lanes between two looks at it */
        assert_true(turns <= CAPACITY * (LANES / (int)STRAIT_LANES_GLANCE + 2));
    }
    free(lanes.ring);
}

/* Whichever it is, the one lane that has a message is found by one call. */
static void nothing_is_overlooked(void)
{
    struct lanes lanes;
    lanes_open(&lanes);
    for (int lane = 0; lane < LANES; lane++) {
        for (int next = 0; next < LANES; next++) {
            send_number(&lanes, lane);
            assert_int_equal(receive_number(&lanes), lane);
            send_number(&lanes, next);
            assert_int_equal(receive_number(&lanes), next);
        }
    }
    assert_int_equal(receive_number(&lanes), UINT64_MAX);
    free(lanes.ring);
}

/* All lanes are full: each gets its turn before any gets a second one. */
static void turns_are_fair(void)
{
    struct lanes lanes;
    lanes_open(&lanes);
    for (int lane = 0; lane < LANES; lane++) {
        for (int i = 0; i < CAPACITY; i++) {
            send_number(&lanes, lane);
        }
    }
    int turns[LANES] = {0};
    for (int turn = 0; turn < LANES; turn++) {
        uint64_t first = receive_number(&lanes);
        send_number(&lanes, (int)first); /* is not taken in this turn */
        for (int i = 1; i < CAPACITY; i++) {
            assert_int_equal(receive_number(&lanes), first);
        }
        turns[first]++;
    }
    for (int lane = 0; lane < LANES; lane++) {
        assert_int_equal(turns[lane], 1);
    }
    free(lanes.ring);
}

/* ---- prefetch.h ---- */

static void lines_are_told_apart(void)
{
    assert_int_equal(strait_prefetch_line(8), (uint32_t)~7u);
    assert_int_equal(strait_prefetch_line(32), (uint32_t)~1u);
    assert_int_equal(strait_prefetch_line(64), UINT32_MAX);
    assert_int_equal(strait_prefetch_line(1), (uint32_t)~63u);
    assert_int_equal(strait_prefetch_line(24), UINT32_MAX);
    assert_int_equal(strait_prefetch_line(STRAIT_MESSAGE_SIZE_MAX), UINT32_MAX);
}

static uint32_t ahead_of(size_t capacity, size_t message_size)
{
    struct strait_shape shape = {capacity, message_size, 1};
    struct strait_prefetch prefetch;
    strait_prefetch_init(&prefetch, &shape);
    return prefetch.ahead;
}

static void a_side_looks_ahead_within_its_ring(void)
{
    assert_int_equal(ahead_of(1, 8), 1);
    assert_int_equal(ahead_of(64, 8), 17);
    assert_int_equal(ahead_of(1024, 64), STRAIT_PREFETCH_AHEAD / 64);
    assert_int_equal(ahead_of(1024, 4096), 1);
}

static void a_line_is_asked_for_once_and_only_among_own_slots(void)
{
    struct strait_shape shape = {1024, 8, 1};
    struct strait_prefetch prefetch;
    unsigned due = 0;
    strait_prefetch_init(&prefetch, &shape);
    for (uintptr_t i = STRAIT_FIRST_INDEX; i < (uintptr_t)STRAIT_FIRST_INDEX + 1024; i++) {
        struct strait_span span = {.count = 1, .message_size = 8, .position = i};
        due += strait_prefetch_due(&prefetch, &span);
    }
    assert_int_equal(due, 1024 / 8);
    struct strait_span one = {.count = 1, .message_size = 8, .position = 0};
    struct strait_span most = {.count = 512, .message_size = 8, .position = 0};
    assert_int_equal(strait_prefetch_from(&prefetch, &one), prefetch.ahead);
    assert_int_equal(strait_prefetch_from(&prefetch, &most), 512);
    assert_true(strait_prefetch_known(&prefetch, &one, prefetch.ahead + 1));
    assert_false(strait_prefetch_known(&prefetch, &one, prefetch.ahead));
    assert_false(strait_prefetch_known(&prefetch, &most, 512));
}

TESTS(ONCE(waits_less_and_less_while_it_brings_nothing), ONCE(waits_again_once_it_was_worth_it),
      ONCE(waits_as_long_as_it_takes_to_have_enough), ONCE(never_waits_in_a_small_ring),
      ONCE(a_full_lane_keeps_nobody_waiting), ONCE(nothing_is_overlooked), ONCE(turns_are_fair),
      ONCE(lines_are_told_apart), ONCE(a_side_looks_ahead_within_its_ring),
      ONCE(a_line_is_asked_for_once_and_only_among_own_slots))
