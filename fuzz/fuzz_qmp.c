/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes from a QMP peer: however they are cut into pieces, the same messages
 * come out, and each of them is an object.
 */
#include <string.h>

#include <img/memory.h>

#include "../chain/live/qmp_lines.h"
#include "fuzz.h"

/* Feed DATA in pieces of STEP bytes; how many messages it has, or -1. */
static int count_messages(const uint8_t *data, size_t len, size_t step,
                          struct img_error *err)
{
    IMG_AUTO(qmp_lines_fini) struct qmp_lines lines = {0};
    int nr = 0;

    while (len > 0) {
        struct img_json *message = NULL;
        size_t room, n;
        char *at;

        if (qmp_lines_room(&lines, &at, &room, err) != 0) {
            return -1;
        }
        n = len < step ? len : step;
        n = n < room ? n : room;
        memcpy(at, data, n);
        qmp_lines_added(&lines, n);
        data += n;
        len -= n;
        do {
            img_json_free(message);
            if (qmp_lines_next(&lines, &message, err) != 0) {
                return -1;
            }
            fuzz_require(!message || img_json_type(message) == IMG_JSON_OBJECT);
            nr += message != NULL;
        } while (message);
    }
    return nr;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct img_error err = {0};
    int whole = count_messages(data, len, len, &err);
    int pieces;

    if (whole < 0) {
        fuzz_require_error(&err);
    }
    pieces = count_messages(data, len, 7, &err);
    fuzz_require(whole == pieces);
    return 0;
}
