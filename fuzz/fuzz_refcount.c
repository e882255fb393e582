/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refcounts of every width in one block: after the prefix, a length byte and
 * the block's first bytes, then commands of 10 bytes (entry, value). Each is
 * what a plain reading of the specification says, and setting one leaves the
 * others alone.
 */
#include <string.h>

#include <img/bytes.h>
#include <qcow2/refcount.h>

#include "fuzz.h"

#define BLOCK_LEN 512u
#define COMMAND_LEN 10u

/* Bit by bit: entry IDX begins at bit IDX * WIDTH; below a byte the least
   significant bits come first, above it the most significant bytes. */
static uint64_t plain_get(const uint8_t *block, uint64_t idx, uint32_t bits)
{
    uint64_t value = 0;

    if (bits < 8) {
        for (uint32_t i = 0; i < bits; i++) {
            uint64_t bit = idx * bits + i;

            value |= (uint64_t)(block[bit / 8] >> bit % 8 & 1) << i;
        }
        return value;
    }
    for (uint32_t i = 0; i < bits / 8; i++) {
        value = value << 8 | block[idx * (bits / 8) + i];
    }
    return value;
}

static void set_one(const struct qcow2_header *h, uint8_t *block,
                    const uint8_t *command)
{
    uint32_t bits = 1u << h->refcount_order;
    uint64_t nr = qcow2_refcount_block_entries(h);
    uint64_t idx = img_load_be16(command) % nr;
    uint64_t value = img_load_be64(command + 2);
    uint64_t other = (idx + 1 + value % 3) % nr;
    uint64_t kept = plain_get(block, other, bits);

    if (value > qcow2_refcount_max(h)) {
        value &= qcow2_refcount_max(h);
    }
    fuzz_require(qcow2_refcount_get(h, block, idx) ==
                 plain_get(block, idx, bits));
    qcow2_refcount_set(h, block, idx, value);
    fuzz_require(plain_get(block, idx, bits) == value);
    fuzz_require(other == idx || plain_get(block, other, bits) == kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t block[BLOCK_LEN] = {0};
    struct fuzz_geometry g;
    size_t used;

    if (!fuzz_prefix(data, len, &g) || len == FUZZ_PREFIX_LEN) {
        return 0;
    }
    g.header.cluster_bits = 9;
    g.header.cluster_len = BLOCK_LEN;
    used = data[FUZZ_PREFIX_LEN];
    data += FUZZ_PREFIX_LEN + 1;
    len -= FUZZ_PREFIX_LEN + 1;
    used = used > len ? len : used;
    memcpy(block, data, used);
    fuzz_require(qcow2_refcount_block_entries(&g.header) ==
                 BLOCK_LEN * 8 >> g.header.refcount_order);
    for (size_t i = used; i + COMMAND_LEN <= len; i += COMMAND_LEN) {
        set_one(&g.header, block, data + i);
    }
    return 0;
}
