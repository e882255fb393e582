/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QMP client against a peer that says whatever it is told to: what is
 * right, and every kind of nonsense. A real QEMU's turn is in tests/interop.
 */
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../chain/live/qmp.h"
#include "../../chain/live/qmp_lines.h"

#define GREETING                                                               \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, "        \
    "\"major\": 7}, \"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n"
#define OK_0 "{\"return\": {}, \"id\": 0}\r\n"
#define EVENT                                                                  \
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": "       \
    "\"STOP\"}\r\n"

/*
 * Says its lines one by one, and after each but the first waits until it was
 * asked something: "\n" alone ends what is said before the next question.
 */
struct peer {
    const char *const *says; /* ended by NULL */
    int fd;
    pthread_t thread;
    char heard[65536];
    size_t heard_len;
    bool is_slow; /* byte by byte */
    bool is_closing;
};

static struct img_error err;

static void say(const struct peer *peer, const char *text)
{
    size_t step = peer->is_slow ? 1 : strlen(text);

    for (size_t left = strlen(text); left > 0;) {
        ssize_t n =
            send(peer->fd, text, step < left ? step : left, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        text += n;
        left -= (size_t)n;
    }
}

static bool hear(struct peer *peer)
{
    size_t begin = peer->heard_len;

    while (!memchr(peer->heard + begin, '\n', peer->heard_len - begin)) {
        ssize_t n = recv(peer->fd, peer->heard + peer->heard_len,
                         sizeof(peer->heard) - peer->heard_len - 1, 0);
        if (n <= 0) {
            return false;
        }
        peer->heard_len += (size_t)n;
    }
    return true;
}

static void *peer_run(void *opaque)
{
    struct peer *peer = opaque;

    for (size_t i = 0; peer->says[i]; i++) {
        if (i > 0 && !hear(peer)) {
            return NULL;
        }
        say(peer, peer->says[i]);
    }
    if (peer->is_closing) {
        (void)shutdown(peer->fd, SHUT_RDWR);
    }
    return NULL;
}

/* The name under which the client reaches a peer that says SAYS. */
static void peer_start(struct peer *peer, char name[32])
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                     0);
    peer->fd = fds[1];
    ck_assert_int_eq(pthread_create(&peer->thread, NULL, peer_run, peer), 0);
    (void)snprintf(name, 32, "fd:%d", fds[0]);
}

static int given_fd(const char *name)
{
    return atoi(name + 3); /* NOLINT(cert-err34-c): written above */
}

static void peer_stop(struct peer *peer, const char *name)
{
    (void)close(given_fd(name));
    (void)shutdown(peer->fd, SHUT_RDWR);
    ck_assert_int_eq(pthread_join(peer->thread, NULL), 0);
    (void)close(peer->fd);
}

static int open_peer(struct peer *peer, char name[32], unsigned timeout_ms,
                     struct qmp **out)
{
    const struct qmp_options options = {.timeout_ms = timeout_ms};

    img_error_clear(&err);
    peer_start(peer, name);
    return qmp_open(name, &options, out, &err);
}

START_TEST(test_a_conversation)
{
    static const char *const says[] = {
        GREETING, EVENT OK_0,
        EVENT "{\"return\": [{\"name\": \"a\"}], \"id\": 1}\n",
        "{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": "
        "\"no\\u001b such node\"}}\n" EVENT,
        NULL};

    for (int slow = 0; slow < 2; slow++) {
        struct peer peer = {.says = says, .is_slow = slow == 1};
        struct img_json *answer, *event;
        unsigned major, minor;
        struct qmp *qmp;
        char name[32];

        unit_ok(open_peer(&peer, name, 5000, &qmp), &err);
        qmp_version(qmp, &major, &minor);
        ck_assert_uint_eq(major, 7);
        ck_assert_uint_eq(minor, 2);
        unit_ok(qmp_execute(qmp, "query-x", NULL, &answer, &err), &err);
        ck_assert_str_eq(img_json_get_string(img_json_at(answer, 0), "name"),
                         "a");
        img_json_free(answer);
        struct img_json *arguments = img_json_object();
        img_json_set_string(arguments, "node-name", "n\"\n");
        unit_fails(qmp_execute(qmp, "blockdev-del", arguments, NULL, &err),
                   &err, IMG_REFUSED, "blockdev-del: no\\x1b such node");
        ck_assert_str_eq(err.path, name);
        for (int i = 0; i < 3; i++) {
            unit_ok(qmp_wait_event(qmp, 5000, &event, &err), &err);
            ck_assert_str_eq(img_json_get_string(event, "event"), "STOP");
            img_json_free(event);
        }
        unit_ok(qmp_wait_event(qmp, 1, &event, &err), &err);
        ck_assert_ptr_null(event);
        qmp_close(qmp);
        peer_stop(&peer, name);
        ck_assert_str_eq(
            peer.heard,
            "{\"execute\":\"qmp_capabilities\",\"id\":0}\n"
            "{\"execute\":\"query-x\",\"id\":1}\n"
            "{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":"
            "\"n\\\"\\n\"},\"id\":2}\n");
    }
}
END_TEST

