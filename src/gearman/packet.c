/* SPDX-License-Identifier: MIT */
#include "packet.h"

#include <endian.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../extra/memory.h"

#define BUFFER_MIN 16384u
#define OUT_MOST 1048576u
#define HEADER 12u /* magic, type, size */
/* A peer that acknowledges nothing for so long is taken for gone. */
#define SILENCE_MS 3000
#define DEAD_NS 3000000000
#define ECHO_NS 1000000000
#define CRUMBS_MOST 1024u /* bytes: fewer of a packet are no sign of life */
#define PATIENCE_MIN_NS 10000000
#define PATIENCE_MAX_NS 1000000000
#define FILLS 64 /* reads at a time: a fast server must not hold the loop */

/* ---- servers ---- */

/* The part of `entry`, which is changed, that is the host, and behind it the port. False: it is
 * neither "host", "host:port" nor "[address]:port". */
static bool split_name(char *entry, char **host, char **port)
{
    char *colon;
    *port = STRAIT_GEARMAN_PORT;
    *host = entry;
    if (*entry == '[') {
        char *end = strchr(entry, ']');
        if (!end || (end[1] != '\0' && end[1] != ':')) {
            return false;
        }
        *host = entry + 1;
        *end = '\0';
        colon = end[1] ? end + 1 : NULL;
    } else {
        colon = strchr(entry, ':');
    }
    if (colon) {
        *colon = '\0';
        *port = colon + 1;
        size_t digits = strspn(*port, "0123456789");
        if (digits > 5 || (*port)[digits] != '\0' || atoi(*port) < 1 || atoi(*port) > UINT16_MAX) {
            return false;
        }
    }
    return **host != '\0';
}

/* 0; -EINVAL, -ENOENT, -ENOMEM. */
static int resolve_one(struct strait_p_gearman_server *server, char *entry)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char *host;
    char *port;
    if (!split_name(entry, &host, &port)) {
        return -EINVAL;
    }
    int answer = getaddrinfo(host, port, &hints, &found);
    if (answer != 0 || !found) {
        return answer == EAI_MEMORY ? -ENOMEM : -ENOENT;
    }
    for (const struct addrinfo *one = found; one; one = one->ai_next) {
        unsigned i = server->addresses;
        if (i < STRAIT_P_GEARMAN_ADDRESSES) {
            memcpy(&server->address[i], one->ai_addr, one->ai_addrlen);
            server->length[i] = one->ai_addrlen;
            server->addresses++;
        }
    }
    freeaddrinfo(found);
    return 0;
}

STRAIT_PRIVATE int strait_p_gearman_resolve(struct strait_p_gearman_servers *servers,
                                            const char *list)
{
    int error = 0;
    memset(servers, 0, sizeof(*servers));
    list = list ? list : "127.0.0.1";
    while (error == 0) {
        struct strait_p_gearman_server *server = &servers->server[servers->count];
        char entry[STRAIT_P_GEARMAN_NAME];
        size_t length = strcspn(list, ",");
        if (length == 0 || length >= sizeof(entry) ||
            servers->count == STRAIT_GEARMAN_SERVERS_MAX) {
            error = -EINVAL;
            break;
        }
        memcpy(server->name, list, length);
        memcpy(entry, list, length);
        entry[length] = '\0';
        error = resolve_one(server, entry);
        servers->count++;
        list += length;
        if (*list == '\0') {
            break;
        }
        list++;
    }
    return error;
}

/* ---- buffers ---- */

/* Makes room for `bytes` more behind its end. False: no memory. */
static bool make_room(struct strait_p_gearman_buffer *buffer, size_t bytes)
{
    size_t used = buffer->end - buffer->begin;
    if (buffer->size - buffer->end >= bytes) {
        return true;
    }
    if (buffer->size - used >= bytes && buffer->begin >= used) {
        memcpy(buffer->bytes, buffer->bytes + buffer->begin, used);
    } else {
        size_t size = buffer->size ? 2 * buffer->size : BUFFER_MIN;
        while (size - used < bytes) {
            size *= 2;
        }
        uint8_t *larger = strait_p_extra_alloc(sizeof(void *), size);
        if (!larger) {
            return false;
        }
        if (used) {
            memcpy(larger, buffer->bytes + buffer->begin, used);
        }
        free(buffer->bytes);
        buffer->bytes = larger;
        buffer->size = size;
    }
    buffer->begin = 0;
    buffer->end = used;
    return true;
}

