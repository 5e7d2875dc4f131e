/* SPDX-License-Identifier: MIT */
#include "gearman/refusals.h"

#include <netdb.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

__thread bool on_side;

/* The main thread writes them while no side runs. */
static enum call refused;
static int refused_errno;
static unsigned countdown; /* at 1 it fails */
static unsigned hits;

static bool refuses(enum call call)
{
    if (!on_side || call != refused || countdown == 0 || --countdown > 0) {
        return false;
    }
    hits++;
    errno = refused_errno;
    return true;
}

unsigned refuse_each(enum call call, int error, int answer, int (*play)(void))
{
    unsigned n = 0;
    refused = call;
    refused_errno = error;
    do {
        struct census before = census_take();
        countdown = ++n;
        hits = 0;
        int result = play();
        assert_true(result == 0 || (hits == 1 && result == answer));
        assert_census(before);
        progress_made();
    } while (hits > 0);
    countdown = 0;
    return n - 1;
}

#define REFUSABLE(type, call, failure, name, arguments, ...)                                       \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)                                                                \
    {                                                                                              \
        return refuses(call) ? failure : __real_##name arguments;                                  \
    }

REFUSABLE(int, SOCKET, -1, socket, (domain, type, protocol), int domain, int type, int protocol)
REFUSABLE(int, SETSOCKOPT, -1, setsockopt, (fd, level, name, value, length), int fd, int level,
          int name, const void *value, socklen_t length)
REFUSABLE(int, CONNECT, -1, connect, (fd, address, length), int fd, const struct sockaddr *address,
          socklen_t length)
REFUSABLE(ssize_t, SEND, -1, send, (fd, bytes, size, flags), int fd, const void *bytes, size_t size,
          int flags)
REFUSABLE(ssize_t, RECV, -1, recv, (fd, bytes, size, flags), int fd, void *bytes, size_t size,
          int flags)
REFUSABLE(int, PPOLL, -1, ppoll, (fds, count, timeout, mask), struct pollfd *fds, nfds_t count,
          const struct timespec *timeout, const sigset_t *mask)
REFUSABLE(int, SIGNALFD, -1, signalfd, (fd, mask, flags), int fd, const sigset_t *mask, int flags)
REFUSABLE(ssize_t, GETRANDOM, -1, getrandom, (bytes, size, flags), void *bytes, size_t size,
          unsigned flags)
REFUSABLE(int, GETADDRINFO, EAI_MEMORY, getaddrinfo, (node, service, hints, found),
          const char *node, const char *service, const struct addrinfo *hints,
          struct addrinfo **found)
