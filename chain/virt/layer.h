/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sources and the images in them. Room: chain/virt. */
#ifndef VIRT_LAYER_H
#define VIRT_LAYER_H

#include "reader.h"

/* Formats of images, as libvirt calls them. */
bool virt_is_format(const char *name);

/* The type of that name (NULL: file); NONE: there is none. */
enum chain_virt_source_type virt_source_type(const char *word);

/* <source> NODE into OUT, whose type is set; NODE may be NULL. */
void virt_source_read(struct virt_reader *reader, const struct virt_node *node,
                      struct chain_virt_source *out);
void virt_source_fini(struct chain_virt_source *source);
/* No file, no network, no volume: an empty drive. */
bool virt_source_is_empty(const struct chain_virt_source *source);
/* A path of a file or a device that does not begin with a slash. */
bool virt_source_is_relative(const struct chain_virt_source *source);

/* What stands in a <source> of the type network. */
void virt_network_read(struct virt_reader *reader, const struct virt_node *node,
                       struct chain_virt_source *out);
/* Which <secret> it is, in an element called AROUND; its uuid or usage. */
char *virt_secret_read(struct virt_reader *reader, const struct virt_node *node,
                       const char *around);
/* <encryption> and <auth>, wherever they stand; NODE may be NULL. */
void virt_encryption_read(struct virt_reader *reader,
                          const struct virt_node *node,
                          struct chain_virt_source *out);
void virt_auth_read(struct virt_reader *reader, const struct virt_node *node,
                    struct chain_virt_source *out);

/* The <backingStore> in NODE, and those in it, below LAYER. */
void virt_backing_read(struct virt_reader *reader, const struct virt_node *node,
                       struct chain_virt_layer *layer);
/* A <mirror>: its <format>, <source> and <backingStore>. */
void virt_mirror_read(struct virt_reader *reader, const struct virt_node *node,
                      struct chain_virt_layer *layer);
void virt_layer_fini(struct chain_virt_layer *layer);

#endif
