/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fresh writer. Room: qcow2/fresh. */
#include <qcow2/fresh.h>
