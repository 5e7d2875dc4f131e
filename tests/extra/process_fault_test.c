/* SPDX-License-Identifier: MIT */
/* process_fault: workers that are processes, and a pool of them, where the system says no: once, or
 * for a while. */
#include "extra/process_fixture.h"
#include "faults.h"

#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* In the environment: the system call that workers are refused; their tasks need not die any more.
 */
#define REFUSED "STRAIT_TEST_REFUSED"
#define GO_ON "STRAIT_TEST_GO_ON"

/* ---- what the workers run ---- */

/* So late that who waits for it sleeps. */
static int echo_late(struct strait_process_port *port, void *data, size_t size)
{
    uint64_t number;
    while (strait_process_receive(port, &number, 1, STRAIT_FOREVER) == 1) {
        sleep_ns(2000000);
        strait_process_send(port, &number, 1, STRAIT_FOREVER);
    }
    return 0;
}

static int do_nothing(struct strait_task *task)
{
    return 0;
}

static int die_at_first(struct strait_task *task)
{
    return getenv(GO_ON) ? 0 : raise(SIGKILL);
}

static const struct strait_process_function functions[] = {{.name = "echo", .entry = echo_numbers},
                                                           {.name = "late", .entry = echo_late},
                                                           {.name = "nothing", .run = do_nothing},
                                                           {.name = "die", .run = die_at_first},
                                                           {.name = NULL}};

/* ---- nothing is left: the harness counts threads and descriptors ---- */

static void assert_nothing_left(void)
{
    struct shared found[SHARED_MOST];
    assert_int_equal(find_shared(found), 0);
    assert_int_equal(waitid(P_ALL, 0, &(siginfo_t){.si_pid = 0}, WEXITED | WNOHANG | WNOWAIT), -1);
    assert_int_equal(errno, ECHILD);
}

/* ---- each call fails once ---- */

static int bounce(struct strait_process_port *port, size_t times)
{
    uint64_t back = 0;
    bool good = true;
    for (uint64_t i = 1; good && i <= times; i++) {
        good = strait_process_send(port, &i, 1, STRAIT_FOREVER) == 1 &&
               strait_process_receive(port, &back, 1, STRAIT_FOREVER) == 1 && back == i;
        progress_made();
    }
    return good ? 0 : -EPROTO;
}

/* The error, and errno, as they were. */
static int with_nothing_left(int error)
{
    int saved = errno;
    assert_nothing_left();
    errno = saved;
    return error;
}

static int create_process(void)
{
    struct strait_process *process = NULL;
    struct strait_process_options options = {.function = "echo"};
    int error = strait_process_spawn(&process, &options);
    if (error) {
        assert_null(process);
    } else {
        error = bounce(strait_process_port(process), 3);
        strait_process_destroy(process);
    }
    return with_nothing_left(error);
}

TEST(a_process_fails_cleanly)
{
    static const unsigned at_least[FUNCTIONS] = {
        [POSIX_MEMALIGN] = 2, [EVENTFD] = 1,    [EPOLL_CREATE] = 1,        [EPOLL_CTL] = 2,
        [MEMFD_CREATE] = 1,   [FCNTL] = 3,      [FALLOCATE] = 1,           [PWRITEV] = 1,
        [MMAP] = 3,           [PIDFD_OPEN] = 1, [POSIX_SPAWN_ADDDUP2] = 2, [POSIX_SPAWN] = 1};
    fail_everything(create_process, at_least, FUNCTIONS);
}

static int create_pool(void)
{
    struct strait_process_pool_options options = {.workers = 2, .payload_max = 100};
    int error = strait_process_pool_create(&pool, &options);
    if (!error) {
        strait_process_pool_destroy(pool);
    }
    return with_nothing_left(error);
}

TEST(a_pool_of_processes_fails_cleanly)
{
    static const unsigned at_least[FUNCTIONS] = {
        [POSIX_MEMALIGN] = 5, [EPOLL_CREATE] = 3, [EPOLL_CTL] = 7, [TIMERFD_CREATE] = 1,
        [MMAP] = 6,           [POSIX_SPAWN] = 2,  [PIDFD_OPEN] = 2};
    fail_everything(create_pool, at_least, FUNCTIONS);
}

/* ---- no worker can be had for a while ---- */

static int submit_late(struct outcome *outcome, const char *name, unsigned retries,
                       int64_t finish_by)
{
    struct strait_process_submit_options how = {.retries = retries, .finish_by = finish_by};
    return submit(outcome, name, 0, &how, NULL);
}

static void assert_outcome(const struct outcome *outcome, enum strait_task_status status,
                           int signal, unsigned runs)
{
    assert_int_equal(outcome->completions, 1);
    assert_int_equal(outcome->status, status);
    assert_int_equal(outcome->signal, signal);
    assert_int_equal(outcome->runs, runs);
}

