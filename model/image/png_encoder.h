// RGB pixels to a PNG, for tools that show what the server saw (parrot-inspect preprocess) and for
// tests. Never on a request's path.
#ifndef PARROT_MODEL_IMAGE_PNG_ENCODER_H_
#define PARROT_MODEL_IMAGE_PNG_ENCODER_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/image/pillow_resample.h"

namespace parrot {

// 8-bit RGB, lossless, no metadata. INTERNAL when libpng fails (out of memory).
absl::StatusOr<std::string> EncodePng(RgbView image);

}  // namespace parrot

#endif  // PARROT_MODEL_IMAGE_PNG_ENCODER_H_
