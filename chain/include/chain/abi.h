/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Would a guest notice? Two documents of one domain compared: the one that its
 * memory was saved with, and the one that it is to go on with.
 *
 * libvirt has a list of what must stay (virDomainDefCheckABIStability) and
 * ignores everything else. Here it is the other way round: there is a list of
 * what may change, and what is not on it must stay, so that nothing is let
 * through only because it is not known. docs/saved-image.md has the list, and
 * where this is stricter than libvirt.
 */
#ifndef CHAIN_ABI_H
#define CHAIN_ABI_H

#include <stddef.h>

#include <img/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHAIN_ABI_MAX_DIFFERENCES 64u /* that are kept; the rest is counted */

enum chain_abi_kind {
    CHAIN_ABI_BREAKS, /* libvirt refuses it, or would not know */
    CHAIN_ABI_SEEN,   /* libvirt lets it through, but the guest sees it */
};

struct chain_abi_difference {
    enum chain_abi_kind kind;
    char *text;    /* one line, escaped: "Target disk vda: serial 'B' does not
                      match source 'A'" */
    unsigned line; /* of the new document; 0: it is not there */
};

struct chain_abi {
    struct chain_abi_difference *list; /* those that break first */
    size_t nr, left_off_nr;
    size_t breaks_nr, seen_nr; /* of all */
};

/*
 * Compare the <domain> in OLD with that in NEW, texts of so many bytes that
 * errors call by their names. 0 whatever is found; fails as
 * chain_virt_domain_parse. *OUT: free with chain_abi_fini.
 */
IMG_PUBLIC int chain_abi_compare(const char *old_text, size_t old_len,
                                 const char *old_name, const char *new_text,
                                 size_t new_len, const char *new_name,
                                 struct chain_abi *out, struct img_error *err);
/* Zeroed is empty. */
IMG_PUBLIC void chain_abi_fini(struct chain_abi *abi);

#ifdef __cplusplus
}
#endif
#endif
