/* SPDX-License-Identifier: MIT */
/* A channel is one block of memory: of the caller's, moved to where the caller likes, mapped by two
 * processes at two addresses. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define GUARD 256
#define GUARD_BYTE 0xa5

static void *aligned_memory(size_t size)
{
    void *memory = NULL;
    assert_int_equal(posix_memalign(&memory, STRAIT_LINE, size), 0);
    return memory;
}

static size_t needed(const struct strait_channel_options *options)
{
    size_t size = 0;
    assert_returns(strait_channel_size(options, &size), 0);
    assert_true(size > 0);
    return size;
}

/* ---- the caller's memory ---- */

static void test_init_refuses(void **state)
{
    struct strait_channel_options options = case_options(*state, 100, 12);
    size_t size = needed(&options);
    unsigned char *memory = aligned_memory(size + STRAIT_LINE);
    struct strait_channel *channel = NULL;
    memset(memory, GUARD_BYTE, size + STRAIT_LINE);
    assert_returns(strait_channel_init(&channel, memory, size - 1, &options), -ENOSPC);
    assert_returns(strait_channel_init(&channel, memory, 0, &options), -ENOSPC);
    for (size_t off = 1; off < STRAIT_LINE; off++) {
        assert_returns(strait_channel_init(&channel, memory + off, size, &options), -EINVAL);
    }
    assert_returns(strait_channel_init(&channel, NULL, size, &options), -EINVAL);
    options.variant = "no such variant";
    assert_returns(strait_channel_init(&channel, memory, size, &options), -EINVAL);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(memory[i], GUARD_BYTE); /* what is refused is not written to */
    }
    assert_null(channel);
    free(memory);
}

/* Sends `n` messages through and back out, starting with the `first`. */
static void pass(struct strait_sender *sender, struct strait_receiver *receiver,
                 struct tally *tally, size_t n, size_t size)
{
    unsigned char message[MESSAGE_MOST];
    for (size_t i = 0; i < n; i++) {
        message_write(message, size, 0, tally->next[0]);
        assert_returns(strait_try_send(sender, message, 1), 1);
        assert_returns(strait_try_receive(receiver, message, 1), 1);
        tally_message(tally, message, size);
    }
    assert_int_equal(tally->wrong, 0);
}

/* Exactly the size that was asked for is enough, and nothing beyond it is touched. */
static void test_exact_size(void **state)
{
    static const size_t capacities[] = {1, 2, 3, 7, 64, 100};
    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        const size_t message_size = 13;
        struct strait_channel_options options = case_options(*state, capacities[i], message_size);
        size_t size = needed(&options);
        unsigned char *memory = aligned_memory(size + GUARD);
        struct strait_channel *channel = NULL;
        struct strait_sender sender;
        struct strait_receiver receiver;
        struct tally tally = {.wrong = 0};
        memset(memory, GUARD_BYTE, size + GUARD);
        assert_returns(strait_channel_init(&channel, memory, size, &options), 0);
        assert_ptr_equal(channel, memory);
        assert_returns(strait_sender_open(&sender, channel), 0);
        assert_returns(strait_receiver_open(&receiver, channel), 0);
        pass(&sender, &receiver, &tally, 300, message_size);
        strait_channel_destroy(channel, NULL, NULL);
        for (size_t byte = size; byte < size + GUARD; byte++) {
            assert_int_equal(memory[byte], GUARD_BYTE);
        }
        free(memory);
    }
}

