/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room engine: threads that compute: see img/thread.h.
 */
#include <img/thread.h>

#include <sched.h>
#include <signal.h>

#include <img/checked.h>

#define DEFAULT_MAX 8u
#define STACK_LEN (256u << 10)

static unsigned processors(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 1;
    }
    return (unsigned)CPU_COUNT(&set);
}

unsigned img_threads_nr(unsigned wish)
{
    uint64_t nr = wish;

    if (nr == 0) {
        nr = img_min(processors(), DEFAULT_MAX);
    }
    return (unsigned)img_max(1, img_min(nr, IMG_THREADS_MAX));
}

int img_thread_start(pthread_t *out, void *(*run)(void *), void *opaque,
                     struct img_error *err)
{
    pthread_attr_t attr;
    sigset_t all, old;
    int rc = pthread_attr_init(&attr);

    if (rc != 0) {
        return img_fail_sys(err, rc, "cannot start a thread");
    }
    /* A failure only means the default: more address space. */
    (void)pthread_attr_setstacksize(&attr, STACK_LEN);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(out, &attr, run, opaque);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        return img_fail_sys(err, rc, "cannot start a thread");
    }
    return 0;
}
