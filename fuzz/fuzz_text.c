/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names from images made fit to be shown, and to be words of a shell. Byte 0:
 * how much room there is.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

#include "fuzz.h"

static void check_shown(const char *text, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        const uint8_t *p = (const uint8_t *)text + i;

        n = img_utf8_len(p, len - i);
        fuzz_require(n > 0);
        fuzz_require(n > 1 || (p[0] >= 0x20 && p[0] != 0x7f));
        /* C1 controls, and overrides of direction. */
        fuzz_require(n != 2 || p[0] != 0xc2 || p[1] >= 0xa0);
        fuzz_require(n != 3 || p[0] != 0xe2 || p[1] != 0x80 || p[2] < 0xaa ||
                     p[2] > 0xae);
    }
}

/* What a POSIX shell makes of TEXT in single quotes; NULL: it is no such. */
static char *unquote(const char *word)
{
    char *out = calloc(1, strlen(word) + 1);
    char *end = out;
    bool is_quoted = false;

    fuzz_require(out != NULL);
    for (; *word != '\0'; word++) {
        if (*word == '\'') {
            is_quoted = !is_quoted;
        } else if (!is_quoted && *word == '\\') {
            *end++ = *++word;
            fuzz_require(*word != '\0');
        } else {
            fuzz_require(is_quoted ||
                         strchr(" \t\n$`\"&|;<>()*?[]#~", *word) == NULL);
            *end++ = *word;
        }
    }
    fuzz_require(!is_quoted);
    return out;
}

static void check_word(const char *name)
{
    IMG_AUTO(img_free_ptr) char *word = NULL;
    IMG_AUTO(img_free_ptr) char *back = NULL;
    struct img_error err = {0};

    word = chain_shell_quote(name, &err);
    if (word == NULL) {
        fuzz_require(err.code == IMG_UNSUPPORTED);
        fuzz_require(name[strlen(name) - 1] == '\n');
        return;
    }
    check_shown(word, strlen(word));
    if (strncmp(word, "\"$(", 3) != 0) {
        back = unquote(word);
        fuzz_require(strcmp(back, name) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    IMG_AUTO(img_free_ptr) char *name = NULL;
    IMG_AUTO(img_free_ptr) char *room = NULL;
    struct img_error err = {0};
    size_t size, shown;

    if (len == 0) {
        return 0;
    }
    size = (size_t)data[0] * 8 + 1;
    room = malloc(size);
    fuzz_require(room != NULL);
    shown = img_escape((const char *)data + 1, len - 1, room, size);
    fuzz_require(shown < size && strlen(room) == shown);
    check_shown(room, shown);
    name = img_strndup((const char *)data + 1, len - 1, &err);
    fuzz_require(name != NULL);
    check_word(name);
    return 0;
}
