/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tree of an XML document: making it, the one place that uses libxml2.
 * Room: chain/virt.
 *
 * libxml2 tells what it meets, and a tree of our own is made of it: counted,
 * and with lines that do not end at 65535. A document with a document type is
 * refused where that begins, so that there are no entities but XML's own five,
 * and nothing is ever fetched. The text is UTF-8 before libxml2 sees it,
 * whatever it says of itself: no converter is loaded.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/virt.h>
#include <img/memory.h>

#include "bytes.h"
#include "encoding.h"
#include "tags.h"
#include "tree.h"
#include "xml_library.h"

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"
#define QEMU_PREFIX "qemu:"

struct maker {
    const struct virt_xml_library *lib;
    xmlParserCtxtPtr parser;
    struct virt_tree *tree;
    struct virt_node *at; /* the innermost element that is open */
    unsigned depth;
    unsigned foreign_depth; /* how deep in elements of a namespace */
    size_t elements_nr, attributes_nr, namespaces_nr;
    struct virt_bytes text; /* since the last tag */
    struct img_error *err;
    bool wants_qemu; /* its namespace is none of those that are left out */
    bool is_failed;
};

static unsigned line_of(const struct maker *maker)
{
    int line = maker->parser->input ? maker->parser->input->line : 0;

    return line > 0 ? (unsigned)line : 0;
}

/* The error is filled in: nothing more is wanted. */
static void stop(struct maker *maker)
{
    maker->is_failed = true;
    maker->lib->xmlStopParser(maker->parser);
}

static bool is_over(struct maker *maker, size_t found, size_t max,
                    const char *what)
{
    if (found <= max) {
        return false;
    }
    img_fail(maker->err, IMG_LIMIT,
             "line %u: found more than %zu %s, at most as many are read",
             line_of(maker), max, what);
    stop(maker);
    return true;
}

/* libxml2 looks names up in a table that does not grow with them. */
static bool has_too_many_names(struct maker *maker)
{
    return is_over(maker, (size_t)maker->lib->xmlDictSize(maker->parser->dict),
                   CHAIN_VIRT_MAX_NAMES, "names that differ");
}

/* libxml2 hands attributes over in fives. */
enum { ATTRIBUTE_NAME = 0, ATTRIBUTE_VALUE = 3, ATTRIBUTE_END = 4, FIVE = 5 };

static const char *as_text(const xmlChar *text)
{
    return (const char *)text;
}

static size_t value_len(const xmlChar *const *five)
{
    return (size_t)(five[ATTRIBUTE_END] - five[ATTRIBUTE_VALUE]);
}

/* Copy the LEN bytes at TEXT to *AT, which moves on; the copy. */
static const char *put(char **at, const char *text, size_t len)
{
    char *copy = *at;

    memcpy(copy, text, len);
    copy[len] = '\0';
    *at += len + 1;
    return copy;
}

/* An element with its attributes, all in one piece of memory. PREFIX and NAME
   are its name. */
static struct virt_node *make_node(const char *prefix, const xmlChar *name,
                                   size_t nr, const xmlChar *const *fives,
                                   struct img_error *err)
{
    size_t prefix_len = strlen(prefix), name_len = strlen(as_text(name));
    size_t strings_len = prefix_len + name_len + 1;
    size_t fixed_len =
        sizeof(struct virt_node) + nr * sizeof(struct virt_attribute);
    struct virt_node *node;
    char *at;

    for (size_t i = 0; i < nr; i++) {
        const xmlChar *const *five = fives + FIVE * i;

        strings_len += strlen(as_text(five[ATTRIBUTE_NAME])) + 1;
        strings_len += value_len(five) + 1;
    }
    node = img_calloc(1, fixed_len + strings_len, err);
    if (!node) {
        return NULL;
    }
    at = (char *)node + fixed_len;
    node->name = put(&at, prefix, prefix_len);
    at--; /* NAME goes on where PREFIX ends */
    (void)put(&at, as_text(name), name_len);
    node->attributes_nr = nr;
    for (size_t i = 0; i < nr; i++) {
        const xmlChar *const *five = fives + FIVE * i;
        const char *key = as_text(five[ATTRIBUTE_NAME]);

        node->attributes[i].name = put(&at, key, strlen(key));
        node->attributes[i].value =
            put(&at, as_text(five[ATTRIBUTE_VALUE]), value_len(five));
    }
    return node;
}