/* The block holds no pointer into itself: a copy of it is the same channel elsewhere. */
static void test_block_can_move(void **state)
{
    struct strait_channel_options options = case_options(*state, 9, 24);
    size_t size = needed(&options);
    void *here = aligned_memory(size);
    void *there = aligned_memory(size);
    struct strait_channel *channel = NULL;
    struct strait_channel *moved = NULL;
    struct strait_sender sender;
    struct strait_receiver receiver;
    struct tally tally = {.wrong = 0};
    unsigned char messages[9 * 24];
    assert_returns(strait_channel_init(&channel, here, size, &options), 0);
    assert_returns(strait_sender_open(&sender, channel), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    pass(&sender, &receiver, &tally, 70, 24);
    messages_write(messages, 9, 24, 0, 70);
    assert_returns(strait_try_send(&sender, messages, 9), 9);
    memcpy(there, here, size);
    memset(here, GUARD_BYTE, size);
    assert_returns(strait_channel_open(&moved, there, size), 0);
    assert_ptr_equal(moved, there);
    assert_returns(strait_receiver_open(&receiver, moved), 0);
    assert_returns(strait_try_receive(&receiver, messages, 9), 9);
    tally_messages(&tally, messages, 9, 24);
    assert_returns(strait_try_receive(&receiver, messages, 9), -EAGAIN);
    assert_int_equal(tally.wrong, 0);
    strait_channel_destroy(moved, NULL, NULL);
    free(here);
    free(there);
}

static void test_open_refuses(void **state)
{
    struct strait_channel_options options = case_options(*state, 9, 24);
    size_t size = needed(&options);
    unsigned char *memory = aligned_memory(size);
    struct strait_channel *channel = NULL;
    memset(memory, 0, size);
    assert_returns(strait_channel_open(&channel, memory, size), -EINVAL);
    assert_returns(strait_channel_open(&channel, NULL, size), -EINVAL);
    struct strait_channel *made = NULL;
    assert_returns(strait_channel_init(&made, memory, size, &options), 0);
    assert_returns(strait_channel_open(&channel, memory, size - 1), -EINVAL);
    assert_returns(strait_channel_open(&channel, memory, 0), -EINVAL);
    assert_returns(strait_channel_open(&channel, memory + 1, size), -EINVAL);
    assert_null(channel);
    assert_returns(strait_channel_open(&channel, memory, size), 0);
    strait_channel_destroy(made, NULL, NULL);
    channel = NULL;
    assert_returns(strait_channel_open(&channel, memory, size), -EINVAL); /* it is none any more */
    free(memory);
}

/* ---- two processes ---- */

#define SHARED_SIZE 16 /* of a message */
#define CHILDREN_MOST 2

struct shared {
    int file; /* memory without a name */
    size_t size;
    void *block;
    struct strait_channel *channel;
    uint64_t messages;
};

static void *shared_map(const struct shared *shared)
{
    void *block = mmap(NULL, shared->size, PROT_READ | PROT_WRITE, MAP_SHARED, shared->file, 0);
    return block == MAP_FAILED ? NULL : block;
}

static void shared_make(struct shared *shared, const struct test_case *test, size_t capacity,
                        size_t messages)
{
    struct strait_channel_options options = case_options(test, capacity, SHARED_SIZE);
    options.shared = 1;
    shared->messages = messages;
    shared->size = needed(&options);
    shared->file = memfd_create("channel", MFD_CLOEXEC);
    assert_true(shared->file >= 0);
    assert_int_equal(ftruncate(shared->file, (off_t)shared->size), 0);
    shared->block = shared_map(shared);
    assert_non_null(shared->block);
    assert_returns(strait_channel_init(&shared->channel, shared->block, shared->size, &options), 0);
}

static void shared_end(struct shared *shared)
{
    strait_channel_destroy(shared->channel, NULL, NULL);
    assert_int_equal(munmap(shared->block, shared->size), 0);
    assert_int_equal(close(shared->file), 0);
}

/* In a child: the channel at an address of the child's own. The parent's mapping still stands, so
 * the two differ. NULL: something was wrong. */
static struct strait_channel *shared_open(const struct shared *shared)
{
    struct strait_channel *channel = NULL;
    void *block = shared_map(shared);
    if (!block || block == shared->block || strait_channel_open(&channel, block, shared->size)) {
        return NULL;
    }
    return munmap(shared->block, shared->size) == 0 ? channel : NULL;
}

/* A child's exit status: 0, or what was wrong. */
static int child_sends(const struct shared *shared, unsigned number)
{
    struct strait_channel *channel = shared_open(shared);
    struct strait_sender sender;
    if (!channel || strait_sender_open(&sender, channel)) {
        return 2;
    }
    errno = ERRNO_MARK;
    for (uint64_t sent = 0; sent < shared->messages; sent++) {
        unsigned char message[SHARED_SIZE];
        message_write(message, SHARED_SIZE, number, sent);
        if (strait_send(&sender, message, 1, STRAIT_FOREVER) != 1 || !errno_kept()) {
            return 3;
        }
    }
    strait_sender_close(&sender);
    return 0;
}

static int child_receives(const struct shared *shared)
{
    struct strait_channel *channel = shared_open(shared);
    struct strait_receiver receiver;
    struct tally tally = {.wrong = 0};
    unsigned char messages[3 * SHARED_SIZE];
    ptrdiff_t count;
    if (!channel || strait_receiver_open(&receiver, channel)) {
        return 2;
    }
    while ((count = strait_receive(&receiver, messages, 3, STRAIT_FOREVER)) > 0) {
        tally_messages(&tally, messages, (size_t)count, SHARED_SIZE);
    }
    strait_receiver_close(&receiver);
    return count == -EPIPE && !tally.wrong && tally.next[0] == shared->messages ? 0 : 3;
}

/* A child that does not outlive its parent, whatever ends that. */
static pid_t child_start(void)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL)) {
        _exit(1);
    }
    return child;
}

