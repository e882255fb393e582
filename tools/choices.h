/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* -o help: what can be set, as qemu-img's create, convert and amend list it. */
#ifndef CHOICES_H
#define CHOICES_H

/* What a new image of FORMAT (NULL: raw) can be. Returns the exit code. */
int choices_create(const char *format);
/* What can be changed about an image of FORMAT (NULL: qcow2). */
int choices_amend(const char *format);

#endif
