/* SPDX-License-Identifier: MIT */
/* set: looks at the hot members in turn, arms those that stay empty, and waits for marks. */
#include "strait/extra/set.h"

#include <sched.h>
#include <unistd.h>

#include "memory.h"

/* Empty looks at a member that cost as much as to arm it, and at all members that cost as much as
 * the barrier of arming. */
#define LOOKS_EACH 64u
#define LOOKS_ALL 4096u
/* How long to look at hot members that are all empty before arming them: what the barrier costs.
 * Less where that brings nothing, down to not at all; and again after a wait that was short. */
#define HOT_NS 20000
#define SPIN_MIN_NS 300
#define WAIT_SHORT_NS 90000
#define LOOKS_PER_CLOCK 8
/* A wait for messages to gather, in pauses of some 25 ns: for each member that has some, and at
 * most. It was worth it where then a message came in less than so long; else the next 1, 3, 7, ...
 * chances are passed by. More messages of a member than GATHER_COUNTED are not counted. */
#define GATHER_PAUSES_EACH 5u
#define GATHER_PAUSES_MAX 512u
#define GATHER_NS_A_MESSAGE 32
#define GATHER_COUNTED 64
#define GATHER_SKIPPED_MAX 511u
/* So many hot members do not stay in the first caches of one CPU: some are asked for at once. */
#define AHEAD_FROM 128u
#define AHEAD 16u
/* Marks that are taken at once. */
#define MARKS 64

/* A mark of nobody: it only makes the fd readable. */
#define NOBODY UINT32_MAX

struct mark {
    uint32_t member; /* its number, or NOBODY */
    uint32_t cpu;    /* 1 + where the sender ran */
};

enum state {
    FREE,
    HOT,   /* in `hot` */
    QUIET, /* armed: its mark is to come, or in the queue */
};

struct member {
    struct strait_receiver *receiver; /* set by add, before its receiver is armed */
    struct strait_set *set;           /* set once, by create */
    enum state state;
    uint32_t empty; /* looks in succession that found nothing */
};

/* How the owner keeps its distance from the senders, turn by turn of all hot members. */
struct gathering {
    uint32_t offered;  /* members in this turn */
    uint32_t messages; /* these had, counted where a wait came before */
    int64_t since;     /* when that wait began; 0: there was none */
    uint32_t skip;     /* chances to wait yet to be passed by */
    uint32_t skipped;  /* how many it passed by after the last wait that was not worth it */
};

struct strait_set {
    /* line 0: senders write, when they have marked */
    STRAIT_LINE_ALIGNED uint32_t marked; /* marks whose senders are done with the set */
    /* line 1: set once, by create; senders read it */
    STRAIT_LINE_ALIGNED struct strait_channel *marks; /* holds one of each member, one of nobody */
    struct strait_sender sender;
    uint32_t capacity;
    pid_t owner;                     /* a fork's child of it is another process */
    struct member **hot;             /* in the order of their turns; room for all */
    struct strait_receiver **arming; /* room for all, as `armed` */
    bool *armed;
    /* line 2 and on: its owner writes; of the members, senders read `set` */
    STRAIT_LINE_ALIGNED struct strait_receiver receiver;
    uint32_t taken; /* marks */
    uint32_t hot_count;
    uint32_t cursor; /* whose turn it is */
    uint32_t wasted; /* empty looks since some were armed the last time */
    uint32_t cpu;    /* 1 + where the last sender to mark ran; 0: not known */
    uint32_t spin_ns;
    struct strait_receiver *last; /* that was offered */
    struct gathering gathering;
    bool roused;             /* a mark of nobody is in the queue */
    struct member members[]; /* `capacity` of them; then what the arrays of line 1 are */
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_set, marks) == 1 * STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_set, receiver) == 2 * STRAIT_LINE, "line 2");

/* ---- marks ---- */