/* The only worker dies in a task, and three attempts at least to replace it fail. */
static void live_through_a_lack(enum function function, unsigned retries)
{
    struct outcome first;
    struct outcome dies;
    struct outcome waits;
    struct outcome expires;
    struct outcome refused;
    unsetenv(GO_ON); /* and a worker whose environment does not have it */
    assert_int_equal(kill(strait_process_pool_pid(pool, 0), SIGKILL), 0);
    assert_returns(submit_late(&first, "nothing", 1, 0), 0);
    while (first.completions == 0) {
        pool_turn();
    }
    assert_returns(submit_late(&dies, "die", retries, 0), 0);
    assert_returns(submit_late(&waits, "nothing", 0, 0), 0);
    assert_returns(submit_late(&expires, "nothing", 0, strait_deadline(30000000)), 0);
    arm_fault(function, EVERY);
    while (counts.hits < 3 || expires.completions == 0 ||
           strait_process_pool_owed(pool) > 1 + retries) {
        pool_turn();
    }
    assert_int_equal(strait_process_pool_pid(pool, 0), 0);
    assert_returns(submit_late(&refused, "nothing", 0, 0), retries ? -EAGAIN : 0);
    assert_outcome(&expires, STRAIT_TASK_EXPIRED, 0, 0);
    assert_int_equal(waits.completions, 0);
    setenv(GO_ON, "1", 1);
    arm_fault(function, 0);
    assert_returns(strait_process_pool_drain(pool, STRAIT_FOREVER), 0);
    assert_outcome(&waits, STRAIT_TASK_DONE, 0, 1);
    assert_outcome(&dies, retries ? STRAIT_TASK_DONE : STRAIT_TASK_FAILED, retries ? 0 : SIGKILL,
                   1 + retries);
    assert_int_equal(refused.completions, retries ? 0 : 1);
}

TEST(a_pool_goes_on_when_it_can)
{
    static const enum function lacking[] = {
        POSIX_MEMALIGN, EVENTFD, EPOLL_CREATE, EPOLL_CTL,           MEMFD_CREATE, FCNTL,
        FALLOCATE,      PWRITEV, MMAP,         POSIX_SPAWN_ADDDUP2, POSIX_SPAWN,  PIDFD_OPEN};
    struct strait_process_pool_options options = {.workers = 1, .queue_limit = 2};
    assert_returns(strait_process_pool_create(&pool, &options), 0);
    for (unsigned i = 0; i < COUNT(lacking); i++) {
        live_through_a_lack(lacking[i], i % 2);
    }
    assert_returns(strait_process_pool_destroy(pool), 0);
    assert_nothing_left();
}

/* ---- workers that are refused something; of membarrier(2), there are fences and naps instead ----
 */

static void refuse_to_workers(int call)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", call);
    setenv(REFUSED, number, 1);
}

static void echo_without_membarrier(void)
{
    struct strait_process *process = NULL;
    struct strait_process_options options = {.function = "echo"};
    assert_returns(strait_process_spawn(&process, &options), 0);
    assert_int_equal(bounce(strait_process_port(process), 200), 0);
    strait_process_close(strait_process_port(process));
    assert_returns(strait_process_join(process, STRAIT_FOREVER, NULL), 0);
    assert_returns(strait_process_destroy(process), 0);
}

TEST(a_parent_may_have_no_membarrier)
{
    if (alone(__func__, NULL)) {
        refuse_membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, EPERM);
        echo_without_membarrier();
        assert_int_equal(counts.hits, 1);
    }
}

TEST(a_worker_may_have_no_membarrier)
{
    refuse_to_workers(SYS_membarrier);
    echo_without_membarrier();
    unsetenv(REFUSED);
}

/* It had registered: who sends passes no fence, so who sleeps naps first. */
TEST(membarrier_may_be_refused_later)
{
    if (alone(__func__, NULL)) {
        assert_int_equal(create_process(), 0);
        refuse_membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_GLOBAL, EPERM);
        struct strait_process *process = NULL;
        struct strait_process_options options = {.function = "late"};
        assert_returns(strait_process_spawn(&process, &options), 0);
        while (counts.naps == 0) { /* a short wait only spins */
            assert_int_equal(bounce(strait_process_port(process), 1), 0);
            progress_made();
        }
        assert_returns(strait_process_destroy(process), 0);
    }
}

/* As a sandbox does: the worker cannot begin, and says so. */
TEST(a_worker_that_cannot_begin_exits)
{
    static const int calls[] = {SYS_pread64, SYS_mmap, SYS_prctl, SYS_prlimit64};
    for (size_t i = 0; i < COUNT(calls); i++) {
        if (RUNTIME_INTERFERES && calls[i] == SYS_mmap) {
            continue; /* it maps first, and has an exit code of its own */
        }
        struct strait_process *process = NULL;
        struct strait_process_event end;
        struct strait_process_options options = {.function = "echo",
                                                 .limits = {.cpu_seconds = 1000}};
        refuse_to_workers(calls[i]);
        assert_returns(strait_process_spawn(&process, &options), 0);
        assert_returns(strait_process_join(process, STRAIT_FOREVER, &end), 0);
        assert_int_equal(end.code, 127);
        assert_returns(strait_process_destroy(process), 0);
    }
    unsetenv(REFUSED);
}

/* A worker's, before it is one. */
static void be_refused(int argc)
{
    const char *number = getenv(REFUSED);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number ? (unsigned)atoi(number) : 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT(filter), .filter = filter};
    if (argc == 2 && number) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
    }
}

int main(int argc, char **argv)
{
    be_refused(argc);
    strait_process_main(argc, argv, functions);
    return tests_run();
}
