/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxml2, loaded when XML is read: with the libraries that it brings it takes
 * 40 MiB of address space and longer to load than most commands run. Room:
 * chain/virt; for xml.c.
 */
#ifndef CHAIN_VIRT_XML_LIBRARY_H
#define CHAIN_VIRT_XML_LIBRARY_H

#include <libxml/parser.h>
#include <libxml/parserInternals.h>

#include <img/error.h>

#define XML_CALLS(CALL)                                                        \
    CALL(xmlInitParser)                                                        \
    CALL(xmlCreateMemoryParserCtxt)                                            \
    CALL(xmlCtxtUseOptions)                                                    \
    CALL(xmlParseDocument)                                                     \
    CALL(xmlStopParser)                                                        \
    CALL(xmlFreeParserCtxt)                                                    \
    CALL(xmlDictSize)

struct virt_xml_library {
#define CALL(name) __typeof__(name) *(name);
    XML_CALLS(CALL)
#undef CALL
    const char *version; /* "20914"; NULL: it does not tell */
};

/* Loaded and made ready once, and kept; from any thread. IMG_UNSUPPORTED: it is
   not there. */
int virt_xml_library(const struct virt_xml_library **out,
                     struct img_error *err);

#endif