/* A sender's, or whoever closes. There is room: a member has one mark at a time. */
static void mark(void *context)
{
    struct member *member = context;
    struct strait_set *set = member->set;
    struct mark mark = {(uint32_t)(member - set->members), 1 + (uint32_t)sched_getcpu()};
    strait_try_send(&set->sender, &mark, 1);
    /* set.marked: pairs with set.free; the sender is done with the set; without it the set is freed
     * while the sender wakes its owner */
    strait_add_acq_rel(&set->marked, 1);
}

static void heat(struct strait_set *set, struct member *member)
{
    member->state = HOT;
    member->empty = 0;
    set->hot[set->hot_count++] = member;
}

/* Were there any? */
static bool take_marks(struct strait_set *set)
{
    struct mark marks[MARKS];
    bool any = false;
    ptrdiff_t n;
    while ((n = strait_try_receive(&set->receiver, marks, MARKS)) > 0) {
        any = true;
        for (ptrdiff_t i = 0; i < n; i++) {
            if (marks[i].member == NOBODY) {
                set->roused = false;
            } else {
                heat(set, &set->members[marks[i].member]);
                set->taken++;
                set->cpu = marks[i].cpu;
            }
        }
    }
    return any;
}

/* ---- hot members ---- */

/* How many of up to n messages are there; 1 where its senders have closed. */
static uint32_t look_at(struct strait_receiver *receiver, size_t n)
{
    struct strait_span span;
    ptrdiff_t there = strait_peek(receiver, n, &span);
    return there == -EAGAIN ? 0 : there < 0 ? 1 : (uint32_t)there;
}

/* The caches are missed for all of the next members at the same time, not for one after another. */
static void look_ahead(const struct strait_set *set)
{
    uint32_t end = set->cursor + AHEAD < set->hot_count ? set->cursor + AHEAD : set->hot_count;
    for (uint32_t i = set->cursor; i < end; i++) {
        struct strait_span span;
        if (strait_peek(set->hot[i]->receiver, 1, &span) > 0) {
            strait_prefetch_read(span.messages);
        }
    }
}

/* Does the last sender to mark run where its owner does? */
static bool shares_cpu(const struct strait_set *set)
{
    return set->cpu == 1 + (uint32_t)sched_getcpu();
}

/* What a wait has brought, with the turn after it. */
static void learn(struct gathering *gathering)
{
    if (gathering->messages * GATHER_NS_A_MESSAGE >= strait_now() - gathering->since) {
        gathering->skipped = 0;
    } else {
        gathering->skipped = (uint32_t)strait_min(2 * gathering->skipped + 1, GATHER_SKIPPED_MAX);
    }
    gathering->skip = gathering->skipped;
}

/* All had their turn. Where several had something, and the last of them has no more, the owner is
 * right behind the senders: it takes away, message by message, the lines that they are about to
 * write. Where messages come fast it does better to let some gather, as a ring's receiver does (see
 * lines.h); one message alone never waits for others. */
static void gather(struct strait_set *set)
{
    struct gathering *gathering = &set->gathering;
    uint32_t offered = gathering->offered;
    if (gathering->since != 0) {
        learn(gathering);
    }
    gathering->offered = 0;
    gathering->messages = 0;
    gathering->since = 0;
    if (offered > 1 && gathering->skip > 0) {
        gathering->skip--;
    } else if (offered > 1 && !shares_cpu(set) && look_at(set->last, 1) == 0) {
        gathering->since = strait_now();
        strait_pause_for((uint32_t)strait_min(GATHER_PAUSES_EACH * offered, GATHER_PAUSES_MAX));
    }
}

