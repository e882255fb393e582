/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bounded queue between the thread that walks and those that work.
 *
 * Tasks (a comparison's pieces, for one) are numbered as they are published.
 * They are taken in that order by any worker, finished in any order, and
 * retired in that order again by the walking thread: whatever the timing,
 * results come out the same. A task's memory is one of a fixed ring; it is
 * the walker's until published, a worker's until finished, the walker's again
 * until released.
 */
#ifndef CHAIN_OPS_QUEUE_H
#define CHAIN_OPS_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

#define CHAIN_QUEUE_TASKS 128u

/* What is queued embeds this as its first member. */
struct chain_task {
    uint64_t seq;
    bool is_done;
};

struct chain_queue {
    pthread_mutex_t lock;
    pthread_cond_t work; /* a task was published, or no more will be */
    pthread_cond_t done; /* a task was finished */
    uint8_t *tasks;      /* the ring, of task_len each */
    size_t task_len;
    void (*clear)(struct chain_task *task);
    uint64_t head;  /* the next to publish */
    uint64_t taken; /* the next to take */
    uint64_t tail;  /* the next to retire */
    bool is_closed;
    unsigned idle_nr; /* workers that wait for work */
    uint64_t awaited; /* the task the walker sleeps for; UINT64_MAX: none */
    /* Tasks from here on are of no interest any more. */
    _Atomic uint64_t limit;
    /* The failure with the lowest number. */
    uint64_t error_seq;
    struct img_error error;
};

/* Tasks of TASK_LEN bytes. CLEAR, if not NULL, frees what one holds when it is
   released, and at the end. */
int chain_queue_init(struct chain_queue *queue, size_t task_len,
                     void (*clear)(struct chain_task *task),
                     struct img_error *err);
void chain_queue_fini(struct chain_queue *queue);

/* The walking thread: the task to fill next, NULL when the ring is full. */
struct chain_task *chain_queue_open_task(struct chain_queue *queue);
void chain_queue_publish(struct chain_queue *queue);
/* Tasks that nobody has taken yet. */
uint64_t chain_queue_backlog(struct chain_queue *queue);
/* No more tasks will come. */
void chain_queue_close(struct chain_queue *queue);
/*
 * Sleep until the older half of what was published is finished (all of it
 * when ALL), or for TIMEOUT_MS. Being woken for every task would cost more
 * than the tasks.
 */
void chain_queue_wait(struct chain_queue *queue, bool all, unsigned timeout_ms);
/* The same until the oldest one is. */
void chain_queue_wait_oldest(struct chain_queue *queue, unsigned timeout_ms);
/*
 * The oldest task that was published, when it is finished, else NULL. Its
 * memory is used again after chain_queue_release.
 */
struct chain_task *chain_queue_retire(struct chain_queue *queue);
void chain_queue_release(struct chain_queue *queue);
bool chain_queue_is_empty(struct chain_queue *queue);

/*
 * Workers: the next task; NULL when the queue is closed and empty, or, if
 * not MAY_WAIT, when it is empty. Tasks of no interest are finished unseen.
 */
struct chain_task *chain_queue_take(struct chain_queue *queue, bool may_wait);
void chain_queue_finish(struct chain_queue *queue, struct chain_task *task);

/* Any thread: nothing from task SEQ on matters. */
void chain_queue_set_limit(struct chain_queue *queue, uint64_t seq);
bool chain_queue_is_wanted(struct chain_queue *queue, uint64_t seq);
/* Any thread: task SEQ has failed. The lowest one is kept. */
void chain_queue_fail(struct chain_queue *queue, uint64_t seq,
                      const struct img_error *error);

#endif