static void empty(struct strait_p_gearman_buffer *buffer)
{
    buffer->begin = 0;
    buffer->end = 0;
}

/* ---- connections ---- */

STRAIT_PRIVATE void strait_p_gearman_close(struct strait_p_gearman_link *link)
{
    if (link->fd >= 0) {
        close(link->fd);
    }
    link->fd = -1;
    link->skip = 0;
    link->crumbs = 0;
    link->heard = false;
    link->asked = false;
    empty(&link->in);
    empty(&link->out);
}

STRAIT_PRIVATE void strait_p_gearman_free(struct strait_p_gearman_link *link)
{
    strait_p_gearman_close(link);
    free(link->in.bytes);
    free(link->out.bytes);
    memset(&link->in, 0, sizeof(link->in));
    memset(&link->out, 0, sizeof(link->out));
}

/* What is refused here makes a dead peer be noticed later, by the echoes. */
static void configure(int fd)
{
    int on = 1;
    unsigned silence = SILENCE_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof(silence));
}

STRAIT_PRIVATE int strait_p_gearman_connect(struct strait_p_gearman_link *link,
                                            struct strait_p_gearman_server *server)
{
    unsigned turn = server->turn++ % server->addresses;
    const struct sockaddr *address = (const void *)&server->address[turn];
    strait_p_gearman_close(link);
    link->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0) {
        return -errno;
    }
    configure(link->fd);
    if (connect(link->fd, address, server->length[turn]) != 0 && errno != EINPROGRESS) {
        int error = -errno;
        strait_p_gearman_close(link);
        return error;
    }
    return 0;
}

STRAIT_PRIVATE bool strait_p_gearman_has_room(const struct strait_p_gearman_link *link)
{
    return link->out.end - link->out.begin < OUT_MOST;
}

