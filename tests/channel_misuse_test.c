/* SPDX-License-Identifier: MIT */
/* Misuse in a checked build: the program ends, and says which rule was broken and by whom. Each
 * crime is committed by a child process. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Which calls a second thread makes. */
enum use {
    USE_TRY,
    USE_BLOCK,
    USE_PLACE,
    USE_GIVEN,       /* what the first has given away, without adopting it */
    USE_ADOPT_FIRST, /* what a hand-over looks like */
    USES,
};

enum { EXIT_LAWFUL = 42 };

struct crime {
    const struct test_case *test;
    enum use use;
    bool receiver;
    struct strait_channel *channel;
    struct strait_sender sender;
    struct strait_receiver end;
};

static void use_sender(struct strait_sender *sender, enum use use)
{
    const uint64_t message = 1;
    struct strait_span span;
    if (use == USE_ADOPT_FIRST) {
        strait_sender_adopt(sender);
    }
    if (use == USE_BLOCK) {
        strait_send(sender, &message, 1, STRAIT_FOREVER);
    } else if (use == USE_PLACE) {
        if (strait_reserve(sender, 1, &span) == 1) {
            memcpy(span.messages, &message, sizeof(message));
            strait_commit(sender, &span);
        }
    } else {
        (void)strait_try_send(sender, &message, 1);
    }
}

static void use_receiver(struct strait_receiver *receiver, enum use use)
{
    uint64_t message;
    struct strait_span span;
    if (use == USE_ADOPT_FIRST) {
        strait_receiver_adopt(receiver);
    }
    if (use == USE_BLOCK) {
        strait_receive(receiver, &message, 1, STRAIT_FOREVER);
    } else if (use == USE_PLACE) {
        if (strait_peek(receiver, 1, &span) == 1) {
            strait_release(receiver, &span);
        }
    } else {
        (void)strait_try_receive(receiver, &message, 1);
    }
}

static void *second_thread(void *context)
{
    struct crime *crime = context;
    if (crime->receiver) {
        use_receiver(&crime->end, crime->use);
    } else {
        use_sender(&crime->sender, crime->use);
    }
    return NULL;
}

/* In the child: the first thread uses the handle, then the second does. */
static void commit_crime(struct crime *crime)
{
    const struct rlimit none = {0, 0};
    struct strait_channel_options options = case_options(crime->test, 8, sizeof(uint64_t));
    pthread_t thread;
    setrlimit(RLIMIT_CORE, &none);
    if (strait_channel_create(&crime->channel, &options) ||
        strait_sender_open(&crime->sender, crime->channel) ||
        strait_receiver_open(&crime->end, crime->channel)) {
        _exit(1);
    }
    use_sender(&crime->sender, USE_TRY);
    use_sender(&crime->sender, USE_TRY);
    use_receiver(&crime->end, USE_TRY);
    if (crime->use == USE_GIVEN) {
        strait_sender_give(&crime->sender);
        strait_receiver_give(&crime->end);
    }
    if (pthread_create(&thread, NULL, second_thread, crime) || pthread_join(thread, NULL)) {
        _exit(1);
    }
    _exit(EXIT_LAWFUL);
}

/* The child's status, and what it said. */
static int punish(struct crime *crime, char *said, size_t size)
{
    int pipe_fds[2];
    int status = 0;
    size_t length = 0;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipe_fds[1], STDERR_FILENO);
        commit_crime(crime);
    }
    close(pipe_fds[1]);
    for (ssize_t n = 1; n > 0 && length + 1 < size; length += n > 0 ? (size_t)n : 0) {
        n = read(pipe_fds[0], said + length, size - 1 - length);
    }
    said[length] = '\0';
    close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void expect_crime(const struct test_case *test, bool receiver, enum use use, bool lawful)
{
    struct crime crime = {.test = test, .receiver = receiver, .use = use};
    char said[4096];
    int status = punish(&crime, said, sizeof(said));
    if (lawful) {
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EXIT_LAWFUL);
        assert_string_equal(said, "");
        return;
    }
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(said, "strait: "));
    assert_non_null(strstr(said, receiver ? "receiver handle" : "sender handle"));
    assert_non_null(strstr(said, "one thread at a time"));
    assert_non_null(
        strstr(said, use == USE_GIVEN ? "was given away by thread" : "belongs to thread"));
}

static void test_second_thread(void **state)
{
#ifdef STRAIT_CHECKED
    const struct test_case *test = *state;
    bool any = test->variant->senders == STRAIT_SENDERS_ANY;
    for (int use = USE_TRY; use < USES; use++) {
        bool lawful = use == USE_ADOPT_FIRST;
        expect_crime(test, false, (enum use)use, lawful || any);
        expect_crime(test, true, (enum use)use, lawful);
    }
#else
    (void)state;
    (void)expect_crime;
    skip();
#endif
}

int main(void)
{
    /* no watchdog: a child of a process with threads could not start any under ThreadSanitizer */
    static struct suite suite;
    suite_variants(&suite, "second thread", test_second_thread);
    return suite_run(&suite, "channel_misuse");
}
