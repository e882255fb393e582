/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmpask NAME COMMAND [ARGUMENTS [COMMAND ...]]: each command in turn through
 * the QMP client, one line of JSON for each answer, "refused: TEXT" for a
 * refusal, and at the end the events. "-" for no arguments. For scripts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../chain/live/qmp.h"

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
        ask(qmp, argv[i], i + 1 < argc ? argv[i + 1] : "-");
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
