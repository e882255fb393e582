/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: where a file's bytes lie on its device (FIEMAP), so that shared
 * extents need not be read to be known equal.
 *
 * An extent is trusted only if the same physical offset on the same file
 * system always means the same bytes. That rules out every flag but those
 * named harmless here, and every file system but those that are known to
 * have one address space: overlayfs hands on the answers of several others,
 * bcachefs and XFS real-time files number each device from 0.
 */
#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

#define EXTENTS_PER_CALL 128u

#define MAGIC_EXT4 0xEF53
#define MAGIC_XFS 0x58465342
#define MAGIC_BTRFS 0x9123683E

#define HARMLESS_FLAGS                                                         \
    ((uint32_t)(FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_MERGED |                    \
                FIEMAP_EXTENT_SHARED))

static bool is_realtime(int fd)
{
    struct fsxattr attr;

    return ioctl(fd, FS_IOC_FSGETXATTR, &attr) != 0 ||
           (attr.fsx_xflags & FS_XFLAG_REALTIME);
}

static bool has_one_address_space(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs)) {
        return false;
    }
    switch ((unsigned long)fs.f_type) {
    case MAGIC_EXT4:
    case MAGIC_BTRFS:
        return true;
    case MAGIC_XFS:
        return !is_realtime(fd);
    default:
        return false;
    }
}

struct collector {
    uint64_t pos; /* everything before is settled */
    uint64_t end;
    bool trust;
    bool is_done;
    struct img_physical *out;
    size_t nr, max_nr;
};

/* Take over one answer; what adds nothing after pos is left out. */
static void collect(struct collector *c, const struct fiemap_extent *extent)
{
    uint64_t end;

    c->is_done = (extent->fe_flags & FIEMAP_EXTENT_LAST) != 0;
    if (!img_add(extent->fe_logical, extent->fe_length, &end)) {
        end = IMG_OFF_MAX;
    }
    if (end <= c->pos || extent->fe_logical >= c->end) {
        return;
    }
    c->out[c->nr++] = (struct img_physical){
        .off = extent->fe_logical,
        .len = end - extent->fe_logical,
        .physical_off = extent->fe_physical,
        .is_trusted = c->trust && !(extent->fe_flags & ~HARMLESS_FLAGS),
    };
    c->pos = end;
    c->is_done |= c->pos >= c->end || c->nr == c->max_nr;
}

/* One call's worth. 0, or an errno. */
static int ask_fiemap(int fd, struct fiemap *map, struct collector *c)
{
    uint64_t before = c->pos;

    map->fm_start = c->pos;
    map->fm_length = c->end - c->pos;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count =
        (uint32_t)img_min(c->max_nr - c->nr, EXTENTS_PER_CALL);
    map->fm_mapped_extents = 0;
    if (ioctl(fd, FS_IOC_FIEMAP, map)) {
        return errno;
    }
    for (uint32_t i = 0; i < map->fm_mapped_extents && !c->is_done; i++) {
        collect(c, &map->fm_extents[i]);
    }
    /* No answer, or none that leads on: there are no more. */
    c->is_done |= c->pos == before;
    return 0;
}

static bool is_unsupported(int sys_errno)
{
    return sys_errno == EOPNOTSUPP || sys_errno == ENOTTY ||
           sys_errno == EBADR || sys_errno == EINVAL || sys_errno == ENOSYS;
}

int img_posix_physical(struct img_file *file, uint64_t off, uint64_t len,
                       struct img_physical *out, size_t nr, size_t *out_nr,
                       bool *supported, struct img_error *err)
{
    struct collector c = {
        .pos = off, .end = off + len, .out = out, .max_nr = nr};
    IMG_AUTO(img_free_ptr) struct fiemap *map = NULL;

    if (file->kind == IMG_FILE_BLOCK) {
        return 0;
    }
    map = img_calloc(
        1, sizeof(*map) + EXTENTS_PER_CALL * sizeof(map->fm_extents[0]), err);
    if (!map) {
        return -1;
    }
    c.trust = has_one_address_space(file->fd);
    while (!c.is_done) {
        int sys_errno = ask_fiemap(file->fd, map, &c);
        if (sys_errno == EINTR) {
            continue;
        }
        if (is_unsupported(sys_errno)) {
            return 0;
        }
        if (sys_errno != 0) {
            img_fail_sys(err, sys_errno, "cannot find physical extents");
            img_error_set_path(err, file->path);
            return -1;
        }
    }
    *out_nr = c.nr;
    *supported = true;
    return 0;
}