/* What a peer says at once, and what comes of it. */
struct nonsense {
    const char *greeting, *answer;
    enum img_code code;
    const char *text;
};

static const struct nonsense nonsense[] = {
    {"SSH-2.0-x\r\n", NULL, IMG_FORMAT, "QMP: not JSON: "},
    {"[]\n", NULL, IMG_FORMAT, "QMP: found a message that is no object"},
    {"{}\n", NULL, IMG_FORMAT,
     "QMP: found a message that is no greeting of QEMU's"},
    {"{\"QMP\": 3}\n", NULL, IMG_FORMAT,
     "QMP: found a message that is no greeting of QEMU's"},
    {"{\"QMP\": {\"version\": {\"qemu\": {\"major\": -1, \"minor\": 0}}}}\n",
     NULL, IMG_FORMAT, "QMP: found a message that is no greeting of QEMU's"},
    {"{\"a\": 1, \"a\": 2}\n", NULL, IMG_FORMAT,
     "QMP: JSON text: found 2 keys of which 1 differ"},
    {GREETING, "{}\n", IMG_FORMAT,
     "QMP: found a message of another kind, expected an event or the answer "
     "to what was asked"},
    {GREETING, "{\"return\": {}}\n", IMG_FORMAT,
     "QMP: found an answer without an id, expected an event or the answer to "
     "what was asked"},
    {GREETING, "{\"return\": {}, \"id\": 7}\n", IMG_FORMAT,
     "QMP: found an answer to something else, expected an event or the answer "
     "to what was asked"},
    {GREETING, "{\"return\": {}, \"error\": {}, \"id\": 0}\n", IMG_FORMAT,
     "QMP: found a message of another kind, expected an event or the answer "
     "to what was asked"},
    {GREETING, "{\"error\": 1, \"id\": 0}\n", IMG_REFUSED,
     "qmp_capabilities: an error without a description"},
    {GREETING, "\r\n\r\n", IMG_IO,
     "QMP: no answer came within 300 milliseconds"},
    {"\n", NULL, IMG_IO,
     "QMP: no greeting came within 300 milliseconds; is somebody else "
     "connected?"},
};

START_TEST(test_nonsense)
{
    const struct nonsense *row = &nonsense[_i];
    const char *const says[] = {row->greeting, row->answer, NULL};
    struct peer peer = {.says = says};
    struct qmp *qmp = NULL;
    char name[32];

    ck_assert_int_eq(open_peer(&peer, name, 300, &qmp), -1);
    ck_assert_int_eq((int)err.code, (int)row->code);
    ck_assert_msg(strncmp(err.text, row->text, strlen(row->text)) == 0,
                  "found \"%s\", expected \"%s\"", err.text, row->text);
    ck_assert_str_eq(err.path, name);
    peer_stop(&peer, name);
}
END_TEST

