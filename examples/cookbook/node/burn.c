/* SPDX-License-Identifier: MIT */
/* burn: an add-on for one of Node's threads; burn(ms) is a promise that a pool keeps. */
#define _GNU_SOURCE /* uv.h needs it where the compiler is strict */
#include <node_api.h>
#include "strait_uv.h" /* with Node's own uv.h: its loop is one of libuv's */

static struct strait_uv_handle handle;
static struct strait_parent *parent; /* the thread of Node's loop */
static napi_env node;
static napi_async_context context;

struct call { /* travels in the task */
    napi_deferred promise;
    uint32_t ms, rounds;
};

static int burn(struct strait_task *task) /* on a worker: nothing of Node's may be called here */
{
    struct call call;
    memcpy(&call, task->data, sizeof(call));
    for (int64_t end = strait_deadline(call.ms * 1000000ll); strait_now() < end; call.rounds++) {
    }
    memcpy(task->data, &call, sizeof(call));
    return 0;
}

static void burnt(struct strait_task *task) /* on Node's loop, but not called by Node */
{
    napi_handle_scope handles;
    napi_callback_scope callback; /* its end runs what waits for the promise */
    napi_value value;
    struct call call;
    memcpy(&call, task->data, sizeof(call));
    napi_open_handle_scope(node, &handles);
    napi_open_callback_scope(node, NULL, context, &callback);
    napi_create_uint32(node, call.rounds, &value);
    napi_resolve_deferred(node, call.promise, value);
    if (strait_parent_owed(parent) == 0) {
        strait_uv_unref(&handle);
    }
    napi_close_callback_scope(node, callback);
    napi_close_handle_scope(node, handles);
}

static napi_value js_burn(napi_env env, napi_callback_info info)
{
    struct strait_task task = {.run = burn, .name = "burn", .done = burnt};
    struct call call = {0};
    napi_value ms, promise;
    napi_create_promise(env, &call.promise, &promise);
    napi_get_cb_info(env, info, &(size_t){1}, &ms, NULL, NULL);
    bool number = napi_get_value_uint32(env, ms, &call.ms) == napi_ok;
    memcpy(task.data, &call, sizeof(call));
    if (number && strait_task_submit(parent, &task, NULL, NULL) == 0) {
        strait_uv_ref(&handle); /* the loop goes on while something is owed */
    } else {
        napi_throw_error(env, NULL, number ? "burn: too many wait" : "burn(milliseconds)");
    }
    return promise;
}

NAPI_MODULE_INIT() /* of env and exports */
{
    struct strait_pool *pool; /* for the process's life: it may exit while a worker computes */
    uv_loop_t *loop;
    napi_value name, function;
    napi_create_string_utf8(env, "burn", NAPI_AUTO_LENGTH, &name);
    if (node || napi_get_uv_event_loop(env, &loop) != napi_ok ||
        napi_async_init(env, NULL, name, &context) != napi_ok || strait_pool_create(&pool, NULL) ||
        strait_pool_attach(pool, &parent, NULL) ||
        strait_uv_pool_start(loop, &handle, pool, parent, NULL)) {
        napi_throw_error(env, NULL, "burn: no pool, or a second one");
        return NULL;
    }
    node = env;
    strait_uv_unref(&handle);
    napi_create_function(env, "burn", NAPI_AUTO_LENGTH, js_burn, NULL, &function);
    napi_set_named_property(env, exports, "burn", function);
    return exports;
}
