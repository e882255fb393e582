/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Out of memory while a saved image is read, shown and compared: at each
 * allocation in turn, and from each one on. The answer is the same, or there is
 * none; libxml2 may say of its own that a text is none.
 */
#include <string.h>

#include <chain/abi.h>
#include <chain/saved.h>
#include <img/file.h>

#include "saved_build.h"
#include "scarce.h"
#include "unit.h"

#define DOMAIN(inside)                                                         \
    "<domain type='qemu'><name>g</name><os><type machine='pc'>hvm</type></os>" \
    "<devices><disk><source><cookies><c/></cookies></source>"                  \
    "<target dev='vda'/></disk><input type='mouse' bus='ps2'/>"                \
    "<graphics type='vnc' passwd='x'/>" inside "</devices></domain>"

static struct img_error err;

/* ONCE is run with less and less memory; it says whether it came to an end, and
   checks its answer. */
static void starve(bool (*once)(void))
{
    long failures = 0;

    ck_assert_msg(once(), "%s", err.text);
    for (int after = 0; after < 2; after++) {
        for (long at = 1;; at++) {
            bool is_done;

            img_error_clear(&err);
            calls = 0;
            fail_after = after != 0;
            fail_at = at;
            is_done = once();
            fail_at = 0;
            failures += !is_done;
            ck_assert_msg(is_done || err.code == IMG_MEMORY ||
                              err.code == IMG_FORMAT,
                          "allocation %ld: %s", at, err.text);
            if (calls < at) {
                break;
            }
        }
    }
    ck_assert(failures > 0 || !CAN_FAIL);
}

static bool load_once(void)
{
    static struct saved_bytes image;
    struct img_file *file = NULL;
    struct chain_saved *saved = NULL;
    int rc;

    image = saved_build("<domain/>", "<cookie/>", 10);
    rc = img_file_from_memory("a.save", image.bytes, image.len, &file, &err);
    if (rc == 0) {
        rc = chain_saved_load(file, false, &saved, &err);
    }
    img_file_unref(file);
    if (rc < 0 || !saved) {
        return false;
    }
    ck_assert_str_eq(saved->xml, "<domain/>");
    ck_assert_str_eq(saved->cookie, "<cookie/>");
    chain_saved_free(saved);
    return true;
}

START_TEST(loading)
{
    starve(load_once);
}
END_TEST

static bool show_once(void)
{
    const char *text = DOMAIN("");
    char *hidden = NULL, *whole = NULL;
    bool is_done =
        chain_saved_hide(text, strlen(text), "x", &hidden, &err) == 0 &&
        chain_saved_complete(hidden, strlen(hidden), "x", &whole, &err) == 0;

    if (is_done) {
        ck_assert_ptr_null(strstr(whole, "passwd"));
        ck_assert_ptr_null(strstr(whole, "cookie"));
        ck_assert_ptr_nonnull(strstr(whole, "piix3-uhci"));
        ck_assert_ptr_nonnull(strstr(whole, "<audio"));
    }
    free(hidden);
    free(whole);
    return is_done;
}

START_TEST(showing)
{
    starve(show_once);
}
END_TEST

static bool compare_once(void)
{
    const char *old = DOMAIN("<serial type='pty'/>");
    const char *new = DOMAIN("<serial type='file'/><sound model='ac97'/>");
    struct chain_abi abi;

    if (chain_abi_compare(old, strlen(old), "old", new, strlen(new), "new",
                          &abi, &err) < 0) {
        return false;
    }
    ck_assert_uint_eq(abi.breaks_nr, 2);
    chain_abi_fini(&abi);
    return true;
}

START_TEST(comparing)
{
    starve(compare_once);
}
END_TEST

UNIT_SUITE("saved-memory", loading, showing, comparing)
