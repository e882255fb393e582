/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every unit test needs: a main function around a list of tests. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <img/error.h>

/*
 * libcheck writes down each assertion that holds, to tell where a test was when
 * it crashed. Tests that make millions of them would do little else.
 */
#undef _mark_point
#define _mark_point(file, line) ((void)0)

/* Run the tests of TCASE; main's exit code. */
static inline int unit_run(const char *noun, TCase *tcase)
{
    Suite *suite = suite_create(noun);

    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    int run = srunner_ntests_run(runner);
    srunner_free(runner);
    return failed == 0 && run > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/*
 * UNIT_SUITE("noun", test_a, test_b, ...): the program's main. Each test is
 * written START_TEST(test_a) { ... } END_TEST.
 */
#define UNIT_SUITE(noun, ...)                                                  \
    int main(void)                                                             \
    {                                                                          \
        const TTest *const tests[] = {__VA_ARGS__};                            \
        TCase *tcase = tcase_create(noun);                                     \
        for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {        \
            tcase_add_test(tcase, tests[i]);                                   \
        }                                                                      \
        return unit_run(noun, tcase);                                          \
    }

/* The call succeeds; on failure the error's text is shown. */
#define unit_ok(call, err)                                                     \
    ck_assert_msg((call) == 0, #call " failed: %s: %s", (err)->path,           \
                  (err)->text)

/* The call fails with this code and exactly this text. */
#define unit_fails(call, err, want_code, want_text)                            \
    do {                                                                       \
        img_error_clear(err);                                                  \
        ck_assert_int_eq((call), -1);                                          \
        ck_assert_str_eq((err)->text, (want_text));                            \
        ck_assert_int_eq((int)(err)->code, (int)(want_code));                  \
    } while (0)

#endif
