/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What metadata relocate has done, or would do, and what remains to be done
   by hand: see relocate.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

#include "relocate.h"
#include "sheet.h"

static const char *verb(const struct relocation *relocation)
{
    const struct metadata_relocate_values *values = relocation->values;
    bool is_dry = values->change.dry_run;

    return values->undo   ? (is_dry ? "would remove" : "removed")
           : values->move ? (is_dry ? "would move" : "moved")
           : is_dry       ? "would copy"
                          : "copied";
}

static const char *document_word(const struct document *document)
{
    switch (document->kind) {
    case DOCUMENT_DOMAIN:
        break;
    case DOCUMENT_SNAPSHOT:
        return "snapshot";
    case DOCUMENT_CHECKPOINT:
        return "checkpoint";
    }
    return "domain";
}

/* ---- What remains. */

/* libvirt reads its own folders when it starts. */
static bool is_own_folder(const struct document *document)
{
    return strstr(document->new_file, "/libvirt/qemu/") != NULL;
}

static int push_step(struct words *steps, const struct relocation *relocation,
                     const struct document *document, struct img_error *err)
{
    const char *name = relocation->values->name ? relocation->values->name
                                                : relocation->domain->name;
    IMG_AUTO(img_free_ptr) char *domain = chain_shell_quote(name, err);
    IMG_AUTO(img_free_ptr)
    char *file =
        domain ? chain_shell_quote_path(document->new_file, err) : NULL;

    if (!file) {
        return -1;
    }
    /* What begins with '-' is an option to virsh, unless it follows one. */
    const char *as_domain = name[0] == '-' ? "--domain " : "";
    const char *as_file = name[0] == '-' ? "--xmlfile " : "";
    if (document->kind == DOCUMENT_DOMAIN) {
        return words_push(steps, img_text(err, "virsh define %s", file), err);
    }
    return words_push(steps,
                      img_text(err, "virsh %s-create %s%s %s%s --redefine%s",
                               document_word(document), as_domain, domain,
                               as_file, file,
                               document->kind == DOCUMENT_SNAPSHOT &&
                                       document->moment->is_current
                                   ? " --current"
                                   : ""),
                      err);
}

/* The file that state IDX is, by its name: the source may be gone. */
static const struct chain_relocated *
relocation_copy(const struct relocation *relocation, size_t idx)
{
    for (size_t i = 0; i < relocation->files.nr; i++) {
        const struct chain_relocated *file = &relocation->files.files[i];

        if (strcmp(file->from, relocation->states[idx].path) == 0) {
            return file;
        }
    }
    return NULL;
}

static int push_restores(struct words *steps,
                         const struct relocation *relocation,
                         struct img_error *err)
{
    for (size_t i = 0; i < relocation->states_nr; i++) {
        const struct state_file *state = &relocation->states[i];
        const struct chain_relocated *file =
            state->is_saved ? relocation_copy(relocation, i) : NULL;

        if (!file) {
            continue;
        }
        IMG_AUTO(img_free_ptr)
        char *quoted = chain_shell_quote_path(file->to, err);
        if (!quoted ||
            words_push(steps, img_text(err, "virsh restore %s", quoted), err) <
                0) {
            return -1;
        }
    }
    return 0;
}

/* In the order in which libvirt takes them: parents first. */
static int list_steps(const struct relocation *relocation, struct words *steps,
                      struct img_error *err)
{
    bool is_start_needed = false;

    if (relocation->values->undo) {
        return 0;
    }
    for (size_t i = 0; i < relocation->documents_nr; i++) {
        const struct document *document = &relocation->documents[i];

        if (!relocation->xml_to && is_own_folder(document)) {
            is_start_needed = true;
        } else if (push_step(steps, relocation, document, err) < 0) {
            return -1;
        }
    }
    if (is_start_needed &&
        words_push(steps, img_text(err, "start libvirt's daemon"), err) < 0) {
        return -1;
    }
    return push_restores(steps, relocation, err);
}

/* ---- For people. */

