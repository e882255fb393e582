/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chains for the targets of whole commands: files in a folder of the
 * process's own, in memory where the system has such a file system. No name
 * that an image holds leads out of it: chains are opened with it as their
 * only root.
 */
#ifndef FUZZ_FOLDER_H
#define FUZZ_FOLDER_H

#include <chain/view.h>

#include "image.h"

/* What every chain target calls the fuzzed image. */
#define FUZZ_IMAGE "image.qcow2"

/* The folder as the only root. Made at the first call. */
const struct img_roots *folder_roots(void);
/* The absolute path of NAME, one of a few, in it. Never freed. */
const char *folder_path(const char *name);
/* Make the file NAME, or replace its bytes. */
void folder_put(const char *name, const void *bytes, size_t len);
/* Nothing is left of NAME. */
void folder_drop(const char *name);
/*
 * Sound images below the fuzzed one: base.raw and base.qcow2, which show the
 * same FOLDER_BASE_LEN bytes, and other.raw, which has some others. Put
 * afresh where a command may have changed them.
 */
#define FOLDER_BASE_LEN (96u << 10)
void folder_put_bases(void);

/* Has the chain of NAME, of FORMAT (NULL: probed), been opened? */
struct chain *folder_open(const char *name, const char *format);

/* What the guest of a chain sees. */
struct guest {
    uint8_t *bytes; /* NULL: it cannot be read whole */
    uint64_t len;
};
struct guest folder_read(const char *name, const char *format);
void guest_free(struct guest *guest);
/* Is the image NAME clean (or, with LEAKS, without corruptions)? Its external
   data file is not looked at. */
bool folder_is_clean(const char *name, bool leaks);

/* What a writer of the fuzzed image promises: noted before, required after. */
struct promise {
    bool is_clean; /* and laid out so that it can be changed at all */
    struct guest guest;
};
struct promise promise_note(const uint8_t *image, size_t len);
/* It is as clean as before, but for leaks where it FAILED. */
void promise_require_clean(const struct promise *promise, bool failed);
/* The guest sees the same, or where NEW_LEN is not that of before, zeros in
   what is new. */
void promise_require_contents(const struct promise *promise, uint64_t new_len);
void promise_free(struct promise *promise);

#endif
