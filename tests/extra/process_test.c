/* SPDX-License-Identifier: MIT */
/* process: a worker that is a process: its events, whatever way it ends; what becomes of messages;
 * its limits; what it has of its parent. */
#include "extra/process_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- what the workers run ---- */

enum end { RETURNS, FAILS, CALLS_EXIT, SEGFAULTS, ABORTS, IS_KILLED };

/* Receives so many, sends so many, and ends. */
struct orders {
    enum end end;
    uint64_t receives;
    uint64_t sends;
};

static int end_entry(struct strait_process_port *port, void *data, size_t size)
{
    const struct orders *orders = data;
    uint64_t number;
    for (uint64_t i = 0; i < orders->receives; i++) {
        strait_process_receive(port, &number, 1, STRAIT_FOREVER);
    }
    for (uint64_t i = 0; i < orders->sends; i++) {
        strait_process_send(port, &i, 1, STRAIT_FOREVER);
    }
    switch (orders->end) {
    case RETURNS:
        return 0;
    case FAILS:
        return -EDOM;
    case CALLS_EXIT:
        exit(3);
    case SEGFAULTS:
        return raise_for_good(SIGSEGV);
    case ABORTS:
        return raise_for_good(SIGABRT);
    case IS_KILLED:
        return raise_for_good(SIGKILL);
    }
    return -EILSEQ;
}

/* Says which descriptors it has, besides the one that it looks with. */
static int census_entry(struct strait_process_port *port, void *data, size_t size)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        uint64_t number = strtoul(entry->d_name, NULL, 10);
        if (entry->d_name[0] != '.' && (int)number != dirfd(dir)) {
            strait_process_send(port, &number, 1, STRAIT_FOREVER);
        }
    }
    closedir(dir);
    return 0;
}

enum limited { MEMORY, CPU, DESCRIPTORS, PRIVILEGES, SYSTEM_CALLS };

