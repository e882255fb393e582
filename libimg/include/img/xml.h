/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for XML that is written. */
#ifndef IMG_XML_H
#define IMG_XML_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What stands for C in character data and quoted attributes, where it would
 * mean something else or be changed when it is read; NULL: C itself. At most
 * IMG_XML_ENTITY_MAX bytes; static.
 */
const char *img_xml_entity(char c);

#define IMG_XML_ENTITY_MAX 6u

#ifdef __cplusplus
}
#endif
#endif
