/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files and texts, and which element they begin with. Room: chain/virt. */
#ifndef VIRT_DOCUMENT_H
#define VIRT_DOCUMENT_H

#include <img/roots.h>

#include "tree.h"

/* The text of the XML file PATH, terminated; free with free(). */
int virt_document_load(const char *path, const struct img_roots *roots,
                       char **text, size_t *len, struct img_error *err);

/* The same of at most MAX_LEN bytes of any text. */
int virt_document_load_within(const char *path, const struct img_roots *roots,
                              size_t max_len, char **text, size_t *len,
                              struct img_error *err);

/* What is made of a text: as the public functions, of any type. */
typedef int (*virt_parser)(const char *text, size_t len, const char *name,
                           void *out, struct img_error *err);

/* Parse what is in the file PATH into OUT. */
int virt_document_read(const char *path, const struct img_roots *roots,
                       virt_parser parser, void *out, struct img_error *err);

/* The tree of a text whose outermost element is EXPECTED, or OTHER if that is
   not NULL. Errors have NAME as their path. */
int virt_document_parse(const char *text, size_t len, const char *name,
                        const char *expected, const char *other,
                        struct virt_tree *out, struct img_error *err);
/* The same of one root, by virt_tree_parse_qemu. */
int virt_document_parse_qemu(const char *text, size_t len, const char *name,
                             const char *expected, struct virt_tree *out,
                             struct img_error *err);

#endif
