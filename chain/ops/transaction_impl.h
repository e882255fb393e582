/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A transaction, for its own files: see chain/transaction.h. */
#ifndef CHAIN_OPS_TRANSACTION_IMPL_H
#define CHAIN_OPS_TRANSACTION_IMPL_H

#include <chain/transaction.h>

#include "journal.h"

/* One change, and what becomes of it in the journal (file of the same
   index). */
struct chain_transaction_item {
    struct chain_change change; /* path: as it was given */
    char *path;
    size_t folder; /* index */
    char *name;
    char *stage; /* where the caller makes its file; NULL before the stage is
                    there */
};

/*
 * transaction_make.c: the new file of ITEM, in STAGE_FD under its own name, or
 * for a patch what is to be written, is there and flushed; FILE gets inode and
 * length. What the caller made is only looked at.
 */
int chain_transaction_make(const struct chain_transaction_item *item,
                           const struct chain_journal_folder *folder,
                           struct chain_journal_file *file,
                           struct img_error *err);
/* Is the old file of ITEM still the one that the plan tells of? It is flushed,
   and FILE gets to know it. */
int chain_transaction_check_old(const struct chain_transaction_item *item,
                                const struct chain_journal_folder *folder,
                                struct chain_journal_file *file,
                                struct img_error *err);

#endif
