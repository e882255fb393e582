/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A report and its checks, while they are being written (chain/report.h is for
 * those who read it).
 *
 * Memory that runs out while a check is put together is remembered in the
 * report (is_out_of_memory), so that rules read as prose.
 */
#ifndef CHAIN_CHECKS_H
#define CHAIN_CHECKS_H

#include <stdarg.h>

#include <chain/report.h>
#include <img/file.h>

/* One file as it was when it was judged. */
struct chain_stamped {
    char *path;
    struct img_stamp stamp;
    uint32_t header_crc;
    bool is_moving; /* a guest writes it: it is not stamped */
    bool is_dest;   /* the destination itself */
};

struct chain_report {
    struct chain_check **checks; /* each stays where it is */
    size_t nr, room;
    struct chain_check spare; /* written to when memory has run out */
    struct chain_proof proof;
    struct chain_stamped *stamped;
    size_t stamped_nr;
    bool is_out_of_memory;
};

/* An empty one. */
struct chain_report *chain_report_new(struct img_error *err);
/* Move what FROM has to the end of INTO, as said about DISK (NULL: as it is),
   and free it. */
void chain_report_append(struct chain_report *into, struct chain_report *from,
                         const char *disk);

/* A new check; its result is CHAIN_CHECK_PASS until something else is said.
   Never NULL. */
struct chain_check *chain_report_add(struct chain_report *report,
                                     const char *id);

/* Release a check's texts. */
void chain_check_fini(struct chain_check *check);
/* Replace one of a check's texts. */
void chain_check_text(struct chain_report *report, const char **field,
                      const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
void chain_check_say(struct chain_report *report, struct chain_check *check,
                     enum chain_check_result result, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void chain_check_found(struct chain_report *report, struct chain_check *check,
                       const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void chain_check_expected(struct chain_report *report,
                          struct chain_check *check, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The result and message of an error, and its path as the check's image. */
void chain_check_say_error(struct chain_report *report,
                           struct chain_check *check,
                           enum chain_check_result result,
                           const struct img_error *err);
void chain_check_disk(struct chain_report *report, struct chain_check *check,
                      const char *disk);
void chain_check_moment(struct chain_report *report, struct chain_check *check,
                        const char *moment);
void chain_check_image(struct chain_report *report, struct chain_check *check,
                       const char *path);
/* Takes over REMEDY; NULL: no command can put it right. */
void chain_check_remedy(struct chain_check *check, char *remedy);

/* Escaped for one line; the buffer is the caller's. */
#define CHAIN_SHOWN_LEN 512u
const char *chain_shown(const char *text, char buf[CHAIN_SHOWN_LEN]);

#endif
