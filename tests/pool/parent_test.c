/* SPDX-License-Identifier: MIT */
/* Parents: their fd and how completions are gathered, room, coming and leaving. */
#include "fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define STRAIT_PRIVATE             /* none of it is called */
#include "../../src/pool/shared.h" /* where a parent's rings lie */

/* ---- the fd ---- */

/* Without a dispatch before, for this is how a loop begins; and where another parent had the place.
 */
TEST(the_fd_is_readable_while_there_is_something_to_do)
{
    OPEN(.workers = 1);
    for (unsigned i = 0; i < 60; i++) {
        if (i % 20 == 0) {
            leave(here.parent);
            here.parent = attach(STRAIT_WAIT_DEFAULT);
        }
        submit(runs, i, NULL);
        while (seen.ends <= i) {
            assert_true(readable(strait_parent_fd(here.parent), -1));
            assert_true(strait_parent_dispatch(here.parent, 0) >= 0);
        }
        assert_false(readable(strait_parent_fd(here.parent), 0));
        assert_returns(strait_parent_dispatch(here.parent, 0), 0);
    }
    struct strait_parent *parked = attach(STRAIT_WAIT_PARK);
    assert_returns(strait_parent_fd(parked), -EINVAL);
    leave(parked);
    close_pool();
}

TEST(a_budget_leaves_the_fd_readable)
{
    OPEN(.workers = 1);
    submit_some(runs, 0, 600, NULL);
    while (pool_stats().queued) {
        sleep_ns(GATE_NAP_NS);
    }
    while (seen.ends < 10) {
        assert_true(readable(strait_parent_fd(here.parent), -1));
        ptrdiff_t ran = strait_parent_dispatch(here.parent, 1);
        assert_true(ran == 0 || ran == 1);
    }
    assert_true(readable(strait_parent_fd(here.parent), -1));
    assert_true(strait_parent_dispatch(here.parent, 0) <= STRAIT_BUDGET);
    assert_true(readable(strait_parent_fd(here.parent), -1));
    assert_true(strait_parent_poll(here.parent, 3) <= 3);
    settle();
    assert_false(readable(strait_parent_fd(here.parent), 0));
    close_pool();
}

/* The long task ends only when the loop has been told of all that went before: it may gather them,
 * but not until a worker is done with it, and comes to those behind. After a quiet time, and while
 * they come fast; alone, and where another parent seems to have tasks, too; by its fd, and in a
 * wait. */
