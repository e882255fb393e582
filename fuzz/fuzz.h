/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the fuzz targets share.
 *
 * A target is one function, LLVMFuzzerTestOneInput; libFuzzer or replay.c
 * calls it. Targets of decoders below the header begin with a prefix that
 * stands for the header: see fuzz_prefix.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <qcow2/header.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What must hold whatever the input is; ends the program where it does not. */
#define fuzz_require(condition)                                                \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fuzz_broken(__FILE__, __LINE__, #condition);                       \
        }                                                                      \
    } while (0)
_Noreturn void fuzz_broken(const char *file, int line, const char *condition);

/* A failure has a code and one printable line of text. */
void fuzz_require_error(const struct img_error *err);

/*
 * The first FUZZ_PREFIX_LEN bytes as the geometry of an image:
 *   0     bit 0: version 3; bit 1: extended L2; bit 2: external data file
 *   1     cluster_bits, folded into what the flags allow
 *   2     refcount_order, modulo 7
 *   3     unused
 *   4..7  length of the file in sectors, big-endian
 * False when the input is shorter.
 */
#define FUZZ_PREFIX_LEN 8u
struct fuzz_geometry {
    struct qcow2_header header;
    uint64_t file_len;
};
bool fuzz_prefix(const uint8_t *data, size_t len, struct fuzz_geometry *out);

/*
 * Open and describe the bytes as FORMAT, one that is only described: its
 * contents cannot be read, and what it says of itself is within limits.
 */
void fuzz_open_described(const char *format, const uint8_t *data, size_t len);

#endif
