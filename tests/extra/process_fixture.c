/* SPDX-License-Identifier: MIT */
#include "extra/process_fixture.h"

#include <signal.h>
#include <sys/resource.h>

/* ---- in a worker ---- */

int echo_numbers(struct strait_process_port *port, void *data, size_t size)
{
    uint64_t number;
    ptrdiff_t result;
    while ((result = strait_process_receive(port, &number, 1, STRAIT_FOREVER)) == 1) {
        result = strait_process_send(port, &number, 1, STRAIT_FOREVER);
        if (result != 1) {
            break;
        }
    }
    return result == -EPIPE ? 0 : (int)result;
}

int increment(struct strait_task *task)
{
    const struct strait_process_task *own = with_payload(task);
    uint64_t number = number_of(task->data) + 1;
    char *bytes = own->payload;
    memcpy(task->data, &number, sizeof(number));
    for (size_t i = 0; i < own->payload_size / 2; i++) {
        char byte = bytes[i];
        bytes[i] = bytes[own->payload_size - 1 - i];
        bytes[own->payload_size - 1 - i] = byte;
    }
    return 0;
}

int raise_for_good(int number)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(number, SIG_DFL);
    return raise(number);
}

size_t find_shared(struct shared found[SHARED_MOST])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    size_t count = 0;
    while (maps && count < SHARED_MOST && fgets(line, sizeof(line), maps)) {
        unsigned long from;
        unsigned long to;
        if (strstr(line, "memfd:strait") && sscanf(line, "%lx-%lx", &from, &to) == 2) {
            found[count].at = (uint64_t *)(uintptr_t)from;
            found[count++].words = (to - from) / sizeof(uint64_t);
        }
    }
    fclose(maps);
    return count;
}

/* ---- one worker's parent ---- */

struct told told;

static void note_event(struct strait_process *process, const struct strait_process_event *event,
                       void *context)
{
    assert_ptr_equal(context, &told);
    assert_int_not_equal(told.exit.type, STRAIT_EXIT); /* nothing comes behind it */
    if (event->type == STRAIT_EXIT) {
        told.exit = *event;
    } else if (event->type == STRAIT_MESSAGE) {
        told.in_order = told.in_order && number_of(event->message) == told.heard;
        told.sum += number_of(event->message);
        told.heard++;
    } else {
        assert_int_equal(event->type, STRAIT_ONLINE);
        told.online++;
    }
}

struct strait_process *spawn_process(struct strait_process_options *options, const char *function)
{
    struct strait_process *process = NULL;
    told = (struct told){.in_order = true};
    options->function = function;
    options->event = note_event;
    options->context = &told;
    assert_returns(strait_process_spawn(&process, options), 0);
    return process;
}

void loop_to_exit(struct strait_process *process)
{
    while (told.exit.type != STRAIT_EXIT) {
        assert_true(readable(strait_process_fd(process), 60000));
        strait_process_dispatch(process, 0);
        progress_made();
    }
    assert_returns(strait_process_dispatch(process, 0), -EPIPE);
}

void destroy_process(struct strait_process *process)
{
    int32_t pid = strait_process_pid(process);
    assert_returns(strait_process_destroy(process), 0);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

/* ---- a pool's parent ---- */

struct strait_process_pool *pool;

struct strait_process_task *with_payload(struct strait_task *task)
{
    return (struct strait_process_task *)(void *)task;
}

static void note_outcome(struct strait_task *task)
{
    const struct strait_process_task *own = with_payload(task);
    struct outcome *outcome = task->context;
    outcome->completions++;
    outcome->status = task->status;
    outcome->code = task->code;
    outcome->signal = own->signal;
    outcome->runs = own->runs;
    outcome->number = number_of(task->data);
    outcome->payload_size = own->payload_size;
    memcpy(outcome->payload, own->payload, strait_min(own->payload_size, 64));
    progress_made();
}

struct strait_process_task process_task(struct outcome *outcome, const char *name, uint64_t number)
{
    struct strait_process_task task = {
        .task = {.name = name, .context = outcome, .done = note_outcome}};
    memset(outcome, 0, sizeof(*outcome));
    memcpy(task.task.data, &number, sizeof(number));
    return task;
}

int submit(struct outcome *outcome, const char *name, uint64_t number,
           const struct strait_process_submit_options *how, strait_task_id *id)
{
    struct strait_process_task task = process_task(outcome, name, number);
    return strait_process_submit(pool, &task, how, id);
}

void pool_turn(void)
{
    assert_true(readable(strait_process_pool_fd(pool), 60000));
    strait_process_pool_dispatch(pool, 0);
    progress_made();
}

void await_outcomes(void)
{
    while (strait_process_pool_owed(pool) > 0) {
        pool_turn();
    }
}
