/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stamps: what was judged, so that a later run can tell whether it is still
 * that.
 *
 * A file is noted by device, inode, length, times (nanoseconds), mode and
 * owner, and by the CRC-32 of its first HEADER_LEN bytes. The checksum finds
 * accidents (a header rewritten within the clock's grain, a restored backup
 * with old times); it is no defence against somebody who can write the file
 * and set the clock.
 */
#include "stamp.h"

#include <chain/validate.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/image.h>
#include <img/json.h>
#include <img/memory.h>
#include <qcow2/inflate.h>

/* The largest qcow2 header with extensions is the first cluster; the usual
   cluster is this long. */
#define HEADER_LEN 65536u
#define STAMP_VERSION 1u

static int header_crc(struct img_file *file, uint32_t *out,
                      struct img_error *err)
{
    size_t len = (size_t)img_min(HEADER_LEN, img_file_len(file));
    size_t got = 0;
    IMG_AUTO(img_free_ptr) uint8_t *buf = img_calloc(1, HEADER_LEN, err);

    if (!buf ||
        (len > 0 && img_file_read_padded(file, buf, len, 0, &got, err) != 0)) {
        return -1;
    }
    *out = qcow2_crc32(buf, got);
    return 0;
}

static struct chain_stamped *find(const struct chain_report *report,
                                  const struct img_stamp *stamp)
{
    for (size_t i = 0; i < report->stamped_nr; i++) {
        struct chain_stamped *known = &report->stamped[i];
        if (known->stamp.dev == stamp->dev && known->stamp.ino == stamp->ino &&
            known->stamp.rdev == stamp->rdev) {
            return known;
        }
    }
    return NULL;
}

/* A stamp is read in another folder, perhaps: relative paths are joined. */
static char *absolute_path(const char *path, struct img_error *err)
{
    if (path[0] == '/') {
        return img_strndup(path, strlen(path), err);
    }
    char *folder = getcwd(NULL, 0);
    if (!folder) {
        img_fail_sys(err, errno, "cannot tell the working directory");
        return NULL;
    }
    char *joined = img_text(err, "%s/%s", folder, path);
    free(folder);
    return joined;
}

/* TOP: what it is; NULL: a layer below the top. */
static int note_file(struct chain_report *report, struct img_file *file,
                     const enum chain_stamp_top *top, struct img_error *err)
{
    struct chain_stamped fresh = {
        .is_moving = top && *top == CHAIN_STAMP_MOVING,
        .is_dest = top && *top == CHAIN_STAMP_DEST,
    };
    const char *path = img_file_path(file);

    if (img_file_stamp(file, &fresh.stamp, err) != 0) {
        return -1;
    }
    if (find(report, &fresh.stamp)) {
        return 0;
    }
    if (header_crc(file, &fresh.header_crc, err) != 0) {
        return -1;
    }
    struct chain_stamped *more =
        realloc(report->stamped, (report->stamped_nr + 1) * sizeof(*more));
    if (!more) {
        return img_fail_memory(err);
    }
    report->stamped = more;
    fresh.path = absolute_path(path, err);
    if (!fresh.path) {
        return -1;
    }
    report->stamped[report->stamped_nr++] = fresh;
    return 0;
}

static int recheck_file(const struct chain_report *report,
                        struct img_file *file, struct img_error *err)
{
    struct img_stamp now;
    uint32_t crc;

    if (img_file_stamp(file, &now, err) != 0) {
        return -1;
    }
    const struct chain_stamped *known = find(report, &now);
    if (!known) {
        return 0;
    }
    if (header_crc(file, &crc, err) != 0) {
        return -1;
    }
    if (!img_stamp_is_equal(&known->stamp, &now) || crc != known->header_crc) {
        img_fail(err, IMG_CHANGED, "the file changed while it was judged");
        img_error_set_path(err, known->path);
        return -1;
    }
    return 0;
}

/* The files of a layer: its own and, if it has one, its data file. */
static size_t layer_files(const struct chain *chain, size_t idx,
                          struct img_file *files[2])
{
    const struct chain_layer *layer = chain_layer_at(chain, idx);
    const struct img_image *image = chain_layer_image(layer);

