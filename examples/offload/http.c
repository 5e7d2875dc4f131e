/* SPDX-License-Identifier: MIT */
/*
 * http: one edge-triggered event per connection, and one function, connection_go, that does what
 * can be done after it. The states say what a connection is waiting for.
 *
 * A body is never read: whoever sends one is answered, and the connection is closed.
 */
#define _GNU_SOURCE
#include "http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/util.h>

#define IDLE_S 30    /* from the connection's begin, or the last answer, to the next head's end */
#define ANSWER_S 30  /* for a client to take its answer */
#define LINGER_S 2   /* for a client to close after the server has */
#define GONE_S 30    /* until a client that no longer exists is missed */
#define PAUSE_MS 100 /* without descriptors, unless a connection ends before */
#define HEAD_MAX 16384
#define STEPS_MAX 64   /* of a connection, before others get their turn */
#define ACCEPTS_MAX 64 /* likewise */

/* What each answer begins with. */
static const char prefix[] = "HTTP/1.";

enum state {
    READING,   /* for the whole head of a request: IDLE_S, drips or not */
    SERVING,   /* for the handler, which has the request, or until the client goes */
    ANSWERING, /* for the kernel to take the answer: ANSWER_S */
    LINGERING, /* for what the client still sends, to throw it away: LINGER_S */
    OVER,      /* for nothing: the next step frees it */
};

struct connection {
    LIST_ENTRY(connection) entry;
    struct http *http;
    int fd;
    enum state state;
    bool going;         /* connection_go is at work */
    bool keep;          /* for a further request */
    bool begun;         /* the answer's prefix has been sent */
    struct event *stir; /* something has come, there is room again, or the client has gone */
    struct event *late;
    struct http_request request;
    size_t head;   /* bytes of `input` that are the request's */
    size_t length; /* bytes of `input` */
    size_t output_length;
    size_t output_sent;
    char *output;
    char input[HEAD_MAX + 1]; /* and a NUL */
};

struct http {
    struct event_base *base;
    const struct http_handlers *handlers;
    int fd;
    bool stopped;
    bool paused;
    struct event *arrivals;
    struct event *resume;
    size_t count;
    LIST_HEAD(, connection) connections;
};

static void set_deadline(struct connection *connection, int seconds)
{
    struct timeval after = {.tv_sec = seconds};
    event_add(connection->late, &after);
}

/* ---- a request's head ---- */

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {431, "Request Header Fields Too Large"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "";
}

/* The length of the first head in the input, with the empty line that ends it; 0: not all is there.
 * Lines may end with \n alone. */
static size_t find_head(struct connection *connection)
{
    char *input = connection->input;
    size_t skip = strspn(input, "\r\n"); /* some clients send an empty line first */
    if (skip > 0) {
        connection->length -= skip;
        memmove(input, input + skip, connection->length + 1);
    }
    const char *end = memmem(input, connection->length, "\n\r\n", 3);
    const char *bare = memmem(input, connection->length, "\n\n", 2);
    if (bare && (!end || bare < end)) {
        return (size_t)(bare - input) + 2;
    }
    return end ? (size_t)(end - input) + 3 : 0;
}

/* Cuts off the line at *at. NULL: it has a character that no head may have. */
static char *take_line(char **at)
{
    char *line = *at;
    char *end = strchr(line, '\n');
    *at = end + 1;
    end -= end > line && end[-1] == '\r';
    *end = '\0';
    for (const char *c = line; c < end; c++) {
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f) {
            return NULL;
        }
    }
    return line;
}

/* 0, or the status that says what is wrong with it. */
static int parse_request_line(struct connection *connection, char *line)
{
    struct http_request *request = &connection->request;
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version || target == line || version == target + 1) {
        return 400;
    }
    *target++ = '\0';
    *version++ = '\0';
    if (strncmp(version, "HTTP/", 5) != 0) {
        return 400;
    }
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0) {
        return 505;
    }
    connection->keep = version[7] == '1';
    if (strncasecmp(target, "http://", 7) == 0) { /* proxies are asked so, and servers may be */
        target += 7 + strcspn(target + 7, "/?");
    }
    char *query = strchr(target, '?');
    if (query) {
        *query++ = '\0';
    }
    *request = (struct http_request){.method = line, .path = target, .query = query};
    return 0;
}

