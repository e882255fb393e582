/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for XML that is written: see img/xml.h. */
#include <img/xml.h>

#include <stddef.h>

const char *img_xml_entity(char c)
{
    switch (c) {
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '&':
        return "&amp;";
    case '"':
        return "&quot;";
    case '\'':
        return "&apos;";
    case '\t':
        return "&#9;";
    case '\n':
        return "&#10;";
    case '\r':
        return "&#13;";
    default:
        return NULL;
    }
}
