/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room engine: the one interface, its bookkeeping, and the choice between
 * io_uring and the synchronous twin.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "engine_impl.h"

#define DEPTH_MAX 4096u

void img_request_queue_push(struct img_request_queue *queue,
                            struct img_request *request)
{
    request->next_ = NULL;
    if (queue->tail) {
        queue->tail->next_ = request;
    } else {
        queue->head = request;
    }
    queue->tail = request;
    queue->nr++;
}

struct img_request *img_request_queue_pop(struct img_request_queue *queue)
{
    struct img_request *request = queue->head;

    if (!request) {
        return NULL;
    }
    queue->head = request->next_;
    if (!queue->head) {
        queue->tail = NULL;
    }
    queue->nr--;
    request->next_ = NULL;
    return request;
}

static int new_of_kind(enum img_engine_kind kind, unsigned depth,
                       struct img_ring_stock *stock, struct img_engine **out,
                       struct img_error *err)
{
    if (kind == IMG_ENGINE_SYNC) {
        return img_engine_sync_new(out, err);
    }
    if (img_engine_uring_new(depth, stock, out, err) == 0) {
        return 0;
    }
    if (kind == IMG_ENGINE_URING) {
        return -1;
    }
    img_error_clear(err);
    return img_engine_sync_new(out, err);
}

int img_engine_new(enum img_engine_kind kind, unsigned depth,
                   struct img_engine **out, struct img_error *err)
{
    return img_engine_new_from(NULL, kind, depth, out, err);
}

int img_engine_new_from(struct img_ring_stock *stock, enum img_engine_kind kind,
                        unsigned depth, struct img_engine **out,
                        struct img_error *err)
{
    if (depth < 1 || depth > DEPTH_MAX) {
        return img_fail(err, IMG_USAGE,
                        "engine depth: found %u, expected 1 to %u", depth,
                        DEPTH_MAX);
    }
    if (new_of_kind(kind, depth, stock, out, err)) {
        return -1;
    }
    (*out)->depth = depth;
    return 0;
}

void img_engine_free(struct img_engine *engine)
{
    if (engine) {
        engine->ops->free(engine);
    }
}

enum img_engine_kind img_engine_kind(const struct img_engine *engine)
{
    return engine->kind;
}

int img_engine_submit(struct img_engine *engine, struct img_request *request,
                      struct img_error *err)
{
    if (engine->in_flight == engine->depth) {
        return img_fail(err, IMG_LIMIT,
                        "the engine is full: found %u requests in flight, "
                        "expected fewer",
                        engine->in_flight);
    }
    request->result = 0;
    request->done_ = 0;
    request->bounce_ = NULL;
    img_request_queue_push(&engine->queue, request);
    engine->in_flight++;
    return 0;
}

int img_engine_wait(struct img_engine *engine, struct img_request **out,
                    struct img_error *err)
{
    *out = NULL;
    if (engine->in_flight == 0) {
        return 0;
    }
    if (engine->ops->wait(engine, out, err)) {
        return -1;
    }
    engine->in_flight--;
    return 0;
}

unsigned img_engine_in_flight(const struct img_engine *engine)
{
    return engine->in_flight;
}
