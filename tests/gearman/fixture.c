/* SPDX-License-Identifier: MIT */
#include "gearman/fixture.h"

#include <arpa/inet.h>
#include <endian.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* ---- packets ---- */

void add_bytes(struct body *body, const void *bytes, size_t size)
{
    assert_true(body->size + size <= sizeof(body->bytes));
    if (size) {
        memcpy(body->bytes + body->size, bytes, size);
    }
    body->size += size;
}

void add_field(struct body *body, const char *text)
{
    add_bytes(body, text, strlen(text) + 1);
}

static void add_u32(struct body *body, uint32_t number)
{
    number = htobe32(number);
    add_bytes(body, &number, sizeof(number));
}

void add_head(struct body *body, uint32_t magic, uint32_t status, int32_t code, int64_t remaining,
              const void *data)
{
    static const unsigned char zeros[STRAIT_TASK_DATA];
    uint64_t turned = htobe64((uint64_t)remaining);
    add_u32(body, magic);
    add_u32(body, status);
    add_u32(body, (uint32_t)code);
    add_u32(body, 0);
    add_bytes(body, &turned, sizeof(turned));
    add_bytes(body, data ? data : zeros, STRAIT_TASK_DATA);
}

const char *field_of(const struct packet *packet, unsigned n)
{
    const char *at = packet->bytes;
    while (n-- > 0) {
        at += strlen(at) + 1;
        assert_true(at <= packet->bytes + packet->size);
    }
    return at;
}

static uint32_t u32_at(const char *bytes)
{
    uint32_t number;
    memcpy(&number, bytes, sizeof(number));
    return be32toh(number);
}

struct head read_head_at(const char *bytes)
{
    uint64_t remaining;
    struct head head = {
        .magic = u32_at(bytes), .status = u32_at(bytes + 4), .code = (int32_t)u32_at(bytes + 8)};
    memcpy(&remaining, bytes + 16, sizeof(remaining));
    head.remaining = (int64_t)be64toh(remaining);
    memcpy(head.data, bytes + 24, sizeof(head.data));
    return head;
}

/* ---- sockets ---- */

struct peer peer;

static struct sockaddr_in here_at(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return address;
}

/* A socket bound to the port, or, if it is 0, to one that nobody has, which it says. */
static int bind_here(int *port)
{
    struct sockaddr_in address = here_at(*port);
    int on = 1;
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&address, &length), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

void peer_bind(struct peer *peer)
{
    memset(peer, 0, sizeof(*peer));
    peer->listener = bind_here(&peer->port);
    peer->fd = -1;
    snprintf(peer->name, sizeof(peer->name), "127.0.0.1:%d", peer->port);
}

void peer_listen(struct peer *peer)
{
    assert_int_equal(listen(peer->listener, 8), 0);
}

void peer_open(struct peer *peer)
{
    peer_bind(peer);
    peer_listen(peer);
}

void peer_accept(struct peer *peer)
{
    int on = 1;
    assert_int_equal(peer->fd, -1);
    peer->fd = accept4(peer->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer->fd >= 0);
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    progress_made();
}

bool peer_is_called(const struct peer *peer, int milliseconds)
{
    return readable(peer->listener, milliseconds);
}

void peer_hang_up(struct peer *peer)
{
    if (peer->fd >= 0) {
        close(peer->fd);
    }
    peer->fd = -1;
}

void peer_close(struct peer *peer)
{
    peer_hang_up(peer);
    close(peer->listener);
}

void peer_send(struct peer *peer, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(peer->fd, at, size, MSG_NOSIGNAL);
        if (sent < 0) {
            return; /* whoever has hung up will be noticed by what is not heard */
        }
        at += sent;
        size -= (size_t)sent;
    }
}

void peer_say(struct peer *peer, unsigned type, const void *bytes, size_t size)
{
    struct body header = {.size = 0};
    add_bytes(&header, "\0RES", 4);
    add_u32(&header, type);
    add_u32(&header, (uint32_t)size);
    peer_send(peer, header.bytes, header.size);
    peer_send(peer, bytes, size);
}

void peer_say_body(struct peer *peer, unsigned type, const struct body *body)
{
    peer_say(peer, type, body->bytes, body->size);
}

