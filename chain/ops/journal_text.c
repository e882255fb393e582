/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Journals as text: see journal.h. Pure.
 *
 * JSON holds no bytes that are not UTF-8, and names are bytes: what is not
 * printable ASCII is written as %XX, and '%' too.
 */
#include "journal.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/json.h>
#include <img/memory.h>

/* Of records, and of the old ones that are still read. */
#define VERSION 2u
#define KEY "imgchain-transaction"
#define OLD_VERSION 1u
#define OLD_KEY "imgchain-snapshot"
#define OLD_ID_PREFIX "snapshot-"
#define TEMP_INFIX ".imgchain-"
#define TEMP_DIGITS 6u
#define OWN_PREFIX ".imgchain-"

/* A byte of a name takes three at most, its file two names, and the rest of
   what is said of a file or folder less than this. */
#define ENTRY_LEN 1024u
static_assert(CHAIN_JOURNAL_FOLDERS_MAX * (3 * PATH_MAX + ENTRY_LEN) +
                      CHAIN_JOURNAL_FILES_MAX * (6 * NAME_MAX + ENTRY_LEN) <
                  CHAIN_RECORD_LEN_MAX,
              "every record that is within the limits can be read");

static const char *const ops[CHAIN_JOURNAL_OPS] = {
    [CHAIN_JOURNAL_NAME] = "name",
    [CHAIN_JOURNAL_REPLACE] = "replace",
    [CHAIN_JOURNAL_PATCH] = "patch",
    [CHAIN_JOURNAL_REMOVE] = "remove",
};

int chain_journal_init(struct chain_journal *journal, size_t folders_nr,
                       size_t files_nr, struct img_error *err)
{
    *journal = (struct chain_journal){0};
    journal->folders = img_calloc(folders_nr, sizeof(*journal->folders), err);
    journal->files = img_calloc(files_nr, sizeof(*journal->files), err);
    if (!journal->folders || !journal->files) {
        free(journal->folders);
        free(journal->files);
        *journal = (struct chain_journal){0};
        return -1;
    }
    journal->folders_nr = folders_nr;
    journal->files_nr = files_nr;
    for (size_t i = 0; i < folders_nr; i++) {
        journal->folders[i].fd = -1;
        journal->folders[i].record_fd = -1;
        journal->folders[i].journal_fd = -1;
        journal->folders[i].stage_fd = -1;
    }
    return 0;
}

bool chain_journal_is_wide(const struct chain_journal *journal)
{
    for (size_t i = 0; i < journal->files_nr; i++) {
        if (journal->files[i].op != CHAIN_JOURNAL_NAME ||
            journal->files[i].is_staged) {
            return true;
        }
    }
    return false;
}

/* ---- Bytes as text. */

