/* SPDX-License-Identifier: MIT */
/*
 * logger: any thread logs, and none ever waits for the disk: where the channel is full, a line is
 * counted instead. One worker writes what there is, and says how many are missing.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "strait.h"

enum { LINES = 1000, WIDTH = 120 };

static struct strait_channel *channel;
static struct strait_sender sender; /* of "cells": any thread sends through the one handle */
static _Atomic unsigned dropped;
static unsigned written, missing; /* the logger's */

__attribute__((format(printf, 1, 2))) static void log_line(const char *format, ...)
{
    char line[WIDTH];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments); /* cut where it is too long */
    va_end(arguments);
    if (strait_try_send(&sender, line, 1) != 1) {
        dropped++;
    }
}

static int write_lines(struct strait_port *port, void *file) /* on the logger's worker */
{
    struct strait_receiver receiver;
    char line[WIDTH];
    (void)port;
    strait_receiver_open(&receiver, channel);
    while (strait_receive(&receiver, line, 1, STRAIT_FOREVER) == 1) {
        fprintf(file, "%s\n", line);
        written++;
        unsigned more = atomic_exchange(&dropped, 0);
        if (more) {
            fprintf(file, "%u lines are missing\n", more);
        }
        missing += more;
    }
    strait_receiver_close(&receiver); /* all senders are closed, and all is written */
    return 0;
}

static int chatter(struct strait_port *port, void *data) /* any thread that logs */
{
    (void)port;
    (void)data;
    for (int i = 0; i < LINES; i++) {
        log_line("line %d", i);
    }
    return 0;
}

int main(void)
{
    struct strait_channel_options lines = {.variant = "cells", .message_size = WIDTH};
    struct strait_worker_options writes = {.entry = write_lines, .data = tmpfile()};
    struct strait_worker_options chats = {.entry = chatter};
    struct strait_worker *logger, *other;
    if (!writes.data || strait_channel_create(&channel, &lines) ||
        strait_sender_open(&sender, channel) || strait_worker_spawn(&logger, &writes) ||
        strait_worker_spawn(&other, &chats)) {
        return 1;
    }
    chatter(NULL, NULL); /* this thread logs, too */
    strait_worker_join(other, STRAIT_FOREVER);
    strait_worker_destroy(other);
    strait_sender_close(&sender); /* nobody logs any more: the logger writes the rest, and ends */
    strait_worker_join(logger, STRAIT_FOREVER);
    strait_worker_destroy(logger);
    strait_channel_destroy(channel, NULL, NULL);
    printf("%u lines written, %u missing\n", written, missing + dropped);
    return fclose(writes.data) || written + missing + dropped != 2 * LINES;
}
