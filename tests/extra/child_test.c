/* SPDX-License-Identifier: MIT */
/* What a program that a worker starts inherits, and what strait_child_reset takes from it. */
#include "extra/fixture.h"

#include "strait/extra/child.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* What a child finds, as its program would. */
struct found {
    bool blocked; /* SIGTERM is */
    cpu_set_t cpus;
    int class;
    int nice;
    int result; /* of the reset */
};

static void look(struct found *found)
{
    sigset_t signals;
    sigprocmask(SIG_SETMASK, NULL, &signals);
    found->blocked = sigismember(&signals, SIGTERM) == 1;
    sched_getaffinity(0, sizeof(found->cpus), &found->cpus);
    found->class = sched_getscheduler(0);
    found->nice = getpriority(PRIO_PROCESS, 0);
}

/* Forks, and lets the child tell what it finds. */
static void fork_and_look(bool reset, struct found *found)
{
    int fds[2];
    EXPECT(pipe(fds) == 0);
    pid_t child = fork();
    if (child == 0) {
        errno = ERRNO_MARK;
        found->result = reset ? strait_child_reset() : 0;
        bool kept = errno == ERRNO_MARK;
        look(found);
        _exit(kept && write(fds[1], found, sizeof(*found)) == sizeof(*found) ? 0 : 1);
    }
    int status = 1;
    EXPECT(read(fds[0], found, sizeof(*found)) == sizeof(*found));
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    close(fds[0]);
    close(fds[1]);
}

static int forks_entry(struct strait_port *port, void *data)
{
    struct found *found = data;
    fork_and_look(false, &found[0]);
    fork_and_look(true, &found[1]);
    return 0;
}

TEST(a_reset_gives_a_child_what_the_process_has)
{
    struct found process;
    struct found found[2];
    int cpu = sched_getcpu();
    memset(found, 0, sizeof(found));
    look(&process);
    struct strait_worker_options options = {.entry = forks_entry,
                                            .data = found,
                                            .pin = STRAIT_PIN_CPU,
                                            .cpu = cpu,
                                            .schedule = STRAIT_SCHEDULE_BATCH,
                                            .nice = 3};
    join_and_destroy(spawn(&options));
    assert_true(found[0].blocked);
    assert_int_equal(CPU_COUNT(&found[0].cpus), 1);
    assert_true(CPU_ISSET((size_t)cpu, &found[0].cpus));
    assert_int_equal(found[0].class, SCHED_BATCH);
    assert_int_equal(found[0].nice, process.nice + 3);
    assert_false(found[1].blocked);
    assert_true(CPU_EQUAL(&found[1].cpus, &process.cpus));
    assert_int_equal(found[1].class, process.class);
    assert_true(found[1].result == 0 || found[1].result == -EPERM || found[1].result == -EACCES);
    assert_true(found[1].nice == process.nice || found[1].result != 0);
}