/* Arms the hot members that `least` looks in succession have found empty. */
static void arm(struct strait_set *set, uint32_t least)
{
    size_t count = 0;
    for (uint32_t i = 0; i < set->hot_count; i++) {
        if (set->hot[i]->empty >= least) {
            set->arming[count++] = set->hot[i]->receiver;
        }
    }
    set->wasted = 0;
    if (count == 0) {
        return;
    }
    strait_receivers_arm(set->arming, count, set->armed);
    uint32_t kept = 0;
    size_t next = 0;
    for (uint32_t i = 0; i < set->hot_count; i++) {
        struct member *member = set->hot[i];
        if (member->empty >= least && set->armed[next++]) {
            member->state = QUIET;
        } else {
            set->hot[kept++] = member;
        }
    }
    set->hot_count = kept;
    set->cursor = 0;
}

int strait_set_try_next(struct strait_set *set, struct strait_receiver **receiver)
{
    for (uint32_t looks = 0;; looks++) {
        if (set->cursor >= set->hot_count) { /* each had its turn */
            gather(set);
            if (set->wasted >= LOOKS_ALL) {
                arm(set, LOOKS_EACH);
            }
            set->cursor = 0;
            looks = take_marks(set) ? 0 : looks;
        }
        if (looks >= set->hot_count) {
            return -EAGAIN;
        }
        if (set->hot_count >= AHEAD_FROM && set->cursor % AHEAD == 0) {
            look_ahead(set);
        }
        struct member *member = set->hot[set->cursor++];
        uint32_t there = look_at(member->receiver, set->gathering.since ? GATHER_COUNTED : 1);
        if (there > 0) {
            member->empty = 0;
            set->gathering.offered++;
            set->gathering.messages += there;
            set->last = *receiver = member->receiver;
            return 0;
        }
        member->empty++;
        set->wasted++;
    }
}

/* ---- waiting ---- */

/* Looks for some time at what is hot. It has its own CPU to do so. */
static int spin_on_hot(struct strait_set *set, struct strait_receiver **receiver, int64_t now,
                       int64_t deadline)
{
    int64_t until = now + set->spin_ns < deadline ? now + set->spin_ns : deadline;
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            strait_pause();
            if (strait_set_try_next(set, receiver) == 0) {
                set->spin_ns = HOT_NS;
                return 0;
            }
        }
    } while (strait_now() < until);
    set->spin_ns = set->spin_ns / 4 < SPIN_MIN_NS ? 0 : set->spin_ns / 4;
    return -EAGAIN;
}

int strait_set_next(struct strait_set *set, struct strait_receiver **receiver, int64_t deadline)
{
    int result = strait_set_try_next(set, receiver);
    while (result == -EAGAIN) {
        int64_t start = strait_now();
        if (set->spin_ns > 0 && set->hot_count > 0 && !shares_cpu(set) &&
            spin_on_hot(set, receiver, start, deadline) == 0) {
            return 0;
        }
        arm(set, 0);
        if (set->hot_count == 0) {
            result = strait_receive_wait(&set->receiver, deadline);
            set->spin_ns = strait_now() - start < WAIT_SHORT_NS ? HOT_NS : set->spin_ns;
        }
        if (result == 0 || result == -EAGAIN) {
            result = strait_set_try_next(set, receiver);
        }
    }
    return result;
}

/* ---- event loops ---- */

int strait_set_fd(const struct strait_set *set)
{
    return strait_receiver_fd(&set->receiver);
}

int strait_set_arm(struct strait_set *set)
{
    int fd = strait_set_fd(set);
    if (fd < 0) {
        return fd;
    }
    arm(set, 0);
    if (set->hot_count > 0 && !set->roused) {
        const struct mark nobody = {NOBODY, 0};
        set->roused = true;
        strait_try_send(&set->sender, &nobody, 1);
    }
    return strait_receiver_arm(&set->receiver);
}

/* ---- members ---- */

int strait_set_add(struct strait_set *set, struct strait_receiver *receiver)
{
    struct member *member = set->members;
    struct member *end = set->members + set->capacity;
    while (member < end && member->state != FREE) {
        member++;
    }
    if (member == end) {
        return -ENOSPC;
    }
    int error = strait_receiver_on_ready(receiver, mark, member);
    if (!error) {
        member->receiver = receiver;
        heat(set, member);
        member->empty = LOOKS_EACH - 1; /* many that have nothing soon cost nothing */
    }
    return error;
}

