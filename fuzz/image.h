/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the targets of whole images share: judging an image, and reading all
 * that its guest sees.
 */
#ifndef FUZZ_IMAGE_H
#define FUZZ_IMAGE_H

#include <img/file.h>
#include <qcow2/image.h>

#include "fuzz.h"
#include "mutate.h"

/* Larger disks are not read whole: they say the same, slowly. */
#define FUZZ_DISK_MAX (1u << 20)

/*
 * Is the qcow2 image in FILE (its external data file DATA_FILE or NULL) free
 * of corruptions, leaks, errors and of the dirty and corrupt bits?
 */
bool fuzz_is_clean(struct img_file *file, struct img_file *data_file);
/* Has it no corruptions? Leaks are fine. False where it does not open. */
bool fuzz_is_usable(struct img_file *file, struct img_file *data_file);

/*
 * All that IMAGE holds into OUT (virtual_len bytes, at most FUZZ_DISK_MAX);
 * what it does not own reads as BELOW. False: something cannot be read.
 */
bool fuzz_guest_read(struct img_image *image, uint8_t below, uint8_t *out);
/*
 * The same, but a cluster that cannot be read is passed over: SEEN, one for
 * each 512 bytes, says what was read. False: nothing can be.
 */
bool fuzz_guest_see(struct img_image *image, uint8_t below, uint8_t *out,
                    bool *seen);

#endif
