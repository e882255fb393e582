/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Marks what the shared library exports; everything else is hidden. */
#ifndef IMG_VISIBILITY_H
#define IMG_VISIBILITY_H

#define IMG_PUBLIC __attribute__((visibility("default")))
#define IMG_MUST_USE __attribute__((warn_unused_result))

#endif
