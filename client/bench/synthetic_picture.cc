#include "client/bench/synthetic_picture.h"

#include <png.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "base/check.h"

namespace parrot {
namespace {

constexpr int kChannels = 3;
constexpr int kRectangles = 12;
using Colour = std::array<uint8_t, kChannels>;

int32_t Below(std::mt19937_64& random, int32_t limit) {
  return static_cast<int32_t>(random() % static_cast<uint64_t>(limit));
}

Colour RandomColour(std::mt19937_64& random) {
  Colour colour;
  for (uint8_t& channel : colour) channel = static_cast<uint8_t>(random());
  return colour;
}

// From one colour at the top left to another at the bottom right.
std::vector<uint8_t> Gradient(PictureSize size, std::mt19937_64& random) {
  const Colour from = RandomColour(random);
  const Colour to = RandomColour(random);
  std::vector<uint8_t> pixels;
  pixels.reserve(static_cast<size_t>(size.width) * size.height * kChannels);
  const int32_t range = size.width + size.height;
  for (int32_t y = 0; y < size.height; ++y) {
    for (int32_t x = 0; x < size.width; ++x) {
      for (int c = 0; c < kChannels; ++c) {
        pixels.push_back(static_cast<uint8_t>(from[c] + (to[c] - from[c]) * (x + y) / range));
      }
    }
  }
  return pixels;
}

void DrawRectangle(PictureSize size, std::mt19937_64& random, std::vector<uint8_t>* pixels) {
  const Colour colour = RandomColour(random);
  const int32_t left = Below(random, size.width);
  const int32_t top = Below(random, size.height);
  const int32_t right = std::min(size.width, left + 1 + Below(random, size.width));
  const int32_t bottom = std::min(size.height, top + 1 + Below(random, size.height));
  for (int32_t y = top; y < bottom; ++y) {
    for (int32_t x = left; x < right; ++x) {
      const size_t at = (static_cast<size_t>(y) * size.width + x) * kChannels;
      std::copy(colour.begin(), colour.end(), pixels->begin() + static_cast<ptrdiff_t>(at));
    }
  }
}

}  // namespace

std::string SyntheticPicture(PictureSize size, uint64_t seed) {
  PARROT_CHECK(size.width > 0 && size.height > 0 && size.width <= kMaxPictureSide &&
               size.height <= kMaxPictureSide);
  std::mt19937_64 random(seed);
  std::vector<uint8_t> pixels = Gradient(size, random);
  for (int i = 0; i < kRectangles; ++i) DrawRectangle(size, random, &pixels);

  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(size.width);
  image.height = static_cast<png_uint_32>(size.height);
  image.format = PNG_FORMAT_RGB;
  image.flags = PNG_IMAGE_FLAG_FAST;
  png_alloc_size_t num_bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string png(num_bytes, '\0');
  const int written = png_image_write_to_memory(&image,
                                                png.data(),
                                                &num_bytes,
                                                /*convert_to_8_bit=*/0,
                                                pixels.data(),
                                                /*row_stride=*/0,
                                                nullptr);
  PARROT_CHECK(written != 0) << image.message;
  png.resize(num_bytes);
  png.shrink_to_fit();
  return png;
}

}  // namespace parrot
