/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --image-opts: FILE as a list of options, QEMU's older way to write json:. */
#ifndef IMAGE_OPTS_H
#define IMAGE_OPTS_H

#include <img/error.h>

/*
 * TEXT, "driver=qcow2,file.filename=a.qcow2", as a name that begins with
 * "json:". Two commas in a value are one. Free with free().
 */
char *image_opts_name(const char *text, struct img_error *err);

#endif