    files[0] = chain_layer_file(layer);
    files[1] = image ? image->data_file : NULL;
    return files[1] ? 2 : 1;
}

int chain_stamp_chain(struct chain_report *report, const struct chain *chain,
                      enum chain_stamp_top top, struct img_error *err)
{
    struct img_file *files[2];

    for (size_t i = 0; chain && i < chain_depth(chain); i++) {
        size_t nr = layer_files(chain, i, files);
        for (size_t k = 0; k < nr; k++) {
            if (note_file(report, files[k], i == 0 ? &top : NULL, err) != 0) {
                img_error_set_path(err, img_file_path(files[k]));
                return -1;
            }
        }
    }
    return 0;
}

int chain_stamp_recheck(const struct chain_report *report,
                        const struct chain *chain, int but,
                        struct img_error *err)
{
    struct img_file *files[2];

    for (size_t i = 0; chain && i < chain_depth(chain); i++) {
        size_t nr =
            but >= 0 && (size_t)but == i ? 0 : layer_files(chain, i, files);
        for (size_t k = 0; k < nr; k++) {
            if (recheck_file(report, files[k], err) != 0) {
                img_error_set_path(err, img_file_path(files[k]));
                return -1;
            }
        }
    }
    return 0;
}

static struct img_json *file_json(const struct chain_stamped *stamped)
{
    const struct img_stamp *stamp = &stamped->stamp;
    struct img_json *file = img_json_object();

    img_json_set_string(file, "path", stamped->path);
    img_json_set_u64(file, "dev", stamp->dev);
    img_json_set_u64(file, "ino", stamp->ino);
    img_json_set_u64(file, "rdev", stamp->rdev);
    img_json_set_u64(file, "length", stamp->len);
    img_json_set_u64(file, "mtime-ns", (uint64_t)stamp->mtime_ns);
    img_json_set_u64(file, "ctime-ns", (uint64_t)stamp->ctime_ns);
    img_json_set_u64(file, "mode", stamp->mode);
    img_json_set_u64(file, "uid", stamp->uid);
    img_json_set_u64(file, "gid", stamp->gid);
    img_json_set_u64(file, "header-crc32", stamped->header_crc);
    return file;
}

static char *stamp_text(const struct chain_report *report, bool without_dest,
                        struct img_error *err)
{
    static const char *const verdicts[] = {
        [CHAIN_ACCEPTED] = "accepted",
        [CHAIN_REFUSED] = "refused",
        [CHAIN_NOT_JUDGED] = "unproven",
    };
    struct img_json *root = img_json_object();
    struct img_json *files = img_json_array();

    img_json_set_u64(root, "imgchain-stamp", STAMP_VERSION);
    img_json_set_string(root, "verdict",
                        verdicts[chain_report_judgement(report)]);
    for (size_t i = 0; i < report->stamped_nr; i++) {
        const struct chain_stamped *one = &report->stamped[i];

        if (!one->is_moving && !(one->is_dest && without_dest)) {
            img_json_push(files, file_json(one));
        }
    }
    img_json_set(root, "files", files);
    char *text = img_json_text(root, false, err);
    img_json_free(root);
    if (text && strlen(text) > IMG_JSON_MAX_LEN) {
        img_fail(err, IMG_LIMIT,
                 "the stamp of %zu files has %zu bytes: at most %u can be "
                 "read again",
                 report->stamped_nr, strlen(text), IMG_JSON_MAX_LEN);
        free(text);
        text = NULL;
    }
    return text;
}

char *chain_report_stamp(const struct chain_report *report,
                         struct img_error *err)
{
    return stamp_text(report, false, err);
}

int chain_report_stamp_below(const struct chain_report *report, char **out,
                             struct img_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < report->stamped_nr; i++) {
        if (!report->stamped[i].is_moving && !report->stamped[i].is_dest) {
            *out = stamp_text(report, true, err);
            return *out ? 0 : -1;
        }
    }
    return 0;
}

static int get(const struct img_json *file, const char *key, uint64_t *out,
               struct img_error *err)
{
    if (!img_json_get_u64(file, key, out)) {
        return img_fail(err, IMG_FORMAT, "not a stamp: a file without \"%s\"",
                        key);
    }
    return 0;
}

