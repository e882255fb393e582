/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata check: snapshots and checkpoints against libvirt's rules, the
   domain and the images. */
#include <chain/metadata_check.h>
#include <img/memory.h>
#include <string.h>

#include "judging.h"
#include "session.h"

const struct option_spec metadata_check_options[] = {
    METADATA_JUDGING(struct metadata_check_values),
    METADATA_CHECKPOINTS(struct metadata_check_values),
    {0, NULL, NULL, NULL, NULL, 0},
};

int cmd_metadata_check(void *opaque, char **operands, int nr)
{
    const struct metadata_check_values *values = opaque;
    IMG_AUTO(metadata_judging_fini)
    struct metadata_judging all = {.domain = NULL};
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct chain_report *report = NULL;
    struct img_error err;
    int code;

    if (!metadata_judging_is_sane(values, nr)) {
        return EXIT_NOT_JUDGED;
    }
    if (metadata_judging_read(values, operands, nr, &all, &out, &err) < 0 ||
        chain_metadata_check(&all.request, &report, &err) < 0) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    code = metadata_judging_show(values, &all, report, NULL, out);
    chain_report_free(report);
    return code;
}
