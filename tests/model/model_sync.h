/* SPDX-License-Identifier: MIT */
/* The helpers of strait/sync.h as steps of the model checker. Macros, so that each call knows
 * its line. */
#ifndef MODEL_SYNC_H
#define MODEL_SYNC_H

#include "model.h"

#define MODEL_U32 sizeof(uint32_t)
#define MODEL_WORD sizeof(uintptr_t)

#define strait_load_relaxed(p) ((uint32_t)model_load(MODEL_HERE, p, MODEL_U32, false))
#define strait_load_acquire(p) ((uint32_t)model_load(MODEL_HERE, p, MODEL_U32, true))
#define strait_store_relaxed(p, v) model_store(MODEL_HERE, p, MODEL_U32, v, false)
#define strait_store_release(p, v) model_store(MODEL_HERE, p, MODEL_U32, v, true)
#define strait_cas_relaxed(p, e, v) model_cas(MODEL_HERE, p, MODEL_U32, e, v, false)
#define strait_cas_acq_rel(p, e, v) model_cas(MODEL_HERE, p, MODEL_U32, e, v, true)
#define strait_add_acq_rel(p, v) ((uint32_t)model_add(MODEL_HERE, p, MODEL_U32, v, true))

#define strait_word_load_relaxed(p) model_load(MODEL_HERE, p, MODEL_WORD, false)
#define strait_word_load_acquire(p) model_load(MODEL_HERE, p, MODEL_WORD, true)
#define strait_word_store_relaxed(p, v) model_store(MODEL_HERE, p, MODEL_WORD, v, false)
#define strait_word_store_release(p, v) model_store(MODEL_HERE, p, MODEL_WORD, v, true)
#define strait_word_cas_relaxed(p, e, v) model_cas(MODEL_HERE, p, MODEL_WORD, e, v, false)
#define strait_word_cas_acq_rel(p, e, v) model_cas(MODEL_HERE, p, MODEL_WORD, e, v, true)
#define strait_word_add_acq_rel(p, v) model_add(MODEL_HERE, p, MODEL_WORD, v, true)

#define strait_wide_load_relaxed(p) model_load(MODEL_HERE, p, sizeof(uint64_t), false)
#define strait_wide_store_relaxed(p, v) model_store(MODEL_HERE, p, sizeof(uint64_t), v, false)

#define strait_full_fence() model_fence(MODEL_HERE, MODEL_FULL)
#define strait_fence_after_cas() model_fence(MODEL_HERE, MODEL_FULL)
#define strait_light_barrier() model_fence(MODEL_HERE, MODEL_LIGHT)
#define strait_pause() model_pause()
#define strait_pause_for(times) ((void)(times)) /* ends by itself; any thread may run then */
#define strait_prefetch_read(line) ((void)(line))
#define strait_prefetch_write(line) ((void)(line))

#endif /* MODEL_SYNC_H */
