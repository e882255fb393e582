/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about a saved image itself: see chain/saved_check.h. Room: chain/virt.
 * saved-header, saved-complete, saved-compression, saved-xml, saved-cookie.
 */
#include <chain/saved_check.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chain/chain.h>
#include <img/file.h>
#include <img/memory.h>

#include "document.h"

struct examination {
    const char *path;
    struct chain_report *report;
    struct chain_saved *saved;
    struct chain_virt_domain *domain;
    int64_t mtime_ns;
};

static void examination_fini(struct examination *exam)
{
    chain_saved_free(exam->saved);
    chain_virt_domain_free(exam->domain);
}

static struct chain_check *add(struct examination *exam, const char *id)
{
    struct chain_check *check = chain_report_add(exam->report, id);

    chain_check_image(exam->report, check, exam->path);
    return check;
}

static struct chain_check *add_error(struct examination *exam, const char *id,
                                     enum chain_check_result result,
                                     const struct img_error *error)
{
    struct chain_check *check = chain_report_add(exam->report, id);

    chain_check_say_error(exam->report, check, result, error);
    chain_check_image(exam->report, check, exam->path);
    return check;
}

/* What cannot be judged since the image cannot be read. */
static void skip_rest(struct examination *exam)
{
    static const char *const ids[] = {"saved-complete", "saved-compression",
                                      "saved-xml"};

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        chain_check_say(exam->report, add(exam, ids[i]), CHAIN_CHECK_SKIP,
                        "depends on saved-header");
    }
}

/* ---- saved-header */

static bool has_unused(const struct chain_saved_header *header)
{
    for (size_t i = 0; i < sizeof(header->unused); i++) {
        if (header->unused[i] != 0) {
            return true;
        }
    }
    return false;
}

static void judge_header(struct examination *exam)
{
    const struct chain_saved_header *header = &exam->saved->header;
    struct chain_check *check = add(exam, "saved-header");

    if (has_unused(header)) {
        chain_check_say(exam->report, check, CHAIN_CHECK_WARN,
                        "bytes of the header that libvirt has no use for yet "
                        "are not zero: a newer libvirt may have written it");
    } else if (header->is_swapped) {
        chain_check_say(exam->report, check, CHAIN_CHECK_WARN,
                        "a host of the other byte order wrote it: libvirt "
                        "reads it, its memory may not come back here");
    } else {
        chain_check_say(exam->report, check, CHAIN_CHECK_PASS,
                        "the header is version %u, and all it names lies in "
                        "the file",
                        header->version);
    }
}

/* The file's contents say that it is none, or a broken one. */
static bool is_verdict(enum img_code code)
{
    return code == IMG_FORMAT || code == IMG_CORRUPT || code == IMG_LIMIT ||
           code == IMG_NOT_FOUND || code == IMG_UNSUPPORTED;
}

static int load(struct examination *exam, const struct chain_options *options,
                struct img_error *err)
{
    struct img_open_options how = {.lock = IMG_LOCK_NONE,
                                   .roots = options->roots};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    struct img_error why;
    struct img_stamp stamp;

    if (img_file_open(exam->path, &how, &file, &why) < 0 ||
        img_file_stamp(file, &stamp, &why) < 0 ||
        chain_saved_load(file, true, &exam->saved, &why) < 0) {
        if (why.code == IMG_MEMORY) {
            *err = why;
            return -1;
        }
        add_error(exam, "saved-header",
                  is_verdict(why.code) ? CHAIN_CHECK_FAIL
                                       : CHAIN_CHECK_UNPROVEN,
                  &why);
        skip_rest(exam);
        return 0;
    }
    exam->mtime_ns = stamp.mtime_ns;
    judge_header(exam);
    return 0;
}

/* ---- saved-complete */

