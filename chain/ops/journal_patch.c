/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The beginning of a file is written in place: see journal.h. What it was and
 * what it is to be stand in a file in the stage, so that it can be written
 * again, by whoever comes next, until that file is gone.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/memory.h>

#define SECTOR 512u
#define PIECE_LEN (64u << 10)

struct patch {
    int target_fd, side_fd;
    bool is_gone; /* there is nothing to write into */
    uint64_t len;
    uint8_t *buf; /* PIECE_LEN of the target, of the old and of the new */
};

static void patch_fini(struct patch *patch)
{
    if (patch->target_fd >= 0) {
        close(patch->target_fd);
    }
    if (patch->side_fd >= 0) {
        close(patch->side_fd);
    }
    free(patch->buf);
}

static int fail_at(const struct chain_journal *journal, size_t idx,
                   struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];

    return chain_folder_name_error(&journal->folders[file->folder], file->name,
                                   err);
}

static int fail_foreign(const struct chain_journal *journal, size_t idx,
                        const char *what, struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];

    return chain_change_stuck(journal, file, file->name, what, err);
}

static int read_piece(int fd, uint8_t *buf, size_t len, uint64_t off,
                      struct img_error *err)
{
    size_t done = 0;

    while (done < len) {
        ssize_t got = pread(fd, buf + done, len - done, (off_t)(off + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return img_fail_sys(err, got < 0 ? errno : EIO,
                                "cannot read what is to be written");
        }
        done += (size_t)got;
    }
    return 0;
}

static int open_side(const struct chain_journal *journal, size_t idx,
                     struct patch *patch, struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    int stage_fd = journal->folders[file->folder].stage_fd;
    struct stat st;

    if (stage_fd >= 0) {
        patch->side_fd = openat(stage_fd, file->temp,
                                O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    }
    if (stage_fd < 0 || (patch->side_fd < 0 && errno == ENOENT)) {
        return fail_foreign(journal, idx,
                            "what a transaction was to write into it is gone",
                            err);
    }
    if (patch->side_fd < 0 || fstat(patch->side_fd, &st) != 0) {
        img_fail_sys(err, errno, "cannot open what is to be written");
        return fail_at(journal, idx, err);
    }
    if (!S_ISREG(st.st_mode) || st.st_ino != file->ino ||
        (uint64_t)st.st_size != file->len || file->len % 2 != 0) {
        return fail_foreign(journal, idx,
                            "what is to be written into it is not what the "
                            "journal of the transaction tells of",
                            err);
    }
    patch->len = file->len / 2;
    return 0;
}

/* Its time says nothing: a power loss may leave that of a write of ours. */
static int check_target(const struct chain_journal *journal, size_t idx,
                        const struct patch *patch, struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    struct stat st;

    enum chain_found found = chain_file_find_open(file, patch->target_fd);
    if (found != CHAIN_FOUND_OLD && found != CHAIN_FOUND_OLD_CHANGED) {
        return fail_foreign(journal, idx,
                            "is not the file that the journal of the "
                            "transaction tells of",
                            err);
    }
    if (fstat(patch->target_fd, &st) != 0) {
        img_fail_sys(err, errno, "cannot look at it");
        return fail_at(journal, idx, err);
    }
    return (uint64_t)st.st_size == file->old_len && file->old_len >= patch->len
               ? 0
               : fail_foreign(journal, idx,
                              "has another length than when the transaction "
                              "was decided",
                              err);
}

/* Where there is no such file any more a live run fails, unless it is to take
   BACK what it has written. */
static int patch_open(const struct chain_journal *journal, size_t idx,
                      bool back, struct patch *patch, struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = &journal->folders[file->folder];

    *patch = (struct patch){.target_fd = -1, .side_fd = -1};
    patch->buf = img_calloc(3, PIECE_LEN, err);
    if (!patch->buf) {
        return fail_at(journal, idx, err);
    }
    if (open_side(journal, idx, patch, err) < 0) {
        return -1;
    }
    patch->target_fd =
        openat(folder->fd, file->name,
               O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (patch->target_fd >= 0) {
        return check_target(journal, idx, patch, err);
    }
    if (errno == ENOENT && (back || !journal->is_live)) {
        patch->is_gone = true;
        return 0;
    }
    img_fail_sys(err, errno, "cannot open it for writing");
    return fail_at(journal, idx, err);
}

/* A disk writes whole sectors, the old or the new one. */
static bool is_mixture(const uint8_t *found, const uint8_t *old,
                       const uint8_t *new, size_t len)
{
    for (size_t off = 0; off < len; off += SECTOR) {
        size_t part = (size_t)img_min(SECTOR, len - off);
        if (memcmp(found + off, old + off, part) != 0 &&
            memcmp(found + off, new + off, part) != 0) {
            return false;
        }
    }
    return true;
}

static int check(const struct chain_journal *journal, size_t idx,
                 const struct patch *patch, struct img_error *err)
{
    uint8_t *found = patch->buf, *old = found + PIECE_LEN,
            *new = old + PIECE_LEN;

    for (uint64_t off = 0; off < patch->len; off += PIECE_LEN) {
        size_t len = (size_t)img_min(PIECE_LEN, patch->len - off);
        if (read_piece(patch->target_fd, found, len, off, err) < 0 ||
            read_piece(patch->side_fd, old, len, off, err) < 0 ||
            read_piece(patch->side_fd, new, len, patch->len + off, err) < 0) {
            return fail_at(journal, idx, err);
        }
        if (!is_mixture(found, old, new, len)) {
            return fail_foreign(journal, idx,
                                "begins with other bytes than the journal of "
                                "the transaction tells of",
                                err);
        }
    }
    return 0;
}

int chain_patch_check(const struct chain_journal *journal, size_t idx,
                      bool *is_gone, struct img_error *err)
{
    struct patch patch;
    int r = patch_open(journal, idx, false, &patch, err);

    if (r == 0 && !patch.is_gone) {
        r = check(journal, idx, &patch, err);
    }
    *is_gone = patch.is_gone;
    patch_fini(&patch);
    return r;
}

static int write_piece(int fd, const uint8_t *buf, size_t len, uint64_t off,
                       struct img_error *err)
{
    size_t done = 0;

    while (done < len) {
        ssize_t put = pwrite(fd, buf + done, len - done, (off_t)(off + done));
        if (put < 0 && errno != EINTR) {
            return img_fail_sys(err, errno, "cannot write into it");
        }
        done += put > 0 ? (size_t)put : 0;
    }
    return 0;
}

static int write_all(const struct patch *patch, bool back,
                     struct img_error *err)
{
    uint64_t from_off = back ? 0 : patch->len;

    for (uint64_t off = 0; off < patch->len; off += PIECE_LEN) {
        size_t len = (size_t)img_min(PIECE_LEN, patch->len - off);
        if (read_piece(patch->side_fd, patch->buf, len, from_off + off, err) <
                0 ||
            write_piece(patch->target_fd, patch->buf, len, off, err) < 0) {
            return -1;
        }
    }
    while (fdatasync(patch->target_fd) != 0) {
        if (errno != EINTR) {
            return img_fail_sys(err, errno, "cannot flush it");
        }
    }
    return 0;
}

int chain_patch_write(const struct chain_journal *journal, size_t idx,
                      bool back, struct img_error *err)
{
    struct patch patch;
    int r = patch_open(journal, idx, back, &patch, err);

    if (r == 0 && !patch.is_gone) {
        r = check(journal, idx, &patch, err);
        if (r == 0 && write_all(&patch, back, err) < 0) {
            r = fail_at(journal, idx, err);
        }
    }
    patch_fini(&patch);
    return r;
}
