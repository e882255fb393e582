/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slowfs: a read-only file system that answers each read late, for tests and
 * benchmarks of what happens over a link with latency.
 *
 *   slowfs FOLDER MOUNTPOINT DELAY-MS
 *
 * The regular files of FOLDER appear in MOUNTPOINT; every read takes
 * DELAY-MS more, however many are under way. Runs until it is unmounted. Root
 * only. (nbdfuse over nbdkit's delay filter answers ten requests at a time
 * and copies each byte four times; this one has a thread for each of
 * THREADS requests and answers from mapped files.)
 *
 * The kernel's FUSE protocol, spoken directly: linux/fuse.h.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define THREADS 256
#define MAX_FILES 64
#define MAX_READ (1u << 20)
/* A request is small: nothing is written. The kernel wants room for more. */
#define REQUEST_LEN (FUSE_MIN_READ_BUFFER * 2)
#define ROOT_ID 1u
#define FIRST_FILE_ID 2u

struct served {
    char name[256];
    uint8_t *bytes;
    uint64_t len;
};

static struct served files[MAX_FILES];
static size_t files_nr;
static int device;
static uint64_t delay_ns;

static void add_file(const char *folder, const char *name)
{
    char path[4096];
    struct stat st;
    struct served *file = &files[files_nr];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        err(1, "%s", path);
    }
    if (S_ISREG(st.st_mode) && st.st_size > 0) {
        if (files_nr == MAX_FILES) {
            errx(1, "%s: more than %d files", folder, MAX_FILES);
        }
        snprintf(file->name, sizeof(file->name), "%s", name);
        file->len = (uint64_t)st.st_size;
        file->bytes = mmap(NULL, file->len, PROT_READ, MAP_SHARED, fd, 0);
        if (file->bytes == MAP_FAILED) {
            err(1, "%s: mmap", path);
        }
        files_nr++;
    }
    close(fd);
}

static void load_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    if (!dir) {
        err(1, "%s", folder);
    }
    while ((entry = readdir(dir))) {
        add_file(folder, entry->d_name);
    }
    closedir(dir);
}

static void answer(uint64_t unique, int error, const void *data, size_t len)
{
    struct fuse_out_header header = {
        .len = (uint32_t)(sizeof(header) + (error ? 0 : len)),
        .error = -error,
        .unique = unique,
    };
    struct iovec parts[2] = {
        {.iov_base = &header, .iov_len = sizeof(header)},
        {.iov_base = (void *)(uintptr_t)data, .iov_len = error ? 0 : len},
    };

    /* ENOENT: the request was interrupted meanwhile. */
    if (writev(device, parts, 2) < 0 && errno != ENOENT) {
        warn("answer");
    }
}

static struct served *file_of(uint64_t id)
{
    return id >= FIRST_FILE_ID && id - FIRST_FILE_ID < files_nr
               ? &files[id - FIRST_FILE_ID]
               : NULL;
}

static void fill_attr(struct fuse_attr *attr, uint64_t id)
{
    const struct served *file = file_of(id);

    *attr = (struct fuse_attr){
        .ino = id,
        .mode = file ? S_IFREG | 0444u : S_IFDIR | 0555u,
        .nlink = 1,
        .blksize = 4096,
    };
    if (file) {
        attr->size = file->len;
        attr->blocks = (file->len + 511) / 512;
    }
}

static void on_init(const struct fuse_in_header *in, const void *body)
{
    const struct fuse_init_in *want = body;
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = FUSE_KERNEL_MINOR_VERSION,
        .max_readahead = want->max_readahead,
        .flags = FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_MAX_PAGES |
                 FUSE_PARALLEL_DIROPS,
        .max_background = THREADS,
        .congestion_threshold = THREADS,
        .max_write = 4096,
        .max_pages = MAX_READ / 4096,
    };

    answer(in->unique, 0, &out, sizeof(out));
}

