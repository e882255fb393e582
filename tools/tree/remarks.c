/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words for what is remarkable about an image. */
#include <img/memory.h>
#include <stdio.h>
#include <string.h>

#include "../size.h"
#include "tree.h"

const struct tree_remark tree_remarks[] = {
    {FOREST_LOOP, "loop", true},
    {FOREST_MISSING, "missing", true},
    {FOREST_UNREADABLE, "unreadable", true},
    {FOREST_NO_FILE, "no-file", true},
    {FOREST_WRONG_FORMAT, "wrong-format", true},
    {FOREST_UNDECLARED, "undeclared-format", true},
    {FOREST_NEWER, "newer-base", false},
    {FOREST_WRITABLE, "writable-base", false},
    {FOREST_ORPHAN, "orphan", false},
    {0, NULL, false},
};

static const char *or_none(const char *text)
{
    return text ? text : "";
}

const char *tree_remark_text(const struct forest *forest,
                             const struct forest_node *node,
                             const struct tree_remark *remark,
                             char out[TREE_REMARK_LEN])
{
    char name[1024] = "", format[64] = "";
    const char *looks_like = "";

    if (node->backing_name) {
        img_escape(node->backing_name, strlen(node->backing_name), name,
                   sizeof(name));
    }
    if (node->backing_format) {
        img_escape(node->backing_format, strlen(node->backing_format), format,
                   sizeof(format));
    }
    if (node->backing != FOREST_NONE) {
        looks_like = or_none(forest_at(forest, node->backing)->looks_like);
    }
    switch (remark->bit) {
    case FOREST_LOOP:
        snprintf(out, TREE_REMARK_LEN,
                 "loop: its backing files lead back to it (through %s)", name);
        break;
    case FOREST_MISSING:
        snprintf(out, TREE_REMARK_LEN, "missing: there is no such file");
        break;
    case FOREST_UNREADABLE:
        snprintf(out, TREE_REMARK_LEN, "not read: %s", or_none(node->why));
        break;
    case FOREST_NO_FILE:
        snprintf(out, TREE_REMARK_LEN, "backing name not followed: %s",
                 or_none(node->why));
        break;
    case FOREST_WRONG_FORMAT:
        snprintf(out, TREE_REMARK_LEN,
                 "wrong format: records its base as %s, the base is %s", format,
                 looks_like);
        break;
    case FOREST_UNDECLARED:
        snprintf(out, TREE_REMARK_LEN,
                 "backing format not recorded (the base looks like %s)",
                 looks_like);
        break;
    case FOREST_NEWER:
        snprintf(out, TREE_REMARK_LEN, "changed after an overlay of it was");
        break;
    case FOREST_WRITABLE:
        snprintf(out, TREE_REMARK_LEN,
                 "a base, but its mode lets it be written");
        break;
    case FOREST_ORPHAN:
        snprintf(out, TREE_REMARK_LEN,
                 "stands alone: no base, no overlays here");
        break;
    }
    return out;
}

const char *tree_summary(const struct forest_node *node,
                         char out[TREE_SUMMARY_LEN])
{
    char size[SIZE_TEXT_LEN];

    if (!node->format) {
        snprintf(out, TREE_SUMMARY_LEN, "%s",
                 node->remarks & FOREST_MISSING ? "missing" : "not read");
    } else {
        snprintf(out, TREE_SUMMARY_LEN, "%s, %s", node->format,
                 size_short(node->virtual_len, size));
    }
    return out;
}
