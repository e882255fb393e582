/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths in the documents, and the documents with other ones: relocate.h. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <img/memory.h>

#include "relocate.h"

/* Of the name of a snapshot, in that of its file. */
#define NAME_PART_MAX 100

/* ---- Rules. */

struct seen {
    struct relocation *relocation;
    struct img_error *err;
    bool is_failed;
};

static bool has_word(const struct words *words, const char *text)
{
    for (size_t i = 0; i < words->nr; i++) {
        if (strcmp(words->at[i], text) == 0) {
            return true;
        }
    }
    return false;
}

struct chain_relocated *relocate_find(const struct relocation *relocation,
                                      const char *path)
{
    const struct chain_relocate_result *files = &relocation->files;
    struct stat st;

    if (stat(path, &st) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < files->nr; i++) {
        if (files->files[i].dev == st.st_dev &&
            files->files[i].ino == st.st_ino) {
            return &files->files[i];
        }
    }
    return NULL;
}

/* Two spellings of a path are one to the rules. */
static int add_rule(struct relocation *relocation, const char *old_path,
                    const char *new_path, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *is_there = NULL;

    if (chain_path_map_apply(relocation->map, old_path, &is_there, err) < 0) {
        return -1;
    }
    return is_there
               ? 0
               : chain_path_map_add(relocation->map, old_path, new_path, err);
}

static int add_path(struct relocation *relocation, const char *path,
                    struct img_error *err)
{
    if (path[0] != '/' || has_word(&relocation->seen, path)) {
        return 0;
    }
    const struct chain_relocated *file = relocate_find(relocation, path);
    struct words *words = file ? &relocation->seen : &relocation->left;
    if (!file && has_word(words, path)) {
        return 0;
    }
    if (words_push(words, img_strndup(path, strlen(path), err), err) < 0) {
        return -1;
    }
    return file ? add_rule(relocation, path, file->to, err) : 0;
}

static void on_seen(void *opaque, const char *place, const char *old_path,
                    const char *new_path)
{
    struct seen *seen = opaque;

    (void)place;
    (void)new_path;
    if (!seen->is_failed &&
        add_path(seen->relocation, old_path, seen->err) < 0) {
        seen->is_failed = true;
    }
}

static int map_text(struct relocation *relocation, const char *text, size_t len,
                    const char *name, struct img_error *err)
{
    struct seen seen = {relocation, err, false};
    const struct chain_rewrite wish = {.seen = on_seen, .opaque = &seen};
    IMG_AUTO(img_free_ptr) char *same = NULL;

    return chain_rewrite(text, len, name, &wish, &same, NULL, err) < 0 ||
                   seen.is_failed
               ? -1
               : 0;
}

int relocate_map(struct relocation *relocation, struct img_error *err)
{
    if (chain_path_map_new(&relocation->map, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < relocation->documents_nr; i++) {
        const struct document *document = &relocation->documents[i];

        if (map_text(relocation, document->text, document->len, document->file,
                     err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < relocation->states_nr; i++) {
        const struct state_file *state = &relocation->states[i];

        if (state->saved &&
            map_text(relocation, state->saved->xml, state->saved->xml_len,
                     state->path, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- Documents. */

/* NAME as part of a file's name. */
static void safe_name(const char *name, char out[NAME_PART_MAX + 1])
{
    size_t len = 0;

    for (; len < NAME_PART_MAX && name[len] != '\0'; len++) {
        unsigned char c = (unsigned char)name[len];
        out[len] = c <= ' ' || c == '/' || c == 0x7f ? '_' : name[len];
    }
    out[len] = '\0';
}

/* Where document IDX is written to, in the folder of the new XML. */
static char *new_file(const struct relocation *relocation, size_t idx,
                      struct img_error *err)
{
    const struct document *document = &relocation->documents[idx];
    const char *name = relocation->values->name ? relocation->values->name
                                                : relocation->domain->name;
    char domain[NAME_PART_MAX + 1], moment[NAME_PART_MAX + 1];

    safe_name(name, domain);
    if (document->kind == DOCUMENT_DOMAIN) {
        return img_text(err, "%s/%s.xml", relocation->xml_to, domain);
    }
    safe_name(document->moment->name ? document->moment->name : "-", moment);
    return img_text(err, "%s/%s-%s-%02zu-%s.xml", relocation->xml_to, domain,
                    document->kind == DOCUMENT_SNAPSHOT ? "snapshot"
                                                        : "checkpoint",
                    idx, moment);
}

struct chain_rewrite relocate_wish(const struct relocation *relocation)
{
    return (struct chain_rewrite){.map = relocation->map,
                                  .uuid = relocation->values->uuid,
                                  .name = relocation->values->name};
}

int relocate_rewrite(struct relocation *relocation, struct img_error *err)
{
    const struct chain_rewrite wish = relocate_wish(relocation);

    for (size_t i = 0; i < relocation->documents_nr; i++) {
        struct document *document = &relocation->documents[i];

        if (chain_rewrite(document->text, document->len, document->file, &wish,
                          &document->new_text, &document->changed_nr,
                          err) < 0) {
            return -1;
        }
        document->new_file =
            relocation->xml_to
                ? new_file(relocation, i, err)
                : img_strndup(document->file, strlen(document->file), err);
        if (!document->new_file) {
            return -1;
        }
    }
    return 0;
}
