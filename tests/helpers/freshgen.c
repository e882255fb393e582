/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * freshgen: a new qcow2 image by the fresh writer, for tests that let qemu-img
 * judge it.
 *
 *   freshgen [-o OPTION=VALUE]... [-e EFFORT] SOURCE FILE [DATA-FILE] <SCRIPT
 *
 * FILE and DATA-FILE exist. The bytes are those of SOURCE at the same offsets.
 * Lines of the script, offsets ascending:
 *   d OFF LEN         data
 *   c OFF             a compressed cluster; data if it does not become smaller
 *   z OFF LEN         zeros
 *   b NAME GRANULARITY FLAGS BITS-FILE   a bitmap, at any place
 * Prints the compressed clusters, the places, and what measure said of the
 * data.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/deflate.h>
#include <qcow2/fresh.h>

#define CLUSTER_LEN_MAX (2u << 20)

struct generator {
    struct qcow2_create_options options;
    enum qcow2_effort effort;
    struct img_file *source, *file, *data_file;
    struct qcow2_fresh *fresh;
    struct qcow2_deflater *deflater;
    uint8_t *buf, *packed; /* of CLUSTER_LEN_MAX */
    uint64_t compressed_nr, places_nr, data_len;
};

static int move(struct generator *g, const struct qcow2_place *place,
                uint64_t off, struct img_error *err)
{
    for (uint64_t done = 0; done < place->len;) {
        size_t piece = img_min(CLUSTER_LEN_MAX, place->len - done);

        if (img_file_read_padded(g->source, g->buf, piece, off + done, NULL,
                                 err) < 0 ||
            img_file_write(place->file, g->buf, piece, place->host_off + done,
                           err) < 0) {
            return -1;
        }
        done += piece;
    }
    return 0;
}

static int put_data(struct generator *g, uint64_t off, uint64_t len,
                    struct img_error *err)
{
    struct qcow2_place place;

    g->data_len += img_align_up(len, g->options.cluster_len);
    for (; len > 0; off += place.len, len -= place.len) {
        if (qcow2_fresh_data(g->fresh, off, len, &place, err) < 0 ||
            move(g, &place, off, err) < 0) {
            return -1;
        }
        g->places_nr++;
    }
    return 0;
}

static int put_compressed(struct generator *g, uint64_t off,
                          struct img_error *err)
{
    uint32_t cluster_len = g->options.cluster_len;
    uint64_t host_off;
    size_t len;

    if (img_file_read_padded(g->source, g->buf, cluster_len, off, NULL, err) <
            0 ||
        qcow2_deflate(g->deflater, g->buf, cluster_len, g->packed,
                      cluster_len - 1, &len, err) < 0) {
        return -1;
    }
    if (len == 0) {
        return put_data(
            g, off, img_min(cluster_len, g->options.virtual_len - off), err);
    }
    g->data_len += cluster_len;
    g->compressed_nr++;
    if (qcow2_fresh_compressed(g->fresh, off, (uint32_t)len, &host_off, err) <
        0) {
        return -1;
    }
    return img_file_write(g->file, g->packed, len, host_off, err);
}

static int put_bitmap(struct generator *g, const char *line,
                      struct img_error *err)
{
    char name[1100], path[256];
    struct qcow2_fresh_bitmap bitmap = {.name = name};
    struct img_open_options open_options = {.lock = IMG_LOCK_NONE};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    IMG_AUTO(img_free_ptr) uint8_t *bits = NULL;

    if (sscanf(line, "b %1099s %" SCNu64 " %" SCNu32 " %255s", name,
               &bitmap.granularity, &bitmap.flags, path) != 4) {
        return img_fail(err, IMG_USAGE, "bitmap: %s", line);
    }
    if (img_file_open(path, &open_options, &file, err) < 0) {
        return -1;
    }
    bitmap.bits_len = img_file_len(file);
    bits = img_calloc(bitmap.bits_len + 1, 1, err);
    if (bits == NULL ||
        img_file_read(file, bits, bitmap.bits_len, 0, err) < 0) {
        return -1;
    }
    bitmap.bits = bits;
    return qcow2_fresh_bitmap_add(g->fresh, &bitmap, err);
}

