/* SPDX-License-Identifier: MIT */
/* status: how a worker is, seen by any thread; and the calls of a worker on a thread that is none.
 */
#include "worker/fixture.h"

static void *look_from_elsewhere(void *context)
{
    struct strait_status status;
    strait_worker_status(context, &status);
    EXPECT(status.state == STRAIT_WORKER_ONLINE);
    EXPECT(strcmp(status.name, "looked at") == 0);
    return NULL;
}

static void status_follows_a_worker_s_life(void)
{
    struct gate gate = {0};
    pthread_t thread;
    char tid[16];
    struct strait_worker_options options = {
        .entry = gate_entry, .data = &gate, .name = "looked at", .pin = STRAIT_PIN_NONE};
    cpu_set_t allowed = own_cpus();
    struct strait_worker *worker = spawn(&options);
    struct strait_status online = status_of(worker);
    snprintf(tid, sizeof(tid), "%d", online.thread);
    assert_true(thread_lives(tid));
    assert_true(online.thread != thread_number());
    assert_true(online.cpu == -1 || CPU_COUNT(&allowed) == 1);
    assert_false(online.stopping);
    thread_start(&thread, look_from_elsewhere, worker);
    thread_join(thread);
    strait_worker_stop(worker);
    assert_true(status_of(worker).stopping);
    assert_int_equal(status_of(worker).state, STRAIT_WORKER_ONLINE);
    gate_open(&gate);
    assert_returns(strait_worker_join(worker, STRAIT_FOREVER), 0);
    struct strait_status ended = status_of(worker);
    assert_int_equal(ended.state, STRAIT_WORKER_ENDED);
    assert_int_equal(ended.thread, online.thread);
    assert_string_equal(ended.name, "looked at");
    assert_false(thread_lives(tid));
    join_and_destroy(worker);
}

static void a_thread_that_is_no_worker_has_nothing_to_say(void)
{
    errno = ERRNO_MARK;
    assert_null(strait_worker_current());
    assert_false(strait_worker_stopping(NULL));
    strait_worker_fail(1, "nothing");
    strait_worker_warn(1, "nothing");
    assert_true(errno_kept());
}

int main(void)
{
    static const struct test tests[] = {
        ONCE(status_follows_a_worker_s_life),
        ONCE(a_thread_that_is_no_worker_has_nothing_to_say),
    };
    return RUN_TABLE("status", tests);
}
