/* SPDX-License-Identifier: MIT */
#include "gearman/serve_fixture.h"

#include <sys/eventfd.h>

/* ---- functions ---- */

struct gate gate;
_Atomic unsigned told;
static char own_memory[BODY_MAX]; /* which a function answers with */

static struct strait_process_task *whole(struct strait_task *task)
{
    return (struct strait_process_task *)(void *)task;
}

static int echo(struct strait_task *task)
{
    EXPECT(strcmp(task->name, "echo") == 0);
    EXPECT(strait_gearman_key(task) && strlen(strait_gearman_key(task)) == 40);
    EXPECT(strait_gearman_key(whole(task)->local) == NULL);
    return 0;
}

static int not_well(struct strait_task *task)
{
    memset(task->data, 'f', sizeof(task->data));
    return -7;
}

static int give_key(struct strait_task *task)
{
    memcpy(task->data, strait_gearman_key(task), 40);
    return 0;
}

static int answer_more(struct strait_task *task)
{
    memset(own_memory, 'm', sizeof(own_memory));
    whole(task)->payload = own_memory;
    whole(task)->payload_size = (size_t)task->data[0] * 16;
    return 0;
}

static int answer_less(struct strait_task *task)
{
    whole(task)->payload_size--;
    whole(task)->payload = (char *)whole(task)->payload + 1;
    return 0;
}

static int end_thread(struct strait_task *task)
{
    whole(task)->payload = own_memory;
    whole(task)->payload_size = SIZE_MAX;
    pthread_exit(NULL);
}

static int hold(struct strait_task *task)
{
    atomic_fetch_add(&gate.arrived, 1);
    while (!atomic_load(&gate.open)) {
        if (strait_process_cancelled(task)) {
            atomic_fetch_add(&told, 1);
            return -ECANCELED;
        }
        sleep_ns(GATE_NAP_NS);
    }
    return 0;
}

static int no_task(struct strait_process_port *port, void *data, size_t size)
{
    return 0;
}

const struct strait_process_function functions[] = {
    {.name = "echo", .run = echo},
    {.name = "worker", .entry = no_task}, /* is not offered */
    {.name = "fail", .run = not_well},
    {.name = "key", .run = give_key},
    {.name = "more", .run = answer_more},
    {.name = "less", .run = answer_less},
    {.name = "thread", .run = end_thread},
    {.name = "hold", .run = hold},
    {.name = NULL},
};

/* ---- the host ---- */

struct host host;

static void *serve(void *context)
{
    if (host.prepare) {
        host.prepare();
    }
    errno = ERRNO_MARK;
    host.result = strait_gearman_serve(host.pool, functions, &host.options);
    EXPECT(errno_kept());
    atomic_store(&host.ended, true);
    return NULL;
}

void serve_begin(unsigned workers, struct strait_gearman_serve_options options)
{
    memset(&gate, 0, sizeof(gate));
    atomic_store(&told, 0);
    atomic_store(&host.ended, false);
    host.options = options;
    host.options.stop_fd =
        options.stop_fd == BY_SIGNALS ? 0 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_returns(
        strait_pool_create(&host.pool, &(struct strait_pool_options){.workers = workers}), 0);
    thread_start(&host.thread, serve, NULL);
}

void serve_stop(void)
{
    assert_int_equal(eventfd_write(host.options.stop_fd, 1), 0);
}

int serve_join(void)
{
    thread_join(host.thread);
    if (host.options.stop_fd) {
        close(host.options.stop_fd);
    }
    assert_returns(strait_pool_finish(host.pool, NULL, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER), 0);
    return host.result;
}

void say_no_job(struct peer *peer)
{
    struct packet packet;
    peer_say(peer, NO_JOB, NULL, 0);
    peer_hear(peer, PRE_SLEEP, &packet);
}

void serve_end(struct peer *peer)
{
    struct packet packet;
    serve_stop();
    say_no_job(peer);
    assert_false(peer_next(peer, &packet));
    assert_int_equal(serve_join(), 0);
    peer_close(peer);
}

void meet(struct peer *peer)
{
    static const char *const offered[] = {"echo", "fail", "key", "more", "less", "thread", "hold"};
    struct packet packet;
    peer_accept(peer);
    for (size_t i = 0; i < COUNT(offered); i++) {
        peer_hear(peer, CAN_DO, &packet);
        assert_string_equal(packet.bytes, offered[i]);
    }
}

void greet(struct peer *peer)
{
    struct packet packet;
    meet(peer);
    peer_hear(peer, GRAB_JOB_UNIQ, &packet);
    assert_int_equal(packet.size, 0);
}

void begin_with(struct peer *peer, unsigned workers, unsigned in_flight)
{
    peer_open(peer);
    serve_begin(workers, (struct strait_gearman_serve_options){
                             .servers = peer->name, .in_flight = in_flight, .payload_max = 1024});
    greet(peer);
}

struct body job(const char *handle, const char *function)
{
    struct body body = {.size = 0};
    add_field(&body, handle);
    add_field(&body, function);
    add_field(&body, KEY);
    return body;
}

void assign(struct peer *peer, const char *handle, const char *function, int64_t remaining,
            const char *data)
{
    unsigned char bytes[STRAIT_TASK_DATA] = {0};
    struct body body = job(handle, function);
    memcpy(bytes, data, strlen(data));
    add_head(&body, MAGIC, 0, 0, remaining, bytes);
    peer_say_body(peer, JOB_ASSIGN_UNIQ, &body);
}

const char *answered(struct peer *peer, const char *handle, unsigned grabs, struct packet *packet,
                     struct head *head, size_t *size)
{
    struct packet other;
    packet->type = 0;
    for (unsigned grabbed = 0; packet->type == 0 || grabbed < grabs;) {
        assert_true(peer_next(peer, &other));
        if (other.type == GRAB_JOB_UNIQ && grabbed < grabs) {
            grabbed++;
        } else {
            assert_int_equal(other.type, WORK_COMPLETE);
            assert_int_equal(packet->type, 0);
            *packet = other;
        }
    }
    assert_string_equal(packet->bytes, handle);
    size_t before = strlen(handle) + 1;
    assert_true(packet->size >= before + HEAD);
    *head = read_head_at(packet->bytes + before);
    assert_int_equal(head->magic, MAGIC);
    assert_int_equal(head->remaining, 0);
    *size = packet->size - before - HEAD;
    return packet->bytes + before + HEAD;
}

void assert_answered(struct peer *peer, const char *handle, unsigned grabs,
                     enum strait_task_status status, int code)
{
    struct packet packet;
    struct head head;
    size_t size;
    answered(peer, handle, grabs, &packet, &head, &size);
    assert_int_equal(head.status, status);
    assert_int_equal(head.code, code);
    assert_int_equal(size, 0);
}

void assert_serves(struct peer *peer)
{
    assign(peer, "H:still", "echo", 0, "");
    assert_answered(peer, "H:still", 1, STRAIT_TASK_DONE, 0);
}
