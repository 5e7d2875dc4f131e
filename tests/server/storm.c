/* SPDX-License-Identifier: MIT */
/*
 * server_storm PATH-TO-offload_server [SECONDS]: mixed, hostile and vanishing clients, all at once,
 * for so many seconds (default 15; minutes are fine), while the server's accounts must add up.
 *
 *   - Whoever asks properly and waits is answered, in the order of its requests, with what it asked
 *     for; or with 503 and Retry-After if the queue is full; or with 504 if it had set a deadline.
 *   - Each /stats, and one is always under way: submitted = done + failed + cancelled + expired +
 *     abandoned + queued + running; nothing that counts up goes down; percentiles are in order.
 *   - When all clients are gone nothing is queued or running, and the server has done at least what
 *     the clients have seen.
 *   - Amid the next requests SIGTERM ends the server with 0.
 *
 * STRAIT_SEED repeats the clients' choices, if not their timing. A minute without an answer, to
 * anybody who should get one, is a failure.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "storm.h"

const char *const kind_names[] = {
    "light",   "heavy",        "late", "pipeline",   "slow",      "quitter", "half",
    "garbage", "huge headers", "deaf", "half close", "passer-by", "stats",
};

static struct client clients[CLIENTS];
uint64_t counters[COUNTERS];
struct seen seen;
static uint64_t seed;
static uint16_t port;
static pid_t server;
int64_t moved;
static bool stopping; /* no new requests but STATS */
bool ending;

__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("FAILED: ", stderr);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, " (seed %" PRIu64 ")\n", seed);
    va_end(arguments);
    if (server > 0) {
        kill(server, SIGKILL);
    }
    exit(1);
}

int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t draw(void) /* splitmix64 */
{
    static uint64_t state;
    state = state ? state : seed;
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* From `low` to `high`. */
static uint32_t between(uint32_t low, uint32_t high)
{
    return low + (uint32_t)(draw() % (high - low + 1));
}

/* ---- scripts ---- */

__attribute__((format(printf, 2, 3))) static void say(struct client *client, const char *format,
                                                      ...)
{
    va_list arguments;
    size_t room = OUT_MOST - client->length;
    va_start(arguments, format);
    int length = vsnprintf(client->out + client->length, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room) {
        fail("a script is too long");
    }
    client->length += (size_t)length;
}

static void ask(struct client *client, enum kind kind, uint32_t ms)
{
    client->requests[client->asked++] = (struct request){.kind = kind, .ms = ms};
    if (kind == HEAVY) {
        say(client, "GET /heavy?ms=%" PRIu32, ms);
    } else if (kind == LATE) {
        say(client, "GET /heavy?ms=%" PRIu32 "&within=%" PRIu32, ms, between(1, 60));
    } else {
        say(client, "GET /%s", kind == LIGHT ? "light" : "stats");
    }
    say(client, " HTTP/1.1\r\nHost: storm\r\n\r\n");
}

static void ask_any(struct client *client)
{
    enum kind kind = (enum kind)between(LIGHT, LATE);
    ask(client, kind, kind == LATE ? between(20, 200) : between(0, 30));
}

static void say_bytes(struct client *client, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        client->out[client->length++] = (char)between(0, 255);
    }
}

static void say_headers(struct client *client, size_t n)
{
    say(client, "GET /light HTTP/1.1\r\n");
    for (size_t i = 0; i < n; i++) {
        say(client, "X-Header-%zu: %0*d\r\n", i, (int)between(1, 200), 1);
    }
}

/* Lines up what the client will say. Those who are not strict vanish within 300 ms. */
static void write_script(struct client *client)
{
    uint32_t n;
    switch (client->kind) {
    case LIGHT:
    case STATS:
        ask(client, client->kind, 0);
        break;
    case HEAVY:
        ask(client, HEAVY, between(0, 30));
        break;
    case LATE:
        ask(client, LATE, between(20, 200));
        break;
    case PIPELINE:
        for (n = between(2, 12); n > 0; n--) {
            ask_any(client);
        }
        break;
    case SLOW:
        client->bite = between(1, 9);
        ask_any(client);
        break;
    case QUITTER:
    case HALF_CLOSE:
        ask(client, HEAVY, between(0, 400));
        break;
    case HALF:
        ask_any(client);
        client->asked = 0;
        client->length = between(1, (uint32_t)client->length - 1);
        break;
    case GARBAGE:
        say_bytes(client, between(1, 5000));
        break;
    case HUGE_HEADERS:
        say_headers(client, between(500, 1000));
        break;
    case DEAF:
        for (n = between(100, REQUESTS_MOST); n > 0; n--) {
            ask(client, n % 8 ? STATS : HEAVY, 1);
        }
        break;
    case PASSER_BY:
        break;
    }
}

