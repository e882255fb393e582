/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done and what is lost, told to the caller. Room: qcow2/repair. */
#include "repair_impl.h"

#include <stdarg.h>
#include <stdio.h>

#include <img/checked.h>

#define MESSAGE_LEN 512u

void qcow2_repair_tell(struct qcow2_repair *r,
                       const struct qcow2_repair_told *told, const char *fmt,
                       ...)
{
    const struct qcow2_repair_options *options = r->options;
    struct qcow2_repair_result *result = r->result;
    uint64_t disk_len = r->header.virtual_len;
    uint64_t guest_len = 0;
    char message[MESSAGE_LEN];
    va_list args;

    if (told->has_guest && told->guest_off < disk_len) {
        guest_len = img_min(told->guest_len, disk_len - told->guest_off);
    }
    result->steps_nr++;
    if (told->is_lost) {
        result->lost_nr++;
        result->lost_guest_len += guest_len;
    }
    if (!options->step ||
        (options->max_steps != 0 && result->steps_nr > options->max_steps)) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    options->step(options->opaque, &(struct qcow2_repair_step){
                                       .kind = told->kind,
                                       .off = told->off,
                                       .is_lost = told->is_lost,
                                       .has_guest = told->has_guest,
                                       .guest_off = told->guest_off,
                                       .guest_len = guest_len,
                                       .message = message,
                                   });
}
