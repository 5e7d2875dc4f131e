/* SPDX-License-Identifier: MIT */
#include "extra/uv_fixture.h"

unsigned closes;

/* Opens what libuv keeps open, before a test counts descriptors. */
__attribute__((constructor)) static void uv_prepare(void)
{
    uv_loop_t first;
    if (uv_loop_init(&first) != 0 || uv_loop_close(&first) != 0) {
        abort();
    }
}

void loop_finish(uv_loop_t *loop)
{
    EXPECT(uv_run(loop, UV_RUN_DEFAULT) == 0);
    EXPECT(uv_loop_close(loop) == 0);
}

/* Seen after two turns on end, since what one has changed is polled by the next. */
void loop_falls_asleep(uv_loop_t *loop)
{
    unsigned quiet = 0;
    for (unsigned turns = 0; turns < 20 && quiet < 2; turns++) {
        uv_run(loop, UV_RUN_NOWAIT);
        quiet = readable(uv_backend_fd(loop), 0) ? 0 : quiet + 1;
    }
    EXPECT(quiet == 2);
}

void loop_sleeps(uv_loop_t *loop)
{
    EXPECT(readable(uv_backend_fd(loop), -1));
}

void count_close(struct strait_uv_handle *handle)
{
    EXPECT(!strait_uv_is_active(handle));
    closes++;
}

static void metronome_tick(uv_check_t *check)
{
    struct metronome *metronome = check->data;
    metronome->turns++;
    metronome->since = 0;
}

void metronome_start(struct metronome *metronome, uv_loop_t *loop)
{
    memset(metronome, 0, sizeof(*metronome));
    EXPECT(uv_check_init(loop, &metronome->check) == 0);
    metronome->check.data = metronome;
    EXPECT(uv_check_start(&metronome->check, metronome_tick) == 0);
}

void metronome_note(struct metronome *metronome)
{
    metronome->since++;
    metronome->most = metronome->since > metronome->most ? metronome->since : metronome->most;
}

void metronome_stop(struct metronome *metronome)
{
    uv_close((uv_handle_t *)&metronome->check, NULL);
}
