/* SPDX-License-Identifier: MIT */
/* The tests, each an array that ends with one without a name. */
#ifndef MODEL_TESTS_H
#define MODEL_TESTS_H

#include "model.h"

/* Litmus tests with known answers, of the checker itself. Returns how many came out wrong. */
int litmus_run(void);

extern const struct model_test ring_tests[];
extern const struct model_test channel_tests[];
extern const struct model_test task_tests[];

#endif /* MODEL_TESTS_H */
