/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about what the header says: features-known, header-valid,
 * extensions-known, state-clean, encryption, internal-state, profiles.
 */
#include <inttypes.h>
#include <string.h>

#include "inspect_impl.h"
#include "profile.h"

#define COMPAT_KNOWN QCOW2_COMPAT_LAZY_REFCOUNTS
#define AUTOCLEAR_KNOWN                                                        \
    (QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_DATA_FILE_RAW)
/* Where the header has its incompatible features. */
#define INCOMPATIBLE_OFF 72u

/* qcow2_features_check is what fails so. */
static bool is_feature_error(const struct inspect_file *file)
{
    const struct img_error *error = &file->image_error;

    return !file->image && file->driver == &qcow2_format &&
           error->code == IMG_UNSUPPORTED && error->has_off &&
           error->off == INCOMPATIBLE_OFF;
}

void inspect_features_known(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    const struct qcow2_header *header = file->header;

    if (is_feature_error(file)) {
        inspect_say_error(in, CHAIN_CHECK_FAIL, &file->image_error);
        return;
    }
    if (!header) {
        inspect_say(in, CHAIN_CHECK_SKIP, "%s",
                    file->image ? "does not apply: no qcow2 image"
                                : "not judged, because of header-valid");
        return;
    }
    uint64_t compatible = header->compatible & ~COMPAT_KNOWN;
    uint64_t autoclear = header->autoclear & ~AUTOCLEAR_KNOWN;
    if (compatible || autoclear) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "unknown features that a reader may ignore: compatible "
                    "0x%" PRIx64 ", autoclear 0x%" PRIx64,
                    compatible, autoclear);
        return;
    }
    inspect_say(in, CHAIN_CHECK_PASS, "all feature bits are known");
}

void inspect_header_valid(struct inspect *in)
{
    const struct inspect_file *file = in->file;

    if (file->image) {
        inspect_say(in, CHAIN_CHECK_PASS, "the header is within all limits");
    } else if (is_feature_error(file)) {
        inspect_say(in, CHAIN_CHECK_SKIP,
                    "not judged, because of features-known");
    } else {
        inspect_say_error(in, CHAIN_CHECK_FAIL, &file->image_error);
        if (inspect_is_unkept(&file->image_error)) {
            in->check.result = CHAIN_CHECK_UNPROVEN;
        } else if (file->image_error.code == IMG_LIMIT) {
            in->check.result = CHAIN_CHECK_FAIL;
        }
    }
}

void inspect_extensions_known(struct inspect *in)
{
    const struct qcow2_extensions *x = in->file->extensions;

    if (x->unknown_nr > 0) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "%zu header extension%s that this program does not know, "
                    "the first of type 0x%08" PRIx32,
                    x->unknown_nr, x->unknown_nr == 1 ? "" : "s",
                    x->unknown[0].type);
        return;
    }
    inspect_say(in, CHAIN_CHECK_PASS, "all header extensions are known");
}

void inspect_state_clean(struct inspect *in)
{
    const struct img_image *image = in->file->image;

    if (image->is_corrupt) {
        inspect_say(in, CHAIN_CHECK_FAIL,
                    "the image is marked corrupt: a program that wrote to it "
                    "found it damaged");
    } else if (image->is_dirty) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "the image is marked dirty: it was not closed, and what "
                    "opens it for writing repairs it first");
    } else {
        inspect_say(in, CHAIN_CHECK_PASS, "neither marked corrupt nor dirty");
    }
}

void inspect_encryption(struct inspect *in)
{
    if (in->file->image->is_encrypted) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "the contents are encrypted: nothing can be said about "
                    "them");
        return;
    }
    inspect_say(in, CHAIN_CHECK_PASS, "not encrypted");
}

void inspect_internal_state(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    uint32_t snapshots = file->header->snapshots_nr;
    uint32_t bitmaps =
        file->extensions->has_bitmaps ? file->extensions->bitmaps_nr : 0;

    if (snapshots > 0 || bitmaps > 0) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "it carries %" PRIu32 " internal snapshot%s and %" PRIu32
                    " bitmap%s, whose contents the guest does not show",
                    snapshots, snapshots == 1 ? "" : "s", bitmaps,
                    bitmaps == 1 ? "" : "s");
        return;
    }
    inspect_say(in, CHAIN_CHECK_PASS, "no internal snapshots or bitmaps");
}

void inspect_profiles(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    const char *const *names = in->request->profiles;
    const struct chain_profiled image = {
        .format = file->image->format,
        .header = file->header,
        .extensions = file->extensions,
        .head = file->bytes.head,
        .head_len = file->bytes.head_len,
    };
    char text[CHAIN_PROFILE_TEXT_LEN];

    if (!names || !names[0]) {
        inspect_say(in, CHAIN_CHECK_SKIP, "no reader was named (--profile)");
        return;
    }
    for (size_t i = 0; names[i]; i++) {
        const struct chain_profile *profile = chain_profile_find(names[i]);
        const char *obstacle = chain_profile_obstacle(profile, &image, text);
        if (obstacle) {
            inspect_say(in, CHAIN_CHECK_FAIL,
                        "a reader that was named does not take the image");
            inspect_found(in, "%s", obstacle);
            inspect_expected(in, "features that %s reads", names[i]);
            return;
        }
    }
    inspect_say(in, CHAIN_CHECK_PASS, "all readers that were named take it");
}
