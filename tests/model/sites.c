/* SPDX-License-Identifier: MIT */
/* Where orders stand, and the one that is weakened. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>

#define SITES 128

struct site {
    struct model_site at;
    uint32_t weakenings; /* bit per weakening that makes sense */
    bool reached;
};

static struct site sites[SITES];
static int site_count;
static int mutated_site = -1;
static enum model_weakening mutation;

void sites_reset(void)
{
    for (int i = 0; i < site_count; i++) {
        sites[i].reached = false;
    }
}

static int find_site(struct model_site at, uint32_t weakenings)
{
    for (int i = 0; i < site_count; i++) {
        if (sites[i].at.line == at.line && sites[i].at.file == at.file &&
            sites[i].weakenings == weakenings) {
            return i;
        }
    }
    if (site_count == SITES) {
        fprintf(stderr, "model: too many sites\n");
        abort();
    }
    sites[site_count] = (struct site){at, weakenings, false};
    return site_count++;
}

static int reach(struct model_site at, uint32_t weakenings)
{
    int site = find_site(at, weakenings);
    sites[site].reached = true;
    return site;
}

static bool weakened(struct model_site at, uint32_t weakenings, enum model_weakening *to)
{
    *to = mutation;
    return reach(at, weakenings) == mutated_site;
}

void weaken(struct model_site at, bool *acquire, bool *release)
{
    enum model_weakening to;
    uint32_t can = 1u << MODEL_RELAXED;
    if (*acquire && *release) {
        can |= 1u << MODEL_ONLY_ACQUIRE | 1u << MODEL_ONLY_RELEASE;
    }
    if ((*acquire || *release) && weakened(at, can, &to)) {
        *acquire = to == MODEL_ONLY_ACQUIRE;
        *release = to == MODEL_ONLY_RELEASE;
    }
}

bool model_omitted(struct model_site at)
{
    enum model_weakening to;
    return weakened(at, 1u << MODEL_OMITTED, &to);
}

int model_sites(void)
{
    return site_count;
}

struct model_site model_site_at(int site)
{
    return sites[site].at;
}

bool model_site_has(int site, enum model_weakening weakening)
{
    return sites[site].weakenings >> weakening & 1;
}

bool model_site_reached(int site)
{
    return sites[site].reached;
}

void model_mutate(int site, enum model_weakening weakening)
{
    mutated_site = site;
    mutation = weakening;
}
