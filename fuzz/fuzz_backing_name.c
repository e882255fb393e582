/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A backing name, and the same text as a file operand. */
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

#include "fuzz.h"

static void check_ref(const struct chain_ref *ref)
{
    IMG_AUTO(img_free_ptr) char *joined = NULL;
    struct img_error err = {0};

    fuzz_require(ref->path != NULL && ref->path[0] != '\0');
    joined = chain_name_join("folder/overlay.qcow2", ref->path, &err);
    fuzz_require(joined != NULL);
    if (ref->path[0] == '/') {
        fuzz_require(strcmp(joined, ref->path) == 0);
    } else {
        fuzz_require(strncmp(joined, "folder/", 7) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    IMG_AUTO(img_free_ptr) char *name = NULL;
    struct chain_ref ref = {0};
    struct img_error err = {0};

    name = img_strndup((const char *)data, len, &err);
    fuzz_require(name != NULL);
    if (chain_name_parse(name, &ref, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        check_ref(&ref);
    }
    chain_ref_fini(&ref);

    ref = (struct chain_ref){0};
    if (chain_operand_parse(name, &ref, &err) < 0) {
        fuzz_require_error(&err);
    }
    chain_ref_fini(&ref);
    return 0;
}
