/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pivots against a peer that keeps a list of nodes and one job, and fails at
 * the command that it is told to: which error comes out, and what is taken
 * back. A real QEMU's turn is in tests/interop/pivot.py.
 */
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chain/pivot.h>
#include <img/json.h>

#define IMAGE_LEN (1u << 20)
#define TEXT_LEN 8192u
#define NODES_MAX 8u

struct peer {
    /* What it is told to do. */
    const char *major;      /* of its version */
    const char *failing;    /* a command that is refused, or NULL */
    unsigned failing_at;    /* the how manieth of them, from 1 */
    const char *job_error;  /* the job ends with it before it is ready */
    const char *source_job; /* somebody's job on the disk */
    bool is_closing;        /* instead of refusing, go */

    char source[512];
    char nodes[NODES_MAX][40];
    size_t nodes_nr;
    char job[64]; /* "": none */
    const char *job_status;
    char said[TEXT_LEN]; /* names of the commands that change something */
    unsigned failing_seen;
    int fd;
    pthread_t thread;
};

static struct img_error err;

static void add_text(char *text, const char *more)
{
    size_t len = strlen(text);

    (void)snprintf(text + len, TEXT_LEN - len, "%s", more);
}

static void add_node(char *text, const char *name, const char *driver,
                     const char *file)
{
    size_t len = strlen(text);

    (void)snprintf(text + len, TEXT_LEN - len,
                   "%s{\"node-name\": \"%s\", \"drv\": \"%s\", \"ro\": false, "
                   "\"image\": {\"filename\": \"%s\", \"virtual-size\": %u}}",
                   text[len - 1] == '[' ? "" : ", ", name, driver, file,
                   IMAGE_LEN);
}

static bool is_format(const char *name)
{
    return strstr(name, "-f") != NULL;
}

static void answer_nodes(const struct peer *peer, char *out)
{
    add_text(out, "[");
    add_node(out, "disk", "raw", peer->source);
    add_node(out, "disk-file", "file", peer->source);
    for (size_t i = 0; i < peer->nodes_nr; i++) {
        add_node(out, peer->nodes[i],
                 is_format(peer->nodes[i]) ? "raw" : "file", "x");
    }
    add_text(out, "]");
}

static void add_vertex(char *out, size_t id, const char *type, const char *name)
{
    size_t len = strlen(out);

    (void)snprintf(out + len, TEXT_LEN - len,
                   "%s{\"id\": %zu, \"type\": \"%s\", \"name\": \"%s\"}",
                   id == 1 ? "" : ", ", id, type, name);
}

/* 1 and 2 are the disk's, 3 its device, 4 a job; then come added nodes. */
static void answer_graph(const struct peer *peer, char *out)
{
    add_text(out, "{\"nodes\": [");
    add_vertex(out, 1, "block-driver", "disk");
    add_vertex(out, 2, "block-driver", "disk-file");
    add_vertex(out, 3, "block-backend", "dev");
    if (peer->source_job) {
        add_vertex(out, 4, "block-job", peer->source_job);
    }
    for (size_t i = 0; i < peer->nodes_nr; i++) {
        add_vertex(out, 5 + i, "block-driver", peer->nodes[i]);
    }
    add_text(out, "], \"edges\": [{\"parent\": 1, \"child\": 2, \"name\": "
                  "\"file\"}, {\"parent\": 3, \"child\": 1, \"name\": "
                  "\"root\"}");
    if (peer->source_job) {
        add_text(out, ", {\"parent\": 4, \"child\": 1, \"name\": \"source\"}");
    }
    if (peer->nodes_nr == 2) {
        add_text(out, ", {\"parent\": 6, \"child\": 5, \"name\": \"file\"}");
    }
    add_text(out, "]}");
}

