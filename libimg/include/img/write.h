/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing files.
 *
 * All calls need a handle that was opened writable (IMG_USAGE else). They are
 * plain system calls (pwrite, fallocate, ftruncate, fdatasync): what is
 * written can be followed from outside. Writes that do not overlap may come
 * from several threads at once; resizing belongs to one. Short writes are
 * continued, EINTR is retried. A full file system is IMG_SYSTEM with ENOSPC
 * (or EDQUOT) in sys_errno; a failed write of the device is IMG_IO.
 */
#ifndef IMG_WRITE_H
#define IMG_WRITE_H

#include <img/file.h>

bool img_file_is_writable(const struct img_file *file);

/*
 * Take QEMU's locks of a writer on a file that was opened with IMG_LOCK_NONE
 * or IMG_LOCK_READER; errors as img_file_open. On failure the locks are as
 * before. They stay until the file is closed.
 */
int img_file_lock_writer(struct img_file *file, struct img_error *err);

/* All LEN bytes. A regular file grows; past the end of a device or a slice is
   IMG_LIMIT. A file opened direct may be written at any alignment (slowly). */
int img_file_write(struct img_file *file, const void *buf, size_t len,
                   uint64_t off, struct img_error *err);

/* How img_file_zero may do it. */
enum img_zero_mode {
    IMG_ZERO_UNMAP, /* give the space back where the file system can */
    IMG_ZERO_KEEP,  /* keep (or take) the space */
};

/*
 * [OFF, OFF + LEN) reads as zeros afterwards, by the cheapest means there is:
 * beyond the end by growing the file, a hole, FALLOC_FL_ZERO_RANGE,
 * BLKZEROOUT, at last by writing zeros. Beyond the end it is a resize: no
 * other thread may write past the end at the same time (an engine of the same
 * thread may).
 */
int img_file_zero(struct img_file *file, uint64_t off, uint64_t len,
                  enum img_zero_mode mode, struct img_error *err);

/*
 * The bytes are of no use any more: a hole where the file system can make
 * one, else nothing. A hint: never fails, contents are undefined afterwards.
 */
void img_file_discard(struct img_file *file, uint64_t off, uint64_t len);

/* Make the file exactly LEN bytes long; only regular and memory files
   (IMG_UNSUPPORTED for others, but for the length a device has already). */
int img_file_resize(struct img_file *file, uint64_t len, struct img_error *err);

/*
 * Reserve the space of [OFF, OFF + LEN): fallocate, and where the file system
 * has none or FULL is set, written zeros. Existing bytes stay. The file grows
 * to OFF + LEN where it is shorter. Devices have their space: nothing is done.
 */
int img_file_reserve(struct img_file *file, uint64_t off, uint64_t len,
                     bool full, struct img_error *err);

/*
 * Let LEN bytes at DST_OFF of DST share the blocks of SRC at SRC_OFF
 * (FICLONERANGE). *done false, and nothing changed: it cannot be done between
 * these two files or at these offsets. DST grows where it is shorter.
 */
int img_file_share(struct img_file *dst, uint64_t dst_off, struct img_file *src,
                   uint64_t src_off, uint64_t len, bool *done,
                   struct img_error *err);

/*
 * From now on data is read and written with O_DIRECT, where file and file
 * system can; else, and for slices, nothing changes. For a file that turns out
 * to be written much: writing past the page cache is faster then. While
 * nothing is under way on any thread. True: img_file_direct_align holds.
 */
bool img_file_use_direct(struct img_file *file);

/* Everything that was written before is stable afterwards (fdatasync). A
   failure means that nobody knows: the file must not be relied on. */
int img_file_flush(struct img_file *file, struct img_error *err);

/*
 * For an engine that writes LEN bytes at OFF through img_file_fd itself: note
 * it before the write is begun (nothing else may cut the file below it then),
 * and when it is done (img_file_len knows it then). Any thread.
 */
void img_file_note_writing(struct img_file *file, uint64_t off, uint64_t len);
void img_file_note_written(struct img_file *file, uint64_t off, uint64_t len);

/* Bytes that the file system of FILE can still take; UINT64_MAX: unknown. A
   block device: its length. */
uint64_t img_file_space_left(const struct img_file *file);

#endif
