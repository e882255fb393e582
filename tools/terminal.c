/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is known about the terminal. */
#include "terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

unsigned terminal_width(int fd)
{
    struct winsize size;

    if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0) {
        return TERMINAL_DEFAULT_WIDTH;
    }
    return size.ws_col < TERMINAL_MIN_WIDTH ? TERMINAL_MIN_WIDTH : size.ws_col;
}

bool terminal_is_fancy(int fd)
{
    const char *term = getenv("TERM");

    return isatty(fd) && term && strcmp(term, "dumb") != 0;
}

bool terminal_has_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR");

    return terminal_is_fancy(fd) && !(no_color && no_color[0]);
}
