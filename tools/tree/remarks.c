/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words for what is remarkable about an image. */
#include <img/memory.h>
#include <img/size.h>
#include <stdio.h>
#include <string.h>

#include "tree.h"

const struct tree_remark tree_remarks[] = {
    {"loop", CHAIN_FOREST_LOOP, true},
    {"missing", CHAIN_FOREST_MISSING, true},
    {"unreadable", CHAIN_FOREST_UNREADABLE, true},
    {"no-file", CHAIN_FOREST_NO_FILE, true},
    {"wrong-format", CHAIN_FOREST_WRONG_FORMAT, true},
    {"undeclared-format", CHAIN_FOREST_UNDECLARED, true},
    {"newer-base", CHAIN_FOREST_NEWER, false},
    {"writable-base", CHAIN_FOREST_WRITABLE, false},
    {"orphan", CHAIN_FOREST_ORPHAN, false},
    {NULL, 0, false},
};

static const char *or_none(const char *text)
{
    return text ? text : "";
}

const char *tree_remark_text(const struct chain_forest *forest,
                             const struct chain_forest_node *node,
                             const struct tree_remark *remark,
                             char out[PICTURE_REMARK_LEN])
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
    if (node->backing != CHAIN_FOREST_NONE) {
        looks_like =
            or_none(chain_forest_at(forest, node->backing)->looks_like);
    }
    switch (remark->bit) {
    case CHAIN_FOREST_LOOP:
        (void)snprintf(out, PICTURE_REMARK_LEN,
                       "loop: its backing files lead back to it (through %s)",
                       name);
        break;
    case CHAIN_FOREST_MISSING:
        (void)snprintf(out, PICTURE_REMARK_LEN,
                       "missing: there is no such file");
        break;
    case CHAIN_FOREST_UNREADABLE:
        (void)snprintf(out, PICTURE_REMARK_LEN, "not read: %s",
                       or_none(node->why));
        break;
    case CHAIN_FOREST_NO_FILE:
        (void)snprintf(out, PICTURE_REMARK_LEN, "backing name not followed: %s",
                       or_none(node->why));
        break;
    case CHAIN_FOREST_WRONG_FORMAT:
        (void)snprintf(out, PICTURE_REMARK_LEN,
                       "wrong format: records its base as %s, the base is %s",
                       format, looks_like);
        break;
    case CHAIN_FOREST_UNDECLARED:
        (void)snprintf(out, PICTURE_REMARK_LEN,
                       "backing format not recorded (the base looks like %s)",
                       looks_like);
        break;
    case CHAIN_FOREST_NEWER:
        (void)snprintf(out, PICTURE_REMARK_LEN,
                       "changed after an overlay of it was");
        break;
    case CHAIN_FOREST_WRITABLE:
        (void)snprintf(out, PICTURE_REMARK_LEN,
                       "a base, but its mode lets it be written");
        break;
    case CHAIN_FOREST_ORPHAN:
        (void)snprintf(out, PICTURE_REMARK_LEN,
                       "stands alone: no base, no overlays here");
        break;
    }
    return out;
}

const char *tree_summary(const struct chain_forest_node *node,
                         char out[PICTURE_SUMMARY_LEN])
{
    char size[IMG_SIZE_TEXT_LEN];

    if (!node->format) {
        (void)snprintf(out, PICTURE_SUMMARY_LEN, "%s",
                       node->remarks & CHAIN_FOREST_MISSING ? "missing"
                                                            : "not read");
    } else {
        (void)snprintf(out, PICTURE_SUMMARY_LEN, "%s, %s", node->format,
                       img_size_short(node->virtual_len, size));
    }
    return out;
}
