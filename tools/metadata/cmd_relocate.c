/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata relocate: see relocate.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "message.h"
#include "relocate.h"
#include "session.h"
#include "sheet.h"
#include "signals.h"

#define FILES_MAX 65536u

static int option_word(void *field, const char *arg, struct img_error *err)
{
    struct words *words = field;

    if (words->nr >= FILES_MAX) {
        return img_fail(err, IMG_USAGE, "is over the limit of %u", FILES_MAX);
    }
    return words_push(words, img_strndup(arg, strlen(arg), err), err);
}

#define AT(field) offsetof(struct metadata_relocate_values, field)

const struct option_spec metadata_relocate_options[] = {
    {0, "domain", "XML", "the domain's XML, of virsh dumpxml --inactive",
     option_text, AT(domain)},
    {0, "snapshots", "DIR|FILE", "its snapshots' XML (repeatable)", option_word,
     AT(snapshots)},
    {0, "checkpoints", "DIR|FILE", "its checkpoints' XML (repeatable)",
     option_word, AT(checkpoints)},
    {0, "saved", "FILE", "a saved state of it (repeatable)", option_word,
     AT(saved)},
    {0, "disk", "NAME", "only this disk: vda (repeatable)", option_word,
     AT(disks)},
    {0, "to", "FOLDER", "where the files go", option_text, AT(to)},
    {0, "xml-to", "FOLDER", "where the XML goes (else --to, or moved in place)",
     option_text, AT(xml_to)},
    {0, "move", NULL, "remove the source in the same transaction", option_flag,
     AT(move)},
    {0, "uuid", "UUID", "of the domain in the new XML", option_text, AT(uuid)},
    {0, "name", "NAME", "of the domain in the new XML", option_text, AT(name)},
    {0, "relative", NULL, "record relative backing paths (default)",
     option_relative, AT(change.style)},
    {0, "absolute", NULL, "record absolute backing paths", option_absolute,
     AT(change.style)},
    {0, "allow-outside", NULL, "move although other overlays rely on it",
     option_flag, AT(allow_outside)},
    {0, "dry-run", NULL, "check everything and write nothing", option_flag,
     AT(change.dry_run)},
    {0, "undo", NULL, "prove and remove what the same copy made", option_flag,
     AT(undo)},
    {0, "recover", "FOLDER", "finish or undo what a killed run left there",
     option_text, AT(recover)},
    {0, NULL, NULL, NULL, NULL, 0},
};