TEST(no_completion_waits_for_a_long_task)
{
    struct strait_parent *other;
    OPEN(.workers = 1);
    assert_int_equal(strait_pool_attach(here.pool, &other, NULL), 0);
    for (unsigned round = 0; round < 60; round++) {
        unsigned burst = round % 4 * 100 + 1;
        struct strait_task small = numbered(runs, burst + 1, NULL);
        for (unsigned i = 0; i < burst; i++) {
            submit(runs, i, NULL);
            if (round % 2 && i % 8 == 0) {
                collect();
            }
        }
        if (round >= 20) {
            assert_int_equal(strait_task_submit(other, &small, NULL, NULL), 0);
        }
        shut_gate();
        submit(runs_at_gate, burst, NULL);
        for (unsigned i = 0; i < burst; i++) {
            submit(runs, i, NULL);
        }
        while (strait_parent_owed(here.parent) > burst + 1) {
            if (round % 8 < 4) {
                collect(); /* by its fd */
            } else {
                assert_true(strait_parent_wait_any(here.parent, STRAIT_FOREVER) > 0);
            }
        }
        release();
        settle();
        assert_int_equal(strait_parent_wait_all(other, STRAIT_FOREVER), 0);
    }
    assert_int_equal(strait_parent_detach(other, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    close_pool();
}

/* ---- room ---- */

static unsigned rooms;

static void counts_room(struct strait_parent *parent, void *context)
{
    EXPECT(parent == here.parent && context == &rooms);
    rooms++;
}

static void fills_again(struct strait_parent *parent, void *context)
{
    counts_room(parent, context);
    EXPECT(strait_parent_owed(parent) <= 4);
    EXPECT(try_submit(runs, 100 + rooms, NULL) == 0);
}

static void open_for_room(size_t limit, void (*room)(struct strait_parent *, void *))
{
    open_pool(&(struct strait_pool_options){.workers = 1, .queue_limit = limit},
              &(struct strait_parent_options){.room = room, .context = &rooms});
    rooms = 0;
    hold(1);
}

TEST(room_is_told_after_a_refusal_only)
{
    struct strait_task more = numbered(runs, 9, NULL);
    open_for_room(3, fills_again);
    submit_some(runs, 0, 3, NULL);
    assert_returns(strait_parent_dispatch(here.parent, 0), 0);
    assert_returns(strait_task_submit_wait(here.parent, &more, NULL, NULL, 0), -ETIMEDOUT);
    release();
    settle();
    assert_int_equal(rooms, 0); /* who waited by himself has asked for no telling */
    hold(1);
    submit_some(runs, 10, 2, NULL);
    strait_task_id id = submit(runs, 12, NULL);
    assert_int_equal(try_submit(runs, 9, NULL), -EAGAIN);
    assert_returns(strait_parent_dispatch(here.parent, 0), 0);
    assert_int_equal(rooms, 0); /* still full */
    release();
    assert_returns(strait_task_wait(here.parent, id, STRAIT_FOREVER), 0);
    settle();
    assert_int_equal(rooms, 1);
    assert_ended(101, 1, STRAIT_TASK_DONE, 1);
    close_pool();
    assert_int_equal(rooms, 1); /* nothing was refused since */
}

/* When a worker takes the task that was in the way, not when it is done with it; of one priority
 * while the queue of the other is full still. */
TEST(room_is_told_when_there_is_some)
{
    struct gate second = {0};
    struct strait_task task = numbered(runs_at_gate, 0, &second);
    open_for_room(2, counts_room);
    submit_task(&task, &high);
    submit(runs, 1, &high);
    submit_some(runs, 2, 2, NULL);
    assert_int_equal(try_submit(runs, 9, &high), -EAGAIN);
    assert_int_equal(try_submit(runs, 9, NULL), -EAGAIN);
    release();
    while (rooms == 0) {
        collect(); /* the fd says so while the first of high priority runs */
    }
    gate_await(&second, 1);
    assert_int_equal(seen.runs[1] + seen.runs[2], 0);
    gate_open(&second);
    settle();
    assert_int_equal(rooms, 2);
    close_pool();
}

/* ---- leaving ---- */

static int leaves(bool finish, enum strait_close mode, int64_t deadline)
{
    return finish ? strait_pool_finish(here.pool, here.parent, mode, deadline)
                  : strait_parent_detach(here.parent, mode, deadline);
}

/* A parent alone, or with its pool: in time or not at all; again, and by cancelling. */
TEST(leaving_drains_or_cancels)
{
    for (unsigned k = 0; k < 4; k++) {
        bool finish = k / 2;
        bool cancels = k % 2;
        enum strait_close mode = cancels ? STRAIT_CLOSE_CANCEL : STRAIT_CLOSE_DRAIN;
        struct strait_group group = {0};
        struct strait_submit_options how = {.group = &group};
        OPEN(.workers = 2, .queue_limit = 50);
        hold(1);
        submit(cancels ? runs_until_cancelled : runs_at_gate, 0, &how);
        await_arrivals(1);
        submit_some(runs, 1, 50, &how); /* the queue is full */
        assert_returns(leaves(finish, STRAIT_CLOSE_DRAIN, 0), -ETIMEDOUT);
        assert_returns(leaves(finish, mode, strait_deadline(5 * MS)), -ETIMEDOUT);
        if (!cancels) { /* the handle goes on */
            assert_int_equal(strait_parent_owed(here.parent), 52);
            assert_int_equal(try_submit(runs, 99, NULL), -EAGAIN);
            assert_returns(strait_parent_poll(here.parent, 0), 0);
        }
        release();
        assert_returns(leaves(finish, mode, STRAIT_FOREVER), 0);
        assert_ended(0, 1, cancels ? STRAIT_TASK_CANCELLED : STRAIT_TASK_DONE, 1);
        assert_ended(1, 50, cancels ? STRAIT_TASK_ABANDONED : STRAIT_TASK_DONE, !cancels);
        assert_int_equal(group.pending, 0);
        if (!finish) {
            assert_int_equal(pool_stats().abandoned, cancels ? 50 : 0);
            assert_int_equal(pool_stats().parents, 0);
            end_pool();
        }
    }
}

/* ---- how many there may be ---- */

TEST(there_may_be_so_many_parents_at_one_time)
{
    static struct strait_parent *parents[STRAIT_PARENTS_MAX];
    struct strait_task task = {.run = nothing};
    OPEN(.workers = 1); /* it has one already */
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 1; i < STRAIT_PARENTS_MAX; i++) {
            parents[i] = attach(STRAIT_WAIT_PARK);
        }
        assert_returns(strait_pool_attach(here.pool, &parents[0], NULL), -EUSERS);
        assert_int_equal(pool_stats().parents, STRAIT_PARENTS_MAX);
        for (unsigned i = 1; i < STRAIT_PARENTS_MAX; i++) {
            submit_to(parents[i], &task, NULL);
            leave(parents[i]);
            progress_made();
        }
        leave(attach(STRAIT_WAIT_FD)); /* of another wait mode */
    }
    close_pool();
}

