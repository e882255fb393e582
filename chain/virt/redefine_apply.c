/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps that are taken through libvirt, all or none: see
 * chain/redefine_plan.h. Room: chain/virt.
 *
 * libvirt does one at a time. What was there before stands in a file before
 * the first call is made, and the file is gone when all is as it should be.
 * redefine_back.c goes the way back.
 */
#include <chain/redefine_plan.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/memory.h>
#include <img/newfile.h>

#include "redefine_record.h"

/* ---- What is there before. */

static int copy_text(const char *text, char **out, struct img_error *err)
{
    *out = text ? img_strndup(text, strlen(text), err) : NULL;
    return text && !*out ? -1 : 0;
}

static const struct chain_moment *find(const struct chain_metadata *metadata,
                                       const char *name)
{
    size_t idx =
        metadata ? chain_metadata_find(metadata, name) : CHAIN_METADATA_NONE;

    return idx == CHAIN_METADATA_NONE ? NULL : &metadata->moments[idx];
}

static int note_current(const struct chain_metadata *snapshots,
                        struct record *record, struct img_error *err)
{
    for (size_t i = 0; snapshots && i < snapshots->nr; i++) {
        const struct chain_moment *moment = &snapshots->moments[i];

        if (moment->is_current) {
            return copy_text(moment->name, &record->current, err) < 0
                       ? -1
                       : copy_text(moment->text, &record->current_xml, err);
        }
    }
    return 0;
}

static int note_one(const struct chain_redefine_wish *wish,
                    const struct chain_moment *moment, struct record *record,
                    struct img_error *err)
{
    struct record_entry *entry = &record->entries[record->nr++];
    const struct chain_moment *old;

    entry->kind = moment->snapshot ? CHAIN_SNAPSHOT : CHAIN_CHECKPOINT;
    old = find(entry->kind == CHAIN_SNAPSHOT ? wish->snapshots
                                             : wish->checkpoints,
               moment->name);
    return copy_text(moment->name, &entry->name, err) < 0 ||
                   copy_text(old ? old->text : NULL, &entry->xml, err) < 0
               ? -1
               : copy_text(moment->text, &entry->put, err);
}

/* Does an earlier step put the same one? */
static bool is_noted(const struct chain_redefine_plan *plan, size_t idx)
{
    for (size_t i = 0; plan->steps[idx].is_current && i < idx; i++) {
        if (plan->steps[i].moment == plan->steps[idx].moment) {
            return true;
        }
    }
    return false;
}

static int note_all(const struct chain_redefine_plan *plan,
                    const struct chain_redefine_wish *wish,
                    struct record *record, struct img_error *err)
{
    if (copy_text(plan->uuid ? plan->uuid : "", &record->uuid, err) < 0 ||
        note_current(wish->snapshots, record, err) < 0) {
        return -1;
    }
    record->entries = img_calloc(plan->nr + 1, sizeof(*record->entries), err);
    for (size_t i = 0; record->entries && i < plan->nr; i++) {
        const struct chain_moment *moment = plan->steps[i].moment;

        if (plan->steps[i].is_current &&
            copy_text(moment->name, &record->current_put, err) < 0) {
            return -1;
        }
        if (!is_noted(plan, i) && note_one(wish, moment, record, err) < 0) {
            return -1;
        }
    }
    return record->entries ? 0 : -1;
}

/* ---- The file. */

static int write_record(const char *path, const struct record *record,
                        struct img_error *err)
{
    struct img_newfile_options options = {.roots = NULL};
    IMG_AUTO(img_free_ptr) char *text = NULL;
    IMG_AUTO(img_newfile_free_ptr) struct img_newfile *file = NULL;
    uint64_t base;
    int fd;

    if (record_encode(record, &text, err) < 0 ||
        img_newfile_new(path, &options, &file, err) < 0) {
        return -1;
    }
    fd = img_file_fd(img_newfile_file(file), &base);
    if (fchmod(fd, S_IRUSR | S_IWUSR) != 0) {
        img_fail_sys(err, errno, "cannot prepare the record");
        img_error_set_path(err, path);
        return -1;
    }
    return img_file_write(img_newfile_file(file), text, strlen(text), 0, err) <
                   0
               ? -1
               : img_newfile_publish(file, err);
}

