/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata export: all that is on record of a domain, in one file. */
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "carry.h"
#include "message.h"
#include "session.h"

#define AT(field) offsetof(struct metadata_export_values, field)

const struct option_spec metadata_export_options[] = {
    {0, "to", "BUNDLE", "the file to make", option_text, AT(to)},
    METADATA_CONNECT(struct metadata_export_values),
    METADATA_ROW("domain", "NAME|XML",
                 "its name with --connect, else the file of its XML",
                 option_text,
                 METADATA_AT(struct metadata_export_values, domain)),
    METADATA_CURRENT(struct metadata_export_values),
    {0, "checkpoints-from", "DIR", "libvirt's folder of its checkpoints",
     option_text, AT(checkpoints_from)},
    {0, "without-checkpoints", NULL, "only snapshots", option_flag,
     AT(without_checkpoints)},
    {0, "security-info", NULL, "with passwords and the like, with --connect",
     option_flag, AT(security_info)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static bool is_sane(const struct metadata_export_values *values, int nr)
{
    const char *text = NULL;

    if (!values->to) {
        text = "option --to is missing: the file to make";
    } else if (values->source.connect && values->checkpoints_from) {
        text = "--connect and --checkpoints-from exclude each other";
    } else if (!values->source.connect && values->security_info) {
        text = "--security-info goes with --connect: files have what they have";
    } else if (values->checkpoints_from && values->without_checkpoints) {
        text = "--checkpoints-from and --without-checkpoints exclude each "
               "other";
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text && metadata_is_sane(&values->source, nr);
}

static int gather_libvirt(const struct metadata_export_values *values,
                          struct chain_bundle *out, struct img_error *err)
{
    IMG_AUTO(metadata_close_libvirt) struct chain_libvirt *libvirt = NULL;

    if (chain_libvirt_open(values->source.connect, values->source.domain,
                           !values->security_info, &libvirt, err) < 0 ||
        carry_read_libvirt(libvirt, values->security_info,
                           !values->without_checkpoints, out, err) < 0) {
        return -1;
    }
    if (!values->source.current) {
        return 0;
    }
    return chain_metadata_link(out->snapshots, values->source.current, err);
}

static int gather(const struct metadata_export_values *values, char **operands,
                  int nr, struct chain_bundle *out, struct img_error *err)
{
    const struct carry_source source = {
        .values = &values->source,
        .domain_file = values->source.domain,
        .checkpoints_from = values->checkpoints_from,
        .without_checkpoints = values->without_checkpoints,
    };

    return values->source.connect ? gather_libvirt(values, out, err)
                                  : carry_read(&source, operands, nr, out, err);
}

static void put(struct output *out, const struct metadata_export_values *values,
                const struct chain_bundle *bundle)
{
    size_t points = bundle->checkpoints ? bundle->checkpoints->nr : 0;

    if (values->source.common.output == OUTPUT_JSON) {
        struct img_json *json = img_json_object();

        img_json_set_string(json, "filename", values->to);
        img_json_set_u64(json, "snapshots", bundle->snapshots->nr);
        img_json_set_u64(json, "checkpoints", points);
        img_json_set_bool(json, "domain", bundle->domain);
        output_json(out, json);
        return;
    }
    output_escaped(out, values->to);
    output_printf(out, ": %zu snapshot%s, %zu checkpoint%s, %s\n",
                  bundle->snapshots->nr, bundle->snapshots->nr == 1 ? "" : "s",
                  points, points == 1 ? "" : "s",
                  bundle->domain ? "the domain" : "no domain");
}

int cmd_metadata_export(void *opaque, char **operands, int nr)
{
    const struct metadata_export_values *values = opaque;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    IMG_AUTO(carry_bundle_fini) struct chain_bundle bundle = {.domain = NULL};
    IMG_AUTO(img_free_ptr) char *text = NULL;
    struct img_error err;
    size_t len;

    if (!is_sane(values, nr)) {
        return EXIT_USAGE;
    }
    if (session_output(&values->source.common, &out, &err) < 0 ||
        gather(values, operands, nr, &bundle, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    free(bundle.made_by);
    bundle.made_by = img_text(&err, "imgchain %s", IMGCHAIN_VERSION);
    if (!bundle.made_by ||
        chain_bundle_encode(&bundle, &text, &len, &err) < 0 ||
        carry_write(values->to, text, len, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    if (!bundle.domain) {
        message_note("the domain's own XML is not in it: --domain has none");
    }
    put(out, values, &bundle);
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}
