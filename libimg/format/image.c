/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images of any format: checked calls of their operations and what all of
 * them release (room: format). A range is checked here once, so that no
 * implementation sees one outside of its image.
 */
#include <img/image.h>

#include <inttypes.h>
#include <stdlib.h>

#include <img/checked.h>

int img_image_map(struct img_image *image, uint64_t off, uint64_t len,
                  struct img_extent *out, struct img_error *err)
{
    if (!image->is_readable) {
        return img_fail(err, IMG_UNSUPPORTED, "%s",
                        image->unreadable_why != NULL ? image->unreadable_why
                                                      : "cannot read contents");
    }
    if (len == 0 || !img_range_fits(off, len, image->virtual_len)) {
        return img_fail(err, IMG_USAGE,
                        "%" PRIu64 " bytes at guest offset %" PRIu64
                        " are not inside the image's %" PRIu64 " bytes",
                        len, off, image->virtual_len);
    }
    if (image->wants_data_file && image->data_file == NULL) {
        return img_fail(err, IMG_USAGE, "external data file is not open");
    }
    *out = (struct img_extent){0};
    return image->ops->map(image, off, len, out, err);
}

int img_image_decompress(const struct img_image *image,
                         struct img_inflater *inflater,
                         const struct img_extent *extent, const void *in,
                         void *out, struct img_error *err)
{
    if (image->ops->decompress == NULL) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "format %s has no compressed clusters", image->format);
    }
    return image->ops->decompress(image, inflater, extent, in, out, err);
}

int img_image_describe(struct img_image *image, struct img_json **out,
                       struct img_error *err)
{
    *out = NULL;
    if (image->ops->describe != NULL &&
        (image->ops->describe(image, out, err) != 0 ||
         img_json_check_built(err) != 0)) {
        img_json_free(*out);
        *out = NULL;
        img_error_set_path(err, img_file_path(image->file));
        return -1;
    }
    return 0;
}

void img_image_set_data_file(struct img_image *image, struct img_file *file)
{
    struct img_file *old = image->data_file;

    image->data_file = img_file_ref(file);
    img_file_unref(old);
}

void img_image_fini(struct img_image *image)
{
    for (size_t i = 0; i < image->snapshots_nr; i++) {
        free(image->snapshots[i].id);
        free(image->snapshots[i].name);
    }
    free(image->snapshots);
    free(image->unreadable_why);
    free(image->backing_name);
    free(image->backing_format);
    free(image->data_file_name);
    img_file_unref(image->data_file);
    img_file_unref(image->file);
}

void img_image_free(struct img_image *image)
{
    if (image != NULL) {
        image->ops->free(image);
    }
}
