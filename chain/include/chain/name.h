/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backing names: the text that a header records -> a reference to a file, and
 * back. No file is looked at but by chain_name_relative and
 * chain_name_absolute.
 *
 * What stands before the first '/' decides, as in QEMU and libvirt: a ':'
 * there makes a protocol name, of which only "file:" and "json:" are read;
 * everything else is a path, absolute or relative to the folder of the image
 * that names it.
 */
#ifndef CHAIN_NAME_H
#define CHAIN_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

enum chain_name_style {
    CHAIN_NAME_RELATIVE,
    CHAIN_NAME_ABSOLUTE,
    CHAIN_NAME_FILE_PROTOCOL, /* file:PATH: QEMU reads it, libvirt does not */
    CHAIN_NAME_JSON_PORTABLE, /* json:{"file":{"driver":"file",...}} */
    CHAIN_NAME_JSON_OTHER,    /* another json: that names a file */
};

/* What kind of file QEMU's driver for it insists on. */
enum chain_ref_kind {
    CHAIN_REF_ANY,     /* a plain path */
    CHAIN_REF_REGULAR, /* json driver "file" */
    CHAIN_REF_BLOCK,   /* json driver "host_device" */
};

/* What a name refers to. Zeroed is empty; free with chain_ref_fini. */
struct chain_ref {
    enum chain_name_style style;
    enum chain_ref_kind kind;
    char *path;     /* as spelled. Only one of style RELATIVE is joined to
                       a folder; a relative path after file: or in json: is
                       relative to the process's working directory */
    char *format;   /* from a json: format driver; NULL: not said */
    bool has_slice; /* raw driver's offset and size */
    uint64_t slice_off;
    uint64_t slice_len;        /* UINT64_MAX: to the end */
    bool is_backing_null;      /* json "backing": null ends the chain */
    struct chain_ref *backing; /* json "backing": {...}, or NULL */
};

/*
 * Parse NAME. IMG_UNSUPPORTED for a protocol or json driver that names no
 * local file (nbd:, http:, rbd ...), named in the text; IMG_FORMAT for json
 * that is broken or has options this program does not know; IMG_LIMIT for
 * nesting deeper than JSON allows.
 */
int chain_name_parse(const char *name, struct chain_ref *out,
                     struct img_error *err);
void chain_ref_fini(struct chain_ref *ref);

/*
 * The path of a relative name against the folder of FROM as FROM is spelled
 * (no symlink is resolved, nothing is normalised), as QEMU and libvirt do;
 * an absolute name as it is. Free with free().
 */
char *chain_name_join(const char *from, const char *path,
                      struct img_error *err);

/* The path of REF, which the image at FROM names: joined where its style is
   relative, as it is spelled otherwise. Free with free(). */
char *chain_ref_resolve(const struct chain_ref *ref, const char *from,
                        struct img_error *err);

/*
 * The text by which an image at FROM, a path that need not exist yet, names
 * the file at TO relative to its own folder: what QEMU and libvirt resolve,
 * without following links in FROM as it is spelled, to the same file. Looks at
 * the file system: the folders' links are followed where ".." needs it, and
 * the result is checked to lead to TO's inode. IMG_UNSUPPORTED where no such
 * text exists. Never mistaken for a protocol ("./" in front of "a:b"). Free
 * with free().
 */
char *chain_name_relative(const char *from, const char *to,
                          struct img_error *err);
/* The absolute path of TO, links in its folder followed, as text for a header.
 */
char *chain_name_absolute(const char *to, struct img_error *err);

/*
 * A FILE operand of the command line: a path whatever characters it has,
 * but "json:{..." and whole URIs: "file:///PATH" is that path, others
 * ("nbd://", "nbd+unix://" ...) are IMG_UNSUPPORTED.
 */
int chain_operand_parse(const char *operand, struct chain_ref *out,
                        struct img_error *err);

/*
 * TEXT as one word of a POSIX shell's command, on one line and free of control
 * bytes: as it is where it is harmless, else in single quotes, or
 * "$(printf '...')" when it has control bytes or is not UTF-8. NULL with
 * IMG_UNSUPPORTED when it ends in a newline, which no such word can. Free with
 * free().
 */
char *chain_shell_quote(const char *text, struct img_error *err);
/*
 * The same for a file that is an operand: "./" goes in front of a relative
 * path that begins with '-' or has a ':' before its first '/', so that
 * neither an option nor a protocol is read into it.
 */
char *chain_shell_quote_path(const char *path, struct img_error *err);

#endif
