/* SPDX-License-Identifier: MIT */
/* broadcast: tries all, waits for one at a time, and tries all again. */
#include "strait/extra/broadcast.h"

/* How long one receiver is waited for before the others are tried again. */
#define TURN_NS 1000000

/* In `results`, -EAGAIN is whoever is still owed the message in this call. */
static void owe(int *results, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        results[i] = results[i] == 1 ? 1 : -EAGAIN;
    }
}

/* Tries all that are owed it; returns the first that still is, or `count`. */
static size_t try_all(struct strait_sender *const *senders, size_t count, const void *message,
                      int *results)
{
    size_t first = count;
    for (size_t i = 0; i < count; i++) {
        if (results[i] == -EAGAIN) {
            results[i] = (int)strait_try_send(senders[i], message, 1);
            first = results[i] == -EAGAIN && first == count ? i : first;
        }
    }
    return first;
}

/* -EAGAIN: time to try again. Otherwise as strait_send_wait. */
static int await_room(struct strait_sender *sender, int64_t deadline)
{
    int64_t turn = strait_deadline(TURN_NS);
    int error = strait_send_wait(sender, turn < deadline ? turn : deadline);
    return error == 0 || (error == -ETIMEDOUT && strait_now() < deadline) ? -EAGAIN : error;
}

size_t strait_broadcast(struct strait_sender *const *senders, size_t count, const void *message,
                        int *results, int64_t deadline)
{
    owe(results, count);
    size_t full = try_all(senders, count, message, results);
    while (deadline && full < count) {
        results[full] = await_room(senders[full], deadline);
        full = try_all(senders, count, message, results);
    }
    size_t have = 0;
    for (size_t i = 0; i < count; i++) {
        have += results[i] == 1;
    }
    return have;
}
