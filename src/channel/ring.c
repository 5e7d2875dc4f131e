/* SPDX-License-Identifier: MIT */
/* The table of variants, looked up at run time. */
#include "strait/ring.h"

#define ENTRY(VARIANT) &strait_##VARIANT##_variant,

static const struct strait_variant *const variants[] = {STRAIT_VARIANTS(ENTRY)};

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
