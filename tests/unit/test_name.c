/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Backing names, operands and the words of shell commands. */
#include <stdio.h>

#include <chain/name.h>
#include <img/memory.h>

#include "unit.h"

static struct img_error err;

static void parse(const char *name, struct chain_ref *ref)
{
    ck_assert_msg(chain_name_parse(name, ref, &err) == 0, "%s: %s", name,
                  err.text);
}

static void expect_ref(const char *name, enum chain_name_style style,
                       const char *path, const char *format)
{
    struct chain_ref ref;

    parse(name, &ref);
    ck_assert_msg(ref.style == style, "%s: style %d", name, (int)ref.style);
    ck_assert_str_eq(ref.path, path);
    ck_assert_pstr_eq(ref.format, format);
    ck_assert(!ref.backing && !ref.is_backing_null && !ref.has_slice);
    chain_ref_fini(&ref);
}

START_TEST(test_plain_names)
{
    expect_ref("a.qcow2", CHAIN_NAME_RELATIVE, "a.qcow2", NULL);
    expect_ref("../d/a", CHAIN_NAME_RELATIVE, "../d/a", NULL);
    expect_ref("/d/a", CHAIN_NAME_ABSOLUTE, "/d/a", NULL);
    /* What stands after the first slash makes no protocol. */
    expect_ref("./a:b", CHAIN_NAME_RELATIVE, "./a:b", NULL);
    expect_ref("/d/nbd:x", CHAIN_NAME_ABSOLUTE, "/d/nbd:x", NULL);
    expect_ref("d/json:{}", CHAIN_NAME_RELATIVE, "d/json:{}", NULL);
    expect_ref("-x\n'\xff", CHAIN_NAME_RELATIVE, "-x\n'\xff", NULL);
}
END_TEST

START_TEST(test_file_protocol)
{
    enum chain_name_style style = CHAIN_NAME_FILE_PROTOCOL;

    expect_ref("file:a", style, "a", NULL);
    expect_ref("file:/d/a", style, "/d/a", NULL);
    expect_ref("file:///d/a", style, "///d/a", NULL);
    expect_ref("file://h/a", style, "//h/a", NULL);
    expect_ref("file:nbd:x", style, "nbd:x", NULL);
}
END_TEST

START_TEST(test_json_forms)
{
    enum chain_name_style portable = CHAIN_NAME_JSON_PORTABLE;
    enum chain_name_style other = CHAIN_NAME_JSON_OTHER;

    expect_ref("json:{\"file\":{\"driver\":\"file\",\"filename\":\"/d/a\"}}",
               portable, "/d/a", NULL);
    expect_ref("json: {\"file.driver\":\"file\",\"file.filename\":\"/a\"} ",
               portable, "/a", NULL);
    /* libvirt reads none of these, or reads them in another way. */
    expect_ref("json:{\"file\":{\"driver\":\"file\",\"filename\":\"a\"}}",
               other, "a", NULL);
    expect_ref("json:{\"file.filename\":\"/a\"}", other, "/a", NULL);
    expect_ref("json:{\"file.filename\":\"/a\",\"file\":{\"driver\":\"file\"}"
               ",\"node-name\":\"n\"}",
               other, "/a", NULL);
    expect_ref("json:{\"driver\":\"file\",\"filename\":\"/a\"}", other, "/a",
               NULL);
    expect_ref("json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
               "\"filename\":\"/a\"}}",
               other, "/a", "qcow2");
    expect_ref("json:{\"driver\":\"raw\",\"file.driver\":\"raw\","
               "\"file.file.filename\":\"/a\"}",
               other, "/a", "raw");
    /* The file driver reads no protocol into its file name. */
    expect_ref("json:{\"file.filename\":\"nbd:x\"}", other, "nbd:x", NULL);
}
END_TEST

