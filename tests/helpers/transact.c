/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transact: several changes of files, all or none, as the words say.
 *
 *   transact WORD...
 *
 *     name PATH TEXT      a file that is made in the stage gets this name
 *     write PATH TEXT
 *     replace PATH TEXT
 *     restage PATH TEXT   the same, made in the stage
 *     patch PATH OLD NEW  of one length
 *     remove PATH
 *
 *   transact --recover FOLDER
 *
 * A TEXT of the form N*C is N characters C. Exit 1 and a line on standard error
 * when something fails.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chain/transaction.h>

#define CHANGES_MAX ((size_t)64)

struct work {
    struct chain_transaction *transaction;
    char *texts[CHANGES_MAX * 2];
    size_t texts_nr;
    char *staged[CHANGES_MAX]; /* what the file of a change holds; or NULL */
};

/* Owned by WORK. */
static const char *text_of(struct work *work, const char *word)
{
    char **text = &work->texts[work->texts_nr];
    char *end;
    unsigned long nr = strtoul(word, &end, 10);
    bool is_many =
        end > word && *end == '*' && end[1] != '\0' && end[2] == '\0';

    if (work->texts_nr == CHANGES_MAX * 2) {
        abort();
    }
    *text = is_many ? malloc(nr + 1) : strdup(word);
    if (!*text) {
        abort();
    }
    if (is_many) {
        memset(*text, end[1], nr);
        (*text)[nr] = '\0';
    }
    work->texts_nr++;
    return *text;
}

static enum chain_change_kind kind_of(const char *word)
{
    return strcmp(word, "name") == 0    ? CHAIN_CHANGE_NAME
           : strcmp(word, "write") == 0 ? CHAIN_CHANGE_WRITE
           : strcmp(word, "patch") == 0 ? CHAIN_CHANGE_PATCH
           : strcmp(word, "remove") == 0
               ? CHAIN_CHANGE_REMOVE
               : CHAIN_CHANGE_REPLACE; /* replace, restage */
}

/* One change; the number of words that it takes. */
static int add(struct work *work, char **words, int *used,
               struct img_error *err)
{
    struct chain_change change = {
        .kind = kind_of(words[0]),
        .path = words[1],
        .mode = CHAIN_CHANGE_DEFAULT,
        .uid = CHAIN_CHANGE_DEFAULT,
        .gid = CHAIN_CHANGE_DEFAULT,
    };
    bool is_staged =
        strcmp(words[0], "name") == 0 || strcmp(words[0], "restage") == 0;
    bool is_patch = change.kind == CHAIN_CHANGE_PATCH;
    size_t idx;

    *used = is_patch ? 4 : change.kind == CHAIN_CHANGE_REMOVE ? 2 : 3;
    if (is_patch) {
        change.old_data = text_of(work, words[2]);
    }
    const char *text = *used > 2 ? text_of(work, words[*used - 1]) : NULL;
    if (!is_staged && text) {
        change.data = text;
        change.len = strlen(text);
    }
    if (change.kind != CHAIN_CHANGE_NAME && change.kind != CHAIN_CHANGE_WRITE &&
        chain_change_stamp(&change, err) < 0) {
        return -1;
    }
    if (chain_transaction_add(work->transaction, &change, &idx, err) < 0) {
        return -1;
    }
    if (is_staged && text && idx < CHANGES_MAX) {
        work->staged[idx] = strdup(text);
    }
    return 0;
}

static int stage(const struct work *work, struct img_error *err)
{
    for (size_t i = 0; i < CHANGES_MAX; i++) {
        const char *text = work->staged[i];
        if (!text) {
            continue;
        }
        int fd = open(chain_transaction_stage(work->transaction, i),
                      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
            img_fail(err, IMG_IO, "cannot make a file in the stage");
            if (fd >= 0) {
                close(fd);
            }
            return -1;
        }
        close(fd);
    }
    return 0;
}

static void tell(void *opaque, const char *path, const char *what)
{
    (void)opaque;
    printf("%s: %s\n", path, what);
}

static int transact(struct work *work, char **words, int nr,
                    struct img_error *err)
{
    int used = 0;

    if (chain_transaction_new(&work->transaction, err) < 0) {
        return -1;
    }
    for (int at = 0; at < nr; at += used) {
        if (add(work, words + at, &used, err) < 0) {
            return -1;
        }
    }
    return chain_transaction_begin(work->transaction, tell, NULL, err) < 0 ||
                   stage(work, err) < 0
               ? -1
               : chain_transaction_commit(work->transaction, err);
}

int main(int argc, char **argv)
{
    struct work work = {0};
    struct img_error err = {0};
    int r;

    if (argc == 3 && strcmp(argv[1], "--recover") == 0) {
        r = chain_transaction_recover(argv[2], tell, NULL, &err);
    } else {
        r = transact(&work, argv + 1, argc - 1, &err);
        chain_transaction_free(work.transaction, r < 0 ? &err : NULL);
    }
    for (size_t i = 0; i < work.texts_nr; i++) {
        free(work.texts[i]);
    }
    for (size_t i = 0; i < CHANGES_MAX; i++) {
        free(work.staged[i]);
    }
    if (r < 0) {
        fprintf(stderr, "transact: %s: %s\n", err.path, err.text);
        return 1;
    }
    return 0;
}
