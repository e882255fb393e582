/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is relocated: the documents, and what they name. See relocate.h. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <chain/name.h>
#include <img/file.h>
#include <img/memory.h>

#include "message.h"
#include "relocate.h"

/* ---- Documents. */

/* *OUT is terminated. */
static int read_text(const char *path, const struct img_roots *roots,
                     char **out, size_t *len, struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE,
                                             .roots = roots};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;

    if (img_file_open(path, &options, &file, err) < 0) {
        return -1;
    }
    if (img_file_len(file) > CHAIN_VIRT_MAX_LEN) {
        img_fail(err, IMG_LIMIT, "has more than %u bytes", CHAIN_VIRT_MAX_LEN);
        img_error_set_path(err, path);
        return -1;
    }
    *len = (size_t)img_file_len(file);
    *out = img_calloc(*len + 1, 1, err);
    return *out ? img_file_read(file, *out, *len, 0, err) : -1;
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int read_metadata(const struct relocation *relocation,
                         enum chain_moment_kind kind,
                         const struct words *operands,
                         struct chain_metadata **out, struct img_error *err)
{
    const struct img_roots *roots = relocation->values->change.common.roots;

    if (operands->nr == 0) {
        return chain_metadata_new(kind, out, err);
    }
    if ((operands->nr == 1 && is_folder(operands->at[0])
             ? chain_metadata_read_folder(kind, operands->at[0], roots, out,
                                          err)
             : chain_metadata_read_files(kind,
                                         (const char *const *)operands->at,
                                         operands->nr, roots, out, err)) < 0) {
        return -1;
    }
    if (metadata_tell_unread(*out) > 0) {
        img_fail(err, IMG_FORMAT,
                 "holds what is no such document: libvirt leaves it out, and "
                 "nobody would miss it afterwards; move it away first");
        img_error_set_path(err, (*out)->unread[0].file);
        return -1;
    }
    return 0;
}

static void add_moments(struct relocation *relocation,
                        const struct chain_metadata *metadata,
                        enum document_kind kind)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment =
            &metadata->moments[metadata->order[i]];

        relocation->documents[relocation->documents_nr++] =
            (struct document){.kind = kind,
                              .file = moment->file,
                              .text = moment->text,
                              .len = moment->len,
                              .moment = moment};
    }
}

static int check_domain(const struct relocation *relocation,
                        struct img_error *err)
{
    const struct chain_virt_domain *domain = relocation->domain;
    const char *text =
        domain->is_active
            ? "is the XML of a running machine: shut it down, and take the "
              "XML of then (virsh dumpxml --inactive)"
        : !domain->name ? "names no domain"
                        : NULL;

    if (text) {
        img_fail(err, IMG_USAGE, "%s", text);
        img_error_set_path(err, relocation->values->domain);
        return -1;
    }
    return 0;
}

/* Hyphens are libvirt's to place, and case says nothing. */
static bool is_same_uuid(const char *a, const char *b)
{
    for (;; a++, b++) {
        a += strspn(a, "- \n\t\r");
        b += strspn(b, "- \n\t\r");
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) {
            return false;
        }
        if (*a == '\0') {
            return true;
        }
    }
}

bool relocate_is_other(const struct relocation *relocation, const char *uuid,
                       const char *name)
{
    const struct chain_virt_domain *own = relocation->domain;

    if (uuid && own->uuid) {
        return !is_same_uuid(uuid, own->uuid);
    }
    return name && strcmp(name, own->name) != 0;
}

/* UUID: what a document says where it has no DOMAIN. */
static bool is_of_other(const struct relocation *relocation,
                        const struct chain_virt_domain *domain,
                        const char *uuid)
{
    return domain ? relocate_is_other(relocation, domain->uuid, domain->name)
                  : relocate_is_other(relocation, uuid, NULL);
}

/* Snapshots and checkpoints are this domain's, as far as they say. */
static int check_owner(const struct relocation *relocation,
                       const struct chain_metadata *metadata,
                       struct img_error *err)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];
        const struct chain_virt_snapshot *snapshot = moment->snapshot;
        const struct chain_virt_checkpoint *checkpoint = moment->checkpoint;

        if (snapshot
                ? is_of_other(relocation, snapshot->domain,
                              snapshot->domain_uuid) ||
                      is_of_other(relocation, snapshot->inactive_domain, NULL)
                : is_of_other(relocation, checkpoint->domain,
                              checkpoint->domain_uuid)) {
            img_fail(err, IMG_USAGE, "is a %s of another domain",
                     snapshot ? "snapshot" : "checkpoint");
            img_error_set_path(err, moment->file);
            return -1;
        }
    }
    return 0;
}

