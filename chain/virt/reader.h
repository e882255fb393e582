/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What reading a document shares: refusals, copies of strings, numbers, and
 * words of which libvirt knows only some. Room: chain/virt.
 *
 * A reader goes on after a failure, which is memory or a limit: the first one
 * is kept, and whoever began looks at is_failed when all is read.
 */
#ifndef VIRT_READER_H
#define VIRT_READER_H

#include <stdint.h>

#include <chain/virt.h>

#include "tree.h"

struct virt_reader {
    struct chain_virt_refusals *refusals;
    struct img_error *err; /* the failure, if is_failed */
    bool is_failed;
    bool is_checked; /* libvirt not only reads, but also checks, what it is
                        given: not so what lies in a snapshot */
    /* What is read now, for refusals: "disk" and its name; NULL: itself. */
    const char *subject_kind, *subject;
};

/* libvirt's errors, by name. */
#define VIRT_XML_ERROR "XML_ERROR"
#define VIRT_CONFIG "CONFIG_UNSUPPORTED"
#define VIRT_INTERNAL "INTERNAL_ERROR"
#define VIRT_SCHEMA "XML_INVALID_SCHEMA"

/* libvirt refuses what stands at NODE's line, with its error ID. */
void virt_refuse(struct virt_reader *reader, const struct virt_node *node,
                 const char *id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* A failure with a code and its text; the first one stays. */
void virt_fail(struct virt_reader *reader, enum img_code code,
               const struct virt_node *node, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* A copy of TEXT; NULL for NULL, and where memory is out. */
char *virt_copy(struct virt_reader *reader, const char *text);
/* The same of NODE's attribute NAME, of the text in its child NAME. */
char *virt_copy_attribute(struct virt_reader *reader,
                          const struct virt_node *node, const char *name);
char *virt_copy_child(struct virt_reader *reader, const struct virt_node *node,
                      const char *name);

/* NR items of SIZE bytes, zeroed; NULL where there are none or no memory. */
void *virt_items(struct virt_reader *reader, size_t nr, size_t size);

/*
 * The attribute NAME, which libvirt refuses when it is none of WORDS, with the
 * error ID.
 */
char *virt_word(struct virt_reader *reader, const struct virt_node *node,
                const char *name, const char *const *words, const char *id);
/* The place of TEXT in WORDS, which end in NULL; -1: it is none of them. */
int virt_word_find(const char *const *words, const char *text);

/* Decimal, 64 bits, nothing behind it, as libvirt takes numbers: blanks and a
   plus may stand before it. */
bool virt_number(const char *text, uint64_t *out);

/* The whole number in NODE's child NAME, as libvirt takes one of a moment;
   false: there is none. */
bool virt_child_number(struct virt_reader *reader, const struct virt_node *node,
                       const char *name, int64_t *out);

/* Pairs of hexadecimal digits, 32 in all, with dashes and blanks between. */
bool virt_is_uuid(const char *text);

extern const char *const virt_locations[]; /* of snapshots: no, internal, ... */

#endif
