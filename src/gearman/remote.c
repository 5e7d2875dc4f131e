/* SPDX-License-Identifier: MIT */
/*
 * The submitting side. All of it is on the parent's thread.
 *
 * A task is in one of two lists: `live`, in the order of the submits, until its end is known, then
 * `ended`, until dispatch has called its `done`. A live one waits until a job server takes it; the
 * server's answers to submits come in their order and say the handle, under which its result comes.
 * Who loses the server has all live tasks wait again, in their order, and connects to the next.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "packet.h"

#include "../extra/memory.h"
#include "../extra/timespec.h"

#define OWED_DEFAULT 1024u
#define INDEX_BITS 20     /* of an id: the slot; above it, a serial number */
#define RETRY_NS 10000000 /* where memory is short */
#define SCAN_NS 1000000   /* deadlines are looked at no more often */

enum remote_state {
    REMOTE_FREE,
    REMOTE_WAITING,   /* for a server that takes it */
    REMOTE_SUBMITTED, /* its handle is to come */
    REMOTE_AT_SERVER,
    REMOTE_ENDED,
};

struct remote_slot {
    struct remote_slot *next; /* in its list; of free ones, this alone */
    struct remote_slot *previous;
    struct remote_slot *same; /* hash: the next handle there */
    strait_task_id id;        /* its last one */
    struct strait_process_task task;
    void *payload; /* its memory; NULL: none */
    char name[STRAIT_PROCESS_NAME];
    int64_t finish_by;
    enum strait_gearman_priority priority;
    enum remote_state state;
    uint8_t handle_size;
    char handle[STRAIT_P_GEARMAN_HANDLE];
};

struct remote_list {
    struct remote_slot *first;
    struct remote_slot *last;
};

struct strait_gearman {
    struct strait_p_gearman_servers servers;
    struct strait_p_gearman_link link;
    pid_t owner; /* whose remote it is: a fork's child of that is another process */
    int epoll;
    int timer;
    const void *callback; /* the frame that calls `done` */
    bool watched;         /* the link's socket is in the epoll set, */
    bool watches_out;     /* for writing, too */
    bool closing;         /* it is being destroyed */
    unsigned server;      /* the one in use, or the next */
    unsigned tried;       /* that could not be reached, one after the other */
    int64_t retry_ns;     /* how long to wait once all have been tried */
    int64_t full_ns;      /* likewise where a queue is full; 0: none is */
    int64_t connect_at;   /* not before; without a connection */
    int64_t submit_at;    /* not before: a queue is full, or memory short; 0: now */
    int64_t next_finish;  /* no live task's finish_by is earlier */
    int64_t scan_at;      /* not before */
    int64_t armed;        /* for when the timer is set; 0: it is not */
    struct remote_list live;
    struct remote_list ended;
    struct remote_slot *to_submit; /* those before it in `live` do not wait */
    struct remote_slot *free;
    struct remote_slot *slots;
    struct remote_slot **handles; /* a hash; size hash_mask + 1 */
    strait_task_id *due; /* of submits whose answer is to come: a ring, size due_mask + 1 */
    size_t hash_mask;
    size_t due_mask;
    size_t due_first;
    size_t due_end;
    size_t due_most; /* how many submits may be without an answer: one where a queue was full, twice
                        as many with each task that is taken */
    size_t owed_max;
    size_t payload_max;
    uint64_t serial;
    struct strait_gearman_stats counters;
    char key[STRAIT_P_GEARMAN_KEY + 1]; /* its first 24 digits are the parent's */
};

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- lists, handles, ids ---- */

static void append(struct remote_list *list, struct remote_slot *slot)
{
    slot->next = NULL;
    slot->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = slot;
    list->last = slot;
}

static void unlink_slot(struct remote_list *list, struct remote_slot *slot)
{
    *(slot->previous ? &slot->previous->next : &list->first) = slot->next;
    *(slot->next ? &slot->next->previous : &list->last) = slot->previous;
}

static struct remote_slot *slot_of(const struct strait_gearman *self, strait_task_id id)
{
    size_t index = (size_t)(id & ((1u << INDEX_BITS) - 1));
    struct remote_slot *slot = index < self->owed_max ? &self->slots[index] : NULL;
    return slot && slot->id == id && slot->state != REMOTE_FREE ? slot : NULL;
}

