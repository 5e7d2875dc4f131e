/* SPDX-License-Identifier: MIT */
/* hostile: what a peer has written into a shared block, before it is opened and while it is in use.
 * The block ends where a page does that nobody may touch, and begins behind another. */
#include "channel/fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define CAPACITY 9
#define SIZE 24 /* of a message */
#define FILES 12

struct guarded {
    unsigned char *pages; /* with the two guards */
    size_t bytes;
    unsigned char *memory;
    size_t size;
};

static struct guarded guarded_make(const struct test_case *test)
{
    struct guarded guarded;
    struct strait_channel *channel;
    struct strait_channel_options options = case_options(test, CAPACITY, SIZE);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    options.shared = 1;
    assert_returns(strait_channel_size(&options, &guarded.size), 0);
    size_t inside = strait_round_up(guarded.size, page);
    guarded.bytes = inside + 2 * page;
    guarded.pages = mmap(NULL, guarded.bytes, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(guarded.pages != MAP_FAILED);
    assert_int_equal(mprotect(guarded.pages + page, inside, PROT_READ | PROT_WRITE), 0);
    guarded.memory = guarded.pages + page + inside - guarded.size;
    assert_returns(strait_channel_init(&channel, guarded.memory, guarded.size, &options), 0);
    return guarded;
}

/* For a while, and closes them. `sender` NULL: it could not be opened. */
static void use(struct strait_sender *sender, struct strait_receiver *receiver, size_t rounds,
                int64_t wait_us)
{
    unsigned char messages[3 * SIZE] = {0};
    for (size_t round = 0; round < rounds; round++) {
        size_t n = 1 + round % 3;
        if (sender) {
            EXPECT(strait_try_send(sender, messages, n) <= (ptrdiff_t)n);
            EXPECT(strait_send(sender, messages, n, strait_in_us(wait_us)) <= (ptrdiff_t)n);
        }
        EXPECT(strait_try_receive(receiver, messages, n) <= (ptrdiff_t)n);
        EXPECT(strait_receive(receiver, messages, n, strait_in_us(wait_us)) <= (ptrdiff_t)n);
        EXPECT(strait_receiver_message_size(receiver) == SIZE);
        EXPECT(strait_receiver_fd(receiver) == -EINVAL);
    }
    if (sender) {
        strait_sender_close(sender);
    }
    strait_receiver_close(receiver);
}

/* ---- files of the victim's ---- */

static int files[FILES];

static void files_open(void)
{
    for (int i = 0; i < FILES; i++) {
        files[i] = memfd_create("victim", 0);
        EXPECT(files[i] >= 0);
    }
}

static void expect_files_untouched(void)
{
    for (int i = 0; i < FILES; i++) {
        EXPECT(lseek(files[i], 0, SEEK_END) == 0);
    }
}

/* ---- before the opening ---- */

/* A word of the header, or of what the ring has in front of its slots: noise, a small number (an
 * fd, say), or what it was, but for a bit. */
static void scribble(const struct guarded *guarded, size_t from, size_t bytes, uint64_t *seed)
{
    uint32_t word;
    size_t at = from + draw_below(seed, bytes / sizeof(word)) * sizeof(word);
    volatile uint32_t *place = (volatile uint32_t *)(void *)(guarded->memory + at);
    switch (draw_below(seed, 3)) {
    case 0:
        word = (uint32_t)draw(seed);
        break;
    case 1:
        word = (uint32_t)draw_below(seed, 2 * FILES);
        break;
    default:
        word = *place ^ 1u << draw_below(seed, 32);
    }
    *place = word;
}

struct attack {
    const struct test_case *test;
    uint64_t seed;
};

static void opens_what_was_scribbled_on(void *context)
{
    struct attack *attack = context;
    const size_t header = sizeof(struct strait_channel) + 6 * STRAIT_LINE;
    files_open();
    for (size_t round = 0; round < scaled(3000); round++) {
        struct guarded guarded = guarded_make(attack->test);
        struct strait_channel *channel;
        struct strait_sender sender;
        struct strait_receiver receiver;
        for (size_t words = 1 + draw_below(&attack->seed, 3); words > 0; words--) {
            scribble(&guarded, 0, strait_min(header, guarded.size), &attack->seed);
        }
        if (strait_channel_open(&channel, guarded.memory, guarded.size) == 0) {
            EXPECT(strait_receiver_open(&receiver, channel) == 0);
            bool sends = strait_sender_open(&sender, channel) == 0;
            use(sends ? &sender : NULL, &receiver, 20, 20);
        }
        munmap(guarded.pages, guarded.bytes);
    }
    expect_files_untouched();
}

static void expect_survival(void (*body)(void *), const struct test_case *test)
{
    struct attack attack = {test, first_seed(1)};
    char said[4096];
    int status = in_child(body, &attack, said, sizeof(said));
#ifndef STRAIT_CHECKED /* that names each option that the block has wrong */
    assert_string_equal(said, "");
#endif
    assert_int_equal(status, 0);
}

TEST_EACH_VARIANT(what_was_scribbled_on_is_refused_or_harmless)
{
    expect_survival(opens_what_was_scribbled_on, test);
}

/* Each word of the header that is set once; a block of one process differs in `between`. */
TEST_EACH_VARIANT(nothing_that_is_set_once_may_differ)
{
    static const size_t fields[] = {
        offsetof(struct strait_channel, magic),
        offsetof(struct strait_channel, variant),
        offsetof(struct strait_channel, capacity),
        offsetof(struct strait_channel, message_size),
        offsetof(struct strait_channel, between),
        offsetof(struct strait_channel, sender_wait),
        offsetof(struct strait_channel, receiver_wait),
        offsetof(struct strait_channel, allocated),
        offsetof(struct strait_channel, sender.fd),
        offsetof(struct strait_channel, receiver.fd),
    };
    struct guarded guarded = guarded_make(test);
    struct strait_channel *channel = NULL;
    for (size_t i = 0; i < COUNT(fields); i++) {
        uint32_t right;
        memcpy(&right, guarded.memory + fields[i], sizeof(right));
        for (unsigned bit = 0; bit < 32; bit++) {
            uint32_t wrong = right ^ 1u << bit;
            bool mode = fields[i] == offsetof(struct strait_channel, sender_wait) ||
                        fields[i] == offsetof(struct strait_channel, receiver_wait);
            if (mode && wrong >= STRAIT_WAIT_PARK && wrong <= STRAIT_WAIT_SPIN) {
                continue;
            }
            memcpy(guarded.memory + fields[i], &wrong, sizeof(wrong));
            assert_returns(strait_channel_open(&channel, guarded.memory, guarded.size), -EINVAL);
        }
        memcpy(guarded.memory + fields[i], &right, sizeof(right));
    }
    assert_returns(strait_channel_open(&channel, guarded.memory, guarded.size), 0);
    munmap(guarded.pages, guarded.bytes);
}

/* A number that is set once, somewhere in the block. */
struct field {
    size_t at;
    size_t bytes;
};

#define FIELD(STRUCT, MEMBER)                                                                      \
    {                                                                                              \
        offsetof(struct STRUCT, MEMBER), sizeof(((struct STRUCT *)NULL)->MEMBER)                   \
    }

static void expect_refused(const struct guarded *guarded, size_t from, const struct field *fields,
                           size_t count)
{
    struct strait_channel *channel = NULL;
    for (size_t i = 0; i < count; i++) {
        for (size_t bit = 0; bit < 8 * fields[i].bytes; bit++) {
            unsigned char *byte = guarded->memory + from + fields[i].at + bit / 8;
            *byte ^= (unsigned char)(1u << bit % 8);
            assert_returns(strait_channel_open(&channel, guarded->memory, guarded->size), -EINVAL);
            *byte ^= (unsigned char)(1u << bit % 8);
        }
    }
    assert_returns(strait_channel_open(&channel, guarded->memory, guarded->size), 0);
}

static void expect_sides_refused(const struct guarded *guarded, size_t spsc)
{
    static const struct field fields[] = {
        FIELD(strait_spsc_side, capacity),        FIELD(strait_spsc_side, mask),
        FIELD(strait_spsc_side, message_size),    FIELD(strait_spsc_side, slot_size),
        FIELD(strait_spsc_side, prefetch),        FIELD(strait_spsc_side, distance.enough),
        FIELD(strait_spsc_side, distance.a_slot),
    };
    expect_refused(guarded, spsc + offsetof(struct strait_spsc, sender), fields, COUNT(fields));
    expect_refused(guarded, spsc + offsetof(struct strait_spsc, receiver), fields, COUNT(fields));
}

TEST_EACH_VARIANT(nothing_of_a_ring_that_is_set_once_may_differ)
{
    static const struct field of_cells[] = {
        FIELD(strait_cells, mask),           FIELD(strait_cells, capacity),
        FIELD(strait_cells, message_size),   FIELD(strait_cells, prefetch),
        FIELD(strait_cells, messages),       FIELD(strait_cells, distance.enough),
        FIELD(strait_cells, distance.a_slot)};
    static const struct field of_lanes[] = {FIELD(strait_lanes, senders),
                                            FIELD(strait_lanes, lane_size)};
    const size_t ring = sizeof(struct strait_channel);
    const char *variant = test->variant->name;
    struct guarded guarded = guarded_make(test);
    if (strcmp(variant, "cells") == 0) {
        expect_refused(&guarded, ring, of_cells, COUNT(of_cells));
    } else if (strcmp(variant, "lanes") == 0) {
        const struct strait_lanes *lanes = (const void *)(guarded.memory + ring);
        expect_refused(&guarded, ring, of_lanes, COUNT(of_lanes));
        for (size_t lane = 0; lane < lanes->senders; lane++) {
            expect_sides_refused(&guarded, ring + sizeof(*lanes) + lane * lanes->lane_size);
        }
    } else if (strcmp(variant, "spsc") == 0 || strcmp(variant, "line") == 0) {
        expect_sides_refused(&guarded, ring);
    } else {
        skip(); /* what its init sets once is yet to be said here */
    }
    munmap(guarded.pages, guarded.bytes);
}

/* ---- while it is in use ---- */

/* What a peer may write without end: all but the ring's shape, which each side has in lines of its
 * own. See strait/channel.h. */
static void scribble_on_what_both_write(const struct guarded *guarded, const char *variant,
                                        uint64_t *seed)
{
    static const struct {
        const char *variant;
        size_t first; /* line of the ring; what follows the lines are stamps and messages */
        size_t lines;
        size_t slots;
    } both[] = {
        {"spsc", 2, 2, 4},  /* tail, head */
        {"cells", 1, 2, 4}, /* tail, head */
        {"line", 2, 2, 4},  /* head */
        {"lanes", offsetof(struct strait_lanes, reached) / STRAIT_LINE, 1,
         sizeof(struct strait_lanes) / STRAIT_LINE + 4},
    };
    const size_t ring = sizeof(struct strait_channel);
    size_t i = 0;
    while (i < COUNT(both) && strcmp(variant, both[i].variant) != 0) {
        i++;
    }
    switch (i < COUNT(both) ? draw_below(seed, 3) : 0) {
    case 0:
        scribble(guarded, 0, ring, seed);
        break;
    case 1:
        scribble(guarded, ring + both[i].first * STRAIT_LINE, both[i].lines * STRAIT_LINE, seed);
        break;
    default:
        scribble(guarded, ring + both[i].slots * STRAIT_LINE, STRAIT_LINE, seed);
    }
}

static void is_scribbled_on_in_use(void *context)
{
    struct attack *attack = context;
    struct guarded guarded = guarded_make(attack->test);
    struct strait_channel *channel;
    struct strait_sender sender;
    struct strait_receiver receiver;
    files_open();
    EXPECT(strait_channel_open(&channel, guarded.memory, guarded.size) == 0);
    EXPECT(strait_sender_open(&sender, channel) == 0);
    EXPECT(strait_receiver_open(&receiver, channel) == 0);
    pid_t peer = fork();
    while (peer == 0) {
        if (getppid() == 1) {
            _exit(0);
        }
        for (int i = 0; i < 1000; i++) {
            scribble_on_what_both_write(&guarded, attack->test->variant->name, &attack->seed);
        }
        sched_yield();
    }
    use(&sender, &receiver, scaled(20000), 5);
    EXPECT(kill(peer, SIGKILL) == 0 && waitpid(peer, NULL, 0) == peer);
    expect_files_untouched();
}

TEST_EACH_VARIANT(a_peer_that_scribbles_is_survived)
{
    expect_survival(is_scribbled_on_in_use, test);
}

/* ---- a peer that dies ---- */

/* What it had sent arrives, whole and in order; nothing else, and no end. */
TEST_EACH_VARIANT(what_a_dead_sender_sent_is_received)
{
    for (size_t round = 0; round < scaled(30); round++) {
        struct guarded guarded = guarded_make(test);
        struct strait_channel *channel;
        struct strait_receiver receiver;
        uint64_t message[SIZE / sizeof(uint64_t)];
        assert_returns(strait_channel_open(&channel, guarded.memory, guarded.size), 0);
        assert_returns(strait_receiver_open(&receiver, channel), 0);
        pid_t peer = fork();
        if (peer == 0) {
            struct strait_sender sender;
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            EXPECT(strait_sender_open(&sender, channel) == 0);
            for (uint64_t number = 0;; number++) {
                for (size_t i = 0; i < COUNT(message); i++) {
                    message[i] = number;
                }
                strait_send(&sender, message, 1, STRAIT_FOREVER);
            }
        }
        uint64_t next = 0;
        int64_t deadline = STRAIT_FOREVER;
        ptrdiff_t received;
        while ((received = strait_receive(&receiver, message, 1, deadline)) == 1) {
            for (size_t i = 0; i < COUNT(message); i++) {
                assert_int_equal(message[i], next);
            }
            if (next++ == 10 * round) {
                assert_int_equal(kill(peer, SIGKILL), 0);
                assert_int_equal(waitpid(peer, NULL, 0), peer);
            }
            deadline = next > 10 * round ? strait_in_ms(1) : STRAIT_FOREVER;
        }
        assert_int_equal(received, -ETIMEDOUT);
        munmap(guarded.pages, guarded.bytes);
        progress_made();
    }
}
