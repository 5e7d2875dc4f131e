/* SPDX-License-Identifier: MIT */
/*
 * Gearman's packets, and a connection that carries them: used by both sides, one thread each.
 *
 * A packet is a magic ("\0REQ" to the job server, "\0RES" from it), a type and a size (32 bits,
 * big-endian), and fields that zeros divide; the last one may contain zeros. The format is
 * documented at gearman.org/protocol. Lines of text, the administrative protocol, may come between
 * packets; they begin with another byte than zero.
 *
 * What fails here touches errno: each side's own calls leave it as it was.
 */
#ifndef STRAIT_GEARMAN_PACKET_H
#define STRAIT_GEARMAN_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "strait_gearman.h"

#ifndef STRAIT_PRIVATE
#define STRAIT_PRIVATE static __attribute__((unused))
#endif

enum strait_p_gearman_type {
    STRAIT_P_GEARMAN_CAN_DO = 1,
    STRAIT_P_GEARMAN_PRE_SLEEP = 4,
    STRAIT_P_GEARMAN_NOOP = 6,
    STRAIT_P_GEARMAN_SUBMIT_JOB = 7,
    STRAIT_P_GEARMAN_JOB_CREATED = 8,
    STRAIT_P_GEARMAN_NO_JOB = 10,
    STRAIT_P_GEARMAN_WORK_COMPLETE = 13,
    STRAIT_P_GEARMAN_WORK_FAIL = 14,
    STRAIT_P_GEARMAN_ECHO_REQ = 16,
    STRAIT_P_GEARMAN_ECHO_RES = 17,
    STRAIT_P_GEARMAN_ERROR = 19,
    STRAIT_P_GEARMAN_SUBMIT_JOB_HIGH = 21,
    STRAIT_P_GEARMAN_GRAB_JOB_UNIQ = 30,
    STRAIT_P_GEARMAN_JOB_ASSIGN_UNIQ = 31,
    STRAIT_P_GEARMAN_SUBMIT_JOB_LOW = 33,
    STRAIT_P_GEARMAN_TEXT = 1 << 16, /* a line of text: one field, without its end */
};

#define STRAIT_P_GEARMAN_FIELDS 4

struct strait_p_gearman_field {
    const void *data;
    size_t size;
};

/* One packet: fields that are not there are empty. A received one lies in the connection's buffer
 * until the next call that reads. */
struct strait_p_gearman_packet {
    enum strait_p_gearman_type type;
    struct strait_p_gearman_field fields[STRAIT_P_GEARMAN_FIELDS];
    bool cut; /* it was larger than packet_max: the rest of its last field is skipped */
};

struct strait_p_gearman_buffer {
    uint8_t *bytes;
    size_t begin; /* of what is to be read, or to be written */
    size_t end;
    size_t size;
};

struct strait_p_gearman_link {
    int fd; /* -1: none; until it is connected there is something to write, and nothing read */
    struct strait_p_gearman_buffer in;
    struct strait_p_gearman_buffer out;
    size_t packet_max; /* bytes of a packet's fields that are kept */
    size_t skip;       /* bytes that are still to come of one that was cut */
    size_t crumbs;     /* bytes that have come since it was heard last */
    bool heard;        /* the server has said something since it was connected */
    bool asked;        /* an echo is to come, */
    size_t behind;     /* and so many bytes are to be written behind that question */
    int64_t alive_at;  /* when it was heard last, or asked */
};

#define STRAIT_P_GEARMAN_NAME 256 /* bytes of a server in a list, with a zero */
#define STRAIT_P_GEARMAN_LINE 4096
#define STRAIT_P_GEARMAN_ADDRESSES 4 /* of one server: what is beyond is not tried */

struct strait_p_gearman_server {
    char name[STRAIT_P_GEARMAN_NAME]; /* as in the list */
    struct sockaddr_storage address[STRAIT_P_GEARMAN_ADDRESSES];
    socklen_t length[STRAIT_P_GEARMAN_ADDRESSES];
    unsigned addresses;
    unsigned turn; /* the next one that is tried */
};

struct strait_p_gearman_servers {
    unsigned count;
    struct strait_p_gearman_server server[STRAIT_GEARMAN_SERVERS_MAX];
};

/* The addresses of a list as the options have it; NULL: of this machine. 0; -EINVAL, -ENOENT,
 * -ENOMEM. Blocks while names are resolved. */
STRAIT_PRIVATE int strait_p_gearman_resolve(struct strait_p_gearman_servers *servers,
                                            const char *list);

/* Begins to connect to the server's next address: TCP_NODELAY, keepalive and TCP_USER_TIMEOUT are
 * set. 0, or -errno with the link closed. */
STRAIT_PRIVATE int strait_p_gearman_connect(struct strait_p_gearman_link *link,
                                            struct strait_p_gearman_server *server);

