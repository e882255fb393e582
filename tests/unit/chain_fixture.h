/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the tests of chain_open share: a folder, images in it, expectations. */
#ifndef TESTS_CHAIN_FIXTURE_H
#define TESTS_CHAIN_FIXTURE_H

#include <chain/chain.h>
#include <img/image.h>

#include "scratch.h"
#include "tiny_qcow2.h"

static struct scratch scratch;
static struct img_error err;
static struct chain_options options;
static struct chain *chain;

/* Every test works in an empty folder of its own. */
static inline void begin(void)
{
    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.dir), 0);
    chain_options_init(&options);
}

static inline void end(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}

static inline void make(const char *path, const char *backing,
                        const char *format)
{
    tiny_qcow2_write(path, &(struct tiny_qcow2){.clusters = "....",
                                                .backing = backing,
                                                .format = format});
}

/* chain_open fails with this code, path and text. */
static inline void expect_failure(const char *operand, enum img_code code,
                                  const char *path, const char *text)
{
    unit_fails(chain_open(operand, &options, &chain, &err), &err, code, text);
    ck_assert_str_eq(err.path, path);
}

static inline void expect_paths(const char *operand, const char *const *paths,
                                size_t nr)
{
    unit_ok(chain_open(operand, &options, &chain, &err), &err);
    ck_assert_uint_eq(chain_depth(chain), nr);
    for (size_t i = 0; i < nr; i++) {
        ck_assert_str_eq(chain_layer_path(chain_layer_at(chain, i)), paths[i]);
    }
    ck_assert_ptr_null(chain_broken(chain));
}

#endif
