#include "model/api/pixel_normalization.h"

#include <vector>

#include "gtest/gtest.h"

namespace parrot {
namespace {

TEST(PixelNormalizationTest, BlackAndWhiteMatchTheFormula) {
  const ImageProcessorConfig config;
  const PixelNormalization normalization(config);
  for (int channel = 0; channel < 3; ++channel) {
    EXPECT_NEAR(normalization.value(channel, 0), -config.mean[channel] / config.std[channel], 1e-6);
    EXPECT_NEAR(normalization.value(channel, 255),
                (1.0 - config.mean[channel]) / config.std[channel],
                1e-6);
  }
}

TEST(PixelNormalizationTest, WritesChannelsFirst) {
  const PixelNormalization normalization{ImageProcessorConfig()};
  // 2x2 pixels, byte value = 10 * pixel + channel.
  const ImagePixels pixels = {0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32};
  std::vector<float> out(12);
  normalization.Apply(pixels, /*size=*/2, out.data());
  for (int channel = 0; channel < 3; ++channel) {
    for (int pixel = 0; pixel < 4; ++pixel) {
      EXPECT_EQ(out[channel * 4 + pixel],
                normalization.value(channel, static_cast<uint8_t>(10 * pixel + channel)));
    }
  }
}

}  // namespace
}  // namespace parrot
