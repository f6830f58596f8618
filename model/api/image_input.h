// A preprocessed image, as it travels from the front end to the vision tower.
#ifndef PARROT_MODEL_API_IMAGE_INPUT_H_
#define PARROT_MODEL_API_IMAGE_INPUT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "base/hash.h"

namespace parrot {

// Content key: SHA-256 over (tenant salt, preprocessing revision, width, height, pixels).
using ImageHash = Sha256Digest;

// [size, size, 3] uint8 RGB, row-major: after padding to a square and the Pillow-exact resize,
// before normalisation. Immutable; shared by the request that brought it and the step that encodes
// it.
using ImagePixels = std::vector<uint8_t>;

struct ImageInput {
  ImageHash hash;
  int32_t size = 0;  // side in pixels; equals VisionConfig::image_size
  std::shared_ptr<const ImagePixels> pixels;
};

}  // namespace parrot

#endif  // PARROT_MODEL_API_IMAGE_INPUT_H_
