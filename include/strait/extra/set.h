/* SPDX-License-Identifier: MIT */
/*
 * set: one thread receives from many channels, and pays for those alone that have something.
 *
 * How to use one
 *
 *   1. Make it:      strait_set_create(&set, 4096, STRAIT_WAIT_PARK);
 *   2. Add open receivers, of channels of any variant and message size:
 *                    strait_set_add(set, &receiver[i]);
 *   3. Ask who has something, and take some of it. What is left is offered again in its turn:
 *                    while (strait_set_next(set, &ready, deadline) == 0) {
 *                        ptrdiff_t n = strait_try_receive(ready, messages, 64);
 *                        if (n == -EPIPE) {
 *                            strait_set_remove(set, ready);   its senders have closed
 *                        }
 *                    }
 *   4. Remove the receivers, or destroy the set, which does it.
 *
 * The receiver that is offered is one of those that were added: `ready - receiver` is its number
 * where they lie in an array.
 *
 * How it works. A member is hot or quiet. The set looks at the hot ones in turn. One that it has
 * found empty many times becomes quiet: its receiver is armed (see strait_receivers_arm), and the
 * set looks at it no more. The first send to a quiet channel marks it: it puts the member's number
 * into one queue, a channel of variant "cells", which is all that the set watches of the quiet ones
 * and where it sleeps when none is hot. So a sender pays for the set only when its quiet channel
 * turns ready: the compare-and-swap that wakes any receiver, two more read-modify-writes, and the
 * wake-up if the set sleeps. All other sends cost what they cost without a set.
 *
 * Where several members have messages, one every 32 ns or faster, the set lets some gather between
 * two turns of all, so that the owner does not run right behind the senders: for at most 13 us, in
 * the call that ends a turn. A message that comes alone never waits for others.
 *
 * When a member becomes quiet is a matter of costs alone. To arm costs a barrier, the same for one
 * and for all, and a read-modify-write for each; so the set arms a member after 64 empty looks,
 * when all empty looks together have cost as much as the barrier. When it would have to wait it
 * arms all.
 *
 * Promises
 *   - Fair: a member that has something is offered after each of the others was offered once at
 *     most. How much is taken at a time is the caller's.
 *   - What a set costs does not grow with its quiet members.
 *   - No wake-up is lost, those of closing included; a sender never waits for the set.
 *   - A sender that is stopped in the middle of a send holds up its own messages, as in its ring.
 *     One that is stopped while it marks its channel holds up the marks behind its own ("cells"),
 *     and strait_set_remove of that very member.
 *
 * All calls are those of the one thread that owns the set and its receivers. While a receiver is a
 * member it must not be moved, given away or closed, and does not wait: strait_receive with nothing
 * there is -EINVAL. A fork's child leaves an inherited set alone: strait_set_destroy, which a
 * destructor may call there, does nothing.
 */
#ifndef STRAIT_SET_H
#define STRAIT_SET_H

#include "strait/channel.h"

STRAIT_C_BEGIN

struct strait_set;

/* Makes an empty set for up to `capacity` members; `wait` is how strait_set_next waits. -EINVAL: a
 * mode that there is not, or a capacity of 0 or of STRAIT_CAPACITY_MAX and more; -ENOMEM; -EMFILE,
 * -ENFILE: no eventfd to be had. The thread that will own it; does not block. */
STRAIT_API int strait_set_create(struct strait_set **set, uint32_t capacity, enum strait_wait wait);

/* Removes all members and frees the set; the channels and their senders go on. NULL is ignored.
 * Blocks only while another thread is just marking a member: some instructions, and a wake-up. */
STRAIT_API void strait_set_destroy(struct strait_set *set);

/* Adds an open receiver. -ENOSPC: the set is full; -EINVAL: a shared block, or fd mode; -EBUSY: it
 * is in a set. Does not block. */
STRAIT_API int strait_set_add(struct strait_set *set, struct strait_receiver *receiver);

/* Removes a receiver, which may wait by itself again. -ENOENT: it is no member. Blocks only while
 * another thread is just marking that member: some instructions, unless it is stopped there. */
STRAIT_API int strait_set_remove(struct strait_set *set, struct strait_receiver *receiver);

/* The next member, in turn, that has a message or whose senders have closed. 0; -EAGAIN: there is
 * none. Does not block. */
STRAIT_API int strait_set_try_next(struct strait_set *set, struct strait_receiver **receiver);

/* The same, and waits for one. 0; -ETIMEDOUT; -ECANCELED: the calling worker is asked to stop. */
STRAIT_API int strait_set_next(struct strait_set *set, struct strait_receiver **receiver,
                               int64_t deadline);

/* ---- event loops: a set whose mode is STRAIT_WAIT_FD, with one fd for all members ----
 *
 * Watch the fd for reading, level-triggered. When it is readable, take from what
 * strait_set_try_next offers until -EAGAIN, then arm. If a budget stops you before that, just
 * return: the fd stays readable. Arm it once before the first wait, and after adding a member.
 */

/* The eventfd; -EINVAL if the set has another mode. It belongs to the set. */
STRAIT_API int strait_set_fd(const struct strait_set *set);

/* Makes the fd unreadable until a member has something: 1. If one already has: 0, and the fd is
 * readable. -EINVAL: another mode. Costs a few system calls; does not block. */
STRAIT_API int strait_set_arm(struct strait_set *set);

STRAIT_C_END

#endif /* STRAIT_SET_H */
