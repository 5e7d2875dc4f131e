/* SPDX-License-Identifier: MIT */
/* sandbox: under filters of system calls: one that allows what the guide lists and nothing else,
 * and others that refuse what can be done without. What was asked for and is refused is an error:
 * see the fault tests. */
#include "worker/fixture.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "strait/pool.h"

/* ---- filters ---- */

/* As listed in include/README.md. */
static const int threads_and_memory[] = {
#ifdef SYS_clone
    SYS_clone,
#endif
    SYS_clone3, SYS_mmap,           SYS_munmap,       SYS_mprotect,
    SYS_brk,    SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_set_robust_list,
    SYS_exit,   SYS_exit_group,     SYS_nanosleep,    SYS_clock_nanosleep,
#ifdef SYS_rseq
    SYS_rseq,
#endif
};
static const int always[] = {SYS_futex, SYS_gettid, SYS_getpid, SYS_clock_gettime};
static const int for_fds[] = {SYS_eventfd2,        SYS_read,          SYS_write,
                              SYS_close,           SYS_ppoll,         SYS_timerfd_create,
                              SYS_timerfd_settime, SYS_epoll_create1, SYS_epoll_ctl};
static const int done_without[] = {SYS_sched_getaffinity,
                                   SYS_sched_setaffinity,
                                   SYS_sched_getscheduler,
                                   SYS_sched_setscheduler,
                                   SYS_sched_setattr,
                                   SYS_getpriority,
                                   SYS_setpriority,
                                   SYS_prctl,
                                   SYS_membarrier,
                                   SYS_sched_yield,
                                   SYS_madvise,
                                   SYS_getcpu,
                                   SYS_openat};
/* With an openat that succeeds; fstat has had several numbers. */
static const int of_open_files[] = {
    SYS_lseek,      SYS_fcntl,
#ifdef SYS_newfstatat
    SYS_newfstatat,
#endif
#ifdef SYS_fstat
    SYS_fstat,
#endif
#ifdef SYS_getdents64
    SYS_getdents64,
#endif
};

struct filter {
    struct sock_filter steps[128];
    unsigned short length;
};

static void add(struct filter *filter, struct sock_filter step)
{
    filter->steps[filter->length++] = step;
}

static void answer(struct filter *filter, const int *calls, size_t count, unsigned action)
{
    for (size_t i = 0; i < count; i++) {
        add(filter,
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1));
        add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
    }
}

static struct filter begin_filter(void)
{
    struct filter filter = {.length = 0};
    unsigned number = offsetof(struct seccomp_data, nr);
    add(&filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number));
    return filter;
}

static void install(struct filter *filter, unsigned otherwise)
{
    add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise));
    struct sock_fprog program = {.len = filter->length, .filter = filter->steps};
    EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    EXPECT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void on_refusal(int signal, siginfo_t *info, void *context)
{
    fprintf(stderr, "system call %d is in no list\n", info->si_syscall);
    _exit(1);
}

static void catch_refusals(void)
{
    struct sigaction action = {.sa_sigaction = on_refusal, .sa_flags = SA_SIGINFO};
    EXPECT(sigaction(SIGSYS, &action, NULL) == 0);
}

/* ---- what is done inside ---- */

static void *sends_ten(void *channel)
{
    struct strait_sender sender;
    EXPECT(strait_sender_open(&sender, channel) == 0);
    for (uint64_t number = 0; number < 10; number++) {
        EXPECT(strait_send(&sender, &number, 1, STRAIT_FOREVER) == 1);
    }
    strait_sender_close(&sender);
    return NULL;
}

static void use_channels(void)
{
    for (int mode = STRAIT_WAIT_PARK; mode <= STRAIT_WAIT_FD; mode++) {
        struct strait_channel_options options = {.capacity = 1,
                                                 .message_size = sizeof(uint64_t),
                                                 .sender = (enum strait_wait)mode,
                                                 .receiver = (enum strait_wait)mode};
        struct strait_channel *channel;
        struct strait_receiver receiver;
        pthread_t thread;
        uint64_t number;
        EXPECT(strait_channel_create(&channel, &options) == 0);
        EXPECT(strait_receiver_open(&receiver, channel) == 0);
        EXPECT(pthread_create(&thread, NULL, sends_ten, channel) == 0);
        for (uint64_t expected = 0; expected < 10; expected++) {
            EXPECT(strait_receive(&receiver, &number, 1, strait_in_ms(60000)) == 1);
            EXPECT(number == expected);
        }
        EXPECT(strait_receive(&receiver, &number, 1, strait_in_ms(60000)) == -EPIPE);
        EXPECT(pthread_join(thread, NULL) == 0);
        strait_channel_destroy(channel, NULL, NULL);
    }
}

static void use_a_worker(struct strait_status *status)
{
    struct event_log log;
    struct strait_worker_options options = logged(&log, echo_entry);
    struct strait_worker *worker = NULL;
    EXPECT(strait_worker_spawn(&worker, &options) == 0);
    strait_worker_status(worker, status);
    send_number(worker, 0);
    dispatch_until(worker, &log, 1);
    strait_worker_stop(worker);
    dispatch_to_exit(worker);
    EXPECT(strait_worker_join(worker, strait_in_ms(60000)) == 0);
    EXPECT(strait_worker_destroy(worker) == 0);
}

