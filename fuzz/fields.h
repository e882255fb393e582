/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the fields of a qcow2 image lie in its bytes, found by following the
 * header with no trust in it: for the mutator. Shares nothing with the
 * decoders that are fuzzed.
 */
#ifndef FUZZ_FIELDS_H
#define FUZZ_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_kind {
    FIELD_NUMBER,   /* a count, a date, an order */
    FIELD_LEN,      /* a length in bytes */
    FIELD_FLAGS,    /* bits */
    FIELD_TYPE,     /* of a header extension */
    FIELD_POINTER,  /* an offset in the file */
    FIELD_ENTRY,    /* an offset with flags: L1, refcount and bitmap tables */
    FIELD_L2,       /* the same, of an L2 table */
    FIELD_SUBS,     /* subclusters of an extended L2 entry */
    FIELD_REFCOUNT, /* bytes of a refcount block */
    FIELD_TEXT,     /* bytes of a name */
    FIELD_KINDS,
};

struct field {
    uint32_t off; /* in the image */
    uint8_t width;
    uint8_t kind; /* enum field_kind */
};

/* Where the fields of the header are. */
enum header_off {
    HEADER_VERSION = 4,
    HEADER_BACKING_OFF = 8,
    HEADER_BACKING_LEN = 16,
    HEADER_CLUSTER_BITS = 20,
    HEADER_SIZE = 24,
    HEADER_CRYPT = 32,
    HEADER_L1_ENTRIES = 36,
    HEADER_L1_OFF = 40,
    HEADER_REFTABLE_OFF = 48,
    HEADER_REFTABLE_CLUSTERS = 56,
    HEADER_SNAPSHOTS_NR = 60,
    HEADER_SNAPSHOTS_OFF = 64,
    HEADER_INCOMPATIBLE = 72,
    HEADER_COMPATIBLE = 80,
    HEADER_AUTOCLEAR = 88,
    HEADER_REFCOUNT_ORDER = 96,
    HEADER_HEADER_LEN = 100,
    HEADER_COMPRESSION = 104,
};

#define FIELDS_MAX 4096u

struct fields {
    const uint8_t *data;
    size_t len;
    uint32_t version, cluster_len, l2_entry_len, refcount_bits;
    uint64_t extensions_end; /* where the end mark stands, or would */
    struct field items[FIELDS_MAX];
    size_t nr;
    /* How many there are of each kind. */
    size_t of_kind[FIELD_KINDS];
};

/* Big-endian numbers of 1, 2, 4 or 8 bytes. */
uint64_t field_load(const uint8_t *p, unsigned width);
void field_store(uint8_t *p, unsigned width, uint64_t value);

/* False when DATA is too short for a header: then there are no fields. */
bool fields_find(const uint8_t *data, size_t len, struct fields *out);

#endif
