/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* saved-image edit: the XML of a saved domain in the user's editor. */
#include <errno.h>
#include <fcntl.h>
#include <img/file.h>
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"
#include "saved.h"
#include "session.h"

#define AT(field) offsetof(struct saved_change_values, field)

const struct option_spec saved_edit_options[] = {
    {0, "running", NULL, "it goes on at once when it is restored", option_flag,
     AT(running)},
    {0, "paused", NULL, "it waits when it is restored", option_flag,
     AT(paused)},
    {0, "force", NULL, "also what the guest will notice", option_flag,
     AT(force)},
    {0, NULL, NULL, NULL, NULL, 0},
};

/* The text while it is edited; secrets are in it. */
struct draft {
    const char *original; /* what stood in it */
    char *path;
    char *text; /* what stands in it now */
    size_t len;
    bool is_kept; /* it is left to the user */
};

static void draft_fini(struct draft *draft)
{
    if (draft->path && !draft->is_kept) {
        (void)unlink(draft->path);
    }
    free(draft->path);
    free(draft->text);
}

static int write_all(int fd, const char *text, size_t len,
                     struct img_error *err)
{
    while (len > 0) {
        ssize_t done = write(fd, text, len);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return img_fail_sys(err, errno, "cannot write the file to edit");
        }
        text += done;
        len -= (size_t)done;
    }
    return 0;
}

/* mkostemps makes it for the user's eyes only: mode 0600. */
static int draft_make(struct draft *draft, const char *text,
                      struct img_error *err)
{
    const char *folder = getenv("TMPDIR");
    int fd, rc;

    draft->path = img_text(err, "%s/imgchain-XXXXXX.xml",
                           folder && folder[0] ? folder : "/tmp");
    if (!draft->path) {
        return -1;
    }
    fd = mkostemps(draft->path, 4, O_CLOEXEC);
    if (fd < 0) {
        img_fail_sys(err, errno, "cannot make the file to edit");
        img_error_set_path(err, draft->path);
        free(img_steal(&draft->path));
        return -1;
    }
    rc = write_all(fd, text, strlen(text), err);
    if (close(fd) < 0 && rc == 0) {
        rc = img_fail_sys(err, errno, "cannot write the file to edit");
    }
    if (rc < 0) {
        img_error_set_path(err, draft->path);
    }
    return rc;
}

/* The editor may have put another file in its place. */
static int draft_read(struct draft *draft, struct img_error *err)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;

    free(img_steal(&draft->text));
    if (img_file_open(draft->path, &options, &file, err) < 0) {
        return -1;
    }
    draft->len = img_file_len(file);
    if (draft->len > CHAIN_VIRT_MAX_LEN) {
        return img_fail(err, IMG_LIMIT, "too long: found %zu bytes",
                        draft->len);
    }
    draft->text = img_calloc(1, draft->len + 1, err);
    return draft->text ? img_file_read(file, draft->text, draft->len, 0, err)
                       : -1;
}

enum outcome {
    TAKEN,
    REFUSED, /* the reason stands on stderr */
    LATE,    /* another has changed the image: REFUSED for good */
};

/* Try to make what is in DRAFT of the image. */
static enum outcome attempt(const struct saved_change_values *values,
                            const char *path, const struct draft *draft,
                            struct saved_plan *plan)
{
    const struct common_values *common = &values->change.common;
    const struct saved_wish wish = {
        .xml = draft->text,
        .xml_len = draft->len,
        .xml_name = draft->path,
        .running = values->running,
        .paused = values->paused,
        .force = values->force,
    };
    char shown[IMG_ERROR_PATH_MAX];
    struct img_error err;

