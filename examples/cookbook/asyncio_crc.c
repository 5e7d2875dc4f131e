/* SPDX-License-Identifier: MIT */
/*
 * asyncio_crc: the C side of asyncio_crc.py: the work, and a submit that hides struct strait_task,
 * whose layout Python would have to repeat. The pool's own calls Python makes itself.
 */
#include "strait.h"

/* In the thread that dispatches. */
typedef void answer_fn(uint64_t request, uint32_t crc, int error);

struct call { /* travels in the task */
    const unsigned char *bytes;
    size_t size;
    uint64_t request;
    answer_fn *answer;
    uint32_t crc;
};

STRAIT_STATIC_ASSERT(sizeof(struct call) <= STRAIT_TASK_DATA, "it must fit");

STRAIT_API int crc_submit(struct strait_parent *parent, const unsigned char *bytes, size_t size,
                          uint64_t request, answer_fn *answer);

static int run(struct strait_task *task) /* on a worker, which never needs the GIL */
{
    struct call call;
    uint32_t crc = UINT32_MAX;
    memcpy(&call, task->data, sizeof(call));
    for (size_t i = 0; i < call.size; i++) {
        crc ^= call.bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
        }
    }
    call.crc = ~crc;
    memcpy(task->data, &call, sizeof(call));
    return 0;
}

static void done(struct strait_task *task)
{
    struct call call;
    memcpy(&call, task->data, sizeof(call));
    call.answer(call.request, call.crc, task->code);
}

/* 0, and `answer` will be called once, by a dispatch or the finish; the bytes must stay until then.
 * Otherwise -EAGAIN (too many wait) or -EPIPE. */
int crc_submit(struct strait_parent *parent, const unsigned char *bytes, size_t size,
               uint64_t request, answer_fn *answer)
{
    struct strait_task task = {.run = run, .name = "crc", .done = done};
    struct call call = {.bytes = bytes, .size = size, .request = request, .answer = answer};
    memcpy(task.data, &call, sizeof(call));
    return strait_task_submit(parent, &task, NULL, NULL);
}