static void judge_complete(struct examination *exam)
{
    const struct chain_saved *saved = exam->saved;
    struct chain_check *check = add(exam, "saved-complete");

    if (!saved->header.is_complete) {
        chain_check_say(exam->report, check, CHAIN_CHECK_FAIL,
                        "libvirt did not come to the end of writing it: the "
                        "memory is cut off");
        chain_check_found(exam->report, check, "\"LibvirtQemudPart\"");
        chain_check_expected(exam->report, check, "\"LibvirtQemudSave\"");
    } else if (saved->is_stream_empty) {
        chain_check_say(exam->report, check, CHAIN_CHECK_FAIL,
                        "there is no memory in it: the file ends with the XML");
        chain_check_found(exam->report, check, "%llu bytes",
                          (unsigned long long)saved->file_len);
        chain_check_expected(
            exam->report, check, "more than %llu",
            (unsigned long long)chain_saved_region_len(&saved->header));
    } else {
        chain_check_say(exam->report, check, CHAIN_CHECK_PASS,
                        "libvirt has marked it as complete");
    }
}

/* ---- saved-compression */

/* What the stream has to be by the header. */
static unsigned expected_stream(const struct chain_saved_header *header)
{
    /* Before version 2 libvirt looks at nothing; sparse streams begin as raw
       ones do. */
    return header->version < 2 || header->compression == CHAIN_SAVED_SPARSE
               ? CHAIN_SAVED_RAW
               : header->compression;
}

static void judge_compression(struct examination *exam)
{
    const struct chain_saved *saved = exam->saved;
    unsigned said = saved->header.compression,
             expected = expected_stream(&saved->header);
    struct chain_check *check = add(exam, "saved-compression");

    if (saved->is_stream_empty) {
        chain_check_say(exam->report, check, CHAIN_CHECK_SKIP,
                        "there is no memory stream");
    } else if (expected >= CHAIN_SAVED_COMPRESSIONS_NR) {
        chain_check_say(exam->report, check, CHAIN_CHECK_FAIL,
                        "the header names no compression that libvirt knows");
        chain_check_found(exam->report, check, "%u", said);
        chain_check_expected(exam->report, check, "at most %d",
                             CHAIN_SAVED_COMPRESSIONS_NR - 1);
    } else if (saved->stream != expected) {
        chain_check_say(exam->report, check, CHAIN_CHECK_FAIL,
                        "the memory stream is not what the header says");
        chain_check_found(exam->report, check, "%s",
                          saved->stream == CHAIN_SAVED_UNKNOWN
                              ? "a stream of no known kind"
                              : chain_saved_compression_name(saved->stream));
        chain_check_expected(exam->report, check, "%s",
                             chain_saved_compression_name(expected));
    } else if (said >= CHAIN_SAVED_ZSTD && saved->header.version == 2) {
        chain_check_say(exam->report, check, CHAIN_CHECK_WARN,
                        "the memory is stored as %s, which libvirt reads from "
                        "version 11 on",
                        chain_saved_compression_name(said));
    } else {
        chain_check_say(exam->report, check, CHAIN_CHECK_PASS,
                        "the memory is stored as the header says: %s",
                        chain_saved_compression_name(expected));
    }
}

/* ---- saved-xml, saved-cookie */

void chain_saved_check_refusals(const struct chain_virt_domain *domain,
                                struct chain_report *report)
{
    for (size_t i = 0; i < domain->refusals.nr; i++) {
        const struct chain_virt_refusal *refusal = &domain->refusals.list[i];
        struct chain_check *check = chain_report_add(report, "saved-xml");

        chain_check_say(report, check, CHAIN_CHECK_FAIL,
                        "libvirt refuses it: %s", refusal->text);
        chain_check_image(report, check, domain->file);
        if (refusal->line > 0) {
            chain_check_found(report, check, "line %u of the XML",
                              refusal->line);
        }
    }
}

