/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's saved images: the state of a domain that `virsh save`, a managed
 * save, or a snapshot with external memory has written.
 *
 *   offset 0    header, 92 bytes; five 32-bit numbers in it
 *   92          the domain's XML, ended by NUL
 *   92 + cookie the cookie's XML, ended by NUL (not in every image)
 *               zeros, so that a longer XML finds room
 *   92 + data   QEMU's memory stream, perhaps compressed, to the file's end
 *
 * Numbers stand in the byte order of the host that saved. Decoding is pure:
 * bytes in, values out. libvirt believes the header; here every number is
 * checked against the file first, and what cannot be right is IMG_CORRUPT.
 * Nothing here writes, and nothing touches the memory stream.
 */
#ifndef CHAIN_SAVED_H
#define CHAIN_SAVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <img/roots.h>

#ifdef __cplusplus
extern "C" {
#endif

struct img_file;

#define CHAIN_SAVED_HEADER_LEN 92u
#define CHAIN_SAVED_VERSION 2u /* the newest; libvirt takes 0 and 1, too */
/*
 * Bytes of XML, cookie and zeros together. libvirt sends XML of 4 MiB at most
 * and leaves 64 KiB of room; an honest image is far below.
 */
#define CHAIN_SAVED_MAX_LEN (16u << 20)
/* Of the memory stream, that its kind is told from. */
#define CHAIN_SAVED_STREAM_HEAD_LEN 16u

/* How the memory stream is stored: the header's numbers. */
enum chain_saved_compression {
    CHAIN_SAVED_RAW = 0,
    CHAIN_SAVED_GZIP = 1,
    CHAIN_SAVED_BZIP2 = 2,
    CHAIN_SAVED_XZ = 3,
    CHAIN_SAVED_LZOP = 4,
    CHAIN_SAVED_ZSTD = 5,   /* libvirt 11 */
    CHAIN_SAVED_SPARSE = 6, /* libvirt 11: not compressed, pages at fixed
                               places ("mapped-ram") */
    CHAIN_SAVED_COMPRESSIONS_NR,
    CHAIN_SAVED_UNKNOWN = CHAIN_SAVED_COMPRESSIONS_NR,
};
/* libvirt's word: "raw", "gzip", ...; "unknown". */
IMG_PUBLIC const char *chain_saved_compression_name(unsigned compression);

struct chain_saved_header {
    uint32_t version;
    uint32_t data_len;    /* of XML, cookie and zeros, from byte 92 on */
    uint32_t was_running; /* 0: paused */
    uint32_t compression; /* as it stands there, any number; libvirt heeds it
                             in version 2 alone */
    uint32_t cookie_off;  /* from byte 92; 0: no cookie */
    bool is_complete;     /* false: libvirt was still writing ("Part") */
    bool is_swapped;      /* of the other byte order than this host's */
    uint8_t unused[56];   /* zeros, so far */
};

/*
 * The header in the first LEN bytes of a file of FILE_LEN bytes (so LEN is at
 * least CHAIN_SAVED_HEADER_LEN or the file is too short). IMG_FORMAT: not
 * libvirt's, or of a later version; IMG_CORRUPT: numbers that do not fit the
 * file; IMG_LIMIT: more than CHAIN_SAVED_MAX_LEN. A header that libvirt never
 * came to complete is decoded all the same: see is_complete.
 */
IMG_PUBLIC int chain_saved_header_decode(const uint8_t *bytes, size_t len,
                                         uint64_t file_len,
                                         struct chain_saved_header *out,
                                         struct img_error *err);

/* A saved image, but for its memory. */
struct chain_saved {
    char *file; /* as given */
    uint64_t file_len;
    struct chain_saved_header header;
    char *xml; /* without its NUL; may be anything, also "" */
    size_t xml_len;
    char *cookie; /* NULL: none */
    size_t cookie_len;
    /* What the stream's first bytes say; UNKNOWN: nothing that is known. */
    enum chain_saved_compression stream;
    bool is_stream_empty; /* there is none */
};

/* Where the memory stream begins: what may be written ends there. */
IMG_PUBLIC uint64_t
chain_saved_region_len(const struct chain_saved_header *header);

/*
 * HEADER's region (XML and cookie) from the LEN = chain_saved_region_len bytes
 * at BYTES. IMG_CORRUPT: no NUL where there has to be one. The strings of OUT
 * are new; the stream is not looked at.
 */
IMG_PUBLIC int chain_saved_decode(const struct chain_saved_header *header,
                                  const uint8_t *bytes, size_t len,
                                  struct chain_saved *out,
                                  struct img_error *err);

/*
 * The region anew, LEN = chain_saved_region_len bytes at OUT: HEADER in this
 * host's byte order, XML, COOKIE (NULL: none) and zeros. IMG_LIMIT: they do
 * not fit; the text has both numbers.
 */
IMG_PUBLIC int chain_saved_encode(const struct chain_saved_header *header,
                                  const char *xml, const char *cookie,
                                  uint8_t *out, size_t len,
                                  struct img_error *err);

/* By its first bytes, at most CHAIN_SAVED_STREAM_HEAD_LEN of them. */
IMG_PUBLIC enum chain_saved_compression
chain_saved_stream_kind(const uint8_t *head, size_t len);

/*
 * Read the saved image PATH (a regular file; ROOTS may be NULL). An image that
 * libvirt did not complete is IMG_CORRUPT. Free with chain_saved_free.
 */
IMG_PUBLIC int chain_saved_read(const char *path, const struct img_roots *roots,
                                struct chain_saved **out,
                                struct img_error *err);
/* The same of an open file; WITH_PARTIAL: also one that is not complete. */
int chain_saved_load(struct img_file *file, bool with_partial,
                     struct chain_saved **out, struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_saved_free(struct chain_saved *saved);

/*
 * TEXT, a domain's XML of LEN bytes that errors call NAME, as virsh shows it
 * without --security-info: passwords of displays and cookies of network disks
 * are left out. *OUT is terminated; free with free().
 */
IMG_PUBLIC int chain_saved_hide(const char *text, size_t len, const char *name,
                                char **out, struct img_error *err);
/*
 * The same text with the devices of a PC that libvirt (9.0) does not store and
 * makes up when it reads it, as virsh shows it.
 */
IMG_PUBLIC int chain_saved_complete(const char *text, size_t len,
                                    const char *name, char **out,
                                    struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