static void on_lookup(const struct fuse_in_header *in, const char *name)
{
    for (size_t i = 0; i < files_nr; i++) {
        if (strcmp(files[i].name, name) == 0) {
            struct fuse_entry_out out = {
                .nodeid = FIRST_FILE_ID + i,
                .entry_valid = 3600,
                .attr_valid = 3600,
            };

            fill_attr(&out.attr, out.nodeid);
            answer(in->unique, 0, &out, sizeof(out));
            return;
        }
    }
    answer(in->unique, ENOENT, NULL, 0);
}

static void on_getattr(const struct fuse_in_header *in)
{
    struct fuse_attr_out out = {.attr_valid = 3600};

    fill_attr(&out.attr, in->nodeid);
    answer(in->unique, 0, &out, sizeof(out));
}

/* The page cache is emptied at each open: every run is as slow. */
static void on_open(const struct fuse_in_header *in)
{
    struct fuse_open_out out = {0};

    answer(in->unique, 0, &out, sizeof(out));
}

static void on_read(const struct fuse_in_header *in, const void *body)
{
    const struct fuse_read_in *want = body;
    const struct served *file = file_of(in->nodeid);
    struct timespec pause = {
        .tv_sec = (time_t)(delay_ns / 1000000000u),
        .tv_nsec = (long)(delay_ns % 1000000000u),
    };

    if (!file) {
        answer(in->unique, EISDIR, NULL, 0);
        return;
    }
    nanosleep(&pause, NULL);
    uint64_t off = want->offset < file->len ? want->offset : file->len;
    uint64_t len = file->len - off;
    if (len > want->size) {
        len = want->size;
    }
    answer(in->unique, 0, file->bytes + off, len);
}

static void on_statfs(const struct fuse_in_header *in)
{
    struct fuse_statfs_out out = {.st = {.bsize = 4096, .namelen = 255}};

    answer(in->unique, 0, &out, sizeof(out));
}

static void dispatch(const struct fuse_in_header *in)
{
    const void *body = in + 1;

    switch (in->opcode) {
    case FUSE_INIT:
        on_init(in, body);
        break;
    case FUSE_LOOKUP:
        on_lookup(in, body);
        break;
    case FUSE_GETATTR:
        on_getattr(in);
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        on_open(in);
        break;
    case FUSE_READ:
        on_read(in, body);
        break;
    case FUSE_STATFS:
        on_statfs(in);
        break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
        answer(in->unique, 0, NULL, 0);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    default:
        answer(in->unique, ENOSYS, NULL, 0);
    }
}

static void *serve(void *unused)
{
    uint8_t *request = malloc(REQUEST_LEN);

    if (!request) {
        err(1, "malloc");
    }
    for (;;) {
        ssize_t got = read(device, request, REQUEST_LEN);
        if (got < 0) {
            if (errno == EINTR || errno == EAGAIN || errno == ENOENT) {
                continue;
            }
            break; /* ENODEV: unmounted */
        }
        dispatch((const struct fuse_in_header *)(const void *)request);
    }
    free(request);
    return unused;
}

int main(int argc, char **argv)
{
    static pthread_t threads[THREADS];
    char options[128];

    if (argc != 4) {
        errx(2, "usage: slowfs FOLDER MOUNTPOINT DELAY-MS");
    }
    load_folder(argv[1]);
    delay_ns = strtoull(argv[3], NULL, 10) * 1000000u;
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        err(1, "/dev/fuse");
    }
    snprintf(options, sizeof(options),
             "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,"
             "max_read=%u",
             device, MAX_READ);
    if (mount("slowfs", argv[2], "fuse.slowfs",
              MS_RDONLY | MS_NOSUID | MS_NODEV, options)) {
        err(1, "mount %s", argv[2]);
    }
    for (size_t i = 0; i < THREADS; i++) {
        int failed = pthread_create(&threads[i], NULL, serve, NULL);
        if (failed) {
            errx(1, "pthread_create: %s", strerror(failed));
        }
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    return 0;
}
