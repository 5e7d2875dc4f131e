/* SPDX-License-Identifier: MIT */
/* What is run, and what the tests share. */
#ifndef MODEL_TESTS_H
#define MODEL_TESTS_H

#include "model.h"

/* A row of a table leaves out what it does not need. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* Litmus tests with known answers, of the checker itself. Returns how many came out wrong. */
int litmus_run(void);

/* Weakens one order at a time, halves of read-modify-writes only if `partly`. Returns how many
 * mutants survive that should not, or the other way round. */
int mutants_run(bool partly);

/* ---- messages, of rings.c: they say who sent them, and in which order ---- */

#define MESSAGES_MOST 8

/* Message i of a sender, which is a thread. */
uint64_t message(int sender, uint32_t i);
void forget_received(void);
void receive_message(uint64_t m);
uint32_t messages_received(void);
/* Each message that a sender sent was received once, and in order, and nothing else was. */
void check_received(const uint32_t *sent, int senders);

/* ---- the kernel's calls in wait.c, of waiting.c ---- */

/* At the start of an execution: no fd is open. */
void waiting_begin(void);
/* Until the fd is readable. */
void waiting_poll(int fd);
/* One look at the ring between the barrier and the sleep finds nothing: as if it had been left out.
 * For the mutants. */
bool waiting_looks_away(void);

/* Each ends with one without a name. */
extern const struct model_test ring_tests[];
extern const struct model_test channel_tests[];
extern const struct model_test task_tests[];
extern const struct model_test pool_tests[];

#endif /* MODEL_TESTS_H */
