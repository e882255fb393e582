/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for XML that is written (SVG, JUnit); nothing here reads XML. */
#ifndef XML_H
#define XML_H

#include <img/error.h>

/*
 * RAW, which may be any bytes, as character data or a quoted attribute.
 * NULL with ERR filled in when memory is out. Free with free().
 */
char *xml_text(const char *raw, struct img_error *err);
/* The same for TEXT that is printable already (img_escape). */
char *xml_printable(const char *text, struct img_error *err);

#endif