START_TEST(test_json_harmless_options)
{
    expect_ref(
        "json:{\"driver\":\"qcow2\",\"node-name\":\"n\",\"read-only\":true,"
        "\"auto-read-only\":true,\"discard\":\"unmap\","
        "\"detect-zeroes\":\"off\",\"cache\":{\"direct\":true,"
        "\"no-flush\":false},\"l2-cache-size\":65536,"
        "\"lazy-refcounts\":false,\"file\":{\"driver\":\"file\","
        "\"filename\":\"/a\",\"locking\":\"off\",\"aio\":\"native\","
        "\"x-check-cache-dropped\":true,\"cache.direct\":false,"
        "\"read-only\":true}}",
        CHAIN_NAME_JSON_OTHER, "/a", "qcow2");
}
END_TEST

START_TEST(test_json_kind)
{
    struct chain_ref ref;

    parse("json:{\"file\":{\"driver\":\"host_device\",\"filename\":\"/a\"}}",
          &ref);
    ck_assert_int_eq((int)ref.kind, (int)CHAIN_REF_BLOCK);
    chain_ref_fini(&ref);
    parse("json:{\"file\":{\"driver\":\"file\",\"filename\":\"/a\"}}", &ref);
    ck_assert_int_eq((int)ref.kind, (int)CHAIN_REF_REGULAR);
    chain_ref_fini(&ref);
    parse("json:{\"file\":{\"filename\":\"/a\"}}", &ref);
    ck_assert_int_eq((int)ref.kind, (int)CHAIN_REF_ANY);
    chain_ref_fini(&ref);
}
END_TEST

static void expect_slice(const char *name, uint64_t off, uint64_t len)
{
    struct chain_ref ref;

    parse(name, &ref);
    ck_assert(ref.has_slice);
    ck_assert_uint_eq(ref.slice_off, off);
    ck_assert_uint_eq(ref.slice_len, len);
    chain_ref_fini(&ref);
}

START_TEST(test_json_slices)
{
    expect_slice("json:{\"driver\":\"raw\",\"offset\":1024,\"size\":\"512\","
                 "\"file.filename\":\"a\"}",
                 1024, 512);
    expect_slice("json:{\"driver\":\"raw\",\"offset\":1,"
                 "\"file.filename\":\"a\"}",
                 1, UINT64_MAX);
    expect_slice("json:{\"driver\":\"raw\",\"size\":512,"
                 "\"file.filename\":\"a\"}",
                 0, 512);
    expect_slice("json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"raw\","
                 "\"offset\":7,\"file\":{\"filename\":\"a\"}}}",
                 7, UINT64_MAX);
    /* A slice of a slice. */
    expect_slice("json:{\"driver\":\"raw\",\"offset\":512,\"file\":{"
                 "\"driver\":\"raw\",\"offset\":4096,\"size\":2048,"
                 "\"file.filename\":\"a\"}}",
                 4608, 1536);
    expect_slice("json:{\"driver\":\"raw\",\"offset\":512,\"size\":1024,"
                 "\"file\":{\"driver\":\"raw\",\"offset\":4096,\"size\":2048,"
                 "\"file.filename\":\"a\"}}",
                 4608, 1024);
}
END_TEST

START_TEST(test_json_backing)
{
    struct chain_ref ref;

    parse("json:{\"driver\":\"qcow2\",\"file.filename\":\"a\","
          "\"backing\":null}",
          &ref);
    ck_assert(ref.is_backing_null && !ref.backing);
    chain_ref_fini(&ref);
    parse("json:{\"driver\":\"qcow2\",\"file.filename\":\"a\",\"backing\":"
          "\"\"}",
          &ref);
    ck_assert(ref.is_backing_null && !ref.backing);
    chain_ref_fini(&ref);
    parse("json:{\"driver\":\"qcow2\",\"file.filename\":\"a\",\"backing\":{"
          "\"driver\":\"qcow2\",\"file.filename\":\"b\",\"backing.driver\":"
          "\"raw\",\"backing\":{\"file\":{\"filename\":\"c\"}}}}",
          &ref);
    ck_assert(ref.backing && ref.backing->backing);
    ck_assert_str_eq(ref.backing->path, "b");
    ck_assert_str_eq(ref.backing->backing->path, "c");
    ck_assert_str_eq(ref.backing->backing->format, "raw");
    ck_assert_ptr_null(ref.backing->backing->backing);
    chain_ref_fini(&ref);
    ck_assert_ptr_null(ref.backing);
}
END_TEST

