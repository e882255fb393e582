/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text that grows. Room: chain/virt. */
#ifndef VIRT_BYTES_H
#define VIRT_BYTES_H

#include <stddef.h>

#include <img/error.h>

/* Zeroed is empty. What BYTES points to is terminated once there is any. */
struct virt_bytes {
    char *bytes;
    size_t len, room;
};

int virt_bytes_add(struct virt_bytes *to, const char *bytes, size_t len,
                   struct img_error *err);
/*
 * Add VALUE as it stands in an attribute or between tags. IMG_UNSUPPORTED for
 * what XML cannot hold: control characters, and what is not UTF-8.
 */
int virt_bytes_escape(struct virt_bytes *to, const char *value,
                      struct img_error *err);
void virt_bytes_fini(struct virt_bytes *bytes);

#endif
