/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC-32, from the library that inflates: no second one for a checksum.
 */
#include <libdeflate.h>
#include <qcow2/inflate.h>

uint32_t qcow2_crc32(const void *bytes, size_t len)
{
    return libdeflate_crc32(0, bytes, len);
}