/* Where the pointer to the task of this handle is, or is to be, if it is NULL. */
static struct remote_slot **find_handle(const struct strait_gearman *self,
                                        const struct strait_p_gearman_field *handle)
{
    const uint8_t *bytes = handle->data;
    uint32_t hash = 2166136261u; /* FNV-1a, of Fowler, Noll and Vo */
    for (size_t i = 0; i < handle->size; i++) {
        hash = (hash ^ bytes[i]) * 16777619u;
    }
    struct remote_slot **at = &self->handles[hash & self->hash_mask];
    while (*at && ((*at)->handle_size != handle->size ||
                   memcmp((*at)->handle, handle->data, handle->size) != 0)) {
        at = &(*at)->same;
    }
    return at;
}

static void forget_handle(struct strait_gearman *self, struct remote_slot *slot)
{
    struct strait_p_gearman_field handle = {slot->handle, slot->handle_size};
    struct remote_slot **at = find_handle(self, &handle);
    *at = slot->same;
    slot->handle_size = 0;
}

/* ---- the connection ---- */

/* All live tasks wait again; the next server is to be tried, at once if it has not just been. */
static void lose(struct strait_gearman *self, int64_t now)
{
    /* A child of this process may have the socket, too: it would be watched for ever. */
    epoll_ctl(self->epoll, EPOLL_CTL_DEL, self->link.fd, NULL);
    strait_p_gearman_close(&self->link);
    memset(self->handles, 0, (self->hash_mask + 1) * sizeof(self->handles[0]));
    self->due_first = self->due_end;
    self->due_most = self->due_mask + 1;
    for (struct remote_slot *slot = self->live.first; slot; slot = slot->next) {
        slot->state = REMOTE_WAITING;
        slot->handle_size = 0;
    }
    self->to_submit = self->live.first;
    self->submit_at = 0;
    self->full_ns = 0;
    self->watched = false;
    self->server = (self->server + 1) % self->servers.count;
    self->connect_at = now;
    if (++self->tried >= self->servers.count) {
        self->tried = 0;
        self->retry_ns = strait_p_gearman_patience(self->retry_ns);
        self->connect_at = now + self->retry_ns;
    }
}

/* Connects if it is time, and notices a server that is gone. */
static void keep_connected(struct strait_gearman *self, int64_t now)
{
    if (self->link.fd >= 0 && strait_p_gearman_is_dead(&self->link, now)) {
        lose(self, now);
    }
    if (self->link.fd >= 0 && self->live.first) {
        strait_p_gearman_ask_if_silent(&self->link, now);
    }
    for (unsigned i = 0; i < self->servers.count && self->link.fd < 0; i++) {
        if (now < self->connect_at) {
            return;
        }
        if (strait_p_gearman_connect(&self->link, &self->servers.server[self->server]) != 0) {
            lose(self, now);
        } else {
            strait_p_gearman_ask(&self->link, now);
        }
    }
}

/* ---- the end of a task ---- */

static void end_task(struct strait_gearman *self, struct remote_slot *slot,
                     enum strait_task_status status, int code)
{
    if (slot->state == REMOTE_AT_SERVER) {
        forget_handle(self, slot);
    }
    if (self->to_submit == slot) {
        self->to_submit = slot->next;
    }
    unlink_slot(&self->live, slot);
    append(&self->ended, slot);
    slot->state = REMOTE_ENDED;
    slot->task.task.status = status;
    slot->task.task.code = code;
}

/* The job server forgets a job that waits. It says so, which nobody here needs. */
static void cancel_job(struct strait_gearman *self, const char *handle, size_t size)
{
    char line[sizeof("cancel job ") + STRAIT_P_GEARMAN_HANDLE] = "cancel job ";
    memcpy(line + strlen(line), handle, size);
    strait_p_gearman_put_text(&self->link, line);
}

/* Before its answer has come. */
static void give_up(struct strait_gearman *self, struct remote_slot *slot,
                    enum strait_task_status status, int code)
{
    if (slot->state == REMOTE_AT_SERVER) {
        cancel_job(self, slot->handle, slot->handle_size);
    }
    end_task(self, slot, status, code);
}

