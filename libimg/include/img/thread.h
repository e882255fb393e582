/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that compute, and how many of them are worth having. */
#ifndef IMG_THREAD_H
#define IMG_THREAD_H

#include <pthread.h>

#include <img/error.h>

#define IMG_THREADS_MAX 64u

/* WISH 0: one per processor that this process may use, at most 8. */
unsigned img_threads_nr(unsigned wish);

/* Signals stay with the threads there are. The stack is small: no large
   buffers on it. */
int img_thread_start(pthread_t *out, void *(*run)(void *), void *opaque,
                     struct img_error *err);

#endif
