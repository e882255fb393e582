/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How header extensions lie in the first cluster (specification: "Header
 * extensions" and those after it): what decoder and encoder both go by.
 */
#ifndef QCOW2_EXTENSION_LAYOUT_H
#define QCOW2_EXTENSION_LAYOUT_H

#define EXTENSION_HEAD_LEN 8u
#define BITMAPS_LEN 24u
#define CRYPTO_LEN 16u
#define FEATURE_LEN 48u
#define FEATURE_NAME_LEN 46u

#endif
