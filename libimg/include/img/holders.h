/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who uses a file: processes that have it open or mapped, as /proc shows them,
 * what the kernel has made of it (loop devices, mounts, swap, devices on
 * devices), and QEMU's locks on it.
 *
 * A file is known by device and inode, a block device by its number. Nothing
 * is read of any file, and nothing is locked. Processes of this PID namespace
 * are looked at, and of these only those that the caller may look at; how
 * much stayed unseen is told. This process itself never counts.
 */
#ifndef IMG_HOLDERS_H
#define IMG_HOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/file.h>

struct img_identity {
    uint64_t dev, ino;
    uint64_t rdev; /* block devices; else 0 */
    bool is_file;  /* a regular file or a block device */
};
/* One regular file or block device, whatever its names. */
bool img_identity_is_same(const struct img_identity *a,
                          const struct img_identity *b);

/* QEMU's permissions, each with a byte that says "I use it" and one that says
   "I let nobody else have it". */
enum img_permission {
    IMG_PERM_CONSISTENT_READ,
    IMG_PERM_WRITE,
    IMG_PERM_WRITE_UNCHANGED,
    IMG_PERM_RESIZE,
    IMG_PERM_GRAPH_MOD, /* QEMU 6.1 and older */
    IMG_PERMS_NR,
};
#define IMG_LOCK_USED_BYTE 100u
#define IMG_LOCK_UNSHARED_BYTE 200u
/* "consistent read", as QEMU calls it. Static. */
const char *img_permission_name(unsigned permission);

/* A lock on a range of bytes. */
struct img_lock {
    uint64_t first, last; /* last UINT64_MAX: to the end */
    bool is_exclusive;
};

/* The locks of one holder by their meaning; bit N is permission N. */
struct img_lock_meaning {
    unsigned uses, forbids;
    size_t others_nr; /* locks that are none of QEMU's */
};
/* Is it on QEMU's bytes, of the kind that QEMU takes? */
bool img_lock_is_qemu(const struct img_lock *lock);
void img_locks_decode(const struct img_lock *locks, size_t nr,
                      struct img_lock_meaning *out);

enum img_program {
    IMG_PROGRAM_OTHER,
    IMG_PROGRAM_QEMU_SYSTEM,
    IMG_PROGRAM_QEMU_STORAGE_DAEMON,
    IMG_PROGRAM_QEMU_NBD,
    IMG_PROGRAM_QEMU_IMG,
    IMG_PROGRAM_QEMU_IO,
    IMG_PROGRAM_IMGCHAIN,
    IMG_PROGRAM_NBDKIT,
    IMG_PROGRAM_VIRTLOCKD,
    IMG_PROGRAM_LIBVIRTD,
};
/* "qemu-system", "qemu-nbd", ... "other". Static. */
const char *img_program_name(enum img_program program);
/* Does it take QEMU's locks on images? */
bool img_program_has_locks(enum img_program program);

/* A regular file or block device that a process has open. */
struct img_process_file {
    int fd; /* its number there */
    struct img_identity identity;
    char *path; /* as the kernel tells it; may be gone */
};

/* All texts are raw bytes, chosen by whoever started the process. */
struct img_process {
    int pid;
    uint32_t uid; /* effective */
    bool has_uid;
    enum img_program program; /* by the command's name */
    char *command;            /* last part of the first argument */
    char *executable;         /* NULL: not told */
    char *guest, *uuid;       /* of a QEMU; NULL: not told */
    char *monitor;            /* its QMP socket; NULL: not told */
    /* Only of programs that have QEMU's locks. */
    struct img_process_file *files;
    size_t files_nr;
};

enum img_target_kind {
    IMG_TARGET_FILE,      /* the file that was asked about */
    IMG_TARGET_LOOP,      /* a loop device on it */
    IMG_TARGET_PARTITION, /* a part of the device */
    IMG_TARGET_DEVICE,    /* a device on the device: LVM, RAID, ... */
};

/* The file, or a device that was made from it (and so on). */
struct img_target {
    enum img_target_kind kind;
    size_t file;     /* index of the file that was asked about */
    size_t from;     /* target that it was made from; of a file: itself */
    char name[64];   /* "loop0"; "" for a file */
    char label[128]; /* device mapper's name, or "" */
    struct img_identity identity;
};

enum img_holder_kind {
    IMG_HOLDER_PROCESS, /* has it open, or mapped */
    IMG_HOLDER_DEVICE,  /* a device was made from it */
    IMG_HOLDER_MOUNT,
    IMG_HOLDER_SWAP,
    IMG_HOLDER_UNSEEN, /* locked by a process that cannot be seen */
};

struct img_holder {
    enum img_holder_kind kind;
    size_t target;  /* what is held; of a DEVICE: that device */
    size_t process; /* PROCESS: its index */
    bool is_read, is_written, is_mapped;
    struct img_lock *locks; /* PROCESS and UNSEEN */
    size_t locks_nr;
    char *where; /* MOUNT: the folder */
    int pid;     /* MOUNT: of one in that mount namespace, 0: it is ours;
                    UNSEEN: 0 if not told */
};

/* What could not be looked at. All zero: nothing stayed unseen. */
struct img_holders_unseen {
    size_t processes_nr; /* no right to look at them */
    size_t loops_nr;     /* loop devices whose file cannot be told */
    bool is_hidden;      /* other users' processes are not even listed */
};

struct img_holders_file {
    struct img_stamp stamp;
    const struct img_file *file; /* for its locks; NULL: cannot be opened */
};

struct img_holders;

/*
 * Look for who uses the NR FILES, which are borrowed for the call.
 * IMG_UNSUPPORTED without /proc, IMG_LIMIT for more devices than anybody has.
 */
int img_holders_new(const struct img_holders_file *files, size_t nr,
                    struct img_holders **out, struct img_error *err);
void img_holders_free(struct img_holders *holders);
/* For IMG_AUTO. */
void img_holders_free_ptr(struct img_holders **holders);

size_t img_holders_nr(const struct img_holders *holders);
const struct img_holder *img_holders_at(const struct img_holders *holders,
                                        size_t idx);
const struct img_target *img_holders_target(const struct img_holders *holders,
                                            size_t idx);
size_t img_holders_processes_nr(const struct img_holders *holders);
const struct img_process *img_holders_process(const struct img_holders *holders,
                                              size_t idx);
const struct img_holders_unseen *
img_holders_unseen(const struct img_holders *holders);
/* Could the locks of file IDX be asked for? */
bool img_holders_has_locks(const struct img_holders *holders, size_t idx);

/* Does process PID have the file of STAMP open? */
bool img_process_holds(int pid, const struct img_stamp *stamp);

#endif