    if (saved_plan_read(path, common, true, plan, &err) < 0) {
        message_error(&err);
        return REFUSED;
    }
    if (strcmp(plan->saved->xml, draft->original) != 0) {
        img_escape(path, strlen(path), shown, sizeof(shown));
        message_failed("%s: its XML was changed while this one was edited",
                       shown);
        return LATE;
    }
    if (saved_plan_make(plan, &wish, common, &err) < 0) {
        message_error(&err);
        return REFUSED;
    }
    if (!saved_plan_is_accepted(plan)) {
        saved_tell_refusal(plan);
        return REFUSED;
    }
    saved_tell_warnings(plan);
    if (saved_plan_write(plan, 1, &err) < 0) {
        message_error(&err);
        return REFUSED;
    }
    return TAKEN;
}

/*
 * 'y': edit again; 'f': force; 'n', the end of input: give up. It says where
 * the text is: whoever interrupts the question finds it there.
 */
static char ask(const struct draft *draft, bool can_force)
{
    char line[64], shown[IMG_ERROR_PATH_MAX];

    img_escape(draft->path, strlen(draft->path), shown, sizeof(shown));
    for (;;) {
        (void)fprintf(stderr,
                      "Failed; the edited XML is in %s. Try again? [y,n%s]: ",
                      shown, can_force ? ",f" : "");
        if (!fgets(line, sizeof(line), stdin)) {
            return 'n';
        }
        switch (line[0]) {
        case 'y':
        case 'n':
            return line[0];
        case 'f':
            if (can_force) {
                return 'f';
            }
            break;
        default:
            break;
        }
        (void)fprintf(stderr, "y - edit it again\n%sn - give up\n",
                      can_force ? "f - define it all the same (--force)\n"
                                : "");
    }
}

static bool is_unchanged(struct draft *draft)
{
    struct img_error ignored;

    return draft_read(draft, &ignored) == 0 && draft->text &&
           draft->len == strlen(draft->original) &&
           memcmp(draft->text, draft->original, draft->len) == 0;
}

static int give_up(struct draft *draft)
{
    char shown[IMG_ERROR_PATH_MAX];

    if (is_unchanged(draft)) {
        message_failed("nothing was done");
        return EXIT_FAILED;
    }
    draft->is_kept = true;
    img_escape(draft->path, strlen(draft->path), shown, sizeof(shown));
    message_failed("nothing was done; the edited XML is kept in %s", shown);
    return EXIT_FAILED;
}

/* Edit until it is taken, or the user gives up. */
static int edit(struct saved_change_values *values, const char *path,
                struct draft *draft, struct output *out)
{
    bool is_asked = true;

    for (;;) {
        struct saved_plan plan = {.path = NULL};
        struct img_error err;
        enum outcome outcome;
        char answer;

        if ((is_asked && saved_editor_run(draft->path, &err) < 0) ||
            draft_read(draft, &err) < 0) {
            message_error(&err);
            return give_up(draft);
        }
        outcome = attempt(values, path, draft, &plan);
        if (outcome == TAKEN) {
            saved_show_plans(out, &values->change, &plan, 1);
        }
        saved_plan_fini(&plan);
        if (outcome == TAKEN) {
            return change_finish(&values->change, out);
        }
        answer = outcome == REFUSED && isatty(STDIN_FILENO)
                     ? ask(draft, !values->force)
                     : 'n';
        if (answer == 'n') {
            return give_up(draft);
        }
        values->force |= answer == 'f';
        is_asked = answer == 'y';
    }
}

int cmd_saved_edit(void *opaque, char **operands, int nr)
{
    struct saved_change_values *values = opaque;
    const struct common_values *common = &values->change.common;
    IMG_AUTO(draft_fini) struct draft draft = {.path = NULL};
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    IMG_AUTO(saved_free) struct chain_saved *saved = NULL;
    struct img_error err;

    (void)nr;
    if (values->running && values->paused) {
        message_failed("--running and --paused exclude each other");
        return EXIT_USAGE;
    }
    if (session_output(common, &out, &err) < 0 ||
        saved_settle(operands[0], &err) < 0 ||
        chain_saved_read(operands[0], common->roots, &saved, &err) < 0 ||
        draft_make(&draft, saved->xml, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    draft.original = saved->xml;
    return edit(values, operands[0], &draft, out);
}