/* 0: it is not limited. */
static int limited_entry(struct strait_process_port *port, void *data, size_t size)
{
    switch (*(enum limited *)data) {
    case MEMORY: {
        void *much = mmap(NULL, (size_t)1 << 33, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return much == MAP_FAILED ? -errno : 0;
    }
    case CPU:
        for (volatile unsigned i = 0;; i++) {
        }
    case DESCRIPTORS:
        return dup(0) < 0 || dup(0) < 0 ? -errno : 0;
    case PRIVILEGES:
        return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? -EPERM : 0;
    case SYSTEM_CALLS:
        return syscall(SYS_getpgid, 0) < 0 ? -errno : 0;
    }
    return -EILSEQ;
}

static const struct strait_process_function functions[] = {
    {.name = "echo", .entry = echo_numbers},
    {.name = "end", .entry = end_entry},
    {.name = "census", .entry = census_entry},
    {.name = "limited", .entry = limited_entry},
    {.name = NULL},
};

/* ---- what the parent is told ---- */

TEST(an_echo_and_its_end)
{
    struct strait_process_options options = {.size = 0};
    struct strait_process *process = spawn_process(&options, "echo");
    struct strait_process_port *port = strait_process_port(process);
    assert_int_equal(getpgid(strait_process_pid(process)), strait_process_pid(process));
    for (uint64_t i = 0; i < 100; i++) {
        assert_returns(strait_process_send(port, &i, 1, 0), 1);
    }
    strait_process_close(port);
    assert_returns(strait_process_send(port, &told.sum, 1, 0), -EPIPE);
    loop_to_exit(process);
    assert_int_equal(told.online, 1);
    assert_int_equal(told.heard, 100);
    assert_true(told.in_order);
    assert_int_equal(told.exit.reason, STRAIT_EXIT_RETURNED);
    assert_int_equal(told.exit.code, 0);
    assert_returns(strait_process_kill(process, SIGKILL), -EPIPE);
    destroy_process(process);
}

TEST(every_end_is_told_behind_what_was_sent)
{
    static const struct {
        enum end end;
        enum strait_exit_reason reason;
        int code;
        int signal;
    } ends[] = {
        {RETURNS, STRAIT_EXIT_RETURNED, 0, 0},
        {FAILS, STRAIT_EXIT_FAILED, -EDOM, 0},
        {CALLS_EXIT, STRAIT_EXIT_FAILED, 3, 0},
        {SEGFAULTS, STRAIT_EXIT_FAILED, -EINTR, SIGSEGV},
        {ABORTS, STRAIT_EXIT_FAILED, -EINTR, SIGABRT},
        {IS_KILLED, STRAIT_EXIT_FAILED, -EINTR, SIGKILL},
    };
    for (size_t i = 0; i < COUNT(ends); i++) {
        struct orders orders = {.end = ends[i].end, .sends = 1000};
        struct strait_process_options options = {
            .data = &orders, .data_size = sizeof(orders), .to_parent_capacity = 7};
        struct strait_process *process = spawn_process(&options, "end");
        memset(&orders, 0xff, sizeof(orders)); /* it has a copy */
        loop_to_exit(process);
        assert_int_equal(told.heard, 1000);
        assert_true(told.in_order);
        assert_int_equal(told.exit.reason, ends[i].reason);
        assert_int_equal(told.exit.code, ends[i].code);
        assert_int_equal(told.exit.signal, ends[i].signal);
        destroy_process(process);
    }
}

TEST(a_stop_ends_waits)
{
    struct strait_process_options options = {.size = 0};
    struct strait_process *process = spawn_process(&options, "echo");
    sleep_ns((long)draw_below(&(uint64_t){(uint64_t)strait_now()}, 3000000));
    strait_process_stop(process);
    loop_to_exit(process);
    assert_int_equal(told.exit.reason, STRAIT_EXIT_STOPPED);
    destroy_process(process);
}

static uint64_t dropped_down;
static uint64_t dropped_up;

static void drop_down(void *message, void *context)
{
    assert_int_equal(number_of(message), 40 + dropped_down);
    dropped_down++;
}

static void drop_up(void *message, void *context)
{
    assert_int_equal(number_of(message), dropped_up);
    dropped_up++;
}

TEST(what_nobody_received_is_dropped_once)
{
    struct orders orders = {.end = IS_KILLED, .receives = 40, .sends = 5};
    struct strait_process_options options = {.data = &orders,
                                             .data_size = sizeof(orders),
                                             .to_worker_capacity = 100,
                                             .drop_to_worker = drop_down,
                                             .drop_to_parent = drop_up};
    struct strait_process *process = spawn_process(&options, "end");
    int32_t pid = strait_process_pid(process);
    struct strait_process_event end;
    siginfo_t info;
    dropped_down = 0;
    dropped_up = 0;
    assert_int_equal(kill(pid, SIGSTOP), 0); /* it receives nothing yet */
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT), 0);
    for (uint64_t i = 0; i < 100; i++) {
        assert_returns(strait_process_send(strait_process_port(process), &i, 1, 0), 1);
    }
    assert_returns(strait_process_send(strait_process_port(process), &told.heard, 1, 0), -EAGAIN);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_returns(strait_process_join(process, STRAIT_FOREVER, &end), 0);
    assert_int_equal(end.signal, SIGKILL);
    assert_returns(strait_process_send(strait_process_port(process), &told.heard, 1, 0), -EPIPE);
    destroy_process(process);
    assert_int_equal(dropped_down, 60);
    assert_int_equal(dropped_up, 5);
}

TEST(a_parent_may_block)
{
    struct strait_process_options options = {.function = "echo", .to_worker_capacity = 3};
    struct strait_process *process = NULL;
    uint64_t number = 0;
    assert_returns(strait_process_spawn(&process, &options), 0);
    struct strait_process_port *port = strait_process_port(process);
    assert_returns(strait_process_receive(port, &number, 1, 0), -EAGAIN);
    assert_returns(strait_process_receive(port, &number, 1, strait_deadline(3000000)), -ETIMEDOUT);
    assert_returns(strait_process_dispatch(process, 0), -EINVAL);
    for (uint64_t i = 0; i < scaled(2000); i++) {
        uint64_t many[5] = {i, i, i, i, i};
        assert_returns(strait_process_send(port, many, 5, STRAIT_FOREVER), 5);
        for (int k = 0; k < 5; k++) {
            assert_returns(strait_process_receive(port, &number, 1, STRAIT_FOREVER), 1);
            assert_int_equal(number, i);
        }
        progress_made();
    }
    struct strait_process_event end;
    assert_returns(strait_process_join(process, strait_deadline(1000000), &end), -ETIMEDOUT);
    assert_returns(strait_process_kill(process, SIGKILL), 0);
    assert_returns(strait_process_receive(port, &number, 1, STRAIT_FOREVER), -EPIPE);
    assert_returns(strait_process_join(process, STRAIT_FOREVER, &end), 0);
    assert_int_equal(end.signal, SIGKILL);
    destroy_process(process);
}