static void answer_jobs(struct peer *peer, char *out)
{
    size_t len;

    add_text(out, "[");
    if (peer->job[0]) {
        len = strlen(out);
        (void)snprintf(out + len, TEXT_LEN - len,
                       "{\"id\": \"%s\", \"status\": \"%s\", \"type\": "
                       "\"mirror\", \"current-progress\": 1, "
                       "\"total-progress\": 2",
                       peer->job, peer->job_status);
        if (peer->job_error && strcmp(peer->job_status, "concluded") == 0) {
            len = strlen(out);
            (void)snprintf(out + len, TEXT_LEN - len, ", \"error\": \"%s\"",
                           peer->job_error);
        }
        add_text(out, "}");
        if (strcmp(peer->job_status, "running") == 0) {
            peer->job_status = peer->job_error ? "concluded" : "ready";
        }
    }
    add_text(out, "]");
}

static const char *argument(const struct img_json *asked, const char *key)
{
    return img_json_get_string(img_json_get(asked, "arguments"), key);
}

static void change(struct peer *peer, const char *command,
                   const struct img_json *asked)
{
    const char *name = argument(asked, "node-name");

    if (strcmp(command, "blockdev-add") == 0 && peer->nodes_nr < NODES_MAX) {
        (void)snprintf(peer->nodes[peer->nodes_nr++], sizeof(peer->nodes[0]),
                       "%s", name);
    } else if (strcmp(command, "blockdev-del") == 0) {
        ck_assert_uint_gt(peer->nodes_nr, 0);
        ck_assert_str_eq(name, peer->nodes[peer->nodes_nr - 1]);
        peer->nodes_nr--;
    } else if (strcmp(command, "blockdev-mirror") == 0) {
        (void)snprintf(peer->job, sizeof(peer->job), "%s",
                       argument(asked, "job-id"));
        peer->job_status = "running";
    } else if (strcmp(command, "block-job-cancel") == 0) {
        peer->job_status = "concluded";
    } else if (strcmp(command, "job-dismiss") == 0) {
        peer->job[0] = '\0';
    }
}

static bool answer(struct peer *peer, const char *command,
                   const struct img_json *asked, char *out)
{
    if (strcmp(command, "qmp_capabilities") == 0) {
        add_text(out, "{}");
    } else if (strcmp(command, "query-named-block-nodes") == 0) {
        answer_nodes(peer, out);
    } else if (strcmp(command, "x-debug-query-block-graph") == 0) {
        answer_graph(peer, out);
    } else if (strcmp(command, "query-block") == 0) {
        add_text(out, "[{\"device\": \"vda\", \"inserted\": {\"node-name\": "
                      "\"disk\"}}]");
    } else if (strcmp(command, "query-jobs") == 0) {
        answer_jobs(peer, out);
    } else {
        add_text(peer->said, command);
        add_text(peer->said, " ");
        if (peer->failing && strcmp(command, peer->failing) == 0 &&
            ++peer->failing_seen == peer->failing_at) {
            return false;
        }
        change(peer, command, asked);
        add_text(out, "{}");
    }
    return true;
}

/* One question; false: the end. */
static bool serve(struct peer *peer, const char *line, size_t len)
{
    static const char refusal[] =
        "\"error\": {\"class\": \"GenericError\", \"desc\": \"I will not\"}";
    char text[TEXT_LEN] = "", whole[TEXT_LEN + 128];
    struct img_json *asked;
    struct img_error ignored;
    uint64_t id;
    bool is_taken, is_going;

    if (img_json_parse(line, len, &asked, &ignored) != 0) {
        return false;
    }
    is_taken = answer(peer, img_json_get_string(asked, "execute"), asked, text);
    is_going = !is_taken && peer->is_closing;
    if (!img_json_get_u64(asked, "id", &id)) {
        is_going = true;
    }
    (void)snprintf(whole, sizeof(whole), "{%s%s, \"id\": %u}\n",
                   is_taken ? "\"return\": " : refusal, is_taken ? text : "",
                   (unsigned)id);
    img_json_free(asked);
    return !is_going && send(peer->fd, whole, strlen(whole), MSG_NOSIGNAL) > 0;
}