/* Expires what is late. */
static void look_at_deadlines(struct strait_gearman *self, int64_t now)
{
    if (now < self->next_finish || now < self->scan_at) {
        return;
    }
    self->next_finish = STRAIT_FOREVER;
    self->scan_at = now + SCAN_NS;
    for (struct remote_slot *slot = self->live.first, *next; slot; slot = next) {
        next = slot->next;
        if (slot->finish_by && slot->finish_by <= now) {
            give_up(self, slot, STRAIT_TASK_EXPIRED, -ETIMEDOUT);
        } else if (slot->finish_by) {
            self->next_finish = earlier(self->next_finish, slot->finish_by);
        }
    }
}

/* ---- what the job server says ---- */

/* The answer to the oldest submit that has none. NULL: its task has ended in the meantime. False:
 * there was no such submit. */
static bool take_due(struct strait_gearman *self, struct remote_slot **slot)
{
    if (self->due_first == self->due_end) {
        return false;
    }
    *slot = slot_of(self, self->due[self->due_first++ & self->due_mask]);
    if (*slot && (*slot)->state != REMOTE_SUBMITTED) {
        *slot = NULL;
    }
    return true;
}

static bool on_created(struct strait_gearman *self, const struct strait_p_gearman_field *handle)
{
    struct remote_slot **at = find_handle(self, handle);
    struct remote_slot *slot;
    if (handle->size == 0 || handle->size > STRAIT_P_GEARMAN_HANDLE ||
        memchr(handle->data, 0, handle->size) || !take_due(self, &slot) || *at) {
        return false;
    }
    self->full_ns = 0;
    self->tried = 0;
    self->retry_ns = 0;
    self->due_most = strait_min(2 * self->due_most, self->due_mask + 1);
    if (!slot) {
        char copy[STRAIT_P_GEARMAN_HANDLE];
        memcpy(copy, handle->data, handle->size);
        cancel_job(self, copy, handle->size);
        return true;
    }
    memcpy(slot->handle, handle->data, handle->size);
    slot->handle_size = (uint8_t)handle->size;
    slot->same = NULL;
    *at = slot;
    slot->state = REMOTE_AT_SERVER;
    return true;
}

/* A submit was refused: for now, as the queue is full or its store has failed, or for ever. */
static bool on_error(struct strait_gearman *self, const struct strait_p_gearman_field *code)
{
    struct remote_slot *slot;
    int64_t now = self->link.alive_at;
    if (!take_due(self, &slot)) {
        return false;
    }
    bool full = memmem(code->data, code->size, "QUEUE_", strlen("QUEUE_")) != NULL;
    if (full && now >= self->submit_at) { /* the first one since the last try */
        self->full_ns = strait_p_gearman_patience(self->full_ns);
        self->submit_at = now + self->full_ns;
        self->due_most = 1;
    }
    if (slot && full) {
        slot->state = REMOTE_WAITING;
        self->to_submit = self->live.first;
    } else if (slot) {
        end_task(self, slot, STRAIT_TASK_FAILED, -EIO);
    }
    return true;
}

/* Puts an answer into the task. Its status. */
static enum strait_task_status take_answer(const struct strait_gearman *self,
                                           struct remote_slot *slot,
                                           const struct strait_p_gearman_packet *packet)
{
    struct strait_process_task *task = &slot->task;
    struct strait_p_gearman_head head;
    struct strait_p_gearman_field payload;
    void *copy;
    task->task.code = -EPROTO;
    task->payload_size = 0;
    if (!strait_p_gearman_open(&packet->fields[1], &head, &payload) ||
        head.status > STRAIT_TASK_ABANDONED) {
        return STRAIT_TASK_FAILED;
    }
    memcpy(task->task.data, head.data, sizeof(head.data));
    if (packet->cut || payload.size > self->payload_max) {
        task->task.code = -ENOSPC;
        return STRAIT_TASK_FAILED;
    }
    if (!strait_p_gearman_copy(&copy, payload.data, payload.size)) {
        task->task.code = -ENOMEM;
        return STRAIT_TASK_FAILED;
    }
    free(slot->payload);
    slot->payload = copy;
    task->payload = copy;
    task->payload_size = payload.size;
    task->task.code = head.code;
    return (enum strait_task_status)head.status;
}

