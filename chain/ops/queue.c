/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bounded queue of tasks: see queue.h.
 */
#include "queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <img/memory.h>

static struct chain_task *task_at(struct chain_queue *queue, uint64_t seq)
{
    return (struct chain_task *)(void *)(queue->tasks + seq %
                                                            CHAIN_QUEUE_TASKS *
                                                            queue->task_len);
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

int chain_queue_init(struct chain_queue *queue, size_t task_len,
                     void (*clear)(struct chain_task *task),
                     struct img_error *err)
{
    memset(queue, 0, sizeof(*queue));
    queue->task_len = task_len;
    queue->clear = clear;
    queue->tasks = img_calloc(CHAIN_QUEUE_TASKS, task_len, err);
    if (!queue->tasks) {
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
        free(queue->tasks);
        queue->tasks = NULL;
        return img_fail_sys(err, rc, "cannot set up the work queue");
    }
    atomic_init(&queue->limit, UINT64_MAX);
    queue->error_seq = UINT64_MAX;
    queue->awaited = UINT64_MAX;
    return 0;
}

static void clear(struct chain_queue *queue, uint64_t seq)
{
    if (queue->clear) {
        queue->clear(task_at(queue, seq));
    }
}

void chain_queue_fini(struct chain_queue *queue)
{
    if (!queue->tasks) {
        return;
    }
    for (unsigned i = 0; i < CHAIN_QUEUE_TASKS; i++) {
        clear(queue, i);
    }
    free(queue->tasks);
    queue->tasks = NULL;
    pthread_cond_destroy(&queue->work);
    pthread_cond_destroy(&queue->done);
    pthread_mutex_destroy(&queue->lock);
}

struct chain_task *chain_queue_open_task(struct chain_queue *queue)
{
    /* head and tail are only changed by the walking thread. */
    if (queue->head - queue->tail == CHAIN_QUEUE_TASKS) {
        return NULL;
    }
    struct chain_task *task = task_at(queue, queue->head);
    task->seq = queue->head;
    task->is_done = false;
    return task;
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

static void wait_for(struct chain_queue *queue, uint64_t seq,
                     unsigned timeout_ms)
{
    struct timespec until = deadline(timeout_ms);
    struct chain_task *task = task_at(queue, seq);
    int rc = 0;

    pthread_mutex_lock(&queue->lock);
    queue->awaited = seq;
    while (!task->is_done && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&queue->done, &queue->lock, &until);
    }
    queue->awaited = UINT64_MAX;
    pthread_mutex_unlock(&queue->lock);
}

void chain_queue_wait(struct chain_queue *queue, bool all, unsigned timeout_ms)
{
    uint64_t nr = queue->head - queue->tail;

    if (nr > 0) {
        wait_for(queue, queue->tail + (all ? nr - 1 : nr / 2), timeout_ms);
    }
}

void chain_queue_wait_oldest(struct chain_queue *queue, unsigned timeout_ms)
{
    if (queue->head != queue->tail) {
        wait_for(queue, queue->tail, timeout_ms);
    }
}

struct chain_task *chain_queue_retire(struct chain_queue *queue)
{
    if (queue->tail == queue->head) {
        return NULL;
    }
    struct chain_task *task = task_at(queue, queue->tail);
    pthread_mutex_lock(&queue->lock);
    bool is_done = task->is_done;
    pthread_mutex_unlock(&queue->lock);
    return is_done ? task : NULL;
}

void chain_queue_release(struct chain_queue *queue)
{
    clear(queue, queue->tail);
    queue->tail++;
}

bool chain_queue_is_empty(struct chain_queue *queue)
{
    return queue->tail == queue->head;
}

static void set_done(struct chain_queue *queue, struct chain_task *task)
{
    task->is_done = true;
    if (task->seq == queue->awaited) {
        pthread_cond_signal(&queue->done);
    }
}

struct chain_task *chain_queue_take(struct chain_queue *queue, bool may_wait)
{
    struct chain_task *task = NULL;

    pthread_mutex_lock(&queue->lock);
    while (!task) {
        if (queue->taken == queue->head) {
            if (queue->is_closed || !may_wait) {
                break;
            }
            queue->idle_nr++;
            pthread_cond_wait(&queue->work, &queue->lock);
            queue->idle_nr--;
            continue;
        }
        struct chain_task *next = task_at(queue, queue->taken++);
        if (chain_queue_is_wanted(queue, next->seq)) {
            task = next;
        } else {
            set_done(queue, next);
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return task;
}

void chain_queue_finish(struct chain_queue *queue, struct chain_task *task)
{
    pthread_mutex_lock(&queue->lock);
    set_done(queue, task);
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
