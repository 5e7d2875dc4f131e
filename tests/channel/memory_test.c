/* SPDX-License-Identifier: MIT */
/* A channel is one block of memory: of the caller's, moved to where the caller likes, mapped by two
 * processes at two addresses. */
#include "channel/fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define GUARD 256
#define GUARD_BYTE 0xa5

/* Memory of the caller's for a channel, and a guard behind it. */
struct block {
    struct strait_channel_options options;
    size_t size;
    unsigned char *memory;
};

static void block_open(struct block *block, const struct test_case *test, size_t capacity,
                       size_t message_size, uint32_t shared)
{
    void *memory = NULL;
    block->options = case_options(test, capacity, message_size);
    block->options.shared = shared;
    assert_returns(strait_channel_size(&block->options, &block->size), 0);
    assert_int_equal(posix_memalign(&memory, STRAIT_LINE, block->size + GUARD), 0);
    block->memory = memset(memory, GUARD_BYTE, block->size + GUARD);
}

static void expect_guard(const struct block *block, size_t from)
{
    for (size_t i = from; i < block->size + GUARD; i++) {
        assert_int_equal(block->memory[i], GUARD_BYTE);
    }
}

TEST_EACH_MODE(init_refuses)
{
    struct block block;
    struct strait_channel *channel = NULL;
    block_open(&block, test, 100, 12, 0);
    struct strait_channel_options *options = &block.options;
    assert_returns(strait_channel_init(&channel, block.memory, block.size - 1, options), -ENOSPC);
    assert_returns(strait_channel_init(&channel, block.memory, 0, options), -ENOSPC);
    for (size_t off = 1; off < STRAIT_LINE; off++) {
        assert_returns(strait_channel_init(&channel, block.memory + off, block.size, options),
                       -EINVAL);
    }
    assert_returns(strait_channel_init(&channel, NULL, block.size, options), -EINVAL);
    options->variant = "no such variant";
    assert_returns(strait_channel_init(&channel, block.memory, block.size, options), -EINVAL);
    expect_guard(&block, 0); /* what is refused is not written to */
    assert_null(channel);
    free(block.memory);
}

/* A channel in this block, with a handle on each side. */
static void ends_in_block(struct ends *ends, const struct block *block)
{
    memset(ends, 0, sizeof(*ends));
    ends->size = block->options.message_size;
    assert_returns(strait_channel_init(&ends->channel, block->memory, block->size, &block->options),
                   0);
    assert_ptr_equal(ends->channel, block->memory);
    assert_returns(strait_sender_open(&ends->sender, ends->channel), 0);
    assert_returns(strait_receiver_open(&ends->receiver, ends->channel), 0);
}

static void send_and_receive(struct ends *ends, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ends_send(ends, 1, 1);
        ends_receive(ends, 1, 1);
    }
}

/* Exactly the size that was asked for is enough, and nothing beyond it is touched. */
TEST_EACH_MODE(exact_size)
{
    static const size_t capacities[] = {1, 2, 3, 7, 64, 100};
    for (size_t i = 0; i < COUNT(capacities); i++) {
        struct block block;
        struct ends ends;
        block_open(&block, test, capacities[i], 13, 0);
        ends_in_block(&ends, &block);
        send_and_receive(&ends, 300);
        ends_close(&ends, 0);
        expect_guard(&block, block.size);
        free(block.memory);
    }
}

/* The block holds no pointer into itself: a copy of it is the same channel elsewhere. */
TEST_EACH_VARIANT(block_can_move)
{
    struct block here;
    struct block there;
    struct ends ends;
    block_open(&here, test, 9, 24, 1);
    block_open(&there, test, 9, 24, 1);
    ends_in_block(&ends, &here);
    send_and_receive(&ends, 70);
    ends_send(&ends, 9, 9);
    strait_sender_close(&ends.sender);
    memcpy(there.memory, here.memory, here.size);
    memset(here.memory, GUARD_BYTE, here.size);
    assert_returns(strait_channel_open(&ends.channel, there.memory, there.size), 0);
    assert_ptr_equal(ends.channel, there.memory);
    assert_returns(strait_receiver_open(&ends.receiver, ends.channel), 0);
    ends_receive(&ends, 9, 9);
    ends_receive(&ends, 9, -EPIPE);
    ends_close(&ends, 0);
    free(here.memory);
    free(there.memory);
}

