/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is carried, and where its way back is kept: see carry.h. */
#include "carry.h"

#include <errno.h>
#include <img/hash.h>
#include <img/memory.h>
#include <img/newfile.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void carry_bundle_fini(struct chain_bundle *bundle)
{
    chain_bundle_fini(bundle);
}

/* ---- Reading. */

static int check_whole(const struct chain_metadata *metadata,
                       struct img_error *err)
{
    if (metadata_tell_unread(metadata) == 0) {
        return 0;
    }
    return img_fail(err, IMG_FORMAT,
                    "%zu of the files cannot be read, and nothing is carried "
                    "without them",
                    metadata->unread_nr);
}

/* More than one <active>: which is the current one has to be said. */
static int check_current(const struct chain_metadata *snapshots,
                         struct img_error *err)
{
    return snapshots->current_nr <= 1
               ? 0
               : img_fail(err, IMG_USAGE,
                          "%zu snapshots claim to be the current one: expected "
                          "--current NAME",
                          snapshots->current_nr);
}

static int read_domain(const char *path, const struct img_roots *roots,
                       char **out, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    struct chain_virt_domain *domain;
    size_t len = 0;

    if (chain_virt_text_read(path, roots, &text, &len, err) < 0 ||
        chain_virt_domain_parse(text, len, path, &domain, err) < 0) {
        return -1;
    }
    chain_virt_domain_free(domain);
    *out = img_steal(&text);
    return 0;
}

static int read_documents(const struct carry_source *source, char **operands,
                          int nr, struct chain_bundle *out,
                          struct img_error *err)
{
    const struct img_roots *roots = source->values->common.roots;

    if (metadata_read(source->values, operands, nr, NULL, false,
                      &out->snapshots, err) < 0 ||
        check_whole(out->snapshots, err) < 0 ||
        check_current(out->snapshots, err) < 0 ||
        (source->domain_file &&
         read_domain(source->domain_file, roots, &out->domain, err) < 0)) {
        return -1;
    }
    if (!source->checkpoints_from || source->without_checkpoints) {
        return 0;
    }
    return chain_metadata_read_folder(CHAIN_CHECKPOINT,
                                      source->checkpoints_from, roots,
                                      &out->checkpoints, err) < 0
               ? -1
               : check_whole(out->checkpoints, err);
}

static int read_bundle(const struct carry_source *source, const char *path,
                       struct chain_bundle *out, struct img_error *err)
{
    const struct img_roots *roots = source->values->common.roots;

    if (source->checkpoints_from) {
        return img_fail(err, IMG_USAGE,
                        "--checkpoints-from does not go with a bundle, which "
                        "has them in it");
    }
    if (chain_bundle_read(path, roots, out, err) < 0) {
        return -1;
    }
    if (source->without_checkpoints) {
        chain_metadata_free(img_steal(&out->checkpoints));
    }
    if (source->domain_file) {
        free(img_steal(&out->domain));
        return read_domain(source->domain_file, roots, &out->domain, err);
    }
    return 0;
}

int carry_read(const struct carry_source *source, char **operands, int nr,
               struct chain_bundle *out, struct img_error *err)
{
    return nr == 1 && chain_bundle_is_one(operands[0])
               ? read_bundle(source, operands[0], out, err)
               : read_documents(source, operands, nr, out, err);
}

int carry_read_libvirt(struct chain_libvirt *libvirt, bool secure,
                       bool checkpoints, struct chain_bundle *out,
                       struct img_error *err)
{
    if (chain_libvirt_definition(libvirt, secure, &out->domain, err) < 0 ||
        chain_libvirt_metadata(libvirt, CHAIN_SNAPSHOT, secure, &out->snapshots,
                               err) < 0) {
        return -1;
    }
    return checkpoints ? chain_libvirt_metadata(libvirt, CHAIN_CHECKPOINT,
                                                secure, &out->checkpoints, err)
                       : 0;
}

/* ---- The way back. */

static char *state_folder(struct img_error *err)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    const struct passwd *user;

    if (state && state[0] == '/') {
        return img_text(err, "%s/imgchain", state);
    }
    if (!home || home[0] != '/') {
        user = getpwuid(geteuid());
        home = user ? user->pw_dir : NULL;
    }
    if (!home) {
        img_fail(err, IMG_USAGE,
                 "there is no home folder to keep the way back in: expected "
                 "--record FILE");
        return NULL;
    }
    return img_text(err, "%s/.local/state/imgchain", home);
}

/* All folders on the way to PATH, and it; private ones. */
static int make_folders(char *path, struct img_error *err)
{
    for (char *at = path + 1;; at++) {
        char was = *at;

        if (was != '/' && was != '\0') {
            continue;
        }
        *at = '\0';
        if (mkdir(path, S_IRWXU) != 0 && errno != EEXIST) {
            img_fail_sys(err, errno, "cannot make the folder");
            img_error_set_path(err, path);
            return -1;
        }
        *at = was;
        if (was == '\0') {
            return 0;
        }
    }
}

char *carry_record_path(const char *uri, const char *uuid,
                        struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *folder = state_folder(err);
    uint8_t digest[IMG_SHA256_LEN];
    char text[IMG_SHA256_TEXT_LEN];

    if (!folder || make_folders(folder, err) < 0) {
        return NULL;
    }
    img_sha256_of(uri, strlen(uri), digest);
    img_sha256_text(digest, text);
    return img_text(err, "%s/redefine-%s-%.8s.json", folder, uuid, text);
}

/* ---- Writing. */

int carry_write(const char *path, const char *text, size_t len,
                struct img_error *err)
{
    const struct img_newfile_options options = {.roots = NULL};
    IMG_AUTO(img_newfile_free_ptr) struct img_newfile *file = NULL;
    uint64_t base;

    if (img_newfile_new(path, &options, &file, err) < 0) {
        return -1;
    }
    if (fchmod(img_file_fd(img_newfile_file(file), &base), S_IRUSR | S_IWUSR) !=
        0) {
        img_fail_sys(err, errno, "cannot make the file private");
        img_error_set_path(err, path);
        return -1;
    }
    return img_file_write(img_newfile_file(file), text, len, 0, err) < 0
               ? -1
               : img_newfile_publish(file, err);
}
