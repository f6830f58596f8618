// The reference saves each picture of a data set again before its model sees it: Pillow's JPEG of
// quality 75 with chroma at half the size. This does the same, for pixel-exact parity. Stateless;
// thread-safe.
#ifndef PARROT_EVAL_IMAGES_JPEG_RESAVE_H_
#define PARROT_EVAL_IMAGES_JPEG_RESAVE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace parrot {

// `encoded`: JPEG, PNG or WebP within the server's limits; else INVALID_ARGUMENT with a reason of
// model/image/image_probe.h. Its alpha is dropped and its EXIF orientation not applied. (A CMYK
// picture becomes RGB here before it is compressed, after it there.)
absl::StatusOr<std::string> SaveAgainAsJpeg(std::string_view encoded);

}  // namespace parrot

#endif  // PARROT_EVAL_IMAGES_JPEG_RESAVE_H_