/* Closes the socket and forgets what is in the buffers, whose memory stays until the
 * link is freed. */
STRAIT_PRIVATE void strait_p_gearman_close(struct strait_p_gearman_link *link);
STRAIT_PRIVATE void strait_p_gearman_free(struct strait_p_gearman_link *link);

/* Appends a packet to what is to be written. `tail` (NULL: none) goes on where the last field ends.
 * 0; -ENOMEM, with nothing appended. */
STRAIT_PRIVATE int strait_p_gearman_put(struct strait_p_gearman_link *link,
                                        enum strait_p_gearman_type type,
                                        const struct strait_p_gearman_field *fields, unsigned count,
                                        const struct strait_p_gearman_field *tail);

/* Appends a line of text, without its end. 0; -ENOMEM. */
STRAIT_PRIVATE int strait_p_gearman_put_text(struct strait_p_gearman_link *link, const char *line);

/* Does little wait for the socket? Nothing more is begun where much does. */
STRAIT_PRIVATE bool strait_p_gearman_has_room(const struct strait_p_gearman_link *link);

/* Writes what can be written. 0: all of it; -EAGAIN: the rest when the socket is writable, which it
 * is not before it is connected; other errors: the connection is dead, or was not made. */
STRAIT_PRIVATE int strait_p_gearman_flush(struct strait_p_gearman_link *link);

/* Reads what is there, up to one buffer. 0; -EAGAIN: nothing; -EPIPE: the other side has closed it;
 * other errors: the connection is dead. */
STRAIT_PRIVATE int strait_p_gearman_fill(struct strait_p_gearman_link *link);

/* The next packet of what was read. 1; 0: none is complete; -EPROTO, -ENOMEM: the connection is of
 * no use any more. */
STRAIT_PRIVATE int strait_p_gearman_next(struct strait_p_gearman_link *link,
                                         struct strait_p_gearman_packet *packet);

/* False: this is no job server. */
typedef bool strait_p_gearman_obey_fn(void *side, const struct strait_p_gearman_packet *packet);

/* Reads what is there, though not for ever, and has each packet obeyed. 0, or why the connection is
 * dead. */
STRAIT_PRIVATE int strait_p_gearman_read(struct strait_p_gearman_link *link, int64_t now,
                                         strait_p_gearman_obey_fn *obey, void *side);

/* Asks the server for an echo: now, or when it was silent for a second. */
STRAIT_PRIVATE void strait_p_gearman_ask(struct strait_p_gearman_link *link, int64_t now);
STRAIT_PRIVATE void strait_p_gearman_ask_if_silent(struct strait_p_gearman_link *link, int64_t now);

/* It was asked three seconds ago, and has said neither a packet since nor a KiB of one. While the
 * question is on its way the kernel says when it is dead. */
STRAIT_PRIVATE bool strait_p_gearman_is_dead(struct strait_p_gearman_link *link, int64_t now);

/* When one of the two is to be looked at; `busy`: it must not be silent for long. */
STRAIT_PRIVATE int64_t strait_p_gearman_look_at(const struct strait_p_gearman_link *link,
                                                bool busy);

/* Doubles a time to wait, from 10 ms to 1 s; 0: the first. */
STRAIT_PRIVATE int64_t strait_p_gearman_patience(int64_t before);

/* ---- what a task and its answer are, in the last field of a packet ---- */

#define STRAIT_P_GEARMAN_MAGIC 0x73747231u /* "str1": with the version, 1 */

/* Numbers are big-endian. The payload follows. */
struct strait_p_gearman_head {
    uint32_t magic;
    uint32_t status;   /* of an answer: enum strait_task_status; of a task 0 */
    int32_t code;      /* of an answer */
    uint32_t reserved; /* 0 */
    int64_t remaining; /* of a task: ns to its finish_by; 0: it has none; of an answer 0 */
    uint8_t data[64];
};

/* To and from the order of bytes in which it travels. */
STRAIT_PRIVATE void strait_p_gearman_head_turn(struct strait_p_gearman_head *head);

/* The two parts of a last field. False: it is none of ours. */
STRAIT_PRIVATE bool strait_p_gearman_open(const struct strait_p_gearman_field *field,
                                          struct strait_p_gearman_head *head,
                                          struct strait_p_gearman_field *payload);

/* A copy of a payload, for free(): NULL of an empty one. False: no memory. */
STRAIT_PRIVATE bool strait_p_gearman_copy(void **copy, const void *payload, size_t size);

STRAIT_STATIC_ASSERT(sizeof(struct strait_p_gearman_head) == 88, "the same on all machines");

#define STRAIT_P_GEARMAN_HANDLE 64 /* bytes of a job's handle at most, as gearmand has it */

/* Digits of a unique key: 12 random bytes of the parent, the 8 of the task's id. */
#define STRAIT_P_GEARMAN_KEY 40

#endif /* STRAIT_GEARMAN_PACKET_H */