static bool parse_header(struct connection *connection, char *line)
{
    size_t length = strcspn(line, ": \t");
    if (length == 0 || line[length] != ':') {
        return false;
    }
    const char *value = line + length + 1 + strspn(line + length + 1, " \t");
    line[length] = '\0';
    if (strcasecmp(line, "Connection") == 0) {
        connection->keep = strcasestr(value, "close") == NULL &&
                           (connection->keep || strcasestr(value, "keep-alive") != NULL);
    }
    return true;
}

/* A body follows, or what a stranger thinks is one. */
static bool has_body(const char *line)
{
    return strcasecmp(line, "Transfer-Encoding") == 0 || strcasecmp(line, "Content-Length") == 0;
}

/* 0, or the status that says what is wrong with it. */
static int parse_head(struct connection *connection)
{
    char *at = connection->input;
    if (memchr(at, '\0', connection->head)) {
        return 400;
    }
    char *line = take_line(&at);
    int status = line ? parse_request_line(connection, line) : 400;
    bool body = false;
    while (status == 0) {
        line = take_line(&at);
        if (line && *line == '\0') {
            break;
        }
        if (!line || !parse_header(connection, line)) {
            return 400;
        }
        body = body || has_body(line);
    }
    connection->keep = connection->keep && !body;
    return status;
}

static void refuse(struct connection *connection, int status)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "%s\n", reason_of(status));
    connection->keep = false;
    connection->request.method = "";
    http_answer(&connection->request, status, "", "text/plain", text, (size_t)length);
}

/* ---- the states: each step says whether another can follow at once ---- */

static bool step_reading(struct connection *connection)
{
    struct http *http = connection->http;
    size_t room = HEAD_MAX - connection->length;
    connection->head = find_head(connection);
    if (connection->head > 0) {
        int status = parse_head(connection);
        connection->state = SERVING;
        event_del(connection->late);
        if (status) {
            refuse(connection, status);
        } else {
            http->handlers->serve(&connection->request, http->handlers->context);
        }
        return true;
    }
    if (room == 0) {
        refuse(connection, 431);
        return true;
    }
    ssize_t got = recv(connection->fd, connection->input + connection->length, room, 0);
    if (got > 0) {
        connection->length += (size_t)got;
        connection->input[connection->length] = '\0';
        return true;
    }
    if (got < 0 && errno == EAGAIN) {
        return false;
    }
    connection->state = OVER;
    return true;
}

/*
 * Whether the client still waits. A reset says that it does not. An end of its input says nothing:
 * it may have closed the connection, or its sending side only, and then waits for the answer. So
 * the answer begins, with what each answer begins with: a client that has closed replies with a
 * reset.
 */
static bool step_serving(struct connection *connection)
{
    struct pollfd now = {.fd = connection->fd, .events = POLLRDHUP};
    poll(&now, 1, 0);
    if (now.revents & (POLLERR | POLLHUP)) {
        connection->request.left(&connection->request);
        connection->state = OVER;
        return true;
    }
    if ((now.revents & POLLRDHUP) && !connection->begun) {
        connection->begun = send(connection->fd, prefix, strlen(prefix), MSG_NOSIGNAL) > 0;
    }
    return false;
}

static bool step_answering(struct connection *connection)
{
    ssize_t sent = send(connection->fd, connection->output + connection->output_sent,
                        connection->output_length - connection->output_sent, MSG_NOSIGNAL);
    if (sent < 0) {
        connection->state = errno == EAGAIN ? ANSWERING : OVER;
        return errno != EAGAIN;
    }
    connection->output_sent += (size_t)sent;
    if (connection->output_sent < connection->output_length) {
        return true;
    }
    free(connection->output);
    connection->output = NULL;
    connection->begun = false;
    connection->length -= connection->head;
    memmove(connection->input, connection->input + connection->head, connection->length + 1);
    if (connection->keep && !connection->http->stopped) {
        connection->state = READING;
        set_deadline(connection, IDLE_S);
    } else {
        connection->state = LINGERING;
        shutdown(connection->fd, SHUT_WR);
        set_deadline(connection, LINGER_S);
    }
    return true;
}