void metadata_relocate_fini(void *values)
{
    struct metadata_relocate_values *relocate = values;

    words_fini(&relocate->snapshots);
    words_fini(&relocate->checkpoints);
    words_fini(&relocate->saved);
    words_fini(&relocate->disks);
    change_fini(values);
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct metadata_relocate_values *values)
{
    const char *text = NULL;

    if (values->recover) {
        if (values->domain || values->to || values->change.dry_run) {
            text = "--recover goes alone";
        }
    } else if (!values->domain) {
        text = "option --domain is missing: the domain's XML";
    } else if (!values->to) {
        text = "option --to is missing: the folder that the files go to";
    } else if (values->undo && values->move) {
        text = "--undo takes a copy back; the way back of --move is another "
               "one: --domain with the new XML, --to with the old folder";
    } else if (values->move && !values->xml_to &&
               (values->uuid || values->name)) {
        text = "--uuid and --name make another domain: they need --xml-to, or "
               "no --move";
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

static char *real_folder(const char *folder, struct img_error *err)
{
    char *real = realpath(folder, NULL);

    if (!real) {
        img_fail_sys(err, errno, "cannot find the folder");
        img_error_set_path(err, folder);
    }
    return real;
}

static int find_folders(struct relocation *relocation, struct img_error *err)
{
    const struct metadata_relocate_values *values = relocation->values;
    const char *xml_to = values->xml_to ? values->xml_to
                         : values->move ? NULL
                                        : values->to;

    relocation->to = real_folder(values->to, err);
    if (!relocation->to ||
        (xml_to && !(relocation->xml_to = real_folder(xml_to, err)))) {
        return -1;
    }
    /* What an earlier run left there is in the way. */
    return chain_transaction_settle(relocation->to, values->change.dry_run,
                                    relocate_tell_recovered, NULL, err);
}

static int open_images(struct relocation *relocation, struct img_error *err)
{
    const struct metadata_relocate_values *values = relocation->values;
    const struct common_values *common = &values->change.common;

    relocation->request = (struct chain_relocate_request){
        .more = relocation->sources,
        .more_nr = relocation->sources_nr,
        .is_new = !values->undo,
        .exclusive = values->move,
        .folder = relocation->to,
        .style = values->change.style,
        .allow_probe = common->allow_probe,
        .max_depth = common->max_depth,
        .engine = (int)common->engine,
        .budget_len = common->max_memory,
        .roots = common->roots,
        .cancel = signals_catch(),
        .progress = change_on_phase,
    };
    return chain_relocation_new(&relocation->request, &relocation->files,
                                &relocation->images, err);
}

/* Everything that can be known before anything is written. */
static int prepare(struct relocation *relocation, struct img_error *err)
{
    return find_folders(relocation, err) < 0 ||
                   relocate_read(relocation, err) < 0 ||
                   relocate_check_daemon(relocation, err) < 0 ||
                   relocate_collect(relocation, err) < 0 ||
                   relocate_read_states(relocation, err) < 0 ||
                   open_images(relocation, err) < 0 ||
                   relocate_map(relocation, err) < 0 ||
                   relocate_rewrite(relocation, err) < 0 ||
                   relocate_rewrite_states(relocation, err) < 0 ||
                   relocate_check_outside(relocation, err) < 0 ||
                   relocate_tell_managed_save(relocation, err) < 0
               ? -1
               : chain_relocation_look(relocation->images, err);
}

static void relocation_fini(struct relocation *relocation)
{
    chain_relocation_free(relocation->images);
    chain_relocate_result_fini(&relocation->files);
    for (size_t i = 0; i < relocation->documents_nr; i++) {
        free(relocation->documents[i].new_text);
        free(relocation->documents[i].new_file);
    }
    for (size_t i = 0; i < relocation->states_nr; i++) {
        chain_saved_free(relocation->states[i].saved);
        chain_virt_domain_free(relocation->states[i].domain);
        free(relocation->states[i].head);
    }
    free(relocation->documents);
    free(relocation->states);
    free(relocation->sources);
    free(relocation->changes);
    chain_path_map_free(relocation->map);
    words_fini(&relocation->seen);
    words_fini(&relocation->left);
    chain_virt_domain_free(relocation->domain);
    chain_metadata_free(relocation->snapshots);
    chain_metadata_free(relocation->checkpoints);
    free(relocation->domain_text);
    free(relocation->to);
    free(relocation->xml_to);
}

static int relocate(const struct metadata_relocate_values *values,
                    struct output *out, struct img_error *err)
{
    struct relocation relocation = {.values = values};
    int code;
    int rc = prepare(&relocation, err);

    if (rc == 0) {
        rc = values->undo ? relocate_undo(&relocation, err)
                          : relocate_do(&relocation, err);
    }
    /* Before the images are closed: nobody else may take them meanwhile. */
    chain_transaction_free(relocation.transaction, rc < 0 ? err : NULL);
    if (rc < 0) {
        change_tell_state(err, relocation.to ? relocation.to : values->to,
                          "nothing was done");
        code = session_fail(err, EXIT_FAILED);
    } else if (relocate_report(&relocation, out, err) < 0) {
        code = change_unreported(&values->change, err);
    } else {
        code = change_finish(&values->change, out);
    }
    relocation_fini(&relocation);
    return code;
}

/* What became of files that a killed run left. */
struct recovery {
    struct output *out;
    struct img_json *list; /* NULL: human output */
};

static void on_recovered(void *opaque, const char *path, const char *what)
{
    struct recovery *recovery = opaque;

    if (recovery->list) {
        struct img_json *one = img_json_object();

        img_json_set_string(one, "filename", path);
        img_json_set_string(one, "result", what);
        img_json_push(recovery->list, one);
    } else {
        sheet_text(recovery->out, what, path);
    }
}

static int recover(const struct metadata_relocate_values *values,
                   struct output *out, struct img_error *err)
{
    bool is_json = values->change.common.output == OUTPUT_JSON;
    struct recovery recovery = {
        .out = out,
        .list = is_json ? img_json_array() : NULL,
    };
    int rc = chain_transaction_recover(values->recover, on_recovered, &recovery,
                                       err);

    if (is_json && rc == 0) {
        struct img_json *json =
            change_json(&values->change, "recover", values->recover);

        img_json_set(json, "files", recovery.list);
        output_json(out, json);
    } else {
        img_json_free(recovery.list);
    }
    /* What was done until then is told, too. */
    return session_finish(
        out, rc < 0 ? session_fail(err, EXIT_FAILED) : EXIT_DONE, EXIT_FAILED);
}

int cmd_metadata_relocate(void *opaque, char **operands, int nr)
{
    const struct metadata_relocate_values *values = opaque;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct img_error err;

    (void)operands;
    (void)nr;
    if (!is_sane(values)) {
        return EXIT_USAGE;
    }
    if (session_output(&values->change.common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    img_error_clear(&err);
    return values->recover ? recover(values, out, &err)
                           : relocate(values, out, &err);
}