/* Makes it hot: whoever marks it just now is awaited. */
static void call_in(struct strait_set *set, struct member *member)
{
    if (member->state == QUIET && strait_receiver_disarm(member->receiver)) {
        heat(set, member);
    }
    while (member->state == QUIET) {
        take_marks(set);
        if (member->state == QUIET) {
            sched_yield();
        }
    }
}

static void drop_member(struct strait_set *set, struct member *member)
{
    call_in(set, member);
    uint32_t at = 0;
    while (set->hot[at] != member) {
        at++;
    }
    set->hot_count--;
    memmove(&set->hot[at], &set->hot[at + 1], (set->hot_count - at) * sizeof(struct member *));
    set->cursor -= at < set->cursor;
    set->gathering.offered = 0; /* `last` is no more */
    member->state = FREE;
    strait_receiver_on_ready(member->receiver, NULL, NULL);
}

int strait_set_remove(struct strait_set *set, struct strait_receiver *receiver)
{
    for (uint32_t i = 0; i < set->capacity; i++) {
        if (set->members[i].state != FREE && set->members[i].receiver == receiver) {
            drop_member(set, &set->members[i]);
            return 0;
        }
    }
    return -ENOENT;
}

/* ---- make one ---- */

static int open_marks(struct strait_set *set, enum strait_wait wait)
{
    const struct strait_channel_options options = {
        .variant = "cells",
        .capacity = (size_t)set->capacity + 1,
        .message_size = sizeof(struct mark),
        .receiver = wait,
    };
    int error = strait_channel_create(&set->marks, &options);
    if (!error) {
        strait_sender_open(&set->sender, set->marks);
        strait_receiver_open(&set->receiver, set->marks);
    }
    return error;
}

int strait_set_create(struct strait_set **out, uint32_t capacity, enum strait_wait wait)
{
    if (capacity == 0 || capacity >= STRAIT_CAPACITY_MAX) {
        return -EINVAL;
    }
    size_t each = sizeof(struct member) + sizeof(struct member *) +
                  sizeof(struct strait_receiver *) + sizeof(bool);
    if (capacity > (SIZE_MAX - sizeof(struct strait_set)) / each) {
        return -ENOMEM;
    }
    struct strait_set *set = strait_p_extra_alloc(STRAIT_LINE, sizeof(*set) + capacity * each);
    if (!set) {
        return -ENOMEM;
    }
    memset(set, 0, sizeof(*set) + capacity * each);
    set->capacity = capacity;
    set->owner = getpid();
    set->spin_ns = HOT_NS;
    set->hot = (struct member **)(void *)&set->members[capacity];
    set->arming = (struct strait_receiver **)(void *)&set->hot[capacity];
    set->armed = (bool *)(void *)&set->arming[capacity];
    int error = open_marks(set, wait);
    if (error) {
        free(set);
        return error;
    }
    for (uint32_t i = 0; i < capacity; i++) {
        set->members[i].set = set;
    }
    *out = set;
    return 0;
}

void strait_set_destroy(struct strait_set *set)
{
    if (!set || set->owner != getpid()) {
        return; /* where a fork has left a sender in the middle of a mark, it would be awaited */
    }
    for (uint32_t i = set->capacity; i > 0; i--) {
        if (set->members[i - 1].state != FREE) {
            drop_member(set, &set->members[i - 1]);
        }
    }
    /* set.free: pairs with set.marked; the senders are done with the set; without it the memory is
     * freed while one of them still wakes the owner */
    while (strait_load_acquire(&set->marked) != set->taken) {
        sched_yield();
    }
    strait_channel_destroy(set->marks, NULL, NULL);
    free(set);
}
