/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The imgchain command: finds the command, parses its options, runs it. Only
 * tools/ prints or exits.
 */
#include <errno.h>
#include <fcntl.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bounds.h"
#include "command.h"
#include "message.h"
#include "outfile.h"
#include "signals.h"

/* How long a cancelled command may take to end; one that writes has to bring
   the image into a state that it can tell about. */
#define READER_GRACE_S 1u
#define WRITER_GRACE_S 30u

/*
 * No image may become descriptor 0, 1 or 2 because the caller closed those.
 * stdin and stdout are filled so that using them still fails, as it would
 * have.
 */
static bool fill_standard_fds(void)
{
    static const int flags[] = {O_WRONLY, O_RDONLY, O_RDWR};

    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) {
            continue;
        }
        /* The lowest free number is FD: those below are open. */
        if (open("/dev/null", flags[fd]) != fd) {
            return false;
        }
    }
    return true;
}

static int fail_operands(const struct command *command, int found)
{
    const char *space = command->verb ? " " : "";
    const char *verb = command->verb ? command->verb : "";

    message_failed("%s%s%s: found %d operand%s, expected %s; see imgchain "
                   "%s%s%s --help",
                   command->name, space, verb, found, found == 1 ? "" : "s",
                   command->operands, command->name, space, verb);
    return command->usage_exit;
}

static int run_limited(const struct command *command, void *values,
                       char **operands, int nr)
{
    const struct common_values *common = values;
    int code = command->limit_exit ? command->limit_exit : EXIT_FAILED;
    bool is_writer = (command->without & WITHOUT_SANDBOX) != 0;
    struct img_error err;

    if (bounds_apply(common, code, is_writer ? WRITER_GRACE_S : READER_GRACE_S,
                     &err) < 0) {
        message_error(&err);
        return code;
    }
    code = command->run(values, operands, nr);
    outfile_discard_prepared();
    return code;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct img_error err;
    IMG_AUTO(img_free_ptr)
    void *values = img_calloc(1, command->values_len, &err);
    struct common_values *common = values;
    int first = 0, code = command->usage_exit, min = command->min_operands;

    if (!values) {
        message_error(&err);
        return code;
    }
    if (options_parse(command, argc, argv, values, &first, &err) < 0) {
        message_error(&err);
    } else if (common->wants_help) {
        code = help_command(command);
    } else if (common->wants_choices) {
        code = command->choices(values);
    } else {
        int nr = argc - first;

        message_set_level(common->quiet, common->verbose);
        if (command->without & WITHOUT_SHARE) {
            message_without_share();
        }
        if (common->fd >= 0 && min > 0) {
            min--;
        }
        if (nr < min ||
            (command->max_operands >= 0 && nr > command->max_operands)) {
            code = fail_operands(command, nr);
        } else if (common->image_opts && (common->format || common->fd >= 0)) {
            message_failed("--image-opts goes with neither --format nor --fd");
        } else {
            code = run_limited(command, values, argv + first, nr);
        }
    }
    if (command->fini) {
        command->fini(values);
    }
    options_fini(common);
    return code;
}

/* A name that is no command: which, and what may have been meant. */
static int fail_unknown(const char *group, const char *name)
{
    char shown[256];
    const char *near = command_nearest(group, name);
    const char *space = group ? " " : "";
    const char *what = name[0] == '-' ? "option" : "command";

    img_escape(name, strlen(name), shown, sizeof(shown));
    if (near) {
        message_failed("unknown %s %s%s%s; did you mean %s?", what,
                       group ? group : "", space, shown, near);
    } else {
        message_failed("unknown %s %s%s%s; see imgchain %s%s--help", what,
                       group ? group : "", space, shown, group ? group : "",
                       space);
    }
    return EXIT_USAGE;
}

static int dispatch(int argc, char **argv)
{
    const struct command *command;
    int words;

    if (argc < 2) {
        message_failed("no command given; see imgchain --help");
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        (strcmp(argv[1], "help") == 0 && argc == 2)) {
        return help_all();
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        return version_print();
    }
    if (strcmp(argv[1], "help") == 0) {
        command = command_find(argc - 2, argv + 2, &words);
        if (command) {
            return help_command(command);
        }
        return command_is_group(argv[2]) ? help_group(argv[2])
                                         : fail_unknown(NULL, argv[2]);
    }
    command = command_find(argc - 1, argv + 1, &words);
    if (command) {
        return run(command, argc - words, argv + words);
    }
    if (!command_is_group(argv[1])) {
        return fail_unknown(NULL, argv[1]);
    }
    if (argc == 2) {
        message_failed("%s: no operation given; see imgchain %s --help",
                       argv[1], argv[1]);
        return EXIT_USAGE;
    }
    if (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0) {
        return help_group(argv[1]);
    }
    return fail_unknown(argv[1], argv[2]);
}

int main(int argc, char **argv)
{
    int code;

    if (!fill_standard_fds()) {
        return EXIT_USAGE;
    }
    signals_init();
    code = dispatch(argc, argv);
    /* Network file systems report a full disk only now. */
    if (close(STDOUT_FILENO) < 0 && errno != EBADF && code == EXIT_DONE) {
        message_failed("standard output: cannot write: %s", strerror(errno));
        code = EXIT_FAILED;
    }
    return code;
}
