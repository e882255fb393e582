/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All that libvirt has on record of one domain in one file, to be carried to
 * another host: the domain's own XML, its snapshots, its checkpoints.
 *
 * A bundle is JSON:
 *
 *     {"format": "imgchain-metadata", "version": 1, "made-by": "imgchain
 * 0.1.0", "domain": "<domain ...>", "current": "s2", "snapshots": [{"name":
 * "s1", "xml": "<domainsnapshot>..."}, ...], "checkpoints": [{"name": "c1",
 * "xml": "<domaincheckpoint>..."}, ...]}
 *
 * "domain", "current" and "checkpoints" may be missing. Documents are the bytes
 * that they were. Reading is strict: another version, another key, a name that
 * is not the document's, one that is there twice, a "current" that is no
 * snapshot, and any document that does not parse is refused.
 */
#ifndef CHAIN_BUNDLE_H
#define CHAIN_BUNDLE_H

#include <chain/metadata.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHAIN_BUNDLE_MAX_LEN (128u << 20) /* bytes of the file */

/* Zeroed is empty. */
struct chain_bundle {
    char *made_by; /* NULL: not known */
    char *domain;  /* XML; NULL: it is not in it */
    struct chain_metadata *snapshots;
    struct chain_metadata *checkpoints; /* NULL: they are not in it */
};

/* Release what is in it. */
IMG_PUBLIC void chain_bundle_fini(struct chain_bundle *bundle);

/*
 * The text of a bundle, made by MADE_BY; parents stand before their children.
 * IMG_USAGE for documents without a name, or two of one name. *TEXT: free with
 * free().
 */
IMG_PUBLIC int chain_bundle_encode(const struct chain_bundle *bundle,
                                   char **text, size_t *len,
                                   struct img_error *err);
/*
 * The LEN bytes of TEXT, which errors call NAME, into the empty OUT.
 * IMG_FORMAT, IMG_UNSUPPORTED (another version), IMG_LIMIT.
 */
IMG_PUBLIC int chain_bundle_decode(const char *text, size_t len,
                                   const char *name, struct chain_bundle *out,
                                   struct img_error *err);
/* The file PATH, confined by ROOTS, which may be NULL. */
IMG_PUBLIC int chain_bundle_read(const char *path,
                                 const struct img_roots *roots,
                                 struct chain_bundle *out,
                                 struct img_error *err);
/* Does the file PATH begin as a bundle does (and not as XML)? */
IMG_PUBLIC bool chain_bundle_is_one(const char *path);

#ifdef __cplusplus
}
#endif
#endif