static const struct {
    const char *name;
    enum img_code code;
    const char *text;
} bad_names[] = {
    {"", IMG_FORMAT, "the name of the file is empty"},
    {"file:", IMG_FORMAT, "the name of the file is empty"},
    {"nbd:localhost:1", IMG_UNSUPPORTED,
     "protocol \"nbd\" is not read: only local files are"},
    {"rbd:pool/a", IMG_UNSUPPORTED,
     "protocol \"rbd\" is not read: only local files are"},
    {"http://h/a", IMG_UNSUPPORTED,
     "protocol \"http\" is not read: only local files are"},
    {":a", IMG_UNSUPPORTED, "protocol \"\" is not read: only local files are"},
    {"File:a", IMG_UNSUPPORTED,
     "protocol \"File\" is not read: only local files are"},
    {"\x1b[31m:a", IMG_UNSUPPORTED,
     "protocol \"\\x1b[31m\" is not read: only local files are"},
    {"json:[]", IMG_FORMAT, "json: name is not a JSON object"},
    {"json:{}", IMG_FORMAT, "json: name has no option \"file.filename\""},
    {"json:{\"filename\":\"/a\"}", IMG_FORMAT,
     "json: name has no option \"file.filename\""},
    {"json:{\"file.filename\":\"\"}", IMG_FORMAT,
     "json: name has no option \"file.filename\""},
    {"json:{\"file\":\"node\"}", IMG_UNSUPPORTED,
     "json: option \"file\" is no object: it refers to a node of a running "
     "QEMU"},
    {"json:{\"file\":{}}", IMG_UNSUPPORTED,
     "json: option \"file\" is no object: it refers to a node of a running "
     "QEMU"},
    {"json:{\"file.filename\":1}", IMG_FORMAT,
     "json: option \"file.filename\" is no string"},
    {"json:{\"driver\":[],\"file.filename\":\"a\"}", IMG_FORMAT,
     "json: option \"driver\" is no string"},
    {"json:{\"driver\":\"nbd\",\"host\":\"h\"}", IMG_UNSUPPORTED,
     "json: option \"driver\" is \"nbd\": only local files (drivers file and "
     "host_device) are read"},
    {"json:{\"driver\":\"quorum\",\"file.filename\":\"a\"}", IMG_UNSUPPORTED,
     "json: option \"driver\" is \"quorum\": only local files (drivers file "
     "and host_device) are read"},
    {"json:{\"file\":{\"driver\":\"https\",\"url\":\"x\"}}", IMG_UNSUPPORTED,
     "json: option \"file.driver\" is \"https\": only local files (drivers "
     "file and host_device) are read"},
    {"json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"qcow2\","
     "\"file.filename\":\"a\"}}",
     IMG_UNSUPPORTED,
     "json: option \"file.driver\" is \"qcow2\": only local files (drivers "
     "file and host_device) are read"},
    {"json:{\"file.filename\":\"a\",\"bogus\":1}", IMG_FORMAT,
     "json: name has the option \"bogus\", which is not known here"},
    {"json:{\"file.filename\":\"a\",\"file.offset\":1}", IMG_FORMAT,
     "json: name has the option \"file.offset\", which is not known here"},
    {"json:{\"file.filename\":\"a\",\"offset\":512}", IMG_FORMAT,
     "json: name has the option \"offset\", which is not known here"},
    {"json:{\"driver\":\"qcow2\",\"file.filename\":\"a\",\"data-file\":{"
     "\"driver\":\"file\",\"filename\":\"b\"}}",
     IMG_FORMAT,
     "json: name has the option \"data-file.driver\", which is not known "
     "here"},
    {"json:{\"driver\":\"file\",\"filename\":\"a\",\"backing\":null}",
     IMG_FORMAT,
     "json: name has the option \"backing\", which is not known here"},
    {"json:{\"file.filename\":\"a\",\"file\":{\"filename\":\"b\"}}", IMG_FORMAT,
     "json: name has the option \"file.filename\" twice"},
    {"json:{\"file.filename\":\"a\",\"backing\":\"node0\"}", IMG_UNSUPPORTED,
     "json: option \"backing\" is neither null nor an object: it refers to a "
     "node of a running QEMU"},
    {"json:{\"file.filename\":\"a\",\"backing\":null,\"backing.driver\":"
     "\"raw\"}",
     IMG_FORMAT,
     "json: name has the option \"backing.driver\", which is not known here"},
    {"json:{\"driver\":\"raw\",\"offset\":-1,\"file.filename\":\"a\"}",
     IMG_FORMAT,
     "json: option \"offset\" is not a number of bytes from 0 to "
     "9223372036854775807"},
    {"json:{\"driver\":\"raw\",\"offset\":\"64k\",\"file.filename\":\"a\"}",
     IMG_FORMAT,
     "json: option \"offset\" is not a number of bytes from 0 to "
     "9223372036854775807"},
    {"json:{\"driver\":\"raw\",\"size\":9223372036854775808,"
     "\"file.filename\":\"a\"}",
     IMG_FORMAT,
     "json: option \"size\" is not a number of bytes from 0 to "
     "9223372036854775807"},
    {"json:{\"driver\":\"raw\",\"size\":513,\"file.filename\":\"a\"}",
     IMG_FORMAT, "json: option \"size\" is 513, expected a multiple of 512"},
    {"json:{\"driver\":\"raw\",\"offset\":1024,\"size\":1536,\"file\":{"
     "\"driver\":\"raw\",\"size\":2048,\"file.filename\":\"a\"}}",
     IMG_FORMAT,
     "json: name cuts a slice that begins or ends outside the one that "
     "\"file.size\" gives"},
    {"json:{\"driver\":\"raw\",\"offset\":9223372036854775807,\"file\":{"
     "\"driver\":\"raw\",\"offset\":1,\"file.filename\":\"a\"}}",
     IMG_FORMAT,
     "json: the offsets of the raw drivers add up to more than a file can "
     "have"},
};