static int stamped_from_json(const struct img_json *file,
                             struct chain_stamped *out, struct img_error *err)
{
    struct img_stamp *stamp = &out->stamp;
    uint64_t mtime, ctime, mode, uid, gid, crc;

    if (get(file, "dev", &stamp->dev, err) != 0 ||
        get(file, "ino", &stamp->ino, err) != 0 ||
        get(file, "rdev", &stamp->rdev, err) != 0 ||
        get(file, "length", &stamp->len, err) != 0 ||
        get(file, "mtime-ns", &mtime, err) != 0 ||
        get(file, "ctime-ns", &ctime, err) != 0 ||
        get(file, "mode", &mode, err) != 0 ||
        get(file, "uid", &uid, err) != 0 || get(file, "gid", &gid, err) != 0 ||
        get(file, "header-crc32", &crc, err) != 0) {
        return -1;
    }
    stamp->mtime_ns = (int64_t)mtime;
    stamp->ctime_ns = (int64_t)ctime;
    stamp->mode = (uint32_t)mode;
    stamp->uid = (uint32_t)uid;
    stamp->gid = (uint32_t)gid;
    out->header_crc = (uint32_t)crc;
    return 0;
}

/* What libvirt may change of a file that it gives to another user. */
static void forget_owner(const struct img_stamp *known, struct img_stamp *now)
{
    now->ctime_ns = known->ctime_ns;
    now->mode = known->mode;
    now->uid = known->uid;
    now->gid = known->gid;
}

static int compare_with_file(const struct chain_stamped *known,
                             const char *path, bool with_owner,
                             struct img_error *err)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    struct img_stamp now;
    uint32_t crc;

    if (img_file_open(path, &options, &file, err) != 0) {
        return err->code == IMG_NOT_FOUND
                   ? img_fail(err, IMG_CHANGED,
                              "the file that was judged is gone")
                   : -1;
    }
    if (img_file_stamp(file, &now, err) != 0 ||
        header_crc(file, &crc, err) != 0) {
        return -1;
    }
    if (known->stamp.ino != now.ino || known->stamp.dev != now.dev) {
        return img_fail(err, IMG_CHANGED,
                        "another file than was judged: found inode %" PRIu64
                        ", expected %" PRIu64,
                        now.ino, known->stamp.ino);
    }
    if (!with_owner) {
        forget_owner(&known->stamp, &now);
    }
    if (!img_stamp_is_equal(&known->stamp, &now) || crc != known->header_crc) {
        return img_fail(err, IMG_CHANGED,
                        "the file changed since it was judged");
    }
    return 0;
}

static int check_file(const struct img_json *file, bool with_owner,
                      struct img_error *err)
{
    struct chain_stamped known = {0};
    const char *path = img_json_get_string(file, "path");

    if (!path) {
        return img_fail(err, IMG_FORMAT,
                        "not a stamp: a file without \"path\"");
    }
    if (stamped_from_json(file, &known, err) != 0) {
        return -1;
    }
    if (compare_with_file(&known, path, with_owner, err) != 0) {
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

static int check_stamp(const char *stamp, size_t len, bool with_owner,
                       struct img_error *err)
{
    struct img_json *root = NULL;
    uint64_t version;
    int rc = 0;

    if (img_json_parse(stamp, len, &root, err) != 0) {
        return -1;
    }
    const struct img_json *files = img_json_get(root, "files");
    if (!img_json_get_u64(root, "imgchain-stamp", &version) ||
        version != STAMP_VERSION || !files ||
        img_json_type(files) != IMG_JSON_ARRAY || img_json_len(files) == 0) {
        rc = img_fail(err, IMG_FORMAT,
                      "not a stamp of version %u that names files",
                      STAMP_VERSION);
    }
    for (size_t i = 0; rc == 0 && i < img_json_len(files); i++) {
        rc = check_file(img_json_at(files, i), with_owner, err);
    }
    img_json_free(root);
    return rc;
}

int chain_stamp_check(const char *stamp, size_t len, struct img_error *err)
{
    return check_stamp(stamp, len, true, err);
}

int chain_stamp_check_contents(const char *stamp, size_t len,
                               struct img_error *err)
{
    return check_stamp(stamp, len, false, err);
}
