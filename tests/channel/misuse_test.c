/* SPDX-License-Identifier: MIT */
/* Misuse in a checked build: the program ends, and says which rule was broken and by whom. */
#include "channel/fixture.h"

/* Which calls a second thread makes. */
enum use {
    USE_TRY,
    USE_BLOCK,
    USE_PLACE,
    USE_GIVEN,       /* what the first has given away, without adopting it */
    USE_ADOPT_FIRST, /* what a hand-over looks like */
    USES,
};

struct crime {
    const struct test_case *test;
    enum use use;
    bool receiver;
    struct ends ends;
};

static void send_one(struct strait_sender *sender, enum use use)
{
    const uint64_t message = 1;
    struct strait_span span;
    if (use == USE_ADOPT_FIRST) {
        strait_sender_adopt(sender);
    }
    if (use == USE_BLOCK) {
        strait_send(sender, &message, 1, STRAIT_FOREVER);
    } else if (use != USE_PLACE) {
        (void)strait_try_send(sender, &message, 1);
    } else if (strait_reserve(sender, 1, &span) == 1) {
        strait_commit(sender, &span);
    }
}

static void receive_one(struct strait_receiver *receiver, enum use use)
{
    uint64_t message;
    struct strait_span span;
    if (use == USE_ADOPT_FIRST) {
        strait_receiver_adopt(receiver);
    }
    if (use == USE_BLOCK) {
        strait_receive(receiver, &message, 1, STRAIT_FOREVER);
    } else if (use != USE_PLACE) {
        (void)strait_try_receive(receiver, &message, 1);
    } else if (strait_peek(receiver, 1, &span) == 1) {
        strait_release(receiver, &span);
    }
}

static void *second_thread(void *context)
{
    struct crime *crime = context;
    if (crime->receiver) {
        receive_one(&crime->ends.receiver, crime->use);
    } else {
        send_one(&crime->ends.sender, crime->use);
    }
    return NULL;
}

/* In the child: the first thread uses the handle, then the second does. */
static void commit_crime(void *context)
{
    struct crime *crime = context;
    pthread_t thread;
    ends_open(&crime->ends, crime->test, 8, sizeof(uint64_t));
    ends_send(&crime->ends, 2, 2);
    ends_receive(&crime->ends, 1, 1);
    if (crime->use == USE_GIVEN) {
        strait_sender_give(&crime->ends.sender);
        strait_receiver_give(&crime->ends.receiver);
    }
    thread_start(&thread, second_thread, crime);
    thread_join(thread);
}

static void expect_crime(const struct test_case *test, bool receiver, enum use use, bool lawful)
{
    struct crime crime = {.test = test, .receiver = receiver, .use = use};
    const char *const words[] = {
        "strait: ", receiver ? "receiver handle" : "sender handle", "one thread at a time",
        use == USE_GIVEN ? "was given away by thread" : "belongs to thread", NULL};
    if (lawful) {
        assert_well_in_child(commit_crime, &crime);
    } else {
        assert_abort_in_child(commit_crime, &crime, words);
    }
}

TEST_EACH_VARIANT(a_second_thread_is_named)
{
#ifndef STRAIT_CHECKED
    skip();
#endif
    for (int use = USE_TRY; use < USES; use++) {
        bool lawful = use == USE_ADOPT_FIRST;
        expect_crime(test, false, (enum use)use, lawful || case_has(test, STRAIT_SENDERS_ANY));
        expect_crime(test, true, (enum use)use, lawful);
    }
}

int main(void)
{
    setenv("STRAIT_WATCHDOG", "0", 1); /* see in_child */
    return tests_run();
}
