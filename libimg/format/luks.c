/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LUKS version 1: the header, as QEMU's ImageInfoSpecificLUKS tells it
 * (room: format; LUKS1 On-Disk Format Specification 1.2.3, "The Partition
 * Header"). Nothing is decrypted.
 */
#include "formats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#define LUKS_MAGIC "LUKS\xba\xbe"
#define LUKS_MAGIC_LEN 6u
#define LUKS_VERSION 1u
#define LUKS_NAME_LEN 32u
#define LUKS_UUID_LEN 40u
#define LUKS_SLOTS_NR 8u
#define LUKS_SLOT_LEN 48u
#define LUKS_SLOT_ACTIVE 0x00ac71f3u
#define LUKS_SLOT_INACTIVE 0x0000deadu
#define SECTOR_LEN 512u

enum {
    OFF_VERSION = 6,
    OFF_CIPHER_NAME = 8,
    OFF_CIPHER_MODE = 40,
    OFF_HASH = 72,
    OFF_PAYLOAD = 104,
    OFF_KEY_BYTES = 108,
    OFF_ITERS = 164,
    OFF_UUID = 168,
    OFF_SLOTS = 208,
};

/* The ciphers that QEMU knows, by the header's name and bytes of key. */
static const struct {
    const char *name;
    uint32_t key_bytes;
    const char *qemu_name;
} ciphers[] = {
    {"aes", 16, "aes-128"},         {"aes", 24, "aes-192"},
    {"aes", 32, "aes-256"},         {"cast5", 16, "cast5-128"},
    {"serpent", 16, "serpent-128"}, {"serpent", 24, "serpent-192"},
    {"serpent", 32, "serpent-256"}, {"twofish", 16, "twofish-128"},
    {"twofish", 24, "twofish-192"}, {"twofish", 32, "twofish-256"},
};

static const char *const cipher_modes[] = {"ecb", "cbc", "xts", "ctr"};
static const char *const ivgens[] = {"plain", "plain64", "essiv"};
static const char *const hashes[] = {
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160",
};

#define NR(array) (sizeof(array) / sizeof((array)[0]))

static bool is_one_of(const char *word, const char *const *words, size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        if (strcmp(word, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int fail_name(const char *what, const char *found, struct img_error *err)
{
    char shown[160];

    img_escape(found, strlen(found), shown, sizeof(shown));
    return img_fail(err, IMG_UNSUPPORTED,
                    "LUKS %s: found \"%s\", which QEMU does not know", what,
                    shown);
}

/* The text field of LEN bytes at OFF, which must have a NUL in it. */
static const char *text_at(const uint8_t *bytes, size_t off, size_t len,
                           const char *what, struct img_error *err)
{
    if (memchr(bytes + off, '\0', len) == NULL) {
        img_fail_at(err, IMG_CORRUPT, off, "LUKS %s: not terminated by NUL",
                    what);
        return NULL;
    }
    return (const char *)bytes + off;
}

/*
 * "MODE-IVGEN" or "MODE-IVGEN:HASH", split in place; *hash is NULL when it
 * has none.
 */
static int split_mode(char *text, const char **ivgen, const char **hash,
                      struct img_error *err)
{
    char *dash = strchr(text, '-');

    if (dash == NULL) {
        fail_name("cipher mode", text, err);
        return -1;
    }
    char *colon = strchr(dash, ':');
    *hash = colon != NULL ? colon + 1 : NULL;
    if (colon != NULL) {
        *colon = '\0';
    }
    *dash = '\0';
    *ivgen = dash + 1;
    return 0;
}

static int describe_mode(const uint8_t *bytes, struct img_json *out,
                         bool *is_xts, struct img_error *err)
{
    char mode[LUKS_NAME_LEN];
    const char *ivgen = NULL;
    const char *hash = NULL;
    const char *text =
        text_at(bytes, OFF_CIPHER_MODE, LUKS_NAME_LEN, "cipher mode", err);

    if (text == NULL) {
        return -1;
    }
    memcpy(mode, text, sizeof(mode));
    if (split_mode(mode, &ivgen, &hash, err) < 0) {
        return -1;
    }
    if (!is_one_of(mode, cipher_modes, NR(cipher_modes))) {
        return fail_name("cipher mode", mode, err);
    }
    if (!is_one_of(ivgen, ivgens, NR(ivgens))) {
        return fail_name("initialisation vector generator", ivgen, err);
    }
    if (hash != NULL && !is_one_of(hash, hashes, NR(hashes))) {
        return fail_name("hash of the vector generator", hash, err);
    }
    if (hash == NULL && strcmp(ivgen, "essiv") == 0) {
        return img_fail(err, IMG_CORRUPT,
                        "LUKS cipher mode: found essiv without a hash");
    }
    *is_xts = strcmp(mode, "xts") == 0;
    img_json_set_string(out, "cipher-mode", mode);
    img_json_set_string(out, "ivgen-alg", ivgen);
    img_json_set_string(out, "ivgen-hash-alg", hash);
    return 0;
}

static int describe_cipher(const uint8_t *bytes, bool is_xts,
                           struct img_json *out, struct img_error *err)
{
    const char *name =
        text_at(bytes, OFF_CIPHER_NAME, LUKS_NAME_LEN, "cipher name", err);
    uint32_t key_bytes = img_load_be32(bytes + OFF_KEY_BYTES);

    if (name == NULL) {
        return -1;
    }
    /* XTS splits the key in two of the cipher's length. */
    if (is_xts && key_bytes % 2 != 0) {
        return img_fail_at(err, IMG_CORRUPT, OFF_KEY_BYTES,
                           "LUKS key length: found %" PRIu32
                           " bytes, expected an even number for xts",
                           key_bytes);
    }
    uint32_t cipher_bytes = is_xts ? key_bytes / 2 : key_bytes;
    for (size_t i = 0; i < NR(ciphers); i++) {
        if (strcmp(ciphers[i].name, name) == 0 &&
            ciphers[i].key_bytes == cipher_bytes) {
            img_json_set_string(out, "cipher-alg", ciphers[i].qemu_name);
            return 0;
        }
    }
    char shown[160];
    img_escape(name, strlen(name), shown, sizeof(shown));
    return img_fail(err, IMG_UNSUPPORTED,
                    "LUKS cipher: found \"%s\" with %" PRIu32
                    " bytes of key, which QEMU does not know",
                    shown, key_bytes);
}

static int describe_slot(const uint8_t *bytes, size_t idx,
                         struct img_json *slots, struct img_error *err)
{
    size_t off = OFF_SLOTS + idx * LUKS_SLOT_LEN;
    uint32_t state = img_load_be32(bytes + off);
    uint64_t key_off = (uint64_t)img_load_be32(bytes + off + 40) * SECTOR_LEN;

    if (state != LUKS_SLOT_ACTIVE && state != LUKS_SLOT_INACTIVE) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "LUKS key slot %zu: found state 0x%08" PRIx32
                           ", expected 0x%08x or 0x%08x",
                           idx, state, LUKS_SLOT_ACTIVE, LUKS_SLOT_INACTIVE);
    }
    if (key_off < IMG_LUKS_HEADER_LEN) {
        return img_fail_at(err, IMG_CORRUPT, off + 40,
                           "LUKS key slot %zu: found key material at offset "
                           "%" PRIu64 ", expected behind the header",
                           idx, key_off);
    }
    struct img_json *slot = img_json_object();
    img_json_set_bool(slot, "active", state == LUKS_SLOT_ACTIVE);
    if (state == LUKS_SLOT_ACTIVE) {
        img_json_set_u64(slot, "iters", img_load_be32(bytes + off + 4));
        img_json_set_u64(slot, "stripes", img_load_be32(bytes + off + 44));
    }
    img_json_set_u64(slot, "key-offset", key_off);
    img_json_push(slots, slot);
    return 0;
}

static int describe_into(const uint8_t *bytes, struct img_json *out,
                         struct img_error *err)
{
    bool is_xts = false;

    if (describe_mode(bytes, out, &is_xts, err) < 0 ||
        describe_cipher(bytes, is_xts, out, err) < 0) {
        return -1;
    }
    const char *hash = text_at(bytes, OFF_HASH, LUKS_NAME_LEN, "hash", err);
    const char *uuid = text_at(bytes, OFF_UUID, LUKS_UUID_LEN, "UUID", err);
    if (hash == NULL || uuid == NULL) {
        return -1;
    }
    if (!is_one_of(hash, hashes, NR(hashes))) {
        return fail_name("hash", hash, err);
    }
    img_json_set_string(out, "hash-alg", hash);
    img_json_set_string(out, "uuid", uuid);
    img_json_set_u64(out, "payload-offset",
                     (uint64_t)img_load_be32(bytes + OFF_PAYLOAD) * SECTOR_LEN);
    img_json_set_u64(out, "master-key-iters", img_load_be32(bytes + OFF_ITERS));
    /* Filled first: without memory what is set is freed. */
    struct img_json *slots = img_json_array();
    for (size_t i = 0; i < LUKS_SLOTS_NR; i++) {
        if (describe_slot(bytes, i, slots, err) < 0) {
            img_json_free(slots);
            return -1;
        }
    }
    img_json_set(out, "slots", slots);
    return 0;
}

static int check_magic(const uint8_t *bytes, size_t len, struct img_error *err)
{
    if (len < IMG_LUKS_HEADER_LEN) {
        return img_fail(err, IMG_CORRUPT,
                        "LUKS header: found %zu bytes, expected %u", len,
                        IMG_LUKS_HEADER_LEN);
    }
    if (memcmp(bytes, LUKS_MAGIC, LUKS_MAGIC_LEN) != 0) {
        return img_fail_at(err, IMG_FORMAT, 0, "not a LUKS header");
    }
    if (img_load_be16(bytes + OFF_VERSION) != LUKS_VERSION) {
        return img_fail_at(err, IMG_UNSUPPORTED, OFF_VERSION,
                           "LUKS version: found %u, expected %u",
                           img_load_be16(bytes + OFF_VERSION), LUKS_VERSION);
    }
    return 0;
}

int img_luks_describe(const uint8_t *bytes, size_t len, struct img_json **out,
                      struct img_error *err)
{
    if (check_magic(bytes, len, err) < 0) {
        return -1;
    }
    struct img_json *data = img_json_object();
    if (describe_into(bytes, data, err) < 0) {
        img_json_free(data);
        return -1;
    }
    *out = data;
    return 0;
}

bool img_luks_probe(const struct img_probe_bytes *bytes)
{
    return img_probe_has(bytes, 0, LUKS_MAGIC "\0\1", LUKS_MAGIC_LEN + 2);
}

static int luks_describe(struct img_image *image, struct img_json **out,
                         struct img_error *err)
{
    uint8_t header[IMG_LUKS_HEADER_LEN];
    struct img_json *data = NULL;

    if (img_file_read(image->file, header, sizeof(header), 0, err) < 0 ||
        img_luks_describe(header, sizeof(header), &data, err) < 0) {
        return -1;
    }
    return img_specific_info("luks", data, out, err);
}

static const struct img_image_ops luks_ops = {
    .describe = luks_describe,
    .free = img_described_free,
};

int img_luks_open(struct img_file *file, struct img_image **out,
                  struct img_error *err)
{
    uint8_t header[IMG_LUKS_HEADER_LEN];
    struct img_json *data = NULL;
    uint64_t file_len = img_align_up(img_file_len(file), SECTOR_LEN);

    if (img_file_read(file, header, sizeof(header), 0, err) < 0 ||
        img_luks_describe(header, sizeof(header), &data, err) < 0) {
        return -1;
    }
    img_json_free(data);
    uint64_t payload_off =
        (uint64_t)img_load_be32(header + OFF_PAYLOAD) * SECTOR_LEN;
    if (payload_off < IMG_LUKS_HEADER_LEN || payload_off > file_len) {
        return img_fail_at(err, IMG_CORRUPT, OFF_PAYLOAD,
                           "LUKS payload: found at offset %" PRIu64
                           ", expected behind the header and inside the "
                           "file's %" PRIu64 " bytes",
                           payload_off, file_len);
    }
    struct img_image *image =
        img_described_new(file, "luks", file_len - payload_off, err);
    if (image == NULL) {
        return -1;
    }
    image->ops = &luks_ops;
    image->is_encrypted = true;
    *out = image;
    return 0;
}
