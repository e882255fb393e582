/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text that grows: see bytes.h. */
#include "bytes.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

int virt_bytes_add(struct virt_bytes *to, const char *bytes, size_t len,
                   struct img_error *err)
{
    if (len >= to->room - to->len) {
        size_t room = 2 * (to->len + len) + 64;
        char *grown = realloc(to->bytes, room);

        if (!grown) {
            return img_fail_memory(err);
        }
        to->bytes = grown;
        to->room = room;
    }
    memcpy(to->bytes + to->len, bytes, len);
    to->len += len;
    to->bytes[to->len] = '\0';
    return 0;
}

void virt_bytes_fini(struct virt_bytes *bytes)
{
    free(bytes->bytes);
    memset(bytes, 0, sizeof(*bytes));
}
