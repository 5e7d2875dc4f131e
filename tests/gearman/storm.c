/* SPDX-License-Identifier: MIT */
/*
 * storm [--seconds N]: two job servers and three hosts, processes of their own on
 * 127.0.0.1, are killed, stopped and started again at random moments, while tasks are submitted
 * without end, and some of them cancelled or late. At the end each has completed exactly once, with
 * the right answer, and nothing is left: no task, no process, no descriptor. 20 seconds without an
 * option. Prints one table; exits with 1 if anything in it is wrong, with 77 without gearmand.
 *
 * storm --host SERVERS FD: a host. FD is of the memory in which it notes what it runs.
 */
#include "gearman/fixture.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "strait_gearman.h"

#define QUEUES 2
#define HOSTS 3
#define ACTORS (QUEUES + HOSTS)
#define OWED 128u
#define PAYLOAD 64
#define WINDOW (1u << 16) /* no two owed tasks have numbers that lie further apart */

/* What travels in a task's data. */
struct order {
    uint64_t number;
    uint64_t answer;
    uint32_t us; /* that it takes */
};

/* Of all processes. */
struct notes {
    _Atomic uint64_t again;        /* runs of a task that had been run before */
    _Atomic uint64_t last[WINDOW]; /* the number of the task that was run there last */
};

static struct notes *notes;

static uint64_t answer_to(uint64_t number)
{
    return mix(number);
}

/* ---- a host ---- */

static int work(struct strait_task *task)
{
    struct strait_process_task *whole = (struct strait_process_task *)(void *)task;
    struct order order;
    memcpy(&order, task->data, sizeof(order));
    if (atomic_exchange(&notes->last[order.number % WINDOW], order.number) == order.number) {
        atomic_fetch_add(&notes->again, 1);
    }
    sleep_ns(order.us * 1000L);
    if (strait_process_cancelled(task)) {
        return -ECANCELED;
    }
    order.answer = answer_to(order.number);
    memcpy(task->data, &order, sizeof(order));
    for (size_t i = 0; i < whole->payload_size; i++) {
        ((unsigned char *)whole->payload)[i]++;
    }
    return 0;
}

static void map_notes(int fd)
{
    notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(notes != MAP_FAILED);
}