/* A copy; *OUT NULL: the XML names none. */
static int find_emulator(const char *text, const char *name, char **out,
                         struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree tree = {0};
    const struct virt_node *emulator;

    *out = NULL;
    if (virt_document_parse(text, strlen(text), name, "domain", NULL, &tree,
                            err) < 0) {
        return -1;
    }
    emulator = virt_child(virt_child(tree.root, "devices"), "emulator");
    if (!emulator || !emulator->text) {
        return 0;
    }
    *out = img_strndup(emulator->text, strlen(emulator->text), err);
    return *out ? 0 : -1;
}

int chain_saved_check_emulator(const char *before, const char *text,
                               const char *name, struct chain_report *report,
                               struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *old = NULL;
    IMG_AUTO(img_free_ptr) char *new = NULL;
    struct chain_check *check;
    char shown[CHAIN_SHOWN_LEN];

    if (find_emulator(before, name, &old, err) < 0 ||
        find_emulator(text, name, &new, err) < 0) {
        return -1;
    }
    if (!new || (old && strcmp(old, new) == 0)) {
        return 0;
    }
    check = chain_report_add(report, "emulator-exists");
    if (access(new, X_OK) == 0) {
        chain_check_say(report, check, CHAIN_CHECK_PASS,
                        "the emulator is there");
    } else {
        chain_check_say(report, check, CHAIN_CHECK_FAIL,
                        "the emulator \"%s\" cannot be run here",
                        chain_shown(new, shown));
    }
    return 0;
}

static int judge_xml(struct examination *exam, struct img_error *err)
{
    const struct chain_saved *saved = exam->saved;
    struct img_error why;

    if (chain_virt_domain_parse(saved->xml, saved->xml_len, exam->path,
                                &exam->domain, &why) < 0) {
        if (why.code == IMG_MEMORY) {
            *err = why;
            return -1;
        }
        add_error(exam, "saved-xml", CHAIN_CHECK_FAIL, &why);
    } else if (exam->domain->refusals.nr > 0) {
        chain_saved_check_refusals(exam->domain, exam->report);
    } else {
        chain_check_say(exam->report, add(exam, "saved-xml"), CHAIN_CHECK_PASS,
                        "the XML is a domain's, and of its %u bytes %zu are "
                        "free",
                        saved->header.data_len,
                        saved->header.data_len - saved->xml_len - 1 -
                            (saved->cookie ? saved->cookie_len + 1 : 0));
    }
    return 0;
}

static int judge_cookie(struct examination *exam, struct img_error *err)
{
    const struct chain_saved *saved = exam->saved;
    IMG_AUTO(virt_tree_fini) struct virt_tree tree = {0};
    struct img_error why;

    if (!saved->cookie) {
        return 0;
    }
    if (virt_tree_parse(saved->cookie, saved->cookie_len, exam->path, &tree,
                        &why) < 0) {
        if (why.code == IMG_MEMORY) {
            *err = why;
            return -1;
        }
        add_error(exam, "saved-cookie", CHAIN_CHECK_FAIL, &why);
        return 0;
    }
    chain_check_say(exam->report, add(exam, "saved-cookie"), CHAIN_CHECK_PASS,
                    "libvirt's cookie can be read");
    return 0;
}

static int judge(struct examination *exam, const struct chain_options *options,
                 struct img_error *err)
{
    if (load(exam, options, err) < 0) {
        return -1;
    }
    if (!exam->saved) {
        return 0;
    }
    judge_complete(exam);
    judge_compression(exam);
    if (judge_xml(exam, err) < 0 || judge_cookie(exam, err) < 0) {
        return -1;
    }
    const struct chain_saved_disks disks = {
        .next = exam->domain,
        .mtime_ns = exam->mtime_ns,
        .options = options,
    };
    return exam->domain ? chain_saved_check_disks(&disks, exam->report, err)
                        : 0;
}

int chain_saved_check(const char *path, const struct chain_options *options,
                      struct chain_report *report, struct img_error *err)
{
    IMG_AUTO(examination_fini)
    struct examination exam = {.path = path, .report = report};

    return judge(&exam, options, err);
}