/* What is no block, or lies wrong. What a block itself may have wrong is hostile_test's. */
TEST_EACH_VARIANT(open_refuses)
{
    struct block block;
    struct strait_channel *made = NULL;
    struct strait_channel *channel = NULL;
    block_open(&block, test, 9, 24, 1);
    memset(block.memory, 0, block.size);
    assert_returns(strait_channel_open(&channel, block.memory, block.size), -EINVAL);
    assert_returns(strait_channel_open(&channel, NULL, block.size), -EINVAL);
    assert_returns(strait_channel_init(&made, block.memory, block.size, &block.options), 0);
    assert_returns(strait_channel_open(&channel, block.memory, block.size - 1), -EINVAL);
    assert_returns(strait_channel_open(&channel, block.memory, STRAIT_LINE), -EINVAL);
    assert_returns(strait_channel_open(&channel, block.memory, 0), -EINVAL);
    memmove(block.memory + 8, block.memory, block.size); /* all there, but not in line */
    assert_returns(strait_channel_open(&channel, block.memory + 8, block.size), -EINVAL);
    memmove(block.memory, block.memory + 8, block.size);
    assert_null(channel);
    assert_returns(strait_channel_open(&channel, block.memory, block.size), 0);
    strait_channel_destroy(made, NULL, NULL);
    assert_returns(strait_channel_open(&channel, block.memory, block.size), -EINVAL);
    free(block.memory);
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
    if (test->receiver == STRAIT_WAIT_FD) {
        skip(); /* refused for shared blocks: see basic_test */
    }
    options.shared = 1;
    shared->messages = messages;
    assert_returns(strait_channel_size(&options, &shared->size), 0);
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
 * the two differ. */
static struct strait_channel *shared_open(const struct shared *shared)
{
    struct strait_channel *channel = NULL;
    void *block = shared_map(shared);
    EXPECT(block && block != shared->block);
    EXPECT(strait_channel_open(&channel, block, shared->size) == 0);
    EXPECT(munmap(shared->block, shared->size) == 0);
    return channel;
}

static void send_all(struct strait_sender *sender, unsigned number, uint64_t messages)
{
    errno = ERRNO_MARK;
    for (uint64_t sent = 0; sent < messages; sent++) {
        unsigned char message[SHARED_SIZE];
        messages_write(message, 1, SHARED_SIZE, number, sent);
        EXPECT(strait_send(sender, message, 1, STRAIT_FOREVER) == 1 && errno_kept());
        progress_made();
    }
    strait_sender_close(sender);
}

static void receive_all(struct strait_channel *channel, uint64_t messages)
{
    unsigned char some[3 * SHARED_SIZE];
    struct tally tally = {.wrong = 0};
    struct strait_receiver receiver;
    ptrdiff_t count;
    EXPECT(strait_receiver_open(&receiver, channel) == 0);
    while ((count = strait_receive(&receiver, some, 3, STRAIT_FOREVER)) > 0) {
        tally_messages(&tally, some, (size_t)count, SHARED_SIZE);
        progress_made();
    }
    EXPECT(count == -EPIPE && tally.wrong == 0 && tally.next[0] == messages);
    strait_receiver_close(&receiver);
}

/* A child that does not outlive its parent, whatever ends that: the sender of that number, or the
 * receiver. */
static pid_t child_start(const struct shared *shared, bool sends, unsigned number)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct strait_sender sender;
        EXPECT(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
        struct strait_channel *channel = shared_open(shared);
        if (sends) {
            EXPECT(strait_sender_open(&sender, channel) == 0);
            send_all(&sender, number, shared->messages);
        } else {
            receive_all(channel, shared->messages);
        }
        _exit(faults_seen() ? 1 : 0);
    }
    return child;
}

static void expect_child(pid_t child)
{
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void receive_from_children(const struct test_case *test, size_t capacity, size_t messages)
{
    struct shared shared;
    struct strait_sender keeper;
    struct strait_receiver receiver;
    struct tally tally = {.wrong = 0};
    unsigned char message[SHARED_SIZE];
    pid_t children[CHILDREN_MOST];
    unsigned count = case_has(test, STRAIT_SENDERS_ONE) ? 1 : CHILDREN_MOST;
    shared_make(&shared, test, capacity, messages);
    if (count > 1) { /* else a child may come when the others have been and gone */
        assert_returns(strait_sender_open(&keeper, shared.channel), 0);
    }
    assert_returns(strait_receiver_open(&receiver, shared.channel), 0);
    for (unsigned i = 0; i < count; i++) {
        children[i] = child_start(&shared, true, i);
    }
    for (size_t i = 0; i < count * messages; i++) {
        assert_returns(strait_receive(&receiver, message, 1, STRAIT_FOREVER), 1);
        tally_messages(&tally, message, 1, SHARED_SIZE);
        progress_made();
    }
    for (unsigned i = 0; i < count; i++) {
        expect_child(children[i]);
        assert_int_equal(tally.next[i], messages);
    }
    if (count > 1) {
        strait_sender_close(&keeper);
    }
    assert_returns(strait_receive(&receiver, message, 1, STRAIT_FOREVER), -EPIPE);
    assert_int_equal(tally.wrong, 0);
    shared_end(&shared);
}

TEST_EACH_MODE(child_sends)
{
    receive_from_children(test, 100, scaled(100000));
    receive_from_children(test, 1, scaled(3000));
}

TEST_EACH_MODE(child_receives)
{
    struct shared shared;
    struct strait_sender sender;
    shared_make(&shared, test, 3, scaled(20000));
    assert_returns(strait_sender_open(&sender, shared.channel), 0);
    pid_t child = child_start(&shared, false, 0);
    send_all(&sender, 0, shared.messages);
    expect_child(child);
    assert_returns(strait_try_send(&sender, NULL, 1), -EPIPE);
    shared_end(&shared);
}