START_TEST(test_bad_names)
{
    for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++) {
        struct chain_ref ref;
        img_error_clear(&err);
        ck_assert_msg(chain_name_parse(bad_names[i].name, &ref, &err) == -1,
                      "%s was taken", bad_names[i].name);
        ck_assert_str_eq(err.text, bad_names[i].text);
        ck_assert_int_eq((int)err.code, (int)bad_names[i].code);
    }
}
END_TEST

/* Broken JSON is refused by the parser, whose texts are its own. */
START_TEST(test_broken_json)
{
    static const char *const texts[] = {
        "json:",
        "json:{",
        "json:{\"file.filename\":\"a\"",
        "json:{\"file.filename\":\"a\"}x",
        "json:{\"file.filename\":\"a\",\"file.filename\":\"b\"}",
        "json:{'file.filename':'a'}",
        "json:{\"file.filename\":\"a\\u0000b\"}",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct chain_ref ref;
        img_error_clear(&err);
        ck_assert_msg(chain_name_parse(texts[i], &ref, &err) == -1,
                      "%s was taken", texts[i]);
        ck_assert_int_eq((int)err.code, (int)IMG_FORMAT);
        ck_assert_str_ne(err.text, "");
    }
}
END_TEST

/* N times BEFORE, then MIDDLE, then N times AFTER, after "json:". */
static char *nested(size_t n, const char *before, const char *middle,
                    const char *after)
{
    char *text =
        malloc(16 + n * (strlen(before) + strlen(after)) + strlen(middle));
    char *at = text + sprintf(text, "json:");

    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < n; i++) {
        at = stpcpy(at, before);
    }
    at = stpcpy(at, middle);
    for (size_t i = 0; i < n; i++) {
        at = stpcpy(at, after);
    }
    return text;
}

