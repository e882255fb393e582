/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata list: the snapshots of a domain, parents first. */
#include <img/memory.h>

#include "metadata.h"
#include "session.h"

const struct option_spec metadata_list_options[] = {
    METADATA_CONNECT(struct metadata_list_values),
    METADATA_DOMAIN(struct metadata_list_values),
    METADATA_CURRENT(struct metadata_list_values),
    METADATA_CHECKPOINTS(struct metadata_list_values),
    {0, NULL, NULL, NULL, NULL, 0},
};

static void put_row(struct output *out, const struct chain_metadata *metadata,
                    const struct chain_moment *moment)
{
    char time[64], state[64], text[METADATA_PROBLEM_LEN];

    output_text(out, moment->is_current ? "* " : "  ");
    output_style(out, STYLE_BOLD);
    output_escaped(out, moment->name ? moment->name : "-");
    output_style(out, STYLE_PLAIN);
    output_printf(out, "  %s  %s  %s", metadata_time(moment, time),
                  metadata_state(moment, state), metadata_kind(moment));
    if (moment->parent != CHAIN_METADATA_NONE) {
        output_text(out, "  on ");
        output_escaped(out, metadata->moments[moment->parent].name);
    }
    output_text(out, "\n");
    for (size_t k = 0; metadata_problem(metadata, moment, k, text); k++) {
        output_text(out, "    ");
        output_style(out, STYLE_BAD);
        output_text(out, text);
        output_style(out, STYLE_PLAIN);
        output_text(out, "\n");
    }
}

static int put_list(struct output *out, const struct metadata_values *values,
                    const struct chain_metadata *metadata,
                    struct img_error *err)
{
    struct img_json *list = NULL;

    if (values->common.output == OUTPUT_JSON) {
        list = img_json_array();
    }
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment =
            &metadata->moments[metadata->order[i]];

        if (list) {
            struct img_json *one = metadata_json(metadata, moment, err);

            if (!one) {
                img_json_free(list);
                return -1;
            }
            img_json_push(list, one);
        } else {
            put_row(out, metadata, moment);
        }
    }
    if (list) {
        output_json(out, list);
    }
    return 0;
}

int cmd_metadata_list(void *opaque, char **operands, int nr)
{
    const struct metadata_list_values *all = opaque;
    const struct metadata_values *values = &all->source;
    IMG_AUTO(metadata_free_ptr) struct chain_metadata *metadata = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct img_error err;

    if (!metadata_is_sane(values, nr)) {
        return EXIT_USAGE;
    }
    if (metadata_begin(values, &out, &err) < 0 ||
        metadata_get(values, operands, nr, &metadata, &err) < 0 ||
        put_list(out, values, metadata, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    return session_finish(
        out, metadata_tell_unread(metadata) > 0 ? EXIT_FAILED : EXIT_DONE,
        EXIT_FAILED);
}
