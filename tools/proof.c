/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much of a comparison was settled in which way. */
#include "proof.h"

#include "sheet.h"

struct img_json *proof_json(const struct chain_proof *proof)
{
    struct img_json *json = img_json_object();

    img_json_set_u64(json, "same-file", proof->same_file_len);
    img_json_set_u64(json, "both-zero", proof->both_zero_len);
    img_json_set_u64(json, "shared-extents", proof->shared_extents_len);
    img_json_set_u64(json, "read", proof->read_len);
    return json;
}

static void put(struct output *out, const char *label, uint64_t len)
{
    if (len > 0) {
        sheet_size(out, label, len);
    }
}

void proof_print(struct output *out, const struct chain_proof *proof)
{
    put(out, "  same file", proof->same_file_len);
    put(out, "  both zero", proof->both_zero_len);
    put(out, "  shared extents", proof->shared_extents_len);
    put(out, "  read", proof->read_len);
}
