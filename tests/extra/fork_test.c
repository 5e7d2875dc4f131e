/* SPDX-License-Identifier: MIT */
/* What a process has of a noun whose fork's child it is: the calls that a static destructor makes
 * come back at once and leave the noun to its own process, which goes on. */
#include "extra/fixture.h"

#include <signal.h>

#include "strait/extra/process.h"
#include "strait/extra/set.h"
#include "strait_gearman.h"

#define SOON strait_deadline(60000000000)

static pid_t home;
static unsigned completions;

/* A completion, or a drop: never in the child, or it would be there a second time. */
static void is_at_home(void)
{
    EXPECT(getpid() == home);
    completions++;
}

/* ---- channels, ports and sets, whose other end a thread uses all the time ---- */

static struct strait_channel *channel;
static struct strait_sender sender;
static struct strait_receiver receiver;
static struct strait_port port;
static struct strait_port other;
static struct strait_set *set;
static pthread_t talker;
static _Atomic bool talks;

static void *talk(void *context)
{
    void *message = NULL;
    strait_sender_adopt(&sender);
    strait_port_adopt(&other);
    while (atomic_load(&talks)) {
        strait_try_send(&sender, &message, 1);
        strait_try_send(&other.sender, &message, 1);
        strait_try_receive(&other.receiver, &message, 1);
    }
    strait_sender_give(&sender);
    strait_port_give(&other);
    return NULL;
}

static void make_channel(void)
{
    assert_returns(strait_channel_create(&channel, NULL), 0);
    assert_returns(strait_sender_open(&sender, channel), 0);
    assert_returns(strait_receiver_open(&receiver, channel), 0);
    assert_returns(strait_port_pair(&port, &other, NULL), 0);
    strait_sender_give(&sender);
    strait_port_give(&other);
    atomic_store(&talks, true);
    thread_start(&talker, talk, NULL);
}

static void end_copies(void)
{
    strait_port_wake(&port);
    strait_port_close(&port);
    strait_receiver_close(&receiver);
    strait_channel_destroy(channel, NULL, NULL);
}

static void use_channel(void)
{
    void *message = NULL;
    assert_returns(strait_receive(&receiver, &message, 1, SOON), 1);
    assert_returns(strait_receive(&port.receiver, &message, 1, SOON), 1);
    assert_returns(strait_send(&port.sender, &message, 1, SOON), 1);
}

static void end_channel(void)
{
    atomic_store(&talks, false);
    thread_join(talker);
    strait_port_close(&other);
    strait_sender_close(&sender);
    end_copies();
}

static void make_set(void)
{
    make_channel();
    assert_returns(strait_set_create(&set, 1, STRAIT_WAIT_PARK), 0);
    assert_returns(strait_set_add(set, &receiver), 0);
}

static void end_inherited_set(void)
{
    strait_set_destroy(set);
}

static void use_set(void)
{
    struct strait_receiver *ready;
    void *messages[64];
    for (int i = 0; i < 50; i++) { /* its member turns quiet, and is marked again */
        assert_returns(strait_set_next(set, &ready, SOON), 0);
        while (strait_try_receive(ready, messages, COUNT(messages)) > 0) {
        }
    }
}

static void end_set(void)
{
    strait_set_destroy(set);
    end_channel();
}

/* ---- a worker that runs an isolate ---- */

static struct tenant tenant;

static void make_worker(void)
{
    memset(&tenant, 0, sizeof(tenant));
    tenant.inner.message = echo;
    tenant_spawn(&tenant);
}

static void end_inherited_worker(void)
{
    strait_worker_stop(tenant.worker);
    EXPECT(strait_worker_join(tenant.worker, STRAIT_FOREVER) == -EOWNERDEAD);
    EXPECT(strait_worker_destroy(tenant.worker) == -EOWNERDEAD);
}

static void use_worker(void)
{
    size_t before = tenant.log.messages;
    tenant_post(&tenant, before, before + 1);
    dispatch_until(tenant.worker, &tenant.log, before + 1);
}

static void end_worker(void)
{
    tenant_end(&tenant);
}

/* ---- a pool and its parent ---- */

static struct strait_pool *pool;
static struct strait_parent *parent;

static int runs(struct strait_task *task)
{
    return 0;
}

static void has_run(struct strait_task *task)
{
    is_at_home();
}

static void submit(void)
{
    struct strait_task task = {.run = runs, .done = has_run};
    assert_returns(strait_task_submit(parent, &task, NULL, NULL), 0);
}

static void make_pool(void)
{
    assert_returns(strait_pool_create(&pool, NULL), 0);
    assert_returns(strait_pool_attach(pool, &parent, NULL), 0);
    submit();
}

static void end_inherited_pool(void)
{
    struct strait_parent *one_more;
    EXPECT(strait_pool_attach(pool, &one_more, NULL) == -EOWNERDEAD);
    EXPECT(strait_pool_resize(pool, 1, STRAIT_FOREVER) == -EOWNERDEAD);
    EXPECT(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == -EOWNERDEAD);
    EXPECT(strait_parent_detach(parent, STRAIT_CLOSE_CANCEL, 0) == -EOWNERDEAD);
    EXPECT(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL) == -EOWNERDEAD);
    EXPECT(strait_pool_finish(pool, parent, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER) == -EOWNERDEAD);
    EXPECT(strait_pool_destroy(pool) == -EOWNERDEAD);
    if (!TEST_TSAN) { /* it starts no thread in the child of a process with several */
        struct strait_task task = {.run = runs};
        EXPECT(strait_pool_create(&pool, NULL) == 0);
        EXPECT(strait_pool_attach(pool, &parent, NULL) == 0);
        EXPECT(strait_task_submit(parent, &task, NULL, NULL) == 0);
        EXPECT(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0);
    }
}

