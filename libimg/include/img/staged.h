/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A staged file: another file as it will be once some changes were made.
 *
 * What is written stays in memory, page by page; the file below is only read.
 * So a whole change can be worked out, looked at and checked before the first
 * byte of the file is touched. Reading is as with any file, from any thread
 * while nobody writes. Writing belongs to one thread.
 */
#ifndef IMG_STAGED_H
#define IMG_STAGED_H

#include <img/write.h>

/*
 * Stage changes of BELOW (own reference; it need not be writable). PAGE_LEN is
 * a power of two from 512 to 4096. Pages take at most MAX_MEMORY bytes: a
 * write beyond that fails (ENOMEM, which is IMG_MEMORY). The file may grow and
 * shrink whatever it is, even a device; what is new reads as zeros.
 */
int img_file_staged(struct img_file *below, uint32_t page_len,
                    uint64_t max_memory, struct img_file **out,
                    struct img_error *err);

/* Was a page refused for want of memory under the limit? */
bool img_staged_is_full(const struct img_file *file);

/*
 * The offsets of the pages that were written, ascending: *NR of them, an array
 * to be released with free() (NULL when there are none).
 */
int img_staged_pages(struct img_file *file, uint64_t **out, size_t *nr,
                     struct img_error *err);

#endif
