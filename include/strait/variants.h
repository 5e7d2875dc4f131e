/* SPDX-License-Identifier: MIT */
/*
 * variants: the table of rings. A new one is its header (see strait/variant.h) and one line here,
 * and is then a channel's by its name, in every conformance test and in every benchmark.
 */
#ifndef STRAIT_VARIANTS_H
#define STRAIT_VARIANTS_H

#include "strait/cells.h"
#include "strait/lanes.h"
#include "strait/spsc.h"

/* clang-format off */
/* X(name) of each `struct strait_<name>`. A shared block knows its variant by the place here: a new
 * one goes to the end. */
#define STRAIT_VARIANTS(X) \
    X(spsc) \
    X(lanes) \
    X(cells)
/* clang-format on */

#endif /* STRAIT_VARIANTS_H */
