/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The overlay whose backing file is to change: opened once, alone, and kept
 * while chains are opened over it.
 */
#ifndef CHAIN_OPS_OVERLAY_H
#define CHAIN_OPS_OVERLAY_H

#include <chain/rebase.h>
#include <img/image.h>
#include <qcow2/edit.h>

struct chain_overlay {
    const struct chain_rebase_request *request;
    struct chain *chain; /* it alone, without backing file */
    /* All borrowed from it. */
    struct img_file *file;
    struct img_file *data_file; /* NULL: none */
    struct img_image *image;
    const char *path;
    const struct qcow2_header *header;
    const struct qcow2_extensions *extensions; /* the backing it records */
    bool is_writable;
};

/* Open REQUEST's image, for writing (with a writer's locks) or for reading
   only. IMG_UNSUPPORTED when it is not qcow2. */
int chain_overlay_open(const struct chain_rebase_request *request,
                       bool writable, struct chain_overlay *out,
                       struct img_error *err);
void chain_overlay_fini(struct chain_overlay *overlay);

/* Its chain as recorded (NAME NULL), or as if NAME, of FORMAT, stood in its
   header ("": none). */
int chain_overlay_chain(const struct chain_overlay *overlay, const char *name,
                        const char *format, struct chain **out,
                        struct img_error *err);
/* An editor for it that need not tell bitmaps of what it writes. */
int chain_overlay_edit(const struct chain_overlay *overlay,
                       struct qcow2_edit **out, struct img_error *err);

/* What its header is to record. */
struct chain_backing {
    char *name;   /* NULL: none */
    char *format; /* NULL: none, or not known yet */
};
void chain_backing_fini(struct chain_backing *backing);
/*
 * Raw is believed of any file, and shows garbage where it is wrong: IMG_FORMAT
 * when FORMAT, that of CHAIN's layer 1, is raw and the file looks like another.
 */
int chain_backing_check_raw(const struct chain *chain, const char *format,
                            struct img_error *err);

/*
 * What REQUEST asks for: the name is parsed and brought into the style that is
 * wanted, the format taken from the request, a json: name, or the header.
 * With force a name that is not understood is taken as it is.
 */
int chain_overlay_wish(const struct chain_overlay *overlay,
                       struct chain_backing *out, struct img_error *err);
/* Is that recorded already? */
bool chain_overlay_has(const struct chain_overlay *overlay,
                       const struct chain_backing *backing);

/*
 * NAME, which the image at PATH records or is to record, in another style.
 * IMG_UNSUPPORTED for a json: name that says more than a path.
 */
char *chain_name_restyle(const char *path, const char *name,
                         enum chain_name_style_wish style,
                         struct img_error *err);

/*
 * Record BACKING, after an undo record was kept unless the request wants none:
 * its path is left in *undo_path (NULL: none was made).
 */
int chain_overlay_switch(const struct chain_overlay *overlay,
                         struct qcow2_edit *edit,
                         const struct chain_backing *backing, char **undo_path,
                         struct img_error *err);

#endif
