/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is known about the terminal. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <stdbool.h>

#define TERMINAL_DEFAULT_WIDTH 80u
#define TERMINAL_MIN_WIDTH 60u

/* Columns of FD, 80 where it is no terminal, never under 60. */
unsigned terminal_width(int fd);
/* A terminal that moves its cursor (TERM is not "dumb"). */
bool terminal_is_fancy(int fd);
/* The same, and colours are wanted (NO_COLOR is unset or empty). */
bool terminal_has_colour(int fd);

#endif