int relocate_read(struct relocation *relocation, struct img_error *err)
{
    const struct metadata_relocate_values *values = relocation->values;
    size_t len;

    if (read_text(values->domain, values->change.common.roots,
                  &relocation->domain_text, &len, err) < 0 ||
        chain_virt_domain_parse(relocation->domain_text, len, values->domain,
                                &relocation->domain, err) < 0 ||
        check_domain(relocation, err) < 0 ||
        read_metadata(relocation, CHAIN_SNAPSHOT, &values->snapshots,
                      &relocation->snapshots, err) < 0 ||
        read_metadata(relocation, CHAIN_CHECKPOINT, &values->checkpoints,
                      &relocation->checkpoints, err) < 0 ||
        check_owner(relocation, relocation->snapshots, err) < 0 ||
        check_owner(relocation, relocation->checkpoints, err) < 0) {
        return -1;
    }
    relocation->documents =
        img_calloc(1 + relocation->snapshots->nr + relocation->checkpoints->nr,
                   sizeof(*relocation->documents), err);
    if (!relocation->documents) {
        return -1;
    }
    relocation->documents[relocation->documents_nr++] =
        (struct document){.kind = DOCUMENT_DOMAIN,
                          .file = values->domain,
                          .text = relocation->domain_text,
                          .len = len};
    add_moments(relocation, relocation->snapshots, DOCUMENT_SNAPSHOT);
    add_moments(relocation, relocation->checkpoints, DOCUMENT_CHECKPOINT);
    return 0;
}

/* ---- What they name. */

bool relocate_is_chosen(const struct relocation *relocation, const char *disk)
{
    const struct words *disks = &relocation->values->disks;

    for (size_t i = 0; i < disks->nr; i++) {
        if (disk && strcmp(disks->at[i], disk) == 0) {
            return true;
        }
    }
    return disks->nr == 0;
}

/* *IS_THERE: PATH leads to a file. */
static int look_for(const struct relocation *relocation, const char *path,
                    bool *is_there, struct img_error *err)
{
    const struct img_roots *roots = relocation->values->change.common.roots;
    struct img_stamp stamp;

    *is_there = img_path_stamp(path, roots, &stamp, err) == 0;
    if (*is_there || err->code != IMG_NOT_FOUND) {
        return *is_there ? 0 : -1;
    }
    img_error_clear(err);
    return 0;
}

static int add_source(struct relocation *relocation, const char *path,
                      const char *format, struct img_error *err)
{
    char shown[IMG_ERROR_PATH_MAX / 2];
    bool is_there;

    for (size_t i = 0; i < relocation->sources_nr; i++) {
        if (strcmp(relocation->sources[i].path, path) == 0 &&
            strcmp(relocation->sources[i].format, format) == 0) {
            return 0;
        }
    }
    if (look_for(relocation, path, &is_there, err) < 0) {
        return -1;
    }
    /* A saved state is named on the command line. */
    if (!is_there && relocation->reading != path) {
        img_escape(path, strlen(path), shown, sizeof(shown));
        img_fail(err, IMG_NOT_FOUND, "it names %s, and no such file is there",
                 shown);
        img_error_set_path(err, relocation->reading);
        return -1;
    }
    void *more = reallocarray(relocation->sources, relocation->sources_nr + 1,
                              sizeof(*relocation->sources));
    if (!more) {
        return img_fail_memory(err);
    }
    relocation->sources = more;
    relocation->sources[relocation->sources_nr++] =
        (struct chain_relocate_source){path, format};
    return 0;
}

static int add_one(struct relocation *relocation, const char *disk,
                   const struct chain_virt_layer *layer, const char *format,
                   struct img_error *err)
{
    const struct chain_virt_source *source = &layer->source;
    char shown[64];

    if (source->type != CHAIN_VIRT_SOURCE_FILE || source->has_slice ||
        !source->path) {
        img_escape(disk ? disk : "-", strlen(disk ? disk : "-"), shown,
                   sizeof(shown));
        return img_fail(err, IMG_UNSUPPORTED,
                        "disk %s: it is of type %s: expected a plain file; "
                        "choose the others with --disk",
                        shown, chain_virt_source_type_name(source->type));
    }
    if (source->has_data_store) {
        img_fail(err, IMG_UNSUPPORTED,
                 "its contents lie in an external data file (<dataStore>), "
                 "which is not copied along");
        img_error_set_path(err, source->path);
        return -1;
    }
    return add_source(relocation, source->path,
                      layer->format ? layer->format : format, err);
}

/*
 * FORMAT: of a layer that says none. What the XML has below it counts for
 * libvirt, whatever the headers say.
 */
static int add_layer(struct relocation *relocation, const char *disk,
                     const struct chain_virt_layer *layer, const char *format,
                     struct img_error *err)
{
    const struct chain_virt_source *source = &layer->source;
    /* A drive without a medium. */
    bool is_empty = !source->path && !source->protocol && !source->volume;

    if (!relocate_is_chosen(relocation, disk) || is_empty) {
        return 0;
    }
    for (; layer; layer = layer->backing) {
        if (add_one(relocation, disk, layer, format, err) < 0) {
            return -1;
        }
        format = "raw";
    }
    return 0;
}

/* Media that are put in belong to nobody. */
static bool is_medium(const struct chain_virt_disk *disk)
{
    return disk->device && (strcmp(disk->device, "cdrom") == 0 ||
                            strcmp(disk->device, "floppy") == 0);
}

