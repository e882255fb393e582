/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata show: all that is on record of one snapshot. */
#include <img/memory.h>
#include <string.h>

#include "metadata.h"
#include "session.h"

const struct option_spec metadata_show_options[] = {
    {0, "xml", NULL, "its document, as it is", option_flag,
     offsetof(struct metadata_show_values, xml)},
    METADATA_CONNECT(struct metadata_show_values),
    METADATA_DOMAIN(struct metadata_show_values),
    METADATA_CURRENT(struct metadata_show_values),
    METADATA_CHECKPOINTS(struct metadata_show_values),
    {0, NULL, NULL, NULL, NULL, 0},
};

static int put(struct output *out, const struct metadata_show_values *values,
               const struct chain_metadata *metadata,
               const struct chain_moment *moment, struct img_error *err)
{
    struct img_json *json;

    if (values->source.common.output == OUTPUT_JSON) {
        json = metadata_json(metadata, moment, err);
        if (!json) {
            return -1;
        }
        if (values->xml) {
            img_json_set_string(json, "xml", moment->text);
        }
        output_json(out, json);
    } else if (values->xml) {
        output_bytes(out, moment->text, moment->len);
    } else {
        return metadata_sheet(out, metadata, moment, err);
    }
    return 0;
}

int cmd_metadata_show(void *opaque, char **operands, int nr)
{
    const struct metadata_show_values *values = opaque;
    IMG_AUTO(metadata_free_ptr) struct chain_metadata *metadata = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct img_error err;
    char shown[256];
    size_t idx;

    if (!metadata_is_sane(&values->source, nr - 1)) {
        return EXIT_USAGE;
    }
    if (metadata_begin(&values->source, &out, &err) < 0 ||
        metadata_get(&values->source, operands + 1, nr - 1, &metadata, &err) <
            0) {
        return session_fail(&err, EXIT_FAILED);
    }
    idx = chain_metadata_find(metadata, operands[0]);
    if (idx == CHAIN_METADATA_NONE) {
        img_escape(operands[0], strlen(operands[0]), shown, sizeof(shown));
        (void)metadata_tell_unread(metadata);
        img_fail(&err, IMG_NOT_FOUND, "found no %s of the name %s",
                 metadata->kind == CHAIN_SNAPSHOT ? "snapshot" : "checkpoint",
                 shown);
        return session_fail(&err, EXIT_FAILED);
    }
    if (put(out, values, metadata, &metadata->moments[idx], &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}
