/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of words that options bring: see words.h. */
#include "words.h"

#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

int words_push(struct words *words, char *word, struct img_error *err)
{
    char **grown;

    if (!word) {
        return -1;
    }
    grown = reallocarray(words->at, words->nr + 1, sizeof(*grown));
    if (!grown) {
        free(word);
        return img_fail_memory(err);
    }
    words->at = grown;
    words->at[words->nr++] = word;
    return 0;
}

void words_fini(struct words *words)
{
    for (size_t i = 0; i < words->nr; i++) {
        free(words->at[i]);
    }
    free(words->at);
    *words = (struct words){.at = NULL};
}

const char *words_take(const char *text, char **word, struct img_error *err)
{
    char *out = img_calloc(1, strlen(text) + 1, err);

    *word = out;
    if (!out) {
        return NULL;
    }
    while (*text && (text[0] != ',' || text[1] == ',')) {
        text += *text == ',' ? 1 : 0;
        *out++ = *text++;
    }
    return text;
}

char *words_extract(struct words *words, const char *name)
{
    size_t len = strlen(name), left = 0;
    char *found = NULL;

    for (size_t i = 0; i < words->nr; i++) {
        char *word = words->at[i];
        if (strncmp(word, name, len) == 0 && word[len] == '=') {
            free(found);
            found = word;
        } else {
            words->at[left++] = word;
        }
    }
    words->nr = left;
    return found;
}

/* The switches among the options that qemu-img lets stand without a value. */
static bool is_switch(const char *name)
{
    static const char *const switches[] = {"lazy_refcounts", "extended_l2",
                                           "data_file_raw", "nocow",
                                           "encryption"};

    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
        if (strcmp(name, switches[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* WORD is used up. */
static char *option_text_of(char *word, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *own = word;

    if (!strchr(own, '=')) {
        if (is_switch(own)) {
            return img_text(err, "%s=on", own);
        }
        if (strncmp(own, "no", 2) == 0 && is_switch(own + 2)) {
            return img_text(err, "%s=off", own + 2);
        }
        img_fail(err, IMG_USAGE, "has an option without a value");
        return NULL;
    }
    return img_steal(&own);
}

int words_add_options(struct words *words, const char *text, bool *wants_help,
                      struct img_error *err)
{
    for (;;) {
        char *word;

        text = words_take(text, &word, err);
        if (!text) {
            return -1;
        }
        if (!word[0]) {
            free(word);
            return img_fail(err, IMG_USAGE, "has an empty option");
        }
        if (strcmp(word, "help") == 0 || strcmp(word, "?") == 0) {
            *wants_help = true;
            free(word);
        } else if (words_push(words, option_text_of(word, err), err) < 0) {
            return -1;
        }
        if (!*text) {
            return 0;
        }
        text++;
    }
}
