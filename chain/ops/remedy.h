/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Remedies: shell commands that put right what a check found. All words are
 * quoted. Each function returns fresh text (free with free()), or NULL when
 * no command can help or memory ran out; a check without a remedy is still a
 * good check.
 */
#ifndef CHAIN_OPS_REMEDY_H
#define CHAIN_OPS_REMEDY_H

#include "judge.h"

/* Make the destination anew as the operation wants it. What is there is
   moved aside first, not lost (a block device is written over). */
char *chain_remedy_recreate(const struct chain_judge *judge);
/* The same for a name that leads to no file, or only to a link: it goes. */
char *chain_remedy_create(const struct chain_judge *judge, bool remove_first);

/* Record NAME and FORMAT as the backing file, contents untouched. NULL for
   either: what the operation expects. */
char *chain_remedy_rebase(const struct chain_judge *judge, const char *name,
                          const char *format);

/* The same where the whole header has to be laid out anew: imgchain's own
   rebase leaves alone what need not change. */
char *chain_remedy_rewrite(const struct chain_judge *judge, const char *name,
                           const char *format);
/* "PROGRAM rebase -u -f FORMAT". */
char *chain_remedy_rebase_program(const char *format);

/* The same request again, with what is not NULL instead. */
struct chain_remedy_request {
    const char *dest;
    const char *dest_format;
    bool drop_synchronous;
};
char *chain_remedy_ask_again(const struct chain_judge *judge,
                             const struct chain_remedy_request *change);

/* "PROGRAM WORD... FILE": the last one quoted as a path. */
char *chain_remedy_command(const char *program, const char *path);

/* FIRST && SECOND; takes both over. Either may be NULL. */
char *chain_remedy_both(char *first, char *second);

#endif