START_TEST(test_a_peer_that_goes)
{
    static const char *const at_once[] = {NULL};
    static const char *const later[] = {GREETING, OK_0, "{\"retu", NULL};
    struct peer silent = {.says = at_once, .is_closing = true};
    struct peer cut = {.says = later, .is_closing = true};
    struct img_json *event;
    struct qmp *qmp;
    char name[32];

    ck_assert_int_eq(open_peer(&silent, name, 5000, &qmp), -1);
    ck_assert_str_eq(err.text, "QMP: the connection was closed");
    peer_stop(&silent, name);

    unit_ok(open_peer(&cut, name, 5000, &qmp), &err);
    unit_fails(qmp_execute(qmp, "stop", NULL, NULL, &err), &err, IMG_IO,
               "QMP: the connection was closed");
    /* And so it stays. */
    unit_fails(qmp_execute(qmp, "cont", NULL, NULL, &err), &err, IMG_IO,
               "QMP: the connection was closed");
    unit_fails(qmp_wait_event(qmp, 1, &event, &err), &err, IMG_IO,
               "QMP: the connection was closed");
    qmp_close(qmp);
    peer_stop(&cut, name);
}
END_TEST

START_TEST(test_a_flood_of_events_ends)
{
    static char flood[(QMP_EVENTS_MAX + 1) * (sizeof(EVENT) - 1) + 1];
    const char *const says[] = {GREETING, OK_0, flood, NULL};
    struct peer peer = {.says = says};
    struct qmp *qmp;
    char name[32];

    for (size_t i = 0; i <= QMP_EVENTS_MAX; i++) {
        memcpy(flood + i * (sizeof(EVENT) - 1), EVENT, sizeof(EVENT));
    }
    unit_ok(open_peer(&peer, name, 5000, &qmp), &err);
    unit_fails(qmp_execute(qmp, "query-status", NULL, NULL, &err), &err,
               IMG_LIMIT, "QMP: found more than 4096 events at once");
    qmp_close(qmp);
    peer_stop(&peer, name);
}
END_TEST

START_TEST(test_a_message_without_end_ends)
{
    static char blob[QMP_LINE_MAX_LEN + 65536];
    const char *const says[] = {blob, NULL};
    struct peer peer = {.says = says};
    struct qmp *qmp;
    char name[32];

    memset(blob, ' ', sizeof(blob) - 1);
    ck_assert_int_eq(open_peer(&peer, name, 5000, &qmp), -1);
    ck_assert_int_eq((int)err.code, IMG_LIMIT);
    ck_assert_str_eq(err.text,
                     "QMP: found a message of more than 16777216 bytes, "
                     "expected a shorter one");
    peer_stop(&peer, name);
}
END_TEST

START_TEST(test_names_that_lead_nowhere)
{
    const struct qmp_options options = {0};
    struct qmp *qmp;
    char path[200];

    unit_fails(qmp_open("/nowhere/qmp.sock", &options, &qmp, &err), &err,
               IMG_NOT_FOUND,
               "cannot connect to it: No such file or directory");
    unit_fails(qmp_open("fd:2000000000", &options, &qmp, &err), &err, IMG_USAGE,
               "found a descriptor that is no stream socket");
    /* No number, so it is a file's name. */
    unit_fails(qmp_open("fd:x", &options, &qmp, &err), &err, IMG_NOT_FOUND,
               "cannot connect to it: No such file or directory");
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    unit_fails(qmp_open(path, &options, &qmp, &err), &err, IMG_USAGE,
               "found a socket's path of 199 bytes, expected at most 107");
}
END_TEST

START_TEST(test_cancelled)
{
    static const char *const says[] = {NULL};
    const volatile int cancel = 1;
    const struct qmp_options options = {.cancel = &cancel};
    struct peer peer = {.says = says};
    struct qmp *qmp;
    char name[32];

    peer_start(&peer, name);
    unit_fails(qmp_open(name, &options, &qmp, &err), &err, IMG_CANCELLED,
               "cancelled");
    peer_stop(&peer, name);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("qmp");

    tcase_add_test(tcase, test_a_conversation);
    tcase_add_loop_test(tcase, test_nonsense, 0,
                        (int)(sizeof(nonsense) / sizeof(nonsense[0])));
    tcase_add_test(tcase, test_a_peer_that_goes);
    tcase_add_test(tcase, test_a_flood_of_events_ends);
    tcase_add_test(tcase, test_a_message_without_end_ends);
    tcase_add_test(tcase, test_names_that_lead_nowhere);
    tcase_add_test(tcase, test_cancelled);
    return unit_run("qmp", tcase);
}
