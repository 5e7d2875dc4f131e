/* SPDX-License-Identifier: MIT */
/* process_main: what a worker that is a process does, from its main to its exit. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "memory.h"
#include "process_port.h"

/* The status of a worker that could not begin: the parent is of another version, say. */
#define COULD_NOT_BEGIN 127

static __attribute__((noreturn)) void give_up(const char *what)
{
    perror(what);
    _exit(COULD_NOT_BEGIN);
}

/* Reads what the parent has written: the start, and behind it the filter and the data. */
static struct strait_p_process_start *read_start(void)
{
    struct strait_p_process_start head;
    if (pread(STRAIT_P_PROCESS_MEMORY, &head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
        head.magic != STRAIT_P_PROCESS_MAGIC) {
        give_up("strait: not a parent of this version");
    }
    size_t size = strait_p_process_start_size(&head);
    struct strait_p_process_start *start = strait_p_extra_alloc(STRAIT_LINE, size);
    if (!start || pread(STRAIT_P_PROCESS_MEMORY, start, size, 0) != (ssize_t)size) {
        give_up("strait: the start of a worker");
    }
    return start;
}

#ifdef __GLIBC__
typedef __rlimit_resource_t resource;
#else
typedef int resource;
#endif

static void limit(resource what, rlim_t soft, rlim_t hard)
{
    struct rlimit limits = {.rlim_cur = soft, .rlim_max = hard};
    if (soft && setrlimit(what, &limits) != 0) {
        give_up("strait: a limit of a worker");
    }
}

/* The filter is the last: what it forbids is over. */
static void set_limits(struct strait_p_process_start *start)
{
    const struct strait_process_limits *limits = &start->limits;
    limit(RLIMIT_AS, limits->address_space, limits->address_space);
    limit(RLIMIT_CPU, limits->cpu_seconds, (rlim_t)limits->cpu_seconds + 1);
    limit(RLIMIT_NOFILE, limits->descriptors, limits->descriptors);
    if ((limits->no_new_privs || limits->filter_count) &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        give_up("strait: no new privileges");
    }
    struct sock_fprog filter = {.len = (unsigned short)limits->filter_count,
                                .filter = (struct sock_filter *)(void *)(start + 1)};
    if (filter.len && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
        give_up("strait: a worker's filter");
    }
}

static const struct strait_process_function *find(const struct strait_process_function *functions,
                                                  const char *name)
{
    while (functions->name && strcmp(functions->name, name) != 0) {
        functions++;
    }
    return functions;
}

/* Runs a task: the answer lies where the call lay. */
static void answer(struct strait_p_process_call *call, size_t payload_max, strait_run_fn *run)
{
    struct strait_process_task task = {
        .task = {.name = call->name}, .payload = call + 1, .payload_size = call->payload_size};
    memcpy(task.task.data, call->data, sizeof(call->data));
    call->code = run ? run(&task.task) : -ENOENT;
    memcpy(call->data, task.task.data, sizeof(call->data));
    if (task.payload_size > payload_max) {
        call->code = -ENOSPC;
        task.payload_size = 0;
    }
    if (task.payload != call + 1 && task.payload_size) {
        memmove(call + 1, task.payload, task.payload_size);
    }
    call->payload_size = (uint32_t)task.payload_size;
}

/* Runs a pool's tasks, once there is memory for one. Of a payload that is shorter than it may be,
 * the rest is not copied. */
static int serve(struct strait_process_port *port, const struct strait_process_function *functions)
{
    size_t payload_max = port->in_size - sizeof(struct strait_p_process_call);
    struct strait_p_process_call *call = strait_p_extra_alloc(STRAIT_LINE, port->in_size);
    if (call) {
        strait_p_process_tell(port, &port->own->online);
    }
    while (call) {
        int result = strait_p_process_wait(port, false, STRAIT_FOREVER);
        struct strait_span span;
        if (result != 0 || !strait_p_process_peek(port, &span)) {
            return result; /* 0: the pool has closed it */
        }
        const struct strait_p_process_call *from = span.messages;
        memcpy(call, from, sizeof(*call) + from->payload_size);
        port->ring->release(port->in, &span);
        answer(call, payload_max, find(functions, call->name)->run);
        port->ring->reserve(port->out, 1, &span); /* there is room: one call is under way */
        memcpy(span.messages, call, sizeof(*call) + call->payload_size);
        port->ring->commit(port->out, &span);
        strait_p_process_notify(port);
    }
    return -ENOMEM;
}

static int run(struct strait_process_port *port, struct strait_p_process_start *start,
               const struct strait_process_function *functions)
{
    const struct strait_process_function *function = find(functions, start->function);
    char *data = (char *)(start + 1) + start->limits.filter_count * sizeof(struct sock_filter);
    if (!start->function[0]) {
        return serve(port, functions);
    }
    if (!function->entry) {
        return -ENOENT;
    }
    strait_p_process_tell(port, &port->own->online);
    return function->entry(port, data, start->data_size);
}

void strait_process_main(int argc, char **argv, const struct strait_process_function *functions)
{
    if (argc != 2 || strcmp(argv[1], STRAIT_P_PROCESS_MARK) != 0) {
        return;
    }
    struct strait_process_port port = {.bell = STRAIT_P_PROCESS_BELL, .epoll = -1, .pidfd = -1};
#ifndef STRAIT_P_PROCESS_CLOSES_FROM
    syscall(SYS_close_range, STRAIT_P_PROCESS_BELL + 1, ~0U, 0);
#endif
    struct strait_p_process_start *start = read_start();
    /* A parent that died before the call is not noticed by it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || (int32_t)getppid() != start->parent) {
        give_up("strait: no parent");
    }
    if (strait_p_process_map(&port, STRAIT_P_PROCESS_MEMORY, start, false) != 0) {
        give_up("strait: the memory of a worker");
    }
    close(STRAIT_P_PROCESS_MEMORY);
    set_limits(start);
    int result = run(&port, start, functions);
    strait_store_relaxed(&port.own->result, (uint32_t)result);
    strait_store_relaxed(&port.own->returned, 1);
    exit(result == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}