static int yields(struct strait_task *task)
{
    sched_yield();
    return 0;
}

/* Grows and shrinks, waits in a loop and without, and gives its pages back. */
static void use_a_pool(const char **reason)
{
    struct strait_pool_options options = {.workers = 2, .workers_max = 4, .idle_timeout = 1};
    struct strait_pool_worker_stats stats = {.online = false};
    struct strait_parent *parents[2];
    struct strait_pool *pool = NULL;
    struct strait_task task = {.run = yields};
    EXPECT(strait_pool_create(&pool, &options) == 0);
    for (unsigned round = 0; round < 4; round++) {
        struct strait_parent_options waits[] = {{.wait = STRAIT_WAIT_FD},
                                                {.wait = STRAIT_WAIT_PARK}};
        for (int i = 0; i < 2; i++) {
            EXPECT(strait_pool_attach(pool, &parents[i], &waits[i]) == 0);
            for (int tasks = 0; tasks < 500; tasks++) {
                EXPECT(strait_task_submit(parents[i], &task, NULL, NULL) == 0);
            }
        }
        while (strait_parent_owed(parents[0]) > 0) {
            EXPECT(readable(strait_parent_fd(parents[0]), -1));
            EXPECT(strait_parent_dispatch(parents[0], 0) >= 0);
        }
        for (int i = 0; i < 2; i++) {
            EXPECT(strait_parent_detach(parents[i], STRAIT_CLOSE_DRAIN, strait_in_ms(60000)) == 0);
        }
    }
    for (unsigned i = 0; !stats.online; i++) { /* any of them may have ended, idle as it was */
        strait_pool_worker_stats(pool, i % options.workers_max, &stats);
        sched_yield();
    }
    *reason = stats.reason;
    EXPECT(strait_pool_resize(pool, 1, strait_in_ms(60000)) == 0);
    EXPECT(strait_pool_finish(pool, NULL, STRAIT_CLOSE_DRAIN, strait_in_ms(60000)) == 0);
}

struct seen {
    struct strait_status status;
    const char *reason;
};

static struct seen use_all(void)
{
    struct seen seen = {.reason = NULL};
    use_channels();
    use_a_worker(&seen.status);
    use_a_pool(&seen.reason);
    return seen;
}

/* ---- tests ---- */

struct sandbox {
    int call;   /* that is refused */
    int error;  /* 0: none is */
    bool later; /* than the first use */
};

/* With the filter's help, allows what is listed alone. */
static void runs_on_what_is_listed(void *context)
{
    const struct sandbox *sandbox = context;
    struct filter filter = begin_filter();
    const unsigned refuse = SECCOMP_RET_ERRNO | (unsigned)sandbox->error;
    catch_refusals();
    answer(&filter, threads_and_memory, COUNT(threads_and_memory), SECCOMP_RET_ALLOW);
    answer(&filter, always, COUNT(always), SECCOMP_RET_ALLOW);
    answer(&filter, for_fds, COUNT(for_fds), SECCOMP_RET_ALLOW);
    answer(&filter, done_without, COUNT(done_without), sandbox->error ? refuse : SECCOMP_RET_ALLOW);
    answer(&filter, of_open_files, COUNT(of_open_files), SECCOMP_RET_ALLOW);
    install(&filter, SECCOMP_RET_TRAP);
    use_all();
}

static void runs_without(void *context)
{
    const struct sandbox *sandbox = context;
    struct filter filter = begin_filter();
    if (sandbox->later) {
        use_all();
    }
    answer(&filter, &sandbox->call, 1, SECCOMP_RET_ERRNO | (unsigned)sandbox->error);
    install(&filter, SECCOMP_RET_ALLOW);
    struct seen seen = use_all();
    bool tells = sandbox->call == SYS_sched_setaffinity || sandbox->call == SYS_prctl;
    EXPECT(seen.status.refused == tells);
    EXPECT(sandbox->call != SYS_sched_setaffinity || seen.status.cpu == -1);
    EXPECT(!tells || strstr(seen.reason, "not as it should be"));
}

static void expect_well(void (*body)(void *), struct sandbox sandbox)
{
    if (TEST_TSAN || TEST_ASAN) {
        skip(); /* they make system calls of their own */
    }
    assert_well_in_child(body, &sandbox);
}

static const int errors[] = {EPERM, ENOSYS};

TEST(the_calls_that_are_listed_are_enough)
{
    expect_well(runs_on_what_is_listed, (struct sandbox){.error = 0});
    for (size_t i = 0; i < COUNT(errors); i++) {
        expect_well(runs_on_what_is_listed, (struct sandbox){.error = errors[i]});
    }
}

TEST(each_call_that_is_not_essential_is_done_without)
{
    for (size_t i = 0; i < COUNT(done_without) * COUNT(errors) * 2; i++) {
        expect_well(runs_without, (struct sandbox){done_without[i / 4], errors[i / 2 % 2], i % 2});
    }
}