static int drop_record(const char *path, struct img_error *err)
{
    if (unlink(path) != 0 && errno != ENOENT) {
        img_fail_sys(err, errno,
                     "all is done, but the record cannot be removed, and would "
                     "be taken for one of a run that was killed");
        img_error_set_path(err, path);
        return -1;
    }
    return img_folder_flush(path, err);
}

/* ---- Failures. */

static int fail_for_good(const char *path, const struct img_error *why,
                         struct img_error *err)
{
    char first[IMG_ERROR_TEXT_MAX / 2];
    char shown[IMG_ERROR_TEXT_MAX / 4];

    memcpy(first, err->text, sizeof(first) - 1);
    first[sizeof(first) - 1] = '\0';
    img_escape(path, strlen(path), shown, sizeof(shown));
    return img_fail(err, err->code,
                    "%s; and what was done cannot be taken back (%.256s): %s "
                    "has the way back",
                    first, why->text, shown);
}

/* ---- Both ways. */

static int take_steps(const struct chain_redefine_plan *plan,
                      struct chain_libvirt *libvirt, struct img_error *err)
{
    for (size_t i = 0; i < plan->nr; i++) {
        const struct chain_redefine_step *step = &plan->steps[i];
        const struct chain_moment *moment = step->moment;

        if (chain_libvirt_moment_put(
                libvirt, moment->snapshot ? CHAIN_SNAPSHOT : CHAIN_CHECKPOINT,
                moment->text, step->is_current, err) < 0) {
            img_error_set_path(err, moment->file ? moment->file : moment->name);
            return -1;
        }
    }
    return 0;
}

int chain_redefine_plan_apply(const struct chain_redefine_plan *plan,
                              const struct chain_redefine_wish *wish,
                              struct chain_libvirt *libvirt, const char *path,
                              struct img_error *err)
{
    IMG_AUTO(record_fini) struct record record = {.nr = 0};
    const struct record_way way = {
        .is_own = true,
        .tell = wish->settling.tell,
        .opaque = wish->settling.opaque,
    };
    struct img_error why;

    if (note_all(plan, wish, &record, err) < 0 ||
        write_record(path, &record, err) < 0) {
        return -1;
    }
    if (take_steps(plan, libvirt, err) == 0) {
        return drop_record(path, err);
    }
    if (redefine_take_back(libvirt, &record, &way, &why) < 0 ||
        drop_record(path, &why) < 0) {
        return fail_for_good(path, &why, err);
    }
    return -1;
}

/* ---- Forgetting. */

/* All that go. The way back of this is on: nothing of them is to be there, and
   the last is the first to go. */
static int note_going(const struct chain_metadata *metadata, size_t idx,
                      enum chain_delete_range range, struct record *record,
                      struct img_error *err)
{
    record->is_forgetting = true;
    record->entries =
        img_calloc(metadata->nr + 1, sizeof(*record->entries), err);
    for (size_t i = 0; record->entries && i < metadata->nr; i++) {
        size_t at = metadata->order[i];
        struct record_entry *entry = &record->entries[record->nr];

        if (!forget_goes(metadata, at, idx, range)) {
            continue;
        }
        record->nr++;
        entry->kind = metadata->kind;
        if (copy_text(metadata->moments[at].name, &entry->name, err) < 0 ||
            copy_text(metadata->moments[at].text, &entry->put, err) < 0) {
            return -1;
        }
    }
    return record->entries ? 0 : -1;
}

int chain_forget_apply(const struct chain_metadata *metadata, size_t idx,
                       enum chain_delete_range range,
                       struct chain_libvirt *libvirt, const char *path,
                       struct img_error *err)
{
    IMG_AUTO(record_fini) struct record record = {.nr = 0};
    IMG_AUTO(img_free_ptr) char *uri = NULL;
    IMG_AUTO(img_free_ptr) char *name = NULL;
    const struct record_way way = {.is_own = true};

    if (range == CHAIN_DELETE_ONE) {
        return chain_libvirt_moment_delete(libvirt, metadata->kind,
                                           metadata->moments[idx].name, err);
    }
    if (chain_libvirt_identity(libvirt, &uri, &record.uuid, &name, err) < 0 ||
        note_going(metadata, idx, range, &record, err) < 0 ||
        write_record(path, &record, err) < 0 ||
        redefine_take_back(libvirt, &record, &way, err) < 0) {
        return -1;
    }
    return drop_record(path, err);
}

/* ---- A run that was killed. */

