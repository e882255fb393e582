/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bounded queue of pieces: see queue.h.
 */
#include "queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <img/memory.h>

static struct chain_piece *slot(struct chain_queue *queue, uint64_t seq)
{
    return &queue->pieces[seq % CHAIN_QUEUE_PIECES];
}

static int init_conditions(struct chain_queue *queue)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    if (rc != 0) {
        return rc;
    }
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (rc == 0) {
        rc = pthread_cond_init(&queue->work, &attr);
    }
    if (rc == 0) {
        rc = pthread_cond_init(&queue->done, &attr);
        if (rc != 0) {
            pthread_cond_destroy(&queue->work);
        }
    }
    pthread_condattr_destroy(&attr);
    return rc;
}

int chain_queue_init(struct chain_queue *queue, struct img_error *err)
{
    memset(queue, 0, sizeof(*queue));
    queue->pieces = img_calloc(CHAIN_QUEUE_PIECES, sizeof(*queue->pieces), err);
    if (!queue->pieces) {
        return -1;
    }
    int rc = pthread_mutex_init(&queue->lock, NULL);
    if (rc == 0) {
        rc = init_conditions(queue);
        if (rc != 0) {
            pthread_mutex_destroy(&queue->lock);
        }
    }
    if (rc != 0) {
        free(queue->pieces);
        queue->pieces = NULL;
        return img_fail_sys(err, rc, "cannot set up the work queue");
    }
    atomic_init(&queue->limit, UINT64_MAX);
    queue->error_seq = UINT64_MAX;
    queue->awaited = UINT64_MAX;
    return 0;
}

void chain_queue_fini(struct chain_queue *queue)
{
    if (!queue->pieces) {
        return;
    }
    for (unsigned i = 0; i < CHAIN_QUEUE_PIECES; i++) {
        chain_piece_clear(&queue->pieces[i]);
    }
    free(queue->pieces);
    queue->pieces = NULL;
    pthread_cond_destroy(&queue->work);
    pthread_cond_destroy(&queue->done);
    pthread_mutex_destroy(&queue->lock);
}

struct chain_piece *chain_queue_open_piece(struct chain_queue *queue)
{
    /* head and tail are only changed by the walking thread. */
    if (queue->head - queue->tail == CHAIN_QUEUE_PIECES) {
        return NULL;
    }
    struct chain_piece *piece = slot(queue, queue->head);
    chain_piece_reset(piece, queue->head);
    return piece;
}

void chain_queue_publish(struct chain_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->head++;
    if (queue->idle_nr > 0) {
        pthread_cond_signal(&queue->work);
    }
    pthread_mutex_unlock(&queue->lock);
}

uint64_t chain_queue_backlog(struct chain_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    uint64_t backlog = queue->head - queue->taken;
    pthread_mutex_unlock(&queue->lock);
    return backlog;
}

void chain_queue_close(struct chain_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->is_closed = true;
    pthread_cond_broadcast(&queue->work);
    pthread_mutex_unlock(&queue->lock);
}

static struct timespec deadline(unsigned timeout_ms)
{
    struct timespec when;

    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_sec += (time_t)(timeout_ms / 1000);
    when.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (when.tv_nsec >= 1000000000L) {
        when.tv_nsec -= 1000000000L;
        when.tv_sec++;
    }
    return when;
}

void chain_queue_wait(struct chain_queue *queue, bool all, unsigned timeout_ms)
{
    struct timespec until = deadline(timeout_ms);
    uint64_t nr = queue->head - queue->tail;
    int rc = 0;

    if (nr == 0) {
        return;
    }
    uint64_t seq = queue->tail + (all ? nr - 1 : nr / 2);
    struct chain_piece *piece = slot(queue, seq);
    pthread_mutex_lock(&queue->lock);
    queue->awaited = seq;
    while (!piece->is_done && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&queue->done, &queue->lock, &until);
    }
    queue->awaited = UINT64_MAX;
    pthread_mutex_unlock(&queue->lock);
}

struct chain_piece *chain_queue_retire(struct chain_queue *queue)
{
    if (queue->tail == queue->head) {
        return NULL;
    }
    struct chain_piece *piece = slot(queue, queue->tail);
    pthread_mutex_lock(&queue->lock);
    bool is_done = piece->is_done;
    pthread_mutex_unlock(&queue->lock);
    return is_done ? piece : NULL;
}

void chain_queue_release(struct chain_queue *queue)
{
    chain_piece_clear(slot(queue, queue->tail));
    queue->tail++;
}

bool chain_queue_is_empty(struct chain_queue *queue)
{
    return queue->tail == queue->head;
}

static void set_done(struct chain_queue *queue, struct chain_piece *piece)
{
    piece->is_done = true;
    if (piece->seq == queue->awaited) {
        pthread_cond_signal(&queue->done);
    }
}

struct chain_piece *chain_queue_take(struct chain_queue *queue, bool may_wait)
{
    struct chain_piece *piece = NULL;

    pthread_mutex_lock(&queue->lock);
    while (!piece) {
        if (queue->taken == queue->head) {
            if (queue->is_closed || !may_wait) {
                break;
            }
            queue->idle_nr++;
            pthread_cond_wait(&queue->work, &queue->lock);
            queue->idle_nr--;
            continue;
        }
        struct chain_piece *next = slot(queue, queue->taken++);
        if (chain_queue_is_wanted(queue, next->seq)) {
            piece = next;
        } else {
            set_done(queue, next);
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return piece;
}

void chain_queue_finish(struct chain_queue *queue, struct chain_piece *piece)
{
    pthread_mutex_lock(&queue->lock);
    set_done(queue, piece);
    pthread_mutex_unlock(&queue->lock);
}

void chain_queue_set_limit(struct chain_queue *queue, uint64_t seq)
{
    uint64_t old = atomic_load(&queue->limit);

    while (seq < old &&
           !atomic_compare_exchange_weak(&queue->limit, &old, seq)) {
    }
}

bool chain_queue_is_wanted(struct chain_queue *queue, uint64_t seq)
{
    return seq < atomic_load(&queue->limit);
}

void chain_queue_fail(struct chain_queue *queue, uint64_t seq,
                      const struct img_error *error)
{
    pthread_mutex_lock(&queue->lock);
    if (seq < queue->error_seq) {
        queue->error_seq = seq;
        queue->error = *error;
    }
    pthread_mutex_unlock(&queue->lock);
}
