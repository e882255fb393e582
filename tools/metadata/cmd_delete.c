/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata delete: forget snapshots, and leave their images as they are. */
#include <chain/forget.h>
#include <chain/transaction.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "carry.h"
#include "message.h"
#include "session.h"

#define AT(field) offsetof(struct metadata_delete_values, field)

const struct option_spec metadata_delete_options[] = {
    {0, "metadata", NULL, "what is on record alone: must be given", option_flag,
     AT(is_metadata)},
    {0, "children", NULL, "also all that are below it", option_flag,
     AT(children)},
    {0, "children-only", NULL, "all that are below it, and not itself",
     option_flag, AT(children_only)},
    METADATA_ROW("connect", "URI", "do it through the libvirt there",
                 option_text,
                 METADATA_AT(struct metadata_delete_values, connect)),
    METADATA_DOMAIN(struct metadata_delete_values),
    METADATA_CHECKPOINTS(struct metadata_delete_values),
    {0, "dry-run", NULL, "only say what would be forgotten", option_flag,
     AT(dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static enum chain_delete_range
range_of(const struct metadata_delete_values *values)
{
    return values->children_only ? CHAIN_DELETE_CHILDREN_ONLY
           : values->children    ? CHAIN_DELETE_CHILDREN
                                 : CHAIN_DELETE_ONE;
}

static bool is_sane(const struct metadata_delete_values *values, int nr)
{
    const char *text = NULL;

    if (!values->is_metadata) {
        text = "option --metadata is missing: what is in the images is never "
               "deleted, and without it virsh would do that";
    } else if (values->children && values->children_only) {
        text = "--children and --children-only exclude each other";
    } else if (values->source.connect && !values->source.domain) {
        text = "option --domain is missing: the domain's name";
    } else if (values->source.connect && nr != 1) {
        text = "--connect goes with one operand: the snapshot's name";
    } else if (!values->source.connect && nr != 2) {
        text = "expected libvirt's folder of a domain's snapshots, and a name";
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

static int find(const struct chain_metadata *metadata, const char *name,
                size_t *idx, struct img_error *err)
{
    char shown[256];

    *idx = chain_metadata_find(metadata, name);
    if (*idx != CHAIN_METADATA_NONE) {
        return 0;
    }
    img_escape(name, strlen(name), shown, sizeof(shown));
    return img_fail(
        err, IMG_NOT_FOUND, "found no %s of the name %s",
        metadata->kind == CHAIN_SNAPSHOT ? "snapshot" : "checkpoint", shown);
}

/* ---- What is shown. */

static const char *what_of(const struct chain_forget *one)
{
    return one->text ? "changes" : "goes";
}

static void put(struct output *out, const struct metadata_delete_values *values,
                const struct chain_forget *list, size_t nr)
{
    struct img_json *json = img_json_array();

    for (size_t i = 0; i < nr; i++) {
        struct img_json *one = img_json_object();

        img_json_set_string(one, "name", list[i].moment->name);
        img_json_set_string(one, "filename", list[i].moment->file);
        img_json_set_string(one, "what", what_of(&list[i]));
        img_json_push(json, one);
        if (values->source.common.output != OUTPUT_JSON) {
            output_escaped(out, list[i].moment->name);
            output_printf(out, "  %s\n", what_of(&list[i]));
        }
    }
    if (values->source.common.output == OUTPUT_JSON) {
        output_json(out, json);
    } else {
        img_json_free(json);
    }
}

/* ---- In the folder. */

static void told(void *opaque, const char *path, const char *what)
{
    char shown[512];

    (void)opaque;
    img_escape(path, strlen(path), shown, sizeof(shown));
    message_note("%s: a change that was cut short is %s", shown, what);
}

static int change_files(const struct chain_forget *list, size_t nr,
                        struct img_error *err)
{
    struct chain_transaction *transaction = NULL;
    int rc = chain_transaction_new(&transaction, err);

    for (size_t i = 0; rc == 0 && i < nr; i++) {
        struct chain_change change = {
            .kind = list[i].text ? CHAIN_CHANGE_REPLACE : CHAIN_CHANGE_REMOVE,
            .path = list[i].moment->file,
            .data = list[i].text,
            .len = list[i].text ? strlen(list[i].text) : 0,
        };

        rc = chain_change_stamp(&change, err);
        if (rc == 0) {
            rc = chain_transaction_add(transaction, &change, NULL, err);
        }
    }
    if (rc == 0) {
        rc = chain_transaction_begin(transaction, told, NULL, err);
    }
    if (rc == 0) {
        rc = chain_transaction_commit(transaction, err);
    }
    chain_transaction_free(transaction, rc < 0 ? err : NULL);
    return rc;
}

static int settle(const struct metadata_delete_values *values,
                  const char *folder, struct img_error *err)
{
    return chain_transaction_settle(folder, values->dry_run, told, NULL, err);
}

static int check_daemon(const char *folder, struct img_error *err)
{
    int pid;

    if (daemon_holds(folder, &pid)) {
        img_fail(err, IMG_LOCKED,
                 "is kept by libvirt, whose daemon runs (process %d): it has "
                 "read the files and would write them again; stop it, or do it "
                 "with --connect",
                 pid);
        img_error_set_path(err, folder);
        return -1;
    }
    return 0;
}

/* Which of two documents libvirt takes, or what the parent of one in a ring
   becomes, is not known. */
static int check_shape(const struct chain_metadata *metadata,
                       struct img_error *err)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];

        if (moment->is_double || moment->is_looped) {
            img_fail(err, IMG_REFUSED,
                     moment->is_double
                         ? "is the second document of its name "
                           "(metadata-double): nothing is forgotten here"
                         : "its parents lead back to it "
                           "(metadata-current-kept): nothing is forgotten "
                           "here");
            img_error_set_path(err, moment->file ? moment->file : "");
            return -1;
        }
    }
    return 0;
}

static int delete_offline(const struct metadata_delete_values *values,
                          char **operands, struct output *out,
                          struct img_error *err)
{
    IMG_AUTO(metadata_free_ptr) struct chain_metadata *metadata = NULL;
    struct chain_forget *list = NULL;
    size_t nr = 0, idx;
    int rc;

    if ((!values->dry_run && check_daemon(operands[0], err) < 0) ||
        settle(values, operands[0], err) < 0 ||
        metadata_read(&values->source, operands, 1, NULL, false, &metadata,
                      err) < 0) {
        return -1;
    }
    (void)metadata_tell_unread(metadata);
    if (check_shape(metadata, err) < 0 ||
        find(metadata, operands[1], &idx, err) < 0 ||
        chain_forget_plan(metadata, idx, range_of(values), &list, &nr, err) <
            0) {
        return -1;
    }
    rc = values->dry_run || nr == 0 ? 0 : change_files(list, nr, err);
    if (rc == 0) {
        put(out, values, list, nr);
    }
    chain_forget_free(list, nr);
    return rc;
}

/* ---- Through libvirt. */

struct online {
    struct chain_libvirt *libvirt;
    char *record; /* where the way back is */
    int lock;
};

/* What a killed run has begun is settled. */
static int prepare(const struct metadata_delete_values *values,
                   struct online *online, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *uri = NULL;
    IMG_AUTO(img_free_ptr) char *uuid = NULL;
    IMG_AUTO(img_free_ptr) char *name = NULL;
    const struct chain_redefine_settling how = {.leaves = false};
    int undone;

    if (values->dry_run) {
        return 0;
    }
    if (chain_libvirt_identity(online->libvirt, &uri, &uuid, &name, err) < 0) {
        return -1;
    }
    online->record = carry_record_path(uri, uuid, err);
    online->lock =
        online->record ? chain_redefine_lock(online->record, err) : -1;
    undone = online->lock < 0 ? -1
                              : chain_redefine_recover(
                                    online->libvirt, online->record, &how, err);
    if (undone < 0) {
        return -1;
    }
    if (undone) {
        message_note("what a run that was killed had begun is settled");
    }
    return 0;
}

static int delete_locked(const struct metadata_delete_values *values,
                         struct online *online, const char *name,
                         struct output *out, struct img_error *err)
{
    IMG_AUTO(metadata_free_ptr) struct chain_metadata *metadata = NULL;
    enum chain_moment_kind kind =
        values->source.checkpoints ? CHAIN_CHECKPOINT : CHAIN_SNAPSHOT;
    struct chain_forget *list = NULL;
    size_t nr = 0, idx;
    int rc;

    if (chain_libvirt_metadata(online->libvirt, kind, false, &metadata, err) <
            0 ||
        find(metadata, name, &idx, err) < 0 ||
        chain_forget_plan(metadata, idx, range_of(values), &list, &nr, err) <
            0) {
        return -1;
    }
    rc = values->dry_run
             ? 0
             : chain_forget_apply(metadata, idx, range_of(values),
                                  online->libvirt, online->record, err);
    if (rc == 0) {
        put(out, values, list, nr);
    }
    chain_forget_free(list, nr);
    return rc;
}

static int delete_online(const struct metadata_delete_values *values,
                         const char *name, struct output *out,
                         struct img_error *err)
{
    struct online online = {.lock = -1};
    int rc = chain_libvirt_open(values->source.connect, values->source.domain,
                                values->dry_run, &online.libvirt, err);

    if (rc == 0) {
        rc = prepare(values, &online, err);
    }
    if (rc == 0) {
        rc = delete_locked(values, &online, name, out, err);
    }
    chain_redefine_unlock(online.record, online.lock);
    chain_libvirt_close(online.libvirt);
    free(online.record);
    return rc;
}

int cmd_metadata_delete(void *opaque, char **operands, int nr)
{
    const struct metadata_delete_values *values = opaque;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct img_error err;

    if (!is_sane(values, nr)) {
        return EXIT_USAGE;
    }
    if (session_output(&values->source.common, &out, &err) < 0 ||
        (values->source.connect
             ? delete_online(values, operands[0], out, &err)
             : delete_offline(values, operands, out, &err)) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}