static void *submits_without_end(void *nobody)
{
    struct strait_parent *parent = NULL;
    struct strait_parent_options park = {.wait = STRAIT_WAIT_PARK};
    struct strait_task task = {.run = nothing};
    EXPECT(strait_pool_attach(here.pool, &parent, &park) == 0);
    atomic_fetch_add(&here.gate.arrived, 1);
    while (!atomic_load(&here.gate.open)) {
        int error = strait_task_submit_wait(parent, &task, NULL, NULL, STRAIT_FOREVER);
        EXPECT(error == 0 && strait_parent_poll(parent, 0) >= 0);
    }
    EXPECT(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0);
    return nobody;
}

/* While others submit, or the one worker is in a long task. A former parent's place is taken again,
 * unless a worker is still busy with it; its ids name no task of the next one's. */
TEST(parents_that_left_leave_their_places)
{
    for (unsigned others = 0; others < 2; others++) {
        struct strait_parent *places[3] = {NULL};
        pthread_t thread;
        strait_task_id former = 0;
        strait_task_id own = 0;
        OPEN(.workers = 1 + others);
        if (others) {
            thread_start(&thread, submits_without_end, NULL);
            await_arrivals(1);
        } else {
            hold(1);
        }
        struct census before = census_take();
        for (size_t i = 0; i < scaled(6000); i++) {
            struct strait_parent *parent = attach((enum strait_wait)(i % 4));
            enum strait_close mode = others ? (enum strait_close)(i % 2) : STRAIT_CLOSE_CANCEL;
            unsigned place = 0;
            while (place < 2 + others && places[place] && places[place] != parent) {
                place++;
            }
            assert_true(place < 1 + 2 * others);
            places[place] = parent;
            memset(seen.completions, 0, 3 * sizeof(seen.completions[0]));
            for (unsigned k = 0; k <= i % 3; k++) {
                struct strait_task task = numbered(runs, k, NULL);
                assert_returns(strait_task_cancel(parent, former), -ENOENT);
                assert_returns(strait_task_wait(parent, former, 0), 0);
                own = submit_to(parent, &task, k % 2 ? &high : NULL);
            }
            former = own;
            assert_returns(strait_parent_detach(parent, mode, others ? STRAIT_FOREVER : 0), 0);
            for (unsigned k = 0; k < 3; k++) {
                assert_int_equal(seen.completions[k], k <= i % 3);
            }
            progress_made();
        }
        leave(attach(STRAIT_WAIT_PARK)); /* all of them are swept */
        assert_true(others || seen.runs[0] + seen.runs[1] + seen.runs[2] == 0);
        release();
        if (others) {
            thread_join(thread);
            before.threads--;
        }
        assert_census(before);
        close_pool();
    }
}

static void *submits_for_main(void *nobody)
{
    try_submit(runs, 1, NULL);
    return nobody;
}

static void uses_a_parent_of_another_thread(void *nobody)
{
    pthread_t other;
    OPEN(.workers = 1);
    submit(runs, 0, NULL);
    pthread_create(&other, NULL, submits_for_main, NULL);
    pthread_join(other, NULL);
}

/* Under ThreadSanitizer the child can start no threads: see in_child. */
TEST(a_parent_is_one_thread)
{
#if defined(STRAIT_CHECKED) && !TEST_TSAN
    char said[512];
    int status = in_child(uses_a_parent_of_another_thread, NULL, said, sizeof(said));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "a parent is used by one thread"));
#else
    (void)uses_a_parent_of_another_thread;
#endif
}

/* ---- what parents cost ---- */