static int be_host(const char *servers, int fd)
{
    static const struct strait_process_function functions[] = {{.name = "work", .run = work},
                                                               {.name = NULL}};
    struct strait_pool *pool;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    map_notes(fd);
    if (strait_pool_create(&pool, &(struct strait_pool_options){.workers = 2}) != 0) {
        return EXIT_FAILURE;
    }
    int error = strait_gearman_serve(
        pool, functions,
        &(struct strait_gearman_serve_options){.servers = servers, .payload_max = PAYLOAD});
    strait_pool_finish(pool, NULL, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
    return error ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- who dies ---- */

enum fate { RUNS, STOPPED, DEAD };

struct actor {
    struct queue queue; /* of a host, the process alone */
    bool is_host;
    enum fate fate;
    int64_t until; /* of what it is in now */
};

static struct actor actors[ACTORS];
static char servers[QUEUES * sizeof(actors[0].queue.name)];
static int notes_fd;
static uint64_t seed;
static unsigned killed[2]; /* servers, hosts */
static unsigned stopped[2];
static unsigned drained; /* hosts that ended well */

static int64_t in_ms(size_t from, size_t to)
{
    return strait_deadline((int64_t)(from + draw_below(&seed, to - from)) * MS);
}

static void start(struct actor *actor)
{
    pid_t parent = getpid();
    if (!actor->is_host) {
        queue_start(&actor->queue);
    } else {
        char fd[16];
        snprintf(fd, sizeof(fd), "%d", notes_fd);
        actor->queue.pid = fork();
        assert_true(actor->queue.pid >= 0);
        if (actor->queue.pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == parent) {
                execl("/proc/self/exe", "storm", "--host", servers, fd, (char *)NULL);
            }
            _exit(127);
        }
    }
    actor->fate = RUNS;
    actor->until = in_ms(50, 2000);
}

/* A host that was asked to stop has answered what it had. */
static void end_well(struct actor *actor)
{
    int status;
    kill(actor->queue.pid, SIGTERM);
    assert_int_equal(waitpid(actor->queue.pid, &status, 0), actor->queue.pid);
    assert_int_equal(status, 0);
    actor->queue.pid = 0;
    drained++;
}

/* A host that drains waits for servers that are stopped, as long as the protocol says. */
static bool all_queues_run(void)
{
    bool all = true;
    for (unsigned i = 0; i < QUEUES; i++) {
        all = all && actors[i].fate == RUNS;
    }
    return all;
}

/* Something happens to it, or is over. */
static void strike(struct actor *actor)
{
    size_t what = draw_below(&seed, 6);
    if (actor->fate == STOPPED) {
        kill(actor->queue.pid, SIGCONT);
        actor->fate = RUNS;
        actor->until = in_ms(50, 2000);
    } else if (actor->fate == DEAD) {
        start(actor);
    } else if (what == 0) {
        kill(actor->queue.pid, SIGSTOP);
        stopped[actor->is_host]++;
        actor->fate = STOPPED;
        /* at times longer than a silent server is borne */
        actor->until = in_ms(10, draw_below(&seed, 4) ? 500 : 6000);
    } else if (what == 1 && actor->is_host && all_queues_run()) {
        end_well(actor);
        actor->fate = DEAD;
        actor->until = in_ms(1, 300);
    } else {
        kill(actor->queue.pid, SIGKILL);
        queue_await(&actor->queue);
        killed[actor->is_host]++;
        actor->fate = DEAD;
        actor->until = in_ms(1, 500);
    }
}

/* ---- tasks ---- */

struct owed {
    uint64_t number; /* 0: none */
    strait_task_id id;
    bool cancelled;
    bool limited; /* has a finish_by */
};

static struct strait_gearman *remote;
static struct owed owed[WINDOW];
static uint64_t submitted;
static uint64_t ended[STRAIT_TASK_ABANDONED + 1];
static uint64_t twice; /* or never asked for */
static uint64_t wrong; /* answers, and statuses */

static void on_end(struct strait_task *task)
{
    const struct strait_process_task *whole = (const struct strait_process_task *)(void *)task;
    const unsigned char *payload = whole->payload;
    struct order order;
    memcpy(&order, task->data, sizeof(order));
    struct owed *entry = &owed[order.number % WINDOW];
    if (entry->number != order.number) {
        twice++;
        return;
    }
    bool right = task->status == STRAIT_TASK_DONE        ? true
                 : task->status == STRAIT_TASK_CANCELLED ? entry->cancelled
                 : task->status == STRAIT_TASK_EXPIRED   ? entry->limited
                                                         : false;
    if (task->status == STRAIT_TASK_DONE) {
        right = right && order.answer == answer_to(order.number) && !entry->cancelled &&
                whole->payload_size == order.number % PAYLOAD;
        for (size_t i = 0; right && i < whole->payload_size; i++) {
            right = payload[i] == (unsigned char)(order.number + i + 1);
        }
    }
    if (!right) {
        fprintf(stderr, "storm: task %llu: status %d, code %d, %u runs\n",
                (unsigned long long)order.number, (int)task->status, task->code, whole->runs);
    }
    wrong += !right;
    ended[task->status]++;
    entry->number = 0;
}

/* False: for now. */
static bool submit(void)
{
    uint64_t number = submitted + 1;
    struct owed *entry = &owed[number % WINDOW];
    struct order order = {.number = number, .us = (uint32_t)draw_below(&seed, 1500)};
    unsigned char payload[PAYLOAD];
    struct strait_process_task task = {.task = {.name = "work", .done = on_end},
                                       .payload = payload,
                                       .payload_size = number % PAYLOAD};
    struct strait_gearman_submit_options how = {
        .priority = (enum strait_gearman_priority)draw_below(&seed, 3)};
    if (entry->number || strait_gearman_owed(remote) >= OWED) {
        return false;
    }
    for (size_t i = 0; i < PAYLOAD; i++) {
        payload[i] = (unsigned char)(number + i);
    }
    memcpy(task.task.data, &order, sizeof(order));
    *entry = (struct owed){.number = number, .limited = draw_below(&seed, 20) == 0};
    if (entry->limited) {
        how.finish_by = in_ms(1, 60);
    }
    if (strait_gearman_submit(remote, &task, &how, &entry->id) != 0) {
        entry->number = 0;
        return false;
    }
    submitted++;
    return true;
}

/* One of those that were submitted last, if it is owed still. */
static void cancel_one(void)
{
    uint64_t back = draw_below(&seed, OWED);
    struct owed *entry = &owed[(submitted - back) % WINDOW];
    if (submitted > back && entry->number == submitted - back) {
        int answer = strait_gearman_cancel(remote, entry->id);
        entry->cancelled |= answer == 0 || answer == -EINPROGRESS;
    }
}

/* ---- the play ---- */

static void play(int64_t end)
{
    struct pollfd poll_fd = {.fd = strait_gearman_fd(remote), .events = POLLIN};
    while (strait_now() < end) {
        for (unsigned i = 0; i < ACTORS; i++) {
            if (strait_now() >= actors[i].until) {
                strike(&actors[i]);
            }
        }
        while (submit()) {
            if (draw_below(&seed, 20) == 0) {
                cancel_one();
            }
        }
        poll(&poll_fd, 1, 5);
        strait_gearman_dispatch(remote, 0);
    }
}

/* All live again until nothing is owed; then all end. */
static void finish(void)
{
    for (unsigned i = 0; i < ACTORS; i++) {
        if (actors[i].fate != RUNS) {
            strike(&actors[i]);
        }
    }
    if (strait_gearman_drain(remote, strait_deadline(60 * SECOND)) != 0) {
        fprintf(stderr, "storm: %zu tasks are still owed\n", strait_gearman_owed(remote));
    }
    for (unsigned i = QUEUES; i < ACTORS; i++) {
        end_well(&actors[i]);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        queue_kill(&actors[i].queue, SIGTERM);
        queue_await(&actors[i].queue);
    }
}

static bool report(void)
{
    struct strait_gearman_stats stats;
    uint64_t lost = submitted;
    strait_gearman_stats(remote, &stats);
    for (size_t i = 0; i < COUNT(ended); i++) {
        lost -= ended[i];
    }
    printf("servers killed %u, stopped %u; hosts killed %u, stopped %u, drained %u\n", killed[0],
           stopped[0], killed[1], stopped[1], drained);
    printf("%11s %11s %11s %11s %11s %11s %6s %6s %6s\n", "submitted", "done", "cancelled",
           "expired", "resubmitted", "run again", "lost", "twice", "wrong");
    printf("%11llu %11llu %11llu %11llu %11llu %11llu %6lld %6llu %6llu\n",
           (unsigned long long)submitted, (unsigned long long)ended[STRAIT_TASK_DONE],
           (unsigned long long)ended[STRAIT_TASK_CANCELLED],
           (unsigned long long)ended[STRAIT_TASK_EXPIRED], (unsigned long long)stats.again,
           (unsigned long long)atomic_load(&notes->again), (long long)lost,
           (unsigned long long)twice, (unsigned long long)wrong);
    return lost == 0 && twice == 0 && wrong == 0 && stats.owed == 0 && ended[STRAIT_TASK_DONE] > 0;
}

static int storm(double seconds)
{
    struct census before = census_take();
    notes_fd = memfd_create("notes", 0); /* which hosts inherit */
    assert_int_equal(ftruncate(notes_fd, sizeof(*notes)), 0);
    map_notes(notes_fd);
    for (unsigned i = 0; i < ACTORS; i++) {
        actors[i].is_host = i >= QUEUES;
        if (i < QUEUES) {
            queue_choose(&actors[i].queue);
            snprintf(servers + strlen(servers), sizeof(servers) - strlen(servers), "%s%s",
                     i ? "," : "", actors[i].queue.name);
        }
    }
    for (unsigned i = 0; i < ACTORS; i++) {
        start(&actors[i]);
    }
    assert_int_equal(
        strait_gearman_create(
            &remote, &(struct strait_gearman_options){.servers = servers, .payload_max = PAYLOAD}),
        0);
    play(strait_deadline((int64_t)(seconds * 1e9)));
    finish();
    bool well = report();
    strait_gearman_destroy(remote);
    munmap(notes, sizeof(*notes));
    close(notes_fd);
    struct census after = census_take();
    if (before.fds != after.fds || before.threads != after.threads ||
        waitpid(-1, NULL, WNOHANG) != -1) {
        fprintf(stderr, "storm: something is left: %u descriptors, %u threads\n",
                after.fds - before.fds, after.threads - before.threads);
        well = false;
    }
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    double seconds = 20;
    int option;
    if (argc == 4 && strcmp(argv[1], "--host") == 0) {
        return be_host(argv[2], atoi(argv[3]));
    }
    seed = first_seed((uint64_t)strait_now());
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's') {
            seconds = strtod(optarg, NULL);
        } else {
            fprintf(stderr, "usage: storm [--seconds N]\n");
            return 2;
        }
    }
    if (!have_gearmand()) {
        printf("skipped: there is no gearmand\n");
        return NO_GEARMAND;
    }
    printf("%.0f s, STRAIT_SEED=%llu\n", seconds, (unsigned long long)seed);
    fflush(stdout); /* before anybody forks */
    return storm(seconds);
}
