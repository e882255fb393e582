/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * compare: an image and a raw file with what its guest sees are identical;
 * with one byte changed they differ there; what cannot be read is unproven.
 * Arguments: 0 to 3 where the byte is; 4 bit 0: with one thread or two.
 */
#include <stdlib.h>

#include <chain/compare.h>
#include <img/checked.h>

#include "folder.h"

/* Disks too large to be read whole are compared that far. */
#define WINDOW_LEN (1u << 20)
#define TWIN "twin.raw"

static void compare(const uint8_t *args, struct chain_compare_result *result)
{
    struct chain_compare_options options = {
        .threads = 1 + (args[4] & 1),
        .engine = 2,
        .limit_len = WINDOW_LEN,
        .budget_len = 4u << 20,
        .all = args[4] & 2,
    };
    struct chain *a = folder_open(FUZZ_IMAGE, "qcow2");
    struct chain *b = folder_open(TWIN, "raw");
    struct chain_view *view_a = NULL, *view_b = NULL;
    struct img_error err = {0};

    *result = (struct chain_compare_result){.verdict = CHAIN_UNPROVEN};
    fuzz_require(b != NULL && chain_view_new(b, 0, &view_b, &err) == 0);
    if (a != NULL && chain_view_new(a, 0, &view_a, &err) < 0) {
        fuzz_require_error(&err);
    } else if (a != NULL) {
        fuzz_require(chain_compare(view_a, view_b, &options, result, &err) ==
                     0);
    }
    if (result->verdict == CHAIN_UNPROVEN && view_a != NULL) {
        fuzz_require_error(&result->why);
    }
    chain_view_free(view_a);
    chain_view_free(view_b);
    chain_free(a);
    chain_free(b);
}

static void compare_with_twin(const uint8_t *args, struct guest *guest)
{
    uint64_t at = (uint64_t)args[0] << 24 | (uint64_t)args[1] << 16 |
                  (uint64_t)args[2] << 8 | args[3];
    struct chain_compare_result result;

    folder_put(TWIN, guest->bytes, guest->len);
    compare(args, &result);
    fuzz_require(result.verdict == CHAIN_IDENTICAL);
    if (guest->len > 0) {
        at %= guest->len;
        guest->bytes[at] ^= 1;
        folder_put(TWIN, guest->bytes, guest->len);
        compare(args, &result);
        fuzz_require(result.verdict == CHAIN_DIFFERENT);
        fuzz_require(result.has_difference && result.first_difference == at);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    struct chain_compare_result result;
    struct guest guest;

    len = fuzz_args(data, len, args);
    folder_put_bases();
    folder_put(FUZZ_IMAGE, data, len);
    guest = folder_read(FUZZ_IMAGE, "qcow2");
    if (guest.bytes != NULL) {
        compare_with_twin(args, &guest);
    } else {
        folder_put(TWIN, "", 0);
        compare(args, &result);
        if (guest.len <= FUZZ_DISK_MAX) {
            /* Something cannot be read: never the same, whatever it is. */
            fuzz_require(result.verdict != CHAIN_IDENTICAL);
        }
    }
    guest_free(&guest);
    return 0;
}
