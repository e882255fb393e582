/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata redefine: put on record what was exported, or kept in files. */
#include <errno.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "carry.h"
#include "message.h"
#include "redefine.h"
#include "session.h"

#define AT(field) offsetof(struct metadata_redefine_values, field)
#define MAPS_MAX 65536u

static int option_map(void *field, const char *arg, struct img_error *err)
{
    struct words *maps = field;

    if (maps->nr == MAPS_MAX) {
        return img_fail(err, IMG_USAGE, "is over the limit of %u rules",
                        MAPS_MAX);
    }
    return words_push(maps, img_strndup(arg, strlen(arg), err), err);
}

const struct option_spec metadata_redefine_options[] = {
    {0, "to", "DIR", "a new folder of documents and virsh's commands",
     option_text, AT(to)},
    METADATA_ROW("connect", "URI", "do it, through the libvirt there",
                 option_text,
                 METADATA_AT(struct metadata_redefine_values, connect)),
    METADATA_ROW("domain", "NAME|XML",
                 "its name with --connect, else the file of its XML",
                 option_text,
                 METADATA_AT(struct metadata_redefine_values, domain)),
    {0, "map", "OLD=NEW", "what lay at or below OLD lies at NEW (repeatable)",
     option_map, AT(maps)},
    {0, "uuid", "UUID", "the domain's uuid, in all documents", option_text,
     AT(uuid)},
    {0, "name", "NAME", "the domain's name, in all documents", option_text,
     AT(name)},
    METADATA_CURRENT(struct metadata_redefine_values),
    {0, "checkpoints-from", "DIR", "libvirt's folder of its checkpoints",
     option_text, AT(checkpoints_from)},
    {0, "without-checkpoints", NULL, "only snapshots", option_flag,
     AT(without_checkpoints)},
    {0, "dry-run", NULL, "only say what libvirt would say to it", option_flag,
     AT(dry_run)},
    {0, "record", "FILE", "keep the way back there, with --connect",
     option_text, AT(record)},
    {0, "recover", NULL, "only settle what a killed run has begun", option_flag,
     AT(recover)},
    {0, "forget-record", NULL, "only drop the way back: nothing is settled",
     option_flag, AT(forget_record)},
    {0, "without-secrets", NULL, "even where that loses passwords on record",
     option_flag, AT(without_secrets)},
    {0, NULL, NULL, NULL, NULL, 0},
};

void metadata_redefine_fini(void *values)
{
    struct metadata_redefine_values *redefine = values;

    words_fini(&redefine->maps);
}

/* ---- What is asked for. */

static const char *connect_fault(const struct metadata_redefine_values *values,
                                 int nr)
{
    if (values->to) {
        return "--connect and --to exclude each other";
    }
    if (!values->source.domain) {
        return "option --domain is missing: the domain's name";
    }
    if (values->recover && values->dry_run) {
        return "--recover and --dry-run exclude each other";
    }
    if (values->recover && values->forget_record) {
        return "--recover and --forget-record exclude each other";
    }
    if (values->forget_record && values->dry_run) {
        return "--forget-record and --dry-run exclude each other";
    }
    return (values->recover || values->forget_record) && nr > 0
               ? "--recover and --forget-record need no files"
               : NULL;
}

