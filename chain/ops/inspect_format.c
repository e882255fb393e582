/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about the file and what it claims to be: file-kind, file-unused,
 * file-stable, format-declared, format-match, format-single, format-allowed.
 */
#include <stdio.h>
#include <string.h>

#include <img/memory.h>

#include "inspect_impl.h"
#include "remedy.h"

/* What import services take. Others are read by few, and were written for
   programs that nobody imports from. */
static const char *const usual_formats[] = {"qcow2", "raw", "vmdk", "vpc",
                                            "vhdx",  "vdi", "luks"};

static bool is_raw(const struct inspect_file *file)
{
    return strcmp(file->format, "raw") == 0;
}

/* The command again with -f FORMAT, and the file's name at its end. */
static char *ask_again(const struct inspect *in, const char *format)
{
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    char *program = img_text(
        &ignored, "imgchain inspect%s -f %s",
        in->request->policy == CHAIN_INSPECT_CHAIN ? " --policy chain" : "",
        format);

    return program && in->file->is_top && in->request->fd < 0
               ? chain_remedy_command(program, in->file->path)
               : NULL;
}

void inspect_file_kind(struct inspect *in)
{
    const struct inspect_file *file = in->file;

    if (!file->file) {
        inspect_say_error(in, CHAIN_CHECK_FAIL, &file->error);
        if (file->error.code == IMG_LIMIT) {
            /* Too long a stream: known, not doubtful. */
            in->check.result = CHAIN_CHECK_FAIL;
        }
        return;
    }
    if (file->is_stream) {
        inspect_say(in, CHAIN_CHECK_PASS, "a stream, read once to its end");
        return;
    }
    inspect_say(in, CHAIN_CHECK_PASS, "a %s",
                img_file_kind(file->file) == IMG_FILE_BLOCK ? "block device"
                                                            : "regular file");
}

void inspect_file_unused(struct inspect *in)
{
    const struct inspect_file *file = in->file;

    if (file->is_stream) {
        inspect_say(in, CHAIN_CHECK_SKIP,
                    "a stream's source cannot be asked who writes to it");
    } else if (in->request->force_share) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "locks are not looked at (-U): whoever writes to the file "
                    "makes the verdict void");
    } else if (file->lock_error.code == IMG_LOCKED) {
        inspect_say_error(in, CHAIN_CHECK_FAIL, &file->lock_error);
        in->check.result = CHAIN_CHECK_FAIL;
    } else if (file->lock_error.code != IMG_OK) {
        inspect_say_error(in, CHAIN_CHECK_UNPROVEN, &file->lock_error);
    } else {
        inspect_say(in, CHAIN_CHECK_PASS, "no other process writes to it");
    }
}

void inspect_file_stable(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    struct img_stamp now;
    struct img_error error;

    if (file->is_stream) {
        inspect_say(in, CHAIN_CHECK_SKIP,
                    "a stream passes once; what was judged are its bytes");
        return;
    }
    if (!file->is_top) {
        /* Compared with what it was when the chain was opened. */
        if (chain_check_unchanged(in->chain, &error) < 0) {
            inspect_say_error(in, CHAIN_CHECK_UNPROVEN, &error);
            in->check.result = CHAIN_CHECK_UNPROVEN;
            return;
        }
    } else if (img_file_stamp(file->file, &now, &error) < 0 ||
               !img_stamp_is_equal(&now, &file->stamp)) {
        inspect_say(in, CHAIN_CHECK_UNPROVEN,
                    "the file changed while it was judged");
        return;
    }
    inspect_say(in, CHAIN_CHECK_PASS, "it did not change while it was judged");
}

void inspect_format_declared(struct inspect *in)
{
    const struct inspect_file *file = in->file;

    if (file->declared) {
        inspect_say(in, CHAIN_CHECK_PASS, "declared to be %s", file->format);
        return;
    }
    inspect_say(in, CHAIN_CHECK_WARN,
                "the format is not declared; the file looks like %s, which "
                "whoever wrote it decided",
                file->format);
    inspect_expected(in, "-f FORMAT");
    inspect_remedy(in, ask_again(in, file->format));
}

