/* SPDX-License-Identifier: MIT */
/* The table of variants. A new one: its header (see strait/variant.h) and one line here. */
#include "strait/cells.h"
#include "strait/lanes.h"
#include "strait/spsc.h"

static const struct strait_variant *const variants[] = {
    &strait_spsc_variant,
    &strait_lanes_variant,
    &strait_cells_variant,
};

const struct strait_variant *strait_variant_at(size_t i)
{
    return i < sizeof(variants) / sizeof(variants[0]) ? variants[i] : NULL;
}

const struct strait_variant *strait_variant_find(const char *name)
{
    for (size_t i = 0; strait_variant_at(i); i++) {
        if (strcmp(strait_variant_at(i)->name, name) == 0) {
            return strait_variant_at(i);
        }
    }
    return NULL;
}