static int run_line(struct generator *g, const char *line,
                    struct img_error *err)
{
    uint64_t off = 0, len = 0;

    if (line[0] == 'b') {
        return put_bitmap(g, line, err);
    }
    if (sscanf(line + 1, "%" SCNu64 " %" SCNu64, &off, &len) < 1) {
        return img_fail(err, IMG_USAGE, "script: %s", line);
    }
    switch (line[0]) {
    case 'd':
        return put_data(g, off, len, err);
    case 'c':
        return put_compressed(g, off, err);
    case 'z':
        return qcow2_fresh_zero(g->fresh, off, len, err);
    default:
        return img_fail(err, IMG_USAGE, "script: %s", line);
    }
}

static int run_script(struct generator *g, struct img_error *err)
{
    char line[2048];

    g->buf = img_alloc_aligned(CLUSTER_LEN_MAX, err);
    g->packed = img_alloc_aligned(CLUSTER_LEN_MAX, err);
    if (g->buf == NULL || g->packed == NULL ||
        qcow2_deflater_new(g->options.compression, g->effort, &g->deflater,
                           err) < 0) {
        return -1;
    }
    if (qcow2_fresh_new(g->file, g->data_file, &g->options, &g->fresh, err) <
        0) {
        return -1;
    }
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (run_line(g, line, err) < 0) {
            return -1;
        }
    }
    return qcow2_fresh_finish(g->fresh, err);
}

static int open_files(struct generator *g, char **paths, struct img_error *err)
{
    struct img_open_options open_options = {.lock = IMG_LOCK_NONE};

    if (img_file_open(paths[0], &open_options, &g->source, err) < 0) {
        return -1;
    }
    open_options.writable = true;
    open_options.lock = IMG_LOCK_WRITER;
    if (img_file_open(paths[1], &open_options, &g->file, err) < 0) {
        return -1;
    }
    if (paths[2] == NULL) {
        return 0;
    }
    return img_file_open(paths[2], &open_options, &g->data_file, err);
}

static int parse(struct generator *g, int argc, char **argv,
                 struct img_error *err)
{
    int option;

    qcow2_create_options_init(&g->options);
    while ((option = getopt(argc, argv, "o:e:")) != -1) {
        char *equals = option == 'o' ? strchr(optarg, '=') : NULL;

        if (option == 'e') {
            g->effort = (enum qcow2_effort)strtoul(optarg, NULL, 10);
            continue;
        }
        if (equals == NULL) {
            return img_fail(err, IMG_USAGE, "usage: see the source");
        }
        *equals = '\0';
        if (qcow2_create_options_set(&g->options, optarg, equals + 1, err) <
            0) {
            return -1;
        }
    }
    if (argc - optind < 2) {
        return img_fail(err, IMG_USAGE, "usage: see the source");
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct generator g = {.effort = QCOW2_EFFORT_DEFAULT};
    struct img_error err;
    char text[2048];
    int ret = 0;

    img_error_clear(&err);
    if (parse(&g, argc, argv, &err) < 0 ||
        open_files(&g, argv + optind, &err) < 0 || run_script(&g, &err) < 0) {
        img_error_format(&err, text, sizeof(text));
        (void)fprintf(stderr, "freshgen: %s\n", text);
        ret = 1;
    } else {
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", g.compressed_nr,
               g.places_nr, qcow2_fresh_measure(&g.options, g.data_len));
    }
    qcow2_fresh_free(g.fresh);
    qcow2_deflater_free(g.deflater);
    img_file_unref(g.source);
    img_file_unref(g.file);
    img_file_unref(g.data_file);
    free(g.buf);
    free(g.packed);
    return ret;
}
