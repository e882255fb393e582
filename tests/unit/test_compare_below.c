/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Comparing what lies under an active layer, which a guest goes on writing:
 * only the files that are shown have to stay as they are.
 */
#include <chain/compare.h>
#include <chain/view.h>

#include "chain_fixture.h"

/* NAME was written, as far as its times tell. */
static void touch(const char *name)
{
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

    ck_assert_int_eq(utimensat(AT_FDCWD, name, times, 0), 0);
}

START_TEST(test_layer_above)
{
    const struct chain_compare_options how = {.engine = 2};
    struct chain_view *below = NULL, *view = NULL;
    struct chain_compare_result result;
    struct chain *other = NULL;

    begin();
    make("base", NULL, NULL);
    make("other", NULL, NULL);
    make("top", "base", "qcow2");
    options.format = "qcow2";
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    unit_ok(chain_open("other", &options, &other, &err), &err);
    unit_ok(chain_view_new(chain, 1, &below, &err), &err);
    unit_ok(chain_view_new(other, 0, &view, &err), &err);
    touch("top");
    unit_ok(chain_compare(below, view, &how, &result, &err), &err);
    ck_assert_int_eq((int)result.verdict, CHAIN_IDENTICAL);
    touch("base");
    unit_ok(chain_compare(below, view, &how, &result, &err), &err);
    ck_assert_int_eq((int)result.verdict, CHAIN_UNPROVEN);
    ck_assert_int_eq((int)result.why.code, IMG_CHANGED);
    ck_assert_str_eq(result.why.path, "base");
    chain_view_free(below);
    chain_view_free(view);
    chain_free(chain);
    chain_free(other);
    end();
}
END_TEST

UNIT_SUITE("compare-below", test_layer_above)
