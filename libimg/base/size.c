/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room base: lengths for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <img/size.h>

const char *img_size_short(uint64_t len, char out[IMG_SIZE_TEXT_LEN])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB",
                                        "TiB",   "PiB", "EiB"};
    double value = (double)len;
    unsigned unit = 0;

    if (len < 1000) {
        (void)snprintf(out, IMG_SIZE_TEXT_LEN, "%u byte%s", (unsigned)len,
                       len == 1 ? "" : "s");
        return out;
    }
    while (value >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, IMG_SIZE_TEXT_LEN, "%.3g %s", value, units[unit]);
    return out;
}

const char *img_size_exact(uint64_t len, char out[IMG_SIZE_TEXT_LEN])
{
    char human[IMG_SIZE_TEXT_LEN];

    img_size_short(len, human);
    if (len < 1000) {
        memcpy(out, human, sizeof(human));
    } else {
        (void)snprintf(out, IMG_SIZE_TEXT_LEN, "%.30s (%" PRIu64 " bytes)",
                       human, len);
    }
    return out;
}
