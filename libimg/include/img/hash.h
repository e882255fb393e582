/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SHA-256 (FIPS 180-4). Room: libimg/base; the one home of the library that
 * computes it.
 */
#ifndef IMG_HASH_H
#define IMG_HASH_H

#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

#define IMG_SHA256_LEN 32u
/* A digest in hexadecimal digits, with its NUL. */
#define IMG_SHA256_TEXT_LEN (2 * IMG_SHA256_LEN + 1)

/* A digest of bytes that come one after another. One thread at a time. */
struct img_sha256;

/* IMG_MEMORY. */
int img_sha256_new(struct img_sha256 **out, struct img_error *err);
/* NULL is fine. */
void img_sha256_free(struct img_sha256 *hash);
void img_sha256_update(struct img_sha256 *hash, const void *bytes, size_t len);
/* The digest of all so far; HASH is as new again. */
void img_sha256_final(struct img_sha256 *hash, uint8_t out[IMG_SHA256_LEN]);

/* The digest of LEN bytes. Any thread. */
void img_sha256_of(const void *bytes, size_t len, uint8_t out[IMG_SHA256_LEN]);

/* DIGEST in lower case. */
void img_sha256_text(const uint8_t digest[IMG_SHA256_LEN],
                     char out[IMG_SHA256_TEXT_LEN]);

#endif
