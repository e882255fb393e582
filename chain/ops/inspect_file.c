/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One file of an image that is inspected: opened once, and everything about
 * it loaded that rules look at. See inspect_impl.h.
 *
 * Nothing here decides anything: what could not be had is kept with its
 * error, and the rule that it belongs to reports it.
 */
#include "inspect_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/inflate.h>

/* A descriptor that gives its bytes once: a pipe or a socket. */
static int is_stream(int fd, bool *stream, struct img_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return img_fail_sys(err, errno, "cannot use descriptor %d", fd);
    }
    *stream = S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
    return 0;
}

int inspect_file_open(struct inspect_file *file,
                      const struct chain_inspect_request *request,
                      struct img_error *err)
{
    const struct img_open_options how = {.lock = IMG_LOCK_NONE,
                                         .roots = request->roots};
    int rc;

    if (request->fd >= 0 && is_stream(request->fd, &file->is_stream, err) < 0) {
        img_error_set_path(err, request->path);
        return -1;
    }
    if (file->is_stream) {
        rc = img_file_from_stream(request->fd, request->path,
                                  request->max_actual_len, request->cancel,
                                  &file->file, &file->error);
    } else if (request->fd >= 0) {
        rc = img_file_open_fd(request->fd, request->path, &how, &file->file,
                              &file->error);
    } else {
        rc = img_file_open(request->path, &how, &file->file, &file->error);
    }
    /* The wrong kind of file, too much of it, or one that is outside of the
       folders: that is what is to be judged. */
    if (rc < 0 && file->error.code != IMG_UNSUPPORTED &&
        file->error.code != IMG_LIMIT &&
        (file->error.code != IMG_DENIED || !request->roots)) {
        *err = file->error;
        return -1;
    }
    if (rc < 0) {
        return 0;
    }
    if (!request->force_share) {
        (void)img_file_lock_reader(file->file, &file->lock_error);
    }
    return img_file_stamp(file->file, &file->stamp, err);
}

/* The format, and the image in it. */
static int load_image(struct inspect_file *file, struct img_error *err)
{
    struct chain_probe probe;
    int rc;

    chain_probe_bytes(&file->bytes, &probe);
    file->format = file->declared ? file->declared : probe.format->name;
    file->driver = chain_format_find(file->format);
    if (!file->driver) {
        return img_fail(err, IMG_USAGE, "the format is not known");
    }
    if (file->image) {
        return 0;
    }
    rc = file->is_stream && file->driver == &qcow2_format
             ? qcow2_open_first(file->file, &file->image, &file->image_error)
             : file->driver->open(file->file, &file->image, &file->image_error);
    file->is_image_own = rc == 0;
    return rc < 0 && file->image_error.code == IMG_MEMORY ? img_fail_memory(err)
                                                          : 0;
}

/* Have the compressed cluster of EXTENT at *CLUSTER (free with free()). */
static int inflate(const struct img_image *image,
                   const struct img_extent *extent, uint8_t **cluster,
                   struct img_error *err)
{
    struct img_inflater *inflater = NULL;
    IMG_AUTO(img_free_ptr)
    uint8_t *stored = img_calloc(1, extent->host_len, err);
    IMG_AUTO(img_free_ptr)
    uint8_t *out = img_calloc(1, extent->unit_len, err);

    if (!stored || !out || qcow2_inflater_new(&inflater, err) < 0) {
        return -1;
    }
    int rc = img_file_read_padded(extent->file, stored, extent->host_len,
                                  extent->host_off, NULL, err) < 0 ||
                     img_image_decompress(image, inflater, extent, stored, out,
                                          err) < 0
                 ? -1
                 : 0;
    qcow2_inflater_free(inflater);
    if (rc == 0) {
        *cluster = img_steal(&out);
    }
    return rc;
}

/* LEN bytes of the disk from OFF; what the image has not got reads as 0. */
static int disk_read(struct img_image *image, uint8_t *buf, size_t len,
                     uint64_t off, struct img_error *err)
{
    size_t done = 0;

    memset(buf, 0, len);
    while (done < len) {
        struct img_extent extent;
        uint64_t at = off + done;

        if (img_image_map(image, at, len - done, &extent, err) < 0) {
            return -1;
        }
        size_t here = (size_t)img_min(extent.len, len - done);
        if (extent.kind == IMG_EXTENT_DATA &&
            img_file_read_padded(extent.file, buf + done, here, extent.host_off,
                                 NULL, err) < 0) {
            return -1;
        }
        if (extent.kind == IMG_EXTENT_COMPRESSED) {
            IMG_AUTO(img_free_ptr) uint8_t *cluster = NULL;
            if (inflate(image, &extent, &cluster, err) < 0) {
                return -1;
            }
            memcpy(buf + done, cluster + (at - extent.unit_guest_off), here);
        }
        done += here;
    }
    return 0;
}

/* The ends of what the image shows, as probes look at them. */
static int load_disk(struct inspect_file *file, struct img_error *err)
{
    struct img_image *image = file->image;
    uint64_t len = image->virtual_len;

    if (!image->is_readable || image->wants_data_file) {
        img_fail(&file->disk_error, IMG_UNSUPPORTED, "%s",
                 image->unreadable_why ? image->unreadable_why
                                       : "its data is in another file");
        return 0;
    }
    file->disk_head =
        img_calloc(1, IMG_PROBE_HEAD_LEN + IMG_PROBE_TAIL_LEN, err);
    if (!file->disk_head) {
        return -1;
    }
    file->disk = (struct img_probe_bytes){
        .head = file->disk_head,
        .head_len = (size_t)img_min(len, IMG_PROBE_HEAD_LEN),
        .tail = file->disk_head + IMG_PROBE_HEAD_LEN,
        .tail_len = (size_t)img_min(len, IMG_PROBE_TAIL_LEN),
        .file_len = len,
    };
    if (disk_read(image, file->disk_head, file->disk.head_len, 0,
                  &file->disk_error) < 0 ||
        disk_read(image, file->disk_head + IMG_PROBE_HEAD_LEN,
                  file->disk.tail_len, len - file->disk.tail_len,
                  &file->disk_error) < 0) {
        free(file->disk_head);
        file->disk_head = NULL;
        /* That says nothing of the image. */
        if (file->disk_error.code == IMG_MEMORY) {
            *err = file->disk_error;
            return -1;
        }
    }
    return 0;
}

int inspect_file_load(struct inspect_file *file, struct img_error *err)
{
    file->head = img_calloc(1, IMG_PROBE_HEAD_LEN + IMG_PROBE_TAIL_LEN, err);
    if (!file->head ||
        img_probe_load(file->file, file->head, file->head + IMG_PROBE_HEAD_LEN,
                       &file->bytes, err) < 0) {
        return -1;
    }
    file->claims_nr = chain_claims(&file->bytes, file->claims);
    return load_image(file, err);
}

int inspect_file_survey(struct inspect_file *file, struct img_error *err)
{
    if (!file->image) {
        return 0;
    }
    file->header = qcow2_image_header(file->image);
    file->extensions = qcow2_image_extensions(file->image);
    if (file->header && qcow2_image_survey(file->image, &file->survey,
                                           &file->survey_error) < 0) {
        img_error_set_path(&file->survey_error, file->path);
    }
    (void)img_image_references(file->image, &file->references,
                               &file->references_error);
    return load_disk(file, err);
}

void inspect_file_fini(struct inspect_file *file)
{
    img_references_fini(&file->references);
    if (file->is_image_own) {
        img_image_free(file->image);
    }
    img_file_unref(file->file);
    free(file->disk_head);
    free(file->head);
}
