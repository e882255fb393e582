/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* holders: what was found, and its two forms. */
#ifndef HOLDERS_H
#define HOLDERS_H

#include <chain/holders.h>

#include "output.h"

enum holders_verdict {
    HOLDERS_UNUSED,
    HOLDERS_USED,
    HOLDERS_UNKNOWN, /* nobody was found, but not all could be looked at */
};

struct holders_sight {
    const char *const *paths; /* as given, one a file */
    const struct img_holders_file *files;
    size_t nr;
    struct img_holders *holders;
    struct chain_roles *roles;
    char **users; /* of each process */
};

enum holders_verdict holders_judge(const struct holders_sight *sight,
                                   size_t file);
/* Why it is unknown who uses FILE, or how many more may: "" if all was seen. */
#define HOLDERS_WHY_LEN 160u
const char *holders_blind_spot(const struct holders_sight *sight, size_t file,
                               char out[HOLDERS_WHY_LEN]);
/* The devices between the file and TARGET, the nearest to the file first; how
   many (at most MAX). */
size_t holders_way(const struct img_holders *holders, size_t target,
                   const char **out, size_t max);
#define HOLDERS_WAY_MAX 16u
/* "read-only", "read-write" or "write-only". Static. */
const char *holders_access(const struct img_holder *holder);

void holders_human(struct output *out, const struct holders_sight *sight);
void holders_json(struct output *out, const struct holders_sight *sight);

#endif