static void put_files(struct output *out, const struct relocation *relocation)
{
    for (size_t i = 0; i < relocation->files.nr; i++) {
        const struct chain_relocated *file = &relocation->files.files[i];

        if (relocation->values->undo) {
            sheet_text(out, verb(relocation), file->to);
            continue;
        }
        sheet_text(out, verb(relocation), file->from);
        sheet_text(out, "to", file->to);
        sheet_size(out, "size", file->needed_len);
    }
}

static void put_documents(struct output *out,
                          const struct relocation *relocation)
{
    bool is_dry = relocation->values->change.dry_run;
    const char *word = relocation->values->undo ? verb(relocation)
                       : relocation->xml_to
                           ? (is_dry ? "would write" : "written")
                           : (is_dry ? "would rewrite" : "rewritten");

    for (size_t i = 0; i < relocation->documents_nr; i++) {
        const struct document *document = &relocation->documents[i];

        if (relocation->xml_to || document->changed_nr > 0) {
            sheet_text(out, word, document->new_file);
        }
    }
}

static void put_sheet(struct output *out, const struct relocation *relocation,
                      const struct words *steps)
{
    put_files(out, relocation);
    put_documents(out, relocation);
    for (size_t i = 0; i < relocation->left.nr; i++) {
        sheet_text(out, "stays where it is", relocation->left.at[i]);
    }
    if (relocation->values->change.dry_run && !relocation->values->undo) {
        sheet_size(out, "needed", relocation->files.needed_len);
    }
    for (size_t i = 0; i < steps->nr; i++) {
        /* Its words are quoted: nothing in it has to be escaped, and a
           backslash is the shell's. */
        output_printf(out, "%-*s%s\n", SHEET_LABEL_WIDTH, i == 0 ? "then" : "",
                      steps->at[i]);
    }
}

/* ---- For programs. */

static struct img_json *file_json(const struct chain_relocated *file)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "source", file->from);
    img_json_set_string(json, "filename", file->to);
    img_json_set_string(json, "format", file->format);
    if (file->backing_name) {
        img_json_set_string(json, "backing-filename", file->backing_name);
        img_json_set_string(json, "backing-filename-format",
                            file->backing_format);
    }
    img_json_set_u64(json, "needed", file->needed_len);
    return json;
}

static struct img_json *document_json(const struct document *document)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "kind", document_word(document));
    if (document->moment && document->moment->name) {
        img_json_set_string(json, "name", document->moment->name);
    }
    img_json_set_string(json, "source", document->file);
    img_json_set_string(json, "filename", document->new_file);
    img_json_set_u64(json, "changed", document->changed_nr);
    return json;
}

static struct img_json *words_json(const struct words *words)
{
    struct img_json *list = img_json_array();

    for (size_t i = 0; i < words->nr; i++) {
        img_json_push(list, img_json_string(words->at[i]));
    }
    return list;
}

static struct img_json *result_json(const struct relocation *relocation,
                                    const struct words *steps)
{
    const struct metadata_relocate_values *values = relocation->values;
    struct img_json *json = change_json(
        &values->change, values->undo ? "undo" : "relocate", relocation->to);
    struct img_json *files = img_json_array(), *documents = img_json_array();

    img_json_set_bool(json, "move", values->move);
    for (size_t i = 0; i < relocation->files.nr; i++) {
        img_json_push(files, file_json(&relocation->files.files[i]));
    }
    img_json_set(json, "files", files);
    for (size_t i = 0; i < relocation->documents_nr; i++) {
        img_json_push(documents, document_json(&relocation->documents[i]));
    }
    img_json_set(json, "documents", documents);
    img_json_set(json, "stays", words_json(&relocation->left));
    img_json_set_u64(json, "needed", relocation->files.needed_len);
    if (relocation->files.space_left != UINT64_MAX) {
        img_json_set_u64(json, "space-left", relocation->files.space_left);
    }
    img_json_set(json, "steps", words_json(steps));
    return json;
}

int relocate_report(const struct relocation *relocation, struct output *out,
                    struct img_error *err)
{
    struct words steps = {NULL, 0};
    int rc = list_steps(relocation, &steps, err);

    if (rc == 0) {
        if (relocation->values->change.common.output == OUTPUT_JSON) {
            output_json(out, result_json(relocation, &steps));
        } else {
            put_sheet(out, relocation, &steps);
        }
    }
    words_fini(&steps);
    return rc;
}