static void use_pool(void)
{
    unsigned before = completions;
    submit();
    assert_returns(strait_parent_wait_all(parent, SOON), 0);
    assert_true(completions > before);
}

static void end_pool(void)
{
    assert_returns(strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
}

/* ---- a worker that is a process, and a pool of such ---- */

static struct strait_process *process;
static struct strait_process_pool *processes;

static int echo_numbers(struct strait_process_port *peer, void *data, size_t size)
{
    uint64_t number;
    while (strait_process_receive(peer, &number, 1, STRAIT_FOREVER) == 1) {
        strait_process_send(peer, &number, 1, STRAIT_FOREVER);
    }
    return 0;
}

static const struct strait_process_function functions[] = {
    {.name = "echo", .entry = echo_numbers},
    {.name = "run", .run = runs},
    {.name = NULL},
};

static void make_process(void)
{
    struct strait_process_options options = {.function = "echo"};
    assert_returns(strait_process_spawn(&process, &options), 0);
}

static void end_inherited_process(void)
{
    struct strait_process_event end;
    strait_process_stop(process);
    EXPECT(strait_process_kill(process, SIGKILL) == -EOWNERDEAD);
    EXPECT(strait_process_join(process, STRAIT_FOREVER, &end) == -EOWNERDEAD);
    EXPECT(strait_process_destroy(process) == -EOWNERDEAD);
}

static void use_process(void)
{
    uint64_t number = 7;
    assert_returns(strait_process_send(strait_process_port(process), &number, 1, SOON), 1);
    assert_returns(strait_process_receive(strait_process_port(process), &number, 1, SOON), 1);
    assert_int_equal(number, 7);
}

static void end_process(void)
{
    assert_returns(strait_process_destroy(process), 0);
}

static void submit_to_process(void)
{
    struct strait_process_task task = {.task = {.name = "run", .done = has_run}};
    assert_returns(strait_process_submit(processes, &task, NULL, NULL), 0);
}

static void make_processes(void)
{
    struct strait_process_pool_options options = {.workers = 1};
    assert_returns(strait_process_pool_create(&processes, &options), 0);
    submit_to_process();
}

static void end_inherited_processes(void)
{
    EXPECT(strait_process_pool_drain(processes, STRAIT_FOREVER) == -EOWNERDEAD);
    EXPECT(strait_process_pool_destroy(processes) == -EOWNERDEAD);
}

static void use_processes(void)
{
    int32_t worker = strait_process_pool_pid(processes, 0);
    submit_to_process();
    assert_returns(strait_process_pool_drain(processes, SOON), 0);
    assert_int_equal(strait_process_pool_pid(processes, 0), worker);
}

static void end_processes(void)
{
    assert_returns(strait_process_pool_destroy(processes), 0);
}

/* ---- a remote whose job server cannot be reached ---- */

static struct strait_gearman *remote;

static void make_remote(void)
{
    struct strait_gearman_options options = {.servers = "127.0.0.1:1"};
    struct strait_process_task task = {.task = {.name = "run", .done = has_run}};
    assert_returns(strait_gearman_create(&remote, &options), 0);
    assert_returns(strait_gearman_submit(remote, &task, NULL, NULL), 0);
}

static void end_inherited_remote(void)
{
    EXPECT(strait_gearman_drain(remote, STRAIT_FOREVER) == -EOWNERDEAD);
    EXPECT(strait_gearman_destroy(remote) == -EOWNERDEAD);
}

static void use_remote(void)
{
    assert_int_equal(strait_gearman_owed(remote), 1);
    assert_returns(strait_gearman_drain(remote, 0), -ETIMEDOUT);
}

static void end_remote(void)
{
    completions = 0;
    assert_returns(strait_gearman_destroy(remote), 0);
    assert_int_equal(completions, 1);
}

/* ---- all of them ---- */

static const struct noun {
    void (*make)(void);
    void (*end_inherited)(void);
    void (*use)(void);
    void (*end)(void);
} nouns[] = {
    {make_channel, end_copies, use_channel, end_channel},
    {make_set, end_inherited_set, use_set, end_set},
    {make_worker, end_inherited_worker, use_worker, end_worker},
    {make_pool, end_inherited_pool, use_pool, end_pool},
    {make_process, end_inherited_process, use_process, end_process},
    {make_processes, end_inherited_processes, use_processes, end_processes},
    {make_remote, end_inherited_remote, use_remote, end_remote},
};

static const struct noun *inherited;

static void destructor(void)
{
    inherited->end_inherited();
    /* the sanitizers' own handlers look for threads that are not here, or wait a second */
    if (faults_seen() || TEST_ASAN || TEST_TSAN) {
        _exit(faults_seen() ? 1 : 0);
    }
}

static void exits(void *context)
{
    inherited = context;
    EXPECT(atexit(destructor) == 0);
    exit(0);
}

/* Several times: a fork may find the other threads anywhere. */
TEST(a_forks_child_ends_what_it_has_inherited)
{
    home = getpid();
    for (size_t i = 0; i < COUNT(nouns); i++) {
        struct noun noun = nouns[i];
        noun.make();
        for (int time = 0; time < 20; time++) {
            noun.use();
            fflush(NULL); /* the child's exit does it, too */
            assert_well_in_child(exits, &noun);
        }
        noun.use();
        noun.end();
    }
}

int main(int argc, char **argv)
{
    strait_process_main(argc, argv, functions);
    return tests_run();
}