static void on_result(struct strait_gearman *self, const struct strait_p_gearman_packet *packet)
{
    struct remote_slot *slot = *find_handle(self, &packet->fields[0]);
    if (!slot) {
        self->counters.dropped += packet->type == STRAIT_P_GEARMAN_WORK_COMPLETE;
        return;
    }
    enum strait_task_status status = STRAIT_TASK_FAILED;
    slot->task.task.code = -EIO;
    if (packet->type == STRAIT_P_GEARMAN_WORK_COMPLETE) {
        status = take_answer(self, slot, packet);
    }
    end_task(self, slot, status, slot->task.task.code);
    self->full_ns = 0; /* there may be room */
    self->submit_at = 0;
}

static bool obey(void *side, const struct strait_p_gearman_packet *packet)
{
    struct strait_gearman *self = side;
    switch ((unsigned)packet->type) {
    case STRAIT_P_GEARMAN_JOB_CREATED:
        return on_created(self, &packet->fields[0]);
    case STRAIT_P_GEARMAN_ERROR:
        return on_error(self, &packet->fields[0]);
    case STRAIT_P_GEARMAN_WORK_COMPLETE:
    case STRAIT_P_GEARMAN_WORK_FAIL:
        on_result(self, packet);
        return true;
    default:
        return true; /* echoes, lines of text, and what workers of others say meanwhile */
    }
}

static void read_all(struct strait_gearman *self, int64_t now)
{
    bool known = self->link.heard;
    if (self->link.fd < 0) {
        return;
    }
    int error = strait_p_gearman_read(&self->link, now, obey, self);
    self->counters.connections += !known && self->link.heard;
    if (error) {
        lose(self, now);
    }
}

/* ---- submitting ---- */

static void write_digits(char *to, size_t count, uint64_t number)
{
    for (; count > 0; number >>= 4) {
        to[--count] = "0123456789abcdef"[number & 15];
    }
}

/* False: no memory. */
static bool put_task(struct strait_gearman *self, struct remote_slot *slot, int64_t now)
{
    static const enum strait_p_gearman_type types[] = {
        [STRAIT_GEARMAN_NORMAL] = STRAIT_P_GEARMAN_SUBMIT_JOB,
        [STRAIT_GEARMAN_HIGH] = STRAIT_P_GEARMAN_SUBMIT_JOB_HIGH,
        [STRAIT_GEARMAN_LOW] = STRAIT_P_GEARMAN_SUBMIT_JOB_LOW,
    };
    struct strait_process_task *task = &slot->task;
    struct strait_p_gearman_head head = {.magic = STRAIT_P_GEARMAN_MAGIC};
    if (slot->finish_by) {
        head.remaining = slot->finish_by > now ? slot->finish_by - now : 1;
    }
    memcpy(head.data, task->task.data, sizeof(head.data));
    strait_p_gearman_head_turn(&head);
    write_digits(self->key + STRAIT_P_GEARMAN_KEY - 16, 16, slot->id);
    struct strait_p_gearman_field fields[] = {{task->task.name, strlen(task->task.name)},
                                              {self->key, STRAIT_P_GEARMAN_KEY},
                                              {&head, sizeof(head)}};
    struct strait_p_gearman_field payload = {task->payload, task->payload_size};
    if (strait_p_gearman_put(&self->link, types[slot->priority], fields, 3, &payload) != 0) {
        return false;
    }
    self->due[self->due_end++ & self->due_mask] = slot->id;
    self->counters.again += task->runs > 0;
    task->runs++;
    slot->state = REMOTE_SUBMITTED;
    return true;
}

/* One was refused, and waits, or is tried again. */
static bool is_full(const struct strait_gearman *self)
{
    return self->full_ns && (self->to_submit || self->due_first != self->due_end);
}

/* May a task be handed to the server, which has said that it is there? */
static bool may_submit(const struct strait_gearman *self, int64_t now)
{
    return self->link.heard && self->to_submit && now >= self->submit_at &&
           self->due_end - self->due_first < self->due_most;
}

