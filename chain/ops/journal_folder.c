/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Folders and the records in them: see journal.h.
 *
 * Folders may be shared with others: no symbolic link is followed, a record
 * is believed only when it is this user's or the superuser's own and has no
 * second name.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/memory.h>

#define PREFIX ".imgchain-"
#define DIGITS 16u

/* Only the owner can set the sticky bit of a file, where it means nothing:
   nobody else can make one of the owner's files look like a record. */
#define MARKED_MODE 01600

/* What an id begins with. Of the old ones no more are made. */
static const char *const kinds[] = {"transaction-", "snapshot-"};

static const char *const suffixes[] = {
    [CHAIN_RECORD_POINTER] = ".pointer",
    [CHAIN_RECORD_NEW_JOURNAL] = ".journal.new",
    [CHAIN_RECORD_JOURNAL] = ".journal",
    [CHAIN_RECORD_DONE] = ".done",
};

const char *chain_record_name(enum chain_record record, const char *id,
                              char out[CHAIN_RECORD_NAME_LEN])
{
    (void)snprintf(out, CHAIN_RECORD_NAME_LEN, "%s%s%s", PREFIX, id,
                   suffixes[record]);
    return out;
}

/* The length of the id in NAME; 0: there is none. */
static size_t parse_id(const char *name)
{
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = strlen(kinds[i]);
        const char *text = name + strlen(PREFIX);
        if (strncmp(text, kinds[i], len) == 0 &&
            strspn(text + len, "0123456789abcdef") == DIGITS) {
            return len + DIGITS;
        }
    }
    return 0;
}

bool chain_record_id(const char *name, char id[CHAIN_JOURNAL_ID_LEN + 1])
{
    char stage[CHAIN_RECORD_NAME_LEN];
    enum chain_record record;

    return chain_record_parse(name, &record, id) ||
           (parse_id(name) != 0 &&
            strcmp(name, chain_stage_name(id, stage)) == 0);
}

bool chain_record_parse(const char *name, enum chain_record *record,
                        char id[CHAIN_JOURNAL_ID_LEN + 1])
{
    size_t len = parse_id(name);

    if (len == 0) {
        return false;
    }
    memcpy(id, name + strlen(PREFIX), len);
    id[len] = '\0';
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (strcmp(name + strlen(PREFIX) + len, suffixes[i]) == 0) {
            *record = (enum chain_record)i;
            return true;
        }
    }
    return false;
}

/* ---- Folders. */

