/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals: SIGINT, SIGTERM and SIGHUP ask long work to stop, SIGUSR1 how far
   it is. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <stdbool.h>

/* Nothing that is written to a pipe or a closed descriptor may kill us. */
void signals_init(void);
/*
 * From now on the first SIGINT, SIGTERM or SIGHUP sets the flag that is
 * returned; a second one ends the process as usual.
 */
const volatile int *signals_catch(void);
/* Set that flag (a handler may). False: nothing looks at it. */
bool signals_cancel(void);
/* Was SIGUSR1 received since the last call? */
bool signals_take_usr1(void);

#endif
