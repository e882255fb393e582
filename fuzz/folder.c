/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The folder of the chain targets: see folder.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chain/copy.h>
#include <img/checked.h>

#include "folder.h"
#include "sound.h"

#define NAME_PREFIX "imgchain-fuzz-"
#define NAMES_MAX 16u

static char folder[256];
static uint8_t base[FOLDER_BASE_LEN];
static uint8_t *base_qcow2;
static size_t base_qcow2_len;

static void folder_empty(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir != NULL) {
        closedir(dir);
    }
    (void)rmdir(path);
}

/* A target that crashed leaves its folder: whoever comes next removes it. */
static void remove_stale(const char *parent)
{
    DIR *dir = opendir(parent);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[600];
        long pid;

        if (strncmp(entry->d_name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0) {
            continue;
        }
        pid = strtol(entry->d_name + strlen(NAME_PREFIX), NULL, 10);
        if (pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH) {
            (void)snprintf(path, sizeof(path), "%s/%s", parent, entry->d_name);
            folder_empty(path);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static void leave(void)
{
    folder_empty(folder);
    free(base_qcow2);
}

static void folder_make(void)
{
    const char *tmp = getenv("TMPDIR");
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                         : tmp != NULL                 ? tmp
                                                       : "/tmp";

    remove_stale(parent);
    (void)snprintf(folder, sizeof(folder), "%s/" NAME_PREFIX "%ld", parent,
                   (long)getpid());
    folder_empty(folder);
    fuzz_require(mkdir(folder, 0700) == 0);
    (void)atexit(leave);
}

const struct img_roots *folder_roots(void)
{
    static struct img_roots *roots;
    struct img_error err = {0};

    if (folder[0] == '\0') {
        folder_make();
    }
    if (roots == NULL) {
        fuzz_require(img_roots_new(&roots, &err) == 0);
        fuzz_require(img_roots_add(roots, folder, &err) == 0);
    }
    return roots;
}

const char *folder_path(const char *name)
{
    static char *paths[NAMES_MAX];
    static size_t nr;
    size_t folder_len;

    (void)folder_roots();
    folder_len = strlen(folder) + 1;
    for (size_t i = 0; i < nr; i++) {
        if (strcmp(paths[i] + folder_len, name) == 0) {
            return paths[i];
        }
    }
    fuzz_require(nr < NAMES_MAX);
    fuzz_require(asprintf(&paths[nr], "%s/%s", folder, name) > 0);
    return paths[nr++];
}

void folder_put(const char *name, const void *bytes, size_t len)
{
    int fd =
        open(folder_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    fuzz_require(fd >= 0);
    fuzz_require(write(fd, bytes, len) == (ssize_t)len);
    fuzz_require(close(fd) == 0);
}

void folder_drop(const char *name)
{
    (void)unlink(folder_path(name));
}

static void read_back(const char *name, uint8_t **out, size_t *len)
{
    int fd = open(folder_path(name), O_RDONLY | O_CLOEXEC);
    struct stat st;

    fuzz_require(fd >= 0 && fstat(fd, &st) == 0);
    *len = (size_t)st.st_size;
    *out = malloc(*len);
    fuzz_require(*out != NULL && read(fd, *out, *len) == (ssize_t)*len);
    fuzz_require(close(fd) == 0);
}

/* Runs of bytes, zeros and holes between them. */
static void fill_base(void)
{
    uint64_t rng = 1;

    for (size_t off = 0, len; off < sizeof(base); off += len) {
        len = img_min(sizeof(base) - off, 512 * (1 + random_below(&rng, 24)));
        memset(base + off, (int)(random_below(&rng, 3) * (off >> 9)), len);
    }
}

static void make_base_qcow2(void)
{
    static const char *const options[] = {"cluster_size=4k"};
    struct chain_copy_request request;
    struct chain_copy_result result = {0};
    struct img_error err = {0};

    chain_copy_request_init(&request);
    request.source = folder_path("base.raw");
    request.source_format = "raw";
    request.dest.path = folder_path("base.qcow2");
    request.dest.format = "qcow2";
    request.dest.options = options;
    request.dest.options_nr = 1;
    request.threads = 1;
    request.engine = 2;
    fuzz_require(chain_copy(&request, &result, &err) == 0);
    chain_copy_result_fini(&result);
    read_back("base.qcow2", &base_qcow2, &base_qcow2_len);
}

void folder_put_bases(void)
{
    static uint8_t other[FOLDER_BASE_LEN];

    if (base_qcow2 == NULL) {
        fill_base();
        folder_put("base.raw", base, sizeof(base));
        make_base_qcow2();
    }
    memcpy(other, base, sizeof(other));
    memset(other + 8192, 0x77, 1024);
    memset(other + 65536, 0, 9000);
    folder_put("other.raw", other, sizeof(other));
    folder_put("base.raw", base, sizeof(base));
    folder_put("base.qcow2", base_qcow2, base_qcow2_len);
}

/* ---- Chains. */

struct chain *folder_open(const char *name, const char *format)
{
    struct chain_options options;
    struct chain *chain = NULL;
    struct img_error err = {0};

    chain_options_init(&options);
    options.format = format;
    options.roots = folder_roots();
    options.allow_probe = true;
    options.max_depth = 8;
    if (chain_open(folder_path(name), &options, &chain, &err) < 0) {
        fuzz_require_error(&err);
        return NULL;
    }
    return chain;
}

struct guest folder_read(const char *name, const char *format)
{
    struct chain *chain = folder_open(name, format);
    struct chain_view *view = NULL;
    struct guest guest = {0};
    struct img_error err = {0};

    if (chain == NULL) {
        return guest;
    }
    guest.len = chain_virtual_len(chain);
    if (guest.len <= FUZZ_DISK_MAX &&
        chain_view_new(chain, 0, &view, &err) == 0) {
        guest.bytes = malloc(guest.len + 1);
        fuzz_require(guest.bytes != NULL);
        if (guest.len > 0 &&
            chain_view_read(view, guest.bytes, guest.len, 0, &err) < 0) {
            fuzz_require_error(&err);
            guest_free(&guest);
        }
        chain_view_free(view);
    }
    chain_free(chain);
    return guest;
}

void guest_free(struct guest *guest)
{
    free(guest->bytes);
    guest->bytes = NULL;
}

bool folder_is_clean(const char *name, bool leaks)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE};
    struct img_file *file = NULL;
    struct img_error err = {0};
    bool is_clean;

    if (img_file_open(folder_path(name), &options, &file, &err) < 0) {
        return false;
    }
    is_clean = leaks ? fuzz_is_usable(file, NULL) : fuzz_is_clean(file, NULL);
    img_file_unref(file);
    return is_clean;
}

/* ---- Promises. */

struct promise promise_note(const uint8_t *image, size_t len)
{
    struct promise promise = {0};

    folder_put(FUZZ_IMAGE, image, len);
    if (!sound_has_data_file(image, len) && sound_is_layered(image, len) &&
        folder_is_clean(FUZZ_IMAGE, false)) {
        promise.is_clean = true;
        promise.guest = folder_read(FUZZ_IMAGE, "qcow2");
    }
    return promise;
}

void promise_require_clean(const struct promise *promise, bool failed)
{
    if (promise->is_clean) {
        fuzz_require(folder_is_clean(FUZZ_IMAGE, failed));
    }
}

void promise_require_contents(const struct promise *promise, uint64_t new_len)
{
    struct guest now;
    uint64_t common = img_min(promise->guest.len, new_len);

    if (promise->guest.bytes == NULL || new_len > FUZZ_DISK_MAX) {
        return;
    }
    now = folder_read(FUZZ_IMAGE, "qcow2");
    fuzz_require(now.bytes != NULL);
    fuzz_require(now.len == new_len);
    fuzz_require(memcmp(now.bytes, promise->guest.bytes, common) == 0);
    for (uint64_t i = common; i < new_len; i++) {
        fuzz_require(now.bytes[i] == 0);
    }
    guest_free(&now);
}

void promise_free(struct promise *promise)
{
    guest_free(&promise->guest);
}