/*
 * The firmware's variables, which go with the whole machine. libvirt makes the
 * file when the machine starts first; a copy as another domain would make the
 * same.
 */
static int add_nvram(struct relocation *relocation,
                     const struct chain_virt_domain *domain,
                     struct img_error *err)
{
    const struct metadata_relocate_values *values = relocation->values;
    char shown[IMG_ERROR_PATH_MAX / 2];
    bool is_there;

    if (!domain->nvram || values->disks.nr > 0) {
        return 0;
    }
    if (look_for(relocation, domain->nvram, &is_there, err) < 0) {
        return -1;
    }
    if (is_there) {
        return add_source(relocation, domain->nvram, "raw", err);
    }
    if (!values->uuid && !values->name) {
        return 0;
    }
    img_escape(domain->nvram, strlen(domain->nvram), shown, sizeof(shown));
    img_fail(err, IMG_USAGE,
             "its <nvram> %s is not there yet, and two domains would share it: "
             "take <nvram> out of the XML",
             shown);
    img_error_set_path(err, relocation->reading);
    return -1;
}

int relocate_add_domain(struct relocation *relocation,
                        const struct chain_virt_domain *domain,
                        const char *file, struct img_error *err)
{
    relocation->reading = file;
    for (size_t i = 0; domain && i < domain->disks_nr; i++) {
        const struct chain_virt_disk *disk = &domain->disks[i];

        if (!is_medium(disk) &&
            add_layer(relocation, disk->target, &disk->top, "raw", err) < 0) {
            return -1;
        }
    }
    return domain ? add_nvram(relocation, domain, err) : 0;
}

static int add_state(struct relocation *relocation, const char *path,
                     bool is_saved, struct img_error *err)
{
    void *more = reallocarray(relocation->states, relocation->states_nr + 1,
                              sizeof(*relocation->states));

    if (!more) {
        return img_fail_memory(err);
    }
    relocation->states = more;
    relocation->states[relocation->states_nr++] =
        (struct state_file){.path = path, .is_saved = is_saved};
    return add_source(relocation, path, "raw", err);
}

static int add_snapshot(struct relocation *relocation,
                        const struct chain_moment *moment,
                        struct img_error *err)
{
    const struct chain_virt_snapshot *snapshot = moment->snapshot;
    struct chain_moment_disk *disks;
    size_t nr;
    int rc = 0;

    if (relocate_add_domain(relocation, snapshot->domain, moment->file, err) <
            0 ||
        relocate_add_domain(relocation, snapshot->inactive_domain, moment->file,
                            err) < 0 ||
        chain_snapshot_disks(snapshot, &disks, &nr, err) < 0) {
        return -1;
    }
    for (size_t i = 0; rc == 0 && i < nr; i++) {
        if (disks[i].place == CHAIN_PLACE_EXTERNAL && disks[i].overlay) {
            rc = add_layer(relocation, disks[i].name, disks[i].overlay, "qcow2",
                           err);
        }
    }
    free(disks);
    if (rc == 0 && chain_snapshot_memory(snapshot) == CHAIN_PLACE_EXTERNAL &&
        snapshot->memory_file) {
        rc = add_state(relocation, snapshot->memory_file, false, err);
    }
    return rc;
}

/* A disk that is chosen is one of the domain's. */
static int check_disks(const struct relocation *relocation,
                       struct img_error *err)
{
    const struct words *disks = &relocation->values->disks;
    const struct chain_virt_domain *domain = relocation->domain;
    char shown[64];

    for (size_t i = 0; i < disks->nr; i++) {
        size_t k = 0;

        while (k < domain->disks_nr &&
               (!domain->disks[k].target ||
                strcmp(domain->disks[k].target, disks->at[i]) != 0)) {
            k++;
        }
        if (k == domain->disks_nr) {
            img_escape(disks->at[i], strlen(disks->at[i]), shown,
                       sizeof(shown));
            return img_fail(err, IMG_USAGE, "--disk: the domain has no disk %s",
                            shown);
        }
    }
    return 0;
}

int relocate_collect(struct relocation *relocation, struct img_error *err)
{
    const struct words *saved = &relocation->values->saved;

    if (check_disks(relocation, err) < 0 ||
        relocate_add_domain(relocation, relocation->domain,
                            relocation->values->domain, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < relocation->snapshots->nr; i++) {
        const struct chain_moment *moment =
            &relocation->snapshots->moments[relocation->snapshots->order[i]];

        if (add_snapshot(relocation, moment, err) < 0) {
            if (err->path[0] == '\0') {
                img_error_set_path(err, moment->file);
            }
            return -1;
        }
    }
    for (size_t i = 0; i < saved->nr; i++) {
        relocation->reading = saved->at[i];
        if (add_state(relocation, saved->at[i], true, err) < 0) {
            return -1;
        }
    }
    return relocation->sources_nr > 0
               ? 0
               : img_fail(err, IMG_USAGE,
                          "the domain has no disk that could be relocated");
}
