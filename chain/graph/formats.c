/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of formats: qcow2, then those of libimg, raw last. Room:
 * chain/graph, the lowest one that may know them all.
 */
#include <chain/formats.h>

#include <string.h>

#include <img/memory.h>
#include <qcow2/image.h>

/* Format number IDX of the whole list, NULL after the last one. */
static const struct img_format *format_at(size_t idx)
{
    if (idx == 0) {
        return &qcow2_format;
    }
    return img_formats[idx - 1].name ? &img_formats[idx - 1] : NULL;
}

const struct img_format *chain_format_find(const char *name)
{
    const struct img_format *format;

    for (size_t i = 0; (format = format_at(i)) != NULL; i++) {
        if (strcmp(format->name, name) == 0) {
            return format;
        }
    }
    return NULL;
}

static bool is_raw(const struct img_format *format)
{
    return strcmp(format->name, "raw") == 0;
}

/* raw takes what nobody claims; it is never a second claim. */
static void probe_bytes(const struct img_probe_bytes *bytes,
                        struct chain_probe *out)
{
    const struct img_format *format;

    for (size_t i = 0; (format = format_at(i)) != NULL; i++) {
        if (is_raw(format)) {
            out->format = out->format ? out->format : format;
        } else if (format->probe(bytes)) {
            if (!out->format) {
                out->format = format;
            } else if (!out->second) {
                out->second = format;
            }
        }
    }
    out->contents = img_probe_contents(bytes);
}

int chain_probe(struct img_file *file, struct chain_probe *out,
                struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    uint8_t *head = img_calloc(1, IMG_PROBE_HEAD_LEN + IMG_PROBE_TAIL_LEN, err);
    struct img_probe_bytes bytes;

    *out = (struct chain_probe){0};
    if (!head || img_probe_load(file, head, head + IMG_PROBE_HEAD_LEN, &bytes,
                                err) < 0) {
        return -1;
    }
    probe_bytes(&bytes, out);
    return 0;
}