START_TEST(test_nesting_is_bounded)
{
    struct chain_ref ref;
    char *text = nested(5000, "{\"file\":", "1", "}");

    img_error_clear(&err);
    ck_assert_int_eq(chain_name_parse(text, &ref, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_LIMIT);
    free(text);

    /* Deep without nesting: one long key. */
    char key[400] = "json:{\"";
    for (size_t i = strlen(key); i + 8 < sizeof(key) - 16; i += 8) {
        strcat(key, "backing.");
    }
    strcat(key, "driver\":1}");
    unit_fails(chain_name_parse(key, &ref, &err), &err, IMG_FORMAT,
               "json: name has an option whose key is longer than 254 bytes");
}
END_TEST

START_TEST(test_join)
{
    static const struct {
        const char *from, *path, *joined;
    } cases[] = {
        {"/d/o.qcow2", "b", "/d/b"}, {"d/o.qcow2", "../b", "d/../b"},
        {"o.qcow2", "b", "b"},       {"./o.qcow2", "b", "./b"},
        {"/o", "b", "/b"},           {"d//o", "./b", "d//./b"},
        {"d/o", "/abs/b", "/abs/b"}, {"a:b/o", "b", "a:b/b"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *joined = chain_name_join(cases[i].from, cases[i].path, &err);
        ck_assert_str_eq(joined, cases[i].joined);
        free(joined);
    }
}
END_TEST

static void expect_operand(const char *operand, enum chain_name_style style,
                           const char *path)
{
    struct chain_ref ref;

    unit_ok(chain_operand_parse(operand, &ref, &err), &err);
    ck_assert_str_eq(ref.path, path);
    ck_assert_int_eq((int)ref.style, (int)style);
    chain_ref_fini(&ref);
}

START_TEST(test_operands)
{
    struct chain_ref ref;

    expect_operand("-f", CHAIN_NAME_RELATIVE, "-f");
    expect_operand("nbd:x", CHAIN_NAME_RELATIVE, "nbd:x");
    expect_operand("file:x", CHAIN_NAME_RELATIVE, "file:x");
    expect_operand("json:x", CHAIN_NAME_RELATIVE, "json:x");
    expect_operand("./json:{}", CHAIN_NAME_RELATIVE, "./json:{}");
    expect_operand("./nbd://x", CHAIN_NAME_RELATIVE, "./nbd://x");
    expect_operand("1a://x", CHAIN_NAME_RELATIVE, "1a://x");
    expect_operand("a\nb", CHAIN_NAME_RELATIVE, "a\nb");
    expect_operand("/a", CHAIN_NAME_ABSOLUTE, "/a");
    expect_operand("file:///a", CHAIN_NAME_FILE_PROTOCOL, "///a");
    expect_operand("json:{\"file.filename\":\"b\"}", CHAIN_NAME_JSON_OTHER,
                   "b");
    unit_fails(chain_operand_parse("", &ref, &err), &err, IMG_FORMAT,
               "the name of the file is empty");
    unit_fails(chain_operand_parse("nbd+unix:///x?socket=/s", &ref, &err), &err,
               IMG_UNSUPPORTED,
               "protocol \"nbd+unix\" is not read: only local files are");
    unit_fails(chain_operand_parse("file://h/a", &ref, &err), &err,
               IMG_UNSUPPORTED,
               "protocol \"file\" is not read: only local files are");
    unit_fails(chain_operand_parse("json:{}", &ref, &err), &err, IMG_FORMAT,
               "json: name has no option \"file.filename\"");
}
END_TEST

START_TEST(test_shell_words)
{
    static const struct {
        const char *text, *word, *path_word;
    } cases[] = {
        {"a.qcow2", "a.qcow2", "a.qcow2"},
        {"/d/a-b_c+1", "/d/a-b_c+1", "/d/a-b_c+1"},
        {"", "''", "''"},
        {"a b", "'a b'", "'a b'"},
        {"it's", "'it'\\''s'", "'it'\\''s'"},
        {"$(x)`y`", "'$(x)`y`'", "'$(x)`y`'"},
        {"~", "'~'", "'~'"},
        {"a\\b", "'a\\b'", "'a\\b'"},
        {"\xc3\xa4", "'\xc3\xa4'", "'\xc3\xa4'"},
        {"a\n1", "\"$(printf 'a\\0121')\"", "\"$(printf 'a\\0121')\""},
        {"\xff'\\", "\"$(printf '\\377\\047\\134')\"",
         "\"$(printf '\\377\\047\\134')\""},
        {"\t%d!", "\"$(printf '\\011%%d\\041')\"",
         "\"$(printf '\\011%%d\\041')\""},
        {"-v\a", "\"$(printf '\\055v\\007')\"",
         "\"$(printf './\\055v\\007')\""},
        /* A right-to-left override, which would lie about what is run. */
        {"\xe2\x80\xae", "\"$(printf '\\342\\200\\256')\"",
         "\"$(printf '\\342\\200\\256')\""},
        {"-x", "-x", "./-x"},
        {"nbd:x", "nbd:x", "./nbd:x"},
        {"a/b:c", "a/b:c", "a/b:c"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *word = chain_shell_quote(cases[i].text, &err);
        ck_assert_str_eq(word, cases[i].word);
        free(word);
        word = chain_shell_quote_path(cases[i].text, &err);
        ck_assert_str_eq(word, cases[i].path_word);
        free(word);
    }
    unit_fails(chain_shell_quote("a\n", &err) ? 0 : -1, &err, IMG_UNSUPPORTED,
               "no shell command on one line names what ends in a newline");
    unit_fails(chain_shell_quote_path("-\n", &err) ? 0 : -1, &err,
               IMG_UNSUPPORTED,
               "no shell command on one line names what ends in a newline");
}
END_TEST

/* Does /bin/sh read WORD, alone and beside others, as TEXT? */
static void expect_word(const char *text)
{
    char *word = chain_shell_quote(text, &err);
    char command[4096];
    char got[1100];

    ck_assert_ptr_nonnull(word);
    snprintf(command, sizeof(command), "printf '%%s|' 1 %s 2", word);
    free(word);
    FILE *shell = popen(command, "r");
    ck_assert_ptr_nonnull(shell);
    size_t len = fread(got, 1, sizeof(got) - 1, shell);
    got[len] = '\0';
    ck_assert_int_eq(pclose(shell), 0);
    char want[1100];
    snprintf(want, sizeof(want), "1|%s|2|", text);
    ck_assert_str_eq(got, want);
}

START_TEST(test_shell_reads_words)
{
    char text[8] = {0};
    char all[256];

    /* Each byte, before a digit and after what might be an option. */
    for (unsigned byte = 1; byte < 256; byte++) {
        snprintf(text, sizeof(text), "-%c1\x1b", (int)byte);
        expect_word(text);
        snprintf(text, sizeof(text), "%c7", (int)byte);
        expect_word(text);
        all[byte - 1] = (char)byte;
    }
    all[255] = '\0';
    expect_word(all);
    expect_word("");
    expect_word("%d%s%%\\c\n\n$(id)`id`*?~#;&|<>");
}
END_TEST

UNIT_SUITE("name", test_plain_names, test_file_protocol, test_json_forms,
           test_json_harmless_options, test_json_kind, test_json_slices,
           test_json_backing, test_bad_names, test_broken_json,
           test_nesting_is_bounded, test_join, test_operands, test_shell_words,
           test_shell_reads_words)