/* From the root down, part by part, following no link; -1 with errno. */
static int walk(const char *path)
{
    char part[NAME_MAX + 1];
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (path += strspn(path, "/"); fd >= 0 && *path != '\0';
         path += strspn(path, "/")) {
        size_t len = strcspn(path, "/");
        if (len > NAME_MAX) {
            close(fd);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(part, path, len);
        part[len] = '\0';
        path += len;
        /* Folders on the way need only be passed, not read. */
        int flags = path[strspn(path, "/")] == '\0' ? O_RDONLY : O_PATH;
        int next =
            openat(fd, part, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int sys_errno = errno;
        close(fd);
        errno = sys_errno;
        fd = next;
    }
    return fd;
}

int chain_folder_open(struct chain_journal_folder *folder,
                      struct img_error *err)
{
    struct stat st;
    int fd = walk(folder->path);

    if (fd < 0 || fstat(fd, &st) != 0) {
        img_fail_sys(err, errno, "cannot open the folder");
        img_error_set_path(err, folder->path);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    if (folder->ino != 0 && folder->ino != st.st_ino) {
        close(fd);
        img_fail(err, IMG_CHANGED, "is another folder than the one of before");
        img_error_set_path(err, folder->path);
        return -1;
    }
    folder->ino = st.st_ino;
    folder->fd = fd;
    return 0;
}

/* EINVAL: this file system's folders cannot be flushed. */
static int flush(int fd)
{
    while (fsync(fd) != 0) {
        if (errno != EINTR) {
            return errno == EINVAL ? 0 : -1;
        }
    }
    return 0;
}

int chain_folder_flush(const struct chain_journal_folder *folder,
                       struct img_error *err)
{
    if ((folder->stage_fd >= 0 && flush(folder->stage_fd) < 0) ||
        flush(folder->fd) < 0) {
        img_fail_sys(err, errno, "cannot flush the folder");
        img_error_set_path(err, folder->path);
        return -1;
    }
    return 0;
}

char *chain_folder_path(const struct chain_journal_folder *folder,
                        const char *name)
{
    struct img_error ignored;
    bool is_root = strcmp(folder->path, "/") == 0;

    return img_text(&ignored, "%s/%s", is_root ? "" : folder->path, name);
}

int chain_folder_name_error(const struct chain_journal_folder *folder,
                            const char *name, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *path = chain_folder_path(folder, name);

    img_error_set_path(err, path ? path : name);
    return -1;
}

DIR *chain_folder_list(int fd)
{
    /* A descriptor of its own: a listing has a position. */
    int own_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own_fd < 0 ? NULL : fdopendir(own_fd);

    if (!dir && own_fd >= 0) {
        int sys_errno = errno;
        close(own_fd);
        errno = sys_errno;
    }
    return dir;
}

const struct dirent *chain_folder_next(DIR *dir)
{
    errno = 0;
    return readdir(dir);
}

bool chain_owner_is_trusted(uid_t uid)
{
    return uid == geteuid() || uid == 0;
}

/* For file systems whose rename cannot be told to replace nothing. */
static int link_and_unlink(int from_fd, const char *from, int to_fd,
                           const char *to)
{
    if (linkat(from_fd, from, to_fd, to, 0) != 0) {
        return errno;
    }
    /* One of the two is stable at any time. */
    if (flush(to_fd) < 0 || unlinkat(from_fd, from, 0) != 0) {
        (void)unlinkat(to_fd, to, 0);
        return EIO;
    }
    return 0;
}

int chain_folder_rename(int from_fd, const char *from, int to_fd,
                        const char *to)
{
    if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    return errno == EINVAL || errno == ENOSYS
               ? link_and_unlink(from_fd, from, to_fd, to)
               : errno;
}

/* ---- Records. */

int chain_record_lock(int fd, bool *locked, struct img_error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    *locked = fcntl(fd, F_OFD_SETLK, &lock) == 0;
    if (*locked || errno == EAGAIN || errno == EACCES) {
        return 0;
    }
    return img_fail_sys(err, errno, "cannot lock the record of a transaction");
}

static int fail_unmarked(bool *is_foreign, struct img_error *err)
{
    *is_foreign = true;
    return img_fail(err, IMG_DENIED,
                    "was not made by a transaction: it lacks the mode that its "
                    "owner gives to records");
}

static int check_record(const struct stat *st, const char *name,
                        bool *is_foreign, struct img_error *err)
{
    if (!chain_owner_is_trusted(st->st_uid)) {
        *is_foreign = true;
        return img_fail(err, IMG_DENIED,
                        "is the record of a transaction of user %u: only that "
                        "user can go on with it",
                        (unsigned)st->st_uid);
    }
    if (!S_ISREG(st->st_mode) || st->st_nlink != 1 || st->st_size < 0 ||
        st->st_size > (off_t)CHAIN_RECORD_LEN_MAX) {
        return img_fail(err, IMG_CORRUPT,
                        "is named like the record of a transaction, but is no "
                        "small file with one name");
    }
    return (st->st_mode & 07777) == MARKED_MODE ||
                   chain_journal_is_old(name + strlen(PREFIX))
               ? 0
               : fail_unmarked(is_foreign, err);
}

/* The superuser's records are believed, but not everybody may lock them. */
static int fail_open(int sys_errno, const struct stat *st, bool *is_foreign,
                     struct img_error *err)
{
    *is_foreign = sys_errno == EACCES && st->st_uid != geteuid();
    return sys_errno == ENOENT ? 0
                               : img_fail_sys(err, sys_errno, "cannot open it");
}

int chain_record_open(const struct chain_journal_folder *folder,
                      const char *name, int *fd, bool *is_foreign,
                      struct img_error *err)
{
    struct stat st;

    *fd = -1;
    *is_foreign = false;
    if (fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? 0
                               : img_fail_sys(err, errno, "cannot look at it");
    }
    if (check_record(&st, name, is_foreign, err) < 0) {
        return -1;
    }
    *fd = openat(folder->fd, name,
                 O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*fd < 0) {
        return fail_open(errno, &st, is_foreign, err);
    }
    /* What was opened counts; it may have been removed meanwhile. */
    int r = fstat(*fd, &st) != 0 ? img_fail_sys(err, errno, "cannot look at it")
            : st.st_nlink == 0   ? 0
                                 : check_record(&st, name, is_foreign, err);
    if (r < 0 || st.st_nlink == 0) {
        close(*fd);
        *fd = -1;
    }
    return r;
}

int chain_pointer_lock(struct chain_journal_folder *folder, const char *id,
                       struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    bool is_foreign, locked = false;
    int fd;

    (void)chain_record_name(CHAIN_RECORD_POINTER, id, name);
    if (chain_record_open(folder, name, &fd, &is_foreign, err) < 0) {
        return is_foreign || err->code == IMG_CORRUPT
                   ? 0
                   : chain_folder_name_error(folder, name, err);
    }
    if (fd < 0) {
        return 0;
    }
    int r = chain_record_lock(fd, &locked, err);
    if (r == 0 && locked) {
        folder->record_fd = fd;
        return 0;
    }
    if (r == 0) {
        img_fail(err, IMG_LOCKED, "a transaction is under way there right now");
    }
    close(fd);
    return chain_folder_name_error(folder, name, err);
}

char *chain_record_read(int fd, size_t *len, struct img_error *err)
{
    struct stat st;
    ssize_t got = 0;

    *len = 0;
    if (fstat(fd, &st) != 0 || st.st_size < 0 ||
        st.st_size > (off_t)CHAIN_RECORD_LEN_MAX) {
        img_fail_sys(err, EIO, "cannot look at it");
        return NULL;
    }
    size_t size = (size_t)st.st_size;
    char *text = img_calloc(size + 1, 1, err);
    while (text && *len < size) {
        got = pread(fd, text + *len, size - *len, (off_t)*len);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        *len += (size_t)got;
    }
    if (text && got < 0) {
        img_fail_sys(err, errno, "cannot read it");
        free(text);
        return NULL;
    }
    return text;
}

static int write_text(int fd, const char *text, struct img_error *err)
{
    size_t len = strlen(text), done = 0;

    while (done < len) {
        ssize_t put = pwrite(fd, text + done, len - done, (off_t)done);
        if (put < 0 && errno != EINTR) {
            return img_fail_sys(err, errno,
                                "cannot write the record of a transaction");
        }
        done += put > 0 ? (size_t)put : 0;
    }
    while (fsync(fd) != 0) {
        if (errno != EINTR) {
            return img_fail_sys(err, errno,
                                "cannot flush the record of a transaction");
        }
    }
    return 0;
}

/* Not every file system keeps modes, and a folder may hand its own on. */
static int mark_record(int fd, struct img_error *err)
{
    struct stat st;

    if (fchmod(fd, MARKED_MODE) == 0 && fstat(fd, &st) == 0 &&
        (st.st_mode & 07777) == MARKED_MODE && st.st_uid == geteuid()) {
        return 0;
    }
    return img_fail(err, IMG_UNSUPPORTED,
                    "this file system does not keep the modes and owners of "
                    "files, as a change of several files needs it");
}

/* Somebody who recovers may have it, or have had it, for dead. */
static int own_record(int fd, struct img_error *err)
{
    struct stat st;
    bool locked;

    if (chain_record_lock(fd, &locked, err) < 0) {
        return -1;
    }
    if (!locked || fstat(fd, &st) != 0 || st.st_nlink == 0) {
        return img_fail(err, IMG_CHANGED,
                        "the record of the transaction was taken away while it "
                        "was made");
    }
    return 0;
}

int chain_record_make(const struct chain_journal_folder *folder,
                      const char *name, const char *text, int *fd,
                      struct img_error *err)
{
    *fd = openat(folder->fd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC,
                 MARKED_MODE);
    if (*fd < 0) {
        img_fail_sys(err, errno, "cannot make the record of a transaction");
        img_error_set_path(err, folder->path);
        return -1;
    }
    if (own_record(*fd, err) < 0 || mark_record(*fd, err) < 0 ||
        write_text(*fd, text, err) < 0) {
        img_error_set_path(err, folder->path);
        (void)unlinkat(folder->fd, name, 0);
        close(*fd);
        *fd = -1;
        return -1;
    }
    return 0;
}
