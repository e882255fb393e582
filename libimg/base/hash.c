/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHA-256, by nettle: see img/hash.h. Room: libimg/base. */
#include <img/hash.h>

#include <stdlib.h>

#include <nettle/sha2.h>

#include <img/memory.h>

_Static_assert(IMG_SHA256_LEN == SHA256_DIGEST_SIZE, "SHA-256");

struct img_sha256 {
    struct sha256_ctx ctx;
};

int img_sha256_new(struct img_sha256 **out, struct img_error *err)
{
    *out = img_calloc(1, sizeof(**out), err);
    if (!*out) {
        return -1;
    }
    sha256_init(&(*out)->ctx);
    return 0;
}

void img_sha256_free(struct img_sha256 *hash)
{
    free(hash);
}

void img_sha256_update(struct img_sha256 *hash, const void *bytes, size_t len)
{
    sha256_update(&hash->ctx, len, bytes);
}

void img_sha256_final(struct img_sha256 *hash, uint8_t out[IMG_SHA256_LEN])
{
    sha256_digest(&hash->ctx, IMG_SHA256_LEN, out);
}

void img_sha256_of(const void *bytes, size_t len, uint8_t out[IMG_SHA256_LEN])
{
    struct sha256_ctx ctx;

    sha256_init(&ctx);
    sha256_update(&ctx, len, bytes);
    sha256_digest(&ctx, IMG_SHA256_LEN, out);
}

void img_sha256_text(const uint8_t digest[IMG_SHA256_LEN],
                     char out[IMG_SHA256_TEXT_LEN])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < IMG_SHA256_LEN; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[IMG_SHA256_TEXT_LEN - 1] = '\0';
}