/* A fixed VHD has its only mark in the footer, and disk contents before it. */
static bool is_by_tail(const struct inspect_file *file)
{
    bool is_head = false, is_tail = false;

    for (size_t i = 0; i < file->claims_nr; i++) {
        if (strcmp(file->claims[i].name, file->format) == 0) {
            is_tail |= file->claims[i].is_at_end;
            is_head |= !file->claims[i].is_at_end;
        }
    }
    return is_tail && !is_head;
}

/* The first container that the start of the file claims to be. */
static const struct chain_claim *head_claim(const struct inspect_file *file)
{
    for (size_t i = 0; i < file->claims_nr; i++) {
        if (file->claims[i].is_container && !file->claims[i].is_at_end) {
            return &file->claims[i];
        }
    }
    return NULL;
}

static bool has_claim(const struct inspect_file *file, const char *name)
{
    for (size_t i = 0; i < file->claims_nr; i++) {
        if (strcmp(file->claims[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

void inspect_format_match(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    const struct chain_claim *head = head_claim(file);
    const char *found = head ? head->name : "raw";

    if (is_raw(file) ? !head : has_claim(file, file->format)) {
        inspect_say(in, CHAIN_CHECK_PASS, "the contents are those of %s",
                    file->format);
        return;
    }
    inspect_say(in, CHAIN_CHECK_FAIL,
                "it is said to be %s, but its contents are those of %s",
                file->format, found);
    inspect_found(in, "%s", found);
    inspect_expected(in, "%s", file->format);
    if (head && chain_format_find(found)) {
        inspect_remedy(in, ask_again(in, found));
    }
}

/* Does claim C contradict what the file is said to be? */
static bool is_second(const struct inspect_file *file,
                      const struct chain_claim *c)
{
    if (strcmp(c->name, file->format) == 0) {
        return false;
    }
    if (is_raw(file)) {
        return c->is_container && c->is_at_end;
    }
    return c->is_container || !is_by_tail(file);
}

void inspect_format_single(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    const struct chain_claim *second = NULL;
    size_t containers = 0;

    for (size_t i = 0; i < file->claims_nr; i++) {
        containers += file->claims[i].is_container;
        if (!second && is_second(file, &file->claims[i])) {
            second = &file->claims[i];
        }
    }
    /* Not what it is said to be, and nothing else: that is format-match's. */
    if (in->here[INSPECT_FORMAT_MATCH] == CHAIN_CHECK_FAIL && second &&
        containers == 1 && file->claims_nr == 1 && !second->is_at_end) {
        second = NULL;
    }
    if (!second && is_raw(file) && containers > 1) {
        second = &file->claims[1];
    }
    if (!second && is_raw(file) && containers == 1 && file->claims_nr > 1) {
        second = &file->claims[0];
    }
    if (!second) {
        inspect_say(in, CHAIN_CHECK_PASS,
                    "no reader takes it for another "
                    "format");
        return;
    }
    inspect_say(in, CHAIN_CHECK_FAIL,
                "other readers take it for %s, by the %s of the file",
                second->name, second->is_at_end ? "last bytes" : "beginning");
    inspect_found(in, "%s and %s", file->format, second->name);
    inspect_expected(in, "one format");
    if (second->is_at_end && is_raw(file) && chain_format_find(second->name) &&
        !head_claim(file)) {
        inspect_remedy(in, ask_again(in, second->name));
    }
}

void inspect_format_allowed(struct inspect *in)
{
    const char *format = in->file->format;
    const char *const *allowed = in->request->allowed_formats;
    const size_t nr = sizeof(usual_formats) / sizeof(usual_formats[0]);

    for (size_t i = 0; i < nr; i++) {
        if (strcmp(usual_formats[i], format) == 0) {
            inspect_say(in, CHAIN_CHECK_PASS, "%s may be imported", format);
            return;
        }
    }
    for (size_t i = 0; allowed && allowed[i]; i++) {
        if (strcmp(allowed[i], format) == 0) {
            inspect_say(in, CHAIN_CHECK_PASS, "%s was allowed by the caller",
                        format);
            return;
        }
    }
    inspect_say(in, CHAIN_CHECK_FAIL, "%s is no format to import", format);
    inspect_found(in, "%s", format);
    inspect_expected(in, "qcow2, raw, vmdk, vpc, vhdx, vdi or luks");
}
