/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sandbox: its two steps and what is told about them; see sandbox.h. */
#include "sandbox.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "message.h"
#include "sandbox_impl.h"

/* The process has one sandbox. */
static struct sandbox sandbox;
static struct {
    bool has_begun;
    bool is_required; /* --require-sandbox */
    bool has_filter;
    bool has_landlock; /* for the step that was made last */
    int abi;           /* Landlock's */
} state;

void sandbox_allow_writing(int fd)
{
    if (sandbox.fds_nr < SANDBOX_FDS_MAX) {
        sandbox.fds[sandbox.fds_nr++] = fd;
    }
}

void sandbox_allow_ring(int fd)
{
    if (sandbox.rings_nr < SANDBOX_RINGS_MAX) {
        sandbox.rings[sandbox.rings_nr++] = fd;
    }
}

bool sandbox_is_wanted(const struct common_values *common)
{
    return !common->no_sandbox;
}

/* Something of the sandbox cannot be had: why stands in ERR. */
static int lack(const char *what, struct img_error *err)
{
    char why[IMG_ERROR_TEXT_MAX];

    (void)snprintf(why, sizeof(why), "%s", err->text);
    if (state.is_required) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "--require-sandbox: there is no %s: %s", what, why);
    }
    message_detail("the sandbox has no %s: %s", what, why);
    return 0;
}

/* What holds for good and costs nothing. */
static int give_up_rights(struct img_error *err)
{
    const struct rlimit none = {0, 0};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "the kernel has no PR_SET_NO_NEW_PRIVS");
    }
    /* Neither a dump of the images' contents nor another program's look into
       this one; a sanitizer has to look. */
    (void)setrlimit(RLIMIT_CORE, &none);
    if (!SANDBOX_SANITIZED) {
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
    return 0;
}

static int limit_files(enum sandbox_step step, struct img_error *err)
{
    /*
     * Under Landlock nobody may look at processes outside, and the holder of
     * a lock would not be found. So the first step has it only where the
     * caller wants to be kept inside folders.
     */
    if (state.abi == 0 || (step == SANDBOX_OPENING && !sandbox.roots)) {
        return 0;
    }
    state.has_landlock = sandbox_landlock(&sandbox, step, state.abi, err) == 0;
    return state.has_landlock ? 0 : lack("Landlock", err);
}

static int limit_calls(enum sandbox_step step, struct img_error *err)
{
    bool is_brief = state.has_landlock && (sandbox.needs & SANDBOX_BRIEF);

    if (step == SANDBOX_READING && (is_brief || !state.has_filter)) {
        return 0;
    }
    if (sandbox_calls_limit(&sandbox, step, err) < 0) {
        return lack("filter of system calls", err);
    }
    state.has_filter = true;
    return 0;
}

/* Calls that the filter refuses need no rule of Landlock. */
static void tell_what_landlock_lacks(void)
{
    const char *what = sandbox_landlock_lacks(state.abi);

    if (state.abi > 0 && what && !state.has_filter) {
        message_detail("the kernel's Landlock (version %d) does not restrict "
                       "%s",
                       state.abi, what);
    }
}

int sandbox_begin(const struct common_values *common, unsigned needs,
                  struct img_error *err)
{
    if (common->no_sandbox) {
        message_note("--no-sandbox: whatever an image makes of this program "
                     "can do all that its user can");
        return 0;
    }
    sandbox.needs = needs;
    sandbox.roots = common->roots;
    state.is_required = common->require_sandbox;
    state.abi = sandbox_landlock_abi();
    if (give_up_rights(err) < 0) {
        return lack("sandbox", err);
    }
    state.has_begun = true;
    if (state.abi == 0) {
        img_fail(err, IMG_UNSUPPORTED, "the kernel does not offer it");
        if (lack("Landlock", err) < 0) {
            return -1;
        }
    }
    if (limit_files(SANDBOX_OPENING, err) < 0 ||
        limit_calls(SANDBOX_OPENING, err) < 0) {
        return -1;
    }
    tell_what_landlock_lacks();
    return 0;
}

int sandbox_seal(struct img_error *err)
{
    if (!state.has_begun) {
        return 0;
    }
    state.has_begun = false;
    state.has_landlock = false;
    return limit_files(SANDBOX_READING, err) < 0 ||
                   limit_calls(SANDBOX_READING, err) < 0
               ? -1
               : 0;
}
