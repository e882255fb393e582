/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of words that options bring: -o a=b,c=d and the like. */
#ifndef WORDS_H
#define WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include <img/error.h>

/* Zeroed is empty. The words are the list's own. */
struct words {
    char **at;
    size_t nr;
};

/* Takes WORD, which may be NULL (ERR is filled in already). */
int words_push(struct words *words, char *word, struct img_error *err);
void words_fini(struct words *words);

/*
 * The next word of TEXT, a list with commas between: its end is returned and
 * *word is what stands before it, with doubled commas made single ones (free
 * with free()). NULL with ERR filled in when memory ran out.
 */
const char *words_take(const char *text, char **word, struct img_error *err);

/*
 * Add the options of a list as qemu-img's -o has it: "name=value", or "name"
 * for "name=on" and "noname" for "name=off" where NAME is a switch. IMG_USAGE
 * for an empty one. *wants_help: "help" or "?" is among them.
 */
int words_add_options(struct words *words, const char *text, bool *wants_help,
                      struct img_error *err);

/* Take the words "NAME=..." out: the last of them, to be freed with free(), or
   NULL. */
char *words_extract(struct words *words, const char *name);

#endif
