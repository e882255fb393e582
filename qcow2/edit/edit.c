/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The in-place writer. Room: qcow2/edit. */
#include <qcow2/edit.h>