/* Closed at once, what has not been read would become a reset that overtakes the answer. */
static bool step_lingering(struct connection *connection)
{
    ssize_t got = recv(connection->fd, NULL, 1 << 20, MSG_TRUNC); /* throws away */
    if (got < 0 && errno == EAGAIN) {
        return false;
    }
    connection->state = got > 0 ? LINGERING : OVER;
    return true;
}

/* ---- connections ---- */

static void listen_again(struct http *http)
{
    if (http->paused) {
        http->paused = false;
        event_del(http->resume);
        event_add(http->arrivals, NULL);
    }
}

static void connection_free(struct connection *connection)
{
    struct http *http = connection->http;
    LIST_REMOVE(connection, entry);
    http->count--;
    if (connection->stir) {
        event_free(connection->stir);
    }
    if (connection->late) {
        event_free(connection->late);
    }
    close(connection->fd);
    free(connection->output);
    free(connection);
}

static void connection_go(struct connection *connection)
{
    struct http *http = connection->http;
    bool more = true;
    connection->going = true;
    for (int steps = 0; more && steps < STEPS_MAX; steps++) {
        switch (connection->state) {
        case READING:
            more = step_reading(connection);
            break;
        case SERVING:
            more = step_serving(connection);
            break;
        case ANSWERING:
            more = step_answering(connection);
            break;
        case LINGERING:
            more = step_lingering(connection);
            break;
        case OVER:
            connection_free(connection);
            listen_again(http);
            if (http->stopped && http->count == 0) {
                http->handlers->emptied(http->handlers->context);
            }
            return;
        }
    }
    connection->going = false;
    if (more) { /* added anew, an edge-triggered event tells again of what there is */
        event_del(connection->stir);
        event_add(connection->stir, NULL);
    }
}

static void on_stir(evutil_socket_t fd, short what, void *connection)
{
    (void)fd;
    (void)what;
    connection_go(connection);
}

static void on_late(evutil_socket_t fd, short what, void *argument)
{
    struct connection *connection = argument;
    (void)fd;
    (void)what;
    if (connection->state == READING && connection->length > 0) {
        refuse(connection, 408);
    } else {
        connection->state = OVER;
        connection_go(connection);
    }
}

static void connection_new(struct http *http, int fd)
{
    struct connection *connection = malloc(sizeof(*connection));
    if (!connection) {
        close(fd);
        return;
    }
    memset(connection, 0, offsetof(struct connection, input) + 1); /* most of it is never touched */
    connection->http = http;
    connection->fd = fd;
    connection->stir =
        event_new(http->base, fd, EV_READ | EV_WRITE | EV_ET | EV_PERSIST, on_stir, connection);
    connection->late = evtimer_new(http->base, on_late, connection);
    LIST_INSERT_HEAD(&http->connections, connection, entry);
    http->count++;
    if (!connection->stir || !connection->late || event_add(connection->stir, NULL) != 0) {
        connection_free(connection);
        return;
    }
    set_deadline(connection, IDLE_S);
}

void http_answer(struct http_request *request, int status, const char *headers, const char *type,
                 const char *body, size_t length)
{
    struct connection *connection =
        (struct connection *)(void *)((char *)request - offsetof(struct connection, request));
    bool keep = connection->keep && !connection->http->stopped;
    char date[64];
    char head[512];
    evutil_date_rfc1123(date, sizeof(date), NULL);
    int begin = snprintf(head, sizeof(head),
                         "%s1 %d %s\r\nDate: %s\r\nConnection: %s\r\n%sContent-Type: %s\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         prefix, status, reason_of(status), date, keep ? "keep-alive" : "close",
                         headers, type, length);
    connection->keep = keep;
    connection->output_sent = connection->begun ? strlen(prefix) : 0;
    connection->output_length = (size_t)begin;
    connection->output = malloc((size_t)begin + length);
    connection->state = connection->output ? ANSWERING : OVER;
    if (connection->output) {
        memcpy(connection->output, head, (size_t)begin);
        if (strcmp(request->method, "HEAD") != 0) {
            memcpy(connection->output + begin, body, length);
            connection->output_length += length;
        }
        set_deadline(connection, ANSWER_S);
    }
    if (!connection->going) {
        connection_go(connection);
    }
}

