// The CLIP processor's rescale and normalise steps as a 3 x 256 table of floats: both work on one
// byte at a time, so a table is exact and fast. Immutable after construction.
//
// value = (float32(byte * rescale_factor in double) - float32(mean)) / float32(std)
// (transformers image_transforms.py rescale and normalize, float32 arrays).
#ifndef PARROT_MODEL_API_PIXEL_NORMALIZATION_H_
#define PARROT_MODEL_API_PIXEL_NORMALIZATION_H_

#include <array>
#include <cstdint>

#include "model/api/image_input.h"
#include "model/api/model_config.h"

namespace parrot {

class PixelNormalization {
 public:
  explicit PixelNormalization(const ImageProcessorConfig& config);

  float value(int channel, uint8_t byte) const { return table_[channel][byte]; }
  // Writes [3, size, size] floats (channels first) from [size, size, 3] bytes.
  // REQUIRES: pixels.size() == 3 * size * size; `out` has as many floats.
  void Apply(const ImagePixels& pixels, int32_t size, float* out) const;

 private:
  std::array<std::array<float, 256>, 3> table_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_API_PIXEL_NORMALIZATION_H_
