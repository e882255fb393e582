/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the judging metadata commands share: see judging.h. */
#include "judging.h"

#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "outfile.h"
#include "sandbox.h"
#include "session.h"

bool metadata_judging_is_sane(const struct metadata_check_values *values,
                              int nr)
{
    const struct metadata_values *source = &values->source;
    const char *text = NULL;

    if (!source->domain) {
        text = source->connect ? "option --domain is missing: the domain's name"
                               : "option --domain is missing: the domain's XML";
    } else if (source->checkpoints && values->checkpoints_from) {
        text = "--checkpoints and --checkpoints-from exclude each other";
    } else if (source->connect && values->checkpoints_from) {
        text =
            "--connect and --checkpoints-from exclude each other: libvirt is "
            "asked for checkpoints, too";
    }
    if (text) {
        message_failed("%s", text);
        return false;
    }
    if (nr == 0 && values->checkpoints_from) {
        return true;
    }
    return metadata_is_sane(source, nr);
}

/* ---- Reading. */

static int ask(const struct metadata_check_values *values,
               struct metadata_judging *out, struct img_error *err)
{
    const struct metadata_values *source = &values->source;
    IMG_AUTO(metadata_close_libvirt) struct chain_libvirt *libvirt = NULL;
    struct metadata_values checkpoints = *source;

    checkpoints.checkpoints = true;
    checkpoints.current = NULL;
    if (chain_libvirt_open(source->connect, source->domain, true, &libvirt,
                           err) < 0 ||
        chain_libvirt_domain(libvirt, &out->domain, &out->is_persistent, err) <
            0 ||
        chain_libvirt_has_managed_save(libvirt, &out->has_managed_save, err) <
            0) {
        return -1;
    }
    if (!source->checkpoints && metadata_read(source, NULL, 0, libvirt, false,
                                              &out->snapshots, err) < 0) {
        return -1;
    }
    return metadata_read(&checkpoints, NULL, 0, libvirt, false,
                         &out->checkpoints, err);
}

static int read_files(const struct metadata_check_values *values,
                      char **operands, int nr, struct metadata_judging *out,
                      struct img_error *err)
{
    const struct metadata_values *source = &values->source;
    struct chain_metadata **to =
        source->checkpoints ? &out->checkpoints : &out->snapshots;

    if (nr > 0 &&
        metadata_read(source, operands, nr, NULL, false, to, err) < 0) {
        return -1;
    }
    return values->checkpoints_from
               ? chain_metadata_read_folder(
                     CHAIN_CHECKPOINT, values->checkpoints_from,
                     source->common.roots, &out->checkpoints, err)
               : 0;
}

int metadata_judging_read(const struct metadata_check_values *values,
                          char **operands, int nr, struct metadata_judging *out,
                          struct output **output, struct img_error *err)
{
    const char *const files[] = {values->reports.junit, values->reports.sarif};

    if (sandbox_is_wanted(&values->source.common) &&
        outfile_prepare(files, sizeof(files) / sizeof(files[0]), err) < 0) {
        return -1;
    }
    /* --root is for images, and for what a stranger names. */
    if (!values->source.connect &&
        chain_virt_domain_read(values->source.domain, NULL, &out->domain, err) <
            0) {
        return -1;
    }
    /* Images are opened to the end: there is no second step. */
    if (metadata_begin(&values->source, output, err) < 0 ||
        (values->source.connect
             ? ask(values, out, err)
             : read_files(values, operands, nr, out, err)) < 0) {
        return -1;
    }
    session_chain_options(&values->source.common, &out->options);
    out->options.format = NULL;
    out->request = (struct chain_metadata_request){
        .snapshots = out->snapshots,
        .checkpoints = out->checkpoints,
        .domain = out->domain,
        .options = &out->options,
    };
    return 0;
}

void metadata_judging_fini(struct metadata_judging *all)
{
    chain_metadata_free(all->snapshots);
    chain_metadata_free(all->checkpoints);
    chain_virt_domain_free(all->domain);
}

/* ---- Showing. */

struct extension {
    const struct metadata_judging *all;
    const struct words *steps;
};

static void extend(const void *opaque, struct img_json *json)
{
    const struct extension *more = opaque;
    const struct chain_virt_domain *domain = more->all->domain;
    struct img_json *list;

    img_json_set_string(json, "domain", domain->name ? domain->name : "");
    img_json_set_u64(json, "snapshots",
                     more->all->snapshots ? more->all->snapshots->nr : 0);
    img_json_set_u64(json, "checkpoints",
                     more->all->checkpoints ? more->all->checkpoints->nr : 0);
    if (!more->steps) {
        return;
    }
    list = img_json_array();
    for (size_t i = 0; i < more->steps->nr; i++) {
        img_json_push(list, img_json_string(more->steps->at[i]));
    }
    img_json_set(json, "steps", list);
}

int metadata_judging_show(const struct metadata_check_values *values,
                          const struct metadata_judging *all,
                          const struct chain_report *report,
                          const struct words *steps, struct output *out)
{
    const struct extension more = {.all = all, .steps = steps};
    struct img_error err;
    const char *name = all->domain->name ? all->domain->name : "";
    IMG_AUTO(img_free_ptr)
    char *subject =
        img_text(&err, "%s %s",
                 steps ? "undefining domain" : "the metadata of domain", name);
    const struct verdict verdict = {
        .report = report,
        .command = "metadata",
        .operation = steps ? "undefine-check" : "check",
        .dest = values->source.domain,
        .subject = subject,
        .steps = steps,
        .joins_steps = true,
        .extend = extend,
        .opaque = &more,
    };

    if (!subject) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    return verdict_show(&values->source.common, &values->reports, &verdict,
                        out);
}