STRAIT_PRIVATE int strait_p_gearman_flush(struct strait_p_gearman_link *link)
{
    struct strait_p_gearman_buffer *out = &link->out;
    while (out->begin < out->end) {
        ssize_t written = send(link->fd, out->bytes + out->begin, out->end - out->begin,
                               MSG_NOSIGNAL | MSG_DONTWAIT);
        if (written >= 0) {
            out->begin += (size_t)written;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    empty(out);
    return 0;
}

STRAIT_PRIVATE int strait_p_gearman_fill(struct strait_p_gearman_link *link)
{
    struct strait_p_gearman_buffer *in = &link->in;
    ssize_t got;
    if (!make_room(in, BUFFER_MIN / 2)) {
        return -ENOMEM;
    }
    do {
        got = recv(link->fd, in->bytes + in->end, in->size - in->end, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        return got < 0 ? -errno : -EPIPE;
    }
    in->end += (size_t)got;
    link->crumbs += (size_t)got;
    return 0;
}

/* ---- packets ---- */

static void put_u32(uint8_t *to, uint32_t number)
{
    number = htobe32(number);
    memcpy(to, &number, sizeof(number));
}

static uint32_t get_u32(const uint8_t *from)
{
    uint32_t number;
    memcpy(&number, from, sizeof(number));
    return be32toh(number);
}

STRAIT_PRIVATE int strait_p_gearman_put(struct strait_p_gearman_link *link,
                                        enum strait_p_gearman_type type,
                                        const struct strait_p_gearman_field *fields, unsigned count,
                                        const struct strait_p_gearman_field *tail)
{
    size_t size = (count ? count - 1 : 0) + (tail ? tail->size : 0);
    for (unsigned i = 0; i < count; i++) {
        size += fields[i].size;
    }
    if (!make_room(&link->out, HEADER + size)) {
        return -ENOMEM;
    }
    uint8_t *to = link->out.bytes + link->out.end;
    memcpy(to, "\0REQ", 4);
    put_u32(to + 4, type);
    put_u32(to + 8, (uint32_t)size);
    to += HEADER;
    for (unsigned i = 0; i < count; i++) {
        if (i > 0) {
            *to++ = '\0';
        }
        if (fields[i].size) {
            memcpy(to, fields[i].data, fields[i].size);
        }
        to += fields[i].size;
    }
    if (tail && tail->size) {
        memcpy(to, tail->data, tail->size);
    }
    link->out.end += HEADER + size;
    link->behind += HEADER + size;
    return 0;
}

STRAIT_PRIVATE int strait_p_gearman_put_text(struct strait_p_gearman_link *link, const char *line)
{
    size_t size = strlen(line);
    if (!make_room(&link->out, size + 2)) {
        return -ENOMEM;
    }
    memcpy(link->out.bytes + link->out.end, line, size);
    memcpy(link->out.bytes + link->out.end + size, "\r\n", 2);
    link->out.end += size + 2;
    link->behind += size + 2;
    return 0;
}

STRAIT_PRIVATE void strait_p_gearman_head_turn(struct strait_p_gearman_head *head)
{
    head->magic = htobe32(head->magic);
    head->status = htobe32(head->status);
    head->code = (int32_t)htobe32((uint32_t)head->code);
    head->remaining = (int64_t)htobe64((uint64_t)head->remaining);
}

STRAIT_PRIVATE bool strait_p_gearman_open(const struct strait_p_gearman_field *field,
                                          struct strait_p_gearman_head *head,
                                          struct strait_p_gearman_field *payload)
{
    if (field->size < sizeof(*head)) {
        return false;
    }
    memcpy(head, field->data, sizeof(*head));
    strait_p_gearman_head_turn(head);
    payload->data = (const uint8_t *)field->data + sizeof(*head);
    payload->size = field->size - sizeof(*head);
    return head->magic == STRAIT_P_GEARMAN_MAGIC;
}

STRAIT_PRIVATE bool strait_p_gearman_copy(void **copy, const void *payload, size_t size)
{
    *copy = size ? strait_p_extra_alloc(STRAIT_LINE, size) : NULL;
    if (*copy) {
        memcpy(*copy, payload, size);
    }
    return *copy || size == 0;
}

/* How many fields a packet of a job server has. */
static unsigned fields_of(enum strait_p_gearman_type type)
{
    switch (type) {
    case STRAIT_P_GEARMAN_JOB_ASSIGN_UNIQ:
        return 4; /* handle, function, key, what the submit had */
    case STRAIT_P_GEARMAN_WORK_COMPLETE:
    case STRAIT_P_GEARMAN_ERROR:
        return 2; /* handle and answer; code and text */
    default:
        return 1;
    }
}

/* What zeros divide; the last one is the rest. Those that are missing are empty. */
static void split(struct strait_p_gearman_packet *packet, const uint8_t *bytes, size_t size)
{
    unsigned count = fields_of(packet->type);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *zero = i + 1 < count && size ? memchr(bytes, 0, size) : NULL;
        packet->fields[i].data = bytes;
        packet->fields[i].size = zero ? (size_t)(zero - bytes) : size;
        size -= packet->fields[i].size + (zero != NULL);
        bytes += packet->fields[i].size + (zero != NULL);
    }
}

/* A line of text, if it is whole. */
static int next_line(struct strait_p_gearman_link *link, struct strait_p_gearman_packet *packet)
{
    struct strait_p_gearman_buffer *in = &link->in;
    const uint8_t *line = in->bytes + in->begin;
    const uint8_t *end = memchr(line, '\n', in->end - in->begin);
    if (!end) {
        return in->end - in->begin > STRAIT_P_GEARMAN_LINE ? -EPROTO : 0;
    }
    in->begin += (size_t)(end - line) + 1;
    end -= end > line && end[-1] == '\r';
    packet->type = STRAIT_P_GEARMAN_TEXT;
    split(packet, line, (size_t)(end - line));
    return 1;
}

STRAIT_PRIVATE int strait_p_gearman_next(struct strait_p_gearman_link *link,
                                         struct strait_p_gearman_packet *packet)
{
    struct strait_p_gearman_buffer *in = &link->in;
    size_t skipped = strait_min(link->skip, in->end - in->begin);
    in->begin += skipped;
    link->skip -= skipped;
    size_t there = in->end - in->begin;
    const uint8_t *bytes = in->bytes + in->begin;
    memset(packet, 0, sizeof(*packet));
    if (there > 0 && bytes[0] != 0) {
        return next_line(link, packet);
    }
    if (there < HEADER) {
        return 0;
    }
    if (memcmp(bytes, "\0RES", 4) != 0) {
        return -EPROTO;
    }
    size_t size = get_u32(bytes + 8);
    size_t kept = strait_min(size, link->packet_max);
    if (there < HEADER + kept) {
        return make_room(in, HEADER + kept - there) ? 0 : -ENOMEM;
    }
    packet->type = (enum strait_p_gearman_type)get_u32(bytes + 4);
    packet->cut = kept < size;
    split(packet, bytes + HEADER, kept);
    in->begin += HEADER + kept;
    link->skip = size - kept;
    return 1;
}

/* ---- whether the other side is there ---- */

static void hear(struct strait_p_gearman_link *link, int64_t now)
{
    link->crumbs = 0;
    link->heard = true;
    link->asked = false;
    link->alive_at = now;
}

STRAIT_PRIVATE int strait_p_gearman_read(struct strait_p_gearman_link *link, int64_t now,
                                         strait_p_gearman_obey_fn *obey, void *side)
{
    struct strait_p_gearman_packet packet;
    int error = 0;
    for (unsigned fills = 0; error == 0 && fills < FILLS; fills++) {
        int more = 1;
        error = strait_p_gearman_fill(link);
        while (error == 0 && more == 1) {
            more = strait_p_gearman_next(link, &packet);
            if (more == 1 || link->crumbs >= CRUMBS_MOST) {
                hear(link, now);
            }
            error = more < 0 ? more : more == 1 && !obey(side, &packet) ? -EPROTO : 0;
        }
    }
    return error == -EAGAIN ? 0 : error;
}

STRAIT_PRIVATE void strait_p_gearman_ask(struct strait_p_gearman_link *link, int64_t now)
{
    static const struct strait_p_gearman_field word = {"strait", 6};
    if (strait_p_gearman_put(link, STRAIT_P_GEARMAN_ECHO_REQ, &word, 1, NULL) == 0) {
        link->asked = true;
        link->behind = 0;
        link->alive_at = now;
    }
}

STRAIT_PRIVATE void strait_p_gearman_ask_if_silent(struct strait_p_gearman_link *link, int64_t now)
{
    if (!link->asked && now - link->alive_at >= ECHO_NS) {
        strait_p_gearman_ask(link, now);
    }
}

/* Has the other side's kernel not acknowledged the question? Who acknowledges nothing for
 * SILENCE_MS is found dead by ours. */
static bool is_asking(const struct strait_p_gearman_link *link)
{
    int left = 0;
    return link->heard && ioctl(link->fd, SIOCOUTQ, &left) == 0 &&
           (size_t)left + link->out.end - link->out.begin > link->behind;
}

STRAIT_PRIVATE bool strait_p_gearman_is_dead(struct strait_p_gearman_link *link, int64_t now)
{
    if (!link->asked || now - link->alive_at < DEAD_NS) {
        return false;
    }
    if (is_asking(link)) {
        link->alive_at = now;
        return false;
    }
    return true;
}

STRAIT_PRIVATE int64_t strait_p_gearman_look_at(const struct strait_p_gearman_link *link, bool busy)
{
    return link->asked ? link->alive_at + DEAD_NS
           : busy      ? link->alive_at + ECHO_NS
                       : STRAIT_FOREVER;
}

STRAIT_PRIVATE int64_t strait_p_gearman_patience(int64_t before)
{
    int64_t longer = before ? 2 * before : PATIENCE_MIN_NS;
    return longer < PATIENCE_MAX_NS ? longer : PATIENCE_MAX_NS;
}
