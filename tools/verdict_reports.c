/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A report of a judging command for machines that collect reports: JUnit XML
 * (as CI systems read it) and SARIF 2.1.0.
 */
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "outfile.h"
#include "verdict.h"
#include "xml.h"

/* One attribute or text; the empty text when there is nothing to say. */
static int put_xml(FILE *to, const char *before, const char *text,
                   const char *after, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *safe = xml_text(text ? text : "", err);

    if (!safe) {
        return -1;
    }
    (void)fprintf(to, "%s%s%s", before, safe, after);
    return 0;
}

static int put_details(FILE *to, const struct chain_check *check,
                       struct img_error *err)
{
    if (check->image && put_xml(to, "image: ", check->image, "\n", err) < 0) {
        return -1;
    }
    if (check->found && put_xml(to, "found: ", check->found, "\n", err) < 0) {
        return -1;
    }
    if (check->expected &&
        put_xml(to, "expected: ", check->expected, "\n", err) < 0) {
        return -1;
    }
    if (check->remedy &&
        put_xml(to, "remedy: ", check->remedy, "\n", err) < 0) {
        return -1;
    }
    return 0;
}

static int put_problem(FILE *to, const char *element,
                       const struct chain_check *check, struct img_error *err)
{
    (void)fprintf(to, "      <%s message=\"", element);
    if (put_xml(to, "", check->message, "\">", err) < 0 ||
        put_details(to, check, err) < 0) {
        return -1;
    }
    (void)fprintf(to, "</%s>\n", element);
    return 0;
}

static int put_case(FILE *to, const struct verdict *verdict,
                    const struct chain_check *check, struct img_error *err)
{
    int rc = 0;

    (void)fprintf(to, "    <testcase classname=\"%s.%s", verdict->command,
                  verdict->operation);
    if ((check->moment && put_xml(to, ".", check->moment, "", err) < 0) ||
        (check->disk && put_xml(to, ".", check->disk, "", err) < 0)) {
        return -1;
    }
    (void)fprintf(to, "\" name=\"%s\">\n", check->id);
    switch (check->result) {
    case CHAIN_CHECK_FAIL:
        rc = put_problem(to, "failure", check, err);
        break;
    case CHAIN_CHECK_UNPROVEN:
        rc = put_problem(to, "error", check, err);
        break;
    case CHAIN_CHECK_SKIP:
        rc = put_xml(to, "      <skipped message=\"", check->message, "\"/>\n",
                     err);
        break;
    case CHAIN_CHECK_WARN:
        (void)fprintf(to, "      <system-out>");
        rc = put_xml(to, "warning: ", check->message, "\n", err);
        if (rc == 0) {
            rc = put_details(to, check, err);
        }
        (void)fprintf(to, "</system-out>\n");
        break;
    case CHAIN_CHECK_PASS:
        break;
    }
    (void)fprintf(to, "    </testcase>\n");
    return rc;
}

int verdict_junit(const struct verdict *verdict, const char *path,
                  struct img_error *err)
{
    const struct chain_report *report = verdict->report;
    struct outfile file;

    if (outfile_open(&file, path, err) < 0) {
        return -1;
    }
    (void)fprintf(file.stream,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
                  "  <testsuite name=\"imgchain %s %s\" tests=\"%zu\" "
                  "failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\">\n",
                  verdict->command, verdict->operation,
                  chain_report_len(report),
                  verdict_count(report, CHAIN_CHECK_FAIL),
                  verdict_count(report, CHAIN_CHECK_UNPROVEN),
                  verdict_count(report, CHAIN_CHECK_SKIP));
    for (size_t i = 0; i < chain_report_len(report); i++) {
        if (put_case(file.stream, verdict, chain_report_at(report, i), err) <
            0) {
            outfile_discard(&file);
            return -1;
        }
    }
    (void)fprintf(file.stream, "  </testsuite>\n</testsuites>\n");
    return outfile_commit(&file, err);
}

static void set_level(struct img_json *result, enum chain_check_result from)
{
    const char *kind = "pass", *level = "none";

    switch (from) {
    case CHAIN_CHECK_FAIL:
        kind = "fail";
        level = "error";
        break;
    case CHAIN_CHECK_WARN:
        kind = "fail";
        level = "warning";
        break;
    case CHAIN_CHECK_UNPROVEN:
        kind = "open";
        break;
    case CHAIN_CHECK_SKIP:
        kind = "notApplicable";
        break;
    case CHAIN_CHECK_PASS:
        break;
    }
    img_json_set_string(result, "kind", kind);
    img_json_set_string(result, "level", level);
}