static void hang(struct maker *maker, struct virt_node *node)
{
    struct virt_node *parent = maker->at;

    node->older = maker->tree->newest;
    maker->tree->newest = node;
    node->parent = parent;
    node->line = line_of(maker);
    node->ordinal = maker->elements_nr - 1;
    if (!parent) {
        maker->tree->root = node;
    } else if (parent->last) {
        parent->last->next = node;
    } else {
        parent->first = node;
    }
    if (parent) {
        parent->last = node;
    }
    maker->at = node;
}

/* One more element, with as many attributes and namespaces. */
static bool has_too_many(struct maker *maker, size_t attributes_nr,
                         size_t namespaces_nr)
{
    maker->attributes_nr += attributes_nr;
    maker->namespaces_nr += namespaces_nr;
    return is_over(maker, ++maker->elements_nr, CHAIN_VIRT_MAX_ELEMENTS,
                   "elements") ||
           is_over(maker, maker->attributes_nr, CHAIN_VIRT_MAX_ATTRIBUTES,
                   "attributes") ||
           is_over(maker, maker->namespaces_nr, CHAIN_VIRT_MAX_NAMESPACES,
                   "namespaces") ||
           is_over(maker, ++maker->depth, CHAIN_VIRT_MAX_DEPTH,
                   "elements in each other") ||
           has_too_many_names(maker);
}

/* NOLINTBEGIN(bugprone-easily-swappable-parameters): libxml2's */
static void on_start(void *opaque, const xmlChar *name, const xmlChar *prefix,
                     const xmlChar *uri, int namespaces_nr,
                     const xmlChar **namespaces, int attributes_nr,
                     int defaulted_nr, const xmlChar **attributes)
{
    struct maker *maker = opaque;
    size_t nr = (size_t)attributes_nr;
    bool is_qemu =
        maker->wants_qemu && uri && strcmp(as_text(uri), QEMU_NAMESPACE) == 0;
    struct virt_node *node;

    (void)prefix, (void)namespaces, (void)defaulted_nr;
    maker->text.len = 0;
    if (maker->is_failed || has_too_many(maker, nr, (size_t)namespaces_nr)) {
        return;
    }
    if (maker->at) {
        maker->at->is_mixed = true;
    }
    if (maker->foreign_depth > 0 || (uri && !is_qemu)) {
        maker->foreign_depth++;
        return;
    }
    node = make_node(is_qemu ? QEMU_PREFIX : "", name, nr,
                     (const xmlChar *const *)attributes, maker->err);
    if (!node) {
        stop(maker);
        return;
    }
    hang(maker, node);
}

static void on_end(void *opaque, const xmlChar *name, const xmlChar *prefix,
                   const xmlChar *uri)
{
    struct maker *maker = opaque;
    struct virt_node *node = maker->at;

    (void)name, (void)prefix, (void)uri;
    if (maker->is_failed) {
        return;
    }
    maker->depth--;
    if (maker->foreign_depth > 0) {
        maker->foreign_depth--;
        return;
    }
    if (!node->is_mixed && maker->text.len > 0) {
        node->text =
            img_strndup(maker->text.bytes, maker->text.len, maker->err);
        if (!node->text) {
            stop(maker);
        }
    }
    maker->text.len = 0;
    maker->at = node->parent;
}
/* NOLINTEND(bugprone-easily-swappable-parameters) */

static void on_text(void *opaque, const xmlChar *text, int len)
{
    struct maker *maker = opaque;

    if (maker->is_failed || !maker->at || maker->at->is_mixed) {
        return;
    }
    if (virt_bytes_add(&maker->text, as_text(text), (size_t)len, maker->err)) {
        stop(maker);
    }
}

/* Of no interest but for its name. */
static void on_instruction(void *opaque, const xmlChar *target,
                           const xmlChar *data)
{
    struct maker *maker = opaque;

    (void)target, (void)data;
    if (!maker->is_failed) {
        (void)has_too_many_names(maker);
    }
}

