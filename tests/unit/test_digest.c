/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Digesting: the standard's own vectors, many threads and little memory give
 * the same, cancelling, and files that change meanwhile. That digests are
 * right is shown against sha256sum elsewhere.
 */
#include <chain/digest.h>
#include <img/hash.h>

#include "mover_support.h"

#define LEN (8u << 20)

static struct img_error err;

START_TEST(test_vectors)
{
    /* FIPS 180-4's examples. */
    uint8_t digest[IMG_SHA256_LEN];
    char text[IMG_SHA256_TEXT_LEN];

    img_sha256_of("abc", 3, digest);
    img_sha256_text(digest, text);
    ck_assert_str_eq(text, "ba7816bf8f01cfea414140de5dae2223"
                           "b00361a396177a9cb410ff61f20015ad");
    img_sha256_of("", 0, digest);
    img_sha256_text(digest, text);
    ck_assert_str_eq(text, "e3b0c44298fc1c149afbf4c8996fb924"
                           "27ae41e4649b934ca495991b7852b855");
}
END_TEST

START_TEST(test_pieces_are_one)
{
    uint8_t whole[IMG_SHA256_LEN], pieces[IMG_SHA256_LEN];
    struct img_sha256 *hash;

    img_sha256_of("abc", 3, whole);
    ck_assert_int_eq(img_sha256_new(&hash, &err), 0);
    for (int i = 0; i < 2; i++) {
        img_sha256_update(hash, "a", 1);
        img_sha256_update(hash, "bc", 2);
        img_sha256_final(hash, pieces);
        ck_assert_mem_eq(whole, pieces, sizeof(whole));
    }
    img_sha256_free(hash);
}
END_TEST

struct disk {
    struct scratch scratch;
    struct chain *chain;
    struct chain_view *view;
    const char *path;
};

static void disk_open(struct disk *disk)
{
    struct chain_options options;
    uint8_t *bytes = calloc(1, LEN);

    ck_assert_ptr_nonnull(bytes);
    scratch_open(&disk->scratch);
    scratch_fill(bytes + LEN / 4, LEN / 2, 5);
    disk->path = scratch_write(&disk->scratch, "disk", bytes, LEN - 512, 0);
    free(bytes);
    chain_options_init(&options);
    options.format = "raw";
    ck_assert_int_eq(chain_open(disk->path, &options, &disk->chain, &err), 0);
    ck_assert_int_eq(chain_view_new(disk->chain, 0, &disk->view, &err), 0);
}

static void disk_close(struct disk *disk)
{
    chain_view_free(disk->view);
    chain_free(disk->chain);
    scratch_close(&disk->scratch);
}

START_TEST(test_threads_and_memory_do_not_matter)
{
    struct disk disk;
    struct chain_digest_options options = {.kind = CHAIN_DIGEST_BLOCKS};
    struct chain_digest_result first, other;

    disk_open(&disk);
    ck_assert_int_eq(chain_digest(disk.view, &options, &first, &err), 0);
    ck_assert_uint_eq(first.len, LEN - 512);
    ck_assert_uint_eq(first.read_len, first.len);
    ck_assert_uint_eq(first.zero_len, LEN / 2 - 512);
    for (unsigned threads = 1; threads <= 8; threads++) {
        options.threads = threads;
        options.budget_len = threads % 2 ? 1 : 4u << 20;
        ck_assert_int_eq(chain_digest(disk.view, &options, &other, &err), 0);
        ck_assert_mem_eq(first.digest, other.digest, sizeof(first.digest));
    }
    disk_close(&disk);
}
END_TEST

START_TEST(test_cancelled)
{
    struct disk disk;
    int cancel = 1;
    struct chain_digest_result result;

    disk_open(&disk);
    for (int kind = CHAIN_DIGEST_BLOCKS; kind <= CHAIN_DIGEST_FLAT; kind++) {
        struct chain_digest_options options = {
            .kind = (enum chain_digest_kind)kind, .cancel = &cancel};

        ck_assert_int_eq(chain_digest(disk.view, &options, &result, &err), -1);
        ck_assert_int_eq((int)err.code, IMG_CANCELLED);
    }
    disk_close(&disk);
}
END_TEST

static void touch(void *opaque, uint64_t done, uint64_t total)
{
    const struct disk *disk = opaque;

    (void)done;
    (void)total;
    ck_assert_int_eq(truncate(disk->path, 2 * LEN), 0);
}

START_TEST(test_changed_meanwhile)
{
    struct disk disk;
    struct chain_digest_options options = {
        .kind = CHAIN_DIGEST_BLOCKS, .progress = touch, .opaque = &disk};
    struct chain_digest_result result;

    disk_open(&disk);
    ck_assert_int_eq(chain_digest(disk.view, &options, &result, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_CHANGED);
    ck_assert_str_eq(err.path, disk.path);
    disk_close(&disk);
}
END_TEST

UNIT_SUITE("digest", test_vectors, test_pieces_are_one,
           test_threads_and_memory_do_not_matter, test_cancelled,
           test_changed_meanwhile)
