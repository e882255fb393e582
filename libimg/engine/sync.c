/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room engine: the synchronous twin. Each wait does the oldest request.
 */
#include <stdlib.h>

#include <img/memory.h>

#include "engine_impl.h"

static int sync_wait(struct img_engine *engine, struct img_request **out,
                     struct img_error *err)
{
    (void)err;
    *out = img_request_queue_pop(&engine->queue);
    img_request_finish_sync(*out);
    return 0;
}

static void sync_free(struct img_engine *engine)
{
    free(engine);
}

static const struct img_engine_ops sync_ops = {
    .wait = sync_wait,
    .free = sync_free,
};

int img_engine_sync_new(struct img_engine **out, struct img_error *err)
{
    struct img_engine *engine = img_calloc(1, sizeof(*engine), err);

    if (!engine) {
        return -1;
    }
    engine->ops = &sync_ops;
    engine->kind = IMG_ENGINE_SYNC;
    *out = engine;
    return 0;
}
