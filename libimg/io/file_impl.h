/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io, private: what a file is made of.
 *
 * An origin (POSIX file, memory) has the bytes; a wrapper (slice, faults)
 * has INNER and hands calls on to it. kind, dev, ino and rdev of a wrapper
 * are its origin's, so that identity needs no walk.
 */
#ifndef IO_FILE_IMPL_H
#define IO_FILE_IMPL_H

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <img/write.h>

struct img_file_ops {
    /*
     * One read of at most LEN bytes (LEN > 0, OFF + LEN <= IMG_OFF_MAX):
     * the bytes read, 0 at the end of the file, or a negative errno. The
     * caller goes on after a short read.
     */
    ssize_t (*pread)(struct img_file *file, void *buf, size_t len,
                     uint64_t off);
    /* Origins only. */
    int (*stamp)(const struct img_file *file, struct img_stamp *out,
                 struct img_error *err);
    int (*hole)(struct img_file *file, uint64_t off, uint64_t len,
                bool *is_hole, uint64_t *run_len, struct img_error *err);
    /* NULL: not supported. */
    int (*physical)(struct img_file *file, uint64_t off, uint64_t len,
                    struct img_physical *out, size_t nr, size_t *out_nr,
                    bool *supported, struct img_error *err);
    /*
     * What changes a file; only called for writable ones, with a range that
     * img_file_check_range let through. An origin keeps its length up to
     * date itself. pwrite is as pread, but never 0; the others return 0 or a
     * negative errno. LEN > 0 throughout.
     */
    ssize_t (*pwrite)(struct img_file *file, const void *buf, size_t len,
                      uint64_t off);
    int (*zero)(struct img_file *file, uint64_t off, uint64_t len,
                enum img_zero_mode mode);
    void (*discard)(struct img_file *file, uint64_t off, uint64_t len);
    int (*resize)(struct img_file *file, uint64_t len); /* not for devices */
    /* -EOPNOTSUPP: the caller writes zeros where no data is. */
    int (*reserve)(struct img_file *file, uint64_t off, uint64_t len);
    int (*flush)(struct img_file *file);
    /* Frees everything, the struct as well; accepts a half-made object. */
    void (*free)(struct img_file *file);
};

/* Implementations embed this as their first member. */
struct img_file {
    const struct img_file_ops *ops;
    struct img_file *inner; /* wrappers: own reference; origins: NULL */
    atomic_uint refs;
    enum img_file_kind kind;
    char *path;
    /* Origins and slices; ask img_file_len. Slices never change theirs. */
    atomic_uint_least64_t len;
    /*
     * Origins: no write that was begun ends beyond it, and it is at least
     * len. Nobody may cut the file shorter than that in passing.
     */
    atomic_uint_least64_t reach;
    bool is_bounded; /* a slice */
    bool is_writable;
    enum img_lock_mode lock; /* POSIX origins: what this handle holds */
    uint64_t allocated_len;
    uint64_t dev, ino, rdev;
    int fd;        /* POSIX origins only, else -1 */
    uint64_t base; /* slices: where they begin in the origin */
    uint32_t direct_align;
    /*
     * POSIX origins: one write of a part of a block at a time (O_DIRECT),
     * since two may share the block; and one change of the length.
     */
    pthread_mutex_t part_lock;
};

/* A first reference, and no descriptor. */
void img_file_init(struct img_file *file, const struct img_file_ops *ops);
/* What all implementations' free begin with: path and inner. */
void img_file_fini(struct img_file *file);
/* Become a wrapper of INNER (own reference): path, identity, lengths. */
int img_file_init_wrapper(struct img_file *file, const struct img_file_ops *ops,
                          struct img_file *inner, struct img_error *err);
/* The file at the bottom of all wrappers. */
struct img_file *img_file_origin(struct img_file *file);
const struct img_file *img_file_origin_const(const struct img_file *file);
/* *AT = max(*AT, VALUE). */
void img_file_raise(atomic_uint_least64_t *at, uint64_t value);
/* As many zeros as are written at once. */
#define IMG_FILE_ZEROS_LEN ((uint64_t)1 << 20)
/* Zeros for writing LEN of them step by step. Free with free(). */
void *img_file_new_zeros(uint64_t len, struct img_error *err);
/* How many to write at OFF, so that the next step is aligned. */
uint64_t img_file_zeros_step(uint64_t off, uint64_t end);
/* May [OFF, OFF + LEN) of FILE be changed? Writable, and inside. */
int img_file_check_range(const struct img_file *file, uint64_t off,
                         uint64_t len, struct img_error *err);

/* What ST says, but for the length of a block device (0). */
void img_posix_stamp_of(const struct stat *st, struct img_stamp *out);
/* For S_IFMT bits: "a directory". */
const char *img_posix_kind_name(mode_t mode);

/* Check, lock and wrap FD, which it owns from now on (also on failure). */
int img_file_adopt(int fd, const char *path,
                   const struct img_open_options *options,
                   struct img_file **out, struct img_error *err);

/* A regular file or block device over FD, which it owns from now on. */
int img_posix_new(int fd, const char *path, struct img_file **out,
                  struct img_error *err);

/* For the operations of regular files and block devices. */
ssize_t img_posix_pwrite(struct img_file *file, const void *buf, size_t len,
                         uint64_t off);
int img_posix_zero(struct img_file *file, uint64_t off, uint64_t len,
                   enum img_zero_mode mode);
void img_posix_discard(struct img_file *file, uint64_t off, uint64_t len);
int img_posix_resize(struct img_file *file, uint64_t len);
int img_posix_reserve(struct img_file *file, uint64_t off, uint64_t len);
int img_posix_flush(struct img_file *file);

/*
 * What FD needs for O_DIRECT; 1 if it was not opened so. Where the file
 * system accepts the flag but cannot read so, and IS_OWN (the open file
 * description is nobody else's), the flag is taken off.
 */
int img_direct_setup(int fd, const struct stat *st, bool is_own,
                     uint32_t *align, struct img_error *err);
/* pread that aligns what ALIGN does not let through. As ops->pread. */
ssize_t img_direct_pread(int fd, uint32_t align, void *buf, size_t len,
                         uint64_t off);

/* pwrite in whole blocks, as ops->pwrite. */
ssize_t img_direct_pwrite(struct img_file *file, const void *buf, size_t len,
                          uint64_t off);

/* FIEMAP, for ops->physical. */
int img_posix_physical(struct img_file *file, uint64_t off, uint64_t len,
                       struct img_physical *out, size_t nr, size_t *out_nr,
                       bool *supported, struct img_error *err);

/*
 * Take and test the locks of MODE on FD, which holds those of BEFORE; on
 * failure it still holds them and no others.
 */
int img_lock_take(int fd, enum img_lock_mode mode, enum img_lock_mode before,
                  struct img_error *err);

/* fcntl on the lock of one byte, from the start; 0 or an errno. */
int img_lock_call(int fd, int command, short type, uint64_t byte,
                  struct flock *out);

/*
 * Which process holds a lock on BYTE of the file that FD has open (any lock,
 * or write locks only)? Processes other than this one come first. *pid is 0
 * when none can be seen.
 */
void img_holder_find(int fd, uint64_t byte, bool write_only, int *pid);
/* Name and guest of process PID, escaped; "" if unknown. */
void img_holder_describe(int pid, char *out, size_t size);

/*
 * Open PATH below one of ROOTS with openat2. Returns a descriptor or -1;
 * err->sys_errno tells why.
 */
int img_roots_open(const struct img_roots *roots, const char *path, int flags,
                   struct img_error *err);

#endif