static void expect_child(pid_t child, int expected)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), expected);
}

static void receive_from_children(const struct test_case *test, size_t capacity, size_t messages)
{
    struct shared shared;
    struct strait_sender keeper;
    struct strait_receiver receiver;
    struct tally tally = {.wrong = 0};
    unsigned char message[SHARED_SIZE];
    pid_t children[CHILDREN_MOST];
    unsigned count = test->variant->senders == STRAIT_SENDERS_ONE ? 1 : CHILDREN_MOST;
    shared_make(&shared, test, capacity, messages);
    if (count > 1) { /* else a child may come when the others have been and gone */
        assert_returns(strait_sender_open(&keeper, shared.channel), 0);
    }
    assert_returns(strait_receiver_open(&receiver, shared.channel), 0);
    for (unsigned i = 0; i < count; i++) {
        children[i] = child_start();
        if (children[i] == 0) {
            _exit(child_sends(&shared, i));
        }
    }
    for (size_t i = 0; i < count * messages; i++) {
        assert_returns(strait_receive(&receiver, message, 1, STRAIT_FOREVER), 1);
        tally_message(&tally, message, SHARED_SIZE);
        progress_made();
    }
    for (unsigned i = 0; i < count; i++) {
        expect_child(children[i], 0);
        assert_int_equal(tally.next[i], messages);
    }
    if (count > 1) {
        strait_sender_close(&keeper);
    }
    assert_returns(strait_receive(&receiver, message, 1, STRAIT_FOREVER), -EPIPE);
    assert_int_equal(tally.wrong, 0);
    shared_end(&shared);
}

static void test_child_sends(void **state)
{
    const struct test_case *test = *state;
    if (test->sender == STRAIT_WAIT_FD) {
        skip(); /* refused for shared blocks: see channel_test */
    }
    receive_from_children(test, 100, scaled(100000));
    receive_from_children(test, 1, scaled(3000));
}

static void test_child_receives(void **state)
{
    const struct test_case *test = *state;
    struct shared shared;
    struct strait_sender sender;
    if (test->sender == STRAIT_WAIT_FD) {
        skip();
    }
    shared_make(&shared, test, 3, scaled(20000));
    assert_returns(strait_sender_open(&sender, shared.channel), 0);
    pid_t child = child_start();
    if (child == 0) {
        _exit(child_receives(&shared));
    }
    for (uint64_t sent = 0; sent < shared.messages; sent++) {
        unsigned char message[SHARED_SIZE];
        message_write(message, SHARED_SIZE, 0, sent);
        assert_returns(strait_send(&sender, message, 1, STRAIT_FOREVER), 1);
        progress_made();
    }
    strait_sender_close(&sender);
    expect_child(child, 0);
    assert_returns(strait_try_send(&sender, NULL, 1), -EPIPE);
    shared_end(&shared);
}

int main(void)
{
    static struct suite suite;
    watchdog_start();
    suite_modes(&suite, "init refuses", test_init_refuses);
    suite_modes(&suite, "exact size", test_exact_size);
    suite_variants(&suite, "block can move", test_block_can_move);
    suite_variants(&suite, "open refuses", test_open_refuses);
    suite_modes(&suite, "child sends", test_child_sends);
    suite_modes(&suite, "child receives", test_child_receives);
    return suite_run(&suite, "channel_memory");
}