/* Hands what waits to the server, and writes what can be written. */
static void submit_waiting(struct strait_gearman *self, int64_t now)
{
    int error = 0;
    self->submit_at = now < self->submit_at ? self->submit_at : 0;
    do {
        while (may_submit(self, now) && strait_p_gearman_has_room(&self->link)) {
            struct remote_slot *slot = self->to_submit;
            if (slot->state == REMOTE_WAITING && !put_task(self, slot, now)) {
                self->submit_at = now + RETRY_NS;
                break;
            }
            self->to_submit = slot->next;
        }
        error = strait_p_gearman_flush(&self->link);
    } while (error == 0 && may_submit(self, now));
    if (error && error != -EAGAIN) {
        lose(self, now);
    }
}

/* ---- the loop's fd ---- */

/* Watches the socket for what there is to do, and sets the timer for what is due next; one that is
 * set for earlier is left to come, as most are put off. */
static void arm(struct strait_gearman *self)
{
    int64_t at = STRAIT_FOREVER;
    bool out = self->link.out.begin < self->link.out.end;
    if (self->link.fd >= 0 && (!self->watched || out != self->watches_out)) {
        struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0)};
        int how = self->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        self->watched |= epoll_ctl(self->epoll, how, self->link.fd, &event) == 0;
        self->watches_out = out;
    }
    if (self->link.fd < 0) {
        at = self->connect_at;
    } else if (!self->watched) {
        at = strait_now() + RETRY_NS; /* there is no memory for it now */
    } else {
        at = strait_p_gearman_look_at(&self->link, self->live.first != NULL);
    }
    if (self->link.heard && self->to_submit && self->submit_at) {
        at = earlier(at, self->submit_at);
    }
    at = earlier(at, self->next_finish > self->scan_at ? self->next_finish : self->scan_at);
    at = self->ended.first ? 1 : at;
    if (at != STRAIT_FOREVER && (self->armed == 0 || at < self->armed)) {
        struct itimerspec when = {.it_value = strait_p_extra_timespec(at)};
        timerfd_settime(self->timer, TFD_TIMER_ABSTIME, &when, NULL);
        self->armed = at;
    }
}

/* Sends what waits, and sees to it that the fd is readable when there is something to do. */
static void send_and_arm(struct strait_gearman *self, int64_t now)
{
    int saved = errno;
    if (self->link.fd >= 0) {
        submit_waiting(self, now);
    }
    arm(self);
    errno = saved;
}

/* ---- the parent's calls ---- */

static size_t power_of_two(size_t at_least)
{
    size_t n = 1;
    while (n < at_least) {
        n *= 2;
    }
    return n;
}

static void free_remote(struct strait_gearman *self)
{
    strait_p_gearman_free(&self->link);
    if (self->timer >= 0) {
        close(self->timer);
    }
    if (self->epoll >= 0) {
        close(self->epoll);
    }
    free(self->slots);
    free(self->handles);
    free(self->due);
    free(self);
}

/* 0; -ENOMEM. */
static int make_slots(struct strait_gearman *self)
{
    size_t owed_max = self->owed_max;
    self->hash_mask = power_of_two(owed_max) - 1;
    self->due_mask = 2 * power_of_two(owed_max) - 1; /* some of tasks that have ended */
    self->due_most = self->due_mask + 1;
    size_t slots = owed_max * sizeof(self->slots[0]);
    size_t handles = (self->hash_mask + 1) * sizeof(self->handles[0]);
    self->slots = strait_p_extra_alloc(STRAIT_LINE, slots);
    self->handles = strait_p_extra_alloc(STRAIT_LINE, handles);
    self->due = strait_p_extra_alloc(STRAIT_LINE, (self->due_mask + 1) * sizeof(self->due[0]));
    if (!self->slots || !self->handles || !self->due) {
        return -ENOMEM;
    }
    memset(self->slots, 0, slots);
    memset(self->handles, 0, handles);
    for (size_t i = owed_max; i > 0; i--) {
        self->slots[i - 1].next = self->free;
        self->free = &self->slots[i - 1];
    }
    return 0;
}

/* 0 or -errno. */
static int make_fds(struct strait_gearman *self)
{
    struct epoll_event event = {.events = EPOLLIN};
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll >= 0) {
        self->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    }
    bool good = self->epoll >= 0 && self->timer >= 0 &&
                epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->timer, &event) == 0;
    return good ? 0 : -errno;
}

