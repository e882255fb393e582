/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What runs that were killed left beside saved images: see saved.h. */
#include <chain/transaction.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "saved.h"

/* The folder that the file PATH stands in, wherever links lead; free with
   free(). */
static char *folder_of(const char *path, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *real = realpath(path, NULL);
    const char *slash = strrchr(real ? real : path, '/');

    path = real ? real : path;

    return slash ? img_strndup(path, slash == path ? 1 : (size_t)(slash - path),
                               err)
                 : img_strndup(".", 1, err);
}

static void on_done(void *opaque, const char *path, const char *what)
{
    char shown[IMG_ERROR_PATH_MAX];

    (void)opaque;
    img_escape(path, strlen(path), shown, sizeof(shown));
    message_note("%s: %s what a run that was killed had begun", shown, what);
}

int saved_settle(const char *path, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *folder = folder_of(path, err);

    return folder ? chain_transaction_settle(folder, false, on_done, NULL, err)
                  : -1;
}

void saved_tell_pending(const char *path)
{
    struct img_error err;
    IMG_AUTO(img_free_ptr) char *folder = folder_of(path, &err);
    char shown[IMG_ERROR_PATH_MAX];

    if (folder &&
        chain_transaction_settle(folder, true, on_done, NULL, &err) < 0 &&
        err.code == IMG_CHANGED) {
        img_escape(path, strlen(path), shown, sizeof(shown));
        message_failed("%s: a run that was killed has left a change unfinished "
                       "in this folder: 'imgchain saved-image define "
                       "--recover FOLDER' finishes or undoes it",
                       shown);
    }
}