/* Opened; -1 with *IS_THERE false: there is none. */
static int open_record(const char *path, bool *is_there, size_t *len,
                       struct img_error *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    *is_there = fd >= 0 || errno != ENOENT;
    if (fd < 0) {
        return img_fail_sys(err, errno, "cannot open the record");
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
        (st.st_uid != geteuid() && st.st_uid != 0) ||
        (st.st_mode & (S_IWGRP | S_IWOTH))) {
        img_fail(err, IMG_DENIED,
                 "is no record of this user's: expected a regular file that "
                 "nobody else can write");
    } else if ((uint64_t)st.st_size > RECORD_MAX_LEN) {
        img_fail(err, IMG_LIMIT, "found %lld bytes, at most %u are read",
                 (long long)st.st_size, RECORD_MAX_LEN);
    } else {
        *len = (size_t)st.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

static int load_record(int fd, size_t len, const char *path,
                       struct record *record, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = img_calloc(len + 1, 1, err);
    size_t got = 0;

    while (text && got < len) {
        ssize_t more = read(fd, text + got, len - got);

        if (more <= 0) {
            return img_fail_sys(err, more < 0 ? errno : EIO,
                                "cannot read the record");
        }
        got += (size_t)more;
    }
    return text ? record_decode(text, len, path, record, err) : -1;
}

/* It is about the domain that LIBVIRT has. */
static int check_domain(struct chain_libvirt *libvirt,
                        const struct record *record, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *uri = NULL;
    IMG_AUTO(img_free_ptr) char *uuid = NULL;
    IMG_AUTO(img_free_ptr) char *name = NULL;
    const char *found = record->uuid ? record->uuid : "";
    char shown[64];

    if (chain_libvirt_identity(libvirt, &uri, &uuid, &name, err) < 0) {
        return -1;
    }
    img_escape(found, strlen(found), shown, sizeof(shown));
    return strcmp(uuid, found) == 0
               ? 0
               : img_fail(err, IMG_CHANGED,
                          "is about another domain: found uuid %s, expected %s",
                          shown, uuid);
}

int chain_redefine_recover(struct chain_libvirt *libvirt, const char *path,
                           const struct chain_redefine_settling *how,
                           struct img_error *err)
{
    IMG_AUTO(record_fini) struct record record = {.nr = 0};
    const struct record_way way = {
        .leaves = how->leaves, .tell = how->tell, .opaque = how->opaque};
    bool is_there;
    size_t len = 0;
    int rc, fd = open_record(path, &is_there, &len, err);

    if (!is_there) {
        return 0;
    }
    rc = fd < 0 ? -1 : load_record(fd, len, path, &record, err);
    if (rc == 0) {
        rc = check_domain(libvirt, &record, err);
    }
    if (rc == 0) {
        rc = redefine_take_back(libvirt, &record, &way, err);
    }
    if (rc == 0) {
        rc = drop_record(path, err);
    }
    if (rc < 0) {
        img_error_set_path(err, path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc < 0 ? -1 : 1;
}

/* ---- One at a time. */

static int lock_name(const char *path, char **out, struct img_error *err)
{
    *out = img_text(err, "%s.lock", path);
    return *out ? 0 : -1;
}

/* Is the file that is open still the one of that name? Who held the lock
   before may have removed it. */
static bool is_still(int fd, const char *path)
{
    struct stat held, named;

    return fstat(fd, &held) == 0 && lstat(path, &named) == 0 &&
           held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

int chain_redefine_lock(const char *path, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *name = NULL;

    if (lock_name(path, &name, err) < 0) {
        return -1;
    }
    for (;;) {
        int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                      S_IRUSR | S_IWUSR);

        if (fd < 0) {
            img_fail_sys(err, errno, "cannot make the lock");
        } else if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            if (is_still(fd, name)) {
                return fd;
            }
            close(fd);
            continue;
        } else {
            img_fail(err, IMG_LOCKED,
                     "is held: another run changes this domain's record");
            close(fd);
        }
        img_error_set_path(err, name);
        return -1;
    }
}

void chain_redefine_unlock(const char *path, int fd)
{
    struct img_error ignored;
    IMG_AUTO(img_free_ptr) char *name = NULL;

    if (fd < 0) {
        return;
    }
    if (lock_name(path, &name, &ignored) == 0) {
        (void)unlink(name);
    }
    close(fd);
}