/* 12 random bytes name the parent among all. */
static int make_key(struct strait_gearman *self)
{
    uint32_t random[3];
    ssize_t got = getrandom(random, sizeof(random), 0);
    if (got != (ssize_t)sizeof(random)) {
        return got < 0 ? -errno : -EIO;
    }
    for (size_t i = 0; i < 3; i++) {
        write_digits(self->key + 8 * i, 8, random[i]);
    }
    return 0;
}

int strait_gearman_create(struct strait_gearman **remote,
                          const struct strait_gearman_options *options)
{
    struct strait_gearman_options given;
    int saved = errno;
    int error = strait_p_extra_options(&given, sizeof(given), options);
    if (error || given.owed_max > 1u << INDEX_BITS ||
        given.payload_max > STRAIT_GEARMAN_PAYLOAD_MAX) {
        return -EINVAL;
    }
    struct strait_gearman *self = strait_p_extra_alloc(STRAIT_LINE, sizeof(*self));
    if (!self) {
        return -ENOMEM;
    }
    memset(self, 0, sizeof(*self));
    self->owner = getpid();
    self->link.fd = -1;
    self->epoll = -1;
    self->timer = -1;
    self->owed_max = given.owed_max ? given.owed_max : OWED_DEFAULT;
    self->payload_max = given.payload_max;
    self->link.packet_max = STRAIT_P_GEARMAN_LINE + given.payload_max;
    self->next_finish = STRAIT_FOREVER;
    error = strait_p_gearman_resolve(&self->servers, given.servers);
    error = error ? error : make_slots(self);
    error = error ? error : make_fds(self);
    error = error ? error : make_key(self);
    if (error) {
        free_remote(self);
    } else {
        keep_connected(self, strait_now());
        send_and_arm(self, strait_now());
        *remote = self;
    }
    errno = saved;
    return error;
}

/* Copies the task into the slot. 0; -ENOMEM. */
static int fill_slot(struct remote_slot *slot, const struct strait_process_task *task)
{
    if (!strait_p_gearman_copy(&slot->payload, task->payload, task->payload_size)) {
        return -ENOMEM;
    }
    strcpy(slot->name, task->task.name);
    slot->task = *task;
    slot->task.task.name = slot->name;
    slot->task.payload = slot->payload;
    slot->task.signal = 0;
    slot->task.runs = 0;
    return 0;
}

int strait_gearman_submit(struct strait_gearman *remote, const struct strait_process_task *task,
                          const struct strait_gearman_submit_options *how, strait_task_id *id)
{
    struct strait_gearman_submit_options given;
    int error = strait_p_extra_options(&given, sizeof(given), how);
    const char *name = task->task.name;
    if (error || !name || !*name || strnlen(name, STRAIT_PROCESS_NAME) == STRAIT_PROCESS_NAME ||
        (unsigned)given.priority > STRAIT_GEARMAN_LOW || given.finish_by < 0) {
        return -EINVAL;
    }
    if (task->payload_size > remote->payload_max) {
        return -ENOSPC;
    }
    struct remote_slot *slot = remote->free;
    if (remote->closing || !slot || is_full(remote)) {
        return remote->closing ? -EPIPE : -EAGAIN;
    }
    struct remote_slot *next_free = slot->next;
    error = fill_slot(slot, task);
    if (error) {
        return error;
    }
    remote->free = next_free;
    slot->id = ++remote->serial << INDEX_BITS | (strait_task_id)(slot - remote->slots);
    slot->priority = given.priority;
    slot->finish_by = given.finish_by;
    slot->state = REMOTE_WAITING;
    append(&remote->live, slot);
    remote->to_submit = remote->to_submit ? remote->to_submit : slot;
    if (slot->finish_by) {
        remote->next_finish = earlier(remote->next_finish, slot->finish_by);
    }
    remote->counters.submitted++;
    if (!remote->callback) {
        send_and_arm(remote, strait_now());
    }
    if (id) {
        *id = slot->id;
    }
    return 0;
}

