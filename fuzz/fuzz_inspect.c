/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What inspect looks at in a whole file: every claim, and for what each of
 * them opens as: references, the strict look, the look for what is cut off,
 * and the survey of qcow2's tables.
 */
#include <chain/formats.h>
#include <img/file.h>
#include <img/reference.h>
#include <qcow2/image.h>

#include "fuzz.h"

static void look(struct img_file *file, const struct img_format *format)
{
    struct img_image *image = NULL;
    struct img_references references;
    struct qcow2_survey survey;
    struct img_error err = {0};

    if (format->open(file, &image, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    if (img_image_references(image, &references, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        fuzz_require(image->backing_name == NULL ||
                     references.nr[IMG_REFERENCE_BACKING] > 0);
        img_references_fini(&references);
    }
    if (format->strict != NULL && format->strict(file, &err) < 0) {
        fuzz_require_error(&err);
    }
    if (format->complete != NULL && format->complete(file, &err) < 0) {
        fuzz_require_error(&err);
    }
    if (format == &qcow2_format) {
        if (qcow2_image_survey(image, &survey, &err) < 0) {
            fuzz_require_error(&err);
        } else {
            fuzz_require(survey.tables <= survey.l1_used);
            fuzz_require(survey.tables_absent <= survey.tables);
        }
    }
    img_image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t head[IMG_PROBE_HEAD_LEN], tail[IMG_PROBE_TAIL_LEN];
    struct chain_claim claims[CHAIN_CLAIMS_MAX];
    struct img_probe_bytes bytes;
    struct img_file *file = NULL;
    struct img_error err = {0};

    if (img_file_from_memory("fuzz", data, len, &file, &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    if (img_probe_load(file, head, tail, &bytes, &err) == 0) {
        size_t nr = chain_claims(&bytes, claims);
        fuzz_require(nr <= CHAIN_CLAIMS_MAX);
        for (size_t i = 0; i < nr; i++) {
            const struct img_format *format = chain_format_find(claims[i].name);
            if (format != NULL) {
                look(file, format);
            }
        }
    }
    img_file_unref(file);
    return 0;
}