/* The loop's wake-up must not be lost in a wait that the parent makes beside it. */
TEST(a_wait_leaves_the_loop_armed)
{
    struct strait_process_options options = {.to_parent_capacity = 1};
    struct strait_process *process = spawn_process(&options, "echo");
    struct strait_process_port *port = strait_process_port(process);
    uint64_t number = 0;
    for (uint64_t i = 0; i < scaled(300); i++) {
        while (readable(strait_process_fd(process), 0)) {
            strait_process_dispatch(process, 1);
        }
        uint64_t before = told.heard;
        assert_returns(strait_process_send(port, &number, 1, 0), 1);
        assert_returns(strait_process_receive(port, &number, 1, STRAIT_FOREVER), 1);
        assert_returns(strait_process_send(port, &number, 1, 0), 1);
        while (told.heard == before) {
            assert_true(readable(strait_process_fd(process), 60000));
            strait_process_dispatch(process, 1);
        }
        assert_int_equal(told.heard, before + 1);
    }
    destroy_process(process);
}

/* ---- what it has, and may ---- */

TEST(it_has_one_descriptor_of_its_own)
{
    struct strait_process_options options = {.size = 0};
    int leaky = dup(0); /* not close-on-exec */
    struct strait_process *process = spawn_process(&options, "census");
    close(leaky);
    loop_to_exit(process);
    destroy_process(process);
    assert_int_equal(told.heard, 4);
    assert_int_equal(told.sum, 0 + 1 + 2 + 4);
}

TEST(limits_hold)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct {
        enum limited what;
        struct strait_process_limits limits;
        int code;
        int signal;
    } cases[] = {
        {MEMORY, {.address_space = (size_t)1 << 30}, -ENOMEM, 0},
        {CPU, {.cpu_seconds = 1}, -EINTR, SIGXCPU},
        {DESCRIPTORS, {.descriptors = 5}, -EMFILE, 0},
        {PRIVILEGES, {.no_new_privs = true}, -EPERM, 0},
        {SYSTEM_CALLS, {.filter = filter, .filter_count = COUNT(filter)}, -EXDEV, 0},
        {PRIVILEGES, {.cpu_seconds = 0}, 0, 0},
        {SYSTEM_CALLS, {.cpu_seconds = 0}, 0, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        if ((TEST_ASAN || TEST_TSAN) && (cases[i].what == MEMORY || cases[i].what == DESCRIPTORS)) {
            continue; /* a sanitizer needs more itself */
        }
        struct strait_process_options options = {
            .data = &cases[i].what, .data_size = sizeof(cases[i].what), .limits = cases[i].limits};
        struct strait_process *process = spawn_process(&options, "limited");
        loop_to_exit(process);
        assert_int_equal(told.exit.code, cases[i].code);
        assert_int_equal(told.exit.signal, cases[i].signal);
        destroy_process(process);
    }
}

TEST(what_cannot_be_spawned)
{
    static const char long_name[] = "0123456789012345678901234567890123456789";
    const struct {
        struct strait_process_options options;
        int error;
    } cases[] = {
        {{.function = NULL}, -EINVAL},
        {{.function = ""}, -EINVAL},
        {{.size = offsetof(struct strait_process_options, event) + 1, .function = "echo"}, -EINVAL},
        {{.function = long_name}, -EINVAL},
        {{.function = "echo", .data_size = 1}, -EINVAL},
        {{.function = "echo", .data = "", .data_size = STRAIT_PROCESS_DATA_MAX + 1}, -EINVAL},
        {{.function = "echo", .to_parent_size = STRAIT_MESSAGE_SIZE_MAX + 1}, -EINVAL},
        {{.function = "echo", .limits = {.filter_count = 1}}, -EINVAL},
        {{.function = "echo", .program = "/nonexistent"}, -ENOENT},
        {{.function = "echo", .program = "/dev/null"}, -EACCES},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct strait_process *process = NULL;
        assert_returns(strait_process_spawn(&process, &cases[i].options), cases[i].error);
        assert_null(process);
    }
    assert_returns(strait_process_destroy(NULL), 0);
    struct strait_process_options options = {.size = 0};
    struct strait_process *process = spawn_process(&options, "unknown");
    loop_to_exit(process);
    assert_int_equal(told.online, 0);
    assert_int_equal(told.exit.code, -ENOENT);
    destroy_process(process);
    options.program = "/bin/true"; /* it does not call strait_process_main */
    process = spawn_process(&options, "echo");
    loop_to_exit(process);
    assert_int_equal(told.online, 0);
    destroy_process(process);
}

int main(int argc, char **argv)
{
    strait_process_main(argc, argv, functions);
    return tests_run();
}