int strait_gearman_cancel(struct strait_gearman *remote, strait_task_id id)
{
    struct remote_slot *slot = slot_of(remote, id);
    if (!slot) {
        return -ENOENT;
    }
    if (slot->state == REMOTE_ENDED) {
        enum strait_task_status status = slot->task.task.status;
        return status == STRAIT_TASK_CANCELLED || status == STRAIT_TASK_EXPIRED ? -EALREADY
                                                                                : -ENOENT;
    }
    int answer = slot->task.runs > 0 ? -EINPROGRESS : 0;
    give_up(remote, slot, STRAIT_TASK_CANCELLED, -ECANCELED);
    if (!remote->callback) {
        send_and_arm(remote, strait_now());
    }
    return answer;
}

int strait_gearman_fd(const struct strait_gearman *remote)
{
    return remote->epoll;
}

/* Calls `done` of up to `budget` tasks that have ended. */
static size_t complete(struct strait_gearman *self, size_t budget)
{
    size_t completed = 0;
    self->callback = STRAIT_FRAME;
    while (completed < budget && self->ended.first) {
        struct remote_slot *slot = self->ended.first;
        unlink_slot(&self->ended, slot);
        self->counters.completed++;
        completed++;
        if (slot->task.task.done) {
            slot->task.task.done(&slot->task.task);
        }
        free(slot->payload);
        slot->payload = NULL;
        slot->state = REMOTE_FREE;
        slot->next = self->free;
        self->free = slot;
    }
    self->callback = NULL;
    return completed;
}

ptrdiff_t strait_gearman_dispatch(struct strait_gearman *remote, size_t budget)
{
    if (strait_inside(remote->callback)) {
        return -EDEADLK;
    }
    int saved = errno;
    int64_t now = strait_now();
    if (remote->armed && remote->armed <= now) {
        uint64_t times;
        ssize_t got = read(remote->timer, &times, sizeof(times));
        remote->armed = got == sizeof(times) ? 0 : remote->armed;
    }
    read_all(remote, now);
    look_at_deadlines(remote, now);
    keep_connected(remote, now);
    size_t completed = complete(remote, budget ? budget : STRAIT_BUDGET);
    send_and_arm(remote, strait_now());
    errno = saved;
    return (ptrdiff_t)completed;
}

size_t strait_gearman_owed(const struct strait_gearman *remote)
{
    return (size_t)(remote->counters.submitted - remote->counters.completed);
}

int strait_gearman_drain(struct strait_gearman *remote, int64_t deadline)
{
    struct pollfd poll_fd = {.fd = remote->epoll, .events = POLLIN};
    if (remote->owner != getpid()) {
        return -EOWNERDEAD;
    }
    if (strait_inside(remote->callback)) {
        return -EDEADLK;
    }
    while (strait_gearman_owed(remote) > 0) {
        strait_gearman_dispatch(remote, 0);
        if (strait_gearman_owed(remote) > 0) {
            int64_t left = deadline - strait_now();
            if (left <= 0) {
                return -ETIMEDOUT;
            }
            struct timespec wait = strait_p_extra_timespec(left);
            int saved = errno;
            ppoll(&poll_fd, 1, deadline == STRAIT_FOREVER ? NULL : &wait, NULL);
            errno = saved;
        }
    }
    return 0;
}

void strait_gearman_stats(const struct strait_gearman *remote, struct strait_gearman_stats *stats)
{
    bool connected = remote->link.fd >= 0 && remote->link.heard;
    *stats = remote->counters;
    stats->owed = strait_gearman_owed(remote);
    stats->server = connected ? remote->servers.server[remote->server].name : NULL;
}

int strait_gearman_destroy(struct strait_gearman *remote)
{
    if (!remote) {
        return 0;
    }
    if (remote->owner != getpid()) {
        return -EOWNERDEAD;
    }
    if (strait_inside(remote->callback)) {
        return -EDEADLK;
    }
    int saved = errno;
    remote->closing = true;
    strait_p_gearman_close(&remote->link);
    while (remote->live.first) {
        end_task(remote, remote->live.first, STRAIT_TASK_ABANDONED, -ECANCELED);
    }
    while (remote->ended.first) {
        complete(remote, STRAIT_BUDGET);
    }
    free_remote(remote);
    errno = saved;
    return 0;
}
