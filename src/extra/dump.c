/* SPDX-License-Identifier: MIT */
/* dump: a pool, a worker or a channel as text, of what the public calls say. */
#include "strait/extra/dump.h"

#include <inttypes.h>

/* Writes what stdio still has, which may fail, and puts errno back. */
static int ended(FILE *to, int saved)
{
    bool failed = fflush(to) != 0 || ferror(to);
    errno = saved;
    return failed ? -EIO : 0;
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static void dump_cpu(int cpu, FILE *to)
{
    if (cpu < 0) {
        fprintf(to, "any CPU");
    } else {
        fprintf(to, "CPU %d", cpu);
    }
}

static void dump_pool_worker(const struct strait_pool_worker_stats *worker, FILE *to)
{
    static const char *const classes[] = {"default", "normal", "batch", "idle"};
    fprintf(to, "worker %u: ", worker->number);
    if (!worker->online) {
        fprintf(to, "ended, %" PRIu64 " task%s\n", worker->tasks, plural(worker->tasks));
        return;
    }
    fprintf(to, "thread %" PRId32 ", ", worker->thread);
    dump_cpu(worker->cpu, to);
    fprintf(to, ", %s, nice %d, %" PRIu64 " task%s, ", classes[worker->schedule], worker->nice,
            worker->tasks, plural(worker->tasks));
    if (!worker->run) {
        fprintf(to, "idle\n");
        return;
    }
    if (worker->name) {
        fprintf(to, "runs \"%s\"", worker->name);
    } else {
        fprintf(to, "runs 0x%" PRIxPTR, (uintptr_t)worker->run);
    }
    if (worker->running_ns > 0) {
        fprintf(to, " for %" PRId64 ".%03d ms", worker->running_ns / 1000000,
                (int)(worker->running_ns / 1000 % 1000));
    }
    fprintf(to, "\n");
}

int strait_dump_pool(struct strait_pool *pool, FILE *to)
{
    int saved = errno;
    struct strait_pool_stats stats;
    struct strait_pool_worker_stats worker;
    strait_pool_stats(pool, &stats);
    fprintf(to,
            "pool: %" PRIu64 " of %" PRIu64 " worker%s idle, %" PRIu64 " task%s running, %" PRIu64
            " queued of at most %" PRIu64 ", %" PRIu64 " parent%s\n",
            stats.idle, stats.workers, plural(stats.workers), stats.running, plural(stats.running),
            stats.queued, stats.queue_limit, stats.parents, plural(stats.parents));
    fprintf(to,
            "tasks: %" PRIu64 " submitted, %" PRIu64 " done, %" PRIu64 " failed, %" PRIu64
            " cancelled, %" PRIu64 " expired, %" PRIu64 " abandoned, %" PRIu64 " refused, %" PRIu64
            " in place, at most %" PRIu64 " queued\n",
            stats.submitted, stats.done, stats.failed, stats.cancelled, stats.expired,
            stats.abandoned, stats.refused, stats.in_place, stats.queued_max);
    for (unsigned i = 0; strait_pool_worker_stats(pool, i, &worker) == 0; i++) {
        dump_pool_worker(&worker, to);
    }
    return ended(to, saved);
}

int strait_dump_worker(const struct strait_worker *worker, FILE *to)
{
    int saved = errno;
    struct strait_status status;
    strait_worker_status(worker, &status);
    fprintf(to, "worker \"%s\": thread %" PRId32 ", ", status.name, status.thread);
    dump_cpu(status.cpu, to);
    fprintf(to, ", %s%s\n", status.state == STRAIT_WORKER_ONLINE ? "online" : "ended",
            status.stopping ? ", asked to stop" : "");
    return ended(to, saved);
}

int strait_dump_channel(const struct strait_channel *channel, FILE *to)
{
    int saved = errno;
    struct strait_channel_status status;
    strait_channel_status(channel, &status);
    fprintf(to, "channel: %s, %zu message%s of %zu byte%s, ", status.variant, status.capacity,
            plural(status.capacity), status.message_size, plural(status.message_size));
    if (status.sender_closed) {
        fprintf(to, "sending side closed");
    } else {
        fprintf(to, "%u sender%s open", status.senders, plural(status.senders));
    }
    fprintf(to, "%s%s%s\n", status.sender_waits ? ", a sender waits" : "",
            status.receiver_waits ? ", receiver waits" : "",
            status.receiver_closed ? ", receiver closed" : "");
    return ended(to, saved);
}