/* ---- the listener ---- */

/* Whatever is missing, descriptors or memory, is there again when a connection ends, or another
 * program has let go of it; until then the kernel's queue keeps who has come. */
static void listen_later(struct http *http)
{
    struct timeval after = {.tv_usec = PAUSE_MS * 1000};
    http->paused = true;
    event_del(http->arrivals);
    event_add(http->resume, &after);
}

static void on_arrivals(evutil_socket_t listener, short what, void *argument)
{
    struct http *http = argument;
    (void)what;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            connection_new(http, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            listen_later(http);
            return;
        }
    }
}

static void on_resume(evutil_socket_t fd, short what, void *http)
{
    (void)fd;
    (void)what;
    listen_again(http);
}

/* Accepted sockets inherit all of it. */
static int set_options(int fd)
{
    static const struct {
        int level;
        int name;
        int value;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1}, /* asks a silent client's kernel whether it is there */
        {IPPROTO_TCP, TCP_KEEPIDLE, GONE_S / 2},
        {IPPROTO_TCP, TCP_KEEPINTVL, GONE_S / 6},
        {IPPROTO_TCP, TCP_KEEPCNT, 3},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, GONE_S * 1000}, /* it is to confirm what it is sent */
        {IPPROTO_TCP, TCP_NODELAY, 1},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int))) {
            return -errno;
        }
    }
    return 0;
}

static int open_listener(struct http *http, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    http->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (http->fd < 0) {
        return -errno;
    }
    int error = set_options(http->fd);
    if (error == 0 && (bind(http->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
                       listen(http->fd, SOMAXCONN) != 0)) {
        error = -errno;
    }
    return error;
}

int http_create(struct http **created, struct event_base *base, uint16_t port,
                const struct http_handlers *handlers)
{
    struct http *http = calloc(1, sizeof(*http));
    if (!http) {
        return -ENOMEM;
    }
    http->base = base;
    http->handlers = handlers;
    LIST_INIT(&http->connections);
    int error = open_listener(http, port);
    if (error == 0) {
        http->arrivals = event_new(base, http->fd, EV_READ | EV_PERSIST, on_arrivals, http);
        http->resume = evtimer_new(base, on_resume, http);
        if (!http->arrivals || !http->resume || event_add(http->arrivals, NULL) != 0) {
            error = -ENOMEM;
        }
    }
    if (error) {
        http_destroy(http);
        return error;
    }
    *created = http;
    return 0;
}

uint16_t http_port(const struct http *http)
{
    struct sockaddr_in address = {0};
    socklen_t length = sizeof(address);
    getsockname(http->fd, (struct sockaddr *)&address, &length);
    return ntohs(address.sin_port);
}

size_t http_connections(const struct http *http)
{
    return http->count;
}

static void close_listener(struct http *http)
{
    if (http->arrivals) {
        event_free(http->arrivals);
    }
    if (http->resume) {
        event_free(http->resume);
    }
    if (http->fd >= 0) {
        close(http->fd);
    }
    http->arrivals = http->resume = NULL;
    http->paused = false;
    http->fd = -1;
}

void http_stop(struct http *http)
{
    struct connection *connection = LIST_FIRST(&http->connections);
    http->stopped = true;
    close_listener(http);
    while (connection) {
        struct connection *next = LIST_NEXT(connection, entry);
        if (connection->state == READING) {
            connection->state = OVER;
            connection_go(connection);
        }
        connection = next;
    }
}

void http_destroy(struct http *http)
{
    if (!http) {
        return;
    }
    close_listener(http);
    struct connection *next;
    for (struct connection *one = LIST_FIRST(&http->connections); one; one = next) {
        next = LIST_NEXT(one, entry);
        connection_free(one);
    }
    free(http);
}