/* A path as a URI reference: what is not plainly a path is %NN. */
static char *path_uri(const char *path, struct img_error *err)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "abcdefghijklmnopqrstuvwxyz0123456789-._~/";
    size_t len = strlen(path), used = 0;
    char *uri = img_calloc(len + 4, 3, err);

    if (!uri) {
        return NULL;
    }
    if (path[0] == '/') {
        used = (size_t)(stpcpy(uri, "file://") - uri);
    }
    for (size_t i = 0; i < len; i++) {
        if (strchr(plain, path[i])) {
            uri[used++] = path[i];
        } else {
            used +=
                (size_t)sprintf(uri + used, "%%%02X", (unsigned char)path[i]);
        }
    }
    return uri;
}

static struct img_json *text_object(const char *key, const char *text)
{
    struct img_json *object = img_json_object();

    img_json_set_string(object, key, text);
    return object;
}

static struct img_json *location_json(const char *uri)
{
    struct img_json *list = img_json_array(), *location = img_json_object();
    struct img_json *physical = img_json_object();

    img_json_set(physical, "artifactLocation", text_object("uri", uri));
    img_json_set(location, "physicalLocation", physical);
    img_json_push(list, location);
    return list;
}

static int push_result(struct img_json *results, const char *dest,
                       const struct chain_check *check, struct img_error *err)
{
    struct img_json *result = img_json_object();
    struct img_json *properties = img_json_object();
    IMG_AUTO(img_free_ptr)
    char *uri = path_uri(check->image ? check->image : dest, err);

    img_json_set_string(result, "ruleId", check->id);
    set_level(result, check->result);
    img_json_set(
        result, "message",
        text_object("text", check->message ? check->message : check->id));
    img_json_set(result, "locations", location_json(uri ? uri : ""));
    if (check->moment) {
        img_json_set_string(properties, "moment", check->moment);
    }
    if (check->disk) {
        img_json_set_string(properties, "disk", check->disk);
    }
    if (check->found) {
        img_json_set_string(properties, "found", check->found);
    }
    if (check->expected) {
        img_json_set_string(properties, "expected", check->expected);
    }
    if (check->remedy) {
        img_json_set_string(properties, "remedy", check->remedy);
    }
    img_json_set(result, "properties", properties);
    img_json_push(results, result);
    return uri ? 0 : -1;
}

static struct img_json *driver_json(const struct chain_report *report)
{
    struct img_json *tool = img_json_object(), *driver = img_json_object();
    struct img_json *rules = img_json_array();

    img_json_set_string(driver, "name", "imgchain");
    img_json_set_string(driver, "version", IMGCHAIN_VERSION);
    for (size_t i = 0; i < chain_report_len(report); i++) {
        img_json_push(rules, text_object("id", chain_report_at(report, i)->id));
    }
    img_json_set(driver, "rules", rules);
    img_json_set(tool, "driver", driver);
    return tool;
}

static struct img_json *sarif_json(const struct verdict *verdict,
                                   struct img_error *err)
{
    const struct chain_report *report = verdict->report;
    struct img_json *log = img_json_object(), *runs = img_json_array();
    struct img_json *run = img_json_object(), *results = img_json_array();
    int rc = 0;

    img_json_set_string(log, "$schema",
                        "https://json.schemastore.org/sarif-2.1.0.json");
    img_json_set_string(log, "version", "2.1.0");
    img_json_set(run, "tool", driver_json(report));
    for (size_t i = 0; rc == 0 && i < chain_report_len(report); i++) {
        rc = push_result(results, verdict->dest, chain_report_at(report, i),
                         err);
    }
    img_json_set(run, "results", results);
    img_json_push(runs, run);
    img_json_set(log, "runs", runs);
    if (rc < 0) {
        img_json_free(log);
        return NULL;
    }
    return log;
}

int verdict_sarif(const struct verdict *verdict, const char *path,
                  struct img_error *err)
{
    struct img_json *log = sarif_json(verdict, err);
    IMG_AUTO(img_free_ptr)
    char *text = log ? img_json_text(log, true, err) : NULL;
    struct outfile file;

    img_json_free(log);
    if (!text || outfile_open(&file, path, err) < 0) {
        return -1;
    }
    (void)fprintf(file.stream, "%s\n", text);
    return outfile_commit(&file, err);
}
