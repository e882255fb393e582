/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* References to other files, by kind: see img/reference.h (room: format). */
#include <img/reference.h>

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

static const struct {
    const char *word, *text;
} kinds[] = {
#define KIND_ROW(kind, word, text) [kind] = {word, text},
    IMG_REFERENCE_KINDS(KIND_ROW)
#undef KIND_ROW
};

const char *img_reference_word(enum img_reference_kind kind)
{
    return kinds[kind].word;
}

const char *img_reference_text(enum img_reference_kind kind)
{
    return kinds[kind].text;
}

int img_references_add(struct img_references *references,
                       enum img_reference_kind kind, const char *name,
                       struct img_error *err)
{
    if (references->nr[kind]++ == 0 && name != NULL) {
        references->name[kind] = img_strndup(name, strlen(name), err);
        return references->name[kind] != NULL ? 0 : -1;
    }
    return 0;
}

void img_references_fini(struct img_references *references)
{
    for (size_t i = 0; i < IMG_REFERENCES_NR; i++) {
        free(references->name[i]);
    }
    *references = (struct img_references){0};
}

int img_image_references(struct img_image *image, struct img_references *out,
                         struct img_error *err)
{
    *out = (struct img_references){0};
    if ((image->backing_name != NULL &&
         img_references_add(out, IMG_REFERENCE_BACKING, image->backing_name,
                            err) < 0) ||
        ((image->wants_data_file || image->data_file_name != NULL) &&
         img_references_add(out, IMG_REFERENCE_DATA_FILE, image->data_file_name,
                            err) < 0) ||
        (image->ops->references != NULL &&
         image->ops->references(image, out, err) < 0)) {
        img_references_fini(out);
        img_error_set_path(err, img_file_path(image->file));
        return -1;
    }
    return 0;
}