static uintptr_t first_page;
static uintptr_t last_page;

/* The task lies in what the pool keeps for the parent. */
static void notes_pages(struct strait_task *task)
{
    uintptr_t page = (uintptr_t)task & ~(uintptr_t)4095;
    first_page = first_page && first_page < page ? first_page : page;
    last_page = last_page > page ? last_page : page;
}

static unsigned pages_there(void)
{
    static unsigned char there[1024];
    unsigned count = 0;
    size_t pages = (last_page - first_page) / 4096 + 1;
    assert_true(pages <= COUNT(there));
    assert_int_equal(mincore((void *)first_page, 4096 * pages, there), 0);
    for (size_t i = 0; i < pages; i++) {
        count += there[i] & 1;
    }
    return count;
}

TEST(a_parent_that_leaves_gives_its_memory_back)
{
    struct strait_task task = {.run = nothing, .done = notes_pages};
    OPEN(.workers = 1, .queue_limit = 4096);
    for (unsigned round = 0; round < 3; round++) {
        struct strait_parent *parent = attach(STRAIT_WAIT_PARK);
        first_page = 0;
        last_page = 0;
        hold(1);
        for (unsigned i = 0; i < 4096; i++) {
            submit_to(parent, &task, round % 2 ? &high : NULL);
        }
        release();
        assert_returns(strait_parent_wait_all(parent, STRAIT_FOREVER), 0);
        submit(runs, 0, NULL);
        settle(); /* the worker has turned to another one */
        assert_true(pages_there() >= 4096 * STRAIT_TASK_DATA / 4096);
        leave(parent);
        assert_int_equal(pages_there(), 0);
    }
    close_pool();
}

/* Parents whose rings no thread may look at: how many a worker has looked at all the same. */
static struct strait_parent *shut_away[500];
static _Atomic unsigned looks;

static void shut_rings(int protection)
{
    for (unsigned i = 0; i < COUNT(shut_away); i++) {
        struct strait_parent *parent = shut_away[i];
        assert_int_equal(mprotect(parent->block, parent->bytes, protection), 0);
    }
}

static void looks_in(int signal, siginfo_t *info, void *context)
{
    for (unsigned i = 0; i < COUNT(shut_away); i++) {
        struct strait_parent *parent = shut_away[i];
        if ((uintptr_t)info->si_addr - (uintptr_t)parent->block < parent->bytes) {
            mprotect(parent->block, parent->bytes, PROT_READ | PROT_WRITE);
            atomic_fetch_add(&looks, 1);
            return;
        }
    }
    raise(signal == SIGSEGV ? SIGABRT : signal);
}

static void submit_one_by_one(void)
{
    for (unsigned i = 0; i < NUMBERS; i++) {
        submit(runs, i, NULL);
        settle_to(i % 64);
    }
    settle();
}

/* Idle ones, and those that have left: thousands of claims come by the same few of them, or none.
 */
TEST(idle_parents_cost_a_busy_one_nothing)
{
    struct sigaction action = {.sa_sigaction = looks_in, .sa_flags = SA_SIGINFO};
    struct sigaction before;
    struct strait_task task = {.run = nothing};
    OPEN(.workers = 2);
    sigaction(SIGSEGV, &action, &before);
    for (unsigned left = 0; left < 2; left++) {
        for (unsigned i = 0; i < COUNT(shut_away); i++) {
            shut_away[i] = attach(STRAIT_WAIT_PARK);
            submit_to(shut_away[i], &task, NULL);
            assert_returns(strait_parent_wait_all(shut_away[i], STRAIT_FOREVER), 0);
        }
        for (unsigned i = 0; i < COUNT(shut_away) && left; i++) {
            leave(shut_away[i]);
        }
        atomic_store(&looks, COUNT(shut_away));
        for (int tries = 0; tries < 10 && atomic_load(&looks) > 4; tries++) {
            submit_one_by_one(); /* workers find out, and may be about it still */
            shut_rings(PROT_NONE);
            atomic_store(&looks, 0);
            submit_one_by_one();
            shut_rings(PROT_READ | PROT_WRITE);
        }
        assert_true(atomic_load(&looks) <= 4);
        for (unsigned i = 0; i < COUNT(shut_away) && !left; i++) {
            leave(shut_away[i]);
        }
    }
    sigaction(SIGSEGV, &before, NULL);
    close_pool();
}
