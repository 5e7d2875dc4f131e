/* SPDX-License-Identifier: MIT */
/* Ports in a checked build: who uses, gives or adopts an end against the rules ends the program,
 * which says which rule, what and who. Each crime is committed by a child process. */
#include "life.h"

#include <sys/wait.h>

enum { EXIT_LAWFUL = 42 };

struct crime {
    const char *rule; /* what the child says; NULL: it is none */
    const char *whose;
    void (*first)(struct strait_port *port); /* by the maker of the pair */
    void *(*second)(void *port);             /* then by another thread; may be NULL */
    void (*third)(struct strait_port *port); /* then by the maker again; may be NULL */
};

static void use_sender(struct strait_port *port)
{
    void *message = NULL;
    (void)strait_try_send(&port->sender, &message, 1);
}

static void use_receiver(struct strait_port *port)
{
    void *message;
    (void)strait_try_receive(&port->receiver, &message, 1);
}

static void leave_it(struct strait_port *port)
{
    (void)port;
}

static void *send_by_another(void *port)
{
    use_sender(port);
    return NULL;
}

static void *receive_by_another(void *port)
{
    use_receiver(port);
    return NULL;
}

static void *adopt_by_another(void *port)
{
    strait_port_adopt(port);
    use_sender(port);
    use_receiver(port);
    return NULL;
}

static void *give_by_another(void *port)
{
    strait_port_give(port);
    return NULL;
}

static void *borrow(void *port)
{
    strait_port_adopt(port);
    use_sender(port);
    strait_port_give(port);
    return NULL;
}

static void close_half_and_give(struct strait_port *port)
{
    strait_sender_close(&port->sender);
    strait_port_give(port);
}

static void *drop_by_another(void *port)
{
    strait_port_drop(port, NULL);
    return NULL;
}

static void commit_crime(const struct crime *crime)
{
    const struct rlimit none = {0, 0};
    struct strait_port a;
    struct strait_port b;
    pthread_t thread;
    setrlimit(RLIMIT_CORE, &none);
    if (strait_port_pair(&a, &b, NULL)) {
        _exit(1);
    }
    crime->first(&b);
    if (crime->second &&
        (pthread_create(&thread, NULL, crime->second, &b) || pthread_join(thread, NULL))) {
        _exit(1);
    }
    if (crime->third) {
        crime->third(&b);
    }
    _exit(EXIT_LAWFUL);
}

/* The child's status, and what it said. */
static int punish(const struct crime *crime, char *said, size_t size)
{
    int pipe_fds[2];
    int status = 0;
    size_t length = 0;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipe_fds[1], STDERR_FILENO);
        commit_crime(crime);
    }
    close(pipe_fds[1]);
    for (ssize_t n = 1; n > 0 && length + 1 < size; length += n > 0 ? (size_t)n : 0) {
        n = read(pipe_fds[0], said + length, size - 1 - length);
    }
    said[length] = '\0';
    close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void judge(const struct crime *crime)
{
    char said[4096];
    int status = punish(crime, said, sizeof(said));
#ifdef STRAIT_CHECKED
    if (crime->rule) {
        const char *first = strstr(said, "thread ");
        const char *second = strstr(said, " by ");
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
        assert_non_null(strstr(said, "strait: "));
        assert_non_null(strstr(said, crime->rule));
        assert_non_null(strstr(said, crime->whose));
        assert_non_null(strstr(said, "handle 0x"));
        assert_non_null(first);
        assert_non_null(second);
        return;
    }
#endif
    assert_string_equal(said, "");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_LAWFUL);
}

static void judge_all(const struct crime *crimes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        judge(&crimes[i]);
    }
}

#define JUDGE(crimes) judge_all(crimes, sizeof(crimes) / sizeof((crimes)[0]))

static void who_does_not_own_an_end_cannot_use_it(void **state)
{
    (void)state;
    const struct crime crimes[] = {
        {"a sender handle is used by one", "belongs to", leave_it, send_by_another, NULL},
        {"a receiver handle is used by one", "belongs to", leave_it, receive_by_another, NULL},
        {"a sender handle is used by one", "belongs to", use_sender, send_by_another, NULL},
        {"a sender handle is used by one", "belongs to", leave_it, give_by_another, NULL},
    };
    JUDGE(crimes);
}

static void what_is_given_away_is_nobodys(void **state)
{
    (void)state;
    const struct crime crimes[] = {
        {"a sender handle is used by one", "given away by", strait_port_give, send_by_another,
         NULL},
        {"a receiver handle is used by one", "given away by", strait_port_give, receive_by_another,
         NULL},
        {"a sender handle is used by one", "given away by", strait_port_give, NULL, use_sender},
        {"a receiver handle is used by one", "given away by", strait_port_give, NULL, use_receiver},
        {"a sender handle is used by one", "belongs to", strait_port_give, adopt_by_another,
         use_sender},
    };
    JUDGE(crimes);
}

static void what_was_not_given_cannot_be_adopted(void **state)
{
    (void)state;
    const struct crime crimes[] = {
        {"is given away before another thread adopts it", "belongs to", leave_it, adopt_by_another,
         NULL},
        {"is given away before another thread adopts it", "belongs to", strait_port_give,
         adopt_by_another, strait_port_adopt},
    };
    JUDGE(crimes);
}

static void a_hand_over_is_lawful(void **state)
{
    (void)state;
    const struct crime crimes[] = {
        {NULL, NULL, strait_port_give, adopt_by_another, NULL},
        {NULL, NULL, strait_port_give, NULL, strait_port_adopt},
        {NULL, NULL, strait_port_adopt, NULL, use_sender},
        {NULL, NULL, strait_port_give, borrow, strait_port_adopt},
        {NULL, NULL, close_half_and_give, adopt_by_another, NULL},
        {NULL, NULL, strait_port_give, drop_by_another, NULL},
        {NULL, NULL, strait_port_close, send_by_another, NULL},
    };
    JUDGE(crimes);
}

int main(void)
{
    /* no watchdog: a child of a process with threads could not start any under ThreadSanitizer */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_not_own_an_end_cannot_use_it),
        cmocka_unit_test(what_is_given_away_is_nobodys),
        cmocka_unit_test(what_was_not_given_cannot_be_adopted),
        cmocka_unit_test(a_hand_over_is_lawful),
    };
    return cmocka_run_group_tests_name("port_misuse", tests, NULL, NULL);
}
