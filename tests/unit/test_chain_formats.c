/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening chains: which format each layer is opened as, and what names say. */
#include <chain/formats.h>
#include <chain/name.h>

#include <img/memory.h>

#include "chain_fixture.h"

START_TEST(test_undeclared_format)
{
    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    tiny_raw_write("d/base", 4, 1);
    make("d/top", "base", NULL);
    expect_failure("d/top", IMG_UNDECLARED, "d/top",
                   "the format of its backing file \"base\" is not recorded; "
                   "record it with: qemu-img rebase -u -b base -F raw d/top");
    make("d/mid", NULL, NULL);
    make("-top it's", "d/mid", NULL);
    expect_failure("-top it's", IMG_UNDECLARED, "-top it's",
                   "the format of its backing file \"d/mid\" is not recorded; "
                   "record it with: qemu-img rebase -u -b d/mid -F qcow2 "
                   "'./-top it'\\''s'");
    make("top", "./go\nne", NULL);
    expect_failure("top", IMG_UNDECLARED, "top",
                   "the format of its backing file \"./go\\x0ane\" is not "
                   "recorded; record it with: qemu-img rebase -u -b "
                   "\"$(printf './go\\012ne')\" -F FMT top");
    /* No word of a shell ends in a newline; no command is cut in two. */
    make("top", "gone\n", NULL);
    expect_failure("top", IMG_UNDECLARED, "top",
                   "the format of its backing file \"gone\\x0a\" is not "
                   "recorded");
    char name[301], shown[256], want[512];
    memset(name, 7, 300);
    name[300] = '\0';
    make("top", name, NULL);
    img_escape(name, 300, shown, sizeof(shown));
    snprintf(want, sizeof(want),
             "the format of its backing file \"%s\" is not recorded", shown);
    expect_failure("top", IMG_UNDECLARED, "top", want);
    end();
}
END_TEST

START_TEST(test_probe_allowed)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("mid", "base", NULL);
    make("top", "mid", NULL);
    options.allow_probe = true;
    expect_paths("top", (const char *const[]){"top", "mid", "base"}, 3);
    ck_assert(chain_layer_is_probed(chain_layer_at(chain, 2)));
    ck_assert_str_eq(chain_layer_image(chain_layer_at(chain, 2))->format,
                     "raw");
    chain_free(chain);
    end();
}
END_TEST

START_TEST(test_unknown_recorded_format)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top", "base", "qcow9\n");
    expect_failure("top", IMG_UNSUPPORTED, "top",
                   "the format of its backing file \"base\" is recorded as "
                   "\"qcow9\\x0a\", which is not known");
    end();
}
END_TEST

/* A file that was declared raw is raw, whatever it begins with. */
START_TEST(test_declared_raw_stays_raw)
{
    begin();
    make("evil", "/etc/passwd", "raw");
    make("top", "evil", "raw");
    expect_paths("top", (const char *const[]){"top", "evil"}, 2);
    const struct img_image *image = chain_layer_image(chain_layer_at(chain, 1));
    ck_assert_str_eq(image->format, "raw");
    ck_assert_ptr_null(image->backing_name);
    ck_assert_uint_eq(image->virtual_len, TINY_DATA_OFF);
    chain_free(chain);
    options.format = "raw";
    expect_paths("evil", (const char *const[]){"evil"}, 1);
    ck_assert(!chain_layer_is_probed(chain_layer_at(chain, 0)));
    chain_free(chain);
    end();
}
END_TEST

START_TEST(test_declared_qcow2_is_not)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top", "base", "qcow2");
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_FORMAT);
    ck_assert_str_eq(err.path, "base");
    ck_assert_int_eq(strncmp(err.text, "declared as qcow2 but ",
                             strlen("declared as qcow2 but ")),
                     0);
    end();
}
END_TEST

START_TEST(test_formats_disagree)
{
    begin();
    make("base", NULL, NULL);
    make("top", "json:{\"driver\":\"raw\",\"file.filename\":\"base\"}",
         "qcow2");
    expect_failure("top", IMG_FORMAT, "top",
                   "its backing format is recorded as \"qcow2\", but the "
                   "json: name of its backing file says \"raw\"");
    options.format = "raw";
    expect_failure("json:{\"driver\":\"qcow2\",\"file.filename\":\"base\"}",
                   IMG_USAGE,
                   "json:{\"driver\":\"qcow2\",\"file.filename\":\"base\"}",
                   "the format is given as raw, but its json: name says "
                   "qcow2");
    options.format = "qcow9";
    expect_failure("base", IMG_USAGE, "base",
                   "the format \"qcow9\" is not known");
    end();
}
END_TEST

/* json: may cut a chain short or lead it elsewhere. */
START_TEST(test_json_backing)
{
    begin();
    tiny_raw_write("base", 4, 1);
    tiny_raw_write("other", 8, 1);
    make("mid", "base", "raw");
    make("top",
         "json:{\"driver\":\"qcow2\",\"file.filename\":\"mid\","
         "\"backing\":null}",
         "qcow2");
    expect_paths("top", (const char *const[]){"top", "mid"}, 2);
    ck_assert(!chain_layer_wants_backing(chain_layer_at(chain, 1)));
    ck_assert(chain_layer_wants_backing(chain_layer_at(chain, 0)));
    chain_free(chain);

    make("top",
         "json:{\"driver\":\"qcow2\",\"file.filename\":\"mid\","
         "\"backing\":{\"driver\":\"raw\",\"offset\":512,"
         "\"file.filename\":\"other\"}}",
         "qcow2");
    expect_paths("top", (const char *const[]){"top", "mid", "other"}, 3);
    ck_assert_uint_eq(chain_layer_image(chain_layer_at(chain, 2))->virtual_len,
                      3584);
    ck_assert(chain_layer_ref(chain_layer_at(chain, 2))->has_slice);
    chain_free(chain);

    /* The format that the header of mid records is the next best. */
    make("top",
         "json:{\"file.filename\":\"mid\",\"backing\":{\"file.filename\":"
         "\"other\"}}",
         "qcow2");
    expect_paths("top", (const char *const[]){"top", "mid", "other"}, 3);
    chain_free(chain);
    make("mid", NULL, NULL);
    expect_failure("top", IMG_UNDECLARED, "mid",
                   "the json: name of the image says no \"driver\" for its "
                   "backing file \"other\"");
    make("top",
         "json:{\"driver\":\"raw\",\"file.filename\":\"mid\","
         "\"backing.file.filename\":\"other\"}",
         "raw");
    expect_failure("top", IMG_FORMAT, "mid",
                   "its json: name gives it a backing file, but the format "
                   "raw has none");
    end();
}
END_TEST

