/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's XML with other paths in it: what goes stale in domains, snapshots
 * and checkpoints when images move. Everything else stays, byte for byte.
 *
 * Paths are those of images: the sources of disks, of what the XML says lies
 * below them, of mirrors and external data; the memory file of a snapshot; the
 * NVRAM and what a kernel is booted from. A path that is not one (a network
 * name, a volume) is left alone.
 */
#ifndef CHAIN_REWRITE_H
#define CHAIN_REWRITE_H

#include <chain/virt.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHAIN_PATH_MAP_MAX 65536u /* rules */

/* Rules: what lies at OLD, or below it, lies at NEW. */
struct chain_path_map;

IMG_PUBLIC int chain_path_map_new(struct chain_path_map **out,
                                  struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_path_map_free(struct chain_path_map *map);
/*
 * Add a rule. Both are absolute; slashes at the end, and doubled ones, do not
 * count. IMG_USAGE: a path that is not absolute, or a second rule for OLD;
 * IMG_LIMIT.
 */
IMG_PUBLIC int chain_path_map_add(struct chain_path_map *map,
                                  const char *old_path, const char *new_path,
                                  struct img_error *err);
/* The same from "OLD=NEW"; the first "=" parts them, "\=" is one and "\\" a
   backslash. */
IMG_PUBLIC int chain_path_map_parse(struct chain_path_map *map,
                                    const char *rule, struct img_error *err);
/*
 * Where PATH lies by the rules: the longest OLD that is PATH, or a folder that
 * it lies in, decides. *OUT: NULL where no rule has it, or it stays the same;
 * else free with free(). MAP may be NULL.
 */
IMG_PUBLIC int chain_path_map_apply(const struct chain_path_map *map,
                                    const char *path, char **out,
                                    struct img_error *err);
/* How often rule IDX (in the order they were added) has decided; to tell of
   rules that met nothing. */
IMG_PUBLIC size_t chain_path_map_used(const struct chain_path_map *map,
                                      size_t idx);
IMG_PUBLIC size_t chain_path_map_len(const struct chain_path_map *map);
/* OLD of rule IDX, as it is compared. Borrowed. */
IMG_PUBLIC const char *chain_path_map_old(const struct chain_path_map *map,
                                          size_t idx);

struct chain_rewrite {
    const struct chain_path_map *map; /* NULL: paths stay */
    const char *uuid; /* of the domain, in all places; NULL: as it is */
    const char *name; /* of the domain; NULL: as it is */
    /*
     * Called with OPAQUE for each path, by its place ("disk vda", "memory"),
     * and where it goes (NULL: it stays). May be NULL.
     */
    void (*seen)(void *opaque, const char *place, const char *old_path,
                 const char *new_path);
    void *opaque;
};

/*
 * TEXT, a <domain>, <domstatus>, <domainsnapshot> or <domaincheckpoint> of LEN
 * bytes that errors call NAME, rewritten. *OUT is terminated; free with free();
 * *CHANGED_NR (NULL is fine): how many values differ. Fails as
 * chain_virt_domain_parse, and IMG_UNSUPPORTED for a path that XML cannot hold.
 */
IMG_PUBLIC int chain_rewrite(const char *text, size_t len, const char *name,
                             const struct chain_rewrite *wish, char **out,
                             size_t *changed_nr, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
