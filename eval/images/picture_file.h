// Pictures of a data set as pixels: what the server takes, and two formats more that the reference
// reads, GIF (the first frame) and BMP (uncompressed). Stateless; thread-safe.
#ifndef PARROT_EVAL_IMAGES_PICTURE_FILE_H_
#define PARROT_EVAL_IMAGES_PICTURE_FILE_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "model/image/image_decoder.h"

namespace parrot {

// Within the server's limits. Palette entries that are transparent keep their colour, alpha is
// dropped. INVALID_ARGUMENT with a reason of model/image/image_probe.h.
absl::StatusOr<RgbImage> DecodePictureFile(std::string_view encoded);

}  // namespace parrot

#endif  // PARROT_EVAL_IMAGES_PICTURE_FILE_H_