static void *peer_run(void *opaque)
{
    struct peer *peer = opaque;
    char greeting[128], line[TEXT_LEN];
    size_t len = 0;

    (void)snprintf(greeting, sizeof(greeting),
                   "{\"QMP\": {\"version\": {\"qemu\": {\"major\": %s, "
                   "\"minor\": 2}}}}\n",
                   peer->major);
    (void)send(peer->fd, greeting, strlen(greeting), MSG_NOSIGNAL);
    while (len < sizeof(line) && recv(peer->fd, line + len, 1, 0) == 1) {
        if (line[len++] == '\n') {
            if (!serve(peer, line, len - 1)) {
                break;
            }
            len = 0;
        }
    }
    (void)shutdown(peer->fd, SHUT_RDWR);
    return NULL;
}

/* ---- A folder with a raw disk and a raw destination. */

static char folder[64], dest[128];
static int given, held;

static void make_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, IMAGE_LEN), 0);
    (void)close(fd);
}

static struct chain_live *begin(struct peer *peer)
{
    struct chain_live *live = NULL;
    char name[32];
    int fds[2];

    (void)snprintf(folder, sizeof(folder), "/tmp/imgchain-pivot.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(dest, sizeof(dest), "%s/dest", folder);
    (void)snprintf(peer->source, sizeof(peer->source), "%s/disk", folder);
    make_file(dest);
    make_file(peer->source);
    /* The peer's process has the disk open. */
    held = open(peer->source, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(held, 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                     0);
    given = fds[0];
    peer->fd = fds[1];
    if (!peer->major) {
        peer->major = "7";
    }
    ck_assert_int_eq(pthread_create(&peer->thread, NULL, peer_run, peer), 0);
    (void)snprintf(name, sizeof(name), "fd:%d", given);
    img_error_clear(&err);
    (void)chain_live_open(name, 5000, &live, &err);
    return live;
}

static void end(struct peer *peer, struct chain_live *live)
{
    chain_live_close(live);
    (void)close(given);
    (void)shutdown(peer->fd, SHUT_RDWR);
    ck_assert_int_eq(pthread_join(peer->thread, NULL), 0);
    (void)close(peer->fd);
    (void)close(held);
    (void)unlink(dest);
    (void)unlink(peer->source);
    (void)rmdir(folder);
}

struct row {
    const char *failing;
    const char *job_error;
    const char *source_job;
    const char *text;
    const char *said;
    size_t remains_nr;
    unsigned failing_at;
    enum img_code code;
    enum chain_pivot_state state;
    bool is_closing;
};

#define ADD "blockdev-add "
#define DEL "blockdev-del "

static const struct row rows[] = {
    {.failing = "blockdev-add",
     .failing_at = 1,
     .code = IMG_REFUSED,
     .text = "blockdev-add: I will not",
     .said = ADD},
    /* The storage node does not stay behind. */
    {.failing = "blockdev-add",
     .failing_at = 2,
     .code = IMG_REFUSED,
     .text = "blockdev-add: I will not",
     .said = ADD ADD DEL},
    {.failing = "blockdev-mirror",
     .failing_at = 1,
     .code = IMG_REFUSED,
     .text = "blockdev-mirror: I will not",
     .said = ADD ADD "blockdev-mirror " DEL DEL},
    {.job_error = "No space left on device",
     .code = IMG_REFUSED,
     .text = "the copy failed in QEMU: No space left on device",
     .said = ADD ADD "blockdev-mirror job-dismiss " DEL DEL},
    {.failing = "job-complete",
     .failing_at = 1,
     .code = IMG_REFUSED,
     .text = "job-complete: I will not",
     .said = ADD ADD "blockdev-mirror job-complete block-job-cancel "
                     "job-dismiss " DEL DEL},
    /* Nobody can be asked any more. */
    {.failing = "job-complete",
     .failing_at = 1,
     .is_closing = true,
     .code = IMG_IO,
     .text = "QMP: the connection was closed",
     .said = ADD ADD "blockdev-mirror job-complete ",
     .state = CHAIN_PIVOT_UNKNOWN},
    {.source_job = "theirs",
     .code = IMG_LOCKED,
     .text = "the disk has a block job already: \"theirs\"",
     .said = ""},
    /* What cannot be taken back is told. */
    {.failing = "blockdev-del",
     .failing_at = 1,
     .job_error = "Input/output error",
     .code = IMG_REFUSED,
     .text = "the copy failed in QEMU: Input/output error",
     .said = ADD ADD "blockdev-mirror job-dismiss " DEL,
     .remains_nr = 2},
};

static int pivot(struct chain_live *live, const char *format,
                 const volatile int *cancel, struct chain_pivot_result *result)
{
    const struct chain_pivot_disk disk = {
        .device = "vda", .dest = dest, .dest_format = format};
    const struct chain_pivot_request request = {
        .kind = CHAIN_PIVOT_COPY,
        .disks = &disk,
        .disks_nr = 1,
        .cancel = cancel,
    };

    return chain_pivot(live, &request, result, &err);
}

START_TEST(test_failures)
{
    const struct row *row = &rows[_i];
    struct peer peer = {.failing = row->failing,
                        .failing_at = row->failing_at,
                        .job_error = row->job_error,
                        .source_job = row->source_job,
                        .is_closing = row->is_closing};
    struct chain_pivot_result result;
    struct chain_live *live = begin(&peer);

    ck_assert_ptr_nonnull(live);
    unit_fails(pivot(live, "raw", NULL, &result), &err, row->code, row->text);
    ck_assert_int_eq((int)result.state, (int)row->state);
    ck_assert_uint_eq(result.remains_nr, row->remains_nr);
    chain_pivot_result_fini(&result);
    end(&peer, live);
    ck_assert_str_eq(peer.said, row->said);
}
END_TEST

START_TEST(test_cancelled)
{
    struct peer peer = {.major = NULL};
    struct chain_pivot_result result;
    const volatile int cancel = 1;
    struct chain_live *live = begin(&peer);

    ck_assert_ptr_nonnull(live);
    unit_fails(pivot(live, "raw", &cancel, &result), &err, IMG_CANCELLED,
               "cancelled");
    chain_pivot_result_fini(&result);
    end(&peer, live);
    ck_assert_str_eq(peer.said, "");
}
END_TEST

START_TEST(test_sizes_differ)
{
    struct peer peer = {.major = NULL};
    struct chain_pivot_result result;
    struct chain_live *live = begin(&peer);

    ck_assert_ptr_nonnull(live);
    ck_assert_int_eq(truncate(dest, IMAGE_LEN / 2), 0);
    unit_fails(pivot(live, "raw", NULL, &result), &err, IMG_USAGE,
               "its virtual size is not the running disk's: found 524288 "
               "bytes, expected 1048576");
    ck_assert_str_eq(err.path, dest);
    chain_pivot_result_fini(&result);
    end(&peer, live);
    ck_assert_str_eq(peer.said, "");
}
END_TEST

START_TEST(test_an_old_qemu)
{
    struct peer peer = {.major = "4"};

    ck_assert_ptr_null(begin(&peer));
    ck_assert_int_eq((int)err.code, IMG_UNSUPPORTED);
    ck_assert_str_eq(err.text, "this QEMU is too old to be pivoted: found 4.2, "
                               "expected 5.0 or later");
    end(&peer, NULL);
    ck_assert_str_eq(peer.said, "");
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("pivot");

    tcase_add_loop_test(tcase, test_failures, 0,
                        (int)(sizeof(rows) / sizeof(rows[0])));
    tcase_add_test(tcase, test_cancelled);
    tcase_add_test(tcase, test_sizes_differ);
    tcase_add_test(tcase, test_an_old_qemu);
    return unit_run("pivot", tcase);
}
