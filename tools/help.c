/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --help and --version, from the table of commands. */
#include <chain/libvirt.h>
#include <chain/virt.h>
#include <img/memory.h>
#include <json-c/json_c_version.h>
#include <libdeflate.h>
#include <nettle/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "command.h"
#include "message.h"
#include "output.h"

#define NAME_COLUMN 28

static int finish(struct output *out)
{
    struct img_error err;

    if (output_finish(out, &err) < 0) {
        message_error(&err);
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static int begin(struct output **out)
{
    struct img_error err;

    if (output_new(OUTPUT_STREAM, out, &err) < 0) {
        message_error(&err);
        return -1;
    }
    return 0;
}

static void put_command(struct output *out, const struct command *command)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "%s%s%s", command->name,
                   command->verb ? " " : "",
                   command->verb ? command->verb : "");
    output_printf(out, "  %-19s  %s\n", name, command->summary);
}

int help_all(void)
{
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (begin(&out) < 0) {
        return EXIT_FAILED;
    }
    output_text(out, "Usage: imgchain COMMAND [OPTIONS] ARGS\n\n"
                     "Reads, judges and writes qcow2 backing chains.\n\n"
                     "Commands:\n");
    for (const struct command *one = commands; one->name; one++) {
        put_command(out, one);
    }
    output_text(out, "\n`imgchain COMMAND --help` shows the options of a "
                     "command; `imgchain --version`\nthe versions of the "
                     "libraries it runs with.\n");
    return finish(out);
}

int help_group(const char *name)
{
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (begin(&out) < 0) {
        return EXIT_FAILED;
    }
    output_printf(out,
                  "Usage: imgchain %s OPERATION [OPTIONS] ARGS\n\n"
                  "Operations:\n",
                  name);
    for (const struct command *one = commands; one->name; one++) {
        if (strcmp(one->name, name) == 0) {
            put_command(out, one);
        }
    }
    return finish(out);
}

static void put_option(struct output *out, const struct option_spec *spec)
{
    char names[80];
    bool is_optional = spec->arg && spec->arg[0] == '[';
    const char *arg = spec->arg ? spec->arg : "";
    const char *equals = spec->arg && !is_optional ? "=" : "";

    if (spec->letter != 0) {
        (void)snprintf(names, sizeof(names), "-%c, --%s%s%s", spec->letter,
                       spec->name, equals, arg);
    } else {
        (void)snprintf(names, sizeof(names), "    --%s%s%s", spec->name, equals,
                       arg);
    }
    output_printf(out, "  %-*s %s\n", NAME_COLUMN, names, spec->help);
}

int help_command(const struct command *command)
{
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    const struct option_spec *spec;

    if (begin(&out) < 0) {
        return EXIT_FAILED;
    }
    output_printf(out,
                  "Usage: imgchain %s%s%s [OPTIONS] %s\n\n%s\n\nOptions:\n",
                  command->name, command->verb ? " " : "",
                  command->verb ? command->verb : "", command->operands,
                  command->summary);
    for (size_t i = 0; (spec = options_at(command, i)) != NULL; i++) {
        put_option(out, spec);
    }
    if (command->notes) {
        output_printf(out, "\n%s\n", command->notes);
    }
    output_printf(out, "\nExample:\n  %s\n", command->example);
    return finish(out);
}

/* Loaded for --connect only, and for this. It says 9000000 for 9.0.0. */
static void put_libvirt(struct output *out)
{
    unsigned long version = chain_libvirt_version();

    if (version > 0) {
        output_printf(out, "libvirt %lu.%lu.%lu\n", version / 1000000,
                      version / 1000 % 1000, version % 1000);
    }
}

/* Loaded to read XML, and for this. It says 20914 for 2.9.14. */
static void put_libxml2(struct output *out)
{
    const char *text = chain_virt_xml_version();
    unsigned long version = text ? strtoul(text, NULL, 10) : 0;

    if (version > 0) {
        output_printf(out, "libxml2 %lu.%lu.%lu\n", version / 10000,
                      version / 100 % 100, version % 100);
    }
}

int version_print(void)
{
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (begin(&out) < 0) {
        return EXIT_FAILED;
    }
    output_printf(out, "imgchain %s\n", IMGCHAIN_VERSION);
    output_printf(out, "json-c %s\n", json_c_version());
    /* These two tell no version at run time. */
    output_printf(out, "libdeflate %s (built with)\n",
                  LIBDEFLATE_VERSION_STRING);
    output_printf(out, "liburing %s (built with)\n", IMGCHAIN_LIBURING_VERSION);
    put_libxml2(out);
    put_libvirt(out);
    output_printf(out, "nettle %d.%d\n", nettle_version_major(),
                  nettle_version_minor());
    output_printf(out, "zlib %s\n", zlibVersion());
    output_printf(out, "zstd %s\n", ZSTD_versionString());
    return finish(out);
}
