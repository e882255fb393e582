/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which file stands under a name: see journal.h. An inode's number is used
 * again when its file is gone; where the file system tells when a file was
 * made, that tells the two apart.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define NS_PER_S 1000000000

/* What was before 1970 was all at once. */
static int64_t ns_of(const struct statx_timestamp *time)
{
    return time->tv_sec < 0 ? 0 : time->tv_sec * NS_PER_S + time->tv_nsec;
}

/* 0: nobody knows. */
static int64_t born_of(const struct statx *st)
{
    return st->stx_mask & STATX_BTIME ? ns_of(&st->stx_btime) : 0;
}

static int look(int fd, const char *name, struct statx *st)
{
    return statx(fd, name, AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH),
                 STATX_BASIC_STATS | STATX_BTIME, st);
}

int chain_file_note_old(int fd, const char *name,
                        struct chain_journal_file *file)
{
    struct statx st;

    if (look(fd, name, &st) != 0) {
        return -1;
    }
    file->old_ino = st.stx_ino;
    file->old_len = st.stx_size;
    file->old_mtime_ns = ns_of(&st.stx_mtime);
    file->old_born_ns = born_of(&st);
    return 0;
}

static bool is_old(const struct chain_journal_file *file,
                   const struct statx *st)
{
    int64_t born_ns = born_of(st);

    return S_ISREG(st->stx_mode) && st->stx_ino == file->old_ino &&
           (born_ns == 0 || file->old_born_ns == 0 ||
            born_ns == file->old_born_ns);
}

static enum chain_found classify(const struct chain_journal_file *file,
                                 const struct statx *st)
{
    if (is_old(file, st)) {
        return st->stx_size == file->old_len &&
                       ns_of(&st->stx_mtime) == file->old_mtime_ns
                   ? CHAIN_FOUND_OLD
                   : CHAIN_FOUND_OLD_CHANGED;
    }
    return file->op != CHAIN_JOURNAL_REMOVE && S_ISREG(st->stx_mode) &&
                   st->stx_ino == file->ino
               ? CHAIN_FOUND_NEW
               : CHAIN_FOUND_OTHER;
}

enum chain_found chain_file_find(const struct chain_journal_file *file, int fd,
                                 const char *name)
{
    struct statx st;

    if (fd < 0) {
        return CHAIN_FOUND_NOTHING;
    }
    if (look(fd, name, &st) != 0) {
        return errno == ENOENT ? CHAIN_FOUND_NOTHING : CHAIN_FOUND_UNKNOWN;
    }
    return classify(file, &st);
}

enum chain_found chain_file_find_open(const struct chain_journal_file *file,
                                      int fd)
{
    return chain_file_find(file, fd, "");
}
