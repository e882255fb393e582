/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feature profiles: which features of an image would that reader not
 * understand? The table's facts and where they come from stand in
 * docs/inspect.md.
 */
#include "profile.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <chain/inspect.h>
#include <img/bytes.h>

/* Incompatible features of qcow2, by the releases that brought them. */
#define BITS_2_12 (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT)
#define BITS_4_0 (BITS_2_12 | QCOW2_INCOMPAT_DATA_FILE)
#define BITS_5_1 (BITS_4_0 | QCOW2_INCOMPAT_COMPRESSION)
#define BITS_5_2 (BITS_5_1 | QCOW2_INCOMPAT_EXTENDED_L2)
/* What has no data files, but knows the rest. */
#define BITS_NO_DATA (BITS_5_2 & ~QCOW2_INCOMPAT_DATA_FILE)
/* How much of a file libvirt looks at (VIR_STORAGE_MAX_HEADER). */
#define LIBVIRT_HEAD_LEN 33280u
/* Extensions that go-qcow2reader reads at most. */
#define GO_EXTENSIONS_MAX 256u
/* Where feature bits stand in version 3, and oslo looks in any version. */
#define FEATURES_OFF 72u

enum {
    LACKS_ZSTD = 1u << 0,
    LACKS_AES = 1u << 1,  /* crypt_method 1 */
    LACKS_LUKS = 1u << 2, /* crypt_method 2 */
    LACKS_BACKING = 1u << 3,
    SHORT_HEAD = 1u << 4,      /* sees only the first bytes of the file */
    FEW_EXTENSIONS = 1u << 5,  /* stops at a number of them */
    V2_FEATURE_BITS = 1u << 6, /* takes what follows a v2 header for bits */
};

static const char qemu_formats[] =
    " qcow2 raw qcow qed vmdk vdi vpc vhdx luks parallels bochs cloop dmg ";
static const char libvirt_formats[] =
    " qcow2 raw qcow qed vmdk vdi vpc luks bochs cloop dmg ";
static const char oslo_formats[] = " qcow2 raw vmdk vdi vpc vhdx luks ";
static const char go_formats[] = " qcow2 raw ";

static const struct chain_profile {
    const char *name;
    const char *summary;
    uint64_t incompatible; /* bits that it reads */
    const char *formats;
    unsigned flags;
} profiles[] = {
    {"qemu-2.12", "QEMU 2.12: no data files, zstd or extended L2", BITS_2_12,
     qemu_formats, LACKS_AES | LACKS_ZSTD},
    {"qemu-3", "QEMU 3: as 2.12", BITS_2_12, qemu_formats,
     LACKS_AES | LACKS_ZSTD},
    {"qemu-4", "QEMU 4: data files, no zstd or extended L2", BITS_4_0,
     qemu_formats, LACKS_AES | LACKS_ZSTD},
    {"qemu-5.0", "QEMU 5.0: as 4", BITS_4_0, qemu_formats,
     LACKS_AES | LACKS_ZSTD},
    {"qemu-5.1", "QEMU 5.1: zstd, no extended L2", BITS_5_1, qemu_formats,
     LACKS_AES},
    {"qemu-5.2", "QEMU 5.2: all of today", BITS_5_2, qemu_formats, LACKS_AES},
    {"qemu-6", "QEMU 6: all of today", BITS_5_2, qemu_formats, LACKS_AES},
    {"qemu-7", "QEMU 7: all of today", BITS_5_2, qemu_formats, LACKS_AES},
    {"qemu-8", "QEMU 8: all of today", BITS_5_2, qemu_formats, LACKS_AES},
    {"qemu-9", "QEMU 9: all of today", BITS_5_2, qemu_formats, LACKS_AES},
    {"qemu-10", "QEMU 10: all of today", BITS_5_2, qemu_formats, LACKS_AES},
    {"libvirt-9", "libvirt 9: no data files, backing names near the start",
     BITS_NO_DATA, libvirt_formats, LACKS_AES | SHORT_HEAD},
    {"libvirt-10", "libvirt 10 before 10.10: as 9", BITS_NO_DATA,
     libvirt_formats, LACKS_AES | SHORT_HEAD},
    {"libvirt-11", "libvirt 11: data files too", BITS_5_2, libvirt_formats,
     LACKS_AES | SHORT_HEAD},
    {"oslo", "oslo.utils format_inspector: refuses extended L2 and references",
     BITS_NO_DATA & ~QCOW2_INCOMPAT_EXTENDED_L2, oslo_formats,
     LACKS_BACKING | V2_FEATURE_BITS},
    {"go-qcow2reader", "go-qcow2reader: no data files, zstd or encryption",
     BITS_NO_DATA, go_formats,
     LACKS_AES | LACKS_LUKS | LACKS_ZSTD | FEW_EXTENSIONS},
};

