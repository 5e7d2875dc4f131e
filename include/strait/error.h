/* SPDX-License-Identifier: MIT */
/* error: what the answers of this library's calls mean, in a sentence each. */
#ifndef STRAIT_ERROR_H
#define STRAIT_ERROR_H

#include "strait/base.h"

/* What a negative answer of a call of this library's means there; 0 and above: that all went well.
 * An answer that is none of the library's own is the system's or a callback's. Never NULL, and
 * lives for ever. Any thread, a signal handler too; does not block. */
static inline const char *strait_strerror(int answer)
{
    switch (answer < -4095 ? 4096 : answer < 0 ? -answer : 0) {
    case 0:
        return "all went well";
    case EAGAIN:
        return "full, or empty, or no thread to be had: nothing has happened, try again later";
    case EPIPE:
        return "the other side has closed, or the pool is closing";
    case ETIMEDOUT:
        return "the deadline has passed";
    case ECANCELED:
        return "the worker was asked to stop, the wait or the task was cancelled";
    case EDEADLK:
        return "the call would wait for its own caller, or is made inside a callback of its own";
    case EOWNERDEAD:
        return "it belongs to the process that this one is a child of by fork";
    case EBUSY:
        return "in use: no sender left to open, not joined, not closed, or parents attached";
    case EINPROGRESS:
        return "the task has started: it was told to end, or its process is killed";
    case EALREADY:
        return "the task was cancelled, or has expired, before";
    case ENOENT:
        return "the task has completed, or there is no such function, program or server";
    case EUSERS:
        return "the pool has as many parents as it can have";
    case EINVAL:
        return "an option or an argument is out of range: a checked build says which";
    case ENOSPC:
        return "no room: the channel's memory is too small, the set full, the payload too large";
    case EINTR:
        return "the thread was ended by the function that it ran";
    case ENOMEM:
        return "out of memory";
    case EMFILE:
    case ENFILE:
        return "out of file descriptors";
    case EPERM:
    case ENOSYS:
        return "the system refuses the CPUs, the class or the nice value asked for";
    case EPROTO:
        return "the other machine's answer is none, or its version is another";
    case EIO:
        return "the job server has given the task up, or something could not be written";
    case EEXIST:
        return "the loop watches the worker already";
    default:
        return "an answer of the system's or of a callback's";
    }
}

#endif /* STRAIT_ERROR_H */
