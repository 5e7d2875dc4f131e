/* SPDX-License-Identifier: MIT */
/* Ports in a checked build: who uses, gives or adopts an end against the rules ends the program,
 * which says which rule, what and who. Each crime is committed by a child process. */
#include "worker/fixture.h"

#include <signal.h>
#include <sys/wait.h>

static void *sends(void *port)
{
    void *message = NULL;
    (void)strait_try_send(&((struct strait_port *)port)->sender, &message, 1);
    return NULL;
}

static void *receives(void *port)
{
    void *message;
    (void)strait_try_receive(&((struct strait_port *)port)->receiver, &message, 1);
    return NULL;
}

static void *gives(void *port)
{
    strait_port_give(port);
    return NULL;
}

static void *adopts(void *port)
{
    strait_port_adopt(port);
    return NULL;
}

static void *adopts_and_uses(void *port)
{
    adopts(port);
    sends(port);
    return receives(port);
}

static void *borrows(void *port)
{
    adopts(port);
    sends(port);
    return gives(port);
}

static void *closes(void *port)
{
    strait_port_close(port);
    return NULL;
}

static void *closes_half_and_gives(void *port)
{
    strait_sender_close(&((struct strait_port *)port)->sender);
    return gives(port);
}

static void *drops(void *port)
{
    strait_port_drop(port, NULL);
    return NULL;
}

#define SENDS "a sender handle is used by one"
#define RECEIVES "a receiver handle is used by one"
#define ADOPTS "is given away before another thread adopts it"

static const struct crime {
    const char *rule; /* what the child says; NULL: it is none */
    const char *whose;
    void *(*first)(void *port);  /* the maker of the pair */
    void *(*second)(void *port); /* then another thread */
    void *(*third)(void *port);  /* then the maker again */
} crimes[] = {
    {SENDS, "belongs to", NULL, sends, NULL},
    {RECEIVES, "belongs to", NULL, receives, NULL},
    {SENDS, "belongs to", sends, sends, NULL},
    {SENDS, "belongs to", NULL, gives, NULL},
    {SENDS, "given away by", gives, sends, NULL},
    {RECEIVES, "given away by", gives, receives, NULL},
    {SENDS, "given away by", gives, NULL, sends},
    {RECEIVES, "given away by", gives, NULL, receives},
    {SENDS, "belongs to", gives, adopts_and_uses, sends},
    {ADOPTS, "belongs to", NULL, adopts_and_uses, NULL},
    {ADOPTS, "belongs to", gives, adopts_and_uses, adopts},
    {NULL, NULL, gives, adopts_and_uses, NULL},
    {NULL, NULL, gives, NULL, adopts_and_uses},
    {NULL, NULL, adopts, NULL, sends},
    {NULL, NULL, gives, borrows, adopts_and_uses},
    {NULL, NULL, closes_half_and_gives, adopts_and_uses, NULL},
    {NULL, NULL, gives, drops, NULL},
    {NULL, NULL, closes, sends, NULL},
};

static void commit(void *context)
{
    const struct crime *crime = context;
    struct strait_port a;
    struct strait_port b;
    pthread_t thread;
    if (strait_port_pair(&a, &b, NULL)) {
        _exit(1);
    }
    if (crime->first) {
        crime->first(&b);
    }
    if (crime->second &&
        (pthread_create(&thread, NULL, crime->second, &b) || pthread_join(thread, NULL))) {
        _exit(1);
    }
    if (crime->third) {
        crime->third(&b);
    }
}

static void who_does_not_own_an_end_is_named(void)
{
    for (size_t i = 0; i < COUNT(crimes); i++) {
        struct crime crime = crimes[i];
        char said[4096];
        int status = in_child(commit, &crime, said, sizeof(said));
#ifdef STRAIT_CHECKED
        if (crime.rule) {
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
            assert_non_null(strstr(said, "strait: "));
            assert_non_null(strstr(said, crime.rule));
            assert_non_null(strstr(said, crime.whose));
            assert_non_null(strstr(said, "handle 0x"));
            assert_non_null(strstr(said, "thread "));
            assert_non_null(strstr(said, " by "));
            continue;
        }
#endif
        assert_string_equal(said, "");
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    static const struct test tests[] = {ONCE(who_does_not_own_an_end_is_named)};
    setenv("STRAIT_WATCHDOG", "0", 1); /* see in_child */
    return RUN_TABLE("port_misuse", tests);
}