START_TEST(test_json_kind_and_slice)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top",
         "json:{\"file\":{\"driver\":\"host_device\",\"filename\":"
         "\"base\"}}",
         "raw");
    expect_failure("top", IMG_FORMAT, "base",
                   "driver \"host_device\" needs a block device, and this is "
                   "a regular file");
    make("top",
         "json:{\"driver\":\"raw\",\"offset\":2049,\"file.filename\":"
         "\"base\"}",
         "raw");
    expect_failure("top", IMG_CORRUPT, "base",
                   "the raw driver's offset is 2049, but the file has 2048 "
                   "bytes");
    /* A last sector that is not whole counts as one. */
    ck_assert_int_eq(truncate("base", 2000), 0);
    make("top",
         "json:{\"driver\":\"raw\",\"offset\":512,\"size\":1536,"
         "\"file.filename\":\"base\"}",
         "raw");
    expect_paths("top", (const char *const[]){"top", "base"}, 2);
    ck_assert_uint_eq(chain_layer_image(chain_layer_at(chain, 1))->virtual_len,
                      1536);
    chain_free(chain);
    make("top",
         "json:{\"driver\":\"raw\",\"offset\":512,\"size\":2048,"
         "\"file.filename\":\"base\"}",
         "raw");
    expect_failure("top", IMG_CORRUPT, "base",
                   "2048 bytes from offset 512 lie outside the file: found a "
                   "length of 2000 bytes");
    end();
}
END_TEST

START_TEST(test_bad_backing_names)
{
    begin();
    make("top", "nbd:localhost:10809", "raw");
    expect_failure("top", IMG_UNSUPPORTED, "top",
                   "protocol \"nbd\" is not read: only local files are");
    make("top", "json:{\"file.filename\":\"x\",\"evil\":1}", "raw");
    expect_failure("top", IMG_FORMAT, "top",
                   "json: name has the option \"evil\", which is not known "
                   "here");
    expect_failure("nbd://h/x", IMG_UNSUPPORTED, "nbd://h/x",
                   "protocol \"nbd\" is not read: only local files are");
    end();
}
END_TEST

START_TEST(test_snapshot_needs_qcow2)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top", NULL, NULL);
    options.snapshot = "s1";
    expect_failure("base", IMG_UNSUPPORTED, "base",
                   "internal snapshots are read in qcow2 images only, and "
                   "this is raw");
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_NOT_FOUND);
    ck_assert_str_eq(err.path, "top");
    end();
}
END_TEST

START_TEST(test_formats_and_probe)
{
    struct chain_probe probe;
    struct img_file *file;

    begin();
    ck_assert_str_eq(chain_format_find("qcow2")->name, "qcow2");
    ck_assert_str_eq(chain_format_find("raw")->name, "raw");
    ck_assert_str_eq(chain_format_find("luks")->name, "luks");
    ck_assert_ptr_null(chain_format_find("QCOW2"));
    ck_assert_ptr_null(chain_format_find(""));

    make("top", NULL, NULL);
    file = scratch_open_file("top");
    unit_ok(chain_probe(file, &probe, &err), &err);
    ck_assert_str_eq(probe.format->name, "qcow2");
    ck_assert_ptr_null(probe.second);
    img_file_unref(file);

    tiny_raw_write("base", 4, 1);
    file = scratch_open_file("base");
    unit_ok(chain_probe(file, &probe, &err), &err);
    ck_assert_str_eq(probe.format->name, "raw");
    ck_assert_ptr_null(probe.second);
    ck_assert_ptr_null(probe.contents);
    img_file_unref(file);

    /* VDI's mark at 64 in a qcow2 header of version 2 (which ends at 72). */
    uint8_t magic[4] = {0x7f, 0x10, 0xda, 0xbe};
    scratch_write(&scratch, "top", magic, 4, 64);
    file = scratch_open_file("top");
    unit_ok(chain_probe(file, &probe, &err), &err);
    ck_assert_str_eq(probe.format->name, "qcow2");
    ck_assert_ptr_nonnull(probe.second);
    ck_assert_str_eq(probe.second->name, "vdi");
    img_file_unref(file);

    /* An ISO 9660 volume descriptor. */
    scratch_write(&scratch, "base", "\1CD001\1", 7, 32768);
    unit_ok(chain_open("base", &options, &chain, &err), &err);
    ck_assert_pstr_eq(chain_layer_contents(chain_layer_at(chain, 0)), "iso");
    chain_free(chain);
    end();
}
END_TEST

UNIT_SUITE("chain_formats", test_undeclared_format, test_probe_allowed,
           test_unknown_recorded_format, test_declared_raw_stays_raw,
           test_declared_qcow2_is_not, test_formats_disagree, test_json_backing,
           test_json_kind_and_slice, test_bad_backing_names,
           test_snapshot_needs_qcow2, test_formats_and_probe)
