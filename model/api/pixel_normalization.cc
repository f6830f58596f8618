#include "model/api/pixel_normalization.h"

#include "base/check.h"

namespace parrot {

PixelNormalization::PixelNormalization(const ImageProcessorConfig& config) {
  for (int channel = 0; channel < 3; ++channel) {
    const float mean = static_cast<float>(config.mean[channel]);
    const float std = static_cast<float>(config.std[channel]);
    for (int byte = 0; byte < 256; ++byte) {
      const float rescaled = static_cast<float>(byte * config.rescale_factor);
      table_[channel][byte] = (rescaled - mean) / std;
    }
  }
}

void PixelNormalization::Apply(const ImagePixels& pixels, int32_t size, float* out) const {
  const size_t plane = static_cast<size_t>(size) * size;
  PARROT_CHECK(pixels.size() == 3 * plane);
  for (size_t i = 0; i < plane; ++i) {
    for (int channel = 0; channel < 3; ++channel) {
      out[channel * plane + i] = table_[channel][pixels[3 * i + channel]];
    }
  }
}

}  // namespace parrot
