/* SPDX-License-Identifier: MIT */
/*
 * broadcast: one message to many receivers, each through a channel of its own.
 *
 * There is no channel behind it that all receivers read: the slowest of them would hold up the
 * others, or lose messages. Each receiver has its own queue, and what the sender learns is who had
 * no room. What then is the sender's to decide, and differs: wait for them, try again later, leave
 * them out, or stop them. So the call takes the senders, for any set of workers, ports and channels
 * that the caller likes, and a result for each, which is also the note of who has the message
 * already: called again with the same results, it goes to those alone who are still owed it.
 *
 *   int results[3] = {0};                                   // nobody has it
 *   strait_broadcast(senders, 3, &message, results, 0);     // whoever has room gets it
 *   ...
 *   strait_broadcast(senders, 3, &message, results, later); // and now the others
 *
 * The message is copied to each. For memory that all are to read, see strait/extra/buffer.h.
 */
#ifndef STRAIT_BROADCAST_H
#define STRAIT_BROADCAST_H

#include "strait/channel.h"

STRAIT_C_BEGIN

/* Sends the message to each of `count` senders whose results[i] is not 1, and returns how many have
 * it now: how many results are 1. All channels have the same message_size, and no sender is listed
 * twice. results[i] becomes
 *   1           the message is accepted
 *   -EAGAIN     there is no room, and the deadline was 0
 *   -ETIMEDOUT  there was no room until the deadline
 *   -EPIPE      the receiver has closed
 *   -ECANCELED  there was no room, and the wait for it was cancelled
 *   -EDEADLK    only the calling thread could make room
 * Everybody is tried before anybody is waited for, and nobody waits for the slowest: while one is
 * waited for, the others are tried again every millisecond. Only the thread that owns all the
 * senders; deadline 0: does not block, otherwise until the deadline at most. */
STRAIT_API size_t strait_broadcast(struct strait_sender *const *senders, size_t count,
                                   const void *message, int *results, int64_t deadline);

STRAIT_C_END

#endif /* STRAIT_BROADCAST_H */