static bool is_sane(const struct metadata_redefine_values *values, int nr)
{
    const char *text = NULL;

    if (values->source.connect) {
        text = connect_fault(values, nr);
    } else if (values->recover || values->record || values->forget_record) {
        text = "--recover, --forget-record and --record go with --connect";
    } else if (!values->to && !values->dry_run) {
        text = "expected --to or --connect: what is to be done with it";
    }
    if (!text && nr == 0 && !values->recover && !values->forget_record) {
        text = "expected a bundle, libvirt's folder of a domain's snapshots, "
               "or their files";
    }
    if (!text && values->checkpoints_from && values->without_checkpoints) {
        text = "--checkpoints-from and --without-checkpoints exclude each "
               "other";
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

static void free_map(struct chain_path_map **map)
{
    chain_path_map_free(*map);
}

static int read_maps(const struct words *maps, struct chain_path_map **out,
                     struct img_error *err)
{
    if (chain_path_map_new(out, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < maps->nr; i++) {
        if (chain_path_map_parse(*out, maps->at[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

static void tell_unused(const struct chain_path_map *map)
{
    for (size_t i = 0; i < chain_path_map_len(map); i++) {
        if (chain_path_map_used(map, i) == 0) {
            const char *rule = chain_path_map_old(map, i);
            char shown[512];

            img_escape(rule, strlen(rule), shown, sizeof(shown));
            message_note("--map: no path lies at or below %s", shown);
        }
    }
}

/* ---- The domain that it is put on record of. */

static int look_up(struct redefining *run, struct img_error *err)
{
    const struct metadata_values *source = &run->values->source;
    IMG_AUTO(img_free_ptr) char *uri = NULL;
    IMG_AUTO(img_free_ptr) char *name = NULL;

    if (chain_libvirt_open(source->connect, source->domain,
                           run->values->dry_run, &run->libvirt, err) < 0 ||
        chain_libvirt_identity(run->libvirt, &uri, &run->uuid, &name, err) <
            0) {
        return -1;
    }
    run->record =
        run->values->record
            ? img_strndup(run->values->record, strlen(run->values->record), err)
            : carry_record_path(uri, run->uuid, err);
    return run->record ? 0 : -1;
}

static void tell_left(void *opaque, const char *text)
{
    (void)opaque;
    message_note("%s", text);
}

static int forget_record(const struct redefining *run, struct img_error *err)
{
    if (unlink(run->record) == 0) {
        message_note("what a run that was killed had begun stays as it is");
    } else if (errno == ENOENT) {
        message_note("no run was killed: there is nothing to forget");
    } else {
        img_fail_sys(err, errno, "cannot remove the record");
        img_error_set_path(err, run->record);
        return -1;
    }
    return 0;
}

static int recover(struct redefining *run, struct img_error *err)
{
    int undone;

    if (run->values->dry_run) {
        return 0;
    }
    run->wish.settling.tell = tell_left;
    run->wish.settling.leaves = run->values->recover;
    run->lock = chain_redefine_lock(run->record, err);
    if (run->lock >= 0 && run->values->forget_record) {
        return forget_record(run, err);
    }
    undone = run->lock < 0 ? -1
                           : chain_redefine_recover(run->libvirt, run->record,
                                                    &run->wish.settling, err);
    if (undone < 0) {
        return -1;
    }
    if (undone) {
        message_note("what a run that was killed had begun is settled");
    } else if (run->values->recover) {
        message_note("no run was killed: there is nothing to settle");
    }
    return 0;
}

static int read_there(struct redefining *run, struct img_error *err)
{
    bool secure = !run->values->dry_run, is_persistent;
    struct chain_virt_domain *domain;

    if (chain_libvirt_domain(run->libvirt, &domain, &is_persistent, err) < 0) {
        return -1;
    }
    run->wish.is_running = domain->is_active;
    chain_virt_domain_free(domain);
    if (chain_libvirt_metadata(run->libvirt, CHAIN_SNAPSHOT, secure,
                               &run->snapshots, err) < 0 ||
        chain_libvirt_metadata(run->libvirt, CHAIN_CHECKPOINT, secure,
                               &run->checkpoints, err) < 0) {
        return -1;
    }
    run->wish.uuid = run->uuid;
    run->wish.snapshots = run->snapshots;
    run->wish.checkpoints = run->checkpoints;
    run->wish.from_here = true;
    return 0;
}

/* ---- Doing it. */

/* libvirt leaves out the passwords of displays where it is not asked for
   them. */
static bool has_secret(const char *text)
{
    return strstr(text, " passwd='") || strstr(text, " passwd=\"");
}

static int check_secrets(const struct redefining *run, struct img_error *err)
{
    char shown[256];

    for (size_t i = 0; run->snapshots && i < run->plan->nr; i++) {
        const struct chain_moment *put = run->plan->steps[i].moment;
        const struct chain_metadata *there =
            put->snapshot ? run->snapshots : run->checkpoints;
        size_t at = chain_metadata_find(there, put->name);

        if (at == CHAIN_METADATA_NONE || has_secret(put->text) ||
            !has_secret(there->moments[at].text)) {
            continue;
        }
        img_escape(put->name, strlen(put->name), shown, sizeof(shown));
        return img_fail(err, IMG_REFUSED,
                        "%s has a password on record that the new document "
                        "has not: expected an export with --security-info, or "
                        "--without-secrets",
                        shown);
    }
    return 0;
}

static const char *domain_name(const struct redefining *run)
{
    return run->values->name        ? run->values->name
           : run->libvirt           ? run->values->source.domain
           : run->plan->domain_name ? run->plan->domain_name
                                    : NULL;
}

static int put_on_record(struct redefining *run, struct img_error *err)
{
    const struct metadata_redefine_values *values = run->values;
    const char *name = domain_name(run);

    if (values->dry_run) {
        return 0;
    }
    if (run->libvirt) {
        return chain_redefine_plan_apply(run->plan, &run->wish, run->libvirt,
                                         run->record, err);
    }
    if (!name) {
        return img_fail(err, IMG_USAGE,
                        "no document tells the domain's name: expected --name");
    }
    return carry_write_folder(run->plan, name, values->to, err);
}

static int plan(struct redefining *run, char **operands, int nr,
                struct img_error *err)
{
    const struct metadata_redefine_values *values = run->values;
    const struct metadata_values files = {
        .common = values->source.common,
        .current = values->source.current,
    };
    const struct carry_source source = {
        .values = &files,
        .domain_file = run->libvirt ? NULL : values->source.domain,
        .checkpoints_from = values->checkpoints_from,
        .without_checkpoints = values->without_checkpoints,
    };

    if (carry_read(&source, operands, nr, &run->bundle, err) < 0) {
        return -1;
    }
    run->wish.from = &run->bundle;
    run->wish.current = values->source.current;
    return chain_redefine_plan_make(&run->wish, &run->plan, err);
}

static int redefine(struct redefining *run, char **operands, int nr,
                    struct img_error *err)
{
    IMG_AUTO(free_map) struct chain_path_map *map = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    bool is_taken;

    if (session_output(&run->values->source.common, &out, err) < 0 ||
        read_maps(&run->values->maps, &map, err) < 0) {
        return -1;
    }
    run->rewrite = (struct chain_rewrite){
        .map = map,
        .uuid = run->values->uuid,
        .name = run->values->name,
    };
    run->wish.rewrite = &run->rewrite;
    if ((run->libvirt && read_there(run, err) < 0) ||
        plan(run, operands, nr, err) < 0) {
        return -1;
    }
    tell_unused(map);
    if (!run->values->without_secrets && check_secrets(run, err) < 0) {
        return -1;
    }
    is_taken = chain_report_len(run->plan->report) == 0;
    if (is_taken && put_on_record(run, err) < 0) {
        return -1;
    }
    redefine_show(run, out);
    return session_finish(out, is_taken ? EXIT_DONE : EXIT_FAILED, EXIT_FAILED);
}

static void release(struct redefining *run)
{
    chain_redefine_plan_free(run->plan);
    chain_bundle_fini(&run->bundle);
    chain_metadata_free(run->snapshots);
    chain_metadata_free(run->checkpoints);
    chain_libvirt_close(run->libvirt);
    chain_redefine_unlock(run->record, run->lock);
    free(run->uuid);
    free(run->record);
}

int cmd_metadata_redefine(void *opaque, char **operands, int nr)
{
    struct redefining run = {.values = opaque, .lock = -1};
    struct img_error err;
    int code = EXIT_DONE;

    if (!is_sane(opaque, nr)) {
        return EXIT_USAGE;
    }
    if (run.values->source.connect &&
        (look_up(&run, &err) < 0 || recover(&run, &err) < 0)) {
        code = session_fail(&err, EXIT_FAILED);
    } else if (!run.values->recover && !run.values->forget_record) {
        code = redefine(&run, operands, nr, &err);
        code = code < 0 ? session_fail(&err, EXIT_FAILED) : code;
    }
    release(&run);
    return code;
}
