/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files: regular files, block devices, memory, slices of another file and a
 * fault-injecting wrapper, behind one handle.
 *
 * A handle is reference counted (atomically) and opened once: every layer,
 * view and engine that needs the file shares the one descriptor, because
 * QEMU's locks belong to the open file description. Reading is positional
 * and may be done from several threads at once. What changes a file stands in
 * img/write.h.
 */
#ifndef IMG_FILE_H
#define IMG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <img/error.h>
#include <img/roots.h>

struct img_file;

enum img_file_kind {
    IMG_FILE_REGULAR,
    IMG_FILE_BLOCK,
    IMG_FILE_MEMORY,
    IMG_FILE_STREAM, /* its beginning and its end, see img_file_from_stream */
};

/* What QEMU's image locking (block/file-posix.c) lets us do with a file. */
enum img_lock_mode {
    IMG_LOCK_NONE,   /* take and test nothing (--force-share) */
    IMG_LOCK_READER, /* consistent read; nobody else may write or resize */
    IMG_LOCK_WRITER, /* read, write, resize; nobody else may do either, and a
                        reader of QEMU's is kept out */
};

struct img_open_options {
    enum img_lock_mode lock;
    bool writable;                 /* for reading and writing */
    bool direct;                   /* O_DIRECT for reads and writes of data */
    const struct img_roots *roots; /* NULL: no confinement */
};

/*
 * Open PATH. Non-blocking open, then only a regular file or a
 * block device is accepted: FIFOs, sockets, directories and character
 * devices are IMG_UNSUPPORTED and named. With roots the kernel confines the
 * resolution (openat2, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS); a path
 * outside is IMG_DENIED. Unless IMG_LOCK_NONE, QEMU's locks are taken: a
 * conflict is IMG_LOCKED and the text names the holder (process id and
 * command) where /proc tells. A file that is to be writable and cannot be is
 * IMG_DENIED. Errors carry the path.
 */
int img_file_open(const char *path, const struct img_open_options *options,
                  struct img_file **out, struct img_error *err);

/*
 * Take QEMU's locks of a reader on a file that was opened with IMG_LOCK_NONE;
 * errors as img_file_open. They stay until the file is closed. Files without
 * a descriptor have nobody to be kept from. Nothing is done for a file that
 * this handle holds a writer's locks on: they include a reader's.
 */
int img_file_lock_reader(struct img_file *file, struct img_error *err);

/*
 * The same checks and locks on a duplicate of an inherited descriptor. NAME
 * is for messages; the descriptor stays the caller's. (The lock belongs to
 * the shared open file description and goes when its last copy is closed.)
 */
int img_file_open_fd(int fd, const char *name,
                     const struct img_open_options *options,
                     struct img_file **out, struct img_error *err);

/* A file in memory, for tests and fuzzing; copies the bytes. */
int img_file_from_memory(const char *name, const void *bytes, size_t len,
                         struct img_file **out, struct img_error *err);

/*
 * A file that comes through the descriptor FD once, from where it stands to
 * its end: a pipe or a socket. All of it is read, but only its first
 * IMG_STREAM_HEAD_LEN and last IMG_STREAM_TAIL_LEN bytes are kept. Reading
 * what lies between fails with IMG_IO and sys_errno ESPIPE. More than MAX_LEN
 * bytes (0: no limit) are IMG_LIMIT as soon as they come; *CANCEL (may be
 * NULL) is looked at between reads. The descriptor stays the caller's.
 */
#define IMG_STREAM_HEAD_LEN                                                    \
    (8u << 20)                          /* L1 tables and VHDX metadata, mostly \
                                         */
#define IMG_STREAM_TAIL_LEN (64u << 10) /* footers, the second GPT */
int img_file_from_stream(int fd, const char *name, uint64_t max_len,
                         const volatile int *cancel, struct img_file **out,
                         struct img_error *err);

/*
 * LEN bytes of INNER from OFF as a file of its own (the "offset" and "size"
 * of QEMU's raw driver). Takes its own reference on INNER. A range outside
 * INNER is IMG_CORRUPT. Identity (img_file_is_same) is INNER's.
 */
int img_file_slice(struct img_file *inner, uint64_t off, uint64_t len,
                   struct img_file **out, struct img_error *err);

/* Faults for tests: what img_file_with_faults injects, and where. */
struct img_fault {
    uint64_t fail_at_read;  /* 1-based call number that fails; 0 never */
    int fail_errno;         /* with this errno */
    uint64_t fail_from_off; /* reads touching [off, off + len) fail too */
    uint64_t fail_len;      /* 0: no such range */
    size_t short_read;      /* at most so many bytes a call; 0: no limit */
    /* Writing: 1-based numbers of the calls that fail with fail_errno. Zeroing
       and reserving count as writes. Discards never fail. */
    uint64_t fail_at_write, fail_at_flush, fail_at_resize;
    size_t short_write; /* at most so many bytes a call; 0: no limit */
    uint64_t space_len; /* ENOSPC for what would lie beyond; 0: no limit */
};

