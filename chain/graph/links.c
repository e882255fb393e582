/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Links between layers: see chain/links.h. Room: chain/graph.
 *
 * What keeps a chain from being followed was found when it was opened; here
 * it gets a name. The rest are sizes that differ, and contents that claim to
 * be of another format than the layer above says.
 */
#include <chain/links.h>

#include <stdio.h>
#include <string.h>

#include <chain/formats.h>
#include <img/memory.h>
#include <qcow2/image.h>

#include "graph.h"

#define MESSAGE_LEN 1536u

/* Where a name that was not told lies: the header field that points to it. */
#define BACKING_FILE_OFFSET_OFF 8u

struct link {
    const struct chain *chain;
    const struct chain_layer *upper;
    const struct chain_layer *lower; /* NULL at the end of the chain */
    void (*told)(void *opaque, const struct chain_link_problem *problem);
    void *opaque;
};

static __attribute__((format(printf, 5, 6))) void
tell(const struct link *link, enum chain_link_kind kind, const char *id,
     uint64_t off, const char *fmt, ...)
{
    char message[MESSAGE_LEN];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    link->told(link->opaque, &(struct chain_link_problem){
                                 .kind = kind,
                                 .id = id,
                                 .off = off,
                                 .message = message,
                             });
}

/* Where the upper layer has the name of its backing file. */
static uint64_t name_off(const struct chain_layer *upper)
{
    const struct qcow2_header *header = qcow2_image_header(upper->image);

    return header ? header->backing_name_off : BACKING_FILE_OFFSET_OFF;
}

static const char *broken_id(const struct link *link)
{
    const struct img_image *image = link->upper->image;

    if (image->wants_data_file && !image->data_file) {
        return "data-file-not-opened";
    }
    switch (link->chain->broken.code) {
    case IMG_NOT_FOUND:
        return "backing-missing";
    case IMG_UNDECLARED:
        return "backing-format-not-recorded";
    case IMG_FORMAT:
        return "backing-format-differs";
    case IMG_LOOP:
        return "backing-loop";
    case IMG_LIMIT:
        return "chain-too-deep";
    case IMG_LOCKED:
        return "backing-in-use";
    case IMG_DENIED:
        return "backing-denied";
    case IMG_OK:
    case IMG_USAGE:
    case IMG_SYSTEM:
    case IMG_IO:
    case IMG_CORRUPT:
    case IMG_UNSUPPORTED:
    case IMG_MEMORY:
    case IMG_CHANGED:
    case IMG_CANCELLED:
    case IMG_REFUSED:
        break;
    }
    return "backing-not-opened";
}

static void broken_tell(const struct link *link)
{
    const struct img_error *broken = &link->chain->broken;
    char path[448];

    img_escape(broken->path, strlen(broken->path), path, sizeof(path));
    tell(link, CHAIN_LINK_ERROR, broken_id(link), name_off(link->upper),
         "%s%s%s", path, path[0] ? ": " : "", broken->text);
}

/* A layer that is read as raw whatever it holds. */
static int contents_check(const struct link *link, struct img_error *err)
{
    const struct chain_layer *lower = link->lower;
    struct chain_probe probe;
    char path[448];

    if (strcmp(lower->image->format, "raw") != 0 || lower->is_probed) {
        return 0;
    }
    if (chain_probe(lower->file, &probe, err) < 0) {
        img_error_set_path(err, lower->path);
        return -1;
    }
    if (strcmp(probe.format->name, "raw") != 0) {
        img_escape(lower->path, strlen(lower->path), path, sizeof(path));
        tell(link, CHAIN_LINK_CORRUPTION, "backing-format-differs",
             name_off(link->upper),
             "the format of its backing file \"%s\" is recorded as raw: found "
             "an image of format %s, expected none",
             path, probe.format->name);
    }
    return 0;
}

static void format_name_check(const struct link *link)
{
    const struct qcow2_extensions *extensions =
        qcow2_image_extensions(link->upper->image);

    if (extensions && extensions->is_backing_format_hidden) {
        tell(link, CHAIN_LINK_NOTE, "backing-format-hidden",
             extensions->backing_format_off,
             "the backing format stands behind an extension of unaligned "
             "length, where some readers do not find it");
    }
}

static void sizes_check(const struct link *link)
{
    uint64_t upper_len = link->upper->image->virtual_len;
    uint64_t lower_len = link->lower->image->virtual_len;
    char path[448];

    if (upper_len == lower_len) {
        return;
    }
    img_escape(link->lower->path, strlen(link->lower->path), path,
               sizeof(path));
    tell(link, CHAIN_LINK_NOTE,
         upper_len < lower_len ? "backing-longer" : "backing-shorter",
         name_off(link->upper),
         "its backing file \"%s\" is %s: found %llu bytes, here are %llu (%s)",
         path, upper_len < lower_len ? "longer" : "shorter",
         (unsigned long long)lower_len, (unsigned long long)upper_len,
         upper_len < lower_len ? "its end is not seen"
                               : "what it lacks reads as zeros");
}

int chain_link_check(const struct chain *chain, size_t idx,
                     void (*told)(void *opaque,
                                  const struct chain_link_problem *problem),
                     void *opaque, struct img_error *err)
{
    const struct link link = {
        .chain = chain,
        .upper = chain->layers[idx],
        .lower = idx + 1 < chain->nr ? chain->layers[idx + 1] : NULL,
        .told = told,
        .opaque = opaque,
    };

    if (!link.lower) {
        if (chain_broken(chain)) {
            broken_tell(&link);
        }
        return 0;
    }
    format_name_check(&link);
    sizes_check(&link);
    return contents_check(&link, err);
}