#define PROFILES_NR (sizeof(profiles) / sizeof(profiles[0]))

const char *chain_profile_at(size_t idx, const char **summary)
{
    if (idx >= PROFILES_NR) {
        return NULL;
    }
    *summary = profiles[idx].summary;
    return profiles[idx].name;
}

const struct chain_profile *chain_profile_find(const char *name)
{
    for (size_t i = 0; i < PROFILES_NR; i++) {
        if (strcmp(profiles[i].name, name) == 0) {
            return &profiles[i];
        }
    }
    return NULL;
}

static const char *bit_name(uint64_t bit)
{
    switch (bit) {
    case QCOW2_INCOMPAT_DIRTY:
        return "the dirty bit";
    case QCOW2_INCOMPAT_CORRUPT:
        return "the corrupt bit";
    case QCOW2_INCOMPAT_DATA_FILE:
        return "an external data file";
    case QCOW2_INCOMPAT_COMPRESSION:
        return "a compression type of its own";
    case QCOW2_INCOMPAT_EXTENDED_L2:
        return "extended L2 entries";
    default:
        return "an unknown incompatible feature";
    }
}

static bool is_v2_refused(const struct chain_profile *profile,
                          const struct chain_profiled *image)
{
    return (profile->flags & V2_FEATURE_BITS) && image->header->version == 2 &&
           image->head_len >= FEATURES_OFF + 8 &&
           (img_load_be64(image->head + FEATURES_OFF) &
            ~profile->incompatible) != 0;
}

/* Backing name or format where the reader does not look. */
static bool is_head_too_short(const struct chain_profile *profile,
                              const struct chain_profiled *image)
{
    const struct qcow2_header *header = image->header;

    return (profile->flags & SHORT_HEAD) && header->backing_name_off != 0 &&
           (header->backing_name_off + header->backing_name_len >
                LIBVIRT_HEAD_LEN ||
            image->extensions->is_backing_format_hidden);
}

static const char *qcow2_obstacle(const struct chain_profile *profile,
                                  const struct chain_profiled *image)
{
    const struct qcow2_header *header = image->header;
    uint64_t unread = header->incompatible & ~profile->incompatible;
    unsigned flags = profile->flags;

    if (unread != 0) {
        return bit_name(unread & -unread);
    }
    if ((flags & LACKS_ZSTD) && header->compression == QCOW2_COMPRESSION_ZSTD) {
        return "zstd compression";
    }
    if (((flags & LACKS_AES) && header->crypt_method == QCOW2_CRYPT_AES) ||
        ((flags & LACKS_LUKS) && header->crypt_method == QCOW2_CRYPT_LUKS)) {
        return "its encryption";
    }
    if ((flags & LACKS_BACKING) && header->backing_name_off != 0) {
        return "a backing file";
    }
    if (is_head_too_short(profile, image)) {
        return "a backing name or format past what it looks at";
    }
    if ((flags & FEW_EXTENSIONS) &&
        image->extensions->unknown_nr > GO_EXTENSIONS_MAX) {
        return "so many header extensions";
    }
    return is_v2_refused(profile, image)
               ? "what follows its version 2 header, which it takes for "
                 "feature bits"
               : NULL;
}

const char *chain_profile_obstacle(const struct chain_profile *profile,
                                   const struct chain_profiled *image,
                                   char buf[CHAIN_PROFILE_TEXT_LEN])
{
    char word[32];
    const char *what = NULL;

    (void)snprintf(word, sizeof(word), " %s ", image->format);
    if (!strstr(profile->formats, word)) {
        what = "the format";
    } else if (image->header) {
        what = qcow2_obstacle(profile, image);
    }
    if (!what) {
        return NULL;
    }
    (void)snprintf(buf, CHAIN_PROFILE_TEXT_LEN, "%s: %s", profile->name, what);
    return buf;
}