/* Wrap INNER (own reference). The faults are copied. Has no descriptor. */
int img_file_with_faults(struct img_file *inner, const struct img_fault *fault,
                         struct img_file **out, struct img_error *err);

struct img_file *img_file_ref(struct img_file *file);
/* Drops a reference, closing at the last one. NULL is fine. */
void img_file_unref(struct img_file *file);
/* For IMG_AUTO. */
void img_file_unref_ptr(struct img_file **file);

/* Exactly LEN bytes; reaching the end of the file is IMG_CORRUPT. */
int img_file_read(struct img_file *file, void *buf, size_t len, uint64_t off,
                  struct img_error *err);

/*
 * The same, but what lies past the end of the file reads as zeros (the last
 * cluster of an image may be partly missing). *got, if not NULL, is the
 * number of bytes that were really there.
 */
int img_file_read_padded(struct img_file *file, void *buf, size_t len,
                         uint64_t off, size_t *got, struct img_error *err);

/* The path as it was opened (raw bytes). Borrowed. */
const char *img_file_path(const struct img_file *file);
enum img_file_kind img_file_kind(const struct img_file *file);
/*
 * Length in bytes: when opened, and after that as this handle's own writes and
 * resizes have changed it. Block devices: BLKGETSIZE64. Any thread.
 */
uint64_t img_file_len(const struct img_file *file);
/* Bytes allocated on disk (st_blocks * 512); 0 for block devices. */
uint64_t img_file_allocated_len(const struct img_file *file);

/*
 * Descriptor for engines, or -1 (memory, faults). *base is added to every
 * offset (slices). For a file opened with direct, this is the O_DIRECT one:
 * see img_file_direct_align.
 */
int img_file_fd(const struct img_file *file, uint64_t *base);
/*
 * How many bytes from *base on may be read through img_file_fd: a slice's
 * length. UINT64_MAX where the descriptor's own end is the file's.
 */
uint64_t img_file_fd_len(const struct img_file *file);
/* Alignment that img_file_fd needs of buffer, length and offset; 1 if none. */
uint32_t img_file_direct_align(const struct img_file *file);

/* Everything that says whether a file is still the one that was judged. */
struct img_stamp {
    uint64_t dev, ino, rdev; /* rdev: block devices only, else 0 */
    uint64_t len;
    int64_t mtime_ns, ctime_ns;
    uint32_t mode, uid, gid;
};

/* fstat now (not when it was opened). Memory files have a fixed stamp. */
int img_file_stamp(const struct img_file *file, struct img_stamp *out,
                   struct img_error *err);
/*
 * The same of what PATH leads to now, of any kind, without opening it for
 * reading; a block device's length is 0. With ROOTS nothing is learned about
 * a path that lies outside of them: IMG_DENIED.
 */
int img_path_stamp(const char *path, const struct img_roots *roots,
                   struct img_stamp *out, struct img_error *err);
bool img_stamp_is_equal(const struct img_stamp *a, const struct img_stamp *b);

/* Same inode, or same block device whatever its node is called. */
bool img_file_is_same(const struct img_file *a, const struct img_file *b);

/*
 * Where file systems know holes: the state at OFF and how far it goes, at
 * most to OFF + LEN. Where they do not, everything is data. Past the end of
 * the file everything is a hole. (lseek SEEK_DATA, SEEK_HOLE.)
 */
int img_file_next_hole(struct img_file *file, uint64_t off, uint64_t len,
                       bool *is_hole, uint64_t *run_len, struct img_error *err);

/* One physical extent, as FIEMAP tells it. */
struct img_physical {
    uint64_t off, len; /* in the file */
    uint64_t physical_off;
    bool is_trusted; /* not unwritten, delayed, inline, encoded, unknown... */
};

/*
 * Physical extents of [OFF, OFF + LEN), at most NR, in ascending order;
 * gaps are holes. *out_nr 0: none, or the file system cannot tell
 * (*supported false). FIEMAP_FLAG_SYNC is used, so that delayed allocation
 * is settled first. The first extent may begin before OFF.
 */
int img_file_physical(struct img_file *file, uint64_t off, uint64_t len,
                      struct img_physical *out, size_t nr, size_t *out_nr,
                      bool *supported, struct img_error *err);

/* Processes that hold QEMU locks which forbid what WRITER needs. */
struct img_lock_holder {
    bool is_held;
    int pid;           /* 0: unknown (no /proc, other namespace) */
    char command[256]; /* escaped, "" if unknown */
    const char *what;  /* "write", "consistent read", ... static */
};

/*
 * Would QEMU be let to open the file for writing now (permissions consistent
 * read, write and resize; none shared but consistent read)? Takes no lock.
 * Locks of this handle itself do not count; the process's other handles are
 * not counted either (pid == getpid()).
 */
int img_file_writer_test(struct img_file *file, struct img_lock_holder *holder,
                         struct img_error *err);

/*
 * Does somebody have the block device FILE to himself: is it mounted, part of
 * another device, open exclusively? False for other files, and where FILE's own
 * descriptor is open for writing: then it may be that one.
 */
int img_file_claim_test(const struct img_file *file, bool *is_claimed,
                        struct img_error *err);

#endif
