/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decoders that can be taken over: see hijack.h. */
#include "hijack.h"

#include <qcow2/bitmap.h>
#include <qcow2/entry.h>
#include <qcow2/header.h>
#include <qcow2/inflate.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define MAGIC "IMGCHAIN-HIJACK:"
#define MAGIC_OFF 4096u

enum where {
    NOWHERE,
    AT_HEADER,
    AT_BITMAP,
    AT_L2,
    AT_INFLATE,
};

static _Atomic enum where where;
static bool is_armed; /* by the first image that says so */

__attribute__((constructor)) static void prepare(void)
{
    attacks_prepare();
}

static void reach(enum where here)
{
    enum where wanted = here;

    if (atomic_compare_exchange_strong(&where, &wanted, NOWHERE)) {
        attacks_run();
    }
}

static void read_magic(const uint8_t *buf, size_t len)
{
    static const char *const names[] = {[AT_HEADER] = "header",
                                        [AT_BITMAP] = "bitmap",
                                        [AT_L2] = "l2",
                                        [AT_INFLATE] = "inflate"};
    const uint8_t *name = buf + MAGIC_OFF + strlen(MAGIC);

    if (is_armed || len < MAGIC_OFF + 512 ||
        memcmp(buf + MAGIC_OFF, MAGIC, strlen(MAGIC)) != 0) {
        return;
    }
    for (unsigned i = AT_HEADER; i <= AT_INFLATE; i++) {
        if (memcmp(name, names[i], strlen(names[i])) == 0) {
            where = i;
            is_armed = true;
        }
    }
}

int __real_qcow2_header_decode(const uint8_t *buf, size_t len,
                               struct qcow2_header *out, struct img_error *err);
int __wrap_qcow2_header_decode(const uint8_t *buf, size_t len,
                               struct qcow2_header *out, struct img_error *err);

int __wrap_qcow2_header_decode(const uint8_t *buf, size_t len,
                               struct qcow2_header *out, struct img_error *err)
{
    read_magic(buf, len);
    reach(AT_HEADER);
    return __real_qcow2_header_decode(buf, len, out, err);
}

int __real_qcow2_header_decode_lenient(const uint8_t *buf, size_t len,
                                       struct qcow2_header *out,
                                       struct img_error *err);
int __wrap_qcow2_header_decode_lenient(const uint8_t *buf, size_t len,
                                       struct qcow2_header *out,
                                       struct img_error *err);

int __wrap_qcow2_header_decode_lenient(const uint8_t *buf, size_t len,
                                       struct qcow2_header *out,
                                       struct img_error *err)
{
    read_magic(buf, len);
    reach(AT_HEADER);
    return __real_qcow2_header_decode_lenient(buf, len, out, err);
}

int __real_qcow2_l2_decode(const struct qcow2_header *header, uint64_t entry,
                           uint64_t bitmap, uint64_t guest_off,
                           uint64_t host_len_limit, struct qcow2_l2_entry *out,
                           struct img_error *err);
int __wrap_qcow2_l2_decode(const struct qcow2_header *header, uint64_t entry,
                           uint64_t bitmap, uint64_t guest_off,
                           uint64_t host_len_limit, struct qcow2_l2_entry *out,
                           struct img_error *err);

int __wrap_qcow2_l2_decode(const struct qcow2_header *header, uint64_t entry,
                           uint64_t bitmap, uint64_t guest_off,
                           uint64_t host_len_limit, struct qcow2_l2_entry *out,
                           struct img_error *err)
{
    reach(AT_L2);
    return __real_qcow2_l2_decode(header, entry, bitmap, guest_off,
                                  host_len_limit, out, err);
}

int __real_qcow2_bitmap_decode(const struct qcow2_header *header,
                               const uint8_t *buf, size_t len,
                               uint64_t directory_off, uint64_t file_len,
                               struct qcow2_bitmap *out, struct img_error *err);
int __wrap_qcow2_bitmap_decode(const struct qcow2_header *header,
                               const uint8_t *buf, size_t len,
                               uint64_t directory_off, uint64_t file_len,
                               struct qcow2_bitmap *out, struct img_error *err);

int __wrap_qcow2_bitmap_decode(const struct qcow2_header *header,
                               const uint8_t *buf, size_t len,
                               uint64_t directory_off, uint64_t file_len,
                               struct qcow2_bitmap *out, struct img_error *err)
{
    reach(AT_BITMAP);
    return __real_qcow2_bitmap_decode(header, buf, len, directory_off, file_len,
                                      out, err);
}

int __real_qcow2_inflate(struct img_inflater *inflater,
                         enum qcow2_compression compression, const void *in,
                         size_t in_len, void *out, size_t out_len,
                         struct img_error *err);
int __wrap_qcow2_inflate(struct img_inflater *inflater,
                         enum qcow2_compression compression, const void *in,
                         size_t in_len, void *out, size_t out_len,
                         struct img_error *err);

int __wrap_qcow2_inflate(struct img_inflater *inflater,
                         enum qcow2_compression compression, const void *in,
                         size_t in_len, void *out, size_t out_len,
                         struct img_error *err)
{
    reach(AT_INFLATE);
    return __real_qcow2_inflate(inflater, compression, in, in_len, out, out_len,
                                err);
}
