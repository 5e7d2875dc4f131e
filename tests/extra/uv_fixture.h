/* SPDX-License-Identifier: MIT */
/* What the tests on libuv loops share. */
#ifndef STRAIT_TESTS_EXTRA_UV_FIXTURE_H
#define STRAIT_TESTS_EXTRA_UV_FIXTURE_H

#include "extra/fixture.h"

#include "strait_uv.h"

/* Runs it until every handle is closed, and closes it. Any thread. */
void loop_finish(uv_loop_t *loop);

/* Soon nothing that the loop polls is ready, so that it would sleep. */
void loop_falls_asleep(uv_loop_t *loop);

/* Until something comes, or forever. */
void loop_sleeps(uv_loop_t *loop);

/* A close callback that counts. */
extern unsigned closes;
void count_close(struct strait_uv_handle *handle);

/* Something that runs once in each turn of a loop, and what came between two of its runs. */
struct metronome {
    uv_check_t check;
    unsigned turns;
    size_t since;
    size_t most;
};

void metronome_start(struct metronome *metronome, uv_loop_t *loop);
void metronome_note(struct metronome *metronome);
void metronome_stop(struct metronome *metronome);

#endif /* STRAIT_TESTS_EXTRA_UV_FIXTURE_H */
