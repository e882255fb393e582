/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata list: the snapshots of a domain, parents first. */
#include <img/memory.h>

#include "metadata.h"
#include "session.h"

const struct option_spec metadata_list_options[] = {
    METADATA_CONNECT(struct metadata_list_values),
    METADATA_ROW("domain", "NAME", "the domain's name, with --connect",
                 option_text, METADATA_AT(struct metadata_list_values, domain)),
    METADATA_CURRENT(struct metadata_list_values),
    METADATA_CHECKPOINTS(struct metadata_list_values),
    {0, NULL, NULL, NULL, NULL, 0},
};

static void put_row(struct output *out, const struct chain_metadata *metadata,
                    const struct chain_moment *moment)
{
    char time[64], state[64];

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
}

static struct img_json *moment_json(const struct chain_moment *moment)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "name", moment->name);
    img_json_set_string(json, "parent", moment->parent_name);
    img_json_set_string(json, "kind", metadata_kind(moment));
    img_json_set_bool(json, "current", moment->is_current);
    img_json_set_string(json, "filename", moment->file);
    return json;
}

static void put_list(struct output *out, const struct metadata_values *values,
                     const struct chain_metadata *metadata)
{
    struct img_json *json = img_json_array();

    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment =
            &metadata->moments[metadata->order[i]];

        if (values->common.output == OUTPUT_JSON) {
            img_json_push(json, moment_json(moment));
        } else {
            put_row(out, metadata, moment);
        }
    }
    if (values->common.output == OUTPUT_JSON) {
        output_json(out, json);
    } else {
        img_json_free(json);
    }
}

int cmd_metadata_list(void *opaque, char **operands, int nr)
{
    const struct metadata_list_values *all = opaque;
    const struct metadata_values *values = &all->source;
    IMG_AUTO(metadata_close_libvirt) struct chain_libvirt *libvirt = NULL;
    IMG_AUTO(metadata_free_ptr) struct chain_metadata *metadata = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct img_error err;

    if (!metadata_is_sane(values, nr)) {
        return EXIT_USAGE;
    }
    if (values->connect && chain_libvirt_open(values->connect, values->domain,
                                              true, &libvirt, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    if (session_output(&values->common, &out, &err) < 0 ||
        metadata_read(values, operands, nr, libvirt, false, &metadata, &err) <
            0) {
        return session_fail(&err, EXIT_FAILED);
    }
    put_list(out, values, metadata);
    return session_finish(
        out, metadata_tell_unread(metadata) > 0 ? EXIT_FAILED : EXIT_DONE,
        EXIT_FAILED);
}
