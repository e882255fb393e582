/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * viewdump: what a chain shows, for tests that compare with qemu-img.
 *
 *   viewdump [--map | --extents | --bytes] [-l SNAPSHOT] [-p] FILE [FORMAT]
 *
 * --map (the default) prints what qemu-img 7.2's map --output=json prints;
 * --extents prints the view's own extents, one JSON object a line; --bytes
 * writes the guest's bytes to standard output. -p probes backing files whose
 * format is not recorded.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <chain/view.h>
#include <img/checked.h>
#include <img/image.h>

#define PIECE_LEN (1u << 20)

enum { MODE_MAP = 'm', MODE_EXTENTS = 'e', MODE_BYTES = 'b' };

static const char *const kind_names[] = {
    [IMG_EXTENT_UNALLOCATED] = "unallocated",
    [IMG_EXTENT_ZERO] = "zero",
    [IMG_EXTENT_DATA] = "data",
    [IMG_EXTENT_COMPRESSED] = "compressed",
};

/* An entry of qemu-img's map. */
struct entry {
    uint64_t start, len, off;
    size_t depth;
    bool is_present, is_zero, is_data, has_off;
    const struct img_file *file;
};

/* A raw image tells the offset in the file that it is a slice of. */
static uint64_t slice_base(const struct chain_view *view,
                           const struct chain_extent *extent)
{
    const struct chain_layer *layer =
        chain_layer_at(chain_view_chain(view), extent->layer);
    uint64_t base = 0;

    if (extent->e.has_host &&
        strcmp(chain_layer_image(layer)->format, "raw") == 0) {
        img_file_fd(extent->e.file, &base);
    }
    return base;
}

static struct entry entry_of(const struct chain_view *view,
                             const struct chain_extent *extent)
{
    const struct img_extent *e = &extent->e;
    bool is_compressed = e->kind == IMG_EXTENT_COMPRESSED;

    return (struct entry){
        .start = e->guest_off,
        .len = e->len,
        .off = e->host_off + slice_base(view, extent),
        .depth = extent->layer,
        .is_present = extent->is_present,
        .is_zero = e->kind == IMG_EXTENT_ZERO || e->reads_as_hole,
        .is_data = e->kind == IMG_EXTENT_DATA || is_compressed,
        .has_off = e->has_host && !is_compressed,
        .file = e->file,
    };
}

static bool entry_merges(const struct entry *a, const struct entry *b)
{
    return a->depth == b->depth && a->is_present == b->is_present &&
           a->is_zero == b->is_zero && a->is_data == b->is_data &&
           a->has_off == b->has_off &&
           (!a->has_off || (a->file == b->file && a->off + a->len == b->off));
}

static void entry_print(const struct entry *entry, const char *before,
                        const char *after)
{
    static const char *const words[] = {"false", "true"};

    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
           ", \"depth\": %zu, \"present\": %s, \"zero\": %s, \"data\": %s",
           before, entry->start, entry->len, entry->depth,
           words[entry->is_present], words[entry->is_zero],
           words[entry->is_data]);
    if (entry->has_off) {
        printf(", \"offset\": %" PRIu64, entry->off);
    }
    printf("}%s", after);
}

static int dump_map(struct chain_view *view, struct img_error *err)
{
    uint64_t len = chain_view_len(view);
    struct entry current = {0};
    struct chain_extent extent;

    printf("[");
    for (uint64_t off = 0; off < len; off += extent.e.len) {
        if (chain_view_at(view, off, len - off, &extent, err) < 0) {
            return -1;
        }
        struct entry next = entry_of(view, &extent);
        if (current.len > 0 && entry_merges(&current, &next)) {
            current.len += next.len;
            continue;
        }
        if (current.len > 0) {
            entry_print(&current, "", ",\n");
        }
        current = next;
    }
    if (current.len > 0) {
        entry_print(&current, "", "");
    }
    printf("]\n");
    return 0;
}

static int dump_extents(struct chain_view *view, struct img_error *err)
{
    uint64_t len = chain_view_len(view);
    struct chain_extent extent;

    for (uint64_t off = 0; off < len; off += extent.e.len) {
        if (chain_view_at(view, off, len - off, &extent, err) < 0) {
            return -1;
        }
        printf("{\"start\": %" PRIu64 ", \"length\": %" PRIu64
               ", \"layer\": %zu, \"kind\": \"%s\", \"present\": %d, "
               "\"hole\": %d",
               extent.e.guest_off, extent.e.len, extent.layer,
               kind_names[extent.e.kind], extent.is_present,
               extent.e.reads_as_hole);
        if (extent.e.has_host || extent.e.kind == IMG_EXTENT_COMPRESSED) {
            printf(", \"offset\": %" PRIu64, extent.e.host_off);
        }
        printf("}\n");
    }
    return 0;
}

static int dump_bytes(struct chain_view *view, struct img_error *err)
{
    static uint8_t buf[PIECE_LEN];
    uint64_t len = chain_view_len(view);

    for (uint64_t off = 0, n; off < len; off += n) {
        n = img_min(len - off, sizeof(buf));
        if (chain_view_read(view, buf, (size_t)n, off, err) < 0) {
            return -1;
        }
        if (fwrite(buf, 1, (size_t)n, stdout) != n) {
            return img_fail(err, IMG_SYSTEM, "cannot write the output");
        }
    }
    return 0;
}

static int dump(const char *file, const struct chain_options *options, int mode,
                struct img_error *err)
{
    struct chain *chain;
    struct chain_view *view;
    int r;

    if (chain_open(file, options, &chain, err) < 0) {
        return -1;
    }
    r = chain_view_new(chain, 0, &view, err);
    if (r == 0) {
        r = mode == MODE_BYTES     ? dump_bytes(view, err)
            : mode == MODE_EXTENTS ? dump_extents(view, err)
                                   : dump_map(view, err);
        chain_view_free(view);
    }
    chain_free(chain);
    return r;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"map", no_argument, NULL, MODE_MAP},
        {"extents", no_argument, NULL, MODE_EXTENTS},
        {"bytes", no_argument, NULL, MODE_BYTES},
        {0},
    };
    static struct img_error err;
    struct chain_options options;
    char line[IMG_ERROR_PATH_MAX + IMG_ERROR_TEXT_MAX];
    int mode = MODE_MAP;
    int option;

    chain_options_init(&options);
    while ((option = getopt_long(argc, argv, "l:p", long_options, NULL)) !=
           -1) {
        if (option == 'l') {
            options.snapshot = optarg;
        } else if (option == 'p') {
            options.allow_probe = true;
        } else if (option == '?') {
            return 2;
        } else {
            mode = option;
        }
    }
    if (optind >= argc) {
        fprintf(stderr, "viewdump: no FILE\n");
        return 2;
    }
    options.format = argv[optind + 1]; /* NULL when it is not there */
    if (dump(argv[optind], &options, mode, &err) < 0) {
        img_error_format(&err, line, sizeof(line));
        fprintf(stderr, "viewdump: %s\n", line);
        return 1;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
