/* SPDX-License-Identifier: MIT */
/* Ports in a checked build: who uses, gives or adopts an end against the rules ends the program,
 * which says which rule, what and who. Each crime is committed by a child process. */
#include "worker/fixture.h"

/* What a thread does with a port, a letter each: sends, receives, gives, adopts, closes, closes its
 * sender half, drops. */
static void act(struct strait_port *port, const char *letters)
{
    void *message = NULL;
    for (; *letters; letters++) {
        switch (*letters) {
        case 's':
            (void)strait_try_send(&port->sender, &message, 1);
            break;
        case 'r':
            (void)strait_try_receive(&port->receiver, &message, 1);
            break;
        case 'g':
            strait_port_give(port);
            break;
        case 'a':
            strait_port_adopt(port);
            break;
        case 'c':
            strait_port_close(port);
            break;
        case 'h':
            strait_sender_close(&port->sender);
            break;
        default:
            strait_port_drop(port, NULL);
        }
    }
}

#define SENDS "a sender handle is used by one"
#define RECEIVES "a receiver handle is used by one"
#define ADOPTS "is given away before another thread adopts it"

static const struct crime {
    const char *rule; /* what the child says; NULL: it is none */
    const char *whose;
    const char *first;  /* the maker of the pair */
    const char *second; /* then another thread */
    const char *third;  /* then the maker again */
} crimes[] = {
    {SENDS, "belongs to", "", "s", ""},
    {RECEIVES, "belongs to", "", "r", ""},
    {SENDS, "belongs to", "s", "s", ""},
    {SENDS, "belongs to", "", "g", ""},
    {SENDS, "given away by", "g", "s", ""},
    {RECEIVES, "given away by", "g", "r", ""},
    {SENDS, "given away by", "g", "", "s"},
    {RECEIVES, "given away by", "g", "", "r"},
    {SENDS, "belongs to", "g", "asr", "s"},
    {ADOPTS, "belongs to", "", "asr", ""},
    {NULL, NULL, "g", "asr", "asr"}, /* its owner's thread has ended */
    {NULL, NULL, "g", "asr", "c"},
    {NULL, NULL, "g", "asr", ""},
    {NULL, NULL, "g", "", "asr"},
    {NULL, NULL, "a", "", "s"},
    {NULL, NULL, "g", "asg", "asr"},
    {NULL, NULL, "hg", "asr", ""},
    {NULL, NULL, "g", "d", ""},
    {NULL, NULL, "c", "s", ""},
};

static struct strait_port b; /* the child's */

static void *act_second(void *crime)
{
    act(&b, ((const struct crime *)crime)->second);
    return NULL;
}

static void commit(void *context)
{
    const struct crime *crime = context;
    struct strait_port a;
    pthread_t thread;
    if (strait_port_pair(&a, &b, NULL)) {
        _exit(1);
    }
    act(&b, crime->first);
    if (pthread_create(&thread, NULL, act_second, context) || pthread_join(thread, NULL)) {
        _exit(1);
    }
    act(&b, crime->third);
}

TEST(who_does_not_own_an_end_is_named)
{
    for (size_t i = 0; i < COUNT(crimes); i++) {
        struct crime crime = crimes[i];
#ifdef STRAIT_CHECKED
        if (crime.rule) {
            const char *const words[] = {"strait: ", crime.rule, crime.whose, "handle 0x",
                                         "thread ",  " by ",     NULL};
            assert_abort_in_child(commit, &crime, words);
            continue;
        }
#endif
        assert_well_in_child(commit, &crime);
    }
}

int main(void)
{
    setenv("STRAIT_WATCHDOG", "0", 1); /* see in_child */
    return tests_run();
}