static bool receive_all(int fd, char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t got = recv(fd, bytes, size, 0);
        if (got <= 0) {
            return false;
        }
        bytes += got;
        size -= (size_t)got;
    }
    return true;
}

static bool receive_packet(struct peer *peer, struct packet *packet)
{
    char header[12];
    if (!receive_all(peer->fd, header, sizeof(header))) {
        return false;
    }
    assert_memory_equal(header, "\0REQ", 4);
    packet->type = u32_at(header + 4);
    packet->size = u32_at(header + 8);
    assert_true(packet->size < sizeof(packet->bytes));
    packet->bytes[packet->size] = '\0';
    return receive_all(peer->fd, packet->bytes, packet->size);
}

static void answer_echo(struct peer *peer, const struct packet *packet)
{
    if (!peer->deaf) {
        peer_say(peer, ECHO_RES, packet->bytes, packet->size);
    }
}

bool peer_next(struct peer *peer, struct packet *packet)
{
    while (receive_packet(peer, packet)) {
        if (packet->type != ECHO_REQ) {
            progress_made();
            return true;
        }
        answer_echo(peer, packet);
    }
    return false;
}

void peer_hear(struct peer *peer, unsigned type, struct packet *packet)
{
    assert_true(peer_next(peer, packet));
    assert_int_equal(packet->type, type);
}

bool peer_hears(struct peer *peer, struct packet *packet, int milliseconds)
{
    int64_t end = strait_deadline(milliseconds * MS);
    int64_t left;
    while ((left = end - strait_now()) > 0 && readable(peer->fd, (int)(left / MS) + 1)) {
        if (!receive_packet(peer, packet)) {
            packet->type = 0;
            return true;
        }
        if (packet->type != ECHO_REQ) {
            progress_made();
            return true;
        }
        answer_echo(peer, packet);
    }
    return false;
}

bool peer_is_quiet(struct peer *peer, int milliseconds)
{
    struct packet packet;
    return !peer_hears(peer, &packet, milliseconds);
}

/* ---- gearmand ---- */

static const char *gearmand_path(void)
{
    static const char *const paths[] = {"/usr/sbin/gearmand", "/usr/local/sbin/gearmand",
                                        "/usr/bin/gearmand"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        if (access(paths[i], X_OK) == 0) {
            return paths[i];
        }
    }
    return NULL;
}

bool have_gearmand(void)
{
    return gearmand_path() != NULL;
}

/* Below those that the kernel gives to whoever connects: one of these might have it when the server
 * comes back, or might even reach itself there. */
void queue_choose(struct queue *queue)
{
    static unsigned chosen;
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(queue, 0, sizeof(*queue));
    do {
        queue->port = 16384 + (int)(mix((uint64_t)getpid() + chosen++) % 16384);
        address = here_at(queue->port);
    } while (bind(fd, (struct sockaddr *)(void *)&address, sizeof(address)) != 0);
    close(fd);
    snprintf(queue->name, sizeof(queue->name), "127.0.0.1:%d", queue->port);
}

int dial(int port)
{
    struct sockaddr_in address = here_at(port);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (fd >= 0 && connect(fd, (struct sockaddr *)(void *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void queue_start(struct queue *queue)
{
    char port[16];
    snprintf(port, sizeof(port), "%d", queue->port);
    pid_t parent = getpid();
    queue->pid = fork();
    assert_true(queue->pid >= 0);
    if (queue->pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            execl(gearmand_path(), "gearmand", "-p", port, "-l", "none", "-t", "1", "-L",
                  "127.0.0.1", "-P", "", (char *)NULL);
        }
        _exit(127);
    }
    int fd;
    while ((fd = dial(queue->port)) < 0) {
        assert_int_equal(waitpid(queue->pid, NULL, WNOHANG), 0);
        sleep_ns(2 * MS);
    }
    close(fd);
    progress_made();
}

void queue_kill(struct queue *queue, int signal)
{
    if (queue->pid > 0) {
        kill(queue->pid, signal);
    }
}

void queue_await(struct queue *queue)
{
    if (queue->pid > 0) {
        waitpid(queue->pid, NULL, 0);
    }
    queue->pid = 0;
}