static char *encode_bytes(const char *bytes, struct img_error *err)
{
    static const char digits[] = "0123456789ABCDEF";
    char *text = img_calloc(strlen(bytes) + 1, 3, err);
    char *out = text;

    for (; text && *bytes != '\0'; bytes++) {
        unsigned byte = (unsigned char)*bytes;
        if (byte > ' ' && byte < 0x7f && byte != '%') {
            *out++ = *bytes;
        } else {
            *out++ = '%';
            *out++ = digits[byte >> 4];
            *out++ = digits[byte & 15];
        }
    }
    return text;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* NULL when it is not what encode_bytes writes, or memory is out. */
static char *decode_bytes(const char *text)
{
    struct img_error ignored;
    char *bytes = img_calloc(strlen(text) + 1, 1, &ignored);
    char *out = bytes;

    for (; bytes && *text != '\0'; text++) {
        if (*text != '%') {
            *out++ = *text;
            continue;
        }
        int high = hex_digit(text[1]);
        int low = high < 0 ? -1 : hex_digit(text[2]);
        if (low < 0 || (high == 0 && low == 0)) {
            free(bytes);
            return NULL;
        }
        *out++ = (char)(high << 4 | low);
        text += 2;
    }
    return bytes;
}

/* ---- Writing. */

static int set_bytes(struct img_json *object, const char *key,
                     const char *bytes, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = encode_bytes(bytes, err);

    if (!text) {
        return -1;
    }
    img_json_set_string(object, key, text);
    return 0;
}

/* What was handed over may be gone, where memory is out: it is whole before. */
static int push(struct img_json *list, struct img_json *one, int result)
{
    if (result < 0) {
        img_json_free(one);
        return -1;
    }
    img_json_push(list, one);
    return 0;
}

static int push_folder(struct img_json *list,
                       const struct chain_journal_folder *folder,
                       struct img_error *err)
{
    struct img_json *one = img_json_object();
    int result = set_bytes(one, "path", folder->path, err);

    img_json_set_u64(one, "inode", folder->ino);
    return push(list, one, result);
}

static int set_change(struct img_json *one,
                      const struct chain_journal_file *file,
                      struct img_error *err)
{
    int result = 0;

    img_json_set_string(one, "change", ops[file->op]);
    if (file->op != CHAIN_JOURNAL_REMOVE) {
        result = set_bytes(one, "temporary", file->temp, err);
        img_json_set_bool(one, "staged", file->is_staged);
        img_json_set_u64(one, "inode", file->ino);
        img_json_set_u64(one, "length", file->len);
    }
    if (file->op != CHAIN_JOURNAL_NAME) {
        img_json_set_u64(one, "old-inode", file->old_ino);
        img_json_set_u64(one, "old-length", file->old_len);
        img_json_set_u64(one, "old-mtime", (uint64_t)file->old_mtime_ns);
        img_json_set_u64(one, "old-born", (uint64_t)file->old_born_ns);
    }
    return result;
}

static int push_file(struct img_json *list,
                     const struct chain_journal_file *file, bool decided,
                     struct img_error *err)
{
    struct img_json *one = img_json_object();
    int result;

    img_json_set_u64(one, "folder", file->folder);
    result = set_bytes(one, "name", file->name, err);
    if (result == 0 && decided) {
        result = set_change(one, file, err);
    }
    return push(list, one, result);
}

static int set_folders(const struct chain_journal *journal,
                       struct img_json *json, struct img_error *err)
{
    struct img_json *list = img_json_array();
    int result = 0;

    for (size_t i = 0; result == 0 && i < journal->folders_nr; i++) {
        result = push_folder(list, &journal->folders[i], err);
    }
    img_json_set(json, "folders", list);
    return result;
}

static int set_files(const struct chain_journal *journal, bool decided,
                     struct img_json *json, struct img_error *err)
{
    struct img_json *list = img_json_array();
    int result = 0;

    for (size_t i = 0; result == 0 && i < journal->files_nr; i++) {
        result = push_file(list, &journal->files[i], decided, err);
    }
    img_json_set(json, "files", list);
    return result;
}

char *chain_journal_encode(const struct chain_journal *journal, bool decided,
                           struct img_error *err)
{
    struct img_json *json = img_json_object();
    char *text = NULL;

    img_json_set_u64(json, KEY, VERSION);
    img_json_set_string(json, "id", journal->id);
    img_json_set_bool(json, "decided", decided);
    if (set_folders(journal, json, err) == 0 &&
        set_files(journal, decided, json, err) == 0) {
        text = img_json_text(json, true, err);
    }
    img_json_free(json);
    if (text && strlen(text) > CHAIN_RECORD_LEN_MAX) {
        free(text);
        img_fail(err, IMG_LIMIT,
                 "too many or too long names for one transaction: its "
                 "journal would have more than %u bytes",
                 CHAIN_RECORD_LEN_MAX);
        return NULL;
    }
    return text;
}

/* ---- Reading. */

static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && strlen(name) <= NAME_MAX && !strchr(name, '/') &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

bool chain_journal_is_own_name(const char *name)
{
    return strncmp(name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0;
}

bool chain_journal_is_temp(const char *temp, const char *name)
{
    const size_t rest_len = strlen(TEMP_INFIX) + TEMP_DIGITS;
    /* A name that would be too long is cut. */
    size_t name_len =
        (size_t)img_min(strlen(name), (uint64_t)NAME_MAX - 1 - rest_len);

    return strlen(temp) == 1 + name_len + rest_len && temp[0] == '.' &&
           memcmp(temp + 1, name, name_len) == 0 &&
           memcmp(temp + 1 + name_len, TEMP_INFIX, strlen(TEMP_INFIX)) == 0 &&
           strspn(temp + 1 + name_len + strlen(TEMP_INFIX),
                  "abcdefghijklmnopqrstuvwxyz0123456789") == TEMP_DIGITS;
}

static char *get_bytes(const struct img_json *object, const char *key)
{
    const char *text = img_json_get_string(object, key);

    return text ? decode_bytes(text) : NULL;
}

static bool read_folder(const struct img_json *one,
                        struct chain_journal_folder *out)
{
    out->path = get_bytes(one, "path");
    return out->path && out->path[0] == '/' && strlen(out->path) < PATH_MAX &&
           img_json_get_u64(one, "inode", &out->ino);
}

bool chain_journal_is_old(const char *id)
{
    return strncmp(id, OLD_ID_PREFIX, strlen(OLD_ID_PREFIX)) == 0;
}

/* Old records have names only. */
static bool read_op(const struct img_json *one, bool is_old,
                    struct chain_journal_file *out)
{
    const char *text = img_json_get_string(one, "change");

    if (is_old) {
        out->op = CHAIN_JOURNAL_NAME;
        return true;
    }
    for (size_t i = 0; text && i < CHAIN_JOURNAL_OPS; i++) {
        if (strcmp(text, ops[i]) == 0) {
            out->op = (enum chain_journal_op)i;
            return !img_json_get(one, "staged") ||
                   img_json_get_bool(one, "staged", &out->is_staged);
        }
    }
    return false;
}

/* Where the new file is: one that is not staged is another program's, unless
   it has a temporary name. */
static bool is_temp_valid(const struct chain_journal_file *file)
{
    return file->temp &&
           (file->is_staged
                ? is_plain_name(file->temp)
                : file->op == CHAIN_JOURNAL_NAME &&
                      chain_journal_is_temp(file->temp, file->name));
}

static bool read_time(const struct img_json *one, const char *key, int64_t *out)
{
    uint64_t value;

    if (!img_json_get_u64(one, key, &value) || value > INT64_MAX) {
        return false;
    }
    *out = (int64_t)value;
    return true;
}

static bool read_old(const struct img_json *one, struct chain_journal_file *out)
{
    return img_json_get_u64(one, "old-inode", &out->old_ino) &&
           img_json_get_u64(one, "old-length", &out->old_len) &&
           read_time(one, "old-mtime", &out->old_mtime_ns) &&
           read_time(one, "old-born", &out->old_born_ns);
}

static bool read_change(const struct img_json *one, bool is_old,
                        struct chain_journal_file *out)
{
    if (!read_op(one, is_old, out)) {
        return false;
    }
    if (out->op != CHAIN_JOURNAL_NAME && !read_old(one, out)) {
        return false;
    }
    if (out->op == CHAIN_JOURNAL_REMOVE) {
        return true;
    }
    out->temp = get_bytes(one, "temporary");
    return is_temp_valid(out) && img_json_get_u64(one, "inode", &out->ino) &&
           img_json_get_u64(one, "length", &out->len);
}

static bool read_file(const struct img_json *one, bool decided, bool is_old,
                      size_t folders_nr, struct chain_journal_file *out)
{
    uint64_t folder;

    out->name = get_bytes(one, "name");
    if (!img_json_get_u64(one, "folder", &folder) || folder >= folders_nr ||
        !out->name || !is_plain_name(out->name)) {
        return false;
    }
    out->folder = (size_t)folder;
    return !decided || read_change(one, is_old, out);
}

static bool read_lists(const struct img_json *folders,
                       const struct img_json *files, bool decided,
                       struct chain_journal *out)
{
    for (size_t i = 0; i < out->folders_nr; i++) {
        if (!read_folder(img_json_at(folders, i), &out->folders[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < out->files_nr; i++) {
        if (!read_file(img_json_at(files, i), decided,
                       chain_journal_is_old(out->id), out->folders_nr,
                       &out->files[i])) {
            return false;
        }
    }
    return true;
}

static bool is_list(const struct img_json *list, size_t max)
{
    return list && img_json_type(list) == IMG_JSON_ARRAY &&
           img_json_len(list) > 0 && img_json_len(list) <= max;
}

static int check_version(const struct img_json *json, const char *id,
                         struct img_error *err)
{
    bool is_old = chain_journal_is_old(id);
    uint64_t version, known = is_old ? OLD_VERSION : VERSION;

    return !img_json_get_u64(json, is_old ? OLD_KEY : KEY, &version) ||
                   version == known
               ? 0
               : img_fail(err, IMG_UNSUPPORTED,
                          "is a record of version %" PRIu64
                          ", expected %" PRIu64
                          ": recover with the program that wrote it",
                          version, known);
}

/* Is it a record of ID? */
static bool is_record(const struct img_json *json, const char *id, bool decided)
{
    bool is_old = chain_journal_is_old(id);
    const char *own_id = img_json_get_string(json, "id");
    uint64_t version;
    bool is_decided;

    return img_json_get_u64(json, is_old ? OLD_KEY : KEY, &version) && own_id &&
           strcmp(own_id, id + (is_old ? strlen(OLD_ID_PREFIX) : 0)) == 0 &&
           img_json_get_bool(json, "decided", &is_decided) &&
           is_decided == decided;
}

static int read_all(const struct img_json *json, const char *id, bool decided,
                    struct chain_journal *out, struct img_error *err)
{
    const struct img_json *folders = img_json_get(json, "folders");
    const struct img_json *files = img_json_get(json, "files");

    if (check_version(json, id, err) < 0) {
        return -1;
    }
    if (!is_record(json, id, decided) ||
        !is_list(folders, CHAIN_JOURNAL_FOLDERS_MAX) ||
        !is_list(files, CHAIN_JOURNAL_FILES_MAX)) {
        return img_fail(
            err, IMG_CORRUPT,
            "is no record of the transaction that it is named after");
    }
    if (chain_journal_init(out, img_json_len(folders), img_json_len(files),
                           err) < 0) {
        return -1;
    }
    (void)snprintf(out->id, sizeof(out->id), "%s", id);
    if (!read_lists(folders, files, decided, out)) {
        chain_journal_fini(out);
        return img_fail(err, IMG_CORRUPT,
                        "is a damaged record: a name, folder or number in it "
                        "cannot be what a transaction wrote");
    }
    return 0;
}

int chain_journal_decode(const char *text, size_t len, const char *id,
                         bool decided, struct chain_journal *out,
                         struct img_error *err)
{
    struct img_json *json;
    struct img_error why;

    *out = (struct chain_journal){0};
    if (img_json_parse_within(text, len, CHAIN_RECORD_LEN_MAX, &json, &why) <
        0) {
        return why.code == IMG_MEMORY
                   ? img_fail_memory(err)
                   : img_fail(err, IMG_CORRUPT,
                              "is a damaged record: it is no JSON text");
    }
    int r = read_all(json, id, decided, out, err);
    img_json_free(json);
    return r;
}
