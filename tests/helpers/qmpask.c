/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmpask NAME COMMAND [ARGUMENTS [COMMAND ...]]: each command in turn through
 * the QMP client, one line of JSON for each answer, "refused: TEXT" for a
 * refusal, and at the end the events. "-" for no arguments. "chain DEVICE"
 * prints the layers under a device. For scripts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../chain/live/nodes.h"

static void fail(const struct img_error *err)
{
    char line[8192];

    (void)img_error_format(err, line, sizeof(line));
    (void)fprintf(stderr, "qmpask: %s\n", line);
    exit(EXIT_FAILURE);
}

static void print(const struct img_json *value)
{
    struct img_error err;
    char *text = img_json_text(value, false, &err);

    if (!text) {
        fail(&err);
    }
    (void)printf("%s\n", text);
    free(text);
}

static struct img_json *arguments_of(const char *text)
{
    struct img_json *arguments = NULL;
    struct img_error err;

    if (strcmp(text, "-") != 0 &&
        img_json_parse(text, strlen(text), &arguments, &err) != 0) {
        fail(&err);
    }
    return arguments;
}

static void ask(struct qmp *qmp, const char *command, const char *arguments)
{
    struct img_json *answer;
    struct img_error err;

    if (qmp_execute(qmp, command, arguments_of(arguments), &answer, &err) ==
        0) {
        print(answer);
        img_json_free(answer);
    } else if (err.code == IMG_REFUSED) {
        (void)printf("refused: %s\n", err.text);
    } else {
        fail(&err);
    }
}

static const char *name_of(const struct live_nodes *nodes, size_t idx)
{
    return idx == LIVE_NO_NODE ? "-" : live_nodes_at(nodes, idx)->name;
}

/* The chain under a device: a line for each layer of it. */
static void print_chain(struct qmp *qmp, const char *device)
{
    struct live_nodes *nodes;
    struct img_error err;
    size_t idx = LIVE_NO_NODE;

    if (live_nodes_query(qmp, &nodes, &err) != 0 ||
        live_nodes_find_device(nodes, device, &idx, &err) != 0) {
        fail(&err);
    }
    while (idx != LIVE_NO_NODE) {
        size_t format = live_nodes_skip_filters(nodes, idx);
        const struct live_node *node = live_nodes_at(nodes, format);
        size_t storage = live_nodes_storage(nodes, format);

        (void)printf("%s %s %s %llu %s on %s %s\n", name_of(nodes, idx),
                     node->name, node->driver,
                     (unsigned long long)node->virtual_len,
                     node->is_read_only ? "ro" : "rw",
                     live_nodes_at(nodes, storage)->driver, node->filename);
        idx = node->backing;
    }
    live_nodes_free(nodes);
}

int main(int argc, char **argv)
{
    const struct qmp_options options = {.timeout_ms = 10000};
    struct img_json *event = NULL;
    struct img_error err;
    struct qmp *qmp;

    if (argc < 2 || qmp_open(argv[1], &options, &qmp, &err) != 0) {
        fail(&err);
    }
    for (int i = 2; i < argc; i += 2) {
        const char *argument = i + 1 < argc ? argv[i + 1] : "-";

        if (strcmp(argv[i], "chain") == 0) {
            print_chain(qmp, argument);
        } else {
            ask(qmp, argv[i], argument);
        }
    }
    do {
        img_json_free(event);
        if (qmp_wait_event(qmp, 500, &event, &err) != 0) {
            fail(&err);
        }
        if (event) {
            print(event);
        }
    } while (event);
    qmp_close(qmp);
    return EXIT_SUCCESS;
}