static void on_document_type(void *opaque, const xmlChar *name,
                             const xmlChar *public_id, const xmlChar *system_id)
{
    struct maker *maker = opaque;

    (void)name, (void)public_id, (void)system_id;
    if (!maker->is_failed) {
        img_fail(maker->err, IMG_UNSUPPORTED,
                 "line %u: found <!DOCTYPE, expected a document without a "
                 "document type: libvirt writes none, and its entities are "
                 "not read",
                 line_of(maker));
        stop(maker);
    }
}

static void on_error(void *opaque, xmlErrorPtr why)
{
    struct maker *maker = opaque;
    char shown[256];
    size_t len;

    if (maker->is_failed || why->level != XML_ERR_FATAL) {
        return;
    }
    maker->is_failed = true; /* libxml2 stops by itself */
    if (why->code == XML_ERR_NO_MEMORY) {
        (void)img_fail_memory(maker->err);
        return;
    }
    len = why->message ? strcspn(why->message, "\n") : 0;
    img_escape(why->message ? why->message : "", len, shown, sizeof(shown));
    img_fail(maker->err, IMG_FORMAT, "line %u: not XML: %s", line_of(maker),
             len > 0 ? shown : "it cannot be parsed");
}

static void fini_maker(struct maker *maker)
{
    if (maker->parser) {
        maker->lib->xmlFreeParserCtxt(maker->parser);
    }
    virt_bytes_fini(&maker->text);
}

static void set_callbacks(xmlSAXHandler *callbacks)
{
    memset(callbacks, 0, sizeof(*callbacks));
    callbacks->initialized = XML_SAX2_MAGIC;
    callbacks->startElementNs = on_start;
    callbacks->endElementNs = on_end;
    callbacks->characters = on_text;
    callbacks->cdataBlock = on_text;
    callbacks->processingInstruction = on_instruction;
    callbacks->internalSubset = on_document_type;
    callbacks->serror = on_error;
}

static int make_tree(const char *text, size_t len, bool wants_qemu,
                     struct virt_tree *tree, struct img_error *err)
{
    IMG_AUTO(fini_maker)
    struct maker maker = {.tree = tree, .wants_qemu = wants_qemu, .err = err};
    xmlParserCtxtPtr parser;

    if (virt_xml_library(&maker.lib, err) < 0) {
        return -1;
    }
    parser = maker.lib->xmlCreateMemoryParserCtxt(text, (int)len);
    if (!parser) {
        return img_fail_memory(err);
    }
    maker.parser = parser;
    /* NOENT: &amp; in an attribute is handed over as &. There is no other
       entity, see on_document_type. */
    (void)maker.lib->xmlCtxtUseOptions(
        parser, XML_PARSE_NONET | XML_PARSE_IGNORE_ENC | XML_PARSE_NOENT |
                    XML_PARSE_NOWARNING);
    set_callbacks(parser->sax);
    parser->userData = &maker;
    (void)maker.lib->xmlParseDocument(parser);
    if (maker.is_failed) {
        return -1;
    }
    if (!parser->wellFormed) {
        return img_fail(err, IMG_FORMAT, "line %u: not XML", line_of(&maker));
    }
    if (!tree->root) {
        return img_fail(err, IMG_FORMAT,
                        "the outermost element is in a namespace, expected "
                        "one that is in none");
    }
    return 0;
}

static int check_text(const char *text, size_t len, struct img_error *err)
{
    if (virt_encoding_check(text, len, err) < 0) {
        return -1;
    }
    if (len == 0) {
        return img_fail(err, IMG_FORMAT, "line 1: not XML: found nothing");
    }
    return virt_tags_check(text, len, err);
}

/* NAME: for errors. */
static int parse(const char *text, size_t len, const char *name,
                 bool wants_qemu, struct virt_tree *out, struct img_error *err)
{
    memset(out, 0, sizeof(*out));
    if (check_text(text, len, err) < 0 ||
        make_tree(text, len, wants_qemu, out, err) < 0) {
        virt_tree_fini(out);
        img_error_set_path(err, name);
        return -1;
    }
    return 0;
}

int virt_tree_parse(const char *text, size_t len, const char *name,
                    struct virt_tree *out, struct img_error *err)
{
    return parse(text, len, name, false, out, err);
}

int virt_tree_parse_qemu(const char *text, size_t len, const char *name,
                         struct virt_tree *out, struct img_error *err)
{
    return parse(text, len, name, true, out, err);
}
