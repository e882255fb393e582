/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stamp of validate. The files that it names are looked for, so all "/" are
 * taken out: only what is in the working folder may be opened.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/validate.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct img_error err = {0};
    char *text = malloc(len > 0 ? len : 1);

    fuzz_require(text != NULL);
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)(data[i] == '/' ? '_' : data[i]);
    }
    /* No stamp knows its file's inode by chance. */
    fuzz_require(chain_stamp_check(text, len, &err) < 0);
    fuzz_require_error(&err);
    free(text);
    return 0;
}