static bool waits_for_answers(enum kind kind)
{
    return kind <= SLOW || kind == STATS;
}

/* From an address of its own choice: of one alone, the ports would run out. */
static int connect_to_server(void)
{
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK + between(0, 200))};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail("socket: %s", strerror(errno));
    }
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes));
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
        (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)) {
        fail("connect: %s", strerror(errno));
    }
    return fd;
}

static void begin(struct client *client, enum kind kind)
{
    client->busy = true;
    client->kind = kind;
    client->strict = waits_for_answers(kind);
    client->bite = 0;
    client->asked = client->answered = 0;
    client->length = client->written = 0;
    client->vanishes = client->strict ? 0 : now_ms() + between(0, 300);
    if (client->fd < 0) {
        client->received = 0;
        client->in[0] = '\0';
        client->fd = connect_to_server();
    }
    write_script(client);
    seen.scripts[kind]++;
}

/* By a reset, or politely. */
static void hang_up(struct client *client)
{
    struct linger linger = {.l_onoff = 1};
    if (draw() % 2) {
        setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    close(client->fd);
    client->fd = -1;
}

/* Those who were answered may keep the connection for what they do next. */
static void end(struct client *client, bool keep)
{
    if (!keep) {
        hang_up(client);
    }
    client->busy = false;
    client->wakes = now_ms() + (client->kind == STATS ? 1 : between(0, 20));
}

/* ---- turns ---- */

static void lost(struct client *client, const char *why)
{
    if (client->strict && !ending) {
        fail("%s lost its connection after %zu of %zu answers: %s", kind_names[client->kind],
             client->answered, client->asked, why);
    }
    end(client, false);
}

static void write_some(struct client *client)
{
    size_t left = client->length - client->written;
    size_t size = client->bite && client->bite < left ? client->bite : left;
    ssize_t n = send(client->fd, client->out + client->written, size, MSG_NOSIGNAL);
    if (n >= 0) {
        client->written += (size_t)n;
        if (client->kind == HALF_CLOSE && client->written == client->length) {
            shutdown(client->fd, SHUT_WR);
        }
    } else if (errno != EAGAIN) {
        lost(client, strerror(errno));
    }
}

static void read_some(struct client *client)
{
    size_t room = IN_MOST - client->received;
    ssize_t n = recv(client->fd, client->in + client->received, room, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        lost(client, n == 0 ? "closed" : strerror(errno));
        return;
    }
    client->received += (size_t)n;
    client->in[client->received] = '\0';
    while (take_answer(client)) {
    }
    if (client->strict && client->answered == client->asked) {
        end(client, client->kind == STATS || draw() % 2);
    }
}

static short wanted(const struct client *client)
{
    bool writes = client->written < client->length && !client->bite;
    bool reads = client->kind != DEAF;
    return (short)((writes ? POLLOUT : 0) | (reads ? POLLIN : 0));
}

static void client_turn(struct client *client, short events, int64_t now)
{
    bool first = client == clients;
    if (!client->busy) {
        if (now >= client->wakes && (first ? !ending : !stopping)) {
            begin(client, first ? STATS : (enum kind)between(LIGHT, KINDS - 1));
        }
        return;
    }
    if (client->vanishes && now >= client->vanishes) {
        end(client, false);
        return;
    }
    if ((events & POLLOUT) || (client->bite && client->written < client->length)) {
        write_some(client);
    }
    if (client->busy && client->kind != DEAF && (events & (POLLIN | POLLHUP | POLLERR))) {
        read_some(client);
    }
}

static void turn(void)
{
    struct pollfd polled[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        polled[i] = (struct pollfd){.fd = clients[i].busy ? clients[i].fd : -1,
                                    .events = wanted(&clients[i])};
    }
    poll(polled, CLIENTS, TURN_MS);
    int64_t now = now_ms();
    for (size_t i = 0; i < CLIENTS; i++) {
        client_turn(&clients[i], polled[i].fd < 0 ? 0 : polled[i].revents, now);
    }
    if (now - moved > STILL_MS) {
        fail("nobody has been answered for a minute");
    }
}

static size_t others_busy(void)
{
    size_t busy = 0;
    for (size_t i = 1; i < CLIENTS; i++) {
        busy += clients[i].busy;
    }
    return busy;
}

/* ---- the server ---- */

static void start_server(const char *path)
{
    int out[2];
    char line[128] = "";
    if (pipe2(out, O_CLOEXEC) != 0) {
        fail("pipe: %s", strerror(errno));
    }
    server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        execl(path, path, "--port", "0", "--workers", "3", "--queue", "8", "--schedule", "normal",
              (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *stream = fdopen(out[0], "r");
    if (server < 0 || !stream || !fgets(line, sizeof(line), stream) ||
        sscanf(line, "listening on http://127.0.0.1:%" SCNu16, &port) != 1) {
        fail("the server did not start");
    }
    fclose(stream);
}

static void await_end(void)
{
    int status;
    moved = now_ms();
    while (waitpid(server, &status, WNOHANG) == 0) {
        turn();
    }
    server = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail("the server ended with wait status %#x", (unsigned)status);
    }
}

/* ---- the storm ---- */

static void storm(int64_t seconds)
{
    int64_t until = now_ms() + seconds * 1000;
    while (now_ms() < until) {
        turn();
    }
}

/* Nobody is left but the one who asks for /stats. */
static void calm(void)
{
    stopping = true;
    int64_t begun = now_ms();
    while (others_busy() > 0) {
        turn();
        if (now_ms() - begun > STILL_MS) {
            fail("%zu clients are not answered", others_busy());
        }
    }
    uint64_t asked = seen.stats;
    while (counters[QUEUED] + counters[RUNNING] > 0 || seen.stats < asked + 2) {
        turn();
        if (now_ms() - begun > STILL_MS) {
            fail("%" PRIu64 " tasks are left of nobody's", counters[QUEUED] + counters[RUNNING]);
        }
    }
}

static void check_totals(void)
{
    /* what waits when it is due is cancelled by the server */
    if (seen.heavy > counters[DONE] || seen.late > counters[EXPIRED] + counters[CANCELLED] ||
        seen.full > counters[REFUSED] || counters[FAILED] + counters[ABANDONED] > 0) {
        fail("the clients have seen more than there was");
    }
    if (!seen.heavy || !seen.late || !seen.full || !seen.light || !counters[CANCELLED]) {
        fail("not everything has happened");
    }
}

/* Some compute, some wait, some do not listen. */
static void end_amid_requests(void)
{
    for (size_t i = 1; i <= 8; i++) {
        begin(&clients[i], i % 4 ? QUITTER : DEAF);
        clients[i].vanishes = 0;
    }
    while (counters[RUNNING] == 0) {
        if (others_busy() == 0) {
            begin(&clients[1], QUITTER);
        }
        turn();
    }
    ending = true;
    kill(server, SIGTERM);
    await_end();
}

static void report(void)
{
    for (int i = 0; i < COUNTERS; i++) {
        printf("%s %" PRIu64 "%s", counter_names[i], counters[i], i + 1 < COUNTERS ? ", " : "\n");
    }
    for (int i = 0; i <= KINDS; i++) {
        printf("%s %" PRIu64 "%s", kind_names[i], seen.scripts[i], i < KINDS ? ", " : "\n");
    }
    printf("answers: light %" PRIu64 ", heavy %" PRIu64 ", 503 %" PRIu64 ", 504 %" PRIu64
           ", stats %" PRIu64 ", to nonsense %" PRIu64 "\n",
           seen.light, seen.heavy, seen.full, seen.late, seen.stats, seen.other);
}

int main(int argc, char **argv)
{
    const char *given = getenv("STRAIT_SEED");
    int64_t seconds = argc > 2 ? atol(argv[2]) : 15;
    if (argc < 2 || argc > 3 || seconds <= 0) {
        fputs("usage: server_storm PATH-TO-offload_server [SECONDS]\n", stderr);
        return 2;
    }
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)now_ms();
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i].fd = -1;
    }
    start_server(argv[1]);
    moved = now_ms();
    storm(seconds);
    calm();
    report();
    check_totals();
    end_amid_requests();
    puts("the accounts added up");
    return 0;
}
