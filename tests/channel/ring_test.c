/* SPDX-License-Identifier: MIT */
/* What the rings promise beyond the variants' common contract: turns, distance, odd shapes, late
 * threads. */
#include "harness.h"

#define LANES 100
#define CAPACITY 8

/* ---- lines.h ---- */

static struct strait_distance distance_for(size_t capacity, size_t message_size)
{
    struct strait_shape shape = {capacity, message_size, 1};
    struct strait_distance distance;
    strait_distance_init(&distance, &shape, STRAIT_DISTANCE_A_SLOT_ALONE);
    return distance;
}

/* A look in vain. */
static size_t nothing_more(void *ring)
{
    return 1;
}

TEST(waits_less_and_less_while_it_brings_nothing)
{
    struct strait_distance distance = distance_for(1024, 8);
    uint32_t expected = 1;
    for (int i = 0; i < 12; i++) {
        strait_distance_linger(&distance, 1, nothing_more, NULL);
        assert_int_equal(distance.skip, expected);
        for (; distance.skip > 0; expected--) {
            strait_distance_linger(&distance, 1, nothing_more, NULL);
            assert_int_equal(distance.skip, expected - 1);
        }
        expected = (uint32_t)strait_min(2 * distance.skipped + 1, STRAIT_DISTANCE_SKIPPED_MAX);
    }
    assert_int_equal(expected, STRAIT_DISTANCE_SKIPPED_MAX);
}

/* So few make a wait worth it. */
static size_t worth_it(const struct strait_distance *distance)
{
    return (8 * (size_t)distance->pauses + distance->a_slot - 1) / distance->a_slot;
}

TEST(waits_again_once_it_was_worth_it)
{
    struct strait_distance distance = distance_for(1024, 8);
    strait_distance_linger(&distance, 1, nothing_more, NULL);
    assert_int_equal(distance.skipped, 1);
    distance.skip = 0;
    assert_true(strait_distance_learn(&distance, worth_it(&distance)));
    assert_int_equal(distance.skip, 0);
    assert_int_equal(distance.skipped, 0);
}

TEST(waits_as_long_as_it_takes_to_have_enough)
{
    struct strait_distance distance = distance_for(1024, 64);
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

TEST(never_waits_in_a_tiny_ring)
{
    assert_int_equal(distance_for(3, 8).enough, 0);
    assert_int_equal(distance_for(7, 8).enough, 1); /* whoever has found one has enough */
}

TEST(goes_on_with_a_part_of_the_ring)
{
    assert_int_equal(distance_for(63, 8).enough, 63 / 4);
    assert_int_equal(distance_for(64, 64).enough, 64 / 4);
    assert_int_equal(distance_for(64, 65).enough, 64 / 8);
    assert_int_equal(distance_for(4 * STRAIT_DISTANCE_ENOUGH, 8).enough, STRAIT_DISTANCE_ENOUGH);
    assert_int_equal(distance_for(STRAIT_CAPACITY_MAX, 8).enough, STRAIT_DISTANCE_ENOUGH);
}

/* A message of four lines may take as much longer. */
TEST(a_longer_message_is_worth_a_longer_wait)
{
    struct strait_distance small = distance_for(1024, 8);
    struct strait_distance large = distance_for(1024, 256);
    assert_int_equal(large.a_slot - small.a_slot, (256 - 8) / 4);
    assert_false(strait_distance_learn(&small, worth_it(&small) - 1));
    assert_true(strait_distance_learn(&small, worth_it(&small)));
    assert_true(strait_distance_learn(&large, 1));
}

/* 8 bytes every 20 ns are what each pause of 25 ns brings one of: no reason to wait. */
TEST(does_not_wait_for_messages_that_it_can_take_one_by_one)
{
    struct strait_distance distance = distance_for(1024, 8);
    assert_false(strait_distance_learn(&distance, distance.pauses * 25 / 20));
    assert_true(strait_distance_learn(&distance, distance.pauses * 25 / 8));
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
    strait_lanes_send(lanes->ends[lane], &number, 1, 0);
}

static uint64_t receive_number(struct lanes *lanes)
{
    uint64_t number = UINT64_MAX;
    strait_lanes_receive(lanes->ring, &number, 1, 0);
    return number;
}

/* A lane that is never empty does not keep the receiver from any other. */
TEST(a_full_lane_keeps_nobody_waiting)
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
TEST(nothing_is_overlooked)
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
TEST(turns_are_fair)
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

/* ---- cells ---- */

/* A sender may be stopped between its look at the head and its note of it, for any number of
 * messages below the number of words. */
TEST(a_late_note_of_the_head_makes_no_room)
{
    struct strait_shape shape = {CAPACITY, sizeof(uint64_t), 1};
    struct strait_cells *ring = aligned_alloc(STRAIT_LINE, strait_cells_size(&shape));
    uint64_t number = 0;
    assert_non_null(ring);
    strait_cells_init(ring, &shape);
    while (strait_cells_send(ring, &number, 1, 0)) {
        number++;
    }
    assert_int_equal(number, CAPACITY);
    for (int behind = 0; behind < (int)(8 * sizeof(ring->seen)); behind++) {
        for (uintptr_t more = 0; more <= 2 * CAPACITY; more++) {
            ring->seen = ring->tail - ((uintptr_t)1 << behind) - CAPACITY - more;
            assert_false(strait_cells_has_room(ring));
            assert_int_equal(ring->seen, ring->head);
            assert_int_equal(strait_cells_send(ring, &number, 1, 0), 0);
        }
    }
    for (uint64_t expected = 0; expected < CAPACITY; expected++) {
        assert_int_equal(strait_cells_receive(ring, &number, 1, 0), 1);
        assert_int_equal(number, expected);
    }
    free(ring);
}

/* ---- lines.h: prefetch ---- */

static struct strait_prefetch prefetch_of(size_t capacity, size_t message_size)
{
    struct strait_prefetch prefetch;
    strait_prefetch_init(&prefetch, capacity, message_size);
    return prefetch;
}

TEST(lines_are_told_apart)
{
    static const struct {
        size_t message_size;
        uint32_t line;
    } cases[] = {{8, ~7u},  {32, ~1u},        {64, UINT32_MAX},
                 {1, ~63u}, {24, UINT32_MAX}, {STRAIT_MESSAGE_SIZE_MAX, UINT32_MAX}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(prefetch_of(1024, cases[i].message_size).line, cases[i].line);
    }
}

TEST(a_side_looks_ahead_within_its_ring)
{
    assert_int_equal(prefetch_of(1, 8).ahead, 1);
    assert_int_equal(prefetch_of(64, 8).ahead, 17);
    assert_int_equal(prefetch_of(1024, 64).ahead, STRAIT_PREFETCH_AHEAD / 64);
    assert_int_equal(prefetch_of(1024, 4096).ahead, 1);
}

TEST(only_own_slots_are_asked_for)
{
    struct strait_prefetch prefetch = prefetch_of(1024, 8);
    assert_int_equal(strait_prefetch_from(&prefetch, 1, prefetch.ahead + 1), prefetch.ahead);
    assert_int_equal(strait_prefetch_from(&prefetch, 1, prefetch.ahead), 0);
    assert_int_equal(strait_prefetch_from(&prefetch, 512, 512 + prefetch.ahead), 512);
    assert_int_equal(strait_prefetch_from(&prefetch, 512, 512), 0);
}
